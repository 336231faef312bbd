"""The figures of a report: what each is drawn from, and as files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness import plots
from harness.errors import BadInputError, unknown_name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from matplotlib.figure import Figure

    from harness.comparison import Comparison
    from harness.report.data import Results

# Every figure of results; the notebooks show each once.
FIGURES: Mapping[str, Callable[[Results], Figure]] = {
    "p95_against_gates": lambda data: plots.p95_against_gates(data.runs, data.policy, data.decision),
    "launches": lambda data: plots.launches(data.launches, data.runs, data.decision),
    "scaling": lambda data: plots.scaling(data.runs, data.policy, data.decision),
    "stages": lambda data: plots.stages(data.runs, data.decision),
    "model_by_ep": lambda data: plots.model_by_ep(data.decision, data.policy),
    "pareto": lambda data: plots.pareto(data.decision, data.policy),
    "timeline": lambda data: plots.timeline(data.launches, data.runs),
}
FORMATS = ("png", "svg")
_DPI = 160


def figure(data: Results, name: str) -> Figure:
    """A figure of `FIGURES`, which bears its name as its id.

    Raises:
        BadInputError: no figure of that name.
    """
    if name not in FIGURES:
        raise BadInputError(unknown_name("figure", name, list(FIGURES)))
    drawn = FIGURES[name](data)
    drawn.set_gid(name)
    return drawn


def write_figures(
    data: Results, folder: Path, formats: Sequence[str], *, compared: Sequence[Comparison] = ()
) -> list[Path]:
    """Write every figure in every format, on white; returns the files.

    Args:
        data: the results.
        folder: where to.
        formats: of `FORMATS`; none writes nothing.
        compared: drawn as well, where there are any.

    Raises:
        OSError: a file cannot be written.
    """
    if not formats:
        return []
    figures = {name: figure(data, name) for name in FIGURES}
    if compared:
        figures["ratios"] = plots.ratios(compared)
    written = []
    for name, drawn in figures.items():
        drawn.patch.set(visible=True, facecolor="white")
        for kind in formats:
            file = folder / f"{name}.{kind}"
            drawn.savefig(file, dpi=_DPI)
            written.append(file)
    return written
