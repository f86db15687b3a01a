"""How Sphinx makes the site of the pages beside this file: `make docs`."""

import re
from pathlib import Path

project = "infra-validator"
author = "the infra-validator authors"
copyright = author
_VERSION = Path(__file__).parents[1] / "infra_validator" / "version.py"
release = version = re.search(r'__version__ = "(.+)"', _VERSION.read_text())[1]

extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
myst_heading_anchors = 4  # pages link to each other's headings
html_theme = "furo"
html_title = f"infra-validator {release}"
html_show_sourcelink = False
nitpicky = True
