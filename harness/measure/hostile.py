"""Whether texts that nobody tries get vectors as they must be."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from harness.errors import ProbeError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

# From here on a vector is not one of length 1; the shipped policies' bound of l2_norm_max_error.
NORM_TOLERANCE = 0.01
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
    vectors = np.concatenate(found).astype(np.float64)
    finite = np.asarray(np.isfinite(vectors).all(axis=1))
    for kind, is_finite in zip(kinds, finite.tolist(), strict=True):
        if not is_finite:
            return Hostile(False, None, f"the vector of a hostile text ({kind}) holds NaN or infinity")
    norms = np.linalg.norm(vectors, axis=1)
    errors = np.abs(norms - 1.0)
    worst = int(errors.argmax())
    problem = None
    if normalize and errors[worst] > NORM_TOLERANCE:
        problem = f"the vector of a hostile text ({kinds[worst]}) has length {norms[worst]:.4g}, not 1"
    return Hostile(True, float(errors[worst]), problem)
