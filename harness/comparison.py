"""What changed between two sets of runs: ratios of latencies with intervals from launches. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from harness import stats
from harness.decision import candidate_key
from harness.errors import BadInputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

Change = Literal["changed", "unchanged", "inconclusive"]

_METRICS = ("p50_ms", "p95_ms")


@dataclass(frozen=True)
class Comparison:
    """One latency of one pair of runs; `ratio` and its interval are B over A."""

    label: str
    metric: str
    a_ms: float | None
    b_ms: float | None
    ratio: float | None
    low: float | None
    high: float | None
    change: Change
    reason: str


def compare_runs(
    a: Sequence[dict[str, Any]],
    b: Sequence[dict[str, Any]],
    launches: pd.DataFrame,
    *,
    threshold: float = 0.05,
    alpha: float = stats.ALPHA,
) -> list[Comparison]:
    """Compare the runs of A with those of B.

    Args:
        a: rows of runs; likewise `b`.
        b: as `a`.
        launches: rows of all their launches.
        threshold: a ratio in [1 / (1 + threshold), 1 + threshold] is no change.
        alpha: error rate over all comparisons together (Bonferroni).

    Raises:
        BadInputError: nothing in common, or what is in common is not comparable.
    """
    pairs = _pairs(a, b)
    level = alpha / (len(pairs) * len(_METRICS))
    found = []
    for label, first, second in pairs:
        for metric in _METRICS:
            values = [_values(launches, run, metric) for run in (first, second)]
            found.append(_compared(label, metric, *values, threshold=threshold, alpha=level))
    return found


def _compared(
    label: str, metric: str, a: list[float], b: list[float], *, threshold: float, alpha: float
) -> Comparison:
    if not a or not b or not all(map(math.isfinite, (*a, *b))):
        reason = "launches failed or are missing"
        return Comparison(label, metric, None, None, None, None, None, "inconclusive", reason)
    a_ms, b_ms = (stats.nearest_rank(values, 0.5) for values in (a, b))
    low, high = stats.shift_interval([math.log(v) for v in a], [math.log(v) for v in b], alpha=alpha)
    ratio = b_ms / a_ms
    if low is None or high is None:
        reason = f"{len(a)} and {len(b)} launches are too few for an interval"
        return Comparison(label, metric, a_ms, b_ms, ratio, None, None, "inconclusive", reason)
    edge = math.log1p(threshold)
    change: Change = "inconclusive"
    if low > edge or high < -edge:
        change = "changed"
    elif -edge <= low and high <= edge:
        change = "unchanged"
    return Comparison(label, metric, a_ms, b_ms, ratio, math.exp(low), math.exp(high), change, "")


def _values(launches: pd.DataFrame, run: dict[str, Any], metric: str) -> list[float]:
    mine = launches[launches["run_id"] == run["run_id"]]
    complete = mine["status"] == "complete"
    return [float(v) if ok else math.inf for v, ok in zip(mine[metric], complete, strict=True)]


def _pairs(
    a: Sequence[dict[str, Any]], b: Sequence[dict[str, Any]]
) -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    machines = sorted({str(run["machine_id"]) for run in (*a, *b)})
    if len(machines) > 1:
        raise BadInputError(f"A and B are of different machines ({', '.join(machines)}): not comparable")
    if len(a) == len(b) == 1:
        if _place(a[0]) != _place(b[0]):
            raise BadInputError(f"A is {_place(a[0])}, B is {_place(b[0])}: different work is not comparable")
        return [(f"{_name(a[0])} → {_name(b[0])}", a[0], b[0])]
    ours, theirs = ({(candidate_key(run), _place(run)): run for run in side} for side in (a, b))
    common = sorted(set(ours) & set(theirs))
    if not common:
        raise BadInputError("A and B have no run of the same candidate, workload and batch size in common")
    return [(_name(ours[key]), ours[key], theirs[key]) for key in common]


def _name(run: dict[str, Any]) -> str:
    return f"{run['candidate_label']}, {_place(run)}"


def _place(run: dict[str, Any]) -> str:
    load = "" if int(run["clients"]) == 1 else f" {run['clients']} clients"
    paced = "" if run["arrival"] == "back_to_back" else f" {run['arrival']} {run['offered_qps']:g}/s"
    return f"{run['workload']} batch {run['batch_size']}{load}{paced}"
