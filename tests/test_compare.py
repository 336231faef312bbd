"""`python -m harness.compare`: what its words name, what it prints, and the exit code that a script reads."""

from __future__ import annotations

import json
import re
import shutil
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from harness.command import run_command
from harness.compare import main
from harness.errors import BadInputError
from harness.store import Store
from tests.conftest import STARTED, launch_row, run_row

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Capture = pytest.CaptureFixture[str]


def store_run(results: Path, run_id: str, p95_ms: float, *, n: int = 20, **changes: Any) -> None:
    """A run of `n` launches in rounds of its sweep."""
    store = Store(results)
    sweep = {"sweep_id": changes.get("sweep_id", "s1")}
    rows = [launch_row(i, run_id=run_id, p95_ms=p95_ms + i / 1000, **sweep) for i in range(n)]
    store.write_run(run_row(run_id, p95_ms=p95_ms, **{"launches": n, **changes}))
    store.write_launches(run_id, rows)


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a user stands: `results` has a sweep of three runs and another run."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "results"
    store_run(folder, "aaaa1111", 10.0, sweep_id="first")
    store_run(folder, "bbbb2222", 12.0, sweep_id="first", ep="openvino", candidate_label="minilm openvino")
    store_run(folder, "cccc3333", 10.1, sweep_id="first", threads=2, candidate_label="minilm 2 threads")
    store_run(folder, "dddd4444", 10.0, sweep_id="second")
    return folder


def found(capsys: Capture, *words: str) -> tuple[int, list[dict[str, Any]]]:
    """Exit code and comparisons as JSON."""
    code = main([*words, "format=json"])
    return code, json.loads(capsys.readouterr().out)


def test_a_slower_b_is_exit_13_and_a_faster_one_exit_0(results: Path, capsys: Capture) -> None:
    code, comparisons = found(capsys, "aaaa1111", "bbbb2222")
    assert code == 13
    assert [c["change"] for c in comparisons] == ["changed", "changed"]
    assert [c["metric"] for c in comparisons] == ["p50_ms", "p95_ms"]
    assert comparisons[1]["ratio"] == pytest.approx(1.2, rel=1e-2)
    code, comparisons = found(capsys, "bbbb2222", "aaaa1111")
    assert code == 0
    assert [c["change"] for c in comparisons] == ["changed", "changed"]


def test_runs_of_one_sweep_are_paired_and_others_are_not(results: Path, capsys: Capture) -> None:
    code, comparisons = found(capsys, "aaaa1111", "cccc3333")
    assert (code, [c["paired"] for c in comparisons]) == (0, [True, True])
    assert [c["change"] for c in comparisons] == ["unchanged", "unchanged"]
    code, comparisons = found(capsys, "aaaa1111", "dddd4444")
    assert (code, [c["paired"] for c in comparisons]) == (0, [False, False])


@pytest.mark.parametrize(("threshold", "code"), [("0.05", 13), ("0.3", 0)])
def test_the_threshold_says_what_is_a_regression(
    results: Path, capsys: Capture, threshold: str, code: int
) -> None:
    assert found(capsys, "aaaa1111", "bbbb2222", f"threshold={threshold}")[0] == code


def test_an_inconclusive_comparison_is_no_regression(results: Path, capsys: Capture) -> None:
    store_run(results, "eeee5555", 20.0, n=1, sweep_id="third")
    code, comparisons = found(capsys, "aaaa1111", "eeee5555")
    assert (code, {c["change"] for c in comparisons}) == (0, {"inconclusive"})
    assert "too few" in comparisons[0]["reason"]


def test_a_sweep_is_all_its_runs(results: Path, capsys: Capture) -> None:
    store_run(results, "aaaa9999", 10.0, sweep_id="third")
    store_run(results, "bbbb9999", 24.0, sweep_id="third", ep="openvino", candidate_label="minilm openvino")
    code, comparisons = found(capsys, "first", "third")
    assert code == 13
    by_label = {c["label"]: c["change"] for c in comparisons if c["metric"] == "p95_ms"}
    assert by_label == {
        "minilm fp32 cpu, default, batch 1": "unchanged",
        "minilm openvino, default, batch 1": "changed",
    }


