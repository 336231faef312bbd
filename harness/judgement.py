"""A candidate judged by a policy: its verdict, every gate's answer, and sentences on why. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness import caveats
from harness.confirmation import CLIENTS, confirmation_of, newest_confirmation, newest_under_load, withdrawn
from harness.decision_record import Verdict, run_record
from harness.evidence import (
    contradicted,
    current_evidence,
    named_beside,
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
    p95_floor_ms,
    row_place,
    run_at,
    run_for,
    status_text,
    text_of,
)
from harness.guards import (
    blocking,
    changed_by_company,
    doubts_about,
    guards,
    hardly_there,
    interrupted_at,
    sentence,
    time_elsewhere,
    vectors_asked,
)
from harness.objective import latency_at, runs_compared, score_parts, score_text
from harness.open_loop import with_alone
from harness.remedies import means_nothing, missing_commands, ways_out
from harness.rerun import again, command_for, elsewhere
from harness.units import bound_text, exact_number, listed, number_text
from harness.verdict import PICKABLE, VERDICTS, CandidateVerdict, demerit, is_target, verdict_by

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from harness.evidence import Row
    from harness.gates import GateStatus
    from harness.schema import PolicyConfig
    from harness.workload import Place

# Callers beside the one that a confirmation asks where none are declared.
_CALLERS = set(CLIENTS) - {1}
# An AUC whose interval lies over this tells similar pairs from dissimilar ones: the default policy's bound.
_AUC_APART = 0.95
_QUALITY_SCALE = ("separation", "similar_mean", "dissimilar_mean")


@dataclass(frozen=True)
class _Runs:
    """A candidate's runs by what they are read for, the newest first.

    `stored` are all of them, `same` those of one evidence, `current` the newest of these at each place,
    `read` those of them that gates read, `loaded` the newest at each of production's loads. `notes` tell what
    is left out.
    """

    stored: list[Row]
    same: list[Row]
    current: list[Row]
    read: list[Row]
    loaded: dict[Place, Row]
    notes: list[str]

    @property
    def newest(self) -> Row:
        """The newest of all that count."""
        return self.current[0]

    @property
    def under_load(self) -> list[Row]:
        """The newest at each of production's loads that no gate reads."""
        known = {row["run_id"] for row in self.read}
        return [row for row in self.loaded.values() if row["run_id"] not in known]


