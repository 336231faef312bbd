"""What an external provider takes over the Python reference: measured beside it, or unknown."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

from harness.config import load_policy
from harness.decision import NOISE_STEP, PROVIDER_STEP, decide
from harness.overhead import with_overhead
from harness.schema import PolicyConfig
from tests.conftest import STARTED, run_row

if TYPE_CHECKING:
    from harness.verdict import Decision


def python(p95_ms: float = 10.0, run_id: str = "python", **changes: Any) -> dict[str, Any]:
    """A run of the reference."""
    return run_row(run_id, p95_ms=p95_ms, **changes)


def rust(p95_ms: float = 11.0, **changes: Any) -> dict[str, Any]:
    """A run of a provider in another language."""
    named = {"runtime": "http", "candidate_label": "minilm fp32 http cpu"}
    command = "python -m harness model=minilm runtime=http runtime.url=http://localhost:1"
    return run_row("rust", p95_ms=p95_ms, command=command, **(named | changes))


def launches(p95_ms: float, n: int) -> dict[str, Any]:
    """So many launches of that P95."""
    return {"p95_ms": p95_ms, "launches": n, "launch_p95_ms": [p95_ms] * n, "requests": 100 * n}


def overhead(*rows: dict[str, Any]) -> tuple[Any, Any, Any]:
    """The overhead of the last of the rows, with its interval."""
    found = {row["run_id"]: row for row in with_overhead(rows, lambda row: ())}[rows[-1]["run_id"]]
    low, high = found["latency_overhead_low"], found["latency_overhead_high"]
    return found["latency_overhead"], low, high


def decided(*rows: dict[str, Any]) -> Decision:
    """The decision on an external provider."""
    return decide(pd.DataFrame(list(rows)), "external_provider")


def test_it_is_the_ratio_of_the_launches_less_one_with_an_interval() -> None:
    assert overhead(python(10.0), rust(12.0)) == pytest.approx((0.2, 0.2, 0.2))
    spread = {"launch_p95_ms": [11.0 + 0.1 * n for n in range(20)]}
    middle, low, high = overhead(python(10.0), rust(12.0, **spread))
    assert 0.1 < low < middle < high < 0.29


@pytest.mark.parametrize(
    ("p95_ms", "verdict", "code"),
    [(11.0, "GO", 0), (13.0, "CONDITIONAL_GO", 10), (16.0, "NO_GO", 11)],
)
def test_under_a_fifth_is_the_target_and_under_a_half_acceptable(
    p95_ms: float, verdict: str, code: int
) -> None:
    decision = decided(python(10.0), rust(p95_ms))
    assert (decision.verdict, decision.exit_code) == (verdict, code)
    assert decision.chosen == (None if verdict == "NO_GO" else "minilm fp32 http cpu")
    if verdict != "GO":
        assert any("P95 over Python's" in reason for reason in decision.reasons)
        assert decision.next_steps[0] == PROVIDER_STEP


@pytest.mark.parametrize("p95_ms", [4.0, 9.0, 10.0, 13.0, 16.0])
@pytest.mark.parametrize(("more", "verdict"), [(0.2, "CONDITIONAL_GO"), (0.5, "NO_GO")])
def test_what_is_just_at_a_bound_is_not_under_it_whatever_logarithms_round_to(
    p95_ms: float, more: float, verdict: str
) -> None:
    found = decided(python(p95_ms), rust(p95_ms * (1 + more)))
    assert found.verdict == verdict


def test_the_reference_is_named_and_is_no_candidate_beside_what_is_held_against_it() -> None:
    decision = decided(python(10.0), rust(11.0))
    (candidate,) = decision.candidates
    assert "what it takes over Python is held against minilm fp32 cpu, run python" in candidate.notes


def test_where_no_must_gate_asks_the_overhead_the_reference_is_a_candidate_beside_others() -> None:
    gate = {"tier": "nice", "metric": "latency_overhead", "op": "<", "bound": 0.1, "label": "over Python's"}
    default = load_policy("default").model_dump()
    policy = PolicyConfig.model_validate(default | {"gates": [*default["gates"], gate]})
    alone = decide(pd.DataFrame([python()]), policy)
    beside = decide(pd.DataFrame([python(), rust(status="failed", error="gone")]), policy)
    assert alone.verdict == beside.verdict == "GO"
    assert alone.chosen == beside.chosen == "minilm fp32 cpu"


def test_a_reference_with_other_vectors_than_its_models_does_not_count() -> None:
    worse = python(6.0, "worse", ep_options='{"a": 1}', parity_cosine_min=0.9)
    decision = decided(python(10.0), rust(11.0), worse)
    assert decision.verdict == "GO"
    assert (
        "what it takes over Python is held against minilm fp32 cpu, run python"
        in decision.candidates[0].notes
    )
    (reason, *_) = decided(rust(11.0), worse).candidates[0].reasons
    assert "run worse of the Python reference does not count: parity with the fp32 reference failed" in reason


@pytest.mark.parametrize("bound", [0.02, 0.05, 0.5])
def test_which_reference_counts_hangs_on_no_bound_of_the_policy(bound: float) -> None:
    """A looser one would let a faster reference count, and turn a GO into a NO_GO."""
    shipped = load_policy("external_provider").model_dump()
    norm = ("must", "l2_norm_max_error")
    gates = [g | ({"bound": bound} if (g["tier"], g["metric"]) == norm else {}) for g in shipped["gates"]]
    policy = PolicyConfig.model_validate(shipped | {"gates": gates, "min_ep_node_share": bound})
    fast = python(6.0, "fast", l2_norm_max_error=0.03, replicate=1)
    decision = decide(pd.DataFrame([fast, python(12.0), rust(12.0)]), policy)
    assert (decision.verdict, "run fast" in str(decision.candidates[0].notes)) == ("NO_GO", True)


OLD, NEW = ({"artifact_sha256": c * 64, "started_at": STARTED + timedelta(n)} for n, c in enumerate("ab"))


@pytest.mark.parametrize(
    ("references", "provider", "again"),
    [
        ([python(**NEW)], OLD, "rust"),
        ([python(**OLD)], NEW, "python"),
        ([python(**NEW), python(**OLD | launches(7.0, 3), run_id="few", replicate=1)], OLD, "python"),
        ([python(**NEW)], OLD | {"runtime": "fake"}, ""),
        ([python(**OLD)], NEW | {"runtime": "fake"}, "python"),
    ],
    ids=[
        "the provider is older",
        "the reference is older",
        "one has its artifact",
        "a script",
        "a newer script",
    ],
)
def test_where_the_artifacts_differ_what_is_older_is_measured_anew(
    references: list[dict[str, Any]], provider: dict[str, Any], again: str
) -> None:
    """The newer one would be the same run again; a script's artifact is always another one."""
    (candidate,) = decided(*references, rust(**provider)).candidates
    told = [c for c in candidate.missing if "batch_size" not in c and "soak" not in c]
    mine = "python -m harness model=minilm runtime=http runtime.url=http://localhost:1"
    assert told == {"rust": [mine], "python": ["python -m harness model=minilm"], "": []}[again]


