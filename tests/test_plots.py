"""Figures draw what is stored: every point is a stored figure, gates are labelled, marks tell the unsure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from matplotlib.colors import to_hex

from harness import plots
from harness.comparison import Comparison
from harness.config import load_policy
from harness.record import LAUNCH_COLUMNS, RUN_COLUMNS
from tests.conftest import launch_row, run_row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

EMPTY_RUNS = pd.DataFrame(columns=[column.name for column in RUN_COLUMNS])
EMPTY_LAUNCHES = pd.DataFrame(columns=[column.name for column in LAUNCH_COLUMNS])
POLICY = load_policy("default")


def runs(*rows: dict[str, Any]) -> pd.DataFrame:
    return pd.DataFrame(list(rows))


def launch_frame(*rows: dict[str, Any]) -> pd.DataFrame:
    return pd.DataFrame([dict.fromkeys(EMPTY_LAUNCHES.columns) | row for row in rows])


def text_in(figure: Figure) -> str:
    from matplotlib.text import Text

    figure.draw_without_rendering()
    return "\n".join(t.get_text() for t in figure.findobj(Text) if t.get_visible())


def points(axes: Axes) -> list[tuple[float, float]]:
    return [
        (float(x), float(y))
        for line in axes.lines
        if line.get_marker() in ("o", ".", "x") and line.get_linestyle() in ("None", "none")
        for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)
    ]


def every_figure(run_rows: pd.DataFrame, launch_rows: pd.DataFrame) -> dict[str, Figure]:
    return {
        "p95_against_gates": plots.p95_against_gates(run_rows, POLICY),
        "launches": plots.launches(launch_rows, run_rows),
        "scaling": plots.scaling(run_rows),
        "model_by_ep": plots.model_by_ep(run_rows),
        "stages": plots.stages(run_rows),
        "pareto": plots.pareto(run_rows),
        "timeline": plots.timeline(launch_rows, run_rows),
    }


def test_on_an_empty_result_set_every_figure_says_what_there_is_nothing_of() -> None:
    for name, figure in every_figure(EMPTY_RUNS, EMPTY_LAUNCHES).items():
        assert "yet" in text_in(figure), name


def test_on_one_run_every_figure_can_be_drawn() -> None:
    for figure in every_figure(runs(run_row()), launch_frame(launch_row())).values():
        figure.draw_without_rendering()


def test_p95_is_drawn_where_it_is_stored_with_its_interval_and_the_gates_are_labelled() -> None:
    row = run_row(latency_p95_ms=12.5, latency_p95_low_ms=11.0, latency_p95_high_ms=15.0)
    figure = plots.p95_against_gates(runs(row), POLICY)
    (axes,) = figure.axes
    assert (12.5, 0.0) in [(x, y) for line in axes.lines for x, y in line.get_xydata().tolist()]
    (bar,) = axes.collections
    assert [float(x) for x, _ in bar.get_segments()[0]] == [11.0, 15.0]
    told = text_in(figure)
    assert "must < 30" in told
    assert "should < 20" in told
    assert "ms" in axes.get_xlabel()


def test_random_weights_are_hollow_and_told() -> None:
    rows = runs(run_row("a"), run_row("b", weights="random", candidate_label="e5 random", model="e5"))
    figure = plots.p95_against_gates(rows, POLICY)
    faces = {to_hex(line.get_markerfacecolor()) for line in figure.axes[0].lines if line.get_marker() == "o"}
    assert "#ffffff" in faces
    assert "random weights" in text_in(figure)


def test_provisional_evidence_is_told_and_confirmed_length_is_not() -> None:
    short = plots.p95_against_gates(runs(run_row(evidence_span_s=10.0, min_span_s=90.0)), POLICY)
    long = plots.p95_against_gates(runs(run_row(evidence_span_s=95.0, min_span_s=90.0)), POLICY)
    assert "provisional" in text_in(short)
    assert "provisional" not in text_in(long)


def test_a_model_has_one_colour_in_all_figures() -> None:
    rows = runs(
        *(run_row(f"{m}{b}", model=m, batch_size=b, candidate_label=m) for m in ("e5", "own") for b in (1, 8))
    )
    one, two = plots.p95_against_gates(rows, POLICY), plots.scaling(rows)

    def colours(figure: Figure) -> set[str]:
        return {
            to_hex(line.get_color())
            for axes in figure.axes
            for line in axes.lines
            if line.get_marker() == "o"
        }

    assert colours(one) == colours(two)
    assert len(colours(one)) == 2


def test_a_hundred_runs_draw_the_quickest_and_say_how_many_more_there_are() -> None:
    rows = runs(*(run_row(f"r{i}", latency_p95_ms=10.0 + i) for i in range(100)))
    figure = plots.p95_against_gates(rows, POLICY)
    assert "60 more in the table" in text_in(figure)
    assert len([line for line in figure.axes[0].lines if line.get_marker() == "o"]) == plots.MOST_RUNS


def test_disturbed_launches_are_crosses() -> None:
    launch_rows = launch_frame(launch_row(0, disturbed=False), launch_row(1, disturbed=True))
    figure = plots.launches(launch_rows, runs(run_row()))
    assert [line.get_marker() for line in figure.axes[0].lines if line.get_marker() in (".", "x")] == [
        ".",
        "x",
    ]


def test_the_front_holds_who_is_beaten_by_nobody() -> None:
    rows = runs(
        run_row("quick", candidate_label="quick", latency_p95_ms=5.0, separation_auc=0.96),
        run_row("good", candidate_label="good", latency_p95_ms=20.0, separation_auc=0.99),
        run_row("beaten", candidate_label="beaten", latency_p95_ms=21.0, separation_auc=0.97),
    )
    told = text_in(plots.pareto(rows))
    assert "quick" in told
    assert "good" in told
    assert "beaten" not in told


def test_twins_have_no_place_in_the_plane_of_quality() -> None:
    figure = plots.pareto(runs(run_row(weights="random", separation_auc=None)))
    assert "no run with trained weights" in text_in(figure)


def test_an_execution_provider_that_is_absent_is_a_word_and_not_a_colour() -> None:
    there = run_row("a")
    absent = run_row("b", ep="coreml", status="unavailable", latency_p95_ms=None)
    assert "unavailable" in text_in(plots.model_by_ep(runs(there, absent)))


@pytest.mark.parametrize("name", ["<script>$x_1$</script>", "a" * 200, "$\\frac{"])
def test_a_label_is_never_read_as_a_formula(name: str) -> None:
    plots.p95_against_gates(runs(run_row(candidate_label=name)), POLICY).draw_without_rendering()


def test_ratios_are_drawn_with_their_intervals() -> None:
    pair = Comparison("a → b", "p95_ms", 3.0, 6.0, 2.0, 1.8, 2.2, "changed", "")
    (axes,) = plots.ratios([pair]).axes
    assert [float(x) for x, _ in axes.collections[0].get_segments()[0]] == [1.8, 2.2]
    assert points(axes)[-1] == (2.0, 0.0) or (2.0, 0.0) in [
        tuple(p) for line in axes.lines for p in line.get_xydata()
    ]
    assert "no two runs" in text_in(plots.ratios([]))
