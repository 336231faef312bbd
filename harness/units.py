"""Units, converted and written in one place."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

# A number as everybody writes it.
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
# More names than this are not told in one line.
_MOST_NAMED = 8
NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000


def ns_to_ms(ns: float) -> float:
    """Nanoseconds to milliseconds."""
    return ns / NS_PER_MS


def ns_to_s(ns: float) -> float:
    """Nanoseconds to seconds."""
    return ns / NS_PER_S


def number_in(text: str) -> float | None:
    """The number that a user's text is, blanks around it aside; None where it is none in plain decimals.

    Python reads ``1_0`` as 10, ``nan`` and ``inf`` as numbers, and other scripts' digits.
    """
    number = float(text) if _NUMBER.fullmatch(text.strip()) else math.nan
    return number if math.isfinite(number) else None


def exact_number(value: float) -> str:
    """A number in the fewest digits that are read as the very same one: ``20``, ``16.666666666666668``."""
    return repr(float(value)).removesuffix(".0")


def counted(count: int, thing: str) -> str:
    """A count with what is counted: ``1 core``, ``2 cores``, ``2 launches``."""
    plural = "es" if thing.endswith("ch") else "s"
    return f"{count} {thing}{'' if count == 1 else plural}"


def listed(names: Sequence[str]) -> str:
    """Names in one line; of many the first, and how many more there are: ``a, b and 3 more``."""
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def requests_per_s(rate: float) -> str:
    """A rate of requests, exactly: ``1 request/s``, ``2.5 requests/s``."""
    return f"{exact_number(rate)} request{'' if rate == 1 else 's'}/s"


def at_least(shown: str) -> str:
    """A figure that is known from below alone, as of launches that were stopped early: ``≥ 30``."""
    return f"≥ {shown}"


def about(shown: str) -> str:
    """A figure that is a guess, as of the part of the requests that was served: ``≈ 30``."""
    return f"≈ {shown}"


def format_bytes(count: int) -> str:
    """Bytes in binary units, three significant digits: ``94371840`` is ``90.0 MiB``."""
    size = float(count)
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"


def format_duration(seconds: float) -> str:
    """Seconds for a person: ``8 s``, ``2 min 05 s``, ``1 h 10 min``."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
