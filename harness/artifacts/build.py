"""The build itself, in a process of its own: ``python -m harness.artifacts.build``.

Reads one JSON request on standard input, writes the artifact's files into a given folder, and prints
a JSON line for each step and one for the result. The only module that imports torch, transformers,
optimum and sentence-transformers; its process ends with the build, so that nobody else carries them.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np

from harness.artifacts.adopt import adopt
from harness.artifacts.assemble import (
    dense_layers,
    require_dim,
    save_graph,
    save_references,
    save_tokenizer,
)
from harness.artifacts.manifest import GRAPH

if TYPE_CHECKING:
    from numpy.typing import NDArray

OPSET = 18
EXPORTERS = ("torch", "transformers", "optimum", "optimum-onnx", "onnx", "sentence-transformers")
# The steps with the share of a build's time that each was seen to take (MiniLM, 2 cores).
STEPS = {"loading": 0.45, "exporting": 0.25, "reference": 0.3}


def main() -> int:
    """Build what standard input asks for; errors are a JSON line too, never a traceback alone."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what the libraries print goes to standard error
    request = json.load(sys.stdin)
    try:
        result = build(request, out)
    except Exception as error:
        _say(out, error=f"{type(error).__name__}: {' '.join(str(error).split())}")
        return 1
    _say(out, result=result)
    return 0


def build(request: dict[str, Any], out: TextIO) -> dict[str, Any]:
    """Write graph, tokenizer and reference vectors to ``request["target"]``.

    Args:
        request: ``source`` and ``target`` (folders), ``graph`` (the ONNX graph in the source to take, None
            to export the weights), ``dense`` (folders of Dense modules), ``lower_case``, ``pooling``,
            ``normalize``, ``dim``, ``max_length``, ``prompt``, ``quality_texts``, ``verification_texts``.
        out: where steps are told, a JSON line each.

    Returns:
        The manifest's fields that only a build knows.

    Raises:
        ValueError: the model does not fit its declaration.
    """
    warnings.filterwarnings("ignore")
    source, target = Path(request["source"]), Path(request["target"])
    _say(out, step="loading")
    import onnx

    if request["graph"] is not None:
        return adopt(request, lambda step: _say(out, step=step))
    from optimum.exporters.onnx import onnx_export_from_model
    from transformers import AutoModel

    model = AutoModel.from_pretrained(source, use_safetensors=True, trust_remote_code=False).eval()
    dense = dense_layers(request)
    found = dense[-1].weight.shape[0] if dense else int(model.config.hidden_size)
    require_dim(request, found)
    params = sum(parameter.numel() for parameter in model.parameters())
    params += sum(w.size + (0 if b is None else b.size) for w, b, _ in dense)
    pad_id, pad_token = save_tokenizer(request, model.config.vocab_size, model.config.pad_token_id)

    _say(out, step="exporting")
    scratch = target / "export"
    onnx_export_from_model(model, scratch, task="feature-extraction", opset=OPSET, do_validation=False)
    graph = onnx.load(scratch / GRAPH)
    opset = save_graph(graph, request, dense)
    _remove(scratch)
    del model, graph

    _say(out, step="reference")
    quality, verification, reference_by = _reference(request, source)
    save_references(target, quality, verification)
    return {
        "exporter": {name: version(name) for name in EXPORTERS},
        "opset": opset,
        "params": params,
        "pad_id": pad_id,
        "pad_token": pad_token,
        "reference_by": reference_by,
    }


def _reference(request: dict[str, Any], source: Path) -> tuple[NDArray[np.float32], NDArray[np.float32], str]:
    """sentence-transformers' own vectors of the quality and the verification texts."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Normalize, Pooling, Transformer

    if (source / "modules.json").is_file():
        model = SentenceTransformer(str(source), device="cpu", trust_remote_code=False)
        by = "sentence-transformers, by the model's own modules"
    else:
        word = Transformer(str(source), max_seq_length=request["max_length"])
        pooling = {"mean": "mean", "cls": "cls", "last": "lasttoken"}[request["pooling"]]
        modules = [word, Pooling(request["dim"], pooling_mode=pooling)]
        modules += [Normalize()] if request["normalize"] else []
        model = SentenceTransformer(modules=modules, device="cpu")
        by = "sentence-transformers, pooling as declared: the model has no modules.json"

    model.max_seq_length = request["max_length"]

    def encode(texts: list[str]) -> NDArray[np.float32]:
        vectors = model.encode(
            texts, prompt=request["prompt"] or None, normalize_embeddings=request["normalize"]
        )
        return np.ascontiguousarray(vectors, dtype=np.float32)

    return encode(request["quality_texts"]), encode(request["verification_texts"]), by


def _remove(folder: Path) -> None:
    import shutil

    shutil.rmtree(folder)


def _say(out: TextIO, **message: object) -> None:
    out.write(json.dumps(message) + "\n")
    out.flush()


if __name__ == "__main__":
    sys.exit(main())
