"""The decide command in this process: what goes where, and which exit code it ends with."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING

import pytest

from harness import report
from harness.baseline import SHIPPED
from harness.decision_record import DecisionRecord, schema_text
from harness.errors import BadInputError
from harness.evidence import selected
from harness.locks import hold
from harness.rerun import decide_command
from harness.store import Store, UnreadableFileWarning, load_runs
from tests.conftest import launch_row, run_row
from tests.test_decision import model_row, soak_row

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# Run, not imported: an imported harness.decide would stand where ``from harness import decide`` is looked up.
main: Callable[[list[str]], int] = runpy.run_module("harness.decide", run_name="decide")["main"]


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A results folder with MiniLM at 12 ms and E5 at 25 ms, and one run of another machine."""
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    store = Store(tmp_path / "results")
    for model, p95_ms in {"minilm": 12.0, "e5": 25.0}.items():
        store.write_run(model_row(model, p95_ms=p95_ms))
        run_id = f"run-{model}"
        store.write_launches(run_id, [launch_row(i, run_id=run_id, p95_ms=p95_ms) for i in range(20)])
    store.write_run(soak_row("minilm"))
    store.write_run(model_row("bge", machine_id="m2"))
    return store.path


HERE = "machine=m1"


def test_json_is_alone_on_standard_output_and_is_the_record_that_is_kept(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([f"results={results}", HERE, "format=json"]) == 0
    told = capsys.readouterr()
    assert DecisionRecord.model_validate_json(told.out, strict=True).verdict == "GO"
    assert told.err == ""
    (kept,) = (results / "decisions").glob("*.json")
    assert kept.read_text(encoding="utf-8") == told.out


def test_on_nothing_the_command_that_is_told_measures_where_it_was_looked_for(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    with pytest.raises(BadInputError) as told:
        main([f"results={tmp_path}", "policy=strict"])
    command = f"python -m harness model=minilm ep=cpu results={tmp_path} policy=strict"
    assert str(told.value) == f"no runs to decide on; measure first: {command}"


def test_the_command_that_tells_the_other_steps_repeats_what_was_typed(
    results: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.terminal._STEPS_SHOWN", 0)
    main([f"results={results}", HERE, "policy=documents", "format=table"])
    told = " ".join(capsys.readouterr().out.split())
    assert f"python -m harness.decide results={results} {HERE} policy=documents format=markdown" in told


@pytest.mark.parametrize(
    ("policy", "told"),
    [({}, "policy.file=mine.yaml results=r"), ({"policy": "default"}, "results=r policy=default")],
)
def test_the_command_that_decides_on_a_run_has_its_folder_and_policy(
    policy: dict[str, str], told: str
) -> None:
    row = model_row("minilm", command="python -m harness model=minilm policy.file=mine.yaml results=r")
    assert decide_command(row, **policy) == f"python -m harness.decide {told}"


def test_runs_of_other_machines_that_are_left_out_are_told(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main([f"results={results}", HERE])
    said = "this is about machine m1 alone: 1 run(s) of m2 are not read"
    assert f"· warning: {said}" in capsys.readouterr().out.splitlines()
    main([f"results={results}", HERE, "format=json"])
    assert json.loads(capsys.readouterr().out)["warnings"] == [said]


@pytest.mark.parametrize("baseline", ["reported_qwen3", "run-e5"])
def test_speedups_are_told_in_every_format_and_change_no_exit_code(
    results: Path, capsys: pytest.CaptureFixture[str], baseline: str
) -> None:
    for words in ([], ["format=markdown"], ["format=json"]):
        assert main([f"results={results}", HERE, f"baseline={baseline}", *words]) == 0
        out = capsys.readouterr().out
        assert "reported" in out or baseline == "run-e5"
    record = json.loads(out)["baseline"]
    assert record["name"] == baseline
    p95 = [
        s
        for s in record["speedups"]
        if (s["candidate"], s["metric"]) == ("minilm fp32 cpu", "latency_p95_ms")
    ]
    assert p95[0]["ratio"] == pytest.approx({"reported_qwen3": 171 / 12, "run-e5": 25 / 12}[baseline])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["baseline=qwen"],
            "unknown baseline 'qwen': neither reported .reported_qwen3, reported_candle. nor",
        ),
        (["baseline=soak-minilm"], "a soak run"),
        (["baseline.file=missing.yaml"], "missing.yaml: No such file or directory; give a readable file"),
    ],
)
def test_a_baseline_that_cannot_be_used_is_told_and_nothing_is_written(
    results: Path, words: list[str], said: str
) -> None:
    with pytest.raises(BadInputError, match=said):
        main([f"results={results}", HERE, *words])
    assert list((results / "decisions").iterdir()) == []


def test_a_file_of_figures_without_a_name_lists_its_names(results: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="give baseline=NAME: reported_qwen3, reported_candle"):
        main([f"results={results}", HERE, f"baseline.file={SHIPPED}"])


def test_the_schema_is_printed_without_any_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["format=schema"]) == 0
    assert capsys.readouterr().out == schema_text()
    assert list(tmp_path.iterdir()) == []


