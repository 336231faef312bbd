"""Where somebody's provider departs from the artifact: ``python -m harness.stages``.

Three stages of a text are compared: token ids, pooled vector, normalised vector. Each is computed from the
other provider's own stage before it, where that is given, so that a fault shows in its own stage and in none
that follows.
"""

from __future__ import annotations

import json
import math
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from harness.artifacts.anatomy import load_graph
from harness.artifacts.pooling import expose_stages, unit
from harness.command import run_command
from harness.compose import options_of
from harness.config import load_model, load_precision, own_model, parse_words
from harness.datasets import read_stages
from harness.errors import BadInputError, ExitCode, unknown_name
from harness.terminal import error_console, output_console, print_stages
from harness.tokenizer import Tokenizer
from harness.units import number_in

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

    from harness.artifacts.manifest import Artifact
    from harness.datasets import StageDump

STAGES = ("input_ids", "pooled", "normalised")
# Vectors further apart than this, relative to the expected one's length, differ. On MiniLM in fp32 those of
# ONNX Runtime and of sentence-transformers come to 1e-6, CLS instead of mean pooling to 1.
TOLERANCE = 1e-3
_SEVERITY_ERROR = 3
_PROMPTS = ("default", "query", "document")
_FORMATS = ("table", "json")
_DEFAULTS = {
    "model": "",
    "model.path": "",
    "model.normalize": "",
    "precision": "fp32",
    "reference": "",
    "prompt": "default",
    "tolerance": f"{TOLERANCE:g}",
    "format": "table",
}
# What `model.normalize=` can be.
_NORMALIZE = {"": None, "true": True, "false": False}
_HELP = """python -m harness.stages model=NAME|model=custom model.path=DIR [model.normalize=true|false]
                         reference=FILE.jsonl [precision=fp32] [prompt=default|query|document]
                         [tolerance=0.001] [format=table|json]

Finds where a provider of your own, in any language, departs from the model. FILE has one JSON object a line:
the text, and what your provider made of it, as far as you can tell: input_ids (without padding, or with an
attention_mask), pooled (before it is normalised), normalised. Each stage is held against what the artifact
makes of your own stage before it, and the first that differs is named. Give texts without a prompt: prompt=
puts the model's own before them.
Exit codes: 0 all stages agree, 2 bad input, 3 not possible here, 13 a stage differs.
"""


class Finding(NamedTuple):
    """One stage of one text.

    `distance` is the L2 distance of two vectors over the expected one's length; None for token ids, and
    infinite where it cannot be told. `told` says in words what differs; empty where nothing does.
    """

    stage: str
    where: str
    text: str
    agrees: bool
    distance: float | None
    told: str


class StagedModel:
    """An artifact whose stages can be looked at, on the CPU, one text at a time."""

    def __init__(self, artifact: Artifact) -> None:
        """Load it.

        Raises:
            RuntimeUnavailableError: the package onnx is not installed.
        """
        import onnxruntime as ort

        self.manifest = artifact.manifest
        self.tokenizer = Tokenizer(artifact)
        graph = load_graph(artifact.graph)
        self._outputs = expose_stages(graph, normalize=self.manifest.normalize)
        settings = ort.SessionOptions()
        settings.log_severity_level = _SEVERITY_ERROR
        # Where the weights of a large graph lie.
        settings.add_session_config_entry(
            "session.model_external_initializers_file_folder_path", str(artifact.path)
        )
        self._session = ort.InferenceSession(
            graph.SerializeToString(), settings, providers=["CPUExecutionProvider"]
        )
        self._inputs = [entry.name for entry in self._session.get_inputs()]

    def token_ids(self, text: str, *, prompt: str = "default") -> tuple[int, ...]:
        """The ids of a text, special tokens included, without padding.

        Raises:
            ValueError: unknown prompt.
        """
        tokens = self.tokenizer.tokenize([text], prompt=prompt)
        return tuple(tokens.input_ids[0][tokens.attention_mask[0] == 1].tolist())

    def reads(self, input_ids: Sequence[int]) -> bool:
        """Whether the graph can take these ids."""
        known = all(self.tokenizer.token(token_id) is not None for token_id in input_ids)
        return 0 < len(input_ids) <= self.manifest.max_length and known

    def vectors(self, input_ids: Sequence[int]) -> tuple[NDArray[np.float64], ...]:
        """The tokens' vectors [n_tokens, hidden], the pooled one [dim] and the normalised one [dim]."""
        ids = np.array([input_ids], dtype=np.int64)
        feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        names = list(dict.fromkeys(self._outputs))
        found = self._session.run(names, {name: feeds[name] for name in self._inputs})
        by_name = {name: value[0].astype(np.float64) for name, value in zip(names, found, strict=True)}
        return tuple(by_name[name] for name in self._outputs)


