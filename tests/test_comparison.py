"""What changed, and what only looks so: error rates by simulation, pairing, and what is never compared."""

from __future__ import annotations

import json
import math
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import stats
from harness.comparison import Comparison, compare_runs
from harness.errors import BadInputError
from harness.pairing import pair_runs, without_counterpart
from harness.record import SCHEMA_VERSION
from tests.conftest import STARTED, launch_row, run_row

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

property_test = settings(deadline=None, max_examples=60, derandomize=True)


def launches(run_id: str, values: Sequence[float], **changes: Any) -> list[dict[str, Any]]:
    """A run's launches, one a round of one sweep; P50 is a third of the P95."""
    return [
        launch_row(i, run_id=run_id, total_ns=[])
        | ({"status": "failed"} if math.isinf(ms) else {"p50_ms": ms / 3, "p95_ms": ms})
        | changes
        for i, ms in enumerate(values)
    ]


def compared(
    a: Sequence[dict[str, Any]], b: Sequence[dict[str, Any]], **options: Any
) -> tuple[Comparison, Comparison]:
    """The comparison of the runs `a` and `b`, whose launches are these: P50, P95."""
    runs = [[run_row(run_id) for run_id in dict.fromkeys(row["run_id"] for row in side)] for side in (a, b)]
    p50, p95 = compare_runs(*runs, (pd.DataFrame(list(a)), pd.DataFrame(list(b))), **options)
    return p50, p95


def two(a: Sequence[float], b: Sequence[float], *, paired: bool = False, **options: Any) -> Comparison:
    """The P95s of two runs, in the same rounds or in sweeps of their own."""
    sweep = {} if paired else {"sweep_id": "s2"}
    return compared(launches("a", a), launches("b", b, **sweep), **options)[1]


# --- what a change is


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize(
    ("factor", "change", "slower"),
    [
        (1.2, "changed", True),
        (0.8, "changed", False),
        (1.0, "unchanged", False),
        (1.04, "unchanged", False),
        (0.96, "unchanged", False),
        (1.06, "changed", True),
        (1 / 1.06, "changed", False),
    ],
)
def test_a_ratio_is_held_against_the_threshold(
    factor: float, change: str, slower: bool, paired: bool
) -> None:
    a = [12.0 + i / 1000 for i in range(20)]
    found = two(a, [ms * factor for ms in a], paired=paired)
    assert (found.change, found.slower, found.paired) == (change, slower, paired)
    assert found.ratio == pytest.approx(factor)
    assert found.b_ms == pytest.approx(factor * 12.0095)
    assert found.low is not None
    assert found.high is not None
    assert found.low - 1e-9 <= factor <= found.high + 1e-9


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize("spread", [[0.7, 1.3], [1.0, 1.12], [0.88, 1.0]])
def test_an_interval_that_holds_an_edge_is_inconclusive(spread: list[float], paired: bool) -> None:
    b = [12.0 * spread[i % 2] for i in range(20)]
    assert two([12.0] * 20, b, paired=paired).change == "inconclusive"


@pytest.mark.parametrize(
    ("factor", "threshold", "change"),
    [(1.15, 0.05, "changed"), (1.15, 0.2, "unchanged"), (1.19, 0.2, "unchanged"),
     (1 / 1.19, 0.2, "unchanged"),
     (1.21, 0.2, "changed"), (1 / 1.21, 0.2, "changed"), (1.01, 0.005, "changed")],
)  # fmt: skip
def test_the_threshold_is_a_ratio_and_reaches_as_far_down_as_up(
    factor: float, threshold: float, change: str
) -> None:
    assert two([12.0] * 20, [12.0 * factor] * 20, threshold=threshold).change == change


@property_test
@given(
    st.lists(st.sampled_from([9.0, 10.0, 12.0, 20.0]), min_size=6, max_size=14),
    st.lists(st.sampled_from([9.0, 10.0, 12.0, 20.0]), min_size=6, max_size=14),
    st.booleans(),
)
def test_a_and_b_exchanged_give_the_mirrored_answer(a: list[float], b: list[float], paired: bool) -> None:
    there, back = two(a, b, paired=paired), two(b, a, paired=paired)
    assert there.change == back.change
    assert there.paired == back.paired
    for first, second in ((there.low, back.high), (there.high, back.low)):
        assert (first is None) == (second is None)
        assert first is None or second is None or first == pytest.approx(1 / second)
    if there.change == "changed":
        assert there.slower != back.slower


def test_a_b_that_is_slower_by_the_interval_is_slower_whatever_the_medians_say() -> None:
    """In most rounds nothing changed, in the others B takes half as long again and more."""
    b = [12.0] * 62 + [40.0] * 58
    found = two([12.0] * 120, b, paired=True)
    assert found.low is not None
    assert found.low > 1.05
    assert (found.change, found.slower) == ("changed", True)


@pytest.mark.parametrize("wrong", ["a", "b", "both"])
@pytest.mark.parametrize("paired", [True, False])
def test_where_a_launch_failed_nothing_is_unchanged(wrong: str, paired: bool) -> None:
    good, bad = [12.0] * 20, [12.0] * 19 + [math.inf]
    sides = [bad if wrong in (side, "both") else good for side in "ab"]
    found = two(*sides, paired=paired)
    assert (found.change, found.slower, found.a_ms, found.b_ms) == ("inconclusive", False, 12.0, 12.0)
    counts = [sum(map(math.isinf, side)) for side in sides]
    assert found.reason.startswith(f"{counts[0]} of 20 and {counts[1]} of 20 launches failed: each counts as")


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize("others", [12.0, 6.0])
def test_a_b_whose_launches_fail_more_often_than_chance_explains_is_slower(
    others: float, paired: bool
) -> None:
    """Whatever the launches took that did not fail."""
    good = [12.0] * 17
    for failing, change in ((5, "inconclusive"), (7, "changed"), (16, "changed"), (17, "changed")):
        bad = [math.inf] * failing + [others] * (17 - failing)
        found = two(good, bad, paired=paired)
        if others == 12.0 or failing > 5:
            assert (found.change, found.slower) == (change, change == "changed")
        assert not found.high or failing < 9
        back = two(bad, good, paired=paired)
        assert not back.slower
    json.dumps(vars(found), allow_nan=False)


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize(
    ("factor", "word"), [(0.7, "quicker"), (1.0, "quicker"), (1.01, "quicker"), (1.3, "inconclusive")]
)
def test_a_b_that_fails_less_is_quicker_unless_what_it_served_took_longer(
    factor: float, word: str, paired: bool
) -> None:
    took = [12.0 + 0.001 * n for n in range(40)]
    failing = [math.inf if n % 5 == 0 else ms for n, ms in enumerate(took)]
    found = two(failing, [ms * factor for ms in took], paired=paired)
    assert (found.word, found.a_fails_more) == (word, True)
    assert word == "quicker" or "B's took longer, or may have: not one answer" in found.reason


