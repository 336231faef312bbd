"""Whether vectors are as they must be: finite, of some direction, and of length 1 where the model says so."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from harness.neighbours import ROWS_AT_ONCE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

# From here on a vector is not one of length 1: no shipped policy's gate on l2_norm_max_error could pass.
NORM_TOLERANCE = 0.05


class Wrong(NamedTuple):
    """The row of a vector that is not as it must be, whether it is finite, and what is wrong, in words."""

    row: int
    finite: bool
    what: str


def first_wrong(vectors: NDArray[np.float32], *, normalize: bool) -> Wrong | None:
    """The first vector that is not finite, or else the first of another length than it must have.

    Args:
        vectors: [n, dim]; those mapped from a file are read block by block.
        normalize: whether they must be of length 1; a length of 0, which has no cosine, is wrong in any case.
    """
    lengths = [length for block in _blocks(vectors) for length in np.linalg.norm(block, axis=1).tolist()]
    of_each = np.asarray(lengths, dtype=np.float64)
    if (lost := np.flatnonzero(~np.isfinite(of_each))).size:
        return Wrong(int(lost[0]), False, "holds NaN or infinity")
    off = (of_each == 0) | (normalize & (np.abs(of_each - 1) > NORM_TOLERANCE))
    if not off.any():
        return None
    row = int(off.argmax())
    return Wrong(row, True, f"has length {of_each[row]:.4g}{', not 1' if normalize else ''}")


def _blocks(vectors: NDArray[np.float32]) -> Iterator[NDArray[np.float64]]:
    for start in range(0, len(vectors), ROWS_AT_ONCE):
        yield vectors[start : start + ROWS_AT_ONCE].astype(np.float64)
