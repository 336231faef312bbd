"""The smallest change that changes the pick: found, and true when it is made."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

from harness.config import load_policy
from harness.decision import decide
from harness.gates import row_place
from harness.schema import PolicyConfig
from tests.conftest import run_row

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.verdict import Change, Decision

# What scales with a figure: its interval, and one value a launch.
OF_A_FIGURE = {
    "latency_p95_ms": ("latency_p95_ms", "launch_p95_ms"),
    "separation_auc": ("separation_auc", "separation_auc_low", "separation_auc_high"),
    "neighbour_overlap": ("neighbour_overlap", "neighbour_overlap_low", "neighbour_overlap_high"),
}


def row(model: str, p95_ms: float, label: str = "", **changes: Any) -> dict[str, Any]:
    """A good run of a model; its quality far from every bound unless told otherwise."""
    named = {"model": model, "candidate_label": label or model, "p95_ms": p95_ms}
    return run_row(f"run-{label or model}", **named, **changes)


def policy_of(**changes: Any) -> PolicyConfig:
    """The default policy with other parts."""
    return PolicyConfig.model_validate({**load_policy().model_dump(), **changes})


def of_kind(decision: Decision, kind: str) -> Change:
    """The closest change of a kind."""
    (change,) = (change for change in decision.changes if change.kind == kind)
    return change


def under_load(p95_ms: float, label: str = "minilm", **changes: Any) -> dict[str, Any]:
    """A candidate's run with four callers, as confirmation measures it."""
    loaded = {"workload": "mixture", "purpose": "confirm", "clients": 4}
    return row("minilm", p95_ms, label, **loaded, **changes) | {"run_id": f"load-{label}"}


def external(p95_ms: float, label: str, **changes: Any) -> dict[str, Any]:
    """A run of an external provider."""
    return row("minilm", p95_ms, label, runtime="http", **changes)


def overlap(low: float, value: float, high: float) -> dict[str, float]:
    """The neighbours that are kept, with their interval."""
    return {f"neighbour_overlap{end}": v for end, v in (("_low", low), ("", value), ("_high", high))}


LATENCY = [gate.model_dump() for gate in load_policy().gates if gate.metric == "latency_p95_ms"]
EXTERNAL = {
    **load_policy("external_provider").model_dump(),
    "gates": [
        gate.model_dump()
        for gate in load_policy("external_provider").gates
        if gate.metric in ("latency_overhead", "latency_p95_ms")
    ],
}
SCENES: dict[str, tuple[list[dict[str, Any]], dict[str, Any]]] = {
    "one, far from its bounds": ([row("minilm", 12)], {}),
    "one, on latency alone": ([row("minilm", 12)], {"gates": LATENCY}),
    "a path before a faster one": ([row("minilm", 12), row("e5", 6)], {"gates": LATENCY}),
    "the fastest": ([row("minilm", 12), row("e5", 10)], {"objective": "lowest_latency"}),
    "a near miss of the target": ([row("minilm", 25), row("bge", 20.5)], {"gates": LATENCY}),
    "none passes": ([row("minilm", 34), row("e5", 31)], {"gates": LATENCY}),
    "best quality": (
        [row("minilm", 12), row("e5", 6, separation_auc=0.99)], {"objective": "best_quality"},
    ),
    "weighted": (
        [row("minilm", 12, separation_auc=0.985, peak_rss_bytes=1e8), row("e5", 17, peak_rss_bytes=1e8)],
        {"objective": "weighted_matrix"},
    ),
    "a budget that only just holds under load": (
        [row("minilm", 12), under_load(28), row("e5", 12)], {"gates": LATENCY},
    ),
    "a faster one that only just does not hold under load": (
        [row("minilm", 13), row("minilm", 12, "b", threads=2), under_load(31, "b", threads=2)],
        {"gates": LATENCY},
    ),
    "vectors that only just pass under load": (
        [row("minilm", 12), under_load(12, **overlap(0.951, 0.97, 0.98)), row("e5", 12)], {},
    ),
    "a faster one whose vectors only just fail under load": (
        [
            row("minilm", 13), row("minilm", 12, "b", threads=2),
            under_load(12, "b", threads=2, **overlap(0.93, 0.94, 0.949)),
        ],
        {},
    ),
    "overheads": (
        [row("minilm", 10, "python"), external(11, "a"), external(11.5, "b", ep_options='{"arena": 0}')],
        EXTERNAL,
    ),
    "an overhead that only just passes": (
        [row("minilm", 10, "python"), external(14.8, "a")], EXTERNAL,
    ),
    "two references": (
        [row("minilm", 10, "one"), row("minilm", 10.3, "two", replicate=1), external(11.8, "a")],
        EXTERNAL,
    ),
}  # fmt: skip


