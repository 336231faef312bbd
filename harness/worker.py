"""One launch in one process: ``python -m harness.worker``; imports the least possible.

Reads one JSON task on standard input, writes its answer to the file that the task names, and exits.
Standard input stays open as long as the parent lives: when it closes, this process ends, so that a
killed parent leaves nothing behind that disturbs the next measurement.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, NoReturn

import numpy as np

from harness.artifacts.manifest import read_artifact
from harness.errors import EpUnavailableError, HarnessError, ProbeError
from harness.measure.batching import batching_columns
from harness.measure.hostile import hostile_vectors
from harness.measure.latency import loop_overhead_ns, serve, warm_up
from harness.measure.resources import Usage, peak_rss_bytes, usage
from harness.measure.soak import soak
from harness.measure.timer import timer_resolution_ns
from harness.provider import EmbeddingProvider, batches_by_length
from harness.runtimes.base import SessionOptions
from harness.units import ns_to_ms, ns_to_s

# Times that a probe's requests are served under the profiler, after one to warm up.
PROFILED_ROUNDS = 2
# Batches of a file that are held at a time, to be sorted by length as `EmbeddingProvider.encode` does.
_HELD_BATCHES = 64

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from harness.runtimes.base import Tokens


class TextsFile(NamedTuple):
    """So many texts of a file, one JSON string a line, and the file that their vectors go to.

    `prompt` is ``default``, ``query`` or ``document``: the model's own prefix for it.
    """

    texts_file: str
    vectors_file: str
    texts: int
    prompt: str = "default"


@dataclass(frozen=True)
class Task:
    """What a worker is to do.

    ``latency`` serves the requests of `requests_file` (JSON: ``warmup`` and ``timed``, lists of lists
    of texts) with `clients` concurrent callers, at `due_ns` if that is given, and times them; ``soak``
    serves them over and over for `duration_s`; ``vectors`` encodes `texts` in batches of `batch_size`,
    stores the vectors in `vectors_file`, and tells where the graph's nodes went, what its batch does to a
    text's vector, beside `neighbour` too (where one is given), and what the vectors of `hostile` are. Before
    that it serves the requests of `probe` under the runtime's profiler and stops at the first that fails.
    Nothing of the last kind is timed, and without texts it probes alone. `texts_files` are encoded too.
    ``mteb`` has the package mteb evaluate `mteb_tasks`, ``mteb_data`` finds out before whether it can. The
    process is started on `cpus` cores.
    """

    kind: Literal["latency", "soak", "vectors", "mteb", "mteb_data"]
    artifact: str
    runtime: str
    options: dict[str, Any]
    spawned_monotonic_ns: int = 0
    requests_file: str = ""
    clients: int = 1
    due_ns: list[int] | None = None
    stop_over_ns: int | None = None
    duration_s: float = 0.0
    cpus: int | None = None
    texts: list[str] = field(default_factory=list)
    batch_size: int = 1
    neighbour: str = ""
    vectors_file: str = ""
    probe: list[list[str]] = field(default_factory=list)
    hostile: dict[str, str] = field(default_factory=dict)
    texts_files: list[TextsFile] = field(default_factory=list)
    mteb_tasks: list[str] = field(default_factory=list)


def main() -> NoReturn:
    """Do the task on standard input; the answer's ``status`` says how it went."""
    line = sys.stdin.buffer.readline()
    task = json.loads(line)
    answer_file = Path(task.pop("answer_file"))
    threading.Thread(target=_die_with_the_parent, daemon=True).start()
    answer = attempt(task)
    scratch = answer_file.with_suffix(".tmp")
    scratch.write_text(json.dumps(answer), encoding="utf-8")
    scratch.replace(answer_file)
    # Nothing is left to do, and taking a loaded runtime apart would only delay the next launch.
    os._exit(0)


def attempt(task: Mapping[str, Any]) -> dict[str, Any]:
    """Do a task given as plain values; what goes wrong is an answer too, errors of ours with their code."""
    try:
        return run(Task(**task))
    except HarnessError as error:
        return {"status": "failed", "error": str(error), "exit_code": int(error.exit_code)}
    except Exception as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        return {"status": "failed", "error": reason}


