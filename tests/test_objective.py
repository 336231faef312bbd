"""What is preferred among candidates of one verdict, and what is traded off between them."""

from __future__ import annotations

import json
import math
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.config import load_policy
from harness.decision import decide
from harness.objective import pareto_front
from harness.schema import PolicyConfig
from harness.verdict import CandidateVerdict, Decision
from tests.conftest import run_row

property_test = settings(deadline=None, max_examples=15, derandomize=True)
figures = st.tuples(
    st.sampled_from([2.0, 5.0, 9.0, 14.0, 19.0]),
    st.sampled_from([0.981, 0.985, 0.99, 0.995]),
    st.sampled_from([None, 1e8, 5e8, 3e9]),
)


def row(model: str, p95_ms: float, auc: float, memory: float | None, **changes: Any) -> dict[str, Any]:
    """A good run of a model with these figures."""
    named = {"model": model, "candidate_label": model, "p95_ms": p95_ms, "separation_auc": auc}
    return run_row(f"run-{model}", **named, peak_rss_bytes=memory, **changes)


def decided(objective: str, *rows: dict[str, Any], **changes: Any) -> Decision:
    """The decision by the default policy with another objective."""
    policy = {**load_policy().model_dump(), "objective": objective, **changes}
    return decide(pd.DataFrame(list(rows)), PolicyConfig.model_validate(policy))


def order(decision: Decision) -> list[str]:
    """The candidates, best first."""
    return [candidate.label for candidate in decision.candidates]


# --- lexicographic


@pytest.mark.parametrize(
    ("steps", "first"),
    [
        ([5, 0.001, 1e8], "sharper"),
        ([None, 0.001, 1e8], "faster"),
        ([5, 0.1, 1e8], "smaller"),
        ([10.0, 0.1, 1e10], "faster"),
    ],
    ids=[
        "the second figure decides",
        "without a step it never does",
        "the third",
        "the path and the latency",
    ],
)
def test_figures_of_one_step_are_equal_and_the_next_one_is_asked(steps: list[Any], first: str) -> None:
    metrics = ("latency_p95_ms", "separation_auc", "peak_rss_bytes")
    ranks = [{"metric": metric, "step": step} for metric, step in zip(metrics, steps, strict=True)]
    rows = [row("faster", 11.0, 0.99, 9e8), row("sharper", 13.0, 0.996, 8e8), row("smaller", 14.0, 0.99, 1e8)]
    assert order(decided("lexicographic", *rows, order=ranks))[0] == first


def test_a_figure_on_the_edge_of_a_step_lies_in_it_whatever_its_binary_form() -> None:
    """0.29 / 0.01 is 28.999999999999996."""
    interval = {"separation_low": 0.2, "separation_high": 0.4}
    rows = [
        row("edge", 12.0, 0.99, None, separation=0.29, **interval),
        row("same", 15.0, 0.99, None, separation=0.295, **interval),
    ]
    ranks = [{"metric": "separation", "step": 0.01}]
    assert order(decided("lexicographic", *rows, order=ranks)) == ["edge", "same"]


# --- the weighted matrix


def test_a_metric_that_is_weighed_at_two_places_is_told_with_its_place() -> None:
    latency = {"metric": "latency_p95_ms", "best": 0}
    batch = latency | {"weight": 2, "worst": 300, "at": {"batch_size": 32}}
    auc = {"metric": "separation_auc", "weight": 1, "best": 1, "worst": 0.9}
    rows = [
        row(model, p95_ms, 0.995, None, batch_size=size) | {"run_id": f"{model}-{size}"}
        for model, size, p95_ms in (
            ("minilm", 1, 12.0),
            ("minilm", 32, 100.0),
            ("e5", 1, 10.0),
            ("e5", 32, 200.0),
        )
    ]
    decision = decided("weighted_matrix", *rows, matrix=[latency | {"weight": 3, "worst": 30}, batch, auc])
    note = next(n for n in decision.candidates[0].notes if n.startswith("weighted"))
    assert note == (
        "weighted score 68.1% = (3 × 0.600 latency_p95_ms 12 (0 at 30, 1 at 0) at default, batch 1 "
        "+ 2 × 0.667 latency_p95_ms 100 (0 at 300, 1 at 0) at default, batch 32 "
        "+ 1 × 0.950 separation_auc 0.995 (0 at 0.9, 1 at 1)) / 6"
    )
    (weight,) = [change for change in decision.changes if change.kind == "weight"]
    assert weight.what == "weight of latency_p95_ms at default, batch 32"


