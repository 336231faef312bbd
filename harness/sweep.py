"""Drive measurement into the store: artifacts first, then launches of all runs, interleaved.

Every row is written as soon as it is known. An interruption at any moment loses at most the launch
that was under way, and the same command goes on from there: evidence is pooled, never reset.
"""

from __future__ import annotations

import math
import os
import tempfile
import time
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness import texts
from harness.artifacts.cache import Recipe
from harness.candidate import identity
from harness.config import load_precision
from harness.describe import FACTS, Describer, describe, own_texts
from harness.environment import fingerprint
from harness.errors import (
    BadInputError,
    ExitCode,
    InterruptedRunError,
    LengthError,
    ModelUnavailableError,
    UnavailableError,
)
from harness.launch import run_worker
from harness.locks import hold, measuring_lock_path
from harness.measure.disturbance import Conditions, Observer, flag, reference_gflops
from harness.measure.limits import limit_columns, saw_gflops
from harness.measure.mteb import require_mteb
from harness.provider import prepare_artifact
from harness.record import SCHEMA_VERSION
from harness.rerun import run_name
from harness.run import Run, now_after
from harness.summary import summarise_launch, summarise_run
from harness.tokenizer import Tokenizer
from harness.units import NS_PER_MS, ns_to_s
from harness.worker import Task
from harness.workload import draw_arrivals, draw_requests

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from harness.artifacts.manifest import Artifact
    from harness.progress import Progress
    from harness.schema import Config
    from harness.store import Store

# Until a launch has been seen: what it takes but for its requests, and the share of the machine's limit (peak
# or bandwidth) that these are taken to reach.
_START_S = 0.5
_SHARE_REACHED = 0.5
# More threads than that of one inference make no progress for minutes.
_MOST_THREADS_A_CORE = 4
# Spread launches start apart by the wanted span over this: 17 launches, which settle a must gate, fill it.
_SPREAD_GAPS = 16
_SAMPLES = ("total_ns", "tokenize_ns", "infer_ns")
# What a launch's row takes from the worker's answer as it is.
_LAUNCH_FACTS = (
    "pid", "scheduled_ns", "serving_s", "cold_start_s", "session_load_s", "first_request_ms", "new_shape_ns",
    "timer_resolution_ns", "loop_overhead_ns", "peak_rss_bytes", "involuntary_switches", "voluntary_switches",
    "minor_faults", "major_faults", "block_requests", "block_p50_ms", "block_p95_ms", "block_rss_bytes",
    "block_handles",
)  # fmt: skip


@dataclass
class Sweep:
    """What the launches of one command share.

    `worker` runs a task in a fresh process; tests script it. `described` keeps quality and placement by
    what they are facts of (`Run.describes`), so that they are found once for all runs that share them;
    `seen` holds the launches that tell what the machine can do, those of earlier commands included,
    `run_ids` the runs that it read or measured, `mteb_ready` the tasks whose data is known to be here.
    """

    store: Store
    progress: Progress
    worker: Callable[..., dict[str, Any]] = run_worker
    observer: Observer = field(default_factory=lambda: Observer(0.0))
    described: dict[str, dict[str, Any]] = field(default_factory=dict)
    seen: list[dict[str, Any]] = field(default_factory=list)
    run_ids: set[str] = field(default_factory=set)
    mteb_ready: set[str] = field(default_factory=set)

    def reference(self) -> float | None:
        """What the machine can do, in GFLOP/s, as far as was seen."""
        return reference_gflops(self.seen)


def measure(
    configs: Sequence[Config],
    store: Store,
    progress: Progress,
    *,
    strict: bool,
    worker: Callable[..., dict[str, Any]] = run_worker,
) -> list[dict[str, Any]]:
    """Measure every plan; returns the rows of the runs, in the order of the plans.

    Args:
        configs: validated plans; two that are the same are measured once.
        store: where rows go.
        progress: what is told meanwhile.
        strict: a run that is not possible here is an error (a single run) instead of a row of status
            ``unavailable`` (a sweep).
        worker: runs a task in a fresh process; tests script it.

    Raises:
        BadInputError: runs that cannot stand in one sweep, or more cores than there are.
        UnavailableError: with `strict`, a run that is not possible here.
        StorageError: a row could not be written.
    """
    observer = Observer(max(config.measure.quiet_wait_s for config in configs))
    return measure_in(Sweep(store, progress, worker, observer), configs, strict=strict)


