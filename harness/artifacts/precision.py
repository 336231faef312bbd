"""Every other precision, built from the fp32 artifact by ONNX Runtime's own tools; no torch is needed.

What others published for a precision is taken by `harness.artifacts.adopt`.

The graph's pooling stays in fp32 whatever the precision: its sums and norms are cheap, and errors there
are not.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from harness.artifacts.assemble import external_data
from harness.artifacts.graphs import precisions_in
from harness.artifacts.manifest import GRAPH
from harness.artifacts.pooling import POOLING_PREFIX, attach_pooling, detach_pooling
from harness.cpu import int8_sums_overflow
from harness.errors import ArtifactError

if TYPE_CHECKING:
    from pathlib import Path

    from onnx import ModelProto

    from harness.schema import PrecisionConfig

TOOLS = ("onnx", "onnxruntime", "onnx_ir")
# Operators that only the optimiser makes: without any of them nothing was fused.
_FUSED = ("Attention", "MultiHeadAttention", "GroupQueryAttention", "SkipLayerNormalization",
          "SkipSimplifiedLayerNormalization")  # fmt: skip
# Operators that multiply in integers: without any of them nothing was quantised.
_INTEGER = ("MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul", "QAttention")
_ORT_DOMAIN = "com.microsoft"
# Activations in 8 bits too, as ONNX Runtime's kernels do it fastest (its MatMulNBits `accuracy_level`).
_INT8_ACTIVATIONS = 4


def settings_of(precision: PrecisionConfig) -> dict[str, Any]:
    """What a precision's build depends on; what is left to the machine is decided here, by its CPU."""
    settings: dict[str, Any] = {"method": precision.method}
    if precision.method == "weight_only":
        settings |= {"bits": precision.bits, "block_size": precision.block_size}
    if precision.method == "published":
        settings["file"] = precision.file
    if precision.method == "dynamic_int8":
        asked = precision.reduce_range
        settings["reduce_range"] = int8_sums_overflow() if asked is None else asked
    return settings


def derive(base: Path, target: Path, settings: dict[str, Any], architecture: str | None) -> int:
    """Write the graph of another precision.

    Args:
        base: folder of the fp32 artifact.
        target: folder that the graph is written to.
        settings: as `settings_of` gives them.
        architecture: of the base's manifest: transformers' name for it.

    Returns:
        The graph's opset.

    Raises:
        ArtifactError: the graph has nothing that the method changes.
    """
    import onnx

    logging.disable(logging.WARNING)  # the tools tell each node
    graph = base / GRAPH
    exported = onnx.load(graph, load_external_data=False)
    fused = {node.op_type for node in exported.graph.node}.intersection(_FUSED)
    if already := fused.union(precisions_in(exported)):
        raise ArtifactError(
            f"the graph has {', '.join(sorted(already))} already: it is not as exported in fp32"
        )
    if exported.functions:
        names = ", ".join(sorted(function.name for function in exported.functions))
        raise ArtifactError(
            f"the graph has functions of its own ({names}), which the tools that make other precisions "
            "do not look into; give precision=fp32, or a graph without any"
        )
    method = settings["method"]
    if method == "fuse":
        model = _fused(graph, architecture, attention=True)
    elif method == "fp16":
        model = _halved(graph)
    elif method == "dynamic_int8":
        return _quantised(graph, target, settings, architecture)
    else:
        model = _by_blocks(_fused(graph, architecture, attention=False), settings)
    return save(model, target)


def save(model: ModelProto, target: Path) -> int:
    """Write a graph to a folder, its weights beside it where it is too large; returns its opset."""
    import onnx

    onnx.save(model, target / GRAPH, **external_data(model))
    return int(next(i.version for i in model.opset_import if i.domain in ("", "ai.onnx")))


def _fused(graph: Path, architecture: str | None, *, attention: bool) -> ModelProto:
    """The graph after ONNX Runtime's transformer optimiser, without its hardware-specific passes."""
    from onnx import helper
    from onnxruntime.transformers.fusion_options import FusionOptions
    from onnxruntime.transformers.optimizer import optimize_model

    model_type = "qwen3" if architecture == "qwen3" else "bert"
    options = FusionOptions(model_type)
    options.enable_attention = attention  # it packs weights where no other tool finds them
    optimised = optimize_model(str(graph), model_type, opt_level=0, optimization_options=options)
    model: ModelProto = optimised.model
    if all(known.domain != _ORT_DOMAIN for known in model.opset_import):
        model.opset_import.append(helper.make_opsetid(_ORT_DOMAIN, 1))
    if attention and not any(node.op_type in _FUSED for node in model.graph.node):
        raise ArtifactError(
            "ONNX Runtime's optimiser found nothing to fuse in this graph; give another precision"
        )
    return model


def _halved(graph: Path) -> ModelProto:
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    # Shapes are inferred before the weights are there: with them a model may be over protobuf's 2 GiB.
    model = onnx.shape_inference.infer_shapes(onnx.load(graph, load_external_data=False))
    onnx.load_external_data_for_model(model, str(graph.parent))
    pooling = detach_pooling(model)
    halved: ModelProto = convert_float_to_float16(model, keep_io_types=True, disable_shape_infer=True)
    attach_pooling(halved, pooling)
    return halved


def _quantised(graph: Path, target: Path, settings: dict[str, Any], architecture: str | None) -> int:
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    fused = _fused(graph, architecture, attention=True)
    quantize_dynamic(
        fused,
        target / GRAPH,
        weight_type=QuantType.QInt8,
        per_channel=True,
        reduce_range=settings["reduce_range"],
        use_external_data_format=bool(external_data(fused)),
        nodes_to_exclude=_pooling_nodes(fused),
        extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},  # the fused operators tell no types
    )
    model = onnx.load(target / GRAPH)
    if not any(node.op_type in _INTEGER for node in model.graph.node):
        raise ArtifactError("no matrix of this graph can be quantised; give another precision")
    return save(model, target)


def _pooling_nodes(model: ModelProto) -> list[str]:
    return [node.name for node in model.graph.node if node.name.startswith(POOLING_PREFIX)]


def _by_blocks(model: ModelProto, settings: dict[str, Any]) -> ModelProto:
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    quantiser = MatMulNBitsQuantizer(
        model,
        bits=settings["bits"],
        block_size=settings["block_size"],
        is_symmetric=True,
        accuracy_level=_INT8_ACTIVATIONS,
        nodes_to_exclude=_pooling_nodes(model),
    )
    quantiser.model.replace_gemm_with_matmul()  # as GPT-2's layers multiply
    quantiser.process()
    result: ModelProto = quantiser.model.model
    if not any(node.op_type == "MatMulNBits" for node in result.graph.node):
        raise ArtifactError("no matrix of this graph can be quantised by blocks; give another precision")
    return result