def test_a_weighted_score_is_told_with_its_whole_arithmetic() -> None:
    *matrix, memory = [criterion.model_dump() for criterion in load_policy().matrix]
    rows = row("minilm", 12.0, 0.995, 2.0**30), row("e5", 6.0, 0.985, None)
    decision = decided("weighted_matrix", *rows, matrix=[*matrix, memory | {"worst": 2.0**31}])
    notes = {c.label: next(n for n in c.notes if n.startswith("weighted")) for c in decision.candidates}
    assert notes["minilm"] == (
        "weighted score 68.3% = (3 × 0.600 latency_p95_ms 12 (0 at 30, 1 at 0) "
        "+ 2 × 0.900 separation_auc 0.995 (0 at 0.95, 1 at 1) "
        "+ 1 × 0.500 peak_rss_bytes 1.0 GiB (0 at 2.0 GiB, 1 at 0 B)) / 6"
    )
    assert notes["e5"] == (
        "weighted score 63.3% = (3 × 0.800 latency_p95_ms 6 (0 at 30, 1 at 0) "
        "+ 2 × 0.700 separation_auc 0.985 (0 at 0.95, 1 at 1) "
        "+ 1 × 0.000 peak_rss_bytes ? (0 at 2.0 GiB, 1 at 0 B)) / 6"
    )
    assert decision.chosen == "minilm"
    assert any(reason == "picked by weighted matrix, before e5" for reason in decision.reasons)
    assert notes["e5"] in decision.to_markdown()


def test_a_score_ends_at_one_and_at_nothing() -> None:
    matrix = [{"metric": "latency_p95_ms", "weight": 2, "best": 10, "worst": 20}]
    decision = decided("weighted_matrix", row("a", 2.0, 0.99, 1.0), row("b", 25.0, 0.99, 1.0), matrix=matrix)
    assert {c.label: [part.score for part in c.score] for c in decision.candidates} == {
        "a": [1.0],
        "b": [0.0],
    }


def test_a_weighted_matrix_never_lifts_a_worse_verdict() -> None:
    decision = decided("weighted_matrix", row("slow", 25.0, 0.999, 1.0), row("fast", 19.0, 0.98, 3e9))
    assert [c.verdict for c in decision.candidates] == ["GO", "CONDITIONAL_GO"]
    assert decision.chosen == "fast"


@property_test
@given(figures, figures, figures, st.sampled_from(["weighted_matrix", "lexicographic", "best_quality"]))
def test_one_more_candidate_never_turns_two_others_around(
    first: Any, second: Any, third: Any, objective: str
) -> None:
    rows = [row("a", *first), row("b", *second)]
    without = order(decided(objective, *rows))
    assert [label for label in order(decided(objective, *rows, row("c", *third))) if label != "c"] == without


# --- the Pareto front


def candidate(label: str, p95_ms: float | None, auc: float | None, memory: float | None) -> CandidateVerdict:
    """A GO with these figures."""
    return CandidateVerdict(
        label, "GO", (), (), (), (), (), None, "", label, p95_ms, auc, scripted=False, run_ids=(label,),
        peak_rss_bytes=memory,
    )  # fmt: skip


def beats(first: Any, second: Any) -> bool:
    """Whether it is at least as good in everything and better in something; unknown is the worst."""
    costs = [
        tuple(
            math.inf if value is None else sign * value for value, sign in zip(point, (1, -1, 1), strict=True)
        )
        for point in (first, second)
    ]
    return costs[0] != costs[1] and all(a <= b for a, b in zip(*costs, strict=True))


small = st.one_of(st.none(), st.integers(1, 3).map(float))


