"""The commands as a user types them: exit codes, lines, files."""

from __future__ import annotations

import json
import random
import runpy
import signal
import socket
import subprocess
import sys
import time
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import onnxruntime as ort
import pytest

import harness
from harness.command import run_command
from harness.config import load_ep
from harness.confirm import confirm
from harness.store import load_launches, load_runs
from harness.sweep import measure
from harness.worker import attempt
from tests.conftest import python_m

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from harness.artifacts.manifest import Artifact
    from harness.worker import Task

    Cli = Callable[..., subprocess.CompletedProcess[str]]

AVAILABLE = ort.get_available_providers()
ABSENT_EP = next(name for name in ("coreml", "cuda", "openvino") if load_ep(name).provider not in AVAILABLE)
pytestmark = pytest.mark.usefixtures("fake_artifact")


class Measured(NamedTuple):
    """A fake run: its results, what the command printed, and the words that made it what it is."""

    folder: Path
    done: subprocess.CompletedProcess[str]
    words: list[str]


VERDICTS = {
    "GO": ["runtime.script.infer_ms=[2]"],
    "CONDITIONAL_GO": ["runtime.script.infer_ms=[25]"],
    "NO_GO": ["runtime.script.infer_ms=[40]"],
    "INCONCLUSIVE": ["measure.launches=3"],
}


@pytest.fixture
def within(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Cli]:
    """As `cli`, within this process: for what others here hold of a process of its own."""

    def run(*words: str, module: str = "harness") -> subprocess.CompletedProcess[str]:
        main = runpy.run_module(f"{module}.__main__" if module == "harness" else module)["main"]
        monkeypatch.setattr(sys, "argv", [module, *words])
        with warnings.catch_warnings():
            code = run_command(lambda: main(list(words)))
        return subprocess.CompletedProcess(words, code, *capsys.readouterr())

    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    monkeypatch.chdir(tmp_path)
    yield run
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def launched_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Launches are done within this process too: for what others here hold of processes of their own."""

    def worker(task: Task, **_: Any) -> dict[str, Any]:
        told = asdict(task) | {"spawned_monotonic_ns": time.monotonic_ns()}
        answer: dict[str, Any] = json.loads(json.dumps(attempt(json.loads(json.dumps(told)))))
        return answer

    for measures in (measure, confirm):
        assert measures.__kwdefaults__ is not None
        monkeypatch.setitem(measures.__kwdefaults__, "worker", worker)


@pytest.fixture(scope="module")
def known_runs() -> dict[str, Measured]:
    """What `measured` has measured."""
    return {}


@pytest.fixture
def measured(
    world: Path,
    within: Cli,
    launched_here: None,
    known_runs: dict[str, Measured],
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[str], Measured]:
    """A fake run by the verdict it is to get; each measured once, GO's as a user would."""

    def run(verdict: str) -> Measured:
        if verdict not in known_runs:
            folder = tmp_path_factory.mktemp(verdict.lower()) / "results"
            words = ["runtime=fake", f"results={folder}", *VERDICTS[verdict]]
            if verdict == "GO":
                command = [*python_m(world), "harness", *words]
                done = subprocess.run(command, cwd=folder.parent, capture_output=True, text=True, timeout=120)
            else:
                done = within(*words)
            known_runs[verdict] = Measured(folder, done, VERDICTS[verdict])
        return known_runs[verdict]

    return run


def refused(done: subprocess.CompletedProcess[str], code: int) -> list[str]:
    """The lines of a command that was refused: on standard error alone, each an error, no traceback."""
    assert done.returncode == code
    lines = done.stderr.splitlines()
    assert lines
    assert [line for line in lines if not line.startswith("error: ")] == []
    assert done.stdout == ""
    return [line.removeprefix("error: ") for line in lines]


