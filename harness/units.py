"""Units, converted and written in one place."""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

# A number as everybody writes it.
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
# More names than this are not told in one line.
_MOST_NAMED = 8
# What is closer to 1 than float32's cosines can tell is 1.
_NEXT_TO_ALL = 1 - 1e-6
# What differs by a smaller share is read as the same number.
_SAME = 1e-5
# With so many further digits every number is written exactly.
_MOST_FURTHER = 24
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


def number_text(value: float | None, digits: int = 4, *, beside: Iterable[float] = ()) -> str:
    """A figure in significant digits, as `told_apart` tells it; ``?`` where it is unknown."""

    def write(number: float, to: int) -> str:
        if 0 < abs(number) < 1e-4:
            return f"{number:.{max(1, to - 3)}e}"
        return f"{number:.0f}" if abs(number) >= 10**to - 0.5 else f"{number:.{to}g}"

    return "?" if value is None else told_apart(value, digits, write, beside)


def past_text(value: float, start: float, *, beside: Iterable[float] = ()) -> str:
    """A figure in significant digits that is read as no nearer to `start` than it is."""
    shown = number_text(value, beside=beside)
    read = _as_read(shown)
    if (value - read) * (value - start) <= 0 or math.isclose(value, read, rel_tol=_SAME):
        return shown
    written = Decimal(shown)
    last = Decimal(1).scaleb(int(written.as_tuple().exponent))
    return number_text(float(written + (last if value > start else -last)), beside=beside)


def decimal_text(value: float, decimals: int, *, beside: Iterable[float] = ()) -> str:
    """A figure in decimals, as `told_apart` tells it."""

    def write(number: float, to: int) -> str:
        further = to - decimals
        return f"{number:.{further}e}" if further and abs(number) < 1e-4 else f"{number:.{to}f}"

    return told_apart(value, decimals, write, beside)


def share_text(share: float, decimals: int = 0, *, beside: Iterable[float] = ()) -> str:
    """A share in percent, as `told_apart` tells it: ``99%``, not 100, of 0.996."""
    return told_apart(share, decimals + 2, lambda number, to: f"{number:.{to - 2}%}", beside)


def bound_text(bound: float) -> str:
    """A bound as its policy says it: ``30``, ``0.95``, ``1e-05``."""
    return told_apart(bound, 6, lambda number, to: f"{number:.{to}g}", (bound,))


def bound_share_text(bound: float) -> str:
    """A share that a policy asks for in percent, exactly: ``80%``, ``99.5%``."""
    return share_text(bound, beside=(bound,))


def told_apart(
    value: float, digits: int, write: Callable[[float, int], str], beside: Iterable[float] = ()
) -> str:
    """A figure as it is written, and never as what it is not: what decides is not rounded away.

    What is under 1 by more than 1e-6 is not written as 1, but rounded down, and what is not 0 not as 0.

    Args:
        value: the figure.
        digits: in which it is written where they tell enough.
        write: gives a number in so many digits, plainly or in percent.
        beside: bounds that stand with it: it has so many digits that it is read as on its side of each.
    """
    marks = (0.0, *beside)
    shown = write(value, digits)
    for to in range(digits, digits + _MOST_FURTHER if math.isfinite(value) else digits):
        shown = write(value, to)
        if abs(value) < _NEXT_TO_ALL and abs(_as_read(shown)) >= 1:
            shown = write(math.copysign(1 - 10.0**-to, value), to)
        if all(_side(_as_read(shown), mark) == _side(value, mark) for mark in marks):
            break
    return shown


def _as_read(shown: str) -> float:
    """The number that a reader takes from a written one, of which a percentage is a share."""
    return float(shown.replace(",", "").replace("%", "e-2"))


def _side(value: float, mark: float) -> int:
    return (value > mark) - (value < mark)


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
    """Whole seconds for a person: ``8 s``, ``2 min 05 s``, ``1 h 10 min``; 89.9 s are no ``1 min 30 s``."""
    whole = max(0, math.floor(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
