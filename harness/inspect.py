"""What a model's graph is and takes: ``python -m harness.inspect``.

Structure, operators, weights, work and warnings come from `harness.artifacts.anatomy`, what CoreML would
take from `harness.artifacts.coreml`; here they are asked for and written down.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from harness.artifacts.anatomy import flaw_of, load_graph, read_anatomy, refusal_of
from harness.artifacts.sizes import sizes_of
from harness.command import run_command
from harness.compose import compose, options_of
from harness.config import parse_words, validate
from harness.errors import BadInputError, HarnessError, ModelUnavailableError, unknown_name
from harness.paths import file_stat, typed_path
from harness.stand_ins import harmless
from harness.units import format_bytes, share_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from harness.artifacts.anatomy import Anatomy
    from harness.artifacts.coreml import CoreMlEstimate
    from harness.artifacts.manifest import Artifact
    from harness.artifacts.sizes import Sizes
    from harness.progress import Progress
    from harness.schema import Config, ModelConfig

_DEFAULTS = {
    "model": "",
    "path": "",
    "weights": "",
    "precision": "fp32",
    "ep": "cpu",
    "tokens": "128",
    "batch_size": "1",
    "format": "table",
}
# Words of a run that say what is built, with the same meaning here.
_OF_A_RUN = ("model.", "precision.")
_FORMATS = ("table", "json")
_MOST = {"tokens": 131_072, "batch_size": 4_096}
_HELP = """python -m harness.inspect model=NAME [weights=trained|random|auto] [precision=fp32] [ep=NAME]
                          [tokens=128] [batch_size=1] [format=table|json] [model.KEY=VALUE]
                          [precision.KEY=VALUE]
python -m harness.inspect model=custom model.path=DIR|model.id=ORG/NAME [the same]
python -m harness.inspect path=FILE.onnx [ep=NAME] [tokens=128] [batch_size=1] [format=table|json]

