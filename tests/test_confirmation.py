"""What confirmation says of rows: what it takes, what it lacks, and how far the budget reaches."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any

import pandas as pd
import pytest

from harness.compose import conf_dir
from harness.config import load_policy, yaml_of
from harness.confirmation import LENGTHS, RATES, SPAN_S, Confirmation, Limit, confirmation_of
from harness.open_loop import with_alone
from harness.schema import PolicyConfig
from harness.workload import Place
from tests.conftest import STARTED, launched, run_row

INF = float("inf")
PASSES, FAILS = 12.0, 60.0
# As many over the bound as under it: no number of launches tells 0.8 from that, ten do not.
UNDECIDED = {"launch_p95_ms": [12.0] * 9 + [60.0], "launches": 10}


def load_row(**changes: Any) -> dict[str, Any]:
    """A run under production's load."""
    place = "-".join(str(value) for value in changes.values())
    return run_row(f"load-{place}"[:60], **({"workload": "mixture", "purpose": "confirm"} | changes))


def paced_row(rate: float = 20.0, **changes: Any) -> dict[str, Any]:
    """The run at the declared rate."""
    return load_row(arrival="poisson", offered_qps=rate, **changes)


def full(**changes: Any) -> list[dict[str, Any]]:
    """All that confirmation takes; `changes` are those of the run with four callers."""
    return [load_row(), load_row(clients=2), load_row(clients=4, **changes), paced_row()]


def tokens_row(tokens: int, **changes: Any) -> dict[str, Any]:
    named = {"workload": f"tokens_{tokens}", "purpose": "search"}
    return run_row(f"tokens-{tokens}", **(named | changes))


def rate_row(rate: float, **changes: Any) -> dict[str, Any]:
    named = {"workload": "mixture", "arrival": "poisson", "offered_qps": rate, "purpose": "search"}
    return run_row(f"rate-{rate}", **(named | changes))


def alone_row(served_per_s: float | None = 300.0, **changes: Any) -> dict[str, Any]:
    """One caller at full tilt, without which no rate is known to be one that can be served."""
    return run_row("alone", **({"workload": "mixture"} | served(served_per_s) | changes))


def served(texts_per_s: float | None, low: float | None = None) -> dict[str, Any]:
    """What a run was served, and the low end of its interval where that is another one."""
    name = "throughput_texts_per_s"
    return {name: texts_per_s, f"{name}_low": texts_per_s if low is None else low}


def confirmed(rows: list[dict[str, Any]]) -> Confirmation:
    return confirmation_by(rows, load_policy())


def confirmation_by(rows: list[dict[str, Any]], policy: PolicyConfig) -> Confirmation:
    return confirmation_of(with_alone(rows), policy)


# --- what it takes


def test_realistic_texts_with_one_two_and_four_callers_and_at_a_declared_rate_are_all_it_takes() -> None:
    found = confirmed(full())
    assert (found.complete, found.lacking, found.failing) == (True, (), ())
    assert [(str(place), result.status) for place, result in found.results] == [
        ("mixture, batch 1", "PASS"),
        ("mixture, batch 1, poisson 20/s", "PASS"),
        ("mixture, batch 1, 2 clients", "PASS"),
        ("mixture, batch 1, 4 clients", "PASS"),
    ]
    assert found.cores == 2


def test_the_declared_rate_is_asked_too() -> None:
    found = confirmed([*full()[:3], paced_row(p95_ms=FAILS)])
    assert found.complete
    assert found.failing == ("P95 latency ms at mixture, batch 1, poisson 20/s is 60, needed < 30",)


@pytest.mark.parametrize("clients", [1, 2, 4])
def test_callers_that_were_not_measured_are_lacking(clients: int) -> None:
    rows = [row for row in full()[:3] if row["clients"] != clients]
    found = confirmed([*rows, *([] if clients == 1 else [paced_row()])])
    said = f"mixture texts with {clients} concurrent callers were not measured"
    assert said in found.lacking
    assert len(found.lacking) == (2 if clients == 1 else 1), (
        "without one caller no rate is known to be served"
    )
    assert not found.complete


def test_paced_arrivals_are_no_caller_that_waits_for_its_answer() -> None:
    (line, _) = confirmed(full()[1:]).lacking
    assert line == "mixture texts with 1 concurrent callers were not measured"


def test_a_rate_that_was_not_declared_is_lacking_and_says_how_to_declare_it() -> None:
    lacking = ("no rate of arrivals was declared: measure.rate=N in requests/s, as in production",)
    assert confirmed(full()[:3]).lacking == lacking
    assert confirmed([*full()[:3], rate_row(20.0)]).lacking == lacking, "a probe declares nothing"