@pytest.mark.parametrize(
    ("a", "b", "word"),
    [
        ([12.0] * 6, [math.inf] * 3, "slower"),
        ([math.inf] * 3, [12.0] * 6, "quicker"),
        ([12.0] * 3, [math.inf] * 3, "inconclusive"),
        ([12.0] * 6, [math.inf] * 2, "inconclusive"),
        ([12.0] * 17 + [math.inf], [math.inf] * 3, "slower"),
    ],
)
def test_a_side_that_was_given_up_is_told_from_one_that_never_failed(
    a: list[float], b: list[float], word: str
) -> None:
    """Its launches end with the third, and more of them cannot be had."""
    assert two(a, b).word == word


@pytest.mark.parametrize(("pairs", "served", "word"), [(12, 6, "inconclusive"), (12, 17, "slower")])
def test_a_side_that_was_given_up_is_held_to_the_number_of_comparisons_as_all_else_is(
    pairs: int, served: int, word: str
) -> None:
    found = two([12.0] * served, [math.inf] * 3, alpha=0.05 / pairs)
    assert found.word == word
    assert "3 of 3" in found.reason


@pytest.mark.parametrize("pairs", [1, 12])
def test_alike_runs_of_which_some_are_given_up_differ_in_one_set_of_twenty_at_most(pairs: int) -> None:
    """On both sides a launch fails once in three times; where the first three fail it is given up."""
    rng = np.random.default_rng([2026, pairs])

    def side() -> tuple[int, int]:
        failed = rng.random(6) < 1 / 3
        return (3, 3) if failed[:3].all() else (int(failed.sum()), 6)

    @cache
    def differs(a: tuple[int, int], b: tuple[int, int]) -> bool:
        ms = ([math.inf] * failed + [12.0] * (n - failed) for failed, n in (a, b))
        return two(*ms, alpha=0.05 / pairs).change == "changed"

    sets = [any(differs(side(), side()) for _ in range(pairs)) for _ in range(2000)]
    assert sum(sets) <= 0.05 * len(sets)


@pytest.mark.parametrize("drift", [1.0, 10.0])
def test_what_a_b_that_fails_less_served_is_held_against_a_within_rounds(drift: float) -> None:
    """The machine slows down over the sweep, by more than B is slower in every round."""
    took = [5.0 * drift ** (n / 19) for n in range(20)]
    failing = [math.inf if n % 2 else ms for n, ms in enumerate(took)]
    assert two(failing, [ms * 1.3 for ms in took], paired=True).word == "inconclusive"
    assert two(failing, took, paired=True).word == "quicker"


def test_nothing_is_quicker_of_which_nothing_is_known() -> None:
    a = launches("a", [math.inf, 11.0] * 10)
    stopped = [row | {"truncated": True, "truncated_over_ms": 30.0} for row in launches("b", [31.0] * 20)]
    assert [found.word for found in compared(a, stopped)] == ["inconclusive"] * 2


def test_a_change_that_the_quiet_launches_of_other_rounds_deny_is_inconclusive() -> None:
    a = disturbed(launches("a", [12.0] * 17), slice(11, 17))
    b = disturbed(launches("b", [36.0] * 11 + [12.0] * 6), slice(0, 11))
    found = compared(a, b)[1]
    assert (found.change, found.without_disturbed) == ("inconclusive", "unchanged")


def test_failing_on_both_sides_tells_nothing() -> None:
    found = two([math.inf] * 17, [math.inf] * 17, paired=True)
    assert (found.change, found.ratio, found.low, found.high) == ("inconclusive", None, None, None)


def test_a_b_that_fails_is_slower_than_an_a_that_was_stopped_early() -> None:
    a, b = launches("a", [90.0] * 20, **STOPPED), launches("b", [math.inf] * 20)
    assert [(c.change, c.slower) for c in compared(a, b)] == [("changed", True)] * 2


@pytest.mark.parametrize("paired", [True, False])
def test_a_slower_b_one_of_whose_launches_failed_is_slower(paired: bool) -> None:
    found = two([12.0] * 20, [24.0] * 19 + [math.inf], paired=paired)
    assert (found.change, found.slower, found.b_ms, found.ratio) == ("changed", True, 24.0, pytest.approx(2))


def test_a_against_a_of_launches_that_fail_is_called_changed_no_oftener_than_the_error_rate() -> None:
    rng = np.random.default_rng(67)
    changed = 0
    for _ in range(PAIRS):
        a, b = (np.where(rng.random(14) < 0.3, math.inf, rng.lognormal(2, 0.3, 14)) for _ in range(2))
        changed += two(list(a), list(b), threshold=1e-9).change == "changed"
    assert changed / PAIRS <= 0.025 + 4 * math.sqrt(0.025 / PAIRS)


def test_a_failed_launch_that_has_figures_is_a_failed_launch() -> None:
    rows = launches("b", [12.0] * 20)
    rows[3]["status"] = "timeout"
    assert compared(launches("a", [12.0] * 20), rows)[1].change == "inconclusive"


