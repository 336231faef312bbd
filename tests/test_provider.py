"""The production provider: right vectors, in order, for whatever text; refusals that say why."""

from __future__ import annotations

import json
import os
import re
import shutil
import unicodedata
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import harness
from harness.artifacts.cache import Recipe
from harness.artifacts.manifest import (
    MANIFEST,
    REFERENCE,
    TOKENIZER,
    VERIFICATION,
    Artifact,
    read_artifact,
)
from harness.config import load_model, load_precision
from harness.errors import (
    ArtifactError,
    BadInputError,
    EpUnavailableError,
    RuntimeUnavailableError,
    UnavailableError,
)
from harness.provider import EmbeddingProvider, prepare_artifact, verify
from harness.runtimes.base import SessionOptions
from harness.stats import cosines
from harness.texts import corpus, quality_texts

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from harness.runtimes.base import Tokens

TEXTS = [*corpus("short")[:30], *corpus("passage")[:5], *corpus("sentence")[:15]]


def finite_unit_vectors(vectors: NDArray[np.float32], count: int) -> bool:
    """Whether these are `count` vectors of MiniLM as they must be."""
    norms = np.linalg.norm(vectors.astype(np.float64), axis=1)
    return (
        vectors.shape == (count, 384)
        and vectors.dtype == np.float32
        and bool(np.isfinite(vectors).all())
        and bool((np.abs(norms - 1) < 1e-5).all())
    )


# --- the vectors


def test_the_vectors_are_those_of_the_reference(minilm: Artifact, provider: EmbeddingProvider) -> None:
    texts = quality_texts()[:64]
    assert cosines(provider.encode(texts), minilm.reference()[:64]).min() >= 1 - 1e-5


def test_vectors_are_float32_of_length_one(provider: EmbeddingProvider) -> None:
    assert provider.dim == 384
    assert finite_unit_vectors(provider.encode(TEXTS), len(TEXTS))


def test_encode_is_tokenize_and_then_infer(provider: EmbeddingProvider) -> None:
    texts = ["one text", "another one, somewhat longer"]
    np.testing.assert_array_equal(provider.encode(texts), provider.infer(provider.tokenize(texts)))


def test_vectors_come_in_the_order_of_their_texts_whatever_the_batch_size(
    provider: EmbeddingProvider,
) -> None:
    alone = np.concatenate([provider.infer(provider.tokenize([text])) for text in TEXTS])
    for batch_size in (1, 3, 32, 1_000):
        np.testing.assert_allclose(provider.encode(TEXTS, batch_size=batch_size), alone, atol=2e-6)


@pytest.mark.parametrize(
    "texts",
    [("aa", "b", "ccc"), np.array(["aa", "b", "ccc"]), pd.Series({2: "aa", 0: "b", 1: "ccc"})],
    ids=lambda texts: type(texts).__name__,
)
def test_texts_are_taken_by_position_whatever_holds_them(
    provider: EmbeddingProvider, texts: Sequence[str]
) -> None:
    np.testing.assert_array_equal(provider.encode(texts), provider.encode(["aa", "b", "ccc"]))


def test_the_texts_are_left_as_they_are(provider: EmbeddingProvider) -> None:
    texts = ["longest of all texts", "b", "ccc"]
    provider.encode(texts)
    assert texts == ["longest of all texts", "b", "ccc"]


def test_the_same_text_twice_gets_the_same_vector(provider: EmbeddingProvider) -> None:
    vectors = provider.encode(["twice", "once", "twice"])
    np.testing.assert_array_equal(vectors[0], vectors[2])


def test_no_text_gives_no_vector_of_the_right_width(provider: EmbeddingProvider) -> None:
    vectors = provider.encode([])
    assert vectors.shape == (0, 384)
    assert vectors.dtype == np.float32


def test_texts_on_one_subject_are_nearer_than_texts_on_two(provider: EmbeddingProvider) -> None:
    vectors = provider.encode(["How do I boil an egg?", "Cooking eggs in water", "The stock market fell."])
    near, far = float(vectors[0] @ vectors[1]), float(vectors[0] @ vectors[2])
    assert near > far + 0.3


