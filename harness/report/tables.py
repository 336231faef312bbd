"""What a report says in words and tables, as HTML fragments; every text from results is escaped.

Each function gives something on an empty result set too: what is missing, and the command that measures it.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any, NamedTuple

from harness.caveats import is_brief
from harness.comparison import RATIO_TOLD
from harness.evidence import evidence_key, names_apart, rows_of, with_environment
from harness.gates import (
    SERVED_TOLD,
    as_number,
    figure_of,
    p95_floor_ms,
    row_place,
    served_cell,
    stopped_cells,
    text_of,
)
from harness.rerun import particulars
from harness.stand_ins import harmless
from harness.terminal import use_lines
from harness.units import at_least, counted, format_bytes, format_duration, number_text, share_text
from harness.verdict import (
    PICKABLE,
    baseline_title,
    baseline_told,
    gate_cells,
    noise_mark,
    speedup_cells,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from harness.comparison import Comparison
    from harness.report.data import Results
    from harness.verdict import CandidateVerdict, Decision

Row = dict[str, Any]

# Lines of a list that stand in the first screen, and characters of a line; what is more unfolds.
_MOST_LINES = 5
_MOST_CHARACTERS = 600
# A command in a sentence, to the backtick behind it; one within quotes is of a name.
_COMMAND = re.compile(r"""`(python -m (?:'[^']*'|"[^"]*"|[^`'"])*)`""")
_VERDICT_CLASS = {"GO": "good", "CONDITIONAL_GO": "fair", "INCONCLUSIVE": "fair", "NO_GO": "bad"}
_STATUS_CLASS = {"pass": "good", "fail": "bad", "undecided": "fair", "not": "fair"}


@dataclass(frozen=True)
class Html:
    """A fragment of a page, shown by notebooks as it is; what a browser would obey is told by its number."""

    text: str

    def _repr_html_(self) -> str:
        return harmless(self.text)


class Column(NamedTuple):
    """A column of a table: heading, what to show, for numbers the value to sort by; sentences fold.

    `more` is what a page shows on request alone.
    """

    heading: str
    shown: Callable[[Row], str]
    value: Callable[[Row], float | None] | None = None
    folds: bool = False
    more: bool = False


def verdict(data: Results) -> Html:
    """The decision: verdict, pick and why in one screen, what to do next, how to load it, how firm it is."""
    decision = data.decision
    notes = "".join(_note(note) for note in data.notes)
    if decision is None:
        return Html(notes + _note(_nothing(data)))
    kind = _VERDICT_CLASS[decision.verdict]
    pick = f'<span class="pick">{escape(decision.chosen)}</span>' if decision.chosen else ""
    cpu, cores = (decision.machine[name] for name in ("cpu", "cores"))
    machine = str(cpu) if cores is None else f"{cpu}, {counted(cores, 'core')}"
    box = (
        f'<div class="verdict {kind}"><strong>{_words(decision.verdict)}</strong>{pick}'
        f'<span class="evidence"><b>{escape(decision.evidence)} evidence{noise_mark(decision)}</b>, policy '
        f"{escape(decision.policy)}; {escape(machine)}</span></div>"
    )
    sections = (
        ("Fallback", _list(filter(None, [decision.fallback]))),
        ("Next", _unfolding(decision.next_steps)),
        ("To use it", _use(decision.candidates[0]) if decision.chosen else ""),
        ("Warnings", _list(decision.warnings)),
        ("How firm", _list(decision.firmness)),
        ("Not picked", _unfolding(decision.not_picked)),
    )
    told = "".join(f"<h3>{heading}</h3>{lines}" for heading, lines in sections if lines)
    return Html(f"{box}{_unfolding(decision.reasons)}{notes}{told}")


