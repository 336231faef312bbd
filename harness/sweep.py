"""Drive measurement into the store: artifacts first, then launches of all runs, interleaved.

Every row is written as soon as it is known. An interruption at any moment loses at most the launch
that was under way, and the same command goes on from there: evidence is pooled, never reset.
"""

from __future__ import annotations

import json
import shlex
import tempfile
import time
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness import texts
from harness.artifacts.cache import Recipe
from harness.candidate import Candidate, identity, run_identity
from harness.config import LAUNCH_METRICS
from harness.environment import fingerprint
from harness.errors import BadInputError, UnavailableError
from harness.gates import GateResult, ask_launches
from harness.launch import run_worker
from harness.locks import hold, measuring_lock_path
from harness.measure.quality import QUALITY_COLUMNS, quality_columns
from harness.provider import prepare_artifact
from harness.record import SCHEMA_VERSION
from harness.runtimes.base import SessionOptions
from harness.stats import launches_to_settle, nearest_rank
from harness.summary import launch_values, summarise_launch, summarise_run
from harness.tokenizer import Tokenizer
from harness.units import NS_PER_MS
from harness.worker import Task
from harness.workload import Workload, draw_requests

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from harness.artifacts.manifest import Artifact
    from harness.config import Config, GateConfig
    from harness.progress import Progress
    from harness.store import Store

# A run whose first launches all failed is not asked for more.
HOPELESS_AFTER = 3
# What one launch is taken to last until one has been seen.
_FIRST_GUESS_S = 1.0


@dataclass
class Run:
    """One run of a sweep while it is measured."""

    config: Config
    candidate: Candidate
    workload: Workload
    run_id: str = ""
    config_hash: str = ""
    artifact: Artifact | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    launches: list[dict[str, Any]] = field(default_factory=list)
    stored_launches: int = 0
    requests_file: str = ""
    spent_s: list[float] = field(default_factory=list)
    error: str | None = None
    stale: bool = False

    @property
    def label(self) -> str:
        """The candidate and where it is measured."""
        return f"{self.candidate.label} {self.workload.name} batch {self.workload.batch_size}"

    def gates(self) -> list[GateConfig]:
        """The must and should gates that are settled launch by launch and read this run."""
        here = (self.workload.name, self.workload.batch_size)
        return [
            gate
            for gate in self.config.policy.gates
            if gate.metric in LAUNCH_METRICS
            and gate.tier != "nice"
            and (gate.at.workload, gate.at.batch_size) == here
        ]

    def ask(self, gate: GateConfig) -> GateResult:
        """The answer of a per-launch gate as things stand."""
        return ask_launches(gate, launch_values(gate.metric, self.launches), explain=False)

    def settled(self) -> bool:
        """Whether every gate is decided."""
        enough = len(self.launches) >= self.config.measure.min_launches
        return enough and all(self.ask(gate).status in ("PASS", "FAIL") for gate in self.gates())

    def hopeless(self) -> bool:
        """Whether there are launches and all of them failed."""
        failed = [row["status"] != "complete" for row in self.launches]
        return len(failed) >= HOPELESS_AFTER and all(failed)

    def done(self) -> bool:
        """Impossible, hopeless, settled, or at the number asked for or the cap of one command."""
        n, measure = len(self.launches), self.config.measure
        if self.error is not None or self.hopeless():
            return True
        if measure.launches is not None:
            return n >= measure.launches
        return self.settled() or n - self.stored_launches >= measure.max_launches

    def wanting(self) -> bool:
        """Whether something is still to be measured or written: launches, or a row that is behind them."""
        return self.error is None and (self.stale or not self.done() or not self.facts)

    def launches_left(self) -> int:
        """How many more launches it will probably take."""
        n, measure = len(self.launches), self.config.measure
        if measure.launches is not None:
            return max(0, measure.launches - n)
        wanted = [measure.min_launches - n]
        for gate in self.gates():
            assert gate.launch_quantile is not None
            answer = self.ask(gate)
            more = launches_to_settle(
                answer.over or 0,
                n,
                launch_quantile=gate.launch_quantile,
                most=n + measure.max_launches,
            )
            wanted.append(measure.max_launches if more is None else more)
        cap = measure.max_launches - (n - self.stored_launches)
        return max(0, min(cap, max(wanted)))


