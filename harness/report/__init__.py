"""What notebooks and the report page show: results that were read, their figures, and tables of them as HTML.

``python -m harness.report`` executes the notebooks and writes one page; see `harness.report.page`.
"""

from harness.report.data import Results, compare, compare_or_why, read
from harness.report.figures import figure
from harness.report.tables import (
    comparison,
    environment,
    gates,
    noise,
    placement,
    quality,
    runs,
    speedups,
    sweeps,
    verdict,
)

__all__ = [
    "Results", "compare", "compare_or_why", "comparison", "environment", "figure", "gates", "noise",
    "placement", "quality", "read", "runs", "speedups", "sweeps", "verdict",
]  # fmt: skip
