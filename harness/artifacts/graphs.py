"""ONNX graphs that somebody else exported: read without leaving their folder, and refused where unfit.

Only the build and the search for sources read graphs; ``onnx`` is imported inside the functions.
"""

from __future__ import annotations

import re
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.artifacts.inputs import INPUTS, POSITIONS
from harness.artifacts.pooling import HIDDEN
from harness.artifacts.shapes import inner_graphs
from harness.errors import RuntimeUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from onnx import GraphProto, ModelProto, NodeProto, TensorProto

NEEDS_ONNX = "reading a graph needs the package onnx (pip install 'embedding-harness[build]')"
# Operators and weights of a graph whose precision is lower than fp32.
_QUANTISED = {
    "DequantizeLinear", "DynamicQuantizeLinear", "MatMulInteger", "ConvInteger", "QLinearMatMul",
    "MatMulNBits", "QAttention", "DynamicQuantizeMatMul", "MatMulIntegerToFloat", "GatherBlockQuantized",
    "MatMulBnb4", "QEmbedLayerNormalization",
}  # fmt: skip
# Those of them whose weights have 4 bits, unless their attribute ``bits`` says otherwise.
_BLOCKWISE = {"GatherBlockQuantized", "MatMulBnb4", "MatMulNBits"}
# Operators that hand a tensor's numbers on in another order, shape or type; those that take them one by one.
_MOVES = {
    "Cast", "Expand", "Flatten", "Gather", "GatherElements", "GatherND", "Identity", "Reshape", "Slice",
    "Split", "Squeeze", "Tile", "Transpose", "Trilu", "Unsqueeze",
}  # fmt: skip
_ONE_BY_ONE = {
    "Add", "And", "Div", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Mul", "Neg", "Not",
    "Or", "Sub", "Where", "Xor",
}  # fmt: skip
# What ONNX Runtime begins its messages with: kind, file, place in its source.
_ORT_PREFIX = re.compile(
    r"^\[ONNXRuntimeError\] : \d+ : \w+ : (Load model from .*? failed: ?(/\S+ .*?\) )?)?"
)
_SAID_LENGTH = 300
# What mends a graph that is unfit.
_EXPORT = "export the model anew for feature-extraction"
_FP32 = "give its fp32 export: a lower precision is made from that here"


def said_by(error: Exception) -> str:
    """What a library, ONNX Runtime above all, says of a file: one line without the place in its source."""
    return _ORT_PREFIX.sub("", " ".join(str(error).split()))[:_SAID_LENGTH]


def read_graph(path: Path) -> ModelProto:
    """The graph in a file, its own functions inlined, without the data that it keeps in others.

    Raises:
        ValueError: no ONNX graph.
        RuntimeUnavailableError: the package onnx is not installed.
    """
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ImportError:
        raise RuntimeUnavailableError(NEEDS_ONNX) from None

    try:
        model = onnx.load(str(path), format="protobuf", load_external_data=False)
    except DecodeError:
        raise ValueError(f"{path.name} is no ONNX graph, or is cut short; copy or export it anew") from None
    if not model.HasField("graph") or not model.opset_import:
        raise ValueError(f"{path.name} is no ONNX graph; give the .onnx file itself")
    if any(isinstance(port.name, bytes) for port in (*model.graph.input, *model.graph.output)):
        raise ValueError(f"{path.name} is damaged: a name in it is no text; copy or export it anew")
    try:
        return inlined(model)
    except Exception as error:  # it has a class for each kind of reason
        raise ValueError(f"{path.name} is damaged ({said_by(error)}); copy or export it anew") from None


def inlined(model: ModelProto) -> ModelProto:
    """A graph with the nodes of its own functions in their place: few tools look into functions.

    One that is written in another opset than the graph stays as it is.
    """
    from onnx import inliner

    return inliner.inline_local_functions(model) if model.functions else model


def external_place(tensor: TensorProto) -> dict[str, str]:
    """Where a tensor's external data lies, by ONNX's own keys: ``location``, ``offset``, ``length``.

    Raises:
        ValueError: it names a key twice, of which one reader takes the first and another the last.
    """
    place: dict[str, str] = {}
    for entry in tensor.external_data:
        if entry.key in place:
            raise ValueError(
                f"the weight '{tensor.name}' names the {entry.key} of its data twice ('{place[entry.key]}', "
                f"'{entry.value}'): refused; export it anew"
            )
        place[entry.key] = entry.value
    return place


