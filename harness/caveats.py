"""What limits how far a verdict can be trusted: noise, random weights, machines left out, names. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.compose import options_of
from harness.errors import unknown_name
from harness.gates import as_number, model_names, text_of
from harness.rerun import run_name
from harness.units import counted, listed, ns_to_ms, share_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import pandas as pd

    from harness.schema import PolicyConfig

# What helps where nothing was disturbed.
_NARROWS = "more launches narrow it (measure.launches=N)"
# A loop that adds more than this share to the median, or a clock whose step is more, makes figures rough.
OVERHEAD_SHARE_MAX = 0.01
# Which data a figure is of, by what a run records of them.
DATA_OF = {
    **dict.fromkeys(("separation", "similar_mean", "dissimilar_mean", "separation_auc"), "quality_dataset"),
    "sts_spearman": "sts_file_sha256",
    "ndcg_at_10": "retrieval_sha256",
    "texts_overlap": "texts_file_sha256",
}
# So much of a hash tells one data set from another.
_SHORT = 24
# What helps against what disturbed launches: what is behind it, where that is to be told, and what to do.
_ELSEWHERE = "measure at another hour, or on another machine"
_REMEDIES = {
    "other processes": ("", "stop what else is running"),
    "stolen time": ("the hypervisor gives time to others", _ELSEWHERE),
    "low capacity": ("neighbours or a clock held down", _ELSEWHERE),
    "heat": ("", "let the machine cool"),
}


def is_brief(row: Mapping[str, Any]) -> bool:
    """Whether a run's launches stand for too short a time: its latency is provisional.

    A soak run is one launch by design, and a run without a launch has no latency.
    """
    span_s, wanted_s = (as_number(row[name]) or 0.0 for name in ("evidence_span_s", "min_span_s"))
    return bool(row["launches"]) and row["purpose"] != "soak" and span_s < wanted_s


def of_noise(row: Mapping[str, Any]) -> tuple[str, ...]:
    """How far noise limits what a run's latency says, and what to do about it."""
    told = []
    flags = _flags(row)
    low, high = as_number(row["latency_p95_low_ms"]), as_number(row["latency_p95_high_ms"])
    if flags:
        seen, helps = "", _NARROWS
        if (span := _span(row)) is not None:
            known = f"P95 is known to {low:.3g}-{high:.3g} ms"
            seen = f"{known}, so a change under {share_text(span)} cannot be seen"
        elif as_number(row["truncated_over_ms"]) is not None:
            helps = ""  # no number of launches finds what none served
        elif as_number(row["launches_failed"]):
            seen, helps = "P95 has no interval where launches failed, so no change can be seen", ""
        elif row["purpose"] != "soak":
            seen = "launches are too few for an interval of P95, so no change can be seen"
        what = text_of(row["disturbance"], "")
        flagged = f"{sum(flags) or 'none'} of {len(flags)} launches disturbed{f' ({what})' if what else ''}"
        told.append("; ".join(filter(None, (f"noise: {flagged}", seen, _remedies(what) or helps))))
    if (over_ms := as_number(row["truncated_over_ms"])) is not None:
        told.append(f"launches were stopped early over {over_ms:g} ms: by how much they are over is a guess")
    for what, share in _rough(row).items():
        told.append(f"{what} is {share:.1%} of the median: figures this small are rough")
    return tuple(told)


def is_limited(row: Mapping[str, Any]) -> bool:
    """Whether launches of a run were disturbed, or the timed loop or the clock takes part in its median."""
    return any(_flags(row)) or bool(_rough(row))


