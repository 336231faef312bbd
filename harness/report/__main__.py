"""The report: ``python -m harness.report`` executes the notebooks and writes one HTML page."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

from harness.command import run_command
from harness.compose import notebooks_dir
from harness.config import parse_words
from harness.errors import BadInputError, StorageError
from harness.progress import Progress
from harness.report.data import read
from harness.report.execute import Shown, execute
from harness.report.figures import FORMATS, write_figures
from harness.report.page import compose

_DEFAULTS = {
    "results": "results", "policy": "default", "select": "", "machine": "", "out": "", "figures": "",
    "a": "", "b": "",
}  # fmt: skip
_HELP = """python -m harness.report [results=DIR] [policy=NAME|FILE.yaml] [select="model=minilm,e5 ep=cpu"]
                      [machine=ID] [a=RUN_OR_SWEEP b=RUN_OR_SWEEP] [out=FILE.html] [figures=png|svg|png,svg]

Executes the notebooks and writes one self-contained page, results/report.html unless out= says otherwise: the
decision, then every figure and run. With a= and b= it compares them too. figures= writes the figures as well.
Exit codes: 0, 2 bad input, 3 what executes notebooks is not installed.
"""


def main(argv: list[str]) -> int:
    """Execute, compose, write; prints the page's path.

    Raises:
        BadInputError: an unknown word, or results that cannot be read.
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
    results = Path(words["results"]).expanduser().resolve()
    chosen = {name: words[name] for name in ("policy", "select", "machine")}
    data = read(results, **chosen)  # told before a kernel is started
    out = Path(words["out"] or results / "report.html").expanduser()
    if not out.parent.is_dir():
        raise BadInputError(f"out={out}: no such folder; give one that exists")
    asked = {"results": str(results), **chosen}
    notebooks = [("decision", asked), ("measurements", asked)]
    if words["a"]:
        notebooks.append(("compare", {"results": str(results), "a": words["a"], "b": words["b"]}))
    page = compose(_executed(notebooks), title="Which embedding model can be shipped?")
    try:
        out.write_text(page, encoding="utf-8")
        written = write_figures(data, out.parent, formats)
    except OSError as error:
        raise StorageError(f"{out} cannot be written: {error.strerror}; give out=FILE.html") from None
    for path in (*written, out):
        sys.stdout.write(f"{path}\n")
    return 0


def _executed(notebooks: list[tuple[str, dict[str, str]]]) -> list[Shown]:
    from harness.terminal import error_console

    shown = []
    with Progress(error_console()) as progress:
        for number, (name, parameters) in enumerate(notebooks, start=1):
            what = f"notebook {number} of {len(notebooks)}: {name}"
            progress.tell(what)
            shown += execute(
                notebooks_dir() / f"{name}.ipynb", parameters, on_cell=partial(_tell, progress, what)
            )
    return shown


def _tell(progress: Progress, what: str, cell: int, cells: int) -> None:
    progress.tell(what, detail=f", cell {cell + 1} of {cells}")


if __name__ == "__main__":
    sys.exit(run_command(lambda: main(sys.argv[1:])))
