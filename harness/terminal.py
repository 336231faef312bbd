"""Tables for the terminal; right in 80 columns, plain where standard output is no terminal."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, get_args

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from harness import caveats
from harness.artifacts.cache import folder_of
from harness.bars import Scale
from harness.evidence import candidate_key
from harness.gates import (
    SERVED_TOLD,
    as_number,
    p95_floor_ms,
    row_place,
    served_cell,
    status_text,
    stopped_cells,
    text_of,
    worst_in_batch,
)
from harness.measure.batching import BESIDE, OBSERVED
from harness.rerun import again, particulars, run_name
from harness.schema import Tier
from harness.stand_ins import harmless
from harness.summary import P99_MIN_REQUESTS
from harness.units import at_least, counted, decimal_text, format_bytes, format_duration, share_text
from harness.verdict import (
    baseline_title,
    baseline_told,
    distance_text,
    gate_cells,
    needed_text,
    noise_mark,
    percent_text,
    speedup_cells,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from datetime import datetime

    from rich.console import ConsoleOptions, RenderableType
    from rich.segment import Segment

    from harness.comparison import Comparison, RetrievalComparison
    from harness.decision_record import BaselineRecord
    from harness.schema import GateConfig, ModelConfig
    from harness.verdict import CandidateVerdict, Decision

# Columns between the columns of a table.
_GAP = 2
# Of what to do next, the decision's own step and what the best candidates want.
_STEPS_SHOWN = 6
# Headings of the tables of runs; the bar has none.
_RUN_FIGURES = ("workload", "batch", "n", "P50 ms", "P95 ms", "interval", "", "texts/s")
_COSTS = ("workload", "batch", "memory", "artifact", "GFLOP/s", "of limit", "run")
_QUALITY = ("batch", "AUC", "separation", "interval", "overlap", "interval", "in batch", "STS ×100")
# In a narrow table, of launches that were stopped early.
_STOPPED = "stopped"
_SPEARMAN = "STS Spearman ×100"
_STYLES = {
    "GO": "bold green",
    "CONDITIONAL_GO": "bold yellow",
    "INCONCLUSIVE": "bold yellow",
    "NO_GO": "bold red",
    "PASS": "green",
    "FAIL": "red",
    "UNDECIDED": "yellow",
    "NOT_MEASURED": "yellow",
}


class _Console(Console):
    """A console that leaves it to `harness.command` how a command ends whose reader has gone.

    What is printed moves no cursor, whatever a name in it holds.
    """

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=harmless(segment.text))

    def on_broken_pipe(self) -> None:
        raise  # noqa: PLE0704  (the BrokenPipeError that is being handled; Rich would exit with 1)


def error_console() -> Console:
    """Standard error: progress, warnings, errors."""
    return _Console(stderr=True)


def output_console() -> Console:
    """Standard output: results."""
    return _Console()


def print_run(
    console: Console,
    row: dict[str, Any],
    gates: Sequence[GateConfig],
    judged: Sequence[CandidateVerdict] = (),
) -> None:
    """A run's figures; its P95 as a bar against those of `gates` that are asked of it.

    What limits them is told below, but for what the verdicts of `judged` tell.
    """
    table = _table(run_name(row))
    table.show_header = False
    table.add_column("")
    table.add_column("", justify="right")
    table.add_column("")
    for name, value, remark in _soak_figures(row) if row["purpose"] == "soak" else _figures(row, gates):
        table.add_row(name, value, Text(remark, style="dim"))
    console.print(table)
    told = {warning for candidate in judged for warning in candidate.warnings}
    for line in caveats.of_noise(row):
        if line not in told:
            _bullet(console, f"warning: {line}")


def print_runs(
    console: Console,
    rows: Sequence[dict[str, Any]],
    gates: Sequence[GateConfig],
    judged: Sequence[CandidateVerdict],
) -> None:
    """Runs, a line each below their candidate: what was measured, what it took, and what could not be.

    Args:
        console: where to.
        rows: the runs (`harness.record.RUN_COLUMNS`); candidates stand in the order of their first one.
        gates: the policy's; a bar holds each P95 against those that are asked of it.
        judged: what was decided on candidates; one that is not there has no verdict.
    """
    impossible: dict[str, list[str]] = {}
    for row in rows:
        if row["status"] == "unavailable":
            impossible.setdefault(str(row["error"]), []).append(str(row["candidate_label"]))
    possible = [row for row in rows if row["status"] != "unavailable"]
    if possible:
        _print_measured(console, possible, gates, judged)
    for error, labels in impossible.items():
        _bullet(console, f"not possible here: {', '.join(dict.fromkeys(labels))}: {error}")


def _print_measured(
    console: Console,
    rows: Sequence[dict[str, Any]],
    gates: Sequence[GateConfig],
    judged: Sequence[CandidateVerdict],
) -> None:
    scale = Scale.of(gates, rows)
    verdicts = {candidate_key(candidate.rows[0]): candidate.verdict for candidate in judged}
    candidates: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        candidates.setdefault(candidate_key(row), []).append(row)
    headings, plain = [], []
    for key, mine in candidates.items():
        label, verdict = harmless(str(mine[0]["candidate_label"]), laid_out=""), verdicts.get(key)
        headings.append(
            Text.assemble((verdict, _STYLES[verdict]), f"  {label}") if verdict else _one_line(label)
        )
        plain.append(_one_line(label))
    shared = [told for told in particulars(rows[0]) if all(told in particulars(row) for row in rows[1:])]
    lines = [
        [(*_run_cells(row, shared), *_latency_cells(row, scale)) for row in mine]
        for mine in candidates.values()
    ]
    _print_by_candidate(console, ", ".join(("runs", *shared)), _RUN_FIGURES, headings, lines)
    if any(_unclear(row) is None for row in rows):
        _bullet(console, scale.legend(rows))
    if any(as_number(row["truncated_over_ms"]) is not None for row in rows):
        _bullet(console, SERVED_TOLD)
    mark = "*: " if any(map(caveats.is_limited, rows)) else ""
    for line in caveats.of_runs(rows):
        _bullet(console, f"{mark}{line}")
    console.print()
    if any(as_number(row["peak_rss_bytes"]) is not None for row in rows):
        lines = [
            [(*_run_cells(row, shared), *_cost_cells(row)) for row in mine] for mine in candidates.values()
        ]
        _print_by_candidate(console, "memory and arithmetic", _COSTS, plain, lines)
        console.print()
    _print_quality(console, candidates, plain)
    for row in rows:
        for name, value, told in _own_figures(row):
            if name != _SPEARMAN:
                _bullet(console, f"{run_name(row)}: {name} {value}, {told}")
    for row in rows:
        if error := text_of(row["error"], ""):
            console.print(_one_line(f"{run_name(row)}: {error}", "yellow"))


def _print_quality(
    console: Console, candidates: dict[str, list[dict[str, Any]]], headings: Sequence[Text]
) -> None:
    """Each candidate's quality, a line for each batch size: texts and quality are the same at every place."""
    known = [
        (heading, [row for row in mine if as_number(row["separation"]) is not None])
        for heading, mine in zip(headings, candidates.values(), strict=True)
    ]
    known = [(heading, mine) for heading, mine in known if mine]
    if not known:
        return
    rows = [row for _, mine in known for row in mine]
    pairs = dict.fromkeys(str(row["sts_pairs"]) for row in rows if as_number(row["sts_pairs"]) is not None)
    shown = len(_QUALITY) - (not pairs)
    lines = [list(dict.fromkeys(_quality_cells(row)[:shown] for row in mine)) for _, mine in known]
    _print_by_candidate(console, "quality", _QUALITY[:shown], [heading for heading, _ in known], lines)
    scored = f"; STS: Spearman, {' or '.join(pairs)} pairs" if pairs else ""
    _bullet(console, f"overlap: top-10 neighbours shared with fp32, on the shipped texts{scored}")
    tried = f"of {BESIDE} beside a long text, {OBSERVED} in batches"
    _bullet(console, f"in batch: worst cosine to itself alone, {tried}")
    console.print()


