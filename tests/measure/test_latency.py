"""The timed loop: exact on a scripted clock, honest on a real one, and stopped only when certain."""

from __future__ import annotations

import gc
import threading
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from harness.measure.latency import (
    MIN_BEFORE_TRUNCATION,
    Samples,
    loop_overhead_ns,
    requests_over_allowed,
    serve,
    warm_up,
)
from harness.provider import EmbeddingProvider
from harness.runtimes.base import SessionOptions
from harness.stats import nearest_rank

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from harness.artifacts.manifest import Artifact
    from harness.runtimes.base import Placement, Tokens

BOUND_NS = 30_000_000
FAST, SLOW = 2.0, 40.0


@pytest.fixture
def served(fake_artifact: Artifact) -> Callable[..., Samples]:
    """Serve scripted requests, the script's tokenisation left at 0."""

    def run(infer_ms: Sequence[float], *, requests: int = 100, **changes: Any) -> Samples:
        how = {name: changes.pop(name) for name in ("stop_over_ns", "due_ns", "clients") if name in changes}
        script = {"infer_ms": list(infer_ms), "tokenize_ms": 0.0} | changes
        options = SessionOptions(script=script, launch_index=0)
        provider = EmbeddingProvider.open(fake_artifact, "fake", options)
        return serve(provider, [["a word"]] * requests, **how)

    return run


class BareSession:
    """A session of which a test says only what a request does."""

    def __init__(self, act: Callable[[], object] = lambda: None, value: float = 0.5) -> None:
        self.act = act
        self.value = value
        self.served = 0

    def tokenized(self) -> None:
        """Nothing: the clock moves by itself."""

    def infer(self, tokens: Tokens) -> NDArray[np.float32]:
        """Act, and give constant vectors."""
        self.served += 1
        self.act()
        return np.full(tokens.input_ids.shape, self.value, dtype=np.float32)

    def placement(self) -> Placement | None:
        """Unknown."""
        return None

    def clock_ns(self) -> int:
        """A real clock."""
        return time.perf_counter_ns()

    def wait_until_ns(self, due_ns: int) -> None:
        """Sleep."""
        time.sleep(max(0, due_ns - time.perf_counter_ns()) / 1e9)


# --- on a scripted clock


def test_figures_are_exactly_the_script_s(served: Callable[..., Samples]) -> None:
    samples = served([1.0, 3.0, 2.0, 5.0, 4.0], requests=100)
    assert samples.total_ns.tolist() == [1_000_000, 3_000_000, 2_000_000, 5_000_000, 4_000_000] * 20
    assert nearest_rank(samples.total_ns, 0.5) == 3_000_000
    assert nearest_rank(samples.total_ns, 0.95) == 5_000_000
    assert samples.total_ns.dtype == np.int64


def test_there_is_one_entry_a_request_and_stages_sum_to_the_total(served: Callable[..., Samples]) -> None:
    samples = served([1.5, 2.5], requests=41)
    stages = (samples.total_ns, samples.tokenize_ns, samples.infer_ns)
    assert [len(entries) for entries in stages] == [41, 41, 41]
    np.testing.assert_array_equal(samples.tokenize_ns + samples.infer_ns, samples.total_ns)


def test_tokenising_and_inference_are_told_apart_as_scripted(served: Callable[..., Samples]) -> None:
    samples = served([2.0, 3.0], tokenize_ms=0.5, requests=4)
    assert samples.tokenize_ns.tolist() == [500_000] * 4
    assert samples.infer_ns.tolist() == [2_000_000, 3_000_000] * 2
    assert samples.total_ns.tolist() == [2_500_000, 3_500_000] * 2


# --- stopping early


def slow_at(*positions: int, of: int = 100) -> list[float]:
    """A script with slow requests at these positions."""
    return [SLOW if position in positions else FAST for position in range(of)]


@pytest.mark.parametrize(("requests", "allowed"), [(100, 5), (20, 1), (19, 0), (200, 10), (1000, 50)])
def test_as_many_may_be_over_as_leave_the_p95_under(requests: int, allowed: int) -> None:
    assert requests_over_allowed(requests) == allowed
    values = [1.0] * (requests - allowed) + [9.0] * allowed
    assert nearest_rank(values, 0.95) == 1.0
    assert nearest_rank([*values[1:], 9.0], 0.95) == 9.0


