"""A model's files, read without what builds from them: one line says what is wrong with one.

Lines name a file by its place in the model's folder; whoever asked knows the folder.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from harness.artifacts.manifest import TOKENIZER
from harness.errors import BadInputError
from harness.paths import file_stat, unreadable

if TYPE_CHECKING:
    from pathlib import Path

    from tokenizers import Tokenizer

# What most often mends a file that is damaged, or edited by hand.
ANEW = "save the model anew, or give the file that it was saved with"
# What a repository that is cloned without Git LFS holds in a large file's place.
_POINTER = b"version https://git-lfs.github.com/spec/v1"
# Of a safetensors file: the bytes that say how long its header is, and the longest header the format allows.
_PREFIX_BYTES = 8
_LONGEST_HEADER_BYTES = 100_000_000


def require_file(folder: Path, name: str) -> None:
    """Refuse a file that cannot be read, or stands for another one.

    Raises:
        BadInputError: it cannot be opened, is no regular file, or is a Git LFS pointer.
    """
    path = folder / name
    file_stat(path, told=name)
    try:
        with path.open("rb") as file:
            pointer = file.read(len(_POINTER)) == _POINTER
    except OSError as error:
        raise BadInputError(unreadable(name, error)) from None
    if pointer:
        raise BadInputError(f"{name} is a Git LFS pointer, not the file itself; fetch that with git lfs pull")


def read_json(folder: Path, name: str) -> Any:
    """The content of a JSON file.

    Raises:
        BadInputError: it cannot be opened, or is no JSON in UTF-8.
    """
    try:
        return json.loads((folder / name).read_bytes().decode("utf-8"))
    except OSError as error:
        raise BadInputError(unreadable(name, error)) from None
    except UnicodeDecodeError as error:
        raise BadInputError(f"{name} is no UTF-8 text, at byte {error.start}; {ANEW}") from None
    except json.JSONDecodeError as error:
        where = f"at line {error.lineno}, column {error.colno}"
        raise BadInputError(f"{name} is no valid JSON, {where}; {ANEW}") from None
    except (ValueError, RecursionError):  # a number or a nesting beyond all measure
        raise BadInputError(f"{name} is no valid JSON; {ANEW}") from None


def read_shapes(folder: Path, name: str) -> dict[str, tuple[int, ...]]:
    """The shapes of the tensors in a safetensors file, by its header alone.

    The format: https://huggingface.co/docs/safetensors#format.

    Raises:
        BadInputError: it cannot be opened, is no such file, or is cut short.
    """
    path = folder / name
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(_PREFIX_BYTES), "little")
            header = json.loads(file.read(min(length, _LONGEST_HEADER_BYTES)))
        parts = [(key, part) for key, part in header.items() if key != "__metadata__"]
        shapes = {key: tuple(int(dim) for dim in part["shape"]) for key, part in parts}
        ends = [int(part["data_offsets"][1]) for _, part in parts]
    except OSError as error:
        raise BadInputError(unreadable(name, error)) from None
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise BadInputError(f"{name} is no safetensors file, or is cut short; copy or save it anew") from None
    if size != (needed := _PREFIX_BYTES + length + max(ends, default=0)):
        raise BadInputError(f"{name} has {size} bytes, its header tells {needed}; copy or save it anew")
    return shapes


def read_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer of a model.

    Raises:
        BadInputError: the file holds none.
    """
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_file(str(folder / TOKENIZER))
    except Exception as error:  # it has no class of its own
        said = " ".join(str(error).split())
        raise BadInputError(f"{TOKENIZER} holds no tokenizer ({said}); {ANEW}") from None


def truncation_side(tokenizer: Tokenizer) -> str:
    """Where a tokenizer cuts a text that is too long, ``left`` or ``right``; ``right`` if it cuts none."""
    side: str = (tokenizer.truncation or {}).get("direction", "right")
    return side


def require_rows(tokenizer: Tokenizer, rows: int | None) -> None:
    """Hold a tokenizer's ids against the embedding table's rows (None: not known).

    Raises:
        BadInputError: an id has no row.
    """
    largest = max(tokenizer.get_vocab(with_added_tokens=True).values(), default=-1)
    if rows is not None and largest >= rows:
        raise BadInputError(
            of_two_models(f"{TOKENIZER} gives ids up to {largest}", f"the embedding table has {rows} rows")
        )


def of_two_models(one: str, other: str) -> str:
    """One line on two files that contradict each other."""
    return f"{one}, {other}: they are of two models; give the files that were saved together"