def test_a_sweep_is_found_by_its_launches_though_a_later_one_rewrote_the_rows(
    results: Path, capsys: Capture
) -> None:
    """A run that a later command went on with names that command; its launches name both."""
    store = Store(results)
    for run_id in ("aaaa1111", "bbbb2222"):
        row = store.run_of(run_id)
        assert row is not None
        more = launch_row(20, run_id=run_id, p95_ms=row["latency_p95_ms"], sweep_id="later", round=20)
        store.write_launches(run_id, [*store.launches_of(run_id), more])
        listed = [*row["launch_p95_ms"], row["latency_p95_ms"]]
        store.write_run(row | {"sweep_id": "later", "launches": 21, "launch_p95_ms": listed})
    store_run(results, "aaaa9999", 10.0, sweep_id="third")
    store_run(results, "cccc9999", 10.1, sweep_id="third", threads=2, candidate_label="minilm 2 threads")
    _, comparisons = found(capsys, "first", "third")
    assert {c["label"] for c in comparisons} == {
        "minilm fp32 cpu, default, batch 1",
        "minilm 2 threads, default, batch 1",
    }
    _, comparisons = found(capsys, "later", "third")
    assert {c["label"] for c in comparisons} == {"minilm fp32 cpu, default, batch 1"}, "and no run of others"


def test_a_sweep_is_not_named_by_a_row_that_no_launch_of_it_stands_behind(results: Path) -> None:
    store = Store(results)
    row = store.run_of("dddd4444")
    assert row is not None
    store.write_run(row | {"sweep_id": "rewritten"})
    with pytest.raises(BadInputError, match="rewritten"):
        main(["first", "rewritten"])


def test_two_directories_are_compared_though_the_runs_have_the_same_ids(
    results: Path, tmp_path: Path, capsys: Capture
) -> None:
    """The same thing measured before and after an update of the system: one id, two measurements."""
    store_run(tmp_path / "before", "aaaa1111", 10.0)
    store_run(tmp_path / "after", "aaaa1111", 15.0)
    code, comparisons = found(capsys, "before", "after")
    assert code == 13
    assert comparisons[1]["ratio"] == pytest.approx(1.5, rel=1e-3)
    assert found(capsys, "after", "before")[0] == 0


def test_two_directories_are_never_called_paired(results: Path, tmp_path: Path, capsys: Capture) -> None:
    """A sweep's id tells what was measured, so both have the same rounds of the same sweep."""
    store_run(tmp_path / "before", "aaaa1111", 10.0)
    store_run(tmp_path / "after", "aaaa1111", 15.0)
    store = Store(tmp_path / "after")
    later = [
        row | {"started_at": row["started_at"] + timedelta(days=1)} for row in store.launches_of("aaaa1111")
    ]
    store.write_launches("aaaa1111", later)
    _, comparisons = found(capsys, "before", "after")
    assert [c["paired"] for c in comparisons] == [False, False]


def test_a_directory_is_compared_with_a_run_of_another(
    results: Path, tmp_path: Path, capsys: Capture
) -> None:
    for name in ("other", "n=2"):
        store_run(tmp_path / name, "ffff6666", 20.0)
        assert found(capsys, "aaaa1111", f"./{name}")[0] == 13
        assert found(capsys, "aaaa1111", str(tmp_path / name))[0] == 13
    assert found(capsys, "aaaa1111", "other")[0] == 13


def test_results_say_where_ids_are_looked_up(results: Path, tmp_path: Path, capsys: Capture) -> None:
    moved = results.rename(tmp_path / "elsewhere")
    assert found(capsys, "aaaa1111", "bbbb2222", f"results={moved}")[0] == 13
    with pytest.raises(BadInputError, match="no such directory"):
        main(["aaaa1111", "bbbb2222"])


@pytest.mark.parametrize("position", [0, 1])
def test_an_unknown_id_suggests_the_nearest(results: Path, position: int) -> None:
    words = ["aaaa1111", "aaaa1111"]
    words[position] = "bbbb2223"
    with pytest.raises(BadInputError, match=r"'bbbb2223': the nearest are bbbb2222 \("):
        main(words)


