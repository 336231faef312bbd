"""What every build does with a tokenizer, Dense modules and references, and what it refuses."""

from __future__ import annotations

import json
import shutil
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from tokenizers import Tokenizer, normalizers

from harness.artifacts.assemble import (
    at_fault,
    count_dense,
    dense_layers,
    load_tokenizer,
    require_dim,
    require_short_texts,
    save_references,
    save_tokenizer,
)
from harness.artifacts.files import truncation_side
from harness.errors import BadInputError
from tests.artifacts.conftest import write
from tests.artifacts.test_build import tiny_bert


@pytest.fixture
def request_of(tmp_path: Path) -> dict[str, Any]:
    """A build's request as far as these functions read it."""
    (tmp_path / "target").mkdir()
    return {
        "source": str(tiny_bert(tmp_path / "source")),
        "target": str(tmp_path / "target"),
        "lower_case": False,
        "truncation_side": None,
        "max_length": 48,
        "dim": 32,
        "dense": ["2_Dense"],
    }


def tokenizer_of(request_of: dict[str, Any]) -> Tokenizer:
    """The source's."""
    return Tokenizer.from_file(request_of["source"] + "/tokenizer.json")


def test_a_tokenizer_neither_pads_nor_cuts_any_more_and_its_own_padding_is_remembered(
    request_of: dict[str, Any],
) -> None:
    tokenizer = tokenizer_of(request_of)
    tokenizer.enable_padding(pad_id=2, pad_token="[SEP]", length=9)
    tokenizer.enable_truncation(4)
    assert save_tokenizer(request_of, tokenizer, 61, pad_id=3) == (2, "[SEP]")
    saved = Tokenizer.from_file(request_of["target"] + "/tokenizer.json")
    assert len(saved.encode("a").ids) == 3
    assert len(saved.encode("a b c d e f g h").ids) == 10


@pytest.mark.parametrize(
    ("said", "own", "side"),
    [("left", None, "left"), (None, "left", "left"), (None, None, "right"), ("right", "left", "right")],
)
def test_a_tokenizer_that_cuts_a_text_s_beginning_keeps_that(
    request_of: dict[str, Any], said: str | None, own: str | None, side: str
) -> None:
    tokenizer = tokenizer_of(request_of)
    if own:
        tokenizer.enable_truncation(4, direction=own)
    save_tokenizer(request_of | {"truncation_side": said}, tokenizer, 61, None)
    assert truncation_side(Tokenizer.from_file(request_of["target"] + "/tokenizer.json")) == side


def test_the_padding_token_is_the_config_s_where_the_tokenizer_names_none(request_of: dict[str, Any]) -> None:
    assert save_tokenizer(request_of, tokenizer_of(request_of), 61, pad_id=3) == (3, "[PAD]")


@pytest.mark.parametrize(("rows", "fits"), [(61, True), (62, True), (None, True), (60, False)])
def test_a_tokenizer_that_knows_more_tokens_than_the_table_has_rows_is_refused(
    request_of: dict[str, Any], rows: int | None, fits: bool
) -> None:
    if fits:
        save_tokenizer(request_of, tokenizer_of(request_of), rows, None)
        return
    with pytest.raises(BadInputError, match=r"tokenizer\.json gives ids up to 60, the embedding table has"):
        save_tokenizer(request_of, tokenizer_of(request_of), rows, None)


def test_texts_are_lower_cased_where_the_model_s_files_say_so_and_its_tokenizer_does_not(
    request_of: dict[str, Any],
) -> None:
    for lower_case in (False, True):
        tokenizer = tokenizer_of(request_of)
        tokenizer.normalizer = normalizers.NFC()
        save_tokenizer(request_of | {"lower_case": lower_case}, tokenizer, 61, None)
        saved = Tokenizer.from_file(request_of["target"] + "/tokenizer.json")
        assert (saved.encode("The FOX").ids == saved.encode("the fox").ids) is lower_case


