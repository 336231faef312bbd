"""Figures of results, one function each; they draw what is stored and compute nothing of their own.

Every function takes the frames of `load_runs` and `load_launches` and returns a matplotlib Figure, on an
empty frame too: it says then what there is nothing of. Axes have units, gates are labelled lines, and an
interval is drawn wherever there is one. A model has one colour in all figures. Hollow markers are random
weights, grey lines of an interval are provisional evidence, crosses are launches that were disturbed.

Colours: Okabe & Ito (2008), "Color Universal Design", told apart by colour-blind people too.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from harness.evidence import rows_of
from harness.gates import as_number, text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import pandas as pd
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from harness.comparison import Comparison
    from harness.config import PolicyConfig

Row = dict[str, Any]

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
# The shipped models keep their colours whatever else is in the results.
_OWN_COLOUR = {"minilm": 0, "e5": 1, "bge": 2, "qwen3": 3}
# Text, axes and grid; a page may put the colour of its own text in the place of INK.
INK = "#1b1f24"
_FAINT = "#8b949e"
_WIDTH_IN = 7.2
_ROW_IN = 0.3
# Runs that one figure shows; the table has all.
MOST_RUNS = 40
# Characters of a run's label.
_LABEL_LENGTH = 46


def p95_against_gates(runs: pd.DataFrame, policy: PolicyConfig) -> Figure:
    """P95 of each run with its interval, against the latency gates of a policy; the quickest first."""
    rows = _measured(runs, "latency_p95_ms")
    shown = sorted(rows, key=lambda row: float(row["latency_p95_ms"]))[:MOST_RUNS]
    figure, axes = _figure(len(shown))
    if not shown:
        return _nothing(figure, axes, "no run has a P95 yet")
    for y, row in enumerate(shown):
        _point(axes, row, "latency_p95_ms", y)
    _rows_axis(axes, [_label(row) for row in shown])
    axes.set_xscale("log")
    _plain_ticks(axes)
    _gate_lines(axes, policy, "latency_p95_ms")
    axes.set_xlabel("P95 of a request, ms (log scale): the median launch and its interval")
    _title(axes, "P95 against the gates", len(rows) - len(shown))
    _legend_of_marks(figure, shown)
    return figure


def launches(launch_rows: pd.DataFrame, runs: pd.DataFrame) -> Figure:
    """Each launch of each run: from its P50 to its P95, in the order they were measured."""
    known = {str(row["run_id"]): row for row in _measured(runs, "latency_p95_ms")}
    rows = [row for row in rows_of(launch_rows) if str(row["run_id"]) in known and _has(row, "p95_ms")]
    by_run: dict[str, list[Row]] = {}
    for row in sorted(rows, key=lambda row: (str(row["run_id"]), int(row["launch_index"]))):
        by_run.setdefault(str(row["run_id"]), []).append(row)
    order = sorted(by_run, key=lambda run_id: float(known[run_id]["latency_p95_ms"]))[:MOST_RUNS]
    figure, axes = _figure(len(order))
    if not order:
        return _nothing(figure, axes, "no launch was measured yet")
    for y, run_id in enumerate(order):
        mine = by_run[run_id]
        colour = _colour(known[run_id])
        for i, row in enumerate(mine):
            at = y - 0.36 + 0.72 * (i + 0.5) / len(mine)
            axes.plot([row["p50_ms"], row["p95_ms"]], [at, at], color=colour, lw=1, alpha=0.75, zorder=2)
            marker, ink = ("x", INK) if _disturbed(row) else (".", colour)
            axes.plot(row["p95_ms"], at, marker=marker, color=ink, ms=4, ls="none", zorder=3)
    _rows_axis(axes, [_label(known[run_id]) for run_id in order])
    axes.set_xscale("log")
    _plain_ticks(axes)
    axes.set_xlabel("a launch's requests from their P50 to their P95, ms (log scale); ×: disturbed")
    _title(axes, "Every launch", len(by_run) - len(order))
    return figure


def scaling(runs: pd.DataFrame) -> Figure:
    """P95 and throughput of one caller against the batch size, and against the length where it is fixed."""
    measured = _measured(runs, "latency_p95_ms")
    rows = [row for row in measured if (row["clients"], row["arrival"]) == (1, "back_to_back")]
    figure = _new(_WIDTH_IN, 5.6)
    grid = figure.subplots(2, 2, sharex="col", sharey="row")
    views: tuple[tuple[str, Callable[[Row], float | None], Callable[[Row], Any]], ...] = (
        ("texts in a request", lambda row: as_number(row["batch_size"]), lambda row: row["workload"]),
        ("tokens of a text", _fixed_length, lambda row: row["batch_size"]),
    )
    drawn = False
    for column, (name, x_of, held_of) in enumerate(views):
        for line in _lines(rows, x_of, held_of):
            drawn = True
            for axes, metric in ((grid[0][column], "latency_p95_ms"), (grid[1][column], _THROUGHPUT)):
                _line(axes, [row for row in line if _has(row, metric)], x_of, metric)
        grid[1][column].set_xlabel(name)
    if not drawn:
        figure.clear()
        return _nothing(figure, figure.add_subplot(), "no candidate was measured at two sizes or lengths yet")
    for axes in grid.flat:
        _clean(axes)
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        _plain_ticks(axes)
    grid[0][0].set_ylabel("P95 of a request, ms")
    grid[1][0].set_ylabel("throughput, texts/s")
    figure.suptitle("How latency and throughput grow", x=0.01, ha="left", color=INK, fontsize=11)
    _legend(figure, rows)
    return figure


def model_by_ep(runs: pd.DataFrame) -> Figure:
    """The lowest P95 of each model on each execution provider at the default workload, batch 1."""
    rows = [r for r in rows_of(runs) if (r["workload"], r["batch_size"], r["clients"]) == ("default", 1, 1)]
    models = sorted({_model(row) for row in rows})
    eps = sorted({str(row["ep"]) for row in rows})
    figure = _new(_WIDTH_IN, 1.1 + 0.5 * max(1, len(models)))
    axes = figure.subplots()
    if not rows:
        return _nothing(figure, axes, "no run at the default workload, batch 1, yet")
    cells = [[_best(rows, model, ep) for ep in eps] for model in models]
    values = [[math.nan if row is None else float(row["latency_p95_ms"]) for row in line] for line in cells]
    finite = [value for line in values for value in line if not math.isnan(value)]
    from matplotlib.colors import LogNorm

    if finite:
        low, high = min(finite), max(finite)
        norm = LogNorm(low, high if high > low else low * 1.1)
        edges = ([i - 0.5 for i in range(len(names) + 1)] for names in (eps, models))
        axes.pcolormesh(*edges, values, cmap="cividis_r", norm=norm, edgecolors="white", lw=2)
    for y, model in enumerate(models):
        for x, ep in enumerate(eps):
            axes.text(
                x, y, *_cell(rows, model, ep, values[y][x], finite), ha="center", va="center", fontsize=9
            )
    axes.set_xticks(range(len(eps)), eps)
    axes.set_yticks(range(len(models)), models)
    axes.set_xlim(-0.5, len(eps) - 0.5)
    axes.set_ylim(len(models) - 0.5, -0.5)
    _clean(axes, grid=False)
    _title(axes, "P95 in ms, model by execution provider", 0)
    return figure


def stages(runs: pd.DataFrame) -> Figure:
    """Where the median request's time goes: tokenising, inference, and what lies between."""
    rows = [row for row in _measured(runs, "latency_p50_ms") if _has(row, "infer_p50_ms")]
    shown = sorted(rows, key=lambda row: float(row["latency_p50_ms"]))[:MOST_RUNS]
    figure, axes = _figure(len(shown))
    if not shown:
        return _nothing(figure, axes, "no run tells its stages yet")
    parts = (("tokenise", "tokenize_p50_ms", "#56B4E9"), ("infer", "infer_p50_ms", "#0072B2"))
    left = [0.0] * len(shown)
    for name, column, colour in (*parts, ("pool", "pool_p50_ms", "#009E73")):
        widths = [as_number(row[column]) or 0.0 for row in shown]
        if any(widths):
            axes.barh(range(len(shown)), widths, left=left, height=0.6, color=colour, label=name)
        left = [start + width for start, width in zip(left, widths, strict=True)]
    totals = [float(row["latency_p50_ms"]) for row in shown]
    axes.plot(totals, range(len(shown)), "|", color=INK, ms=11, mew=1.5, label="whole request")
    _rows_axis(axes, [_label(row) for row in shown])
    axes.set_xlim(left=0)
    axes.set_xlabel("median, ms")
    _title(axes, "Stages of a request", len(rows) - len(shown))
    _outside(figure, axes.get_legend_handles_labels()[0])
    return figure


