"""MTEB's tasks through a session: what the package is handed, what it finds, and what is told without it."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import pytest

from harness import stats
from harness.errors import BadInputError, ProbeError, RuntimeUnavailableError, UnavailableError
from harness.measure.mteb import evaluate, require_mteb, require_tasks
from harness.runtimes.base import SessionOptions
from harness.worker import Task, run

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from harness.provider import EmbeddingProvider

FIRST = ["a cat sleeps on the mat", "the car is red", "he plays the guitar", "rain falls", "two men talk"]
SECOND = ["a cat is asleep", "the vehicle is red", "she reads a book", "it rains", "a dog eats"]
SCORES = [4.5, 4.0, 1.0, 5.0, 0.5]


def test_without_the_package_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.measure.mteb.find_spec", lambda name: None)
    with pytest.raises(RuntimeUnavailableError, match=r"pip install 'embedding-harness\[mteb\]'"):
        require_mteb()


# --- with the package


@pytest.fixture
def mteb(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The package; skipped where it is not installed."""
    pytest.importorskip(
        "mteb", reason="the package mteb is not installed: pip install 'embedding-harness[mteb]'"
    )
    import mteb

    return mteb


def local_task(mteb: Any, **changes: Any) -> Any:
    """A task of this file's own pairs; nothing is downloaded."""
    from datasets import Dataset, DatasetDict
    from mteb.abstasks import AbsTaskSTS
    from mteb.abstasks.task_metadata import TaskMetadata

    class Local(AbsTaskSTS):  # type: ignore[misc, unused-ignore]
        metadata = TaskMetadata(
            name="LocalSTS",
            dataset={"path": "nowhere/local-sts", "revision": "1"},
            description="pairs of this test",
            type="STS",
            eval_splits=["test"],
            eval_langs=["eng-Latn"],
            main_score="cosine_spearman",
        )

        def load_data(self, *_: Any, **__: Any) -> None:
            if "fails" in changes:
                raise ConnectionError(changes["fails"])
            rows = {"sentence1": FIRST, "sentence2": SECOND, "score": SCORES}
            self.dataset = DatasetDict({"test": Dataset.from_dict(rows)})
            self.data_loaded = True

    return Local()


def test_a_local_task_gives_the_correlation_of_the_sessions_own_vectors(
    mteb: Any, provider: EmbeddingProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests: list[int] = []

    def infer(texts: list[str], *, prompt: str) -> NDArray[np.float32]:
        requests.append(len(texts))
        assert prompt == "default"
        return provider.encode(texts, prompt=prompt)

    monkeypatch.setattr(mteb, "get_task", lambda name: local_task(mteb))
    found = evaluate(infer, ["LocalSTS"], 2)
    cosine = stats.cosines(provider.encode(FIRST), provider.encode(SECOND))
    assert found.scores == {"LocalSTS": pytest.approx(stats.spearman(cosine, SCORES), abs=1e-6)}
    assert found.version == mteb.__version__
    assert max(requests) == 2, "the batch size in use"
    task = Task(
        kind="mteb",
        artifact=str(provider.artifact.path),
        runtime="onnxruntime",
        options=asdict(SessionOptions(threads=1)),
        batch_size=2,
        mteb_tasks=["LocalSTS"],
    )
    answer = run(task)
    assert answer["status"] == "complete"
    assert answer["mteb_scores"] == pytest.approx(found.scores, abs=1e-6)


def test_tasks_that_do_not_exist_are_bad_input_a_line_each(mteb: Any) -> None:
    with pytest.raises(BadInputError) as caught:
        require_tasks(["STSBenchmrk", "STSBenchmark", "SciFatc"])
    first, second = caught.value.problems
    assert first.startswith(f"mteb {mteb.__version__}: unknown task 'STSBenchmrk': did you mean STSBenchmark")
    assert "'SciFatc': did you mean SciFact" in second


def test_data_that_cannot_be_had_is_told_with_its_name(mteb: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mteb, "get_task", lambda name: local_task(mteb, fails="no\nroute"))
    task = Task("mteb_data", artifact="", runtime="", options={}, mteb_tasks=["LocalSTS"])
    with pytest.raises(
        UnavailableError, match=r"^LocalSTS: its data set nowhere/local-sts is not here .*no route$"
    ):
        run(task)


def test_data_that_is_here_is_no_problem(mteb: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mteb, "get_task", lambda name: local_task(mteb))
    require_tasks(["LocalSTS"])


def test_a_task_that_fails_has_no_score_and_a_request_that_fails_is_an_error(
    mteb: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(error: Exception) -> Any:
        def broken(texts: list[str], *, prompt: str) -> NDArray[np.float32]:
            raise error

        return broken

    monkeypatch.setattr(mteb, "get_task", lambda name: local_task(mteb))
    found = evaluate(fails(RuntimeError("no\nmemory")), ["LocalSTS"], 2)
    assert (found.scores, found.problems) == ({"LocalSTS": None}, ["LocalSTS: RuntimeError: no memory"])
    with pytest.raises(ProbeError, match=r"^LocalSTS: a request fails$"):
        evaluate(fails(ProbeError("a request fails")), ["LocalSTS"], 2)
