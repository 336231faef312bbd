"""The fake runtime plays its script, on its own clock."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from harness.provider import EmbeddingProvider
from harness.runtimes import load_session
from harness.runtimes.base import Placement, SessionOptions
from harness.runtimes.fake import DEFAULT_SCRIPT, FAILS_AT_REQUEST
from harness.tokenizer import Tokenizer

if TYPE_CHECKING:
    from harness.artifacts.manifest import Artifact
    from harness.runtimes.base import Session, Tokens


def loaded(artifact: Artifact, launch_index: int | None = None, **script: Any) -> Session:
    """A session that plays a script."""
    return load_session("fake", artifact, SessionOptions(script=script, launch_index=launch_index))


@pytest.fixture
def tokens(fake_artifact: Artifact) -> Tokens:
    return Tokenizer(fake_artifact).tokenize(["The classifier overfits", "word"])


def durations_ms(session: Session, tokens: Tokens, count: int) -> list[float]:
    """What each of `count` requests took by the session's clock."""
    found = []
    for _ in range(count):
        before = session.clock_ns()
        session.tokenized()
        session.infer(tokens)
        found.append((session.clock_ns() - before) / 1e6)
    return found


def test_a_request_takes_what_the_script_says_in_turn(fake_artifact: Artifact, tokens: Tokens) -> None:
    session = loaded(fake_artifact, infer_ms=[2.0, 40.0, 3.5], tokenize_ms=0.5)
    assert durations_ms(session, tokens, 7) == [2.5, 40.5, 4.0, 2.5, 40.5, 4.0, 2.5]


def test_the_default_script_is_played_where_none_is_given(fake_artifact: Artifact, tokens: Tokens) -> None:
    session = load_session("fake", fake_artifact, SessionOptions())
    expected = DEFAULT_SCRIPT["infer_ms"][0] + DEFAULT_SCRIPT["tokenize_ms"]
    assert durations_ms(session, tokens, 2) == [expected, expected]


def test_nothing_sleeps(fake_artifact: Artifact, tokens: Tokens) -> None:
    session = loaded(fake_artifact, infer_ms=[60_000.0])
    started = time.monotonic()
    assert durations_ms(session, tokens, 10) == [60_000.02] * 10
    assert time.monotonic() - started < 60, "of 600 s"


@pytest.mark.parametrize(("launch", "first"), [(0, 2.0), (1, 9.0), (2, 2.0), (5, 9.0), (None, 2.0)])
def test_each_launch_takes_its_own_list_in_turn(
    fake_artifact: Artifact, tokens: Tokens, launch: int | None, first: float
) -> None:
    session = loaded(fake_artifact, launch, infer_ms=[[2.0, 3.0], [9.0]], tokenize_ms=0.0)
    assert durations_ms(session, tokens, 1) == [first]


def test_only_its_own_requests_move_the_clock(fake_artifact: Artifact, tokens: Tokens) -> None:
    session, other = loaded(fake_artifact), loaded(fake_artifact)
    other.infer(tokens)
    assert session.clock_ns() == 0
    assert session.clock_ns() == 0


def test_vectors_depend_on_the_tokens_alone_and_not_on_the_batch(fake_artifact: Artifact) -> None:
    provider = EmbeddingProvider.open(fake_artifact, "fake", SessionOptions())
    texts = ["The classifier overfits its training data.", "word", "", "several words of padding"]
    together = provider.encode(texts, batch_size=4)
    alone = provider.encode(texts, batch_size=1)
    np.testing.assert_array_equal(together, alone)
    assert together.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-6)


def test_its_one_node_is_where_it_should_be(fake_artifact: Artifact) -> None:
    assert loaded(fake_artifact).placement() == Placement(nodes_total=1, ep_nodes=1, ep_partitions=1)


def test_a_scripted_failure_comes_in_the_middle_of_the_work(fake_artifact: Artifact, tokens: Tokens) -> None:
    session = loaded(fake_artifact, 0, launches=["raise"])
    for _ in range(FAILS_AT_REQUEST - 1):
        session.infer(tokens)
    with pytest.raises(RuntimeError, match="scripted failure"):
        session.infer(tokens)


@pytest.mark.parametrize(
    ("launch", "fails"), [(0, False), (1, True), (2, False), (3, False), (99, False), (None, False)]
)
def test_launches_behave_in_turn_and_the_last_behaviour_stays(
    fake_artifact: Artifact, tokens: Tokens, launch: int | None, fails: bool
) -> None:
    session = loaded(fake_artifact, launch, launches=["ok", "raise", "ok"])
    for _ in range(FAILS_AT_REQUEST - 1):
        session.infer(tokens)
    if fails:
        with pytest.raises(RuntimeError, match="scripted failure"):
            session.infer(tokens)
    else:
        assert np.isfinite(session.infer(tokens)).all()


def test_where_nothing_is_timed_nothing_goes_wrong(fake_artifact: Artifact, tokens: Tokens) -> None:
    session = loaded(fake_artifact, None, launches=["raise"])
    for _ in range(FAILS_AT_REQUEST + 1):
        assert np.isfinite(session.infer(tokens)).all()


def test_nan_comes_without_an_error_in_one_place_of_every_request(
    fake_artifact: Artifact, tokens: Tokens
) -> None:
    vectors = loaded(fake_artifact, 0, launches=["nan"]).infer(tokens)
    assert np.isnan(vectors).sum() == 1
    assert np.isnan(vectors[0, 0])


@pytest.mark.parametrize(
    ("behaviour", "returncode"),
    [("exit", 3), ("abort", -signal.SIGABRT), ("sigkill", -signal.SIGKILL)],
)
def test_a_launch_that_dies_takes_its_process_with_it(
    fake_artifact: Artifact, behaviour: str, returncode: int
) -> None:
    code = (
        "import sys; from pathlib import Path; from harness.artifacts.manifest import read_artifact;"
        "from harness.provider import EmbeddingProvider; from harness.runtimes.base import SessionOptions;"
        "options = SessionOptions(script={'launches': [sys.argv[2]]}, launch_index=0);"
        "provider = EmbeddingProvider.open(read_artifact(Path(sys.argv[1])), 'fake', options);"
        "provider.encode(['word'] * 100, batch_size=1); print('alive')"
    )
    words = [sys.executable, "-c", code, str(fake_artifact.path), behaviour]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert done.returncode == returncode
    assert done.stdout == ""
