"""The build, end to end, on a tiny BERT with random weights: its vectors are sentence-transformers'."""

from __future__ import annotations

import io
import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime as ort
import pytest

from harness.artifacts.build import _export, _fit_tokenizer, _load, _reference, build
from harness.artifacts.cache import Recipe
from harness.artifacts.manifest import GRAPH, Artifact, problems_of
from harness.artifacts.pooling import OUTPUT
from harness.config import load_model, load_precision
from harness.errors import BadInputError
from harness.provider import EmbeddingProvider, prepare_artifact
from harness.runtimes.base import SessionOptions
from harness.stats import cosines
from harness.texts import quality_texts, texts_sha256
from tests.artifacts.building import build_here, quietly
from tests.artifacts.graphs import IDS, INT64, embedder, port, saved

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from harness.schema import ModelConfig

HIDDEN = 32
MAX_LENGTH = 48
PAD_ID = 3  # not 0: whoever assumes 0 pads with [UNK]
SPECIAL = ["[UNK]", "[CLS]", "[SEP]", "[PAD]"]
TEXTS = ["", "a", "the quick brown fox", "the fox", "naïve café 深い 🚀", "over and over again " * 30]


def tiny_bert(folder: Path, *, extra_tokens: int = 0) -> Path:
    """A BERT of two layers with random weights, as sentence-transformers saves one, without modules.json.

    Args:
        folder: is created.
        extra_tokens: tokens that the tokenizer knows and the embedding table does not.
    """
    from safetensors.numpy import save_file
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    folder.mkdir(parents=True)
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = [*SPECIAL, *letters, *(f"##{letter}" for letter in letters), "the", "fox", "over", "and", "##ing"]
    vocabulary = {word: index for index, word in enumerate(words)}
    rows = len(vocabulary)
    vocabulary |= {f"extra{i}": rows + i for i in range(extra_tokens)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    special = {"unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]"}
    _write(folder / "tokenizer_config.json", special | {"tokenizer_class": "PreTrainedTokenizerFast"})
    config = {
        "architectures": ["BertModel"],
        "model_type": "bert",
        "hidden_size": HIDDEN,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "vocab_size": rows,
        "max_position_embeddings": 64,
        "type_vocab_size": 2,
        "pad_token_id": PAD_ID,
    }
    _write(folder / "config.json", config)
    save_file(_weights(rows), folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def with_nan(folder: Path) -> Path:
    """The same model with a weight that is no number."""
    from safetensors.numpy import save_file

    weights = _weights(rows=61)
    weights["encoder.layer.1.output.dense.bias"][3] = np.nan
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def _weights(rows: int) -> dict[str, NDArray[np.float32]]:
    rng = np.random.default_rng(7)
    weights: dict[str, NDArray[np.float32]] = {}

    def linear(name: str, inputs: int, outputs: int) -> None:
        weights[f"{name}.weight"] = rng.normal(0, 0.3, (outputs, inputs)).astype(np.float32)
        weights[f"{name}.bias"] = rng.normal(0, 0.3, outputs).astype(np.float32)

    def norm(name: str) -> None:
        weights[f"{name}.weight"] = rng.uniform(0.5, 1.5, HIDDEN).astype(np.float32)
        weights[f"{name}.bias"] = rng.normal(0, 0.3, HIDDEN).astype(np.float32)

    for name, count in (("word", rows), ("position", 64), ("token_type", 2)):
        table = rng.normal(0, 1, (count, HIDDEN)).astype(np.float32)
        weights[f"embeddings.{name}_embeddings.weight"] = table
    norm("embeddings.LayerNorm")
    for layer in ("encoder.layer.0", "encoder.layer.1"):
        for name in ("query", "key", "value"):
            linear(f"{layer}.attention.self.{name}", HIDDEN, HIDDEN)
        linear(f"{layer}.attention.output.dense", HIDDEN, HIDDEN)
        norm(f"{layer}.attention.output.LayerNorm")
        linear(f"{layer}.intermediate.dense", HIDDEN, 64)
        linear(f"{layer}.output.dense", 64, HIDDEN)
        norm(f"{layer}.output.LayerNorm")
    linear("pooler.dense", HIDDEN, HIDDEN)
    return weights


def _write(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


def tiny_model(folder: Path, **changes: Any) -> ModelConfig:
    """`tiny_bert` as a user configures it: ``model=custom model.path=…``."""
    facts = {"name": "tiny", "id": None, "revision": None, "sources": [], "path": str(folder)}
    facts |= {"dim": HIDDEN, "max_length": MAX_LENGTH, "layers": 2, "hidden": HIDDEN, "heads": 2}
    return load_model("minilm").model_copy(update=facts | {"vocab_size": None, "params": None} | changes)


def expect(folder: Path, target: Path) -> None:
    """sentence-transformers' vectors of `TEXTS`, found apart from the build."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Normalize, Pooling, Transformer

    word = Transformer(str(folder), max_seq_length=MAX_LENGTH)
    for pooling in ("mean", "cls"):
        modules = [word, Pooling(HIDDEN, pooling_mode=pooling), Normalize()]
        vectors = SentenceTransformer(modules=modules, device="cpu").encode(TEXTS)
        np.save(target / f"{pooling}.npy", vectors)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact | BadInputError]:
    """Every build of this file; those that fail, whose error is told, in processes of their own at once."""
    root = tmp_path_factory.mktemp("tiny")
    folder = tiny_bert(root / "model")
    right = {"mean": tiny_model(folder, pooling="mean"), "cls": tiny_model(folder, pooling="cls")}
    wrong = {
        "dim": tiny_model(folder, dim=HIDDEN + 1),
        "numbers": tiny_model(with_nan(tiny_bert(root / "no numbers"))),
    }

    def built(model: ModelConfig) -> Artifact | BadInputError:
        recipe = Recipe(model, load_precision("fp32"), "onnxruntime")
        try:
            return prepare_artifact(recipe, tell=lambda *_: None, root=root / "cache")
        except BadInputError as error:
            return error

    with ThreadPoolExecutor(max_workers=2) as pool:
        results = dict(zip(wrong, pool.map(built, wrong.values()), strict=True))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("harness.artifacts.cache.run_build", build_here)
        results |= {name: built(model) for name, model in right.items()}
    with quietly():
        expect(folder, root)
    return results


def an_artifact(found: Artifact | BadInputError) -> Artifact:
    """What was built, or the error that says why not."""
    if isinstance(found, BadInputError):
        raise found
    return found


@pytest.mark.parametrize("pooling", ["mean", "cls"])
@pytest.mark.parametrize("batch_size", [1, 32])
def test_the_vectors_are_sentence_transformers_own(
    tiny: dict[str, Artifact | BadInputError], pooling: str, batch_size: int
) -> None:
    artifact = an_artifact(tiny[pooling])
    provider = EmbeddingProvider.open(artifact, "onnxruntime", SessionOptions())
    expected = np.load(artifact.path.parent.parent.parent / f"{pooling}.npy")
    found = provider.encode(TEXTS, batch_size=batch_size)
    assert found.shape == (len(TEXTS), HIDDEN)
    assert cosines(found, expected).min() >= 1 - 1e-5
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1.0, atol=1e-5)


def test_another_pooling_is_another_artifact(tiny: dict[str, Artifact | BadInputError]) -> None:
    mean, cls = an_artifact(tiny["mean"]), an_artifact(tiny["cls"])
    assert mean.sha256 != cls.sha256
    assert cosines(mean.reference(), cls.reference()).mean() < 0.99


def test_the_manifest_tells_where_it_came_from_and_how_it_was_made(
    tiny: dict[str, Artifact | BadInputError],
) -> None:
    artifact = an_artifact(tiny["cls"])
    manifest = artifact.manifest
    assert problems_of(artifact) == []
    assert (manifest.model, manifest.model_id, manifest.revision) == ("tiny", None, None)
    assert manifest.source == "local model"
    assert set(manifest.source_files) >= {"config.json", "model.safetensors", "tokenizer.json"}
    assert (manifest.pooling, manifest.normalize, manifest.dim) == ("cls", True, HIDDEN)
    assert (manifest.pad_id, manifest.pad_token) == (PAD_ID, "[PAD]")
    assert manifest.params == sum(w.size for w in _weights(rows=61).values())
    assert manifest.texts_sha256 == texts_sha256(quality_texts())
    assert "no modules.json" in manifest.reference_by
    assert {"torch", "onnx", "transformers"} <= set(manifest.exporter)


def test_the_graph_has_dynamic_shapes_and_one_output(tiny: dict[str, Artifact | BadInputError]) -> None:
    artifact = an_artifact(tiny["mean"])
    session = ort.InferenceSession(str(artifact.path / GRAPH), providers=["CPUExecutionProvider"])
    (output,) = session.get_outputs()
    assert output.name == OUTPUT
    assert output.shape[1] == HIDDEN
    ids = np.full((3, 5), 7, dtype=np.int64)
    names = [i.name for i in session.get_inputs()]
    assert {"input_ids", "attention_mask"} <= set(names) <= {"input_ids", "attention_mask", "token_type_ids"}
    feeds = {name: np.zeros_like(ids) if name == "token_type_ids" else np.ones_like(ids) for name in names}
    assert session.run(None, feeds)[0].shape == (3, HIDDEN)


def test_the_tokenizer_of_the_artifact_neither_pads_nor_truncates(minilm: Artifact) -> None:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(minilm.tokenizer))  # the bundled one does both, to 128
    assert tokenizer.padding is None
    assert tokenizer.truncation is None


def test_a_wrong_dim_is_refused_with_the_right_one(tiny: dict[str, Artifact | BadInputError]) -> None:
    with pytest.raises(BadInputError, match=r"^model\.path=.*: model\.dim=33: the model's vectors have 32"):
        an_artifact(tiny["dim"])


def test_weights_that_are_no_numbers_are_bad_input_and_named_by_their_folder(
    tiny: dict[str, Artifact | BadInputError],
) -> None:
    with pytest.raises(
        BadInputError, match=r"^model\.path=.*/no numbers: the weights hold NaN or infinity \(enc"
    ):
        an_artifact(tiny["numbers"])


@pytest.fixture(scope="module")
def two_layers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of two layers, as transformers saves one."""
    from transformers import BertConfig, BertModel

    folder = tmp_path_factory.mktemp("two layers")
    sizes = {"vocab_size": 50, "hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 16}
    BertModel(BertConfig(**sizes, num_hidden_layers=2)).save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"num_hidden_layers": 1}, r"does not describe the weights: 16 of them would not be used \(encoder"),
        ({"num_hidden_layers": 3}, r"does not describe the weights: 16 of them are missing \(encoder\."),
        ({"intermediate_size": 24}, r"does not describe the weights: 6 of them have another shape \(encoder"),
        ({"num_attention_heads": 3}, r"and the weights cannot be used \(The hidden size \(8\) is not a mul"),
        ({"hidden_act": "zork"}, r"and the weights cannot be used \(.*zork"),
        ({"model_type": "t5"}, r"says model_type=t5, an encoder with a decoder; the first alone cannot be"),
        ({"model_type": "zork"}, r"says model_type=zork, which transformers [\d.]+ does not know; give"),
    ],
    ids=lambda wrong: next(iter(wrong)) if isinstance(wrong, dict) else "",
)
def test_a_config_that_is_not_that_of_the_weights_is_bad_input(
    two_layers: Path, tmp_path: Path, wrong: dict[str, Any], told: str
) -> None:
    """transformers would drop a surplus, or make up what is missing and the reference with it."""
    folder = shutil.copytree(two_layers, tmp_path / "model")
    assert _load(folder).config.num_hidden_layers == 2
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    _write(folder / "config.json", config | wrong)
    with pytest.raises(BadInputError, match=rf"^config\.json {told}") as caught:
        _load(folder)
    (line,) = caught.value.problems
    assert "\n" not in line
    assert "; " in line, "a remedy"


