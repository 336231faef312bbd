"""Where a model's files come from: a local folder, then the sources that its configuration lists, in order.

Safetensors or ONNX only: pickled weights run code when they are loaded. No code of a repository is run.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from harness.artifacts.hub import Repository, fetch, find_repository
from harness.artifacts.local import (
    NEEDED,
    PICKLED,
    WEIGHTS,
    described_names,
    external_names,
    local_facts,
    local_folder,
    weights_in,
)
from harness.artifacts.manifest import TOKENIZER, file_sha256
from harness.artifacts.modules import (
    Facts,
    contradictions,
    described_in,
    fetch_described,
    graph_in,
    read_facts,
)
from harness.errors import ArtifactError, BadInputError, ModelUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from harness.artifacts.hub import Tell
    from harness.schema import ModelConfig, PrecisionConfig, SourceConfig

# The precision whose graph an artifact starts from.
_GRAPH_PRECISION = "fp32"


@dataclass(frozen=True)
class ModelFiles:
    """A folder with a model's files, where it came from, and their hashes.

    `graph` is the ONNX graph in it that is taken, None where the weights are exported. `pinned` tells
    whether the revision was fixed by its hash; None where there is none to fix. `facts` are what the files
    state, empty until they were read.
    """

    path: Path
    source: str
    sha256: dict[str, str]
    graph: str | None = None
    revision: str | None = None
    pinned: bool | None = None
    facts: Facts = field(default_factory=lambda: Facts({}))


def local_files(folder: str | Path) -> ModelFiles:
    """The user's own folder: safetensors weights, or an ONNX graph and its tokenizer.

    Raises:
        BadInputError: no such folder, or a file is missing, cannot be read or lies elsewhere.
    """
    path, names = local_folder(folder)
    return ModelFiles(path, f"local {path.name}", _hashes(path, names), graph_in(path))


def find_files(model: ModelConfig, *, tell: Tell = lambda _what, _left_s: None) -> ModelFiles:
    """The first source of a model that has it, and has it fit for use.

    Raises:
        BadInputError: `model.path` is set and unusable, or the files contradict the configuration.
        ArtifactError: a source has the model with another hash than the configured or the told one.
        ModelUnavailableError: no source has it; each is told with its reason.
        StorageError: there is not enough space for a download.
    """
    if model.path is not None:
        return replace(local_files(model.path), facts=local_facts(model.path))

    def find(source: SourceConfig) -> ModelFiles:
        if source.kind == "bundled":
            return _bundled(model, source)
        if source.kind == "hub":
            return _hub(model, source, tell)
        return _hub_graph(model, source, source.files.get(_GRAPH_PRECISION), tell)

    found, tried = _first(model.sources, find, tell)
    if found is None:
        raise ModelUnavailableError(
            f"model {model.shown} ({model.id}) cannot be had: {tried}. Connect to the hub once, or download "
            f"the model elsewhere and give model.path=DIR"
        )
    return found


def find_published(model: ModelConfig, precision: PrecisionConfig, *, tell: Tell) -> ModelFiles:
    """The graph that the model's folder, or the first repository among its sources, has for a precision.

    Raises:
        BadInputError: `model.path` is set and has no such graph, or has it unfit for use.
        ArtifactError: a repository has it with another hash than the configured or the told one.
        ModelUnavailableError: no repository has it; each is told with its reason.
        StorageError: there is not enough space for a download.
    """
    name = precision.name.partition("+")[0]  # what was changed of it stands behind
    if model.path is not None:
        return _local_graph(model.path, precision.file, name)

    def find(source: SourceConfig) -> ModelFiles:
        return _hub_graph(model, source, precision.file or source.files.get(name), tell, name)

    found, tried = _first([s for s in model.sources if s.kind != "bundled"], find, tell)
    if found is None:
        raise ModelUnavailableError(
            f"precision={name}: nobody publishes one of model {model.shown} ({model.id}): {tried}. Give "
            "precision.file=FILE where a repository names it otherwise, or a precision that is built here"
        )
    return found


def _first(
    sources: Iterable[SourceConfig], find: Callable[[SourceConfig], ModelFiles], tell: Tell
) -> tuple[ModelFiles | None, str]:
    """What is found in the first source that has it, and why each one before it was passed over."""
    reasons: list[str] = []
    for source in sources:
        try:
            files = find(source)
        except ModelUnavailableError as error:
            reasons.append(str(error))
            continue
        for reason in dict.fromkeys(reasons):
            tell(f"passed over: {reason}", None)
        return files, ""
    return None, "; ".join(dict.fromkeys(reasons)) or "it names no source"


def _local_graph(path: str, graph: str | None, precision: str) -> ModelFiles:
    """A graph of a lower precision in the user's own folder."""
    if graph is None:
        raise BadInputError(
            f"precision={precision}: which file of model.path={path} it is, is not said; give "
            "precision.file=FILE, such as onnx/model_quantized.onnx"
        )
    folder, _ = local_folder(path)
    facts = local_facts(path)
    try:
        if not (folder / graph).is_file():
            raise ValueError("no such file; give one that is there")
        _check_graph(folder / graph, precision)
        names = [graph, *external_names(folder, graph)]
        if missing := [name for name in names if not (folder / name).is_file()]:
            raise ValueError(f"it keeps data in {missing[0]}, which is missing; put the file beside it")
    except ValueError as error:
        raise BadInputError(f"model.path={path}: {graph}: {error}") from None
    dense = [f"{module}/{WEIGHTS}" for module in facts.dense]
    return ModelFiles(
        folder, f"local {folder.name}, {graph}", _hashes(folder, [*names, *dense]), graph, facts=facts
    )


