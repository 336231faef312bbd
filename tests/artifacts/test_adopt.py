"""A graph that somebody exported gives the vectors that the same weights give through a build of our own."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from harness.artifacts.adopt import REFERENCE_BY, adopt, adopt_published
from harness.artifacts.cache import Recipe
from harness.artifacts.manifest import file_sha256
from harness.config import load_model, load_precision, validate
from harness.errors import BadInputError, ModelUnavailableError
from harness.provider import EmbeddingProvider, prepare_artifact
from harness.runtimes.base import SessionOptions
from harness.stats import cosines
from harness.texts import quality_texts
from tests.artifacts.conftest import as_sentence_transformer, write
from tests.artifacts.graphs import IDS, INT64, node, numbers, port
from tests.artifacts.test_build import HIDDEN, TEXTS, tiny_bert
from tests.conftest import raw_config
from tests.hub import COMMIT, serving

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from harness.artifacts.manifest import Artifact

pytestmark = pytest.mark.usefixtures("built_here")

DIM = 16
CUT = 8  # what sentence-transformers cuts its vectors to
MEAN = {"word_embedding_dimension": HIDDEN, "pooling_mode_mean_tokens": True}
DENSE = {
    "in_features": HIDDEN,
    "out_features": DIM,
    "bias": True,
    "activation_function": "torch.nn.modules.activation.Tanh",
}
PROMPT = "the fox "


def with_modules(folder: Path) -> Path:
    """A model with a Dense layer of known weights, a default prompt and a length, which cuts beginnings."""
    rng = np.random.default_rng(11)
    told = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    write(folder / "tokenizer_config.json", told | {"truncation_side": "left"})
    as_sentence_transformer(
        folder,
        "Pooling",
        "Dense",
        "Normalize",
        **{
            "1_Pooling__config": MEAN,
            "2_Dense__config": DENSE,
            "sentence_bert_config": {"max_seq_length": 20},
            "config_sentence_transformers": {
                "prompts": {"p": PROMPT},
                "default_prompt_name": "p",
                "truncate_dim": CUT,
            },
        },
    )
    weights = {
        "linear.weight": rng.normal(0, 0.5, (DIM, HIDDEN)).astype(np.float32),
        "linear.bias": rng.normal(0, 0.5, DIM).astype(np.float32),
    }
    save_file(weights, folder / "2_Dense" / "model.safetensors", metadata={"format": "pt"})
    return folder


def recipe_of(folder: Path) -> Recipe:
    """``model=custom model.path=DIR``, nothing else said."""
    raw = raw_config(model="custom")
    raw["model"]["path"] = str(folder)
    return Recipe(validate(raw).model, load_precision("fp32"), "onnxruntime")


def built(folder: Path, root: Path) -> Artifact:
    """The artifact of a user's own folder."""
    return prepare_artifact(recipe_of(folder), tell=lambda *_: None, root=root)


@pytest.fixture(scope="module")
def artifacts(
    built_here: None, exported: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Artifact]:
    """The same model from its weights and from somebody's export of them."""
    root = tmp_path_factory.mktemp("adopt")
    weights = with_modules(tiny_bert(root / "weights"))
    graph = with_modules(shutil.copytree(exported, root / "graph"))
    return {"weights": built(weights, root / "cache"), "graph": built(graph, root / "cache")}


@pytest.mark.parametrize("batch_size", [1, 32])
def test_a_model_with_a_dense_layer_gives_sentence_transformers_own_vectors(
    artifacts: dict[str, Artifact], batch_size: int
) -> None:
    artifact = artifacts["weights"]
    assert artifact.manifest.reference_by == "sentence-transformers, by the model's own modules"
    provider = EmbeddingProvider.open(artifact, "onnxruntime", SessionOptions())
    found = provider.encode(quality_texts(), batch_size=batch_size)
    assert found.shape == (len(quality_texts()), CUT)
    assert cosines(found, artifact.reference()).min() >= 1 - 1e-5


@pytest.mark.parametrize("batch_size", [1, 32])
def test_a_graph_somebody_exported_gives_the_vectors_of_its_weights(
    artifacts: dict[str, Artifact], batch_size: int
) -> None:
    weights, graph = (
        EmbeddingProvider.open(artifacts[name], "onnxruntime", SessionOptions())
        for name in ("weights", "graph")
    )
    found = graph.encode(TEXTS, batch_size=batch_size)
    assert cosines(found, weights.encode(TEXTS)).min() >= 1 - 1e-5
    assert cosines(artifacts["graph"].reference(), artifacts["weights"].reference()).min() >= 1 - 1e-5


