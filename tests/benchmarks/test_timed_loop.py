"""What the harness's own loop costs: the timed loop against a bare `session.run` loop, same feeds.

One process, one session, alternating blocks: each pair of blocks meets the same state of the machine,
and only ratios are read. Then across processes, as a launch is measured: a whole launch of the harness
against a process that knows nothing but ONNX Runtime. Run with ``make bench``.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest

from harness.artifacts.pooling import OUTPUT
from harness.launch import run_worker
from harness.measure.latency import serve
from harness.worker import Task

if TYPE_CHECKING:
    from pathlib import Path

    import onnxruntime
    from numpy.typing import NDArray
    from pytest_benchmark.fixture import BenchmarkFixture

    from harness.artifacts.manifest import Artifact
    from harness.provider import EmbeddingProvider
    from harness.runtimes.base import Tokens

PAIRS = 120
BLOCK = 20
TEXT = "how do I reset the password of a shared calendar"


class _InferenceOnly:
    """A provider whose tokens are ready: what is left is the loop and the inference."""

    def __init__(self, provider: EmbeddingProvider, tokens: Tokens) -> None:
        self.session = provider.session
        self.infer = provider.infer
        self._tokens = tokens

    def tokenize(self, _texts: list[str]) -> Tokens:
        return self._tokens


def _bare(session: onnxruntime.InferenceSession, feeds: dict[str, NDArray[np.int64]]) -> float:
    times = []
    for _ in range(BLOCK):
        begin = time.perf_counter_ns()
        session.run([OUTPUT], feeds)
        times.append(time.perf_counter_ns() - begin)
    return float(np.median(times))


@pytest.mark.real
def test_the_timed_loop_against_a_bare_loop(provider: EmbeddingProvider, benchmark: BenchmarkFixture) -> None:
    tokens = provider.tokenize([TEXT])
    feeds = {"input_ids": tokens.input_ids, "attention_mask": tokens.attention_mask}
    feeds["token_type_ids"] = np.zeros_like(tokens.input_ids)
    timed = _InferenceOnly(provider, tokens)
    session = provider.session._session  # type: ignore[attr-defined]  # the same session, called barely

    def pairs() -> list[float]:
        ratios = []
        for pair in range(PAIRS + 5):
            blocks = {}
            for name in ("bare", "timed") if pair % 2 else ("timed", "bare"):
                if name == "bare":
                    blocks[name] = _bare(session, feeds)
                else:
                    samples = serve(timed, [[TEXT]] * BLOCK)  # type: ignore[arg-type]
                    blocks[name] = float(np.median(samples.total_ns))
            ratios.append(blocks["timed"] / blocks["bare"])
        return ratios[5:]

    ratios = benchmark.pedantic(pairs, rounds=1, iterations=1)
    low, middle, high = np.quantile(ratios, [0.25, 0.5, 0.75])
    print(
        f"\ntimed / bare, median of {PAIRS} pairs of {BLOCK}: {middle:.3f} (quartiles {low:.3f}–{high:.3f})"
    )
    assert 0.9 < middle < 1.1, "the loop itself must not show in what it measures"


BARE_PROCESS = """
import sys, time
import numpy as np, onnxruntime as ort
session = ort.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
ids = np.asarray([eval(sys.argv[2])])
feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
times = []
for _ in range(120):
    begin = time.perf_counter_ns()
    session.run([sys.argv[3]], feeds)
    times.append(time.perf_counter_ns() - begin)
print(np.median(times[20:]))
"""
PROCESS_PAIRS = 20


@pytest.mark.real
def test_a_launch_against_a_process_that_only_infers(
    minilm: Artifact, provider: EmbeddingProvider, tmp_path: Path, benchmark: BenchmarkFixture
) -> None:
    ids = provider.tokenize([TEXT]).input_ids[0].tolist()
    requests = tmp_path / "requests.json"
    requests.write_text(json.dumps({"warmup": [[TEXT]] * 20, "timed": [[TEXT]] * 100}), encoding="utf-8")
    options = {"ep_provider": "CPUExecutionProvider", "ep_options": {}}
    task = Task("latency", str(minilm.path), "onnxruntime", options, requests_file=str(requests))
    words = [sys.executable, "-c", BARE_PROCESS, str(minilm.graph), str(ids), OUTPUT]

    def pairs() -> list[float]:
        ratios = []
        for pair in range(PROCESS_PAIRS):
            ns = {}
            for name in ("bare", "launch") if pair % 2 else ("launch", "bare"):
                if name == "bare":
                    done = subprocess.run(words, capture_output=True, text=True, check=True)
                    ns[name] = float(done.stdout)
                else:
                    ns[name] = float(np.median(run_worker(task, timeout_s=60)["infer_ns"]))
            ratios.append(ns["launch"] / ns["bare"])
        return ratios

    ratios = benchmark.pedantic(pairs, rounds=1, iterations=1)
    low, middle, high = np.quantile(ratios, [0.25, 0.5, 0.75])
    print(
        f"\nlaunch / bare process, median of {PROCESS_PAIRS} pairs: {middle:.3f} "
        f"(quartiles {low:.3f}–{high:.3f})"
    )
    assert 0.7 < middle < 1.4, "a launch must measure what a process meets that only infers"
