"""What changed between two sets of runs: ratios of latencies with intervals from launches. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from harness import stats
from harness.errors import BadInputError
from harness.gates import as_number, container_cpus, plain, usable_cores
from harness.measure.disturbance import PROBES, disturbances, reference_gflops
from harness.measure.retrieval import paired_difference
from harness.pairing import pair_runs
from harness.summary import is_hopeless
from harness.units import NS_PER_MS, bound_text, number_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    import pandas as pd

Change = Literal["changed", "unchanged", "inconclusive"]

# What stands where ratios do: the two medians beside one are often in another ratio.
RATIO_TOLD = "B / A is the centre of the launches' ratios, not the ratio of the medians"
_METRICS = ("p50_ms", "p95_ms")
# How the note begins that a comparison is provisional.
_APART = "provisional: measured apart"
# The share of launches that a gate at the usual launch quantile of 0.8 lets lie over its bound.
_SHARE = 0.2
# The clock counts whole ns: what takes it no time takes less than one.
_TICK_MS = 1 / NS_PER_MS
# What the difference of two logarithms may be off by: a ratio of just the threshold is no change.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Comparison:
    """One latency of one pair of runs.

    `a_ms` and `b_ms` are medians over launches; at least so much where `a_at_least` or `b_at_least`, because
    launches were stopped early, and None where nothing is known. `ratio` and its interval are B over A:
    Hodges-Lehmann's, the median of all ratios between launches (or within rounds), which always lies in its
    interval as the ratio of the two medians need not. `ratio` is None where it is known within bounds
    alone; of the interval, a None beside a number is an open end. `b_fails_more`: B fails more often
    than A by more than chance explains, and is slower whatever the others took; `a_fails_more`: A does, and
    B is quicker where the others certainly took no longer.

    `paired`: both were measured in the same rounds of one sweep, and the interval rests on the ratios
    within rounds, which the machine's drift does not reach. `without_disturbed` is the answer of the launches
    alone that were not flagged as disturbed; None where all are quiet, or too few for an interval.
    `reason` says why it is inconclusive or what a figure lacks, `notes` what else to know of the two runs;
    `a_run` and `b_run` are their ids.
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
    a_at_least: bool = False
    b_at_least: bool = False
    a_fails_more: bool = False
    b_fails_more: bool = False
    without_disturbed: Change | None = None
    notes: tuple[str, ...] = ()
    a_run: str = ""
    b_run: str = ""

    @property
    def interval(self) -> str:
        """The interval in words; an end alone is open on the other side, and it is empty without any."""
        if self.low is None and self.high is None:
            return ""
        return f"{self.low or 0.0:.3f}–{'∞' if self.high is None else f'{self.high:.3f}'}"

    @property
    def slower(self) -> bool:
        """Whether B is slower, by the interval or by failing: the medians may say otherwise."""
        by_interval = not self.a_fails_more and (self.low or 0.0) > 1.0
        return self.change == "changed" and (self.b_fails_more or by_interval)

    @property
    def provisional(self) -> bool:
        """Whether the two were measured apart, one of them for too short a time: `notes` say how short."""
        return any(note.startswith(_APART) for note in self.notes)

    @property
    def word(self) -> str:
        """What was found: ``slower``, ``quicker``, ``unchanged`` or ``inconclusive``."""
        if self.change != "changed":
            return self.change
        return "slower" if self.slower else "quicker"


