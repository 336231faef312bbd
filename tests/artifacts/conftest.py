"""Fixtures: a hub on this machine for this process's client, and a small real graph."""

from __future__ import annotations

import json
import shutil
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest

from harness.artifacts.cache import Recipe
from harness.config import load_precision
from harness.provider import prepare_artifact
from harness.schema import ModelConfig
from tests.artifacts import tiny
from tests.artifacts.building import build_here, quietly
from tests.artifacts.test_build import tiny_bert
from tests.conftest import made_once

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from harness.artifacts.manifest import Artifact


@pytest.fixture(scope="module")
def built_here() -> Iterator[None]:
    """Artifacts are built within this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("harness.artifacts.cache.run_build", build_here)
        yield


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real export of a tiny BERT: a folder with ``model.onnx``, its tokenizer and its config."""

    def export(root: Path) -> None:
        folder = tiny_bert(root / "weights")
        with quietly():
            from optimum.exporters.onnx import onnx_export_from_model
            from transformers import AutoModel

            model = AutoModel.from_pretrained(folder, use_safetensors=True).eval()
            task = "feature-extraction"
            onnx_export_from_model(model, root / "graph", task=task, opset=18, do_validation=False)
        for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
            (root / "graph" / name).write_bytes((folder / name).read_bytes())

    return made_once(tmp_path_factory, "exported", export) / "graph"


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """Point this process's hub client at an address, with a cache of its own.

    The client reads its environment when it is imported, so that its constants are what is set.
    """
    import huggingface_hub
    from huggingface_hub import constants, file_download
    from huggingface_hub.utils import reset_sessions

    huggingface_hub.utils.disable_progress_bars()
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "own"))

    def point(url: str, *, offline: bool = False) -> None:
        template = url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "ENDPOINT", url)
        for module in (constants, file_download):  # the second has a copy of it
            monkeypatch.setattr(module, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub cache"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
        monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 4096)  # what it keeps of a broken download
        reset_sessions()

    return point


def as_sentence_transformer(folder: Path, *modules: str, **files: Any) -> Path:
    """Write the files of sentence-transformers into a model's folder.

    Args:
        folder: of the model.
        modules: class names after Transformer; each has the folder ``<place>_<name>``.
        files: contents by file name, without ``.json``, ``__`` for the slash.
    """
    listed = [{"type": "sentence_transformers.models.Transformer", "path": ""}]
    for place, name in enumerate(modules, start=1):
        kind = name if "." in name else f"sentence_transformers.models.{name}"
        listed.append({"type": kind, "path": f"{place}_{name.rpartition('.')[2]}"})
    entries = [{"idx": i, "name": str(i), **entry} for i, entry in enumerate(listed)]
    write(folder / "modules.json", entries)
    for name, content in files.items():
        write(folder / f"{name.replace('__', '/')}.json", content)
    return folder


def write(path: Path, content: Any) -> None:
    """Write JSON, its folder created."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


@pytest.fixture(scope="session")
def tinies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `tests.artifacts.tiny` writes."""
    means = {"word_embedding_dimension": tiny.HIDDEN, "pooling_mode_mean_tokens": True}

    def write_tinies(root: Path) -> None:
        folder = tiny_bert(root / "declares mean")
        as_sentence_transformer(folder, "Pooling", "Normalize", **{"1_Pooling__config": means})
        (folder / "2_Normalize").mkdir()
        with quietly():
            tiny.main(root)

    return made_once(tmp_path_factory, "tinies", write_tinies)


@pytest.fixture(scope="session")
def told(tinies: Path) -> dict[str, Any]:
    """What `tests.artifacts.tiny` found out."""
    found: dict[str, Any] = json.loads((tinies / "told.json").read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="session")
def twins(
    tinies: Path, told: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str, str], Artifact]:
    """The artifact of a tiny twin, ``bert`` or ``qwen3``, at a precision; converted in this process."""

    def run_build(request: dict[str, Any], **_: Any) -> dict[str, Any]:
        if "base" in request:
            return build_here(request)
        name = request["twin"]["name"].removeprefix("tiny-")
        shutil.copytree(tinies / name, request["target"], dirs_exist_ok=True)
        known: dict[str, Any] = told["built"][name]
        return known

    root = tmp_path_factory.mktemp("twins")

    @cache
    def artifact(name: str, precision: str) -> Artifact:
        model = ModelConfig.model_validate(tiny.facts(name))
        recipe = Recipe(model, load_precision(precision), "onnxruntime")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("harness.artifacts.cache.run_build", run_build)
            return prepare_artifact(recipe, tell=lambda *_: None, root=root)

    return artifact
