"""What the gate can tell within its cap, and what launches that depend on each other do to it.

Simulated launches, each over the bound or not. Independent launches keep the promised error rate; those of
a machine that has states, or drifts, do not, which is why launches are spread, interleaved and flagged.
Run with ``make bench``.
"""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.signal import lfilter
from scipy.stats import norm

from harness.stats import log_e_value

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from pytest_benchmark.fixture import BenchmarkFixture

    Over = NDArray[np.bool_]

CAP = 40
SEQUENCES = 20_000
THRESHOLD = -math.log(0.05)
# Four standard errors of a share of 5 %.
ERROR = 4 * math.sqrt(0.05 * 0.95 / SEQUENCES)
SHARES = {
    0.8: (0.0, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0),
    0.5: (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0),
}


class Told(NamedTuple):
    """Shares of sequences that ended in each verdict, and launches until then, the cap where undecided."""

    passed: float
    failed: float
    undecided: float
    launches: float


@cache
def verdicts(quantile: float) -> NDArray[np.int64]:
    """The gate's answer [n, over], n up to the cap: 1 passes, -1 fails, 0 is undecided."""
    q = 1 - quantile
    table = np.zeros((CAP + 1, CAP + 1), dtype=np.int64)
    for n in range(1, CAP + 1):
        for k in range(n + 1):
            passes, fails = (log_e_value(k, n, q), log_e_value(n - k, n, quantile))
            table[n, k] = 1 if passes >= THRESHOLD else -1 if fails >= THRESHOLD else 0
    return table


def told(over: Over, quantile: float) -> Told:
    """The gate asked after every launch of sequences [s, cap], until it answers."""
    answers = verdicts(quantile)[np.arange(1, CAP + 1), over.cumsum(axis=1)]
    settled = answers != 0
    first = np.where(settled.any(axis=1), settled.argmax(axis=1), CAP - 1)
    last = answers[np.arange(len(answers)), first]
    shares = ((last == verdict).mean() for verdict in (1, -1, 0))
    return Told(*(float(share) for share in shares), float((first + 1).mean()))


def independent(rng: np.random.Generator, share: float) -> Over:
    """Launches over the bound independently."""
    over: Over = rng.random((SEQUENCES, CAP)) < share
    return over


def autoregressive(rng: np.random.Generator, share: float, rho: float) -> Over:
    """The highest `share` of a Gaussian AR(1) series over launches."""
    noise = rng.standard_normal((SEQUENCES, CAP))
    noise[:, 1:] *= math.sqrt(1 - rho**2)
    over: Over = lfilter([1.0], [1.0, -rho], noise, axis=1) > norm.ppf(1 - share)
    return over


def two_states(rng: np.random.Generator, share: float, dwell: float) -> Over:
    """A machine that is slow, and over the bound, for `dwell` launches on average, `share` of the time."""
    leave_slow, leave_fast = 1 / dwell, share / (1 - share) / dwell
    over = np.empty((SEQUENCES, CAP), dtype=np.bool_)
    over[:, 0] = rng.random(SEQUENCES) < share
    for i in range(1, CAP):
        leaves = rng.random(SEQUENCES) < np.where(over[:, i - 1], leave_slow, leave_fast)
        over[:, i] = over[:, i - 1] ^ leaves
    return over


def test_what_the_gate_tells_within_its_cap(benchmark: BenchmarkFixture) -> None:
    def simulate() -> dict[tuple[float, float], Told]:
        rng = np.random.default_rng(20251101)
        return {(q, share): told(independent(rng, share), q) for q in SHARES for share in SHARES[q]}

    found = benchmark.pedantic(simulate, rounds=1, iterations=1)
    print(f"\nindependent launches, cap {CAP}, {SEQUENCES} sequences each")
    for quantile, shares in SHARES.items():
        print(f"under the bound in {quantile:.0%} of launches?")
        print("  share over    PASS    FAIL  UNDECIDED  launches")
        for share in shares:
            t = found[quantile, share]
            bound = "  <- bound" if math.isclose(share, 1 - quantile) else ""
            print(
                f"  {share:10.2f}  {t.passed:5.1%}  {t.failed:6.1%}  {t.undecided:9.1%}  {t.launches:8.1f}"
                f"{bound}"
            )
            if share >= 1 - quantile - 1e-12:
                assert t.passed <= 0.05 + ERROR
            if share <= 1 - quantile + 1e-12:
                assert t.failed <= 0.05 + ERROR


def test_what_dependence_between_launches_does_to_it(benchmark: BenchmarkFixture) -> None:
    kinds: dict[str, Callable[[np.random.Generator, float], Over]] = {"independent": independent}
    for rho in (0.0, 0.2, 0.5, 0.8):
        kinds[f"AR(1) of {rho}"] = lambda rng, share, rho=rho: autoregressive(rng, share, rho)
    for dwell in (5, 20, 60):
        kinds[f"two states, slow for {dwell}"] = lambda rng, share, d=dwell: two_states(rng, share, d)

    def simulate() -> dict[tuple[str, float], Told]:
        rng = np.random.default_rng(20251102)
        return {(kind, q): told(draw(rng, 1 - q), q) for kind, draw in kinds.items() for q in SHARES}

    found = benchmark.pedantic(simulate, rounds=1, iterations=1)
    print(f"\nthe true share over the bound is at the bound; cap {CAP}, {SEQUENCES} sequences each")
    print(f"  {'launches':24}" + "".join(f"  PASS at {q:.0%}  FAIL at {q:.0%}" for q in SHARES))
    for kind in kinds:
        cells = [found[kind, q] for q in SHARES]
        print(f"  {kind:24}" + "".join(f"  {c.passed:11.1%}  {c.failed:11.1%}" for c in cells))
        if kind in ("independent", "AR(1) of 0.0"):
            assert all(max(c.passed, c.failed) <= 0.05 + ERROR for c in cells)
