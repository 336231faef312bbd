"""What confirmation says of rows: what it takes, what it lacks, and how far the budget reaches."""

from __future__ import annotations

import random
from typing import Any

import pytest

from harness.config import PolicyConfig, load_policy
from harness.confirmation import LENGTHS, RATES, Confirmation, Limit, confirmation_of
from harness.workload import Place
from tests.conftest import run_row

INF = float("inf")
PASSES, FAILS = 12.0, 60.0
# As many over the bound as under it: no number of launches tells 0.8 from that, ten do not.
UNDECIDED = {"launch_p95_ms": [12.0] * 9 + [60.0], "launches": 10}


def load_row(**changes: Any) -> dict[str, Any]:
    """A run under production's load."""
    place = "-".join(str(value) for value in changes.values())
    return run_row(f"load-{place}"[:60], **({"workload": "mixture", "purpose": "confirm"} | changes))


def full(**changes: Any) -> list[dict[str, Any]]:
    """All that confirmation takes; `changes` are those of the run with four callers."""
    return [load_row(), load_row(clients=2), load_row(clients=4, **changes)]


def tokens_row(tokens: int, **changes: Any) -> dict[str, Any]:
    named = {"workload": f"tokens_{tokens}", "purpose": "search"}
    return run_row(f"tokens-{tokens}", **(named | changes))


def rate_row(rate: float, **changes: Any) -> dict[str, Any]:
    named = {"workload": "mixture", "arrival": "poisson", "offered_qps": rate, "purpose": "search"}
    return run_row(f"rate-{rate}", **(named | changes))


def confirmed(rows: list[dict[str, Any]]) -> Confirmation:
    return confirmation_of(rows, load_policy())


# --- what it takes


def test_realistic_texts_with_two_and_four_callers_are_all_it_takes() -> None:
    found = confirmed(full())
    assert (found.complete, found.lacking, found.failing) == (True, (), ())
    assert [(str(place), result.status) for place, result in found.results] == [
        ("mixture, batch 1", "PASS"),
        ("mixture, batch 1, 2 clients", "PASS"),
        ("mixture, batch 1, 4 clients", "PASS"),
    ]


def test_the_declared_rate_is_asked_too() -> None:
    paced = load_row(arrival="poisson", offered_qps=20.0, p95_ms=FAILS)
    found = confirmed([*full(), paced])
    assert found.complete
    assert found.failing == ("P95 latency ms at mixture, batch 1, poisson 20/s is 60, needed < 30",)


@pytest.mark.parametrize("clients", [2, 4])
def test_callers_that_were_not_measured_are_lacking(clients: int) -> None:
    rows = [row for row in full() if row["clients"] != clients]
    assert confirmed(rows).lacking == (f"mixture texts with {clients} concurrent callers were not measured",)
    assert not confirmed(rows).complete


def test_nothing_measured_confirms_nothing() -> None:
    found = confirmed([])
    assert (found.complete, len(found.lacking), found.results, found.limits) == (False, 2, (), ())


@pytest.mark.parametrize("purpose", ["latency", "search", "soak", None])
def test_runs_for_another_reason_confirm_nothing(purpose: str | None) -> None:
    found = confirmed([row | {"purpose": purpose} for row in full()])
    assert (len(found.lacking), found.results) == (2, ())


def test_other_texts_with_that_many_callers_do_not_count() -> None:
    found = confirmed([row | {"workload": "default"} for row in full()])
    assert len(found.lacking) == 2


def test_one_caller_is_not_required_but_asked_where_it_was_measured() -> None:
    assert confirmed(full()[1:]).complete
    (_, *rest) = full()
    found = confirmed([load_row(p95_ms=FAILS), *rest])
    assert found.failing == ("P95 latency ms at mixture, batch 1 is 60, needed < 30",)


# --- what it lacks


def test_launches_that_span_too_little_confirm_nothing() -> None:
    found = confirmed(full(evidence_span_s=89.0))
    assert found.lacking == ("the launches at mixture, batch 1, 4 clients span 89 s, under 90 s",)
    assert confirmed(full(evidence_span_s=90.0)).complete
    assert confirmed(full(evidence_span_s=0.0, min_span_s=0.0)).complete


