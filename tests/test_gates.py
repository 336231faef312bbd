"""A gate passes on evidence alone: each operator, each status, and nothing that is unknown."""

from __future__ import annotations

import math
from typing import Any, get_args

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from harness import stats
from harness.config import load_policy
from harness.gates import (
    GateResult,
    as_number,
    ask,
    ask_launches,
    gate_place,
    known_figure,
    p95_floor_ms,
    place_words,
    row_place,
    text_of,
)
from harness.schema import LAUNCH_METRICS, LESS_IS_BETTER, SOAK_METRICS, AtConfig, GateConfig, Metric, Op
from harness.workload import Place
from tests.conftest import launched, run_row

UNKNOWN = {"None": None, "nan": math.nan, "pd.NA": pd.NA}
INFINITE = {"inf": math.inf, "-inf": -math.inf}
LAUNCH_COLUMN = {
    "latency_p95_ms": "launch_p95_ms",
    "throughput_texts_per_s": "launch_throughput_texts_per_s",
}
INTERVAL_METRICS = (
    "separation", "similar_mean", "dissimilar_mean", "separation_auc", "neighbour_overlap",
    "index_overlap", "sts_spearman", "ndcg_at_10", "texts_overlap",
    "rss_slope_bytes_per_request", "latency_drift", "latency_overhead",
)  # fmt: skip
# What a soak run finds where nothing grows, an external provider that takes a tenth more than Python, and
# good figures that a policy of one's own may ask.
SOAK = {
    "rss_slope_bytes_per_request": 1.0, "rss_slope_bytes_per_request_low": -2.0,
    "rss_slope_bytes_per_request_high": 4.0, "handles_gained": 0,
    "latency_drift": 1.01, "latency_drift_low": 0.98, "latency_drift_high": 1.04,
    "latency_overhead": 0.1, "latency_overhead_low": 0.08, "latency_overhead_high": 0.12,
    "index_overlap": 0.99, "index_overlap_low": 0.96, "index_overlap_high": 1.0,
    "sts_spearman": 86.7, "sts_spearman_low": 85.5, "sts_spearman_high": 87.8,
    "ndcg_at_10": 0.6, "ndcg_at_10_low": 0.55, "ndcg_at_10_high": 0.65,
    "texts_overlap": 0.98, "texts_overlap_low": 0.96, "texts_overlap_high": 1.0,
    "batch_cosine_min": 0.9999, "peak_rss_bytes": 200_000_000,
}  # fmt: skip


def gate(metric: str, op: str, bound: float, **changes: Any) -> GateConfig:
    """A must gate; per-launch metrics at the median launch unless told otherwise."""
    if metric in LAUNCH_METRICS:
        changes.setdefault("launch_quantile", 0.5)
    values = {"tier": "must", "metric": metric, "op": op, "bound": bound, "label": metric, **changes}
    return GateConfig.model_validate(values)


# Of the shipped policies that 20 launches settle, each gate once.
SETTLED = ("default", "documents", "external_provider")
OWN_GATES = [
    gate("index_overlap", ">=", 0.95),
    gate("sts_spearman", ">", 85),
    gate("ndcg_at_10", ">", 0.5),
    gate("texts_overlap", ">=", 0.95),
    gate("parity_cosine_min", ">=", 0.999),
    gate("batch_cosine_min", ">=", 0.999),
    gate("peak_rss_bytes", "<", 300_000_000),
]
ALL_GATES = [*dict.fromkeys(g for name in SETTLED for g in load_policy(name).gates), *OWN_GATES]


def shipped(metric: str) -> GateConfig:
    """The first gate on a metric, of the shipped policies where they have one."""
    return next(g for g in ALL_GATES if g.metric == metric)


def test_the_shipped_policies_and_these_ask_every_metric_there_is() -> None:
    """So that what is tested of them below is tested of every metric."""
    assert {g.metric for g in ALL_GATES} == set(get_args(Metric))


@pytest.mark.parametrize("g", ALL_GATES, ids=lambda g: f"{g.tier}-{g.metric}")
def test_a_good_run_passes_every_shipped_gate(g: GateConfig) -> None:
    assert ask(g, run_row(**SOAK)).status == "PASS"


# --- one value


