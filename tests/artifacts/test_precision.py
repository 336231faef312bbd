"""Each precision of real small graphs: the operators it must have, pooling untouched, near its base."""

from __future__ import annotations

import logging
import shutil
import warnings
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, numpy_helper

from harness.artifacts.cache import Recipe
from harness.artifacts.manifest import GRAPH, TOKENIZER, problems_of
from harness.artifacts.pooling import (
    POOLING_PREFIX,
    Dense,
    add_pooling,
    detach_pooling,
    expose_stages,
    pool,
)
from harness.artifacts.precision import derive, settings_of
from harness.artifacts.process import run_build
from harness.config import load_model, load_precision
from harness.errors import ArtifactError
from harness.measure.batching import batching_columns
from harness.provider import EmbeddingProvider
from harness.runtimes.base import SessionOptions, Tokens
from harness.stats import cosines
from tests.artifacts.graphs import IDS, INT64, model, node, numbers, port, saved
from tests.artifacts.test_graphs import with_function
from tests.artifacts.tiny import HIDDEN, TEXTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray
    from onnx import ModelProto, NodeProto

    from harness.artifacts.manifest import Artifact

    Twins = Callable[[str, str], Artifact]

DERIVED = ("fp32-fused", "fp16", "int8", "int8-weights", "int4-weights")
FAMILIES = ("bert", "qwen3")
# Operators with how many there must be, of two layers.
OPERATORS = {
    ("bert", "fp32-fused"): {"Attention": 2, "SkipLayerNormalization": 4, "BiasGelu": 2},
    ("qwen3", "fp32-fused"): {"SkipSimplifiedLayerNormalization": 4, "RotaryEmbedding": 4},
    ("bert", "fp16"): {"MatMul": 17, "Attention": 0},
    ("qwen3", "fp16"): {"MatMul": 19, "RotaryEmbedding": 0},
    ("bert", "int8"): {"QAttention": 2, "MatMulInteger": 6, "DynamicQuantizeLinear": 8},
    ("qwen3", "int8"): {"MatMulInteger": 14, "DynamicQuantizeLinear": 8},
    ("bert", "int8-weights"): {"MatMulNBits": 12, "DynamicQuantizeLinear": 0, "Attention": 0},
    ("qwen3", "int8-weights"): {"MatMulNBits": 14, "DynamicQuantizeLinear": 0},
    ("bert", "int4-weights"): {"MatMulNBits": 12, "DynamicQuantizeLinear": 0, "Attention": 0},
    ("qwen3", "int4-weights"): {"MatMulNBits": 14, "DynamicQuantizeLinear": 0},
}


def provider(artifact: Artifact) -> EmbeddingProvider:
    return EmbeddingProvider.open(artifact, "onnxruntime", SessionOptions(threads=1))


def pooling_of(graph: ModelProto) -> tuple[list[str], dict[str, int]]:
    """The pooling's nodes, and its constants with their types."""
    nodes = [
        f"{node.op_type} {node.name}" for node in graph.graph.node if node.name.startswith(POOLING_PREFIX)
    ]
    constants = {t.name: t.data_type for t in graph.graph.initializer if t.name.startswith(POOLING_PREFIX)}
    return sorted(nodes), constants


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("precision", DERIVED)
def test_a_precision_has_its_operators_and_leaves_the_pooling_as_it_was(
    twins: Twins, family: str, precision: str
) -> None:
    base, graph = (onnx.load(twins(family, p).graph) for p in ("fp32", precision))
    found = Counter(node.op_type for node in graph.graph.node)
    wanted = OPERATORS[family, precision]
    assert {name: found[name] for name in wanted} == wanted
    assert pooling_of(graph) == pooling_of(base)
    assert len(pooling_of(graph)[0]) > 8


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("precision", DERIVED)
def test_a_precision_stays_as_near_its_base_as_it_says(twins: Twins, family: str, precision: str) -> None:
    base, other = (provider(twins(family, p)) for p in ("fp32", precision))
    for batch_size in (1, len(TEXTS)):
        expected = base.encode(TEXTS, batch_size=batch_size)
        found = other.encode(TEXTS, batch_size=batch_size)
        assert cosines(found, expected).min() >= load_precision(precision).parity_cosine_min
        np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1.0, atol=1e-5)
        assert precision == "fp32-fused" or (found != expected).any(), "nothing was changed"


