"""A folder of the user's own is read for its faults before anything is built: file and remedy in one line."""

from __future__ import annotations

import json
import shutil
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from harness.artifacts.cache import Recipe
from harness.artifacts.local import local_facts
from harness.artifacts.modules import read_facts
from harness.artifacts.sources import local_files
from harness.config import load_precision, validate
from harness.errors import ArtifactError, BadInputError, RuntimeUnavailableError
from harness.provider import EmbeddingProvider
from tests.artifacts.conftest import as_sentence_transformer, write
from tests.artifacts.graphs import IDS, INT64, hollow, model, node, port, saved, weight
from tests.artifacts.test_build import HIDDEN, tiny_bert
from tests.conftest import raw_config

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from subprocess import CompletedProcess

    Damage = Callable[[Path], object]

MEAN = {"word_embedding_dimension": HIDDEN, "pooling_mode_mean_tokens": True}
DENSE = {"in_features": HIDDEN, "out_features": 16}
LENGTH = {"max_seq_length": 48}
TOGETHER = "they are of two models; give the files that were saved together"
TABLE = "embeddings.word_embeddings.weight"
PARTS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with a Dense module, as sentence-transformers saves one."""
    folder = as_sentence_transformer(
        tiny_bert(tmp_path_factory.mktemp("local") / "model"),
        "Pooling",
        "Dense",
        **{"1_Pooling__config": MEAN, "2_Dense__config": DENSE, "sentence_bert_config": LENGTH},
    )
    save_file({"linear.weight": np.zeros((16, HIDDEN), np.float32)}, folder / "2_Dense" / "model.safetensors")
    return folder


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    """A copy of it, to be damaged."""
    return shutil.copytree(whole, tmp_path / "mine")


def custom(**facts: Any) -> dict[str, Any]:
    """``model=custom`` with words."""
    raw = raw_config(model="custom")
    raw["model"] |= facts
    return raw


def refusal(folder: Path) -> str:
    """The one line on a folder that validating a plan ends with, the folder left out of it."""
    with pytest.raises(BadInputError) as caught:
        validate(custom(path=str(folder)))
    (problem,) = caught.value.problems
    assert problem.startswith(f"model.path={folder}: "), problem
    assert "\n" not in problem
    assert "Error" not in problem
    return problem.removeprefix(f"model.path={folder}: ")


def changed(name: str, **values: Any) -> Damage:
    """Other values in a JSON file; None removes one."""

    def damage(folder: Path) -> None:
        content = json.loads((folder / name).read_text(encoding="utf-8")) | values
        write(folder / name, {key: value for key, value in content.items() if value is not None})

    return damage


def put(name: str, content: bytes) -> Damage:
    return lambda folder: (folder / name).write_bytes(content)


def directory(name: str) -> Damage:
    def damage(folder: Path) -> None:
        (folder / name).unlink()
        (folder / name).mkdir()

    return damage


def cut(name: str) -> Damage:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-100])


def in_parts(folder: Path, *, index: dict[str, Any] | None) -> None:
    (folder / "model.safetensors").rename(folder / PARTS[0])
    if index is not None:
        write(folder / "model.safetensors.index.json", index)


def renamed(old: str, new: str) -> Damage:
    """Another name for a weight."""

    def damage(folder: Path) -> None:
        weights = load_file(folder / "model.safetensors")
        weights[new] = weights.pop(old)
        save_file(weights, folder / "model.safetensors")

    return damage


def without_modules(folder: Path) -> None:
    (folder / "modules.json").unlink()


def all_of(*damages: Damage) -> Damage:
    def damage(folder: Path) -> None:
        for one in damages:
            one(folder)

    return damage


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (put("config.json", b'{"hidden_size": 384,\n'), "config.json is no valid JSON, at line 2, column 1"),
        (put("config.json", b"null"), "config.json holds null, nothing else; save the model anew"),
        (put("config.json", b"\xff\xfe"), "config.json is no UTF-8 text, at byte 0; save the model anew"),
        (put("special_tokens_map.json", b"{"), "special_tokens_map.json is no valid JSON, at line 1"),
        (changed("config.json", model_type=None), "config.json says no model_type; save"),
        (changed("config.json", hidden_size="32"), "config.json: hidden_size='32' is no whole number of at"),
        (changed("config.json", vocab_size=100),
         f"config.json says vocab_size=100, {TABLE} in the weights has 61 rows: {TOGETHER}"),
        (changed("config.json", hidden_size=48),
         f"1_Pooling/config.json says vectors of 32 dimensions, config.json 48: {TOGETHER}"),
        (all_of(without_modules, changed("config.json", hidden_size=48, num_attention_heads=4)),
         f"config.json says a hidden size of 48, {TABLE} in the weights has 32 columns: {TOGETHER}"),
        (changed("1_Pooling/config.json", word_embedding_dimension=100),
         f"1_Pooling/config.json says vectors of 100 dimensions, config.json 32: {TOGETHER}"),
        (put("1_Pooling/config.json", b"{"), "1_Pooling/config.json is no valid JSON"),
        (lambda f: (f / "1_Pooling/config.json").unlink(), "modules.json names 1_Pooling, but no 1_Pooling"),
        (changed("1_Pooling/config.json", pooling_mode=5), "1_Pooling/config.json pools by 5, which cannot"),
        (changed("2_Dense/config.json", in_features=33),
         f"2_Dense/config.json says vectors of 33 dimensions, 1_Pooling/config.json 32: {TOGETHER}"),
        (changed("2_Dense/config.json", out_features=17),
         f"2_Dense/config.json says out_features=17, 2_Dense/model.safetensors 16: {TOGETHER}"),
        (lambda f: (f / "2_Dense/model.safetensors").unlink(), "2_Dense has no model.safetensors, and"),
        (changed("sentence_bert_config.json", max_seq_length="lots"),
         "sentence_bert_config.json: max_seq_length='lots' is no whole number of at least 2; save the"),
        (changed("sentence_bert_config.json", max_seq_length=-5), "sentence_bert_config.json: max_seq_"),
        (changed("sentence_bert_config.json", max_seq_length=65),
         "sentence_bert_config.json says texts of 65 tokens, embeddings.position_embeddings.weight in the "
         "weights has places for 64; write at most that there"),
        (all_of(renamed("embeddings.position_embeddings.weight", "wpe.weight"),
                changed("sentence_bert_config.json", max_seq_length=65)),
         "sentence_bert_config.json says texts of 65 tokens, wpe.weight in the weights has places for 64;"),
        (put("config_sentence_transformers.json", b'{"default_prompt_name": ["a"]}'), "config_sentence"),
        (put("tokenizer.json", b"{}"), "tokenizer.json holds no tokenizer ("),
        (cut("model.safetensors"), "model.safetensors has "),
        (put("model.safetensors", b"version https://git-lfs.github.com/spec/v1\n"), "model.safetensors is a"),
        (directory("model.safetensors"), "model.safetensors: a directory; give a readable file"),
        (directory("tokenizer.json"), "has no tokenizer.json; save the model there"),
        (partial(in_parts, index=None), "has model-00001-of-00002.safetensors, but no model.safetensors"),
        (partial(in_parts, index={}), "model.safetensors.index.json has no weight_map; save"),
        (partial(in_parts, index={"weight_map": dict(zip("ab", PARTS, strict=True))}),
         "model.safetensors.index.json names model-00002-of-00002.safetensors, which is missing; put the"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_folder_is_one_line_with_the_file_and_the_remedy(
    folder: Path, damage: Damage, told: str
) -> None:
    damage(folder)
    line = refusal(folder)
    assert line.startswith(told)
    assert ";" in line, "a remedy"


def test_a_folder_whose_files_fit_each_other_is_refused_nothing(folder: Path) -> None:
    assert local_facts(folder) == read_facts(folder)
    in_parts(folder, index={"weight_map": {"a": PARTS[0]}})
    assert local_facts(folder) == read_facts(folder)


def test_a_tokenizer_of_another_model_is_told(folder: Path, tmp_path: Path) -> None:
    other = tiny_bert(tmp_path / "more", extra_tokens=5)
    shutil.copy(other / "tokenizer.json", folder / "tokenizer.json")
    said = "tokenizer.json gives ids up to 65, the embedding table has 61 rows"
    assert refusal(folder) == f"{said}: {TOGETHER}"


def test_every_file_that_is_unfit_by_itself_is_told_at_once(folder: Path) -> None:
    put("config.json", b"{")(folder)
    changed("sentence_bert_config.json", max_seq_length=0)(folder)
    with pytest.raises(BadInputError) as caught:
        validate(custom(path=str(folder)))
    assert [line.split(": ")[1].split(" ")[0] for line in caught.value.problems] == [
        "config.json",
        "sentence_bert_config.json",
    ]


def test_a_folder_is_read_anew_once_a_file_of_it_has_changed(folder: Path) -> None:
    assert local_facts(folder).stated["max_length"].value == 48
    changed("sentence_bert_config.json", max_seq_length=20)(folder)
    assert local_facts(folder).stated["max_length"].value == 20


# --- the folder itself


def test_an_empty_folder_and_none_at_all_are_told_and_nothing_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert refusal(tmp_path / "empty").startswith("is empty; save the model there with SentenceTransformer.")
    (tmp_path / "file").write_bytes(b"")
    for name, told in (("nothing", "no such directory"), ("file", "no such directory, a file")):
        remedy = "give the folder that the model is saved in, or model.id=ORG/NAME for one on a hub"
        assert refusal(tmp_path / name) == f"{told}; {remedy}"


def test_a_folder_and_a_repository_together_are_one_too_many(folder: Path) -> None:
    with pytest.raises(BadInputError) as caught:
        validate(custom(path=str(folder), id="org/own"))
    assert caught.value.problems == (
        f"model.path={folder} and model.id=org/own are two models; give one of them, leave the other out",
    )


def test_a_shipped_model_may_be_read_from_a_folder(folder: Path) -> None:
    raw = raw_config(model="minilm")
    raw["model"]["path"] = str(folder)
    with pytest.raises(BadInputError, match=r"model\.dim=384: 2_Dense/config\.json says 16"):
        validate(raw)


# --- graphs


def graph_folder(folder: Path, *, rows: int = 61, location: str | None = None) -> Path:
    """A graph that looks tokens up in a table, beside the tiny model's tokenizer."""
    tokenizer = tiny_bert(folder.parent / f"{folder.name} weights") / "tokenizer.json"
    folder.mkdir()
    shutil.copy(tokenizer, folder)
    table = weight("table", rows, 4) if location is None else hollow("table", rows, 4, location=location)
    made = model(
        [node("Gather", "table input_ids", "last_hidden_state")],
        [port("input_ids", IDS, INT64), port("attention_mask", IDS, INT64)],
        [port("last_hidden_state", [*IDS, 4])],
        [table],
    )
    saved(made, folder)
    return folder