@pytest.mark.parametrize(
    ("metric", "op", "bound", "passing", "failing"),
    [
        ("l2_norm_max_error", "<", 0.01, [0.009, 0.0, -1.0], [0.01, 0.011]),
        ("l2_norm_max_error", "<=", 0.01, [0.01, 0.009], [0.0100001, 5.0]),
        ("parity_cosine_min", ">", 0.01, [0.011, 5.0], [0.01, 0.009]),
        ("parity_cosine_min", ">=", 0.01, [0.01, 0.011], [0.0099999, -5.0]),
        ("launches_failed", "==", 0, [0], [1, 20]),
    ],
)
def test_each_operator_is_asked_of_the_value(
    metric: str, op: Op, bound: float, passing: list[float], failing: list[float]
) -> None:
    for value in passing:
        assert ask(gate(metric, op, bound), run_row(**{metric: value})).status == "PASS"
    for value in failing:
        assert ask(gate(metric, op, bound), run_row(**{metric: value})).status == "FAIL"


def test_a_metric_without_sampling_error_has_an_interval_of_its_value() -> None:
    result = ask(shipped("l2_norm_max_error"), run_row(l2_norm_max_error=0.004))
    assert (result.value, result.low, result.high) == (0.004, 0.004, 0.004)
    assert result.n is result.over is None


@pytest.mark.parametrize(
    ("metric", "op", "passes", "fails"),
    [
        ("parity_cosine_min", ">=", 0.999, 0.9989),
        ("batch_cosine_min", ">", 0.9991, 0.999),
        ("peak_rss_bytes", "<", 299_999_999, 300_000_000),
    ],
)
def test_the_worst_of_what_was_tried_is_held_against_the_bound_as_it_is(
    metric: str, op: str, passes: float, fails: float
) -> None:
    asked = gate(metric, op, 300_000_000 if metric == "peak_rss_bytes" else 0.999)
    assert ask(asked, run_row(**{metric: passes})).status == "PASS"
    assert ask(asked, run_row(**{metric: fails})).status == "FAIL"


def test_batch_dependence_is_the_worst_in_every_company_that_is_tried() -> None:
    asked = gate("batch_cosine_min", ">=", 0.988, at={"batch_size": 32})
    company = {"batch_cosine_min": 0.99, "batch_cosine_min_sorted": 0.995, "batch_cosine_min_random": 0.993}
    result = ask(asked, run_row(batch_size=32, **company))
    assert (result.status, result.value) == ("PASS", 0.99)
    for name in company:
        result = ask(asked, run_row(batch_size=32, **company | {name: 0.986}))
        assert (result.status, result.value) == ("FAIL", 0.986)
    alone = run_row(batch_size=1, batch_cosine_min=0.99)
    assert ask(asked, alone).status == "PASS", "a batch of one text is neither sorted nor random"


@pytest.mark.parametrize("name", ["batch_cosine_min", "batch_cosine_min_sorted", "batch_cosine_min_random"])
@pytest.mark.parametrize("unknown", UNKNOWN.values(), ids=UNKNOWN)
def test_batch_dependence_that_is_unknown_in_some_company_is_not_measured(name: str, unknown: Any) -> None:
    asked = gate("batch_cosine_min", ">=", 0.988)
    company = {"batch_cosine_min": 0.99, "batch_cosine_min_sorted": 0.995, "batch_cosine_min_random": 0.993}
    result = ask(asked, run_row(batch_size=32, **company | {name: unknown}))
    assert (result.status, result.value) == ("NOT_MEASURED", None)
    assert result.reason == "what a batch does to a vector is not known of every company that is tried"


@pytest.mark.parametrize(
    ("metric", "key"),
    [("sts_spearman", "sts"), ("ndcg_at_10", "retrieval"), ("texts_overlap", "texts")],
)
def test_a_figure_on_data_of_ones_own_says_what_it_was_measured_without(metric: str, key: str) -> None:
    result = ask(gate(metric, ">", 50 if metric == "sts_spearman" else 0.5), run_row())
    assert (result.status, result.reason) == ("NOT_MEASURED", f"the run was measured without quality.{key}=")


def test_a_p99_has_no_interval_and_is_no_metric_of_a_gate() -> None:
    with pytest.raises(ValidationError, match="metric"):
        gate("latency_p99_ms", "<", 30)


@pytest.mark.parametrize(("finite", "status"), [(True, "PASS"), (False, "FAIL")])
def test_finite_is_a_yes_or_no(finite: bool, status: str) -> None:
    assert ask(shipped("finite"), run_row(finite=finite)).status == status


@pytest.mark.parametrize(("failed", "status"), [(0, "PASS"), (1, "FAIL"), (20, "FAIL")])
def test_no_launch_may_fail(failed: int, status: str) -> None:
    assert ask(shipped("launches_failed"), run_row(launches_failed=failed)).status == status


