"""What company in a batch does to a vector, and a second time: encoders that play every answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from harness.errors import ProbeError
from harness.measure.batching import BATCHING_COLUMNS, BESIDE, OBSERVED, batching_columns
from harness.record import RUN_COLUMNS
from harness.stats import cosines

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Vectors = NDArray[np.float32]
    Encode = Callable[[list[str]], Vectors]

TEXTS = [f"{'word ' * (1 + 7 * n % 11)}{n}" for n in range(80)]
LONG = "long " * 60


def alone(text: str) -> Vectors:
    """A unit vector of a text's own."""
    rng = np.random.default_rng(int.from_bytes(text.encode(), "big") % 2**32)
    vector = rng.normal(size=8)
    unit: Vectors = (vector / np.linalg.norm(vector)).astype(np.float32)
    return unit


def plain(texts: list[str]) -> Vectors:
    """A text's vector is its own, whatever stands beside it."""
    return np.stack([alone(text) for text in texts])


def pulled(by: Callable[[list[str]], float]) -> Encode:
    """Each vector is pulled towards one direction, by what `by` says of its batch."""

    def encode(texts: list[str]) -> Vectors:
        vectors = plain(texts) + np.float32(by(texts)) * np.eye(8, dtype=np.float32)[0]
        unit: Vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return unit

    return encode


def columns_of(encode: Encode, batch_size: int, neighbour: str = LONG) -> dict[str, float | None]:
    """The columns, the vectors encoded before as a run does it."""
    starts = range(0, len(TEXTS), batch_size)
    vectors = np.concatenate([encode(TEXTS[start : start + batch_size]) for start in starts])
    return batching_columns(encode, TEXTS, vectors, batch_size=batch_size, neighbour=neighbour).columns


def test_the_columns_are_declared_and_nullable() -> None:
    declared = {column.name: column for column in RUN_COLUMNS}
    assert all(declared[name].nullable for name in BATCHING_COLUMNS)
    for name in BATCHING_COLUMNS[1:]:
        count = BESIDE if name == "batch_cosine_min" else OBSERVED
        assert f"the worst of {count} texts" in declared[name].meaning
    assert tuple(columns_of(plain, 4)) == BATCHING_COLUMNS


@pytest.mark.parametrize("batch_size", [2, 7, 32, 500])
def test_vectors_that_owe_nothing_to_their_batch_stay_as_they_are(batch_size: int) -> None:
    found = columns_of(plain, batch_size)
    assert found.pop("repeat_max_difference") == 0.0
    assert found == pytest.approx(dict.fromkeys(BATCHING_COLUMNS[1:], 1.0))


def test_a_batch_of_one_is_neither_sorted_nor_random_but_may_get_a_neighbour() -> None:
    found = columns_of(plain, 1)
    assert found["batch_cosine_min"] == pytest.approx(1.0)
    assert found["batch_cosine_min_sorted"] is found["batch_cosine_min_random"] is None
    assert columns_of(plain, 1, neighbour="")["batch_cosine_min"] is None


def test_what_a_long_neighbour_does_is_the_worst_of_some_texts() -> None:
    encode = pulled(lambda texts: 0.3 if LONG in texts else 0.0)
    found = columns_of(encode, 4)
    beside = np.stack([encode([text, LONG])[0] for text in TEXTS[:BESIDE]])
    assert found["batch_cosine_min"] == pytest.approx(cosines(plain(TEXTS[:BESIDE]), beside).min())
    assert found["batch_cosine_min_random"] == pytest.approx(1.0)


def test_sorting_by_length_spares_what_padding_does() -> None:
    def uneven(texts: list[str]) -> float:
        lengths = [len(text) for text in texts]
        return 0.01 * (max(lengths) - min(lengths))

    found = columns_of(pulled(uneven), 8)
    by_length, random = found["batch_cosine_min_sorted"], found["batch_cosine_min_random"]
    assert by_length is not None
    assert random is not None
    assert random < by_length < 1.0
    assert columns_of(pulled(uneven), 8) == found, "the random batches are seeded"


def test_what_differs_from_one_time_to_the_next_is_told_by_its_size() -> None:
    calls = 0

    def drifting(texts: list[str]) -> Vectors:
        nonlocal calls
        calls += 1
        vectors = plain(texts)
        vectors[0, 3] += np.float32(2.0**-10 if calls > len(TEXTS) // 4 else 0.0)
        return vectors

    assert columns_of(drifting, 4)["repeat_max_difference"] == pytest.approx(2.0**-10, rel=1e-3)


def test_a_shape_that_fails_is_unknown_and_the_others_are_not() -> None:
    def fails(*which: str) -> Encode:
        def encode(texts: list[str]) -> Vectors:
            kind = "long" if LONG in texts else "single" if len(texts) == 1 else "batch"
            if kind in which:
                raise ProbeError(kind)
            return plain(texts)

        return encode

    found = columns_of(fails("long"), 4)
    assert found["batch_cosine_min"] is None
    assert found["batch_cosine_min_sorted"] == pytest.approx(1.0)
    found = columns_of(fails("single"), 4)
    assert found.pop("repeat_max_difference") == 0.0
    assert set(found.values()) == {None}


def test_vectors_that_are_not_finite_give_no_figure() -> None:
    def broken(texts: list[str]) -> Vectors:
        vectors = plain(texts)
        vectors[-1] = np.nan
        return vectors

    assert set(columns_of(broken, 4).values()) == {None}
    vectors = plain(TEXTS)
    found = batching_columns(broken, TEXTS, vectors, batch_size=4, neighbour=LONG)
    assert set(found.columns.values()) == {None}, "nor do those that are not finite the second time"


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize(
    "where",
    [
        "of the same batch a second time",
        "of a text alone",
        "beside a long text",
        "in a sorted batch",
        "in a random batch",
    ],
)
def test_a_vector_that_is_not_finite_in_some_company_is_told_with_that(where: str, value: float) -> None:
    asked = [TEXTS[start : start + 4] for start in range(0, len(TEXTS), 4)]

    def kind(texts: list[str]) -> str:
        if LONG in texts or len(texts) == 1:
            return "beside a long text" if LONG in texts else "of a text alone"
        if texts in asked:
            return "of the same batch a second time"
        by_length = texts == sorted(texts, key=len)
        return "in a sorted batch" if by_length else "in a random batch"

    def broken(texts: list[str]) -> Vectors:
        vectors = plain(texts)
        if kind(texts) == where:
            vectors[-1] = value
        return vectors

    found = batching_columns(broken, TEXTS, plain(TEXTS), batch_size=4, neighbour=LONG)
    assert found.problem == f"a vector {where} holds NaN or infinity"
    assert batching_columns(plain, TEXTS, plain(TEXTS), batch_size=4, neighbour=LONG).problem is None


@pytest.mark.parametrize(("batch_size", "most"), [(1, OBSERVED), (8, 50), (32, 120)])
def test_it_takes_few_texts(batch_size: int, most: int) -> None:
    vectors, encoded = plain(TEXTS), 0

    def counting(texts: list[str]) -> Vectors:
        nonlocal encoded
        encoded += len(texts) * (LONG not in texts)
        return plain(texts)

    batching_columns(counting, TEXTS, vectors, batch_size=batch_size, neighbour=LONG)
    assert encoded <= most