# --- bad input


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["model=minlm"], "unknown model 'minlm': did you mean minilm?"),
        (["ep=corml"], "unknown ep 'corml': did you mean coreml?"),
        (["policy=defalt"], "unknown policy 'defalt': did you mean default?"),
        (["bach_size=8"], "unknown key 'bach_size': did you mean batch_size"),
        (["batch_size=-1"], "batch_size=-1: must be at least 1"),
        (["batch_size=1.5"], "batch_size=1.5: not a whole number"),
        (["workload.rate=5"], "workload.rate=5.0: belongs to workload.arrival=poisson"),
        (["workload.clients=0"], "workload.clients=0: must be at least 1"),
        (["measure=soak", "workload.clients=2"], "measure=soak serves one caller back to back"),
        (["measure=soak", "measure.duration_s=5"], "measure.duration_s=5: must be at least 30"),
        (["runtime=fake", "measure.cpus=1000"], "measure.cpus=1000: "),
        (["measure.pause_s=1"], "unknown key 'measure.pause_s'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_is_one_line_and_exit_2(within: Cli, tmp_path: Path, words: list[str], said: str) -> None:
    (line,) = refused(within(*words), 2)
    assert line.startswith(said)
    assert list(tmp_path.rglob("*.parquet")) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["threads=1,2", "measure=confirm"],
            "measure=confirm confirms one candidate, the pick: 2 were given",
        ),
        (["measure=confirm,default"], "measure=confirm stands beside others in one sweep"),
    ],
    ids=str,
)
def test_a_sweep_that_cannot_be_confirmed_is_bad_input(
    within: Cli, tmp_path: Path, words: list[str], said: str
) -> None:
    (line,) = refused(within("-m", "runtime=fake", *words), 2)
    assert line.startswith(said)
    assert list(tmp_path.rglob("*.parquet")) == []


def test_all_wrong_values_are_told_at_once(cli: Cli) -> None:
    lines = refused(cli("batch_size=0", "threads=abc", "measure.requests=5"), 2)
    assert sorted(line.partition("=")[0] for line in lines) == ["batch_size", "measure.requests", "threads"]


def test_every_run_of_a_sweep_is_valid_before_any_is_measured(within: Cli, tmp_path: Path) -> None:
    lines = refused(
        within(
            "-m", "batch_size=1,0", "model=minilm,e5", "workload=glob([tokens_8,tokens_5*])", "runtime=fake"
        ),
        2,
    )
    assert set(lines) == {
        "batch_size=0: must be at least 1; of this sweep leave out batch_size=0",
        "workload.tokens=512: minilm reads 256 tokens at most; choose a shorter workload; "
        "of this sweep leave out model=minilm with workload=tokens_512",
    }
    assert list(tmp_path.iterdir()) == []
    (line,) = refused(within("-m", "threads=1,2", "batch_size=0", "runtime=fake"), 2)
    assert line == "batch_size=0: must be at least 1", "whatever is left out"


def test_a_file_where_the_results_should_be_is_bad_input(within: Cli, tmp_path: Path) -> None:
    (tmp_path / "results").write_text("mine", encoding="utf-8")
    (line,) = refused(within("runtime=fake"), 2)
    assert line.startswith("results=results: cannot be written")
    assert (tmp_path / "results").read_text(encoding="utf-8") == "mine"