# --- intervals


# An interval's ends, and how it answers a gate at 0.4.
ANSWERED = (
    (">", 0.41, 0.5, "PASS"),
    (">", 0.39, 0.5, "UNDECIDED"),
    (">", 0.4, 0.5, "UNDECIDED"),
    (">", 0.3, 0.4, "FAIL"),
    (">", 0.3, 0.39, "FAIL"),
    (">=", 0.4, 0.5, "PASS"),
    (">=", 0.3, 0.4, "UNDECIDED"),
    (">=", 0.3, 0.39, "FAIL"),
    ("<", 0.3, 0.39, "PASS"),
    ("<", 0.3, 0.4, "UNDECIDED"),
    ("<", 0.4, 0.5, "FAIL"),
    ("<=", 0.3, 0.4, "PASS"),
    ("<=", 0.4, 0.5, "UNDECIDED"),
    ("<=", 0.41, 0.5, "FAIL"),
)


@pytest.mark.parametrize(
    ("metric", "op", "low", "high", "status"),
    [
        (metric, *case)
        for metric in INTERVAL_METRICS
        for case in ANSWERED
        if (metric in LESS_IS_BETTER) == case[0].startswith("<")
    ],
)
def test_a_gate_with_an_interval_is_three_way(
    metric: str, op: str, low: float, high: float, status: str
) -> None:
    times = 100 if metric == "sts_spearman" else 1
    low, high, bound = low * times, high * times, 0.4 * times
    row = run_row(**{metric: (low + high) / 2, f"{metric}_low": low, f"{metric}_high": high})
    result = ask(gate(metric, op, bound), row)
    assert result.status == status
    assert (result.low, result.high) == (low, high)
    assert ("interval holds the bound" in result.reason) == (status == "UNDECIDED")


@pytest.mark.parametrize("metric", INTERVAL_METRICS)
@pytest.mark.parametrize("ends", [("low",), ("high",), ("low", "high")])
@pytest.mark.parametrize("kind", [*UNKNOWN, *INFINITE])
def test_an_open_interval_is_undecided(metric: str, ends: tuple[str, ...], kind: str) -> None:
    row = run_row(**SOAK | {f"{metric}_{end}": (UNKNOWN | INFINITE)[kind] for end in ends})
    result = ask(shipped(metric), row)
    assert result.status == "UNDECIDED"
    assert "no interval" in result.reason


@pytest.mark.parametrize("op", [">=", ">"])
def test_a_good_value_does_not_pass_where_its_interval_reaches_the_bound(op: str) -> None:
    row = run_row(neighbour_overlap=0.99, neighbour_overlap_low=0.94, neighbour_overlap_high=1.0)
    assert ask(gate("neighbour_overlap", op, 0.95), row).status == "UNDECIDED"


# --- the unknown


@pytest.mark.parametrize("g", ALL_GATES, ids=lambda g: f"{g.tier}-{g.metric}")
@pytest.mark.parametrize("kind", UNKNOWN)
def test_an_unknown_cell_is_not_measured(g: GateConfig, kind: str) -> None:
    row = run_row(**SOAK | {LAUNCH_COLUMN.get(g.metric, g.metric): UNKNOWN[kind]})
    result = ask(g, row)
    assert result.status == "NOT_MEASURED"
    assert result.reason
    assert result.value is result.distance is None


@pytest.mark.parametrize(
    "g", [g for g in ALL_GATES if g.metric not in LAUNCH_METRICS], ids=lambda g: f"{g.tier}-{g.metric}"
)
@pytest.mark.parametrize("kind", INFINITE)
def test_an_infinite_cell_is_not_measured(g: GateConfig, kind: str) -> None:
    assert ask(g, run_row(**{g.metric: INFINITE[kind]})).status == "NOT_MEASURED"


@pytest.mark.parametrize("metric", LAUNCH_METRICS)
def test_a_launch_value_that_is_not_a_number_is_not_measured(metric: str) -> None:
    values = [12.0 if metric == "latency_p95_ms" else 300.0] * 30 + [math.nan]
    result = ask(shipped(metric), run_row(**{LAUNCH_COLUMN[metric]: values}))
    assert (result.status, result.reason) == ("NOT_MEASURED", "a launch's value is no number")


