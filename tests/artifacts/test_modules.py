"""What a model's files say is read, fills what is left open, and is never contradicted or dropped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from harness.artifacts.modules import Fact, Facts, arguments_of, completed, contradictions, read_facts
from harness.config import load_model, validate
from harness.errors import BadInputError, ModelUnavailableError
from tests.artifacts.conftest import as_sentence_transformer, write
from tests.artifacts.test_build import HIDDEN, tiny_bert
from tests.conftest import raw_config
from tests.hub import serving

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TANH = "torch.nn.modules.activation.Tanh"
MEAN = {"word_embedding_dimension": HIDDEN, "pooling_mode_mean_tokens": True}
DENSE = {"in_features": HIDDEN, "out_features": 16, "bias": True, "activation_function": TANH}
LENGTH = {"max_seq_length": 48, "do_lower_case": False}
PROMPTS = {"prompts": {"query": "q: ", "passage": "p: ", "other": "o: "}, "default_prompt_name": "other"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model as sentence-transformers saves one: mean, Dense, Normalize, a length and prompts."""
    made = as_sentence_transformer(
        tiny_bert(tmp_path / "model"),
        "Pooling",
        "Dense",
        "Normalize",
        **{
            "1_Pooling__config": MEAN,
            "2_Dense__config": DENSE,
            "sentence_bert_config": LENGTH,
            "config_sentence_transformers": PROMPTS,
        },
    )
    save_file({"linear.weight": np.zeros((16, HIDDEN), np.float32)}, made / "2_Dense" / "model.safetensors")
    return made


def values(facts: Facts) -> dict[str, Any]:
    """What is stated, without the files that state it."""
    return {key: fact.value for key, fact in facts.stated.items()}


def refused(folder: Path) -> str:
    """Why a folder's model cannot be applied, in one line."""
    with pytest.raises(BadInputError) as caught:
        read_facts(folder)
    (problem,) = caught.value.problems
    return problem


# --- what is read


def test_of_two_files_of_a_transformer_the_one_that_sentence_transformers_takes_is_read(folder: Path) -> None:
    stated = values(read_facts(folder))["max_length"]
    write(folder / "sentence_albert_config.json", {"max_seq_length": stated - 1})
    assert values(read_facts(folder))["max_length"] == stated


@pytest.mark.parametrize("name", ["config_args", "config_kwargs"])
def test_arguments_of_the_config_are_read_under_either_name(folder: Path, name: str) -> None:
    assert arguments_of(folder, "config") == {"trust_remote_code": False}
    write(folder / "sentence_bert_config.json", {name: {"hidden_act": "relu", "trust_remote_code": True}})
    assert arguments_of(folder, "config") == {"hidden_act": "relu", "trust_remote_code": False}
    assert arguments_of(folder, "tokenizer") == {"trust_remote_code": False}
    write(folder / "sentence_bert_config.json", {name: "relu"})
    with pytest.raises(BadInputError, match=f"^sentence_bert_config.json: its {name} is no mapping"):
        arguments_of(folder, "config")


