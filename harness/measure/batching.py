"""What a text's vector owes to the batch it is encoded in, and whether the same batch gives it again."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from harness.errors import ProbeError
from harness.stats import cosines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    Encode = Callable[[list[str]], NDArray[np.float32]]

BATCHING_COLUMNS = (
    "repeat_max_difference", "batch_cosine_min", "batch_cosine_min_sorted", "batch_cosine_min_random",
)  # fmt: skip
# Texts whose vectors are looked at; enough to see what a scale taken from the batch does.
OBSERVED = 16
# So many of them beside a long text, which costs most: they are padded to its length.
BESIDE = 4
# Random orders that all of them are seen in.
ARRANGEMENTS = 2
_SEED = 20251101


def batching_columns(
    encode: Encode, texts: Sequence[str], vectors: NDArray[np.float32], *, batch_size: int, neighbour: str
) -> dict[str, float | None]:
    """How the vectors of the first `OBSERVED` texts change with their batch, and from one time to the next.

    Args:
        encode: the vectors of one request, float32 [n_texts, dim]; a ProbeError where its shape fails.
        texts: at least one; further ones fill the batches up.
        vectors: of `texts` [n_texts, dim], encoded in their order in batches of `batch_size`.
        batch_size: texts in a request.
        neighbour: a long text; empty for none.

    Returns:
        `BATCHING_COLUMNS` to values: the largest difference of any number of a vector between two encodings
        of the same batch (0 is bit-equal), and the smallest cosine of a text's vector alone to its vector
        beside `neighbour`, in batches sorted by length as `EmbeddingProvider.encode` sorts them, and in
        seeded random batches. None where there is no such batch (a batch of one text is neither sorted nor
        random), it fails (it need not be one that the workload serves), or a vector is not finite.
    """
    columns: dict[str, float | None] = dict.fromkeys(BATCHING_COLUMNS)
    if not np.isfinite(vectors).all():
        return columns
    starts = range(0, min(OBSERVED, len(texts)), batch_size)
    again = np.concatenate([encode(list(texts[start : start + batch_size])) for start in starts])
    difference = float(np.abs(again - vectors[: len(again)]).max())
    columns["repeat_max_difference"] = difference if math.isfinite(difference) else None
    observed = list(texts[:OBSERVED])
    alone = vectors[: len(observed)]
    if batch_size > 1:
        try:
            alone = np.stack([encode([text])[0] for text in observed])
        except ProbeError:
            return columns
    if neighbour:
        columns["batch_cosine_min"] = _cosine_min(alone, _beside(encode, observed[:BESIDE], neighbour))
    company = list(texts[: 2 * max(OBSERVED, batch_size)])
    if min(batch_size, len(company)) > 1:
        by_length = sorted(range(len(company)), key=lambda row: len(company[row]))
        rng = np.random.default_rng(_SEED)
        shuffled = [rng.permutation(len(company)).tolist() for _ in range(ARRANGEMENTS)]
        for name, orders in (("sorted", [by_length]), ("random", shuffled)):
            found = _arranged(encode, company, orders, batch_size)
            columns[f"batch_cosine_min_{name}"] = _cosine_min(alone, found)
    return columns


def _cosine_min(alone: NDArray[np.float32], encoded: Iterator[NDArray[np.float32]]) -> float | None:
    """The smallest cosine to the vectors alone of the first of them encoded otherwise, however often."""
    try:
        worst = float(np.min([cosines(alone[: len(found)], found).min() for found in encoded]))
    except ProbeError:
        return None
    return worst if math.isfinite(worst) else None


def _beside(encode: Encode, texts: list[str], neighbour: str) -> Iterator[NDArray[np.float32]]:
    yield np.stack([encode([text, neighbour])[0] for text in texts])


def _arranged(
    encode: Encode, texts: list[str], orders: list[list[int]], batch_size: int
) -> Iterator[NDArray[np.float32]]:
    """The vectors of the observed texts in batches of all texts in each order; other batches are left out."""
    for order in orders:
        rows: dict[int, NDArray[np.float32]] = {}
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            if min(batch) < OBSERVED:
                rows |= zip(batch, encode([texts[row] for row in batch]), strict=True)
        yield np.stack([rows[row] for row in range(min(OBSERVED, len(texts)))])
