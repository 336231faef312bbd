"""How runs look in figures: colour, marker and line, their labels, and what a legend says of them.

A model has one colour in all figures, whatever else is drawn, a precision one marker, an execution provider
one line. Of one's own models and precisions several may share one: `alike` numbers those. Hollow are random
weights, hatched is a reported figure, a grey interval, and a grey ring around a point, is provisional.

Colours: Okabe & Ito (2008), "Color Universal Design", told apart by colour-blind people too; beyond them the
olive and a lighter wine of Tol (2021), "Colour Schemes".
"""

from __future__ import annotations

from collections import Counter
from functools import cache
from itertools import accumulate, takewhile
from typing import TYPE_CHECKING, Any
from zlib import crc32

from harness.caveats import is_brief
from harness.gates import as_number, model_names, p95_floor_ms, stopped_cells
from harness.stand_ins import harmless
from harness.units import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from matplotlib.artist import Artist
    from matplotlib.ft2font import FT2Font

Row = dict[str, Any]

# Text and axes, and what lies behind them; a page may put its own colours in the place of these two.
INK = "#1b1f24"
PAPER = "#fefefe"
FAINT = "#8b949e"
HATCH = "//////"
# The markers of launches of which there is more to tell than the run.
_DISTURBED, _STOPPED = "disturbed launch", "launch stopped early: what it served until then"
_BOTH = "disturbed and stopped early: what it served until then"
STOPPED_MARKER = ">"
FAILED_MARKER = "X"
LAUNCH_KINDS = {_DISTURBED: "x", _STOPPED: STOPPED_MARKER, _BOTH: "4"}
# The shipped models' colours.
_COLOURS = {"minilm": "#0072B2", "e5": "#D55E00", "bge": "#009E73", "qwen3": "#CC79A7"}
# Another model's depends on its name alone, so that it is the same whatever else is drawn.
_OTHER_COLOURS = ("#E69F00", "#56B4E9", "#999933", "#AA4466")
# The shipped precisions' markers; another one's depends on its name alone too.
_MARKERS = {
    "fp32": "o",
    "fp32-fused": "s",
    "fp16": "D",
    "int8": "^",
    "int8-weights": "v",
    "int4-weights": "P",
}
_OTHER_MARKERS = ("<", "*", "p", "h", "d")
# An execution provider's line; others share one.
_DASHES: dict[str, Any] = {"cpu": "-", "coreml": "--", "cuda": "-.", "openvino": ":"}
_OTHER_DASHES = (0, (9, 3))
# Whatever the launches, these are of texts: a short time of the machine does not limit them.
_OF_TEXTS = ("separation_auc",)
# Letters of a candidate's or model's name, and of a line of a run's label, that fit; the fewest of a name.
_NAME_LETTERS = 40
_LINE_LETTERS = 72
_FEWEST_LETTERS = 8
# And of a name in a legend of one column.
LEGEND_LETTERS = 60
# How wide a letter of a usual name is, by the height of the font.
_LETTER_EM = 0.58


def has(row: Row, column: str) -> bool:
    """Whether a figure is known."""
    return as_number(row[column]) is not None


def bounds(row: Row, metric: str) -> tuple[float, float] | None:
    """The interval of a metric; None where the launches are too few for one."""
    stem, unit = (metric[:-3], "_ms") if metric.endswith("_ms") else (metric, "")
    low, high = (as_number(row[f"{stem}_{side}{unit}"]) for side in ("low", "high"))
    return None if low is None or high is None else (low, high)


def is_grey(row: Row, metric: str) -> bool:
    """Whether a metric is drawn as provisional."""
    return metric not in _OF_TEXTS and is_brief(row)


def ring() -> dict[str, Any]:
    """The look of what stands around a provisional point."""
    return {"marker": "o", "color": FAINT, "mfc": "none", "mew": 1.5, "ms": 11}


def is_stopped(row: Row, metric: str) -> bool:
    """Whether a latency or throughput is of what launches served until they were stopped early."""
    if metric == "latency_p95_ms":
        return p95_floor_ms(row) is not None
    return metric not in _OF_TEXTS and has(row, "truncated_over_ms")


def is_random(row: Row) -> bool:
    """Whether a run's model has random weights."""
    return bool(row["weights"] == "random")


def look(row: Row) -> dict[str, Any]:
    """Colour of a run's model, marker of its precision; hollow for random weights."""
    ink = colour(row)
    return {"color": ink, "marker": marker(row), "markerfacecolor": PAPER if is_random(row) else ink}


def colour(row: Row) -> str:
    """The colour of a run's model."""
    return _own(_COLOURS, _OTHER_COLOURS, str(row["model"]))


def marker(row: Row) -> str:
    """The marker of a run's precision."""
    return _own(_MARKERS, _OTHER_MARKERS, str(row["precision"]))


