"""Requests: the same in every launch, of the promised lengths, and not the same text over and over."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from harness.artifacts.manifest import Artifact
from harness.compose import options_of
from harness.errors import LengthError
from harness.texts import corpus
from harness.tokenizer import Tokenizer
from harness.workload import MIXTURE, PACED_S, Workload, draw_arrivals, draw_requests, paced_requests

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.schema import Config

FITTING = [name for name in options_of("workload") if name.startswith("tokens_") and int(name[7:]) <= 256]
ALL = ["default", "mixture", *FITTING]


@pytest.fixture(scope="module")
def tokenizer(minilm: Artifact) -> Tokenizer:
    """MiniLM's own."""
    return Tokenizer(minilm)


@pytest.fixture
def workload(config: Callable[..., Config]) -> Callable[..., Workload]:
    """A shipped workload by name."""

    def made(name: str, batch_size: int = 1) -> Workload:
        return Workload.from_config(config(workload=name, batch_size=batch_size))

    return made


def flat(requests: list[list[str]]) -> list[str]:
    """The texts of all requests."""
    return [text for texts in requests for text in texts]


def test_the_documents_lengths_are_all_there() -> None:
    assert set(FITTING) >= {"tokens_8", "tokens_32", "tokens_128", "tokens_256"}


@pytest.mark.parametrize("name", ALL)
def test_the_same_seed_gives_the_same_requests(
    workload: Callable[..., Workload], tokenizer: Tokenizer, name: str
) -> None:
    chosen = workload(name, batch_size=2)
    first, again = (draw_requests(chosen, 20, tokenizer) for _ in range(2))
    assert first == again
    assert draw_requests(chosen, 10, tokenizer) == first[:10]
    assert draw_requests(replace(chosen, seed=chosen.seed + 1), 20, tokenizer) != first


def test_another_process_draws_the_same_requests(fake_artifact: Artifact) -> None:
    code = (
        "import json, sys; from pathlib import Path; from harness.artifacts.manifest import read_artifact;"
        "from harness.tokenizer import Tokenizer; from harness.workload import Workload, draw_requests;"
        "tokenizer = Tokenizer(read_artifact(Path(sys.argv[1])));"
        "mixture = Workload('mixture', 'mixture', None, 5, 3);"
        "print(json.dumps(draw_requests(mixture, 30, tokenizer)))"
    )
    words = [sys.executable, "-c", code, str(fake_artifact.path)]
    elsewhere = json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
    here = draw_requests(Workload("mixture", "mixture", None, 5, 3), 30, Tokenizer(fake_artifact))
    assert elsewhere == here


@pytest.mark.parametrize("batch_size", [1, 8, 32])
@pytest.mark.parametrize("name", ["default", "mixture", "tokens_8"])
def test_every_request_has_the_batch_s_number_of_texts(
    workload: Callable[..., Workload], tokenizer: Tokenizer, name: str, batch_size: int
) -> None:
    requests = draw_requests(workload(name, batch_size), 12, tokenizer)
    assert [len(texts) for texts in requests] == [batch_size] * 12


def test_a_larger_batch_is_more_of_the_same_stream(
    workload: Callable[..., Workload], tokenizer: Tokenizer
) -> None:
    ones = draw_requests(workload("default", batch_size=1), 24, tokenizer)
    eights = draw_requests(workload("default", batch_size=8), 3, tokenizer)
    assert flat(eights) == flat(ones)


@pytest.mark.parametrize(
    ("name", "distinct"), [("default", 260), ("mixture", 400), ("tokens_8", 300), ("tokens_32", 100)]
)
def test_requests_differ_from_one_another_until_the_corpus_is_used_up(
    workload: Callable[..., Workload], tokenizer: Tokenizer, name: str, distinct: int
) -> None:
    texts = flat(draw_requests(workload(name), distinct, tokenizer))
    assert len(set(texts)) == distinct


def test_the_second_time_round_the_order_is_another(
    workload: Callable[..., Workload], tokenizer: Tokenizer
) -> None:
    count = len(corpus("short"))
    texts = flat(draw_requests(workload("default"), 2 * count, tokenizer))
    first, second = texts[:count], texts[count:]
    assert set(first) == set(second) == set(corpus("short"))
    assert first != second


@pytest.mark.parametrize("name", FITTING)
@pytest.mark.parametrize("prompted", [False, True], ids=["no prompt", "with a prompt"])
def test_fixed_lengths_are_exact_in_tokens_the_prompt_included(
    workload: Callable[..., Workload], minilm: Artifact, name: str, prompted: bool
) -> None:
    prompts = {"default": "query: ", "query": "", "document": ""}
    manifest = replace(minilm.manifest, prompts=prompts) if prompted else minilm.manifest
    tokenizer = Tokenizer(Artifact(minilm.path, manifest))
    chosen = workload(name)
    texts = flat(draw_requests(chosen, 60, tokenizer))
    assert {tokenizer.count(text) for text in texts} == {chosen.tokens}
    shape = tokenizer.tokenize(texts).input_ids.shape
    assert shape == (60, int(name.removeprefix("tokens_")))


