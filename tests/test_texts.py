"""The shipped texts: enough of them, distinct, labelled, and of the promised kinds."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from typing import Literal, get_args

import pytest

from harness import texts
from harness.texts import TextKind, corpus, quality_dataset, quality_pairs, quality_texts, texts_sha256

KINDS: tuple[TextKind, ...] = get_args(TextKind)


def rows() -> list[dict[str, str]]:
    """The quality pairs as they stand in their file."""
    path = texts._DATA / "quality_pairs.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_there_are_enough_pairs_of_each_label() -> None:
    counts = Counter(pair.similar for pair in quality_pairs())
    assert counts[True] >= 60
    assert counts[False] >= 60


def test_every_label_is_one_of_two() -> None:
    assert {row["label"] for row in rows()} == {"similar", "dissimilar"}
    assert [pair.similar for pair in quality_pairs()] == [row["label"] == "similar" for row in rows()]


def test_no_sentence_stands_twice() -> None:
    assert len(set(quality_texts())) == len(quality_texts()) == 2 * len(quality_pairs())


def test_the_sentences_of_pair_i_are_rows_2i_and_2i_plus_1() -> None:
    pairs, sentences = quality_pairs(), quality_texts()
    assert [(sentences[2 * i], sentences[2 * i + 1]) for i in range(len(pairs))] == [
        (pair.first, pair.second) for pair in pairs
    ]


def test_the_pairs_cover_what_the_documents_ask_for_with_both_labels() -> None:
    labels: dict[str, set[str]] = {}
    for row in rows():
        labels.setdefault(row["domain"], set()).add(row["label"])
    assert {"ai", "cooking"} <= set(labels)
    assert len(labels) >= 10
    assert all(found == {"similar", "dissimilar"} for found in labels.values()), labels


def test_similar_pairs_are_no_copies_with_a_word_changed() -> None:
    def overlap(first: str, second: str) -> float:
        one, other = (set(text.lower().strip(".?!").split()) for text in (first, second))
        return len(one & other) / len(one | other)

    overlaps = [overlap(pair.first, pair.second) for pair in quality_pairs() if pair.similar]
    assert sum(overlaps) / len(overlaps) < 0.4


@pytest.mark.parametrize("kind", KINDS)
def test_the_corpus_has_distinct_texts_of_every_kind(kind: Literal["short", "sentence", "passage"]) -> None:
    found = corpus(kind)
    assert len(found) >= 50
    assert len(set(found)) == len(found)
    assert all(text == text.strip() and text for text in found)


def test_the_kinds_differ_in_length_as_their_names_say() -> None:
    words = [sum(len(text.split()) for text in corpus(kind)) / len(corpus(kind)) for kind in KINDS]
    assert KINDS == ("short", "sentence", "passage")
    assert 4 < words[0] < 15 < words[1] < 50 < words[2] < 200


def test_no_sentence_of_a_pair_is_also_a_request() -> None:
    requests = {text for kind in KINDS for text in corpus(kind)}
    assert len(requests) == sum(len(corpus(kind)) for kind in KINDS)
    assert not requests & set(quality_texts())


def test_every_text_of_the_files_is_read_once() -> None:
    path = texts._DATA / "corpus.jsonl"
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert [line["text"] for line in lines if line["kind"] == "short"] == list(corpus("short"))
    assert {line["kind"] for line in lines} == set(KINDS)


def test_the_hash_of_texts_depends_on_each_of_them_and_on_their_order() -> None:
    hashes = {texts_sha256(("a", "b")), texts_sha256(("b", "a")), texts_sha256(("ab",)), texts_sha256(())}
    assert len(hashes) == 4
    assert texts_sha256(("é",)) == hashlib.sha256(rb'["\u00e9"]').hexdigest()


def test_the_dataset_s_name_changes_with_its_texts() -> None:
    assert quality_dataset() == f"harness-pairs-{texts_sha256(quality_texts())[:8]}"