def test_nothing_measured_confirms_nothing() -> None:
    found = confirmed([])
    assert (found.complete, len(found.lacking), found.results, found.limits) == (False, 4, (), ())


@pytest.mark.parametrize("purpose", ["latency", "search", "soak", None])
def test_runs_for_another_reason_confirm_nothing(purpose: str | None) -> None:
    found = confirmed([row | {"purpose": purpose} for row in full()])
    assert (len(found.lacking), found.results) == (4, ())


def test_other_texts_with_that_many_callers_do_not_count() -> None:
    found = confirmed([row | {"workload": "default"} for row in full()])
    lacking = [line for line in found.lacking if "not measured" in line or "declared" in line]
    assert len(lacking) == 4


# --- at which batch size


def policy_at(*batch_sizes: int) -> PolicyConfig:
    """The shipped policy with a must latency gate at each batch size."""
    raw = load_policy().model_dump()
    latency, *others = raw["gates"]
    labels = [latency["label"], *(f"of {size}" for size in batch_sizes[1:])]
    gates = [
        latency | {"label": label, "at": latency["at"] | {"batch_size": size}}
        for label, size in zip(labels, batch_sizes, strict=True)
    ]
    return PolicyConfig.model_validate(raw | {"gates": [*gates, *others]})


def test_what_confirms_is_the_batch_size_that_the_must_gate_reads() -> None:
    batched = [row | {"batch_size": 8} for row in full(p95_ms=FAILS)]
    found = confirmation_by(batched, policy_at(8))
    assert found.failing == ("P95 latency ms at mixture, batch 8, 4 clients is 60, needed < 30",)
    assert found.complete
    other = confirmed(batched)
    assert (other.failing, other.results) == ((), ()), "no gate of the shipped policy reads batches of eight"
    assert len(other.lacking) == 4


def test_each_batch_size_that_a_must_gate_reads_is_to_be_confirmed() -> None:
    batched = [row | {"batch_size": 8, "run_id": f"{row['run_id']}-8"} for row in full()]
    assert confirmation_by([*full(), *batched], policy_at(1, 8)).complete
    assert len(confirmation_by([*full(), *batched], policy_at(1, 8)).results) == 8
    assert len(confirmation_by(full(), policy_at(1, 8)).lacking) == 4


def test_limits_are_those_of_the_batch_size_that_the_must_gate_reads() -> None:
    rows = [
        alone_row(batch_size=8), tokens_row(32, batch_size=8), tokens_row(64),
        rate_row(10.0, batch_size=8), rate_row(20.0),
    ]  # fmt: skip
    found = confirmation_by(rows, policy_at(8))
    assert (found.longest_tokens, found.highest_qps) == (Limit(holds=32), Limit(holds=10))


# --- of which confirmation

EARLIER, LATER = STARTED + timedelta(hours=1), STARTED + timedelta(hours=2)


def test_only_runs_of_the_newest_confirmation_count() -> None:
    mistyped = paced_row(200.0, p95_ms=FAILS, confirmation_at=EARLIER)
    newest = [row | {"confirmation_at": LATER} for row in full()]
    found = confirmed([mistyped, *newest])
    assert (found.complete, found.failing, len(found.results)) == (True, (), 4)
    again = confirmed([mistyped | {"confirmation_at": LATER}, *newest])
    assert again.failing == ("P95 latency ms at mixture, batch 1, poisson 200/s is 60, needed < 30",)


def test_a_newer_confirmation_that_measured_less_is_not_filled_up_from_an_older_one() -> None:
    rows = [row | {"confirmation_at": EARLIER} for row in full()]
    rows[2]["confirmation_at"] = LATER
    found = confirmed(rows)
    assert len(found.results) == 1
    assert len(found.lacking) == 3


@pytest.mark.parametrize("unknown", [None, pd.NaT])
def test_a_run_that_says_no_time_is_of_no_newer_confirmation(unknown: Any) -> None:
    """As a version wrote it that did not know when: all of those together are one."""
    old = [row | {"confirmation_at": unknown} for row in full()]
    assert confirmed(old).complete
    newest = [row | {"confirmation_at": pd.Timestamp(LATER)} for row in full()[:3]]
    (line,) = confirmed([old[-1], *newest]).lacking
    assert "no rate of arrivals was declared" in line


# --- how near a rate may be to what can be served


