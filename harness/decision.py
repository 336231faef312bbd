"""The decision: each candidate's verdict by a policy, the pick, and why. Pure; nothing is read or written.

The same runs and the same policy give the same bytes, in any order of rows or columns.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from harness.config import PolicyConfig, load_policy
from harness.errors import BadInputError, ExitCode
from harness.gates import GateResult, as_number, ask, text_of
from harness.record import RUN_COLUMNS, STATUSES
from harness.stats import launches_to_settle

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

Verdict = Literal["GO", "CONDITIONAL_GO", "INCONCLUSIVE", "NO_GO"]
Row = dict[str, Any]

# Best first.
VERDICTS: tuple[Verdict, ...] = ("GO", "CONDITIONAL_GO", "INCONCLUSIVE", "NO_GO")
EXIT_CODES: dict[Verdict, ExitCode] = {
    "GO": ExitCode.OK,
    "CONDITIONAL_GO": ExitCode.CONDITIONAL_GO,
    "NO_GO": ExitCode.NO_GO,
    "INCONCLUSIVE": ExitCode.INCONCLUSIVE,
}
# The documents' own decision point.
NEXT_STEPS: dict[Verdict, str] = {
    "GO": "go with the pick; confirm it under production's own load before the launch",
    "CONDITIONAL_GO": "debug the execution provider's activation, try E5 or BGE, or accept and proceed if "
    "quality is good",
    "INCONCLUSIVE": "measure what is missing",
    "NO_GO": "investigate, make a quick MLX check, or accept the fallback",
}
_IDENTITY = (
    "model", "model_id", "revision", "weights", "precision", "runtime", "ep", "ep_options", "threads",
    "pooling", "dim",
)  # fmt: skip
# Evidence of a candidate is read together only where all of these agree.
_SAME_EVIDENCE = ("artifact_sha256", "onnxruntime", "harness_version", "cores")
# What every row has, whatever could not be measured.
_NEVER_NULL = (
    "run_id", "config_hash", "machine_id", "started_at", "model", "candidate_label", "weights", "runtime",
    "ep", "workload", "batch_size", "clients", "arrival",
)  # fmt: skip
_QUALITY_SCALE = ("separation", "similar_mean", "dissimilar_mean")


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
        if self.fallback:
            lines.append(f"- Fallback: {_cell(self.fallback)}.")
        lines += [f"- Evidence: {self.evidence}. Policy: {self.policy}."]
        lines += [f"- Next: {step}" for step in self.next_steps]
        if self.machine:
            lines += [f"- Machine: {_cell(', '.join(f'{k} {v}' for k, v in self.machine.items()))}."]
        for candidate in self.candidates:
            lines += ["", f"## {_cell(candidate.label)}: {candidate.verdict}", ""]
            told = (*candidate.reasons, *candidate.provisional, *candidate.notes)
            lines += [f"- {_cell(line)}" for line in told]
            lines += [f"- Missing: `{command}`" for command in candidate.missing]
            lines += ["", "| tier | gate | bound | value | interval | distance | result |"]
            lines += ["|---|---|---|---|---|---|---|"]
            lines += [f"| {' | '.join(_cell(cell) for cell in gate_cells(g))} |" for g in candidate.gates]
        return "\n".join(lines) + "\n"


def decide(runs: pd.DataFrame, policy: str | PolicyConfig = "default") -> Decision:
    """Judge every candidate in `runs` and pick one.

    Args:
        runs: as `harness.load_runs` gives them: one row a run, one machine.
        policy: a shipped policy's name, or a policy.

    Raises:
        BadInputError: no run, a column missing, a run id twice, rows of two machines, unknown policy.
    """
    if isinstance(policy, str):
        policy = load_policy(policy)
    rows = _checked(runs)
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(candidate_key(row), []).append(row)
    scripted_only = all(row["runtime"] == "fake" for row in rows)
    candidates = tuple(
        sorted(
            (_judge(groups[key], policy) for key in sorted(groups)),
            key=lambda c: (
                c.scripted and not scripted_only,
                VERDICTS.index(c.verdict),
                *_preference(c, policy),
            ),
        )
    )
    best = candidates[0]
    chosen = best if best.verdict in ("GO", "CONDITIONAL_GO") else None
    steps = [NEXT_STEPS[best.verdict]]
    wanted = [c for c in candidates if c is chosen or c.verdict == best.verdict == "INCONCLUSIVE"]
    steps += [f"`{command}`" for c in wanted for command in c.missing]
    machine = {name: _plain(rows[0][name]) for name in ("machine_id", "cpu", "cores", "os")}
    return Decision(
        verdict=best.verdict,
        chosen=None if chosen is None else chosen.label,
        reasons=_overall_reasons(best, candidates, policy),
        candidates=candidates,
        policy=policy.name,
        evidence="provisional",
        fallback=_fallback(rows, policy) if best.verdict == "NO_GO" else None,
        next_steps=tuple(dict.fromkeys(steps)),
        machine=machine,
    )


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
        _number(result.value),
        f"{_number(result.low, 3)}–{_number(result.high, 3)}" if result.low != result.high else "",
        distance,
        status,
    )


def command_for(row: Mapping[str, Any], **changes: Any) -> str:
    """The command that measures a run's candidate, with some keys changed."""
    if command := text_of(row["command"], ""):
        words = dict(word.partition("=")[::2] for word in shlex.split(command)[3:])
    else:
        words = {name: str(row[name]) for name in ("model", "precision", "runtime", "ep", "workload")}
        words["batch_size"] = str(row["batch_size"])
        if (threads := _plain(row["threads"])) is not None:
            words["threads"] = str(threads)
    words |= {name: str(value) for name, value in changes.items()}
    defaults = {"precision": "fp32", "runtime": "onnxruntime", "workload": "default", "batch_size": "1"}
    shown = [f"{name}={value}" for name, value in words.items() if defaults.get(name) != value]
    return shlex.join(["python", "-m", "harness", *shown])


