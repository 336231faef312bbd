"""ONNX Runtime without silent fallbacks: what was asked for runs, or an error says why not."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime as ort
import pytest

from harness.artifacts.pooling import OUTPUT
from harness.compose import options_of
from harness.config import load_ep
from harness.errors import ArtifactError, EpUnavailableError, UnavailableError
from harness.runtimes import load_session
from harness.runtimes.base import Placement, SessionOptions
from harness.runtimes.onnxruntime import available_providers, require_provider
from harness.texts import quality_texts
from harness.tokenizer import Tokenizer
from tests.artifacts.graphs import embedder, saved

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from harness.artifacts.manifest import Artifact

CPU = "CPUExecutionProvider"
COREML = "CoreMLExecutionProvider"


# --- what is in the build


def test_the_cpu_is_in_every_build() -> None:
    assert CPU in available_providers()
    require_provider(CPU, "cpu", "onnxruntime")


def test_a_provider_of_another_wheel_is_refused_with_what_there_is_and_the_wheel(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if COREML in available_providers():  # on a Mac: pretend
        monkeypatch.setattr(ort, "get_available_providers", lambda: [CPU])
    ep = load_ep("coreml")
    with pytest.raises(EpUnavailableError) as caught:
        require_provider(ep.provider, ep.name, ep.wheel)
    message = str(caught.value)
    assert message.startswith(f"ep=coreml: {COREML} is not in the installed ONNX Runtime {ort.__version__}")
    assert CPU in message
    assert "onnxruntime (the macOS build)" in message
    assert isinstance(caught.value, UnavailableError)


@pytest.mark.parametrize("name", options_of("ep"))
def test_every_configured_provider_is_one_that_onnx_runtime_knows(name: str) -> None:
    assert load_ep(name).provider in ort.get_all_providers()


def test_a_provider_that_onnx_runtime_does_not_know_is_told_apart() -> None:
    with pytest.raises(EpUnavailableError, match=r"ep=mine: ONNX Runtime \S+ knows no MineExecutionProvider"):
        require_provider("MineExecutionProvider", "mine", "some-wheel")


# --- the real thing


def test_vectors_are_those_of_the_reference(minilm: Artifact) -> None:
    session = load_session("onnxruntime", minilm, SessionOptions(threads=1))
    vectors = session.infer(Tokenizer(minilm).tokenize(quality_texts()[:4]))
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, minilm.reference()[:4], atol=1e-5)


def test_every_node_on_the_cpu_is_one_partition(minilm: Artifact) -> None:
    placement = load_session("onnxruntime", minilm, SessionOptions(record_placement=True)).placement()
    assert placement is not None
    assert placement.nodes_total > 50
    assert placement.ep_nodes == placement.nodes_total
    assert placement.ep_partitions == 1


def test_a_placement_that_was_not_recorded_is_unknown(minilm: Artifact) -> None:
    assert load_session("onnxruntime", minilm, SessionOptions()).placement() is None


def test_its_clock_is_the_performance_counter(minilm: Artifact) -> None:
    clock_ns = load_session("onnxruntime", minilm, SessionOptions()).clock_ns
    before = time.perf_counter_ns()
    assert before <= clock_ns() <= time.perf_counter_ns()


# --- a scripted ONNX Runtime


class Node:
    """A node of a subgraph."""


class Subgraph:
    """Nodes that one provider took together."""

    def __init__(self, ep_name: str, nodes: int) -> None:
        self.ep_name = ep_name
        self._nodes = nodes

    def get_nodes(self) -> list[Node]:
        """The nodes."""
        return [Node() for _ in range(self._nodes)]


class Input:
    """An input of a graph."""

    def __init__(self, name: str) -> None:
        self.name = name


class ScriptedOrt:
    """Stands for `ort.InferenceSession`; remembers how it was made and what it was fed."""

    def __init__(self, *, takes: bool = True, inputs: tuple[str, ...] = (), error: str = "") -> None:
        self.takes = takes
        self.inputs = inputs
        self.error = error
        self.subgraphs: list[Subgraph] = []
        self.made: dict[str, Any] = {}
        self.fed: dict[str, Any] = {}

    def __call__(self, path: str, settings: Any, *, providers: Any, enable_fallback: Any) -> ScriptedOrt:
        if self.error:
            raise RuntimeError(self.error)
        self.made = {"settings": settings, "providers": providers, "enable_fallback": enable_fallback}
        return self

    def get_providers(self) -> list[str]:
        """What the session really has."""
        names = [name for name, _ in self.made["providers"]]
        return names if self.takes else [CPU]

    def get_inputs(self) -> list[Input]:
        """The graph's."""
        return [Input(name) for name in self.inputs]

    def get_provider_graph_assignment_info(self) -> list[Subgraph]:
        """As scripted."""
        return self.subgraphs

    def run(self, outputs: list[str], feeds: dict[str, Any]) -> list[Any]:
        """Zeros."""
        assert outputs == [OUTPUT]
        self.fed = feeds
        return [np.zeros((len(feeds["input_ids"]), 4), dtype=np.float32)]


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Callable[..., ScriptedOrt]:
    """Put a scripted session in ONNX Runtime's place."""

    def put(**script: Any) -> ScriptedOrt:
        session = ScriptedOrt(**script)
        monkeypatch.setattr(ort, "InferenceSession", session)
        return session

    return put


