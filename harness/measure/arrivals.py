"""Requests from several callers at once, back to back or as an open loop; one provider serves all.

An open loop is timed from the moment a request was due, not from when it was taken up: a stall then
counts for every request behind it, as it does for the callers (no coordinated omission).
"""

from __future__ import annotations

import gc
import itertools
import threading
from typing import TYPE_CHECKING

import numpy as np

from harness.measure.latency import MIN_BEFORE_TRUNCATION, Samples, requests_over_allowed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from harness.provider import EmbeddingProvider


def serve_concurrently(
    provider: EmbeddingProvider,
    warmup: Sequence[list[str]],
    requests: Sequence[list[str]],
    *,
    clients: int,
    due_ns: NDArray[np.int64] | None = None,
    stop_over_ns: int | None = None,
) -> Samples:
    """Serve `warmup` one after another, then time `requests` from `clients` callers at once.

    Args:
        provider: what serves, shared by all callers.
        warmup: requests that are not timed.
        requests: the timed ones, taken in order by whichever caller is free.
        clients: callers, each with one request at a time.
        due_ns: when each request is due, ns after the start; None sends back to back.
        stop_over_ns: as `harness.measure.latency.serve`.

    Raises:
        Exception: what a request raised, the first one's.
    """
    session = provider.session
    clock, tokenize, infer = session.clock_ns, provider.tokenize, provider.infer
    finite = [bool(np.isfinite(infer(tokenize(texts))).all()) for texts in warmup]
    count = len(requests)
    totals, tokenized, inferred = (np.zeros(count, dtype=np.int64) for _ in range(3))
    positions = itertools.count()
    allowed = requests_over_allowed(count)
    errors: list[BaseException] = []
    stop = threading.Event()
    started = [0]

    def note_start() -> None:
        started[0] = clock()

    ready = threading.Barrier(clients, action=note_start)

    def call() -> None:
        try:
            ready.wait()
            while not stop.is_set() and (index := next(positions)) < count:
                if due_ns is None:
                    due = begin = clock()
                else:
                    due = started[0] + int(due_ns[index])
                    session.wait_until_ns(due)
                    begin = clock()
                tokens = tokenize(requests[index])
                middle = clock()
                vectors = infer(tokens)
                end = clock()
                totals[index] = end - due
                tokenized[index] = middle - begin
                inferred[index] = end - middle
                if not np.isfinite(vectors).all():
                    finite.append(False)
                if stop_over_ns is not None and end - due >= stop_over_ns:
                    served = np.count_nonzero(totals)
                    if served >= MIN_BEFORE_TRUNCATION and (totals >= stop_over_ns).sum() > allowed:
                        stop.set()
        except BaseException as error:
            errors.append(error)
            stop.set()

    gc.collect()
    gc.disable()
    try:
        callers = [threading.Thread(target=call) for _ in range(clients)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
        elapsed_ns = clock() - started[0]
    finally:
        gc.enable()
    if errors:
        raise errors[0]
    served = totals > 0
    return Samples(
        totals[served],
        tokenized[served],
        inferred[served],
        truncated=bool(served.sum() < count),
        finite=all(finite),
        elapsed_ns=elapsed_ns,
        due_ns=None if due_ns is None else due_ns[served],
    )