def compare_stages(
    model: StagedModel, dumps: Sequence[StageDump], *, prompt: str = "default", tolerance: float = TOLERANCE
) -> list[Finding]:
    """Hold every stage that was dumped against what the model makes of the stage before it.

    Args:
        model: what is right.
        dumps: what a provider made of texts (`harness.datasets.read_stages`).
        prompt: ``default``, ``query`` or ``document``: what the model puts before a text.
        tolerance: the largest relative distance of two vectors that agree.

    Raises:
        ValueError: unknown prompt.
    """
    with np.errstate(over="ignore"):  # a length beyond all floats is told as inf
        return [finding for dump in dumps for finding in _findings(model, dump, prompt, tolerance)]


def first_difference(findings: Sequence[Finding]) -> str | None:
    """The first stage that differs in any text; None where all agree."""
    differing = {finding.stage for finding in findings if not finding.agrees}
    return next((stage for stage in STAGES if stage in differing), None)


def _findings(model: StagedModel, dump: StageDump, prompt: str, tolerance: float) -> Iterator[Finding]:
    ids = model.token_ids(dump.text, prompt=prompt)
    if dump.input_ids is not None:
        told = _ids_differ(model, ids, dump.input_ids)
        yield Finding("input_ids", dump.where, dump.text, not told, None, told)
        if model.reads(dump.input_ids) and not _padded(model, ids, dump.input_ids):
            ids = dump.input_ids
    hidden, pooled, normalised = model.vectors(ids)
    poolings = {
        "the first token's vector (CLS pooling)": hidden[0],
        "the last token's vector (last-token pooling)": hidden[-1],
        "the mean over the tokens (mean pooling)": hidden.mean(axis=0),
        "the mean without the first and the last token": hidden[1:-1].sum(axis=0) / max(len(hidden) - 2, 1),
        "the sum over the tokens": hidden.sum(axis=0),
    }
    if dump.pooled is not None:
        known = {"the normalised vector": normalised, **poolings}
        yield _vector_finding("pooled", dump, dump.pooled, pooled, known, tolerance)
        if np.isfinite(dump.pooled).all():
            pooled = np.array(dump.pooled)
            normalised = unit(pooled) if model.manifest.normalize else pooled
    if dump.normalised is not None:
        known = {"the pooled vector: it is not normalised": pooled} if model.manifest.normalize else {}
        if dump.pooled is None:  # a fault of the stage before shows here
            known |= {f"{name}, normalised": unit(vector) for name, vector in poolings.items()}
        yield _vector_finding("normalised", dump, dump.normalised, normalised, known, tolerance)


def _ids_differ(model: StagedModel, expected: Sequence[int], found: Sequence[int]) -> str:
    """The first difference of two lists of token ids in words; empty where there is none."""
    if tuple(expected) == tuple(found):
        return ""
    counts = f"{len(found)} ids, expected {len(expected)}"
    pairs = enumerate(zip(expected, found, strict=False))
    common = next((place for place, (a, b) in pairs if a != b), min(len(expected), len(found)))
    if _padded(model, expected, found):
        return f"{counts}: the rest is padding; leave it out, or give attention_mask"
    if common == len(expected):
        return f"{counts}: the first {common} agree"
    if common == len(found):
        return f"{counts}: it ends before {_named(model, expected[common])}"
    here, there = _named(model, found[common]), _named(model, expected[common])
    return f"position {common}: {here}, expected {there}; {counts}"


def _padded(model: StagedModel, expected: Sequence[int], found: Sequence[int]) -> bool:
    """Whether the ids found are those expected, and padding behind them."""
    rest = found[len(expected) :]
    return tuple(found[: len(expected)]) == tuple(expected) and set(rest) == {model.manifest.pad_id}


def _named(model: StagedModel, token_id: int) -> str:
    token = model.tokenizer.token(token_id)
    return f"{token_id} ({'no such token' if token is None else repr(token)})"


def _vector_finding(
    stage: str,
    dump: StageDump,
    found: ArrayLike,
    expected: NDArray[np.float64],
    known: Mapping[str, NDArray[np.float64]],
    tolerance: float,
) -> Finding:
    vector = np.asarray(found, dtype=np.float64)
    distance = _distance(vector, expected)
    told = ""
    if not distance <= tolerance:
        near = (name for name, other in known.items() if _distance(vector, other) <= tolerance)
        as_known = next(near, None)
        if vector.shape != expected.shape:
            told = f"{vector.size} numbers, expected {expected.size}"
        elif not np.isfinite(vector).all():
            told = "it holds NaN or infinity"
        elif as_known is not None:
            told = f"it is {as_known}"
        else:
            cosine = float(unit(vector) @ unit(expected))
            lengths = f"{np.linalg.norm(vector):.4g}, expected {np.linalg.norm(expected):.4g}"
            told = f"cosine {cosine:.6f}, length {lengths}"
    return Finding(stage, dump.where, dump.text, not told, distance, told)


