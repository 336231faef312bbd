"""Figures draw what is stored: every point is a stored figure, gates are labelled, marks tell the unsure."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from datetime import timedelta
from itertools import combinations, pairwise
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from harness import canvas, looks, plots
from harness.baseline import load_reported
from harness.comparison import Comparison
from harness.config import load_policy
from harness.decision import decide
from harness.looks import PAPER
from harness.record import LAUNCH_COLUMNS, RUN_COLUMNS
from harness.schema import AtConfig
from tests.conftest import STARTED, launch_row, run_row

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    from harness.schema import PolicyConfig

EMPTY_RUNS = pd.DataFrame(columns=[column.name for column in RUN_COLUMNS])
EMPTY_LAUNCHES = pd.DataFrame(columns=[column.name for column in LAUNCH_COLUMNS])
POLICY = load_policy("default")


def runs(*rows: dict[str, Any]) -> pd.DataFrame:
    return pd.DataFrame(list(rows))


def launch_frame(*rows: dict[str, Any]) -> pd.DataFrame:
    return pd.DataFrame([dict.fromkeys(EMPTY_LAUNCHES.columns) | row for row in rows])


def text_in(figure: Figure) -> str:
    figure.draw_without_rendering()
    return "\n".join(t.get_text() for t in figure.findobj(Text) if t.get_visible())


def marked(figure: Figure) -> Iterator[Line2D]:
    """What is drawn as points; a legend's are none."""
    for axes in figure.axes:
        for line in axes.lines:
            if line.get_marker() not in ("None", "", None) and line.get_linestyle() in ("None", "none"):
                yield line


def legend_of(figure: Figure) -> list[tuple[Any, Any]]:
    """The labels of a legend and what stands beside them."""
    (legend,) = figure.legends
    return list(zip(legend.get_texts(), legend.legend_handles, strict=True))


def row_labels(axes: Axes) -> list[Text]:
    """The labels of rows, the first on top."""
    return [text for text in axes.texts if not text.get_in_layout()]


def points(axes: Axes) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for line in axes.lines for x, y in line.get_xydata().tolist()]


def every_figure(run_rows: pd.DataFrame, launch_rows: pd.DataFrame) -> dict[str, Figure]:
    return {
        "p95_against_gates": plots.p95_against_gates(run_rows, POLICY),
        "launches": plots.launches(launch_rows, run_rows),
        "scaling": plots.scaling(run_rows, POLICY),
        "model_by_ep": plots.model_by_ep(None if run_rows.empty else decide(run_rows), POLICY),
        "stages": plots.stages(run_rows),
        "pareto": plots.pareto(None if run_rows.empty else decide(run_rows), POLICY),
        "timeline": plots.timeline(launch_rows, run_rows),
    }


def test_on_an_empty_result_set_every_figure_says_what_there_is_nothing_of() -> None:
    whole = every_figure(runs(run_row()), launch_frame(launch_row()))
    for name, figure in every_figure(EMPTY_RUNS, EMPTY_LAUNCHES).items():
        assert "yet" in text_in(figure), name
        assert figure.axes[0].get_title(loc="left"), "and names itself"
        if whole[name].axes[0].axison:
            assert figure.axes[0].get_title(loc="left") == whole[name].axes[0].get_title(loc="left")


def test_on_one_run_every_figure_can_be_drawn() -> None:
    for figure in every_figure(runs(run_row()), launch_frame(launch_row())).values():
        figure.draw_without_rendering()


def test_p95_is_drawn_where_it_is_stored_with_its_interval_and_the_gates_are_labelled() -> None:
    row = run_row(latency_p95_ms=12.5, latency_p95_low_ms=11.0, latency_p95_high_ms=15.0)
    figure = plots.p95_against_gates(runs(row), POLICY)
    (axes,) = figure.axes
    assert (12.5, canvas.UNDER) in points(axes)
    (bar,) = axes.collections
    assert [float(x) for x, _ in bar.get_segments()[0]] == [11.0, 15.0]
    told = text_in(figure)
    assert "must < 30 in 80%" in told
    assert "should < 20 in 50%" in told
    assert "ms" in axes.get_xlabel()


def test_a_gates_bound_and_share_of_launches_are_told_exactly() -> None:
    asked = [gate for gate in POLICY.gates if gate.metric == "latency_p95_ms"]
    gates = [gate.model_copy(update={"bound": 29.9999999, "launch_quantile": 0.995}) for gate in asked]
    told = text_in(plots.p95_against_gates(runs(run_row()), POLICY.model_copy(update={"gates": gates})))
    assert "must < 29.9999999 in 99.5% of launches" in told


def test_gates_at_places_of_ones_own_leave_the_axes_their_height() -> None:
    def height_in(policy: PolicyConfig) -> float:
        row = run_row(workload="tokens_37", batch_size=4, latency_p95_ms=12.0)
        figure = plots.p95_against_gates(runs(row), policy)
        figure.draw_without_rendering()
        return float(figure.axes[0].get_position().height * figure.get_figheight())

    at = AtConfig(workload="tokens_37", batch_size=4)
    asked = [gate for gate in POLICY.gates if gate.metric == "latency_p95_ms" and gate.at == AtConfig()]
    gates = [gate.model_copy(update={"at": at, "bound": 100 * gate.bound}) for gate in asked]
    own = POLICY.model_copy(update={"gates": gates})
    assert height_in(own) > 0.5
    told = text_in(plots.p95_against_gates(runs(run_row(workload="tokens_37", batch_size=4)), own))
    assert "at tokens_37, batch 4" in " ".join(told.split())


@pytest.mark.parametrize("count", range(1, 7))
def test_a_rows_label_covers_no_point_however_few_rows_there_are(count: int) -> None:
    rows = runs(*(run_row(f"r{i}", p95_ms=5.5 * 2**i, batch_size=2**i) for i in range(count)))
    figure = plots.p95_against_gates(rows, POLICY)
    figure.savefig(io.BytesIO())
    (axes,) = figure.axes
    for y, label in enumerate(row_labels(axes)):
        middle_px = axes.transData.transform((5.5, y + canvas.UNDER))[1]
        radius_px = 5 / 72 * figure.dpi
        assert label.get_window_extent().y0 > middle_px + radius_px


