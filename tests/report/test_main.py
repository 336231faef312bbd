"""The report command: bad input is told before a kernel starts; figures are written where asked."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from harness.comparison import Comparison
from harness.compose import conf_dir, notebooks_dir
from harness.errors import BadInputError, StorageError
from harness.report.__main__ import _COMPARE, _DECISION, _MEASUREMENTS, main
from harness.report.data import compare, read
from harness.report.figures import FIGURES, figure, write_figures
from tests.conftest import run_row
from tests.report.test_tables import stored

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["figures=pdf"], "png, svg"),
        (["a=x"], "both"),
        (["a=nothing", "b=r1"], "nothing"),
        (["baseline=qwen"], "reported_qwen3"),
        (["policy.file=/nowhere.yaml"], "nowhere.yaml"),
        (["out=/nowhere/at/all.html"], "no such folder"),
        (["policy=defalt"], "default"),
        (["select=nothing=1"], "column"),
        (["resutls=x"], "results"),
        (["out=stages.svg", "figures=svg"], "the page is HTML; give out=FILE.html"),
    ],
)
def test_a_wrong_word_is_told_before_anything_is_executed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], told: str
) -> None:
    stored(tmp_path, run_row())
    monkeypatch.setattr("harness.report.__main__.execute", lambda *_a, **_k: pytest.fail("executed"))
    with pytest.raises(BadInputError, match=told):
        main([f"results={tmp_path}", *words])


def test_a_folder_in_the_pages_place_is_told_before_anything_is_executed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored(tmp_path, run_row())
    monkeypatch.setattr("harness.report.__main__.execute", lambda *_a, **_k: pytest.fail("executed"))
    with pytest.raises(BadInputError, match=r"a folder; give a file, such as .*report\.html"):
        main([f"results={tmp_path}", f"out={tmp_path}"])


def test_a_page_that_cannot_be_written_is_told_before_anything_is_executed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored(tmp_path, run_row())
    monkeypatch.setattr("harness.report.__main__.execute", lambda *_a, **_k: pytest.fail("executed"))
    page = tmp_path / "page.html"
    page.symlink_to(tmp_path / "nowhere" / "page.html")
    with pytest.raises(
        StorageError, match=r"page\.html cannot be written: No such file or .*; give out=FILE"
    ):
        main([f"results={tmp_path}", f"out={page}"])


def test_a_page_that_was_not_made_leaves_the_old_one_and_no_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    stored(tmp_path / "results", run_row())
    monkeypatch.setattr("harness.report.__main__.execute", interrupted)
    old, new = tmp_path / "old.html", tmp_path / "new.html"
    old.write_text("old", encoding="utf-8")
    for page in (old, new):
        with pytest.raises(KeyboardInterrupt):
            main([f"results={tmp_path / 'results'}", f"out={page}"])
    assert old.read_text(encoding="utf-8") == "old"
    assert not new.exists()


def test_help_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert "python -m harness.report" in capsys.readouterr().out


def test_a_folder_without_results_is_told_as_such() -> None:
    with pytest.raises(BadInputError, match="results=/nowhere: no such directory"):
        main(["results=/nowhere"])


def test_notebooks_are_given_what_was_typed_so_that_they_tell_commands_that_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stored(tmp_path / "one", run_row())
    stored(tmp_path / "two", run_row())
    policy = tmp_path / "mine.yaml"
    policy.write_text((conf_dir() / "policy" / "strict.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    given: dict[str, Any] = {}
    monkeypatch.setattr("harness.report.__main__.compare", lambda *_, **__: [])
    monkeypatch.setattr(
        "harness.report.__main__.execute", lambda file, words, **_: given.update({file.stem: words}) or []
    )
    monkeypatch.chdir(tmp_path)
    assert main(["results=one", "policy.file=mine.yaml", "a=one", "b=two"]) == 0
    assert given["measurements"]["results"] == given["compare"]["a"] == "one"
    assert given["compare"]["b"] == "two"
    assert given["decision"]["policy_file"] == "mine.yaml"
    assert capsys.readouterr().out == "one/report.html\n"


def test_a_selection_holds_for_both_sides_of_the_comparison_on_the_page(tmp_path: Path) -> None:
    for side in ("one", "two"):
        rows = [run_row(f"{side}-{b}", batch_size=b, machine_id="m2" if b == 8 else "m1") for b in (1, 2, 8)]
        stored(tmp_path / side, *rows)
    sides = {"results": tmp_path, "a": str(tmp_path / "one"), "b": str(tmp_path / "two")}

    def compared(**of: str) -> set[str]:
        return {each.b_run for each in compare(**sides, **of)}

    assert compared(machine="m1") == {"two-1", "two-2"}
    assert compared(machine="m1", select="batch_size=1") == {"two-1"}
    with pytest.raises(BadInputError, match="one: select=batch_size=4: none of 3 runs has batch_size=4"):
        compare(**sides, select="batch_size=4")


def test_the_notebooks_show_every_figure_once_and_take_all_that_they_are_given() -> None:
    shown = []
    for name, given in (("decision", _DECISION), ("measurements", _MEASUREMENTS), ("compare", _COMPARE)):
        cells = json.loads((notebooks_dir() / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]
        assert not any(cell.get("outputs") for cell in cells), "committed without outputs"
        assert cells[0]["source"][0].rstrip().endswith("?"), "opens with its question"
        (parameters,) = [cell for cell in cells if "parameters" in cell["metadata"].get("tags", [])]
        names = {line.split(" = ")[0] for line in parameters["source"]}
        assert names >= {each.replace(".", "_") for each in given}
        code = "".join(line for cell in cells for line in cell["source"])
        shown += re.findall(r'report\.figure\(data, "(\w+)"\)', code)
    assert sorted(shown) == sorted(FIGURES)


def test_a_notebook_opened_in_its_place_tells_commands_that_measure_into_its_results_from_anywhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(notebooks_dir())
    for name in ("decision", "measurements"):
        cells = json.loads((notebooks_dir() / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]
        (parameters,) = [cell for cell in cells if "parameters" in cell["metadata"].get("tags", [])]
        set_here: dict[str, Any] = {}
        exec("".join(parameters["source"]), set_here)
        assert set_here["results"] == str(notebooks_dir().parent / "results")


def test_figures_are_written_in_each_format_a_comparisons_too(tmp_path: Path) -> None:
    data = read(stored(tmp_path, run_row()))
    pair = Comparison("a → b", "p95_ms", 3.0, 6.0, 2.0, 1.8, 2.2, "changed", "")
    files = write_figures(data, tmp_path, ["png", "svg"], compared=[pair])
    assert {file.name for file in files} == {
        f"{name}.{kind}" for name in (*FIGURES, "ratios") for kind in ("png", "svg")
    }
    assert all(file.stat().st_size > 1000 for file in files)
    assert write_figures(data, tmp_path, []) == []
    with pytest.raises(BadInputError, match="pareto"):
        figure(data, "paretto")
