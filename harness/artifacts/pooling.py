"""Pooling and normalisation, added to an exported graph as ONNX nodes.

In the graph they run where the model runs, and whoever deploys the artifact, in any language, cannot
apply the wrong ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray
    from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto

OUTPUT = "sentence_embedding"
# Names of all that is added begin so.
POOLING_PREFIX = "pool/"
# The vectors of the tokens, where the graph itself gives them in less than fp32.
_STATES = "pool/states"
# The output with a vector for each token, as transformers' and sentence-transformers' exports name it.
HIDDEN = ("last_hidden_state", "token_embeddings")
_MASK = "attention_mask"
# sentence-transformers' own floors under the token count and under the norm (torch's normalize).
_MIN_COUNT = 1e-9
_MIN_NORM = 1e-12
# The first opset whose operator takes its axes as an input; before, they are an attribute.
_AXES_ARE_AN_INPUT = {"Unsqueeze": 13, "Squeeze": 13, "ReduceSum": 13, "ReduceL2": 18}
# Below, CumSum and the wanted Max are missing; GatherND takes batch_dims from the next one on.
MIN_OPSET = 11


class Dense(NamedTuple):
    """A layer after pooling: weight float32 [out, in], bias float32 [out], an ONNX activation or None."""

    weight: NDArray[np.float32]
    bias: NDArray[np.float32] | None
    activation: str | None


class Pooling(NamedTuple):
    """The part of a graph that `add_pooling` added."""

    nodes: list[NodeProto]
    initializers: list[TensorProto]
    output: ValueInfoProto


def add_pooling(
    model: ModelProto,
    pooling: str,
    *,
    normalize: bool,
    dim: int,
    dense: Sequence[Dense] = (),
    truncate: bool = False,
) -> None:
    """Replace a graph's outputs by `OUTPUT`, float32 [batch_size, dim].

    Args:
        model: changed in place; has one of the outputs `HIDDEN` [batch, length, hidden] and the input
            ``attention_mask`` [batch, length]; from half precision on everything here is fp32.
        pooling: ``mean`` over the attention mask, ``cls`` (the first token under it) or ``last`` (the last
            one), so that either padding side works.
        normalize: divide by the L2 norm.
        dim: of the vectors.
        dense: layers between pooling and normalisation, in order.
        truncate: keep the first `dim` of the dimensions, before they are normalised (Matryoshka).

    Raises:
        ValueError: the graph lacks an input or output, has a name as those that are added, or too old an
            opset, or the pooling is unknown.
    """
    from onnx import TensorProto, helper, numpy_helper

    graph = model.graph
    outputs = {o.name: o.type.tensor_type.elem_type for o in graph.output}
    hidden = next((name for name in HIDDEN if name in outputs), None)
    if hidden is None or _MASK not in {i.name for i in graph.input}:
        raise ValueError(f"the graph lacks the output {HIDDEN[0]} or the input {_MASK}")
    named = [item.name for item in (*graph.node, *graph.initializer)]
    named += [name for node in graph.node for name in node.output]
    if taken := next((name for name in named if name.startswith(POOLING_PREFIX)), None):
        raise ValueError(
            f"the graph has the name {taken}: {POOLING_PREFIX} begins the names of what is added to it here; "
            "rename it"
        )

    opset = next(i.version for i in model.opset_import if i.domain in ("", "ai.onnx"))
    needed = MIN_OPSET + 1 if pooling == "last" else MIN_OPSET
    if opset < needed:
        raise ValueError(f"the graph's opset is {opset}: {pooling} pooling needs {needed} or newer")

    def constant(name: str, value: object, dtype: type[np.generic]) -> str:
        graph.initializer.append(numpy_helper.from_array(np.array(value, dtype=dtype), f"pool/{name}"))
        return f"pool/{name}"

    def add(op: str, inputs: list[str], output: str, **attributes: int) -> str:
        graph.node.append(helper.make_node(op, inputs, [output], name=f"pool/{op}/{output}", **attributes))
        return output

    if outputs[hidden] == TensorProto.FLOAT16:
        hidden = add("Cast", [hidden], _STATES, to=TensorProto.FLOAT)
    axis_1 = constant("axis_1", [1], np.int64)

    def over_axis_1(op: str, value: str, output: str, **attributes: int) -> str:
        if opset >= _AXES_ARE_AN_INPUT[op]:
            return add(op, [value, axis_1], output, **attributes)
        add(op, [value], output, **attributes)
        graph.node[-1].attribute.append(helper.make_attribute("axes", [1]))
        return output

    def weighted_sums(weights: str, output: str) -> str:
        rows = over_axis_1("Unsqueeze", weights, "pool/weight_rows")
        return over_axis_1("Squeeze", add("MatMul", [rows, hidden], "pool/sum_rows"), output)

    if pooling == "mean":
        weights = add("Cast", [_MASK], "pool/weights", to=TensorProto.FLOAT)
        sums = weighted_sums(weights, "pool/sums")
        counts = over_axis_1("ReduceSum", weights, "pool/counts", keepdims=1)
        floor = constant("min_count", _MIN_COUNT, np.float32)
        pooled = add("Div", [sums, add("Max", [counts, floor], "pool/counts_floored")], "pool/pooled")
    elif pooling == "cls":
        # Weight 1 where the mask is counted to 1 and set, 0 elsewhere.
        counted = add("CumSum", [_MASK, constant("cumsum_axis", 1, np.int64)], "pool/counted")
        is_one = add("Equal", [counted, constant("one", [1], np.int64)], "pool/is_one")
        once = add("Mul", [add("Cast", [is_one], "pool/once", to=TensorProto.INT64), _MASK], "pool/first")
        pooled = weighted_sums(add("Cast", [once], "pool/weights", to=TensorProto.FLOAT), "pool/pooled")
    elif pooling == "last":
        # The last position under the mask: mask * (1, 2, …, length) is largest there.
        zeros = add("Sub", [_MASK, _MASK], "pool/zeros")
        ones = add("Add", [zeros, constant("one", [1], np.int64)], "pool/ones")
        positions = add("CumSum", [ones, constant("cumsum_axis", 1, np.int64)], "pool/positions")
        marked = add("Mul", [_MASK, positions], "pool/marked")
        last = add("ArgMax", [marked], "pool/last", axis=1, keepdims=1)
        pooled = add("GatherND", [hidden, last], "pool/pooled", batch_dims=1)
    else:
        raise ValueError(f"unknown pooling '{pooling}': valid: mean, cls, last")
    for index, layer in enumerate(dense):
        weight = constant(f"dense_{index}/weight", layer.weight.T, np.float32)
        pooled = add("MatMul", [pooled, weight], f"pool/dense_{index}/product")
        if layer.bias is not None:
            bias = constant(f"dense_{index}/bias", layer.bias, np.float32)
            pooled = add("Add", [pooled, bias], f"pool/dense_{index}/sum")
        if layer.activation is not None:
            pooled = add(layer.activation, [pooled], f"pool/dense_{index}/activated")
    if truncate:
        ends = (constant("zero", [0], np.int64), constant("dim", [dim], np.int64), axis_1)
        pooled = add("Slice", [pooled, *ends], "pool/cut")
    if normalize:
        # Not ReduceL2: ONNX Runtime's optimiser cannot infer its shape, and gives up fusing.
        squares = add("Mul", [pooled, pooled], "pool/squares")
        norms = add("Sqrt", [over_axis_1("ReduceSum", squares, "pool/square_sums", keepdims=1)], "pool/norms")
        floor = constant("min_norm", _MIN_NORM, np.float32)
        add("Div", [pooled, add("Max", [norms, floor], "pool/norms_floored")], OUTPUT)
    else:
        add("Identity", [pooled], OUTPUT)
    del graph.output[:]
    shape = ["batch_size", dim]
    graph.output.append(helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, shape))


def detach_pooling(model: ModelProto) -> Pooling:
    """Undo `add_pooling`, in place: the vectors of the tokens are the output again.

    Shapes that were inferred inside it are forgotten.

    Returns:
        what was taken, for `attach_pooling`.
    """
    from onnx import TensorProto, helper

    graph = model.graph
    nodes, initializers, hidden = _added(graph)
    taken = Pooling(nodes, initializers, graph.output[0])
    shapes = [value for value in graph.value_info if value.name.startswith(POOLING_PREFIX)]
    for part, gone in ((graph.node, nodes), (graph.initializer, initializers), (graph.value_info, shapes)):
        names = {item.name for item in gone}
        kept = [item for item in part if item.name not in names]
        del part[:]
        part.extend(kept)
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info(hidden, TensorProto.FLOAT, None))
    return taken


def _added(graph: GraphProto) -> tuple[list[NodeProto], list[TensorProto], str]:
    """The nodes and initializers that `add_pooling` added, and the name of the tokens' vectors."""
    nodes = [node for node in graph.node if node.name.startswith(POOLING_PREFIX)]
    initializers = [tensor for tensor in graph.initializer if tensor.name.startswith(POOLING_PREFIX)]
    known = {o for node in nodes for o in node.output} | {tensor.name for tensor in initializers} | {_MASK}
    (hidden,) = {name for node in nodes for name in node.input} - known
    return nodes, initializers, hidden


