"""The decision: the documents' scenarios, and everything that must never be a GO."""

from __future__ import annotations

import json
import math
import re
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import caveats, robustness
from harness.compose import conf_dir
from harness.config import load_policy
from harness.confirmation import Limit
from harness.decision import (
    LOAD_STEP,
    NEXT_STEPS,
    NO_FALLBACK_STEP,
    NOISE_STEP,
    decide,
)
from harness.errors import BadInputError, ExitCode
from harness.gates import SERVED_TOLD, ask, row_place
from harness.measure.quality import QUALITY_COLUMNS
from harness.record import CHANGED_SINCE, RUN_COLUMNS, SCHEMA_VERSION
from harness.rerun import command_for
from harness.schema import SOAK_METRICS, AtConfig, PolicyConfig
from harness.store import Store, load_runs
from harness.verdict import VERDICTS, Decision, gate_cells
from tests.conftest import STARTED, launched, run_row

if TYPE_CHECKING:
    from pathlib import Path

    from harness.workload import Place

# The planning documents' words where E5 and BGE are untried.
TRY_THEM = (
    "debug the execution provider's activation where it is not the CPU's, try e5 or bge, or accept and "
    "proceed if quality is good"
)
POLICIES = ("default", "documents")
MUSTS = [
    (name, metric)
    for name in POLICIES
    for metric in dict.fromkeys(g.metric for g in load_policy(name).gates if g.tier == "must")
]
INF = math.inf
# E5 as its cosines are: all of them between 0.7 and 1.0, and yet well ranked.
E5_COSINES: dict[str, Any] = {
    "similar_mean": 0.9, "similar_mean_low": 0.89, "similar_mean_high": 0.91,
    "dissimilar_mean": 0.74, "dissimilar_mean_low": 0.73, "dissimilar_mean_high": 0.75,
    "separation": 0.16, "separation_low": 0.14, "separation_high": 0.18,
    "separation_auc": 0.99, "separation_auc_low": 0.97, "separation_auc_high": 0.997,
}  # fmt: skip
property_test = settings(deadline=None, max_examples=30, derandomize=True)


def frame(*rows: dict[str, Any]) -> pd.DataFrame:
    """Rows as a frame of runs."""
    return pd.DataFrame(list(rows))


def model_row(model: str, run_id: str = "", **changes: Any) -> dict[str, Any]:
    """A good run of a model on the CPU."""
    named = {"model": model, "model_id": f"org/{model}", "candidate_label": f"{model} fp32 cpu"}
    return run_row(run_id or f"run-{model}", **(named | changes))


def launches_row(model: str, p95s: list[float], **changes: Any) -> dict[str, Any]:
    """A run with these launch P95s in ms."""
    failed = {"launches_failed": p95s.count(INF)} if INF in p95s else {}
    return model_row(model, launches=len(p95s), launch_p95_ms=p95s, **failed) | changes


def soak_row(model: str, **changes: Any) -> dict[str, Any]:
    """A run of minutes in one process, in which nothing grows."""
    figures: dict[str, Any] = {
        "purpose": "soak", "launches": 1, "launch_p95_ms": [12.0], "launch_throughput_texts_per_s": [80.0],
        "evidence_span_s": 0.0, "latency_p95_low_ms": None, "latency_p95_high_ms": None, "soak_s": 300.0,
        "rss_slope_bytes_per_request": 1.0, "rss_slope_bytes_per_request_low": -2.0,
        "rss_slope_bytes_per_request_high": 4.0, "handles_gained": 0,
        "latency_drift": 1.01, "latency_drift_low": 0.98, "latency_drift_high": 1.04,
    }  # fmt: skip
    return model_row(model, f"soak-{model}", **(figures | changes))


def place_id(place: dict[str, Any]) -> str:
    """Words for a run id."""
    return "-".join(f"{value}" for value in place.values())


def confirm_row(model: str, **changes: Any) -> dict[str, Any]:
    """A run of realistic texts, as confirmation measures it."""
    named = {"purpose": "confirm", "workload": "mixture", **changes}
    return model_row(model, f"confirm-{model}-{place_id(changes)}", **named)


def confirmed_rows(model: str, **changes: Any) -> list[dict[str, Any]]:
    """A candidate with everything that confirmation takes; `changes` are of its run with 4 callers."""
    return [
        model_row(model),
        confirm_row(model, arrival="poisson", offered_qps=3.0),
        confirm_row(model, clients=1),
        confirm_row(model, clients=2),
        confirm_row(model, clients=4) | launched(**changes),
    ]


def with_latency_bounds(policy: PolicyConfig, must: float, should: float) -> PolicyConfig:
    """The policy with other latency bounds."""
    bounds = {"must": must, "should": should}
    gates = [
        g.model_copy(update={"bound": bounds[g.tier]})
        if g.metric == "latency_p95_ms" and g.tier in bounds
        else g
        for g in policy.gates
    ]
    return policy.model_copy(update={"gates": gates})


def latency_only() -> PolicyConfig:
    """A user's policy with the latency must gate and nothing else."""
    policy = load_policy("default")
    gates = [g for g in policy.gates if g.tier == "must" and g.metric == "latency_p95_ms"]
    return policy.model_copy(update={"name": "latency-only", "gates": gates})


def all_text(decision: Decision) -> str:
    """Everything the decision says."""
    return decision.to_json() + decision.to_markdown()


# --- the documents' three scenarios


@pytest.mark.parametrize("policy", POLICIES)
def test_the_optimistic_scenario_goes_with_minilm(policy: str) -> None:
    decision = decide(frame(model_row("minilm", p95_ms=12)), policy)
    assert decision.verdict == "GO"
    assert decision.chosen == "minilm fp32 cpu"
    assert decision.exit_code == 0
    assert decision.fallback is None
    assert any("P95 12.00 ms" in reason for reason in decision.reasons)


@pytest.mark.parametrize("policy", POLICIES)
def test_the_realistic_scenario_is_conditional_and_names_the_alternatives(policy: str) -> None:
    decision = decide(frame(model_row("minilm", p95_ms=25)), policy)
    assert decision.verdict == "CONDITIONAL_GO"
    assert decision.chosen == "minilm fp32 cpu"
    assert decision.exit_code == 10
    assert decision.fallback is None
    named = next(reason for reason in decision.reasons if "alternatives" in reason)
    assert named.endswith("e5, bge")
    assert any("latency target does not" in reason for reason in decision.reasons)
    assert any("execution provider's activation" in step for step in decision.next_steps)


@pytest.mark.parametrize("policy", POLICIES)
def test_the_pessimistic_scenario_falls_back_on_qwen3_with_its_measured_figures(policy: str) -> None:
    decision = decide(
        frame(
            model_row("minilm", p95_ms=34),
            model_row("e5", p95_ms=41),
            model_row("bge", p95_ms=38),
            model_row("qwen3", p95_ms=171, latency_p50_ms=118.0),
        ),
        policy,
    )
    assert decision.verdict == "NO_GO"
    assert decision.chosen is None
    assert decision.exit_code == 11
    assert decision.fallback is not None
    assert "Qwen3" in decision.fallback
    assert decision.fallback.endswith("measured here, qwen3 fp32 cpu: 118 ms median, 171 ms P95")
    assert decision.fallback in decision.to_markdown()
    for model in ("minilm", "e5", "bge"):
        assert any(reason.startswith(model) and "P95" in reason for reason in decision.reasons)


def test_each_scenario_ends_in_the_documents_decision_reason_by_reason() -> None:
    optimistic = decide(frame(model_row("minilm", p95_ms=12)), "documents")
    assert optimistic.reasons == (
        "minilm fp32 cpu: all 5 must gates and the latency target pass",
        "minilm fp32 cpu: P95 12.00 ms, the median launch's",
        "not confirmed: nothing was measured under production's load (measure=confirm)",
    )
    realistic = decide(frame(model_row("minilm", p95_ms=25)), "documents")
    assert realistic.reasons == (
        "minilm fp32 cpu: all 5 must gates pass, the latency target does not",
        "minilm fp32 cpu: should gate fails: P95 ms (target) is 25, needed < 20",
        "minilm fp32 cpu: P95 25.00 ms, the median launch's",
        "alternatives that are not among these runs: e5, bge",
        "not confirmed: nothing was measured under production's load (measure=confirm)",
    )
    assert realistic.next_steps[0] == TRY_THEM
    slow = {"minilm": 34, "e5": 41, "bge": 38, "qwen3": 171}
    pessimistic = decide(frame(*(model_row(name, p95_ms=ms) for name, ms in slow.items())), "documents")
    assert pessimistic.reasons == tuple(
        f"{name} fp32 cpu: {tier} gate fails: {label} is {ms}, needed < {bound}"
        for name, ms in slow.items()
        for tier, label, bound in (("must", "P95 latency ms", 30), ("should", "P95 ms (target)", 20))
    )
    assert pessimistic.next_steps[0] == NEXT_STEPS["NO_GO"]


def test_in_the_realistic_scenario_a_measured_alternative_that_meets_the_target_is_picked() -> None:
    decision = decide(frame(model_row("minilm", p95_ms=25), model_row("bge", p95_ms=14)))
    assert (decision.verdict, decision.chosen) == ("GO", "bge fp32 cpu")


# --- verdicts and their exit codes


@pytest.mark.parametrize(
    ("rows", "verdict", "code"),
    [
        ([model_row("minilm", p95_ms=12)], "GO", 0),
        ([model_row("minilm", p95_ms=25)], "CONDITIONAL_GO", 10),
        ([model_row("minilm", p95_ms=35)], "NO_GO", 11),
        ([launches_row("minilm", [12.0] * 10)], "INCONCLUSIVE", 12),
        ([model_row("minilm", p95_ms=35), launches_row("e5", [12.0] * 10)], "INCONCLUSIVE", 12),
        ([launches_row("minilm", [12.0] * 10), model_row("e5", p95_ms=25)], "CONDITIONAL_GO", 10),
        ([model_row("minilm", p95_ms=25), model_row("e5", p95_ms=12)], "GO", 0),
    ],
)
def test_the_best_candidates_verdict_is_the_overall_one(
    rows: list[dict[str, Any]], verdict: str, code: int
) -> None:
    decision = decide(frame(*rows))
    assert decision.verdict == verdict
    assert decision.exit_code == code
    assert isinstance(decision.exit_code, ExitCode)
    assert (decision.chosen is not None) == (verdict in ("GO", "CONDITIONAL_GO"))
    assert [c.verdict for c in decision.candidates] == sorted(
        (c.verdict for c in decision.candidates), key=VERDICTS.index
    )


def test_an_undecided_target_is_conditional() -> None:
    row = launches_row("minilm", [12.0, 25.0] * 10)
    decision = decide(frame(row))
    assert decision.verdict == "CONDITIONAL_GO"
    assert any("undecided" in reason for reason in decision.reasons)


def test_an_undecided_must_is_inconclusive_and_says_how_much_more_would_settle_it() -> None:
    decision = decide(frame(launches_row("minilm", [12.0] * 10)))
    assert decision.verdict == "INCONCLUSIVE"
    assert any("about 7 more" in reason for reason in decision.reasons)
    assert "`python -m harness model=minilm ep=cpu measure.launches=17`" in decision.next_steps


def test_a_run_that_several_gates_leave_open_is_one_command_with_the_must_gate_s_launches() -> None:
    decision = decide(frame(launches_row("minilm", [12.0, 25.0, 12.0])))
    latency = [r for r in decision.candidates[0].gates if r.gate.metric == "latency_p95_ms"]
    assert [r.status for r in latency[:2]] == ["UNDECIDED", "UNDECIDED"]
    more = [command for command in decision.candidates[0].missing if "measure.launches=" in command]
    assert more == ["python -m harness model=minilm ep=cpu measure.launches=17"]


def test_a_missing_run_is_inconclusive_and_its_command_is_told() -> None:
    decision = decide(frame(model_row("minilm", batch_size=8)))
    assert decision.verdict == "INCONCLUSIVE"
    assert any("no run at workload=default batch_size=1" in reason for reason in decision.reasons)
    assert "python -m harness model=minilm ep=cpu" in decision.candidates[0].missing


def test_a_missed_should_other_than_latency_stays_a_go_and_is_listed_as_open() -> None:
    row = model_row("minilm", similar_mean=0.6, similar_mean_low=0.55, similar_mean_high=0.65)
    decision = decide(frame(row), "documents")
    assert decision.verdict == "GO"
    assert any("similar cosine" in note and "fails" in note for note in decision.candidates[0].notes)


# --- what is never a GO


@pytest.mark.parametrize("kind", [None, math.nan, pd.NA], ids=["None", "nan", "pd.NA"])
@pytest.mark.parametrize(("policy", "metric"), MUSTS)
def test_an_unknown_value_in_a_must_gate_is_never_a_go(policy: str, metric: str, kind: Any) -> None:
    row = model_row("minilm", **{metric: kind})
    if metric == "latency_p95_ms":
        row["launch_p95_ms"] = None
    decision = decide(frame(row), policy)
    assert decision.verdict == "INCONCLUSIVE"
    assert decision.chosen is None


@pytest.mark.parametrize("ends", [("low",), ("high",), ("low", "high")])
@pytest.mark.parametrize(
    ("policy", "metric"),
    [("default", "neighbour_overlap"), ("default", "separation_auc"), ("documents", "separation")],
)
def test_a_must_gate_without_an_interval_is_never_a_go(
    policy: str, metric: str, ends: tuple[str, ...]
) -> None:
    row = model_row("minilm", **{f"{metric}_{end}": None for end in ends})
    assert decide(frame(row), policy).verdict == "INCONCLUSIVE"


@pytest.mark.parametrize(
    ("metric", "wrong"),
    [
        ("l2_norm_max_error", {"l2_norm_max_error": 0.02}),
        ("finite", {"finite": False}),
        ("launches_failed", {"launches_failed": 1}),
        ("neighbour_overlap", {"neighbour_overlap": 0.5, "neighbour_overlap_low": 0.4,
                               "neighbour_overlap_high": 0.6}),
        ("separation_auc", {"separation_auc": 0.7, "separation_auc_low": 0.6, "separation_auc_high": 0.8}),
    ],
)  # fmt: skip
def test_any_failed_must_is_a_no_go_and_is_named(metric: str, wrong: dict[str, Any]) -> None:
    decision = decide(frame(model_row("minilm", **wrong)))
    assert decision.verdict == "NO_GO"
    failed = [g.gate.metric for g in decision.candidates[0].gates if g.status == "FAIL"]
    assert metric in failed
    label = next(g.label for g in load_policy("default").gates if g.metric == metric)
    assert any(label in reason for reason in decision.candidates[0].reasons)


CORRUPTIONS: dict[str, dict[str, Any]] = {
    "random weights": {"weights": "random"},
    "off the requested EP": {"ep_node_share": 0.49},
    "EP share unknown": {"ep_node_share": None},
    "off the requested EP by its nodes": {"ep_nodes": 4},
    "EP share over that of its nodes": {"ep_nodes": 9},
    "P95 unknown, its launches' known": {"latency_p95_ms": None},
    "off the requested EP in time": {"ep_time_share": 0.49},
    "EP time unknown": {"ep": "coreml", "ep_time_share": None},
    "parity failed": {"parity_cosine_min": 0.9998},
    "parity unknown": {"parity_cosine_min": None},
    "parity NaN": {"parity_cosine_min": math.nan},
    "parity bound unknown": {"parity_bound": None},
    "not finite": {"finite": False},
    "finite unknown": {"finite": None},
    "a failed launch": {"launches_failed": 1, "error": "exit 139"},
    "failed": {"status": "failed", "error": "exit 139"},
    "timed out": {"status": "timeout", "error": "killed"},
    "unavailable": {"status": "unavailable", "error": "not in this build"},
}


@pytest.mark.parametrize("policy", [*POLICIES, latency_only()], ids=lambda p: getattr(p, "name", p))
@pytest.mark.parametrize("corruption", CORRUPTIONS)
def test_no_policy_waves_it_through(policy: str | PolicyConfig, corruption: str) -> None:
    """Whatever the gates ask for, these can never be GO nor CONDITIONAL_GO."""
    assert decide(frame(model_row("minilm")), policy).verdict == "GO", "without the corruption"
    decision = decide(frame(model_row("minilm", **CORRUPTIONS[corruption])), policy)
    assert decision.verdict in ("NO_GO", "INCONCLUSIVE")
    assert decision.chosen is None
    assert decision.candidates[0].reasons


@pytest.mark.parametrize(
    ("share", "verdict"), [(0.49, "NO_GO"), (0.5, "GO"), (0.0, "NO_GO"), (None, "INCONCLUSIVE")]
)
def test_the_share_of_nodes_on_the_requested_ep_is_held_against_the_policys(
    share: float | None, verdict: str
) -> None:
    decision = decide(frame(model_row("minilm", ep="coreml", ep_node_share=share)))
    assert decision.verdict == verdict
    if verdict == "NO_GO":
        assert any("of the nodes run on coreml" in reason for reason in decision.reasons)


@pytest.mark.parametrize(
    ("ep", "share", "asked", "verdict"),
    [
        ("coreml", 0.01, 0.5, "NO_GO"),
        ("coreml", 0.5, 0.5, "GO"),
        ("coreml", None, 0.5, "INCONCLUSIVE"),
        ("coreml", None, 0.0, "GO"),
        ("cpu", None, 0.5, "GO"),
    ],
)
def test_the_share_of_the_nodes_time_on_the_requested_ep_is_held_against_the_policys(
    ep: str, share: float | None, asked: float, verdict: str
) -> None:
    """Most of the nodes are there in every case."""
    policy = load_policy("default").model_copy(update={"min_ep_time_share": asked})
    row = model_row("minilm", ep=ep, ep_node_share=0.6, ep_time_share=share)
    decision = decide(frame(row), policy)
    assert decision.verdict == verdict
    said = {"NO_GO": "only 1% of the nodes' time is on coreml", "INCONCLUSIVE": "no profile says how much"}
    assert any(said.get(verdict, "") in reason for reason in decision.reasons)
    assert any("measure.force=true" in step for step in decision.next_steps) == (verdict == "INCONCLUSIVE")
    noted = any("no profile says" in note for note in decision.candidates[0].notes)
    assert noted == (ep != "cpu" and share is None and not asked), "elsewhere it is a reason, or no matter"


NO_MINIMUM = {"min_ep_node_share": 0.0, "min_ep_time_share": 0.0}


@pytest.mark.parametrize(
    ("nowhere", "said"),
    [
        ({"ep_node_share": 0.0, "ep_time_share": None}, "only 0% of the nodes run on coreml"),
        ({"ep_nodes": 0, "ep_time_share": None}, "only 0% of the nodes run on coreml"),
        ({"ep_time_share": 0.0}, "only 0% of the nodes' time is on coreml"),
        ({"ep_nodes": 0, "ep_node_share": 0.0, "ep_time_share": 0.0}, "only 0% of the nodes run on coreml"),
    ],
    ids=["no share of the nodes", "no node", "no share of the time", "nothing"],
)
def test_a_run_that_fell_back_wholly_is_never_a_go_though_a_policy_asks_for_no_share(
    nowhere: dict[str, Any], said: str
) -> None:
    policy = load_policy("default").model_copy(update=NO_MINIMUM)
    assert decide(frame(model_row("minilm", ep="coreml")), policy).verdict == "GO"
    decision = decide(frame(model_row("minilm", ep="coreml", **nowhere)), policy)
    assert (decision.verdict, decision.chosen) == ("NO_GO", None)
    (reason,) = [line for line in decision.candidates[0].reasons if said in line]
    assert reason.endswith("at default, batch 1, needed some: a run that fell back is never GO")


@pytest.mark.parametrize(
    ("minimum", "share", "warned"), [(0.0, 0.03, True), (0.0, 0.5, False), (0.6, 0.5, False)]
)
def test_a_candidate_that_hardly_ran_on_its_ep_is_warned_of_where_the_policy_lets_it(
    minimum: float, share: float, warned: bool
) -> None:
    policy = load_policy("default").model_copy(update=NO_MINIMUM | {"min_ep_node_share": minimum})
    (candidate,) = decide(frame(model_row("minilm", ep="coreml", ep_node_share=share)), policy).candidates
    said = "only 0.03 of the nodes on coreml at default, batch 1, under the usual 0.5: the figures are mostly"
    assert candidate.verdict == ("NO_GO" if minimum else "GO")
    assert any(line.startswith(said) for line in candidate.warnings) == warned


@pytest.mark.parametrize("file", sorted((conf_dir() / "policy").glob("*.yaml")), ids=lambda f: f.stem)
def test_every_shipped_policy_asks_for_half_of_the_nodes_time(file: Path) -> None:
    assert load_policy(file.stem).min_ep_time_share == 0.5
    assert "min_ep_time_share: 0.5" in file.read_text(encoding="utf-8")


@pytest.mark.parametrize(("cosine", "verdict"), [(0.99989, "NO_GO"), (0.9999, "GO"), (None, "INCONCLUSIVE")])
def test_parity_is_held_against_the_precisions_bound(cosine: float | None, verdict: str) -> None:
    decision = decide(frame(model_row("minilm", parity_cosine_min=cosine)))
    assert decision.verdict == verdict
    if verdict != "GO":
        assert any("parity" in reason for reason in decision.reasons)


def test_random_weights_say_so() -> None:
    decision = decide(frame(model_row("minilm", weights="random")))
    assert decision.verdict == "INCONCLUSIVE"
    assert any("weights are random" in reason for reason in decision.reasons)


