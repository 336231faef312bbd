"""The decision's record as JSON: what each field is, and the schema that is published of it. Pure.

`harness.verdict.Decision.to_json` writes it. The classes are the schema: ``python -m harness.decide
format=schema`` prints it, and it ships as ``harness/schemas/decision.schema.json``. Unknown is null, never 0.

History of its `schema_version`:

1. The first that has a schema.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from harness.errors import unknown_name
from harness.gates import GateStatus, p95_floor_ms, plain
from harness.record import RUN_COLUMNS, RUN_UNITS
from harness.schema import Arrival, Metric, Op, Tier  # noqa: TC001  (pydantic reads them)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.workload import Place

LatencyMetric = Literal["latency_p50_ms", "latency_p95_ms"]
Verdict = Literal["GO", "CONDITIONAL_GO", "INCONCLUSIVE", "NO_GO"]
Evidence = Literal["provisional", "confirmed"]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


class PlaceRecord(_Record):
    """Where a figure stands: the workload, the batch size and how requests arrive."""

    workload: str
    batch_size: int
    clients: int
    """Callers at once."""
    arrival: Arrival
    rate: float | None
    """Requests/s of an open loop; null for a closed one."""


class GateRecord(_Record):
    """A gate's answer on the run that it reads; `value`, `low`, `high`, `distance` are in `unit`."""

    tier: Tier
    """must decides GO against NO_GO; the latency should decides GO against CONDITIONAL_GO."""
    gate: str
    """Its label."""
    metric: Metric
    """A column of a run."""
    unit: str
    """Of the metric; empty where it has none."""
    op: Op
    bound: float
    launch_quantile: float | None
    """Share of launches that must be on the right side; null for a metric that is not per launch."""
    at: PlaceRecord
    status: GateStatus
    value: float | None
    """Of that quantile of launches, or of the run."""
    low: float | None
    """Lower end of the interval of `value` at 95 %; null where the evidence gives none."""
    high: float | None
    """Upper end of it."""
    distance: float | None
    """How far `value` is on the right side of the bound; negative is the wrong side."""
    distance_percent: float | None
    """The same in percent of the bound; null where the bound is 0."""
    at_least: float | None
    """What it is at least, in `unit`, where launches were stopped early over that: no more is known, and
    `value`, `low`, `high` and `distance` are null; null where `value` is known, or nothing is."""
    launches: int | None
    """Launches that it rests on; null for a metric that is not per launch."""
    launches_over: int | None
    """How many of them were on the wrong side."""
    undisturbed: GateStatus | None
    """The answer of the quiet launches alone; null where all were quiet."""
    reason: str
    """Why it was not measured, or is undecided; empty otherwise."""


class LimitRecord(_Record):
    """Where the budget ends, among the levels measured; null where there is no such level."""

    holds: float | None
    """The highest that passes, below all that fail."""
    undecided: float | None
    """The lowest between them that its launches did not settle."""
    fails: float | None
    """The lowest that fails."""
    seen_within_s: float | None
    """How long a time, in s, the launches of the highest that passes stand for, where that is short."""
    rests_on_noise: bool
    """Whether the highest that passes or the lowest that fails would be open without disturbed launches."""


class ConfirmationRecord(_Record):
    """The must latency gates under production's load."""

    complete: bool
    """Whether every part of it was measured and settled."""
    lacking: tuple[str, ...]
    """What keeps it from being complete."""
    failing: tuple[str, ...]
    """Where the budget does not hold."""
    longest_tokens: LimitRecord
    """Tokens of one text, one caller."""
    highest_qps: LimitRecord
    """Requests/s at random, realistic texts, one caller."""
    gates: tuple[GateRecord, ...]


