"""What else the machine does, and what it can do right now: read from its own state, never a latency."""

from __future__ import annotations

import os
import resource
import time
from dataclasses import dataclass

import numpy as np
import psutil

# Of the machine's CPU time, used by processes other than the harness and its worker.
OTHER_CPU_SHARE_MAX = 0.10
# Of the machine's CPU time, taken by the hypervisor for other machines.
STEAL_SHARE_MAX = 0.05
# Of the best capacity seen here; a neighbour that takes a core of two leaves half.
CAPACITY_SHARE_MIN = 0.70

# The probe: GEMMs of this size, 2 n³ = 0.27 GFLOP each, on all cores; about 25 ms together.
_PROBE_SIZE = 512
_PROBE_REPEATS = 8


@dataclass(frozen=True)
class Conditions:
    """The machine's state around one launch; None is unknown.

    Capacities in GFLOP/s, shares of the machine's CPU time while the launch ran, `load_1m` the load
    average when it started.
    """

    capacity_before_gflops: float | None = None
    capacity_after_gflops: float | None = None
    other_cpu_share: float | None = None
    steal_share: float | None = None
    load_1m: float | None = None


class Watch:
    """Watches the machine from its creation until `stop`; sleeps in between.

    Whoever measures creates it before the worker starts and stops it after the worker was reaped, so
    that the worker's own CPU time is known and is not taken for somebody else's.
    """

    def __init__(self) -> None:
        self._before_gflops = capacity_gflops()
        self._load_1m = os.getloadavg()[0]
        self._started_s = time.monotonic()
        self._own_s = _own_cpu_s()
        self._machine = psutil.cpu_times()

    def stop(self) -> Conditions:
        """The conditions since the creation."""
        machine, own_s = psutil.cpu_times(), _own_cpu_s() - self._own_s
        available_s = (time.monotonic() - self._started_s) * (psutil.cpu_count() or 1)
        busy = ("user", "nice", "system", "irq", "softirq")
        busy_s = sum(getattr(machine, n, 0.0) - getattr(self._machine, n, 0.0) for n in busy)
        steal_s = getattr(machine, "steal", 0.0) - getattr(self._machine, "steal", 0.0)
        return Conditions(
            capacity_before_gflops=self._before_gflops,
            capacity_after_gflops=capacity_gflops(),
            other_cpu_share=max(0.0, (busy_s - own_s) / available_s) if available_s > 0 else None,
            steal_share=steal_s / available_s if available_s > 0 and hasattr(machine, "steal") else None,
            load_1m=self._load_1m,
        )


def capacity_gflops() -> float:
    """What the machine computes right now: the median rate of a few float32 GEMMs on all cores."""
    matrix = np.ones((_PROBE_SIZE, _PROBE_SIZE), dtype=np.float32)
    product = np.empty_like(matrix)
    np.matmul(matrix, matrix, out=product)
    rates = []
    for _ in range(_PROBE_REPEATS):
        began = time.perf_counter_ns()
        np.matmul(matrix, matrix, out=product)
        rates.append(2 * _PROBE_SIZE**3 / (time.perf_counter_ns() - began))
    return float(np.median(rates))


def _own_cpu_s() -> float:
    """CPU seconds of this process and of the children it has reaped."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)