@pytest.mark.parametrize("policy", [*POLICIES, latency_only()], ids=lambda p: getattr(p, "name", p))
@pytest.mark.parametrize("p95_ms", [2.0, 29.0, 45.0])
def test_a_twin_is_never_a_go_however_fast_and_no_command_is_told_that_cannot_help(
    policy: str | PolicyConfig, p95_ms: float
) -> None:
    """As a twin's row is: every quality null."""
    twin = model_row("qwen3", weights="random", p95_ms=p95_ms, **dict.fromkeys(QUALITY_COLUMNS))
    decision = decide(frame(twin), policy)
    (candidate,) = decision.candidates
    assert decision.chosen is None
    assert decision.verdict == ("NO_GO" if p95_ms > 30 else "INCONCLUSIVE")
    assert any("weights are random: quality means nothing" in reason for reason in decision.reasons) or (
        p95_ms > 30
    )
    assert not [
        reason for reason in candidate.reasons if "finite is unknown at" in reason or "parity" in reason
    ]
    quality = [r for r in candidate.gates if r.gate.metric in QUALITY_COLUMNS]
    assert {result.status for result in quality} <= {"NOT_MEASURED"}
    assert not [note for note in candidate.notes if "separation" in note.lower()], "no command answers that"


def test_a_twin_beside_a_trained_model_leaves_the_pick_as_it_was() -> None:
    twin = model_row("e5", weights="random", p95_ms=2.0, **dict.fromkeys(QUALITY_COLUMNS))
    decision = decide(frame(model_row("minilm"), twin))
    assert (decision.verdict, decision.chosen) == ("GO", "minilm fp32 cpu")


def test_a_failed_launch_is_a_no_go_with_the_command_that_measures_anew() -> None:
    row = launches_row("minilm", [12.0] * 39 + [INF], error="exit 139 (SIGSEGV)")
    decision = decide(frame(row))
    assert decision.verdict == "NO_GO"
    said = next(reason for reason in decision.reasons if "launches failed" in reason)
    assert "1 of 40 launches failed" in said
    assert "exit 139 (SIGSEGV)" in said
    assert "python -m harness model=minilm ep=cpu measure.force=true" in said


@pytest.mark.parametrize("status", ["failed", "timeout"])
def test_a_failed_run_is_a_no_go_and_says_why(status: str) -> None:
    row = launches_row("minilm", [INF] * 3, status=status, error="no space left")
    decision = decide(frame(row))
    assert decision.verdict == "NO_GO"
    said = next(reason for reason in decision.reasons if "the run failed" in reason)
    assert "no space left" in said
    assert "measure.force=true" in said


def test_an_unavailable_run_is_inconclusive_and_says_why() -> None:
    nothing = {"launches": 0, "launch_p95_ms": [], "latency_p95_ms": None, "ep_node_share": None}
    row = model_row(
        "minilm", ep="coreml", status="unavailable", error="CoreML is not in this build", **nothing
    )
    decision = decide(frame(row))
    assert decision.verdict == "INCONCLUSIVE"
    assert any("CoreML is not in this build" in reason for reason in decision.reasons)


def test_an_unavailable_run_does_not_hide_a_measured_one() -> None:
    later = {"status": "unavailable", "error": "gone", "started_at": STARTED + timedelta(days=1)}
    decision = decide(frame(model_row("minilm", "a"), model_row("minilm", "b", **later)))
    assert decision.verdict == "GO"


def gone_row(hours: float, **changes: Any) -> dict[str, Any]:
    """An attempt that was not possible, so long after the others."""
    since = {"started_at": STARTED + timedelta(hours=hours), "error": "no such EP in this build"}
    return model_row("minilm", "gone", **(UNAVAILABLE | since | {"artifact_sha256": None} | changes))


@pytest.mark.parametrize("place", [{}, {"batch_size": 32}], ids=str)
def test_what_was_not_possible_the_last_time_is_told_and_never_confirmed(place: dict[str, Any]) -> None:
    decision = decide(frame(*confirmed_rows("minilm"), gone_row(5, **place)))
    assert (decision.verdict, decision.evidence) == ("GO", "provisional")
    said = "provisional: it was not possible the last time, at default, batch "
    (told,) = [reason for reason in decision.reasons if reason.startswith(said)]
    assert "no such EP in this build; where it is again: `python -m harness model=minilm ep=cpu" in told
    assert "measure.force=true`" in told


def test_what_was_not_possible_before_the_run_that_is_read_says_nothing() -> None:
    for place in ({}, {"batch_size": 32}):
        decision = decide(frame(*confirmed_rows("minilm"), gone_row(-5, **place)))
        assert decision.evidence == "confirmed"
        assert "no such EP" not in all_text(decision)


@pytest.mark.parametrize("policy", [*POLICIES, "strict"])
def test_a_command_whose_own_runs_were_not_possible_is_inconclusive_whatever_was_measured_before(
    policy: str,
) -> None:
    rows = [*confirmed_rows("minilm"), gone_row(5)]
    decision = decide(frame(*rows), policy, asked=["gone"])
    assert (decision.verdict, decision.chosen) == ("INCONCLUSIVE", None)
    (candidate,) = decision.candidates
    assert candidate.reasons == ("not possible here: no such EP in this build",)
    assert "not read, for it is not possible now: 5 runs from before" in candidate.notes


def test_a_command_of_which_a_part_was_not_possible_is_judged_by_what_was_measured() -> None:
    rows = [model_row("minilm"), gone_row(5, batch_size=32)]
    decision = decide(frame(*rows), asked=["run-minilm", "gone"])
    assert (decision.verdict, decision.evidence) == ("GO", "provisional")
    assert any("not possible the last time, at default, batch 32" in r for r in decision.reasons)
    unread = decide(frame(model_row("minilm"), gone_row(5, batch_size=8)), asked=["gone"])
    assert unread.verdict == "GO", "no gate reads batches of eight"
    assert any("not possible the last time, at default, batch 8" in r for r in unread.reasons)


@pytest.mark.parametrize(
    "corruption", ["failed", "timed out", "a failed launch", "parity failed", "off the requested EP"]
)
def test_what_is_wrong_at_batch_32_is_held_against_the_candidate_too(corruption: str) -> None:
    good, batch = model_row("minilm", "r1"), model_row("minilm", "r32", batch_size=32)
    assert decide(frame(good, batch)).verdict == "GO"
    decision = decide(frame(good, batch | CORRUPTIONS[corruption]))
    assert decision.verdict == "NO_GO"
    assert any("batch 32" in reason for reason in decision.reasons)


def test_a_failed_run_elsewhere_is_context() -> None:
    context = model_row("minilm", "r2", workload="tokens_512", status="failed", error="killed", p95_ms=900)
    assert decide(frame(model_row("minilm", "r1"), context)).verdict == "GO"


@pytest.mark.parametrize("status", ["failed", "timeout"])
@pytest.mark.parametrize(
    "beside", [[], [{"workload": "tokens_512", "status": "unavailable", "error": "gone"}]]
)
def test_a_candidate_of_which_every_run_failed_is_a_no_go_wherever_that_was(
    status: str, beside: list[dict[str, Any]]
) -> None:
    died = model_row("e5", "b8", batch_size=8, status=status, error="killed", launches_failed=20,
                     launch_p95_ms=[INF] * 20, latency_p95_ms=None)  # fmt: skip
    rows = [died, *(model_row("e5", f"beside-{i}", **changes) for i, changes in enumerate(beside))]
    alone = decide(frame(*rows))
    assert (alone.verdict, alone.exit_code) == ("NO_GO", ExitCode.NO_GO)
    assert (
        alone.candidates[0].reasons[0].startswith("the run failed at default, batch 8: killed; anew: `python")
    )
    slow = model_row("minilm", p95_ms=45)
    without, beside_it = decide(frame(slow)), decide(frame(slow, *rows))
    assert without.verdict == beside_it.verdict == "NO_GO"
    assert without.fallback == beside_it.fallback is not None


@pytest.mark.parametrize("status", ["complete", "interrupted"])
def test_a_run_that_failed_where_no_gate_reads_is_context_beside_one_that_did_not(status: str) -> None:
    """Even where that one is not read either."""
    died = model_row("e5", "b8", batch_size=8, status="failed", error="killed")
    other = model_row("e5", "b4", batch_size=4, status=status)
    decision = decide(frame(died, other))
    assert decision.verdict == "INCONCLUSIVE"
    assert any(note.startswith("no gate reads it: the run failed") for note in decision.candidates[0].notes)


@pytest.mark.parametrize(
    "place", [{"workload": "tokens_512"}, {"batch_size": 8}, {"clients": 2}, {"arrival": "poisson"}]
)
def test_a_run_elsewhere_neither_spoils_nor_stands_in(place: dict[str, Any]) -> None:
    slow_elsewhere = model_row("minilm", "r2", p95_ms=900, **place)
    assert decide(frame(model_row("minilm", "r1"), slow_elsewhere)).verdict == "GO"
    fast_elsewhere = model_row("minilm", "r2", p95_ms=1, **place)
    assert decide(frame(model_row("minilm", "r1", p95_ms=40), fast_elsewhere)).verdict == "NO_GO"
    assert decide(frame(fast_elsewhere)).verdict == "INCONCLUSIVE"


# --- where a gate reads


def throughput(decision: Decision) -> tuple[str, float | None]:
    """The throughput gate's answer of the first candidate."""
    gates = decision.candidates[0].gates
    result = next(g for g in gates if g.gate.metric == "throughput_texts_per_s")
    return result.status, result.value


def test_the_throughput_gate_reads_the_run_at_batch_32() -> None:
    single = model_row("minilm", "r1", launch_throughput_texts_per_s=[1000.0] * 20)
    slow = model_row("minilm", "r32", batch_size=32, p95_ms=700, launch_throughput_texts_per_s=[45.0] * 20)
    fast = slow | launched(launch_throughput_texts_per_s=[450.0] * 20)
    assert throughput(decide(frame(single, slow))) == ("FAIL", 45.0)
    assert throughput(decide(frame(single, fast))) == ("PASS", 450.0)
    for batch in (slow, fast):
        assert decide(frame(single, batch)).verdict == "GO", "a should, and batch 32 has no latency gate"


def test_a_throughput_that_was_not_measured_is_open_with_its_command() -> None:
    decision = decide(frame(model_row("minilm", launch_throughput_texts_per_s=[1000.0] * 20)))
    assert throughput(decision) == ("NOT_MEASURED", None)
    assert decision.verdict == "GO"
    notes = decision.candidates[0].notes
    assert "should gates not measured: texts/s, batch 32 (no run at workload=default batch_size=32)" in notes
    missing_soak = "memory growth B/req, handles gained, latency drift (no soak run)"
    assert f"should gates not measured: {missing_soak}" in notes, "one line for one missing run"
    assert "python -m harness model=minilm ep=cpu batch_size=32" in decision.candidates[0].missing


def test_a_command_holds_what_differs_from_the_defaults() -> None:
    assert command_for(model_row("minilm")) == "python -m harness model=minilm ep=cpu"
    told = command_for(
        model_row("e5", threads=2, batch_size=32, workload="mixture"), **{"measure.force": "true"}
    )
    assert set(told.removeprefix("python -m harness ").split()) == {
        "model=e5", "ep=cpu", "threads=2", "batch_size=32", "workload=mixture", "measure.force=true",
    }  # fmt: skip


# --- the two policies


def test_the_policies_part_on_cosines_like_e5s_and_the_default_says_why() -> None:
    runs = frame(model_row("e5", **E5_COSINES))
    default, documents = decide(runs, "default"), decide(runs, "documents")
    assert (default.verdict, default.chosen) == ("GO", "e5 fp32 cpu")
    assert (documents.verdict, documents.chosen) == ("NO_GO", None)
    assert any("separation" in reason for reason in documents.reasons)
    said = next(note for note in default.candidates[0].notes if "scale of this model's cosines" in note)
    assert "separation" in said
    assert "dissimilar_mean" in said
    assert "similar_mean and" not in said.replace("dissimilar_mean", ""), "similar_mean passes at 0.9"
    assert said in default.to_markdown()


def test_where_the_policies_agree_there_is_no_disagreement_to_tell() -> None:
    for rows in (model_row("minilm"), model_row("minilm", **(E5_COSINES | {"separation_auc_low": 0.9}))):
        for candidate in decide(frame(rows)).candidates:
            assert not any("scale of this model's cosines" in note for note in candidate.notes)


# --- the pick


def test_the_pick_is_the_first_path_and_the_reasons_name_the_others() -> None:
    rows = [model_row("bge", p95_ms=5), model_row("e5", p95_ms=6), model_row("minilm", p95_ms=12)]
    decision = decide(frame(*rows))
    assert decision.chosen == "minilm fp32 cpu"
    assert any("e5 fp32 cpu, bge fp32 cpu" in reason for reason in decision.reasons)


@pytest.mark.parametrize(
    ("objective", "pick"), [("path_order", "minilm"), ("lowest_latency", "e5"), ("best_quality", "bge")]
)
def test_the_objective_picks_among_equals(objective: str, pick: str) -> None:
    policy = load_policy("default").model_copy(update={"objective": objective})
    decision = decide(
        frame(
            model_row("minilm", p95_ms=12, separation_auc=0.985),
            model_row("e5", p95_ms=6, separation_auc=0.98),
            model_row("bge", p95_ms=9, separation_auc=0.995),
        ),
        policy,
    )
    assert decision.chosen == f"{pick} fp32 cpu"


def test_a_model_off_the_paths_comes_after_them_and_can_still_be_picked() -> None:
    mine = model_row("mine", p95_ms=2)
    assert decide(frame(mine, model_row("bge", p95_ms=15))).chosen == "bge fp32 cpu"
    assert decide(frame(mine, model_row("bge", p95_ms=45))).chosen == "mine fp32 cpu"


def test_a_changed_shipped_model_is_not_the_one_that_a_path_names() -> None:
    changed = model_row("minilm+49a9", p95_ms=15)
    assert decide(frame(changed, model_row("e5", p95_ms=16))).chosen == "e5 fp32 cpu"


def test_a_path_that_names_several_models_of_ones_own_is_told() -> None:
    policy = load_policy("default").model_copy(update={"paths": ["search-v3", "bge"]})
    rows = [
        model_row(f"custom+{digest}", p95_ms=p95, candidate_label=f"search-v3+{digest} fp32 cpu")
        for digest, p95 in (("49a9", 15), ("77aa", 12))
    ]
    decision = decide(frame(*rows, model_row("bge", p95_ms=2)), policy)
    assert decision.chosen == "search-v3+77aa fp32 cpu"
    (told,) = decision.warnings
    assert told.startswith("policy.paths: 'search-v3' is each of search-v3+49a9, search-v3+77aa; give")


@pytest.mark.parametrize("named", ["custom+49a9", "search-v3+49a9", "search-v3"])
def test_a_path_names_a_model_of_ones_own_as_its_column_or_as_its_table_does_or_by_name(named: str) -> None:
    policy = load_policy("default").model_copy(update={"paths": [named, "bge"]})
    mine = model_row("custom+49a9", p95_ms=15, candidate_label="search-v3+49a9 fp32 cpu")
    decision = decide(frame(mine, model_row("bge", p95_ms=2)), policy)
    assert decision.chosen == "search-v3+49a9 fp32 cpu"
    assert not any("policy.paths" in line for line in decision.warnings)


def test_of_one_model_the_faster_candidate_is_picked() -> None:
    slow = model_row("minilm", "a", p95_ms=14, threads=1, candidate_label="minilm 1 thread")
    fast = model_row("minilm", "b", p95_ms=9, threads=2, candidate_label="minilm 2 threads")
    decision = decide(frame(slow, fast))
    assert len(decision.candidates) == 2
    assert decision.chosen == "minilm 2 threads"


ADDED: dict[str, dict[str, Any]] = {
    "failed": {"status": "failed", "error": "x", "launches_failed": 20, "launch_p95_ms": [INF] * 20,
               "latency_p95_ms": None},
    "some failed": {"launches_failed": 1, "error": "x"},
    "unavailable": {"status": "unavailable", "error": "x", "launches": 0, "launch_p95_ms": [],
                    "latency_p95_ms": None, "ep_node_share": None},
    "random": {"weights": "random"},
    "interrupted": {"status": "interrupted"},
    "too slow": {"launch_p95_ms": [99.0] * 20, "latency_p95_ms": 99.0},
}  # fmt: skip


@property_test
@given(
    st.dictionaries(
        st.sampled_from(["minilm", "e5", "mine"]), st.sampled_from([12.0, 25.0, 45.0]), min_size=1
    ),
    st.sampled_from(sorted(ADDED)),
    st.sampled_from(["bge", "minilm"]),
    st.sampled_from(POLICIES),
)
def test_a_candidate_that_cannot_be_picked_never_changes_the_pick(
    measured: dict[str, float], added: str, model: str, policy: str
) -> None:
    rows = [model_row(name, p95_ms=p95_ms) for name, p95_ms in measured.items()]
    other = model_row(model, "a-first", ep="coreml", candidate_label=f"{model} coreml", **ADDED[added])
    before, after = decide(frame(*rows), policy), decide(frame(other, *rows), policy)
    assert after.chosen == before.chosen
    if before.chosen is not None:
        assert after.verdict == before.verdict
    assert VERDICTS.index(after.verdict) <= VERDICTS.index(before.verdict)


def read_by_the_objective_alone(objective: str) -> PolicyConfig:
    """A policy whose gates read batch 32 and whose objective reads one text at a time."""
    policy = load_policy("default").model_dump() | {"objective": objective, "paths": []}
    policy["order"] = [{"metric": metric} for metric in ("peak_rss_bytes", "latency_p95_ms")]
    gates = [gate for gate in policy["gates"] if gate["metric"] != "latency_p95_ms"]
    policy["gates"] = [gate | {"at": {"batch_size": 32}} for gate in gates]
    return PolicyConfig.model_validate(policy)


OBJECTIVES = ("path_order", "lowest_latency", "best_quality", "lexicographic", "weighted_matrix")


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_run_that_is_broken_or_cut_short_never_changes_the_pick_where_the_objective_reads(
    objective: str,
) -> None:
    policy = read_by_the_objective_alone(objective)
    rows = [model_row("minilm", peak_rss_bytes=3e8)]
    rows += [model_row(model, f"{model}-32", batch_size=32) for model in ("minilm", "e5")]
    better = {"p95_ms": 3.0, "peak_rss_bytes": 1e8, "separation_auc": 0.999, "separation_auc_high": 1.0}
    before, open_to = (decide(frame(*rows, *more), policy) for more in ((), [model_row("e5", **better)]))
    assert (before.chosen, open_to.chosen) == ("minilm fp32 cpu", "e5 fp32 cpu")
    doubted: dict[str, dict[str, Any]] = {
        "was interrupted": ADDED["interrupted"],
        "the run failed": {"status": "failed", "error": "x"},
        "1 of 20 launches failed": ADDED["some failed"],
        "a vector is not finite": {"finite": False},
        "whether all values are finite is unknown": {"finite": None},
        "of the nodes run on cpu": {"ep_nodes": 0, "ep_node_share": 0.0},
        "parity with the fp32 reference failed": {"parity_cosine_min": 0.5},
    }
    for why, changes in doubted.items():
        after = decide(frame(*rows, model_row("e5", **better, **changes)), policy)
        assert after.chosen == before.chosen
        assert [point.label for point in after.front] == [point.label for point in before.front]
        assert after.stays == before.stays
        notes = next(c.notes for c in after.candidates if c.model == "e5")
        (told,) = [note for note in notes if note.startswith("no figure for the objective: ")]
        assert why in told
        assert not any(note.startswith("no gate reads it") for note in notes)


def test_the_record_has_the_run_that_the_objective_goes_by_where_no_gate_reads() -> None:
    policy = read_by_the_objective_alone("lowest_latency")
    rows = [model_row("minilm", "m32", batch_size=32), model_row("minilm", "m1", p95_ms=9.37)]
    decision = decide(frame(*rows, model_row("minilm", "m8", batch_size=8)), policy)
    (candidate,) = decision.candidates
    assert (candidate.run_ids, [run.run_id for run in candidate.runs]) == (("m32",), ["m32", "m1"])
    page = decision.to_markdown()
    assert "| default, batch 1 | 9.37 |" in page
    assert "- Run m1: default, batch 1, 20 launches" in page


def test_a_run_that_was_interrupted_where_the_objective_reads_is_told_with_what_goes_on() -> None:
    policy = read_by_the_objective_alone("lowest_latency")
    read = model_row("minilm", "m32", batch_size=32)
    cut_short = model_row("minilm", status="interrupted")
    (candidate,) = decide(frame(read, cut_short), policy).candidates
    goes_on = "the run at default, batch 1 was interrupted: python -m harness model=minilm ep=cpu goes on"
    assert goes_on in candidate.notes


launch_p95s = st.lists(st.sampled_from([5.0, 15.0, 19.0, 24.0, 31.0, 60.0, INF]), min_size=1, max_size=40)
bounds = st.sampled_from([10.0, 20.0, 25.0, 30.0, 40.0, 100.0])


@property_test
@given(st.lists(launch_p95s, min_size=1, max_size=2), bounds, bounds, bounds, bounds)
def test_loosening_a_latency_bound_never_worsens_the_verdict(
    candidates: list[list[float]], must: float, should: float, more_must: float, more_should: float
) -> None:
    rows = [launches_row(model, p95s) for model, p95s in zip(("minilm", "e5"), candidates, strict=False)]
    policy = load_policy("default")
    tight = decide(frame(*rows), with_latency_bounds(policy, must, should))
    loose = decide(frame(*rows), with_latency_bounds(policy, max(must, more_must), max(should, more_should)))
    assert VERDICTS.index(loose.verdict) <= VERDICTS.index(tight.verdict)


shares = st.sampled_from([0.0, 0.3, 0.6, 0.9, 0.94, 0.95, 0.96, 1.0])


