"""The smallest change of a bound, a measurement or a weight that would change the pick. Pure.

Each kind is searched by itself, one number at a time; the nearest is told, as a share of the number. A run's
P95 moves what it takes over the Python reference with it, and so does the reference's own.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from harness.gates import bears_load, figure_of, gate_at, gate_place, place_of, run_at, run_for, unpaced
from harness.objective import criterion_places, latency_at, preference, read_from, scored, weighted_score
from harness.overhead import interval_where
from harness.schema import (
    LESS_IS_BETTER,
    METRIC_RANGES,
    MOST_WEIGHT,
    SOAK_METRICS,
    YES_OR_NO,
    AtConfig,
)
from harness.verdict import (
    PICKABLE,
    VERDICTS,
    Change,
    demerit,
    is_target,
    load_demerit,
    of_its_kind,
    stands_back,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from harness.gates import GateResult, GateStatus
    from harness.schema import Comparable, GateConfig, PolicyConfig
    from harness.verdict import CandidateVerdict
    from harness.workload import Place

# The verdict first, then what candidates of one verdict are sorted by; label and runs last.
Standing = tuple[Any, ...]
# Label and runs of the candidate that is picked; None where none can be.
Pick = tuple[str, tuple[str, ...]] | None
# A change, and what each candidate is sorted by then; None where no candidate but those looked at is moved.
Found = tuple[Change, "Callable[[CandidateVerdict], Standing] | None"]

# Candidates whose figures are moved, and whose ends bounds are moved to: those nearest to being picked.
NEAREST = 20
# A figure ten times better or worse is no close change.
_MOST_FACTOR = 10.0
# Halvings of the factor's logarithm: it is then known to a millionth.
_HALVINGS = 22
# What is just past a level.
_JUST = 1e-6
# A weight that is a smaller share of all is 0: the arithmetic rounds.
_NOTHING = 1e-9


class _Figure(NamedTuple):
    """A metric of the run at a place, `factor` times what was measured.

    `reference` is the id of the run of the Python reference that it is the P95 of, for all that are held
    against it; empty for a candidate's own.
    """

    metric: Any
    at: AtConfig
    factor: float = 1.0
    reference: str = ""


def closest_changes(candidates: Sequence[CandidateVerdict], policy: PolicyConfig) -> tuple[Change, ...]:
    """The nearest change of each kind that changes the pick, the smallest share first.

    Args:
        candidates: in the order of the decision. Of more than `NEAREST`, bounds and measurements that only a
            candidate after the first `NEAREST` gives are not found; weights are searched among all, and what
            is told to be picked is so among all.
        policy: by which they are judged.
    """
    near = candidates[:NEAREST]
    measurements = chain(_measurements(near, policy), _references(near, policy))
    told = []
    for kind in (_bounds(near, policy), measurements, _weights(candidates, policy)):
        change, standing = min(kind, key=lambda found: _size(found[0]), default=(None, None))
        if change is not None and standing is not None and len(candidates) > len(near):
            change = replace(change, pick=_label(_pick([standing(c) for c in candidates])))
        told += [] if change is None else [change]
    return tuple(sorted(told, key=_size))


def _size(change: Change) -> tuple[float, float]:
    """How large a change is: as a share of the number, and where that is 0 after all others, as it is."""
    return math.inf if change.relative is None else abs(change.relative), abs(change.then - change.now)


def _bounds(near: Sequence[CandidateVerdict], policy: PolicyConfig) -> Iterator[Found]:
    """Of each gate the nearest bound that changes the pick: just past an end of some candidate's interval."""
    pick = _pick([_standing(c, policy) for c in near])
    for index, gate in enumerate(policy.gates):
        results = (
            [r for c in near for r in (c.gates[index], *(r for _, r, _ in _of_load(c, c.gates[index])))]
            if _decides(gate)
            else []
        )
        ends = {end for r in results for end in (r.low, r.high) if end is not None}
        for end in sorted(ends, key=lambda end: (abs(end - gate.bound), end)):
            just_past = (math.nextafter(end, way) for way in (-math.inf, math.inf))
            moved = [_moved(policy, index, bound) for bound in just_past]
            picks = [_pick([_standing(c, other) for c in near]) for other in moved]
            if changed := [each for each in zip(picks, moved, strict=True) if each[0] != pick]:
                what, (other, then) = f"bound of the {gate.tier} gate {gate.label}", changed[0]
                bound = then.gates[index].bound
                yield Change("bound", what, gate.bound, bound, _label(other)), partial(_standing, policy=then)
                break


