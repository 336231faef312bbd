"""What the measuring process used, read from the operating system; None where it cannot tell."""

from __future__ import annotations

import os
import resource
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterator


class Usage(NamedTuple):
    """Counts of this process since it started.

    A switch is involuntary when the process was taken off a core while it could have gone on; a fault is
    major when its page had to be read from a disk.
    """

    involuntary_switches: int
    voluntary_switches: int
    minor_faults: int
    major_faults: int


def usage() -> Usage:
    """The counts so far."""
    counts = resource.getrusage(resource.RUSAGE_SELF)
    return Usage(counts.ru_nivcsw, counts.ru_nvcsw, counts.ru_minflt, counts.ru_majflt)


def peak_rss_bytes() -> int:
    """The largest resident set of this process so far, in bytes.

    Linux reads ``VmHWM``: ``ru_maxrss`` there survives exec, and so starts at the size of whatever
    process started this one. Elsewhere ``ru_maxrss``: bytes on macOS, KiB on the BSDs.
    """
    try:
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def rss_bytes() -> int:
    """The resident set of this process now, in bytes, to the page.

    Linux's usual figure is a sum of per-core counters that lags by up to some hundred KiB; its
    ``smaps_rollup`` walks the pages instead (about 1 ms).
    """
    try:
        for line in Path("/proc/self/smaps_rollup").read_text(encoding="ascii").splitlines():
            if line.startswith("Rss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return int(psutil.Process().memory_info().rss)


def cores_of_a_launch(cpus: int | None = None) -> list[int] | None:
    """The numbers of the cores that a launch that is held to `cpus` runs on; None where nobody tells."""
    return sorted(os.sched_getaffinity(0))[:cpus] if hasattr(os, "sched_getaffinity") else None


@contextmanager
def held_to_cores(cpus: int | None) -> Iterator[None]:
    """Let this thread, and what it starts meanwhile, run on the first `cpus` of its cores alone; None is all.

    A process that is started so is held from its first instruction: none of its CPU time is elsewhere.

    Raises:
        OSError: the system does not take it.
    """
    if cpus is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores_of_a_launch(cpus) or ())
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