def measure_in(sweep: Sweep, configs: Sequence[Config], *, strict: bool) -> list[dict[str, Any]]:
    """As `measure`, for a command that measures several times."""
    store, progress = sweep.store, sweep.progress
    runs = [Run.planned(config) for config in configs]
    _require_mteb(configs, sweep)
    for run in runs:
        try:
            _make_ready(run, progress)
        except (UnavailableError, LengthError) as error:
            if strict:
                raise
            run.error = str(error)
        run.identify()
    runs = _distinct(runs)
    sweep_id = identity({"runs": sorted(run.config_hash for run in runs)})[:12]
    _declare([run for run in runs if run.config.measure.purpose == "confirm"], store)
    for run in runs:
        _resume(run, store)
        if run.artifact is None:
            store.write_run(run.row(sweep_id, status="unavailable"))
    _go_on(runs, sweep_id)
    hold_store = partial(
        hold, store.lock, lambda who: progress.tell(f"waiting: {who} measures into {store.path}")
    )
    if any(run.wanting() for run in runs):
        with (
            hold_store(),
            hold(measuring_lock_path(), lambda who: progress.tell(f"waiting: {who} is measuring")),
            tempfile.TemporaryDirectory(prefix="harness-sweep-") as folder,
        ):
            store.sweep_up()
            environment = fingerprint()
            sweep.seen = sweep.seen or store.probes_of(
                environment.machine_id, environment.cores, environment.container_cpus
            )
            for run in runs:
                if run.wanting():
                    _resume(run, store)  # again: whoever held the lock may have measured this run
                    _tell_anew(run, store, progress)
            _go_on(runs, sweep_id)
            for run in runs:
                if run.wanting():
                    if not (run.done() and run.facts):
                        describe(run, Path(folder), Describer(sweep.worker, sweep.progress, sweep.described))
                    store.write_run(run.row(sweep_id))
            try:
                _rounds(runs, sweep_id, sweep)
            except InterruptedRunError as interruption:
                if any(run.config.measure.force for run in runs):  # the new attempts exist by now
                    without = "without measure.force, which starts anew"
                    interruption.remedy = f"type the command again, {without}, to go on"
                raise
            finally:
                _flag_anew(sweep, runs)
    elif sweep.seen:  # the command has measured before
        sweep.seen += [row for run in runs for row in run.launches]
        with hold_store():
            _flag_anew(sweep, runs)
    sweep.run_ids.update(run.run_id for run in runs)
    rows = [store.run_of(run.run_id) for run in runs]
    return [row for row in rows if row is not None]


def _distinct(runs: Sequence[Run]) -> list[Run]:
    """The runs without repetitions.

    Raises:
        BadInputError: two are the same but for how long they are measured, or by what they are judged.
    """
    distinct: dict[str, Run] = {}
    for run in runs:
        same = distinct.setdefault(run.config_hash, run)
        if (same.config.measure, same.config.policy) != (run.config.measure, run.config.policy):
            raise BadInputError(
                f"{run.label} stands twice in the sweep, with different measure or policy settings: sweep "
                "neither; python -m harness.decide judges the same runs by another policy"
            )
    return list(distinct.values())


