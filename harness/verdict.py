"""A decision as it is told: the verdicts, the record as JSON and Markdown, the gates' table. Pure."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from harness.errors import ExitCode
from harness.gates import (
    SERVED_TOLD,
    gate_at,
    model_names,
    served_cell,
    status_text,
    stopped_cells,
    worst_in_batch,
    wrong_side,
)
from harness.record import RUN_UNITS
from harness.stand_ins import harmless
from harness.stats import launches_to_pass
from harness.units import (
    at_least,
    bound_share_text,
    bound_text,
    format_bytes,
    number_text,
    past_text,
    share_text,
)
from harness.workload import Place

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import pandas as pd

    from harness.confirmation import Confirmation
    from harness.decision_record import (
        BaselineRecord,
        Evidence,
        ProvenanceRecord,
        RunRecord,
        SpeedupRecord,
        Verdict,
    )
    from harness.gates import GateResult, GateStatus
    from harness.schema import GateConfig

# Best first.
VERDICTS: tuple[Verdict, ...] = ("GO", "CONDITIONAL_GO", "INCONCLUSIVE", "NO_GO")
# A candidate with one of these can be picked.
PICKABLE = VERDICTS[:2]
EXIT_CODES: dict[Verdict, ExitCode] = {
    "GO": ExitCode.OK,
    "CONDITIONAL_GO": ExitCode.CONDITIONAL_GO,
    "NO_GO": ExitCode.NO_GO,
    "INCONCLUSIVE": ExitCode.INCONCLUSIVE,
}
# A change by a smaller share than this is none that the figures show.
_JUST = 1e-5
# Candidates of the Pareto front that are named in a line; the record has all.
_FRONT_NAMED = 5
# Reasons told of a candidate that was not picked, the gravest first; all stand with the candidate itself.
_REASONS = 2


def is_target(gate: GateConfig) -> bool:
    """Whether it is a latency target, which tells GO from CONDITIONAL_GO."""
    return gate.tier == "should" and gate.metric in ("latency_p95_ms", "latency_overhead")


def demerit(gate: GateConfig, status: GateStatus) -> int:
    """How far from GO a gate's answer keeps a candidate, as an index of `VERDICTS`."""
    if status == "PASS":
        return 0
    if gate.tier == "must":
        return VERDICTS.index("NO_GO" if status == "FAIL" else "INCONCLUSIVE")
    return VERDICTS.index("CONDITIONAL_GO") if is_target(gate) else 0


def load_demerit(status: GateStatus) -> int:
    """`demerit` of a must latency gate's answer under production's load."""
    return VERDICTS.index("CONDITIONAL_GO") if status == "FAIL" else 0


def stands_back(verdict: Any, candidate: CandidateVerdict) -> Any:
    """Whether a candidate comes after all others of its verdict: those whose latency target is answered.

    Args:
        verdict: its, as an index of `VERDICTS`; an array of some.
        candidate: whose target it is.
    """
    return (verdict == VERDICTS.index("CONDITIONAL_GO")) & candidate.target_unknown


def of_its_kind(candidate: CandidateVerdict, other: CandidateVerdict) -> bool:
    """Whether the objective tells two candidates apart: of one verdict, and both stand back or neither."""
    kinds = [(c.verdict, stands_back(VERDICTS.index(c.verdict), c)) for c in (candidate, other)]
    return kinds[0] == kinds[1]


def _says_nothing(result: GateResult) -> bool:
    quantile = result.gate.launch_quantile
    few = quantile is not None and result.n is not None and result.n < launches_to_pass(quantile)
    return result.status == "NOT_MEASURED" or (result.status == "UNDECIDED" and few)


def _quiet_status(result: GateResult) -> GateStatus:
    """A gate's answer without the launches that were disturbed, where it rests on them."""
    return result.undisturbed if result.rests_on_noise and result.undisturbed else result.status