@property_test
@given(
    st.sampled_from(["neighbour_overlap", "separation_auc", "separation", "dissimilar_mean"]),
    st.sampled_from(["must", "should"]),
    st.lists(shares, min_size=3, max_size=3).map(sorted),
    st.lists(shares.filter(lambda share: 0 < share < 1), min_size=2, max_size=2).map(sorted),
)
def test_loosening_any_bound_never_worsens_the_verdict(
    metric: str, tier: str, figures: list[float], bounds: list[float]
) -> None:
    op, (loose, tight) = (">=", bounds) if metric != "dissimilar_mean" else ("<=", bounds[::-1])
    low, value, high = figures
    row = model_row("minilm", **{metric: value, f"{metric}_low": low, f"{metric}_high": high})
    policy = latency_only()
    asked = {"tier": tier, "metric": metric, "op": op, "label": metric}
    decisions = [
        decide(frame(row), PolicyConfig.model_validate(
            policy.model_dump() | {"gates": [*policy.model_dump()["gates"], asked | {"bound": bound}]}
        ))
        for bound in (loose, tight)
    ]  # fmt: skip
    assert VERDICTS.index(decisions[0].verdict) <= VERDICTS.index(decisions[1].verdict)


@property_test
@given(launch_p95s)
def test_one_more_slow_launch_never_improves_the_verdict(p95s: list[float]) -> None:
    before = decide(frame(launches_row("minilm", p95s)))
    after = decide(frame(launches_row("minilm", [*p95s, 60.0])))
    assert VERDICTS.index(after.verdict) >= VERDICTS.index(before.verdict)


# --- which evidence is read


def test_the_newest_run_of_the_same_thing_is_read_and_the_other_is_mentioned() -> None:
    old = model_row("minilm", "z-old", config_hash="h", p95_ms=12)
    new = model_row("minilm", "a-new", config_hash="h", p95_ms=40, started_at=STARTED + timedelta(hours=1))
    decision = decide(frame(old, new))
    assert decision.verdict == "NO_GO", "nobody reruns until GO"
    assert decision.candidates[0].run_ids == ("a-new",)
    assert any("1 other run(s) of the same thing" in note for note in decision.candidates[0].notes)
    swapped = decide(frame(old | {"finished_at": STARTED + timedelta(hours=2)}, new))
    assert (swapped.verdict, swapped.candidates[0].run_ids) == ("GO", ("z-old",))


def test_a_run_at_the_same_place_with_another_configuration_is_not_dropped_silently() -> None:
    """Other numbers of requests, texts or library versions: another `config_hash`, the same place."""
    old = model_row("minilm", "r-old", p95_ms=40)
    new = model_row("minilm", "r-new", p95_ms=12, started_at=STARTED + timedelta(hours=1))
    candidate = decide(frame(old, new)).candidates[0]
    assert candidate.run_ids == ("r-new",)
    assert any("other" in note and "default, batch 1" in note for note in candidate.notes)


@pytest.mark.parametrize("name", ["artifact_sha256", "onnxruntime", "harness_version"])
def test_evidence_of_another_artifact_or_version_is_not_read_with_the_newest(name: str) -> None:
    old = model_row("minilm", "r-old", batch_size=32, **{name: "another"})
    new = model_row("minilm", "r-new", started_at=STARTED + timedelta(hours=1))
    decision = decide(frame(old, new))
    assert throughput(decision)[0] == "NOT_MEASURED"
    note = decision.candidates[0].notes[0]
    assert note.startswith(f"judged is the evidence of run r-new ({name}=")
    assert note.endswith(f"); not read: 1 run with other {name}")


@pytest.mark.parametrize("name", ["tokenizers", "numpy", "macos"])
def test_evidence_of_another_version_that_the_environment_tells_is_not_read_with_the_newest(
    name: str,
) -> None:
    """As the identity of a run has it; nor does it deny what was measured under the newer one."""

    def under(version: str) -> dict[str, Any]:
        return {"environment": json.dumps({"libraries": {name: version}})}

    old = model_row("minilm", "r-old", batch_size=32, **under("1.0"))
    failed = launches_row("minilm", [40.0] * 20) | {"run_id": "r-failed", **under("1.0")}
    new = model_row("minilm", "r-new", started_at=STARTED + timedelta(hours=1), **under("2.0"))
    decision = decide(frame(old, failed, new))
    assert (decision.verdict, decision.candidates[0].provisional) == ("GO", ())
    assert throughput(decision)[0] == "NOT_MEASURED"
    note = decision.candidates[0].notes[0]
    assert note == f"judged is the evidence of run r-new ({name}=2.0); not read: 2 runs with other {name}"


def test_runs_that_are_not_read_are_told_with_the_columns_that_differ_and_no_others() -> None:
    rows = [
        model_row("minilm", "new", started_at=STARTED + timedelta(hours=1)),
        model_row("minilm", "a", batch_size=32, onnxruntime="1.0"),
        model_row("minilm", "b", batch_size=8, cores=8, harness_version="0"),
        model_row("minilm", "c", batch_size=16, cpus=2, python="3.10"),
    ]
    note = decide(frame(*rows)).candidates[0].notes[0]
    assert note.startswith("judged is the evidence of run new (onnxruntime=1.31.1, ")
    assert note.endswith("not read: 3 runs with other onnxruntime, python, harness_version, cores, cpus")
    older = [row | {"finished_at": STARTED + timedelta(hours=2)} for row in rows[1:2]]
    note = decide(frame(rows[0], *older)).candidates[0].notes[0]
    assert note == (
        "judged is the evidence of run a (onnxruntime=1.0); not read: 1 run with other onnxruntime"
    ), "the newest, though it is of an older version"


def test_the_run_that_was_measured_last_is_judged_though_it_was_begun_first() -> None:
    """One core, then two, then more launches of one: what is judged is what the command went on with."""
    one = model_row("minilm", "one", cores=1, cpus=1, p95_ms=40)
    two = model_row("minilm", "two", cores=2, cpus=2, p95_ms=12, started_at=STARTED + timedelta(hours=1))
    assert decide(frame(one, two)).verdict == "GO"
    continued = decide(frame(one | {"finished_at": STARTED + timedelta(hours=2)}, two))
    assert (continued.verdict, continued.candidates[0].run_ids) == ("NO_GO", ("one",))
    assert continued.candidates[0].notes[0] == (
        "judged is the evidence of run one (cores=1, cpus=1); not read: 1 run with other cores, cpus"
    )


def test_the_runs_that_a_command_asked_for_are_judged_before_newer_ones() -> None:
    one = model_row("minilm", "one", cores=1, cpus=1, p95_ms=40)
    two = model_row("minilm", "two", cores=2, cpus=2, p95_ms=12, started_at=STARTED + timedelta(hours=1))
    again = model_row("minilm", "again", cores=1, cpus=1, p95_ms=12, started_at=STARTED + timedelta(hours=2))
    runs = frame(one, two, again)
    for asked, judged in ((["one"], "one"), (["two"], "two"), (["one", "two"], "one"), ([], "again")):
        decision = decide(runs, asked=asked)
        assert decision.candidates[0].run_ids == (judged,)
        assert (decision.verdict == "GO") == (judged != "one")
    (said,) = decide(runs, asked=["one"]).candidates[0].provisional
    assert said.endswith("fail, is pass in another run of the same thing: again"), "asked for until GO"


def test_a_figure_on_data_of_ones_own_is_missing_by_the_command_that_names_the_data() -> None:
    policy = load_policy("default")
    asked = next(g for g in policy.gates if g.metric == "separation")
    sts = {"tier": "must", "metric": "sts_spearman", "bound": 85.0}
    gates = [*policy.gates, asked.model_copy(update=sts)]
    decision = decide(frame(model_row("minilm", "a")), policy=policy.model_copy(update={"gates": gates}))
    assert decision.verdict == "INCONCLUSIVE"
    assert any("quality.sts=FILE" in command for command in decision.candidates[0].missing)


def test_runs_of_different_candidates_are_judged_apart() -> None:
    rows = [
        model_row("minilm", "a"),
        model_row("minilm", "b", precision="int8"),
        model_row("minilm", "c", threads=2),
        model_row("minilm", "d", ep="coreml"),
        model_row("minilm", "e", ep_options='{"x": 1}'),
        model_row("minilm", "f", revision="def"),
        model_row("minilm", "g", weights="random"),
    ]
    decision = decide(frame(*rows))
    assert sorted(c.run_ids for c in decision.candidates) == [(row["run_id"],) for row in rows]


# --- provisional evidence


def test_evidence_of_a_short_time_is_provisional_and_says_how_to_spread_it() -> None:
    decision = decide(frame(model_row("minilm", evidence_span_s=20.0)))
    assert decision.verdict == "GO", "the verdict stands"
    assert decision.evidence == "provisional"
    said = next(reason for reason in decision.reasons if reason.startswith("provisional"))
    assert "stand for 20 s of this machine, under 90 s" in said
    assert said.endswith("with: `python -m harness model=minilm ep=cpu measure.spread=true`")
    assert said in decision.to_markdown()
    unknown = decide(frame(model_row("minilm", evidence_span_s=None)))
    assert any("stand for an unknown time of this machine, needed are 90 s" in r for r in unknown.reasons)


def test_only_what_must_gates_and_the_latency_target_read_can_make_evidence_provisional() -> None:
    """Throughput at batch 32 is a should; a burst of it says nothing of the verdict."""
    burst = model_row("minilm", "r32", batch_size=32, evidence_span_s=5.0)
    elsewhere = model_row("minilm", "r512", workload="tokens_512", evidence_span_s=5.0)
    rows = [model_row("minilm"), burst, elsewhere]
    assert decide(frame(*rows)).candidates[0].provisional == ()
    throughput_must = load_policy("default")
    gates = [g.model_copy(update={"tier": "must"} if g.metric == "throughput_texts_per_s" else {})
             for g in throughput_must.gates]  # fmt: skip
    policy = throughput_must.model_copy(update={"gates": gates})
    (said,) = decide(frame(*rows), policy).candidates[0].provisional
    assert "default, batch 32 stand for 5 s" in said


def test_the_target_read_elsewhere_makes_evidence_provisional_too() -> None:
    policy = load_policy("default")
    gates = [
        g.model_copy(update={"at": AtConfig(clients=2)})
        if (g.tier, g.metric) == ("should", "latency_p95_ms")
        else g
        for g in policy.gates
    ]
    policy = policy.model_copy(update={"gates": gates})
    rows = [model_row("minilm"), model_row("minilm", "two", clients=2, evidence_span_s=5.0)]
    (said,) = decide(frame(*rows), policy).candidates[0].provisional
    assert "default, batch 1, 2 clients stand for 5 s" in said


def test_a_forced_run_is_spread_with_the_command_that_everybody_types() -> None:
    """It is the newest attempt, which the command without force goes on with."""
    row = model_row("minilm", "forced", config_hash="h" * 64, evidence_span_s=20.0)
    (said,) = decide(frame(row)).candidates[0].provisional
    assert said.endswith("with: `python -m harness model=minilm ep=cpu measure.spread=true`")


# --- other runs of the same thing


def attempts(*p95s: float | list[float], **changes: Any) -> list[dict[str, Any]]:
    """Runs of one thing, newest last, each with this P95 in ms in all launches, or these."""
    lists = [[p95] * 20 if isinstance(p95, float) else p95 for p95 in p95s]
    return [
        launches_row("minilm", p95s, config_hash="h", run_id=f"try-{number}",
                     started_at=STARTED + timedelta(hours=number), **changes)
        for number, p95s in enumerate(lists)
    ]  # fmt: skip


def test_a_pass_that_another_run_of_the_same_thing_contradicts_is_provisional_and_names_it() -> None:
    decision = decide(frame(*attempts(45.0, 50.0, 12.0)))
    assert (decision.verdict, decision.evidence) == ("GO", "provisional"), "the newest run is read"
    (said,) = decision.candidates[0].provisional
    assert "must gate P95 latency ms, pass, is fail in another run of the same thing" in said
    assert said.endswith(": try-1, try-0")
    assert said in decision.reasons


def test_a_failure_that_another_run_passed_is_provisional_too() -> None:
    decision = decide(frame(*attempts(12.0, 45.0)))
    assert decision.verdict == "NO_GO"
    (said,) = decision.candidates[0].provisional
    assert "fail, is pass in another run of the same thing: try-0" in said


@pytest.mark.parametrize("target_ms", [(25.0, 12.0), (12.0, 25.0)])
def test_a_latency_target_is_not_measured_until_it_passes_either(target_ms: tuple[float, float]) -> None:
    older, newest = target_ms
    decision = decide(frame(*attempts(older, newest)))
    assert decision.verdict == ("GO" if newest < older else "CONDITIONAL_GO")
    (said,) = decision.candidates[0].provisional
    status, other = ("pass", "fail") if newest < older else ("fail", "pass")
    assert (
        f"should gate P95 ms (target), {status}, is {other} in another run of the same thing: try-0" in said
    )


def test_a_contradicted_verdict_is_never_confirmed() -> None:
    base, *load = confirmed_rows("minilm")
    before = STARTED - timedelta(hours=1)
    slow = base | launched(run_id="slow", launch_p95_ms=[45.0] * 20, finished_at=before)
    assert decide(frame(base, *load)).evidence == "confirmed"
    decision = decide(frame(base, slow, *load))
    assert (decision.verdict, decision.evidence) == ("GO", "provisional")
    assert any("measure=confirm" in step for step in decision.next_steps)


@pytest.mark.parametrize(
    "other",
    [
        {"launch_p95_ms": [13.0] * 20},
        {"launch_p95_ms": [12.0] * 10, "launches": 10},
        {"launch_p95_ms": [60.0] * 20, "config_hash": "another", "batch_size": 8},
        {"launch_p95_ms": [60.0] * 20, "config_hash": "another", "artifact_sha256": "b" * 64},
        {"launch_p95_ms": [60.0] * 20, "config_hash": "another", "cpus": 1, "cores": 1},
        {"launch_p95_ms": [60.0] * 20, "config_hash": "another", "purpose": "soak"},
        {"status": "unavailable", "launch_p95_ms": [60.0] * 20, "error": "gone"},
    ],
    ids=[
        "agrees",
        "undecided",
        "another place",
        "another artifact",
        "other cores",
        "a soak",
        "not possible",
    ],
)
def test_a_run_that_does_not_answer_a_must_gate_the_other_way_contradicts_nothing(
    other: dict[str, Any],
) -> None:
    old, new = attempts(12.0, 12.0)
    assert decide(frame(old | launched(**other), new)).candidates[0].provisional == ()


@pytest.mark.parametrize(
    ("older", "denied"),
    [
        ({"launch_p95_ms": [12.0] * 28 + [35.0] * 12}, True),
        ({"launch_p95_ms": [12.0] * 28 + [35.0] * 12, "truncated_over_ms": 30.0}, True),
        ({"launch_p95_ms": [12.0] * 15 + [16.0] * 5, "truncated_over_ms": 15.0}, True),
        ({"launch_p95_ms": [12.0] * 9 + [60.0]}, True),
        ({"launch_p95_ms": [12.0] * 16}, False),
        ({"launch_p95_ms": [12.0] * 9, "truncated_over_ms": 15.0}, False),
    ],
    ids=[
        "open",
        "stopped early",
        "stopped over another bound",
        "too few",
        "passes together",
        "too few, all under",
    ],
)
def test_a_pass_is_denied_by_what_an_older_run_left_open_where_all_launches_together_do_not_pass(
    older: dict[str, Any], denied: bool
) -> None:
    old, new = attempts(12.0, 12.0)
    old |= launched(**older, launches=len(older["launch_p95_ms"]))
    assert decide(frame(old)).verdict != "GO"
    decision = decide(frame(old, new))
    assert decision.verdict == "GO", "the newest run is read"
    told = decision.candidates[0].provisional
    assert bool(told) == denied
    if denied:
        assert "must gate P95 latency ms, pass, is open with the launches of another run" in told[0]
        assert told[0].endswith(": try-0")


def test_of_one_sweep_s_runs_under_several_limits_that_of_the_fewest_cores_is_read_whichever_began() -> None:
    one, two = attempts(45.0, 12.0)
    for cores, row in ((1, one), (2, two)):
        row |= {"sweep_id": "both", "config_hash": f"{cores}", "cores": cores, "cpus": cores}
    later = {"finished_at": STARTED + timedelta(days=1)}
    for rows in ((one, two | later), (one | later, two)):
        decision = decide(frame(*rows))
        assert (decision.verdict, decision.candidates[0].run_ids) == ("NO_GO", (one["run_id"],))
        assert any("cores=1, cpus=1); not read: 1 run " in n for n in decision.candidates[0].notes)
    anew = one | launched(launch_p95_ms=[11.0] * 20) | {"finished_at": STARTED + timedelta(days=2)}
    assert decide(frame(one, two, anew | {"run_id": "anew"})).candidates[0].run_ids == ("anew",)


@pytest.mark.parametrize(
    ("theirs", "ours", "told"),
    [
        ("", " measure.requests=200", "try-0 (without measure.requests=200)"),
        (" measure.warmup_requests=99", "", "try-0 (with measure.warmup_requests=99)"),
        (" measure.requests=300", " measure.requests=200", "try-0 (with measure.requests=300)"),
        ("", " quality.sts=my.csv", "try-0 (without quality.sts=my.csv)"),
        (" measure.cpus=2", "", "try-0 (with measure.cpus=2)"),
        (" measure.replicate=1", " measure.replicate=2", "try-0"),
        ("", " measure.replicate=1", "try-0"),
        (" policy=documents results=there", " model=minilm ep=cpu", "try-0"),
    ],
)
def test_a_failed_gate_does_not_go_away_by_measuring_the_same_thing_otherwise(
    theirs: str, ours: str, told: str
) -> None:
    for first, second in ((45.0, 12.0), (12.0, 45.0)):
        old, new = attempts(first, second)
        old |= {"config_hash": "a", "command": f"python -m harness{theirs}"}
        old |= {"cpus": 2} if "cpus" in theirs else {}
        new |= {"config_hash": "b", "command": f"python -m harness{ours}"}
        decision = decide(frame(old, new))
        (said,) = decision.candidates[0].provisional
        assert (decision.verdict == "GO", decision.evidence) == (second < first, "provisional")
        assert said.endswith(f" in another run of the same thing: {told}")
        assert any(said in reason for reason in decision.reasons)


def test_a_load_that_does_not_hold_does_not_go_away_by_confirming_otherwise() -> None:
    rows = [row | {"confirmation_at": STARTED + timedelta(hours=2)} for row in confirmed_rows("minilm")]
    failed = rows[-1] | launched(
        run_id="slow", config_hash="a", command="python -m harness measure.requests=200",
        confirmation_at=STARTED, finished_at=STARTED - timedelta(hours=1), launch_p95_ms=[60.0] * 20,
    )  # fmt: skip
    assert decide(frame(*rows)).evidence == "confirmed"
    decision = decide(frame(*rows, failed))
    assert (decision.verdict, decision.evidence) == ("GO", "provisional")
    (said,) = decision.candidates[0].provisional
    assert "P95 latency ms at mixture, batch 1, 4 clients, pass, is fail in another run" in said
    assert said.endswith(": slow (with measure.requests=200)")


@pytest.mark.parametrize(
    ("anew", "verdict"),
    [
        ({"launch_p95_ms": [60.0] * 20}, "CONDITIONAL_GO"),
        ({"launch_p95_ms": [60.0] * 4}, "CONDITIONAL_GO"),
        ({"launch_p95_ms": [], "status": "failed", "launches_failed": 3}, "NO_GO"),
        ({"launch_p95_ms": [12.0] * 3}, "GO"),
        ({"launch_p95_ms": [12.0] * 20}, "GO"),
    ],
    ids=["slow", "slow in a few launches", "failed", "undecided", "fast"],
)
@pytest.mark.parametrize("purpose", ["latency", "search"])
def test_what_is_measured_anew_at_a_confirmed_place_answers_for_it_whatever_it_was_measured_for(
    anew: dict[str, Any], verdict: str, purpose: str
) -> None:
    *rows, last = confirmed_rows("minilm")
    slow = last | launched(run_id="slow", launch_p95_ms=[60.0] * 20)
    assert decide(frame(*rows, slow)).verdict == "CONDITIONAL_GO"
    later = {"started_at": STARTED + timedelta(days=1), "finished_at": STARTED + timedelta(days=1)}
    anew = {"launches": len(anew["launch_p95_ms"])} | anew
    changes = launched(run_id="anew", purpose=purpose, confirmation_at=None, **anew)
    decision = decide(frame(*rows, slow, last | changes | later))
    assert decision.verdict == verdict
    if verdict == "GO":
        contradicted = " is fail in another run of the same thing: slow"
        assert any(contradicted in line for line in decision.reasons)
        assert decision.evidence == "provisional"
    assert not any("4 concurrent callers were not measured" in line for line in decision.reasons)


def test_a_run_that_another_command_goes_on_with_stays_part_of_its_confirmation() -> None:
    *rows, last = confirmed_rows("minilm")
    went_on = last | launched(launch_p95_ms=[60.0] * 20, purpose="latency", confirmation_at=STARTED)
    rows = [row | {"confirmation_at": STARTED} if row["purpose"] == "confirm" else row for row in rows]
    assert decide(frame(*rows, went_on)).verdict == "CONDITIONAL_GO"


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("cores", None, "cores cannot be null"),
        ("finished_at", None, "finished_at cannot be null"),
        ("min_span_s", math.nan, "min_span_s cannot be null"),
        ("batch_size", 1.5, "batch_size is 1.5, no whole number"),
        ("cores", "two", "cores is 'two', no whole number"),
        ("cores", "2.0", "cores is '2.0', a text and no number"),
        ("peak_rss_bytes", "much", "peak_rss_bytes is 'much', a text and no number"),
        ("separation_auc", "0.99", "separation_auc is '0.99', a text and no number"),
        ("ndcg_at_10_by_query", ["fast"], "ndcg_at_10_by_query is 'fast', a text and no number"),
        ("latency_p50_ms", [3.0, 4.0], "latency_p50_ms cannot be a list"),
        (
            "purpose",
            np.asarray([], dtype=str),
            "purpose is array([], dtype='<U1'), no text that can be written",
        ),
        ("finite", np.asarray([True]), "finite cannot be a list"),
        ("launch_p95_ms", [[1.0]] * 20, "launch_p95_ms holds a list where a number belongs"),
        ("launches", [20], "launches cannot be a list"),
        ("disturbance", 3, "disturbance is 3, no text that can be written"),
        ("config_hash", ["x"], "config_hash is ['x'], no text that can be written"),
        (
            "source",
            np.array(["x", "y"]),
            "source is array(['x', 'y'], dtype='<U1'), no text that can be written",
        ),
        (
            "finished_at",
            datetime(2026, 1, 1),
            "finished_at is '2026-01-01 00:00:00', no time with a time zone",
        ),
        ("started_at", "yesterday", "started_at is 'yesterday', no time with a time zone"),
    ],
)
def test_what_every_row_has_is_there_and_whole(name: str, value: Any, told: str) -> None:
    with pytest.raises(BadInputError, match=re.escape(f"run run-minilm: {told}; measure it anew")):
        decide(frame(model_row("minilm") | {name: value}))