@pytest.mark.parametrize(
    ("p95_ms", "floor_ms"),
    [
        ([2.0] * 5 + [2000.0] * 5, 16.0),
        ([2.0] * 5 + [40.0] * 5, 16.0),
        ([2.0] * 4 + [2000.0] * 5, 30.0),
        ([2.0] * 5 + [2000.0] * 4, None),
        ([2.0] * 6 + [2000.0] * 4, None),
        ([30.0] * 4, None),
    ],
    ids=["half, far over", "half", "the middle one", "fewer than half", "two fewer", "none over"],
)
def test_of_a_median_that_rests_on_stopped_launches_no_more_is_known_than_with_them_at_the_bound(
    p95_ms: list[float], floor_ms: float | None
) -> None:
    """Of as many known as stopped launches the median lies between: what they served until then is no P95."""
    row = run_row(**launched(launch_p95_ms=p95_ms, launches=len(p95_ms), truncated_over_ms=30.0))
    assert p95_floor_ms(row) == floor_ms
    assert (known_figure(row, "latency_p95_ms") is None) == (floor_ms is not None)
    target = ask(gate("latency_p95_ms", "<", 20.0, launch_quantile=0.5), row)
    assert target.floor_ms == floor_ms


def test_no_texts_at_all_are_0_a_second_and_not_minus_0() -> None:
    found = ask(shipped("throughput_texts_per_s"), run_row(launch_throughput_texts_per_s=[0.0] * 20))
    assert str(found.value) == "0.0"


def test_a_throughput_that_is_infinite_never_passes() -> None:
    """Infinitely many texts a second is a clock that stood still, not a fast model."""
    try:
        status = ask(
            shipped("throughput_texts_per_s"), run_row(launch_throughput_texts_per_s=[math.inf] * 40)
        )
    except ValueError:
        return
    assert status.status != "PASS"


@pytest.mark.parametrize("metric", LAUNCH_METRICS)
def test_a_run_without_launches_is_not_measured(metric: str) -> None:
    result = ask(shipped(metric), run_row(**{LAUNCH_COLUMN[metric]: []}))
    assert result.status == "NOT_MEASURED"
    assert result.reason == "no launch"


@pytest.mark.parametrize("g", ALL_GATES, ids=lambda g: f"{g.tier}-{g.metric}")
def test_a_gate_without_a_run_is_not_measured_and_says_where_it_looked(g: GateConfig) -> None:
    result = ask(g, None)
    assert result.status == "NOT_MEASURED"
    place = f"workload=default batch_size={g.at.batch_size}"
    assert result.reason == ("no soak run" if g.metric in SOAK_METRICS else f"no run at {place}")


@pytest.mark.parametrize("g", ALL_GATES, ids=lambda g: f"{g.tier}-{g.metric}")
def test_a_gate_on_an_unavailable_run_is_not_measured_and_says_why(g: GateConfig) -> None:
    result = ask(g, run_row(status="unavailable", error="CoreML is not in this build"))
    assert result.status == "NOT_MEASURED"
    assert result.reason == "CoreML is not in this build"
    assert ask(g, run_row(status="unavailable", error=None)).reason == "unavailable"


@pytest.mark.parametrize(("given_value", "number"), [(3, 3.0), (True, 1.0), (False, 0.0), (-0.5, -0.5)])
def test_a_known_cell_is_a_number(given_value: float, number: float) -> None:
    assert as_number(given_value) == number


@pytest.mark.parametrize("kind", [*UNKNOWN, *INFINITE])
def test_an_unknown_cell_is_no_number(kind: str) -> None:
    assert as_number((UNKNOWN | INFINITE)[kind]) is None


# --- launches


@pytest.mark.parametrize(
    ("values", "status"),
    [
        ([12.0] * 6, "PASS"),
        ([12.0] * 5, "UNDECIDED"),
        ([40.0] * 6, "FAIL"),
        ([30.0] * 6, "FAIL"),
        ([12.0, 40.0] * 10, "UNDECIDED"),
        ([math.inf] * 6, "FAIL"),
        ([12.0] * 10 + [math.inf], "PASS"),
    ],
)
def test_a_latency_gate_counts_launches(values: list[float], status: str) -> None:
    result = ask(gate("latency_p95_ms", "<", 30), run_row(launch_p95_ms=values))
    assert result.status == status
    assert result.n == len(values)
    assert result.over == sum(value >= 30 for value in values)


