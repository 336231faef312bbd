"""The verification texts hold what breaks a wrong build."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from harness.artifacts.verification import PARITY_COSINE_MIN, verification_texts
from harness.tokenizer import Tokenizer

if TYPE_CHECKING:
    from harness.artifacts.manifest import Artifact


def test_they_are_distinct_and_the_same_every_time() -> None:
    texts = verification_texts(256)
    assert len(set(texts)) == len(texts)
    assert verification_texts(256) == texts


def test_a_caller_cannot_change_them_for_the_next_one() -> None:
    verification_texts(256).clear()
    assert len(verification_texts(256)) > 10


def test_they_hold_empty_blank_and_other_scripts() -> None:
    texts = verification_texts(256)
    assert "" in texts
    assert " " in texts
    assert any(ord(char) > 0xFFFF for text in texts for char in text), "no character beyond the first plane"
    assert any("\u4e00" <= char <= "\u9fff" for text in texts for char in text), "no Chinese character"
    assert any("\u0600" <= char <= "\u06ff" for text in texts for char in text), "no Arabic letter"


@pytest.mark.parametrize("max_length", [64, 128, 256, 512])
def test_one_is_far_longer_than_the_model_reads(fake_artifact: Artifact, max_length: int) -> None:
    tokenizer = Tokenizer(fake_artifact)
    counts = [tokenizer.count(text) for text in verification_texts(max_length)]
    assert max(counts) > 2 * max_length
    assert sum(count <= max_length for count in counts) > 10


@pytest.mark.parametrize("max_length", [1_025, 8_192, 32_768])
def test_a_model_of_long_texts_is_held_to_places_past_256_and_not_held_up_by_an_overlong_text(
    fake_artifact: Artifact, max_length: int
) -> None:
    """Without one, a graph whose later places are damaged is taken as sound."""
    tokenizer = Tokenizer(fake_artifact)
    assert 256 < max(tokenizer.count(text) for text in verification_texts(max_length)) < 400


def test_the_needed_cosine_leaves_room_for_rounding_only() -> None:
    assert set(PARITY_COSINE_MIN) == {"fp32", "fp32-fused"}
    assert all(0.9999 <= needed < 1.0 for needed in PARITY_COSINE_MIN.values())
    assert PARITY_COSINE_MIN["fp32"] > PARITY_COSINE_MIN["fp32-fused"]
