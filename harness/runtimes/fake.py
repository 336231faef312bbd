"""A scripted runtime on a scripted clock: for tests, of the harness and of what is built around it.

Nothing sleeps: `tokenized` and `infer` move the session's own clock by what the script says, so that a
launch of 40 ms requests takes no longer than one of 2 ms, and every figure is known in advance. Several
callers share one clock: their throughput is the script's, but who waits for whom is up to the system's
threads.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.artifacts.fake import fake_vectors, read_topics
from harness.runtimes.base import Placement
from harness.runtimes.profile import Profile
from harness.units import NS_PER_MS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from harness.artifacts.manifest import Artifact
    from harness.runtimes.base import SessionOptions, Tokens

DEFAULT_SCRIPT: dict[str, Any] = {"infer_ms": [2.0], "tokenize_ms": 0.02, "launches": ["ok"]}
# A misbehaving launch goes wrong at this request, in the middle of its work.
FAILS_AT_REQUEST = 30


class FakeSession:
    """Plays a script; vectors are a pure function of the tokens."""

    def __init__(
        self,
        dim: int,
        topics: dict[str, int],
        script: dict[str, Any],
        launch_index: int | None,
        provider: str,
    ) -> None:
        infer_ms = script["infer_ms"]
        if infer_ms and isinstance(infer_ms[0], list):
            infer_ms = infer_ms[(launch_index or 0) % len(infer_ms)]
        self._durations_ns = cycle([round(ms * NS_PER_MS) for ms in infer_ms])
        self._tokenize_ns = round(script["tokenize_ms"] * NS_PER_MS)
        behaviours = script["launches"]
        self._behaviour = "ok" if launch_index is None else behaviours[min(launch_index, len(behaviours) - 1)]
        self._provider = provider
        self._dim = dim
        self._topics = topics
        self._now_ns = 0
        self._requests = 0
        self._turn = threading.Lock()  # it serves one request at a time, as one queue

    def tokenized(self) -> None:
        """The clock moves by the script's time for it."""
        with self._turn:
            self._now_ns += self._tokenize_ns

    def infer(self, tokens: Tokens) -> NDArray[np.float32]:
        """Vectors of a batch: float32 [n_texts, dim]; the clock moves by the script's next duration."""
        with self._turn:
            self._requests += 1
            if self._requests == FAILS_AT_REQUEST:
                _misbehave(self._behaviour)
            self._now_ns += next(self._durations_ns)
        lengths = tokens.attention_mask.sum(axis=1)
        ids = [row[:n].tolist() for row, n in zip(tokens.input_ids, lengths, strict=True)]
        vectors = fake_vectors(ids, self._dim, self._topics)
        if self._behaviour == "nan":
            vectors[0, 0] = np.nan
        return vectors

    def placement(self) -> Placement | None:
        """One node, where it should be."""
        return Placement(nodes_total=1, ep_nodes=1, ep_partitions=1)

    def effective_options(self) -> dict[str, Any] | None:
        """None: it has no options."""
        return None

    def end_profiling(self, *, skip_runs: int) -> Profile | None:
        """All time where it should be, if anything ran after the first `skip_runs` requests."""
        if self._requests <= skip_runs:
            return None
        return Profile({self._provider: 1.0}, threads=None)

    def clock_ns(self) -> int:
        """The scripted clock."""
        return self._now_ns

    def wait_until_ns(self, due_ns: int) -> None:
        """Move the scripted clock there, if it is not past it."""
        with self._turn:
            self._now_ns = max(self._now_ns, due_ns)


def _misbehave(behaviour: str) -> None:
    if behaviour == "raise":
        raise RuntimeError("scripted failure")
    if behaviour == "exit":
        os._exit(3)
    if behaviour == "abort":
        os.abort()
    if behaviour == "sigkill":
        os.kill(os.getpid(), signal.SIGKILL)
    if behaviour == "hang":
        time.sleep(3600)


def load(artifact: Artifact, options: SessionOptions) -> FakeSession:
    """A scripted session."""
    script = {**DEFAULT_SCRIPT, **(options.script or {})}
    topics = read_topics(artifact.path)
    return FakeSession(artifact.manifest.dim, topics, script, options.launch_index, options.ep_provider)
