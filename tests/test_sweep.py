"""Many runs, launches interleaved: what is measured, when it stops, what is kept, what is taken up again."""

from __future__ import annotations

import io
import json
import os
import threading
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import numpy as np
import onnxruntime as ort
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from harness.artifacts.manifest import read_artifact
from harness.candidate import identity
from harness.config import load_ep
from harness.decision import decide
from harness.environment import fingerprint, usable_cores
from harness.errors import (
    BadInputError,
    EpUnavailableError,
    InterruptedRunError,
    ModelUnavailableError,
    StorageError,
    UnavailableError,
)
from harness.gates import ask
from harness.locks import hold, measuring_lock_path
from harness.measure.batching import BATCHING_COLUMNS
from harness.measure.disturbance import Conditions
from harness.measure.quality import QUALITY_COLUMNS
from harness.progress import Progress
from harness.provider import prepare_artifact
from harness.record import RUN_COLUMNS, to_table
from harness.run import Run as MeasuredRun
from harness.store import Store, UnreadableFileWarning, load_launches, load_runs
from harness.sweep import (
    Sweep,
    _expected_s,
    _left_s,
    balanced_orders,
    failed_or_unavailable,
    measure,
    measure_in,
)
from harness.terminal import nothing_new
from harness.worker import Task
from harness.worker import run as work
from tests.conftest import launch_row

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.artifacts.cache import Recipe
    from harness.artifacts.manifest import Artifact
    from harness.schema import Config

    Run = Callable[..., list[dict[str, Any]]]
    Plan = Callable[..., Config]

pytestmark = pytest.mark.usefixtures("fake_artifact", "peaks_known")

Answer = dict[str, Any]
Behaviour = float | str | type[BaseException]


class Scripted:
    """A worker that answers at once, and remembers what it was asked.

    `plays` maps a candidate's threads to what its launches do, in turn, the last one repeated: a P95 in
    ms, a reason to fail, ``timeout``, or an exception to raise. The same for every candidate where it is
    a list. `quality` fails the quality task of these threads.
    """

    def __init__(
        self,
        plays: dict[int | None, list[Behaviour]] | list[Behaviour] | None = None,
        *,
        quality: dict[int | None, str] | None = None,
        during: Callable[[int], None] = lambda _number: None,
    ) -> None:
        self.plays = [2.0] if plays is None else plays
        self.quality = quality or {}
        self.during = during
        self.launched: list[int | None] = []
        self.described: list[int | None] = []
        self.tasks: list[Task] = []

    def __call__(self, task: Task, *, timeout_s: float, on_tick: Callable[[], None]) -> Answer:
        self.tasks.append(task)
        on_tick()
        threads = task.options["threads"]
        if task.kind == "vectors":
            self.described.append(threads)
            if threads in self.quality:
                return {"status": "failed", "error": self.quality[threads]}
            if task.texts:
                np.save(task.vectors_file, read_artifact(Path(task.artifact)).reference())
            return {
                "status": "complete",
                "error": None,
                "placement": {"nodes_total": 4, "ep_nodes": 3, "ep_partitions": 2},
                "ep_time_share": 0.9,
                "effective_options": {"intra_op_threads": 2},
                "batching": {"columns": {"batch_cosine_min": 0.9999}, "problem": None},
                "hostile": {"finite": True, "norm_max_error": 0.0, "problem": None},
            }
        self.during(len(self.launched))
        plays = self.plays if isinstance(self.plays, list) else self.plays[threads]
        play = plays[min(task.options["launch_index"], len(plays) - 1)]
        self.launched.append(threads)
        if isinstance(play, type):
            raise play
        if isinstance(play, str):
            return {"status": "timeout" if play == "timeout" else "failed", "error": play}
        return soaked(play, task.duration_s) if task.kind == "soak" else served(play)


def served(p95_ms: float) -> Answer:
    ns = round(p95_ms * 1e6)
    return {
        "status": "complete",
        "error": None,
        "truncated": False,
        "total_ns": [ns] * 100,
        "tokenize_ns": [1000] * 100,
        "infer_ns": [ns - 1000] * 100,
        "serving_s": p95_ms / 10,
        "new_shape_ns": [5_000_000, 3_000_000],
        "timer_resolution_ns": 50,
        "loop_overhead_ns": 600.0,
        "cold_start_s": 0.4,
        "session_load_s": 0.2,
        "first_request_ms": 5.0,
        "peak_rss_bytes": 10**8,
        "involuntary_switches": 0,
        "pid": 1,
    }


def soaked(p50_ms: float, duration_s: float) -> Answer:
    """A soak in which nothing grows; 100 requests in each of 30 blocks."""
    samples = {"total_ns": None, "tokenize_ns": None, "infer_ns": None, "serving_s": duration_s}
    blocks = {
        "block_requests": [100] * 30,
        "block_p50_ms": [p50_ms] * 30,
        "block_p95_ms": [2 * p50_ms] * 30,
        "block_rss_bytes": [10**8] * 30,
        "block_handles": [12] * 30,
    }
    return served(p50_ms) | samples | blocks


@pytest.fixture(autouse=True)
def _disk_at_ease(monkeypatch: pytest.MonkeyPatch) -> None:
    """What reaches the disk when is for test_store; waiting for it here would take half of the time."""
    monkeypatch.setattr("os.fsync", lambda _fd: None)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


@pytest.fixture
def told() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def run(store: Store, told: io.StringIO) -> Callable[..., list[dict[str, Any]]]:
    """Measure plans with a scripted worker."""

    def go(plans: list[Config], worker: Scripted, *, strict: bool = False) -> list[dict[str, Any]]:
        with Progress(Console(file=told)) as progress:
            return measure(plans, store, progress, strict=strict, worker=worker)

    return go


def rounds_of(worker: Scripted, runs: int) -> list[list[int | None]]:
    launched = worker.launched
    assert len(launched) % runs == 0
    return [launched[i : i + runs] for i in range(0, len(launched), runs)]


def absent_ep() -> str:
    available = ort.get_available_providers()
    return next(name for name in ("coreml", "cuda", "openvino") if load_ep(name).provider not in available)


# --- order


def test_every_round_has_one_launch_of_each_run(config: Plan, run: Run, store: Store) -> None:
    worker = Scripted()
    run([config(threads=n, measure={"launches": 4}) for n in (1, 2, 3)], worker)
    assert [sorted(block) for block in rounds_of(worker, 3)] == [[1, 2, 3]] * 4
    launches = load_launches(store.path)
    assert {tuple(sorted(group["round"])) for _, group in launches.groupby("run_id")} == {(0, 1, 2, 3)}


def test_the_order_differs_between_rounds_and_follows_from_the_seed(
    config: Plan, told: io.StringIO, tmp_path: Path
) -> None:
    orders = []
    for number, seed in enumerate((7, 7, 8)):
        worker = Scripted()
        plans = [config(threads=n, measure={"launches": 5, "seed": seed}) for n in (1, 2, 3)]
        measure(
            plans, Store(tmp_path / str(number)), Progress(Console(file=told)), strict=False, worker=worker
        )
        orders.append(rounds_of(worker, 3))
    assert orders[0] == orders[1]
    assert orders[0] != orders[2]
    assert len({tuple(block) for block in orders[0]}) > 1


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7, 12])
def test_over_as_many_rounds_as_runs_each_run_stands_at_each_place_once(count: int) -> None:
    orders = balanced_orders(count, [7, 0])
    everyone = list(range(count))
    assert [sorted(order) for order in orders] == [everyone] * count
    assert [sorted(places) for places in zip(*orders, strict=True)] == [everyone] * count
    if count % 2 == 0:
        assert len({pair for order in orders for pair in pairwise(order)}) == count * (count - 1)
    assert count < 3 or orders != balanced_orders(count, [7, count])


def test_a_run_stands_at_each_place_equally_often(config: Plan, run: Run) -> None:
    worker = Scripted()
    run([config(threads=n, measure={"launches": 8}) for n in (1, 2, 3, 4)], worker)
    for places in zip(*rounds_of(worker, 4), strict=True):
        assert Counter(places) == dict.fromkeys((1, 2, 3, 4), 2)


def test_places_stay_balanced_when_a_run_drops_out(config: Plan, run: Run) -> None:
    """It leaves in the middle of a block of rounds; the others go on in their order."""
    worker = Scripted()
    plans = [config(threads=n, measure={"launches": 2 if n == 4 else 13}) for n in (1, 2, 3, 4)]
    run(plans, worker)
    firsts = Counter(worker.launched[8::3])
    assert sorted(firsts) == [1, 2, 3]
    assert max(firsts.values()) - min(firsts.values()) <= 2


def test_rounds_are_counted_on_when_a_sweep_is_taken_up_again(config: Plan, run: Run, store: Store) -> None:
    for launches in (3, 5):
        run([config(measure={"launches": launches})], Scripted())
    assert load_launches(store.path)["round"].tolist() == [0, 1, 2, 3, 4]


def test_a_run_that_is_settled_drops_out_and_the_others_go_on(config: Plan, run: Run) -> None:
    worker = Scripted({1: [40.0], 2: [2.0]})
    run([config(threads=1), config(threads=2)], worker)
    assert Counter(worker.launched) == {1: 6, 2: 17}
    assert set(worker.launched[12:]) == {2}


# --- when it stops


def test_a_clean_run_takes_17_launches_for_the_default_policy(config: Plan, run: Run) -> None:
    (row,) = run([config()], Scripted())
    assert (row["launches"], row["launches_failed"], row["settled"], row["status"]) == (
        17,
        0,
        True,
        "complete",
    )
    assert row["latency_p95_ms"] == pytest.approx(2.0)
    assert row["requests"] == 1700


def test_a_run_that_no_latency_gate_reads_takes_six(config: Plan, run: Run) -> None:
    rows = run([config(batch_size=8), config(workload="mixture")], Scripted())
    assert [row["launches"] for row in rows] == [6, 6]


def test_a_run_that_only_throughput_reads_takes_what_that_gate_needs(config: Plan, run: Run) -> None:
    (row,) = run([config(batch_size=32)], Scripted())
    assert (row["launches"], row["settled"]) == (6, True)


def test_a_run_over_the_bound_fails_early(config: Plan, run: Run) -> None:
    (row,) = run([config()], Scripted([40.0]))
    assert (row["launches"], row["settled"], row["status"]) == (6, True, "complete")


def test_a_run_at_the_bound_stops_at_the_cap_undecided_and_goes_on_when_typed_again(
    capped: Plan, run: Run
) -> None:
    plan = capped()
    alternating = Scripted([2.0, 25.0] * 10)
    (first,) = run([plan], alternating)
    assert (first["launches"], first["settled"], first["status"]) == (6, False, "complete")
    (second,) = run([plan], alternating)
    assert (second["launches"], second["settled"], len(alternating.launched)) == (12, False, 12)


@pytest.mark.parametrize("launches", [1, 4, 20])
def test_a_number_of_launches_that_was_asked_for_is_what_is_measured(
    config: Plan, run: Run, launches: int
) -> None:
    worker = Scripted()
    (row,) = run([config(measure={"launches": launches})], worker)
    assert row["launches"] == len(worker.launched) == launches


def test_a_look_that_settles_nothing_is_not_called_settled(config: Plan, run: Run) -> None:
    (row,) = run([config(measure={"launches": 3})], Scripted())
    assert (row["settled"], row["status"]) == (False, "complete")


def test_a_launch_is_told_the_loosest_latency_bound_and_no_other(config: Plan, run: Run) -> None:
    worker = Scripted()
    run([config(), config(batch_size=32)], worker)
    stops = {task.stop_over_ns for task in worker.tasks if task.kind == "latency"}
    assert stops == {30_000_000, None}


# --- what is kept


