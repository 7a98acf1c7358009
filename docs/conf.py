"""How the documentation is built: `make docs`, with warnings as errors."""

import re
from importlib.metadata import version as installed

project = "meanfluid"
author = "The meanfluid developers"
copyright = "2026, the meanfluid developers"
version = release = installed("meanfluid")

extensions = ["sphinx.ext.autodoc", "sphinx.ext.mathjax", "numpydoc", "myst_parser"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 2
exclude_patterns = ["_build"]

default_role = "py:obj"
add_module_names = False
autodoc_typehints = "none"
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False

html_theme = "alabaster"
html_theme_options = {"description": "Averages of fluid motion, exact and learned"}


def escape_plain_text(app, what, name, obj, options, lines):
    """Keep reStructuredText from misreading what docstrings write as plain text.

    Absolute values such as |x| are no substitutions, the description "k." of a parameter is no
    item of a list, and the star of a shape (2, *grid) begins no emphasis. Mathematics, literals and
    doctests are left alone.
    """
    for k, line in enumerate(lines):
        if "math::" not in line and ">>>" not in line:
            line = lines[k] = re.sub(r"(?<=[ (])\*(?=\w+\b(?!\*))", r"\\*", line)
        if not any(mark in line for mark in ("`", "\\", "math::", ">>>")):
            lines[k] = re.sub(r"^(\s*)([A-Za-z])\.$", r"\1*\2*.", line).replace("|", r"\|")


def skip_aliases(app, what, name, obj, skip, options):
    """Leave out the fields of named tuples, which the docstring of the class lists already."""
    return skip or (getattr(obj, "__doc__", None) or "").startswith("Alias for field number")


def setup(app):
    """Connect the two functions above."""
    app.connect("autodoc-process-docstring", escape_plain_text, priority=900)  # after numpydoc
    app.connect("autodoc-skip-member", skip_aliases)