def test_each_gate_reads_at_its_own_quantile() -> None:
    row = run_row(launch_p95_ms=[12.0] * 16 + [25.0] * 4)
    at_median, at_nine_of_ten = (gate("latency_p95_ms", "<", 30, launch_quantile=q) for q in (0.5, 0.9))
    assert ask(at_median, row).value == 12.0
    assert ask(at_nine_of_ten, row).value == 25.0
    assert ask(at_median, row).status == "PASS"
    assert ask(at_nine_of_ten, row).status == "UNDECIDED", "36 clean launches are needed at 0.9"


@pytest.mark.parametrize(
    ("rates", "status"),
    [
        ([300.0] * 6, "PASS"),
        ([300.0] * 5, "UNDECIDED"),
        ([50.0] * 6, "FAIL"),
        ([100.0] * 6, "FAIL"),
        ([0.0] * 6, "FAIL"),
        ([300.0] * 10 + [0.0], "PASS"),
        ([300.0] * 9 + [0.0], "UNDECIDED"),
    ],
)
def test_a_throughput_gate_holds_above_its_bound(rates: list[float], status: str) -> None:
    result = ask(gate("throughput_texts_per_s", ">", 100), run_row(launch_throughput_texts_per_s=rates))
    assert result.status == status
    assert result.over == sum(rate <= 100 for rate in rates), "over is the wrong side"


def test_the_interval_of_a_throughput_is_the_right_way_round() -> None:
    rates = [110.0, 120.0, 130.0, 140.0, 150.0, 160.0]
    result = ask(gate("throughput_texts_per_s", ">", 100), run_row(launch_throughput_texts_per_s=rates))
    assert (result.low, result.high) == (110.0, 160.0)
    assert result.value == 135.0, "the median, as the run has it"
    assert result.distance == 35.0


def test_a_failed_launch_leaves_the_end_of_a_latency_interval_open() -> None:
    values = [12.0, 13.0, 14.0, 15.0, 16.0, math.inf]
    result = ask(gate("latency_p95_ms", "<", 30), run_row(launch_p95_ms=values))
    assert (result.value, result.low, result.high) == (14.5, 12.0, None)
    mostly_failed = ask(gate("latency_p95_ms", "<", 30), run_row(launch_p95_ms=[12.0] + [math.inf] * 5))
    assert mostly_failed.value is mostly_failed.distance is None


@pytest.mark.parametrize(
    ("values", "quantile", "said"),
    [
        (
            [12.0] * 3,
            0.5,
            "0 of 3 launches are over: about 3 more launches would settle it if they go as these",
        ),
        ([12.0] * 10, 0.8, "0 of 10 launches are over: about 7 more launches"),
        ([12.0, 40.0], 0.5, "1 of 2 launches are over: too near the bound"),
        ([200.0] * 5, 0.5, "0 of 5 launches are under: about 1 more launch would"),
    ],
)
def test_an_undecided_gate_says_how_many_launches_would_settle_it(
    values: list[float], quantile: float, said: str
) -> None:
    metric, op = ("throughput_texts_per_s", ">") if "under" in said else ("latency_p95_ms", "<")
    result = ask_launches(gate(metric, op, 30, launch_quantile=quantile), values)
    assert result.status == "UNDECIDED"
    assert result.reason.startswith(said)


def test_a_settled_gate_needs_no_reason() -> None:
    assert ask_launches(gate("latency_p95_ms", "<", 30), [12.0] * 6).reason == ""
    assert ask_launches(gate("latency_p95_ms", "<", 30), [40.0] * 6).reason == ""


def test_a_bound_that_is_not_a_number_is_refused() -> None:
    with pytest.raises(ValueError, match="bound"):
        ask(gate("latency_p95_ms", "<", math.nan), run_row())


@settings(deadline=None, max_examples=60, derandomize=True)
@given(
    st.lists(st.sampled_from([10.0, 29.0, 30.0, 31.0, 90.0, math.inf]), min_size=1, max_size=40),
    st.sampled_from([0.5, 0.8]),
)
def test_a_latency_gate_answers_as_the_statistics_do(values: list[float], quantile: float) -> None:
    result = ask_launches(gate("latency_p95_ms", "<", 30, launch_quantile=quantile), values)
    assert result.status == stats.gate_verdict(values, 30, launch_quantile=quantile)
    assert (result.low, result.high) == stats.launch_interval(values, launch_quantile=quantile)
    if result.status == "PASS":
        assert result.high is not None
        assert result.high < 30