def _moved(policy: PolicyConfig, index: int, bound: float) -> PolicyConfig:
    gates = list(policy.gates)
    gates[index] = gates[index].model_copy(update={"bound": bound})
    return policy.model_copy(update={"gates": gates})


def _measurements(near: Sequence[CandidateVerdict], policy: PolicyConfig) -> Iterator[Found]:
    """Of each figure of the pick the least it would have to be worse; of the others' the least better."""
    standings = [_standing(c, policy) for c in near]
    pick = _pick(standings)
    for index, candidate in enumerate(near):
        others = standings[:index] + standings[index + 1 :]
        for figure in _figures(policy, candidate):
            run = run_at(figure.at, candidate.rows, soak=figure.metric in SOAK_METRICS)
            now = None if run is None else figure_of(run, figure.metric)
            if now is None or now <= 0:
                continue  # no share of it
            grows = (figure.metric in LESS_IS_BETTER) == (index == 0 and pick is not None)
            _, highest = METRIC_RANGES.get(figure.metric, (0.0, math.inf))
            most = min(_MOST_FACTOR, max(1.0, highest / now)) if grows else 1 / _MOST_FACTOR
            if found := _least_factor(candidate, policy, figure, others, most):
                factor, other = found
                what = f"{candidate.label}'s {figure.metric}{_elsewhere(figure.at, policy)}"
                yield Change("measurement", what, now, now * factor, _label(other)), None


def _least_factor(
    candidate: CandidateVerdict, policy: PolicyConfig, figure: _Figure, others: list[Standing], most: float
) -> tuple[float, Pick] | None:
    """The factor nearest to 1, as far as `most`, at which the pick is another one, and which."""

    def picked(exponent: float) -> Pick:
        return _pick([*others, _standing(candidate, policy, figure._replace(factor=most**exponent))])

    pick, other = picked(0.0), picked(1.0)
    if other == pick:
        return None
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if (found := picked(middle)) == pick:
            low = middle
        else:
            high, other = middle, found
    return most**high, other


def _references(near: Sequence[CandidateVerdict], policy: PolicyConfig) -> Iterator[Found]:
    """Of each run of the Python reference the nearest P95 that changes the pick.

    That is one just past where an end of some candidate's interval meets its bound, or where another run of
    the reference is as fast.
    """
    pick, factors, runs = _pick([_standing(c, policy) for c in near]), defaultdict[str, set[float]](set), {}
    gates = [gate for gate in policy.gates if _decides(gate) and gate.metric == "latency_overhead"]
    read = [(gate, row) for gate in gates for c in near if (row := run_for(gate, c.rows)) is not None]
    for gate, row in read:
        for reference, _, *ends in row["overheads"]:
            run_id, p95_ms = str(reference["run_id"]), reference["latency_p95_ms"]
            runs[run_id] = reference, gate.at
            factors[run_id] |= {(1 + end) / (1 + gate.bound) for end in ends if end is not None}
            factors[run_id] |= {other.reference["latency_p95_ms"] / p95_ms for other in row["overheads"]}
    for run_id, (reference, at) in runs.items():
        for factor in sorted(factors[run_id], key=lambda f: (abs(f - 1), f)):
            figures = [_Figure("latency_p95_ms", at, factor * way, run_id) for way in (1 - _JUST, 1 + _JUST)]
            picks = [_pick([_standing(c, policy, figure) for c in near]) for figure in figures]
            changed = [each for each in zip(picks, figures, strict=True) if each[0] != pick]
            if 1 / _MOST_FACTOR <= factor <= _MOST_FACTOR and changed:
                now, where = reference["latency_p95_ms"], _elsewhere(at, policy)
                what = f"{reference['candidate_label']}'s latency_p95_ms{where} (the Python reference)"
                other, then = changed[0]
                moved = partial(_standing, policy=policy, changed=then)
                yield Change("measurement", what, now, now * factor, _label(other)), moved
                break


