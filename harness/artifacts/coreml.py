"""What Apple's CoreML would take of a graph: an estimate by reading, on any machine.

The sources are ONNX Runtime's own: the lists of operators that its wheel carries
(``onnxruntime/tools/mobile_helpers/coreml_supported_{mlprogram,neuralnetwork}_ops.md``), its usability
checker's copy of the partitioner (``partitioning_utils.cc``), and the graph as its basic optimisations leave
it, which is what an execution provider is shown. The lists' known defects are mended (`MENDS`); what they
say in words (caveats) is told and not checked, and neither are data types: an upper bound, not a promise.
Only a run on a Mac tells what was really taken: ``python -m harness ep=coreml``, column ``ep_nodes``.

The dimension rule: CoreML loads no tensor with a dimension over 16,384 (Metal's widest texture). Up to
ONNX Runtime 1.22 every operator with such an input, weights included, was refused; from 1.23 (pull request
24594; the exact release is not verified) the check sits with Conv alone.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from harness.artifacts.anatomy import external_data
from harness.artifacts.graphs import said_by
from harness.artifacts.shapes import attribute, bound_inputs, dims_of, infer_shapes, inner_graphs, name_of
from harness.errors import BadInputError, RuntimeUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from onnx import ModelProto, NodeProto

    from harness.artifacts.shapes import Tensor

Format = Literal["MLProgram", "NeuralNetwork"]
Shapes = Literal["dynamic", "fixed parts", "static"]
DimRule = Literal["every node", "Conv only"]

DIM_LIMIT = 16_384
# The first release whose dimension rule is Conv's alone.
CONV_RULE_SINCE = (1, 23)
_LISTS: dict[Format, str] = {
    "MLProgram": "coreml_supported_mlprogram_ops.md",
    "NeuralNetwork": "coreml_supported_neuralnetwork_ops.md",
}
_SHAPES: tuple[Shapes, ...] = ("dynamic", "fixed parts", "static")
# What the lists leave out by mistake: MLProgram has Gather and writes Argmax for ArgMax; a row of
# NeuralNetwork lacks its colon, without which it is not read.
MENDS: dict[Format, tuple[str, ...]] = {
    "MLProgram": ("ai.onnx:Gather", "ai.onnx:ArgMax"),
    "NeuralNetwork": ("ai.onnx:ReduceSum",),
}
# onnxruntime's issue 28005, mended by pull request 28062 (April 2026); a review of 28702 (June 2026) lists
# operators whose builders looked for weights within the graph alone. What became of those is not verified.
_BESIDE = (
    "with CoreML ONNX Runtime 1.24 and before cannot load such a graph (onnxruntime issue 28005), and that "
    "later ones can with every operator is not verified; a precision that fits one file (fp16) avoids it"
)
# CoreML's tensors have at most five axes.
_MAX_RANK = 5


@dataclass(frozen=True)
class Estimate:
    """Of one model format, one way to give shapes, and one dimension rule.

    `shapes`: ``dynamic``, the graph as it is, dynamic inputs allowed; ``fixed parts``, the same with
    ``RequireStaticInputShapes=1``, where an operator with a dynamic input is refused; ``static``, batch
    size and length fixed. `stopped_by`: operators not taken, by reason, with counts.
    `float_nodes_taken` and `float_partitions`: the same if every operator on integers or booleans (shape and
    mask arithmetic) were refused. The provider asks float of the first input (``base_op_builder.cc``) unless
    an operator's own check allows more, which no list tells: the truth probably lies between the two.
    """

    model_format: Format
    shapes: Shapes
    dim_rule: DimRule
    nodes: int
    nodes_taken: int
    partitions: int
    float_nodes_taken: int
    float_partitions: int
    stopped_by: dict[str, dict[str, int]]

    @property
    def share(self) -> float:
        """Of the nodes, those taken."""
        return self.nodes_taken / self.nodes if self.nodes else 0.0


@dataclass(frozen=True)
class CoreMlEstimate:
    """All estimates of one graph, for one ONNX Runtime.

    `estimates` under the dimension rule of `onnxruntime`, `other_rule` the same under the other one.
    `large` tells the inputs with a dimension over `DIM_LIMIT`: operator, tensor, dims. `caveats` are the
    lists' words on operators that were taken, not checked. `consequence` says in a sentence what the
    dimension rule costs.
    """

    onnxruntime: str
    batch_size: int
    tokens: int
    estimates: tuple[Estimate, ...]
    other_rule: tuple[Estimate, ...]
    large: tuple[tuple[str, str, tuple[int, ...]], ...]
    caveats: dict[str, dict[str, str]]
    consequence: str
    notes: tuple[str, ...]


def dim_rule(onnxruntime: str) -> DimRule:
    """The dimension rule of a release, such as ``1.31.1``."""
    release = tuple(int("".join(c for c in part if c.isdigit()) or 0) for part in onnxruntime.split(".")[:2])
    return "Conv only" if release >= CONV_RULE_SINCE else "every node"


def estimate_coreml(path: Path, *, batch_size: int, tokens: int) -> CoreMlEstimate:
    """What CoreML would take of a graph.

    Args:
        path: of the ONNX file, checked by `harness.artifacts.anatomy.load_graph`.
        batch_size: of the static shapes.
        tokens: of the static shapes.

    Raises:
        BadInputError: ONNX Runtime cannot read the graph.
        RuntimeUnavailableError: the installed ONNX Runtime lacks the lists or the checker.
    """
    import onnx
    import onnxruntime

    version = str(onnxruntime.__version__)
    rule = dim_rule(version)
    other: DimRule = "every node" if rule == "Conv only" else "Conv only"
    graphs = {
        "dynamic": optimised(path, {}),
        "static": optimised(path, symbols_of(path, batch_size=batch_size, tokens=tokens)),
    }
    known = {name: infer_shapes(g, batch_size=batch_size, tokens=tokens) for name, g in graphs.items()}
    results: dict[DimRule, list[Estimate]] = {rule: [], other: []}
    caveats: dict[str, dict[str, str]] = {}
    for model_format in _LISTS:
        listed = supported(model_format)
        for shapes in _SHAPES:
            graph = "static" if shapes == "static" else "dynamic"
            for name, found in results.items():
                found.append(partition(graphs[graph], known[graph], model_format, shapes, name, listed))
        present = {_listed_name(node) for node in graphs["static"].graph.node}
        caveats[model_format] = {
            op: text
            for op, text in sorted(listed.items())
            if text and op in present and not any(phrase in text for phrase in _CAVEATS)
        }
    large = _large(graphs["static"], known["static"])
    notes = ["an upper bound: not every caveat and data type is checked; a run on a Mac tells what was taken"]
    if left := [n for n, t in bound_inputs(graphs["static"].graph, batch_size=1, tokens=8).items()
                if not _is_static(graphs["static"], n)]:  # fmt: skip
        notes.append(f"static shapes could not be given to {', '.join(left)}: axes without a known name")
    if any(found for node in graphs["dynamic"].graph.node for found in inner_graphs(node)):
        notes.append("what lies within Loop, If and Scan is neither counted nor taken (EnableOnSubgraphs=0)")
    if beside := external_data(onnx.load(path, load_external_data=False)):
        notes.append(f"its weights lie beside it ({', '.join(beside)}): {_BESIDE}")
    return CoreMlEstimate(
        onnxruntime=version,
        batch_size=batch_size,
        tokens=tokens,
        estimates=tuple(results[rule]),
        other_rule=tuple(results[other]),
        large=large,
        caveats=caveats,
        consequence=_consequence(version, rule, results, large),
        notes=tuple(notes),
    )


def supported(model_format: Format, *, mended: bool = True) -> dict[str, str]:
    """The operators that the installed wheel lists for a format, each with its caveat.

    Raises:
        RuntimeUnavailableError: the wheel has no list.
    """
    checker = _checker()
    file = Path(checker.__file__).parent / _LISTS[model_format]
    if not file.is_file():
        raise RuntimeUnavailableError(
            f"ep=coreml: the installed ONNX Runtime has no {file.name} to estimate from; install onnxruntime"
        )
    # The class that reads the list has no public name; the file's two columns are all that is used.
    listed: dict[str, str] = dict(checker._SupportedOpsChecker(str(file))._ops)
    return {**listed, **{op: "" for op in MENDS[model_format] if op not in listed}} if mended else listed


def _checker() -> Any:
    try:
        from onnxruntime.tools.mobile_helpers import usability_checker
    except ImportError as error:
        raise RuntimeUnavailableError(
            f"ep=coreml: the estimate needs onnxruntime's usability checker and the package onnx ({error}); "
            "pip install 'embedding-harness[build]'"
        ) from None
    return usability_checker


def symbols_of(path: Path, *, batch_size: int, tokens: int) -> dict[str, int]:
    """The sizes of a graph's named dynamic axes at a batch size and length."""
    import onnx

    graph = onnx.load(path, load_external_data=False).graph
    bound = bound_inputs(graph, batch_size=batch_size, tokens=tokens)
    sizes: dict[str, int] = {}
    for value in graph.input:
        if value.name in bound and (shape := bound[value.name].shape) is not None:
            pairs = zip(dims_of(value.type) or (), shape, strict=True)
            sizes |= {dim: size for dim, size in pairs if isinstance(dim, str)}
    return sizes


