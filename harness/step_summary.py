"""A decision's page in a pipeline's own summary: GitHub shows what a step appends to $GITHUB_STEP_SUMMARY."""

from __future__ import annotations

import os
import warnings

from harness.errors import StorageError
from harness.paths import typed_path

# Of one step; a longer summary is not shown at all (docs.github.com, "Workflow commands", job summaries).
MOST_BYTES = 1024 * 1024
_CUT = "\n\nThe rest is left out: a step's summary holds 1 MiB. The whole page stands beside the runs.\n"


class StepSummaryWarning(UserWarning):
    """The pipeline's summary could not be written; the verdict stands."""


def append_summary(page: str, asked: str = "") -> None:
    """Append a page to the file that was asked for, else to the pipeline's, else nowhere.

    Args:
        page: Markdown; cut at a line where the file would become too long to be shown.
        asked: a file's name; empty takes the environment's GITHUB_STEP_SUMMARY.

    Raises:
        StorageError: the file that was asked for cannot be written. Of the environment's own file that is a
            StepSummaryWarning: a pipeline must not read a verdict as another one for it.
    """
    name = asked or os.environ.get("GITHUB_STEP_SUMMARY", "")
    if not name:
        return
    file = typed_path(name)
    try:
        with file.open("a+b") as summary:
            if end := summary.tell():
                summary.seek(end - 1)
                page = page if summary.read() == b"\n" else f"\n{page}"
            summary.write(_cut(page, MOST_BYTES - end))
    except OSError as error:
        told = f"the summary {name} cannot be written: {error.strerror}"
        if asked:
            raise StorageError(f"{told}; give summary=FILE") from None
        warnings.warn(told, StepSummaryWarning, stacklevel=2)


def _cut(page: str, most: int) -> bytes:
    """The page, or as many whole lines of it as fit with a word on the rest; nothing where that does not."""
    whole, rest = page.encode(), _CUT.encode()
    if len(whole) <= most:
        return whole
    return whole[: most - len(rest)].rpartition(b"\n")[0] + rest if most >= len(rest) else b""