def external_files(model: ModelProto, path: Path) -> list[str]:
    """The files beside `path` that hold the graph's data, each once, by their names relative to its folder.

    Raises:
        ValueError: one lies outside the model's folder: by an absolute path, by ``..``, or through a link; or
            a tensor names two.
    """
    root = _root(path.parent)
    names = []
    for tensor in tensors(model):
        if tensor.data_location != tensor.EXTERNAL:
            continue
        try:
            name = external_place(tensor).get("location", "")
        except ValueError as error:
            raise ValueError(f"in {path.name} {error}") from None
        outside = Path(name).is_absolute() or ".." in Path(name).parts or "\\" in name or not name
        if outside or not (path.parent / name).resolve().is_relative_to(root):
            raise ValueError(
                f"{path.name} keeps data in '{name}', outside the model's folder: refused; give a graph with "
                "its data beside it"
            )
        names.append(name)
    return list(dict.fromkeys(names))


def load_data(model: ModelProto, path: Path) -> None:
    """Read the graph's external data into it.

    Raises:
        ValueError: as `external_files`; or a file is missing or too short.
    """
    external_files(model, path)
    for tensor in tensors(model):
        if tensor.data_location != tensor.EXTERNAL:
            continue
        where = external_place(tensor)
        try:
            with (path.parent / where["location"]).open("rb") as file:
                file.seek(int(where.get("offset", 0)))
                tensor.raw_data = file.read(int(where["length"]) if "length" in where else -1)
        except OSError as error:
            raise ValueError(f"{path.name} needs {where['location']}: {error.strerror}") from None
        if "length" in where and len(tensor.raw_data) != int(where["length"]):
            raise ValueError(
                f"{where['location']} ends before the data of {tensor.name}: it is cut short; copy it anew"
            )
        del tensor.external_data[:]
        tensor.data_location = tensor.DEFAULT


def check_graph(model: ModelProto, *, precision: str = "fp32") -> None:
    """Refuse a graph that cannot give embeddings of texts.

    Args:
        model: the graph, its data or not.
        precision: what it must be of: ``fp32``; another one by its name, as ``int8-published``.

    Raises:
        ValueError: with the reason.
    """
    from onnx import TensorProto

    graph = model.graph
    weights = {tensor.name for tensor in graph.initializer}  # old exports list them among the inputs too
    inputs = {value.name: value.type.tensor_type for value in graph.input if value.name not in weights}
    outputs = {value.name: value.type.tensor_type for value in graph.output}
    generative = [name for name in inputs if "past_key" in name or name == "use_cache_branch"]
    if generative:
        shown = ", ".join(generative[:2]) + (", …" if len(generative) > 2 else "")
        raise ValueError(
            f"a causal-LM export: it wants {shown} ({len(generative)} inputs that a text does not have); "
            "export it for feature-extraction, without past key values"
        )
    if unknown := [name for name in inputs if name not in (*INPUTS, POSITIONS)]:
        raise ValueError(f"it has inputs that a text does not have: {', '.join(unknown)}; {_EXPORT}")
    if missing := [name for name in INPUTS[:2] if name not in inputs]:
        raise ValueError(f"it has no input {' and no '.join(missing)}; {_EXPORT}")
    hidden = next((name for name in HIDDEN if name in outputs), None)
    if hidden is None and "logits" in outputs:
        raise ValueError(
            f"a language model's export: it gives logits, not a vector for each token; {_EXPORT}"
        )
    if hidden is None:
        raise ValueError(
            f"it gives {', '.join(outputs)}, not {' or '.join(HIDDEN)}, a vector for each token; {_EXPORT}"
        )
    for name, kind in inputs.items():
        if kind.elem_type != TensorProto.INT64:
            raise ValueError(f"its input {name} is not int64; {_EXPORT}")
        if fixed := [d.dim_value for d in kind.shape.dim if d.dim_value > 0]:
            raise ValueError(f"its input {name} has a fixed shape ({fixed[0]}): export it with dynamic axes")
    if precision != "fp32":
        _require_lowered(model, precision)
        return
    if outputs[hidden].elem_type not in (TensorProto.FLOAT, TensorProto.UNDEFINED):
        raise ValueError(
            f"it is no fp32 graph: {hidden} is {TensorProto.DataType.Name(outputs[hidden].elem_type)}; "
            f"{_FP32}"
        )
    quantised = sorted({node.op_type for node in _nodes(graph)} & _QUANTISED)
    if quantised:
        raise ValueError(f"it is no fp32 graph but a quantised one: it has {', '.join(quantised)}; {_FP32}")
    if lower := precisions_in(model):
        raise ValueError(f"it is no fp32 graph: it has {', '.join(lower)}; {_FP32}")


