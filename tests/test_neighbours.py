"""Nearest neighbours: the search held against a plain one, overlaps against hand-counted ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import neighbours
from harness.neighbours import index_overlap, nearest, neighbour_overlap, search

if TYPE_CHECKING:
    from numpy.typing import NDArray

property_test = settings(deadline=None, max_examples=30, derandomize=True)


def unit(seed: int, n: int, dim: int = 8) -> NDArray[np.float32]:
    """Random unit vectors."""
    rows = np.random.default_rng(seed).normal(size=(n, dim))
    vectors: NDArray[np.float32] = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return vectors


def circle(*degrees: float) -> NDArray[np.float32]:
    """Unit vectors in the plane."""
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


@pytest.mark.parametrize("depth", [3, 10, 100])
def test_search_in_blocks_finds_what_a_plain_one_does(monkeypatch: pytest.MonkeyPatch, depth: int) -> None:
    monkeypatch.setattr(neighbours, "ROWS_AT_ONCE", 7)
    monkeypatch.setattr(neighbours, "_QUERIES_AT_ONCE", 4)
    queries, documents = unit(0, 9), unit(1, 61)
    expected = np.argsort(-(queries.astype(np.float64) @ documents.T.astype(np.float64)), axis=1)
    np.testing.assert_array_equal(search(queries, documents, depth=depth), expected[:, :depth])


def test_of_documents_that_are_as_near_the_lower_row_comes_first_across_blocks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(neighbours, "ROWS_AT_ONCE", 2)
    far, near = (0.0, 1.0), (1.0, 0.0)
    documents = np.array([far, near, near, far, near], dtype=np.float32)
    found = search(np.array([near], dtype=np.float32), documents, depth=4)
    assert found.tolist() == [[1, 2, 4, 0]]


@pytest.mark.parametrize("n_queries", [1, 5, 33])
def test_equal_documents_are_as_near_wherever_they_stand(n_queries: int) -> None:
    """What rounding adds to an inner product depends on where in a block a row stands."""
    queries = unit(0, n_queries, 384)
    for n in (19, 26, 33, 54, 61, 75, neighbours.ROWS_AT_ONCE + 3):
        documents = np.repeat(unit(1, 1, 384), n, axis=0)
        documents[:, 0] = np.where(np.arange(n) % 2, 0.0, -0.0)
        found = search(queries, documents, depth=101)
        np.testing.assert_array_equal(found, [range(min(n, 101))] * n_queries)


@property_test
@given(st.lists(st.integers(0, 5), min_size=1, max_size=40), st.integers(1, 12))
def test_of_documents_that_repeat_every_one_is_found_in_its_order(which: list[int], depth: int) -> None:
    """Small whole numbers: no product is rounded, and documents that differ can be as near."""
    distinct = np.array([[1, 0, 2], [0, 1, 2], [2, 1, 0], [0, 0, 1], [1, 1, 1], [2, 2, 0]], dtype=np.float32)
    queries, documents = np.array([[1, 1, 0], [0, 0, 1]], dtype=np.float32), distinct[which]
    expected = np.argsort(-(queries @ documents.T), axis=1, kind="stable")[:, :depth]
    np.testing.assert_array_equal(search(queries, documents, depth=depth), expected)


def test_an_embedding_agrees_with_itself_on_all_neighbours() -> None:
    vectors = np.random.default_rng(1).normal(size=(40, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    assert neighbour_overlap(vectors, vectors).tolist() == [1.0] * 40


def test_unrelated_embeddings_agree_as_often_as_chance() -> None:
    rng = np.random.default_rng(2)
    first, second = (rng.normal(size=(200, 16)).astype(np.float32) for _ in range(2))
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    second /= np.linalg.norm(second, axis=1, keepdims=True)
    overlap = neighbour_overlap(first, second)
    assert overlap.mean() == pytest.approx(10 / 199, abs=0.02)
    assert set((overlap * 10).round(9)) <= set(range(11))


def test_the_overlap_of_four_texts_is_the_hand_counted_one() -> None:
    # Nearest by angle: 0→10, 10→0, 50→65, 65→50; in the reference 0→20, 10→20, 20→10, 90→20.
    vectors, reference = circle(0, 10, 50, 65), circle(0, 10, 18, 90)
    # Text 0: {1} and {1}; text 1: {0} and {2}; text 2: {3} and {1}; text 3: {2} and {2}.
    assert neighbour_overlap(vectors, reference, neighbours=1).tolist() == [1.0, 0.0, 0.0, 1.0]
    # Two neighbours: text 0 {1,2}, {1,2}; 1 {0,2}, {2,0}; 2 {3,1}, {1,0}; 3 {2,1}, {2,1}.
    assert neighbour_overlap(vectors, reference, neighbours=2).tolist() == [1.0, 1.0, 0.5, 1.0]


@property_test
@given(st.permutations(range(30)))
def test_the_order_of_the_texts_does_not_change_their_overlap(order: list[int]) -> None:
    rng = np.random.default_rng(4)
    vectors = rng.normal(size=(30, 6)).astype(np.float32)
    reference = (vectors + rng.normal(scale=0.7, size=vectors.shape)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    reference /= np.linalg.norm(reference, axis=1, keepdims=True)
    before = neighbour_overlap(vectors, reference)
    assert 0.2 < before.mean() < 0.95
    assert neighbour_overlap(vectors[order], reference[order]).tolist() == before[order].tolist()


def test_the_overlap_compares_embeddings_of_different_dimensions() -> None:
    flat = circle(*range(0, 120, 10))
    padded = np.concatenate([flat, np.zeros_like(flat)], axis=1)
    assert neighbour_overlap(flat, padded, neighbours=11).tolist() == [1.0] * 12


def test_the_overlap_refuses_too_few_texts_and_unequal_numbers() -> None:
    with pytest.raises(ValueError, match="10 and 10"):
        neighbour_overlap(circle(*range(10)), circle(*range(10)))
    with pytest.raises(ValueError, match="12 and 11"):
        neighbour_overlap(circle(*range(12)), circle(*range(11)))


def test_queries_of_another_size_than_the_index_are_refused() -> None:
    with pytest.raises(ValueError, match="two matrices of one shape, of more than 10 rows"):
        index_overlap(unit(0, 30, 4), unit(1, 30, 8))
    with pytest.raises(ValueError, match="more than 10 rows"):
        index_overlap(unit(0, 10), unit(0, 10))


def test_a_text_is_never_its_own_neighbour_and_no_more_than_a_block_is_compared_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    vectors, twins = unit(1, 40), np.ones((12, 1), dtype=np.float32)
    plain = vectors @ vectors.T
    np.fill_diagonal(plain, -np.inf)
    expected = np.argsort(-plain, axis=1)[:, :10]
    sizes: list[tuple[int, ...]] = []
    sort = np.argsort
    monkeypatch.setattr(neighbours, "ROWS_AT_ONCE", 7)
    monkeypatch.setattr(neighbours, "_QUERIES_AT_ONCE", 4)
    monkeypatch.setattr(np, "argsort", lambda of, **kw: sizes.append(of.shape) or sort(of, **kw))
    found = nearest(vectors, vectors, neighbours=10)
    monkeypatch.setattr(np, "argsort", sort)
    np.testing.assert_array_equal(found, expected)
    assert max(rows * columns for rows, columns in sizes[:-1]) <= 4 * (7 + 11)
    alike = nearest(twins, twins, neighbours=3)
    assert not (alike == np.arange(12)[:, None]).any(), "of texts that are all alike too"