def test_a_label_that_no_file_can_keep_is_refused() -> None:
    runs = frame(model_row("minilm")).astype({"candidate_label": object})
    runs.loc[0, "candidate_label"] = "half a \ud83d"
    told = r"run run-minilm: candidate_label is 'half a \ud83d', no text that can be written; measure it anew"
    with pytest.raises(BadInputError, match=re.escape(told)):
        decide(runs)


def test_a_policy_s_name_is_no_markup_on_the_page() -> None:
    policy = load_policy().model_copy(update={"name": "<b>mine"})
    assert "Policy: &lt;b>mine." in decide(frame(model_row("minilm")), policy).to_markdown()


def test_a_rate_that_was_withdrawn_stays_so_when_it_is_measured_anew() -> None:
    newest = [row | {"confirmation_at": STARTED + timedelta(hours=2)} for row in confirmed_rows("minilm")]
    place = {"arrival": "poisson", "offered_qps": 250.0}
    withdrawn = confirm_row("minilm", **place) | launched(confirmation_at=STARTED, launch_p95_ms=[60.0] * 20)
    anew = withdrawn | launched(run_id="anew", purpose="latency", confirmation_at=None)
    anew |= {"finished_at": STARTED + timedelta(days=1)}
    decision = decide(frame(*newest, withdrawn, anew))
    assert (decision.verdict, decision.evidence) == ("GO", "confirmed")
    over = "P95 latency ms at mixture, batch 1, poisson 250/s is 60, needed < 30"
    assert f"withdrawn by the newest confirmation: {over}" in decision.candidates[0].notes


def test_a_withdrawn_place_whose_launches_failed_says_so() -> None:
    newest = [row | {"confirmation_at": STARTED + timedelta(hours=2)} for row in confirmed_rows("minilm")]
    failed = {"status": "failed", "error": "out of memory", "launches_failed": 3}
    withdrawn = confirm_row("minilm", clients=8) | failed | launched(launch_p95_ms=[INF] * 3, launches=3)
    decision = decide(frame(*newest, withdrawn | {"confirmation_at": STARTED}))
    over = "P95 latency ms at mixture, batch 1, 8 clients (3 of 3 launches failed), needed < 30"
    assert f"withdrawn by the newest confirmation: {over}" in decision.candidates[0].notes


def test_commands_leave_a_replicate_behind_unless_they_go_on_with_that_very_run() -> None:
    words = "python -m harness model=minilm ep=cpu measure.replicate=2"
    (candidate,) = decide(frame(model_row("minilm", command=words, evidence_span_s=20.0))).candidates
    assert candidate.confirm == "python -m harness model=minilm ep=cpu measure=confirm"
    assert not any("replicate" in command for command in candidate.missing)
    assert candidate.provisional[0].endswith(f"{words} measure.spread=true`")
    few = launches_row("minilm", [12.0] * 5, command=words)
    assert decide(frame(few)).candidates[0].missing[0].startswith(f"{words} measure.launches=")
    cut_short = model_row("minilm", command=words, status="interrupted")
    assert decide(frame(cut_short)).candidates[0].missing[0] == words


def test_a_run_that_was_interrupted_is_no_pick_until_it_went_on_though_its_gates_pass() -> None:
    words = "python -m harness model=minilm ep=cpu"
    cut_short = model_row("minilm", status="interrupted", command=words)
    decision = decide(frame(cut_short))
    assert (decision.verdict, decision.chosen) == ("INCONCLUSIVE", None)
    assert decision.reasons[0].endswith("the run at default, batch 1 was interrupted")
    assert f"`{words}`" in decision.next_steps
    few = launches_row("minilm", [12.0] * 5, status="interrupted", command=words)
    assert decide(frame(few)).candidates[0].missing[0] == words, "which goes on to as many as it takes"
    assert decide(frame(cut_short | launched(launch_p95_ms=[45.0] * 20))).verdict == "NO_GO"


def test_a_run_that_was_interrupted_where_no_must_gate_reads_is_told_alone() -> None:
    batch = model_row("minilm", "r32", batch_size=32, status="interrupted")
    decision = decide(frame(model_row("minilm"), batch))
    assert decision.verdict == "GO"
    assert any("at default, batch 32 was interrupted" in note for note in decision.candidates[0].notes)


def test_a_must_gate_on_quality_can_be_contradicted_as_well() -> None:
    old, new = attempts(12.0, 12.0)
    (said,) = decide(frame(old | {"l2_norm_max_error": 0.5}, new)).candidates[0].provisional
    assert "another run of the same thing: try-0" in said


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ({"launches_failed": 1, "error": "out of memory"}, "1 of 20 launches failed at {} (out of memory)"),
        ({"status": "failed", "error": "killed"}, "the run failed at {}: killed"),
        ({"finite": False}, "a vector is not finite at {}"),
        ({"parity_cosine_min": 0.5}, "parity with the fp32 reference failed at {}"),
        ({"ep_time_share": 0.4}, "only 40% of the nodes' time is on cpu at {}"),
    ],
    ids=str,
)
@pytest.mark.parametrize("under_load", [False, True])
def test_a_run_of_the_same_thing_that_failed_outright_keeps_a_pick_provisional(
    broken: dict[str, Any], said: str, under_load: bool
) -> None:
    """Measured again until nothing fails, it would be confirmed."""
    rows = confirmed_rows("minilm")
    same = rows[-1] if under_load else rows[0]
    before = same | {"run_id": "before", "finished_at": STARTED - timedelta(hours=1)} | broken
    decision = decide(frame(*rows, before), latency_only())
    assert (decision.verdict, decision.evidence) == ("GO", "provisional")
    where = "mixture, batch 1, 4 clients" if under_load else "default, batch 1"
    (told,) = (line for line in decision.candidates[0].provisional if said.format(where) in line)
    assert told.startswith("provisional: in another run of the same thing, before, ")
    assert "anew" not in told


# --- launches that were stopped early, runs of older schemas


def test_a_run_that_was_stopped_early_over_less_than_is_asked_is_to_be_measured_anew() -> None:
    """Measured for a policy with its bound at 10 ms: by how much it is over is not known."""
    row = model_row("minilm", launch_p95_ms=[11.0] * 20, truncated_over_ms=10.0)
    decision = decide(frame(row))
    assert (decision.verdict, decision.chosen) == ("INCONCLUSIVE", None)
    assert set(answers(decision, "latency_p95_ms")) == {"NOT_MEASURED"}
    assert any("stopped early over 10 ms" in reason for reason in decision.reasons)
    assert "python -m harness model=minilm ep=cpu" in decision.candidates[0].missing


def test_a_run_that_was_stopped_early_over_its_own_bound_is_a_no_go_that_says_what_is_a_guess() -> None:
    row = model_row("minilm", p95_ms=45, truncated_over_ms=30.0)
    decision = decide(frame(row))
    assert decision.verdict == "NO_GO"
    assert "must gate fails: P95 latency ms is ≥ 30, needed < 30 (stopped early)" in decision.reasons[0]
    page = decision.to_markdown()
    assert "| ≥ 30 | stopped early |" in page
    assert "45" not in page.partition("| candidate |")[2].partition("## ")[0]
    gate = json.loads(decision.to_json())["candidates"][0]["gates"][0]
    assert (gate["status"], gate["at_least"]) == ("FAIL", 30.0)
    assert {gate[name] for name in ("value", "low", "high", "distance", "distance_percent")} == {None}
    said = "launches were stopped early over 30 ms: by how much they are over is a guess"
    assert said in decision.candidates[0].warnings
    assert said not in decide(frame(model_row("minilm", p95_ms=45))).candidates[0].warnings


def test_of_launches_that_were_stopped_early_neither_the_change_that_can_be_seen_nor_a_rate_is_known() -> (
    None
):
    row = model_row("minilm", p95_ms=45, truncated_over_ms=30.0, launch_disturbed=[False] * 20)
    decision = decide(frame(row))
    (noise,) = (line for line in decision.candidates[0].warnings if line.startswith("noise"))
    assert noise == "noise: none of 20 launches disturbed"
    page = decision.to_markdown()
    assert "| ≈ 300 |" in page
    assert SERVED_TOLD in page
    assert "≈" not in decide(frame(model_row("minilm", p95_ms=45))).to_markdown()


# What a run of the first schema does not know in the meaning of today.
OF_THE_FIRST_SCHEMA = dict.fromkeys(CHANGED_SINCE) | {"schema_version": 1}


def test_columns_whose_meaning_changed_leave_a_verdict_of_an_older_schema_provisional() -> None:
    known = {column.name for column in RUN_COLUMNS}
    unknown = {name: value for name, value in OF_THE_FIRST_SCHEMA.items() if name in known}
    rows = [model_row("minilm", **unknown), model_row("minilm", "r32", batch_size=32, **unknown)]
    decision = decide(frame(*rows))
    assert (decision.verdict, decision.evidence) == ("GO", "provisional")
    assert any("stand for an unknown time of this machine" in reason for reason in decision.reasons)
    assert throughput(decision) == ("NOT_MEASURED", None)


@pytest.mark.parametrize("span", [90.0, 400.0])
def test_evidence_of_a_long_enough_time_is_not_called_short(span: float) -> None:
    decision = decide(frame(model_row("minilm", evidence_span_s=span)))
    assert decision.candidates[0].provisional == ()
    assert not any(reason.startswith("provisional") for reason in decision.reasons)


# --- a latency target elsewhere than the musts


@pytest.mark.parametrize(
    "at_32",
    [
        None,
        {
            "launch_p95_ms": None,
            "latency_p95_ms": None,
            "latency_p95_low_ms": None,
            "latency_p95_high_ms": None,
        },
        {"status": "unavailable", "error": "no such provider"},
        {"launches": 2, "launch_p95_ms": [500.0] * 2, "p95_ms": 500.0},
    ],
    ids=["never measured", "null", "unavailable", "two launches"],
)
def test_a_candidate_whose_latency_target_nothing_answers_comes_after_those_that_miss_it(
    at_32: dict[str, Any] | None,
) -> None:
    shipped = load_policy("default").model_dump()
    gates = [g for g in shipped["gates"] if (g["metric"], g["tier"]) not in
             {("latency_p95_ms", "should"), ("latency_p95_ms", "nice")}]  # fmt: skip
    target = {"tier": "should", "metric": "latency_p95_ms", "op": "<", "bound": 100, "launch_quantile": 0.5,
              "label": "batch of 32", "at": {"batch_size": 32}}  # fmt: skip
    policy = PolicyConfig.model_validate(shipped | {"gates": [*gates, target]})
    complete = [model_row("e5"), model_row("e5", "e5-32", batch_size=32, p95_ms=200.0)]
    added = [] if at_32 is None else [model_row("minilm", "minilm-32", batch_size=32, **at_32)]
    decision = decide(frame(*complete, model_row("minilm"), *added), policy)
    assert (decision.verdict, decision.chosen) == ("CONDITIONAL_GO", "e5 fp32 cpu")
    assert "picked before minilm fp32 cpu, whose latency target nothing answers" in decision.reasons
    assert decision.stays == 1.0
    alone = decide(frame(model_row("minilm"), *added), policy)
    assert alone.next_steps[0] == "measure the latency target, or accept and proceed if quality is good"


# --- what a batch does


@pytest.mark.parametrize(
    ("worst", "told"),
    [
        ({"batch_cosine_min": 0.5}, "0.500000"),
        ({"batch_size": 32, "batch_cosine_min_sorted": 1.0, "batch_cosine_min_random": 0.7}, "0.700000"),
        ({"batch_cosine_min": 0.99989}, "0.999890"),
        ({"batch_cosine_min": 0.99991}, ""),
        ({"batch_cosine_min": None}, ""),
        ({"batch_cosine_min": 0.5, "parity_bound": None}, ""),
    ],
)  # fmt: skip
def test_a_batch_that_does_more_to_a_vector_than_its_precision_may_is_told_in_words(
    worst: dict[str, Any], told: str
) -> None:
    decision = decide(frame(model_row("minilm", batch_cosine_min=1.0) | worst))
    notes = [line for line in decision.candidates[0].notes if "with the batch it is in" in line]
    place = f"default, batch {worst.get('batch_size', 1)}"
    said = f"at {place}: worst cosine to itself alone {told}, under the 0.9999 of its parity bound"
    assert [said in line for line in notes] == ([True] if told else [])


# --- the fallback


def no_go(*rows: dict[str, Any]) -> str:
    """The fallback told where MiniLM is too slow and these were measured besides."""
    decision = decide(frame(model_row("minilm", p95_ms=45), *rows))
    assert decision.verdict == "NO_GO"
    assert decision.fallback is not None
    return decision.fallback


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"finite": False}, "a vector is not finite"),
        ({"launches_failed": 17, "status": "failed", "error": "killed"}, "the run failed"),
        ({"parity_cosine_min": 0.2}, "worst cosine 0.200000"),
    ],
)
def test_a_fallback_that_was_seen_to_fail_is_not_told_by_its_latency(
    changes: dict[str, Any], said: str
) -> None:
    told = no_go(model_row("qwen3", p95_ms=171) | changes)
    assert "but measured here" in told
    assert said in told
    assert "ms median" not in told.rpartition("measured here")[2]


def test_a_pick_whose_launches_were_stopped_early_is_told_from_below() -> None:
    """No gate of its policy asks for latency, but one that asked was measured under before."""
    gates = [gate for gate in load_policy("default").gates if gate.metric != "latency_p95_ms"]
    policy = load_policy("default").model_copy(update={"gates": gates})
    decision = decide(frame(model_row("minilm", p95_ms=133.2, truncated_over_ms=30.0)), policy)
    assert decision.chosen
    assert "minilm fp32 cpu: P95 ≥ 30 ms, the median launch's" in decision.reasons


def test_a_fallback_whose_launches_were_stopped_early_is_told_from_below() -> None:
    told = no_go(model_row("qwen3", p95_ms=106, truncated_over_ms=30.0))
    assert told.endswith("≥ 30 ms P95, stopped early")


def test_an_unmeasured_fallback_has_no_figures_of_this_machine() -> None:
    assert "measured here" not in no_go()
    assert "measured here" not in no_go(model_row("qwen3", ep="coreml", p95_ms=171))


def test_the_fallbacks_figures_are_those_of_the_place_the_latency_gate_reads() -> None:
    single = model_row("qwen3", "z", p95_ms=171, latency_p50_ms=118.0)
    batch = model_row("qwen3", "a", p95_ms=3100, latency_p50_ms=2900.0, batch_size=32)
    assert no_go(batch, single).endswith("measured here, qwen3 fp32 cpu: 118 ms median, 171 ms P95")


def test_the_fallbacks_figures_are_the_newest() -> None:
    old = model_row("qwen3", "a", config_hash="h", p95_ms=300, latency_p50_ms=250.0)
    new = model_row("qwen3", "b", config_hash="h", p95_ms=171, latency_p50_ms=118.0,
                    started_at=STARTED + timedelta(hours=1))  # fmt: skip
    assert no_go(old, new).endswith("measured here, qwen3 fp32 cpu: 118 ms median, 171 ms P95")


def test_a_fallback_of_random_weights_says_so() -> None:
    told = no_go(model_row("qwen3", p95_ms=171, latency_p50_ms=118.0, weights="random"))
    assert told.endswith("171 ms P95 with random weights")


def test_a_fallback_that_a_must_gate_on_vectors_refuses_is_not_told_by_its_latency() -> None:
    low = {"neighbour_overlap": 0.6, "neighbour_overlap_low": 0.55, "neighbour_overlap_high": 0.65}
    later = {
        "precision": "int8",
        "candidate_label": "qwen3 int8 cpu",
        "started_at": STARTED + timedelta(hours=1),
    }
    small = model_row("qwen3", "small", p95_ms=45, latency_p50_ms=40.0) | low | later
    told = no_go(small, model_row("qwen3", p95_ms=171, latency_p50_ms=118.0))
    assert told.endswith("measured here, qwen3 fp32 cpu: 118 ms median, 171 ms P95")
    assert no_go(small).endswith(
        "but measured here, qwen3 int8 cpu: must gate fails: top-10 overlap is 0.6, needed >= 0.95"
    )


def test_a_fallback_is_told_by_the_surest_of_its_runs_not_by_the_newest() -> None:
    sure = model_row("qwen3", p95_ms=171, latency_p50_ms=118.0)
    newer = {"precision": "int8", "started_at": STARTED + timedelta(1)}
    for changes in (
        {"weights": "random"},
        {"status": "interrupted"},
        {"finite": None},
        {"latency_p50_ms": None},
    ):
        told = no_go(sure, model_row("qwen3", "new", p95_ms=40) | newer | changes)
        assert told.endswith("measured here, qwen3 fp32 cpu: 118 ms median, 171 ms P95"), changes


def test_a_fallbacks_median_is_a_guess_where_its_launches_were_stopped_early() -> None:
    row = model_row("qwen3", p95_ms=106, latency_p50_ms=121.0, truncated_over_ms=30.0)
    assert no_go(row).endswith("measured here, qwen3 fp32 cpu: ≈ 121 ms median, ≥ 30 ms P95, stopped early")


def test_a_fallback_whose_run_was_interrupted_says_so() -> None:
    told = no_go(model_row("qwen3", p95_ms=171, latency_p50_ms=118.0, status="interrupted"))
    assert told.endswith("171 ms P95, in a run that was interrupted")


def test_a_policy_without_a_fallback_tells_none() -> None:
    policy = load_policy("default").model_copy(update={"fallback": None})
    decision = decide(frame(model_row("minilm", p95_ms=45)), policy)
    assert (decision.verdict, decision.fallback) == ("NO_GO", None)


# --- bad input


def test_no_runs_are_refused() -> None:
    with pytest.raises(BadInputError, match="no runs"):
        decide(frame(run_row()).iloc[:0])
    with pytest.raises(BadInputError):
        decide(pd.DataFrame())


@pytest.mark.parametrize("name", [column.name for column in RUN_COLUMNS if column.nullable])
def test_a_missing_column_that_can_be_null_is_null(name: str) -> None:
    """An older file has not all columns of a newer schema: what it lacks is unknown."""
    runs = frame(
        model_row("minilm", "r1", p95_ms=45),
        model_row("minilm", "r2", batch_size=32, evidence_span_s=5.0),
        launches_row("qwen3", [171.0] * 9 + [INF], error="exit 1"),
        soak_row("minilm"),
        confirm_row("minilm", clients=2),
    )
    unknown = decide(runs.assign(**{name: None}))
    assert decide(runs.drop(columns=name)).to_json() == unknown.to_json()


@pytest.mark.parametrize("name", [column.name for column in RUN_COLUMNS if not column.nullable])
def test_a_missing_column_that_is_never_null_is_told_by_name(name: str) -> None:
    with pytest.raises(BadInputError, match=rf"columns\b.*\b{name}\b"):
        decide(frame(model_row("minilm")).drop(columns=name))


def test_runs_of_two_machines_are_refused_by_name() -> None:
    with pytest.raises(BadInputError, match="2 machines") as caught:
        decide(frame(run_row("r1"), run_row("r2", machine_id="m2")))
    assert "m1" in str(caught.value)
    assert "m2" in str(caught.value)


def test_runs_of_a_schema_that_is_not_known_yet_are_refused() -> None:
    with pytest.raises(
        BadInputError, match=f"schema {SCHEMA_VERSION + 1}: this harness knows {SCHEMA_VERSION}"
    ):
        decide(frame(run_row("r1"), run_row("r2", schema_version=SCHEMA_VERSION + 1)))


def test_a_run_id_that_stands_twice_is_refused() -> None:
    with pytest.raises(BadInputError, match="more than once: r1"):
        decide(frame(run_row("r1"), run_row("r1"), run_row("r2")))


def test_an_unknown_policy_suggests_the_nearest() -> None:
    with pytest.raises(BadInputError, match="did you mean documents"):
        decide(frame(run_row()), "document")


def test_a_policy_is_taken_by_name_or_as_it_is() -> None:
    runs = frame(run_row())
    assert decide(runs, "documents").policy == "documents"
    assert decide(runs, load_policy("documents")).to_json() == decide(runs, "documents").to_json()
    assert decide(runs).policy == "default"


# --- the record


MIXED = [
    model_row("minilm", "r3", p95_ms=25),
    model_row("minilm", "r4", batch_size=32, launch_throughput_texts_per_s=[80.0] * 20),
    model_row("minilm", "r5", workload="tokens_512", p95_ms=80, os="Linux, updated since"),
    model_row("e5", "r2", **E5_COSINES),
    model_row("bge", "r1", status="unavailable", error="no such model", launch_p95_ms=[], launches=0,
              evidence_span_s=None, ep_node_share=None, latency_p95_ms=None),
    launches_row("qwen3", [171.0, 180.0, INF], error="exit 1"),
    model_row("mine", "r0", separation_auc=None, finite=None, evidence_span_s=3.0),
    model_row("mine", "r9", config_hash="r0", p95_ms=31, started_at=STARTED + timedelta(seconds=1)),
]  # fmt: skip


