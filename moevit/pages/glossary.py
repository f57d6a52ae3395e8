# SPDX-License-Identifier: Apache-2.0
"""The glossary as data: each word, its meaning, and the phrases that it replaces."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

__all__ = ["Entry", "forbidden", "misuses", "read_glossary"]


class Entry(NamedTuple):
    """A row of the glossary. ``replaces``: phrases that may not be used."""

    word: str
    meaning: str
    replaces: tuple[str, ...]


def read_glossary(text: str) -> list[Entry]:
    """The rows of the table in ``docs/glossary.md``."""
    rows = [line.strip().strip("|").split("|") for line in text.splitlines() if line.startswith("| ")][1:]
    return [Entry(word.strip(), meaning.strip(), tuple(part.strip() for part in replaces.split(",") if part.strip()))
            for word, meaning, replaces in rows]


def forbidden(entries: list[Entry]) -> dict[re.Pattern[str], str]:
    """Patterns of the forbidden phrases, broken by any white space, comment or quotation sign; the word to use."""
    return {re.compile(r"\b" + r"[\s#*\"'/]+".join(map(re.escape, phrase.split())) + r"\b", re.IGNORECASE): entry.word
            for entry in entries for phrase in entry.replaces}


def misuses(path: Path, patterns: dict[re.Pattern[str], str]) -> Iterator[str]:
    """A line for each forbidden phrase in a file: where, what, and what to say instead."""
    text = path.read_text()
    for pattern, word in patterns.items():
        for found in pattern.finditer(text):
            line = text.count("\n", 0, found.start()) + 1
            yield f"{path}:{line}: {' '.join(found.group().split())!r}: say {word!r}"
