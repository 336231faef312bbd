"""How often the pick stays the pick where launches are drawn anew."""

from __future__ import annotations

from math import comb
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import robustness
from harness.config import load_policy
from harness.decision import decide
from harness.schema import PolicyConfig
from harness.stats import count_verdict, launch_interval
from tests.conftest import launched, run_row

if TYPE_CHECKING:
    from collections.abc import Sequence

INF = float("inf")


def row(model: str, p95s: list[float], label: str = "", **changes: Any) -> dict[str, Any]:
    """A run of a model with these launch P95s in ms."""
    middle = float(pd.Series(p95s).median())
    named = {"model": model, "candidate_label": label or model, "launches": len(p95s), "launch_p95_ms": p95s}
    return run_row(f"run-{label or model}", **named, latency_p95_ms=middle, **changes)


def stays(*rows: dict[str, Any], policy: str = "default") -> float | None:
    """The share of resampled data sets under which the pick stays."""
    return decide(pd.DataFrame(list(rows)), policy).stays


def test_launches_that_are_all_alike_leave_no_doubt() -> None:
    assert stays(row("minilm", [12.0] * 20)) == 1.0
    assert stays(row("minilm", [12.0] * 20), row("e5", [9.0] * 20)) == 1.0, "the path decides"
    decision = decide(pd.DataFrame([row("minilm", [12.0] * 20)]))
    assert (
        "robustness: the pick stays in 100.0% of data sets with these runs' launches resampled"
        in decision.firmness
    )


def test_without_a_pick_there_is_nothing_to_stay() -> None:
    decision = decide(pd.DataFrame([row("minilm", [45.0] * 20)]))
    assert (decision.chosen, decision.stays) == (None, None)
    assert not any("robustness" in line for line in decision.firmness)


@pytest.mark.parametrize(("slow_ms", "over_ms"), [(40.0, None), (25.0, 20.0)])
def test_the_share_is_that_of_the_binomial_where_one_gate_decides(
    slow_ms: float, over_ms: float | None
) -> None:
    """Drawn anew, each launch is over the bound, or was stopped before it, with the share that was."""
    n, over = 60, 3
    assert count_verdict(over, n, launch_quantile=0.8) == "PASS"
    share = over / n
    expected = sum(
        comb(n, k) * share**k * (1 - share) ** (n - k)
        for k in range(n + 1)
        if count_verdict(k, n, launch_quantile=0.8) == "PASS"
    )
    found = stays(row("minilm", [12.0] * (n - over) + [slow_ms] * over, truncated_over_ms=over_ms))
    assert 0.5 < expected < 0.99
    assert found == pytest.approx(expected, abs=0.05)


def test_two_that_are_as_fast_change_places_in_about_half_of_the_data_sets() -> None:
    values = [9.0 + 0.25 * n for n in range(20)]
    found = stays(row("minilm", values, "a"), row("minilm", values[::-1], "b", threads=2))
    assert found is not None
    assert 0.4 < found < 0.65
    far = stays(row("minilm", values, "a"), row("minilm", [v + 6 for v in values], "b", threads=2))
    assert far == 1.0


def test_a_pick_whose_stopped_launches_may_be_slower_than_a_rival_does_not_stay_where_they_count() -> None:
    """Both are over 20 ms in every launch; by how much is known of the one that was not stopped alone."""
    gates = [gate for gate in load_policy("default").gates if gate.metric != "latency_p95_ms"]
    policy = load_policy("default").model_copy(update={"gates": gates})
    pick, rival = row("minilm", [25.0] * 20, "a"), row("minilm", [26.0] * 20, "b", threads=2)
    assert decide(pd.DataFrame([pick, rival]), policy).stays == 1.0
    assert decide(pd.DataFrame([pick | {"truncated_over_ms": 20.0}, rival]), policy).stays == 0.0
    assert decide(pd.DataFrame([pick, rival | {"truncated_over_ms": 20.0}]), policy).stays == 0.0


def test_a_rival_that_only_its_launches_keep_from_a_better_verdict_counts() -> None:
    """The pick misses the target; the other one meets it in some data sets, and is undecided as it is."""
    pick, rival = row("minilm", [25.0] * 20), row("e5", [12.0] * 16 + [40.0] * 4)
    decision = decide(pd.DataFrame([pick, rival]))
    assert [c.verdict for c in decision.candidates] == ["CONDITIONAL_GO", "INCONCLUSIVE"]
    assert decision.stays is not None
    assert 0.5 < decision.stays < 1.0


HOPELESS: dict[str, dict[str, Any]] = {
    "failed": {"status": "failed", "error": "x", "launches_failed": 20, "launch_p95_ms": [INF] * 20},
    "unavailable": {"status": "unavailable", "error": "x", "launches": 0, "launch_p95_ms": []},
    "random weights": {"weights": "random"},
    "parity": {"parity_cosine_min": 0.5},
    "no launches": {"launch_p95_ms": None},
    "quality unknown": {"separation_auc": None},
    "too slow": {"launch_p95_ms": [99.0] * 20, "latency_p95_ms": 99.0},
}


