"""A decision as it is told: figures, cells, the record and the page, from answers made by hand."""

from __future__ import annotations

import json
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from harness.confirmation import Confirmation, Limit
from harness.errors import ExitCode
from harness.gates import GateResult
from harness.schema import GateConfig
from harness.terminal import print_decision
from harness.verdict import (
    EXIT_CODES,
    VERDICTS,
    CandidateVerdict,
    Change,
    Decision,
    FrontPoint,
    ScorePart,
    demerit,
    gate_cells,
    noise_mark,
)
from harness.workload import Place


def gate(**changes: Any) -> GateConfig:
    """A must gate on latency."""
    values: dict[str, Any] = {
        "tier": "must", "metric": "latency_p95_ms", "op": "<", "bound": 30, "label": "P95",
        "launch_quantile": 0.8,
    }  # fmt: skip
    return GateConfig.model_validate(values | changes)


def candidate(**changes: Any) -> CandidateVerdict:
    """A GO."""
    values: dict[str, Any] = {
        "label": "minilm fp32 cpu", "verdict": "GO",
        "gates": (GateResult(gate(), "PASS", 12.0, 11.0, 13.0, 20, 0),),
        "reasons": ("all pass",), "notes": (), "missing": (), "provisional": (), "confirmation": None,
        "confirm": "python -m harness measure=confirm", "model": "minilm", "latency_p95_ms": 12.0,
        "separation_auc": 0.99, "scripted": False, "run_ids": ("r1",),
    }  # fmt: skip
    return CandidateVerdict(**values | changes)


def decision(*candidates: CandidateVerdict, **changes: Any) -> Decision:
    """The decision on these candidates."""
    values: dict[str, Any] = {
        "verdict": "GO", "chosen": "minilm fp32 cpu", "reasons": ("all pass",), "candidates": candidates,
        "policy": "default", "evidence": "provisional", "fallback": None, "next_steps": (),
    }  # fmt: skip
    return Decision(**values | changes)


CONFIRMATION = Confirmation(
    results=(
        (Place("mixture", 1, 4), GateResult(gate(), "FAIL", 41.5, 40.0, None, 20, 20)),
        (Place("mixture", 1, 1, "poisson", 5.0), GateResult(gate(), "UNDECIDED", n=3, over=0)),
    ),
    lacking=("2 callers were not measured",),
    failing=("P95 at 4 clients",),
    longest_tokens=Limit(holds=128.0, fails=192.0),
    highest_qps=Limit(undecided=0.5, fails=1.0),
)


def test_every_verdict_has_an_exit_code_of_its_own() -> None:
    assert set(EXIT_CODES) == set(VERDICTS)
    assert [int(EXIT_CODES[verdict]) for verdict in VERDICTS] == [0, 10, 12, 11]
    for verdict in VERDICTS:
        assert decision(candidate(), verdict=verdict).exit_code is ExitCode(EXIT_CODES[verdict])


@pytest.mark.parametrize("p95_ms", [30.0001, 29.99999])
def test_a_value_beside_a_bound_is_told_on_its_side_of_it(p95_ms: float) -> None:
    result = GateResult(gate(), "PASS", p95_ms, p95_ms, 31.0, 20, 0)
    cells = gate_cells(result)
    assert cells[2:5] == ("< 30 in 80% of launches", f"{p95_ms}", f"{p95_ms}–31")
    file = StringIO()
    told = decision(candidate(gates=(result,)))
    print_decision(Console(file=file, width=80), told, details=False)
    assert f" {p95_ms} " in file.getvalue()
    assert f"| {p95_ms} | {p95_ms}–31 |" in told.to_markdown()


def test_a_bound_is_told_as_the_policy_says_it() -> None:
    g = gate(bound=30.0000001, launch_quantile=0.975)
    assert gate_cells(GateResult(g, "PASS", 30.0))[2:4] == ("< 30.0000001 in 97.5% of launches", "30")


def test_a_change_that_rounding_would_hide_is_told_in_more_digits() -> None:
    change = Change("measurement", "P95", 30.001, 29.999, None)
    assert str(change) == "P95 30.001 → 29.999 (-0.00667%) picks none"


