"""From typed words to plain values: names told when wrong, paths kept as typed, sweeps spread out."""

from __future__ import annotations

import string
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from harness.compose import compose, conf_dir, experiments_dir, options_of, quote_paths
from harness.errors import BadInputError

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

ODD_NAMES = [
    "two words",
    "a,b",
    "a=b",
    "batch_size=8,tokens=32",
    "Résultats été",
    "~user",
    "a~b",
    "(a)",
    "[a]",
    "{a: b}",
    "it's",
    'say "so"',
    "back\\",
    "two back\\\\",
    "back\\'quote",
    "#1",
    "a;b:c",
    " a ",
    "true",
    "12",
    "glob(x)",
    "range(1,4)",
    "日本",
    "50%",
]


@pytest.fixture(autouse=True)
def _own_process_state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`compose` hands its words to Hydra through `sys.argv`; nothing of it may reach another test."""
    monkeypatch.setattr(sys, "argv", ["harness"])
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    monkeypatch.chdir(tmp_path)


def problem_of(*words: str) -> str:
    with pytest.raises(BadInputError) as told:
        compose(words)
    assert len(told.value.problems) == 1
    assert "\n" not in str(told.value)
    return str(told.value)


def test_nothing_typed_is_one_run_of_the_defaults() -> None:
    (raw,) = compose([])
    assert (raw["model"]["name"], raw["ep"]["name"], raw["runtime"]["name"]) == (
        "minilm",
        "cpu",
        "onnxruntime",
    )
    assert (raw["batch_size"], raw["threads"], raw["results"]) == (1, None, "results")


def test_a_group_and_a_key_are_taken_as_typed() -> None:
    (raw,) = compose(["model=bge", "policy=documents", "batch_size=8", "measure.min_span_s=0.5", "threads=2"])
    assert (raw["model"]["pooling"], raw["policy"]["name"]) == ("cls", "documents")
    assert (raw["batch_size"], raw["threads"], raw["measure"]["min_span_s"]) == (8, 2, 0.5)


def test_no_key_of_hydra_s_own_reaches_the_plan() -> None:
    (raw,) = compose([])
    assert "hydra" not in raw


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("model=minlm", "unknown model 'minlm': did you mean minilm?"),
        ("ep=corml", "unknown ep 'corml': did you mean coreml?"),
        ("policy=defalt", "unknown policy 'defalt': did you mean default?"),
        ("workload=token_32", "unknown workload 'token_32': did you mean tokens_32"),
        ("measure=quik", "unknown measure 'quik': did you mean quick?"),
        ("experiments=day1_baselin", "unknown experiments 'day1_baselin': did you mean day1_baseline?"),
        ("precision=fp31", "unknown precision 'fp31': did you mean fp32 or fp16?"),
        ("runtime=onnx", "unknown runtime 'onnx': "),
        ("measure=5", "unknown measure '5': valid: "),
        ("ep=null", "unknown ep 'null': "),
    ],
)
def test_an_unknown_option_is_told_with_the_nearest(word: str, said: str) -> None:
    assert problem_of(word).startswith(said)


def test_an_option_near_no_other_is_told_with_all_of_them() -> None:
    assert problem_of("model=zzz").endswith(f"valid: {', '.join(options_of('model'))}")


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("bach_size=8", "unknown key 'bach_size': did you mean batch_size"),
        ("measure.lunches=3", "unknown key 'measure.lunches': did you mean measure.launches"),
        ("mesure.seed=3", "unknown key 'mesure.seed': did you mean measure.seed"),
        ("model.pth=x", "unknown key 'model.pth': did you mean model.path"),
    ],
)
def test_an_unknown_key_is_told_with_the_nearest(word: str, said: str) -> None:
    assert problem_of(word).startswith(said)


def test_the_nearest_key_is_looked_for_under_the_groups_that_were_chosen() -> None:
    told = problem_of("ep=coreml", "ep.options.ModelFormt=MLProgram")
    assert told.startswith("unknown key 'ep.options.ModelFormt': did you mean ep.options.ModelFormat")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["ep=coreml", "ep.options={ModelFormt: MLProgram}"],
         "unknown key 'ep.options.ModelFormt': did you mean ep.options.ModelFormat"),
        (["ep=coreml", "ep.options={Foo: 1}"], "unknown key 'ep.options.Foo': valid: ep.options.ModelF"),
        (["ep=cpu", "ep.options={ModelFormat: MLProgram}"],
         "unknown key 'ep.options.ModelFormat': this execution provider takes no options"),
        (["ep=coreml", "ep.options=[1]"], "ep.options=[1]: takes keys with their values; give ep.options."),
        (["session={arna: true}"], "unknown key 'session.arna': did you mean session.arena"),
    ],
)  # fmt: skip
def test_an_unknown_key_of_a_mapping_that_is_typed_whole_is_told_by_itself(
    words: list[str], said: str
) -> None:
    assert problem_of(*words).startswith(said)


def test_options_that_are_typed_whole_are_taken_beside_the_others() -> None:
    (raw,) = compose(["ep=coreml", "ep.options={ModelFormat: NeuralNetwork}"])
    assert raw["ep"]["options"]["ModelFormat"] == "NeuralNetwork"
    assert raw["ep"]["options"]["MLComputeUnits"] == "ALL"


def test_an_unknown_option_in_a_sweep_is_told_before_anything_runs() -> None:
    assert problem_of("-m", "model=minilm,e6").startswith("unknown model 'e6': did you mean e5")


@pytest.mark.parametrize("words", [["model=null"], ["ep=1.5"], ["-m", "model=minilm,null"], ["policy=true"]])
def test_what_is_no_name_is_no_option_of_a_group(words: list[str]) -> None:
    group, _, value = words[-1].partition("=")
    named = value.rpartition(",")[2]
    assert problem_of(*words).startswith(f"unknown {group} '{named}': valid: ")


@pytest.mark.parametrize("words", [["model=[minilm,e5]"], ["-m", "model=range(1,3)"]])
def test_several_options_of_a_group_are_never_merged_into_one(words: list[str]) -> None:
    said = f"{words[-1]}: takes a name; several are a sweep, as in -m model=A,B"
    assert problem_of(*words) == said


@pytest.mark.parametrize(
    "words",
    [
        ["-m", "experiments=paths,lengths"],
        ["-m", "experiments=glob(*)"],
        ["experiments=[paths,lengths]"],
        ["experiments=paths", "experiments=lengths"],
    ],
)
def test_of_several_presets_none_is_left_out_in_silence(words: list[str]) -> None:
    assert "a preset is a sweep of its own; take one at a time" in problem_of(*words)


@pytest.mark.parametrize("word", ["foo", "batch_size=[1", "threads=(2"])
def test_a_word_that_cannot_be_read_is_named(word: str) -> None:
    assert word in problem_of(word)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["batch_size=1,8"], "batch_size=1,8: several values are a sweep; give -m (--multirun) too"),
        (["batch_size=choice(1,8)"], "batch_size=choice(1,8): several values are a sweep; give -m"),
        (
            ["measure.clients=2,4"],
            "measure.clients=2,4: a list is written in brackets; give measure.clients=[2,4]",
        ),
        (
            ["measure.clients={a:1}"],
            "measure.clients={a:1}: takes another kind of value, as measure.clients=[2,4]",
        ),
        (
            ["batch_size=choice()"],
            "'batch_size=choice()' cannot be read: give the values of a sweep, as in -m",
        ),
        (
            ["-m", "workload=glob(xyz*)"],
            f"workload=glob(xyz*): matches nothing; valid: {', '.join(options_of('workload'))}",
        ),
        (
            ["runtime=fake", "-m", "batch_size=glob(1*)"],
            "batch_size=glob(1*): matches nothing; it has no names; give",
        ),
    ],
    ids=str,
)
def test_what_hydra_says_at_length_or_not_at_all_is_told_with_its_remedy(words: list[str], said: str) -> None:
    assert problem_of(*words).startswith(said)


def test_a_reference_to_nothing_is_told_by_its_name_and_by_nothing_else(
    capfd: pytest.CaptureFixture[str],
) -> None:
    told = problem_of("batch_size=${no_such_key}")
    assert "no_such_key" in told
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("words", "sizes"),
    [
        (["-m", "batch_size=1,8"], [1, 8]),
        (["--multirun", "batch_size=range(1,4)"], [1, 2, 3]),
        (["-m", "batch_size=4"], [4]),
        (["batch_size=1,2", "hydra.mode=MULTIRUN"], [1, 2]),
    ],
)
def test_a_sweep_is_each_of_its_values(words: list[str], sizes: list[int]) -> None:
    assert [raw["batch_size"] for raw in compose(words)] == sizes


def test_a_sweep_over_two_keys_is_every_combination() -> None:
    got = {
        (raw["model"]["name"], raw["batch_size"]) for raw in compose(["-m", "model=e5,bge", "batch_size=1,8"])
    }
    assert got == {("e5", 1), ("e5", 8), ("bge", 1), ("bge", 8)}


def test_a_glob_takes_the_options_that_match() -> None:
    got = [raw["workload"]["name"] for raw in compose(["-m", "workload=glob(tokens_*)"])]
    assert sorted(got) == [name for name in options_of("workload") if name.startswith("tokens_")]


def test_a_preset_sweeps_without_a_flag() -> None:
    got = [raw["batch_size"] for raw in compose(["experiments=day1_baseline"])]
    assert got == [1, 32]


def test_what_is_typed_wins_over_a_preset() -> None:
    got = [
        (raw["batch_size"], raw["results"]) for raw in compose(["experiments=day1_baseline", "batch_size=8"])
    ]
    assert got == [(8, "results")]


@pytest.mark.parametrize(
    "words", [[], ["-m", "batch_size=1,2"], ["experiments=day1_baseline"], ["model=typo"]]
)
def test_nothing_is_left_in_the_working_directory(words: list[str], tmp_path: Path) -> None:
    try:
        compose(words)
    except BadInputError:
        assert words == ["model=typo"]
    assert list(tmp_path.iterdir()) == []


def test_composing_leaves_no_temporary_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    compose(["-m", "batch_size=1,2"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "other"), list(zip(ODD_NAMES[0::2], ODD_NAMES[1::2], strict=True)))
def test_a_folder_keeps_its_odd_name(name: str, other: str) -> None:
    (raw,) = compose([f"results={name}", f"model.path={other}"])
    assert (raw["results"], raw["model"]["path"]) == (name, other)


@pytest.mark.parametrize("names", [ODD_NAMES[i : i + 4] for i in range(0, len(ODD_NAMES), 4)])
def test_a_folder_keeps_its_odd_name_in_a_sweep_which_writes_its_words_anew(names: list[str]) -> None:
    folder = "/".join(names)
    (raw,) = compose(["-m", f"results={folder}", f"model.path={names[0]}"])
    assert (raw["results"], raw["model"]["path"]) == (folder, names[0])


def test_a_policys_file_keeps_its_odd_name_in_a_sweep_and_is_null_where_none_is_given() -> None:
    plans = compose(["-m", "batch_size=1,8", "policy.file=it's mine, (été).yaml"])
    assert [raw["policy"]["file"] for raw in plans] == ["it's mine, (été).yaml"] * 2
    assert plans[0]["words"] == ["batch_size=1", "policy.file=it's mine, (été).yaml"]
    (raw,) = compose(["policy=strict"])
    assert (raw["policy"]["name"], raw["policy"]["file"]) == ("strict", None)


def test_a_path_that_the_user_has_quoted_is_read_once() -> None:
    assert [raw["results"] for raw in compose(["results='a,b'"])] == ["a,b"]


PRINTABLE = st.text(
    st.one_of(
        st.sampled_from(string.punctuation + string.ascii_letters + string.digits + " "),
        st.characters(codec="utf-8", exclude_categories=["C", "Zl", "Zp"]),
    ),
    min_size=1,
    max_size=12,
)


def taken_literally(name: str) -> bool:
    """All but what a user means by it: quotes of their own, null, and a reference to another key."""
    return name[0] not in "'\"" and name != "null" and "${" not in name


@given(name=PRINTABLE.filter(taken_literally))
@example(name="a\\'")
@example(name="\\\\")
@settings(max_examples=200, deadline=None)
def test_hydra_reads_back_the_path_that_was_quoted(name: str) -> None:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    (word,) = quote_paths([f"results={name}"])
    override = OverridesParser.create().parse_override(word)
    assert (override.key_or_group, override.value()) == ("results", name)


@given(name=PRINTABLE.filter(taken_literally), other=PRINTABLE.filter(taken_literally))
@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_printable_name_comes_through_a_whole_sweep(name: str, other: str) -> None:
    (raw,) = compose(["-m", f"results={name}", f"model.path={other}"])
    assert (raw["results"], raw["model"]["path"]) == (name, other)


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["model=bge", "batch_size=8", "measure.launches=3"],
        ["-m", "batch_size=1,8", "ep=cpu,coreml", "results=a b"],
        ["experiments=day1_baseline", "threads=2"],
        *(
            ["-m", f"results={name}", f"model.path={name}"]
            for name in ("it's, (1)=~", "back\\", "\\'", "\\\\")
        ),
    ],
    ids=" ".join,
)
def test_the_words_of_a_plan_make_the_same_plan_again(words: list[str]) -> None:
    for raw in compose(words):
        (again,) = compose(raw["words"])
        assert again == raw


def test_the_words_of_a_plan_are_what_was_typed() -> None:
    (raw,) = compose(["ep=coreml", "results=été, (1)", "batch_size=8"])
    assert raw["words"] == ["ep=coreml", "results=été, (1)", "batch_size=8"]


def test_only_paths_are_quoted() -> None:
    words = ["model=minilm", "batch_size=1,8", "results=a b", "-m", "results=", "model.path=null"]
    assert quote_paths(words) == [
        "model=minilm",
        "batch_size=1,8",
        "results='a b'",
        "-m",
        "results=",
        "model.path=null",
    ]


def test_the_folders_of_the_configuration_are_found_from_anywhere() -> None:
    assert (conf_dir() / "config.yaml").is_file()
    assert experiments_dir().is_dir()
    assert options_of("experiments") == sorted(options_of("experiments")) != []


def test_what_a_preset_sets_by_itself_is_among_the_words_of_its_runs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "mine.yaml").write_text(
        "defaults:\n  - override /workload: mixture\nmeasure: {requests: 200, spread: true}\n"
        "quality: {mteb: [STSBenchmark, SciFact]}\nresults: my results\n"
        "hydra: {mode: MULTIRUN, sweeper: {params: {batch_size: '1,2'}}}\n",
        encoding="utf-8",
    )
    monkeypatch.setattr("harness.compose.experiments_dir", lambda: tmp_path)
    first, second = compose(["experiments=mine", "measure.requests=300"])
    own = {
        "workload=mixture",
        "measure.spread=true",
        "quality.mteb=[STSBenchmark,SciFact]",
        "results=my results",
    }
    assert own < set(first["words"])
    assert [w for w in first["words"] if w.startswith("measure.requests")] == ["measure.requests=300"]
    assert "batch_size=2" in second["words"]
    again = compose([word for word in second["words"] if not word.startswith("experiments=")])
    assert again[0] == second | {"words": again[0]["words"]}


def test_a_broken_preset_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    presets = tmp_path / "experiments"
    presets.mkdir()
    (presets / "broken.yaml").write_text("a: [", encoding="utf-8")
    monkeypatch.setattr("harness.compose.experiments_dir", lambda: presets)
    assert problem_of("batch_size=1").startswith("experiments/broken.yaml cannot be read: ")


def test_a_flag_that_only_prints_gives_nothing_to_measure(capsys: pytest.CaptureFixture[str]) -> None:
    assert compose(["--cfg", "job", "batch_size=7"]) == []
    assert "batch_size: 7" in capsys.readouterr().out


def test_a_plan_holds_plain_values_only() -> None:
    def kinds(value: Any) -> set[type]:
        if isinstance(value, dict):
            return {dict}.union(*(kinds(v) for v in value.values()))
        if isinstance(value, list):
            return {list}.union(*(kinds(v) for v in value))
        return {type(value)}

    (raw,) = compose(["ep=coreml", "runtime=fake"])
    assert kinds(raw) <= {dict, list, str, int, float, bool, type(None)}


def test_a_preset_of_several_documents_is_as_many_sweeps_in_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    sweep = "# @package _global_\nhydra: {mode: MULTIRUN, sweeper: {params: %s}}\n"
    first, second = "{ep: cpu, threads: '1,2'}", "{ep: coreml, ep.options.ModelFormat: NeuralNetwork}"
    (tmp_path / "two.yaml").write_text(f"{sweep % first}---\n{sweep % second}")
    monkeypatch.setattr("harness.compose.experiments_dir", lambda: tmp_path)
    plans = compose(["experiments=two", "batch_size=4"])
    assert [(raw["ep"]["name"], raw["threads"], raw["batch_size"]) for raw in plans] == [
        ("cpu", 1, 4), ("cpu", 2, 4), ("coreml", None, 4),
    ]  # fmt: skip
    assert plans[2]["ep"]["options"]["ModelFormat"] == "NeuralNetwork"


def test_help_names_each_preset_once(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        compose(["--help"])
    said = capsys.readouterr().out
    (line,) = [line for line in said.splitlines() if line.startswith("experiments:")]
    names = line.removeprefix("experiments: ").split(", ")
    assert set(options_of("experiments")) <= set(names)
    assert not [name for name in names if "+" in name]