def test_a_gate_stands_across_the_runs_that_it_reads_and_no_others() -> None:
    rows = runs(
        run_row("batch", batch_size=32, latency_p95_ms=5.0),
        run_row("loaded", workload="mixture", clients=2, purpose="confirm", latency_p95_ms=40.0),
        run_row("read", latency_p95_ms=12.0),
    )
    figure = plots.p95_against_gates(rows, POLICY)
    (axes,) = figure.axes
    spans = {bound: [y for x, y in points(axes) if x == bound] for bound in (15.0, 20.0, 30.0)}
    # The run that three gates read is on top, the one under production's load second, as musts read it too.
    assert {(min(ys), max(ys)) for bound, ys in spans.items() if bound != 30} == {(-0.5, 0.5)}
    assert (min(spans[30.0]), max(spans[30.0])) == (-0.5, 1.5)
    assert "below the line none asks" in text_in(figure)


def test_a_run_without_an_interval_is_not_drawn_as_if_it_were_exact() -> None:
    known = run_row("known")
    unknown = run_row("unknown", latency_p95_low_ms=None, latency_p95_high_ms=None)
    told = "too few launches for an interval"
    assert told not in text_in(plots.p95_against_gates(runs(known), POLICY))
    for figure in (
        plots.p95_against_gates(runs(known, unknown), POLICY),
        plots.scaling(runs(known, unknown | {"batch_size": 8}), POLICY),
        plots.pareto(decide(runs(unknown)), POLICY),
    ):
        assert told in text_in(figure)
    assert "no interval" in text_in(plots.model_by_ep(decide(runs(unknown)), POLICY))


def test_random_weights_are_hollow_and_told_in_every_figure_of_runs() -> None:
    twin: dict[str, Any] = {"weights": "random", "candidate_label": "e5 twin", "model": "e5"}
    twin |= dict.fromkeys(("separation_auc", "separation_auc_low", "separation_auc_high"))
    rows = runs(
        run_row("a", infer_p50_ms=3.0),
        *(run_row(f"b{size}", batch_size=size, infer_p50_ms=3.0, **twin) for size in (1, 8)),
    )
    launched = launch_frame(launch_row(run_id="a"), launch_row(run_id="b1"))
    figures = every_figure(rows, launched)
    hollow = {
        name
        for name, figure in figures.items()
        if PAPER in {to_hex(mark.get_markerfacecolor()) for mark in marked(figure)}
    }
    assert hollow == {"p95_against_gates", "launches", "scaling", "timeline"}
    assert any(box.get_hatch() for box in figures["stages"].axes[0].patches)
    for name, figure in figures.items():
        assert ("without an AUC not drawn" if name == "pareto" else "random weights") in text_in(figure), name


def test_provisional_evidence_is_told_and_evidence_of_enough_time_is_not() -> None:
    def told(span_s: float) -> list[str]:
        rows = runs(
            *(
                run_row(f"b{size}", batch_size=size, evidence_span_s=span_s, infer_p50_ms=3.0)
                for size in (1, 8)
            )
        )
        drawn = every_figure(rows, launch_frame(launch_row(run_id="b1")))
        return [name for name, figure in drawn.items() if "provisional" in text_in(figure)]

    assert told(10.0) == list(every_figure(EMPTY_RUNS, EMPTY_LAUNCHES))
    assert told(95.0) == []


def test_provisional_points_are_ringed_in_grey_with_an_interval_or_without_and_others_are_not() -> None:
    latency, throughput = "latency_p95", "throughput_texts_per_s"
    none: dict[str, Any] = dict.fromkeys(
        (f"{latency}_low_ms", f"{latency}_high_ms", f"{throughput}_low", f"{throughput}_high")
    )
    for more in ({}, none):
        brief, long = (
            run_row(f"b{size}", batch_size=size, evidence_span_s=span_s, **more)
            for size, span_s in ((1, 10.0), (8, 95.0))
        )
        figures = every_figure(
            runs(brief, long), launch_frame(launch_row(run_id="b1"), launch_row(run_id="b8"))
        )
        for name, rings in {"p95_against_gates": 1, "scaling": 2, "pareto": 1, "timeline": 1}.items():
            found = [line for line in marked(figures[name]) if to_hex(line.get_color()) == looks.FAINT]
            assert len([line for line in found if line.get_marker() == "o"]) == rings, name
            assert "grey: provisional" in text_in(figures[name]), name


def test_a_reported_figure_is_hatched_and_called_so_and_is_no_run() -> None:
    baseline = load_reported()["reported_qwen3"]
    rows = runs(run_row())
    decision = replace(decide(rows), baseline=baseline)
    figure = plots.p95_against_gates(rows, POLICY, decision)
    (box,) = [patch for patch in figure.axes[0].patches if isinstance(patch, Rectangle)]
    assert box.get_hatch()
    assert box.get_x() < 171 < box.get_x() + box.get_width()
    told = text_in(figure)
    assert f"{baseline.label} · reported, batch 1" in told
    assert "reported, not measured here" in told
    measured = baseline.model_copy(update={"kind": "measured"})
    decision = replace(decision, baseline=measured)
    assert "reported" not in text_in(plots.p95_against_gates(rows, POLICY, decision))


def test_a_model_has_one_look_in_all_figures_and_whatever_else_is_drawn() -> None:
    def rows(*models: str) -> pd.DataFrame:
        return runs(
            *(run_row(f"{m}{b}", model=m, batch_size=b, candidate_label=m) for m in models for b in (1, 8))
        )

    def looks(figure: Figure) -> set[tuple[str, Any]]:
        return {(to_hex(line.get_color()), line.get_marker()) for line in marked(figure)}

    everyone = rows("minilm", "e5", "own", "another")
    one, two = plots.p95_against_gates(everyone, POLICY), plots.scaling(everyone, POLICY)
    assert looks(one) == looks(two)
    assert len(looks(one)) == 4
    assert looks(plots.p95_against_gates(rows("own"), POLICY)) < looks(one)


