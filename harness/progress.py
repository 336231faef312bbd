"""What is being done and how long it will still take, on standard error; quiet where nobody looks."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from harness.units import format_duration

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from rich.console import Console

_SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"

# What takes less needs no progress, in s; and less than the other that is left is not told.
_QUICK_S, _LEAST_S = 2.0, 1.0
# Off a terminal, what goes on for longer is told again each time so many seconds have passed.
_AGAIN_S = 30.0


def files_read(progress: Callable[[], Progress], what: str) -> Callable[[int, int], None]:
    """What to call after each file, with how many were read and how many there are; told once it is long.

    `progress` is asked for no sooner: who is quick needs no Rich.
    """
    started = time.monotonic()

    def tell(read: int, of: int) -> None:
        elapsed_s = time.monotonic() - started
        if elapsed_s > _QUICK_S:
            progress().tell(f"reading {of} {what}", elapsed_s / read * (of - read), f": {read}")

    return tell


def _told(left_s: float | None, *, at_least: bool) -> str:
    """How long it will still take; nothing where nobody knows, as where it took longer than was thought."""
    if left_s is None or left_s < _LEAST_S:
        return ""
    return f"{'at least' if at_least else 'about'} {format_duration(round(left_s))} left"


class Progress:
    """A live line on a terminal; elsewhere one plain line per new piece of work, and every half a minute.

    The line is drawn only when `tell` or `tick` is called: nothing runs beside a measurement.
    """

    def __init__(self, console: Console) -> None:
        from rich.live import Live

        self._console = console
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._what = self._detail = ""
        self._ends: float | None = None
        self._at_least = False
        self._frame, self._noted_at = 0, 0.0

    def __enter__(self) -> Progress:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def tell(
        self, what: str, left_s: float | None = None, detail: str = "", *, at_least: bool = False
    ) -> None:
        """Say what is being done now.

        Args:
            what: the piece of work; off a terminal, a line is printed when it changes.
            left_s: seconds that are probably left for it; None where nobody knows.
            detail: what changes while it goes on.
            at_least: `left_s` is what a quiet machine would take, before anything was seen of this one.
        """
        new = what != self._what
        self._what, self._detail, self._at_least = what, detail, at_least
        self._ends = None if left_s is None else time.monotonic() + left_s
        if new and not self._console.is_terminal:
            self._note_work("")
        self.tick()

    def note(self, line: str) -> None:
        """A line that stays."""
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def tick(self) -> None:
        """Draw the line again; at most about once a second while something is measured."""
        if not self._console.is_terminal:
            if self._what and time.monotonic() - self._noted_at >= _AGAIN_S:
                self._note_work(self._detail)
            return
        from rich.text import Text

        self._frame += 1
        left = self._left()
        spinner = _SPINNER[self._frame % len(_SPINNER)]
        line = Text(
            f"{spinner} {self._what}{self._detail}{left and f' · {left}'}", no_wrap=True, overflow="ellipsis"
        )
        self._live.update(line, refresh=True)

    def _left(self) -> str:
        left_s = None if self._ends is None else self._ends - time.monotonic()
        return _told(left_s, at_least=self._at_least)

    def _note_work(self, detail: str) -> None:
        left = self._left()
        self.note(f"{self._what}{detail}{left and f' ({left})'}")
        self._noted_at = time.monotonic()
