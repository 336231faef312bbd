"""Which runs of two sets are the same measurement, and what to know of each pair. Pure."""

from __future__ import annotations

import json
import math
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from harness.compose import conf_dir
from harness.config import yaml_of
from harness.errors import BadInputError
from harness.evidence import candidate_key
from harness.gates import as_number, container_cpus, plain, row_place
from harness.rerun import run_name, typed_words

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# Words of a command that change what a launch serves; other values are another measurement.
_SERVED = ("measure.requests", "measure.warmup_requests", "workload.seed")
_SOAKED = (*_SERVED, "measure.duration_s")
# What two runs may differ in and still be compared: it is told.
_TOLD = ("machine_id", "cores", "cpus", "python", "os")


class Pair(NamedTuple):
    """Two runs to compare, and what to know of them."""

    label: str
    a: dict[str, Any]
    b: dict[str, Any]
    notes: tuple[str, ...]


def pair_runs(
    a: Sequence[dict[str, Any]], b: Sequence[dict[str, Any]], *, across_machines: bool = False
) -> list[Pair]:
    """The runs of A and B that are the same measurement; two single ones whatever their candidates.

    Args:
        a: rows of runs, newest last: of several of the same thing the newest is taken.
        b: likewise.
        across_machines: pair runs of different machines all the same.

    Raises:
        BadInputError: nothing in common, or what is in common is not comparable.
    """
    if len(schemas := sorted({int(run["schema_version"]) for run in (*a, *b)})) > 1:
        raise BadInputError(
            f"A and B are of schemas {' and '.join(map(str, schemas))}: they were not measured alike; "
            "measure the older ones anew"
        )
    machines = sorted({str(run["machine_id"]) for run in (*a, *b)})
    if len(machines) > 1 and not across_machines:
        raise BadInputError(
            f"A and B are of different machines ({', '.join(machines)}): not comparable; "
            "across_machines=true compares them all the same"
        )
    if len(a) == len(b) == 1:
        (first,), (second,) = a, b
        if row_place(first) != row_place(second):
            raise BadInputError(
                f"A is {row_place(first)}, B is {row_place(second)}: different work is not comparable"
            )
        if (first["runtime"] == "fake") != (second["runtime"] == "fake"):
            raise BadInputError("one of A and B is a script's (runtime=fake): no provider was measured in it")
        if (first["purpose"] == "soak") != (second["purpose"] == "soak"):
            raise BadInputError("one of A and B is a soak run: its blocks are not comparable with launches")
        if others := set(_served(first)) ^ set(_served(second)):
            raise BadInputError(
                f"A and B differ in {' and '.join(sorted(others))}: "
                "not the same measurement; measure both alike"
            )
        alike = all(first[name] == second[name] for name in ("model", "weights"))  # and so in their tokens
        if alike and 0 not in (_tokens(first)[0], _tokens(second)[0]) and _tokens(first) != _tokens(second):
            means = " and ".join(f"{_tokens(run)[0]:g}" for run in (first, second))
            raise BadInputError(
                f"A and B served other texts, of {means} tokens on average: not the same measurement; "
                "measure both with one version of the harness"
            )
        return [Pair(f"{run_name(first)} → {run_name(second)}", first, second, _differences(first, second))]
    ours, theirs = _by_work(a, b)
    common = sorted(set(ours) & set(theirs))
    if not common:
        used = [", ".join(map(str, sorted({int(run["cores"]) for run in side}))) for side in (a, b)]
        told = f"; A's are of {used[0]} cores, B's of {used[1]}" if used[0] != used[1] else ""
        raise BadInputError(
            "A and B have no run of the same candidate, workload, batch size, requests and cores in "
            f"common{told}"
        )
    pairs = []
    for key in common:
        first, second = ours[key][-1], theirs[key][-1]
        taken = (*_taken("A", ours[key]), *_taken("B", theirs[key]))
        pairs.append(Pair(run_name(first), first, second, (*taken, *_differences(first, second))))
    return pairs


