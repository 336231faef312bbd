"""Pure statistics: functions of numbers, nothing read and nothing written.

The unit of evidence of a latency is the *launch* (one fresh process), because the requests inside a
launch depend on each other: 1,000 samples of one process say little about the next process.
"""

from __future__ import annotations

import bisect
import itertools
import math
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import ArrayLike, NDArray

GateVerdict = Literal["PASS", "FAIL", "UNDECIDED"]

# The sequential test and every interval hold at this error rate unless told otherwise.
ALPHA = 0.05
# Over so many values the exact distributions of rank statistics are slow, and as good as normal.
_LARGE_SAMPLE = 100
# Launches that a bound which is near to the truth may take: more tell hardly more.
_FAR = 2_000
# Answers by counts of launches that are kept: thousands of runs ask for the same few.
_COUNTS_CACHED = 65_536
# Resamples of a percentile bootstrap: its Monte-Carlo error is then below a tenth of the interval.
BOOTSTRAP_RESAMPLES = 2_000


class Interval(NamedTuple):
    """A two-sided confidence interval in the unit of its metric; None is an open end."""

    low: float | None
    high: float | None


def nearest_rank(values: ArrayLike, share: float) -> float:
    """The smallest value with at least `share` of all values at or under it.

    The nearest-rank percentile: always a value that was observed, never interpolated.
    ``nearest_rank(range(1, 101), 0.95)`` is 95.

    Raises:
        ValueError: `values` is empty or `share` is outside (0, 1].
    """
    ordered = np.sort(np.asarray(values, dtype=np.float64), axis=None)
    if ordered.size == 0:
        raise ValueError("nearest_rank needs at least one value")
    if not 0.0 < share <= 1.0:
        raise ValueError(f"share must lie in (0, 1], not {share}")
    # The subtraction keeps 0.95 * 100 = 95.00000000000001 from becoming rank 96.
    return float(ordered[max(math.ceil(share * ordered.size - 1e-9), 1) - 1])


@lru_cache(maxsize=2**16)  # asked again and again of the same few counts
def log_e_value(k: int, n: int, q: float) -> float:
    """Natural logarithm of the evidence that the true share of launches over a bound is below `q`.

    With `k` of `n` launches at or over the bound, the mixture e-value against "the true share is at
    least q", its prior Beta(½, ½) truncated to [0, q]:

        E(k, n, q) = B(k+½, n-k+½) · I_q(k+½, n-k+½) / [ B(½, ½) · I_q(½, ½) · q^k · (1-q)^(n-k) ]

    I_q is the regularised incomplete beta function. E is a nonnegative supermartingale with mean at
    most 1 under the hypothesis, so that by Ville's inequality P(E ever reaches 1/α) ≤ α, however
    often one looks (Robbins 1970, Ann. Math. Stat. 41:1397; Ramdas et al. 2023, Stat. Sci. 38:576).
    Computed in logarithms: the plain formula overflows from n of about 1,100.

    Example: E(0, 6, ½) = 28.8, over 1/0.05 = 20: six clean launches pass a gate on the median launch.

    Raises:
        ValueError: not 0 ≤ k ≤ n, or q outside (0, 1).
    """
    from scipy.special import betainc, betaln

    if not 0 <= k <= n:
        raise ValueError(f"need 0 <= k <= n, not k={k}, n={n}")
    if not 0.0 < q < 1.0:
        raise ValueError(f"q must lie in (0, 1), not {q}")
    inside = float(betainc(k + 0.5, n - k + 0.5, q))
    if inside == 0.0:  # k/n is so far above q that the posterior mass under q underflows: no evidence
        return -math.inf
    return float(
        betaln(k + 0.5, n - k + 0.5)
        + math.log(inside)
        - betaln(0.5, 0.5)
        - math.log(betainc(0.5, 0.5, q))
        - k * math.log(q)
        - (n - k) * math.log1p(-q)
    )


