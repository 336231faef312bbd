"""harness: which text-embedding model, precision, execution provider and batch size can be shipped.

The public interface, imported only when it is used::

    from harness import load_runs, load_launches, decide, EmbeddingProvider
"""

from __future__ import annotations

import os
import signal
import sys
from importlib import import_module

TYPE_CHECKING = False  # typing itself takes as long to import as all of this; checkers know the name
if TYPE_CHECKING:
    from types import FrameType

    from harness.decision import decide
    from harness.provider import EmbeddingProvider
    from harness.store import load_launches, load_runs

__version__ = "0.1.0"

_HOMES = {
    "EmbeddingProvider": "harness.provider",
    "decide": "harness.decision",
    "load_launches": "harness.store",
    "load_runs": "harness.store",
}

__all__ = ["EmbeddingProvider", "decide", "load_launches", "load_runs"]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'harness' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])


def _end(number: int, _frame: FrameType | None) -> None:
    print(f"interrupted by {signal.Signals(number).name}: nothing was begun", file=sys.stderr)  # noqa: T201
    os._exit(130)  # an exception could be swallowed, or end in the traceback of an import


def _command() -> str:
    """The module that was given by ``-m``, while Python still looks for it; else empty.

    The first word is ``-m`` itself then (Python's documentation, sys.argv).
    """
    words = sys.orig_argv
    return words[words.index("-m") + 1] if sys.argv[:1] == ["-m"] and "-m" in words[:-1] else ""


# ONNX Runtime's builds report to Microsoft unless they are told not to before they load (its Privacy.md).
# Nobody asked for that here, and what it sends and when is no part of what is measured.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

# `python -m harness.decide` and the like import a lot before `harness.command` takes the signals over. These
# are no commands: whoever started them ends them.
_CHILDREN = ("harness.worker", "harness.artifacts.build", "harness.measure.limits")
if _command().partition(".")[0] == "harness" and _command() not in _CHILDREN:
    for _number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(_number, _end)
