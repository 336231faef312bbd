"""The texts that ship with the harness: the request corpus and the labelled quality pairs.

Both were written for this project. `corpus.jsonl` feeds workloads; `quality_pairs.jsonl` feeds the
quality metrics and the fp32 references that artifacts carry.
"""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple

_DATA = Path(__file__).parent / "data"

TextKind = Literal["short", "sentence", "passage"]


class Pair(NamedTuple):
    """Two sentences and whether a person calls them similar."""

    first: str
    second: str
    similar: bool


@cache
def corpus(kind: TextKind) -> tuple[str, ...]:
    """The corpus texts of one kind, in file order."""
    rows = _rows("corpus.jsonl")
    return tuple(row["text"] for row in rows if row["kind"] == kind)


@cache
def quality_pairs() -> tuple[Pair, ...]:
    """The labelled pairs, in file order."""
    rows = _rows("quality_pairs.jsonl")
    return tuple(Pair(row["sentence1"], row["sentence2"], row["label"] == "similar") for row in rows)


@cache
def quality_texts() -> tuple[str, ...]:
    """Both sentences of every pair: rows 2i and 2i + 1 belong to pair i."""
    return tuple(text for pair in quality_pairs() for text in (pair.first, pair.second))


@cache
def hostile_texts() -> dict[str, str]:
    """Texts that users send and nobody tries, by their kind: each must get a finite vector of length one."""
    return {
        "empty": "",
        "whitespace": " \t\n\u00a0\u2003\u3000",
        "punctuation": "?!…—“”«»¿،。;" * 3,
        "100,000 characters": "word " * 20_000,
        "every Unicode plane": " ".join(chr(plane << 16 | 0x1234) for plane in range(17)),
        "control characters": "".join(map(chr, range(32))) + "\x7f\x80\x9f",
        "right to left": "مرحبا بالعالم \u202e שלום עולם",
        "emoji": "👩‍👩‍👧‍👦🏳️‍🌈👍🏽" * 3,
        "unpaired surrogates": "\ud800 lonely \udfff",
    }


def texts_sha256(texts: tuple[str, ...]) -> str:
    """The hash of texts in their order, hexadecimal."""
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest()


def quality_dataset() -> str:
    """The name of the quality pairs with the first digits of their hash."""
    return f"harness-pairs-{texts_sha256(quality_texts())[:8]}"


def _rows(name: str) -> list[dict[str, str]]:
    lines = (_DATA / name).read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines if line.strip()]