SHIPPED = ("fp32", "fp32-fused", "fp16", "int8", "int8-weights", "int4-weights")


def variants(**changes: Sequence[str]) -> list[dict[str, Any]]:
    """Runs of one model in two batch sizes that differ in one column alone, each with an AUC of its own."""
    ((column, values),) = changes.items()
    return [
        run_row(
            f"{value}{batch}",
            p95_ms=5.0 + i,
            batch_size=batch,
            candidate_label=f"minilm {row['precision']} {row['ep']}",
            separation_auc=0.99 - i / 1000,
            separation_auc_low=0.98 - i / 1000,
            separation_auc_high=0.995,
            **{column: value},
        )
        for i, value in enumerate(values)
        for row in [run_row(**{column: value})]
        for batch in (1, 8)
    ]


def test_precisions_of_a_model_have_one_marker_each_in_all_figures_that_show_them_together() -> None:
    rows = variants(precision=SHIPPED)
    launched = launch_frame(*(launch_row(run_id=row["run_id"], p95_ms=row["latency_p95_ms"]) for row in rows))
    figures = every_figure(runs(*rows), launched)
    for name in ("p95_against_gates", "launches", "scaling", "pareto", "timeline"):
        shapes = {line.get_marker() for line in marked(figures[name])} - {"."}
        assert len(shapes) == len(SHIPPED), name
    for name in ("scaling", "pareto", "timeline"):
        told = text_in(figures[name])
        assert all(precision in told for precision in SHIPPED), name


def test_execution_providers_of_a_model_are_told_apart_by_lines_panels_and_numbers() -> None:
    rows = variants(ep=("cpu", "openvino"))
    launched = launch_frame(*(launch_row(run_id=row["run_id"], p95_ms=row["latency_p95_ms"]) for row in rows))
    figures = every_figure(runs(*rows), launched)
    styles = {line.get_linestyle() for line in figures["scaling"].axes[0].lines} - {"None"}
    assert styles == {"-", ":"}
    for name in ("scaling", "pareto"):
        assert "\n2\n" in text_in(figures[name])
        assert "2: minilm fp32 openvino" in text_in(figures[name])
    told = text_in(figures["timeline"])
    for panel in ("default, cpu", "default, openvino", "default, batch 8, cpu", "default, batch 8, openvino"):
        assert panel in told


def test_replicates_and_runs_of_other_cores_have_panels_of_their_own_in_a_timeline() -> None:
    rows = [run_row("a", replicate=1), run_row("b", replicate=2), run_row("c", cpus=1)]
    figure = plots.timeline(launch_frame(*(launch_row(run_id=row["run_id"]) for row in rows)), runs(*rows))
    told = text_in(figure)
    for panel in ("default, replicate 1, cpu", "default, replicate 2, cpu", "default, held to 1 core, cpu"):
        assert panel in told


def test_own_models_that_share_a_colour_and_marker_are_told_apart_by_numbers_in_a_timeline() -> None:
    names = ("own0", "own2", "minilm")
    rows = [run_row(name, model=name, candidate_label=f"{name} fp32 cpu") for name in names]
    assert looks.colour(rows[0]) == looks.colour(rows[1])
    launched = launch_frame(*(launch_row(i, run_id=name) for name in names for i in (0, 1)))
    figure = plots.timeline(launched, runs(*rows))
    drawn = [(to_hex(line.get_color()), line.get_marker()) for line in marked(figure)]
    assert len(set(drawn)) == len(drawn)
    handles = {text.get_text(): mark for text, mark in legend_of(figure)}
    assert handles.keys() == {"minilm", "fp32", "own0 fp32", "own2 fp32"}
    assert {handles[f"{name} fp32"].get_marker() for name in names[:2]} == {"$1$", "$2$"}


def test_own_precisions_that_share_a_marker_are_told_apart_by_numbers() -> None:
    rows = [run_row(precision=name) for name in ("own0", "own1", "own2", "own3", "own4", "own5")]
    numbers = looks.alike([*rows, run_row(precision="int8")])
    seen = {(looks.marker(row), numbers.get(looks.kind(row))) for row in rows}
    assert len(seen) == len(rows), "there are more than there are markers"
    assert looks.alike([run_row(precision=name) for name in SHIPPED]) == {}


def test_the_newest_run_at_a_place_stands_in_a_line() -> None:
    rows = runs(
        run_row("old", latency_p95_ms=99.0), run_row("new", latency_p95_ms=5.0), run_row("b8", batch_size=8)
    )
    drawn = [y for _, y in points(plots.scaling(rows, POLICY).axes[0])]
    assert 5.0 in drawn
    assert 99.0 not in drawn


@pytest.mark.parametrize(
    "column", ["artifact_sha256", "onnxruntime", "python", "harness_version", "session_options"]
)
def test_runs_that_a_decision_reads_apart_are_no_line(column: str) -> None:
    rows = [
        run_row(f"{mine}{batch}", p95_ms=p95_ms, batch_size=batch, **{column: mine})
        for mine, p95_ms in (("first", 5.0), ("second", 50.0))
        for batch in (1, 8)
    ]
    figure = plots.scaling(runs(*rows), POLICY)
    joined = [line.get_ydata() for line in figure.axes[0].lines if len(line.get_xdata()) > 1]
    assert [list(map(float, ys)) for ys in joined] == [[5.0, 5.0], [50.0, 50.0]]
    named = [text.get_text() for text, _ in legend_of(figure)][:2]
    assert named == [f"1: minilm fp32 cpu\n{column}=first", f"2: minilm fp32 cpu\n{column}=second"]
    each_once = plots.scaling(runs(rows[0], rows[3]), POLICY)
    assert "yet" in text_in(each_once), "of two things two points make no line"


