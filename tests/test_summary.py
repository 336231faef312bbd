"""A run's figures follow from its launches, and a failed launch never flatters them."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.record import RUN_COLUMNS, to_table
from harness.stats import gate_verdict
from harness.summary import launch_values, summarise_launch, summarise_run
from tests.conftest import STARTED, launch_row, run_row

MS = 1_000_000


def failed_row(index: int, **changes: Any) -> dict[str, Any]:
    """A launch that died before it served anything."""
    names = ("p50_ms", "p95_ms", "throughput_texts_per_s", "cold_start_s", "session_load_s")
    nothing = dict.fromkeys((*names, "first_request_ms", "peak_rss_bytes"))
    empty: dict[str, Any] = {"total_ns": [], "tokenize_ns": [], "infer_ns": [], "requests": 0}
    return launch_row(index) | {"status": "failed", "error": "exit 1"} | nothing | empty | changes


def launches(*p95s: float | None) -> list[dict[str, Any]]:
    """A launch for each P95 in ms; None is a failed one."""
    return [
        failed_row(i) if p95_ms is None else launch_row(i, p95_ms=p95_ms) for i, p95_ms in enumerate(p95s)
    ]


# --- a launch


def test_a_launch_is_summarised_by_nearest_rank() -> None:
    answer = {"total_ns": [i * MS for i in range(100, 0, -1)]}
    summary = summarise_launch(answer, batch_size=1)
    assert summary["requests"] == 100
    assert summary["p50_ms"] == 50.0
    assert summary["p95_ms"] == 95.0
    # By hand: 100 requests in 1 + 2 + … + 100 = 5,050 ms.
    assert summary["throughput_texts_per_s"] == pytest.approx(100 / 5.05)


def test_a_launch_of_batches_counts_their_texts() -> None:
    summary = summarise_launch({"total_ns": [500 * MS] * 4}, batch_size=32)
    assert summary["throughput_texts_per_s"] == pytest.approx(64.0)


@pytest.mark.parametrize("answer", [{}, {"total_ns": None}, {"total_ns": []}, {"status": "failed"}])
def test_a_launch_that_served_nothing_has_no_latency(answer: dict[str, Any]) -> None:
    assert summarise_launch(answer, batch_size=1) == {
        "requests": 0,
        "p50_ms": None,
        "p95_ms": None,
        "throughput_texts_per_s": None,
    }


def test_a_launch_on_a_clock_that_stands_still_has_no_throughput() -> None:
    summary = summarise_launch({"total_ns": [0, 0]}, batch_size=1)
    assert summary["throughput_texts_per_s"] is None
    assert summary["p95_ms"] == 0.0


# --- one value a launch


def test_a_failed_launch_is_infinitely_slow_and_serves_nothing() -> None:
    rows = launches(12.0, None, 14.0)
    assert launch_values("latency_p95_ms", rows) == [12.0, math.inf, 14.0]
    rates = launch_values("throughput_texts_per_s", rows)
    assert rates == pytest.approx([1000 / 12, 0.0, 1000 / 14])


@pytest.mark.parametrize("status", ["failed", "timeout"])
def test_what_a_launch_served_before_it_failed_does_not_count(status: str) -> None:
    fast_then_dead = launch_row(0, p95_ms=0.1, status=status, error="died")
    assert launch_values("latency_p95_ms", [fast_then_dead]) == [math.inf]
    assert launch_values("throughput_texts_per_s", [fast_then_dead]) == [0.0]
    assert summarise_run([fast_then_dead])["requests"] == 0


# --- a run


def test_a_runs_latency_is_the_median_over_its_launches() -> None:
    summary = summarise_run(launches(10.0, 50.0, 11.0))
    assert summary["launches"] == 3
    assert summary["launches_failed"] == 0
    assert summary["latency_p95_ms"] == 11.0
    assert summary["launch_p95_ms"] == [10.0, 50.0, 11.0]
    assert summary["throughput_texts_per_s"] == pytest.approx(1000 / 11)


def test_a_runs_latency_is_not_that_of_the_pooled_requests() -> None:
    """One slow launch with most of the requests moves a pooled percentile, not the median launch."""
    slow = launch_row(2, p95_ms=90.0, total_ns=[90 * MS] * 10_000, requests=10_000)
    summary = summarise_run([*launches(10.0, 11.0), slow])
    assert summary["latency_p95_ms"] == 11.0
    assert summary["latency_p50_ms"] == 11.0
    assert summary["requests"] == 10_200


def test_the_medians_of_a_run_are_over_launches() -> None:
    rows = [
        launch_row(
            i,
            cold_start_s=float(i),
            session_load_s=i / 10,
            first_request_ms=10.0 * i,
            tokenize_ns=[i * MS] * 99 + [1_000 * MS],
            infer_ns=[2 * i * MS] * 100,
            peak_rss_bytes=1_000 - i,
        )
        for i in (1, 2, 9)
    ]
    summary = summarise_run(rows)
    assert summary["cold_start_s"] == 2.0
    assert summary["session_load_s"] == 0.2
    assert summary["first_request_ms"] == 20.0
    assert summary["tokenize_p50_ms"] == 2.0
    assert summary["infer_p50_ms"] == 4.0
    assert summary["peak_rss_bytes"] == 999, "the largest, not the median"


def test_failed_launches_are_counted_and_drag_the_median() -> None:
    summary = summarise_run(launches(10.0, 11.0, 12.0, None, None))
    assert summary["launches"] == 5
    assert summary["launches_failed"] == 2
    assert summary["latency_p95_ms"] == 12.0, "the third of 10, 11, 12, ∞, ∞"
    assert summary["latency_p50_ms"] == 11.0, "of the launches that served"
    assert summary["throughput_texts_per_s"] == pytest.approx(1000 / 12)


@pytest.mark.parametrize("p95s", [(10.0, None, None), (10.0, 10.0, None, None, None), (10.0, None), (None,)])
def test_a_run_that_fails_half_of_its_launches_or_more_has_no_latency(p95s: tuple[float | None, ...]) -> None:
    summary = summarise_run(launches(*p95s))
    assert summary["latency_p95_ms"] is None
    assert summary["latency_p95_high_ms"] is None
    assert summary["launch_p95_ms"].count(math.inf) == p95s.count(None)


@pytest.mark.parametrize(("last", "expected"), [(99, None), (100, 990.0)])
def test_a_p99_is_told_from_1000_requests_on(last: int, expected: float | None) -> None:
    """Ten launches with 1 to 1,000 ms among them; the 99th percentile is the 990th value."""
    samples = [[(100 * i + j) * MS for j in range(1, 101)] for i in range(10)]
    samples[0] = samples[0][:last]
    rows = [launch_row(i, total_ns=total, requests=len(total)) for i, total in enumerate(samples)]
    summary = summarise_run(rows)
    assert summary["requests"] == 900 + last
    assert summary["latency_p99_ms"] == expected


def test_the_evidence_spans_from_the_first_start_to_the_last_in_any_order() -> None:
    rows = [launch_row(i, started_at=STARTED + timedelta(seconds=s)) for i, s in enumerate((30, 0, 95.5, 60))]
    assert summarise_run(rows)["evidence_span_s"] == 95.5
    assert summarise_run(rows[:1])["evidence_span_s"] == 0.0


def test_failed_launches_are_evidence_in_time_too() -> None:
    rows = [launch_row(0), failed_row(1, started_at=STARTED + timedelta(seconds=40))]
    assert summarise_run(rows)["evidence_span_s"] == 40.0


def test_a_run_without_launches_knows_nothing() -> None:
    summary = summarise_run([])
    counted = {"launches": 0, "launches_failed": 0, "requests": 0}
    lists: dict[str, Any] = {"launch_p95_ms": [], "launch_throughput_texts_per_s": []}
    unknown = dict.fromkeys(set(summary) - set(counted) - set(lists))
    assert summary == counted | lists | unknown


def test_a_run_that_served_nothing_knows_no_latency() -> None:
    summary = summarise_run(launches(*[None] * 7))
    assert summary["launches_failed"] == 7
    assert summary["launch_p95_ms"] == [math.inf] * 7
    assert summary["launch_throughput_texts_per_s"] == [0.0] * 7
    assert summary["throughput_texts_per_s"] == 0.0
    known = {name for name, value in summary.items() if value is not None and name.startswith("latency")}
    assert known == set()
    unknown = ("cold_start_s", "session_load_s", "first_request_ms", "tokenize_p50_ms", "infer_p50_ms")
    assert all(summary[name] is None for name in (*unknown, "peak_rss_bytes"))


def test_the_interval_of_the_median_launch_needs_six_and_mirrors_in_throughput() -> None:
    five = summarise_run(launches(10.0, 11.0, 12.0, 13.0, 14.0))
    assert five["latency_p95_low_ms"] is five["latency_p95_high_ms"] is None
    assert five["throughput_texts_per_s_low"] is five["throughput_texts_per_s_high"] is None
    six = summarise_run(launches(10.0, 11.0, 12.0, 13.0, 14.0, 15.0))
    assert (six["latency_p95_low_ms"], six["latency_p95_high_ms"]) == (10.0, 15.0)
    rates = (six["throughput_texts_per_s_low"], six["throughput_texts_per_s_high"])
    assert rates == pytest.approx((1000 / 15, 1000 / 10))


p95_lists = st.lists(st.none() | st.sampled_from([5.0, 12.0, 29.0, 31.0, 80.0]), min_size=1, max_size=30)


@settings(deadline=None, max_examples=60, derandomize=True)
@given(p95_lists, st.randoms(use_true_random=False))
def test_the_order_of_launches_does_not_matter(p95s: list[float | None], random: Any) -> None:
    rows = launches(*p95s)
    shuffled = list(rows)
    random.shuffle(shuffled)
    first, second = summarise_run(rows), summarise_run(shuffled)
    for name in ("launch_p95_ms", "launch_throughput_texts_per_s"):
        assert sorted(first.pop(name)) == sorted(second.pop(name))
    assert first == second


@settings(deadline=None, max_examples=60, derandomize=True)
@given(p95_lists)
def test_a_run_does_not_get_faster_by_failing(p95s: list[float | None]) -> None:
    before, after = summarise_run(launches(*p95s)), summarise_run(launches(*p95s, None))
    slower = math.inf if after["latency_p95_ms"] is None else after["latency_p95_ms"]
    assert slower >= (math.inf if before["latency_p95_ms"] is None else before["latency_p95_ms"])
    assert after["throughput_texts_per_s"] <= before["throughput_texts_per_s"]


@settings(deadline=None, max_examples=60, derandomize=True)
@given(p95_lists)
def test_the_stored_interval_agrees_with_the_gate_on_the_median_launch(p95s: list[float | None]) -> None:
    summary = summarise_run(launches(*p95s))
    verdict = gate_verdict(summary["launch_p95_ms"], 30, launch_quantile=0.5)
    high = summary["latency_p95_high_ms"]
    assert (verdict == "PASS") == (high is not None and high < 30)


@pytest.mark.parametrize("p95s", [(), (None,), (12.0,), (12.0, None, 13.0)])
def test_a_summary_fits_the_schema_of_runs(p95s: tuple[float | None, ...]) -> None:
    row = run_row() | summarise_run(launches(*p95s))
    stored = to_table([row], RUN_COLUMNS).to_pylist()[0]
    assert stored["launch_p95_ms"] == [math.inf if value is None else value for value in p95s]
    assert stored["launches_failed"] == p95s.count(None)
