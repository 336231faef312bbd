"""The machine's state is read from the machine, and its own work is not taken for a stranger's."""

from __future__ import annotations

import subprocess
import sys
import time

from harness.measure.disturbance import Watch, capacity_gflops


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
