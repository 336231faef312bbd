"""What all figures share: their size, axes, intervals, titles and legends."""

from __future__ import annotations

import math
from itertools import chain, count
from statistics import fmean
from textwrap import wrap
from typing import TYPE_CHECKING

from harness.looks import FAINT, INK, LEGEND_LETTERS, PAPER, Row, bounds, colour, is_grey, letters, shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Narrow enough to be read on a phone.
WIDTH_IN = 5.2
# A row has its label above and its data so far under its middle, in rows.
UNDER = 0.18
_ROW_IN = 0.44
# What a row grows by with each further line of a label.
_MORE_IN = 0.36
_LEGEND_ROW_IN = 0.19
# What a figure of rows has above and below its axes: a title close to them, ticks, and a line of words.
_AROUND_IN = 1.2
_TITLE_PAD = 6
_WORDS_LINE_IN = 0.15
# A line of small letters, in heights of one of two axes that stand over each other.
_LINE_SHARE = 0.07
# So many times its least has an axis of many decades.
_MANY_DECADES = 3000
# In points: how wide a small letter is, how high a line of them, how far above its point the first stands.
_SMALL_LETTER, _SMALL_LINE, _FIRST_UP = 4.7, 10.0, 6.0
# And how far right of its point.
_ASIDE = 5
# And how far apart lines of them are that stand aslant, from left to right.
_ASLANT = 14
# Letters of a legend's line of which two stand side by side.
_HALF_LINE = 28


def new_figure(width_in: float, height_in: float) -> Figure:
    """A figure without axes."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width_in, height_in), layout="constrained")


def rows_figure(rows: int) -> tuple[Figure, Axes]:
    """A figure with so many rows."""
    figure = new_figure(WIDTH_IN, _AROUND_IN + _ROW_IN * max(3, rows))
    return figure, figure.subplots()


def nothing(figure: Figure, axes: Axes, name: str, sentence: str) -> Figure:
    """The figure's title, and a sentence in the place of its axes: what there is nothing of."""
    axes.set_axis_off()
    axes.patch.set_visible(False)
    figure.patch.set_visible(False)
    title(axes, name)
    lines = wrap(sentence, LEGEND_LETTERS)
    axes.text(0, 0.5, "\n".join(lines), va="center", color=INK, fontsize=9, transform=axes.transAxes)
    figure.set_size_inches(WIDTH_IN, 0.54 + 0.16 * len(lines))
    return figure


def clean(axes: Axes, *, grid: bool = True) -> None:
    """Plain axes in the page's ink, on the page's paper."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(FAINT)
    axes.tick_params(colors=INK, labelsize=8.5, which="both")
    axes.xaxis.label.set(color=INK, fontsize=9)
    axes.yaxis.label.set(color=INK, fontsize=9)
    axes.patch.set_visible(False)
    axes.figure.patch.set_visible(False)
    if grid:
        axes.grid(visible=True, color=FAINT, alpha=0.25, lw=0.6)
        axes.set_axisbelow(True)


def rows_axis(figure: Figure, axes: Axes, labels: Sequence[str]) -> None:
    """Clean axes with a row for each label, which stands above the row's data; the first on top.

    Labels, in lines that are as wide as the figure at most, take no room from the axes: the figure grows.
    """
    clean(axes)
    lines = max(label.count("\n") for label in labels)
    _grow(figure, _MORE_IN * lines * len(labels))
    axes.set_yticks([])
    axes.set_ylim(len(labels) - 0.5, -0.5)
    for y, label in enumerate(labels):
        axes.annotate(
            label, (0, y - 0.5), xycoords=("axes fraction", "data"), xytext=(3, -3),
            textcoords="offset points", va="top", fontsize=8.5, color=INK, zorder=4,
            bbox={"fc": PAPER, "ec": "none", "pad": 0.5},
        ).set_in_layout(False)  # fmt: skip


def plain_ticks(axes: Axes) -> None:
    """Plain numbers on logarithmic axes: at 1, 2 and 5 of a decade, more within one, of many at 1 alone."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

    for axis in (axes.xaxis, axes.yaxis):
        if axis.get_scale() != "log":
            continue
        low, high = axis.get_view_interval()
        subs: tuple[float, ...] = (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0)
        if high > 10 * low:
            subs = (1.0,) if high > _MANY_DECADES * low else (1.0, 2.0, 5.0)
        axis.set_major_locator(LogLocator(subs=subs) if high > 3 * low else MaxNLocator(6))
        axis.set_major_formatter(FuncFormatter(lambda value, _position: f"{value:g}"))
        axis.set_minor_locator(NullLocator())


def ticks_at(axes: Axes, xs: Sequence[float], most: int) -> None:
    """Ticks where something was measured, and nowhere else, on a log scale; numbers at so many at most."""
    apart = 0.99 * math.log(xs[-1] / xs[0]) / (most - 1)
    told: list[float] = []
    for x in xs:
        if not told or math.log(x / told[-1]) >= apart:
            told.append(x)
    axes.set_xticks(xs, [f"{x:g}" if x in told else "" for x in xs])
    axes.set_xlim(xs[0] / 1.5, xs[-1] * 1.5)


