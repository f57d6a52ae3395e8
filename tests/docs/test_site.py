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


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Built anew, with warnings as errors."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run([sys.executable, "-m", "sphinx", "-W", "--keep-going", "-E", "-q", "-b", "html", "-d",
                           str(folder / "doctrees"), str(ROOT / "docs"), str(folder / "html")],
                          capture_output=True, text=True, cwd=ROOT)
    assert not done.returncode, done.stderr[-4000:]
    return {path.relative_to(folder / "html").as_posix(): path for path in (folder / "html").rglob("*.html")}


def test_every_link_leads_to_a_page_and_an_anchor(site):
    root = next(iter(site.values())).parents[next(iter(site)).count("/")]
    pages = {path: Page(path.read_text()) for path in site.values()}
    broken = []
    for path, page in pages.items():
        for link in page.links:
            if re.match(r"[a-z]+:|//|#$", link):
                continue
            file, _, anchor = link.partition("#")
            target = (path.parent / file.partition("?")[0]).resolve() if file else path
            if not target.is_file():
                broken.append(f"{path.relative_to(root)}: {link}")
            elif anchor and target in pages and anchor not in pages[target].anchors:
                broken.append(f"{path.relative_to(root)}: no #{anchor} in {target.relative_to(root)}")
    assert not broken, "\n".join(broken)


def test_pages_take_nothing_from_the_network(site):
    for path in site.values():
        for tag in re.findall(r"<(?:script|link|img|iframe|source)\b[^>]*>", path.read_text()):
            assert not re.search(r"(?:src|href)=\"(?:https?:)?//", tag) or "canonical" in tag, (path, tag)


def test_pictures_say_what_they_show(site):
    assert not {path: page.missing_alt for path in site.values() if (page := Page(path.read_text())).missing_alt}


def test_every_page_of_the_navigation_is_there(site):
    for page in ("quick-start", "your-vit", "layers", "what-fits", "commands", "api", "troubleshooting", "verification",
                 "performance", "architecture", "glossary", "modules", "notebooks/02_inside", "adr/README"):
        assert f"{page}.html" in site


def test_boxes_of_the_machine_lead_to_their_files(site):
    text = site["architecture.html"].read_text()
    for file in ("hw/array/array.py", "hw/router/router.py", "hw/control/program_walk.py"):
        assert f'href="source/{file}.html"' in text and f"source/{file}.html" in site


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_examples(path):
    failed, tried = doctest.testfile(str(path), module_relative=False, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert tried and not failed
