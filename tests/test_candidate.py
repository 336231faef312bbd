"""Identity: the same thing is the same run, and whatever matters makes another."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness.candidate import Candidate, identity, run_identity

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.schema import Config

CANDIDATE = Candidate(
    model="minilm",
    model_id="org/minilm",
    revision="abc",
    weights="trained",
    precision="fp32",
    runtime="onnxruntime",
    ep="coreml",
    ep_provider="CoreMLExecutionProvider",
    ep_options={"MLComputeUnits": "ALL", "ModelFormat": "MLProgram"},
    threads=None,
    pooling="mean",
    dim=384,
)
PARTS: dict[str, Any] = {
    "workload": {"name": "default", "batch_size": 1, "seed": 1},
    "artifact_sha256": "a" * 64,
    "requests": {"requests": 100, "warmup_requests": 20},
    "libraries": {"onnxruntime": "1.31.1", "numpy": "2.0"},
    "machine_id": "m1",
}


def run_id(candidate: Candidate = CANDIDATE, **changes: Any) -> str:
    """The identity of a run, its parts changed."""
    return run_identity(candidate, **(PARTS | changes))


def test_an_identity_is_64_hexadecimal_digits() -> None:
    assert len(run_id()) == 64
    assert set(run_id()) <= set("0123456789abcdef")


def test_the_same_parts_are_the_same_run() -> None:
    assert run_id() == run_id(Candidate(**asdict(CANDIDATE)), **json.loads(json.dumps(PARTS)))


def test_the_order_of_keys_does_not_matter() -> None:
    def backwards(mapping: dict[str, Any]) -> dict[str, Any]:
        return dict(reversed(list(mapping.items())))

    reordered = replace(CANDIDATE, ep_options=backwards(CANDIDATE.ep_options))
    changes = {name: backwards(PARTS[name]) for name in ("workload", "requests", "libraries")}
    assert run_id(reordered, **changes) == run_id()
    assert identity({"a": 1, "b": {"c": 2, "d": 3}}) == identity({"b": {"d": 3, "c": 2}, "a": 1})


@pytest.mark.parametrize("name", [field.name for field in fields(Candidate)])
def test_whatever_a_candidate_is_makes_another_run(name: str) -> None:
    other = {"ep_options": {"ModelFormat": "MLProgram"}, "threads": 2, "dim": 256, "script": {"infer_ms": 2}}
    assert run_id(replace(CANDIDATE, **{name: other.get(name, "another")})) != run_id()


@pytest.mark.parametrize(
    "change",
    [
        {"workload": PARTS["workload"] | {"batch_size": 8}},
        {"workload": PARTS["workload"] | {"name": "mixture"}},
        {"workload": PARTS["workload"] | {"seed": 2}},
        {"artifact_sha256": "b" * 64},
        {"artifact_sha256": None},
        {"requests": {"requests": 200, "warmup_requests": 20}},
        {"requests": {"requests": 100, "warmup_requests": 21}},
        {"libraries": {"onnxruntime": "1.31.2", "numpy": "2.0"}},
        {"libraries": {"onnxruntime": "1.31.1"}},
        {"machine_id": "m2"},
    ],
    ids=str,
)
def test_whatever_else_matters_makes_another_run(change: dict[str, Any]) -> None:
    assert run_id(**change) != run_id()


def test_identities_are_all_different_from_one_another() -> None:
    changed = [run_id(replace(CANDIDATE, threads=n)) for n in (None, 1, 2, 4)]
    assert len(set(changed)) == 4


def test_numbers_and_the_texts_that_look_like_them_differ() -> None:
    assert len({identity({"a": value}) for value in (1, "1", None, "null", True, "true")}) == 6


def test_an_identity_is_the_same_in_another_process() -> None:
    code = "from tests.test_candidate import run_id; print(run_id())"
    words, root = [sys.executable, "-c", code], Path(__file__).parent.parent
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout.strip() == run_id()


# --- from a plan


def test_a_plan_s_candidate_is_what_it_says(config: Callable[..., Config]) -> None:
    plan = config(threads=2)
    found = Candidate.from_config(plan)
    assert (found.model, found.model_id) == ("minilm", "sentence-transformers/all-MiniLM-L6-v2")
    assert found.revision == "8b3219a92973c328a8e22fadcfa821b5dc75636a"
    assert (found.precision, found.runtime, found.ep, found.threads) == ("fp32", "fake", "cpu", 2)
    assert (found.ep_provider, found.ep_options) == ("CPUExecutionProvider", {})
    assert (found.pooling, found.dim, found.weights) == ("mean", 384, "trained")
    assert found.script is not None
    assert found.script["launches"] == ["ok"]


def test_what_is_not_scripted_has_no_script(config: Callable[..., Config]) -> None:
    assert Candidate.from_config(config(runtime="onnxruntime")).script is None


def test_options_that_are_not_set_are_left_out_and_the_rest_are_texts(config: Callable[..., Config]) -> None:
    plan = config(ep="coreml")
    options = Candidate.from_config(plan).ep_options
    assert "ModelCacheDirectory" not in options
    assert options["ModelFormat"] == "MLProgram"
    assert all(isinstance(value, str) for value in options.values())


def test_a_local_folder_has_no_revision(config: Callable[..., Config]) -> None:
    assert Candidate.from_config(config(model={"path": "/some/folder"})).revision is None


def test_a_fake_script_that_is_another_is_another_run(config: Callable[..., Config]) -> None:
    slow = Candidate.from_config(config(runtime={"script": {"infer_ms": [40.0]}}))
    assert run_id(slow) != run_id(Candidate.from_config(config()))


@pytest.mark.parametrize(
    ("change", "label"),
    [
        ({}, "minilm fp32 coreml"),
        ({"threads": 1}, "minilm fp32 coreml 1 thread"),
        ({"threads": 4, "ep": "cpu", "ep_options": {}}, "minilm fp32 cpu 4 threads"),
        ({"runtime": "fake", "ep": "cpu", "ep_options": {}}, "minilm fp32 fake cpu"),
        ({"model": "e5", "precision": "int8"}, "e5 int8 coreml"),
        (
            {"ep_options": {"MLComputeUnits": "CPUOnly", "ModelFormat": "MLProgram"}},
            "minilm fp32 coreml MLComputeUnits=CPUOnly",
        ),
    ],
    ids=["usual", "one thread", "threads", "fake", "another model", "an option of the provider"],
)
def test_a_label_names_what_is_unusual(change: dict[str, Any], label: str) -> None:
    assert replace(CANDIDATE, **change).label == label