def test_dense_layers_are_read_from_safetensors_with_their_activation(request_of: dict[str, Any]) -> None:
    weight = np.arange(8, dtype=np.float16).reshape(2, 4)
    folder = Path(request_of["source"]) / "2_Dense"
    write(folder / "config.json", {"activation_function": "torch.nn.modules.linear.Identity"})
    save_file({"linear.weight": weight}, folder / "model.safetensors")
    (layer,) = dense_layers(request_of)
    np.testing.assert_array_equal(layer.weight, weight.astype(np.float32))
    assert layer.weight.dtype == np.float32
    assert (layer.bias, layer.activation, count_dense([layer])) == (None, None, 8)


def test_pickled_dense_weights_are_never_loaded(request_of: dict[str, Any]) -> None:
    folder = Path(request_of["source"]) / "2_Dense"
    write(folder / "config.json", {"activation_function": "torch.nn.Tanh"})
    shutil.copy(__file__, folder / "pytorch_model.bin")
    with pytest.raises(BadInputError, match=r"2_Dense has no model\.safetensors; pickled weights are never"):
        dense_layers(request_of)


def test_vectors_of_another_size_than_declared_are_refused_with_both(request_of: dict[str, Any]) -> None:
    require_dim(request_of, 32)
    with pytest.raises(BadInputError, match=r"model\.dim=32: the model's vectors have 16 dimensions"):
        require_dim(request_of, 16)


SHORT, LONG = {"short_factor": [1.0] * 4}, {"long_factor": [4.0] * 4}


@pytest.mark.parametrize(
    ("scaling", "kind"),
    [
        ({"type": "longrope"} | SHORT | LONG, "longrope"),
        ({"type": "yarn"} | SHORT | LONG, "longrope"),  # by its name of old
        ({"type": "dynamic", "factor": 4.0}, "dynamic"),
        (None, None),
    ],
)
def test_texts_that_a_model_turns_by_angles_of_their_own_are_refused_and_shorter_ones_are_not(
    scaling: dict[str, Any] | None, kind: str | None
) -> None:
    from transformers import Phi3Config, Qwen3Config

    if kind == "longrope":
        sizes = {"hidden_size": 32, "num_attention_heads": 4, "original_max_position_embeddings": 16}
        config = Phi3Config(**sizes, max_position_embeddings=64, rope_scaling=scaling).to_dict()
    else:
        config = Qwen3Config(max_position_embeddings=16, rope_scaling=scaling).to_dict()
    renamed = config | {"rope_scaling": None, "rope_parameters": config["rope_scaling"]}
    for given in (config, {"text_config": config}, renamed):
        require_short_texts(given, 16)
        told = pytest.raises(BadInputError, match=f"rope_type={kind}: texts of .* give model.max_length=16,")
        with nullcontext() if kind is None else told:
            require_short_texts(given, 64)


def test_texts_of_which_a_model_attends_to_blocks_are_refused_and_shorter_ones_are_not() -> None:
    from transformers import BigBirdConfig

    sparse = BigBirdConfig(block_size=16, num_random_blocks=2).to_dict()
    whole = sparse | {"attention_type": "original_full"}
    for config, max_length in ((sparse, 144), (whole, 145), ({}, 4096)):
        require_short_texts(config, max_length)
    told = r"attention_type=block_sparse: .* more than 144 tokens, .* to 145, .* give model\.max_length=144,"
    with pytest.raises(BadInputError, match=told):
        require_short_texts(sparse, 145)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("which", [0, 1], ids=["quality", "verification"])
def test_references_that_are_no_numbers_are_refused(tmp_path: Path, value: float, which: int) -> None:
    vectors = [np.zeros((2, 3), np.float32), np.zeros((2, 3), np.float32)]
    vectors[which][1, 2] = value
    with pytest.raises(BadInputError, match="hold NaN or infinity: its weights are of no use"):
        save_references(tmp_path, *vectors)
    assert list(tmp_path.iterdir()) == []


def test_a_negative_padding_token_stands_for_none(request_of: dict[str, Any]) -> None:
    assert save_tokenizer(request_of, tokenizer_of(request_of), 61, pad_id=-1) == (0, "[UNK]")


