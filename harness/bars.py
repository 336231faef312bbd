"""P95 as a bar of characters against a policy's gates.

The scale is drawn stretch by stretch, from one gate's bound to the next: a bar passes a mark exactly where
the value passes the bound, and rounding to characters never puts it on the wrong side.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.gates import as_number, run_for
from harness.verdict import needed_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.schema import GateConfig

    Row = Mapping[str, Any]

_FULL, _RANDOM, _INTERVAL, _BEYOND = "█", "▒", "░", "▶"
# The marks of the tiers that a verdict hangs on.
_MARKS = {"should": "┊", "must": "│"}
# Eighths of a character: none to seven.
_PARTS = " ▏▎▍▌▋▊▉"
# Characters of a scale, but for its marks and its end.
_CELLS = 12
# Where on the scale the loosest bound stands.
_LOOSEST_AT = 0.75


@dataclass(frozen=True)
class Scale:
    """From 0 to `most_ms`, with a mark at the bound of each of `gates`, which are in ascending order."""

    gates: tuple[GateConfig, ...]
    most_ms: float

    @classmethod
    def of(cls, gates: Sequence[GateConfig], rows: Sequence[Row]) -> Scale:
        """The scale for some runs: the must and should gates that are asked of the P95 of any of them.

        Where there is none, the scale ends at the slowest.

        Args:
            gates: a policy's.
            rows: of runs (`harness.record.RUN_COLUMNS`).
        """
        asked = [
            gate
            for gate in gates
            if gate.metric == "latency_p95_ms"
            and gate.tier in _MARKS
            and gate.bound > 0
            and run_for(gate, rows) is not None
        ]
        if asked:  # of two gates at one bound the must comes last, and its mark is drawn
            asked.sort(key=lambda gate: (gate.bound, gate.tier == "must"))
            return cls(tuple(asked), asked[-1].bound / _LOOSEST_AT)
        known = (as_number(row["latency_p95_ms"]) or 0.0 for row in rows)
        return cls((), max(known, default=0.0) or 1.0)

    @property
    def gates_told(self) -> tuple[str, ...]:
        """Each gate in words, after its mark."""
        told = (f"{_MARKS[gate.tier]} {gate.tier} {needed_text(gate)}" for gate in self.gates)
        return tuple(dict.fromkeys(told))

    def bar(self, row: Row) -> str:
        """A run's P95, which must be known, and its interval above; as wide for every run.

        Marks stand only where the gates are asked of this run.
        """
        value = float(row["latency_p95_ms"])
        end = max(value, as_number(row["latency_p95_high_ms"]) or value)
        random = row["weights"] == "random"
        asked = self._asked_of(row)
        drawn, begin = "", 0.0
        for bound, mark in {gate.bound: _MARKS[gate.tier] for gate in self.gates}.items():
            drawn += self._stretch(begin, bound, value, end, random=random)
            covered = (_RANDOM if random else _FULL) if value > bound else _INTERVAL if end > bound else " "
            drawn += mark if bound in asked else covered
            begin = bound
        drawn += self._stretch(begin, self.most_ms, value, end, random=random)
        return drawn + (_BEYOND if end > self.most_ms else " ")

    def legend(self, rows: Sequence[Row]) -> str:
        """What the characters in the bars of these runs mean."""
        random = any(row["weights"] == "random" for row in rows)
        unasked = any(not self._asked_of(row) for row in rows) and bool(self.gates)
        told = [
            f"bar: median P95 to {self.most_ms:.3g} ms",
            f"{_INTERVAL} interval",
            *self.gates_told,
        ]
        told += ["no mark: no gate is asked there"] * unasked + [f"{_RANDOM} random weights"] * random
        return ", ".join(told)

    def _asked_of(self, row: Row) -> set[float]:
        """The bounds in ms of the gates that are asked of a run."""
        return {gate.bound for gate in self.gates if run_for(gate, [row]) is not None}

    def _stretch(self, begin: float, finish: float, value: float, end: float, *, random: bool) -> str:
        """The part of a bar between two places in ms."""
        cells = max(1, round(_CELLS * (finish - begin) / self.most_ms))

        def reach(ms: float) -> float:
            return cells * min(1.0, max(0.0, (ms - begin) / (finish - begin)))

        whole, part = divmod(int(8 * reach(value)) or int(value > begin), 8)
        drawn = _FULL * whole + _PARTS[part] * bool(part)
        if random:  # of these there are no eighths
            drawn = _RANDOM * (round(reach(value)) or int(value > begin))
        above = math.ceil(reach(end)) - len(drawn) if end > value else 0
        return (drawn + _INTERVAL * above).ljust(cells)
