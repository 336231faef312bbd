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

import psutil
from filelock import FileLock, Timeout

from harness.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from filelock import BaseFileLock


# Whoever waits wakes no more often, so as not to disturb whoever measures.
_POLL_S = 1.0
# Where all processes of a machine meet, whoever their users are and whatever TMPDIR says. Windows has no such
# place for all of its users.
MACHINE_WIDE = Path("/tmp" if os.name == "posix" else tempfile.gettempdir())  # noqa: S108


@contextmanager
def hold(path: Path, on_wait: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock at `path`; while somebody else does, wait, after one call of `on_wait`.

    Args:
        path: of the lock; who holds it is written beside it.
        on_wait: called with a description of the holder.

    Raises:
        StorageError: the lock cannot be taken at all, as where something else is in its place.
    """
    note = path.with_suffix(".holder")
    lock = FileLock(path, mode=0o666)
    if not _taken(lock, timeout_s=0):
        on_wait(_holder(note))
        _taken(lock, timeout_s=-1)
    try:
        with suppress(OSError):  # a courtesy; another user's note may be in the way
            _sign(note)
        yield
    finally:
        with suppress(OSError):
            note.unlink(missing_ok=True)
        lock.release()


def is_held(path: Path) -> bool:
    """Whether somebody holds the lock at `path` now."""
    if not path.is_file():  # nobody ever did, and looking would make it
        return False
    lock = FileLock(path, mode=0o666)
    try:
        held = not _taken(lock, timeout_s=0)
    except StorageError:  # another user's: whether they hold it cannot be told
        return False
    lock.release()
    return held


def measuring_lock_path() -> Path:
    """The lock of whoever measures on this machine: one for all results folders and all users."""
    return MACHINE_WIDE / "embedding-harness-measuring.lock"


def _taken(lock: BaseFileLock, *, timeout_s: float) -> bool:
    """Whether the lock could be had in time; below 0 it is waited for as long as it takes."""
    try:
        lock.acquire(timeout=timeout_s, poll_interval=_POLL_S)
    except Timeout:
        return False
    except OSError as error:
        raise StorageError(
            f"{lock.lock_file} cannot be locked ({error.strerror}), and whoever measures holds it; let it be "
            "a file that can be written"
        ) from None
    return True


def _sign(note: Path) -> None:
    since = datetime.now(UTC).strftime("%H:%M:%S UTC")
    command = " ".join(sys.argv)[:200]
    text = json.dumps({"pid": os.getpid(), "since": since, "command": command})
    note.write_text(text, encoding="utf-8")


def _holder(note: Path) -> str:
    """Who holds the lock. The note of a dead process is one that could not be replaced, and tells nothing."""
    try:
        who = json.loads(note.read_text(encoding="utf-8"))
        told = f"process {who['pid']} since {who['since']} ({who['command']})"
        return told if psutil.pid_exists(who["pid"]) else "another process"
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return "another process"
