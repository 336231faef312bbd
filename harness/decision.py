"""The decision: each candidate's verdict by a policy, the pick, and why. Pure; nothing is read or written.

The same runs and the same policy give the same bytes, in any order of rows or columns.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from math import isclose
from typing import TYPE_CHECKING

from harness import __version__, caveats
from harness.config import load_policy
from harness.confirmation import (
    CLIENTS,
    confirmation_of,
    newest_confirmation,
    newest_under_load,
    unconfirmable,
    withdrawn,
)
from harness.decision_record import ProvenanceRecord, Verdict, run_record
from harness.evidence import (
    candidate_key,
    checked,
    contradicted,
    current_evidence,
    named_beside,
    names_apart,
    newest_first,
    not_possible_since,
    of_one_evidence,
    of_the_same_thing,
    under_other_limits,
)
from harness.gates import (
    OWN_DATA,
    GateResult,
    as_number,
    ask,
    gate_at,
    known_figure,
    model_names,
    p95_floor_ms,
    plain,
    row_place,
    run_at,
    run_for,
    status_text,
    stopped_cells,
    text_of,
)
from harness.objective import (
    figures_read,
    latency_at,
    objective_words,
    pareto_front,
    preference,
    read_from,
    runs_compared,
    score_parts,
    score_text,
    told_apart_by,
)
from harness.open_loop import with_alone
from harness.overhead import REFERENCE, with_overhead
from harness.remedies import means_nothing, missing_commands, on_the_data_of, ways_out
from harness.rerun import again, command_for, elsewhere
from harness.robustness import share_that_stays
from harness.schema import EP_SHARE_MIN, SERVING_METRICS
from harness.sensitivity import closest_changes
from harness.units import (
    bound_share_text,
    bound_text,
    counted,
    decimal_text,
    exact_number,
    listed,
    number_text,
    share_text,
)
from harness.verdict import (
    PICKABLE,
    VERDICTS,
    CandidateVerdict,
    Decision,
    demerit,
    is_target,
    verdict_by,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    import pandas as pd

    from harness.evidence import Row
    from harness.gates import GateStatus
    from harness.schema import AtConfig, Comparable, PolicyConfig
    from harness.workload import Place

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
# Where an external provider takes too much over the Python reference.
PROVIDER_STEP = "hold the provider against the Python reference stage by stage: tokens, inference, pooling"
# Shares of nodes and of their time on the execution provider that differ by more are both told.
TIME_SHARE_GAP_MAX = 0.1
# Behind what stands against a run, before the command that measures it anew.
_ANEW = "; anew: "
# Callers beside the one that a confirmation asks where none are declared.
_CALLERS = set(CLIENTS) - {1}
# Of a pick that nobody asked to confirm.
_UNCONFIRMED = "nothing was measured under production's load (measure=confirm)"
# An AUC whose interval lies over this tells similar pairs from dissimilar ones: the default policy's bound.
_AUC_APART = 0.95
_QUALITY_SCALE = ("separation", "similar_mean", "dissimilar_mean")


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
        rows = with_overhead(rows, partial(_refused, policy=policy))
    if "must" in over_reference:  # what is the measure can pass none over itself: it is no candidate
        rows = [row for row in rows if row["runtime"] != REFERENCE] or rows
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(candidate_key(row), []).append(row)
    measured = [row for row in rows if row["status"] != "unavailable"] or rows
    scripted_only = all(row["runtime"] == "fake" for row in measured)
    judged = [_judge(groups[key], policy, asked) for key in sorted(groups)]
    called = names_apart([dict(candidate.rows[0]) for candidate in judged])
    candidates = tuple(
        sorted(
            (replace(candidate, label=name) for candidate, name in zip(judged, called, strict=True)),
            key=lambda c: (
                c.scripted and not scripted_only,
                c.impossible,  # no evidence for or against anything
                VERDICTS.index(c.verdict),
                *preference(policy, c.names, partial(read_from, c.compared)),
                c.label,
                c.run_ids,
            ),
        )
    )
    best = candidates[0]
    contenders = [c for c in candidates if c.scripted == best.scripted]
    equals = [c for c in contenders[1:] if c.verdict == best.verdict in PICKABLE]
    disputed = [(c, figures) for c in equals if (figures := told_apart_by(best, c, policy))]
    chosen = best if best.verdict in PICKABLE and not disputed else None
    counting = [row for row in rows if scripted_only or row["runtime"] != "fake"]
    tried = {name for row in counting if row["status"] != "unavailable" for name in model_names(row)}
    untried = [model for model in policy.paths if model not in tried]
    wanted = [c for c in contenders if c is chosen or c.verdict == best.verdict == "INCONCLUSIVE"]
    steps = [line for c in wanted[:1] for line in c.ways_out]
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


def _judge(rows: list[Row], policy: PolicyConfig, asked_ids: Collection[str]) -> CandidateVerdict:
    """A candidate's verdict from its rows, the newest first."""
    wanted = [row for row in rows if row["run_id"] in asked_ids and _is_read(row, policy)]
    same, notes = of_one_evidence(rows, wanted)
    same = with_alone(same)  # what is not read says nothing of what can be served either
    current, told = current_evidence(same)
    notes += told
    as_read = {row["run_id"]: row for row in same}
    rows = [as_read.get(row["run_id"], row) for row in rows]
    results = tuple(ask(gate, run_for(gate, current)) for gate in policy.gates)
    read = [row for row in current if _is_read(row, policy)]
    if not read and all(row["status"] in ("failed", "timeout", "unavailable") for row in rows):
        read = current  # nothing else is known of it: where it failed is no matter
    load = confirmation_of(same, policy)
    confirmation = load if load.results else None
    noisy_load = any(r.rests_on_noise for _, r in load.results)  # settled as it is
    newest = current[0]
    known = {row["run_id"] for row in read}
    loaded = {row_place(row): row for row in newest_under_load(same)}
    under_load = [row for row in loaded.values() if row["run_id"] not in known]
    blocks, unknowns = _guards([*read, *under_load], policy)
    unsure = [row for row in (*read, *under_load) if _guards([row], policy)[1]]
    musts = [r for r in results if r.gate.tier == "must"]
    targets = [r for r in results if is_target(r.gate)]
    deciding = musts + targets
    asked, aimed = (
        [(r, row) for r in some if (row := run_for(r.gate, current)) is not None] for some in (musts, targets)
    )
    vectors = tuple(
        (place, r)
        for place, row in loaded.items()
        for r in _vectors_asked(row, policy)
        if run_for(r.gate, [row]) is None  # that is asked of it as it is
    )
    asked += [(r, loaded[place]) for place, r in (*load.results, *vectors)]
    relied_on = [row for row in read if any(run_for(r.gate, [row]) is row for r in deciding)]
    halfway = [row for row in relied_on if row["status"] == "interrupted"]
    unknowns += map(_halfway, halfway)
    at_best: Verdict = "NO_GO" if blocks else "INCONCLUSIVE" if unknowns else "GO"
    for place, r in vectors:
        if r.status != "PASS":
            (blocks if r.status == "FAIL" else unknowns).append(f"{_sentence(r)}, at {place}")

    doubts = {
        row["run_id"]: told
        for row in runs_compared(policy, current)
        if (told := [line for line in _doubts(row, policy) if line not in (*blocks, *unknowns)])
    }
    compared = [row for row in current if row["run_id"] not in doubts]
    leaned_on = [
        *relied_on,
        *(row for row in runs_compared(policy, compared) if all(row is not each for each in relied_on)),
    ]

    failing = confirmation.failing if confirmation else ()
    answers = ((r.gate, r.status) for r in (*results, *(r for _, r in vectors)))
    verdict = verdict_by(at_best, answers, (r.status for _, r in load.results))
    met = all(r.status == "PASS" for r in targets)
    if all(row["status"] == "unavailable" for row in current):
        blocks, unknowns, deciding = [], [f"not possible here: {text_of(newest['error'], '')}"], []
    against = [(VERDICTS.index("NO_GO"), line) for line in blocks]
    against += [(VERDICTS.index("INCONCLUSIVE"), line) for line in unknowns]
    failed_first = sorted(deciding, key=lambda r: r.status != "FAIL")
    against += [(demerit(r.gate, r.status), _sentence(r)) for r in failed_first if r.status != "PASS"]
    reasons = [line for _, line in sorted(against, key=lambda of: -of[0])]  # what made the verdict first
    if verdict == "GO":
        reasons = [f"all {len(musts)} must gates{' and the latency target' if targets else ''} pass"]
    elif verdict == "CONDITIONAL_GO":
        but = "" if met else ", the latency target does not"
        reasons.insert(0, f"all {len(musts)} must gates pass{but}")
    if verdict in PICKABLE:
        reasons += [f"not under production's load: {line}" for line in failing]
    notes += [
        f"the run at {row_place(row)} was interrupted: {again(row)} goes on"
        for row in current
        if row["status"] == "interrupted"
        and row["run_id"] in {*known, *doubts} - {each["run_id"] for each in halfway}
    ]
    notes += [f"no figure for the objective: {line}" for told in doubts.values() for line in told]
    notes += _time_elsewhere(read, policy)
    told_of = {*known, *doubts, *(row["run_id"] for row in under_load)}
    unread = [row for row in current if row["run_id"] not in told_of]
    ranked = [row for row in runs_compared(policy, unread) if row["status"] != "unavailable"]
    notes += [f"no gate reads it: {line}" for line in _guards(unread, policy)[0]]
    notes += _unpinned(newest)
    notes += _open_shoulds(tuple(r for r in results if not means_nothing(r.gate, newest)))
    notes += _disagreement(results, current)
    notes += [
        f"{r.gate.tier} gate {r.gate.label}: passes with the launches that were disturbed; the {r.quiet} of "
        f"{r.n} that were quiet are too few by themselves"
        for r in results
        if (r.status, r.undisturbed) == ("PASS", "UNDECIDED")
        and not r.rests_on_noise
        and r.gate.tier != "nice"
    ]
    main = run_at(latency_at(policy), current)
    base = newest if main is None else main  # what is told to type has the words of the run that is judged
    confirm = elsewhere(
        base,
        workload="default",
        batch_size=1,
        measure="confirm",
        **_declared_load(loaded),
        **({"measure.force": "true"} if noisy_load else {}),
    )
    if any((row["purpose"], row["status"]) == ("search", "interrupted") for row in current):
        notes.append(f"the search of how far the budget reaches was interrupted: {confirm} goes on")
    references = [row["overhead_over"] for row in relied_on if row.get("overhead_over") is not None]
    if main is not None and (reference := main.get("overhead_over")) is not None:
        over = f"{reference['candidate_label']}, run {reference['run_id']}"
        notes.append(f"what it takes over Python is held against {over}")
    notes += _over_others(results, current)
    notes += [f"withdrawn by the newest confirmation: {line}" for line in withdrawn(same, policy)]
    notes += _unasked(base, policy)
    score = score_parts(policy, compared)
    figures = run_at(latency_at(policy), compared)
    notes += [score_text(policy, score)] if score else []
    measured = [row for row in read if row["status"] != "unavailable"]
    return CandidateVerdict(
        label=str(newest["candidate_label"]),
        verdict=verdict,
        gates=results,
        reasons=tuple(reasons),
        notes=tuple(notes),
        warnings=(*(() if main is None else caveats.of_noise(main)), *_hardly_there(read, policy)),
        missing=missing_commands(results, current, base, [*halfway, *unsure]),
        ways_out=ways_out((*results, *(r for _, r in vectors)), current, base),
        confirm=confirm,
        provisional=(
            *_provisional(leaned_on),
            *(f"{line} (the Python reference)" for line in _provisional(references)),
            *_depends_on_noise(results),
            *(contradicted(asked, rows) or contradicted(aimed, rows)),
            *_blocked_before([*leaned_on, *under_load], rows, policy),
            *_fails_elsewise(newest, rows, policy),
            *not_possible_since([*read, *under_load], rows),
        ),
        confirmation=confirmation,
        model=str(newest["model"]),
        latency_p95_ms=None if figures is None else known_figure(figures, "latency_p95_ms"),
        latency_p95_at_least_ms=None if figures is None else p95_floor_ms(figures),
        separation_auc=None if figures is None else as_number(figures["separation_auc"]),
        auc_data=None if figures is None else caveats.data_of("separation_auc", figures),
        scripted=newest["runtime"] == "fake",
        run_ids=tuple(str(row["run_id"]) for row in measured),
        peak_rss_bytes=None if figures is None else as_number(figures["peak_rss_bytes"]),
        score=score,
        at_best=at_best,
        rows=tuple(current),
        compared=tuple(compared),
        vectors=vectors,
        runs=tuple(run_record(row) for row in (*measured, *ranked, *under_load)),
    )