@lru_cache(maxsize=_COUNTS_CACHED)
def _passes(k: int, n: int, q: float, alpha: float) -> bool:
    return log_e_value(k, n, q) >= -math.log(alpha)


def gate_verdict(
    launch_values: Sequence[float] | NDArray[np.float64],
    bound: float,
    *,
    launch_quantile: float = 0.8,
    alpha: float = ALPHA,
) -> GateVerdict:
    """Is a launch's value under `bound` in at least `launch_quantile` of launches?

    Anytime-valid: it may be asked after every launch, and P(PASS ever | the true share of launches
    at or over the bound is 1 - launch_quantile or more) ≤ alpha, for independent launches.

    Args:
        launch_values: one value a launch (its P95 in ms, say), any order, the whole current set; a
            failed launch is ``+inf``.
        bound: in the unit of the values; a value equal to it counts as over.
        launch_quantile: the share of launches that must lie under the bound, in (0, 1).
        alpha: the error rate, over all looks together.

    Returns:
        ``"PASS"``, ``"FAIL"``, or ``"UNDECIDED"`` (always, where there is no launch).

    Raises:
        ValueError: a value is NaN, or a parameter is out of range.
    """
    values = np.asarray(launch_values, dtype=np.float64)
    if np.isnan(values).any():
        raise ValueError("a launch value is NaN: a failed launch is +inf, an unknown one is left out")
    if math.isnan(bound):
        raise ValueError("the bound is NaN")
    if not (0.0 < alpha < 1.0 and 0.0 < launch_quantile < 1.0):
        raise ValueError(f"alpha={alpha} and launch_quantile={launch_quantile} must lie in (0, 1)")
    over = int(np.count_nonzero(values >= bound))
    return count_verdict(over, values.size, launch_quantile=launch_quantile, alpha=alpha)


def count_verdict(over: int, n: int, *, launch_quantile: float, alpha: float = ALPHA) -> GateVerdict:
    """`gate_verdict` of `n` launches of which `over` lie at or over the bound."""
    q = 1.0 - launch_quantile
    if n and _passes(over, n, q, alpha):
        return "PASS"
    if n and _passes(n - over, n, 1.0 - q, alpha):
        return "FAIL"
    return "UNDECIDED"


def launch_interval(
    launch_values: Sequence[float] | NDArray[np.float64],
    *,
    launch_quantile: float = 0.5,
    alpha: float = ALPHA,
    stopped_over: float = math.inf,
) -> Interval:
    """The interval of the `launch_quantile` quantile of launches: `gate_verdict` inverted.

    It never contradicts the verdict: the gate at bound b passes exactly when ``high < b`` and fails
    exactly when ``low >= b``. An end is None where the launches are too few for it (under 6 at the
    median), and where it would be an infinite value (a failed launch).

    Values at or over `stopped_over`, no less than b, are of launches that were stopped early over that: no
    more is known of them, so that a lower end there is that, and an upper end None.

    Raises:
        ValueError: a value is NaN.
    """
    ordered = np.sort(np.asarray(launch_values, dtype=np.float64))
    if np.isnan(ordered).any():
        raise ValueError("a launch value is NaN")
    n = ordered.size
    q = 1.0 - launch_quantile
    most_over = _largest_passing(n, q, alpha)
    most_under = _largest_passing(n, 1.0 - q, alpha)
    high = None if most_over is None else float(ordered[n - most_over - 1])
    low = None if most_under is None else min(float(ordered[most_under]), stopped_over)
    return Interval(
        low if low is not None and math.isfinite(low) else None,
        high if high is not None and high < stopped_over else None,
    )


@lru_cache(maxsize=_COUNTS_CACHED)
def _largest_passing(n: int, q: float, alpha: float) -> int | None:
    """The largest k with E(k, n, q) ≥ 1/α, or None; E falls as k grows."""
    largest = None
    for k in range(n):
        if not _passes(k, n, q, alpha):
            break
        largest = k
    return largest


