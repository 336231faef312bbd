"""What changed between two sets of runs: ratios of latencies with intervals from launches. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from harness import stats
from harness.decision import candidate_key
from harness.errors import BadInputError
from harness.gates import as_number, row_place

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    import pandas as pd

Change = Literal["changed", "unchanged", "inconclusive"]

_METRICS = ("p50_ms", "p95_ms")


@dataclass(frozen=True)
class Comparison:
    """One latency of one pair of runs.

    `ratio` and its interval are B over A: Hodges-Lehmann's, the median of all ratios between launches (or
    within rounds), which always lies in its interval as the ratio of the two medians need not.

    `paired`: both were measured in the same rounds of one sweep, and the interval rests on the ratios
    within rounds, which the machine's drift does not reach.
    """

    label: str
    metric: str
    a_ms: float | None
    b_ms: float | None
    ratio: float | None
    low: float | None
    high: float | None
    change: Change
    reason: str
    paired: bool = False

    @property
    def slower(self) -> bool:
        """Whether B is slower, by the interval: the medians may say otherwise."""
        return self.change == "changed" and (self.low or 0.0) > 1.0


def compare_runs(
    a: Sequence[dict[str, Any]],
    b: Sequence[dict[str, Any]],
    launches: tuple[pd.DataFrame, pd.DataFrame],
    *,
    threshold: float = 0.05,
    alpha: float = stats.ALPHA,
    across_machines: bool = False,
) -> list[Comparison]:
    """Compare the runs of A with those of B.

    Args:
        a: rows of runs; likewise `b`.
        b: as `a`.
        launches: rows of all launches of A, and of B. The same run measured in two places has one id.
        threshold: a ratio in [1 / (1 + threshold), 1 + threshold] is no change.
        alpha: error rate over all comparisons together (Bonferroni).
        across_machines: compare runs of different machines all the same.

    Raises:
        BadInputError: nothing in common, or what is in common is not comparable.
    """
    pairs = _pairs(a, b, across_machines=across_machines)
    level = alpha / (len(pairs) * len(_METRICS))
    found = []
    for label, first, second in pairs:
        for metric in _METRICS:
            ours, theirs = (
                launches_of(*side, metric) for side in zip(launches, (first, second), strict=True)
            )
            found.append(compare_launches(label, metric, ours, theirs, threshold=threshold, alpha=level))
    return found


class Launch(NamedTuple):
    """A launch: the sweep and round it was measured in, when, its value in ms; was it stopped early?"""

    round: tuple[str, int]
    started_at: datetime
    ms: float
    truncated: bool


def unusable(launches: Sequence[Launch], metric: str) -> str:
    """Why a run's launches give no figure of `metric` to compare; empty where they do."""
    if not launches or not all(math.isfinite(launch.ms) for launch in launches):
        return "launches failed or are missing"
    if metric == "p95_ms" and any(launch.truncated for launch in launches):
        return "launches were stopped early: their P95 is a guess"
    return ""


def compare_launches(
    label: str,
    metric: str,
    a: Sequence[Launch],
    b: Sequence[Launch],
    *,
    threshold: float = 0.05,
    alpha: float = stats.ALPHA,
) -> Comparison:
    """Compare one latency of two runs, given their launches; as `compare_runs` otherwise."""
    if reason := unusable(a, metric) or unusable(b, metric):
        return Comparison(label, metric, None, None, None, None, None, "inconclusive", reason)
    values_a, values_b = ([launch.ms for launch in side] for side in (a, b))
    a_ms, b_ms = (stats.nearest_rank(values, 0.5) for values in (values_a, values_b))
    within = [math.log(second.ms / first.ms) for first, second in _rounds(a, b)]
    low, high = stats.paired_shift_interval(within, alpha=alpha)
    if paired := low is not None and high is not None:
        ratio = math.exp(stats.paired_shift_centre(within))
    else:
        logs = [[math.log(value) for value in values] for values in (values_a, values_b)]
        low, high = stats.shift_interval(*logs, alpha=alpha)
        ratio = math.exp(stats.shift_centre(*logs))
    if low is None or high is None:
        reason = f"{len(a)} and {len(b)} launches are too few for an interval"
        return Comparison(label, metric, a_ms, b_ms, ratio, None, None, "inconclusive", reason)
    edge = math.log1p(threshold)
    change: Change = "inconclusive"
    if low > edge or high < -edge:
        change = "changed"
    elif -edge <= low and high <= edge:
        change = "unchanged"
    return Comparison(
        label, metric, a_ms, b_ms, ratio, math.exp(low), math.exp(high), change, "", paired=paired
    )


def _rounds(a: Sequence[Launch], b: Sequence[Launch]) -> list[tuple[Launch, Launch]]:
    """The launches of A and B of the same rounds; none where the rounds were not one after another.

    A sweep's id tells what was measured, not when: measured twice, it has the same rounds twice.
    """
    rounds_a, rounds_b = ({launch.round: launch for launch in side} for side in (a, b))
    pairs = [(rounds_a[key], rounds_b[key]) for key in rounds_a.keys() & rounds_b.keys()]
    spans = sorted(sorted(launch.started_at for launch in pair) for pair in pairs)
    interleaved = all(earlier[1] <= later[0] for earlier, later in pairwise(spans))
    return sorted(pairs) if interleaved else []


def launches_of(launches: pd.DataFrame, run: Mapping[str, Any], metric: str) -> list[Launch]:
    """The launches of a run with their `metric` in ms; +inf for one that failed."""
    mine = launches[launches["run_id"] == run["run_id"]]
    complete = mine["status"] == "complete"
    names = ("sweep_id", "round", "started_at", metric, "truncated")
    columns = (complete, *(mine[name] for name in names))
    return [
        Launch((str(sweep), int(number)), started_at, float(ms) if ok else math.inf, bool(truncated))
        for ok, sweep, number, started_at, ms, truncated in zip(*columns, strict=True)
    ]


def _pairs(
    a: Sequence[dict[str, Any]], b: Sequence[dict[str, Any]], *, across_machines: bool
) -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    machines = sorted({str(run["machine_id"]) for run in (*a, *b)})
    if len(machines) > 1 and not across_machines:
        raise BadInputError(
            f"A and B are of different machines ({', '.join(machines)}): not comparable; "
            "across_machines=true compares them all the same"
        )
    if len(a) == len(b) == 1:
        if row_place(a[0]) != row_place(b[0]):
            raise BadInputError(
                f"A is {row_place(a[0])}, B is {row_place(b[0])}: different work is not comparable"
            )
        if (a[0]["purpose"] == "soak") != (b[0]["purpose"] == "soak"):
            raise BadInputError("one of A and B is a soak run: its blocks are not comparable with launches")
        return [(f"{_name(a[0])} → {_name(b[0])}", a[0], b[0])]
    ours, theirs = ({_same_work(run): run for run in side} for side in (a, b))
    common = sorted(set(ours) & set(theirs))
    if not common:
        raise BadInputError("A and B have no run of the same candidate, workload and batch size in common")
    return [(_name(ours[key]), ours[key], theirs[key]) for key in common]


def _same_work(run: dict[str, Any]) -> tuple[Any, ...]:
    soak, replicate = run["purpose"] == "soak", as_number(run["replicate"]) or 0.0
    return candidate_key(run), row_place(run), soak, int(run["cores"]), replicate


def _name(run: dict[str, Any]) -> str:
    return f"{run['candidate_label']}, {row_place(run)}"