def _is_read(row: Row, policy: PolicyConfig) -> bool:
    """Whether a run stands where a gate reads."""
    return any(run_for(gate, [row]) is row for gate in policy.gates)


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


def _declared_load(loaded: Collection[Place]) -> dict[str, str]:
    """The words that declare production's callers and rate, where a confirmation was asked with them."""
    callers = {place.clients for place in loaded} - {1}
    rates = [place.offered_qps for place in loaded if place.offered_qps is not None]
    words = {"measure.clients": f"[{','.join(map(str, sorted(callers | _CALLERS)))}]"}
    return (words if callers - _CALLERS else {}) | ({"measure.rate": exact_number(rates[0])} if rates else {})


def _guards(rows: list[Row], policy: PolicyConfig) -> tuple[list[str], list[str]]:
    """What no policy can wave through: reasons against, and reasons that leave it open."""
    blocks, unknowns = [], []
    for row in rows:
        where = row_place(row)
        if row["status"] in ("failed", "timeout"):
            blocks.append(f"the run failed at {where}: {text_of(row['error'], 'no reason known')}{_ANEW}"
                          f"`{again(row, **{'measure.force': 'true'})}`")  # fmt: skip
            continue
        if row["weights"] != "trained":
            unknowns.append(f"weights are {row['weights']}: quality means nothing")
        if row["status"] == "unavailable":
            continue
        finite = as_number(row["finite"])
        if finite is None and row["weights"] == "trained":
            unknowns.append(f"whether all values are finite is unknown at {where}")
        elif finite == 0:
            blocks.append(f"a vector is not finite at {where}")
        failed = as_number(row["launches_failed"])
        if failed is None:
            unknowns.append(f"whether launches failed is unknown at {where}")
        elif failed:
            error = text_of(row["error"], "no reason known")
            blocks.append(f"{failed:.0f} of {row['launches']} launches failed at {where} ({error}){_ANEW}"
                          f"`{again(row, **{'measure.force': 'true'})}`")  # fmt: skip
        nodes, total = as_number(row["ep_nodes"]), as_number(row["nodes_total"])
        told = 0.0 if nodes == 0 else as_number(row["ep_node_share"])
        share = told if told is None or nodes is None or not total else min(told, nodes / total)
        if told is None or share is None:
            unknowns.append(f"where the nodes ran is unknown at {where}")
        elif not share or share < policy.min_ep_node_share:
            blocks.append(
                f"only {share_text(share, beside=(policy.min_ep_node_share,))} of the nodes run on "
                f"{row['ep']} at {where}, {_share_needed(policy.min_ep_node_share)}"
            )
        elif not isclose(share, told):
            unknowns.append(
                f"where the nodes ran is unknown at {where}: ep_node_share is {told:g}, but {nodes:g} of "
                f"{total:g} are on {row['ep']}"
            )
        time = as_number(row["ep_time_share"])
        if time is None and row["ep"] != "cpu" and policy.min_ep_time_share:
            unknowns.append(_unprofiled(row))
        elif time is not None and (not time or time < policy.min_ep_time_share):
            blocks.append(
                f"only {share_text(time, beside=(policy.min_ep_time_share,))} of the nodes' time is on "
                f"{row['ep']} at {where}, {_share_needed(policy.min_ep_time_share)}"
            )
        parity, bound = as_number(row["parity_cosine_min"]), as_number(row["parity_bound"])
        if parity is None or bound is None:
            if row["weights"] == "trained":
                unknowns.append(f"no parity with the fp32 reference was measured at {where}")
        elif parity < bound:
            blocks.append(
                f"parity with the fp32 reference failed at {where}: worst cosine "
                f"{decimal_text(parity, 6, beside=(bound,))}, needed {bound_text(bound)}"
            )
    return list(dict.fromkeys(blocks)), list(dict.fromkeys(unknowns))


