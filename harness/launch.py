"""Start a worker and wait for it without taking a core: one launch, seen from outside.

Whatever happens inside (an abort, a segmentation fault, a kill, a hang) comes back as an answer with
a reason, never as an exception.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.measure.resources import held_to_cores

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.worker import Task

# The parent wakes this often, for its progress line; it never spins.
TICK_S = 1.0
# What tokenisation takes its threads from.
_OF_TOKENISATION = ("RAYON_NUM_THREADS", "RAYON_RS_NUM_CPUS", "TOKENIZERS_PARALLELISM")


def run_worker(task: Task, *, timeout_s: float, on_tick: Callable[[], None] = lambda: None) -> dict[str, Any]:
    """Run a task in a fresh process and wait for its answer.

    Args:
        task: what to do; ``spawned_monotonic_ns`` is set here.
        timeout_s: after which the process is killed.
        on_tick: called about once a second while waiting.

    Returns:
        The worker's answer, or ``{"status": "failed" | "timeout", "error": reason}``. An interruption
        (KeyboardInterrupt and the like) kills the worker and is passed on.
    """
    with (
        tempfile.TemporaryDirectory(prefix="harness-launch-") as folder,
        tempfile.TemporaryFile() as log,
    ):
        answer_file = Path(folder) / "answer.json"
        message = {**asdict(task), "answer_file": str(answer_file)}
        message["spawned_monotonic_ns"] = time.monotonic_ns()
        with held_to_cores(task.cpus):
            worker = subprocess.Popen(
                [sys.executable, "-m", "harness.worker"],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=_environment(task),
                start_new_session=True,  # Ctrl-C reaches the parent alone, which then ends the worker
            )
        try:
            ended = _wait(worker, json.dumps(message).encode() + b"\n", timeout_s, on_tick)
        finally:
            if worker.poll() is None:
                worker.kill()
                worker.wait()
            with suppress(BrokenPipeError):
                worker.stdin.close()  # type: ignore[union-attr]
        if not ended:
            return {"status": "timeout", "error": f"killed after {timeout_s:g} s without an answer"}
        try:
            answer: dict[str, Any] = json.loads(answer_file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            log.seek(0)
            return {"status": "failed", "error": _reason(worker.returncode, log.read())}
        return answer


def _wait(
    worker: subprocess.Popen[bytes], message: bytes, timeout_s: float, on_tick: Callable[[], None]
) -> bool:
    """Hand the worker its task and block until it ends (True) or the time is up (False).

    A thread blocks in write and waitpid and this one on a lock; `Popen.wait(timeout)` would poll.
    """

    def feed_and_wait() -> None:
        assert worker.stdin is not None
        with suppress(BrokenPipeError):  # it died before it read its task
            worker.stdin.write(message)
            worker.stdin.flush()
        worker.wait()

    waiter = threading.Thread(target=feed_and_wait, daemon=True)
    waiter.start()
    deadline = time.monotonic() + timeout_s
    while waiter.is_alive():
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        waiter.join(min(TICK_S, left))
        on_tick()
    return True


def _environment(task: Task) -> dict[str, str]:
    """The parent's environment, with no network and tokenisation held to the candidate's threads alone.

    What a shell says of them is in no run's identity, and is left out.
    """
    environment = {name: value for name, value in os.environ.items() if name not in _OF_TOKENISATION}
    if not task.mteb_tasks:  # their data sets may have to be downloaded
        environment["HF_HUB_OFFLINE"] = "1"
    threads = task.options.get("threads")
    if threads is not None:
        environment["RAYON_NUM_THREADS"] = str(threads)
    return environment


def _reason(returncode: int, log: bytes) -> str:
    lines = log.decode(errors="replace").strip().splitlines()
    last = f": {lines[-1].strip()[:200]}" if lines else ""
    if returncode < 0:
        try:
            return f"killed by {signal.Signals(-returncode).name}{last}"
        except ValueError:
            return f"killed by signal {-returncode}{last}"
    return f"exited with code {returncode}{last}"
