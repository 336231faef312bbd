"""A graph's inputs: an artifact's are those that a padded batch of texts has, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from onnx import ModelProto

# What a runtime feeds, int64 [batch_size, length] each; the first two a graph must have.
INPUTS = ("input_ids", "attention_mask", "token_type_ids")
POSITIONS = "position_ids"
_PREFIX = "positions/"


def count_positions(model: ModelProto) -> None:
    """Compute ``position_ids`` within a graph that wants them, in place.

    A token's position is the number of tokens before it under the mask, so that either padding side works
    (as transformers counts them in ``generate``); padding before the first token has position 0.

    Raises:
        ValueError: the graph wants an input that a text does not have.
    """
    from onnx import helper, numpy_helper

    graph = model.graph
    inputs = {value.name for value in graph.input} - {tensor.name for tensor in graph.initializer}
    if unknown := sorted(inputs - {*INPUTS, POSITIONS}):
        raise ValueError(f"the graph has inputs that a text does not have: {', '.join(unknown)}")
    if POSITIONS not in inputs:
        return
    for name, value in (("axis", 1), ("one", [1]), ("zero", [0])):
        graph.initializer.append(numpy_helper.from_array(np.array(value, np.int64), _PREFIX + name))
    steps = (
        ("CumSum", ["attention_mask", _PREFIX + "axis"], _PREFIX + "counted"),
        ("Sub", [_PREFIX + "counted", _PREFIX + "one"], _PREFIX + "from_zero"),
        ("Max", [_PREFIX + "from_zero", _PREFIX + "zero"], POSITIONS),
    )
    added = [helper.make_node(op, needs, [gives], name=_PREFIX + op) for op, needs, gives in steps]
    nodes = [*added, *graph.node]  # a graph's nodes stand in the order they run
    del graph.node[:]
    graph.node.extend(nodes)
    kept = [value for value in graph.input if value.name != POSITIONS]
    del graph.input[:]
    graph.input.extend(kept)