def test_your_own_model_without_its_tokenizer_is_bad_input(within: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "my model, v=1"
    folder.mkdir()
    (folder / "config.json").write_text("{}", encoding="utf-8")
    facts = ("model.pooling=mean", "model.max_length=128", "model.dim=32")
    (line,) = refused(within("model=custom", f"model.path={folder}", *facts), 2)
    assert line.startswith(f"model.path={folder}: has no tokenizer.json")
    (line,) = refused(within("model=custom", "model.path=nowhere", *facts), 2)
    assert line.startswith("model.path=nowhere: no such directory; give the folder")


# --- not possible here


def test_an_execution_provider_that_this_build_lacks_is_exit_3_with_the_remedy(cli: Cli) -> None:
    ep = load_ep(ABSENT_EP)
    (line,) = refused(cli(f"ep={ABSENT_EP}"), 3)
    assert line.startswith(f"ep={ABSENT_EP}: {ep.provider} is not in the installed ONNX Runtime")
    assert ep.wheel in line


def test_a_model_that_cannot_be_had_is_exit_3_asks_nobody_and_names_its_sources(cli: Cli) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        proxy = f"http://127.0.0.1:{listening.getsockname()[1]}"
        (line,) = refused(cli("model=e5", HTTP_PROXY=proxy, HTTPS_PROXY=proxy), 3)
        listening.setblocking(False)
        with pytest.raises(BlockingIOError):
            listening.accept()
    assert line.startswith(
        "model e5 (intfloat/e5-small-v2) cannot be had: hub intfloat/e5-small-v2 at dca8b1a9dae0"
    )
    assert "model.path=DIR" in line


# --- help


@pytest.fixture(scope="module")
def modules_of(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[str, set[str]]]:
    """What a command prints, and the top-level modules it imports."""

    def run(*words: str) -> tuple[str, set[str]]:
        done = subprocess.run(
            [sys.executable, "-X", "importtime", "-m", *words],
            cwd=tmp_path_factory.mktemp("help"),
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0
        timed = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
        assert len(timed) == len(done.stderr.splitlines()) > 50
        return done.stdout, {line.rpartition("|")[2].strip().partition(".")[0] for line in timed}

    return run


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["harness", "--help"], "python -m harness model=minilm ep=cpu"),
        (["harness", "--cfg", "job"], "batch_size: 1"),
        (["harness.decide", "--help"], "0 GO, 10 CONDITIONAL_GO, 11 NO_GO, 12 INCONCLUSIVE"),
    ],
    ids=" ".join,
)
def test_help_loads_nothing_that_measures(
    modules_of: Callable[..., tuple[str, set[str]]], words: list[str], said: str
) -> None:
    shown, modules = modules_of(*words)
    assert said in shown
    heavy = {"onnxruntime", "torch", "transformers", "matplotlib"}
    if words[0] == "harness":
        heavy |= {"pandas", "pyarrow", "scipy"}
    assert modules & heavy == set()


def test_no_command_takes_an_empty_folder_of_results(cli: Cli) -> None:
    package = Path(harness.__file__).parent
    texts = {file: file.read_text(encoding="utf-8") for file in package.rglob("*.py")}
    taking = (file for file, text in texts.items() if "run_command(lambda" in text and "results=" in text)
    parts = (file.relative_to(package.parent).with_suffix("").parts for file in taking)
    modules = sorted(".".join(part for part in names if part != "__main__") for names in parts)
    assert modules == ["harness", "harness.compare", "harness.decide", "harness.report"]
    for module in modules:
        done = cli("results=", module=module)
        assert (done.returncode, done.stderr) == (2, "error: results=: empty; give results=DIR\n"), module


def test_help_lists_every_group_with_its_options(cli: Cli) -> None:
    shown = cli("--help").stdout.splitlines()
    eps = "ep: coreml, cpu, cuda, directml, openvino, qnn, tensorrt, webgpu, xnnpack"
    for line in (eps, "model: bge, custom, e5, minilm, qwen3"):
        assert line in shown
    assert any(line.startswith("experiments: ") and "day1_baseline" in line for line in shown)


# --- measured


def test_a_run_prints_its_figures_and_its_verdict_and_again_what_is_stored(
    cli: Cli, measured: Callable[[str], Measured]
) -> None:
    run = measured("GO")
    assert run.done.returncode == 0
    assert "minilm fp32 fake cpu, default, batch 1" in run.done.stdout
    assert "17 launches, 1700 requests" in run.done.stdout
    assert "GO  minilm fp32 fake cpu  (provisional, policy default)" in run.done.stdout.splitlines()
    assert f"results: {run.folder}" in run.done.stdout.splitlines()
    assert "\x1b" not in run.done.stdout + run.done.stderr
    assert "Traceback" not in run.done.stderr
    assert [line for line in run.done.stderr.splitlines() if "measuring" in line] != []
    assert [path.name for path in run.folder.parent.iterdir()] == ["results"]

    before = {path: path.read_bytes() for path in (run.folder / "launches").iterdir()}
    again = cli("runtime=fake", f"results={run.folder}", *run.words)
    assert (again.returncode, again.stdout) == (0, run.done.stdout)
    assert {path: path.read_bytes() for path in (run.folder / "launches").iterdir()} == before


