"""The texts of a run and how they arrive: the same, in the same order, in every launch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from harness.errors import LengthError
from harness.texts import corpus, texts_sha256
from harness.units import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.schema import Config
    from harness.texts import TextKind

# The length mix of `mixture`, in texts of each kind out of 20: mostly short, with a heavy tail, as the
# documents' team sees them. It gives a mean near 33 and a P95 near 135 tokens with BERT's tokenizer.
MIXTURE: dict[TextKind, int] = {"short": 12, "sentence": 5, "passage": 3}

# Arrivals of a launch go on for this long: a queue that starts empty needs time to show that it grows. At
# 2 % over what can be served it is 0.1 s long then, several times the budget of a request.
PACED_S = 5.0
# Cuts that may fail one after another before a length is given up.
_MOST_MISSES = 200


class TokenSpans(Protocol):
    """What a tokenizer must tell for texts of an exact length."""

    def count(self, text: str) -> int:
        """Tokens of `text`, special tokens and prompt included, not truncated."""
        ...

    def ends(self, text: str) -> list[int]:
        """Where each token of `text` ends, in characters, special tokens left out."""
        ...


class Place(NamedTuple):
    """Where a figure was measured, and where a gate reads it; rates in requests/s."""

    workload: str
    batch_size: int
    clients: int = 1
    arrival: str = "back_to_back"
    offered_qps: float | None = None

    def __str__(self) -> str:
        callers = "" if self.clients == 1 else f", {self.clients} clients"
        paced = "" if self.offered_qps is None else f", {self.arrival} {self.offered_qps:g}/s"
        return f"{self.workload}, batch {self.batch_size}{callers}{paced}"


@dataclass(frozen=True)
class Workload:
    """The texts of a request and how requests arrive; `offered_qps` in requests/s, None in a closed loop."""

    name: str
    lengths: str
    tokens: int | None
    seed: int
    batch_size: int
    clients: int = 1
    arrival: str = "back_to_back"
    offered_qps: float | None = None

    @classmethod
    def from_config(cls, config: Config) -> Workload:
        """The workload of a plan."""
        source = config.workload
        return cls(
            source.name,
            source.lengths,
            source.tokens,
            source.seed,
            config.batch_size,
            source.clients,
            source.arrival,
            source.rate,
        )

    @property
    def place(self) -> Place:
        """Where its figures stand."""
        return Place(self.name, self.batch_size, self.clients, self.arrival, self.offered_qps)


def drawn_from() -> list[tuple[TextKind, int, str]]:
    """What requests are drawn from: each kind of text, its share of `MIXTURE`, and the hash of its texts."""
    return [(kind, share, texts_sha256(corpus(kind))) for kind, share in MIXTURE.items()]


def draw_requests(workload: Workload, count: int, tokenizer: TokenSpans) -> list[list[str]]:
    """The texts of `count` requests, `batch_size` each: a pure function of the workload's seed.

    Texts of the corpus repeat only once it is used up, and then in another order: a request across that seam
    may hold one twice. Stretches of a fixed length begin anywhere, and a few are drawn again: many where the
    special tokens and the prompt leave a text one or two of its own, for the corpus has few such.

    Raises:
        LengthError: no text of exactly `tokens` tokens, prompt included, can be cut from the corpus.
    """
    rng = np.random.default_rng(workload.seed)
    if workload.lengths == "fixed":
        assert workload.tokens is not None
        stream = _exact(workload.tokens, tokenizer, rng)
    elif workload.lengths == "mixture":
        stream = _mixture(rng)
    else:
        stream = _shuffled(corpus("short"), rng)
    return [list(islice(stream, workload.batch_size)) for _ in range(count)]


def paced_requests(workload: Workload, requests: int) -> int:
    """Requests of a launch: where they are paced, as many as arrive in `PACED_S` on average, if more."""
    return max(requests, math.ceil(PACED_S * (workload.offered_qps or 0.0)))


def draw_arrivals(workload: Workload, count: int, launch_index: int) -> list[int] | None:
    """When `count` requests of a launch are due, in ns after its start; None in a closed loop.

    A Poisson process: exponential gaps of mean 1 / `offered_qps`. Each launch draws its own, so that a
    run does not rest on one pattern of bursts; launch i of every candidate draws the same.
    """
    if workload.offered_qps is None:
        return None
    rng = np.random.default_rng([workload.seed, launch_index])
    gaps_s = rng.exponential(1 / workload.offered_qps, count)
    return [round(due_s * NS_PER_S) for due_s in np.cumsum(gaps_s)]


def _shuffled(texts: tuple[str, ...], rng: np.random.Generator) -> Iterator[str]:
    while True:
        for index in rng.permutation(len(texts)):
            yield texts[index]


def _mixture(rng: np.random.Generator) -> Iterator[str]:
    streams = {kind: _shuffled(corpus(kind), rng) for kind in MIXTURE}
    block = [kind for kind, share in MIXTURE.items() for _ in range(share)]
    while True:
        for index in rng.permutation(len(block)):
            yield next(streams[block[index]])


def _exact(tokens: int, tokenizer: TokenSpans, rng: np.random.Generator) -> Iterator[str]:
    """Stretches of the passages, each cut to exactly `tokens` tokens."""
    passages = corpus("passage")
    special = tokenizer.count("")  # the prompt's included
    misses = 0
    while special < tokens and misses <= _MOST_MISSES:
        misses += 1
        words = " ".join(passages[i] for i in rng.permutation(len(passages))).split(" ")
        start = int(rng.integers(0, len(words) // 4))
        while True:
            # A token has at least a character, a word of these texts at most a handful of tokens.
            stretch = " ".join(words[start : start + tokens])
            ends = tokenizer.ends(stretch)
            if len(ends) < tokens - special:
                break
            text = stretch[: ends[tokens - special - 1]]
            start += len(text.split(" "))
            if tokenizer.count(text) == tokens:
                misses = 0
                yield text
            else:  # the cut changed how the last word is split
                misses += 1
    raise LengthError(
        f"workload.tokens={tokens}: no text of exactly so many tokens can be cut with this model's "
        f"tokenizer, {special} of them the prompt's and special ones; choose another length or "
        "workload=mixture"
    )
