"""A build that does not fit is told before it starts, with the numbers."""

from __future__ import annotations

import shutil
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from harness.artifacts import room
from harness.artifacts.cache import Recipe, prepare
from harness.artifacts.room import available_bytes, require_room, weights_bytes
from harness.config import load_model, load_precision
from harness.errors import ArtifactError, StorageError
from tests.artifacts.test_build import tiny_bert

if TYPE_CHECKING:
    from pathlib import Path

    from harness.artifacts.manifest import Artifact

GB = 10**9
QWEN3_BYTES = 595_776_512 * 4


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A machine whose available memory, container's limit and free space the test says."""
    said = SimpleNamespace(memory=64 * GB, limit=None, disk=100 * GB)
    monkeypatch.setattr(room.psutil, "virtual_memory", lambda: SimpleNamespace(available=said.memory))
    monkeypatch.setattr(room.container, "memory_free_bytes", lambda: said.limit)
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(room.shutil, "disk_usage", lambda _: usage._replace(free=said.disk))
    return said


@pytest.mark.parametrize(("weights", "seen_gb"), [(91 * 10**6, 0.93), (QWEN3_BYTES, 5.8)])
def test_the_estimate_is_what_an_export_was_seen_to_take(
    machine: SimpleNamespace, tmp_path: Path, weights: int, seen_gb: float
) -> None:
    machine.memory = round(1.05 * seen_gb * GB)
    require_room(weights, tmp_path, what="seen")
    machine.memory = round(0.95 * seen_gb * GB)
    with pytest.raises(ArtifactError, match=r"model seen cannot be built here: it takes about .* of memory"):
        require_room(weights, tmp_path, what="seen")


def test_a_container_s_limit_counts_where_it_is_less_than_the_machine_has(machine: SimpleNamespace) -> None:
    assert available_bytes() == 64 * GB
    machine.limit = 4 * GB
    assert available_bytes() == 4 * GB
    machine.memory = 2 * GB
    assert available_bytes() == 2 * GB


def test_too_little_disk_is_told_with_the_numbers(machine: SimpleNamespace, tmp_path: Path) -> None:
    machine.disk = 4 * GB
    with pytest.raises(StorageError, match=r"it takes about 4\.4 GiB and 3\.7 GiB are free"):
        require_room(QWEN3_BYTES, tmp_path, what="qwen3 fp32")


def test_weights_are_counted_as_fp32_whatever_their_file_holds(tmp_path: Path) -> None:
    import numpy as np
    from safetensors.numpy import save_file

    half = {"a": np.zeros((10, 20), np.float16), "b": np.zeros(5, np.float16)}
    save_file(half, tmp_path / "model.safetensors", metadata={"format": "pt"})
    (tmp_path / "model.onnx").write_bytes(b"0" * 1000)
    (tmp_path / "broken.safetensors").write_bytes(b"short")
    for name in ("config.json", "reference.npy", "vocab.txt"):
        (tmp_path / name).write_bytes(b"0" * 99)
    assert weights_bytes(tmp_path, ["model.safetensors", "config.json", "vocab.txt"]) == 205 * 4
    assert weights_bytes(tmp_path, ["model.onnx", "reference.npy", "broken.safetensors"]) == 1000


@pytest.mark.parametrize("of", ["a twin", "weights", "an fp32 artifact"])
def test_a_build_without_the_memory_is_refused_before_its_process_starts(
    machine: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, minilm: Artifact, of: str
) -> None:
    machine.memory = GB // 2
    monkeypatch.setattr("harness.artifacts.cache.run_build", lambda *_, **__: pytest.fail("it was started"))
    model, precision, root = load_model("qwen3"), "fp32", tmp_path / "cache"
    what, needed = "qwen3 fp32", r"5\.4 GiB"
    if of == "a twin":
        model = model.model_copy(update={"weights": "random"})
    else:
        model, what, needed = load_model("minilm"), "minilm fp32", r"89\d\.\d MiB"
    if of == "an fp32 artifact":
        shutil.copytree(minilm.path.parent.parent, root)
        precision, what = "fp16", "minilm fp16"
    expected = f"^model {what} cannot be built here: it takes about {needed} of memory and 476.8 MiB are av"
    with pytest.raises(ArtifactError, match=expected):
        prepare(
            Recipe(model, load_precision(precision), "onnxruntime"),
            check=lambda _: None,
            tell=lambda *_: None,
            root=root,
        )


def test_a_build_that_fits_is_started(
    machine: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[str] = []

    def run_build(_request: object, *, what: str, **_: object) -> None:
        started.append(what)
        raise ArtifactError("enough")

    monkeypatch.setattr("harness.artifacts.cache.run_build", run_build)
    model = load_model("minilm").model_copy(update={"path": str(tiny_bert(tmp_path / "model"))})
    with pytest.raises(ArtifactError, match="enough"):
        prepare(
            Recipe(model, load_precision("fp32"), "onnxruntime"),
            check=lambda _: None,
            tell=lambda *_: None,
            root=tmp_path / "cache",
        )
    assert started == ["minilm fp32"]
