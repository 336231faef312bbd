"""What only torch can tell of small models: found once a session.

`main` builds twins of a tiny BERT and a tiny Qwen3, and the BERT in
``declares mean`` as if it pooled on CLS and with arguments of its own, and a DistilBERT. It keeps
sentence-transformers' vectors of both twins, and what their weights are.
"""

from __future__ import annotations

import io
import json
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.artifacts.verification import verification_texts
from harness.config import load_model

if TYPE_CHECKING:
    from pathlib import Path

TEXTS = ["", "fox", "the quick brown fox jumps over the lazy dog", "over and over again", "a b c d e f g h"]
HIDDEN, MAX_LENGTH, CUT = 32, 48, 12
SHAPE = {"hidden": HIDDEN, "dim": HIDDEN, "layers": 2, "heads": 4, "max_length": MAX_LENGTH}
TWINS = {
    "bert": {"base": "minilm", "architecture": {"family": "bert", "ffn": 64, "positions": 64}},
    "qwen3": {
        "base": "qwen3",
        "vocab_size": 500,
        "architecture": {"family": "qwen3", "ffn": 64, "positions": 64, "kv_heads": 2, "head_dim": 8},
    },
}
POOLINGS = {"mean": "mean", "cls": "cls", "last": "lasttoken"}


def facts(name: str) -> dict[str, Any]:
    """A tiny twin's facts, plain values: `harness.schema.ModelConfig`'s."""
    own = {key: value for key, value in TWINS[name].items() if key != "base"}
    unset = {"name": f"tiny-{name}", "id": None, "revision": None, "sources": [], "params": None}
    return {**load_model(str(TWINS[name]["base"])).model_dump(), **unset, "weights": "random", **SHAPE, **own}


def request(model: dict[str, Any], target: Path, **changes: Any) -> dict[str, Any]:
    """What the build is asked."""
    target.mkdir()
    return {
        "source": None, "graph": None, "dense": [], "lower_case": False, "truncation_side": None,
        "twin": model, "target": str(target),
        "pooling": model["pooling"], "normalize": True, "dim": HIDDEN, "truncate_dim": None,
        "max_length": MAX_LENGTH, "prompt": "", "quality_texts": TEXTS,
        "verification_texts": verification_texts(MAX_LENGTH),
    } | changes  # fmt: skip


def main(root: Path) -> None:
    """Write everything below `root`."""
    import torch

    from harness.artifacts.build import build
    from harness.artifacts.twin import random_model

    told: dict[str, Any] = {"built": {}}
    for name in TWINS:
        told["built"][name] = build(request(facts(name), root / name), io.StringIO())
        model, again = random_model(facts(name)), random_model(facts(name))
        pairs = zip(model.state_dict().values(), again.state_dict().values(), strict=True)
        told[name] = {
            "same": all(torch.equal(one, other) for one, other in pairs),
            "rows": list(model.get_input_embeddings().weight.shape),
            "layers": model.config.num_hidden_layers,
        }
        expect(model, root / name, root)
    with torch.device("meta"):  # shapes alone: nothing of the real size is held
        told["params"] = {
            name: sum(p.numel() for p in random_model(load_model(name).model_dump()).parameters())
            for name in ("minilm", "e5", "bge", "qwen3")
        }
    wrong = request({"pooling": "cls"}, root / "wrong", source=str(root / "declares mean"))
    told["built"]["wrong"] = build(wrong, io.StringIO())
    asked = request(facts("bert"), root / "distilbert", source=str(distilbert(root)))
    told["built"]["distilbert"] = build(asked, io.StringIO())
    asked = request({"pooling": "mean"}, root / "arguments", source=str(with_arguments(root)))
    told["built"]["arguments"] = build(asked, io.StringIO())
    (root / "told.json").write_text(json.dumps(told), encoding="utf-8")


def with_arguments(root: Path) -> Path:
    """The BERT in ``declares mean``, with arguments of sentence-transformers' own, one of which counts."""
    folder = shutil.copytree(root / "declares mean", root / "arguments saved")
    arguments = {
        "model_args": {"torch_dtype": "bfloat16", "use_safetensors": False},
        "config_args": {"hidden_act": "relu"},
    }
    (folder / "sentence_bert_config.json").write_text(json.dumps(arguments), encoding="utf-8")
    return folder


def distilbert(root: Path) -> Path:
    """A DistilBERT, which takes no token types; its generic tokenizer gives them, and names no padding."""
    from transformers import DistilBertConfig, DistilBertModel

    folder, other = root / "distilbert saved", root / "declares mean"
    shape = {"dim": HIDDEN, "hidden_dim": 64, "n_layers": 1, "n_heads": 2, "max_position_embeddings": 64}
    rows = json.loads((other / "config.json").read_text(encoding="utf-8"))["vocab_size"]
    DistilBertModel(DistilBertConfig(vocab_size=rows, **shape)).save_pretrained(folder)
    (folder / "tokenizer.json").write_bytes((other / "tokenizer.json").read_bytes())
    generic = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "[UNK]"}
    (folder / "tokenizer_config.json").write_text(json.dumps(generic), encoding="utf-8")
    return folder


def expect(model: Any, built: Path, root: Path) -> None:
    """sentence-transformers' vectors of `TEXTS` as one batch, padded right and left."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Dense, Normalize, Pooling, Transformer

    folder = root / f"{built.name} saved"
    model.save_pretrained(folder)
    (folder / "tokenizer.json").write_bytes((built / "tokenizer.json").read_bytes())
    pad = "[PAD]" if built.name == "bert" else "<|endoftext|>"
    special = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": pad}
    (folder / "tokenizer_config.json").write_text(json.dumps(special), encoding="utf-8")
    word = Transformer(str(folder), max_seq_length=MAX_LENGTH)
    found: dict[str, Any] = {}

    def encode(*modules: Any, **how: Any) -> Any:
        cut = {"truncate_dim": how.pop("truncate_dim", None)}
        return SentenceTransformer(modules=[word, *modules], device="cpu", **cut).encode(TEXTS, **how)

    for side in ("right", "left"):
        word.tokenizer.padding_side = side
        tokens = word.tokenize(TEXTS)
        for key in ("input_ids", "attention_mask"):
            found[f"{side}/{key}"] = tokens[key].numpy()
        for pooling, mode in POOLINGS.items():
            pool = Pooling(HIDDEN, pooling_mode=mode)
            found[f"{side}/{pooling}"] = encode(pool, Normalize())
            found[f"{side}/{pooling}/cut"] = encode(pool, truncate_dim=CUT, normalize_embeddings=True)
    word.tokenizer.padding_side = "right"
    dense = Dense(HIDDEN, 8)  # Tanh, by default
    found["dense"] = encode(Pooling(HIDDEN, pooling_mode="mean"), dense, Normalize())
    found["dense/weight"], found["dense/bias"] = (p.detach().numpy() for p in dense.linear.parameters())
    np.savez(root / f"{built.name}.npz", **found)