Reads a graph and tells what it is: architecture, operators, weights, inputs and outputs, operations and bytes
of a request, and what is wrong with it. A model is built first where it is not cached, weights=random by
its architecture alone; path= takes any ONNX file. ep=coreml adds an estimate of what Apple's CoreML would
take, on any machine. Nothing is timed.
Exit codes: 0, 2 bad input, 3 not possible here.
"""
# What the model's configuration knows too, by its name there.
_CONFIGURED = ("layers", "hidden", "heads", "vocab_size")
_LABELS = {"ffn": "FFN", "vocab_size": "vocabulary"}
_WIDTH = 18


def main(argv: list[str]) -> int:
    """Read, tell.

    Raises:
        BadInputError: an unknown word or value, a model that a run would refuse too, or a file that is no
            graph.
        UnavailableError: the model cannot be had, or what reads it is not installed.
    """
    if any(word in ("--help", "-h") for word in argv):
        sys.stdout.write(_HELP)
        return 0
    of_a_run = [word for word in argv if word.startswith(_OF_A_RUN)]
    words = parse_words([word for word in argv if word not in of_a_run], defaults=_DEFAULTS)
    if words["weights"]:
        of_a_run.append(f"model.weights={words['weights']}")
    sizes = _checked(words, of_a_run)
    config = _planned(words, of_a_run) if words["model"] else None
    model = None if config is None else config.model
    if model is not None and not any(word.startswith("tokens=") for word in argv):
        sizes["tokens"] = min(sizes["tokens"], model.max_length)
    if model is not None and sizes["tokens"] > model.max_length:
        raise BadInputError(
            f"tokens={sizes['tokens']}: {model.name} reads {model.max_length} tokens at most; give at most "
            "that"
        )
    if config is None:
        graph = typed_path(words["path"])
        tokenizer = graph.with_name("tokenizer.json")
    else:
        artifact = _built(config)
        model = config.model.model_copy(update={"weights": artifact.manifest.weights})
        graph, tokenizer = artifact.graph, artifact.tokenizer
    loaded = load_graph(graph)
    flaw, refusal = (flaw_of(graph), refusal_of(graph)) if config is None else (None, None)
    damaged = BadInputError(f"{graph}: a damaged graph ({flaw}); copy or export it anew")
    if flaw is not None and refusal is not None:
        raise damaged
    coreml = None
    try:
        sizes = _taken(sizes, argv, sizes_of(loaded))
        anatomy = read_anatomy(loaded, **sizes, tokenizer_vocab=_tokenizer_vocab(tokenizer))
        del loaded
        if words["ep"] == "coreml":
            from harness.artifacts.coreml import estimate_coreml

            coreml = estimate_coreml(graph, **sizes)
    except HarnessError:
        raise
    except Exception:
        if flaw is None:
            raise  # the graph is valid: a defect of ours
        raise damaged from None
    found = report(anatomy, graph, model, coreml)
    if flaw is not None:
        found["warnings"].append(f"ONNX's checker refuses the graph, ONNX Runtime loads it: {flaw}")
    if refusal is not None:
        found["warnings"].append(f"ONNX Runtime does not load the graph: {refusal}")
    if config is not None and (unfit := config.precision.unfit.get(words["ep"])):
        found["warnings"].append(f"precision={words['precision']} ep={words['ep']}: {unfit}")
    if words["format"] == "json":
        sys.stdout.write(json.dumps(found, indent=1) + "\n")
    else:
        sys.stdout.write("\n".join(_shown(line) for line in _lines(found)) + "\n")
        if words["ep"] not in ("cpu", "coreml"):
            sys.stdout.write(
                f"· ep={words['ep']} is not estimated: python -m harness ep={words['ep']} measures it\n"
            )
    return 0


def _checked(words: Mapping[str, str], of_a_run: list[str]) -> dict[str, int]:
    """The sizes, once every word was looked at.

    Raises:
        BadInputError: with every problem there is, a line each.
    """
    problems = []
    if bool(words["model"]) == bool(words["path"]):
        problems.append("give either model=NAME or path=FILE.onnx, one of them")
    if words["path"] and of_a_run:
        problems.append(f"{of_a_run[0]}: belongs to model=NAME; a graph of path= is as it is")
    if words["model"] and words["model"] not in options_of("model"):
        problems.append(unknown_name("model", words["model"], options_of("model")))
    valid = {"precision": options_of("precision"), "ep": options_of("ep"), "format": _FORMATS}
    problems += [unknown_name(k, words[k], names) for k, names in valid.items() if words[k] not in names]
    sizes = {}
    for name, most in _MOST.items():
        digits = words[name].isascii() and words[name].isdecimal()
        sizes[name] = int(words[name]) if digits and len(words[name]) < 10 else 0
        if not 1 <= sizes[name] <= most:
            problems.append(f"{name}={words[name]}: must be a whole number from 1 to {most}")
    if words["path"]:
        try:
            file_stat(typed_path(words["path"]), told=f"path={words['path']}", give="path=FILE.onnx")
        except BadInputError as error:
            problems += error.problems
    if problems:
        raise BadInputError(*problems)
    return sizes


def _taken(asked: dict[str, int], argv: list[str], graph: Sizes) -> dict[str, int]:
    """The sizes that were asked for; one that was not typed is as the graph takes it.

    Raises:
        BadInputError: one that was typed is another than the graph takes, a line each; it takes no text.
    """
    if 0 in (graph.batch_size, graph.tokens):
        raise BadInputError(
            "the graph's text inputs have an axis of length 0, which takes no text; export it anew"
        )
    typed = {word.partition("=")[0] for word in argv}
    fits = {
        "batch_size": graph.batch_size or asked["batch_size"],
        "tokens": graph.tokens or min(asked["tokens"], graph.positions or asked["tokens"]),
    }
    why = dict.fromkeys(fits, "this graph has that axis fixed")
    if graph.tokens is None:
        why["tokens"] = f"this graph has {graph.positions} positions"
    if problems := [
        f"{name}={asked[name]}: {why[name]}; give {name}={size}"
        for name, size in fits.items()
        if name in typed and size != asked[name]
    ]:
        raise BadInputError(*problems)
    return fits


def _planned(words: Mapping[str, str], of_a_run: list[str]) -> Config:
    """The plan of a run of the same words: a model is composed and refused here as there.

    Raises:
        BadInputError: as `harness.config.validate`.
    """
    (raw,) = compose([f"model={words['model']}", f"precision={words['precision']}", *of_a_run])
    return validate(raw)


def _built(config: Config) -> Artifact:
    """The artifact of a plan's model, as a run would build it."""
    from harness.progress import Progress
    from harness.terminal import error_console

    with Progress(error_console()) as progress:
        if config.model.weights != "auto":
            return _prepared(config, config.model.weights, progress)
        try:
            return _prepared(config, "trained", progress)
        except ModelUnavailableError as error:
            progress.tell(f"random weights instead: {error}")
            return _prepared(config, "random", progress)