@settings(deadline=None, max_examples=60, derandomize=True)
@given(st.lists(st.sampled_from([0.0, 50.0, 100.0, 101.0, 300.0]), min_size=1, max_size=40))
def test_a_throughput_gate_never_contradicts_its_interval(rates: list[float]) -> None:
    result = ask_launches(gate("throughput_texts_per_s", ">", 100), rates)
    assert (result.status == "PASS") == (result.low is not None and result.low > 100)
    assert (result.status == "FAIL") == (result.high is not None and result.high <= 100)


# --- distance


@pytest.mark.parametrize(
    ("metric", "op", "bound", "value", "distance"),
    [
        ("l2_norm_max_error", "<", 30, 12.0, 18.0),
        ("l2_norm_max_error", "<", 30, 35.0, -5.0),
        ("l2_norm_max_error", "<=", 30, 30.0, 0.0),
        ("sts_spearman", ">", 30, 35.0, 5.0),
        ("sts_spearman", ">", 30, 12.0, -18.0),
        ("sts_spearman", ">=", 30, 30.0, 0.0),
        ("finite", "==", 1, 1.0, 0.0),
        ("finite", "==", 1, 0.0, -1.0),
        ("launches_failed", "==", 0, 3.0, -3.0),
    ],
)
def test_the_distance_is_positive_on_the_right_side(
    metric: str, op: str, bound: float, value: float, distance: float
) -> None:
    assert GateResult(gate(metric, op, bound), "PASS", value).distance == distance


# --- disturbed launches


def disturbed(values: list[float], flags: Any, **changes: Any) -> GateResult:
    """The answer at the median launch under 30 ms, with these launches flagged."""
    g = gate("latency_p95_ms", "<", 30, **changes)
    return ask(g, run_row(launch_p95_ms=values, launch_disturbed=flags))


@pytest.mark.parametrize(
    ("values", "flags", "status", "undisturbed"),
    [
        ([12.0] * 6 + [40.0] * 4, [False] * 6 + [True] * 4, "UNDECIDED", "PASS"),
        ([40.0] * 6 + [12.0] * 4, [False] * 6 + [True] * 4, "UNDECIDED", "FAIL"),
        ([12.0] * 6, [True] + [False] * 5, "PASS", "UNDECIDED"),
        ([12.0] * 7, [True] + [False] * 6, "PASS", "PASS"),
        ([12.0] * 6, [True] * 6, "PASS", "UNDECIDED"),
        ([math.inf] * 6 + [12.0] * 6, [True] * 6 + [False] * 6, "UNDECIDED", "PASS"),
    ],
)
def test_the_answer_without_disturbed_launches_is_told_beside_the_one_with_them(
    values: list[float], flags: list[bool], status: str, undisturbed: str
) -> None:
    result = disturbed(values, flags)
    assert (result.status, result.undisturbed) == (status, undisturbed)
    plain = disturbed(values, None)
    kept = (result.value, result.low, result.high, result.n, result.over, result.reason)
    assert kept == (plain.value, plain.low, plain.high, plain.n, plain.over, plain.reason)


@pytest.mark.parametrize(
    "flags", [None, math.nan, pd.NA, [], [False] * 6, [None] * 6, [True] * 5, [True] * 7]
)
def test_where_nothing_was_disturbed_or_it_is_unknown_there_is_no_other_answer(flags: Any) -> None:
    """Flags that do not match the launches are of something else."""
    result = disturbed([12.0] * 6, flags)
    assert (result.status, result.undisturbed) == ("PASS", None)


def test_a_launch_of_which_nothing_is_known_counts_as_quiet() -> None:
    assert disturbed([12.0] * 6 + [40.0] * 4, [None] * 6 + [True] * 4).undisturbed == "PASS"


def test_a_throughput_without_its_disturbed_launches_is_asked_the_right_way_round() -> None:
    g = gate("throughput_texts_per_s", ">", 100)
    row = run_row(
        launch_throughput_texts_per_s=[300.0] * 6 + [20.0] * 4, launch_disturbed=[False] * 6 + [True] * 4
    )
    assert (ask(g, row).status, ask(g, row).undisturbed) == ("UNDECIDED", "PASS")


@settings(deadline=None, max_examples=60, derandomize=True)
@given(
    st.lists(st.tuples(st.sampled_from([10.0, 30.0, 90.0, math.inf]), st.booleans()), min_size=1, max_size=40)
)
def test_the_answer_without_disturbed_launches_is_that_of_the_others(
    launches: list[tuple[float, bool]],
) -> None:
    values, flags = [value for value, _ in launches], [flag for _, flag in launches]
    quiet = [value for value, flag in launches if not flag]
    expected = stats.gate_verdict(quiet, 30, launch_quantile=0.5) if any(flags) else None
    result = disturbed(values, flags)
    assert result.undisturbed == expected
    assert result.status == stats.gate_verdict(values, 30, launch_quantile=0.5)


