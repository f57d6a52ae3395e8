# SPDX-License-Identifier: Apache-2.0
"""Markdown of generated pages."""

import re
from collections.abc import Iterable, Sequence

__all__ = ["cell", "note", "plain", "read_table", "slug", "table"]


def note(source: str) -> str:
    """The first line of a page that is made from ``source``."""
    return f"<!-- Written by `make docs` from {source}; do not edit. -->\n\n"


def cell(text: object) -> str:
    """Text for a cell of a table: on one line, without bars."""
    return " ".join(str(text).split()).replace("|", "\\|")


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table; cells are taken as they are."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    lines += ["| " + " | ".join(str(each) for each in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def read_table(text: str, first: str) -> list[list[str]]:
    """Cells of the lines of the first table whose header begins with ``first``."""
    lines = text[text.index(f"| {first} |"):].splitlines()[2:]
    cut = next((index for index, line in enumerate(lines) if not line.startswith("|")), len(lines))
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[:cut]]


def slug(title: str) -> str:
    """The anchor of a heading, as GitHub and MyST make it."""
    kept = "".join(letter for letter in title.lower() if letter.isalnum() or letter in " -_")
    return kept.replace(" ", "-")


def plain(text: str) -> str:
    """A paragraph of a docstring as Markdown."""
    if re.search(r"(?m)^=+ +=+", text):  # a table: shown as it is
        return f"```text\n{text}\n```"
    pieces = re.split(r"(``[^`]+``|:\w+:`[^`]+`|`[^`]+`)", " ".join(text.split()))
    done = []
    for index, piece in enumerate(pieces):
        if index % 2:
            done.append(f"`{piece.split('`', 1)[1].strip('`').lstrip('~')}`")
        else:
            done.append(re.sub(r"([*<>$\[\]])", r"\\\1", piece))
    return "".join(done)
