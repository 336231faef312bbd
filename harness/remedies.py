"""What settles what is open: the commands to type, and what to say where launches settle nothing. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.gates import (
    ASKED_OF_OWN_DATA,
    OWN_COUNTS,
    OWN_DATA,
    as_number,
    gate_place,
    has_no_figure,
    place_words,
    run_for,
    unpaced,
)
from harness.open_loop import launches_alone
from harness.overhead import FEWEST_LAUNCHES, REFERENCE, unknown_p95
from harness.rerun import again, command_for, elsewhere, typed_words
from harness.schema import SERVING_METRICS, SOAK_METRICS
from harness.stats import launches_to_settle
from harness.verdict import is_target

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.evidence import Row
    from harness.gates import GateResult
    from harness.schema import GateConfig

# What a soak run takes where it is not said.
_SOAK_S = 300.0
# What stands for the place of the user's own data where it is not known.
_PLACEHOLDER = {"quality.retrieval": "DIR"} | dict.fromkeys(("quality.sts", "quality.texts"), "FILE")

# More data than so many times what there is are no advice.
_MOST_TIMES = 100


def missing_commands(
    results: Sequence[GateResult], current: list[Row], base: Row, unknown: Sequence[Row]
) -> tuple[str, ...]:
    """Commands that would measure what is open, must and should gates only; one for each run.

    What must gates ask comes first, then what every candidate is asked, then the rest. Where several gates
    read one run, the first that is open says how many launches it takes. What a run that was measured does
    not know, only another one can, which then needs none of these launches.

    Args:
        results: the gates' answers.
        current: the candidate's runs.
        base: whose words a command has where no run is read.
        unknown: runs of which something is unknown that every candidate is asked; an interrupted one goes on.
    """
    if base["weights"] == "random":
        return ()
    commands: dict[tuple[Any, ...], tuple[str, str]] = {}
    anew = {str(row["run_id"]): again(row, **_anew(row)) for row in unknown if row["status"] != "unavailable"}
    for result in sorted(results, key=lambda result: result.gate.tier != "must"):
        gate = result.gate
        if gate.tier == "nice" or result.status not in ("NOT_MEASURED", "UNDECIDED"):
            continue
        row = run_for(gate, current)
        if (row or base)["status"] == "unavailable" or means_nothing(gate, base):
            continue
        if result.status == "UNDECIDED" and result.n is None:
            continue  # no launch narrows it: `ways_out`
        if result.load_open and row is not None:
            place = unpaced(gate_place(gate))
            if (total := launches_alone(row)) is not None:  # more than can be served no command mends
                words = {**place_words(place), "measure.launches": total}
                command_of = elsewhere if row["alone"] is None else command_for
                commands.setdefault((place,), (gate.tier, command_of(row["alone"] or row, **words)))
            continue
        if row is None and "+" in gate.at.workload:
            continue  # changed under its name: only who typed it knows how
        if row is not None and has_no_figure(gate.metric, row):
            continue  # measured anew it would have none either
        if row is not None and gate.metric == "latency_overhead" and row.get("overhead_apart"):
            if row["runtime"] != "fake":  # a script's artifact is always another one
                commands.setdefault((gate_place(gate),), (gate.tier, command_for(row)))
            continue
        what = _what_is_added(result, row, [row or base, *current])
        if row is not None and str(row["run_id"]) in anew and not what:
            continue
        launches: dict[str, Any] = {}
        goes_on = "measure.force" not in what
        if goes_on and result.n is not None and result.over is not None and gate.launch_quantile is not None:
            more = launches_to_settle(result.over, result.n, launch_quantile=gate.launch_quantile)
            launches = {} if more is None else {"measure.launches": result.n + more}
        at = place_words(gate_place(gate)) if row is None else {}
        command_of = elsewhere if row is None or "runtime" in what else command_for
        key = (gate_place(gate), *what.items())
        commands.setdefault(key, (gate.tier, command_of(row or base, **at, **what, **launches)))
    first = [command for tier, command in commands.values() if tier == "must"]
    rest = [command for tier, command in commands.values() if tier != "must"]
    return tuple(dict.fromkeys((*first, *anew.values(), *rest)))


def _anew(row: Row) -> dict[str, str]:
    """What measures a run anew; one that was interrupted goes on."""
    return {} if row["status"] == "interrupted" else {"measure.force": "true"}


def _what_is_added(result: GateResult, row: Row | None, rows: Sequence[Row]) -> dict[str, Any]:
    """What a run needs beside its place and its launches, so that it answers a gate.

    Data of the user's own that one of the candidate's `rows` was measured on are asked again. Launches of a
    run that failed are not gone on with. The reference is measured where the run itself leaves nothing open.
    """
    metric = result.gate.metric
    if metric == "latency_overhead" and row is not None and unknown_p95(row):
        return _anew(row)
    if metric == "latency_overhead" and row is not None:
        few = int(row["launches"]) < FEWEST_LAUNCHES  # its command may say so many
        anew = {"measure.force": "true"} if row.get("overhead_refused") else {}
        return {"runtime": REFERENCE} | anew | ({"measure.launches": FEWEST_LAUNCHES} if few else {})
    words: dict[str, Any] = {"measure": "soak"} if metric in SOAK_METRICS else {}
    asked = row is not None  # and it is unknown all the same
    if metric in OWN_DATA:
        words = _own_data(metric, rows)
        asked = row is not None and OWN_DATA[metric] in typed_words(row)
    stopped = row is not None and as_number(row["truncated_over_ms"]) is not None
    failed = row is not None and row["status"] in ("failed", "timeout")
    if asked and (failed or (result.n is None and not stopped)):
        words |= {"measure.force": "true"}
    return words


def _own_data(metric: str, rows: Sequence[Row]) -> dict[str, Any]:
    """The word that measures a figure on the user's own data: on those of the first row that has some."""
    key = OWN_DATA[metric]
    known = (data for row in rows if (data := typed_words(row).get(key)))
    return {key: next(known, _PLACEHOLDER[key])}