@property_test
@given(st.permutations(range(len(MIXED))), st.permutations([column.name for column in RUN_COLUMNS]))
def test_the_order_of_rows_and_columns_does_not_matter(rows: list[int], columns: list[str]) -> None:
    first = decide(frame(*MIXED))
    second = decide(frame(*(MIXED[i] for i in rows))[columns])
    assert second.to_json() == first.to_json()
    assert second.to_markdown() == first.to_markdown()
    assert second.id == first.id


def test_an_index_of_the_frame_does_not_matter() -> None:
    runs = frame(*MIXED)
    assert decide(runs.set_axis([7] * len(runs))).to_json() == decide(runs).to_json()


def test_deciding_leaves_the_frame_as_it_was() -> None:
    runs = frame(*MIXED)
    before = runs.copy(deep=True)
    decide(runs)
    pd.testing.assert_frame_equal(runs, before)


def test_runs_read_from_a_store_are_decided_like_their_rows(tmp_path: Path) -> None:
    """Nullable integers, booleans and lists come back in other types than they went in."""
    store = Store(tmp_path)
    for row in MIXED:
        store.write_run(row)
    for policy in POLICIES:
        assert decide(load_runs(tmp_path), policy).to_json() == decide(frame(*MIXED), policy).to_json()


def refuse(constant: str) -> float:
    """A parser's hook for what is not JSON."""
    raise AssertionError(f"{constant} is not JSON")


@pytest.mark.parametrize("policy", POLICIES)
def test_the_record_is_valid_json_whatever_is_unknown(policy: str) -> None:
    decision = decide(frame(*MIXED), policy)
    record = json.loads(decision.to_json(), parse_constant=refuse)
    assert record["verdict"] == decision.verdict
    assert record["chosen"] == decision.chosen
    assert record["policy"] == policy
    assert record["machine"]["machine_id"] == "m1"
    assert [c["label"] for c in record["candidates"]] == [c.label for c in decision.candidates]
    by_label = {c["label"]: c for c in record["candidates"]}
    assert by_label["mine fp32 cpu"]["run_ids"] == ["r9"]


def test_the_id_follows_the_record() -> None:
    first, second = decide(frame(run_row(p95_ms=12))), decide(frame(run_row(p95_ms=13)))
    assert re.fullmatch(r"[0-9a-f]{12}", first.id)
    assert first.id == decide(frame(run_row(p95_ms=12))).id
    assert first.id != second.id


def test_the_table_has_a_row_for_each_candidate_and_gate() -> None:
    policy = load_policy("default")
    table = decide(frame(*MIXED), policy).table
    labels = {row["candidate_label"] for row in MIXED}
    assert len(table) == len(labels) * len(policy.gates)
    assert not table.duplicated(["candidate", "tier", "metric", "bound"]).any()
    assert set(table["candidate"]) == labels
    needed = {"verdict", "tier", "metric", "bound", "value", "low", "high", "distance", "status"}
    assert needed <= set(table.columns)
    latency = table[(table["candidate"] == "minilm fp32 cpu") & (table["metric"] == "latency_p95_ms")]
    assert latency.set_index("tier")["status"].to_dict() == {"must": "PASS", "should": "FAIL", "nice": "FAIL"}
    assert latency.set_index("tier")["distance"].to_dict() == {"must": 5.0, "should": -5.0, "nice": -10.0}


# --- for people


def prose(markdown: str) -> str:
    """Markdown without its code spans, which a renderer escapes by itself."""
    return re.sub(r"`[^`\n]*`", "", markdown)


@pytest.mark.parametrize("p95_ms", [12.0, 25.0, 45.0])
def test_a_label_cannot_become_html_or_break_a_table(p95_ms: float) -> None:
    label = "<script>|"
    policy = load_policy("default")
    gates = [g.model_copy(update={"label": label}) for g in policy.gates]
    row = model_row(
        "minilm", candidate_label=label, p95_ms=p95_ms, launches_failed=int(p95_ms > 30), error=label
    )
    other = model_row("e5", candidate_label=label + "2", p95_ms=p95_ms)
    page = decide(frame(row, other), policy.model_copy(update={"gates": gates})).to_markdown()
    assert "<script>" not in prose(page)
    assert "&lt;script>" in page
    table_lines = [line for line in page.splitlines() if line.startswith("|")]
    columns = [len(re.findall(r"(?<!\\)\|", line)) - 1 for line in table_lines]
    assert columns == [17] * (2 + 2) + [7] * 2 * (2 + len(gates))


def test_figures_on_the_users_own_data_stand_in_the_record() -> None:
    own = {
        "texts_overlap": 0.941,
        "texts_overlap_low": 0.901,
        "texts_overlap_high": 0.972,
        "texts_count": 378,
    }
    decision = decide(frame(model_row("minilm", ndcg_at_10=0.612, texts_index_overlap=0.956, **own)))
    (run,) = json.loads(decision.to_json())["candidates"][0]["runs"]
    assert {name: run[name] for name in own} == own
    assert (run["ndcg_at_10"], run["texts_index_overlap"]) == (0.612, 0.956)
    assert "| 0.612 | 0.941 | 0.901–0.972 |" in decision.to_markdown()


def test_where_the_user_has_data_of_their_own_a_gate_says_that_it_reads_the_shipped_texts() -> None:
    own = {"texts_overlap": 0.941, "texts_overlap_low": 0.901, "texts_overlap_high": 0.972}
    policy = load_policy("default")
    shipped, ours = decide(frame(model_row("minilm"))), decide(frame(model_row("minilm", **own)))
    assert "top-10 overlap" in list(shipped.table["gate"])
    of_shipped = ("top-10 overlap", "AUC of the pairs", "separation", "similar cosine", "dissimilar cosine")
    assert {f"{label} (shipped texts)" for label in of_shipped} <= set(ours.table["gate"])
    assert not set(of_shipped) & set(ours.table["gate"])
    unasked = "texts_overlap on your own data is 0.941, and no gate of policy default asks it"
    (note,) = [note for note in ours.candidates[0].notes if "your own data" in note]
    assert note.startswith(unasked)
    asked = next(g for g in policy.gates if g.metric == "neighbour_overlap").model_copy(
        update={"metric": "texts_overlap", "bound": 0.9, "label": "overlap of ours"}
    )
    with_gate = policy.model_copy(update={"gates": [*policy.gates, asked]})
    judged = decide(frame(model_row("minilm", **own)), with_gate)
    assert (judged.verdict, judged.candidates[0].gates[-1].status) == ("GO", "PASS")
    assert not any("your own data" in note for note in judged.candidates[0].notes)


def test_the_page_shows_every_candidate_gate_and_reason() -> None:
    decision = decide(frame(*MIXED))
    page = decision.to_markdown()
    assert page.startswith(f"# {decision.verdict}: {decision.chosen}\n")
    measured = [candidate for candidate in decision.candidates if not candidate.impossible]
    for candidate in measured:
        assert f"## {candidate.label}: {candidate.verdict}" in page
    assert page.count("\n| must |") == len(measured) * 6
    assert "3/3 over" in page, "the share of launches over the bound is always printed"


@pytest.mark.parametrize(
    ("finite", "shown"), [(True, "yes"), (False, "no"), (None, "?"), (math.nan, "?"), (pd.NA, "?")]
)
def test_whether_values_are_finite_is_shown_as_it_is_known(finite: Any, shown: str) -> None:
    gate = next(g for g in load_policy("default").gates if g.metric == "finite")
    assert gate_cells(ask(gate, run_row(finite=finite)))[3] == shown


def test_a_gate_is_shown_with_bound_value_interval_and_distance() -> None:
    gate = load_policy("default").gates[0]
    row = run_row(launch_p95_ms=[10.0 + i / 10 for i in range(20)])
    tier, label, bound, value, interval, distance, status = gate_cells(ask(gate, row))
    assert (tier, label, bound) == ("must", "P95 latency ms", "< 30 in 80% of launches")
    # Nearest rank: the 16th of 20 is 11.5 ms; all 20 are needed for the upper end, the highest is 11.9.
    assert (value, distance) == ("11.5", "+18.5 ms (+61.7%)")
    assert interval.endswith("–11.9")
    assert status == "pass 0/20 over"


def test_scripted_figures_are_never_picked_before_measured_ones() -> None:
    measured = model_row("minilm", p95_ms=25)
    scripted = model_row("minilm", "fake", runtime="fake", candidate_label="minilm fp32 fake cpu", p95_ms=2)
    assert decide(frame(scripted)).chosen == "minilm fp32 fake cpu"
    impossible = model_row("e5", status="unavailable", error="no such provider in this build")
    beside = decide(frame(scripted, impossible))
    assert (beside.verdict, beside.chosen) == ("GO", "minilm fp32 fake cpu"), "nothing real was measured"
    assert beside.warnings[0].startswith("scripted: minilm fp32 fake cpu: the figures are a script's")
    decision = decide(frame(measured, scripted))
    assert (decision.verdict, decision.chosen) == ("CONDITIONAL_GO", "minilm fp32 cpu")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"status": "fine"}, "status 'fine' is none of"),
        ({"machine_id": None}, "machine_id cannot be null"),
        ({"batch_size": None}, "batch_size cannot be null"),
        ({"launches": 1}, "1 launch, but 20 of their values in launch_p95_ms"),
        ({"launch_disturbed": [True] * 19}, "20 launches, but 19 of their values in launch_disturbed"),
        ({"purpose": "foo"}, "purpose 'foo' is none of soak, confirm, latency, search"),
        ({"ep_nodes": 12, "nodes_total": 10}, "ep_nodes is 12 of 10 nodes"),
        (
            {"throughput_texts_per_s_low": 310.0, "throughput_texts_per_s_high": 320.0},
            "throughput_texts_per_s 300.0 lies outside its interval 310.0 to",
        ),
        ({"separation": 0.64}, "separation 0.64 lies outside its interval 0.65 to 0.75"),
        ({"similar_mean": 0.9}, "similar_mean 0.9 lies outside its interval 0.78 to 0.82"),
        ({"dissimilar_mean": 0.0}, "dissimilar_mean 0.0 lies outside its interval 0.08 to 0.12"),
        ({"separation_auc": 0.97}, "separation_auc 0.97 lies outside its interval 0.98 to 0.999"),
        ({"separation_auc": None, "separation_auc_low": 0.9995}, "separation_auc None lies outside"),
    ],
)
def test_a_row_that_no_measurement_writes_is_bad_input(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInputError, match=f"run run-minilm: {said}"):
        decide(frame(model_row("minilm", **changes)))


@pytest.mark.parametrize("end", ["low", "high"])
@pytest.mark.parametrize("unknown", [None, math.nan, pd.NA], ids=["None", "nan", "pd.NA"])
def test_an_interval_with_an_unknown_end_contradicts_no_value(end: str, unknown: Any) -> None:
    row = model_row("minilm", separation=0.9 if end == "low" else 0.1, **{f"separation_{end}": unknown})
    assert decide(frame(row)).verdict == "GO"


def test_evidence_of_unknown_span_is_provisional() -> None:
    (candidate,) = decide(frame(model_row("minilm", evidence_span_s=None))).candidates
    assert any("provisional" in sentence for sentence in candidate.provisional)


@pytest.mark.parametrize(
    ("what", "change"),
    [("cores", {"cores": 1}), ("container_cpus", {"environment": '{"container_cpus": 0.5}'})],
)
def test_evidence_on_other_cores_or_within_another_quota_is_not_read_together(
    what: str, change: dict[str, Any]
) -> None:
    rows = [
        model_row("minilm", "two", cores=2, started_at=STARTED + timedelta(hours=1)),
        model_row("minilm", "one", batch_size=32, **change),
    ]
    (candidate,) = decide(frame(*rows)).candidates
    assert candidate.run_ids == ("two",)
    assert any(f"); not read: 1 run with other {what}" in note for note in candidate.notes)


# --- soak runs


def answers(decision: Decision, metric: str, candidate: int = 0) -> list[str]:
    """The answers of the gates on a metric, in the policy's order."""
    return [g.status for g in decision.candidates[candidate].gates if g.gate.metric == metric]


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("metric", SOAK_METRICS)
def test_a_soak_gate_reads_the_soak_run_and_no_other(policy: str, metric: str) -> None:
    leaking = {f"{metric}{end}": 1000 for end in ("", "_low", "_high") if f"{metric}{end}" in run_row()}
    assert answers(decide(frame(model_row("minilm"), soak_row("minilm")), policy), metric) == ["PASS"]
    leaky = decide(frame(model_row("minilm"), soak_row("minilm", **leaking)), policy)
    assert answers(leaky, metric) == ["FAIL"]
    assert leaky.verdict == "GO", "a should that is listed as open"
    elsewhere = decide(frame(model_row("minilm", **leaking), soak_row("minilm")), policy)
    assert answers(elsewhere, metric) == ["PASS"]
    without = decide(frame(model_row("minilm", **leaking)), policy)
    assert answers(without, metric) == ["NOT_MEASURED"]
    assert "python -m harness model=minilm ep=cpu measure=soak" in without.candidates[0].missing
    assert any("no soak run" in note for note in without.candidates[0].notes)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_soak_run_is_read_by_no_other_gate(policy: str) -> None:
    """Whether it is older or newer than the run that they read, or there is no other."""
    wrong: dict[str, Any] = {
        "launch_p95_ms": [99.0], "latency_p95_ms": 99.0, "launch_throughput_texts_per_s": [1.0],
        "l2_norm_max_error": 0.5, "neighbour_overlap": 0.1, "neighbour_overlap_low": 0.1,
        "neighbour_overlap_high": 0.1, "separation": 0.0, "separation_low": 0.0, "separation_high": 0.0,
    }  # fmt: skip
    alone = decide(frame(model_row("minilm")), policy)
    for later in (-1, 1):
        soak = soak_row("minilm", started_at=STARTED + timedelta(hours=later), **wrong)
        both = decide(frame(model_row("minilm"), soak), policy)
        assert (both.verdict, both.chosen) == ("GO", alone.chosen)
        assert both.candidates[0].latency_p95_ms == 12.0
        for metric in {g.metric for g in load_policy(policy).gates} - set(SOAK_METRICS):
            assert answers(both, metric) == answers(alone, metric)
    only = decide(frame(soak_row("minilm")), policy)
    assert only.verdict == "INCONCLUSIVE"
    assert set(answers(only, "latency_p95_ms")) == {"NOT_MEASURED"}
    assert "python -m harness model=minilm ep=cpu" in only.candidates[0].missing


@pytest.mark.parametrize(
    "elsewhere", [{"workload": "mixture"}, {"batch_size": 8}, {"clients": 4}, {"arrival": "poisson"}], ids=str
)
def test_a_soak_gate_reads_soak_runs_at_its_own_place_only(elsewhere: dict[str, Any]) -> None:
    """Whether a soak elsewhere is good or bad, and measured before or after the one that counts."""
    for gained, own in ((0, 500), (500, 0)):
        here = soak_row("minilm", handles_gained=own)
        for later in (-1, 1):
            started = {"finished_at": STARTED + timedelta(hours=later), "run_id": "soak-elsewhere"}
            there = soak_row("minilm", handles_gained=gained, **elsewhere) | started
            found = decide(frame(model_row("minilm"), here, there))
            assert answers(found, "handles_gained") == ["FAIL" if own else "PASS"]
            alone = decide(frame(model_row("minilm"), there))
            assert answers(alone, "handles_gained") == ["NOT_MEASURED"]
            assert "python -m harness model=minilm ep=cpu measure=soak" in alone.candidates[0].missing


def test_a_soak_gate_may_read_another_place_and_its_command_measures_there() -> None:
    policy = load_policy("default")
    at = AtConfig(workload="mixture", batch_size=8)
    gates = [g.model_copy(update={"at": at}) if g.metric == "handles_gained" else g for g in policy.gates]
    policy = policy.model_copy(update={"gates": gates})
    there = soak_row("minilm", workload="mixture", batch_size=8)
    assert answers(decide(frame(model_row("minilm"), there), policy), "handles_gained") == ["PASS"]
    missing = decide(frame(model_row("minilm")), policy).candidates[0].missing
    assert "python -m harness model=minilm ep=cpu workload=mixture batch_size=8 measure=soak" in missing


def test_a_soak_run_is_one_launch_by_design_and_does_not_make_evidence_provisional() -> None:
    rows = [*confirmed_rows("minilm"), soak_row("minilm")]
    decision = decide(frame(*rows))
    assert decision.candidates[0].provisional == ()
    assert decision.evidence == "confirmed"


@pytest.mark.parametrize("status", ["failed", "interrupted"])
def test_what_measures_a_soak_run_again_is_a_soak(status: str) -> None:
    soak = soak_row("minilm", status=status, error="killed", command="python -m harness model=minilm ep=cpu")
    told = decide(frame(model_row("minilm"), soak))
    said = [*told.reasons, *told.candidates[0].notes]
    (command,) = (line for line in said if "anew" in line or "goes on" in line)
    assert "measure=soak" in command


# --- where a gate reads: callers and arrivals


def with_must_at(**at: Any) -> PolicyConfig:
    """The shipped policy with its must gate on latency read under a load."""
    policy = load_policy("default")
    gates = [
        g.model_copy(update={"at": AtConfig(**at)})
        if g.tier == "must" and g.metric == "latency_p95_ms"
        else g
        for g in policy.gates
    ]
    return policy.model_copy(update={"gates": gates})


LOADS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "callers": ({"clients": 4}, {"clients": 4}, "workload.clients=4"),
    "paced": (
        {"arrival": "poisson", "rate": 5.0},
        {"arrival": "poisson", "offered_qps": 5.0},
        "workload.arrival=poisson workload.rate=5",
    ),
    "both": (
        {"workload": "mixture", "clients": 2, "arrival": "poisson", "rate": 7.5},
        {"workload": "mixture", "clients": 2, "arrival": "poisson", "offered_qps": 7.5},
        "workload=mixture workload.clients=2 workload.arrival=poisson workload.rate=7.5",
    ),
}


@pytest.mark.parametrize(("at", "place", "words"), LOADS.values(), ids=LOADS)
def test_a_gate_under_a_load_reads_the_run_of_that_load_alone(
    at: dict[str, Any], place: dict[str, Any], words: str
) -> None:
    policy = with_must_at(**at)
    plain, fast = model_row("minilm", "plain"), model_row("minilm", "loaded", **place)
    slow = fast | launched(launch_p95_ms=[90.0] * 20)
    alone = model_row("minilm", "alone", workload="mixture")  # what one caller is served of these texts
    assert decide(frame(plain, fast, alone), policy).verdict == "GO"
    assert decide(frame(plain, slow), policy).verdict == "NO_GO"
    assert decide(frame(plain, slow)).verdict == "GO", "and no plain gate reads it"
    missing = decide(frame(plain), policy)
    assert missing.verdict == "INCONCLUSIVE"
    assert f"python -m harness model=minilm ep=cpu {words}" in missing.candidates[0].missing
    assert any(all(word in reason for word in words.split()) for reason in missing.reasons)


@pytest.mark.parametrize(
    "place",
    [
        {"clients": 3},
        {"clients": 4, "arrival": "poisson", "offered_qps": 5.0},
        {"workload": "mixture", "clients": 4},
        {"batch_size": 2, "clients": 4},
    ],
)
def test_no_other_load_stands_in_for_it(place: dict[str, Any]) -> None:
    rows = [model_row("minilm", "plain"), model_row("minilm", "other", **place)]
    assert decide(frame(*rows), with_must_at(clients=4)).verdict == "INCONCLUSIVE"


@pytest.mark.parametrize("rate", [4.9, 50.0, None])
def test_no_other_rate_stands_in_for_it(rate: float | None) -> None:
    rows = [
        model_row("minilm", "plain"),
        model_row("minilm", "other", arrival="poisson", offered_qps=rate),
    ]
    policy = with_must_at(arrival="poisson", rate=5.0)
    assert decide(frame(*rows), policy).verdict == "INCONCLUSIVE"


def test_runs_at_several_loads_all_stay_current() -> None:
    rows = [
        model_row("minilm", f"r{clients}", clients=clients, started_at=STARTED + timedelta(hours=clients))
        for clients in (1, 2, 4)
    ]
    (candidate,) = decide(frame(*rows)).candidates
    assert not any("other run" in note for note in candidate.notes)
    assert candidate.run_ids == ("r1",)


NEWEST: dict[str, dict[str, Any]] = {
    "callers": {"clients": 4, "workload": "mixture",
                "command": "python -m harness model=minilm ep=cpu workload=mixture batch_size=1 "
                           "workload.clients=4"},
    "paced": {"arrival": "poisson", "offered_qps": 5.0, "workload": "mixture",
              "command": "python -m harness model=minilm ep=cpu workload=mixture batch_size=1 "
                         "workload.arrival=poisson workload.rate=5"},
    "length": {"workload": "tokens_48",
               "command": "python -m harness model=minilm ep=cpu workload=tokens_8 batch_size=1 "
                          "workload.tokens=48"},
}  # fmt: skip


@pytest.mark.parametrize("newest", NEWEST.values(), ids=NEWEST)
def test_a_command_for_one_place_holds_nothing_of_another(newest: dict[str, Any]) -> None:
    """What was measured last is what confirmation probed last; what is missing is elsewhere."""
    probed = model_row("minilm", "probe", purpose="search", started_at=STARTED + timedelta(hours=1), **newest)
    decision = decide(frame(model_row("minilm"), probed))
    (candidate,) = decision.candidates
    assert candidate.missing == (
        "python -m harness model=minilm ep=cpu batch_size=32",
        "python -m harness model=minilm ep=cpu measure=soak",
    )
    assert candidate.confirm == "python -m harness model=minilm ep=cpu measure=confirm"


