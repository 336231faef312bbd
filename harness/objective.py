"""What a policy's objective prefers among candidates of one verdict, and which of them no other beats. Pure.

A figure is a float, or an array of one a resampled data set: both are compared by the same arithmetic.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.caveats import data_of
from harness.gates import known_figure, p95_floor_ms, place_of, run_at, stopped_cells
from harness.schema import LESS_IS_BETTER, AtConfig
from harness.units import bound_text, format_bytes, number_text
from harness.verdict import PICKABLE, FrontPoint, ScorePart, unit_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from harness.gates import RowT
    from harness.schema import Comparable, CriterionConfig, Metric, PolicyConfig, RankConfig
    from harness.verdict import CandidateVerdict

Figure = Any

# Rounding must not put 0.29 / 0.01 = 28.999999999999996 into the step below its own.
_STEP_SLACK = 1e-9
_WORDS = {
    "path_order": "path order, then P95",
    "best_quality": "best quality, then P95",
    "lexicographic": "lexicographic order",
}


def objective_words(policy: PolicyConfig) -> str:
    """The objective as it stands in a sentence."""
    return _WORDS.get(policy.objective, policy.objective.replace("_", " "))


def latency_at(policy: PolicyConfig) -> AtConfig:
    """Where latency and quality are read to compare candidates: as the first latency gate does."""
    asked = [gate.at for gate in policy.gates if gate.metric == "latency_p95_ms"]
    return asked[0] if asked else AtConfig()


def figures_read(policy: PolicyConfig) -> list[tuple[Metric | Comparable, AtConfig]]:
    """What candidates are told apart by, and where: by gates, by the objective, and by the Pareto front."""
    asked: list[tuple[Metric | Comparable, AtConfig]] = [(gate.metric, gate.at) for gate in policy.gates]
    return [*asked, *_compared(policy), ("separation_auc", latency_at(policy))]


def _compared(policy: PolicyConfig) -> list[tuple[Comparable, AtConfig]]:
    """The figures that the objective compares beside latency, and where."""
    if policy.objective == "best_quality":
        return [("separation_auc", latency_at(policy))]
    if policy.objective == "lexicographic":
        return [(rank.metric, rank.at) for rank in policy.order]
    return [(c.metric, c.at) for c in policy.matrix] if policy.objective == "weighted_matrix" else []


def runs_compared(policy: PolicyConfig, rows: Sequence[RowT]) -> list[RowT]:
    """The runs of a candidate that the objective and the Pareto front read, of `rows`."""
    places = dict.fromkeys([latency_at(policy), *(at for _, at in _compared(policy))])
    return [row for at in places if (row := run_at(at, rows)) is not None]


def read_from(rows: Sequence[Mapping[str, Any]], metric: Comparable, at: AtConfig) -> float:
    """A figure of the run at a place; the worst there is where it is unknown, or known from below alone."""
    row = run_at(at, rows)
    value = None if row is None else known_figure(row, metric)
    return _worst(metric) if value is None else value


def _worst(metric: Comparable) -> float:
    return math.inf if metric in LESS_IS_BETTER else -math.inf


def told_apart_by(
    pick: CandidateVerdict, rival: CandidateVerdict, policy: PolicyConfig
) -> list[tuple[Comparable, AtConfig]]:
    """The figures of different data that the objective may prefer a candidate to another by.

    None where it prefers it whatever those figures would be on the same data: with the worst there is of its
    own, and the best there is of the other's.
    """
    disputed = []
    for metric, at in _compared(policy):
        ours, theirs = (None if row is None else data_of(metric, row) for row in _at(at, pick, rival))
        if ours is not None and theirs is not None and ours != theirs:
            disputed.append((metric, at))

    def standing(candidate: CandidateVerdict, sign: float) -> tuple[Figure, ...]:
        def read(metric: Comparable, at: AtConfig) -> float:
            is_open = (metric, at) in disputed
            return sign * _worst(metric) if is_open else read_from(candidate.compared, metric, at)

        return preference(policy, candidate.names, read)

    return disputed if disputed and standing(pick, 1.0) > standing(rival, -1.0) else []


def _at(at: AtConfig, *candidates: CandidateVerdict) -> list[Mapping[str, Any] | None]:
    return [run_at(at, candidate.compared) for candidate in candidates]


def preference(
    policy: PolicyConfig, names: Collection[str], read: Callable[[Comparable, AtConfig], Figure]
) -> tuple[Figure, ...]:
    """What candidates of one verdict are sorted by, the least first.

    Args:
        policy: whose objective counts.
        names: of the candidate's model.
        read: gives the figure of a metric at a place, the worst there is where it is unknown.
    """
    at = latency_at(policy)
    path = min((i for i, model in enumerate(policy.paths) if model in names), default=len(policy.paths))
    latency = read("latency_p95_ms", at)
    if policy.objective == "lowest_latency":
        return (latency, path)
    if policy.objective == "best_quality":
        return (-read("separation_auc", at), latency)
    if policy.objective == "lexicographic":
        return (*(_stepped(rank, read(rank.metric, rank.at)) for rank in policy.order), path, latency)
    if policy.objective == "weighted_matrix":
        return (-weighted_score(policy, read), path, latency)
    return (path, latency)


def weighted_score(policy: PolicyConfig, read: Callable[[Comparable, AtConfig], Figure]) -> Figure:
    """The mean of a candidate's scores, weighted: between 0 and 1."""
    weighed = sum(c.weight * scored(c, read(c.metric, c.at)) for c in policy.matrix)
    return weighed / sum(c.weight for c in policy.matrix)