def _vectors_asked(row: Row, policy: PolicyConfig) -> list[GateResult]:
    """What a run, wherever it was measured, answers the must gates on vectors that read its batch size.

    Of the user's own data, which it need not be measured on, and of random weights only what is known.
    """
    gates = [g for g in policy.gates if g.tier == "must" and g.metric not in SERVING_METRICS]
    asked = [ask(gate, row) for gate in gates if gate.at.batch_size == row["batch_size"]]
    needed = row["weights"] == "trained"
    return [r for r in asked if r.status != "NOT_MEASURED" or (needed and r.gate.metric not in OWN_DATA)]


def _doubts(row: Row, policy: PolicyConfig) -> list[str]:
    """Why no figure of a run counts: what stands against it, or is open other than that it is a twin."""
    blocks, unknowns = _guards([row], policy)
    doubts = blocks if row["weights"] != "trained" else [*blocks, *unknowns]
    doubts += [_halfway(row)] if row["status"] == "interrupted" else []
    elsewhere = [r for r in _vectors_asked(row, policy) if run_for(r.gate, [row]) is None]
    return [*doubts, *(f"{_sentence(r)}, at {row_place(row)}" for r in elsewhere if r.status == "FAIL")]


def _refused(row: Row, policy: PolicyConfig) -> list[str]:
    """Why a run is no reference: what is faster with vectors that a must gate refuses is no measure."""
    vectors = _vectors_asked(row, policy) if row["weights"] == "trained" else []
    told = [*_doubts(row, policy), *(_sentence(r) for r in vectors if r.status == "FAIL")]
    return [line.partition(_ANEW)[0] for line in told]