def test_fixed_lengths_are_stretches_of_the_corpus(
    workload: Callable[..., Workload], tokenizer: Tokenizer
) -> None:
    everything = set(" ".join(corpus("passage")).split())
    for text in flat(draw_requests(workload("tokens_32"), 20, tokenizer)):
        assert set(text.split()[:-1]) <= everything  # the last word may be cut
        assert text == text.strip()


def test_the_mixture_is_mostly_short_with_a_heavy_tail(
    workload: Callable[..., Workload], tokenizer: Tokenizer
) -> None:
    counts = [tokenizer.count(text) for text in flat(draw_requests(workload("mixture"), 400, tokenizer))]
    assert 25 <= np.mean(counts) <= 50
    assert np.median(counts) < 25
    assert 80 <= np.percentile(counts, 95) <= 160
    assert max(counts) <= 256


def test_the_mixture_keeps_its_shares_in_every_stretch_of_twenty(
    workload: Callable[..., Workload], tokenizer: Tokenizer
) -> None:
    kind_of = {text: kind for kind in MIXTURE for text in corpus(kind)}
    texts = flat(draw_requests(workload("mixture"), 100, tokenizer))
    for start in range(0, 100, 20):
        assert Counter(kind_of[text] for text in texts[start : start + 20]) == MIXTURE


def test_the_default_workload_is_the_short_texts(
    workload: Callable[..., Workload], tokenizer: Tokenizer
) -> None:
    texts = flat(draw_requests(workload("default"), 100, tokenizer))
    assert set(texts) <= set(corpus("short"))
    assert 5 <= np.mean([tokenizer.count(text) for text in texts]) <= 20


class OneTokenAWord:
    """A tokenizer whose tokens are words, with a special token at each end."""

    def count(self, text: str) -> int:
        """Words, and two."""
        return len(text.split()) + 2

    def ends(self, text: str) -> list[int]:
        """Where words end."""
        ends, position = [], 0
        for word in text.split(" "):
            position += len(word)
            ends.append(position)
            position += 1
        return ends


class NeverExact(OneTokenAWord):
    """A tokenizer with which no cut comes out as asked."""

    def count(self, text: str) -> int:
        """Always one more than asked, but for the empty text."""
        return super().count(text) + 1 if text else 2


def test_a_length_that_no_cut_gives_is_bad_input() -> None:
    with pytest.raises(LengthError, match=r"workload\.tokens=16: no text of exactly so many tokens"):
        draw_requests(Workload("fixed", "fixed", 16, 1, 1), 1, NeverExact())


@pytest.mark.parametrize("tokens", [1, 7, 8])
def test_a_length_that_the_prompt_takes_up_is_bad_input(minilm: Artifact, tokens: int) -> None:
    prompts = {"default": "Represent this sentence for searching: ", "query": "", "document": ""}
    tokenizer = Tokenizer(Artifact(minilm.path, replace(minilm.manifest, prompts=prompts)))
    assert tokenizer.count("") == 8
    told = rf"workload\.tokens={tokens}: .* 8 of them the prompt's and special ones; choose another length"
    with pytest.raises(LengthError, match=told):
        draw_requests(Workload("fixed", "fixed", tokens, 1, 1), 1, tokenizer)
    (text,) = flat(draw_requests(Workload("fixed", "fixed", 9, 1, 1), 1, tokenizer))
    assert tokenizer.count(text) == 9


def test_a_length_beyond_the_whole_corpus_is_bad_input_and_no_endless_search() -> None:
    code = (
        "from harness.workload import Workload, draw_requests; from tests.test_workload import OneTokenAWord;"
        "draw_requests(Workload('fixed', 'fixed', 30_000, 1, 1), 1, OneTokenAWord())"
    )
    words, root = [sys.executable, "-c", code], Path(__file__).parent.parent
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=120, cwd=root)
    except subprocess.TimeoutExpired:
        pytest.fail("still searching after two minutes")
    assert "LengthError: workload.tokens=30000: no text of exactly so many tokens" in done.stderr


# --- paced arrivals


def paced(rate: float | None) -> Workload:
    return Workload("default", "short", None, 1, 1, offered_qps=rate)


@pytest.mark.parametrize(
    ("rate", "requests", "served"),
    [
        (None, 100, 100),
        (1.0, 100, 100),
        (20.0, 100, 100),
        (20.01, 100, 101),
        (0.3, 1, 2),
        (500.0, 100, 2500),
        (500.0, 3000, 3000),
    ],
)
def test_a_paced_launch_has_the_requests_that_arrive_in_five_seconds_if_those_are_more(
    rate: float | None, requests: int, served: int
) -> None:
    assert PACED_S == 5.0
    assert paced_requests(paced(rate), requests) == served


@pytest.mark.parametrize("rate", [100.0, 1000.0])
def test_arrivals_of_a_paced_launch_go_on_for_about_five_seconds(rate: float) -> None:
    ends_s = []
    for index in range(20):
        due_ns = draw_arrivals(paced(rate), paced_requests(paced(rate), 100), index)
        assert due_ns is not None
        ends_s.append(due_ns[-1] / 1e9)
    assert np.mean(ends_s) == pytest.approx(PACED_S, rel=0.05)