@settings(deadline=None, max_examples=25, derandomize=True)
@given(
    st.lists(st.sampled_from([8.0, 12.0, 19.0, 24.0, 31.0]), min_size=17, max_size=24),
    st.lists(st.sampled_from([8.0, 12.0, 19.0]), min_size=17, max_size=24),
    st.sampled_from(sorted(HOPELESS)),
)
def test_a_candidate_that_cannot_be_picked_changes_no_share(
    first: list[float], second: list[float], how: str
) -> None:
    rows = [row("minilm", first), row("minilm", second, "two", threads=2)]
    other = row("minilm", [2.0] * 20, "a-first", threads=1) | launched(**HOPELESS[how])
    assert stays(*rows, other) == stays(*rows)


# --- what launches make elsewhere than where candidates are compared


def spread(middle_ms: float, share: float = 0.02, n: int = 20) -> list[float]:
    """P95s of launches about a middle, in ms."""
    return [middle_ms * (1 + share * (i - (n - 1) / 2)) for i in range(n)]


def under_load(p95s: list[float], label: str, clients: int = 4, **changes: Any) -> dict[str, Any]:
    """A candidate's run under production's load."""
    loaded = {"workload": "mixture", "purpose": "confirm", "clients": clients}
    return row("minilm", p95s, label, **(loaded | changes)) | {"run_id": f"load-{label}-{clients}"}


def external(p95s: list[float], label: str, **changes: Any) -> dict[str, Any]:
    """A run of an external provider."""
    return row("minilm", p95s, label, runtime="http", **changes)


PACED = {
    "gates": [
        {"tier": "must", "metric": "latency_p95_ms", "op": "<", "bound": 30, "launch_quantile": 0.5,
         "label": "paced", "at": {"workload": "mixture", "arrival": "poisson", "rate": 90}},
    ],
    "objective": "lowest_latency",
}  # fmt: skip
FALLEN: dict[str, tuple[list[dict[str, Any]], str, dict[str, Any]]] = {
    "a budget that may not hold under load": (
        [
            row("minilm", [12.0] * 20, "a"), under_load([12.0] * 9 + [40.0] * 8, "a"),
            row("minilm", [13.0] * 20, "b", threads=2),
        ], "default", {},
    ),
    "a rival's that may hold": (
        [
            row("minilm", [13.0] * 20, "a"), row("minilm", [12.0] * 20, "b", threads=2),
            under_load([12.0] * 3 + [40.0] * 8, "b", threads=2),
        ], "default", {},
    ),
    "an overhead about its target": (
        [row("minilm", spread(10.0), "python"), external(spread(11.0), "a"),
         external(spread(11.4), "b", ep_options='{"arena": 0}')], "external_provider", {},
    ),
    "an overhead about its bound": (
        [row("minilm", spread(10.0), "python"), external(spread(13.4), "a")], "external_provider", {},
    ),
    "references that are about as fast": (
        [row("minilm", spread(10.0), "one"), row("minilm", spread(9.9, 0.04), "two", replicate=1),
         external(spread(12.1), "a")], "external_provider", {},
    ),
    "paced requests that may be more than can be served": (
        [
            row("minilm", [12.0] * 20, "a", workload="mixture")
            | launched(launch_throughput_texts_per_s=[120.0] * 15 + [80.0] * 5),
            row("minilm", [12.0] * 20, "a", workload="mixture", arrival="poisson", offered_qps=90.0)
            | {"run_id": "paced"},
        ], "default", PACED,
    ),
}  # fmt: skip


def fallen_otherwise(r: dict[str, Any], which: Sequence[int]) -> dict[str, Any]:
    """The run with other launches of its own."""
    rate = "throughput_texts_per_s"
    p95s, rates = ([r[name][i] for i in which] for name in ("launch_p95_ms", f"launch_{rate}"))
    again = launched(launch_p95_ms=p95s, **{f"launch_{rate}": rates})
    low, high = launch_interval([-value for value in rates])
    return r | again | {f"{rate}_low": high and -high, f"{rate}_high": low and -low}


@pytest.mark.parametrize("scene", FALLEN)
def test_the_share_is_that_of_deciding_anew_on_each_resampled_data_set(
    scene: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, name, changes = FALLEN[scene]
    policy, sets = policy_of(name, **changes), 40
    monkeypatch.setattr(robustness, "RESAMPLES", sets)
    drawn = {r["run_id"]: robustness._resampled(r["run_id"], np.asarray(r["launch_p95_ms"])) for r in rows}
    decision = decide(pd.DataFrame(rows), policy)
    monkeypatch.setattr("harness.decision.share_that_stays", lambda *_: None)
    monkeypatch.setattr("harness.decision.closest_changes", lambda *_: ())
    again = [
        decide(pd.DataFrame([fallen_otherwise(r, drawn[r["run_id"]][i].tolist()) for r in rows]), policy)
        for i in range(sets)
    ]
    assert decision.chosen is not None
    assert {other.chosen for other in again} > {decision.chosen}, "these launches are what it hangs on"
    assert decision.stays == sum(other.chosen == decision.chosen for other in again) / sets


def policy_of(name: str, **changes: Any) -> PolicyConfig:
    """A shipped policy with other parts."""
    return PolicyConfig.model_validate({**load_policy(name).model_dump(), **changes})