def every_plane() -> str:
    """A character of each Unicode plane, assigned or not."""
    return " ".join(chr(plane << 16 | 0x1234) for plane in range(17))


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param(" \t\n\u00a0\u2003\u3000", id="whitespace"),
        pytest.param("?!…—“”«»¿،。;" * 20, id="punctuation"),
        pytest.param("".join(map(chr, range(32))) + "\x7f\x80\x9f", id="control characters"),
        pytest.param("\x00", id="a NUL"),
        pytest.param("word " * 20_000, id="100,000 characters"),
        pytest.param("x" * 100_000, id="a word of 100,000 characters"),
        pytest.param("e\u0301" * 500, id="combining marks"),
        pytest.param("\u200b\u200d\ufeff\u202e", id="invisible characters"),
        pytest.param(every_plane(), id="every plane"),
        pytest.param("[CLS] [SEP] [PAD] [MASK] [UNK]", id="special tokens as text"),
        pytest.param("\ud800 lonely \udfff", id="unpaired surrogates"),
        pytest.param("مرحبا بالعالم", id="right to left"),
        pytest.param("👩‍👩‍👧‍👦" * 50, id="joined emoji"),
    ],
)
def test_any_text_gives_a_finite_vector_of_length_one(provider: EmbeddingProvider, text: str) -> None:
    assert finite_unit_vectors(provider.encode([text]), 1)
    assert finite_unit_vectors(provider.encode([text, "beside it"]), 2)


def test_every_assigned_block_of_unicode_gives_finite_vectors(provider: EmbeddingProvider) -> None:
    points = [chr(point) for point in range(0, 0x110000, 61)]
    texts = ["".join(points[i : i + 64]) for i in range(0, len(points), 64)]
    assert {unicodedata.category(point) for point in points} >= {"Lu", "Mn", "Cs", "Co", "Cn", "So"}
    assert finite_unit_vectors(provider.encode(texts), len(texts))


@settings(max_examples=40, deadline=None, database=None)
@given(st.lists(st.text(st.characters(exclude_categories=()), max_size=40), max_size=5))
def test_no_list_of_texts_makes_it_fail(provider: EmbeddingProvider, texts: list[str]) -> None:
    assert finite_unit_vectors(provider.encode(texts), len(texts))


def test_a_text_beyond_the_maximum_is_its_beginning(provider: EmbeddingProvider) -> None:
    long = "word " * 1_000
    np.testing.assert_array_equal(provider.encode([long]), provider.encode([long + "and another end"]))


def test_prompts_are_the_model_s_own(minilm: Artifact, provider: EmbeddingProvider) -> None:
    prompts = {"default": "", "query": "query: ", "document": "passage: "}
    artifact = Artifact(minilm.path, replace(minilm.manifest, prompts=prompts))
    prompted = EmbeddingProvider(artifact, provider.session)
    for prompt, prefix in prompts.items():
        expected = provider.encode([prefix + "egg", prefix + "boiled"])
        np.testing.assert_array_equal(prompted.encode(["egg", "boiled"], prompt=prompt), expected)


# --- misuse


def test_a_precision_that_makes_no_sense_for_a_provider_is_refused_with_the_reason() -> None:
    with pytest.raises(UnavailableError, match="precision=int8 ep=coreml: CoreML takes no dynamically"):
        EmbeddingProvider.load("minilm", ep="coreml", precision="int8")


@pytest.mark.parametrize("precision", ["int8", "int8+1f3a"])
def test_of_an_artifact_its_own_precision_is_asked_for_whatever_argument_stands_beside_it(
    copied: Path, precision: str
) -> None:
    manifest = json.loads((copied / "manifest.json").read_text(encoding="utf-8"))
    (copied / "manifest.json").write_text(json.dumps(manifest | {"precision": precision}), encoding="utf-8")
    with pytest.raises(
        UnavailableError, match=re.escape(f"precision={precision} ep=coreml: CoreML takes no")
    ):
        EmbeddingProvider.load(copied, ep="coreml")


def test_an_argument_says_nothing_of_an_artifact_that_is_of_another_precision(copied: Path) -> None:
    with pytest.raises(EpUnavailableError, match="ep=coreml: "):
        EmbeddingProvider.load(copied, ep="coreml", precision="int8")


def test_one_bare_string_is_refused_because_its_letters_are_no_texts(provider: EmbeddingProvider) -> None:
    with pytest.raises(TypeError, match="a sequence of texts, not one: put it in a list"):
        provider.encode("one text")


@pytest.mark.parametrize(
    "wrong", [None, 3, b"bytes", ["a", "list"], ("a", "pair")], ids=lambda wrong: type(wrong).__name__
)
def test_what_is_no_string_is_a_type_error(provider: EmbeddingProvider, wrong: object) -> None:
    said = rf"texts\[1\] is {type(wrong).__name__}, no string: leave it out, or give ''"
    with pytest.raises(TypeError, match=said):
        provider.encode(["fine", wrong])  # type: ignore[list-item]


