"""What a report is about: the runs that were chosen, their launches, and the decision on them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from harness.baseline import against, find_baseline
from harness.compare import select as select_side
from harness.comparison import Comparison, compare_runs
from harness.config import load_policy
from harness.decision import decide
from harness.errors import BadInputError
from harness.evidence import of_machine, selected, with_commands
from harness.paths import typed_path
from harness.rerun import first_command
from harness.store import load_launches, load_runs, skipped_files, under_way

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from harness.schema import PolicyConfig
    from harness.verdict import Decision


@dataclass(frozen=True)
class Results:
    """Runs and launches of one machine, the policy, and the decision; None where there is nothing to decide.

    Of launches the samples of single requests are left out; `harness.load_launches` has them.
    `notes` says what was left out, `first` is the command that measures something here.
    """

    runs: pd.DataFrame
    launches: pd.DataFrame
    policy: PolicyConfig
    decision: Decision | None
    notes: tuple[str, ...]
    first: str


def read(
    results: str | Path = "results",
    *,
    policy: str = "default",
    policy_file: str = "",
    select: str = "",
    machine: str = "",
    baseline: str = "",
    baseline_file: str = "",
) -> Results:
    """Read a results folder and decide as ``python -m harness.decide`` does.

    Args:
        results: the folder.
        policy: a shipped policy's name.
        policy_file: a file with a policy of the user's own, in its place.
        select: words as ``model=minilm,e5 ep=cpu``: of a column of `harness.record.RUN_COLUMNS`, only these.
        machine: a machine's id; needed where runs of several are left.
        baseline: reported figures or a run's id, to tell speed-ups over.
        baseline_file: a file with reported figures of the user's own.

    Raises:
        BadInputError: no such folder, policy, column, machine or baseline, or runs of several machines.
    """
    judged = load_policy(policy, file=policy_file or None)
    with skipped_files() as notes:
        there, limits = of_machine(load_runs(results), machine)
        kept, left_out = selected(there, select)
        launches = load_launches(results, set(kept["run_id"]), samples=False)
    notes += (*left_out, *under_way(results, kept))
    decision, asked = None, {"results": str(results), "policy": policy, "policy.file": policy_file}
    if not kept.empty:
        compared_with = find_baseline(baseline, baseline_file, kept)
        commanded, elsewhere = with_commands(kept, **asked)
        decision = decide(commanded, judged)
        decision = replace(decision, warnings=(*decision.warnings, *limits, *elsewhere))
        if compared_with is not None:
            decision = against(decision, compared_with, kept, launches)
    return Results(kept, launches, judged, decision, tuple(notes), first_command(**asked))


def compare(
    results: str | Path, a: str, b: str, *, select: str = "", machine: str = "", threshold: float = 0.05
) -> list[Comparison]:
    """B against A, as `python -m harness.compare` does it; empty where either is not given.

    Args:
        results: where ids are looked up.
        a: a results directory, or the id of a sweep or run; `b` likewise.
        b: see `a`.
        select: of both sides only these, as in `read`.
        machine: of both sides only its runs; of all where it is empty.
        threshold: a smaller change of the ratio does not matter.

    Raises:
        BadInputError: nothing of that name, nothing left of a side, or two sets that cannot be compared.
    """
    if not (a and b):
        return []
    (rows_a, launches_a), (rows_b, launches_b) = (
        select_side(word, typed_path(results), only=select, machine=machine) for word in (a, b)
    )
    return compare_runs(rows_a, rows_b, (launches_a, launches_b), threshold=threshold)


def compare_or_why(results: str | Path, a: str, b: str, **how: Any) -> tuple[list[Comparison], str]:
    """What `compare` gives, or nothing and in words why not; `how` are its other arguments."""
    try:
        return compare(results, a, b, **how), ""
    except BadInputError as error:
        return [], str(error)
