"""The machine's state is read from the machine, and its own work is not taken for a stranger's."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from threadpoolctl import ThreadpoolController

from harness.measure import disturbance
from harness.measure.disturbance import (
    CAPACITY_SHARE_MIN,
    OTHER_CPU_SHARE_MAX,
    STEAL_SHARE_MAX,
    Conditions,
    Observer,
    Watch,
    capacity_gflops,
    disturbances,
    flag,
    reference_gflops,
    told,
)

if TYPE_CHECKING:
    from pathlib import Path


def test_the_probe_reads_a_plausible_rate() -> None:
    assert 0.1 < capacity_gflops() < 1e6


def test_a_watch_takes_its_own_children_for_the_harness(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine's counters are scripted; this process's own are real."""
    monkeypatch.setattr(disturbance, "_cpu_times", lambda _cores: [SimpleNamespace(user=busy_s)])
    burn = "import time\nwhile time.process_time() < 0.5: pass"
    busy_s = 0.0
    watch = Watch()
    subprocess.run([sys.executable, "-c", burn], check=True)
    busy_s = 0.5
    conditions = watch.stop()
    assert conditions.other_cpu_share == 0.0
    watch = Watch()
    time.sleep(0.1)
    busy_s = 1.5  # what nobody here has used
    assert (watch.stop().other_cpu_share or 0.0) > 0.5


# --- the rule

QUIET = {
    "capacity_before_gflops": 100.0,
    "capacity_after_gflops": 100.0,
    "other_cpu_share": 0.01,
    "steal_share": 0.0,
    "thermal_throttles": 0,
}


@pytest.mark.parametrize(
    ("facts", "found"),
    [
        ({}, []),
        ({"other_cpu_share": OTHER_CPU_SHARE_MAX}, []),
        ({"other_cpu_share": OTHER_CPU_SHARE_MAX + 1e-9}, ["other processes"]),
        ({"steal_share": STEAL_SHARE_MAX}, []),
        ({"steal_share": STEAL_SHARE_MAX + 1e-9}, ["stolen time"]),
        ({"capacity_before_gflops": CAPACITY_SHARE_MIN * 100}, []),
        ({"capacity_before_gflops": CAPACITY_SHARE_MIN * 100 - 0.01}, ["low capacity"]),
        ({"capacity_after_gflops": 30.0}, ["low capacity"]),
        ({"thermal_throttles": 2}, ["heat"]),
        ({"other_cpu_share": 0.5, "capacity_after_gflops": 40.0}, ["other processes", "low capacity"]),
        ({"load_1m": 99.0, "on_battery": True, "throttled_s": 9.0}, []),
    ],
)
def test_a_launch_is_flagged_by_fixed_thresholds(facts: dict[str, Any], found: list[str]) -> None:
    assert disturbances(QUIET | facts, 100.0) == found


@pytest.mark.parametrize("facts", [QUIET, QUIET | {"other_cpu_share": 0.5}])
def test_the_rule_is_blind_to_latency(facts: dict[str, Any]) -> None:
    answers = [disturbances(facts | {"p95_ms": ms, "total_ns": [ms]}, 100.0) for ms in (1.0, 1e6, None)]
    assert answers[0] == answers[1] == answers[2]


def test_where_nothing_is_known_nothing_is_said() -> None:
    assert disturbances(vars(Conditions()), 100.0) is None
    assert disturbances({}, None) is None
    assert disturbances({"steal_share": 0.0}, 100.0) == []


def test_without_a_reference_capacity_says_nothing() -> None:
    assert disturbances(QUIET | {"capacity_after_gflops": 1.0}, None) == []


def test_the_reference_is_what_the_machine_can_do_a_lucky_burst_left_out() -> None:
    rows = [{"capacity_before_gflops": 100.0, "capacity_after_gflops": 101.0} for _ in range(10)]
    rows.append({"capacity_before_gflops": 500.0, "capacity_after_gflops": None})
    assert reference_gflops(rows) == 101.0
    assert reference_gflops([{}, {"capacity_before_gflops": None}]) is None


def test_flags_are_set_and_it_is_told_whether_one_changed() -> None:
    rows: list[dict[str, Any]] = [dict(QUIET), QUIET | {"steal_share": 0.2}, {}]
    assert flag(rows, 100.0)
    assert [row["disturbed"] for row in rows] == [False, True, None]
    assert [row["disturbance"] for row in rows] == [None, "stolen time", None]
    assert not flag(rows, 100.0)
    assert flag(rows, 200.0)  # the machine can do more than was known
    assert [row["disturbance"] for row in rows] == ["low capacity", "stolen time, low capacity", None]


def test_what_disturbed_launches_is_counted() -> None:
    rows = [{"disturbance": "heat"}, {"disturbance": None}, {"disturbance": "heat, low capacity"}, {}]
    assert told(rows) == "heat 2, low capacity 1"
    assert told([{}, {"disturbance": None}]) is None


# --- waiting for a quiet machine


