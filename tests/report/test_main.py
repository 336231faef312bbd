"""The report command: bad input is told before a kernel starts; figures are written where asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from harness.errors import BadInputError
from harness.report.__main__ import main
from harness.report.data import read
from harness.report.figures import write_figures
from tests.conftest import run_row
from tests.report.test_tables import stored

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["figures=pdf"], "png, svg"),
        (["a=x"], "both"),
        (["out=/nowhere/at/all.html"], "no such folder"),
        (["policy=defalt"], "default"),
        (["select=nothing=1"], "column"),
        (["resutls=x"], "results"),
    ],
)
def test_a_wrong_word_is_told_before_anything_is_executed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], told: str
) -> None:
    stored(tmp_path, run_row())
    monkeypatch.setattr("harness.report.__main__.execute", lambda *_a, **_k: pytest.fail("executed"))
    with pytest.raises(BadInputError, match=told):
        main([f"results={tmp_path}", *words])


def test_help_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert "python -m harness.report" in capsys.readouterr().out


def test_figures_are_written_in_each_format(tmp_path: Path) -> None:
    data = read(stored(tmp_path, run_row()))
    files = write_figures(data, tmp_path, ["png", "svg"])
    assert len(files) == 14
    assert all(file.stat().st_size > 1000 for file in files)
    assert write_figures(data, tmp_path, []) == []
