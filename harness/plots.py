"""Figures of results, one function each; they draw what is stored and decided, and compute nothing.

Every function returns a matplotlib Figure, on nothing too: it says then what there is nothing of. Axes have
units, gates are labelled lines across the runs that they read, and every P95, throughput and AUC has its
interval, or a dotted line where launches are too few for one. How models, precisions, random weights,
provisional and reported figures look is `harness.looks`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import chain
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from harness import canvas, looks
from harness.caveats import is_brief
from harness.evidence import evidence_key, rows_of, told_apart, with_environment
from harness.gates import (
    as_number,
    gate_place,
    model_names,
    p95_floor_ms,
    place_of,
    row_place,
    run_at,
    run_for,
    served_cell,
    stopped_cells,
    text_of,
)
from harness.objective import latency_at
from harness.schema import AtConfig
from harness.units import bound_share_text, bound_text, counted
from harness.verdict import PICKABLE, front_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import pandas as pd
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from harness.comparison import Comparison
    from harness.decision_record import BaselineRecord
    from harness.looks import Row
    from harness.schema import GateConfig, PolicyConfig
    from harness.verdict import CandidateVerdict, Decision

# Runs that one figure shows; the table has all.
MOST_RUNS = 30
# Candidates that the Pareto figure numbers.
_MOST_LINES = 12
# How much is seen of those that cannot be picked, on a dark page too.
_FAINT = 0.5
# Candidates and places whose growth one figure shows, and the ticks of all its places.
_MOST_GROWN, _MOST_PANELS, _MOST_TICKS = 6, 3, 15
# How wide the points of candidates at one place spread, in doublings.
_SPREAD = 0.4
# Places that a timeline shows, each in a panel of its own.
_MOST_PLACES = 6
# Letters of a model's name beside the heat map, and of a precision's in a cell of it.
_MODEL_LETTERS, _CELL_LETTERS = 28, 16
_SLOWER, _QUICKER = "#D55E00", "#009E73"
# Stages are no models, and none of their colours.
_STAGES = (
    ("tokenise", "tokenize_p50_ms", "#c3b08f"),
    ("infer", "infer_p50_ms", "#6b8299"),
    ("pool", "pool_p50_ms", "#a3a3a3"),
)
# What grows, by its name, where it stands, and the column that is held meanwhile.
_VIEWS: tuple[tuple[str, Callable[[Row], float], str], ...] = (
    ("texts in a request", lambda row: float(row["batch_size"]), "workload"),
    ("tokens of a text", lambda row: _length(row["workload"]), "batch_size"),
)


def p95_against_gates(runs: pd.DataFrame, policy: PolicyConfig, decision: Decision | None = None) -> Figure:
    """P95 of each run with its interval, against the latency gates that read it; the quickest first.

    Runs that no latency gate reads stand below the others. Of a reported baseline its P95 is shown as well.

    Args:
        runs: of many the quickest are drawn, and all of the pick.
        policy: whose gates are drawn.
        decision: by `policy`; None where there is none.
    """
    rows = _measured(runs, "latency_p95_ms")
    gates = [gate for gate in policy.gates if gate.metric == "latency_p95_ms"]
    asked = {str(row["run_id"]): [gate for gate in gates if _reads(gate, row)] for row in rows}
    rows.sort(key=lambda row: (-len(asked[str(row["run_id"])]), float(row["latency_p95_ms"])))
    shown = _most(rows, decision)
    reported = _reported(decision.baseline if decision else None)
    figure, axes = canvas.rows_figure(len(shown) + len(reported))
    called = "P95 against the gates"
    if not shown:
        return canvas.nothing(figure, axes, called, "no run has a P95 yet")
    labels = looks.labels(shown)
    for y, row in enumerate(shown):
        at = y + canvas.UNDER
        canvas.interval(axes, row, "latency_p95_ms", at, vertical=False)
        _point(axes, row, float(row["latency_p95_ms"]), at, "latency_p95_ms", ms=6)
    for y, (label, value) in enumerate(reported, start=len(shown)):
        (box,) = axes.barh(y + canvas.UNDER, 0.2 * value, left=0.9 * value, height=0.4)
        box.set(fill=False, edgecolor=looks.INK, hatch=looks.HATCH)
        canvas.beside(axes, f"{value:g}", 1.1 * value, y + canvas.UNDER)
        labels.append(label)
    canvas.rows_axis(figure, axes, labels)
    for gate in gates:
        _gate_line(axes, gate, [y for y, row in enumerate(shown) if gate in asked[str(row["run_id"])]])
    axes.set_xscale("log")
    canvas.plain_ticks(axes)
    drawn_gates = [gate for gate in gates if any(gate in asked[str(row["run_id"])] for row in shown)]
    canvas.above_each(axes, [(_gate_bound(gate), gate.bound) for gate in drawn_gates])
    judged = sum(bool(asked[str(row["run_id"])]) for row in shown)
    asked_of = "a gate asks it of a share of the launches"
    if not judged:
        places = ", ".join(f"at {place}" for place in dict.fromkeys(map(gate_place, gates)))
        told = f"no gate asks it of these runs{places and f', but {places}'}"
        asked_of = "\n".join(wrap(told, looks.LEGEND_LETTERS))
    elif judged < len(labels):
        axes.axhline(judged - 0.5, color=looks.INK, lw=0.8)
        asked_of += "; below the line none asks"
    drawn = "drawn is the median launch's, and its 95 % interval"
    canvas.x_label(axes, f"P95 of a request, ms (log scale):\n{drawn};\n{asked_of}")
    canvas.title(axes, called, _launched(runs) - len(shown), pad=48 if judged else 6)
    handles = [_gate_handle(gate) for gate in gates if any(gate in each for each in asked.values())]
    handles += looks.limit_handles(shown, ("latency_p95_ms",))
    handles += [looks.box("reported, not measured here", hatch=looks.HATCH)] if reported else []
    canvas.legend(figure, handles)
    return figure


def launches(launch_rows: pd.DataFrame, runs: pd.DataFrame, decision: Decision | None = None) -> Figure:
    """Each launch of each run: from its P50 to its P95, in the order they were measured.

    Args:
        launch_rows: of the runs.
        runs: of many the quickest are drawn, and all of the pick.
        decision: on the runs; None where there is none.
    """
    known = {str(row["run_id"]): row for row in _measured(runs, "latency_p95_ms")}
    by_run = {
        run_id: served for run_id, mine in _by_run(launch_rows, known).items() if (served := _served(mine))
    }
    quickest = sorted((known[run_id] for run_id in by_run), key=lambda row: float(row["latency_p95_ms"]))
    shown = _most(quickest, decision)
    figure, axes = canvas.rows_figure(len(shown))
    called = "Every launch"
    if not shown:
        return canvas.nothing(figure, axes, called, _none_measured(_failed(rows_of(launch_rows))))
    for y, run in enumerate(shown):
        mine = by_run[str(run["run_id"])]
        p50s, p95s = ([float(row[name]) for row in mine] for name in ("p50_ms", "p95_ms"))
        ys = [y + canvas.UNDER - 0.24 + 0.5 * (i + 0.5) / len(mine) for i in range(len(mine))]
        axes.hlines(ys, p50s, p95s, color=looks.colour(run), lw=1, zorder=2)
        _launch_points(axes, p95s, ys, mine, run)
    canvas.rows_axis(figure, axes, looks.labels(shown))
    axes.set_xscale("log")
    canvas.plain_ticks(axes)
    axes.set_xlabel("a launch's requests from P50 to P95, ms (log scale)")
    canvas.title(axes, called, _launched(runs) - len(shown))
    drawn = [row for run in shown for row in by_run[str(run["run_id"])]]
    canvas.legend(figure, [*looks.limit_handles(shown), *looks.launch_handles(drawn)])
    return figure


def scaling(runs: pd.DataFrame, policy: PolicyConfig, decision: Decision | None = None) -> Figure:
    """P95 and throughput of one caller as a request's texts, or a text's tokens, grow: a panel a place.

    Few candidates are drawn: the pick, then the Pareto front, then the quickest. Few panels: the first that
    hold the policy's workload and batch size, and none whose runs others show.

    Args:
        runs: of which the newest at each place are drawn.
        policy: where latency is read.
        decision: by `policy`; None where there is none.
    """
    rows = [with_environment(row) for row in _measured(runs, "latency_p95_ms") if row["purpose"] != "soak"]
    rows = [row for row in rows if (row["clients"], row["arrival"]) == (1, "back_to_back")]
    at = latency_at(policy)
    least_ms: dict[str, float] = {}
    for key, line in chain(*(panel.lines.items() for panel in _panels(rows, at))):
        least_ms[key] = min(least_ms.get(key, math.inf), *(float(row["latency_p95_ms"]) for row in line))
    first = _picked_first(decision)
    order = sorted(least_ms, key=lambda key: (first.get(key, len(first)), least_ms[key], key))
    quickest = order[:_MOST_GROWN]
    found = _panels([row for row in rows if evidence_key(row) in quickest], at)
    panels = sorted(found[:_MOST_PANELS], key=lambda panel: (panel.view, panel.held_as))
    figure = canvas.new_figure(canvas.WIDTH_IN, 5.4)
    called = "How latency and throughput grow"
    if not panels:
        sentence = "no candidate was measured at two sizes or lengths yet"
        return canvas.nothing(figure, figure.add_subplot(), called, sentence)
    grid = figure.subplots(2, len(panels), sharex="col", sharey="row", squeeze=False)
    metrics = (
        ("latency_p95_ms", "P95 of a request, ms"),
        ("throughput_texts_per_s", "throughput, texts/s"),
    )
    of = {key: line[0] for panel in panels for key, line in panel.lines.items()}
    numbers = {key: number for number, key in enumerate((key for key in quickest if key in of), start=1)}
    drawn: list[Row] = []
    ends: dict[Axes, list[tuple[str, float, float]]] = {axes: [] for axes in grid.flat}
    for column, panel in enumerate(panels):
        _, x_of, _ = _VIEWS[panel.view]
        for axes, (metric, _) in zip(grid[:, column], metrics, strict=True):
            for key, number in numbers.items():
                known = [row for row in panel.lines.get(key, ()) if looks.has(row, metric)]
                aside = 2 ** (_SPREAD * ((number - 0.5) / len(numbers) - 0.5))
                _line(axes, known, [x_of(row) * aside for row in known], metric)
                drawn += known
                # Right of all candidates that stand there.
                right = 2 ** (_SPREAD / 2)
                ends[axes] += [(str(number), x_of(row) * right, float(row[metric])) for row in known[-1:]]
    for column, panel in enumerate(panels):
        x_name, x_of, _ = _VIEWS[panel.view]
        alike = (line for other in panels if other.view == panel.view for line in other.lines.values())
        xs = sorted(set(map(x_of, chain(*alike))))
        for axes in grid[:, column]:
            canvas.clean(axes)
            axes.set_xscale("log")
            axes.set_yscale("log")
            canvas.plain_ticks(axes)
            canvas.ticks_at(axes, xs, _MOST_TICKS // len(panels))
        letters = looks.LEGEND_LETTERS // (len(panels) + 1)
        canvas.above(grid[0][column], looks.short(panel.held, letters))
        grid[1][column].set_xlabel("\n".join(wrap(x_name, letters)))
    for axes, words in ends.items():
        canvas.beside_each(axes, words)
    for axes, (_, y_name) in zip(grid[:, 0], metrics, strict=True):
        axes.set_ylabel(y_name)
    canvas.title(grid[0][0], called, pad=20)
    handles = [
        looks.handle(row, f"{number}: {name}", ls=looks.dashes(row))
        for number, (row, name) in enumerate(_line_names([of[key] for key in numbers]), start=1)
    ]
    notes = ["candidates of one size stand side by side"] if len(numbers) > 1 else []
    if left := len(order) - len(numbers):
        rule = "the pick, the Pareto front, then the quickest" if first else "the quickest"
        notes.append(f"drawn are {rule}; {counted(left, 'more candidate')} in the table")
    if others := [panel.held for panel in found[_MOST_PANELS:]]:
        notes.append(f"in the table too: {', '.join(others)}")
    handles += looks.limit_handles(drawn, [metric for metric, _ in metrics])
    handles += [looks.mark("", "\n".join(wrap(looks.shown(note), looks.LEGEND_LETTERS))) for note in notes]
    canvas.legend(figure, handles)
    return figure


def model_by_ep(decision: Decision | None, policy: PolicyConfig) -> Figure:
    """P95 of each model on each execution provider, where the policy's latency gate reads it.

    Of several candidates that which the decision puts first, random weights only where all are; of each
    candidate the run that the decision reads.

    Args:
        decision: by `policy`; None where there is nothing to decide.
        policy: where latency is read.
    """
    at = latency_at(policy)
    judged = () if decision is None else decision.candidates
    held: dict[tuple[str, str], list[CandidateVerdict]] = {}
    for c in judged:
        for row in _there(c, at):
            held.setdefault((str(row["model"]), str(row["ep"])), []).append(c)
    models, eps = (sorted(set(names)) for names in zip(*held, strict=True)) if held else ([], [])
    called_by = {model: model_names(c.rows[0])[1] for (model, _), mine in held.items() for c in mine}
    named = [looks.short(called_by[model], _MODEL_LETTERS) for model in models]
    width_in = max(canvas.WIDTH_IN, 0.3 + 0.07 * max(map(looks.letters, named), default=0) + 1.15 * len(eps))
    figure = canvas.new_figure(width_in, 1.1 + 0.95 * max(1, len(models)))
    axes = figure.subplots()
    called = "P95 of each model on each provider"
    if not held:
        return canvas.nothing(figure, axes, called, f"no run at {place_of(at)} yet")
    cells = [[_best(held.get((model, ep), ()), at) for ep in eps] for model in models]
    values = [[math.nan if c is None else _p95_ms(c, at) for c in line] for line in cells]
    finite = [value for line in values for value in line if not math.isnan(value)]
    if finite:
        from matplotlib.colors import LogNorm

        low, high = min(finite), max(finite)
        norm = LogNorm(low, high if high > low else low * 1.1)
        edges = ([i - 0.5 for i in range(len(names) + 1)] for names in (eps, models))
        axes.pcolormesh(*edges, values, cmap="cividis_r", norm=norm, edgecolors=looks.PAPER, lw=2)
    for y, model in enumerate(models):
        for x, ep in enumerate(eps):
            best, ink = cells[y][x], looks.INK
            if best is None:
                states = [
                    text_of(row["status"], "") for c in held.get((model, ep), ()) for row in _there(c, at)
                ]
                told = states[0] if states else "not measured"
            else:
                # Its own black and white: the cell is as light or dark on every page.
                ink = "white" if values[y][x] > math.sqrt(min(finite) * max(finite)) else "black"
                told = _cell(_there(best, at)[0], best.verdict)
            axes.text(x, y, told, ha="center", va="center", fontsize=8, color=ink)
    axes.set_xticks(range(len(eps)), [looks.short(ep, _CELL_LETTERS) for ep in eps])
    axes.set_yticks(range(len(models)), named)
    axes.set_xlim(-0.5, len(eps) - 0.5)
    axes.set_ylim(len(models) - 0.5, -0.5)
    canvas.clean(axes, grid=False)
    canvas.title(axes, called, len({row["model"] for c in judged for row in c.rows[:1]} - set(models)))
    told = (
        f"at {place_of(at)}: the median launch's with its 95 % interval, of the run that the decision reads"
    )
    if any(len(mine) > 1 for mine in held.values()):
        told += "; of several candidates that which the decision puts first"
    if any(0 < sum(map(_is_twin, mine)) < len(mine) for mine in held.values()):
        told += ", random weights only where all are"
    figure.supxlabel("\n".join(wrap(told, looks.LEGEND_LETTERS)), color=looks.INK, fontsize=9)
    return figure


def stages(runs: pd.DataFrame, decision: Decision | None = None) -> Figure:
    """Where the median request's time goes: tokenising, inference, and what lies between.

    Args:
        runs: of many the quickest are drawn, and all of the pick.
        decision: on the runs; None where there is none.
    """
    rows = [row for row in _measured(runs, "latency_p50_ms") if looks.has(row, "infer_p50_ms")]
    shown = _most(sorted(rows, key=lambda row: float(row["latency_p50_ms"])), decision)
    figure, axes = canvas.rows_figure(len(shown))
    called = "Stages of a request"
    if not shown:
        return canvas.nothing(figure, axes, called, "no run tells its stages yet")
    seen = [stage for stage in _STAGES if any(as_number(row[stage[1]]) for row in shown)]
    ends = []
    for y, row in enumerate(shown):
        left, hatch = 0.0, "////" if looks.is_random(row) else None
        for _, column, colour in seen:
            width = as_number(row[column]) or 0.0
            (bar,) = axes.barh(y + canvas.UNDER, width, left=left, height=0.42, color=colour, lw=0)
            bar.set(hatch=hatch, edgecolor=looks.PAPER)
            left += width
        total = float(row["latency_p50_ms"])
        ends.append(max(total, left))
        axes.plot(total, y + canvas.UNDER, "|", color=looks.INK, ms=11, mew=1.5)
        told = served_cell(row, "latency_p50_ms", _digits(total))
        canvas.beside(axes, told, ends[-1], y + canvas.UNDER)
    canvas.rows_axis(figure, axes, looks.labels(shown))
    axes.set_xlim(0, 1.1 * max(ends))
    axes.set_xlabel("median of the median launch, ms; each stage has its own")
    canvas.title(axes, called, _launched(runs) - len(shown))
    handles = [looks.box(name, facecolor=colour) for name, _, colour in seen]
    handles += [looks.mark("|", "whole request, ms")]
    if any(looks.is_random(row) for row in shown):
        handles.append(looks.box("random weights", hatch="////"))
    if any(looks.is_stopped(row, "latency_p50_ms") for row in shown):
        handles.append(looks.mark("", "≈, stopped early: what was served until then"))
    canvas.legend(figure, handles)
    return figure


def pareto(decision: Decision | None, policy: PolicyConfig) -> Figure:
    """Latency against quality of the decision's candidates, with the front that the decision found.

    Numbers have the pick, then the front, then the quickest others; of many the rest are small dots.

    Args:
        decision: by `policy`; None where there is nothing to decide.
        policy: where latency and quality are read.
    """
    figure = canvas.new_figure(canvas.WIDTH_IN, 3.6)
    axes = figure.subplots()
    candidates = () if decision is None else decision.candidates
    known = [c for c in candidates if c.point.least_ms is not None and c.separation_auc is not None]
    called = "Latency against quality"
    if decision is None or not known:
        sentence = (
            f"no candidate with trained weights has a P95 and an AUC at {place_of(latency_at(policy))} yet"
        )
        return canvas.nothing(figure, axes, called, sentence)
    points = [c.point for c in known]
    front = [point for point in decision.front if point in points]
    beaten = sorted(set(points) - set(front), key=lambda point: (point.least_ms or 0.0, point.label))
    order = [*front, *beaten]
    most = sorted(order, key=lambda point: point.label != decision.chosen)[:_MOST_LINES]
    numbers = {point: number for number, point in enumerate(filter(most.__contains__, order), start=1)}
    named = {point: front_text(replace(point, label=looks.short(point.label))) for point in front}
    named |= {point: looks.short(point.label, looks.LEGEND_LETTERS) for point in beaten}
    told = {point: looks.mark("", f"{number}: {named[point]}") for point, number in numbers.items()}
    rows, words = [], []
    for c, point in zip(known, points, strict=True):
        row = dict(run_at(latency_at(policy), c.rows) or {})  # whose figures the candidate's are
        x, y = float(row["latency_p95_ms"]), float(row["separation_auc"])
        if point not in numbers:
            ringed = point in front
            axes.plot(x, y, "o", color=looks.FAINT, zorder=2, ms=6 if ringed else 2.5,
                      mec=looks.INK if ringed else looks.FAINT, mew=1.5 * ringed)  # fmt: skip
            continue
        rows.append(row)
        alpha = 1.0 if c.verdict in PICKABLE else _FAINT
        canvas.interval(axes, row, "latency_p95_ms", y, vertical=False, alpha=alpha)
        canvas.interval(axes, row, "separation_auc", x, vertical=True, alpha=alpha)
        ring = {"mec": looks.INK, "mew": 1.5, "ms": 9} if point in front else {"ms": 6}
        _point(axes, row, x, y, "latency_p95_ms", zorder=4, alpha=alpha, **ring)
        words.append((str(numbers[point]), x, y))
        told[point] = looks.handle(row, f"{numbers[point]}: {named[point]}", alpha=alpha)
    canvas.clean(axes)
    axes.set_xscale("log")
    canvas.plain_ticks(axes)
    axes.margins(x=0.1, y=0.12)
    canvas.beside_points(axes, words)
    lacking = sum(c.point.least_ms is not None and c.separation_auc is None for c in candidates)
    without = f"\n{counted(lacking, 'measured candidate')} without an AUC not drawn" if lacking else ""
    axes.set_xlabel(f"P95 of a request, ms (log scale),\nat {place_of(latency_at(policy))}{without}")
    axes.set_ylabel("AUC of the labelled pairs")
    canvas.title(axes, called)
    rings = looks.mark("o", "ringed: the decision's Pareto front of P95, AUC and memory", mfc="none", mew=1.5)
    heading = [rings] if front else []
    faded = any(c.verdict not in PICKABLE for c in known if c.point in numbers)
    marks = []
    if unnumbered := sum(point not in numbers for point in points):
        marks = [
            looks.mark("o", f"{counted(unnumbered, 'more candidate')}, in the table", color=looks.FAINT, ms=3)
        ]
    marks += [looks.mark("o", "faint: cannot be picked", alpha=_FAINT)] if faded else []
    marks += looks.limit_handles(rows, ("latency_p95_ms", "separation_auc"))
    canvas.legend(figure, [*heading, *told.values(), *marks])
    return figure


def timeline(launch_rows: pd.DataFrame, runs: pd.DataFrame) -> Figure:
    """The newest sweep as it went: each launch's P95 over time, and what the machine could do meanwhile.

    Launches that failed stand at the foot. A panel for each place and set-up, so that colour and marker, or a
    number, tell its candidates apart.
    """
    known = {str(row["run_id"]): row for row in rows_of(runs)}
    by_run = _by_run(launch_rows, known)
    rows = [row for mine in by_run.values() for row in mine]
    called = "The newest sweep, launch by launch"
    newest = max(rows, key=lambda row: row["started_at"])["sweep_id"] if rows else None
    rows = [row for row in rows if row["sweep_id"] == newest]
    if not _served(rows):
        figure = canvas.new_figure(canvas.WIDTH_IN, 1.2)
        return canvas.nothing(figure, figure.add_subplot(), called, _none_measured(rows))
    began = min(row["started_at"] for row in rows)
    of = [known[run_id] for run_id in dict.fromkeys(str(row["run_id"]) for row in rows)]
    order = sorted(of, key=lambda run: (row_place(run), _panel(run)))
    places = list(dict.fromkeys(map(_panel, order)))[:_MOST_PLACES]
    shown = [run for run in order if _panel(run) in places]
    figure = canvas.new_figure(canvas.WIDTH_IN, 1.6 + max(2.4, 1.4 * len(places)))
    *panels, lower = figure.subplots(len(places) + 1, 1, sharex=True, height_ratios=(*[2] * len(places), 1))
    numbers = looks.alike(shown)
    for run in shown:
        now = [row for row in by_run[str(run["run_id"])] if row["sweep_id"] == newest]
        axes = panels[places.index(_panel(run))]
        served, failed = _served(now), _seconds(_failed(now), began)
        if failed:
            axes.plot(
                failed, [0.0] * len(failed), looks.FAILED_MARKER, ms=7, color=looks.colour(run), zorder=4,
                transform=axes.get_xaxis_transform(), clip_on=False,
            )  # fmt: skip
        p95s, at = [float(row["p95_ms"]) for row in served], _seconds(served, began)
        number = numbers.get(looks.kind(run))
        if is_brief(run):
            axes.plot(at, p95s, ls="none", zorder=1.5, **looks.ring())
        _launch_points(axes, at, p95s, served, run, number)
    drawn = [row for run in shown for row in by_run[str(run["run_id"])] if row["sweep_id"] == newest]
    timed = {_panel(known[str(row["run_id"])]) for row in _served(drawn)}
    probed = [row for row in rows if looks.has(row, "capacity_before_gflops")]
    capacities = [row["capacity_before_gflops"] for row in probed]
    lower.plot(_seconds(probed, began), capacities, ".", color=looks.FAINT, ms=4)
    for axes, place in zip(panels, places, strict=True):
        canvas.clean(axes)
        axes.set_yscale("log")
        canvas.plain_ticks(axes)
        axes.set_ylabel("P95, ms\n(log scale)" if place in timed else "no P95")
        if place not in timed:
            axes.set_yticks([])
        canvas.above(axes, looks.short(place, looks.LEGEND_LETTERS))
    canvas.clean(lower)
    lower.set_ylabel("capacity,\nGFLOP/s" if probed else "not probed")
    lower.set_ylim(0, 1.15 * max(capacities, default=1.0))
    if not probed:
        lower.set_yticks([])
    lower.set_xlabel(f"seconds since {began:%Y-%m-%d %H:%M} UTC")
    canvas.title(panels[0], called, len(of) - len(shown), pad=20)
    handles = [*looks.model_handles(shown), *looks.launch_handles(_served(drawn))]
    handles += [looks.mark(looks.FAILED_MARKER, "failed launch")] if _failed(drawn) else []
    handles += [looks.provisional()] if any(map(is_brief, shown)) else []
    canvas.legend(figure, handles)
    return figure


def ratios(found: Sequence[Comparison], threshold: float = 0.05) -> Figure:
    """B over A with its interval, a line for each pair and latency; grey between is too small to matter."""
    known = [each for each in found if any(end is not None for end in (each.low, each.ratio, each.high))]
    shown = known[:MOST_RUNS]
    figure, axes = canvas.rows_figure(len(shown))
    called = "B against A"
    if not shown:
        pairs = f"no ratio is known of {counted(len(found), 'comparison')}: the table says why"
        return canvas.nothing(figure, axes, called, pairs if found else "no two runs were compared")
    figure.set_gid("ratios")  # as report.figure names the others
    axes.axvspan(1 / (1 + threshold), 1 + threshold, color=looks.FAINT, alpha=0.2, lw=0)
    axes.axvline(1, color=looks.FAINT, lw=1)
    ends = [value for each in shown for value in (each.low, each.ratio, each.high) if value is not None]
    least, most = 0.9 * min(ends), 1.1 * max(ends)  # where open ends are drawn to
    for number, each in enumerate(shown):
        y = number + canvas.UNDER
        colour = {"slower": _SLOWER, "quicker": _QUICKER}.get(each.word, looks.INK)
        if each.low is None and each.high is None:
            axes.axhline(y, color=looks.FAINT, lw=0.8, ls=":", zorder=1)
        else:
            axes.hlines(y, each.low or least, each.high or most, color=colour, lw=2)
        if (each.low is None) != (each.high is None):  # an open end
            end, marker = (least, "<") if each.low is None else (most, ">")
            axes.plot(end, y, marker, color=colour, ms=6)
        if each.ratio is not None:
            axes.plot(each.ratio, y, "o", color=colour, ms=6)
    labels = [
        looks.pair_label(each.label, f"{each.metric[:3].upper()} {each.word}", each.provisional)
        for each in shown
    ]
    canvas.rows_axis(figure, axes, labels)
    axes.set_xscale("log")
    canvas.plain_ticks(axes)
    axes.set_xlabel("B / A (log scale): right of the band is slower, left is quicker")
    canvas.title(axes, called, len(found) - len(shown))
    ends_known = {(each.low is not None) + (each.high is not None) for each in shown}
    handles = [looks.mark(">", "open end: launches failed or were stopped early")] if 1 in ends_known else []
    canvas.legend(figure, handles + ([looks.dotted()] if 0 in ends_known else []))
    return figure


def _reads(gate: GateConfig, row: Row) -> bool:
    """Whether a latency gate is asked of a run: where it reads, a must gate under production's load too."""
    loaded = row["purpose"] == "confirm" and gate.at.batch_size == row["batch_size"]
    return run_for(gate, [row]) is row or (gate.tier == "must" and loaded)


