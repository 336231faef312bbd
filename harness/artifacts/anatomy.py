"""What an ONNX graph is, read from the graph alone: architecture, operators, weights, work, warnings.

Nothing is guessed: what the graph does not say is None. Needs the package onnx alone, runs nothing.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from harness.artifacts.graphs import (
    NEEDS_ONNX,
    constants,
    external_place,
    inlined,
    picks_tokens,
    said_by,
    tensors,
)
from harness.artifacts.parameters import count_parameters
from harness.artifacts.shapes import MICROSOFT, attribute, dims_of, infer_shapes, inner_graphs, name_of
from harness.artifacts.work import Polynomial, Work, flops_of_a_text, work
from harness.errors import BadInputError, RuntimeUnavailableError
from harness.paths import unreadable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from onnx import GraphProto, ModelProto, NodeProto, TensorProto, TypeProto, ValueInfoProto

    from harness.artifacts.shapes import Shape, Tensor

# LayerNormalization is an operator since opset 17; before, each is a chain of seven.
OPSET_MIN = 17
# The operators that are an attention each.
_ATTENTIONS = frozenset(
    {"Attention"}
    | {f"{MICROSOFT}:{op}" for op in ("Attention", "QAttention", "MultiHeadAttention", "GroupQueryAttention")}
)
_NORMS = ("ReduceL2", "ReduceSumSquare")
# A norm stands at most this many operators before the output: Div, Max or Clip, Expand, ReduceL2.
_NORM_DEPTH = 6


@dataclass(frozen=True)
class Port:
    """An input or output: `dims` are numbers, symbols, or None without a name; None without a shape."""

    name: str
    dtype: str
    dims: tuple[int | str | None, ...] | None


@dataclass(frozen=True)
class Architecture:
    """A transformer's figures as the graph shows them; None where it does not.

    `layers` counts attentions, `hidden` is what most products with weights read, `ffn` the widest input of a
    projection back to `hidden`.
    """

    layers: int | None
    hidden: int | None
    heads: int | None
    ffn: int | None
    vocab_size: int | None


@dataclass(frozen=True)
class Anatomy:
    """A graph's structure, weights and work.

    `parameters` is the same at every precision (`harness.artifacts.parameters`); `embedding_parameters` are
    those of the token table. `operators` and `initializer_bytes` are sorted, largest first.
    `external_bytes` lie in `external_files` beside the graph. `flops_of_a_text` is the
    number of operations of a text as a polynomial of its tokens.
    """

    architecture: Architecture
    opsets: dict[str, int]
    ir_version: int
    producer: str
    nodes: int
    operators: dict[str, int]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    dynamic_axes: tuple[str, ...]
    parameters: int
    embedding_parameters: int | None
    initializer_bytes: dict[str, int]
    largest_dim: int
    external_files: tuple[str, ...]
    external_bytes: int
    work: Work
    flops_of_a_text: Polynomial | None
    warnings: tuple[str, ...]

    @property
    def embedding_share(self) -> float | None:
        """Of the parameters, those in the token table."""
        if self.embedding_parameters is None or not self.parameters:
            return None
        return self.embedding_parameters / self.parameters


def load_graph(path: Path) -> ModelProto:
    """An ONNX file, its own functions inlined, without its external data, which must lie beside it.

    Raises:
        BadInputError: not a readable ONNX graph, or external data outside its folder or missing.
        RuntimeUnavailableError: the package onnx is not installed.
    """
    try:
        import onnx
    except ImportError:
        raise RuntimeUnavailableError(NEEDS_ONNX) from None
    try:
        model = onnx.load(path, format="protobuf", load_external_data=False)
    except OSError as error:
        raise BadInputError(unreadable(path, error)) from None
    except Exception:  # protobuf has several names for bytes that are no message
        raise BadInputError(f"{path}: no ONNX graph, or cut short; give the .onnx file whole") from None
    for what, parts in (("operator", model.graph.node), ("output", model.graph.output)):
        if not parts:
            raise BadInputError(f"{path}: no ONNX graph: it holds no {what}; give the .onnx file")
    try:
        model = inlined(model)
    except Exception as error:  # it has a class for each kind of reason
        raise BadInputError(f"{path}: a damaged graph ({said_by(error)}); copy or export it anew") from None
    for tensor in tensors(model):
        if tensor.data_type not in onnx.TensorProto.DataType.values():
            raise BadInputError(
                f"{path}: its weight '{tensor.name}' is of data type {tensor.data_type}, which onnx "
                f"{onnx.__version__} does not know; install a newer onnx, or export it anew"
            )
    for tensor in tensors(model):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            _check_external(path, tensor)
    return model


def flaw_of(path: Path) -> str | None:
    """What ONNX's own checker finds wrong with a graph, its first line; None where that is nothing."""
    import onnx

    try:
        onnx.checker.check_model(str(path))
    except Exception as error:  # bytes that are no text in a name have a class of their own
        return str(error).split("\n")[0].rstrip(".: ")
    return None