def test_a_run_of_before_flags_were_stored_is_asked_all_the_same() -> None:
    row = run_row()
    del row["launch_disturbed"]
    assert ask(gate("latency_p95_ms", "<", 30), row).status == "PASS"


# --- soak runs


@pytest.mark.parametrize(("gained", "status"), [(0, "PASS"), (-3, "PASS"), (2, "PASS"), (3, "FAIL")])
def test_handles_may_not_pile_up(gained: int, status: str) -> None:
    assert ask(shipped("handles_gained"), run_row(handles_gained=gained)).status == status


def test_memory_that_may_or_may_not_grow_is_undecided() -> None:
    row = run_row(**SOAK | {"rss_slope_bytes_per_request_high": 90.0})
    assert ask(shipped("rss_slope_bytes_per_request"), row).status == "UNDECIDED"


# --- places


PLACES = {
    "plain": ({}, Place("default", 1), "workload=default batch_size=1"),
    "batch": ({"batch_size": 32}, Place("default", 32), "workload=default batch_size=32"),
    "callers": (
        {"workload": "mixture", "clients": 4},
        Place("mixture", 1, 4),
        "workload=mixture batch_size=1 workload.clients=4",
    ),
    "paced": (
        {"arrival": "poisson", "rate": 2.5},
        Place("default", 1, 1, "poisson", 2.5),
        "workload=default batch_size=1 workload.arrival=poisson workload.rate=2.5",
    ),
    "paced to the last digit": (
        {"arrival": "poisson", "rate": 1000 / 60},
        Place("default", 1, 1, "poisson", 1000 / 60),
        "workload=default batch_size=1 workload.arrival=poisson workload.rate=16.666666666666668",
    ),
}


@pytest.mark.parametrize(("at", "place", "words"), PLACES.values(), ids=PLACES)
def test_a_gate_and_a_row_of_the_same_work_stand_at_the_same_place(
    at: dict[str, Any], place: Place, words: str
) -> None:
    g = gate("latency_p95_ms", "<", 30, at=at)
    assert gate_place(g) == place
    row = run_row(**{"offered_qps" if name == "rate" else name: value for name, value in at.items()})
    assert row_place(row) == place
    assert " ".join(f"{name}={value}" for name, value in place_words(place).items()) == words
    assert ask(g, None).reason == f"no run at {words}"


def test_a_gate_has_a_label_that_can_be_read() -> None:
    with pytest.raises(ValidationError, match="label"):
        GateConfig(**gate("latency_p95_ms", "<", 30).model_dump() | {"label": " "})


@pytest.mark.parametrize("at", [{"batch_size": 4097}, {"clients": 257}])
def test_a_gate_reads_no_place_that_no_run_can_be_at(at: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="less than or equal"):
        AtConfig(**at)


@pytest.mark.parametrize("kind", UNKNOWN)
def test_a_closed_loop_has_no_rate_whatever_kind_of_null_it_is(kind: str) -> None:
    assert row_place(run_row(offered_qps=UNKNOWN[kind])) == gate_place(gate("latency_p95_ms", "<", 30))


def test_a_length_that_is_no_shipped_workload_is_measured_by_its_number() -> None:
    assert place_words(Place("tokens_48", 1)) == {
        "workload": "tokens_8", "batch_size": "1", "workload.tokens": "48",
    }  # fmt: skip
    assert place_words(Place("tokens_512", 1)) == {"workload": "tokens_512", "batch_size": "1"}


@pytest.mark.parametrize(
    "at", [{"rate": 5.0}, {"arrival": "poisson"}, {"clients": 0}, {"workload": "mixtur"}]
)
def test_a_place_that_cannot_be_is_refused(at: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"rate|clients|mixture"):
        AtConfig(**at)


@pytest.mark.parametrize("kind", [*UNKNOWN, "empty"])
def test_a_text_that_is_unknown_is_the_other(kind: str) -> None:
    assert text_of("" if kind == "empty" else UNKNOWN[kind], "none") == "none"
    assert text_of("killed", "none") == "killed"


