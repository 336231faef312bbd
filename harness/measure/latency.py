"""The timed loop of a launch.

A request is what a caller waits for: texts in, vectors out. In a closed loop each of the callers sends
its next request when it has its answer. In an open loop requests are due at given times, whatever became
of those before, and are timed from then: a stall counts for every request behind it (no coordinated
omission). Warm-up is fixed in advance and kept apart; nothing is deleted as an outlier; nothing is
written, logged or allocated per request beyond one preallocated slot per stage, and the garbage
collector is off.
"""

from __future__ import annotations

import gc
import math
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from harness.runtimes.base import Tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from harness.runtimes.base import Session

# A truncated launch has served at least this many requests, so that its figures are not one moment's.
MIN_BEFORE_TRUNCATION = 20
# Requests of nothing that tell what the loop itself adds to one.
_EMPTY_REQUESTS = 1_000


class Provider(Protocol):
    """What is timed: `harness.provider.EmbeddingProvider`, in two stages."""

    session: Session

    def tokenize(self, texts: Sequence[str]) -> Tokens:
        """The first stage."""
        ...

    def infer(self, tokens: Tokens) -> NDArray[np.float32]:
        """The second stage."""
        ...


@dataclass(frozen=True)
class Samples:
    """What a launch served, one int64 ns entry a timed request: total and stages.

    `total_ns` is the sum of the stages and, in an open loop, of the time a request waited for its turn;
    `scheduled_ns` tells when each was due there, counted from the start, and is None in a closed loop.
    `serving_ns` runs from the start to the last answer. `finite` says whether every vector was.
    """

    total_ns: NDArray[np.int64]
    tokenize_ns: NDArray[np.int64]
    infer_ns: NDArray[np.int64]
    scheduled_ns: NDArray[np.int64] | None
    serving_ns: int
    truncated: bool
    finite: bool


@dataclass(frozen=True)
class WarmUp:
    """What happened before the first timed request.

    `new_shape_ns` has the first request of each shape (texts × padded tokens), in the order met: some
    runtimes compile or plan per shape. The first of all is the first after loading; its answer was there
    at `first_vector_monotonic_ns`.
    """

    new_shape_ns: list[int]
    first_vector_monotonic_ns: int
    finite: bool


def requests_over_allowed(requests: int, share: float = 0.95) -> int:
    """How many of `requests` may lie over a bound with the nearest-rank P95 still under it: 5 of 100."""
    return requests - math.ceil(share * requests - 1e-9)


def warm_up(provider: Provider, warmup: Sequence[list[str]], requests: Sequence[list[str]]) -> WarmUp:
    """Serve `warmup`, and of `requests` the first of each shape that was not met yet.

    After it no timed request is the first of its shape; those first ones are told apart.

    Raises:
        ValueError: no request to warm up with.
    """
    clock = provider.session.clock_ns
    met: set[tuple[int, ...]] = set()
    new_shape_ns: list[int] = []
    first_vector_ns = None
    finite = True
    for position, texts in enumerate((*warmup, *requests)):
        begin = clock()
        tokens = provider.tokenize(texts)
        shape = tokens.input_ids.shape
        if shape in met and position >= len(warmup):
            continue
        vectors = provider.infer(tokens)
        spent_ns = clock() - begin
        if first_vector_ns is None:
            first_vector_ns = time.monotonic_ns()
        if shape not in met:
            met.add(shape)
            new_shape_ns.append(spent_ns)
        finite &= bool(np.isfinite(vectors).all())
    if first_vector_ns is None:
        raise ValueError("a warm-up needs a request")
    return WarmUp(new_shape_ns, first_vector_ns, finite)


def serve(
    provider: Provider,
    requests: Sequence[list[str]],
    *,
    clients: int = 1,
    due_ns: Sequence[int] | None = None,
    stop_over_ns: int | None = None,
) -> Samples:
    """Time `requests`, each served once, in their order.

    Args:
        provider: what serves; all callers share it.
        requests: each a list of texts.
        clients: concurrent callers; each takes the next request that nobody has taken.
        due_ns: when each request is due, in ns after the start, rising (an open loop: nobody takes a
            request before it is due); None is a closed loop.
        stop_over_ns: once more requests lie at or over this than a P95 under it allows, the launch is
            certainly over and stops, marked truncated; None never stops.

    Raises:
        Exception: whatever the provider raised, from the first caller that met it.
    """
    session, tokenize, infer = provider.session, provider.tokenize, provider.infer
    clock, wait_until = session.clock_ns, session.wait_until_ns
    count = len(requests)
    begins, starts, middles, ends = (np.zeros(count, dtype=np.int64) for _ in range(4))
    answered, finite = np.zeros(count, dtype=np.bool_), np.ones(count, dtype=np.bool_)
    over: list[int] = []
    allowed = requests_over_allowed(count)
    positions = iter(range(count))  # one step of it is atomic: no request goes to two callers
    origin = 0
    truncated = False

    def start() -> None:
        nonlocal origin
        origin = clock()

    barrier = threading.Barrier(clients, action=start)

    def client() -> None:
        nonlocal truncated
        barrier.wait()
        for i in positions:
            texts = requests[i]
            if due_ns is None:
                begin = started = clock()
            else:
                begin = origin + due_ns[i]
                wait_until(begin)
                started = clock()
            tokens = tokenize(texts)
            middle = clock()
            vectors = infer(tokens)
            end = clock()
            begins[i], starts[i], middles[i], ends[i] = begin, started, middle, end
            answered[i] = True
            finite[i] = np.isfinite(vectors).all()
            if stop_over_ns is not None and end - begin >= stop_over_ns:
                over.append(i)
            if len(over) > allowed and MIN_BEFORE_TRUNCATION <= np.count_nonzero(answered) < count:
                truncated = True
            if truncated:
                break

    gc.collect()
    gc.disable()
    try:
        _run_together(client, clients, barrier)
    finally:
        gc.enable()
    return Samples(
        total_ns=(ends - begins)[answered],
        tokenize_ns=(middles - starts)[answered],
        infer_ns=(ends - middles)[answered],
        scheduled_ns=None if due_ns is None else (begins - origin)[answered],
        serving_ns=int(ends.max(initial=origin)) - origin,
        truncated=truncated,
        finite=bool(finite.all()),
    )


def _run_together(client: Callable[[], None], clients: int, barrier: threading.Barrier) -> None:
    if clients == 1:
        client()
        return
    with ThreadPoolExecutor(clients) as pool:
        try:
            callers = [pool.submit(client) for _ in range(clients)]
        except RuntimeError:  # no thread can be started: those that wait for it are let go
            barrier.abort()
            raise
        for caller in callers:
            caller.result()


def loop_overhead_ns(session: Session) -> float:
    """What the loop itself adds to the figure of a request, in ns: its median on requests of nothing."""
    samples = serve(_Nothing(session), [[""]] * _EMPTY_REQUESTS)
    return float(np.median(samples.total_ns))


class _Nothing:
    def __init__(self, session: Session) -> None:
        self.session = session
        self._tokens = Tokens(np.zeros((1, 1), dtype=np.int64), np.ones((1, 1), dtype=np.int64))
        self._vectors = np.zeros((1, 1), dtype=np.float32)

    def tokenize(self, _texts: Sequence[str]) -> Tokens:
        return self._tokens

    def infer(self, _tokens: Tokens) -> NDArray[np.float32]:
        return self._vectors