@dataclass(frozen=True)
class RetrievalComparison:
    """The nDCG@10 of one pair of runs that searched the same folder (`quality.retrieval`), paired by query.

    `difference` is B minus A, the mean over `queries`; `low` and `high` are its interval. It has changed
    where that leaves 0 out, is unchanged where each query's is the same, and else inconclusive. All figures
    are None where there is nothing to compare: `reason` says why.
    """

    label: str
    change: Change
    reason: str
    queries: int | None = None
    a: float | None = None
    b: float | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    metric: Literal["ndcg_at_10"] = "ndcg_at_10"


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
        a: rows of runs, newest last; likewise `b`. Of several runs of the same thing the newest is taken.
        b: as `a`.
        launches: rows of all launches of A, and of B. The same run measured in two places has one id.
        threshold: a ratio in [1 / (1 + threshold), 1 + threshold] is no change.
        alpha: error rate over all comparisons together (Bonferroni).
        across_machines: compare runs of different machines all the same.

    Raises:
        BadInputError: nothing in common, what is in common is not comparable, or both hold the same launches.
    """
    pairs = pair_runs(a, b, across_machines=across_machines)
    level = alpha / (len(pairs) * len(_METRICS))
    found, same = [], []
    for pair in pairs:
        for metric in _METRICS:
            runs = list(zip(launches, (pair.a, pair.b), strict=True))
            could = [reference_gflops(_probes(*side)) or 0.0 for side in runs]
            used = {(run["machine_id"], usable_cores(run), container_cpus(run)) for _, run in runs}
            most = max(could) if len(used) == 1 else None  # fewer cores can do less, undisturbed
            ours, theirs = (launches_of(*side, metric, most) for side in runs)
            if pair.a["run_id"] == pair.b["run_id"] and set(ours) & set(theirs):
                same.append(str(pair.a["run_id"]))
                found.append(_unknown(pair.label, metric, "both sides hold the same launches"))
                continue
            one = _compare_both_ways(pair.label, metric, ours, theirs, threshold=threshold, alpha=level)
            together = len(_rounds(ours, theirs)) == min(len(ours), len(theirs))
            apart = () if one.paired or together else _provisional(pair.a, pair.b)
            notes = (*_disturbed(ours, theirs), *pair.notes, *apart, *_unpaired(one, ours, theirs))
            a_run, b_run = (str(run["run_id"]) for run in (pair.a, pair.b))
            found.append(replace(one, notes=notes, a_run=a_run, b_run=b_run))
    if len(same) == len(found):
        raise BadInputError(
            f"A and B hold the same launches of {', '.join(dict.fromkeys(same))}: nothing to compare; "
            "measure.replicate=1,2 with -m measures the same thing twice, side by side"
        )
    return found


def compare_retrieval(
    a: Sequence[dict[str, Any]],
    b: Sequence[dict[str, Any]],
    *,
    alpha: float = stats.ALPHA,
    across_machines: bool = False,
) -> list[RetrievalComparison]:
    """Compare what the runs of A and of B found in the user's own documents, where both searched some.

    Args:
        a: rows of runs, newest last; likewise `b`.
        b: as `a`.
        alpha: error rate over all comparisons together (Bonferroni).
        across_machines: compare runs of different machines all the same.

    Raises:
        BadInputError: as `harness.pairing.pair_runs`.
    """
    pairs = [
        pair
        for pair in pair_runs(a, b, across_machines=across_machines)
        if all(plain(run["retrieval_sha256"]) is not None for run in (pair.a, pair.b))
    ]
    return [_retrieval(pair.label, pair.a, pair.b, alpha / len(pairs)) for pair in pairs]


def _retrieval(label: str, a: Mapping[str, Any], b: Mapping[str, Any], alpha: float) -> RetrievalComparison:
    nothing = partial(RetrievalComparison, label, "inconclusive")
    if a["retrieval_sha256"] != b["retrieval_sha256"]:
        return nothing("A and B searched different documents (quality.retrieval)")
    if not all(np.iterable(run["ndcg_at_10_by_query"]) for run in (a, b)):
        return nothing("no nDCG of each query: a vector was not finite")
    first, second = (np.asarray(run["ndcg_at_10_by_query"], dtype=np.float64) for run in (a, b))
    difference, (low, high) = paired_difference(first, second, alpha=alpha)
    change: Change = "inconclusive"
    reason = ""
    if low is not None and high is not None:
        change = "changed" if low > 0 or high < 0 else "inconclusive"
    elif np.array_equal(first, second):
        change, reason = "unchanged", "the same nDCG@10 at every query"
    else:
        reason = "too few queries, or the same difference at every one, for an interval"
    a_mean, b_mean = float(first.mean()), float(second.mean())
    return RetrievalComparison(label, change, reason, len(first), a_mean, b_mean, difference, low, high)


class Launch(NamedTuple):
    """A launch: the sweep and round it was measured in, when, between what its value in ms lies.

    Both ends are the value where it is known, and +inf where the launch failed. A launch that was stopped
    early is known from below alone: more of its requests lie over the bound than a P95 under it allows,
    whatever the others would have taken. Its median is of the first texts alone and says nothing.
    """

    round: tuple[str, int]
    started_at: datetime
    low_ms: float
    high_ms: float
    disturbed: bool

    @property
    def stopped(self) -> bool:
        """Whether it was stopped early."""
        return self.low_ms < self.high_ms

    @property
    def failed(self) -> bool:
        """Whether it failed."""
        return math.isinf(self.low_ms)


def unusable(launches: Sequence[Launch]) -> str:
    """Why a run's launches give no figure to compare; empty where they do."""
    if not launches or any(launch.failed for launch in launches):
        return "launches failed or are missing"
    return ""


