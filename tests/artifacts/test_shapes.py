"""The shape of every tensor at one batch size and length; unknown where nobody says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto as T
from onnx import helper, numpy_helper

from harness.artifacts.anatomy import load_graph
from harness.artifacts.shapes import Tensor, bits_of, bound_inputs, dims_of, in_order, infer_shapes, name_of
from tests.artifacts.graphs import FLOAT, IDS, INT64, embedder, model, node, numbers, port, weight

if TYPE_CHECKING:
    from onnx import ModelProto, ValueInfoProto

    from harness.artifacts.manifest import Artifact


def bound(*inputs: ValueInfoProto) -> dict[str, Any]:
    made = model([node("Identity", inputs[0].name, "y")], inputs, [port("y", None)])
    return {name: t.shape for name, t in bound_inputs(made.graph, batch_size=2, tokens=5).items()}


# --- inputs


@pytest.mark.parametrize("axes", [["B", "N"], ["unk__0", "unk__1"], ["a", None]])
@pytest.mark.parametrize("name", ["input_ids", "ids", "input.1"])
def test_text_inputs_are_batch_and_tokens_by_place_whatever_they_and_their_axes_are_called(
    name: str, axes: list[str | None]
) -> None:
    assert bound(port(name, axes, INT64)) == {name: (2, 5)}


def test_what_else_has_whole_numbers_is_no_text_beside_one() -> None:
    assert bound(port("input_ids", IDS, INT64), port("grid", ["images", 3], INT64))["grid"] is None


def test_what_a_text_input_calls_its_axes_binds_the_others() -> None:
    assert bound(port("input_ids", ["n", "m"], INT64), port("extra", ["m", "n", 3]))["extra"] == (5, 2, 3)


def test_a_fixed_axis_stays_what_it_is() -> None:
    assert bound(port("input_ids", [1, 128], INT64)) == {"input_ids": (1, 128)}


@pytest.mark.parametrize("dims", [["who", "knows"], [None, 4], None])
def test_an_axis_that_nobody_knows_makes_the_shape_unknown_never_a_guess(dims: Any) -> None:
    assert bound(port("pixels", dims)) == {"pixels": None}


def test_a_negative_axis_is_a_dynamic_one_without_a_name() -> None:
    assert bound(port("input_ids", [-1, -1], INT64)) == {"input_ids": (2, 5)}
    assert bound(port("pixels", [-1, 4])) == {"pixels": None}
    assert dims_of(port("past", [1, 0, -1]).type) == (1, 0, None), "none at all is a length"


def test_a_weight_among_the_inputs_is_no_input() -> None:
    made = embedder()
    made.graph.input.append(port("table", [50, 8]))
    assert set(bound_inputs(made.graph, batch_size=1, tokens=4)) == {"input_ids", "attention_mask"}


# --- through the graph


def test_every_shape_of_minilm_is_the_one_that_onnx_runtime_computes(minilm: Artifact) -> None:
    made = load_graph(minilm.graph)
    asked = [n.output[0] for n in made.graph.node if n.op_type in ("MatMul", "Softmax", "Transpose", "Where")]
    known = infer_shapes(made, batch_size=2, tokens=7)
    del made.graph.output[:]
    made.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in asked)
    settings = ort.SessionOptions()
    settings.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(made.SerializeToString(), settings, providers=["CPUExecutionProvider"])
    feeds = {i.name: np.ones((2, 7), dtype=np.int64) for i in session.get_inputs()}
    computed = [value.shape for value in session.run(asked, feeds)]
    assert len(asked) > 60
    assert [known[name].shape for name in asked] == computed


def test_what_hangs_on_an_unknown_shape_is_unknown_too() -> None:
    made = model([node("Relu", "x", "a"), node("MatMul", "a w", "y")],
                 [port("x", ["what", 4])], [port("y", None)], [weight("w", 4, 3)])  # fmt: skip
    known = infer_shapes(made, batch_size=1, tokens=4)
    assert (known["a"].shape, known["y"].shape) == (None, None)
    assert known["a"].dtype == FLOAT


@pytest.mark.parametrize(
    "made_of",
    [
        node("Thing", "x", "y", "org.example"),
        node("Thing", "x", "y", "com.microsoft"),
        node("Nope", "x", "y"),
    ],
)
def test_an_operator_that_nobody_knows_gives_nothing_known(made_of: Any) -> None:
    made = model([made_of], [port("x", [1, 4])], [port("y", None)])
    assert infer_shapes(made, batch_size=1, tokens=4)["y"] == Tensor(None, None)


def test_a_contradiction_in_the_graph_is_unknown_no_error() -> None:
    made = model([node("MatMul", "x w", "y")], [port("x", [1, 4])], [port("y", None)], [weight("w", 5, 3)])
    assert infer_shapes(made, batch_size=1, tokens=4)["y"].shape is None


def test_what_is_not_defined_at_a_value_that_is_left_out_warns_nobody_and_the_others_are_right() -> None:
    """A relative position's bucket, as MPNet's export computes it: the logarithm of 0, cast and unused."""
    nodes = [
        node("Log", "far", "logs"),  # warnings are errors here
        node("Cast", "logs", "large", to=INT64),
        node("Equal", "whole zero", "near"),
        node("Where", "near whole large", "y"),
    ]
    far = numpy_helper.from_array(np.array([0.0, 1.0, 8.0], dtype=np.float32), "far")
    weights = [far, numbers("whole", 0, 1, 8), numbers("zero", 0)]
    made = model(nodes, [port("x", [1])], [port("y", None)], weights)
    found = infer_shapes(made, batch_size=1, tokens=4)["y"].value
    assert found is not None
    assert found.tolist() == [0, 0, 2]


def large(count: int) -> ModelProto:
    nodes = [node("ConstantOfShape", "n", "many"), node("Relu", "many", "y")]
    return model(nodes, [port("x", [1])], [port("y", None)], [numbers("n", count)])


def test_values_are_computed_only_while_they_are_small() -> None:
    small, huge = (infer_shapes(large(n), batch_size=1, tokens=4)["y"] for n in (8, 10**9))
    assert small.value is not None
    assert (huge.value, huge.shape) == (None, (10**9,))


def test_a_circle_ends() -> None:
    nodes = [node("Add", "x b", "a"), node("Relu", "a", "b")]
    made = model(nodes, [port("x", [1])], [port("b", [1])])
    assert list(in_order(made.graph)) == []
    assert "b" not in infer_shapes(made, batch_size=1, tokens=4)


# --- small things


def test_bits_of_a_value() -> None:
    kinds = (T.FLOAT, T.FLOAT16, T.BFLOAT16, T.INT8, T.UINT4, T.FLOAT4E2M1, T.INT64, T.STRING)
    assert [bits_of(kind) for kind in kinds] == [32, 16, 16, 8, 4, 4, 64, 0]


def test_a_size_is_unknown_where_shape_or_type_is() -> None:
    assert (Tensor(FLOAT, None).elements, Tensor(FLOAT, None).bytes, Tensor(None, (2,)).bytes) == (None,) * 3
    assert (Tensor(FLOAT, ()).elements, Tensor(FLOAT, (0, 4)).bytes) == (1, 0)


def test_dims_and_names_are_told_as_declared() -> None:
    assert dims_of(port("x", ["n", None, 3]).type) == ("n", None, 3)
    assert dims_of(port("x", None).type) is None
    assert dims_of(port("x", IDS).type) == tuple(IDS)
    assert [name_of(node("Gelu", "x", "y", d)) for d in ("", "ai.onnx", "com.microsoft")] == [
        "Gelu", "Gelu", "com.microsoft:Gelu",
    ]  # fmt: skip