def pareto(runs: pd.DataFrame, quality: str = "separation_auc") -> Figure:
    """Latency against quality: who is on the front is beaten by nobody in both.

    Args:
        runs: as `load_runs` gives them.
        quality: a column of `harness.record.RUN_COLUMNS` of which more is better. Twins have none, and are
            not drawn.
    """
    rows = [r for r in _measured(runs, "latency_p95_ms") if _has(r, quality) and r["weights"] == "trained"]
    rows = [row for row in rows if (row["workload"], row["clients"]) == ("default", 1)]
    figure = _new(_WIDTH_IN, 4.2)
    axes = figure.subplots()
    if not rows:
        return _nothing(figure, axes, f"no run with trained weights has {quality} yet")
    for row in rows:
        x, y = float(row["latency_p95_ms"]), float(row[quality])
        _bars(axes, row, quality, y, x, vertical=True)
        _bars(axes, row, "latency_p95_ms", x, y, vertical=False)
        axes.plot(x, y, "o", color=_colour(row), ms=7, zorder=3)
    front = sorted(_front(rows, quality), key=lambda row: float(row["latency_p95_ms"]))
    xs, ys = ([float(row[name]) for row in front] for name in ("latency_p95_ms", quality))
    axes.plot(xs, ys, color=_FAINT, lw=1, ls="--", zorder=1, drawstyle="steps-post", label="Pareto front")
    for row in front:
        at = (float(row["latency_p95_ms"]), float(row[quality]))
        axes.annotate(_label(row), at, xytext=(6, -11), textcoords="offset points", fontsize=8, color=INK)
    _clean(axes)
    axes.set_xscale("log")
    _plain_ticks(axes)
    axes.margins(x=0.15, y=0.2)
    axes.set_xlabel("P95 of a request, ms (log scale)")
    axes.set_ylabel(_QUALITY_NAMES.get(quality, quality.replace("_", " ")))
    _title(axes, "Latency against quality", 0)
    _legend(figure, rows)
    return figure


