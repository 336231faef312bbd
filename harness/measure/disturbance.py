"""What else the machine does, and what it can do right now: read from its own state, never a latency."""

from __future__ import annotations

import os
import re
import resource
import time
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
from threadpoolctl import ThreadpoolController

from harness.measure import container
from harness.measure.resources import cores_of_a_launch
from harness.stats import nearest_rank

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

# Of the CPU time of the cores that a launch may use, used by processes other than the harness and its worker.
OTHER_CPU_SHARE_MAX = 0.10
# Of the same, taken by the hypervisor for other machines.
STEAL_SHARE_MAX = 0.05
# Of the reference capacity; a neighbour that takes a core of two leaves half.
CAPACITY_SHARE_MIN = 0.70
# The reference capacity is this quantile of all probes: what the machine can do, a lucky burst left out.
_REFERENCE_QUANTILE = 0.9

# Where the probes around a launch are kept.
PROBES = ("capacity_before_gflops", "capacity_after_gflops")
# The probe: GEMMs of this size, 2 n³ = 0.27 GFLOP each, on all cores; about 25 ms together.
_PROBE_SIZE = 512
_PROBE_REPEATS = 8
# While waiting for a quiet machine, it is looked at over this time.
_LOOK_S = 0.5


@dataclass(frozen=True)
class Conditions:
    """The machine's state around one launch; None is unknown.

    Capacities in GFLOP/s; shares of the CPU time of the cores that the launch may use, while it ran;
    `load_1m` the load average when it started; `throttled_s` that the container's own quota stopped it for;
    `thermal_throttles` how often the CPU slowed itself down for heat meanwhile.
    """

    capacity_before_gflops: float | None = None
    capacity_after_gflops: float | None = None
    other_cpu_share: float | None = None
    steal_share: float | None = None
    load_1m: float | None = None
    throttled_s: float | None = None
    thermal_throttles: int | None = None
    on_battery: bool | None = None


def disturbances(facts: Mapping[str, Any], reference_gflops: float | None) -> list[str] | None:
    """What disturbed a launch, by a rule on the machine's state alone; None where nothing is known.

    The thresholds are this module's constants, fixed before any measurement and blind to latency.

    Args:
        facts: the fields of `Conditions`, by name.
        reference_gflops: what the machine can do, see `reference_gflops`; None is unknown.
    """
    found = []
    other, steal = facts.get("other_cpu_share"), facts.get("steal_share")
    capacities = [probe for name in PROBES if (probe := facts.get(name)) is not None]
    if other is None and steal is None and not capacities:
        return None
    if other is not None and other > OTHER_CPU_SHARE_MAX:
        found.append("other processes")
    if steal is not None and steal > STEAL_SHARE_MAX:
        found.append("stolen time")
    if reference_gflops is not None and any(c < CAPACITY_SHARE_MIN * reference_gflops for c in capacities):
        found.append("low capacity")
    if facts.get("thermal_throttles"):
        found.append("heat")
    return found


def reference_gflops(launches: Iterable[Mapping[str, Any]]) -> float | None:
    """What the machine can do: the 0.9 quantile of all probes around `launches`; None without any."""
    probes = [row[name] for row in launches for name in PROBES if row.get(name) is not None]
    return nearest_rank(probes, _REFERENCE_QUANTILE) if probes else None


def flag(launches: Iterable[dict[str, Any]], reference: float | None) -> bool:
    """Set `disturbed` and `disturbance` in rows of launches that have the fields of `Conditions`.

    Returns:
        Whether a flag changed.
    """
    changed = False
    for row in launches:
        found = disturbances(row, reference)
        flags = {
            "disturbed": None if found is None else bool(found),
            "disturbance": ", ".join(found) if found else None,
        }
        changed |= any(row.get(name) != value for name, value in flags.items())
        row.update(flags)
    return changed


def told(launches: Iterable[Mapping[str, Any]]) -> str | None:
    """What disturbed how many launches, as ``other processes 3, low capacity 1``; None where nothing did."""
    counts = Counter(what for row in launches for what in (row.get("disturbance") or "").split(", ") if what)
    return ", ".join(f"{what} {count}" for what, count in sorted(counts.items())) or None


class Watch:
    """Watches the machine from its creation until `stop`; sleeps in between.

    Whoever measures creates it before the worker starts and stops it after the worker was reaped, so
    that the worker's own CPU time is known and is not taken for somebody else's.
    """

    def __init__(self, cpus: int | None = None) -> None:
        """Begin; `cpus` of its cores are what the worker is held to, None is all."""
        self._cores = cores_of_a_launch(cpus)
        self.before_gflops = capacity_gflops()
        self._load_1m = _load_1m()
        self._started_s = time.monotonic()
        self._own_s = _own_cpu_s()
        self._times = _cpu_times(self._cores)
        self._throttled_s, self._heat = container.throttled_s(), _thermal_throttles()

    def stop(self) -> Conditions:
        """The conditions since the creation."""
        times, own_s = _cpu_times(self._cores), _own_cpu_s() - self._own_s
        available_s = (time.monotonic() - self._started_s) * len(times)

        def spent_s(*kinds: str) -> float:
            pairs = zip(self._times, times, strict=True)
            return sum(getattr(t, n, 0.0) - getattr(s, n, 0.0) for s, t in pairs for n in kinds)

        busy_s, steal_s = spent_s("user", "nice", "system", "irq", "softirq"), spent_s("steal")
        return Conditions(
            capacity_before_gflops=self.before_gflops,
            capacity_after_gflops=capacity_gflops(),
            other_cpu_share=max(0.0, (busy_s - own_s) / available_s) if available_s > 0 else None,
            steal_share=steal_s / available_s if available_s > 0 and hasattr(times[0], "steal") else None,
            load_1m=self._load_1m,
            throttled_s=_since(self._throttled_s, container.throttled_s()),
            thermal_throttles=_since(self._heat, _thermal_throttles()),
            on_battery=on_battery(),
        )


