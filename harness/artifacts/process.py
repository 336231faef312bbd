"""The build's process, seen from outside: start it, tell its steps, take its answer or its reason."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from harness.artifacts.build import STEPS
from harness.errors import ArtifactError, BadInputError

if TYPE_CHECKING:
    from collections.abc import Callable

    Tell = Callable[[str, float | None], None]


def run_build(
    request: dict[str, Any], *, what: str, source: str, tell: Tell, path: str | None = None
) -> dict[str, Any]:
    """Build in a process of its own and wait for it.

    Args:
        request: as `harness.artifacts.build` takes it.
        what: is built, for people.
        source: it is built from, for people.
        tell: called with each step and the seconds that are probably left (None: unknown).
        path: the user's own folder that it is built from, as it was typed; None where it is none.

    Returns:
        The manifest's fields that only a build knows.

    Raises:
        BadInputError: the files in `path` are at fault.
        ArtifactError: the build failed, with its reason.
    """
    started = time.monotonic()
    done = 0.0
    answer: dict[str, Any] = {}
    with tempfile.TemporaryFile() as log:
        builder = subprocess.Popen(
            [sys.executable, "-m", "harness.artifacts.build"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env={**os.environ, "TOKENIZERS_PARALLELISM": "false", "PYTHONWARNINGS": "ignore"},
        )
        assert builder.stdin is not None
        assert builder.stdout is not None
        try:
            with suppress(BrokenPipeError):  # it died at once: its log says why
                builder.stdin.write(json.dumps(request))
                builder.stdin.close()
            for line in builder.stdout:
                answer = json.loads(line)
                if step := answer.get("step"):
                    elapsed = time.monotonic() - started
                    left = elapsed / done * (1 - done) if done else None
                    tell(f"building {what} (once): {step}", left)
                    done += STEPS[step]
            builder.wait()
        finally:
            if builder.poll() is None:
                builder.kill()
                builder.wait()
            builder.stdout.close()
        if "result" in answer:
            result: dict[str, Any] = answer["result"]
            return result
        log.seek(0)
        lines = log.read().decode(errors="replace").strip().splitlines()
        reason = answer.get("error") or (lines[-1] if lines else f"exit code {builder.returncode}")
    if path is not None and answer.get("bad_input"):
        raise BadInputError(f"model.path={path}: {reason}")
    if builder.returncode == -9:
        reason = "the process was killed, most likely for want of memory"
    if "No module named" in reason:
        reason += "; building needs pip install 'embedding-harness[build]'"
    raise ArtifactError(f"model {what} could not be built from {source}: {reason}")