def gates(data: Results) -> Html:
    """Every gate of every measured candidate with value, interval and distance; the best candidate's first.

    Those that are not possible here stand in a line for each reason.
    """
    if data.decision is None:
        return Html(_note(_nothing(data)))
    measured = [candidate for candidate in data.decision.candidates if not candidate.impossible]
    parts = [f"<h3>{_heading(first)}</h3>{_gates_table(first)}{_told(first)}" for first in measured[:1]]
    parts += [
        f"<details><summary>{_heading(candidate)}</summary>{_list(candidate.reasons)}"
        f"{_gates_table(candidate)}{_told(candidate)}</details>"
        for candidate in measured[1:]
    ]
    return Html("".join(parts) + _impossible(data.decision))


def speedups(data: Results) -> Html:
    """How many times quicker the candidates are than the baseline; nothing where none was asked for."""
    baseline = data.decision.baseline if data.decision else None
    if baseline is None:
        return Html("")
    brief = {str(row["run_id"]): is_brief(row) for row in rows_of(data.runs)}
    title = baseline_title(baseline)
    theirs = f"baseline ({baseline.kind})"
    headings = ("candidate", "latency", theirs, "candidate's", "speed-up", "interval", "evidence")
    rows = [
        [escape(cell) for cell in (*speedup_cells(each), "provisional" if brief[each.run_id] else "")]
        for each in baseline.speedups
    ]
    table = _plain_table(title, headings, rows) if rows else ""
    return Html(f"<h3>{escape(title[0].upper() + title[1:])}</h3>{_list(baseline_told(baseline))}{table}")


def runs(data: Results) -> Html:
    """Every run, sortable and filterable."""
    rows = _rows(data)
    told = _note(SERVED_TOLD) if any(_known(row, "truncated_over_ms") for row in rows) else ""
    return Html(_table(_ordered(rows), _RUNS, name="runs", empty=_nothing(data)).text + told)


def sweeps(data: Results) -> Html:
    """The sweeps that measured these runs, the oldest first."""
    launches: dict[str, list[Row]] = {}
    for row in sorted(rows_of(data.launches[list(_OF_SWEEPS)]), key=lambda row: row["started_at"]):
        launches.setdefault(str(row["sweep_id"]), []).append(row)
    rows = [
        {
            "sweep_id": sweep_id,
            "began": mine[0]["started_at"],
            "runs": len({row["run_id"] for row in mine}),
            "launches": len(mine),
        }
        for sweep_id, mine in launches.items()
    ]
    return _table(rows, _SWEEPS, name="sweeps", empty=_nothing(data))


def quality(data: Results) -> Html:
    """Quality of each run with trained weights, on the artifact that was timed.

    On the shipped texts, and on the user's own and tasks of mteb where a run has any; figures on two files
    stand apart.
    """
    rows = _rows(data)
    shipped = _once(row for row in rows if _known(row, "separation_auc"))
    empty = "No run has quality figures yet; random weights have none."
    parts = [_table(shipped, _QUALITY, name="quality", empty=empty).text]
    for setting, (heading, known, of, columns) in _OWN.items():
        if mine := _once((row for row in rows if _known(row, known)), of):
            title = f"<h3>{escape(heading)} (<code>quality.{setting}</code>)</h3>"
            parts.append(title + _table(mine, columns, name=heading, empty="").text)
    if mteb := _once((row for row in rows if text_of(row["mteb_scores"], "")), "mteb_scores"):
        parts.append("<h3>On tasks of mteb (<code>quality.mteb</code>)</h3>" + _mteb_table(mteb).text)
    if len(parts) > 1:
        parts.insert(0, "<h3>On the shipped texts</h3>")
    return Html("".join(parts))


def placement(data: Results) -> Html:
    """Where the graph's nodes and their time went, against what was asked for, and what is not possible.

    Of each candidate the newest run at each place: the share of time is that of the place's own requests.
    Places with the same figures share a row.
    """
    rows = [row for row in _rows(data) if _known(row, "nodes_total")]
    newest = {(evidence_key(row), _place(row)): row for row in rows}.values()
    alike: dict[tuple[Any, ...], list[Row]] = {}
    for row in _ordered(newest):
        alike.setdefault((evidence_key(row), *(column.shown(row) for column in _WHERE)), []).append(row)
    shared = [first | {"places": _places(first, len(more))} for first, *more in alike.values()]
    table = _table(shared, _PLACEMENT, name="placement", empty="No run tells where its nodes went.")
    return table if data.decision is None else Html(table.text + _impossible(data.decision))


