"""Rank correlation with human scores: hand-computed, bounded, and MiniLM's own on the STS benchmark."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
import pytest
from rich.console import Console
from scipy.stats import rankdata, spearmanr

from harness import stats
from harness.datasets import StsPairs, read_sts
from harness.measure.sts import STS_COLUMNS, sts_columns
from harness.progress import Progress
from harness.record import RUN_COLUMNS
from harness.store import Store
from harness.sweep import measure
from tests.conftest import NO_STSB_DEV, STSB_DEV

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from harness.artifacts.manifest import Artifact
    from harness.schema import Config


def pairs_of(*scores: float) -> StsPairs:
    return StsPairs("f" * 64, ("text",) * (2 * len(scores)), scores)


def vectors_of(*angles: float) -> NDArray[np.float32]:
    """Pairs of unit vectors so many radians apart."""
    rows = [(1.0, 0.0, np.cos(angle), np.sin(angle)) for angle in angles]
    return np.array(rows, dtype=np.float32).reshape(-1, 2)


def test_the_columns_are_declared_and_nullable() -> None:
    declared = {column.name: column for column in RUN_COLUMNS}
    assert all(declared[name].nullable for name in STS_COLUMNS)
    assert tuple(sts_columns(vectors_of(0.1, 0.2, 0.3), pairs_of(3, 1, 2))) == STS_COLUMNS


def test_the_correlation_is_that_of_the_ranks_of_cosine_and_score() -> None:
    # Cosines fall with the angle: ranks 4 3 2 1 against 4 2 3 1; 1 - 6·(0+1+1+0) / (4·15) = 0.8.
    found = sts_columns(vectors_of(0.1, 0.2, 0.3, 0.4), pairs_of(5, 2, 3, 0))
    assert found["sts_spearman"] == pytest.approx(80.0)
    assert (found["sts_pairs"], found["sts_file_sha256"]) == (4, "f" * 64)


@pytest.mark.parametrize("seed", range(3))
def test_ties_take_the_mean_of_their_ranks(seed: int) -> None:
    first, second = np.random.default_rng(seed).integers(0, 5, (2, 40))
    assert stats.spearman(first, second) == pytest.approx(spearmanr(first, second).statistic)
    ranks = [rankdata(values) for values in (first, second)]
    assert stats.spearman(first, second) == pytest.approx(np.corrcoef(ranks)[0, 1])


def test_the_interval_is_bonett_and_wrights() -> None:
    # Half the width in z of ρ = 0.5, n = 28: 1.95996 · √(1.125 / 25) = 0.415771, about artanh 0.5 = 0.549306.
    low, high = stats.spearman_interval(0.5, 28)
    assert (low, high) == (pytest.approx(0.132747, abs=1e-6), pytest.approx(0.746533, abs=1e-6))
    # The example of ci.spear in the R package statpsych, by the first of the two authors.
    y = [21, 4, 9, 12, 35, 18, 10, 22, 24, 1, 6, 8, 13, 16, 19]
    x = [67, 28, 30, 28, 52, 40, 25, 37, 44, 10, 14, 20, 28, 40, 51]
    rho = stats.spearman(y, x)
    assert (rho, *stats.spearman_interval(rho, 15)) == pytest.approx(
        (0.8699639, 0.5840951, 0.9638297), abs=1e-6
    )


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    truth, rng = 6 / np.pi * np.arcsin(0.8 / 2), np.random.default_rng(1)  # of a normal pair with r = 0.8
    covered = 0
    for _ in range(400):
        x, noise = rng.normal(size=(2, 100))
        low, high = stats.spearman_interval(stats.spearman(x, 0.8 * x + 0.6 * noise), 100)
        assert low is not None
        assert high is not None
        covered += low <= truth <= high
    assert 0.92 <= covered / 400 <= 0.98


@pytest.mark.parametrize(("rho", "n"), [(1.0, 100), (-1.0, 100), (0.5, 3)])
def test_an_interval_that_would_say_nothing_is_unknown(rho: float, n: int) -> None:
    assert stats.spearman_interval(rho, n) == (None, None)


@pytest.mark.parametrize(
    "vectors",
    [vectors_of(0.1, 0.1, 0.1), vectors_of(0.1, 0.2, 0.3) * np.float32("nan"), np.zeros((6, 2), np.float32)],
    ids=["all the same", "not finite", "zero"],
)
def test_a_correlation_that_is_not_defined_is_unknown(vectors: NDArray[np.float32]) -> None:
    found = sts_columns(vectors, pairs_of(1, 2, 3))
    assert found["sts_spearman"] is found["sts_spearman_low"] is None
    assert found["sts_pairs"] == 3


@pytest.mark.skipif(not STSB_DEV.is_file(), reason=NO_STSB_DEV)
def test_minilm_has_its_own_spearman_on_the_sts_benchmark_through_a_run(
    config: Callable[..., Config], minilm: Artifact, tmp_path: Path
) -> None:
    plan = config(
        runtime={"name": "onnxruntime", "script": None},
        batch_size=8,
        quality={"sts": str(STSB_DEV)},
        measure={"launches": 1, "requests": 100, "warmup_requests": 1, "quiet_wait_s": 0.0},
    )
    (row,) = measure([plan], Store(tmp_path), Progress(Console(file=io.StringIO())), strict=True)
    assert row["artifact_sha256"] == minilm.sha256
    assert row["sts_spearman"] == pytest.approx(86.716, abs=0.02)
    assert row["sts_spearman_low"] < 86.716 < row["sts_spearman_high"]
    assert (row["sts_pairs"], row["sts_file_sha256"]) == (1_500, read_sts(str(STSB_DEV)).sha256)
