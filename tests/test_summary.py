"""A run's figures follow from its launches, and a failed launch never flatters them."""

from __future__ import annotations

import math
import mmap
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.gates import ask
from harness.record import RUN_COLUMNS, to_table
from harness.schema import GateConfig
from harness.stats import gate_verdict
from harness.summary import evidence_span_s, launch_values, summarise_launch
from harness.summary import summarise_run as summarise
from tests.conftest import STARTED, launch_row, run_row

if TYPE_CHECKING:
    from collections.abc import Sequence

MS = 1_000_000
# The columns of a soak run that other runs have no value for, and summarise nothing about.
SOAK = (
    "soak_s", "rss_slope_bytes_per_request", "rss_slope_bytes_per_request_low",
    "rss_slope_bytes_per_request_high", "handles_gained", "latency_drift", "latency_drift_low",
    "latency_drift_high",
)  # fmt: skip


def summarise_run(rows: Sequence[dict[str, Any]], *, min_span_s: float = 0.0) -> dict[str, Any]:
    """As `harness.summary.summarise_run`; where no span is wanted, no gap is too long."""
    return summarise(rows, min_span_s=min_span_s)


def failed_row(index: int, **changes: Any) -> dict[str, Any]:
    """A launch that died before it served anything."""
    names = ("p50_ms", "p95_ms", "throughput_texts_per_s", "cold_start_s", "session_load_s")
    nothing = dict.fromkeys((*names, "first_request_ms", "peak_rss_bytes"))
    empty: dict[str, Any] = {"total_ns": [], "tokenize_ns": [], "infer_ns": [], "requests": 0}
    return launch_row(index) | {"status": "failed", "error": "exit 1"} | nothing | empty | changes


def soak_answer(**blocks: list[Any]) -> dict[str, Any]:
    """A soak of 60 s in 30 blocks, in which nothing changes but what `blocks` says."""
    steady = {"requests": [100], "p50_ms": [2.0], "p95_ms": [4.0], "rss_bytes": [10**8], "handles": [12]}
    unchanged: dict[str, Any] = {f"block_{name}": value * 30 for name, value in steady.items()}
    samples: dict[str, Any] = {"total_ns": [], "tokenize_ns": [], "infer_ns": []}
    return unchanged | samples | {"serving_s": 60.0} | {f"block_{name}": v for name, v in blocks.items()}


def soaked(**blocks: list[Any]) -> dict[str, Any]:
    """The summary of a run whose launch is that soak."""
    answer = soak_answer(**blocks)
    row = launch_row(0) | answer | summarise_launch(answer, batch_size=1)
    return summarise_run([row])


def launches(*p95s: float | None) -> list[dict[str, Any]]:
    """A launch for each P95 in ms; None is a failed one."""
    return [
        failed_row(i) if p95_ms is None else launch_row(i, p95_ms=p95_ms) for i, p95_ms in enumerate(p95s)
    ]


# --- a launch


def test_a_launch_is_summarised_by_nearest_rank() -> None:
    answer = {"total_ns": [i * MS for i in range(100, 0, -1)], "serving_s": 5.05}
    summary = summarise_launch(answer, batch_size=1)
    assert summary["requests"] == 100
    assert summary["p50_ms"] == 50.0
    assert summary["p95_ms"] == 95.0
    # By hand: 100 requests in 1 + 2 + … + 100 = 5,050 ms.
    assert summary["throughput_texts_per_s"] == pytest.approx(100 / 5.05)


@pytest.mark.parametrize(
    ("serving_s", "served_per_s"),
    [(0.5, 200.0), (20.0, 5.0)],
    ids=["two callers at once", "an open loop that mostly waits"],
)
def test_throughput_is_over_the_time_of_serving_not_over_the_sum_of_waits(
    serving_s: float, served_per_s: float
) -> None:
    """A hundred requests that waited 10 ms each: a second, had one caller sent them back to back."""
    summary = summarise_launch({"total_ns": [10 * MS] * 100, "serving_s": serving_s}, batch_size=1)
    assert summary["throughput_texts_per_s"] == pytest.approx(served_per_s)
    assert summary["p95_ms"] == 10.0


def test_a_launch_of_batches_counts_their_texts() -> None:
    summary = summarise_launch({"total_ns": [500 * MS] * 4, "serving_s": 2.0}, batch_size=32)
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
    summary = summarise_launch({"total_ns": [0, 0], "serving_s": 0.0}, batch_size=1)
    assert summary["throughput_texts_per_s"] is None
    assert summary["p95_ms"] == 0.0


def test_a_launch_of_soaking_is_summarised_over_its_blocks() -> None:
    answer = soak_answer(requests=[100] * 15 + [50] * 15, p50_ms=[3.0] * 10 + [2.0] * 20)
    assert summarise_launch(answer, batch_size=4) == {
        "requests": 2250,
        "p50_ms": 2.0,
        "p95_ms": 4.0,
        "throughput_texts_per_s": 4 * 2250 / 60,
    }


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