def test_an_unknown_name_tells_what_can_be_named_with_candidate_and_place_in_one_line(results: Path) -> None:
    with pytest.raises(BadInputError) as raised:
        main(["minilm openvino", "aaaa1111"])
    (line,) = raised.value.problems
    nearest, *others = line.partition("the nearest are ")[2].split("; ")
    assert nearest == "bbbb2222 (minilm openvino, default, batch 1)"
    assert "cccc3333 (minilm 2 threads, default, batch 1)" in others
    assert any(other.startswith("first (sweep of 3 runs, ") for other in others)


def test_of_many_runs_the_nearest_are_told_and_the_others_counted(results: Path) -> None:
    for number in range(9):
        store_run(results, f"eeee{number}", 10.0, n=1, sweep_id=f"more{number}")
    with pytest.raises(BadInputError, match=r"'eeee44': the nearest are eeee4 \(.*; 8 more$"):
        main(["eeee44", "aaaa1111"])


def test_a_run_that_was_not_measured_is_none_of_those_that_can_be_named(results: Path) -> None:
    store_run(results, "ffff6666", 10.0, n=0, sweep_id="third", status="unavailable")
    with pytest.raises(BadInputError) as raised:
        main(["ffff6667", "aaaa1111"])
    assert "ffff6666" not in str(raised.value)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "two sets of runs, not 0"),
        (["first"], "two sets of runs, not 1"),
        (["first", "second", "third"], "two sets of runs, not 3"),
        (["first", "second", "threshold=0"], "threshold=0: must be a share between 0 and 1"),
        (["first", "second", "threshold=5%"], "threshold=5%: must be"),
        (["first", "second", "threshold=nan"], "threshold=nan: must be"),
        (["first", "second", "threshold=inf"], "threshold=inf: must be"),
        (["first", "second", "threshold=5"], "threshold=5: must be a share between 0 and 1; 5 % is 0.05"),
        (["first", "second", "format=markdown"], "table"),
        (["first", "second", "across_machines=yes"], "across_machines"),
        (["first", "second", "thresold=0.1"], "did you mean threshold"),
    ],
)
def test_a_wrong_word_is_bad_input_and_says_what_is_right(results: Path, words: list[str], said: str) -> None:
    with pytest.raises(BadInputError, match=said):
        main(words)


def test_a_run_without_a_launch_cannot_be_compared(results: Path) -> None:
    nothing: dict[str, Any] = {"status": "unavailable", "launches": 0, "launch_p95_ms": []}
    Store(results).write_run(run_row("gggg7777", **nothing))
    with pytest.raises(BadInputError, match="gggg7777: no measured run in it"):
        main(["aaaa1111", "gggg7777"])


def test_machines_are_compared_only_where_it_is_said(results: Path, capsys: Capture) -> None:
    store_run(results, "hhhh8888", 30.0, machine_id="m2")
    with pytest.raises(BadInputError, match="across_machines=true"):
        main(["aaaa1111", "hhhh8888"])
    assert found(capsys, "aaaa1111", "hhhh8888", "across_machines=true")[0] == 13


def test_the_newest_run_of_the_same_thing_is_compared(results: Path, capsys: Capture) -> None:
    later = STARTED + timedelta(hours=1)
    store_run(results, "0000aaaa", 14.0, sweep_id="first", started_at=later)
    store_run(results, "bbbb9999", 12.0, sweep_id="third", ep="openvino", candidate_label="minilm openvino")
    store_run(results, "aaaa9999", 14.0, sweep_id="third")
    code, comparisons = found(capsys, "first", "third")
    assert (code, {c["change"] for c in comparisons}) == (0, {"unchanged"})


def test_the_answer_is_json_of_finite_numbers(results: Path, capsys: Capture) -> None:
    store_run(results, "eeee5555", 20.0, sweep_id="third")
    store = Store(results)
    rows = store.launches_of("eeee5555")
    failed = {"status": "failed", "error": "exit 1", "p50_ms": None, "p95_ms": None}
    store.write_launches("eeee5555", [row | failed for row in rows])
    assert main(["aaaa1111", "eeee5555", "format=json"]) == 13

    def refuse(constant: str) -> float:
        raise AssertionError(f"{constant} is not JSON")

    for c in json.loads(capsys.readouterr().out, parse_constant=refuse):
        assert (c["change"], c["b_fails_more"]) == ("changed", True)
        assert c["ratio"] is c["b_ms"] is None
        assert set(c) == {
            "label", "metric", "a_ms", "b_ms", "ratio", "low", "high", "change", "reason", "paired",
            "a_at_least", "b_at_least", "a_fails_more", "b_fails_more", "without_disturbed", "notes",
            "a_run", "b_run",
        }  # fmt: skip


