"""The sizes of request that a graph takes, as it shows them: fixed axes, and a table of positions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.artifacts.inputs import POSITIONS
from harness.artifacts.shapes import attribute, dims_of, name_of, text_inputs

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from onnx import GraphProto, ModelProto, NodeProto

# At most so many operators stand between what counts the tokens and the look-up of their places.
_DEPTH = 12
# Operators whose result has the places that are in their first input.
_KEEPING = ("Cast", "Expand", "Identity", "Reshape", "Slice", "Squeeze", "Unsqueeze")
# With a mask or a floor they leave places as they are; with a number they move them.
_MASKING, _MOVING = ("Max", "Mul"), {"Add": 1, "Sub": -1}
# What may stand between a table and how it is stored.
_STORED = ("Cast", "DequantizeLinear", "Identity")


@dataclass(frozen=True)
class Sizes:
    """What a graph takes; None is any size, or what it does not show.

    `batch_size` and `tokens` are axes of a fixed size; `positions` is the longest text, in tokens, that its
    table of absolute positions has places for.
    """

    batch_size: int | None
    tokens: int | None
    positions: int | None


def sizes_of(model: ModelProto) -> Sizes:
    """The sizes that a graph takes; its external weights need not be loaded."""
    dims = next((dims_of(kind) for kind in text_inputs(model.graph).values()), None)
    fixed = [dim if isinstance(dim, int) else None for dim in dims or ()]
    batch_size, tokens = fixed if len(fixed) == 2 else (None, None)
    return Sizes(batch_size, tokens, _positions(model.graph))


def _positions(graph: GraphProto) -> int | None:
    """Of the tables that tokens' places are looked up in, the places of the smallest."""
    rows = {w.name: int(w.dims[0]) for w in graph.initializer if len(w.dims) == 2}
    places = _Places(graph)
    found = []
    for node in graph.node:
        if (lookup := _lookup(node)) is None:
            continue
        table, indices = lookup
        while table in places.sources and places.sources[table].op_type in _STORED:
            table = places.sources[table].input[0]
        last = -1 if indices is None else places.last(indices, _DEPTH)
        if last is not None and rows.get(table, 0) > last + 1:
            found.append(rows[table] - 1 - last)
    return min(found, default=None)


def _lookup(node: NodeProto) -> tuple[str, str | None] | None:
    """Table and indices of a look-up that may be one of places; without indices they count from 0."""
    if name_of(node) == "Gather" and attribute(node, "axis", 0) == 0:
        return node.input[0], node.input[1]
    if node.op_type == "EmbedLayerNormalization":
        return node.input[3], (node.input[8] if len(node.input) > 8 else "") or None
    return (node.input[3], None) if node.op_type == "QEmbedLayerNormalization" else None


class _Places:
    """Where the tokens of a text stand, as a graph counts them."""

    def __init__(self, graph: GraphProto) -> None:
        self.sources = {output: node for node in graph.node for output in node.output}
        self._constants = {w.name: w for w in graph.initializer}
        self._constants |= {
            node.output[0]: part.t
            for node in graph.node
            if node.op_type == "Constant"
            for part in node.attribute
            if part.name == "value"
        }

    def last(self, name: str, depth: int) -> int | None:
        """The place of the last of t tokens, less t; None where the tensor holds no places.

        BERT's and its kin's count from 0: -1. RoBERTa's count from the one after padding's: 1.
        """
        if name == POSITIONS:
            return -1
        if name in self._constants:
            counted = self._numbers(name)
            in_turn = counted is not None and counted.size > 1 and (np.diff(counted.ravel()) == 1).all()
            return int(counted.flat[0]) - 1 if counted is not None and in_turn else None
        node = self.sources.get(name)
        if node is None or depth == 0:
            return None
        if node.op_type == "CumSum":
            return 0
        if node.op_type == "Range":
            return self._moved(-1, node.input[0])
        if node.op_type in _KEEPING:
            return self.last(node.input[0], depth - 1)
        if node.op_type not in (*_MASKING, *_MOVING):
            return None
        for one, other in (node.input, reversed(node.input)) if len(node.input) == 2 else ():
            if (last := self.last(one, depth - 1)) is not None:
                return self._moved(last, other, _MOVING[node.op_type]) if node.op_type in _MOVING else last
        return None

    def _moved(self, last: int, by: str, sign: int = 1) -> int | None:
        moved = self._numbers(by)
        return last + sign * int(moved.flat[0]) if moved is not None and moved.size == 1 else None

    def _numbers(self, name: str) -> NDArray[Any] | None:
        """A constant's whole numbers; None where it has others, or has them elsewhere."""
        from onnx import TensorProto, numpy_helper

        tensor = self._constants.get(name)
        if tensor is None or tensor.data_type not in (TensorProto.INT64, TensorProto.INT32):
            return None
        if tensor.data_location == TensorProto.EXTERNAL:
            return None
        numbers: NDArray[Any] = numpy_helper.to_array(tensor)
        return numbers
