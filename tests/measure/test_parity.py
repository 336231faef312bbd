"""Vectors of the user's own texts against the fp32 ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from harness.datasets import Texts
from harness.measure.parity import TEXTS_COLUMNS, texts_columns
from harness.neighbours import neighbour_overlap
from harness.record import RUN_COLUMNS

if TYPE_CHECKING:
    from numpy.typing import NDArray

N_TEXTS = 40
TEXTS = Texts("c" * 64, tuple(f"text {n}" for n in range(N_TEXTS)), 0)


def unit(seed: int, noise: float = 0.0) -> NDArray[np.float32]:
    rows = np.random.default_rng(0).normal(size=(N_TEXTS, 8))
    rows += noise * np.random.default_rng(seed).normal(size=rows.shape)
    vectors: NDArray[np.float32] = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return vectors


def numbers(vectors: NDArray[np.float32], reference: NDArray[np.float32]) -> dict[str, float]:
    found = texts_columns(vectors, reference, TEXTS)
    return {name: value for name, value in found.items() if isinstance(value, int | float)}


def test_the_columns_are_declared_and_nullable() -> None:
    declared = {column.name: column for column in RUN_COLUMNS}
    assert all(declared[name].nullable for name in TEXTS_COLUMNS)
    assert tuple(texts_columns(unit(1), unit(1), TEXTS)) == TEXTS_COLUMNS


def test_the_same_vectors_share_every_neighbour_and_no_evidence_is_certain() -> None:
    found = numbers(unit(1), unit(1))
    assert found["texts_cosine_min"] == pytest.approx(1.0)
    assert found["texts_overlap"] == found["texts_index_overlap"] == 1.0
    assert found["texts_overlap_low"] < 1.0
    assert found["texts_count"] == N_TEXTS


def test_the_overlap_is_that_of_the_whole_matrix() -> None:
    found = numbers(unit(1, noise=0.4), unit(1))
    expected = neighbour_overlap(unit(1, noise=0.4), unit(1))
    assert found["texts_overlap"] == pytest.approx(expected.mean())
    assert found["texts_cosine_mean_low"] < found["texts_cosine_mean"] < found["texts_cosine_mean_high"]


def test_turned_vectors_keep_their_neighbours_and_lose_those_in_the_old_index() -> None:
    turned = unit(1)[:, ::-1].copy()
    found = numbers(turned, unit(1))
    assert found["texts_overlap"] == 1.0
    assert found["texts_index_overlap"] < 0.6, "the texts must be indexed anew"


def test_vectors_that_are_not_finite_give_no_figure() -> None:
    broken = unit(1)
    broken[3, 0] = np.nan
    found = texts_columns(broken, unit(1), TEXTS)
    assert found["texts_overlap"] is found["texts_cosine_min"] is None
