"""What one request makes a graph compute and move: floating-point operations and bytes, counted by shape.

Counted are the products, where nearly all the time of a transformer goes; one multiply-add is two
operations, integer products count like float ones, and a causal mask is not halved (as kernels compute):

- MatMul, Gemm and their fused and quantised kin: 2 · elements of the output · K, K the summed dimension.
- attention, fused or not: the scores, 2 · batch · heads · tokens · keys · head size, and as many again to
  weigh the values: the part that grows with the square of the length. The fused ``Attention`` holds the
  projections too: 2 · batch · tokens · in · (q + k + v).
- Conv: 2 · elements of the output · input channels of a group · kernel.

Not counted are sums, norms, softmax and activations; operators that hold products this module does not
know are named, and the sum is then None, never too small in silence.

So a text of t tokens costs exactly c + a·t + b·t² operations (c only where something is computed once a
text, on the pooled vector), and a batch of B texts padded to t tokens B times that.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from harness.artifacts.shapes import MICROSOFT, Tensor, attribute, infer_shapes, inner_graphs, name_of
from harness.artifacts.sizes import sizes_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from onnx import GraphProto, ModelProto, NodeProto

# ONNX's own operators that compute products in a way that is not counted here.
UNCOUNTED = frozenset(
    {"ConvInteger", "ConvTranspose", "DeformConv", "Einsum", "GRU", "If", "LSTM", "Loop", "QLinearConv",
     "RNN", "Scan"}
)  # fmt: skip
# Operators of other domains that hold no product; any other one of those that is not counted is unknown.
_WITHOUT_PRODUCTS = frozenset(
    f"{MICROSOFT}:{op}"
    for op in (
        "BiasAdd", "BiasGelu", "BiasSoftmax", "BiasSplitGelu", "DequantizeLinear", "EmbedLayerNormalization",
        "FastGelu", "GatherBlockQuantized", "Gelu", "QEmbedLayerNormalization", "QLinearAdd",
        "QLinearConcat", "QLinearMul",
        "QLinearSigmoid", "QLinearSoftmax", "QuantizeLinear", "QuickGelu", "RemovePadding", "RestorePadding",
        "RotaryEmbedding", "SimplifiedLayerNormalization", "SkipLayerNormalization",
        "SkipSimplifiedLayerNormalization",
    )
)  # fmt: skip
_STANDARD = ("", "ai.onnx", "ai.onnx.ml")
# They give their input another shape or name, and move nothing.
_FREE = frozenset(
    {"Constant", "Flatten", "Identity", "Reshape", "Shape", "Size", "Squeeze", "Unsqueeze", "Dropout"}
)
# They read only the rows of a table that the indices name: pairs of (table, indices) by position.
_LOOKUPS = {
    "Gather": ((0, 1),),
    f"{MICROSOFT}:GatherBlockQuantized": ((0, 1),),
    f"{MICROSOFT}:RotaryEmbedding": ((2, 1), (3, 1)),
    f"{MICROSOFT}:EmbedLayerNormalization": ((2, 0), (3, 0), (4, 0)),
    f"{MICROSOFT}:QEmbedLayerNormalization": ((2, 0), (3, 0), (4, 0)),
}


@dataclass(frozen=True)
class Polynomial:
    """c + a·t + b·t² in the tokens t of one text, exact: coefficients are whole numbers."""

    constant: int
    linear: int
    quadratic: int

    def __call__(self, tokens: int) -> int:
        """Its value at so many tokens."""
        return self.constant + self.linear * tokens + self.quadratic * tokens * tokens


@dataclass(frozen=True)
class Work:
    """What a request of `batch_size` texts of `tokens` tokens each, padding included, takes.

    `flops` is None where an operator that computes products cannot be counted; `uncounted` names those.
    `weight_bytes`: each weight read once, of a table looked up only the rows: what must be moved whatever
    the caches hold. `activation_bytes`: what every operator reads and writes besides, as if nothing stayed
    in a cache; None where a shape is unknown.
    """

    batch_size: int
    tokens: int
    flops: int | None
    uncounted: tuple[str, ...]
    weight_bytes: int
    activation_bytes: int | None

    @property
    def flops_per_token(self) -> float | None:
        """Operations per token."""
        return None if self.flops is None else self.flops / (self.batch_size * self.tokens)

    @property
    def bytes_per_token(self) -> float | None:
        """Bytes per token, weights and activations."""
        if self.activation_bytes is None:
            return None
        return (self.weight_bytes + self.activation_bytes) / (self.batch_size * self.tokens)


def work(model: ModelProto, *, batch_size: int, tokens: int) -> Work:
    """The work of one request.

    Args:
        model: the graph; its weights need not be loaded.
        batch_size: texts in the request.
        tokens: of each text, padding included.
    """
    known = infer_shapes(model, batch_size=batch_size, tokens=tokens)
    uncounted: dict[str, None] = {}
    flops = 0
    for node in model.graph.node:
        try:
            flops += node_flops(node, known)
        except _UnknownError:
            uncounted[name_of(node)] = None
    weight_bytes, activation_bytes = _bytes(model, known)
    return Work(
        batch_size=batch_size,
        tokens=tokens,
        flops=None if uncounted else flops,
        uncounted=tuple(uncounted),
        weight_bytes=weight_bytes,
        activation_bytes=activation_bytes,
    )


def flops_of_a_text(model: ModelProto) -> Polynomial | None:
    """The operations of one text as a polynomial in its tokens; None where they cannot be counted.

    Fitted exactly from three lengths and held against a fourth: where that disagrees, the graph's work is
    no such polynomial, and is unknown. So is that of a graph of one length alone.
    """
    if sizes_of(model).tokens is not None:
        return None
    at = (8, 16, 24, 40)
    found = [work(model, batch_size=1, tokens=tokens).flops for tokens in at]
    known = [flops for flops in found if flops is not None]
    if len(known) < len(at):
        return None
    first, second, third, fourth = known
    step = at[1] - at[0]
    curve = third - 2 * second + first
    quadratic, rest = divmod(curve, 2 * step * step)
    linear, rest_2 = divmod(second - first - quadratic * (at[1] ** 2 - at[0] ** 2), step)
    fitted = Polynomial(first - linear * at[0] - quadratic * at[0] ** 2, linear, quadratic)
    return fitted if rest == rest_2 == 0 and fitted(at[3]) == fourth else None


class _UnknownError(Exception):
    """The operations of a node cannot be told: an unknown shape or operator."""


def node_flops(node: NodeProto, known: Mapping[str, Tensor]) -> int:
    """Operations of a node; 0 for those that hold no product.

    Raises:
        _UnknownError: it computes products, or may, and how many cannot be told.
    """
    name = name_of(node)
    if rule := _RULES.get(name):
        return rule(node, known)
    if name in UNCOUNTED or (node.domain not in _STANDARD and name not in _WITHOUT_PRODUCTS):
        raise _UnknownError
    return 0


def _matmul(node: NodeProto, known: Mapping[str, Tensor]) -> int:
    a, b = _shape(node, 0, known), _shape(node, 3 if node.op_type == "QLinearMatMul" else 1, known)
    k = a[-2] if attribute(node, "transA", 0) and len(a) > 1 else a[-1]
    if len(a) == 1:
        return 2 * prod(b)
    if len(b) == 1:
        return 2 * prod(a)
    if len(b) == 2:
        return 2 * prod(a) * (b[0] if attribute(node, "transB", 0) else b[1])
    return 2 * prod(_shape_of(node.output[0], known)) * k


def _gemm(node: NodeProto, known: Mapping[str, Tensor]) -> int:
    a, b = _shape(node, 0, known), _shape(node, 3 if node.op_type == "QGemm" else 1, known)
    return 2 * prod(a) * (b[0] if attribute(node, "transB", 0) else b[1])


def _matmul_nbits(node: NodeProto, known: Mapping[str, Tensor]) -> int:
    return 2 * prod(_shape(node, 0, known)) * int(attribute(node, "N"))


def _conv(node: NodeProto, known: Mapping[str, Tensor]) -> int:
    return 2 * prod(_shape_of(node.output[0], known)) * prod(_shape(node, 1, known)[1:])


def _fused_attention(node: NodeProto, known: Mapping[str, Tensor]) -> int:
    batch, tokens, hidden = _shape(node, 0, known)
    sizes = attribute(node, "qkv_hidden_sizes") or [_shape(node, 1, known)[1] // 3] * 3
    q, _, v = (int(size) for size in sizes)
    projections = 2 * batch * tokens * hidden * sum(int(size) for size in sizes)
    return projections + 2 * batch * tokens * tokens * (q + v)


def _multi_head(node: NodeProto, known: Mapping[str, Tensor]) -> int:
    query = _shape(node, 0, known)
    if len(query) != 3 or not _has(node, 1) or not _has(node, 2):
        raise _UnknownError  # packed
    key, value = _shape(node, 1, known), _shape(node, 2, known)
    batch, tokens, width = query
    keys = key[1] if len(key) == 3 else key[2]
    value_width = value[2] if len(value) == 3 else value[1] * value[3]
    return 2 * batch * tokens * keys * (width + value_width)


def _grouped(node: NodeProto, known: Mapping[str, Tensor]) -> int:
    batch, tokens, width = _shape(node, 0, known)
    heads, kv_heads = int(attribute(node, "num_heads")), int(attribute(node, "kv_num_heads"))
    if not _has(node, 1):
        width = width // (heads + 2 * kv_heads) * heads
    past = 0
    if _has(node, 3):
        past = _shape(node, 3, known)[2]
    return 4 * batch * tokens * (tokens + past) * width


def _onnx_attention(node: NodeProto, known: Mapping[str, Tensor]) -> int:
    """ONNX's own Attention (opset 23): [batch, heads, tokens, size], or [batch, tokens, heads × size]."""
    query, key, value = (_shape(node, position, known) for position in range(3))
    if len(query) == 4:
        batch, heads, tokens, size = query
        return 2 * batch * heads * tokens * key[2] * (size + value[3])
    heads, kv_heads = int(attribute(node, "q_num_heads")), int(attribute(node, "kv_num_heads"))
    batch, tokens, width = query
    return 2 * batch * tokens * key[1] * (width + value[2] // kv_heads * heads)


def _has(node: NodeProto, position: int) -> bool:
    return len(node.input) > position and bool(node.input[position])


def _shape(node: NodeProto, position: int, known: Mapping[str, Tensor]) -> tuple[int, ...]:
    return _shape_of(node.input[position], known)


def _shape_of(name: str, known: Mapping[str, Tensor]) -> tuple[int, ...]:
    tensor = known.get(name)
    if tensor is None or tensor.shape is None:
        raise _UnknownError
    return tensor.shape


_RULES: dict[str, Callable[[NodeProto, Mapping[str, Tensor]], int]] = {
    "MatMul": _matmul,
    "MatMulInteger": _matmul,
    "QLinearMatMul": _matmul,
    f"{MICROSOFT}:FusedMatMul": _matmul,
    f"{MICROSOFT}:MatMulIntegerToFloat": _matmul,
    f"{MICROSOFT}:DynamicQuantizeMatMul": _matmul,
    f"{MICROSOFT}:MatMulNBits": _matmul_nbits,
    "Gemm": _gemm,
    f"{MICROSOFT}:QGemm": _gemm,
    "Conv": _conv,
    "Attention": _onnx_attention,
    f"{MICROSOFT}:Attention": _fused_attention,
    f"{MICROSOFT}:QAttention": _fused_attention,
    f"{MICROSOFT}:MultiHeadAttention": _multi_head,
    f"{MICROSOFT}:GroupQueryAttention": _grouped,
}


def _bytes(model: ModelProto, known: Mapping[str, Tensor]) -> tuple[int, int | None]:
    """Bytes of weights, each once, and of what flows between operators (None: unknown)."""
    weights = {w.name for w in model.graph.initializer}
    weights |= {n.output[0] for n in model.graph.node if n.op_type == "Constant"}
    read: dict[str, int] = {}
    looked_up = 0
    activations: list[int | None] = []
    for node in model.graph.node:
        name = name_of(node)
        if name in _FREE:
            continue
        inputs = [i for i in node.input if i]
        if within := list(inner_graphs(node)):
            read |= _weights_within(within, known, weights)
            activations.append(None)
        for table, indices in _LOOKUPS.get(name, ()):
            if node.input[table] in weights:
                looked_up += _rows_bytes(known[node.input[table]], known.get(node.input[indices]))
                inputs.remove(node.input[table])
        for weight in weights.intersection(inputs):
            read[weight] = known[weight].bytes or 0
        first, *others = node.output
        if first in known and known[first].value is not None:
            continue  # shape arithmetic: a few numbers
        activations += [known[i].bytes if i in known else None for i in (*inputs, first) if i not in weights]
        # A further output that nobody inferred is a mask or a statistic, of no size.
        activations += [known[o].bytes or 0 for o in others if o in known]
    flowed = [size for size in activations if size is not None]
    return sum(read.values()) + looked_up, sum(flowed) if len(flowed) == len(activations) else None


def _weights_within(
    graphs: list[GraphProto], known: Mapping[str, Tensor], weights: set[str]
) -> dict[str, int]:
    """Bytes of the weights that an operator's own graphs read or hold, by name."""
    named = weights.intersection(name for graph in graphs for node in graph.node for name in node.input)
    tensors = {name: known[name] for name in named}
    tensors |= {w.name: Tensor(w.data_type, tuple(w.dims)) for graph in graphs for w in graph.initializer}
    return {name: tensor.bytes or 0 for name, tensor in tensors.items()}


def _rows_bytes(table: Tensor, indices: Tensor | None) -> int:
    """Bytes of as many rows of a table as there are indices, at most the whole."""
    if table.bytes is None or not table.shape:
        return 0
    count = table.shape[0] if indices is None or indices.elements is None else indices.elements
    return table.bytes // max(1, table.shape[0]) * min(count, table.shape[0])
