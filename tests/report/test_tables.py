"""Tables of a report: what they say is what is stored, escaped; on nothing they say what to do."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from harness import report
from harness.comparison import Comparison
from harness.errors import BadInputError
from harness.report.tables import NOTHING, _with_code
from harness.store import Store
from tests.conftest import launch_row, run_row

if TYPE_CHECKING:
    from pathlib import Path

TABLES = (report.verdict, report.gates, report.runs, report.quality, report.placement, report.environment)


def stored(folder: Path, *rows: dict[str, Any]) -> Path:
    store = Store(folder)
    for row in rows:
        store.write_run(row)
        store.write_launches(row["run_id"], [launch_row(run_id=row["run_id"])])
    return folder


def test_on_an_empty_result_set_every_table_says_so(tmp_path: Path) -> None:
    data = report.read(stored(tmp_path))
    assert data.decision is None
    for table in TABLES:
        assert '<p class="note">' in table(data).text
    assert NOTHING in report.verdict(data).text


def test_the_first_screen_has_verdict_pick_and_reason(tmp_path: Path) -> None:
    data = report.read(stored(tmp_path, run_row()))
    text = report.verdict(data).text
    assert data.decision is not None
    assert data.decision.verdict.replace("_", " ") in text
    assert (data.decision.chosen or data.decision.reasons[0]) in text


def test_figures_in_the_table_are_those_of_the_parquet(tmp_path: Path) -> None:
    rows = [run_row(f"r{i}", latency_p95_ms=10.1234567 + i) for i in range(3)]
    text = report.runs(report.read(stored(tmp_path, *rows))).text
    values = [float(value) for value in re.findall(r'data-value="([^"]+)"', text)]
    assert {10.1234567, 11.1234567, 12.1234567} <= set(values)


def test_what_comes_from_results_stays_text(tmp_path: Path) -> None:
    evil = run_row(candidate_label="<script>alert(1)</script>", model="<b>", error="<img src=x>")
    data = report.read(stored(tmp_path, evil))
    for table in TABLES:
        assert "<script>" not in table(data).text
        assert "<img" not in table(data).text
    assert "&lt;script&gt;" in report.runs(data).text


def test_every_gate_of_every_candidate_is_told_with_its_distance(tmp_path: Path) -> None:
    data = report.read(
        stored(tmp_path, run_row("a"), run_row("b", model="e5", candidate_label="e5 fp32 cpu"))
    )
    text = report.gates(data).text
    assert data.decision is not None
    assert text.count("<table") == len(data.decision.candidates) == 2
    assert text.count("<details>") == 1


def test_the_newest_machine_is_read_and_the_others_are_told(tmp_path: Path) -> None:
    from datetime import timedelta

    old = run_row("old", machine_id="elder")
    new = run_row("new", machine_id="newer", started_at=old["started_at"] + timedelta(days=1))
    data = report.read(stored(tmp_path, old, new))
    assert list(data.runs["run_id"]) == ["new"]
    assert "1 runs of other machines" in data.notes[0]
    assert list(report.read(tmp_path, machine="elder").runs["run_id"]) == ["old"]


def test_a_selection_keeps_what_it_names(tmp_path: Path) -> None:
    stored(tmp_path, run_row("a", batch_size=1), run_row("b", batch_size=8), run_row("c", batch_size=32))
    assert sorted(report.read(tmp_path, select="batch_size=1,8").runs["run_id"]) == ["a", "b"]
    assert report.read(tmp_path, select="model=nothing").decision is None


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ({"select": "batchsize=1"}, "batch_size"),
        ({"select": "minilm"}, "column=value"),
        ({"machine": "x"}, "machine"),
        ({"policy": "defalt"}, "default"),
    ],
)
def test_a_wrong_word_is_told_with_what_there_is(tmp_path: Path, words: dict[str, str], told: str) -> None:
    stored(tmp_path, run_row())
    with pytest.raises(BadInputError, match=told):
        report.read(tmp_path, **words)


def test_a_comparison_tells_change_and_interval() -> None:
    pair = Comparison("a → b", "p95_ms", 3.0, 6.0, 2.0, 1.8, 2.2, "changed", "")
    text = report.comparison([pair]).text
    assert "changed, slower" in text
    assert "1.800–2.200" in text
    assert "Nothing is compared" in report.comparison(report.compare(".", "", "")).text


def test_commands_in_backticks_become_code_and_stay_text() -> None:
    assert _with_code("type `a <b>` now") == "type <code>a &lt;b&gt;</code> now"
    assert _with_code("a lone ` stays") == "a lone ` stays"