def grown(
    models: Sequence[str] = ("minilm", "e5"),
    workloads: Sequence[str] = ("tokens_32", "tokens_128", "tokens_512"),
    batches: Sequence[int] = (1, 8, 32),
    precisions: Sequence[str] = ("fp32", "int8"),
) -> list[dict[str, Any]]:
    """A run of each candidate at each place; later models and precisions are slower."""
    return [
        run_row(
            f"{model}-{precision}-{workload}-{batch}", model=model, precision=precision, workload=workload,
            candidate_label=f"{model} {precision} cpu", batch_size=batch, artifact_sha256=model + precision,
            p95_ms=pace * batch * float(workload.removeprefix("tokens_").replace("default", "40")) / 50,
            launch_throughput_texts_per_s=[1e4 / pace] * 20,
        )
        for pace, (model, precision) in enumerate(((m, p) for m in models for p in precisions), start=10)
        for workload in workloads
        for batch in batches
    ]  # fmt: skip


def panel_names(figure: Figure) -> list[str]:
    """What the panels of growth hold, from left to right."""
    return [axes.texts[0].get_text() for axes in figure.axes[: len(figure.axes) // 2]]


def test_growth_has_a_panel_a_place_and_lines_of_nothing_but_that_place() -> None:
    rows = grown()
    figure = plots.scaling(runs(*rows), POLICY)
    assert panel_names(figure) == ["tokens_32", "tokens_128", "tokens_512"]
    for place, axes in zip(panel_names(figure), figure.axes, strict=False):
        drawn = {y for _, y in points(axes)}
        assert drawn == {row["latency_p95_ms"] for row in rows if row["workload"] == place}
        assert axes.get_ylim() == figure.axes[0].get_ylim()
        assert len([line for line in axes.lines if len(line.get_xdata()) > 1]) == 4


def test_lengths_have_a_panel_where_they_were_measured_at_one_batch_size() -> None:
    batches = grown(workloads=("default",), precisions=("fp32",))
    lengths = grown(workloads=("tokens_32", "tokens_128"), batches=(1,), precisions=("fp32",))
    figure = plots.scaling(runs(*batches, *lengths), POLICY)
    assert panel_names(figure) == ["default", "batch 1"]
    assert [axes.get_xlabel() for axes in figure.axes[2:]] == ["texts in a request", "tokens of a text"]
    assert "batch 1" not in panel_names(plots.scaling(runs(*grown()), POLICY)), "others show its runs"


def test_of_many_places_the_policys_own_is_drawn_and_those_left_out_are_named() -> None:
    workloads = ("tokens_8", "tokens_32", "tokens_64", "tokens_128", "tokens_512")
    figure = plots.scaling(runs(*grown(workloads=workloads)), elsewhere("tokens_512"))
    assert panel_names(figure) == ["tokens_8", "tokens_32", "tokens_512"]
    assert "in the table too: tokens_64, tokens_128" in text_in(figure)


def test_of_many_candidates_the_pick_grows_first_then_the_front_and_the_quickest() -> None:
    rows = grown(("minilm", "e5", "bge", "own"), precisions=("fp32", "int8", "fp16"))
    policy = elsewhere("tokens_32")
    told = " ".join(text_in(plots.scaling(runs(*rows), policy)).split())
    assert "1: minilm fp32 cpu 2: minilm int8 cpu" in told
    assert "drawn are the quickest; 6 more candidates in the table" in told
    decision = decide(runs(*rows), policy)
    slow = next(c for c in decision.candidates if c.label == "own fp16 cpu")
    picked = replace(decision, chosen="own int8 cpu", front=(slow.point,))
    figure = plots.scaling(runs(*rows), policy, picked)
    told = " ".join(text_in(figure).split())
    assert "1: own int8 cpu 2: own fp16 cpu 3: minilm fp32 cpu" in told
    assert "drawn are the pick, the Pareto front, then the quickest; 6 more candidates" in told
    assert len([text for text, _ in legend_of(figure) if re.match(r"\d: ", text.get_text())]) == 6


@pytest.mark.parametrize("alike", [False, True])
def test_the_numbers_of_lines_stand_in_the_order_of_their_ends_and_never_over_one_another(
    alike: bool,
) -> None:
    rows = grown(("minilm", "e5", "bge"))
    if alike:
        names = ("latency_p95_ms", "latency_p95_low_ms", "latency_p95_high_ms", "throughput_texts_per_s")
        rows = [row | dict.fromkeys(names, 5.0) for row in rows]
    figure = plots.scaling(runs(*rows), POLICY)
    figure.draw_without_rendering()
    for axes in figure.axes:
        told = sorted(
            (text for text in axes.texts if text.get_text().isdigit()),
            key=lambda text: text.get_window_extent().y0,
        )
        assert len(told) == 6
        assert all(a.get_window_extent().y1 <= b.get_window_extent().y0 for a, b in pairwise(told))
    last = [text.get_text() for text in sorted(figure.axes[0].texts[1:], key=lambda text: text.xy[1])]
    assert last == ["1", "2", "3", "4", "5", "6"]


def test_a_hundred_runs_draw_the_quickest_and_say_how_many_more_there_are() -> None:
    rows = runs(*(run_row(f"r{i:03d}", latency_p95_ms=10.0 + i) for i in range(100)))
    figure = plots.p95_against_gates(rows, POLICY)
    told = text_in(figure)
    assert "70 more in the table" in told
    assert len([line for line in marked(figure) if line.get_marker() == "o"]) == plots.MOST_RUNS
    assert "run r000" in told, "runs of the same thing are told apart by their ids"


def test_the_pick_stands_in_a_figure_of_the_quickest_however_slow_it_is() -> None:
    def row(i: int) -> dict[str, Any]:
        name = f"m{i:02d}"
        own = {"candidate_label": name, "model": name, "model_id": name, "p95_ms": 10.0 + i / 10}
        return run_row(name, **own, latency_p50_ms=8.0 + i / 10, infer_p50_ms=7.0)

    rows = runs(*map(row, range(40)))
    launch_rows = launch_frame(*(launch_row(run_id=f"m{i:02d}") for i in range(40)))
    for chosen, drawn in ((None, range(30)), ("m20", range(30)), ("m35", (*range(29), 35))):
        decision = replace(decide(rows), chosen=chosen)
        for figure in (
            plots.p95_against_gates(rows, POLICY, decision),
            plots.launches(launch_rows, rows, decision),
            plots.stages(rows, decision),
        ):
            labels = [label.get_text() for label in row_labels(figure.axes[0])]
            assert [label.split()[0] for label in labels] == [f"m{i:02d}" for i in drawn]
            assert "10 more in the table" in text_in(figure)


def test_disturbed_launches_are_crosses_and_stopped_ones_say_at_least() -> None:
    launch_rows = launch_frame(
        launch_row(0, disturbed=False),
        launch_row(1, disturbed=True),
        launch_row(2, truncated=True),
        launch_row(3, disturbed=True, truncated=True),
    )
    for draw in (plots.launches, plots.timeline):
        figure = draw(launch_rows, runs(run_row()))
        assert [line.get_marker() for line in marked(figure)][:4] == ["o", "x", ">", "4"]
        assert "launch stopped early: what it served until then" in text_in(figure)
        assert "disturbed and stopped early" in text_in(figure)
        points_of, _, stopped, _ = list(marked(figure))[:4]
        assert stopped.get_markerfacecolor() == "none", "the run's own point is seen in it"
        assert stopped.get_markersize() > points_of.get_markersize()


def test_a_run_whose_launches_were_stopped_early_bears_their_mark_and_no_other_does() -> None:
    stopped = {"p95_ms": 90.0, "truncated_over_ms": 30.0, "tokenize_p50_ms": 1.0, "infer_p50_ms": 70.0}
    some = {"p95_ms": 20.0, "truncated_over_ms": 30.0, "launch_p95_ms": [20.0] * 15 + [90.0] * 5}
    for row, p95, others in ((run_row(**stopped), True, True), (run_row(**some), False, True),
                             (run_row(), False, False)):  # fmt: skip
        drawn = plots.p95_against_gates(runs(row), POLICY)
        assert (">" in [line.get_marker() for line in marked(drawn)]) == p95
        assert ("launches stopped early: what they served until then" in text_in(drawn)) == p95
        grown = plots.scaling(runs(row, {**row, "run_id": "r2", "batch_size": 8}), POLICY)
        markers = [[line.get_marker() for line in axes.lines] for axes in grown.axes]
        assert [">" in of for of in markers] == [p95, others]
    assert "≈ 8" in text_in(plots.stages(runs(run_row(**stopped))))
    assert "≈" not in text_in(plots.stages(runs(run_row(infer_p50_ms=7.0))))


def test_a_whole_request_of_seconds_is_told_in_digits() -> None:
    told = text_in(plots.stages(runs(run_row(latency_p50_ms=1234.5, infer_p50_ms=1200.0))))
    assert "1,234" in told
    assert "e+" not in told


def test_failed_launches_are_told_where_only_the_others_can_be_drawn() -> None:
    figure = plots.launches(launch_frame(launch_row()), runs(run_row(launches_failed=2)))
    assert "2 failed" in text_in(figure)


def test_failed_launches_stand_in_a_timeline_and_where_all_failed_the_figures_say_so() -> None:
    served, failed = launch_row(0), launch_row(1, status="failed", p50_ms=None) | {"p95_ms": None}
    other = failed | {"run_id": "b8"}
    rows = runs(run_row(), run_row("b8", batch_size=8, latency_p95_ms=None))
    figure = plots.timeline(launch_frame(served, failed, other), rows)
    crosses = [line for line in marked(figure) if line.get_marker() == looks.FAILED_MARKER]
    assert [list(line.get_xdata()) for line in crosses] == [[1.0], [1.0]]
    told = text_in(figure)
    assert "failed launch" in told
    assert "no P95" in told, "of the panel in which all failed"
    assert "failed" not in text_in(plots.timeline(launch_frame(served), rows))
    for draw in (plots.launches, plots.timeline):
        told = " ".join(text_in(draw(launch_frame(failed, other), rows)).split())
        assert "2 launches failed and no launch was measured yet" in told


def front_rows() -> pd.DataFrame:
    """A front of three by P95, AUC and memory, of which the third is beaten in the two that are drawn."""

    def row(name: str, p95_ms: float, auc: float, memory_mib: int, **changes: Any) -> dict[str, Any]:
        return run_row(
            name,
            p95_ms=p95_ms,
            candidate_label=name,
            model_id=name,
            separation_auc=auc,
            separation_auc_low=auc - 0.005,
            separation_auc_high=auc + 0.001,
            peak_rss_bytes=memory_mib * 2**20,
            **changes,
        )

    return runs(
        row("quick", 5.0, 0.97, 200),
        row("good", 18.0, 0.99, 300),
        row("small", 19.0, 0.96, 100),
        row("beaten", 19.5, 0.96, 400),
        row("forbidden", 4.0, 0.995, 50, finite=False),
    )


def test_the_front_that_is_drawn_is_the_decisions_own() -> None:
    decision = decide(front_rows())
    assert [point.label for point in decision.front] == ["quick", "good", "small"]
    figure = plots.pareto(decision, POLICY)
    told = text_in(figure)
    for number, name in enumerate(("quick", "good", "small"), start=1):
        assert f"{number}: {name} (" in told
    assert "200.0 MiB" in told
    assert "4: forbidden" in told, "the quickest of those that are not on it"
    assert "5: beaten" in told
    assert "beaten (" not in told
    assert "cannot be picked" in told
    ringed = [line for line in marked(figure) if line.get_markeredgewidth() > 1]
    assert {x for line in ringed for x, _ in line.get_xydata().tolist()} == {5.0, 18.0, 19.0}
    # What stands in the figure is the decision's, whatever dominates what here.
    fewer = plots.pareto(replace(decision, front=decision.front[:1]), POLICY)
    assert "good (" not in text_in(fewer)


@pytest.mark.parametrize("auc", [0.99, 1.0])
def test_the_numbers_of_near_candidates_stand_in_the_axes_and_not_over_one_another(auc: float) -> None:
    near = [
        run_row(
            f"m{i}", model_id=f"m{i}", candidate_label=f"m{i}", p95_ms=p95_ms, peak_rss_bytes=2**28 + i,
            separation_auc=auc, separation_auc_low=0.98, separation_auc_high=1.0,
        )
        for i, p95_ms in enumerate((1.5, 3.8, 3.9, 4.0, 4.1, 4.4, 6.8, 7.1, 7.2, 7.4))
    ]  # fmt: skip
    figure = plots.pareto(decide(runs(*near)), POLICY)
    figure.savefig(io.BytesIO())
    (axes,) = figure.axes
    boxes = [text.get_window_extent() for text in axes.texts]
    assert len(boxes) == 10
    assert max(box.y1 for box in boxes) < axes.get_window_extent().y1 + 5
    assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))