def bound_of(policy: PolicyConfig, change: Change, bound: float) -> PolicyConfig:
    """The policy with that bound."""
    gates = [
        gate.model_copy(update={"bound": bound})
        if change.what == f"bound of the {gate.tier} gate {gate.label}"
        else gate
        for gate in policy.gates
    ]
    return policy.model_copy(update={"gates": gates})


def measured(rows: list[dict[str, Any]], change: Change, factor: float) -> list[dict[str, Any]]:
    """The rows as if that figure of that candidate had been measured so many times as large."""
    label, _, told = change.what.removesuffix(" (the Python reference)").partition("'s ")
    metric, _, place = told.partition(" at ")
    return [
        {**r, **{name: scaled(r[name], factor) for name in OF_A_FIGURE[metric]}}
        if r["candidate_label"] == label and str(row_place(r)) == (place or "default, batch 1")
        else r
        for r in rows
    ]


def scaled(value: Any, factor: float) -> Any:
    return [v * factor for v in value] if isinstance(value, list) else value * factor


def weighted(policy: PolicyConfig, change: Change, weight: float) -> PolicyConfig:
    """The policy with that weight."""
    matrix = [
        criterion.model_copy(update={"weight": weight})
        if change.what == f"weight of {criterion.metric}"
        else criterion
        for criterion in policy.matrix
    ]
    return policy.model_copy(update={"matrix": matrix})


@pytest.mark.parametrize("scene", SCENES)
def test_a_change_that_is_told_changes_the_pick_and_nine_tenths_of_it_do_not(scene: str) -> None:
    rows, changes = SCENES[scene]
    policy = policy_of(**changes)
    decision = decide(pd.DataFrame(rows), policy)
    assert {"bound", "measurement"} <= {change.kind for change in decision.changes}
    for change in decision.changes:
        for share, pick in ((0.9, decision.chosen), (1.001, change.pick)):
            value = change.now + share * (change.then - change.now)
            if change.kind == "measurement":
                again = decide(pd.DataFrame(measured(rows, change, value / change.now)), policy)
            elif change.kind == "bound":
                again = decide(pd.DataFrame(rows), bound_of(policy, change, value))
            else:
                again = decide(pd.DataFrame(rows), weighted(policy, change, value))
            assert again.chosen == pick, (change, share)
    sizes = [abs(change.relative or 0.0) for change in decision.changes]
    assert sizes == sorted(sizes)


def test_the_pick_alone_falls_where_its_latency_or_the_bound_meets_the_other() -> None:
    decision = decide(pd.DataFrame([row("minilm", 12)]), policy_of(gates=LATENCY))
    bound, measurement = of_kind(decision, "bound"), of_kind(decision, "measurement")
    assert (bound.now, bound.then, bound.pick) == (30, pytest.approx(12), None)
    assert str(bound).startswith("bound of the must gate P95 latency ms 30 → 12 ")
    assert (measurement.now, measurement.pick) == (12, None)
    assert measurement.then == pytest.approx(30, rel=1e-5)
    assert decision.firmness[-1] == (
        "closest change of the pick: bound of the must gate P95 latency ms 30 → 12 (-60%) picks none; "
        "minilm's latency_p95_ms 12 → 30 (+150%) picks none"
    )


