"""The schema of a run's configuration: every key with its type, its bounds and its meaning."""

from __future__ import annotations

import itertools
import math
import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from harness.compose import options_of
from harness.errors import unknown_name
from harness.paths import typed_path
from harness.stats import count_verdict, launches_to_pass
from harness.units import NS_PER_MS

if TYPE_CHECKING:
    from collections.abc import Sequence

_T = TypeVar("_T")

# What of a folder's name cannot stand in a word; a name that is longer is a hash as a rule.
_ODD = re.compile(r"[^\w.-]+")
_LONGEST_NAME = 32
Tier = Literal["must", "should", "nice"]
Op = Literal["<", "<=", ">", ">=", "=="]
Metric = Literal[
    "latency_p95_ms",
    "throughput_texts_per_s",
    "l2_norm_max_error",
    "finite",
    "launches_failed",
    "separation",
    "similar_mean",
    "dissimilar_mean",
    "separation_auc",
    "neighbour_overlap",
    "index_overlap",
    "parity_cosine_min",
    "batch_cosine_min",
    "sts_spearman",
    "ndcg_at_10",
    "texts_overlap",
    "peak_rss_bytes",
    "rss_slope_bytes_per_request",
    "handles_gained",
    "latency_drift",
    "latency_overhead",
]
# What an objective can compare candidates by.
Comparable = Literal[
    "latency_p50_ms",
    "latency_p95_ms",
    "throughput_texts_per_s",
    "cold_start_s",
    "peak_rss_bytes",
    "artifact_bytes",
    "separation",
    "separation_auc",
    "neighbour_overlap",
    "sts_spearman",
    "ndcg_at_10",
]
# Of every other figure that is gated or compared, more is better.
LESS_IS_BETTER: tuple[Metric | Comparable, ...] = (
    "latency_p50_ms",
    "latency_p95_ms",
    "latency_drift",
    "latency_overhead",
    "cold_start_s",
    "peak_rss_bytes",
    "artifact_bytes",
    "rss_slope_bytes_per_request",
    "handles_gained",
    "l2_norm_max_error",
    "launches_failed",
    "dissimilar_mean",
)
# A criterion that weighs more leaves nothing of the others.
MOST_WEIGHT = 1_000_000
# Not a matter of more or less: as it should be, or not.
YES_OR_NO: tuple[Metric, ...] = ("finite", "launches_failed")
# A workload that no file has: of another length, or one that was changed under its name.
_OWN_WORKLOAD = re.compile(r"tokens_([3-9]|[1-9]\d+)|[^+\s]+\+[0-9a-f]{4}")
Arrival = Literal["back_to_back", "poisson"]
# Requests a second of an open loop.
Rate = Annotated[float, Field(gt=0, le=100_000)]
# Texts of a request, and callers at once.
BatchSize = Annotated[int, Field(ge=1, le=4096)]
Clients = Annotated[int, Field(ge=1, le=256)]
# Metrics with one value a launch; their gates are settled launch by launch.
LAUNCH_METRICS: tuple[Metric, ...] = ("latency_p95_ms", "throughput_texts_per_s")
# Where a metric is told times 100, a bound of up to 1 is meant of 1: nearly everything would pass it.
_HUNDRED = 100.0
# What a metric can be at all, in its unit.
METRIC_RANGES: dict[Metric | Comparable, tuple[float, float]] = {
    "latency_p95_ms": (0.0, math.inf),
    "throughput_texts_per_s": (0.0, math.inf),
    "l2_norm_max_error": (0.0, math.inf),
    "finite": (0.0, 1.0),
    "launches_failed": (0.0, math.inf),
    "separation": (-2.0, 2.0),
    "similar_mean": (-1.0, 1.0),
    "dissimilar_mean": (-1.0, 1.0),
    "separation_auc": (0.0, 1.0),
    "neighbour_overlap": (0.0, 1.0),
    "index_overlap": (0.0, 1.0),
    "parity_cosine_min": (-1.0, 1.0),
    "batch_cosine_min": (-1.0, 1.0),
    "sts_spearman": (-_HUNDRED, _HUNDRED),
    "ndcg_at_10": (0.0, 1.0),
    "texts_overlap": (0.0, 1.0),
    "peak_rss_bytes": (0.0, math.inf),
    "rss_slope_bytes_per_request": (-math.inf, math.inf),
    "handles_gained": (-math.inf, math.inf),
    "latency_drift": (0.0, math.inf),
    "latency_overhead": (-1.0, math.inf),
}
# With less of a graph's nodes, or of their time, on the execution provider the figures are another one's.
EP_SHARE_MIN = 0.5
# Shares whose interval never ends at the most that they can be.
_NEVER_CERTAIN: tuple[Metric, ...] = (
    "separation_auc",
    "neighbour_overlap",
    "index_overlap",
    "texts_overlap",
    "ndcg_at_10",
    "sts_spearman",
)
# Launches that a run can be given by one command.
MOST_LAUNCHES = 10_000
# Metrics of a soak run, and of it alone.
SOAK_METRICS: tuple[Metric, ...] = ("rss_slope_bytes_per_request", "handles_gained", "latency_drift")
# Metrics of how something is served; all others are of its vectors.
SERVING_METRICS: tuple[Metric, ...] = (
    *LAUNCH_METRICS, *SOAK_METRICS, "launches_failed", "peak_rss_bytes", "latency_overhead",
)  # fmt: skip


