"""ONNX Runtime's profile, read: whose nodes took the time, without the requests that warmed up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from harness.runtimes import load_session
from harness.runtimes.base import SessionOptions
from harness.runtimes.profile import Profile, read_profile
from harness.tokenizer import Tokenizer

if TYPE_CHECKING:
    from harness.artifacts.manifest import Artifact

CPU, COREML = "CPUExecutionProvider", "CoreMLExecutionProvider"


def request(ts: int, **durations: int) -> list[dict[str, Any]]:
    """A request that starts at `ts`, with a node of so many µs on each provider."""
    nodes = [
        {"cat": "Node", "name": f"n{i}_kernel_time", "ts": ts + i, "dur": dur, "args": {"provider": ep}}
        for i, (ep, dur) in enumerate(durations.items(), start=1)
    ]
    return [{"cat": "Session", "name": "model_run", "ts": ts, "dur": 99}, *nodes]


WARM_UP = request(0, **{CPU: 10_000})


def test_time_is_shared_by_provider_and_the_first_requests_are_left_out() -> None:
    events = [*request(100, **{COREML: 30, CPU: 10}), *WARM_UP, *request(200, **{COREML: 45, CPU: 15})]
    profile = read_profile(events, skip_runs=1)
    assert profile == Profile({COREML: 75, CPU: 25}, None)
    assert profile.time_share(COREML) == 0.75
    assert profile.time_share("CUDAExecutionProvider") == 0.0


def test_only_kernels_count_not_what_stands_around_them() -> None:
    around = [
        {"cat": "Node", "name": "n1_fence_before", "ts": 101, "dur": 500, "args": {"provider": CPU}},
        {"cat": "Node", "name": "n1_kernel_time", "ts": 101, "dur": 500, "args": {}},
        {"cat": "Session", "name": "session_initialization", "ts": 1, "dur": 500},
    ]
    profile = read_profile([*WARM_UP, *request(100, **{COREML: 30}), *around], skip_runs=1)
    assert profile == Profile({COREML: 30}, None)


@pytest.mark.parametrize(
    ("events", "skip_runs"),
    [([], 0), (WARM_UP, 1), ([*WARM_UP, *request(100)], 1)],
    ids=["empty", "nothing but warm-up", "no nodes"],
)
def test_a_profile_that_tells_nothing_is_unknown(events: list[dict[str, Any]], skip_runs: int) -> None:
    assert read_profile(events, skip_runs=skip_runs) is None


def test_nodes_that_took_no_time_have_no_share() -> None:
    profile = read_profile(request(0, **{CPU: 0}), skip_runs=0)
    assert profile is not None
    assert profile.time_share(CPU) is None


@pytest.mark.parametrize(
    ("stats", "threads"), [({"main_thread": {}, "sub_threads": {"1": {}, "2": {}}}, 3), ("", 1)]
)
def test_threads_are_the_pool_s_and_the_caller_s(stats: Any, threads: int) -> None:
    events = request(0, **{CPU: 5})
    events[1]["args"]["thread_scheduling_stats"] = stats
    profile = read_profile(events, skip_runs=0)
    assert profile is not None
    assert profile.threads == threads


def test_a_real_profile_has_all_time_on_the_cpu_and_leaves_no_file(minilm: Artifact, tmp_path: Any) -> None:
    options = SessionOptions(threads=2, profile_prefix=str(tmp_path / "profile"))
    session = load_session("onnxruntime", minilm, options)
    for _ in range(2):
        session.infer(Tokenizer(minilm).tokenize(["a text"]))
    profile = session.end_profiling(skip_runs=1)
    assert profile is not None
    assert (profile.time_share(CPU), profile.threads) == (1.0, 2)
    assert list(tmp_path.iterdir()) == []
    assert session.end_profiling(skip_runs=1) is None, "it is over"
