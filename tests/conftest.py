"""Fixtures: an offline, private world for every test, the real MiniLM once a session, and rows."""

from __future__ import annotations

import gc
import math
import os
import shutil
import subprocess
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from filelock import FileLock

from harness import locks, stats
from harness.artifacts.cache import Recipe, cache_dir
from harness.compose import conf_dir
from harness.config import load_model, load_precision, validate, yaml_of
from harness.gates import as_number
from harness.measure.limits import Peaks
from harness.measure.quality import quality_columns
from harness.provider import EmbeddingProvider, prepare_artifact
from harness.record import RUN_COLUMNS, SCHEMA_VERSION
from harness.runtimes.base import SessionOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from harness.artifacts.manifest import Artifact
    from harness.schema import Config

# The STS benchmark's dev split does not ship: HARNESS_STSB_DEV says where it is, if not beside the tree.
STSB_DEV = Path(
    os.environ.get("HARNESS_STSB_DEV")
    or Path(__file__).resolve().parent.parent.parent / "shared" / "data" / "stsb-dev.jsonl"
)
NO_STSB_DEV = f"the STS benchmark's dev split is not at {STSB_DEV}; HARNESS_STSB_DEV=FILE names it"


# The modules that take longest come first: one that began last would leave the other worker idle.
LONGEST = ("tests/report/test_page.py", "tests/test_cli.py", "tests/test_comparison.py", "tests/test_sweep")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """For `make test`, which tells pytest-xdist to keep this order."""
    items.sort(key=lambda item: not item.nodeid.startswith(LONGEST))


@pytest.fixture(scope="session", autouse=True)
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """No network, and a cache and a measuring lock that no other process shares."""
    root = tmp_path_factory.mktemp("world")
    (root / "tmp").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setenv("XDG_CACHE_HOME", str(root / "cache"))
        patch.setenv("TMPDIR", str(root / "tmp"))
        patch.setattr(tempfile, "tempdir", str(root / "tmp"))
        patch.setattr(locks, "MACHINE_WIDE", root)
        yield root


@pytest.fixture(scope="module", autouse=True)
def _frozen() -> None:
    """What is there before a module's tests is no garbage: the timed loop, which collects it, sees less."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _quality_once() -> Iterator[None]:
    """The quality of the same vectors is found once: the fake gives hundreds of sweeps the same ones."""
    known: dict[tuple[object, ...], dict[str, float | bool | None]] = {}

    def once(
        vectors: NDArray[np.float32], reference: NDArray[np.float32], similar: Sequence[bool]
    ) -> dict[str, float | bool | None]:
        key = (vectors.shape, vectors.tobytes(), reference.shape, reference.tobytes(), tuple(similar))
        if key not in known:
            known[key] = quality_columns(vectors, reference, similar)
        return dict(known[key])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("harness.describe.quality_columns", once)
        yield


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A folder that `make` fills once, whichever of pytest-xdist's workers asks for it first."""
    base = factory.getbasetemp()
    root = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder, made = root / name, root / f"{name}.made"
    with FileLock(root / f"{name}.lock"):
        if not made.exists():
            folder.mkdir()
            make(folder)
            made.touch()
    return folder


