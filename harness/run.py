"""One run while it is measured: what it is, when it is done, and its row."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from harness import texts
from harness.candidate import Candidate, identity, run_identity
from harness.datasets import read_retrieval, read_sts, read_texts
from harness.environment import fingerprint, is_held
from harness.gates import GateResult, ask_launches, gate_place
from harness.measure.limits import limit_columns
from harness.record import PURPOSES, SCHEMA_VERSION
from harness.runtimes.base import SessionOptions
from harness.schema import LAUNCH_METRICS
from harness.stats import launches_to_settle
from harness.summary import evidence_span_s, is_hopeless, launch_values, summarise_run
from harness.workload import Workload, drawn_from, paced_requests

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.artifacts.manifest import Artifact
    from harness.datasets import Retrieval, StsPairs, Texts
    from harness.schema import Config, GateConfig

# Keys of `measure` that make another run of it.
_IDENTITY_WORDS = (
    "measure.requests=", "measure.warmup_requests=", "measure.cpus=", "measure.replicate=",
    "measure.duration_s=",
)  # fmt: skip

# Columns of a row that tell of the command that measured last, not of one that only wrote it anew.
_OF_THE_MEASURING = ("sweep_id", "finished_at", "git_commit", "command", "environment")


@dataclass
class Run:
    """One run of a sweep while it is measured."""

    config: Config
    candidate: Candidate
    workload: Workload
    sts: StsPairs | None = None
    retrieval: Retrieval | None = None
    texts: Texts | None = None
    fp32: Artifact | None = None
    run_id: str = ""
    config_hash: str = ""
    artifact: Artifact | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    launches: list[dict[str, Any]] = field(default_factory=list)
    stored_launches: int = 0
    stored: dict[str, Any] | None = None
    replaced: dict[str, Any] | None = None  # the newest row of the attempts before it
    goes_on: bool = False  # with a command that was interrupted, maybe while another run was measured
    confirmation_at: datetime | None = None
    requests_file: str = ""
    spent_s: list[float] = field(default_factory=list)
    error: str | None = None
    stale: bool = False

    @classmethod
    def planned(cls, config: Config) -> Run:
        """The run of a plan, before anything is known of it."""
        sts, folder, own = config.quality.sts, config.quality.retrieval, config.quality.texts
        return cls(
            config,
            Candidate.from_config(config),
            Workload.from_config(config),
            None if sts is None else read_sts(sts),
            None if folder is None else read_retrieval(folder),
            None if own is None else read_texts(own),
        )

    def take_weights(self, weights: str) -> None:
        """Settle which weights it is measured with, where that was left open."""
        model = self.config.model.model_copy(update={"weights": weights})
        self.config = self.config.model_copy(update={"model": model})
        self.candidate = Candidate.from_config(self.config)

    @property
    def label(self) -> str:
        """The candidate and where it is measured."""
        soak = " soak" if self.soaks else ""
        return f"{self.candidate_label}{soak}: {self.workload.place}"

    @property
    def candidate_label(self) -> str:
        """The candidate, by the name that its model is shown by."""
        return self.candidate.labelled(self.config.model.shown)

    @property
    def soaks(self) -> bool:
        """Whether it is one long stretch of requests instead of many launches."""
        return self.config.measure.purpose == "soak"

    @property
    def requests(self) -> int:
        """Timed requests of a launch."""
        return paced_requests(self.workload, self.config.measure.requests)

    @property
    def scripted(self) -> bool:
        """Whether its clock is a script's, so that the machine's state says nothing about it."""
        return self.candidate.runtime == "fake"

    @property
    def purpose(self) -> str:
        """Why it is, or was before, measured."""
        reasons = (self.config.measure.purpose, self.stored["purpose"] if self.stored else None)
        return min((reason for reason in reasons if reason), key=PURPOSES.index)

    def options(self, *, record_placement: bool = False, launch_index: int | None = None) -> SessionOptions:
        """How its sessions are loaded.

        Where cores are limited, by ``measure.cpus`` or around this process (``taskset``, a container's
        cpuset), and the threads are the runtime's own to choose, it is told to take as many as there are
        cores: left alone, ONNX Runtime takes one for each core of the machine and pins them, beyond those
        that it was given.
        """
        candidate, pool = self.candidate, self.config.ep.threads_option
        limited = self.config.measure.cpus is not None or is_held()
        threads = candidate.threads if candidate.threads is not None or not limited else self.cores
        # A provider with a thread pool of its own would not hear of it.
        own = {} if pool is None or threads is None else {pool: str(threads)}
        return SessionOptions(
            ep_provider=candidate.ep_provider,
            ep_options={**own, **candidate.ep_options},
            threads=threads,
            record_placement=record_placement,
            script=candidate.script,
            launch_index=launch_index,
            **candidate.session_options,
        )

    def gates(self) -> list[GateConfig]:
        """The per-launch gates that it is measured until they are settled.

        The must and should gates that read it; where it confirms, the must latency gates, asked here.
        """
        gates = [gate for gate in self.config.policy.gates if gate.metric in LAUNCH_METRICS]
        if self.soaks:
            return []
        if self.config.measure.purpose == "latency":
            return [g for g in gates if g.tier != "nice" and gate_place(g) == self.workload.place]
        return [gate for gate in gates if gate.tier == "must" and gate.metric == "latency_p95_ms"]

    def loosest_bound_ms(self) -> float | None:
        """A launch that is over this is over every bound that is asked; None where it is to go on even so.

        That is where throughput is asked too: a launch that is stopped early served other texts. Those that
        are gone on with may have been asked for by a policy of looser bounds, which is not to lose its answer
        to a tighter one: those added are stopped no earlier, and not at all where all before are whole.
        """
        stops = [row["truncated_over_ms"] for row in self.launches[: self.stored_launches]]
        before = [over_ms for over_ms in stops if over_ms is not None]
        if self._asks_throughput() or (stops and not before):
            return None
        return max((*before, *(gate.bound for gate in self.gates())), default=None)

    def _asks_throughput(self) -> bool:
        return any(gate.metric == "throughput_texts_per_s" for gate in self.gates())

    def can_go_on_from(self, stored: Mapping[str, Any]) -> bool:
        """Whether more launches can be pooled with those of a stored row of it."""
        loosest_ms, over_ms = self.loosest_bound_ms(), stored["truncated_over_ms"]
        too_tight = loosest_ms is not None and over_ms is not None and over_ms < loosest_ms
        cut_short = too_tight or (over_ms is not None and self._asks_throughput())
        return stored["status"] not in ("failed", "timeout") and not cut_short

    def ask(self, gate: GateConfig) -> GateResult:
        """The answer of a per-launch gate as things stand."""
        return ask_launches(gate, launch_values(gate.metric, self.launches), explain=False)

    def settled(self) -> bool:
        """Whether every gate is decided."""
        enough = len(self.launches) >= self.config.measure.min_launches
        return enough and all(self.ask(gate).status in ("PASS", "FAIL") for gate in self.gates())

    def hopeless(self) -> bool:
        """Whether there are launches and all of them failed."""
        return is_hopeless([row["status"] != "complete" for row in self.launches])

    def done(self) -> bool:
        """Impossible, hopeless, settled (and spread), or at the number asked for or the command's cap."""
        n, measure = len(self.launches), self.config.measure
        if self.error is not None or self.hopeless():
            return True
        if measure.launches is not None:
            return n >= measure.launches
        return (self.settled() and not self.span_left_s()) or n - self._uncounted() >= measure.max_launches

    def _uncounted(self) -> int:
        """Launches that do not count towards the cap: those it had when the command that measures it began.

        A command that goes on with one that was interrupted began when that one did.
        """
        stored = self.stored
        if stored is None or not (self.goes_on or stored["status"] == "interrupted"):
            return self.stored_launches
        return min(stored["launches_before"] or 0, self.stored_launches)

    def span_left_s(self) -> float:
        """Seconds that its evidence is still to be spread over; 0 where that is not asked."""
        measure = self.config.measure
        if not measure.spread or measure.launches is not None:
            return 0.0
        return max(0.0, measure.min_span_s - (evidence_span_s(self.launches, measure.min_span_s) or 0.0))

    def since_launch_s(self) -> float:
        """What its evidence would be spread over more if a launch began now, in s; 0 before the first."""
        if not self.launches:
            return 0.0
        last, wanted_s = self.launches[-1], self.config.measure.min_span_s
        return evidence_span_s([last, {"started_at": now_after(last["started_at"])}], wanted_s) or 0.0

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
        cap = measure.max_launches - (n - self._uncounted())
        return max(0, min(cap, max(wanted)))

    def identify(self) -> None:
        """Set `config_hash`, the identity of everything that matters, once the artifact is known."""
        measure, environment = self.config.measure, fingerprint()
        hostile = texts.texts_sha256(tuple(texts.hostile_texts().values()))
        extra: dict[str, Any] = {"schema_version": SCHEMA_VERSION, "hostile": hostile, "corpus": drawn_from()}
        if self.soaks:
            extra["soak_s"] = measure.duration_s
        if measure.replicate:
            extra["replicate"] = measure.replicate
        if measure.cpus is not None:  # as many as there are is a limit too: it sets the threads
            extra["cpus"] = measure.cpus
        if is_held():  # so does this
            extra["held"] = True
        if environment.container_cpus is not None:
            extra["container_cpus"] = environment.container_cpus
        extra |= self._own_data()
        self.config_hash = run_identity(
            self.candidate,
            {**asdict(self.workload), "quality": texts.quality_dataset(), **extra},
            artifact_sha256=None if self.artifact is None else self.artifact.sha256,
            requests={"timed": self.requests, "warmup": measure.warmup_requests},
            libraries=environment.libraries | {"python": environment.python},
            machine_id=f"{environment.machine_id}/{environment.cores} cores",
        )

    def attempt_id(self, attempt: int) -> str:
        """The id of an attempt at this run, counted from 0."""
        if attempt == 0:
            return self.config_hash[:16]
        return identity({"config": self.config_hash, "attempt": attempt})[:16]

    @property
    def cores(self) -> int:
        """Cores that a launch may use."""
        return self.config.measure.cpus or fingerprint().cores

    @property
    def threads(self) -> int:
        """Threads that one inference may use."""
        return self.options().threads or self.cores

    def describes(self) -> str:
        """The identity of what its quality and placement are facts of."""
        return identity(
            {
                "candidate": asdict(self.candidate),
                "artifact": None if self.artifact is None else self.artifact.sha256,
                "batch_size": self.workload.batch_size,
                "cores": self.cores,
                **self._own_data(),
            }
        )

    def _own_data(self) -> dict[str, str]:
        """Hashes of the user's own data that its quality is measured on, and the tasks of mteb."""
        data = {"sts": self.sts, "retrieval": self.retrieval, "texts": self.texts}
        hashes = {name: part.sha256 for name, part in data.items() if part is not None}
        tasks = self.config.quality.mteb
        return hashes if tasks is None else hashes | {"mteb": " ".join(tasks)}

    def row(self, sweep_id: str, *, status: str | None = None) -> dict[str, Any]:
        """Its row (`harness.record.RUN_COLUMNS`) as things stand now."""
        environment, measure = fingerprint(), self.config.measure
        candidate, artifact, now = self.candidate, self.artifact, datetime.now(UTC)
        errors = [str(row["error"]) for row in self.launches if row["error"]]
        columns = asdict(candidate)
        for name in ("script", "ep_options", "session_options", "truncate_dim"):
            columns.pop(name)
        stored, confirmed_at, min_span_s = self.stored, self.confirmation_at, self.min_span_s
        figures = summarise_run(self.launches, min_span_s=min_span_s)
        infer_p50_ms, clients = figures["infer_p50_ms"], self.workload.clients
        row = {
            **columns,
            **self.facts,
            **figures,
            **limit_columns(self.facts, infer_p50_ms, threads=self.threads, clients=clients),
            **self.workload.place._asdict(),
            "run_id": self.run_id,
            "sweep_id": sweep_id,
            "started_at": min((row["started_at"] for row in self.launches), default=now),
            "finished_at": now_after(self.replaced["finished_at"] if self.replaced else None),
            "schema_version": SCHEMA_VERSION,
            "harness_version": environment.harness_version,
            "git_commit": environment.git_commit,
            "config_hash": self.config_hash,
            "ep_options": json.dumps(candidate.ep_options, sort_keys=True),
            "session_options": json.dumps(candidate.session_options, sort_keys=True),
            "params": artifact.manifest.params if artifact else self.config.model.params,
            "revision": artifact.manifest.revision if artifact else candidate.revision,
            "revision_pinned": artifact.manifest.revision_pinned if artifact else None,
            "source": artifact.manifest.source if artifact else None,
            "artifact_sha256": artifact.sha256 if artifact else None,
            "artifact_bytes": artifact.bytes if artifact else None,
            "candidate_label": self.candidate_label,
            "command": _command(self.config.words),
            "purpose": self.purpose,
            "confirmation_at": confirmed_at or (stored["confirmation_at"] if stored else None),
            "launches_before": self._uncounted(),
            "replicate": measure.replicate,
            "cpus": measure.cpus,
            "status": status or self._status(),
            "error": self.error or (errors[0] if errors else None),
            "settled": self.error is None and self.settled(),
            "min_span_s": min_span_s,
            "quality_dataset": texts.quality_dataset(),
            "parity_bound": self.config.precision.parity_cosine_min,
            "machine_id": environment.machine_id,
            "cpu": environment.cpu,
            "cores": self.cores,
            "memory_bytes": environment.memory_bytes,
            "os": environment.os,
            "python": environment.python,
            "onnxruntime": environment.onnxruntime,
            "environment": json.dumps(environment.to_dict(), sort_keys=True),
        }
        if stored and len(self.launches) == self.stored_launches == stored["launches"]:
            row |= {name: stored[name] for name in _OF_THE_MEASURING}
            if row["status"] != "interrupted":  # else it is about to measure
                row["launches_before"] = stored["launches_before"]
        return row

    @property
    def min_span_s(self) -> float:
        """What its evidence is to span: the most that any command asked that measured it."""
        asked, stored = self.config.measure.min_span_s, self.stored
        return max(asked, stored["min_span_s"] or 0.0) if stored and self.stored_launches else asked

    def _status(self) -> str:
        failed = [row for row in self.launches if row["status"] != "complete"]
        if not self.done():
            return "interrupted"
        if self.error is None and not (self.launches and len(failed) == len(self.launches)):
            return "complete"
        return "timeout" if failed and all(row["status"] == "timeout" for row in failed) else "failed"


def now_after(stored: datetime | None) -> datetime:
    """Now, but later than what is stored: the clock may have been set back since."""
    now = datetime.now(UTC)
    return now if stored is None else max(now, stored + timedelta(microseconds=1))


def _command(words: Sequence[str]) -> str:
    """The command of one run: how long it is measured, and the sweep it came from, are left out."""
    plain = [word.lstrip("+") for word in words]
    dropped = ("measure", "experiments=")
    kept = [word for word in plain if word.startswith(_IDENTITY_WORDS) or not word.startswith(dropped)]
    return shlex.join(["python", "-m", "harness", *kept])