def on_coreml(**changes: Any) -> SessionOptions:
    """Options of a CoreML session."""
    return SessionOptions(ep_provider=COREML, ep_options={"ModelFormat": "MLProgram"}, **changes)


def test_a_silent_fallback_to_the_cpu_is_refused(
    scripted: Callable[..., ScriptedOrt], fake_artifact: Artifact
) -> None:
    scripted(takes=False)
    with pytest.raises(EpUnavailableError, match=f"{COREML} did not take the graph: it would run on {CPU}"):
        load_session("onnxruntime", fake_artifact, on_coreml())


def test_a_provider_that_cannot_load_the_graph_is_refused_in_one_line(
    scripted: Callable[..., ScriptedOrt], fake_artifact: Artifact
) -> None:
    scripted(error="Unknown option:\n  ModelFormat")
    with pytest.raises(EpUnavailableError, match=f"^{COREML} cannot load the graph: Unknown option: Model"):
        load_session("onnxruntime", fake_artifact, on_coreml())


def test_an_error_on_the_cpu_is_no_matter_of_providers(
    scripted: Callable[..., ScriptedOrt], fake_artifact: Artifact
) -> None:
    scripted(error="protobuf parsing failed")
    with pytest.raises(RuntimeError, match="protobuf parsing failed"):
        load_session("onnxruntime", fake_artifact, SessionOptions())


def test_the_provider_comes_first_with_its_options_and_only_single_nodes_fall_to_the_cpu(
    scripted: Callable[..., ScriptedOrt], fake_artifact: Artifact
) -> None:
    session = scripted()
    load_session("onnxruntime", fake_artifact, on_coreml())
    assert session.made["providers"] == [(COREML, {"ModelFormat": "MLProgram"}), (CPU, {})]
    assert session.made["enable_fallback"] == 0
    load_session("onnxruntime", fake_artifact, SessionOptions())
    assert session.made["providers"] == [(CPU, {})]


@pytest.mark.parametrize(("threads", "expected"), [(None, 0), (1, 1), (3, 3)])
def test_threads_are_onnx_runtime_s_own_unless_they_are_given(
    scripted: Callable[..., ScriptedOrt], fake_artifact: Artifact, threads: int | None, expected: int
) -> None:
    session = scripted()
    load_session("onnxruntime", fake_artifact, SessionOptions(threads=threads))
    assert session.made["settings"].intra_op_num_threads == expected


@pytest.mark.parametrize(
    ("options", "name", "expected"),
    [
        ({}, "enable_cpu_mem_arena", True),
        ({"arena": False}, "enable_cpu_mem_arena", False),
        ({}, "enable_mem_pattern", True),
        ({"mem_pattern": False}, "enable_mem_pattern", False),
        ({"inter_op_threads": 3}, "inter_op_num_threads", 3),
        ({"execution_mode": "parallel"}, "execution_mode", ort.ExecutionMode.ORT_PARALLEL),
        ({}, "graph_optimization_level", ort.GraphOptimizationLevel.ORT_ENABLE_ALL),
        ({"graph_level": "disable"}, "graph_optimization_level", ort.GraphOptimizationLevel.ORT_DISABLE_ALL),
        ({"graph_level": "basic"}, "graph_optimization_level", ort.GraphOptimizationLevel.ORT_ENABLE_BASIC),
        ({}, "enable_profiling", False),
    ],
)
def test_a_session_option_reaches_onnx_runtime_and_one_that_is_unset_stays_its_own(
    scripted: Callable[..., ScriptedOrt],
    fake_artifact: Artifact,
    options: dict[str, Any],
    name: str,
    expected: object,
) -> None:
    session = scripted()
    load_session("onnxruntime", fake_artifact, SessionOptions(**options))
    assert getattr(session.made["settings"], name) == expected