def test_a_soak_gate_is_shown_like_any_other() -> None:
    g = gate(
        metric="rss_slope_bytes_per_request", bound=64, label="growth", tier="should", launch_quantile=None
    )
    assert gate_cells(GateResult(g, "PASS", 1.5, -2.0, 4.0)) == (
        "should", "growth", "< 64", "1.5", "-2–4", "+62.5 bytes/request (+97.7%)", "pass",
    )  # fmt: skip
    nothing = gate_cells(GateResult(g, "NOT_MEASURED", reason="no soak run"))
    assert nothing[3:] == ("?", "", "", "not measured")


def test_the_record_holds_where_each_gate_was_read() -> None:
    g = gate(at={"workload": "mixture", "clients": 4, "arrival": "poisson", "rate": 5.0})
    told = decision(candidate(gates=(GateResult(g, "PASS", 12.0, undisturbed="UNDECIDED"),)))
    (record,) = json.loads(told.to_json())["candidates"][0]["gates"]
    assert record["at"] == {
        "workload": "mixture", "batch_size": 1, "clients": 4, "arrival": "poisson", "rate": 5.0,
    }  # fmt: skip
    assert record["undisturbed"] == "UNDECIDED"


def test_a_verdict_that_rests_on_disturbed_launches_says_so_in_its_own_line() -> None:
    noisy = candidate(verdict="NO_GO", gates=(GateResult(gate(), "FAIL", n=17, over=17, quiet=0,
                                                         undisturbed="UNDECIDED"),))  # fmt: skip
    told = decision(noisy, verdict="NO_GO", chosen=None)
    assert (told.undisturbed, told.exit_code) == ("INCONCLUSIVE", ExitCode.NO_GO)
    assert told.to_markdown().startswith("# NO_GO, resting on disturbed launches\n")
    assert "## minilm fp32 cpu: NO_GO, resting on disturbed launches" in told.to_markdown().splitlines()
    file = StringIO()
    print_decision(Console(file=file, width=80), told, details=False)
    assert "NO_GO  (provisional, resting on disturbed launches, policy default)" in file.getvalue()
    assert noise_mark(decision(candidate())) == ""


def test_the_record_holds_a_confirmation_or_null() -> None:
    (first, second) = json.loads(
        decision(candidate(confirmation=CONFIRMATION), candidate()).to_json()
    )["candidates"]  # fmt: skip
    assert second["confirmation"] is None
    found = first["confirmation"]
    assert (found["complete"], found["lacking"]) == (False, ["2 callers were not measured"])
    assert found["failing"] == ["P95 at 4 clients"]
    assert found["longest_tokens"] == {
        "holds": 128, "undecided": None, "fails": 192, "seen_within_s": None, "rests_on_noise": False,
    }  # fmt: skip
    assert (found["highest_qps"]["undecided"], found["highest_qps"]["fails"]) == (0.5, 1)
    assert [(g["status"], g["value"], g["launches"], g["launches_over"]) for g in found["gates"]] == [
        ("FAIL", 41.5, 20, 20),
        ("UNDECIDED", None, 3, 0),
    ]
    assert [(g["at"]["clients"], g["at"]["rate"]) for g in found["gates"]] == [(4, None), (1, 5.0)]


def test_the_page_tells_how_far_the_budget_reaches() -> None:
    page = decision(candidate(confirmation=CONFIRMATION)).to_markdown()
    assert "- within the budget: texts of up to 128 tokens, one caller (192 is too much)" in page
    assert "- not shown to be within the budget at any rate measured" in page
    assert "(0.5 is undecided, 1 is too much)" in page


def test_the_id_follows_the_confirmation_and_the_noise() -> None:
    plain = decision(candidate())
    assert decision(candidate()).id == plain.id
    assert decision(candidate(confirmation=CONFIRMATION)).id != plain.id
    noisy = GateResult(gate(), "PASS", 12.0, 11.0, 13.0, 20, 0, undisturbed="FAIL")
    assert decision(candidate(gates=(noisy,))).id != plain.id


@pytest.mark.parametrize("field", ["reasons", "notes", "provisional"])
def test_nothing_told_becomes_html_or_breaks_a_line(field: str) -> None:
    page = decision(candidate(**{field: ("<b>a|b\r\nc\rd\u2028e",)})).to_markdown()
    assert "- &lt;b>a\\|b c d e\n" in page
    assert "<b>" not in page