@pytest.mark.parametrize(("rate", "steady"), [(90.0, True), (90.1, False), (100.0, False), (200.0, False)])
def test_a_rate_over_nine_tenths_of_what_one_caller_was_served_confirms_nothing(
    rate: float, steady: bool
) -> None:
    alone, two, four, _ = full()
    found = confirmed([alone | served(100.0), two, four, paced_row(rate)])
    assert found.complete == steady
    assert found.highest_qps == (Limit(holds=rate) if steady else Limit(undecided=rate))
    if not steady:
        (line,) = found.lacking
        told = f"{rate:g} requests/s may be more than can be served: up to {rate:.1f}% of what one caller"
        assert line.endswith(
            f" at mixture, batch 1, poisson {rate:g}/s is undecided: {told} is served, over 90%"
        )


def test_what_one_caller_was_served_counts_in_requests_not_in_texts() -> None:
    rows = [row | served(100.0) | {"batch_size": 4} for row in full()[:3]]
    assert confirmation_by([*rows, paced_row(22.5, batch_size=4)], policy_at(4)).complete
    assert not confirmation_by([*rows, paced_row(22.6, batch_size=4)], policy_at(4)).complete


@pytest.mark.parametrize(("low", "steady"), [(100.0, True), (99.9, False), (0.0, False)])
def test_what_one_caller_was_served_counts_at_the_low_end_of_its_interval(low: float, steady: bool) -> None:
    alone, *rest = full()
    found = confirmed([alone | served(500.0, low), *rest[:2], paced_row(90.0)])
    assert found.highest_qps == (Limit(holds=90) if steady else Limit(undecided=90))


def test_a_rate_confirms_nothing_where_too_few_launches_say_what_can_be_served() -> None:
    few = served(500.0) | {"throughput_texts_per_s_low": None, "launches": 5}
    found = confirmed([rate_row(10.0), alone_row(**few)])
    assert found.highest_qps == Limit(undecided=10)
    (line,) = confirmed([full()[0] | few, *full()[1:]]).lacking
    assert line.endswith("served at mixture, batch 1 is not known from 5 launches, too few")


@pytest.mark.parametrize("unknown", [None, float("nan")])
def test_a_rate_confirms_nothing_where_it_is_unknown_what_can_be_served(unknown: float | None) -> None:
    alone, *rest = full()
    found = confirmed([alone | served(unknown), *rest])
    assert found.highest_qps == Limit(undecided=20)
    (line,) = found.lacking
    assert line.endswith("what one caller is served at mixture, batch 1 is not known")
    assert confirmed([rate_row(10.0)]).highest_qps == Limit(undecided=10)


@pytest.mark.parametrize(
    "other", [{"clients": 2}, {"batch_size": 8}, {"workload": "default"}, {"purpose": "soak"}], ids=str
)
def test_what_was_served_at_another_load_says_nothing_of_it(other: dict[str, Any]) -> None:
    assert confirmed([rate_row(10.0), alone_row(**other)]).highest_qps == Limit(undecided=10)
    assert confirmed([rate_row(10.0), alone_row(1.0, **other), alone_row()]).highest_qps == Limit(holds=10)


def test_a_rate_that_is_too_near_what_can_be_served_still_fails() -> None:
    found = confirmed([alone_row(100.0), rate_row(50.0), rate_row(95.0, p95_ms=FAILS)])
    assert found.highest_qps == Limit(holds=50, fails=95)


# --- what it lacks


def test_launches_that_span_too_little_confirm_nothing() -> None:
    found = confirmed(full(evidence_span_s=89.0))
    assert found.lacking == ("the launches at mixture, batch 1, 4 clients span 89 s, under 90 s",)
    assert confirmed(full(evidence_span_s=90.0)).complete


@pytest.mark.parametrize("asked_s", [0.0, 89.0])
def test_nothing_is_confirmed_where_less_than_the_shipped_span_was_asked_for(asked_s: float) -> None:
    """However far apart its launches lie: with no span to fill, two bursts a day apart span a day."""
    said = f"to span {asked_s:g} s; give measure.min_span_s=90 or more"
    (line,) = confirmed(full(evidence_span_s=86_400.0, min_span_s=asked_s)).lacking
    assert line == f"the launches at mixture, batch 1, 4 clients were {said}"
    (line,) = confirmed([run_row(min_span_s=asked_s), *full()]).lacking
    assert line == f"the launches at default, batch 1 were {said}", "what the must gate reads counts too"
    assert yaml_of(conf_dir() / "measure" / "default.yaml")["min_span_s"] == SPAN_S


