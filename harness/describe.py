"""What a run is before it is timed: its requests, its quality, and where the graph's nodes go.

A process loads the artifact as a launch would, serves the shortest, the middle and the longest request under
the profiler, then encodes the quality texts. Nothing of it is timed.
"""

from __future__ import annotations

import json
import math
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from harness import texts
from harness.artifacts.verification import parity_failure
from harness.measure.batching import BATCHING_COLUMNS, Batching
from harness.measure.hostile import Hostile
from harness.measure.limits import known_peaks, machine_peaks, request_columns
from harness.measure.mteb import MTEB_COLUMNS
from harness.measure.parity import TEXTS_COLUMNS, texts_columns
from harness.measure.quality import QUALITY_COLUMNS, quality_columns
from harness.measure.retrieval import RETRIEVAL_COLUMNS, retrieval_columns
from harness.measure.sts import STS_COLUMNS, sts_columns
from harness.measure.vectors import first_wrong
from harness.provider import BATCH_SIZE
from harness.runtimes.base import SessionOptions
from harness.stats import nearest_rank
from harness.tokenizer import Tokenizer
from harness.worker import Task, TextsFile
from harness.workload import draw_requests

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from harness.artifacts.manifest import Artifact
    from harness.datasets import Texts
    from harness.progress import Progress
    from harness.run import Run

# The one execution provider that takes every shape.
CPU = "CPUExecutionProvider"
# Quality on the user's own data.
OWN_COLUMNS = (*STS_COLUMNS, *RETRIEVAL_COLUMNS, *TEXTS_COLUMNS, *MTEB_COLUMNS)
# Tokens of the text that others are encoded beside, to see what that does to their vectors.
NEIGHBOUR_TOKENS = 256
# What a run's row holds besides its launches' figures; measured once, kept when the run is resumed.
_TEXT_FACTS = ("tokens_mean", "tokens_p95", "flops_per_request", "bytes_per_request")
FACTS = (
    *_TEXT_FACTS, "nodes_total", "ep_nodes", "ep_node_share", "ep_partitions", "ep_time_share",
    "effective_options", *BATCHING_COLUMNS, *QUALITY_COLUMNS, *OWN_COLUMNS,
)  # fmt: skip
# Of what is shared: what is wrong with a vector that was tried; no column of a row, it is its error.
_PROBLEM = "problem"
# A hostile text is cut to so many tokens where the model would read more.
HOSTILE_TOKENS = 512
# Characters that are shown of a text of the user's own.
_SHOWN = 40


@dataclass
class Describer:
    """What the descriptions of one command share.

    `worker` runs a task in a fresh process; tests script it. `known` keeps quality and placement by what they
    are facts of (`Run.describes`), so that they are found once for all runs that share them.
    """

    worker: Callable[..., dict[str, Any]]
    progress: Progress
    known: dict[str, dict[str, Any]]


def describe(run: Run, folder: Path, describer: Describer) -> None:
    """Draw the run's requests, and once per run its quality and where the graph's nodes go; nothing is timed.

    Sets `run.requests_file` and `run.facts`, and `run.error` where it need not be timed.

    Args:
        run: has its artifact.
        folder: what the worker reads and writes goes there.
        describer: what all runs of a command share.
    """
    assert run.artifact is not None
    measure = run.config.measure
    counter = Tokenizer(run.artifact)
    drawn = draw_requests(run.workload, measure.warmup_requests + run.requests, counter)
    timed = drawn[measure.warmup_requests :]
    path = folder / f"{run.run_id}.json"
    path.write_text(json.dumps({"warmup": drawn[: measure.warmup_requests], "timed": timed}))
    run.requests_file = str(path)
    if run.facts:
        return
    longest = run.config.model.max_length
    counts = [[min(counter.count(text), longest) for text in request] for request in timed]
    lengths = [count for request in counts for count in request]
    mine: dict[str, Any] = dict.fromkeys(_TEXT_FACTS)
    mine |= {"tokens_mean": float(np.mean(lengths)), "tokens_p95": nearest_rank(lengths, 0.95)}
    if (run.candidate.runtime, run.candidate.ep) == ("onnxruntime", "cpu"):
        if known_peaks(run.threads) is None:
            describer.progress.tell("what this machine can do at most, once")
            machine_peaks(run.threads)
        mine |= request_columns(run.artifact, counts, run.options().static_shapes)
    shared = describer.known.get(run.describes())
    if shared is None:
        describer.progress.tell(f"{run.label}: texts and quality")
        shared = _quality(run, _extremes(timed, counter), folder, describer)
    elif run.candidate.ep_provider != CPU:  # others have been seen to fail at some lengths only
        shared = shared | _probed(run, _extremes(timed, counter), folder, describer)
    if run.error is None:
        describer.known[run.describes()] = shared
        run.facts = mine | {name: value for name, value in shared.items() if name in FACTS}
        run.error = _hopeless(run, shared.get(_PROBLEM))


