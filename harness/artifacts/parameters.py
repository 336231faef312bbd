"""How many parameters a graph has: as many whatever precision they are kept in.

Counted are the values of the weights, floating-point or quantised. Left out is what else a graph keeps beside
them: scales and zero points, the angles of rotary embeddings, and constants of one number.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from harness.artifacts.graphs import constants

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from onnx import GraphProto, ModelProto, NodeProto, TensorProto

# Inputs that are scales, zero points or angles, by position (ONNX's Operators.md, ONNX Runtime's
# ContribOperators.md).
_BESIDE_WEIGHTS = {
    "ConvInteger": (2, 3),
    "DequantizeLinear": (1, 2),
    "DynamicQuantizeMatMul": (2, 3),
    "GatherBlockQuantized": (2, 3),
    "MatMulBnb4": (2,),
    "MatMulInteger": (2, 3),
    "MatMulIntegerToFloat": (2, 3, 4, 5),
    "MatMulNBits": (2, 3, 4),
    "QAttention": (3, 4, 6, 7),
    "QEmbedLayerNormalization": tuple(range(8, 18)),
    "QGemm": (1, 2, 4, 5, 7, 8),
    "QLinearConv": (1, 2, 4, 5, 6, 7),
    "QLinearMatMul": (1, 2, 4, 5, 6, 7),
    "QuantizeLinear": (1, 2),
    "RotaryEmbedding": (1, 2, 3),
}
# Inputs that are weights where they are integers of 32 bits too: biases.
_BIASES = {"DequantizeLinear": (0,), "QGemm": (6,), "QLinearConv": (8,)}
# What stands between the frequencies of rotary embeddings and the angles.
_TO_ANGLES = ("Cast", "Concat", "Expand", "Identity", "MatMul", "Mul", "Reshape", "Transpose", "Unsqueeze")


def count_parameters(model: ModelProto) -> int:
    """The values in a graph's weights, whose data need not be loaded."""
    from onnx import TensorProto as T

    graph = model.graph
    integers = {T.INT64, T.INT32, T.BOOL, T.STRING, T.INT16, T.UINT16, T.UINT32, T.UINT64}
    weights = dict(constants(graph))
    values = {name: prod(weight.dims) for name, weight in weights.items()}
    values |= {name: count for node in graph.node for name, count in _unpacked(node, weights)}
    biases = {name for node in graph.node for name in _inputs(node, _BIASES)}
    others = {name for node in graph.node for name in _inputs(node, _BESIDE_WEIGHTS)}
    others |= _scales(graph) | _frequencies(graph, weights)
    return sum(
        values[name]
        for name, weight in weights.items()
        if name not in others and values[name] > 1
        if weight.data_type not in integers or name in biases
    )


def _inputs(node: NodeProto, positions: Mapping[str, tuple[int, ...]]) -> Iterator[str]:
    for position in positions.get(node.op_type, ()):
        if position < len(node.input):
            yield node.input[position]


def _unpacked(node: NodeProto, weights: dict[str, TensorProto]) -> Iterator[tuple[str, int]]:
    """The weight of a node that packs several values into a byte, and how many it holds."""
    whole = {part.name: part.i for part in node.attribute}
    if node.op_type in ("MatMulNBits", "MatMulBnb4"):
        yield node.input[1], whole["K"] * whole["N"]
    elif node.op_type == "GatherBlockQuantized":
        table = weights.get(node.input[0])
        if table is not None and table.data_type == table.UINT8:
            yield node.input[0], prod(table.dims) * 8 // whole.get("bits", 4)


def _scales(graph: GraphProto) -> set[str]:
    """Scales of weights that are multiplied by those of activations, before both are by the product."""
    dynamic = {node.output[1] for node in graph.node if node.op_type == "DynamicQuantizeLinear"}
    products = [node for node in graph.node if node.op_type == "Mul" and not dynamic.isdisjoint(node.input)]
    return {name for node in products for name in node.input}


def _frequencies(graph: GraphProto, weights: Mapping[str, TensorProto]) -> set[str]:
    """The vectors that the sines and cosines of rotary embeddings are computed from."""
    sources = {output: node for node in graph.node for output in node.output}
    vectors = {name for name, w in weights.items() if max(w.dims, default=1) == prod(w.dims)}
    waiting = [name for node in graph.node if node.op_type in ("Cos", "Sin") for name in node.input]
    seen: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            node = sources.get(name)
            waiting += node.input if node is not None and node.op_type in _TO_ANGLES else ()
    return seen & vectors
