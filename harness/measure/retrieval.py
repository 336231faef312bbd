"""Retrieval on the user's own documents: what an exact search finds of what is relevant."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from harness import stats
from harness.measure.vectors import first_wrong
from harness.neighbours import search

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

    from harness.datasets import Retrieval

# The deepest rank that a metric looks at.
DEPTH = 100
METRICS = ("ndcg_at_10", "recall_at_10", "recall_at_100", "mrr_at_10")
RETRIEVAL_COLUMNS = (
    *(f"{name}{end}" for name in METRICS for end in ("", "_low", "_high")),
    "ndcg_at_10_by_query",
    "retrieval_queries",
    "retrieval_documents",
    "retrieval_sha256",
)


def query_metrics(ranking: Sequence[int], relevant: Mapping[int, int]) -> dict[str, float]:
    """`METRICS` of one query, by the definitions of trec_eval 9 (github.com/usnistgov/trec_eval).

    nDCG@10 is the sum of grade / log2(rank + 1) over the first 10 found, over that of the best order of all
    that is relevant (``m_ndcg_cut.c``: gains are the grades as they are). Recall@k is the share of what is
    relevant among the first k (``m_recall.c``), MRR@10 one over the rank of the first relevant one, 0 where
    it is deeper (``m_recip_rank.c`` cut at 10). All are 0 for a query that nothing is relevant to.

    Example: grades {a: 2, b: 1}, found b, x, a: DCG 1 + 2 / log2 4 = 2, best 2 + 1 / log2 3 = 2.6309,
    nDCG 0.7602; recall 1; MRR 1.

    Args:
        ranking: rows of documents, nearest first.
        relevant: row of a document to its grade, over 0.
    """
    if not relevant:
        return dict.fromkeys(METRICS, 0.0)
    hits = [rank for rank, row in enumerate(ranking, start=1) if row in relevant]
    found = _gain(relevant.get(row, 0) for row in ranking[:10])
    best = _gain(sorted(relevant.values(), reverse=True)[:10])
    return {
        "ndcg_at_10": found / best,
        "recall_at_10": sum(rank <= 10 for rank in hits) / len(relevant),
        "recall_at_100": sum(rank <= 100 for rank in hits) / len(relevant),
        "mrr_at_10": 1 / hits[0] if hits and hits[0] <= 10 else 0.0,
    }


def _gain(grades: Iterable[int]) -> float:
    return sum(grade / math.log2(rank + 1) for rank, grade in enumerate(grades, start=1))


def retrieval_columns(
    queries: NDArray[np.float32], documents: NDArray[np.float32], judged: Retrieval
) -> dict[str, Any]:
    """The mean of each metric over the queries, its interval, and the nDCG of each query.

    A document that is the query itself, of the same id and text, is left out, as BEIR does it, unless it is
    judged relevant; of another text it is another document that happens to bear the same number. The interval
    of a mean is Hoeffding's (`stats.bounded_mean_interval`): true at any number of queries, and wide.

    Args:
        queries: [n_queries, dim], in the order of ``judged.queries``.
        documents: [n_documents, dim], in the order of ``judged.documents``; large ones mapped from a file.
        judged: what is relevant.

    Returns:
        `RETRIEVAL_COLUMNS` to values; no metric where a vector is not finite, or zero, and so near to none.
    """
    columns: dict[str, Any] = dict.fromkeys(RETRIEVAL_COLUMNS)
    columns["retrieval_queries"] = len(judged.queries)
    columns["retrieval_documents"] = len(judged.documents)
    columns["retrieval_sha256"] = judged.sha256
    if any(first_wrong(vectors, normalize=False) for vectors in (queries, documents)):
        return columns
    by_query = []
    rankings = search(queries, documents, depth=DEPTH + 1).tolist()
    for itself, ranking, relevant in zip(judged.itself, rankings, judged.relevant, strict=True):
        others = [row for row in ranking if row != itself or row in relevant]
        by_query.append(query_metrics(others[:DEPTH], relevant))
    for name in METRICS:
        values = [metrics[name] for metrics in by_query]
        columns[name] = float(np.mean(values))
        columns[f"{name}_low"], columns[f"{name}_high"] = stats.bounded_mean_interval(values)
    columns["ndcg_at_10_by_query"] = [metrics["ndcg_at_10"] for metrics in by_query]
    return columns


def paired_difference(
    first: ArrayLike, second: ArrayLike, *, alpha: float = stats.ALPHA
) -> tuple[float, stats.Interval]:
    """How much higher the mean of `second` is than that of `first`, paired by query, with its interval.

    Student's t on the differences, which agrees with the randomisation test and the bootstrap on retrieval
    metrics (Smucker, Allan & Carterette 2007, CIKM, 623-632). Both ends are None where it says nothing: under
    two queries, or the same difference at every one.

    Args:
        first: a metric of each query in one run [n_queries], such as the column ``ndcg_at_10_by_query``.
        second: the same queries, in the same order, in another: runs of equal ``retrieval_sha256``.
        alpha: error rate of the interval.

    Raises:
        ValueError: different numbers of queries, none, or a value that is not finite.
    """
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if a.shape != b.shape or a.size == 0:
        raise ValueError(f"paired_difference needs the same queries of both: {a.size} and {b.size}")
    differences = b - a
    interval = stats.mean_interval(differences, alpha=alpha)
    return float(differences.mean()), interval