def _require_mteb(configs: Sequence[Config], sweep: Sweep) -> None:
    """Find out whether MTEB's tasks and their data can be had: what of them lacks is no candidate's fault.

    Raises:
        BadInputError: an unknown task.
        UnavailableError: the package or a task's data cannot be had.
    """
    asked = dict.fromkeys(name for config in configs for name in config.quality.mteb or [])
    tasks = [name for name in asked if name not in sweep.mteb_ready]
    if not tasks:
        return
    require_mteb()
    sweep.progress.tell(f"the data of MTEB's {', '.join(tasks)}")
    task = Task("mteb_data", artifact="", runtime="", options={}, mteb_tasks=tasks)
    answer = sweep.worker(task, timeout_s=math.inf, on_tick=sweep.progress.tick)
    if answer["status"] != "complete":
        told = [f"quality.mteb: {line}" for line in answer["error"].splitlines()]
        if answer.get("exit_code") == ExitCode.BAD_INPUT:
            raise BadInputError(*told)
        raise UnavailableError("; ".join(told))
    sweep.mteb_ready.update(tasks)


def _make_ready(run: Run, progress: Progress) -> None:
    """Everything slow or impossible is found out before the first launch."""
    may_be_random = run.config.model.weights == "auto"
    if may_be_random:  # a row says what was measured, or what would have been
        run.take_weights("trained")
    config = run.config
    cpus, cores = config.measure.cpus, fingerprint().cores
    if cpus is not None and not hasattr(os, "sched_setaffinity"):
        raise UnavailableError(
            f"measure.cpus={cpus}: this system cannot hold a process to cores, Linux can; leave it out and "
            f"give threads={cpus}"
        )
    if cpus is not None and cpus > cores:
        raise BadInputError(f"measure.cpus={cpus}: {cores} cores can be used here; give at most that")
    if reason := config.precision.unfit.get(config.ep.name):
        raise UnavailableError(f"precision={config.precision.name} ep={config.ep.name}: {reason}")
    if config.runtime.name == "onnxruntime":
        from harness.runtimes.onnxruntime import require_provider

        if config.threads is not None and config.threads > _MOST_THREADS_A_CORE * cores:
            raise UnavailableError(
                f"threads={config.threads}: {cores} cores can be used here, and so many threads would only "
                f"wait for each other; give at most {_MOST_THREADS_A_CORE * cores}"
            )
        require_provider(config.ep.provider, config.ep.name, config.ep.wheel)
    artifact = _artifact(run, progress, may_be_random=may_be_random)
    if run.workload.lengths == "fixed":  # where one can be cut, others can
        draw_requests(replace(run.workload, batch_size=1), 1, Tokenizer(artifact))
    run.artifact = artifact
    if run.texts is not None and run.config.model.weights != "random":
        recipe = Recipe(run.config.model, load_precision("fp32"), run.config.runtime.name)
        run.fp32 = prepare_artifact(recipe, tell=progress.tell)
    _require_room(run)


def _artifact(run: Run, progress: Progress, *, may_be_random: bool) -> Artifact:
    """The run's artifact; of random weights where that is allowed and the trained ones cannot be had."""
    config = run.config
    try:
        recipe = Recipe(config.model, config.precision, config.runtime.name)
        return prepare_artifact(recipe, tell=progress.tell)
    except ModelUnavailableError as error:
        if not may_be_random:
            raise
        progress.tell(f"random weights instead: {error}")
        run.take_weights("random")
        return _artifact(run, progress, may_be_random=False)


def _require_room(run: Run) -> None:
    """Refuse texts that do not fit a graph of a fixed length: nothing is ever cut off for that.

    Raises:
        BadInputError: with the longest text's length.
    """
    assert run.artifact is not None
    room = run.config.session.static_shapes.sequence_length
    if room is None or room >= run.config.model.max_length:
        return
    counter = Tokenizer(run.artifact)
    measure = run.config.measure
    requests = draw_requests(run.workload, measure.warmup_requests + measure.requests, counter)
    for what, prompt, served in (
        (f"workload={run.workload.name}", "default", [text for request in requests for text in request]),
        ("the quality texts", "default", texts.quality_texts()),
        *((f"quality.{own.name}", own.prompt, own.texts) for own in own_texts(run)),
    ):
        longest = max(counter.count(text, prompt=prompt) for text in dict.fromkeys(served))
        if longest > room:
            raise BadInputError(
                f"session.static_shapes.sequence_length={room}: {what} has a text of {longest} tokens, and "
                f"nothing is cut off; give at least {min(longest, run.config.model.max_length)}"
            )


