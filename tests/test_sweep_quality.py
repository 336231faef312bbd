"""Quality on the user's own files, within a sweep: through which session, of which run, kept and told how."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from rich.console import Console

from harness import terminal
from harness import worker as worker_module
from harness.errors import BadInputError, UnavailableError
from harness.progress import Progress
from harness.runtimes.fake import FakeSession
from harness.store import Store
from harness.sweep import measure
from harness.texts import hostile_texts, quality_texts
from harness.worker import Task
from harness.worker import run as work

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from harness.provider import EmbeddingProvider
    from harness.runtimes.base import Tokens
    from harness.schema import Config

    Plan = Callable[..., Config]
    Measured = Callable[..., dict[str, Any]]

pytestmark = pytest.mark.usefixtures("fake_artifact")

SMALL = str(Path(__file__).parent / "data" / "retrieval")
LOOK = {"launches": 1}
PAIRS = [("a cat sleeps", "a cat sleeps", 5), ("a cat sleeps", "the car is red", 1), ("x", "one two", 0)]


@pytest.fixture
def tasks() -> list[Task]:
    """What the worker was asked, in order."""
    return []


@pytest.fixture
def measured(tmp_path: Path, tasks: list[Task]) -> Measured:
    """Measure one plan in this process; returns its row. `breaks` is run on each task after it was done."""

    def go(plan: Config, breaks: Callable[[Task], None] = lambda _task: None) -> dict[str, Any]:
        def worker(task: Task, **_how: Any) -> dict[str, Any]:
            tasks.append(task)
            answer = work(task)
            breaks(task)
            return answer

        progress = Progress(Console(file=io.StringIO()))
        (row,) = measure([plan], Store(tmp_path / "results"), progress, strict=True, worker=worker)
        return row

    return go


def sts_file(folder: Path, name: str = "pairs.jsonl", pairs: list[tuple[str, str, int]] = PAIRS) -> str:
    rows = [{"sentence1": first, "sentence2": second, "score": score} for first, second, score in pairs]
    (folder / name).write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return str(folder / name)


def described(tasks: list[Task]) -> list[Task]:
    return [task for task in tasks if task.kind == "vectors"]


# --- quality.sts


def test_pairs_go_through_the_session_and_batch_size_of_the_run(
    config: Plan, measured: Measured, tasks: list[Task], tmp_path: Path
) -> None:
    file = sts_file(tmp_path)
    row = measured(config(batch_size=2, threads=3, quality={"sts": file}, measure=LOOK))
    (task,) = described(tasks)
    assert (task.batch_size, task.options["threads"], len(task.texts_files)) == (2, 3, 1)
    assert row["sts_pairs"] == 3
    assert 0 < row["sts_spearman"] <= 100
    console = Console(file=io.StringIO(), width=120)
    terminal.print_run(console, row, [])
    terminal.print_runs(console, [row], [], ())
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "STS Spearman" in shown
    assert "STS: Spearman, 3 pairs" in shown


def test_a_run_without_pairs_has_none(config: Plan, measured: Measured) -> None:
    row = measured(config(measure=LOOK))
    assert row["sts_spearman"] is row["sts_pairs"] is row["sts_file_sha256"] is None


def test_the_files_bytes_and_not_its_name_are_part_of_what_a_run_is(
    config: Plan, measured: Measured, tasks: list[Task], tmp_path: Path
) -> None:
    def row_of(file: str | None) -> dict[str, Any]:
        return measured(config(quality={"sts": file}, measure=LOOK))

    first = row_of(sts_file(tmp_path))
    assert row_of(sts_file(tmp_path, "same.jsonl"))["run_id"] == first["run_id"]
    assert len(described(tasks)) == 1, "what is known is kept"
    others = {row_of(None)["run_id"], row_of(sts_file(tmp_path, pairs=PAIRS[::-1]))["run_id"]}
    assert len(others | {first["run_id"]}) == 3


def test_a_vector_of_a_pair_that_is_not_finite_fails_the_run(
    config: Plan, measured: Measured, tasks: list[Task], tmp_path: Path
) -> None:
    def spoil(task: Task) -> None:
        for file in task.texts_files:
            np.load(file.vectors_file, mmap_mode="r+")[0, 0] = np.nan

    row = measured(config(quality={"sts": sts_file(tmp_path)}, measure=LOOK), spoil)
    assert (row["status"], row["finite"], row["sts_spearman"]) == ("failed", False, None)
    assert len(tasks) == 1, "nothing is timed"


def test_a_file_that_cannot_be_used_is_told_with_every_other_problem(config: Plan, tmp_path: Path) -> None:
    with pytest.raises(BadInputError) as caught:
        config(quality={"sts": str(tmp_path / "pairs.xls")}, batch_size=0)
    assert len(caught.value.problems) == 2
    assert any(problem.startswith("quality.sts: ") for problem in caught.value.problems)


def test_a_longer_text_than_the_graph_is_fixed_to_is_refused(
    config: Plan, measured: Measured, tasks: list[Task], tmp_path: Path
) -> None:
    file = sts_file(tmp_path, pairs=[*PAIRS, ("word " * 90, "b", 1)])
    static = {"static_shapes": {"sequence_length": 64}}
    with pytest.raises(BadInputError, match=r"sequence_length=64: quality\.sts has a text of 9\d tokens"):
        measured(config(quality={"sts": file}, session=static, measure=LOOK))
    assert tasks == []


# --- quality.retrieval


def test_documents_and_queries_are_encoded_with_their_own_prompts(
    config: Plan, measured: Measured, tasks: list[Task]
) -> None:
    plan = config(batch_size=2, quality={"retrieval": SMALL}, measure=LOOK)
    row = measured(plan)
    (task,) = described(tasks)
    assert [(file.prompt, file.texts) for file in task.texts_files] == [("query", 6), ("document", 12)]
    assert (row["retrieval_queries"], row["retrieval_documents"]) == (6, 12)
    assert row["ndcg_at_10"] == pytest.approx(np.mean(row["ndcg_at_10_by_query"]))
    again = measured(config(batch_size=2, quality={"retrieval": SMALL}, measure={"launches": 2}))
    assert len(described(tasks)) == 1, "what is known is kept"
    assert (again["launches"], again["retrieval_sha256"]) == (2, row["retrieval_sha256"])
    assert list(again["ndcg_at_10_by_query"]) == list(row["ndcg_at_10_by_query"])
    console = Console(file=io.StringIO(), width=120)
    terminal.print_run(console, row, [])
    assert "6 queries, 12 documents" in console.file.getvalue()  # type: ignore[attr-defined]


# --- quality.texts


def test_own_texts_are_held_against_the_fp32_artifact_on_the_cpu(
    config: Plan, measured: Measured, tasks: list[Task], tmp_path: Path
) -> None:
    file = tmp_path / "texts.txt"
    file.write_text("\n".join(f"text number {n}" for n in range(20)), encoding="utf-8")
    row = measured(config(batch_size=2, threads=2, quality={"texts": str(file)}, measure=LOOK))
    own, fp32 = described(tasks)
    assert (own.batch_size, own.options["threads"]) == (2, 2)
    assert (fp32.options["threads"], fp32.options["ep_provider"]) == (None, "CPUExecutionProvider")
    assert row["texts_count"] == 20
    assert row["texts_cosine_min"] == pytest.approx(1.0)
    assert row["texts_overlap"] == row["texts_index_overlap"] == 1.0


def scale_vectors(monkeypatch: pytest.MonkeyPatch, tokens: int, factor: float) -> None:
    """Vectors of texts of so many tokens come out so many times as long."""
    real = FakeSession.infer

    def infer(self: FakeSession, given: Tokens) -> NDArray[np.float32]:
        vectors = real(self, given)
        vectors[given.attention_mask.sum(axis=1) == tokens] *= factor
        return vectors

    monkeypatch.setattr(FakeSession, "infer", infer)


@pytest.mark.parametrize(("value", "finite"), [(np.nan, False), (0.0, True)])
def test_a_text_of_ones_own_without_a_direction_fails_the_run_and_is_named(
    config: Plan,
    measured: Measured,
    tasks: list[Task],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    value: float,
    finite: bool,
) -> None:
    scale_vectors(monkeypatch, 43, value)  # the one text of so many tokens
    file = tmp_path / "texts.txt"
    odd = "a " * 40 + "b"
    file.write_text("\n".join([*(f"text number {n}" for n in range(20)), odd]), encoding="utf-8")
    row = measured(config(quality={"texts": str(file)}, measure=LOOK))
    what = "has length 0, not 1" if finite else "holds NaN or infinity"
    assert row["error"] == f"quality: the vector of a text of your own (texts, {odd[:40]!r}) {what}"
    assert (row["status"], row["finite"], row["launches"]) == ("failed", finite, 0)
    assert (row["texts_count"], row["texts_cosine_min"], row["texts_overlap"]) == (21, None, None)
    assert {task.kind for task in tasks} == {"vectors"}, "nothing is timed"


# --- hostile texts


@pytest.mark.parametrize(("value", "finite"), [(np.nan, False), (0.0, True)])
def test_a_hostile_text_with_a_wrong_vector_fails_the_run_and_names_its_kind(
    config: Plan,
    measured: Measured,
    tasks: list[Task],
    monkeypatch: pytest.MonkeyPatch,
    value: float,
    finite: bool,
) -> None:
    scale_vectors(monkeypatch, 2, value)  # special tokens alone: no text
    row = measured(config(measure=LOOK))
    said = "holds NaN or infinity" if not finite else "has length 0, not 1"
    assert (row["status"], row["finite"]) == ("failed", finite)
    assert row["error"].startswith("quality: the vector of a hostile text (empty")
    assert row["error"].endswith(said)
    assert row["l2_norm_max_error"] == (1.0 if finite else None)
    assert row["parity_cosine_min"] is not None, "the other figures stay"
    assert len(tasks) == 1, "nothing is timed"


def test_a_vector_that_is_not_finite_in_a_batch_of_another_order_fails_the_run_and_says_where(
    config: Plan, measured: Measured, tasks: list[Task], monkeypatch: pytest.MonkeyPatch
) -> None:
    real, texts = worker_module._infer, list(quality_texts())
    in_order = [texts[start : start + 8] for start in range(0, len(texts), 8)]

    def infer(provider: EmbeddingProvider, batch: list[str], **how: Any) -> NDArray[np.float32]:
        vectors = real(provider, batch, **how)
        if len(batch) == 8 and set(batch) < set(texts) and batch not in in_order:
            vectors[:] = np.nan
        return vectors

    monkeypatch.setattr(worker_module, "_infer", infer)
    row = measured(config(measure=LOOK, batch_size=8))
    assert (row["status"], row["finite"]) == ("failed", False)
    assert row["error"] == "quality: a vector in a sorted batch holds NaN or infinity"
    assert row["batch_cosine_min_sorted"] is row["batch_cosine_min_random"] is None
    assert row["parity_cosine_min"] is not None, "the other figures stay"
    assert len(tasks) == 1, "nothing is timed"


def test_hostile_texts_are_cut_to_what_a_fixed_graph_holds_and_never_refused(
    config: Plan, measured: Measured, tasks: list[Task]
) -> None:
    row = measured(config(session={"static_shapes": {"sequence_length": 64}}, measure=LOOK))
    assert row["status"] == "complete"
    (task,) = described(tasks)
    assert task.hostile.keys() == hostile_texts().keys()
    assert 100 < len(task.hostile["100,000 characters"]) < 64 * 5
    assert task.hostile["emoji"] == hostile_texts()["emoji"]


# --- quality.mteb


@pytest.fixture
def mteb_answers(
    config: Plan, tmp_path: Path, tasks: list[Task], monkeypatch: pytest.MonkeyPatch
) -> tuple[Callable[..., dict[str, Any]], dict[str, dict[str, Any]], io.StringIO]:
    """Measure a plan with scripted answers by the kind of task; those answers; what is told meanwhile."""
    monkeypatch.setattr("harness.sweep.require_mteb", lambda: None)
    answers: dict[str, dict[str, Any]] = {"mteb_data": {"status": "complete", "error": None}}
    told = io.StringIO()

    def worker(task: Task, **_how: Any) -> dict[str, Any]:
        tasks.append(task)
        return answers.get(task.kind) or work(task)

    def row_of(*, strict: bool = True, **quality: Any) -> dict[str, Any]:
        plan = config(batch_size=4, quality=quality, measure=LOOK)
        progress, store = Progress(Console(file=told, width=300)), Store(tmp_path / "results")
        (row,) = measure([plan], store, progress, strict=strict, worker=worker)
        return row

    return row_of, answers, told


Answers = tuple["Measured", dict[str, dict[str, Any]], io.StringIO]


def test_tasks_of_mteb_are_evaluated_in_a_process_of_their_own_and_are_part_of_what_a_run_is(
    mteb_answers: Answers, tasks: list[Task]
) -> None:
    row_of, answers, _ = mteb_answers
    scores = {"STSBenchmark": 0.82, "STS12": None}
    answers["mteb"] = {
        "status": "complete", "error": None,
        "mteb_scores": scores, "mteb_problems": [], "mteb_version": "2.0",
    }  # fmt: skip
    row = row_of(mteb=["STSBenchmark", "STS12"])
    assert (json.loads(row["mteb_scores"]), row["mteb_version"]) == (scores, "2.0")
    assert [task.kind for task in tasks] == ["mteb_data", "vectors", "mteb", "latency"]
    (task,) = [task for task in tasks if task.kind == "mteb"]
    assert (task.mteb_tasks, task.batch_size) == (["STSBenchmark", "STS12"], 4)
    assert len({row["run_id"], row_of(mteb=["STS12"])["run_id"], row_of()["run_id"]}) == 3
    console = Console(file=io.StringIO(), width=120)
    terminal.print_run(console, row, [])
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert re.search(r"MTEB STSBenchmark +0\.8200 +main score, mteb 2\.0", text)
    assert re.search(r"MTEB STS12 +\?", text)


@pytest.mark.parametrize("strict", [True, False], ids=["a run", "a sweep"])
@pytest.mark.parametrize(
    ("code", "error"), [(2, BadInputError), (3, UnavailableError), (None, UnavailableError)]
)
def test_a_task_or_data_that_cannot_be_had_ends_the_command_and_leaves_no_row(
    mteb_answers: Answers,
    tasks: list[Task],
    tmp_path: Path,
    code: int | None,
    error: type[Exception],
    strict: bool,
) -> None:
    """A typo must not become a failed run, which is a NO_GO."""
    row_of, answers, _ = mteb_answers
    answers["mteb_data"] = {"status": "failed", "error": "one\ntwo", "exit_code": code}
    with pytest.raises(error, match=r"^quality\.mteb: one") as caught:
        row_of(mteb=["STSBenchmrk"], strict=strict)
    assert caught.type is error
    assert [task.kind for task in tasks] == ["mteb_data"]
    assert not list((tmp_path / "results").glob("runs/*"))


@pytest.mark.parametrize("ends", ["told", "killed"])
def test_a_task_that_cannot_be_evaluated_is_told_and_costs_no_other_figure(
    mteb_answers: Answers, ends: str
) -> None:
    row_of, answers, told = mteb_answers
    answers["mteb"] = {"status": "failed", "error": "killed by SIGKILL"}
    if ends == "told":
        answers["mteb"] = {
            "status": "complete", "error": None, "mteb_scores": {"STS12": None},
            "mteb_problems": ["STS12: needs images"], "mteb_version": "2.0",
        }  # fmt: skip
    row = row_of(mteb=["STS12"])
    assert (row["status"], row["finite"], json.loads(row["mteb_scores"])) == (
        "complete",
        True,
        {"STS12": None},
    )
    reason = "STS12: needs images" if ends == "told" else "killed by SIGKILL"
    assert f"quality.mteb: {reason}; no score of it" in told.getvalue()


def test_a_request_of_mteb_that_fails_is_the_candidates_own(mteb_answers: Answers) -> None:
    row_of, answers, _ = mteb_answers
    answers["mteb"] = {"status": "failed", "error": "STS12: a request of shape 1×9 fails", "exit_code": 3}
    row = row_of(mteb=["STS12"])
    assert (row["status"], row["error"]) == ("failed", "quality.mteb: STS12: a request of shape 1×9 fails")


def test_a_run_that_asks_for_mteb_without_the_package_is_not_possible_here(
    config: Plan, measured: Measured, tasks: list[Task], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.measure.mteb.find_spec", lambda name: None)
    with pytest.raises(UnavailableError, match="needs the package mteb"):
        measured(config(quality={"mteb": ["STSBenchmark"]}, measure=LOOK))
    assert tasks == []
