"""What stands for a character that the reader's encoding lacks: no output ends in an error over one."""

from __future__ import annotations

import codecs
import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import TextIO

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


def _stand_in(error: UnicodeError) -> tuple[str, int]:
    """An encoding's error handler; what nothing stands for is told by its number."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    told = (_FOR.get(c) or c.encode("ascii", "backslashreplace").decode("ascii") for c in lacking)
    return "".join(told), error.end


codecs.register_error(STAND_INS, _stand_in)
