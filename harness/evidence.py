"""The runs that speak for a candidate: whole rows of one machine, the newest of each thing measured."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from math import inf, isclose, isnan, nan
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.caveats import of_other_machines
from harness.errors import BadInputError, unknown_name
from harness.gates import (
    LAUNCH_COLUMN,
    GateResult,
    as_number,
    ask,
    container_cpus,
    gate_place,
    left_open,
    of_environment,
    plain,
    row_place,
    status_text,
    text_of,
)
from harness.paths import typed_path
from harness.record import PURPOSES, RUN_COLUMNS, RUN_UNITS, SCHEMA_VERSION, STATUSES, WITH_INTERVAL
from harness.rerun import again, command_for, typed_words, words_for
from harness.schema import METRIC_RANGES
from harness.units import counted, exact_number, listed

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    import pandas as pd


Row = dict[str, Any]

_IDENTITY = (
    "model", "model_id", "revision", "weights", "precision", "runtime", "ep", "ep_options", "threads",
    "session_options",
    "pooling", "dim",
)  # fmt: skip
# Versions that the identity of a run has and its environment alone tells.
_VERSIONS = ("tokenizers", "numpy", "macos")
# Two runs of a candidate at one place are of the same thing where all of these agree.
_SAME_THING = (
    "artifact_sha256", "onnxruntime", "python", "harness_version", "schema_version", "cores", *_VERSIONS,
)  # fmt: skip
# What a run may be held to.
_LIMITS = ("cores", "cpus", "container_cpus")
# Evidence of a candidate is read together only where all of these agree.
_SAME_EVIDENCE = (*_SAME_THING, "cpus", "container_cpus")
# So many characters tell one artifact or version from another.
_SHORT = 12
# Words that change neither the candidate nor its place, but what is measured of it.
_SETTINGS = ("measure.", "quality.", "runtime.script.")
# What every row has, whatever could not be measured; of a figure that a gate asks, null is told as unknown.
_ASKED = {*METRIC_RANGES, *LAUNCH_COLUMN.values()}
_NEVER_NULL = tuple(column for column in RUN_COLUMNS if not column.nullable and column.name not in _ASKED)
_NUMBERS = tuple(column.name for column in RUN_COLUMNS if column.dtype.endswith(("int64", "double")))
_SINGLE = tuple(column.name for column in RUN_COLUMNS if column.dtype in ("int64", "double", "bool"))
_TEXTS, _TIMES = (
    tuple(column.name for column in RUN_COLUMNS if column.dtype == dtype) for dtype in ("string", "timestamp")
)
# What a figure can be at all.
_RANGES: dict[str, tuple[float, float]] = {
    **{metric: ends for metric, ends in METRIC_RANGES.items() if metric in RUN_UNITS},
    "ep_node_share": (0.0, 1.0),
    "ep_time_share": (0.0, 1.0),
    "cores": (1.0, inf),
}
# Under so many requests a launch's P95 is the slowest of them.
_FEWEST_REQUESTS = 20
# What rounding adds to a cosine of float32 vectors, at most.
_COSINE_SLACK = 0.001
# A median that differs by a larger share from the one of the launches is another figure.
_SAME_MEDIAN = 1e-9


def candidate_key(row: Mapping[str, Any]) -> str:
    """What makes two rows' candidates the same, as text."""
    return json.dumps([plain(row[name]) for name in _IDENTITY])


def with_environment(row: Row) -> Row:
    """A row with what its environment tells of quota and versions, as a decision reads it."""
    versions = of_environment(row).get("libraries") or {}
    return {**row, "container_cpus": container_cpus(row), **{name: versions.get(name) for name in _VERSIONS}}


def evidence_key(row: Row) -> str:
    """What makes two rows evidence of one candidate that is read together, as text.

    Args:
        row: as `with_environment` gives it.
    """
    return json.dumps([candidate_key(row), *(plain(row[name]) for name in _SAME_EVIDENCE)])