@pytest.mark.parametrize("slowest_ms", [50.0, 1000.0, 30000.0, 123456.7])
def test_numbers_and_gates_of_an_axis_do_not_run_together_however_far_it_spans(slowest_ms: float) -> None:
    rows = runs(run_row("a", p95_ms=1.5), run_row("b", p95_ms=slowest_ms, batch_size=32))
    figure = plots.p95_against_gates(rows, POLICY)
    figure.savefig(io.BytesIO())
    (axes,) = figure.axes
    scale = 72 / figure.dpi
    gates = [text for text in axes.texts if text.get_rotation() == 45]
    starts = [scale * axes.transData.transform(gate.xy)[0] + gate.get_position()[0] for gate in gates]
    assert len(starts) == 3
    assert all(after - start > 12 for start, after in pairwise(starts)), "lines of small letters, aslant"
    low, high = axes.get_xlim()
    told = [
        tick.label1.get_window_extent()
        for tick in axes.xaxis.get_major_ticks()
        if low <= tick.get_loc() <= high
    ]
    assert len(told) > 2
    assert not any(a.x1 > b.x0 for a, b in pairwise(told))


def test_of_many_candidates_the_front_and_the_quickest_are_numbered_and_the_others_counted() -> None:
    def row(i: int) -> dict[str, Any]:
        name = f"m{i:02d}"
        own = {"candidate_label": name, "model": name, "model_id": name, "p95_ms": 5.0 + i / 10}
        return run_row(name, **own, separation_auc=0.985 + (i == 39) / 100, peak_rss_bytes=2**28 + i)

    decision = decide(runs(*map(row, range(40))))
    assert {"m00", "m39"} <= {point.label for point in decision.front}
    figure = plots.pareto(decision, POLICY)
    (axes,) = figure.axes
    assert len([text for text in axes.texts if text.get_text().isdigit()]) == 12
    told = text_in(figure)
    assert "1: m00 (" in told
    assert ": m39 (" in told, "the slowest, and on the front"
    assert "28 more candidates, in the table" in told
    assert len(list(marked(figure))) == 40, "each is drawn"
    everyone = plots.pareto(replace(decision, front=tuple(c.point for c in decision.candidates)), POLICY)
    assert len([line for line in marked(everyone) if line.get_markeredgewidth() > 1]) == 40