def test_launches_that_were_stopped_early_are_a_regression_by_the_bound_they_went_over(
    results: Path, capsys: Capture
) -> None:
    store_run(results, "eeee5555", 45.0, sweep_id="third")
    store = Store(results)
    cut = {"truncated": True, "truncated_over_ms": 30.0}
    store.write_launches("eeee5555", [row | cut for row in store.launches_of("eeee5555")])
    assert main(["aaaa1111", "eeee5555"]) == 13
    text = capsys.readouterr().out
    assert "≥ 30.00" in text
    assert "–∞" in text
    assert max(len(line) for line in text.splitlines() if not line.startswith("·")) <= 80
    assert main(["eeee5555", "aaaa1111"]) == 0


def test_a_regression_of_disturbed_launches_alone_is_exit_0_and_told(results: Path, capsys: Capture) -> None:
    store_run(results, "eeee5555", 10.0, sweep_id="first")
    store = Store(results)
    slow = {"disturbed": True, "p50_ms": 30.0, "p95_ms": 30.0}
    rows = [row | (slow if row["round"] >= 8 else {}) for row in store.launches_of("eeee5555")]
    store.write_launches("eeee5555", rows)
    assert main(["aaaa1111", "eeee5555"]) == 0
    told = capsys.readouterr().out
    assert "· 0 of 20 launches of A and 12 of 20 of B were disturbed" in told
    assert "slower by all launches, unchanged without the disturbed ones: not certain" in told


@pytest.mark.parametrize("word", ["aaaa1111", "first", "results"])
def test_a_side_against_itself_is_bad_input_with_the_remedy(results: Path, word: str) -> None:
    with pytest.raises(BadInputError, match=r"hold the same launches.*measure\.replicate=1,2"):
        main([word, word])


def test_what_has_no_counterpart_is_told_beside_the_answer(results: Path, capsys: Capture) -> None:
    store_run(results, "aaaa9999", 10.0, sweep_id="third")
    assert main(["first", "third", "format=json"]) == 0
    out = capsys.readouterr()
    assert len(json.loads(out.out)) == 2
    assert "not compared: minilm openvino, default, batch 1, run bbbb2222: B has none of" in out.err


def test_the_table_has_a_line_for_each_run_and_metric(results: Path, capsys: Capture) -> None:
    assert main(["aaaa1111", "bbbb2222"]) == 13
    text = capsys.readouterr().out
    assert "B against A" in text
    assert text.count("slower") == 2
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_tells_the_words_and_the_exit_codes(flag: str, capsys: Capture) -> None:
    assert main([flag]) == 0
    text = capsys.readouterr().out
    assert text.startswith("python -m harness.compare A B")
    for word in ("results=", "threshold=", "format=", "across_machines=", "13 B is slower"):
        assert word in text


def test_the_command_ends_with_its_exit_code(results: Path, capsys: Capture) -> None:
    assert run_command(lambda: main(["aaaa1111", "bbbb2222"])) == 13
    assert run_command(lambda: main(["aaaa1111", "nowhere"])) == 2
    assert "nowhere" in capsys.readouterr().err


def test_the_command_line_compares(cli: Callable[..., Any], tmp_path: Path) -> None:
    store_run(tmp_path / "results", "aaaa1111", 10.0)
    store_run(tmp_path / "results", "bbbb2222", 12.0)
    done = cli("aaaa1111", "bbbb2222", module="harness.compare")
    assert done.returncode == 13, done.stderr
    assert "slower" in done.stdout


def test_a_folder_that_is_not_there_is_told_by_its_own_name(results: Path, tmp_path: Path) -> None:
    with pytest.raises(
        BadInputError, match=r"^nowhere: no results directory, and results=.*none, where an id"
    ):
        main([str(results), "nowhere", f"results={tmp_path / 'none'}"])


# --- retrieval


def searched(by_query: list[float] | None, folder: str = "f1") -> dict[str, Any]:
    """Columns of a run that searched a folder."""
    return {"retrieval_sha256": folder, "ndcg_at_10_by_query": by_query}