def test_a_run_whose_launches_are_lost_is_inconclusive() -> None:
    runs = [run_row("a")], [run_row("b")]
    lost = pd.DataFrame(launches("other", [12.0] * 3))
    found = compare_runs(*runs, (pd.DataFrame(launches("a", [12.0] * 20)), lost))
    assert [c.change for c in found] == ["inconclusive"] * 2


@pytest.mark.parametrize("paired", [True, False])
def test_too_few_launches_are_inconclusive_and_say_so(paired: bool) -> None:
    found = two([12.0] * 3, [24.0] * 3, paired=paired)
    assert (found.change, found.ratio, found.low) == ("inconclusive", 2.0, None)
    assert found.reason == "3 and 3 launches are too few for an interval"


# --- how many launches are slow or quick


@pytest.mark.parametrize(
    ("counts", "n", "paired", "told"),
    [
        ((0, 13), 40, False, True),
        ((13, 0), 40, False, True),
        ((0, 20), 120, True, True),
        ((0, 4), 17, False, True),
        ((0, 3), 17, False, False),
        ((6, 6), 40, False, False),
    ],
)
def test_where_one_side_has_more_slow_launches_nothing_is_unchanged(
    counts: tuple[int, int], n: int, paired: bool, told: bool
) -> None:
    """Although the centre of the launches is the same: a gate on launches reads how many are over it."""
    a, b = ([3.0] * (n - slow) + [25.0] * slow for slow in counts)
    found = two(a, b, paired=paired)
    assert (found.ratio, found.low, found.high, found.slower) == (1.0, 1.0, 1.0, False)
    assert (found.change, found.reason) == (
        ("inconclusive", f"{counts[0]} of {n} and {counts[1]} of {n} launches are slow, over 1.05 times the "
         "median of their side") if told else ("unchanged", "")
    )  # fmt: skip


def test_a_quick_state_that_one_side_lost_is_told() -> None:
    """A had it in 30 of 100 launches; the median of either side is the slow state's."""
    found = two([3.0] * 30 + [30.0] * 70, [30.0] * 100)
    assert (found.change, found.low, found.high) == ("inconclusive", 1.0, 1.0)
    assert (
        found.reason
        == "30 of 100 and 0 of 100 launches are quick, under 0.952 times the median of their side"
    )


@pytest.mark.parametrize("paired", [True, False])
def test_a_third_of_slow_launches_is_seen_in_noise_that_leaves_a_against_a_unchanged(paired: bool) -> None:
    """Launches vary by 2 %, a tenth of them are disturbed and take up to eight times as long."""
    rng = np.random.default_rng(71)

    def draw(slow: int) -> list[float]:
        ms = rng.lognormal(1, 0.02, 40) * np.where(rng.random(40) < 0.1, rng.uniform(1.3, 8, 40), 1)
        ms[:slow] *= 8
        return list(rng.permutation(ms))

    alike, third = ([two(draw(0), draw(slow), paired=paired) for _ in range(60)] for slow in (0, 13))
    assert sum(c.change == "changed" for c in alike) <= 3
    assert sum(c.change == "unchanged" for c in alike) >= (45 if paired else 54)
    assert not any(c.change == "unchanged" for c in third)


# --- pairing


def test_only_launches_of_common_rounds_are_paired() -> None:
    """A was measured on for 7 rounds while the machine was slower; B was done before."""
    a = launches("a", [10.0] * 10 + [10.2] * 7)
    b = launches("b", [11.0] * 10)
    _, p95 = compared(a, b)
    assert (p95.paired, p95.change) == (True, "changed")
    assert p95.ratio == pytest.approx(1.1)
    assert (p95.low, p95.high) == (pytest.approx(1.1), pytest.approx(1.1))


@pytest.mark.parametrize(
    ("common", "alone"),
    [
        ([10.0] * 17, [15.0] * 23),
        ([10.0] * 8, [15.0] * 9),
        ([15.0] * 17, [10.0] * 23),
        ([11.0] * 10, [5.0] * 20),
    ],
    ids=["slower alone", "slower alone, about half", "slower in common", "quicker alone"],
)
def test_launches_of_no_common_round_that_say_something_else_leave_nothing_certain(
    common: list[float], alone: list[float]
) -> None:
    """A settled and dropped out; what B took from then on is not within rounds and is not forgotten."""
    a, b = launches("a", [10.0] * len(common)), launches("b", common + alone)
    for found, n in ((compared(a, b)[1], "A's alone"), (compared(b, a)[1], "B's alone")):
        assert (found.paired, found.change) == (True, "inconclusive"), n
        assert found.reason


def test_launches_of_no_common_round_that_were_stopped_early_leave_nothing_unchanged() -> None:
    rows = launches("b", [10.0] * 40)
    stopped = [row | {"truncated": True, "truncated_over_ms": 30.0} for row in rows[17:]]
    for found in compared(launches("a", [10.0] * 17), rows[:17] + stopped):
        assert found.change == "inconclusive"


def test_rounds_of_other_sweeps_are_other_rounds() -> None:
    rows = launches("b", [12.0] * 20, sweep_id="s2")
    assert not compared(launches("a", [12.0] * 20), rows)[1].paired
    assert compared(launches("a", [12.0] * 20), launches("b", [12.0] * 20))[1].paired


def test_the_same_rounds_at_another_time_are_other_rounds() -> None:
    """A sweep's id tells what was measured; forced anew tomorrow it has the same rounds again."""
    tomorrow = [
        row | {"started_at": row["started_at"] + timedelta(days=1)} for row in launches("b", [12.0] * 20)
    ]
    assert not compared(launches("a", [12.0] * 20), tomorrow)[1].paired


