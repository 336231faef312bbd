"""From plain values to a frozen plan: every wrong value is told, all of them together, a line each."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from pydantic import ValidationError

from harness.candidate import Candidate
from harness.compose import compose, conf_dir
from harness.config import load_ep, load_model, load_policy, load_precision, parse_words, validate, yaml_of
from harness.errors import BadInputError
from tests.conftest import raw_config

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from harness.schema import Config

LATENCY = {
    "tier": "must",
    "metric": "latency_p95_ms",
    "op": "<",
    "bound": 30,
    "label": "P95",
    "launch_quantile": 0.8,
}


def problems_of(**changes: Any) -> tuple[str, ...]:
    with pytest.raises(BadInputError) as told:
        validate(raw_config(**changes))
    assert str(told.value).splitlines() == list(told.value.problems)
    return told.value.problems


def only_problem_of(**changes: Any) -> str:
    (problem,) = problems_of(**changes)
    return problem


def test_what_belongs_to_a_confirmation_is_refused_without_one() -> None:
    for purpose in ("latency", "soak"):
        asked = {"purpose": purpose, "rate": 20.0, "clients": [8]}
        assert problems_of(measure=asked, words=["measure.rate=20", "measure.clients=[8]"]) == (
            "measure.rate=20: belongs to measure=confirm; add that, or load a plain run by "
            "workload.arrival=poisson workload.rate=N",
            "measure.clients=[8]: belongs to measure=confirm; add that, or load a plain run by "
            "workload.clients=N",
        )
    exact = problems_of(measure={"purpose": "latency", "rate": 50 / 3})
    assert exact[0].startswith("measure.rate=16.666666666666668: belongs to measure=confirm")
    words = ["measure=confirm", "measure.rate=20", "measure.clients=[8]"]
    validate(raw_config(measure={"purpose": "confirm", "rate": 20.0, "clients": [8]}, words=words))


def test_the_defaults_are_a_plan(config: Callable[..., Config]) -> None:
    plan = config()
    assert (plan.model.name, plan.batch_size, plan.threads, plan.measure.max_launches) == (
        "minilm",
        1,
        None,
        40,
    )


def test_a_plan_is_frozen(config: Callable[..., Config]) -> None:
    plan = config()
    with pytest.raises(ValidationError):
        plan.batch_size = 2  # type: ignore[misc]


def test_the_name_of_a_preset_is_no_part_of_a_plan() -> None:
    assert validate({**raw_config(), "experiments": None}) == validate(raw_config())


def test_several_wrong_values_are_told_together_a_line_each() -> None:
    problems = problems_of(
        batch_size=0,
        threads="two",
        results=3,
        measure={"requests": 10, "quiet_wait_s": -1, "force": "yes"},
        model={"pooling": "max"},
    )
    assert sorted(problem.partition("=")[0] for problem in problems) == [
        "batch_size",
        "measure.force",
        "measure.quiet_wait_s",
        "measure.requests",
        "model.pooling",
        "results",
        "threads",
    ]


def test_what_does_not_fit_together_is_told_beside_what_is_wrong_by_itself() -> None:
    problems = problems_of(batch_size=0, workload="tokens_512", measure={"max_launches": 10})
    assert sorted(problem.partition("=")[0] for problem in problems) == [
        "batch_size",
        "measure.max_launches",
        "workload.tokens",
    ]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0, "batch_size=0: must be at least 1"),
        (-1, "batch_size=-1: must be at least 1"),
        ("abc", "batch_size='abc': not a whole number"),
        ("8", "batch_size='8': not a whole number"),
        (1.5, "batch_size=1.5: not a whole number"),
        (8.0, "batch_size=8.0: not a whole number"),
        (True, "batch_size=True: not a whole number"),
        (5000, "batch_size=5000: must be at most 4096"),
        (10**30, f"batch_size={10**30}: must be at most 4096"),
        (math.inf, "batch_size=inf: not a whole number"),
        ([1, 8], "batch_size=[1, 8]: not a whole number"),
        (None, "batch_size: missing; give batch_size=VALUE"),
    ],
)
def test_a_batch_is_a_whole_number_of_texts(value: object, said: str) -> None:
    assert only_problem_of(batch_size=value) == said


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0, "threads=0: must be at least 1"),
        (-4, "threads=-4: must be at least 1"),
        ("all", "threads='all': not a whole number"),
        (1.5, "threads=1.5: not a whole number"),
        (False, "threads=False: not a whole number"),
        (1025, "threads=1025: must be at most 1024"),
    ],
)
def test_threads_are_a_whole_number_or_left_to_the_runtime(value: object, said: str) -> None:
    assert only_problem_of(threads=value) == said
    assert validate(raw_config(threads=None)).threads is None
    assert validate(raw_config(threads=1)).threads == 1


@pytest.mark.parametrize(
    ("measure", "said"),
    [
        ({"requests": 99}, "measure.requests=99: must be at least 100"),
        ({"warmup_requests": 0}, "measure.warmup_requests=0: must be at least 1"),
        ({"launches": 0}, "measure.launches=0: must be at least 1"),
        ({"min_launches": 2}, "measure.min_launches=2: must be at least 3"),
        ({"launch_timeout_s": 0}, "measure.launch_timeout_s=0: must be more than 0"),
        ({"launch_timeout_s": math.nan}, "measure.launch_timeout_s=nan: not a finite number"),
        ({"quiet_wait_s": "1s"}, "measure.quiet_wait_s='1s': not a number"),
        ({"duration_s": math.nan}, "measure.duration_s=nan: not a finite number"),
        ({"force": 1}, "measure.force=1: neither true nor false"),
        ({"seed": 1.5}, "measure.seed=1.5: not a whole number"),
        ({"replicate": 10**21}, f"measure.replicate={10**21}: must be at most 10000"),
        ({"clients": 2}, "measure.clients=2: not a list; give measure.clients=[2]"),
        ({"clients": []}, "measure.clients=[]: must have at least 1 in it"),
    ],
)
def test_a_wrong_measure_is_told_with_its_limit(measure: dict[str, Any], said: str) -> None:
    assert only_problem_of(measure=measure).startswith(said)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model": {"params": 10**21}}, f"model.params={10**21}: must be at most {2**63 - 1}"),
        ({"workload": {"name": ""}}, "workload.name='': empty; give workload.name=NAME"),
        ({"workload": {"arrival": "poisson"}}, "workload.arrival=poisson: needs a rate; give workload.rate="),
        ({"workload": {"tokens": 128}}, "workload.tokens=128: belongs to workload.lengths=fixed, and"),
        ({"workload": {"lengths": "fixed"}}, "workload.tokens=null: workload.lengths=fixed needs it; give"),
    ],
    ids=str,
)  # fmt: skip
def test_what_cannot_be_stored_named_or_served_is_told_with_its_remedy(
    changes: dict[str, Any], said: str
) -> None:
    assert only_problem_of(**changes).startswith(said)


def test_a_pause_without_end_is_refused() -> None:
    assert only_problem_of(measure={"quiet_wait_s": math.inf}).startswith("measure.quiet_wait_s=inf: ")


@pytest.mark.parametrize("changes", [{"measure": {"seed": -1}}, {"workload": {"seed": -1}}])
def test_a_seed_that_no_generator_takes_is_refused(changes: dict[str, Any]) -> None:
    (group,) = changes
    assert only_problem_of(**changes).startswith(f"{group}.seed=-1: ")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"bach_size": 1}, "unknown key 'bach_size': did you mean batch_size"),
        ({"measure": {"lunches": 3}}, "unknown key 'measure.lunches': did you mean measure.launches"),
        ({"model": {"poling": "cls"}}, "unknown key 'model.poling': did you mean model.pooling"),
        (
            {"model": {"prompts": {"querry": ""}}},
            "unknown key 'model.prompts.querry': did you mean model.prompts.query",
        ),
    ],
)
def test_an_unknown_key_is_told_with_the_nearest(changes: dict[str, Any], said: str) -> None:
    assert only_problem_of(**changes).startswith(said)


def test_a_key_that_is_missing_is_told_with_how_to_give_it() -> None:
    raw = raw_config()
    del raw["batch_size"], raw["model"]["dim"]
    with pytest.raises(BadInputError) as told:
        validate(raw)
    assert told.value.problems == (
        "model.dim: missing; give model.dim=VALUE",
        "batch_size: missing; give batch_size=VALUE",
    )


def merged_custom(facts: dict[str, Any]) -> dict[str, Any]:
    raw = raw_config(model="custom")
    raw["model"] |= facts
    return raw


def test_your_own_model_says_which_facts_it_still_lacks() -> None:
    with pytest.raises(BadInputError) as caught:
        validate(merged_custom({"sources": [{"kind": "hub", "repo": "org/own"}]}))
    assert [problem[: problem.index("VALUE")] for problem in caught.value.problems] == [
        f"model.{key}: missing; give model.{key}=" for key in ("pooling", "normalize", "max_length", "dim")
    ]
    assert caught.value.problems[1].endswith(
        "model.normalize=VALUE (no Normalize module says it): true makes vectors of length 1, with the same "
        "cosines and other dot products; false leaves them as sentence-transformers gives them"
    )
    facts = {"pooling": "cls", "normalize": False, "max_length": 64, "dim": 8, "path": "/somewhere"}
    plan = validate(merged_custom(facts))
    assert (plan.model.path, plan.model.dim) == ("/somewhere", 8)


@pytest.mark.parametrize(("model", "longest"), [("minilm", 256), ("e5", 512)])
def test_texts_longer_than_the_model_reads_are_refused(model: str, longest: int) -> None:
    validate(raw_config(model=model, workload="tokens_256"))
    if longest < 512:
        told = only_problem_of(model=model, workload="tokens_512")
        assert (
            told == f"workload.tokens=512: {model} reads {longest} tokens at most; choose a shorter workload"
        )
    else:
        validate(raw_config(model=model, workload="tokens_512"))


@pytest.mark.parametrize("lengths", ["short", "mixture"])
def test_a_number_of_tokens_belongs_to_fixed_lengths_alone(lengths: str) -> None:
    assert "workload.tokens" in only_problem_of(workload={"lengths": lengths, "tokens": 8})
    assert "workload.tokens" in only_problem_of(workload={"lengths": "fixed", "tokens": None})


def test_a_policy_that_cannot_pass_within_the_cap_is_refused_unless_one_only_looks() -> None:
    told = only_problem_of(measure={"max_launches": 16})
    assert told.startswith("measure.max_launches=16: policy default cannot pass with fewer than 17 launches")
    validate(raw_config(measure={"max_launches": 17}))
    validate(raw_config(measure={"max_launches": 16, "launches": 5}))


@pytest.mark.parametrize(
    ("quantile", "needed"), [(0.5, 6), (0.8, 17), (0.9, 36), (0.95, 74), (0.99, None), (0.999, None)]
)
def test_a_quantile_that_takes_more_launches_than_the_cap_is_refused(
    quantile: float, needed: int | None
) -> None:
    changes: dict[str, Any] = {"policy": {"gates": [LATENCY | {"launch_quantile": quantile}]}}
    if needed is not None and needed <= 40:
        assert validate(raw_config(**changes)).policy.gates[0].launches_to_pass == needed
    else:
        told = only_problem_of(**changes)
        assert told.startswith("measure.max_launches=40: policy default cannot pass")
        assert needed is None or f"fewer than {needed} launches" in told


def test_the_least_launches_are_at_most_the_most() -> None:
    told = only_problem_of(measure={"min_launches": 20, "max_launches": 18})
    assert told == "measure.min_launches=20: more than measure.max_launches=18"


def with_ep_options(name: str, **options: Any) -> dict[str, Any]:
    raw = raw_config(ep=name)
    raw["ep"]["options"] |= options
    return raw


@pytest.mark.parametrize(
    ("ep", "key", "value", "valid"),
    [
        ("coreml", "ModelFormat", "mlprogram", "NeuralNetwork, MLProgram"),
        ("coreml", "MLComputeUnits", "ANE", "ALL, CPUOnly, CPUAndGPU, CPUAndNeuralEngine"),
        ("coreml", "RequireStaticInputShapes", 2, "0, 1"),
        ("coreml", "RequireStaticInputShapes", True, "0, 1"),
        ("coreml", "ModelFormat", ["MLProgram"], "NeuralNetwork, MLProgram"),
        ("cuda", "arena_extend_strategy", "kNext", "kNextPowerOfTwo, kSameAsRequested"),
    ],
)
def test_an_option_of_a_provider_is_one_of_its_choices(ep: str, key: str, value: object, valid: str) -> None:
    with pytest.raises(BadInputError) as told:
        validate(with_ep_options(ep, **{key: value}))
    assert told.value.problems == (f"ep.options.{key}={value}: valid: {valid}",)


def test_every_wrong_option_of_a_provider_has_its_line() -> None:
    with pytest.raises(BadInputError) as told:
        validate(with_ep_options("coreml", ModelFormat="mlprogram", MLComputeUnits="ANE"))
    keys = [problem.partition("=")[0] for problem in told.value.problems]
    assert keys == ["ep.options.ModelFormat", "ep.options.MLComputeUnits"]


@pytest.mark.parametrize(
    ("ep", "said"),
    [
        ("cpu", "ep=cpu: unknown key 'ep.options.device_typ': this execution provider takes no options"),
        ("openvino", "ep=openvino: unknown key 'ep.options.device_typ': did you mean ep.options.device_type"),
    ],
)
def test_an_option_that_a_provider_does_not_have_is_refused_by_name(ep: str, said: str) -> None:
    with pytest.raises(BadInputError) as told:
        validate(with_ep_options(ep, device_typ="CPU"))
    (problem,) = told.value.problems
    assert problem.startswith(said)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"ep": {"options": None}}, "ep.options=None: takes keys with their values; give ep.options.KEY="),
        ({"session": 5}, "session=5: takes keys with their values; give session.KEY=VALUE"),
        ({"session": {"spinning": 1}}, "session.spinning=1: neither true nor false"),
        ({"session": {"graph_level": "most"}}, "session.graph_level='most': valid: "),
        ({"session": {"arenas": False}}, "unknown key 'session.arenas': did you mean session.arena"),
        (
            {"session": {"inter_op_threads": 2}},
            "session.inter_op_threads=2: belongs to session.execution_mode=parallel",
        ),
        (
            {"session": {"static_shapes": 128}},
            "session.static_shapes=128: takes batch_size and sequence_length; give session.static_shapes.b",
        ),
        (
            {"session": {"static_shapes": {"batch_size": 8}}, "batch_size": 32},
            "batch_size=32: session.static_shapes.batch_size=8 takes at most that",
        ),
        (
            {"session": {"static_shapes": {"sequence_length": 257}}},
            "session.static_shapes.sequence_length=257: minilm reads 256 tokens at most",
        ),
        (
            {"session": {"static_shapes": {"sequence_length": 64}}, "workload": "tokens_128"},
            "workload.tokens=128: session.static_shapes.sequence_length=64 takes at most that",
        ),
    ],
)
def test_a_session_option_that_cannot_be_is_told_in_one_line(changes: dict[str, Any], said: str) -> None:
    assert only_problem_of(runtime="onnxruntime", **changes).startswith(said)


@pytest.mark.parametrize("value", [True, 1.5, [1]])
def test_an_option_of_a_wrong_kind_has_one_line(value: object) -> None:
    with pytest.raises(BadInputError) as told:
        validate(with_ep_options("coreml", EnableOnSubgraphs=value))
    assert len(told.value.problems) == 1
    assert told.value.problems[0].startswith(f"ep.options.EnableOnSubgraphs={value}: ")


@pytest.mark.parametrize("value", ["1", 1, None])
def test_a_flag_of_a_provider_is_text_a_number_or_unset(value: object) -> None:
    plan = validate(with_ep_options("coreml", EnableOnSubgraphs=value))
    assert plan.ep.options["EnableOnSubgraphs"] == value


def test_a_script_belongs_to_the_fake_runtime_alone() -> None:
    assert "a script belongs to runtime=fake" in only_problem_of(runtime={"name": "onnxruntime"})
    assert "a script belongs to runtime=fake" in only_problem_of(runtime={"script": None})


@pytest.mark.parametrize(
    ("script", "key"),
    [
        ({"launches": ["ok", "explode"]}, "runtime.script.launches.1='explode'"),
        ({"launches": []}, "runtime.script.launches=[]"),
        ({"tokenize_ms": -1}, "runtime.script.tokenize_ms=-1"),
        ({"infer_ms": []}, "runtime.script.infer_ms"),
        ({"infer_ms": [[2.0], []]}, "runtime.script.infer_ms"),
        ({"infer_ms": [2, -5]}, "runtime.script.infer_ms"),
        ({"infer_ms": ["fast"]}, "runtime.script.infer_ms"),
        ({"infer_ms": [0.0], "tokenize_ms": 0.0}, "runtime.script.infer_ms=[0.0]: with tokenize_ms=0 a"),
        ({"infer_ms": [[2.0], [2.0, 0]], "tokenize_ms": 0.0}, "runtime.script.infer_ms=[[2.0], [2.0, 0]]"),
        ({"infer_ms": [1e-7], "tokenize_ms": 0.0}, "runtime.script.infer_ms=[1e-07]"),
    ],
)
def test_a_script_that_cannot_be_played_is_refused_in_one_line(script: dict[str, Any], key: str) -> None:
    assert only_problem_of(runtime={"script": script}).startswith(key)


def test_a_request_that_takes_time_in_one_stage_alone_can_be_played() -> None:
    for script in ({"infer_ms": [0.0], "tokenize_ms": 0.5}, {"infer_ms": [0.5], "tokenize_ms": 0.0}):
        played = validate(raw_config(runtime={"script": script})).runtime.script
        assert played is not None
        assert (played.infer_ms, played.tokenize_ms) == tuple(script.values())


# --- twins, cut vectors, precisions


@pytest.mark.parametrize("weights", ["trained", "random", "auto"])
@pytest.mark.parametrize("model", ["minilm", "e5", "bge", "qwen3"])
def test_every_shipped_model_can_be_measured_with_any_weights(model: str, weights: str) -> None:
    plan = validate(
        raw_config(model=model) | {"model": raw_config(model=model)["model"] | {"weights": weights}}
    )
    assert (plan.model.name, plan.model.weights) == (model, weights)


def test_a_twin_of_your_own_model_asks_for_all_that_it_is_built_from() -> None:
    facts = {"pooling": "mean", "normalize": True, "max_length": 128, "dim": 64, "weights": "random"}
    facts["prompts"] = dict.fromkeys(("default", "query", "document"), "")
    with pytest.raises(BadInputError) as caught:
        validate(merged_custom(facts))
    wanted = ["layers", "hidden", "heads", "vocab_size", "architecture"]
    assert list(caught.value.problems) == [
        f"model.{key}: missing; model.weights=random is built from it, give model.{key}=VALUE"
        for key in wanted
    ]
    given = {"layers": 2, "hidden": 64, "heads": 2, "vocab_size": 30522}
    shape = {"family": "bert", "ffn": 128, "positions": 128}
    assert validate(merged_custom(facts | given | {"architecture": shape})).model.hidden == 64


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"hidden": 768}, "model.dim=384: vectors of random weights have model.hidden=768"),
        (
            {"vocab_size": 1000},
            "model.vocab_size=1000: a twin of family bert has BERT's own vocabulary; give "
            "model.vocab_size=30522",
        ),
        ({"heads": 7}, "model.heads=7: model.hidden=384 is no multiple of it; give a number that divides it"),
        ({"max_length": 513}, "model.max_length=513: more than model.architecture.positions=512"),
        ({"architecture": {"kv_heads": 4}}, "model.architecture.kv_heads=4: belongs to family qwen3"),
        ({"architecture": {"family": "qwen3"}}, "model.architecture.kv_heads=None: belongs to family qwen3"),
    ],
)
def test_a_twin_that_cannot_be_built_is_refused_before_anything_starts(
    changes: dict[str, Any], said: str
) -> None:
    assert only_problem_of(model={"weights": "random", **changes}).startswith(said)


@pytest.mark.parametrize(
    ("changes", "shape", "said"),
    [
        ({}, {"kv_heads": 3}, "model.architecture.kv_heads=3: model.heads=16 is no multiple of it; give"),
        ({}, {"head_dim": 127}, "model.architecture.head_dim=127: rotary angles take its numbers in pairs"),
        ({"vocab_size": 256}, {}, "model.vocab_size=256: a twin of family qwen3 has a byte-level vocabulary; "
         "give model.vocab_size=257 or more"),
    ],
)  # fmt: skip
def test_a_twin_of_qwen3_that_cannot_be_built_is_refused_before_anything_starts(
    changes: dict[str, Any], shape: dict[str, Any], said: str
) -> None:
    qwen3 = raw_config(model="qwen3")
    qwen3["model"] |= {"weights": "random", **changes}
    qwen3["model"]["architecture"] |= shape
    with pytest.raises(BadInputError, match=f"^{re.escape(said)}"):
        validate(qwen3)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"id": "org/other"},
            "model.id=org/other: model=minilm is sentence-transformers/all-MiniLM-L6-v2; give",
        ),
        (
            {"name": "minilm", "id": None, "words": ["model.name=minilm"]},
            "model.name=minilm: stands for sentence-transformers/all-MiniLM-L6-v2; give a name that no",
        ),
        (
            {"revision": "b" * 40},
            f"model.revision={'b' * 40}: the package that brings minilm has 8b3219a92973c3",
        ),
    ],
)
def test_no_other_repository_or_commit_is_told_of_a_model_that_it_is_not(
    changes: dict[str, Any], said: str
) -> None:
    words = changes.pop("words", [])
    assert only_problem_of(model=changes, words=words).startswith(said)


@pytest.mark.parametrize(
    ("model", "dim", "said"),
    [
        ("minilm", 128, "dim=128: minilm's vectors were not trained to be cut; leave dim out"),
        ("qwen3", 31, "dim=31: qwen3's vectors can be cut to 32 to 1024 dimensions"),
        ("qwen3", 1025, "dim=1025: qwen3's vectors can be cut to 32 to 1024 dimensions"),
        ("minilm", 0, "dim=0: must be at least 1"),
        ("qwen3", -3, "dim=-3: must be at least 1"),
    ],
)
def test_vectors_are_cut_only_to_what_the_model_was_trained_for(model: str, dim: int, said: str) -> None:
    assert only_problem_of(model=model, dim=dim) == said


@pytest.mark.parametrize(
    ("dim", "served", "label"), [(None, 1024, ""), (1024, 1024, ""), (32, 32, " dim=32")]
)
def test_cut_vectors_are_a_candidate_of_their_own(dim: int | None, served: int, label: str) -> None:
    plan = validate(raw_config(model="qwen3", dim=dim))
    candidate = Candidate.from_config(plan)
    assert (plan.model.vector_dim, candidate.dim) == (served, served)
    assert candidate.label == f"qwen3 fp32 fake cpu{label}"


@pytest.mark.parametrize(
    ("precision", "changes", "said"),
    [
        (
            "int8",
            {"bits": 8},
            "precision.bits=8: precision=int8 has none; give precision=int8-weights or int4",
        ),
        (
            "int4-weights",
            {"bits": None},
            "precision.bits=null: precision=int4-weights needs one; leave it out",
        ),
        ("int4-weights", {"block_size": 48}, "precision.block_size=48: valid:"),
        (
            "fp16",
            {"reduce_range": True},
            "precision.reduce_range=True: precision=fp16 has none; give precision=int8, or leave it out",
        ),
        ("int8-published", {"file": "../a.onnx"}, "precision.file=../a.onnx: lies outside the model"),
        ("int8-published", {"file": "/a.onnx"}, "precision.file=/a.onnx: lies outside the model"),
    ],
)
def test_a_setting_belongs_to_the_method_that_knows_it(
    precision: str, changes: dict[str, Any], said: str
) -> None:
    raw = raw_config(precision=precision)
    with pytest.raises(BadInputError) as caught:
        validate(raw | {"precision": raw["precision"] | changes})
    assert caught.value.problems[0].startswith(said)


def test_a_precision_of_another_kind_tells_which_one_has_a_setting() -> None:
    (raw,) = compose(["precision=int8", "precision.file=a.onnx", "precision.bits=4"])
    with pytest.raises(BadInputError) as caught:
        validate(raw)
    bits, file = caught.value.problems
    assert bits.startswith("precision.bits=4: precision=int8 has none; give precision=int8-weights or int4-")
    assert file == (
        "precision.file=a.onnx: precision=int8 has none; give precision=int8-published or fp16-published, or "
        "leave it out"
    )
    methods = {load_precision(name).method for name in ("int8-published", "fp16-published")}
    assert methods == {"published"}


def test_a_precision_with_other_settings_has_a_name_of_its_own() -> None:
    raw = raw_config(precision="int4-weights")
    plan = validate(raw | {"precision": raw["precision"] | {"block_size": 64}})
    assert plan.precision.name.startswith("int4-weights+")
    assert validate(raw).precision.name == "int4-weights"


@pytest.mark.parametrize("name", ["default", "documents"])
def test_a_shipped_policy_is_read_by_its_name(name: str) -> None:
    policy = load_policy(name)
    assert policy.name == name
    assert {"must", "should", "nice"} == {gate.tier for gate in policy.gates}


def test_must_gates_ask_more_of_launches_than_the_others() -> None:
    for gate in load_policy().gates:
        if gate.metric == "latency_p95_ms":
            assert (gate.launch_quantile, gate.launches_to_pass) == (
                (0.8, 17) if gate.tier == "must" else (0.5, 6)
            )


def test_throughput_is_read_at_32_texts_and_latency_at_one() -> None:
    for policy in (load_policy("default"), load_policy("documents")):
        for gate in policy.gates:
            size = 32 if gate.metric == "throughput_texts_per_s" else 1
            assert (gate.at.workload, gate.at.batch_size) == ("default", size)


SEPARATION: dict[str, Any] = {
    "tier": "must",
    "metric": "separation",
    "op": ">",
    "bound": 0.4,
    "label": "over",
}


def write_policy(path: Path, **changes: Any) -> Path:
    policy = yaml.safe_load((conf_dir() / "policy" / "default.yaml").read_text(encoding="utf-8"))
    path.write_text(yaml.safe_dump(policy | changes), encoding="utf-8")
    return path


def policy_problems(file: Path) -> tuple[str, ...]:
    with pytest.raises(BadInputError) as told:
        load_policy(file=file)
    assert all(str(file) in problem and "\n" not in problem for problem in told.value.problems)
    return told.value.problems


def test_your_own_policy_is_read_from_a_file(tmp_path: Path) -> None:
    file = write_policy(tmp_path / "mine, été.yaml", name="mine", gates=[LATENCY | {"bound": 12.5}])
    policy = load_policy(file=file)
    assert (policy.name, policy.gates[0].bound, policy.gates[0].at.batch_size) == ("mine", 12.5, 1)


@pytest.mark.parametrize(
    ("gates", "said"),
    [
        (
            [LATENCY | {"metric": "latency_p90_ms"}],
            "gates.0.metric='latency_p90_ms': did you mean latency_p95_ms",
        ),
        ([LATENCY | {"tier": "shall"}], "gates.0.tier='shall': valid: 'must', 'should' or 'nice'"),
        ([LATENCY | {"op": "!="}], "gates.0.op='!=': valid: '<'"),
        ([LATENCY | {"label": " "}], "gates.0.label=' ': empty; give gates.0.label=NAME"),
        *(
            (
                [LATENCY | {"label": label}],
                f"gates.0.label={label!r}: of more than one line; give gates.0.label=",
            )
            for label in map("P{}95".format, "\n\r\x0b\x0c\x1c\x1e\x85\u2028\u2029")
        ),
        ([LATENCY | {"bound": "fast"}], "gates.0.bound='fast': not a number"),
        ([LATENCY | {"bound": math.nan}], "gates.0.bound=nan: "),
        ([LATENCY | {"at": {"batch_size": 0}}], "gates.0.at.batch_size=0: must be at least 1"),
        ([LATENCY | {"launch_quantile": 1.0}], "gates.0.launch_quantile=1.0: must be less than 1"),
        ([LATENCY | {"launch_quantile": None}], "gates.0: launch_quantile belongs to "),
        ([LATENCY | {"metric": "separation"}], "gates.0: launch_quantile belongs to "),
        (
            [LATENCY, LATENCY | {"tier": "should", "bond": 3}],
            "gates.1: unknown key 'bond': did you mean bound? (should latency_p95_ms)",
        ),
        (
            [LATENCY | {"at": {"batchsize": 8}}],
            "gates.0.at: unknown key 'batchsize': did you mean batch_size? (must latency_p95_ms)",
        ),
        (
            [LATENCY | {"launch_quantile": 0.9999}],
            "gates.0: launch_quantile 0.9999: not even 10,000 launches",
        ),
        ([LATENCY | {"bound": math.inf}], "gates.0.bound=inf: not a finite number (must latency_p95_ms)"),
        (
            [LATENCY | {"bound": 0}],
            "gates.0: bound 0: latency_p95_ms lies between 0 and inf, so that nothing",
        ),
        (
            [SEPARATION | {"metric": "similar_mean", "op": ">=", "bound": -1}],
            "gates.0: bound -1: similar_mean lies between -1 and 1, so that all is >= it; correct the bound",
        ),
        (
            [SEPARATION | {"metric": "separation_auc", "op": ">=", "bound": 1.2}],
            "gates.0: bound 1.2: separation_auc lies between 0 and 1, so that nothing is >= it; correct",
        ),
        (
            [SEPARATION | {"metric": "separation_auc", "op": ">=", "bound": 1}],
            "gates.0: bound 1: separation_auc lies between 0 and 1, and no texts make it certain to be 1",
        ),
        (
            [SEPARATION | {"metric": "sts_spearman", "op": ">=", "bound": 0.75}],
            "gates.0: bound 0.75: sts_spearman lies between -100 and 100, and this reads as one "
            "between -1 and 1; give 75",
        ),
        ([{k: v for k, v in LATENCY.items() if k != "bound"}], "gates.0.bound: missing"),
        ([], "gates=[]: "),
        ([LATENCY | {"tier": "should"}], "no must gate"),
        (
            [LATENCY, LATENCY | {"op": ">", "bound": 40, "label": "slow"}],  # they contradict each other
            "gates.1: less latency_p95_ms is better: > 40 does not ask for that; give <, as a launch at",
        ),
        (
            [LATENCY | {"op": "<="}],
            "gates.0: less latency_p95_ms is better: <= 30 does not ask for that; give <, as a launch at",
        ),
        (
            [SEPARATION | {"op": "<=", "bound": 0.95}],
            "gates.0: more separation is better: <= 0.95 does not ask for that; give > or >=",
        ),
        (
            [SEPARATION | {"op": "=="}],
            "gates.0: more separation is better: == 0.4 does not ask for that; give > or >=",
        ),
        (
            [SEPARATION | {"metric": "handles_gained", "op": "==", "bound": 0}],
            "gates.0: less handles_gained is better: == 0 does not ask for that; give < or <=",
        ),
        *(
            (
                [SEPARATION | {"metric": "finite", "op": op, "bound": bound}],
                f"gates.0: more finite is better: {op} {bound:g} does not ask for that; give > or >= or == 1",
            )
            for op, bound in (("==", 0), ("==", 0.5), ("<=", 0))
        ),
        (
            [SEPARATION | {"metric": "launches_failed", "op": "==", "bound": 3}],
            "gates.0: less launches_failed is better: == 3 does not ask for that; give < or <= or == 0",
        ),
    ],
)
def test_a_wrong_gate_is_told_with_its_file(gates: list[dict[str, Any]], said: str, tmp_path: Path) -> None:
    file = write_policy(tmp_path / "policy.yaml", gates=gates)
    (problem,) = policy_problems(file)
    assert problem.startswith(f"{file}: {said}")


def test_a_key_that_stands_twice_in_a_file_is_told_and_not_the_last_one_taken(tmp_path: Path) -> None:
    file = write_policy(tmp_path / "policy.yaml")
    text = file.read_text(encoding="utf-8")
    first = text.splitlines().index(next(line for line in text.splitlines() if line.startswith("name:")))
    gate = "- {tier: must, metric: finite, op: '==', bound: 1, bound: 0, label: values finite}\n"
    file.write_text(text.replace("gates:\n", f"gates:\n{gate}") + "name: strict\n", encoding="utf-8")
    bound, name = policy_problems(file)
    line = text[: text.index("gates:\n")].count("\n") + 2
    assert bound == f"{file}: bound stands more than once, in lines {line}, {line}; keep one of them"
    assert name.startswith(f"{file}: name stands more than once, in lines {first + 2}, ")


@pytest.mark.parametrize(
    ("changes", "tells"),
    [
        ({"bound": 40}, False),
        ({"bound": 40, "tier": "nice"}, False),
        ({"bound": 40, "launch_quantile": 0.9}, True),
        ({"bound": 30, "launch_quantile": 0.9}, True),
        ({}, False),
        ({"launch_quantile": 0.5}, False),
        ({"bound": 29}, True),
        ({"bound": 40, "at": {"batch_size": 8}}, True),
        ({"bound": 40, "tier": "must"}, False),
        ({"bound": 29, "tier": "must", "launch_quantile": 0.5}, True),
    ],
    ids=str,
)
def test_a_target_that_whatever_passes_the_must_gate_passes_is_refused(
    changes: dict[str, Any], tells: bool, tmp_path: Path
) -> None:
    target = LATENCY | {"tier": "should", "label": "target"} | changes
    file = write_policy(tmp_path / "policy.yaml", gates=[target, LATENCY])
    if tells:
        assert len(load_policy(file=file).gates) == 2
    else:
        (problem,) = policy_problems(file)
        assert problem == (
            f"{file}: {target['tier']} gate 'target' (< {target['bound']}) tells nothing: what passes the "
            "must gate 'P95' (< 30) passes it; tighten it, or leave it out"
        )


@pytest.mark.parametrize(
    ("must", "should", "tells"),
    [(">", ">=", False), (">", ">", False), (">=", ">", True), (">=", ">=", False)],
)
def test_a_gate_at_the_must_gates_bound_tells_something_where_it_is_the_stricter_one(
    must: str, should: str, tells: bool, tmp_path: Path
) -> None:
    gates = [SEPARATION | {"op": must}, SEPARATION | {"op": should, "tier": "should"}]
    file = write_policy(tmp_path / "policy.yaml", gates=gates)
    if tells:
        assert len(load_policy(file=file).gates) == 2
    else:
        (problem,) = policy_problems(file)
        assert "tells nothing" in problem


@pytest.mark.parametrize(("bound", "told"), [(25, "should"), (20, "should"), (19, None)])
def test_a_nice_gate_that_whatever_passes_the_should_gate_passes_is_refused(
    bound: float, told: str | None, tmp_path: Path
) -> None:
    should = LATENCY | {"tier": "should", "bound": 20, "label": "target"}
    gates = [LATENCY, should, should | {"tier": "nice", "bound": bound, "label": "wish"}]
    file = write_policy(tmp_path / "policy.yaml", gates=gates)
    if told is None:
        assert len(load_policy(file=file).gates) == 3
    else:
        (problem,) = policy_problems(file)
        assert f"nice gate 'wish' (< {bound}) tells nothing: what passes the {told} gate" in problem


@pytest.mark.parametrize(
    ("written", "read"),
    [("030", "24"), ("3_0", "30"), ("0x1E", "30"), ("1:30", "90"), ("1:30.5", "90.5"), ("+0_30.5", "30.5")],
)
def test_a_number_that_yaml_takes_for_another_one_is_refused(written: str, read: str, tmp_path: Path) -> None:
    file = write_policy(tmp_path / "policy.yaml")
    text = file.read_text(encoding="utf-8")
    line = next(n for n, each in enumerate(text.splitlines(), start=1) if "bound:" in each)
    file.write_text(re.sub(r"bound: *[\w.]+", f"bound: {written}", text, count=1), encoding="utf-8")
    (problem,) = policy_problems(file)
    assert problem == f"{file}: line {line}: YAML reads {written} as {read}; give plain decimals"


@pytest.mark.parametrize("written", ["1e2", "+1E+2", "5e-1"])
def test_a_number_that_yaml_takes_for_a_text_is_refused_unless_it_is_quoted(
    written: str, tmp_path: Path
) -> None:
    file = write_policy(tmp_path / "policy.yaml")
    text = file.read_text(encoding="utf-8")
    file.write_text(re.sub(r"bound: *[\w.]+", f"bound: {written}", text, count=1), encoding="utf-8")
    (problem,) = policy_problems(file)
    assert f": YAML reads {written} as text; give plain decimals, or quotes" in problem
    file.write_text(f"{text}name: '{written}'\n", encoding="utf-8")
    assert not any("YAML reads" in line for line in policy_problems(file))


def test_a_whole_number_beyond_every_float_is_refused_in_a_line(tmp_path: Path) -> None:
    file = write_policy(tmp_path / "policy.yaml")
    text = file.read_text(encoding="utf-8")
    file.write_text(re.sub(r"bound: *[\w.]+", f"bound: 1{'0' * 400}", text, count=1), encoding="utf-8")
    (problem,) = policy_problems(file)
    assert problem.endswith("a number of 401 digits is beyond 1.8e308, the largest; give a smaller one")


def test_a_date_that_is_none_is_told_as_what_cannot_be_read(tmp_path: Path) -> None:
    file = write_policy(tmp_path / "policy.yaml")
    file.write_text(file.read_text(encoding="utf-8") + "when: 2026-13-45\n", encoding="utf-8")
    (problem,) = policy_problems(file)
    assert problem.startswith(f"{file} cannot be read: month must be")


WEIGHED: dict[str, Any] = {"metric": "latency_p95_ms", "weight": 1, "best": 0, "worst": 30}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"objective": "lexicographic", "order": []}, "objective lexicographic: no order"),
        ({"objective": "weighted_matrix", "matrix": []}, "objective weighted_matrix: no matrix"),
        ({"matrix": [WEIGHED | {"weight": -1}]}, "matrix.0.weight=-1: must be at least 0"),
        ({"matrix": [WEIGHED, WEIGHED | {"weight": 2}]}, "matrix: latency_p95_ms is weighed twice alike"),
        ({"order": [{"metric": "separation_auc"}] * 2}, "order: separation_auc stands there twice alike"),
        ({"paths": [""]}, "paths.0=''"),
        (
            {"gates": [LATENCY, LATENCY | {"at": {"workload": "mixture"}}]},
            "'P95' labels more than one must gate; give each its own label",
        ),
        ({"matrix": [WEIGHED | {"weight": 0}] * 2}, "matrix: every weight is 0"),
        ({"matrix": [{"metric": "latency_p95_ms", "weight": 1, "best": 0}]}, "matrix.0.worst: missing"),
        ({"matrix": [WEIGHED | {"best": 40}]}, "matrix.0: best 40, worst 30: less latency_p95_ms is better"),
        (
            {"matrix": [WEIGHED | {"metric": "separation_auc", "best": 0.9, "worst": 1}]},
            "matrix.0: best 0.9, worst 1: more separation_auc is better",
        ),
        ({"matrix": [WEIGHED | {"worst": 0}]}, "matrix.0: best 0, worst 0: "),
        (
            {"matrix": [WEIGHED | {"metric": "sts_spearman", "best": 0.9, "worst": 0.7}]},
            "matrix.0: best 0.9: sts_spearman lies between -100 and 100, and this reads as one between -1 "
            "and 1; give 90",
        ),
        (
            {"matrix": [WEIGHED | {"metric": "sts_spearman", "best": 90, "worst": 0.7}]},
            "matrix.0: worst 0.7: sts_spearman lies between -100 and 100, and this reads as one between -1",
        ),
        (
            {"matrix": [WEIGHED | {"metric": "separation_auc", "best": 100, "worst": 0.95}]},
            "matrix.0: best 100: separation_auc lies between 0 and 1; correct it",
        ),
        ({"matrix": [WEIGHED | {"metric": "speed"}]}, "matrix.0.metric='speed': valid: 'latency_p50_ms'"),
        ({"order": [{"metric": "speed"}]}, "order.0.metric='speed': valid: 'latency_p50_ms'"),
        ({"order": [{"metric": "separation_auc", "step": 0}]}, "order.0.step=0: must be more than 0"),
        (
            {"order": [{"metric": "separation_auc", "step": 1e-308}]},
            "order.0.step: 1e-308: give 0, or a number",
        ),
        ({"matrix": [WEIGHED | {"worst": 1e308}]}, "matrix.0.worst: 1e+308: give 0, or a number"),
        (
            {"gates": [LATENCY | {"bound": 1e308}]},
            "gates.0.bound: 1e+308: give 0, or a number from 1e-100 to",
        ),
        ({"objective": "cheapest"}, "objective='cheapest': valid: 'path_order'"),
    ],
    ids=str,
)
def test_an_objective_that_cannot_be_computed_is_one_line(
    changes: dict[str, Any], said: str, tmp_path: Path
) -> None:
    file = write_policy(tmp_path / "policy.yaml", **changes)
    (problem,) = policy_problems(file)
    assert problem.startswith(f"{file}: {said}")


# --- a policy of one's own, in python -m harness


def test_a_run_is_judged_by_the_policy_of_a_file_wherever_the_command_is_typed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_policy(tmp_path / "mine, été.yaml", name="mine", gates=[LATENCY | {"bound": 12.5}])
    monkeypatch.chdir(tmp_path)
    typed = ["model=minilm", "policy.file=mine, été.yaml"]
    plan = validate(raw_config(policy={"file": "mine, été.yaml"}, words=typed))
    assert plan.policy == load_policy(file=file)
    assert (plan.policy.name, plan.policy.gates[0].bound) == ("mine", 12.5)
    assert plan.words == ["model=minilm", f"policy.file={file}"]
    assert validate(raw_config(policy={"file": None})).policy == load_policy()


def test_a_file_that_bears_a_shipped_policys_name_does_not_keep_it(tmp_path: Path) -> None:
    changed = write_policy(tmp_path / "a.yaml", name="strict", gates=[LATENCY | {"bound": 1000}])
    same = write_policy(tmp_path / "b.yaml")
    for file, name in ((changed, "strict+"), (same, "default")):
        assert load_policy(file=file).name.startswith(name)
        assert validate(raw_config(policy={"file": str(file)})).policy == load_policy(file=file)
    assert load_policy(file=same).name == "default"


def test_what_is_wrong_in_a_policys_file_is_told_with_every_other_problem(tmp_path: Path) -> None:
    file = write_policy(tmp_path / "mine.yaml", gates=[LATENCY | {"tier": "shall"}])
    problems = problems_of(policy={"file": str(file)}, batch_size=0)
    assert [p.removeprefix(f"{file}: ").split("=")[0] for p in problems] == ["gates.0.tier", "batch_size"]
    (missing,) = problems_of(policy={"file": "missing.yaml"})
    assert missing == "missing.yaml: No such file or directory; give a readable file"


@pytest.mark.parametrize("other", ["policy=documents", "policy.objective=lowest_latency", "+policy.order=[]"])
def test_a_policys_file_is_the_whole_policy(other: str, tmp_path: Path) -> None:
    file = write_policy(tmp_path / "mine.yaml", name="mine")
    words = [other, f"policy.file={file}"]
    (problem,) = problems_of(policy={"file": str(file)}, words=words)
    assert problem == f"{other}: policy.file={file} is a whole policy; leave one of them out"


def test_all_that_is_wrong_in_a_policy_is_told_together(tmp_path: Path) -> None:
    gates = [LATENCY | {"tier": "shall"}, LATENCY | {"metric": "speed"}]
    file = write_policy(tmp_path / "policy.yaml", gates=gates, objective="cheapest")
    assert len(policy_problems(file)) == 3


@pytest.mark.parametrize("content", ["gates: [", "a: b: c", "\ttabs: no"])
def test_a_file_that_is_no_yaml_is_named(content: str, tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(content, encoding="utf-8")
    (problem,) = policy_problems(file)
    assert problem.startswith(f"{file} cannot be read: ")


@pytest.mark.parametrize("content", ["", "- a list", "just words"])
def test_a_file_without_keys_is_named(content: str, tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(content, encoding="utf-8")
    (problem,) = policy_problems(file)
    assert problem == f"{file} holds no mapping of keys to values"


def test_a_file_is_read_as_it_is_now_and_what_was_read_is_the_readers_own(tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    file.write_text("gates: [1]", encoding="utf-8")
    yaml_of(file)["gates"].append(2)
    assert yaml_of(file) == {"gates": [1]}
    file.write_text("gates: [3]", encoding="utf-8")
    assert yaml_of(file) == {"gates": [3]}


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00policy")
    for file, told in (
        (tmp_path / "missing.yaml", ": No such file or directory; give a readable file"),
        (tmp_path, ": Is a directory; give a readable file"),
        (binary, " cannot be read: "),
    ):
        (problem,) = policy_problems(file)
        assert problem.startswith(f"{file}{told}")


@pytest.mark.parametrize(
    ("load", "name", "said"),
    [
        (load_policy, "defult", "unknown policy 'defult': did you mean default?"),
        (load_model, "minlm", "unknown model 'minlm': did you mean minilm?"),
        (load_ep, "corml", "unknown ep 'corml': did you mean coreml?"),
        (load_model, "../config", "unknown model '../config': "),
    ],
)
def test_an_unknown_name_is_told_with_the_nearest(
    load: Callable[[str], object], name: str, said: str
) -> None:
    with pytest.raises(BadInputError) as told:
        load(name)
    assert str(told.value).startswith(said)


def test_the_words_of_a_small_command_stand_over_their_defaults() -> None:
    defaults = {"results": "results", "format": "table"}
    assert parse_words([], defaults=defaults) == defaults
    assert parse_words(["results=a=b, c"], defaults=defaults) == defaults | {"results": "a=b, c"}


def test_all_wrong_words_of_a_small_command_are_told_together() -> None:
    with pytest.raises(BadInputError) as told:
        parse_words(["table", "fromat=json", "results=x"], defaults={"results": "", "format": ""})
    assert told.value.problems == (
        "'table' is not key=value: valid keys: format, results",
        "unknown key 'fromat': did you mean format?",
    )


def test_what_is_changed_under_a_name_gets_a_name_of_its_own() -> None:
    """No gate meant for the shipped workload reads another one, and no policy is changed unseen."""
    plan = validate(raw_config(workload={"lengths": "fixed", "tokens": 8}))
    assert plan.workload.name.startswith("default+")
    assert plan.policy.name == "default"
    assert validate(raw_config(policy={"min_ep_node_share": 0.0})).policy.name.startswith("default+")
    names = {validate(raw_config(model={"max_length": n})).model.name for n in (64, 128, 256)}
    assert len(names) == 3
    assert "minilm" in names


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"ep": {"provider": "CoreMLExecutionProvider"}},
            "ep.provider=CoreMLExecutionProvider: ep=cpu stands for",
        ),
        ({"ep": {"name": "cqu"}}, "unknown ep 'cqu': did you mean cpu"),
        ({"precision": {"name": "zork"}}, "unknown precision 'zork': valid: fp16"),
        (
            {
                "precision": {
                    "name": "int4-weights",
                    "method": "fp16",
                    "bits": 4,
                    "block_size": 32,
                    "parity_cosine_min": 0.9,
                }
            },
            "precision.method=fp16: precision=int4-weights stands for weight_only; choose another precision",
        ),
        (
            {"precision": {"method": "dynamic_int8"}},
            "precision.method=dynamic_int8: precision=fp32 stands",
        ),
        (
            {"precision": {"parity_cosine_min": 0.5}},
            "precision.parity_cosine_min=0.5: precision=fp32 stands",
        ),
    ],
)
def test_what_a_name_stands_for_cannot_be_changed_under_it(changes: dict[str, Any], said: str) -> None:
    assert only_problem_of(**changes).startswith(said)


def test_a_search_is_asked_for_by_confirming() -> None:
    told = only_problem_of(measure={"purpose": "search"}, words=["measure.purpose=search"])
    assert told == "measure.purpose=search: what confirming does by itself; give measure=confirm"


def test_a_soak_run_is_one_launch_and_no_second_one_covers_the_first() -> None:
    told = only_problem_of(measure={"purpose": "soak", "launches": 2})
    assert told.startswith("measure.launches=2: a soak run is one launch; measure.replicate=N")
    assert validate(raw_config(measure={"purpose": "soak", "launches": 1})).measure.launches == 1


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"paths": ["minilm", "e5", "minilm"]}, "paths name minilm more than once"),
        (
            {"fallback": {"model": "qwen3", "ep": "cqu", "sentence": "x"}},
            "policy.fallback.ep: unknown ep 'cqu': did you mean cpu",
        ),
        (
            {
                "objective": "weighted_matrix",
                "matrix": [{"metric": "latency_p95_ms", "weight": 1e308, "best": 0.0, "worst": 30.0}],
            },
            "1e+308",
        ),
    ],
)
def test_a_policy_whose_preference_means_nothing_is_refused(changes: dict[str, Any], said: str) -> None:
    assert any(said in problem for problem in problems_of(policy=changes))
