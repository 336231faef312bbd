"""What every build does, however its graph was had: tokenizer, pooling, the graph's file, references."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.artifacts.files import ANEW, read_json, read_tokenizer, require_rows, truncation_side
from harness.artifacts.graphs import said_by
from harness.artifacts.inputs import count_positions
from harness.artifacts.manifest import GRAPH, REFERENCE, TOKENIZER, VERIFICATION
from harness.artifacts.modules import ACTIVATIONS, CONFIG, arguments_of
from harness.artifacts.pooling import Dense, add_pooling
from harness.errors import BadInputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray
    from tokenizers import Tokenizer


@contextmanager
def at_fault(
    files: str, fault: str = "cannot be used", remedy: str = ANEW, *, errors: type[Exception] = Exception
) -> Iterator[None]:
    """Tell whatever a library raises on a model's files as one line on them.

    Args:
        files: what the line begins with.
        fault: what it says of them, before the library's own words.
        remedy: what it ends with.
        errors: that are told so; others are left alone.

    Raises:
        BadInputError: it raised something; a missing package and the system's own errors are left alone.
    """
    try:
        yield
    except errors as error:
        if isinstance(error, ImportError | MemoryError) or getattr(error, "errno", None) is not None:
            raise
        said = said_by(error).split(". ")[0].rstrip(".")
        raise BadInputError(f"{files} {fault} ({said}); {remedy}") from None


def require_dim(request: dict[str, Any], found: int) -> None:
    """Hold the vectors' dimensions against the declared ones.

    Raises:
        BadInputError: they differ.
    """
    if found != request["dim"]:
        raise BadInputError(
            f"model.dim={request['dim']}: the model's vectors have {found} dimensions; give that, or leave "
            "it out"
        )


def require_short_texts(config: Mapping[str, Any], max_length: int) -> None:
    """Refuse texts so long that a model computes them otherwise: an export does as with short ones.

    By angles of their own (longrope, dynamic), or by attending to blocks only (BigBird).

    Args:
        config: the model's, as transformers has it where it knows the architecture, with what stands in it.
        max_length: the longest text, in tokens.

    Raises:
        BadInputError: with the longest text, in tokens, that it computes as it does short ones.
    """
    said = config.get("rope_scaling") or config.get("rope_parameters")  # by its older and its newer name
    scaling: dict[str, Any] = said if isinstance(said, dict) else {}
    kind, limit = str(scaling.get("rope_type") or scaling.get("type")), config.get("max_position_embeddings")
    if kind == "longrope":
        original = "original_max_position_embeddings"
        limit = config.get(original) or scaling.get(original) or limit
    if (kind == "longrope" or "dynamic" in kind) and isinstance(limit, int) and max_length > limit:
        raise BadInputError(
            f"{CONFIG} says rope_type={kind}: texts of more than {limit} tokens, here of up to {max_length}, "
            f"have angles of their own, which an export does not keep; give model.max_length={limit}, or "
            "another model"
        )
    if config.get("attention_type") == "block_sparse":
        block, random = config.get("block_size", 64), config.get("num_random_blocks", 3)
        if max_length > (limit := (5 + 2 * random) * block):
            raise BadInputError(
                f"{CONFIG} says attention_type=block_sparse: of texts of more than {limit} tokens, here of "
                f"up to {max_length}, only blocks are attended to, which an export does not keep; give "
                f"model.max_length={limit}, or another model"
            )
    for part in config.values():
        if isinstance(part, dict):  # of a model in several parts
            require_short_texts(part, max_length)


def dense_layers(request: dict[str, Any]) -> list[Dense]:
    """The Dense modules of the source, in order.

    Raises:
        BadInputError: one has no weights as safetensors.
    """
    from safetensors.numpy import load_file

    layers = []
    for name in request["dense"]:
        folder = Path(request["source"]) / name
        config = read_json(folder, "config.json")
        if not (folder / "model.safetensors").is_file():
            raise BadInputError(f"{name} has no model.safetensors; pickled weights are never loaded")
        weights = load_file(folder / "model.safetensors")
        activation = str(config.get("activation_function", "Tanh")).rpartition(".")[2]
        bias = weights.get("linear.bias")
        layers.append(
            Dense(
                weights["linear.weight"].astype(np.float32),
                None if bias is None else bias.astype(np.float32),
                ACTIVATIONS[activation],
            )
        )
    return layers


def count_dense(dense: Sequence[Dense]) -> int:
    """Parameters of Dense layers."""
    return sum(layer.weight.size + (0 if layer.bias is None else layer.bias.size) for layer in dense)


def load_tokenizer(source: Path, rows: int | None) -> Tokenizer:
    """A model's tokenizer as sentence-transformers cuts texts by it: ``tokenizer.json`` is not all of it.

    What ``tokenizer_config.json`` says besides (lower case, accents, a space before) and the arguments among
    sentence-transformers' own files change what is done to a text before and after its words are looked up,
    as transformers' class for the model has it. So do the tokens that only the former names, or the class
    itself, as far as they have a row.

    Args:
        source: the model's folder.
        rows: of its embedding table; None where that is not known, the vocabulary is then the file's.

    Raises:
        BadInputError: the files cannot be used.
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    tokenizer = read_tokenizer(source)
    arguments = arguments_of(source, "tokenizer")
    with at_fault("the tokenizer's files"):
        try:
            found = AutoTokenizer.from_pretrained(source, **arguments)
        except (KeyError, OSError, ValueError):  # nobody names a class that this transformers knows
            found = PreTrainedTokenizerFast.from_pretrained(source, **arguments)
    if found.is_fast:
        for part in ("normalizer", "pre_tokenizer", "post_processor"):
            setattr(tokenizer, part, getattr(found.backend_tokenizer, part))
        known = tokenizer.get_vocab_size() if rows is None else rows
        for token_id, token in sorted(found.backend_tokenizer.get_added_tokens_decoder().items()):
            if token_id < known:
                (tokenizer.add_special_tokens if token.special else tokenizer.add_tokens)([token])
    return tokenizer