def test_a_sweep_that_was_resumed_is_paired_through() -> None:
    def resumed(run_id: str, offset_s: float) -> list[dict[str, Any]]:
        return [
            row
            | {
                "started_at": STARTED
                + timedelta(days=row["round"] // 10, seconds=row["round"] * 4 + offset_s)
            }
            for row in launches(run_id, [12.0] * 20)
        ]

    assert compared(resumed("a", 0), resumed("b", 2))[1].paired


def test_too_few_common_rounds_are_compared_unpaired() -> None:
    a, b = launches("a", [12.0] * 20), launches("b", [24.0] * 20)
    for row in b[5:]:
        row["round"] += 100
    found = compared(a, b)[1]
    assert (found.change, found.paired) == ("changed", False)


@pytest.mark.parametrize(
    ("common_a", "common_b"), [(20.0, 20.0), (20.0, 10.0), (20.0, 21.0)], ids=["alike", "quicker", "within"]
)
def test_a_change_that_too_few_common_rounds_deny_is_inconclusive(common_a: float, common_b: float) -> None:
    """Both took as long while they were measured side by side; each went on alone, at another time."""
    a = launches("a", [common_a] * 5 + [10.0] * 35)
    b = launches("b", [common_b] * 5 + [15.0] * 35)
    for row in b[5:]:
        row["round"] += 100
    found = compared(a, b)[1]
    assert (found.change, found.paired) == ("inconclusive", False)
    assert "5 rounds in common, 40 and 40 launches in all" in found.reason


def test_nothing_is_unchanged_that_too_few_common_rounds_show_changed() -> None:
    a, b = launches("a", [10.0] * 40), launches("b", [10.6] * 4 + [10.0] * 36)
    for row in b[4:]:
        row["round"] += 100
    found = compared(a, b)[1]
    assert (found.change, found.paired) == ("inconclusive", False)
    assert "4 rounds in common" in found.reason


@property_test
@given(st.permutations(range(12)), st.permutations(range(12)))
def test_the_order_of_launches_does_not_matter(first: list[int], second: list[int]) -> None:
    rng = np.random.default_rng(5)
    a, b = launches("a", list(rng.lognormal(2, 0.3, 12))), launches("b", list(rng.lognormal(2, 0.3, 12)))
    assert compared([a[i] for i in first], [b[i] for i in second]) == compared(a, b)


# --- error rates

PAIRS = 300


def drifting(rng: np.random.Generator, n: int) -> NDArray[np.float64]:
    """A machine that wanders: a random walk in logarithms, from half to twice as fast."""
    return np.exp(np.cumsum(rng.normal(0, 0.2, n)))


def test_a_against_a_is_called_changed_no_oftener_than_the_error_rate_unpaired() -> None:
    rng = np.random.default_rng(41)
    samples = rng.lognormal(2.5, 0.4, (PAIRS, 2, 12))
    changed = [two(list(a), list(b), threshold=1e-9).change == "changed" for a, b in samples]
    # Of two metrics, so 2.5 % each; four standard errors on top.
    assert np.mean(changed) <= 0.025 + 4 * math.sqrt(0.025 / PAIRS)


def test_a_against_a_is_called_changed_no_oftener_than_the_error_rate_paired() -> None:
    """Although the machine drifts by far more than the threshold meanwhile."""
    rng = np.random.default_rng(43)
    changed = []
    for _ in range(PAIRS):
        machine = drifting(rng, 14)
        a, b = (12 * machine * rng.lognormal(0, 0.1, 14) for _ in range(2))
        changed.append(two(list(a), list(b), paired=True, threshold=1e-9).change == "changed")
    assert np.mean(changed) <= 0.025 + 4 * math.sqrt(0.025 / PAIRS)


def test_pairing_removes_a_drift_that_both_share() -> None:
    """A true 20 % is found within rounds, where the spread over rounds hides it."""
    rng = np.random.default_rng(47)
    found: dict[bool, list[Comparison]] = {True: [], False: []}
    for _ in range(60):
        machine = drifting(rng, 20)
        a, b = (list(level * machine * rng.lognormal(0, 0.05, 20)) for level in (10.0, 12.0))
        for paired, results in found.items():
            results.append(two(a, b, paired=paired))
    right = {
        key: np.mean([c.change == "changed" and c.slower for c in results]) for key, results in found.items()
    }
    assert right[True] >= 0.95
    assert right[False] <= 0.5
    covered = [c.low is not None and c.high is not None and c.low <= 1.2 <= c.high for c in found[True]]
    assert np.mean(covered) >= 0.9


def test_a_true_change_of_a_fifth_is_found_unpaired_on_a_steady_machine() -> None:
    rng = np.random.default_rng(53)
    found = [
        two(list(10 * rng.lognormal(0, 0.05, 20)), list(12 * rng.lognormal(0, 0.05, 20))) for _ in range(60)
    ]
    assert np.mean([c.change == "changed" and c.slower for c in found]) >= 0.95


def test_more_comparisons_ask_each_for_more() -> None:
    """Bonferroni: each interval is at the error rate over all pairs and both metrics."""
    rng = np.random.default_rng(59)
    a, b = rng.lognormal(2, 0.2, 20), rng.lognormal(2.1, 0.2, 20)
    within = np.log(b / a)
    for n_runs in (1, 3, 10):
        sides: list[list[dict[str, Any]]] = [[], []]
        runs: list[list[dict[str, Any]]] = [[], []]
        for size in range(1, n_runs + 1):
            for side, (name, values) in enumerate((("a", a), ("b", b))):
                runs[side].append(run_row(f"{name}{size}", batch_size=size))
                sides[side] += launches(f"{name}{size}", list(values))
        frames = (pd.DataFrame(sides[0]), pd.DataFrame(sides[1]))
        found = compare_runs(*runs, frames, alpha=0.04)
        assert len(found) == 2 * n_runs
        expected = stats.paired_shift_interval(within, alpha=0.04 / (2 * n_runs))
        assert expected.low is not None
        for c in found:
            assert c.paired
            assert c.low == pytest.approx(math.exp(expected.low))


def test_none_of_many_that_did_not_change_is_called_changed() -> None:
    rng = np.random.default_rng(61)
    wrong = 0
    for _ in range(40):
        runs = [[run_row(f"{side}{i}", batch_size=i + 1) for i in range(6)] for side in "ab"]
        rows = [
            [row for i in range(6) for row in launches(f"{side}{i}", list(rng.lognormal(2, 0.3, 14)))]
            for side in "ab"
        ]
        found = compare_runs(*runs, (pd.DataFrame(rows[0]), pd.DataFrame(rows[1])), threshold=1e-9)
        wrong += any(c.change == "changed" for c in found)
    # 5 % of 40 sweeps are 2; more than 7 come by chance in 0.1 %.
    assert wrong <= 7


# --- what is compared with what


def sides(
    a: Sequence[dict[str, Any]], b: Sequence[dict[str, Any]], **options: Any
) -> list[tuple[str, float | None]]:
    """Labels and ratios of P95, every run of B twice as slow as its namesake in A."""
    frames = []
    for runs, factor in ((a, 1.0), (b, 2.0)):
        rows = [r for run in runs for r in launches(run["run_id"], [12.0 * factor] * 20)]
        frames.append(pd.DataFrame(rows))
    found = compare_runs(a, b, (frames[0], frames[1]), **options)
    return [(c.label, c.ratio) for c in found if c.metric == "p95_ms"]


def test_two_runs_are_compared_whatever_their_candidates() -> None:
    found = sides([run_row("a")], [run_row("b", model="bge", candidate_label="bge fp32 cpu")])
    assert found == [("minilm fp32 cpu, default, batch 1 → bge fp32 cpu, default, batch 1", 2.0)]


@pytest.mark.parametrize(
    "place",
    [{"workload": "mixture"}, {"batch_size": 8}, {"clients": 2}, {"arrival": "poisson", "offered_qps": 5.0}],
)
def test_two_runs_of_different_work_are_refused(place: dict[str, Any]) -> None:
    with pytest.raises(BadInputError, match="different work is not comparable"):
        sides([run_row("a")], [run_row("b", **place)])


def test_a_soak_run_is_not_compared_with_launches() -> None:
    with pytest.raises(BadInputError, match="soak"):
        sides([run_row("a")], [run_row("b", purpose="soak")])
    assert sides([run_row("a", purpose="soak")], [run_row("b", purpose="soak")])


def test_soak_runs_of_other_lengths_are_not_compared() -> None:
    command = "python -m harness model=minilm ep=cpu measure=soak"
    usual, short = (
        run_row(name, purpose="soak", command=f"{command}{words}")
        for name, words in (("a", " measure.duration_s=300"), ("b", " measure.duration_s=60"))
    )
    with pytest.raises(BadInputError, match=r"measure.duration_s=300 and measure.duration_s=60"):
        sides([usual], [short])
    assert sides([usual], [run_row("c", purpose="soak", command=command)]), "300 s are the usual"


def test_larger_sets_are_paired_by_candidate_and_place() -> None:
    a = [run_row("a1"), run_row("a8", batch_size=8), run_row("a-only", batch_size=64)]
    b = [run_row("b8", batch_size=8), run_row("b-only", batch_size=16), run_row("b1")]
    labels = [label for label, _ in sides(a, b)]
    assert labels == ["minilm fp32 cpu, default, batch 1", "minilm fp32 cpu, default, batch 8"]


DIFFERENT: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "cores": ({"cores": 2}, {"cores": 1}),
    "quota": ({}, {"environment": '{"container_cpus": 0.5}'}),
    "soak": ({"purpose": "latency"}, {"purpose": "soak"}),
    "callers": ({"clients": 2}, {"clients": 4}),
    "rate": ({"arrival": "poisson", "offered_qps": 5.0}, {"arrival": "poisson", "offered_qps": 7.0}),
    "precision": ({"precision": "fp32"}, {"precision": "int8"}),
}


