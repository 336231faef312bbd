"""What settles an open verdict: a command that can be typed, or a sentence of its own with one that helps."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

from harness.config import load_policy
from harness.decision import NEXT_STEPS, decide
from harness.measure.quality import QUALITY_COLUMNS
from harness.schema import AtConfig, GateConfig, PolicyConfig
from tests.conftest import run_row
from tests.test_decision import frame, launches_row, model_row, soak_row
from tests.test_overhead import decided, python, rust

if TYPE_CHECKING:
    from harness.verdict import Decision

MEASURE = NEXT_STEPS["INCONCLUSIVE"]


def with_must(metric: str, op: str, bound: float, **more: Any) -> PolicyConfig:
    """The default policy with one must gate more."""
    policy = load_policy("default")
    gate = GateConfig.model_validate(
        {"tier": "must", "metric": metric, "op": op, "bound": bound, "label": metric, **more}
    )
    return policy.model_copy(update={"gates": [*policy.gates, gate]})


def around(metric: str, low: float, value: float, high: float) -> dict[str, Any]:
    """A figure with its interval."""
    return {metric: value, f"{metric}_low": low, f"{metric}_high": high}


def only_step(decision: Decision) -> str:
    """The one thing to do about an INCONCLUSIVE."""
    assert decision.verdict == "INCONCLUSIVE"
    told = [step for step in decision.next_steps if "batch_size=32" not in step and "soak`" not in step]
    (step,) = [step for step in told if step != MEASURE]
    return step


@pytest.mark.parametrize(
    ("metric", "asked", "data"),
    [
        ("separation_auc", "sts_spearman", "quality.sts=FILE"),
        ("neighbour_overlap", "texts_overlap", "quality.texts=FILE"),
    ],
)
def test_what_the_shipped_texts_leave_undecided_is_asked_of_ones_own(
    metric: str, asked: str, data: str
) -> None:
    decision = decide(frame(model_row("minilm", **around(metric, 0.94, 0.96, 0.98))))
    step = only_step(decision)
    assert decision.next_steps[0] == step, "before the commands of what is open beside it"
    assert "is undecided: it is asked of the shipped texts alone, and no launch narrows it" in step
    assert step.endswith(f"a gate on {asked} asks your own: `python -m harness model=minilm ep=cpu {data}`")


def test_ones_own_data_that_leave_a_gate_undecided_are_to_be_more() -> None:
    row = model_row("minilm", **around("texts_overlap", 0.85, 0.9, 0.95))
    row["command"] = "python -m harness model=minilm ep=cpu quality.texts=few.txt"
    step = only_step(decide(frame(row), with_must("texts_overlap", ">=", 0.9)))
    assert step == (
        "texts_overlap is undecided: more of your own data narrows it, as a run of its own, latency too: "
        "`python -m harness model=minilm ep=cpu quality.texts=FILE`"
    )


@pytest.mark.parametrize(
    ("value", "low", "high", "told"),
    [(0.95, 0.85, 0.98, "about 600 instead of 150"), (0.88, 0.8, 0.92, "about 600 instead of 150")],
)
def test_how_much_of_ones_own_data_settles_a_gate_is_told_if_the_rest_goes_as_these(
    value: float, low: float, high: float, told: str
) -> None:
    row = model_row("minilm", **around("texts_overlap", low, value, high), texts_count=150)
    step = only_step(decide(frame(row), with_must("texts_overlap", ">=", 0.9)))
    assert f"narrows it ({told}, if they go as these), as a run of its own" in step


def test_no_amount_is_told_where_the_value_lies_at_the_bound() -> None:
    for value, low in ((0.9000001, 0.85), (0.95, 0.9)):
        row = model_row("minilm", **around("texts_overlap", low, value, 0.98), texts_count=150)
        told = decide(frame(row), with_must("texts_overlap", ">", 0.9)).next_steps
        assert any("narrows it, as a run of its own" in step for step in told)


def test_retrieval_asks_for_a_folder_and_elsewhere_for_the_runs_own() -> None:
    elsewhere = with_must("ndcg_at_10", ">=", 0.5, at={"batch_size": 8})
    bare = model_row("minilm")
    (missing,) = [c for c in decide(frame(bare), elsewhere).candidates[0].missing if "batch_size=8" in c]
    assert missing.endswith(" quality.retrieval=DIR")
    own = bare | {"command": "python -m harness model=minilm ep=cpu quality.retrieval=beir"}
    (missing,) = [c for c in decide(frame(own), elsewhere).candidates[0].missing if "batch_size=8" in c]
    assert missing == "python -m harness model=minilm ep=cpu quality.retrieval=beir batch_size=8"


def test_data_of_ones_own_that_another_run_was_measured_on_are_typed() -> None:
    command = "python -m harness model=minilm ep=cpu batch_size=8 quality.sts=my.csv"
    own = model_row("minilm", "own", batch_size=8, command=command)
    rows = frame(model_row("minilm", **around("separation_auc", 0.94, 0.96, 0.98)), own)
    (candidate,) = decide(rows, with_must("sts_spearman", ">=", 80)).candidates
    assert "python -m harness model=minilm ep=cpu quality.sts=my.csv" in candidate.missing
    (way_out,) = candidate.ways_out
    assert way_out.endswith("asks your own: `python -m harness model=minilm ep=cpu quality.sts=my.csv`")
    unknown = with_must("sts_spearman", ">=", 80, at={"batch_size": 8})
    missing = decide(rows, unknown).candidates[0].missing
    assert any(c.endswith(" batch_size=8 quality.sts=my.csv measure.force=true") for c in missing)


def test_a_soak_gate_that_is_undecided_takes_a_longer_soak() -> None:
    soak = soak_row("minilm", **around("latency_drift", 0.9, 1.0, 1.4))
    step = only_step(decide(frame(model_row("minilm"), soak), with_must("latency_drift", "<", 1.2)))
    assert step.endswith("`python -m harness model=minilm ep=cpu measure=soak measure.duration_s=600`")


def test_an_overhead_that_is_undecided_takes_more_launches_of_both() -> None:
    spread = [10.0 + 0.5 * n for n in range(20)]
    decision = decided(python(10.0), rust(launch_p95_ms=spread))
    (step,) = [step for step in decision.next_steps if "latency_overhead is undecided" in step]
    assert step.count("measure.launches=40") == 2
    assert "runtime=http" in step.split("` and `")[0]
    assert "runtime=http" not in step.split("` and `")[1]


def test_the_reference_of_a_brief_provider_is_measured_in_as_many_launches_as_it_takes() -> None:
    brief = {"launches": 3, "launch_p95_ms": [11.0] * 3, "requests": 300}
    words = "python -m harness model=minilm runtime=http runtime.url=http://localhost:1 measure.launches=3"
    (candidate,) = decided(rust(**brief) | {"command": words}).candidates
    assert "python -m harness model=minilm measure.launches=6" in candidate.missing


def test_the_python_reference_alone_is_judged_by_another_policy() -> None:
    assert only_step(decided(python())).endswith("by itself it is judged with policy=default")
    assert not any("runtime=" in step for step in decided(python()).next_steps)


def test_random_weights_alone_are_to_be_replaced_by_trained_ones() -> None:
    words = "python -m harness model=qwen3 ep=cpu model.weights=random"
    twin = model_row("qwen3", weights="random", command=words, **dict.fromkeys(QUALITY_COLUMNS))
    decision = decide(frame(twin))
    said = (
        "random weights have no quality; where the trained ones are in a folder: "
        "`python -m harness model=qwen3 ep=cpu model.path=DIR`"
    )
    assert decision.next_steps == (said,)
    beside = decide(frame(twin, launches_row("minilm", [12.0] * 10)))
    assert beside.next_steps[0] == MEASURE
    assert beside.next_steps[-1] == said, "after what the nearest candidate lacks"


def test_what_is_not_possible_here_is_told_nothing_to_measure() -> None:
    nothing = {"status": "unavailable", "error": "not in this build", "launches": 0, "launch_p95_ms": []}
    assert decide(frame(model_row("minilm", **nothing))).next_steps == ()


@pytest.mark.parametrize("metric", ["parity_cosine_min", "neighbour_overlap", "finite"])
def test_what_a_measured_run_does_not_know_takes_another_run(metric: str) -> None:
    decision = decide(frame(model_row("minilm", **{metric: None})))
    assert decision.next_steps[0] == MEASURE
    told = [step for step in decision.next_steps[1:] if "batch_size=32" not in step and "soak" not in step]
    assert told == ["`python -m harness model=minilm ep=cpu measure.force=true`"]


@pytest.mark.parametrize("launches", [0, 3])
def test_what_a_failed_run_leaves_open_is_one_command(launches: int) -> None:
    failed = {
        "status": "failed", "error": "boom", "launches": launches, "launches_failed": launches,
        "launch_p95_ms": [math.inf] * launches, "launch_throughput_texts_per_s": [0.0] * launches,
        "latency_p50_ms": None, "latency_p95_ms": None, "latency_p95_low_ms": None,
        "latency_p95_high_ms": None, "separation_auc": None, "separation_auc_low": None,
        "separation_auc_high": None,
    }  # fmt: skip
    (candidate,) = decide(frame(model_row("minilm", **failed))).candidates
    command = "python -m harness model=minilm ep=cpu"
    assert candidate.missing == (
        f"{command} measure.force=true", f"{command} batch_size=32", f"{command} measure=soak",
    )  # fmt: skip


def test_launches_that_a_policy_takes_are_told_however_many() -> None:
    """Clean launches are no nearer to a bound that asks for more of them."""
    policy = load_policy("default")
    first, *others = policy.gates
    strict = policy.model_copy(
        update={"gates": [first.model_copy(update={"launch_quantile": 0.999}), *others]}
    )
    decision = decide(frame(launches_row("minilm", [12.0] * 20)), strict)
    (reason,) = [line for line in decision.reasons if "launches are over" in line]
    more = int(reason.split("about ")[1].split()[0])
    assert 3_000 < more < 4_000
    assert any(f"measure.launches={20 + more}`" in step for step in decision.next_steps)


def test_a_gate_at_a_changed_workload_reads_its_runs_and_tells_no_command_that_nobody_can_type() -> None:
    at = {"workload": "default+1f3a"}
    gate = {"launch_quantile": 0.8, "at": AtConfig(**at)}
    policy = with_must("latency_p95_ms", "<", 30, **gate)
    assert decide(frame(model_row("minilm"), model_row("minilm", "own", **at)), policy).verdict == "GO"
    missing = decide(frame(model_row("minilm")), policy)
    assert missing.verdict == "INCONCLUSIVE"
    assert not any("1f3a" in step for step in missing.next_steps)
    few = run_row(
        "own", launches=5, launch_p95_ms=[12.0] * 5, command="python -m harness workload.seed=3", **at
    )
    told = decide(pd.DataFrame([model_row("minilm"), few]), policy).candidates[0].missing
    assert any(
        command.startswith("python -m harness workload.seed=3 measure.launches=17") for command in told
    )


@pytest.mark.parametrize(
    ("metric", "count", "key"),
    [
        ("sts_spearman", "sts_pairs", "quality.sts"),
        ("ndcg_at_10", "retrieval_queries", "quality.retrieval"),
        ("texts_overlap", "texts_count", "quality.texts"),
    ],
)
def test_own_data_that_have_no_figure_are_not_told_to_be_measured_again(
    metric: str, count: str, key: str
) -> None:
    row = model_row("minilm", command=f"python -m harness model=minilm ep=cpu {key}=mine") | {count: 20}
    policy = with_must(metric, ">=", 75 if metric == "sts_spearman" else 0.5)
    decision = decide(frame(row), policy)
    told = (
        f"{key} was measured, and has no figure: a vector there is not as it must be, or all are equally near"
    )
    assert decision.verdict == "INCONCLUSIVE"
    assert any(told in reason for reason in decision.reasons)
    assert not any("measure.force" in command for command in decision.candidates[0].missing)
    unmeasured = decide(frame(row | {count: None}), policy)
    assert any(f"the run was measured without {key}=" in reason for reason in unmeasured.reasons)
