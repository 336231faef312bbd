"""A launch from outside: whatever happens inside comes back as an answer with a reason."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import pytest

from harness.launch import run_worker
from harness.runtimes.base import SessionOptions
from harness.worker import Task

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.artifacts.manifest import Artifact

WARMUP, TIMED = 5, 100


@pytest.fixture
def task(fake_artifact: Artifact, tmp_path: Path) -> Callable[..., Task]:
    """A launch of the fake runtime that behaves as told."""
    requests = {"warmup": [["warm"]] * WARMUP, "timed": [["some text"]] * TIMED}
    (tmp_path / "requests.json").write_text(json.dumps(requests), encoding="utf-8")

    def made(behaviour: str = "ok", **changes: Any) -> Task:
        script = {"infer_ms": [2.0], "tokenize_ms": 0.0, "launches": [behaviour]}
        made = Task(
            kind="latency",
            artifact=str(fake_artifact.path),
            runtime="fake",
            options=asdict(SessionOptions(script=script, launch_index=0)),
            requests_file=str(tmp_path / "requests.json"),
        )
        return replace(made, **changes)

    return made


_BEFORE: set[Path] = set()


def _folders() -> set[Path]:
    return set(Path(tempfile.gettempdir()).glob("harness-launch-*"))


@pytest.fixture(autouse=True)
def _what_killed_parents_left() -> None:
    """A parent that was killed leaves its folder to the system; such ones of other tests do not count."""
    _BEFORE.clear()
    _BEFORE.update(_folders())


def left_overs() -> list[Path]:
    """Folders of launches that were not removed."""
    return sorted(_folders() - _BEFORE)


def test_a_good_launch_answers_with_as_many_samples_as_requests(task: Callable[..., Task]) -> None:
    answer = run_worker(task(), timeout_s=30)
    assert answer["status"] == "complete"
    assert answer["error"] is None
    assert answer["total_ns"] == [2_000_000] * TIMED
    assert len(answer["tokenize_ns"]) == len(answer["infer_ns"]) == TIMED
    assert left_overs() == []


def test_a_cold_start_counts_from_the_process_s_creation(task: Callable[..., Task]) -> None:
    started = time.monotonic()
    answer = run_worker(task(), timeout_s=30)
    elapsed = time.monotonic() - started
    assert 0 < answer["session_load_s"] < answer["cold_start_s"] < elapsed
    assert answer["cold_start_s"] > 0.05, "an interpreter and numpy do not start in less"


@pytest.mark.parametrize(
    ("behaviour", "error"),
    [
        ("raise", "RuntimeError: scripted failure"),
        ("exit", "exited with code 3"),
        ("abort", "killed by SIGABRT"),
        ("sigkill", "killed by SIGKILL"),
        ("nan", "a vector holds NaN or infinity"),
    ],
)
def test_a_launch_that_goes_wrong_is_failed_with_its_reason(
    task: Callable[..., Task], behaviour: str, error: str
) -> None:
    answer = run_worker(task(behaviour), timeout_s=30)
    assert answer["status"] == "failed"
    assert answer["error"] == error
    assert left_overs() == []


def test_a_launch_that_hangs_is_killed_when_its_time_is_up(task: Callable[..., Task]) -> None:
    ticks: list[float] = []
    started = time.monotonic()
    hanging = task("hang")
    answer = run_worker(hanging, timeout_s=2.2, on_tick=lambda: ticks.append(time.monotonic() - started))
    assert answer == {"status": "timeout", "error": "killed after 2.2 s without an answer"}
    assert 2.2 <= time.monotonic() - started < 60
    assert 2 <= len(ticks) <= 5, "about once a second"
    assert psutil.Process().children() == []
    assert left_overs() == []


def test_the_parent_takes_no_core_while_it_waits(task: Callable[..., Task]) -> None:
    before = time.process_time()
    run_worker(task("hang"), timeout_s=1.3)
    assert time.process_time() - before < 0.2


def test_an_interruption_ends_the_worker_and_is_passed_on(task: Callable[..., Task]) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run_worker(task("hang"), timeout_s=600, on_tick=interrupt)
    assert time.monotonic() - started < 60
    assert psutil.Process().children() == []
    assert left_overs() == []


def test_the_memory_of_a_launch_is_its_own_and_not_its_parent_s(task: Callable[..., Task]) -> None:
    block = np.ones(300 * 2**20, dtype=np.uint8)
    answer = run_worker(task(), timeout_s=30)
    assert psutil.Process().memory_info().rss > block.nbytes
    assert 10 * 2**20 < answer["peak_rss_bytes"] < 250 * 2**20


def test_each_launch_is_a_process_of_its_own(task: Callable[..., Task]) -> None:
    first, second = (run_worker(task(), timeout_s=30) for _ in range(2))
    assert len({first["pid"], second["pid"], psutil.Process().pid}) == 3


def test_vectors_are_left_in_the_file_that_the_task_names(task: Callable[..., Task], tmp_path: Path) -> None:
    file = tmp_path / "vectors.npy"
    answer = run_worker(task(kind="vectors", texts=["a", "b c"], vectors_file=str(file)), timeout_s=30)
    assert answer["status"] == "complete"
    assert np.load(file).shape == (2, 384)


# --- processes that are no workers


def instead(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str) -> None:
    """Start a shell script where the interpreter would be; `read task` takes what it is told."""
    path = tmp_path / "interpreter"
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(path))


@pytest.mark.parametrize("threads", [None, 3])
def test_tokenisation_is_held_to_the_candidate_s_threads_and_nothing_goes_online(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, task: Callable[..., Task], threads: int | None
) -> None:
    monkeypatch.setenv("RAYON_NUM_THREADS", "16")  # of the shell's own: no run's identity has it
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")
    monkeypatch.delenv("HF_HUB_OFFLINE")
    told = "$TOKENIZERS_PARALLELISM$RAYON_NUM_THREADS/$HF_HUB_OFFLINE"
    instead(monkeypatch, tmp_path, f'read task; echo "{told}"; exit 7')
    answer = run_worker(task(options=asdict(SessionOptions(threads=threads))), timeout_s=30)
    assert answer == {"status": "failed", "error": f"exited with code 7: {threads or ''}/1"}
    answer = run_worker(task(kind="mteb", mteb_tasks=["STS12"], options={"threads": threads}), timeout_s=30)
    assert answer["error"].endswith(f" {threads or ''}/"), "but mteb may download its data"


def test_the_last_line_that_a_dying_worker_prints_is_its_reason(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, task: Callable[..., Task]
) -> None:
    instead(monkeypatch, tmp_path, "read task; echo first; echo 'Illegal instruction' >&2; kill -SEGV $$")
    answer = run_worker(task(), timeout_s=30)
    assert answer == {"status": "failed", "error": "killed by SIGSEGV: Illegal instruction"}


def test_a_worker_that_ends_without_an_answer_has_failed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, task: Callable[..., Task]
) -> None:
    instead(monkeypatch, tmp_path, "read task; exit 0")
    assert run_worker(task(), timeout_s=30) == {"status": "failed", "error": "exited with code 0"}


class LateParent(subprocess.Popen[bytes]):
    """A process whose parent comes to write to it only when it has ended."""

    def __init__(self, *words: Any, **settings: Any) -> None:
        super().__init__(*words, **settings)
        time.sleep(0.3)


@pytest.mark.parametrize("texts", [1, 10_000], ids=["a short task", "a long task"])
def test_a_worker_that_dies_before_it_has_read_its_task_has_failed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, task: Callable[..., Task], texts: int
) -> None:
    instead(monkeypatch, tmp_path, "echo 'cannot import'; exit 4")
    monkeypatch.setattr(subprocess, "Popen", LateParent)
    unread = task(kind="vectors", texts=["a text of some length"] * texts)
    answer = run_worker(unread, timeout_s=30)
    assert answer == {"status": "failed", "error": "exited with code 4: cannot import"}
    assert left_overs() == []


def test_a_worker_that_dies_while_it_reads_a_long_task_has_failed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, task: Callable[..., Task]
) -> None:
    instead(monkeypatch, tmp_path, "head -c 1000 > /dev/null; exit 4")
    answer = run_worker(task(kind="vectors", texts=["a text of some length"] * 50_000), timeout_s=30)
    assert answer == {"status": "failed", "error": "exited with code 4"}


def test_a_worker_that_never_reads_a_long_task_is_killed_when_its_time_is_up(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, task: Callable[..., Task]
) -> None:
    instead(monkeypatch, tmp_path, "exec sleep 600")
    started = time.monotonic()
    answer = run_worker(task(kind="vectors", texts=["a text of some length"] * 50_000), timeout_s=1)
    assert answer["status"] == "timeout"
    assert time.monotonic() - started < 60


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system cannot hold a process to cores")
@pytest.mark.parametrize("cpus", [None, 1])
def test_a_launch_is_started_on_its_cores(
    task: Callable[..., Task], monkeypatch: pytest.MonkeyPatch, cpus: int | None
) -> None:
    """What its start takes elsewhere would hide what others take of its cores meanwhile."""
    mine, held = sorted(os.sched_getaffinity(0)), []
    popen = subprocess.Popen

    def seen(*args: Any, **kwargs: Any) -> subprocess.Popen[bytes]:
        held.append(sorted(os.sched_getaffinity(0)))
        return popen(*args, **kwargs)

    monkeypatch.setattr("harness.launch.subprocess.Popen", seen)
    assert run_worker(task(cpus=cpus), timeout_s=60)["status"] == "complete"
    assert held == [mine[:cpus]]
    assert sorted(os.sched_getaffinity(0)) == mine