def graph_refusal(folder: Path) -> str:
    with pytest.raises(BadInputError) as caught:
        validate(custom(path=str(folder), pooling="mean", max_length=48))
    (problem,) = caught.value.problems
    return problem.removeprefix(f"model.path={folder}: ")


@pytest.mark.parametrize(
    ("location", "made", "told"),
    [
        ("data.bin", None, "model.onnx keeps data in data.bin, which is missing; put the file beside it"),
        ("data.bin", "directory", "data.bin: a directory; give a readable file"),
        ("../data.bin", None, "model.onnx keeps data in '../data.bin', outside the model's folder: refused"),
    ],
)
def test_data_of_a_graph_that_are_not_there_are_told_by_their_name(
    tmp_path: Path, location: str, made: str | None, told: str
) -> None:
    folder = graph_folder(tmp_path / "graph", location=location)
    if made:
        (folder / location).mkdir()
    assert graph_refusal(folder).startswith(told)
    with pytest.raises(BadInputError):
        local_files(folder)  # what names a recipe reads them too


def test_a_graph_that_is_cut_short_or_a_pointer_or_of_another_model_is_told(tmp_path: Path) -> None:
    folder = graph_folder(tmp_path / "graph", rows=9)
    assert graph_refusal(folder) == (
        f"tokenizer.json gives ids up to 60, the embedding table has 9 rows: {TOGETHER}"
    )
    write(folder / "config.json", {"hidden_size": 5})
    said = "config.json says vectors of 5 dimensions, model.onnx gives 4"
    assert graph_refusal(folder) == f"{said}: {TOGETHER}"
    cut("model.onnx")(folder)
    assert graph_refusal(folder) == "model.onnx is no ONNX graph, or is cut short; copy or export it anew"
    put("model.onnx", b"version https://git-lfs.github.com/spec/v1\n")(folder)
    assert graph_refusal(folder).startswith("model.onnx is a Git LFS pointer")


