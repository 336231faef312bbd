"""The artifact cache: each artifact built once, verified before every use, rebuilt when damaged.

Layout under the user's cache directory::

    artifacts/<sha256 of the manifest>/     the files; the folder's name vouches for all of them
    recipes/<sha256 of the recipe>.json     which artifact a recipe gave
    recipes/<sha256 of the recipe>.lock     held while it is built; freed by the system on a crash

A recipe is what was asked for (model, revision, sources, pooling, texts): it can be told without the
tools that build, so that a cached artifact needs none of them.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.artifacts import fake
from harness.artifacts.hub import cache_dir
from harness.artifacts.manifest import (
    FORMAT_VERSION,
    MANIFEST,
    Artifact,
    Manifest,
    file_sha256,
    problems_of,
    read_artifact,
)
from harness.artifacts.precision import settings_of
from harness.artifacts.process import run_build
from harness.artifacts.room import BYTES_PER_PARAMETER, require_room, weights_bytes
from harness.artifacts.sources import ModelFiles, find_files, find_published, local_files
from harness.artifacts.twin import SEED, count_parameters
from harness.artifacts.verification import verification_texts
from harness.candidate import identity
from harness.config import load_precision
from harness.errors import ArtifactError, ModelUnavailableError, StorageError
from harness.locks import hold
from harness.texts import quality_texts, texts_sha256

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.artifacts.process import Tell
    from harness.schema import ModelConfig, PrecisionConfig

    Check = Callable[[Artifact], None]


@dataclass(frozen=True)
class Recipe:
    """What is asked for: a model as configured, at a precision, for a runtime."""

    model: ModelConfig
    precision: PrecisionConfig
    runtime: str

    @property
    def is_published(self) -> bool:
        """Whether the graph is not built from the fp32 artifact, but had as others published it."""
        return self.precision.method == "published" and self.runtime != "fake"

    @property
    def sha256(self) -> str:
        """The hash of everything a build depends on but its tools.

        Raises:
            BadInputError: `model.path` is set and unusable.
        """
        model = self.model
        local = None if model.path is None else local_files(model.path).sha256
        if local is not None and self.is_published:
            local = local | find_published(model, self.precision, tell=lambda *_: None).sha256
        return identity(
            {
                "format": FORMAT_VERSION,
                "model": model.model_dump(exclude={"path"}),
                "local": local,
                "precision": [self.precision.name, settings_of(self.precision)],
                "runtime": self.runtime,
                "texts": texts_sha256(quality_texts()),
            }
        )


# Where a twin's weights come from.
RANDOM = f"random weights, seed {SEED}"


def prepare(recipe: Recipe, *, check: Check, tell: Tell, root: Path | None = None) -> Artifact:
    """The artifact of a recipe: the cached one if every hash holds, else built anew.

    Safe when several processes ask at once: one builds, the others wait and take what it built.

    Args:
        recipe: what is asked for.
        check: called with a fresh build before it is published; raises ArtifactError to refuse it.
        tell: called with what is being done and the seconds that are probably left (None: unknown).
        root: the cache; by default `cache_dir()`.

    Raises:
        BadInputError: `model.path` is set and its files are unusable.
        ModelUnavailableError: no source has the trained weights.
        ArtifactError: there is too little memory for the build, it failed, or it was refused.
        StorageError: the cache cannot be written, or is too small for the build.
    """
    root = root or cache_dir()
    key = recipe.sha256
    index = root / "recipes" / f"{key}.json"
    if artifact := _cached(root, index, tell):
        return artifact
    base = files = None
    if recipe.is_published:
        if recipe.model.weights != "trained":
            raise ModelUnavailableError(
                f"precision={recipe.precision.name}: nobody publishes random weights; give a precision that "
                "is built here"
            )
        files = find_published(recipe.model, recipe.precision, tell=tell)
    if recipe.precision.method != "none" and recipe.runtime != "fake":
        fp32 = Recipe(recipe.model, load_precision("fp32"), recipe.runtime)
        base = prepare(fp32, check=check, tell=tell, root=root)
    elif recipe.model.weights == "trained" and recipe.runtime != "fake":
        files = find_files(recipe.model, tell=tell)
    try:
        index.parent.mkdir(parents=True, exist_ok=True)
        (root / "artifacts").mkdir(exist_ok=True)
        with hold(index.with_suffix(".lock"), lambda who: tell(f"waiting for a build by {who}", None)):
            if artifact := _cached(root, index, tell):
                return artifact
            return _build(recipe, files, base, root, index, check=check, tell=tell)
    except OSError as error:
        raise StorageError(
            f"artifact cache {root} cannot be written: {error.strerror or error}; free space, or set "
            "XDG_CACHE_HOME to a directory that can"
        ) from None


def folder_of(sha256: str, root: Path | None = None) -> Path:
    """Where an artifact is kept; `root` is the cache, by default `cache_dir()`."""
    return (root or cache_dir()) / "artifacts" / sha256


def _cached(root: Path, index: Path, tell: Tell) -> Artifact | None:
    try:
        name = json.loads(index.read_text(encoding="utf-8"))["artifact_sha256"]
        artifact = read_artifact(folder_of(str(name), root))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    except ArtifactError as error:
        tell(f"rebuilding: {error}", None)
        return None
    if problems := problems_of(artifact):
        tell(f"rebuilding the cached {artifact.manifest.model}: {'; '.join(problems)}", None)
        return None
    return artifact


def _build(
    recipe: Recipe,
    files: ModelFiles | None,
    base: Artifact | None,
    root: Path,
    index: Path,
    *,
    check: Check,
    tell: Tell,
) -> Artifact:
    prefix = f".building-{index.stem[:12]}-"
    for left_over in (root / "artifacts").glob(f"{prefix}*"):  # of a build that was killed
        shutil.rmtree(left_over, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=prefix, dir=root / "artifacts") as scratch:
        target = Path(scratch) / "artifact"
        target.mkdir()
        if weights := _weights_bytes(recipe, files, base):
            what = f"{recipe.model.shown} {recipe.precision.name}"
            require_room(weights, root / "artifacts", what=what)
        if recipe.runtime == "fake":
            known = _fake(recipe, target)
        elif base is not None:
            known = _converted(recipe, base, files, target, tell)
        else:
            known = _export(recipe, files, target, tell)
        model = recipe.model
        manifest = Manifest(
            format_version=FORMAT_VERSION,
            model=model.name,
            model_id=model.id,
            weights=model.weights,
            precision=recipe.precision.name,
            precision_settings=settings_of(recipe.precision),
            base_sha256=None if base is None else base.sha256,
            pooling=model.pooling,
            pooling_in_graph=True,
            normalize=model.normalize,
            dim=model.vector_dim,
            truncated=model.truncate_dim is not None,
            max_length=model.max_length,
            prompts=model.prompts.model_dump(),
            texts_sha256=texts_sha256(quality_texts()),
            files={p.name: file_sha256(p) for p in sorted(target.iterdir())},
            **known,
        )
        (target / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
        tell("verifying against the reference", None)
        check(Artifact(target, manifest))
        return _publish(target, manifest, root, index)


def _weights_bytes(recipe: Recipe, files: ModelFiles | None, base: Artifact | None) -> int | None:
    """Bytes of the fp32 weights that a build holds; None where it has none."""
    if recipe.runtime == "fake":
        return None
    if base is not None:
        return weights_bytes(base.path, base.manifest.files)
    if files is not None:
        return weights_bytes(files.path, files.sha256)
    return count_parameters(recipe.model.model_dump()) * BYTES_PER_PARAMETER


def _publish(target: Path, manifest: Manifest, root: Path, index: Path) -> Artifact:
    """Move a finished build to its name, and only then let the recipe point to it."""
    for path in target.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    final = folder_of(manifest.sha256, root)
    if not _is_whole(final):  # another recipe may have given the same artifact, and somebody reads it
        shutil.rmtree(final, ignore_errors=True)
        target.rename(final)
    scratch = index.with_suffix(".tmp")
    scratch.write_text(json.dumps({"artifact_sha256": manifest.sha256}), encoding="utf-8")
    scratch.replace(index)
    return Artifact(final, manifest)


def _is_whole(folder: Path) -> bool:
    try:
        artifact = read_artifact(folder)
    except ArtifactError:
        return False
    return not problems_of(artifact)


def _fake(recipe: Recipe, target: Path) -> dict[str, Any]:
    model = recipe.model
    texts = verification_texts(model.max_length)
    known = fake.write_files(target, model.vector_dim, model.max_length, texts, model.prompts.default)
    return known | {"revision": None if model.path else model.revision, "revision_pinned": None}


def _pooled(model: ModelConfig, files: ModelFiles | None) -> dict[str, Any]:
    """What a build is told of a model's files and of what is done after its last layer."""
    return {
        "source": None if files is None else str(files.path),
        "graph": None if files is None else files.graph,
        "dense": [] if files is None else files.facts.dense,
        "pooling": model.pooling,
        "normalize": model.normalize,
        "dim": model.dim,
        "truncate_dim": model.truncate_dim,
    }


