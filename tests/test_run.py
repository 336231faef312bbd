"""A run while it is measured: what it is asked, when it is done, what is told of it."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from harness.candidate import identity
from harness.config import load_policy
from harness.environment import fingerprint, usable_cores
from harness.record import RUN_COLUMNS, SCHEMA_VERSION, to_table
from harness.run import Run
from harness.texts import corpus
from harness.workload import MIXTURE
from tests.conftest import STARTED, launch_row, run_row

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.artifacts.manifest import Artifact
    from harness.schema import Config

    Plan = Callable[..., Config]

DAY_S = 86_400


def planned(config: Config, *p95s: float | None, every_s: float = 1.0) -> Run:
    """A run with a launch for each P95 in ms, one every so many seconds; None is a failed one."""
    run = Run.planned(config)
    for index, p95_ms in enumerate(p95s):
        started_at = STARTED + timedelta(seconds=index * every_s)
        row = launch_row(index, p95_ms=p95_ms or 1.0, started_at=started_at)
        run.launches.append(row if p95_ms else row | {"status": "failed", "error": "died"})
    return run


def gate(**changes: Any) -> dict[str, Any]:
    return {
        "tier": "must", "metric": "latency_p95_ms", "op": "<", "bound": 30.0, "label": "P95",
        "launch_quantile": 0.8,
    } | changes  # fmt: skip


def bounds(run: Run) -> list[tuple[str, str, float]]:
    return [(gate.tier, gate.metric, gate.bound) for gate in run.gates()]


# --- what it is asked

MUST_LATENCY = ("must", "latency_p95_ms", 30.0)
TARGET = ("should", "latency_p95_ms", 20.0)


def test_a_latency_run_answers_the_must_and_should_gates_that_read_its_place(config: Plan) -> None:
    assert bounds(planned(config())) == [MUST_LATENCY, TARGET]
    assert bounds(planned(config(batch_size=32))) == [("should", "throughput_texts_per_s", 100.0)]
    assert bounds(planned(config(batch_size=8))) == []


@pytest.mark.parametrize(
    "workload",
    [{"clients": 2}, {"arrival": "poisson", "rate": 10.0}, {"seed": 1}],
    ids=str,
)
def test_a_gate_on_one_caller_back_to_back_does_not_read_another_load(
    config: Plan, workload: dict[str, Any]
) -> None:
    assert bounds(planned(config(workload=workload))) == []


def test_a_gate_may_read_concurrent_callers_or_paced_arrivals(config: Plan) -> None:
    two = gate(at={"clients": 2})
    paced = gate(label="paced", bound=40.0, at={"workload": "mixture", "arrival": "poisson", "rate": 10.0})
    policy = {"gates": [two, paced]}
    assert bounds(planned(config(policy=policy, workload={"clients": 2}))) == [MUST_LATENCY]
    mixture = {"name": "mixture", "lengths": "mixture", "arrival": "poisson", "rate": 10.0}
    assert bounds(planned(config(policy=policy, workload=mixture))) == [("must", "latency_p95_ms", 40.0)]
    assert bounds(planned(config(policy=policy, workload=mixture | {"rate": 11.0}))) == []


@pytest.mark.parametrize("purpose", ["confirm", "search"])
@pytest.mark.parametrize(
    "place", [{}, {"batch_size": 32}, {"workload": {"clients": 4}}, {"workload": "mixture"}], ids=str
)
def test_where_it_confirms_or_searches_the_must_latency_gates_are_asked_whatever_the_place(
    config: Plan, purpose: str, place: dict[str, Any]
) -> None:
    assert bounds(planned(config(measure={"purpose": purpose}, **place))) == [MUST_LATENCY]


def test_where_it_confirms_all_must_latency_gates_are_asked_wherever_they_read(config: Plan) -> None:
    gates = [gate(), gate(label="of 32", bound=100.0, at={"batch_size": 32}), gate(tier="should", bound=1.0)]
    run = planned(config(measure={"purpose": "confirm"}, policy={"gates": gates}))
    assert bounds(run) == [MUST_LATENCY, ("must", "latency_p95_ms", 100.0)]


def test_a_soak_answers_no_gate_of_launches(config: Plan) -> None:
    run = planned(config(measure={"purpose": "soak", "launches": 1}))
    assert (run.gates(), run.soaks, planned(config()).soaks) == ([], True, False)


# --- why


@pytest.mark.parametrize("stored", [None, "search", "latency", "confirm", "soak"])
@pytest.mark.parametrize("now", ["search", "latency", "confirm"])
def test_the_weightiest_reason_is_carried(config: Plan, now: str, stored: str | None) -> None:
    run = planned(config(measure={"purpose": now}))
    run.stored = None if stored is None else {"purpose": stored}
    order = ["soak", "confirm", "latency", "search"]
    assert run.purpose == min((now, stored or now), key=order.index)


# --- how many requests, what it may be pooled with


@pytest.mark.parametrize(
    ("rate", "requests", "served"),
    [
        (None, 100, 100),
        (5.0, 100, 100),
        (20.0, 100, 100),
        (20.1, 100, 101),
        (50.0, 100, 250),
        (50.0, 300, 300),
    ],
)
def test_a_paced_launch_serves_what_arrives_in_five_seconds_if_that_is_more(
    config: Plan, rate: float | None, requests: int, served: int
) -> None:
    paced = {} if rate is None else {"arrival": "poisson", "rate": rate}
    assert planned(config(workload=paced, measure={"requests": requests})).requests == served


def stored(**changes: Any) -> dict[str, Any]:
    """What matters here of a stored row."""
    return {"status": "complete", "truncated_over_ms": None} | changes


@pytest.mark.parametrize(
    ("row", "can"),
    [
        (stored(), True),
        (stored(status="interrupted"), True),
        (stored(status="failed"), False),
        (stored(status="timeout"), False),
        (stored(truncated_over_ms=29.0), False),
        (stored(truncated_over_ms=30.0), True),
        (stored(truncated_over_ms=31.0), True),
        (stored(status="failed", truncated_over_ms=31.0), False),
    ],
    ids=str,
)
def test_more_launches_are_pooled_with_those_that_did_not_all_fail_nor_stopped_too_early(
    config: Plan, row: dict[str, Any], can: bool
) -> None:
    """The loosest bound asked here is 30 ms, the target's 20 ms is none."""
    assert planned(config()).can_go_on_from(row) == can