def precisions_in(model: ModelProto) -> list[str]:
    """Precisions lower than fp32 of operators and weights, of int4, int8, int16, fp8, fp16 and bf16; sorted.

    Weights count as they are kept, whatever they are cast to: what was rounded stays rounded. So does what is
    cast to a lower precision, to be computed in it.
    """
    from onnx import TensorProto

    kinds = TensorProto
    names = {kinds.INT4: "int4", kinds.UINT4: "int4", kinds.FLOAT16: "fp16", kinds.BFLOAT16: "bf16"}
    names |= {number: "fp8" for name, number in kinds.DataType.items() if name.startswith("FLOAT8")}
    whole = {"int8": (kinds.INT8, kinds.UINT8), "int16": (kinds.INT16, kinds.UINT16)}
    nodes, weights = list(_nodes(model.graph)), list(constants(model.graph))
    nodes += [node for function in model.functions for node in function.node]
    packed = {name for node in nodes if node.op_type in _BLOCKWISE for name in node.input}
    found = {names[weight.data_type] for _, weight in weights if weight.data_type in names}
    for kind, dtypes in whole.items():  # flat ones too, which are shaped in the graph
        kept = {name for name, w in weights if prod(w.dims) > 1 and w.data_type in dtypes}
        if _are_multiplied(model.graph, kept - packed):
            found.add(kind)
    for node in nodes:
        if node.op_type == "Cast":
            found |= {names[part.i] for part in node.attribute if part.name == "to" and part.i in names}
        elif node.op_type in _BLOCKWISE:
            found.add(f"int{next((part.i for part in node.attribute if part.name == 'bits'), 4)}")
        elif node.op_type in _QUANTISED:
            found.add("int8")
    return sorted(found)


def _are_multiplied(graph: GraphProto, names: set[str]) -> bool:
    """Whether one of the constants, perhaps dequantised, is multiplied by a text's numbers or looked up in.

    A mask is not, as exports of GPT-2 keep one: it is cut and cast, and chooses among a text's numbers, or is
    added to them, one by one. What is done with a constant otherwise counts as multiplied.
    """
    sources = {output: node for node in graph.node for output in node.output}
    fixed = {name for name, _ in constants(graph)}  # whatever the text
    held = set(names)
    for node in _nodes(graph):
        moves = node.op_type in _MOVES and not (node.op_type == "Gather" and picks_tokens(node, sources))
        one_by_one = node.op_type in _ONE_BY_ONE
        of_texts = set(node.input[:1] if moves else node.input) - fixed - held
        if held.intersection(node.input):
            if moves or (one_by_one and not of_texts):
                held.update(node.output)
            elif not one_by_one and node.op_type != "Shape":
                return True
        elif (moves or one_by_one) and not of_texts:
            fixed.update(node.output)
    return any(port.name in held for inner in _graphs(graph) for port in inner.output)


def keep_token_vectors(model: ModelProto) -> None:
    """Drop, in place, all that the tokens' vectors do not need: a pooling of the graph's own, above all.

    Its results may have the names of those that are added here.
    """
    graph = model.graph
    hidden = next(name for name in HIDDEN if name in {value.name for value in graph.output})
    sources = {output: node for node in graph.node for output in node.output if output}
    needed: set[str] = set()
    waiting = [hidden]
    while waiting:
        name = waiting.pop()
        if name in needed:
            continue
        needed.add(name)
        if (node := sources.get(name)) is not None:
            waiting += node.input
            for inner in (part for held in inner_graphs(node) for part in held.node):
                waiting += inner.input  # of the graph outside, or its own
            waiting += (value.name for held in inner_graphs(node) for value in held.output)
    idle = {weight.name for weight in graph.initializer} - needed  # old exports list them as inputs too
    for part, kept in (
        (graph.input, [value for value in graph.input if value.name not in idle]),
        (graph.initializer, [weight for weight in graph.initializer if weight.name not in idle]),
        (graph.node, [node for node in graph.node if not needed.isdisjoint(node.output)]),
        (graph.output, [value for value in graph.output if value.name == hidden]),
    ):
        if len(kept) < len(part):
            del part[:]
            part.extend(kept)


