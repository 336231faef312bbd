"""What every command shares: errors as lines, signals as interruptions, warnings in one place."""

from __future__ import annotations

import errno
import os
import signal
import sys
import traceback
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import ExitCode, HarnessError, InterruptedRunError
from harness.stand_ins import harmless, use_stand_ins

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType


def run_command(body: Callable[[], int], *, measures: bool = False) -> int:
    """Run a command's body and turn whatever ends it into a line and an exit code.

    SIGINT and SIGTERM end it with 130. A defect of ours, and only that, shows a traceback. Where the output's
    encoding lacks a character, something like it is written; where it is closed, nothing.

    Args:
        body: returns the exit code.
        measures: whether it stores what it measures, so that an interruption loses nothing of it.
    """
    _reopen_closed()
    use_stand_ins(sys.stdout, sys.stderr)
    warnings.showwarning = _show_warning
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, _interrupt)
    code: int | None = None
    try:
        code = _interruptible(body)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of our output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE if code is None else code
    except InterruptedRunError as interruption:
        for name in (signal.SIGINT, signal.SIGTERM):  # it ends already: a second one would end it otherwise
            signal.signal(name, signal.SIG_IGN)
        kept = f"everything measured is kept; {interruption.remedy}" if measures else "type the command again"
        print(f"{interruption}: {kept}", file=sys.stderr)  # noqa: T201
        return interruption.exit_code
    except HarnessError as error:
        for line in str(error).split("\n"):
            print(f"error: {harmless(line)}", file=sys.stderr)  # noqa: T201
        if error.exit_code == ExitCode.DEFECT:
            traceback.print_exc()
        return error.exit_code
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            return _defect()
        where = error.filename or "the output, or the temporary directory"
        print(f"error: {where}: {error.strerror}; free space, or set TMPDIR", file=sys.stderr)  # noqa: T201
        return ExitCode.STORAGE
    except Exception:
        return _defect()
    return code


def _reopen_closed() -> None:
    """Give a process without standard output or error (``>&-``) one that goes nowhere."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115  (as long as we run)


def _interruptible(body: Callable[[], int]) -> int:
    """The body's exit code; an interruption over which a library's clean-up failed is still one."""
    try:
        return body()
    except Exception as error:
        behind: BaseException | None = error
        while behind is not None and not isinstance(behind, InterruptedRunError):
            behind = behind.__context__
        if behind is not None:
            raise behind from None
        raise


def _defect() -> int:
    print("error: a defect of the harness; please report what follows", file=sys.stderr)  # noqa: T201
    traceback.print_exc()
    return ExitCode.DEFECT


def _interrupt(number: int, _frame: FrameType | None) -> None:
    raise InterruptedRunError(f"interrupted by {signal.Signals(number).name}")


def _show_warning(message: Warning | str, *_where: object, **_more: object) -> None:
    print(f"warning: {harmless(str(message))}", file=sys.stderr)  # noqa: T201
