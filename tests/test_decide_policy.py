"""The command `python -m harness.decide`, in this process: which policy judges, and what it tells to type."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from harness.compose import conf_dir
from harness.errors import BadInputError, ExitCode
from harness.store import Store
from tests.conftest import run_row
from tests.test_decide import main

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Ten clean launches of a run that was measured for another policy; too few to settle a must gate."""
    monkeypatch.chdir(tmp_path)
    row = run_row(
        launch_p95_ms=[12.0] * 10, launches=10,
        command="python -m harness model=minilm ep=cpu policy=documents policy.objective=lowest_latency",
    )  # fmt: skip
    Store(tmp_path / "results").write_run(row)
    return tmp_path / "results"


def own_policy(file: Path, **changes: Any) -> Path:
    """A policy of the user's own: the default one with other parts."""
    policy = yaml.safe_load((conf_dir() / "policy" / "default.yaml").read_text(encoding="utf-8"))
    file.write_text(yaml.safe_dump(policy | {"name": "mine"} | changes), encoding="utf-8")
    return file


def record(results: Path) -> dict[str, Any]:
    """The decision that was written."""
    (file,) = (results / "decisions").glob("*.json")
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


def commands(results: Path) -> list[list[str]]:
    """The words of the commands that are told."""
    (candidate,) = record(results)["candidates"]
    return [shlex.split(command)[3:] for command in candidate["missing"]]


def test_a_policys_file_is_named_by_its_whole_path_in_what_is_told_to_type(results: Path) -> None:
    file = own_policy(results.parent / "mine, été.yaml")
    assert main(["policy.file=mine, été.yaml"]) == ExitCode.INCONCLUSIVE
    assert commands(results)[0] == [
        "model=minilm", "ep=cpu", f"policy.file={file}", "measure.launches=17",
    ]  # fmt: skip


def test_what_is_told_to_type_measures_for_the_policy_that_was_asked(results: Path) -> None:
    assert main(["policy=strict"]) == ExitCode.INCONCLUSIVE
    assert commands(results)[0] == ["model=minilm", "ep=cpu", "policy=strict", "measure.launches=36"]


def test_the_default_policy_takes_no_words(results: Path) -> None:
    assert main([]) == ExitCode.INCONCLUSIVE
    assert commands(results)[0] == ["model=minilm", "ep=cpu", "measure.launches=17"]


def test_the_record_holds_the_policys_content_and_not_its_name_alone(results: Path) -> None:
    own_policy(results.parent / "mine.yaml", min_ep_node_share=0.75, objective="best_quality")
    main(["policy.file=mine.yaml", "format=json"])
    found = record(results)
    assert (found["policy"], found["provenance"]["policy"]["name"]) == ("mine", "mine")
    assert (
        found["provenance"]["policy"]["min_ep_node_share"],
        found["provenance"]["policy"]["objective"],
    ) == (0.75, "best_quality")
    gate = found["provenance"]["policy"]["gates"][0]
    assert (gate["metric"], gate["bound"], gate["launch_quantile"]) == ("latency_p95_ms", 30, 0.8)
    own_policy(results.parent / "mine.yaml", min_ep_node_share=0.76, objective="best_quality")
    main(["policy.file=mine.yaml"])
    assert len(list((results / "decisions").glob("*.json"))) == 2, "another policy, another record"


@pytest.mark.parametrize("policy", ["documents", "strict"])
def test_a_policys_file_beside_another_policy_is_refused(results: Path, policy: str) -> None:
    own_policy(results.parent / "mine.yaml")
    with pytest.raises(BadInputError, match=f"policy={policy}: policy.file is a whole policy"):
        main([f"policy={policy}", "policy.file=mine.yaml"])