def timeline(launch_rows: pd.DataFrame, runs: pd.DataFrame) -> Figure:
    """The newest sweep as it went: each launch's P95 over time, and what the machine could do meanwhile."""
    known = {str(row["run_id"]): row for row in rows_of(runs)}
    rows = [row for row in rows_of(launch_rows) if str(row["run_id"]) in known and _has(row, "p95_ms")]
    figure = _new(_WIDTH_IN, 4.2)
    if not rows:
        return _nothing(figure, figure.add_subplot(), "no launch was measured yet")
    newest = max(rows, key=lambda row: row["started_at"])["sweep_id"]
    rows = [row for row in rows if row["sweep_id"] == newest]
    began = min(row["started_at"] for row in rows)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    for row in rows:
        colour = _colour(known[str(row["run_id"])])
        marker, ink = ("x", INK) if _disturbed(row) else ("o", colour)
        at_s = (row["started_at"] - began).total_seconds()
        upper.plot(at_s, row["p95_ms"], marker=marker, color=ink, ms=4, ls="none")
    probed = [row for row in rows if _has(row, "capacity_before_gflops")]
    seconds = [(row["started_at"] - began).total_seconds() for row in probed]
    lower.plot(seconds, [row["capacity_before_gflops"] for row in probed], ".", color=_FAINT, ms=4)
    for axes in (upper, lower):
        _clean(axes)
    upper.set_yscale("log")
    _plain_ticks(upper)
    upper.set_ylabel("a launch's P95, ms")
    lower.set_ylabel("GFLOP/s")
    lower.set_ylim(bottom=0)
    lower.set_xlabel(f"seconds since {began:%Y-%m-%d %H:%M} UTC; below: the machine's capacity; ×: disturbed")
    _title(upper, "The newest sweep as it went", 0)
    _legend(figure, [known[str(row["run_id"])] for row in rows])
    return figure