@pytest.mark.parametrize("unknown", [None, float("nan")])
def test_a_span_that_is_unknown_is_none(unknown: float | None) -> None:
    assert not confirmed(full(evidence_span_s=unknown)).complete


def test_an_interrupted_run_is_lacking_and_says_so_once() -> None:
    found = confirmed(full(status="interrupted", evidence_span_s=3.0))
    assert found.lacking == ("the run at mixture, batch 1, 4 clients was interrupted",)


def test_an_undecided_gate_is_lacking_with_what_would_settle_it() -> None:
    (line,) = confirmed(full(**UNDECIDED)).lacking
    assert line.startswith("P95 latency ms at mixture, batch 1, 4 clients is undecided: 1 of 10 launches")


def test_a_run_without_launches_is_lacking_however_it_ended() -> None:
    (line,) = confirmed(full(launch_p95_ms=[], launches=0, evidence_span_s=120.0)).lacking
    assert "no launch" in line


def test_failed_launches_count_as_infinitely_slow() -> None:
    dead = {"status": "failed", "error": "no memory", "launch_p95_ms": [INF] * 3, "launches_failed": 3}
    found = confirmed(full(**dead))
    assert found.failing == ("P95 latency ms at mixture, batch 1, 4 clients, needed < 30",)
    some = confirmed(full(launch_p95_ms=[12.0] * 39 + [INF], launches=40, launches_failed=1))
    assert [(result.status, result.over) for _, result in some.results] == [("PASS", 0)] * 2 + [("PASS", 1)]


def test_a_budget_that_does_not_hold_is_settled_all_the_same() -> None:
    found = confirmed(full(p95_ms=FAILS))
    assert found.complete
    assert found.failing == ("P95 latency ms at mixture, batch 1, 4 clients is 60, needed < 30",)


def test_a_failure_with_no_figure_is_told_without_one() -> None:
    found = confirmed(full(launch_p95_ms=[INF] * 20))
    assert "P95 latency ms at mixture, batch 1, 4 clients, needed < 30" in found.failing


def test_only_must_latency_gates_are_asked() -> None:
    """The target at 20 ms fails here, the must gate at 30 ms passes."""
    found = confirmed([load_row(clients=n, p95_ms=25.0) for n in (1, 2, 4)])
    assert (found.failing, {result.gate.tier for _, result in found.results}) == ((), {"must"})


def test_a_gate_on_another_place_is_asked_of_this_load_too() -> None:
    raw = load_policy().model_dump()
    raw["gates"][0]["at"] = {"workload": "tokens_128", "batch_size": 8}
    found = confirmation_of(full(p95_ms=FAILS), PolicyConfig.model_validate(raw))
    assert [result.status for _, result in found.results] == ["PASS", "PASS", "FAIL"]


def test_the_answer_does_not_depend_on_the_order_of_rows() -> None:
    rows = [
        *full(p95_ms=FAILS), load_row(arrival="poisson", offered_qps=5.0),
        load_row(arrival="poisson", offered_qps=20.0), tokens_row(64), tokens_row(128, p95_ms=FAILS),
        rate_row(10.0), rate_row(50.0, p95_ms=FAILS),
    ]  # fmt: skip
    expected = confirmed(rows)
    for seed in range(5):
        shuffled = list(rows)
        random.Random(seed).shuffle(shuffled)
        assert confirmed(shuffled) == expected
    places = [place for place, _ in expected.results]
    assert places == sorted(places)
    assert places[0] == Place("mixture", 1)


