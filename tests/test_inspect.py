"""``python -m harness.inspect``: a graph told as text or as JSON alone; errors in one line each."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from harness.artifacts.anatomy import load_graph, read_anatomy
from harness.artifacts.manifest import Artifact
from harness.command import run_command
from harness.config import load_model
from harness.errors import ModelUnavailableError
from harness.inspect import main, report
from tests.artifacts.conftest import write
from tests.artifacts.graphs import INT64, embedder, model, node, placed, port, saved
from tests.artifacts.test_build import tiny_bert

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from subprocess import CompletedProcess

    from harness.artifacts.cache import Recipe

    Cli = Callable[..., CompletedProcess[str]]


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    return saved(embedder(vocab=20_000), tmp_path)


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Run the command here; its JSON, read."""

    def run(*words: str) -> Any:
        assert main([*words, "format=json"]) == 0
        return json.loads(capsys.readouterr().out)

    return run


def test_json_of_a_model_stands_alone_on_standard_output(cli: Cli, minilm: Artifact) -> None:
    done = cli("model=minilm", "ep=coreml", "format=json", module="harness.inspect")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert found["graph"] == str(minilm.graph)
    assert found["architecture"] == {
        "layers": 6, "hidden": 384, "heads": 12, "ffn": 1536, "vocab_size": 30_522,
    }  # fmt: skip
    assert set(found["architecture_from"].values()) == {"graph"}
    assert found["parameters"] == 22_565_376
    assert found["work"]["flops_of_a_text"] == {"constant": 0, "linear": 21_234_432, "quadratic": 9_216}
    assert found["work"]["flops_per_token"] == 21_234_432 + 9_216 * 128
    assert found["warnings"] == []
    assert found["coreml"]["consequence"].startswith("30,522 is larger than 16,384")
    assert {(e["model_format"], e["shapes"]) for e in found["coreml"]["estimates"]} == {
        (f, s) for f in ("MLProgram", "NeuralNetwork") for s in ("dynamic", "fixed parts", "static")
    }


def test_any_onnx_file_is_told_without_a_model(told: Callable[..., Any], graph: Path) -> None:
    found = told(f"path={graph}", "tokens=10", "batch_size=2")
    assert (found["model"], found["graph"], found["coreml"]) == (None, str(graph), None)
    assert found["architecture"]["vocab_size"] == 20_000
    assert found["architecture"]["layers"] is None, "unknown is null"
    assert found["work"]["flops"] == 2 * 20 * 8 * 8
    assert found["dynamic_axes"] == ["batch_size", "sequence_length"]