def _halfway(row: Row) -> str:
    return f"the run at {row_place(row)} was interrupted"


def _share_needed(least: float) -> str:
    """What a policy's least share on the execution provider asks; 0 asks for some of it all the same."""
    return f"needed {bound_share_text(least)}" if least else "needed some: a run that fell back is never GO"


def _unprofiled(row: Row) -> str:
    return f"no profile says how much of the nodes' time is on {row['ep']} at {row_place(row)}"


def _time_elsewhere(rows: list[Row], policy: PolicyConfig) -> list[str]:
    """Where the share of the nodes on the execution provider says little about their time."""
    told = []
    for row in rows:
        nodes, time = as_number(row["ep_node_share"]), as_number(row["ep_time_share"])
        if time is None and row["ep"] != "cpu" and not policy.min_ep_time_share:
            told.append(_unprofiled(row))
        if nodes is not None and time is not None and abs(nodes - time) > TIME_SHARE_GAP_MAX:
            told.append(
                f"{share_text(nodes)} of the nodes but {share_text(time)} of their time are on {row['ep']} "
                f"at {row_place(row)}"
            )
    return told


def _hardly_there(rows: list[Row], policy: PolicyConfig) -> list[str]:
    """What a policy lets pass though most of it was elsewhere than on the execution provider."""
    asked = [
        ("ep_node_share", "nodes", policy.min_ep_node_share),
        ("ep_time_share", "nodes' time", policy.min_ep_time_share),
    ]
    return [
        f"only {number_text(share, 2, beside=(EP_SHARE_MIN,))} of the {what} on {row['ep']} at "
        f"{row_place(row)}, under the usual "
        f"{EP_SHARE_MIN:g}: the figures are mostly another provider's"
        for row in rows
        for name, what, least in asked
        if (share := as_number(row[name])) and least <= share < EP_SHARE_MIN
    ]


