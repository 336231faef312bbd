"""What a decision over ten thousand runs takes, as the command that a user types, and against a thousand."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from harness.store import Store
from harness.units import format_bytes
from tests.conftest import STARTED, run_row

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_benchmark.fixture import BenchmarkFixture

# Each candidate at the places that the default policy asks for, one of them once more.
PLACES = ({}, {"batch_size": 32}, {"purpose": "soak"}, {})
MODELS = ("minilm", "e5", "bge", "qwen3")


class Cost(NamedTuple):
    """Of one command."""

    seconds: float
    peak_rss_bytes: int
    verdict: str


def fill(folder: Path, runs: int) -> None:
    """Write so many runs of candidates whose latency differs by the launch."""
    rng, store = np.random.default_rng(7), Store(folder)
    for number in range(runs):
        candidate, place = divmod(number, len(PLACES))
        p95s = rng.lognormal(np.log(10 + candidate % 40), 0.2, 20).round(3)
        changes: dict[str, Any] = {
            "model": MODELS[candidate % len(MODELS)],
            "threads": 1 + candidate // len(MODELS),
            "candidate_label": f"candidate {candidate}",
            "launch_p95_ms": p95s.tolist(),
            "latency_p95_ms": float(np.median(p95s)),
            "latency_p95_low_ms": float(np.quantile(p95s, 0.3)),
            "latency_p95_high_ms": float(np.quantile(p95s, 0.7)),
            "started_at": STARTED + timedelta(minutes=number),
        }
        store.write_run(run_row(f"{number:016x}", **changes, **PLACES[place]))


def decide(folder: Path) -> Cost:
    """``python -m harness.decide`` over a folder, in a process of its own."""
    begin = time.perf_counter()
    command = [sys.executable, "-m", "harness.decide", f"results={folder}", "format=json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        told = json.loads(process.stdout.read())
        _, _, usage = os.wait4(process.pid, 0)
        process.returncode = 0
    return Cost(time.perf_counter() - begin, usage.ru_maxrss * 1024, told["verdict"])


def test_ten_thousand_runs_against_a_thousand(tmp_path: Path, benchmark: BenchmarkFixture) -> None:
    sizes = (1_000, 10_000)
    for runs in sizes:
        fill(tmp_path / str(runs), runs)

    def both() -> list[Cost]:
        return [decide(tmp_path / str(runs)) for runs in sizes]

    costs = benchmark.pedantic(both, rounds=1, iterations=1)
    for runs, cost in zip(sizes, costs, strict=True):
        print(
            f"\n{runs:,} runs: {cost.seconds:.1f} s, peak {format_bytes(cost.peak_rss_bytes)}, {cost.verdict}"
        )
    few, many = costs
    assert few.verdict == many.verdict == "GO"
    assert many.seconds < 20 * few.seconds, "deciding grows faster than the number of runs"
    assert many.peak_rss_bytes < 10 * few.peak_rss_bytes
