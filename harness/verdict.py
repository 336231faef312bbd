"""A decision as it is told: the verdicts, the record as JSON and Markdown, the gates' table. Pure."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from harness.errors import ExitCode
from harness.gates import gate_at

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from harness.confirmation import Confirmation
    from harness.gates import GateResult

Verdict = Literal["GO", "CONDITIONAL_GO", "INCONCLUSIVE", "NO_GO"]

# Best first.
VERDICTS: tuple[Verdict, ...] = ("GO", "CONDITIONAL_GO", "INCONCLUSIVE", "NO_GO")
EXIT_CODES: dict[Verdict, ExitCode] = {
    "GO": ExitCode.OK,
    "CONDITIONAL_GO": ExitCode.CONDITIONAL_GO,
    "NO_GO": ExitCode.NO_GO,
    "INCONCLUSIVE": ExitCode.INCONCLUSIVE,
}
# Reasons told of a candidate that was not picked, the gravest first; all stand with the candidate itself.
_REASONS = 2


@dataclass(frozen=True)
class CandidateVerdict:
    """One candidate: its verdict, every gate's answer, and sentences on why."""

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


@dataclass(frozen=True)
class Decision:
    """The overall verdict, the pick and why.

    `chosen` is the pick's label, None unless the verdict is GO or CONDITIONAL_GO. `fallback` is told
    when it is NO_GO. `evidence` is ``provisional`` or ``confirmed``.
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
            "evidence": self.evidence,
            "reasons": list(self.reasons),
            "not_picked": list(self.not_picked),
            "next_steps": list(self.next_steps),
            "fallback": self.fallback,
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