def alike(rows: Iterable[Row]) -> dict[tuple[str, str, bool], int]:
    """Numbers from 1 of those `kind`s of runs whose colour or marker is another's too; none for most."""
    kinds = {kind(row): row for row in rows}
    models = Counter(ink for _, ink in {(row["model"], colour(row)) for row in kinds.values()})
    precisions = Counter(shape for _, shape in {(row["precision"], marker(row)) for row in kinds.values()})
    shared = [
        each
        for each in sorted(kinds)
        if models[colour(kinds[each])] > 1 or precisions[marker(kinds[each])] > 1
    ]
    return {each: number for number, each in enumerate(shared, start=1)}


def kind(row: Row) -> tuple[str, str, bool]:
    """What a look stands for: a run's model, its precision, and whether its weights are random."""
    return str(row["model"]), str(row["precision"]), is_random(row)


def numbered(row: Row, number: int) -> dict[str, Any]:
    """The look of a run that its number tells from those that look alike."""
    return {"color": colour(row), "marker": f"${number}$", "ms": 6, "mew": 0.4}


def _own(shipped: Mapping[str, str], others: Sequence[str], name: str) -> str:
    """A name's own of what is given out."""
    return shipped.get(name) or others[crc32(name.encode()) % len(others)]


def dashes(row: Row) -> Any:
    """The line style of a run's execution provider."""
    return _DASHES.get(str(row["ep"]), _OTHER_DASHES)


def launch_kind(row: Row) -> str:
    """What there is to tell of a launch beside its run, of `LAUNCH_KINDS`; nothing of most."""
    disturbed, stopped = (bool(as_number(row[name])) for name in ("disturbed", "truncated"))
    if disturbed and stopped:
        return _BOTH
    return _DISTURBED if disturbed else _STOPPED if stopped else ""


def labels(rows: Sequence[Row]) -> list[str]:
    """Each candidate, where it was measured and what limits it; alike ones tell their run."""
    found = [_label(row) for row in rows]
    counts = Counter(found)
    return [
        _label(row, f"run {str(row['run_id'])[:6]}") if counts[label] > 1 else label
        for label, row in zip(found, rows, strict=True)
    ]


def place(row: Row) -> str:
    """Where a run was measured, and which of several there; batch 1 and one caller go without saying."""
    said = [str(row["workload"])]
    said += [f"batch {row['batch_size']}"] if row["batch_size"] != 1 else []
    said += [f"{row['clients']} callers"] if row["clients"] != 1 else []
    said += [f"{row['offered_qps']:g}/s"] if has(row, "offered_qps") else []
    said += ["soak"] if row["purpose"] == "soak" else []
    said += [f"replicate {row['replicate']}"] if as_number(row["replicate"]) else []
    said += [f"held to {counted(int(row['cpus']), 'core')}"] if has(row, "cpus") else []
    return ", ".join(said)


def _label(row: Row, *more: str) -> str:
    said = [place(row)]
    said += ["random weights"] if is_random(row) and "random" not in str(row["candidate_label"]) else []
    said += ["provisional"] if is_brief(row) else []
    said += [f"{row['launches_failed']} failed"] if as_number(row["launches_failed"]) else []
    said += [stopped_text(row)] if p95_floor_ms(row) is not None else []
    said += more
    name = str(row["candidate_label"])
    whole = f"{name} · {', '.join(said)}"
    if letters(whole) <= _LINE_LETTERS:
        return shown(whole)
    lines = [name]
    for each in said:
        if len(lines) > 1 and letters(f"{lines[-1]}, {each}") <= _LINE_LETTERS:
            lines[-1] += f", {each}"
        else:
            lines.append(each)
    return "\n".join(short(line, _LINE_LETTERS) for line in lines)


def pair_label(pair: str, found: str, brief: bool) -> str:
    """A pair of runs, what was found of it, and whether that is provisional; each run whole where it fits."""
    told = f"{found}{', provisional' if brief else ''}"
    whole = f"{pair} · {told}"
    if letters(whole) <= _LINE_LETTERS:
        return shown(whole)
    first, *second = pair.split(" → ")
    return "\n".join(short(line, _LINE_LETTERS) for line in (first, *(f"→ {name}" for name in second), told))


def stopped_text(row: Row) -> str:
    """The P95 of a run whose launches were stopped early."""
    value, mark = stopped_cells(p95_floor_ms(row), "", "")
    return f"P95 {value} ms, {mark}"


def short(name: str, most: int = _NAME_LETTERS) -> str:
    """A name in the width of so many letters: its end tells precisions, providers and folders apart."""
    name, most = _drawable(name), max(most, _FEWEST_LETTERS)
    if letters(name) <= most:
        return shown(name)
    room = most - letters("…")
    return shown(f"{_beginning(name, room / 3)}…{_beginning(name[::-1], room * 2 / 3)[::-1]}")


