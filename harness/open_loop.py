"""How far paced requests load what serves them: a queue may grow for longer than a launch lasts. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.gates import as_number, container_cpus, row_place, unpaced

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def with_load(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows of one candidate with `load`: requests offered over those that one caller is served.

    Null where requests are not paced, and where no run says what one caller is served of the same texts on as
    many cores; of several, the first one says.
    """
    return [{**row, "load": _load(row, rows)} for row in rows]


def _load(row: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> float | None:
    place = row_place(row)
    if place.offered_qps is None:
        return None
    texts_per_s = next(
        (
            as_number(other["throughput_texts_per_s"])
            for other in rows
            if row_place(other) == unpaced(place)
            and other["purpose"] != "soak"
            and (other["cores"], container_cpus(other)) == (row["cores"], container_cpus(row))
        ),
        None,
    )
    return place.offered_qps * place.batch_size / texts_per_s if texts_per_s else None
