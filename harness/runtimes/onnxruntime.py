"""ONNX Runtime, without silent fallbacks: what was asked for runs, or an error says why not."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime as ort

from harness.artifacts.pooling import OUTPUT
from harness.errors import ArtifactError, EpUnavailableError
from harness.runtimes.base import Placement, Tokens
from harness.runtimes.profile import Profile, read_profile
from harness.units import NS_PER_S

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from harness.artifacts.manifest import Artifact
    from harness.runtimes.base import SessionOptions

CPU = "CPUExecutionProvider"
_SEVERITY_ERROR = 3
_SPINNING = "session.intra_op.allow_spinning"
_EXECUTION_MODES = {"sequential": "ORT_SEQUENTIAL", "parallel": "ORT_PARALLEL"}
_GRAPH_LEVELS = {
    "disable": "ORT_DISABLE_ALL",
    "basic": "ORT_ENABLE_BASIC",
    "extended": "ORT_ENABLE_EXTENDED",
    "all": "ORT_ENABLE_ALL",
}


def available_providers() -> list[str]:
    """Execution providers in the installed build."""
    providers: list[str] = ort.get_available_providers()
    return providers


def require_provider(provider: str, ep: str, wheel: str) -> None:
    """Refuse an execution provider that this build lacks, which ONNX Runtime would only warn about.

    Raises:
        EpUnavailableError: with what is available and how to get the other.
    """
    available = available_providers()
    if provider in available:
        return
    if provider not in ort.get_all_providers():
        raise EpUnavailableError(f"ep={ep}: ONNX Runtime {ort.__version__} knows no {provider}")
    raise EpUnavailableError(
        f"ep={ep}: {provider} is not in the installed ONNX Runtime {ort.__version__}, which has "
        f"{', '.join(available)}; it comes with another wheel, {wheel}, in an environment of its own"
    )


def _settings(options: SessionOptions) -> ort.SessionOptions:
    """ONNX Runtime's own session options; what is None stays as it is by default."""
    settings = ort.SessionOptions()
    settings.log_severity_level = _SEVERITY_ERROR
    chosen = {
        "intra_op_num_threads": options.threads,
        "inter_op_num_threads": options.inter_op_threads,
        "enable_cpu_mem_arena": options.arena,
        "enable_mem_pattern": options.mem_pattern,
    }
    for name, value in chosen.items():
        if value is not None:
            setattr(settings, name, value)
    if options.execution_mode is not None:
        settings.execution_mode = getattr(ort.ExecutionMode, _EXECUTION_MODES[options.execution_mode])
    if options.graph_level is not None:
        level = getattr(ort.GraphOptimizationLevel, _GRAPH_LEVELS[options.graph_level])
        settings.graph_optimization_level = level
    if options.spinning is not None:
        settings.add_session_config_entry(_SPINNING, str(int(options.spinning)))
    for axis, size in options.static_shapes.items():
        settings.add_free_dimension_override_by_name(axis, size)
    if options.record_placement:
        settings.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    if options.profile_prefix is not None:
        settings.enable_profiling = True
        settings.profile_file_prefix = options.profile_prefix
    return settings


