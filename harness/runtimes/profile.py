"""ONNX Runtime's own profile of a few requests: on which execution provider the nodes' time went."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_KERNEL = "_kernel_time"
_RUN = "model_run"
_STATS = "thread_scheduling_stats"


class Profile(NamedTuple):
    """What nodes took, as the host saw it.

    `node_us` has microseconds by execution provider, one entry for each that ran a node. On a provider that
    works asynchronously (CUDA and other GPUs) a node's time is what the host spent on it, not the device.
    `threads` are those that share a node's work (ONNX Runtime's intra-op pool), the caller's included; None
    where the profile does not tell.
    """

    node_us: dict[str, float]
    threads: int | None

    def time_share(self, provider: str) -> float | None:
        """The share of the nodes' time on `provider`; None where no time was seen."""
        total = sum(self.node_us.values())
        return self.node_us.get(provider, 0.0) / total if total else None


def read_profile(events: Sequence[Mapping[str, Any]], *, skip_runs: int) -> Profile | None:
    """The profile of all runs but the first `skip_runs`, which warmed up.

    Args:
        events: of ONNX Runtime's profile (Chrome's trace format): ``cat`` Node with ``dur`` in µs and
            ``args.provider``, and ``cat`` Session, of which ``model_run`` spans a request.
        skip_runs: requests that are left out.

    Returns:
        None where fewer than `skip_runs` + 1 requests were profiled, or none of their nodes.
    """
    starts = sorted(event["ts"] for event in events if event.get("name") == _RUN)
    if len(starts) <= skip_runs:
        return None
    kernels = [
        event
        for event in events
        if event.get("cat") == "Node"
        and event["ts"] >= starts[skip_runs]
        and str(event.get("name", "")).endswith(_KERNEL)
        and "provider" in event.get("args", {})
    ]
    if not kernels:
        return None
    node_us: dict[str, float] = {}
    for event in kernels:
        provider = event["args"]["provider"]
        node_us[provider] = node_us.get(provider, 0.0) + event["dur"]
    pools = [event["args"][_STATS] for event in kernels if _STATS in event["args"]]
    return Profile(node_us, _threads(pools[-1]) if pools else None)


def _threads(stats: Mapping[str, Any] | str) -> int:
    """The calling thread and those of the pool; ONNX Runtime makes no pool for one thread and writes ''."""
    return 1 + len(stats["sub_threads"]) if isinstance(stats, dict) else 1