@pytest.mark.usefixtures("launched_here")
def test_what_a_command_asks_for_is_judged_though_another_run_is_newer(within: Cli, tmp_path: Path) -> None:
    words = ("runtime=fake", "measure.launches=1")
    for requests in ((), ("measure.requests=200",), ()):
        done = within(*words, *requests)
    runs = load_runs(tmp_path / "results").set_index("requests")
    assert (
        f"other run(s), set up otherwise, exist at default, batch 1; {runs.loc[100, 'run_id']} is read"
        in (" ".join(done.stdout.split()))
    )
    decided = within(module="harness.decide").stdout
    assert f"{runs.loc[200, 'run_id']} is read" in " ".join(decided.split())


def test_a_sweep_prints_its_runs_and_its_decision(cli: Cli, tmp_path: Path) -> None:
    done = cli("-m", "batch_size=1,8", "measure.launches=3", "runtime=fake")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert lines[0].strip() == "runs"
    assert any(line.startswith("INCONCLUSIVE") for line in lines)
    runs = load_runs(tmp_path / "results")
    assert (sorted(runs["batch_size"]), set(runs["launches"]), set(runs["status"])) == (
        [1, 8],
        {3},
        {"complete"},
    )
    assert runs["sweep_id"].nunique() == 1
    assert sorted(runs["command"]) == [f"python -m harness batch_size={size} runtime=fake" for size in (1, 8)]
    assert [path.name for path in tmp_path.iterdir()] == ["results"]


def test_a_sweep_over_callers_is_two_runs_of_one_candidate(within: Cli, tmp_path: Path) -> None:
    done = within("-m", "workload.clients=1,2", "measure.launches=3", "runtime=fake")
    assert done.returncode == 0
    runs = load_runs(tmp_path / "results")
    assert (sorted(runs["clients"]), set(runs["workload"])) == ([1, 2], {"default"})
    assert runs["candidate_label"].nunique() == 1
    assert sorted(runs["command"]) == [f"python -m harness workload.clients={n} runtime=fake" for n in (1, 2)]
    assert "default ×2" in done.stdout
    assert load_launches(tmp_path / "results").groupby("round")["run_id"].nunique().tolist() == [2] * 3


@pytest.mark.usefixtures("launched_here")
def test_paced_arrivals_are_timed_from_when_they_were_due(within: Cli, tmp_path: Path) -> None:
    """A thousand a second of requests that take 2 ms: the queue grows, and every request behind it waits.

    They arrive for five seconds, and are timed until the last was served.
    """
    done = within("runtime=fake", "workload.arrival=poisson", "workload.rate=1000", "measure.launches=3")
    assert done.returncode == 0
    assert "poisson 1000/s" in done.stdout
    (run,) = load_runs(tmp_path / "results").to_dict("records")
    assert (run["arrival"], run["offered_qps"], run["clients"]) == ("poisson", 1000.0, 1)
    assert run["latency_p95_ms"] > 50
    assert run["infer_p50_ms"] == pytest.approx(2.0)
    for due in load_launches(tmp_path / "results")["scheduled_ns"]:
        assert len(due) == 5_000
        assert sorted(due) == list(due)


@pytest.mark.usefixtures("launched_here")
def test_replicates_are_two_runs_of_the_same_thing(within: Cli, tmp_path: Path) -> None:
    done = within("-m", "measure.replicate=1,2", "measure.launches=3", "runtime=fake")
    assert done.returncode == 0
    runs = load_runs(tmp_path / "results")
    assert (sorted(runs["replicate"]), runs["run_id"].nunique()) == ([1, 2], 2)
    figures = runs[["candidate_label", "sweep_id", "latency_p95_ms", "artifact_sha256"]]
    assert len(figures.drop_duplicates()) == 1