class OnnxRuntimeSession:
    """A graph with pooling inside, loaded in ONNX Runtime."""

    def __init__(self, artifact: Artifact, options: SessionOptions) -> None:
        settings = _settings(options)
        providers: list[tuple[str, dict[str, str]]] = [(options.ep_provider, options.ep_options)]
        if options.ep_provider != CPU:
            providers.append((CPU, {}))  # nodes the provider refuses; placement() tells how many
        try:
            self._session = ort.InferenceSession(
                str(artifact.graph), settings, providers=providers, enable_fallback=0
            )
        except Exception as error:
            if options.ep_provider == CPU:
                raise
            reason = " ".join(str(error).split())
            raise EpUnavailableError(f"{options.ep_provider} cannot load the graph: {reason}") from None
        if options.ep_provider not in self._session.get_providers():
            raise EpUnavailableError(
                f"{options.ep_provider} did not take the graph: it would run on "
                f"{', '.join(self._session.get_providers())}"
            )
        if options.static_shapes:
            _require_axes(self._session, options.static_shapes)
        self._provider = options.ep_provider
        self._ep_options = options.ep_options
        # Before 1.24 ONNX Runtime has no way to ask.
        asked = hasattr(self._session, "get_provider_graph_assignment_info")
        self._recorded = options.record_placement and asked
        self._profiled = options.profile_prefix is not None
        self._wants_types = "token_type_ids" in {i.name for i in self._session.get_inputs()}
        self._run = self._session.run
        self._outputs = [OUTPUT]

    def tokenized(self) -> None:
        """Nothing: its clock moves by itself."""

    def infer(self, tokens: Tokens) -> NDArray[np.float32]:
        """Vectors of a batch: float32 [n_texts, dim]."""
        feeds = {"input_ids": tokens.input_ids, "attention_mask": tokens.attention_mask}
        if self._wants_types:
            # Not zeros_like: after a graph has run through the caches its Python costs 2 % of a short text.
            feeds["token_type_ids"] = np.zeros(tokens.input_ids.shape, np.int64)
        vectors: NDArray[np.float32] = self._run(self._outputs, feeds)[0]
        return vectors

    def placement(self) -> Placement | None:
        """Where the nodes went when the graph was partitioned, if that was recorded."""
        if not self._recorded:
            return None
        subgraphs = self._session.get_provider_graph_assignment_info()
        nodes = [(s.ep_name, len(s.get_nodes())) for s in subgraphs]
        mine = [count for name, count in nodes if name == self._provider]
        partitions = 1 if self._provider == CPU else len(mine)  # the CPU takes node by node, unpartitioned
        return Placement(sum(count for _, count in nodes), sum(mine), partitions)

    def effective_options(self) -> dict[str, Any]:
        """The session's own options, its graph's input shapes, and its provider's options.

        ``intra_op_threads`` and ``inter_op_threads`` are None where ONNX Runtime chooses by itself: only a
        profile tells then. ``spinning`` is None where it was not chosen. ``ep_options`` are those it was
        given, a wrong one being refused, and over them those that the provider reports.
        """
        settings = self._session.get_session_options()
        modes = {name: mode for mode, name in _EXECUTION_MODES.items()}
        levels = {name: level for level, name in _GRAPH_LEVELS.items()}
        try:
            spinning = settings.get_session_config_entry(_SPINNING) == "1"
        except RuntimeError:  # not set
            spinning = None
        return {
            "intra_op_threads": settings.intra_op_num_threads or None,
            "inter_op_threads": settings.inter_op_num_threads or None,
            "execution_mode": modes.get(settings.execution_mode.name),
            "graph_level": levels.get(settings.graph_optimization_level.name),
            "spinning": spinning,
            "arena": settings.enable_cpu_mem_arena,
            "mem_pattern": settings.enable_mem_pattern,
            "input_shapes": {entry.name: entry.shape for entry in self._session.get_inputs()},
            "ep_options": self._ep_options | self._session.get_provider_options().get(self._provider, {}),
        }

    def end_profiling(self, *, skip_runs: int) -> Profile | None:
        """The profile since loading without the first `skip_runs` requests; its file is removed."""
        if not self._profiled:
            return None
        self._profiled = False
        file = Path(self._session.end_profiling())
        try:
            return read_profile(json.loads(file.read_text(encoding="utf-8")), skip_runs=skip_runs)
        except (OSError, ValueError):  # cut short: ONNX Runtime keeps a million events at most
            return None
        finally:
            file.unlink(missing_ok=True)

    def clock_ns(self) -> int:
        """`time.perf_counter_ns`."""
        return time.perf_counter_ns()

    def wait_until_ns(self, due_ns: int) -> None:
        """Sleep; what the system's timer is late by (about 0.1 ms) counts as the request's latency."""
        left_ns = due_ns - time.perf_counter_ns()
        if left_ns > 0:
            time.sleep(left_ns / NS_PER_S)


def _require_axes(session: ort.InferenceSession, static_shapes: dict[str, int]) -> None:
    """Refuse sizes for axes that the graph does not have, which ONNX Runtime would ignore."""
    inputs = {entry.name: entry.shape for entry in session.get_inputs()}
    wanted = [static_shapes.get("batch_size"), static_shapes.get("sequence_length")]
    for name, shape in inputs.items():
        if any(size is not None and size != found for size, found in zip(wanted, shape, strict=False)):
            raise ArtifactError(
                f"session.static_shapes cannot fix this graph: its {name} is {shape} then; its axes would "
                "have to be called batch_size and sequence_length"
            )


def load(artifact: Artifact, options: SessionOptions) -> OnnxRuntimeSession:
    """A session on an artifact.

    Raises:
        EpUnavailableError: the provider did not take the graph.
        ArtifactError: the graph lacks an axis of `options.static_shapes`.
    """
    return OnnxRuntimeSession(artifact, options)
