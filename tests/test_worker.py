"""The worker: one task in one process, its answer in a file, and its end with the parent's."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from harness.errors import ArtifactError
from harness.provider import EmbeddingProvider
from harness.runtimes.base import SessionOptions
from harness.worker import Task, run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from harness.artifacts.manifest import Artifact

WARMUP, TIMED = 5, 100


def options(**script: Any) -> dict[str, Any]:
    """A scripted launch."""
    return asdict(SessionOptions(script={"infer_ms": [2.0], "tokenize_ms": 0.0} | script, launch_index=0))


@pytest.fixture
def task(fake_artifact: Artifact, tmp_path: Path) -> Task:
    """A launch of the fake runtime."""
    requests = {"warmup": [["warm", "up"]] * WARMUP, "timed": [["some text", "another"]] * TIMED}
    (tmp_path / "requests.json").write_text(json.dumps(requests), encoding="utf-8")
    return Task(
        kind="latency",
        artifact=str(fake_artifact.path),
        runtime="fake",
        options=options(),
        spawned_monotonic_ns=time.monotonic_ns(),
        requests_file=str(tmp_path / "requests.json"),
    )


def test_a_launch_answers_with_every_figure(task: Task) -> None:
    answer = run(task)
    assert answer["status"] == "complete"
    assert answer["error"] is None
    assert answer["truncated"] is False
    assert answer["total_ns"] == [2_000_000] * TIMED
    sums = [a + b for a, b in zip(answer["tokenize_ns"], answer["infer_ns"], strict=True)]
    assert sums == answer["total_ns"]
    assert answer["first_request_ms"] == 2.0
    assert 0 < answer["session_load_s"] < answer["cold_start_s"] < 30
    assert json.loads(json.dumps(answer)) == answer


def test_the_first_request_is_one_of_the_warm_up(task: Task) -> None:
    script = {"infer_ms": [9.0] + [5.0] * (WARMUP - 1) + [7.0] + [2.0] * TIMED}
    answer = run(replace(task, options=options(**script)))
    assert answer["first_request_ms"] == 9.0
    assert answer["new_shape_ns"] == [9_000_000, 7_000_000]  # the timed ones have a shape of their own
    assert answer["total_ns"] == [2_000_000] * TIMED


def test_a_paced_launch_is_timed_from_when_its_requests_were_due(task: Task) -> None:
    due_ns = [10_000_000 * position for position in range(TIMED)]
    answer = run(replace(task, due_ns=due_ns))
    assert answer["scheduled_ns"] == due_ns
    assert answer["total_ns"] == [2_000_000] * TIMED
    assert answer["serving_s"] == pytest.approx(0.992)
    assert run(task)["scheduled_ns"] is None


def test_concurrent_callers_serve_every_request(task: Task) -> None:
    answer = run(replace(task, clients=3))
    assert len(answer["total_ns"]) == TIMED
    assert answer["serving_s"] == pytest.approx(0.2)


def test_a_soak_tells_block_by_block(task: Task) -> None:
    answer = run(replace(task, kind="soak", duration_s=3.0))
    assert answer["status"] == "complete"
    assert answer["block_requests"] == [50] * 30
    assert answer["block_p50_ms"] == answer["block_p95_ms"] == [2.0] * 30
    assert min(answer["block_rss_bytes"]) > 2**20
    assert min(answer["block_handles"]) > 0
    assert json.loads(json.dumps(answer)) == answer


def test_a_launch_tells_what_the_process_went_through(task: Task) -> None:
    answer = run(task)
    for name in ("involuntary_switches", "voluntary_switches", "minor_faults", "major_faults"):
        assert answer[name] >= 0
    assert answer["loop_overhead_ns"] == 0  # on the scripted clock
    assert answer["timer_resolution_ns"] is None


def test_a_launch_that_is_certainly_over_stops_and_says_so(task: Task) -> None:
    answer = run(replace(task, options=options(infer_ms=[40.0]), stop_over_ns=30_000_000))
    assert answer["status"] == "complete"
    assert answer["truncated"] is True
    assert len(answer["total_ns"]) == len(answer["infer_ns"]) == 20


def test_a_vector_that_is_not_finite_fails_the_launch_and_keeps_its_samples(task: Task) -> None:
    answer = run(replace(task, options=options(launches=["nan"])))
    assert answer["status"] == "failed"
    assert answer["error"] == "a vector holds NaN or infinity"
    assert len(answer["total_ns"]) == TIMED


def test_a_damaged_artifact_is_an_error_with_a_name(task: Task, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="holds no readable artifact"):
        run(replace(task, artifact=str(tmp_path)))


@pytest.mark.parametrize("batch_size", [1, 2, 3, 100])
def test_vectors_come_in_the_order_of_their_texts(
    task: Task, fake_artifact: Artifact, tmp_path: Path, batch_size: int
) -> None:
    texts = ["a longer text than the others", "b", "", "word after word", "b"]
    file = tmp_path / "vectors.npy"
    vectors = replace(
        task, kind="vectors", texts=texts, batch_size=batch_size, vectors_file=str(file), requests_file=""
    )
    answer = run(vectors)
    assert answer == {
        "status": "complete",
        "error": None,
        "placement": {"nodes_total": 1, "ep_nodes": 1, "ep_partitions": 1},
        "ep_time_share": None,
        "ran_on": None,
        "effective_options": None,
        "batching": {
            "columns": {
                "repeat_max_difference": 0.0,
                "batch_cosine_min": None,
                "batch_cosine_min_sorted": None if batch_size == 1 else pytest.approx(1.0),
                "batch_cosine_min_random": None if batch_size == 1 else pytest.approx(1.0),
            },
            "problem": None,
        },
        "hostile": {},
    }
    expected = EmbeddingProvider.open(fake_artifact, "fake", SessionOptions()).encode(texts)
    np.testing.assert_array_equal(np.load(file), expected)


def test_a_vector_of_the_real_model_comes_again_and_does_not_depend_on_its_batch(
    minilm: Artifact, tmp_path: Path
) -> None:
    task = Task(
        kind="vectors",
        artifact=str(minilm.path),
        runtime="onnxruntime",
        options=asdict(SessionOptions(threads=1)),
        texts=["a short text", "another"],
        neighbour="a much longer text beside it " * 8,
        vectors_file=str(tmp_path / "vectors.npy"),
    )
    batching = run(replace(task, batch_size=2))["batching"]["columns"]
    assert batching.pop("repeat_max_difference") == 0.0
    assert batching == pytest.approx(dict.fromkeys(batching, 1.0), abs=1e-9)
    assert run(replace(task, texts=[]))["batching"] == {}


# --- as a process


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A worker that waits for its task."""
    process = subprocess.Popen(
        [sys.executable, "-m", "harness.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    yield process
    process.kill()
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.close()
    process.stdout.close()
    process.wait()


def hand(worker: subprocess.Popen[bytes], task: Task, answer_file: Path) -> None:
    """Give a worker its task and leave its standard input open."""
    assert worker.stdin is not None
    worker.stdin.write(json.dumps(asdict(task) | {"answer_file": str(answer_file)}).encode() + b"\n")
    worker.stdin.flush()


def test_the_answer_is_in_the_file_that_the_task_names(
    worker: subprocess.Popen[bytes], task: Task, tmp_path: Path
) -> None:
    hand(worker, task, tmp_path / "answer.json")
    assert worker.wait(timeout=30) == 0
    answer = json.loads((tmp_path / "answer.json").read_text(encoding="utf-8"))
    assert answer["status"] == "complete"
    assert len(answer["total_ns"]) == TIMED
    assert answer["pid"] == worker.pid
    assert sorted(path.name for path in tmp_path.iterdir()) == ["answer.json", "requests.json"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"artifact": "/nowhere"}, "/nowhere holds no readable artifact: "),
        ({"requests_file": "/nowhere/requests.json"}, "FileNotFoundError: "),
        ({"runtime": "onxruntime"}, "runtime 'onxruntime' is unknown here: "),
        ({"kind": "latency", "options": {"no_such_option": 1}}, "TypeError: "),
    ],
    ids=["artifact", "requests", "runtime", "options"],
)
def test_an_error_is_an_answer_in_one_line(
    worker: subprocess.Popen[bytes], task: Task, tmp_path: Path, change: dict[str, Any], reason: str
) -> None:
    hand(worker, replace(task, **change), tmp_path / "answer.json")
    assert worker.wait(timeout=30) == 0
    answer = json.loads((tmp_path / "answer.json").read_text(encoding="utf-8"))
    assert answer["status"] == "failed"
    assert answer["error"].startswith(reason)
    assert "\n" not in answer["error"]


def test_a_hanging_worker_ends_when_its_parent_is_gone(
    worker: subprocess.Popen[bytes], task: Task, tmp_path: Path
) -> None:
    hand(worker, replace(task, options=options(launches=["hang"])), tmp_path / "answer.json")
    with pytest.raises(subprocess.TimeoutExpired):
        worker.wait(timeout=1.5)
    assert worker.stdin is not None
    worker.stdin.close()
    assert worker.wait(timeout=60) == 1
    assert not (tmp_path / "answer.json").exists()
