"""An artifact: a folder with a graph, a tokenizer, a reference, and the manifest that vouches for them.

The manifest lists each file with its hash; the hash of the manifest is the artifact's name. So one
flipped bit anywhere, in a file or in the manifest, is noticed, and two equal names are equal bytes.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.errors import ArtifactError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

# Of the manifest's fields and of what a build writes; a new one rebuilds every artifact.
FORMAT_VERSION = 6

MANIFEST = "manifest.json"
GRAPH = "model.onnx"
TOKENIZER = "tokenizer.json"
REFERENCE = "reference.npy"
VERIFICATION = "verification.npy"


@dataclass(frozen=True)
class Manifest:
    """What an artifact is and where it came from.

    `files` maps each file's name to its sha256; `exporter` maps package names to versions; `opset` is
    None where there is no graph. `revision` is the commit that the files are of, `revision_pinned` whether it
    was fixed in advance and not merely what the repository held; both None for a local folder.
    `reference_by` says what computed the reference vectors. `precision_settings` are the build's own;
    `base_sha256` names the fp32 artifact that another precision was built from. `truncated` vectors are the
    first `dim` dimensions of the model's.
    """

    format_version: int
    model: str
    model_id: str | None
    revision: str | None
    revision_pinned: bool | None
    weights: str
    architecture: str | None
    precision: str
    precision_settings: dict[str, Any]
    base_sha256: str | None
    source: str
    source_files: dict[str, str]
    exporter: dict[str, str]
    opset: int | None
    pooling: str
    pooling_in_graph: bool
    normalize: bool
    dim: int
    truncated: bool
    max_length: int
    params: int
    prompts: dict[str, str]
    pad_id: int
    pad_token: str
    texts_sha256: str
    reference_by: str
    files: dict[str, str]

    def to_json(self) -> str:
        """Canonical JSON: the same manifest is the same bytes."""
        return json.dumps(asdict(self), indent=1, sort_keys=True, ensure_ascii=False) + "\n"

    @property
    def sha256(self) -> str:
        """The artifact's name: the hash of the canonical JSON."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()


@dataclass(frozen=True)
class Artifact:
    """A folder and its manifest."""

    path: Path
    manifest: Manifest

    @property
    def sha256(self) -> str:
        """The artifact's name."""
        return self.manifest.sha256

    @property
    def bytes(self) -> int:
        """What a deployment needs on disk: the graph with its data, and the tokenizer."""
        extra = {REFERENCE, VERIFICATION}
        return sum((self.path / name).stat().st_size for name in self.manifest.files if name not in extra)

    @property
    def graph(self) -> Path:
        """The ONNX graph."""
        return self.path / GRAPH

    @property
    def tokenizer(self) -> Path:
        """The tokenizer, padding and truncation switched off; one that cuts a text's beginning says so."""
        return self.path / TOKENIZER

    def reference(self) -> NDArray[np.float32] | None:
        """The fp32 reference vectors of the quality texts: float32 [n_texts, dim]; None for a twin."""
        return _vectors(self.path / REFERENCE) if REFERENCE in self.manifest.files else None

    def verification(self) -> NDArray[np.float32]:
        """The fp32 reference vectors of the verification texts: float32 [n_texts, dim]."""
        return _vectors(self.path / VERIFICATION)


def read_artifact(path: Path) -> Artifact:
    """The artifact in a folder, its manifest read but its files not yet verified.

    Raises:
        ArtifactError: no manifest, or one that cannot be read.
    """
    try:
        raw: dict[str, Any] = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        return Artifact(path, Manifest(**raw))
    except (OSError, ValueError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise ArtifactError(f"{path} holds no readable artifact: {reason}") from None


def problems_of(artifact: Artifact) -> list[str]:
    """What is wrong with an artifact's files: missing or with another hash; empty where all is well.

    A folder still under the artifact's own name tells the manifest's hash too.
    """
    problems = []
    name = artifact.path.resolve().name
    if len(name) == len(artifact.sha256) and name != artifact.sha256:
        problems.append(f"{MANIFEST}: sha256 {artifact.sha256[:12]}…, expected {name[:12]}…")
    for name, expected in sorted(artifact.manifest.files.items()):
        try:
            found = file_sha256(artifact.path / name)
        except OSError as error:
            problems.append(f"{name}: {error.strerror}")
            continue
        if found != expected:
            problems.append(f"{name}: sha256 {found[:12]}…, expected {expected[:12]}…")
    return problems


def file_sha256(path: Path) -> str:
    """The hash of a file, hexadecimal.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _vectors(path: Path) -> NDArray[np.float32]:
    vectors: NDArray[np.float32] = np.load(path, allow_pickle=False)
    return vectors