def environment(data: Results) -> Html:
    """The machine and the versions."""
    rows = rows_of(data.runs)
    if not rows:
        return Html(_note(_nothing(data)))
    newest = rows[-1]
    facts = json.loads(text_of(newest["environment"], "{}"))
    libraries = facts.get("libraries") or {}

    def every(name: str, shown: Callable[[Row], str] | None = None) -> str:
        return ", ".join(dict.fromkeys(map(shown or _text(name), rows)))

    machine = {
        "machine": every("machine_id"), "CPU": every("cpu"),
        "usable cores": every("cores", _number("cores")[0]),
        "memory": every("memory_bytes", _bytes("memory_bytes")[0]), "system": every("os"),
        "Python": every("python"), "ONNX Runtime": every("onnxruntime"),
        "other libraries": ", ".join(f"{name} {version}" for name, version in sorted(libraries.items())),
        "harness": every("harness_version"), "commit": every("git_commit"),
    }  # fmt: skip
    lines = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(value)}</td></tr>'
        for name, value in machine.items()
    )
    return Html(f'<div class="scroll"><table class="facts">{lines}</table></div>')


def noise(data: Results) -> Html:
    """How many of each run's launches were disturbed, and by what."""
    measured = [row for row in _rows(data) if row["launches"]]
    return _table(_ordered(measured), _NOISE, name="noise", empty="No launch was measured yet.")


def comparison(found: Sequence[Comparison], why: str = "") -> Html:
    """Two sets of runs, a line for each pair and latency; where there is none, `why`."""
    rows = [
        vars(each) | {"word": each.word, "interval": each.interval, "provisional": each.provisional}
        for each in found
    ]
    table = _table(
        rows,
        _COMPARISON,
        name="comparison",
        empty=f"Nothing is compared: {why or 'give two sweeps, runs or results folders as a and b.'}",
    )
    told = _note(f"{RATIO_TOLD}.") if any(each.ratio is not None for each in found) else ""
    return Html(table.text + told)


def _nothing(data: Results) -> str:
    """What stands where nothing is measured: the command that measures."""
    return f"Nothing is measured yet. Measure first: `{data.first}`"


def _rows(data: Results) -> list[Row]:
    """Every run's row with a quota and, as `name`, what its candidate is called among these."""
    rows = [with_environment(row) for row in rows_of(data.runs)]
    return [row | {"name": name} for row, name in zip(rows, names_apart(rows), strict=True)]


def _ordered(rows: Iterable[Row]) -> list[Row]:
    """What was measured first, by candidate and place."""
    return sorted(
        rows,
        key=lambda row: (not row["launches"], str(row["candidate_label"]), _counted(row), row_place(row)),
    )