def measure(
    configs: Sequence[Config],
    store: Store,
    progress: Progress,
    *,
    strict: bool,
    worker: Callable[..., dict[str, Any]] = run_worker,
) -> list[dict[str, Any]]:
    """Measure every plan; returns the rows of the runs, in the order of the plans.

    Args:
        configs: validated plans; two that are the same are measured once.
        store: where rows go.
        progress: what is told meanwhile.
        strict: a run that is not possible here is an error (a single run) instead of a row of status
            ``unavailable`` (a sweep).
        worker: runs a task in a fresh process; tests script it.

    Raises:
        UnavailableError: with `strict`, a run that is not possible here.
        StorageError: a row could not be written.
    """
    runs = [_plan(config) for config in configs]
    for run in runs:
        try:
            _make_ready(run, progress)
        except UnavailableError as error:
            if strict:
                raise
            run.error = str(error)
        run.config_hash = _identity(run)
    runs = _distinct(runs)
    sweep_id = identity({"runs": sorted(run.config_hash for run in runs)})[:12]
    for run in runs:
        _resume(run, store)
        if run.artifact is None:
            store.write_run(_row(run, sweep_id, status="unavailable"))
    if any(run.wanting() for run in runs):
        with (
            hold(measuring_lock_path(), lambda who: progress.tell(f"waiting: {who} is measuring")),
            tempfile.TemporaryDirectory(prefix="harness-sweep-") as folder,
        ):
            for run in runs:
                if run.wanting():
                    _resume(run, store)  # again: whoever held the lock may have measured this run
                if run.wanting():
                    if not (run.done() and run.facts):
                        _describe(run, Path(folder), progress, worker)
                    store.write_run(_row(run, sweep_id))
            _rounds(runs, store, sweep_id, progress, worker)
    rows = [store.run_of(run.run_id) for run in runs]
    return [row for row in rows if row is not None]


def _distinct(runs: Sequence[Run]) -> list[Run]:
    """The runs without repetitions.

    Raises:
        BadInputError: two are the same but for how long they are measured, or by what they are judged.
    """
    distinct: dict[str, Run] = {}
    for run in runs:
        same = distinct.setdefault(run.config_hash, run)
        if (same.config.measure, same.config.policy) != (run.config.measure, run.config.policy):
            raise BadInputError(
                f"{run.label} stands twice in the sweep, with different measure or policy settings: sweep "
                "neither; python -m harness.decide judges the same runs by another policy"
            )
    return list(distinct.values())


def _identity(run: Run) -> str:
    measure = run.config.measure
    return run_identity(
        run.candidate,
        {**asdict(run.workload), "quality": texts.quality_dataset()},
        artifact_sha256=None if run.artifact is None else run.artifact.sha256,
        requests={"timed": measure.requests, "warmup": measure.warmup_requests},
        libraries=fingerprint().libraries,
        machine_id=f"{fingerprint().machine_id}/{fingerprint().cores} cores",
    )


def _plan(config: Config) -> Run:
    return Run(config, Candidate.from_config(config), Workload.from_config(config))


def _make_ready(run: Run, progress: Progress) -> None:
    """Everything slow or impossible is found out before the first launch."""
    config = run.config
    if config.runtime.name == "onnxruntime":
        from harness.runtimes.onnxruntime import require_provider

        require_provider(config.ep.provider, config.ep.name, config.ep.wheel)
    recipe = Recipe(config.model, config.precision.name, config.runtime.name)
    run.artifact = prepare_artifact(recipe, tell=progress.tell)


def _resume(run: Run, store: Store) -> None:
    """Take up what is stored of this run.

    A forced run starts under an id of its own, and so does the attempt after one that failed altogether.
    """
    run.run_id, attempt = run.config_hash[:16], 0
    if run.artifact is None:
        return
    if run.config.measure.force:
        run.run_id = identity({"config": run.config_hash, "forced_at_ns": time.time_ns()})[:16]
        return
    while (stored := store.run_of(run.run_id)) is not None and stored["status"] in ("failed", "timeout"):
        attempt += 1
        run.run_id = identity({"config": run.config_hash, "attempt": attempt})[:16]
    run.launches = store.launches_of(run.run_id)
    run.stored_launches = len(run.launches)
    if stored is not None and run.launches:
        run.facts = {name: stored[name] for name in _FACTS}
        run.stale = stored["launches"] != len(run.launches) or stored["status"] == "interrupted"


