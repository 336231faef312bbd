"""A manifest vouches for every byte of an artifact, its own included."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from harness.artifacts.manifest import (
    FORMAT_VERSION,
    GRAPH,
    MANIFEST,
    REFERENCE,
    TOKENIZER,
    VERIFICATION,
    Artifact,
    Manifest,
    file_sha256,
    problems_of,
    read_artifact,
)
from harness.errors import ArtifactError

if TYPE_CHECKING:
    from pathlib import Path

CONTENTS = {GRAPH: b"graph" * 100, TOKENIZER: b"{}", REFERENCE: b"r" * 64, VERIFICATION: b"v" * 32}


def manifest(**changes: Any) -> Manifest:
    """A manifest whose every field has a value that is not its type's default."""
    values: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "model": "minilm",
        "model_id": "org/minilm",
        "revision": "abc",
        "revision_pinned": True,
        "weights": "trained",
        "architecture": "bert",
        "precision": "int8",
        "precision_settings": {"method": "dynamic_int8", "reduce_range": False},
        "base_sha256": "b" * 64,
        "source": "hub org/minilm at abc",
        "source_files": {"config.json": "0" * 64},
        "exporter": {"onnx": "1.17"},
        "opset": 18,
        "pooling": "mean",
        "pooling_in_graph": True,
        "normalize": True,
        "dim": 384,
        "truncated": True,
        "max_length": 256,
        "params": 22_713_216,
        "prompts": {"default": "", "query": "requête : ", "document": "文書: "},
        "pad_id": 1,
        "pad_token": "[PAD]",
        "texts_sha256": "f" * 64,
        "reference_by": "sentence-transformers",
        "files": {},
    }
    return Manifest(**(values | changes))


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    for name, content in CONTENTS.items():
        (tmp_path / name).write_bytes(content)
    written = manifest(files={name: file_sha256(tmp_path / name) for name in CONTENTS})
    (tmp_path / MANIFEST).write_text(written.to_json(), encoding="utf-8")
    return Artifact(tmp_path, written)


def test_a_manifest_reads_back_as_it_was_written(artifact: Artifact) -> None:
    found = read_artifact(artifact.path)
    assert found == artifact
    assert found.sha256 == artifact.sha256
    assert problems_of(found) == []


def test_the_same_manifest_is_the_same_bytes_whatever_the_order_of_its_keys() -> None:
    one = manifest(exporter={"onnx": "1.17", "torch": "2.6"})
    other = manifest(exporter={"torch": "2.6", "onnx": "1.17"})
    assert one.to_json() == other.to_json()
    assert one.sha256 == other.sha256


@pytest.mark.parametrize("name", [field.name for field in fields(Manifest)])
def test_every_field_is_part_of_the_artifact_s_name(name: str) -> None:
    changed = replace(manifest(), **{name: "something else"})
    assert changed.sha256 != manifest().sha256


def test_one_flipped_bit_anywhere_in_the_manifest_is_noticed(artifact: Artifact) -> None:
    path = artifact.path / MANIFEST
    whole = path.read_bytes()
    unnoticed = []
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << position % 8
        path.write_bytes(damaged)
        try:
            found = read_artifact(artifact.path)
        except ArtifactError:
            continue
        if found.sha256 == artifact.sha256:
            unnoticed.append(position)
    assert unnoticed == []


@pytest.mark.parametrize("name", CONTENTS)
def test_a_changed_byte_is_a_problem_that_names_its_file(artifact: Artifact, name: str) -> None:
    path = artifact.path / name
    path.write_bytes(path.read_bytes()[:-1] + b"\x00")
    (problem,) = problems_of(artifact)
    assert problem.startswith(f"{name}: sha256 {file_sha256(path)[:12]}")
    assert artifact.manifest.files[name][:12] in problem


def test_a_missing_file_is_a_problem_that_names_it(artifact: Artifact) -> None:
    artifact.graph.unlink()
    assert problems_of(artifact) == [f"{GRAPH}: No such file or directory"]


def test_every_problem_is_told_not_only_the_first(artifact: Artifact) -> None:
    artifact.graph.unlink()
    artifact.tokenizer.write_bytes(b"")
    assert [problem.split(":")[0] for problem in problems_of(artifact)] == [GRAPH, TOKENIZER]


def test_the_size_is_what_a_deployment_needs_without_the_reference_vectors(artifact: Artifact) -> None:
    assert artifact.bytes == len(CONTENTS[GRAPH]) + len(CONTENTS[TOKENIZER])


def test_the_reference_vectors_are_read_as_they_were_saved(artifact: Artifact) -> None:
    vectors = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.save(artifact.path / REFERENCE, vectors)
    np.save(artifact.path / VERIFICATION, vectors + 1)
    np.testing.assert_array_equal(artifact.reference(), vectors)
    np.testing.assert_array_equal(artifact.verification(), vectors + 1)


def test_a_pickled_reference_is_refused_because_it_would_run_code(artifact: Artifact) -> None:
    np.save(artifact.path / REFERENCE, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="allow_pickle"):
        artifact.reference()


def _without(key: str) -> str:
    raw = json.loads(manifest().to_json())
    del raw[key]
    return json.dumps(raw)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param("", id="empty"),
        pytest.param("{", id="cut off"),
        pytest.param("[]", id="a list"),
        pytest.param("null", id="null"),
        pytest.param("{}", id="no fields"),
        pytest.param(_without("pooling"), id="a field missing"),
        pytest.param(manifest().to_json().replace('"dim"', '"dimm"'), id="an unknown field"),
    ],
)
def test_an_unreadable_manifest_is_an_artifact_error_that_names_the_folder(
    tmp_path: Path, content: str
) -> None:
    (tmp_path / MANIFEST).write_text(content, encoding="utf-8")
    with pytest.raises(ArtifactError, match="holds no readable artifact") as caught:
        read_artifact(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_without_a_manifest_is_an_artifact_error(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="holds no readable artifact"):
        read_artifact(tmp_path / "nothing")
