"""Confirming the pick: what is measured for it, how few probes find the limits, what is taken up again."""

from __future__ import annotations

import io
import json
import math
import shlex
import tempfile
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from rich.console import Console

from harness.artifacts.manifest import read_artifact
from harness.compose import compose
from harness.config import load_policy, validate
from harness.confirm import confirm
from harness.confirmation import LENGTHS, RATES, Confirmation, Limit, confirmation_of, newest_confirmation
from harness.decision import decide
from harness.errors import BadInputError, UnavailableError
from harness.gates import row_place
from harness.measure.disturbance import Conditions
from harness.open_loop import with_alone
from harness.progress import Progress
from harness.run import Run
from harness.schema import PolicyConfig
from harness.store import Store, load_runs
from harness.sweep import measure
from harness.tokenizer import Tokenizer
from harness.units import counted
from harness.workload import Place, Workload, draw_arrivals

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from harness.artifacts.manifest import Artifact
    from harness.schema import Config
    from harness.verdict import Decision
    from harness.worker import Task

    Plan = Callable[..., Config]
    Rows = list[dict[str, Any]]

pytestmark = pytest.mark.usefixtures("fake_artifact")

FAST, SLOW = 2.0, 60.0
# Short texts have fewer tokens, the longest of a few realistic ones more.
LONG = 50
# A must gate that six launches settle: most of these tests are not about how many it takes.
SOON = {
    "gates": [
        {"tier": "must", "metric": "latency_p95_ms", "op": "<", "bound": 30.0, "label": "P95",
         "launch_quantile": 0.5},
        {"tier": "must", "metric": "finite", "op": "==", "bound": 1.0, "label": "finite"},
    ]
}  # fmt: skip


class Production:
    """A worker whose latency follows from the load alone; remembers the load of each launch.

    `longest` and `fastest` are the highest length in tokens and rate in requests/s that stay within the
    budget, `most` the most callers; None is no limit. One caller at full tilt serves `capacity_qps`.
    `alternating` are lengths and rates at which every other launch is slow. `stop_at` raises instead of
    serving that launch.
    """

    def __init__(
        self,
        *,
        longest: float | None = None,
        fastest: float | None = None,
        most: int | None = None,
        capacity_qps: float = 100.0,
        alternating: tuple[float, ...] = (),
        stop_at: int | None = None,
    ) -> None:
        self.longest, self.fastest, self.most = longest, fastest, most
        self.capacity_qps, self.alternating, self.stop_at = capacity_qps, alternating, stop_at
        self.tasks: list[Task] = []
        self.timeouts_s: list[float] = []
        self.loads: list[tuple[str, int, float | None]] = []

    def __call__(self, task: Task, *, timeout_s: float, on_tick: Callable[[], None]) -> dict[str, Any]:
        on_tick()
        if task.kind == "vectors":
            np.save(task.vectors_file, read_artifact(Path(task.artifact)).reference())
            placement = {"nodes_total": 1, "ep_nodes": 1, "ep_partitions": 1}
            unknown = {
                "ep_time_share": None,
                "effective_options": None,
                "batching": {"columns": {}, "problem": None},
            }
            unknown["hostile"] = {"finite": True, "norm_max_error": 0.0, "problem": None}
            return {"status": "complete", "error": None, "placement": placement, **unknown}
        if len(self.tasks) == self.stop_at:
            raise KeyboardInterrupt
        self.tasks.append(task)
        self.timeouts_s.append(timeout_s)
        tokens, rate = _tokens(task), _rate(task)
        texts = f"{tokens}" if tokens else "short" if max(_of(task)) < LONG else "mixed"
        self.loads.append((texts, task.clients, rate))
        over = [
            tokens is not None and self.longest is not None and tokens > self.longest,
            rate is not None and self.fastest is not None and rate > self.fastest,
            self.most is not None and task.clients > self.most,
            (tokens in self.alternating or rate in self.alternating) and task.options["launch_index"] % 2,
        ]
        return _served(SLOW if any(over) else FAST, 100 / self.capacity_qps)

    @property
    def measured(self) -> list[tuple[str, int, float | None]]:
        """The loads, each once, in the order they were first met."""
        return list(dict.fromkeys(self.loads))


def _served(p95_ms: float, serving_s: float) -> dict[str, Any]:
    ns = round(p95_ms * 1e6)
    samples = {"total_ns": [ns] * 100, "tokenize_ns": [1000] * 100, "infer_ns": [ns - 1000] * 100}
    facts = {"cold_start_s": 0.4, "session_load_s": 0.2, "first_request_ms": 5.0, "peak_rss_bytes": 10**8}
    return {"status": "complete", "error": None, "serving_s": serving_s, **samples, **facts}


