# SPDX-License-Identifier: Apache-2.0
"""Python values as Tcl words. Dictionaries and lists nest; any other value is its text."""

import re
from collections.abc import Mapping, Sequence

__all__ = ["tcl_word"]


def tcl_word(value: object) -> str:
    """One word of Tcl that evaluates to ``value``: a mapping as a dict, a sequence as a list.

    Raises ValueError for a text with a NUL, which Tcl source cannot hold.
    """
    if isinstance(value, Mapping):
        value = [item for pair in value.items() for item in pair]
    if isinstance(value, Sequence) and not isinstance(value, str):
        return _quoted(" ".join(tcl_word(item) for item in value))
    return _quoted(str(int(value) if isinstance(value, bool) else value))


def _quoted(text: str) -> str:
    if "\0" in text:
        raise ValueError(f"{text!r} cannot be written in Tcl")
    if re.fullmatch(r"[\w.:/*+-]+", text, re.ASCII):
        return text
    if not re.search(r"[\\{}\n\r]", text) or _balanced(text):
        return "{" + text + "}"
    return '"' + re.sub(r'[\\"\[\]${}]', r"\\\g<0>", text).replace("\n", "\\n").replace("\r", "\\r") + '"'


def _balanced(text: str) -> bool:
    """Whether ``text`` can stand between braces: its own braces pair up, and it has no backslash."""
    depth = 0
    for character in text:
        depth += (character == "{") - (character == "}")
        if depth < 0 or character in "\\\r":
            return False
    return depth == 0