def _reported(baseline: BaselineRecord | None) -> list[tuple[str, float]]:
    """The label and value of each P95, in ms, that a baseline's source reports."""
    if baseline is None or baseline.kind != "reported":
        return []
    return [
        (f"{looks.short(baseline.label)} · reported, batch {figure.batch_size}", figure.value)
        for figure in baseline.figures
        if figure.metric == "latency_p95_ms"
    ]


def _measured(runs: pd.DataFrame, column: str) -> list[Row]:
    return [row for row in rows_of(runs) if looks.has(row, column)]


def _most(rows: Sequence[Row], decision: Decision | None) -> list[Row]:
    """Of many rows the first, and those of the pick wherever they stand; the order is kept."""
    picked = (c for c in decision.candidates if c.label == decision.chosen) if decision else ()
    picks = {row["run_id"] for c in picked for row in c.rows}
    first = sorted(range(len(rows)), key=lambda at: (rows[at]["run_id"] not in picks, at))
    return [rows[at] for at in sorted(first[:MOST_RUNS])]


def _launched(runs: pd.DataFrame) -> int:
    """Runs of which anything was measured."""
    return sum(bool(row["launches"]) for row in rows_of(runs))


def _by_run(launch_rows: pd.DataFrame, known: dict[str, Row]) -> dict[str, list[Row]]:
    """The launches of the known runs, in the order they were measured."""
    rows = [row for row in rows_of(launch_rows) if str(row["run_id"]) in known]
    found: dict[str, list[Row]] = {}
    for row in sorted(rows, key=lambda row: (str(row["run_id"]), int(row["launch_index"]))):
        found.setdefault(str(row["run_id"]), []).append(row)
    return found