def judge(rows: list[Row], policy: PolicyConfig, asked: Collection[str]) -> CandidateVerdict:
    """A candidate's verdict.

    Args:
        rows: its runs, the newest first; its label is that of the newest that counts.
        policy: by which it is judged.
        asked: ids of runs that are read before newer ones.
    """
    runs = _runs_of(rows, policy, asked)
    current, read, under_load = runs.current, runs.read, runs.under_load
    results = tuple(ask(gate, run_for(gate, current)) for gate in policy.gates)
    load = confirmation_of(runs.same, policy)
    vectors = tuple(
        (place, r)
        for place, row in runs.loaded.items()
        for r in vectors_asked(row, policy)
        if run_for(r.gate, [row]) is None  # that is asked of it as it is
    )
    deciding = [r for r in results if r.gate.tier == "must" or is_target(r.gate)]
    relied_on = [row for row in read if any(run_for(r.gate, [row]) is row for r in deciding)]
    halfway = [row for row in relied_on if row["status"] == "interrupted"]
    blocks, unknowns = guards([*read, *under_load], policy)
    unsure = [row for row in (*read, *under_load) if guards([row], policy)[1]]
    unknowns += map(interrupted_at, halfway)
    at_best: Verdict = "NO_GO" if blocks else "INCONCLUSIVE" if unknowns else "GO"
    for place, r in vectors:
        if r.status != "PASS":
            (blocks if r.status == "FAIL" else unknowns).append(f"{sentence(r)}, at {place}")
    answers = ((r.gate, r.status) for r in (*results, *(r for _, r in vectors)))
    verdict = verdict_by(at_best, answers, (r.status for _, r in load.results))

    doubts = {
        row["run_id"]: told
        for row in runs_compared(policy, current)
        if (told := [line for line in doubts_about(row, policy) if line not in (*blocks, *unknowns)])
    }
    compared = [row for row in current if row["run_id"] not in doubts]
    leaned_on = [
        *relied_on,
        *(row for row in runs_compared(policy, compared) if all(row is not each for each in relied_on)),
    ]
    told_of = {*doubts, *(row["run_id"] for row in read)}
    loaded_ids = {row["run_id"] for row in under_load}
    unread = [row for row in current if row["run_id"] not in {*told_of, *loaded_ids}]
    ranked = [row for row in runs_compared(policy, unread) if row["status"] != "unavailable"]
    measured = [row for row in read if row["status"] != "unavailable"]

    main = run_at(latency_at(policy), current)
    base = runs.newest if main is None else main  # what is told to type has the words of the run judged
    noisy = any(r.rests_on_noise for _, r in load.results)  # settled as it is
    confirm = _confirm_command(base, runs.loaded, noisy=noisy)
    figures = run_at(latency_at(policy), compared)
    score = score_parts(policy, compared)
    references = [row["overhead_over"] for row in relied_on if row.get("overhead_over") is not None]
    return CandidateVerdict(
        label=str(runs.newest["candidate_label"]),
        verdict=verdict,
        gates=results,
        reasons=_reasons(verdict, blocks, unknowns, deciding, load.failing, current),
        notes=(
            *runs.notes,
            *(
                f"the run at {row_place(row)} was interrupted: {again(row)} goes on"
                for row in current
                if row["status"] == "interrupted"
                and row["run_id"] in told_of
                and all(row is not each for each in halfway)
            ),
            *(f"no figure for the objective: {line}" for told in doubts.values() for line in told),
            *changed_by_company([*read, *under_load]),
            *time_elsewhere(read, policy),
            *(f"no gate reads it: {line}" for line in guards(unread, policy)[0]),
            *_unpinned(runs.newest),
            *_open_shoulds([r for r in results if not means_nothing(r.gate, runs.newest)]),
            *_disagreement(results, current),
            *_quiet_ones_too_few(results),
            *_search_interrupted(current, confirm),
            *_held_against(main, results, current),
            *(f"withdrawn by the newest confirmation: {line}" for line in withdrawn(runs.same, policy)),
            *_unasked(base, policy),
            *([score_text(policy, score)] if score else []),
        ),
        warnings=(*(() if main is None else caveats.of_noise(main)), *hardly_there(read, policy)),
        missing=missing_commands(results, current, base, [*halfway, *unsure]),
        ways_out=ways_out((*results, *(r for _, r in vectors)), current, base),
        confirm=confirm,
        provisional=(
            *_brief(leaned_on),
            *(f"{line} (the Python reference)" for line in _brief(references)),
            *_depends_on_noise(results),
            *_contradicted(runs, deciding, (*load.results, *vectors)),
            *_blocked_before([*leaned_on, *under_load], runs.stored, policy),
            *_fails_elsewise(runs.newest, runs.stored, policy),
            *not_possible_since([*read, *under_load], runs.stored),
        ),
        confirmation=load if load.results else None,
        model=str(runs.newest["model"]),
        latency_p95_ms=None if figures is None else known_figure(figures, "latency_p95_ms"),
        latency_p95_at_least_ms=None if figures is None else p95_floor_ms(figures),
        separation_auc=None if figures is None else as_number(figures["separation_auc"]),
        auc_data=None if figures is None else caveats.data_of("separation_auc", figures),
        scripted=runs.newest["runtime"] == "fake",
        run_ids=tuple(str(row["run_id"]) for row in measured),
        peak_rss_bytes=None if figures is None else as_number(figures["peak_rss_bytes"]),
        score=score,
        at_best=at_best,
        rows=tuple(current),
        compared=tuple(compared),
        vectors=vectors,
        runs=tuple(run_record(row) for row in (*measured, *ranked, *under_load)),
    )


def _runs_of(rows: list[Row], policy: PolicyConfig, asked: Collection[str]) -> _Runs:
    wanted = [row for row in rows if row["run_id"] in asked and _is_read(row, policy)]
    same, notes = of_one_evidence(rows, wanted)
    same = with_alone(same)  # what is not read says nothing of what can be served either
    current, told = current_evidence(same)
    as_read = {row["run_id"]: row for row in same}
    stored = [as_read.get(row["run_id"], row) for row in rows]
    read = [row for row in current if _is_read(row, policy)]
    if not read and all(row["status"] in ("failed", "timeout", "unavailable") for row in stored):
        read = current  # nothing else is known of it: where it failed is no matter
    loaded = {row_place(row): row for row in newest_under_load(same)}
    return _Runs(stored, same, current, read, loaded, [*notes, *told])


def _reasons(
    verdict: Verdict,
    blocks: Sequence[str],
    unknowns: Sequence[str],
    deciding: Sequence[GateResult],
    under_load: Sequence[str],
    current: Sequence[Row],
) -> tuple[str, ...]:
    """Why a candidate has its verdict, what made it first.

    Args:
        verdict: its.
        blocks: what stands against its runs.
        unknowns: what is open of them.
        deciding: the answers of must gates and targets.
        under_load: what fails under production's load.
        current: its runs that count.
    """
    if all(row["status"] == "unavailable" for row in current):
        return (f"not possible here: {text_of(current[0]['error'], '')}",)
    against = [(VERDICTS.index("NO_GO"), line) for line in blocks]
    against += [(VERDICTS.index("INCONCLUSIVE"), line) for line in unknowns]
    failed_first = sorted(deciding, key=lambda r: (r.gate.tier != "must", r.status != "FAIL"))
    against += [(demerit(r.gate, r.status), sentence(r)) for r in failed_first if r.status != "PASS"]
    reasons = [line for _, line in sorted(against, key=lambda of: -of[0])]
    targets = [r for r in deciding if is_target(r.gate)]
    musts = len(deciding) - len(targets)
    if verdict == "GO":
        reasons = [f"all {musts} must gates{' and the latency target' if targets else ''} pass"]
    elif verdict == "CONDITIONAL_GO":
        but = "" if all(r.status == "PASS" for r in targets) else ", the latency target does not"
        reasons.insert(0, f"all {musts} must gates pass{but}")
    if verdict in PICKABLE:
        reasons += [f"not under production's load: {line}" for line in under_load]
    return tuple(reasons)