@lru_cache(maxsize=_COUNTS_CACHED)
def launches_to_pass(launch_quantile: float, *, alpha: float = ALPHA) -> int:
    """How many launches, all under the bound, a PASS takes: 6 at 0.5, 17 at 0.8, 36 at 0.9.

    Over 100,000 where that many would not do.
    """
    most = 100_000
    found = _first_settled(0, 0, launch_quantile, alpha, most=most)
    return most + 1 if found is None else found


def launches_to_settle(
    over: int, n: int, *, launch_quantile: float, alpha: float = ALPHA, most: int | None = None
) -> int | None:
    """How many *more* launches would settle the gate if the share over the bound stays as seen.

    Args:
        over: launches at or over the bound.
        n: launches.
        launch_quantile: the share of launches that must lie under the bound.
        alpha: the error rate.
        most: launches in all that are looked at; None is `launches_at_most`.

    Returns:
        A count, 0 where it is settled already, or None where `most` launches would not do: the
        truth then lies too near the bound to be told.
    """
    most = launches_at_most(launch_quantile, alpha=alpha) if most is None else most
    total = _first_settled(over, n, launch_quantile, alpha, most=most)
    return None if total is None else total - n


def launches_at_most(launch_quantile: float, *, alpha: float = ALPHA) -> int:
    """Launches beyond which nobody is sent: 2,000, or what a PASS takes where that is more."""
    return max(_FAR, launches_to_pass(launch_quantile, alpha=alpha))


@lru_cache(maxsize=_COUNTS_CACHED)
def _first_settled(over: int, n: int, quantile: float, alpha: float, *, most: int) -> int | None:
    q = 1.0 - quantile
    share = over / n if n else 0.0
    for total in range(max(n, 1), most + 1):
        k = max(over, round(share * total))
        if _passes(k, total, q, alpha) or _passes(total - k, total, 1.0 - q, alpha):
            return total
    return None


def bootstrap_interval(
    statistic: Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]],
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    *,
    seed: int,
    alpha: float = ALPHA,
    resamples: int = BOOTSTRAP_RESAMPLES,
) -> Interval:
    """Percentile bootstrap of a statistic of two independent samples (Efron & Tibshirani 1993, §13).

    Args:
        statistic: maps resampled rows [resamples, n_first] and [resamples, n_second] to [resamples].
        first: values [n_first].
        second: values [n_second].
        seed: of the resampling; the same seed gives the same interval.
        alpha: 1 - the confidence level.
        resamples: how many.

    Raises:
        ValueError: a sample is empty.
    """
    if first.size == 0 or second.size == 0:
        raise ValueError("a bootstrap needs at least one value in each sample")
    rng = np.random.default_rng(seed)
    rows_first = first[rng.integers(0, first.size, (resamples, first.size))]
    rows_second = second[rng.integers(0, second.size, (resamples, second.size))]
    low, high = np.quantile(statistic(rows_first, rows_second), [alpha / 2, 1 - alpha / 2])
    return Interval(float(low), float(high))


def auc(positive: ArrayLike, negative: ArrayLike) -> float:
    """The probability that a positive value exceeds a negative one, ties counting half.

    The Mann-Whitney statistic over n·m: 1 is perfect separation, ½ is none.
    ``auc([2, 3], [1, 2])`` is 3.5 / 4 = 0.875.

    Raises:
        ValueError: a sample is empty.
    """
    high = np.asarray(positive, dtype=np.float64)
    low = np.sort(np.asarray(negative, dtype=np.float64))
    if high.size == 0 or low.size == 0:
        raise ValueError("auc needs at least one value in each sample")
    below = np.searchsorted(low, high, side="left")
    at_or_below = np.searchsorted(low, high, side="right")
    return float((below + at_or_below).sum() / (2.0 * high.size * low.size))