def verdict_by(
    at_best: Verdict, answers: Iterable[tuple[GateConfig, GateStatus]], under_load: Iterable[GateStatus]
) -> Verdict:
    """The verdict that answers of gates, and those under production's load, leave of one that is the best."""
    demerits = [*(demerit(gate, status) for gate, status in answers), *map(load_demerit, under_load)]
    return VERDICTS[max([VERDICTS.index(at_best), *demerits])]


@dataclass(frozen=True)
class ScorePart:
    """One criterion of a candidate's weighted score: its figure (None is unknown), scored from 0 to 1.

    `at_least` is what a figure that is known from below alone is at least; None of all others.
    """

    metric: str
    value: float | None
    score: float
    weight: float
    at_least: float | None = None


@dataclass(frozen=True)
class Change:
    """A change of one number that would change the pick to the candidate named, or to None.

    `kind` is ``bound``, ``measurement`` or ``weight``; `what` says which.
    """

    kind: str
    what: str
    now: float
    then: float
    pick: str | None

    @property
    def relative(self) -> float | None:
        """The change as a share of what the number is now; None where that is 0."""
        return (self.then - self.now) / abs(self.now) if self.now else None

    def __str__(self) -> str:
        picked = f"picks {self.pick or 'none'}"
        if self.then == self.now or (self.relative is not None and abs(self.relative) < _JUST):
            return f"{self.what}, just past its {number_text(self.now)}, {picked}"
        share = "" if self.relative is None else f" ({100 * self.relative:+.3g}%)"
        between = (self.now + self.then) / 2
        now = number_text(self.now, beside=(between,))
        then = past_text(self.then, self.now, beside=(between,))
        return f"{self.what} {now} → {then}{share} {picked}"


@dataclass(frozen=True)
class FrontPoint:
    """A candidate by what is traded off; None is unknown.

    `latency_p95_at_least_ms` is what a P95 that is known from below alone is at least; None of all others.
    """

    label: str
    latency_p95_ms: float | None
    separation_auc: float | None
    peak_rss_bytes: float | None
    latency_p95_at_least_ms: float | None = None

    @property
    def least_ms(self) -> float | None:
        """What P95 is at the least; None where nothing is known of it."""
        return self.latency_p95_ms if self.latency_p95_at_least_ms is None else self.latency_p95_at_least_ms


@dataclass(frozen=True)
class CandidateVerdict:
    """One candidate: its verdict, every gate's answer, and sentences on why.

    `missing` are commands that measure what is open, `ways_out` sentences on what none of them settles.
    `at_best` is the best verdict that gates could still give it, here and under production's load: where
    something stands against it that no gate asks, that is worse than GO. `rows` are the runs that were read,
    `compared` those of them whose figures the objective goes by, `vectors` the answers of the must gates on
    vectors under production's load, `auc_data` the labelled pairs that the AUC is of; they are no part of the
    record.
    """

    label: str
    verdict: Verdict
    gates: tuple[GateResult, ...]
    reasons: tuple[str, ...]
    notes: tuple[str, ...]
    missing: tuple[str, ...]
    provisional: tuple[str, ...]
    confirmation: Confirmation | None
    confirm: str
    model: str
    latency_p95_ms: float | None
    separation_auc: float | None
    scripted: bool
    run_ids: tuple[str, ...]
    peak_rss_bytes: float | None = None
    latency_p95_at_least_ms: float | None = None
    score: tuple[ScorePart, ...] = ()
    at_best: Verdict = "GO"
    rows: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)
    compared: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)
    vectors: tuple[tuple[Place, GateResult], ...] = field(default=(), repr=False)
    warnings: tuple[str, ...] = ()
    runs: tuple[RunRecord, ...] = ()
    ways_out: tuple[str, ...] = ()
    auc_data: str | None = None

    @property
    def point(self) -> FrontPoint:
        """What it trades off."""
        return FrontPoint(
            self.label,
            self.latency_p95_ms,
            self.separation_auc,
            self.peak_rss_bytes,
            self.latency_p95_at_least_ms,
        )

    @property
    def impossible(self) -> bool:
        """Whether it could not be measured here at all."""
        return bool(self.rows) and all(row["status"] == "unavailable" for row in self.rows)

    @property
    def names(self) -> set[str]:
        """What its model is called, where it is recorded and in tables; a policy's paths may say either."""
        return {self.model}.union(*map(model_names, self.rows[:1]))

    @property
    def target_unknown(self) -> bool:
        """Whether nothing answers a latency target: not measured, or in too few launches for any answer."""
        return any(is_target(r.gate) and _says_nothing(r) for r in self.gates)

    @property
    def undisturbed(self) -> Verdict:
        """The verdict without the launches that were disturbed, where an answer rests on them."""
        under_load = [r for _, r in self.under_load]
        if not any(result.rests_on_noise for result in (*self.gates, *under_load)):
            return self.verdict
        asked = (*self.gates, *(r for _, r in self.vectors))
        answers = ((r.gate, _quiet_status(r)) for r in asked)
        return verdict_by(self.at_best, answers, map(_quiet_status, under_load))

    @property
    def under_load(self) -> tuple[tuple[Place, GateResult], ...]:
        """The answers under production's load, each with where it was asked."""
        return () if self.confirmation is None else self.confirmation.results