def test_with_exactly_five_of_100_over_nothing_is_cut_short(served: Callable[..., Samples]) -> None:
    samples = served(slow_at(0, 1, 2, 3, 4), stop_over_ns=BOUND_NS)
    assert not samples.truncated
    assert samples.total_ns.size == 100
    assert nearest_rank(samples.total_ns, 0.95) < BOUND_NS


@pytest.mark.parametrize(
    ("positions", "stops_after"),
    [
        ((0, 20, 40, 60, 80, 90), 91),
        ((50, 51, 52, 53, 54, 55), 56),
        ((0, 1, 2, 3, 4, 19), 20),
        ((0, 1, 2, 3, 4, 20), 21),
        ((0, 1, 2, 3, 4, 5), 20),
        (tuple(range(100)), 20),
    ],
    ids=["spread", "in a row", "at the 20th", "after the 20th", "at once, then none", "all"],
)
def test_with_more_it_stops_as_soon_as_it_is_certain_but_not_before_20_requests(
    served: Callable[..., Samples], positions: tuple[int, ...], stops_after: int
) -> None:
    samples = served(slow_at(*positions), stop_over_ns=BOUND_NS)
    assert samples.truncated
    assert samples.total_ns.size == samples.tokenize_ns.size == samples.infer_ns.size == stops_after
    assert nearest_rank(samples.total_ns, 0.95) >= BOUND_NS


def test_a_launch_that_is_certain_only_at_its_end_is_whole(served: Callable[..., Samples]) -> None:
    samples = served(slow_at(0, 1, 2, 3, 4, 99), stop_over_ns=BOUND_NS)
    assert not samples.truncated
    assert samples.total_ns.size == 100
    assert nearest_rank(samples.total_ns, 0.95) >= BOUND_NS


@pytest.mark.parametrize(("infer_ms", "truncated"), [(30.0, True), (29.999999, False)])
def test_a_request_exactly_at_the_bound_is_over_it(
    served: Callable[..., Samples], infer_ms: float, truncated: bool
) -> None:
    assert served([infer_ms], stop_over_ns=BOUND_NS).truncated == truncated


def test_without_a_bound_nothing_is_cut_short(served: Callable[..., Samples]) -> None:
    samples = served([SLOW])
    assert not samples.truncated
    assert samples.total_ns.size == 100