def _counted(row: Row) -> list[str | int]:
    """The name of a workload with its numbers as such: 32 tokens come before 128."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", str(row["workload"]))]


def _once(rows: Iterable[Row], *also: str) -> list[Row]:
    """The newest row of each thing measured, batch size and further columns: what no workload changes."""
    of = ("batch_size", *also)
    found = {(evidence_key(row), *(str(row[name]) for name in of)): row for row in rows}.values()
    return sorted(_ordered(found), key=lambda row: (str(row["name"]), int(row["batch_size"])))


def _known(row: Row, name: str) -> bool:
    return as_number(row[name]) is not None


def _number(name: str, digits: int = 4) -> tuple[Callable[[Row], str], Callable[[Row], float | None]]:
    def shown(row: Row) -> str:
        value = figure_of(row, name)
        if value is None:
            return "–"
        return f"{value:,.0f}" if abs(value) >= 1000 else number_text(value, digits)

    return shown, lambda row: figure_of(row, name)


def _interval(
    name: str, unit: str = "", digits: int = 3
) -> tuple[Callable[[Row], str], Callable[[Row], float | None]]:
    def ends(row: Row) -> tuple[float, float] | None:
        low, high = (as_number(row[f"{name}_{side}{unit}"]) for side in ("low", "high"))
        return None if low is None or high is None else (low, high)

    def shown(row: Row) -> str:
        known = ends(row)
        return "–" if known is None else "–".join(number_text(end, digits) for end in known)

    def low(row: Row) -> float | None:
        known = ends(row)
        return None if known is None else known[0]

    return shown, low


def _bytes(name: str) -> tuple[Callable[[Row], str], Callable[[Row], float | None]]:
    def shown(row: Row) -> str:
        value = as_number(row[name])
        return "–" if value is None else format_bytes(int(value))

    return shown, lambda row: as_number(row[name])


def _percent(name: str) -> tuple[Callable[[Row], str], Callable[[Row], float | None]]:
    def shown(row: Row) -> str:
        value = as_number(row[name])
        return "–" if value is None else share_text(value)

    return shown, lambda row: as_number(row[name])


def _text(name: str) -> Callable[[Row], str]:
    return lambda row: text_of(row[name], "–")


def _digest(name: str) -> Callable[[Row], str]:
    """The first digits of a file's hash: whether two runs read the same."""
    return lambda row: text_of(row[name], "–")[:12]


def _candidate(row: Row) -> str:
    name = str(row["name"])
    return f"{name}, random weights" if row["weights"] == "random" and "random" not in name else name


def _timed(row: Row) -> str:
    """A candidate whose latency is told; what limits it stands with it."""
    return ", ".join([_candidate(row), *(["provisional"] if is_brief(row) else [])])


def _served(name: str) -> tuple[Callable[[Row], str], Callable[[Row], float | None]]:
    shown, value = _number(name)
    return lambda row: served_cell(row, name, shown(row)), value


_P95_INTERVAL = _interval("latency_p95", "_ms")


def _p95(row: Row) -> tuple[str, str]:
    shown, interval = _number("latency_p95_ms")[0](row), _P95_INTERVAL[0](row)
    return stopped_cells(p95_floor_ms(row), shown, interval)


def _p95_value(row: Row) -> float | None:
    """What a P95 sorts by, in ms: where it is known from below alone, that."""
    floor_ms = p95_floor_ms(row)
    return as_number(row["latency_p95_ms"]) if floor_ms is None else floor_ms


def _p95_low(row: Row) -> float | None:
    """What the interval of a P95 sorts by, in ms."""
    return _P95_INTERVAL[1](row) if p95_floor_ms(row) is None else None


def _at_least(side: str) -> tuple[Callable[[Row], str], Callable[[Row], float | None]]:
    shown, value = _number(f"{side}_ms")
    return lambda row: at_least(shown(row)) if row[f"{side}_at_least"] else shown(row), value


def _place(row: Row) -> str:
    """Where a run was measured, and what makes it another one than others there."""
    soak = ("soak",) if row["purpose"] == "soak" else ()
    return ", ".join((str(row_place(row)), *soak, *particulars(row)))


def _places(row: Row, more: int) -> str:
    """Where a run was measured, and at how many more places with the same figures."""
    return f"{_place(row)}; {counted(more, 'more place')}" if more else _place(row)


def _status(row: Row) -> str:
    failed = as_number(row["launches_failed"])
    return f"{row['status']}, {failed:.0f} failed" if failed else str(row["status"])


def _seconds(name: str) -> tuple[Callable[[Row], str], Callable[[Row], float | None]]:
    def shown(row: Row) -> str:
        value = as_number(row[name])
        return "–" if value is None else format_duration(value)

    return shown, lambda row: as_number(row[name])


