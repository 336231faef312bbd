"""A decision's page in a pipeline's summary: appended, short enough to be shown, no reason to fail."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from harness import step_summary
from harness.errors import StorageError
from harness.step_summary import StepSummaryWarning, append_summary

if TYPE_CHECKING:
    from pathlib import Path

VARIABLE = "GITHUB_STEP_SUMMARY"


def test_the_page_is_appended_to_the_pipelines_summary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "summary.md"
    file.write_text("before\n", encoding="utf-8")
    monkeypatch.setenv(VARIABLE, str(file))
    append_summary("# GO: é\n")
    assert file.read_text(encoding="utf-8") == "before\n# GO: é\n"


def test_a_page_begins_on_a_line_of_its_own(tmp_path: Path) -> None:
    file = tmp_path / "summary.md"
    file.write_text("no line's end", encoding="utf-8")
    append_summary("# GO\n", str(file))
    append_summary("# NO_GO\n", str(file))
    assert file.read_text(encoding="utf-8") == "no line's end\n# GO\n# NO_GO\n"


def test_a_file_that_is_asked_for_comes_before_the_pipelines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "theirs"))
    append_summary("# GO\n", str(tmp_path / "mine"))
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize("value", [None, ""])
def test_without_either_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(VARIABLE, raising=False)
    if value is not None:
        monkeypatch.setenv(VARIABLE, value)
    append_summary("# GO\n")
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_written_is_a_warning_unless_it_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = str(tmp_path / "nowhere" / "summary.md")
    monkeypatch.setenv(VARIABLE, lost)
    with pytest.warns(StepSummaryWarning, match="nowhere/summary.md cannot be written: No such file"):
        append_summary("# GO\n")
    with pytest.raises(StorageError, match="give summary=FILE"):
        append_summary("# GO\n", lost)


@pytest.mark.parametrize("room", [0, 1, 60])
def test_a_summary_without_room_stays_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    """One that is over the limit is not shown at all."""
    monkeypatch.setattr(step_summary, "MOST_BYTES", 400)
    file = tmp_path / "summary.md"
    file.write_text("x" * (400 - room), encoding="utf-8")
    append_summary("# GO\n" * 100, str(file))
    assert file.stat().st_size == 400 - room


@pytest.mark.parametrize("before", ["", "before\n"])
def test_a_page_that_is_too_long_is_cut_at_a_line_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: str
) -> None:
    monkeypatch.setattr(step_summary, "MOST_BYTES", 400)
    file = tmp_path / "summary.md"
    file.write_text(before, encoding="utf-8")
    append_summary("".join(f"ligne é {n}\n" for n in range(100)), str(file))
    text = file.read_text(encoding="utf-8")
    assert 350 < len(text.encode()) <= 400
    *lines, _, _, last = text.splitlines()
    assert last.startswith("The rest is left out")
    assert all(line.startswith("ligne é ") for line in lines[1:])
