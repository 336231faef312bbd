"""What an external provider takes over the Python reference: the same model, under the same load. Pure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from harness import stats
from harness.gates import as_number, container_cpus, lacks_median, plain, row_place
from harness.units import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    _Values = np.ndarray[Any, np.dtype[np.float64]]

# The runtime of the Python reference; whatever else executes is external to it.
REFERENCE = "onnxruntime"
# What has to agree besides the place, the cores and the CPU quota, for the two to serve the same vectors.
_SAME_MODEL = ("model", "model_id", "revision", "weights", "precision", "pooling", "dim", "ep")
# What has to agree as well where both have it: the same load under the same software.
_SAME_SOFTWARE = ("artifact_sha256", "onnxruntime", "python", "harness_version")
# What has to agree in any case: left out it is the default, which is a set-up of its own.
_SAME_SETUP = ("threads", "session_options")
# Far more than a clock tells, and fewer than logarithms round in.
_SHARE_DECIMALS = 12
# A reference of fewer launches says too little of how fast it is: its own P95 has no interval.
FEWEST_LAUNCHES = stats.launches_to_pass(0.5)


class Overhead(NamedTuple):
    """What a run takes over one run of the reference, in shares, with its interval."""

    reference: Mapping[str, Any]
    value: float
    low: float | None
    high: float | None


def with_overhead(
    rows: Sequence[dict[str, Any]], refused: Callable[[dict[str, Any]], Sequence[str]]
) -> list[dict[str, Any]]:
    """The rows with `latency_overhead` and its interval, in shares: 0.2 is a fifth more.

    It is the ratio of the launches' P95 less 1, Hodges-Lehmann's with its exact interval
    (`harness.stats.shift_interval` of the logarithms); `overhead_over` is the reference's row, of several the
    fastest, so that nobody goes by a slow one; `overheads` has that over each, the fastest first. Null for
    the reference itself, without one that counts, and where a launch of either failed or was stopped early
    (`overhead_unknown` says why, run by run; `overhead_refused` whether only a new attempt at it helps,
    `overhead_apart` whether the run has another artifact than all of them, which are newer).
    `overhead_quiet` is the same of the launches that were not disturbed: the least share of them among the
    two, and the interval; null where all were quiet.

    Args:
        rows: of runs.
        refused: what is wrong with a run, whoever judges it; such a one is no reference.
    """
    references = sorted(
        (row for row in rows if row["runtime"] == REFERENCE and row["purpose"] != "soak"),
        key=lambda row: (as_number(row["latency_p95_ms"]) or math.inf, row["run_id"]),
    )
    wrong = {row["run_id"]: [*refused(row), *filter(None, [unknown_p95(row)])] for row in references}
    of_work: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in references:
        of_work.setdefault(_key(row), []).append(row)
    return [{**row, **_overhead(row, of_work.get(_key(row), []), wrong, references)} for row in rows]


def interval_where(
    overheads: Sequence[Overhead], factor: float, reference: str, reference_factor: float
) -> tuple[float | None, float | None]:
    """The interval of `latency_overhead`, were P95s other ones.

    Args:
        overheads: of a run, at least one, as `with_overhead` gives them.
        factor: the run's P95 counts so many times as it was measured.
        reference: id of the reference's run whose P95 counts otherwise.
        reference_factor: it counts so many times.
    """

    def of_reference(found: Overhead) -> float:
        return reference_factor if found.reference["run_id"] == reference else 1.0

    def p95_ms(found: Overhead) -> tuple[float, str]:
        return found.reference["latency_p95_ms"] * of_reference(found), found.reference["run_id"]

    fastest = min(overheads, key=p95_ms)
    by = factor / of_reference(fastest)
    if by == 1:
        return fastest.low, fastest.high
    low, high = (None if end is None else (1 + end) * by - 1 for end in (fastest.low, fastest.high))
    return low, high


def _overhead(
    row: Mapping[str, Any],
    references: Sequence[Mapping[str, Any]],
    wrong: Mapping[str, Sequence[str]],
    others: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    unknown: dict[str, Any] = dict.fromkeys(
        ("latency_overhead", "latency_overhead_low", "latency_overhead_high", "overhead_over")
    ) | {"overheads": ()}
    if row["runtime"] == REFERENCE:
        return unknown | {"overhead_unknown": "it is the Python reference itself"}
    if (ours := _log_p95s(row)) is None:
        return unknown | {"overhead_unknown": f"its own P95 is not known: {unknown_p95(row)}"}
    against = [
        (each, [*wrong[each["run_id"]], *_set_up_otherwise(each, row)] or _too_few(each))
        for each in references
    ]
    counting = [each for each, why in against if not why]
    if not references:
        return unknown | {"overhead_unknown": _none_of_that_work(row, others)}
    if not counting:
        told = [
            f"run {each['run_id']} of the Python reference does not count: {why[0]}" for each, why in against
        ]
        settled = [each for each in references if each["status"] != "interrupted"]
        refused = any(wrong[each["run_id"]] and not _set_up_otherwise(each, row) for each in settled)
        apart = bool(settled) and all(
            _other_artifact_alone(each, row) and each["started_at"] > row["started_at"] for each in settled
        )
        return unknown | {
            "overhead_unknown": "; ".join(told),
            "overhead_refused": refused,
            "overhead_apart": apart,
        }
    overheads = tuple(
        Overhead(each, _share(stats.shift_centre(theirs, ours)), *_interval(theirs, ours))
        for each in counting
        if (theirs := _log_p95s(each)) is not None
    )
    reference, value, low, high = overheads[0]
    theirs = _log_p95s(reference)
    assert theirs is not None
    quiet = [values[~_disturbed(each)] for each, values in ((reference, theirs), (row, ours))]
    share = min(quiet[0].size / theirs.size, quiet[1].size / ours.size)
    return {
        "overheads": overheads,
        "overhead_over": reference,
        "latency_overhead": value,
        "latency_overhead_low": low,
        "latency_overhead_high": high,
        "overhead_quiet": None if share == 1 else (share, *(_interval(*quiet) if share else (None, None))),
    }


def _interval(theirs: _Values, ours: _Values) -> tuple[float | None, float | None]:
    low, high = stats.shift_interval(theirs, ours)
    return None if low is None else _share(low), None if high is None else _share(high)


def _share(shift: float) -> float:
    """What a difference of logarithms takes more, without their rounding: a half is not under a half."""
    return round(math.expm1(shift), _SHARE_DECIMALS)


def _set_up_otherwise(reference: Mapping[str, Any], row: Mapping[str, Any]) -> list[str]:
    set_up = [(name, *(_chosen(run[name]) for run in (reference, row))) for name in _SAME_SETUP]
    software = [(name, plain(reference[name]), plain(row[name])) for name in _SAME_SOFTWARE]
    software = [pair for pair in software if None not in pair]
    return [
        f"its {name} is {theirs}, not {ours}" for name, theirs, ours in (*set_up, *software) if theirs != ours
    ]


def _other_artifact_alone(reference: Mapping[str, Any], row: Mapping[str, Any]) -> bool:
    same = {**reference, "artifact_sha256": row["artifact_sha256"]}
    return bool(_set_up_otherwise(reference, row)) and not _set_up_otherwise(same, row)


def _none_of_that_work(row: Mapping[str, Any], references: Sequence[Mapping[str, Any]]) -> str:
    """Why a run has no reference at all, by that run of its model that differs least in what it does."""
    ours = _work(row)
    apart = [
        (
            each["run_id"],
            [
                f"its {name}: {_or_none(theirs)}, not {_or_none(ours[name])}"
                for name, theirs in work.items()
                if theirs != ours[name]
            ],
        )
        for each in references
        if (work := _work(each))["model"] == ours["model"]
    ]
    if not apart:
        return "no run of the Python reference to hold it against"
    run_id, why = min(apart, key=lambda found: (len(found[1]), found))
    return f"run {run_id} of the Python reference does not count: {'; '.join(why)}"


def _or_none(value: Any) -> str:
    return "none" if value is None else str(value)


def _too_few(reference: Mapping[str, Any]) -> list[str]:
    count = len(reference["launch_p95_ms"])
    return [] if count >= FEWEST_LAUNCHES else [f"{counted(count, 'launch')}, under {FEWEST_LAUNCHES}"]


def _chosen(cell: Any) -> Any:
    """A set-up as it is told; what nothing was chosen of is the default."""
    return "the default" if (value := plain(cell)) in (None, "{}") else value


def _disturbed(row: Mapping[str, Any]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Whether each launch was disturbed; one of which that is unknown was not."""
    count = len(row["launch_p95_ms"])
    flags = list(row["launch_disturbed"]) if np.iterable(row["launch_disturbed"]) else []
    return np.asarray([bool(flag) for flag in flags] if len(flags) == count else [False] * count)