def test_what_cannot_be_counted_is_null_in_json_and_unknown_in_words(
    told: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = model([node("Thing", "x", "y", "org.example")], [port("x", ["who", 4])], [port("y", ["who"])])
    made.opset_import.add(domain="org.example", version=1)
    path = saved(made, tmp_path)
    work = told(f"path={path}")["work"]
    assert (work["flops"], work["flops_per_token"], work["activation_bytes"]) == (None, None, None)
    assert main([f"path={path}"]) == 0
    said = capsys.readouterr().out
    assert "operations         unknown for 1 × 128 tokens" in said
    assert "between operators unknown" in said
    assert "! FLOPs are unknown: org.example:Thing" in said


def test_a_tokenizer_beside_the_graph_is_held_against_its_table(
    told: Callable[..., Any], graph: Path
) -> None:
    vocab = {"model": {"vocab": {"a": 0, "b": 20_000}}, "added_tokens": []}
    graph.with_name("tokenizer.json").write_text(json.dumps(vocab), encoding="utf-8")
    (warning,) = told(f"path={graph}")["warnings"]
    assert warning == "the tokenizer gives ids up to 20000, the embedding table has 20000 rows"


def test_the_report_for_a_person_says_the_same(graph: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([f"path={graph}", "ep=coreml", "tokens=16"]) == 0
    said = capsys.readouterr().out
    for words in (
        "input              input_ids: int64 [batch_size, sequence_length]",
        "vocabulary 20,000",
        "for 1 × 16 tokens",
        "CoreML, an estimate from the operator lists of ONNX Runtime",
        "· 20,000 is larger than 16,384: Gather reads table [20000, 8]",
        "an upper bound",
    ):
        assert words in said


def test_an_execution_provider_that_is_not_estimated_is_told(
    graph: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([f"path={graph}", "ep=cuda"]) == 0
    assert "· ep=cuda is not estimated: python -m harness ep=cuda measures it" in capsys.readouterr().out


def test_a_configuration_that_contradicts_the_graph_is_told_and_fills_what_it_hides(graph: Path) -> None:
    anatomy = read_anatomy(load_graph(graph), batch_size=1, tokens=8)
    found = report(anatomy, graph, load_model("minilm"), None)
    assert (found["architecture"]["layers"], found["architecture_from"]["layers"]) == (6, "configuration")
    assert "model.vocab_size=30522: the graph shows 20000" in found["warnings"]


def test_a_precision_that_makes_no_sense_for_the_provider_is_told(
    told: Callable[..., Any], minilm: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.inspect._built", lambda _: minilm)
    warnings = told("model=minilm", "precision=fp32-fused", "ep=coreml")["warnings"]
    assert any(w.startswith("precision=fp32-fused ep=coreml: CoreML takes none of") for w in warnings)


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        (["model=qwen3", "weights=random"], [("qwen3", "random", "fp32", None)]),
        (["model=minilm", "weights=auto"],
         [("minilm", "trained", "fp32", None), ("minilm", "random", "fp32", None)]),
        (["model=custom", "model.path={folder}", "model.pooling=mean", "model.normalize=true",
          "precision=int8-published", "precision.file=q.onnx"],
         [("custom", "trained", "int8-published", "q.onnx")]),
    ],
)  # fmt: skip
def test_a_model_is_asked_for_in_the_words_of_a_run(
    words: list[str],
    asked: list[tuple[str, str, str, str | None]],
    told: Callable[..., Any],
    minilm: Artifact,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tiny_bert(tmp_path / "mine")
    recipes: list[Recipe] = []

    def prepare(recipe: Recipe, **_: Any) -> Artifact:
        recipes.append(recipe)
        if len(recipes) < len(asked):
            raise ModelUnavailableError("nobody has it")
        manifest = replace(minilm.manifest, weights=recipe.model.weights)
        return Artifact(minilm.path, manifest)

    monkeypatch.setattr("harness.provider.prepare_artifact", prepare)
    write(folder / "sentence_bert_config.json", {"max_seq_length": 20})
    found = told(*(word.format(folder=folder) for word in words))
    assert found["work"]["tokens"] == (20 if "model=custom" in words else 128), "what it reads, at most"
    had = [(r.model, r.precision) for r in recipes]
    names = [(m.name.partition("+")[0], m.weights, p.name.partition("+")[0], p.file) for m, p in had]
    assert names == asked
    assert found["weights"] == asked[-1][1]


def fixed(folder: Path) -> Path:
    """A graph for two texts of 16 tokens each, and for nothing else."""
    made = embedder()
    for value in made.graph.input:
        value.CopyFrom(port(value.name, [2, 16], INT64))
    return saved(made, folder, "fixed.onnx")


def test_sizes_that_nobody_typed_are_those_that_the_graph_takes(
    told: Callable[..., Any], tmp_path: Path
) -> None:
    short = told(f"path={saved(placed('roberta'), tmp_path)}")
    assert (short["work"]["tokens"], short["work"]["batch_size"], short["warnings"]) == (62, 1, [])
    alone = told(f"path={fixed(tmp_path)}")
    assert (alone["work"]["tokens"], alone["work"]["batch_size"]) == (16, 2)
    assert alone["work"]["flops_per_token"] == 2 * 8 * 8
    assert alone["work"]["flops_of_a_text"] is None, "it takes one length alone"


def test_what_only_the_checker_refuses_is_a_warning(told: Callable[..., Any], tmp_path: Path) -> None:
    made = embedder()
    made.graph.ClearField("name")
    (warning,) = told(f"path={saved(made, tmp_path)}")["warnings"]
    assert warning.startswith("ONNX's checker refuses the graph, ONNX Runtime loads it: Field 'name'")


def test_what_onnx_runtime_does_not_load_is_told_with_its_reason(
    told: Callable[..., Any], tmp_path: Path
) -> None:
    later, untyped = embedder(), embedder()
    later.opset_import[0].version = 99
    untyped.graph.input[0].type.tensor_type.elem_type = 0
    for made, reason in (
        (later, "ONNX Runtime only *guarantees*"),
        (untyped, "Failed to load model with error"),
    ):
        *_, warning = told(f"path={saved(made, tmp_path)}")["warnings"]
        assert warning.startswith(f"ONNX Runtime does not load the graph: {reason}")


def test_a_graph_s_names_move_no_cursor_and_break_no_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = embedder()
    made.producer_name = "made\x1b[2J by\nmodel  nobody"
    assert main([f"path={saved(made, tmp_path)}"]) == 0
    assert r"made by            made\x1b[2J by\nmodel  nobody, opset 18" in capsys.readouterr().out


# --- bad input: one line a problem, exit 2


@pytest.mark.parametrize(
    ("words", "problems"),
    [
        ([], ["give either model=NAME or path=FILE.onnx, one of them"]),
        (["model=minilm", "path={graph}"], ["give either model=NAME or path=FILE.onnx, one of them"]),
        (["model=minlm"], ["unknown model 'minlm': did you mean minilm?"]),
        (["model=custom"], ["model=custom: which model is not said; give model.path=DIR or model.id="]),
        (["model=custom", "model.path=/no/such"], ["model.path=/no/such: no such directory; give the"]),
        (["model=minilm", "model.heads=7", "weights=random"], ["model.heads=7: model.hidden=384 is no"]),
        (["model=minilm", "weights=none"], ["model.weights='none': valid: 'trained', 'random' or 'auto'"]),
        (["path={graph}", "weights=random"], ["model.weights=random: belongs to model=NAME; a graph of"]),
        (["path=/no/such/file"], ["path=/no/such/file: No such file or directory; give path=FILE.onnx"]),
        (["path={folder}"], ["path={folder}: a directory; give path=FILE.onnx"]),
        (["path=/dev/null"], ["path=/dev/null: no regular file; give path=FILE.onnx"]),
        (["path=~nobody-of-this-name/x"], ["~nobody-of-this-name is nobody's home; give the path from / on"]),
        (["path={graph}", "ep=coremel"], ["unknown ep 'coremel': did you mean coreml or directml?"]),
        (["path={graph}", "tokens=0", "batch_size=-1", "format=yaml"],
         ["unknown format 'yaml'", "tokens=0: must be", "batch_size=-1: must be"]),
        (["path={graph}", "tokens=٣"], ["tokens=٣: must be a whole number from 1 to 131072"]),
        (["path={graph}", "tokens=1" + "0" * 30], ["tokens=1"]),
        (["model=minilm", "tokens=257"], ["tokens=257: minilm reads 256 tokens at most; give at most that"]),
        (["modle=minilm"], ["unknown key 'modle': did you mean model?"]),
        (["minilm"], ["'minilm' is not key=value"]),
        (["path={text}"], ["{text}: no ONNX graph, or cut short; give the .onnx file whole"]),
        (["path={short}", "tokens=128"], ["tokens=128: this graph has 64 positions; give tokens=64"]),
        (["path={fixed}", "tokens=8", "batch_size=3"],
         ["batch_size=3: this graph has that axis fixed; give batch_size=2",
          "tokens=8: this graph has that axis fixed; give tokens=16"]),
        (["path={damaged}"], ["{damaged}: a damaged graph (TensorProto (tensor name: table) raw_data size"]),
        (["path={refused}"], ["{refused}: a damaged graph (Graph output 'other' is not an output of any"]),
        (["path={mute}"], ["{mute}: no ONNX graph: it holds no output; give the .onnx file"]),
        (["path={empty}"], ["the graph's text inputs have an axis of length 0, which takes no text; export"]),
        (["path={cut}"], ["{cut}: no ONNX graph, or cut short; give the .onnx file whole"]),
    ],
)  # fmt: skip
def test_bad_input_is_a_line_a_problem_and_exit_2(
    words: list[str],
    problems: list[str],
    graph: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("signal.signal", lambda *_: None)
    text = graph.with_name("notes.txt")
    text.write_text("hello", encoding="utf-8")
    other = embedder()
    other.graph.initializer[0].dims[0] += 1
    damaged = saved(other, graph.parent, "damaged.onnx")
    places = {"graph": graph, "text": text, "folder": text.parent, "damaged": damaged}
    refused = embedder()
    refused.graph.output[0].name = "other"
    places |= {"refused": saved(refused, graph.parent, "refused.onnx"), "cut": graph.with_name("cut.onnx")}
    places["cut"].write_bytes(graph.read_bytes()[:-20])
    mute, empty = embedder(), embedder()
    del mute.graph.output[:]
    for value in empty.graph.input:
        value.CopyFrom(port(value.name, ["batch_size", 0], INT64))
    places |= {
        "mute": saved(mute, graph.parent, "mute.onnx"),
        "empty": saved(empty, graph.parent, "empty.onnx"),
    }
    places |= {"short": saved(placed("bert"), graph.parent, "short.onnx"), "fixed": fixed(graph.parent)}
    code = run_command(lambda: main([word.format(**places) for word in words]))
    out, err = capsys.readouterr()
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == len(problems)
    for line, problem in zip(err.splitlines(), problems, strict=True):
        assert line.startswith(f"error: {problem.format(**places)}")


def test_without_the_package_onnx_it_says_how_to_get_it(
    graph: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("signal.signal", lambda *_: None)
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert run_command(lambda: main([f"path={graph}"])) == 3
    assert "pip install 'embedding-harness[build]'" in capsys.readouterr().err