def test_quality_near_its_bound_is_a_closer_change_than_latency_far_from_its_own() -> None:
    decision = decide(pd.DataFrame([row("minilm", 12)]))
    measurement = of_kind(decision, "measurement")
    assert measurement.what == "minilm's separation_auc"
    assert measurement.then == pytest.approx(0.995 * 0.95 / 0.98, rel=1e-5)


@pytest.mark.parametrize(
    ("scene", "then", "pick"),
    [
        ("vectors that only just pass under load", 0.951, "e5"),
        ("a faster one whose vectors only just fail under load", 0.93, "b"),
    ],
)
def test_vectors_under_productions_load_are_asked_at_a_changed_bound_as_well(
    scene: str, then: float, pick: str
) -> None:
    rows, _ = SCENES[scene]
    decision = decide(pd.DataFrame(rows))
    bound, measurement = of_kind(decision, "bound"), of_kind(decision, "measurement")
    told = ("bound of the must gate top-10 overlap", pytest.approx(then), pick)
    assert (bound.what, bound.then, bound.pick) == told
    label = rows[-1]["candidate_label"] if pick == "b" else "minilm"
    assert measurement.what == f"{label}'s neighbour_overlap at mixture, batch 1, 4 clients"
    assert measurement.pick == pick


def test_an_auc_is_never_thought_to_be_over_one() -> None:
    """Its low end, 0.4, would reach the bound where the AUC itself were over 2."""
    scarce = {"separation_auc": 0.9, "separation_auc_low": 0.4, "separation_auc_high": 0.95}
    decision = decide(pd.DataFrame([row("minilm", 34), row("e5", 12, **scarce)]))
    assert decision.chosen is None
    assert of_kind(decision, "measurement").what == "minilm's latency_p95_ms"


@pytest.mark.parametrize(
    ("metric", "value", "bound"),
    [
        ("texts_overlap", 0.9, 0.95), ("ndcg_at_10", 0.6, 0.9), ("sts_spearman", 80.0, 95.0),
        ("similar_mean", 0.8, 0.85),
    ],
)  # fmt: skip
def test_a_figure_is_never_thought_to_be_over_the_most_that_it_can_be(
    metric: str, value: float, bound: float
) -> None:
    """Its interval begins so low that the gate would pass only with the figure beyond its range."""
    figure = {metric: value, f"{metric}_low": value / 2, f"{metric}_high": value}
    gates = [*LATENCY, {"tier": "must", "metric": metric, "op": ">=", "bound": bound, "label": metric}]
    decision = decide(pd.DataFrame([row("minilm", 12, **figure)]), policy_of(gates=gates))
    assert decision.verdict in ("INCONCLUSIVE", "NO_GO")
    assert [change.kind for change in decision.changes] == ["bound"]


def test_of_two_weighed_the_weight_that_levels_them_is_exact() -> None:
    """Leads of 4/30 in latency and -0.2 in AUC: level at a weight of 1.5 for latency, or 2 for the AUC."""
    rows = [row("minilm", 12, separation_auc=0.985), row("e5", 16, separation_auc=0.995)]
    matrix = [
        {"metric": "latency_p95_ms", "weight": 3, "best": 0, "worst": 30},
        {"metric": "separation_auc", "weight": 1, "best": 1, "worst": 0.95},
    ]
    decision = decide(pd.DataFrame(rows), policy_of(objective="weighted_matrix", matrix=matrix))
    weight = of_kind(decision, "weight")
    assert (decision.chosen, weight.pick) == ("minilm", "e5")
    levels = {"weight of separation_auc": 2.0, "weight of latency_p95_ms": 1.5}
    assert weight.then == pytest.approx(levels[weight.what])
    assert weight.relative == pytest.approx(-0.5)