def _weights(candidates: Sequence[CandidateVerdict], policy: PolicyConfig) -> Iterator[Found]:
    """Of each weight the nearest at which another candidate of the pick's verdict is picked.

    With d the pick's lead over another on a criterion, they are level where w[i] d[i] is the negative sum of
    w[j] d[j] over all j but i. What is picked just past that, or at 0 where that is 0, is asked of the
    decision's own arithmetic. A weight that no policy can have is none.
    """
    first = candidates[0]
    if policy.objective != "weighted_matrix" or first.verdict not in PICKABLE:
        return

    def asked_next(candidate: CandidateVerdict) -> Standing:
        preferred = preference(policy, candidate.names, partial(read_from, candidate.compared))
        return (*preferred[1:], candidate.label, candidate.run_ids)

    # The first of those that score the most is picked.
    peers = sorted((c for c in candidates if of_its_kind(c, first)), key=asked_next)
    pick = next(i for i, peer in enumerate(peers) if peer is first)
    figures = {
        (c.metric, c.at): np.array([read_from(peer.compared, c.metric, c.at) for peer in peers])
        for c in policy.matrix
    }

    def picked(index: int, weight: float) -> int:
        matrix = list(policy.matrix)
        matrix[index] = matrix[index].model_copy(update={"weight": weight})
        moved = policy.model_copy(update={"matrix": matrix})
        return int(np.argmax(weighted_score(moved, lambda metric, at: figures[metric, at])))

    scores = np.array([scored(c, figures[c.metric, c.at]) for c in policy.matrix])  # [criteria, peers]
    leads, weights = scores[:, [pick]] - scores, np.array([c.weight for c in policy.matrix])
    for index, (criterion, place) in enumerate(zip(policy.matrix, criterion_places(policy), strict=True)):
        now, rest = criterion.weight, np.delete(weights, index)
        some = leads[index] != 0
        level = -(rest @ np.delete(leads, index, axis=0)[:, some]) / leads[index, some]
        level[np.abs(level) < _NOTHING * weights.sum()] = 0.0
        more = leads[index, some] < 0
        level = np.where(more, np.maximum(level, now), np.minimum(level, now))
        can = (level >= 0) & (level < MOST_WEIGHT) & ((level > 0) | rest.any())
        found = set(zip(level[can].tolist(), more[can].tolist(), strict=True))
        for then, grows in sorted(found, key=lambda each: (abs(each[0] - now), each)):
            past = then * (1 + _JUST) or _JUST * rest.sum() if grows else then * (1 - _JUST)
            if (other := picked(index, past)) != pick:
                what = f"weight of {criterion.metric}{place}"
                yield Change("weight", what, now, then, peers[other].label), None
                break


def _standing(candidate: CandidateVerdict, policy: PolicyConfig, changed: _Figure | None = None) -> Standing:
    """What candidates are sorted by, at this policy's bounds and with one figure changed."""

    def factor(metric: Any, at: AtConfig) -> float:
        own = changed is not None and not changed.reference
        return changed.factor if changed is not None and own and changed[:2] == (metric, at) else 1.0

    def read(metric: Comparable, at: AtConfig) -> float:
        return read_from(candidate.compared, metric, at) * factor(metric, at)

    def moved(gate: GateConfig, result: GateResult) -> GateResult:
        row, by = run_for(gate, candidate.rows), factor(gate.metric, gate.at)
        if row is None or result.status == "NOT_MEASURED":
            return result
        if gate.metric == "latency_overhead":
            theirs = ("", 1.0) if changed is None else (changed.reference, changed.factor)
            low, high = interval_where(row["overheads"], factor("latency_p95_ms", gate.at), *theirs)
            return replace(result, low=low, high=high)
        served = factor("throughput_texts_per_s", gate_at(gate, unpaced(gate_place(gate))).at)
        low, high, over_ms = (
            None if each is None else each * by for each in (result.low, result.high, result.stopped_over_ms)
        )
        is_open = gate.metric == "latency_p95_ms" and not bears_load(row, factor=served)
        return replace(result, low=low, high=high, stopped_over_ms=over_ms, load_open=is_open)

    asked = list(zip(policy.gates, candidate.gates, strict=True))
    verdict = VERDICTS.index(candidate.at_best)
    for gate, result in asked:
        verdict = max(verdict, demerit(gate, _answer(gate, result, moved(gate, result))))
        for place, loaded, weigh in _of_load(candidate, result):
            there = gate_at(gate, place)
            verdict = max(verdict, weigh(_answer(there, loaded, moved(there, loaded))))
    preferred = preference(policy, candidate.names, read)
    return (verdict, stands_back(verdict, candidate), *preferred, candidate.label, candidate.run_ids)


