"""What stands for a character that cannot be shown: the reader's encoding lacks it, or a terminal obeys it.

No output ends in an error over one, and no name of a graph, a folder or a file moves a cursor.
"""

from __future__ import annotations

import codecs
import io
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import TextIO

# Kinds of characters that are not shown but obeyed: controls, what turns the writing's direction, line ends.
_OBEYED = ("Cc", "Cf", "Zl", "Zp")
_LAID_OUT = "\n\t"
# Name of the error handler, as `open` and `reconfigure` take it.
STAND_INS = "harness.stand_ins"
# One character for one wherever a column could shift.
_FOR = {
    "·": "-", "–": "-", "─": "-", "×": "x", "…": "...", "→": "->", "≈": "~", "≤": "<=", "≥": ">=", "∞": "inf",
    "█": "#", "▉": "#", "▊": "#", "▋": "#", "▌": "#", "▍": ".", "▎": ".", "▏": ".", "▒": "=", "░": "-",
    "−": "-", "┊": ":", "│": "|", "├": "|", "└": "|", "▶": ">",
}  # fmt: skip


def use_stand_ins(*streams: TextIO) -> None:
    """Write stand-ins to these streams instead of failing, where their encoding lacks a character."""
    for stream in streams:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=STAND_INS)


def harmless(text: str, *, laid_out: str = _LAID_OUT) -> str:
    """A text with what a terminal would obey told by its number; its lines and tabs stay.

    Within one line, as a name's, they do not: `laid_out` is then empty.
    """
    if text.isprintable():
        return text
    return "".join(
        c.encode("unicode_escape").decode("ascii")
        if unicodedata.category(c) in _OBEYED and c not in laid_out
        else c
        for c in text
    )


def _stand_in(error: UnicodeError) -> tuple[str, int]:
    """An encoding's error handler; what nothing stands for is told by its number."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    told = (_FOR.get(c) or c.encode("ascii", "backslashreplace").decode("ascii") for c in lacking)
    return "".join(told), error.end


codecs.register_error(STAND_INS, _stand_in)