def test_twins_have_no_place_in_the_plane_of_quality() -> None:
    figure = plots.pareto(decide(runs(run_row(weights="random", separation_auc=None))), POLICY)
    assert "no candidate with trained weights" in text_in(figure)


def test_of_what_was_measured_elsewhere_figures_say_where_there_is_nothing() -> None:
    rows = runs(run_row(workload="tokens_32"))
    told = " ".join(text_in(plots.pareto(decide(rows), POLICY)).split())
    assert "has a P95 and an AUC at default, batch 1 yet" in told
    told = " ".join(text_in(plots.p95_against_gates(rows, POLICY)).split())
    assert "no gate asks it of these runs, but at default, batch 1" in told
    assert "a gate asks it of" not in told
    none = POLICY.model_copy(update={"gates": [g for g in POLICY.gates if g.metric != "latency_p95_ms"]})
    told = text_in(plots.p95_against_gates(rows, none))
    assert "no gate asks it of these runs" in told
    assert "but" not in told


def test_ones_own_model_has_one_name_in_all_figures() -> None:
    rows = runs(
        *(
            run_row(f"b{size}", batch_size=size, model="custom+6bf4", infer_p50_ms=3.0)
            | {"candidate_label": "support-search+6bf4 fp32 cpu"}
            for size in (1, 8)
        )
    )
    for name, figure in every_figure(rows, launch_frame(launch_row(run_id="b1"))).items():
        assert "support-search+6bf4" in text_in(figure), name
        assert "custom" not in text_in(figure), name


@pytest.mark.parametrize("beaten", [{"finite": False}, {"finite": None}], ids=str)
def test_a_cell_is_of_the_pick_though_another_that_cannot_be_picked_is_quicker(
    beaten: dict[str, Any],
) -> None:
    quick = run_row("q", p95_ms=3.0, precision="int8", candidate_label="q", **beaten)
    rows = runs(quick, run_row("s", p95_ms=9.0))
    told = text_in(plots.model_by_ep(decide(rows), POLICY))
    assert "9 ms" in told
    assert "fp32\nGO" in told
    assert "int8" not in told
    alone = text_in(plots.model_by_ep(decide(runs(quick)), POLICY))
    assert f"int8\n{'INCONCLUSIVE' if beaten['finite'] is None else 'NO_GO'}" in alone


def test_the_lowest_p95_is_no_older_attempt_s() -> None:
    older = run_row("older", p95_ms=3.0)
    newer = run_row("newer", p95_ms=9.0, started_at=STARTED + timedelta(days=1))
    told = text_in(plots.model_by_ep(decide(runs(older, newer)), POLICY))
    assert "9 ms" in told
    assert "3 ms" not in told
    assert "Lowest" not in told, "it is the newest run's"


def elsewhere(workload: str = "tokens_128") -> PolicyConfig:
    """The shipped policy with every gate read at another workload."""
    at = AtConfig(workload=workload)
    return POLICY.model_copy(
        update={
            "gates": [gate.model_copy(update={"at": at}) for gate in POLICY.gates if gate.at == AtConfig()]
        }
    )


