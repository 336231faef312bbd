"""What every command shares: each end is a line and an exit code, and only a defect shows a traceback."""

from __future__ import annotations

import errno
import io
import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import harness
from harness import errors
from harness.command import run_command
from harness.errors import ExitCode, HarnessError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(autouse=True)
def _own_process_state() -> Iterator[None]:
    """A command takes signals and warnings of its process over; a test gives them back."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    with warnings.catch_warnings():
        yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


def raising(error: BaseException) -> Callable[[], int]:
    def body() -> int:
        raise error

    return body


def test_a_name_within_an_error_moves_no_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(raising(errors.BadInputError("path=a\x1b[2J\r: no such file"))) == 2
    assert capsys.readouterr().err == "error: path=a\\x1b[2J\\r: no such file\n"


def test_what_the_body_returns_is_the_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(lambda: 11) == 11
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.BadInputError("batch_size=0: must be at least 1"), 2),
        (errors.UnavailableError("not here"), 3),
        (errors.ModelUnavailableError("no source"), 3),
        (errors.EpUnavailableError("ep=coreml"), 3),
        (errors.RuntimeUnavailableError("no such runtime"), 3),
        (errors.ArtifactError("damaged"), 3),
        (errors.StorageError("disk full"), 5),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else value,
)
def test_an_error_that_a_person_can_mend_is_a_line_and_its_code(
    error: HarnessError, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(raising(error)) == code == error.exit_code
    captured = capsys.readouterr()
    assert (captured.err, captured.out) == (f"error: {error}\n", "")


def test_every_error_of_the_harness_has_a_code_of_the_contract() -> None:
    def below(kind: type[HarnessError]) -> set[type[HarnessError]]:
        return {kind}.union(*(below(sub) for sub in kind.__subclasses__()))

    assert {kind.exit_code for kind in below(HarnessError)} == {
        ExitCode.DEFECT,
        ExitCode.BAD_INPUT,
        ExitCode.UNAVAILABLE,
        ExitCode.STORAGE,
    }
    assert errors.InterruptedRunError("stopped").exit_code == ExitCode.INTERRUPTED == 130


def test_several_problems_are_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(raising(errors.BadInputError("a=1: no", "b=2: no"))) == 2
    assert capsys.readouterr().err == "error: a=1: no\nerror: b=2: no\n"


@pytest.mark.parametrize(
    "error", [RuntimeError("odd"), HarnessError("no schema declares x"), OSError(5, "I/O")]
)
def test_a_defect_is_shown_whole(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(raising(error)) == ExitCode.DEFECT == 1
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert "Traceback" in told
    assert str(error) in told


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_anywhere_is_no_defect(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(raising(OSError(number, os.strerror(number), "/somewhere"))) == ExitCode.STORAGE
    told = capsys.readouterr().err
    assert told.startswith(f"error: /somewhere: {os.strerror(number)}")
    assert len(told.splitlines()) == 1


def test_a_full_output_is_not_blamed_on_the_temporary_directory_alone(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run_command(raising(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))) == ExitCode.STORAGE
    assert capsys.readouterr().err.startswith("error: the output, or the temporary directory: No space left")


def test_a_closed_output_changes_no_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)

    def body() -> int:
        sys.stdout.write("{}")
        sys.stderr.write("a warning")
        return 11

    assert run_command(body) == 11
    sys.stdout.close()
    sys.stderr.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_interrupts_and_says_how_to_go_on(
    number: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    def body() -> int:
        signal.raise_signal(number)
        return 0

    assert run_command(body, measures=True) == ExitCode.INTERRUPTED == 130
    (line,) = capsys.readouterr().err.splitlines()
    assert line == (
        f"interrupted by {number.name}: everything measured is kept; type the command again to go on"
    )
    assert run_command(body) == 130
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"interrupted by {number.name}: type the command again", "nothing was measured"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_changes_no_exit_code(number: signal.Signals) -> None:
    """It may come at any time, until the interpreter has ended."""
    code = (
        "import atexit, signal, sys\n"
        "from harness.command import run_command\n"
        f"atexit.register(signal.raise_signal, {int(number)})\n"
        f"sys.exit(run_command(lambda: signal.raise_signal({int(number)})))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == ExitCode.INTERRUPTED
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("module", ["harness", "harness.decide"])
def test_a_signal_while_a_command_still_imports_is_a_line_too(
    module: str, number: signal.Signals, tmp_path: Path
) -> None:
    stub = f"import signal; signal.raise_signal({int(number)})"  # stands before what the command imports
    (tmp_path / ("hydra.py" if module == "harness" else "numpy.py")).write_text(stub, encoding="utf-8")
    environment = {
        **os.environ,
        "PYTHONPATH": f"{tmp_path}{os.pathsep}{Path(harness.__file__).parent.parent}",
    }
    command = [sys.executable, "-m", module, f"results={tmp_path}"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=60)
    assert done.returncode == ExitCode.INTERRUPTED
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"interrupted by {number.name}: ")


def test_whoever_only_imports_the_package_keeps_the_signals() -> None:
    code = "import signal; a = signal.getsignal(2); import harness; assert signal.getsignal(2) is a"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_not_swallowed_by_whoever_catches_every_error(number: signal.Signals) -> None:
    def body() -> int:
        try:
            signal.raise_signal(number)
        except Exception:  # as libraries do around what may fail
            return 0
        return 0

    assert run_command(body) == ExitCode.INTERRUPTED


def test_a_signal_over_which_a_library_fails_is_still_an_interruption(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """As OmegaConf's clean-up does: what it raises would else be told as a wrong value."""

    def body() -> int:
        try:
            try:
                os.kill(os.getpid(), signal.SIGINT)
            finally:
                None.clean_up()  # type: ignore[attr-defined]
        except AttributeError as error:
            raise errors.BadInputError(f"a wrong value: {error}") from None
        return 0

    assert run_command(body) == ExitCode.INTERRUPTED
    told = capsys.readouterr().err
    assert told.startswith("interrupted by SIGINT")
    assert "error" not in told


def test_a_warning_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def body() -> int:
        warnings.simplefilter("always")
        warnings.warn("skipped results/runs/x.parquet", UserWarning, stacklevel=1)
        return 0

    assert run_command(body) == 0
    assert capsys.readouterr().err == "warning: skipped results/runs/x.parquet\n"


COMMAND = """
import sys
from harness.command import run_command

def body():
    print("x" * {characters})
    return {code}

sys.exit(run_command(body))
"""


@pytest.mark.parametrize("code", [0, 11])
@pytest.mark.parametrize("characters", [10, 1_000_000], ids=["noticed at the end", "noticed while writing"])
def test_a_reader_that_has_gone_is_neither_a_defect_nor_another_verdict(characters: int, code: int) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    command = [sys.executable, "-c", COMMAND.format(characters=characters, code=code)]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    done = subprocess.run(
        command, stdout=write_end, stderr=subprocess.PIPE, env=environment, text=True, timeout=60
    )
    os.close(write_end)
    assert done.stderr == ""
    assert done.returncode in (code, 128 + signal.SIGPIPE)


def test_an_output_that_lacks_characters_is_written_with_others(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))

    def body() -> int:
        sys.stdout.write("· 3–5 ms\n")
        return 11

    assert run_command(body) == 11
    assert raw.getvalue() == b"- 3-5 ms\n"