def test_a_second_command_prints_what_is_settled_and_measures_nothing(
    config: Plan, run: Run, store: Store
) -> None:
    began = datetime.now(UTC)
    first = run([config()], Scripted())
    assert nothing_new(first, began) == ""
    launches = store.launches_of(first[0]["run_id"])
    again, began = Scripted(), datetime.now(UTC)
    second = run([config()], again)
    assert again.tasks == []
    assert second == first
    day = first[0]["finished_at"].strftime("%Y-%m-%d %H:%M")
    assert nothing_new(second, began) == (
        f"nothing measured: settled by 17 launches until {day} UTC; measure.force=true begins a new attempt"
    )
    look = second[0] | {"run_id": "other", "settled": False}
    newer = look | {"finished_at": datetime.now(UTC)}
    told = nothing_new([look, newer], began)
    assert told.startswith("nothing measured of 1 of 2 runs: done before by 17 ")
    assert "UTC, apart from the others: the machine may have changed between; " in told
    assert store.launches_of(first[0]["run_id"]) == launches


def test_evidence_of_several_commands_is_pooled(config: Plan, run: Run, store: Store) -> None:
    worker = Scripted()
    ids = set()
    for launches, total in ((3, 3), (5, 5), (4, 5), (None, 17)):
        (row,) = run([config(measure={"launches": launches})], worker)
        ids.add(row["run_id"])
        assert row["launches"] == len(worker.launched) == total
    assert len(ids) == 1
    assert worker.described == [None]
    stored = load_launches(store.path)
    assert stored["launch_index"].tolist() == list(range(17))
    assert stored["launch_id"].is_unique


def test_the_same_plan_twice_is_measured_once(config: Plan, run: Run) -> None:
    worker = Scripted()
    rows = run([config(), config()], worker)
    assert (len(rows), len(worker.launched)) == (1, 17)


@pytest.mark.parametrize(
    "changes",
    [
        {"batch_size": 2},
        {"threads": 1},
        {"workload": "mixture"},
        {"workload": {"seed": 1}},
        {"measure": {"requests": 101}},
        {"measure": {"warmup_requests": 21}},
        {"measure": {"replicate": 1}},
        {"measure": {"cpus": 1}},
        {"measure": {"cpus": usable_cores()}},
        {"measure": {"purpose": "soak"}},
        {"workload": {"clients": 2}},
        {"workload": {"arrival": "poisson", "rate": 100.0}},
        {"runtime": {"script": {"infer_ms": [3.0]}}},
        {"model": "e5"},
    ],
    ids=str,
)
def test_another_thing_is_another_run(config: Plan, run: Run, changes: dict[str, Any]) -> None:
    look = {"launches": 1}
    (first,) = run([config(measure=look)], Scripted())
    other = changes | {"measure": changes.get("measure", {}) | look}
    (second,) = run([config(**other)], Scripted())
    assert second["config_hash"] != first["config_hash"]
    assert second["run_id"] != first["run_id"]


def test_how_much_is_measured_and_by_which_policy_makes_no_other_run(config: Plan, run: Run) -> None:
    (first,) = run([config(measure={"launches": 1})], Scripted())
    changed = config(
        measure={
            "launches": 2,
            "spread": True,
            "min_span_s": 0.01,
            "quiet_wait_s": 1,
            "seed": 1,
            "max_launches": 50,
            "min_launches": 3,
        },
        policy="documents",
    )
    (second,) = run([changed], Scripted())
    assert (second["run_id"], second["launches"]) == (first["run_id"], 2)


def test_a_forced_run_has_another_id_and_the_same_identity(config: Plan, run: Run, store: Store) -> None:
    (first,) = run([config(measure={"launches": 3})], Scripted())
    worker = Scripted([9.0])
    (second,) = run([config(measure={"launches": 3, "force": True})], worker)
    assert second["run_id"] != first["run_id"]
    assert second["config_hash"] == first["config_hash"]
    assert (second["launches"], second["latency_p95_ms"]) == (3, pytest.approx(9.0))
    assert set(load_runs(store.path)["run_id"]) == {first["run_id"], second["run_id"]}
    assert store.run_of(first["run_id"]) == first


def test_the_command_without_force_goes_on_with_the_forced_run(config: Plan, run: Run, store: Store) -> None:
    (first,) = run([config(measure={"launches": 3})], Scripted())
    (forced,) = run([config(measure={"launches": 3, "force": True})], Scripted([9.0]))
    worker = Scripted([9.0])
    (row,) = run([config(measure={"launches": 5})], worker)
    assert (row["run_id"], row["launches"], len(worker.launched)) == (forced["run_id"], 5, 2)
    assert store.run_of(first["run_id"]) == first, "its elder is left as it was"


def test_a_forced_run_is_the_next_attempt_each_time(config: Plan, run: Run, store: Store) -> None:
    (first,) = run([config(measure={"launches": 1})], Scripted())
    ids = [first["run_id"]]
    for _ in range(3):
        (row,) = run([config(measure={"launches": 1, "force": True})], Scripted())
        ids.append(row["run_id"])
    attempts = [identity({"config": first["config_hash"], "attempt": n})[:16] for n in (1, 2, 3)]
    assert ids == [first["config_hash"][:16], *attempts]
    assert set(load_runs(store.path)["run_id"]) == set(ids)


def test_a_forced_run_is_newer_than_what_it_replaces_though_the_clock_was_set_back(
    config: Plan, run: Run, store: Store
) -> None:
    measure = {"launches": 1}
    (first,) = run([config(measure=measure)], Scripted())
    store.write_run(first | {"finished_at": first["finished_at"] + timedelta(days=1)})
    forced = [run([config(measure=measure | {"force": True})], Scripted())[0]["run_id"] for _ in range(2)]
    assert list(load_runs(store.path)["run_id"]) == [first["run_id"], *forced]
    (again,) = run([config(measure={"launches": 2})], Scripted())
    assert again["run_id"] == load_runs(store.path)["run_id"].iloc[-1] == forced[-1]


def test_a_forced_run_of_something_new_is_its_first_attempt(config: Plan, run: Run) -> None:
    (forced,) = run([config(measure={"launches": 3, "force": True})], Scripted())
    assert forced["run_id"] == forced["config_hash"][:16]
    worker = Scripted()
    assert run([config(measure={"launches": 3})], worker) == [forced]
    assert worker.tasks == []


def test_a_forced_run_that_was_cut_short_is_taken_up_again_by_the_command_without_force(
    config: Plan, run: Run, store: Store
) -> None:
    (first,) = run([config(measure={"launches": 6})], Scripted())
    with pytest.raises(KeyboardInterrupt):
        run([config(measure={"launches": 6, "force": True})], Scripted([9.0, 9.0, KeyboardInterrupt]))
    worker = Scripted([9.0])
    (row,) = run([config(measure={"launches": 6})], worker)
    assert (row["launches"], len(worker.launched), row["status"]) == (6, 4, "complete")
    assert row["run_id"] != first["run_id"]
    assert row["launch_p95_ms"] == pytest.approx([9.0] * 6)
    assert set(load_runs(store.path)["run_id"]) == {first["run_id"], row["run_id"]}


def test_the_newest_attempt_is_taken_up_although_an_older_one_s_row_was_lost(
    config: Plan, run: Run, store: Store
) -> None:
    (first,) = run([config(measure={"launches": 2})], Scripted())
    (forced,) = run([config(measure={"launches": 2, "force": True})], Scripted())
    (store.path / "runs" / f"{first['run_id']}.parquet").unlink()
    worker = Scripted()
    assert run([config(measure={"launches": 2})], worker) == [forced]
    assert worker.tasks == []


def test_of_several_runs_of_a_sweep_each_has_its_own_newest_attempt(config: Plan, run: Run) -> None:
    look = {"launches": 2}
    one, two = run([config(threads=n, measure=look) for n in (1, 2)], Scripted())
    (forced,) = run([config(threads=2, measure=look | {"force": True})], Scripted())
    worker = Scripted()
    rows = run([config(threads=n, measure={"launches": 3}) for n in (1, 2)], worker)
    assert [row["run_id"] for row in rows] == [one["run_id"], forced["run_id"]]
    assert sorted(worker.launched) == [1, 2]
    assert two["run_id"] not in {row["run_id"] for row in rows}


# --- launches that are stopped early


class Cut(Scripted):
    """Stops where it is told to, as a worker does."""

    def __call__(self, task: Task, **how: Any) -> Answer:
        answer = super().__call__(task, **how)
        stop = task.stop_over_ns
        over = stop is not None and bool(answer.get("total_ns")) and max(answer["total_ns"]) >= stop
        return answer | ({"truncated": True} if over else {})


def latency_policy(bound: float) -> dict[str, Any]:
    return {
        "gates": [
            {
                "tier": "must",
                "metric": "latency_p95_ms",
                "op": "<",
                "bound": bound,
                "label": "P95",
                "launch_quantile": 0.8,
            }
        ]
    }


def test_launches_and_runs_tell_over_what_they_were_stopped(config: Plan, run: Run, store: Store) -> None:
    (row,) = run([config(measure={"launches": 3})], Cut([2.0, 45.0, 2.0]))
    launches = store.launches_of(row["run_id"])
    assert [launch["truncated_over_ms"] for launch in launches] == [None, 30.0, None]
    assert [launch["truncated"] for launch in launches] == [False, True, False]
    assert row["truncated_over_ms"] == 30.0
    (quick,) = run([config(threads=1, measure={"launches": 3})], Cut())
    assert quick["truncated_over_ms"] is None


def test_a_run_that_was_stopped_over_a_tighter_bound_than_is_asked_now_is_measured_anew_and_this_is_told(
    config: Plan, run: Run, store: Store, told: io.StringIO
) -> None:
    (tight,) = run([config(policy=latency_policy(10.0))], Cut([25.0]))
    assert (tight["truncated_over_ms"], tight["settled"]) == (10.0, True)
    assert "new attempt" not in told.getvalue()
    worker = Cut([25.0])
    (loose,) = run([config(policy=latency_policy(30.0))], worker)
    assert (loose["truncated_over_ms"], loose["launches"], len(worker.launched)) == (None, 17, 17)
    line = (
        f"launches of run {tight['run_id']} were stopped early over 10 ms, and more is asked now: not gone on"
    )
    assert line in told.getvalue()
    assert loose["config_hash"] == tight["config_hash"]
    assert loose["run_id"] != tight["run_id"]
    assert store.run_of(tight["run_id"]) == tight
    again = Cut([25.0])
    (back,) = run([config(policy=latency_policy(10.0))], again)
    assert (back["run_id"], again.tasks) == (loose["run_id"], []), "the newest attempt answers it as well"


@pytest.mark.parametrize("bound", [30.0, 20.0])
def test_a_run_that_was_stopped_over_no_tighter_bound_is_gone_on_with(
    config: Plan, run: Run, bound: float
) -> None:
    (first,) = run([config(policy=latency_policy(30.0), measure={"launches": 3})], Cut([45.0]))
    worker = Cut([45.0])
    (row,) = run([config(policy=latency_policy(bound), measure={"launches": 4})], worker)
    assert (row["run_id"], len(worker.launched), row["truncated_over_ms"]) == (first["run_id"], 1, 30.0)


def test_a_tighter_policy_takes_no_answer_from_a_run_whose_launches_are_whole(
    config: Plan, run: Run, store: Store
) -> None:
    loose = config(policy=latency_policy(200.0))
    (first,) = run([loose], Cut([25.0]))
    tight = config(policy=latency_policy(20.0), measure={"launches": 19})
    (row,) = run([tight], Cut([25.0]))
    assert (row["run_id"], row["launches"], row["truncated_over_ms"]) == (first["run_id"], 19, None)
    (gate,) = loose.policy.gates
    assert ask(gate, row).status == "PASS"
    (gate,) = tight.policy.gates
    assert ask(gate, row).status == "FAIL"


