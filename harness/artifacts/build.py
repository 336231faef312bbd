"""The build itself, in a process of its own: ``python -m harness.artifacts.build``.

Reads one JSON request on standard input, writes the artifact's files into a given folder, and prints
a JSON line for each step and one for the result. The only module that imports torch, transformers,
optimum and sentence-transformers; its process ends with the build, so that nobody else carries them.
"""

from __future__ import annotations

import inspect
import json
import os
import re
import shutil
import sys
import warnings
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np

from harness.artifacts import twin
from harness.artifacts.adopt import adopt, adopt_published
from harness.artifacts.assemble import (
    at_fault,
    count_dense,
    dense_layers,
    load_tokenizer,
    require_dim,
    require_short_texts,
    save_graph,
    save_references,
    save_tokenizer,
)
from harness.artifacts.files import ANEW, read_json
from harness.artifacts.manifest import GRAPH, REFERENCE, TOKENIZER, VERIFICATION
from harness.artifacts.modules import CONFIG, arguments_of
from harness.artifacts.pooling import pool
from harness.artifacts.precision import TOOLS, derive
from harness.errors import ArtifactError, BadInputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from harness.artifacts.pooling import Dense

OPSET = 18
# Weights of the layers that an embedding is computed by, as BERT's, Qwen's and GPT-2's families name them;
# among the last's stand masks too, which are none.
_OF_THE_BODY = re.compile(
    r"(^|\.)(embeddings|embed_tokens|encoder|layers?)\.|(^|\.)(h|blocks?|wte|wpe)\.(.*\.)?weight$"
)
EXPORTERS = ("torch", "transformers", "optimum", "optimum-onnx", "onnx", "sentence-transformers")
# The steps with the share of a build's time that each was seen to take (MiniLM, 2 cores).
STEPS = {"loading": 0.45, "exporting": 0.25, "reference": 0.3, "converting": 1.0}


def main() -> int:
    """Build what standard input asks for; errors are a JSON line too, never a traceback alone.

    ``bad_input`` beside an error says that the model's files, or what is said of them, are at fault.
    """
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what the libraries print goes to standard error
    request = json.load(sys.stdin)
    warnings.filterwarnings("ignore")
    try:
        result = convert(request, out) if "base" in request else build(request, out)
    except BadInputError as error:
        _say(out, error=str(error), bad_input=True)
        return 1
    except ArtifactError as error:
        _say(out, error=str(error))
        return 1
    except Exception as error:
        _say(out, error=f"{type(error).__name__}: {' '.join(str(error).split())}")
        return 1
    _say(out, result=result)
    return 0


def convert(request: dict[str, Any], out: TextIO) -> dict[str, Any]:
    """Write another precision of a built artifact to ``request["target"]``.

    Args:
        request: ``base`` and ``target`` (folders), ``settings`` and ``architecture`` as
            `harness.artifacts.precision.derive` takes them; ``published``: null, or the rest of what
            `harness.artifacts.adopt.adopt_published` takes.
        out: where steps are told, a JSON line each.

    Returns:
        The manifest's fields that only a build knows.

    Raises:
        ArtifactError: the graph has nothing that the precision changes.
        BadInputError: the published graph cannot be used.
    """
    _say(out, step="converting")
    base, target = Path(request["base"]), Path(request["target"])
    if request["published"] is None:
        opset = derive(base, target, request["settings"], request["architecture"])
    else:
        opset = adopt_published(request["published"] | {"target": str(target)})
    for name in (TOKENIZER, REFERENCE, VERIFICATION):
        if (base / name).exists():
            shutil.copyfile(base / name, target / name)
    return {"exporter": _versions(TOOLS), "opset": opset}


