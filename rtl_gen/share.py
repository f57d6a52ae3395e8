# SPDX-License-Identifier: Apache-2.0
"""Amaranth writes a module for every instance, even if they are equal, like the columns of the array."""

import re

__all__ = ["share_modules"]


def share_modules(text: str) -> str:
    """``text`` (RTLIL) with one module, and several instances of it, for modules that differ in their names alone."""
    first: dict[str, str]
    same: dict[str, str]

    def shared(cell: re.Match[str]) -> str:
        return cell[1] + same.get(cell[2], cell[2])

    while True:
        first, same, kept = {}, {}, []
        for block in re.split(r"(?m)(?<=^end\n)", text):
            head = re.search(r"(?m)^module (\S+)$", block)
            if head is None:
                kept.append(block)
                continue
            body = block.replace(head.group(), "module", 1)
            name = first.setdefault(body, head.group(1))
            if name == head.group(1):
                kept.append(block)
            else:
                same[head.group(1)] = name
        if not same:
            return text
        text = re.sub(r"(?m)^(\s*cell )(\S+)", shared, "".join(kept))
