"""The decision: each candidate's verdict by a policy, the pick, and why. Pure; nothing is read or written.

The same runs and the same policy give the same bytes, in any order of rows or columns.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from harness import __version__, caveats
from harness.config import load_policy
from harness.confirmation import (
    unconfirmable,
)
from harness.decision_record import ProvenanceRecord, Verdict
from harness.evidence import (
    candidate_key,
    checked,
    names_apart,
    newest_first,
)
from harness.gates import (
    OWN_DATA,
    as_number,
    model_names,
    p95_floor_ms,
    plain,
    run_at,
    run_for,
    served_cell,
    stopped_cells,
)
from harness.guards import doubts_about, guards, refused, sentence, vectors_asked
from harness.judgement import judge
from harness.objective import (
    figures_read,
    latency_at,
    objective_words,
    pareto_front,
    preference,
    read_from,
    told_apart_by,
)
from harness.overhead import REFERENCE, with_overhead
from harness.remedies import on_the_data_of
from harness.rerun import again
from harness.robustness import share_that_stays
from harness.sensitivity import closest_changes
from harness.units import (
    counted,
    decimal_text,
    listed,
)
from harness.verdict import (
    PICKABLE,
    VERDICTS,
    CandidateVerdict,
    Decision,
    demerit,
    is_target,
    of_its_kind,
    stands_back,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    import pandas as pd

    from harness.evidence import Row
    from harness.schema import AtConfig, Comparable, PolicyConfig

    # A candidate and the figures of different data that it would come after the first one by.
    _Disputed = tuple[CandidateVerdict, list[tuple[Comparable, AtConfig]]]

# The planning documents' own decision point; there what is untried is E5 and BGE.
NEXT_STEPS: dict[Verdict, str] = {
    "GO": "go with the pick; confirm it under production's own load before the launch",
    "CONDITIONAL_GO": "debug the execution provider's activation where it is not the CPU's,{untried} "
    "or accept and proceed if quality is good",
    "INCONCLUSIVE": "measure what is missing",
    "NO_GO": "investigate, or accept the fallback; on Apple Silicon: a quick check of MLX, Apple's library",
}
# The same where the policy has no fallback.
NO_FALLBACK_STEP = "investigate; on Apple Silicon: a quick check of MLX, Apple's library"
# Where no confirmation of the pick can be asked by the policy.
UNCONFIRMED_STEP = "go with the pick; measure=confirm cannot confirm it"
# Where a no rests on launches that were disturbed.
NOISE_STEP = "measure again on a quiet machine, as an attempt of its own"
# Where the pick holds for one caller and not under production's load.
LOAD_STEP = (
    "stay within the load that holds, or confirm again with fewer threads (threads=1 suits several callers), "
    "more cores or shorter texts"
)
# Where nothing answers the latency target.
TARGET_STEP = "measure the latency target, or accept and proceed if quality is good"
# Where an external provider takes too much over the Python reference.
PROVIDER_STEP = "hold the provider against the Python reference stage by stage: tokens, inference, pooling"
# Of a pick that nobody asked to confirm.
_UNCONFIRMED = "nothing was measured under production's load (measure=confirm)"


def decide(
    runs: pd.DataFrame, policy: str | PolicyConfig = "default", *, asked: Collection[str] = ()
) -> Decision:
    """Judge every candidate in `runs` and pick one.

    Args:
        runs: as `harness.load_runs` gives them: one row a run, one machine.
        policy: a shipped policy's name, or a policy.
        asked: ids of runs that are read before newer ones of the same candidate, and alone where none of
            them was possible.

    Raises:
        BadInputError: no run, a column missing, a run id twice, rows of two machines or schemas, unknown
            policy.
    """
    if isinstance(policy, str):
        policy = load_policy(policy)
    rows = newest_first(checked(runs), asked)
    over_reference = {gate.tier for gate in policy.gates if gate.metric == "latency_overhead"}
    if over_reference:
        rows = with_overhead(rows, partial(refused, policy=policy))
    if "must" in over_reference:  # what is the measure can pass none over itself: it is no candidate
        rows = [row for row in rows if row["runtime"] != REFERENCE] or rows
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(candidate_key(row), []).append(row)
    measured = [row for row in rows if row["status"] != "unavailable"] or rows
    scripted_only = all(row["runtime"] == "fake" for row in measured)
    judged = [judge(groups[key], policy, asked) for key in sorted(groups)]
    called = names_apart([dict(candidate.rows[0]) for candidate in judged])
    candidates = tuple(
        sorted(
            (replace(candidate, label=name) for candidate, name in zip(judged, called, strict=True)),
            key=lambda c: (
                c.scripted and not scripted_only,
                c.impossible,  # no evidence for or against anything
                VERDICTS.index(c.verdict),
                stands_back(VERDICTS.index(c.verdict), c),
                *preference(policy, c.names, partial(read_from, c.compared)),
                c.label,
                c.run_ids,
            ),
        )
    )
    best = candidates[0]
    contenders = [c for c in candidates if c.scripted == best.scripted]
    equals = [c for c in contenders[1:] if best.verdict in PICKABLE and of_its_kind(c, best)]
    disputed = [(c, figures) for c in equals if (figures := told_apart_by(best, c, policy))]
    chosen = best if best.verdict in PICKABLE and not disputed else None
    counting = [row for row in rows if scripted_only or row["runtime"] != "fake"]
    tried = {name for row in counting if row["status"] != "unavailable" for name in model_names(row)}
    untried = [model for model in policy.paths if model not in tried]
    wanted = [c for c in contenders if c is chosen or c.verdict == best.verdict == "INCONCLUSIVE"]
    steps = [line for c in wanted[:1] if c is not chosen for line in c.ways_out]
    steps += _on_a_quiet_machine(contenders if chosen is None else [chosen])
    steps += [] if disputed else _steps(best, untried, policy, can_measure=any(c.missing for c in wanted))
    steps += _on_the_same_data(best, disputed)
    if chosen is not None and not _confirmed(chosen) and not unconfirmable(policy):
        typed = (
            ""
            if "measure.rate=" in chosen.confirm
            else " (with measure.rate= and measure.cpus= as in production)"
        )
        steps.append(f"`{chosen.confirm}`{typed}")
    steps += [f"`{command}`" for c in wanted for command in c.missing]
    steps += [line for c in wanted for line in c.ways_out]
    machine = {name: plain(rows[0][name]) for name in ("machine_id", "cpu", "cores", "os")}
    able = [c for c in contenders if not c.impossible]
    if len({int(c.rows[0]["cores"]) for c in able}) > 1:
        machine["cores"] = None
    return Decision(
        verdict="INCONCLUSIVE" if disputed else best.verdict,
        chosen=None if chosen is None else chosen.label,
        reasons=_not_ranked(best, disputed, policy) or _overall_reasons(contenders, policy, untried),
        candidates=candidates,
        policy=policy.name,
        evidence="confirmed" if chosen is not None and _confirmed(chosen) else "provisional",
        fallback=_fallback(counting, policy) if best.verdict == "NO_GO" else None,
        next_steps=tuple(dict.fromkeys(steps)),
        machine=machine,
        stays=None if chosen is None else share_that_stays(contenders, policy),
        changes=() if disputed else closest_changes(contenders, policy),
        front=pareto_front(contenders),
        warnings=(
            *caveats.of_scripts(rows),
            *caveats.of_twins(rows),
            *caveats.of_names(policy, rows),
            *_not_comparable(able, policy),
        ),
        provenance=ProvenanceRecord(harness_version=__version__, policy=policy.model_dump(mode="json")),
    )


def _not_comparable(candidates: list[CandidateVerdict], policy: PolicyConfig) -> list[str]:
    """What candidates are told apart by though it is of different data, or of different CPUs."""
    figures = [
        (metric, row)
        for metric, at in figures_read(policy)
        for c in candidates
        if (row := run_at(at, c.rows)) is not None
    ]
    return [*caveats.of_cpus(c.rows[0] for c in candidates), *caveats.of_data(figures)]


def _not_ranked(
    best: CandidateVerdict, disputed: Sequence[_Disputed], policy: PolicyConfig
) -> tuple[str, ...]:
    """Why none of the candidates that could be picked is: what would tell them apart is of different data."""
    if not disputed:
        return ()
    metrics = dict.fromkeys(metric for _, figures in disputed for metric, _ in figures)
    labels = [best.label, *(rival.label for rival, _ in disputed)]
    return (
        f"no pick: {listed(labels)} are each {best.verdict}, and {objective_words(policy)} would tell them "
        f"apart by {', '.join(metrics)}, of different data; measure them on the same",
    )


def _on_the_same_data(best: CandidateVerdict, disputed: Sequence[_Disputed]) -> list[str]:
    """The commands that measure the others' figures on the user's data of the first of the candidates.

    Which labelled pairs are those that ship is not known here: for figures on them all are measured anew.
    """
    words: dict[str, tuple[Row, dict[str, str]]] = {}
    for rival, figures in disputed:
        for metric, at in figures:
            ours, theirs = (dict(run_at(at, c.rows) or {}) for c in (best, rival))
            for row in (theirs,) if metric in OWN_DATA else (ours, theirs):
                words.setdefault(row["run_id"], (row, {}))[1].update(on_the_data_of(metric, ours))
    return [f"`{again(row, **asked)}`" for row, asked in words.values()]


def _steps(
    best: CandidateVerdict, untried: list[str], policy: PolicyConfig, *, can_measure: bool
) -> list[str]:
    """What to do next, in words.

    Args:
        best: the first of the candidates.
        untried: the policy's models that were not measured.
        policy: by which they are judged.
        can_measure: whether there are commands that measure what is missing.
    """
    if best.verdict == "GO" and _confirmed(best):
        return []
    if best.verdict == "GO" and (why := unconfirmable(policy)):
        return [f"{UNCONFIRMED_STEP}: {why}"]
    if best.verdict == "INCONCLUSIVE" and not can_measure:
        return []
    under_load = best.verdict == "CONDITIONAL_GO" and best.confirmation and best.confirmation.failing
    missed = [r for r in best.gates if is_target(r.gate) and r.status != "PASS"]
    over = any(r.gate.metric == "latency_overhead" and r.status == "FAIL" for r in best.gates)
    steps = [LOAD_STEP] if under_load else []
    if under_load and not missed:
        return steps
    if best.verdict == "NO_GO" and policy.fallback is None and not over:
        return [*steps, NO_FALLBACK_STEP]
    if over:
        return [*steps, PROVIDER_STEP]
    if best.verdict == "CONDITIONAL_GO" and best.target_unknown:
        return [*steps, TARGET_STEP]
    alternatives = f" try {' or '.join(untried)}," if untried else ""
    return [*steps, NEXT_STEPS[best.verdict].format(untried=alternatives)]


def _on_a_quiet_machine(candidates: Iterable[CandidateVerdict]) -> list[str]:
    """What measures anew that of which a candidate's verdict rests on launches that were disturbed.

    Of several such candidates it is the one that would stand best without these launches.
    """
    noisy = [candidate for candidate in candidates if candidate.undisturbed != candidate.verdict]
    if not noisy:
        return []
    candidate = min(noisy, key=lambda c: VERDICTS.index(c.undisturbed))
    noise = [
        (r.gate.metric, run_for(r.gate, candidate.rows))
        for r in candidate.gates
        if r.rests_on_noise and demerit(r.gate, r.status) != demerit(r.gate, r.undisturbed or r.status)
    ]
    rows = [row for _metric, row in noise if row is not None]
    over = [row for metric, row in noise if metric == "latency_overhead" and row is not None]
    rows += [row["overhead_over"] for row in over]
    commands = [again(row, **{"measure.force": "true"}) for row in rows]
    return [f"{NOISE_STEP}: `{command}`" for command in dict.fromkeys(commands)]


def _confirmed(candidate: CandidateVerdict) -> bool:
    confirmation = candidate.confirmation
    return confirmation is not None and confirmation.complete and not candidate.provisional


def _overall_reasons(
    contenders: list[CandidateVerdict], policy: PolicyConfig, untried: list[str]
) -> tuple[str, ...]:
    best, *others = contenders
    alternatives = [f"alternatives that are not among these runs: {', '.join(untried)}"] if untried else []
    if best.verdict in PICKABLE:
        equals = [c for c in others if of_its_kind(c, best)]
        back = [c.label for c in others if c.verdict == best.verdict and not of_its_kind(c, best)]
        reasons = [f"{best.label}: {reason}" for reason in best.reasons]
        if (p95_ms := best.point.least_ms) is not None:
            bounds = [gate.bound for gate in policy.gates if gate.metric == "latency_p95_ms"]
            told_ms = decimal_text(p95_ms, 2, beside=bounds)
            shown, _ = stopped_cells(best.latency_p95_at_least_ms, told_ms, "", beside=bounds)
            reasons.append(f"{best.label}: P95 {shown} ms, the median launch's")
        if equals:
            before = listed([c.label for c in equals])
            reasons.append(f"picked by {objective_words(policy)}, before {before}")
        if back:
            reasons.append(f"picked before {listed(back)}, whose latency target nothing answers")
        if best.verdict == "CONDITIONAL_GO":
            reasons += alternatives
        limits = best.confirmation.limits if best.confirmation else ()
        lacking = best.confirmation.lacking if best.confirmation else (unconfirmable(policy) or _UNCONFIRMED,)
        if best.confirmation and not lacking:
            where, quota = counted(best.confirmation.cores, "core"), best.rows[0]["container_cpus"]
            within = "" if quota is None else f", within a quota of {quota:g} CPUs"
            settled = "confirmed" if _confirmed(best) else "production's load was measured and settled"
            reasons.append(f"{settled} on {where}{within}; measure.cpus=N holds it to fewer")
        return (*reasons, *limits, *best.provisional, *(f"not confirmed: {line}" for line in lacking))
    told = [c for c in contenders if not c.impossible] or contenders
    reasons = [f"{c.label}: {line}" for c in told for line in (*c.reasons[:3], *c.provisional)]
    if (quiet := min((c.undisturbed for c in told), key=VERDICTS.index)) != best.verdict:
        reasons.insert(0, f"without the launches that were disturbed it is {quiet}: {NOISE_STEP}")
    return (*reasons, *(alternatives if best.verdict == "NO_GO" else ()))


def _fallback(rows: list[Row], policy: PolicyConfig) -> str | None:
    """What to fall back to, with its figures here that nothing stands against: the newest of the surest."""
    if policy.fallback is None:
        return None
    text, fallback = policy.fallback.sentence, policy.fallback
    mine = [row for row in rows if fallback.model in model_names(row) and row["ep"] == fallback.ep]
    newest: dict[str, Row] = {}
    for row in mine:
        if run_at(latency_at(policy), [row]) and row["status"] != "unavailable":
            newest.setdefault(candidate_key(row), row)
    here = list(newest.values())
    against = [
        [
            *guards([row], policy)[0],
            *(sentence(r) for r in vectors_asked(row, policy) if r.status == "FAIL"),
        ]
        for row in here
    ]
    if not here:
        return f"{text}; no figures of this machine"
    if all(against):
        return f"{text}; but measured here, {here[0]['candidate_label']}: {'; '.join(against[0])}"
    sound = [
        (row, p50, p95)
        for row, why in zip(here, against, strict=True)
        if not why
        and (p50 := as_number(row["latency_p50_ms"])) is not None
        and (p95 := as_number(row["latency_p95_ms"])) is not None
    ]
    if not sound:
        return f"{text}; no figures of this machine"
    row, p50, p95 = min(
        sound, key=lambda of: (of[0]["weights"] != "trained", bool(doubts_about(of[0], policy)))
    )
    weights = "" if row["weights"] == "trained" else f" with {row['weights']} weights"
    shown, mark = stopped_cells(p95_floor_ms(row), f"{p95:.0f}", "")
    median = served_cell(row, "latency_p50_ms", f"{p50:.0f}")
    stopped = f", {mark}" if mark else ""
    halfway = ", in a run that was interrupted" if row["status"] == "interrupted" else ""
    return (
        f"{text}; measured here, {row['candidate_label']}: {median} ms median, {shown} ms "
        f"P95{weights}{stopped}{halfway}"
    )