def _sentence(result: GateResult) -> str:
    gate, beside = result.gate, (result.gate.bound,)
    shown, _ = stopped_cells(result.floor_ms, number_text(result.value, beside=beside), "", beside=beside)
    value = "" if result.value is None else f" is {shown}"
    why = f" ({result.reason})" if result.reason else ""
    state = {"FAIL": "fails", "UNDECIDED": "is undecided", "NOT_MEASURED": "was not measured"}
    return (
        f"{gate.tier} gate {state[result.status]}: {gate.label}{value}, "
        f"needed {gate.op} {bound_text(gate.bound)}{why}"
    )


def _unpinned(row: Row) -> list[str]:
    """That nobody fixed the revision: another machine may get another model under the same name."""
    if row.get("revision_pinned") is not False:
        return []
    return [f"revision not pinned: {text_of(row['source'], '')}; another machine may find another one there"]


def _unasked(row: Row, policy: PolicyConfig) -> list[str]:
    """Figures on the user's own data that no gate reads: the verdict is on the shipped texts."""
    asked = {gate.metric for gate in policy.gates}
    known = {metric: as_number(row[metric]) for metric in OWN_DATA if metric not in asked}
    return [
        f"{metric} on your own data is {number_text(value)}, and no gate of policy {policy.name} asks it; "
        "one of a policy.file= can"
        for metric, value in known.items()
        if value is not None
    ]


