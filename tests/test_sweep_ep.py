"""Where the nodes and their time really go, and that nothing is timed which could never be GO.

A scripted execution provider stands in for hardware; the sweep, the worker and the model are real.
"""

from __future__ import annotations

import io
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from rich.console import Console

from harness.config import validate
from harness.decision import decide
from harness.errors import BadInputError
from harness.progress import Progress
from harness.store import Store, load_runs
from harness.sweep import measure
from harness.worker import attempt
from tests.conftest import raw_config
from tests.runtimes.played_ep import play

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from harness.artifacts.manifest import Artifact
    from harness.schema import Config
    from harness.worker import Task

    Measured = Callable[..., list[dict[str, Any]]]

LOOK = {"launches": 1, "warmup_requests": 1, "quiet_wait_s": 0.0}


def on_coreml(*, measure: dict[str, Any] | None = None, **changes: Any) -> Config:
    """MiniLM on CoreML, one launch."""
    raw = {"ep": "coreml", "runtime": "onnxruntime"} | changes
    return validate(raw_config(**raw, measure=LOOK | (measure or {})))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


@pytest.fixture
def tasks() -> list[Task]:
    return []


@pytest.fixture
def measured(minilm: Artifact, store: Store, tasks: list[Task]) -> Measured:
    """Measure plans with a worker in this process, where the scripted provider is."""

    def worker(task: Task, **_: Any) -> dict[str, Any]:
        tasks.append(task)
        return attempt(json.loads(json.dumps(asdict(task))))

    def go(*plans: Config) -> list[dict[str, Any]]:
        with Progress(Console(file=io.StringIO())) as progress:
            return measure(plans, store, progress, strict=True, worker=worker)

    return go


def launches(tasks: list[Task]) -> int:
    return sum(task.kind == "latency" for task in tasks)


# --- told in the row


def test_five_nodes_of_49_are_told_and_are_never_go(
    monkeypatch: pytest.MonkeyPatch, measured: Measured, store: Store
) -> None:
    play(monkeypatch, takes=5, of=49, time_share=0.25)
    (row,) = measured(on_coreml())
    assert (row["nodes_total"], row["ep_nodes"], row["ep_partitions"]) == (49, 5, 5)
    assert row["ep_node_share"] == pytest.approx(5 / 49)
    assert row["ep_time_share"] == pytest.approx(0.25)
    assert (row["status"], row["launches"], row["finite"]) == ("complete", 1, True)
    decision = decide(load_runs(store.path))
    assert decision.verdict == "NO_GO"
    assert any("only 10% of the nodes run on coreml" in reason for reason in decision.candidates[0].reasons)


def test_most_nodes_with_little_of_the_time_are_never_go_and_both_are_told(
    monkeypatch: pytest.MonkeyPatch, measured: Measured, store: Store
) -> None:
    play(monkeypatch, takes=30, of=50, time_share=0.1)
    measured(on_coreml())
    decision = decide(load_runs(store.path))
    (candidate,) = decision.candidates
    assert decision.verdict == "NO_GO"
    assert "only 10% of the nodes' time is on coreml at default, batch 1, needed 50%" in candidate.reasons
    assert "60% of the nodes but 10% of their time are on coreml at default, batch 1" in candidate.notes


def test_shares_that_agree_need_no_note(
    monkeypatch: pytest.MonkeyPatch, measured: Measured, store: Store
) -> None:
    play(monkeypatch)
    measured(on_coreml())
    assert not any("of their time" in note for note in decide(load_runs(store.path)).candidates[0].notes)


@pytest.mark.parametrize(("time_share", "node_share"), [(1.0, 1.0), (0.9, None)])
def test_an_onnx_runtime_that_cannot_count_knows_the_share_only_where_nothing_ran_elsewhere(
    monkeypatch: pytest.MonkeyPatch, measured: Measured, time_share: float, node_share: float | None
) -> None:
    play(monkeypatch, counts=False, time_share=time_share)
    (row,) = measured(on_coreml())
    assert (row["nodes_total"], row["ep_nodes"], row["ep_node_share"]) == (None, None, node_share)
    assert row["ep_time_share"] == pytest.approx(time_share)


def test_what_the_session_uses_is_in_the_row_and_every_request_is_padded_to_the_fixed_shape(
    monkeypatch: pytest.MonkeyPatch, measured: Measured
) -> None:
    played = play(monkeypatch)
    static = {"batch_size": 2, "sequence_length": 48}
    session = {"spinning": False, "graph_level": "basic", "static_shapes": static}
    (row,) = measured(on_coreml(threads=1, session=session))
    assert json.loads(row["session_options"]) == session
    effective = json.loads(row["effective_options"])
    assert (effective["intra_op_threads"], effective["spinning"], effective["graph_level"]) == (
        1, False, "basic",
    )  # fmt: skip
    assert effective["input_shapes"]["input_ids"] == [2, 48]
    assert effective["ep_options"]["ModelFormat"] == "MLProgram"
    assert row["candidate_label"].endswith("coreml 1 thread spinning=false graph_level=basic static 2×48")
    assert set(played.shapes) == {(2, 48)}
    assert row["parity_cosine_min"] > 0.9999


# --- stopped before anything is timed


def test_a_provider_that_takes_no_node_fails_the_run_at_once(
    monkeypatch: pytest.MonkeyPatch, measured: Measured, tasks: list[Task]
) -> None:
    play(monkeypatch, takes=0)
    (row,) = measured(on_coreml())
    assert (row["status"], row["launches"], launches(tasks)) == ("failed", 0, 0)
    assert "CoreMLExecutionProvider took none of the graph's 49 nodes" in row["error"]


