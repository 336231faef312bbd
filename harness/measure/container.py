"""The limits of the container this process runs in (cgroup v2 or v1); None where there is none to be seen."""

from __future__ import annotations

from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")
# Version 1 says "no limit" with a number near the largest there is.
_NO_LIMIT_BYTES = 2**60


def cpu_quota(root: Path = _ROOT) -> float | None:
    """CPUs' worth of time that the quota allows."""
    if (limit := _words(root / "cpu.max")) and limit[0] != "max":
        return int(limit[0]) / int(limit[1])
    quota, period = (_words(root / "cpu" / f"cpu.cfs_{name}_us") for name in ("quota", "period"))
    if quota and period and int(quota[0]) > 0:
        return int(quota[0]) / int(period[0])
    return None


def memory_limit_bytes(root: Path = _ROOT) -> int | None:
    """Bytes that may be resident."""
    limit = _words(root / "memory.max") or _words(root / "memory" / "memory.limit_in_bytes")
    if not limit or limit[0] == "max" or int(limit[0]) >= _NO_LIMIT_BYTES:
        return None
    return int(limit[0])


def throttled_s(root: Path = _ROOT) -> float | None:
    """Seconds that the CPU quota has stopped this container for, so far."""
    for words, name, per_s in (
        (_words(root / "cpu.stat"), "throttled_usec", 1e6),
        (_words(root / "cpu" / "cpu.stat"), "throttled_time", 1e9),
    ):
        if name in words:
            return int(words[words.index(name) + 1]) / per_s
    return None


def _words(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return []
