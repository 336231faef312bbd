"""Measure what confirmation asks for: production's load, and how far the budget reaches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.compose import conf_dir
from harness.config import yaml_of
from harness.confirmation import LENGTHS, RATES, WORKLOAD, confirmation_of, unconfirmable
from harness.errors import BadInputError, LengthError
from harness.gates import MOST_LOAD, gate_place, place_words, row_place
from harness.launch import run_worker
from harness.measure.disturbance import Observer
from harness.open_loop import with_alone
from harness.schema import Config, WorkloadConfig
from harness.sweep import Sweep, measure_in
from harness.units import exact_number
from harness.workload import Place

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from harness.progress import Progress
    from harness.schema import GateConfig
    from harness.store import Store


# Rates under this share of what one caller can be served are searched only where none over it holds: Poisson
# arrivals find the server as busy as it is on average (Wolff 1982, Operations Research 30:223-231), so that
# fewer than one request in 20 waits at all, and P95 is near that of one which does not.
_LEAST_LOAD = 0.05
# Launches of a probe beyond the fewest that can pass: a level so near the limit that they do not settle it
# is told as undecided.
_PROBE_SPARE_LAUNCHES = 7


def confirm(
    configs: Sequence[Config],
    store: Store,
    progress: Progress,
    *,
    worker: Callable[..., dict[str, Any]] = run_worker,
) -> list[dict[str, Any]]:
    """Confirm one candidate; returns the rows of all runs that say so.

    First, interleaved and spread over `min_span_s`: the runs that the policy's latency gates read, and
    realistic lengths with one caller, with `measure.clients` callers, and at `measure.rate`. Then the
    longest text and the highest Poisson rate that stay within the must latency gates, by bisection.

    Args:
        configs: one plan, whose candidate and policy count; what it confirms is the batch size that the
            policy's must latency gate reads.
        store: where rows go.
        progress: what is told meanwhile.
        worker: runs a task in a fresh process; tests script it.

    Raises:
        BadInputError: more than one plan, a workload or batch size that it would not read, or a policy
            whose must latency gates are none, or read several batch sizes.
        UnavailableError: not possible here.
        StorageError: a row could not be written.
    """
    if len(configs) > 1:
        raise BadInputError(f"measure=confirm confirms one candidate, the pick: {len(configs)} were given")
    (config,) = configs
    gates = [gate for gate in config.policy.gates if gate.metric == "latency_p95_ms" and gate.tier != "nice"]
    batch_size = _batch_size(config, gates)
    sweep = Sweep(store, progress, worker, Observer(config.measure.quiet_wait_s))
    asked = config.measure
    load = [Place(WORKLOAD, batch_size, clients) for clients in dict.fromkeys((1, *asked.clients))]
    load += [] if asked.rate is None else [Place(WORKLOAD, batch_size, 1, "poisson", asked.rate)]
    read = dict.fromkeys(gate_place(gate) for gate in gates)
    plans = [_at(config, place, "confirm") for place in load]
    plans += [_at(config, place, "latency") for place in read if place not in load]
    rows = measure_in(sweep, plans, strict=True)
    alone = next(row for row in rows if row_place(row) == load[0])

    def probe(place: Place) -> bool:
        row = next((row for row in rows if row_place(row) == place), None)
        if row is None:
            try:
                (row,) = measure_in(sweep, [_at(config, place, "search")], strict=True)
            except LengthError:  # no longer than the prompt, say: longer texts tell
                return True
            rows.append(row)
        found = confirmation_of(with_alone([row, alone]), config.policy)
        return found.longest_tokens.holds is not None or found.highest_qps.holds is not None

    lengths = [tokens for tokens in LENGTHS if tokens <= config.longest_tokens]
    _highest([Place(f"tokens_{tokens}", batch_size) for tokens in lengths], probe)
    # What one caller at full tilt is served, in requests/s; a queue holds the budget up to some of that.
    capacity_qps = (alone["throughput_texts_per_s"] or 0.0) / batch_size
    slowest_qps = asked.requests / asked.launch_timeout_s
    rates = [float(rate) for rate in RATES if slowest_qps <= rate <= MOST_LOAD * capacity_qps]
    levels = [Place(WORKLOAD, batch_size, 1, "poisson", rate) for rate in rates]
    idle = sum(rate < _LEAST_LOAD * capacity_qps for rate in rates)
    if not _highest(levels[idle:], probe):
        _highest(levels[:idle], probe)
    # Read anew: a probe may have shown that the machine can do more, so that launches before it are flagged.
    stored = [store.run_of(run_id) for run_id in dict.fromkeys(row["run_id"] for row in rows)]
    return [row for row in stored if row is not None]


def _batch_size(config: Config, gates: Sequence[GateConfig]) -> int:
    """The batch size of the must latency gates, which is what is confirmed."""
    if why := unconfirmable(config.policy):
        raise BadInputError(why)
    (size,) = {gate.at.batch_size for gate in gates if gate.tier == "must"}
    if config.batch_size not in (1, size):
        raise BadInputError(
            f"batch_size={config.batch_size}: policy {config.policy.name} reads batches of {size}, and "
            "measure=confirm confirms what it reads; leave batch_size out"
        )
    own = config.workload
    given = [f"workload={own.name}"] if own.name != "default" else []
    given += [f"workload.clients={own.clients}"] if own.clients != 1 else []
    given += (
        [] if own.rate is None else [f"workload.arrival={own.arrival} workload.rate={exact_number(own.rate)}"]
    )
    if given:
        raise BadInputError(
            f"{' '.join(given)}: measure=confirm has workloads of its own; leave that out, and say "
            "measure.clients=[2,4] and measure.rate=N as in production"
        )
    return size


def _highest(levels: Sequence[Place], probe: Callable[[Place], bool]) -> bool:
    """Probe levels, rising, until the highest that holds stands right below the lowest that does not.

    Returns:
        Whether any holds.
    """
    low, high = -1, len(levels)
    while high - low > 1:
        middle = (low + high) // 2
        if probe(levels[middle]):
            low = middle
        else:
            high = middle
    return low >= 0


def _at(config: Config, place: Place, purpose: str) -> Config:
    """The plan that measures the same candidate at another place."""
    words = place_words(place)
    raw = yaml_of(conf_dir() / "workload" / f"{words['workload']}.yaml")
    raw |= {"name": place.workload, "clients": place.clients, "arrival": place.arrival}
    raw |= {"rate": place.offered_qps}
    if "workload.tokens" in words:
        raw["tokens"] = int(words["workload.tokens"])
    changes: dict[str, Any] = {"purpose": purpose, "spread": purpose != "search"}
    if purpose == "search":
        needed = max(gate.launches_to_pass for gate in config.policy.gates)
        changes["max_launches"] = min(needed + _PROBE_SPARE_LAUNCHES, config.measure.max_launches)
    kept = [word for word in config.words if not word.startswith(("workload", "batch_size="))]
    return config.model_copy(
        update={
            "workload": WorkloadConfig.model_validate(raw),
            "batch_size": place.batch_size,
            "words": [*kept, *(f"{name}={value}" for name, value in words.items())],
            "measure": config.measure.model_copy(update=changes),
        }
    )
