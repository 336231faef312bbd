"""What the harness's own loop costs: the timed loop against a bare `session.run` loop, same feeds.

One process, one session, alternating blocks: each pair of blocks meets the same state of the machine,
and only ratios are read. Then across processes, as a launch is measured: a whole launch of the harness
against a process that knows nothing but ONNX Runtime. Run with ``make bench``.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

from harness.artifacts.pooling import OUTPUT
from harness.launch import run_worker
from harness.worker import Task

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_benchmark.fixture import BenchmarkFixture

    from harness.artifacts.manifest import Artifact
    from harness.provider import EmbeddingProvider

# Short blocks: the two of a pair must meet the same state of a machine that drifts within a second.
PAIRS = 600
BLOCK = 20
# Timed requests of a launch.
REQUESTS = 100
TEXT = "how do I reset the password of a shared calendar"
# In a process that has what a launch's has: a test runner's heap would be collected before every block.
ONE_PROCESS = """
import gc, json, sys, time
from pathlib import Path
import numpy as np
from harness.artifacts.manifest import read_artifact
from harness.artifacts.pooling import OUTPUT
from harness.measure.latency import serve
from harness.provider import EmbeddingProvider
from harness.runtimes.base import SessionOptions

folder, text, pairs, block = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
provider = EmbeddingProvider.open(read_artifact(Path(folder)), "onnxruntime", SessionOptions())
tokens = provider.tokenize([text])
feeds = {"input_ids": tokens.input_ids, "attention_mask": tokens.attention_mask}
feeds["token_type_ids"] = np.zeros_like(tokens.input_ids)

class InferenceOnly:  # its tokens are ready: what is left is the loop and the inference
    session, infer = provider.session, provider.infer
    def tokenize(self, texts):
        return tokens

def timed():
    return np.median(serve(InferenceOnly(), [[text]] * block).total_ns)

def bare(run=provider.session._session.run):
    times = []
    gc.collect()  # as the loop does before its first request
    gc.disable()
    for _ in range(block):
        begin = time.perf_counter_ns()
        run([OUTPUT], feeds)
        times.append(time.perf_counter_ns() - begin)
    gc.enable()
    return np.median(times)

ratios = []
for pair in range(pairs + 5):
    ns = {f.__name__: f() for f in ((bare, timed) if pair % 2 else (timed, bare))}
    ratios.append(ns["timed"] / ns["bare"])
print(json.dumps(ratios[5:]))
"""


@pytest.mark.real
def test_the_timed_loop_against_a_bare_loop(minilm: Artifact, benchmark: BenchmarkFixture) -> None:
    words = [sys.executable, "-c", ONE_PROCESS, str(minilm.path), TEXT, str(PAIRS), str(BLOCK)]

    def pairs() -> list[float]:
        ratios: list[float] = json.loads(subprocess.run(words, capture_output=True, check=True).stdout)
        return ratios

    ratios = benchmark.pedantic(pairs, rounds=1, iterations=1)
    low, middle, high = np.quantile(ratios, [0.25, 0.5, 0.75])
    print(
        f"\ntimed / bare, median of {PAIRS} pairs of {BLOCK}: {middle:.3f} (quartiles {low:.3f}–{high:.3f})"
    )
    assert 0.98 <= middle <= 1.03, "the loop itself must not show in what it measures"


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
    requests.write_text(json.dumps({"warmup": [[TEXT]] * 20, "timed": [[TEXT]] * REQUESTS}), encoding="utf-8")
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