def test_fp16_has_its_weights_in_half_precision_and_its_inputs_and_outputs_as_they_were(twins: Twins) -> None:
    artifact = twins("bert", "fp16")
    graph = onnx.load(artifact.graph).graph
    kinds = Counter(t.data_type for t in graph.initializer if not t.name.startswith(POOLING_PREFIX))
    assert kinds == {TensorProto.FLOAT16: 18}
    assert graph.output[0].type.tensor_type.elem_type == TensorProto.FLOAT
    assert artifact.bytes < 0.7 * twins("bert", "fp32").bytes


@pytest.mark.parametrize(("precision", "bits", "block"), [("int8-weights", 8, 128), ("int4-weights", 4, 32)])
def test_blocks_are_of_the_bits_and_the_size_that_the_precision_says(
    twins: Twins, precision: str, bits: int, block: int
) -> None:
    nodes = [n for n in onnx.load(twins("qwen3", precision).graph).graph.node if n.op_type == "MatMulNBits"]
    found = {tuple(a.i for a in n.attribute if a.name in ("bits", "block_size")) for n in nodes}
    assert {frozenset(pair) for pair in found} == {frozenset((bits, block))}
    assert twins("qwen3", precision).manifest.precision_settings == {
        "method": "weight_only",
        "bits": bits,
        "block_size": block,
    }


def test_a_derived_artifact_names_its_base_and_carries_what_the_base_knows(twins: Twins) -> None:
    base, derived = twins("qwen3", "fp32").manifest, twins("qwen3", "int4-weights").manifest
    assert (base.base_sha256, derived.base_sha256) == (None, base.sha256)
    for name in ("params", "architecture", "source", "weights", "pooling", "pad_id", "reference_by", "dim"):
        assert getattr(derived, name) == getattr(base, name), name
    assert derived.weights == "random"
    assert set(base.exporter) < set(derived.exporter), "the tools of both builds are named"
    assert problems_of(twins("qwen3", "int4-weights")) == []
    same = ("tokenizer.json", "verification.npy")
    assert [derived.files[name] for name in same] == [base.files[name] for name in same]


# --- what else a graph may hold


@pytest.fixture(autouse=True)
def _as_in_a_process_of_its_own() -> Iterator[None]:
    """The tools warn, and the build silences them for its whole process."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    logging.disable(logging.NOTSET)


def dense_layer() -> Dense:
    rng = np.random.default_rng(3)
    return Dense(rng.normal(size=(8, HIDDEN)).astype(np.float32), np.full(8, 0.1, np.float32), "Tanh")


@pytest.fixture(scope="module")
def with_dense(twins: Twins, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny BERT with a Dense layer after its pooling."""
    folder = tmp_path_factory.mktemp("dense")
    graph = onnx.load(twins("bert", "fp32").graph)
    detach_pooling(graph)
    add_pooling(graph, "mean", normalize=True, dim=8, dense=[dense_layer()])
    onnx.save(graph, folder / GRAPH)
    return folder


@pytest.mark.parametrize("precision", ["fp16", "int8", "int4-weights"])
def test_a_dense_layer_after_the_pooling_keeps_its_exact_weights(
    twins: Twins, with_dense: Path, precision: str, tmp_path: Path
) -> None:
    derive(with_dense, tmp_path, settings_of(load_precision(precision)), "bert")
    before, after = onnx.load(with_dense / GRAPH), onnx.load(tmp_path / GRAPH)
    assert pooling_of(after) == pooling_of(before)
    (weight,) = (t for t in after.graph.initializer if t.name == "pool/dense_0/weight")
    np.testing.assert_array_equal(numpy_helper.to_array(weight), dense_layer().weight.T)
    vectors: list[NDArray[np.float32]] = []
    for folder in (with_dense, tmp_path):
        shutil.copyfile(twins("bert", "fp32").tokenizer, folder / TOKENIZER)
        opened = provider(replace(twins("bert", "fp32"), path=folder))
        vectors.append(opened.infer(opened.tokenize(TEXTS)))
    assert vectors[0].shape == (len(TEXTS), 8)
    assert cosines(*vectors).min() > 0.99


@pytest.mark.parametrize("precision", DERIVED)
@pytest.mark.parametrize("has", ["fp32-fused", "int8", "int4-weights"])
def test_a_graph_that_is_not_as_exported_is_refused_with_what_it_has(
    twins: Twins, has: str, precision: str, tmp_path: Path
) -> None:
    with pytest.raises(ArtifactError, match=r"the graph has .* already: it is not as exported in fp32"):
        derive(twins("bert", has).path, tmp_path, settings_of(load_precision(precision)), "bert")
    assert list(tmp_path.iterdir()) == []