# What a run's row holds besides its launches' figures; measured once, kept when the run is resumed.
_FACTS = (
    "tokens_mean", "tokens_p95", "nodes_total", "ep_nodes", "ep_node_share", "ep_partitions",
    *QUALITY_COLUMNS,
)  # fmt: skip


def _describe(run: Run, folder: Path, progress: Progress, worker: Callable[..., dict[str, Any]]) -> None:
    """The run's requests, and once per run its quality and where the graph's nodes go; nothing is timed."""
    assert run.artifact is not None
    measure = run.config.measure
    progress.tell(f"{run.label}: texts and quality")
    counter = Tokenizer(run.artifact)
    drawn = draw_requests(run.workload, measure.warmup_requests + measure.requests, counter)
    timed = drawn[measure.warmup_requests :]
    path = folder / f"{run.run_id}.json"
    path.write_text(json.dumps({"warmup": drawn[: measure.warmup_requests], "timed": timed}))
    run.requests_file = str(path)
    if run.facts:
        return
    longest = run.config.model.max_length
    lengths = [min(counter.count(text), longest) for request in timed for text in request]
    run.facts = {"tokens_mean": float(np.mean(lengths)), "tokens_p95": nearest_rank(lengths, 0.95)}
    vectors_file = folder / f"{run.run_id}.npy"
    answer = worker(
        Task(
            kind="vectors",
            artifact=str(run.artifact.path),
            runtime=run.candidate.runtime,
            options=asdict(_options(run, record_placement=True)),
            texts=list(texts.quality_texts()),
            batch_size=run.workload.batch_size,
            vectors_file=str(vectors_file),
        ),
        timeout_s=measure.launch_timeout_s,
        on_tick=progress.tick,
    )
    if answer["status"] != "complete":
        run.error = f"quality: {answer['error']}"
        return
    similar = [pair.similar for pair in texts.quality_pairs()]
    run.facts.update(quality_columns(np.load(vectors_file), run.artifact.reference(), similar))
    if placement := answer["placement"]:
        run.facts.update(placement)
        run.facts["ep_node_share"] = placement["ep_nodes"] / placement["nodes_total"]


def _rounds(
    runs: Sequence[Run],
    store: Store,
    sweep_id: str,
    progress: Progress,
    worker: Callable[..., dict[str, Any]],
) -> None:
    """Rounds of one launch a run, in seeded random order, until every run is done."""
    seed = runs[0].config.measure.seed
    first = max((int(row["round"]) + 1 for run in runs for row in run.launches), default=0)
    number = first
    what = f"measuring {len(runs)} runs, interleaved" if len(runs) > 1 else "measuring"
    while active := [run for run in runs if not run.done()]:
        for index in np.random.default_rng([seed, number]).permutation(len(active)):
            run = active[index]
            progress.tell(what, _left_s(runs), f": {run.label}, launch {len(run.launches) + 1}")
            _launch(run, number, sweep_id, progress, worker)
            store.write_launches(run.run_id, run.launches)
            store.write_run(_row(run, sweep_id))
        number += 1


def _launch(
    run: Run,
    number: int,
    sweep_id: str,
    progress: Progress,
    worker: Callable[..., dict[str, Any]],
) -> None:
    assert run.artifact is not None
    if run.config.measure.pause_s and run.launches:
        _sleep(run.config.measure.pause_s, progress)
    index = len(run.launches)
    loosest_ms = max((g.bound for g in run.gates() if g.metric == "latency_p95_ms"), default=None)
    started, began = datetime.now(UTC), time.monotonic()
    answer = worker(
        Task(
            kind="latency",
            artifact=str(run.artifact.path),
            runtime=run.candidate.runtime,
            options=asdict(_options(run, launch_index=index)),
            requests_file=run.requests_file,
            stop_over_ns=None if loosest_ms is None else round(loosest_ms * NS_PER_MS),
        ),
        timeout_s=run.config.measure.launch_timeout_s,
        on_tick=progress.tick,
    )
    run.spent_s.append(time.monotonic() - began + run.config.measure.pause_s)
    run.launches.append(
        {
            "launch_id": f"{run.run_id}-{index:04d}",
            "run_id": run.run_id,
            "sweep_id": sweep_id,
            "launch_index": index,
            "round": number,
            "started_at": started,
            "schema_version": SCHEMA_VERSION,
            "status": answer["status"],
            "error": answer["error"],
            "truncated": bool(answer.get("truncated", False)),
            **{name: answer.get(name) or [] for name in ("total_ns", "tokenize_ns", "infer_ns")},
            **{name: answer.get(name) for name in _LAUNCH_FACTS},
            **summarise_launch(answer, batch_size=run.workload.batch_size),
        }
    )


