"""Sphinx configuration; the reference pages are written anew from the code at each build."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import generate

project = "harness"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "harness"
html_copy_source = False
html_show_sourcelink = False
autodoc_typehints = "description"
autodoc_member_order = "bysource"
nitpicky = False

generate.write(Path(__file__).parent / "reference")