def test_a_layer_that_a_config_leaves_out_is_bad_input_by_gpt_2_s_names_too(tmp_path: Path) -> None:
    from transformers import GPT2Config, GPT2Model

    sizes = {"vocab_size": 50, "n_embd": 8, "n_head": 2, "n_positions": 16}
    GPT2Model(GPT2Config(**sizes, n_layer=2)).save_pretrained(tmp_path)
    assert _load(tmp_path).config.n_layer == 2
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    _write(tmp_path / "config.json", config | {"n_layer": 1})
    with pytest.raises(BadInputError, match=r"6 of them would not be used \(h\.1\."):
        _load(tmp_path)


def test_weights_whose_attention_an_export_does_not_keep_are_refused_before_it(tmp_path: Path) -> None:
    from transformers import BigBirdConfig, BigBirdModel

    folder = tiny_bert(tmp_path / "model")
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    model = BigBirdModel(BigBirdConfig(**sizes, vocab_size=61, block_size=1, max_position_embeddings=64))
    model.save_pretrained(folder)
    request = {"source": str(folder), "target": str(tmp_path), "graph": None, "max_length": 12}
    with pytest.raises(BadInputError, match=r"attention_type=block_sparse: .* give model\.max_length=11,"):
        build(request, io.StringIO())


@pytest.mark.parametrize(
    ("raises", "told"),
    [
        (RuntimeError("shape '[-1, 4]' is invalid for\n input of size 9. See the docs"), "shape .* size 9"),
        (None, "the graph has inputs that a text does not have: global_attention_mask"),
    ],
    ids=["the exporter", "the graph"],
)
def test_an_architecture_that_cannot_be_exported_is_one_line_that_says_what_to_give(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raises: Exception | None, told: str
) -> None:
    def export(_: Any, folder: Path, **__: Any) -> None:
        if raises is not None:
            raise raises
        folder.mkdir()
        made = embedder()
        made.graph.input.append(port("global_attention_mask", IDS, INT64))
        saved(made, folder)

    monkeypatch.setattr("optimum.exporters.onnx.onnx_export_from_model", export)
    odd = SimpleNamespace(config=SimpleNamespace(model_type="nystromformer"))
    line = rf"^config\.json says model_type=nystromformer, which cannot be exported here \({told}\); give "
    with pytest.raises(BadInputError, match=line):
        _export(odd, tmp_path, {"target": str(tmp_path)}, [])


