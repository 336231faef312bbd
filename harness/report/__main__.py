"""The report: ``python -m harness.report`` executes the notebooks and writes one HTML page."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from harness import __version__
from harness.command import run_command
from harness.compose import notebooks_dir
from harness.config import parse_words
from harness.errors import BadInputError, StorageError
from harness.paths import typed_path
from harness.progress import Progress
from harness.report.data import compare, read
from harness.report.execute import Shown, execute
from harness.report.figures import FORMATS, write_figures
from harness.report.page import compose

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_DEFAULTS = {
    "results": "results", "policy": "default", "policy.file": "", "select": "", "machine": "", "baseline": "",
    "baseline.file": "", "out": "", "figures": "", "a": "", "b": "",
}  # fmt: skip
# What each notebook is given.
_MEASUREMENTS = ("results", "policy", "policy.file", "select", "machine")
_DECISION = (*_MEASUREMENTS, "baseline", "baseline.file")
_COMPARE = ("results", "a", "b", "select", "machine")
_HELP = """python -m harness.report [results=DIR] [policy=NAME] [policy.file=FILE] [select="model=e5 ep=cpu"]
                      [machine=ID] [baseline=NAME|RUN_ID] [baseline.file=FILE] [a=A b=B]
                      [out=FILE.html] [figures=png|svg|png,svg]

Executes the notebooks and writes one self-contained page, results/report.html unless out= says otherwise:
the decision as python -m harness.decide makes it, then every figure and run. select= takes columns of a run
and their values. baseline= tells speed-ups over figures that others report, or over a run. a= and b=, each a
sweep's or run's id or a results folder, are compared on the page too, of both what select= and machine=
leave. figures= writes the figures beside the page. Prints what it wrote, the page last.
Exit codes: 0, 2 bad input, 3 what executes notebooks is not installed, 5 the page cannot be written.
"""


def main(argv: list[str]) -> int:
    """Execute, compose, write; prints the page's path.

    Raises:
        BadInputError: an unknown word, or results that cannot be read, decided on or compared.
        UnavailableError: what executes notebooks is not installed.
        StorageError: the page cannot be written.
    """
    if any(word in ("--help", "-h") for word in argv):
        sys.stdout.write(_HELP)
        return 0
    words = parse_words(argv, defaults=_DEFAULTS)
    formats = [name for name in words["figures"].split(",") if name]
    if unknown := [name for name in formats if name not in FORMATS]:
        raise BadInputError(f"figures={words['figures']}: {unknown[0]} is none of {', '.join(FORMATS)}")
    if bool(words["a"]) != bool(words["b"]):
        raise BadInputError("a comparison needs both: give a=RUN_OR_SWEEP and b=RUN_OR_SWEEP")
    out = typed_path(words["out"] or f"{words['results']}/report.html")
    if words["out"] and not out.parent.is_dir():
        raise BadInputError(f"out={out}: no such folder; give one that exists")
    if out.suffix.removeprefix(".") in FORMATS:  # a figure beside it may have that name
        raise BadInputError(f"out={out}: the page is HTML; give out=FILE.html")
    if out.is_dir():
        raise BadInputError(f"out={out}: a folder; give a file, such as out={out / 'report.html'}")
    for path in _written(words, out, formats):
        sys.stdout.write(f"{path}\n")
    return 0


def _written(words: Mapping[str, str], out: Path, formats: Sequence[str]) -> list[Path]:
    """The files that were written, the page last."""
    from harness.terminal import error_console

    notebooks = [("decision", _DECISION), ("measurements", _MEASUREMENTS)]
    notebooks += [("compare", _COMPARE)] if words["a"] else []
    shown: list[Shown] = []
    with Progress(error_console()) as progress:
        progress.tell("reading the results")
        # All that can be wrong with them is told before a kernel is started.
        data = read(**_given(words, _DECISION))
        results, a, b, select, machine = (words[name] for name in _COMPARE)
        compared = compare(results, a, b, select=select, machine=machine)
        _try_to_write(out)
        for number, (name, asked) in enumerate(notebooks, start=1):
            what = f"notebook {number} of {len(notebooks)}: {name}"
            progress.tell(what)
            file = notebooks_dir() / f"{name}.ipynb"
            shown += execute(file, _given(words, asked), on_cell=partial(_tell, progress, what))
        written = f"Written {datetime.now(UTC):%Y-%m-%d %H:%M} UTC by harness {__version__}."
        page = compose(shown, title="Which embedding model can be shipped?", footer=written)
        try:
            out.write_text(page, encoding="utf-8")
            if formats:
                progress.tell("figures")
            return [*write_figures(data, out.parent, formats, compared=compared), out]
        except OSError as error:
            raise _not_written(out, error) from None


def _try_to_write(out: Path) -> None:
    """Open the page's file and leave it as it was: notebooks take long to execute for nothing.

    Raises:
        StorageError: it cannot be written.
    """
    new = not out.exists()
    try:
        with out.open("ab"):
            pass
        if new:
            out.resolve().unlink()
    except OSError as error:
        raise _not_written(out, error) from None


def _not_written(out: Path, error: OSError) -> StorageError:
    return StorageError(f"{out} cannot be written: {error.strerror}; give out=FILE.html")


def _given(words: Mapping[str, str], names: tuple[str, ...]) -> dict[str, str]:
    """Some words, as parameters of `harness.report.read` and of the notebooks alike."""
    return {name.replace(".", "_"): words[name] for name in names}


def _tell(progress: Progress, what: str, cell: int, cells: int) -> None:
    progress.tell(what, detail=f", cell {cell + 1} of {cells}")


if __name__ == "__main__":
    sys.exit(run_command(lambda: main(sys.argv[1:])))
