"""A long stretch of requests in one process: memory, handles and latency, block by block.

Nothing of a request is kept but its slot in the block's buffer, which is allocated and touched before the
start, so that what grows is what is measured. The garbage collector runs, as in production.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING

import numpy as np
import psutil

from harness.measure.resources import rss_bytes
from harness.stats import nearest_rank
from harness.units import NS_PER_S, ns_to_ms, ns_to_s

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from harness.measure.latency import Provider

# A soak is cut into this many blocks of the same duration.
BLOCKS = 30
# A block's latencies come from at most this many of its requests, its first ones.
_SLOTS = 50_000


@dataclass(frozen=True)
class Soak:
    """One entry a block: requests served in it, and the state at its end; `served_s` is the time of all."""

    requests: NDArray[np.int64]
    p50_ms: NDArray[np.float64]
    p95_ms: NDArray[np.float64]
    rss_bytes: NDArray[np.int64]
    handles: NDArray[np.int64]
    finite: bool
    served_s: float


def soak(provider: Provider, requests: Sequence[list[str]], duration_s: float) -> Soak:
    """Serve `requests` over and over, one after another, for `duration_s` of the session's clock.

    A block has one request at least: where that takes longer than a block, all of them do.

    Args:
        provider: what serves.
        requests: each a list of texts; at least one.
        duration_s: of the whole.
    """
    clock, tokenize, infer = provider.session.clock_ns, provider.tokenize, provider.infer
    process = psutil.Process()
    slots = np.full(_SLOTS, 1, dtype=np.int64)
    counts, rss, handles = (np.full(BLOCKS, 1, dtype=np.int64) for _ in range(3))
    p50, p95 = (np.full(BLOCKS, 1, dtype=np.float64) for _ in range(2))
    finite, end = True, 0
    endless = cycle(requests)
    started = clock()
    for block in range(BLOCKS):
        ends_at = started + round((block + 1) * duration_s / BLOCKS * NS_PER_S)
        served = 0
        end = clock()
        while end < ends_at or served == 0:
            texts = next(endless)
            begin = clock()
            vectors = infer(tokenize(texts))
            end = clock()
            if served < _SLOTS:
                slots[served] = end - begin
            served += 1
            finite = finite and bool(np.isfinite(vectors).all())
        kept = slots[: min(served, _SLOTS)]
        counts[block], rss[block] = served, rss_bytes()
        handles[block] = _handles(process)
        p50[block], p95[block] = (ns_to_ms(nearest_rank(kept, share)) for share in (0.5, 0.95))
    return Soak(counts, p50, p95, rss, handles, finite, ns_to_s(end - started))


def _handles(process: psutil.Process) -> int:
    """Open files and threads."""
    return process.num_fds() + process.num_threads()
