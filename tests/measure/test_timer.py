"""The clock: its steps and what a reading costs, by known answers."""

from __future__ import annotations

import time
from itertools import count

from harness.measure.timer import timer_cost_ns, timer_resolution_ns


def test_the_resolution_is_the_smallest_step_that_is_seen() -> None:
    readings = count()
    coarse = iter(lambda: 100 * (next(readings) // 4), None)
    assert timer_resolution_ns(lambda: next(coarse)) == 100


def test_a_clock_that_stands_still_has_no_resolution() -> None:
    assert timer_resolution_ns(lambda: 5) is None
    assert timer_cost_ns(lambda: 5) == 0.0


def test_the_cost_is_the_median_time_between_two_readings() -> None:
    ticks = count(step=30)
    assert timer_cost_ns(lambda: next(ticks)) == 30.0


def test_the_real_clock_moves_in_small_steps() -> None:
    resolution_ns = timer_resolution_ns(time.perf_counter_ns)
    assert resolution_ns is not None
    assert 0 < resolution_ns < 1_000_000
