"""What a text's vector owes to the batch it is encoded in, and whether the same batch gives it again."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from harness.errors import ProbeError
from harness.stats import cosines

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Encode = Callable[[list[str]], NDArray[np.float32]]

BATCHING_COLUMNS = (
    "repeat_max_difference", "batch_cosine_min", "batch_cosine_min_sorted", "batch_cosine_min_random",
)  # fmt: skip
# Texts whose vectors are looked at; enough to see what a scale taken from the batch does. The worst of more
# is another figure: with another number here or below, the columns' meaning and their schema change.
OBSERVED = 8
# So many of them beside a long text, which costs most: they are padded to its length.
BESIDE = 4
_SEED = 20251101


class Batching(NamedTuple):
    """`BATCHING_COLUMNS` to values, and in which batch a vector is first not finite; None where none is."""

    columns: dict[str, float | None]
    problem: str | None


def batching_columns(
    encode: Encode, texts: Sequence[str], vectors: NDArray[np.float32], *, batch_size: int, neighbour: str
) -> Batching:
    """How the vectors of the first `OBSERVED` texts change with their batch, and from one time to the next.

    Args:
        encode: the vectors of one request, float32 [n_texts, dim]; a ProbeError where its shape fails.
        texts: at least one; so many more as there are in a batch are the others' company.
        vectors: of `texts` [n_texts, dim], encoded in their order in batches of `batch_size`.
        batch_size: texts in a request.
        neighbour: a long text; empty for none.

    Returns:
        The columns: the largest difference of any number of a vector between two encodings
        of the same batch (0 is bit-equal), and the smallest cosine of a text's vector alone to its vector
        beside `neighbour`, in batches sorted by length as `EmbeddingProvider.encode` sorts them, and in
        seeded random batches. None where there is no such batch (a batch of one text is neither sorted nor
        random), it fails (it need not be one that the workload serves), or a vector that is compared is not
        finite. The problem is of all vectors that are encoded here, those of the company too: where `vectors`
        are not finite, none is.
    """
    columns: dict[str, float | None] = dict.fromkeys(BATCHING_COLUMNS)
    if not np.isfinite(vectors).all():
        return Batching(columns, None)
    problems: list[str] = []

    def told(where: str) -> Encode:
        def encode_told(batch: list[str]) -> NDArray[np.float32]:
            found = encode(batch)
            if not np.isfinite(found).all():
                problems.append(f"a vector {where} holds NaN or infinity")
            return found

        return encode_told

    starts = range(0, min(OBSERVED, len(texts)), batch_size)
    second = told("of the same batch a second time")
    again = np.concatenate([second(list(texts[start : start + batch_size])) for start in starts])
    difference = float(np.abs(again - vectors[: len(again)]).max())
    columns["repeat_max_difference"] = difference if math.isfinite(difference) else None
    observed = list(texts[:OBSERVED])
    alone = vectors[: len(observed)]
    if batch_size > 1:
        try:
            alone = _batched(told("of a text alone"), observed, range(len(observed)), 1)
        except ProbeError:
            return Batching(columns, next(iter(problems), None))
    if neighbour:
        beside = partial(_beside, told("beside a long text"), observed[:BESIDE], neighbour)
        columns["batch_cosine_min"] = _cosine_min(alone[:BESIDE], beside)
    if min(batch_size, len(texts)) > 1:
        company = list(texts[: OBSERVED + batch_size])
        by_length = sorted(range(len(company)), key=lambda row: len(company[row]))
        shuffled = np.random.default_rng(_SEED).permutation(len(company)).tolist()
        for name, order in (("sorted", by_length), ("random", shuffled)):
            arranged = partial(_batched, told(f"in a {name} batch"), company, order, batch_size)
            columns[f"batch_cosine_min_{name}"] = _cosine_min(alone, arranged)
    return Batching(columns, next(iter(problems), None))


def _cosine_min(alone: NDArray[np.float32], encoded: Callable[[], NDArray[np.float32]]) -> float | None:
    """The smallest cosine of vectors alone to the first ones of those that are encoded otherwise."""
    try:
        worst = float(cosines(alone, encoded()[: len(alone)]).min())
    except ProbeError:
        return None
    return worst if math.isfinite(worst) else None


def _beside(encode: Encode, texts: list[str], neighbour: str) -> NDArray[np.float32]:
    return np.stack([encode([text, neighbour])[0] for text in texts])


def _batched(encode: Encode, texts: list[str], order: Sequence[int], batch_size: int) -> NDArray[np.float32]:
    """The vectors of texts [n_texts, dim] in their own order, encoded in batches of them in another."""
    starts = range(0, len(order), batch_size)
    batches = [[texts[row] for row in order[start : start + batch_size]] for start in starts]
    vectors: NDArray[np.float32] = np.concatenate([encode(batch) for batch in batches])[np.argsort(order)]
    return vectors