def test_a_fault_of_ours_is_not_told_as_the_architecture_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def export(_: Any, folder: Path, **__: Any) -> None:
        folder.mkdir()
        saved(embedder(), folder)

    monkeypatch.setattr("optimum.exporters.onnx.onnx_export_from_model", export)
    bert = SimpleNamespace(config=SimpleNamespace(model_type="bert"))
    with pytest.raises(KeyError):
        _export(bert, tmp_path, {"target": str(tmp_path)}, [])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_layers_that_a_config_feeds_in_chunks_are_fed_whole(tmp_path: Path) -> None:
    """Chunks change no vector, and cannot be exported; sentence-transformers refuses most texts with them."""
    import torch

    folder = tiny_bert(tmp_path / "model")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    _write(folder / "config.json", config | {"chunk_size_feed_forward": 4})
    assert _load(folder)(input_ids=torch.ones((1, 5), dtype=torch.long)).last_hidden_state.shape[1] == 5
    shutil.copy(folder / "tokenizer.json", tmp_path)
    request = {"target": str(tmp_path), "max_length": 8, "pooling": "mean", "dim": HIDDEN, "prompt": ""}
    request |= {"normalize": True, "truncate_dim": None, "quality_texts": ["the fox over"]}
    told = r"^the files that sentence-transformers reads cannot be used \(The dimension to be chunked 5 has"
    with pytest.raises(BadInputError, match=told):
        _reference(request, folder, "[PAD]")


