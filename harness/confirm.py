"""Measure what confirmation asks for: production's load, and how far the budget reaches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.compose import conf_dir
from harness.config import Config, WorkloadConfig, yaml_of
from harness.confirmation import LENGTHS, RATES, WORKLOAD, confirmation_of
from harness.errors import BadInputError
from harness.gates import gate_place, place_words
from harness.launch import run_worker
from harness.measure.disturbance import Observer
from harness.sweep import Sweep, measure_in
from harness.workload import Place

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from harness.progress import Progress
    from harness.store import Store


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
        configs: one plan, whose candidate, batch size and policy count; its workload does not.
        store: where rows go.
        progress: what is told meanwhile.
        worker: runs a task in a fresh process; tests script it.

    Raises:
        BadInputError: more than one plan, or a policy without a must gate on latency.
        UnavailableError: not possible here.
        StorageError: a row could not be written.
    """
    if len(configs) > 1:
        raise BadInputError(f"measure=confirm confirms one candidate, the pick: {len(configs)} were given")
    (config,) = configs
    gates = [gate for gate in config.policy.gates if gate.metric == "latency_p95_ms" and gate.tier != "nice"]
    if not any(gate.tier == "must" for gate in gates):
        raise BadInputError(f"policy={config.policy.name}: no must gate on latency_p95_ms to confirm")
    sweep = Sweep(store, progress, worker, Observer(config.measure.quiet_wait_s))
    asked = config.measure
    load = [Place(WORKLOAD, 1, clients) for clients in dict.fromkeys((1, *asked.clients))]
    load += [] if asked.rate is None else [Place(WORKLOAD, 1, 1, "poisson", asked.rate)]
    read = dict.fromkeys(gate_place(gate) for gate in gates)
    plans = [_at(config, place, "confirm") for place in load]
    plans += [_at(config, place, "latency") for place in read if place not in load]
    rows = measure_in(sweep, plans, strict=True)

    def probe(place: Place) -> bool:
        (row,) = measure_in(sweep, [_at(config, place, "search", spread=False)], strict=True)
        rows.append(row)
        found = confirmation_of([row], config.policy)
        return found.longest_tokens.holds is not None or found.highest_qps.holds is not None

    lengths = [tokens for tokens in LENGTHS if tokens <= config.model.max_length]
    _highest([Place(f"tokens_{tokens}", 1) for tokens in lengths], probe, start=len(lengths) // 2)
    alone = next(row for row in rows if row["workload"] == WORKLOAD and row["clients"] == 1)
    # One caller at full tilt serves so many requests a second; queues grow well before that.
    capacity_qps = alone["throughput_texts_per_s"] or 0.0
    longest_s = config.measure.launch_timeout_s / 2
    rates = [rate for rate in RATES if rate < capacity_qps and config.measure.requests / rate < longest_s]
    half = sum(rate <= capacity_qps / 2 for rate in rates)
    _highest([Place(WORKLOAD, 1, 1, "poisson", float(rate)) for rate in rates], probe, start=half - 1)
    distinct = {row["run_id"]: row for row in rows}
    return list(distinct.values())


def _highest(levels: Sequence[Place], probe: Callable[[Place], bool], *, start: int) -> None:
    """Probe levels, rising, until the highest that holds stands right below the lowest that does not."""
    low, high, middle = -1, len(levels), max(0, start)
    while high - low > 1:
        middle = min(max(middle, low + 1), high - 1)
        if probe(levels[middle]):
            low = middle
        else:
            high = middle
        middle = (low + high) // 2


def _at(config: Config, place: Place, purpose: str, *, spread: bool = True) -> Config:
    """The plan that measures the same candidate at another place."""
    words = place_words(place)
    raw = yaml_of(conf_dir() / "workload" / f"{words['workload']}.yaml")
    raw |= {"name": place.workload, "clients": place.clients, "arrival": place.arrival}
    raw |= {"rate": place.offered_qps}
    if "workload.tokens" in words:
        raw["tokens"] = int(words["workload.tokens"])
    kept = [word for word in config.words if not word.startswith(("workload", "batch_size="))]
    return config.model_copy(
        update={
            "workload": WorkloadConfig.model_validate(raw),
            "batch_size": place.batch_size,
            "words": [*kept, *(f"{name}={value}" for name, value in words.items())],
            "measure": config.measure.model_copy(update={"purpose": purpose, "spread": spread}),
        }
    )
