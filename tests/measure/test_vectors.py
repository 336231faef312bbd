"""Whether vectors are as they must be."""

from __future__ import annotations

import numpy as np
import pytest

from harness.measure import vectors
from harness.measure.vectors import Wrong, first_wrong


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a few vectors are several blocks."""
    monkeypatch.setattr(vectors, "ROWS_AT_ONCE", 3)


def unit(count: int) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    found = np.random.default_rng(1).normal(size=(count, 8))
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


def test_vectors_of_length_one_are_as_they_must_be() -> None:
    assert first_wrong(unit(7), normalize=True) is None
    assert first_wrong(unit(0), normalize=True) is None


@pytest.mark.parametrize(
    ("factor", "normalize", "what"),
    [
        (np.nan, False, "holds NaN or infinity"),
        (np.inf, True, "holds NaN or infinity"),
        (0.0, True, "has length 0, not 1"),
        (0.0, False, "has length 0"),
        (0.94, True, "has length 0.94, not 1"),
    ],
)
def test_the_first_one_that_is_not_is_told(factor: float, normalize: bool, what: str) -> None:
    found = unit(8)
    found[5:7] *= factor
    assert first_wrong(found, normalize=normalize) == Wrong(5, "NaN" not in what, what)


def test_a_length_other_than_one_is_nothing_wrong_where_the_model_has_such() -> None:
    assert first_wrong(7 * unit(4), normalize=False) is None
    assert first_wrong(1.049 * unit(4), normalize=True) is None


def test_what_is_not_finite_is_told_before_an_earlier_length() -> None:
    found = unit(8)
    found[1] = 0
    found[6, 2] = np.nan
    assert first_wrong(found, normalize=True) == Wrong(6, False, "holds NaN or infinity")