def _confirm_command(base: Row, loaded: Collection[Place], *, noisy: bool) -> str:
    """What confirms a run under production's load, as declared where it was confirmed before.

    Args:
        base: whose words the command has.
        loaded: the loads that it was confirmed under.
        noisy: an answer there rests on launches that were disturbed.
    """
    anew = {"measure.force": "true"} if noisy else {}
    words = {"workload": "default", "batch_size": 1, "measure": "confirm"}
    return elsewhere(base, **words, **_declared_load(loaded), **anew)


def _quiet_ones_too_few(results: Sequence[GateResult]) -> list[str]:
    return [
        f"{r.gate.tier} gate {r.gate.label}: passes with the launches that were disturbed; the {r.quiet} of "
        f"{r.n} that were quiet are too few by themselves"
        for r in results
        if (r.status, r.undisturbed) == ("PASS", "UNDECIDED")
        and not r.rests_on_noise
        and r.gate.tier != "nice"
    ]


def _search_interrupted(current: Sequence[Row], confirm: str) -> list[str]:
    if all((row["purpose"], row["status"]) != ("search", "interrupted") for row in current):
        return []
    return [f"the search of how far the budget reaches was interrupted: {confirm} goes on"]


def _held_against(main: Row | None, results: Sequence[GateResult], current: list[Row]) -> list[str]:
    """Over which run of the Python reference a run's overhead is, and what it would be over others."""
    reference = None if main is None else main.get("overhead_over")
    told = [] if reference is None else [f"{reference['candidate_label']}, run {reference['run_id']}"]
    return [
        *(f"what it takes over Python is held against {over}" for over in told),
        *_over_others(results, current),
    ]


def _contradicted(
    runs: _Runs, deciding: Sequence[GateResult], loaded: Sequence[tuple[Place, GateResult]]
) -> tuple[str, ...]:
    """What other attempts say against the must gates' answers, or else against the targets'."""
    asked, aimed = (
        [
            (r, row)
            for r in deciding
            if is_target(r.gate) == targets and (row := run_for(r.gate, runs.current)) is not None
        ]
        for targets in (False, True)
    )
    asked += [(r, runs.loaded[place]) for place, r in loaded]
    return contradicted(asked, runs.stored) or contradicted(aimed, runs.stored)


def _is_read(row: Row, policy: PolicyConfig) -> bool:
    """Whether a run stands where a gate reads."""
    return any(run_for(gate, [row]) is row for gate in policy.gates)


def _declared_load(loaded: Collection[Place]) -> dict[str, str]:
    """The words that declare production's callers and rate, where a confirmation was asked with them."""
    callers = {place.clients for place in loaded} - {1}
    rates = [place.offered_qps for place in loaded if place.offered_qps is not None]
    words = {"measure.clients": f"[{','.join(map(str, sorted(callers | _CALLERS)))}]"}
    return (words if callers - _CALLERS else {}) | ({"measure.rate": exact_number(rates[0])} if rates else {})


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


def _open_shoulds(results: Sequence[GateResult]) -> list[str]:
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
        *(sentence(r) for r in open_ones if r.status != "NOT_MEASURED"),
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


def _brief(rows: Sequence[Row]) -> tuple[str, ...]:
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
        answers = [*(ask(gate_at(gate, place), row) for gate in gates), *vectors_asked(row, policy)]
        failing = [
            f"must gate {r.gate.label} fails under production's load, at {place}"
            for r in answers
            if r.status == "FAIL"
        ]
        told += [
            f"provisional: within other CPU limits {line}: run {row['run_id']} ({row['cores']} cores)"
            for line in (*failing, *blocking(row, policy))
        ]
    return tuple(dict.fromkeys(told))


def _blocked_before(read: list[Row], rows: list[Row], policy: PolicyConfig) -> tuple[str, ...]:
    """Other runs of the same thing that no policy can wave through: nobody measures until nothing fails."""
    return tuple(
        f"provisional: in another run of the same thing, {named_beside(other, row)}, {listed(blocks)}"
        for row in read
        if not blocking(row, policy)
        for other in of_the_same_thing(row, rows)
        if (blocks := blocking(other, policy))
    )


def _depends_on_noise(results: tuple[GateResult, ...]) -> tuple[str, ...]:
    """Gates whose answer would be another one without the launches that were flagged as disturbed."""
    return tuple(
        f"provisional: {r.gate.tier} gate {r.gate.label}, {status_text(r.status)}, would be "
        f"{status_text(r.undisturbed)} without the launches that were disturbed; measure on a quiet machine"
        for r in results
        if r.rests_on_noise and r.undisturbed is not None and r.gate.tier != "nice"
    )
