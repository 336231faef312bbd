"""The timed loop of a launch.

A request is what a caller waits for: texts in, vectors out. Warm-up is fixed in advance and kept
apart; nothing is deleted as an outlier; nothing is written, logged or allocated per request beyond
one preallocated slot per stage, and the garbage collector is off.
"""

from __future__ import annotations

import gc
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from harness.provider import EmbeddingProvider

# A truncated launch has served at least this many requests, so that its figures are not one moment's.
MIN_BEFORE_TRUNCATION = 20


@dataclass(frozen=True)
class Samples:
    """What a launch served, one int64 ns entry a timed request: total and stages.

    `total_ns` is the sum of the stages; `finite` says whether every vector of every request was,
    warm-up included.
    """

    total_ns: NDArray[np.int64]
    tokenize_ns: NDArray[np.int64]
    infer_ns: NDArray[np.int64]
    truncated: bool
    finite: bool


def requests_over_allowed(requests: int, share: float = 0.95) -> int:
    """How many of `requests` may lie over a bound with the nearest-rank P95 still under it: 5 of 100."""
    return requests - math.ceil(share * requests - 1e-9)


def serve(
    provider: EmbeddingProvider,
    warmup: Sequence[list[str]],
    requests: Sequence[list[str]],
    *,
    stop_over_ns: int | None = None,
) -> Samples:
    """Serve `warmup`, then time `requests` one after another.

    Args:
        provider: what serves.
        warmup: requests that are not timed, each a list of texts.
        requests: the timed ones.
        stop_over_ns: once more requests lie at or over this than a P95 under it allows, the launch is
            certainly over and stops, marked truncated; None never stops.
    """
    clock, tokenize, infer = provider.session.clock_ns, provider.tokenize, provider.infer
    finite = True
    for texts in warmup:
        finite &= bool(np.isfinite(infer(tokenize(texts))).all())

    count = len(requests)
    totals, tokenized, inferred = (np.zeros(count, dtype=np.int64) for _ in range(3))
    allowed = requests_over_allowed(count)
    over = served = 0
    truncated = False
    gc.collect()
    gc.disable()
    try:
        for texts in requests:
            begin = clock()
            tokens = tokenize(texts)
            middle = clock()
            vectors = infer(tokens)
            end = clock()
            totals[served] = end - begin
            tokenized[served] = middle - begin
            inferred[served] = end - middle
            served += 1
            finite &= bool(np.isfinite(vectors).all())
            over += stop_over_ns is not None and end - begin >= stop_over_ns
            if over > allowed and MIN_BEFORE_TRUNCATION <= served < count:
                truncated = True
                break
    finally:
        gc.enable()
    return Samples(totals[:served], tokenized[:served], inferred[:served], truncated, finite)
