"""Builds within the tests' own process: most of a small build's time is what its process imports."""

from __future__ import annotations

import io
import json
import logging
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from harness.artifacts import build

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def quietly() -> Iterator[None]:
    """What the libraries of a build warn of, and where they leave logging, is no test's."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)


def build_here(request: dict[str, Any], **_: Any) -> dict[str, Any]:
    """As `harness.artifacts.process.run_build` where it goes well, within this process.

    In a process of their own are the `minilm` fixture's build and those that fail.
    """
    request = json.loads(json.dumps(request))
    with quietly():
        answer = build.convert if "base" in request else build.build
        known: dict[str, Any] = json.loads(json.dumps(answer(request, io.StringIO())))
        return known
