"""What the process used, as the operating system tells it."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys

import psutil
import pytest

from harness.measure.resources import held_to_cores, peak_rss_bytes, rss_bytes, usage

MIB = 2**20


def test_the_peak_is_in_bytes_and_at_least_what_is_used_now() -> None:
    used = psutil.Process().memory_info().rss
    assert used - MIB <= peak_rss_bytes() <= psutil.virtual_memory().total


def test_the_peak_rises_by_what_is_touched_and_stays_when_it_is_freed() -> None:
    code = (
        "from harness.measure.resources import peak_rss_bytes; before = peak_rss_bytes();"
        "block = b'x' * (64 << 20); full = peak_rss_bytes(); del block; print(before, full, peak_rss_bytes())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, full, after = map(int, done.stdout.split())
    assert 60 * MIB <= full - before <= 80 * MIB
    assert after >= full - 2 * MIB  # the kernel counts pages in batches


def test_a_process_does_not_inherit_the_peak_of_its_parent() -> None:
    child = "from harness.measure.resources import peak_rss_bytes; print(peak_rss_bytes())"
    parent = (
        "import subprocess, sys; block = b'x' * (200 << 20);"
        f"subprocess.run([sys.executable, '-c', {child!r}], check=True); print(len(block))"
    )
    done = subprocess.run([sys.executable, "-c", parent], capture_output=True, text=True, check=True)
    peak, held = sorted(map(int, done.stdout.split()))
    assert held == 200 * MIB
    assert peak < 100 * MIB


SPIN_BESIDE = """
import os, subprocess, sys, time
from harness.measure.resources import usage

os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
before = usage().involuntary_switches
rival = subprocess.Popen([sys.executable, "-c", "while True: pass"])
until = time.monotonic() + 1.0
while time.monotonic() < until:
    pass
rival.kill()
rival.wait()
print(before, usage().involuntary_switches)
"""


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no core can be chosen here")
def test_being_taken_off_a_core_by_somebody_else_is_counted() -> None:
    words = [sys.executable, "-c", SPIN_BESIDE]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    before, after = map(int, done.stdout.split())
    assert after - before >= 5


def test_a_page_touched_for_the_first_time_is_a_minor_fault() -> None:
    before = usage()
    with mmap.mmap(-1, 64 * MIB) as block:  # of the system, and so never touched before
        block.write(b"x" * (64 * MIB))
    assert usage().minor_faults - before.minor_faults >= 32  # as many even where pages are of 2 MiB


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system cannot hold a process to cores")
def test_a_process_is_held_to_the_first_cores_from_its_start_and_so_are_its_threads() -> None:
    code = (
        "import os, threading; held = [os.sched_getaffinity(0)];"
        "t = threading.Thread(target=lambda: held.append(os.sched_getaffinity(0))); t.start(); t.join();"
        "print(*held[0], *held[1])"
    )
    mine = os.sched_getaffinity(0)
    with held_to_cores(1):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(min(mine))] * 2
    assert os.sched_getaffinity(0) == mine  # whoever started it is free again


def test_memory_in_use_is_told_to_the_page() -> None:
    before = rss_bytes()
    with mmap.mmap(-1, MIB) as block:
        block.write(b"x" * MIB)
        assert MIB / 2 <= rss_bytes() - before <= 2 * MIB
    assert rss_bytes() == pytest.approx(psutil.Process().memory_info().rss, rel=0.05)