def _extremes(requests: list[list[str]], counter: Tokenizer) -> list[list[str]]:
    """The shortest, the middle and the longest of the requests, by their longest text."""
    by_length = sorted(requests, key=lambda request: max(counter.count(text) for text in request))
    picks = (by_length[0], by_length[len(by_length) // 2], by_length[-1])
    return [list(request) for request in dict.fromkeys(tuple(pick) for pick in picks)]


def _hopeless(run: Run, problem: str | None) -> str | None:
    """Why a run that was described need not be timed: nothing could make it GO; None where it may be.

    A number of launches that was asked for is measured all the same, unless vectors are not finite or those
    of hostile texts are not as they must be; `problem` tells which.
    """
    if problem is not None:
        return f"quality: {problem}"
    if run.facts["finite"] is False:
        return "quality: a vector holds NaN or infinity"
    parity, bound = run.facts["parity_cosine_min"], run.config.precision.parity_cosine_min
    if parity is None or parity >= bound or run.config.measure.launches is not None:
        return None
    return f"quality: {parity_failure(parity, bound)}; measure.launches=N times it all the same"


class OwnTexts(NamedTuple):
    """Texts of the user's own data, and the model's prompt that they are encoded with."""

    name: str
    texts: Sequence[str]
    prompt: str = "default"

    def vectors_file(self, folder: Path) -> Path:
        """Where their vectors go."""
        return folder / f"{self.name}.npy"


def own_texts(run: Run) -> list[OwnTexts]:
    """What is encoded of the user's own data."""
    own = [] if run.sts is None else [OwnTexts("sts", run.sts.texts)]
    if run.retrieval is not None:
        own.append(OwnTexts("queries", run.retrieval.queries, "query"))
        own.append(OwnTexts("corpus", run.retrieval.documents, "document"))
    if run.texts is not None:
        own.append(OwnTexts("texts", run.texts.texts))
    return own


def _quality(run: Run, probe: list[list[str]], folder: Path, describer: Describer) -> dict[str, Any]:
    """What `_probed` tells, and the quality of the vectors; null where weights are random."""
    assert run.artifact is not None
    reference = run.artifact.reference()
    unknown = dict.fromkeys((*QUALITY_COLUMNS, *OWN_COLUMNS, *BATCHING_COLUMNS))
    if reference is None or run.candidate.weights != "trained":  # a cosine would mean nothing
        return unknown | _probed(run, probe, folder, describer)
    with tempfile.TemporaryDirectory(dir=folder, prefix="own-") as own_folder:
        own = [(part, part.vectors_file(Path(own_folder))) for part in own_texts(run)]
        facts = _probed(run, probe, folder, describer, list(texts.quality_texts()), own)
        if run.error is not None:
            return {}
        similar = [pair.similar for pair in texts.quality_pairs()]
        vectors = np.load(_vectors_file(run, folder))
        columns: dict[str, Any] = unknown | quality_columns(vectors, reference, similar) | facts
        _add_tried(columns, Batching(**columns.pop("batching")), Hostile(**columns.pop("hostile")))
        of_own = {part.name: np.load(file, mmap_mode="r") for part, file in own}
        _add_own(columns, [(part, of_own[part.name]) for part, _ in own], run.artifact.manifest.normalize)
        if run.sts is not None:
            columns |= sts_columns(of_own["sts"], run.sts)
        if run.retrieval is not None:
            describer.progress.tell(f"{run.label}: searching {len(run.retrieval.documents)} documents")
            columns |= retrieval_columns(of_own["queries"], of_own["corpus"], run.retrieval)
        if run.texts is not None:
            if (reference := _fp32_vectors(run, run.texts, folder, describer)) is None:
                return {}
            columns |= texts_columns(of_own["texts"], reference, run.texts)
        if run.config.quality.mteb is not None:
            if (scores := _mteb_scores(run, run.config.quality.mteb, describer)) is None:
                return {}
            columns |= scores
        return columns


def _add_tried(columns: dict[str, Any], batching: Batching, hostile: Hostile) -> None:
    """What other batches of the quality texts, and the vectors of hostile texts, change in the columns."""
    columns |= batching.columns
    columns[_PROBLEM] = batching.problem or hostile.problem
    columns["finite"] = columns["finite"] and batching.problem is None and hostile.finite
    errors = columns["l2_norm_max_error"], hostile.norm_max_error
    columns["l2_norm_max_error"] = None if None in errors else max(errors)


def _add_own(
    columns: dict[str, Any], own: Sequence[tuple[OwnTexts, NDArray[np.float32]]], normalize: bool
) -> None:
    """What a vector of the user's own texts [n_texts, dim] changes that is not as it must be."""
    for part, vectors in own:
        if (wrong := first_wrong(vectors, normalize=normalize)) is not None:
            text = part.texts[wrong.row]
            told = f"the vector of a text of your own ({part.name}, {text[:_SHOWN]!r}) {wrong.what}"
            columns[_PROBLEM] = columns[_PROBLEM] or told
            columns["finite"] = columns["finite"] and wrong.finite


def _fp32_vectors(run: Run, own: Texts, folder: Path, describer: Describer) -> NDArray[np.float32] | None:
    """The user's texts by the model's fp32 artifact on the CPU, float32 [n_texts, dim], once in a sweep.

    None where it fails; sets `run.error`.
    """
    assert run.fp32 is not None
    file = folder / f"fp32-{run.fp32.sha256[:16]}-{own.sha256[:16]}.npy"
    if not file.exists():
        describer.progress.tell(f"{run.label}: the fp32 vectors of {len(own.texts)} texts")
        scratch = file.with_name(f"scratch-{file.name}")
        task = Task(
            kind="vectors",
            artifact=str(run.fp32.path),
            runtime=run.candidate.runtime,
            options=asdict(SessionOptions()),
            batch_size=BATCH_SIZE,
            vectors_file=str(_vectors_file(run, folder)),
            texts_files=[_texts_file(OwnTexts("texts", own.texts), scratch)],
        )
        answer = describer.worker(
            task, timeout_s=_texts_s(run, len(own.texts)), on_tick=describer.progress.tick
        )
        if answer["status"] != "complete":
            run.error = f"quality: the fp32 artifact: {answer['error']}"
            return None
        scratch.replace(file)
    vectors: NDArray[np.float32] = np.load(file, mmap_mode="r")
    return vectors


def _mteb_scores(run: Run, tasks: list[str], describer: Describer) -> dict[str, Any] | None:
    """`MTEB_COLUMNS`, by a process that may take hours; None where a request fails, which sets `run.error`.

    A task that cannot be evaluated is told, and has no score.
    """
    assert run.artifact is not None
    describer.progress.tell(f"{run.label}: MTEB's {', '.join(tasks)}")
    task = Task(
        kind="mteb",
        artifact=str(run.artifact.path),
        runtime=run.candidate.runtime,
        options=asdict(run.options()),
        batch_size=run.workload.batch_size,
        cpus=run.config.measure.cpus,
        mteb_tasks=tasks,
    )
    answer = describer.worker(task, timeout_s=math.inf, on_tick=describer.progress.tick)
    if answer.get("exit_code") is not None:
        run.error = f"quality.mteb: {answer['error']}"
        return None
    complete = answer["status"] == "complete"
    for problem in answer["mteb_problems"] if complete else [answer["error"]]:
        describer.progress.note(
            f"{run.label}: quality.mteb: {problem}; no score of it, measure.force=true tries anew"
        )
    scores = answer["mteb_scores"] if complete else dict.fromkeys(tasks)
    return {"mteb_scores": json.dumps(scores), "mteb_version": answer.get("mteb_version")}


def _texts_s(run: Run, more: int) -> float:
    """How long it may take to encode the shipped texts and so many more, in s: as launches of as many may."""
    measure = run.config.measure
    return measure.launch_timeout_s * (1 + more / (run.workload.batch_size * measure.requests))


def _probed(
    run: Run,
    probe: list[list[str]],
    folder: Path,
    describer: Describer,
    quality_texts: Sequence[str] = (),
    own: Sequence[tuple[OwnTexts, Path]] = (),
) -> dict[str, Any]:
    """Where nodes and their time go, and what the session uses, found by serving `probe`, untimed.

    The vectors of `quality_texts` are left in `_vectors_file`. Sets `run.error` where anything fails.
    """
    assert run.artifact is not None
    more = sum(len(served.texts) for served, _ in own)
    alone = not quality_texts or "static_shapes" in run.config.session.chosen
    answer = describer.worker(
        Task(
            kind="vectors",
            artifact=str(run.artifact.path),
            runtime=run.candidate.runtime,
            options=asdict(run.options(record_placement=True)),
            texts=list(quality_texts),
            batch_size=run.workload.batch_size,
            neighbour="" if alone else _neighbour(run.artifact),
            hostile=_hostile(run) if quality_texts else {},
            vectors_file=str(_vectors_file(run, folder)),
            cpus=run.config.measure.cpus,
            probe=probe,
            texts_files=[_texts_file(served, vectors_file) for served, vectors_file in own],
        ),
        timeout_s=_texts_s(run, more),
        on_tick=describer.progress.tick,
    )
    if answer["status"] != "complete":
        run.error = f"quality: {answer['error']}"
        return {}
    effective = answer["effective_options"]
    facts: dict[str, Any] = {
        "ep_time_share": answer["ep_time_share"],
        "effective_options": None if effective is None else json.dumps(effective, sort_keys=True),
    }
    if quality_texts:
        facts |= {name: answer[name] for name in ("batching", "hostile")}
    if placement := answer["placement"]:
        facts.update(placement)
        facts["ep_node_share"] = placement["ep_nodes"] / placement["nodes_total"]
    elif answer.get("ran_on") == [run.candidate.ep_provider]:
        facts["ep_node_share"] = 1.0  # this ONNX Runtime cannot count, but nothing ran elsewhere
    return facts


def _neighbour(artifact: Artifact) -> str:
    """A text of `NEIGHBOUR_TOKENS` tokens or the model's maximum, give or take one where a word was cut."""
    counter, passages = Tokenizer(artifact), " ".join(texts.corpus("passage")[:8])
    ends = counter.ends(passages)
    return passages[: ends[min(NEIGHBOUR_TOKENS - counter.count(""), len(ends)) - 1]]


def _hostile(run: Run) -> dict[str, str]:
    """The hostile texts by their kind, cut to what costs little and a fixed graph can read."""
    assert run.artifact is not None
    room = run.config.session.static_shapes.sequence_length or HOSTILE_TOKENS
    most, hostile = min(room, HOSTILE_TOKENS), texts.hostile_texts()
    if run.config.model.max_length <= most:  # it is cut there by itself, which is tried too
        return hostile
    counter = Tokenizer(run.artifact)
    return {kind: _cut(text, counter, most) for kind, text in hostile.items()}


def _cut(text: str, counter: Tokenizer, most: int) -> str:
    """The beginning of a text that is no longer than `most` tokens, special tokens and prompt included."""
    ends = counter.ends(text)[: max(0, most - counter.count(""))]
    while counter.count(text) > most:
        text = text[: ends.pop()] if ends else ""
        if not text:
            break
    return text


def _texts_file(own: OwnTexts, vectors_file: Path) -> TextsFile:
    """Texts in a file beside the one that their vectors go to, for the worker."""
    file = vectors_file.with_suffix(".jsonl")
    with file.open("w", encoding="utf-8") as lines:
        lines.writelines(f"{json.dumps(text)}\n" for text in own.texts)
    return TextsFile(str(file), str(vectors_file), len(own.texts), own.prompt)


def _vectors_file(run: Run, folder: Path) -> Path:
    return folder / f"{run.run_id}.npy"