def _quality_cells(row: dict[str, Any]) -> tuple[str, ...]:
    """How good a run's vectors are; in a batch, the worst of what was tried of its company."""
    return (
        str(row["batch_size"]),
        _number(row["separation_auc"], 4),
        _number(row["separation"], 3),
        _interval(row["separation_low"], row["separation_high"]),
        _number(row["neighbour_overlap"], 3),
        _interval(row["neighbour_overlap_low"], row["neighbour_overlap_high"]),
        _number(worst_in_batch(row), 4),
        _number(row["sts_spearman"]),
    )


def _print_by_candidate(
    console: Console,
    title: str,
    names: tuple[str, ...],
    headings: Sequence[Text],
    lines: Sequence[Sequence[tuple[str, ...]]],
) -> None:
    """A table with a heading over the lines of each candidate, as long as it is; the first column folds."""
    shown = [names, *(line for mine in lines for line in mine)]
    widths = [max(map(cell_len, column)) for column in zip(*shown, strict=True)]
    whole = max(cell_len(word) for line in shown for word in line[0].split() or [""])
    for gap in range(_GAP, 0, -1):  # less of one where a word would break else
        room = console.width - 1 - gap - sum(gap + width for width in widths[1:])  # Rich pads the last too
        if room >= whole:
            break
    widths[0] = min(widths[0], max(room, len(names[0])))

    def print_lines(those: Sequence[tuple[str, ...]], style: str = "") -> None:
        grid = Table.grid(padding=(0, gap, 0, 0))
        for i, width in enumerate(widths):
            left = i == 0 or not names[i]
            grid.add_column(width=width, justify="left" if left else "right", overflow="fold", style=style)
        for line in those:
            grid.add_row(*map(_one_line, line))
        console.print(Padding.indent(grid, 1))

    console.print(Text(title, style="bold"))
    print_lines([names], "dim")
    for heading, mine in zip(headings, lines, strict=True):
        console.print(heading)
        print_lines(mine)


