"""Pooling and normalisation in the graph, against the same in numpy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, checker, helper

from harness.artifacts.manifest import GRAPH
from harness.artifacts.pooling import OUTPUT, Dense, add_pooling, attach_pooling, detach_pooling, pool
from harness.stats import cosines
from tests.artifacts.tiny import CUT
from tests.artifacts.tiny import HIDDEN as DIMENSIONS

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from onnx import ModelProto

DIM = 5
LENGTH = 7
RIGHT = [[1] * 7, [1, 1, 1, 1, 0, 0, 0], [1, 0, 0, 0, 0, 0, 0]]
LEFT = [row[::-1] for row in RIGHT]


def passing_through(output: str = "last_hidden_state", mask: str = "attention_mask") -> ModelProto:
    """A graph that hands its input on as the hidden states."""
    hidden = helper.make_tensor_value_info("hidden", TensorProto.FLOAT, ["batch_size", "length", DIM])
    masked = helper.make_tensor_value_info(mask, TensorProto.INT64, ["batch_size", "length"])
    result = helper.make_tensor_value_info(output, TensorProto.FLOAT, ["batch_size", "length", DIM])
    node = helper.make_node("Identity", ["hidden"], [output])
    graph = helper.make_graph([node], "tiny", [hidden, masked], [result])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def pooled_by_graph(
    hidden: NDArray[np.float32], mask: NDArray[np.int64], pooling: str, *, normalize: bool
) -> NDArray[np.float32]:
    """What a graph with `pooling` added makes of hidden states."""
    model = passing_through()
    add_pooling(model, pooling, normalize=normalize, dim=DIM)
    checker.check_model(model, full_check=True)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    assert [output.name for output in session.get_outputs()] == [OUTPUT]
    vectors: NDArray[np.float32] = session.run(None, {"hidden": hidden, "attention_mask": mask})[0]
    return vectors


def pooled_by_numpy(
    hidden: NDArray[np.float32], mask: NDArray[np.int64], pooling: str, *, normalize: bool
) -> NDArray[np.float64]:
    """The same, text by text, as one would write it down."""
    rows = []
    for states, marks in zip(hidden.astype(np.float64), mask, strict=True):
        tokens = np.flatnonzero(marks)
        row = {"mean": states[tokens].mean(axis=0), "cls": states[tokens[0]], "last": states[tokens[-1]]}[
            pooling
        ]
        rows.append(row / np.linalg.norm(row) if normalize else row)
    return np.array(rows)


@pytest.mark.parametrize("normalize", [True, False], ids=["normalised", "as it is"])
@pytest.mark.parametrize("padding", ["right", "left"])
@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
def test_a_graph_pools_as_numpy_does(pooling: str, padding: str, normalize: bool) -> None:
    hidden = np.random.default_rng(1).normal(size=(3, LENGTH, DIM)).astype(np.float32)
    mask = np.array(RIGHT if padding == "right" else LEFT, dtype=np.int64)
    found = pooled_by_graph(hidden, mask, pooling, normalize=normalize)
    assert found.dtype == np.float32
    np.testing.assert_allclose(
        found, pooled_by_numpy(hidden, mask, pooling, normalize=normalize), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
def test_one_text_of_one_token_is_that_token(pooling: str) -> None:
    hidden = np.array([[[3.0, 0.0, 4.0, 0.0, 0.0]]], dtype=np.float32)
    found = pooled_by_graph(hidden, np.ones((1, 1), dtype=np.int64), pooling, normalize=True)
    np.testing.assert_allclose(found, [[0.6, 0.0, 0.8, 0.0, 0.0]], rtol=1e-6)


@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
def test_what_stands_on_padding_does_not_matter(pooling: str) -> None:
    hidden = np.random.default_rng(2).normal(size=(3, LENGTH, DIM)).astype(np.float32)
    mask = np.array(RIGHT, dtype=np.int64)
    elsewhere = np.where(mask[:, :, None] == 1, hidden, np.float32(1e6))
    found, other = (pooled_by_graph(h, mask, pooling, normalize=True) for h in (hidden, elsewhere))
    np.testing.assert_array_equal(found, other)


@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
def test_zeros_are_normalised_to_zeros_and_not_to_nan(pooling: str) -> None:
    hidden = np.zeros((2, LENGTH, DIM), dtype=np.float32)
    mask = np.array([[1] * LENGTH, [0] * LENGTH], dtype=np.int64)
    found = pooled_by_graph(hidden, mask, pooling, normalize=True)
    np.testing.assert_array_equal(found, np.zeros((2, DIM)))


def test_an_unknown_pooling_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="unknown pooling 'max': valid: mean, cls, last"):
        add_pooling(passing_through(), "max", normalize=True, dim=DIM)


@pytest.mark.parametrize(
    "model",
    [passing_through(output="logits"), passing_through(mask="mask")],
    ids=["no hidden states", "no mask"],
)
def test_a_graph_that_cannot_be_pooled_is_refused(model: ModelProto) -> None:
    with pytest.raises(ValueError, match="lacks the output last_hidden_state or the input attention_mask"):
        add_pooling(model, "mean", normalize=True, dim=DIM)


@pytest.mark.parametrize("what", ["node", "result", "constant"])
def test_a_graph_with_a_name_that_pooling_s_begin_with_is_refused(what: str) -> None:
    model = passing_through()
    if what == "node":
        model.graph.node[0].name = "pool/own"
    elif what == "result":
        model.graph.node.append(helper.make_node("Shape", ["hidden"], ["pool/own"]))
    else:
        model.graph.initializer.append(helper.make_tensor("pool/own", TensorProto.INT64, [1], [1]))
    with pytest.raises(ValueError, match=r"has the name pool/own: pool/ begins the names of what is added"):
        add_pooling(model, "mean", normalize=True, dim=DIM)


# --- on real small models, against sentence-transformers

FAMILIES = ("bert", "qwen3")


def real_graph(tinies: Path, family: str) -> ModelProto:
    """A tiny export with its token vectors as the output again."""
    model = onnx.load(tinies / family / GRAPH)
    detach_pooling(model)
    return model


def run_on(model: ModelProto, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
    checker.check_model(model)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    feeds = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
    vectors: NDArray[np.float32] = session.run(
        [OUTPUT], {i.name: feeds[i.name] for i in session.get_inputs()}
    )[0]
    return vectors


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    """Of the small models."""
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def expected(tinies: Path, family: str) -> dict[str, NDArray[np.float32]]:
    """sentence-transformers' batches and vectors."""
    return dict(np.load(tinies / f"{family}.npz"))