def cut_short(index: int, over_ms: float) -> dict[str, Any]:
    """A launch that was stopped early."""
    return launch_row(index, p95_ms=45.0, truncated=True, truncated_over_ms=over_ms)


def test_a_p99_is_unknown_where_launches_were_stopped_early() -> None:
    """They lack the requests that would have come: slow launches would count for less."""
    whole = launches(*[12.0] * 20)
    assert summarise_run(whole)["latency_p99_ms"] == 12.0
    summary = summarise_run([*whole, cut_short(20, 30.0)])
    assert (summary["latency_p99_ms"], summary["latency_p95_ms"]) == (None, 12.0)


def test_an_end_of_the_interval_of_p95_that_rests_on_launches_stopped_early_is_no_figure() -> None:
    few = summarise_run([*launches(*[12.0] * 14), *(cut_short(14 + i, 30.0) for i in range(6))])
    assert (few["latency_p95_ms"], few["latency_p95_low_ms"], few["latency_p95_high_ms"]) == (
        12.0,
        12.0,
        None,
    )
    many = summarise_run([*launches(*[12.0] * 2), *(cut_short(2 + i, 30.0) for i in range(18))])
    assert (many["latency_p95_low_ms"], many["latency_p95_high_ms"]) == (30.0, None)


def test_a_run_tells_the_lowest_bound_over_which_a_launch_was_stopped() -> None:
    rows = [*launches(12.0, 45.0), cut_short(2, 30.0), cut_short(3, 20.0), cut_short(4, 100.0)]
    assert summarise_run(rows)["truncated_over_ms"] == 20.0
    assert summarise_run(rows[:3])["truncated_over_ms"] == 30.0
    assert summarise_run(rows[:2])["truncated_over_ms"] is None


def test_a_launch_that_failed_was_not_stopped_early() -> None:
    """It is infinitely slow by every bound."""
    rows = [*launches(*[12.0] * 20), failed_row(20, truncated_over_ms=10.0)]
    summary = summarise_run(rows)
    assert (summary["truncated_over_ms"], summary["latency_p99_ms"]) == (None, 12.0)


def test_the_evidence_spans_from_the_first_start_to_the_last_in_any_order() -> None:
    rows = [launch_row(i, started_at=STARTED + timedelta(seconds=s)) for i, s in enumerate((30, 0, 95.5, 60))]
    assert summarise_run(rows)["evidence_span_s"] == 95.5
    assert summarise_run(rows[:1])["evidence_span_s"] == 0.0


def starts(*seconds: float) -> list[dict[str, Any]]:
    return [launch_row(i, started_at=STARTED + timedelta(seconds=s)) for i, s in enumerate(seconds)]


@pytest.mark.parametrize(
    ("seconds", "wanted_s", "expected"),
    [
        ((0, 10, 20, 30), 90.0, 30.0),
        ((0, 18, 36), 90.0, 36.0),
        ((0, 18.5, 37), 90.0, 36.0),
        ((0, 1, 2, 86_400, 86_401, 86_402), 90.0, 4 + 18.0),
        ((0, 86_400), 90.0, 18.0),
        ((86_400, 0), 90.0, 18.0),
        ((0, 86_400), 0.0, 86_400.0),
        ((7,), 90.0, 0.0),
    ],
)
def test_a_gap_counts_for_a_fifth_of_the_span_that_is_wanted_at_most(
    seconds: tuple[float, ...], wanted_s: float, expected: float
) -> None:
    assert evidence_span_s(starts(*seconds), wanted_s) == pytest.approx(expected)
    assert summarise_run(starts(*seconds), min_span_s=wanted_s)["evidence_span_s"] == pytest.approx(expected)


def test_two_bursts_a_day_apart_are_no_evidence_of_that_day() -> None:
    two_bursts = starts(*(s + day for day in (0, 86_400) for s in range(10)))
    assert evidence_span_s(two_bursts, 90.0) < 90.0
    assert evidence_span_s([], 90.0) is None


def test_failed_launches_are_evidence_in_time_too() -> None:
    rows = [launch_row(0), failed_row(1, started_at=STARTED + timedelta(seconds=40))]
    assert summarise_run(rows)["evidence_span_s"] == 40.0


def test_a_run_without_launches_knows_nothing() -> None:
    summary = summarise_run([])
    counted = {"launches": 0, "launches_failed": 0, "requests": 0}
    lists: dict[str, Any] = {
        name: [] for name in ("launch_p95_ms", "launch_throughput_texts_per_s", "launch_disturbed")
    }
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
    for name in ("launch_p95_ms", "launch_throughput_texts_per_s"):  # the flags here are all unknown
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