def on_the_data_of(metric: str, row: Row) -> dict[str, Any]:
    """The words that measure a figure anew on the data that a run's is of: its own, or the shipped pairs."""
    return {**(_own_data(metric, [row]) if metric in OWN_DATA else {}), "measure.force": "true"}


def means_nothing(gate: GateConfig, row: Row) -> bool:
    """Whether no command can answer a gate: the quality of random weights, the reference's own overhead."""
    if gate.metric == "latency_overhead":
        return bool(row["runtime"] == REFERENCE)
    return gate.metric not in SERVING_METRICS and row["weights"] != "trained"


def ways_out(results: Sequence[GateResult], current: list[Row], base: Row) -> tuple[str, ...]:
    """What to do about gates that no further launch settles, each with its command: must and should gates.

    What decides the verdict comes first.

    Args:
        results: the gates' answers.
        current: the candidate's runs.
        base: whose words a command has.
    """
    if base["status"] == "unavailable":
        return ()
    deciding = [r for r in results if r.gate.tier == "must" or is_target(r.gate)]
    if base["runtime"] == REFERENCE and any(r.gate.metric == "latency_overhead" for r in deciding):
        return (
            "the Python reference is what this policy holds other providers against, and no other was "
            "measured; by itself it is judged with policy=default",
        )
    if base["weights"] == "random":
        trained = elsewhere(base, **{"model.weights": "trained", "model.path": "DIR"})
        return (f"random weights have no quality; where the trained ones are in a folder: `{trained}`",)
    others = [r for r in results if r.gate.tier == "should" and not is_target(r.gate)]
    open_ones = [(r, row) for r in (*deciding, *others) if (row := run_for(r.gate, current)) is not None]
    told = (
        f"{r.gate.metric} is undecided: {_what_narrows(r, row, current)}"
        for r, row in open_ones
        if r.status == "UNDECIDED" and r.n is None
    )
    return tuple(dict.fromkeys(told))


def _what_narrows(result: GateResult, row: Row, current: Sequence[Row]) -> str:
    """What makes the interval of a metric without one value a launch narrower, with its command."""
    metric = result.gate.metric
    if metric in SOAK_METRICS:
        longer_s = 2 * (as_number(row["soak_s"]) or _SOAK_S)
        words: dict[str, Any] = {"measure": "soak", "measure.duration_s": f"{longer_s:.0f}"}
        return f"a longer soak narrows it: `{elsewhere(row, **words)}`"
    if metric == "latency_overhead":
        more = {"measure.launches": 2 * int(row["launches"])}
        both = command_for(row, **more), elsewhere(row, runtime=REFERENCE, **more)
        return f"more launches of it and of the reference narrow it: `{both[0]}` and `{both[1]}`"
    if metric in OWN_DATA:
        return (
            f"more of your own data narrows it{_how_much(result, row)}, as a run of its own, latency too: "
            f"`{elsewhere(row, **_own_data(metric, ()))}`"
        )
    asked = ASKED_OF_OWN_DATA[metric]
    return (
        f"it is asked of the shipped texts alone, and no launch narrows it; a gate on {asked} asks your own: "
        f"`{elsewhere(row, **_own_data(asked, [row, *current]))}`"
    )


def _how_much(result: GateResult, row: Row) -> str:
    """How much data of the user's own would probably settle a gate, in words; empty where nothing tells.

    An interval narrows with the square root of how much there is, if the rest goes as this.
    """
    count, value, bound = as_number(row[OWN_COUNTS[result.gate.metric]]), result.value, result.gate.bound
    if count is None or value is None or value == bound:
        return ""
    end = result.low if value > bound else result.high
    if end is None:
        return ""
    needed = float(f"{count * ((value - end) / (value - bound)) ** 2:.2g}")
    if not count < needed <= _MOST_TIMES * count:
        return ""  # so near the bound that nothing of the kind can be told
    return f" (about {needed:,.0f} instead of {count:,.0f}, if they go as these)"
