# SPDX-License-Identifier: Apache-2.0
"""Sphinx: these pages as a site, with Furo and MyST-NB. ``make site`` builds it, without a network."""

from importlib.metadata import version as version_of

project = "moevit"
version = release = version_of("moevit")
copyright = ""  # noqa: A001  (Sphinx names it)
html_show_copyright = html_show_sphinx = False
html_theme = "furo"
html_title = "moevit"
html_static_path: list[str] = []
html_math_renderer = "plain"
html_copy_source = False
exclude_patterns = ["notebooks/*.py"]

extensions = [
    "myst_nb",  # pages and executed notebooks
    "sphinx.ext.autodoc",  # the API from docstrings
    "sphinx.ext.napoleon",  # in numpy's form
    "moevit.pages.site",  # links to sources
]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # notebooks are shown as `make notebooks` executed them
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
napoleon_custom_sections = [("Members", "params_style")]
napoleon_google_docstring = False
