"""Nearest neighbours, exact and block by block, and how many of them two embeddings share. Pure."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Rows of an index and queries whose similarities are held at a time: 16 MiB of float32, and some times that
# to sort.
ROWS_AT_ONCE = 8_192
_QUERIES_AT_ONCE = 512


def search(queries: NDArray[np.float32], documents: NDArray[np.float32], *, depth: int) -> NDArray[np.int64]:
    """The documents nearest to each query by inner product, nearest first: exact, block by block.

    Of documents that are as near, the one of the lower row comes first; equal ones are as near, wherever they
    stand. `documents` can be mapped from a file: no more than a block of it is read at a time.

    Args:
        queries: [n_queries, dim], L2-normalised and finite.
        documents: [n_documents, dim], L2-normalised and finite.
        depth: how many to find.

    Returns:
        Rows of documents [n_queries, min(depth, n_documents)].
    """
    firsts = _firsts(documents)
    distinct = np.unique(firsts)
    found = []
    for start in range(0, len(queries), _QUERIES_AT_ONCE):
        scores, places = _search_block(queries[start : start + _QUERIES_AT_ONCE], documents, distinct, depth)
        all_differ = len(distinct) == len(documents)
        found.append(distinct[places] if all_differ else _with_equals(scores, places, firsts, depth))
    return np.concatenate(found)


def _firsts(documents: NDArray[np.float32]) -> NDArray[np.int64]:
    """Of each document the lowest row that is equal to it [n_documents], by hashes."""
    digests = bytearray()
    for start in range(0, len(documents), ROWS_AT_ONCE):
        block = documents[start : start + ROWS_AT_ONCE] + np.float32(0)  # -0 is 0
        for row in block:
            digests += hashlib.blake2b(row, digest_size=16).digest()
    _, firsts, which = np.unique(np.frombuffer(digests, dtype="V16"), return_index=True, return_inverse=True)
    return firsts[which]


def _search_block(
    queries: NDArray[np.float32], documents: NDArray[np.float32], distinct: NDArray[np.int64], depth: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The inner products of the nearest of the rows `distinct`, and where they stand in it."""
    best = np.empty((len(queries), 0), dtype=np.float32)
    places = np.empty((len(queries), 0), dtype=np.int64)
    for start in range(0, len(distinct), ROWS_AT_ONCE):
        block = queries @ np.asarray(documents[distinct[start : start + ROWS_AT_ONCE]]).T
        here = np.broadcast_to(np.arange(start, start + block.shape[1]), block.shape)
        best, places = np.hstack([best, block]), np.hstack([places, here])
        order = np.argsort(-best, axis=1, kind="stable")[:, :depth]  # stable: lower rows stand first
        best, places = np.take_along_axis(best, order, 1), np.take_along_axis(places, order, 1)
    return best, places


def _with_equals(
    scores: NDArray[np.float32], places: NDArray[np.int64], firsts: NDArray[np.int64], depth: int
) -> NDArray[np.int64]:
    """The rows of what was found and all that are equal, by inner product and then by row.

    Equal rows have the product of the first of them: what rounding adds to one depends on where in a block
    its row stands.
    """
    rows_in_order = np.argsort(firsts, kind="stable")
    _, starts, counts = np.unique(firsts[rows_in_order], return_index=True, return_counts=True)
    found = []
    for products, standing in zip(scores, places, strict=True):
        each = np.minimum(counts[standing], depth)
        alike = [rows_in_order[start : start + n] for start, n in zip(starts[standing], each, strict=True)]
        rows = np.concatenate(alike)
        found.append(rows[np.lexsort((rows, -np.repeat(products, each)))[:depth]])
    return np.stack(found)


def nearest(
    queries: NDArray[np.float32], index: NDArray[np.float32], *, neighbours: int
) -> NDArray[np.int64]:
    """The rows of an index of the same texts nearest to each query, its own row left out.

    Args:
        queries: [n_texts, dim], L2-normalised and finite.
        index: [n_texts, dim], L2-normalised and finite, rows in the same order.
        neighbours: how many, fewer than there are texts.

    Returns:
        Rows of the index [n_texts, neighbours], nearest first.
    """
    found = search(queries, index, depth=neighbours + 1)
    own = found == np.arange(len(queries))[:, None]
    others_first = np.argsort(own, axis=1, kind="stable")[:, :neighbours]
    return np.take_along_axis(found, others_first, axis=1)


def shared(found: NDArray[np.int64], expected: NDArray[np.int64]) -> NDArray[np.float64]:
    """The share of each row's entries that both have: [n_texts] of [n_texts, neighbours] each."""
    both = [len(np.intersect1d(a, b)) for a, b in zip(found, expected, strict=True)]
    return np.asarray(both, dtype=np.float64) / float(found.shape[1])


def neighbour_overlap(
    vectors: NDArray[np.float32], reference: NDArray[np.float32], *, neighbours: int = 10
) -> NDArray[np.float64]:
    """Per text, the share of its nearest neighbours that two embeddings of the texts agree on.

    Args:
        vectors: [n_texts, dim], L2-normalised and finite.
        reference: [n_texts, dim_reference], L2-normalised and finite, rows in the same order.
        neighbours: how many neighbours, the text itself left out.

    Returns:
        [n_texts], each in {0, 1/neighbours, …, 1}.

    Raises:
        ValueError: different numbers of texts, or no more texts than neighbours.
    """
    if len(vectors) != len(reference) or len(vectors) <= neighbours:
        raise ValueError(
            f"neighbour_overlap needs as many vectors as references, and more than {neighbours}: "
            f"{len(vectors)} and {len(reference)}"
        )
    found, expected = (nearest(matrix, matrix, neighbours=neighbours) for matrix in (vectors, reference))
    return shared(found, expected)


def index_overlap(
    queries: NDArray[np.float32], index: NDArray[np.float32], *, neighbours: int = 10
) -> NDArray[np.float64]:
    """Per text, the share of its nearest neighbours in an index that stay when another embedding asks.

    The texts ask in their own vectors of the index and in those of `queries`: must they be indexed anew?

    Args:
        queries: [n_texts, dim], L2-normalised and finite.
        index: [n_texts, dim], L2-normalised and finite, rows in the same order.
        neighbours: how many neighbours, the text itself left out.

    Returns:
        [n_texts], each in {0, 1/neighbours, …, 1}.

    Raises:
        ValueError: matrices of different shapes, or no more texts than neighbours.
    """
    if queries.shape != index.shape or len(index) <= neighbours:
        raise ValueError(
            f"index_overlap needs two matrices of one shape, of more than {neighbours} rows: "
            f"{queries.shape} and {index.shape}"
        )
    found, expected = (nearest(matrix, index, neighbours=neighbours) for matrix in (queries, index))
    return shared(found, expected)