def test_a_generic_tokenizer_that_gives_token_types_to_a_model_without_any_is_refused(folder: Path) -> None:
    write(folder / "config.json", {"model_type": "gpt2", "hidden_size": HIDDEN})
    write(folder / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast"})
    with pytest.raises(
        BadInputError, match=r"gives token types, and model_type=gpt2 has no.*; write \"model_in"
    ):
        read_facts(folder)
    for fit in ({"model_input_names": ["input_ids", "attention_mask"]}, {"tokenizer_class": "GPT2Tokenizer"}):
        write(folder / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast"} | fit)
        assert read_facts(folder).stated["hidden"].value == HIDDEN


def test_a_model_whose_vectors_are_narrower_than_its_layers_is_refused_with_both_widths(folder: Path) -> None:
    config = {"model_type": "opt", "hidden_size": HIDDEN, "word_embed_proj_dim": HIDDEN}
    write(folder / "config.json", config)
    assert read_facts(folder).stated["hidden"].value == HIDDEN
    write(folder / "config.json", config | {"word_embed_proj_dim": 8})
    told = f"config.json says word_embed_proj_dim=8 and hidden_size={HIDDEN}: .*, and model.dim={HIDDEN} is "
    with pytest.raises(BadInputError, match=told):
        read_facts(folder)


def test_a_graph_of_such_a_model_is_fed_what_it_takes(folder: Path) -> None:
    write(folder / "config.json", {"model_type": "gpt2", "hidden_size": HIDDEN})
    write(folder / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast"})
    assert read_facts(folder, exported=True).stated["hidden"].value == HIDDEN


def test_arguments_go_before_what_they_are_arguments_of(folder: Path) -> None:
    tokenizer = {"model_max_length": 32, "truncation_side": "left"}
    own = {"max_seq_length": 48, "tokenizer_args": tokenizer, "config_args": {"num_hidden_layers": 1}}
    own |= {"model_args": {"dtype": "auto", "attn_implementation": "sdpa"}, "processing_kwargs": {}}
    write(folder / "sentence_bert_config.json", own)
    facts = read_facts(folder)
    assert facts.stated["max_length"] == Fact(32, "sentence_bert_config.json")
    assert (facts.truncation_side, facts.stated["layers"].value) == ("left", 1)


@pytest.mark.parametrize(
    ("named", "document"),
    [
        ({"passage": "p: "}, "p: "),
        ({"document": "", "passage": "p: "}, "p: "),  # as sentence-transformers 5.7 saves the same model
        ({"document": "d: ", "passage": "p: "}, "d: "),
        ({"document": "", "corpus": "c: "}, "c: "),
        ({"document": ""}, None),
    ],
    ids=str,
)
def test_a_document_s_prompt_is_a_passage_s_where_a_model_names_none_of_its_own(
    folder: Path, named: dict[str, str], document: str | None
) -> None:
    write(folder / "config_sentence_transformers.json", {"prompts": named})
    fact = read_facts(folder).stated.get("prompts.document")
    assert (fact and fact.value) == document


@pytest.mark.parametrize(
    ("said", "default", "document"),
    [
        ({"default_prompt_name": "query"}, "", None),
        ({"default_prompt_name": "document", "prompts": {"query": "q: "}}, "", None),
        (
            {"default_prompt_name": "own", "prompts": {"own": None, "document": None, "corpus": "c: "}},
            "",
            "c: ",
        ),
    ],
)
def test_a_prompt_that_is_null_or_left_out_is_empty_as_sentence_transformers_takes_it(
    folder: Path, said: dict[str, Any], default: str, document: str | None
) -> None:
    write(folder / "config_sentence_transformers.json", said)
    found = values(read_facts(folder))
    assert (found["prompts.default"], found.get("prompts.document")) == (default, document)


def test_pooling_norm_size_length_and_prompts_are_read_each_with_its_file(folder: Path) -> None:
    facts = read_facts(folder)
    assert values(facts) == {
        "hidden": HIDDEN, "layers": 2, "heads": 2, "vocab_size": 61, "dim": 16, "pooling": "mean",
        "normalize": True, "max_length": 48, "prompts.query": "q: ", "prompts.document": "p: ",
        "prompts.default": "o: ",
    }  # fmt: skip
    assert facts.stated["dim"] == Fact(16, "2_Dense/config.json"), "the last module's, not the transformer's"
    assert facts.stated["max_length"].file == "sentence_bert_config.json"
    assert facts.dense == ("2_Dense",)


@pytest.mark.parametrize(
    ("config", "pooling"),
    [
        ({"pooling_mode": "lasttoken", "embedding_dimension": HIDDEN}, "last"),
        ({"pooling_mode": "cls", "embedding_dimension": HIDDEN}, "cls"),
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "cls"),
        ({"pooling_mode_lasttoken": True}, "last"),
    ],
)
def test_pooling_is_read_as_every_release_writes_it(
    folder: Path, config: dict[str, Any], pooling: str
) -> None:
    write(folder / "1_Pooling" / "config.json", config)
    assert values(read_facts(folder))["pooling"] == pooling


def test_modules_are_known_by_the_names_that_a_current_release_gives_them(folder: Path) -> None:
    kinds = ("base.modules.transformer.Transformer", "sentence_transformer.modules.pooling.Pooling")
    paths = ("", "1_Pooling")
    modules = [{"type": f"sentence_transformers.{k}", "path": p} for k, p in zip(kinds, paths, strict=True)]
    write(folder / "modules.json", modules)
    facts = read_facts(folder)
    assert (values(facts)["pooling"], values(facts)["dim"], facts.dense) == ("mean", HIDDEN, ())
    assert "normalize" not in facts.stated


@pytest.mark.parametrize(
    ("bert", "tokenizer", "length"),
    [
        ({}, {}, 64),
        ({}, {"model_max_length": 50}, 50),
        ({}, {"model_max_length": 10**30}, 64),
        ({"model_type": "roberta"}, {}, 62),
        ({"model_type": "data2vec-text"}, {}, 62),
    ],
    ids=["positions", "tokenizer", "no limit of the tokenizer", "positions that are never a token's", "kin"],
)
def test_the_longest_text_is_the_shortest_limit_that_a_file_states(
    folder: Path, bert: dict[str, Any], tokenizer: dict[str, Any], length: int
) -> None:
    (folder / "sentence_bert_config.json").unlink()
    write(folder / "config.json", {"max_position_embeddings": 64, "hidden_size": HIDDEN} | bert)
    write(folder / "tokenizer_config.json", tokenizer)
    assert values(read_facts(folder))["max_length"] == length


# --- what cannot be applied


@pytest.mark.parametrize(
    "name", ["LayerNorm", "WeightedLayerPooling", "Dropout", "CNN", "LSTM", "WordEmbeddings", "Router"]
)
def test_a_module_that_cannot_be_applied_is_refused_by_its_name(folder: Path, name: str) -> None:
    as_sentence_transformer(folder, "Pooling", name)
    assert f"modules.json has a module {name}, which cannot be applied here: valid: " in refused(folder)


@pytest.mark.parametrize(
    ("modules", "reason"),
    [
        (("Dense", "Pooling"), "modules.json has Transformer, Dense, Pooling: valid is"),
        (("Pooling", "Normalize", "Dense"), "modules.json has Transformer, Pooling, Normalize, Dense"),
        (("Normalize",), "modules.json has Transformer, Normalize: valid is"),
        (("Pooling", "custom_st.Own"), "modules.json names custom_st.Own: code from its repository is nev"),
    ],
)
def test_modules_in_another_order_or_of_foreign_code_are_refused(
    folder: Path, modules: tuple[str, ...], reason: str
) -> None:
    assert reason in refused(as_sentence_transformer(folder, *modules))


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("1_Pooling/config.json", {"pooling_mode_max_tokens": True}, "pools by max, which cannot be applied"),
        ("1_Pooling/config.json", MEAN | {"pooling_mode_cls_token": True}, "pools by cls and mean, which"),
        ("1_Pooling/config.json", MEAN | {"include_prompt": False}, "leaves the prompt's tokens out"),
        (
            "2_Dense/config.json",
            DENSE | {"activation_function": "torch.nn.GELU"},
            "2_Dense/config.json has the activation torch.nn.GELU, which cannot",
        ),
        ("2_Dense/config.json", DENSE | {"activation_function": "evil.Tanh"}, "has the activation evil.Tanh"),
        ("2_Dense/config.json", DENSE | {"module_input_name": "token_embeddings"}, "on sentence_embedding"),
        ("config.json", {"auto_map": {"AutoModel": "own.Model"}}, "config.json has an auto_map: it wants co"),
        ("tokenizer_config.json", {"auto_map": {"A": "b"}}, "tokenizer_config.json has an auto_map"),
        ("config.json", {"quantization_config": {"quant_method": "awq"}}, "config.json has a quantizatio"),
        ("adapter_config.json", {}, "an adapter on another model; merge it"),
        ("sentence_bert_config.json", {"transformer_task": "text-generation"}, "the task text-generation"),
        ("sentence_bert_config.json", {"model_args": {"variant": "fp16"}}, "loads the weights with variant"),
        ("sentence_bert_config.json", {"model_kwargs": {"attn_implementation": "flash_attention_2"}},
         "loads the weights with attn_implementation='flash_attention_2', which cannot be applied"),
        ("sentence_bert_config.json", {"tokenizer_name_or_path": "org/other"}, "tokenizer from org/other"),
        ("sentence_bert_config.json", {"modality_config": {"message": {}}}, "has the modality_config {'mess"),
        ("sentence_bert_config.json", {"processing_kwargs": {"text": {"max_length": 9}}}, "the processing"),
        ("sentence_bert_config.json", {"processing_kwargs": {"text": [["a"]]}}, "the processing_kw"),
        ("sentence_bert_config.json", {"tokenizer_args": {"model_max_length": "x"}}, ": model_max_length"),
        ("sentence_bert_config.json", {"tokenizer_args": [1]}, "its tokenizer_args is no mapping"),
        ("sentence_bert_config.json", {"tokenizer_args": {"split_special_tokens": True}},
         "sentence_bert_config.json has split_special_tokens, which an artifact's tok"),
        ("tokenizer_config.json", {"split_special_tokens": True}, "tokenizer_config.json has split_special"),
        ("config_sentence_transformers.json", {"default_prompt_name": "x"}, "default_prompt_name is x"),
        ("config_sentence_transformers.json", {"prompts": {"query": 1}}, "its prompts are no texts by name"),
        ("modules.json", [{"type": "sentence_transformers.models.Pooling", "path": "../up"}], "names ../up,"),
        ("modules.json", [{"type": "sentence_transformers.models.Pooling", "path": "/etc"}], "names /etc, a"),
        ("modules.json", [{"path": "1_Pooling"}], "is no list of modules, each with its type and path"),
        ("config.json", [1], "config.json holds no mapping of keys to values"),
    ],
)  # fmt: skip
def test_what_a_file_asks_for_and_cannot_be_had_is_told_with_the_file(
    folder: Path, name: str, content: Any, reason: str
) -> None:
    write(folder / name, content)
    told = refused(folder)
    assert reason in told
    assert name.rpartition("/")[2] in told