def test_a_reference_on_part_of_its_provider_counts_where_the_policy_waives_that() -> None:
    waived = load_policy("external_provider").model_copy(
        update={"min_ep_node_share": 0.0, "min_ep_time_share": 0.0}
    )
    on = {"ep": "coreml", "ep_node_share": 0.4, "ep_nodes": None, "ep_time_share": None}
    decision = decide(pd.DataFrame([python(10.0, **on), rust(11.0, **on)]), waived)
    assert (decision.verdict, decision.chosen) == ("GO", "minilm fp32 http cpu")


@pytest.mark.parametrize(
    "changes",
    [
        {"neighbour_overlap_low": 0.9},
        {"neighbour_overlap": None, "neighbour_overlap_low": None, "neighbour_overlap_high": None},
    ],
    ids=["undecided", "not measured"],
)
def test_a_reference_of_which_a_must_gate_on_vectors_is_open_counts(changes: dict[str, Any]) -> None:
    decision = decided(python(10.0, **changes), rust(11.0))
    assert (decision.verdict, decision.chosen) == ("GO", "minilm fp32 http cpu")


def test_without_a_reference_nothing_passes_and_the_command_that_measures_one_is_told() -> None:
    decision = decided(rust())
    assert (decision.verdict, decision.exit_code) == ("INCONCLUSIVE", 12)
    assert any("no run of the Python reference" in reason for reason in decision.reasons)
    assert "python -m harness model=minilm" in decision.candidates[0].missing