def test_no_bound_is_thought_to_be_met_by_launches_that_were_stopped_before_it() -> None:
    stopped = row("minilm", 60, truncated_over_ms=30.0)
    whole = row("minilm", 60)
    policy = policy_of(gates=LATENCY)
    assert any(change.kind == "bound" for change in decide(pd.DataFrame([whole]), policy).changes)
    assert decide(pd.DataFrame([stopped]), policy).changes == ()


@pytest.mark.parametrize(
    ("faster", "criteria", "then"),
    [("minilm", 2, None), ("e5", 2, 0.0), ("minilm", 1, None), ("e5", 1, None)],
    ids=["the pick stays where all are level", "the path decides", "no weight is left", "nor here"],
)
def test_a_weight_of_nothing_changes_the_pick_only_where_something_else_is_weighed_and_the_path_decides(
    faster: str, criteria: int, then: float | None
) -> None:
    matrix = [
        {"metric": "latency_p95_ms", "weight": 3, "best": 0, "worst": 30},
        {"metric": "separation_auc", "weight": 2, "best": 1, "worst": 0.95},
    ]
    policy = policy_of(objective="weighted_matrix", matrix=matrix[:criteria])
    rows = [row(model, 8 if model == faster else 12) for model in ("minilm", "e5")]
    decision = decide(pd.DataFrame(rows), policy)
    assert decision.chosen == faster
    assert next((change.then for change in decision.changes if change.kind == "weight"), None) == then


def test_of_a_weight_that_is_nothing_now_the_first_that_overtakes_the_pick_is_told() -> None:
    """The AUC alone is weighed; at a weight of 12 for latency one is level that another overtook at 1.1."""
    rows = [
        row("minilm", 19, separation_auc=0.99),
        row("e5", 18.5, separation_auc=0.985),
        row("bge", 8, separation_auc=0.98),
    ]
    matrix = [
        {"metric": "latency_p95_ms", "weight": 0, "best": 0, "worst": 30},
        {"metric": "separation_auc", "weight": 2, "best": 1, "worst": 0.95},
    ]
    decision = decide(pd.DataFrame(rows), policy_of(objective="weighted_matrix", matrix=matrix))
    latency = of_kind(decision, "weight")
    assert (decision.chosen, latency.what, latency.pick) == ("minilm", "weight of latency_p95_ms", "bge")
    assert latency.then == pytest.approx(12 / 11)


def test_a_weight_that_is_nothing_and_alone_tells_two_apart_changes_the_pick_at_once() -> None:
    rows = [row("minilm", 16), row("e5", 8), row("bge", 4, separation_auc=0.98)]
    matrix = [
        {"metric": "latency_p95_ms", "weight": 0, "best": 0, "worst": 30},
        {"metric": "separation_auc", "weight": 2, "best": 1, "worst": 0.95},
    ]
    decision = decide(pd.DataFrame(rows), policy_of(objective="weighted_matrix", matrix=matrix))
    assert decision.chosen == "minilm"
    assert str(of_kind(decision, "weight")) == "weight of latency_p95_ms, just past its 0, picks e5"


# Latency, AUC, memory, throughput: each scored from its first end to its second.
ENDS = {
    "latency_p95_ms": (0, 30),
    "separation_auc": (1, 0.95),
    "peak_rss_bytes": (0, 2e9),
    "throughput_texts_per_s": (600, 100),
}


def matrix_of(weights: Sequence[float]) -> PolicyConfig:
    """A weighted matrix of `ENDS`, by label where all else is level."""
    matrix = [
        {"metric": metric, "weight": weight, "best": best, "worst": worst}
        for (metric, (best, worst)), weight in zip(ENDS.items(), weights, strict=True)
    ]
    return policy_of(objective="weighted_matrix", matrix=matrix, paths=[], fallback=None)