def _bundled(model: ModelConfig, source: SourceConfig) -> ModelFiles:
    try:
        spec = importlib.util.find_spec(source.package or "")
    except (ImportError, ValueError):  # the package's parent is missing, or it is no name
        spec = None
    if spec is None or spec.origin is None:
        raise ModelUnavailableError(f"bundled package {source.package} is not installed")
    path = Path(spec.origin).parent / (source.folder or "")
    if missing := [name for name in (*NEEDED, WEIGHTS) if not (path / name).is_file()]:
        raise ModelUnavailableError(f"bundled package {source.package} has no {', '.join(missing)}")
    hashes = _hashes(path, [*described_names(path), *weights_in(path)])
    _check_hashes(source, hashes, f"package {source.package}", "reinstall the package")
    label = f"bundled {source.package}"
    pinned = None if model.revision is None else True
    return ModelFiles(path, label, hashes, None, model.revision, pinned, read_facts(path))


def _hub(model: ModelConfig, source: SourceConfig, tell: Tell) -> ModelFiles:
    """The original weights."""
    repository = _repository(model, source, tell)
    weights = [WEIGHTS] if WEIGHTS in repository.files else _shards(repository.files)
    missing = [] if weights else ["safetensors weights"]
    missing += [name for name in NEEDED if name not in repository.files]
    if missing:
        pickled = f"; {PICKLED} is pickled and never loaded" if PICKLED in repository.files else ""
        raise ModelUnavailableError(f"{repository.label}: has no {', no '.join(missing)}{pickled}")
    folder = fetch_described(repository, tell)
    facts = _facts(repository, folder)
    if problems := _contradictions(model, facts):
        raise BadInputError(*(f"{line} ({repository.label})" for line in problems))
    weights += [f"{path}/{WEIGHTS}" for path in facts.dense]
    return _taken(source, repository, [*described_in(repository, folder), *weights], facts, tell)