def _declare(runs: Sequence[Run], store: Store) -> None:
    """Tell runs which confirmation they are: the newest of the folder where it asked for just these.

    Else one of their own. To go on writes nothing anew that a kill could leave half written.
    """
    for run in runs:
        _resume(run, store)
    newest, run_ids = store.newest_confirmation() if runs else (None, set())
    goes_on = run_ids == {run.run_id for run in runs}
    confirmation_at = newest if goes_on else now_after(newest)
    for run in runs:
        run.confirmation_at = confirmation_at


def _resume(run: Run, store: Store) -> None:
    """Take up what is stored of this run: its newest attempt.

    An attempt is there where its row is, or its launches: a row that was lost is made again from them. A
    forced run is a new attempt, under an id of its own, and so is the one after an attempt that failed
    altogether, was stopped early over a tighter bound than is asked now, or lost launches that its row tells
    of; whoever types the command without force goes on with the newest.
    """
    run.run_id, run.replaced = run.attempt_id(0), None
    if run.artifact is None:
        return
    attempt, stored = 0, store.run_of(run.run_id)
    while (following := store.run_of(after := run.attempt_id(attempt + 1))) or store.launches_of(after):
        attempt, run.run_id = attempt + 1, after
        run.replaced, stored = stored or run.replaced, following
    launches = store.launches_of(run.run_id)
    goes_on = stored is None or (len(launches) >= stored["launches"] and run.can_go_on_from(stored))
    if (stored or launches) and (run.config.measure.force or not goes_on):
        run.run_id = run.attempt_id(attempt + 1)
        run.replaced, stored, launches = stored or run.replaced, None, []
    run.stored, run.launches = stored, launches
    run.stored_launches = len(run.launches)
    if stored is not None and stored["tokens_mean"] is not None:
        run.facts = {name: stored.get(name) for name in FACTS}
    if stored is not None and run.launches:
        run.stale = (
            stored["launches"] != len(run.launches)
            or stored["status"] == "interrupted"
            or not _tells_flags(stored, run.launches)
            or stored["purpose"] != run.purpose
            or (stored["min_span_s"] or 0.0) < run.min_span_s
            or (run.confirmation_at is not None and stored["confirmation_at"] != run.confirmation_at)
        )


def _tell_anew(run: Run, store: Store, progress: Progress) -> None:
    """Say why launches that are stored are left alone, where nobody asked for it."""
    left = run.replaced
    if left is None or run.stored is not None or run.launches or run.config.measure.force:
        return
    over_ms, kept = left["truncated_over_ms"], len(store.launches_of(left["run_id"]))
    why = "failed" if over_ms is None else f"were stopped early over {over_ms:g} ms, and more is asked now"
    if kept < left["launches"]:
        why = f"are lost ({kept} of {left['launches']} are there)"
    progress.note(
        f"{run_name(left)}: launches of run {left['run_id']} {why}: not gone on with, a new attempt begins"
    )


def _go_on(runs: Sequence[Run], sweep_id: str) -> None:
    """Tell the runs whether the command that measured them last, as the same sweep, was interrupted."""
    stored = [run.stored for run in runs if run.stored is not None and run.stored["sweep_id"] == sweep_id]
    interrupted = any(row["status"] == "interrupted" for row in stored)
    for run in runs:
        run.goes_on = interrupted and run.stored in stored