def stopped_early(metric: str, *sides: Sequence[Launch]) -> str:
    """How many launches of each side were stopped early, and what that leaves of `metric`; empty for none."""
    least_ms = min((launch.low_ms for side in sides for launch in side if launch.stopped), default=None)
    if least_ms is None:
        return ""
    counts = " and ".join(f"{sum(launch.stopped for launch in side)} of {len(side)}" for side in sides)
    left = f"is at least {least_ms:g} ms" if least_ms else "over all requests is unknown"
    return f"{counts} launches were stopped early: their {metric.removesuffix('_ms').upper()} {left}"


def compare_launches(
    label: str,
    metric: str,
    a: Sequence[Launch],
    b: Sequence[Launch],
    *,
    threshold: float = 0.05,
    alpha: float = stats.ALPHA,
) -> Comparison:
    """Compare one latency of two runs, given their launches, disturbed or not; as `compare_runs` otherwise.

    Where a launch is known within bounds alone, each end of the interval is that of the worst case for it.
    One that failed is slower than any that did not, by more than the threshold; by how much is open. Where
    some failed, half of `alpha` is kept for how often each side does (`_fails_more`), and nothing is
    *unchanged*. Nor is it where one side has more slow or quick launches, which their centre does not see.
    Launches of no common round are not in an interval within rounds, and rounds too few for one are not heard
    in that of all launches: neither may say something else.
    """
    if not a or not b:
        return _unknown(label, metric, "launches are missing")
    if some_failed := any(launch.failed for launch in (*a, *b)):
        alpha /= 2
    edge = math.log1p(threshold) + _ROUNDING
    rounds = _rounds(a, b)
    shift = within = _within_rounds(rounds, edge, alpha)
    if not (paired := within.known):
        shift = _between_all(a, b, edge, alpha)
    reason = "; ".join(filter(None, (_failed(a, b), stopped_early(metric, a, b))))
    a_fails_more, b_fails_more = _fails_more(a, b, alpha), _fails_more(b, a, alpha)
    change: Change = "inconclusive"
    against = ""
    if rounds and len(rounds) < max(len(a), len(b)):
        other = _between_all(a, b, edge, alpha) if paired else within
        against = _against(shift, other, edge, f"{len(rounds)} rounds in common, {len(a)} and {len(b)}")
    if a_fails_more and not _no_longer(a, b, edge, alpha):
        reason = f"{reason}; of those that did not, B's took longer, or may have: not one answer"
    elif a_fails_more or b_fails_more or (shift.beyond(edge) and not against):
        change = "changed"
    elif shift.within(edge) and not some_failed:
        both: list[tuple[Sequence[Launch], Sequence[Launch]]] = [(a, b)]
        if paired:
            both.append(([first for first, _ in rounds], [second for _, second in rounds]))
        tails = against or next(filter(None, (_tails(*sides, threshold) for sides in both)), "")
        change = "inconclusive" if tails else "unchanged"
        reason = "; ".join(filter(None, (tails, reason)))
    elif against:
        reason = "; ".join(filter(None, (against, reason)))
    elif not shift.known and not reason:
        reason = f"{len(a)} and {len(b)} launches are too few for an interval"
    (a_ms, a_at_least), (b_ms, b_at_least) = median_ms(a), median_ms(b)
    return Comparison(
        label,
        metric,
        a_ms,
        b_ms,
        math.exp(shift.least) if shift.least == shift.most else None,
        None if shift.low is None else math.exp(shift.low),
        None if shift.high is None else math.exp(shift.high),
        change,
        reason,
        paired=paired,
        a_at_least=a_at_least,
        b_at_least=b_at_least,
        a_fails_more=a_fails_more,
        b_fails_more=b_fails_more,
    )


def _unknown(label: str, metric: str, reason: str) -> Comparison:
    return Comparison(label, metric, None, None, None, None, None, "inconclusive", reason)


def _failed(a: Sequence[Launch], b: Sequence[Launch]) -> str:
    """How many launches of each side failed, and what they count as; empty for none."""
    if not any(launch.failed for launch in (*a, *b)):
        return ""
    counts = " and ".join(f"{sum(launch.failed for launch in side)} of {len(side)}" for side in (a, b))
    return f"{counts} launches failed: each counts as slower than any that did not, by how much is open"


