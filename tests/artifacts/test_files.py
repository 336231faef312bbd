"""A model's files by themselves: what is read of them, and one line on each thing that is wrong with one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from safetensors.numpy import save_file

from harness.artifacts.files import read_json, read_shapes, read_tokenizer, require_file, require_rows
from harness.errors import BadInputError
from tests.artifacts.test_build import tiny_bert

if TYPE_CHECKING:
    from pathlib import Path

ANEW = "save the model anew, or give the file that it was saved with"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b'{"a": 1,\n}', f"a.json is no valid JSON, at line 2, column 1; {ANEW}"),
        (b"", f"a.json is no valid JSON, at line 1, column 1; {ANEW}"),
        (b'{"a": "\xe9"}', f"a.json is no UTF-8 text, at byte 7; {ANEW}"),
        (b"[" * 100_000, f"a.json is no valid JSON; {ANEW}"),
        (b"9" * 10_000, f"a.json is no valid JSON; {ANEW}"),
        (None, "a.json: Is a directory; give a readable file"),
    ],
    ids=["a comma", "empty", "Latin-1", "nested without end", "a number without end", "a directory"],
)
def test_json_that_cannot_be_read_is_told_with_the_place(
    tmp_path: Path, content: bytes | None, told: str
) -> None:
    if content is None:
        (tmp_path / "a.json").mkdir()
    else:
        (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(BadInputError) as caught:
        read_json(tmp_path, "a.json")
    assert caught.value.problems == (told,)


def test_the_shapes_of_weights_are_read_without_them(tmp_path: Path) -> None:
    tensors = {"a.weight": np.zeros((3, 4), np.float16), "b": np.zeros(5, np.float32)}
    save_file(tensors, tmp_path / "w.safetensors", metadata={"format": "pt"})
    assert read_shapes(tmp_path, "w.safetensors") == {"a.weight": (3, 4), "b": (5,)}


@pytest.mark.parametrize(
    ("size", "told"),
    [
        (0, "no safetensors file, or is cut short; copy or save it anew"),
        (5, "no safetensors file, or is cut short"),
        (60, "no safetensors file, or is cut short"),
        (-1, "bytes, its header tells "),
        (1, "bytes, its header tells "),
    ],
)
def test_weights_that_are_cut_short_or_run_on_are_told(tmp_path: Path, size: int, told: str) -> None:
    save_file({"a": np.zeros((3, 4), np.float32)}, tmp_path / "w.safetensors")
    whole = (tmp_path / "w.safetensors").read_bytes()
    content = whole + b"x" if size == 1 else whole[: size or None] if size else b""
    (tmp_path / "w.safetensors").write_bytes(content)
    with pytest.raises(BadInputError, match=rf"^w\.safetensors (is|has {len(content)}) {told}"):
        read_shapes(tmp_path, "w.safetensors")


@pytest.mark.parametrize(
    "header", [{"a": 1}, {"a": {"shape": [2]}}, [1], {"a": {"shape": "x", "data_offsets": [0, 1]}}]
)
def test_a_header_that_is_none_is_told(tmp_path: Path, header: object) -> None:
    text = json.dumps(header).encode()
    (tmp_path / "w.safetensors").write_bytes(len(text).to_bytes(8, "little") + text)
    with pytest.raises(BadInputError, match="is no safetensors file"):
        read_shapes(tmp_path, "w.safetensors")


def test_a_pointer_of_git_lfs_is_no_file_of_a_model(tmp_path: Path) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 90868376\n"
    (tmp_path / "w.safetensors").write_text(pointer, encoding="utf-8")
    with pytest.raises(BadInputError, match=r"^w\.safetensors is a Git LFS pointer.*; fetch that with git"):
        require_file(tmp_path, "w.safetensors")


@pytest.mark.parametrize("content", ["{}", "", '{"model": 1}', '{"version": "1.0", "model": {"type": "X"}}'])
def test_a_tokenizer_that_is_none_is_told_with_its_file(tmp_path: Path, content: str) -> None:
    (tmp_path / "tokenizer.json").write_text(content, encoding="utf-8")
    with pytest.raises(BadInputError, match=rf"^tokenizer\.json holds no tokenizer \(.+\); {ANEW}$"):
        read_tokenizer(tmp_path)


def test_every_id_of_a_tokenizer_has_a_row_or_is_told(tmp_path: Path) -> None:
    tokenizer = read_tokenizer(tiny_bert(tmp_path / "model"))
    require_rows(tokenizer, 61)
    require_rows(tokenizer, None)
    with pytest.raises(BadInputError, match=r"^tokenizer\.json gives ids up to 60, the embedding table has"):
        require_rows(tokenizer, 60)