def test_a_graph_in_half_precision_is_refused_too(twins: Twins, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="the graph has fp16 already"):
        derive(twins("bert", "fp16").path, tmp_path, settings_of(load_precision("int8")), "bert")


@pytest.mark.parametrize("precision", DERIVED)
def test_a_graph_with_functions_that_no_tool_looks_into_is_refused_by_their_names(
    precision: str, tmp_path: Path
) -> None:
    graph = with_function(opset=17)
    add_pooling(graph, "mean", normalize=True, dim=4)
    base = saved(graph, tmp_path).parent
    with pytest.raises(ArtifactError, match=r"functions of its own \(Rows\), .*; give precision=fp32, or"):
        derive(base, tmp_path, settings_of(load_precision(precision)), "bert")


def of_one_product(folder: Path, product: list[NodeProto]) -> Path:
    """A graph of one product of 128 by 128, or of none, pooled."""
    rng = np.random.default_rng(5)
    shapes = {"table": (61, 128), "dense": (128, 128), "bias": (128,)}
    weights = [
        numpy_helper.from_array(rng.normal(size=shape).astype(np.float32), name)
        for name, shape in shapes.items()
    ]
    nodes = [node("Gather", "table input_ids", "rows"), *product]
    ports = [port(name, IDS, INT64) for name in ("input_ids", "attention_mask")]
    graph = model(
        nodes, ports, [port("last_hidden_state", [*IDS, 128])], [*weights, numbers("flat", -1, 128)]
    )
    add_pooling(graph, "mean", normalize=True, dim=128)
    folder.mkdir()
    onnx.save(graph, folder / GRAPH)
    return folder


@pytest.mark.parametrize("precision", ["int8-weights", "int4-weights"])
def test_weights_of_layers_that_multiply_and_add_at_once_are_in_blocks_too(
    precision: str, tmp_path: Path
) -> None:
    """As GPT-2's do, whose every layer was left out."""
    shaped = [
        node("Reshape", "rows flat", "flat_rows"),
        node("Gemm", "flat_rows dense bias", "flat_states"),
        node("Shape", "input_ids", "ids"),
        node("Concat", "ids width", "of_states", axis=0),
        node("Reshape", "flat_states of_states", "last_hidden_state"),
    ]
    shaped.insert(0, node("Constant", "", "width", value=numbers("width", 128)))
    base, target = of_one_product(tmp_path / "base", shaped), tmp_path / "target"
    target.mkdir()
    derive(base, target, settings_of(load_precision(precision)), "gpt2")
    found = Counter(node.op_type for node in onnx.load(target / GRAPH).graph.node)
    assert (found["MatMulNBits"], found["Gemm"]) == (1, 0)
    ids = np.array([[3, 5, 7, 9]])
    vectors = [
        ort.InferenceSession(str(folder / GRAPH), providers=["CPUExecutionProvider"]).run(
            None, {"input_ids": ids, "attention_mask": np.ones_like(ids)}
        )[0]
        for folder in (base, target)
    ]
    assert 0.99 < cosines(*vectors).min() < 1


def test_a_graph_whose_matrices_cannot_be_found_is_no_int8(twins: Twins, tmp_path: Path) -> None:
    """Its weights in nodes `Constant`: the quantiser passed them over, and fp32 was called int8."""
    hidden = onnx.load(twins("bert", "fp32").path / GRAPH)
    kept = [node("Constant", "", w.name, value=w) for w in hidden.graph.initializer]
    del hidden.graph.initializer[:]
    rest = list(hidden.graph.node)
    del hidden.graph.node[:]
    hidden.graph.node.extend([*kept, *rest])
    base, target = tmp_path / "base", tmp_path / "target"
    base.mkdir()
    target.mkdir()
    onnx.save(hidden, base / GRAPH)
    with pytest.raises(ArtifactError, match="no matrix of this graph can be quantised; give another"):
        derive(base, target, settings_of(load_precision("int8")), "bert")


