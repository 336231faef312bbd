"""Quality of a run's vectors over the labelled pairs: pure functions of matrices."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from harness import stats
from harness.neighbours import index_overlap, neighbour_overlap

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

# Of the bootstraps: the same vectors give the same intervals.
SEED = 20251101


def quality_columns(
    vectors: NDArray[np.float32], reference: NDArray[np.float32], similar: Sequence[bool]
) -> dict[str, float | bool | None]:
    """Every quality column of a run.

    Args:
        vectors: [2 n_pairs, dim]; rows 2i and 2i + 1 are the sentences of pair i.
        reference: the model's own fp32 vectors of the same texts, [2 n_pairs, dim_reference].
        similar: [n_pairs], the label of each pair.

    Returns:
        Column name to value. Where a vector is not finite, `finite` is False and the rest is None: a
        mean over the finite ones would hide it.
    """
    columns: dict[str, float | bool | None] = dict.fromkeys(QUALITY_COLUMNS)
    columns["finite"] = bool(np.isfinite(vectors).all())
    if not columns["finite"]:
        return columns
    norms = np.linalg.norm(vectors.astype(np.float64), axis=1)
    columns["l2_norm_mean"] = float(norms.mean())
    columns["l2_norm_max_error"] = float(np.abs(norms - 1.0).max())

    labels = np.asarray(similar, dtype=bool)
    cosine = stats.cosines(vectors[0::2], vectors[1::2])
    if np.isfinite(cosine).all():
        columns.update(_separation(cosine[labels], cosine[~labels]))
    if vectors.shape == reference.shape:
        to_reference = stats.cosines(vectors, reference)
        if np.isfinite(to_reference).all():
            columns["parity_cosine_min"] = float(to_reference.min())
            columns["parity_cosine_mean"] = float(to_reference.mean())
            columns["parity_cosine_mean_low"], columns["parity_cosine_mean_high"] = stats.bootstrap_interval(
                stats.mean_difference, to_reference, np.zeros(1), seed=SEED
            )
    overlaps = {"neighbour_overlap": neighbour_overlap(vectors, reference)}
    if vectors.shape == reference.shape:
        overlaps["index_overlap"] = index_overlap(vectors, reference)
    for name, overlap in overlaps.items():
        columns[name] = float(overlap.mean())
        columns[f"{name}_low"], columns[f"{name}_high"] = stats.bounded_mean_interval(overlap)
    return columns


QUALITY_COLUMNS = (
    "finite",
    "l2_norm_mean",
    "l2_norm_max_error",
    "similar_mean",
    "similar_mean_low",
    "similar_mean_high",
    "dissimilar_mean",
    "dissimilar_mean_low",
    "dissimilar_mean_high",
    "separation",
    "separation_low",
    "separation_high",
    "separation_auc",
    "separation_auc_low",
    "separation_auc_high",
    "separation_standardized",
    "separation_standardized_low",
    "separation_standardized_high",
    "parity_cosine_min",
    "parity_cosine_mean",
    "parity_cosine_mean_low",
    "parity_cosine_mean_high",
    "neighbour_overlap",
    "neighbour_overlap_low",
    "neighbour_overlap_high",
    "index_overlap",
    "index_overlap_low",
    "index_overlap_high",
)


def _separation(similar: NDArray[np.float64], dissimilar: NDArray[np.float64]) -> dict[str, float | None]:
    none = np.zeros(1)
    area = stats.auc(similar, dissimilar)
    intervals = {
        "similar_mean": stats.bootstrap_interval(stats.mean_difference, similar, none, seed=SEED),
        "dissimilar_mean": stats.bootstrap_interval(stats.mean_difference, dissimilar, none, seed=SEED),
        "separation": stats.bootstrap_interval(stats.mean_difference, similar, dissimilar, seed=SEED),
        "separation_auc": stats.auc_interval(area, similar.size, dissimilar.size),
    }
    columns: dict[str, float | None] = {
        "similar_mean": float(similar.mean()),
        "dissimilar_mean": float(dissimilar.mean()),
        "separation": float(similar.mean() - dissimilar.mean()),
        "separation_auc": area,
    }
    standardized = stats.standardized_difference(similar[None], dissimilar[None]).item()
    if np.isfinite(standardized):
        columns["separation_standardized"] = standardized
        with np.errstate(invalid="ignore"):  # a resample without spread
            interval = stats.bootstrap_interval(stats.standardized_difference, similar, dissimilar, seed=SEED)
        if np.isfinite(np.array(interval, dtype=np.float64)).all():
            intervals["separation_standardized"] = interval
    for name, (low, high) in intervals.items():
        columns[f"{name}_low"], columns[f"{name}_high"] = low, high
    return columns
