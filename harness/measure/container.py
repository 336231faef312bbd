"""The limits of the control groups this process runs in (cgroup v2 or v1); None where none is to be seen.

A group lies in others, and the narrowest of their limits is the one that counts: a service, a batch job or a
container within a pod is limited by its own group, which is not the root of what is mounted.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_ROOT = Path("/sys/fs/cgroup")
# Which groups the kernel says that this process is in, a line a hierarchy: ``number:controllers:path``, no
# controllers in version 2 (man 7 cgroups).
_OWN = Path("/proc/self/cgroup")
# Version 1 says "no limit" with a number near the largest there is.
_NO_LIMIT_BYTES = 2**60


def cpu_quota(root: Path = _ROOT, own: Path = _OWN) -> float | None:
    """CPUs' worth of time that the quota allows."""
    quotas = (_quota(group) for group in _groups("cpu", root, own))
    return min((quota for quota in quotas if quota is not None), default=None)


def memory_limit_bytes(root: Path = _ROOT, own: Path = _OWN) -> int | None:
    """Bytes that may be resident."""
    limits = (_memory_bytes(group) for group in _groups("memory", root, own))
    return min((limit for limit in limits if limit is not None), default=None)


def memory_free_bytes(root: Path = _ROOT, own: Path = _OWN) -> int | None:
    """Bytes that may become resident beside what the groups hold by now."""
    frees = [
        limit - _held_bytes(group)
        for group in _groups("memory", root, own)
        if (limit := _memory_bytes(group)) is not None
    ]
    return max(0, min(frees)) if frees else None


def throttled_s(root: Path = _ROOT, own: Path = _OWN) -> float | None:
    """Seconds that the CPU quotas of its groups have stopped them for, so far, all together."""
    times = [_stopped_s(group) for group in _groups("cpu", root, own)]
    known = [seconds for seconds in times if seconds is not None]
    return sum(known) if known else None


def _groups(controller: str, root: Path, own: Path) -> Iterator[Path]:
    """The folders of this process's group and of those that it lies in, of both versions.

    In a container the path can be the host's, which does not stand under what is mounted there: the root of
    that is then the container's own group.
    """
    top, path_2, path_1 = PurePosixPath("/"), PurePosixPath("/"), PurePosixPath("/")
    for line in _text(own).splitlines():
        _, controllers, path = line.split(":", maxsplit=2)
        if not controllers:
            path_2 = top / path
        elif controller in controllers.split(","):
            path_1 = top / path
    for mounted, inner in ((root, path_2), (root / controller, path_1)):
        inside = top if ".." in inner.parts else inner  # outside of the namespace that is mounted
        for group in (inside, *inside.parents):
            yield mounted / group.relative_to(top)


def _quota(group: Path) -> float | None:
    if limit := _text(group / "cpu.max").split():
        return None if limit[0] == "max" else int(limit[0]) / int(limit[1])
    quota, period = (_text(group / f"cpu.cfs_{name}_us").split() for name in ("quota", "period"))
    if quota and period and int(quota[0]) > 0:
        return int(quota[0]) / int(period[0])
    return None


def _memory_bytes(group: Path) -> int | None:
    limit = _text(group / "memory.max").split() or _text(group / "memory.limit_in_bytes").split()
    if not limit or limit[0] == "max" or int(limit[0]) >= _NO_LIMIT_BYTES:
        return None
    return int(limit[0])


def _held_bytes(group: Path) -> int:
    """What a group holds, less the cache of files that nobody used lately, which the kernel drops first."""
    used = _text(group / "memory.current").split() or _text(group / "memory.usage_in_bytes").split()
    stat = _text(group / "memory.stat").split()
    names = (name for name in ("total_inactive_file", "inactive_file") if name in stat)  # version 1, or 2
    name = next(names, None)
    return (int(used[0]) if used else 0) - (0 if name is None else int(stat[stat.index(name) + 1]))


def _stopped_s(group: Path) -> float | None:
    words = _text(group / "cpu.stat").split()
    for name, per_s in (("throttled_usec", 1e6), ("throttled_time", 1e9)):
        if name in words:
            return int(words[words.index(name) + 1]) / per_s
    return None


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""
