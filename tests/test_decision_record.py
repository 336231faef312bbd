"""The decision's record: what its published schema says is what is written, whatever was measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from pydantic import ValidationError

import harness
from harness.baseline import against, load_reported, measured_baseline
from harness.caveats import of_other_machines
from harness.decision import decide
from harness.decision_record import DecisionRecord, RunRecord, schema_text
from harness.record import RUN_COLUMNS
from harness.store import Store, load_runs
from tests.conftest import launch_row, run_row
from tests.test_decision import LOADED, MIXED, confirmed_rows, frame, model_row

if TYPE_CHECKING:
    from harness.verdict import Decision

SCHEMA = Path(harness.__file__).parent / "schemas" / "decision.schema.json"
TWIN: dict[str, Any] = {"weights": "random", "model": "e5", "candidate_label": "e5 (random weights) fp32 cpu"}


def with_baselines() -> list[Decision]:
    """Decisions beside a reported and a measured baseline."""
    runs = frame(model_row("minilm"), model_row("e5"))
    launches = pd.DataFrame(
        [launch_row(i, run_id=f"run-{model}") for model in ("minilm", "e5") for i in range(20)]
    )
    decision = decide(runs)
    baselines = (load_reported()["reported_qwen3"], measured_baseline(runs.to_dict("records")[1]))
    return [against(decision, baseline, runs, launches) for baseline in baselines]


DECISIONS = {
    "go": lambda: decide(frame(model_row("minilm"))),
    "conditional": lambda: decide(frame(model_row("minilm", p95_ms=25))),
    "no go": lambda: decide(frame(model_row("minilm", p95_ms=45, launches_failed=1))),
    "confirmed": lambda: decide(frame(*confirmed_rows("minilm"))),
    "mixed": lambda: decide(frame(*MIXED)),
    "loaded": lambda: decide(frame(*LOADED), "documents"),
    "reported baseline": lambda: with_baselines()[0],
    "measured baseline": lambda: with_baselines()[1],
}


def test_the_published_schema_is_that_of_the_record() -> None:
    """If it is not: python -m harness.decide format=schema > harness/schemas/decision.schema.json."""
    assert SCHEMA.read_text(encoding="utf-8") == schema_text()


def test_the_schema_says_what_every_part_of_it_is() -> None:
    schema = json.loads(schema_text())
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    for part in (schema, *schema["$defs"].values()):
        assert part["description"]
        assert part["additionalProperties"] is False
        assert set(part["required"]) == set(part["properties"])
    described = schema["$defs"]["GateRecord"]["properties"]["distance_percent"]["description"]
    assert described.startswith("The same in percent of the bound")


@pytest.mark.parametrize("made", DECISIONS.values(), ids=DECISIONS)
def test_every_record_is_what_the_schema_says_and_reads_back_whole(made: Any) -> None:
    text = made().to_json()
    read = DecisionRecord.model_validate_json(text, strict=True)
    assert read.model_dump(mode="json") == json.loads(text)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda record: record.pop("verdict"), "verdict"),
        (lambda record: record.update(verdict="MAYBE"), "verdict"),
        (lambda record: record["candidates"][0]["gates"][0].update(value="fast"), "value"),
        (lambda record: record["candidates"][0].update(surprise=1), "surprise"),
    ],
)
def test_a_record_that_is_not_what_the_schema_says_is_refused(change: Any, said: str) -> None:
    record = json.loads(decide(frame(model_row("minilm"))).to_json())
    change(record)
    with pytest.raises(ValidationError, match=said):
        DecisionRecord.model_validate_json(json.dumps(record), strict=True)


def test_a_gate_has_its_unit_and_its_distance_in_that_unit_and_in_percent() -> None:
    (candidate,) = json.loads(decide(frame(model_row("minilm", p95_ms=12))).to_json())["candidates"]
    gates = {(gate["tier"], gate["metric"]): gate for gate in candidate["gates"]}
    latency = gates["must", "latency_p95_ms"]
    assert (latency["unit"], latency["distance"], latency["distance_percent"]) == ("ms", 18.0, 60.0)
    failed = gates["must", "launches_failed"]
    assert (failed["unit"], failed["distance"], failed["distance_percent"]) == ("launches", 0.0, None)
    soak = gates["should", "handles_gained"]
    assert (soak["value"], soak["distance"], soak["distance_percent"]) == (None, None, None)


def test_where_every_figure_comes_from_stands_with_its_candidate() -> None:
    reckoned = {"latency_p95_at_least_ms"}
    assert set(RunRecord.model_fields) - reckoned <= {column.name for column in RUN_COLUMNS}
    record = json.loads(decide(frame(*confirmed_rows("minilm"))).to_json())
    (candidate,) = record["candidates"]
    assert candidate["run_ids"] == ["run-minilm"]
    runs = {run["run_id"]: run for run in candidate["runs"]}
    assert len(runs) == 5, "the run that gates read and the four of its confirmation"
    first = runs["run-minilm"]
    assert (first["artifact_sha256"], first["revision"]) == ("a" * 64, "abc")
    assert (first["started_at"], first["onnxruntime"]) == ("2026-01-01T00:00:00+00:00", "1.31.1")
    assert record["provenance"]["harness_version"] == harness.__version__
    assert record["provenance"]["policy"]["gates"][0]["bound"] == 30


def test_the_page_says_where_its_figures_come_from() -> None:
    page = decide(frame(model_row("minilm", git_commit="f" * 40))).to_markdown()
    assert (
        "- Run run-minilm: default, batch 1, 20 launches from 2026-01-01T00:00:00+00:00, model org/minilm, "
        "revision abc, artifact aaaaaaaaaaaa, ONNX Runtime 1.31.1, harness 0.1.0, commit ffffffffffff"
    ) in page.splitlines()
    assert "| +18 ms (+60%) |" in page


def test_provenance_is_the_same_from_a_store(tmp_path: Path) -> None:
    store = Store(tmp_path)
    rows = confirmed_rows("minilm")
    for row in rows:
        store.write_run(row)
    assert decide(load_runs(tmp_path)).to_json() == decide(frame(*rows)).to_json()


def test_random_weights_are_warned_of_in_the_record_and_on_the_page() -> None:
    decision = decide(frame(run_row(), run_row("r2", **TWIN)))
    (warning,) = decision.warnings
    assert warning.startswith("random weights: e5 (random weights) fp32 cpu: ")
    assert json.loads(decision.to_json())["warnings"] == [warning]
    assert f"- Warning: {warning}" in decision.to_markdown().splitlines()
    assert decide(frame(run_row())).warnings == ()


def test_runs_of_other_machines_that_are_left_out_are_counted_by_name() -> None:
    runs = frame(run_row(), *(run_row(f"r{m}", machine_id=m) for m in ("m3", "m2", "m3x")))
    assert of_other_machines(runs, "m1") == (
        "this is about machine m1 alone: 3 run(s) of m2, m3, m3x are not read",
    )
    assert of_other_machines(runs[runs["machine_id"] == "m1"], "m1") == ()


def test_the_page_holds_nothing_that_a_terminal_obeys() -> None:
    page = decide(frame(model_row("minilm", candidate_label="min\x1b[31mlm fp32 cpu"))).to_markdown()
    assert "\x1b" not in page
    assert r"min\x1b" in page
