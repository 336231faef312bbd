"""The sample results: real, whole, of no machine that can be told, and decided as its page says."""

from __future__ import annotations

import platform
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.parquet as pq
import pytest

from harness import looks, plots
from harness.config import load_policy
from harness.decision import decide
from harness.decision_record import DecisionRecord
from harness.record import LAUNCH_COLUMNS, RUN_COLUMNS, SCHEMA_VERSION
from harness.report import data as report_data
from harness.report import tables
from harness.report.__main__ import main as report_main
from harness.store import load_launches, load_runs
from harness.summary import summarise_run
from tests.test_decide import main as decide_main

if TYPE_CHECKING:
    import pandas as pd

SAMPLE = Path(__file__).parent / "data" / "sample"
RESULTS_PAGE = Path(__file__).parent.parent / "results" / "README.md"
# Each candidate's verdict by the default policy, and what its first reason says.
VERDICTS = {
    "minilm fp32 cpu": ("GO", "all 6 must gates and the latency target pass"),
    "minilm int8 cpu": ("NO_GO", "must gate fails: top-10 overlap (shipped texts) is 0.9155, needed"),
    "e5 (random weights) fp32 cpu": ("INCONCLUSIVE", "weights are random: quality means nothing"),
    "qwen3 (random weights) fp32 cpu": ("NO_GO", "must gate fails: P95 latency ms is ≥ 30, needed < 30"),
    "minilm fp32 coreml": ("INCONCLUSIVE", "not possible here: ep=coreml: CoreMLExecutionProvider is not in"),
}


@pytest.fixture(scope="module")
def runs() -> pd.DataFrame:
    return load_runs(SAMPLE)


@pytest.fixture(scope="module")
def launches() -> pd.DataFrame:
    return load_launches(SAMPLE)


def test_every_file_is_read_in_the_present_schema(runs: pd.DataFrame, launches: pd.DataFrame) -> None:
    assert len(runs) == len(list((SAMPLE / "runs").glob("*.parquet")))
    assert set(launches["run_id"]) == set(runs["run_id"][runs["status"] == "complete"])
    assert set(runs["schema_version"]) == set(launches["schema_version"]) == {SCHEMA_VERSION}
    assert set(runs["candidate_label"]) == set(VERDICTS)
    assert set(runs["batch_size"]) == {1, 32}
    assert len(set(runs["machine_id"])) == 1


def test_every_figure_of_a_run_follows_from_its_launches() -> None:
    disturbed = 0
    for file in (SAMPLE / "launches").glob("*.parquet"):
        (run,) = pq.read_table(SAMPLE / "runs" / file.name).to_pylist()
        launches = pq.read_table(file).to_pylist()
        disturbed += sum(launch["disturbed"] for launch in launches)
        found = summarise_run(launches, min_span_s=run["min_span_s"])
        assert found == {name: run[name] for name in found}
    assert disturbed, "one at least is among them"


def test_no_text_tells_a_machine_or_a_folder(runs: pd.DataFrame, launches: pd.DataFrame) -> None:
    for frame, columns in ((runs, RUN_COLUMNS), (launches, LAUNCH_COLUMNS)):
        for column in columns:
            if column.dtype == "string":
                for text in frame[column.name].dropna():
                    assert not re.search(r"(^|[\s=\"'])[~/]|\\|[A-Z]:", text), (column.name, text)
                    assert platform.node() not in text.split()


def test_it_is_decided_as_its_page_says(runs: pd.DataFrame) -> None:
    decision = decide(runs)
    assert (decision.verdict, decision.chosen) == ("GO", "minilm fp32 cpu")
    assert decision.evidence == "provisional"
    found = {candidate.label: candidate for candidate in decision.candidates}
    assert found.keys() == VERDICTS.keys()
    page = (SAMPLE / "README.md").read_text(encoding="utf-8")
    for label, (verdict, reason) in VERDICTS.items():
        assert found[label].verdict == verdict
        assert found[label].reasons[0].startswith(reason)
        assert f"| {label} | {verdict} |" in page
    far = next(reason for reason in found["qwen3 (random weights) fp32 cpu"].reasons if "P95" in reason)
    assert "must gate fails: P95 latency ms is ≥ 30, needed < 30 (stopped early)" in far


