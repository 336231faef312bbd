"""What confirmation says of a candidate: the latency gate under production's load. Pure.

A closed loop of one caller on short texts is the flattering corner; here the must latency gates are asked
of realistic lengths, of concurrent callers and of paced arrivals.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from harness.gates import GateResult, as_number, ask, left_open, row_place, run_for, stopped_cells
from harness.units import bound_text, exact_number, number_text, requests_per_s
from harness.workload import Place

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.gates import GateStatus
    from harness.schema import GateConfig, PolicyConfig

RowT = TypeVar("RowT", bound="Mapping[str, Any]")

# What has to be measured before anything is called confirmed.
WORKLOAD = "mixture"
CLIENTS = (1, 2, 4)
# What is confirmed was to span at least this, in s: the default of measure.min_span_s, which may be less. A
# machine has states that outlast a burst of launches.
SPAN_S = 90.0
# Lengths in tokens and rates in requests/s that the limits are searched among.
LENGTHS = (8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 1024, 2048)
RATES = (1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100, 150, 200, 300, 500, 700, 1000, 2000, 5000)


@dataclass(frozen=True)
class Limit:
    """Where the budget ends, among the levels measured; None where there is no such level.

    `holds` is the highest that passes, below all that fail; `fails` the lowest that fails; `undecided` the
    lowest between them that its launches did not settle. Each is a gate's own answer, at 95 %.
    `seen_within_s` is how long a time the launches of `holds` stand for, where that is under `SPAN_S`: what
    is searched for is measured in a burst. `rests_on_noise`: the answer at `holds` or `fails` would be open
    without the launches that were disturbed; where it would be the opposite, the level is undecided.
    """

    holds: float | None = None
    undecided: float | None = None
    fails: float | None = None
    seen_within_s: float | None = None
    rests_on_noise: bool = False


@dataclass(frozen=True)
class Confirmation:
    """The must latency gates where production's load was measured, and how far the budget reaches.

    `lacking` says what keeps it from being complete; `failing` where the budget does not hold; `cores` how
    many were used.
    """

    results: tuple[tuple[Place, GateResult], ...]
    lacking: tuple[str, ...]
    failing: tuple[str, ...]
    longest_tokens: Limit
    highest_qps: Limit
    cores: int = 0

    @property
    def complete(self) -> bool:
        """Whether every part of it was measured and settled."""
        return not self.lacking

    @property
    def limits(self) -> tuple[str, ...]:
        """How far the budget reaches, in words."""
        found = []
        for limit, what, shown, every in (
            (self.longest_tokens, "texts of up to", "{:g} tokens, one caller".format, "any length"),
            (self.highest_qps, f"{WORKLOAD} texts arriving at random, up to", requests_per_s, "any rate"),
        ):
            told = [] if limit.undecided is None else [f"{exact_number(limit.undecided)} is undecided"]
            told += [] if limit.fails is None else [f"{exact_number(limit.fails)} is too much"]
            resting = ["resting on disturbed launches"] if limit.rests_on_noise else []
            if limit.holds is not None:
                seen_s = limit.seen_within_s
                beyond = f" ({', '.join(told)})" if told else ""
                within = f"{math.floor(seen_s)} s" if seen_s else "an unknown time"
                weak = ([] if seen_s is None else [f"seen within {within}"]) + resting
                beyond += f"; provisional: {', '.join(weak)}" if weak else ""
                found.append(f"within the budget: {what} {shown(limit.holds)}{beyond}")
            elif told:
                found.append(
                    f"not shown to be within the budget at {every} measured ({', '.join(told + resting)})"
                )
        return tuple(found)


def confirmation_of(rows: Sequence[Mapping[str, Any]], policy: PolicyConfig) -> Confirmation:
    """What the runs of one candidate confirm, by the newest confirmation there is.

    Args:
        rows: its runs of one evidence, the newest first, as `harness.open_loop.with_alone` gives them.
        policy: whose must latency gates are asked, each at the batch size that it reads.
    """
    gates = [gate for gate in policy.gates if gate.tier == "must" and gate.metric == "latency_p95_ms"]
    batch_sizes = {gate.at.batch_size for gate in gates}
    load = newest_under_load(rows)
    results = tuple(
        (row_place(row), ask(gate, row))
        for row in load
        for gate in gates
        if gate.at.batch_size == row["batch_size"]
    )
    measured = {row_place(row) for row in load}
    lacking = []
    for batch_size in sorted(batch_sizes):
        lacking += [
            f"{WORKLOAD} texts with {clients} concurrent callers were not measured"
            for clients in CLIENTS
            if Place(WORKLOAD, batch_size, clients) not in measured
        ]
        here = [place for place in measured if (place.workload, place.batch_size) == (WORKLOAD, batch_size)]
        if all(place.offered_qps is None for place in here):
            lacking.append("no rate of arrivals was declared: measure.rate=N in requests/s, as in production")
    if any(row["runtime"] == "fake" for row in load):
        lacking.append("the figures are a script's, not this machine's")
    for row in [*load, *(row for gate in gates if (row := run_for(gate, rows)) is not None)]:
        if (asked_s := as_number(row["min_span_s"]) or 0.0) < SPAN_S:
            lacking.append(
                f"the launches at {row_place(row)} were to span {asked_s:g} s; give measure.min_span_s="
                f"{SPAN_S:g} or more"
            )
    for row in load:
        span_s, wanted_s = as_number(row["evidence_span_s"]), as_number(row["min_span_s"]) or 0.0
        if row["status"] == "interrupted":
            lacking.append(f"the run at {row_place(row)} was interrupted")
        elif (span_s or 0.0) < wanted_s and row["status"] == "complete":
            span = "an unknown time, needed are" if span_s is None else f"{span_s:.0f} s, under"
            lacking.append(f"the launches at {row_place(row)} span {span} {wanted_s:.0f} s")
    lacking += [
        f"{result.gate.label} at {place} is undecided: {result.reason}"
        for place, result in results
        if result.status not in ("PASS", "FAIL")
    ]
    lacking += [
        f"{result.gate.label} at {place} rests on launches that were disturbed; measure on a quiet machine"
        for place, result in results
        if result.rests_on_noise
    ]
    runs = {place: here for place, here in _runs_by_place(rows).items() if place.batch_size in batch_sizes}
    return Confirmation(
        results=results,
        lacking=tuple(dict.fromkeys(lacking)),
        failing=tuple(_over(place, r) for place, r in results if r.status == "FAIL"),
        longest_tokens=_limit(
            gates, [(n, runs[place]) for place in runs if (n := _tokens(place)) is not None]
        ),
        highest_qps=_limit(gates, [(n, runs[place]) for place in runs if (n := _qps(place)) is not None]),
        cores=max((int(row["cores"]) for row in load), default=0),
    )


def unconfirmable(policy: PolicyConfig) -> str:
    """Why no ``measure=confirm`` confirms a pick by a policy; empty where one does."""
    gates = [gate for gate in policy.gates if gate.tier == "must" and gate.metric == "latency_p95_ms"]
    sizes = sorted({gate.at.batch_size for gate in gates})
    if not sizes:
        return f"policy={policy.name}: no must gate on latency_p95_ms to confirm"
    if len(sizes) > 1:
        read = ", ".join(map(str, sizes))
        return f"policy={policy.name}: its must latency gates read batches of {read}; confirm takes one"
    return ""


def newest_confirmation(rows: Sequence[RowT]) -> list[RowT]:
    """The runs under production's load that the newest ``measure=confirm`` asked for, in order of place.

    A run stays one of these when a later command measures more of it for another reason.
    """
    asked = [row for row in rows if row["purpose"] == "confirm" or (_when(row) and row["purpose"] != "soak")]
    newest = max(map(_when, asked), default="")
    return sorted((row for row in asked if _when(row) == newest), key=row_place)


def withdrawn(rows: Sequence[Mapping[str, Any]], policy: PolicyConfig) -> tuple[str, ...]:
    """Where an earlier confirmation found the budget not to hold and the newest does not ask, in words.

    Args:
        rows: a candidate's runs of one evidence, the newest first.
        policy: whose must latency gates are asked, each at the batch size that it reads.
    """
    kept = {row_place(row) for row in newest_confirmation(rows)}
    left = [row for row in rows if row["purpose"] == "confirm" and row_place(row) not in kept]
    newest = {row_place(row): row for row in reversed(left)}
    return tuple(
        _over(place, result)
        for place, row in sorted(newest.items())
        for gate in policy.gates
        if gate.tier == "must" and gate.metric == "latency_p95_ms" and gate.at.batch_size == place.batch_size
        if (result := ask(gate, row)).status == "FAIL"
    )


def newest_under_load(rows: Sequence[RowT]) -> list[RowT]:
    """The newest run at each place that the newest ``measure=confirm`` asked for, in order of place.

    What is measured anew there, for whatever reason, answers for that place.

    Args:
        rows: a candidate's runs of one evidence, the newest first.
    """
    runs = _runs_by_place(rows)
    return [runs[place][0] for place in dict.fromkeys(map(row_place, newest_confirmation(rows)))]


def _runs_by_place(rows: Sequence[RowT]) -> dict[Place, list[RowT]]:
    """The runs at each place in their order, soak runs apart."""
    found: dict[Place, list[RowT]] = {}
    for row in rows:
        if row["purpose"] != "soak":
            found.setdefault(row_place(row), []).append(row)
    return found


def _when(row: Mapping[str, Any]) -> str:
    value = row["confirmation_at"]
    return value.isoformat() if hasattr(value, "isoformat") and str(value) != "NaT" else ""


def _over(place: Place, result: GateResult) -> str:
    value, beside = f" ({result.reason})", (result.gate.bound,)
    if result.value is not None:
        shown = number_text(result.value, 3, beside=beside)
        value = f" is {stopped_cells(result.floor_ms, shown, '', beside=beside)[0]}"
    return f"{result.gate.label} at {place}{value}, needed {result.gate.op} {bound_text(result.gate.bound)}"


def _limit(gates: Sequence[GateConfig], levels: Sequence[tuple[float, Sequence[Mapping[str, Any]]]]) -> Limit:
    """Where the budget ends, given the runs at each level, the newest first."""
    answers = [(level, *_answer(gates, runs)) for level, runs in levels]

    def are(status: GateStatus) -> list[float]:
        return [level for level, found, _ in answers if found == status]

    fails = min(are("FAIL"), default=None)
    holds = max((level for level in are("PASS") if fails is None or level < fails), default=None)
    between = [
        level for level in are("UNDECIDED") if (holds or 0) < level and (fails is None or level < fails)
    ]
    seen_s = min(
        (as_number(runs[0]["evidence_span_s"]) or 0.0 for n, runs in levels if n == holds), default=SPAN_S
    )
    return Limit(
        holds,
        min(between, default=None),
        fails,
        seen_s if seen_s < SPAN_S else None,
        any(noisy for level, _, noisy in answers if level in (holds, fails)),
    )


def _answer(gates: Sequence[GateConfig], runs: Sequence[Mapping[str, Any]]) -> tuple[GateStatus, bool]:
    """Whether the budget holds at a level, and whether that would be open without disturbed launches.

    The newest run answers. It does not hold where a launch failed, and is open where the quiet launches alone
    say the opposite, or where it holds and another run of the level fails, or the launches of both together
    leave it open: nobody measures until it holds.
    """
    run, *others = runs
    status, asked = _asked(gates, run)
    opposite = {"PASS": "FAIL", "FAIL": "PASS"}.get(status)
    denied = any(result.undisturbed == opposite for result in asked) if opposite else False
    if status == "PASS":
        denied |= any(_asked(gates, other)[0] == "FAIL" for other in others)
        denied |= any(left_open(result.gate, run, others) for result in asked)
    if denied:
        return "UNDECIDED", False
    return status, any(result.rests_on_noise for result in asked)


def _asked(gates: Sequence[GateConfig], run: Mapping[str, Any]) -> tuple[GateStatus, list[GateResult]]:
    """The answer of one run, with that of each gate that reads its batch size."""
    asked = [ask(gate, run) for gate in gates if gate.at.batch_size == run["batch_size"]]
    statuses = {result.status for result in asked}
    if "FAIL" in statuses or as_number(run["launches_failed"]):
        return "FAIL", asked
    return ("PASS" if statuses == {"PASS"} else "UNDECIDED"), asked


def _tokens(place: Place) -> float | None:
    """The length measured at a place, where it is one text of a fixed length and one caller."""
    length = place.workload.removeprefix("tokens_")
    plain = (place.clients, place.arrival) == (1, "back_to_back")
    fixed = length != place.workload and length.isdigit()
    return float(length) if plain and fixed else None


def _qps(place: Place) -> float | None:
    """The rate measured at a place, where it is paced arrivals of confirmation's workload, one caller."""
    paced = (place.workload, place.clients, place.arrival) == (WORKLOAD, 1, "poisson")
    return place.offered_qps if paced else None
