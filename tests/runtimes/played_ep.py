"""An execution provider that a test scripts, played by a real session on the CPU."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnxruntime as ort

from harness.runtimes.onnxruntime import CPU

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    import pytest
    from numpy.typing import NDArray

    Answer = Callable[[NDArray[np.float32], tuple[int, ...]], NDArray[np.float32]]

COREML = "CoreMLExecutionProvider"
REAL = ort.InferenceSession
# What the real session answered, by the request: tests ask the same again and again.
_ANSWERED: dict[tuple[str, tuple[int, ...], bytes], NDArray[np.float32]] = {}


class Subgraph:
    """Nodes that one provider took together."""

    def __init__(self, ep_name: str, nodes: int) -> None:
        self.ep_name = ep_name
        self._nodes = nodes

    def get_nodes(self) -> list[object]:
        """The nodes."""
        return [object() for _ in range(self._nodes)]


class PlayedEp:
    """CoreML as scripted: what it takes, the share of the time it takes, and what it answers.

    Everything else is a real session's on the CPU.
    """

    def __init__(
        self,
        *,
        takes: int = 49,
        of: int = 49,
        time_share: float = 1.0,
        answer: Answer = lambda vectors, shape: vectors,
        listed: bool = True,
        counts: bool = True,
    ) -> None:
        self.subgraphs = [Subgraph(COREML, 1) for _ in range(takes)] + [Subgraph(CPU, of - takes)]
        self.time_share = time_share
        self.answer = answer
        self.listed = listed
        self.counts = counts
        self.shapes: list[tuple[int, ...]] = []

    def __call__(self, path: str, settings: Any, *, providers: Any, enable_fallback: int) -> PlayedEp:
        assert enable_fallback == 0
        assert [name for name, _ in providers] == [COREML, CPU]
        self.path = path
        self.profiled = settings.enable_profiling
        self.real = REAL(path, settings, providers=[CPU])
        return self

    def __getattr__(self, name: str) -> Any:
        if name == "get_provider_graph_assignment_info" and self.counts:
            return lambda: self.subgraphs
        if name == "get_provider_graph_assignment_info":
            raise AttributeError(name)
        return getattr(self.real, name)

    def get_providers(self) -> list[str]:
        """What the session says it has."""
        return [COREML, CPU] if self.listed else [CPU]

    def run(self, outputs: list[str], feeds: dict[str, Any]) -> list[Any]:
        """As scripted."""
        self.shapes.append(feeds["input_ids"].shape)
        return [self.answer(self._vectors(outputs, feeds), self.shapes[-1])]

    def _vectors(self, outputs: list[str], feeds: dict[str, Any]) -> NDArray[np.float32]:
        key = (self.path, self.shapes[-1], feeds["input_ids"].tobytes() + feeds["attention_mask"].tobytes())
        if self.profiled or key not in _ANSWERED:
            _ANSWERED[key] = self.real.run(outputs, feeds)[0]
        return _ANSWERED[key]

    def end_profiling(self) -> str:
        """The real profile, each node's time shared out."""
        self.profiled = False
        file: str = self.real.end_profiling()
        shared = []
        for event in json.loads(Path(file).read_text(encoding="utf-8")):
            if event["cat"] != "Node":
                shared.append(event)
                continue
            for provider, share in ((COREML, self.time_share), (CPU, 1 - self.time_share)):
                if share:
                    args = event["args"] | {"provider": provider}
                    shared.append(event | {"args": args, "dur": event["dur"] * share})
        Path(file).write_text(json.dumps(shared), encoding="utf-8")
        return file


def play(monkeypatch: pytest.MonkeyPatch, **script: Any) -> PlayedEp:
    """Put a scripted CoreML in this process's ONNX Runtime."""
    played = PlayedEp(**script)
    monkeypatch.setattr(ort, "InferenceSession", played)
    monkeypatch.setattr(ort, "get_available_providers", lambda: [COREML, CPU])
    return played