def _served(launch_rows: Sequence[Row]) -> list[Row]:
    """The launches with a P95."""
    return [row for row in launch_rows if looks.has(row, "p95_ms")]


def _failed(launch_rows: Sequence[Row]) -> list[Row]:
    """The launches without one."""
    return [row for row in launch_rows if not looks.has(row, "p95_ms")]


def _none_measured(launch_rows: Sequence[Row]) -> str:
    """What is said where there is no launch with a P95."""
    failed = f"{counted(len(launch_rows), 'launch')} failed and " if launch_rows else ""
    return f"{failed}no launch was measured yet"


def _length(workload: Any) -> float:
    """Tokens of each text of a workload, where all have as many, and a number as it is; else 0."""
    return as_number(str(workload).removeprefix("tokens_")) or 0.0


@dataclass(frozen=True)
class _Panel:
    """Lines of growth at one place: what grows, an index of `_VIEWS`, and the rows of each candidate.

    A line is of what a decision reads together, by its key: of one artifact, set-up and versions.
    """

    view: int
    held: str
    held_as: tuple[float, str]
    lines: dict[str, list[Row]]


def _panels(rows: Sequence[Row], at: AtConfig) -> list[_Panel]:
    """The panels that show all there is of growth, those first that matter most; two points make a line.

    Of each view the one comes first that holds what `at` does, then those of the most points; none shows
    only what those before it do.
    """
    found: list[tuple[tuple[bool, int], _Panel]] = []
    seen: set[str] = set()
    for view, (_, x_of, column) in enumerate(_VIEWS):
        groups: dict[Any, dict[str, dict[float, Row]]] = {}
        for row in rows:
            if x_of(row) > 0:
                groups.setdefault(row[column], {}).setdefault(evidence_key(row), {})[x_of(row)] = row
        mine = []
        for value, candidates in groups.items():
            lines = {
                key: [by_x[x] for x in sorted(by_x)] for key, by_x in candidates.items() if len(by_x) > 1
            }
            held = f"batch {value}" if column == "batch_size" else str(value)
            standing = (value != getattr(at, column), -sum(map(len, lines.values())))
            mine.append((standing, _Panel(view, held, (_length(value), held), lines)))
        first = True
        for _, panel in sorted(mine, key=lambda each: (each[0], each[1].held_as)):
            if new := {str(row["run_id"]) for line in panel.lines.values() for row in line} - seen:
                found.append(((not first, view), panel))
                seen |= new
                first = False
    return [panel for _, panel in sorted(found, key=lambda each: each[0])]


