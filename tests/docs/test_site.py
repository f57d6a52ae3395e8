# SPDX-License-Identifier: Apache-2.0
"""The site builds without a warning and without a network; its links lead somewhere; examples do what they show."""

import doctest
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

pytest.importorskip("sphinx", reason="pip install 'moevit[docs]'")

ROOT = Path(__file__).resolve().parents[2]
#: Pages whose ``>>>`` examples run in seconds.
EXAMPLES = sorted(path for path in (ROOT / "docs").glob("*.md") if re.search(r"(?m)^>>> ", path.read_text()))


#: Pages that the navigation leads to.
NAVIGATION = ("quick-start", "your-vit", "layers", "what-fits", "commands", "api", "troubleshooting", "verification",
              "performance", "architecture", "glossary", "modules", "notebooks/02_inside", "adr/README")


class Page(HTMLParser):
    """The links of a page, and what they may lead to in it."""

    def __init__(self, text: str):
        super().__init__()
        self.links, self.anchors, self.missing_alt = [], set(), 0
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.anchors |= {found[name] for name in ("id", "name") if found.get(name)}
        self.links += [found[name] for name in ("href", "src", "data") if found.get(name)]
        self.missing_alt += tag == "img" and not found.get("alt")


def test_site(tmp_path):
    """One test, since it builds the site: two workers would build it twice."""
    done = subprocess.run([sys.executable, "-m", "sphinx", "-W", "--keep-going", "-E", "-q", "-b", "html", "-d",
                           str(tmp_path / "doctrees"), str(ROOT / "docs"), str(tmp_path / "html")],
                          capture_output=True, text=True, cwd=ROOT)
    assert not done.returncode, done.stderr[-4000:]
    texts = {path: path.read_text() for path in (tmp_path / "html").rglob("*.html")}
    pages = {path: Page(text) for path, text in texts.items()}
    names = {path.relative_to(tmp_path / "html").as_posix(): path for path in pages}
    assert not list(broken(pages))
    assert not [tag for text in texts.values() for tag in from_the_network(text)]
    assert not [name for name, path in names.items() if pages[path].missing_alt], "pictures say what they show"
    assert {f"{name}.html" for name in NAVIGATION} <= names.keys()
    for file in ("hw/array/array.py", "hw/router/router.py", "hw/control/program_walk.py"):  # boxes of the machine
        assert f'href="source/{file}.html"' in texts[names["architecture.html"]] and f"source/{file}.html" in names


def broken(pages):
    """Links that lead to no page, or to no place in it."""
    for path, page in pages.items():
        for link in page.links:
            if re.match(r"[a-z]+:|//|#$", link):
                continue
            file, _, anchor = link.partition("#")
            target = (path.parent / file.partition("?")[0]).resolve() if file else path
            if not target.is_file():
                yield f"{path.name}: {link}"
            elif anchor and target in pages and anchor not in pages[target].anchors:
                yield f"{path.name}: no #{anchor} in {target.name}"


def from_the_network(text):
    """Tags that fetch something from elsewhere."""
    for tag in re.findall(r"<(?:script|link|img|iframe|source)\b[^>]*>", text):
        if re.search(r"(?:src|href)=\"(?:https?:)?//", tag) and "canonical" not in tag:
            yield tag


@pytest.mark.parametrize("text, found", [('<img src="https://a.org/b.png">', 1), ('<script src="a.js">', 0),
                                         ('<a href="https://a.org">', 0)])
def test_what_comes_from_the_network_is_seen(text, found):
    assert len(list(from_the_network(text))) == found


def test_a_broken_link_is_seen(tmp_path):
    path = (tmp_path / "a.html").resolve()
    path.write_text("")
    links = "#here", "#there", "b.html", "a.html"
    page = Page('<h1 id="here"></h1>' + "".join(f'<a href="{each}"></a>' for each in links))
    assert list(broken({path: page})) == ["a.html: no #there in a.html", "a.html: b.html"]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_examples(path):
    failed, tried = doctest.testfile(str(path), module_relative=False, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert tried and not failed