def _key(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(_work(row).values())


def _work(row: Mapping[str, Any]) -> dict[str, Any]:
    """What a run does, by its names: a reference does the same."""
    return {name: str(row[name]) for name in _SAME_MODEL} | {
        "load": row_place(row),
        "number of cores": row["cores"],
        "CPU quota": container_cpus(row),
    }


def unknown_p95(row: Mapping[str, Any]) -> str:
    """Why it is not known of a run what each of its launches took; empty where it is."""
    listed = row["launch_p95_ms"]
    values = np.asarray(listed if np.iterable(listed) else [], dtype=np.float64)
    if row["purpose"] == "soak" or values.size == 0:
        return "no launch"
    if not (np.isfinite(values).all() and (values > 0).all()):
        return "a launch has none"
    if row["status"] != "complete":
        return f"the run is {row['status']}"
    if (over_ms := as_number(row["truncated_over_ms"])) is not None:
        return f"launches were stopped early over {over_ms:g} ms"
    if lacks_median("latency_p95_ms", row):
        return "latency_p95_ms is unknown, though that of each launch is not"
    return ""


def _log_p95s(row: Mapping[str, Any]) -> _Values | None:
    """The logarithm of each launch's P95; None where one is not known to be what it took."""
    return None if unknown_p95(row) else np.log(np.asarray(row["launch_p95_ms"], dtype=np.float64))