@pytest.mark.parametrize(
    ("changes", "why", "forced"),
    [
        ({"status": "failed", "error": "boom"}, "the run failed at default, batch 1: boom", True),
        (
            {"launch_p95_ms": [10.0] * 19 + [float("inf")], "launches_failed": 1, "error": "boom"},
            "1 of 20 launches failed at default, batch 1 (boom)",
            True,
        ),
        ({"status": "interrupted"}, "the run at default, batch 1 was interrupted", False),
        ({"truncated_over_ms": 9.0}, "launches were stopped early over 9 ms", True),
        ({"weights": "random"}, "its weights: random, not trained", False),
        ({"batch_size": 8}, "its load: default, batch 8, not default, batch 1", False),
        (
            {"cores": 8, "environment": '{"container_cpus": 0.5}'},
            "its number of cores: 8, not 2; its CPU quota: 0.5, not none",
            False,
        ),
    ],
    ids=str,
)
def test_a_reference_that_does_not_count_is_named_with_its_own_reason(
    changes: dict[str, Any], why: str, forced: bool
) -> None:
    (candidate,) = decided(python(**changes), rust()).candidates
    told = {r.reason for r in candidate.gates if r.gate.metric == "latency_overhead"}
    assert told == {f"run python of the Python reference does not count: {why}"}
    assert candidate.missing[0] == "python -m harness model=minilm" + (
        " measure.force=true" if forced else ""
    )


def test_of_references_of_other_work_that_which_differs_least_is_named() -> None:
    far = python(run_id="far", weights="random", batch_size=8)
    near = python(run_id="near", precision="int8")
    (candidate,) = decided(far, near, python(run_id="e5", model="e5"), rust()).candidates
    assert "run near of the Python reference does not count: its precision: int8, not fp32" in " ".join(
        candidate.reasons
    )


@pytest.mark.parametrize(
    ("changes", "why", "forced"),
    [
        ({"latency_p95_ms": None}, "latency_p95_ms is unknown, though that of each launch is not", True),
        ({"launch_p95_ms": [11.0] * 19 + [float("inf")], "launches_failed": 1}, "a launch has none", True),
        ({"status": "failed", "launches": 0, "launch_p95_ms": []}, "no launch", True),
        ({"status": "interrupted"}, "the run is interrupted", False),
        ({"truncated_over_ms": 9.0}, "launches were stopped early over 9 ms", True),
    ],
    ids=str,
)
def test_a_provider_whose_own_p95_is_unknown_says_so_and_measures_no_settled_reference_again(
    changes: dict[str, Any], why: str, forced: bool
) -> None:
    (candidate,) = decided(python(), rust(**changes)).candidates
    told = {r.reason for r in candidate.gates if r.gate.metric == "latency_overhead"}
    assert told == {f"its own P95 is not known: {why}"}
    command = "python -m harness model=minilm runtime=http runtime.url=http://localhost:1"
    assert candidate.missing[0] == command + (" measure.force=true" if forced else "")
    assert "python -m harness model=minilm" not in candidate.missing


def test_the_reference_itself_is_never_picked_and_no_command_could_help() -> None:
    decision = decided(python())
    assert (decision.verdict, decision.chosen) == ("INCONCLUSIVE", None)
    assert any("(it is the Python reference itself)" in reason for reason in decision.reasons)
    assert decision.candidates[0].missing == ()


@pytest.mark.parametrize(
    "elsewhere",
    [
        {"model": "e5"}, {"precision": "int8"}, {"ep": "coreml"}, {"dim": 256}, {"weights": "random"},
        {"revision": "other"}, {"batch_size": 8}, {"workload": "mixture"}, {"clients": 2}, {"cores": 8},
        {"environment": '{"container_cpus": 0.5}'},
        {"purpose": "soak"}, {"status": "interrupted"}, {"truncated_over_ms": 30.0},
        {"launch_p95_ms": [10.0] * 19 + [float("inf")]}, {"launch_p95_ms": None},
    ],
    ids=str,
)  # fmt: skip
def test_no_other_work_and_no_broken_run_is_a_reference(elsewhere: dict[str, Any]) -> None:
    assert overhead(python(**elsewhere), rust()) == (None, None, None)


def test_a_provider_with_a_failed_launch_has_no_overhead_to_tell() -> None:
    assert overhead(python(), rust(launch_p95_ms=[11.0] * 19 + [float("inf")])) == (None, None, None)


def test_of_several_references_the_fastest_counts() -> None:
    rows = [python(20.0, "one"), python(10.0, "two", replicate=1), rust(15.0)]
    assert overhead(*rows)[0] == pytest.approx(0.5)
    assert overhead(*rows[1::-1], rows[2])[0] == pytest.approx(0.5)


@pytest.mark.parametrize("n", [1, 5])
def test_a_reference_of_too_few_launches_overrules_none_and_counts_for_nothing_by_itself(n: int) -> None:
    """However many launches the provider has: with sixty, one of the reference has an interval too."""
    few, many = python(**launches(7.0, n), run_id="few", replicate=1), python(**launches(10.0, 60))
    provider = rust(**launches(11.0, 60))
    decision = decided(few, many, provider)
    assert decision.verdict == "GO"
    assert not any("few" in note for note in decision.candidates[0].notes)
    alone = decided(few, provider)
    assert alone.verdict == "INCONCLUSIVE"
    plural = "" if n == 1 else "es"
    why = f"run few of the Python reference does not count: {n} launch{plural}, under 6"
    assert any(why in reason for reason in alone.reasons)
    assert "python -m harness model=minilm" in alone.candidates[0].missing


