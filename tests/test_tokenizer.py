"""Texts to tokens: truncated, padded, prompted, whatever characters they hold."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tokenizers

from harness.artifacts.manifest import Artifact
from harness.tokenizer import Tokenizer

if TYPE_CHECKING:
    from pathlib import Path

    from harness.runtimes.base import Tokens

PROMPTS = {"default": "query: ", "query": "query: ", "document": "passage: "}


@pytest.fixture(scope="module")
def tokenizer(minilm: Artifact) -> Tokenizer:
    """MiniLM's own."""
    return Tokenizer(minilm)


@pytest.fixture(scope="module")
def prompted(minilm: Artifact) -> Tokenizer:
    """MiniLM's own, with the prompts of E5."""
    return Tokenizer(Artifact(minilm.path, replace(minilm.manifest, prompts=PROMPTS)))


def same(one: Tokens, other: Tokens) -> bool:
    """Whether two batches hold the same tokens."""
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_tokens_are_the_model_s_own(tokenizer: Tokenizer) -> None:
    tokens = tokenizer.tokenize(["Hello, world!"])  # BERT's vocabulary: [CLS] hello , world ! [SEP]
    assert tokens.input_ids.tolist() == [[101, 7592, 1010, 2088, 999, 102]]
    assert tokens.attention_mask.tolist() == [[1] * 6]
    assert tokens.input_ids.dtype == tokens.attention_mask.dtype == np.int64


def test_a_batch_is_padded_on_the_right_to_its_longest_text_and_no_further(tokenizer: Tokenizer) -> None:
    tokens = tokenizer.tokenize(["Hello, world!", "Hello", ""])
    assert tokens.input_ids.shape == tokens.attention_mask.shape == (3, 6)
    assert tokens.attention_mask.sum(axis=1).tolist() == [6, 3, 2]
    assert tokens.attention_mask[1].tolist() == [1, 1, 1, 0, 0, 0]
    assert (tokens.input_ids[tokens.attention_mask == 0] == 0).all()


def test_padding_is_the_manifest_s(minilm: Artifact) -> None:
    other = replace(minilm.manifest, pad_id=7, pad_token="[unused6]")
    tokens = Tokenizer(Artifact(minilm.path, other)).tokenize(["Hello, world!", "Hello"])
    assert tokens.input_ids[1].tolist()[3:] == [7, 7, 7]


@pytest.mark.parametrize("max_length", [2, 3, 8, 256])
def test_a_long_text_is_cut_to_the_maximum_with_its_last_special_token_kept(
    minilm: Artifact, max_length: int
) -> None:
    tokenizer = Tokenizer(Artifact(minilm.path, replace(minilm.manifest, max_length=max_length)))
    ids = tokenizer.tokenize(["over and over again " * 200]).input_ids
    assert ids.shape == (1, max_length)
    assert ids[0, 0] == 101
    assert ids[0, -1] == 102


def test_a_text_s_beginning_is_cut_where_the_model_s_tokenizer_says_so_and_counting_cuts_nothing(
    minilm: Artifact, tmp_path: Path
) -> None:
    left = tokenizers.Tokenizer.from_file(str(minilm.tokenizer))
    left.enable_truncation(9, direction="left")
    left.save(str(tmp_path / "tokenizer.json"))
    tokenizer = Tokenizer(Artifact(tmp_path, replace(minilm.manifest, max_length=4)))
    assert tokenizer.tokenize(["one two three four"]).input_ids.tolist() == [
        tokenizer.tokenize(["three four"]).input_ids[0].tolist()
    ]
    assert tokenizer.count("one " * 20) == 22


def test_a_prompt_is_put_before_each_text(prompted: Tokenizer, tokenizer: Tokenizer) -> None:
    texts = ["how to boil an egg", ""]
    for prompt, prefix in PROMPTS.items():
        expected = tokenizer.tokenize([prefix + text for text in texts])
        assert same(prompted.tokenize(texts, prompt=prompt), expected)
    assert same(prompted.tokenize(texts), prompted.tokenize(texts, prompt="default"))
    assert not same(prompted.tokenize(texts), prompted.tokenize(texts, prompt="document"))