def told_apart(rows: Sequence[Row]) -> list[str]:
    """What of its candidate and its evidence tells each row from the others, in words; empty of one alone.

    Only rows of one label are told from one another.

    Args:
        rows: as `with_environment` gives them.
    """
    alike: dict[str, list[Row]] = {}
    for row in rows:
        alike.setdefault(str(row["candidate_label"]), []).append(row)
    differing = {
        label: [
            name for name in (*_IDENTITY, *_SAME_EVIDENCE) if len({str(plain(r[name])) for r in mine}) > 1
        ]
        for label, mine in alike.items()
    }
    return [_told(row, differing[str(row["candidate_label"])]) for row in rows]


def names_apart(rows: Sequence[Row]) -> list[str]:
    """What each row's candidate is called: its label, and of other things of one label what tells them apart.

    What could not be measured is known by its label alone.

    Args:
        rows: as `with_environment` gives them.
    """
    apart = iter(told_apart([row for row in rows if row["status"] != "unavailable"]))
    told = ("" if row["status"] == "unavailable" else next(apart) for row in rows)
    return [
        f"{row['candidate_label']} ({text})" if text else str(row["candidate_label"])
        for row, text in zip(rows, told, strict=True)
    ]


def candidate_rows(runs: pd.DataFrame, like: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """The runs of the same candidates, on the same machine and of the same schema, as the rows of `like`."""

    def key(row: Mapping[str, Any]) -> tuple[Any, ...]:
        return (candidate_key(row), row["machine_id"], row["schema_version"])

    wanted = {key(row) for row in like}
    return runs[[key(row) in wanted for row in rows_of(runs)]]


def rows_of(runs: pd.DataFrame) -> list[Row]:
    """A frame's rows as mappings."""
    return [{str(name): value for name, value in row.items()} for row in runs.to_dict("records")]


def with_commands(runs: pd.DataFrame, results: str, **asked: str) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """The runs with commands that measure as `asked`, for that policy; and where they measure, if not here.

    That is into `results`, the folder that the runs were read from. Runs that were measured into a folder of
    another name, as their commands say, are a copy: theirs measure where they did, and leave the copy alone.
    """
    rows = rows_of(runs)
    folders = [_measured_into(row, results) for row in rows]
    commands = [
        command_for(row, results=folder or results, **asked)
        for row, folder in zip(rows, folders, strict=True)
    ]
    others = dict.fromkeys(f"results={folder}" for folder in folders if folder)
    told = f"these runs were measured into {', '.join(others)}: what is told to type measures there, not here"
    return runs.assign(command=commands), ((told,) if others else ())


def _measured_into(row: Mapping[str, Any], results: str) -> str:
    """The folder that a run's command measured into, where its name is another than that of `results`."""
    words = typed_words(row)
    folder = words.get("results", "results") if words else ""
    name = typed_path(folder).name
    return folder if name and name != typed_path(results).resolve().name else ""


def of_machine(runs: pd.DataFrame, machine: str) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """The runs of one machine and what is left out, in words; all runs where no machine is named.

    Raises:
        BadInputError: no run of that machine.
    """
    if not machine:
        return runs, ()
    if machine not in (machines := sorted(set(runs["machine_id"]))):
        raise BadInputError(unknown_name("machine", machine, machines))
    return runs[runs["machine_id"] == machine], of_other_machines(runs, machine)


def selected(runs: pd.DataFrame, select: str) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """The runs that `select` names, and what is left out, in words; all runs where it is empty.

    Args:
        runs: rows of runs.
        select: words as ``model=minilm,e5 ep=cpu``: of a column, only these. A name is matched with and
            without what stands behind its ``+`` where a part was changed; what is unknown is ``null``.

    Raises:
        BadInputError: a word that is none, an unknown column, or no run is left.
    """
    try:
        words = shlex.split(select)
    except ValueError as error:
        raise BadInputError(f"select={select}: {error}; such as model=minilm,e5") from None
    kept = runs
    for word in words:
        name, equals, values = word.partition("=")
        if not equals:
            raise BadInputError(f"select={select}: {word!r} is no column=value; such as model=minilm,e5")
        if name not in runs.columns:
            raise BadInputError(
                f"select={select}: {unknown_name('column', name, list(map(str, runs.columns)))}"
            )
        cells, wanted = [_as_typed(cell) for cell in kept[name]], values.split(",")
        told = kept["candidate_label"].str.split().str[0] if name == "model" else cells
        names = [
            {*pair, *(each.partition("+")[0] for each in pair)} for pair in zip(cells, told, strict=True)
        ]
        here = [not named.isdisjoint(wanted) for named in names]
        if here and not any(here):
            there = sorted(set(told))
            raise BadInputError(
                f"select={select}: none of {counted(len(kept), 'run')} has {word}; its {name} is "
                f"{listed(there)}"
            )
        kept = kept[here]
    if len(kept) == len(runs):
        return kept, ()
    return kept, (f"{len(runs) - len(kept)} of {len(runs)} runs are left out by select: {select}",)


def _as_typed(cell: Any) -> str:
    """A cell as a word of `selected` has it: a number however pandas holds it, ``true``, or ``null``."""
    value = plain(cell)
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return exact_number(value) if isinstance(value, float) else str(value)


def checked(runs: pd.DataFrame) -> list[Row]:
    """The frame's rows in the order of their ids, each one whole, all of one machine.

    Raises:
        BadInputError: no run, a column missing, a run id twice, a row that no measurement gives, a newer
            schema, rows of two schemas or machines.
    """
    missing = [column for column in RUN_COLUMNS if column.name not in runs.columns]
    if lost := sorted(column.name for column in missing if not column.nullable):
        raise BadInputError(f"the runs lack the columns {', '.join(lost)}; read them with load_runs")
    runs = runs.assign(**{column.name: None for column in missing})
    if runs.empty:
        raise BadInputError("no runs to decide on; measure first: python -m harness model=minilm ep=cpu")
    rows = sorted(rows_of(runs), key=lambda row: str(row["run_id"]))
    rows = [with_environment(row) for row in rows]
    counts = Counter(str(row["run_id"]) for row in rows)
    if twice := sorted(run_id for run_id, count in counts.items() if count > 1):
        raise BadInputError(f"run ids that stand more than once: {', '.join(twice)}")
    for row in rows:
        if problem := _inconsistency(row):
            raise BadInputError(f"run {row['run_id']}: {problem}; measure it anew with measure.force=true")
    if (newest := max(as_number(row["schema_version"]) or 0 for row in rows)) > SCHEMA_VERSION:
        raise BadInputError(
            f"runs of schema {newest:g}: this harness knows {SCHEMA_VERSION} at most; upgrade it first"
        )
    if len(schemas := sorted({as_number(row["schema_version"]) or 0 for row in rows})) > 1:
        raise BadInputError(
            f"runs of schemas {' and '.join(f'{schema:g}' for schema in schemas)}: they were not measured "
            "alike; measure the older ones anew, or give results=DIR without them"
        )
    if len(machines := sorted({str(row["machine_id"]) for row in rows})) > 1:
        raise BadInputError(
            f"runs of {len(machines)} machines ({', '.join(machines)}): a verdict is about one; give "
            "machine=ID"
        )
    return rows


def _inconsistency(row: Row) -> str:
    """What no measured row can look like; empty where nothing is wrong."""
    for name in _TEXTS:
        if not _is_text(row[name]):
            return f"{name} is {row[name]!r}, no text that can be written"
    if row["status"] not in STATUSES:
        return f"status {row['status']!r} is none of {', '.join(STATUSES)}"
    if (purpose := plain(row["purpose"])) not in (None, *PURPOSES):
        return f"purpose {purpose!r} is none of {', '.join(PURPOSES)}"
    if unknown := [column.name for column in _NEVER_NULL if plain(row[column.name]) is None]:
        return f"{', '.join(unknown)} cannot be null"
    if several := [name for name in _SINGLE if isinstance(row[name], list | tuple | np.ndarray)]:
        return f"{', '.join(several)} cannot be a list"
    for name in (column.name for column in _NEVER_NULL if column.dtype == "int64"):
        if (number := as_number(row[name])) is None or not number.is_integer():
            return f"{name} is {row[name]!r}, no whole number"
    for name in _NUMBERS:
        cells = row[name] if isinstance(row[name], list | tuple | np.ndarray) else (row[name],)
        if (text := next((cell for cell in cells if isinstance(cell, str)), None)) is not None:
            return f"{name} is {text!r}, a text and no number"
        if any(isinstance(cell, list | tuple | np.ndarray) for cell in cells):
            return f"{name} holds a list where a number belongs"
    for name in _TIMES:
        if plain(row[name]) is not None and getattr(row[name], "tzinfo", None) is None:
            return f"{name} is {str(row[name])!r}, no time with a time zone"
    launches, failed = int(row["launches"]), as_number(row["launches_failed"])
    for column in (*LAUNCH_COLUMN.values(), "launch_disturbed"):
        if hasattr(row[column], "__len__") and len(row[column]) != launches:
            return f"{counted(launches, 'launch')}, but {len(row[column])} of their values in {column}"
    fewest = 1 if as_number(row["truncated_over_ms"]) is not None else _FEWEST_REQUESTS
    if row["status"] == "complete" and row["requests"] < max(1, fewest * (launches - (failed or 0))):
        return f"status complete, but {row['requests']} requests in {counted(launches, 'launch')}"
    dead = _count_dead(row["launch_p95_ms"])
    if failed is not None and dead > failed:
        return f"launches_failed is {failed:.0f}, but {dead} of its launches failed"
    for name, column in LAUNCH_COLUMN.items():
        figure, middle = as_number(row[name]), _middle(row[column])
        if figure is not None and middle is not None and not isclose(figure, middle, rel_tol=_SAME_MEDIAN):
            return f"{name} is {figure:g}, but the median of its launches' is {middle:g}"
    for name, (least, most) in _RANGES.items():
        slack = _COSINE_SLACK if RUN_UNITS[name] == "cosine" else 0.0
        if (number := as_number(row[name])) is not None and not least - slack <= number <= most + slack:
            return f"{name} is {number:g}, which it cannot be"
    here, nodes = as_number(row["ep_nodes"]), as_number(row["nodes_total"])
    if here is not None and nodes is not None and here > nodes:
        return f"ep_nodes is {here:g} of {counted(int(nodes), 'node')}"
    if (bound := as_number(row["parity_bound"])) is not None and not 0 < bound <= 1:
        return f"parity_bound is {bound:g}, which it cannot be"
    for name in WITH_INTERVAL:
        low, value, high = (as_number(row[f"{name}{part}"]) for part in ("_low", "", "_high"))
        if low is not None and high is not None and not low <= (low if value is None else value) <= high:
            return f"{name} {value} lies outside its interval {low} to {high}"
    return ""


def _is_text(cell: Any) -> bool:
    """Whether a cell is null, or a text that can be written in UTF-8."""
    if not isinstance(cell, str):
        return plain(cell) is None
    try:
        cell.encode()
    except UnicodeEncodeError:
        return False
    return True


def _count_dead(p95s_ms: Any) -> int:
    """How many launches have no P95 because they failed."""
    return sum(value == inf for value in p95s_ms if value is not None) if np.iterable(p95s_ms) else 0


def _middle(listed: Any) -> float | None:
    """The median of a value a launch; None without a launch, and where a value is no number."""
    values = [nan if value is None else float(value) for value in listed] if np.iterable(listed) else []
    return median(values) if values and not any(map(isnan, values)) else None


def of_one_evidence(rows: list[Row], asked: Collection[Row] = ()) -> tuple[list[Row], list[str]]:
    """The runs of the newest artifact and versions, in the same order; the rest is told, not read.

    A soak run chooses nothing: it says little of latency, and may have been held to other cores. What was not
    possible is read where nothing else is, or where a command asked for nothing else.

    Args:
        rows: a candidate's runs, as `newest_first` orders them.
        asked: those of them that a command asked for where gates read.
    """
    possible = [row for row in rows if row["status"] != "unavailable"]
    if asked and all(row["status"] == "unavailable" for row in asked):
        before = f"not read, for it is not possible now: {counted(len(possible), 'run')} from before"
        return list(asked), [before] if possible else []
    measured = possible or rows
    newest = next((row for row in measured if row["purpose"] != "soak"), measured[0])
    same = [row for row in measured if _agree(row, newest, _SAME_EVIDENCE)]
    notes = []
    if others := [row for row in measured if not _agree(row, newest, _SAME_EVIDENCE)]:
        differing = [n for n in _SAME_EVIDENCE if not all(_agree(row, newest, [n]) for row in others)]
        notes.append(
            f"judged is the evidence of run {newest['run_id']} ({_told(newest, differing)}); not read: "
            f"{counted(len(others), 'run')} with other {', '.join(differing)}"
        )
    return same, notes


def not_possible_since(read: Sequence[Row], rows: Sequence[Row]) -> tuple[str, ...]:
    """Attempts that were not possible, after the run that is read at their place: what it says may be gone.

    Where none is read at their place, after all that are read.

    Args:
        read: the candidate's runs that are read.
        rows: all runs of the candidate.
    """
    ended = {_standing(row): row["finished_at"] for row in read}
    newest = max(ended.values(), default=None)
    last: dict[tuple[Any, ...], Row] = {}
    for row in rows:
        since = ended.get(_standing(row), newest)
        if row["status"] == "unavailable" and since is not None and row["finished_at"] > since:
            last[_standing(row)] = max(row, last.get(_standing(row), row), key=lambda r: r["finished_at"])
    return tuple(
        f"provisional: it was not possible the last time, at {row_place(row)}: "
        f"{text_of(row['error'], 'no reason known')}; where it is again: "
        f"`{again(row, **{'measure.force': 'true'})}`"
        for row in sorted(last.values(), key=row_place)
    )


def current_evidence(same: list[Row]) -> tuple[list[Row], list[str]]:
    """The newest run at each place, of runs as `of_one_evidence` gives them; the rest is told."""
    notes = []
    standing: dict[tuple[Any, ...], list[Row]] = {}
    for row in same:
        standing.setdefault(_standing(row), []).append(row)
    for row, *here in standing.values():
        where = row_place(row)
        alike = sum(not _set_up(other, row) for other in here)
        read = f"exist at {where}; {row['run_id']} is read"
        if alike:
            notes.append(f"{alike} other run(s) of the same thing {read}")
        if len(here) > alike:
            notes.append(f"{len(here) - alike} other run(s), set up otherwise, {read}")
    return [row for row, *_ in standing.values()], notes


def _told(row: Row, names: Sequence[str]) -> str:
    return ", ".join(f"{name}={str(plain(row[name]))[:_SHORT]}" for name in names)


def under_other_limits(row: Row, rows: Sequence[Row]) -> list[Row]:
    """The runs of the same thing as `row` that were held to other cores or to another CPU quota."""
    things = [name for name in _SAME_THING if name not in _LIMITS]
    return [r for r in rows if _agree(r, row, things) and not _agree(r, row, _LIMITS)]


def newest_first(rows: Sequence[Row], asked: Collection[str] = ()) -> list[Row]:
    """Rows by when they were last measured, the last one first.

    Which of several set-ups an interleaved sweep ended with is chance: of these the one of the fewest cores
    comes first, and of those the one of the most requests a launch.

    Args:
        rows: of runs.
        asked: ids of the runs that a command asked for, as one sweep: they come before newer ones.
    """
    newest = {row["config_hash"]: row for row in sorted(rows, key=lambda row: row["finished_at"])}

    def sweep_of(row: Row) -> tuple[Any, ...]:
        if row["run_id"] in asked:
            return (candidate_key(row),)
        attempt = "" if row is newest[row["config_hash"]] else row["run_id"]  # an older one stands for itself
        return (candidate_key(row), row["sweep_id"], attempt)

    sweeps = [sweep_of(row) for row in rows]
    ended: dict[tuple[Any, ...], Any] = {}
    for sweep, row in zip(sweeps, rows, strict=True):
        ended[sweep] = max(row["finished_at"], ended.get(sweep, row["finished_at"]))

    def standing(of: tuple[tuple[Any, ...], Row]) -> tuple[Any, ...]:
        sweep, row = of
        requests = (as_number(row["requests"]) or 0.0) / max(int(row["launches"]), 1)
        mine = row["run_id"] in asked
        return (mine, ended[sweep], -int(row["cores"]), requests, row["finished_at"], row["run_id"])

    ordered = sorted(zip(sweeps, rows, strict=True), key=standing, reverse=True)
    return [row for _sweep, row in ordered]


def _standing(row: Row) -> tuple[Any, ...]:
    """What a newer run of the same candidate replaces: the run at its place, soak runs apart."""
    return (*row_place(row), row["purpose"] == "soak")


def _agree(row: Row, other: Row, names: Sequence[str]) -> bool:
    return all(plain(row[name]) == plain(other[name]) for name in names)


def _set_up(other: Row, row: Row) -> str:
    """How another run of the same thing was measured otherwise, in words; empty where it was not.

    A replicate is the same thing by definition.
    """
    if other["config_hash"] == row["config_hash"]:
        return ""
    theirs, ours = (
        {
            name: value
            for name, value in words_for(run, **{"measure.replicate": 0}).items()
            if name.startswith(_SETTINGS)
        }
        for run in (other, row)
    )
    told = [f"with {name}={value}" for name, value in theirs.items() if ours.get(name) != value]
    told += [f"without {name}={value}" for name, value in ours.items() if name not in theirs]
    return ", ".join(told)


def of_the_same_thing(row: Row, rows: Sequence[Row]) -> list[Row]:
    """The other runs at the same place, of the same artifact and versions, however they were measured.

    Args:
        row: a run.
        rows: all runs of its candidate.
    """
    return [
        other
        for other in rows
        if other is not row and _standing(other) == _standing(row) and _agree(other, row, _SAME_THING)
    ]


def named_beside(other: Row, row: Row) -> str:
    """Another run of the same thing by its id, and how it was measured otherwise where it was."""
    set_up = _set_up(other, row)
    return f"{other['run_id']}{set_up and f' ({set_up})'}"


def contradicted(asked: list[tuple[GateResult, Row]], rows: list[Row]) -> tuple[str, ...]:
    """Gates that decide and that other runs of the same thing answer the other way: nobody measures until GO.

    What is left open is answered the other way by a run that fails. A pass is also denied by what others left
    open, where the launches of all of them together leave it open.

    The same thing is the same candidate at the same place, of the same artifact and versions, however it was
    measured.

    Args:
        asked: the answer of each gate that decides, with the run that gave it.
        rows: all runs of the candidate.
    """
    told = []
    for result, row in asked:
        others = of_the_same_thing(row, rows)
        other_way = "PASS" if result.status == "FAIL" else "FAIL"
        against = [other for other in others if ask(result.gate, other).status == other_way]
        how = f"is {other_way.lower()} in"
        if not against and result.status == "PASS" and result.gate.metric in LAUNCH_COLUMN:
            against = left_open(result.gate, row, others)
            how = "is open with the launches of"
        if against:
            names = ", ".join(named_beside(other, row) for other in against)
            where = "" if row_place(row) == gate_place(result.gate) else f" at {row_place(row)}"
            told.append(
                f"provisional: {result.gate.tier} gate {result.gate.label}{where}, "
                f"{status_text(result.status)}, {how} "
                f"another run of the same thing: {names}"
            )
    return tuple(dict.fromkeys(told))