def test_where_no_latency_gate_is_asked_it_does_not_matter_over_what_launches_were_stopped(
    config: Plan,
) -> None:
    assert planned(config(batch_size=8)).loosest_bound_ms() is None
    assert planned(config(batch_size=8)).can_go_on_from(stored(truncated_over_ms=1.0))


def test_where_throughput_is_asked_no_launch_is_stopped_early_nor_pooled_with_one_that_was(
    config: Plan,
) -> None:
    """A launch that was stopped early served other texts than the others."""
    raw = load_policy().model_dump()
    rate = next(gate for gate in raw["gates"] if gate["metric"] == "throughput_texts_per_s")
    both = raw | {"gates": [*raw["gates"], rate | {"label": "alone", "at": {"batch_size": 1}}]}
    run = planned(config(policy=both))
    assert len(bounds(run)) == len(bounds(planned(config()))) + 1
    assert run.loosest_bound_ms() is None
    assert not run.can_go_on_from(stored(truncated_over_ms=30.0))
    assert run.can_go_on_from(stored())


# --- when it is done


def test_it_is_done_once_its_gates_are_settled(config: Plan) -> None:
    assert not planned(config(), *[2.0] * 16).done()
    assert planned(config(), *[2.0] * 17).done()
    assert not planned(config(), *[40.0] * 5).done()
    assert planned(config(), *[40.0] * 6).done()


def test_it_is_measured_a_least_number_of_times_even_where_nothing_is_asked(config: Plan) -> None:
    assert not planned(config(batch_size=8), *[2.0] * 5).done()
    assert planned(config(batch_size=8), *[2.0] * 6).done()
    assert planned(config(batch_size=8, measure={"min_launches": 3}), *[2.0] * 3).done()


def test_a_run_of_search_is_done_when_the_must_gate_is_and_does_not_wait_for_the_target(
    config: Plan,
) -> None:
    """17 launches at 25 ms pass the gate at 30; the target at 20 would fail after six."""
    assert not planned(config(measure={"purpose": "search"}), *[25.0] * 16).done()
    assert planned(config(measure={"purpose": "search"}), *[25.0] * 17).done()


@pytest.mark.parametrize(
    ("every_s", "launches", "done"),
    [(1.0, 17, False), (90 / 16, 17, True), (5.3, 17, False), (5.3, 18, True), (18.0, 6, True),
     (DAY_S, 5, False), (DAY_S, 6, True)],
)  # fmt: skip
def test_a_settled_run_that_is_to_be_spread_goes_on_until_its_evidence_spans_enough(
    config: Plan, every_s: float, launches: int, done: bool
) -> None:
    run = planned(config(measure={"spread": True}), *[40.0] * launches, every_s=every_s)
    assert (run.settled(), run.done()) == (launches >= 6, done)


