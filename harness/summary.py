"""From the launches of a run to the run's figures: pure functions of stored facts."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from harness import stats
from harness.units import NS_PER_S, ns_to_ms

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# Under this many requests a P99 is read off fewer than ten of them, and is left unknown.
P99_MIN_REQUESTS = 1_000


def summarise_launch(answer: Mapping[str, Any], *, batch_size: int) -> dict[str, Any]:
    """The columns of a launch that its samples give; null where a launch failed before its first one."""
    total = np.asarray(answer.get("total_ns") or [], dtype=np.int64)
    if total.size == 0:
        return {"requests": 0, "p50_ms": None, "p95_ms": None, "throughput_texts_per_s": None}
    spent_s = float(total.sum()) / NS_PER_S
    return {
        "requests": int(total.size),
        "p50_ms": ns_to_ms(stats.nearest_rank(total, 0.5)),
        "p95_ms": ns_to_ms(stats.nearest_rank(total, 0.95)),
        "throughput_texts_per_s": batch_size * total.size / spent_s if spent_s > 0 else None,
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


def summarise_run(launches: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The latency and resource columns of a run, from its launches' rows (see `launch_values`)."""
    served = [row for row in launches if row["status"] == "complete"]
    failed = len(launches) - len(served)
    p95 = launch_values("latency_p95_ms", launches)
    rates = launch_values("throughput_texts_per_s", launches)
    p95_interval = stats.launch_interval(p95)
    rate_interval = stats.launch_interval([-rate for rate in rates])
    pooled = [np.asarray(row["total_ns"], dtype=np.int64) for row in served]
    requests = int(sum(samples.size for samples in pooled))
    starts = sorted(row["started_at"] for row in launches)
    return {
        "launches": len(launches),
        "launches_failed": failed,
        "requests": requests,
        "evidence_span_s": (starts[-1] - starts[0]).total_seconds() if starts else None,
        "latency_p50_ms": _median(row["p50_ms"] for row in served),
        "latency_p95_ms": _median(p95),
        "latency_p95_low_ms": p95_interval.low,
        "latency_p95_high_ms": p95_interval.high,
        "latency_p99_ms": (
            ns_to_ms(stats.nearest_rank(np.concatenate(pooled), 0.99))
            if requests >= P99_MIN_REQUESTS
            else None
        ),
        "launch_p95_ms": p95,
        "throughput_texts_per_s": _median(rates),
        "throughput_texts_per_s_low": None if rate_interval.high is None else -rate_interval.high,
        "throughput_texts_per_s_high": None if rate_interval.low is None else -rate_interval.low,
        "launch_throughput_texts_per_s": rates,
        "cold_start_s": _median(row["cold_start_s"] for row in served),
        "session_load_s": _median(row["session_load_s"] for row in served),
        "first_request_ms": _median(row["first_request_ms"] for row in served),
        "tokenize_p50_ms": _median(_p50_ms(row["tokenize_ns"]) for row in served),
        "infer_p50_ms": _median(_p50_ms(row["infer_ns"]) for row in served),
        "pool_p50_ms": None,
        "peak_rss_bytes": max((int(row["peak_rss_bytes"]) for row in served), default=None),
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