def run(task: Task) -> dict[str, Any]:
    """Do a task in this process; returns the answer.

    Raises:
        HarnessError: the artifact or the execution provider cannot be loaded.
    """
    if task.kind == "vectors":
        return _vectors(task)
    if task.kind == "mteb":
        return _mteb(task)
    if task.kind == "mteb_data":
        return _mteb_data(task)
    started_ns = time.perf_counter_ns()
    provider = _open(task, SessionOptions(**task.options))
    session_load_s = ns_to_s(time.perf_counter_ns() - started_ns)
    requests = json.loads(Path(task.requests_file).read_text(encoding="utf-8"))
    warm = warm_up(provider, requests["warmup"], requests["timed"])
    facts = {
        # From the creation of a process to its first vector is what a cold start makes one wait for.
        "cold_start_s": ns_to_s(warm.first_vector_monotonic_ns - task.spawned_monotonic_ns),
        "session_load_s": session_load_s,
        "first_request_ms": ns_to_ms(warm.new_shape_ns[0]),
        "new_shape_ns": warm.new_shape_ns,
        "timer_resolution_ns": timer_resolution_ns(provider.session.clock_ns),
        "loop_overhead_ns": loop_overhead_ns(provider.session),
        "pid": os.getpid(),
    }
    before = usage()
    served, finite = (_soak if task.kind == "soak" else _latency)(task, provider, requests)
    finite &= warm.finite
    spent = Usage(*(after - start for start, after in zip(before, usage(), strict=True)))
    return {
        "status": "complete" if finite else "failed",
        "error": None if finite else "a vector holds NaN or infinity",
        **facts,
        **served,
        **spent._asdict(),
        "peak_rss_bytes": peak_rss_bytes(),
    }


def _latency(
    task: Task, provider: EmbeddingProvider, requests: dict[str, list[list[str]]]
) -> tuple[dict[str, Any], bool]:
    if task.clients > 1:  # the callers' own threads are warm too
        serve(provider, requests["warmup"], clients=task.clients)
    samples = serve(
        provider,
        requests["timed"],
        clients=task.clients,
        due_ns=task.due_ns,
        stop_over_ns=task.stop_over_ns,
    )
    served = {
        "total_ns": samples.total_ns.tolist(),
        "tokenize_ns": samples.tokenize_ns.tolist(),
        "infer_ns": samples.infer_ns.tolist(),
        "scheduled_ns": None if samples.scheduled_ns is None else samples.scheduled_ns.tolist(),
        "serving_s": ns_to_s(samples.serving_ns),
        "truncated": samples.truncated,
    }
    return served, samples.finite


def _soak(
    task: Task, provider: EmbeddingProvider, requests: dict[str, list[list[str]]]
) -> tuple[dict[str, Any], bool]:
    blocks = soak(provider, requests["timed"], task.duration_s)
    served = {
        "block_requests": blocks.requests.tolist(),
        "block_p50_ms": blocks.p50_ms.tolist(),
        "block_p95_ms": blocks.p95_ms.tolist(),
        "block_rss_bytes": blocks.rss_bytes.tolist(),
        "block_handles": blocks.handles.tolist(),
        "serving_s": blocks.served_s,
    }
    return served, blocks.finite


def _open(task: Task, options: SessionOptions) -> EmbeddingProvider:
    return EmbeddingProvider.open(read_artifact(Path(task.artifact)), task.runtime, options)