def of_runs(rows: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """`of_noise` for a table of runs: how far noise or the loop's own time limits which of them."""
    rows = list(rows)
    limited = [row for row in rows if is_limited(row)]
    told = []
    if noisy := sorted((row for row in limited if any(_flags(row))), key=_quiet_share):
        what = " ".join(text_of(row["disturbance"], "") for row in noisy)
        counts = [f"{run_name(row)} ({sum(_flags(row))} of {len(_flags(row))})" for row in noisy]
        told.append(
            f"noise: launches were disturbed of {listed(counts)}; no change within a run's interval can be "
            f"seen, none at all where it has no interval; {_remedies(what) or 'measure on a quiet machine'}"
        )
    elif spans := [span for row in rows if _flags(row) and (span := _span(row)) is not None]:
        least, most = (share_text(span) for span in (min(spans), max(spans)))
        told.append(
            f"noise: no launch was disturbed; a change of P95 under {least}"
            f"{'' if least == most else f' to {most}, by run,'} cannot be seen; {_NARROWS}"
        )
    rough = [(run_name(row), what) for row in limited for what in _rough(row)]
    for what in dict.fromkeys(what for _, what in rough):
        names = listed([name for name, why in rough if why == what])
        told.append(
            f"{what} is over {OVERHEAD_SHARE_MAX:.0%} of the median of {names}: figures this small are rough"
        )
    return tuple(told)


def _span(row: Mapping[str, Any]) -> float | None:
    """How far the ends of P95's interval lie apart, as a share of the lower one; None without them."""
    low, high = as_number(row["latency_p95_low_ms"]), as_number(row["latency_p95_high_ms"])
    return high / low - 1 if low and high else None


def _flags(row: Mapping[str, Any]) -> list[bool]:
    """Whether each launch was disturbed, of those of which that is known."""
    listed = row["launch_disturbed"]
    return [bool(flag) for flag in listed if flag is not None] if hasattr(listed, "__len__") else []


def _quiet_share(row: Mapping[str, Any]) -> float:
    flags = _flags(row)
    return 1 - sum(flags) / len(flags)


def _rough(row: Mapping[str, Any]) -> dict[str, float]:
    """What makes figures rough, by its share of the median: the timed loop, or the clock's smallest step."""
    step_ns, median_ms = as_number(row["timer_resolution_ns"]), as_number(row["latency_p50_ms"])
    step_ms = ns_to_ms(step_ns or 0.0)
    known = step_ns and median_ms is not None
    shares = {
        "the timed loop itself": as_number(row["loop_overhead_share"]),
        # A median of no time at all is somewhere under one step.
        "the clock's smallest step": step_ms / (median_ms or step_ms) if known else None,
    }
    return {what: share for what, share in shares.items() if share is not None and share > OVERHEAD_SHARE_MAX}


def _remedies(what: str) -> str:
    """What helps against what disturbed, each remedy once, behind all that it helps against."""
    causes: dict[str, list[str]] = {}
    for name, (cause, remedy) in _REMEDIES.items():
        if name in what:
            causes.setdefault(remedy, []).extend(filter(None, (cause,)))
    return "; ".join(": ".join(filter(None, (", ".join(why), how))) for how, why in causes.items())


def of_scripts(rows: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """Which candidates are a script: whatever is decided, no provider was measured."""
    scripts = sorted({str(row["candidate_label"]) for row in rows if row["runtime"] == "fake"})
    if not scripts:
        return ()
    return (f"scripted: {', '.join(scripts)}: the figures are a script's, no provider was measured",)


def of_twins(rows: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """Which candidates have random weights, and what their runs can and cannot say."""
    twins = sorted({str(row["candidate_label"]) for row in rows if row["weights"] != "trained"})
    if not twins:
        return ()
    return (
        f"random weights: {', '.join(twins)}: latency, memory and placement are the shape's own, quality is "
        "unknown, so none of them can be GO",
    )


def data_of(metric: str, row: Mapping[str, Any]) -> str | None:
    """Which data a run's figure is of; None where it is of no data of its own, or not known."""
    known = metric in DATA_OF and as_number(row[metric]) is not None
    return text_of(row[DATA_OF[metric]], "unknown") if known else None


def of_data(figures: Iterable[tuple[str, Mapping[str, Any]]]) -> tuple[str, ...]:
    """Whose figures are of other data than whose: nothing can be told from one over the other.

    Args:
        figures: each metric with a run that it is read from.
    """
    metrics: dict[str, dict[str, None]] = {}
    found: dict[str, dict[str, dict[str, None]]] = {}
    for metric, row in figures:
        if (data := data_of(metric, row)) is not None:
            column = DATA_OF[metric]
            labels = found.setdefault(column, {}).setdefault(data, {})
            labels[str(row["candidate_label"])] = None
            metrics.setdefault(column, {})[metric] = None
    return tuple(
        f"not comparable, as of different data ({column}): {', '.join(metrics[column])}: "
        + "; ".join(f"{listed(list(labels))} on {data[:_SHORT]}" for data, labels in sorted(groups.items()))
        + "; no ranking by them counts: measure all on the same"
        for column, groups in found.items()
        if len(groups) > 1
    )


def of_cpus(rows: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """Which candidates were held to how many cores, or to what CPU quota, where that differs.

    Args:
        rows: one of each candidate, `container_cpus` among its cells.
    """
    groups: dict[str, list[str]] = {}
    for row in rows:
        quota = row["container_cpus"]
        within = "" if quota is None else f" within a quota of {quota:g} CPUs"
        held = f"{counted(int(row['cores']), 'core')}{within}"
        groups.setdefault(held, []).append(str(row["candidate_label"]))
    if len(groups) < 2:
        return ()
    told = "; ".join(f"{listed(labels)} on {held}" for held, labels in sorted(groups.items()))
    return (
        f"latencies are not comparable, as candidates were held to different CPUs: {told}; "
        "measure all alike (measure.cpus=N)",
    )


def of_names(policy: PolicyConfig, rows: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """Which models the policy names that are not known, and so never count, or that are several."""
    rows = list(rows)
    known = sorted({*options_of("model"), *(name for row in rows for name in model_names(row))})
    named = [("paths", model) for model in policy.paths]
    named += [] if policy.fallback is None else [("fallback.model", policy.fallback.model)]
    told = [
        f"policy.{key}: {unknown_name('model', model, known)}; nothing is measured of it"
        for key, model in named
        if model not in known
    ]
    for key, model in named:
        whole = sorted({names[1] for row in rows if model in (names := model_names(row))})
        if len(whole) > 1:
            told.append(f"policy.{key}: '{model}' is each of {listed(whole)}; give the one that is meant")
    return tuple(told)


def of_other_machines(runs: pd.DataFrame, machine_id: str) -> tuple[str, ...]:
    """How many runs of other machines than the one that was asked for stand beside it, unread."""
    others = runs.loc[runs["machine_id"] != machine_id, "machine_id"]
    if others.empty:
        return ()
    named = ", ".join(sorted(set(others)))
    return (f"this is about machine {machine_id} alone: {len(others)} run(s) of {named} are not read",)
