"""One self-contained HTML page out of what notebooks show: light and dark, readable on a phone."""

from __future__ import annotations

import re
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING

from harness.plots import INK

if TYPE_CHECKING:
    from collections.abc import Iterable

    from harness.report.execute import Shown

# What matplotlib writes before the element itself.
_SVG_PROLOGUE = re.compile(r"^.*?(?=<svg)", re.DOTALL)
_METADATA = re.compile(r"<metadata>.*?</metadata>", re.DOTALL)
_HEADING = re.compile(r"^## +(.+)$", re.MULTILINE)


def compose(shown: Iterable[Shown], *, title: str) -> str:
    """The page.

    Args:
        shown: what notebooks showed, in order; HTML and SVG of it are trusted, they are this package's own.
        title: of the page.
    """
    from markdown_it import MarkdownIt

    markdown = MarkdownIt("commonmark", {"html": False})
    parts, headings = [], []
    for each in shown:
        if each.kind == "markdown":
            headings += _HEADING.findall(each.content)
            parts.append(_anchored(markdown.render(each.content)))
        elif each.kind == "svg":
            parts.append(f'<figure class="scroll">{_inline(each.content)}</figure>')
        elif each.kind == "html":
            parts.append(each.content)
        else:
            parts.append(f"<pre>{escape(each.content)}</pre>")
    links = "".join(f'<a href="#{_anchor(heading)}">{escape(heading)}</a>' for heading in headings)
    here = files("harness.report")
    return (
        "<!doctype html>\n"
        '<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title>"
        f"<style>{here.joinpath('page.css').read_text(encoding='utf-8')}</style></head>"
        f"<body><nav>{links}</nav><main>{''.join(parts)}</main>"
        f"<script>{here.joinpath('page.js').read_text(encoding='utf-8')}</script></body></html>\n"
    )


def _inline(svg: str) -> str:
    """A figure as part of the page: its ink is the colour of the page's text."""
    svg = _METADATA.sub("", _SVG_PROLOGUE.sub("", svg))
    return svg.replace(INK, "currentColor")


def _anchored(html: str) -> str:
    return re.sub(r"<h2>(.+?)</h2>", lambda m: f'<h2 id="{_anchor(m[1])}">{m[1]}</h2>', html)


def _anchor(heading: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", heading.lower()).strip("-")