def _fails_more(side: Sequence[Launch], other: Sequence[Launch], alpha: float) -> bool:
    """Whether a side's launches fail more often than chance explains, by Fisher's exact test.

    Of a side that was given up because every launch failed no more are measured. Beside one that never did
    it is asked how probable that is at most, whatever share fails, which takes fewer launches.
    """
    failed, others_failed = ([launch.failed for launch in launches] for launches in (side, other))
    if is_hopeless(failed) and not any(others_failed):
        return stats.all_or_none_chance(len(failed), len(others_failed)) <= alpha / 2
    return stats.fisher_tail(sum(failed), len(failed), sum(others_failed), len(others_failed)) <= alpha / 2


def _tails(a: Sequence[Launch], b: Sequence[Launch], threshold: float) -> str:
    """How many launches of each side are slow, or quick, where one has more of them; empty where alike.

    A launch is slow that took more than the threshold over the median of its own side, and quick that took as
    much less: a shift of all is the interval's to tell. One side has more of them where Fisher's exact test
    says so, or by a fifth of its launches, which few launches cannot tell from chance and a gate on launches
    sees. The error rate is not divided among comparisons: more of them would make *unchanged* easier. Of
    launches known within bounds the worst case counts.
    """
    n_a, n_b = len(a), len(b)
    for kind, edge in (("slow, over", 1 + threshold), ("quick, under", 1 / (1 + threshold))):
        (least_a, most_a), (least_b, most_b) = (_beyond(side, edge) for side in (a, b))
        for counts in ((least_a, most_b), (most_a, least_b)):
            (fewer, n_fewer), (more, n_more) = sorted(
                zip(counts, (n_a, n_b), strict=True), key=lambda side: side[0] / side[1]
            )
            by_chance = stats.fisher_tail(more, n_more, fewer, n_fewer)
            if by_chance <= stats.ALPHA / 2 or round(more / n_more - fewer / n_fewer, 9) >= _SHARE:
                told = " and ".join(f"{k} of {n}" for k, n in zip(counts, (n_a, n_b), strict=True))
                known = "are" if counts == (least_a, least_b) else "are or may be"
                return f"{told} launches {known} {kind} {edge:.3g} times the median of their side"
    return ""


def _beyond(launches: Sequence[Launch], edge: float) -> tuple[int, int]:
    """How many launches are beyond `edge` times their median for certain, and how many may be."""
    low_ms, high_ms = (
        np.array(ends) for ends in zip(*((x.low_ms, x.high_ms) for x in launches), strict=True)
    )
    if edge > 1:
        certain, maybe = low_ms > edge * np.median(high_ms), high_ms > edge * np.median(low_ms)
    else:
        certain, maybe = high_ms < edge * np.median(low_ms), low_ms < edge * np.median(high_ms)
    return int(np.count_nonzero(certain)), int(np.count_nonzero(maybe))


class _Shift(NamedTuple):
    """The logarithm of B over A: its interval, and between what its centre lies; a None is an open end."""

    low: float | None
    high: float | None
    least: float
    most: float

    @property
    def known(self) -> bool:
        """Whether the launches are enough for an interval."""
        return self.low is not None or self.high is not None

    def beyond(self, edge: float) -> int:
        """1 where it is certainly above `edge`, -1 where certainly under minus that, else 0."""
        above, under = self.low is not None and self.low > edge, self.high is not None and self.high < -edge
        return above - under

    def leans(self, edge: float) -> int:
        """`beyond` of its centre."""
        return (self.least > edge) - (self.most < -edge)

    def within(self, edge: float) -> bool:
        """Whether it certainly is at most `edge` from none."""
        return self.low is not None and self.high is not None and -edge <= self.low and self.high <= edge


def _within_rounds(rounds: Sequence[tuple[Launch, Launch]], edge: float, alpha: float) -> _Shift:
    """B over A within the rounds that they share; of none nothing is known."""
    if not rounds:
        return _Shift(None, None, -math.inf, math.inf)
    within = [_apart(first, second, edge) for first, second in rounds]
    low = stats.paired_shift_interval([least for least, _ in within], alpha=alpha).low
    high = stats.paired_shift_interval([most for _, most in within], alpha=alpha).high
    least, most = (stats.paired_shift_centre(ends) for ends in zip(*within, strict=True))
    return _Shift(low, high, least, most)


