"""Whether texts that nobody tries get vectors as they must be."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from harness.errors import ProbeError
from harness.measure.vectors import first_wrong

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

# Of larger batches: the longest text is then encoded alone, and the others are not padded to it.
_MOST_TOGETHER = 8


class Hostile(NamedTuple):
    """What the vectors of hostile texts are.

    `norm_max_error` is the largest |norm - 1|, None where one is not finite. `problem` names the kind of the
    first text whose vector is not as it must be; None where all are.
    """

    finite: bool
    norm_max_error: float | None
    problem: str | None


def hostile_vectors(
    encode: Callable[[list[str]], NDArray[np.float32]],
    texts: Mapping[str, str],
    *,
    batch_size: int,
    normalize: bool,
) -> Hostile:
    """Encode hostile texts, by their kind, shorter ones first.

    Args:
        encode: the vectors of one request, float32 [n_texts, dim]; a ProbeError where it fails.
        texts: by kind; at least one.
        batch_size: texts in a request, `_MOST_TOGETHER` at most.
        normalize: whether the model's vectors are of length 1.

    Raises:
        ProbeError: a request fails; it tells the kinds in it.
    """
    kinds = sorted(texts, key=lambda kind: len(texts[kind]))
    found = []
    together = min(batch_size, _MOST_TOGETHER)
    for start in range(0, len(kinds), together):
        served = kinds[start : start + together]
        try:
            found.append(encode([texts[kind] for kind in served]))
        except ProbeError as error:
            raise ProbeError(f"hostile texts ({', '.join(served)}): {error}") from None
    vectors = np.concatenate(found)
    wrong = first_wrong(vectors, normalize=normalize)
    problem = None if wrong is None else f"the vector of a hostile text ({kinds[wrong.row]}) {wrong.what}"
    if wrong is not None and not wrong.finite:
        return Hostile(False, None, problem)
    errors = np.abs(np.linalg.norm(vectors.astype(np.float64), axis=1) - 1.0)
    return Hostile(True, float(errors.max()), problem if normalize else None)
