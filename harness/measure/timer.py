"""What the clock and the timed loop themselves cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

_READINGS = 2_000


def timer_resolution_ns(clock_ns: Callable[[], int]) -> int | None:
    """The smallest step seen between two readings of a clock, in ns; None where it does not move."""
    steps = _steps(clock_ns)
    moved = steps[steps > 0]
    return int(moved.min()) if moved.size else None


def timer_cost_ns(clock_ns: Callable[[], int]) -> float:
    """What one reading of a clock takes, in ns: the median over a few thousand."""
    return float(np.median(_steps(clock_ns)))


def _steps(clock_ns: Callable[[], int]) -> NDArray[np.int64]:
    readings = np.asarray([clock_ns() for _ in range(_READINGS)], dtype=np.int64)
    return readings[1:] - readings[:-1]