_WHO = (Column("candidate", _timed), Column("measured at", _place))
_WHAT = (Column("candidate", _candidate), Column("batch", *_number("batch_size")))
_RUNS = (
    *_WHO,
    Column("P50 ms", *_served("latency_p50_ms")),
    Column("P95 ms", lambda row: _p95(row)[0], _p95_value),
    Column("interval", lambda row: _p95(row)[1], _p95_low),
    Column("texts/s", *_served("throughput_texts_per_s")),
    Column("launches", *_number("launches")),
    Column("peak memory", *_bytes("peak_rss_bytes")),
    Column("of fp32's limit", *_percent("share_of_peak"), more=True),
    Column("cold start s", *_number("cold_start_s", 3), more=True),
    Column("AUC", *_number("separation_auc")),
    Column("weights", _text("weights"), more=True),
    Column("evidence", *_seconds("evidence_span_s"), more=True),
    Column("purpose", _text("purpose"), more=True),
    Column("status", _status),
    Column("run", _text("run_id"), more=True),
    Column("error", _text("error"), folds=True, more=True),
)
_QUALITY = (
    *_WHAT,
    Column("AUC", *_number("separation_auc")),
    Column("interval", *_interval("separation_auc")),
    Column("top-10 shared with fp32, shipped texts", *_number("neighbour_overlap", 3)),
    Column("interval", *_interval("neighbour_overlap")),
    Column("worst cosine to fp32", *_number("parity_cosine_min", 6)),
    Column("separation", *_number("separation", 3)),
    Column("interval", *_interval("separation")),
    Column("similar", *_number("similar_mean", 3), more=True),
    Column("dissimilar", *_number("dissimilar_mean", 3), more=True),
    Column("norm error", *_number("l2_norm_max_error", 2), more=True),
    Column("worst cosine in a batch, to itself alone", *_number("batch_cosine_min", 6)),
)
# Figures on the user's own data, by setting: heading, the column that is known where there are any, the
# column that says of which file, and what is shown.
_OWN: dict[str, tuple[str, str, str, tuple[Column, ...]]] = {
    "texts": (
        "On your own texts",
        "texts_count",
        "texts_file_sha256",
        (
            *_WHAT,
            Column("top-10 shared with fp32, your texts", *_number("texts_overlap", 3)),
            Column("interval", *_interval("texts_overlap")),
            Column("the same as queries to fp32's index", *_number("texts_index_overlap", 3)),
            Column("interval", *_interval("texts_index_overlap")),
            Column("mean cosine to fp32", *_number("texts_cosine_mean", 6)),
            Column("interval", *_interval("texts_cosine_mean", digits=6), more=True),
            Column("worst", *_number("texts_cosine_min", 6)),
            Column("texts", *_number("texts_count")),
            Column("file", _digest("texts_file_sha256")),
        ),
    ),
    "sts": (
        "On your own scored pairs",
        "sts_pairs",
        "sts_file_sha256",
        (
            *_WHAT,
            Column("Spearman ×100", *_number("sts_spearman")),
            Column("interval", *_interval("sts_spearman")),
            Column("pairs", *_number("sts_pairs")),
            Column("file", _digest("sts_file_sha256")),
        ),
    ),
    "retrieval": (
        "On your own queries and documents",
        "retrieval_queries",
        "retrieval_sha256",
        (
            *_WHAT,
            Column("nDCG@10", *_number("ndcg_at_10")),
            Column("interval", *_interval("ndcg_at_10")),
            Column("recall@10", *_number("recall_at_10")),
            Column("interval", *_interval("recall_at_10"), more=True),
            Column("recall@100", *_number("recall_at_100")),
            Column("interval", *_interval("recall_at_100"), more=True),
            Column("MRR@10", *_number("mrr_at_10")),
            Column("interval", *_interval("mrr_at_10"), more=True),
            Column("queries", *_number("retrieval_queries")),
            Column("documents", *_number("retrieval_documents")),
            Column("folder", _digest("retrieval_sha256")),
        ),
    ),
}
_WHERE = (
    Column("asked for", _text("ep_provider")),
    Column("nodes on it", *_number("ep_nodes")),
    Column("of", *_number("nodes_total")),
    Column("share", *_percent("ep_node_share")),
    Column("of their time", *_percent("ep_time_share")),
    Column("partitions", *_number("ep_partitions")),
)
_PLACEMENT = (Column("candidate", _candidate), Column("measured at", _text("places")), *_WHERE)
_NOISE = (
    *_WHO,
    Column("launches", *_number("launches")),
    Column("disturbed", *_percent("noise")),
    Column("by", _text("disturbance")),
    Column("evidence", *_seconds("evidence_span_s")),
)
_COMPARISON = (
    Column("run", _text("label")),
    Column("latency", lambda row: str(row["metric"]).removesuffix("_ms").upper()),
    Column("A ms", *_at_least("a")),
    Column("B ms", *_at_least("b")),
    Column("B / A", *_number("ratio", 3)),
    Column(
        "interval",
        lambda row: row["interval"] or "–",
        lambda row: (row["low"] or 0.0) if row["interval"] else None,
    ),
    Column("B is", lambda row: f"{row['word']}{', provisional' if row['provisional'] else ''}"),
    Column("paired", lambda row: "yes" if row["paired"] else "no"),
    Column("run A", _text("a_run"), more=True),
    Column("run B", _text("b_run"), more=True),
    Column("why", lambda row: "; ".join(filter(None, (row["reason"], *row["notes"]))) or "–", folds=True),
)
_OF_SWEEPS = ("sweep_id", "run_id", "started_at")
_SWEEPS = (
    Column("sweep", _text("sweep_id")),
    Column("began, UTC", lambda row: f"{row['began']:%Y-%m-%d %H:%M:%S}"),
    Column("runs", *_number("runs")),
    Column("launches", *_number("launches")),
)


