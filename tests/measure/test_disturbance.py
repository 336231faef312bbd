"""Launches are flagged by the machine's state alone; latency is not even an argument."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from harness.measure.disturbance import Conditions, Watch, capacity_gflops

QUIET = Conditions(100.0, 98.0, 0.01, 0.0, 0.3)


def test_a_quiet_machine_is_not_flagged() -> None:
    assert QUIET.disturbed(105.0) is False


@pytest.mark.parametrize(
    "conditions",
    [
        Conditions(100.0, 60.0, 0.0, 0.0, 0.0),
        Conditions(60.0, 100.0, 0.0, 0.0, 0.0),
        Conditions(100.0, 100.0, 0.2, 0.0, 0.0),
        Conditions(100.0, 100.0, 0.0, 0.1, 0.0),
        Conditions(100.0, 100.0, None, 0.1, None),
    ],
    ids=["slower after", "slower before", "other processes", "stolen", "stolen, little known"],
)
def test_each_sign_alone_flags_a_launch(conditions: Conditions) -> None:
    assert conditions.disturbed(100.0) is True


def test_nothing_known_is_not_a_clean_bill() -> None:
    assert Conditions().disturbed(100.0) is None


def test_capacity_is_left_out_where_the_machines_best_is_unknown() -> None:
    assert Conditions(1.0, 1.0, 0.0, 0.0, 0.0).disturbed(None) is False


def test_the_probe_reads_a_plausible_rate() -> None:
    assert 0.1 < capacity_gflops() < 1e6


def test_a_watch_takes_its_own_children_for_the_harness() -> None:
    watch = Watch()
    burn = "import time; end = time.monotonic() + 0.6\nwhile time.monotonic() < end: pass"
    subprocess.run([sys.executable, "-c", burn], check=True)
    mine = watch.stop()
    watch = Watch()
    with subprocess.Popen([sys.executable, "-c", burn.replace("0.6", "1.5")]) as other:
        time.sleep(0.6)
        beside = watch.stop()  # not reaped yet: as a stranger's process would look
        other.kill()
    assert mine.other_cpu_share is not None
    assert beside.other_cpu_share is not None
    assert beside.other_cpu_share > mine.other_cpu_share + 0.1