def _run_cells(row: dict[str, Any], shared: Collection[str]) -> tuple[str, str]:
    """Where a run was measured and what tells it apart, but for what all runs share; its batch size."""
    soak = " soak" if row["purpose"] == "soak" else ""
    apart = [told for told in particulars(row) if told not in shared]
    return ", ".join((f"{row['workload']}{_load(row)}{soak}", *apart)), str(row["batch_size"])


def _latency_cells(row: dict[str, Any], scale: Scale) -> tuple[str, ...]:
    """What a run took, with its P95 as a bar; in the place of a bar, why there is none."""
    floor_ms = p95_floor_ms(row)
    return (
        f"{row['launches']}{'*' if caveats.is_limited(row) else ''}",
        served_cell(row, "latency_p50_ms", _short(row["latency_p50_ms"])),
        stopped_cells(floor_ms, _short(row["latency_p95_ms"]), "")[0],
        _p95_interval(row) if floor_ms is None else _STOPPED,
        _unclear(row) or scale.bar(row),
        served_cell(row, "throughput_texts_per_s", _number(row["throughput_texts_per_s"], digits=0)),
    )


def _unclear(row: dict[str, Any]) -> str | None:
    """Why a run's P95 is no figure to be held against a gate; None where it is one."""
    if row["status"] != "complete":
        return str(row["status"])
    if failed := as_number(row["launches_failed"]):
        return f"{failed:.0f} failed"
    return "unknown" if as_number(row["latency_p95_ms"]) is None else None


def _cost_cells(row: dict[str, Any]) -> tuple[str, ...]:
    """What a run takes: memory, and arithmetic against what this machine can do at most."""
    return (
        _bytes(row["peak_rss_bytes"]),
        _bytes(row["artifact_bytes"]),
        _number(row["achieved_gflops"], 0),
        _share(row["share_of_peak"]),
        str(row["run_id"]),
    )