def _between_all(a: Sequence[Launch], b: Sequence[Launch], edge: float, alpha: float) -> _Shift:
    """B over A, each launch against each."""
    between = np.array([[_apart(first, second, edge) for first in a] for second in b])
    low = stats.differences_interval(between[..., 0], alpha=alpha).low
    high = stats.differences_interval(between[..., 1], alpha=alpha).high
    least, most = (float(np.median(between[..., end])) for end in (0, 1))
    return _Shift(low, high, least, most)


def _no_longer(a: Sequence[Launch], b: Sequence[Launch], edge: float, alpha: float) -> bool:
    """Whether what B served certainly took no longer than what A did, failed launches left out.

    Within rounds where those that both served are enough. Where A served nothing, nothing took longer.
    """
    ours, theirs = ([launch for launch in side if not launch.failed] for side in (a, b))
    if not ours:
        return True
    shift = _within_rounds(_rounds(ours, theirs), edge, alpha)
    if not shift.known:
        shift = _between_all(ours, theirs, edge, alpha)
    return shift.high is not None and shift.high <= edge


def _against(found: _Shift, other: _Shift, edge: float, counts: str) -> str:
    """How the launches of common rounds and all of them contradict each other; empty where they do not.

    `found` is of those that answer. A change must show in the centre of the others as well, beyond the
    threshold; and there is none only where the others do not show one, in their centre if they have no
    interval.
    """
    if direction := found.beyond(edge):
        agree = other.leans(edge) == direction
    else:
        shows = other.beyond(edge) if other.known else other.leans(edge)
        agree = not (found.within(edge) and shows)
    return "" if agree else f"{counts} launches in all, which do not say the same: not certain"


def _apart(first: Launch, second: Launch, edge: float) -> tuple[float, float]:
    """Between what the logarithm of the second over the first lies; of two that failed nothing is known.

    `edge` is that of the threshold: what one that failed is beyond.
    """
    if first.failed or second.failed:
        return (
            -math.inf if first.failed else math.nextafter(edge, math.inf),
            math.inf if second.failed else math.nextafter(-edge, -math.inf),
        )
    return _log(second.low_ms) - _log(first.high_ms), _log(second.high_ms) - _log(first.low_ms)


def _log(ms: float) -> float:
    return math.log(ms) if ms > 0 else -math.inf


def median_ms(launches: Sequence[Launch]) -> tuple[float | None, bool]:
    """The median launch's value in ms, None for unknown, and whether it is only known to be at least that."""
    low = float(np.median([launch.low_ms for launch in launches]))
    high = float(np.median([launch.high_ms for launch in launches]))
    return low if 0 < low < math.inf else None, 0 < low < high


def _quiet(launches: Sequence[Launch]) -> list[Launch]:
    return [launch for launch in launches if not launch.disturbed]


def _compare_both_ways(
    label: str, metric: str, a: Sequence[Launch], b: Sequence[Launch], *, threshold: float, alpha: float
) -> Comparison:
    """`compare_launches`, inconclusive where the launches that were not disturbed answer otherwise.

    They are asked where there is a disturbed one, and heard where they are enough for an interval; one that
    is not within rounds, where that of all launches is, can deny a change and cannot vouch for it. Where they
    are not heard, and a side was disturbed wholly, or more often than chance explains beside the other,
    the disturbance may be what changed. It makes no launch fail: a B that fails more is slower all the same.
    """
    found = compare_launches(label, metric, a, b, threshold=threshold, alpha=alpha)
    calm = not any(launch.disturbed for launch in (*a, *b))
    if calm or found.b_fails_more or found.low is found.high is None:
        return found
    alone = compare_launches(label, metric, _quiet(a), _quiet(b), threshold=threshold, alpha=alpha)
    same = (alone.change, alone.slower) == (found.change, found.slower)
    denies = not same and alone.change != "inconclusive"
    if alone.low is alone.high is None or (alone.paired != found.paired and not denies):
        told, change = "too few are left to tell without the disturbed ones", found.change
        if unequal := _unequally_disturbed(a, b):
            told = f"{unequal}: a change cannot be told from that; measure both on a quiet machine"
            change = "inconclusive"
        return replace(found, change=change, reason="; ".join(filter(None, (found.reason, told))))
    found = replace(found, without_disturbed=alone.change)
    if same:
        return found
    told = f"{found.word} by all launches, {alone.word} without the disturbed ones: not certain"
    return replace(found, change="inconclusive", reason="; ".join(filter(None, (found.reason, told))))


