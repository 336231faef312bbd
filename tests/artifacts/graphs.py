"""Small ONNX graphs made by hand, whose shapes and operations are known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from onnx import ModelProto, NodeProto, ValueInfoProto

FLOAT, INT64, INT8, UINT8 = TensorProto.FLOAT, TensorProto.INT64, TensorProto.INT8, TensorProto.UINT8
IDS = ["batch_size", "sequence_length"]


def port(name: str, dims: Sequence[int | str | None], dtype: int = FLOAT) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, dtype, dims)


def weight(name: str, *shape: int, dtype: type[np.generic] = np.float32) -> TensorProto:
    return numpy_helper.from_array(np.zeros(shape, dtype=dtype), name)


def hollow(name: str, *shape: int, dtype: int = FLOAT, location: str = "weights.bin") -> TensorProto:
    """A weight that says its shape and where its data would lie, and holds none."""
    tensor = TensorProto(name=name, data_type=dtype, dims=shape, data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=location)
    return tensor


def numbers(name: str, *values: int) -> TensorProto:
    return numpy_helper.from_array(np.array(values, dtype=np.int64), name)


def node(op: str, inputs: str, output: str, domain: str = "", **attributes: Any) -> NodeProto:
    """A node; inputs and outputs are names with spaces between, ``-`` for one left out."""
    sides = [[name.strip("-") for name in side.split()] for side in (inputs, output)]
    return helper.make_node(op, *sides, domain=domain, **attributes)


def model(
    nodes: Sequence[NodeProto],
    inputs: Sequence[ValueInfoProto],
    outputs: Sequence[ValueInfoProto],
    weights: Sequence[TensorProto] = (),
    *,
    opset: int = 18,
) -> ModelProto:
    graph = helper.make_graph(nodes, "graph", inputs, outputs, initializer=weights)
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def saved(made: ModelProto, folder: Path, name: str = "model.onnx") -> Path:
    path = folder / name
    path.write_bytes(made.SerializeToString())
    return path


def embedder(vocab: int = 50, hidden: int = 8, *, normalise: bool = True, mask: bool = True) -> ModelProto:
    """Token table, one product, mean over the tokens, norm: text in, vector out."""
    nodes = [
        node("Gather", "table input_ids", "embedded"),
        node("MatMul", "embedded dense", "states"),
        node("ReduceMean", "states axis", "pooled", keepdims=0),
    ]
    if normalise:
        nodes += [node("ReduceL2", "pooled axis", "norm", keepdims=1), node("Div", "pooled norm", "vector")]
    else:
        nodes += [node("Identity", "pooled", "vector")]
    inputs = [port("input_ids", IDS, INT64)] + ([port("attention_mask", IDS, INT64)] if mask else [])
    weights = [weight("table", vocab, hidden), weight("dense", hidden, hidden), numbers("axis", 1)]
    return model(nodes, inputs, [port("vector", ["batch_size", hidden])], weights)


def decoder_layers(
    layers: int, hidden: int, heads: int, kv_heads: int, head_dim: int, ffn: int, vocab: int
) -> ModelProto:
    """Qwen3's products layer by layer, at their real sizes; no weight holds data."""
    nodes, weights = [node("Gather", "table input_ids", "x0")], [hollow("table", vocab, hidden)]

    def product(x: str, name: str, rows: int, columns: int) -> str:
        weights.append(hollow(f"{name}.weight", rows, columns))
        nodes.append(node("MatMul", f"{x} {name}.weight", name))
        return name

    def split(x: str, count: int, order: list[int]) -> str:
        weights.append(numbers(f"{x}.shape", 0, 0, count, head_dim))
        nodes.append(node("Reshape", f"{x} {x}.shape", f"{x}.heads"))
        nodes.append(node("Transpose", f"{x}.heads", f"{x}.t", perm=order))
        return f"{x}.t"

    for i in range(layers):
        q = split(product(f"x{i}", f"q{i}", hidden, heads * head_dim), heads, [0, 2, 1, 3])
        k = split(product(f"x{i}", f"k{i}", hidden, kv_heads * head_dim), kv_heads, [0, 2, 3, 1])
        v = split(product(f"x{i}", f"v{i}", hidden, kv_heads * head_dim), kv_heads, [0, 2, 1, 3])
        nodes += [
            # each key and value head serves heads / kv_heads query heads
            node("Concat", " ".join([k] * (heads // kv_heads)), f"{k}.all", axis=1),
            node("Concat", " ".join([v] * (heads // kv_heads)), f"{v}.all", axis=1),
            node("MatMul", f"{q} {k}.all", f"scores{i}"),
            node("Softmax", f"scores{i}", f"shares{i}", axis=-1),
            node("MatMul", f"shares{i} {v}.all", f"mixed{i}.t"),
            node("Transpose", f"mixed{i}.t", f"mixed{i}.heads", perm=[0, 2, 1, 3]),
            node("Reshape", f"mixed{i}.heads flat{i}", f"mixed{i}"),
        ]
        weights.append(numbers(f"flat{i}", 0, 0, heads * head_dim))
        attended = product(f"mixed{i}", f"o{i}", heads * head_dim, hidden)
        gate, up = product(attended, f"gate{i}", hidden, ffn), product(attended, f"up{i}", hidden, ffn)
        nodes.append(node("Mul", f"{gate} {up}", f"wide{i}"))
        nodes.append(node("Identity", product(f"wide{i}", f"down{i}", ffn, hidden), f"x{i + 1}"))
    outputs = [port(f"x{layers}", [*IDS, hidden])]
    return model(nodes, [port("input_ids", IDS, INT64), port("attention_mask", IDS, INT64)], outputs, weights)


def placed(kind: str, rows: int = 64, hidden: int = 8) -> ModelProto:
    """`embedder` with a table of positions of so many rows, looked up as `kind` of exports do.

    ``bert`` cuts a constant count to the length; ``roberta`` counts the mask, from the place after padding's;
    ``input`` is given the places; ``kinds`` looks up the tokens' kinds alone, zeros cut to the length.
    """
    made = embedder(hidden=hidden)
    counted = np.zeros(rows) if kind == "kinds" else np.arange(rows)
    own = {
        "bert": [node("Shape", "input_ids", "length", start=1, end=2),
                 node("Slice", "counted zero length axis", "cut"), node("Expand", "cut both", "places")],
        "roberta": [node("CumSum", "attention_mask axis0", "sums"),
                    node("Mul", "sums attention_mask", "masked"),
                    node("Cast", "masked", "whole", to=INT64), node("Add", "whole axis0", "places")],
        "input": [node("Identity", "position_ids", "places")],
    }  # fmt: skip
    nodes = [
        node("Shape", "input_ids", "both"),
        *own.get(kind, own["bert"]),
        node("Gather", "positions places", "placed"),
        node("Add", "embedded placed", "summed"),
    ]
    first, product, *rest = made.graph.node
    product.input[0] = "summed"
    del made.graph.node[:]
    made.graph.node.extend([first, *nodes, product, *rest])
    if kind == "input":
        made.graph.input.append(port("position_ids", IDS, INT64))
    constants = [numpy_helper.from_array(np.array(1), "axis0"), numbers("zero", 0)]
    constants.append(numpy_helper.from_array(counted.astype(np.int64)[None], "counted"))
    made.graph.initializer.extend([*constants, weight("positions", rows, hidden)])
    return made


def loop(times: int = 5) -> ModelProto:
    """A Loop around a product of [4, 8] with a weight [8, 8] of the graph outside, and a bias of its own."""
    boolean = TensorProto.BOOL
    body = helper.make_graph(
        [
            node("Identity", "go_in", "go_out"),
            node("MatMul", "v_in dense", "product"),
            node("Add", "product bias", "v_out"),
        ],
        "body",
        [port("i", [], INT64), port("go_in", [], boolean), port("v_in", [4, 8])],
        [port("go_out", [], boolean), port("v_out", [4, 8])],
        initializer=[weight("bias", 8)],
    )
    weights = [weight("dense", 8, 8), numpy_helper.from_array(np.array(times), "times")]
    weights.append(numpy_helper.from_array(np.array(True), "go"))
    nodes = [node("Loop", "times go x", "y", body=body), node("Relu", "y", "z")]
    return model(nodes, [port("x", [4, 8])], [port("z", [4, 8])], weights)