def test_a_spread_run_that_spans_enough_goes_on_until_it_is_settled(config: Plan) -> None:
    run = planned(config(measure={"spread": True}), *[2.0] * 16, every_s=18.0)
    assert (run.settled(), run.done()) == (False, False)


def test_two_bursts_a_day_apart_span_nothing(config: Plan) -> None:
    run = planned(config(measure={"spread": True}), *[2.0] * 20)
    for row in run.launches[10:]:
        row["started_at"] += timedelta(days=1)
    assert (run.settled(), run.done()) == (True, False)
    assert planned(config(), *[2.0] * 20).done(), "not spread, a burst will do"


@pytest.mark.parametrize("spread", [True, False])
def test_at_the_cap_of_the_command_it_is_done_though_nothing_is_settled(config: Plan, spread: bool) -> None:
    at_the_bound = {"gates": [gate(launch_quantile=0.5)]}
    run = planned(config(measure={"spread": spread}, policy=at_the_bound), *[2.0, 40.0] * 20)
    assert (run.settled(), run.done()) == (False, True)
    run.stored_launches = 1  # the cap counts what this command measures
    assert not run.done()


def test_at_the_cap_of_the_command_it_is_done_though_it_spans_too_little(config: Plan) -> None:
    assert not planned(config(measure={"spread": True}), *[2.0] * 39).done()
    assert planned(config(measure={"spread": True}), *[2.0] * 40).done()


def test_a_number_of_launches_that_was_asked_for_needs_no_span(config: Plan) -> None:
    assert planned(config(measure={"launches": 3, "spread": True}), 2.0, 2.0, 2.0).done()


def test_a_run_whose_launches_all_fail_is_not_spread_out(config: Plan) -> None:
    assert planned(config(measure={"spread": True}), None, None, None).done()
    assert not planned(config(measure={"spread": True}), None, None, 2.0).done()


def test_a_run_that_is_not_possible_is_done_and_wants_nothing(config: Plan) -> None:
    run = Run.planned(config())
    assert (run.done(), run.wanting()) == (False, True)
    run.error = "not here"
    assert (run.done(), run.wanting()) == (True, False)


def test_a_run_wants_a_row_that_is_behind_and_facts_that_are_missing(config: Plan) -> None:
    run = planned(config(), *[2.0] * 17)
    assert run.wanting(), "nothing is known of it"
    run.facts = {"finite": True}
    assert not run.wanting()
    run.stale = True
    assert run.wanting()


@pytest.mark.parametrize(
    ("measure", "p95s", "left"),
    [
        ({}, [], 17),
        ({}, [2.0] * 10, 7),
        ({}, [40.0] * 5, 1),
        ({}, [2.0] * 17, 0),
        ({"launches": 5}, [2.0] * 3, 2),
        ({"launches": 2}, [2.0] * 3, 0),
        ({"max_launches": 18}, [2.0, 40.0] * 5, 8),
    ],
)
def test_how_many_launches_are_left_is_estimated_within_the_cap(
    config: Plan, measure: dict[str, Any], p95s: list[float], left: int
) -> None:
    assert planned(config(measure=measure), *p95s).launches_left() == left


# --- how it is loaded


def test_a_limit_on_cores_sets_the_threads_that_nobody_chose(config: Plan) -> None:
    assert planned(config()).options().threads is None
    assert planned(config(measure={"cpus": 3})).options().threads == 3
    assert planned(config(threads=5, measure={"cpus": 3})).options().threads == 5


def test_a_limit_on_cores_is_what_it_may_use(config: Plan) -> None:
    assert planned(config()).cores == usable_cores()
    assert planned(config(measure={"cpus": 3})).cores == 3


# --- identity


def hash_of(config: Config, artifact: Artifact | None = None) -> str:
    run = Run.planned(config)
    run.artifact = artifact
    run.identify()
    return run.config_hash