def _open_shoulds(results: tuple[GateResult, ...]) -> list[str]:
    """Shoulds that do not pass; those that one missing run leaves open in one line."""
    open_ones = [
        r for r in results if r.gate.tier == "should" and r.status != "PASS" and not is_target(r.gate)
    ]
    unmeasured: dict[str, list[str]] = {}
    for r in open_ones:
        if r.status == "NOT_MEASURED":
            unmeasured.setdefault(r.reason, []).append(r.gate.label)
    return [
        *(f"should gates not measured: {', '.join(labels)} ({why})" for why, labels in unmeasured.items()),
        *(_sentence(r) for r in open_ones if r.status != "NOT_MEASURED"),
    ]


def _over_others(results: Sequence[GateResult], rows: list[Row]) -> list[str]:
    """Where a gate on what a run takes over the reference is answered otherwise over a slower one."""
    told = []
    for r in results:
        if r.gate.metric != "latency_overhead" or (row := run_for(r.gate, rows)) is None:
            continue
        answers: dict[GateStatus, list[str]] = {}
        for over, value, low, high in row["overheads"]:
            ends = {"latency_overhead_low": low, "latency_overhead_high": high, "overhead_quiet": None}
            answer = ask(r.gate, {**row, "latency_overhead": value, **ends}).status
            answers.setdefault(answer, []).append(str(over["run_id"]))
        others = [f"{status_text(a)} over {', '.join(ids)}" for a, ids in answers.items() if a != r.status]
        if others:
            told.append(
                f"{r.gate.tier} gate {r.gate.label}: {status_text(r.status)} over the fastest run of the "
                f"reference, {row['overhead_over']['run_id']}; {'; '.join(others)}"
            )
    return told


def _disagreement(results: tuple[GateResult, ...], rows: list[Row]) -> list[str]:
    """Where a run's absolute and scale-free quality disagree, in words: the AUC gated or not."""
    told = []
    for row in rows:
        here = [r for r in results if run_for(r.gate, [row]) is row]
        low, high = (as_number(row[f"separation_auc_{end}"]) for end in ("low", "high"))
        auc = number_text(as_number(row["separation_auc"]))
        metrics = {status: [r.gate.metric for r in here if r.status == status] for status in ("PASS", "FAIL")}
        failing = dict.fromkeys(metric for metric in metrics["FAIL"] if metric in _QUALITY_SCALE)
        if failing and low is not None and low >= _AUC_APART:
            told.append(
                f"the absolute gates on {' and '.join(failing)} fail while similar pairs still rank above "
                f"dissimilar ones (AUC {auc}): that is the scale of this model's cosines, not its ranking"
            )
        overlap = "separation_auc" in metrics["FAIL"] or (high is not None and high < _AUC_APART)
        if "separation" in metrics["PASS"] and overlap:
            told.append(
                "the absolute gate on separation passes while too many similar pairs rank under dissimilar "
                f"ones (AUC {auc}): the means lie apart and the pairs overlap, and a search goes by ranks"
            )
    return list(dict.fromkeys(told))


def _provisional(rows: list[Row]) -> tuple[str, ...]:
    short = [(as_number(row["evidence_span_s"]), row) for row in rows if caveats.is_brief(row)]
    if not short:
        return ()
    span_s, row = min(short, key=lambda item: item[0] or 0.0)
    wanted = as_number(row["min_span_s"]) or 0.0
    span, under = "an unknown time", "needed are"
    if span_s is not None:
        span, under = f"{number_text(span_s, 3, beside=(wanted,))} s", "under"
    spread = command_for(row, **{"measure.spread": "true"})
    return (
        f"provisional: the launches at {row_place(row)} stand for {span} of this machine, {under} "
        f"{bound_text(wanted)} s; spread more of them with: `{spread}`",
    )


