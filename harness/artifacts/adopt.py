"""An artifact from a graph that somebody else exported: checked and pooled; one in fp32 is its own reference.

There are no weights to compare with. So the reference is the graph as it came, run by ONNX Runtime a text
at a time and pooled in NumPy: parity then vouches for padding, batches, pooling and everything done to
the graph here, and says nothing on whether it was exported well.
"""

from __future__ import annotations

import shutil
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.artifacts.assemble import (
    at_fault,
    count_dense,
    dense_layers,
    external_data,
    load_tokenizer,
    require_dim,
    require_short_texts,
    save_graph,
    save_references,
    save_tokenizer,
)
from harness.artifacts.files import read_json, truncation_side
from harness.artifacts.graphs import (
    check_graph,
    embedding_rows,
    hidden_size,
    keep_token_vectors,
    load_data,
    read_graph,
)
from harness.artifacts.inputs import INPUTS, POSITIONS
from harness.artifacts.manifest import GRAPH, TOKENIZER
from harness.artifacts.modules import CONFIG, OFFSET_POSITIONS, arguments_of
from harness.artifacts.parameters import count_parameters
from harness.artifacts.pooling import HIDDEN, pool
from harness.artifacts.sizes import sizes_of
from harness.errors import BadInputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from onnx import ModelProto

REFERENCE_BY = (
    "the fp32 graph itself through ONNX Runtime, a text at a time, pooled in NumPy: parity says nothing "
    "about how it was exported"
)


def adopt(request: dict[str, Any], step: Callable[[str], None]) -> dict[str, Any]:
    """As `harness.artifacts.build.build`, where ``request["graph"]`` names the graph in the source.

    Raises:
        BadInputError: the graph is not fit for it, or does not fit its declaration.
    """
    source, target = Path(request["source"]), Path(request["target"])
    graph = _read(request, "fp32")
    config = read_json(source, CONFIG) if (source / CONFIG).is_file() else {}
    require_short_texts(_as_loaded(source, config), request["max_length"])
    places, longest = sizes_of(graph).positions, request["max_length"]
    if places is not None and longest > places:
        raise BadInputError(
            f"{request['graph']}: its table of positions has places for {places} tokens, texts may have "
            f"{longest}; give model.max_length={places}"
        )
    rows = embedding_rows(graph) or config.get("vocab_size")
    tokenizer = load_tokenizer(source, rows)
    pad_id, pad_token = save_tokenizer(request, tokenizer, rows, config.get("pad_token_id"))
    if INPUTS[2] in {value.name for value in graph.graph.input} and any(tokenizer.encode("a text").type_ids):
        raise BadInputError(
            f"{TOKENIZER} gives tokens types other than 0, which {request['graph']} takes and no runtime "
            "here feeds; choose another model"
        )
    dense = dense_layers(request)
    params = count_parameters(graph) + count_dense(dense)

    step("reference")
    scratch = target / "as it came"
    scratch.mkdir()
    with at_fault(request["graph"]):
        encode = _encoder(graph, scratch, request, pad_id)

    def vector(text: str) -> NDArray[np.float32]:
        with at_fault(request["graph"]):
            states = encode(text)
        require_dim(request, dense[-1].weight.shape[0] if dense else states.shape[1])
        cut = request["truncate_dim"]
        return pool(states, request["pooling"], normalize=request["normalize"], dense=dense, dim=cut)

    quality, verification = (
        np.stack([vector(text) for text in request[texts]])
        for texts in ("quality_texts", "verification_texts")
    )
    shutil.rmtree(scratch)
    save_references(target, quality, verification)

    step("exporting")
    with at_fault(request["graph"], errors=ValueError):
        opset = save_graph(graph, request, dense)
    return {
        "exporter": {name: version(name) for name in ("onnx", "onnxruntime", "transformers")},
        "opset": opset,
        "params": params,
        "architecture": config.get("model_type"),
        "pad_id": pad_id,
        "pad_token": pad_token,
        "reference_by": REFERENCE_BY,
    }


def _as_loaded(source: Path, config: dict[str, Any]) -> dict[str, Any]:
    """A model's config with what transformers makes of it; as it stands where that does not know it."""
    from transformers import AutoConfig

    try:
        found: dict[str, Any] = AutoConfig.from_pretrained(source, **arguments_of(source, "config")).to_dict()
    except (KeyError, OSError, ValueError):
        return config
    return found


def adopt_published(request: dict[str, Any]) -> int:
    """Write a published graph of a lower precision, pooled, as the artifact's; returns its opset.

    Args:
        request: ``precision`` (its name); ``source``, ``graph``, ``dense``, ``target``, ``pooling``,
            ``normalize``, ``dim`` and ``truncate_dim``, as `harness.artifacts.build.build` takes them.

    Raises:
        BadInputError: the graph is not fit for it.
    """
    graph, dense = _read(request, request["precision"]), dense_layers(request)
    width = dense[-1].weight.shape[0] if dense else hidden_size(Path(request["source"]) / request["graph"])
    if width is not None:
        require_dim(request, width)
    with at_fault(request["graph"], errors=ValueError):
        return save_graph(graph, request, dense)


def _read(request: dict[str, Any], precision: str) -> ModelProto:
    """The graph that was asked for, of a precision, with its data, as far as the tokens' vectors go."""
    source = Path(request["source"])
    path = source / request["graph"]
    kind = read_json(source, CONFIG).get("model_type") if (source / CONFIG).is_file() else None
    try:
        graph = read_graph(path)
        check_graph(graph, precision=precision)
        if kind in OFFSET_POSITIONS and POSITIONS in {value.name for value in graph.graph.input}:
            raise ValueError(
                f"it wants {POSITIONS}, which are counted from 0 here, and {CONFIG} says model_type={kind}, "
                "which counts them from 2; export it without that input, so that it counts them itself"
            )
        load_data(graph, path)
    except ValueError as error:
        raise BadInputError(f"{request['graph']}: {error}") from None
    keep_token_vectors(graph)
    return graph


def _encoder(
    graph: Any, scratch: Path, request: dict[str, Any], pad_id: int
) -> Callable[[str], NDArray[np.float32]]:
    """From a text to its tokens' vectors, float32 [length, hidden], by the graph as it came."""
    import onnx
    import onnxruntime as ort
    from tokenizers import Tokenizer

    onnx.save(graph, scratch / GRAPH, **external_data(graph))
    settings = ort.SessionOptions()
    settings.log_severity_level = 3
    session = ort.InferenceSession(str(scratch / GRAPH), settings, providers=["CPUExecutionProvider"])
    tokenizer = Tokenizer.from_file(str(Path(request["target"]) / TOKENIZER))
    tokenizer.enable_truncation(request["max_length"], direction=truncation_side(tokenizer))
    names = {value.name for value in session.get_inputs()}
    output = next(name for name in HIDDEN if name in {value.name for value in session.get_outputs()})

    def encode(text: str) -> NDArray[np.float32]:
        found = tokenizer.encode(request["prompt"] + text).ids or [pad_id]
        ids = np.array([found], dtype=np.int64)
        feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        feeds[POSITIONS] = np.arange(ids.size, dtype=np.int64)[None]
        states = session.run([output], {n: feeds[n] for n in names})[0]
        if states.ndim != 3 or states.shape[:2] != ids.shape:
            raise ValueError(f"{output} is {list(states.shape)} for {ids.size} tokens, not a vector for each")
        vectors: NDArray[np.float32] = states[0]
        return vectors

    return encode