@cache
def _lengths(requests_file: str, artifact: str) -> frozenset[int]:
    counter = Tokenizer(read_artifact(Path(artifact)))
    timed = json.loads(Path(requests_file).read_text(encoding="utf-8"))["timed"]
    return frozenset(counter.count(text) for request in timed[:20] for text in request)


def _of(task: Task) -> frozenset[int]:
    return _lengths(task.requests_file, task.artifact)


def _tokens(task: Task) -> int | None:
    """The length of the texts, None where they differ."""
    lengths = _of(task)
    return next(iter(lengths)) if len(lengths) == 1 else None


def _rate(task: Task) -> float | None:
    """The rate that these arrivals were drawn for: they scale with it."""
    if task.due_ns is None:
        return None
    once = Workload("", "mixture", None, 20251101, 1, offered_qps=1.0)
    at_one = draw_arrivals(once, len(task.due_ns), task.options["launch_index"])
    assert at_one is not None
    return float(round(at_one[-1] / task.due_ns[-1], 3))


class Memory(Store):
    """A results folder that costs no time."""

    def __init__(self) -> None:
        self.path = Path(tempfile.gettempdir())  # of its lock
        self.runs: dict[str, dict[str, Any]] = {}
        self.launches: dict[str, Rows] = {}

    def write_run(self, row: Any) -> None:
        self.runs[row["run_id"]] = dict(row)

    def write_launches(self, run_id: str, rows: Any) -> None:
        self.launches[run_id] = [dict(row) for row in rows]

    def launches_of(self, run_id: str) -> Rows:
        return [dict(row) for row in self.launches.get(run_id, [])]

    def run_of(self, run_id: str) -> dict[str, Any] | None:
        return self.runs.get(run_id)

    def probes_of(self, machine_id: str, cores: int, container_cpus: float | None = None) -> Rows:
        return []

    def newest_confirmation(self) -> tuple[datetime | None, set[str]]:
        stamps = {run_id: row["confirmation_at"] for run_id, row in self.runs.items()}
        newest = max((stamp for stamp in stamps.values() if stamp), default=None)
        return newest, {run_id for run_id, stamp in stamps.items() if newest and stamp == newest}