def _fails_elsewise(newest: Row, rows: list[Row], policy: PolicyConfig) -> tuple[str, ...]:
    """What fails under production's load, confirmed within other CPU limits than are read.

    Which limit is production's is not known here: whoever decides has to be told.
    """
    gates = [g for g in policy.gates if g.tier == "must" and g.metric == "latency_p95_ms"]
    told = []
    for row in newest_confirmation(under_other_limits(newest, rows)):
        place = row_place(row)
        answers = [*(ask(gate_at(gate, place), row) for gate in gates), *_vectors_asked(row, policy)]
        failing = [
            f"must gate {r.gate.label} fails under production's load, at {place}"
            for r in answers
            if r.status == "FAIL"
        ]
        told += [
            f"provisional: within other CPU limits {line}: run {row['run_id']} ({row['cores']} cores)"
            for line in (*failing, *_blocking(row, policy))
        ]
    return tuple(dict.fromkeys(told))


def _blocked_before(read: list[Row], rows: list[Row], policy: PolicyConfig) -> tuple[str, ...]:
    """Other runs of the same thing that no policy can wave through: nobody measures until nothing fails."""
    return tuple(
        f"provisional: in another run of the same thing, {named_beside(other, row)}, {listed(blocking)}"
        for row in read
        if not _blocking(row, policy)
        for other in of_the_same_thing(row, rows)
        if (blocking := _blocking(other, policy))
    )


def _blocking(row: Row, policy: PolicyConfig) -> list[str]:
    """What of a run no policy can wave through, without the command that measures it anew."""
    return [block.partition(_ANEW)[0] for block in _guards([row], policy)[0]]


def _depends_on_noise(results: tuple[GateResult, ...]) -> tuple[str, ...]:
    """Gates whose answer would be another one without the launches that were flagged as disturbed."""
    return tuple(
        f"provisional: {r.gate.tier} gate {r.gate.label}, {status_text(r.status)}, would be "
        f"{status_text(r.undisturbed)} without the launches that were disturbed; measure on a quiet machine"
        for r in results
        if r.rests_on_noise and r.undisturbed is not None and r.gate.tier != "nice"
    )


def _overall_reasons(
    contenders: list[CandidateVerdict], policy: PolicyConfig, untried: list[str]
) -> tuple[str, ...]:
    best, *others = contenders
    alternatives = [f"alternatives that are not among these runs: {', '.join(untried)}"] if untried else []
    if best.verdict in PICKABLE:
        equals = [c for c in others if c.verdict == best.verdict]
        reasons = [f"{best.label}: {reason}" for reason in best.reasons]
        if (p95_ms := best.point.least_ms) is not None:
            bounds = [gate.bound for gate in policy.gates if gate.metric == "latency_p95_ms"]
            told_ms = decimal_text(p95_ms, 2, beside=bounds)
            shown, _ = stopped_cells(best.latency_p95_at_least_ms, told_ms, "", beside=bounds)
            reasons.append(f"{best.label}: P95 {shown} ms, the median launch's")
        if equals:
            before = listed([c.label for c in equals])
            reasons.append(f"picked by {objective_words(policy)}, before {before}")
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
    if policy.fallback is None:
        return None
    text, fallback = policy.fallback.sentence, policy.fallback
    mine = [row for row in rows if fallback.model in model_names(row) and row["ep"] == fallback.ep]
    row = run_at(latency_at(policy), mine)
    if row is None or row["status"] == "unavailable":
        return f"{text}; no figures of this machine"
    if blocks := _guards([row], policy)[0]:
        return f"{text}; but measured here, {'; '.join(blocks)}"
    p50, p95 = as_number(row["latency_p50_ms"]), as_number(row["latency_p95_ms"])
    if p50 is None or p95 is None:
        return f"{text}; no figures of this machine"
    weights = "" if row["weights"] == "trained" else f" with {row['weights']} weights"
    shown, mark = stopped_cells(p95_floor_ms(row), f"{p95:.0f}", "")
    stopped = f", {mark}" if mark else ""
    halfway = ", in a run that was interrupted" if row["status"] == "interrupted" else ""
    return f"{text}; measured here: {p50:.0f} ms median, {shown} ms P95{weights}{stopped}{halfway}"