class RunRecord(_Record):
    """A run that the verdict reads: where its figures come from, and those that tell candidates apart."""

    run_id: str
    config_hash: str
    status: str
    purpose: str | None
    started_at: str
    finished_at: str | None
    workload: str
    batch_size: int
    clients: int
    arrival: str
    offered_qps: float | None
    launches: int
    cores: int
    model_id: str | None
    revision: str | None
    source: str | None
    weights: str
    precision: str | None
    ep_provider: str | None
    artifact_sha256: str | None
    onnxruntime: str | None
    python: str | None
    harness_version: str | None
    git_commit: str | None
    schema_version: int | None
    command: str | None
    latency_p50_ms: float | None
    latency_p95_ms: float | None
    latency_p95_at_least_ms: float | None
    """Where launches were stopped early over less than it: what is known of it."""
    latency_p95_low_ms: float | None
    latency_p95_high_ms: float | None
    truncated_over_ms: float | None
    throughput_texts_per_s: float | None
    peak_rss_bytes: float | None
    noise: float | None
    disturbance: str | None
    separation: float | None
    separation_low: float | None
    separation_high: float | None
    separation_auc: float | None
    neighbour_overlap: float | None
    neighbour_overlap_low: float | None
    neighbour_overlap_high: float | None
    index_overlap: float | None
    batch_cosine_min: float | None
    batch_cosine_min_sorted: float | None
    batch_cosine_min_random: float | None
    repeat_max_difference: float | None
    sts_spearman: float | None
    sts_spearman_low: float | None
    sts_spearman_high: float | None
    ndcg_at_10: float | None
    ndcg_at_10_low: float | None
    ndcg_at_10_high: float | None
    texts_overlap: float | None
    texts_overlap_low: float | None
    texts_overlap_high: float | None
    texts_index_overlap: float | None
    texts_count: int | None
    quality_dataset: str | None
    sts_file_sha256: str | None
    retrieval_sha256: str | None
    texts_file_sha256: str | None


class ScorePartRecord(_Record):
    """One criterion of a weighted score."""

    metric: str
    value: float | None
    """Null is unknown, and scores 0."""
    score: float
    """From 0 to 1."""
    weight: float
    at_least: float | None
    """What it is at least, where launches were stopped early over that; `value` is then null."""


class ChangeRecord(_Record):
    """A change of one number that would change the pick."""

    kind: Literal["bound", "measurement", "weight"]
    what: str
    now: float
    then: float
    relative: float | None
    """The change as a share of `now`; null where that is 0."""
    pick: str | None
    """Who would be picked then; null is nobody."""


class FrontPointRecord(_Record):
    """A candidate of which no other is better in everything, as far as is known; null is unknown."""

    label: str
    latency_p95_ms: float | None
    latency_p95_at_least_ms: float | None
    """What P95 is at least, where launches were stopped early over that; `latency_p95_ms` is then null."""
    separation_auc: float | None
    peak_rss_bytes: float | None


class CandidateRecord(_Record):
    """One candidate: its verdict, every gate's answer, and why."""

    label: str
    verdict: Verdict
    undisturbed: Verdict
    """What it would be without the launches that were disturbed, where an answer rests on them."""
    reasons: tuple[str, ...]
    """Why it has its verdict, the gravest first."""
    notes: tuple[str, ...]
    """What else is open or worth knowing; none of it changes the verdict."""
    warnings: tuple[str, ...]
    """What limits how far its figures can be trusted: noise."""
    missing: tuple[str, ...]
    """Commands that measure what is open."""
    ways_out: tuple[str, ...]
    """Sentences on what none of them settles, each with its command."""
    provisional: tuple[str, ...]
    """Why its evidence is provisional, whatever was confirmed."""
    confirmation: ConfirmationRecord | None
    """Null where nothing was measured under production's load."""
    run_ids: tuple[str, ...]
    """The runs that its gates read."""
    runs: tuple[RunRecord, ...]
    """These runs, those that the objective goes by, and those of its confirmation."""
    score: tuple[ScorePartRecord, ...]
    """Its weighted score, criterion by criterion; empty under another objective."""
    gates: tuple[GateRecord, ...]


class FigureRecord(_Record):
    """One figure of a baseline."""

    metric: str
    """A column of a run."""
    unit: str
    """That column's."""
    value: Annotated[float, Field(gt=0, strict=True)]
    batch_size: Annotated[int, Field(ge=1, strict=True)]
    said: str
    """In its source's own words; empty where it was measured here."""

    @model_validator(mode="after")
    def _as_a_run_has_it(self) -> FigureRecord:
        if self.metric not in RUN_UNITS:
            raise ValueError(unknown_name("metric", self.metric, list(RUN_UNITS)))
        if self.unit != RUN_UNITS[self.metric]:
            raise ValueError(f"unit '{self.unit}': {self.metric} is in {RUN_UNITS[self.metric] or 'no unit'}")
        return self


