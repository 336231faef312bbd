"""What this machine can run, how quiet it is, what to fix: ``python -m harness.doctor``."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import psutil

from harness.artifacts.hub import cache_dir
from harness.artifacts.room import available_bytes
from harness.command import run_command
from harness.compose import options_of
from harness.config import load_ep, parse_words
from harness.environment import fingerprint
from harness.errors import BadInputError, UnavailableError, unknown_name
from harness.locks import hold, measuring_lock_path
from harness.measure import container
from harness.measure.disturbance import (
    CAPACITY_SHARE_MIN,
    OTHER_CPU_SHARE_MAX,
    STEAL_SHARE_MAX,
    Watch,
    capacity_gflops,
    on_battery,
)
from harness.measure.limits import known_peaks, machine_peaks, saw_gflops
from harness.measure.timer import timer_cost_ns, timer_resolution_ns
from harness.units import format_bytes, number_in

if TYPE_CHECKING:
    from collections.abc import Iterator

_HELP = """python -m harness.doctor [seconds=3] [force=false]

Tells in a line each what can run here, how well time can be measured, how quiet the machine is over a few
seconds, and what to change. The peaks are measured once and kept; force=true measures them again, and the
higher figure stays. Exit code 0.
"""


@dataclass(frozen=True)
class Finding:
    """One thing looked at; `remedy` is empty where nothing is to be done."""

    what: str
    found: str
    remedy: str = ""


def main(argv: list[str]) -> int:
    """Look, and tell.

    Raises:
        BadInputError: an unknown word.
    """
    if any(word in ("--help", "-h") for word in argv):
        sys.stdout.write(_HELP)
        return 0
    words = parse_words(argv, defaults={"seconds": "3", "force": "false"})
    if words["force"] not in ("true", "false"):
        raise BadInputError(unknown_name("force", words["force"], ("true", "false")))
    seconds = number_in(words["seconds"]) or 0.0
    if not 0.5 <= seconds <= 600:
        raise BadInputError(f"seconds={words['seconds']}: must lie between 0.5 and 600")
    for finding in findings(seconds, force=words["force"] == "true"):
        remedy = f"  → {finding.remedy}" if finding.remedy else ""
        sys.stdout.write(f"{'!' if remedy else ' '} {finding.what:<18} {finding.found}{remedy}\n")
        sys.stdout.flush()
    return 0


def findings(seconds: float, *, force: bool = False) -> Iterator[Finding]:
    """Everything looked at, the quick things first; noise is watched for `seconds`."""
    environment = fingerprint()
    yield Finding("machine", f"{environment.cpu}, {environment.os} (id {environment.machine_id})")
    yield _cores(environment.cores)
    yield _memory()
    yield from _providers()
    yield _cache()
    yield _power()
    yield _timer()
    with hold(measuring_lock_path(), _tell_who_measures):
        machine_peaks(environment.cores, force=force)
        yield from noise(seconds)  # which may have seen a higher one
        yield _peaks(environment.cores)


def _tell_who_measures(who: str) -> None:
    sys.stderr.write(f"waiting: {who} is measuring\n")


def noise(seconds: float) -> Iterator[Finding]:
    """How steady the machine is while nothing is measured."""
    watch = Watch()
    ends = time.monotonic() + seconds
    rates = []
    while time.monotonic() < ends:
        rates.append(capacity_gflops())
        time.sleep(0.1)
    conditions = watch.stop()
    low, high = min(rates), max(rates)
    cores = fingerprint().cores
    saw_gflops(cores, high)
    seen, remedy = known_peaks(cores), ""
    if seen is not None and high < CAPACITY_SHARE_MIN * seen.gflops:
        remedy = f"{seen.gflops:.0f} were seen here: something holds it down; measure at another hour"
    elif low < CAPACITY_SHARE_MIN * high:
        remedy = "it comes and goes: spread the launches with measure.spread=true"
    told = f"{np.median(rates):.0f} GFLOP/s, {low:.0f} to {high:.0f} over {seconds:g} s"
    yield Finding("capacity", told, remedy)
    other = conditions.other_cpu_share or 0.0
    yield Finding(
        "other processes",
        f"{other:.0%} of the usable cores' time",
        "stop what else is running" if other > OTHER_CPU_SHARE_MAX else "",
    )
    if conditions.steal_share is not None:
        stolen = conditions.steal_share > STEAL_SHARE_MAX
        remedy = "the hypervisor gives it to others: use another machine or another hour" if stolen else ""
        yield Finding("stolen time", f"{conditions.steal_share:.1%} of the usable cores' time", remedy)


def _cores(usable: int) -> Finding:
    total = psutil.cpu_count() or usable
    quota = container.cpu_quota()
    limit = "" if quota is None else f", limited to {quota:g} by the container"
    fewer = quota is not None and quota < usable
    remedy = "set threads= to the limit: more are throttled in bursts" if fewer else ""
    return Finding("cores", f"{usable} usable of {total}{limit}", remedy)


def _memory() -> Finding:
    free, total = available_bytes(), psutil.virtual_memory().total
    limit = container.memory_limit_bytes()
    limited = f", limited to {format_bytes(limit)} by the container" if limit is not None else ""
    remedy = "under 2 GiB: larger models will not load" if free < 2 * 2**30 else ""
    return Finding("memory", f"{format_bytes(free)} free of {format_bytes(total)}{limited}", remedy)


def _providers() -> Iterator[Finding]:
    import onnxruntime

    from harness.runtimes.onnxruntime import require_provider

    yield Finding("onnxruntime", str(fingerprint().onnxruntime or onnxruntime.__version__))
    for name in options_of("ep"):
        ep = load_ep(name)
        try:
            require_provider(ep.provider, name, ep.wheel)
            yield Finding(f"ep={name}", "in this build; a run tells whether it loads")
        except UnavailableError:
            yield Finding(f"ep={name}", f"not in this build; it comes with {ep.wheel}")


def _cache() -> Finding:
    root = cache_dir()
    artifacts = [path for path in (root / "artifacts").glob("*/*") if path.is_file()]
    size = format_bytes(sum(path.stat().st_size for path in artifacts))
    return Finding("artifact cache", f"{root}: {size}")


def _power() -> Finding:
    governor = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    setting = governor.read_text(encoding="ascii").strip() if governor.is_file() else None
    if on_battery():
        return Finding("power", "on battery", "plug it in: clocks are held down")
    if setting is not None:
        slow = setting in ("powersave", "conservative")
        remedy = "sudo cpupower frequency-set -g performance" if slow else ""
        return Finding("power", f"governor {setting}", remedy)
    return Finding("power", "no battery and no frequency governor to be seen")


def _peaks(threads: int) -> Finding:
    """The highest that was seen of this machine, which runs are held against."""
    peaks = known_peaks(threads)
    if peaks is None:
        return Finding("peaks", "could not be measured")
    rates = f"{peaks.gflops:.0f} GFLOP/s in float32, {peaks.bandwidth_gb_per_s:.0f} GB/s of memory"
    return Finding("peaks", f"{rates}, with {threads} threads, the highest seen")


def _timer() -> Finding:
    """Resolution and cost of the clock that requests are timed with."""
    resolution_ns, cost_ns = timer_resolution_ns(time.perf_counter_ns), timer_cost_ns(time.perf_counter_ns)
    remedy = "over 1 µs: figures under a millisecond are rough" if cost_ns > 1_000 else ""
    return Finding("timer", f"steps of {resolution_ns} ns, {cost_ns:.0f} ns a reading", remedy)


if __name__ == "__main__":
    sys.exit(run_command(lambda: main(sys.argv[1:])))