def ratios(found: Sequence[Comparison], threshold: float = 0.05) -> Figure:
    """B over A with its interval, a line for each pair and latency; grey between is too small to matter."""
    known = ((each, each.ratio, each.low, each.high) for each in found)
    shown = [
        (each, ratio, low, high)
        for each, ratio, low, high in known
        if ratio is not None and low is not None and high is not None
    ][:MOST_RUNS]
    figure, axes = _figure(len(shown))
    if not shown:
        return _nothing(figure, axes, "no two runs were compared")
    axes.axvspan(1 / (1 + threshold), 1 + threshold, color=_FAINT, alpha=0.2, lw=0)
    axes.axvline(1, color=_FAINT, lw=1)
    for y, (each, ratio, low, high) in enumerate(shown):
        colour = INK if each.change != "changed" else _COLOURS[1] if each.slower else _COLOURS[2]
        axes.hlines(y, low, high, color=colour, lw=2)
        axes.plot(ratio, y, "o", color=colour, ms=6)
    _rows_axis(axes, [_short(f"{each.metric[:3].upper()} {each.label}") for each, *_ in shown])
    axes.set_xscale("log")
    _plain_ticks(axes)
    axes.set_xlabel("B / A (log scale): right of the band is slower, left is quicker")
    _title(axes, "B against A", len(found) - len(shown))
    return figure


_THROUGHPUT = "throughput_texts_per_s"
_QUALITY_NAMES = {
    "separation_auc": "AUC of the labelled pairs",
    "sts_spearman": "Spearman on your STS file, ×100",
    "ndcg_at_10": "nDCG@10 on your documents",
    "neighbour_overlap": "top-10 neighbours shared with fp32",
}


def _front(rows: Sequence[Row], quality: str) -> list[Row]:
    """The rows that no other beats in latency and quality at once."""

    def beats(one: Row, other: Row) -> bool:
        quicker = float(one["latency_p95_ms"]) - float(other["latency_p95_ms"])
        better = float(one[quality]) - float(other[quality])
        return quicker <= 0 <= better and (quicker < 0 or better > 0)

    return [row for row in rows if not any(beats(other, row) for other in rows)]


def _measured(runs: pd.DataFrame, column: str) -> list[Row]:
    return [row for row in rows_of(runs) if _has(row, column)]


def _has(row: Row, column: str) -> bool:
    value = as_number(row[column])
    return value is not None and math.isfinite(value)


def _fixed_length(row: Row) -> float | None:
    """Tokens of each text, where all have as many."""
    return as_number(str(row["workload"]).removeprefix("tokens_"))