@pytest.mark.parametrize("seed", range(10))
def test_truncating_never_changes_which_side_of_the_bound_a_launch_is_on(
    served: Callable[..., Samples], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    infer_ms = np.where(rng.random(100) < rng.uniform(0.0, 0.15), SLOW, FAST).tolist()
    cut, whole = served(infer_ms, stop_over_ns=BOUND_NS), served(infer_ms)
    over = [nearest_rank(samples.total_ns, 0.95) >= BOUND_NS for samples in (cut, whole)]
    assert over[0] == over[1]
    assert cut.total_ns.size >= MIN_BEFORE_TRUNCATION


# --- finiteness


def test_finite_vectors_are_finite(served: Callable[..., Samples]) -> None:
    assert served([FAST]).finite


def test_nan_is_told_and_the_rest_is_still_timed(served: Callable[..., Samples]) -> None:
    samples = served([FAST], launches=["nan"])
    assert not samples.finite
    assert samples.total_ns.size == 100


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("bad_request", [0, 3, 6])
def test_one_value_in_one_request_is_enough(fake_artifact: Artifact, value: float, bad_request: int) -> None:
    session = BareSession()

    def act() -> None:
        session.value = value if session.served - 1 == bad_request else 0.5

    session.act = act
    assert not serve(EmbeddingProvider(fake_artifact, session), [["a"]] * 7).finite
    session.served = 0
    assert not warm_up(EmbeddingProvider(fake_artifact, session), [["a"]] * 7, []).finite


# --- the garbage collector


def test_the_garbage_collector_is_off_while_timing_and_on_again_afterwards(fake_artifact: Artifact) -> None:
    seen: list[bool] = []
    session = BareSession(lambda: seen.append(gc.isenabled()))
    serve(EmbeddingProvider(fake_artifact, session), [["a"]] * 3)
    assert seen == [False, False, False]
    assert gc.isenabled()


def test_the_garbage_collector_is_on_again_after_a_failure(served: Callable[..., Samples]) -> None:
    with pytest.raises(RuntimeError, match="scripted failure"):
        served([FAST], launches=["raise"])
    assert gc.isenabled()


# --- on a real clock


def test_on_a_request_of_known_length_the_median_is_that_length(
    fake_artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    length_ns = 5_000_000
    tolerance_ns = max(0.01 * length_ns, 20_000)

    def wait() -> None:
        until = time.perf_counter_ns() + length_ns
        while time.perf_counter_ns() < until:
            pass

    provider = EmbeddingProvider(fake_artifact, BareSession(wait))
    tokens = provider.tokenize(["word"])
    monkeypatch.setattr(provider, "tokenize", lambda texts: tokens)
    errors = []
    for _ in range(300):  # a busy neighbour can only make it longer: a quiet moment is enough
        samples = serve(provider, [["word"]] * 20)
        assert samples.infer_ns.min() >= length_ns
        np.testing.assert_array_equal(samples.tokenize_ns + samples.infer_ns, samples.total_ns)
        errors.append(nearest_rank(samples.total_ns, 0.5) - length_ns)
        if errors[-1] <= tolerance_ns:
            break
    assert 0 <= min(errors) <= tolerance_ns, errors


def test_tokenisation_is_part_of_what_a_caller_waits_for(minilm: Artifact) -> None:
    long = " ".join(f"word{i}" for i in range(5_000))
    provider = EmbeddingProvider(minilm, BareSession())
    samples = serve(provider, [[long]] * 5)
    assert samples.tokenize_ns.min() > 1_000_000 > samples.infer_ns.min()


def test_what_the_loop_itself_adds_is_little_and_is_told() -> None:
    assert 0 < loop_overhead_ns(BareSession()) < 100_000


# --- warm-up


def texts_of(*lengths: int) -> list[list[str]]:
    """Requests of one text, of so many words."""
    return [["word " * length] for length in lengths]


def test_after_warm_up_no_timed_request_is_the_first_of_its_shape(fake_artifact: Artifact) -> None:
    session = BareSession()
    provider = EmbeddingProvider(fake_artifact, session)
    warm = warm_up(provider, texts_of(3, 3, 5), texts_of(5, 9, 9, 3, 7))
    assert len(warm.new_shape_ns) == 4  # 3, 5, 9 and 7 words
    assert session.served == 3 + 2  # the warm-up as it is, and of the timed ones the shapes it lacks


def test_the_first_request_of_each_shape_is_told_in_the_order_met(fake_artifact: Artifact) -> None:
    script = {"infer_ms": [9.0, 1.0, 8.0, 7.0], "tokenize_ms": 0.0}
    provider = EmbeddingProvider.open(fake_artifact, "fake", SessionOptions(script=script))
    warm = warm_up(provider, texts_of(3, 3, 5), texts_of(5, 9))
    assert warm.new_shape_ns == [9_000_000, 8_000_000, 7_000_000]


def test_the_first_answer_is_on_the_monotonic_clock(fake_artifact: Artifact) -> None:
    before = time.monotonic_ns()
    warm = warm_up(EmbeddingProvider(fake_artifact, BareSession()), texts_of(3), texts_of(4))
    assert before < warm.first_vector_monotonic_ns < time.monotonic_ns()


def test_a_warm_up_of_nothing_is_refused(fake_artifact: Artifact) -> None:
    with pytest.raises(ValueError, match="needs a request"):
        warm_up(EmbeddingProvider(fake_artifact, BareSession()), [], [])


# --- open loop

MS = 1_000_000
STALL = [500.0 if position == 40 else FAST for position in range(100)]


def test_a_stall_counts_for_every_request_behind_it_in_an_open_loop(served: Callable[..., Samples]) -> None:
    """Due every 10 ms, 2 ms each: after a stall of 500 ms the queue shrinks by 8 ms a request."""
    due_ns = [10 * MS * position for position in range(100)]
    samples = served(STALL, due_ns=due_ns)
    expected = [FAST * MS] * 40 + [max(500 - 8 * behind, FAST) * MS for behind in range(60)]
    assert samples.total_ns.tolist() == expected
    assert nearest_rank(samples.total_ns, 0.99) == 492 * MS
    assert nearest_rank(samples.total_ns, 0.95) == 460 * MS
    assert int((samples.total_ns > 100 * MS).sum()) == 50


def test_a_closed_loop_hides_the_same_stall(served: Callable[..., Samples]) -> None:
    samples = served(STALL)
    assert int((samples.total_ns > FAST * MS).sum()) == 1
    assert nearest_rank(samples.total_ns, 0.99) == nearest_rank(samples.total_ns, 0.95) == FAST * MS


def test_in_an_open_loop_it_is_told_when_each_request_was_due_and_its_stages(
    served: Callable[..., Samples],
) -> None:
    due_ns = [7 * MS, 8 * MS, 30 * MS]
    samples = served([FAST], requests=3, due_ns=due_ns)
    assert samples.scheduled_ns is not None
    assert samples.scheduled_ns.tolist() == due_ns
    assert samples.total_ns.tolist() == [2 * MS, 3 * MS, 2 * MS]
    assert samples.infer_ns.tolist() == [2 * MS] * 3  # waiting for its turn is no stage of the provider's
    assert samples.serving_ns == 32 * MS


def test_a_closed_loop_has_no_schedule_and_serves_for_as_long_as_its_requests(
    served: Callable[..., Samples],
) -> None:
    samples = served([FAST, 5.0], requests=10)
    assert samples.scheduled_ns is None
    assert samples.serving_ns == samples.total_ns.sum() == 35 * MS


def test_nothing_is_served_before_it_is_due(fake_artifact: Artifact) -> None:
    at: list[int] = []
    provider = EmbeddingProvider(fake_artifact, BareSession(lambda: at.append(time.perf_counter_ns())))
    due_ns = [5 * MS, 6 * MS, 25 * MS, 40 * MS]
    began = time.perf_counter_ns()
    samples = serve(provider, [["a"]] * 4, due_ns=due_ns)
    assert all(moment - began >= due for moment, due in zip(at, due_ns, strict=True))
    assert samples.total_ns.min() > 0


def test_an_open_loop_over_its_bound_stops_early_too(served: Callable[..., Samples]) -> None:
    samples = served([SLOW], due_ns=[MS * position for position in range(100)], stop_over_ns=BOUND_NS)
    assert samples.truncated
    assert samples.scheduled_ns is not None
    assert samples.total_ns.size == samples.scheduled_ns.size == 20


# --- concurrent callers


@pytest.mark.parametrize("clients", [2, 4])
def test_callers_share_one_provider_and_each_request_goes_to_one_of_them(
    fake_artifact: Artifact, clients: int
) -> None:
    together = threading.Barrier(clients, timeout=20)
    names: list[str] = []

    def act() -> None:
        names.append(threading.current_thread().name)
        together.wait()  # nobody goes on before all have a request of their own

    session = BareSession(act)
    samples = serve(EmbeddingProvider(fake_artifact, session), [["a"]] * 12 * clients, clients=clients)
    assert session.served == samples.total_ns.size == 12 * clients
    assert len(set(names)) == clients
    assert (samples.total_ns > 0).all()


def test_callers_overlap_in_time(fake_artifact: Artifact) -> None:
    provider = EmbeddingProvider(fake_artifact, BareSession(lambda: time.sleep(0.01)))
    samples = serve(provider, [["a"]] * 20, clients=4)
    assert samples.serving_ns < 0.8 * samples.total_ns.sum()


def test_a_failure_of_one_caller_fails_the_launch(served: Callable[..., Samples]) -> None:
    with pytest.raises(RuntimeError, match="scripted failure"):
        served([FAST], launches=["raise"], clients=3)
    assert gc.isenabled()


@pytest.mark.parametrize("startable", [0, 1, 2])
def test_where_no_thread_can_be_started_for_a_caller_the_launch_fails_and_does_not_hang(
    served: Callable[..., Samples], monkeypatch: pytest.MonkeyPatch, startable: int
) -> None:
    """Those that were started wait for the others, who never come."""
    start, started, told = threading.Thread.start, [], []

    def limited(thread: threading.Thread) -> None:
        if thread.name.startswith("ThreadPoolExecutor"):
            if len(started) == startable:
                raise RuntimeError("can't start new thread")
            started.append(thread)
        start(thread)

    def launch() -> None:
        with pytest.raises(RuntimeError, match="can't start new thread") as caught:
            served([FAST], clients=3)
        told.append(caught.value)

    monkeypatch.setattr(threading.Thread, "start", limited)
    command = threading.Thread(target=launch, daemon=True)
    command.start()
    command.join(20)
    assert len(told) == 1
    assert len(started) == startable
    assert not any(thread.is_alive() for thread in started)
    assert gc.isenabled()


def test_several_callers_stop_early_once_it_is_certain(served: Callable[..., Samples]) -> None:
    samples = served([SLOW], clients=3, stop_over_ns=BOUND_NS)
    assert samples.truncated
    assert MIN_BEFORE_TRUNCATION <= samples.total_ns.size < 100
    assert (samples.total_ns >= BOUND_NS).all()