class Machine:
    """Scripted looks at a machine, a look a call; the last one is repeated."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *other_cpu_shares: float) -> None:
        self.shares, self.slept_s = list(other_cpu_shares), 0.0
        machine = self

        class ScriptedWatch:
            before_gflops = 100.0

            def __init__(self, _cpus: int | None) -> None:
                pass

            def stop(self) -> Conditions:
                share = machine.shares.pop(0) if len(machine.shares) > 1 else machine.shares[0]
                return Conditions(other_cpu_share=share)

        monkeypatch.setattr(disturbance, "Watch", ScriptedWatch)
        monkeypatch.setattr(disturbance.time, "sleep", self.sleep)
        monkeypatch.setattr(disturbance.time, "monotonic", lambda: self.slept_s)

    def sleep(self, seconds: float) -> None:
        self.slept_s += seconds


def launch(observer: Observer) -> int:
    """Watch one launch; returns how often it was told to wait."""
    waits: list[None] = []
    watch = observer.watch(100.0, lambda: waits.append(None))
    observer.conclude(watch, 100.0)
    return len(waits)


def test_on_a_quiet_machine_nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    machine, observer = Machine(monkeypatch, 0.0), Observer(30.0)
    assert [launch(observer) for _ in range(3)] == [0, 0, 0]
    assert machine.slept_s == 0


def test_after_a_noisy_launch_it_waits_until_the_machine_is_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    machine, observer = Machine(monkeypatch, 0.9, 0.9, 0.9, 0.0), Observer(30.0)
    assert launch(observer) == 0  # noise shows only while it runs
    assert launch(observer) == 3
    assert launch(observer) == 0
    assert machine.slept_s == 1.5


def test_it_waits_no_longer_than_it_may_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    machine, observer = Machine(monkeypatch, 0.9), Observer(2.0)
    waits = [launch(observer) for _ in range(5)]
    assert waits == [0, 4, 0, 0, 0]
    assert machine.slept_s == 2.0


def test_it_need_not_wait_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    machine, observer = Machine(monkeypatch, 0.9), Observer(0.0)
    assert [launch(observer) for _ in range(3)] == [0, 0, 0]
    assert machine.slept_s == 0


def test_a_machine_without_a_load_average_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def unobtainable() -> tuple[float, float, float]:
        raise OSError("Load averages are unobtainable")

    monkeypatch.setattr("os.getloadavg", unobtainable)
    assert Watch().stop().load_1m is None
    monkeypatch.setattr("os.getloadavg", lambda: (0.25, 1.0, 2.0))
    assert Watch().stop().load_1m == 0.25


# --- on which cores


class Cores:
    """A scripted machine of 64 cores, of which this process may use some: seconds that each was busy."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, usable: range) -> None:
        self.busy_s, self.stolen_s, self.now_s = [0.0] * 64, [0.0] * 64, 0.0
        monkeypatch.setattr(disturbance, "capacity_gflops", lambda: 100.0)
        monkeypatch.setattr(disturbance, "_own_cpu_s", lambda: 0.0)
        monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(usable), raising=False)
        monkeypatch.setattr(disturbance.time, "monotonic", lambda: self.now_s)
        monkeypatch.setattr(disturbance.psutil, "cpu_times", self._times)
        monkeypatch.setattr(disturbance, "_core_numbers", lambda: list(range(64)))

    def _times(self, *, percpu: bool) -> list[SimpleNamespace]:
        assert percpu
        pairs = zip(self.busy_s, self.stolen_s, strict=True)
        return [SimpleNamespace(user=busy_s, steal=stolen_s) for busy_s, stolen_s in pairs]


@pytest.mark.parametrize(
    ("usable", "cpus", "busy", "share"),
    [
        (range(64), 2, (0, 1), 1.0),  # a neighbour burns just what a launch is held to
        (range(64), 2, (2, 3), 0.0),  # or what it is not
        (range(64), None, (0, 1), 2 / 64),
        (range(8, 12), None, (8, 9), 0.5),  # pinned as a whole
        (range(8, 12), 2, (10, 11), 0.0),
        (range(60, 66), None, (0, 1), 2 / 64),  # numbers that are not told of: all cores
    ],
)
def test_others_count_on_the_cores_that_a_launch_may_use(
    monkeypatch: pytest.MonkeyPatch, usable: range, cpus: int | None, busy: tuple[int, ...], share: float
) -> None:
    machine = Cores(monkeypatch, usable)
    watch = Watch(cpus)
    machine.now_s = 2.0
    for core in busy:
        machine.busy_s[core] = machine.stolen_s[core] = 2.0
    conditions = watch.stop()
    assert (conditions.other_cpu_share, conditions.steal_share) == (pytest.approx(share),) * 2


def test_a_core_is_known_by_its_number_where_others_are_offline(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each second core off, as without SMT: the third that is told of is number 4."""

    def stat(busy: float) -> None:
        cores = {0: 0.0, 2: busy, 4: 0.0, 6: 0.0}
        ticks = [f"cpu{n} {int(s * os.sysconf('SC_CLK_TCK'))} 0 0 0 0 0 0 0 0 0" for n, s in cores.items()]
        (tmp_path / "stat").write_text("\n".join(["cpu  0 0 0 0 0 0 0 0 0 0", *ticks, "ctxt 1"]) + "\n")

    now_s = [0.0]
    monkeypatch.setattr(disturbance, "capacity_gflops", lambda: 100.0)
    monkeypatch.setattr(disturbance, "_own_cpu_s", lambda: 0.0)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 2, 4, 6}, raising=False)
    monkeypatch.setattr(disturbance.time, "monotonic", lambda: now_s[0])
    monkeypatch.setattr(disturbance.psutil, "PROCFS_PATH", str(tmp_path))
    stat(0.0)
    watch = Watch(2)
    now_s[0] = 2.0
    stat(2.0)
    assert watch.stop().other_cpu_share == pytest.approx(0.5)


def test_the_probe_takes_all_usable_cores_whatever_a_shell_leaves_to_blas(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pools, threads, matmul = ThreadpoolController(), set(), np.matmul

    def seen(*args: Any, **kwargs: Any) -> Any:
        threads.update(pool["num_threads"] for pool in pools.info() if pool["user_api"] == "blas")
        return matmul(*args, **kwargs)

    monkeypatch.setattr(disturbance.np, "matmul", seen)
    with pools.limit(limits=1, user_api="blas"):  # as OMP_NUM_THREADS=1 leaves it
        capacity_gflops()
    assert threads <= {len(os.sched_getaffinity(0))}
