"""The statistics hold their promises: known answers, brute force, and simulation of their error rates."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate
from scipy.stats import mannwhitneyu, norm, wilcoxon

from harness import stats

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

QUANTILES = (0.5, 0.8)
LOOKS = 40
SEQUENCES = 2_000
REQUESTS = 100

finite_floats = st.floats(-1e6, 1e6, allow_nan=False)
# Few distinct values, so that ties and values on the bound are common.
launch_lists = st.lists(st.sampled_from([1.0, 2.0, 3.0, 29.999, 30.0, 30.001, math.inf]), max_size=45)
property_test = settings(deadline=None, max_examples=60, derandomize=True)


def launches(over: int, n: int) -> list[float]:
    """`n` launches, `over` of them over a bound of 30."""
    return [50.0] * over + [10.0] * (n - over)


def mixture(k: int, n: int, q: float) -> float:
    """E(k, n, q) by quadrature: p = sin²t turns the arcsine prior into a uniform one on [0, t_q]."""
    edge = math.asin(math.sqrt(q))

    def ratio(t: float) -> float:
        return (math.sin(t) ** 2 / q) ** k * (math.cos(t) ** 2 / (1 - q)) ** (n - k)

    area, _ = integrate.quad(ratio, 0.0, edge, epsabs=0.0, epsrel=1e-11, limit=500)
    return float(area) / edge


# --- the e-value


def test_the_e_value_of_one_clean_launch_is_one_plus_two_over_pi() -> None:
    # By hand: (4/π) · 2 · ∫ cos²t dt over [0, π/4] = (8/π) (π/8 + 1/4).
    assert math.exp(stats.log_e_value(0, 1, 0.5)) == pytest.approx(1 + 2 / math.pi, rel=1e-12)


def test_the_e_value_of_nothing_is_one() -> None:
    assert stats.log_e_value(0, 0, 0.3) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize(
    ("k", "n", "q"),
    [
        (0, 6, 0.5),
        (1, 11, 0.5),
        (3, 18, 0.5),
        (6, 6, 0.5),
        (20, 40, 0.5),
        (0, 17, 0.2),
        (2, 30, 0.2),
        (17, 17, 0.2),
        (0, 36, 0.1),
        (5, 100, 0.1),
        (3, 9, 0.8),
        (0, 400, 0.5),
        (60, 400, 0.2),
    ],
)
def test_the_e_value_is_the_mixture_integrated_directly(k: int, n: int, q: float) -> None:
    assert stats.log_e_value(k, n, q) == pytest.approx(math.log(mixture(k, n, q)), abs=1e-8)


@property_test
@given(st.integers(0, 200), st.integers(0, 200), st.floats(0.05, 0.95))
def test_the_e_value_keeps_its_mean_at_the_bound(over: int, under: int, q: float) -> None:
    """It is a martingale where the true share is q: what makes looking after every launch allowed."""
    now = stats.log_e_value(over, over + under, q)
    after_over = stats.log_e_value(over + 1, over + under + 1, q)
    after_under = stats.log_e_value(over, over + under + 1, q)
    if math.isinf(now):  # the mass under q underflowed
        assert math.isinf(after_over)
    else:
        mean = q * math.exp(after_over - now) + (1 - q) * math.exp(after_under - now)
        assert mean == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("q", [0.5, 0.2, 0.1])
def test_the_e_value_is_a_number_and_falls_with_every_launch_over_at_5000_launches(q: float) -> None:
    n = 5_000
    logs = np.asarray([stats.log_e_value(k, n, q) for k in range(n + 1)])
    assert not np.isnan(logs).any()
    assert (logs < math.inf).all()
    around = int(q * n) + 400  # beyond it the mass under q underflows, and there is no evidence anyway
    assert np.isfinite(logs[:around]).all()
    assert (np.diff(logs[:around]) < 0).all()
    assert (logs[int(q * n) :] < 0).all(), "no evidence of being under where k/n is not"


@pytest.mark.parametrize(("k", "n", "q"), [(-1, 5, 0.5), (6, 5, 0.5), (1, 5, 0.0), (1, 5, 1.0), (0, 5, 1.2)])
def test_the_e_value_refuses_impossible_counts_and_shares(k: int, n: int, q: float) -> None:
    with pytest.raises(ValueError, match=r"need|must"):
        stats.log_e_value(k, n, q)


# --- the gate


@pytest.mark.parametrize(
    ("quantile", "over", "n"),
    [
        (0.5, 0, 6), (0.5, 1, 11), (0.5, 2, 14), (0.5, 3, 18),
        (0.8, 0, 17), (0.8, 1, 31), (0.8, 2, 41), (0.8, 3, 51),
        (0.9, 0, 36), (0.9, 1, 64), (0.9, 2, 86), (0.9, 3, 105),
    ],
)  # fmt: skip
def test_a_gate_passes_at_the_designed_number_of_launches_and_not_before(
    quantile: float, over: int, n: int
) -> None:
    assert stats.gate_verdict(launches(over, n), 30, launch_quantile=quantile) == "PASS"
    assert stats.gate_verdict(launches(over, n - 1), 30, launch_quantile=quantile) == "UNDECIDED"
    # And by quadrature, which knows nothing of incomplete beta functions.
    assert next(m for m in range(over + 1, 200) if mixture(over, m, 1 - quantile) >= 20) == n


@pytest.mark.parametrize(
    ("quantile", "under", "n"),
    [(0.8, 0, 3), (0.8, 1, 5), (0.8, 2, 7), (0.8, 3, 9), (0.9, 0, 2), (0.9, 1, 4), (0.9, 2, 6), (0.9, 3, 7)],
)
def test_a_gate_on_most_launches_fails_sooner_than_it_passes(quantile: float, under: int, n: int) -> None:
    assert stats.gate_verdict(launches(n - under, n), 30, launch_quantile=quantile) == "FAIL"
    assert stats.gate_verdict(launches(n - 1 - under, n - 1), 30, launch_quantile=quantile) == "UNDECIDED"
    assert next(m for m in range(under + 1, 50) if mixture(under, m, quantile) >= 20) == n


@pytest.mark.parametrize(("under", "n"), [(0, 6), (1, 11), (2, 14), (3, 18)])
def test_a_gate_on_the_median_launch_fails_as_fast_as_it_passes(under: int, n: int) -> None:
    assert stats.gate_verdict(launches(n - under, n), 30, launch_quantile=0.5) == "FAIL"
    assert stats.gate_verdict(launches(n - 1 - under, n - 1), 30, launch_quantile=0.5) == "UNDECIDED"


@pytest.mark.parametrize("quantile", [0.5, 0.8, 0.9])
def test_the_verdict_is_the_integrated_mixture_against_one_over_alpha(quantile: float) -> None:
    for n in range(1, 26):
        for over in range(n + 1):
            passes = mixture(over, n, 1 - quantile) >= 20
            fails = mixture(n - over, n, quantile) >= 20
            assert not (passes and fails)
            expected = "PASS" if passes else "FAIL" if fails else "UNDECIDED"
            assert stats.gate_verdict(launches(over, n), 30, launch_quantile=quantile) == expected, (over, n)


@property_test
@given(st.integers(0, 30), st.integers(0, 30), st.sampled_from([0.5, 0.75, 0.8, 0.9]))
def test_over_and_under_exchanged_mirror_the_verdict(over: int, under: int, quantile: float) -> None:
    mirror = {"PASS": "FAIL", "FAIL": "PASS", "UNDECIDED": "UNDECIDED"}
    verdict = stats.gate_verdict(launches(over, over + under), 30, launch_quantile=quantile)
    exchanged = stats.gate_verdict(launches(under, over + under), 30, launch_quantile=1 - quantile)
    assert exchanged == mirror[verdict]


def test_the_gate_asks_eight_launches_of_ten_unless_told_otherwise() -> None:
    assert stats.gate_verdict(launches(0, 16), 30) == "UNDECIDED"
    assert stats.gate_verdict(launches(0, 17), 30) == "PASS"


def test_a_smaller_alpha_asks_for_more_launches() -> None:
    assert stats.gate_verdict(launches(0, 6), 30, launch_quantile=0.5, alpha=0.01) == "UNDECIDED"
    n = next(n for n in range(1, 30) if mixture(0, n, 0.5) >= 100)
    assert stats.gate_verdict(launches(0, n), 30, launch_quantile=0.5, alpha=0.01) == "PASS"


def test_a_value_equal_to_the_bound_counts_as_over() -> None:
    assert stats.gate_verdict([30.0] * 6, 30.0, launch_quantile=0.5) == "FAIL"
    assert stats.gate_verdict([math.nextafter(30.0, 0.0)] * 6, 30.0, launch_quantile=0.5) == "PASS"


def test_a_failed_launch_counts_as_infinite() -> None:
    assert stats.gate_verdict([math.inf] * 6, 30, launch_quantile=0.5) == "FAIL"
    assert stats.gate_verdict([10.0] * 10 + [math.inf], 30, launch_quantile=0.5) == "PASS"
    assert stats.gate_verdict([10.0] * 9 + [math.inf], 30, launch_quantile=0.5) == "UNDECIDED"


@pytest.mark.parametrize("values", [[math.nan], [10.0] * 30 + [math.nan], [math.inf, math.nan]])
def test_nan_is_refused(values: list[float]) -> None:
    with pytest.raises(ValueError, match="NaN"):
        stats.gate_verdict(values, 30)
    with pytest.raises(ValueError, match="NaN"):
        stats.launch_interval(values)


def test_a_bound_that_is_not_a_number_is_refused() -> None:
    with pytest.raises(ValueError, match="bound"):
        stats.gate_verdict([10.0] * 40, math.nan)


@pytest.mark.parametrize("quantile", [0.0, 1.0, -0.1, 1.5, math.nan])
def test_a_launch_quantile_outside_its_range_is_refused(quantile: float) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        stats.gate_verdict([10.0], 30, launch_quantile=quantile)


@pytest.mark.parametrize("alpha", [0.0, -0.05, 1.5])
def test_an_alpha_outside_its_range_is_refused(alpha: float) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        stats.gate_verdict([10.0], 30, alpha=alpha)


def test_no_launch_is_undecided() -> None:
    assert stats.gate_verdict([], 30) == "UNDECIDED"
    assert stats.gate_verdict(np.asarray([]), 30, launch_quantile=0.5) == "UNDECIDED"


@property_test
@given(launch_lists, st.randoms(use_true_random=False), st.sampled_from(QUANTILES))
def test_the_order_of_launches_does_not_matter(values: list[float], random: object, quantile: float) -> None:
    shuffled = list(values)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    first = stats.gate_verdict(values, 30, launch_quantile=quantile)
    assert stats.gate_verdict(shuffled, 30, launch_quantile=quantile) == first


# --- its error rate, with requests that depend on each other inside a launch


@pytest.fixture(scope="module")
def launch_p95s() -> Floats:
    """P95s [sequences, looks] of independent launches whose 100 requests are strongly dependent.

    A lognormal launch effect times heavy-tailed requests with autocorrelation 0.7.
    """
    rng = np.random.default_rng(20260101)
    count = SEQUENCES * LOOKS
    effect = rng.normal(0.0, 0.5, count).astype(np.float32)
    state = rng.standard_normal(count, dtype=np.float32)
    logs = np.empty((REQUESTS, count), dtype=np.float32)
    for request in range(REQUESTS):
        state = np.float32(0.7) * state + np.float32(math.sqrt(1 - 0.49)) * rng.standard_normal(
            count, dtype=np.float32
        )
        logs[request] = state
    # Nearest rank of 100 is the 95th; the exponential keeps the order, so it is taken last.
    p95 = np.exp(np.partition(logs, 94, axis=0)[94] + effect).astype(np.float64)
    first = np.exp(logs[:, 0].astype(np.float64) + float(effect[0]))
    assert stats.nearest_rank(first, 0.95) == pytest.approx(p95[0], rel=1e-5)
    return p95.reshape(SEQUENCES, LOOKS)


def ever(verdict: str, over: NDArray[np.bool_], quantile: float) -> float:
    """The share of sequences [s, looks] whose gate gave `verdict` at any look."""
    table = np.zeros((LOOKS + 1, LOOKS + 1), dtype=bool)
    for n in range(1, LOOKS + 1):
        for k in range(n + 1):
            table[n, k] = stats.gate_verdict(launches(k, n), 30, launch_quantile=quantile) == verdict
    seen = table[np.arange(1, LOOKS + 1), over.cumsum(axis=1)]
    return float(seen.any(axis=1).mean())


@pytest.mark.parametrize("quantile", QUANTILES)
def test_at_the_bound_a_wrong_verdict_is_rare_over_all_looks(launch_p95s: Floats, quantile: float) -> None:
    """True share over the bound = q: PASS and FAIL are both wrong, and each has its 5 %."""
    bound = float(np.quantile(launch_p95s, quantile))
    over = launch_p95s >= bound
    assert over.mean() == pytest.approx(1 - quantile, abs=1e-3)
    assert ever("PASS", over, quantile) <= 0.05
    assert ever("FAIL", over, quantile) <= 0.05


@pytest.mark.parametrize("quantile", QUANTILES)
def test_a_candidate_well_under_the_bound_passes_within_the_cap(launch_p95s: Floats, quantile: float) -> None:
    over = launch_p95s >= float(np.quantile(launch_p95s, 0.99))
    # One launch of 100 is over, so that 17 in a row are clean in 84 %, and one of 31 in another 12 %.
    assert ever("PASS", over, quantile) >= 0.95
    assert ever("FAIL", over, quantile) <= 0.001


@pytest.mark.parametrize("quantile", QUANTILES)
def test_a_candidate_well_over_the_bound_fails_within_the_cap(launch_p95s: Floats, quantile: float) -> None:
    over = launch_p95s >= float(np.quantile(launch_p95s, 0.1))
    assert ever("FAIL", over, quantile) >= 0.98
    assert ever("PASS", over, quantile) <= 0.001


# --- the interval of launches


@property_test
@given(launch_lists, st.sampled_from([0.5, 1.0, 2.5, 29.999, 30.0, 31.0, 1e9]), st.sampled_from(QUANTILES))
def test_the_interval_never_contradicts_the_verdict(
    values: list[float], bound: float, quantile: float
) -> None:
    verdict = stats.gate_verdict(values, bound, launch_quantile=quantile)
    low, high = stats.launch_interval(values, launch_quantile=quantile)
    assert (verdict == "PASS") == (high is not None and high < bound)
    if low is not None or all(math.isfinite(value) for value in values):
        assert (verdict == "FAIL") == (low is not None and low >= bound)


@property_test
@given(st.lists(finite_floats, max_size=45), finite_floats, st.sampled_from(QUANTILES))
def test_the_interval_agrees_with_the_verdict_for_any_values(
    values: list[float], bound: float, quantile: float
) -> None:
    verdict = stats.gate_verdict(values, bound, launch_quantile=quantile)
    low, high = stats.launch_interval(values, launch_quantile=quantile)
    assert (verdict == "PASS") == (high is not None and high < bound)
    assert (verdict == "FAIL") == (low is not None and low >= bound)


@property_test
@given(launch_lists, st.sampled_from([1.0, 30.0]), st.sampled_from([30.0, 100.0]), st.sampled_from(QUANTILES))
def test_the_interval_of_launches_that_were_stopped_early_ends_where_more_is_not_known(
    values: list[float], bound: float, stopped_over: float, quantile: float
) -> None:
    verdict = stats.gate_verdict(values, bound, launch_quantile=quantile)
    low, high = stats.launch_interval(values, launch_quantile=quantile, stopped_over=stopped_over)
    assert (verdict == "PASS") == (high is not None and high < bound)
    assert verdict != "FAIL" or low is None or low >= bound
    assert all(end is None or end <= stopped_over for end in (low, high))
    further = [value if value < stopped_over else value + 1.0 for value in values]
    again = stats.launch_interval(further, launch_quantile=quantile, stopped_over=stopped_over)
    assert again == (low, high), "what they took until they were stopped is no part of it"


@property_test
@given(st.lists(finite_floats, min_size=1, max_size=45), st.sampled_from(QUANTILES))
def test_the_interval_holds_the_quantile_it_is_of(values: list[float], quantile: float) -> None:
    low, high = stats.launch_interval(values, launch_quantile=quantile)
    middle = stats.nearest_rank(values, quantile)
    assert low is None or low <= middle
    assert high is None or middle <= high


@pytest.mark.parametrize("n", range(6))
def test_under_six_launches_there_is_no_interval_of_the_median(n: int) -> None:
    assert stats.launch_interval([float(i) for i in range(n)]) == (None, None)


def test_six_launches_give_their_extremes_as_the_interval_of_the_median() -> None:
    assert stats.launch_interval([6.0, 2.0, 5.0, 3.0, 4.0, 1.0]) == (1.0, 6.0)


def test_with_eleven_launches_the_interval_of_the_median_drops_one_at_each_end() -> None:
    assert stats.launch_interval([float(i) for i in range(1, 12)]) == (2.0, 10.0)


def test_the_upper_end_at_eight_launches_of_ten_takes_seventeen() -> None:
    values = [float(i) for i in range(1, 18)]
    assert stats.launch_interval(values[:16], launch_quantile=0.8).high is None
    assert stats.launch_interval(values, launch_quantile=0.8).high == 17.0


def test_tied_launches_give_an_interval_of_one_value() -> None:
    assert stats.launch_interval([5.0] * 6) == (5.0, 5.0)


def test_an_infinite_end_is_open() -> None:
    assert stats.launch_interval([1.0, 2.0, 3.0, 4.0, 5.0, math.inf]) == (1.0, None)
    assert stats.launch_interval([math.inf] * 6) == (None, None)


@pytest.mark.parametrize(("quantile", "n"), [(0.5, 12), (0.5, 25), (0.8, 20), (0.8, 35)])
def test_the_interval_covers_the_true_quantile(quantile: float, n: int) -> None:
    rng = np.random.default_rng(7)
    truth = math.exp(float(norm.ppf(quantile)))
    samples = np.exp(rng.standard_normal((600, n)))
    intervals = [stats.launch_interval(row, launch_quantile=quantile) for row in samples]
    covered = [(low is None or low <= truth) and (high is None or truth <= high) for low, high in intervals]
    assert np.mean(covered) >= 0.95
    assert any(high is not None and high < 10 * truth for _, high in intervals), "and is of use"


# --- how many launches


@pytest.mark.parametrize(("quantile", "n"), [(0.5, 6), (0.8, 17), (0.9, 36)])
def test_the_launches_a_pass_takes_are_told_in_advance(quantile: float, n: int) -> None:
    assert stats.launches_to_pass(quantile) == n


def test_a_quantile_no_number_of_launches_can_prove_is_not_called_free() -> None:
    """It must exceed every cap, so that a policy that cannot pass is refused."""
    assert stats.launches_to_pass(0.999999) > 10_000


@pytest.mark.parametrize(
    ("over", "n", "quantile", "more"),
    [(0, 3, 0.5, 3), (0, 6, 0.5, 0), (6, 6, 0.5, 0), (0, 10, 0.8, 7), (0, 0, 0.8, 17), (5, 5, 0.5, 1)],
)
def test_the_launches_still_needed_are_told(over: int, n: int, quantile: float, more: int) -> None:
    assert stats.launches_to_settle(over, n, launch_quantile=quantile) == more


def test_a_share_at_the_bound_is_not_settled_by_any_number_of_launches() -> None:
    assert stats.launches_to_settle(5, 10, launch_quantile=0.5, most=300) is None


@property_test
@given(st.integers(0, 10), st.integers(1, 20), st.sampled_from(QUANTILES))
def test_the_told_number_of_launches_settles_the_gate(over: int, n: int, quantile: float) -> None:
    over = min(over, n)
    more = stats.launches_to_settle(over, n, launch_quantile=quantile, most=400)
    if more is None:
        assert stats.gate_verdict(launches(over, n), 30, launch_quantile=quantile) == "UNDECIDED"
    else:
        total = n + more
        k = max(over, round(over / n * total))
        assert stats.gate_verdict(launches(k, total), 30, launch_quantile=quantile) != "UNDECIDED"


# --- nearest rank


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [
        (range(1, 101), 0.95, 95.0),
        (range(1, 101), 0.99, 99.0),
        (range(1, 101), 0.5, 50.0),
        (range(1, 101), 1.0, 100.0),
        (range(100, 0, -1), 0.951, 96.0),
        (range(1, 21), 0.95, 19.0),
        ([7.0], 0.01, 7.0),
        ([7.0], 1.0, 7.0),
        ([30.0, 10.0, 20.0], 0.5, 20.0),
        ([30.0, 10.0, 20.0], 0.34, 20.0),
        ([1.0, 2.0], 0.5, 1.0),
        ([1.0, math.inf], 0.95, math.inf),
    ],
)
def test_the_nearest_rank_is_the_hand_counted_one(
    values: Sequence[float], share: float, expected: float
) -> None:
    assert stats.nearest_rank(values, share) == expected


@property_test
@given(st.lists(finite_floats, min_size=1, max_size=60), st.integers(1, 100))
def test_the_nearest_rank_is_the_smallest_value_with_the_share_at_or_under_it(
    values: list[float], percent: int
) -> None:
    found = stats.nearest_rank(values, percent / 100)
    enough = [v for v in values if 100 * sum(other <= v for other in values) >= percent * len(values)]
    assert found == min(enough)


def test_the_tiniest_share_gives_the_smallest_value() -> None:
    assert stats.nearest_rank([1.0, 2.0, 3.0], 1e-12) == 1.0


@pytest.mark.parametrize(("values", "share"), [([], 0.5), ([1.0], 0.0), ([1.0], 1.1), ([1.0], math.nan)])
def test_the_nearest_rank_refuses_no_value_and_an_impossible_share(values: list[float], share: float) -> None:
    with pytest.raises(ValueError, match=r"nearest_rank|share"):
        stats.nearest_rank(values, share)


# --- bootstrap


def test_the_bootstrap_covers_a_difference_of_means() -> None:
    rng = np.random.default_rng(11)
    covered = 0
    for seed in range(300):
        first, second = rng.normal(0.8, 0.1, 40), rng.normal(0.1, 0.2, 50)
        low, high = stats.bootstrap_interval(stats.mean_difference, first, second, seed=seed, resamples=800)
        assert low is not None
        assert high is not None
        covered += low <= 0.7 <= high
    # Nominal 95 %; a percentile bootstrap of 40 values loses a point or two, and so do 300 repetitions.
    assert 0.90 <= covered / 300 <= 0.99


def test_the_same_seed_gives_the_same_bootstrap_and_another_seed_another() -> None:
    rng = np.random.default_rng(3)
    first, second = rng.normal(size=30), rng.normal(size=20)

    def interval(seed: int) -> stats.Interval:
        return stats.bootstrap_interval(stats.mean_difference, first, second, seed=seed)

    assert interval(5) == interval(5)
    assert interval(5) != interval(6)


def test_a_bootstrap_of_an_empty_sample_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        stats.bootstrap_interval(stats.mean_difference, np.asarray([]), np.ones(3), seed=1)
    with pytest.raises(ValueError, match="at least one"):
        stats.bootstrap_interval(stats.mean_difference, np.ones(3), np.asarray([]), seed=1)


def test_the_difference_of_means_is_taken_row_by_row() -> None:
    first, second = np.asarray([[1.0, 3.0], [5.0, 5.0]]), np.asarray([[1.0, 1.0, 1.0], [0.0, 3.0, 0.0]])
    assert stats.mean_difference(first, second).tolist() == [1.0, 4.0]


# --- AUC

tied = st.lists(st.integers(0, 6).map(float), min_size=1, max_size=25)


@property_test
@given(tied, tied)
def test_the_auc_counts_every_pair_and_half_of_every_tie(
    positive: list[float], negative: list[float]
) -> None:
    wins = sum((p > n) + 0.5 * (p == n) for p in positive for n in negative)
    assert stats.auc(positive, negative) == pytest.approx(wins / (len(positive) * len(negative)), rel=1e-12)


@property_test
@given(tied, tied)
def test_the_auc_is_the_mann_whitney_statistic(positive: list[float], negative: list[float]) -> None:
    with np.errstate(all="ignore"):
        u = float(mannwhitneyu(positive, negative, method="exact").statistic)
    assert stats.auc(positive, negative) == pytest.approx(u / (len(positive) * len(negative)), rel=1e-12)


@property_test
@given(tied, tied)
def test_the_auc_of_exchanged_samples_is_the_complement(positive: list[float], negative: list[float]) -> None:
    assert stats.auc(negative, positive) == pytest.approx(1 - stats.auc(positive, negative), abs=1e-12)


def test_the_auc_of_the_docstring_and_of_the_extremes() -> None:
    assert stats.auc([2, 3], [1, 2]) == 0.875
    assert stats.auc([2, 3], [0, 1]) == 1.0
    assert stats.auc([0, 1], [2, 3]) == 0.0


def test_the_auc_of_an_empty_sample_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        stats.auc([], [1.0])
    with pytest.raises(ValueError, match="at least one"):
        stats.auc([1.0], [])


def test_the_interval_of_a_perfect_auc_of_one_pair_is_wilsons() -> None:
    # By hand, m = n = 1: (1-θ)² = z² θ (1-θ) has the root 1 / (1 + z²) = 1 / 4.8415.
    assert stats.auc_interval(1.0, 1, 1) == pytest.approx((0.206549, 1.0), abs=1e-6)
    assert stats.auc_interval(0.0, 1, 1) == pytest.approx((0.0, 0.793451), abs=1e-6)


@property_test
@given(st.integers(1, 200), st.integers(1, 200), st.data())
def test_the_interval_of_an_auc_holds_it_and_has_width(m: int, n: int, data: st.DataObject) -> None:
    value = data.draw(st.integers(0, 2 * m * n)) / (2 * m * n)
    low, high = stats.auc_interval(value, m, n)
    assert low is not None
    assert high is not None
    assert 0.0 <= low <= value <= high <= 1.0
    assert high - low > 0.001


@pytest.mark.parametrize(("value", "m", "n"), [(0.9, 40, 60), (0.5, 10, 10), (0.995, 300, 200), (0.1, 7, 90)])
def test_both_ends_of_an_auc_interval_solve_newcombes_equation(value: float, m: int, n: int) -> None:
    for theta in stats.auc_interval(value, m, n):
        assert theta is not None
        half = (m + n) / 2 - 1
        variance = theta * (1 - theta) / (m * n)
        variance *= 1 + half * ((1 - theta) / (2 - theta) + theta / (1 + theta))
        assert abs(value - theta) == pytest.approx(1.959964 * math.sqrt(variance), rel=1e-5)


@pytest.mark.parametrize("truth", [0.75, 0.95])
def test_the_interval_of_an_auc_covers_the_true_one(truth: float) -> None:
    """Two unit normals, their means √2 · Φ⁻¹(AUC) apart."""
    rng = np.random.default_rng(17)
    shift = math.sqrt(2) * float(norm.ppf(truth))
    covered = 0
    for _ in range(500):
        positive, negative = rng.normal(shift, 1, 50), rng.normal(0, 1, 60)
        low, high = stats.auc_interval(stats.auc(positive, negative), 50, 60)
        assert low is not None
        assert high is not None
        covered += low <= truth <= high
    assert covered / 500 >= 0.92


@pytest.mark.parametrize(
    ("value", "m", "n"), [(-0.1, 5, 5), (1.1, 5, 5), (math.nan, 5, 5), (0.5, 0, 5), (0.5, 5, 0)]
)
def test_an_impossible_auc_has_no_interval(value: float, m: int, n: int) -> None:
    with pytest.raises(ValueError, match="no interval"):
        stats.auc_interval(value, m, n)


# --- means of bounded values

tenths = st.lists(st.integers(0, 10).map(lambda tenth: tenth / 10), min_size=1, max_size=120)


@pytest.mark.parametrize("n", [1, 10, 200])
def test_all_ones_leave_room_below_and_all_zeros_above(n: int) -> None:
    assert stats.bounded_mean_interval([1.0] * n) == pytest.approx((0.025 ** (1 / n), 1.0), rel=1e-9)
    assert stats.bounded_mean_interval([0.0] * n) == pytest.approx((0.0, 1 - 0.025 ** (1 / n)), rel=1e-9)


@property_test
@given(tenths)
def test_the_interval_of_a_bounded_mean_holds_it_inside_hoeffdings(values: list[float]) -> None:
    low, high = stats.bounded_mean_interval(values)
    assert low is not None
    assert high is not None
    mean = sum(values) / len(values)
    # Pinsker's inequality: the Chernoff bound lies inside Hoeffding's simpler one.
    width = math.sqrt(math.log(40) / (2 * len(values)))
    assert max(0.0, mean - width) - 1e-9 <= low <= mean + 1e-9
    assert mean - 1e-9 <= high <= min(1.0, mean + width) + 1e-9
    assert high - low > 0.001


@pytest.mark.parametrize("n", [1, 20, 200, 5_000])
def test_one_value_just_off_the_edge_has_an_interval_too(n: int) -> None:
    """One neighbour of 10·n missed, and one of 10·n shared."""
    low, high = stats.bounded_mean_interval([0.9] + [1.0] * (n - 1))
    assert low is not None
    assert high is not None
    assert 0.025 ** (1 / n) - 0.2 / n**0.5 < low < 1 - 0.1 / n <= high <= 1.0
    mirrored = stats.bounded_mean_interval([0.1] + [0.0] * (n - 1))
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=1e-9)


@property_test
@given(tenths, st.sampled_from([0.01, 0.05, 0.2]))
def test_the_interval_of_a_bounded_mean_is_the_same_from_both_sides(
    values: list[float], alpha: float
) -> None:
    low, high = stats.bounded_mean_interval(values, alpha=alpha)
    flipped = stats.bounded_mean_interval([1 - value for value in values], alpha=alpha)
    assert low is not None
    assert high is not None
    assert flipped == pytest.approx((1 - high, 1 - low), abs=1e-6)


@pytest.mark.parametrize(("share", "n"), [(0.5, 20), (0.9, 30), (0.98, 60)])
def test_the_interval_of_a_bounded_mean_covers_the_true_one(share: float, n: int) -> None:
    rng = np.random.default_rng(23)
    samples = rng.binomial(10, share, (500, n)) / 10
    intervals = [stats.bounded_mean_interval(row) for row in samples]
    covered = [low <= share <= high for low, high in intervals if low is not None and high is not None]
    assert len(covered) == 500
    assert np.mean(covered) >= 0.95


@pytest.mark.parametrize("values", [[], [1.1], [-0.1, 0.5], [0.5, math.nan]])
def test_a_mean_of_unbounded_values_has_no_interval(values: list[float]) -> None:
    with pytest.raises(ValueError, match="needs values"):
        stats.bounded_mean_interval(values)


# --- vectors


def rows(values: Sequence[Sequence[float]]) -> NDArray[np.float32]:
    """A float32 matrix."""
    return np.asarray(values, dtype=np.float32)


def test_cosines_are_taken_row_by_row_whatever_the_lengths() -> None:
    first = rows([[1, 0], [2, 0], [0, 3], [1, 1]])
    second = rows([[1, 1], [5, 0], [0, -1], [1, -1]])
    assert stats.cosines(first, second) == pytest.approx([1 / math.sqrt(2), 1.0, -1.0, 0.0], abs=1e-12)


def test_the_cosine_of_a_zero_or_infinite_row_is_nan_and_of_huge_rows_is_not() -> None:
    found = stats.cosines(rows([[0, 0], [math.inf, 1], [math.nan, 1], [3e38, 0]]), rows([[1, 0]] * 4))
    assert np.isnan(found[:3]).all()
    assert found[3] == 1.0


# --- shift between two samples


def test_the_shift_of_four_and_four_spans_all_differences() -> None:
    # Of C(8, 4) = 70 arrangements one has U = 0: 1/70 is under 2.5 %, and 2/70 is not.
    assert stats.shift_interval([1, 2, 3, 4], [11, 12, 13, 14]) == (7.0, 13.0)


@pytest.mark.parametrize(("m", "n"), [(0, 5), (5, 0), (3, 4), (1, 30), (3, 3)])
def test_too_few_values_have_no_shift_interval(m: int, n: int) -> None:
    assert stats.shift_interval(np.arange(m), np.arange(n)) == (None, None)


@property_test
@given(
    st.permutations(range(24)), st.integers(4, 20), st.integers(-12, 12), st.sampled_from([0.01, 0.05, 0.2])
)
def test_the_shift_interval_leaves_out_zero_where_the_exact_rank_sum_test_rejects(
    order: list[int], m: int, shift: int, alpha: float
) -> None:
    first, second = np.asarray(order[:m], dtype=float), np.asarray(order[m:], dtype=float) + shift + 0.5
    low, high = stats.shift_interval(first, second, alpha=alpha)
    p_value = float(mannwhitneyu(second, first, method="exact").pvalue)
    rejected = low is not None and high is not None and not low <= 0.0 <= high
    assert rejected == (p_value <= alpha)


def test_the_shift_interval_covers_the_true_shift() -> None:
    rng = np.random.default_rng(31)
    covered = 0
    for _ in range(400):
        low, high = stats.shift_interval(rng.lognormal(size=9), rng.lognormal(size=12) + 1.5)
        assert low is not None
        assert high is not None
        covered += low <= 1.5 <= high
    # Exact: at least 95 % in truth; 400 repetitions are within 2.2 points of it in 97.5 %.
    assert covered / 400 >= 0.93


def test_a_shift_of_values_that_have_no_difference_is_refused() -> None:
    for first, second in (([1.0, math.nan], [1.0]), ([1.0], [math.nan]), ([math.inf], [1.0, math.inf])):
        with pytest.raises(ValueError, match="infinite ones have none"):
            stats.shift_interval(first, second)


def test_an_end_of_a_shift_that_rests_on_a_value_known_from_one_side_is_open() -> None:
    few, many = [11.0, 12.0, 13.0, math.inf], [11.0, math.inf, math.inf, math.inf]
    assert stats.shift_interval([1, 2, 3, 4], few) == (7.0, None)
    assert stats.shift_interval([1, 2, 3, 4], many) == (7.0, None)
    assert stats.shift_interval(many, [1, 2, 3, 4]) == (None, -7.0)
    assert stats.paired_shift_interval([3.0, 1.0, 2.0, 6.0, 5.0, math.inf]) == (1.0, None)
    assert stats.paired_shift_centre([1.0, math.inf, math.inf]) == math.inf


# --- shift between paired values

# Published two-sided critical values of the signed-rank statistic at 5 %: T at most this rejects.
SIGNED_RANK_CRITICAL = {6: 0, 7: 2, 8: 3, 9: 5, 10: 8, 11: 10, 12: 13, 15: 25, 20: 52, 25: 89}


def walsh(differences: Sequence[float]) -> list[float]:
    """All averages of two differences, each with itself too, sorted."""
    return sorted((a + b) / 2 for i, a in enumerate(differences) for b in differences[i:])


@pytest.mark.parametrize(("n", "critical"), SIGNED_RANK_CRITICAL.items())
def test_the_paired_interval_is_cut_at_the_published_critical_value(n: int, critical: int) -> None:
    differences = list(np.random.default_rng(n).normal(1, 2, n))
    averages = walsh(differences)
    expected = (averages[critical], averages[-critical - 1])
    assert stats.paired_shift_interval(differences) == pytest.approx(expected, abs=1e-12)


def test_six_pairs_give_their_extremes() -> None:
    assert stats.paired_shift_interval([3.0, 1.0, 2.0, 6.0, 5.0, 4.0]) == (1.0, 6.0)


@pytest.mark.parametrize("n", range(6))
def test_too_few_pairs_have_no_interval(n: int) -> None:
    assert stats.paired_shift_interval(np.arange(float(n))) == (None, None)


@pytest.mark.parametrize(("alpha", "n"), [(0.05, 6), (0.01, 8), (0.001, 11), (0.2, 4)])
def test_a_smaller_alpha_takes_more_pairs(alpha: float, n: int) -> None:
    """Of 2^n signs one has rank sum 0: two-sided 2 / 2^n."""
    assert stats.paired_shift_interval(np.arange(n - 1.0), alpha=alpha) == (None, None)
    low, high = stats.paired_shift_interval(np.arange(float(n)), alpha=alpha)
    assert low is not None
    assert high is not None
    assert low < high


@property_test
@given(
    st.permutations([0.5 + rank for rank in range(14)]),
    st.lists(st.booleans(), min_size=14, max_size=14),
    st.integers(5, 14),
    st.sampled_from([0.01, 0.05, 0.2]),
)
def test_the_paired_interval_leaves_out_zero_where_the_exact_signed_rank_test_rejects(
    sizes: list[float], signs: list[bool], n: int, alpha: float
) -> None:
    differences = [size if sign else -size for size, sign in zip(sizes[:n], signs, strict=False)]
    low, high = stats.paired_shift_interval(differences, alpha=alpha)
    p_value = float(wilcoxon(differences, method="exact").pvalue)
    rejected = low is not None and high is not None and not low <= 0.0 <= high
    assert rejected == (p_value <= alpha)


@property_test
@given(st.lists(finite_floats, min_size=6, max_size=30), st.floats(-1e3, 1e3))
def test_the_paired_interval_moves_and_turns_with_its_differences(values: list[float], by: float) -> None:
    low, high = stats.paired_shift_interval(values)
    assert low is not None
    assert high is not None
    assert min(values) <= low <= high <= max(values)
    moved = stats.paired_shift_interval([value + by for value in values])
    assert moved == pytest.approx((low + by, high + by), abs=1e-6)
    turned = stats.paired_shift_interval([-value for value in values])
    assert turned == pytest.approx((-high, -low), abs=1e-9)


def test_tied_pairs_give_an_interval_of_one_value() -> None:
    assert stats.paired_shift_interval([0.25] * 12) == (0.25, 0.25)


@pytest.mark.parametrize("wrong", [[math.nan], [math.inf, -math.inf]])
def test_paired_differences_that_have_no_mean_are_refused(wrong: list[float]) -> None:
    with pytest.raises(ValueError, match="means"):
        stats.paired_shift_interval([1.0] * 10 + wrong)


# --- growth of a series


def test_the_growth_of_three_steps_is_students_t_by_hand() -> None:
    # Increments 1, 2, 3: mean 2, standard error 1/√3; t at 0.975 with 2 degrees of freedom is 4.302653.
    reach = 4.302653 / math.sqrt(3)
    expected = (2 - reach, 2 + reach)
    assert stats.mean_step_interval([10, 11, 13, 16], [1, 1, 1]) == pytest.approx(expected, abs=1e-6)


def test_the_growth_is_told_per_unit_of_a_step() -> None:
    # The same increments per unit: 10/10, 40/20, 15/5.
    reach = 4.302653 / math.sqrt(3)
    found = stats.mean_step_interval([0, 10, 50, 65], [10, 20, 5])
    assert found == pytest.approx((2 - reach, 2 + reach), abs=1e-6)


def test_a_smaller_alpha_widens_the_interval_of_growth() -> None:
    # t at 0.995 with 2 degrees of freedom is 9.924843.
    reach = 9.924843 / math.sqrt(3)
    found = stats.mean_step_interval([10, 11, 13, 16], [1, 1, 1], alpha=0.01)
    assert found == pytest.approx((2 - reach, 2 + reach), abs=1e-5)


def test_a_steady_growth_has_no_width() -> None:
    assert stats.mean_step_interval([5, 7, 9, 11], [2, 2, 2]) == (1.0, 1.0)
    assert stats.mean_step_interval([5, 5, 5], [100, 200]) == (0.0, 0.0)


@pytest.mark.parametrize(("values", "steps"), [([1.0], []), ([1.0, 2.0], [1.0])])
def test_under_three_values_growth_has_no_interval(values: list[float], steps: list[float]) -> None:
    assert stats.mean_step_interval(values, steps) == (None, None)


@pytest.mark.parametrize(
    ("values", "steps"),
    [
        ([], []),
        ([1.0, 2.0, 3.0], [1.0]),
        ([1.0, 2.0, 3.0], [1.0, 1.0, 1.0]),
        ([1.0, 2.0, 3.0], [1.0, 0.0]),
        ([1.0, 2.0, 3.0], [1.0, -1.0]),
        ([1.0, 2.0, 3.0], [1.0, math.nan]),
    ],
)
def test_a_series_and_steps_that_do_not_match_are_refused(values: list[float], steps: list[float]) -> None:
    with pytest.raises(ValueError, match="one step over 0 between values"):
        stats.mean_step_interval(values, steps)


@property_test
@given(st.lists(st.integers(-1000, 1000), min_size=3, max_size=30), st.integers(1, 500))
def test_growth_is_the_same_wherever_the_series_starts(values: list[int], step: int) -> None:
    steps = [step] * (len(values) - 1)
    first = stats.mean_step_interval(values, steps)
    moved = stats.mean_step_interval([value + 10**6 for value in values], steps)
    assert moved == pytest.approx(first, abs=1e-6)
    low, high = first
    assert low is not None
    assert high is not None
    mean = (values[-1] - values[0]) / (step * len(steps))
    assert low - 1e-9 <= mean <= high + 1e-9


def test_all_of_one_sample_and_none_of_another_is_likeliest_at_their_common_share() -> None:
    shares = np.linspace(0.0, 1.0, 1001)
    for n, m in ((3, 6), (3, 17), (5, 5)):
        chance = stats.all_or_none_chance(n, m)
        assert chance == pytest.approx(np.max(shares**n * (1 - shares) ** m), rel=1e-3)
        assert chance < stats.fisher_tail(n, n, 0, m), "which is conditional"
    assert stats.all_or_none_chance(3, 6) == pytest.approx(2**6 / 3**9)


def test_fishers_tail_is_the_share_of_the_tables() -> None:
    assert stats.fisher_tail(6, 17, 0, 17) == pytest.approx(math.comb(17, 6) / math.comb(34, 6))
    assert stats.fisher_tail(0, 5, 3, 9) == pytest.approx(1.0)
