"""ONNX Runtime, without silent fallbacks: what was asked for runs, or an error says why not."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime as ort

from harness.artifacts.pooling import OUTPUT
from harness.errors import EpUnavailableError
from harness.runtimes.base import Placement, Tokens
from harness.units import NS_PER_S

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from harness.artifacts.manifest import Artifact
    from harness.runtimes.base import SessionOptions

CPU = "CPUExecutionProvider"
_SEVERITY_ERROR = 3


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


class OnnxRuntimeSession:
    """A graph with pooling inside, loaded in ONNX Runtime."""

    def __init__(self, artifact: Artifact, options: SessionOptions) -> None:
        settings = ort.SessionOptions()
        settings.log_severity_level = _SEVERITY_ERROR
        if options.threads is not None:
            settings.intra_op_num_threads = options.threads
        if options.record_placement:
            settings.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
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
        self._provider = options.ep_provider
        self._recorded = options.record_placement
        self._wants_types = "token_type_ids" in {i.name for i in self._session.get_inputs()}
        self._run = self._session.run
        self._outputs = [OUTPUT]

    def infer(self, tokens: Tokens) -> NDArray[np.float32]:
        """Vectors of a batch: float32 [n_texts, dim]."""
        feeds = {"input_ids": tokens.input_ids, "attention_mask": tokens.attention_mask}
        if self._wants_types:
            feeds["token_type_ids"] = np.zeros_like(tokens.input_ids)
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

    def clock_ns(self) -> int:
        """`time.perf_counter_ns`."""
        return time.perf_counter_ns()

    def wait_until_ns(self, due_ns: int) -> None:
        """Sleep; what the system's timer is late by (about 0.1 ms) counts as the request's latency."""
        left_ns = due_ns - time.perf_counter_ns()
        if left_ns > 0:
            time.sleep(left_ns / NS_PER_S)


def load(artifact: Artifact, options: SessionOptions) -> OnnxRuntimeSession:
    """A session on an artifact.

    Raises:
        EpUnavailableError: the provider did not take the graph.
    """
    return OnnxRuntimeSession(artifact, options)