def _answer(gate: GateConfig, result: GateResult, moved: GateResult) -> GateStatus:
    """A gate's answer at its bound now, with its interval where it is moved to."""
    if not _decides(gate) or (moved == result and gate.bound == result.gate.bound):
        return result.status
    by_launches = gate.launch_quantile is not None  # one end alone can settle it
    if result.status == "NOT_MEASURED" or (not by_launches and None in (moved.low, moved.high)):
        return result.status
    if moved.stopped_over_ms is not None and gate.bound > moved.stopped_over_ms:
        return "PASS" if result.status == "PASS" else "UNDECIDED"  # by how much it is over is a guess
    less = gate.op in ("<", "<=")
    worst, best = (moved.high, moved.low) if less else (moved.low, moved.high)
    if worst is not None and gate.holds(worst):
        return "UNDECIDED" if moved.load_open else "PASS"
    return "FAIL" if best is not None and not gate.holds(best) else "UNDECIDED"


def _of_load(
    candidate: CandidateVerdict, result: GateResult
) -> list[tuple[Place, GateResult, Callable[[GateStatus], int]]]:
    """A gate's answers under production's load, each with where, and how far from GO it keeps a candidate.

    Its label may say there, and not here, whose texts it reads.
    """
    found = [(place, r, load_demerit) for place, r in candidate.under_load]
    found += [(place, r, partial(demerit, r.gate)) for place, r in candidate.vectors]
    labelled = {"label": result.gate.label}
    return [each for each in found if each[1].gate.model_copy(update=labelled) == result.gate]


def _decides(gate: GateConfig) -> bool:
    """Whether the verdict rests on how much it is."""
    return (gate.tier == "must" or is_target(gate)) and gate.metric not in YES_OR_NO


def _figures(policy: PolicyConfig, candidate: CandidateVerdict) -> list[_Figure]:
    """What the verdict on a candidate and the objective rest on, each metric at each place once."""
    at = latency_at(policy)
    compared: dict[str, list[_Figure]] = {
        "best_quality": [_Figure("separation_auc", at)],
        "lexicographic": [_Figure(rank.metric, rank.at) for rank in policy.order],
        "weighted_matrix": [_Figure(criterion.metric, criterion.at) for criterion in policy.matrix],
    }
    gates = [gate for gate in policy.gates if _decides(gate)]
    under_load = (*candidate.under_load, *candidate.vectors)
    loaded = [gate_at(result.gate, place) for place, result in under_load if _decides(result.gate)]
    gated = [
        _Figure("latency_p95_ms" if gate.metric == "latency_overhead" else gate.metric, gate.at)
        for gate in (*gates, *loaded)
    ]
    alone = [
        _Figure("throughput_texts_per_s", gate_at(gate, unpaced(gate_place(gate))).at)
        for gate in gates
        if gate.metric == "latency_p95_ms" and gate.at.rate is not None
    ]
    found = [*gated, *alone, *compared.get(policy.objective, []), _Figure("latency_p95_ms", at)]
    return list(dict.fromkeys(found))


def _elsewhere(at: AtConfig, policy: PolicyConfig) -> str:
    """Where a figure is of, if not where candidates are compared."""
    return "" if at == latency_at(policy) else f" at {place_of(at)}"


def _pick(standings: Sequence[Standing]) -> Pick:
    best = min(standings)
    return None if best[0] >= len(PICKABLE) else (best[-2], best[-1])


def _label(pick: Pick) -> str | None:
    return None if pick is None else pick[0]
