"""What limits how far a verdict can be trusted: noise, random weights, machines left out. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.gates import as_number, text_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import pandas as pd

# A loop that adds more than this share to the median makes figures rough.
OVERHEAD_SHARE_MAX = 0.01
# What helps against what disturbed launches.
_REMEDIES = {
    "other processes": "stop what else is running",
    "stolen time": "the hypervisor gives time to others: measure at another hour, or on another machine",
    "low capacity": "neighbours or a clock held down: measure at another hour, or on another machine",
    "heat": "let the machine cool",
}


def is_brief(row: Mapping[str, Any]) -> bool:
    """Whether a run's launches stand for too short a time: its latency is provisional.

    A soak run is one launch by design, and a run without a launch has no latency.
    """
    span_s, wanted_s = (as_number(row[name]) or 0.0 for name in ("evidence_span_s", "min_span_s"))
    return bool(row["launches"]) and row["purpose"] != "soak" and span_s < wanted_s


def is_guess(row: Mapping[str, Any]) -> bool:
    """Whether the P95 lies over a bound that launches were stopped early at: by how much is not certain."""
    over_ms, p95_ms = as_number(row["truncated_over_ms"]), as_number(row["latency_p95_ms"])
    return over_ms is not None and p95_ms is not None and p95_ms > over_ms


def of_noise(row: Mapping[str, Any]) -> tuple[str, ...]:
    """How far noise limits what a run's latency says, and what to do about it."""
    told = []
    listed = row["launch_disturbed"]
    known = [flag for flag in listed if flag is not None] if hasattr(listed, "__len__") else []
    low, high = as_number(row["latency_p95_low_ms"]), as_number(row["latency_p95_high_ms"])
    if known:
        seen = ""
        if low and high:
            seen = f"; P95 is known to {low:.3g}-{high:.3g} ms, so a change under {high / low - 1:.0%} "
            seen += "cannot be seen"
        what = text_of(row["disturbance"], "")
        flagged = f"{sum(known) or 'none'} of {len(known)} launches disturbed{f' ({what})' if what else ''}"
        helps = [remedy for name, remedy in _REMEDIES.items() if name in what]
        told.append(f"noise: {flagged}{seen}{'; ' if helps else ''}{', '.join(helps)}")
    if (over_ms := as_number(row["truncated_over_ms"])) is not None:
        told.append(f"launches were stopped early over {over_ms:g} ms: by how much they are over is a guess")
    overhead = as_number(row["loop_overhead_share"])
    if overhead is not None and overhead > OVERHEAD_SHARE_MAX:
        told.append(f"the timed loop itself is {overhead:.1%} of the median: figures this small are rough")
    return tuple(told)


def of_twins(rows: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """Which candidates have random weights, and what their runs can and cannot say."""
    twins = sorted({str(row["candidate_label"]) for row in rows if row["weights"] != "trained"})
    if not twins:
        return ()
    return (
        f"random weights: {', '.join(twins)}: latency, memory and placement are the shape's own, quality is "
        "unknown, so none of them can be GO",
    )


def of_other_machines(runs: pd.DataFrame, machine_id: str) -> tuple[str, ...]:
    """How many runs of other machines than the one that was asked for stand beside it, unread."""
    others = runs.loc[runs["machine_id"] != machine_id, "machine_id"]
    if others.empty:
        return ()
    named = ", ".join(sorted(set(others)))
    return (f"this is about machine {machine_id} alone: {len(others)} run(s) of {named} are not read",)
