"""The error rates that the statistics promise, by simulation over all looks: seeded, and vectorised."""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy.stats import norm

from harness import stats

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

SEQUENCES = 2_000
LOOKS = 200
QUANTILES = (0.5, 0.8, 0.9)
THRESHOLD = -math.log(0.05)
# A rate of 5 % in 2,000 sequences is seen as more than this in one of 1,000.
AT_MOST = 0.05 + 3.1 * math.sqrt(0.05 * 0.95 / SEQUENCES)


def lognormal(rng: np.random.Generator, quantile: float) -> tuple[Floats, float]:
    """Launch values and the bound that a share 1 - quantile of them lies over."""
    return np.exp(rng.standard_normal((SEQUENCES, LOOKS))), math.exp(float(norm.ppf(quantile)))


def pareto(rng: np.random.Generator, quantile: float) -> tuple[Floats, float]:
    """As `lognormal`, of a tail so heavy that it has no variance, and hardly a mean."""
    return 1 + rng.pareto(1.1, (SEQUENCES, LOOKS)), (1 - quantile) ** (-1 / 1.1)


def dependent_inside(rng: np.random.Generator, quantile: float) -> tuple[Floats, float]:
    """P95s of launches whose 100 requests are one lognormal level times noise with correlation 0.9.

    The P95 of a launch is level · exp(0.3 · (0.9 z + √(1 - 0.9²) e)), e the 95th of 100 normal values; its
    bound is the quantile of 4 million such launches.
    """

    def draw(shape: tuple[int, ...]) -> Floats:
        # The 95th of 100: a Beta(95, 6) of the ranks.
        e = norm.ppf(rng.beta(95, 6, shape))
        z = rng.standard_normal(shape)
        level = rng.standard_normal(shape)
        values: Floats = np.exp(level + 0.3 * (0.9 * z + math.sqrt(1 - 0.81) * e))
        return values

    return draw((SEQUENCES, LOOKS)), float(np.quantile(draw((4_000_000,)), quantile))


DRAWS = {"lognormal": lognormal, "pareto": pareto, "dependent inside": dependent_inside}


@cache
def reached(q: float) -> NDArray[np.bool_]:
    """[n, k]: whether the evidence that the share is under q is enough, for n up to LOOKS."""
    table = np.zeros((LOOKS + 1, LOOKS + 1), dtype=np.bool_)
    for n in range(1, LOOKS + 1):
        for k in range(n + 1):  # it falls as k grows
            if stats.log_e_value(k, n, q) < THRESHOLD:
                break
            table[n, k] = True
    return table


def ever(over: NDArray[np.bool_], quantile: float) -> tuple[float, float]:
    """The shares of sequences that pass at any look, and that fail at any look."""
    n, k = np.arange(1, LOOKS + 1), over.cumsum(axis=1)
    passes, fails = reached(round(1 - quantile, 9))[n, k], reached(quantile)[n, n - k]
    return float(passes.any(axis=1).mean()), float(fails.any(axis=1).mean())


@pytest.mark.parametrize("quantile", QUANTILES)
@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_at_the_bound_each_wrong_verdict_is_rare_over_200_looks(
    draw: Callable[[np.random.Generator, float], tuple[Floats, float]], quantile: float
) -> None:
    values, bound = draw(np.random.default_rng(71), quantile)
    assert (values >= bound).mean() == pytest.approx(1 - quantile, abs=0.005)
    passed, failed = ever(values >= bound, quantile)
    assert passed <= AT_MOST
    assert failed <= AT_MOST
    assert passed + failed > 0.005, "and the test is not vacuous"


@pytest.mark.parametrize("quantile", QUANTILES)
@pytest.mark.parametrize("beyond", [0.02, 0.05])
def test_beyond_the_bound_a_wrong_verdict_is_rarer_still(quantile: float, beyond: float) -> None:
    rng = np.random.default_rng(73)
    over = rng.random((SEQUENCES, LOOKS)) < 1 - quantile + beyond
    under = rng.random((SEQUENCES, LOOKS)) < 1 - quantile - beyond
    assert ever(over, quantile)[0] <= AT_MOST
    assert ever(under, quantile)[1] <= AT_MOST


@pytest.mark.parametrize("quantile", QUANTILES)
def test_far_from_the_bound_the_right_verdict_comes(quantile: float) -> None:
    rng = np.random.default_rng(79)
    assert ever(rng.random((SEQUENCES, LOOKS)) < (1 - quantile) / 5, quantile)[0] >= 0.98
    assert ever(rng.random((SEQUENCES, LOOKS)) < (3 - quantile) / 3, quantile)[1] >= 0.99


