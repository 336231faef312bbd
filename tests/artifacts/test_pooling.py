"""Pooling and normalisation in the graph, against the same in numpy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, checker, helper

from harness.artifacts.pooling import OUTPUT, add_pooling

if TYPE_CHECKING:
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
        row = {"mean": states[tokens].mean(axis=0), "cls": states[0], "last": states[tokens[-1]]}[pooling]
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


@pytest.mark.parametrize("pooling", ["mean", "last"])
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
