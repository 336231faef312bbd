"""harness: which text-embedding model, precision, execution provider and batch size can be shipped.

The public interface, imported only when it is used::

    from harness import load_runs, load_launches, decide, EmbeddingProvider
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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