@pytest.mark.parametrize("cut", [None, CUT], ids=["all", "cut"])
@pytest.mark.parametrize("padding", ["right", "left"])
@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
def test_a_padded_batch_has_sentence_transformers_vectors(
    tinies: Path,
    family: str,
    expected: dict[str, NDArray[np.float32]],
    pooling: str,
    padding: str,
    cut: int | None,
) -> None:
    model = real_graph(tinies, family)
    add_pooling(model, pooling, normalize=True, dim=cut or DIMENSIONS, truncate=cut is not None)
    mask = expected[f"{padding}/attention_mask"]
    assert mask.min() == 0, "no padding"
    found = run_on(model, expected[f"{padding}/input_ids"], mask)
    wanted = expected[f"{padding}/{pooling}" + ("" if cut is None else "/cut")]
    np.testing.assert_allclose(found, wanted, atol=2e-5)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1.0, atol=1e-5)


def test_another_pooling_or_no_renormalising_would_have_been_seen(
    expected: dict[str, NDArray[np.float32]],
) -> None:
    mean, cls, last = (expected[f"right/{name}"] for name in ("mean", "cls", "last"))
    assert max(cosines(*pair)[1:].max() for pair in ((mean, cls), (mean, last), (cls, last))) < 0.95
    assert np.linalg.norm(mean[:, :CUT], axis=1).max() < 0.95


def test_vectors_of_the_last_token_do_not_depend_on_the_padding_s_side(tinies: Path) -> None:
    expected = np.load(tinies / "qwen3.npz")
    model = onnx.load(tinies / "qwen3" / GRAPH)
    right, left = (
        run_on(model, expected[f"{side}/input_ids"], expected[f"{side}/attention_mask"])
        for side in ("right", "left")
    )
    np.testing.assert_allclose(right, left, atol=1e-5)


def test_a_dense_layer_is_sentence_transformers(tinies: Path, family: str) -> None:
    expected = np.load(tinies / f"{family}.npz")
    model = real_graph(tinies, family)
    layer = Dense(expected["dense/weight"], expected["dense/bias"], "Tanh")
    add_pooling(model, "mean", normalize=True, dim=8, dense=[layer])
    found = run_on(model, expected["right/input_ids"], expected["right/attention_mask"])
    np.testing.assert_allclose(found, expected["dense"], atol=2e-5)


def test_a_text_alone_is_the_same_in_a_graph_and_in_numpy(tinies: Path) -> None:
    expected = np.load(tinies / "qwen3.npz")
    ids, mask = expected["right/input_ids"], expected["right/attention_mask"]
    hidden = real_graph(tinies, "qwen3")
    session = ort.InferenceSession(hidden.SerializeToString(), providers=["CPUExecutionProvider"])
    for row in range(len(ids)):
        length = mask[row].sum()
        feeds = {"input_ids": ids[row : row + 1, :length], "attention_mask": mask[row : row + 1, :length]}
        states = session.run(None, feeds)[0][0]
        for pooling in ("mean", "cls", "last"):
            found = pool(states, pooling, normalize=True, dim=CUT)
            np.testing.assert_allclose(found, expected[f"right/{pooling}/cut"][row], atol=2e-5)


def test_what_is_detached_and_attached_again_is_the_same_graph(tinies: Path, family: str) -> None:
    model = onnx.load(tinies / family / GRAPH)
    before = model.SerializeToString()
    taken = detach_pooling(model)
    assert [output.name for output in model.graph.output] == ["last_hidden_state"]
    assert "pool/" not in str(model)
    attach_pooling(model, taken)
    assert model.SerializeToString() == before


def test_shapes_that_were_inferred_in_the_pooling_are_forgotten_with_it(tinies: Path, family: str) -> None:
    model = onnx.shape_inference.infer_shapes(onnx.load(tinies / family / GRAPH))
    assert any(value.name.startswith("pool/") for value in model.graph.value_info)
    detach_pooling(model)
    assert "pool/" not in str(model)