def test_a_provider_that_is_dropped_by_the_session_fails_the_run_at_once(
    monkeypatch: pytest.MonkeyPatch, measured: Measured, tasks: list[Task]
) -> None:
    play(monkeypatch, listed=False)
    (row,) = measured(on_coreml())
    assert (row["status"], launches(tasks)) == ("failed", 0)
    assert "CoreMLExecutionProvider did not take the graph" in row["error"]


def nan(vectors: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    return np.full_like(vectors, np.nan)


def test_nan_fails_the_run_at_once_even_where_launches_were_asked_for(
    monkeypatch: pytest.MonkeyPatch, measured: Measured, tasks: list[Task], store: Store
) -> None:
    play(monkeypatch, answer=nan)
    (row,) = measured(on_coreml())
    assert (row["status"], launches(tasks)) == ("failed", 0)
    assert "gives a vector that holds NaN or infinity" in row["error"]
    assert decide(load_runs(store.path)).verdict == "NO_GO"


def test_nan_on_some_quality_text_only_fails_the_run_too(
    monkeypatch: pytest.MonkeyPatch, measured: Measured, tasks: list[Task]
) -> None:
    def late(vectors: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
        return nan(vectors, shape) if len(played.shapes) == 100 else vectors

    played = play(monkeypatch, answer=late)
    (row,) = measured(on_coreml())
    assert (row["status"], row["finite"], launches(tasks)) == ("failed", False, 0)
    assert row["error"] == "quality: a vector holds NaN or infinity"


def test_a_failure_at_the_second_shape_is_found_before_anything_is_timed(
    monkeypatch: pytest.MonkeyPatch, measured: Measured, tasks: list[Task]
) -> None:
    def only_one_shape(vectors: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
        if shape != played.shapes[0]:
            raise RuntimeError("Error in building plan.\n  -1")
        return vectors

    played = play(monkeypatch, answer=only_one_shape)
    (row,) = measured(on_coreml())
    assert (row["status"], launches(tasks)) == ("failed", 0)
    shape = "{}×{}".format(*played.shapes[1])
    fails = f"a request of shape {shape} (texts × tokens) fails"
    assert row["error"] == f"quality: {fails}: RuntimeError: Error in building plan. -1"


def test_the_shortest_and_the_longest_request_are_probed(
    monkeypatch: pytest.MonkeyPatch, measured: Measured, tasks: list[Task]
) -> None:
    played = play(monkeypatch)
    measured(on_coreml(workload="mixture"))
    probed, served = tasks
    assert len(probed.probe) == 3
    lengths = {length for _, length in played.shapes[-100:]}  # the timed ones come last
    assert played.shapes[0][1] == min(lengths)
    assert played.shapes[2][1] == max(lengths)
    assert not served.probe, "nothing is profiled where it is timed"
    assert served.options["profile_prefix"] is None


def test_each_workload_is_probed_though_they_share_the_quality(
    monkeypatch: pytest.MonkeyPatch, measured: Measured, tasks: list[Task]
) -> None:
    def short_only(vectors: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
        if 64 < shape[1] < 256:  # the hostile texts are longer still
            raise RuntimeError("too long")
        return vectors

    play(monkeypatch, answer=short_only)
    short, mixed = measured(on_coreml(), on_coreml(workload="mixture"))
    assert (short["status"], mixed["status"], launches(tasks)) == ("complete", "failed", 1)
    assert "too long" in mixed["error"]
    assert [len(task.texts) > 0 for task in tasks if task.kind == "vectors"] == [True, False]


def tilted(vectors: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Vectors at a cosine of about 0.995 to the right ones."""
    wrong = vectors + 0.1 * np.roll(vectors, 1, axis=1)
    return wrong / np.linalg.norm(wrong, axis=1, keepdims=True)


def test_parity_under_its_bound_ends_the_run_with_the_figure(
    monkeypatch: pytest.MonkeyPatch, measured: Measured, tasks: list[Task]
) -> None:
    play(monkeypatch, answer=tilted)
    (row,) = measured(on_coreml(measure={"launches": None}))
    assert (row["status"], row["launches"], launches(tasks)) == ("failed", 0, 0)
    assert row["error"].startswith("quality: parity with the fp32 reference failed: worst cosine 0.9")
    assert 0.9 < row["parity_cosine_min"] < 0.9999
    assert (row["ep_nodes"], row["finite"]) == (49, True)


def test_parity_under_its_bound_is_timed_where_launches_were_asked_for_and_is_no_go(
    monkeypatch: pytest.MonkeyPatch, measured: Measured, tasks: list[Task], store: Store
) -> None:
    play(monkeypatch, answer=tilted)
    (row,) = measured(on_coreml())
    assert (row["status"], launches(tasks)) == ("complete", 1)
    assert decide(load_runs(store.path)).verdict == "NO_GO"


# --- static shapes


@pytest.mark.parametrize(
    ("workload", "length", "longest"), [("default", 10, "has a text of"), ("mixture", 64, "has a text of 1")]
)
def test_a_text_longer_than_the_fixed_length_is_bad_input_before_anything_runs(
    measured: Measured, tasks: list[Task], workload: str, length: int, longest: str
) -> None:
    static = {"static_shapes": {"sequence_length": length}}
    plan = validate(raw_config(runtime="onnxruntime", workload=workload, session=static, measure=LOOK))
    with pytest.raises(BadInputError, match=f"sequence_length={length}: workload={workload} {longest}"):
        measured(plan)
    assert tasks == []