@pytest.mark.parametrize(("spinning", "entry"), [(True, "1"), (False, "0"), (None, None)])
def test_spinning_is_said_only_where_it_is_chosen(
    scripted: Callable[..., ScriptedOrt], fake_artifact: Artifact, spinning: bool | None, entry: str | None
) -> None:
    session = scripted()
    load_session("onnxruntime", fake_artifact, SessionOptions(spinning=spinning))
    key = "session.intra_op.allow_spinning"
    if entry is None:
        with pytest.raises(RuntimeError, match="does not have"):
            session.made["settings"].get_session_config_entry(key)
    else:
        assert session.made["settings"].get_session_config_entry(key) == entry


def test_what_a_session_really_uses_is_read_back_from_it(minilm: Artifact) -> None:
    options = SessionOptions(
        threads=1, spinning=False, graph_level="basic", arena=False, mem_pattern=False,
        execution_mode="sequential", static_shapes={"batch_size": 2, "sequence_length": 16},
    )  # fmt: skip
    found = load_session("onnxruntime", minilm, options).effective_options()
    assert found == {
        "intra_op_threads": 1, "inter_op_threads": None, "execution_mode": "sequential",
        "graph_level": "basic", "spinning": False, "arena": False, "mem_pattern": False,
        "input_shapes": {key: [2, 16] for key in ("input_ids", "attention_mask", "token_type_ids")},
        "ep_options": {},
    }  # fmt: skip


def test_a_graph_without_the_axis_that_is_to_be_fixed_is_refused(
    fake_artifact: Artifact, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made = embedder()
    for port in made.graph.input:
        port.type.tensor_type.shape.dim[1].dim_param = "length"
    monkeypatch.setattr(type(fake_artifact), "graph", saved(made, tmp_path))
    with pytest.raises(ArtifactError, match=r"input_ids is \[.*'length'\] then"):
        load_session("onnxruntime", fake_artifact, SessionOptions(static_shapes={"sequence_length": 16}))


def test_placement_counts_the_nodes_and_the_partitions_of_the_provider(
    scripted: Callable[..., ScriptedOrt], fake_artifact: Artifact
) -> None:
    session = scripted()
    session.subgraphs = [Subgraph(COREML, 40), Subgraph(CPU, 3), Subgraph(COREML, 20), Subgraph(CPU, 7)]
    loaded = load_session("onnxruntime", fake_artifact, on_coreml(record_placement=True))
    assert loaded.placement() == Placement(nodes_total=70, ep_nodes=60, ep_partitions=2)
    entry = session.made["settings"].get_session_config_entry("session.record_ep_graph_assignment_info")
    assert entry == "1"


def test_a_provider_that_took_no_node_has_none(
    scripted: Callable[..., ScriptedOrt], fake_artifact: Artifact
) -> None:
    scripted().subgraphs = [Subgraph(CPU, 10), Subgraph(CPU, 5)]
    loaded = load_session("onnxruntime", fake_artifact, on_coreml(record_placement=True))
    assert loaded.placement() == Placement(nodes_total=15, ep_nodes=0, ep_partitions=0)


def test_the_cpu_s_nodes_are_one_partition_however_many_subgraphs_it_reports(
    scripted: Callable[..., ScriptedOrt], fake_artifact: Artifact
) -> None:
    scripted().subgraphs = [Subgraph(CPU, 1) for _ in range(15)]
    loaded = load_session("onnxruntime", fake_artifact, SessionOptions(record_placement=True))
    assert loaded.placement() == Placement(nodes_total=15, ep_nodes=15, ep_partitions=1)


@pytest.mark.parametrize("wanted", [True, False], ids=["wanted", "not wanted"])
def test_token_types_are_fed_only_to_a_graph_that_has_them(
    scripted: Callable[..., ScriptedOrt], fake_artifact: Artifact, wanted: bool
) -> None:
    session = scripted(inputs=("input_ids", "attention_mask", *(["token_type_ids"] if wanted else [])))
    tokens = Tokenizer(fake_artifact).tokenize(["one", "two words"])
    load_session("onnxruntime", fake_artifact, SessionOptions()).infer(tokens)
    assert session.fed["input_ids"] is tokens.input_ids
    assert session.fed["attention_mask"] is tokens.attention_mask
    assert ("token_type_ids" in session.fed) == wanted
    if wanted:
        np.testing.assert_array_equal(session.fed["token_type_ids"], np.zeros_like(tokens.input_ids))
