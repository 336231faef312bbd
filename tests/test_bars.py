"""A bar never puts a P95 on the wrong side of a gate, and marks a gate only where it is asked."""

from __future__ import annotations

import re
from typing import Any

import pytest

from harness.bars import Scale
from harness.config import load_policy
from tests.conftest import run_row

GATES = load_policy("default").gates
SCALE = Scale.of(GATES, [run_row()])


def at(p95_ms: float, high_ms: float | None = None, **changes: Any) -> dict[str, Any]:
    return run_row(latency_p95_ms=p95_ms, latency_p95_high_ms=high_ms, **changes)


def test_the_scale_is_the_policys_with_room_past_its_loosest_gate() -> None:
    assert SCALE.most_ms == 40
    assert SCALE.gates_told == ("┊ should <20 @50%", "│ must <30 @80%")
    tighter = [gate.model_copy(update={"bound": gate.bound / 10}) for gate in GATES]
    assert Scale.of(tighter, [run_row()]).gates_told == ("┊ should <2 @50%", "│ must <3 @80%")


@pytest.mark.parametrize(
    ("row", "bar"),
    [
        (at(0.001), "▏     ┊   │    "),
        (at(5.0), "█▌    ┊   │    "),
        (at(6.8), "██    ┊   │    "),
        (at(6.8, 6.9), "██░   ┊   │    "),
        (at(19.0, 31.0), "█████▋┊░░░│░   "),
        (at(7.2, weights="random"), "▒▒    ┊   │    "),
        (at(0.001, weights="random"), "▒     ┊   │    "),
        (at(133.0, 174.0), "██████┊███│███▶"),
        (at(35.0, 44.0), "██████┊███│█▌░▶"),
    ],
)
def test_a_bar_is_the_p95_and_its_interval_above(row: dict[str, Any], bar: str) -> None:
    assert SCALE.bar(row) == bar


@pytest.mark.parametrize("p95_ms", [1e-9, 19.999999, 20.0, 20.000001, 29.999999, 30.0, 30.000001, 40.0, 1e12])
@pytest.mark.parametrize("weights", ["trained", "random"])
def test_a_bar_passes_a_mark_exactly_where_the_value_passes_the_bound(p95_ms: float, weights: str) -> None:
    bar = SCALE.bar(at(p95_ms, weights=weights))
    first, past_target, past_must = re.split("[┊│]", bar)
    assert first.strip()
    assert (bool(past_target.strip()), bool(past_must.strip())) == (p95_ms > 20, p95_ms > 30)
    assert len(bar) == 15


def test_where_no_gate_is_asked_a_bar_of_the_same_scale_has_no_marks() -> None:
    elsewhere = at(25.0, batch_size=32)
    assert Scale.of(GATES, [run_row(), elsewhere]).bar(elsewhere) == "████████▌      "


def test_without_any_gate_the_scale_ends_at_the_slowest() -> None:
    rows = [at(2.0, batch_size=8), at(8.0, batch_size=32), at(1.0, batch_size=2) | {"latency_p95_ms": None}]
    scale = Scale.of(GATES, rows)
    assert (scale.most_ms, scale.gates_told) == (8.0, ())
    assert scale.bar(rows[0]) == "███          "
    assert scale.bar(rows[1]) == "████████████ "


def test_of_two_gates_at_one_bound_the_must_is_drawn() -> None:
    same = [gate.model_copy(update={"bound": 30.0}) for gate in GATES]
    scale = Scale.of(same, [run_row()])
    assert scale.bar(at(1.0)).count("│") == 1
    assert "┊" not in scale.bar(at(1.0))


def test_the_legend_tells_what_stands_there_and_no_more() -> None:
    assert SCALE.legend([run_row()]) == (
        "bar: median P95 to 40 ms, ░ interval, ┊ should <20 @50%, │ must <30 @80%"
    )
    assert SCALE.legend([run_row(weights="random")]).endswith(", ▒ random weights")
    assert (
        Scale.of(GATES, [run_row(), at(25.0, batch_size=32)])
        .legend([at(25.0, batch_size=32)])
        .endswith(", no mark: no gate is asked there")
    )