def test_a_soak_prints_growth_handles_and_drift(within: Cli, tmp_path: Path) -> None:
    words = ("runtime=fake", "runtime.script.infer_ms=[20]", "measure=soak", "measure.duration_s=30")
    done = within(*words)
    assert done.returncode == 0
    for line in ("memory growth", "handles gained", "latency drift"):
        assert line in done.stdout
    (run,) = load_runs(tmp_path / "results").to_dict("records")
    assert (run["purpose"], run["launches"], run["status"]) == ("soak", 1, "complete")
    assert run["soak_s"] == pytest.approx(30.0, rel=0.001), "the last request ends a little later"
    assert run["requests"] == pytest.approx(30 / 0.02002, abs=30)
    assert run["latency_drift"] == 1.0
    again = within(*words)
    assert (again.returncode, again.stdout) == (0, done.stdout)
    assert len(load_launches(tmp_path / "results")) == 1


# A policy that six launches settle.
SOON = '[{tier: must, metric: latency_p95_ms, op: "<", bound: 30, launch_quantile: 0.5, label: P95}]'


@pytest.mark.usefixtures("launched_here")
def test_the_pick_is_confirmed_under_productions_load_and_the_limits_are_told(
    within: Cli, tmp_path: Path
) -> None:
    words = (
        "runtime=fake", "runtime.script.infer_ms=[2]", "model.max_length=8", f"policy.gates={SOON}",
        "measure=confirm", "measure.min_span_s=1.6", "measure.rate=100",
    )  # fmt: skip
    done = within(*words)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False)
    reach = [line for line in done.stdout.splitlines() if "within the budget: " in line]
    assert ["8 tokens" in reach[0], "300 requests/s" in reach[1]] == [True, True]
    verdict = [line for line in done.stdout.splitlines() if line.startswith("GO  ")][
        -1
    ]  # the runs' headings before
    assert "(provisional, policy default+" in verdict, "a script confirms nothing"
    runs = load_runs(tmp_path / "results")
    load = runs[runs["purpose"] == "confirm"]
    assert sorted(zip(load["clients"], load["arrival"], strict=True)) == [
        (1, "back_to_back"),
        (1, "poisson"),
        (2, "back_to_back"),
        (4, "back_to_back"),
    ]
    assert (load["evidence_span_s"] >= 1.6).all()
    assert set(runs["purpose"]) == {"confirm", "latency", "search"}

    before = len(load_launches(tmp_path / "results"))
    again = within(*words)
    assert (again.returncode, again.stdout) == (0, done.stdout)
    assert len(load_launches(tmp_path / "results")) == before


def test_a_killed_launch_is_exit_4_and_no_go(cli: Cli, tmp_path: Path) -> None:
    done = cli("runtime=fake", "runtime.script.launches=[ok,sigkill,ok]", "measure.launches=4")
    assert done.returncode == 4
    assert any(line.startswith("NO_GO") for line in done.stdout.splitlines())
    assert "killed by SIGKILL" in done.stdout
    assert "measure.force=true" in done.stdout
    assert "Traceback" not in done.stderr
    (run,) = load_runs(tmp_path / "results").to_dict("records")
    assert (run["status"], run["launches"], run["launches_failed"]) == ("complete", 4, 1)


def test_a_run_whose_launches_all_fail_is_exit_4(within: Cli, tmp_path: Path) -> None:
    done = within("runtime=fake", "runtime.script.launches=[abort]")
    assert done.returncode == 4
    assert any(line.startswith("NO_GO") for line in done.stdout.splitlines())
    assert "None" not in done.stdout
    assert load_runs(tmp_path / "results")["status"].tolist() == ["failed"]


def test_what_is_not_possible_here_is_a_row_of_a_sweep_and_exit_4(within: Cli, tmp_path: Path) -> None:
    done = within("-m", "runtime=fake,onnxruntime", f"ep={ABSENT_EP}", "measure.launches=1")
    assert done.returncode == 4
    assert "Traceback" not in done.stderr
    runs = load_runs(tmp_path / "results").set_index("runtime")
    assert runs["status"].to_dict() == {"fake": "complete", "onnxruntime": "unavailable"}
    assert runs["launches"].to_dict() == {"fake": 1, "onnxruntime": 0}
    assert load_ep(ABSENT_EP).provider in runs.loc["onnxruntime", "error"]