def test_a_model_whose_tokenizer_adds_no_token_gives_an_empty_text_a_vector_alone_and_in_a_batch(
    exported: Path, tmp_path: Path
) -> None:
    folder = with_modules(shutil.copytree(exported, tmp_path / "bare"))
    told = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    write(folder / "tokenizer.json", told | {"post_processor": None})
    write(folder / "config_sentence_transformers.json", {})
    artifact = built(folder, tmp_path / "cache")
    provider = EmbeddingProvider.open(artifact, "onnxruntime", SessionOptions())
    alone, together = (provider.encode(["", "the fox"], batch_size=size) for size in (1, 2))
    np.testing.assert_allclose(np.linalg.norm(alone, axis=1), 1.0, atol=1e-5)
    assert cosines(alone, together).min() >= 1 - 1e-5


def test_what_vouches_for_an_adopted_graph_is_not_made_to_look_like_more(
    artifacts: dict[str, Artifact],
) -> None:
    graph, weights = artifacts["graph"].manifest, artifacts["weights"].manifest
    assert graph.reference_by == REFERENCE_BY
    assert "torch" not in graph.exporter
    assert (graph.dim, graph.pooling, graph.max_length, graph.normalize) == (CUT, "mean", 20, True)
    assert graph.prompts["default"] == weights.prompts["default"] == PROMPT
    assert {"model.onnx", "2_Dense/model.safetensors"} <= set(graph.source_files)
    assert (graph.pad_id, graph.pad_token) == (weights.pad_id, weights.pad_token)


def test_a_model_from_the_hub_is_recorded_as_unpinned_and_needs_no_network_ever_again(
    exported: Path, tmp_path: Path, client: Callable[..., None]
) -> None:
    repository = with_modules(shutil.copytree(exported, tmp_path / "repository"))
    words = {"id": "org/own", "sources": [{"kind": "hub_onnx", "files": {"fp32": "model.onnx"}}]}

    def prepared() -> Artifact:
        raw = raw_config(model="custom")
        raw["model"] |= words
        recipe = Recipe(validate(raw).model, load_precision("fp32"), "onnxruntime")
        return prepare_artifact(recipe, tell=lambda *_: None)

    with serving({"org/own": repository}) as hub:
        client(hub.url)
        first = prepared()
    manifest = first.manifest
    assert (manifest.model_id, manifest.revision, manifest.revision_pinned) == ("org/own", COMMIT, False)
    assert manifest.source == f"hub org/own at {COMMIT[:12]} (unpinned), model.onnx"
    client(hub.url)  # nobody listens there any more
    assert prepared() == first
    client(hub.url, offline=True)
    assert prepared() == first