def build(request: dict[str, Any], out: TextIO) -> dict[str, Any]:
    """Write graph, tokenizer and reference vectors to ``request["target"]``.

    Args:
        request: ``source`` (a folder; null builds a twin from ``twin``, the facts that
            `harness.artifacts.twin.random_model` takes) and ``target``, ``graph`` (the ONNX graph in the
            source to take, None to export the weights), ``dense`` (folders of Dense modules),
            ``lower_case``, ``truncation_side``, ``pooling``, ``normalize``, ``dim``, ``truncate_dim``,
            ``max_length``, ``prompt``, ``quality_texts``, ``verification_texts``.
        out: where steps are told, a JSON line each.

    Returns:
        The manifest's fields that only a build knows.

    Raises:
        BadInputError: the model's files cannot be used, or are not as declared.
    """
    target = Path(request["target"])
    _say(out, step="loading")
    if request["graph"] is not None:
        return adopt(request, lambda step: _say(out, step=step))
    if request["source"] is None:
        tokenizer, model = twin.tokenizer(request["twin"]), twin.random_model(request["twin"])
    else:
        source = Path(request["source"])
        model = _load(source)
        tokenizer = load_tokenizer(source, model.config.vocab_size)
        require_short_texts(model.config.to_dict(), request["max_length"])
    dense = dense_layers(request)
    require_dim(request, dense[-1].weight.shape[0] if dense else int(model.config.hidden_size))
    pad_id, pad_token = save_tokenizer(
        request, tokenizer, model.config.vocab_size, getattr(model.config, "pad_token_id", None)
    )
    known = {
        "params": sum(parameter.numel() for parameter in model.parameters()) + count_dense(dense),
        "architecture": str(model.config.model_type),
        "pad_id": pad_id,
        "pad_token": pad_token,
    }
    if request["source"] is None:
        np.save(target / VERIFICATION, _twin_vectors(model, request, pad_id))
        known["reference_by"] = "transformers' own forward, pooled in NumPy: random weights"

    _say(out, step="exporting")
    opset = _export(model, target, request, dense)
    del model

    if request["source"] is not None:
        _say(out, step="reference")
        quality, verification, known["reference_by"] = _reference(request, source, pad_token)
        save_references(target, quality, verification)
    return {"exporter": _versions(EXPORTERS), "opset": opset, **known}


def _load(source: Path) -> Any:
    """The transformers model of a folder, eval mode, every weight of it from the folder and none left over.

    A head on top may be left over, and BERT's pooler may be missing: no embedding here is computed by them.

    Raises:
        BadInputError: transformers cannot load them, they are not finite, or config.json is not that of the
            weights: what is missing would be made up.
    """
    from transformers import CONFIG_MAPPING, AutoConfig, AutoModel
    from transformers.models.auto.modeling_auto import MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES

    kind = read_json(source, CONFIG).get("model_type")
    if kind is not None and kind not in CONFIG_MAPPING:
        raise BadInputError(
            f"{CONFIG} says model_type={kind}, which transformers {version('transformers')} does not know; "
            "give a model that it knows, or an ONNX graph of this one"
        )
    if kind in MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES:
        raise BadInputError(
            f"{CONFIG} says model_type={kind}, an encoder with a decoder; the first alone cannot be exported "
            "here; give an ONNX graph of it, without the weights beside it"
        )
    # Layers fed in chunks give the same vectors, and cannot be exported.
    arguments = arguments_of(source, "config") | {"chunk_size_feed_forward": 0}
    with at_fault(f"{CONFIG} and the weights"):
        model, found = AutoModel.from_pretrained(
            source,
            config=AutoConfig.from_pretrained(source, **arguments),
            use_safetensors=True,
            trust_remote_code=False,
            ignore_mismatched_sizes=True,  # told below
            output_loading_info=True,
        )
    missing = sorted(key for key in found["missing_keys"] if not key.startswith("pooler."))
    unused = sorted(
        key
        for key in found["unexpected_keys"]
        if _OF_THE_BODY.search(key) and not key.endswith(".position_ids")
    )
    other = sorted(found["mismatched_keys"])
    for keys, what in (
        (missing, "are missing"),
        (unused, "would not be used"),
        (other, "have another shape"),
    ):
        if keys:
            raise BadInputError(
                f"{CONFIG} does not describe the weights: {len(keys)} of them {what} ({keys[0]}, ...); give "
                "the one that they were saved with"
            )
    for name, weight in model.named_parameters():
        if not weight.isfinite().all():
            raise BadInputError(f"the weights hold NaN or infinity ({name}): they are of no use; {ANEW}")
    return model.eval()