@pytest.mark.parametrize("workload", ["tokens_24", "tokens_8", "default+1f3a"])
def test_a_gate_reads_at_a_workload_of_ones_own_too(workload: str) -> None:
    g = gate("latency_p95_ms", "<", 30, at={"workload": workload})
    assert ask(g, run_row(workload=workload)).status == "PASS"
    for wrong in ("tokens_2", "tokens_", "default+", "default+xyz", "mine"):
        with pytest.raises(ValueError, match=r"unknown workload '.*your own has its runs' name"):
            AtConfig(workload=wrong)


# --- launches that were stopped early


@pytest.mark.parametrize(
    ("over_ms", "bound", "asked"),
    [
        (10.0, 30.0, False),
        (11.9, 30.0, False),
        (30.0, 30.0, True),
        (30.0, 20.0, True),
        (100.0, 30.0, True),
        (None, 30.0, True),
        (math.nan, 30.0, True),
    ],
)
@pytest.mark.parametrize(("p95_ms", "status"), [(12.0, "PASS"), (45.0, "FAIL")])
def test_a_latency_gate_looser_than_what_launches_were_stopped_over_is_not_measured(
    over_ms: float | None, bound: float, asked: bool, p95_ms: float, status: str
) -> None:
    """A launch that was stopped over 10 ms may have had its P95 under 30 ms, had it gone on."""
    result = ask(gate("latency_p95_ms", "<", bound), run_row(p95_ms=p95_ms, truncated_over_ms=over_ms))
    assert result.status == (status if asked else "NOT_MEASURED")
    if not asked:
        assert result.reason == (
            f"launches were stopped early over {over_ms:g} ms; measure them under this policy"
        )
        assert (result.value, result.n) == (None, None)


@pytest.mark.parametrize(("stopped", "at_30"), [(4, "PASS"), (20, "UNDECIDED"), (40, "FAIL")])
@pytest.mark.parametrize("bound", [30.5, 31.0, 60.0])
def test_a_looser_bound_passes_where_launches_that_were_stopped_early_may_all_be_over_it(
    stopped: int, at_30: str, bound: float
) -> None:
    launches = [35.0] * stopped + [12.0] * (40 - stopped)
    row = run_row(launches=40, launch_p95_ms=launches, truncated_over_ms=30.0)
    assert ask(gate("latency_p95_ms", "<", 30), row).status == at_30
    looser = ask(gate("latency_p95_ms", "<", bound), row)
    assert looser.status == ("PASS" if at_30 == "PASS" else "NOT_MEASURED")
    if at_30 == "PASS":
        assert (looser.value, looser.over, looser.n) == (12.0, stopped, 40)


def test_an_end_that_rests_on_launches_that_were_stopped_early_is_known_no_further_than_that() -> None:
    row = run_row(launches=20, launch_p95_ms=[12.0] * 14 + [45.0] * 6, truncated_over_ms=30.0)
    half = gate("latency_p95_ms", "<", 30).model_copy(update={"launch_quantile": 0.5})
    assert (ask(half, row).value, ask(half, row).low, ask(half, row).high) == (12.0, 12.0, None)
    slow = run_row(launches=20, launch_p95_ms=[45.0] * 20, truncated_over_ms=30.0)
    assert (ask(half, slow).low, ask(half, slow).high) == (30.0, None)


def test_launches_that_failed_are_over_any_bound_however_the_others_were_stopped() -> None:
    launches = [math.inf] * 30 + [35.0] * 10
    row = run_row(launches=40, launch_p95_ms=launches, truncated_over_ms=30.0)
    assert ask(gate("latency_p95_ms", "<", 60), row).status == "FAIL"


def test_launches_that_were_stopped_early_answer_every_gate_but_on_latency_and_throughput() -> None:
    row = run_row(truncated_over_ms=1.0)
    for g in ALL_GATES:
        expected = "NOT_MEASURED" if g.metric in LAUNCH_METRICS else ask(g, run_row()).status
        assert ask(g, row).status == expected


@pytest.mark.parametrize("rate", [10.0, 1000.0])
def test_launches_that_were_stopped_early_have_no_throughput_whatever_they_served(rate: float) -> None:
    row = run_row(truncated_over_ms=1000.0, launch_throughput_texts_per_s=[rate] * 20)
    result = ask(gate("throughput_texts_per_s", ">", 100), row)
    assert (result.status, result.value) == ("NOT_MEASURED", None)
    assert result.reason.startswith("launches were stopped early over 1000 ms")


def test_a_run_of_before_it_was_stored_what_stopped_launches_is_asked_all_the_same() -> None:
    row = run_row()
    del row["truncated_over_ms"]
    assert ask(gate("latency_p95_ms", "<", 30), row).status == "PASS"