@pytest.fixture(scope="module")
def published(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with the fp32 export, and with what a publisher makes of it in 16 and in 8 bits."""
    import onnx
    from onnxruntime.quantization import quantize_dynamic
    from onnxruntime.transformers.float16 import convert_float_to_float16

    folder = with_modules(shutil.copytree(exported, tmp_path_factory.mktemp("published") / "model"))
    quantize_dynamic(folder / "model.onnx", folder / "model_quantized.onnx")
    onnx.save(convert_float_to_float16(onnx.load(folder / "model.onnx")), folder / "model_fp16.onnx")
    return folder


def published_recipe(folder: Path, precision: str, file: str | None) -> Recipe:
    """``model=custom model.path=DIR precision=… precision.file=…``."""
    raw = raw_config(model="custom", precision=precision)
    raw["model"]["path"] = str(folder)
    raw["precision"]["file"] = file
    config = validate(raw)
    return Recipe(config.model, config.precision, "onnxruntime")


@pytest.mark.parametrize(
    ("precision", "file", "operator"),
    [
        ("int8-published", "model_quantized.onnx", "MatMulInteger"),
        ("fp16-published", "model_fp16.onnx", "Cast"),
    ],
)
def test_a_published_graph_is_taken_as_it_is_pooled_and_held_against_the_fp32_one(
    published: Path, tmp_path: Path, precision: str, file: str, operator: str
) -> None:
    import onnx

    base = built(published, tmp_path)
    recipe = published_recipe(published, precision, file)
    artifact = prepare_artifact(recipe, tell=lambda *_: None, root=tmp_path)
    manifest, graph = artifact.manifest, onnx.load(artifact.graph).graph
    assert manifest.base_sha256 == base.sha256
    assert manifest.source == f"local model, {file}"
    assert manifest.source_files[file] == file_sha256(published / file)
    assert operator in {node.op_type for node in graph.node}
    assert graph.output[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    np.testing.assert_array_equal(artifact.reference(), base.reference())
    provider = EmbeddingProvider.open(artifact, "onnxruntime", SessionOptions())
    found = provider.encode(TEXTS)
    assert found.shape == (len(TEXTS), CUT), "its Dense layer is applied"
    expected = EmbeddingProvider.open(base, "onnxruntime", SessionOptions()).encode(TEXTS)
    assert 0.95 < cosines(found, expected).min() < 1
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1.0, atol=1e-5)


def test_another_file_under_the_same_name_is_another_artifact(published: Path, tmp_path: Path) -> None:
    import onnx

    folder = shutil.copytree(published, tmp_path / "model")
    recipe = published_recipe(folder, "int8-published", "model_quantized.onnx")
    before = recipe.sha256
    graph = onnx.load(folder / "model_quantized.onnx")
    graph.doc_string = "another one"
    onnx.save(graph, folder / "model_quantized.onnx")
    assert recipe.sha256 != before


@pytest.mark.parametrize(
    ("file", "said"),
    [
        (None, "which file of model.path=.* it is, is not said; give precision.file=FILE"),
        ("nothing.onnx", r"nothing\.onnx: no such file; give one that is there"),
        ("tokenizer.json", r"tokenizer\.json: tokenizer\.json is no ONNX graph"),
        ("model.onnx", r"model\.onnx: it is no graph of precision=int8-published: nothing in it is lower"),
        ("model_fp16.onnx", r"model_fp16\.onnx: it is no graph of precision=int8-published: it has fp16"),
    ],
)
def test_a_published_file_that_cannot_be_used_is_told_before_anything_is_built(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str | None, said: str
) -> None:
    monkeypatch.setattr("harness.artifacts.cache.run_build", lambda *_, **__: pytest.fail("it was started"))
    with pytest.raises(BadInputError, match=said):
        prepare_artifact(
            published_recipe(published, "int8-published", file), tell=lambda *_: None, root=tmp_path
        )


def test_nobody_publishes_random_weights(tmp_path: Path) -> None:
    model = load_model("minilm").model_copy(update={"weights": "random"})
    recipe = Recipe(model, load_precision("int8-published"), "onnxruntime")
    with pytest.raises(ModelUnavailableError, match="nobody publishes random weights"):
        prepare_artifact(recipe, tell=lambda *_: None, root=tmp_path)


def test_a_graph_whose_tokenizer_knows_more_tokens_than_its_table_is_refused(
    exported: Path, tmp_path: Path
) -> None:
    folder = with_modules(shutil.copytree(exported, tmp_path / "model"))
    shutil.copy(tiny_bert(tmp_path / "more", extra_tokens=5) / "tokenizer.json", folder / "tokenizer.json")
    with pytest.raises(BadInputError, match="gives ids up to 65, the embedding table has 61 rows"):
        built(folder, tmp_path / "cache")


def test_a_declared_pooling_that_the_graph_s_folder_contradicts_is_refused(
    exported: Path, tmp_path: Path
) -> None:
    folder = with_modules(shutil.copytree(exported, tmp_path / "model"))
    raw = raw_config(model="custom")
    raw["model"] |= {"path": str(folder), "pooling": "cls"}
    with pytest.raises(BadInputError, match=r'model\.pooling="cls": 1_Pooling/config\.json says "mean"'):
        validate(raw)


def test_a_graph_that_a_text_cannot_feed_is_refused_before_a_build_is_started(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnx

    folder = with_modules(shutil.copytree(exported, tmp_path / "model"))
    graph = onnx.load(folder / "model.onnx")
    for name in ("past_key_values.0.key", "past_key_values.0.value"):
        graph.graph.input.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["b", 1]))
    onnx.save(graph, folder / "model.onnx")
    monkeypatch.setattr("harness.artifacts.cache.run_build", lambda *_, **__: pytest.fail("it was started"))
    with pytest.raises(BadInputError, match=r"model\.onnx: a causal-LM export: it wants past_key_values\.0"):
        built(folder, tmp_path / "cache")


ANGLES = {
    "hidden_size": 3072,
    "num_attention_heads": 32,
    "rope_scaling": {"type": "longrope", "short_factor": [1.0] * 48, "long_factor": [4.0] * 48},
    "max_position_embeddings": 64,
    "original_max_position_embeddings": 16,
}


@pytest.mark.parametrize(
    ("config", "max_length", "told"),
    [
        (ANGLES | {"model_type": "phi3"}, 20, r"rope_type=longrope: .* give model\.max_length=16, or"),
        (ANGLES | {"model_type": "zork"}, 20, r"rope_type=longrope: .* give model\.max_length=16, or"),
        # block_sparse is its default
        ({"model_type": "big_bird", "block_size": 1}, 20, r"block_sparse: .* give model\.max_length=11, or"),
        ({}, 65, r"^model\.onnx: .* places for 64 tokens, texts may have 65; give model\.max_length=64$"),
    ],
    ids=["angles", "angles of an unknown model", "attention", "places"],
)
def test_texts_that_a_graph_does_not_compute_as_the_model_does_are_refused(
    exported: Path, tmp_path: Path, config: dict[str, Any], max_length: int, told: str
) -> None:
    folder = shutil.copytree(exported, tmp_path / "graph")
    write(folder / "config.json", config)
    request = {"source": str(folder), "target": str(tmp_path), "graph": "model.onnx"}
    with pytest.raises(BadInputError, match=told):
        adopt(request | {"max_length": max_length}, lambda _: None)


def test_a_graph_that_wants_positions_which_its_architecture_counts_otherwise_is_refused(
    exported: Path, tmp_path: Path
) -> None:
    import onnx

    folder = shutil.copytree(exported, tmp_path / "graph")
    graph = onnx.load(folder / "model.onnx")
    graph.graph.input.append(port("position_ids", IDS, INT64))
    onnx.save(graph, folder / "model.onnx")
    write(folder / "config.json", {"model_type": "xlm-roberta"})
    request = {"source": str(folder), "target": str(tmp_path), "graph": "model.onnx", "max_length": 20}
    told = r"^model\.onnx: it wants position_ids, .* model_type=xlm-roberta, .*; export it without that input"
    with pytest.raises(BadInputError, match=told):
        adopt(request, lambda _: None)


def test_a_graph_whose_tokenizer_gives_types_that_it_would_not_be_fed_is_refused(
    exported: Path, tmp_path: Path
) -> None:
    """Its reference is the graph itself, fed types of 0 as well: parity would see nothing."""
    folder = shutil.copytree(exported, tmp_path / "graph")
    told = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    told["post_processor"]["single"][-1]["SpecialToken"]["type_id"] = 1
    write(folder / "tokenizer.json", told)
    request = {"source": str(folder), "target": str(tmp_path), "graph": "model.onnx", "max_length": 20}
    request |= {"truncation_side": None, "lower_case": False}
    with pytest.raises(
        BadInputError, match=r"^tokenizer\.json gives tokens types other than 0, which model\."
    ):
        adopt(request, lambda _: None)


def test_a_graph_as_sentence_transformers_exports_it_gives_the_vectors_of_its_tokens_pooled(
    exported: Path, tmp_path: Path
) -> None:
    """It has a pooled vector of the name that is added here."""
    import onnx

    folder = shutil.copytree(exported, tmp_path / "graph")
    graph = onnx.load(folder / "model.onnx")
    request = {"source": str(folder), "target": str(tmp_path), "graph": "model.onnx", "precision": "own"}
    request |= {"pooling": "mean", "normalize": True, "dim": HIDDEN, "truncate_dim": None, "dense": []}
    graph.graph.initializer.append(numbers("first", 0))
    graph.graph.node.append(node("Gather", "last_hidden_state first", "sentence_embedding", axis=1))
    graph.graph.node.append(node("Cast", "sentence_embedding", "half", to=onnx.TensorProto.FLOAT16))
    graph.graph.output.append(port("sentence_embedding", None))
    onnx.save(graph, folder / "model.onnx")
    adopt_published(request)
    names = [value.name for value in onnx.load(tmp_path / "model.onnx").graph.output]
    assert names == ["sentence_embedding"]


@pytest.mark.parametrize(
    ("opset", "told"), [(10, "the graph's opset is 10: mean pooling needs 11"), (18, "topologically sorted")]
)
def test_a_graph_that_pooling_cannot_be_added_to_is_told(
    exported: Path, tmp_path: Path, opset: int, told: str
) -> None:
    import onnx

    folder = shutil.copytree(exported, tmp_path / "graph")
    graph = onnx.load(folder / "model.onnx")
    graph.opset_import[0].version = opset
    graph.graph.node.append(node("Cast", "input_ids", "half", to=onnx.TensorProto.FLOAT16))
    nodes = list(graph.graph.node)
    del graph.graph.node[:]
    graph.graph.node.extend(nodes[::-1])
    onnx.save(graph, folder / "model.onnx")
    request = {"source": str(folder), "target": str(tmp_path), "graph": "model.onnx", "precision": "own"}
    request |= {"pooling": "mean", "normalize": True, "dim": HIDDEN, "truncate_dim": None, "dense": []}
    with pytest.raises(BadInputError, match=rf"^model\.onnx cannot be used \(.*{told}.*\); save"):
        adopt_published(request)


def test_only_the_graph_says_how_many_dimensions_a_folder_without_a_config_has(
    exported: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(exported, tmp_path / "model")
    (folder / "config.json").unlink()
    raw = raw_config(model="custom")
    raw["model"] |= {"path": str(folder), "pooling": "mean", "max_length": 48, "normalize": True}
    assert validate(raw).model.dim == HIDDEN
    write(folder / "config.json", {"hidden_size": 33})
    with pytest.raises(BadInputError, match=r"config\.json says vectors of 33 dimensions, model\.onnx gives"):
        validate(raw)