def optimised(path: Path, sizes: Mapping[str, int]) -> ModelProto:
    """A graph after ONNX Runtime's basic optimisations, weights left out: what a provider is shown.

    Args:
        path: of the ONNX file.
        sizes: what named dynamic axes are fixed to.

    Raises:
        BadInputError: ONNX Runtime cannot load it.
    """
    import onnx
    import onnxruntime as ort

    with tempfile.TemporaryDirectory(prefix="harness-coreml-") as folder:
        target = Path(folder) / "optimised.onnx"
        settings = ort.SessionOptions()
        settings.log_severity_level = 4
        settings.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
        settings.optimized_model_filepath = str(target)
        for key, value in (("file_name", "weights.bin"), ("min_size_in_bytes", "4096")):
            settings.add_session_config_entry(f"session.optimized_model_external_initializers_{key}", value)
        for name, size in sizes.items():
            settings.add_free_dimension_override_by_name(name, size)
        try:
            ort.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise BadInputError(f"{path}: ONNX Runtime does not load it: {said_by(error)}") from None
        model = onnx.load(target, load_external_data=False)
    return onnx.shape_inference.infer_shapes(model)


def partition(
    model: ModelProto,
    known: Mapping[str, Tensor],
    model_format: Format,
    shapes: Shapes,
    rule: DimRule,
    listed: Mapping[str, str],
) -> Estimate:
    """Which nodes are taken, in how many partitions, by ONNX Runtime's own partitioner.

    Args:
        model: as `optimised` gives it.
        known: shapes of its tensors, for the dimension rule.
        model_format: named in the result.
        shapes: see `Estimate`.
        rule: which nodes the dimension rule is asked of.
        listed: operators that are supported, as `supported` gives them.
    """
    graph = model.graph
    constants = {w.name for w in graph.initializer}
    shapeless = {
        value.name
        for value in (*graph.input, *graph.value_info, *graph.output)
        if dims_of(value.type) is None
    }
    support = _Support(listed, known, rule, constants, shapeless)
    fixed = shapes == "fixed parts"
    groups = _groups(model, support, fixed=fixed)
    floats = _groups(
        model, _Support(listed, known, rule, constants, shapeless, floats_only=True), fixed=fixed
    )
    taken = {output for group in groups for node in group for output in node.output}
    stopped: dict[str, Counter[str]] = {}
    for node in model.graph.node:
        if not taken.intersection(node.output):
            elsewise = "an input is dynamic" if fixed else f"over {_MAX_RANK} axes"
            stopped.setdefault(support.refusal(node) or elsewise, Counter())[name_of(node)] += 1
    return Estimate(
        model_format=model_format,
        shapes=shapes,
        dim_rule=rule,
        nodes=len(model.graph.node),
        nodes_taken=sum(map(len, groups)),
        partitions=len(groups),
        float_nodes_taken=sum(map(len, floats)),
        float_partitions=len(floats),
        stopped_by={reason: dict(counts.most_common()) for reason, counts in stopped.items()},
    )