def test_a_script_is_never_confirmed() -> None:
    found = confirmed([row | {"runtime": "fake"} for row in full()])
    assert found.lacking == ("the figures are a script's, not this machine's",)


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
    told = "P95 latency ms at mixture, batch 1, 4 clients (3 of 3 launches failed), needed < 30"
    assert found.failing == (told,)
    some = confirmed(full(launch_p95_ms=[12.0] * 39 + [INF], launches=40, launches_failed=1))
    assert [(result.status, result.over) for _, result in some.results] == [("PASS", 0)] * 3 + [("PASS", 1)]


def test_a_budget_that_does_not_hold_is_settled_all_the_same() -> None:
    for stopped, shown in ({}, "60"), ({"truncated_over_ms": 30.0}, "≥ 30"):
        found = confirmed(full(p95_ms=FAILS, **stopped))
        assert found.complete
        assert found.failing == (f"P95 latency ms at mixture, batch 1, 4 clients is {shown}, needed < 30",)


@pytest.mark.parametrize("stopped", [{}, {"truncated_over_ms": 20.0}])
def test_a_failure_with_no_figure_says_how_many_launches_failed(stopped: dict[str, float]) -> None:
    found = confirmed(full(launch_p95_ms=[25.0] * 2 + [INF] * 18, **stopped))
    told = "P95 latency ms at mixture, batch 1, 4 clients (18 of 20 launches failed), needed < 30"
    assert told in found.failing


def test_only_must_latency_gates_are_asked() -> None:
    """The target at 20 ms fails here, the must gate at 30 ms passes."""
    found = confirmed([row | {"launch_p95_ms": [25.0] * 20} for row in full()])
    assert (found.failing, {result.gate.tier for _, result in found.results}) == ((), {"must"})


def test_a_gate_on_another_place_is_asked_of_this_load_too() -> None:
    raw = load_policy().model_dump()
    raw["gates"][0]["at"] = {"workload": "tokens_128", "clients": 3}
    found = confirmation_by(full(p95_ms=FAILS), PolicyConfig.model_validate(raw))
    assert [result.status for _, result in found.results] == ["PASS", "PASS", "PASS", "FAIL"]


def test_the_answer_does_not_depend_on_the_order_of_rows() -> None:
    rows = [
        *full(p95_ms=FAILS), paced_row(5.0), alone_row(9.0, purpose="soak"),
        paced_row(7.0), tokens_row(64), tokens_row(128, p95_ms=FAILS),
        rate_row(10.0), rate_row(50.0, p95_ms=FAILS),
    ]  # fmt: skip
    for row in rows:
        if row["purpose"] == "confirm":
            row["confirmation_at"] = EARLIER if row["offered_qps"] == 7.0 else LATER
    expected = confirmed(rows)
    assert len(expected.results) == 5
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
    found = confirmed([*rows, alone_row()])
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
    found = confirmed([alone_row(), rate_row(10.0), rate_row(50.0, **changes)])
    assert found.highest_qps == Limit(holds=10.0)


@pytest.mark.parametrize("purpose", ["latency", "confirm", "search"])
def test_a_level_counts_whatever_it_was_measured_for(purpose: str) -> None:
    found = confirmed([alone_row(), tokens_row(32, purpose=purpose), rate_row(10.0, purpose=purpose)])
    assert (found.longest_tokens, found.highest_qps) == (Limit(holds=32), Limit(holds=10.0))


@pytest.mark.parametrize("name", ["default", "mixture", "tokens_", "tokens_8+1a2b", "tokens_x"])
def test_a_workload_without_one_length_has_no_level(name: str) -> None:
    assert confirmed([run_row(workload=name)]).longest_tokens == Limit()


def test_a_level_that_could_not_be_measured_holds_nothing() -> None:
    here = {"status": "unavailable", "launch_p95_ms": [], "launches": 0}
    assert confirmed([tokens_row(64), tokens_row(128, **here)]).longest_tokens.holds == 64


def test_a_level_at_which_a_launch_failed_does_not_hold() -> None:
    crashed = launched(launch_p95_ms=[PASSES] * 30 + [INF], launches=31, launches_failed=1)
    for rows in ([tokens_row(64), tokens_row(128, **crashed)], [rate_row(10.0), rate_row(20.0, **crashed)]):
        found = confirmed([alone_row(), *rows])
        (limit,) = {found.longest_tokens, found.highest_qps} - {Limit()}
        assert (limit.holds, limit.fails) in ((64, 128), (10, 20))