def _lines(
    rows: Sequence[Row], x_of: Callable[[Row], float | None], held_of: Callable[[Row], Any]
) -> list[list[Row]]:
    """The rows of one candidate with all but x held, in the order of x; two points make a line."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        if x_of(row) is not None:
            held = (str(row["candidate_label"]), row["cores"], held_of(row))
            groups.setdefault(held, []).append(row)
    lines = [sorted(group, key=lambda row: x_of(row) or 0.0) for group in groups.values()]
    return [line for line in lines if len({x_of(row) for row in line}) > 1]


def _line(axes: Axes, line: Sequence[Row], x_of: Callable[[Row], float | None], metric: str) -> None:
    points = [(x, row) for row in line if (x := x_of(row)) is not None]
    for (x, row), (next_x, next_row) in pairwise(points):
        axes.plot([x, next_x], [row[metric], next_row[metric]], color=_colour(row), lw=1, zorder=2)
    for x, row in points:
        _bars(axes, row, metric, float(row[metric]), x, vertical=True)
        axes.plot(x, row[metric], "o", ms=5, zorder=3, **_face(row))


def _point(axes: Axes, row: Row, metric: str, y: float) -> None:
    _bars(axes, row, metric, float(row[metric]), y, vertical=False)
    axes.plot(row[metric], y, "o", ms=6, zorder=3, **_face(row))


def _bars(axes: Axes, row: Row, metric: str, value: float, at: float, *, vertical: bool) -> None:
    """The interval of a metric, where it has one."""
    stem, unit = (metric[:-3], "_ms") if metric.endswith("_ms") else (metric, "")
    low, high = (as_number(row[f"{stem}_{side}{unit}"]) for side in ("low", "high"))
    if low is None or high is None:
        return
    colour = _FAINT if _provisional(row) else _colour(row)
    draw = axes.vlines if vertical else axes.hlines
    draw(at, min(low, value), max(high, value), color=colour, lw=2, zorder=2)


def _disturbed(row: Row) -> bool:
    return bool(as_number(row["disturbed"]))


def _provisional(row: Row) -> bool:
    span, wanted = as_number(row["evidence_span_s"]), as_number(row["min_span_s"])
    return span is None or wanted is None or span < wanted


def _face(row: Row) -> dict[str, Any]:
    colour = _colour(row)
    return {"color": colour, "markerfacecolor": "white" if row["weights"] == "random" else colour}


def _colour(row: Row) -> str:
    model = str(row["model"])
    own = _OWN_COLOUR.get(model)
    # Another model's colour depends on its name alone, so that it is the same in all figures.
    return _COLOURS[sum(model.encode()) % len(_COLOURS) if own is None else own]


def _model(row: Row) -> str:
    return f"{row['model']} (random weights)" if row["weights"] == "random" else str(row["model"])


def _label(row: Row) -> str:
    """The candidate and where it was measured; batch 1 and one caller go without saying."""
    where = [str(row["workload"])]
    where += [f"batch {row['batch_size']}"] if row["batch_size"] != 1 else []
    where += [f"{row['clients']} callers"] if row["clients"] != 1 else []
    where += [f"{row['offered_qps']:g}/s"] if _has(row, "offered_qps") else []
    return _short(f"{row['candidate_label']} · {', '.join(where)}")


def _short(label: str) -> str:
    """A label that fits beside its axis; a dollar sign would begin a formula."""
    cut = label if len(label) <= _LABEL_LENGTH else f"{label[: _LABEL_LENGTH - 1]}…"
    return cut.replace("$", r"\$")


def _best(rows: Iterable[Row], model: str, ep: str) -> Row | None:
    mine = [r for r in rows if (_model(r), r["ep"]) == (model, ep) and _has(r, "latency_p95_ms")]
    return min(mine, key=lambda row: float(row["latency_p95_ms"]), default=None)


def _cell(
    rows: Sequence[Row], model: str, ep: str, value: float, finite: Sequence[float]
) -> tuple[str, dict[str, Any]]:
    """What a cell says, and in which colour."""
    if not math.isnan(value):
        dark = value > math.sqrt(min(finite) * max(finite))
        return f"{value:.3g}", {"color": "white" if dark else INK}
    states = [text_of(r["status"], "") for r in rows if (_model(r), r["ep"]) == (model, ep)]
    return (states[0] if states else "–"), {"color": _FAINT}


def _new(width_in: float, height_in: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width_in, height_in), layout="constrained")


def _figure(rows: int) -> tuple[Figure, Axes]:
    figure = _new(_WIDTH_IN, 1.1 + _ROW_IN * max(3, rows))
    return figure, figure.subplots()


def _nothing(figure: Figure, axes: Axes, sentence: str) -> Figure:
    axes.set_axis_off()
    axes.text(0.5, 0.5, sentence, ha="center", va="center", color=INK, transform=axes.transAxes)
    figure.set_size_inches(_WIDTH_IN, 1.2)
    return figure


def _rows_axis(axes: Axes, labels: Sequence[str]) -> None:
    _clean(axes)
    axes.set_yticks(range(len(labels)), labels, fontsize=8)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")


def _clean(axes: Axes, *, grid: bool = True) -> None:
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(_FAINT)
    axes.tick_params(colors=INK, labelsize=8, which="both")
    axes.xaxis.label.set(color=INK, fontsize=9)
    axes.yaxis.label.set(color=INK, fontsize=9)
    axes.patch.set_visible(False)
    axes.figure.patch.set_visible(False)
    if grid:
        axes.grid(visible=True, color=_FAINT, alpha=0.25, lw=0.6)
        axes.set_axisbelow(True)


def _plain_ticks(axes: Axes) -> None:
    """Plain numbers on logarithmic axes, at 1, 2 and 5 of each decade."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    for axis in (axes.xaxis, axes.yaxis):
        if axis.get_scale() != "log":
            continue
        base = getattr(axis.get_transform(), "base", 10)
        axis.set_major_locator(LogLocator(base=base, subs=(1.0,) if base == 2 else (1.0, 2.0, 5.0)))
        axis.set_major_formatter(FuncFormatter(lambda value, _position: f"{value:g}"))
        axis.set_minor_locator(NullLocator())


