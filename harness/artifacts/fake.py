"""A small artifact for the fake runtime: a real tokenizer, a manifest, and made-up reference vectors."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.artifacts.manifest import REFERENCE, TOKENIZER, VERIFICATION

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

# Large enough that different words rarely share an id.
VOCABULARY = 4096


def fake_vectors(token_ids: Sequence[Sequence[int]], dim: int) -> NDArray[np.float32]:
    """Made-up unit vectors, a pure function of the token ids: the sum of a random vector a token.

    Texts that share words come out similar, as with a bag of words.

    Returns:
        float32 [n_texts, dim], L2-normalised.
    """
    rows = [np.sum([_token_vector(token, dim) for token in ids], axis=0) for ids in token_ids]
    vectors = np.asarray(rows, dtype=np.float64)
    unit: NDArray[np.float32] = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return unit


def _token_vector(token: int, dim: int) -> NDArray[np.float64]:
    return np.random.default_rng(token).standard_normal(dim)


def write_files(
    target: Path, dim: int, quality_texts: list[str], verification_texts: list[str]
) -> dict[str, Any]:
    """Write tokenizer and reference vectors; returns the manifest's fields that a build knows."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    vocabulary = {"[PAD]": 0, "[CLS]": 1, "[SEP]": 2, "[UNK]": 3}
    words = {w for text in (*quality_texts, *verification_texts) for w in text.split()}
    for word in sorted(words, key=lambda w: hashlib.sha256(w.encode()).digest())[: VOCABULARY - 4]:
        vocabulary[word] = len(vocabulary)
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))  # noqa: S106
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    tokenizer.save(str(target / TOKENIZER), pretty=False)
    for name, texts in ((REFERENCE, quality_texts), (VERIFICATION, verification_texts)):
        ids = [encoding.ids for encoding in tokenizer.encode_batch(texts)]
        np.save(target / name, fake_vectors(ids, dim))
    return {
        "exporter": {},
        "opset": None,
        "params": 0,
        "pad_id": 0,
        "pad_token": "[PAD]",
        "reference_by": "the fake runtime's own vectors",
    }