def _table(rows: Sequence[Row], columns: Sequence[Column], *, name: str, empty: str) -> Html:
    """A table that a page can sort and filter, without columns of which nothing is known; else `empty`."""
    if not rows:
        return Html(_note(empty))
    columns = [column for column in columns if any(column.shown(row) != "–" for row in rows)]
    head = "".join(f'<th scope="col"{_class(column)}>{escape(column.heading)}</th>' for column in columns)
    body = "".join(f"<tr>{''.join(_cell(column, row) for column in columns)}</tr>" for row in rows)
    return Html(_scrolled(name, f'class="data" data-name="{escape(name)}"', head, body))


def _mteb_table(rows: Sequence[Row]) -> Html:
    """The main score of each task that was asked for, as the package gives it; without one is `–`."""
    scores = [json.loads(str(row["mteb_scores"])) for row in rows]
    tasks = dict.fromkeys(task for mine in scores for task in mine)
    cell_of = "mteb:{}".format  # a task may be named as a column is
    told = [
        row | {cell_of(task): mine.get(task) for task in tasks}
        for row, mine in zip(rows, scores, strict=True)
    ]
    columns = (
        *_WHAT,
        *(Column(task, *_number(cell_of(task))) for task in tasks),
        Column("mteb", _text("mteb_version")),
    )
    return _table(told, columns, name="mteb", empty="")


def _cell(column: Column, row: Row) -> str:
    shown, value = escape(column.shown(row)), column.value and column.value(row)
    sorts_by = f' data-value="{"" if value is None else repr(value)}"' if column.value else ""
    return f"<td{_class(column)}{sorts_by}>{f'<div>{shown}</div>' if column.folds else shown}</td>"


def _class(column: Column) -> str:
    """The classes of a column's cells."""
    kinds = {"number": column.value is not None, "folds": column.folds, "more": column.more}
    names = " ".join(name for name, is_so in kinds.items() if is_so)
    return f' class="{names}"' if names else ""


def _heading(candidate: CandidateVerdict) -> str:
    firm = candidate.confirmation is not None and candidate.confirmation.complete
    open_still = candidate.provisional or (candidate.verdict in PICKABLE and not firm)
    mark = ", provisional" if open_still else ""
    return f"{escape(candidate.label)}: {_words(candidate.verdict)}{mark}"