def test_a_graph_without_a_matrix_is_refused_by_blocks_in_plain_words(tmp_path: Path) -> None:
    base = of_one_product(tmp_path / "base", [node("Identity", "rows", "last_hidden_state")])
    request = {
        "base": str(base),
        "target": str(tmp_path),
        "settings": settings_of(load_precision("int8-weights")),
        "architecture": "bert",
        "published": None,
    }
    with pytest.raises(ArtifactError, match=r"from its fp32 artifact: no matrix of this graph can be quant"):
        run_build(request, what="it", source="its fp32 artifact", tell=lambda *_: None)


# --- what a vector owes to its batch

LONG = "over and over again the quick brown fox jumps over the lazy dog and says nothing new of it"


@pytest.mark.parametrize("family", FAMILIES)
def test_company_changes_a_vector_in_dynamic_int8_and_in_nothing_else(twins: Twins, family: str) -> None:
    texts = [text for text in TEXTS if text]
    for precision in ("fp32", "fp32-fused", "int8-weights", "int4-weights", "int8"):
        own = provider(twins(family, precision))

        def encode(batch: list[str], own: EmbeddingProvider = own) -> NDArray[np.float32]:
            return own.infer(own.tokenize(batch))

        vectors = np.concatenate([encode(texts[:2]), encode(texts[2:])])
        found = batching_columns(encode, texts, vectors, batch_size=2, neighbour=LONG).columns
        assert found.pop("repeat_max_difference") == 0.0, precision
        worst = [value for value in found.values() if value is not None]
        assert len(worst) == 3
        if precision == "int8":
            assert 0.9 < min(worst) < 1 - 5e-9  # so small are a tiny model's activations
        else:
            assert worst == pytest.approx([1.0] * 3, abs=1e-12), precision


@pytest.mark.parametrize("precision", ["fp32", "fp32-fused", "fp16", "int8", "int8-weights"])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_stages_of_a_graph_can_be_looked_at_in_every_precision(
    twins: Twins, family: str, precision: str
) -> None:
    artifact = twins(family, precision)
    model = onnx.load(artifact.graph)
    names = expose_stages(model, normalize=True)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    ids = np.array([[3, 5, 7, 9]])
    feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    hidden, pooled, normalised = session.run(names, {i.name: feeds[i.name] for i in session.get_inputs()})
    pooling = artifact.manifest.pooling
    np.testing.assert_allclose(pool(hidden[0], pooling, normalize=False), pooled[0], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(pool(hidden[0], pooling, normalize=True), normalised[0], rtol=1e-4, atol=1e-6)
    plain = provider(artifact).session.infer(Tokens(ids, np.ones_like(ids)))
    np.testing.assert_allclose(plain, normalised, atol=1e-3 if precision == "fp16" else 1e-5)


# --- settings


@pytest.mark.parametrize(
    ("asked", "overflows", "reduced"), [(None, True, True), (None, False, False), (True, False, True)]
)
def test_the_range_is_reduced_as_asked_or_as_this_cpu_needs(
    monkeypatch: pytest.MonkeyPatch, asked: bool | None, overflows: bool, reduced: bool
) -> None:
    monkeypatch.setattr("harness.artifacts.precision.int8_sums_overflow", lambda: overflows)
    int8 = load_precision("int8").model_copy(update={"reduce_range": asked})
    assert settings_of(int8) == {"method": "dynamic_int8", "reduce_range": reduced}


def test_another_cpu_s_settings_are_another_recipe_of_int8_and_the_same_of_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def recipes() -> dict[str, str]:
        names = ("fp32", *DERIVED)
        return {n: Recipe(load_model("minilm"), load_precision(n), "onnxruntime").sha256 for n in names}

    found = []
    for overflows in (False, True):
        monkeypatch.setattr("harness.artifacts.precision.int8_sums_overflow", lambda it=overflows: it)
        found.append(recipes())
    assert {name for name in found[0] if found[0][name] != found[1][name]} == {"int8"}
    assert len(set(found[0].values())) == len(found[0])


def test_weights_in_seven_bits_differ_from_weights_in_eight(twins: Twins, tmp_path: Path) -> None:
    largest: list[Any] = []
    for reduced in (False, True):
        target = tmp_path / str(reduced)
        target.mkdir()
        derive(
            twins("bert", "fp32").path, target, {"method": "dynamic_int8", "reduce_range": reduced}, "bert"
        )
        tensors = [t for t in onnx.load(target / GRAPH).graph.initializer if t.data_type == TensorProto.INT8]
        largest.append(max(int(np.abs(numpy_helper.to_array(t).astype(int)).max()) for t in tensors))
    assert largest == [127, 64]
