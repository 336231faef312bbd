"""A run's vectors of the user's own texts against the model's own fp32 ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness import stats
from harness.datasets import NEIGHBOURS
from harness.measure.vectors import first_wrong
from harness.neighbours import nearest, shared

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from harness.datasets import Texts

TEXTS_COLUMNS = (
    "texts_cosine_min", "texts_cosine_mean", "texts_cosine_mean_low", "texts_cosine_mean_high",
    "texts_overlap", "texts_overlap_low", "texts_overlap_high",
    "texts_index_overlap", "texts_index_overlap_low", "texts_index_overlap_high",
    "texts_count", "texts_file_sha256",
)  # fmt: skip


def texts_columns(
    vectors: NDArray[np.float32], reference: NDArray[np.float32], texts: Texts
) -> dict[str, float | int | str | None]:
    """Cosines to the reference, and how many of the ten nearest neighbours stay.

    The overlap is of one set of vectors with the other, each searched by itself; the index overlap is of the
    fp32 vectors searched by this run's with the same searched by themselves: must the texts be indexed anew?

    Args:
        vectors: [n_texts, dim], L2-normalised.
        reference: the same texts by the fp32 artifact [n_texts, dim].
        texts: what they are of.

    Returns:
        `TEXTS_COLUMNS` to values; no figure where a vector is not finite, or zero, which has no cosine.
    """
    columns: dict[str, float | int | str | None] = dict.fromkeys(TEXTS_COLUMNS)
    columns |= {"texts_count": len(texts.texts), "texts_file_sha256": texts.sha256}
    if any(first_wrong(each, normalize=False) for each in (vectors, reference)):
        return columns
    cosine = stats.cosines(vectors, reference)
    columns["texts_cosine_min"], columns["texts_cosine_mean"] = float(cosine.min()), float(cosine.mean())
    low, high = stats.mean_interval(cosine)
    columns["texts_cosine_mean_low"] = low
    columns["texts_cosine_mean_high"] = None if high is None else min(high, 1.0)  # no cosine is over 1
    expected = nearest(reference, reference, neighbours=NEIGHBOURS)
    for name, index in (("texts_overlap", vectors), ("texts_index_overlap", reference)):
        overlap = shared(nearest(vectors, index, neighbours=NEIGHBOURS), expected)
        columns[name] = float(overlap.mean())
        columns[f"{name}_low"], columns[f"{name}_high"] = stats.bounded_mean_interval(overlap)
    return columns