def test_a_command_keeps_the_words_that_are_the_candidates_own() -> None:
    row = model_row(
        "minilm", threads=2, command="python -m harness model=minilm ep=cpu threads=2 measure.cpus=2"
    )
    (candidate,) = decide(frame(row)).candidates
    words = "python -m harness model=minilm ep=cpu threads=2 measure.cpus=2"
    assert candidate.confirm == f"{words} measure=confirm"
    assert f"{words} batch_size=32" in candidate.missing


# --- confirmation


@pytest.mark.parametrize("policy", POLICIES)
def test_a_pick_that_holds_under_productions_load_is_confirmed(policy: str) -> None:
    decision = decide(frame(*confirmed_rows("minilm")), policy)
    assert (decision.verdict, decision.evidence) == ("GO", "confirmed")
    assert decision.candidates[0].confirmation is not None
    assert decision.candidates[0].confirmation.complete
    assert not any("measure=confirm" in step for step in decision.next_steps)
    assert not any("not confirmed" in reason for reason in decision.reasons)
    assert "- Evidence: confirmed." in decision.to_markdown()
    assert "confirmed on 2 cores; measure.cpus=N holds it to fewer" in decision.reasons


def test_on_how_many_cores_it_was_confirmed_is_told_where_it_is_confirmed_alone() -> None:
    held = [row | {"cores": 1, "cpus": 1} for row in confirmed_rows("minilm")]
    assert "confirmed on 1 core; measure.cpus=N holds it to fewer" in decide(frame(*held)).reasons
    quota = [row | {"environment": '{"container_cpus": 0.5}'} for row in confirmed_rows("minilm")]
    told = decide(frame(*quota)).reasons
    assert "confirmed on 2 cores, within a quota of 0.5 CPUs; measure.cpus=N holds it to fewer" in told
    for rows in ([model_row("minilm")], confirmed_rows("minilm")[:-1]):
        assert not any("confirmed on" in reason for reason in decide(frame(*rows)).reasons)


def test_a_rate_that_was_not_declared_is_told_as_not_confirmed() -> None:
    (base, _, *callers) = confirmed_rows("minilm")
    decision = decide(frame(base, *callers))
    assert (decision.verdict, decision.evidence) == ("GO", "provisional")
    assert any(r.startswith("not confirmed: no rate of arrivals was declared") for r in decision.reasons)


def test_a_run_of_an_older_confirmation_is_held_against_nobody() -> None:
    """A rate that was mistyped, failed and even broke; then the right one."""
    newest = [row | {"confirmation_at": STARTED + timedelta(hours=2)} for row in confirmed_rows("minilm")]
    mistyped = confirm_row("minilm", arrival="poisson", offered_qps=250.0) | launched(
        confirmation_at=STARTED + timedelta(hours=1), launch_p95_ms=[60.0] * 20,
        launches_failed=1, finite=False,
    )  # fmt: skip
    decision = decide(frame(*newest, mistyped))
    assert (decision.verdict, decision.evidence) == ("GO", "confirmed")
    again = decide(frame(*newest, mistyped | {"confirmation_at": STARTED + timedelta(hours=2)}))
    assert again.verdict == "NO_GO"


def test_a_rate_near_what_can_be_served_keeps_the_evidence_provisional_though_it_passes() -> None:
    base, _, *callers = confirmed_rows("minilm")
    near = confirm_row("minilm", arrival="poisson", offered_qps=271.0)
    decision = decide(frame(base, near, *callers))
    assert (decision.verdict, decision.evidence) == ("GO", "provisional")
    assert any("poisson 271/s is undecided: 271 requests/s may be more" in r for r in decision.reasons)
    assert not any(reason.startswith("within the budget") for reason in decision.reasons)


def test_a_gate_on_paced_requests_passes_only_where_they_are_known_to_be_fewer_than_can_be_served() -> None:
    """Launches end before a queue that grows without end shows: offered 200/s of which 195 can be served."""
    policy = with_must_at(workload="mixture", arrival="poisson", rate=200.0)
    plain = model_row("minilm", "plain")
    paced = model_row("minilm", "paced", workload="mixture", arrival="poisson", offered_qps=200.0)
    alone = model_row("minilm", "alone", workload="mixture", command="python -m harness model=minilm ep=cpu")
    for served, verdict in ((195.0, "INCONCLUSIVE"), (222.0, "INCONCLUSIVE"), (223.0, "GO")):
        row = alone | launched(launch_throughput_texts_per_s=[served] * 20)
        found = decide(frame(plain, paced, row), policy)
        assert found.verdict == verdict
        told = f"up to {200 / served:.1%} of what one caller is served, over 90%"
        assert any(told in reason for reason in found.reasons) == (verdict != "GO")
        assert not any("workload=mixture" in command for command in found.candidates[0].missing)
    unknown = decide(frame(plain, paced), policy)
    assert unknown.verdict == "INCONCLUSIVE"
    assert all(change.kind != "bound" for change in unknown.changes), "no other bound makes it pass"
    before = {name: STARTED - timedelta(days=9) for name in ("started_at", "finished_at")}
    other = alone | launched(launch_throughput_texts_per_s=[900.0] * 20) | before
    found = decide(frame(plain, paced, other | {"artifact_sha256": "f" * 64}), policy)
    assert found.verdict == "INCONCLUSIVE", "what another artifact could serve is not read"
    slow = paced | launched(launch_p95_ms=[90.0] * 20)
    assert decide(frame(plain, slow), policy).verdict == "NO_GO", (
        "a queue that is too long is, however it grows"
    )


@pytest.mark.parametrize(
    ("rates", "low", "launches"),
    [
        ([], None, 6),
        ([300.0] * 3, None, 6),
        ([150.0] * 2 + [300.0] * 8, 150.0, 21),
        ([150.0, 300.0] * 10, 150.0, None),
        ([150.0] * 20, 150.0, None),
    ],
    ids=["not measured", "too few", "uncertain", "too near", "too little"],
)
def test_how_many_launches_of_one_caller_would_tell_what_can_be_served_is_told(
    rates: list[float], low: float | None, launches: int | None
) -> None:
    policy = with_must_at(workload="mixture", arrival="poisson", rate=200.0)
    command = "python -m harness model=minilm ep=cpu"
    paced = model_row("minilm", "paced", workload="mixture", arrival="poisson", offered_qps=200.0)
    rows = [model_row("minilm", "plain"), paced]
    if rates:
        command += " measure.replicate=1"
        figures = {"launch_p95_ms": [12.0] * len(rates), "launch_throughput_texts_per_s": rates}
        alone = model_row("minilm", "alone", workload="mixture", launches=len(rates), command=command)
        rows.append(alone | launched(**figures) | {"throughput_texts_per_s_low": low})
    found = decide(frame(*rows), policy)
    assert found.verdict == "INCONCLUSIVE"
    typed = [one for one in found.candidates[0].missing if one.startswith(f"{command} workload=mixture")]
    told = f"{command} workload=mixture measure.launches={launches}"
    assert typed == ([] if launches is None else [told])


def test_a_policy_that_reads_batches_is_confirmed_by_batches() -> None:
    policy = with_must_at(batch_size=8)
    rows = [row | {"batch_size": 8, "launch_throughput_texts_per_s": [300.0] * 20}
            for row in confirmed_rows("minilm")]  # fmt: skip
    single = [model_row("minilm", "single"), *rows]
    assert decide(frame(*single), policy).evidence == "confirmed"
    assert decide(frame(*single)).evidence == "provisional"


def test_a_pick_that_does_not_hold_under_productions_load_is_conditional() -> None:
    decision = decide(frame(*confirmed_rows("minilm", launch_p95_ms=[60.0] * 20)))
    said = "P95 latency ms at mixture, batch 1, 4 clients is 60, needed < 30"
    assert (decision.verdict, decision.exit_code) == ("CONDITIONAL_GO", 10)
    assert decision.chosen == "minilm fp32 cpu"
    assert any("not under production's load" in reason and said in reason for reason in decision.reasons)
    assert not any("the latency target does not" in reason for reason in decision.reasons)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"launches_failed": 1, "error": "exit 139"},
            "1 of 20 launches failed at mixture, batch 1, 4 clients",
        ),
        ({"status": "failed", "error": "killed", "launches_failed": 20}, "the run failed at mixture"),
        ({"status": "timeout", "error": "too long"}, "4 clients: too long"),
        ({"finite": False}, "a vector is not finite at mixture, batch 1, 4 clients"),
        ({"ep_node_share": 0.1}, "only 10% of the nodes run on cpu at mixture, batch 1, 4 clients"),
        ({"parity_cosine_min": 0.5}, "parity with the fp32 reference failed at mixture"),
    ],
)
def test_a_pick_that_breaks_under_productions_load_is_no_go(changes: dict[str, Any], said: str) -> None:
    decision = decide(frame(*confirmed_rows("minilm", **changes)))
    assert decision.verdict == "NO_GO"
    assert any(said in reason for reason in decision.reasons)


def test_a_conditional_go_says_what_to_do_next_even_where_it_is_confirmed() -> None:
    base, *load = confirmed_rows("minilm", launch_p95_ms=[60.0] * 20)
    decision = decide(frame(base, *load))
    assert decision.evidence == "confirmed"
    assert LOAD_STEP in decision.next_steps
    assert TRY_THEM not in decision.next_steps  # the target itself is met
    assert not any("measure=confirm" in step for step in decision.next_steps)
    both = decide(frame(model_row("minilm", p95_ms=25), *load)).next_steps
    assert {LOAD_STEP, TRY_THEM} <= set(both)


def test_confirmation_never_lifts_a_verdict() -> None:
    for worse, verdict in (({"p95_ms": 25}, "CONDITIONAL_GO"), ({"p95_ms": 45}, "NO_GO")):
        rows = [model_row("minilm", **worse), *confirmed_rows("minilm")[1:]]
        assert decide(frame(*rows)).verdict == verdict
    assert decide(frame(*confirmed_rows("minilm")[1:])).verdict == "INCONCLUSIVE"


@pytest.mark.parametrize("clients", [1, 2, 4])
def test_a_part_of_confirmation_that_was_not_measured_is_named(clients: int) -> None:
    missing = f"confirm-minilm-{clients}"
    rows = [row for row in confirmed_rows("minilm") if row["run_id"] != missing]
    assert len(rows) == 4
    decision = decide(frame(*rows))
    assert (decision.verdict, decision.evidence) == ("GO", "provisional")
    said = f"not confirmed: mixture texts with {clients} concurrent callers were not measured"
    assert said in decision.reasons
    assert any("measure=confirm" in step for step in decision.next_steps)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"status": "interrupted"}, "4 clients was interrupted"),
        ({"evidence_span_s": 30.0}, "4 clients span 30 s, under 90 s"),
        ({"evidence_span_s": None}, "4 clients span an unknown time, needed are 90 s"),
        ({"launch_p95_ms": [12.0] * 9, "launches": 9}, "4 clients is undecided: 0 of 9 launches"),
        ({"launch_p95_ms": None}, "4 clients is undecided"),
        ({"status": "unavailable", "error": "gone"}, "4 concurrent callers were not measured"),
    ],
)
def test_a_part_of_confirmation_that_is_open_keeps_the_evidence_provisional(
    changes: dict[str, Any], said: str
) -> None:
    decision = decide(frame(*confirmed_rows("minilm", **changes)))
    assert (decision.verdict, decision.evidence) == ("GO", "provisional")
    assert any(r.startswith("not confirmed: ") and said in r for r in decision.reasons)


@pytest.mark.parametrize(
    ("low", "high", "verdict", "state"),
    [(0.05, 0.2, "NO_GO", "fails"), (0.05, 0.99, "INCONCLUSIVE", "is undecided")],
)
def test_vectors_that_break_a_must_gate_under_productions_load_are_no_pick(
    low: float, high: float, verdict: str, state: str
) -> None:
    overlap = {"neighbour_overlap": 0.1, "neighbour_overlap_low": low, "neighbour_overlap_high": high}
    decision = decide(frame(*confirmed_rows("minilm", **overlap)))
    assert (decision.verdict, decision.chosen) == (verdict, None)
    said = f"must gate {state}: top-10 overlap is 0.1, needed >= 0.95"
    assert said in decision.reasons[0]
    assert "at mixture, batch 1, 4 clients" in decision.reasons[0]


def test_vectors_under_productions_load_decide_where_a_gate_on_latency_reads_that_load_too() -> None:
    policy = load_policy("default").model_dump()
    there = {"at": {"workload": "mixture", "clients": 4}, "tier": "nice", "label": "P95 of four"}
    asked = {"metric": "latency_p95_ms", "op": "<", "bound": 50, "launch_quantile": 0.5}
    policy["gates"].append(there | asked)
    made = PolicyConfig.model_validate(policy)
    assert decide(frame(*confirmed_rows("minilm")), made).verdict == "GO"
    decision = decide(frame(*confirmed_rows("minilm", l2_norm_max_error=0.5)), made)
    assert (decision.verdict, decision.chosen) == ("NO_GO", None)
    assert decision.reasons[0].endswith(
        "L2 norm error is 0.5, needed <= 0.01, at mixture, batch 1, 4 clients"
    )


@pytest.mark.parametrize("unknown", [None, math.nan])
def test_vectors_that_nobody_knows_under_productions_load_are_no_pick(unknown: float | None) -> None:
    decision = decide(frame(*confirmed_rows("minilm", l2_norm_max_error=unknown)))
    assert (decision.verdict, decision.chosen) == ("INCONCLUSIVE", None)
    assert "must gate was not measured: L2 norm error" in decision.reasons[0]
    assert "at mixture, batch 1, 4 clients" in decision.reasons[0]


def test_what_narrows_a_gate_that_is_open_under_productions_load_is_told() -> None:
    auc = {"separation_auc": 0.96, "separation_auc_low": 0.9, "separation_auc_high": 0.99}
    steps = decide(frame(*confirmed_rows("minilm", **auc))).next_steps
    assert any("a gate on sts_spearman asks your own" in step for step in steps)


def by_throughput(**at: Any) -> PolicyConfig:
    """The shipped policy, which prefers by throughput read there, and gates nothing there."""
    policy = load_policy("default")
    gates = [gate for gate in policy.gates if gate.metric != "throughput_texts_per_s"]
    order = [{"metric": "throughput_texts_per_s", "step": 1.0, "at": at}]
    raw = policy.model_dump() | {"gates": [gate.model_dump() for gate in gates]}
    return PolicyConfig.model_validate(raw | {"objective": "lexicographic", "order": order})


def test_a_figure_of_vectors_that_a_must_gate_refuses_is_none_for_the_objective() -> None:
    policy = by_throughput(workload="mixture")
    rows = [model_row(name) for name in ("minilm", "e5")]
    served = [
        model_row(name, f"m-{name}", workload="mixture", launch_throughput_texts_per_s=[n] * 20, **more)
        for name, n, more in (("minilm", 100.0, {}), ("e5", 900.0, {"l2_norm_max_error": 0.5}))
    ]
    decision = decide(frame(*rows, *served), policy)
    assert decision.chosen == "minilm fp32 cpu"
    (e5,) = (c for c in decision.candidates if c.label == "e5 fp32 cpu")
    assert any(
        note.startswith("no figure for the objective: must gate fails: L2 norm error") for note in e5.notes
    )


def test_what_failed_before_where_the_objective_reads_keeps_the_evidence_provisional() -> None:
    policy = by_throughput(batch_size=32)
    batch = model_row("minilm", "b32", batch_size=32)
    rows = [*confirmed_rows("minilm"), batch]
    assert decide(frame(*rows), policy).evidence == "confirmed"
    before = batch | {"run_id": "before", "finite": False, "finished_at": STARTED - timedelta(hours=1)}
    decision = decide(frame(*rows, before), policy)
    assert (decision.verdict, decision.evidence) == ("GO", "provisional")


def test_a_search_that_was_interrupted_is_told_beside_what_is_confirmed() -> None:
    probed = model_row("minilm", "probe", workload="tokens_64", purpose="search", status="interrupted")
    decision = decide(frame(*confirmed_rows("minilm"), probed))
    assert decision.evidence == "confirmed"
    said = "the search of how far the budget reaches was interrupted: python -m harness model=minilm ep=cpu "
    assert any(line.startswith(f"{said}measure=confirm") for line in decision.candidates[0].notes)


def test_a_mixture_that_was_not_measured_to_confirm_confirms_nothing() -> None:
    rows = [row | {"purpose": "latency"} for row in confirmed_rows("minilm")]
    decision = decide(frame(*rows))
    assert decision.evidence == "provisional"
    assert decision.candidates[0].confirmation is None


def test_confirmation_of_evidence_that_is_provisional_itself_confirms_nothing() -> None:
    base, *load = confirmed_rows("minilm")
    decision = decide(frame(base | {"evidence_span_s": 20.0}, *load))
    assert decision.candidates[0].confirmation is not None
    assert decision.candidates[0].confirmation.complete
    assert decision.evidence == "provisional"
    assert any(
        line.startswith("production's load was measured and settled on 2 cores") for line in decision.reasons
    )
    assert not any(line.startswith("confirmed on") for line in decision.reasons)
    assert any("measure=confirm" in step for step in decision.next_steps)


def test_confirmation_of_another_candidate_confirms_nothing() -> None:
    decision = decide(frame(model_row("minilm"), *confirmed_rows("e5")))
    assert (decision.chosen, decision.evidence) == ("minilm fp32 cpu", "provisional")
    assert decision.candidates[0].confirmation is None


@pytest.mark.parametrize("p95_ms", [12.0, 25.0])
def test_a_policy_by_which_nothing_is_confirmed_says_so_and_tells_no_command(p95_ms: float) -> None:
    default = load_policy("default")
    (must,) = (g for g in default.gates if g.tier == "must" and g.metric == "latency_p95_ms")
    of_32 = must.model_copy(update={"bound": 1000.0, "label": "of 32", "at": AtConfig(batch_size=32)})
    without = default.model_copy(update={"gates": [g for g in default.gates if g is not must]})
    several = default.model_copy(update={"gates": [*default.gates, of_32]})
    rows = [model_row("minilm", p95_ms=p95_ms), model_row("minilm", "r32", batch_size=32, p95_ms=p95_ms)]
    for policy, why in (
        (without, "policy=default: no must gate on latency_p95_ms to confirm"),
        (several, "policy=default: its must latency gates read batches of 1, 32; confirm takes one"),
    ):
        decision = decide(frame(*rows), policy)
        assert decision.verdict == ("GO" if p95_ms < 20 else "CONDITIONAL_GO")
        assert decision.evidence == "provisional"
        assert f"not confirmed: {why}" in decision.reasons
        assert not any("measure=confirm`" in step for step in decision.next_steps)
        step = f"go with the pick; measure=confirm cannot confirm it: {why}"
        assert (step in decision.next_steps) == (decision.verdict == "GO")
        assert NEXT_STEPS["GO"] not in decision.next_steps


def test_only_the_pick_is_to_be_confirmed() -> None:
    rows = [model_row("minilm"), model_row("e5"), model_row("bge", p95_ms=25)]
    steps = [step for step in decide(frame(*rows)).next_steps if "measure=confirm" in step]
    assert len(steps) == 1
    assert "`python -m harness model=minilm ep=cpu measure=confirm`" in steps[0]
    for p95s in ([12.0] * 10, [45.0] * 20):
        decision = decide(frame(launches_row("minilm", p95s)))
        assert decision.chosen is None
        assert not any("measure=confirm" in step for step in decision.next_steps)


def limit_rows() -> list[dict[str, Any]]:
    """What confirmation probes: lengths, then rates."""
    rows = [
        model_row("minilm", f"t{tokens}", workload=f"tokens_{tokens}", purpose="search", p95_ms=p95_ms)
        for tokens, p95_ms in ((64, 10), (128, 20), (192, 45), (256, 60))
    ]
    paced = {"workload": "mixture", "arrival": "poisson", "purpose": "search"}
    return rows + [
        model_row("minilm", f"q{rate}", offered_qps=rate, p95_ms=p95_ms, **paced)
        for rate, p95_ms in ((5.0, 12), (20.0, 25), (30.0, 80))
    ]


def test_how_far_the_budget_reaches_is_told() -> None:
    decision = decide(frame(*confirmed_rows("minilm"), *limit_rows()))
    lengths = "within the budget: texts of up to 128 tokens, one caller (192 is too much)"
    rates = "within the budget: mixture texts arriving at random, up to 20 requests/s (30 is too much)"
    for limit in (lengths, rates):
        assert limit in decision.reasons
        assert limit in decision.to_markdown()
    record = json.loads(decision.to_json())["candidates"][0]["confirmation"]
    spread = {"undecided": None, "seen_within_s": None, "rests_on_noise": False}
    assert record["longest_tokens"] == {"holds": 128, "fails": 192, **spread}
    assert record["highest_qps"] == {"holds": 20, "fails": 30, **spread}
    assert decision.evidence == "confirmed", "where it ends is no failure"


def test_a_limit_never_lies_beyond_a_level_that_did_not_hold() -> None:
    """A noisy probe: 64 tokens failed and 128 held."""
    rows = [
        row | (launched(launch_p95_ms=[99.0] * 20) if row["run_id"] == "t64" else {}) for row in limit_rows()
    ]
    decision = decide(frame(*confirmed_rows("minilm"), *rows))
    assert "not shown to be within the budget at any length measured (64 is too much)" in decision.reasons


def test_a_level_that_its_launches_did_not_settle_is_told_as_undecided() -> None:
    few = launched(launch_p95_ms=[10.0] * 3, launches=3)
    rows = [row | (few if row["run_id"] in ("t128", "q20.0") else {}) for row in limit_rows()]
    decision = decide(frame(*confirmed_rows("minilm"), *rows))
    assert (
        "within the budget: texts of up to 64 tokens, one caller (128 is undecided, 192 is too much)"
        in decision.reasons
    )
    confirmation = decision.candidates[0].confirmation
    assert confirmation is not None
    assert confirmation.highest_qps == Limit(5.0, 20.0, 30.0)


