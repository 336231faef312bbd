"""How runs look in figures: colour, marker and line, their labels, and what a legend says of them.

A model has one colour and one marker in all figures, whatever else is drawn. Hollow are random weights,
hatched is a reported figure, a grey interval is provisional.

Colours: Okabe & Ito (2008), "Color Universal Design", told apart by colour-blind people too.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any
from zlib import crc32

from harness.caveats import is_brief, is_guess
from harness.gates import as_number
from harness.units import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from matplotlib.artist import Artist

Row = dict[str, Any]

# Text and axes, and what lies behind them; a page may put its own colours in the place of these two.
INK = "#1b1f24"
PAPER = "#fefefe"
FAINT = "#8b949e"
HATCH = "//////"
# The markers of launches of which there is more to tell than the model.
LAUNCH_KINDS = {"disturbed launch": "x", "launch stopped early: at least so much": ">"}
# The shipped models' colour and marker.
_LOOKS = {
    "minilm": ("#0072B2", "o"),
    "e5": ("#D55E00", "s"),
    "bge": ("#009E73", "^"),
    "qwen3": ("#CC79A7", "D"),
}
# Another model's look depends on its name alone, so that it is the same whatever else is drawn.
_OTHER_LOOKS = tuple((colour, marker) for marker in "v<>ph" for colour in ("#E69F00", "#56B4E9"))
# A precision's line; others share one.
_DASHES: dict[str, Any] = {
    "fp32": "-",
    "fp32-fused": "--",
    "fp16": "-.",
    "int8": ":",
    "int8-weights": (0, (6, 2, 1, 2, 1, 2)),
    "int4-weights": (0, (1, 3)),
}
_OTHER_DASHES = (0, (9, 3))
# Characters of a candidate's or model's name, and of a run's whole label, that fit.
_NAME_LENGTH = 40
_LABEL_LENGTH = 72


def has(row: Row, column: str) -> bool:
    """Whether a figure is known."""
    return as_number(row[column]) is not None


def bounds(row: Row, metric: str) -> tuple[float, float] | None:
    """The interval of a metric; None where the launches are too few for one."""
    stem, unit = (metric[:-3], "_ms") if metric.endswith("_ms") else (metric, "")
    low, high = (as_number(row[f"{stem}_{side}{unit}"]) for side in ("low", "high"))
    return None if low is None or high is None else (low, high)


def is_random(row: Row) -> bool:
    """Whether a run's model has random weights."""
    return bool(row["weights"] == "random")


def look(row: Row) -> dict[str, Any]:
    """Colour and marker of a run's model; hollow for random weights."""
    model = str(row["model"])
    ink, marker = _LOOKS.get(model) or _OTHER_LOOKS[crc32(model.encode()) % len(_OTHER_LOOKS)]
    return {"color": ink, "marker": marker, "markerfacecolor": PAPER if is_random(row) else ink}


def colour(row: Row) -> str:
    """The colour of a run's model."""
    return str(look(row)["color"])


def dashes(row: Row) -> Any:
    """The line style of a run's precision."""
    return _DASHES.get(str(row["precision"]), _OTHER_DASHES)


def launch_kind(row: Row) -> str:
    """What there is to tell of a launch beside its model, of `LAUNCH_KINDS`; nothing of most."""
    disturbed, stopped = LAUNCH_KINDS
    if as_number(row["disturbed"]):
        return disturbed
    return stopped if as_number(row["truncated"]) else ""


def labels(rows: Sequence[Row]) -> list[str]:
    """Each candidate, where it was measured and what limits it; alike ones tell their run."""
    found = [_label(row) for row in rows]
    counts = Counter(found)
    return [
        f"{label}, run {str(row['run_id'])[:6]}" if counts[label] > 1 else label
        for label, row in zip(found, rows, strict=True)
    ]


def _label(row: Row) -> str:
    """Batch 1 and one caller go without saying."""
    said = [str(row["workload"])]
    said += [f"batch {row['batch_size']}"] if row["batch_size"] != 1 else []
    said += [f"{row['clients']} callers"] if row["clients"] != 1 else []
    said += [f"{row['offered_qps']:g}/s"] if has(row, "offered_qps") else []
    said += ["soak"] if row["purpose"] == "soak" else []
    said += [f"replicate {row['replicate']}"] if as_number(row["replicate"]) else []
    said += [f"held to {counted(int(row['cpus']), 'core')}"] if has(row, "cpus") else []
    said += ["random weights"] if is_random(row) and "random" not in str(row["candidate_label"]) else []
    said += ["provisional"] if is_brief(row) else []
    said += [f"{row['launches_failed']} failed"] if as_number(row["launches_failed"]) else []
    said += ["P95 at least"] if is_guess(row) else []
    where = ", ".join(said)
    return f"{short(str(row['candidate_label']), _LABEL_LENGTH - len(where))} · {shown(where)}"


def short(name: str, most: int = _NAME_LENGTH) -> str:
    """A name in so many characters."""
    return shown(name if len(name) <= most else f"{name[: most - 1]}…")


def shown(text: str) -> str:
    """Text as it stands, in one line; a dollar sign would begin a formula."""
    return " ".join(text.split()).replace("$", r"\$")


def handle(row: Row, label: str, ls: Any = "none") -> Artist:
    """A run's look in a legend."""
    from matplotlib.lines import Line2D

    hidden = " " if label.startswith("_") else ""  # a legend leaves out what begins so
    return Line2D([], [], ls=ls, label=f"{hidden}{label}", **look(row))


def mark(marker: str, label: str, **more: Any) -> Artist:
    """A marker or a line in a legend."""
    from matplotlib.lines import Line2D

    return Line2D([], [], **{"marker": marker or None, "color": INK, "ls": "none", "label": label, **more})


def box(label: str, **more: Any) -> Artist:
    """A filled or hatched box in a legend."""
    from matplotlib.patches import Patch

    return Patch(**{"facecolor": "none", "edgecolor": FAINT, "label": label, **more})


def model_handles(rows: Iterable[Row]) -> list[Artist]:
    """The models of some runs in a legend."""
    named = {f"{row['model']}{' (random weights)' if is_random(row) else ''}": row for row in rows}
    return [handle(named[name], short(name)) for name in sorted(named)]


def launch_handles(rows: Iterable[Row]) -> list[Artist]:
    """What the markers of some launches tell, where there is more to tell than the model."""
    seen = {launch_kind(row) for row in rows}
    return [mark(marker, kind) for kind, marker in LAUNCH_KINDS.items() if kind in seen]


def limit_handles(rows: Sequence[Row], metrics: Sequence[str] = ()) -> list[Artist]:
    """What hollow, grey and dotted tell of some runs, where they occur.

    Args:
        rows: of runs.
        metrics: those that are drawn with their intervals.
    """
    found = [mark("o", "hollow: random weights", markerfacecolor=PAPER)] if any(map(is_random, rows)) else []
    if metrics and any(map(is_brief, rows)):
        found.append(mark("", "grey: provisional", color=FAINT, ls="-", lw=2))
    if any(bounds(row, metric) is None for row in rows for metric in metrics):
        found.append(mark("", "dotted: too few launches for an interval", color=FAINT, ls=":"))
    return found