def _export(model: Any, target: Path, request: dict[str, Any], dense: Sequence[Dense]) -> int:
    """The graph with pooling inside; returns its opset. Weights beside it are moved, never loaded.

    Raises:
        BadInputError: the model's architecture cannot be exported.
    """
    import onnx
    from optimum.exporters.onnx import onnx_export_from_model

    scratch = target / "export"
    told = (
        f"{CONFIG} says model_type={model.config.model_type}, which",
        "cannot be exported here",
        "give another model, or an ONNX graph of it that a text can feed, without the weights beside it",
    )
    with at_fault(*told):
        onnx_export_from_model(model, scratch, task="feature-extraction", opset=OPSET, do_validation=False)
    graph = onnx.load(scratch / GRAPH, load_external_data=False)
    for data in scratch.glob(f"{GRAPH}?data"):  # its name stands in the graph
        shutil.move(data, target / data.name)
    shutil.rmtree(scratch)
    with at_fault(*told, errors=ValueError):
        return save_graph(graph, request, dense)


def _twin_vectors(model: Any, request: dict[str, Any], pad_id: int) -> NDArray[np.float32]:
    """A random model's vectors of the verification texts, each alone: what the export is held against."""
    import torch
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(Path(request["target"]) / TOKENIZER))
    tokenizer.enable_truncation(request["max_length"])
    rows = []
    with torch.no_grad():
        for text in request["verification_texts"]:
            ids = tokenizer.encode(request["prompt"] + text).ids or [pad_id]
            states = model(input_ids=torch.tensor([ids])).last_hidden_state[0].numpy()
            cut = request["truncate_dim"]
            rows.append(pool(states, request["pooling"], normalize=request["normalize"], dim=cut))
    return np.stack(rows)


def _reference(
    request: dict[str, Any], source: Path, pad_token: str
) -> tuple[NDArray[np.float32], NDArray[np.float32], str]:
    """sentence-transformers' own vectors of the quality and the verification texts.

    It has none of a text without tokens, which is given as one of padding (`harness.tokenizer`).
    """
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Normalize, Pooling, Transformer
    from tokenizers import Tokenizer

    # Told also where nothing is cut: else the model's own files would say. So would they of the weights: as
    # pickles, or in another dtype than the export's.
    cut = {"device": "cpu", "truncate_dim": request["truncate_dim"] or request["dim"]}
    weights = {"dtype": "float32", "use_safetensors": True}
    with at_fault("the files that sentence-transformers reads"):
        if (source / "modules.json").is_file():
            model = SentenceTransformer(str(source), trust_remote_code=False, model_kwargs=weights, **cut)
            by = "sentence-transformers, by the model's own modules"
        else:
            word = Transformer(str(source), max_seq_length=request["max_length"])
            pooling = {"mean": "mean", "cls": "cls", "last": "lasttoken"}[request["pooling"]]
            modules = [word, Pooling(request["dim"], pooling_mode=pooling)]
            modules += [Normalize()] if request["normalize"] else []
            model = SentenceTransformer(modules=modules, **cut)
            by = "sentence-transformers, pooling as declared: the model has no modules.json"

    model.max_seq_length = request["max_length"]
    _fit_tokenizer(model.tokenizer, model[0].auto_model, pad_token)

    tokenizer = Tokenizer.from_file(str(Path(request["target"]) / TOKENIZER))

    def encode(texts: list[str]) -> NDArray[np.float32]:
        some = [text if tokenizer.encode(request["prompt"] + text).ids else pad_token for text in texts]
        with at_fault("the files that sentence-transformers reads"):
            vectors = model.encode(
                some, prompt=request["prompt"] or None, normalize_embeddings=request["normalize"]
            )
        return np.ascontiguousarray(vectors, dtype=np.float32)

    return encode(request["quality_texts"]), encode(request["verification_texts"]), by


def _fit_tokenizer(tokenizer: Any, model: Any, pad_token: str) -> None:
    """Make a tokenizer, in place, one that the model can be fed by, which a generic class need not be.

    Such a one gives inputs that the model may not take. Where it names no padding, or one that has no row in
    the embedding table, it is given `pad_token`; padding is masked. Before a text it would move the places
    of its tokens, where a model counts them, and with them its vector by its company.
    """
    tokenizer.padding_side = "right"
    takes = inspect.signature(model.forward).parameters
    tokenizer.model_input_names = [name for name in tokenizer.model_input_names if name in takes]
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id >= model.config.vocab_size:
        tokenizer.pad_token = pad_token


def _versions(packages: Sequence[str]) -> dict[str, str]:
    """Installed versions; a package that another wheel stands for is left out."""
    found = {}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _say(out: TextIO, **message: object) -> None:
    out.write(json.dumps(message) + "\n")
    out.flush()


if __name__ == "__main__":
    sys.exit(main())
