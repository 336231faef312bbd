"""The figures of a report as files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness import plots

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from harness.report.data import Results

FORMATS = ("png", "svg")
_DPI = 160


def write_figures(data: Results, folder: Path, formats: Sequence[str]) -> list[Path]:
    """Write every figure of the results in every format, on white; returns the files.

    Raises:
        OSError: a file cannot be written.
    """
    written: list[Path] = []
    if not formats:
        return written
    figures = {
        "p95_against_gates": plots.p95_against_gates(data.runs, data.policy),
        "launches": plots.launches(data.launches, data.runs),
        "scaling": plots.scaling(data.runs),
        "model_by_ep": plots.model_by_ep(data.runs),
        "stages": plots.stages(data.runs),
        "pareto": plots.pareto(data.runs),
        "timeline": plots.timeline(data.launches, data.runs),
    }
    for name, figure in figures.items():
        figure.patch.set(visible=True, facecolor="white")
        for kind in formats:
            file = folder / f"{name}.{kind}"
            figure.savefig(file, dpi=_DPI)
            written.append(file)
    return written