def refusal_of(path: Path) -> str | None:
    """Why ONNX Runtime, not as strict as ONNX's checker, does not load a graph; None where it does."""
    import onnxruntime as ort

    settings = ort.SessionOptions()
    settings.log_severity_level = 4
    settings.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        ort.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
    except Exception as error:  # it has a class for each kind of reason
        return said_by(error)
    return None


def external_data(model: ModelProto) -> dict[str, int]:
    """The external files that a graph names, each with the bytes of its weights there."""
    from onnx import TensorProto

    found: dict[str, int] = {}
    for tensor in tensors(model):
        if tensor.data_location == TensorProto.EXTERNAL:
            place = external_place(tensor).get("location", "")
            size = _tensor_bytes(tensor)
            found[place] = found.get(place, 0) + size
    return found


def _check_external(path: Path, tensor: TensorProto) -> None:
    """External data must be whole, in one file in the graph's own folder or below, links followed.

    Raises:
        BadInputError: it is not.
    """
    try:
        where = external_place(tensor)
    except ValueError as error:
        raise BadInputError(f"{path}: {error}") from None
    place = where.get("location", "")
    folder = path.resolve().parent
    target = (folder / place).resolve()
    if not place or Path(place).is_absolute() or ".." in Path(place).parts or folder not in target.parents:
        raise BadInputError(
            f"{path}: its external data '{place}' lies outside its folder: refused as path traversal; get "
            "the graph from a source you trust"
        )
    if not target.is_file():
        raise BadInputError(f"{path}: its external data '{place}' is missing; put the file beside it")
    size = _tensor_bytes(tensor)
    begins, lasts = where.get("offset", "0"), where.get("length", str(size))
    if not begins.isdecimal() or lasts != str(size):
        raise BadInputError(
            f"{path}: a damaged graph (its weight '{tensor.name}' of {size} bytes would lie in '{place}' at "
            f"offset {begins}, length {lasts}); copy or export it anew"
        )
    if (least := int(begins) + size) > (found := target.stat().st_size):
        raise BadInputError(
            f"{path}: its external data '{place}' is cut short: it has {found} bytes, '{tensor.name}' ends "
            f"at {least}; copy the file anew"
        )


def read_anatomy(
    model: ModelProto, *, batch_size: int, tokens: int, tokenizer_vocab: int | None = None
) -> Anatomy:
    """A graph's anatomy.

    Args:
        model: as `load_graph` gives it.
        batch_size: of the request whose work is told.
        tokens: of each of its texts, padding included.
        tokenizer_vocab: one more than the largest token id that the tokenizer gives; None is unknown.
    """
    graph = model.graph
    known = infer_shapes(model, batch_size=batch_size, tokens=tokens)
    weights = {name for name, _ in constants(graph)}
    architecture, table = _architecture(graph, known, weights)
    inputs = tuple(_port(i) for i in graph.input if i.name not in weights)
    outputs = tuple(_port(o) for o in graph.output)
    opsets = {i.domain or "ai.onnx": int(i.version) for i in model.opset_import}
    external = external_data(model)
    done = work(model, batch_size=batch_size, tokens=tokens)
    return Anatomy(
        architecture=architecture,
        opsets=opsets,
        ir_version=int(model.ir_version),
        producer=" ".join(part for part in (model.producer_name, model.producer_version) if part),
        nodes=len(graph.node),
        operators=dict(Counter(name_of(node) for node in graph.node).most_common()),
        inputs=inputs,
        outputs=outputs,
        dynamic_axes=_symbols((*inputs, *outputs)),
        parameters=count_parameters(model),
        embedding_parameters=None if table is None else int(np.prod(table)),
        initializer_bytes=_bytes_by_dtype(graph),
        largest_dim=max((dim for _, w in constants(graph) for dim in w.dims), default=0),
        external_files=tuple(external),
        external_bytes=sum(external.values()),
        work=done,
        flops_of_a_text=flops_of_a_text(model),
        warnings=tuple(_warnings(graph, inputs, outputs, opsets, architecture, done, tokenizer_vocab)),
    )