def _groups(model: ModelProto, support: _Support, *, fixed: bool) -> list[list[NodeProto]]:
    """The partitions, without those within Loop, If and Scan: CoreML is shown none (EnableOnSubgraphs=0)."""
    found = _checker().check_partitioning(model.graph, support, fixed, _MAX_RANK)
    own = {output for node in model.graph.node for output in node.output}
    groups: list[list[NodeProto]] = found.supported_groups
    return [group for group in groups if own.intersection(group[0].output)]


class _Support:
    """What the usability checker asks of a list of operators, with the dimension rule besides."""

    def __init__(
        self,
        listed: Mapping[str, str],
        known: Mapping[str, Tensor],
        rule: DimRule,
        constants: set[str],
        shapeless: set[str],
        *,
        floats_only: bool = False,
    ) -> None:
        self._listed = listed
        self._known = known
        self._rule = rule
        self._constants = constants
        self._shapeless = shapeless
        self._floats_only = floats_only

    def is_op_supported(self, node: NodeProto) -> bool:
        """Whether it is taken, its shapes' dynamic parts apart."""
        return self.refusal(node) is None

    def refusal(self, node: NodeProto) -> str | None:
        """Why it is not taken, or None."""
        if _listed_name(node) not in self._listed:
            return "not in the list"
        caveat = self._listed[_listed_name(node)]
        for phrase, holds in _CAVEATS.items():
            if phrase in caveat and not holds(node, self._known, self._constants):
                return f"the list says: {caveat.rstrip('. ')}"
        if self._floats_only and not _is_float(node, self._known):
            return "not floating-point"
        if not self._shapeless.isdisjoint(node.input):
            return "an input of unknown rank"
        asked = self._rule == "every node" or node.op_type == "Conv"
        return f"a dimension over {DIM_LIMIT:,}" if asked and _large_inputs(node, self._known) else None