def _picked_first(decision: Decision | None) -> dict[str, int]:
    """The pick's evidence, then that of the Pareto front, each with its rank from 0."""
    if decision is None:
        return {}
    keys = {c.label: evidence_key(dict(c.rows[0])) for c in decision.candidates if c.rows}
    labels = dict.fromkeys(filter(None, (decision.chosen, *(point.label for point in decision.front))))
    return {keys[label]: rank for rank, label in enumerate(labels) if label in keys}


def _line_names(rows: Sequence[Row]) -> list[tuple[Row, str]]:
    """A row of each line and the line's name; of several with one label also what tells it apart."""
    names = zip((str(row["candidate_label"]) for row in rows), told_apart(rows), strict=True)
    lines = (
        "\n".join(looks.short(text, looks.LEGEND_LETTERS) for text in filter(None, name)) for name in names
    )
    return list(zip(rows, lines, strict=True))


def _line(axes: Axes, rows: Sequence[Row], xs: Sequence[float], metric: str) -> None:
    """A candidate's points with their intervals, joined."""
    ys = [float(row[metric]) for row in rows]
    for row in rows[:1]:
        axes.plot(xs, ys, color=looks.colour(row), lw=1.3, ls=looks.dashes(row), zorder=2)
    for x, y, row in zip(xs, ys, rows, strict=True):
        canvas.interval(axes, row, metric, x, vertical=True)
        _point(axes, row, x, y, metric, ms=5)