# --- files and configuration


def test_a_configuration_that_contradicts_the_files_is_told_with_both_values(folder: Path) -> None:
    model = {"pooling": "cls", "dim": HIDDEN, "normalize": False, "max_length": 64, "prompts": {"query": ""}}
    assert contradictions(model, read_facts(folder)) == [
        f"model.dim={HIDDEN}: 2_Dense/config.json says 16; leave it out, or choose another model",
        "model.normalize=False: modules.json says True; leave it out, or choose another model",
        'model.pooling="cls": 1_Pooling/config.json says "mean"; leave it out, or choose another model',
        "model.max_length=64: sentence_bert_config.json says 48; leave it out, or choose another model",
        'model.prompts.query="": config_sentence_transformers.json says "q: "; leave it out, or choose '
        "another model",
    ]


def test_a_shorter_length_is_a_choice_and_so_is_a_norm_that_the_model_does_not_have(folder: Path) -> None:
    as_sentence_transformer(folder, "Pooling", "Dense")
    assert contradictions({"max_length": 16, "normalize": True}, read_facts(folder)) == []


def test_what_the_files_say_fills_what_is_left_open_and_nothing_else(folder: Path) -> None:
    model = {"pooling": None, "max_length": 16, "dim": None, "prompts": {"query": "mine: ", "document": None}}
    filled = completed(model, read_facts(folder))
    assert (filled["pooling"], filled["max_length"], filled["dim"]) == ("mean", 16, 16)
    assert filled["prompts"] == {"default": "o: ", "query": "mine: ", "document": "p: "}
    assert completed(model, None)["prompts"] == {"default": "", "query": "mine: ", "document": ""}


