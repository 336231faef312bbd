"""Tables for the terminal; right in 80 columns, plain where standard output is no terminal."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.gates import as_number, row_place, text_of
from harness.units import format_bytes, format_duration
from harness.verdict import (
    baseline_title,
    baseline_told,
    distance_text,
    gate_cells,
    percent_text,
    speedup_cells,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.comparison import Comparison
    from harness.decision_record import BaselineRecord
    from harness.verdict import CandidateVerdict, Decision

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


def error_console() -> Console:
    """Standard error: progress, warnings, errors."""
    return Console(stderr=True)


def output_console() -> Console:
    """Standard output: results."""
    return Console()


def print_run(console: Console, row: dict[str, Any]) -> None:
    """A run's figures."""
    table = _table(f"{row['candidate_label']}, {row_place(row)}")
    table.show_header = False
    table.add_column("")
    table.add_column("", justify="right")
    table.add_column("")
    for name, value, remark in _soak_figures(row) if row["purpose"] == "soak" else _figures(row):
        table.add_row(name, value, Text(remark, style="dim"))
    console.print(table)


def print_runs(console: Console, rows: Sequence[dict[str, Any]]) -> None:
    """The runs of a sweep, a line each: what was measured, what it took, and what could not be."""
    impossible: dict[str, list[str]] = {}
    for row in rows:
        if row["status"] == "unavailable":
            impossible.setdefault(str(row["error"]), []).append(str(row["candidate_label"]))
    possible = [row for row in rows if row["status"] != "unavailable"]
    if possible:
        _print_measured(console, possible)
    for error, labels in impossible.items():
        _bullet(console, f"not possible here: {', '.join(dict.fromkeys(labels))}: {error}")


def _print_measured(console: Console, rows: Sequence[dict[str, Any]]) -> None:
    table = _runs_table("runs", "n", "P50 ms", "P95 ms", "interval", "texts/s")
    table.add_column("", no_wrap=True)
    for row in rows:
        failed = f"{row['launches_failed']} failed" if row["launches_failed"] else ""
        table.add_row(
            *_run_cells(row),
            str(row["launches"]),
            _short(row["latency_p50_ms"]),
            _short(row["latency_p95_ms"]),
            _interval(row["latency_p95_low_ms"], row["latency_p95_high_ms"]),
            _number(row["throughput_texts_per_s"], digits=0),
            Text(failed if row["status"] == "complete" else row["status"], style="yellow"),
        )
    console.print(table)
    if any(as_number(row["peak_rss_bytes"]) is not None for row in rows):
        console.print(_costs(rows))
    for row in rows:
        for name, value, told in _own_figures(row):
            _bullet(console, f"{row['candidate_label']}, {row_place(row)}: {name} {value}, {told}")
    for row in rows:
        if row["error"]:
            console.print(Text(f"{row['candidate_label']}, {row_place(row)}: {row['error']}", "yellow"))


def _costs(rows: Sequence[dict[str, Any]]) -> Table:
    """What runs take: memory, and arithmetic against what this machine can do at most."""
    table = _runs_table("memory and arithmetic", "memory", "artifact", "GFLOP/s", "of the limit")
    for row in rows:
        table.add_row(
            *_run_cells(row),
            _bytes(row["peak_rss_bytes"]),
            _bytes(row["artifact_bytes"]),
            _number(row["achieved_gflops"], 0),
            _share(row["share_of_peak"]),
        )
    return table


def _runs_table(title: str, *figures: str) -> Table:
    """A table with a line a run: what `_run_cells` gives, then `figures`."""
    table = _table(title)
    table.add_column("candidate", overflow="fold", min_width=9)
    table.add_column("workload", overflow="fold")
    for name in ("batch", *figures):
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _run_cells(row: dict[str, Any]) -> tuple[Text, Text, str]:
    replicate = f" #{row['replicate']:.0f}" if row["replicate"] else ""
    workload = Text(f"{row['workload']}{_load(row)}{replicate}")
    return Text(str(row["candidate_label"])), workload, str(row["batch_size"])