@settings(deadline=None, max_examples=200, derandomize=True)
@given(st.lists(st.tuples(small, small, small), max_size=9))
def test_the_front_is_everybody_whom_nobody_beats_in_everything(points: list[Any]) -> None:
    labels = [f"c{number}" for number in range(len(points))]
    found = pareto_front([candidate(label, *point) for label, point in zip(labels, points, strict=True)])
    expected = {
        label for label, p in zip(labels, points, strict=True) if not any(beats(other, p) for other in points)
    }
    assert {point.label for point in found} == expected
    assert len(found) == len(expected)


# --- launches that were stopped early

STOPPED: dict[str, Any] = {"truncated_over_ms": 15.0}


def without_latency_gates(objective: str, *rows: dict[str, Any], **changes: Any) -> Decision:
    """A decision in which a P95 that is known from below alone keeps nobody from being picked."""
    gates = [g for g in load_policy().model_dump()["gates"] if g["metric"] != "latency_p95_ms"]
    return decided(objective, *rows, gates=gates, **changes)


def test_a_p95_known_from_below_alone_beats_nobody_and_is_told_as_that() -> None:
    """It was 16 ms until its launches were stopped: whether it is under 17 ms nobody knows."""
    rows = row("stopped", 16.0, 0.99, 1e8, **STOPPED), row("known", 17.0, 0.99, 1e8)
    decision = without_latency_gates("path_order", *rows)
    assert {(p.label, p.latency_p95_ms, p.latency_p95_at_least_ms) for p in decision.front} == {
        ("stopped", None, 15.0),
        ("known", 17.0, None),
    }
    assert any("stopped (≥ 15 ms, 0.99, 95.4 MiB)" in line for line in decision.firmness)
    told = {p["label"]: p for p in json.loads(decision.to_json())["pareto_front"]}
    assert (told["stopped"]["latency_p95_ms"], told["stopped"]["latency_p95_at_least_ms"]) == (None, 15.0)


@pytest.mark.parametrize(("p95_ms", "front"), [(14.0, {"known"}), (15.0, {"known"}), (15.5, {"known", "a"})])
def test_a_p95_no_longer_than_another_is_at_least_beats_it(p95_ms: float, front: set[str]) -> None:
    rows = row("a", 16.0, 0.985, 1e8, **STOPPED), row("known", p95_ms, 0.99, 1e8)
    assert {p.label for p in without_latency_gates("path_order", *rows).front} == front


@pytest.mark.parametrize("objective", ["path_order", "lowest_latency", "lexicographic", "weighted_matrix"])
def test_no_objective_prefers_by_a_p95_that_is_known_from_below_alone(objective: str) -> None:
    rows = row("stopped", 16.0, 0.99, 1e8, **STOPPED), row("known", 24.0, 0.99, 1e8)
    assert order(without_latency_gates(objective, *rows)) == ["known", "stopped"]


def test_a_p95_known_from_below_alone_scores_nothing_and_says_why() -> None:
    matrix = [{"metric": "latency_p95_ms", "weight": 2, "best": 0, "worst": 30}]
    decision = without_latency_gates("weighted_matrix", row("a", 16.0, 0.99, 1.0, **STOPPED), matrix=matrix)
    note = next(n for n in decision.candidates[0].notes if n.startswith("weighted"))
    assert note == "weighted score 0.0% = (2 × 0.000 latency_p95_ms ≥ 15 (0 at 30, 1 at 0)) / 2"
    (part,) = json.loads(decision.to_json())["candidates"][0]["score"]
    assert (part["value"], part["at_least"], part["score"]) == (None, 15.0, 0.0)


def test_only_who_could_be_picked_stands_on_the_front() -> None:
    rows = [row("fast", 5.0, 0.99, 2e9), row("small", 25.0, 0.99, 1e8), row("best", 40.0, 0.999, 1e6)]
    decision = decided("path_order", *rows)
    assert [(p.label, p.peak_rss_bytes) for p in decision.front] == [("fast", 2e9), ("small", 1e8)]
    front = "fast (5 ms, 0.99, 1.9 GiB); small (25 ms, 0.99, 95.4 MiB)"
    said = f"Pareto front of P95, AUC and memory, of what could be picked: {front}"
    assert said in decision.firmness
    assert f"- {said}." in decision.to_markdown()
