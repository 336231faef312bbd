"""Paths as they are typed, and what is told of those that name no file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness.errors import BadInputError
from harness.paths import file_stat, typed_path


def test_a_tilde_is_a_home_directory_and_one_of_nobody_is_bad_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert typed_path("~/models") == Path("/home/me/models")
    with pytest.raises(BadInputError, match=r"^~nobody-of-this-name is nobody's home; give the path"):
        typed_path("~nobody-of-this-name/x")


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("nothing", "No such file or directory"),
        ("folder", "a directory"),
        ("pipe", "no regular file"),
        ("x" * 300, "File name too long"),
    ],
)
def test_what_is_no_file_is_told_with_what_to_give(tmp_path: Path, name: str, why: str) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BadInputError) as caught:
        file_stat(tmp_path / name, told="path=X", give="path=FILE.onnx")
    assert caught.value.problems == (f"path=X: {why}; give path=FILE.onnx",)


def test_a_file_tells_its_size(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    assert file_stat(tmp_path / "file", told="a file").st_size == 3
