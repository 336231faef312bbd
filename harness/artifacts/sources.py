"""Where a model's files come from: a local folder, a bundled package, a model hub, in this order."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.artifacts.manifest import file_sha256
from harness.errors import ArtifactError, BadInputError, ModelUnavailableError

if TYPE_CHECKING:
    from harness.config import ModelConfig, SourceConfig

WEIGHTS = "model.safetensors"
# What a build reads. Safetensors only: pickled weights run code when they are loaded.
NEEDED = ("config.json", "tokenizer.json")
HUB_PATTERNS = ["*.json", "*.safetensors", "*.txt", "*/config.json"]


@dataclass(frozen=True)
class ModelFiles:
    """A folder with a model's files, where it came from, and their hashes."""

    path: Path
    source: str
    sha256: dict[str, str]


def local_files(folder: str | Path) -> ModelFiles:
    """The user's own folder.

    Raises:
        BadInputError: no such folder, or a needed file is missing.
    """
    path = Path(folder).expanduser().resolve()
    if not path.is_dir():
        raise BadInputError(f"model.path={folder}: no such directory")
    missing = [name for name in NEEDED if not (path / name).is_file()]
    if not _weights(path):
        missing.append("*.safetensors")
    if missing:
        raise BadInputError(
            f"model.path={folder}: has no {', no '.join(missing)}; save the model there with "
            "SentenceTransformer.save_pretrained, its tokenizer included"
        )
    return ModelFiles(path, f"local {path.name}", _hashes(path))


def find_files(model: ModelConfig) -> ModelFiles:
    """The first source of a model that has it.

    Raises:
        BadInputError: `model.path` is set and unusable.
        ArtifactError: a source has the model with another hash than the configured one.
        ModelUnavailableError: no source has it; each is told with its reason.
    """
    if model.path is not None:
        return local_files(model.path)
    reasons = []
    for source in model.sources:
        try:
            return _bundled(source) if source.kind == "bundled" else _hub(model, source)
        except ModelUnavailableError as error:
            reasons.append(str(error))
    tried = "; ".join(reasons) if reasons else "it names no source"
    raise ModelUnavailableError(
        f"model {model.name} ({model.id}) cannot be had: {tried}. Connect to the hub once, or download "
        f"the model elsewhere and give model.path=DIR"
    )


def _bundled(source: SourceConfig) -> ModelFiles:
    try:
        spec = importlib.util.find_spec(source.package or "")
    except (ImportError, ValueError):  # the package's parent is missing, or it is no name
        spec = None
    if spec is None or spec.origin is None:
        raise ModelUnavailableError(f"bundled package {source.package} is not installed")
    path = Path(spec.origin).parent / (source.folder or "")
    if missing := [name for name in (*NEEDED, WEIGHTS) if not (path / name).is_file()]:
        raise ModelUnavailableError(f"bundled package {source.package} has no {', '.join(missing)}")
    hashes = _hashes(path)
    for name, expected in source.sha256.items():
        if hashes.get(name) != expected:
            raise ArtifactError(
                f"{name} of package {source.package} has sha256 {hashes.get(name)}, expected {expected}: "
                "it is not the model it claims to be; reinstall the package"
            )
    return ModelFiles(path, f"bundled {source.package}", hashes)


def _hub(model: ModelConfig, source: SourceConfig) -> ModelFiles:
    repo = source.repo or model.id
    if repo is None:
        raise ModelUnavailableError("hub: the model has no id")
    try:
        from huggingface_hub import constants, snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
    except ImportError:
        raise ModelUnavailableError(
            f"hub {repo}: huggingface_hub is not installed (pip install 'embedding-harness[build]')"
        ) from None
    where = f"hub {repo} at {(model.revision or 'main')[:12]}"
    try:
        folder = snapshot_download(repo, revision=model.revision, allow_patterns=HUB_PATTERNS, etag_timeout=5)
    except LocalEntryNotFoundError:
        why = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else "the hub cannot be reached"
        raise ModelUnavailableError(f"{where}: not in the local cache, and {why}") from None
    except (HfHubHTTPError, OSError, ValueError) as error:  # ValueError: no name of a repository
        raise ModelUnavailableError(f"{where}: {' '.join(str(error).split())[:200]}") from None
    path = Path(folder)
    if not _weights(path) or any(not (path / name).is_file() for name in NEEDED):
        raise ModelUnavailableError(f"{where}: has no safetensors weights, config.json or tokenizer.json")
    return ModelFiles(path, where, _hashes(path))


def _weights(path: Path) -> list[Path]:
    return sorted(path.glob("*.safetensors"))


def _hashes(path: Path) -> dict[str, str]:
    """The hashes of every file that a build may read, by path within the folder."""
    files = [*path.glob("*.json"), *path.glob("*/config.json"), *_weights(path)]
    return {file.relative_to(path).as_posix(): file_sha256(file) for file in sorted(files)}
