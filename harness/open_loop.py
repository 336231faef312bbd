"""What serves paced requests: a queue may grow for longer than a launch lasts. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from harness import stats
from harness.gates import row_place, texts_needed_per_s, unpaced

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def with_alone(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows of one candidate with `alone`: the run of one caller at full tilt on the same texts.

    None where requests are not paced, and where there is no such run.
    """
    first = {row_place(row): row for row in reversed(rows) if row["purpose"] != "soak"}
    places = [row_place(row) for row in rows]
    return [
        {**row, "alone": None if place.offered_qps is None else first.get(unpaced(place))}
        for row, place in zip(rows, places, strict=True)
    ]


def launches_alone(row: Mapping[str, Any]) -> int | None:
    """How many launches in all would probably tell whether one caller is served enough for a paced run.

    Args:
        row: the paced run, as `with_alone` gives it.

    Returns:
        None where more of them would not: it is told, or too near to be.
    """
    alone = row["alone"]
    rates = [] if alone is None else alone["launch_throughput_texts_per_s"]
    values = np.asarray(rates if np.iterable(rates) else [], dtype=np.float64)
    under = int(np.count_nonzero(values < texts_needed_per_s(row_place(row))))
    more = stats.launches_to_settle(under, values.size, launch_quantile=0.5)
    return values.size + more if more else None
