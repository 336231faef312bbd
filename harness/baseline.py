"""Speed-ups against a baseline: figures that others report, or a run of this machine.

A baseline is compared with and nothing else: no gate reads it, and it is no candidate.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from pydantic import ValidationError

from harness import stats
from harness.comparison import compare_launches, launches_of, median_ms, stopped_early, unusable
from harness.config import yaml_of
from harness.decision_record import (
    BaselineRecord,
    FigureRecord,
    LatencyMetric,
    SpeedupRecord,
    place_record,
)
from harness.errors import BadInputError
from harness.evidence import rows_of
from harness.gates import as_number, gate_place, row_place
from harness.paths import typed_path
from harness.workload import Place

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from harness.comparison import Launch
    from harness.verdict import CandidateVerdict, Decision

# What the project's own documents report.
SHIPPED = Path(__file__).resolve().parent / "data" / "baselines.yaml"
# A speed-up of which nothing is known.
_UNKNOWN: dict[str, Any] = dict.fromkeys(
    (
        "baseline_ms",
        "baseline_at_least_ms",
        "candidate_ms",
        "candidate_at_least_ms",
        "ratio",
        "ratio_at_most",
        "low",
        "high",
    )
)
_LATENCIES: tuple[LatencyMetric, ...] = get_args(LatencyMetric)


def load_reported(file: Path = SHIPPED) -> dict[str, BaselineRecord]:
    """Reported figures by name, from a YAML file; whatever it says, they were not measured here.

    Raises:
        BadInputError: an unreadable file, or any wrong value, a line each.
    """
    found, problems = {}, []
    for name, entry in yaml_of(file).items():
        ours = {"kind": "reported", "name": str(name), "speedups": (), "not_compared": ()}
        try:
            baseline = BaselineRecord.model_validate((entry if isinstance(entry, dict) else {}) | ours)
        except ValidationError as error:
            for wrong in error.errors():
                key = ".".join(map(str, (name, *wrong["loc"])))
                problems.append(f"{key}: {wrong['msg'].removeprefix('Value error, ')}")
            continue
        found[baseline.name] = baseline
        places = Counter((figure.metric, figure.batch_size) for figure in baseline.figures)
        problems += [
            f"{name}.figures: {metric} at batch {size} stands more than once; keep one"
            for (metric, size), count in places.items()
            if count > 1
        ]
        if not any(figure.metric in _LATENCIES for figure in baseline.figures):
            problems.append(f"{name}.figures: none is {' or '.join(_LATENCIES)}: nothing to compare with")
    if problems:
        raise BadInputError(*(f"{file}: {problem}" for problem in problems))
    return found


def measured_baseline(run: Mapping[str, Any]) -> BaselineRecord:
    """A run of this machine as a baseline.

    Raises:
        BadInputError: it is a soak run, or has no latency.
    """
    place, run_id = row_place(run), str(run["run_id"])
    if run["purpose"] == "soak":
        raise BadInputError(f"baseline={run_id}: a soak run, whose blocks are no launches; give another run")
    values = [(metric, value) for metric in _LATENCIES if (value := as_number(run[metric])) is not None]
    if not values:
        raise BadInputError(f"baseline={run_id}: no latency was measured in it; give another run")
    return BaselineRecord(
        kind="measured",
        name=run_id,
        label=str(run["candidate_label"]),
        source=f"run {run_id}",
        machine=str(run["machine_id"]),
        conditions=f"{place}, {run['launches']} launches",
        figures=tuple(
            FigureRecord(metric=metric, unit="ms", value=value, batch_size=place.batch_size, said="")
            for metric, value in values
        ),
        speedups=(),
        not_compared=(),
    )


def find_baseline(name: str, file: str, runs: pd.DataFrame) -> BaselineRecord | None:
    """The baseline of that name: reported figures or a run; None where none is named.

    Args:
        name: of reported figures, or a run's id.
        file: of reported figures of the user's own; empty for those that ship.
        runs: rows of runs.

    Raises:
        BadInputError: nothing of that name, or what bears it cannot be used.
    """
    if not (name or file):
        return None
    reported = load_reported(typed_path(file) if file else SHIPPED)
    if not name:
        raise BadInputError(f"baseline.file={file}: which figures? give baseline=NAME: {', '.join(reported)}")
    if name in reported:
        return reported[name]
    run = next((row for row in rows_of(runs) if row["run_id"] == name), None)
    if run is None:
        raise BadInputError(
            f"unknown baseline '{name}': neither reported ({', '.join(reported)}) nor the id of a run here"
        )
    return measured_baseline(run)


def against(
    decision: Decision, baseline: BaselineRecord, runs: pd.DataFrame, launches: pd.DataFrame
) -> Decision:
    """The decision with each measured candidate's speed-up over a baseline.

    A candidate's latency is that of the run its verdict reads: at the same place as a measured baseline;
    where the policy reads latency, at the figure's batch size, for a reported one.

    Args:
        decision: made of `runs`.
        baseline: of `load_reported` or `measured_baseline`.
        runs: rows of runs.
        launches: rows of the launches of the decision's runs, and of the baseline's where it is a run.
    """
    rows = {str(row["run_id"]): row for row in rows_of(runs)}
    base = rows[baseline.name] if baseline.kind == "measured" else None
    candidates = [candidate for candidate in decision.candidates if candidate.run_ids]
    figures = [(metric, f) for f in baseline.figures for metric in _LATENCIES if f.metric == metric]
    alpha = stats.ALPHA / max(1, len(candidates) * len(figures))
    speedups, lacking = [], []
    for candidate in candidates:
        for metric, figure in figures:
            place = _latency_place(candidate, figure.batch_size) if base is None else row_place(base)
            row = _row_at(candidate, rows, place)
            if row is None:
                lacking.append(f"{candidate.label}: no run at {place}")
            elif row is not base:
                found = {
                    "candidate": candidate.label,
                    "run_id": str(row["run_id"]),
                    "metric": metric,
                    "at": place_record(place),
                }
                column = metric.removeprefix("latency_")
                mine = launches_of(launches, row, column)
                found |= (
                    _over_figure(figure.value, mine, column, alpha)
                    if base is None
                    else _over_launches(launches_of(launches, base, column), mine, column, alpha)
                )
                speedups.append(SpeedupRecord.model_validate(found))
    compared = {"speedups": tuple(speedups), "not_compared": tuple(dict.fromkeys(lacking))}
    return replace(decision, baseline=baseline.model_copy(update=compared))


def _latency_place(candidate: CandidateVerdict, batch_size: int) -> Place:
    gates = (result.gate for result in candidate.gates if result.gate.metric == "latency_p95_ms")
    place = next((gate_place(gate) for gate in gates), Place("default", 1))
    return place._replace(batch_size=batch_size)


def _row_at(
    candidate: CandidateVerdict, rows: Mapping[str, dict[str, Any]], place: Place
) -> dict[str, Any] | None:
    """The run at a place that the verdict on a candidate reads."""
    read = (rows[run.run_id] for run in candidate.runs)
    return next((row for row in read if row_place(row) == place and row["purpose"] != "soak"), None)


def _over_launches(
    base: Sequence[Launch], mine: Sequence[Launch], metric: str, alpha: float
) -> dict[str, Any]:
    if reason := unusable(mine) or unusable(base):
        return _UNKNOWN | {"paired": False, "reason": reason}
    found = compare_launches("", metric, mine, base, alpha=alpha)
    whose = "of the candidate's and of the baseline's, "
    return _UNKNOWN | {
        **_side("baseline", found.b_ms, found.b_at_least),
        **_side("candidate", found.a_ms, found.a_at_least),
        "ratio": found.ratio,
        "low": found.low,
        "high": found.high,
        "paired": found.paired,
        "reason": found.reason and whose + found.reason,
    }


def _over_figure(value_ms: float, mine: Sequence[Launch], metric: str, alpha: float) -> dict[str, Any]:
    """Over a reported figure, taken as exact: the interval is that of the median launch alone."""
    found = _UNKNOWN | {"baseline_ms": value_ms, "paired": False}
    if reason := unusable(mine):
        return found | {"reason": reason}
    (middle, at_least), reason = median_ms(mine), stopped_early(metric, mine)
    low = stats.launch_interval([launch.low_ms for launch in mine], alpha=alpha).low
    high = stats.launch_interval([launch.high_ms for launch in mine], alpha=alpha).high
    few = "" if low and high else f"{len(mine)} launches are too few for an interval"
    return found | {
        **_side("candidate", middle, at_least),
        "ratio_at_most" if at_least else "ratio": value_ms / middle if middle else None,
        "low": value_ms / high if high else None,
        "high": value_ms / low if low else None,
        "reason": reason or few,
    }


def _side(name: str, ms: float | None, at_least: bool) -> dict[str, float | None]:
    """One side's latency, or what it is at least."""
    return {f"{name}_ms": None if at_least else ms, f"{name}_at_least_ms": ms if at_least else None}