def auc_interval(value: float, n_positive: int, n_negative: int, *, alpha: float = ALPHA) -> Interval:
    """Interval of an AUC by Newcombe's score method, which stays honest at 0 and 1.

    Solves |A - θ| = z · √V(θ) for θ, with N = (m + n) / 2 and

        V(θ) = θ (1-θ) [ 1 + (N-1) ( (1-θ)/(2-θ) + θ/(1+θ) ) ] / (m n)

    (Newcombe 2006, Stat. Med. 25:559-573, method 5). A bootstrap of a perfect AUC has no width.

    Raises:
        ValueError: `value` outside [0, 1] or a sample is empty.
    """
    from scipy.special import ndtri

    if not 0.0 <= value <= 1.0 or n_positive < 1 or n_negative < 1:
        raise ValueError(f"no interval for AUC {value} of {n_positive} and {n_negative} values")
    z = float(ndtri(1 - alpha / 2))
    middle = (n_positive + n_negative) / 2

    def distance(theta: float) -> float:
        spread = (1 - theta) / (2 - theta) + theta / (1 + theta)
        variance = theta * (1 - theta) * (1 + (middle - 1) * spread) / (n_positive * n_negative)
        return abs(value - theta) - z * math.sqrt(variance)

    low = 0.0 if value == 0.0 else _root(distance, 0.0, value)
    high = 1.0 if value == 1.0 else _root(distance, 1.0, value)
    return Interval(low, high)


def spearman(first: ArrayLike, second: ArrayLike) -> float:
    """Spearman's rank correlation: Pearson's of the ranks, ties taking the mean of their ranks.

    ``spearman([1, 2, 3, 4], [1, 3, 2, 4])`` is 0.8. NaN where one side is all the same value.

    Raises:
        ValueError: different sizes, under two values, or one that is not finite.
    """
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if a.shape != b.shape or a.size < 2 or not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError(f"spearman needs two finite samples of one size: {a.size} and {b.size} values")
    a, b = (ranks - ranks.mean() for ranks in (_mean_ranks(a), _mean_ranks(b)))
    with np.errstate(invalid="ignore"):
        return float(np.clip((a @ b) / np.sqrt((a @ a) * (b @ b)), -1.0, 1.0))


def _mean_ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: NDArray[np.float64] = (np.cumsum(counts) - (counts - 1) / 2)[places]
    return ranks


def spearman_interval(rho: float, n: int, *, alpha: float = ALPHA) -> Interval:
    """Interval of a Spearman correlation of `n` pairs, by Fisher's z with Bonett & Wright's variance.

        tanh( artanh(ρ) ± z · √( (1 + ρ²/2) / (n - 3) ) )

    (Bonett & Wright 2000, Psychometrika 65:23-28). ρ = 0.86716 of 1,500 pairs gives 0.852 to
    0.881. Both ends are None where it says nothing: under four pairs, and at ρ of 1 or -1.

    Raises:
        ValueError: `rho` outside [-1, 1].
    """
    from scipy.special import ndtri

    if not -1.0 <= rho <= 1.0:
        raise ValueError(f"no interval for a correlation of {rho}")
    if n < 4 or abs(rho) == 1.0:
        return Interval(None, None)
    reach = float(ndtri(1 - alpha / 2)) * math.sqrt((1 + rho**2 / 2) / (n - 3))
    return Interval(math.tanh(math.atanh(rho) - reach), math.tanh(math.atanh(rho) + reach))


def bounded_mean_interval(values: ArrayLike, *, alpha: float = ALPHA) -> Interval:
    """Interval of the mean of values in [0, 1], valid at any sample size and never without width.

    The Chernoff-Hoeffding bound: n · KL(mean ‖ μ) ≤ ln(2/α), KL that of two Bernoulli variables
    (Hoeffding 1963, J. Am. Stat. Assoc. 58:13-30, theorem 1). All ones give low = (α/2)^(1/n), where
    a bootstrap would give 1.

    Raises:
        ValueError: no value, or one outside [0, 1].
    """
    sample = np.asarray(values, dtype=np.float64)
    if sample.size == 0 or not (sample.min() >= 0.0 and sample.max() <= 1.0):
        raise ValueError("bounded_mean_interval needs values in [0, 1]")
    mean = float(sample.mean())
    budget = math.log(2.0 / alpha) / sample.size

    def excess(mu: float) -> float:
        kl = 0.0
        if mean > 0.0:
            kl += mean * math.log(mean / mu)
        if mean < 1.0:
            kl += (1 - mean) * math.log((1 - mean) / (1 - mu))
        return kl - budget

    edge = 1e-12
    # A root nearer to 0 or 1 than the edge is taken to be there.
    low = 0.0 if mean <= edge or excess(edge) <= 0 else _root(excess, edge, mean)
    top = 1.0 - edge
    high = 1.0 if mean >= top or excess(top) <= 0 else _root(excess, top, mean)
    return Interval(low, high)