def _vectors(task: Task) -> dict[str, Any]:
    """Probe, then the vectors of the texts by the same session, whose profiler is off by then.

    Raises:
        EpUnavailableError: no node went to the execution provider.
        ProbeError: a request of the probe failed.
    """
    with tempfile.TemporaryDirectory(dir=Path(task.vectors_file).parent, prefix="profile-") as folder:
        options = SessionOptions(**task.options)
        if task.probe:
            options = replace(options, profile_prefix=str(Path(folder) / "profile"))
        provider = _open(task, options)
        placement = provider.session.placement()
        if placement is not None and placement.ep_nodes == 0:
            raise EpUnavailableError(
                f"{options.ep_provider} took none of the graph's {placement.nodes_total} nodes: all would "
                "run elsewhere"
            )
        for _ in range(1 + PROFILED_ROUNDS):
            for texts in task.probe:
                _probe(provider, texts)
        profile = provider.session.end_profiling(skip_runs=len(task.probe))
    batching: dict[str, Any] = {}
    hostile: dict[str, Any] = {}
    if task.hostile:
        found = hostile_vectors(
            partial(_infer, provider),
            task.hostile,
            batch_size=task.batch_size,
            normalize=provider.artifact.manifest.normalize,
        )
        hostile = found._asdict()
    if task.texts:
        batches = range(0, len(task.texts), task.batch_size)
        rows = [_infer(provider, task.texts[i : i + task.batch_size]) for i in batches]
        vectors = np.concatenate(rows)
        np.save(task.vectors_file, vectors)
        batching = batching_columns(
            partial(_infer, provider),
            task.texts,
            vectors,
            batch_size=task.batch_size,
            neighbour=task.neighbour,
        )._asdict()
    for file in task.texts_files:
        _encode_file(provider, TextsFile(*file), task.batch_size)
    effective = provider.session.effective_options()
    if effective is not None and profile is not None and profile.threads is not None:
        effective["intra_op_threads"] = profile.threads  # what it took, where it chose by itself
    return {
        "status": "complete",
        "error": None,
        "placement": None if placement is None else placement._asdict(),
        "ep_time_share": None if profile is None else profile.time_share(options.ep_provider),
        "ran_on": None if profile is None else sorted(profile.node_us),
        "effective_options": effective,
        "batching": batching,
        "hostile": hostile,
    }


def _encode_file(provider: EmbeddingProvider, file: TextsFile, batch_size: int) -> None:
    """Store the vectors of a file's texts, float32 [n_texts, dim]; the file may be larger than memory."""
    vectors = np.lib.format.open_memmap(
        file.vectors_file, mode="w+", dtype=np.float32, shape=(file.texts, provider.dim)
    )
    with Path(file.texts_file).open(encoding="utf-8") as lines:
        held = batch_size * _HELD_BATCHES
        for start in range(0, file.texts, held):
            texts = [json.loads(line) for line in islice(lines, held)]
            for rows in batches_by_length(texts, batch_size):
                batch = [texts[row] for row in rows]
                vectors[start + np.array(rows)] = _infer(provider, batch, prompt=file.prompt)
    vectors.flush()


def _mteb(task: Task) -> dict[str, Any]:
    """The scores of MTEB's tasks through a session as it is measured.

    Raises:
        HarnessError: the package cannot be had, or a request fails.
    """
    from harness.measure.mteb import evaluate

    provider = _open(task, SessionOptions(**task.options))
    found = evaluate(partial(_infer, provider), task.mteb_tasks, task.batch_size)
    return {
        "status": "complete",
        "error": None,
        "mteb_scores": found.scores,
        "mteb_problems": found.problems,
        "mteb_version": found.version,
    }


def _mteb_data(task: Task) -> dict[str, Any]:
    """Whether MTEB's tasks and their data can be had, with nothing to encode them.

    Raises:
        HarnessError: as `harness.measure.mteb.require_tasks`.
    """
    from harness.measure.mteb import require_tasks

    require_tasks(task.mteb_tasks)
    return {"status": "complete", "error": None}


def _probe(provider: EmbeddingProvider, texts: list[str]) -> None:
    if not np.isfinite(_infer(provider, texts)).all():
        shape = _shape(provider.tokenize(texts))
        raise ProbeError(f"a request of shape {shape} gives a vector that holds NaN or infinity")


def _infer(provider: EmbeddingProvider, texts: list[str], *, prompt: str = "default") -> NDArray[np.float32]:
    """The vectors of a request, float32 [n_texts, dim].

    Raises:
        ProbeError: it fails, with its shape.
    """
    tokens = provider.tokenize(texts, prompt=prompt)
    try:
        return provider.infer(tokens)
    except Exception as error:
        reason = " ".join(str(error).split())
        raise ProbeError(
            f"a request of shape {_shape(tokens)} fails: {type(error).__name__}: {reason}"
        ) from None


def _shape(tokens: Tokens) -> str:
    return "{}×{} (texts × tokens)".format(*tokens.input_ids.shape)


def _die_with_the_parent() -> None:
    while os.read(0, 1 << 16):
        pass
    os._exit(1)


if __name__ == "__main__":
    main()