@pytest.mark.parametrize("texts", [["text"], []], ids=["a text", "no text"])
def test_an_unknown_prompt_is_a_value_error(provider: EmbeddingProvider, texts: list[str]) -> None:
    with pytest.raises(ValueError, match="unknown prompt 'qeury': did you mean query"):
        provider.encode(texts, prompt="qeury")


@pytest.mark.parametrize("batch_size", [0, -1])
def test_a_batch_size_under_one_is_a_value_error(provider: EmbeddingProvider, batch_size: int) -> None:
    with pytest.raises(ValueError, match=f"batch_size={batch_size}: must be at least 1"):
        provider.encode(["text"], batch_size=batch_size)


def test_it_is_shown_by_model_precision_execution_provider_and_dimensions(fake_artifact: Artifact) -> None:
    shown = repr(EmbeddingProvider.open(fake_artifact, "fake", SessionOptions("CoreMLExecutionProvider")))
    told = fake_artifact.manifest
    assert shown == (
        f"EmbeddingProvider(model='{told.model}', precision='{told.precision}', "
        f"ep='CoreMLExecutionProvider', dim={told.dim})"
    )


# --- loading


def test_it_loads_from_an_artifact_s_folder(minilm: Artifact, provider: EmbeddingProvider) -> None:
    for path in (minilm.path, str(minilm.path)):
        loaded = harness.EmbeddingProvider.load(path)
        assert loaded.artifact == minilm
        np.testing.assert_array_equal(loaded.encode(["text"]), provider.encode(["text"]))


def test_it_loads_by_a_model_s_name_from_the_cache(minilm: Artifact) -> None:
    assert EmbeddingProvider.load("minilm", ep="cpu", precision="fp32").artifact == minilm


@pytest.mark.parametrize("changed", [0.8, np.nan])
def test_a_precision_that_is_too_far_from_fp32_is_refused_as_a_run_refuses_it(
    minilm: Artifact, monkeypatch: pytest.MonkeyPatch, changed: float
) -> None:
    own = replace(minilm, manifest=replace(minilm.manifest, precision="int8"))
    monkeypatch.setattr("harness.provider.prepare_artifact", lambda *_, **__: own)
    monkeypatch.setattr("harness.provider.quality_texts", lambda: ["one", "another"])
    right = EmbeddingProvider.load(minilm.path).encode(["one", "another"])
    monkeypatch.setattr(Artifact, "reference", lambda _: right)
    assert EmbeddingProvider.load("minilm", precision="int8").artifact == own
    other = np.array([right[0], changed * right[1] + 0.6 * right[0]])
    monkeypatch.setattr(Artifact, "reference", lambda _: other)
    told = (
        r"^minilm int8: parity with the fp32 reference failed: worst cosine (0\.[89]\d{5}|nan), needed 0\.95"
    )
    with pytest.raises(ArtifactError, match=told):
        EmbeddingProvider.load("minilm", precision="int8")
    assert EmbeddingProvider.load(minilm.path).artifact == minilm, "a folder is served as it is"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("minilmm", "unknown model 'minilmm': did you mean minilm"),
        ("zzz", "unknown model 'zzz': valid: "),
        ("custom", "custom is no model by itself: give the path of your model's or artifact's folder"),
    ],
)
def test_an_unknown_model_is_bad_input_with_the_nearest_or_all(name: str, reason: str) -> None:
    with pytest.raises(BadInputError, match=reason):
        EmbeddingProvider.load(name)


def test_an_unknown_precision_or_provider_is_bad_input() -> None:
    with pytest.raises(BadInputError, match="unknown precision 'fp23': did you mean fp32"):
        EmbeddingProvider.load("minilm", precision="fp23")
    with pytest.raises(BadInputError, match="unknown ep 'coreml2': did you mean coreml"):
        EmbeddingProvider.load("minilm", ep="coreml2")


@pytest.mark.parametrize("ep", ["coreml", "cuda", "openvino"])
def test_an_execution_provider_that_is_not_in_the_build_is_refused_not_replaced(
    minilm: Artifact, ep: str
) -> None:
    import onnxruntime as ort

    if any(ep in name.lower() for name in ort.get_available_providers()):
        pytest.skip(f"{ep} is in this build")
    with pytest.raises(EpUnavailableError, match=f"ep={ep}: .* CPUExecutionProvider"):
        EmbeddingProvider.load(minilm.path, ep=ep)