@pytest.fixture(scope="session")
def minilm(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """The real bundled MiniLM in the worker's own cache, built once for all workers."""
    recipe = Recipe(load_model("minilm"), load_precision("fp32"), "onnxruntime")

    def build(root: Path) -> None:
        prepare_artifact(recipe, tell=lambda *_: None, root=root)

    shutil.copytree(made_once(tmp_path_factory, "minilm", build), cache_dir(), dirs_exist_ok=True)
    return prepare_artifact(recipe, tell=lambda *_: None)


@pytest.fixture(scope="session")
def provider(minilm: Artifact) -> EmbeddingProvider:
    """The real MiniLM on the CPU."""
    return EmbeddingProvider.open(minilm, "onnxruntime", SessionOptions())


@pytest.fixture
def peaks_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """The most that the machine can do is told: to find it out takes all cores for seconds."""
    monkeypatch.setattr("harness.measure.limits._probed", lambda threads: Peaks(threads, 100.0, 10.0))


@pytest.fixture(scope="session")
def fake_artifact(world: Path) -> Artifact:
    """The fake runtime's artifact."""
    return prepare_artifact(
        Recipe(load_model("minilm"), load_precision("fp32"), "fake"), tell=lambda *_: None
    )


def merged(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """`first` with the values of `second`, nested mappings merged."""
    result = dict(first)
    for key, value in second.items():
        nested = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if nested else value
    return result


def raw_config(**changes: Any) -> dict[str, Any]:
    """The default configuration of a fake run as plain values, with `changes` merged in."""
    chosen = {
        "model": "minilm",
        "ep": "cpu",
        "precision": "fp32",
        "runtime": "fake",
        "workload": "default",
        "measure": "default",
        "policy": "default",
    }
    chosen |= {k: v for k, v in changes.items() if k in chosen and isinstance(v, str)}
    raw: dict[str, Any] = {
        group: yaml_of(conf_dir() / group / f"{name}.yaml") for group, name in chosen.items()
    }
    raw |= {"batch_size": 1, "dim": None, "threads": None, "results": "results"}
    return merged(raw, {k: v for k, v in changes.items() if not (k in chosen and isinstance(v, str))})


@pytest.fixture
def config() -> Callable[..., Config]:
    """A plan by its differences from the default one of the fake runtime."""
    return lambda **changes: validate(raw_config(**changes))


# A run that every gate of both policies passes: what a test changes is then the reason for its verdict.
GOOD_RUN: dict[str, Any] = {
    "model": "minilm", "model_id": "org/minilm", "revision": "abc", "weights": "trained",
    "precision": "fp32", "runtime": "onnxruntime", "ep": "cpu", "ep_provider": "CPUExecutionProvider",
    "ep_options": "{}", "threads": None, "pooling": "mean", "dim": 384, "params": 1,
    "artifact_sha256": "a" * 64, "artifact_bytes": 1, "candidate_label": "minilm fp32 cpu",
    "workload": "default", "batch_size": 1, "clients": 1, "arrival": "back_to_back",
    "purpose": "latency", "replicate": 0,
    "tokens_mean": 12.0, "tokens_p95": 18.0, "status": "complete", "error": None, "settled": True,
    "min_span_s": 90.0, "evidence_span_s": 120.0, "launches": 20, "launches_failed": 0,
    "requests": 2000, "latency_p50_ms": 8.0, "latency_p95_ms": 12.0, "latency_p99_ms": 13.0,
    "latency_p95_low_ms": 12.0, "latency_p95_high_ms": 12.0, "launch_p95_ms": [12.0] * 20,
    "throughput_texts_per_s": 300.0, "throughput_texts_per_s_low": 300.0,
    "throughput_texts_per_s_high": 300.0, "launch_throughput_texts_per_s": [300.0] * 20,
    "ep_nodes": 10, "nodes_total": 10, "ep_node_share": 1.0, "ep_time_share": 1.0, "ep_partitions": 1,
    "finite": True, "l2_norm_mean": 1.0, "l2_norm_max_error": 1e-7,
    "similar_mean": 0.8, "similar_mean_low": 0.78, "similar_mean_high": 0.82,
    "dissimilar_mean": 0.1, "dissimilar_mean_low": 0.08, "dissimilar_mean_high": 0.12,
    "separation": 0.7, "separation_low": 0.65, "separation_high": 0.75,
    "separation_auc": 0.995, "separation_auc_low": 0.98, "separation_auc_high": 0.999,
    "parity_cosine_min": 1.0, "parity_cosine_mean": 1.0, "parity_bound": 0.9999,
    "neighbour_overlap": 1.0, "neighbour_overlap_low": 0.99, "neighbour_overlap_high": 1.0,
    "quality_dataset": "pairs", "machine_id": "m1", "cpu": "cpu", "cores": 2, "memory_bytes": 1,
    "os": "Linux", "python": "3.11", "onnxruntime": "1.31.1", "environment": "{}",
    "harness_version": "0.1.0", "git_commit": None,
}  # fmt: skip

STARTED = datetime(2026, 1, 1, tzinfo=UTC)


def run_row(run_id: str = "r1", **changes: Any) -> dict[str, Any]:
    """A complete run's row with every column; `p95_ms=X` sets all that follows from the launches' P95."""
    row: dict[str, Any] = {column.name: None for column in RUN_COLUMNS}
    row |= GOOD_RUN | {
        "run_id": run_id,
        "sweep_id": f"sweep-{run_id}",
        "config_hash": run_id,
        "started_at": STARTED,
        "finished_at": changes.get("started_at", STARTED) + timedelta(seconds=120),
        "schema_version": SCHEMA_VERSION,
    }
    if (p95_ms := changes.pop("p95_ms", None)) is not None:
        values, over_ms = [float(p95_ms)] * 20, as_number(changes.get("truncated_over_ms"))
        low, high = stats.launch_interval(values, stopped_over=math.inf if over_ms is None else over_ms)
        row |= {"latency_p95_ms": values[0], "latency_p95_low_ms": low, "latency_p95_high_ms": high}
        row |= {"launch_p95_ms": values}
    return row | launched(**changes)


def launched(**changes: Any) -> dict[str, Any]:
    """Changes of a row with the figures that follow from its launches: their medians, what each served."""
    rate = "throughput_texts_per_s"
    if isinstance(n := changes.get("launches"), int):
        changes = {f"launch_{rate}": [300.0] * n, "requests": 100 * n} | changes
    figures = {"launch_p95_ms": ("latency_p95_ms",), f"launch_{rate}": (rate, f"{rate}_low", f"{rate}_high")}
    found: dict[str, Any] = {}
    for launches, names in figures.items():
        values = changes.get(launches)
        if isinstance(values, list) and values and not any(isinstance(value, str) for value in values):
            middle = float(np.median(values))
            found |= dict.fromkeys(names, middle if math.isfinite(middle) else None)
    return found | changes


def launch_row(index: int = 0, *, p95_ms: float = 12.0, run_id: str = "r1", **changes: Any) -> dict[str, Any]:
    """A complete launch's row: 100 requests, all of `p95_ms`."""
    ns = round(p95_ms * 1e6)
    return {
        "launch_id": f"{run_id}-{index:04d}", "run_id": run_id, "sweep_id": "s1", "launch_index": index,
        "round": index, "started_at": STARTED + timedelta(seconds=index), "schema_version": SCHEMA_VERSION,
        "status": "complete", "error": None, "truncated": False, "truncated_over_ms": None, "pid": 1,
        "disturbed": None,
        "total_ns": [ns] * 100, "tokenize_ns": [20_000] * 100, "infer_ns": [ns - 20_000] * 100,
        "serving_s": p95_ms / 10, "new_shape_ns": [5_000_000, ns], "timer_resolution_ns": 50,
        "loop_overhead_ns": 600.0, "p50_ms": p95_ms, "p95_ms": p95_ms, "requests": 100,
        "throughput_texts_per_s": 1000 / p95_ms, "cold_start_s": 0.4, "session_load_s": 0.2,
        "first_request_ms": 5.0, "peak_rss_bytes": 10**8,
    } | changes  # fmt: skip


def python_m(world: Path) -> list[str]:
    """What stands before ``MODULE WORDS…`` for ``python -m``, with the measuring lock of these tests."""
    code = (
        "import pathlib, runpy, sys; from harness import locks; del sys.argv[0]; "
        f"locks.MACHINE_WIDE = pathlib.Path({str(world)!r}); "
        "runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)"
    )
    return [sys.executable, "-c", code]


@pytest.fixture
def cli(world: Path, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run ``python -m MODULE WORDS…`` in an empty working directory, as a user would."""

    def run(
        *words: str, module: str = "harness", timeout: float = 300, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*python_m(world), module, *words],
            cwd=tmp_path,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    return run