def test_references_that_disagree_on_a_gate_are_told_and_the_fastest_answers() -> None:
    slow, fast = python(10.0, "slow"), python(**launches(7.0, 6), run_id="fast", replicate=1)
    decision = decided(slow, fast, rust(11.0))
    assert decision.verdict == "NO_GO"
    told = "must gate P95 over Python's: fail over the fastest run of the reference, fast; pass over slow"
    assert told in decision.candidates[0].notes
    agreed = decided(slow, python(9.9, "fast", replicate=1), rust(11.0)).candidates[0].notes
    assert not any("the fastest run" in note for note in agreed)


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        ({"parity_cosine_min": 0.2}, "parity with the fp32 reference failed"),
        ({"parity_cosine_min": None}, "no parity with the fp32 reference was measured"),
        ({"finite": False}, "a vector is not finite"),
        ({"launches_failed": 1}, "1 of 20 launches failed"),
        ({"ep_node_share": 0.0}, "only 0% of the nodes run on cpu"),
        ({"threads": 1}, "its threads is 1, not 8"),
        ({"threads": None}, "its threads is the default, not 8"),
        ({"session_options": '{"spinning": false}'}, 'its session_options is {"spinning": false}, not the'),
        ({"onnxruntime": "1.0"}, "its onnxruntime is 1.0, not 1.31.1"),
        ({"harness_version": "0.0.1"}, "its harness_version is 0.0.1, not 0.1.0"),
        ({"artifact_sha256": "b" * 64}, "its artifact_sha256 is b"),
    ],
    ids=str,
)
def test_a_reference_that_is_broken_or_set_up_otherwise_does_not_count(
    broken: dict[str, Any], why: str
) -> None:
    candidate = rust(12.0, threads=8)
    broken = {"threads": 8} | broken
    alone = decided(python(30.0, **broken), candidate)
    assert (alone.verdict, alone.chosen) == ("INCONCLUSIVE", None)
    assert any(f"run python of the Python reference does not count: {why}" in r for r in alone.reasons)
    beside = decided(python(2.0, **broken), python(11.0, "sound", threads=8), candidate)
    assert beside.verdict == "GO"
    assert any("run sound" in note for note in beside.candidates[0].notes)


@pytest.mark.parametrize(
    ("broken", "forced"),
    [({"finite": False}, True), ({"parity_cosine_min": 0.5}, True), (launches(7.0, 5), False)],
)
def test_a_reference_that_is_refused_as_it_is_settled_is_told_to_be_measured_anew(
    broken: dict[str, Any], forced: bool
) -> None:
    """Typed again without force, nothing of it would be measured."""
    told = [c for c in decided(python(**broken), rust(12.0)).candidates[0].missing if "runtime=http" not in c]
    assert told[0].startswith("python -m harness model=minilm")
    assert ("measure.force=true" in told[0]) == forced


def test_a_pass_over_a_brief_reference_is_provisional() -> None:
    (told,) = decided(python(11.0, evidence_span_s=2.0), rust(12.0)).candidates[0].provisional
    assert "stand for 2 s" in told
    assert "the Python reference" in told


@pytest.mark.parametrize(
    "noisy",
    [
        {"p95_ms": 40.0, "launch_disturbed": [True] * 20},
        {"launch_p95_ms": [5.0] * 6 + [40.0] * 14, "launch_disturbed": [False] * 6 + [True] * 14},
    ],
    ids=["all", "most"],
)
def test_a_pass_that_rests_on_a_disturbed_reference_is_provisional(noisy: dict[str, Any]) -> None:
    decision = decided(python(**noisy), rust(12.0))
    assert decision.undisturbed in ("NO_GO", "INCONCLUSIVE")
    assert any("P95 over Python's, pass" in line for line in decision.candidates[0].provisional)
    noise_steps = [step for step in decision.next_steps if step.startswith(NOISE_STEP)]
    assert ["runtime=http" in step for step in noise_steps] == [True, False]


def test_a_few_disturbed_launches_of_the_reference_leave_the_verdict_as_it_is() -> None:
    noisy = {"launch_p95_ms": [11.0] * 18 + [14.0] * 2, "launch_disturbed": [False] * 18 + [True] * 2}
    decision = decided(python(**noisy), rust(12.0))
    assert (decision.verdict, decision.candidates[0].provisional) == ("GO", ())