def test_an_unknown_runtime_is_refused_with_the_known_ones(fake_artifact: Artifact) -> None:
    with pytest.raises(RuntimeUnavailableError, match="runtime 'onxruntime' is unknown here: valid"):
        EmbeddingProvider.open(fake_artifact, "onxruntime", SessionOptions())


@pytest.fixture
def copied(fake_artifact: Artifact, tmp_path: Path) -> Path:
    """A copy of the fake artifact."""
    return shutil.copytree(fake_artifact.path, tmp_path / fake_artifact.sha256)


@pytest.mark.parametrize("name", [TOKENIZER, REFERENCE])
def test_a_damaged_folder_is_refused_with_the_file(copied: Path, name: str) -> None:
    os.truncate(copied / name, 100)
    with pytest.raises(ArtifactError, match=f"is damaged: {name}: sha256"):
        EmbeddingProvider.load(copied)


def test_a_folder_that_lacks_a_file_is_refused_with_its_name(copied: Path) -> None:
    (copied / TOKENIZER).unlink()
    with pytest.raises(ArtifactError, match=r"is damaged: tokenizer\.json: No such file"):
        EmbeddingProvider.load(copied)


def test_a_folder_with_an_unreadable_manifest_is_refused(copied: Path) -> None:
    (copied / MANIFEST).write_text("{", encoding="utf-8")
    with pytest.raises(ArtifactError, match="holds no readable artifact"):
        EmbeddingProvider.load(copied)


# --- verification


def test_a_build_that_disagrees_with_its_reference_is_refused_with_the_figure_and_not_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = Artifact.verification
    monkeypatch.setattr(Artifact, "verification", lambda artifact: right(artifact)[::-1])
    recipe = Recipe(load_model("minilm"), load_precision("fp32"), "fake")
    with pytest.raises(ArtifactError, match=r"disagrees with its reference: cosine -?0\.\d{6} on ") as caught:
        prepare_artifact(recipe, tell=lambda *_: None, root=tmp_path)
    assert "needed 0.99999; check model.pooling (mean)" in str(caught.value)
    assert list((tmp_path / "artifacts").iterdir()) == []


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        pytest.param(lambda rows: rows[::-1], "disagrees with its reference", id="another order"),
        pytest.param(lambda rows: rows * np.nan, "cosine nan", id="not a number"),
        pytest.param(lambda rows: rows * 0, "minilm.s own vector of .. is zero, which has no", id="zeros"),
    ],
)
def test_a_reference_that_is_not_the_graph_s_is_refused(
    copied: Path, changed: Callable[[NDArray[np.float32]], NDArray[np.float32]], reason: str
) -> None:
    artifact = read_artifact(copied)
    verify(artifact, "fake")
    np.save(copied / VERIFICATION, changed(artifact.verification()))
    with pytest.raises(ArtifactError, match=reason):
        verify(artifact, "fake")


def test_a_model_whose_vectors_depend_on_their_batch_is_told_as_that(
    copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = EmbeddingProvider.infer

    def with_company(provider: EmbeddingProvider, tokens: Tokens) -> NDArray[np.float32]:
        vectors = right(provider, tokens)
        return vectors if len(vectors) == 1 else vectors + np.float32(0.05)

    monkeypatch.setattr(EmbeddingProvider, "infer", with_company)
    told = r"minilm depend on what a text is batched with: cosine 0\.\d+ between '.*' alone and beside longer"
    with pytest.raises(ArtifactError, match=told):
        verify(read_artifact(copied), "fake")


def test_vectors_of_another_width_than_declared_are_refused_with_both(
    copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(EmbeddingProvider, "infer", lambda provider, _: np.zeros((16, 12), np.float32))
    with pytest.raises(ArtifactError, match=r"vectors have 12 dimensions, and model\.dim=384 is what its"):
        verify(read_artifact(copied), "fake")


@pytest.mark.parametrize("precision", ["fp16", "int8-published"])
def test_a_graph_that_onnx_runtime_does_not_load_is_refused_in_one_line(copied: Path, precision: str) -> None:
    artifact = read_artifact(copied)
    artifact.graph.write_bytes(b"no graph")
    own = replace(artifact, manifest=replace(artifact.manifest, precision=precision))
    told = (
        f"^the {precision} graph built for minilm does not run in ONNX Runtime .*; give another precision, or"
    )
    with pytest.raises(ArtifactError, match=told):
        verify(own, "onnxruntime")