def test_a_prompt_counts_towards_the_maximum(minilm: Artifact) -> None:
    manifest = replace(minilm.manifest, prompts=PROMPTS, max_length=8)
    tokens = Tokenizer(Artifact(minilm.path, manifest)).tokenize(["word " * 20], prompt="document")
    assert tokens.input_ids.shape == (1, 8)


def test_an_unknown_prompt_is_refused_with_the_nearest(tokenizer: Tokenizer) -> None:
    with pytest.raises(ValueError, match="unknown prompt 'documents': did you mean document"):
        tokenizer.tokenize(["text"], prompt="documents")


@pytest.mark.parametrize(
    ("broken", "read"),
    [
        ("\ud800", "\ufffd"),
        ("a \udfff b", "a \ufffd b"),
        ("end \ud83d", "end \ufffd"),
        ("\udc00\ud800", "\ufffd\ufffd"),
        ("\ud83d\ude00", "😀"),
    ],
    ids=["high", "low", "at the end", "the wrong way round", "a pair"],
)
def test_a_surrogate_without_its_other_half_is_read_as_the_replacement_character(
    tokenizer: Tokenizer, broken: str, read: str
) -> None:
    assert same(tokenizer.tokenize([broken, "other"]), tokenizer.tokenize([read, "other"]))


@pytest.mark.parametrize(
    "wrong",
    [None, 3, 1.5, b"bytes", ["a", "list"], ("a", "pair"), np.float64(1.0)],
    ids=lambda wrong: type(wrong).__name__,
)
@pytest.mark.parametrize("which", ["plain", "with a prompt"])
def test_what_is_no_string_is_a_type_error(
    tokenizer: Tokenizer, prompted: Tokenizer, wrong: object, which: str
) -> None:
    chosen = tokenizer if which == "plain" else prompted
    with pytest.raises(TypeError):
        chosen.tokenize(["fine", wrong])  # type: ignore[list-item]


def test_a_string_of_numpy_is_a_string(tokenizer: Tokenizer) -> None:
    assert same(tokenizer.tokenize(np.array(["Hello", "world"])), tokenizer.tokenize(["Hello", "world"]))  # type: ignore[arg-type]


def test_counting_includes_special_tokens_and_prompt_and_does_not_truncate(
    tokenizer: Tokenizer, prompted: Tokenizer
) -> None:
    assert tokenizer.count("") == 2
    assert tokenizer.count("Hello, world!") == 6
    assert tokenizer.count("word " * 1000) == 1002
    assert prompted.count("Hello, world!") == 8


@pytest.mark.parametrize("text", ["Hello, world!", "naïve 深い café 🚀 end", "", "  spaces  between  "])
def test_tokens_end_where_their_characters_do(tokenizer: Tokenizer, prompted: Tokenizer, text: str) -> None:
    ends = tokenizer.ends(text)
    assert len(ends) == tokenizer.count(text) - 2
    assert ends == sorted(ends)
    assert prompted.ends(text) == ends
    for number, end in enumerate(ends, start=1):
        assert tokenizer.count(text[:end]) - 2 == number


def test_the_words_of_a_text_end_where_they_end(tokenizer: Tokenizer) -> None:
    assert tokenizer.ends("one two three") == [3, 7, 13]


def test_a_text_without_tokens_is_read_as_one_of_padding_alone_and_in_a_batch(
    minilm: Artifact, tmp_path: Path
) -> None:
    bare = tokenizers.Tokenizer.from_file(str(minilm.tokenizer))
    bare.post_processor = tokenizers.processors.TemplateProcessing(single="$A", special_tokens=[])
    bare.save(str(tmp_path / "tokenizer.json"))
    artifact = Artifact(tmp_path, replace(minilm.manifest, pad_id=7, pad_token="[unused6]"))
    tokenizer = Tokenizer(artifact)
    alone, batch = tokenizer.tokenize([""]), tokenizer.tokenize(["", "hello world", " "])
    assert (alone.input_ids.tolist(), alone.attention_mask.tolist()) == ([[7]], [[1]])
    assert batch.input_ids.tolist() == [[7, 7], [7592, 2088], [7, 7]]
    assert batch.attention_mask.tolist() == [[1, 0], [1, 1], [1, 0]]
    assert Tokenizer(artifact, length=3).tokenize([""]).attention_mask.tolist() == [[1, 0, 0]]
    assert tokenizer.count("") == 0