@pytest.mark.parametrize(("first", "second"), DIFFERENT.values(), ids=DIFFERENT)
def test_what_differs_is_kept_apart_in_larger_sets(first: dict[str, Any], second: dict[str, Any]) -> None:
    a = [run_row("a1", **first), run_row("a2", **second)]
    b = [run_row("b2", **second), run_row("b1", **first)]
    assert len(sides(a, b)) == 2
    with pytest.raises(BadInputError, match="in common"):
        sides([a[0], run_row("x", batch_size=2)], [b[0], run_row("y", batch_size=3)])


@pytest.mark.parametrize("none", [None, 0, math.nan, pd.NA])
def test_a_run_that_is_no_replicate_is_one_whatever_kind_of_null_it_has(none: Any) -> None:
    a = [run_row("a1", replicate=none), run_row("a2", replicate=1)]
    b = [run_row("b1", replicate=0), run_row("b2", replicate=1)]
    assert len(sides(a, b)) == 2


def test_replicates_of_one_sweep_are_compared_one_against_another() -> None:
    assert sides([run_row("r1", replicate=1)], [run_row("r2", replicate=2)])


def test_replicates_are_compared_each_with_its_like() -> None:
    numbers = [[(1, "a1"), (2, "a2"), (3, "a3")], [(2, "b2"), (1, "b1")]]
    a, b = ([run_row(run_id, replicate=number) for number, run_id in side] for side in numbers)
    assert [(pair.a["run_id"], pair.b["run_id"]) for pair in pair_runs(a, b)] == [("a1", "b1"), ("a2", "b2")]
    assert [line.partition(": B has")[0][-2:] for line in without_counterpart(a, b)] == ["a3"]


@pytest.mark.parametrize("number", [None, 3])
def test_without_a_replicate_in_common_the_newest_is_compared_and_told(number: int | None) -> None:
    a = [run_row("a", replicate=number)]
    b = [run_row("b1", replicate=1), run_row("b2", replicate=2)]
    (pair,) = pair_runs(a, b)
    assert (pair.a["run_id"], pair.b["run_id"]) == ("a", "b2")
    assert "B has 2 runs of it: b2 (complete), the newest, is taken, not b1 (complete)" in pair.notes[0]
    assert without_counterpart(a, b) == ()


