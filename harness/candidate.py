"""What one would deploy, and the identity of measuring it.

A candidate is model × precision × runtime × execution provider × its options × threads × session options.
A run is a candidate under a workload; two runs are the same only if everything that matters is the same.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from harness.compose import options_of
from harness.config import load_ep
from harness.units import counted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.schema import Config


@dataclass(frozen=True)
class Candidate:
    """What one would deploy; `threads` None and a session option left out are the runtime's default.

    `truncate_dim`: what the vectors are cut to, None where all of the model's are kept.
    """

    model: str
    model_id: str | None
    revision: str | None
    weights: str
    precision: str
    runtime: str
    ep: str
    ep_provider: str
    ep_options: dict[str, str]
    threads: int | None
    pooling: str
    dim: int
    script: dict[str, Any] | None = field(default=None)
    session_options: dict[str, Any] = field(default_factory=dict)
    truncate_dim: int | None = None

    @classmethod
    def from_config(cls, config: Config) -> Candidate:
        """The candidate a plan measures; unset EP options are left out."""
        options = {k: str(v) for k, v in sorted(config.ep.options.items()) if v is not None}
        model, script = config.model, config.runtime.script
        return cls(
            model=model.name,
            model_id=model.id,
            revision=None if model.path else model.revision,
            weights=model.weights,
            precision=config.precision.name,
            runtime=config.runtime.name,
            ep=config.ep.name,
            ep_provider=config.ep.provider,
            ep_options=options,
            threads=config.threads,
            pooling=model.pooling,
            dim=model.vector_dim,
            script=None if script is None else script.model_dump(),
            session_options=config.session.chosen,
            truncate_dim=model.truncate_dim,
        )

    @property
    def label(self) -> str:
        """A short name for tables; see `labelled`."""
        return self.labelled(self.model)

    def labelled(self, model: str) -> str:
        """Model, as it is to be shown, precision, runtime if unusual, EP; threads and options if set.

        Of the provider's options those that differ from the configured ones, of the session's all.
        """
        parts = [model, self.precision]
        if self.weights != "trained":
            parts.insert(1, f"({self.weights} weights)")
        if self.runtime != "onnxruntime":
            parts.append(self.runtime)
        parts.append(self.ep)
        usual = load_ep(self.ep).options if self.ep in options_of("ep") else {}
        parts += [f"{k}={v}" for k, v in self.ep_options.items() if v != str(usual.get(k))]
        if self.truncate_dim is not None:
            parts.append(f"dim={self.truncate_dim}")
        if self.threads is not None:
            parts.append(counted(self.threads, "thread"))
        for name, value in self.session_options.items():
            parts.append(_static(value) if name == "static_shapes" else f"{name}={_word(value)}")
        return " ".join(parts)


def _static(shapes: Mapping[str, int]) -> str:
    """Texts × tokens that the graph is fixed to, ``?`` where an axis is dynamic."""
    return f"static {shapes.get('batch_size', '?')}×{shapes.get('sequence_length', '?')}"


def _word(value: object) -> str:
    """A value as it is typed."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def identity(parts: Mapping[str, Any]) -> str:
    """The hash of everything that makes a run what it is: 64 hexadecimal digits.

    Canonical JSON (sorted keys) of plain values, so that the order of keys does not matter.
    """
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def run_identity(
    candidate: Candidate,
    workload: Mapping[str, Any],
    *,
    artifact_sha256: str | None,
    requests: Mapping[str, int],
    libraries: Mapping[str, str],
    machine_id: str,
) -> str:
    """The identity of measuring `candidate` under `workload` here: its `config_hash`.

    Args:
        candidate: what is measured.
        workload: the workload's own description, plain values.
        artifact_sha256: of the artifact; None where there is none (the run is not possible here).
        requests: timed and warm-up requests of a launch.
        libraries: versions that change what is measured, by name.
        machine_id: of this machine.
    """
    return identity(
        {
            "candidate": asdict(candidate),
            "workload": dict(workload),
            "artifact": artifact_sha256,
            "requests": dict(requests),
            "libraries": dict(libraries),
            "machine": machine_id,
        }
    )
