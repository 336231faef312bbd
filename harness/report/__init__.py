"""What notebooks and the report page show: results that were read, and tables of them as HTML.

``python -m harness.report`` executes the notebooks and writes one page; see `harness.report.page`.
"""

from harness.report.data import Results, compare, read
from harness.report.tables import comparison, environment, gates, placement, quality, runs, verdict

__all__ = [
    "Results", "compare", "comparison", "environment", "gates", "placement", "quality", "read", "runs",
    "verdict",
]  # fmt: skip