def _impossible(decision: Decision) -> str:
    """Why candidates are not possible here, a line for each reason."""
    labels: dict[str, list[str]] = {}
    for candidate in decision.candidates:
        if candidate.impossible:
            labels.setdefault(candidate.reasons[0], []).append(candidate.label)
    return _list(f"{', '.join(names)}: {why}" for why, names in labels.items())


def _use(candidate: CandidateVerdict) -> str:
    """How the pick is loaded, as the terminal tells it."""
    lines = use_lines(candidate)
    code = escape("\n".join(lines[1:]))
    return _list(lines[:1]) + (f"<pre><code>{code}</code></pre>" if code else "")


def _told(candidate: CandidateVerdict) -> str:
    """What else there is to know of a candidate: what limits it, what is open, what is missing."""
    limits = candidate.confirmation.limits if candidate.confirmation else ()
    missing = (f"missing: `{command}`" for command in candidate.missing)
    warnings = (f"warning: {line}" for line in candidate.warnings)
    return _list([*candidate.provisional, *limits, *candidate.notes, *warnings, *missing])


def _gates_table(candidate: CandidateVerdict) -> str:
    under_load = candidate.confirmation.results if candidate.confirmation else ()
    asked = [*((each, "") for each in candidate.gates), *((r, f", {place}") for place, r in under_load)]
    rows = []
    for gate, where in asked:
        tier, label, *cells, result = (escape(cell) for cell in gate_cells(gate))
        kind = _STATUS_CLASS.get(result.split()[0], "")
        rows.append([tier, f"{label}{escape(where)}", *cells, f'<span class="{kind}">{result}</span>'])
    headings = ("tier", "gate", "bound", "value", "interval", "distance", "result")
    return _plain_table(f"gates of {candidate.label}", headings, rows)


def _plain_table(name: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of HTML cells; on a narrow screen each row stands by itself, its cells with their names."""
    head = "".join(f'<th scope="col">{escape(heading)}</th>' for heading in headings)
    body = "".join(
        f"<tr>{''.join(_named_cell(*cell) for cell in zip(headings, row, strict=True))}</tr>" for row in rows
    )
    return _scrolled(name, 'class="plain"', head, body)


def _named_cell(heading: str, cell: str) -> str:
    return f'<td data-name="{escape(heading)}">{cell}</td>' if cell else "<td></td>"


def _scrolled(name: str, of: str, head: str, body: str) -> str:
    """A table that scrolls by itself where it is too wide, with the keyboard too."""
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(name)}">'
        f'<table {of} aria-label="{escape(name)}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
        "</div>"
    )


def _words(text: str) -> str:
    return escape(text.replace("_", " "))


def _list(lines: Iterable[str]) -> str:
    items = "".join(f"<li>{_line(line)}</li>" for line in lines)
    return f"<ul>{items}</ul>" if items else ""


def _unfolding(lines: Sequence[str]) -> str:
    """A list of which the first lines are shown, and the others on request."""
    rest = lines[_MOST_LINES:]
    more = f"<details><summary>{len(rest)} more</summary>{_list(rest)}</details>" if rest else ""
    return _list(lines[:_MOST_LINES]) + more


def _line(line: str) -> str:
    """A line of a list; of a very long one, as an error can be, the beginning, and all of it on request."""
    if len(line) <= _MOST_CHARACTERS:
        return _with_code(line)
    beginning = escape(line[: _MOST_CHARACTERS // 2])
    return f"<details><summary>{beginning}…</summary>{_with_code(line)}</details>"


def _with_code(line: str) -> str:
    """A sentence whose commands stand in backticks; other backticks are a name's own."""
    parts = _COMMAND.split(line)
    return "".join(f"<code>{escape(part)}</code>" if i % 2 else escape(part) for i, part in enumerate(parts))


def _note(sentence: str) -> str:
    return f'<p class="note">{_with_code(sentence)}</p>'