def print_decision(console: Console, decision: Decision, *, details: bool) -> None:
    """The verdict with its reasons; with `details` the gates of every candidate, else of the best."""
    shown = decision.candidates if details else decision.candidates[:1]
    for candidate in shown:
        _print_gates(console, candidate)
    if decision.baseline is not None:
        _print_speedups(console, decision.baseline)
    pick = f"  {decision.chosen}" if decision.chosen else ""
    headline = Text(decision.verdict, style=_STYLES[decision.verdict])
    headline.append(f"{pick}  ({decision.evidence}, policy {decision.policy})", style="not bold default")
    console.print(headline)
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
    for step in decision.next_steps:
        _bullet(console, f"next: {step}")


def print_comparisons(console: Console, comparisons: Sequence[Comparison]) -> None:
    """Two sets of runs side by side, a line a pair and metric."""
    table = _table("B against A")
    table.add_column("run", overflow="fold")
    table.add_column("metric")
    for name in ("A ms", "B ms", "B / A", "interval"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("")
    for c in comparisons:
        table.add_row(
            Text(c.label),
            c.metric.removesuffix("_ms"),
            ("≥" if c.a_at_least else "") + _number(c.a_ms),
            ("≥" if c.b_at_least else "") + _number(c.b_ms),
            _number(c.ratio, 3),
            c.interval,
            Text(
                c.change + (", paired" if c.paired else ""),
                style={"changed": "bold red" if c.slower else "bold green"}.get(c.change, ""),
            ),
        )
    console.print(table)
    several = len({c.label for c in comparisons}) > 1
    told = ((c.label, line) for c in comparisons for line in (c.reason, *c.notes) if line)
    for label, line in dict.fromkeys(told):
        _bullet(console, f"{label}: {line}" if several else line)


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
    table.padding = 0  # eight columns in 80
    table.add_column("tier")
    table.add_column("gate", overflow="fold", min_width=12)
    for name in ("needed", "value", "interval", "distance", "%"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("result, over", min_width=9, max_width=10)
    for result in candidate.gates:
        tier, label, _, value, interval, distance, _ = gate_cells(result)
        gate = result.gate
        needed = "yes" if gate.metric == "finite" else f"{gate.op}{gate.bound:g}"
        quantile = "" if gate.launch_quantile is None else f" @{gate.launch_quantile:.0%}"
        over = "" if result.over is None else f" {result.over}/{result.n}"
        table.add_row(
            tier,
            Text(label),
            needed + quantile,
            value,
            interval,
            distance_text(result, 3) if distance else "",
            percent_text(result) if distance else "",
            Text(result.status.replace("_", " ").lower() + over, style=_STYLES[result.status]),
        )
    console.print(table)
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
        table.add_row(Text(label), *figures)
    console.print(table)
    for line in baseline_told(baseline):
        _bullet(console, line)


def _quality_figures(row: dict[str, Any]) -> list[tuple[str, str, str]]:
    if row["weights"] != "trained":
        return [("quality", "none", f"{row['weights']} weights: latency, memory and placement alone")]
    return [
        ("L2 norm error", _number(row["l2_norm_max_error"], 7), "largest over the quality texts"),
        ("similar / dissimilar", f"{_number(row['similar_mean'], 3)} / {_number(row['dissimilar_mean'], 3)}",
         str(row["quality_dataset"])),
        ("separation", _number(row["separation"], 3),
         f"AUC {_number(row['separation_auc'], 4)}; {_number(row['separation_standardized'])} deviations"),
        ("cosine to fp32", _number(row["parity_cosine_min"], 6),
         f"worst; top-10 overlap {_number(row['neighbour_overlap'], 3)}{_bounds(row, 'neighbour_overlap')}"),
        ("overlap, fp32 index", _number(row["index_overlap"], 3),
         f"top-10, as queries{_bounds(row, 'index_overlap')}"),
        ("cosine in a batch", _number(row["batch_cosine_min"], 6), "of a text to itself, beside a long one"),
        *_batch_figures(row),
        ("same batch twice", _repeated(row["repeat_max_difference"]), "largest difference of a number"),
        *_own_figures(row),
    ]  # fmt: skip


def _batch_figures(row: dict[str, Any]) -> list[tuple[str, str, str]]:
    """What the company in a batch does; a batch of one text has none."""
    return [
        (f"in {kind} batches", _number(row[f"batch_cosine_min_{kind}"], 6), "of a text to itself alone")
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
        figures.append(("STS Spearman ×100", _number(row["sts_spearman"]), told))
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


def _figures(row: dict[str, Any]) -> list[tuple[str, str, str]]:
    launches = f"{row['launches']} launches, {row['requests']} requests"
    interval = _interval(row["latency_p95_low_ms"], row["latency_p95_high_ms"])
    return [
        ("P50 latency", _unit(row["latency_p50_ms"], "ms"), launches),
        ("P95 latency", _unit(row["latency_p95_ms"], "ms"), f"interval {interval}" if interval else ""),
        ("P99 latency", _unit(row["latency_p99_ms"], "ms"), "over all requests"),
        ("throughput", _unit(row["throughput_texts_per_s"], "texts/s", digits=0), ""),
        ("tokenise P50", _unit(row["tokenize_p50_ms"], "ms", digits=3), ""),
        ("infer P50", _unit(row["infer_p50_ms"], "ms", digits=3), _limit(row)),
        ("cold start", _unit(row["cold_start_s"], "s"), "process to first vector"),
        ("peak memory", _bytes(row["peak_rss_bytes"]), f"artifact {_bytes(row['artifact_bytes'])}"),
        ("model files", "unpinned" if row["revision_pinned"] is False else "", text_of(row["source"], "")),
        ("nodes on the EP", f"{_number(row['ep_nodes'], 0)} of {_number(row['nodes_total'], 0)}",
         f"{row['ep_provider']}; {_share(row['ep_time_share'])} of their time"),
        *_quality_figures(row),
        ("evidence", format_duration(as_number(row["evidence_span_s"]) or 0.0),
         f"of this machine's time; {row['status']}"),
        ("noise", _share(row["noise"]), f"of launches disturbed {text_of(row['disturbance'], '')}".rstrip()),
    ]  # fmt: skip


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
    ]  # fmt: skip


def _limit(row: dict[str, Any]) -> str:
    """How near the machine's limit it came; nothing where that is unknown."""
    if as_number(row["share_of_peak"]) is None:
        return ""
    achieved, limit = _number(row["achieved_gflops"], 0), _number(row["limit_gflops"], 0)
    return f"{achieved} GFLOP/s, {_share(row['share_of_peak'])} of the machine's {limit}"


def _load(row: dict[str, Any]) -> str:
    """Callers and the rate of an open loop, where they are not one caller in a closed one."""
    place = row_place(row)
    callers = "" if place.clients == 1 else f" ×{place.clients}"
    return callers if place.offered_qps is None else f"{callers} {place.offered_qps:g}/s"


def _share(value: Any) -> str:
    number = as_number(value)
    return "?" if number is None else f"{number:.0%}"


def _table(title: str) -> Table:
    return Table(
        title=Text(title, style="bold"),
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )


def _bullet(console: Console, text: str) -> None:
    console.print(Text(f"· {text}"), soft_wrap=not console.is_terminal)


def _number(value: Any, digits: int = 2) -> str:
    number = as_number(value)
    return "?" if number is None else f"{number:.{digits}f}"


def _short(value: Any) -> str:
    """A figure for a narrow column: three significant digits, or all before the point."""
    number = as_number(value)
    return "?" if number is None else f"{number:.{2 if number < 10 else 1 if number < 100 else 0}f}"


def _unit(value: Any, unit: str, digits: int = 2) -> str:
    return f"{_number(value, digits)} {unit}"


def _interval(low: Any, high: Any) -> str:
    if as_number(low) is None and as_number(high) is None:
        return ""
    return f"{_short(low)}–{_short(high)}"


def _bounds(row: dict[str, Any], name: str) -> str:
    """A figure's interval, to stand behind it; nothing where it has none."""
    interval = _interval(row[f"{name}_low"], row[f"{name}_high"])
    return f" ({interval})" if interval else ""


def _bytes(value: Any) -> str:
    number = as_number(value)
    return "?" if number is None else format_bytes(int(number))
