"""Paths as a person types them, and files that cannot be read."""

from __future__ import annotations

from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import TYPE_CHECKING

from harness.errors import BadInputError

if TYPE_CHECKING:
    from os import stat_result

# An empty path would be the folder that is current, or the root of the file system.
EMPTY_RESULTS = "results=: empty; give results=DIR"


def typed_path(typed: str | Path) -> Path:
    """A path with ``~`` and ``~name`` as the home directories that they stand for.

    Raises:
        BadInputError: there is no such home directory.
    """
    try:
        return Path(typed).expanduser()
    except RuntimeError:
        raise BadInputError(f"{Path(typed).parts[0]} is nobody's home; give the path from / on") from None


def file_stat(path: Path, *, told: str, give: str = "a readable file") -> stat_result:
    """Size and time of a regular file.

    Args:
        path: of the file.
        told: how it is told to the user.
        give: what the user is to give in its place.

    Raises:
        BadInputError: it is not there, or is a directory, a pipe or a device.
    """
    try:
        found = path.stat()
    except OSError as error:
        raise BadInputError(f"{told}: {error.strerror or error}; give {give}") from None
    if not S_ISREG(found.st_mode):
        what = "a directory" if S_ISDIR(found.st_mode) else "no regular file"
        raise BadInputError(f"{told}: {what}; give {give}")
    return found


def unreadable(told: object, error: OSError) -> str:
    """One line on a file that cannot be read; `told` is how it is told."""
    return f"{told}: {error.strerror or error}; give a readable file"