# What a table keeps whole: a 64-bit integer.
_MOST = 2**63 - 1
Count = Annotated[int, Field(ge=1, le=_MOST)]
Seed = Annotated[int, Field(ge=0, le=_MOST)]
# Anything but what begins another line, as `str.splitlines` has it.
_LINE = r"[^\n\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]*"
Name = Annotated[str, Field(pattern=rf"^{_LINE}[^\s\x1c-\x1e]{_LINE}$")]


def _within_reach(value: float) -> float:
    if value and not _LEAST_AMOUNT <= abs(value) <= 1 / _LEAST_AMOUNT:
        raise ValueError(
            f"{value:g}: give 0, or a number from {_LEAST_AMOUNT:g} to {1 / _LEAST_AMOUNT:g} in size"
        )
    return value


# Whatever is computed of two of these, or of one and a figure, no float overflows.
_LEAST_AMOUNT = 1e-100
Amount = Annotated[float, AfterValidator(_within_reach)]


class Schema(BaseModel):
    """What every part of it is: frozen, without unknown keys, no value turned into another type."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, protected_namespaces=()
    )


def _check_rate(arrival: Arrival, rate: float | None, group: str) -> None:
    if arrival == "poisson" and rate is None:
        raise ValueError(f"{group}arrival=poisson: needs a rate; give {group}rate=N, in requests/s")
    if arrival != "poisson" and rate is not None:
        raise ValueError(f"{group}rate={rate}: belongs to {group}arrival=poisson, and to it alone")


def _inside(file: str) -> bool:
    """Whether a path is that of a file within some folder."""
    path = PurePosixPath(file)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts and "\\" not in file


class SourceConfig(Schema):
    """One place a model can come from.

    Attributes:
        kind: ``bundled``: a folder of an installed package. ``hub``: safetensors weights of a repository,
            exported here. ``hub_onnx``: graphs in a repository that somebody exported.
        package: of ``bundled``: the installed package.
        folder: of ``bundled``: the model's folder in the package.
        repo: the repository; null is the model's own.
        revision: commit of a repository that is not the model's own.
        files: of ``hub_onnx``: the graph's file, by precision.
        sha256: what files must hash to, by file.
    """

    kind: Literal["bundled", "hub", "hub_onnx"]
    package: str | None = None
    folder: str | None = None
    repo: str | None = None
    revision: str | None = None
    files: dict[str, str] = Field(default_factory=dict)
    sha256: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _a_kind_has_what_it_needs(self) -> SourceConfig:
        if (self.kind == "bundled") != (self.package is not None):
            raise ValueError(
                f"a source of kind {self.kind}: package belongs to kind bundled, and to it alone"
            )
        if (self.kind == "hub_onnx") != bool(self.files):
            raise ValueError(f"a source of kind {self.kind}: files belong to kind hub_onnx, and to it alone")
        return self


class PromptsConfig(Schema):
    """Prefixes put before a text.

    Attributes:
        default: where nothing else is said, and for what is timed.
        query: of a query, in retrieval.
        document: of a document, in retrieval.
    """

    default: str
    query: str
    document: str


class ArchitectureConfig(Schema):
    """What a model of random weights is built from, beyond `ModelConfig`'s own facts.

    Attributes:
        family: the architecture.
        ffn: inner width of a layer's feed-forward part.
        positions: tokens of the longest input.
        kv_heads: of qwen3: key and value heads.
        head_dim: of qwen3: width of a head.
    """

    family: Literal["bert", "qwen3"]
    ffn: Count
    positions: Count
    kv_heads: Count | None = None
    head_dim: Count | None = None

    @model_validator(mode="after")
    def _a_family_has_what_it_needs(self) -> ArchitectureConfig:
        for key, value in (("kv_heads", self.kv_heads), ("head_dim", self.head_dim)):
            if (self.family == "qwen3") != (value is not None):
                raise ValueError(
                    f"model.architecture.{key}={value}: belongs to family qwen3, and to it alone"
                )
        return self


class ModelConfig(Schema):
    """A model: weights, tokenizer, pooling and prompts at a pinned revision.

    Attributes:
        name: short name, as tables show it.
        id: repository on the Hugging Face hub.
        revision: commit that pins it; anything else is resolved at the first download and told as unpinned.
        weights: ``random`` is the architecture alone, for latency; ``auto`` is random where the trained ones
            cannot be had.
        sources: where it may come from, in the order in which they are tried.
        path: a folder of your own, tried first.
        pooling: how the tokens' vectors become one.
        normalize: whether vectors are L2-normalised.
        prompts: prefixes put before a text.
        max_length: tokens of a text that are read, special ones included; the rest is cut off.
        dim: dimensions of its vectors.
        layers: layers of the transformer.
        hidden: width of a token's vector.
        heads: attention heads of a layer.
        vocab_size: entries of the vocabulary.
        params: parameters, as tables show them.
        architecture: what random weights are built from, with the figures above.
        matryoshka: fewest and most dimensions that its vectors were trained to be cut to; null where they
            were not.
        truncate_dim: what they are cut to; null is as the model's own files say, else all. ``dim=N`` sets
            it.
    """

    name: Name
    id: str | None
    revision: str | None
    weights: Literal["trained", "random", "auto"]
    sources: list[SourceConfig]
    path: str | None
    pooling: Literal["mean", "cls", "last"]
    normalize: bool
    prompts: PromptsConfig
    max_length: Annotated[int, Field(ge=2, le=_MOST)]
    dim: Count
    layers: Count | None
    hidden: Count | None
    heads: Count | None
    vocab_size: Count | None
    params: Count | None
    architecture: ArchitectureConfig | None
    matryoshka: Annotated[list[int], Field(min_length=2, max_length=2)] | None
    truncate_dim: Count | None = None

    @property
    def vector_dim(self) -> int:
        """Dimensions of a vector as it is served."""
        return self.truncate_dim or self.dim

    @property
    def shown(self) -> str:
        """What tables call it: of a user's own that was given no name, its folder's or repository's.

        What stands behind the ``+`` stays, so that two folders of one name stay two. A name that a configured
        model has is told as that of one's own. No part of an identity.
        """
        name, plus, digest = self.name.rpartition("+")
        if name != "custom" or not (self.path or self.id):
            return self.name
        place = typed_path(self.path).resolve().name if self.path else str(self.id).rpartition("/")[2]
        plain = _ODD.sub("-", place).strip("-.")
        if not plain or len(plain) > _LONGEST_NAME:
            return self.name
        return f"{'own-' if plain in options_of('model') else ''}{plain}{plus}{digest}"


class EpConfig(Schema):
    """An ONNX Runtime execution provider, its options, and the wheel that has it.

    Attributes:
        name: short name, as tables show it.
        provider: ONNX Runtime's name.
        wheel: the package that has it.
        options: the provider's own options, by their own names; null leaves one to the provider.
        choices: the valid values of options that have such.
        threads_option: the option that takes the candidate's threads, where the provider has a thread pool of
            its own beside ONNX Runtime's.
    """

    name: str
    provider: str
    wheel: str
    options: dict[str, Any]
    choices: dict[str, list[str]]
    threads_option: str | None = None

    @model_validator(mode="after")
    def _options_are_known(self) -> EpConfig:
        wrong = []
        for key, value in self.options.items():
            valid = self.choices.get(key)
            if value is None or (valid and str(value) in valid):  # Hydra reads True as a boolean
                continue
            if valid:
                wrong.append(f"ep.options.{key}={value}: valid: {', '.join(valid)}")
            elif isinstance(value, bool) or not isinstance(value, str | int):
                wrong.append(f"ep.options.{key}={value}: neither a text nor a whole number; quote a text")
        if wrong:
            raise ValueError("\n".join(wrong))
        return self


class StaticShapesConfig(Schema):
    """Sizes that the graph's dynamic axes are fixed to; None leaves an axis dynamic.

    Attributes:
        batch_size: texts; requests are padded to it, and that is timed too.
        sequence_length: tokens; texts are padded to it, and a longer one is refused before the start.
    """

    batch_size: BatchSize | None = None
    sequence_length: Annotated[int, Field(ge=3)] | None = None


class SessionConfig(Schema):
    """ONNX Runtime's session options; None leaves its own default.

    Attributes:
        inter_op_threads: threads between nodes that run in parallel.
        execution_mode: one node after another, or independent nodes at once.
        spinning: whether idle threads spin while they wait: quicker answers, busy cores.
        graph_level: how far the graph is rewritten when it is loaded.
        arena: the CPU's memory arena: speed against memory.
        mem_pattern: plans of memory by shape: speed against memory.
        static_shapes: sizes that the graph's axes are fixed to; null leaves them dynamic.
    """

    inter_op_threads: Annotated[int, Field(ge=1, le=1024)] | None = None
    execution_mode: Literal["sequential", "parallel"] | None = None
    spinning: bool | None = None
    graph_level: Literal["disable", "basic", "extended", "all"] | None = None
    arena: bool | None = None
    mem_pattern: bool | None = None
    static_shapes: StaticShapesConfig = StaticShapesConfig()

    @field_validator("static_shapes", mode="before")
    @classmethod
    def _null_is_dynamic(cls, value: object) -> object:
        if value is not None and not isinstance(value, dict | StaticShapesConfig):
            raise ValueError(
                f"session.static_shapes={value}: takes batch_size and sequence_length; give "
                "session.static_shapes.batch_size=N, session.static_shapes.sequence_length=N, or both"
            )
        return {} if value is None else value

    @model_validator(mode="after")
    def _threads_between_nodes_need_parallel_nodes(self) -> SessionConfig:
        if self.inter_op_threads is not None and self.execution_mode != "parallel":
            raise ValueError(
                f"session.inter_op_threads={self.inter_op_threads}: belongs to "
                "session.execution_mode=parallel, and to it alone"
            )
        return self

    @property
    def chosen(self) -> dict[str, Any]:
        """The options that are set, as plain values."""
        options = self.model_dump(exclude_none=True)
        return {name: value for name, value in options.items() if value != {}}


# Settings that one method alone has: that, the shipped precisions of it, and whether it must have them.
_OF_A_METHOD = {
    "bits": ("weight_only", "int8-weights or int4-weights", True),
    "block_size": ("weight_only", "int8-weights or int4-weights", True),
    "reduce_range": ("dynamic_int8", "int8", False),
    "file": ("published", "int8-published or fp16-published", False),
}


class PrecisionConfig(Schema):
    """A precision: how it is built from the fp32 artifact, and how close it must stay to the reference.

    Attributes:
        name: short name, as tables show it.
        method: how the graph is made from the fp32 one.
        parity_cosine_min: least cosine of any quality text to the fp32 reference; under it nothing is GO.
        bits: of ``weight_only``: bits of a weight.
        block_size: of ``weight_only``: weights that share a scale.
        reduce_range: of ``dynamic_int8``: 7-bit weights, for x86 without VNNI; null is by this machine's CPU.
        file: of ``published``, which builds nothing: the graph in the model's folder or repository that is
            taken; null is the one that its source's `files` say.
        unfit: execution providers that it makes no sense for, and why.
    """

    name: Name
    method: Literal["none", "fuse", "fp16", "dynamic_int8", "weight_only", "published"]
    parity_cosine_min: Annotated[float, Field(gt=0, le=1)]
    bits: Literal[4, 8] | None
    block_size: Literal[16, 32, 64, 128, 256] | None
    reduce_range: bool | None
    file: str | None = None
    unfit: dict[str, str]

    @model_validator(mode="after")
    def _settings_belong_to_their_method(self) -> PrecisionConfig:
        problems = []
        for key, (method, names, is_needed) in _OF_A_METHOD.items():
            value = getattr(self, key)
            if value is not None and self.method != method:
                problems.append(
                    f"precision.{key}={value}: precision={self.name} has none; give precision={names}, or "
                    "leave it out"
                )
            if value is None and self.method == method and is_needed:
                problems.append(f"precision.{key}=null: precision={self.name} needs one; leave it out")
        if problems:
            raise ValueError("\n".join(problems))
        if self.file is not None and not _inside(self.file):
            raise ValueError(
                f"precision.file={self.file}: lies outside the model; give a file's path in its folder, such "
                "as onnx/model_quantized.onnx"
            )
        return self


class FakeScript(Schema):
    """What the fake runtime plays.

    Attributes:
        infer_ms: what a request takes, in ms, repeated in order; a list of lists gives each launch its own.
        tokenize_ms: what tokenising a request takes, in ms.
        launches: what a launch does, in turn, the last one repeated.
    """

    infer_ms: Annotated[list[Any], Field(min_length=1)]
    tokenize_ms: Annotated[float, Field(ge=0)]
    launches: Annotated[
        list[Literal["ok", "raise", "exit", "abort", "sigkill", "hang", "nan"]], Field(min_length=1)
    ]

    @model_validator(mode="after")
    def _durations_can_be_played(self) -> FakeScript:
        launches = self.infer_ms if all(isinstance(part, list) for part in self.infer_ms) else [self.infer_ms]
        for durations in launches:
            numbers = all(
                isinstance(ms, int | float) and not isinstance(ms, bool) and 0 <= ms < float("inf")
                for ms in durations
            )
            if not durations or not numbers:
                raise ValueError(f"runtime.script.infer_ms={self.infer_ms}: not times in ms, 0 or more")
            if any(round((ms + self.tokenize_ms) * NS_PER_MS) < 1 for ms in durations):
                raise ValueError(
                    f"runtime.script.infer_ms={self.infer_ms}: with tokenize_ms={self.tokenize_ms:g} a "
                    "request takes no time, and nothing can be told of it; give one of them more"
                )
        return self


class RuntimeConfig(Schema):
    """What executes the artifact.

    Attributes:
        name: ``fake`` plays a script on a scripted clock, for tests and for pipelines around the harness.
        script: what the fake one plays.
    """

    name: Literal["onnxruntime", "fake"]
    script: FakeScript | None

    @model_validator(mode="after")
    def _only_the_fake_is_scripted(self) -> RuntimeConfig:
        if (self.name == "fake") != (self.script is not None):
            raise ValueError("a script belongs to runtime=fake, and to it alone")
        return self


class WorkloadConfig(Schema):
    """The texts of a request, and how requests arrive.

    Attributes:
        name: as gates and tables call it.
        lengths: ``short`` real texts, texts of exactly `tokens`, or a ``mixture`` of realistic lengths.
        tokens: of ``fixed``: tokens of a text, special ones and the prompt's included; where these leave it
            one or two of its own, texts repeat.
        seed: of the choice of texts and of random arrivals.
        clients: callers at once, that share one provider.
        arrival: ``back_to_back``: a caller sends the next request when it has its answer. ``poisson``:
            requests come at random and are timed from the moment they were due.
        rate: of ``poisson``: requests/s.
    """

    name: Name
    lengths: Literal["short", "fixed", "mixture"]
    tokens: Annotated[int, Field(ge=3, le=_MOST)] | None
    seed: Seed
    clients: Clients
    arrival: Arrival
    rate: Rate | None

    @model_validator(mode="after")
    def _fixed_lengths_have_a_length(self) -> WorkloadConfig:
        if self.lengths == "fixed" and self.tokens is None:
            raise ValueError("workload.tokens=null: workload.lengths=fixed needs it; give workload.tokens=N")
        if self.lengths != "fixed" and self.tokens is not None:
            raise ValueError(
                f"workload.tokens={self.tokens}: belongs to workload.lengths=fixed, and to it alone; give "
                "workload=tokens_128 and the like"
            )
        return self

    @model_validator(mode="after")
    def _an_open_loop_has_a_rate(self) -> WorkloadConfig:
        _check_rate(self.arrival, self.rate, "workload.")
        return self


class MeasureConfig(Schema):
    """How much evidence is gathered, and when it is enough.

    Attributes:
        purpose: ``latency`` settles the gates, ``confirm`` asks them under production's load, ``search`` is
            what confirming does by itself, ``soak`` is minutes in one process.
        requests: timed requests of a launch; a P95 takes at least 100.
        warmup_requests: requests before them, never mixed in; one of each shape comes on top.
        launches: exactly so many launches; null lets the statistics decide.
        min_launches: launches that a run has at least.
        max_launches: launches that one command adds at most.
        launch_timeout_s: a launch that takes longer, what it takes by design left out, is killed and failed.
        min_span_s: evidence that spans less is provisional; nothing is confirmed by less than 90.
        spread: start launches apart, until the evidence spans min_span_s.
        quiet_wait_s: how long a command may wait, in all, for a quiet machine.
        cpus: cores that a launch may use, production's CPU limit (Linux); null is all.
        clients: of ``confirm``: concurrent callers; one caller is always asked as well.
        rate: of ``confirm``: production's requests/s.
        duration_s: of ``soak``: how long it takes.
        replicate: 1, 2, …: the same thing measured again beside itself in one sweep.
        seed: of the order of launches.
        force: measure anew, as a run with an id of its own.
    """

    purpose: Literal["latency", "confirm", "search", "soak"]
    requests: Annotated[int, Field(ge=100, le=1_000_000)]
    warmup_requests: Annotated[int, Field(ge=1, le=100_000)]
    launches: Annotated[int, Field(ge=1, le=MOST_LAUNCHES)] | None
    min_launches: Annotated[int, Field(ge=3, le=MOST_LAUNCHES)]
    max_launches: Annotated[int, Field(ge=3, le=MOST_LAUNCHES)]
    launch_timeout_s: Annotated[float, Field(gt=0)]
    min_span_s: Annotated[float, Field(ge=0)]
    spread: bool
    quiet_wait_s: Annotated[float, Field(ge=0, le=3_600)]
    cpus: Annotated[int, Field(ge=1, le=1024)] | None
    clients: Annotated[list[Clients], Field(min_length=1)]
    rate: Rate | None
    duration_s: Annotated[float, Field(ge=30, le=604_800)]
    replicate: Annotated[int, Field(ge=0, le=10_000)]
    seed: Seed
    force: bool


class AtConfig(Schema):
    """Where a gate reads: the workload, batch size and arrivals of the run it is asked of.

    Attributes:
        workload: the workload's name.
        batch_size: texts in a request.
        clients: callers at once.
        arrival: how requests arrive.
        rate: of ``poisson``: requests/s.
    """

    workload: str = "default"
    batch_size: BatchSize = 1
    clients: Clients = 1
    arrival: Arrival = "back_to_back"
    rate: Rate | None = None

    @model_validator(mode="after")
    def _an_open_loop_has_a_rate(self) -> AtConfig:
        _check_rate(self.arrival, self.rate, "at.")
        return self

    @model_validator(mode="after")
    def _the_workload_can_be_had(self) -> AtConfig:
        if self.workload not in options_of("workload") and not _OWN_WORKLOAD.fullmatch(self.workload):
            unknown = unknown_name("workload", self.workload, options_of("workload"))
            raise ValueError(f"{unknown}; your own has its runs' name, such as tokens_24 or default+1f3a")
        return self


def _check_scale(told: str, metric: Metric | Comparable, value: float) -> None:
    _, most = METRIC_RANGES.get(metric, (0.0, math.inf))
    if most == _HUNDRED and 0 < abs(value) <= 1:
        raise ValueError(f"{told}, and this reads as one between -1 and 1; give {value * most:g}")


class GateConfig(Schema):
    """One gate: a metric, a bound, and how much it matters.

    Attributes:
        tier: ``must`` decides GO against NO_GO; a ``should`` on latency decides GO against CONDITIONAL_GO,
            others are told; ``nice`` is told.
        metric: the figure that is asked.
        op: how the figure must stand to the bound, on the side where it is better; ``==`` is that of
            ``finite`` and ``launches_failed`` alone.
        bound: in the figure's unit.
        label: as tables call it.
        at: which run it reads.
        launch_quantile: of a figure with one value a launch, and of it alone: the share of launches that must
            hold.
    """

    tier: Tier
    metric: Metric
    op: Op
    bound: Amount
    label: Name
    at: AtConfig = AtConfig()
    launch_quantile: Annotated[float, Field(gt=0, lt=1)] | None = None

    @model_validator(mode="after")
    def _quantiles_belong_to_launches(self) -> GateConfig:
        per_launch = self.metric in LAUNCH_METRICS
        if per_launch != (self.launch_quantile is not None):
            raise ValueError(f"launch_quantile belongs to {' and '.join(LAUNCH_METRICS)}, and to them alone")
        return self

    @model_validator(mode="after")
    def _a_soak_serves_one_caller(self) -> GateConfig:
        if self.metric in SOAK_METRICS and (self.at.clients, self.at.arrival) != (1, "back_to_back"):
            raise ValueError(
                f"{self.metric} is of a soak, which serves one caller back to back; leave clients and "
                "arrival out of at"
            )
        return self

    @model_validator(mode="after")
    def _it_asks_for_what_is_better(self) -> GateConfig:
        less, per_launch = self.metric in LESS_IS_BETTER, self.metric in LAUNCH_METRICS
        strict, best = "<" if less else ">", METRIC_RANGES[self.metric][0 if less else 1]
        takes = [strict] if per_launch else [strict, f"{strict}="]
        takes += [f"== {best:g}"] if self.metric in YES_OR_NO else []
        if (f"== {self.bound:g}" if self.op == "==" else self.op) not in takes:
            raise ValueError(
                f"{'less' if less else 'more'} {self.metric} is better: {self.op} {self.bound:g} does not "
                f"ask for that; give {' or '.join(takes)}"
                f"{', as a launch at the bound is over it' if per_launch else ''}"
            )
        return self

    @model_validator(mode="after")
    def _a_run_can_pass(self) -> GateConfig:
        quantile = self.launch_quantile
        if quantile is not None and count_verdict(0, MOST_LAUNCHES, launch_quantile=quantile) != "PASS":
            raise ValueError(
                f"launch_quantile {quantile:g}: not even {MOST_LAUNCHES:,} launches, the most that "
                "measure.max_launches takes, can pass it; lower it"
            )
        return self

    @model_validator(mode="after")
    def _it_asks_something(self) -> GateConfig:
        least, most = METRIC_RANGES[self.metric]
        at_ends = self.holds(least), self.holds(most)
        told = f"bound {self.bound:g}: {self.metric} lies between {least:g} and {most:g}"
        if not any(at_ends):
            raise ValueError(f"{told}, so that nothing is {self.op} it; correct the bound")
        if all(at_ends):
            raise ValueError(f"{told}, so that all is {self.op} it; correct the bound, or leave the gate out")
        _check_scale(told, self.metric, self.bound)
        if self.metric in _NEVER_CERTAIN and self.op == ">=" and self.bound == most:
            raise ValueError(f"{told}, and no texts make it certain to be {most:g}; lower the bound")
        return self

    def holds(self, value: float) -> bool:
        """Whether a value lies on the right side of the bound."""
        return {
            "<": value < self.bound,
            "<=": value <= self.bound,
            ">": value > self.bound,
            ">=": value >= self.bound,
            "==": value == self.bound,
        }[self.op]

    @property
    def launches_to_pass(self) -> int:
        """Launches that a PASS takes at the least; 0 for a metric that is not per launch."""
        return 0 if self.launch_quantile is None else launches_to_pass(self.launch_quantile)


class FallbackConfig(Schema):
    """What to accept when every candidate is NO_GO.

    Attributes:
        model: whose figures are told beside it, where they were measured.
        ep: on which execution provider.
        sentence: what is told.
    """

    model: str
    ep: str
    sentence: str

    @field_validator("ep")
    @classmethod
    def _it_is_configured(cls, value: str) -> str:
        if value not in options_of("ep"):
            raise ValueError(unknown_name("ep", value, options_of("ep")))
        return value


class RankConfig(Schema):
    """One figure of a lexicographic order, of the run at a place.

    Without steps no later figure would ever be asked.

    Attributes:
        metric: the figure.
        at: of which run.
        step: figures in the same step of this size, counted from 0, are equal; null: only equal ones are.
    """

    metric: Comparable
    at: AtConfig = AtConfig()
    step: Annotated[Amount, Field(gt=0)] | None = None


class CriterionConfig(Schema):
    """One criterion of a weighted matrix: a figure of the run at a place, scored between 0 and 1.

    Linear between `best` and `worst`, and no more beyond. Both are fixed here, not taken from the candidates
    at hand: what one more of them scores can then not turn the others around.

    Attributes:
        metric: the figure.
        at: of which run.
        weight: of its score.
        best: the figure that scores 1.
        worst: the figure that scores 0.
    """

    metric: Comparable
    at: AtConfig = AtConfig()
    weight: Annotated[Amount, Field(ge=0, le=MOST_WEIGHT)]
    best: Amount
    worst: Amount

    @model_validator(mode="after")
    def _best_is_better_than_worst(self) -> CriterionConfig:
        less = self.metric in LESS_IS_BETTER
        if self.best == self.worst or (self.best < self.worst) != less:
            raise ValueError(
                f"best {self.best:g}, worst {self.worst:g}: {'less' if less else 'more'} "
                f"{self.metric} is better"
            )
        return self

    @model_validator(mode="after")
    def _its_ends_can_be_reached(self) -> CriterionConfig:
        least, most = METRIC_RANGES.get(self.metric, (-math.inf, math.inf))
        for name, end in (("best", self.best), ("worst", self.worst)):
            told = f"{name} {end:g}: {self.metric} lies between {least:g} and {most:g}"
            if not least <= end <= most:
                raise ValueError(f"{told}; correct it")
            _check_scale(told, self.metric, end)
        return self


class PolicyConfig(Schema):
    """Gates, objective, ordered paths and fallback.

    Attributes:
        name: as a decision calls it.
        gates: what is asked; at least one must.
        objective: what is preferred among candidates of the same verdict.
        order: of ``lexicographic``: what is compared, in this order.
        matrix: of ``weighted_matrix``: what is weighed.
        paths: of ``path_order``: models, the preferred first.
        fallback: what to accept where every candidate is NO_GO.
        min_ep_node_share: a run with less of its nodes on the execution provider asked for is never GO. Nor
            is one with none of them there, so 0 asks for any.
        min_ep_time_share: the same of the nodes' time, by a profile of the run's own requests: the few nodes
            that fall back can take most of it. Half by default: with less there, the figures are those of
            another provider. Unknown is missing evidence on any provider but the CPU's, unless 0 is asked; a
            known 0 is never GO. Of one that works asynchronously (CUDA) it is the host's time.
    """

    name: Name
    gates: Annotated[list[GateConfig], Field(min_length=1)]
    objective: Literal["path_order", "lowest_latency", "best_quality", "lexicographic", "weighted_matrix"]
    order: list[RankConfig] = Field(default_factory=list)
    matrix: list[CriterionConfig] = Field(default_factory=list)
    paths: list[Name]
    fallback: FallbackConfig | None
    min_ep_node_share: Annotated[float, Field(ge=0, le=1)]
    min_ep_time_share: Annotated[float, Field(ge=0, le=1)] = EP_SHARE_MIN

    @model_validator(mode="after")
    def _something_must_hold(self) -> PolicyConfig:
        if not any(gate.tier == "must" for gate in self.gates):
            raise ValueError("no must gate: such a policy would let anything pass")
        return self

    @model_validator(mode="after")
    def _every_gate_can_tell_something(self) -> PolicyConfig:
        tiers = get_args(Tier)
        for first, gate in itertools.permutations(self.gates, 2):
            if tiers.index(first.tier) <= tiers.index(gate.tier) and _implies(first, gate):
                raise ValueError(
                    f"{gate.tier} gate '{gate.label}' ({gate.op} {gate.bound:g}) tells nothing: what passes "
                    f"the {first.tier} gate '{first.label}' ({first.op} {first.bound:g}) passes it; tighten "
                    "it, or leave it out"
                )
        return self

    @model_validator(mode="after")
    def _the_objective_can_be_computed(self) -> PolicyConfig:
        if self.objective == "lexicographic" and not self.order:
            raise ValueError("objective lexicographic: no order; list the metrics to compare by")
        if self.objective == "weighted_matrix" and not self.matrix:
            raise ValueError("objective weighted_matrix: no matrix; list metrics with weight, best and worst")
        if self.matrix and not any(criterion.weight for criterion in self.matrix):
            raise ValueError("matrix: every weight is 0, so that nothing is weighed; raise one")
        return self

    @model_validator(mode="after")
    def _nothing_is_said_twice(self) -> PolicyConfig:
        if model := _repeated(self.paths):
            raise ValueError(f"paths name {model} more than once; name each model once, the preferred first")
        if gate := _repeated([(gate.tier, gate.label) for gate in self.gates]):
            raise ValueError(f"'{gate[1]}' labels more than one {gate[0]} gate; give each its own label")
        if rank := _repeated([(rank.metric, rank.at, rank.step) for rank in self.order]):
            raise ValueError(f"order: {rank[0]} stands there twice alike; leave one out")
        if weighed := _repeated([(c.metric, c.at, c.best, c.worst) for c in self.matrix]):
            raise ValueError(f"matrix: {weighed[0]} is weighed twice alike; weigh it once")
        return self


def _repeated(of: Sequence[_T]) -> _T | None:
    """The first that stands more than once; None where none does."""
    return next((each for place, each in enumerate(of) if each in of[:place]), None)


def _implies(first: GateConfig, gate: GateConfig) -> bool:
    """Whether all that passes the one passes the other: no stricter a bound, in no more of the launches."""
    same = (first.metric, first.at) == (gate.metric, gate.at)
    no_stricter = gate.holds(first.bound) or (gate.op, gate.bound) == (first.op, first.bound)
    return same and no_stricter and (gate.launch_quantile or 0.0) <= (first.launch_quantile or 0.0)


class QualityConfig(Schema):
    """What of the user's own quality is measured on, and tasks of the package mteb; None is none.

    Attributes:
        sts: scored pairs (sentence1, sentence2, score): jsonl, csv, tsv or parquet. Spearman ×100.
        retrieval: a folder in BEIR's layout: nDCG@10, recall@10 and @100, MRR@10.
        texts: txt with one a line, or jsonl, csv, tsv or parquet with a column text: cosine and top-10
            overlap to the fp32 vectors.
        mteb: tasks of the package mteb, as ``[STSBenchmark,SciFact]``.
    """

    sts: Name | None = None
    retrieval: Name | None = None
    texts: Name | None = None
    mteb: Annotated[list[str], Field(min_length=1)] | None = None


class Config(Schema):
    """One run, whole: what is measured, how, and by which policy it is judged.

    Attributes:
        model: what is served.
        ep: the execution provider.
        precision: what the graph is made into.
        runtime: what executes it.
        workload: the texts, and how they arrive.
        measure: how much evidence is gathered.
        policy: the gates.
        batch_size: texts in a request.
        dim: dimensions that vectors are cut to, for models trained for it; null is all.
        threads: threads that one inference may use; null is the runtime's own default.
        session: ONNX Runtime's session options.
        quality: files of your own that quality is measured on.
        results: where results are kept, from the working directory.
        words: what was typed, but for ``-m``.
    """

    model: ModelConfig
    ep: EpConfig
    precision: PrecisionConfig
    runtime: RuntimeConfig
    workload: WorkloadConfig
    measure: MeasureConfig
    policy: PolicyConfig
    batch_size: BatchSize
    dim: Count | None
    threads: Annotated[int, Field(ge=1, le=1024)] | None
    session: SessionConfig = SessionConfig()
    quality: QualityConfig = QualityConfig()
    results: str
    words: list[str] = Field(default_factory=list)

    @property
    def longest_tokens(self) -> int:
        """Tokens that a text may have: the model's maximum, or the length the graph is fixed to."""
        fixed = self.session.static_shapes.sequence_length
        return self.model.max_length if fixed is None else fixed