_LAUNCH_FACTS = (
    "pid", "cold_start_s", "session_load_s", "first_request_ms", "peak_rss_bytes", "involuntary_switches",
)  # fmt: skip


def _options(run: Run, *, record_placement: bool = False, launch_index: int | None = None) -> SessionOptions:
    candidate = run.candidate
    return SessionOptions(
        ep_provider=candidate.ep_provider,
        ep_options=candidate.ep_options,
        threads=candidate.threads,
        record_placement=record_placement,
        script=candidate.script,
        launch_index=launch_index,
    )


def _row(run: Run, sweep_id: str, *, status: str | None = None) -> dict[str, Any]:
    """The run's row as things stand now."""
    environment = fingerprint()
    candidate, artifact, now = run.candidate, run.artifact, datetime.now(UTC)
    errors = [str(row["error"]) for row in run.launches if row["error"]]
    failed = [row for row in run.launches if row["status"] != "complete"]
    if status is None:
        all_failed = run.error is not None or (run.launches and len(failed) == len(run.launches))
        ended = "timeout" if failed and all(r["status"] == "timeout" for r in failed) else "failed"
        status = "interrupted" if not run.done() else ended if all_failed else "complete"
    columns = asdict(candidate)
    for name in ("script", "ep_options"):
        columns.pop(name)
    return {
        **columns,
        **run.facts,
        **summarise_run(run.launches),
        "run_id": run.run_id,
        "sweep_id": sweep_id,
        "started_at": min((row["started_at"] for row in run.launches), default=now),
        "finished_at": now,
        "schema_version": SCHEMA_VERSION,
        "harness_version": environment.harness_version,
        "git_commit": environment.git_commit,
        "config_hash": run.config_hash,
        "ep_options": json.dumps(candidate.ep_options, sort_keys=True),
        "params": artifact.manifest.params if artifact else run.config.model.params,
        "artifact_sha256": artifact.sha256 if artifact else None,
        "artifact_bytes": artifact.bytes if artifact else None,
        "candidate_label": candidate.label,
        "command": _command(run.config.words),
        "workload": run.workload.name,
        "batch_size": run.workload.batch_size,
        "clients": run.workload.clients,
        "arrival": run.workload.arrival,
        "status": status,
        "error": run.error or (errors[0] if errors else None),
        "settled": run.error is None and run.settled(),
        "min_span_s": run.config.measure.min_span_s,
        "quality_dataset": texts.quality_dataset(),
        "parity_bound": run.config.precision.parity_cosine_min,
        "machine_id": environment.machine_id,
        "cpu": environment.cpu,
        "cores": environment.cores,
        "memory_bytes": environment.memory_bytes,
        "os": environment.os,
        "python": environment.python,
        "onnxruntime": environment.onnxruntime,
        "environment": json.dumps(environment.to_dict(), sort_keys=True),
    }


def _command(words: Sequence[str]) -> str:
    """The command of one run: how long it is measured, and the sweep it came from, are left out."""
    identity_keys = ("measure.requests=", "measure.warmup_requests=")
    plain = [word.lstrip("+") for word in words]
    kept = [w for w in plain if w.startswith(identity_keys) or not w.startswith(("measure", "experiments="))]
    return shlex.join(["python", "-m", "harness", *kept])


def _left_s(runs: Sequence[Run]) -> float:
    """Seconds that are probably left: launches still to come times what one took."""
    left = 0.0
    for run in runs:
        if not run.done():
            each = float(np.mean(run.spent_s)) if run.spent_s else _FIRST_GUESS_S
            left += run.launches_left() * each
    return left


def _sleep(seconds: float, progress: Progress) -> None:
    ends = time.monotonic() + seconds
    while (left := ends - time.monotonic()) > 0:
        time.sleep(min(1.0, left))
        progress.tick()


def failed_or_unavailable(rows: Sequence[dict[str, Any]]) -> bool:
    """Whether a launch failed or a run was not possible, in the rows that `measure` returned."""
    bad = ("failed", "timeout", "unavailable")
    return any(row["status"] in bad or row["launches_failed"] for row in rows)