@pytest.mark.parametrize(("named", "used"), [(None, "[PAD]"), ("<pad>", "[PAD]"), ("[UNK]", "[UNK]")])
def test_a_generic_tokenizer_feeds_what_the_model_takes_and_pads_with_what_it_knows(
    tmp_path: Path, named: str | None, used: str
) -> None:
    from transformers import DistilBertConfig, DistilBertModel, PreTrainedTokenizerFast

    rows = 61  # of tiny_bert's vocabulary
    file = tiny_bert(tmp_path / "model") / "tokenizer.json"
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(file), pad_token=named)
    config = DistilBertConfig(vocab_size=rows, dim=8, hidden_dim=16, n_layers=1, n_heads=2)
    _fit_tokenizer(tokenizer, DistilBertModel(config), "[PAD]")
    batch = tokenizer(["the fox", "over"], padding=True)
    assert set(batch) == {"input_ids", "attention_mask"}
    assert tokenizer.pad_token == used
    assert max(map(max, batch["input_ids"])) < rows


def test_a_text_s_reference_does_not_hang_on_its_company_where_its_tokenizer_pads_on_the_left(
    tmp_path: Path,
) -> None:
    """As sentence-transformers has it, a model that counts places would read others in a padded text."""
    from transformers import PreTrainedTokenizerFast

    folder = tiny_bert(tmp_path / "model")
    model = _load(folder)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder, padding_side="left")
    _fit_tokenizer(tokenizer, model, "[PAD]")
    texts = ["the fox", "the fox over and over and over"]
    one, both = (
        model(**tokenizer(texts[:count], padding=True, return_tensors="pt")).last_hidden_state.detach()
        for count in (1, 2)
    )
    np.testing.assert_allclose(one[0], both[0, : one.shape[1]], atol=1e-5)
