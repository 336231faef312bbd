"""How often the pick would stay the pick, had the launches fallen otherwise: a bootstrap of launches. Pure.

The launch is the unit of evidence, so launches are what is drawn: those of each run anew, with replacement,
its latencies and rates together; of the runs under production's load and of the Python reference as well.
What a run's row does not tell launch by launch, such as quality or peak memory, stays as it is.
Of a launch that was stopped early no more is known than that it is over a bound: where the pick hangs on
more, it does not count as staying.
"""

from __future__ import annotations

import math
import zlib
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from harness import stats
from harness.gates import (
    LAUNCH_COLUMN,
    as_number,
    bears_load,
    gate_at,
    lacks_median,
    row_place,
    run_at,
    run_for,
    texts_needed_per_s,
)
from harness.objective import Figure, preference, read_from
from harness.schema import LAUNCH_METRICS
from harness.verdict import PICKABLE, VERDICTS, demerit, load_demerit, stands_back

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from harness.gates import GateResult, GateStatus
    from harness.schema import AtConfig, Comparable, GateConfig, PolicyConfig
    from harness.verdict import CandidateVerdict

    # From a gate's answer: how far from GO it keeps a candidate.
    Weigh = Callable[[GateStatus], int]

# Resampled data sets: a share of them is known to within 1 % or so.
RESAMPLES = 1_000
_SEED = 20251101


class _Draw(NamedTuple):
    """How launches are drawn, and what is taken of what is not known then.

    `launches` maps a run's id and a value a launch, the less the better, [n_launches] to which of them make
    up each data set [n_sets, n_launches]. Launches that were stopped early count as ones of `stopped_ms`, or
    of the least they can have. `over` takes from what each of several references leaves [n_references,
    n_sets], and from how fast each is, what counts [n_sets].
    """

    launches: Callable[[str, NDArray[np.float64]], NDArray[np.int_]]
    stopped_ms: float
    over: Callable[[NDArray[np.int_], NDArray[np.float64]], NDArray[np.int_]]


def _resampled(run_id: str, values: NDArray[np.float64]) -> NDArray[np.int_]:
    rng = np.random.default_rng([_SEED, zlib.crc32(run_id.encode())])
    return rng.integers(0, values.size, (RESAMPLES, values.size))


def _over_fastest(left: NDArray[np.int_], medians: NDArray[np.float64]) -> NDArray[np.int_]:
    fastest = np.argmin(medians, axis=0)
    counts: NDArray[np.int_] = left[fastest, np.arange(fastest.size)]
    return counts


# No data set leaves less, or more: all launches are the worst one, or the best.
_AT_WORST = _Draw(
    lambda _, values: np.full((1, values.size), values.argmax()), math.inf, lambda left, _: left.max(axis=0)
)
_AT_BEST = _Draw(
    lambda _, values: np.full((1, values.size), values.argmin()), 0.0, lambda left, _: left.min(axis=0)
)


def share_that_stays(candidates: Sequence[CandidateVerdict], policy: PolicyConfig) -> float:
    """The share of launch-resampled data sets under which the first of the candidates is still the pick.

    A rival that could not win though all its launches were its best one and all of the pick's its worst is
    not resampled; a run's draws depend on its id alone. So candidates that cannot be picked change nothing.

    Args:
        candidates: in the order of the decision; the first is the pick.
        policy: by which they are judged.
    """
    pick, *others = candidates
    resampled = _Draw(_resampled, math.inf, _over_fastest)  # what is not known counts against the pick
    at_worst, stands = (_standing(pick, policy, draw) for draw in (_AT_WORST, resampled))
    stays = np.broadcast_to(stands[0] < len(PICKABLE), RESAMPLES)
    for rival in others:
        if np.all(_precedes(at_worst, _standing(rival, policy, _AT_BEST))):
            continue
        stays = stays & _precedes(stands, _standing(rival, policy, resampled._replace(stopped_ms=0.0)))
    return float(np.mean(stays))


def _standing(candidate: CandidateVerdict, policy: PolicyConfig, draw: _Draw) -> tuple[Figure, ...]:
    """What candidates are sorted by, the verdict first; an array holds a value for each data set."""
    verdict = np.asarray(VERDICTS.index(candidate.at_best))
    answers: list[tuple[GateConfig, GateResult, Weigh]] = [
        *((result.gate, result, partial(demerit, result.gate)) for result in candidate.gates),
        *((gate_at(r.gate, place), r, load_demerit) for place, r in candidate.under_load),
        *((gate_at(r.gate, place), r, partial(demerit, r.gate)) for place, r in candidate.vectors),
    ]
    for gate, result, weigh in answers:
        verdict = np.maximum(verdict, _demerits(gate, result, candidate, draw, weigh))

    def read(metric: Comparable, at: AtConfig) -> Figure:
        row = run_at(at, candidate.compared)
        values = None if row is None else _launches(metric, row)
        if row is None or values is None:
            return read_from(candidate.compared, metric, at)
        drawn = _stopped_as(draw.stopped_ms, metric, row, _drawn(row, values, draw))
        with np.errstate(invalid="ignore"):
            return _sign(metric) * np.median(drawn, axis=1)

    preferred = preference(policy, candidate.names, read)
    return (verdict, stands_back(verdict, candidate), *preferred, candidate.label, candidate.run_ids)


def _drawn(row: Mapping[str, Any], values: NDArray[np.float64], draw: _Draw) -> NDArray[np.float64]:
    """A value a launch of a run in each data set [n_sets, n_launches]."""
    return values[draw.launches(str(row["run_id"]), values)]


