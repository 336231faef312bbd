"""Architecture twins: the shape is the model's own, the weights are a seed's, and the tokenizer fits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from harness.artifacts.cache import RANDOM, Recipe, prepare
from harness.artifacts.manifest import GRAPH, Artifact, Manifest
from harness.artifacts.twin import count_parameters, tokenizer
from harness.artifacts.verification import verification_texts
from harness.config import load_model, load_precision
from harness.errors import ArtifactError
from harness.provider import EmbeddingProvider, verify
from harness.runtimes.base import SessionOptions
from harness.stats import cosines
from tests.artifacts import tiny

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Twins = Callable[[str, str], Artifact]

# Embeddings, layers and norms of the tiny twins, counted by hand.
BERT = (30_522 + 64 + 2) * 32 + 64 + 2 * (4 * (32 * 32 + 32) + 2 * 64 + 32 * 64 + 64 + 64 * 32 + 32) + 32 * 33
QWEN3 = 500 * 32 + 32 + 2 * (2 * 32 * 32 + 2 * 32 * 16 + 2 * 8 + 3 * 32 * 64 + 2 * 32)


@pytest.mark.parametrize(("name", "params", "rows"), [("bert", BERT, 30_522), ("qwen3", QWEN3, 500)])
def test_a_twin_has_the_layers_the_vocabulary_and_the_parameters_that_it_is_told(
    told: dict[str, Any], twins: Twins, name: str, params: int, rows: int
) -> None:
    assert told[name]["rows"] == [rows, tiny.HIDDEN]
    assert told[name]["layers"] == 2
    manifest = twins(name, "fp32").manifest
    assert (manifest.params, manifest.architecture, manifest.weights) == (params, name, "random")
    assert (manifest.source, manifest.source_files, manifest.revision) == (RANDOM, {}, None)
    assert "random weights" in manifest.reference_by
    assert count_parameters(tiny.facts(name)) == params


@pytest.mark.parametrize("name", ["minilm", "e5", "bge", "qwen3"])
def test_a_shipped_model_s_twin_has_its_parameters(told: dict[str, Any], name: str) -> None:
    model = load_model(name)
    assert told["params"][name] == model.params == count_parameters(model.model_dump())


@pytest.mark.parametrize(
    ("base", "changes", "layer"),
    [
        ("minilm", {"layers": 7}, 12 * 384 * 384 + 9 * 384 + 4 * 384),
        ("qwen3", {"layers": 29}, 2 * 1024 * 128 * 24 + 3 * 1024 * 3072 + 2 * 1024 + 2 * 128),
    ],
)
def test_room_is_asked_for_the_twin_of_the_shape_that_is_typed(
    base: str, changes: dict[str, int], layer: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def require_room(weights: int, *_: object, **__: object) -> None:
        asked.append(weights)
        raise ArtifactError("far enough")

    monkeypatch.setattr("harness.artifacts.cache.require_room", require_room)
    for own in ({}, changes, {"params": None}):
        model = load_model(base).model_copy(update={"weights": "random", **own})
        recipe = Recipe(model, load_precision("fp32"), "onnxruntime")
        with pytest.raises(ArtifactError, match="far enough"):
            prepare(recipe, check=lambda _: None, tell=lambda *_: None, root=tmp_path)
    params = load_model(base).params or 0
    assert asked == [4 * params, 4 * (params + layer), 4 * params]


def test_the_same_seed_gives_the_same_weights(told: dict[str, Any]) -> None:
    assert told["bert"]["same"]
    assert told["qwen3"]["same"]


@pytest.mark.parametrize("name", ["bert", "qwen3"])
def test_a_twin_runs_in_batches_as_alone_and_has_no_reference_of_quality(twins: Twins, name: str) -> None:
    artifact = twins(name, "fp32")
    assert artifact.reference() is None
    provider = EmbeddingProvider.open(artifact, "onnxruntime", SessionOptions(threads=1))
    texts = verification_texts(tiny.MAX_LENGTH)
    found = provider.infer(provider.tokenize(texts))
    assert cosines(found, artifact.verification()).min() > 0.99999
    assert cosines(found[1:], found[:-1]).min() < 0.9, "all vectors are alike: nothing would be seen"


def test_a_model_whose_declared_pooling_is_not_its_own_is_caught_by_parity(
    tinies: Path, told: dict[str, Any], twins: Twins
) -> None:
    """The tiny BERT says mean in its modules, as MiniLM does; CLS is what was declared."""
    known = told["built"]["wrong"]
    assert "the model's own modules" in known["reference_by"]
    base = twins("bert", "fp32").manifest
    facts = {name: getattr(base, name) for name in base.__dataclass_fields__}
    wrong = Manifest(**facts | known | {"pooling": "cls", "model": "tiny"})
    with pytest.raises(ArtifactError, match=r"tiny disagrees with its reference: cosine .*\(cls\)"):
        verify(Artifact(tinies / "wrong", wrong), "onnxruntime")
    assert (tinies / "wrong" / GRAPH).is_file(), "it was built: parity alone caught it"


def test_a_model_is_built_beside_a_generic_tokenizer_that_gives_it_too_much_and_knows_no_padding(
    tinies: Path, told: dict[str, Any], twins: Twins
) -> None:
    base = twins("bert", "fp32").manifest
    facts = {name: getattr(base, name) for name in base.__dataclass_fields__}
    manifest = Manifest(**facts | told["built"]["distilbert"])
    assert manifest.architecture == "distilbert"
    verify(Artifact(tinies / "distilbert", manifest), "onnxruntime")  # held against sentence-transformers


def test_arguments_of_a_model_s_own_files_are_applied_and_its_dtype_is_the_precision_s(
    tinies: Path, told: dict[str, Any], twins: Twins
) -> None:
    """Its files say to load it with another activation, in bfloat16, from pickles."""
    base = twins("bert", "fp32").manifest
    facts = {name: getattr(base, name) for name in base.__dataclass_fields__}
    built = Artifact(tinies / "arguments", Manifest(**facts | told["built"]["arguments"]))
    verify(built, "onnxruntime")
    without = Artifact(tinies / "wrong", built.manifest)
    assert cosines(built.verification(), without.verification()).min() < 0.999


# --- tokenizers


def test_a_bert_twin_has_bert_s_own_tokenizer() -> None:
    found = tokenizer(tiny.facts("bert"))
    assert found.get_vocab_size() == 30_522
    assert found.encode("fox", add_special_tokens=True).tokens[:3] == ["[CLS]", "fox", "[SEP]"]


@pytest.mark.parametrize("size", [258, 500, 20_000])
def test_a_byte_level_tokenizer_has_exactly_the_size_and_ends_texts_with_its_last_token(size: int) -> None:
    facts = tiny.facts("qwen3") | {"vocab_size": size}
    found = tokenizer(facts)
    assert found.get_vocab_size(with_added_tokens=True) == size
    assert sorted(found.get_vocab().values()) == list(range(size))
    ids = [found.encode(text).ids for text in ("", "the quick brown fox", "naïve 深い 🚀")]
    assert [row[-1] for row in ids] == [size - 1] * 3
    assert len(ids[0]) == 1
    assert found.decode(ids[2]) == "naïve 深い 🚀"
    assert tokenizer(facts).to_str() == found.to_str()


def test_a_large_vocabulary_cuts_english_into_few_pieces() -> None:
    text = "machine learning is a branch of artificial intelligence"
    counts = [len(tokenizer(tiny.facts("qwen3") | {"vocab_size": n}).encode(text).ids) for n in (258, 20_000)]
    assert counts[0] > 40
    assert counts[1] < 20


def test_a_vocabulary_too_small_for_bytes_is_refused() -> None:
    with pytest.raises(ValueError, match=r"vocab_size=256: .* byte-level .* model\.vocab_size=257 or more"):
        tokenizer(tiny.facts("qwen3") | {"vocab_size": 256})


def test_a_bert_twin_of_another_vocabulary_is_refused_with_both_sizes() -> None:
    with pytest.raises(ValueError, match=r"vocab_size=1000: .* BERT's own .* model\.vocab_size=30522"):
        tokenizer(tiny.facts("bert") | {"vocab_size": 1000})


def test_qwen3_s_queries_and_documents_are_formatted_as_it_is_declared(twins: Twins) -> None:
    prompts = load_model("qwen3").prompts
    task = "Given a web search query, retrieve relevant passages that answer the query"
    assert prompts.query == f"Instruct: {task}\nQuery:"  # no space after it
    assert (prompts.document, prompts.default) == ("", "")
    provider = EmbeddingProvider.open(twins("qwen3", "fp32"), "onnxruntime", SessionOptions(threads=1))
    query, document, plain = (provider.encode(["fox"], prompt=p) for p in ("query", "document", "default"))
    np.testing.assert_array_equal(document, plain)
    np.testing.assert_array_equal(query, provider.encode([f"{prompts.query}fox"]))
    assert cosines(query, document)[0] < 0.99