def _hub_graph(
    model: ModelConfig, source: SourceConfig, graph: str | None, tell: Tell, precision: str = _GRAPH_PRECISION
) -> ModelFiles:
    """A graph of a precision that somebody exported."""
    if graph is None:
        repo = source.repo or model.id
        raise ModelUnavailableError(f"hub {repo}: the source names no {precision} file")
    repository = _repository(model, source, tell)
    if missing := [name for name in (graph, TOKENIZER) if name not in repository.files]:
        raise ModelUnavailableError(f"{repository.label}: has no {', no '.join(missing)}")
    folder = fetch_described(repository, tell)
    facts = _facts(repository, folder, exported=True)
    if problems := _contradictions(model, facts):
        raise ModelUnavailableError(f"{repository.label}: {'; '.join(problems)}")
    fetch(repository, [graph], tell=tell)
    try:
        _check_graph(folder / graph, precision)
        external = external_names(folder, graph)  # fetched only for a graph that can be used
    except ValueError as error:
        raise ModelUnavailableError(f"{repository.label}: {graph}: {error}") from None
    names = [*described_in(repository, folder), graph, *external, *(f"{p}/{WEIGHTS}" for p in facts.dense)]
    return _taken(source, repository, names, facts, tell, graph=graph)


def _taken(
    source: SourceConfig,
    repository: Repository,
    names: list[str],
    facts: Facts,
    tell: Tell,
    *,
    graph: str | None = None,
) -> ModelFiles:
    folder = fetch(repository, names, tell=tell)
    hashes = _hashes(folder, names)
    _check_hashes(source, hashes, repository.label, "do not use it")
    label = repository.label if graph is None else f"{repository.label}, {graph}"
    return ModelFiles(folder, label, hashes, graph, repository.commit, repository.pinned, facts)


def _repository(model: ModelConfig, source: SourceConfig, tell: Tell) -> Repository:
    repo = source.repo or model.id
    if repo is None:
        raise ModelUnavailableError("hub: the model has no id")
    # The model's own revision says nothing of another repository, but a copy of its own is meant to have it.
    own = repo == model.id or source.kind == "hub"
    return find_repository(repo, source.revision or (model.revision if own else None), tell=tell)


def _facts(repository: Repository, folder: Path, *, exported: bool = False) -> Facts:
    try:
        return read_facts(folder, exported=exported)
    except BadInputError as error:
        raise ModelUnavailableError(f"{repository.label}: {'; '.join(error.problems)}") from None


def _contradictions(model: ModelConfig, facts: Facts) -> list[str]:
    """Where a whole configuration states otherwise than the files; another cut of the vectors is a choice."""
    problems = contradictions(model.model_dump(exclude={"truncate_dim"}), facts)
    cut = facts.stated.get("truncate_dim")
    if cut is not None and cut.value < model.dim and model.truncate_dim is None:
        problems.append(
            f"model.dim={model.dim}: {cut.file} says truncate_dim={cut.value}; leave model.dim out, so "
            "that its vectors are cut to that"
        )
    return problems


def _check_graph(path: Path, precision: str) -> None:
    """Raises ValueError where the graph cannot be used, or is of another precision."""
    from harness.artifacts.graphs import check_graph, read_graph

    check_graph(read_graph(path), precision=precision)


def _shards(names: Iterable[str]) -> list[str]:
    return sorted(n for n in names if n.startswith("model-") and n.endswith(".safetensors") and "/" not in n)


def _check_hashes(source: SourceConfig, hashes: dict[str, str], where: str, remedy: str) -> None:
    """Hold files against the configured hashes; those of the source's graphs that are not taken stay aside.

    Raises:
        ArtifactError: one differs.
    """
    for name, expected in source.sha256.items():
        if hashes.get(name) != expected and (name in hashes or name not in source.files.values()):
            raise ArtifactError(
                f"{name} of {where} has sha256 {hashes.get(name)}, expected {expected}: "
                f"it is not the model it claims to be; {remedy}"
            )


def _hashes(path: Path, names: Iterable[str]) -> dict[str, str]:
    """The hashes of files, by path within the folder."""
    return {name: _hash(path / name, _seen(path / name)) for name in sorted(set(names))}


def _seen(file: Path) -> tuple[int, ...]:
    stat = file.stat()
    return stat.st_ino, stat.st_size, stat.st_mtime_ns


@lru_cache(maxsize=1024)
def _hash(file: Path, _seen: tuple[int, ...]) -> str:
    """Of a file that did not change it is computed once, however many plans and steps ask."""
    return file_sha256(file)
