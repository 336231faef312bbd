"""A small artifact for the fake runtime: a real tokenizer, a manifest, and made-up vectors."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.artifacts.manifest import REFERENCE, TOKENIZER, VERIFICATION
from harness.texts import quality_pairs, quality_texts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

# Token sequences of the quality texts, with the topic each is about: one a similar pair, one a text else.
TOPICS = "topics.json"
# Cosine of two made-up vectors on one topic; on different topics it is 0 on average.
TOPIC_COSINE = 0.8


def fake_vectors(
    token_ids: Sequence[Sequence[int]], dim: int, topics: Mapping[str, int]
) -> NDArray[np.float32]:
    """Made-up unit vectors, a pure function of the token ids.

    Texts with one topic (the two sentences of a similar pair) come out at a cosine near
    `TOPIC_COSINE`, all others near 0: a model as good as the labels.

    Returns:
        float32 [n_texts, dim], L2-normalised.
    """
    rows = np.empty((len(token_ids), dim))
    for row, ids in enumerate(token_ids):
        key = _key(ids)
        own = _unit(int(key, 16), dim)
        topic = _unit(topics[key], dim) if key in topics else own
        rows[row] = np.sqrt(TOPIC_COSINE) * topic + np.sqrt(1 - TOPIC_COSINE) * own
    vectors: NDArray[np.float32] = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return vectors


def read_topics(folder: Path) -> dict[str, int]:
    """The topics of a fake artifact."""
    topics: dict[str, int] = json.loads((folder / TOPICS).read_text(encoding="utf-8"))
    return topics


def write_files(
    target: Path, dim: int, max_length: int, verification_texts: Sequence[str], prompt: str = ""
) -> dict[str, Any]:
    """Write tokenizer, topics and reference vectors; returns the manifest's fields that a build knows.

    `prompt` is put before each text.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    texts, verification_texts = (
        [prompt + text for text in plain] for plain in (quality_texts(), verification_texts)
    )
    vocabulary = {"[PAD]": 0, "[CLS]": 1, "[SEP]": 2, "[UNK]": 3}
    for word in sorted({word for text in (*texts, *verification_texts) for word in text.split()}):
        vocabulary[word] = len(vocabulary)
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))  # noqa: S106
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    tokenizer.save(str(target / TOKENIZER), pretty=False)
    tokenizer.enable_truncation(max_length)

    ids = [encoding.ids for encoding in tokenizer.encode_batch(texts)]
    similar = [pair.similar for pair in quality_pairs()]
    topics = {_key(row): index // 2 for index, row in enumerate(ids) if similar[index // 2]}
    (target / TOPICS).write_text(json.dumps(topics), encoding="utf-8")
    np.save(target / REFERENCE, fake_vectors(ids, dim, topics))
    checked = [encoding.ids for encoding in tokenizer.encode_batch(verification_texts)]
    np.save(target / VERIFICATION, fake_vectors(checked, dim, topics))
    return {
        "source": "fake",
        "source_files": {},
        "architecture": None,
        "exporter": {},
        "opset": None,
        "params": 0,
        "pad_id": 0,
        "pad_token": "[PAD]",
        "reference_by": "the fake runtime's own vectors",
    }


def _key(ids: Sequence[int]) -> str:
    return hashlib.sha256(repr(list(ids)).encode()).hexdigest()[:16]


def _unit(seed: int, dim: int) -> NDArray[np.float64]:
    vector = np.random.default_rng(seed).standard_normal(dim)
    unit: NDArray[np.float64] = vector / np.linalg.norm(vector)
    return unit