@settings(deadline=None, max_examples=60, derandomize=True)
@given(p95_lists)
def test_the_stored_medians_are_the_values_of_the_gates_on_the_median_launch(
    p95s: list[float | None],
) -> None:
    row = run_row() | summarise_run(launches(*p95s))
    for metric, op in (("latency_p95_ms", "<"), ("throughput_texts_per_s", ">")):
        gate = GateConfig(tier="should", metric=metric, op=op, bound=30, launch_quantile=0.5, label=metric)
        assert ask(gate, row).value == row[metric]


@pytest.mark.parametrize("p95s", [(), (None,), (12.0,), (12.0, None, 13.0)])
def test_a_summary_fits_the_schema_of_runs(p95s: tuple[float | None, ...]) -> None:
    row = run_row() | summarise_run(launches(*p95s))
    stored = to_table([row], RUN_COLUMNS).to_pylist()[0]
    assert stored["launch_p95_ms"] == [math.inf if value is None else value for value in p95s]
    assert stored["launches_failed"] == p95s.count(None)


# --- noise


@pytest.mark.parametrize(
    ("flags", "share"),
    [
        ([True, False, False, False], 0.25),
        ([False] * 3, 0.0),
        ([True, None, None, False], 0.5),
        ([None, None], None),
    ],
)
def test_noise_is_the_share_of_disturbed_launches_among_those_that_were_watched(
    flags: list[bool | None], share: float | None
) -> None:
    rows = [launch_row(i, disturbed=flag) for i, flag in enumerate(flags)]
    summary = summarise_run(rows)
    assert (summary["noise"], summary["launch_disturbed"]) == (share, flags)


def test_what_disturbed_is_told_with_how_many_launches() -> None:
    found = ["low capacity", None, "low capacity, other processes", None]
    rows = [launch_row(i, disturbed=what is not None, disturbance=what) for i, what in enumerate(found)]
    assert summarise_run(rows)["disturbance"] == "low capacity 2, other processes 1"
    assert summarise_run([launch_row(0, disturbed=False)])["disturbance"] is None


def test_failed_launches_are_watched_too_and_keep_their_place_in_the_list() -> None:
    summary = summarise_run([failed_row(0, disturbed=True, disturbance="heat"), launch_row(1)])
    assert (summary["launch_disturbed"], summary["noise"]) == ([True, None], 1.0)
    assert len(summary["launch_disturbed"]) == len(summary["launch_p95_ms"])


# --- what measuring costs


def test_the_loops_share_is_its_cost_over_the_median_request() -> None:
    rows = [
        launch_row(i, p95_ms=2.0, loop_overhead_ns=ns) for i, ns in enumerate((1_000.0, 3_000.0, 5_000.0))
    ]
    assert summarise_run(rows)["loop_overhead_share"] == pytest.approx(3_000 / 2_000_000)


@pytest.mark.parametrize("rows", [[launch_row(0, loop_overhead_ns=None)], [launch_row(0, p50_ms=0.0)]])
def test_the_loops_share_is_unknown_where_a_part_of_it_is(rows: list[dict[str, Any]]) -> None:
    assert summarise_run(rows)["loop_overhead_share"] is None


def test_the_slowest_new_shape_is_the_median_over_launches_of_the_slowest_one() -> None:
    shapes = [[5 * MS, 90 * MS], [70 * MS, 1 * MS], [10 * MS]]
    rows = [launch_row(i, new_shape_ns=ns) for i, ns in enumerate(shapes)]
    summary = summarise_run(rows)
    assert summary["new_shape_max_ms"] == 70.0
    assert summary["latency_p95_ms"] == 12.0, "never among the timed ones"
    assert summarise_run([launch_row(0, new_shape_ns=None)])["new_shape_max_ms"] is None


def test_the_resolution_of_the_clock_is_the_coarsest_seen() -> None:
    rows = [launch_row(i, timer_resolution_ns=ns) for i, ns in enumerate((41, None, 1_000))]
    assert summarise_run(rows)["timer_resolution_ns"] == 1_000
    assert summarise_run(rows[1:2])["timer_resolution_ns"] is None


def test_launches_of_the_first_schema_are_summarised_beside_new_ones() -> None:
    names = ("serving_s", "new_shape_ns", "loop_overhead_ns", "timer_resolution_ns", "disturbed")
    old = launch_row(0, **dict.fromkeys(names))
    summary = summarise_run([old, launch_row(1)])
    assert (summary["launches"], summary["timer_resolution_ns"], summary["new_shape_max_ms"]) == (2, 50, 12.0)


# --- soak runs