def _point(axes: Axes, row: Row, x: float, y: float, metric: str, **more: Any) -> None:
    """A run's figure with the run's marker, or that of launches that were stopped early; ringed if brief."""
    if looks.is_grey(row, metric):
        axes.plot(x, y, ls="none", zorder=2.5, **looks.ring())
    stopped = {"marker": looks.STOPPED_MARKER} if looks.is_stopped(row, metric) else {}
    axes.plot(x, y, **{"ls": "none", "zorder": 3, **looks.look(row), **stopped, **more})


def _launch_points(
    axes: Axes,
    xs: Sequence[float],
    ys: Sequence[float],
    rows: Sequence[Row],
    run: Row,
    number: int | None = None,
) -> None:
    """A run's launches with its marker or number, in that of a kind of which there is more to tell."""
    own = {"ms": 4, **looks.look(run)} if number is None else looks.numbered(run, number)
    axes.plot(xs, ys, ls="none", zorder=3, **own)
    kinds = [looks.launch_kind(row) for row in rows]
    for kind in dict.fromkeys(filter(None, kinds)):
        ours = [i for i, each in enumerate(kinds) if each == kind]
        axes.plot(
            [xs[i] for i in ours], [ys[i] for i in ours], ls="none", ms=8, zorder=2.5, color=looks.INK,
            marker=looks.LAUNCH_KINDS[kind], mfc="none",
        )  # fmt: skip