def _port(value: ValueInfoProto) -> Port:
    return Port(str(value.name), _kind(value.type), dims_of(value.type))


def _kind(value_type: TypeProto) -> str:
    """A tensor's dtype; what a sequence or an optional holds, and that it is one."""
    from onnx import TensorProto

    for name in ("sequence", "optional"):
        if value_type.HasField(f"{name}_type"):
            return f"{name} of {_kind(getattr(value_type, f'{name}_type').elem_type)}"
    return str(TensorProto.DataType.Name(value_type.tensor_type.elem_type)).lower()


def _symbols(ports: tuple[Port, ...]) -> tuple[str, ...]:
    """The names of the dynamic axes; one without a name by its place, as ``input_ids[1]``."""
    found = dict.fromkeys(
        dim or f"{port.name}[{position}]"
        for port in ports
        for position, dim in enumerate(port.dims or ())
        if not isinstance(dim, int)
    )
    return tuple(found)


def _architecture(
    graph: GraphProto, known: Mapping[str, Tensor], weights: set[str]
) -> tuple[Architecture, Shape | None]:
    """The figures, and the shape of the token table."""
    table = _token_table(graph, known, weights)
    vocab, hidden = (None, None) if table is None else (table[0], table[1])
    projections = list(_projections(graph, known))
    if hidden is not None and projections:  # the table may be narrower: ALBERT, small ELECTRA
        hidden = Counter(k for k, _ in projections).most_common(1)[0][0]
    attentions = [node for node in graph.node if _is_attention(node)]
    ffn = None
    if hidden is not None:
        ffn = max((k for k, n in projections if n == hidden and k != hidden), default=None)
    found = Architecture(
        layers=len(attentions) or None,
        hidden=hidden,
        heads=_heads(attentions, known),
        ffn=ffn,
        vocab_size=vocab,
    )
    return found, table


def _token_table(graph: GraphProto, known: Mapping[str, Tensor], weights: set[str]) -> Shape | None:
    """Of the weight whose rows the token ids pick: [vocabulary, hidden]."""
    sources = {output: node for node in graph.node for output in node.output}
    for node in graph.node:
        name = name_of(node)
        if name.endswith("EmbedLayerNormalization"):
            shape = known[node.input[2]].shape
            return shape if shape is not None and len(shape) == 2 else None
        if name not in ("Gather", f"{MICROSOFT}:GatherBlockQuantized"):
            continue
        data = node.input[0]
        while data in sources and sources[data].op_type in ("DequantizeLinear", "Cast", "Identity"):
            data = sources[data].input[0]
        shape = known[data].shape if data in weights else None
        if picks_tokens(node, sources) and shape is not None and len(shape) == 2:
            rows = known.get(node.output[0])
            width = rows.shape[-1] if rows is not None and rows.shape else shape[1]
            return shape[0], width
    return None


def _is_attention(node: NodeProto) -> bool:
    return node.op_type == "Softmax" or name_of(node) in _ATTENTIONS


def _heads(attentions: list[NodeProto], known: Mapping[str, Tensor]) -> int | None:
    """Query heads, where all attentions agree."""
    found: set[int | None] = set()
    for node in attentions:
        if node.op_type == "Softmax":
            scores = known[node.input[0]].shape
            found.add(scores[1] if scores is not None and len(scores) == 4 else None)
        else:
            heads = attribute(node, "num_heads", attribute(node, "q_num_heads"))
            query = known[node.input[0]].shape
            found.add(int(heads) if heads else query[1] if query is not None and len(query) == 4 else None)
    return found.pop() if len(found) == 1 else None


def _projections(graph: GraphProto, known: Mapping[str, Tensor]) -> Iterator[tuple[int, int]]:
    """(in, out) of every product with a weight matrix."""
    for node in graph.node:
        if node.op_type == "MatMulNBits":
            yield int(attribute(node, "K")), int(attribute(node, "N"))
        elif node.op_type in ("MatMul", "MatMulInteger", "FusedMatMul", "Gemm", "DynamicQuantizeMatMul",
                              "MatMulIntegerToFloat"):  # fmt: skip
            shape = known[node.input[1]].shape if node.input[1] in known else None
            if shape is not None and len(shape) == 2:
                yield (shape[1], shape[0]) if attribute(node, "transB", 0) else (shape[0], shape[1])


