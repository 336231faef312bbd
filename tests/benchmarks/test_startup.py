"""How quickly the command line answers, in interpreters: ``--help`` against an empty Python process."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

PAIRS = 10


def _seconds(*words: str) -> float:
    begin = time.perf_counter()
    subprocess.run([sys.executable, *words], capture_output=True, check=True)
    return time.perf_counter() - begin


@pytest.mark.parametrize("flag", ["--help", "--cfg=job"])
def test_a_flag_against_an_empty_process(flag: str, benchmark: BenchmarkFixture) -> None:
    def pairs() -> list[tuple[float, float]]:
        return [(_seconds("-m", "harness", flag), _seconds("-c", "import numpy")) for _ in range(PAIRS)]

    measured = benchmark.pedantic(pairs, rounds=1, iterations=1)
    ours = float(np.median([ours for ours, _ in measured]))
    ratio = float(np.median([ours / empty for ours, empty in measured]))
    print(f"\n{flag}: {ours:.2f} s, {ratio:.1f} times a Python process that imports numpy")
    assert ratio < 20