def test_every_column_of_a_row_is_declared_and_valid(config: Plan, run: Run) -> None:
    look = {"launches": 3}
    plans = [config(measure=look), config(batch_size=8), config(ep=absent_ep(), runtime="onnxruntime")]
    rows = run(plans, Scripted())
    assert to_table(rows, RUN_COLUMNS).num_rows == 3
    measured = rows[0]
    assert (measured["ep_nodes"], measured["nodes_total"], measured["ep_node_share"]) == (3, 4, 0.75)
    assert (measured["finite"], measured["parity_cosine_min"]) == (True, pytest.approx(1.0))
    assert measured["l2_norm_max_error"] < 1e-5
    assert measured["tokens_mean"] > 2
    assert measured["started_at"] <= measured["finished_at"]
    assert json.loads(measured["environment"])["machine_id"] == measured["machine_id"]
    assert measured["artifact_bytes"] > 0


def test_rows_come_in_the_order_of_the_plans(config: Plan, run: Run) -> None:
    sizes = [4, 1, 2]
    rows = run([config(batch_size=size, measure={"launches": 1}) for size in sizes], Scripted())
    assert [row["batch_size"] for row in rows] == sizes
    assert len({row["sweep_id"] for row in rows}) == 1


def test_spread_launches_start_a_sixteenth_of_the_span_apart(config: Plan, run: Run, store: Store) -> None:
    run([config(measure={"launches": 4, "spread": True, "min_span_s": 1.6})], Scripted())
    starts = load_launches(store.path)["started_at"]
    assert (starts.max() - starts.min()).total_seconds() >= 0.2, "three gaps of a tenth, and some slack"


