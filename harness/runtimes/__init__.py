"""What executes an artifact. Each runtime is a module with a `load` function; `load_session` finds it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.errors import RuntimeUnavailableError

if TYPE_CHECKING:
    from harness.artifacts.manifest import Artifact
    from harness.runtimes.base import Session, SessionOptions


def load_session(runtime: str, artifact: Artifact, options: SessionOptions) -> Session:
    """Load an artifact in a runtime, whose package is imported only now.

    Raises:
        RuntimeUnavailableError: no such runtime.
        EpUnavailableError: the execution provider is not in this build, or did not take the graph.
    """
    if runtime == "onnxruntime":
        from harness.runtimes import onnxruntime

        return onnxruntime.load(artifact, options)
    if runtime == "fake":
        from harness.runtimes import fake

        return fake.load(artifact, options)
    raise RuntimeUnavailableError(f"runtime '{runtime}' is unknown here: valid: onnxruntime, fake")