def test_a_busier_run_is_no_limit() -> None:
    rows = [
        model_row("minilm", "batch", workload="tokens_256", batch_size=8),
        model_row("minilm", "callers", workload="tokens_384", clients=2),
        model_row("minilm", "soak", workload="tokens_512", purpose="soak"),
        model_row("minilm", "short", arrival="poisson", offered_qps=9.0),
    ]
    confirmation = decide(frame(*confirmed_rows("minilm"), *rows)).candidates[0].confirmation
    assert confirmation is not None
    assert (confirmation.longest_tokens, confirmation.highest_qps) == (Limit(), Limit(holds=3))


def test_the_record_holds_the_confirmation_whole() -> None:
    def record(*rows: dict[str, Any]) -> Any:
        return json.loads(decide(frame(*rows)).to_json(), parse_constant=refuse)["candidates"][0]

    assert record(model_row("minilm"))["confirmation"] is None
    found = record(*confirmed_rows("minilm", launch_p95_ms=[60.0] * 20))["confirmation"]
    assert found["complete"] is True
    assert (found["lacking"], len(found["failing"])) == ([], 1)
    assert [gate["status"] for gate in found["gates"]] == ["PASS", "PASS", "PASS", "FAIL"]
    assert [(gate["at"]["clients"], gate["at"]["rate"]) for gate in found["gates"]] == [
        (1, None), (1, 3.0), (2, None), (4, None),
    ]  # fmt: skip
    assert all(gate["at"]["workload"] == "mixture" for gate in found["gates"])
    assert {gate["metric"] for gate in found["gates"]} == {"latency_p95_ms"}
    assert set(found["longest_tokens"].values()) == {None, False}
    assert found["highest_qps"]["holds"] == 3.0
    short = record(*confirmed_rows("minilm")[:-1])["confirmation"]
    assert short["complete"] is False
    assert len(short["lacking"]) == 1


# --- disturbed launches


def noisy_row(p95s: list[float], flags: Any, **changes: Any) -> dict[str, Any]:
    """A run whose launches have these P95s and were flagged so."""
    known = [flag for flag in flags if flag is not None]
    share = sum(known) / len(known) if known else None
    return launches_row("minilm", p95s, launch_disturbed=flags, noise=share) | changes


def test_an_answer_that_disturbed_launches_changed_is_provisional() -> None:
    row = noisy_row([12.0] * 20 + [99.0] * 8, [False] * 20 + [True] * 8, disturbance="other processes 8")
    decision = decide(frame(row))
    must = decision.candidates[0].gates[0]
    assert (must.status, must.undisturbed) == ("UNDECIDED", "PASS")
    assert decision.verdict == "INCONCLUSIVE", "the verdict stands on all launches"
    said = decision.candidates[0].provisional[0]
    assert (
        "must gate P95 latency ms, undecided, would be pass without the launches that were disturbed" in said
    )
    assert json.loads(decision.to_json())["candidates"][0]["gates"][0]["undisturbed"] == "PASS"


def test_a_no_go_that_rests_on_disturbed_launches_says_so_where_the_verdict_is_told() -> None:
    decision = decide(frame(noisy_row([45.0] * 20, [True] * 20)))
    assert (decision.verdict, decision.undisturbed) == ("NO_GO", "INCONCLUSIVE")
    first, *others = decision.reasons
    assert first == f"without the launches that were disturbed it is INCONCLUSIVE: {NOISE_STEP}"
    assert any("would be undecided without the launches that were disturbed" in x for x in others)
    assert json.loads(decision.to_json())["undisturbed"] == "INCONCLUSIVE"
    failed = model_row("e5", p95_ms=45)
    assert decide(frame(failed)).undisturbed == "NO_GO"
    assert decide(frame(noisy_row([45.0] * 20, [True] * 20), failed)).undisturbed == "INCONCLUSIVE"
    assert decide(frame(noisy_row([45.0] * 20, [True] * 20, finite=False))).undisturbed == "NO_GO"


def test_a_pass_that_rests_on_disturbed_launches_is_never_confirmed() -> None:
    base, *load = confirmed_rows("minilm")
    decision = decide(frame(base | {"launch_disturbed": [True] * 12 + [False] * 8, "noise": 0.6}, *load))
    assert (decision.verdict, decision.evidence) == ("GO", "provisional")
    assert any("would be undecided without" in reason for reason in decision.reasons)


def test_any_verdict_that_rests_on_disturbed_launches_ends_with_the_command_that_measures_it_anew() -> None:
    rows = {
        "GO": noisy_row([12.0] * 20, [True] * 12 + [False] * 8),
        "CONDITIONAL_GO": noisy_row([25.0] * 12 + [12.0] * 8, [True] * 12 + [False] * 8),
        "INCONCLUSIVE": noisy_row([12.0] * 20 + [99.0] * 8, [False] * 20 + [True] * 8),
        "NO_GO": noisy_row([45.0] * 20, [True] * 20),
    }
    anew = f"{NOISE_STEP}: `python -m harness model=minilm ep=cpu measure.force=true`"
    for verdict, row in rows.items():
        decision = decide(frame(row))
        assert decision.verdict == verdict != decision.undisturbed
        assert anew in decision.next_steps
    better = decide(frame(rows["GO"], model_row("e5", "e5", p95_ms=8)))
    assert anew in better.next_steps, "the first path is the pick"
    noisy = rows["NO_GO"] | {"model": "e5", "run_id": "noisy", "config_hash": "noisy"}
    other = decide(frame(noisy, model_row("minilm")))
    assert not any(NOISE_STEP in step for step in other.next_steps), "the pick does not rest on it"


def test_what_quiet_launches_say_of_a_run_stopped_over_less_than_is_asked_is_told() -> None:
    """Twenty quiet ones are under 12 ms; eight disturbed ones were stopped at 20, and the bound is at 30."""
    row = noisy_row([11.0] * 20 + [25.0] * 8, [False] * 20 + [True] * 8, truncated_over_ms=20.0)
    decision = decide(frame(row))
    must = decision.candidates[0].gates[0]
    assert (must.status, must.undisturbed) == ("NOT_MEASURED", "PASS")
    assert (decision.verdict, decision.undisturbed) == ("INCONCLUSIVE", "GO")
    assert any("not measured, would be pass without" in line for line in decision.candidates[0].provisional)
    assert any(step.startswith(NOISE_STEP) for step in decision.next_steps)
    open_too = noisy_row([25.0] * 28, [False] * 20 + [True] * 8, truncated_over_ms=20.0)
    assert decide(frame(open_too)).candidates[0].gates[0].undisturbed == "NOT_MEASURED"


def test_a_confirmation_that_rests_on_disturbed_launches_is_to_be_made_anew() -> None:
    base, *load = confirmed_rows("minilm")
    noisy = [row | {"launch_disturbed": [True] * 12 + [False] * 8, "noise": 0.6} for row in load]
    for rows, forced in (([base, *noisy], True), ([base, *load[:-1]], False)):
        step = next(s for s in decide(frame(*rows)).next_steps if "measure=confirm" in s)
        assert ("measure.force=true" in step) == forced


@pytest.mark.parametrize(
    ("quiet_ms", "noisy_ms", "verdict", "undisturbed"),
    [(12.0, 60.0, "CONDITIONAL_GO", "GO"), (60.0, 12.0, "GO", "CONDITIONAL_GO"),
     (60.0, 60.0, "CONDITIONAL_GO", "CONDITIONAL_GO")],
)  # fmt: skip
def test_what_disturbed_launches_under_productions_load_change_is_told_beside_the_verdict(
    quiet_ms: float, noisy_ms: float, verdict: str, undisturbed: str
) -> None:
    """Twenty quiet launches beside so many disturbed ones that these alone settle it."""
    quiet, noisy = ([quiet_ms] * 20, [noisy_ms] * (20 if noisy_ms > quiet_ms else 300))
    under_load = {"launches": len(quiet) + len(noisy), "launch_p95_ms": [*quiet, *noisy]}
    rows = confirmed_rows("minilm", **under_load, launch_disturbed=[False] * 20 + [True] * len(noisy))
    decision = decide(frame(*rows))
    assert (decision.verdict, decision.undisturbed) == (verdict, undisturbed)
    assert any("measure=confirm" in s and "measure.force=true" in s for s in decision.next_steps) == (
        verdict != undisturbed
    )


@pytest.mark.parametrize("flags", [[False] * 20, [True] + [False] * 19, [None] * 20, None])
def test_disturbed_launches_that_change_no_answer_leave_it_as_it_is(flags: Any) -> None:
    row = launches_row("minilm", [12.0] * 20, launch_disturbed=flags)
    assert decide(frame(row)).candidates[0].provisional == ()


def test_a_pass_that_has_too_few_quiet_launches_by_themselves_is_noted_and_stands() -> None:
    row = noisy_row([12.0] * 20, [True] * 8 + [False] * 12)
    decision = decide(frame(row))
    (candidate,) = decision.candidates
    must = candidate.gates[0]
    assert (must.status, must.undisturbed, must.quiet) == ("PASS", "UNDECIDED", 12)
    assert candidate.provisional == (), "most launches were quiet, and disturbance makes slow"
    said = (
        "must gate P95 latency ms: passes with the launches that were disturbed; the 12 of 20 that were "
        "quiet are too few by themselves"
    )
    assert said in candidate.notes
    assert not any(note.startswith("nice gate") for note in candidate.notes)


@pytest.mark.parametrize(
    "flags", [[False] * 20, [True] * 2 + [False] * 18, [True] * 12 + [False] * 8, None], ids=str
)
def test_nothing_is_noted_of_quiet_launches_that_are_enough_or_told_as_provisional(flags: Any) -> None:
    row = launches_row("minilm", [12.0] * 20, launch_disturbed=flags)
    (candidate,) = decide(frame(row)).candidates
    assert not any("must gate P95" in note and "by themselves" in note for note in candidate.notes)


def test_a_nice_gate_makes_nothing_provisional() -> None:
    p95s, flags = [12.0] * 20 + [16.0] * 14, [False] * 20 + [True] * 14
    (candidate,) = decide(frame(noisy_row(p95s, flags))).candidates
    (nice,) = (g for g in candidate.gates if g.gate.tier == "nice")
    assert nice.undisturbed != nice.status
    assert candidate.provisional == ()


def noise_lines(*rows: dict[str, Any]) -> list[str]:
    """What the decision's first candidate says of noise."""
    return [line for line in decide(frame(*rows)).candidates[0].warnings if line.startswith("noise")]


@pytest.mark.parametrize(
    ("disturbance", "remedy"),
    [
        ("other processes 4", "stop what else is running"),
        (
            "stolen time 4",
            "the hypervisor gives time to others: measure at another hour, or on another machine",
        ),
        (
            "other processes 1, low capacity 2, stolen time 1",
            "stop what else is running; the hypervisor gives time to others, neighbours or a clock held "
            "down: measure at another hour, or on another machine",
        ),
        ("low capacity 4", "measure at another hour"),
        ("heat 4", "let the machine cool"),
    ],
)
def test_noise_is_one_line_with_what_it_hides_and_what_helps(disturbance: str, remedy: str) -> None:
    row = noisy_row([12.0] * 20, [True] * 4 + [False] * 16, disturbance=disturbance,
                    latency_p95_low_ms=10.0, latency_p95_high_ms=12.5)  # fmt: skip
    (line,) = noise_lines(row)
    assert f"4 of 20 launches disturbed ({disturbance})" in line
    assert "P95 is known to 10-12.5 ms, so a change under 25% cannot be seen" in line
    assert remedy in line
    assert "\n" not in line


def test_where_launches_failed_it_is_not_told_that_they_are_too_few() -> None:
    failed = noisy_row([12.0] * 11 + [INF] * 9, [False] * 20, launches_failed=9, latency_p95_high_ms=None)
    (line,) = noise_lines(failed)
    assert line == (
        "noise: none of 20 launches disturbed; P95 has no interval where launches failed, so no change "
        "can be seen"
    )


def test_quiet_launches_and_unknown_ones_are_told_apart() -> None:
    (line,) = noise_lines(noisy_row([12.0] * 20, [False] * 20))
    assert line.startswith("noise: none of 20 launches disturbed")
    assert noise_lines(noisy_row([12.0] * 20, [None] * 20)) == []


def test_launches_of_which_nothing_is_known_are_not_counted_as_disturbed() -> None:
    """Ten were watched, half of them disturbed; ten come from a version that did not watch."""
    (line,) = noise_lines(noisy_row([12.0] * 20, [True] * 5 + [False] * 5 + [None] * 10))
    assert line.startswith("noise: 5 of 10 launches disturbed")


def test_the_noise_is_that_of_the_run_the_latency_gate_reads() -> None:
    other = model_row("minilm", "r32", batch_size=32, noise=0.5, launch_disturbed=[True, False] * 10)
    assert noise_lines(model_row("minilm"), other, soak_row("minilm", noise=1.0)) == []


@pytest.mark.parametrize(("share", "told"), [(None, False), (0.0, False), (0.01, False), (0.023, True)])
def test_a_loop_that_shows_in_its_own_figures_is_told(share: float | None, told: bool) -> None:
    (candidate,) = decide(frame(model_row("minilm", loop_overhead_share=share))).candidates
    lines = [line for line in candidate.warnings if "timed loop itself" in line]
    assert bool(lines) == told
    assert not told or "2.3% of the median" in lines[0]


@pytest.mark.parametrize(
    ("step_ns", "told"), [(None, False), (41, False), (120_000, False), (15_600_000, True)]
)
def test_a_clock_that_is_too_coarse_for_the_median_is_told(step_ns: int | None, told: bool) -> None:
    row = model_row("minilm", timer_resolution_ns=step_ns, latency_p50_ms=12.0)
    (candidate,) = decide(frame(row)).candidates
    lines = [line for line in candidate.warnings if "clock's smallest step is 130.0% of the median" in line]
    assert bool(lines) == told


@pytest.mark.parametrize("drift", [(1.01, 0.98, 1.04), (1.8, 1.7, 2.0)], ids=["passes", "fails"])
@pytest.mark.parametrize("disturbed", [False, True])
def test_a_drift_that_was_seen_in_a_disturbed_launch_rests_on_it(
    drift: tuple[float, float, float], disturbed: bool
) -> None:
    value, low, high = drift
    soak = soak_row(
        "minilm", launch_disturbed=[disturbed],
        latency_drift=value, latency_drift_low=low, latency_drift_high=high,
    )  # fmt: skip
    told = [
        line for line in decide(frame(model_row("minilm"), soak)).candidates[0].provisional if "drift" in line
    ]
    assert bool(told) == disturbed
    assert not disturbed or "would be not measured without the launches that were disturbed" in told[0]


def test_of_what_keeps_a_candidate_from_being_picked_what_failed_comes_first() -> None:
    raw = load_policy().model_dump()
    gates = [gate | {"tier": "must"} if gate["metric"] in SOAK_METRICS else gate for gate in raw["gates"]]
    soak = soak_row(
        "minilm", latency_drift=1.8, latency_drift_low=1.7, latency_drift_high=2.0, separation_auc=None,
        rss_slope_bytes_per_request=None, handles_gained=None,
    )  # fmt: skip
    row = model_row("minilm", separation_auc=None, neighbour_overlap=None)
    decision = decide(frame(row, soak), PolicyConfig.model_validate(raw | {"gates": gates}))
    assert decision.verdict == "NO_GO"
    assert "must gate fails: latency drift is 1.8" in decision.reasons[0]


def test_a_median_of_no_time_at_all_is_the_clocks_smallest_step() -> None:
    row = model_row("minilm", timer_resolution_ns=15_600_000, latency_p50_ms=0.0)
    (told,) = (line for line in caveats.of_noise(row) if "smallest step" in line)
    assert "100.0% of the median" in told


# --- the record with all of it


LOADED = [
    *MIXED,
    *confirmed_rows("bge", launch_p95_ms=[12.0] * 17 + [99.0] * 3, launch_disturbed=[False] * 17 + [True] * 3,
                    noise=0.15, disturbance="other processes 3", replicate=1),
    *(row | {"model": "bge", "model_id": "org/bge", "candidate_label": "bge fp32 cpu"}
      for row in limit_rows()),
    soak_row("bge", handles_gained=3, cpus=2),
    soak_row("minilm", rss_slope_bytes_per_request=None, latency_drift_low=None),
    noisy_row([12.0] * 20, [None, True] * 10, loop_overhead_share=0.02)
    | {"model": "mine", "run_id": "noisy", "workload": "mixture", "clients": 2, "started_at": STARTED},
]  # fmt: skip


@property_test
@given(st.permutations(range(len(LOADED))), st.permutations([column.name for column in RUN_COLUMNS]))
def test_the_order_does_not_matter_under_load_either(rows: list[int], columns: list[str]) -> None:
    first = decide(frame(*LOADED))
    second = decide(frame(*(LOADED[i] for i in rows))[columns])
    assert second.to_json() == first.to_json()
    assert second.to_markdown() == first.to_markdown()