def _demerits(
    gate: GateConfig, result: GateResult, candidate: CandidateVerdict, draw: _Draw, weigh: Weigh
) -> Any:
    """How far from GO a gate's answer keeps a candidate, by data set."""
    row, as_measured = run_for(gate, candidate.rows), weigh(result.status)
    settled = not max(weigh("FAIL"), weigh("UNDECIDED")) or result.status == "NOT_MEASURED"
    if row is None or settled:
        return as_measured
    if gate.metric == "latency_overhead":
        return _demerits_of_overhead(gate, row, draw, weigh)
    values = _launches(gate.metric, row)
    if gate.launch_quantile is None or values is None:
        return as_measured
    drawn = _drawn(row, values, draw)
    if_over, if_under = (
        _answered(gate, _stopped_as(ms, gate.metric, row, drawn), weigh) for ms in (math.inf, 0.0)
    )
    answered = np.where(if_over == if_under, if_over, weigh("NOT_MEASURED"))
    paced = gate.metric == "latency_p95_ms" and row_place(row).offered_qps is not None
    return (
        np.where(_borne(row, draw), answered, np.maximum(answered, weigh("UNDECIDED"))) if paced else answered
    )


def _answered(gate: GateConfig, drawn: NDArray[np.float64], weigh: Weigh) -> NDArray[np.int_]:
    """A gate's demerit in each data set, from a value a launch [n_sets, n_launches]."""
    assert gate.launch_quantile is not None
    over, which = np.unique(
        np.count_nonzero(drawn >= _sign(gate.metric) * gate.bound, axis=1), return_inverse=True
    )
    answers = [
        stats.count_verdict(int(k), drawn.shape[1], launch_quantile=gate.launch_quantile) for k in over
    ]
    return np.asarray([weigh(answer) for answer in answers])[which]


def _borne(row: Mapping[str, Any], draw: _Draw) -> Any:
    """Where what is paced is known to be borne, by what one caller is served in each data set."""
    alone = row.get("alone")
    values = None if alone is None else _launches("throughput_texts_per_s", alone)
    if alone is None or values is None:
        return bears_load(row)
    under = np.count_nonzero(_drawn(alone, values, draw) > -texts_needed_per_s(row_place(row)), axis=1)
    passing = {
        k: stats.count_verdict(k, values.size, launch_quantile=0.5) == "PASS" for k in set(under.tolist())
    }
    return np.asarray([passing[k] for k in under.tolist()])


def _demerits_of_overhead(
    gate: GateConfig, row: Mapping[str, Any], draw: _Draw, weigh: Weigh
) -> NDArray[np.int_]:
    """The same of a gate on what a run takes over the reference: of several the fastest of each data set.

    As its interval decides it, by counts of pairs of launches: the low end is on the wrong side of the bound
    where no more of them than the interval cuts off are on the right one, and so for the high end.
    """
    ours = np.asarray(row["launch_p95_ms"], dtype=np.float64)
    mine = _counts(draw.launches(str(row["run_id"]), ours))
    left, medians = [], []
    for reference in sorted((found.reference for found in row["overheads"]), key=lambda r: str(r["run_id"])):
        theirs = np.asarray(reference["launch_p95_ms"], dtype=np.float64)
        which = draw.launches(str(reference["run_id"]), -theirs)  # the slower it is, the better
        over = np.log(ours)[:, None] - np.log(theirs)
        right = np.asarray(gate.holds(cast("Any", np.expm1(over))), dtype=np.float64)
        pairs = ((mine @ right) * _counts(which)).sum(axis=1)
        cut = stats.shift_cut(theirs.size, ours.size)
        passes, fails = pairs >= right.size - cut, pairs <= cut
        undecided = np.full(pairs.shape, weigh("UNDECIDED"))
        answered = np.where(passes, weigh("PASS"), np.where(fails, weigh("FAIL"), undecided))
        left.append(undecided if cut < 0 else answered)
        medians.append(np.median(theirs[which], axis=1))
    return draw.over(np.asarray(left), np.asarray(medians))


def _counts(which: NDArray[np.int_]) -> NDArray[np.float64]:
    """How often each launch is in each data set [n_sets, n_launches]."""
    sets, n = which.shape
    places = which + n * np.arange(sets)[:, None]
    return np.bincount(places.ravel(), minlength=sets * n).reshape(sets, n).astype(np.float64)


def _stopped_as(
    ms: float, metric: str, row: Mapping[str, Any], drawn: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The values, the latency of a launch that was stopped early being `ms`, or the bound it is over."""
    over_ms = as_number(row["truncated_over_ms"])
    if over_ms is None or metric != "latency_p95_ms":
        return drawn
    return np.where(np.isfinite(drawn) & (drawn >= over_ms), max(ms, over_ms), drawn)


def _launches(metric: str, row: Mapping[str, Any]) -> NDArray[np.float64] | None:
    """A value a launch, the less the better; None where there is none, or one is unknown."""
    if metric not in LAUNCH_METRICS or lacks_median(metric, row):
        return None
    listed = row[LAUNCH_COLUMN[metric]]
    values = _sign(metric) * np.asarray(listed if np.iterable(listed) else [], dtype=np.float64)
    return None if values.size == 0 or np.isnan(values).any() else values


def _sign(metric: str) -> float:
    return -1.0 if metric == "throughput_texts_per_s" else 1.0


def _precedes(first: tuple[Figure, ...], second: tuple[Figure, ...]) -> Any:
    """Where the first stands before the second, by data set."""
    before, tied = np.asarray(False), np.asarray(True)
    for a, b in zip(first, second, strict=True):
        before, tied = before | (tied & (a < b)), tied & (a == b)
    return before
