"""Locks between processes: whoever waits is told for whom, and the dead hold nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness.errors import StorageError
from harness.locks import hold, is_held

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HOLDER = """
import sys, time
from pathlib import Path
from harness.locks import hold
with hold(Path(sys.argv[1]), lambda who: print("waiting for", who, flush=True)):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    return tmp_path / "some.lock"


@pytest.fixture
def another(lock: Path) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    """Start another process that holds the lock, or waits for it."""
    started = []

    def start() -> subprocess.Popen[str]:
        command = [sys.executable, "-c", HOLDER, str(lock), "some", "words"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def held_within(lock: Path, seconds: float, on_wait: Callable[[str], None]) -> bool:
    """Whether the lock can be had in time; a thread takes it, so that a test cannot wait for ever."""
    got = threading.Event()

    def take() -> None:
        with hold(lock, on_wait):
            got.set()

    thread = threading.Thread(target=take, daemon=True)
    thread.start()
    thread.join(seconds)
    return got.is_set()


def and_end(
    holder: subprocess.Popen[str], waited: list[str], number: int = signal.SIGKILL
) -> Callable[[str], None]:
    """Note for whom one waits, and end that process."""

    def on_wait(who: str) -> None:
        waited.append(who)
        holder.send_signal(number)

    return on_wait


def test_a_free_lock_is_had_without_waiting(lock: Path) -> None:
    waited: list[str] = []
    with hold(lock, waited.append):
        pass
    with hold(lock, waited.append):
        pass
    assert waited == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_who_holds_a_lock_is_told_and_its_death_frees_it(
    lock: Path, another: Callable[[], subprocess.Popen[str]], number: signal.Signals
) -> None:
    holder = another()
    assert line_of(holder) == "held"
    waited: list[str] = []
    assert held_within(lock, 20, and_end(holder, waited, number))
    assert len(waited) == 1
    assert waited[0].startswith(f"process {holder.pid} since ")
    assert waited[0].endswith("some words)")


def test_a_waiting_process_goes_on_when_the_holder_is_done(
    lock: Path, another: Callable[[], subprocess.Popen[str]]
) -> None:
    with hold(lock, lambda _who: None):
        waiter = another()
        assert line_of(waiter).startswith("waiting for process ")
        assert waiter.poll() is None
    assert line_of(waiter) == "held"


def test_a_lock_is_freed_when_the_work_under_it_fails(lock: Path) -> None:
    def work() -> None:
        with hold(lock, lambda _who: None):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    waited: list[str] = []
    assert held_within(lock, 5, waited.append)
    assert waited == []


def test_a_note_that_could_not_be_replaced_names_no_dead_holder(
    lock: Path, another: Callable[[], subprocess.Popen[str]]
) -> None:
    """As where the dead process was another user's: the holder could not sign."""
    dead = another()
    assert line_of(dead) == "held"
    dead.kill()
    dead.wait()
    note = lock.with_suffix(".holder")
    kept = note.read_bytes()
    living = another()
    assert line_of(living) == "held"
    note.write_bytes(kept)
    waited: list[str] = []
    assert held_within(lock, 20, and_end(living, waited))
    assert waited == ["another process"]


def test_the_dead_are_not_named_as_holders(lock: Path, another: Callable[[], subprocess.Popen[str]]) -> None:
    dead = another()
    assert line_of(dead) == "held"
    dead.kill()
    dead.wait()
    living = another()
    assert line_of(living) == "held"
    waited: list[str] = []
    assert held_within(lock, 20, and_end(living, waited))
    assert str(living.pid) in waited[0]
    assert str(dead.pid) not in waited[0]


@pytest.mark.parametrize("note", ["", "{", "[]", '{"pid": 1}'])
def test_a_note_that_cannot_be_read_leaves_the_holder_unnamed(
    lock: Path, another: Callable[[], subprocess.Popen[str]], note: str
) -> None:
    holder = another()
    assert line_of(holder) == "held"
    lock.with_suffix(".holder").write_text(note, encoding="utf-8")
    waited: list[str] = []
    assert held_within(lock, 20, and_end(holder, waited))
    assert waited == ["another process"]


def test_nothing_but_the_lock_itself_is_left(lock: Path) -> None:
    with hold(lock, lambda _who: None):
        assert lock.with_suffix(".holder").is_file()
    assert {path.name for path in lock.parent.iterdir()} <= {lock.name}


def test_every_user_of_the_machine_can_take_the_lock(lock: Path) -> None:
    with hold(lock, lambda _who: None):
        assert lock.stat().st_mode & 0o777 == 0o666


def test_whoever_measures_shares_one_lock_whatever_the_directory_and_the_environment(tmp_path: Path) -> None:
    code = "from harness.locks import measuring_lock_path; print(measuring_lock_path())"
    places = set()
    for folder in (tmp_path / "one", tmp_path / "two"):
        folder.mkdir()
        own = {"TMPDIR": str(folder), "XDG_RUNTIME_DIR": str(folder), "HOME": str(folder)}
        command, environment = [sys.executable, "-c", code], {**os.environ, **own}
        done = subprocess.run(
            command, env=environment, cwd=folder, capture_output=True, text=True, check=True
        )
        places.add(done.stdout.strip())
    (place,) = places
    assert Path(place).is_absolute()
    assert not Path(place).is_relative_to(tmp_path)


def test_a_lock_that_cannot_be_taken_is_named_with_the_reason(lock: Path) -> None:
    lock.mkdir()
    with (
        pytest.raises(StorageError, match=r"some\.lock cannot be locked \(Is a directory\)"),
        hold(lock, print),
    ):
        pass


def test_whether_a_lock_is_held_is_told_without_waiting_and_without_making_one(
    lock: Path, another: Callable[[], subprocess.Popen[str]]
) -> None:
    assert not is_held(lock)
    assert not lock.exists()
    holder = another()
    assert line_of(holder) == "held"
    assert is_held(lock)
    holder.kill()
    holder.wait()
    assert not is_held(lock)