def letters(text: str) -> float:
    """How wide a text's longest line is drawn, in letters of a usual name."""
    return max(sum(map(_width, line)) for line in _drawable(text).split("\n")) / _LETTER_EM


def _beginning(text: str, room: float) -> str:
    """As much of a text as so many letters are wide."""
    ends = accumulate(map(letters, text))
    return text[: sum(1 for _ in takewhile(lambda end: end <= room, ends))]


def shown(text: str) -> str:
    """Text as it stands, in one line.

    A dollar sign would begin a formula; what would turn the writing, or an SVG file may not hold, or the
    figures' font lacks, is told by its number.
    """
    return " ".join(_drawable(text).split()).replace("$", r"\$")


def _drawable(text: str) -> str:
    """A text of characters that figures can draw; the others are told by their numbers."""
    text = harmless(text)
    if text.isascii():
        return text
    there = _characters()
    return "".join(
        c if c.isspace() or ord(c) in there else c.encode("unicode_escape").decode("ascii") for c in text
    )


@cache
def _characters() -> frozenset[int]:
    """The characters of the figures' font, by their numbers."""
    return frozenset(_font().get_charmap())


@cache
def _width(character: str) -> float:
    """How wide a character of the figures' font is, by the font's height."""
    font = _font()
    font.set_size(100, 72)
    return (
        float(font.load_char(ord(" " if character.isspace() else character)).linearHoriAdvance)
        / 0x10000
        / 100
    )


def _font() -> FT2Font:
    from matplotlib.font_manager import FontProperties, findfont, get_font

    return get_font(findfont(FontProperties()))


def handle(row: Row, label: str, **more: Any) -> Artist:
    """A run's look in a legend."""
    from matplotlib.lines import Line2D

    return Line2D([], [], **{"ls": "none", "label": _legible(label), **look(row), **more})


def mark(shape: str, label: str, **more: Any) -> Artist:
    """A marker or a line in a legend."""
    from matplotlib.lines import Line2D

    look = {"marker": shape or None, "color": INK, "ls": "none", "label": _legible(label)}
    return Line2D([], [], **{**look, **more})


def _legible(label: str) -> str:
    """A label that a legend shows: it leaves out what begins with an underscore."""
    return f" {label}" if label.startswith("_") else label


def box(label: str, **more: Any) -> Artist:
    """A filled or hatched box in a legend."""
    from matplotlib.patches import Patch

    return Patch(**{"facecolor": "none", "edgecolor": FAINT, "label": label, **more})


def model_handles(rows: Sequence[Row]) -> list[Artist]:
    """The models of some runs in a legend, by their colours, and the precisions, by their markers.

    Those that these do not tell apart stand by their numbers.
    """
    numbers = alike(rows)
    told = [row for row in rows if kind(row) not in numbers]
    models = {_model(row): row for row in told}
    precisions = {str(row["precision"]): row for row in told}
    found = [mark("", short(name), color=colour(models[name]), ls="-", lw=4) for name in sorted(models)]
    found += [mark(marker(precisions[name]), short(name)) for name in sorted(precisions)]
    own = {numbers[kind(row)]: row for row in rows if kind(row) in numbers}
    return found + [
        mark("", short(f"{_model(row)} {row['precision']}", LEGEND_LETTERS), **numbered(row, number))
        for number, row in sorted(own.items())
    ]


def _model(row: Row) -> str:
    return f"{model_names(row)[1]}{' (random weights)' if is_random(row) else ''}"


def launch_handles(rows: Iterable[Row]) -> list[Artist]:
    """What the markers of some launches tell, where there is more to tell than the run."""
    seen = {launch_kind(row) for row in rows}
    return [mark(shape, told, mfc="none", ms=8) for told, shape in LAUNCH_KINDS.items() if told in seen]


def limit_handles(rows: Sequence[Row], metrics: Sequence[str] = ()) -> list[Artist]:
    """What hollow, grey and dotted tell of some runs, where they occur.

    Args:
        rows: of runs.
        metrics: those that are drawn with their intervals.
    """
    found = [mark("o", "hollow: random weights", markerfacecolor=PAPER)] if any(map(is_random, rows)) else []
    if any(is_grey(row, metric) for row in rows for metric in metrics):
        found.append(provisional())
    if any(is_stopped(row, metric) for row in rows for metric in metrics):
        found.append(mark(STOPPED_MARKER, "launches stopped early: what they served until then"))
    if any(bounds(row, metric) is None for row in rows for metric in metrics):
        found.append(dotted())
    return found


def provisional() -> Artist:
    """What grey tells, in a legend."""
    return mark("", "grey: provisional, measured in too short a time", ls="-", lw=2, **ring())


def dotted() -> Artist:
    """What a dotted line tells, in a legend."""
    return mark("", "dotted: too few launches for an interval, or stopped ones", color=FAINT, ls=":")
