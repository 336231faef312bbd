"""A decision as it is told: the verdicts, the record as JSON and Markdown, the gates' table. Pure."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from harness.errors import ExitCode
from harness.gates import gate_at
from harness.units import format_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from harness.config import GateConfig
    from harness.confirmation import Confirmation
    from harness.gates import GateResult, GateStatus

Verdict = Literal["GO", "CONDITIONAL_GO", "INCONCLUSIVE", "NO_GO"]

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


@dataclass(frozen=True)
class ScorePart:
    """One criterion of a candidate's weighted score: its figure (None is unknown), scored from 0 to 1."""

    metric: str
    value: float | None
    score: float
    weight: float


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
        share = "" if self.relative is None else f" ({100 * self.relative:+.3g}%)"
        figures = f"{number_text(self.now)} → {number_text(self.then)}"
        return f"{self.what} {figures}{share} picks {self.pick or 'none'}"


@dataclass(frozen=True)
class FrontPoint:
    """A candidate that could be picked, by what is traded off; None is unknown."""

    label: str
    latency_p95_ms: float | None
    separation_auc: float | None
    peak_rss_bytes: float | None


@dataclass(frozen=True)
class CandidateVerdict:
    """One candidate: its verdict, every gate's answer, and sentences on why.

    `at_best` is the best verdict that gates could still give it: where something stands against it that no
    gate asks, that is worse than GO. `rows` are the runs that were read; they are no part of the record.
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
    score: tuple[ScorePart, ...] = ()
    at_best: Verdict = "GO"
    rows: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class Decision:
    """The overall verdict, the pick and why.

    `chosen` is the pick's label, None unless the verdict is GO or CONDITIONAL_GO. `fallback` is told
    when it is NO_GO. `evidence` is ``provisional`` or ``confirmed``. `stays` is the share of
    resampled data sets under which the pick stays, `changes` the closest that would change it, a kind each,
    `front` the candidates of which no other is better in everything. `rules` are the policy's own content.
    """

    verdict: Verdict
    chosen: str | None
    reasons: tuple[str, ...]
    candidates: tuple[CandidateVerdict, ...]
    policy: str
    evidence: Literal["provisional", "confirmed"]
    fallback: str | None
    next_steps: tuple[str, ...]
    machine: Mapping[str, Any] = field(default_factory=dict)
    stays: float | None = None
    changes: tuple[Change, ...] = ()
    front: tuple[FrontPoint, ...] = ()
    rules: Mapping[str, Any] = field(default_factory=dict)

    @property
    def exit_code(self) -> ExitCode:
        """Of `python -m harness.decide`."""
        return EXIT_CODES[self.verdict]

    @property
    def id(self) -> str:
        """The first digits of the record's own hash."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:12]

    @property
    def not_picked(self) -> tuple[str, ...]:
        """Why measured candidates with a worse verdict were not picked, a line for each set of reasons."""
        if self.chosen is None:
            return ()
        labels: dict[str, list[str]] = {}
        for candidate in self.candidates:
            if candidate.run_ids and candidate.verdict != self.verdict:
                why = f"{candidate.verdict}, {'; '.join(candidate.reasons[:_REASONS])}"
                labels.setdefault(why, []).append(candidate.label)
        return tuple(f"{', '.join(names)}: {why}" for why, names in labels.items())

    @property
    def firmness(self) -> tuple[str, ...]:
        """How firm the pick is and what it is traded off against, a line each."""
        told = []
        if self.stays is not None:
            told.append(
                f"robustness: the pick stays in {self.stays:.1%} of data sets with launches resampled"
            )
        if self.changes:
            told.append(f"closest change of the pick: {'; '.join(map(str, self.changes))}")
        if len(self.front) > 1:
            more = len(self.front) - _FRONT_NAMED
            named = [_front_text(point) for point in self.front[:_FRONT_NAMED]]
            named += [f"and {more} more"] if more > 0 else []
            told.append(f"Pareto front of P95, AUC and memory: {'; '.join(named)}")
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
        """The record as canonical JSON."""
        record = {
            "verdict": self.verdict,
            "chosen": self.chosen,
            "policy": self.policy,
            "rules": dict(self.rules),
            "evidence": self.evidence,
            "reasons": list(self.reasons),
            "not_picked": list(self.not_picked),
            "next_steps": list(self.next_steps),
            "fallback": self.fallback,
            "pick_stays": self.stays,
            "closest_changes": [{**asdict(change), "relative": change.relative} for change in self.changes],
            "pareto_front": [asdict(point) for point in self.front],
            "machine": dict(self.machine),
            "candidates": [
                {
                    "label": c.label,
                    "verdict": c.verdict,
                    "reasons": list(c.reasons),
                    "notes": list(c.notes),
                    "missing": list(c.missing),
                    "provisional": list(c.provisional),
                    "confirmation": _confirmation_record(c.confirmation),
                    "run_ids": list(c.run_ids),
                    "score": [asdict(part) for part in c.score],
                    "gates": [_gate_record(gate) for gate in c.gates],
                }
                for c in self.candidates
            ],
        }
        return json.dumps(record, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"

    def to_markdown(self) -> str:
        """The record as a page a person reads."""
        pick = f": {_cell(self.chosen)}" if self.chosen else ""
        lines = [f"# {self.verdict}{pick}", ""]
        lines += [f"- {_cell(reason)}" for reason in self.reasons]
        lines += [f"- Not picked: {_cell(line)}" for line in self.not_picked]
        if self.fallback:
            lines.append(f"- Fallback: {_cell(self.fallback)}.")
        lines += [f"- {_cell(line[0].upper() + line[1:])}." for line in self.firmness]
        lines += [f"- Evidence: {self.evidence}. Policy: {self.policy}."]
        lines += [f"- Next: {step}" for step in self.next_steps]
        if self.machine:
            lines += [f"- Machine: {_cell(', '.join(f'{k} {v}' for k, v in self.machine.items()))}."]
        for candidate in self.candidates:
            lines += ["", f"## {_cell(candidate.label)}: {candidate.verdict}", ""]
            limits = candidate.confirmation.limits if candidate.confirmation else ()
            told = (*candidate.reasons, *candidate.provisional, *limits, *candidate.notes)
            lines += [f"- {_cell(line)}" for line in told]
            lines += [f"- Missing: `{command}`" for command in candidate.missing]
            lines += ["", "| tier | gate | bound | value | interval | distance | result |"]
            lines += ["|---|---|---|---|---|---|---|"]
            lines += [f"| {' | '.join(_cell(cell) for cell in gate_cells(g))} |" for g in candidate.gates]
        return "\n".join(lines) + "\n"


def gate_cells(result: GateResult) -> tuple[str, str, str, str, str, str, str]:
    """A gate's answer for a table: tier, label, bound, value, interval, distance, result."""
    gate = result.gate
    quantile = "" if gate.launch_quantile is None else f" in {gate.launch_quantile:.0%} of launches"
    status = result.status.replace("_", " ").lower()
    if result.n is not None and result.over is not None:
        status += f" {result.over}/{result.n} over"
    if gate.metric == "finite":
        shown = "?" if result.value is None else "yes" if result.value else "no"
        return (gate.tier, gate.label, "yes", shown, "", "", status)
    distance = "" if result.distance is None else f"{result.distance + 0.0:+.4g}"
    return (
        gate.tier,
        gate.label,
        f"{gate.op} {gate.bound:g}{quantile}",
        number_text(result.value),
        f"{number_text(result.low, 3)}–{number_text(result.high, 3)}" if result.low != result.high else "",
        distance,
        status,
    )


def _gate_record(result: GateResult) -> dict[str, Any]:
    gate = result.gate
    return {
        "tier": gate.tier,
        "gate": gate.label,
        "metric": gate.metric,
        "op": gate.op,
        "bound": gate.bound,
        "launch_quantile": gate.launch_quantile,
        "at": gate.at.model_dump(),
        "status": result.status,
        "value": result.value,
        "low": result.low,
        "high": result.high,
        "distance": result.distance,
        "launches": result.n,
        "launches_over": result.over,
        "undisturbed": result.undisturbed,
        "reason": result.reason,
    }


def _front_text(point: FrontPoint) -> str:
    memory = "?" if point.peak_rss_bytes is None else format_bytes(int(point.peak_rss_bytes))
    figures = f"{number_text(point.latency_p95_ms)} ms, {number_text(point.separation_auc)}, {memory}"
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


def number_text(value: float | None, digits: int = 4) -> str:
    """A figure in significant digits."""
    if value is None:
        return "?"
    return f"{value:.1e}" if 0 < abs(value) < 1e-4 else f"{value:.{digits}g}"


def _cell(text: str) -> str:
    """Text that cannot break out of a Markdown table or become HTML."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|").replace("\n", " ")