@dataclass(frozen=True)
class Decision:
    """The overall verdict, the pick and why.

    `chosen` is the pick's label, None unless the verdict is GO or CONDITIONAL_GO. Where the objective cannot
    tell candidates apart that could be picked, it is INCONCLUSIVE. `fallback` is told when it is NO_GO.
    `evidence` is ``provisional`` or ``confirmed``. `stays` is the share of resampled data sets under which
    the pick stays, `changes` the closest that would change it, a kind each, `front` the candidates of which
    no other is better in everything.
    """

    verdict: Verdict
    chosen: str | None
    reasons: tuple[str, ...]
    candidates: tuple[CandidateVerdict, ...]
    policy: str
    evidence: Evidence
    fallback: str | None
    next_steps: tuple[str, ...]
    machine: Mapping[str, Any] = field(default_factory=dict)
    stays: float | None = None
    changes: tuple[Change, ...] = ()
    front: tuple[FrontPoint, ...] = ()
    warnings: tuple[str, ...] = ()
    provenance: ProvenanceRecord | None = None
    baseline: BaselineRecord | None = None

    @property
    def exit_code(self) -> ExitCode:
        """Of `python -m harness.decide`."""
        return EXIT_CODES[self.verdict]

    @property
    def id(self) -> str:
        """The first digits of the record's own hash."""
        return record_id(self.to_json())

    @property
    def undisturbed(self) -> Verdict:
        """What the verdict would be without the launches that were disturbed: the pick's, or the best."""
        if self.chosen is None and self.candidates[0].verdict in PICKABLE:
            return self.verdict  # by their data, not by launches
        asked = [c for c in self.candidates if c.scripted == self.candidates[0].scripted and not c.impossible]
        told = (c.undisturbed for c in (asked[:1] if self.chosen else asked))
        return min(told, key=VERDICTS.index, default=self.verdict)

    @property
    def not_picked(self) -> tuple[str, ...]:
        """Why measured candidates with a worse verdict were not picked, a line for each set of reasons."""
        if self.chosen is None:
            return ()
        labels: dict[str, list[str]] = {}
        for candidate in self.candidates:
            if candidate.scripted and not self.candidates[0].scripted:
                labels.setdefault("its figures are a script's", []).append(candidate.label)
            elif not candidate.impossible and candidate.verdict != self.verdict:
                why = f"{candidate.verdict}, {'; '.join(candidate.reasons[:_REASONS])}"
                labels.setdefault(why, []).append(candidate.label)
        return tuple(f"{', '.join(names)}: {why}" for why, names in labels.items())

    @property
    def firmness(self) -> tuple[str, ...]:
        """How firm the pick is and what it is traded off against, a line each."""
        told = []
        if self.stays is not None:
            stays = share_text(self.stays, 1)
            told.append(
                f"robustness: the pick stays in {stays} of data sets with these runs' launches resampled"
            )
        if self.changes:
            told.append(f"closest change of the pick: {'; '.join(map(str, self.changes))}")
        if len(self.front) > 1:
            more = len(self.front) - _FRONT_NAMED
            named = [front_text(point) for point in self.front[:_FRONT_NAMED]]
            named += [f"and {more} more"] if more > 0 else []
            told.append(f"Pareto front of P95, AUC and memory, of what could be picked: {'; '.join(named)}")
        return tuple(told)

    @property
    def table(self) -> pd.DataFrame:
        """One row a candidate and gate: tier, bound, value, interval, distance and status."""
        import pandas as pd

        return pd.DataFrame(
            [
                {"candidate": c.label, "verdict": c.verdict, **_gate_record(g)}
                for c in self.candidates
                for g in c.gates
            ]
        )

    def to_json(self) -> str:
        """The record as canonical JSON; its schema is `harness.decision_record`."""
        record = {
            "schema_version": 1,
            "verdict": self.verdict,
            "undisturbed": self.undisturbed,
            "chosen": self.chosen,
            "policy": self.policy,
            "evidence": self.evidence,
            "reasons": list(self.reasons),
            "not_picked": list(self.not_picked),
            "next_steps": list(self.next_steps),
            "fallback": self.fallback,
            "pick_stays": self.stays,
            "closest_changes": [{**asdict(change), "relative": change.relative} for change in self.changes],
            "pareto_front": [asdict(point) for point in self.front],
            "warnings": list(self.warnings),
            "machine": dict(self.machine),
            "provenance": self.provenance and self.provenance.model_dump(),
            "baseline": self.baseline and self.baseline.model_dump(),
            "candidates": [
                {
                    "label": c.label,
                    "verdict": c.verdict,
                    "undisturbed": c.undisturbed,
                    "reasons": list(c.reasons),
                    "notes": list(c.notes),
                    "warnings": list(c.warnings),
                    "missing": list(c.missing),
                    "ways_out": list(c.ways_out),
                    "provisional": list(c.provisional),
                    "confirmation": _confirmation_record(c.confirmation),
                    "run_ids": list(c.run_ids),
                    "score": [asdict(part) for part in c.score],
                    "runs": [run.model_dump() for run in c.runs],
                    "gates": [_gate_record(gate) for gate in c.gates],
                }
                for c in self.candidates
            ],
        }
        return json.dumps(record, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"

    def to_markdown(self) -> str:
        """The record as a page a person reads."""
        pick = f": {_cell(self.chosen)}" if self.chosen else ""
        lines = [f"# {self.verdict}{pick}{noise_mark(self)}", ""]
        lines += [f"- {_cell(reason)}" for reason in self.reasons]
        lines += [f"- Not picked: {_cell(line)}" for line in self.not_picked]
        if self.fallback:
            lines.append(f"- Fallback: {_cell(self.fallback)}.")
        lines += [f"- {_cell(line[0].upper() + line[1:])}." for line in self.firmness]
        lines += [f"- Warning: {_cell(line)}" for line in self.warnings]
        lines += [f"- Evidence: {self.evidence}. Policy: {_cell(self.policy)}."]
        lines += [f"- Next: {step}" for step in self.next_steps]
        if self.machine:
            known = ", ".join(f"{name} {value}" for name, value in self.machine.items() if value is not None)
            lines += [f"- Machine: {_cell(known)}."]
        lines += _figures_lines(self.candidates)
        for candidate in self.candidates:
            if candidate.impossible:
                continue
            lines += ["", f"## {_cell(candidate.label)}: {candidate.verdict}{noise_mark(candidate)}", ""]
            limits = candidate.confirmation.limits if candidate.confirmation else ()
            told = (*candidate.reasons, *candidate.provisional, *limits, *candidate.notes)
            lines += [f"- {_cell(line)}" for line in told]
            lines += [f"- Warning: {_cell(line)}" for line in candidate.warnings]
            lines += [f"- Missing: `{command}`" for command in candidate.missing]
            lines += [f"- Open: {line}" for line in candidate.ways_out]
            lines += [f"- Run {_cell(_run_line(run))}" for run in candidate.runs]
            lines += ["", "| tier | gate | bound | value | interval | distance | result |"]
            lines += ["|---|---|---|---|---|---|---|"]
            lines += [f"| {' | '.join(_cell(cell) for cell in gate_cells(g))} |" for g in candidate.gates]
        if impossible := [c for c in self.candidates if c.impossible]:
            lines += ["", "## Not possible here", ""]
            lines += [f"- {_cell(c.label)}: {_cell('; '.join(c.reasons))}" for c in impossible]
        lines += [] if self.baseline is None else _baseline_lines(self.baseline)
        lines += ["", f"Decided by harness {self.provenance.harness_version}."] if self.provenance else []
        return harmless("\n".join(lines) + "\n")


def noise_mark(judged: CandidateVerdict | Decision) -> str:
    """What stands behind a verdict that would be another one without the launches that were disturbed."""
    return "" if judged.undisturbed == judged.verdict else ", resting on disturbed launches"


def record_id(text: str) -> str:
    """The name that a decision's JSON is kept by."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def gate_cells(result: GateResult) -> tuple[str, str, str, str, str, str, str]:
    """A gate's answer for a table: tier, label, bound, value, interval, distance, result."""
    gate = result.gate
    quantile = (
        "" if gate.launch_quantile is None else f" in {bound_share_text(gate.launch_quantile)} of launches"
    )
    status = status_text(result.status)
    if result.n is not None and result.over is not None:
        status += f" {result.over}/{result.n} {wrong_side(gate)}"
    if gate.metric == "finite":
        shown = "?" if result.value is None else "yes" if result.value else "no"
        return (gate.tier, gate.label, "yes", shown, "", "", status)
    percent = percent_text(result)
    distance = (distance_text(result), unit_of(gate.metric), f"({percent})" if percent else "")
    known = result.distance is not None and result.floor_ms is None
    bound = (gate.bound,)
    low, high = (number_text(end, 3, beside=bound) for end in (result.low, result.high))
    between = f"{low}–{high}" if result.low != result.high else ""
    return (
        gate.tier,
        gate.label,
        f"{gate.op} {bound_text(gate.bound)}{quantile}",
        *stopped_cells(result.floor_ms, number_text(result.value, beside=bound), between, beside=bound),
        " ".join(filter(None, distance)) if known else "",
        status,
    )


def _figures_lines(candidates: Sequence[CandidateVerdict]) -> list[str]:
    """The figures of every run that was read, in a table; where a figure is unknown its cell is empty."""
    names = (
        "P95 ms", "interval", "texts/s", "memory", "AUC", "separation", "interval",
        "overlap, shipped texts", "interval", "in batch", "STS ×100", "nDCG@10", "overlap, own texts",
        "interval",
    )  # fmt: skip
    lines = ["", f"| candidate | its verdict | at | {' | '.join(names)} |", "|" + "---|" * (len(names) + 3)]
    for candidate in candidates:
        for run in candidate.runs:
            cells = (
                candidate.label,
                candidate.verdict,
                str(_place(run)),
                *stopped_cells(
                    run.latency_p95_at_least_ms,
                    _known(run.latency_p95_ms),
                    _between(run.latency_p95_low_ms, run.latency_p95_high_ms),
                ),
                served_cell(run.model_dump(), "throughput_texts_per_s", _known(run.throughput_texts_per_s)),
                "" if run.peak_rss_bytes is None else format_bytes(int(run.peak_rss_bytes)),
                _known(run.separation_auc),
                _known(run.separation),
                _between(run.separation_low, run.separation_high),
                _known(run.neighbour_overlap),
                _between(run.neighbour_overlap_low, run.neighbour_overlap_high),
                _known(worst_in_batch(run.model_dump())),
                _known(run.sts_spearman),
                _known(run.ndcg_at_10),
                _known(run.texts_overlap),
                _between(run.texts_overlap_low, run.texts_overlap_high),
            )
            lines.append(f"| {' | '.join(map(_cell, cells))} |")
    if any(run.truncated_over_ms is not None for candidate in candidates for run in candidate.runs):
        lines += ["", f"- {SERVED_TOLD}"]
    return lines if len(lines) > 3 else []


def _known(value: float | None) -> str:
    return "" if value is None else number_text(value)


def _between(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"{number_text(low, 3)}–{number_text(high, 3)}"


def _place(run: RunRecord) -> Place:
    return Place(run.workload, run.batch_size, run.clients, run.arrival, run.offered_qps)


def _run_line(run: RunRecord) -> str:
    """Where a run's figures come from."""
    found = {
        "model": run.model_id,
        "revision": run.revision,
        "artifact": run.artifact_sha256 and run.artifact_sha256[:12],
        "ONNX Runtime": run.onnxruntime,
        "harness": run.harness_version,
        "commit": run.git_commit and run.git_commit[:12],
    }
    told = "".join(f", {name} {value}" for name, value in found.items() if value)
    return f"{run.run_id}: {_place(run)}, {run.launches} launches from {run.started_at}{told}"


def baseline_title(baseline: BaselineRecord) -> str:
    """What a table of speed-ups is called."""
    return f"speed-up over {baseline.label} ({baseline.kind})"


def baseline_told(baseline: BaselineRecord) -> tuple[str, ...]:
    """What there is to know of a baseline beside the figures."""
    if baseline.kind == "measured":
        told = [
            f"{baseline.source}, measured here: {baseline.conditions}",
            "a speed-up is the median of the ratios between launches, not the ratio of the two medians",
        ]
        if apart := [s for s in baseline.speedups if not s.paired and s.ratio is not None]:
            labels = ", ".join(dict.fromkeys(s.candidate for s in apart))
            told.append(
                f"measured apart, so how the machine changed meanwhile is part of the ratio: {labels}"
            )
    else:
        figures = "; ".join(figure.said for figure in baseline.figures)
        told = [
            f"reported, not measured here: {figures}",
            f"by {baseline.source}; {baseline.machine}; {baseline.conditions}",
            "a ratio to it is between machines and texts too; its interval is the candidate's side alone",
        ]
    told += [f"not compared: {line}" for line in baseline.not_compared]
    reasons = dict.fromkeys(f"{s.candidate}: {s.reason}" for s in baseline.speedups if s.reason)
    return (*told, *reasons)


def _baseline_lines(baseline: BaselineRecord) -> list[str]:
    title = baseline_title(baseline)
    lines = ["", f"## {_cell(title[0].upper() + title[1:])}", ""]
    lines += [f"- {_cell(line)}" for line in baseline_told(baseline)]
    lines += [
        "",
        "| candidate | latency | baseline | candidate's | speed-up | interval |",
        "|---|---|---|---|---|---|",
    ]
    return lines + [f"| {' | '.join(map(_cell, speedup_cells(s)))} |" for s in baseline.speedups]


def speedup_cells(speedup: SpeedupRecord) -> tuple[str, str, str, str, str, str]:
    """A speed-up for a table: candidate, latency, the baseline's, the candidate's, speed-up, interval."""
    low, high = (None if end is None else number_text(end, 3) for end in (speedup.low, speedup.high))
    between = "" if low is None and high is None else f"{low or '?'}–{high or '?'}"
    ratio = "?" if speedup.ratio is None else f"{number_text(speedup.ratio, 3)}×"
    if speedup.ratio_at_most is not None:  # launches were stopped early
        ratio, between = f"≤ {number_text(speedup.ratio_at_most, 3)}×", ""
    elif speedup.ratio is None and (low is None) != (high is None):
        ratio, between = f"≤ {high}×" if low is None else f"≥ {low}×", ""
    return (
        speedup.candidate,
        speedup.metric.removeprefix("latency_").removesuffix("_ms").upper(),
        _side(speedup.baseline_ms, speedup.baseline_at_least_ms),
        _side(speedup.candidate_ms, speedup.candidate_at_least_ms),
        ratio,
        between,
    )


def _side(ms: float | None, at_least_ms: float | None) -> str:
    """A latency of which it may only be known what it is at least."""
    known_ms = ms if at_least_ms is None else at_least_ms
    if known_ms is None:
        return "?"
    return f"{number_text(ms)} ms" if at_least_ms is None else at_least(f"{number_text(at_least_ms)} ms")


def _gate_record(result: GateResult) -> dict[str, Any]:
    gate = result.gate
    known = result if result.floor_ms is None else replace(result, value=None, low=None, high=None)
    return {
        "tier": gate.tier,
        "gate": gate.label,
        "metric": gate.metric,
        "unit": unit_of(gate.metric),
        "op": gate.op,
        "bound": gate.bound,
        "launch_quantile": gate.launch_quantile,
        "at": gate.at.model_dump(),
        "status": result.status,
        "value": known.value,
        "low": known.low,
        "high": known.high,
        "distance": known.distance,
        "distance_percent": known.distance_percent,
        "at_least": result.floor_ms,
        "launches": result.n,
        "launches_over": result.over,
        "undisturbed": result.undisturbed,
        "reason": result.reason,
    }


def front_text(point: FrontPoint) -> str:
    """A candidate of the front with its P95, AUC and peak memory."""
    memory = "?" if point.peak_rss_bytes is None else format_bytes(int(point.peak_rss_bytes))
    latency, _ = stopped_cells(point.latency_p95_at_least_ms, number_text(point.latency_p95_ms), "")
    figures = f"{latency} ms, {number_text(point.separation_auc)}, {memory}"
    return f"{point.label} ({figures})"


def _confirmation_record(confirmation: Confirmation | None) -> dict[str, Any] | None:
    if confirmation is None:
        return None
    return {
        "complete": confirmation.complete,
        "lacking": list(confirmation.lacking),
        "failing": list(confirmation.failing),
        "longest_tokens": asdict(confirmation.longest_tokens),
        "highest_qps": asdict(confirmation.highest_qps),
        "gates": [_gate_record(replace(r, gate=gate_at(r.gate, place))) for place, r in confirmation.results],
    }


def unit_of(metric: str) -> str:
    """A metric's unit; empty where it has none."""
    return RUN_UNITS.get(metric, "")


def distance_text(result: GateResult, digits: int = 4) -> str:
    """How far the value is on the right side of the bound, in significant digits; empty where unknown."""
    if result.distance is None:
        return ""
    return ("" if result.distance < 0 else "+") + number_text(result.distance, digits)


def needed_text(gate: GateConfig) -> str:
    """What a gate needs, in a narrow column: ``<30 @80%`` is under 30 in 80 % of the launches."""
    if gate.metric == "finite":
        return "yes"
    quantile = "" if gate.launch_quantile is None else f" @{bound_share_text(gate.launch_quantile)}"
    return f"{gate.op}{bound_text(gate.bound)}{quantile}"


def percent_text(result: GateResult) -> str:
    """The same in percent of the bound."""
    percent = result.distance_percent
    return "" if percent is None else f"{'' if percent < 0 else '+'}{number_text(percent, 3)}%"


def _cell(text: str) -> str:
    """Text that cannot break out of a Markdown table or become HTML."""
    line = " ".join(text.splitlines())
    return line.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|")
