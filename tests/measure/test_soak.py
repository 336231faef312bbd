"""A soak: known answers on a scripted clock, and what grows is seen."""

from __future__ import annotations

import mmap
import os
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from harness.measure.soak import BLOCKS, soak
from harness.runtimes.base import Tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

MS = 1_000_000


class Scripted:
    """A provider, its own session and clock: a request takes what `takes_ms` says at that moment (s)."""

    def __init__(
        self, takes_ms: Callable[[float], float] = lambda _now_s: 2.0, act: Callable[[], Any] = lambda: None
    ) -> None:
        self.session: Any = self
        self.takes_ms, self.act = takes_ms, act
        self.now_ns = self.served = 0
        self.value = 1.0

    def clock_ns(self) -> int:
        return self.now_ns

    def tokenize(self, _texts: Sequence[str]) -> Tokens:
        return Tokens(np.ones((1, 1), dtype=np.int64), np.ones((1, 1), dtype=np.int64))

    def infer(self, _tokens: Tokens) -> NDArray[np.float32]:
        self.now_ns += round(self.takes_ms(self.now_ns / 1e9) * MS)
        self.served += 1
        self.act()
        return np.full((1, 1), self.value, dtype=np.float32)


def test_blocks_are_of_one_duration_and_hold_every_request() -> None:
    provider = Scripted()
    found = soak(provider, [["a"]], 6.0)
    assert found.requests.tolist() == [100] * BLOCKS
    assert found.requests.sum() == provider.served
    assert found.p50_ms.tolist() == found.p95_ms.tolist() == [2.0] * BLOCKS
    assert found.finite
    assert found.served_s == pytest.approx(6.0)


def test_where_a_request_takes_longer_than_a_block_the_time_is_what_it_took() -> None:
    found = soak(Scripted(lambda _: 3000.0), [["a"]], 30.0)
    assert found.requests.tolist() == [1] * BLOCKS
    assert found.served_s == pytest.approx(90.0), "a third of a request a second, and not one"


def test_a_block_tells_of_its_own_requests_alone() -> None:
    found = soak(Scripted(lambda now_s: 2.0 if now_s < 3.0 else 4.0), [["a"]], 6.0)
    assert found.p50_ms.tolist() == [2.0] * 15 + [4.0] * 15
    assert found.requests.tolist() == [100] * 15 + [50] * 15


def test_requests_are_served_over_and_over_in_their_order() -> None:
    seen: list[str] = []

    class Listening(Scripted):
        def tokenize(self, texts: Sequence[str]) -> Tokens:
            seen.extend(texts)
            return super().tokenize(texts)

    soak(Listening(lambda _: 100.0), [["a"], ["b"], ["c"]], 3.0)
    assert seen == ["a", "b", "c"] * 10


def test_a_request_longer_than_a_block_is_served_in_each() -> None:
    assert soak(Scripted(lambda _: 500.0), [["a"]], 3.0).requests.tolist() == [1] * BLOCKS


def test_memory_that_grows_is_seen() -> None:
    kept: list[mmap.mmap] = []

    def leak() -> None:
        kept.append(mmap.mmap(-1, 2**20))  # of the system, so that no freed memory is taken instead
        kept[-1].write(b"x" * 2**20)

    found = soak(Scripted(lambda _: 100.0, leak), [["a"]], 6.0)
    grown = np.diff(found.rss_bytes).sum() / found.requests[1:].sum()
    assert grown == pytest.approx(2**20, rel=0.2)


def test_handles_that_are_not_closed_are_seen() -> None:
    kept: list[int] = []
    found = soak(Scripted(lambda _: 100.0, lambda: kept.append(os.dup(0))), [["a"]], 3.0)
    for handle in kept:
        os.close(handle)
    assert np.diff(found.handles).tolist() == [1] * (BLOCKS - 1)


def test_one_vector_that_is_not_finite_is_told() -> None:
    provider = Scripted(lambda _: 10.0)

    def act() -> None:
        provider.value = float("nan") if provider.served == 100 else 1.0

    provider.act = act
    assert not soak(provider, [["a"]], 3.0).finite