def _export(recipe: Recipe, files: ModelFiles | None, target: Path, tell: Tell) -> dict[str, Any]:
    model = recipe.model
    request = _pooled(model, files) | {
        "lower_case": files is not None and files.facts.lower_case,
        "truncation_side": None if files is None else files.facts.truncation_side,
        "twin": model.model_dump(),
        "target": str(target),
        "max_length": model.max_length,
        "prompt": model.prompts.default,
        "quality_texts": quality_texts(),
        "verification_texts": verification_texts(model.max_length),
    }
    source = RANDOM if files is None else files.source
    what = f"{model.shown} {recipe.precision.name}"
    known = run_build(request, what=what, source=source, tell=tell, path=model.path)
    return known | _origin(files or ModelFiles(Path(), source, {}))


def _origin(files: ModelFiles) -> dict[str, Any]:
    return {
        "source": files.source,
        "source_files": files.sha256,
        "revision": files.revision,
        "revision_pinned": files.pinned,
    }


def _converted(
    recipe: Recipe, base: Artifact, published: ModelFiles | None, target: Path, tell: Tell
) -> dict[str, Any]:
    precision = {"precision": recipe.precision.name}
    request = {
        "published": None if published is None else _pooled(recipe.model, published) | precision,
        "base": str(base.path),
        "target": str(target),
        "settings": settings_of(recipe.precision),
        "architecture": base.manifest.architecture,
    }
    what = f"{recipe.model.shown} {recipe.precision.name}"
    source = "its fp32 artifact" if published is None else published.source
    known = run_build(request, what=what, source=source, tell=tell, path=recipe.model.path)
    carried = (
        "params", "pad_id", "pad_token", "reference_by", "architecture", "source", "source_files", "revision",
        "revision_pinned",
    )  # fmt: skip
    origin = {name: getattr(base.manifest, name) for name in carried}
    if published is not None:
        origin |= _origin(published)
    return {**origin, **known, "exporter": {**base.manifest.exporter, **known["exporter"]}}