@pytest.mark.parametrize(
    ("quiet_ms", "disturbed_ms", "expected", "told"),
    [
        ([PASSES] * 17, [FAILS] * 30, Limit(holds=64, undecided=128), "(128 is undecided)"),
        ([FAILS] * 6, [PASSES] * 80, Limit(holds=64, undecided=128), "(128 is undecided)"),
        ([PASSES] * 3, [PASSES] * 17, Limit(holds=128, rests_on_noise=True), "resting on disturbed launches"),
        ([FAILS] * 2, [FAILS] * 17, Limit(holds=64, fails=128, rests_on_noise=True), "resting on disturbed"),
        ([PASSES] * 17, [PASSES] * 3, Limit(holds=128), "128 tokens, one caller"),
    ],
    ids=["fails by noise", "holds by noise", "holds, few quiet", "fails, few quiet", "holds"],
)
def test_a_level_that_rests_on_disturbed_launches_is_told_or_left_open(
    quiet_ms: list[float], disturbed_ms: list[float], expected: Limit, told: str
) -> None:
    p95_ms = [*quiet_ms, *disturbed_ms]
    flags = [False] * len(quiet_ms) + [True] * len(disturbed_ms)
    row = tokens_row(128, **launched(launch_p95_ms=p95_ms, launches=len(p95_ms), launch_disturbed=flags))
    found = confirmed([tokens_row(64), row])
    assert found.longest_tokens == expected
    assert told in found.limits[0]


def test_a_level_is_not_measured_until_it_holds() -> None:
    """The newest first: an older attempt at the same length failed."""
    older = tokens_row(128, p95_ms=FAILS) | {"run_id": "older"}
    found = confirmed([tokens_row(64), tokens_row(128), older])
    assert found.longest_tokens == Limit(holds=64, undecided=128)
    failing = confirmed([tokens_row(64), older, tokens_row(128)])
    assert failing.longest_tokens == Limit(holds=64, fails=128), "what fails now is too much"


def test_a_level_that_attempts_together_leave_open_does_not_hold() -> None:
    """The newest holds by itself; with the launches of an older one, which was open, it is open again."""
    open_ms = [PASSES] * 11 + [FAILS] * 5
    older = tokens_row(128, **launched(launch_p95_ms=open_ms, launches=len(open_ms))) | {"run_id": "older"}
    newest = tokens_row(128)
    assert confirmed([tokens_row(64), older]).longest_tokens == Limit(holds=64, undecided=128)
    assert confirmed([tokens_row(64), newest]).longest_tokens == Limit(holds=128)
    found = confirmed([tokens_row(64), newest, older])
    assert found.longest_tokens == Limit(holds=64, undecided=128)
    plenty = tokens_row(128, **launched(launch_p95_ms=[PASSES] * 80, launches=80))
    assert confirmed([tokens_row(64), plenty, older]).longest_tokens == Limit(holds=128)


def test_of_two_must_gates_the_stricter_limits() -> None:
    raw = load_policy().model_dump()
    stricter = {"label": "stricter", "bound": 15.0, "launch_quantile": 0.5}
    raw["gates"] = [raw["gates"][0], raw["gates"][0] | stricter]
    rows = [tokens_row(8), tokens_row(64, p95_ms=20.0)]
    found = confirmation_by(rows, PolicyConfig.model_validate(raw))
    assert found.longest_tokens == Limit(holds=8, fails=64)


def test_limits_are_told_in_words() -> None:
    rows = [tokens_row(64), tokens_row(96, **UNDECIDED), tokens_row(128, p95_ms=FAILS), rate_row(50.0)]
    assert confirmed([*rows, alone_row()]).limits == (
        "within the budget: texts of up to 64 tokens, one caller (96 is undecided, 128 is too much)",
        "within the budget: mixture texts arriving at random, up to 50 requests/s",
    )
    burst = [tokens_row(64, evidence_span_s=8.4), rate_row(50.0, evidence_span_s=None)]
    lengths, rates = confirmed([*burst, alone_row()]).limits
    assert lengths.endswith("up to 64 tokens, one caller; provisional: seen within 8 s")
    assert rates.endswith("up to 50 requests/s; provisional: seen within an unknown time")
    slow = confirmed([rate_row(1.0), rate_row(50 / 3, p95_ms=FAILS), alone_row()]).limits
    assert slow[-1].endswith("at random, up to 1 request/s (16.666666666666668 is too much)")
    (line,) = confirmed([tokens_row(8, p95_ms=FAILS)]).limits
    assert line.startswith("not shown to be within the budget at any length measured")
    assert line.endswith("(8 is too much)")
    assert confirmed(full()[:3]).limits == ()


def test_the_levels_rise() -> None:
    assert list(LENGTHS) == sorted(set(LENGTHS))
    assert list(RATES) == sorted(set(RATES))
    assert min(LENGTHS) >= 3, "two special tokens and one of the text"