def test_without_the_package_onnx_a_graph_is_not_possible_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = graph_folder(tmp_path / "graph")
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(RuntimeUnavailableError, match=r"pip install 'embedding-harness\[build\]'"):
        validate(custom(path=str(folder), pooling="mean", max_length=48))


# --- the command


def test_the_command_ends_with_one_line_and_exit_2_before_it_builds(
    cli: Callable[..., CompletedProcess[str]], tmp_path: Path
) -> None:
    folder = graph_folder(tmp_path / "graph", location="data.bin")
    done = cli("model=custom", f"model.path={folder}", "model.pooling=mean", "model.max_length=48")
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        f"error: model.path={folder}: model.onnx keeps data in data.bin, which is missing; put the file "
        "beside it"
    ]
    assert done.stdout == ""


# --- in production


def test_a_folder_is_loaded_as_the_model_that_a_run_of_it_measures(
    whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Recipe] = []

    def prepared(recipe: Recipe, **_: Any) -> None:
        asked.append(recipe)
        raise ArtifactError("far enough")

    monkeypatch.setattr("harness.provider.prepare_artifact", prepared)
    with pytest.raises(ArtifactError, match="far enough"):
        EmbeddingProvider.load(whole, precision="int8", normalize=False)
    measured = validate(custom(path=str(whole), normalize=False)).model
    assert asked == [Recipe(measured, load_precision("int8"), "onnxruntime")]