def print_decision(
    console: Console, decision: Decision, *, details: bool, anew: str = "python -m harness.decide"
) -> None:
    """The verdict with its reasons; with `details` the gates of every candidate, else of the best.

    A candidate that is not possible here has no gates to show. `anew` is the command that decides the same.
    """
    shown = decision.candidates if details else decision.candidates[:1]
    for candidate in shown:
        if not candidate.impossible:
            _print_gates(console, candidate)
    others = sum(not candidate.impossible for candidate in decision.candidates[len(shown) :])
    if others:
        more = counted(others, "more candidate")
        _bullet(console, f"gates of {more}: {anew}")
    if decision.baseline is not None:
        _print_speedups(console, decision.baseline)
    pick = harmless(f"  {decision.chosen}", laid_out="") if decision.chosen else ""
    headline = Text(decision.verdict, style=_STYLES[decision.verdict])
    headline.append(
        f"{pick}  ({decision.evidence}{noise_mark(decision)}, policy {decision.policy})",
        style="not bold default",
    )
    _sentence(console, headline)
    for reason in decision.reasons:
        _bullet(console, reason)
    for line in decision.not_picked:
        _bullet(console, f"not picked: {line}")
    for line in decision.firmness:
        _bullet(console, line)
    if decision.fallback:
        _bullet(console, f"fallback: {decision.fallback}")
    for warning in decision.warnings:
        _bullet(console, f"warning: {warning}")
    for step in decision.next_steps[:_STEPS_SHOWN]:
        _bullet(console, f"next: {step}")
    if (others := len(decision.next_steps) - _STEPS_SHOWN) > 0:
        more = counted(others, "more step")
        _bullet(console, f"next: {more}, by candidate, best first: {anew} format=markdown")


def print_use(console: Console, candidate: CandidateVerdict) -> None:
    """How a candidate is loaded, as `use_lines` tells it."""
    match use_lines(candidate):
        case (told,):
            _bullet(console, told)
        case (told, *code):
            for line in (told, *(f"  {each}" for each in code)):
                console.print(_one_line(line), soft_wrap=True)


def use_lines(candidate: CandidateVerdict) -> tuple[str, ...]:
    """How a candidate is loaded: a sentence, then lines of Python where its artifact's folder is here.

    Elsewhere the sentence names the artifact and the command that builds one. Nothing for what is no, or
    has nothing to load.
    """
    row = next((row for row in candidate.rows if text_of(row["artifact_sha256"], "")), None)
    if candidate.verdict == "NO_GO" or row is None:
        return ()
    if row["weights"] != "trained" or row["runtime"] != "onnxruntime":
        return ()
    sha256 = str(row["artifact_sha256"])
    folder = folder_of(sha256)
    if not folder.is_dir():
        return (
            f"to use {candidate.label}: its artifact, sha256 {sha256}, is not on this machine; "
            f"`{again(row)}` builds one here and tells how to load it",
        )
    ep = "" if row["ep"] == "cpu" else f", ep={row['ep']!r}"
    return (
        f"to use {candidate.label}, load its artifact's folder, here or as a copy elsewhere:",
        "from harness import EmbeddingProvider",
        f"provider = EmbeddingProvider.load({str(folder)!r}{ep})",
    )


def nothing_new(rows: Sequence[dict[str, Any]], began: datetime) -> str:
    """That a command measured nothing of runs that had all that it asks for; empty where it measured each.

    Args:
        rows: the runs, as they are kept now.
        began: when the command did.
    """
    known = [row for row in rows if row["launches"] and row["finished_at"] < began]
    if not known:
        return ""
    of = "" if len(rows) == 1 else f" of {len(known)} of {counted(len(rows), 'run')}"
    how = "settled" if all(row["settled"] for row in known) else "done before"
    launches, newest = sum(int(row["launches"]) for row in known), max(row["finished_at"] for row in known)
    apart = "" if len(known) == len(rows) else ", apart from the others: the machine may have changed between"
    until = f"{newest:%Y-%m-%d %H:%M} UTC{apart}"
    return (
        f"nothing measured{of}: {how} by {counted(launches, 'launch')} until {until}; "
        "measure.force=true begins a new attempt"
    )


def model_line(model: ModelConfig) -> str:
    """What is known of a model of the user's own, from its files and from what was typed."""
    prompts = [f"{name} {text!r}" for name, text in model.prompts.model_dump().items() if text]
    normalised = "L2-normalised" if model.normalize else "not normalised"
    of = model.path or model.id or "a twin of your own shape"
    return (
        f"{model.shown} is {of}: {model.pooling} pooling, {normalised}, "
        f"{model.vector_dim} dimensions, texts of at most {model.max_length} tokens, "
        + (f"prompts {', '.join(prompts)}" if prompts else "no prompts")
    )