def custom(**facts: Any) -> dict[str, Any]:
    """``model=custom`` with words."""
    raw = raw_config(model="custom")
    raw["model"] |= facts
    return raw


def test_your_own_folder_needs_no_word_but_its_path(folder: Path) -> None:
    model = validate(custom(path=str(folder))).model
    assert (model.pooling, model.dim, model.max_length, model.normalize) == ("mean", 16, 48, True)
    assert model.prompts.model_dump() == {"default": "o: ", "query": "q: ", "document": "p: "}


def test_what_your_own_folder_cuts_its_vectors_to_is_served_and_can_be_typed(folder: Path) -> None:
    write(folder / "config_sentence_transformers.json", {"truncate_dim": 8})
    for typed in (None, 8):
        model = validate(custom(path=str(folder)) | {"dim": typed}).model
        assert (model.dim, model.vector_dim) == (16, 8)
    with pytest.raises(BadInputError, match="dim=4: custom's vectors were not trained to be cut"):
        validate(custom(path=str(folder)) | {"dim": 4})
    write(folder / "config_sentence_transformers.json", {"truncate_dim": 16})
    assert validate(custom(path=str(folder))).model.truncate_dim is None, "that is all of them"


def test_where_a_text_is_cut_is_read_and_refused_where_it_is_no_side(folder: Path) -> None:
    assert read_facts(folder).truncation_side is None
    write(folder / "tokenizer_config.json", {"truncation_side": "left"})
    assert read_facts(folder).truncation_side == "left"
    write(folder / "tokenizer_config.json", {"truncation_side": "middle"})
    assert refused(folder).startswith("tokenizer_config.json: truncation_side='middle' is neither left nor")


def test_a_side_that_is_none_is_refused_by_the_file_that_says_it_before_anything_is_built(
    folder: Path,
) -> None:
    write(folder / "sentence_bert_config.json", LENGTH | {"tokenizer_args": {"padding_side": "left"}})
    assert read_facts(folder).truncation_side is None
    write(folder / "sentence_bert_config.json", LENGTH | {"tokenizer_args": {"padding_side": "middle"}})
    told = "sentence_bert_config.json: padding_side='middle' is neither left nor right; "
    assert refused(folder).startswith(told)


