"""What is told meanwhile: a live line on a terminal, one plain line a piece of work elsewhere."""

from __future__ import annotations

import io
import re
from types import SimpleNamespace

import pytest
from rich.console import Console
from rich.text import Text

from harness.progress import Progress, files_read

HIDE_CURSOR, SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"


class Screen:
    """What a progress writes to a console of 60 columns."""

    def __init__(self, *, terminal: bool) -> None:
        self.file = io.StringIO()
        self.console = Console(file=self.file, force_terminal=terminal, width=60)

    @property
    def raw(self) -> str:
        return self.file.getvalue()

    @property
    def frames(self) -> list[str]:
        """Each drawn line, without control codes."""
        plain = Text.from_ansi(re.sub(r"\x1b\[\??\d*[A-Zhl]", "", self.raw.replace("\r", "\n"))).plain
        return [line for line in plain.splitlines() if line.strip()]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The progress's clock; `clock.now` is its time in s."""
    clock = SimpleNamespace(now=100.0)
    clock.monotonic = lambda: clock.now
    monkeypatch.setattr("harness.progress.time", clock)
    return clock


def test_off_a_terminal_a_piece_of_work_is_one_line_however_often_it_is_told() -> None:
    screen = Screen(terminal=False)
    with Progress(screen.console) as progress:
        for launch in range(50):
            progress.tell("measuring", 50.0 - launch, f": launch {launch}")
            progress.tick()
        progress.tell("building")
        progress.tell("building")
        progress.tell("measuring")
    assert screen.raw.splitlines() == ["measuring (about 50 s left)", "building", "measuring"]


def test_off_a_terminal_what_takes_long_is_told_again_every_half_a_minute(clock: SimpleNamespace) -> None:
    screen = Screen(terminal=False)
    with Progress(screen.console) as progress:
        for launch in range(1, 13):
            progress.tell("measuring", 120.0 - clock.now + 100.0, f": launch {launch} of 12")
            for _ in range(10):
                clock.now += 1.0
                progress.tick()
    assert screen.raw.splitlines() == [
        "measuring (about 2 min 00 s left)",
        "measuring: launch 3 of 12 (about 1 min 30 s left)",
        "measuring: launch 6 of 12 (about 1 min 00 s left)",
        "measuring: launch 9 of 12 (about 30 s left)",
        "measuring: launch 12 of 12",
    ]


def test_off_a_terminal_time_left_is_told_where_it_is_known() -> None:
    screen = Screen(terminal=False)
    progress = Progress(screen.console)
    progress.tell("exporting", 125.0)
    progress.tell("waiting")
    progress.tell("measuring", 14.0, at_least=True)
    assert screen.raw.splitlines() == [
        "exporting (about 2 min 05 s left)", "waiting", "measuring (at least 14 s left)",
    ]  # fmt: skip


def test_off_a_terminal_no_time_left_is_told_where_next_to_none_is() -> None:
    screen = Screen(terminal=False)
    Progress(screen.console).tell("measuring", 0.3)
    assert screen.raw == "measuring\n"


def test_off_a_terminal_nothing_is_drawn_and_nothing_is_wrapped() -> None:
    screen = Screen(terminal=False)
    long = "reading " + "x" * 200
    with Progress(screen.console) as progress:
        progress.tell(long)
        progress.note("[red]as it is[/red]")
        progress.tick()
    assert screen.raw == f"{long}\n[red]as it is[/red]\n"


def test_on_a_terminal_the_line_shows_work_detail_and_time_left(clock: SimpleNamespace) -> None:
    screen = Screen(terminal=True)
    with Progress(screen.console) as progress:
        progress.tell("measuring 2 runs", 120.0, ": minilm, launch 3")
    assert "measuring 2 runs: minilm, launch 3 · about 2 min 00 s left" in screen.frames[-1]


def test_on_a_terminal_time_left_counts_down_and_is_left_out_where_it_took_longer(
    clock: SimpleNamespace,
) -> None:
    screen = Screen(terminal=True)
    with Progress(screen.console) as progress:
        progress.tell("measuring", 30.0)
        for clock.now in (110.0, 125.0, 500.0):
            progress.tick()
    left = [frame.partition("about ")[2] for frame in screen.frames]
    assert [text for text, before in zip(left, ["", *left], strict=False) if text != before] == [
        "30 s left",
        "20 s left",
        "5 s left",
        "",
    ]


def test_on_a_terminal_no_time_is_made_up() -> None:
    screen = Screen(terminal=True)
    with Progress(screen.console) as progress:
        progress.tell("waiting for process 7")
    assert screen.frames != []
    assert all("left" not in frame for frame in screen.frames)


def test_on_a_terminal_each_tick_is_seen_to_move() -> None:
    screen = Screen(terminal=True)
    with Progress(screen.console) as progress:
        progress.tell("measuring")
        for _ in range(3):
            progress.tick()
    assert len({frame[0] for frame in screen.frames}) >= 3


def test_on_a_terminal_a_line_is_cut_to_its_width() -> None:
    screen = Screen(terminal=True)
    with Progress(screen.console) as progress:
        progress.tell("measuring", 60.0, ": " + "a long name " * 20)
    assert max(map(len, screen.frames)) <= 60


def test_a_name_in_brackets_stays_a_name() -> None:
    screen = Screen(terminal=True)
    with Progress(screen.console) as progress:
        progress.tell("measuring", None, ": [red]x[/red]")
    assert "[red]x[/red]" in screen.frames[-1]


def test_the_cursor_comes_back_even_after_an_interruption() -> None:
    screen = Screen(terminal=True)

    def interrupted() -> None:
        with Progress(screen.console) as progress:
            progress.tell("measuring", 10.0)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert HIDE_CURSOR in screen.raw
    assert screen.raw.rindex(SHOW_CURSOR) > screen.raw.rindex(HIDE_CURSOR)


def test_reading_many_files_is_told_once_it_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("harness.progress.time.monotonic", lambda: now[0])
    screen = Screen(terminal=False)
    with Progress(screen.console) as progress:
        tell = files_read(lambda: progress, "runs")
        for read, at_s in ((1, 0.1), (10, 1.0), (30, 3.0), (60, 6.0)):
            now[0] = at_s
            tell(read, 100)
    assert screen.raw == "reading 100 runs (about 7 s left)\n"
