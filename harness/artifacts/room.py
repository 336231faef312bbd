"""Whether a build has room: its peak of memory and of disk, estimated before it starts.

The estimate is a line through two exports whose peak was seen: MiniLM with 91 MB of fp32 weights took
0.93 GB, Qwen3-Embedding-0.6B with 2.38 GB took 5.8 GB. At MiniLM's size a conversion to another precision
took 0.6 to 1.0 GB and a graph that somebody exported 0.5 GB; larger ones were not seen.
"""

from __future__ import annotations

import math
import shutil
from typing import TYPE_CHECKING

import psutil

from harness.artifacts.files import read_shapes
from harness.errors import ArtifactError, BadInputError, StorageError
from harness.measure import container
from harness.units import format_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

BYTES_PER_PARAMETER = 4
# What a build's libraries take, in bytes, and how often it holds the weights.
_LIBRARIES_BYTES = 750_000_000
_COPIES_IN_MEMORY = 2.1
# A graph over protobuf's limit is written in parts first, then in one piece.
_COPIES_ON_DISK = 2
# Files of a model or artifact that hold no weights.
_SMALL = (".json", ".txt", ".npy")


def weights_bytes(folder: Path, names: Iterable[str]) -> int:
    """Bytes of a model's weights as fp32, from the sizes of its graph's files or the parameters it lists.

    Args:
        folder: of the model.
        names: of its files, relative to it.
    """
    return sum(
        _parameters(folder, name) * BYTES_PER_PARAMETER
        if name.endswith(".safetensors")
        else (folder / name).stat().st_size
        for name in names
        if not name.endswith(_SMALL)
    )


def require_room(weights: int, folder: Path, *, what: str) -> None:
    """Refuse a build that will not fit.

    Args:
        weights: bytes of the weights as fp32.
        folder: that is built in.
        what: is built, for people.

    Raises:
        ArtifactError: there is too little memory, with the estimate and what is available.
        StorageError: there is too little space on disk, with the same.
    """
    needed = round(_LIBRARIES_BYTES + _COPIES_IN_MEMORY * weights)
    if needed > (free := available_bytes()):
        raise ArtifactError(
            f"model {what} cannot be built here: it takes about {format_bytes(needed)} of memory and "
            f"{format_bytes(free)} are available; end other programs, or build it on a larger machine and "
            "copy its cache here"
        )
    needed = _COPIES_ON_DISK * weights
    if needed > (free := shutil.disk_usage(folder).free):
        raise StorageError(
            f"model {what} cannot be built in {folder}: it takes about {format_bytes(needed)} and "
            f"{format_bytes(free)} are free; free space, or set XDG_CACHE_HOME to a directory that has it"
        )


def available_bytes() -> int:
    """Memory that a new process can have: what is available, within what the container's limit leaves."""
    available = int(psutil.virtual_memory().available)
    free = container.memory_free_bytes()
    return available if free is None else min(available, free)


def _parameters(folder: Path, name: str) -> int:
    """Numbers in a safetensors file; 0 where it cannot be read, which the build itself tells."""
    try:
        return sum(math.prod(shape) for shape in read_shapes(folder, name).values())
    except BadInputError:
        return 0
