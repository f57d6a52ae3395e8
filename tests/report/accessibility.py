# SPDX-License-Identifier: Apache-2.0
"""What a page lacks for readers who do not see it, or see little of it."""

import re
from html.parser import HTMLParser

from moevit.report.colours import contrast

LEAST_CONTRAST = 4.5  # WCAG 2, level AA
_VOID = {"meta", "link", "img", "br", "hr", "input"}


class _Reader(HTMLParser):
    """The elements of a page: (tag, attributes, path of tags above), and the text of each."""

    def __init__(self):
        super().__init__()
        self.elements, self.open, self.texts = [], [], {}

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs), tuple(name for name, _ in self.open)))
        if tag not in _VOID:
            self.open.append((tag, len(self.elements) - 1))

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs), tuple(name for name, _ in self.open)))

    def handle_endtag(self, tag):
        assert self.open and self.open[-1][0] == tag, f"</{tag}> closes {self.open[-1:]}"
        self.open.pop()

    def handle_data(self, data):
        for _, place in self.open:
            self.texts[place] = self.texts.get(place, "") + data


def problems(page: str) -> list[str]:
    """A line for each thing that is missing or unreadable."""
    reader = _Reader()
    reader.feed(page)
    assert not reader.open, reader.open
    return [*_structure(reader), *_drawings(reader), *_tables(reader), *contrasts(page), *_addresses(page, reader)]


def _structure(reader):
    tags = [tag for tag, _, _ in reader.elements]
    root = reader.elements[0]
    if root[0] != "html" or not root[1].get("lang"):
        yield "the page does not say its language"
    for tag in ("title", "main", "h1"):
        if not any(each == tag and "svg" not in above for each, _, above in reader.elements):
            yield f"no <{tag}>"
    levels = [int(tag[1]) for tag in tags if re.fullmatch("h[1-6]", tag)]
    if levels.count(1) != 1 or levels[0] != 1:
        yield "there is not one h1 in front of the other headings"
    yield from (f"h{one} is followed by h{next_}" for one, next_ in zip(levels, levels[1:], strict=False)
                if next_ > one + 1)
    names = [attributes["id"] for _, attributes, _ in reader.elements if "id" in attributes]
    yield from (f"id {name} is there twice" for name in set(names) if names.count(name) > 1)


def _drawings(reader):
    for place, (tag, attributes, _) in enumerate(reader.elements):
        if tag == "svg":
            inside = [each for each, _, _ in reader.elements[place + 1:place + 3]]
            if attributes.get("role") != "img" or not attributes.get("aria-label") or inside != ["title", "desc"]:
                yield f"svg {attributes.get('aria-label')} is not described"
            if not reader.texts.get(place + 1) or len(reader.texts.get(place + 2, "")) < 10:
                yield f"svg {attributes.get('aria-label')} has an empty description"
        if tag == "img" and not attributes.get("alt"):
            yield "a picture has no alt text"


def _tables(reader):
    for place, (tag, attributes, above) in enumerate(reader.elements):
        if tag == "th" and attributes.get("scope") not in ("row", "col"):
            yield "a table header does not say what it is the header of"
        if tag == "table" and reader.elements[place + 1][0] != "caption":
            yield "a table has no caption"
        if tag == "tr" and "tbody" in above and reader.elements[place + 1][0] != "th":
            yield "a row has no header"


def _addresses(page, reader):
    names = {attributes["id"] for _, attributes, _ in reader.elements if "id" in attributes}
    for tag, attributes, _ in reader.elements:
        address = attributes.get("href", attributes.get("src", ""))
        if tag in ("script", "link", "iframe") or (address and not address.startswith(("#", "data:image/png"))):
            yield f"<{tag}> {address} is outside the page"
        if address.startswith("#") and address[1:] not in names:
            yield f"{address} leads nowhere"
    if re.search(r"@import|url\(", page):
        yield "the style loads something"


def contrasts(page: str):
    """Of each pair of text and background that the style names, in both themes; a rule with one must have the other."""
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)[1]
    light, dark = (dict(re.findall(r"--(\w+):(#\w+)", each)) for each in re.findall(r":root\{(.*?)\}", style))
    pairs = 0
    for name, rule in re.findall(r"([^{}]+)\{([^{}]*)\}", style):
        text, under = (re.search(rf"(?:^|[;\s]){key}:var\(--(\w+)\)", rule) for key in ("color", "background"))
        if bool(text) != bool(under):
            yield f"{name.strip()} names a text colour or a background alone"
        elif text:
            pairs += 1
            for theme, colours in (("light", light), ("dark", dark)):
                if (found := contrast(colours[text[1]], colours[under[1]])) < LEAST_CONTRAST:
                    yield f"{name.strip()}: contrast {found:.2f} in the {theme} theme"
    if pairs < 5:
        yield "the style names hardly any colours"
