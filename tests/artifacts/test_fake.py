"""The fake artifact: a real tokenizer, and made-up vectors that are as good as the labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import tokenizers

from harness.artifacts import fake
from harness.artifacts.cache import Recipe, prepare
from harness.artifacts.fake import TOPIC_COSINE, fake_vectors, read_topics
from harness.artifacts.manifest import problems_of, read_artifact
from harness.config import load_model, load_precision
from harness.provider import prepare_artifact
from harness.stats import cosines
from harness.texts import quality_pairs, quality_texts

if TYPE_CHECKING:
    from pathlib import Path

    from harness.artifacts.manifest import Artifact

IDS = [[1, 7, 2], [1, 8, 9, 2], [1, 2]]


def test_vectors_are_a_pure_function_of_the_tokens() -> None:
    np.testing.assert_array_equal(fake_vectors(IDS, 16, {}), fake_vectors(IDS, 16, {}))
    np.testing.assert_array_equal(fake_vectors(IDS, 16, {})[1:], fake_vectors(IDS[1:], 16, {}))


def test_other_tokens_or_another_order_of_them_give_another_vector() -> None:
    vectors = fake_vectors([[1, 5, 6, 2], [1, 6, 5, 2], [1, 5, 2]], 384, {})
    assert np.abs(np.triu(vectors @ vectors.T, 1)).max() < 0.25


@pytest.mark.parametrize("dim", [1, 32, 384])
def test_vectors_have_the_asked_shape_and_length_one(dim: int) -> None:
    vectors = fake_vectors(IDS, dim, {})
    assert vectors.shape == (3, dim)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-6)


def test_the_artifact_is_whole_and_says_that_its_vectors_are_made_up(fake_artifact: Artifact) -> None:
    assert read_artifact(fake_artifact.path) == fake_artifact
    assert problems_of(fake_artifact) == []
    assert fake_artifact.manifest.opset is None
    assert fake_artifact.manifest.source == "fake"
    assert "fake" in fake_artifact.manifest.reference_by


def test_its_reference_is_what_the_tokens_of_the_quality_texts_give(fake_artifact: Artifact) -> None:
    tokenizer = tokenizers.Tokenizer.from_file(str(fake_artifact.tokenizer))
    ids = [tokenizer.encode(text).ids for text in quality_texts()[:8]]
    expected = fake_vectors(ids, 384, read_topics(fake_artifact.path))
    np.testing.assert_array_equal(fake_artifact.reference()[:8], expected)
    assert fake_artifact.reference().shape == (len(quality_texts()), 384)


def test_its_vectors_tell_every_similar_pair_from_every_dissimilar_one(fake_artifact: Artifact) -> None:
    vectors = fake_artifact.reference()
    cosine = cosines(vectors[0::2], vectors[1::2])
    similar = np.array([pair.similar for pair in quality_pairs()])
    np.testing.assert_allclose(cosine[similar].mean(), TOPIC_COSINE, atol=0.05)
    np.testing.assert_allclose(cosine[~similar].mean(), 0.0, atol=0.05)
    assert cosine[similar].min() > cosine[~similar].max()


def test_building_twice_gives_the_same_bytes(fake_artifact: Artifact, tmp_path: Path) -> None:
    recipe = Recipe(load_model("minilm"), load_precision("fp32"), "fake")
    again = prepare(recipe, check=lambda _: None, tell=lambda *_: None, root=tmp_path)
    assert again.path != fake_artifact.path
    assert again.sha256 == fake_artifact.sha256
    assert problems_of(again) == []


@pytest.mark.parametrize("max_length", [8, 64, 256, 512, 32_768])
def test_it_can_be_built_and_verified_whatever_the_model_reads(tmp_path: Path, max_length: int) -> None:
    model = load_model("minilm").model_copy(update={"max_length": max_length, "dim": 8})
    artifact = prepare_artifact(
        Recipe(model, load_precision("fp32"), "fake"), tell=lambda *_: None, root=tmp_path
    )
    assert artifact.manifest.max_length == max_length
    assert artifact.verification().shape[1] == 8


def test_a_model_s_default_prompt_is_put_before_each_text(tmp_path: Path) -> None:
    for prompt in ("", "query: "):
        folder = tmp_path / f"with {prompt}"
        folder.mkdir()
        fake.write_files(folder, 8, 64, ["one text"], prompt)
    plain, prompted = (np.load(f / "verification.npy") for f in sorted(tmp_path.iterdir()))
    assert (plain != prompted).all()
    recipe = Recipe(load_model("e5"), load_precision("fp32"), "fake")
    assert prepare_artifact(recipe, tell=lambda *_: None, root=tmp_path / "cache").manifest.model == "e5"