def test_a_folder_that_does_not_say_all_that_is_needed_is_not_guessed_at(folder: Path) -> None:
    shutil.rmtree(folder / "1_Pooling")
    (folder / "modules.json").unlink()
    with pytest.raises(
        BadInputError, match=r"do not say pooling; measure it with model\.pooling=VALUE, and load"
    ):
        EmbeddingProvider.load(folder)


def test_normalising_is_given_where_a_folder_has_no_module_for_it_and_nowhere_else(folder: Path) -> None:
    asked = r"model: normalize: missing; give normalize=VALUE \(no Normalize module says it\): true makes"
    with pytest.raises(BadInputError, match=asked.replace("model", folder.name, 1)):
        EmbeddingProvider.load(folder)
    with pytest.raises(BadInputError, match="normalize=False: minilm says it itself; leave it out"):
        EmbeddingProvider.load("minilm", normalize=False)
    config = {"1_Pooling__config": MEAN, "2_Dense__config": DENSE}
    as_sentence_transformer(folder, "Pooling", "Dense", "Normalize", **config)
    with pytest.raises(BadInputError, match=r"model\.normalize=False: modules\.json says True; leave it out"):
        EmbeddingProvider.load(folder, normalize=False)


def test_a_folder_that_holds_neither_a_model_nor_an_artifact_is_refused_as_a_run_refuses_it(
    tmp_path: Path,
) -> None:
    with pytest.raises(BadInputError, match=f"model.path={tmp_path}: is empty; save the model there"):
        EmbeddingProvider.load(tmp_path)
    with pytest.raises(BadInputError, match="no such directory; give that of an artifact or of a model"):
        EmbeddingProvider.load(tmp_path / "nowhere")
