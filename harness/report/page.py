"""One self-contained HTML page out of what notebooks show: light and dark, readable on a phone."""

from __future__ import annotations

import re
from base64 import b64encode
from hashlib import sha256
from html import escape
from importlib.resources import files
from itertools import groupby
from typing import TYPE_CHECKING

from harness.looks import INK, PAPER

if TYPE_CHECKING:
    from collections.abc import Iterable

    from harness.report.execute import Shown

# What matplotlib writes before the element itself.
_SVG_PROLOGUE = re.compile(r"^.*?(?=<svg)", re.DOTALL)
_METADATA = re.compile(r"<metadata>.*?</metadata>", re.DOTALL)
_SIZE = re.compile(r'(?<=<svg )(.*?)width="([\d.]+pt)" height="[\d.]+pt"', re.DOTALL)
# The figure's own id, which `harness.report.figure` sets.
_NAME = re.compile(r'<g id="([^"]+)"')
_HEADING = re.compile(r"^## +(.+)$", re.MULTILINE)


def compose(shown: Iterable[Shown], *, title: str, footer: str = "") -> str:
    """The page.

    Args:
        shown: what notebooks showed, in order; HTML and SVG of it are trusted, they are this package's own.
        title: of the page.
        footer: a line under it.
    """
    from markdown_it import MarkdownIt

    markdown = MarkdownIt("commonmark", {"html": False})
    parts, headings = [], []
    for kind, group in groupby(shown, key=lambda each: each.kind):
        contents = [each.content for each in group]
        if kind == "markdown":
            headings += _HEADING.findall("\n".join(contents))
            parts += [_anchored(markdown.render(content)) for content in contents]
        elif kind == "svg":
            figures = "".join(map(_inline, contents))
            parts.append(f'<div class="figures">{figures}</div>' if len(contents) > 1 else figures)
        elif kind == "html":
            parts += contents
        else:
            parts += [f"<pre>{escape(content)}</pre>" for content in contents]
    links = "".join(f'<a href="#{_anchor(heading)}">{escape(heading)}</a>' for heading in headings)
    here = files("harness.report")
    style, script = (here.joinpath(name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    allowed = b64encode(sha256(script.encode()).digest()).decode()
    return (
        "<!doctype html>\n"
        '<html lang="en"><head><meta charset="utf-8">'
        # Nothing is loaded, and no script runs but the page's own.
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        f"style-src 'unsafe-inline'; script-src 'sha256-{allowed}'\">"
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{style}</style></head>"
        f'<body><nav aria-label="sections">{links}</nav><main>{"".join(parts)}'
        f'<footer class="note">{escape(footer)}</footer></main>'
        f"<script>{script}</script></body></html>\n"
    )


def _inline(svg: str) -> str:
    """A figure as part of the page: its ink and paper are the page's, its width a wish."""
    named = _NAME.search(svg)
    words = escape(named[1].replace("_", " ")) if named else "figure"
    label = f'aria-label="{words}"'
    svg = _METADATA.sub("", _SVG_PROLOGUE.sub("", svg))
    svg = _SIZE.sub(r'\1style="--width: \2"', svg, count=1)
    svg = svg.replace("<svg", f'<svg role="img" {label}', 1)
    svg = svg.replace(INK, "currentColor").replace(PAPER, "var(--paper)")
    return f'<figure class="scroll" role="region" tabindex="0" {label}>{svg}</figure>'


def _anchored(html: str) -> str:
    return re.sub(r"<h2>(.+?)</h2>", lambda m: f'<h2 id="{_anchor(m[1])}">{m[1]}</h2>', html)


def _anchor(heading: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", heading.lower()).strip("-")