def print_comparisons(console: Console, comparisons: Sequence[Comparison]) -> None:
    """Two sets of runs side by side, a line a pair and metric; below, which runs a pair is of."""
    from harness.comparison import RATIO_TOLD

    table = _table("B against A")
    table.add_column("run", overflow="fold")
    table.add_column("metric")
    for name in ("A ms", "B ms", "B / A", "interval"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("")
    for c in comparisons:
        table.add_row(
            _one_line(c.label),
            c.metric.removesuffix("_ms"),
            at_least(_number(c.a_ms)) if c.a_at_least else _number(c.a_ms),
            at_least(_number(c.b_ms)) if c.b_at_least else _number(c.b_ms),
            _number(c.ratio, 3),
            c.interval,
            Text(
                c.word + (", paired" if c.paired else ""),
                style={"slower": "bold red", "quicker": "bold green"}.get(c.word, ""),
            ),
        )
    console.print(table)
    if any(c.ratio is not None for c in comparisons):
        _bullet(console, RATIO_TOLD)
    several = len({c.label for c in comparisons}) > 1
    runs = [f"A is run {c.a_run}, B is run {c.b_run}" if c.a_run else "" for c in comparisons]
    told = (
        (c.label, line)
        for c, of in zip(comparisons, runs, strict=True)
        for line in (of, c.reason, *c.notes)
        if line
    )
    for label, line in dict.fromkeys(told):
        _bullet(console, f"{label}: {line}" if several else line)


def print_retrieval_comparisons(console: Console, comparisons: Sequence[RetrievalComparison]) -> None:
    """What two sets of runs found in the user's own documents, side by side, a line a pair."""
    table = _table("B against A: nDCG@10, paired by query")
    table.add_column("run", overflow="fold")
    for name in ("queries", "A", "B", "B − A", "interval"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("")
    for c in comparisons:
        interval = "" if c.low is None or c.high is None else f"{c.low:+.4f} to {c.high:+.4f}"
        better = c.change == "changed" and (c.difference or 0.0) > 0
        table.add_row(
            _one_line(c.label),
            "?" if c.queries is None else str(c.queries),
            _number(c.a, 4),
            _number(c.b, 4),
            "?" if c.difference is None else f"{c.difference:+.4f}",
            interval,
            Text(c.change, style={"changed": "bold green" if better else "bold red"}.get(c.change, "")),
        )
    console.print(table)
    for c in comparisons:
        if c.reason:
            _bullet(console, f"{c.label}: {c.reason}" if len(comparisons) > 1 else c.reason)


def print_stages(console: Console, report: dict[str, Any]) -> None:
    """How a provider's stages compare with the model's, a line a stage, and an example of each difference."""
    table = _table("stage by stage")
    table.add_column("stage")
    for name in ("texts", "differ", "largest distance"):
        table.add_column(name, justify="right")
    for stage in report["stages"]:
        worst = as_number(stage["worst_distance"])
        differing = str(stage["differing"]) if stage["texts"] else "not given"
        table.add_row(
            stage["stage"],
            str(stage["texts"]),
            Text(differing, style="bold red" if stage["differing"] else ""),
            "" if worst is None else f"{worst:.1e}",
        )
    console.print(table)
    shown = set()
    for difference in report["differences"]:
        if difference["stage"] not in shown:
            shown.add(difference["stage"])
            where, text = difference["where"], difference["text"]
            _bullet(console, f"{difference['stage']}, {where}, {text[:40]!r}: {difference['told']}")
    first = report["first_difference"]
    untold = [stage["stage"] for stage in report["stages"] if not stage["texts"]]
    told = "all that was given agrees" if first is None else f"the first stage that differs is {first}"
    _bullet(console, told + (f"; not given: {', '.join(untold)}" if untold else ""))


def _print_gates(console: Console, candidate: CandidateVerdict) -> None:
    table = _table(f"{candidate.label}: gates")
    table.padding, table.show_edge = 0, False  # seven columns and the longest of the shipped labels in 80
    table.add_column("gate", overflow="fold", min_width=12)
    for name in ("needed", "value", "interval", "distance", "%"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("result, miss", overflow="fold", min_width=9)
    for tier in get_args(Tier):
        results = [result for result in candidate.gates if result.gate.tier == tier]
        if results:
            table.add_row(Text(tier, style="bold"))
        for result in results:
            _, label, _, value, interval, distance, _ = gate_cells(result)
            over = "" if result.over is None else f" {result.over}/{result.n}"
            table.add_row(
                _one_line(label),
                needed_text(result.gate),
                value,
                interval,
                distance_text(result, 3) if distance else "",
                percent_text(result).removesuffix("%") if distance else "",
                Text(status_text(result.status) + over, style=_STYLES[result.status]),
            )
    console.print(table)
    console.print()
    for note in candidate.notes:
        _bullet(console, f"note: {note}")
    for warning in candidate.warnings:
        _bullet(console, f"warning: {warning}")


def _print_speedups(console: Console, baseline: BaselineRecord) -> None:
    table = _table(baseline_title(baseline))
    table.add_column("candidate", overflow="fold", min_width=12)
    for name in ("latency", "baseline", "candidate's", "speed-up", "interval"):
        table.add_column(name, justify="right", no_wrap=True)
    for speedup in baseline.speedups:
        label, *figures = speedup_cells(speedup)
        table.add_row(_one_line(label), *figures)
    console.print(table)
    for line in baseline_told(baseline):
        _bullet(console, line)


def _quality_figures(row: dict[str, Any]) -> list[tuple[str, str, str]]:
    if row["weights"] != "trained":
        return [("quality", "none", f"{row['weights']} weights: latency, memory and placement alone")]
    beside_own = " on the shipped texts" if as_number(row["texts_count"]) is not None else ""
    overlap = f"{_number(row['neighbour_overlap'], 3)}{_bounds(row, 'neighbour_overlap')}"
    return [
        ("L2 norm error", _number(row["l2_norm_max_error"], 7), "largest over the quality texts"),
        ("similar / dissimilar", f"{_number(row['similar_mean'], 3)} / {_number(row['dissimilar_mean'], 3)}",
         str(row["quality_dataset"])),
        ("separation", _number(row["separation"], 3),
         f"AUC {_number(row['separation_auc'], 4)}; {_number(row['separation_standardized'])} deviations"),
        ("cosine to fp32", _number(row["parity_cosine_min"], 6),
         f"worst; top-10 overlap{beside_own} {overlap}"),
        ("overlap, fp32 index", _number(row["index_overlap"], 3),
         f"top-10, as queries{_bounds(row, 'index_overlap')}"),
        ("cosine in a batch", _number(row["batch_cosine_min"], 6),
         f"worst of {BESIDE} texts, beside a long one"),
        *_batch_figures(row),
        ("same batch twice", _repeated(row["repeat_max_difference"]), "largest difference of a number"),
        *_own_figures(row),
    ]  # fmt: skip


def _batch_figures(row: dict[str, Any]) -> list[tuple[str, str, str]]:
    """What the company in a batch does; a batch of one text has none."""
    return [
        (
            f"in {kind} batches",
            _number(row[f"batch_cosine_min_{kind}"], 6),
            f"worst of {OBSERVED} texts, to itself alone",
        )
        for kind in ("sorted", "random")
        if as_number(row[f"batch_cosine_min_{kind}"]) is not None
    ]


def _repeated(difference: Any) -> str:
    number = as_number(difference)
    return "?" if number is None else "bit-equal" if number == 0 else f"{number:.1e}"


def _own_figures(row: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Quality on the user's own data, where there is any."""
    figures = []
    if as_number(row["sts_pairs"]) is not None:
        of = f"{row['sts_pairs']} pairs"
        interval = _interval(row["sts_spearman_low"], row["sts_spearman_high"])
        told = f"interval {interval}, {of}" if interval else of
        figures.append((_SPEARMAN, _number(row["sts_spearman"]), told))
    if as_number(row["retrieval_queries"]) is not None:
        of = f"{row['retrieval_queries']} queries, {row['retrieval_documents']} documents"
        interval = _interval(row["ndcg_at_10_low"], row["ndcg_at_10_high"])
        told = f"interval {interval}, {of}" if interval else of
        recall = f"{_number(row['recall_at_10'], 3)} / {_number(row['recall_at_100'], 3)}"
        figures.append(("nDCG@10", _number(row["ndcg_at_10"], 3), told))
        figures.append(("recall@10 / @100", recall, f"MRR@10 {_number(row['mrr_at_10'], 3)}"))
    if as_number(row["texts_count"]) is not None:
        overlap = f"{_number(row['texts_overlap'], 3)}{_bounds(row, 'texts_overlap')}"
        told = f"worst of {row['texts_count']}; top-10 overlap {overlap}"
        figures.append(("own texts to fp32", _number(row["texts_cosine_min"], 6), told))
        told = f"top-10, as queries{_bounds(row, 'texts_index_overlap')}"
        figures.append(("own, fp32 index", _number(row["texts_index_overlap"], 3), told))
    for task, score in json.loads(text_of(row["mteb_scores"], "{}")).items():
        figures.append((f"MTEB {task}", _number(score, 4), f"main score, mteb {row['mteb_version']}"))
    return figures


def _figures(row: dict[str, Any], gates: Sequence[GateConfig]) -> list[tuple[str, str, str]]:
    launches = f"{row['launches']} launches, {row['requests']} requests"
    interval = f"interval {shown}" if (shown := _p95_interval(row)) else ""
    bounds = [gate.bound for gate in Scale.of(gates, [row]).gates]
    value = _number(row["latency_p95_ms"], beside=bounds)
    p95, told = stopped_cells(p95_floor_ms(row), value, interval, beside=bounds)
    stages = ("tokenize_p50_ms", "infer_p50_ms")
    tokenise, infer = (served_cell(row, name, _unit(row[name], "ms", digits=3)) for name in stages)
    rate = _unit(row["throughput_texts_per_s"], "texts/s", digits=0)
    served = "" if as_number(row["truncated_over_ms"]) is None else "≈: of the requests served till then"
    span_s = as_number(row["evidence_span_s"])
    return [
        ("P50 latency", served_cell(row, "latency_p50_ms", _unit(row["latency_p50_ms"], "ms")), launches),
        ("P95 latency", f"{p95} ms", told),
        *_bar_figures(row, gates),
        ("P99 latency", _unit(row["latency_p99_ms"], "ms"), _p99_told(row)),
        ("throughput", served_cell(row, "throughput_texts_per_s", rate), served),
        ("tokenise P50", tokenise, ""),
        ("infer P50", infer, _limit(row)),
        ("cold start", _unit(row["cold_start_s"], "s"), "process to first vector"),
        ("peak memory", _bytes(row["peak_rss_bytes"]), f"artifact {_bytes(row['artifact_bytes'])}"),
        ("model files", "unpinned" if row["revision_pinned"] is False else "", text_of(row["source"], "")),
        ("nodes on the EP", f"{_number(row['ep_nodes'], 0)} of {_number(row['nodes_total'], 0)}",
         f"{row['ep_provider']}; {_share(row['ep_time_share'])} of their time"),
        *_quality_figures(row),
        ("evidence", "?" if span_s is None else format_duration(span_s),
         f"of this machine's time; {row['status']}"),
        ("noise", _share(row["noise"]), f"of launches disturbed {text_of(row['disturbance'], '')}".rstrip()),
        ("run", "", f"{row['run_id']}, for harness.compare"),
    ]  # fmt: skip


def _p99_told(row: dict[str, Any]) -> str:
    """What a P99 is of; where it is unknown, why."""
    if as_number(row["latency_p99_ms"]) is not None:
        return "over all requests"
    stopped = as_number(row["truncated_over_ms"]) is not None
    return (
        "launches were stopped early" if stopped else f"takes {P99_MIN_REQUESTS:,} requests that were served"
    )


def _bar_figures(row: dict[str, Any], gates: Sequence[GateConfig]) -> list[tuple[str, str, str]]:
    """The P95 against the gates, where any is asked of it and it is a figure."""
    scale = Scale.of(gates, [row])
    if _unclear(row) or not scale.gates:
        return []
    told = f"{scale.bar(row)}\n{', '.join(scale.gates_told)}"
    return [("against the gates", f"of {scale.most_ms:.3g} ms", told)]


def _soak_figures(row: dict[str, Any]) -> list[tuple[str, str, str]]:
    def bounds(name: str, digits: int) -> str:
        low, high = row[f"{name}_low"], row[f"{name}_high"]
        return f"interval {_number(low, digits)} to {_number(high, digits)}"

    return [
        ("soak", format_duration(as_number(row["soak_s"]) or 0.0),
         f"{row['requests']} requests, one process"),
        ("P50 latency", _unit(row["latency_p50_ms"], "ms"), "median of 30 blocks"),
        ("throughput", _unit(row["throughput_texts_per_s"], "texts/s", digits=0), ""),
        ("memory growth", _unit(row["rss_slope_bytes_per_request"], "B/request"),
         bounds("rss_slope_bytes_per_request", 2)),
        ("handles gained", _number(row["handles_gained"], 0), "open files and threads"),
        ("latency drift", _number(row["latency_drift"], 3),
         f"last third over the middle one; {bounds('latency_drift', 3)}"),
        ("peak memory", _bytes(row["peak_rss_bytes"]), f"artifact {_bytes(row['artifact_bytes'])}"),
        ("noise", _share(row["noise"]), f"of launches disturbed {text_of(row['disturbance'], '')}".rstrip()),
        ("run", "", f"{row['run_id']}, for harness.compare"),
    ]  # fmt: skip


def _limit(row: dict[str, Any]) -> str:
    """How near the machine's limit it came; nothing where that is unknown."""
    if as_number(row["share_of_peak"]) is None:
        return ""
    achieved, limit = _number(row["achieved_gflops"], 0), _number(row["limit_gflops"], 0)
    return f"{achieved} GFLOP/s, {_share(row['share_of_peak'])} of fp32's {limit} here"


def _load(row: dict[str, Any]) -> str:
    """Callers and the rate of an open loop, where they are not one caller in a closed one."""
    place = row_place(row)
    callers = "" if place.clients == 1 else f" ×{place.clients}"
    return callers if place.offered_qps is None else f"{callers} {place.offered_qps:g}/s"


def _share(value: Any) -> str:
    number = as_number(value)
    return "?" if number is None else share_text(number)


def _table(title: str) -> Table:
    return Table(
        title=_one_line(title, "bold"),
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )


def _one_line(text: str, style: str = "") -> Text:
    """A text that stays one line, whatever a name in it holds."""
    return Text(harmless(text, laid_out=""), style)


def _bullet(console: Console, text: str) -> None:
    _sentence(console, _one_line(f"· {text}"))


def _sentence(console: Console, text: Text) -> None:
    """A sentence: wrapped on a terminal, elsewhere one line whatever its length."""
    console.print(text, soft_wrap=not console.is_terminal)


def _number(value: Any, digits: int = 2, *, beside: Iterable[float] = ()) -> str:
    number = as_number(value)
    return "?" if number is None else decimal_text(number, digits, beside=beside)


def _short(value: Any) -> str:
    """A figure for a narrow column: three significant digits, or all before the point."""
    number = as_number(value)
    return "?" if number is None else decimal_text(number, 2 if number < 10 else 1 if number < 100 else 0)


def _unit(value: Any, unit: str, digits: int = 2) -> str:
    return f"{_number(value, digits)} {unit}"


def _interval(low: Any, high: Any) -> str:
    if as_number(low) is None and as_number(high) is None:
        return ""
    return f"{_short(low)}–{_short(high)}"


def _p95_interval(row: dict[str, Any]) -> str:
    return _interval(row["latency_p95_low_ms"], row["latency_p95_high_ms"])


def _bounds(row: dict[str, Any], name: str) -> str:
    """A figure's interval, to stand behind it; nothing where it has none."""
    interval = _interval(row[f"{name}_low"], row[f"{name}_high"])
    return f" ({interval})" if interval else ""


def _bytes(value: Any) -> str:
    number = as_number(value)
    return "?" if number is None else format_bytes(int(number))
