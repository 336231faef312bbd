"""What an external provider takes over the Python reference: the same model, under the same load. Pure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from harness import stats
from harness.gates import as_number, row_place

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# The runtime of the Python reference; whatever else executes is external to it.
REFERENCE = "onnxruntime"
# What has to agree besides the place and the cores, for the two to serve the same vectors.
_SAME_MODEL = ("model", "model_id", "revision", "weights", "precision", "pooling", "dim", "ep")


def with_overhead(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows with `latency_overhead` and its interval, in shares: 0.2 is a fifth more.

    It is the ratio of the launches' P95 less 1, Hodges-Lehmann's with its exact interval
    (`harness.stats.shift_interval` of the logarithms); `overhead_over` names the reference, of several the
    fastest. Null for the reference itself, without one, and where a launch of either failed or was stopped
    early.
    """
    references: dict[tuple[Any, ...], Mapping[str, Any]] = {}
    for row in sorted(rows, key=lambda row: (as_number(row["latency_p95_ms"]) or math.inf, row["run_id"])):
        if row["runtime"] == REFERENCE and _log_p95s(row) is not None:
            references.setdefault(_work(row), row)
    return [{**row, **_overhead(row, references.get(_work(row)))} for row in rows]


def _overhead(row: Mapping[str, Any], reference: Mapping[str, Any] | None) -> dict[str, Any]:
    ours, theirs = _log_p95s(row), None if reference is None else _log_p95s(reference)
    if row["runtime"] == REFERENCE or reference is None or ours is None or theirs is None:
        return dict.fromkeys(("latency_overhead", "latency_overhead_low", "latency_overhead_high"))
    low, high = stats.shift_interval(theirs, ours)
    return {
        "overhead_over": f"{reference['candidate_label']}, run {reference['run_id']}",
        "latency_overhead": math.expm1(stats.shift_centre(theirs, ours)),
        "latency_overhead_low": None if low is None else math.expm1(low),
        "latency_overhead_high": None if high is None else math.expm1(high),
    }


def _work(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return (*(str(row[name]) for name in _SAME_MODEL), row_place(row), row["cores"])


def _log_p95s(row: Mapping[str, Any]) -> np.ndarray[Any, np.dtype[np.float64]] | None:
    """The logarithm of each launch's P95; None where one is not known to be what it took."""
    listed = row["launch_p95_ms"]
    values = np.asarray(listed if np.iterable(listed) else [], dtype=np.float64)
    sound = row["status"] == "complete" and row["purpose"] != "soak" and values.size > 0
    if not sound or as_number(row["truncated_over_ms"]) is not None:
        return None
    return np.log(values) if np.isfinite(values).all() and (values > 0).all() else None