FIRST = [0.2, 0.5, 0.9, 0.4, 0.6, 0.3]
BETTER = [0.31, 0.6, 0.99, 0.52, 0.7, 0.4]


@pytest.mark.parametrize(
    ("a", "b", "change", "said"),
    [
        (FIRST, BETTER, "changed", r"\+0\.10\d\d"),
        (BETTER, FIRST, "changed", r"-0\.10\d\d"),
        (FIRST, FIRST[::-1], "inconclusive", r"\+0\.0000"),
        (FIRST, FIRST, "unchanged", "the same nDCG@10 at every query"),
        ([0.5], [0.7], "inconclusive", "too few queries"),
        (FIRST, None, "inconclusive", "no nDCG of each query"),
    ],
)
def test_what_two_models_find_is_compared_query_by_query(
    results: Path, capsys: Capture, a: list[float], b: list[float] | None, change: str, said: str
) -> None:
    store_run(results, "eeee5555", 10.0, sweep_id="third", **searched(a))
    store_run(results, "ffff6666", 10.0, sweep_id="third", model="e5", **searched(b))
    code, comparisons = found(capsys, "eeee5555", "ffff6666")
    (ndcg,) = (c for c in comparisons if c["metric"] == "ndcg_at_10")
    assert (code, ndcg["change"]) == (0, change)
    if change == "changed":
        assert ndcg["difference"] == pytest.approx(sum(b or ()) / 6 - sum(a) / 6)
        assert ndcg["low"] < ndcg["difference"] < ndcg["high"]
        assert (ndcg["low"] > 0) == (a == FIRST)
    assert main(["eeee5555", "ffff6666"]) == 0
    assert re.search(said, capsys.readouterr().out)


def test_other_documents_are_told_and_runs_that_searched_none_say_nothing(
    results: Path, capsys: Capture
) -> None:
    store_run(results, "eeee5555", 10.0, sweep_id="third", **searched(FIRST))
    store_run(results, "ffff6666", 10.0, sweep_id="third", **searched(FIRST, "f2"))
    ndcg = found(capsys, "eeee5555", "ffff6666")[1][-1]
    assert (ndcg["difference"], ndcg["reason"]) == (
        None, "A and B searched different documents (quality.retrieval)",
    )  # fmt: skip
    assert [c["metric"] for c in found(capsys, "eeee5555", "aaaa1111")[1]] == ["p50_ms", "p95_ms"]


def test_many_pairs_ask_each_for_more(results: Path, tmp_path: Path, capsys: Capture) -> None:
    """Bonferroni: the interval of one pair of two is wider than that of the same pair alone."""
    sides = [tmp_path / "one", tmp_path / "two"]
    for side, by_query in zip(sides, (FIRST, BETTER), strict=True):
        for model in ("minilm", "e5"):
            store_run(side, f"{model}{side.name}", 10.0, model=model, **searched(by_query))
    alone = found(capsys, "minilmone", "minilmtwo", f"results={merged(tmp_path, sides)}")[1][-1]
    both = found(capsys, *map(str, sides))[1][-1]
    assert both["low"] < alone["low"] < alone["high"] < both["high"]


def merged(tmp_path: Path, folders: list[Path]) -> Path:
    """One results directory of several."""
    for folder in folders:
        shutil.copytree(folder, tmp_path / "merged", dirs_exist_ok=True)
    return tmp_path / "merged"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"sweep_id": "second"}, "not paired: no round in common, A is of sweep first, B of sweep second"),
        ({"sweep_id": "first", "n": 3}, "not paired: 3 rounds in common are too few for an interval"),
    ],
)
def test_why_two_runs_were_not_paired_is_told_with_their_ids(
    results: Path, capsys: Capture, changes: dict[str, Any], why: str
) -> None:
    store_run(results, "eeee5555", 10.0, **changes)
    _, comparisons = found(capsys, "aaaa1111", "eeee5555")
    assert [(c["a_run"], c["b_run"]) for c in comparisons] == [("aaaa1111", "eeee5555")] * 2
    assert all(why in " ".join(c["notes"]) for c in comparisons)
    _, comparisons = found(capsys, "aaaa1111", "cccc3333")
    assert not any("not paired" in note for c in comparisons for note in c["notes"])
