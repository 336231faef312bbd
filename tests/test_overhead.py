"""What an external provider takes over the Python reference: measured beside it, or unknown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

from harness.decision import decide
from harness.overhead import with_overhead
from tests.conftest import run_row

if TYPE_CHECKING:
    from harness.verdict import Decision


def python(p95_ms: float = 10.0, run_id: str = "python", **changes: Any) -> dict[str, Any]:
    """A run of the reference."""
    return run_row(run_id, p95_ms=p95_ms, **changes)


def rust(p95_ms: float = 11.0, **changes: Any) -> dict[str, Any]:
    """A run of a provider in another language."""
    named = {"runtime": "http", "candidate_label": "minilm fp32 http cpu"}
    command = "python -m harness model=minilm runtime=http runtime.url=http://localhost:1"
    return run_row("rust", p95_ms=p95_ms, command=command, **(named | changes))


def overhead(*rows: dict[str, Any]) -> tuple[Any, Any, Any]:
    """The overhead of the last of the rows, with its interval."""
    found = {row["run_id"]: row for row in with_overhead(rows)}[rows[-1]["run_id"]]
    low, high = found["latency_overhead_low"], found["latency_overhead_high"]
    return found["latency_overhead"], low, high


def decided(*rows: dict[str, Any]) -> Decision:
    """The decision on an external provider."""
    return decide(pd.DataFrame(list(rows)), "external_provider")


def test_it_is_the_ratio_of_the_launches_less_one_with_an_interval() -> None:
    assert overhead(python(10.0), rust(12.0)) == pytest.approx((0.2, 0.2, 0.2))
    spread = {"launch_p95_ms": [11.0 + 0.1 * n for n in range(20)]}
    middle, low, high = overhead(python(10.0), rust(12.0, **spread))
    assert 0.1 < low < middle < high < 0.29


@pytest.mark.parametrize(
    ("p95_ms", "verdict", "code"),
    [(11.0, "GO", 0), (13.0, "CONDITIONAL_GO", 10), (16.0, "NO_GO", 11)],
)
def test_under_a_fifth_is_the_target_and_under_a_half_acceptable(
    p95_ms: float, verdict: str, code: int
) -> None:
    decision = decided(python(10.0), rust(p95_ms))
    assert (decision.verdict, decision.exit_code) == (verdict, code)
    assert decision.chosen == (None if verdict == "NO_GO" else "minilm fp32 http cpu")
    if verdict != "GO":
        assert any("P95 over Python's" in reason for reason in decision.reasons)


def test_the_reference_is_named_and_is_no_candidate_beside_what_is_held_against_it() -> None:
    decision = decided(python(10.0), rust(11.0))
    (candidate,) = decision.candidates
    assert "what it takes over Python is held against minilm fp32 cpu, run python" in candidate.notes


def test_without_a_reference_nothing_passes_and_the_command_that_measures_one_is_told() -> None:
    decision = decided(rust())
    assert (decision.verdict, decision.exit_code) == ("INCONCLUSIVE", 12)
    assert any("no run of the Python reference" in reason for reason in decision.reasons)
    assert "python -m harness model=minilm" in decision.candidates[0].missing


def test_the_reference_itself_is_never_picked_and_no_command_could_help() -> None:
    decision = decided(python())
    assert (decision.verdict, decision.chosen) == ("INCONCLUSIVE", None)
    assert decision.candidates[0].missing == ()


@pytest.mark.parametrize(
    "elsewhere",
    [
        {"model": "e5"}, {"precision": "int8"}, {"ep": "coreml"}, {"dim": 256}, {"weights": "random"},
        {"revision": "other"}, {"batch_size": 8}, {"workload": "mixture"}, {"clients": 2}, {"cores": 8},
        {"purpose": "soak"}, {"status": "interrupted"}, {"truncated_over_ms": 30.0},
        {"launch_p95_ms": [10.0] * 19 + [float("inf")]}, {"launch_p95_ms": None},
    ],
    ids=str,
)  # fmt: skip
def test_no_other_work_and_no_broken_run_is_a_reference(elsewhere: dict[str, Any]) -> None:
    assert overhead(python(**elsewhere), rust()) == (None, None, None)


def test_a_provider_with_a_failed_launch_has_no_overhead_to_tell() -> None:
    assert overhead(python(), rust(launch_p95_ms=[11.0] * 19 + [float("inf")])) == (None, None, None)


def test_of_several_references_the_fastest_counts() -> None:
    rows = [python(20.0, "one", threads=1), python(10.0, "two", threads=2), rust(15.0)]
    assert overhead(*rows)[0] == pytest.approx(0.5)
    assert overhead(*rows[1::-1], rows[2])[0] == pytest.approx(0.5)