def weighed(number: int, p95_ms: float, auc: float, memory: float, served: float) -> dict[str, Any]:
    """A candidate by what `ENDS` weighs."""
    figures = {"separation_auc": auc, "separation_auc_high": 1.0, "peak_rss_bytes": memory}
    return row(f"m{number:02}", p95_ms, launch_throughput_texts_per_s=[served] * 20, **figures)


def test_no_change_of_a_weight_is_lost_among_many_candidates() -> None:
    """One that is strong in AUC alone stands behind twenty-one that no weight can help."""
    mediocre = [weighed(1 + i, 3 + 0.1 * i, 0.985, 1e8, 499) for i in range(21)]
    rows = [weighed(0, 2, 0.985, 1e8, 500), *mediocre, weighed(22, 14, 0.999, 1e8, 300)]
    policy = matrix_of([3, 1, 1, 1])
    decision = decide(pd.DataFrame(rows), policy)
    change = of_kind(decision, "weight")
    assert (decision.chosen, change.what, change.pick) == ("m00", "weight of separation_auc", "m22")
    assert change.then == pytest.approx((3 * 12 / 30 + 200 / 500) / 0.28)
    for share, pick in ((0.999, "m00"), (1.001, "m22")):
        assert decide(pd.DataFrame(rows), weighted(policy, change, share * change.then)).chosen == pick


def test_what_a_bound_picks_is_told_of_all_candidates() -> None:
    """Past an AUC of 0.97 none of the twenty-two that stand first is left, but the last of all is."""
    scarce = {"separation_auc_low": 0.97}
    rows = [row(f"m{i:02}", 2 + 0.1 * i, **scarce) for i in range(22)] + [row("last", 19)]
    policy = policy_of(objective="lowest_latency")
    decision = decide(pd.DataFrame(rows), policy)
    change = of_kind(decision, "bound")
    assert (decision.chosen, change.then, change.pick) == ("m00", pytest.approx(0.97), "last")
    assert decide(pd.DataFrame(rows), bound_of(policy, change, change.then)).chosen == "last"


def test_of_several_that_are_level_without_a_weight_the_one_that_is_picked_there_is_told() -> None:
    """All three have the same memory, which alone is weighed then; by P95, then by label, m01 is first."""
    rows = [
        weighed(0, 19, 0.985, 5e8, 900), weighed(1, 2, 0.985, 5e8, 120), weighed(2, 2, 0.981, 5e8, 450),
    ]  # fmt: skip
    policy = matrix_of([0, 0, 2, 0.5])
    decision = decide(pd.DataFrame(rows), policy)
    change = of_kind(decision, "weight")
    assert (decision.chosen, change.then, change.pick) == ("m00", 0, "m01")
    assert decide(pd.DataFrame(rows), weighted(policy, change, 0)).chosen == "m01"
    assert str(change) == "weight of throughput_texts_per_s 0.5 → 0 (-100%) picks m01"


