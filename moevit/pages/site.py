# SPDX-License-Identifier: Apache-2.0
"""A Sphinx extension for what Markdown on a code host does by itself: links to sources, and pages outside ``docs/``.

- A page of `PAGES` shows a file that lies elsewhere; its links are turned to this site.
- A link to a source file leads to a page with the file, coloured.
- A picture with links is put into the page, so that they can be clicked.
- A formula needs no library from the network.
"""

import posixpath
import re
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

from docutils import nodes
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_for_filename
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.util.osutil import relative_uri

__all__ = ["PAGES", "setup"]

ROOT = Path(__file__).resolve().parents[2]
#: Pages of the site, and the files of the checkout that they show.
PAGES = {"contributing": "CONTRIBUTING.md", "changelog": "CHANGELOG.md", "demo-model": "models/demo/README.md"}
#: Where a link to a file outside ``docs/`` leads.
_SHOWN = {"README.md": "index.md", **{file: f"{page}.md" for page, file in PAGES.items()}}
#: Pages that have others below them in the navigation.
_BELOW = {"adr/README": "0*", "modules": "modules/*"}
_LINK = re.compile(r"(\]\()([^)#:\s]+)(#[^)\s]*)?(\))")
_PICTURES = ("machine.svg",)  # with links in them
_SOURCES = "source/"


def setup(app: Sphinx) -> dict[str, bool]:
    """What Sphinx calls."""
    app.connect("source-read", _read)
    app.connect("doctree-read", _linked, priority=100)  # before files to download are collected
    app.connect("html-collect-pages", _pages)
    app.add_html_math_renderer("plain", (_formula, None), (_formula, None))
    return {"parallel_read_safe": False}


def _formula(writer: Any, node: nodes.Element) -> None:
    """A short formula without a library from the network: powers and indices alone."""
    text = re.sub(r"\^\{([^}]*)\}|\^(\w)", r"<sup>\1\2</sup>", escape(node.astext()))
    text = re.sub(r"_\{([^}]*)\}|_(\w)", r"<sub>\1\2</sub>", text)
    writer.body.append(f'<em class="math">{text}</em>')
    raise nodes.SkipNode


def _read(app: Sphinx, page: str, source: list[str]) -> None:
    """The text of a page, with its links turned to pages of the site."""
    file = PAGES.get(page, f"docs/{page}.md")
    if page in PAGES:
        source[0] = (ROOT / file).read_text()
    elif not (ROOT / file).is_file():  # a notebook
        return

    def turned(found: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(file), found[2]))
        shown = posixpath.join("docs", _SHOWN[target]) if target in _SHOWN else target
        if target not in _SHOWN and page not in PAGES:
            return found[0]
        return f"{found[1]}{posixpath.relpath(shown, posixpath.join('docs', posixpath.dirname(page)))}" \
               f"{found[3] or ''}{found[4]}"

    source[0] = _LINK.sub(turned, source[0])
    if page in _BELOW:
        source[0] += f"\n\n```{{toctree}}\n:hidden:\n:glob:\n{_BELOW[page]}\n```\n"


def _linked(app: Sphinx, doctree: nodes.document) -> None:
    page = app.env.docname
    folder = Path(app.env.doc2path(page)).parent
    for node in list(doctree.findall(addnodes.download_reference)):
        if any(child["uri"].endswith(_PICTURES) for child in node.findall(nodes.image)):
            node.replace_self(node.children)
            continue
        path = (folder / node["reftarget"]).resolve()
        if path.is_file() and ROOT in path.parents:
            file = path.relative_to(ROOT).as_posix()
            _files(app).add(file)
            link = nodes.reference("", "", *node.children, internal=True, refuri=_uri(app, page, file))
            node.replace_self(link)
    for image in list(doctree.findall(nodes.image)):
        if image["uri"].endswith(_PICTURES):
            image.replace_self(nodes.raw("", _inlined(app, page, folder / image["uri"]), format="html"))


def _inlined(app: Sphinx, page: str, picture: Path) -> str:
    def turned(found: re.Match[str]) -> str:
        file = (picture.parent / found[1]).resolve().relative_to(ROOT).as_posix()
        _files(app).add(file)
        return f'href="{_uri(app, page, file)}"'

    text = re.sub(r'href="([^"]+)"', turned, picture.read_text())
    return re.sub(r'width="\d+"', 'style="width:100%;height:auto"', text, count=1)


def _files(app: Sphinx) -> set[str]:
    """The source files that pages link."""
    if not hasattr(app, "moevit_files"):
        app.moevit_files = set()  # type: ignore[attr-defined]
    return app.moevit_files  # type: ignore[attr-defined]


def _uri(app: Sphinx, page: str, file: str) -> str:
    return relative_uri(app.builder.get_target_uri(page), f"{_SOURCES}{file}.html")


def _pages(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    """A page for each source file."""
    for file in sorted(_files(app)):
        text = (ROOT / file).read_text()
        body = highlight(text, get_lexer_for_filename(file, text), HtmlFormatter(linenos="inline", anchorlinenos=True,
                                                                               lineanchors="line"))
        yield f"{_SOURCES}{file}", {"title": file, "body": f"<h1>{file}</h1>{body}", "parents": []}, "page.html"