def _distance(found: NDArray[np.float64], expected: NDArray[np.float64]) -> float:
    """The L2 distance over the expected vector's length; infinite where it cannot be told."""
    if found.shape != expected.shape or not np.isfinite(found).all():
        return math.inf
    length = float(np.linalg.norm(expected))
    distance = float(np.linalg.norm(found - expected))
    return distance / length if length > 0 else 0.0 if distance == 0 else math.inf


def main(argv: list[str]) -> int:
    """Read, compare, tell.

    Raises:
        BadInputError: an unknown word or value, or a file that is no dump.
        UnavailableError: the model cannot be had, or what reads it is not installed.
    """
    if any(word in ("--help", "-h") for word in argv):
        sys.stdout.write(_HELP)
        return ExitCode.OK
    words = parse_words(argv, defaults=_DEFAULTS)
    dumps, tolerance = _checked(words)
    from harness.artifacts.cache import Recipe
    from harness.progress import Progress
    from harness.provider import prepare_artifact

    with Progress(error_console()) as progress:
        folder = words["model.path"]
        normalize = _NORMALIZE[words["model.normalize"]]
        chosen = own_model(folder, normalize=normalize) if folder else load_model(words["model"])
        recipe = Recipe(chosen, load_precision(words["precision"]), "onnxruntime")
        model = StagedModel(prepare_artifact(recipe, tell=progress.tell))
        progress.tell(f"comparing {len(dumps)} texts")
        findings = compare_stages(model, dumps, prompt=words["prompt"], tolerance=tolerance)
    if words["format"] == "json":
        sys.stdout.write(json.dumps(report(findings), indent=1) + "\n")
    else:
        print_stages(output_console(), report(findings))
    return ExitCode.OK if first_difference(findings) is None else ExitCode.REGRESSION


def report(findings: Sequence[Finding]) -> dict[str, Any]:
    """Everything found, as plain values: by stage, and each difference; what cannot be told is None."""
    by_stage = []
    for stage in STAGES:
        of_stage = [finding for finding in findings if finding.stage == stage]
        distances = [finding.distance for finding in of_stage if finding.distance is not None]
        worst = max(distances, default=math.inf)
        by_stage.append(
            {
                "stage": stage,
                "texts": len(of_stage),
                "differing": sum(not finding.agrees for finding in of_stage),
                "worst_distance": worst if math.isfinite(worst) else None,
            }
        )
    differences = [
        {key: value for key, value in finding._asdict().items() if key not in ("agrees", "distance")}
        for finding in findings
        if not finding.agrees
    ]
    return {
        "first_difference": first_difference(findings),
        "stages": by_stage,
        "differences": differences,
    }


def _checked(words: Mapping[str, str]) -> tuple[tuple[StageDump, ...], float]:
    """The dump and the tolerance, once every word was looked at.

    Raises:
        BadInputError: with every problem there is, a line each.
    """
    problems = []
    valid = {
        "model": options_of("model"),
        "model.normalize": ("true", "false"),
        "precision": options_of("precision"),
        "prompt": _PROMPTS,
        "format": _FORMATS,
    }
    if not words["model"]:
        problems.append("model: missing; give model=NAME, or model=custom model.path=DIR")
    elif (words["model"] == "custom") != bool(words["model.path"]):
        problems.append(f"model={words['model']}: a model of your own is model=custom model.path=DIR")
    elif words["model.normalize"] and not words["model.path"]:
        problems.append(f"model.normalize: model={words['model']} says it itself; leave it out")
    problems += [
        unknown_name(key, words[key], names)
        for key, names in valid.items()
        if words[key] and words[key] not in names
    ]
    tolerance = number_in(words["tolerance"]) or 0.0
    if not 0 < tolerance < 1:
        problems.append(f"tolerance={words['tolerance']}: must lie between 0 and 1")
    dumps: tuple[StageDump, ...] = ()
    if not words["reference"]:
        problems.append("reference: missing; give reference=FILE.jsonl")
    else:
        try:
            dumps = read_stages(words["reference"])
        except BadInputError as error:
            problems += [f"reference: {problem}" for problem in error.problems]
    if problems:
        raise BadInputError(*problems)
    return dumps, tolerance


if __name__ == "__main__":
    sys.exit(run_command(lambda: main(sys.argv[1:])))