def scored(criterion: CriterionConfig, value: Figure) -> Figure:
    """A figure's score: 1 at `best`, 0 at `worst`, linear between them, no more and no less beyond."""
    return np.clip((value - criterion.worst) / (criterion.best - criterion.worst), 0.0, 1.0)


def score_parts(policy: PolicyConfig, rows: Sequence[Mapping[str, Any]]) -> tuple[ScorePart, ...]:
    """A candidate's weighted score, criterion by criterion; none under another objective."""
    if policy.objective != "weighted_matrix":
        return ()
    parts = []
    for c in policy.matrix:
        row, value = run_at(c.at, rows), read_from(rows, c.metric, c.at)
        at_least = p95_floor_ms(row) if row is not None and c.metric == "latency_p95_ms" else None
        known = value if math.isfinite(value) else None
        parts.append(ScorePart(c.metric, known, float(scored(c, value)), c.weight, at_least))
    return tuple(parts)


def criterion_places(policy: PolicyConfig) -> list[str]:
    """Where each criterion of the matrix is read, in words; empty for a metric that stands there once."""
    counts = Counter(c.metric for c in policy.matrix)
    return [f" at {place_of(c.at)}" if counts[c.metric] > 1 else "" for c in policy.matrix]


def score_text(policy: PolicyConfig, parts: Sequence[ScorePart]) -> str:
    """The whole arithmetic of a weighted score, in one line, with where each score is 0 and where 1."""
    weights = sum(part.weight for part in parts)
    total = sum(part.weight * part.score for part in parts) / weights
    terms = (
        f"{part.weight:g} × {part.score:.3f} {part.metric} {_scored_text(criterion, part)}{where}"
        for criterion, part, where in zip(policy.matrix, parts, criterion_places(policy), strict=True)
    )
    return f"weighted score {total:.1%} = ({' + '.join(terms)}) / {weights:g}"


def _scored_text(criterion: CriterionConfig, part: ScorePart) -> str:
    """A figure with the ends of its score: ``12 (0 at 30, 1 at 0)``, memory in its unit."""
    ends = criterion.worst, criterion.best
    if unit_of(part.metric) == "bytes":
        figure = "?" if part.value is None else format_bytes(int(part.value))
        worst, best = (format_bytes(int(end)) for end in ends)
    else:
        figure = stopped_cells(part.at_least, number_text(part.value, beside=ends), "", beside=ends)[0]
        worst, best = map(bound_text, ends)
    return f"{figure} (0 at {worst}, 1 at {best})"


def pareto_front(candidates: Iterable[CandidateVerdict]) -> tuple[FrontPoint, ...]:
    """The candidates that could be picked and of which no other is better in everything.

    Better in everything: at least as good in P95, AUC and peak memory, and better in one of them, by the
    figures as they are measured. What is unknown is the worst there is. A P95 that is known from below alone
    beats none that is known, and is beaten by one no longer than it is at least. AUCs of different labelled
    pairs are not compared: neither candidate is better. Fastest first.
    """
    points = [(c.point, c.auc_data) for c in candidates if c.verdict in PICKABLE]
    front: list[FrontPoint] = []
    costs, data = np.empty((len(points), 3)), np.empty(len(points), dtype=object)
    for point, of_data in sorted(points, key=lambda each: (_costs(each[0]), each[0].label)):
        cost, kept = np.asarray(_costs(point)), costs[: len(front)]
        beaten = (kept <= cost).all(axis=1) & (kept < cost).any(axis=1)
        if of_data is not None:
            beaten &= data[: len(front)] == of_data
        if not beaten.any():
            costs[len(front)] = cost if point.latency_p95_at_least_ms is None else (math.inf, *cost[1:])
            data[len(front)] = of_data
            front.append(point)
    return tuple(front)


def _costs(point: FrontPoint) -> tuple[float, float, float]:
    """P95, AUC and memory, the less the better; of a P95 known from below alone the least it can be."""
    latency, memory = (math.inf if v is None else v for v in (point.least_ms, point.peak_rss_bytes))
    return latency, math.inf if point.separation_auc is None else -point.separation_auc, memory


def _stepped(rank: RankConfig, value: Figure) -> Figure:
    """A figure's step, the better the less."""
    steps = value if rank.step is None else np.floor(value / rank.step + _STEP_SLACK)
    return steps if rank.metric in LESS_IS_BETTER else -steps