@pytest.mark.parametrize("seed", range(2))
def test_no_smaller_change_of_a_weight_is_found_by_deciding_again(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Figures of few values, so that many are level; each weight is tried at nine values."""
    monkeypatch.setattr("harness.decision.share_that_stays", lambda *_: 1.0)
    rng = random.Random(seed)
    values = [(2, 5, 9, 14), (0.981, 0.985, 0.995), (1e8, 5e8, 1.5e9), (120.0, 450.0, 900.0)]
    rows = pd.DataFrame([weighed(i, *(rng.choice(some) for some in values)) for i in range(5)])
    weights = [rng.choice((0.5, 1.0, 2.0, 3.0)) for _ in values]
    policy = matrix_of(weights)
    decision = decide(rows, policy)
    told = next((change for change in decision.changes if change.kind == "weight"), None)
    monkeypatch.setattr("harness.decision.closest_changes", lambda *_: ())
    if told is not None:
        again = told.now + 1.001 * (told.then - told.now) if told.then else 0.0
        assert decide(rows, weighted(policy, told, again)).chosen == told.pick
    most = 2.0 if told is None else 0.999 * abs(told.relative or 0.0)
    for index, weight in enumerate(weights):
        for share in (step / 4 * most for step in range(-4, 5)):
            if share >= -1:
                other = matrix_of([*weights[:index], weight * (1 + share), *weights[index + 1 :]])
                assert decide(rows, other).chosen == decision.chosen, (index, share, told)


@pytest.mark.parametrize(("auc", "then"), [(500_000, 750_000.0), (1_000_000, None)])
def test_no_weight_is_told_that_no_policy_can_have(auc: int, then: float | None) -> None:
    """Leads of -4/30 in latency and 0.2 in AUC: level at one and a half times the AUC's weight."""
    rows = [row("minilm", 16, separation_auc=0.995), row("e5", 12, separation_auc=0.985)]
    matrix = [
        {"metric": "latency_p95_ms", "weight": 0, "best": 0, "worst": 30},
        {"metric": "separation_auc", "weight": auc, "best": 1, "worst": 0.95},
    ]
    decision = decide(pd.DataFrame(rows), policy_of(objective="weighted_matrix", matrix=matrix))
    assert decision.chosen == "minilm"
    told = next((change.then for change in decision.changes if change.kind == "weight"), None)
    assert told == (None if then is None else pytest.approx(then))


def test_batch_dependence_is_moved_from_the_worst_in_any_company() -> None:
    asked = {"tier": "must", "metric": "batch_cosine_min", "op": ">=", "bound": 0.99, "label": "in a batch"}
    company = {"batch_cosine_min": 0.9999, "batch_cosine_min_sorted": 0.999, "batch_cosine_min_random": 0.991}
    gates = [*LATENCY, {**asked, "at": {"batch_size": 32}}]
    rows = [row("minilm", 12), row("minilm", 12, batch_size=32, **company) | {"run_id": "b32"}]
    change = of_kind(decide(pd.DataFrame(rows), policy_of(gates=gates)), "measurement")
    assert (change.what, change.now) == ("minilm's batch_cosine_min at default, batch 32", 0.991)
    assert change.then == pytest.approx(0.99, rel=1e-5)


def test_what_was_served_under_load_and_what_the_reference_took_are_measurements_too() -> None:
    rows, changes = SCENES["a budget that only just holds under load"]
    change = of_kind(decide(pd.DataFrame(rows), policy_of(**changes)), "measurement")
    assert change.what == "minilm's latency_p95_ms at mixture, batch 1, 4 clients"
    assert (change.now, change.pick) == (28, "e5")
    assert change.then == pytest.approx(30, rel=1e-5)
    rows, changes = SCENES["an overhead that only just passes"]
    change = of_kind(decide(pd.DataFrame(rows), policy_of(**changes)), "measurement")
    assert change.what == "python's latency_p95_ms (the Python reference)"
    assert change.then == pytest.approx(14.8 / 1.5, rel=1e-5)


def test_paced_requests_are_borne_once_one_caller_is_served_enough() -> None:
    paced = LATENCY[0] | {"at": {"workload": "mixture", "arrival": "poisson", "rate": 100.0}}
    rate = "throughput_texts_per_s"
    rows = [
        row("minilm", 12, workload="mixture", **{f"launch_{rate}": [110.0] * 20}) | {"run_id": "alone"},
        row("minilm", 12, workload="mixture", arrival="poisson", offered_qps=100.0),
    ]
    decision = decide(pd.DataFrame(rows), policy_of(gates=[paced]))
    change = of_kind(decision, "measurement")
    assert (decision.chosen, change.what) == (None, f"minilm's {rate} at mixture, batch 1")
    assert (change.now, change.pick) == (110, "minilm")
    assert change.then == pytest.approx(100 / 0.9, rel=1e-5)