@pytest.mark.parametrize("quantile", QUANTILES)
def test_the_simulation_counts_as_the_gate_itself_does(quantile: float) -> None:
    values, bound = pareto(np.random.default_rng(83), quantile)
    for sequence in values[:4]:
        over = (sequence >= bound).cumsum()
        for n in range(1, LOOKS + 1, 3):
            k = int(over[n - 1])
            passes, fails = reached(round(1 - quantile, 9))[n, k], reached(quantile)[n, n - k]
            expected = "PASS" if passes else "FAIL" if fails else "UNDECIDED"
            assert stats.gate_verdict(sequence[:n], bound, launch_quantile=quantile) == expected


@pytest.mark.parametrize("quantile", [0.5, 0.8])
@pytest.mark.parametrize("draw", [lognormal, pareto])
def test_each_end_of_the_interval_is_right_over_all_looks(
    draw: Callable[[np.random.Generator, float], tuple[Floats, float]], quantile: float
) -> None:
    """It may be looked at after every launch: an end is wrong at any of 40 looks in 5 % at most."""
    values, truth = draw(np.random.default_rng(89), quantile)
    too_high = too_low = 0
    for sequence in values[:300, :40]:
        intervals = [stats.launch_interval(sequence[:n], launch_quantile=quantile) for n in range(6, 41, 2)]
        too_high += any(low is not None and low > truth for low, _ in intervals)
        too_low += any(high is not None and high < truth for _, high in intervals)
    # 5 % of 300 are 15; more than 27 come by chance in one of 1,000.
    assert too_high <= 27
    assert too_low <= 27


# --- paired shifts

REPETITIONS = 1_000
# 95 %, less three standard errors.
COVERED = 0.95 - 3 * math.sqrt(0.05 * 0.95 / REPETITIONS)


@pytest.mark.parametrize("n", [6, 12, 25])
@pytest.mark.parametrize("kind", ["normal", "laplace", "cauchy"])
def test_the_paired_interval_covers_the_centre_of_symmetric_differences(kind: str, n: int) -> None:
    rng = np.random.default_rng(97)
    draws = {"normal": rng.standard_normal, "laplace": rng.laplace, "cauchy": rng.standard_cauchy}
    covered = 0
    for differences in 0.3 + draws[kind](size=(REPETITIONS, n)):
        low, high = stats.paired_shift_interval(differences)
        assert low is not None
        assert high is not None
        covered += low <= 0.3 <= high
    assert covered / REPETITIONS >= COVERED


def test_the_paired_interval_is_narrower_than_the_unpaired_where_a_drift_is_shared() -> None:
    rng = np.random.default_rng(101)
    narrower = 0
    for _ in range(100):
        drift = np.cumsum(rng.normal(0, 1, 15))
        a, b = drift + rng.normal(0, 0.2, 15), drift + 0.5 + rng.normal(0, 0.2, 15)
        low, high = stats.paired_shift_interval(b - a)
        wide_low, wide_high = stats.shift_interval(a, b)
        assert low is not None
        assert high is not None
        assert wide_low is not None
        assert wide_high is not None
        narrower += high - low < wide_high - wide_low
    assert narrower == 100


# --- growth


@pytest.mark.parametrize("m", [2, 5, 19])
@pytest.mark.parametrize("drift", [0.0, 64.0])
def test_the_interval_of_growth_covers_the_drift_of_a_random_walk_exactly(drift: float, m: int) -> None:
    rng = np.random.default_rng(103)
    covered = 0
    for steps in rng.normal(drift, 40, (REPETITIONS, m)):
        low, high = stats.mean_step_interval(np.concatenate([[1e8], 1e8 + np.cumsum(steps)]), np.ones(m))
        assert low is not None
        assert high is not None
        covered += low <= drift <= high
    assert covered / REPETITIONS >= COVERED
    assert covered / REPETITIONS <= 0.95 + 3 * math.sqrt(0.05 * 0.95 / REPETITIONS)


@pytest.mark.parametrize("m", [4, 19])
def test_the_interval_of_growth_is_conservative_for_noise_about_a_line(m: int) -> None:
    rng = np.random.default_rng(107)
    covered = 0
    for noise in rng.normal(0, 1000, (REPETITIONS, m + 1)):
        low, high = stats.mean_step_interval(5.0 * 100 * np.arange(m + 1) + noise, np.full(m, 100))
        assert low is not None
        assert high is not None
        covered += low <= 5.0 <= high
    assert covered / REPETITIONS >= COVERED


def test_the_interval_of_growth_covers_it_where_blocks_serve_different_numbers() -> None:
    """A leak of 64 bytes a request, blocks of 500 to 1,500 requests, pages that come and go."""
    rng = np.random.default_rng(109)
    covered = 0
    for _ in range(REPETITIONS):
        requests = rng.integers(500, 1500, 19)
        noise = 4096 * rng.integers(-20, 21, 20)
        rss = 1e8 + np.concatenate([[0], np.cumsum(64 * requests)]) + noise
        low, high = stats.mean_step_interval(rss, requests)
        assert low is not None
        assert high is not None
        covered += low <= 64 <= high
    assert covered / REPETITIONS >= COVERED