@pytest.mark.parametrize(
    "changes",
    [
        {"measure": {"cpus": 1}},
        {"measure": {"cpus": usable_cores()}},
        {"measure": {"replicate": 1}},
        {"measure": {"replicate": 2}},
        {"measure": {"purpose": "soak"}},
        {"measure": {"purpose": "soak", "duration_s": 31.0}},
        {"workload": {"clients": 2}},
        {"workload": {"arrival": "poisson", "rate": 5.0}},
        {"workload": {"arrival": "poisson", "rate": 6.0}},
        {"measure": {"requests": 200}},
        {"workload": {"arrival": "poisson", "rate": 5.0}, "measure": {"requests": 200}},
    ],
    ids=str,
)
def test_what_matters_is_in_its_identity(config: Plan, changes: dict[str, Any]) -> None:
    others = [config(), config(batch_size=2), config(measure={"cpus": 99}), config(measure={"replicate": 99})]
    assert hash_of(config(**changes)) == hash_of(config(**changes))
    assert hash_of(config(**changes)) not in {hash_of(other) for other in others}


def test_a_cpu_quota_is_in_its_identity_and_where_there_is_none_nothing_is(
    config: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, told = fingerprint(), []

    def identity_of(_candidate: object, workload: dict[str, Any], **_more: object) -> str:
        told.append(workload.get("container_cpus", "not said"))
        return identity(workload)

    monkeypatch.setattr("harness.run.run_identity", identity_of)
    hashes = set()
    for quota in (None, 0.5, 1.0):
        monkeypatch.setattr("harness.run.fingerprint", lambda q=quota: replace(here, container_cpus=q))
        hashes.add(hash_of(config()))
    assert told == ["not said", 0.5, 1.0]
    assert len(hashes) == 3


def test_the_cores_that_it_could_use_are_in_its_identity_though_it_is_held_to_fewer(
    config: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the machine is seen to compute around its launches hangs on them."""
    here, hashes = fingerprint(), set()
    for cores in (2, 4):
        monkeypatch.setattr("harness.run.fingerprint", lambda n=cores: replace(here, cores=n))
        hashes |= {hash_of(config(measure={"cpus": 2})), hash_of(config())}
    assert len(hashes) == 4


@pytest.mark.parametrize(
    "measure",
    [
        {"purpose": "confirm"},
        {"purpose": "search"},
        {"duration_s": 31.0},
        {"clients": [8]},
        {"purpose": "confirm", "rate": 3.0},
        {"spread": True, "min_span_s": 3.0, "quiet_wait_s": 0.0},
        {"launches": 3, "force": True, "seed": 3},
    ],
    ids=str,
)
def test_why_and_how_long_it_is_measured_is_not(config: Plan, measure: dict[str, Any]) -> None:
    assert hash_of(config(measure=measure)) == hash_of(config())


def test_the_requests_that_a_paced_launch_serves_are_in_its_identity_not_those_typed(
    config: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    fast = {"arrival": "poisson", "rate": 50.0}
    typed = [config(workload=fast, measure={"requests": n}) for n in (100, 250, 251)]
    hashes = [hash_of(plan) for plan in typed]
    assert hashes[0] == hashes[1] != hashes[2], "250 arrive in five seconds"
    monkeypatch.setattr("harness.workload.PACED_S", 6.0)
    assert hash_of(typed[0]) != hashes[0]


def test_the_schema_is_in_its_identity(config: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of another schema hold columns of another meaning: nothing is pooled with them."""
    before = hash_of(config())
    monkeypatch.setattr("harness.run.SCHEMA_VERSION", SCHEMA_VERSION + 1)
    assert hash_of(config()) != before


def test_the_texts_that_requests_are_drawn_from_are_in_its_identity(
    config: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashes = {hash_of(config())}
    with monkeypatch.context() as patch:
        patch.setattr("harness.workload.corpus", lambda kind: (*corpus(kind), "one more"))
        hashes.add(hash_of(config()))
    with monkeypatch.context() as patch:
        patch.setattr("harness.workload.MIXTURE", MIXTURE | {"short": 11})
        hashes.add(hash_of(config()))
    assert len(hashes) == 3


def test_the_python_that_tokenizes_and_calls_is_in_its_identity(
    config: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = hash_of(config())
    other = replace(fingerprint(), python="3.99.0")
    monkeypatch.setattr("harness.run.fingerprint", lambda: other)
    assert hash_of(config()) != before


def test_attempts_at_one_run_have_ids_of_their_own_that_follow_from_it(config: Plan) -> None:
    run, same, other = (planned(config(threads=n)) for n in (1, 1, 2))
    for one in (run, same, other):
        one.identify()
    ids = [run.attempt_id(n) for n in range(4)]
    assert ids == [same.attempt_id(n) for n in range(4)]
    assert ids[0] == run.config_hash[:16]
    assert len({*ids, *(other.attempt_id(n) for n in range(4))}) == 8
    assert {len(attempt) for attempt in ids} == {16}


def test_runs_share_what_was_found_out_where_candidate_artifact_batch_size_and_cores_agree(
    config: Plan, fake_artifact: Artifact
) -> None:
    def described(artifact: Artifact | None = fake_artifact, **changes: Any) -> str:
        run = Run.planned(config(**changes))
        run.artifact = artifact
        return run.describes()

    same = [
        {"workload": "mixture"},
        {"workload": {"clients": 4}},
        {"measure": {"replicate": 1}},
        {"measure": {"cpus": usable_cores()}},
    ]
    assert {described(**changes) for changes in same} == {described()}
    others = [{"batch_size": 2}, {"threads": 1}, {"measure": {"cpus": 99}}, {"artifact": None}]
    assert len({described(), *(described(**changes) for changes in others)}) == 5


# --- its row


def row_of(run: Run, artifact: Artifact) -> dict[str, Any]:
    run.artifact, run.run_id = artifact, "r1"
    run.identify()
    row = run.row("s1")
    assert to_table([row], RUN_COLUMNS).num_rows == 1
    return row


def test_a_row_tells_its_load_its_reason_and_its_limits(config: Plan, fake_artifact: Artifact) -> None:
    workload = {"clients": 3, "arrival": "poisson", "rate": 12.0}
    measure = {"purpose": "confirm", "replicate": 2, "cpus": 1, "launches": 2}
    row = row_of(planned(config(workload=workload, measure=measure), 2.0, 3.0), fake_artifact)
    told = ("clients", "arrival", "offered_qps", "purpose", "replicate", "cpus", "cores", "threads")
    assert [row[name] for name in told] == [3, "poisson", 12.0, "confirm", 2, 1, 1, None]
    assert (row["status"], row["launch_disturbed"], row["noise"]) == ("complete", [None, None], None)
    assert json.loads(row["environment"])["machine_id"] == row["machine_id"]


@pytest.mark.parametrize(
    ("p95s", "status"),
    [
        ((2.0,), "interrupted"),
        ((2.0,) * 17, "complete"),
        ((None,) * 3, "failed"),
        ((2.0,) * 16 + (None,), "interrupted"),
    ],
)
def test_a_row_tells_how_it_stands(
    config: Plan, fake_artifact: Artifact, p95s: tuple[float | None, ...], status: str
) -> None:
    row = row_of(planned(config(), *p95s), fake_artifact)
    assert (row["status"], row["settled"]) == (status, status == "complete")


def test_a_settled_run_that_spans_too_little_of_what_was_to_be_spread_is_interrupted(
    config: Plan, fake_artifact: Artifact
) -> None:
    row = row_of(planned(config(measure={"spread": True}), *[2.0] * 17), fake_artifact)
    assert (row["status"], row["settled"], row["evidence_span_s"]) == ("interrupted", True, 16.0)


# Of the command that measured, whatever wrote the row since.
OF_THE_MEASURING = {
    "sweep_id": "earlier", "finished_at": STARTED, "git_commit": "abc", "command": "python -m harness x=1",
    "environment": "{}", "launches_before": 1,
}  # fmt: skip


@pytest.mark.parametrize(
    ("still_there", "measured", "kept"),
    [(2, 2, True), (2, 3, False), (0, 2, False)],
    ids=["nothing new", "one more", "as many anew, after the first were lost"],
)
def test_a_row_tells_of_the_command_that_measured_the_launches_it_has(
    config: Plan, fake_artifact: Artifact, still_there: int, measured: int, kept: bool
) -> None:
    run = planned(config(measure={"launches": 2}), *[2.0] * measured)
    run.stored = run_row(launches=2) | OF_THE_MEASURING
    run.stored_launches = still_there
    row = row_of(run, fake_artifact)
    found = {name: row[name] == value for name, value in OF_THE_MEASURING.items()}
    assert found == dict.fromkeys(OF_THE_MEASURING, kept)


def test_a_span_is_never_told_by_another_rule_than_it_was_counted_by(
    config: Plan, fake_artifact: Artifact
) -> None:
    """Two bursts a day apart; the command that finds them measured wants no span and counts the day."""
    run = planned(config(measure={"launches": 2, "min_span_s": 90.0}), 2.0, 2.0, every_s=DAY_S)
    run.stored = row_of(run, fake_artifact)
    assert (run.stored["evidence_span_s"], run.stored["min_span_s"]) == (18.0, 90.0)
    again = planned(config(measure={"launches": 2, "min_span_s": 0.0}), 2.0, 2.0, every_s=DAY_S)
    again.stored, again.stored_launches = run.stored, 2
    row = row_of(again, fake_artifact)
    assert (row["evidence_span_s"], row["min_span_s"]) == (18.0, 90.0)


def test_evidence_that_was_to_span_nothing_is_to_span_what_the_next_command_asks(
    config: Plan, fake_artifact: Artifact
) -> None:
    run = planned(config(measure={"launches": 2, "min_span_s": 0.0}), 2.0, 2.0)
    stored = row_of(run, fake_artifact)
    assert stored["min_span_s"] == 0.0
    again = planned(config(measure={"launches": 2}), 2.0, 2.0)
    again.stored, again.stored_launches = stored, 2
    assert row_of(again, fake_artifact)["min_span_s"] == 90.0


def test_a_row_keeps_the_confirmation_it_is_part_of_until_a_newer_one_takes_it_up(
    config: Plan, fake_artifact: Artifact
) -> None:
    run = planned(config(measure={"launches": 2}), 2.0, 2.0)
    assert row_of(run, fake_artifact)["confirmation_at"] is None
    run.stored = row_of(run, fake_artifact) | {"purpose": "confirm", "confirmation_at": STARTED}
    row = row_of(run, fake_artifact)
    assert (row["purpose"], row["confirmation_at"]) == ("confirm", STARTED)
    run.confirmation_at = STARTED + timedelta(hours=1)
    assert row_of(run, fake_artifact)["confirmation_at"] == STARTED + timedelta(hours=1)


def test_the_label_tells_soak_runs_apart(config: Plan) -> None:
    assert planned(config()).label == "minilm fp32 fake cpu: default, batch 1"
    soak = planned(config(measure={"purpose": "soak"}))
    assert soak.label == "minilm fp32 fake cpu soak: default, batch 1"


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ({"path": "models/support-search-v3/"}, "support-search-v3+49a9"),
        ({"id": "org/own-model"}, "own-model+49a9"),
        ({"path": "my models (v3)\x1b[2J"}, "my-models-v3-2J+49a9"),
        ({"path": "???"}, "custom+49a9"),
        ({"path": "copies/minilm"}, "own-minilm+49a9"),  # what select=model=minilm does not mean
        ({"path": "e4ce9877abf3edfe10b0d82785e83bdcb973e22e"}, "custom+49a9"),
        ({"path": "models/own", "name": "mine+49a9"}, "mine+49a9"),
        ({"path": "models/own", "name": "custom+1234+49a9"}, "custom+1234+49a9"),  # typed as custom+1234
        ({"name": "minilm"}, "minilm"),
    ],
)
def test_a_model_of_ones_own_is_shown_by_its_folders_name_and_stays_the_same_run(
    config: Plan, given: dict[str, str], shown: str
) -> None:
    plan = config()
    model = plan.model.model_copy(update={"name": "custom+49a9", "id": None, "path": None} | given)
    run = planned(plan.model_copy(update={"model": model}))
    assert run.candidate_label == f"{shown} fp32 fake cpu"
    assert run.candidate.model == model.name, "what the identity is made of"


@pytest.mark.parametrize(
    ("words", "command"),
    [
        (["runtime=fake", "measure=confirm", "measure.rate=5"], "python -m harness runtime=fake"),
        (["measure.cpus=1", "measure.launches=3"], "python -m harness measure.cpus=1"),
        (["measure.replicate=2", "measure=quick"], "python -m harness measure.replicate=2"),
        (["measure=soak", "measure.duration_s=60"], "python -m harness measure.duration_s=60"),
        (["+measure.requests=200", "experiments=day1"], "python -m harness measure.requests=200"),
        (["workload.clients=2", "measure.spread=true"], "python -m harness workload.clients=2"),
        (["model.path=my model"], "python -m harness 'model.path=my model'"),
    ],
)
def test_its_command_keeps_what_makes_it_what_it_is_and_nothing_else(
    config: Plan, fake_artifact: Artifact, words: list[str], command: str
) -> None:
    run = planned(config(words=words, measure={"launches": 1}), 2.0)
    assert row_of(run, fake_artifact)["command"] == command


def test_the_bounds_here_are_those_of_the_default_policy() -> None:
    latency = [g for g in load_policy().gates if g.metric == "latency_p95_ms"]
    assert [(g.tier, g.metric, g.bound) for g in latency[:2]] == [MUST_LATENCY, TARGET]
