"""Quality columns: what perfect, useless and broken vectors give."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

from harness import stats
from harness.decision import decide
from harness.measure.quality import QUALITY_COLUMNS, quality_columns
from harness.neighbours import neighbour_overlap
from harness.record import RUN_COLUMNS
from harness.texts import quality_pairs
from tests.conftest import run_row

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from harness.artifacts.manifest import Artifact

PAIRS = 40
LABELS = [index % 2 == 0 for index in range(PAIRS)]
INTERVALS = ("similar_mean", "dissimilar_mean", "separation", "separation_auc", "neighbour_overlap")


def perfect() -> NDArray[np.float32]:
    """Similar pairs are one vector twice, everything else is orthogonal."""
    vectors = np.eye(2 * PAIRS, dtype=np.float32)
    for pair, similar in enumerate(LABELS):
        if similar:
            vectors[2 * pair + 1] = vectors[2 * pair]
    return vectors


def noisy(seed: int = 0, noise: float = 1.0) -> NDArray[np.float32]:
    """Similar pairs share a direction, with noise; unit vectors."""
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(2 * PAIRS, 16))
    for pair, similar in enumerate(LABELS):
        if similar:
            vectors[2 * pair + 1] = vectors[2 * pair] + noise * rng.normal(size=16)
    unit: NDArray[np.float32] = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return unit


def columns_of(
    vectors: NDArray[np.float32],
    reference: NDArray[np.float32] | None = None,
    labels: list[bool] | None = None,
) -> dict[str, float]:
    """The columns, known to be numbers."""
    found = quality_columns(vectors, vectors if reference is None else reference, labels or LABELS)
    return {name: value for name, value in found.items() if value is not None}


def test_the_columns_are_declared_and_no_more_and_no_less() -> None:
    assert tuple(quality_columns(perfect(), perfect(), LABELS)) == QUALITY_COLUMNS
    declared = {column.name: column for column in RUN_COLUMNS}
    assert set(QUALITY_COLUMNS) <= set(declared)
    assert all(declared[name].nullable for name in QUALITY_COLUMNS)


def test_values_are_plain_numbers_of_the_declared_type() -> None:
    dtypes = {column.name: column.dtype for column in RUN_COLUMNS}
    found = quality_columns(noisy(), noisy(), LABELS)
    for name, value in found.items():
        assert type(value) is {"bool": bool, "double": float}[dtypes[name]], name


def test_perfect_vectors_are_perfect() -> None:
    found = columns_of(perfect())
    assert found["finite"] is True
    assert found["l2_norm_mean"] == pytest.approx(1.0)
    assert found["l2_norm_max_error"] == pytest.approx(0.0, abs=1e-7)
    assert found["similar_mean"] == pytest.approx(1.0)
    assert found["dissimilar_mean"] == pytest.approx(0.0)
    assert found["separation"] == pytest.approx(1.0)
    assert found["separation_auc"] == 1.0
    assert found["separation_auc_low"] < 1.0, "no evidence of 40 pairs is certain"
    assert found["parity_cosine_min"] == pytest.approx(1.0)
    assert found["parity_cosine_mean"] == pytest.approx(1.0)
    assert found["neighbour_overlap"] == 1.0
    assert found["neighbour_overlap_low"] < 1.0


def test_one_constant_vector_separates_nothing() -> None:
    constant = np.full((2 * PAIRS, 16), 0.25, dtype=np.float32)
    found = columns_of(constant, reference=noisy())
    assert found["finite"] is True
    assert found["l2_norm_max_error"] == pytest.approx(0.0, abs=1e-6)
    assert found["similar_mean"] == pytest.approx(1.0)
    assert found["dissimilar_mean"] == pytest.approx(1.0)
    assert found["separation"] == pytest.approx(0.0, abs=1e-9)
    assert found["separation_auc"] == pytest.approx(0.5)
    assert found["neighbour_overlap"] < 0.4


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", [(0, 0), (2 * PAIRS - 1, 15), (slice(None), slice(None))])
def test_vectors_that_are_not_finite_have_no_other_figure(
    value: float, where: tuple[int | slice, int | slice]
) -> None:
    vectors = noisy()
    vectors[where] = value
    found = quality_columns(vectors, noisy(), LABELS)
    assert found.pop("finite") is False
    assert len(found) == len(QUALITY_COLUMNS) - 1
    assert set(found.values()) == {None}


@pytest.mark.parametrize("scale", [0.5, 1.001, 20.0])
def test_scaled_vectors_show_in_their_norm_alone(scale: float) -> None:
    found, plain = columns_of(noisy() * np.float32(scale), noisy()), columns_of(noisy())
    assert found["l2_norm_mean"] == pytest.approx(scale, rel=1e-6)
    assert found["l2_norm_max_error"] == pytest.approx(abs(scale - 1), rel=1e-3)
    for name in ("similar_mean", "separation", "separation_auc", "parity_cosine_min"):
        assert found[name] == pytest.approx(plain[name], abs=1e-6)


def test_the_worst_norm_counts_not_the_mean() -> None:
    vectors = noisy()
    vectors[3] *= np.float32(1.5)
    found = columns_of(vectors, noisy())
    assert found["l2_norm_max_error"] == pytest.approx(0.5, abs=1e-6)
    assert found["l2_norm_mean"] == pytest.approx(1.0, abs=0.01)


def test_a_vector_of_zeros_leaves_cosines_unknown_instead_of_guessed() -> None:
    vectors = noisy()
    vectors[0] = 0
    found = quality_columns(vectors, noisy(), LABELS)
    assert found["finite"] is True
    assert found["l2_norm_max_error"] == 1.0
    for name in ("similar_mean", "separation", "separation_low", "separation_auc", "parity_cosine_min"):
        assert found[name] is None, name


def test_means_are_of_the_pairs_with_that_label() -> None:
    vectors = noisy()
    cosine = (vectors[0::2].astype(np.float64) * vectors[1::2]).sum(axis=1)
    labels = np.array(LABELS)
    found = columns_of(vectors)
    assert found["similar_mean"] == pytest.approx(cosine[labels].mean(), abs=1e-6)
    assert found["dissimilar_mean"] == pytest.approx(cosine[~labels].mean(), abs=1e-6)
    assert found["separation"] == pytest.approx(found["similar_mean"] - found["dissimilar_mean"])
    assert 0.5 < found["separation_auc"] < 1.0
    higher = cosine[labels][:, None] > cosine[~labels][None, :]
    assert found["separation_auc"] == pytest.approx(higher.mean())


def test_swapped_labels_give_the_mirrored_figures() -> None:
    found, swapped = columns_of(noisy()), columns_of(noisy(), labels=[not label for label in LABELS])
    assert swapped["separation_auc"] == pytest.approx(1 - found["separation_auc"])
    assert swapped["separation"] == pytest.approx(-found["separation"])
    assert swapped["similar_mean"] == pytest.approx(found["dissimilar_mean"])


@pytest.mark.parametrize("noise", [0.2, 1.0, 3.0])
@pytest.mark.parametrize("name", INTERVALS)
def test_an_interval_holds_its_value_and_has_width(name: str, noise: float) -> None:
    found = columns_of(noisy(1, noise), noisy(2, noise))
    assert found[f"{name}_low"] <= found[name] <= found[f"{name}_high"]
    assert found[f"{name}_high"] > found[f"{name}_low"]


def test_the_same_vectors_give_the_same_intervals() -> None:
    assert columns_of(noisy()) == columns_of(noisy())


def test_parity_is_the_worst_text_and_the_mean_over_all() -> None:
    reference, vectors = noisy(), noisy()
    vectors[5] = np.roll(vectors[5], 1)
    worst = float(vectors[5].astype(np.float64) @ reference[5])
    found = columns_of(vectors, reference)
    assert found["parity_cosine_min"] == pytest.approx(worst, abs=1e-6)
    assert found["parity_cosine_mean"] == pytest.approx(1 - (1 - worst) / (2 * PAIRS), abs=1e-6)
    assert found["neighbour_overlap"] < 1.0


def test_turning_all_vectors_alike_keeps_the_neighbours_and_loses_parity() -> None:
    rotation, _ = np.linalg.qr(np.random.default_rng(5).normal(size=(16, 16)))
    found = columns_of((noisy() @ rotation).astype(np.float32), noisy())
    assert found["neighbour_overlap"] > 0.99
    assert found["parity_cosine_min"] < 0.9


def test_other_vectors_share_few_neighbours() -> None:
    found = columns_of(noisy(1, noise=100.0), noisy(2, noise=100.0))
    assert found["neighbour_overlap"] < 0.3
    assert found["neighbour_overlap_high"] < 0.5


def test_a_reference_of_another_width_has_neighbours_and_no_parity() -> None:
    vectors = noisy()
    wider = np.concatenate([vectors, np.zeros_like(vectors)], axis=1)
    found = quality_columns(vectors, wider, LABELS)
    assert found["parity_cosine_min"] is None
    assert found["parity_cosine_mean"] is None
    assert found["neighbour_overlap"] == 1.0


def test_the_real_model_separates_the_shipped_pairs(minilm: Artifact) -> None:
    reference = minilm.reference()
    found = columns_of(reference, labels=[pair.similar for pair in quality_pairs()])
    assert found["separation_auc"] > 0.95
    assert found["similar_mean"] > found["dissimilar_mean"] + 0.3
    assert found["l2_norm_max_error"] < 1e-5


def test_the_standardised_separation_is_blind_to_scale_and_origin() -> None:
    # Means 3 and 1, squares 2 + 2 over 2 degrees of freedom: 2 / √2.
    first, second = np.array([[2.0, 4.0]]), np.array([[0.0, 2.0]])
    assert stats.standardized_difference(first, second) == pytest.approx(2 / np.sqrt(2))
    similar, dissimilar = np.random.default_rng(0).normal([[[0.6]], [[0.1]]], 0.1, (2, 3, 50))
    plain = stats.standardized_difference(similar, dissimilar)
    squeezed = stats.standardized_difference(0.7 + 0.3 * similar, 0.7 + 0.3 * dissimilar)
    assert squeezed == pytest.approx(plain)
    assert plain[1] == pytest.approx(stats.standardized_difference(similar[1:2], dissimilar[1:2]).item())


def test_the_interval_of_the_standardised_separation_holds_the_truth_where_cosines_are_skewed() -> None:
    rng = np.random.default_rng(11)
    truth = (5 / 7 - 1 / 6) / np.sqrt((5 / 196 + 5 / 252) / 2)  # of Beta(5, 2) against Beta(1, 5)
    held = 0
    for seed in range(200):
        similar, dissimilar = rng.beta(5, 2, 100), rng.beta(1, 5, 100)
        low, high = stats.bootstrap_interval(
            stats.standardized_difference, similar, dissimilar, seed=seed, resamples=400
        )
        assert low is not None
        assert high is not None
        held += low <= truth <= high
    assert held / 200 >= 0.9


def test_a_standardised_separation_of_cosines_without_spread_is_unknown() -> None:
    columns = quality_columns(perfect(), perfect(), LABELS)
    assert columns["separation"] == pytest.approx(1.0)
    assert columns["separation_standardized"] is columns["separation_standardized_low"] is None


def test_turned_vectors_keep_their_neighbours_and_lose_those_in_the_fp32_index() -> None:
    found = columns_of(noisy()[:, ::-1].copy(), noisy())
    assert found["neighbour_overlap"] == 1.0
    assert found["index_overlap"] < 0.6, "the texts must be indexed anew"
    assert found["index_overlap_low"] < found["index_overlap"] < found["index_overlap_high"]
    assert columns_of(noisy(), noisy())["index_overlap"] == 1.0


def test_the_mean_cosine_to_the_reference_has_an_interval_that_ends_at_one() -> None:
    near = noisy() + 0.05 * np.random.default_rng(5).normal(size=(2 * PAIRS, 16)).astype(np.float32)
    found = columns_of(near, noisy())
    low, mean, high = (found[f"parity_cosine_mean{end}"] for end in ("_low", "", "_high"))
    assert found["parity_cosine_min"] < low < mean < high <= 1.0


def test_cosines_squeezed_into_e5s_range_change_no_ranking_and_only_the_policy_with_absolute_gates(
    minilm: Artifact,
) -> None:
    """With √0.7 before √0.3 v, every cosine c of unit vectors v becomes 0.7 + 0.3 c."""
    vectors, labels = minilm.reference(), [pair.similar for pair in quality_pairs()]
    shared = np.full((len(vectors), 1), np.sqrt(0.7))
    squeezed = np.hstack([shared, np.sqrt(0.3) * vectors]).astype(np.float32)
    plain, e5 = columns_of(vectors, labels=labels), columns_of(squeezed, labels=labels)
    cosines = stats.cosines(vectors[0::2], vectors[1::2])
    assert stats.cosines(squeezed[0::2], squeezed[1::2]) == pytest.approx(0.7 + 0.3 * cosines, abs=1e-6)
    for name in ("separation_auc", "separation_auc_low", "separation_auc_high"):
        assert e5[name] == pytest.approx(plain[name], abs=1e-3)
    assert stats.spearman(labels, 0.7 + 0.3 * cosines) == pytest.approx(stats.spearman(labels, cosines))
    assert neighbour_overlap(squeezed, vectors).mean() == pytest.approx(1.0, abs=1e-3)
    assert e5["separation"] == pytest.approx(0.3 * plain["separation"], abs=1e-5)

    runs = pd.DataFrame([run_row(**e5)])
    default, documents = decide(runs, "default"), decide(runs, "documents")
    assert (default.verdict, documents.verdict) == ("GO", "NO_GO")
    assert any("must gate fails: separation is" in reason for reason in documents.reasons)
    (said,) = (note for note in default.candidates[0].notes if "the scale of this model's cosines" in note)
    assert "the absolute gates on separation" in said