def _bytes_by_dtype(graph: GraphProto) -> dict[str, int]:
    """Of the weights, a node ``Constant`` of one number left out."""
    from onnx import TensorProto

    sizes: Counter[str] = Counter()
    kept = {weight.name for weight in graph.initializer}
    for name, weight in constants(graph):
        if name not in kept and np.prod(weight.dims) <= 1:
            continue
        sizes[TensorProto.DataType.Name(weight.data_type).lower()] += _tensor_bytes(weight)
    return dict(sizes.most_common())


def _tensor_bytes(tensor: TensorProto) -> int:
    from harness.artifacts.shapes import Tensor

    return Tensor(tensor.data_type, tuple(int(dim) for dim in tensor.dims)).bytes or 0


def _warnings(
    graph: GraphProto,
    inputs: tuple[Port, ...],
    outputs: tuple[Port, ...],
    opsets: Mapping[str, int],
    architecture: Architecture,
    done: Work,
    tokenizer_vocab: int | None,
) -> Iterator[str]:
    for port in outputs:
        if port.name.startswith(("present", "past")):
            continue
        if port.dims is not None and len(port.dims) != 2:
            what = "one vector a token; whoever calls must pool"
            told = what if len(port.dims) == 3 else "neither a vector of each text nor of each token"
            yield f"output {port.name} has {len(port.dims)} axes: {told}"
        elif not _is_normalised(graph, port.name):
            yield f"output {port.name} is not L2-normalised in the graph; whoever calls must do it"
    names = [port.name for port in inputs]
    if not any("mask" in name for name in names):
        yield "no mask among the inputs: padding would be read as text, so batches must hold equal lengths"
    if past := [name for name in names if "past" in name]:
        yield f"{len(past)} inputs of a KV cache ({past[0]}, …): a causal export; they are fed empty"
    opset = opsets.get("ai.onnx", 0)
    if opset < OPSET_MIN:
        yield f"opset {opset} is old: under {OPSET_MIN} LayerNormalization is a chain; export anew"
    vocab = architecture.vocab_size
    if tokenizer_vocab is not None and vocab is not None and tokenizer_vocab > vocab:
        yield f"the tokenizer gives ids up to {tokenizer_vocab - 1}, the embedding table has {vocab} rows"
    inner = [(name_of(node), len(found.node)) for node in graph.node for found in inner_graphs(node)]
    if inner:
        within = ", ".join(sorted({name for name, _ in inner}))
        yield f"{sum(count for _, count in inner)} nodes within {within} are left out of the counts"
    if done.uncounted:
        yield f"FLOPs are unknown: {', '.join(done.uncounted)} cannot be counted (unknown operator or shape)"


def _is_normalised(graph: GraphProto, output: str) -> bool:
    """Whether the output is a quotient by an L2 norm, or what an L2 normalisation gives."""
    sources = {name: node for node in graph.node for name in node.output}
    node = sources.get(output)
    while node is not None and node.op_type in ("Identity", "Cast", "Reshape", "Squeeze"):
        node = sources.get(node.input[0])
    if node is None or node.op_type == "LpNormalization":
        return node is not None and attribute(node, "p", 2) == 2
    if node.op_type not in ("Div", "Mul"):
        return False
    frontier = list(node.input)
    for _ in range(_NORM_DEPTH):
        nodes = [sources[name] for name in frontier if name in sources]
        if any(n.op_type in _NORMS or _is_root_of_a_sum(n, sources) for n in nodes):
            return True
        frontier = [name for n in nodes if n.op_type in _NORM_CHAIN for name in n.input]
    return False


def _is_root_of_a_sum(node: NodeProto, sources: Mapping[str, NodeProto]) -> bool:
    """Whether it is the last step of a norm spelled out: the root of a sum (of squares)."""
    summed = sources.get(node.input[0]) if node.op_type == "Sqrt" else None
    return summed is not None and summed.op_type == "ReduceSum"


# Between a norm and the quotient by it: floors, broadcasting, and a norm spelled out.
_NORM_CHAIN = ("Max", "Clip", "Expand", "Sqrt", "Reciprocal", "Add", "Unsqueeze", "Cast", "Identity")