def test_the_command_decides_it_and_shows_each_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    own = shutil.ignore_patterns("decisions")  # what a reader decided there
    shutil.copytree(SAMPLE, tmp_path / "results", ignore=own)
    assert decide_main([f"results={tmp_path / 'results'}"]) == 0
    out = capsys.readouterr().out
    (record,) = (tmp_path / "results" / "decisions").glob("*.json")
    assert DecisionRecord.model_validate_json(record.read_text(encoding="utf-8"), strict=True).verdict == "GO"
    lines = out.splitlines()
    for label, (verdict, _) in VERDICTS.items():
        assert (f"{verdict}  {label}" in lines) == (label != "minilm fp32 coreml")
    assert "· not possible here: minilm fp32 coreml: ep=coreml" in out
    assert sum("│" in line and not line.startswith("·") for line in lines) == 4
    assert re.search(r" 32 +6\* .*█▶ ", out), "far over the scale, and no gate is asked there"
    batches = [line.split()[1] for line in lines[1:] if line.startswith(" default")]
    assert batches[:6] == ["1", "32", "1", "1", "32", "1"]
    table = [line for line in lines if not line.startswith(("·", "record: "))]
    assert max(map(len, table)) <= 80


def test_tables_and_figures_of_the_report_are_made_of_it() -> None:
    found = report_data.read(SAMPLE)
    assert found.notes == ()
    for label in VERDICTS:
        assert label in tables.runs(found).text
    drawn = plots.p95_against_gates(found.runs, load_policy("default"))
    marks = [line for line in drawn.axes[0].lines if line.get_linestyle() == "None"]
    rings = [line for line in marks if line.get_markersize() == looks.ring()["ms"]]
    assert (len(marks) - len(rings), len(rings)) == (6, 2), "two are provisional"
    for figure in (drawn, plots.launches(found.launches, found.runs), plots.scaling(found.runs, found.policy),
                   plots.model_by_ep(found.decision, found.policy), plots.stages(found.runs),
                   plots.pareto(found.decision, found.policy),
                   plots.timeline(found.launches, found.runs)):  # fmt: skip
        figure.draw_without_rendering()


def test_the_report_builds_from_it_and_writes_nothing_beside_it(tmp_path: Path) -> None:
    before = sorted(SAMPLE.rglob("*"))
    page = tmp_path / "report.html"
    assert report_main([f"results={SAMPLE}", f"out={page}"]) == 0
    text = page.read_text(encoding="utf-8")
    assert "Traceback" not in text
    assert all(label in text for label in VERDICTS)
    assert sorted(SAMPLE.rglob("*")) == before


def test_it_is_small() -> None:
    assert sum(file.stat().st_size for file in SAMPLE.rglob("*") if file.is_file()) < 310_000


# --- results/README.md


def test_the_page_on_results_names_every_column_once_and_in_order() -> None:
    page = RESULTS_PAGE.read_text(encoding="utf-8")
    of_runs, of_launches = page.split("In `launches/`:")
    for text, columns in ((of_runs, RUN_COLUMNS), (of_launches, LAUNCH_COLUMNS)):
        names = [column.name for column in columns]
        groups = re.findall(r"^\| `(\w+)` … `(\w+)` \|", text, re.MULTILINE)
        covered = [name for a, b in groups for name in names[names.index(a) : names.index(b) + 1]]
        assert covered == names


def test_the_page_on_results_reads_them_as_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", RESULTS_PAGE.read_text(encoding="utf-8"), re.DOTALL)
    exec(code.replace('"results"', repr(str(SAMPLE))), {})
    out = capsys.readouterr().out
    assert "minilm fp32 cpu" in out
    assert "0.99" in out


def test_no_command_of_it_names_a_file_that_is_not_shipped(runs: pd.DataFrame) -> None:
    assert [command for command in runs["command"] if "quality." in command] == []