def test_of_one_thing_measured_anew_the_newest_is_compared() -> None:
    a = [run_row("old"), run_row("new", started_at=STARTED + timedelta(hours=1)), run_row("a8", batch_size=8)]
    b = [run_row("b"), run_row("b8", batch_size=8)]
    frame_a = pd.DataFrame(
        launches("old", [99.0] * 20) + launches("new", [12.0] * 20) + launches("a8", [12.0] * 20)
    )
    frame_b = pd.DataFrame(launches("b", [12.0] * 20) + launches("b8", [12.0] * 20))
    found = compare_runs(a, b, (frame_a, frame_b))
    assert [c.ratio for c in found] == [1.0] * 4


def test_the_same_run_measured_in_two_places_is_compared_with_itself_there() -> None:
    """What is measured makes the id: after a change of the system it is the same run."""
    before, after = launches("r1", [12.0] * 20), launches("r1", [24.0] * 20)
    assert [c.ratio for c in compared(before, after)] == [pytest.approx(2.0)] * 2


def test_machines_are_not_compared_silently() -> None:
    with pytest.raises(BadInputError, match=r"different machines \(m1, m2\).*across_machines=true"):
        sides([run_row("a")], [run_row("b", machine_id="m2")])
    assert len(sides([run_row("a")], [run_row("b", machine_id="m2")], across_machines=True)) == 1


def test_a_script_is_not_compared_with_a_provider() -> None:
    with pytest.raises(BadInputError, match="a script's"):
        sides([run_row("a", runtime="fake")], [run_row("b")])
    assert len(sides([run_row("a", runtime="fake")], [run_row("b", runtime="fake")])) == 1


def test_runs_of_two_schemas_were_not_measured_alike() -> None:
    older = run_row("a", schema_version=SCHEMA_VERSION - 1)
    with pytest.raises(BadInputError, match=rf"of schemas {SCHEMA_VERSION - 1} and {SCHEMA_VERSION}: they"):
        sides([older], [run_row("b")])
    assert len(sides([older], [older | {"run_id": "b"}])) == 1


def test_nothing_in_common_is_told() -> None:
    with pytest.raises(BadInputError, match="no run of the same candidate"):
        sides([run_row("a1"), run_row("a8", batch_size=8)], [run_row("b", batch_size=2)])
    with pytest.raises(BadInputError, match=r"in common; A's are of 2 cores, B's of 1$"):
        sides([run_row("a1"), run_row("a8", batch_size=8)], [run_row("b", cores=1)])


def test_runs_that_serve_other_requests_are_not_the_same_measurement() -> None:
    def words(text: str) -> dict[str, Any]:
        return {"command": f"python -m harness model=minilm {text}"}

    for ours, theirs in (
        ("", "measure.requests=200"),
        ("measure.warmup_requests=5", "measure.warmup_requests=20"),
        ("workload.seed=1", ""),
    ):
        with pytest.raises(BadInputError, match=rf"{theirs or ours}.*not the same measurement"):
            sides([run_row("a", **words(ours))], [run_row("b", **words(theirs))])
    usual = "measure.requests=100 measure.warmup_requests=20 measure.launches=9"
    assert sides([run_row("a", **words(usual))], [run_row("b", **words(""))])
    a = [run_row("a1", **words("")), run_row("a2", **words("measure.requests=200"))]
    b = [run_row("b2", **words("measure.requests=200"))]
    assert len(sides(a, b)) == 1
    assert without_counterpart(a, b) == (
        "not compared: minilm fp32 cpu, default, batch 1, run a1: "
        "B has none of the same requests, cores and replicate",
    )


def test_runs_of_one_model_that_served_other_texts_are_not_the_same_measurement() -> None:
    other = {"tokens_mean": 55.0, "tokens_p95": 90.0}
    with pytest.raises(BadInputError, match="other texts, of 12 and 55 tokens on average"):
        sides([run_row("a")], [run_row("b", **other)])
    two_each = [[run_row(f"{side}1"), run_row(f"{side}8", batch_size=8)] for side in "ab"]
    assert len(sides(two_each[0], [two_each[1][0], two_each[1][1] | other])) == 1
    assert len(sides([run_row("a")], [run_row("b", model="e5", **other)])) == 1  # another tokenizer's


def test_a_run_held_to_all_the_cores_there_are_is_not_one_held_to_none() -> None:
    """The limit sets the threads."""
    held = [run_row("a1"), run_row("a2", cpus=2, started_at=STARTED + timedelta(hours=1))]
    pairs = pair_runs(held, [run_row("b1"), run_row("b2", cpus=2)])
    assert [(pair.a["run_id"], pair.b["run_id"]) for pair in pairs] == [("a1", "b1"), ("a2", "b2")]
    (pair,) = pair_runs([held[0]], [run_row("b", cpus=2, onnxruntime="1.40", artifact_sha256="b" * 64)])
    assert pair.notes == ("what differs: cpus None → 2, onnxruntime 1.31.1 → 1.40, the artifact's files",)


def test_another_tokenizer_library_and_another_quota_are_told() -> None:
    def environment(quota: float | None, tokenizers: str) -> str:
        return json.dumps({"container_cpus": quota, "libraries": {"tokenizers": tokenizers}})

    one = run_row("a", environment=environment(None, "0.22"))
    (pair,) = pair_runs([one], [run_row("b", environment=environment(0.5, "0.23"))])
    assert pair.notes == ("what differs: CPU quota None → 0.5, tokenizers 0.22 → 0.23",)


def test_which_of_several_runs_of_the_same_thing_is_taken_is_told() -> None:
    a = [run_row("old", status="failed"), run_row("new")]
    (pair,) = pair_runs(a, [run_row("b")])
    assert pair.a["run_id"] == "new"
    assert pair.notes == (
        "A has 2 runs of it: new (complete), the newest, is taken, not old (failed); a run id names another",
    )


