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
html_show_copyright = False
html_static_path = ["_static"]
html_css_files = ["help.css"]
autodoc_typehints = "description"
autodoc_member_order = "bysource"
default_role = "code"  # a name in single backticks, as docstrings have it

generate.write(Path(__file__).parent / "reference")