def candidate_key(row: Mapping[str, Any]) -> str:
    """What makes two rows' candidates the same, as text."""
    return json.dumps([_plain(row[name]) for name in _IDENTITY])


def candidate_rows(runs: pd.DataFrame, like: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """The runs of the same candidates, on the same machine, as the rows of `like`."""
    wanted = {(candidate_key(row), row["machine_id"]) for row in like}
    return runs[[(candidate_key(row), row["machine_id"]) in wanted for row in rows_of(runs)]]


def rows_of(runs: pd.DataFrame) -> list[Row]:
    """A frame's rows as mappings."""
    return [{str(name): value for name, value in row.items()} for row in runs.to_dict("records")]


def _checked(runs: pd.DataFrame) -> list[Row]:
    if missing := sorted({column.name for column in RUN_COLUMNS} - set(runs.columns)):
        raise BadInputError(f"the runs lack the columns {', '.join(missing)}; read them with load_runs")
    if runs.empty:
        raise BadInputError("no runs to decide on; measure first: python -m harness model=minilm ep=cpu")
    rows = sorted(rows_of(runs), key=lambda row: str(row["run_id"]))
    counts = Counter(str(row["run_id"]) for row in rows)
    if twice := sorted(run_id for run_id, count in counts.items() if count > 1):
        raise BadInputError(f"run ids that stand more than once: {', '.join(twice)}")
    for row in rows:
        if problem := _inconsistency(row):
            raise BadInputError(f"run {row['run_id']}: {problem}; measure it anew with measure.force=true")
    if len(machines := sorted({str(row["machine_id"]) for row in rows})) > 1:
        raise BadInputError(
            f"runs of {len(machines)} machines ({', '.join(machines)}): a verdict is about one; give "
            "machine=ID"
        )
    return rows


def _inconsistency(row: Row) -> str:
    """What no measured row can look like; empty where nothing is wrong."""
    if row["status"] not in STATUSES:
        return f"status {row['status']!r} is none of {', '.join(STATUSES)}"
    if unknown := [name for name in _NEVER_NULL if _plain(row[name]) is None]:
        return f"{', '.join(unknown)} cannot be null"
    listed, launches = row["launch_p95_ms"], as_number(row["launches"])
    if hasattr(listed, "__len__") and launches is not None and len(listed) != launches:
        return f"{launches:.0f} launches, but {len(listed)} of their values"
    return ""


def _judge(rows: list[Row], policy: PolicyConfig) -> CandidateVerdict:
    current, notes = _current_evidence(rows)
    results = tuple(
        ask(gate, _run_at(current, gate.at.workload, gate.at.batch_size)) for gate in policy.gates
    )
    read = [row for row in current if _is_read(row, policy)]
    newest = _newest_first(current)[0]
    blocks, unknowns = _guards(read, policy)
    musts = [r for r in results if r.gate.tier == "must"]
    targets = [r for r in results if r.gate.tier == "should" and r.gate.metric == "latency_p95_ms"]

    verdict: Verdict
    if blocks or any(r.status == "FAIL" for r in musts):
        verdict = "NO_GO"
    elif unknowns or any(r.status != "PASS" for r in musts):
        verdict = "INCONCLUSIVE"
    else:
        verdict = "GO" if all(r.status == "PASS" for r in targets) else "CONDITIONAL_GO"
    deciding = musts + targets
    if all(row["status"] == "unavailable" for row in current):
        blocks, unknowns, deciding = [], [f"not possible here: {text_of(newest['error'], '')}"], []
    reasons = [*blocks, *unknowns, *(_sentence(r) for r in deciding if r.status != "PASS")]
    if verdict == "GO":
        reasons = [f"all {len(musts)} must gates and the latency target pass"]
    elif verdict == "CONDITIONAL_GO":
        reasons.insert(0, f"all {len(musts)} must gates pass, the latency target does not")
    notes += [
        f"the run at {row['workload']}, batch {row['batch_size']} was interrupted: {command_for(row)} goes on"
        for row in read
        if row["status"] == "interrupted"
    ]
    notes += _open_shoulds(results)
    notes += _disagreement(results)
    latency = next((r for r in results if r.gate.metric == "latency_p95_ms"), None)
    main = None if latency is None else _run_at(current, latency.gate.at.workload, latency.gate.at.batch_size)
    return CandidateVerdict(
        label=str(newest["candidate_label"]),
        verdict=verdict,
        gates=results,
        reasons=tuple(reasons),
        notes=tuple(notes),
        missing=_missing(results, current, newest),
        provisional=_provisional(read),
        model=str(newest["model"]),
        latency_p95_ms=None if main is None else as_number(main["latency_p95_ms"]),
        separation_auc=None if main is None else as_number(main["separation_auc"]),
        scripted=newest["runtime"] == "fake",
        run_ids=tuple(str(row["run_id"]) for row in read if row["status"] != "unavailable"),
    )


def _current_evidence(rows: list[Row]) -> tuple[list[Row], list[str]]:
    """The newest run at each place, of the newest artifact and versions; the rest is told, not read."""
    measured = [row for row in rows if row["status"] != "unavailable"] or rows
    newest = _newest_first(measured)[0]
    same = [
        row
        for row in measured
        if all(row[n] == newest[n] or _null(row[n], newest[n]) for n in _SAME_EVIDENCE)
    ]
    notes = []
    if len(measured) > len(same):
        count = len(measured) - len(same)
        notes.append(f"{count} older run(s) of another artifact or version are not read")
    current: dict[tuple[Any, ...], Row] = {}
    for row in _newest_first(same):
        current.setdefault(_place(row), row)
    for place, row in current.items():
        where = f"{row['workload']}, batch {row['batch_size']}"
        here = [other for other in same if _place(other) == place and other is not row]
        again = sum(other["config_hash"] == row["config_hash"] for other in here)
        if again:
            notes.append(f"{again} other run(s) of the same thing exist at {where}; the newest is read")
        if len(here) > again:
            notes.append(
                f"{len(here) - again} other run(s), set up otherwise, exist at {where}; the newest is read"
            )
    return list(current.values()), notes


def _newest_first(rows: list[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: (row["started_at"], row["run_id"]), reverse=True)


def _place(row: Row) -> tuple[Any, ...]:
    return (row["workload"], int(row["batch_size"]), int(row["clients"]), row["arrival"])


def _run_at(rows: list[Row], workload: str, batch_size: int) -> Row | None:
    place = (workload, batch_size, 1, "back_to_back")
    return next((row for row in rows if _place(row) == place), None)


def _is_read(row: Row, policy: PolicyConfig) -> bool:
    return any(_place(row) == (g.at.workload, g.at.batch_size, 1, "back_to_back") for g in policy.gates)


def _guards(rows: list[Row], policy: PolicyConfig) -> tuple[list[str], list[str]]:
    """What no policy can wave through: reasons against, and reasons that leave it open."""
    blocks, unknowns = [], []
    for row in rows:
        where = f"{row['workload']}, batch {row['batch_size']}"
        if row["status"] in ("failed", "timeout"):
            blocks.append(f"the run failed at {where}: {text_of(row['error'], 'no reason known')}; anew: "
                          f"{command_for(row, **{'measure.force': 'true'})}")  # fmt: skip
            continue
        if row["weights"] != "trained":
            unknowns.append(f"weights are {row['weights']}: quality means nothing")
        if row["status"] == "unavailable":
            continue
        finite = as_number(row["finite"])
        if finite is None and row["weights"] == "trained":
            unknowns.append(f"whether all values are finite is unknown at {where}")
        elif finite == 0:
            blocks.append(f"a vector is not finite at {where}")
        failed = as_number(row["launches_failed"])
        if failed is None:
            unknowns.append(f"whether launches failed is unknown at {where}")
        elif failed:
            error = text_of(row["error"], "no reason known")
            blocks.append(f"{failed:.0f} of {row['launches']} launches failed at {where} ({error}); anew: "
                          f"{command_for(row, **{'measure.force': 'true'})}")  # fmt: skip
        share = as_number(row["ep_node_share"])
        if share is None:
            unknowns.append(f"where the nodes ran is unknown at {where}")
        elif share < policy.min_ep_node_share:
            blocks.append(
                f"only {share:.0%} of the nodes run on {row['ep']} at {where}, "
                f"needed {policy.min_ep_node_share:.0%}"
            )
        parity, bound = as_number(row["parity_cosine_min"]), as_number(row["parity_bound"])
        if parity is None or bound is None:
            if row["weights"] == "trained":
                unknowns.append(f"no parity with the fp32 reference was measured at {where}")
        elif parity < bound:
            blocks.append(
                f"parity with the fp32 reference failed at {where}: worst cosine {parity:.6f}, "
                f"needed {bound:g}"
            )
    return list(dict.fromkeys(blocks)), list(dict.fromkeys(unknowns))


def _sentence(result: GateResult) -> str:
    gate = result.gate
    value = "" if result.value is None else f" is {_number(result.value)}"
    why = f" ({result.reason})" if result.reason else ""
    state = {"FAIL": "fails", "UNDECIDED": "is undecided", "NOT_MEASURED": "was not measured"}
    return (
        f"{gate.tier} gate {state[result.status]}: {gate.label}{value}, needed {gate.op} {gate.bound:g}{why}"
    )


def _open_shoulds(results: tuple[GateResult, ...]) -> list[str]:
    return [
        _sentence(r)
        for r in results
        if r.gate.tier == "should" and r.status != "PASS" and r.gate.metric != "latency_p95_ms"
    ]


def _disagreement(results: tuple[GateResult, ...]) -> list[str]:
    """Absolute and scale-free quality gates that disagree, in words."""
    scale_free = next((r for r in results if r.gate.metric == "separation_auc"), None)
    absolute = [r for r in results if r.gate.metric in _QUALITY_SCALE and r.status == "FAIL"]
    if scale_free is None or scale_free.status != "PASS" or not absolute:
        return []
    names = " and ".join(dict.fromkeys(r.gate.metric for r in absolute))
    return [
        f"the absolute gates on {names} fail while similar pairs still rank above dissimilar ones (AUC "
        f"{_number(scale_free.value)}): that is the scale of this model's cosines, not its ranking"
    ]


def _missing(results: tuple[GateResult, ...], current: list[Row], newest: Row) -> tuple[str, ...]:
    """Commands that would measure what is open, must and should gates only."""
    commands = []
    for result in results:
        gate = result.gate
        if gate.tier == "nice" or result.status not in ("NOT_MEASURED", "UNDECIDED"):
            continue
        row = _run_at(current, gate.at.workload, gate.at.batch_size)
        if (row or newest)["status"] == "unavailable":
            continue
        if result.status == "UNDECIDED" and result.n is None:
            continue  # the interval of a fixed set of texts: no command narrows it
        at: dict[str, Any] = {"workload": gate.at.workload, "batch_size": gate.at.batch_size}
        if result.n is not None and result.over is not None and gate.launch_quantile is not None:
            more = launches_to_settle(result.over, result.n, launch_quantile=gate.launch_quantile)
            at |= {} if more is None else {"measure.launches": result.n + more}
        commands.append(command_for(row or newest, **at))
    return tuple(dict.fromkeys(commands))


def _provisional(rows: list[Row]) -> tuple[str, ...]:
    spans = [(as_number(row["evidence_span_s"]), as_number(row["min_span_s"]), row) for row in rows]
    short = [(span or 0.0, wanted, row) for span, wanted, row in spans if (span or 0.0) < (wanted or 0)]
    if not short:
        return ()
    span, wanted, row = min(short, key=lambda item: item[0])
    pause = max(1, round((wanted or 0) / max(1, int(row["launches"]) - 1)))
    spread = {"measure.force": "true", "measure.pause_s": pause}
    return (
        f"provisional: the launches at {row['workload']}, batch {row['batch_size']} span {span:.0f} s, "
        f"under {wanted:.0f} s; spread them with: {command_for(row, **spread)}",
    )


def _preference(candidate: CandidateVerdict, policy: PolicyConfig) -> tuple[Any, ...]:
    latency = float("inf") if candidate.latency_p95_ms is None else candidate.latency_p95_ms
    quality = 0.0 if candidate.separation_auc is None else candidate.separation_auc
    path = policy.paths.index(candidate.model) if candidate.model in policy.paths else len(policy.paths)
    order: dict[str, tuple[Any, ...]] = {
        "path_order": (path, latency),
        "lowest_latency": (latency, path),
        "best_quality": (-quality, latency),
    }
    return (*order[policy.objective], candidate.label, candidate.run_ids)


def _overall_reasons(
    best: CandidateVerdict, candidates: tuple[CandidateVerdict, ...], policy: PolicyConfig
) -> tuple[str, ...]:
    if best.verdict in ("GO", "CONDITIONAL_GO"):
        equals = [c for c in candidates[1:] if c.verdict == best.verdict]
        reasons = [f"{best.label}: {reason}" for reason in best.reasons]
        if best.latency_p95_ms is not None:
            reasons.append(f"{best.label}: P95 {best.latency_p95_ms:.2f} ms, the median launch's")
        if equals:
            others = ", ".join(c.label for c in equals)
            reasons.append(f"picked by {policy.objective.replace('_', ' ')} before {others}")
        if best.verdict == "CONDITIONAL_GO":
            tried = {c.model for c in candidates if c.run_ids}
            untried = [model for model in policy.paths if model not in tried]
            if untried:
                reasons.append(f"alternatives not measured yet: {', '.join(untried)}")
        return (*reasons, *best.provisional)
    return tuple(f"{c.label}: {reason}" for c in candidates for reason in c.reasons[:3])


def _fallback(rows: list[Row], policy: PolicyConfig) -> str | None:
    if policy.fallback is None:
        return None
    text, fallback = policy.fallback.sentence, policy.fallback
    latency = next((gate.at for gate in policy.gates if gate.metric == "latency_p95_ms"), None)
    mine = [row for row in rows if row["model"] == fallback.model and row["ep"] == fallback.ep]
    row = None if latency is None else _run_at(_newest_first(mine), latency.workload, latency.batch_size)
    if row is None:
        return text
    p50, p95 = as_number(row["latency_p50_ms"]), as_number(row["latency_p95_ms"])
    if p50 is None or p95 is None:
        return text
    weights = "" if row["weights"] == "trained" else f" with {row['weights']} weights"
    return f"{text}; measured here: {p50:.0f} ms median, {p95:.0f} ms P95{weights}"


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
        "reason": result.reason,
    }


def _plain(value: Any) -> Any:
    """A cell as JSON can hold it; every kind of null is None."""
    if value is None or str(value) in ("<NA>", "nan", "NaT"):
        return None
    return value.item() if hasattr(value, "item") else value


def _null(first: Any, second: Any) -> bool:
    return _plain(first) is None and _plain(second) is None


def _number(value: float | None, digits: int = 4) -> str:
    """A figure in significant digits."""
    if value is None:
        return "?"
    return f"{value:.1e}" if 0 < abs(value) < 1e-4 else f"{value:.{digits}g}"


def _cell(text: str) -> str:
    """Text that cannot break out of a Markdown table or become HTML."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|").replace("\n", " ")