def interval(
    axes: Axes, row: Row, metric: str, at: float, *, vertical: bool, alpha: float | None = None
) -> None:
    """The interval of a run's metric; dotted from end to end where the launches are too few for one."""
    ends = bounds(row, metric)
    if ends is None:
        endless = axes.axvline if vertical else axes.axhline
        endless(at, color=FAINT, lw=0.8, ls=":", zorder=1)
        return
    value = float(row[metric])
    ink = FAINT if is_grey(row, metric) else colour(row)
    draw = axes.vlines if vertical else axes.hlines
    draw(at, min(ends[0], value), max(ends[1], value), color=ink, lw=2, zorder=2, alpha=alpha)


def beside(axes: Axes, text: str, x: float, y: float, *, above: float = 0) -> None:
    """A few words right of a point, and so many points above it."""
    axes.annotate(
        shown(text), (x, y), xytext=(_ASIDE, above), textcoords="offset points", va="center", fontsize=8,
        color=INK, zorder=5,
    )  # fmt: skip


def beside_each(axes: Axes, words: Sequence[tuple[str, float, float]]) -> None:
    """A few words right of each (text, x, y), on a log scale: none over another, each near its end."""
    low, high = (math.log(end) for end in axes.get_ylim())
    line = _LINE_SHARE * (high - low)
    ordered = sorted(words, key=lambda word: word[2])
    # Where each would stand but for those below it; those that are in each other's way share their middle.
    blocks: list[list[float]] = []
    for i, (_, _, y) in enumerate(ordered):
        blocks.append([math.log(y) - i * line])
        while len(blocks) > 1 and fmean(blocks[-2]) > fmean(blocks[-1]):
            last = blocks.pop()
            blocks[-1] += last
    middles = [fmean(block) for block in blocks for _ in block]
    for i, ((text, x, _), middle) in enumerate(zip(ordered, middles, strict=True)):
        # In the axes, with those above and below it.
        least, most = low + (i + 0.5) * line, high - (len(ordered) - i - 0.5) * line
        beside(axes, text, x, math.exp(max(least, min(middle + i * line, most))))


def beside_points(axes: Axes, words: Sequence[tuple[str, float, float]]) -> None:
    """A few words right of each (text, x, y), none over another or a point: further above, or else below."""
    axes.autoscale_view()
    ordered = sorted(words, key=lambda word: word[1:])
    to_points = 72 / axes.figure.dpi
    places = [to_points * axes.transData.transform(word[1:]) for word in ordered]
    taken = [(at_x - _ASIDE, at_x + _ASIDE, at_y) for at_x, at_y in places]
    for (text, x, y), (at_x, at_y) in zip(ordered, places, strict=True):
        left, right = at_x + _ASIDE, at_x + _ASIDE + _SMALL_LETTER * (letters(text) + 1)
        lines = math.ceil((to_points * axes.bbox.y1 - at_y - _FIRST_UP) / _SMALL_LINE)
        ups = (_FIRST_UP + _SMALL_LINE * line for line in range(lines))
        for up in chain(ups, count(-_FIRST_UP, -_SMALL_LINE)):
            if all(right <= a or left >= b or abs(at_y + up - at) >= _SMALL_LINE for a, b, at in taken):
                taken.append((left, right, at_y + up))
                beside(axes, text, x, y, above=up)
                break


def above_each(axes: Axes, words: Iterable[tuple[str, float]]) -> None:
    """A few words aslant above the axes at each (text, x), each further right than the last."""
    axes.autoscale_view()
    least = -math.inf
    for text, x in sorted(words, key=lambda word: word[1]):
        there = 72 / axes.figure.dpi * axes.transData.transform((x, 1))[0]
        axes.annotate(
            text, (x, 1), xycoords=("data", "axes fraction"), xytext=(max(0.0, least - there), 3),
            textcoords="offset points", rotation=45, rotation_mode="anchor", fontsize=8, color=INK,
        )  # fmt: skip
        least = max(there, least) + _ASLANT


def above(axes: Axes, text: str) -> None:
    """A few words above the axes, at their left."""
    axes.annotate(
        text, (0, 1), xycoords="axes fraction", xytext=(0, 3), textcoords="offset points", fontsize=8.5,
        color=INK,
    )  # fmt: skip


def title(axes: Axes, text: str, left_out: int = 0, *, pad: float = _TITLE_PAD) -> None:
    """The title so many points above the axes, and how many runs are left out; the figure grows by it."""
    more = f" ({left_out} more in the table)" if left_out > 0 else ""
    axes.set_title(f"{text}{more}", loc="left", color=INK, fontsize=11, pad=pad)
    _grow(axes.figure.get_figure(root=True), (pad - _TITLE_PAD) / 72)


def x_label(axes: Axes, text: str) -> None:
    """What the axis tells, in lines; the figure grows by each but the first."""
    axes.set_xlabel(text)
    _grow(axes.figure.get_figure(root=True), _WORDS_LINE_IN * text.count("\n"))


def _grow(figure: Figure, by_in: float) -> None:
    width_in, height_in = figure.get_size_inches()
    figure.set_size_inches(width_in, height_in + by_in)


def legend(figure: Figure, handles: Sequence[Artist]) -> None:
    """A legend under the figure, which grows by it; none for nothing."""
    if handles:
        labels = [str(each.get_label()) for each in handles]
        columns = 2 if all(letters(label) < _HALF_LINE for label in labels) else 1
        lines = sum(label.count("\n") + 1 for label in labels)
        _grow(figure, _LEGEND_ROW_IN * math.ceil(lines / columns))
        figure.legend(
            handles=handles, loc="outside lower left", ncols=columns, fontsize=8.5, frameon=False,
            labelcolor=INK, handlelength=4,
        )  # fmt: skip