def test_the_same_launches_are_no_comparison_of_two_sides() -> None:
    rows = launches("r1", [12.0] * 20)
    for grown in (rows, rows + launches("r1", [12.0] * 3, sweep_id="s2")):
        with pytest.raises(BadInputError, match=r"the same launches of r1.*measure.replicate=1,2"):
            compared(rows, grown)
    other = [run_row("x", batch_size=2)]
    frames = (
        pd.DataFrame(rows + launches("x", [10.0] * 20)),
        pd.DataFrame(rows + launches("y", [20.0] * 20)),
    )
    found = compare_runs([run_row("r1"), *other], [run_row("r1"), run_row("y", batch_size=2)], frames)
    assert [c.change for c in found] == ["inconclusive"] * 2 + ["changed"] * 2
    assert found[0].reason == "both sides hold the same launches"


# --- launches that were stopped early

STOPPED: dict[str, Any] = {"truncated": True, "truncated_over_ms": 30.0}


@pytest.mark.parametrize("paired", [True, False])
def test_launches_that_were_stopped_early_are_slower_by_what_the_bound_alone_says(paired: bool) -> None:
    a, b = launches("a", [2.02] * 20), launches("b", [45.0] * 20, **STOPPED)
    if not paired:
        b = [row | {"sweep_id": "s2"} for row in b]
    p50, p95 = compared(a, b)
    assert (p95.change, p95.slower, p95.paired) == ("changed", True, paired)
    assert (p95.low, p95.high, p95.ratio) == (pytest.approx(30 / 2.02), None, None)
    assert (p95.a_ms, p95.a_at_least, p95.b_ms, p95.b_at_least) == (2.02, False, 30.0, True)
    assert p95.reason == "0 of 20 and 20 of 20 launches were stopped early: their P95 is at least 30 ms"
    assert (p50.change, p50.b_ms, p50.low, p50.high) == ("inconclusive", None, None, None)
    assert p50.reason.endswith("stopped early: their P50 over all requests is unknown")
    back = compared(b, a)[1]
    assert (back.change, back.slower, back.low) == ("changed", False, None)
    assert back.high == pytest.approx(2.02 / 30)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (launches("a", [45.0] * 20, **STOPPED), launches("b", [90.0] * 20, **STOPPED)),
        (launches("a", [29.5] * 20), launches("b", [90.0] * 20, **STOPPED)),
        (launches("a", [2.0] * 20), launches("b", [90.0] * 20, truncated=True)),
    ],
    ids=["both", "nearly as slow", "over an unknown bound"],
)
def test_a_bound_that_does_not_tell_is_inconclusive_and_says_why(
    a: list[dict[str, Any]], b: list[dict[str, Any]]
) -> None:
    p95 = compared(a, b)[1]
    assert (p95.change, p95.slower, p95.ratio, p95.high) == ("inconclusive", False, None, None)
    assert "stopped early" in p95.reason


def test_launches_that_were_stopped_early_are_slow_where_their_bound_says_so_and_else_may_be() -> None:
    def some(run_id: str, stopped: int, **sweep: Any) -> list[dict[str, Any]]:
        rows = launches(run_id, [12.0] * 40, **sweep)
        return [row | (STOPPED if i < stopped else {}) for i, row in enumerate(rows)]

    p50, p95 = compared(some("a", 0), some("b", 8, sweep_id="s2"))
    for found, told in ((p50, "are or may be slow, over"), (p95, "are slow, over")):
        assert found.change == "inconclusive"
        assert found.reason.startswith(f"0 of 40 and 8 of 40 launches {told} 1.05 times the median")
        assert "0 of 40 and 8 of 40 launches were stopped early" in found.reason
    p50, p95 = compared(some("a", 6), some("b", 6, sweep_id="s2"))
    assert (p95.change, p50.change) == ("unchanged", "inconclusive")


@settings(deadline=None, max_examples=20, derandomize=True)
@given(st.lists(st.floats(5.0, 100.0), min_size=8, max_size=12), st.booleans())
def test_an_interval_of_launches_that_were_stopped_early_holds_that_of_the_whole_ones(
    values: list[float], paired: bool
) -> None:
    """Whatever they would have taken: stopping can hide a change, never make one."""
    sweep = {} if paired else {"sweep_id": "s2"}
    a = launches("a", values[::-1])
    whole = compared(a, launches("b", values, **sweep))[1]
    cut = compared(a, [r | (STOPPED if r["p95_ms"] >= 30 else {}) for r in launches("b", values, **sweep)])[1]
    assert cut.low is None or (whole.low is not None and cut.low <= whole.low + 1e-12)
    assert cut.high is None or cut.high == pytest.approx(whole.high)
    if cut.change == "changed":
        assert (whole.change, whole.slower) == (cut.change, cut.slower)


# --- launches that were disturbed


def disturbed(rows: list[dict[str, Any]], which: slice) -> list[dict[str, Any]]:
    for row in rows[which]:
        row["disturbed"] = True
    return rows


def test_a_change_that_only_disturbed_launches_show_is_inconclusive() -> None:
    b = disturbed(launches("b", [12.0] * 8 + [40.0] * 12), slice(8, None))
    p95 = compared(launches("a", [12.0] * 20), b)[1]
    assert p95.low is not None
    assert p95.low > 1.05
    assert (p95.change, p95.slower, p95.without_disturbed) == ("inconclusive", False, "unchanged")
    assert p95.reason == "slower by all launches, unchanged without the disturbed ones: not certain"
    assert p95.notes == ("0 of 20 launches of A and 12 of 20 of B were disturbed",)


def test_a_change_that_quiet_launches_show_too_stays_and_one_that_few_could_is_told() -> None:
    a, slow = launches("a", [12.0] * 20), [24.0] * 20
    p95 = compared(a, disturbed(launches("b", slow), slice(8, None)))[1]
    assert (p95.change, p95.slower, p95.without_disturbed, p95.reason) == ("changed", True, "changed", "")
    p95 = compared(a, disturbed(launches("b", slow[:2]), slice(1, None)))[1]
    assert (p95.change, p95.slower, p95.without_disturbed) == ("changed", True, None)
    assert p95.reason == "too few are left to tell without the disturbed ones"
    assert compared(a, launches("b", slow))[1].notes == ()