class Observer:
    """Watches launches, and waits before them for a quiet machine, for `wait_left_s` seconds more in all."""

    def __init__(self, wait_s: float) -> None:
        self.wait_left_s = wait_s
        self._noisy = False

    def watch(self, reference: float | None, on_wait: Callable[[], None], cpus: int | None = None) -> Watch:
        """Start to watch a launch, after a wait where the machine is or was just not quiet.

        Args:
            reference: capacity in GFLOP/s, see `reference_gflops`.
            on_wait: called about twice a second while waiting.
            cpus: how many of its cores the launch is held to; None is all.
        """
        watch = Watch(cpus)
        noisy = self._noisy or bool(disturbances({"capacity_before_gflops": watch.before_gflops}, reference))
        while noisy and self.wait_left_s > 0:
            on_wait()
            began = time.monotonic()
            time.sleep(min(_LOOK_S, self.wait_left_s))
            noisy = bool(disturbances(vars(watch.stop()), reference))
            watch = Watch(cpus)
            self.wait_left_s -= time.monotonic() - began
        return watch

    def conclude(self, watch: Watch, reference: float | None) -> Conditions:
        """The conditions of the launch that `watch` was started for."""
        conditions = watch.stop()
        self._noisy = bool(disturbances(vars(conditions), reference))
        return conditions


def capacity_gflops() -> float:
    """What the machine computes right now: the median rate of a few float32 GEMMs on all usable cores.

    However many threads a shell's OMP_NUM_THREADS or the like leaves to BLAS.
    """
    matrix = np.ones((_PROBE_SIZE, _PROBE_SIZE), dtype=np.float32)
    product = np.empty_like(matrix)
    rates = []
    cores = cores_of_a_launch()
    with _thread_pools().limit(limits=len(cores) if cores else os.cpu_count(), user_api="blas"):
        np.matmul(matrix, matrix, out=product)
        for _ in range(_PROBE_REPEATS):
            began = time.perf_counter_ns()
            np.matmul(matrix, matrix, out=product)
            rates.append(2 * _PROBE_SIZE**3 / (time.perf_counter_ns() - began))
    return float(np.median(rates))


@cache
def _thread_pools() -> ThreadpoolController:
    """The thread pools of the libraries that are loaded, found once: to look for them takes a while."""
    return ThreadpoolController()


def _cpu_times(cores: list[int] | None) -> list[Any]:
    """What each of these cores did so far, in s, by kind; each one's of all where nobody tells which."""
    times = psutil.cpu_times(percpu=True)
    numbers = _core_numbers()
    by_number = dict(zip(numbers if len(numbers) == len(times) else range(len(times)), times, strict=True))
    return times if cores is None or not by_number.keys() >= set(cores) else [by_number[n] for n in cores]


def _core_numbers() -> list[int]:
    """The numbers of the cores that are told of, in their order; some between may be offline. Linux."""
    try:
        lines = (Path(psutil.PROCFS_PATH) / "stat").read_text(encoding="ascii").splitlines()
    except (AttributeError, OSError):
        return []
    return [int(found[1]) for line in lines if (found := re.match(r"cpu(\d+) ", line))]


def _own_cpu_s() -> float:
    """CPU seconds of this process and of the children it has reaped."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _load_1m() -> float | None:
    try:
        return os.getloadavg()[0]
    except OSError:  # a sandbox without /proc
        return None


def on_battery() -> bool | None:
    """Whether the machine runs on its battery; None where there is none to be seen."""
    try:
        battery = psutil.sensors_battery() if hasattr(psutil, "sensors_battery") else None
    except (OSError, NotImplementedError):  # some kernels and sandboxes lack the folder it reads
        return None
    return None if battery is None else not battery.power_plugged


def _thermal_throttles() -> int | None:
    """How often the cores have slowed down for heat, Linux; None where nobody counts."""
    counters = Path("/sys/devices/system/cpu").glob("cpu[0-9]*/thermal_throttle/core_throttle_count")
    try:
        counts = [int(counter.read_text(encoding="ascii")) for counter in counters]
    except (OSError, ValueError):
        return None
    return sum(counts) if counts else None


def _since(before: Any, after: Any) -> Any:
    return None if before is None or after is None else after - before
