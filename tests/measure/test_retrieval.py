"""Retrieval: metrics against hand-computed ones, pairs of runs."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from harness.datasets import Retrieval, read_retrieval
from harness.measure.retrieval import (
    RETRIEVAL_COLUMNS,
    paired_difference,
    query_metrics,
    retrieval_columns,
)
from harness.record import RUN_COLUMNS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from harness.provider import EmbeddingProvider

SMALL = Path(__file__).resolve().parent.parent / "data" / "retrieval"


def unit(seed: int, n: int, dim: int = 8) -> NDArray[np.float32]:
    rows = np.random.default_rng(seed).normal(size=(n, dim))
    vectors: NDArray[np.float32] = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return vectors


def judged(relevant: list[dict[int, int]], documents: int = 4, *, itself: int | None = None) -> Retrieval:
    names = tuple(f"d{n}" for n in range(documents))
    queries = tuple(f"q{n}" for n in range(len(relevant)))
    return Retrieval("a" * 64, names, names, queries, queries, tuple(relevant), (itself,) * len(relevant))


# --- metrics, by hand


@pytest.mark.parametrize(
    ("ranking", "relevant", "expected"),
    [
        # DCG 1/1 + 2/log2(4) = 2; best 2/1 + 1/log2(3) = 2.630930.
        ([1, 9, 0], {0: 2, 1: 1}, (2 / 2.630930, 1.0, 1.0, 1.0)),
        # Found at rank 3 of 1: 1/log2(4) = 0.5 over 1.
        ([7, 8, 0], {0: 1}, (0.5, 1.0, 1.0, 1 / 3)),
        # At rank 11: beyond 10, within 100.
        ([*range(1, 11), 0], {0: 1}, (0.0, 0.0, 1.0, 0.0)),
        # One of two at rank 10: 1/log2(11) = 0.289065 over 1 + 1/log2(3) = 1.630930.
        ([*range(1, 10), 0], {0: 1, 99: 1}, (0.289065 / 1.630930, 0.5, 0.5, 0.1)),
        ([1, 2], {0: 1}, (0.0, 0.0, 0.0, 0.0)),
        ([1, 2], {}, (0.0, 0.0, 0.0, 0.0)),
    ],
)
def test_metrics_are_trec_evals(
    ranking: list[int], relevant: dict[int, int], expected: tuple[float, ...]
) -> None:
    assert tuple(query_metrics(ranking, relevant).values()) == pytest.approx(expected, abs=1e-6)


def test_the_best_order_is_cut_at_ten_too_and_recall_is_not() -> None:
    relevant = dict.fromkeys(range(20), 1)
    found = query_metrics(list(range(20)), relevant)
    assert (found["ndcg_at_10"], found["recall_at_10"], found["recall_at_100"]) == (1.0, 0.5, 1.0)


# --- a run's columns


def test_the_columns_are_declared_and_nullable() -> None:
    declared = {column.name: column for column in RUN_COLUMNS}
    assert all(declared[name].nullable for name in RETRIEVAL_COLUMNS)
    found = retrieval_columns(unit(0, 2), unit(1, 4), judged([{0: 1}, {1: 1}]))
    assert tuple(found) == RETRIEVAL_COLUMNS


def test_a_figure_is_the_mean_over_queries_with_an_interval() -> None:
    documents = np.eye(4, dtype=np.float32)
    found = retrieval_columns(documents[[0, 1]], documents, judged([{0: 1}, {3: 1}]))
    # The second query finds row 1, then rows 0, 2, 3 as near as each other: at rank 4, 1/log2(5).
    assert found["ndcg_at_10_by_query"] == pytest.approx([1.0, 1 / math.log2(5)])
    assert found["ndcg_at_10"] == pytest.approx((1 + 1 / math.log2(5)) / 2)
    assert found["mrr_at_10"] == pytest.approx((1 + 1 / 4) / 2)
    assert found["ndcg_at_10_low"] < found["ndcg_at_10"] < found["ndcg_at_10_high"]
    assert (found["retrieval_queries"], found["retrieval_documents"]) == (2, 4)


@pytest.mark.parametrize(
    ("itself", "relevant", "ndcg"),
    [(0, {1: 1}, 1.0), (None, {0: 1}, 1.0), (None, {1: 1}, 1 / math.log2(3)), (0, {0: 1}, 1.0)],
)
def test_a_document_is_left_out_only_where_it_is_the_query_and_not_judged_relevant(
    itself: int | None, relevant: dict[int, int], ndcg: float
) -> None:
    documents = np.array([(1.0, 0.0), (0.8, 0.6), (0.0, 1.0), (-1.0, 0.0)], dtype=np.float32)
    asked = judged([relevant], itself=itself)
    assert retrieval_columns(documents[:1], documents, asked)["ndcg_at_10"] == pytest.approx(ndcg)


@pytest.mark.parametrize("broken", [np.inf, np.nan, 0.0])
def test_vectors_without_a_direction_give_no_figure(broken: float) -> None:
    """Everything is as near to a zero vector: what is found of it would be a matter of order."""
    documents = unit(1, 4)
    documents[3] *= broken
    for queries, found_in in ((unit(0, 1), documents), (documents[3:], unit(1, 4))):
        found = retrieval_columns(queries, found_in, judged([{0: 1}]))
        assert found["ndcg_at_10"] is found["ndcg_at_10_by_query"] is None
        assert found["retrieval_queries"] == 1


def test_minilm_finds_what_answers_the_questions(provider: EmbeddingProvider) -> None:
    small = read_retrieval(str(SMALL))
    documents = provider.encode(small.documents, prompt="document")
    queries = provider.encode(small.queries, prompt="query")
    found = retrieval_columns(queries, documents, small)
    first_ranks = [
        next(rank for rank, row in enumerate(np.argsort(-(documents @ query)), start=1) if row in relevant)
        for query, relevant in zip(queries, small.relevant, strict=True)
    ]
    assert max(first_ranks) <= 10
    assert found["mrr_at_10"] == pytest.approx(np.mean([1 / rank for rank in first_ranks]))
    assert found["ndcg_at_10"] > 0.8
    assert found["recall_at_100"] == 1.0
    assert found["retrieval_queries"] == 6, "a query that nothing is judged for asks nothing"


# --- two runs


def test_the_difference_of_two_runs_is_paired_by_query() -> None:
    # Differences 0.2, 0, 0.1: mean 0.1, deviation 0.1, t(2) = 4.302653, error 0.1/√3.
    mean, (low, high) = paired_difference([0.5, 0.7, 0.1], [0.7, 0.7, 0.2])
    reach = 4.302653 * 0.1 / math.sqrt(3)
    assert mean == pytest.approx(0.1)
    assert (low, high) == (pytest.approx(0.1 - reach, abs=1e-6), pytest.approx(0.1 + reach, abs=1e-6))


@pytest.mark.parametrize(("first", "second"), [([0.5], [0.7]), ([0.5, 0.7], [0.5, 0.7])], ids=str)
def test_a_difference_that_says_nothing_has_no_interval(first: list[float], second: list[float]) -> None:
    assert paired_difference(first, second)[1] == (None, None)


@pytest.mark.parametrize("second", [[0.1], [], [0.1, math.nan]], ids=str)
def test_runs_over_other_queries_are_not_compared(second: Any) -> None:
    with pytest.raises(ValueError, match=r"queries|finite"):
        paired_difference([0.1, 0.2], second)