def test_what_your_own_folder_does_not_say_is_asked_for(tmp_path: Path) -> None:
    folder = tiny_bert(tmp_path / "bare")
    with pytest.raises(BadInputError) as caught:
        validate(custom(path=str(folder)))
    pooling, normalize = caught.value.problems
    assert pooling == "model.pooling: missing; give model.pooling=VALUE"
    assert normalize.startswith("model.normalize: missing; give model.normalize=VALUE (no Normalize module s")
    model = validate(custom(path=str(folder), pooling="cls", normalize=False)).model
    assert (model.pooling, model.normalize, model.dim, model.max_length) == ("cls", False, HIDDEN, 64)


def test_whether_vectors_without_a_normalize_module_are_made_of_length_1_is_asked_for(folder: Path) -> None:
    as_sentence_transformer(folder, "Pooling", "Dense")
    with pytest.raises(BadInputError) as caught:
        validate(custom(path=str(folder)))
    (problem,) = caught.value.problems
    assert problem.startswith(
        "model.normalize: missing; give model.normalize=VALUE (no Normalize module says"
    )
    for typed in (True, False):
        assert validate(custom(path=str(folder), normalize=typed)).model.normalize is typed


def test_what_you_type_and_your_folder_contradicts_is_refused_with_every_other_problem(folder: Path) -> None:
    with pytest.raises(BadInputError) as caught:
        validate(custom(path=str(folder), pooling="cls") | {"batch_size": 0})
    assert any('model.pooling="cls": 1_Pooling/config.json says "mean"' in p for p in caught.value.problems)
    assert any(problem.startswith("batch_size=0") for problem in caught.value.problems)


def test_your_own_folder_with_a_module_that_cannot_be_applied_is_refused_with_its_path(folder: Path) -> None:
    as_sentence_transformer(folder, "Pooling", "LSTM")
    with pytest.raises(BadInputError) as caught:
        validate(custom(path=str(folder)))
    (problem,) = caught.value.problems
    assert problem.startswith(f"model.path={folder}: modules.json has a module LSTM, which cannot be applied")


def test_a_model_of_your_own_that_is_nowhere_is_asked_for() -> None:
    with pytest.raises(BadInputError) as caught:
        validate(custom())
    assert caught.value.problems == (
        "model=custom: which model is not said; give model.path=DIR or model.id=ORG/NAME",
    )


@pytest.mark.parametrize("name", ["a//b", "../up", "/etc/passwd", "a/b/c", "a/b c", ""])
def test_what_is_no_repository_s_name_is_bad_input(name: str) -> None:
    with pytest.raises(BadInputError, match=r"which model is not said|no repository's name; give model"):
        validate(custom(id=name))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ({"id": 2024}, "model.id=2024: no repository's name; give model.id=ORG/NAME, or model.path=DIR"),
        (
            {"id": "org/name", "revision": 2024},
            "model.revision=2024: not a text; give it in quotes, 'model.revision=\"...\"'",
        ),
        (
            {"id": "org/name", "revision": 1.0},
            "model.revision=1.0: not a text; give it in quotes, 'model.revision=\"...\"'",
        ),
    ],
)
def test_a_name_or_revision_that_is_no_text_is_one_line(words: dict[str, Any], told: str) -> None:
    with pytest.raises(BadInputError) as caught:
        validate(custom(**words))
    assert caught.value.problems == (told,)


def test_a_repository_needs_no_word_but_its_id_and_its_weights_are_left_where_they_are(
    folder: Path, client: Callable[..., None]
) -> None:
    with serving({"org/own": folder}) as hub:
        client(hub.url)
        model = validate(custom(id="org/own")).model
        assert (model.pooling, model.dim, model.max_length) == ("mean", 16, 48)
        assert [source.kind for source in model.sources] == ["hub"]
        assert not any("safetensors" in path for path in hub.requested)
        with pytest.raises(ModelUnavailableError, match="hub org/other at main: no such repository"):
            validate(custom(id="org/other"))


def test_a_repository_whose_module_cannot_be_applied_is_refused_with_its_id(
    folder: Path, client: Callable[..., None]
) -> None:
    as_sentence_transformer(folder, "Pooling", "CNN")
    with serving({"org/own": folder}) as hub:
        client(hub.url)
        with pytest.raises(BadInputError, match=r"model\.id=org/own: modules\.json has a module CNN"):
            validate(custom(id="org/own"))


def test_the_shipped_models_are_complete_without_their_files() -> None:
    for name in ("minilm", "e5", "bge", "qwen3"):
        assert validate(raw_config(model=name)).model == load_model(name)