def test_spread_is_between_rounds_and_not_between_the_launches_of_one(
    config: Plan, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    idles: list[float] = []
    monkeypatch.setattr("harness.sweep._sleep", lambda seconds, _progress: idles.append(seconds))
    spread = {"launches": 3, "spread": True, "min_span_s": 1600}
    run([config(threads=n, measure=spread) for n in (1, 2, 3)], Scripted())
    assert len(idles) == 2, "none after the last round"
    assert 80 < min(idles) <= max(idles) <= 100


def test_launches_are_not_spread_unless_that_is_asked_for(
    config: Plan, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    idles: list[float] = []
    monkeypatch.setattr("harness.sweep._sleep", lambda seconds, _progress: idles.append(seconds))
    run([config(measure={"launches": 3, "min_span_s": 1600})], Scripted())
    assert idles == []


def test_a_settled_run_that_is_spread_goes_on_until_its_evidence_spans_enough(config: Plan, run: Run) -> None:
    """The gate fails after six launches; a gap counts for a fifth of the span at most."""
    (row,) = run([config(measure={"spread": True, "min_span_s": 0.4})], Scripted([40.0]))
    assert row["settled"]
    assert row["evidence_span_s"] >= 0.4
    assert row["launches"] >= 6


def test_a_run_that_was_settled_in_a_burst_goes_on_when_it_is_to_be_spread(config: Plan, run: Run) -> None:
    worker = Scripted([40.0])
    run([config(measure={"min_span_s": 0.0})], worker)
    assert len(worker.launched) == 6
    (row,) = run([config(measure={"spread": True, "min_span_s": 1.0})], worker)
    assert row["launches"] == len(worker.launched) > 6
    assert row["evidence_span_s"] >= 1.0


def test_the_progress_tells_why_nothing_happens_between_spread_launches(
    config: Plan, run: Run, told: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.sweep._sleep", lambda _seconds, _progress: None)
    said: list[str] = []
    tell = Progress.tell

    def listen(
        self: Progress, what: str, left_s: float | None = None, detail: str = "", **guess: bool
    ) -> None:
        said.append(f"{what}{detail}")
        tell(self, what, left_s, detail, **guess)

    monkeypatch.setattr(Progress, "tell", listen)
    run([config(measure={"launches": 2, "spread": True, "min_span_s": 1600})], Scripted())
    assert said.count("measuring: idle, to spread the evidence") == 1


def test_the_progress_says_what_is_measured(config: Plan, run: Run, told: io.StringIO) -> None:
    run([config(threads=n, measure={"launches": 2}) for n in (1, 2)], Scripted())
    lines = told.getvalue().splitlines()
    assert sum("texts and quality" in line for line in lines) == 2
    (line,) = [line for line in lines if line.startswith("measuring")]
    assert line.startswith("measuring 2 runs, interleaved (at least ")


@pytest.mark.parametrize(
    ("facts", "limit_gflops", "expected_s"),
    [({"flops_per_request": 5e9}, 100.0, 12.5), ({"flops_per_request": 5e9}, None, 1.0), ({}, 100.0, 1.0)],
)
def test_before_the_first_launch_the_time_left_follows_from_the_work_of_a_request(
    config: Plan,
    monkeypatch: pytest.MonkeyPatch,
    facts: dict[str, float],
    limit_gflops: float | None,
    expected_s: float,
) -> None:
    monkeypatch.setattr("harness.sweep.limit_columns", lambda *_a, **_k: {"limit_gflops": limit_gflops})
    planned = MeasuredRun.planned(config(measure={"requests": 100, "warmup_requests": 20}))
    planned.facts = facts
    assert _expected_s(planned) == expected_s, "half a second to start, then 120 requests at half the limit"


# --- several callers, paced arrivals


def test_callers_and_arrivals_reach_the_launch(config: Plan, run: Run) -> None:
    worker = Scripted()
    look = {"launches": 2}
    rows = run(
        [
            config(workload={"clients": 4}, measure=look),
            config(workload={"arrival": "poisson", "rate": 50.0}, measure=look),
            config(measure=look),
        ],
        worker,
    )
    timed = [task for task in worker.tasks if task.kind == "latency"]
    assert sorted((task.clients, task.due_ns is not None) for task in timed) == [
        *[(1, False)] * 2,
        *[(1, True)] * 2,
        *[(4, False)] * 2,
    ]
    assert [(row["clients"], row["arrival"], row["offered_qps"]) for row in rows] == [
        (4, "back_to_back", None),
        (1, "poisson", 50.0),
        (1, "back_to_back", None),
    ]


def test_every_paced_launch_has_arrivals_of_its_own_and_candidates_share_them(config: Plan, run: Run) -> None:
    worker = Scripted()
    paced = {"arrival": "poisson", "rate": 50.0}
    run([config(threads=n, workload=paced, measure={"launches": 3}) for n in (1, 2)], worker)
    due: dict[tuple[int, int], list[int]] = {
        (task.options["threads"], task.options["launch_index"]): task.due_ns or []
        for task in worker.tasks
        if task.kind == "latency"
    }
    assert [len(arrivals) for arrivals in due.values()] == [250] * 6, "five seconds of them"
    assert all(due[1, index] == due[2, index] for index in range(3))
    assert len({tuple(due[1, index]) for index in range(3)}) == 3


def test_when_paced_requests_were_due_is_kept(config: Plan, run: Run, store: Store) -> None:
    class Paced(Scripted):
        def __call__(self, task: Task, **how: Any) -> Answer:
            return super().__call__(task, **how) | {"scheduled_ns": task.due_ns}

    (row,) = run([config(workload={"arrival": "poisson", "rate": 50.0}, measure={"launches": 1})], Paced())
    (launch,) = store.launches_of(row["run_id"])
    assert len(launch["scheduled_ns"]) == 250
    assert launch["scheduled_ns"] == sorted(launch["scheduled_ns"])


@pytest.mark.parametrize(("rate", "requests"), [(None, 100), (10.0, 100), (50.0, 250), (50.1, 251)])
def test_a_paced_launch_is_given_the_requests_of_five_seconds(
    config: Plan, run: Run, rate: float | None, requests: int
) -> None:
    drawn: list[int] = []

    class Reads(Scripted):
        def __call__(self, task: Task, **how: Any) -> Answer:
            if task.kind == "latency":
                drawn.append(len(json.loads(Path(task.requests_file).read_text())["timed"]))
            return super().__call__(task, **how)

    paced = {} if rate is None else {"arrival": "poisson", "rate": rate}
    run([config(workload=paced, measure={"launches": 1})], Reads())
    assert drawn == [requests]


def test_what_a_launch_tells_of_itself_is_kept(config: Plan, run: Run, store: Store) -> None:
    (row,) = run([config(measure={"launches": 1})], Scripted())
    (launch,) = store.launches_of(row["run_id"])
    told_of = ("serving_s", "new_shape_ns", "timer_resolution_ns", "loop_overhead_ns")
    assert [launch[name] for name in told_of] == [served(2.0)[name] for name in told_of]
    assert (launch["scheduled_ns"], launch["block_requests"], launch["minor_faults"]) == (None, None, None)
    assert row["loop_overhead_share"] == pytest.approx(600 / 2e6)
    assert row["new_shape_max_ms"] == 5.0


# --- why it is measured


@pytest.mark.parametrize(
    ("first", "second", "kept"),
    [
        ("latency", "confirm", "confirm"),
        ("confirm", "latency", "confirm"),
        ("search", "latency", "latency"),
        ("latency", "search", "latency"),
        ("search", "confirm", "confirm"),
    ],
)
def test_a_run_that_was_measured_for_two_reasons_carries_the_weightier(
    config: Plan, run: Run, store: Store, first: str, second: str, kept: str
) -> None:
    plan, worker = config(measure={"launches": 3}), Scripted()
    asked = [plan.measure.model_copy(update={"purpose": purpose}) for purpose in (first, second)]
    (before,) = run([plan.model_copy(update={"measure": asked[0]})], Scripted())
    (after,) = run([plan.model_copy(update={"measure": asked[1]})], worker)
    assert worker.tasks == []
    assert (before["purpose"], after["purpose"]) == (first, kept)
    assert store.run_of(before["run_id"]) == after
    if kept == first:
        assert after == before


def test_a_confirming_run_is_measured_until_the_must_latency_gate_is_settled_whatever_its_place(
    config: Plan, run: Run
) -> None:
    plans = [
        config(workload="mixture", measure={"purpose": "confirm"}),
        config(batch_size=32, measure={"purpose": "confirm"}),
        config(batch_size=16),
    ]
    assert [row["launches"] for row in run(plans, Scripted())] == [17, 17, 6]


def test_a_confirming_launch_is_told_the_must_bound(config: Plan, run: Run) -> None:
    worker = Scripted()
    run([config(workload="mixture", measure={"purpose": "confirm", "launches": 1})], worker)
    assert {task.stop_over_ns for task in worker.tasks if task.kind == "latency"} == {30_000_000}


# --- soak runs

SOAK = {"purpose": "soak", "launches": 1, "duration_s": 45.0, "launch_timeout_s": 100.0}


class Timed(Scripted):
    """Remembers how long each task may take."""

    timeouts: list[float]

    def __call__(self, task: Task, *, timeout_s: float, on_tick: Callable[[], None]) -> Answer:
        self.timeouts = [*getattr(self, "timeouts", []), timeout_s]
        return super().__call__(task, timeout_s=timeout_s, on_tick=on_tick)


def test_a_soak_run_is_one_launch_that_may_take_its_duration_longer(
    config: Plan, run: Run, store: Store
) -> None:
    worker = Timed()
    (row,) = run([config(measure=SOAK)], worker)
    described, soak = worker.tasks
    assert (described.kind, soak.kind) == ("vectors", "soak")
    assert (soak.duration_s, soak.stop_over_ns, soak.due_ns) == (45.0, None, None)
    assert worker.timeouts == [100.0, 145.0]
    assert (row["purpose"], row["launches"], row["status"], row["settled"]) == ("soak", 1, "complete", False)
    assert (row["soak_s"], row["requests"], row["latency_drift"]) == (45.0, 3000, 1.0)
    assert (row["rss_slope_bytes_per_request"], row["handles_gained"]) == (0.0, 0)
    (launch,) = store.launches_of(row["run_id"])
    assert (launch["block_requests"], launch["total_ns"]) == ([100] * 30, [])
    assert (launch["p50_ms"], launch["p95_ms"], launch["requests"]) == (2.0, 4.0, 3000)


def test_a_paced_launch_may_take_as_long_as_its_arrivals_and_the_time_limit_besides(
    config: Plan, run: Run
) -> None:
    worker = Timed()
    paced = {"arrival": "poisson", "rate": 2.0}
    run([config(workload=paced, measure={"launches": 2, "launch_timeout_s": 100.0}), config()], worker)
    limits = {
        (task.due_ns or [0])[-1]: timeout_s
        for task, timeout_s in zip(worker.tasks, worker.timeouts, strict=True)
    }
    assert len(limits) == 3, "two paced launches with arrivals of their own, and those that have none"
    plain_s = limits.pop(0)
    assert limits == {ns: pytest.approx(100.0 + ns / 1e9) for ns in limits}
    assert all(timeout_s > 120 for timeout_s in limits.values())
    assert plain_s == config().measure.launch_timeout_s


def test_a_soak_run_stands_beside_the_latency_run_of_its_place(config: Plan, run: Run, store: Store) -> None:
    (soak,) = run([config(measure=SOAK)], Scripted())
    (plain,) = run([config(measure={"launches": 3})], Scripted())
    assert soak["run_id"] != plain["run_id"]
    assert set(load_runs(store.path)["purpose"]) == {"soak", "latency"}
    assert store.run_of(soak["run_id"]) == soak


def test_a_soak_of_another_duration_is_another_run_and_of_the_same_the_same(config: Plan, run: Run) -> None:
    (first,) = run([config(measure=SOAK)], Scripted())
    again = Scripted()
    assert run([config(measure=SOAK)], again) == [first]
    assert again.tasks == []
    (longer,) = run([config(measure=SOAK | {"duration_s": 46.0})], Scripted())
    assert longer["run_id"] != first["run_id"]


def test_how_long_a_soak_would_be_makes_no_other_latency_run(config: Plan, run: Run) -> None:
    (first,) = run([config(measure={"launches": 1})], Scripted())
    (second,) = run([config(measure={"launches": 1, "duration_s": 31.0})], Scripted())
    assert second["run_id"] == first["run_id"]


def test_a_soak_that_dies_is_a_failed_run_and_tried_again_under_another_id(
    config: Plan, run: Run, store: Store
) -> None:
    (first,) = run([config(measure=SOAK)], Scripted(["killed by SIGKILL"]))
    assert (first["status"], first["error"], first["purpose"]) == ("failed", "killed by SIGKILL", "soak")
    assert first["rss_slope_bytes_per_request"] is None
    (second,) = run([config(measure=SOAK)], Scripted())
    assert (second["status"], second["config_hash"]) == ("complete", first["config_hash"])
    assert second["run_id"] != first["run_id"]
    assert store.run_of(first["run_id"]) == first


# --- cores, replicates


def tasks_of(worker: Scripted) -> set[tuple[int | None, int | None]]:
    return {(task.cpus, task.options["threads"]) for task in worker.tasks}


def test_a_limit_on_cores_holds_every_task_and_sets_the_threads_where_none_are_given(
    config: Plan, run: Run
) -> None:
    worker = Scripted()
    (row,) = run([config(measure={"cpus": 1, "launches": 1})], worker)
    assert tasks_of(worker) == {(1, 1)}
    assert (row["cpus"], row["cores"], row["threads"]) == (1, 1, None)


def test_threads_that_are_given_stay_under_a_limit_on_cores(config: Plan, run: Run) -> None:
    worker = Scripted()
    (row,) = run([config(threads=3, measure={"cpus": 1, "launches": 1})], worker)
    assert (tasks_of(worker), row["threads"]) == ({(1, 3)}, 3)


def test_a_process_that_is_held_to_fewer_cores_takes_as_many_threads(
    config: Plan, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By taskset, or a container's cpuset: left alone ONNX Runtime leaves the cores that it was given."""
    monkeypatch.setattr("os.cpu_count", lambda: usable_cores() + 6)
    worker = Scripted()
    (row,) = run([config(measure={"launches": 1})], worker)
    assert tasks_of(worker) == {(None, usable_cores())}
    assert (row["cores"], row["threads"]) == (usable_cores(), None)


def test_without_a_limit_nothing_is_held(config: Plan, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", usable_cores)
    worker = Scripted()
    (row,) = run([config(measure={"launches": 1})], worker)
    assert tasks_of(worker) == {(None, None)}
    assert (row["cpus"], row["cores"]) == (None, usable_cores())


@pytest.mark.parametrize("strict", [True, False])
def test_more_cores_than_there_are_is_bad_input_before_anything_is_measured(
    config: Plan, run: Run, store: Store, strict: bool
) -> None:
    worker = Scripted()
    cpus = usable_cores() + 1
    with pytest.raises(BadInputError, match=f"measure.cpus={cpus}: {cpus - 1} cores can be used here"):
        run([config(), config(threads=1, measure={"cpus": cpus})], worker, strict=strict)
    assert worker.tasks == []
    assert load_runs(store.path).empty


def test_a_limit_on_cores_is_not_possible_where_the_system_has_none(
    config: Plan, run: Run, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("os.sched_setaffinity")
    plan, worker = config(measure={"cpus": 1, "launches": 1}), Scripted()
    with pytest.raises(UnavailableError, match=r"measure\.cpus=1: .* give threads=1"):
        run([plan], worker, strict=True)
    assert load_runs(store.path).empty
    rows = run([plan, config(measure={"launches": 1})], worker)
    assert [row["status"] for row in rows] == ["unavailable", "complete"]
    assert "measure.cpus=1" in rows[0]["error"]


def test_replicates_of_one_sweep_are_runs_of_their_own_interleaved(
    config: Plan, run: Run, store: Store
) -> None:
    worker = Scripted()
    rows = run([config(measure={"launches": 4, "replicate": n}) for n in (1, 2)], worker)
    assert [(row["replicate"], row["launches"]) for row in rows] == [(1, 4), (2, 4)]
    assert rows[0]["run_id"] != rows[1]["run_id"]
    assert rows[0]["candidate_label"] == rows[1]["candidate_label"]
    rounds = load_launches(store.path).groupby("round")["run_id"].nunique()
    assert rounds.tolist() == [2] * 4


# --- quality, once for runs that share it


def test_quality_is_measured_once_for_workloads_of_one_candidate_and_again_for_another_batch_size(
    config: Plan, run: Run
) -> None:
    look = {"launches": 1}
    worker = Scripted()
    rows = run(
        [
            config(measure=look),
            config(workload="mixture", measure=look),
            config(workload={"clients": 2}, measure=look),
            config(measure=look | {"replicate": 1}),
            config(batch_size=2, measure=look),
            config(batch_size=2, workload="mixture", measure=look),
        ],
        worker,
    )
    vectors = [task for task in worker.tasks if task.kind == "vectors"]
    assert [task.batch_size for task in vectors] == [1, 2]
    assert len(worker.launched) == 6
    assert {(row["finite"], row["ep_nodes"], row["separation_auc"]) for row in rows} == {
        (True, 3, rows[0]["separation_auc"])
    }
    assert rows[0]["tokens_mean"] != rows[1]["tokens_mean"], "lengths are the workload's own"
    assert rows[0]["tokens_mean"] == rows[2]["tokens_mean"]


@pytest.mark.parametrize("change", [{"threads": 1}, {"measure": {"cpus": 1}}], ids=str)
def test_quality_is_measured_for_each_candidate_and_limit_on_cores(
    config: Plan, run: Run, change: dict[str, Any]
) -> None:
    if usable_cores() == 1 and "measure" in change:
        pytest.skip("one core is all there is")
    worker = Scripted()
    look = {"launches": 1}
    run([config(measure=look), config(**(change | {"measure": change.get("measure", {}) | look}))], worker)
    assert len(worker.described) == 2


def test_runs_that_share_a_failed_quality_fail_each_and_it_is_tried_for_each(config: Plan, run: Run) -> None:
    worker = Scripted(quality={None: "no memory"})
    rows = run([config(), config(workload="mixture")], worker)
    assert [(row["status"], row["error"]) for row in rows] == [("failed", "quality: no memory")] * 2
    assert worker.launched == []


# --- what goes wrong


def test_a_killed_launch_becomes_a_failed_row_and_the_sweep_goes_on(
    config: Plan, run: Run, store: Store
) -> None:
    worker = Scripted({1: [2.0, 2.0, "killed by SIGKILL", 2.0], 2: [2.0]})
    rows = run([config(threads=n, measure={"launches": 6}) for n in (1, 2)], worker)
    assert [(row["status"], row["launches"], row["launches_failed"]) for row in rows] == [
        ("complete", 6, 1),
        ("complete", 6, 0),
    ]
    assert rows[0]["error"] == "killed by SIGKILL"
    assert rows[0]["launch_p95_ms"] == pytest.approx([2.0, 2.0, np.inf, 2.0, 2.0, 2.0])
    assert rows[0]["launch_throughput_texts_per_s"][2] == 0.0
    launches = store.launches_of(rows[0]["run_id"])
    assert [row["status"] for row in launches] == ["complete"] * 2 + ["failed"] + ["complete"] * 3
    failed = launches[2]
    assert (failed["error"], failed["total_ns"], failed["p95_ms"], failed["requests"]) == (
        "killed by SIGKILL",
        [],
        None,
        0,
    )
    assert failed_or_unavailable(rows)
    assert not failed_or_unavailable(rows[1:])


def test_a_launch_that_fails_after_it_served_counts_as_failed(config: Plan, run: Run, store: Store) -> None:
    class Nan(Scripted):
        def __call__(self, task: Task, **how: Any) -> Answer:
            answer = super().__call__(task, **how)
            return (
                answer | {"status": "failed", "error": "NaN"} if task.options["launch_index"] == 1 else answer
            )

    (row,) = run([config(measure={"launches": 3})], Nan())
    assert row["launch_p95_ms"] == pytest.approx([2.0, np.inf, 2.0])
    assert (row["launches_failed"], row["requests"]) == (1, 200)
    assert store.launches_of(row["run_id"])[1]["requests"] == 100


def test_a_run_whose_launches_all_fail_is_given_up_after_three(config: Plan, run: Run) -> None:
    worker = Scripted({1: ["no memory"], 2: [2.0]})
    rows = run([config(threads=n) for n in (1, 2)], worker)
    assert [(row["status"], row["launches"], row["launches_failed"]) for row in rows] == [
        ("failed", 3, 3),
        ("complete", 17, 0),
    ]
    assert rows[0]["error"] == "no memory"
    assert (rows[0]["latency_p95_ms"], rows[0]["latency_p50_ms"]) == (None, None)


def test_a_run_whose_launches_all_hang_has_timed_out(config: Plan, run: Run) -> None:
    (row,) = run([config()], Scripted(["timeout"]))
    assert (row["status"], row["launches_failed"]) == ("timeout", 3)


@pytest.mark.parametrize("failure", ["no memory", "timeout"])
def test_a_failed_run_is_tried_again_under_another_id(
    config: Plan, run: Run, store: Store, failure: str
) -> None:
    (first,) = run([config()], Scripted([failure]))
    (second,) = run([config(measure={"launches": 4})], Scripted())
    assert (second["status"], second["launches"], second["launches_failed"]) == ("complete", 4, 0)
    assert second["run_id"] != first["run_id"]
    assert second["config_hash"] == first["config_hash"]
    assert store.run_of(first["run_id"]) == first


def test_a_second_try_that_is_settled_is_not_measured_a_third_time(config: Plan, run: Run) -> None:
    plan = config(measure={"launches": 4})
    run([plan], Scripted(["no memory"]))
    (second,) = run([plan], Scripted())
    worker = Scripted()
    (third,) = run([plan], worker)
    assert worker.tasks == []
    assert third == second


def test_a_second_try_that_was_cut_short_is_taken_up_again(config: Plan, run: Run) -> None:
    plan = config(measure={"launches": 4})
    run([plan], Scripted(["no memory"]))
    with pytest.raises(KeyboardInterrupt):
        run([plan], Scripted([2.0, 2.0, KeyboardInterrupt]))
    worker = Scripted()
    (row,) = run([plan], worker)
    assert (row["launches"], len(worker.launched)) == (4, 2)


def test_a_run_that_is_not_possible_here_ends_a_single_run(config: Plan, run: Run, store: Store) -> None:
    name = absent_ep()
    worker = Scripted()
    with pytest.raises(EpUnavailableError, match=load_ep(name).provider):
        run([config(ep=name, runtime="onnxruntime")], worker, strict=True)
    assert worker.tasks == []
    assert load_runs(store.path).empty


def test_a_length_that_the_prompt_takes_up_ends_a_single_run_and_is_a_row_of_a_sweep(
    config: Plan, run: Run, store: Store
) -> None:
    prompted = {"prompts": {"default": "Represent this sentence for searching relevant passages: "}}
    plan = config(workload="tokens_8", model=prompted)
    worker = Scripted()
    with pytest.raises(BadInputError, match=r"workload\.tokens=8: no text .* choose another length"):
        run([plan], worker, strict=True)
    assert worker.tasks == []
    assert load_runs(store.path).empty
    rows = run([plan, config(workload="tokens_32", model=prompted, measure={"launches": 1})], worker)
    assert [row["status"] for row in rows] == ["unavailable", "complete"]
    assert "workload.tokens=8" in rows[0]["error"]


def test_a_run_that_is_not_possible_here_is_a_row_of_a_sweep_and_the_rest_goes_on(
    config: Plan, run: Run, store: Store
) -> None:
    name = absent_ep()
    worker = Scripted()
    rows = run([config(ep=name, runtime="onnxruntime"), config(measure={"launches": 3})], worker)
    assert [row["status"] for row in rows] == ["unavailable", "complete"]
    assert (rows[0]["ep"], rows[0]["launches"], rows[0]["launch_p95_ms"]) == (name, 0, [])
    assert rows[0]["error"].startswith(f"ep={name}: ")
    unknown = (
        "latency_p95_ms",
        "artifact_sha256",
        "finite",
        "ep_node_share",
        "evidence_span_s",
        "peak_rss_bytes",
    )
    assert [rows[0][column] for column in unknown] == [None] * len(unknown)
    assert len(worker.launched) == 3
    assert set(load_runs(store.path)["status"]) == {"unavailable", "complete"}
    assert failed_or_unavailable(rows)


def test_a_row_says_whose_weights_where_that_was_left_open(
    config: Plan, run: Run, fake_artifact: Artifact, told: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    def only_twins(recipe: Recipe, **_: object) -> Artifact:
        if recipe.model.weights != "random":
            raise ModelUnavailableError("no network")
        return fake_artifact

    monkeypatch.setattr("harness.sweep.prepare_artifact", only_twins)
    model = {"weights": "auto"}
    look = {"launches": 1}
    rows = run(
        [config(model=model, ep=absent_ep(), runtime="onnxruntime"), config(model=model, measure=look)],
        Scripted(),
    )
    assert [(row["status"], row["weights"]) for row in rows] == [
        ("unavailable", "trained"), ("complete", "random"),
    ]  # fmt: skip
    assert "random weights instead: no network" in told.getvalue()


def test_a_sweep_of_nothing_but_impossible_runs_measures_nothing(config: Plan, run: Run) -> None:
    worker = Scripted()
    rows = run([config(ep=absent_ep(), runtime="onnxruntime")], worker)
    assert [row["status"] for row in rows] == ["unavailable"]
    assert worker.tasks == []


# --- weights and precisions


@pytest.fixture
def no_weights(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """No source has E5's trained weights; which weights were asked for, in turn."""
    asked: list[str] = []

    def prepare(recipe: Recipe, **named: Any) -> Artifact:
        asked.append(f"{recipe.model.name} {recipe.model.weights}")
        if asked[-1] == "e5 trained":
            raise ModelUnavailableError("model e5 cannot be had")
        return prepare_artifact(recipe, **named)

    monkeypatch.setattr("harness.sweep.prepare_artifact", prepare)
    return asked


def auto(config: Plan, model: str, **changes: Any) -> Config:
    """A plan that takes random weights where the trained ones cannot be had."""
    plan = config(model=model, measure={"launches": 3}, **changes)
    return plan.model_copy(update={"model": plan.model.model_copy(update={"weights": "auto"})})


def test_auto_takes_trained_weights_where_they_can_be_had_and_random_ones_elsewhere(
    config: Plan, run: Run, store: Store, told: io.StringIO, no_weights: list[str]
) -> None:
    plans = [auto(config, "minilm"), auto(config, "e5")]
    rows = run(plans, Scripted())
    assert rows[1]["error"] is None
    assert no_weights == ["minilm trained", "e5 trained", "e5 random"]
    assert [(row["weights"], row["status"]) for row in rows] == [
        ("trained", "complete"),
        ("random", "complete"),
    ]
    assert [row["candidate_label"] for row in rows] == [
        "minilm fp32 fake cpu",
        "e5 (random weights) fp32 fake cpu",
    ]
    assert "random weights instead: model e5 cannot be had" in told.getvalue()
    assert set(load_runs(store.path)["weights"]) == {"trained", "random"}

    worker = Scripted()
    again = run([auto(config, "minilm"), auto(config, "e5")], worker)
    assert [row["run_id"] for row in again] == [row["run_id"] for row in rows]
    assert worker.tasks == [], "the second command resumes what the first one settled"


def test_weights_that_were_asked_for_as_trained_are_never_replaced(
    config: Plan, run: Run, no_weights: list[str]
) -> None:
    (row,) = run([config(model="e5", measure={"launches": 3})], Scripted())
    assert (row["status"], row["weights"]) == ("unavailable", "trained")
    assert row["error"] == "model e5 cannot be had"
    with pytest.raises(ModelUnavailableError):
        run([config(model="e5")], Scripted(), strict=True)


def test_every_quality_of_random_weights_is_null_and_no_text_is_encoded_for_it(
    config: Plan, run: Run, no_weights: list[str]
) -> None:
    worker = Scripted()
    (row,) = run([auto(config, "e5")], worker)
    nulls = (*QUALITY_COLUMNS, *BATCHING_COLUMNS)
    assert {name: row[name] for name in nulls} == dict.fromkeys(nulls)
    assert (row["ep_node_share"], row["latency_p95_ms"]) == (0.75, 2.0)
    assert [task.texts for task in worker.tasks if task.kind == "vectors"] == [[]]


def test_what_is_not_possible_here_is_not_told_of_weights_that_nobody_looked_for(
    config: Plan, run: Run, no_weights: list[str]
) -> None:
    (row,) = run([auto(config, "e5", ep=absent_ep(), runtime="onnxruntime")], Scripted())
    assert (row["status"], row["weights"], no_weights) == ("unavailable", "trained", [])


def test_far_more_threads_than_cores_are_not_possible_here(
    config: Plan, run: Run, no_weights: list[str], minilm: Artifact
) -> None:
    cores = fingerprint().cores
    soon = {"launches": 1, "quiet_wait_s": 0}
    plans = [config(runtime="onnxruntime", threads=n * cores, measure=soon) for n in (5, 4)]
    rows = run(plans, Scripted())
    assert rows[0]["error"].startswith(f"threads={5 * cores}: {cores} cores can be used here")
    assert no_weights == ["minilm trained"], "the other one went on"


def test_a_precision_that_makes_no_sense_for_a_provider_is_unavailable_before_anything_is_built(
    config: Plan, run: Run, no_weights: list[str]
) -> None:
    worker = Scripted()
    plans = [config(precision=name, ep="coreml") for name in ("int8", "fp32-fused", "int4-weights")]
    rows = run([*plans, config(measure={"launches": 3})], worker)
    assert [row["status"] for row in rows] == ["unavailable"] * 3 + ["complete"]
    for plan, row in zip(plans, rows, strict=False):
        reason = plan.precision.unfit["coreml"]
        assert row["error"] == f"precision={plan.precision.name} ep=coreml: {reason}"
        assert row["artifact_sha256"] is None
    assert no_weights == ["minilm trained"]
    with pytest.raises(UnavailableError, match="precision=int8 ep=coreml: CoreML takes no dynamically"):
        run(plans[:1], Scripted(), strict=True)


def test_int8_for_another_kind_of_cpu_is_another_run(
    config: Plan, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: dict[str, list[str]] = {"int8": [], "fp32": []}
    for overflows in (False, True, False):
        monkeypatch.setattr("harness.artifacts.precision.int8_sums_overflow", lambda it=overflows: it)
        for precision, ids in found.items():
            (row,) = run([config(precision=precision, measure={"launches": 3})], Scripted())
            ids.append(row["run_id"])
    assert found["fp32"] == [found["fp32"][0]] * 3
    assert found["int8"][0] == found["int8"][2] != found["int8"][1]


def test_cut_vectors_are_measured_apart_and_told_apart(config: Plan, run: Run) -> None:
    plans = [config(model="qwen3", dim=dim, measure={"launches": 3}) for dim in (None, 64)]
    rows = run(plans, Scripted())
    assert [(row["dim"], row["candidate_label"]) for row in rows] == [
        (1024, "qwen3 fp32 fake cpu"),
        (64, "qwen3 fp32 fake cpu dim=64"),
    ]
    assert rows[0]["run_id"] != rows[1]["run_id"]


def test_a_run_whose_quality_cannot_be_told_is_a_failed_row_and_the_others_go_on(
    config: Plan, run: Run
) -> None:
    worker = Scripted(quality={1: "killed by SIGSEGV"})
    rows = run([config(threads=n, measure={"launches": 3}) for n in (1, 2)], worker)
    assert [(row["status"], row["launches"]) for row in rows] == [("failed", 0), ("complete", 3)]
    assert rows[0]["error"] == "quality: killed by SIGSEGV"
    assert rows[0]["finite"] is None
    assert worker.launched == [2, 2, 2]


def test_a_full_disk_ends_the_sweep_and_keeps_what_was_written(
    config: Plan, run: Run, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill_up(number: int) -> None:
        if number == 2:
            monkeypatch.setattr("os.fsync", full)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(StorageError):
        run([config()], Scripted(during=fill_up))
    monkeypatch.undo()
    assert load_launches(store.path)["launch_index"].tolist() == [0, 1]
    worker = Scripted()
    (row,) = run([config(measure={"launches": 3})], worker)
    assert (row["launches"], len(worker.launched)) == (3, 1)


# --- interruptions


@pytest.mark.parametrize("at", [0, 1, 4])
def test_an_interruption_keeps_everything_and_the_same_command_goes_on(
    config: Plan, run: Run, store: Store, at: int
) -> None:
    plans = [config(threads=n, measure={"launches": 6}) for n in (1, 2)]
    first = Scripted({1: [2.0] * at + [KeyboardInterrupt], 2: [2.0]})
    with pytest.raises(KeyboardInterrupt):
        run(plans, first)
    kept = load_launches(store.path)
    assert len(kept) == len(first.launched) - 1
    assert set(load_runs(store.path)["status"]) == {"interrupted"}

    second = Scripted()
    rows = run(plans, second)
    assert [(row["status"], row["launches"]) for row in rows] == [("complete", 6)] * 2
    assert len(second.launched) == 12 - len(kept)
    after = load_launches(store.path)
    assert after["launch_id"].is_unique
    merged = kept.merge(after, on=["launch_id", "started_at", "round", "p95_ms"])
    assert len(merged) == len(kept)


@pytest.fixture
def capped(config: Plan) -> Plan:
    """A plan of at most six launches for a gate that they leave open."""
    gate = {
        "tier": "must",
        "metric": "latency_p95_ms",
        "op": "<",
        "bound": 20,
        "label": "P95",
        "launch_quantile": 0.5,
    }
    return lambda **words: config(**{"measure": {"max_launches": 6}, "policy": {"gates": [gate]}} | words)


UNSETTLED: list[Behaviour] = [2.0, 25.0] * 10


def test_a_cap_counts_the_launches_of_a_command_that_was_interrupted(capped: Plan, run: Run) -> None:
    for interrupted_at, finished_at in ((4, 6), (7, 12)):
        with pytest.raises(KeyboardInterrupt):
            run([capped()], Scripted([*UNSETTLED[:interrupted_at], KeyboardInterrupt]))
        (row,) = run([capped()], Scripted(UNSETTLED))
        assert (row["launches"], row["status"], row["settled"]) == (finished_at, "complete", False)


@pytest.mark.parametrize(
    ("earlier", "measured"),
    [({"max_launches": 8}, 8), ({"launches": 3}, 3)],
    ids=["another cap", "exactly 3"],
)
def test_an_interrupted_command_goes_on_to_its_own_cap_whatever_was_asked_before_it(
    capped: Plan, run: Run, earlier: dict[str, int], measured: int
) -> None:
    (row,) = run([capped(measure=earlier)], Scripted(UNSETTLED))
    assert (row["launches"], row["launches_before"]) == (measured, 0)
    for served in (0, 2, 2):  # it stays the same command, however often it is interrupted
        with pytest.raises(KeyboardInterrupt):
            run([capped()], Scripted([*UNSETTLED[:served], KeyboardInterrupt]))
    (row,) = run([capped()], Scripted(UNSETTLED))
    assert (row["launches"], row["launches_before"]) == (measured + 6, measured)


def test_a_run_at_its_cap_waits_for_the_others_of_a_sweep_that_was_interrupted(
    capped: Plan, run: Run
) -> None:
    def interrupt(number: int) -> None:
        if number == 11:  # the second launch of the sixth round
            raise KeyboardInterrupt

    plans = [capped(threads=n) for n in (1, 2)]
    for finished_at in (6, 12):
        with pytest.raises(KeyboardInterrupt):
            run(plans, Scripted(UNSETTLED, during=interrupt))
        worker = Scripted(UNSETTLED)
        rows = run(plans, worker)
        assert [(row["launches"], row["status"]) for row in rows] == [(finished_at, "complete")] * 2
        assert len(worker.launched) == 1


def test_a_kill_between_the_launches_and_the_row_of_a_run_adds_none_to_its_cap(
    capped: Plan, run: Run, store: Store
) -> None:
    """The row is one behind: the last launch of the cap is there, and nobody said that it was the last."""
    with pytest.raises(KeyboardInterrupt):
        run([capped()], Scripted([*UNSETTLED[:5], KeyboardInterrupt]))
    (file,) = (store.path / "runs").glob("*.parquet")
    behind = file.read_bytes()
    run([capped()], Scripted(UNSETTLED))
    file.write_bytes(behind)
    worker = Scripted(UNSETTLED)
    (row,) = run([capped()], worker)
    assert (row["launches"], row["status"], worker.launched) == (6, "complete", [])


def test_quality_that_is_known_is_not_measured_again_after_an_interruption(config: Plan, run: Run) -> None:
    with pytest.raises(KeyboardInterrupt):
        run([config(measure={"launches": 3})], Scripted([2.0, KeyboardInterrupt]))
    worker = Scripted()
    (row,) = run([config(measure={"launches": 3})], worker)
    assert worker.described == []
    assert (row["finite"], row["ep_nodes"]) == (True, 3)


def test_an_interruption_while_the_quality_is_measured_leaves_a_run_that_starts_anew(
    config: Plan, run: Run
) -> None:
    class Interrupted(Scripted):
        def __call__(self, task: Task, **how: Any) -> Answer:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run([config()], Interrupted())
    (row,) = run([config(measure={"launches": 3})], Scripted())
    assert (row["status"], row["launches"], row["finite"]) == ("complete", 3, True)


def test_a_lost_row_is_made_again_from_its_launches(config: Plan, run: Run, store: Store) -> None:
    (first,) = run([config(measure={"launches": 3})], Scripted())
    (store.path / "runs" / f"{first['run_id']}.parquet").unlink()
    worker = Scripted()
    (row,) = run([config(measure={"launches": 4})], worker)
    assert (row["launches"], len(worker.launched), row["finite"]) == (4, 1, True)


def test_a_lost_row_of_a_settled_run_is_made_again_too(config: Plan, run: Run, store: Store) -> None:
    (first,) = run([config()], Scripted())
    (store.path / "runs" / f"{first['run_id']}.parquet").unlink()
    worker = Scripted()
    (row,) = run([config()], worker)
    assert (row["launches"], row["finite"], worker.launched) == (17, True, [])


def cut_off(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-30])


def doubled(file: Path) -> None:
    table = pq.read_table(file, partitioning=None)
    pq.write_table(pa.concat_tables([table, table]), file)


@pytest.mark.parametrize("damage", [cut_off, doubled], ids=lambda damage: damage.__name__)
def test_launches_that_cannot_be_used_are_set_aside_and_measured_again(
    config: Plan, run: Run, store: Store, damage: Callable[[Path], None]
) -> None:
    (first,) = run([config(measure={"launches": 3})], Scripted())
    file = store.path / "launches" / f"{first['run_id']}.parquet"
    damage(file)
    damaged = file.read_bytes()
    worker = Scripted()
    with pytest.warns(UnreadableFileWarning, match=file.name):
        (row,) = run([config(measure={"launches": 3})], worker)
    assert (row["launches"], len(worker.launched)) == (3, 3)
    assert damaged in [path.read_bytes() for path in store.path.rglob("*") if path.is_file()]


def deleted(file: Path) -> None:
    file.unlink()


def without_the_last(file: Path) -> None:
    table = pq.read_table(file, partitioning=None)
    pq.write_table(table.slice(0, table.num_rows - 1), file)


@pytest.mark.filterwarnings("ignore::harness.store.UnreadableFileWarning")
@pytest.mark.parametrize(
    ("damage", "kept"),
    [(cut_off, 0), (deleted, 0), (without_the_last, 5)],
    ids=["cut off", "deleted", "without the last"],
)
def test_a_row_whose_launches_were_lost_is_kept_and_speaks_against_the_attempt_that_replaces_it(
    config: Plan, run: Run, store: Store, told: io.StringIO, damage: Callable[[Path], None], kept: int
) -> None:
    (slow,) = run([config()], Scripted([90.0]))
    damage(store.path / "launches" / f"{slow['run_id']}.parquet")
    (quick,) = run([config()], Scripted())
    assert (quick["launches"], quick["run_id"] == slow["run_id"]) == (17, False)
    assert store.run_of(slow["run_id"]) == slow
    line = (
        f"launches of run {slow['run_id']} are lost ({kept} of 6 are there): not gone on with, a new attempt"
    )
    assert line in told.getvalue()
    (candidate,) = decide(load_runs(store.path)).candidates
    assert any(
        f"is fail in another run of the same thing: {slow['run_id']}" in x for x in candidate.provisional
    )
    again = Scripted()
    assert run([config()], again) == [quick]
    assert again.tasks == []


def test_a_row_of_an_attempt_that_has_no_launches_yet_is_gone_on_with(
    config: Plan, run: Run, store: Store
) -> None:
    with pytest.raises(KeyboardInterrupt):
        run([config()], Scripted([KeyboardInterrupt]))
    (row,) = run([config(measure={"launches": 1})], Scripted())
    assert list(load_runs(store.path)["run_id"]) == [row["run_id"]] == [row["config_hash"][:16]]


@pytest.mark.filterwarnings("ignore::harness.store.UnreadableFileWarning")
@pytest.mark.parametrize("damage", [cut_off, deleted], ids=lambda damage: damage.__name__)
def test_the_newest_attempt_is_made_again_from_its_launches_where_its_row_was_lost(
    config: Plan, run: Run, store: Store, told: io.StringIO, damage: Callable[[Path], None]
) -> None:
    run([config()], Scripted())
    (forced,) = run([config(measure={"force": True})], Scripted([90.0]))
    damage(store.path / "runs" / f"{forced['run_id']}.parquet")
    worker = Scripted()
    (row,) = run([config()], worker)
    assert (row["run_id"], row["launches"], worker.launched) == (forced["run_id"], 6, [])
    assert row["launch_p95_ms"] == forced["launch_p95_ms"]
    assert "new attempt" not in told.getvalue()


@pytest.mark.parametrize("before", [0, 1], ids="{} attempts before".format)
def test_a_forced_run_measures_anew_also_where_the_newest_row_was_lost(
    config: Plan, run: Run, store: Store, before: int
) -> None:
    forced = config(measure={"launches": 2, "force": True})
    *_, newest = [run([forced], Scripted([9.0]))[0] for _ in range(before + 1)]
    (store.path / "runs" / f"{newest['run_id']}.parquet").unlink()
    worker = Scripted()
    (row,) = run([forced], worker)
    assert (len(worker.launched), row["launches"], row["launch_p95_ms"]) == (2, 2, [2.0, 2.0])
    assert len(store.launches_of(newest["run_id"])) == 2
    assert row["run_id"] != newest["run_id"]


def test_a_forced_run_is_newer_than_the_attempts_before_one_whose_row_was_lost(
    config: Plan, run: Run, store: Store
) -> None:
    forced = config(measure={"launches": 1, "force": True})
    first, second = (run([forced], Scripted())[0] for _ in range(2))
    store.write_run(first | {"finished_at": first["finished_at"] + timedelta(days=1)})
    (store.path / "runs" / f"{second['run_id']}.parquet").unlink()
    (third,) = run([forced], Scripted())
    assert list(load_runs(store.path)["run_id"]) == [first["run_id"], third["run_id"]]


# --- one measuring process at a time


@pytest.mark.parametrize("where", ["on this machine", "into this folder"])
def test_nothing_is_measured_while_somebody_else_measures(
    config: Plan, run: Run, store: Store, told: io.StringIO, where: str
) -> None:
    lock = measuring_lock_path() if where == "on this machine" else store.lock
    worker = Scripted()
    finished = threading.Event()

    def command() -> None:
        run([config(measure={"launches": 1})], worker)
        finished.set()

    with hold(lock, lambda _who: None):
        thread = threading.Thread(target=command, daemon=True)
        thread.start()
        assert not finished.wait(0.5)
        assert worker.tasks == []
        assert f"waiting: process {os.getpid()} since " in told.getvalue()
    assert finished.wait(60)
    thread.join()
    assert len(worker.launched) == 1


def test_what_is_settled_is_told_without_waiting_for_whoever_measures(config: Plan, run: Run) -> None:
    run([config(measure={"launches": 1})], Scripted())
    with hold(measuring_lock_path(), lambda _who: None):
        (row,) = run([config(measure={"launches": 1})], Scripted())
    assert row["launches"] == 1


def test_a_command_that_waited_takes_what_the_same_command_measured_meanwhile(
    config: Plan, run: Run, store: Store, told: io.StringIO
) -> None:
    second = Scripted([9.0])
    waiter = threading.Thread(target=run, args=([config()], second), daemon=True)
    waiting = threading.Event()

    def start_another(number: int) -> None:
        if number == 1:
            waiter.start()
            while "waiting: " not in told.getvalue() and waiter.is_alive():
                waiting.wait(0.01)

    first = Scripted(during=start_another)
    (row,) = run([config()], first)
    waiter.join(60)
    assert not waiter.is_alive()
    assert (len(first.launched), second.launched) == (17, [])
    assert store.run_of(row["run_id"])["latency_p95_ms"] == pytest.approx(2.0)
    assert len(store.launches_of(row["run_id"])) == 17


def test_whoever_is_interrupted_goes_on_with_the_attempt_that_was_begun(config: Plan, run: Run) -> None:
    def remedy_of(worker: Callable[..., Answer], **measure: Any) -> str:
        with pytest.raises(InterruptedRunError) as interrupted:
            run([config(measure=measure)], worker)
        return interrupted.value.remedy

    def interrupted_while_describing(*_: Any, **__: Any) -> Answer:
        raise InterruptedRunError

    again = "type the command again to go on"
    assert remedy_of(interrupted_while_describing, force=True) == again, "nothing of it exists yet"
    assert remedy_of(Scripted([2.0, InterruptedRunError])) == again
    assert "without measure.force" in remedy_of(Scripted([InterruptedRunError]), force=True)


def test_the_lock_is_free_again_after_an_interruption(config: Plan, run: Run) -> None:
    with pytest.raises(KeyboardInterrupt):
        run([config()], Scripted([KeyboardInterrupt]))
    waited: list[str] = []
    with hold(measuring_lock_path(), waited.append):
        assert waited == []


# --- disturbance


class ScriptedObserver:
    """Tells of each launch, in turn, the capacity before and after it; remembers what it was told.

    The last capacity is repeated. `shares` are further fields of the conditions of every launch.
    """

    def __init__(self, capacities: list[float], *, waits: bool = False, **shares: Any) -> None:
        self.capacities, self.waits, self.shares = capacities, waits, shares
        self.references: list[float | None] = []
        self.watched, self.wait_left_s = 0, 20.0

    def watch(self, reference: float | None, on_wait: Callable[[], None], _cpus: int | None) -> int:
        self.references.append(reference)
        if self.waits:
            on_wait()
        self.watched += 1
        return self.watched - 1

    def conclude(self, watch: int, reference: float | None) -> Conditions:
        assert reference == self.references[-1]
        gflops = self.capacities[min(watch, len(self.capacities) - 1)]
        quiet = {"other_cpu_share": 0.0, "steal_share": 0.0}
        return Conditions(**{"capacity_before_gflops": gflops, "capacity_after_gflops": gflops}
                          | quiet | self.shares)  # fmt: skip


@pytest.fixture
def watched(store: Store, told: io.StringIO) -> Callable[..., list[dict[str, Any]]]:
    """Measure plans with a scripted worker under a scripted observer."""

    def go(plans: list[Config], worker: Any, observer: Any) -> list[dict[str, Any]]:
        with Progress(Console(file=told)) as progress:
            return measure_in(Sweep(store, progress, worker, observer), plans, strict=True)

    return go


@pytest.fixture
def real(config: Plan, minilm: Artifact) -> Plan:
    """A plan of a runtime whose clock is the machine's."""
    return lambda **changes: config(**{"runtime": "onnxruntime"} | changes)


def test_a_launch_at_low_capacity_is_flagged_and_counted(real: Plan, watched: Run, store: Store) -> None:
    observer = ScriptedObserver([100.0, 100.0, 40.0, 100.0])
    (row,) = watched([real(measure={"launches": 4})], Scripted(), observer)
    assert (row["launch_disturbed"], row["noise"]) == ([False, False, True, False], 0.25)
    assert row["disturbance"] == "low capacity 1"
    launches = store.launches_of(row["run_id"])
    assert [launch["disturbance"] for launch in launches] == [None, None, "low capacity", None]
    assert [launch["capacity_after_gflops"] for launch in launches] == [100.0, 100.0, 40.0, 100.0]
    assert observer.references == [None, 100.0, 100.0, 100.0]


@pytest.mark.parametrize(
    ("conditions", "what"),
    [
        ({"other_cpu_share": 0.5}, "other processes 3"),
        ({"steal_share": 0.5}, "stolen time 3"),
        ({"thermal_throttles": 1}, "heat 3"),
        ({"load_1m": 50.0}, None),
    ],
    ids=str,
)
def test_conditions_of_a_launch_are_kept_and_flagged(
    real: Plan, watched: Run, store: Store, conditions: dict[str, Any], what: str | None
) -> None:
    observer = ScriptedObserver([100.0], **conditions)
    (row,) = watched([real(measure={"launches": 3})], Scripted(), observer)
    assert (row["disturbance"], row["noise"]) == (what, 0.0 if what is None else 1.0)
    launch = store.launches_of(row["run_id"])[-1]
    assert {name: launch[name] for name in conditions} == conditions


def test_all_runs_of_a_sweep_are_held_against_the_same_limit(
    config: Plan, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the machine can do at most is the best seen so far, and may be seen with the last launch."""
    peak_gflops = [100.0]

    def columns(*_facts: object, **_run: object) -> dict[str, float]:
        return {
            "limit_gflops": peak_gflops[-1],
            "achieved_gflops": 50.0,
            "share_of_peak": 50 / peak_gflops[-1],
        }

    monkeypatch.setattr("harness.run.limit_columns", columns)
    worker = Scripted(during=lambda number: peak_gflops.append(100.0 + number))
    rows = run([config(threads=n, measure={"launches": 3}) for n in (1, 2)], worker)
    assert [row["limit_gflops"] for row in rows] == [105.0, 105.0]


def test_flags_never_look_at_a_latency(real: Plan, watched: Run) -> None:
    (row,) = watched(
        [real(measure={"launches": 6})], Scripted([2.0, 90.0, 2.0, "died", 2.0]), ScriptedObserver([100.0])
    )
    assert (row["launch_disturbed"], row["disturbance"]) == ([False] * 6, None)


def test_a_launch_that_failed_is_flagged_as_any_other(real: Plan, watched: Run) -> None:
    (row,) = watched(
        [real(measure={"launches": 3})], Scripted([2.0, 2.0, "died"]), ScriptedObserver([100.0, 100.0, 10.0])
    )
    assert row["launch_disturbed"] == [False, False, True]
    assert row["launches_failed"] == 1


def test_launches_are_flagged_afterwards_where_what_the_machine_can_do_shows_only_later(
    real: Plan, watched: Run, store: Store
) -> None:
    (row,) = watched([real(measure={"launches": 8})], Scripted(), ScriptedObserver([40.0] * 3 + [100.0]))
    assert row["launch_disturbed"] == [True] * 3 + [False] * 5
    assert [launch["disturbed"] for launch in store.launches_of(row["run_id"])] == row["launch_disturbed"]


def test_a_run_that_dropped_out_is_flagged_afterwards_too_and_its_row_written_again(
    real: Plan, watched: Run, store: Store
) -> None:
    """The first run fails within six rounds, all at low capacity; the second one goes on in full."""
    observer = ScriptedObserver([40.0] * 12 + [100.0])
    rows = watched([real(threads=1), real(threads=2)], Scripted({1: [40.0], 2: [2.0]}), observer)
    assert [row["launches"] for row in rows] == [6, 17]
    assert [row["launch_disturbed"] for row in rows] == [[True] * 6, [True] * 6 + [False] * 11]
    for row in rows:
        assert store.run_of(row["run_id"]) == row
        stored = [launch["disturbed"] for launch in store.launches_of(row["run_id"])]
        assert stored == row["launch_disturbed"]
    assert rows[0]["disturbance"] == "low capacity 6"


def test_a_run_that_dropped_out_is_flagged_however_the_command_ends(
    real: Plan, watched: Run, store: Store
) -> None:
    observer = ScriptedObserver([40.0] * 12 + [100.0])
    worker = Scripted({1: [40.0], 2: [*[2.0] * 14, KeyboardInterrupt]})
    with pytest.raises(KeyboardInterrupt):
        watched([real(threads=1), real(threads=2)], worker, observer)
    stored = {row["threads"]: row for row in load_runs(store.path).to_dict("records")}
    assert list(stored[1]["launch_disturbed"]) == [True] * 6
    assert stored[2]["status"] == "interrupted"


def test_a_command_that_was_killed_while_it_flagged_anew_does_so_when_typed_again(
    real: Plan, watched: Run, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its last launch is not kept before the flags of the others are."""
    plans, paces = [real(threads=1), real(threads=2)], {1: [40.0], 2: [2.0]}
    with monkeypatch.context() as killed:
        killed.setattr("harness.sweep._flag_anew", Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            watched(plans, Scripted(paces), ScriptedObserver([40.0] * 12 + [100.0]))
    assert [len(store.launches_of(row)) for row in sorted(load_runs(store.path)["run_id"])] == [6, 16]
    rows = watched(plans, Scripted(paces), ScriptedObserver([100.0]))
    assert [row["launch_disturbed"] for row in rows] == [[True] * 6, [True] * 6 + [False] * 11]


def test_a_row_that_a_kill_left_behind_its_launches_flags_is_written_anew(
    real: Plan, watched: Run, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    plans, paces = [real(threads=1), real(threads=2)], {1: [40.0], 2: [2.0]}
    write_run = Store.write_run

    def killed(to: Store, row: dict[str, Any]) -> None:
        if row["threads"] == 1 and any(row["launch_disturbed"]):
            raise KeyboardInterrupt
        write_run(to, row)

    with monkeypatch.context() as once:
        once.setattr(Store, "write_run", killed)
        with pytest.raises(KeyboardInterrupt):
            watched(plans, Scripted(paces), ScriptedObserver([40.0] * 12 + [100.0]))
    rows = watched(plans, Scripted(paces), ScriptedObserver([100.0]))
    assert [row["launch_disturbed"] for row in rows] == [[True] * 6, [True] * 6 + [False] * 11]
    assert [store.run_of(row["run_id"]) for row in rows] == rows


def test_a_settled_command_that_is_typed_again_leaves_its_flags_as_they_are(
    real: Plan, watched: Run, store: Store
) -> None:
    """By its own launches alone the machine could do more than all that was measured on it shows."""
    watched([real(threads=1, measure={"launches": 40})], Scripted(), ScriptedObserver([65.0]))
    plan = real(threads=2, measure={"launches": 20})
    (row,) = watched([plan], Scripted(), ScriptedObserver([100.0] * 3 + [65.0]))
    assert row["launch_disturbed"] == [False] * 20
    with hold(store.lock, lambda who: pytest.fail(f"waits for {who}")):
        (again,) = watched([plan], Scripted(), ScriptedObserver([]))
    assert again == row


def test_launches_of_an_earlier_command_are_flagged_by_what_a_later_one_finds_out(
    real: Plan, watched: Run, store: Store
) -> None:
    (first,) = watched([real(measure={"launches": 3})], Scripted(), ScriptedObserver([40.0]))
    assert first["noise"] == 0.0
    observer = ScriptedObserver([100.0])
    (second,) = watched([real(measure={"launches": 6})], Scripted(), observer)
    assert second["launch_disturbed"] == [True] * 3 + [False] * 3
    assert observer.references[0] == 40.0, "what is stored is known before the first launch"


def test_what_the_machine_could_do_for_other_runs_is_known_before_the_first_launch(
    real: Plan, watched: Run
) -> None:
    """A slow hour would be its own reference otherwise."""
    watched([real(threads=1, measure={"launches": 3})], Scripted(), ScriptedObserver([100.0]))
    observer = ScriptedObserver([40.0])
    (row,) = watched([real(threads=2, measure={"launches": 3})], Scripted(), observer)
    assert observer.references == [100.0] * 3
    assert (row["launch_disturbed"], row["disturbance"]) == ([True] * 3, "low capacity 3")


@pytest.mark.parametrize(
    "another", [{"machine_id": "another"}, {"cores": 99}, {"container_cpus": 0.375}], ids=str
)
def test_what_another_machine_or_another_limit_on_cores_could_do_is_no_reference(
    real: Plan, watched: Run, monkeypatch: pytest.MonkeyPatch, another: dict[str, Any]
) -> None:
    watched([real(threads=1, measure={"launches": 3})], Scripted(), ScriptedObserver([100.0]))
    here = fingerprint()
    monkeypatch.setattr("harness.sweep.fingerprint", lambda: replace(here, **another))
    observer = ScriptedObserver([40.0])
    (row,) = watched([real(threads=2, measure={"launches": 3})], Scripted(), observer)
    assert observer.references == [None, 40.0, 40.0]
    assert row["launch_disturbed"] == [False] * 3


def test_disturbed_launches_count_in_every_figure_all_the_same(real: Plan, watched: Run) -> None:
    (row,) = watched([real(measure={"launches": 6})], Scripted([2.0, 60.0]), ScriptedObserver([100.0, 10.0]))
    assert row["latency_p95_ms"] == 60.0
    assert (row["launches"], len(row["launch_p95_ms"]), row["requests"]) == (6, 6, 600)


def test_runs_of_the_fake_runtime_are_never_watched(config: Plan, watched: Run, store: Store) -> None:
    class Unwanted:
        wait_left_s = 20.0

        def watch(self, *_: Any) -> None:
            raise AssertionError

        conclude = watch

    (row,) = watched([config(measure={"launches": 3})], Scripted(), Unwanted())
    assert (row["launch_disturbed"], row["noise"], row["disturbance"]) == ([None] * 3, None, None)
    (launch, *_) = store.launches_of(row["run_id"])
    unknown = ("disturbed", "disturbance", "capacity_before_gflops", "other_cpu_share", "load_1m")
    assert [launch[name] for name in unknown] == [None] * len(unknown)


def test_a_wait_for_a_quiet_machine_is_told_with_the_launch_that_waits(
    real: Plan, watched: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    tell = Progress.tell

    def listen(
        self: Progress, what: str, left_s: float | None = None, detail: str = "", **guess: bool
    ) -> None:
        said.append(detail)
        tell(self, what, left_s, detail, **guess)

    monkeypatch.setattr(Progress, "tell", listen)
    watched([real(measure={"launches": 2})], Scripted(), ScriptedObserver([100.0], waits=True))
    waits = [line for line in said if "waiting, the machine is in use" in line]
    assert [line.split(":")[2].strip() for line in waits] == [
        "default, batch 1, launch 1",
        "default, batch 1, launch 2",
    ]


# --- a machine with two states, in blocks of twenty launches


def in_process(task: Task, **_: Any) -> Answer:
    """The real worker's work, without a process of its own."""
    return work(task)


BLOCKS = [[2.0]] * 20 + [[40.0]] * 20


@pytest.mark.parametrize(
    ("launches", "order"),
    [(None, BLOCKS), (None, BLOCKS[::-1]), (40, BLOCKS)],
    ids=["settled in a fast block", "settled in a slow block", "both blocks"],
)
def test_a_machine_that_changes_its_state_in_blocks_of_launches_is_never_plainly_go(
    config: Plan, store: Store, told: io.StringIO, launches: int | None, order: list[list[float]]
) -> None:
    plan = config(runtime={"script": {"infer_ms": order}}, measure={"launches": launches})
    with Progress(Console(file=told)) as progress:
        (row,) = measure([plan], store, progress, strict=True, worker=in_process)
    decision = decide(load_runs(store.path))
    (candidate,) = decision.candidates
    slow = sum(ms > 30 for ms in row["launch_p95_ms"])
    assert decision.evidence == "provisional"
    if slow:
        assert decision.verdict != "GO"
    else:
        assert candidate.provisional, "a burst of launches stands for no time of this machine"
    if launches == 40:
        assert (slow, decision.verdict) == (20, "NO_GO")


@pytest.mark.parametrize(("slow", "verdict"), [(6, "CONDITIONAL_GO"), (4, "GO")])
def test_six_slow_requests_of_a_hundred_miss_the_target_and_four_do_not(
    config: Plan, store: Store, told: io.StringIO, slow: int, verdict: str
) -> None:
    """25 ms lie over the target of 20 ms and under the bound of 30 ms; a P95 is the 95th of 100."""
    plan = config(runtime={"script": {"infer_ms": [25.0] * slow + [2.0] * (100 - slow)}})
    with Progress(Console(file=told)) as progress:
        measure([plan], store, progress, strict=True, worker=in_process)
    decision = decide(load_runs(store.path))
    assert (decision.verdict, decision.chosen) == (verdict, "minilm fp32 fake cpu")


def test_slow_blocks_at_low_capacity_are_flagged_and_the_verdict_is_told_without_them(
    real: Plan, watched: Run, store: Store
) -> None:
    worker = Scripted([ms for (ms,) in BLOCKS])
    observer = ScriptedObserver([100.0] * 20 + [45.0] * 20)
    (row,) = watched([real(measure={"launches": 40, "min_span_s": 0.0})], worker, observer)
    assert row["launch_disturbed"] == [False] * 20 + [True] * 20
    assert [ms > 30 for ms in row["launch_p95_ms"]] == row["launch_disturbed"]
    decision = decide(load_runs(store.path))
    (candidate,) = decision.candidates
    assert (decision.verdict, decision.evidence) == ("NO_GO", "provisional")
    assert any("would be pass without the launches that were disturbed" in x for x in candidate.provisional)
    assert any("20 of 40 launches disturbed (low capacity 20)" in line for line in candidate.warnings)


def test_slow_blocks_that_come_first_are_flagged_once_the_machine_shows_what_it_can_do(
    real: Plan, watched: Run
) -> None:
    worker = Scripted([ms for (ms,) in BLOCKS[::-1]])
    observer = ScriptedObserver([45.0] * 20 + [100.0] * 20)
    (row,) = watched([real(measure={"launches": 40})], worker, observer)
    assert row["launch_disturbed"] == [True] * 20 + [False] * 20


# --- the real worker process, the fake runtime


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        ("raise", "RuntimeError: scripted failure"),
        ("exit", "exited with code 3"),
        ("abort", "killed by SIGABRT"),
        ("sigkill", "killed by SIGKILL"),
        ("nan", "a vector holds NaN or infinity"),
    ],
)
def test_a_process_that_dies_any_death_is_one_failed_launch(
    config: Plan, store: Store, told: io.StringIO, behaviour: str, reason: str
) -> None:
    script = {"launches": ["ok", behaviour, "ok"]}
    plan = config(runtime={"script": script}, measure={"launches": 3})
    (row,) = measure([plan], store, Progress(Console(file=told)), strict=True)
    assert (row["status"], row["launches"], row["launches_failed"]) == ("complete", 3, 1)
    assert row["error"].startswith(reason)


def test_a_process_that_hangs_is_killed_in_time(config: Plan, store: Store, told: io.StringIO) -> None:
    plan = config(
        runtime={"script": {"launches": ["ok", "hang", "ok"]}},
        measure={"launches": 3, "launch_timeout_s": 3},
    )
    (row,) = measure([plan], store, Progress(Console(file=told)), strict=True)
    assert (row["status"], row["launches_failed"]) == ("complete", 1)
    launches = store.launches_of(row["run_id"])
    assert [launch["status"] for launch in launches] == ["complete", "timeout", "complete"]


def test_the_scripted_clock_is_what_is_recorded(config: Plan, store: Store, told: io.StringIO) -> None:
    script = {"infer_ms": [[2.0], [5.0]], "tokenize_ms": 0.5}
    plan = config(runtime={"script": script}, measure={"launches": 4})
    (row,) = measure([plan], store, Progress(Console(file=told)), strict=True)
    assert row["launch_p95_ms"] == pytest.approx([2.5, 5.5, 2.5, 5.5])
    assert (row["latency_p50_ms"], row["throughput_texts_per_s"]) == (
        pytest.approx(4.0),
        pytest.approx(290.9, abs=0.1),
    )


def test_an_artifact_is_named_in_the_row(config: Plan, run: Run, fake_artifact: Artifact) -> None:
    (row,) = run([config(measure={"launches": 1})], Scripted())
    assert (row["artifact_sha256"], row["artifact_bytes"]) == (fake_artifact.sha256, fake_artifact.bytes)


def test_a_soak_of_the_fake_runtime_takes_its_time_on_the_scripted_clock(
    config: Plan, store: Store, told: io.StringIO
) -> None:
    plan = config(runtime={"script": {"infer_ms": [20.0], "tokenize_ms": 0}}, measure=SOAK)
    (row,) = measure([plan], store, Progress(Console(file=told)), strict=True, worker=in_process)
    assert (row["status"], row["launches"], row["soak_s"]) == ("complete", 1, 45.0)
    assert row["requests"] == 45_000 / 20
    assert (row["latency_p50_ms"], row["latency_drift"]) == (20.0, 1.0)


def test_concurrent_callers_of_the_fake_runtime_wait_for_each_other(
    config: Plan, store: Store, told: io.StringIO
) -> None:
    """One queue of 2 ms a request: throughput stays, the wait grows with the callers."""
    look = {"launches": 1}
    plans = [config(workload={"clients": n}, measure=look) for n in (1, 4)]
    alone, four = measure(plans, store, Progress(Console(file=told)), strict=True, worker=in_process)
    assert alone["throughput_texts_per_s"] == pytest.approx(1000 / 2.02)
    assert four["throughput_texts_per_s"] == pytest.approx(1000 / 2.02, rel=0.05)
    assert four["requests"] == alone["requests"] == 100


def test_a_row_that_is_behind_its_launches_is_written_again(config: Plan, run: Run, store: Store) -> None:
    """As a process leaves it that was killed between the two writes."""
    (row,) = run([config(measure={"launches": 4})], Scripted())
    store.write_run(
        {**row, "launches": 3, "launch_p95_ms": row["launch_p95_ms"][:3], "status": "interrupted"}
    )
    worker = Scripted()
    (again,) = run([config(measure={"launches": 3})], worker)
    assert (again["status"], again["launches"], worker.launched) == ("complete", 4, [])


# --- how long it will still take


@pytest.mark.parametrize(("since_s", "counted_s"), [(0, 0), (5, 5), (90, 90 / 5)])
def test_the_time_left_of_a_settled_run_is_what_its_evidence_is_still_to_be_spread_over(
    config: Plan, monkeypatch: pytest.MonkeyPatch, since_s: float, counted_s: float
) -> None:
    run = MeasuredRun.planned(config(measure={"spread": True, "min_span_s": 90}))
    run.launches = [launch_row(i, p95_ms=2.0) for i in range(20)]
    run.spent_s = [0.5] * 20
    assert run.settled()
    assert not run.done()
    monkeypatch.setattr("harness.run.now_after", lambda began: began + timedelta(seconds=since_s))
    assert _left_s([run]) == 90 - 19 - counted_s, "what passed since the last launch counts too"


def test_a_run_that_is_not_done_has_at_least_a_launch_left(
    config: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = MeasuredRun.planned(config())
    run.spent_s = [0.5]
    monkeypatch.setattr(MeasuredRun, "launches_left", lambda _self: 0)
    assert _left_s([run]) == 0.5


def test_the_wait_for_a_quiet_machine_which_is_one_for_all_launches_is_told_of_none_ahead(
    real: Plan, watched: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SimpleNamespace(now=0.0)
    clock.monotonic, clock.sleep = lambda: clock.now, lambda _s: None
    monkeypatch.setattr("harness.sweep.time", clock)
    told: list[tuple[float | None, bool]] = []

    class Waiting(ScriptedObserver):
        def watch(self, *args: Any) -> Any:
            clock.now, self.wait_left_s = clock.now + self.wait_left_s, 0.0
            return super().watch(*args)

        def conclude(self, *args: Any) -> Conditions:
            clock.now += 1.0
            return super().conclude(*args)

    def listen(
        _self: Progress, what: str, left_s: float | None = None, detail: str = "", *, at_least: bool = False
    ) -> None:
        if "launch " in detail:
            told.append((left_s, at_least))

    monkeypatch.setattr(Progress, "tell", listen)
    watched([real(measure={"launches": 3})], Scripted(), Waiting([100.0], waits=True))
    before, *after = told[1:]
    assert before[1], "more may be waited"
    assert after == [(2.0, False), (2.0, True), (1.0, False), (1.0, True)]
