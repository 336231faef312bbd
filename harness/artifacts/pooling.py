"""Pooling and normalisation, added to an exported graph as ONNX nodes.

In the graph they run where the model runs, and whoever deploys the artifact, in any language, cannot
apply the wrong ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from onnx import ModelProto

OUTPUT = "sentence_embedding"
# Names of all that is added begin so.
POOLING_PREFIX = "pool/"
_HIDDEN = "last_hidden_state"
_MASK = "attention_mask"
# sentence-transformers' own floors under the token count and under the norm (torch's normalize).
_MIN_COUNT = 1e-9
_MIN_NORM = 1e-12


def add_pooling(
    model: ModelProto, pooling: str, *, normalize: bool, dim: int, truncate: bool = False
) -> None:
    """Replace a graph's outputs by `OUTPUT`, float32 [batch_size, dim].

    Args:
        model: changed in place; has the output ``last_hidden_state`` [batch, length, dim] and the input
            ``attention_mask`` [batch, length].
        pooling: ``mean`` over the attention mask, ``cls`` (the first token) or ``last`` (the last
            token under the mask, so that either padding side works).
        normalize: divide by the L2 norm.
        dim: of the vectors.
        truncate: keep the first `dim` of the hidden states' dimensions, before they are normalised
            (Matryoshka).

    Raises:
        ValueError: the graph lacks an input or output, or the pooling is unknown.
    """
    from onnx import TensorProto, helper, numpy_helper

    graph = model.graph
    if _HIDDEN not in {o.name for o in graph.output} or _MASK not in {i.name for i in graph.input}:
        raise ValueError(f"the graph lacks the output {_HIDDEN} or the input {_MASK}")

    def constant(name: str, value: float | list[int], dtype: type[np.generic]) -> str:
        graph.initializer.append(numpy_helper.from_array(np.array(value, dtype=dtype), f"pool/{name}"))
        return f"pool/{name}"

    def add(op: str, inputs: list[str], output: str, **attributes: int) -> str:
        graph.node.append(helper.make_node(op, inputs, [output], name=f"pool/{op}/{output}", **attributes))
        return output

    axis_1 = constant("axis_1", [1], np.int64)
    if pooling == "mean":
        weights = add("Cast", [_MASK], "pool/weights", to=TensorProto.FLOAT)
        rows = add("Unsqueeze", [weights, axis_1], "pool/weight_rows")
        sums = add("Squeeze", [add("MatMul", [rows, _HIDDEN], "pool/sum_rows"), axis_1], "pool/sums")
        counts = add("ReduceSum", [weights, axis_1], "pool/counts", keepdims=1)
        floor = constant("min_count", _MIN_COUNT, np.float32)
        pooled = add("Div", [sums, add("Max", [counts, floor], "pool/counts_floored")], "pool/pooled")
    elif pooling == "cls":
        pooled = add("Gather", [_HIDDEN, constant("first", 0, np.int64)], "pool/pooled", axis=1)
    elif pooling == "last":
        # The last position under the mask: mask * (1, 2, …, length) is largest there.
        zeros = add("Sub", [_MASK, _MASK], "pool/zeros")
        ones = add("Add", [zeros, constant("one", [1], np.int64)], "pool/ones")
        positions = add("CumSum", [ones, constant("cumsum_axis", 1, np.int64)], "pool/positions")
        marked = add("Mul", [_MASK, positions], "pool/marked")
        last = add("ArgMax", [marked], "pool/last", axis=1, keepdims=1)
        pooled = add("GatherND", [_HIDDEN, last], "pool/pooled", batch_dims=1)
    else:
        raise ValueError(f"unknown pooling '{pooling}': valid: mean, cls, last")
    if truncate:
        ends = (constant("zero", [0], np.int64), constant("dim", [dim], np.int64), axis_1)
        pooled = add("Slice", [pooled, *ends], "pool/cut")
    if normalize:
        # Not ReduceL2: ONNX Runtime's optimiser cannot infer its shape, and gives up fusing.
        squares = add("Mul", [pooled, pooled], "pool/squares")
        norms = add(
            "Sqrt", [add("ReduceSum", [squares, axis_1], "pool/square_sums", keepdims=1)], "pool/norms"
        )
        floor = constant("min_norm", _MIN_NORM, np.float32)
        add("Div", [pooled, add("Max", [norms, floor], "pool/norms_floored")], OUTPUT)
    else:
        add("Identity", [pooled], OUTPUT)
    del graph.output[:]
    shape = ["batch_size", dim]
    graph.output.append(helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, shape))


def remove_pooling(model: ModelProto) -> None:
    """Undo `add_pooling`, in place: the hidden states are the output again."""
    from onnx import TensorProto, helper

    graph = model.graph
    for part in (graph.node, graph.initializer):
        kept = [item for item in part if not item.name.startswith(POOLING_PREFIX)]
        del part[:]
        part.extend(kept)
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info(_HIDDEN, TensorProto.FLOAT, None))