def _rounds(runs: Sequence[Run], sweep_id: str, sweep: Sweep) -> None:
    """Rounds of one launch a run, in seeded, balanced random order, until every run is done."""
    seed = runs[0].config.measure.seed
    sweep.seen += [row for run in runs for row in run.launches]
    number = max((int(row["round"]) + 1 for run in runs for row in run.launches), default=0)
    begun = sum(not run.done() for run in runs)
    what = f"measuring {begun} runs, interleaved" if begun > 1 else "measuring"
    if runs[0].config.measure.purpose == "search":
        what = f"probing {runs[0].workload.place}"
    limits: dict[str, Any] = {}
    orders: list[list[int]] = []
    block: list[Run] = []

    def tell(detail: str, *, at_least: bool = False) -> None:
        unseen = any(not run.spent_s and not run.done() for run in runs)
        sweep.progress.tell(what, _left_s(runs), detail, at_least=at_least or unseen)

    while active := [run for run in runs if not run.done()]:
        began = time.monotonic()
        if not orders:
            block, orders = active, balanced_orders(len(active), (seed, number))
        for run in [block[index] for index in orders.pop() if not block[index].done()]:
            detail = f": {run.label}, launch {len(run.launches) + 1}"
            tell(detail)
            on_wait = partial(tell, f"{detail}: waiting, the machine is in use", at_least=True)
            run.launches.append(_launch(run, sweep.reference(), number, sweep_id, sweep, on_wait))
            sweep.seen.append(run.launches[-1])
            if all(each.done() for each in runs):  # first, so that no kill between the two leaves old flags
                _flag_anew(sweep, [each for each in runs if each is not run])
            flag(run.launches, sweep.reference())
            sweep.store.write_launches(run.run_id, run.launches)
            row = run.row(sweep_id)
            limits[run.run_id] = row["limit_gflops"]
            sweep.store.write_run(row)
        number += 1
        gap_s = max((_gap_s(run) for run in active if not run.done()), default=0.0)
        if (idle_s := began + gap_s - time.monotonic()) > 0:
            tell(": idle, to spread the evidence")
            _sleep(idle_s, sweep.progress)
    for run in runs:  # what the machine can do at most may have shown only after a launch of the first ones
        if run.run_id in limits and run.row(sweep_id)["limit_gflops"] != limits[run.run_id]:
            sweep.store.write_run(run.row(sweep_id))


def _flag_anew(sweep: Sweep, runs: Sequence[Run]) -> None:
    """Flag all launches that the command read or measured, these runs' included, by what is known by now.

    A run that dropped out, or that an earlier part of the command measured, was flagged by less. Goes by what
    is stored, so that what others measured meanwhile is kept; whoever calls holds the store's lock.
    """
    store, reference = sweep.store, sweep.reference()
    for run_id in sorted(sweep.run_ids.union(run.run_id for run in runs)):
        launches, row = store.launches_of(run_id), store.run_of(run_id)
        if row is None:
            continue
        if flag(launches, reference) or not _tells_flags(row, launches):
            store.write_launches(run_id, launches)
            store.write_run(row | summarise_run(launches, min_span_s=row["min_span_s"]))


