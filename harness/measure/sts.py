"""Rank correlation of a run's cosines with human scores: a pure function of a matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from harness import stats

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from harness.datasets import StsPairs

STS_COLUMNS = ("sts_spearman", "sts_spearman_low", "sts_spearman_high", "sts_pairs", "sts_file_sha256")


def sts_columns(vectors: NDArray[np.float32], pairs: StsPairs) -> dict[str, float | int | str | None]:
    """Spearman's correlation (×100) of the pairs' cosines with their scores, its interval, and of what.

    Args:
        vectors: [2 n_pairs, dim]; rows 2i and 2i + 1 are the sentences of pair i.
        pairs: with the scores [n_pairs].

    Returns:
        `STS_COLUMNS` to values. The correlation is None where a cosine is not a number, or all are the same.
    """
    columns: dict[str, float | int | str | None] = dict.fromkeys(STS_COLUMNS)
    columns |= {"sts_pairs": len(pairs.scores), "sts_file_sha256": pairs.sha256}
    cosine = stats.cosines(vectors[0::2], vectors[1::2])
    if not np.isfinite(cosine).all():
        return columns
    rho = stats.spearman(cosine, pairs.scores)
    if not np.isfinite(rho):
        return columns
    low, high = stats.spearman_interval(rho, len(pairs.scores))
    columns["sts_spearman"] = 100 * rho
    columns["sts_spearman_low"] = None if low is None else 100 * low
    columns["sts_spearman_high"] = None if high is None else 100 * high
    return columns