def test_a_soak_in_which_nothing_changes_grows_by_less_than_a_page() -> None:
    summary = soaked()
    page = mmap.PAGESIZE / 2000  # over the requests of the last two thirds
    assert {name: summary[name] for name in SOAK} == {
        "soak_s": 60.0,
        "rss_slope_bytes_per_request": 0.0,
        "rss_slope_bytes_per_request_low": -page,
        "rss_slope_bytes_per_request_high": page,
        "handles_gained": 0,
        "latency_drift": 1.0,
        "latency_drift_low": 1.0,
        "latency_drift_high": 1.0,
    }
    assert (summary["launches"], summary["requests"], summary["latency_p50_ms"]) == (1, 3000, 2.0)
    assert summary["latency_p99_ms"] is None, "no request of a soak is kept"
    assert summary["infer_p50_ms"] is summary["tokenize_p50_ms"] is None


def test_memory_that_grows_with_every_request_is_told_to_the_page() -> None:
    """256 bytes a request, in blocks of different sizes."""
    served = [100 + 10 * (block % 3) for block in range(30)]
    summary = soaked(requests=served, rss_bytes=(10**8 + 256 * np.cumsum(served)).tolist())
    names = (
        "rss_slope_bytes_per_request",
        *(f"rss_slope_bytes_per_request_{end}" for end in ("low", "high")),
    )
    page = mmap.PAGESIZE / sum(served[10:])
    assert [summary[name] for name in names] == pytest.approx([256.0, 256.0 - page, 256.0 + page])


def test_a_leak_of_one_page_now_and_then_is_told_with_its_interval() -> None:
    grown = np.cumsum([4096 if block % 2 else 0 for block in range(30)])
    summary = soaked(rss_bytes=(10**8 + grown).tolist())
    low, high = (summary[f"rss_slope_bytes_per_request_{end}"] for end in ("low", "high"))
    assert low < 4096 / 200 < high
    assert low < summary["rss_slope_bytes_per_request"] < high


def test_the_first_third_of_a_soak_is_left_out() -> None:
    settling = [10**7 * (block + 1) for block in range(9)]
    summary = soaked(
        rss_bytes=settling + [10**8] * 21,
        handles=list(range(9)) + [12] * 21,
        p50_ms=[50.0] * 10 + [2.0] * 20,
    )
    assert summary["rss_slope_bytes_per_request"] == 0.0
    assert summary["handles_gained"] == 0
    assert summary["latency_drift"] == 1.0


@pytest.mark.parametrize(("last", "gained"), [(12, 0), (15, 3), (9, -3)])
def test_handles_are_counted_from_after_the_first_third_to_the_end(last: int, gained: int) -> None:
    summary = soaked(handles=[12] * 29 + [last])
    assert summary["handles_gained"] == gained


def test_drift_is_the_last_third_over_the_middle_one_with_its_interval() -> None:
    middle, last = np.linspace(1.9, 2.1, 10), np.linspace(2.85, 3.15, 10)
    summary = soaked(p50_ms=[9.0] * 10 + middle.tolist() + last.tolist())
    assert summary["latency_drift"] == pytest.approx(1.5)
    assert 1.3 < summary["latency_drift_low"] < 1.5 < summary["latency_drift_high"] < 1.7


def test_drift_is_the_ratio_that_its_interval_is_of_and_not_that_of_the_medians() -> None:
    middle, last = [2.0] * 4 + [3.0] * 6, [2.0] * 6 + [3.0] * 4
    summary = soaked(p50_ms=[2.0] * 10 + middle + last)
    assert float(np.median(last) / np.median(middle)) == pytest.approx(2 / 3)
    assert summary["latency_drift"] == 1.0
    assert summary["latency_drift_low"] <= 1.0 <= summary["latency_drift_high"]


def test_one_slow_block_is_no_drift() -> None:
    middle, last = np.linspace(1.9, 2.1, 10).tolist(), np.linspace(1.9, 2.1, 10).tolist()
    summary = soaked(p50_ms=[2.0] * 10 + middle + [*last[:9], 40.0])
    assert summary["latency_drift_low"] < 1.0 < summary["latency_drift_high"] < 1.2


def test_the_last_soak_of_several_tells_of_growth_and_a_failed_one_tells_nothing() -> None:
    growing, steady = (
        launch_row(0) | answer | summarise_launch(answer, batch_size=1)
        for answer in (soak_answer(handles=list(range(30))), soak_answer())
    )
    assert summarise_run([growing, steady])["handles_gained"] == 0
    assert summarise_run([steady, growing])["handles_gained"] == 20
    assert "handles_gained" not in summarise_run([growing | {"status": "failed"}])


def test_other_runs_have_no_columns_of_a_soak() -> None:
    assert not set(SOAK) & set(summarise_run([launch_row(0)]))


def test_a_soak_fits_the_schema_of_runs() -> None:
    (stored,) = to_table([run_row() | soaked()], RUN_COLUMNS).to_pylist()
    assert (stored["soak_s"], stored["handles_gained"], stored["latency_drift"]) == (60.0, 0, 1.0)
