"""How often the pick would stay the pick, had the launches fallen otherwise: a bootstrap of launches. Pure.

The launch is the unit of evidence, so launches are what is drawn: those of each run anew, with replacement,
its latencies and rates together. Figures that no launch changes, such as quality, stay as they are.
Of a launch that was stopped early no more is known than that it is over a bound: where the pick hangs on
more, it does not count as staying.
"""

from __future__ import annotations

import math
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.gates import LAUNCH_COLUMN, as_number, run_at, run_for
from harness.objective import Figure, preference, read_from
from harness.schema import LAUNCH_METRICS
from harness.stats import count_verdict
from harness.verdict import PICKABLE, VERDICTS, demerit

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from harness.gates import GateStatus
    from harness.schema import AtConfig, Comparable, GateConfig, PolicyConfig
    from harness.verdict import CandidateVerdict

    # From a run's id and a value a launch, the less the better, [n_launches]: data sets [n_sets, n_launches].
    Draw = Callable[[str, NDArray[np.float64]], NDArray[np.float64]]

# Resampled data sets: a share of them is known to within 1 % or so.
RESAMPLES = 1_000
_SEED = 20251101


def share_that_stays(candidates: Sequence[CandidateVerdict], policy: PolicyConfig) -> float:
    """The share of launch-resampled data sets under which the first of the candidates is still the pick.

    A rival that could not win though all its launches were its best one and all of the pick's its worst is
    not resampled; a run's draws depend on its id alone. So candidates that cannot be picked change nothing.

    Args:
        candidates: in the order of the decision; the first is the pick.
        policy: by which they are judged.
    """
    pick, *others = candidates
    at_worst = _standing(
        pick, policy, lambda _, values: np.full((1, values.size), values.max()), stopped_ms=math.inf
    )
    stands = _standing(pick, policy, _resampled, stopped_ms=math.inf)
    stays = np.broadcast_to(stands[0] < len(PICKABLE), RESAMPLES)
    for rival in others:
        at_best = _standing(rival, policy, lambda _, values: np.full((1, values.size), values.min()))
        if np.all(_precedes(at_worst, at_best)):
            continue
        stays = stays & _precedes(stands, _standing(rival, policy, _resampled))
    return float(np.mean(stays))


def _resampled(run_id: str, values: NDArray[np.float64]) -> NDArray[np.float64]:
    rng = np.random.default_rng([_SEED, zlib.crc32(run_id.encode())])
    return values[rng.integers(0, values.size, (RESAMPLES, values.size))]


def _standing(
    candidate: CandidateVerdict, policy: PolicyConfig, draw: Draw, *, stopped_ms: float = 0.0
) -> tuple[Figure, ...]:
    """What candidates are sorted by, the verdict first; an array holds a value for each data set.

    Launches that were stopped early are compared as ones of `stopped_ms`, or of the least they can have.
    """
    verdict = np.asarray(VERDICTS.index(candidate.at_best))
    for result in candidate.gates:
        if result.load_open:  # no launch answers it
            verdict = np.maximum(verdict, demerit(result.gate, result.status))
        else:
            verdict = np.maximum(verdict, _demerits(result.gate, result.status, candidate, draw))

    def read(metric: Comparable, at: AtConfig) -> Figure:
        row = run_at(at, candidate.rows)
        values = None if row is None else _launches(metric, row)
        if row is None or values is None:
            return read_from(candidate.rows, metric, at)
        drawn = _stopped_as(stopped_ms, metric, row, draw(str(row["run_id"]), values))
        with np.errstate(invalid="ignore"):
            return _sign(metric) * np.median(drawn, axis=1)

    return (verdict, *preference(policy, candidate.names, read), candidate.label, candidate.run_ids)


def _demerits(gate: GateConfig, status: GateStatus, candidate: CandidateVerdict, draw: Draw) -> Any:
    row, worst = run_for(gate, candidate.rows), max(demerit(gate, "FAIL"), demerit(gate, "UNDECIDED"))
    values = None if row is None else _launches(gate.metric, row)
    if not worst or status == "NOT_MEASURED" or gate.launch_quantile is None or row is None or values is None:
        return demerit(gate, status)
    drawn = draw(str(row["run_id"]), values)
    if_over, if_under = (_answered(gate, _stopped_as(ms, gate.metric, row, drawn)) for ms in (math.inf, 0.0))
    return np.where(if_over == if_under, if_over, demerit(gate, "NOT_MEASURED"))


def _answered(gate: GateConfig, drawn: NDArray[np.float64]) -> NDArray[np.int_]:
    """A gate's demerit in each data set, from a value a launch [n_sets, n_launches]."""
    assert gate.launch_quantile is not None
    over, which = np.unique(
        np.count_nonzero(drawn >= _sign(gate.metric) * gate.bound, axis=1), return_inverse=True
    )
    answers = [count_verdict(int(k), drawn.shape[1], launch_quantile=gate.launch_quantile) for k in over]
    return np.asarray([demerit(gate, answer) for answer in answers])[which]


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
    if metric not in LAUNCH_METRICS:
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