class SpeedupRecord(_Record):
    """How many times shorter a candidate's latency is than the baseline's: baseline / candidate.

    Over a reported figure it is that of the median launch; over a run the median of all ratios between
    launches (within rounds where `paired`), which need not be the ratio of the two medians.
    """

    candidate: str
    run_id: str
    metric: LatencyMetric
    at: PlaceRecord
    baseline_ms: float | None
    baseline_at_least_ms: float | None
    """What it is at least, where launches that were stopped early leave it open; null otherwise."""
    candidate_ms: float | None
    candidate_at_least_ms: float | None
    """As `baseline_at_least_ms`."""
    ratio: float | None
    """Null is unknown; an end of the interval may be known all the same."""
    ratio_at_most: float | None
    """What it is at most over a reported figure, where launches that were stopped early leave it open."""
    low: float | None
    """Lower end of the interval at 95 % over all ratios together; of a reported figure, which is taken as
    exact, it holds the candidate's side alone; null where there is none."""
    high: float | None
    """Upper end of it."""
    paired: bool
    """Whether both were measured in the same rounds of one sweep, so that the machine's drift does not
    reach the ratio."""
    reason: str
    """Why there is no ratio or no interval; empty otherwise."""


class BaselineRecord(_Record):
    """What the candidates are compared with; no gate reads it."""

    kind: Literal["reported", "measured"]
    """reported by others and not measured here, or a run of this machine."""
    name: str
    """Of the reported figures, or the run's id."""
    label: str
    source: str
    machine: str
    conditions: str
    """How it was measured, as far as that is known."""
    figures: tuple[FigureRecord, ...]
    speedups: tuple[SpeedupRecord, ...]
    not_compared: tuple[str, ...]
    """Measured candidates without a run where the baseline stands."""


class MachineRecord(_Record):
    """The machine that the verdict is about."""

    machine_id: str
    cpu: str | None
    cores: int | None
    """Null where candidates were held to different numbers of them: see their runs."""
    os: str | None


class ProvenanceRecord(_Record):
    """What decided; where the figures come from stands with each candidate's `runs`."""

    harness_version: str
    """Of the package that decided."""
    policy: dict[str, Any]
    """The policy in full."""


class DecisionRecord(_Record):
    """A decision of harness: the verdict over all candidates, the pick, and why."""

    schema_version: Literal[1]
    """Of this record."""
    verdict: Verdict
    """The best candidate's."""
    undisturbed: Verdict
    """What it would be without the launches that were disturbed; another one is told beside the verdict."""
    chosen: str | None
    """The pick's label; null unless the verdict is GO or CONDITIONAL_GO."""
    evidence: Evidence
    """confirmed where the pick was measured under production's load."""
    policy: str
    """Its name."""
    reasons: tuple[str, ...]
    not_picked: tuple[str, ...]
    """Why measured candidates with a worse verdict were not picked, a line for each set of reasons."""
    next_steps: tuple[str, ...]
    """What to do next; commands stand in backticks."""
    fallback: str | None
    """What to accept where the verdict is NO_GO and the policy knows it."""
    pick_stays: float | None
    """Share of launch-resampled data sets under which the pick stays; null without a pick."""
    closest_changes: tuple[ChangeRecord, ...]
    """The smallest change of each kind that changes the pick."""
    pareto_front: tuple[FrontPointRecord, ...]
    """Of P95, AUC and peak memory, among the candidates that could be picked; fastest first."""
    warnings: tuple[str, ...]
    """What limits the decision as a whole: random weights, runs of other machines."""
    machine: MachineRecord
    provenance: ProvenanceRecord
    baseline: BaselineRecord | None
    """Null where none was asked for."""
    candidates: tuple[CandidateRecord, ...]
    """Best first."""


def place_record(place: Place) -> PlaceRecord:
    """A place as a record."""
    return PlaceRecord.model_validate(dict(zip(PlaceRecord.model_fields, place, strict=True)))


def run_record(row: Mapping[str, Any]) -> RunRecord:
    """A run's row (`harness.record.RUN_COLUMNS`) as the record keeps it; what is infinite is unknown."""
    known = {**row, "latency_p95_at_least_ms": p95_floor_ms(row)}
    cells = {name: plain(known[name]) for name in RunRecord.model_fields}
    for name, cell in cells.items():
        if hasattr(cell, "isoformat"):
            cells[name] = cell.isoformat()
        elif isinstance(cell, float) and not math.isfinite(cell):
            cells[name] = None
    return RunRecord.model_validate(cells)


def schema_text() -> str:
    """The JSON Schema (draft 2020-12) of `DecisionRecord`."""
    schema = DecisionRecord.model_json_schema(mode="serialization")
    meanings = {column.name: column.meaning for column in RUN_COLUMNS}
    for name, field in schema["$defs"]["RunRecord"]["properties"].items():
        field["description"] = meanings.get(name) or field["description"]
    schema |= {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return json.dumps(schema, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