def _prepared(config: Config, weights: str, progress: Progress) -> Artifact:
    from harness.artifacts.cache import Recipe
    from harness.provider import prepare_artifact

    model = config.model.model_copy(update={"weights": weights})
    return prepare_artifact(Recipe(model, config.precision, "onnxruntime"), tell=progress.tell)


def _tokenizer_vocab(file: Path) -> int | None:
    """One more than the largest id in a ``tokenizer.json``; None where there is none that can be read."""
    try:
        tokenizer = json.loads(file.read_text(encoding="utf-8"))
        vocab = tokenizer["model"]["vocab"]
        ids = list(vocab.values()) if isinstance(vocab, dict) else [len(vocab) - 1]
        ids += [token["id"] for token in tokenizer.get("added_tokens") or []]
        return max(ids) + 1
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None


def report(
    anatomy: Anatomy, graph: Path, model: ModelConfig | None, coreml: CoreMlEstimate | None
) -> dict[str, Any]:
    """Everything found, as plain values; what neither the graph nor the configuration says is None."""
    architecture: dict[str, Any] = asdict(anatomy.architecture)
    known_from = dict.fromkeys((name for name, value in architecture.items() if value is not None), "graph")
    warnings = list(anatomy.warnings)
    for name in _CONFIGURED if model is not None else ():
        configured = getattr(model, name)
        if architecture[name] is None and configured is not None:
            architecture[name], known_from[name] = configured, "configuration"
        elif configured is not None and architecture[name] != configured:
            warnings.append(f"model.{name}={configured}: the graph shows {architecture[name]}")
    plain = asdict(anatomy)
    for name in ("architecture", "warnings", "work", "flops_of_a_text"):
        plain.pop(name)
    work, polynomial = anatomy.work, anatomy.flops_of_a_text
    return {
        "graph": str(graph),
        "model": None if model is None else model.shown,
        "weights": None if model is None else model.weights,
        "architecture": architecture,
        "architecture_from": known_from,
        **plain,
        "embedding_share": anatomy.embedding_share,
        "work": {
            **asdict(work),
            "flops_per_token": work.flops_per_token,
            "bytes_per_token": work.bytes_per_token,
            "flops_of_a_text": None if polynomial is None else asdict(polynomial),
        },
        "warnings": warnings,
        "coreml": None if coreml is None else asdict(coreml),
    }


def _shown(line: str) -> str:
    """A line that stays one, and moves no cursor, whatever the graph's names hold."""
    return harmless(line).replace("\n", "\\n")