def _unequally_disturbed(a: Sequence[Launch], b: Sequence[Launch]) -> str:
    """Which sides were disturbed wholly, or which more than the other, by Fisher's test; empty for none."""
    counts = {side: (len(of) - len(_quiet(of)), len(of)) for side, of in zip("AB", (a, b), strict=True)}
    if wholly := [side for side, (disturbed, n) in counts.items() if disturbed == n]:
        return f"all launches of {' and '.join(wholly)} were disturbed"
    for side, other in ("AB", "BA"):
        if stats.fisher_tail(*counts[side], *counts[other]) <= stats.ALPHA / 2:
            return f"more launches of {side} than of {other} were disturbed"
    return ""


def _disturbed(a: Sequence[Launch], b: Sequence[Launch]) -> tuple[str, ...]:
    """How many launches of each side were disturbed; nothing where none was."""
    if not any(launch.disturbed for launch in (*a, *b)):
        return ()
    counts = [f"{len(side) - len(_quiet(side))} of {len(side)}" for side in (a, b)]
    return (f"{counts[0]} launches of A and {counts[1]} of B were disturbed",)


def _provisional(a: Mapping[str, Any], b: Mapping[str, Any]) -> tuple[str, ...]:
    """That two runs which were measured apart stand for a moment each, where they do."""
    spans = [(as_number(run["evidence_span_s"]), as_number(run["min_span_s"]) or 0.0) for run in (a, b)]
    short = [
        f"{side} spans {number_text(span_s, 3, beside=(wanted_s,))} s of {bound_text(wanted_s)}"
        for side, (span_s, wanted_s) in zip("AB", spans, strict=True)
        if span_s is not None and span_s < wanted_s
    ]
    if not short:
        return ()
    return (
        f"{_APART}, {', '.join(short)}: the machine may be what changed; one sweep (-m) "
        "of both measures them round by round",
    )


def _unpaired(found: Comparison, a: Sequence[Launch], b: Sequence[Launch]) -> tuple[str, ...]:
    """Why two runs are not compared round by round, where they are not."""
    if found.paired or found.low is found.high is None:
        return ()
    common = {launch.round for launch in a} & {launch.round for launch in b}
    if not common:
        sweeps = [", ".join(sorted({launch.round[0] for launch in side})) for side in (a, b)]
        return (
            f"not paired: no round in common, A is of sweep {sweeps[0]}, B of sweep {sweeps[1]}; how the "
            "machine changed meanwhile is part of the ratio",
        )
    if not _rounds(a, b):
        return ("not paired: their rounds were not measured one after the other",)
    return (
        f"not paired: {len(common)} rounds in common are too few for an interval; how the machine changed "
        "meanwhile is part of the ratio",
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


def launches_of(
    launches: pd.DataFrame, run: Mapping[str, Any], metric: str, could_gflops: float | None = None
) -> list[Launch]:
    """The launches of a run with their `metric` in ms.

    `could_gflops` is what the machine was seen to do at another time, when this run's launches may have been
    held down from first to last.
    """
    mine = launches[launches["run_id"] == run["run_id"]]
    names = (
        "sweep_id", "round", "started_at", "status", metric, "truncated", "truncated_over_ms", "disturbed",
    )  # fmt: skip
    found = []
    for probes, (sweep, number, started_at, status, ms, truncated, over_ms, flag) in zip(
        _probes(launches, run), zip(*(mine[name] for name in names), strict=True), strict=True
    ):
        low_ms = high_ms = max(float(ms), _TICK_MS) if status == "complete" else math.inf
        if status == "complete" and truncated:
            low_ms, high_ms = (as_number(over_ms) or 0.0) if metric == "p95_ms" else 0.0, math.inf
        disturbed = plain(flag) is True or bool(disturbances(probes, could_gflops))
        found.append(Launch((str(sweep), int(number)), started_at, low_ms, high_ms, disturbed))
    return found


def _probes(launches: pd.DataFrame, run: Mapping[str, Any]) -> list[dict[str, float | None]]:
    """What the machine could do around each launch of a run."""
    mine = launches[launches["run_id"] == run["run_id"]].reindex(columns=list(PROBES))
    return [{name: as_number(row[name]) for name in PROBES} for row in mine.to_dict("records")]
