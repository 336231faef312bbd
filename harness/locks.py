"""Locks between processes; the system frees them when their holder dies, however it dies."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


# Whoever waits wakes no more often, so as not to disturb whoever measures.
_POLL_S = 1.0


@contextmanager
def hold(path: Path, on_wait: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock at `path`; while somebody else does, wait, after one call of `on_wait`.

    Args:
        path: of the lock; who holds it is written beside it.
        on_wait: called with a description of the holder.
    """
    note = path.with_suffix(".holder")
    lock = FileLock(path, mode=0o666)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        on_wait(_holder(note))
        lock.acquire(poll_interval=_POLL_S)
    try:
        with suppress(OSError):  # a courtesy; another user's note may be in the way
            _sign(note)
        yield
    finally:
        with suppress(OSError):
            note.unlink(missing_ok=True)
        lock.release()


def measuring_lock_path() -> Path:
    """The lock of whoever measures on this machine: one for all results folders.

    It stands in the temporary directory, and so is one for all users where they share that.
    """
    return Path(tempfile.gettempdir()) / "embedding-harness-measuring.lock"


def _sign(note: Path) -> None:
    since = datetime.now(UTC).strftime("%H:%M:%S UTC")
    command = " ".join(sys.argv)[:200]
    text = json.dumps({"pid": os.getpid(), "since": since, "command": command})
    note.write_text(text, encoding="utf-8")


def _holder(note: Path) -> str:
    try:
        who = json.loads(note.read_text(encoding="utf-8"))
        return f"process {who['pid']} since {who['since']} ({who['command']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
