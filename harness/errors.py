"""Every error a person can cause or mend, each with its exit code.

::

    HarnessError                        1   a defect of ours, when nothing below fits
    ├── BadInputError                   2   a key, a value, a file that cannot be used as it is
    │   └── LengthError                     no text of the workload's length for this model
    ├── UnavailableError                3   not possible on this machine, as it is set up now
    │   ├── ModelUnavailableError           no source of the model could be reached
    │   ├── EpUnavailableError              the execution provider is not in this build
    │   ├── RuntimeUnavailableError         the runtime's package is not installed
    │   ├── ArtifactError                   the artifact cannot be built, or is not what it must be
    │   └── ProbeError                      it loads here, and does not run as it must
    └── StorageError                    5   what was measured could not be written
    InterruptedRunError               130   SIGINT or SIGTERM; a KeyboardInterrupt, so that nobody who
                                            catches every Exception swallows it

A message is one line: what was wrong, the value, and the remedy.
"""

from __future__ import annotations

import difflib
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class ExitCode(IntEnum):
    """Exit codes of every command.

    Attributes:
        OK: done. ``harness.decide``: GO; ``harness.compare``: no regression; ``harness.stages``: all agree.
        DEFECT: a defect of the harness; a traceback is shown.
        BAD_INPUT: bad input: each problem in a line, with the nearest valid names.
        UNAVAILABLE: not possible here: the model, the execution provider or a package is missing; the line
            says how to get it.
        LAUNCH_FAILED: ``harness``: a launch failed, or a run of a sweep was not possible here.
        STORAGE: results or artifacts could not be written.
        CONDITIONAL_GO: ``harness.decide``: every must gate passes, a latency target or production's load not.
        NO_GO: ``harness.decide``: a must gate fails, or launches failed.
        INCONCLUSIVE: ``harness.decide``: a must gate is undecided or was not measured.
        REGRESSION: ``harness.compare``: B is slower; ``harness.stages``: a stage departs from the model.
        INTERRUPTED: interrupted; everything measured is kept.
    """

    OK = 0
    DEFECT = 1
    BAD_INPUT = 2
    UNAVAILABLE = 3
    LAUNCH_FAILED = 4
    STORAGE = 5
    CONDITIONAL_GO = 10
    NO_GO = 11
    INCONCLUSIVE = 12
    REGRESSION = 13
    INTERRUPTED = 130


class HarnessError(Exception):
    """Base of all errors raised on purpose."""

    exit_code: ExitCode = ExitCode.DEFECT


class BadInputError(HarnessError):
    """One or more unusable values; `problems` holds each as a line of its own."""

    exit_code = ExitCode.BAD_INPUT

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems: tuple[str, ...] = problems


class LengthError(BadInputError):
    """No text is as long as the workload asks: a row of a sweep, in which other models or lengths may do."""


class UnavailableError(HarnessError):
    """Valid, but not possible here; the message says how to make it possible."""

    exit_code = ExitCode.UNAVAILABLE


class ModelUnavailableError(UnavailableError):
    """No source of the model could be reached."""


class EpUnavailableError(UnavailableError):
    """The execution provider is not in the installed ONNX Runtime."""


class RuntimeUnavailableError(UnavailableError):
    """The runtime's package is not installed."""


class ArtifactError(UnavailableError):
    """An artifact cannot be built here, or is not what its manifest says."""


class ProbeError(UnavailableError):
    """A run's own requests, tried before anything is timed, fail or give no numbers."""


class StorageError(HarnessError):
    """Results or artifacts could not be written."""

    exit_code = ExitCode.STORAGE


class InterruptedRunError(KeyboardInterrupt):
    """Stopped by a signal; everything measured until then is stored. `remedy` says how to go on."""

    exit_code = ExitCode.INTERRUPTED
    remedy = "type the command again to go on"


# More valid names than this are not listed in one line.
_MOST_LISTED = 20


def nearest(name: str, valid: Iterable[str], *, most: int = 3, alike: float = 0.5) -> list[str]:
    """The valid names closest to `name`, closest first; none that is less `alike`, from 0 to 1."""
    return difflib.get_close_matches(name, list(valid), n=most, cutoff=alike)


def unknown_name(what: str, name: str, valid: Sequence[str]) -> str:
    """One line on an unknown name: the nearest valid ones, else all of them, or where they are told."""
    close = nearest(name, valid)
    if close:
        hint = f"did you mean {' or '.join(close)}?"
    elif len(valid) <= _MOST_LISTED:
        hint = f"valid: {', '.join(sorted(valid))}"
    elif what == "key":
        hint = "python -m harness --cfg job shows the valid ones"
    else:
        hint = f"the nearest are {', '.join(nearest(name, valid, alike=0.0))}"
    return f"unknown {what} '{name}': {hint}"