def test_the_heat_map_shows_the_place_that_the_verdict_in_its_cells_is_of() -> None:
    policy = elsewhere()
    rows = runs(run_row("d", p95_ms=5.0), run_row("t", p95_ms=50.0, workload="tokens_128"))
    decision = decide(rows, policy)
    told = " ".join(text_in(plots.model_by_ep(decision, policy)).split())
    assert "50 ms" in told
    assert "NO_GO" in told
    assert "5 ms" not in told.replace("50 ms", "")
    assert "at tokens_128, batch 1: the median launch's" in told
    assert "at default, batch 1: " in " ".join(text_in(plots.model_by_ep(decide(rows), POLICY)).split())


def test_what_was_measured_elsewhere_alone_is_in_no_cell() -> None:
    policy = elsewhere()
    there = {"workload": "tokens_128"}
    rows = [
        run_row("t", **there),
        run_row("g", **there, model="bge", candidate_label="bge fp32 coreml", ep="coreml"),
        run_row("d", p95_ms=3.0, candidate_label="minilm fp32 coreml", ep="coreml"),
        run_row("e", p95_ms=3.0, model="e5", candidate_label="e5 fp32 cpu"),
    ]
    told = text_in(plots.model_by_ep(decide(runs(*rows), policy), policy))
    assert told.count("not measured") == 2
    assert "3 ms" not in told
    assert "e5" not in told
    assert "(1 more in the table)" in told
    none = text_in(plots.model_by_ep(decide(runs(rows[3]), policy), policy))
    assert "no run at tokens_128, batch 1 yet" in none


def test_which_of_several_candidates_a_cell_is_of_is_told_where_there_are_several() -> None:
    one = text_in(plots.model_by_ep(decide(runs(run_row())), POLICY))
    assert "of several" not in one
    two = runs(
        run_row("a", p95_ms=9.0),
        run_row("b", p95_ms=5.0, precision="int8", candidate_label="minilm int8 cpu"),
    )
    told = " ".join(text_in(plots.model_by_ep(decide(two), POLICY)).split())
    assert "of several candidates that which the decision puts first" in told
    assert "only where all are" not in told
    assert "5 ms" in told


@pytest.mark.parametrize("model", ["W" * 28, "minilm"])
def test_what_a_cell_tells_stays_in_the_cell_whatever_the_models_are_called(model: str) -> None:
    eps = ("cpu", "cuda", "coreml", "openvino", "E" * 40)
    rows = runs(*(run_row(f"{ep}{name}", model=name, ep=ep, precision="int4-weights", p95_ms=p95_ms)
                  for ep in eps for name, p95_ms in ((model, 1234.5), ("e5", 10.0))))  # fmt: skip
    decision = decide(rows, POLICY)
    judged = replace(
        decision, candidates=tuple(replace(c, verdict="CONDITIONAL_GO") for c in decision.candidates)
    )
    figure = plots.model_by_ep(judged, POLICY)
    figure.savefig(io.BytesIO(), dpi=90)
    (axes,) = figure.axes
    width = axes.get_window_extent().width / len(eps)
    assert max(text.get_window_extent().width for text in (*axes.texts, *axes.get_xticklabels())) < width - 4
    assert "1,234 ms" in text_in(figure)


def test_a_legend_names_what_is_drawn_alone() -> None:
    few = {"latency_p95_low_ms": None, "latency_p95_high_ms": None, "evidence_span_s": 5.0}
    told = text_in(plots.p95_against_gates(runs(run_row(**few)), POLICY))
    assert "dotted: too few" in told
    assert "hollow" not in told
    rows = runs(
        run_row("a"),
        run_row("b", candidate_label="b", model_id="b", weights="random", separation_auc=None),
        run_row(
            "c",
            candidate_label="c",
            model_id="c",
            status="unavailable",
            latency_p95_ms=None,
            separation_auc=None,
        ),
    )
    decision = decide(rows)
    (point,) = decision.front
    beyond = replace(point, label="not among them")
    told = text_in(plots.pareto(replace(decision, front=(point, beyond)), POLICY))
    assert "not among them" not in told
    assert "\n1 measured candidate without an AUC not drawn" in told


def test_an_execution_provider_that_is_absent_is_a_word_and_not_a_colour() -> None:
    there = run_row("a")
    absent = run_row("b", ep="coreml", status="unavailable", latency_p95_ms=None)
    assert "unavailable" in text_in(plots.model_by_ep(decide(runs(there, absent)), POLICY))


@pytest.mark.parametrize("name", ["<script>$x_1$</script>", "a" * 200, "$\\frac{", "_hidden"])
def test_a_label_is_never_read_as_a_formula(name: str) -> None:
    rows = runs(*(run_row(f"b{b}", batch_size=b, model=name, candidate_label=name) for b in (1, 8)))
    for figure in every_figure(rows, launch_frame(launch_row(run_id="b1"))).values():
        figure.draw_without_rendering()


def test_what_turns_the_writing_or_ends_an_svg_file_is_told_by_its_number() -> None:
    name = "\u202eterces\x07"
    rows = runs(
        *(
            run_row(f"b{b}", batch_size=b, model=name, precision=name, ep=name, workload=name)
            | {"candidate_label": name, "infer_p50_ms": 3.0}
            for b in (1, 8)
        )
    )
    for figure in every_figure(rows, launch_frame(launch_row(run_id="b1"))).values():
        assert "\u202e" not in text_in(figure)
        file = io.BytesIO()
        figure.savefig(file, format="svg")
        ET.fromstring(file.getvalue())
    assert r"\u202eterces\x07" in text_in(plots.p95_against_gates(rows, POLICY))


