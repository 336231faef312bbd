"""The machine's peaks, kept per machine and only ever raised; a run's share of them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from harness.artifacts.hub import cache_dir
from harness.artifacts.work import Polynomial
from harness.measure import limits
from harness.measure.limits import (
    LIMIT_COLUMNS,
    Cost,
    Peaks,
    cost_of,
    known_peaks,
    last_level_cache_bytes,
    limit_columns,
    machine_peaks,
    request_columns,
    saw_gflops,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from harness.artifacts.manifest import Artifact


@pytest.fixture(autouse=True)
def _own_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A cache of its own, and a CPU with a last-level cache of 32 MiB."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(limits, "last_level_cache_bytes", lambda: 32 * 2**20)


@pytest.fixture
def probes(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[int]]:
    """Script what a probe finds; returns the list of the threads that were asked for."""

    def script(*found: tuple[float, float] | None) -> list[int]:
        asked: list[int] = []
        answers = iter(found)

        def probe(threads: int) -> Peaks | None:
            asked.append(threads)
            peaks = next(answers)
            return None if peaks is None else Peaks(threads, *peaks)

        monkeypatch.setattr(limits, "_probed", probe)
        return asked

    return script


# --- the peaks


def test_a_machine_is_probed_once_and_remembered(probes: Callable[..., list[int]]) -> None:
    asked = probes((200.0, 20.0))
    assert machine_peaks(2) == machine_peaks(2) == known_peaks(2) == Peaks(2, 200.0, 20.0)
    assert asked == [2]


def test_a_peak_is_only_ever_raised(probes: Callable[..., list[int]]) -> None:
    probes((200.0, 20.0), (11.0, 25.0))
    machine_peaks(2)
    assert machine_peaks(2, force=True) == Peaks(2, 200.0, 25.0)
    saw_gflops(2, 150.0)
    assert known_peaks(2) == Peaks(2, 200.0, 25.0)
    saw_gflops(2, 230.0)
    assert known_peaks(2) == Peaks(2, 230.0, 25.0)


def test_what_one_thread_reached_two_can(probes: Callable[..., list[int]]) -> None:
    probes((100.0, 22.0), (80.0, 20.0))
    machine_peaks(1)
    assert machine_peaks(2) == Peaks(2, 100.0, 22.0)


def test_what_was_never_probed_is_unknown(probes: Callable[..., list[int]]) -> None:
    assert known_peaks(2) is None
    saw_gflops(2, 100.0)
    assert known_peaks(2) is None
    probes(None, (100.0, 10.0))
    assert machine_peaks(2) is None, "a probe that failed is no peak"
    assert machine_peaks(2) == Peaks(2, 100.0, 10.0), "nor is it remembered"


@pytest.mark.parametrize(
    "content", ["", "{", "[1]", '[{"threads": 2}]', '[{"threads": 2, "gflops": 0, "bandwidth_gb_per_s": 1}]']
)
def test_a_damaged_file_is_measured_anew(content: str, probes: Callable[..., list[int]]) -> None:
    probes((1.0, 1.0), (200.0, 20.0))
    machine_peaks(2)
    (file,) = (cache_dir() / "limits").iterdir()
    file.write_text(content, encoding="utf-8")
    assert machine_peaks(2) == Peaks(2, 200.0, 20.0)


def test_a_real_probe_finds_something(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "_GEMM_S", 0.0)
    monkeypatch.setattr(limits, "_GEMM_REPEATS", 1)
    monkeypatch.setattr(limits, "_COPY_BYTES", 2**22)
    monkeypatch.setattr(limits, "_COPY_CACHES", 0)
    assert limits._gemm_gflops() > 0
    assert limits._copy_gb_per_s(2) > 0


def test_the_arrays_that_are_copied_fit_into_the_container_s_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def ones(size: int) -> NDArray[np.float64]:
        sizes.append(size)
        return np.zeros(size)

    monkeypatch.setattr("harness.measure.container.memory_free_bytes", lambda: 2**20)
    monkeypatch.setattr(limits.np, "ones", ones)
    limits._copy_gb_per_s(2)
    assert [8 * size for size in sizes] == [2**20 // 8]


@pytest.mark.parametrize("fails", [["false"], ["sh", "-c", "echo nonsense"], ["/no/such/program"]])
def test_a_probe_that_cannot_run_finds_nothing(fails: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    real = limits.subprocess.run
    monkeypatch.setattr(limits.subprocess, "run", lambda _words, **kw: real(fails, **kw))
    assert machine_peaks(1) is None


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"index0": "48K", "index2": "2048K", "index3": "32M"}, 32 * 2**20),
        ({"index0": "?"}, None),
        ({}, None),
    ],
)
def test_the_last_level_cache_is_the_largest(
    files: dict[str, str], expected: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, size in files.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "size").write_text(f"{size}\n", encoding="ascii")
    monkeypatch.setattr(limits, "_CACHE_FILES", f"{tmp_path}/index*/size")
    last_level_cache_bytes.cache_clear()
    assert last_level_cache_bytes() == expected
    last_level_cache_bytes.cache_clear()


# --- the roofline


def test_the_limit_is_the_peak_or_what_memory_can_deliver() -> None:
    peaks = Peaks(2, 200.0, 20.0)
    assert peaks.limit_gflops(0.26e9, 43e6) == pytest.approx(20 * 0.26e9 / 43e6)
    assert peaks.limit_gflops(100e9, 43e6) == 200.0, "long texts are bound by the products"
    assert peaks.limit_gflops(0.26e9, 32 * 2**20) == 200.0, "what the cache holds waits for no memory"


def test_the_cost_of_minilm_is_that_of_its_graph_and_is_remembered(
    minilm: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    cost = cost_of(minilm)
    assert cost is not None
    assert cost.flops == Polynomial(0, 21_234_432, 9_216)
    # All weights but the token table, of which eight rows are read.
    assert cost.weight_bytes == pytest.approx(4 * (22_565_376 - 30_522 * 384), rel=0.02)
    monkeypatch.setattr(limits, "load_graph", lambda _: pytest.fail("it is remembered"))
    assert cost_of(minilm) == cost


def test_a_graph_that_cannot_be_counted_has_no_cost(fake_artifact: Artifact) -> None:
    assert cost_of(fake_artifact) is None
    assert request_columns(fake_artifact, [[3]], {}) == {"flops_per_request": None, "bytes_per_request": None}


def test_a_request_costs_its_texts_padded_to_the_longest_and_the_median_counts(
    fake_artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "cost_of", lambda _: Cost(Polynomial(0, 10, 1), 777))
    lengths = [[1, 2], [3, 4], [100, 100]]
    assert request_columns(fake_artifact, lengths, {}) == {
        "flops_per_request": 2 * (10 * 4 + 16), "bytes_per_request": 777,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("fixed", "texts", "tokens"),
    [
        ({"sequence_length": 64}, 2, 64),
        ({"batch_size": 4}, 4, 5),
        ({"batch_size": 4, "sequence_length": 8}, 4, 8),
    ],
)
def test_a_graph_of_fixed_shapes_computes_all_of_them_whatever_it_is_given(
    fake_artifact: Artifact, monkeypatch: pytest.MonkeyPatch, fixed: dict[str, int], texts: int, tokens: int
) -> None:
    monkeypatch.setattr(limits, "cost_of", lambda _: Cost(Polynomial(0, 10, 1), 777))
    found = request_columns(fake_artifact, [[3, 5]], fixed)
    assert found["flops_per_request"] == texts * (10 * tokens + tokens * tokens)


# --- a run's columns


def columns(infer_p50_ms: float | None = 2.0, *, clients: int = 1, **facts: Any) -> dict[str, Any]:
    known = {"flops_per_request": 0.2e9, "bytes_per_request": 1e6} | facts
    return limit_columns(known, infer_p50_ms, threads=2, clients=clients)


def test_achieved_is_operations_over_time_and_the_share_is_of_the_limit(
    probes: Callable[..., list[int]],
) -> None:
    probes((200.0, 20.0))
    machine_peaks(2)
    assert columns() == {"limit_gflops": 200.0, "achieved_gflops": 100.0, "share_of_peak": 0.5}


def test_what_is_unknown_is_null_never_0(probes: Callable[..., list[int]]) -> None:
    assert columns() == {"limit_gflops": None, "achieved_gflops": 100.0, "share_of_peak": None}
    probes((200.0, 20.0))
    machine_peaks(2)
    nothing = {"achieved_gflops": None, "share_of_peak": None}
    assert columns(None) == {"limit_gflops": 200.0} | nothing
    assert columns(clients=2) == {"limit_gflops": 200.0} | nothing, "requests wait for one another"
    assert columns(flops_per_request=None) == dict.fromkeys(LIMIT_COLUMNS)


def test_peaks_are_kept_as_plain_json(probes: Callable[..., list[int]]) -> None:
    probes((200.0, 20.0))
    machine_peaks(2)
    (file,) = (cache_dir() / "limits").iterdir()
    assert json.loads(file.read_text(encoding="utf-8")) == [
        {"threads": 2, "gflops": 200.0, "bandwidth_gb_per_s": 20.0}
    ]
