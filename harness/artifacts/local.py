"""A model's folder of the user's own: what must lie in it, and whether its files are whole and of one model.

Everything is found by reading, before anything is built. Each line names the folder as it was typed.
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from harness.artifacts.files import (
    ANEW,
    of_two_models,
    read_json,
    read_shapes,
    read_tokenizer,
    require_file,
    require_rows,
)
from harness.artifacts.manifest import TOKENIZER
from harness.artifacts.modules import CONFIG, describes, graph_in, module_folders, read_facts, token_positions
from harness.errors import BadInputError
from harness.paths import typed_path

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.artifacts.modules import Facts

WEIGHTS = "model.safetensors"
# Names the files of weights that are too large for one.
_INDEX = "model.safetensors.index.json"
# What a build from safetensors reads at least; from a graph, only the tokenizer beside it.
NEEDED = (CONFIG, TOKENIZER)
PICKLED = "pytorch_model.bin"
# A table that ids or places are looked up in, by the ends of its names.
_TOKEN_TABLES = ("word_embeddings.weight", "embed_tokens.weight", "tok_embeddings.weight", "wte.weight")
_POSITION_TABLES = ("position_embeddings.weight", "wpe.weight")
# Of a tokenizer, beside its own file.
_SPECIAL = ("special_tokens_map.json", "added_tokens.json")


def local_folder(path: str | Path) -> tuple[Path, list[str]]:
    """The folder that was typed, absolute, and the files in it that a build may read, by their names there.

    Raises:
        BadInputError: there is no folder, or a file is missing, cannot be opened or lies elsewhere.
    """
    with _named(path):
        folder = typed_path(path)
        try:
            empty = next(folder.iterdir(), None) is None
        except OSError as error:
            kinds = {FileNotFoundError: "no such directory", NotADirectoryError: "no such directory, a file"}
            raise BadInputError(
                f"{kinds.get(type(error), error.strerror)}; give the folder that the model is saved in, or "
                "model.id=ORG/NAME for one on a hub"
            ) from None
        folder = folder.resolve()
        weights, graph = weights_in(folder), graph_in(folder)
        missing = [n for n in (NEEDED if graph is None else (TOKENIZER,)) if not (folder / n).is_file()]
        if not weights and graph is None:
            missing.append("*.safetensors")
        if missing:
            pickled = f" ({PICKLED} is pickled and never loaded)" if (folder / PICKLED).is_file() else ""
            lacks = "is empty" if empty else f"has no {', no '.join(missing)}"
            raise BadInputError(
                f"{lacks}; save the model there with SentenceTransformer.save_pretrained, its tokenizer "
                f"included{pickled}"
            )
        names = [*described_names(folder), *weights, *([] if graph is None else [graph])]
        for name in names:
            require_file(folder, name)
        return folder, names if graph is None else [*names, *_data_of(folder, graph)]


def local_facts(path: str | Path) -> Facts:
    """What the files of the user's folder state, once they are seen to be whole and of one model.

    Raises:
        BadInputError: they are not, or something of the model cannot be applied.
        RuntimeUnavailableError: there is a graph, and the package that reads it is not installed.
    """
    folder, names = local_folder(path)
    seen = [(folder / name).stat() for name in names]
    with _named(path):
        return _facts(folder, (*names, *((stat.st_mtime_ns, stat.st_size) for stat in seen)))


@lru_cache(maxsize=4)
def _facts(folder: Path, _seen: tuple[object, ...]) -> Facts:
    """As `local_facts`; a folder that did not change is read once, however many plans name it."""
    graph = graph_in(folder)
    facts = read_facts(folder, graph=graph)
    vocab = facts.stated.get("vocab_size")
    rows = None if vocab is None else int(vocab.value)
    if graph is None:
        _require_weights(folder, facts)
    else:
        rows = _rows_of(folder, graph) or rows
    require_rows(read_tokenizer(folder), rows)
    for module in facts.dense:
        _require_dense(folder, module)
    return facts


def _data_of(folder: Path, graph: str) -> list[str]:
    """The files with a graph's data, by their names in the folder.

    Raises:
        BadInputError: one is missing, cannot be opened or lies elsewhere.
    """
    try:
        names = external_names(folder, graph)
    except ValueError as error:
        raise BadInputError(str(error)) from None
    for name in names:
        if not (folder / name).exists():
            raise BadInputError(f"{graph} keeps data in {name}, which is missing; put the file beside it")
        require_file(folder, name)
    return names


def _require_weights(folder: Path, facts: Facts) -> None:
    """Hold the weights against config.json, as far as their headers show.

    Raises:
        BadInputError: a file of weights is missing or damaged, or they and config.json are of two models.
    """
    config = read_json(folder, CONFIG)
    kind = config.get("model_type")
    if not isinstance(kind, str):
        raise BadInputError(f"{CONFIG} says no model_type; {ANEW}")
    for name in _SPECIAL:
        if (folder / name).is_file():
            read_json(folder, name)
    shapes = {key: shape for name in _parts(folder) for key, shape in read_shapes(folder, name).items()}
    vocab, hidden, longest = (facts.stated.get(key) for key in ("vocab_size", "hidden", "max_length"))
    if table := _table(shapes, _TOKEN_TABLES):
        name, (rows, width) = table
        if vocab is not None and vocab.value != rows:
            says = f"{CONFIG} says vocab_size={vocab.value}"
            raise BadInputError(of_two_models(says, f"{name} in the weights has {rows} rows"))
        if hidden is not None and width not in config.values():  # it need not be the hidden size
            says = f"{CONFIG} says a hidden size of {hidden.value}"
            raise BadInputError(of_two_models(says, f"{name} in the weights has {width} columns"))
    if (table := _table(shapes, _POSITION_TABLES)) and longest is not None:
        name, (rows, _) = table
        if longest.value > (places := token_positions(rows, kind)):
            raise BadInputError(
                f"{longest.file} says texts of {longest.value} tokens, {name} in the weights has places for "
                f"{places}; write at most that there"
            )


def _parts(folder: Path) -> list[str]:
    """The files that the weights are loaded from.

    Raises:
        BadInputError: one is missing, or none has the name that is looked for.
    """
    if (folder / WEIGHTS).is_file():
        return [WEIGHTS]
    found = weights_in(folder)
    if not (folder / _INDEX).is_file():
        raise BadInputError(f"has {found[0]}, but no {WEIGHTS} and no {_INDEX}; {ANEW}")
    index = read_json(folder, _INDEX)
    named = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(named, dict) or not named:
        raise BadInputError(f"{_INDEX} has no weight_map; {ANEW}")
    parts = sorted({str(part) for part in named.values()})
    if missing := [part for part in parts if part not in found]:
        raise BadInputError(f"{_INDEX} names {missing[0]}, which is missing; put the file beside it")
    return parts


def _table(shapes: dict[str, tuple[int, ...]], ends: tuple[str, ...]) -> tuple[str, tuple[int, int]] | None:
    """The one table whose name has such an end, with its shape; None where there are several, or none."""
    found = [
        (name, (shape[0], shape[1]))
        for name, shape in shapes.items()
        if len(shape) == 2 and name.endswith(ends)
    ]
    return found[0] if len(found) == 1 else None


def _rows_of(folder: Path, graph: str) -> int | None:
    """Rows of a graph's embedding table; None where they are not known.

    Raises:
        BadInputError: the graph cannot be used.
    """
    from harness.artifacts.graphs import check_graph, embedding_rows, read_graph

    model = read_graph(folder / graph)
    try:
        check_graph(model)
    except ValueError as error:
        raise BadInputError(f"{graph}: {error}") from None
    return embedding_rows(model)


def _require_dense(folder: Path, module: str) -> None:
    """Hold a Dense module's weights against its config.json.

    Raises:
        BadInputError: they are missing, damaged, or of another shape.
    """
    weights, config = f"{module}/{WEIGHTS}", f"{module}/{CONFIG}"
    if not (folder / weights).is_file():
        raise BadInputError(f"{module} has no {WEIGHTS}, and pickled weights are never loaded; {ANEW}")
    shape = read_shapes(folder, weights).get("linear.weight", ())
    if len(shape) != 2:
        raise BadInputError(f"{weights} has no matrix linear.weight; {ANEW}")
    told = read_json(folder, config)
    for key, size in zip(("out_features", "in_features"), shape, strict=True):
        if told.get(key, size) != size:
            raise BadInputError(of_two_models(f"{config} says {key}={told[key]}", f"{weights} {size}"))


def weights_in(folder: Path) -> list[str]:
    """The safetensors files that lie in a folder itself."""
    return sorted(file.name for file in folder.glob("*.safetensors"))


def described_names(folder: Path) -> list[str]:
    """The small files of a folder that a build may read, and those of its modules, however deep they lie."""
    names = [file.name for file in folder.iterdir() if describes(file.name)]
    with suppress(BadInputError):  # told where the facts are read
        names += [f"{module}/{name}" for module in module_folders(folder) for name in (CONFIG, WEIGHTS)]
    return [name for name in names if (folder / name).is_file()]


def external_names(folder: Path, graph: str) -> list[str]:
    """The files with a graph's data, by their names in `folder`.

    Raises:
        ValueError: it is no graph, or one lies elsewhere.
    """
    from harness.artifacts.graphs import external_files, read_graph

    path = folder / graph
    beside = PurePosixPath(graph).parent
    return [(beside / name).as_posix() for name in external_files(read_graph(path), path)]


@contextmanager
def _named(path: str | Path) -> Iterator[None]:
    """Put the folder, as it was typed, before each line on what is wrong with it."""
    try:
        yield
    except BadInputError as error:
        raise BadInputError(*(f"model.path={path}: {line}" for line in error.problems)) from None
