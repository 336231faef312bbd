"""Where an encoding lacks a character, something like it is written, as wide in a table."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

import harness
from harness.stand_ins import _FOR, harmless, use_stand_ins


def written(text: str, encoding: str) -> str:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding)
    use_stand_ins(stream)
    stream.write(text)
    stream.flush()
    return raw.getvalue().decode(encoding)


def test_what_an_encoding_lacks_is_written_as_something_like_it() -> None:
    assert written("█▌▏░▒┊│▶ 3–5 · ≥ 日", "ascii") == "##.-=:|> 3-5 - >= \\u65e5"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_what_an_encoding_has_stays(encoding: str) -> None:
    assert written("█▌ 3–5 ·", encoding) == "█▌ 3–5 ·"


def test_of_an_encoding_that_has_some_only_the_rest_is_replaced() -> None:
    assert written("×4 · 3–5 █", "latin-1") == "×4 · 3-5 #"
    assert written("█▌▏", "cp437") == "█▌."


def test_a_name_that_no_encoding_has_ends_nothing() -> None:
    assert written("caf\udce9", "utf-8") == "caf\\udce9"


@pytest.mark.parametrize("module", ["bars", "caveats", "terminal", "verdict"])
def test_whatever_the_tables_are_made_of_has_a_stand_in(module: str) -> None:
    text = (Path(harness.__file__).parent / f"{module}.py").read_text(encoding="utf-8")
    assert {character for character in text if not character.isascii()} <= set(_FOR)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b[31mb\x07", r"a\x1b[31mb\x07"),
        ("a\x9b2J\r", r"a\x9b2J\r"),
        ("gpj.\u202eexe\u2028", r"gpj.\u202eexe\u2028"),
        ("näïve 日 ·\tb\nc 🚀", "näïve 日 ·\tb\nc 🚀"),
    ],
)
def test_what_a_terminal_would_obey_is_told_by_its_number(text: str, shown: str) -> None:
    assert harmless(text) == shown


def test_what_is_no_stream_of_bytes_is_left_alone() -> None:
    use_stand_ins(io.StringIO())