@pytest.fixture(autouse=True)
def _disk_at_ease(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.fsync", lambda _fd: None)


@pytest.fixture
def plan(config: Plan) -> Plan:
    """A plan to confirm, which no span of time is asked of."""

    def make(**changes: Any) -> Config:
        measure = {"purpose": "confirm", "spread": True, "min_span_s": 0.0} | changes.pop("measure", {})
        return config(**{"policy": SOON, "measure": measure} | changes)

    return make


def confirmed(plans: list[Config], worker: Any, store: Store | None = None) -> Rows:
    with Progress(Console(file=io.StringIO())) as progress:
        return confirm(plans, store or Memory(), progress, worker=worker)


# As if the launches, which a script served in no time, had been a machine's own over a long enough time.
MEASURED: dict[str, Any] = {"runtime": "onnxruntime", "min_span_s": 90.0, "evidence_span_s": 120.0}


def found_by(rows: Rows, config: Config) -> Confirmation:
    return confirmation_of(with_alone([row | MEASURED for row in rows]), config.policy)


def decided(store: Store, policy: PolicyConfig | str = "default") -> Decision:
    return decide(load_runs(store.path).assign(**MEASURED), policy)


def limits(rows: Rows, config: Config) -> tuple[Limit, Limit]:
    found = found_by(rows, config)
    return found.longest_tokens, found.highest_qps


def places(rows: Rows, purpose: str) -> set[Place]:
    return {row_place(row) for row in rows if row["purpose"] == purpose}


# --- lengths that no text has


@pytest.mark.parametrize(("longest", "found"), [(96, (96.0, 128.0)), (8, (None, 16.0))])
def test_only_lengths_that_leave_room_for_the_prompt_are_searched(
    plan: Plan, longest: int, found: tuple[float | None, float]
) -> None:
    prompted = plan(
        model={"prompts": {"default": "Represent this sentence for searching relevant passages: "}}
    )
    worker = Production(longest=longest, fastest=30)
    rows = confirmed([prompted], worker)
    tokens, rates = limits(rows, prompted)
    assert (tokens.holds, tokens.fails) == found
    assert (rates.holds, rates.fails) == (30.0, 50.0)


# --- disturbance


class Recovering:
    """Watches a machine that is at half of what it can do until the search begins; stands for an observer."""

    wait_left_s = 0.0

    def __init__(self, worker: Production) -> None:
        self.worker = worker

    def watch(self, *_: Any) -> bool:
        return True

    def conclude(self, *_: Any) -> Conditions:
        searching = any(texts.isdigit() for texts, _, _ in self.worker.loads)
        gflops = 100.0 if searching else 50.0
        return Conditions(gflops, gflops, other_cpu_share=0.0, steal_share=0.0)


def test_the_load_is_flagged_by_what_the_machine_shows_in_the_search(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be called confirmed on launches that were disturbed, and otherwise when typed again."""
    worker, store = Production(), Memory()
    monkeypatch.setattr("harness.confirm.Observer", lambda _wait_s: Recovering(worker))
    monkeypatch.setattr(Run, "scripted", False)
    rows = confirmed([plan(measure={"launches": 2})], worker, store)
    flags = {"search": [False, False], "confirm": [True, True], "latency": [True, True]}
    assert {row["purpose"] for row in rows} == set(flags)
    for row in rows:
        assert row["launch_disturbed"] == flags[row["purpose"]]
        assert store.run_of(row["run_id"]) == row
        assert [launch["disturbed"] for launch in store.launches_of(row["run_id"])] == flags[row["purpose"]]
    again = confirmed([plan(measure={"launches": 2})], Production(), store)
    assert {row["run_id"]: row["launch_disturbed"] for row in again} == {
        row["run_id"]: row["launch_disturbed"] for row in rows
    }


def test_the_load_is_flagged_by_what_an_interrupted_search_showed(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker, store = Production(stop_at=4 * 2 + 1), Memory()
    monkeypatch.setattr("harness.confirm.Observer", lambda _wait_s: Recovering(worker))
    monkeypatch.setattr(Run, "scripted", False)
    with pytest.raises(KeyboardInterrupt):
        confirmed([plan(measure={"launches": 2})], worker, store)
    load = [row for row in store.runs.values() if row["purpose"] != "search"]
    assert [row["launch_disturbed"] for row in load] == [[True] * 2] * 4


def test_launches_that_another_command_adds_to_the_load_meanwhile_are_kept(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two probes others may measure into the folder."""
    worker, store = Production(), Memory()
    added: list[str] = []

    def conclude(*_: Any) -> Conditions:
        loads = [run_id for run_id, row in store.runs.items() if row["purpose"] == "confirm"]
        searching = any(texts.isdigit() for texts, _, _ in worker.loads)
        if searching and not added:
            added.append(loads[0])
            launches = store.launches_of(loads[0])
            store.write_launches(loads[0], [*launches, launches[-1] | {"launch_index": len(launches)}])
        return Recovering(worker).conclude()

    watching = Recovering(worker)
    monkeypatch.setattr(watching, "conclude", conclude)
    monkeypatch.setattr("harness.confirm.Observer", lambda _wait_s: watching)
    monkeypatch.setattr(Run, "scripted", False)
    rows = confirmed([plan(measure={"launches": 2})], worker, store)
    (row,) = (row for row in rows if row["run_id"] == added[0])
    assert (row["launches"], row["launch_disturbed"]) == (3, [True] * 3)


# --- what is measured


def test_the_gates_own_places_and_productions_load_are_measured(plan: Plan) -> None:
    rows = confirmed([plan(policy="default", measure={"rate": 20.0, "launches": 1})], Production())
    assert places(rows, "confirm") == {
        Place("mixture", 1),
        Place("mixture", 1, 2),
        Place("mixture", 1, 4),
        Place("mixture", 1, 1, "poisson", 20.0),
    }
    assert places(rows, "latency") == {Place("default", 1)}, "not where throughput alone is read"


def test_no_rate_is_asked_where_none_was_declared_and_callers_are_those_declared(plan: Plan) -> None:
    rows = confirmed([plan(measure={"clients": [8, 3, 8, 1], "launches": 1})], Production())
    assert places(rows, "confirm") == {Place("mixture", 1), Place("mixture", 1, 8), Place("mixture", 1, 3)}


def test_what_is_measured_for_production_is_interleaved_and_comes_first(plan: Plan) -> None:
    worker = Production()
    confirmed([plan(measure={"launches": 3})], worker)
    assert len(set(worker.loads[:4])) == 4
    load = {("mixed", 1, None), ("mixed", 2, None), ("mixed", 4, None), ("short", 1, None)}
    assert [set(worker.loads[i : i + 4]) for i in (0, 4, 8)] == [load] * 3
    assert load & set(worker.loads[12:]) == set()


def test_a_gate_that_reads_realistic_texts_is_not_measured_twice(plan: Plan) -> None:
    at = {"workload": "mixture", "clients": 2}
    policy = {"gates": [SOON["gates"][0] | {"at": at}]}
    rows = confirmed([plan(policy=policy, measure={"launches": 1})], Production())
    assert places(rows, "latency") == set()
    assert len({row_place(row) for row in rows}) == len(rows)


def test_places_of_nice_gates_are_not_measured_and_those_of_shoulds_are(plan: Plan) -> None:
    latency = SOON["gates"][0]
    gates = [
        latency,
        latency | {"tier": "should", "at": {"workload": "tokens_32", "batch_size": 4}},
        latency | {"tier": "nice", "at": {"workload": "tokens_512"}},
    ]
    rows = confirmed([plan(policy={"gates": gates}, measure={"launches": 1})], Production())
    assert places(rows, "latency") == {Place("default", 1), Place("tokens_32", 4)}


def test_the_batch_size_that_is_confirmed_is_the_one_the_must_gate_reads(plan: Plan) -> None:
    policy = {"gates": [SOON["gates"][0] | {"at": {"batch_size": 4}}]}
    look = {"launches": 1, "rate": 20.0}
    for batch_size in (1, 4):
        worker = Production()
        rows = confirmed([plan(policy=policy, batch_size=batch_size, measure=look)], worker)
        assert {row["batch_size"] for row in rows} == {4}, "limits included"
        assert places(rows, "confirm") == {
            Place("mixture", 4),
            Place("mixture", 4, 2),
            Place("mixture", 4, 4),
            Place("mixture", 4, 1, "poisson", 20.0),
        }


def test_rates_of_batches_are_searched_under_what_is_served_in_requests(plan: Plan) -> None:
    """Batches of four at 40 requests/s are 160 texts/s: no rate over 36 is tried."""
    policy = {"gates": [SOON["gates"][0] | {"at": {"batch_size": 4}}]}
    config, worker = plan(policy=policy), Production(capacity_qps=40.0)
    rows = confirmed([config], worker)
    (alone,) = [row for row in rows if row_place(row) == Place("mixture", 4)]
    assert alone["throughput_texts_per_s"] == pytest.approx(160.0)
    assert max(rate for _, _, rate in worker.measured if rate is not None) == 30.0
    assert limits(rows, config)[1] == Limit(holds=30.0)


def test_every_launch_has_productions_limit_on_cores(plan: Plan) -> None:
    worker = Production()
    rows = confirmed([plan(measure={"cpus": 1, "launches": 1})], worker)
    assert {(task.cpus, task.options["threads"]) for task in worker.tasks} == {(1, 1)}
    assert {(row["cpus"], row["cores"]) for row in rows} == {(1, 1)}


def test_the_load_is_spread_over_time_and_the_search_is_not(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    idles: list[int] = []
    worker = Production()
    monkeypatch.setattr("harness.sweep._sleep", lambda _s, _progress: idles.append(len(worker.loads)))
    confirmed([plan(measure={"min_span_s": 1600.0, "launches": 3})], worker)
    assert idles == [4, 8], "after each round of four runs but the last"


def test_a_row_is_told_once_for_each_place(plan: Plan) -> None:
    rows = confirmed([plan(measure={"rate": 20.0})], Production())
    assert len({row["run_id"] for row in rows}) == len(rows) == len({row_place(row) for row in rows})


def test_the_command_of_a_row_measures_that_very_run(plan: Plan, fake_artifact: Artifact) -> None:
    config = plan(words=["runtime=fake", "batch_size=8", "workload=tokens_8", "measure.replicate=1"],
                  measure={"launches": 1, "rate": 20.0, "replicate": 1})  # fmt: skip
    rows = confirmed([config], Production(longest=20))
    assert {"tokens_24", "tokens_32", "mixture", "default"} & {row["workload"] for row in rows}
    for row in rows:
        (raw,) = compose(shlex.split(row["command"])[3:])
        again = Run.planned(validate(raw))
        again.artifact = fake_artifact
        again.identify()
        assert (again.config_hash, row["command"]) == (row["config_hash"], row["command"])


# --- the limits

LEVELS = [tokens for tokens in LENGTHS if tokens <= 256]


def expected(levels: list[float], truth: float) -> Limit:
    holds = max((level for level in levels if level <= truth), default=None)
    return Limit(holds=holds, fails=min((level for level in levels if level > truth), default=None))


@pytest.mark.parametrize("truth", [0, 8, 23, 24, 100, 255, 256])
def test_the_longest_text_is_found_with_few_probes(plan: Plan, truth: int) -> None:
    config, worker = plan(), Production(longest=truth, capacity_qps=0.1)
    found, _ = limits(confirmed([config], worker), config)
    assert found == expected([float(level) for level in LEVELS], truth)
    probed = [load for load in worker.measured if load[0].isdigit()]
    assert len(probed) <= math.ceil(math.log2(len(LEVELS) + 1)) == 4


@pytest.mark.parametrize("truth", [0, 2, 10, 17, 30, 69, 70, 1000])
def test_the_highest_rate_is_found_with_few_probes(plan: Plan, truth: int) -> None:
    config, worker = plan(), Production(fastest=truth)
    _, found = limits(confirmed([config], worker), config)
    assert found == expected([float(rate) for rate in RATES if rate < 100], truth)
    fewest = 4 if truth >= 5 else 6  # where 1 in 20 of what is served does not hold, slower ones are searched
    assert len([load for load in worker.measured if load[2] is not None]) <= fewest


@pytest.mark.parametrize("capacity_qps", [0.5, 3.0, 40.0, 20_000.0])
def test_rates_are_searched_under_what_one_caller_can_be_served(plan: Plan, capacity_qps: float) -> None:
    worker = Production(capacity_qps=capacity_qps, fastest=0)
    confirmed([plan()], worker)
    rates = {rate for _, _, rate in worker.measured if rate is not None}
    assert all(rate <= 0.9 * capacity_qps for rate in rates)
    assert bool(rates) == any(rate <= 0.9 * capacity_qps for rate in RATES)


@pytest.mark.parametrize("fastest", [3, 1])
def test_a_rate_is_found_at_which_few_requests_or_hardly_any_meet_another(plan: Plan, fastest: int) -> None:
    config = plan()
    rows = confirmed([config], Production(capacity_qps=50.0, fastest=fastest))
    assert limits(rows, config)[1].holds == fastest


@pytest.mark.parametrize(("capacity_qps", "highest"), [(56.0, 50.0), (55.0, 30.0)])
def test_no_rate_over_nine_tenths_of_what_one_caller_is_served_is_searched(
    plan: Plan, capacity_qps: float, highest: float
) -> None:
    config, worker = plan(), Production(capacity_qps=capacity_qps)
    found = limits(confirmed([config], worker), config)[1]
    assert found == Limit(holds=highest), "a higher one might hold for as long as a launch lasts"
    assert max(rate for _, _, rate in worker.measured if rate is not None) == highest


def test_a_declared_rate_too_near_what_can_be_served_is_measured_and_holds_nothing(plan: Plan) -> None:
    config = plan(measure={"rate": 95.0})
    rows = confirmed([config], Production())
    (paced,) = [row for row in rows if row["offered_qps"] == 95.0]
    assert set(paced["launch_p95_ms"]) == {FAST}
    assert limits(rows, config)[1] == Limit(holds=70.0, undecided=95.0)
    (line,) = found_by(rows, config).lacking
    assert "95/s is undecided: 95 requests/s may be more than can be served: up to 95.0% of what" in line


def test_lengths_are_searched_up_to_what_the_model_reads(plan: Plan) -> None:
    config = plan(model={"max_length": 32})
    found, _ = limits(confirmed([config], Production()), config)
    assert found == Limit(holds=32)


def test_a_level_too_near_the_limit_is_undecided_after_some_launches_to_spare(plan: Plan) -> None:
    config, worker = plan(), Production(longest=32, alternating=(32,), capacity_qps=0.1)
    found, _ = limits(confirmed([config], worker), config)
    assert found == Limit(holds=24, undecided=32, fails=48)
    assert worker.loads.count(("32", 1, None)) == 6 + 7


def test_the_spare_launches_stay_within_the_commands_cap(plan: Plan) -> None:
    worker = Production(longest=32, alternating=(32,), capacity_qps=0.1)
    confirmed([plan(measure={"max_launches": 8})], worker)
    assert worker.loads.count(("32", 1, None)) == 8


def test_the_declared_rate_counts_among_the_rates(plan: Plan) -> None:
    config = plan(measure={"rate": 44.0})
    _, found = limits(confirmed([config], Production(fastest=45)), config)
    assert found == Limit(holds=44.0, fails=50.0)


def test_a_declared_rate_that_is_searched_too_is_measured_once_and_stays_confirmation(plan: Plan) -> None:
    for force in (False, True):
        worker = Production()
        rows = confirmed([plan(measure={"rate": 20.0, "force": force})], worker)
        assert worker.loads.count(("mixed", 1, 20.0)) == 6
        (row,) = [row for row in rows if row["offered_qps"] == 20.0]
        assert row["purpose"] == "confirm"


def test_no_probe_runs_into_the_time_limit_of_a_launch(plan: Plan) -> None:
    """A thousand requests at 1/s would take 1,000 s, and fail for that alone."""
    worker = Production(capacity_qps=4.0)
    confirmed([plan(measure={"requests": 1000, "launch_timeout_s": 300.0})], worker)
    paced = [
        (task.due_ns[-1] / 1e9, timeout_s)
        for task, timeout_s in zip(worker.tasks, worker.timeouts_s, strict=True)
        if task.due_ns
    ]
    assert [(lasts_s, timeout_s) for lasts_s, timeout_s in paced if lasts_s > timeout_s] == []


def test_a_candidate_that_fails_under_load_is_no_go(plan: Plan, tmp_path: Path) -> None:
    class Crowded(Production):
        def __call__(self, task: Task, **how: Any) -> dict[str, Any]:
            answer = super().__call__(task, **how)
            return {"status": "failed", "error": "no memory"} if task.clients > 2 else answer

    store = Store(tmp_path / "results")
    rows = confirmed([plan(model={"max_length": 8})], Crowded(), store)
    assert sorted(row["status"] for row in rows).count("failed") == 1
    decision = decide(load_runs(store.path), PolicyConfig.model_validate(
        {**load_policy().model_dump(), "gates": SOON["gates"]}
    ))  # fmt: skip
    assert (decision.verdict, decision.evidence) == ("NO_GO", "provisional")
    assert any("no memory" in reason for reason in decision.reasons)


def test_a_candidate_that_fails_altogether_has_no_limit(plan: Plan) -> None:
    class Dead(Production):
        def __call__(self, task: Task, **how: Any) -> dict[str, Any]:
            answer = super().__call__(task, **how)
            return answer if task.kind == "vectors" else {"status": "failed", "error": "no memory"}

    config = plan()
    rows = confirmed([config], Dead())
    assert {row["status"] for row in rows} == {"failed"}
    assert limits(rows, config)[0].holds is None
    assert not confirmation_of(with_alone(rows), config.policy).complete


# --- taken up again


# What tells of the command that measured a run, not of one that found it measured.
OF_THE_MEASURING = ("finished_at", "sweep_id", "git_commit", "command", "min_span_s", "environment")


def test_typed_again_it_is_the_same_confirmation_and_nothing_is_measured_or_written(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill between two rows would withdraw what the others were asked for."""
    config, store = plan(measure={"rate": 20.0}), Memory()
    first = confirmed([config], Production(longest=32, fastest=30), store)
    monkeypatch.setattr(store, "write_run", lambda row: pytest.fail(f"writes {row['run_id']}"))
    again = Production(longest=32, fastest=30)
    assert confirmed([config], again, store) == first
    assert again.tasks == []
    load = [row["confirmation_at"] for row in first if row["purpose"] == "confirm"]
    assert (len(load), len(set(load))) == (4, 1), "one confirmation, one time"


def test_a_confirmation_of_other_callers_is_another_one(plan: Plan) -> None:
    store, words = Memory(), {"launches": 1}
    confirmed([plan(measure=words | {"clients": [2, 4, 8]})], Production(), store)
    rows = confirmed([plan(measure=words)], Production(), store)
    newest = newest_confirmation(list(store.runs.values()))
    assert {row["clients"] for row in newest} == {1, 2, 4}
    assert {row["run_id"] for row in newest} == {row["run_id"] for row in rows if row["purpose"] == "confirm"}


def test_the_confirmation_that_was_asked_last_is_the_newest_though_the_clock_was_set_back(plan: Plan) -> None:
    store, words = Memory(), {"launches": 1}
    confirmed([plan(measure=words | {"rate": 20.0})], Production(), store)
    for row in store.runs.values():  # as if the clock had been an hour ahead until now
        row["confirmation_at"] = row["confirmation_at"] and row["confirmation_at"] + timedelta(hours=1)
    rows = confirmed([plan(measure=words | {"rate": 30.0})], Production(), store)
    newest = newest_confirmation(list(store.runs.values()))
    assert {row["offered_qps"] for row in newest} == {None, 30.0}
    assert {row["run_id"] for row in newest} == {row["run_id"] for row in rows if row["purpose"] == "confirm"}


def test_what_was_not_asked_for_production_belongs_to_no_confirmation(plan: Plan) -> None:
    rows = confirmed([plan(measure={"rate": 20.0, "launches": 1})], Production())
    assert {row["purpose"] for row in rows if row["confirmation_at"] is None} == {"latency", "search"}
    assert {row["purpose"] for row in rows if row["confirmation_at"] is not None} == {"confirm"}


def test_a_run_that_a_confirmation_takes_up_still_tells_of_the_command_that_measured_it(
    plan: Plan, config: Plan
) -> None:
    store, look = Memory(), {"launches": 2}
    mixture = {"name": "mixture", "lengths": "mixture"}
    words = ["runtime=fake", "workload=mixture"]
    plain = config(policy=SOON, workload=mixture, words=words, measure=look | {"min_span_s": 7.0})
    with Progress(Console(file=io.StringIO())) as progress:
        (before,) = measure([plain], store, progress, strict=True, worker=Production())
    assert before["confirmation_at"] is None
    store.runs[before["run_id"]] |= {"git_commit": "abc", "environment": json.dumps({"cores": 0})}
    worker = Production()
    rows = confirmed([plan(words=["runtime=fake"], measure=look)], worker, store)
    (after,) = [row for row in rows if row["run_id"] == before["run_id"]]
    assert ("mixed", 1, None) not in worker.loads
    assert (after["purpose"], after["launches"]) == ("confirm", 2)
    assert after["confirmation_at"] is not None
    told = before | {"git_commit": "abc", "environment": json.dumps({"cores": 0})}
    assert {name: after[name] for name in OF_THE_MEASURING} == {name: told[name] for name in OF_THE_MEASURING}
    assert after["evidence_span_s"] == before["evidence_span_s"]


def test_a_run_with_new_launches_tells_of_the_command_that_measured_them(plan: Plan) -> None:
    store = Memory()
    (first, *_) = confirmed([plan(measure={"launches": 1})], Production(), store)
    store.runs[first["run_id"]] |= {"git_commit": "abc"}
    (second, *_) = confirmed([plan(measure={"launches": 2, "min_span_s": 3.0})], Production(), store)
    assert (second["run_id"], second["min_span_s"]) == (first["run_id"], 3.0)
    assert second["git_commit"] != "abc"
    assert second["finished_at"] > first["finished_at"]


def test_a_mistyped_rate_is_withdrawn_by_confirming_again(plan: Plan, tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    policy = PolicyConfig.model_validate({**load_policy().model_dump(), "gates": SOON["gates"]})
    small = {"max_length": 8}
    worker = Production(fastest=30)
    confirmed([plan(model=small, measure={"rate": 60.0})], worker, store)
    mistyped = decided(store, policy)
    assert mistyped.verdict == "CONDITIONAL_GO"
    confirmed([plan(model=small, measure={"rate": 6.0})], worker, store)
    decision = decided(store, policy)
    assert (decision.verdict, decision.evidence) == ("GO", "confirmed")
    assert worker.loads.count(("mixed", 4, None)) == 6, "the rest is not measured again"


def test_confirming_without_the_rate_withdraws_it_too(plan: Plan) -> None:
    store = Memory()
    confirmed([plan(measure={"rate": 20.0, "launches": 6})], Production(), store)
    config = plan(measure={"launches": 6})
    confirmed([config], Production(), store)
    (line,) = found_by(list(store.runs.values()), config).lacking
    assert "no rate of arrivals was declared" in line


@pytest.mark.parametrize("stop_at", [0, 2, 13, 30, 55])
def test_an_interrupted_confirmation_goes_on_where_it_was(plan: Plan, stop_at: int) -> None:
    config = plan()
    whole = Production(longest=32, fastest=30)
    rows = confirmed([config], whole)
    store, cut = Memory(), Production(longest=32, fastest=30, stop_at=stop_at)
    with pytest.raises(KeyboardInterrupt):
        confirmed([config], cut, store)
    rest = Production(longest=32, fastest=30)
    again = confirmed([config], rest, store)
    assert len(cut.tasks) + len(rest.tasks) == len(whole.tasks)
    assert [row["run_id"] for row in again] == [row["run_id"] for row in rows]
    assert limits(again, config) == limits(rows, config)


def test_what_was_measured_before_counts(plan: Plan, config: Plan) -> None:
    store, worker = Memory(), Production()
    with Progress(Console(file=io.StringIO())) as progress:
        rows = measure(
            [config(policy=SOON), config(policy=SOON, workload={"name": "mixture", "lengths": "mixture"})],
            store,
            progress,
            strict=True,
            worker=worker,
        )
    assert [row["purpose"] for row in rows] == ["latency", "latency"]
    both = confirmed([plan()], worker, store)
    assert {row["run_id"] for row in rows} <= {row["run_id"] for row in both}
    assert worker.loads.count(("short", 1, None)) == worker.loads.count(("mixed", 1, None)) == 6
    assert Place("mixture", 1) in places(both, "confirm")


# --- refused


def test_two_candidates_are_not_confirmed_at_once(plan: Plan) -> None:
    worker = Production()
    with pytest.raises(BadInputError, match="confirms one candidate, the pick: 2 were given"):
        confirmed([plan(threads=1), plan(threads=2)], worker)
    assert worker.tasks == []


def test_must_gates_on_several_batch_sizes_are_not_confirmed_at_once(plan: Plan) -> None:
    latency, worker = SOON["gates"][0], Production()
    gates = [latency, latency | {"label": "of 32", "bound": 100.0, "at": {"batch_size": 32}}]
    with pytest.raises(
        BadInputError, match="its must latency gates read batches of 1, 32; confirm takes one"
    ):
        confirmed([plan(policy={"gates": gates})], worker)
    gates[1] |= {"tier": "should"}
    confirmed([plan(policy={"gates": gates}, measure={"launches": 1})], worker)
    assert worker.tasks != [], "a should gate may read another one"


@pytest.mark.parametrize(("read", "typed"), [(1, 2), (1, 16), (4, 2)])
def test_a_batch_size_that_no_must_gate_reads_is_refused(plan: Plan, read: int, typed: int) -> None:
    policy = {"gates": [SOON["gates"][0] | {"at": {"batch_size": read}}]}
    worker = Production()
    with pytest.raises(BadInputError, match=rf"batch_size={typed}: .* reads batches of {read}, .*leave"):
        confirmed([plan(policy=policy, batch_size=typed)], worker)
    assert worker.tasks == []


@pytest.mark.parametrize(
    ("workload", "told"),
    [
        ("mixture", r"workload=mixture: "),
        ("tokens_8", r"workload=tokens_8: "),
        ({"clients": 4}, r"workload\.clients=4: "),
        ({"arrival": "poisson", "rate": 20.0}, r"workload\.arrival=poisson workload\.rate=20: "),
        ({"seed": 7}, r"workload=default\+\w+: "),
    ],
    ids=str,
)
def test_a_workload_that_was_typed_is_refused_rather_than_left_out_of_account(
    plan: Plan, workload: Any, told: str
) -> None:
    worker = Production()
    with pytest.raises(BadInputError, match=rf"^{told}.*measure\.clients=\[2,4\] and measure\.rate=N"):
        confirmed([plan(workload=workload)], worker)
    assert worker.tasks == []


@pytest.mark.parametrize("tier", ["should", "nice"])
def test_a_policy_without_a_must_latency_gate_has_nothing_to_confirm(plan: Plan, tier: str) -> None:
    latency, finite = SOON["gates"]
    policy = {"gates": [finite, latency | {"tier": tier}]}
    with pytest.raises(BadInputError, match="no must gate on latency_p95_ms to confirm"):
        confirmed([plan(policy=policy)], Production())


def test_what_is_not_possible_here_is_not_confirmed(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("os.sched_setaffinity")
    store = Memory()
    with pytest.raises(UnavailableError, match=r"measure\.cpus=1"):
        confirmed([plan(measure={"cpus": 1})], Production(), store)
    assert store.runs == {}


def test_a_declared_rate_at_which_a_launch_would_run_into_its_time_limit_is_refused(plan: Plan) -> None:
    with pytest.raises(BadInputError, match=r"measure\.rate=1: 1000 requests take 1000 s"):
        plan(measure={"rate": 1.0, "requests": 1000})


# --- the decision


def test_the_pick_is_confirmed_where_the_budget_holds_under_load(plan: Plan, tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    config = plan(policy="default", model={"max_length": 16}, measure={"rate": 20.0})
    rows = confirmed([config], Production(), store)
    assert {row["launches"] for row in rows} == {17}
    decision = decided(store)
    assert (decision.verdict, decision.evidence) == ("GO", "confirmed")
    assert any("texts of up to 16 tokens" in reason for reason in decision.reasons)
    assert any("up to 70 requests/s" in reason for reason in decision.reasons)
    cores = rows[0]["cores"]
    assert f"confirmed on {counted(cores, 'core')}; measure.cpus=N holds it to fewer" in decision.reasons
    scripted = decide(load_runs(store.path))
    assert (scripted.verdict, scripted.evidence) == ("GO", "provisional")
    assert "not confirmed: the figures are a script's, not this machine's" in scripted.reasons
    assert any("16 tokens, one caller; provisional: seen within " in r for r in scripted.reasons)


def test_the_pick_without_a_declared_rate_is_provisional(plan: Plan, tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    policy = {**load_policy().model_dump(), "gates": SOON["gates"]}
    confirmed([plan(model={"max_length": 8})], Production(), store)
    decision = decide(load_runs(store.path), PolicyConfig.model_validate(policy))
    assert (decision.verdict, decision.evidence) == ("GO", "provisional")
    assert any("not confirmed: no rate of arrivals was declared" in reason for reason in decision.reasons)
    assert not any("confirmed on" in reason for reason in decision.reasons)


def test_the_pick_is_conditional_where_the_budget_does_not_hold_under_load(
    plan: Plan, tmp_path: Path
) -> None:
    policy = {**load_policy().model_dump(), "gates": SOON["gates"]}
    store = Store(tmp_path / "results")
    confirmed([plan(model={"max_length": 8})], Production(most=2), store)
    decision = decide(load_runs(store.path), PolicyConfig.model_validate(policy))
    assert decision.verdict == "CONDITIONAL_GO"
    (line,) = [reason for reason in decision.reasons if "not under production's load" in reason]
    assert "mixture, batch 1, 4 clients" in line