def save_tokenizer(
    request: dict[str, Any], tokenizer: Tokenizer, rows: int | None, pad_id: int | None
) -> tuple[int, str]:
    """Save a tokenizer with padding and truncation switched off; returns the padding token.

    One that cuts the beginning of a text, not its end, keeps its truncation: it says so to whoever cuts.

    Args:
        request: of the build.
        tokenizer: changed in place.
        rows: of the model's embedding table; None where that is not known.
        pad_id: that the model's config names, if the tokenizer itself names none.

    Raises:
        BadInputError: the tokenizer gives an id that has no row.
    """
    from tokenizers import normalizers

    built_in = tokenizer.padding or {}
    side = request["truncation_side"] or truncation_side(tokenizer)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    if side == "left":
        tokenizer.enable_truncation(request["max_length"], direction=side)
    normalizer = tokenizer.normalizer
    if request["lower_case"] and (normalizer is None or normalizer.normalize_str("A") != "a"):
        lower: Any = normalizers.Lowercase()
        tokenizer.normalizer = lower if normalizer is None else normalizers.Sequence([lower, normalizer])
    tokenizer.save(str(Path(request["target"]) / TOKENIZER), pretty=False)
    require_rows(tokenizer, rows)
    pad_id = built_in.get("pad_id", pad_id)
    pad_id = 0 if pad_id is None or pad_id < 0 else int(pad_id)
    return pad_id, tokenizer.id_to_token(pad_id) or "[PAD]"


def save_graph(graph: Any, request: dict[str, Any], dense: Sequence[Dense]) -> int:
    """Put positions, pooling and normalisation into a graph and save it as the artifact's; returns its opset.

    Raises:
        ValueError: the graph wants an input that a text does not have, or ONNX's checker refuses it.
    """
    import onnx

    path = Path(request["target"]) / GRAPH
    count_positions(graph)
    dim = request["truncate_dim"] or request["dim"]
    add_pooling(
        graph,
        request["pooling"],
        normalize=request["normalize"],
        dim=dim,
        dense=dense,
        truncate=dim < request["dim"],
    )
    onnx.save(graph, path, **external_data(graph))
    try:
        onnx.checker.check_model(str(path))
    except Exception as error:  # bytes that are no text in a name have a class of their own
        raise ValueError(said_by(error)) from None
    return int(next(i.version for i in graph.opset_import if i.domain in ("", "ai.onnx")))


def save_references(target: Path, quality: NDArray[np.float32], verification: NDArray[np.float32]) -> None:
    """Keep the reference vectors, float32 [n_texts, dim] each, with the artifact.

    Raises:
        BadInputError: one of them is not finite.
    """
    if not (np.isfinite(quality).all() and np.isfinite(verification).all()):
        what = "the model's own vectors hold NaN or infinity"
        raise BadInputError(f"{what}: its weights are of no use; {ANEW}")
    np.save(target / REFERENCE, quality)
    np.save(target / VERIFICATION, verification)


def external_data(graph: Any) -> dict[str, Any]:
    """Arguments that keep a graph over protobuf's 2 GiB limit in a file beside it."""
    if graph.ByteSize() < 2**31 - 2**20:
        return {}
    return {"save_as_external_data": True, "location": "model.onnx.data"}
