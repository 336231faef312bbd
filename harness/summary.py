"""From the launches of a run to the run's figures: pure functions of stored facts."""

from __future__ import annotations

import math
import mmap
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from harness import stats
from harness.measure.disturbance import told
from harness.units import ns_to_ms

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# Under this many requests a P99 is read off fewer than ten of them, and is left unknown.
P99_MIN_REQUESTS = 1_000


# A gap between launches counts with at most this share of the span that is wanted, so that two bursts far
# apart are not taken for evidence from all the time between.
_MOST_OF_A_SPAN = 0.2
# A run whose first launches all failed is not asked for more.
_HOPELESS_AFTER = 3


def summarise_launch(answer: Mapping[str, Any], *, batch_size: int) -> dict[str, Any]:
    """The columns of a launch that its samples give; null where a launch failed before its first one."""
    total = np.asarray(answer.get("total_ns") or [], dtype=np.int64)
    if blocks := answer.get("block_requests"):
        requests, p50_ms, p95_ms = sum(blocks), *(np.median(answer[f"block_p{n}_ms"]) for n in (50, 95))
    elif total.size == 0:
        return {"requests": 0, "p50_ms": None, "p95_ms": None, "throughput_texts_per_s": None}
    else:
        requests = total.size
        p50_ms, p95_ms = (ns_to_ms(stats.nearest_rank(total, share)) for share in (0.5, 0.95))
    serving_s = answer["serving_s"]
    return {
        "requests": int(requests),
        "p50_ms": float(p50_ms),
        "p95_ms": float(p95_ms),
        "throughput_texts_per_s": batch_size * requests / serving_s if serving_s else None,
    }


def launch_values(metric: str, launches: Sequence[Mapping[str, Any]]) -> list[float]:
    """One value a launch of ``latency_p95_ms`` or ``throughput_texts_per_s``.

    A failed launch counts with +inf ms and 0 texts/s, whatever it served before: a run does not get
    faster by failing.
    """
    column, failed = _LAUNCH_VALUES[metric]
    return [float(row[column]) if row["status"] == "complete" else failed for row in launches]


_LAUNCH_VALUES = {
    "latency_p95_ms": ("p95_ms", math.inf),
    "throughput_texts_per_s": ("throughput_texts_per_s", 0.0),
}


def is_hopeless(failed: Sequence[bool]) -> bool:
    """Whether all launches failed, given of each whether it did, and they are enough to give a run up."""
    return len(failed) >= _HOPELESS_AFTER and all(failed)


def evidence_span_s(launches: Sequence[Mapping[str, Any]], wanted_s: float) -> float | None:
    """How long a time the launches stand for, in s; None without a launch.

    The gaps between their starts, none counted with more than a fifth of `wanted_s`.
    """
    if not launches:
        return None
    starts = sorted(row["started_at"] for row in launches)
    gaps_s = [(later - earlier).total_seconds() for earlier, later in pairwise(starts)]
    return float(sum(min(gap_s, _MOST_OF_A_SPAN * wanted_s) for gap_s in gaps_s)) if wanted_s else sum(gaps_s)