# --- how far the budget reaches


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        ({}, Limit()),
        ({32: PASSES}, Limit(holds=32)),
        ({32: FAILS}, Limit(fails=32)),
        ({8: PASSES, 32: PASSES, 64: FAILS, 256: FAILS}, Limit(holds=32, fails=64)),
        ({64: FAILS, 8: PASSES}, Limit(holds=8, fails=64)),
        ({8: PASSES, 16: FAILS, 32: PASSES, 64: FAILS}, Limit(holds=8, fails=16)),
        ({8: FAILS, 16: PASSES}, Limit(fails=8)),
        ({9: PASSES, 10: FAILS, 100: PASSES}, Limit(holds=9, fails=10)),
        ({16: PASSES, 24: None, 32: FAILS}, Limit(holds=16, undecided=24, fails=32)),
        ({16: PASSES, 24: None, 32: None}, Limit(holds=16, undecided=24)),
        ({16: None, 24: PASSES}, Limit(holds=24)),
        ({16: FAILS, 24: None}, Limit(fails=16)),
        ({16: None}, Limit(undecided=16)),
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", ["tokens", "rate"])
def test_a_limit_is_the_highest_that_holds_below_the_lowest_that_does_not(
    kind: str, levels: dict[int, float | None], expected: Limit
) -> None:
    make = tokens_row if kind == "tokens" else rate_row
    rows = [make(n, **(UNDECIDED if ms is None else {"p95_ms": ms})) for n, ms in levels.items()]
    found = confirmed(rows)
    mine, other = found.longest_tokens, found.highest_qps
    if kind == "rate":
        mine, other = other, mine
    assert (mine, other) == (expected, Limit())


@pytest.mark.parametrize(
    "changes",
    [{"batch_size": 8}, {"clients": 2}, {"purpose": "soak"}, {"arrival": "poisson", "offered_qps": 5.0}],
    ids=str,
)
def test_lengths_are_those_of_one_text_one_caller_back_to_back(changes: dict[str, Any]) -> None:
    found = confirmed([tokens_row(32), tokens_row(64, **changes)])
    assert found.longest_tokens == Limit(holds=32)


@pytest.mark.parametrize(
    "changes",
    [{"batch_size": 8}, {"clients": 2}, {"workload": "default"}, {"workload": "tokens_32"}],
    ids=str,
)
def test_rates_are_those_of_realistic_texts_and_one_caller(changes: dict[str, Any]) -> None:
    found = confirmed([rate_row(10.0), rate_row(50.0, **changes)])
    assert found.highest_qps == Limit(holds=10.0)


@pytest.mark.parametrize("purpose", ["latency", "confirm", "search"])
def test_a_level_counts_whatever_it_was_measured_for(purpose: str) -> None:
    found = confirmed([tokens_row(32, purpose=purpose), rate_row(10.0, purpose=purpose)])
    assert (found.longest_tokens, found.highest_qps) == (Limit(holds=32), Limit(holds=10.0))


@pytest.mark.parametrize("name", ["default", "mixture", "tokens_", "tokens_8+1a2b", "tokens_x"])
def test_a_workload_without_one_length_has_no_level(name: str) -> None:
    assert confirmed([run_row(workload=name)]).longest_tokens == Limit()


def test_a_level_that_could_not_be_measured_holds_nothing() -> None:
    here = {"status": "unavailable", "launch_p95_ms": [], "launches": 0}
    assert confirmed([tokens_row(64), tokens_row(128, **here)]).longest_tokens.holds == 64


def test_of_two_must_gates_the_stricter_limits() -> None:
    raw = load_policy().model_dump()
    raw["gates"] = [raw["gates"][0], raw["gates"][0] | {"bound": 15.0}]
    rows = [tokens_row(8), tokens_row(64, p95_ms=20.0)]
    found = confirmation_of(rows, PolicyConfig.model_validate(raw))
    assert found.longest_tokens == Limit(holds=8, fails=64)


def test_limits_are_told_in_words() -> None:
    rows = [tokens_row(64), tokens_row(96, **UNDECIDED), tokens_row(128, p95_ms=FAILS), rate_row(50.0)]
    assert confirmed(rows).limits == (
        "within the budget: texts of up to 64 tokens, one caller (96 is undecided, 128 is too much)",
        "within the budget: mixture texts arriving at random, up to 50 requests/s",
    )
    (line,) = confirmed([tokens_row(8, p95_ms=FAILS)]).limits
    assert line.startswith("not shown to be within the budget at any length measured")
    assert line.endswith("(8 is too much)")
    assert confirmed(full()).limits == ()


def test_the_levels_rise() -> None:
    assert list(LENGTHS) == sorted(set(LENGTHS))
    assert list(RATES) == sorted(set(RATES))
    assert min(LENGTHS) >= 3, "two special tokens and one of the text"
