"""One launch in one process: ``python -m harness.worker``; imports the least possible.

Reads one JSON task on standard input, writes its answer to the file that the task names, and exits.
Standard input stays open as long as the parent lives: when it closes, this process ends, so that a
killed parent leaves nothing behind that disturbs the next measurement.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from harness.artifacts.manifest import read_artifact
from harness.errors import HarnessError
from harness.measure.latency import serve
from harness.measure.resources import involuntary_switches, peak_rss_bytes
from harness.provider import EmbeddingProvider
from harness.runtimes.base import SessionOptions
from harness.units import ns_to_ms, ns_to_s


@dataclass(frozen=True)
class Task:
    """What a worker is to do.

    ``latency`` serves the requests of `requests_file` (JSON: ``warmup`` and ``timed``, lists of lists
    of texts) and times them; ``vectors`` encodes `texts` in batches of `batch_size`, stores the vectors
    in `vectors_file`, and tells where the graph's nodes went. Nothing of the second is timed.
    """

    kind: Literal["latency", "vectors"]
    artifact: str
    runtime: str
    options: dict[str, Any]
    spawned_monotonic_ns: int = 0
    requests_file: str = ""
    stop_over_ns: int | None = None
    texts: list[str] = field(default_factory=list)
    batch_size: int = 1
    vectors_file: str = ""


def main() -> int:
    """Do the task on standard input; the answer's ``status`` says how it went."""
    line = sys.stdin.buffer.readline()
    task = json.loads(line)
    answer_file = Path(task.pop("answer_file"))
    threading.Thread(target=_die_with_the_parent, daemon=True).start()
    try:
        answer = run(Task(**task))
    except HarnessError as error:
        answer = {"status": "failed", "error": str(error)}
    except Exception as error:
        answer = {
            "status": "failed",
            "error": f"{type(error).__name__}: {' '.join(str(error).split())}",
        }
    scratch = answer_file.with_suffix(".tmp")
    scratch.write_text(json.dumps(answer), encoding="utf-8")
    scratch.replace(answer_file)
    return 0


def run(task: Task) -> dict[str, Any]:
    """Do a task in this process; returns the answer.

    Raises:
        HarnessError: the artifact or the execution provider cannot be loaded.
    """
    started_ns = time.perf_counter_ns()
    options = SessionOptions(**task.options)
    provider = EmbeddingProvider.open(read_artifact(Path(task.artifact)), task.runtime, options)
    loaded_ns = time.perf_counter_ns()
    if task.kind == "vectors":
        return _vectors(task, provider)
    requests = json.loads(Path(task.requests_file).read_text(encoding="utf-8"))

    # From the creation of a process to its first vector is what a cold start makes one wait for.
    clock_ns = provider.session.clock_ns
    first_started_ns = clock_ns()
    first, *warmup = requests["warmup"]
    provider.infer(provider.tokenize(first))
    first_request_ns = clock_ns() - first_started_ns
    first_vector_ns = time.monotonic_ns()

    switches = involuntary_switches()
    samples = serve(provider, warmup, requests["timed"], stop_over_ns=task.stop_over_ns)
    return {
        "status": "complete" if samples.finite else "failed",
        "error": None if samples.finite else "a vector holds NaN or infinity",
        "total_ns": samples.total_ns.tolist(),
        "tokenize_ns": samples.tokenize_ns.tolist(),
        "infer_ns": samples.infer_ns.tolist(),
        "truncated": samples.truncated,
        "cold_start_s": ns_to_s(first_vector_ns - task.spawned_monotonic_ns),
        "session_load_s": ns_to_s(loaded_ns - started_ns),
        "first_request_ms": ns_to_ms(first_request_ns),
        "peak_rss_bytes": peak_rss_bytes(),
        "involuntary_switches": involuntary_switches() - switches,
        "pid": os.getpid(),
    }


def _vectors(task: Task, provider: EmbeddingProvider) -> dict[str, Any]:
    batches = range(0, len(task.texts), task.batch_size)
    rows = [provider.infer(provider.tokenize(task.texts[i : i + task.batch_size])) for i in batches]
    np.save(task.vectors_file, np.concatenate(rows))
    placement = provider.session.placement()
    return {
        "status": "complete",
        "error": None,
        "placement": None if placement is None else placement._asdict(),
    }


def _die_with_the_parent() -> None:
    while os.read(0, 1 << 16):
        pass
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