def _is_float(node: NodeProto, known: Mapping[str, Tensor]) -> bool:
    """Whether the first input is floating-point, which is what the provider asks by default."""
    from onnx import TensorProto

    first = known.get(node.input[0]) if node.input else None
    return first is not None and first.dtype in (TensorProto.FLOAT, TensorProto.FLOAT16)


def _has_constant(node: NodeProto, positions: slice, constants: set[str]) -> bool:
    """Whether inputs are constants, where they are given."""
    return all(name in constants for name in node.input[positions] if name)


def _are(node: NodeProto, positions: slice, known: Mapping[str, Tensor], *dtypes: str) -> bool:
    """Whether inputs have one of the dtypes, by ONNX's names."""
    from onnx import TensorProto

    allowed = {TensorProto.DataType.Value(dtype) for dtype in dtypes}
    return all(known[name].dtype in allowed for name in node.input[positions] if name in known)


# The caveats that a graph shows: a phrase of the lists, and whether a node keeps to it.
_CAVEATS: dict[str, Callable[[NodeProto, Mapping[str, Tensor], set[str]], bool]] = {
    "Input B must be constant": lambda node, _, constants: _has_constant(node, slice(1, 2), constants),
    "Input B should be constant": lambda node, _, constants: _has_constant(node, slice(1, 2), constants),
    "should be constant. Empty slice": lambda node, _, constants: _has_constant(
        node, slice(1, None), constants
    ),
    "must be constant initializers": lambda node, _, constants: _has_constant(
        node, slice(1, None), constants
    ),
    "`indices` with scalar value": lambda node, known, _: known[node.input[1]].shape != (),
    "branches must be float or float16": lambda node, known, _: _are(
        node, slice(1, 3), known, "FLOAT", "FLOAT16"
    ),
    "Both inputs must be bool": lambda node, known, _: _are(node, slice(0, 2), known, "BOOL"),
    "both inputs are fp32": lambda node, known, _: _are(node, slice(0, 2), known, "FLOAT"),
    "batch_dims must be 0": lambda node, *_: attribute(node, "batch_dims", 0) == 0,
    "transA == 0, alpha == 1.0": lambda node, *_: attribute(node, "transA", 0) == 0,
}


def _listed_name(node: NodeProto) -> str:
    return f"{node.domain or 'ai.onnx'}:{node.op_type}"


def _large_inputs(node: NodeProto, known: Mapping[str, Tensor]) -> list[tuple[str, tuple[int, ...]]]:
    shapes = {name: known[name].shape for name in node.input if name in known}
    return [(name, s) for name, s in shapes.items() if s is not None and max(s, default=0) > DIM_LIMIT]


def _large(model: ModelProto, known: Mapping[str, Tensor]) -> tuple[tuple[str, str, tuple[int, ...]], ...]:
    return tuple(
        (name_of(node), name, shape)
        for node in model.graph.node
        for name, shape in _large_inputs(node, known)
    )


def _is_static(model: ModelProto, name: str) -> bool:
    value = next(i for i in model.graph.input if i.name == name)
    return all(isinstance(dim, int) for dim in dims_of(value.type) or (None,))


_WHEN: dict[DimRule, str] = {
    "every node": "up to ONNX Runtime 1.22, where every node is asked",
    "Conv only": "since about 1.23, where Conv alone is",
}


def _consequence(
    version: str,
    rule: DimRule,
    results: Mapping[DimRule, list[Estimate]],
    large: tuple[tuple[str, str, tuple[int, ...]], ...],
) -> str:
    """What the dimension rule costs, in words."""
    if not large:
        return f"no input has a dimension over {DIM_LIMIT:,}: neither dimension rule refuses anything"
    op, tensor, shape = max(large, key=lambda found: max(found[2]))
    told = []
    for name, when in _WHEN.items():
        best = next(e for e in results[name] if (e.model_format, e.shapes) == ("MLProgram", "static"))
        refused = sum(best.stopped_by.get(f"a dimension over {DIM_LIMIT:,}", {}).values())
        told.append(
            f"{when}, {refused} refused for it: {best.nodes_taken} of {best.nodes} nodes in "
            f"{best.partitions} partitions (MLProgram, static)"
        )
    return (
        f"{max(shape):,} is larger than {DIM_LIMIT:,}: {op} reads {tensor} {list(shape)}. {'; '.join(told)}. "
        f"This is ONNX Runtime {version}: {'Conv alone' if rule == 'Conv only' else 'every node'} is asked"
    )