def attach_pooling(model: ModelProto, pooling: Pooling) -> None:
    """Undo `detach_pooling`, in place."""
    graph = model.graph
    graph.node.extend(pooling.nodes)
    graph.initializer.extend(pooling.initializers)
    del graph.output[:]
    graph.output.append(pooling.output)


def expose_stages(model: ModelProto, *, normalize: bool) -> list[str]:
    """Make what `add_pooling` starts from, and what it normalises, outputs too, in place.

    Args:
        model: as `add_pooling` left it, at any precision.
        normalize: as it was told.

    Returns:
        the outputs' names: the vectors of the tokens [batch_size, length, hidden], the pooled vector and the
        normalised one [batch_size, dim]; the last two are one where nothing is normalised.
    """
    from onnx import TensorProto, helper

    graph = model.graph
    nodes, _, hidden = _added(graph)
    if any(_STATES in node.output for node in nodes):
        hidden = _STATES
    last = next(node for node in nodes if OUTPUT in node.output)
    pooled = last.input[0] if normalize else OUTPUT
    for name in {hidden, pooled} - {OUTPUT}:
        graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    return [hidden, pooled, OUTPUT]


def pool(
    hidden: NDArray[np.float32],
    pooling: str,
    *,
    normalize: bool,
    dense: Sequence[Dense] = (),
    dim: int | None = None,
) -> NDArray[np.float32]:
    """The same for one text without padding, in NumPy: a reference that owes nothing to the graph's nodes.

    Args:
        hidden: float32 [length, hidden].
        pooling: as for `add_pooling`.
        normalize: as for `add_pooling`.
        dense: as for `add_pooling`.
        dim: the dimensions to keep, the first ones; None keeps all.

    Returns:
        float32 [dim].
    """
    states = hidden.astype(np.float64)
    vector = {"mean": states.mean(axis=0), "cls": states[0], "last": states[-1]}[pooling]
    for layer in dense:
        vector = layer.weight.astype(np.float64) @ vector + (0.0 if layer.bias is None else layer.bias)
        vector = _ACTIVATIONS[layer.activation](vector)
    vector = vector[:dim]
    if normalize:
        vector = unit(vector)
    return np.asarray(vector, dtype=np.float32)


def unit(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    """A vector over its L2 norm, as `add_pooling` does it: zeros stay zeros."""
    scaled: NDArray[np.float64] = vector / max(float(np.linalg.norm(vector)), _MIN_NORM)
    return scaled


_ACTIVATIONS: dict[str | None, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    None: lambda x: x,
    "Tanh": np.tanh,
    "Relu": lambda x: np.maximum(x, 0.0),
    "Sigmoid": lambda x: 1.0 / (1.0 + np.exp(-x)),
}