@pytest.mark.filterwarnings("error:Glyph")
def test_what_the_figures_font_lacks_is_told_by_its_number_and_the_rest_as_it_is() -> None:
    name = "modèle-中文-\U0001f642"
    row = run_row("b1", model=name, candidate_label=f"{name} fp32 cpu", infer_p50_ms=3.0, workload="文")
    rows = runs(row, {**row, "run_id": "b8", "batch_size": 8}, {**row, "run_id": "d", "workload": "default"})
    for figure in every_figure(rows, launch_frame(launch_row(run_id="b1"))).values():
        assert "中" not in text_in(figure)
    assert r"modèle-\u4e2d\u6587-\U0001f642 fp32" in text_in(plots.p95_against_gates(rows, POLICY))


LONG = {
    "confirmed": "minilm (random weights) fp32-fused openvino",
    "wide": "W" * 54,
    "Cyrillic": "ПоддержкаПоискаМногоязычнаяМодельШирокаяКомпанияВсеЩучЖШ+49a9",
    "numbers": "多语言检索模型" * 4,
    "endless": "m" * 230,
}


@pytest.mark.parametrize("name", LONG.values(), ids=LONG)
def test_long_names_and_marks_leave_the_axes_their_width_and_stay_in_the_figure(name: str) -> None:
    marks: dict[str, Any] = {
        "workload": "mixture", "clients": 4, "arrival": "poisson", "offered_qps": 5.0, "purpose": "confirm",
        "cpus": 2, "evidence_span_s": 20.0, "truncated_over_ms": 30.0, "launches_failed": 1,
    }  # fmt: skip
    own = {"model": name, "candidate_label": name, "infer_p50_ms": 6.0, "tokenize_p50_ms": 0.5}
    rows = [
        run_row("a1", **own),
        run_row("a8", **own, batch_size=8),
        run_row("c1", **own | marks, p95_ms=70.0),
        run_row("q1", infer_p50_ms=6.0),
    ]
    launched = launch_frame(*(launch_row(run_id=str(row["run_id"])) for row in rows))
    for called, figure in every_figure(runs(*rows), launched).items():
        file = io.BytesIO()
        figure.savefig(file, dpi=90)
        rows_told = [label.get_window_extent() for axes in figure.axes for label in row_labels(axes)]
        ends = [box.x1 / figure.dpi for box in rows_told] + [figure.get_tightbbox().x1]
        assert figure.get_tightbbox().x0 > -0.02, called
        assert max(ends) < figure.get_size_inches()[0] + 0.02, called
        if called in ("p95_against_gates", "launches", "stages"):
            (axes,) = figure.axes
            assert axes.get_position().width > 0.5, called
            for y, label in enumerate(row_labels(axes)):
                data_from = axes.transData.transform((1, y + canvas.UNDER - 0.24))[1]
                assert label.get_window_extent().y0 > data_from - 2, "a row's data stand under its label"


def test_a_name_is_never_longer_for_being_shortened() -> None:
    for most in (-9, 0, 2, 3, 8, 40):
        for name in ("minilm fp32 cpu", "WW", "W" * 54, "Щ" * 60):
            assert looks.letters(looks.short(name, most)) <= max(most, 8)


def test_what_limits_a_run_stands_whole_below_a_name_that_fills_the_line() -> None:
    row = run_row(candidate_label="m" * 230, clients=4, cpus=2, launches_failed=1, truncated_over_ms=30.0,
                  p95_ms=70.0, evidence_span_s=20.0)  # fmt: skip
    (label,) = looks.labels([row])
    first, *others = label.split("\n")
    assert "…" in first
    assert ", ".join(others).startswith(
        "default, 4 callers, held to 2 cores, provisional, 1 failed, P95 ≥ 30 ms"
    )
    assert looks.labels([run_row()]) == ["minilm fp32 cpu · default"]


def test_ratios_are_drawn_with_their_intervals_and_open_ends() -> None:
    pair = Comparison("a → b", "p95_ms", 3.0, 6.0, 2.0, 1.8, 2.2, "changed", "")
    beyond = replace(pair, ratio=None, low=1.5, high=None, b_at_least=True)
    figure = plots.ratios([pair, beyond])
    (axes,) = figure.axes
    assert [float(x) for x, _ in axes.collections[0].get_segments()[0]] == [1.8, 2.2]
    assert (2.0, canvas.UNDER) in points(axes)
    assert [line.get_marker() for line in marked(figure)] == ["o", ">"]
    assert "open end" in text_in(figure)
    assert "no two runs" in text_in(plots.ratios([]))


def test_pairs_without_an_interval_were_compared_all_the_same() -> None:
    few = Comparison("a → b", "p95_ms", 3.0, 6.0, 2.0, None, None, "inconclusive", "too few")
    figure = plots.ratios([few])
    assert (2.0, canvas.UNDER) in points(figure.axes[0])
    assert "dotted: too few launches" in text_in(figure)
    assert "open end" not in text_in(figure)
    assert "no ratio is known of 1 comparison:" in text_in(plots.ratios([replace(few, ratio=None)]))


def test_a_pair_that_is_provisional_is_called_so_in_its_label() -> None:
    pair = Comparison("a → b", "p95_ms", 3.0, 6.0, 2.0, 1.8, 2.2, "changed", "")
    brief = replace(pair, notes=("provisional: measured apart, A spans 9 s of 90",))
    (axes,) = plots.ratios([pair, brief]).axes
    assert [label.get_text() for label in row_labels(axes)] == [
        "a → b · P95 slower",
        "a → b · P95 slower, provisional",
    ]


def test_both_runs_of_a_pair_keep_their_names_in_its_label() -> None:
    a, b = (
        "minilm fp32-fused openvino, default, batch 1",
        "support-search int8-weights cpu, default, batch 1",
    )
    pair = Comparison(f"{a} → {b}", "p95_ms", 3.0, 6.0, 2.0, 1.8, 2.2, "changed", "")
    figure = plots.ratios([pair])
    (axes,) = figure.axes
    (label,) = row_labels(axes)
    assert label.get_text() == f"{a}\n→ {b}\nP95 slower"
    figure.savefig(io.BytesIO())
    assert label.get_window_extent().x1 < figure.bbox.width
    middle_px = axes.transData.transform((2.0, canvas.UNDER))[1]
    assert label.get_window_extent().y0 > middle_px + 3 / 72 * figure.dpi