def _require_lowered(model: ModelProto, precision: str) -> None:
    """Refuse a published graph that is not of the precision whose name it would bear.

    An int8 graph may keep its other weights in 16 bits.

    Raises:
        ValueError: with what it has.
    """
    found, kind = precisions_in(model), precision.partition("-")[0]
    fits = {"int8": "int8" in found and "int4" not in found, "fp16": found == ["fp16"]}
    if not fits.get(kind, bool(found)):
        has = f"it has {', '.join(found)}" if found else "nothing in it is lower than fp32"
        raise ValueError(f"it is no graph of precision={precision}: {has}; give the file of that precision")


def hidden_size(path: Path) -> int | None:
    """Dimensions of the tokens' vectors, where the graph states them.

    None also where it cannot be read, which is told by whoever needs the graph itself.
    """
    try:
        model = read_graph(path)
    except (OSError, RuntimeUnavailableError, ValueError):
        return None
    for value in model.graph.output:
        dims = value.type.tensor_type.shape.dim
        if value.name in HIDDEN and len(dims) == 3 and dims[-1].dim_value > 0:
            return int(dims[-1].dim_value)
    return None


def embedding_rows(model: ModelProto) -> int | None:
    """Rows of the table that token ids are looked up in; None where it is not a plain look-up."""
    shapes = {name: list(tensor.dims) for name, tensor in constants(model.graph)}
    sources = {output: node for node in model.graph.node for output in node.output}
    for node in model.graph.node:
        if node.op_type == "Gather" and node.input[0] in shapes and picks_tokens(node, sources):
            return int(shapes[node.input[0]][0])
    return None


def picks_tokens(gather: NodeProto, sources: Mapping[str, NodeProto]) -> bool:
    """Whether a look-up's indices are the token ids, perhaps of another type or shape.

    Args:
        gather: the look-up.
        sources: the graph's nodes by their outputs.
    """
    picked = gather.input[1]
    while picked in sources and sources[picked].op_type in ("Cast", "Identity", "Reshape"):
        picked = sources[picked].input[0]
    return bool(picked == INPUTS[0])


def _root(folder: Path) -> Path:
    """What a graph's data must lie in: its folder, or the whole repository in the hub's cache.

    There a snapshot's files are links into the repository's ``blobs``.
    """
    folder = folder.resolve()
    for parent in (folder, *folder.parents):
        if parent.parent.name == "snapshots" and parent.parent.parent.name.startswith("models--"):
            return parent.parent.parent
    return folder


def _graphs(graph: GraphProto) -> Iterator[GraphProto]:
    yield graph
    for node in graph.node:
        yield from inner_graphs(node)


def constants(graph: GraphProto) -> Iterator[tuple[str, TensorProto]]:
    """The tensors that a graph computes with, by the names that its nodes know them by.

    Some exports keep weights as initializers, others in nodes ``Constant``. Inner graphs' are among them.
    """
    for inner in _graphs(graph):
        for tensor in inner.initializer:
            yield tensor.name, tensor
        for node in inner.node:
            if node.op_type == "Constant":
                yield from ((node.output[0], part.t) for part in node.attribute if part.HasField("t"))


def _nodes(graph: GraphProto) -> Iterator[NodeProto]:
    for inner in _graphs(graph):
        yield from inner.node


def tensors(model: ModelProto) -> Iterator[TensorProto]:
    """Every tensor that a graph holds, wherever it may hide."""
    nodes: list[Any] = [node for function in model.functions for node in function.node]
    for graph in _graphs(model.graph):
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield from (sparse.values, sparse.indices)
        nodes += graph.node
    for node in nodes:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            if attribute.HasField("sparse_tensor"):
                yield from (attribute.sparse_tensor.values, attribute.sparse_tensor.indices)
            yield from attribute.tensors