def test_what_a_library_says_of_a_model_s_files_is_one_line_on_them() -> None:
    with pytest.raises(BadInputError) as caught, at_fault("model.onnx"):
        raise RuntimeError("[ONNXRuntimeError] : 1 : FAIL : no such\n operator. You may want to upgrade.")
    assert caught.value.problems == (
        "model.onnx cannot be used (no such operator); save the model anew, or give the file that it was "
        "saved with",
    )


@pytest.mark.parametrize("error", [ModuleNotFoundError("No module named 'x'"), OSError(28, "No space left")])
def test_a_missing_package_and_a_full_disk_are_no_fault_of_the_files(error: Exception) -> None:
    with pytest.raises(type(error)), at_fault("model.onnx"):
        raise error


@pytest.mark.parametrize(
    ("changes", "arguments"),
    [
        ({"tokenizer_class": "BertTokenizer", "do_lower_case": False}, {}),
        ({"tokenizer_class": "BertTokenizer", "strip_accents": False}, {}),
        ({"tokenizer_class": "BertTokenizer"}, {"tokenizer_args": {"do_lower_case": False}}),
        ({"tokenizer_class": "OfANewerTransformers", "do_lower_case": False}, {}),
    ],
)
def test_a_tokenizer_is_as_transformers_loads_it_not_as_its_own_file_alone_says(
    request_of: dict[str, Any], changes: dict[str, Any], arguments: dict[str, Any]
) -> None:
    from transformers import BertTokenizerFast

    source = Path(request_of["source"])
    told = json.loads((source / "tokenizer_config.json").read_text(encoding="utf-8"))
    write(source / "tokenizer_config.json", told | changes)
    write(source / "sentence_bert_config.json", {"max_seq_length": 20, **arguments})
    theirs = BertTokenizerFast.from_pretrained(source, **arguments.get("tokenizer_args", {}))
    text = "The Fox, á la fox"
    as_filed = tokenizer_of(request_of).encode(text).ids
    known = changes["tokenizer_class"] == "BertTokenizer"
    assert (as_filed == theirs(text)["input_ids"]) is False
    assert load_tokenizer(source, None).encode(text).ids == (theirs(text)["input_ids"] if known else as_filed)


def token(content: str) -> dict[str, Any]:
    """An added token as ``tokenizer_config.json`` has it."""
    flags = ("lstrip", "normalized", "rstrip", "single_word", "special")
    return {"content": content} | dict.fromkeys(flags, False)


@pytest.mark.parametrize(
    "told",
    [
        {"added_tokens_decoder": {"61": token("zorblax")}},
        {"additional_special_tokens": ["zorblax"]},
        {"added_tokens_decoder": {"61": token("zorblax")}, "tokenizer_class": "PreTrainedTokenizerFast"},
    ],
)
def test_a_token_that_only_the_tokenizer_s_config_names_is_one_where_it_has_a_row(
    request_of: dict[str, Any], told: dict[str, Any]
) -> None:
    from transformers import AutoTokenizer

    source, filed = Path(request_of["source"]), tokenizer_of(request_of)
    write(source / "tokenizer_config.json", {"tokenizer_class": "BertTokenizer"} | told)
    theirs = AutoTokenizer.from_pretrained(source)
    text = "the fox zorblax over"
    new = filed.get_vocab_size()
    assert new == 61
    assert max(theirs(text)["input_ids"]) >= new
    assert load_tokenizer(source, len(theirs)).encode(text).ids == theirs(text)["input_ids"]
    for rows in (new, None):
        without = load_tokenizer(source, rows)
        assert without.get_vocab_size() == new, "no token without a row"
        assert max(without.encode(text).ids) < new
    assert load_tokenizer(source, new).encode("the fox").ids == theirs("the fox")["input_ids"]


def test_the_vocabulary_of_a_tokenizer_is_that_of_its_own_file_where_no_more_rows_are_known(
    request_of: dict[str, Any],
) -> None:
    source = Path(request_of["source"])
    write(source / "tokenizer_config.json", {"tokenizer_class": "BertTokenizer", "pad_token": "<none>"})
    assert load_tokenizer(source, None).get_vocab_size() == tokenizer_of(request_of).get_vocab_size()