@pytest.mark.parametrize(
    ("changes", "demerits"),
    [
        ({}, (0, 3, 2, 2)),
        ({"tier": "should"}, (0, 1, 1, 1)),
        ({"tier": "should", "metric": "latency_overhead", "launch_quantile": None}, (0, 1, 1, 1)),
        ({"tier": "should", "metric": "throughput_texts_per_s", "op": ">"}, (0, 0, 0, 0)),
        ({"tier": "nice"}, (0, 0, 0, 0)),
    ],
    ids=str,
)
def test_a_gates_answer_keeps_a_candidate_as_far_from_go_as_its_tier_says(
    changes: dict[str, Any], demerits: tuple[int, ...]
) -> None:
    answers = ("PASS", "FAIL", "UNDECIDED", "NOT_MEASURED")
    assert tuple(demerit(gate(**changes), answer) for answer in answers) == demerits


FIRM = {
    "stays": 0.873,
    "changes": (
        Change("weight", "weight of separation_auc", 2.0, 1.5, "e5 fp32 cpu"),
        Change("bound", "bound of the must gate growth", 0.0, 0.25, None),
    ),
    "front": tuple(FrontPoint(f"c{n}", 5.0 + n, 0.99, None) for n in range(7)),
}


def test_how_firm_a_pick_is_is_three_lines() -> None:
    robust, changes, front = decision(candidate(), **FIRM).firmness
    assert robust == "robustness: the pick stays in 87.3% of data sets with these runs' launches resampled"
    assert changes == (
        "closest change of the pick: weight of separation_auc 2 → 1.5 (-25%) picks e5 fp32 cpu; "
        "bound of the must gate growth 0 → 0.25 picks none"
    )
    begins = "Pareto front of P95, AUC and memory, of what could be picked: c0 (5 ms, 0.99, ?); c1 (6 ms, "
    assert front.startswith(begins)
    assert front.endswith("; c4 (9 ms, 0.99, ?); and 2 more")
    page = decision(candidate(), **FIRM).to_markdown()
    for line in (robust, changes, front):
        assert f"- {line[0].upper()}{line[1:]}." in page.splitlines()


def test_a_change_that_no_figure_shows_is_told_in_words() -> None:
    change = Change("bound", "bound of the must gate P95", 30.0, 30.00000004, None)
    assert str(change) == "bound of the must gate P95, just past its 30, picks none"


def test_without_anything_to_tell_of_a_pick_nothing_is_told() -> None:
    assert decision(candidate()).firmness == ()
    alone = decision(candidate(), front=(FrontPoint("c", 5.0, 0.99, None),))
    assert alone.firmness == (), "one that beats all others in everything is no trade-off"


def test_the_record_holds_how_firm_the_pick_is() -> None:
    scored = candidate(score=(ScorePart("separation_auc", None, 0.0, 2.0),))
    record = json.loads(decision(scored, **FIRM).to_json())
    assert record["pick_stays"] == 0.873
    assert [(c["kind"], c["then"], c["relative"]) for c in record["closest_changes"]] == [
        ("weight", 1.5, -0.25),
        ("bound", 0.25, None),
    ]
    assert len(record["pareto_front"]) == 7
    assert record["pareto_front"][0]["peak_rss_bytes"] is None
    (part,) = record["candidates"][0]["score"]
    assert part == {
        "metric": "separation_auc", "value": None, "score": 0.0, "weight": 2.0, "at_least": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("now", "then", "told"),
    [
        (0.95, 0.9697380161765714, "0.95 → 0.9698 (+2.08%)"),
        (0.95, 0.930261, "0.95 → 0.9302 (-2.08%)"),
        (30.0, 11.999999999999998, "30 → 12 (-60%)"),
        (12.0, 30.00001, "12 → 30 (+150%)"),
        (10.0, 12345.6, "10 → 12346 (+1.23e+05%)"),
    ],
)
def test_a_number_that_changes_the_pick_is_not_rounded_to_one_that_does_not(
    now: float, then: float, told: str
) -> None:
    assert str(Change("bound", "it", now, then, None)) == f"it {told} picks none"