def _tells_flags(row: Mapping[str, Any], launches: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a run's row has its launches' flags: a kill may have come between the two."""
    return list(row["launch_disturbed"] or []) == [launch["disturbed"] for launch in launches]


def balanced_orders(count: int, seed: Sequence[int]) -> list[list[int]]:
    """Orders of `count` things in which each stands at each place once: a Latin square, shuffled.

    Its rows are Williams's (1949, Australian Journal of Scientific Research A 2:149-168): 0, 1, n-1, 2, n-2 …
    and its rotations, so that each thing also comes right behind each other one once where the count is even.
    """
    rng = np.random.default_rng(seed)
    names, shifts = rng.permutation(count), rng.permutation(count)
    zigzag = np.array([(place + 1) // 2 * (1 if place % 2 else -1) for place in range(count)], dtype=int)
    return [names[(zigzag + shift) % count].tolist() for shift in shifts]


def _gap_s(run: Run) -> float:
    measure = run.config.measure
    return measure.min_span_s / _SPREAD_GAPS if measure.spread else 0.0


def _launch(
    run: Run,
    reference: float | None,
    number: int,
    sweep_id: str,
    sweep: Sweep,
    on_wait: Callable[[], None],
) -> dict[str, Any]:
    """Measure one launch; returns its row."""
    assert run.artifact is not None
    measure, index = run.config.measure, len(run.launches)
    loosest_ms = run.loosest_bound_ms()
    due_ns = draw_arrivals(run.workload, run.requests, index)
    began, wait_s = time.monotonic(), sweep.observer.wait_left_s
    watch = None if run.scripted else sweep.observer.watch(reference, on_wait, measure.cpus)
    started = datetime.now(UTC)
    answer = sweep.worker(
        Task(
            kind="soak" if run.soaks else "latency",
            artifact=str(run.artifact.path),
            runtime=run.candidate.runtime,
            options=asdict(run.options(launch_index=index)),
            requests_file=run.requests_file,
            clients=run.workload.clients,
            due_ns=due_ns,
            stop_over_ns=None if loosest_ms is None else round(loosest_ms * NS_PER_MS),
            duration_s=measure.duration_s,
            cpus=measure.cpus,
        ),
        timeout_s=measure.launch_timeout_s + _takes_s(run, due_ns),
        on_tick=sweep.progress.tick,
    )
    conditions = Conditions() if watch is None else sweep.observer.conclude(watch, reference)
    # The wait for quiet is one for all launches: none ahead takes what this one waited.
    run.spent_s.append(time.monotonic() - began - (wait_s - sweep.observer.wait_left_s))
    if conditions.capacity_after_gflops is not None:
        saw_gflops(fingerprint().cores, conditions.capacity_after_gflops)
    return {
        "launch_id": f"{run.run_id}-{index:04d}",
        "run_id": run.run_id,
        "sweep_id": sweep_id,
        "launch_index": index,
        "round": number,
        "started_at": started,
        "schema_version": SCHEMA_VERSION,
        "status": answer["status"],
        "error": answer["error"],
        "truncated": bool(answer.get("truncated", False)),
        "truncated_over_ms": loosest_ms if answer.get("truncated") else None,
        **{name: answer.get(name) or [] for name in _SAMPLES},
        **{name: answer.get(name) for name in _LAUNCH_FACTS},
        **summarise_launch(answer, batch_size=run.workload.batch_size),
        **asdict(conditions),
    }


def _takes_s(run: Run, due_ns: Sequence[int] | None) -> float:
    """What a launch takes by its own design, in s."""
    if run.soaks:
        return run.config.measure.duration_s
    return ns_to_s(due_ns[-1]) if due_ns else 0.0


def _left_s(runs: Sequence[Run]) -> float:
    """Seconds that are probably left: launches still to come times what one took, or the span still to fill.

    A run that is not done takes a launch at least, whatever the estimate was.
    """
    left_s = span_s = 0.0
    for run in runs:
        if not run.done():
            each_s = float(np.mean(run.spent_s)) if run.spent_s else _expected_s(run)
            left_s += max(1, run.launches_left()) * each_s
            spread_s = max(run.span_left_s(), run.launches_left() * _gap_s(run))
            span_s = max(span_s, spread_s - run.since_launch_s())
    return max(left_s, span_s)


def _expected_s(run: Run) -> float:
    """Seconds that a launch probably takes, as long as none has been seen."""
    if run.soaks:
        return run.config.measure.duration_s
    measure, flops = run.config.measure, run.facts.get("flops_per_request")
    limit = limit_columns(run.facts, None, threads=run.threads, clients=1)["limit_gflops"]
    if flops is None or limit is None:
        return 2 * _START_S
    requests = measure.warmup_requests + run.requests
    return _START_S + float(requests * flops / (_SHARE_REACHED * limit * 1e9))


def _sleep(seconds: float, progress: Progress) -> None:
    ends = time.monotonic() + seconds
    while (left := ends - time.monotonic()) > 0:
        time.sleep(min(1.0, left))
        progress.tick()


def failed_or_unavailable(rows: Sequence[dict[str, Any]]) -> bool:
    """Whether a launch failed or a run was not possible, in the rows that `measure` returned."""
    bad = ("failed", "timeout", "unavailable")
    return any(row["status"] in bad or row["launches_failed"] for row in rows)