def _gate_lines(axes: Axes, policy: PolicyConfig, metric: str) -> None:
    """The policy's gates on a metric, each a line with its tier and bound."""
    gates = [gate for gate in policy.gates if gate.metric == metric]
    for gate in gates:
        axes.axvline(
            gate.bound, color=INK, lw=1, ls={"must": "-", "should": "--"}.get(gate.tier, ":"), zorder=1
        )
        axes.annotate(
            f"{gate.tier} {gate.op} {gate.bound:g}", (gate.bound, 1), xycoords=("data", "axes fraction"),
            xytext=(2, -2), textcoords="offset points", rotation=90, va="top", fontsize=7, color=INK,
        )  # fmt: skip


def _title(axes: Axes, title: str, left_out: int) -> None:
    more = f" ({left_out} more in the table)" if left_out > 0 else ""
    axes.set_title(f"{title}{more}", loc="left", color=INK, fontsize=11)


def _legend(figure: Figure, rows: Sequence[Row]) -> None:
    """The models by colour."""
    from matplotlib.lines import Line2D

    models = {_model(row): row for row in sorted(rows, key=_model)}
    handles = [
        Line2D([], [], marker="o", ls="none", label=name, **_face(row)) for name, row in models.items()
    ]
    _outside(figure, handles)


def _outside(figure: Figure, handles: Sequence[Artist]) -> None:
    figure.legend(
        handles=handles, loc="outside lower left", ncols=3, fontsize=8, frameon=False, labelcolor=INK
    )


def _legend_of_marks(figure: Figure, rows: Sequence[Row]) -> None:
    """What hollow and grey mean, where they occur."""
    from matplotlib.lines import Line2D

    handles = []
    if any(row["weights"] == "random" for row in rows):
        handles.append(
            Line2D([], [], marker="o", ls="none", color=INK, markerfacecolor="white", label="random weights")
        )
    if any(_provisional(row) for row in rows):
        handles.append(Line2D([], [], color=_FAINT, lw=2, label="provisional"))
    if handles:
        _outside(figure, handles)
