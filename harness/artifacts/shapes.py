"""The shape of every tensor of a graph at one batch size and length, by going through it once.

ONNX's own shape inference knows each standard operator; what it lacks is filled in here: the symbols of
the inputs are bound first, shape arithmetic (Shape, Gather, Concat, …) is computed as numbers along the
way, and the fused operators of ONNX Runtime have their rules in `_FUSED`. Needs the package onnx alone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray
    from onnx import GraphProto, ModelProto, NodeProto, TensorProto, TypeProto

Shape = tuple[int, ...]

# Inputs of a text model as they are usually called.
_TEXT_INPUTS = ("input_ids", "attention_mask", "token_type_ids", "position_ids")
# Values are computed along the way only where they are this small: shapes, axes, scalars.
_MOST_VALUES = 4_096
# Types of which several values share a byte.
_PACKED = re.compile(r"U?INT([24])|FLOAT(4)E2M1")
# The fused operators' own namespace.
MICROSOFT = "com.microsoft"


@dataclass(frozen=True)
class Tensor:
    """What is known of a tensor; None is unknown. `dtype` is ONNX's number of it."""

    dtype: int | None
    shape: Shape | None
    value: NDArray[Any] | None = None

    @property
    def elements(self) -> int | None:
        """How many; None where the shape is unknown."""
        return None if self.shape is None else int(np.prod(self.shape, dtype=np.int64))

    @property
    def bytes(self) -> int | None:
        """In memory; two 4-bit values share a byte."""
        if self.dtype is None or self.elements is None:
            return None
        return -(-self.elements * bits_of(self.dtype) // 8)


def bits_of(dtype: int) -> int:
    """Bits of a value of ONNX's dtype; 0 for a string."""
    from onnx import TensorProto as T
    from onnx import helper

    if packed := _PACKED.fullmatch(T.DataType.Name(dtype)):
        return int(packed[1] or packed[2])
    return 0 if dtype == T.STRING else int(np.dtype(helper.tensor_dtype_to_np_dtype(dtype)).itemsize * 8)


def name_of(node: NodeProto) -> str:
    """An operator's name, with its domain where that is not ONNX's own: ``com.microsoft:Attention``."""
    return str(node.op_type) if node.domain in ("", "ai.onnx") else f"{node.domain}:{node.op_type}"


def attribute(node: NodeProto, name: str, default: Any = None) -> Any:
    """An attribute's value, or the default."""
    from onnx import helper

    found = next((a for a in node.attribute if a.name == name), None)
    return default if found is None else helper.get_attribute_value(found)


def inner_graphs(node: NodeProto) -> Iterator[GraphProto]:
    """The graphs within an operator (Loop, If, Scan), and those within theirs."""
    for part in node.attribute:
        for graph in (*([part.g] if part.HasField("g") else []), *part.graphs):
            yield graph
            for inner in graph.node:
                yield from inner_graphs(inner)


def dims_of(value_type: TypeProto) -> tuple[int | str | None, ...] | None:
    """The declared dims of a tensor: a number, a symbol, or None without a name; None without a shape.

    A negative number is how some converters write a dynamic axis, and ONNX Runtime reads it so.
    """
    if not value_type.tensor_type.HasField("shape"):
        return None
    return tuple(
        int(d.dim_value) if d.HasField("dim_value") and d.dim_value >= 0 else (str(d.dim_param) or None)
        for d in value_type.tensor_type.shape.dim
    )


def text_inputs(graph: GraphProto) -> dict[str, TypeProto]:
    """The inputs that are [batch, tokens], whatever their axes are called.

    They have their usual names; where none has, they are those of whole numbers or booleans with two axes.
    """
    from onnx import TensorProto as T

    weights = {w.name for w in graph.initializer}
    inputs = {i.name: i.type for i in graph.input if i.name not in weights}
    whole = (T.INT64, T.INT32, T.BOOL)
    return {name: inputs[name] for name in _TEXT_INPUTS if name in inputs} or {
        name: kind
        for name, kind in inputs.items()
        if kind.tensor_type.elem_type in whole and len(dims_of(kind) or ()) == 2
    }


def bound_inputs(graph: GraphProto, *, batch_size: int, tokens: int) -> dict[str, Tensor]:
    """The graph's inputs with their symbols bound; a shape whose symbol nobody knows is None.

    Text inputs (`text_inputs`) are [batch, tokens] by position, and what their symbols are called binds the
    others'; a past (KV cache) is empty; elsewhere a symbol is read by its name.
    """
    weights = {w.name for w in graph.initializer}
    inputs = {i.name: i.type for i in graph.input if i.name not in weights}
    symbols: dict[str, int] = {}
    texts = text_inputs(graph)
    for value_type in texts.values():
        for dim, size in zip(dims_of(value_type) or (), (batch_size, tokens), strict=False):
            if isinstance(dim, str):
                symbols.setdefault(dim, size)
    bound = {}
    for name, value_type in inputs.items():
        sizes: list[int | None] = []
        for position, dim in enumerate(dims_of(value_type) or ()):
            if isinstance(dim, int):
                sizes.append(dim)
            elif name in texts and position < 2:
                sizes.append((batch_size, tokens)[position])
            else:
                known = symbols.get(dim) if dim else None
                sizes.append(known if known is not None else _by_name(dim, batch_size, tokens))
        whole = [size for size in sizes if size is not None]
        known_shape = dims_of(value_type) is not None and len(whole) == len(sizes)
        bound[name] = Tensor(_dtype_of(value_type), tuple(whole) if known_shape else None)
    return bound


def _dtype_of(value_type: TypeProto) -> int | None:
    """Of a tensor; None of a sequence or an optional, whose shape nobody knows either."""
    return int(value_type.tensor_type.elem_type) or None


def _by_name(symbol: str | None, batch_size: int, tokens: int) -> int | None:
    word = (symbol or "").lower()
    if "past" in word:
        return tokens if "+" in word or "total" in word else 0
    if "batch" in word:
        return batch_size
    return tokens if "seq" in word or "token" in word or "length" in word else None


def infer_shapes(model: ModelProto, *, batch_size: int, tokens: int) -> dict[str, Tensor]:
    """What is known of every tensor of the main graph, by name, at a batch size and length.

    Args:
        model: its weights need not be loaded.
        batch_size: of the inputs.
        tokens: length of each text, padding included.
    """
    known = {w.name: _of_weight(w) for w in model.graph.initializer}
    known |= bound_inputs(model.graph, batch_size=batch_size, tokens=tokens)
    opsets = {i.domain or "": int(i.version) for i in model.opset_import}
    opsets.setdefault("", opsets.get("ai.onnx", 1))
    for node in in_order(model.graph):
        found = _outputs(node, known, opsets)
        for name, tensor in zip(node.output, found, strict=False):
            if name:
                known[name] = tensor
    return known


def in_order(graph: GraphProto) -> Iterator[NodeProto]:
    """Nodes after what they read. ONNX demands that order, but converters append where they please."""
    waiting = list(graph.node)
    missing = {output for node in waiting for output in node.output if output}
    while waiting:
        late = []
        for node in waiting:
            if missing.isdisjoint(node.input):
                missing.difference_update(node.output)
                yield node
            else:
                late.append(node)
        if len(late) == len(waiting):  # a circle: no graph that runs
            return
        waiting = late


def _of_weight(weight: TensorProto) -> Tensor:
    from onnx import TensorProto, numpy_helper

    shape = tuple(int(dim) for dim in weight.dims)
    here = weight.data_location != TensorProto.EXTERNAL
    small = here and int(np.prod(shape, dtype=np.int64)) <= _MOST_VALUES
    return Tensor(weight.data_type, shape, numpy_helper.to_array(weight) if small else None)


def _of_value(value: NDArray[Any]) -> Tensor:
    from onnx import helper

    kept = value if value.size <= _MOST_VALUES else None
    return Tensor(int(helper.np_dtype_to_tensor_dtype(value.dtype)), tuple(value.shape), kept)


def _outputs(node: NodeProto, known: Mapping[str, Tensor], opsets: Mapping[str, int]) -> list[Tensor]:
    unknown = Tensor(None, None)
    inputs = [known.get(name, unknown) if name else None for name in node.input]
    if node.domain not in ("", "ai.onnx") or node.op_type in _IN_ONNX_S_DOMAIN:
        rule = _FUSED.get(node.op_type) if node.domain in (MICROSOFT, "", "ai.onnx") else None
        return [unknown] if rule is None else rule(node, inputs)
    if node.op_type == "Constant":
        return [_constant(node)]
    first = inputs[0] if inputs else None
    if node.op_type in ("Shape", "Size") and first is not None and first.shape is not None:
        ends = slice(attribute(node, "start", 0), attribute(node, "end"))
        sizes: Any = first.shape[ends] if node.op_type == "Shape" else first.elements
        return [_of_value(np.array(sizes, dtype=np.int64))]
    inferred = _inferred(node, known, opsets)
    if all(i is None or i.value is not None for i in inputs) and _are_small(inferred):
        return _computed(node, inputs, opsets) or inferred
    return inferred


def _are_small(tensors: list[Tensor]) -> bool:
    sizes = [tensor.elements for tensor in tensors]
    return all(size is None or size <= _MOST_VALUES for size in sizes)


def _constant(node: NodeProto) -> Tensor:
    from onnx import numpy_helper

    for part in node.attribute:
        if part.name == "value":
            return _of_weight(part.t)
        if part.name in ("value_int", "value_ints"):
            return _of_value(np.array(part.i if part.name == "value_int" else part.ints, dtype=np.int64))
        if part.name in ("value_float", "value_floats"):
            return _of_value(
                np.array(part.f if part.name == "value_float" else part.floats, dtype=np.float32)
            )
        if part.name == "sparse_value":
            return Tensor(int(numpy_helper.to_array(part.sparse_tensor.values).dtype.num), None)
    return Tensor(None, None)


def _computed(node: NodeProto, inputs: list[Tensor | None], opsets: Mapping[str, int]) -> list[Tensor]:
    """The outputs as numbers, by ONNX's reference implementation; none where that cannot."""
    from onnx.reference import ReferenceEvaluator

    feeds = {
        name: tensor.value for name, tensor in zip(node.input, inputs, strict=True) if tensor is not None
    }
    try:
        with np.errstate(all="ignore"):  # a logarithm of zero that a Where leaves out is none of the user's
            results = ReferenceEvaluator(node, opsets={"": opsets[""]}).run(None, feeds)
        return [_of_value(np.asarray(result)) for result in results]
    except Exception:  # an operator it does not implement: the inferred shape is still right
        return []


def _inferred(node: NodeProto, known: Mapping[str, Tensor], opsets: Mapping[str, int]) -> list[Tensor]:
    """The outputs' types by ONNX's inference of this node alone."""
    import onnx
    from onnx import defs, helper, numpy_helper, shape_inference

    types, values = {}, {}
    for name in node.input:
        tensor = known.get(name)
        if not name or tensor is None or tensor.dtype is None:
            continue
        types[name] = helper.make_tensor_type_proto(tensor.dtype, tensor.shape)
        if tensor.value is not None:
            values[name] = numpy_helper.from_array(np.asarray(tensor.value), name)
    unknown = [Tensor(None, None) for _ in node.output]
    if any(name and name not in types for name in node.input):
        return unknown
    try:
        schema = defs.get_schema(node.op_type, opsets[""], "")
        imports = [helper.make_opsetid("", opsets[""])]
        found = shape_inference.infer_node_outputs(schema, node, types, values, opset_imports=imports)
    except (
        defs.SchemaError,
        shape_inference.InferenceError,
        onnx.onnx_cpp2py_export.checker.ValidationError,
    ):
        return unknown
    result = []
    for name in node.output:
        dims = dims_of(found[name]) if name in found else None
        sizes = None if dims is None else tuple(dim for dim in dims if isinstance(dim, int))
        whole = sizes if dims is not None and sizes is not None and len(sizes) == len(dims) else None
        result.append(Tensor(_dtype_of(found[name]) if name in found else None, whole))
    return result


def _like_first(node: NodeProto, inputs: list[Tensor | None]) -> list[Tensor]:
    """Every output as the first input: normalisations, activations."""
    first = inputs[0] or Tensor(None, None)
    kept = Tensor(first.dtype, first.shape)
    return [kept for _ in node.output]


def _skip_norm(node: NodeProto, inputs: list[Tensor | None]) -> list[Tensor]:
    """SkipLayerNormalization: output and, fourth, the sum, as the input; mean and inverse between."""
    kept = _like_first(node, inputs)[0]
    return [kept, Tensor(None, None), Tensor(None, None), kept][: len(node.output)]


def _embed_norm(node: NodeProto, inputs: list[Tensor | None]) -> list[Tensor]:
    """EmbedLayerNormalization and its quantised kin: ids [batch, tokens], a table [vocabulary, hidden]."""
    from onnx import TensorProto

    ids, table = inputs[0], inputs[2]
    if ids is None or table is None or ids.shape is None or table.shape is None:
        return [Tensor(None, None) for _ in node.output]
    dtype = TensorProto.FLOAT if node.op_type.startswith("Q") else table.dtype
    summed = Tensor(dtype, (*ids.shape, table.shape[-1]))
    return [summed, Tensor(ids.dtype, ids.shape[:1]), summed][: len(node.output)]


def _attention(node: NodeProto, inputs: list[Tensor | None]) -> list[Tensor]:
    """Attention, QAttention: input [batch, tokens, in], weights [in, q + k + v]."""
    x, weights = inputs[0], inputs[1]
    if x is None or weights is None or x.shape is None or weights.shape is None:
        return [Tensor(None, None) for _ in node.output]
    sizes = attribute(node, "qkv_hidden_sizes")
    width = int(sizes[2]) if sizes else weights.shape[1] // 3
    bias = inputs[2]  # of QAttention x is int8, and the result as the bias or the scale
    dtype = bias.dtype if bias is not None else x.dtype
    unknown = [Tensor(None, None) for _ in node.output[1:]]
    return [Tensor(dtype, (*x.shape[:-1], width)), *unknown]


def _multi_head(node: NodeProto, inputs: list[Tensor | None]) -> list[Tensor]:
    """MultiHeadAttention: query [batch, tokens, hidden], value [batch, kv tokens, v hidden]."""
    query = inputs[0]
    if query is None or query.shape is None or len(query.shape) != 3:
        return [Tensor(None, None) for _ in node.output]
    value = inputs[2] if len(inputs) > 2 else None
    width = value.shape[-1] if value is not None and value.shape and len(value.shape) == 3 else query.shape[2]
    unknown = [Tensor(None, None) for _ in node.output[1:]]
    return [Tensor(query.dtype, (*query.shape[:2], width)), *unknown]


def _grouped(node: NodeProto, inputs: list[Tensor | None]) -> list[Tensor]:
    """GroupQueryAttention: query [batch, tokens, heads × size]; packed, it holds key and value too."""
    query = inputs[0]
    if query is None or query.shape is None:
        return [Tensor(None, None) for _ in node.output]
    heads, kv_heads = int(attribute(node, "num_heads")), int(attribute(node, "kv_num_heads"))
    width = query.shape[2]
    if len(inputs) < 2 or inputs[1] is None:
        width = width // (heads + 2 * kv_heads) * heads
    unknown = [Tensor(None, None) for _ in node.output[1:]]
    return [Tensor(query.dtype, (*query.shape[:2], width)), *unknown]


def _matmul_nbits(node: NodeProto, inputs: list[Tensor | None]) -> list[Tensor]:
    """MatMulNBits: A [..., K], B packed; its attributes say K and N."""
    a = inputs[0]
    if a is None or a.shape is None:
        return [Tensor(None, None)]
    return [Tensor(a.dtype, (*a.shape[:-1], int(attribute(node, "N"))))]


def _matmul(node: NodeProto, inputs: list[Tensor | None]) -> list[Tensor]:
    """FusedMatMul, MatMulIntegerToFloat, DynamicQuantizeMatMul: as MatMul, transposed by attribute."""
    from onnx import TensorProto

    a, b = inputs[0], inputs[1]
    if a is None or b is None or a.shape is None or b.shape is None or min(len(a.shape), len(b.shape)) < 2:
        return [Tensor(None, None)]
    rows = a.shape[-1] if attribute(node, "transA", 0) else a.shape[-2]
    columns = b.shape[-2] if attribute(node, "transB", 0) else b.shape[-1]
    try:
        batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    except ValueError:
        return [Tensor(None, None)]
    dtype = a.dtype if node.op_type == "FusedMatMul" else TensorProto.FLOAT
    return [Tensor(dtype, (*batch, rows, columns))]


def _gather_quantized(node: NodeProto, inputs: list[Tensor | None]) -> list[Tensor]:
    """GatherBlockQuantized along axis 0: rows of a table, dequantised; 4-bit values in bytes unpacked."""
    from onnx import TensorProto

    table, ids, scales = inputs[0], inputs[1], inputs[2]
    if table is None or ids is None or scales is None or table.shape is None or ids.shape is None:
        return [Tensor(None, None)]
    packed = table.dtype == TensorProto.UINT8 and int(attribute(node, "bits", 4)) == 4
    width = table.shape[-1] * (2 if packed else 1)
    return [Tensor(scales.dtype, (*ids.shape, *table.shape[1:-1], width))]


# Operators of ONNX Runtime's own that its optimiser writes into ONNX's domain.
_IN_ONNX_S_DOMAIN = ("SimplifiedLayerNormalization",)
# The output shapes of ONNX Runtime's own operators (ContribOperators.md), where transformers have them.
_FUSED: dict[str, Callable[[NodeProto, list[Tensor | None]], list[Tensor]]] = {
    "Attention": _attention,
    "QAttention": _attention,
    "MultiHeadAttention": _multi_head,
    "GroupQueryAttention": _grouped,
    "MatMulNBits": _matmul_nbits,
    "FusedMatMul": _matmul,
    "MatMulIntegerToFloat": _matmul,
    "DynamicQuantizeMatMul": _matmul,
    "GatherBlockQuantized": _gather_quantized,
    "EmbedLayerNormalization": _embed_norm,
    "QEmbedLayerNormalization": _embed_norm,
    "SkipLayerNormalization": _skip_norm,
    "SkipSimplifiedLayerNormalization": _skip_norm,
    "SimplifiedLayerNormalization": _like_first,
    "RotaryEmbedding": _like_first,
    "BiasGelu": _like_first,
    "FastGelu": _like_first,
    "QuickGelu": _like_first,
    "Gelu": _like_first,
    "BiasSplitGelu": _like_first,
    "BiasAdd": _like_first,
}