def test_runs_under_load_read_from_a_store_are_decided_like_their_rows(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for row in LOADED:
        store.write_run(row)
    for policy in POLICIES:
        assert decide(load_runs(tmp_path), policy).to_json() == decide(frame(*LOADED), policy).to_json()


def test_a_row_without_its_number_of_launches_is_bad_input() -> None:
    with pytest.raises(BadInputError, match="launches cannot be null"):
        decide(frame(model_row("minilm", launches=None)))


# --- a policy of another shape


def test_a_policy_without_a_latency_target_speaks_of_none() -> None:
    decision = decide(frame(model_row("minilm")), latency_only())
    assert decision.reasons[0] == "minilm fp32 cpu: all 1 must gates pass"


def test_strict_takes_36_clean_launches_under_15_ms() -> None:
    clean = launches_row("minilm", [12.0] * 36)
    assert decide(frame(clean), "strict").verdict == "GO"
    assert decide(frame(launches_row("minilm", [12.0] * 35)), "strict").verdict == "INCONCLUSIVE"
    assert decide(frame(launches_row("minilm", [16.0] * 36)), "strict").verdict == "NO_GO"


def test_of_many_that_are_not_picked_a_few_are_named() -> None:
    rows = [model_row("minilm", f"r{n:02}", threads=n, candidate_label=f"t{n:02}") for n in range(1, 21)]
    decision = decide(frame(*rows))
    assert "picked by path order, then P95, before t02, t03, t04, t05, t06, t07, t08, t09 and 11 more" in (
        decision.reasons
    )


def test_only_who_could_win_is_resampled_however_many_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No test asserts a time: that the work stays in proportion shows in what is drawn anew."""
    drawn: list[str] = []
    draw = robustness._resampled
    monkeypatch.setattr(robustness, "_resampled", lambda run, values: drawn.append(run) or draw(run, values))
    rows = [
        model_row("minilm", f"r{n:05}", threads=n + 1, candidate_label=f"t{n:05}", p95_ms=5 + n / 100)
        for n in range(300)
    ]
    decision = decide(frame(*rows))
    assert (decision.chosen, decision.stays) == ("t00000", 1.0)
    assert set(drawn) == {"r00000"}
    assert decide(frame(*rows[::-1])).to_json() == decision.to_json()


def test_a_confirmation_that_lacks_something_is_told_to_go_on_at_the_rate_that_was_declared() -> None:
    *some, _ = confirmed_rows("minilm")
    steps = decide(frame(*some)).next_steps
    assert any("measure=confirm measure.rate=3`" in step for step in steps), steps
    steps = decide(frame(some[0])).next_steps
    assert any("measure=confirm` (with measure.rate= and measure.cpus=" in step for step in steps), steps


def test_a_confirmation_is_told_to_go_on_with_the_callers_that_were_declared() -> None:
    """Else what is told to type would withdraw those at which the budget does not hold."""
    rows = [*confirmed_rows("minilm"), confirm_row("minilm", clients=8) | launched(launch_p95_ms=[60.0] * 20)]
    decision = decide(frame(*rows[:2], *rows[3:]))
    assert decision.verdict == "CONDITIONAL_GO"
    assert any("measure=confirm 'measure.clients=[2,4,8]' measure.rate=3`" in s for s in decision.next_steps)


UNAVAILABLE = {"status": "unavailable", "error": "not in this build", "launches": 0, "launch_p95_ms": []}


def test_what_is_not_possible_here_leaves_the_pessimistic_scenario_as_it_is() -> None:
    slow = [model_row(name, p95_ms=40) for name in ("minilm", "e5", "bge")]
    qwen = model_row("qwen3", p95_ms=171, latency_p50_ms=118.0)
    elsewhere = model_row(
        "minilm", "elsewhere", ep="coreml", candidate_label="minilm fp32 coreml", **UNAVAILABLE
    )
    without, beside = (decide(frame(*slow, qwen, *more)) for more in ([], [elsewhere]))
    assert (beside.verdict, beside.fallback) == (without.verdict, without.fallback)
    assert without.verdict == "NO_GO"
    assert beside.reasons == without.reasons
    assert beside.candidates[-1].verdict == "INCONCLUSIVE"
    alone = decide(frame(elsewhere))
    assert (alone.verdict, alone.reasons) == (
        "INCONCLUSIVE", ("minilm fp32 coreml: not possible here: not in this build",),
    )  # fmt: skip


def test_models_of_the_policy_that_were_not_measured_are_named_beside_a_no_go() -> None:
    decision = decide(frame(model_row("minilm", p95_ms=45)))
    assert decision.reasons[-1] == "alternatives that are not among these runs: e5, bge"


def test_a_conditional_go_tells_to_try_what_is_untried_of_the_policys_own_models() -> None:
    slow = [model_row(name, p95_ms=45) for name in ("e5", "bge")]
    steps = decide(frame(model_row("minilm", p95_ms=25), *slow)).next_steps
    assert steps[0] == TRY_THEM.replace(" try e5 or bge,", "")
    assert decide(frame(model_row("minilm", p95_ms=25))).next_steps[0] == TRY_THEM
    picked = decide(frame(model_row("bge", p95_ms=25), slow[0])).next_steps
    assert picked[0] == TRY_THEM.replace("e5 or bge", "minilm")
    own = load_policy("default").model_copy(update={"paths": ["gte", "minilm", "nomic"]})
    other = decide(frame(model_row("minilm", p95_ms=25)), own).next_steps
    assert other[0] == TRY_THEM.replace("e5 or bge", "gte or nomic")


def test_a_later_soak_run_held_to_other_cores_hides_no_failure_under_load() -> None:
    held = {"cpus": 2, "environment": "{}"}
    load = [row | held for row in confirmed_rows("minilm", p95_ms=88.0, latency_p95_ms=88.0,
                                                 launch_p95_ms=[88.0] * 20)]  # fmt: skip
    before = decide(frame(*load))
    soak = soak_row("minilm") | {"finished_at": STARTED + timedelta(days=1)}
    after = decide(frame(*load, soak))
    assert before.verdict == after.verdict == "CONDITIONAL_GO"
    newer = model_row("minilm", "newer", started_at=STARTED + timedelta(days=2))
    told = decide(frame(*load, newer))
    assert any("within other CPU limits must gate" in line for line in told.candidates[0].provisional)
    assert told.evidence == "provisional"


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ({"launches_failed": 3, "error": "out of memory"}, "3 of 20 launches failed at mixture"),
        ({"finite": False}, "a vector is not finite at mixture"),
        ({"l2_norm_max_error": 0.5}, "must gate L2 norm error fails under production's load, at mixture"),
    ],
    ids=str,
)
def test_what_broke_under_load_within_other_cpu_limits_keeps_the_evidence_provisional(
    broken: dict[str, Any], said: str
) -> None:
    held = {"cpus": 1, "cores": 1, "environment": "{}"}
    *_, busiest = confirmed_rows("minilm", **broken)
    older = busiest | held | {"run_id": "held", "confirmation_at": STARTED - timedelta(days=1)}
    decision = decide(frame(*confirmed_rows("minilm"), older | {"finished_at": STARTED - timedelta(days=1)}))
    assert (decision.verdict, decision.evidence) == ("GO", "provisional")
    assert any(
        line.startswith("provisional: within other CPU limits ") and said in line and "run held" in line
        for line in decision.candidates[0].provisional
    )


def test_vectors_that_broke_a_must_gate_under_load_before_keep_the_evidence_provisional() -> None:
    *_, busiest = confirmed_rows("minilm", l2_norm_max_error=0.5)
    before = busiest | {"run_id": "before", "finished_at": STARTED - timedelta(hours=1)}
    decision = decide(frame(*confirmed_rows("minilm"), before))
    assert (decision.verdict, decision.evidence) == ("GO", "provisional")
    (told,) = decision.candidates[0].provisional
    assert "must gate L2 norm error at mixture, batch 1, 4 clients, pass, is fail in another run" in told


def test_a_decision_on_twice_as_many_places_takes_about_twice_the_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def places_read(n: int) -> int:
        """How often anything asks where a run stands."""
        count = 0

        def counted_place(row: Any) -> Place:
            nonlocal count
            count += 1
            return row_place(row)

        for name in ("gates", "evidence", "open_loop"):
            monkeypatch.setattr(f"harness.{name}.row_place", counted_place)
        elsewhere = [model_row("minilm", f"r{i}", workload=f"tokens_{i + 1}") for i in range(n)]
        paced = [
            row | {"run_id": f"p{i}", "arrival": "poisson", "offered_qps": 5.0}
            for i, row in enumerate(elsewhere)
        ]
        decide(frame(model_row("minilm", "main"), *elsewhere, *paced))
        return count

    assert places_read(40) < 2.5 * places_read(20)


def test_the_disagreement_of_absolute_and_scale_free_figures_is_told_whatever_the_policy_gates() -> None:
    row = model_row("e5", separation=0.16, separation_low=0.15, separation_high=0.17)
    for policy in ("default", "documents"):
        notes = decide(frame(row), policy).candidates[0].notes
        assert any("the scale of this model's cosines" in note for note in notes), policy


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"neighbour_overlap": 0.3}, "neighbour_overlap 0.3 lies outside its interval"),
        ({"separation_auc": 5.0}, "separation_auc is 5, which it cannot be"),
        ({"l2_norm_max_error": -5.0}, "l2_norm_max_error is -5, which it cannot be"),
    ],
)
def test_figures_that_no_measurement_gives_are_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInputError, match=said):
        decide(frame(model_row("minilm") | changes))


def test_rows_of_two_schemas_are_refused_in_one_line() -> None:
    rows = [model_row("minilm"), model_row("e5", schema_version=SCHEMA_VERSION - 1)]
    with pytest.raises(
        BadInputError, match=r"runs of schemas \d and \d: .*; measure the older ones anew"
    ) as told:
        decide(frame(*rows))
    assert "\n" not in str(told.value)


def test_a_no_that_rests_on_noise_is_to_be_measured_again_and_no_fallback_is_told_that_is_not() -> None:
    values = [40.0] * 10 + [12.0] * 10
    row = launches_row("minilm", values, launch_disturbed=[True] * 10 + [False] * 10)
    policy = load_policy("default").model_copy(update={"fallback": None})
    steps = decide(frame(row), policy).next_steps
    assert steps[0].startswith(f"{NOISE_STEP}: `python -m harness")
    assert "measure.force=true" in steps[0]
    assert steps[1] == NO_FALLBACK_STEP
    assert decide(frame(model_row("minilm", p95_ms=45))).next_steps[0] == NEXT_STEPS["NO_GO"]


def test_of_several_noes_the_one_that_could_still_pass_is_to_be_measured_again() -> None:
    values = [40.0] * 10 + [12.0] * 10
    noisy = launches_row("minilm", values, run_id="noisy", launch_disturbed=[True] * 10 + [False] * 10)
    worse = {"neighbour_overlap": 0.5, "neighbour_overlap_low": 0.4, "neighbour_overlap_high": 0.6}
    lost = model_row("minilm", "lost", precision="int8", candidate_label="minilm int8 cpu", **worse)
    first, *_ = decide(frame(noisy, lost)).next_steps
    assert first.startswith(f"{NOISE_STEP}: `python -m harness")
    assert "int8" not in first
    assert not any(NOISE_STEP in step for step in decide(frame(noisy | worse)).next_steps)


def test_a_run_that_failed_where_no_gate_reads_is_told() -> None:
    rows = [model_row("minilm"), model_row("minilm", "b8", batch_size=8, finite=False)]
    decision = decide(frame(*rows))
    assert decision.verdict == "GO"
    assert "no gate reads it: a vector is not finite at default, batch 8" in decision.candidates[0].notes


def test_what_is_told_to_type_has_the_words_of_the_run_that_is_judged_and_not_of_a_failed_one() -> None:
    judged = model_row("minilm", command="python -m harness model=minilm threads=2")
    failed = model_row("minilm", "b16", batch_size=16, status="failed", error="killed", launches_failed=3,
                       started_at=STARTED + timedelta(hours=1),
                       command="python -m harness model=minilm runtime.script.launches=[exit]")  # fmt: skip
    steps = [step for step in decide(frame(judged, failed)).next_steps if "`" in step]
    assert steps
    assert all("threads=2" in step and "exit" not in step for step in steps), steps


def test_pairs_that_overlap_though_their_means_lie_apart_are_told_whatever_the_policy_gates() -> None:
    row = model_row("minilm", separation_auc=0.8, separation_auc_low=0.75, separation_auc_high=0.85)
    for policy, verdict in (("default", "NO_GO"), ("documents", "GO")):
        decision = decide(frame(row), policy)
        (said,) = [note for note in decision.candidates[0].notes if "the means lie apart" in note]
        assert decision.verdict == verdict
        assert "the absolute gate on separation passes while" in said
        assert "(AUC 0.8)" in said


def test_a_stricter_gate_on_ranks_disagrees_with_the_separation_too() -> None:
    policy = load_policy("default")
    gates = [
        g.model_copy(update={"bound": 0.9999}) if g.metric == "separation_auc" else g for g in policy.gates
    ]
    strict = policy.model_copy(update={"gates": gates})
    notes = decide(frame(model_row("minilm")), strict).candidates[0].notes
    assert any("the means lie apart" in note for note in notes)
    assert not any("the means lie apart" in n for n in decide(frame(model_row("minilm"))).candidates[0].notes)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"latency_p95_ms": 5.0}, "latency_p95_ms is 5, but the median of its launches' is 12"),
        ({"throughput_texts_per_s": 900.0}, "throughput_texts_per_s is 900, but the median of its launches'"),
        ({"ep_time_share": 1.5}, "ep_time_share is 1.5, which it cannot be"),
        ({"parity_bound": 0.0}, "parity_bound is 0, which it cannot be"),
        ({"parity_bound": -1.0}, "parity_bound is -1, which it cannot be"),
        ({"cores": -1}, "cores is -1, which it cannot be"),
        (
            {"launch_throughput_texts_per_s": [300.0] * 19},
            "20 launches, but 19 of their values in launch_throughput_texts_per_s",
        ),
        ({"requests": 0}, "status complete, but 0 requests in 20 launches"),
        ({"requests": 20}, "status complete, but 20 requests in 20 launches"),
        ({"requests": 399}, "status complete, but 399 requests in 20 launches"),
        (
            {"requests": 19, "truncated_over_ms": 30.0},
            "status complete, but 19 requests in 20 launches",
        ),
        (
            {"launches": 0, "launch_p95_ms": [], "launch_throughput_texts_per_s": [], "requests": 0},
            "status complete, but 0 requests in 0 launches",
        ),
        ({"launch_p95_ms": [12.0] * 19 + [INF]}, "launches_failed is 0, but 1 of its launches failed"),
        ({"latency_p95_ms": -1.0, "launch_p95_ms": None}, "latency_p95_ms is -1, which it cannot be"),
    ],
)
def test_figures_that_contradict_their_launches_or_reason_are_refused(
    changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(BadInputError, match=said):
        decide(frame(model_row("minilm") | changes))


def test_a_figure_that_is_null_beside_whole_launches_passes_nothing_and_is_told() -> None:
    (candidate,) = decide(frame(model_row("minilm") | {"latency_p95_ms": None})).candidates
    told = "(latency_p95_ms is unknown, though that of each launch is not)"
    assert (candidate.verdict, told in candidate.reasons[0]) == ("INCONCLUSIVE", True)
    (command,) = [line for line in candidate.missing if "batch_size" not in line and "soak" not in line]
    assert "measure.force=true" in command


@pytest.mark.parametrize("launches", [20, 5])
def test_what_tells_where_the_nodes_ran_comes_before_what_no_must_asks(launches: int) -> None:
    """A run of its own needs no more launches of the one that does not know."""
    command = "python -m harness model=minilm ep=coreml"
    row = model_row("minilm", ep="coreml", ep_time_share=None, command=command)
    row |= launched(launches=launches, launch_p95_ms=[12.0] * launches)
    decision = decide(frame(row))
    assert decision.candidates[0].missing == (
        f"{command} measure.force=true", f"{command} batch_size=32", f"{command} measure=soak",
    )  # fmt: skip
    assert decision.next_steps[1] == f"`{command} measure.force=true`"


def test_a_share_of_nodes_that_is_more_than_their_count_is_told() -> None:
    (candidate,) = decide(frame(model_row("minilm", ep_nodes=9))).candidates
    assert candidate.reasons[0] == (
        "where the nodes ran is unknown at default, batch 1: ep_node_share is 1, but 9 of 10 are on cpu"
    )
    (candidate,) = decide(frame(model_row("minilm", ep_nodes=4))).candidates
    assert candidate.reasons[0] == "only 40% of the nodes run on cpu at default, batch 1, needed 50%"


def test_a_models_name_that_nobody_knows_is_told_with_the_nearest() -> None:
    policy = load_policy("default").model_copy(update={"paths": ["minilmm", "acme+1f3a"]})
    rows = [model_row("minilm"), model_row("acme+1f3a")]
    (said,) = [line for line in decide(frame(*rows), policy).warnings if "policy.paths" in line]
    assert said.startswith("policy.paths: unknown model 'minilmm': did you mean minilm?")
    assert not decide(frame(*rows)).warnings


def test_a_scripts_figures_are_no_reason_for_or_against_what_is_measured() -> None:
    fake = {"runtime": "fake", "candidate_label": "qwen3 fp32 fake cpu"}
    scripted = model_row("qwen3", "fake", p95_ms=171, latency_p50_ms=118.0, **fake)
    slow = decide(frame(model_row("minilm", p95_ms=45), scripted))
    assert slow.verdict == "NO_GO"
    assert not any("fake" in line for line in slow.reasons)
    assert slow.fallback is not None
    assert slow.fallback.endswith("no figures of this machine")
    quick = decide(frame(model_row("minilm"), scripted | {"model": "e5"}))
    assert not any("fake" in line for line in quick.reasons)
    assert quick.not_picked == ("qwen3 fp32 fake cpu: its figures are a script's",)


def test_what_is_not_possible_here_is_one_line_of_the_page_and_whole_in_the_record() -> None:
    elsewhere = model_row("e5", ep="coreml", candidate_label="e5 fp32 coreml", **UNAVAILABLE)
    decision = decide(frame(model_row("minilm"), elsewhere))
    page = decision.to_markdown()
    assert page.count("| tier | gate |") == 1
    assert page.count("e5 fp32 coreml") == 1
    assert "## Not possible here\n\n- e5 fp32 coreml: not possible here: not in this build\n" in page
    record = json.loads(decision.to_json())
    assert [len(c["gates"]) for c in record["candidates"]] == [16, 16]


def test_a_candidate_that_was_measured_elsewhere_is_inconclusive_beside_one_that_fails() -> None:
    decision = decide(frame(model_row("minilm", p95_ms=45), model_row("e5", batch_size=8)))
    assert decision.verdict == "INCONCLUSIVE"
    assert "`python -m harness model=e5 ep=cpu`" in decision.next_steps


# --- what is not comparable


@pytest.mark.parametrize("objective", ["lexicographic", "weighted_matrix"])
@pytest.mark.parametrize(
    ("metric", "data", "scale"),
    [("sts_spearman", "sts_file_sha256", 100), ("ndcg_at_10", "retrieval_sha256", 1)],
)
def test_figures_of_different_data_are_told_as_not_comparable(
    metric: str, data: str, scale: float, objective: str
) -> None:
    ranked = {"order": [{"metric": metric}]}
    weighed = {"matrix": [{"metric": metric, "weight": 1, "best": scale, "worst": 0}]}
    more = ranked if objective == "lexicographic" else weighed
    known = load_policy("default").model_dump(mode="json")
    policy = PolicyConfig.model_validate(known | more | {"objective": objective})
    rows = [
        model_row(model, **{metric: value * scale, data: sha * 64})
        for model, value, sha in (("minilm", 0.6, "a"), ("e5", 0.9, "b"))
    ]
    (told,) = decide(frame(*rows), policy).warnings
    assert f"different data ({data}): {metric}: minilm fp32 cpu on aaaa" in told
    assert "e5 fp32 cpu on bbbb" in told
    assert decide(frame(*(row | {data: "c" * 64} for row in rows)), policy).warnings == ()
    record = json.loads(decide(frame(*rows), policy).to_json())
    assert {c["runs"][0][data] for c in record["candidates"]} == {"a" * 64, "b" * 64}


def by_spearman(objective: str, **changes: Any) -> PolicyConfig:
    ranked = {"order": [{"metric": "sts_spearman"}, {"metric": "latency_p95_ms"}]}
    weighed = {"matrix": [
        {"metric": "sts_spearman", "weight": 1, "best": 100, "worst": 0},
        {"metric": "latency_p95_ms", "weight": 1, "best": 0, "worst": 30},
    ]}  # fmt: skip
    known = load_policy("default").model_dump(mode="json")
    return PolicyConfig.model_validate(known | ranked | weighed | {"objective": objective} | changes)


def sts_row(model: str, spearman: float, file: str, **changes: Any) -> dict[str, Any]:
    command = f"python -m harness model={model} ep=cpu quality.sts={file}.jsonl"
    sts = {"sts_spearman": spearman, "sts_file_sha256": file * 64, "command": command}
    return model_row(model, **(sts | changes))


@pytest.mark.parametrize("objective", ["lexicographic", "weighted_matrix"])
def test_an_objective_picks_nothing_by_figures_of_different_data(objective: str) -> None:
    policy = by_spearman(objective)
    decision = decide(frame(sts_row("minilm", 60.0, "a"), sts_row("e5", 90.0, "b")), policy)
    assert (decision.verdict, decision.chosen) == ("INCONCLUSIVE", None)
    assert decision.undisturbed == "INCONCLUSIVE"
    (reason,) = decision.reasons
    assert reason.startswith("no pick: e5 fp32 cpu, minilm fp32 cpu are each GO, and")
    assert "apart by sts_spearman, of different data" in reason
    anew = "`python -m harness model=minilm ep=cpu quality.sts=b.jsonl measure.force=true`"
    assert decision.next_steps == (anew,)
    assert (decision.stays, decision.changes) == (None, ())
    json.loads(decision.to_json())
    assert decide(frame(sts_row("minilm", 60.0, "a"), sts_row("e5", 90.0, "a")), policy).verdict == "GO"


def test_best_quality_on_other_labelled_pairs_picks_nothing_and_measures_all_anew() -> None:
    policy = load_policy("default").model_copy(update={"objective": "best_quality"})
    rows = [model_row("minilm", quality_dataset="pairs 1"), model_row("e5", quality_dataset="pairs 2")]
    decision = decide(frame(*rows), policy)
    assert decision.verdict == "INCONCLUSIVE"
    told = [step for step in decision.next_steps if "measure.force=true" in step]
    assert [("model=e5" in step, "model=minilm" in step) for step in told] == [(True, False), (False, True)]
    for other in ({"objective": "path_order"}, {"objective": "lowest_latency"}):
        assert decide(frame(*rows), policy.model_copy(update=other)).verdict == "GO"


def test_a_pick_that_no_figure_of_other_data_could_change_stands() -> None:
    order = [{"metric": "latency_p95_ms", "step": 5}, {"metric": "sts_spearman"}]
    policy = by_spearman("lexicographic", order=order)
    slower = sts_row("e5", 90.0, "b", p95_ms=19)
    assert decide(frame(sts_row("minilm", 60.0, "a", p95_ms=6), slower), policy).chosen == "minilm fp32 cpu"
    failing = sts_row("e5", 90.0, "b", p95_ms=45)
    decision = decide(frame(sts_row("minilm", 60.0, "a"), failing), by_spearman("weighted_matrix"))
    assert decision.chosen == "minilm fp32 cpu"  # what cannot be picked is no rival


def test_no_candidate_leaves_the_pareto_front_for_an_auc_of_other_pairs() -> None:
    better, worse = {"p95_ms": 6, "separation_auc": 0.99}, {"p95_ms": 9, "separation_auc": 0.98}
    for data, labels in (("1", ["e5"]), ("2", ["e5", "minilm"])):
        rows = (
            model_row("e5", quality_dataset="1", **better),
            model_row("minilm", quality_dataset=data, **worse),
        )
        assert [point.label.split()[0] for point in decide(frame(*rows)).front] == labels


def test_quality_on_other_labelled_pairs_is_told_in_one_line() -> None:
    rows = model_row("minilm", quality_dataset="pairs 1"), model_row("e5", quality_dataset="pairs 2")
    (told,) = decide(frame(*rows), "default").warnings
    assert "separation" in told
    assert "minilm fp32 cpu on pairs 1; e5 fp32 cpu on pairs 2" in told


def test_candidates_on_different_cores_are_told_and_no_number_of_them_is_the_machines() -> None:
    decision = decide(frame(model_row("minilm", cores=1), model_row("e5", cores=16)))
    (told,) = decision.warnings
    assert "minilm fp32 cpu on 1 core; e5 fp32 cpu on 16 cores" in told
    record = json.loads(decision.to_json())
    assert record["machine"]["cores"] is None
    assert {c["runs"][0]["cores"] for c in record["candidates"]} == {1, 16}
    assert "cores" not in next(line for line in decision.to_markdown().splitlines() if "Machine:" in line)


def test_candidates_within_different_cpu_quotas_are_told() -> None:
    held = model_row("minilm", environment=json.dumps({"container_cpus": 0.5}))
    decision = decide(frame(held, model_row("e5")))
    assert any("minilm fp32 cpu on 2 cores within a quota of 0.5 CPUs" in w for w in decision.warnings)
    assert decision.machine["cores"] == 2


def test_candidates_of_one_name_are_named_by_what_tells_them_apart() -> None:
    twice = [run_row(n, revision=n, p95_ms=p95_ms) for n, p95_ms in (("one", 12.0), ("two", 99.0))]
    made = decide(frame(*twice, run_row("e5", model="e5", candidate_label="e5 fp32 cpu", p95_ms=99.0)))
    called = {candidate.run_ids[0]: candidate.label for candidate in made.candidates}
    one, two = (f"minilm fp32 cpu (revision={n})" for n in ("one", "two"))
    assert called == {"one": one, "two": two, "e5": "e5 fp32 cpu"}
    assert made.chosen == one


def test_what_made_the_verdict_is_told_before_what_would_have_left_it_open() -> None:
    twin = model_row("qwen3", weights="random", launch_p95_ms=[171.0] * 20, latency_p95_ms=171.0)
    assert "must gate fails: P95 latency ms is 171" in decide(frame(twin)).reasons[0]
    (line,) = decide(frame(twin, run_row())).not_picked
    assert "must gate fails: P95 latency ms is 171" in line


def test_what_leaves_a_verdict_open_is_told_before_a_target_that_is_missed() -> None:
    row = launches_row("minilm", [25.0] * 20) | {"separation_auc": None}
    decision = decide(frame(row))
    assert decision.verdict == "INCONCLUSIVE"
    assert "must gate was not measured: AUC of the pairs" in decision.reasons[0]
    assert "should gate fails: P95 ms (target)" in decision.reasons[1]