def without_counterpart(a: Sequence[dict[str, Any]], b: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    """The runs of larger sets that nothing on the other side is the same measurement as, a line each."""
    if len(a) == len(b) == 1:
        return ()
    ours, theirs = _by_work(a, b)
    return tuple(
        f"not compared: {run_name(mine[key][-1])}, run {mine[key][-1]['run_id']}: "
        f"{other} has none of the same requests, cores and replicate"
        for mine, other, others in ((ours, "B", theirs), (theirs, "A", ours))
        for key in sorted(set(mine) - set(others))
    )


def _by_work(*sides: Sequence[dict[str, Any]]) -> list[dict[tuple[Any, ...], list[dict[str, Any]]]]:
    """The runs of each side by what they measured, newest last.

    Replicates stand apart where the sides have one of them in common; else all are runs of the same thing.
    """
    numbered = [{(_work(run), _replicate(run)) for run in side} for side in sides]
    apart = {work for work, _ in set.intersection(*numbered)}
    found: list[dict[tuple[Any, ...], list[dict[str, Any]]]] = []
    for side in sides:
        found.append({})
        for run in side:
            work = _work(run)
            found[-1].setdefault((work, _replicate(run) if work in apart else 0.0), []).append(run)
    return found


def _work(run: Mapping[str, Any]) -> tuple[Any, ...]:
    """What a run measured, whichever replicate of it."""
    held_to = as_number(run["cpus"]) or 0.0
    cores = int(run["cores"]), held_to, container_cpus(run) or math.inf
    return candidate_key(run), row_place(run), run["purpose"] == "soak", cores, _served(run), _tokens(run)


def _replicate(run: Mapping[str, Any]) -> float:
    return as_number(run["replicate"]) or 0.0


def _served(run: Mapping[str, Any]) -> tuple[str, ...]:
    """What a launch serves beside the workload, as words: requests, warm-up, texts; and a soak's length."""
    given = typed_words(run)
    names = _SOAKED if run["purpose"] == "soak" else _SERVED
    return tuple(f"{name}={given.get(name, _usual()[name])}" for name in names)


def _tokens(run: Mapping[str, Any]) -> tuple[float, ...]:
    """The mean and P95 of its texts' tokens, which tell other texts of the same model; 0 is unknown."""
    return tuple(as_number(run[name]) or 0.0 for name in ("tokens_mean", "tokens_p95"))


@cache
def _usual() -> dict[str, str]:
    """The values of `_SOAKED` where a command does not say."""
    groups = {group: yaml_of(conf_dir() / group / "default.yaml") for group in ("measure", "workload")}
    return {name: str(groups[group][key]) for name in _SOAKED for group, _, key in [name.partition(".")]}


def _taken(side: str, runs: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Which run of several of the same thing is taken."""
    if len(runs) == 1:
        return ()
    *older, taken = (f"{run['run_id']} ({run['status']})" for run in runs)
    return (
        f"{side} has {len(runs)} runs of it: {taken}, the newest, is taken, not {', '.join(older)}; "
        "a run id names another",
    )


def _differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> tuple[str, ...]:
    """What else differs between two runs than what was asked to be compared."""
    old, new = ({name: plain(run[name]) for name in (*_TOLD, "artifact_sha256")} for run in (a, b))
    changed = [f"{name} {old[name]} → {new[name]}" for name in _TOLD if old[name] != new[name]]
    quotas = [container_cpus(run) for run in (a, b)]
    changed += [f"CPU quota {quotas[0]} → {quotas[1]}"] if quotas[0] != quotas[1] else []
    theirs, ours = (_libraries(run) for run in (a, b))
    changed += [
        f"{name} {theirs.get(name)} → {ours.get(name)}"
        for name in sorted(theirs.keys() | ours.keys())
        if theirs.get(name) != ours.get(name)
    ]
    if candidate_key(a) == candidate_key(b) and old["artifact_sha256"] != new["artifact_sha256"]:
        changed.append("the artifact's files")
    return (f"what differs: {', '.join(changed)}",) if changed else ()


def _libraries(run: Mapping[str, Any]) -> dict[str, str]:
    """The versions that a run was measured with, its own columns where its environment does not tell."""
    told = {"onnxruntime": plain(run["onnxruntime"]), "harness": plain(run["harness_version"])}
    try:
        libraries: dict[str, str] = json.loads(run["environment"])["libraries"]
    except (KeyError, TypeError, ValueError):
        return told
    return told | libraries