def test_the_page_goes_into_the_pipelines_summary_beside_the_verdicts_exit_code(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "summary.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(file))
    assert main([f"results={results}", HERE, "format=json"]) == 0
    (page,) = (results / "decisions").glob("*.md")
    assert file.read_text(encoding="utf-8") == page.read_text(encoding="utf-8")
    assert capsys.readouterr().out.startswith("{")


def test_the_record_is_the_same_however_the_folder_is_typed_and_tells_what_could_not_be_read(
    results: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(results.parent)
    told = []
    for typed in (results, results.name, f"{results}/../{results.name}"):
        main([f"results={typed}", HERE, "format=json"])
        told.append(capsys.readouterr().out)
    assert len(set(told)) == 1
    (results / "runs" / "damaged.parquet").write_bytes(b"no parquet")
    with pytest.warns(UnreadableFileWarning):
        main([f"results={results}", HERE, "format=json"])
    warned = json.loads(capsys.readouterr().out)["warnings"]
    assert any("skipped" in line and "damaged.parquet" in line for line in warned)


def test_what_is_told_to_type_measures_where_the_runs_were_measured_and_leaves_a_copy_alone(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def told(folder: Path, command: str) -> tuple[list[str], list[str]]:
        Store(folder).write_run(model_row("minilm", command=command))
        main([f"results={folder}", HERE, "select=model=minilm", "format=json"])
        record = json.loads(capsys.readouterr().out)
        kept = report.read(folder, machine="m1", select="model=minilm").decision
        assert kept is not None
        assert kept.next_steps == tuple(record["next_steps"])
        steps = [step for step in record["next_steps"] if "python -m harness" in step]
        assert steps
        return steps, [line for line in record["warnings"] if "measures there" in line]

    copy = results.rename(results.with_name("copy"))
    steps, warned = told(copy, "python -m harness model=minilm")
    assert not any("results=" in step for step in steps)
    assert warned == [
        "these runs were measured into results=results: what is told to type measures there, not here"
    ]
    for command in ("python -m harness model=minilm results=elsewhere/copy", ""):
        steps, warned = told(copy, command)
        assert all(f"results={copy}" in step for step in steps), command
        assert warned == []


def test_a_selection_decides_on_what_it_names_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store(tmp_path)
    store.write_run(model_row("minilm", p95_ms=45))
    store.write_run(model_row("custom+0b01", "own", candidate_label="search-v3+0b01 fp32 cpu"))
    for name in ("custom", "search-v3", "search-v3+0b01"):
        assert main([f"results={tmp_path}", f"select=model={name}", "format=json"]) == 0
        told = json.loads(capsys.readouterr().out)
        assert [candidate["run_ids"] for candidate in told["candidates"]] == [["own"]]
        assert f"1 of 2 runs are left out by select: model={name}" in told["warnings"]
    assert main([f"results={tmp_path}", "select=model=minilm", "format=json"]) == 11
    with pytest.raises(
        BadInputError, match=r"none of 2 runs has model=e5; its model is minilm, search-v3\+0b01"
    ):
        main([f"results={tmp_path}", "select=model=e5"])


def test_a_selection_matches_numbers_as_they_are_typed_and_what_is_unknown_as_null(tmp_path: Path) -> None:
    store = Store(tmp_path)
    known = {"threads": 2, "sts_pairs": 1500, "offered_qps": 20.0, "revision_pinned": True}
    store.write_run(run_row("known", **known))
    store.write_run(run_row("unknown", **dict.fromkeys(known)))
    runs = load_runs(tmp_path)
    runs["sts_pairs"] = runs["sts_pairs"].astype(
        float
    )  # as where pandas has integers of which one is unknown
    for name, typed in (
        ("threads", "2"),
        ("sts_pairs", "1500"),
        ("offered_qps", "20"),
        ("revision_pinned", "true"),
    ):
        for value, run_ids in (
            (typed, ["known"]),
            ("null", ["unknown"]),
            (f"{typed},null", ["known", "unknown"]),
        ):
            assert list(selected(runs, f"{name}={value}")[0]["run_id"]) == run_ids, (name, value)
        there = ", ".join(sorted([typed, "null"]))
        with pytest.raises(BadInputError, match=f"none of 2 runs has {name}=7; its {name} is {there}$"):
            selected(runs, f"{name}=7")


def test_an_unknown_column_is_named_with_the_nearest_ones(results: Path) -> None:
    with pytest.raises(BadInputError, match="select=modl=minilm: unknown column 'modl': did you mean model"):
        main([f"results={results}", "select=modl=minilm"])
    with pytest.raises(BadInputError, match="select=foo=1: unknown column 'foo': the nearest are"):
        main([f"results={results}", "select=foo=1"])


def test_json_needs_no_tables(results: Path) -> None:
    code = (
        "import sys; from harness import progress; from harness.decide import main; "
        "progress._QUICK_S = 1e9; "  # a slow machine is told how far it is, by Rich
        f"main(['results={results}', '{HERE}', 'format=json']); assert 'rich' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_command_that_is_garbled_is_bad_input_and_names_the_run(tmp_path: Path) -> None:
    Store(tmp_path).write_run(model_row("minilm", command="python -m harness model='minilm ep=cpu"))
    with pytest.raises(BadInputError, match=r"run run-minilm: its command is none that measures it: .*anew"):
        main([f"results={tmp_path}"])


def test_runs_that_another_process_is_measuring_are_not_only_told_as_interrupted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store(tmp_path)
    store.write_run(run_row(status="interrupted"))
    told = "1 run told as interrupted may only be under way"
    for held in (True, False):
        with hold(store.lock, lambda _who: None) if held else nullcontext():
            main([f"results={tmp_path}", "format=json"])
            page = report.verdict(report.read(tmp_path)).text
        warnings = json.loads(capsys.readouterr().out)["warnings"]
        assert any(told in line for line in warnings) == held
        assert (told in page) == held