def _lines(found: Mapping[str, Any]) -> Iterator[str]:
    """The report for a person."""
    architecture: dict[str, int | None] = found["architecture"]
    work = found["work"]
    yield _line("graph", found["graph"])
    if found["model"] is not None:
        yield _line("model", f"{found['model']}, {found['weights']} weights")
    yield _line("made by", f"{found['producer'] or 'unknown'}, {_opsets(found['opsets'])}")
    figures = ", ".join(f"{_LABELS.get(name, name)} {_count(value)}" for name, value in architecture.items())
    yield _line("architecture", figures)
    share = (
        ""
        if found["embedding_share"] is None
        else f", {share_text(found['embedding_share'])} of it token table"
    )
    yield _line("parameters", f"{found['parameters']:,}{share}")
    weights = ", ".join(f"{dtype} {format_bytes(size)}" for dtype, size in found["initializer_bytes"].items())
    yield _line("weights", weights or "none")
    if found["external_files"]:
        names = ", ".join(found["external_files"])
        yield _line("external data", f"{format_bytes(found['external_bytes'])} in {names}")
    for kind in ("inputs", "outputs"):
        for port in found[kind]:
            yield _line(kind[:-1], f"{port['name']}: {port['dtype']} {_dims(port['dims'])}")
    yield _line("dynamic axes", ", ".join(found["dynamic_axes"]) or "none")
    yield from _wrapped(f"{found['nodes']} nodes", [f"{op} {n}" for op, n in found["operators"].items()])
    texts = f"{work['batch_size']} × {work['tokens']} tokens"
    if work["flops"] is None:
        yield _line("operations", f"unknown for {texts}")
    else:
        each = work["flops_per_token"] / 1e6
        yield _line("operations", f"{work['flops'] / 1e9:.3f} GFLOP for {texts}, {each:.1f} MFLOP a token")
    if (curve := work["flops_of_a_text"]) is not None:
        constant = f"{curve['constant']:,} + " if curve["constant"] else ""
        yield _line(
            "of a text", f"{constant}{curve['linear']:,} · t + {curve['quadratic']:,} · t², t its tokens"
        )
    moved = "unknown" if work["activation_bytes"] is None else format_bytes(work["activation_bytes"])
    yield _line("bytes moved", f"weights {format_bytes(work['weight_bytes'])}, between operators {moved}")
    if found["coreml"] is not None:
        yield from _coreml_lines(found["coreml"])
    for warning in found["warnings"]:
        yield f"! {warning}"


def _coreml_lines(coreml: Mapping[str, Any]) -> Iterator[str]:
    yield ""
    yield f"CoreML, an estimate from the operator lists of ONNX Runtime {coreml['onnxruntime']}"
    heads = f"{'at most':>10} {'partitions':>11} {'floats only':>12} {'partitions':>11}"
    yield f"  {'format':<14} {'shapes':<13} {heads}"
    for e in coreml["estimates"]:
        yield (
            f"  {e['model_format']:<14} {e['shapes']:<13} {e['nodes_taken']:>4}/{e['nodes']:<5} "
            f"{e['partitions']:>11} {e['float_nodes_taken']:>12} {e['float_partitions']:>11}"
        )
    yield f"  static: {coreml['batch_size']} × {coreml['tokens']}; fixed parts: RequireStaticInputShapes=1"
    yield "  floats only: if what works on integers were refused; the truth probably lies between"
    for e in coreml["estimates"]:
        for reason, operators in e["stopped_by"].items() if e["shapes"] != "fixed parts" else ():
            ops = [f"{op} {n}" for op, n in operators.items()]
            yield from _wrapped(f"  {e['model_format']}, {e['shapes']}: {reason}:", ops, indent=4)
    for model_format, caveats in coreml["caveats"].items():
        for op, caveat in caveats.items():
            yield f"  not checked, {model_format} {op.removeprefix('ai.onnx:')}: {caveat}"
    for note in (coreml["consequence"], *coreml["notes"]):
        yield f"· {note}"


def _line(what: str, value: str) -> str:
    return f"{what:<{_WIDTH}} {value}"


def _wrapped(what: str, parts: list[str], *, indent: int = _WIDTH + 1, width: int = 100) -> Iterator[str]:
    """Parts with commas between, over as many lines as they take."""
    line = f"{what:<{_WIDTH}} "
    for position, part in enumerate(parts):
        piece = part + (", " if position + 1 < len(parts) else "")
        if len(line) + len(piece.rstrip()) > width:
            yield line.rstrip()
            line = " " * indent
        line += piece
    yield line.rstrip()


def _count(value: int | None) -> str:
    return "unknown" if value is None else f"{value:,}"


def _opsets(opsets: Mapping[str, int]) -> str:
    return ", ".join(f"opset {n}" if domain == "ai.onnx" else f"{domain} {n}" for domain, n in opsets.items())


def _dims(dims: tuple[int | str | None, ...] | None) -> str:
    return (
        "of unknown shape"
        if dims is None
        else f"[{', '.join('?' if dim is None else str(dim) for dim in dims)}]"
    )


if __name__ == "__main__":
    sys.exit(run_command(lambda: main(sys.argv[1:])))
