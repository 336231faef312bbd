"""Texts per second, against what people use today: sentence-transformers' own ONNX backend.

The same weights, the same sentences (the STS benchmark's dev split), alternating in one process; only the
ratio is read. Run with ``make bench``.
"""

from __future__ import annotations

import gc
import json
import shutil
import time
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pytest

from harness.artifacts.sources import find_files
from harness.config import load_model
from harness.provider import EmbeddingProvider
from harness.stats import cosines
from tests.conftest import STSB_DEV

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_benchmark.fixture import BenchmarkFixture

PAIRS = 5
SENTENCES = 1_000
BATCH_SIZE = 32


@pytest.mark.real
@pytest.mark.filterwarnings("ignore")  # of the libraries' own export
@pytest.mark.skipif(not STSB_DEV.is_file(), reason="needs the STS benchmark's sentences")
def test_fused_fp32_against_the_onnx_backend(
    world: Path, tmp_path: Path, benchmark: BenchmarkFixture
) -> None:
    from sentence_transformers import SentenceTransformer

    pairs = [json.loads(line) for line in STSB_DEV.read_text(encoding="utf-8").splitlines()]
    distinct = dict.fromkeys(pair[key] for pair in pairs for key in ("sentence1", "sentence2"))
    sentences = list(distinct)[:SENTENCES]
    source = shutil.copytree(find_files(load_model("minilm")).path, tmp_path / "model")
    theirs = SentenceTransformer(str(source), backend="onnx", device="cpu")
    ours = EmbeddingProvider.load("minilm", precision="fp32-fused")
    encode = {
        "ours": partial(ours.encode, batch_size=BATCH_SIZE),
        "theirs": partial(theirs.encode, batch_size=BATCH_SIZE, normalize_embeddings=True),
    }
    for name in ("ours", "theirs"):
        encode[name](sentences[:200])

    def alternating() -> list[dict[str, float]]:
        rounds = []
        for number in range(PAIRS):
            spent = {}
            for name in ("ours", "theirs") if number % 2 else ("theirs", "ours"):
                begin = time.perf_counter()
                vectors[name] = encode[name](sentences)
                spent[name] = len(sentences) / (time.perf_counter() - begin)
            rounds.append(spent)
        return rounds

    vectors: dict[str, np.ndarray] = {}
    measured = benchmark.pedantic(alternating, rounds=1, iterations=1)
    ratios = [spent["ours"] / spent["theirs"] for spent in measured]
    rates = {name: float(np.median([spent[name] for spent in measured])) for name in encode}
    print(
        f"\nfused fp32 {rates['ours']:.0f} texts/s, sentence-transformers ONNX {rates['theirs']:.0f}: ratio "
        f"{np.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}; {PAIRS} × {len(sentences)})"
    )
    assert cosines(vectors["ours"], vectors["theirs"]).min() > 0.999
    assert np.median(ratios) > 1
    encode.clear()
    del theirs
    gc.collect()  # its exported graph lies in a temporary folder, which it warns about when it goes