def _seconds(rows: Sequence[Row], began: Any) -> list[float]:
    return [(row["started_at"] - began).total_seconds() for row in rows]


def _panel(run: Row) -> str:
    """Where a run was measured, and what of its candidate neither colour nor marker tells."""
    beside = str(run["candidate_label"]).partition(f" {run['precision']} ")[2] or str(run["ep"])
    return f"{looks.place(run)}, {beside}"


def _there(candidate: CandidateVerdict, at: AtConfig) -> list[Row]:
    """A candidate's run at a place, if there is one; of one that cannot be measured here what says so."""
    row = run_at(at, candidate.rows) or (candidate.rows[0] if candidate.impossible else None)
    return [] if row is None else [dict(row)]


def _best(candidates: Iterable[CandidateVerdict], at: AtConfig) -> CandidateVerdict | None:
    """The one that the decision puts first, of those with a P95 at a place; of trained weights if one is."""
    known = [c for c in candidates for row in _there(c, at) if looks.has(row, "latency_p95_ms")]
    return min(known, key=_is_twin, default=None)


def _p95_ms(candidate: CandidateVerdict, at: AtConfig) -> float:
    return float(_there(candidate, at)[0]["latency_p95_ms"])


def _is_twin(candidate: CandidateVerdict) -> bool:
    return looks.is_random(dict(candidate.rows[0]))


