# SPDX-License-Identifier: Apache-2.0
"""Every page of docs/adr has its form: title, status, date, four parts, at most 60 lines, a row in the index."""

import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "adr"
PAGES = sorted(FOLDER.glob("[0-9]*.md"))
INDEX = (FOLDER / "README.md").read_text()
LINES = 60
LINK = r"\[\d{4}\]\([\w-]+\.md\)"
LINKS = rf"{LINK}(?:, {LINK})*(?: and {LINK})?"
STATUS = re.compile(rf"accepted(?:, extended by {LINKS})?|superseded(?: in part)? by {LINKS}(?:: .+)?")
PARTS = ("Context", "Decision", "Consequences", "Turned down")
FIRST_DATE = "2026-11-23"  # no decision is older


def field(page: Path, name: str) -> str:
    found = re.findall(rf"(?m)^{name}: (.+)$", page.read_text())
    assert len(found) == 1, f"{page.name} needs one line '{name}: ...'"
    return found[0]


def rows() -> dict[str, list[str]]:
    """Cells of the index by number of the page."""
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in INDEX.splitlines()
             if re.match(r"\| \d{4} ", line)]
    return {each[0]: each for each in cells}


def test_numbers_are_unique():
    numbers = [page.name[:4] for page in PAGES]
    assert len(numbers) == len(set(numbers)) and numbers[0] == "0000"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name[:4])
def test_form(page):
    text = page.read_text()
    assert text.startswith(f"# {page.name[:4]}: ")
    assert text.count("\n") <= LINES
    assert STATUS.fullmatch(field(page, "Status")), field(page, "Status")
    assert re.fullmatch(r"\d{4}-\d{2}-\d{2}", field(page, "Date")) and field(page, "Date") >= FIRST_DATE
    places = [text.find(f"\n**{part}") for part in PARTS]
    assert -1 not in places and places == sorted(places), f"{page.name} has the parts {', '.join(PARTS)} in this order"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name[:4])
def test_index(page):
    number, title, status, date, sentence = rows()[page.name[:4]]
    assert title == f"[{page.read_text().splitlines()[0].partition(': ')[2]}]({page.name})"
    assert status == field(page, "Status").partition(": ")[0] and date == field(page, "Date")
    assert sentence.endswith(".") and number == page.name[:4]


def test_the_index_has_no_other_rows():
    assert len(rows()) == len(PAGES)


@pytest.mark.parametrize("page", [*PAGES, FOLDER / "README.md"], ids=lambda page: page.name[:4])
def test_links_resolve(page):
    for number, link in re.findall(r"\[(\d{4})?[^\]]*\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
        assert (FOLDER / link).exists(), f"{page.name} links {link}"
        assert not number or link.startswith(number), f"{page.name} calls {link} {number}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name[:4])
def test_a_status_names_a_later_page(page):
    for number in re.findall(r"\[(\d{4})\]", field(page, "Status")):
        assert number > page.name[:4]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name[:4])
def test_paths_exist(page):
    """Paths of files and dotted names of modules, as the repository has them now."""
    root = FOLDER.parents[1]
    text = page.read_text()
    for path in re.findall(r"`((?:\w+/)+[\w.]+\.(?:py|sv|tcl|md))", text):
        assert (root / path).exists(), f"{page.name} names {path}"
    for module in re.findall(r"`((?:hw|golden|spec|host|sim|compiler|estimator)(?:\.\w+)+)`", text):
        parts = module.split(".")
        assert any((root / "/".join(parts[:end])).with_suffix(".py").exists() or (root / "/".join(parts[:end])).is_dir()
                   for end in range(2, len(parts) + 1)), f"{page.name} names {module}"