def summarise_run(launches: Sequence[Mapping[str, Any]], *, min_span_s: float) -> dict[str, Any]:
    """The latency and resource columns of a run, from its launches' rows (see `launch_values`)."""
    served = [row for row in launches if row["status"] == "complete"]
    failed = len(launches) - len(served)
    p95 = launch_values("latency_p95_ms", launches)
    rates = launch_values("throughput_texts_per_s", launches)
    cut_short = [ms for row in served if (ms := row.get("truncated_over_ms")) is not None]
    p95_interval = stats.launch_interval(p95, stopped_over=min(cut_short, default=math.inf))
    rate_interval = stats.launch_interval([-rate for rate in rates])
    pooled = [np.asarray(row["total_ns"], dtype=np.int64) for row in served]
    requests = sum(int(row["requests"]) for row in served)
    flags = [row.get("disturbed") for row in launches]
    known = [flag for flag in flags if flag is not None]
    p50_ms = _median(row["p50_ms"] for row in served)
    overhead_ns = _median(ns for row in served if (ns := row.get("loop_overhead_ns")) is not None)
    return {
        "launches": len(launches),
        "launches_failed": failed,
        "requests": requests,
        "evidence_span_s": evidence_span_s(launches, min_span_s),
        "latency_p50_ms": p50_ms,
        "latency_p95_ms": _median(p95),
        "latency_p95_low_ms": p95_interval.low,
        "latency_p95_high_ms": p95_interval.high,
        "latency_p99_ms": (
            ns_to_ms(stats.nearest_rank(np.concatenate(pooled), 0.99))
            if sum(samples.size for samples in pooled) >= P99_MIN_REQUESTS and not cut_short
            else None
        ),
        "launch_p95_ms": p95,
        "truncated_over_ms": min(cut_short, default=None),
        "throughput_texts_per_s": _median(rates),
        "throughput_texts_per_s_low": None if rate_interval.high is None else -rate_interval.high,
        "throughput_texts_per_s_high": None if rate_interval.low is None else -rate_interval.low,
        "launch_throughput_texts_per_s": rates,
        "launch_disturbed": flags,
        "noise": sum(known) / len(known) if known else None,
        "disturbance": told(launches),
        "new_shape_max_ms": _median(ns_to_ms(max(ns)) for row in served if (ns := row.get("new_shape_ns"))),
        "timer_resolution_ns": max(
            (int(ns) for row in served if (ns := row.get("timer_resolution_ns"))), default=None
        ),
        "loop_overhead_share": (
            ns_to_ms(overhead_ns) / p50_ms if p50_ms and overhead_ns is not None else None
        ),
        "cold_start_s": _median(row["cold_start_s"] for row in served),
        "session_load_s": _median(row["session_load_s"] for row in served),
        "first_request_ms": _median(row["first_request_ms"] for row in served),
        "tokenize_p50_ms": _median(_p50_ms(row["tokenize_ns"]) for row in served if row["tokenize_ns"]),
        "infer_p50_ms": _median(_p50_ms(row["infer_ns"]) for row in served if row["infer_ns"]),
        "pool_p50_ms": None,
        "peak_rss_bytes": max((int(row["peak_rss_bytes"]) for row in served), default=None),
        **_soak_columns(served),
    }


def _soak_columns(served: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What a soak run's launch says about growth and drift; the last one, where there are several.

    The first third of its blocks is settling in, fixed in advance, and left out: growth counts from its end.
    """
    row = next((row for row in reversed(served) if row.get("block_requests")), None)
    if row is None:
        return {}
    third = len(row["block_requests"]) // 3
    rss, handles = row["block_rss_bytes"][third - 1 :], row["block_handles"][third - 1 :]
    requests = row["block_requests"][third:]
    growth = stats.mean_step_interval(rss, requests)
    page = mmap.PAGESIZE / sum(requests)  # growth of less than a page does not show
    middle, last = row["block_p50_ms"][third : 2 * third], row["block_p50_ms"][2 * third :]
    logs = [[math.log(ms) for ms in part] for part in (middle, last)]
    drift = stats.shift_interval(*logs)
    return {
        "soak_s": row["serving_s"],
        "rss_slope_bytes_per_request": float(np.mean(np.diff(rss) / requests)),
        "rss_slope_bytes_per_request_low": None if growth.low is None else growth.low - page,
        "rss_slope_bytes_per_request_high": None if growth.high is None else growth.high + page,
        "handles_gained": handles[-1] - handles[0],
        "latency_drift": math.exp(stats.shift_centre(*logs)),
        "latency_drift_low": None if drift.low is None else math.exp(drift.low),
        "latency_drift_high": None if drift.high is None else math.exp(drift.high),
    }


def _p50_ms(samples: Any) -> float:
    return ns_to_ms(stats.nearest_rank(samples, 0.5))


def _median(values: Any) -> float | None:
    """The median, or None where there is no value or it is not finite."""
    found = list(values)
    if not found:
        return None
    with np.errstate(invalid="ignore"):
        middle = float(np.median(found))
    return middle if math.isfinite(middle) else None
