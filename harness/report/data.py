"""What a report is about: the runs that were chosen, their launches, and the decision on them."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.compare import select as select_side
from harness.comparison import Comparison, compare_runs
from harness.config import load_policy
from harness.decision import decide
from harness.errors import BadInputError, unknown_name
from harness.paths import typed_path
from harness.store import load_launches, load_runs

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from harness.config import PolicyConfig
    from harness.verdict import Decision


@dataclass(frozen=True)
class Results:
    """Runs and launches of one machine, the policy, and the decision; None where there is nothing to decide.

    `notes` says what was left out.
    """

    runs: pd.DataFrame
    launches: pd.DataFrame
    policy: PolicyConfig
    decision: Decision | None
    notes: tuple[str, ...]


def read(
    results: str | Path = "results", *, policy: str = "default", select: str = "", machine: str = ""
) -> Results:
    """Read a results folder.

    Args:
        results: the folder.
        policy: a shipped policy's name, or a file of the user's own (a path that ends in .yaml or .yml).
        select: words as ``model=minilm,e5 ep=cpu``: of a column of `harness.record.RUN_COLUMNS`, only these.
        machine: a machine's id; by default that of the newest run.

    Raises:
        BadInputError: no such folder, policy, column or machine.
    """
    own = policy.endswith((".yaml", ".yml"))
    judged = load_policy("default", file=policy) if own else load_policy(policy)
    runs, launches = load_runs(results), load_launches(results)
    notes = []
    machines = list(dict.fromkeys(runs["machine_id"]))
    if machine and machine not in machines:
        raise BadInputError(unknown_name("machine", machine, sorted(machines)))
    if machines:
        chosen = machine or str(runs["machine_id"].iloc[-1])
        if others := int((runs["machine_id"] != chosen).sum()):
            notes.append(f"{others} runs of other machines are left out: this is about machine {chosen}")
        runs = runs[runs["machine_id"] == chosen]
    kept = _selected(runs, select)
    if len(kept) < len(runs):
        notes.append(f"{len(runs) - len(kept)} of {len(runs)} runs are left out by select: {select}")
    launches = launches[launches["run_id"].isin(kept["run_id"])]
    decision = None if kept.empty else decide(kept, judged)
    return Results(kept, launches, judged, decision, tuple(notes))


def compare(results: str | Path, a: str, b: str, *, threshold: float = 0.05) -> list[Comparison]:
    """B against A, as `python -m harness.compare` does it; empty where either is not given.

    Args:
        results: where ids are looked up.
        a: a results directory, or the id of a sweep or run; `b` likewise.
        b: see `a`.
        threshold: a smaller change of the ratio does not matter.

    Raises:
        BadInputError: nothing of that name, or two sets that cannot be compared.
    """
    if not (a and b):
        return []
    (rows_a, launches_a), (rows_b, launches_b) = (select_side(word, typed_path(results)) for word in (a, b))
    return compare_runs(rows_a, rows_b, (launches_a, launches_b), threshold=threshold)


def _selected(runs: pd.DataFrame, select: str) -> pd.DataFrame:
    for word in shlex.split(select):
        name, equals, values = word.partition("=")
        if not equals:
            raise BadInputError(f"select={select}: {word!r} is no column=value; such as model=minilm,e5")
        if name not in runs.columns:
            raise BadInputError(
                unknown_name("select's column", name, [str(column) for column in runs.columns])
            )
        runs = runs[runs[name].astype(str).isin(values.split(","))]
    return runs
