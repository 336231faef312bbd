"""Vectors of texts that nobody tries: what is wrong with one is told by its kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from harness.errors import ProbeError
from harness.measure.hostile import hostile_vectors
from harness.texts import hostile_texts

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from harness.provider import EmbeddingProvider

    Encode = Callable[[list[str]], NDArray[np.float32]]


def gives(wrong: str, value: float) -> Encode:
    """Unit vectors, but for one kind of text, which gets all its numbers times `value`."""

    def encode(texts: list[str]) -> NDArray[np.float32]:
        scales = [value if text == hostile_texts()[wrong] else 1.0 for text in texts]
        return np.array([[0.6 * scale, 0.8 * scale] for scale in scales], dtype=np.float32)

    return encode


@pytest.mark.parametrize("kind", hostile_texts())
@pytest.mark.parametrize("batch_size", [1, 4, 32])
def test_a_vector_that_is_not_finite_is_told_by_the_kind_of_its_text(kind: str, batch_size: int) -> None:
    encode = gives(kind, float("nan"))
    found = hostile_vectors(encode, hostile_texts(), batch_size=batch_size, normalize=True)
    said = f"the vector of a hostile text ({kind}) holds NaN or infinity"
    assert found == (False, None, said)


def test_a_vector_that_is_not_of_length_one_is_told_with_its_length() -> None:
    found = hostile_vectors(gives("empty", 0.0), hostile_texts(), batch_size=4, normalize=True)
    assert found == (True, 1.0, "the vector of a hostile text (empty) has length 0, not 1")
    free = hostile_vectors(gives("empty", 0.0), hostile_texts(), batch_size=4, normalize=False)
    assert free == (True, 1.0, None), "of a model that does not normalise its length alone is told"


def test_a_request_that_fails_tells_the_kinds_in_it() -> None:
    def fails(texts: list[str]) -> NDArray[np.float32]:
        raise ProbeError("no room")

    with pytest.raises(ProbeError, match=r"^hostile texts \(empty, whitespace\): no room$"):
        hostile_vectors(fails, hostile_texts(), batch_size=2, normalize=True)


def test_the_real_model_bears_them_all(provider: EmbeddingProvider) -> None:
    found = hostile_vectors(provider.encode, hostile_texts(), batch_size=4, normalize=True)
    assert found.problem is None
    assert found.norm_max_error is not None
    assert found.norm_max_error < 1e-5