def test_a_results_folder_may_have_any_name(cli: Cli, tmp_path: Path) -> None:
    name = "Résultats, n=1 (a) ~x [b] it's"
    done = cli("runtime=fake", "measure.launches=3", f"results={name}")
    assert done.returncode == 0
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert len(load_launches(tmp_path / name)) == 3
    decided = cli(f"results={name}", module="harness.decide")
    assert decided.returncode == 12
    assert f"record: {name}/decisions/" in decided.stdout.replace(f"{tmp_path}/", "")


# --- interrupted


@pytest.fixture
def started(world: Path, tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a command and come back when its first launch is stored."""
    running = []

    def start(*words: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*python_m(world), "harness", *words],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        running.append(process)
        ends = time.monotonic() + 60
        while not list(tmp_path.glob("results/launches/*.parquet")):
            assert process.poll() is None
            assert time.monotonic() < ends
            time.sleep(0.02)
        return process

    yield start
    for process in running:
        process.kill()
        process.communicate()


WORDS = ("runtime=fake", "measure.launches=3", "measure.spread=true", "measure.min_span_s=6")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_is_exit_130_and_the_same_command_goes_on(
    cli: Cli,
    started: Callable[..., subprocess.Popen[str]],
    world: Path,
    tmp_path: Path,
    number: signal.Signals,
) -> None:
    process = started(*WORDS)
    process.send_signal(number)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (130, "")
    assert err.splitlines()[-1].startswith(f"interrupted by {number.name}: everything measured is kept")
    assert "Traceback" not in err
    assert list((world / "tmp").glob("harness-*")) == []
    kept = load_launches(tmp_path / "results")
    assert len(kept) in (1, 2)
    assert load_runs(tmp_path / "results")["status"].tolist() == ["interrupted"]

    done = cli(*WORDS)
    assert (done.returncode, "3 launches, 300 requests" in done.stdout) == (0, True)
    launches = load_launches(tmp_path / "results")
    assert launches["launch_index"].tolist() == [0, 1, 2]
    assert launches["pid"].tolist()[: len(kept)] == kept["pid"].tolist()
    assert load_runs(tmp_path / "results")["status"].tolist() == ["complete"]


def test_even_a_killed_command_loses_nothing_and_blocks_nobody(
    cli: Cli, started: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    words = ("runtime=fake", "measure.launches=3", "measure.spread=true", "measure.min_span_s=4.8")
    process = started(*words)
    process.kill()
    process.communicate()
    kept = load_launches(tmp_path / "results")
    assert len(kept) >= 1
    done = cli(*words, timeout=120)
    assert done.returncode == 0
    assert "waiting" not in done.stderr
    assert load_launches(tmp_path / "results")["pid"].tolist()[: len(kept)] == kept["pid"].tolist()


def test_a_sweep_killed_again_and_again_has_every_launch_once(cli: Cli, world: Path, tmp_path: Path) -> None:
    """Three runs of five launches, killed at moments soon after the first write of each command."""
    words = [
        "-m", "workload=default,mixture,tokens_8", "runtime=fake", "measure.launches=5",
        "measure.spread=true", "measure.min_span_s=4.8",
    ]  # fmt: skip
    moments = random.Random(20251101)
    results = tmp_path / "results"
    seen: dict[str, int] = {}
    for _ in range(5):
        began_ns = time.time_ns()
        process = subprocess.Popen(
            [*python_m(world), "harness", *words],
            cwd=tmp_path,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            ends = time.monotonic() + 60
            while not any(file.stat().st_mtime_ns > began_ns for file in results.glob("*/*.parquet")):
                if process.poll() is not None:
                    break  # nothing was left to be measured
                assert time.monotonic() < ends
                time.sleep(0.01)
            time.sleep(moments.uniform(0.0, 0.5))
        finally:
            process.kill()
            process.wait()
        launches = load_launches(results)  # a file that cannot be read would warn, and so fail this test
        kept = dict(zip(launches["launch_id"], launches["pid"], strict=True))
        assert seen.items() <= kept.items(), "what was written is never measured again"
        seen = kept
    done = cli(*words, timeout=120)
    assert done.returncode == 0
    runs, launches = load_runs(results), load_launches(results)
    assert (len(runs), set(runs["launches"]), set(runs["status"])) == (3, {5}, {"complete"})
    for _, mine in launches.groupby("run_id"):
        assert mine["launch_index"].tolist() == list(range(5))
        assert mine["started_at"].is_monotonic_increasing
    assert (len(launches), launches["launch_id"].is_unique) == (15, True)
    assert seen.items() <= dict(zip(launches["launch_id"], launches["pid"], strict=True)).items()
    assert len(list(results.rglob("*.parquet"))) == 6


def test_a_second_command_waits_and_says_for_whom(
    world: Path, started: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    first = started("runtime=fake", "measure.launches=3", "measure.spread=true", "measure.min_span_s=6")
    first.send_signal(signal.SIGSTOP)  # it holds its lock until the other is seen to wait, however slow
    words = ("runtime=fake", "measure.launches=1", "batch_size=8")
    with subprocess.Popen(
        [*python_m(world), "harness", *words], cwd=tmp_path, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, text=True,
    ) as second:  # fmt: skip
        assert second.stderr is not None
        told = next((line for line in second.stderr if "waiting" in line), "")
        first.send_signal(signal.SIGCONT)
        assert f"waiting: process {first.pid} since " in told
        second.stderr.read()
    assert (first.wait(120), second.returncode) == (0, 0)
    runs = load_runs(tmp_path / "results").set_index("batch_size")
    assert runs.loc[8, "started_at"] >= load_launches(tmp_path / "results")["started_at"].max()


# --- harness.decide


def decided(cli: Cli, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return cli(f"results={folder}", *words, module="harness.decide")


@pytest.mark.parametrize(
    ("verdict", "code"), [("GO", 0), ("CONDITIONAL_GO", 10), ("NO_GO", 11), ("INCONCLUSIVE", 12)]
)
def test_the_verdict_is_the_exit_code_and_is_recorded_beside_the_runs(
    cli: Cli, measured: Callable[[str], Measured], verdict: str, code: int
) -> None:
    folder = measured(verdict).folder
    done = decided(cli, folder)
    assert done.returncode == code, done.stderr  # which may say how far it is, on a slow machine
    assert not any(word in done.stderr for word in ("error", "warning", "Traceback"))
    pick = "minilm fp32 fake cpu" if verdict in ("GO", "CONDITIONAL_GO") else "("
    assert any(line.startswith(f"{verdict}  {pick}") for line in done.stdout.splitlines())
    (record,) = (folder / "decisions").glob("*.json")
    assert json.loads(record.read_text(encoding="utf-8"))["verdict"] == verdict
    assert record.with_suffix(".md").read_text(encoding="utf-8").startswith(f"# {verdict}")
    assert f"record: {record}" in done.stdout.splitlines()


def test_the_same_runs_give_the_same_record_to_the_byte(
    within: Cli, measured: Callable[[str], Measured]
) -> None:
    folder = measured("INCONCLUSIVE").folder
    first = decided(within, folder)
    records = {path.name: path.read_bytes() for path in (folder / "decisions").iterdir()}
    second = decided(within, folder)
    assert (second.returncode, second.stdout) == (first.returncode, first.stdout)
    assert {path.name: path.read_bytes() for path in (folder / "decisions").iterdir()} == records
    assert len(records) == 2


def test_json_is_alone_on_standard_output_even_beside_a_file_that_cannot_be_read(
    cli: Cli, measured: Callable[[str], Measured]
) -> None:
    folder = measured("CONDITIONAL_GO").folder
    broken = folder / "runs" / "broken.parquet"
    broken.write_bytes(b"not parquet")
    try:
        done = decided(cli, folder, "format=json")
    finally:
        broken.unlink()
    record: dict[str, Any] = json.loads(done.stdout)
    assert (done.returncode, record["verdict"], record["evidence"]) == (10, "CONDITIONAL_GO", "provisional")
    assert record["chosen"] == "minilm fp32 fake cpu"
    assert done.stdout in [path.read_text(encoding="utf-8") for path in (folder / "decisions").glob("*.json")]
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"warning: skipped {broken}: ")


def test_markdown_is_the_recorded_page(within: Cli, measured: Callable[[str], Measured]) -> None:
    folder = measured("NO_GO").folder
    done = decided(within, folder, "format=markdown")
    assert (done.returncode, done.stderr) == (11, "")
    assert done.stdout.startswith("# NO_GO\n")
    assert "accept Qwen3-Embedding-0.6B on CPU" in done.stdout
    assert done.stdout in [path.read_text(encoding="utf-8") for path in (folder / "decisions").glob("*.md")]


def test_another_policy_may_judge_the_same_runs_otherwise(
    within: Cli, measured: Callable[[str], Measured], tmp_path: Path
) -> None:
    own = tmp_path / "mine, 1 ms.yaml"
    own.write_text(
        """
name: mine
min_ep_node_share: 0.5
objective: path_order
paths: []
fallback: null
gates:
  - {tier: must, metric: latency_p95_ms, op: "<", bound: 1, launch_quantile: 0.8, label: P95 latency ms}
""",
        encoding="utf-8",
    )
    done = decided(within, measured("GO").folder, f"policy.file={own}")
    assert done.returncode == 11
    assert "NO_GO  (provisional, policy mine)" in done.stdout.splitlines()


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("format=jsn", "unknown format 'jsn': did you mean json?"),
        ("policy.file=missing.yaml", "missing.yaml: No such file or directory; give a readable file"),
        ("polcy=default", "unknown key 'polcy': did you mean policy"),
        ("machine=other", "unknown machine 'other': "),
    ],
)
def test_a_word_that_decide_does_not_know_is_exit_2(
    within: Cli, measured: Callable[[str], Measured], word: str, said: str
) -> None:
    (line,) = refused(decided(within, measured("INCONCLUSIVE").folder, word), 2)
    assert line.startswith(said)


def test_nothing_measured_is_nothing_to_decide(cli: Cli, within: Cli, tmp_path: Path) -> None:
    (line,) = refused(within(module="harness.decide"), 2)
    assert line.startswith("results=results: no such directory")
    (tmp_path / "results" / "runs").mkdir(parents=True)
    (line,) = refused(cli(module="harness.decide"), 2)
    assert line.startswith("no runs to decide on")
    assert "python -m harness" in line


# --- the real model


@pytest.mark.real
def test_the_real_model_is_measured_and_a_sweep_takes_up_what_is_there(
    cli: Cli, minilm: Artifact, tmp_path: Path
) -> None:
    done = cli("model=minilm", "ep=cpu", "measure.launches=3", "measure.quiet_wait_s=0")
    assert done.returncode == 0
    assert "minilm fp32 cpu, default, batch 1" in done.stdout
    (run,) = load_runs(tmp_path / "results").to_dict("records")
    assert (run["status"], run["launches"], run["launches_failed"]) == ("complete", 3, 0)
    assert (run["artifact_sha256"], run["ep_provider"]) == (minilm.sha256, "CPUExecutionProvider")
    assert (run["ep_nodes"], run["ep_node_share"]) == (run["nodes_total"], 1.0)
    assert (run["finite"], run["parity_cosine_min"] > 0.9999, run["separation_auc"] > 0.95) == (
        True,
        True,
        True,
    )
    assert 0 < run["latency_p50_ms"] <= run["latency_p95_ms"]
    assert run["peak_rss_bytes"] > 10**7
    assert (len(run["launch_disturbed"]), 0.0 <= run["noise"] <= 1.0) == (3, True)
    launches = load_launches(tmp_path / "results")
    known = ("capacity_before_gflops", "capacity_after_gflops", "other_cpu_share", "load_1m", "serving_s")
    assert launches[list(known)].notna().all(axis=None)
    assert 0 < run["loop_overhead_share"] < 1

    sweep = cli("-m", f"ep=cpu,{ABSENT_EP}", "measure.launches=3", "measure.quiet_wait_s=0")
    assert sweep.returncode == 4
    runs = load_runs(tmp_path / "results").set_index("ep")
    assert runs["status"].to_dict() == {"cpu": "complete", ABSENT_EP: "unavailable"}
    assert len(load_launches(tmp_path / "results")) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["results"]