def _root(function: Callable[[float], float], positive: float, negative: float) -> float:
    """Where a function crosses 0 between two points, by bisection to the last bit that matters.

    Args:
        function: positive (or 0) at `positive`, negative at `negative`; monotone between them.
        positive: one end.
        negative: the other end, on either side.
    """
    for _ in range(60):
        middle = (positive + negative) / 2
        if function(middle) >= 0:
            positive = middle
        else:
            negative = middle
    return (positive + negative) / 2


def mean_difference(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Row means of `first` [r, n] minus row means of `second` [r, m]: [r]."""
    difference: NDArray[np.float64] = first.mean(axis=1) - second.mean(axis=1)
    return difference


def standardized_difference(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far row means of `first` [r, n] lie above those of `second` [r, m], in deviations: Cohen's d, [r].

    (m₁ - m₂) / s, s² = ((n-1) s₁² + (m-1) s₂²) / (n + m - 2). No change of scale or origin changes it: of
    [2, 4] and [0, 2] it is 2 / √2 = 1.414. Not finite under three values together, or where none differs from
    its mean. Its large-sample interval (Hedges & Olkin 1985, Statistical Methods for Meta-Analysis, p. 86)
    is for normal values: on cosines of pairs, which are skewed, it held the truth in 88 % of samples of 100
    and 100 where `bootstrap_interval` held it in 94 %.
    """
    n, m = first.shape[1], second.shape[1]
    with np.errstate(invalid="ignore", divide="ignore"):
        spread = np.sqrt((n * first.var(axis=1) + m * second.var(axis=1)) / np.float64(n + m - 2))
        difference: NDArray[np.float64] = mean_difference(first, second) / spread
    return difference


def cosines(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float64]:
    """Row-wise cosine of two matrices [n, dim]: [n]; NaN where a row is zero or not finite."""
    a, b = first.astype(np.float64), second.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        cosine: NDArray[np.float64] = (a * b).sum(axis=1) / (
            np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
        )
    return cosine


def shift_interval(first: ArrayLike, second: ArrayLike, *, alpha: float = ALPHA) -> Interval:
    """Interval of how far `second` lies above `first`: Hodges-Lehmann's, from the exact rank-sum test.

    The differences second - first of all pairs are sorted, D₍₁₎ … D₍ₘₙ₎; with c the largest count for
    which P(U ≤ c) ≤ α/2 under equality, the interval is [D₍c+1₎, D₍mn-c₎] (Hollander, Wolfe & Chicken
    2014, Nonparametric Statistical Methods, §4.3). Distribution-free for a shift. An end is None
    where the samples are too few for it (under 4 and 4 at 0.05). Over 100 values together, c comes from
    the normal approximation of U. An infinite value is one that is known from one side alone: an end that
    rests on it is None.

    Raises:
        ValueError: a difference is no number: NaN, or of two infinite values.
    """
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    with np.errstate(invalid="ignore"):
        return differences_interval(b[:, None] - a[None, :], alpha=alpha)


def differences_interval(differences: ArrayLike, *, alpha: float = ALPHA) -> Interval:
    """As `shift_interval`, of the differences of all pairs [n_second, n_first] themselves.

    Raises:
        ValueError: one is NaN.
    """
    between = np.asarray(differences, dtype=np.float64)
    if np.isnan(between).any():
        raise ValueError("shift_interval needs values with differences, NaN and two infinite ones have none")
    if between.size == 0:
        return Interval(None, None)
    n, m = between.shape
    return _cut_at(np.sort(between, axis=None), shift_cut(m, n, alpha=alpha))


def shift_cut(n_first: int, n_second: int, *, alpha: float = ALPHA) -> int:
    """How many differences lie beyond each end of `shift_interval`; -1 where samples are too few for one."""
    m, n = n_first, n_second
    if m + n > _LARGE_SAMPLE:
        return _normal_cut(m * n / 2, math.sqrt(m * n * (m + n + 1) / 12), alpha)
    return _exact_cut(_rank_sum_counts(m, n), alpha)


def shift_centre(first: ArrayLike, second: ArrayLike) -> float:
    """How far `second` lies above `first`: the median of all differences, within `shift_interval`."""
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    return float(np.median(b[:, None] - a[None, :]))


def paired_shift_interval(differences: ArrayLike, *, alpha: float = ALPHA) -> Interval:
    """Interval of the centre of paired differences: Hodges & Lehmann's, exact.

    The Walsh averages (dᵢ + dⱼ) / 2, cut at the exact distribution of Wilcoxon's signed-rank statistic
    (Hollander & Wolfe 1999, §3.3); for differences that are independent and symmetric about their
    centre. Both ends are None where the pairs are too few for it (under 6 at 0.05). Over 100 pairs, the
    cut comes from the normal approximation. Infinite values as in `shift_interval`.

    Raises:
        ValueError: a value is NaN, or some are infinite upwards and some downwards.
    """
    d = np.asarray(differences, dtype=np.float64)
    if np.isnan(d).any() or {-math.inf, math.inf} <= set(d.tolist()):
        raise ValueError(
            "paired_shift_interval needs values with means, NaN and opposite infinities have none"
        )
    if d.size == 0:
        return Interval(None, None)
    n = d.size
    if n > _LARGE_SAMPLE:
        cut = _normal_cut(n * (n + 1) / 4, math.sqrt(n * (n + 1) * (2 * n + 1) / 24), alpha)
    else:
        cut = _exact_cut(_signed_rank_counts(n), alpha)
    return _cut_at(np.sort(_walsh_averages(d)), cut)


def paired_shift_centre(differences: ArrayLike) -> float:
    """The centre of paired differences: the median Walsh average, within `paired_shift_interval`."""
    return float(np.median(_walsh_averages(np.asarray(differences, dtype=np.float64))))


def _walsh_averages(d: NDArray[np.float64]) -> NDArray[np.float64]:
    averages: NDArray[np.float64] = ((d[:, None] + d[None, :]) / 2)[np.triu_indices(d.size)]
    return averages


def _exact_cut(counts: list[int], alpha: float) -> int:
    """The largest c with P(statistic ≤ c) ≤ α/2, from how many arrangements give each value; -1 for none."""
    ways = sum(counts)
    tail = [total / ways for total in itertools.accumulate(counts)]
    return bisect.bisect_right(tail, alpha / 2) - 1


def _normal_cut(mean: float, deviation: float, alpha: float) -> int:
    from scipy.special import ndtri

    return math.floor(mean + float(ndtri(alpha / 2)) * deviation - 0.5)


def _cut_at(ordered: NDArray[np.float64], cut: int) -> Interval:
    if cut < 0:
        return Interval(None, None)
    low, high = (float(ordered[position]) for position in (cut, ordered.size - cut - 1))
    return Interval(low if math.isfinite(low) else None, high if math.isfinite(high) else None)


def fisher_tail(k: int, n: int, other_k: int, other_n: int) -> float:
    """How probable it is that so many or more of all events fall on a sample, where both samples are alike.

    Fisher's exact test, one-sided: of `k + other_k` events among `n + other_n`, at least `k` among `n`.
    Six of 17 against none of 17 give C(17, 6) / C(34, 6) = 0.0092.
    """
    events = k + other_k
    ways = sum(math.comb(n, j) * math.comb(other_n, events - j) for j in range(k, min(n, events) + 1))
    return ways / math.comb(n + other_n, events)


def all_or_none_chance(n: int, other_n: int) -> float:
    """How probable it is at most that all of a sample are events and none of another, where both are alike.

    With events of share p it is pⁿ (1 - p)ᵐ, the most at p = n / (n + m): 3 of 3 and none of 6 give
    (1/3)³ (2/3)⁶ = 0.0033. It is Barnard's unconditional test (1945) at its extreme table; Fisher's says
    1 / C(n + m, n) = 0.0119 of the same.
    """
    p = n / (n + other_n)
    return float(p**n * (1 - p) ** other_n)


def mean_step_interval(values: ArrayLike, steps: ArrayLike, *, alpha: float = ALPHA) -> Interval:
    """Interval of the growth of a series per unit: Student's t on its increments.

    With values v₀ … vₘ and sizes s₁ … sₘ, the increments (vᵢ - vᵢ₋₁) / sᵢ have the growth as their mean.
    Exact for a random walk with drift, and wider than need be where noise comes and goes about a line,
    since neighbouring increments then cancel each other. Both ends are None under three values.

    Args:
        values: the series [m + 1].
        steps: how much lies between each value and the one before [m], over 0.
        alpha: 1 - the confidence level.

    Raises:
        ValueError: the sizes do not match, a value is not finite, or a step is not over 0.
    """
    series, sizes = np.asarray(values, dtype=np.float64), np.asarray(steps, dtype=np.float64)
    if not np.isfinite(series).all():
        raise ValueError("mean_step_interval needs finite values")
    if series.size != sizes.size + 1 or not (sizes > 0).all():
        raise ValueError(f"need one step over 0 between values: {series.size} values, {sizes.size} steps")
    return _t_interval(np.diff(series) / sizes, alpha)


def mean_interval(values: ArrayLike, *, alpha: float = ALPHA) -> Interval:
    """Interval of the mean of independent values, by Student's t.

    Both ends are None where it says nothing: under two values, or all the same.

    Raises:
        ValueError: a value is not finite.
    """
    sample = np.asarray(values, dtype=np.float64)
    if not np.isfinite(sample).all():
        raise ValueError("mean_interval needs finite values")
    return Interval(None, None) if np.unique(sample).size < 2 else _t_interval(sample, alpha)


def _t_interval(sample: NDArray[np.float64], alpha: float) -> Interval:
    from scipy.special import stdtrit

    if sample.size < 2:
        return Interval(None, None)
    mean, error = sample.mean(), sample.std(ddof=1) / math.sqrt(sample.size)
    reach = float(stdtrit(sample.size - 1, 1 - alpha / 2)) * error
    return Interval(float(mean - reach), float(mean + reach))


@lru_cache(maxsize=16)  # large ones are slow, and each metric of a pair of runs asks for the same
def _signed_rank_counts(n: int) -> list[int]:
    """How many of the 2^n signs give each sum of positive ranks 0 … n(n+1)/2."""
    counts = [1] + [0] * (n * (n + 1) // 2)
    for rank in range(1, n + 1):
        for total in range(len(counts) - 1, rank - 1, -1):
            counts[total] += counts[total - rank]
    return counts


@lru_cache(maxsize=16)
def _rank_sum_counts(m: int, n: int) -> list[int]:
    """How many of the C(m+n, m) arrangements give each U = 0 … mn: the Gaussian binomial's coefficients."""
    counts = [1] + [0] * (m * n)
    for i in range(1, m + 1):
        # Multiply by (1 - x^(n+i)) and divide by (1 - x^i), in place.
        for u in range(m * n, n + i - 1, -1):
            counts[u] -= counts[u - n - i]
        for u in range(i, m * n + 1):
            counts[u] += counts[u - i]
    return counts