def _cell(row: Row, verdict: str) -> str:
    """A run's P95 with its interval, its precision and verdict, and what limits it."""
    bounds = looks.bounds(row, "latency_p95_ms")
    interval = "no interval" if bounds is None else f"({_digits(bounds[0])}–{_digits(bounds[1])})"
    value, interval = stopped_cells(p95_floor_ms(row), _digits(float(row["latency_p95_ms"])), interval)
    marks = ["random weights"] if looks.is_random(row) else []
    marks += ["provisional"] if is_brief(row) else []
    told = [looks.short(str(row["precision"]), _CELL_LETTERS), *filter(None, [verdict])]
    return "\n".join([f"{value} ms", interval, *told, *marks])


def _digits(value: float) -> str:
    """A figure of three digits, of more where it has them before the point."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _gate_line(axes: Axes, gate: GateConfig, ys: Sequence[int]) -> None:
    """A gate's bound across the runs at these rows."""
    for y in ys:
        axes.plot(
            [gate.bound] * 2, [y - 0.5, y + 0.5], color=looks.INK, lw=1, ls=_gate_style(gate), zorder=1,
            solid_capstyle="butt",
        )  # fmt: skip


def _gate_bound(gate: GateConfig) -> str:
    return f"{gate.tier} {gate.op} {bound_text(gate.bound)}"


def _gate_style(gate: GateConfig) -> str:
    return {"must": "-", "should": "--"}.get(gate.tier, ":")


def _gate_handle(gate: GateConfig) -> Artist:
    """A gate in a legend: its bound, the share of launches that it asks, and where; long ones in lines."""
    where = "" if gate.at == AtConfig() else f" at {gate_place(gate)}"
    assert gate.launch_quantile is not None  # of a latency
    told = f"{_gate_bound(gate)} in {bound_share_text(gate.launch_quantile)} of launches{where}"
    return looks.mark("", "\n".join(wrap(told, looks.LEGEND_LETTERS)), ls=_gate_style(gate), lw=1)