def test_where_all_launches_of_a_side_were_disturbed_a_change_cannot_be_told_from_that() -> None:
    quiet, slow = launches("a", [12.0] * 20), disturbed(launches("b", [24.0] * 20), slice(None))
    noisy = disturbed(launches("a", [12.0] * 20), slice(None))
    for a, b, named in ((quiet, slow, "B"), (slow, quiet, "A"), (noisy, slow, "A and B")):
        p95 = compared(a, b)[1]
        assert (p95.change, p95.slower) == ("inconclusive", False)
        assert p95.reason.startswith(f"all launches of {named} were disturbed: a change cannot be told")
    assert compared(quiet, disturbed(launches("b", [math.inf] * 20), slice(None)))[1].slower


def test_where_one_side_was_disturbed_more_the_few_quiet_launches_do_not_vouch_for_the_others() -> None:
    for still_quiet, change in (
        (0, "inconclusive"),
        (1, "inconclusive"),
        (2, "inconclusive"),
        (10, "changed"),
    ):
        b = disturbed(launches("b", [24.0] * 20), slice(still_quiet, None))
        quiet = launches("a", [12.0] * 20)
        for one, other, named in ((quiet, b, "B than of A"), (b, quiet, "A than of B")):
            p95 = compared(one, other)[1]
            assert p95.change == change
            assert (f"more launches of {named} were disturbed" in p95.reason) == (still_quiet in (1, 2))


def test_what_disturbed_both_sides_alike_within_rounds_is_no_change_of_one() -> None:
    a, b = (disturbed(launches(name, [12.0] * 20), slice(2, None)) for name in "ab")
    p95 = compared(a, b)[1]
    assert (p95.change, p95.paired) == ("unchanged", True)
    assert p95.reason == "too few are left to tell without the disturbed ones"


def test_a_machine_that_could_do_less_while_one_side_was_measured_is_no_change_of_the_candidate() -> None:
    """A sweep flags its launches by what it saw of the machine itself: if that was so all along, none."""
    could = dict.fromkeys(("capacity_before_gflops", "capacity_after_gflops"))
    for fast, held, change in ((200.0, 150.0, "changed"), (200.0, 130.0, "inconclusive")):
        quiet = launches("a", [12.0] * 6, **dict.fromkeys(could, fast))
        slow = launches("b", [24.0] * 60, **dict.fromkeys(could, held), sweep_id="s2")
        for a, b, named in ((quiet, slow, "B"), (slow, quiet, "A")):
            p95 = compared(a, b)[1]
            assert p95.change == change
            assert (f"all launches of {named} were disturbed" in p95.reason) == (change == "inconclusive")
    runs = [run_row("a")], [run_row("b", machine_id="another")]
    frames = pd.DataFrame(quiet), pd.DataFrame(slow)
    assert compare_runs(*runs, frames, across_machines=True)[1].slower, (
        "what another machine can do is its own"
    )


def test_a_run_that_was_pinned_to_fewer_cores_was_not_disturbed_by_that() -> None:
    """As by taskset, or by a container's cpuset: half of the cores compute half as much."""
    could = dict.fromkeys(("capacity_before_gflops", "capacity_after_gflops"))
    frames = [
        pd.DataFrame(launches(name, [ms] * 20, **dict.fromkeys(could, gflops), sweep_id=name))
        for name, ms, gflops in (("a", 12.0, 200.0), ("b", 24.0, 100.0))
    ]
    for limit in ({"cores": 1}, {"cores": 2, "container_cpus": 1.0}):
        pinned = run_row("b", cores=limit["cores"], environment=json.dumps(limit))
        p95 = compare_runs([run_row("a", environment='{"cores": 2}')], [pinned], (frames[0], frames[1]))[1]
        assert (p95.word, p95.without_disturbed) == ("slower", None)
        told = "cores 2 → 1" if limit["cores"] == 1 else "CPU quota None → 1.0"
        assert p95.notes[0] == f"what differs: {told}"


def test_requests_that_took_no_time_by_the_clock_are_compared() -> None:
    assert two([0.0] * 20, [0.0] * 20).change == "unchanged"
    assert two([0.0] * 20, [1.0] * 20).slower


def test_few_launches_of_one_sweep_were_not_measured_apart() -> None:
    few = [pd.DataFrame(launches(name, [12.0] * 3)) for name in "ab"]
    short = [run_row(name, evidence_span_s=6.0) for name in "ab"]
    assert compare_runs([short[0]], [short[1]], (few[0], few[1]))[1].notes == ()
    few[1]["round"] += 3
    assert "measured apart" in compare_runs([short[0]], [short[1]], (few[0], few[1]))[1].notes[0]


def test_two_short_runs_that_were_measured_apart_are_provisional() -> None:
    frames = [pd.DataFrame(launches(*side)) for side in (("a", [12.0] * 20), ("b", [24.0] * 20))]
    short = [run_row(name, evidence_span_s=20.0) for name in "ab"]
    together = compare_runs([short[0]], [short[1]], (frames[0], frames[1]))
    assert [c.notes for c in together] == [(), ()]
    frames[1]["sweep_id"] = "s2"
    apart = compare_runs([run_row("a")], [short[1]], (frames[0], frames[1]))[1]
    note, why = apart.notes
    assert (apart.provisional, together[1].provisional) == (True, False)
    assert note.startswith("provisional: measured apart, B spans 20 s of 90:")
    assert why.startswith("not paired: no round in common")


@pytest.mark.parametrize(("a", "b"), [(20.0, 21.0), (21.0, 20.0), (5.0, 5.25), (0.1, 0.105)])
def test_a_ratio_of_just_the_threshold_is_no_change(a: float, b: float) -> None:
    """The logarithms' difference may lie a bit beyond that of the threshold."""
    assert two([a] * 8, [b] * 8, paired=True).change == "unchanged"
    assert two([a] * 8, [b * (1.001 if b > a else 0.999)] * 8, paired=True).change == "changed"
