# SPDX-License-Identifier: Apache-2.0
"""Pages of the hardware: for each component its ports as a picture, and a paragraph from its docstring."""

from collections.abc import Mapping
from itertools import groupby

from .components import HardwareComponent
from .markdown import cell, note, plain, table
from .svg import GREY, INK, arrow, drawing, label

__all__ = ["ROOMS", "port_picture", "room_page", "rooms_page"]

#: Rooms of ``hw`` in the order of a frame, and what each does.
ROOMS = {
    "top": "the core: all units, their memories, the buses",
    "control": "registers' other side: runs, programs, counters, errors",
    "bus": "AXI4 and AXI4-Lite",
    "loader": "bytes from the bus to tiles, scales, gains, positions, pixels",
    "plumbing": "memories, FIFOs, pipelines that all units use",
    "reader": "rows from memory to operands of the array, LayerNorm",
    "array": "operands x tile, summed",
    "writer": "sums to stored rows",
    "router": "gate logits to queues of tokens",
    "math": "functions: exponentials, GELU, reciprocals, roots",
}
_ROW, _WIDTH = 19, 150


def room_of(part: HardwareComponent) -> str:
    """The folder of a component, ``top`` for the core."""
    parts = part.file.split("/")
    return parts[1] if len(parts) > 2 else "top"


def port_picture(part: HardwareComponent) -> str:
    """A box with its inputs on the left and its outputs on the right."""
    sides = {side: [name for name, goes_in in part.ports.items() if goes_in == side] for side in (True, False)}
    rows = max(map(len, sides.values()))
    longest = {side: max(map(len, names), default=0) for side, names in sides.items()}
    left, right = 20 + 7.4 * longest[True], 20 + 7.4 * longest[False]
    width = max(_WIDTH, 9 * len(part.name) + 30)
    height = max(_ROW * rows + 16, 46)
    parts = [f'<rect x="{left}" y="4" width="{width}" height="{height}" rx="6" fill="#dbe7f5" stroke="#5b6470"/>',
             label(left + width / 2, height / 2 + 8, part.name, size=14, anchor="middle", colour=INK, bold=True)]
    for goes_in, names in sides.items():
        top = 4 + (height - _ROW * len(names)) / 2 + 13
        for index, name in enumerate(names):
            y = top + _ROW * index
            if goes_in:
                parts += [label(left - 15, y, name, anchor="end"), arrow((left - 12, y - 4), (left, y - 4))]
            else:
                parts += [arrow((left + width, y - 4), (left + width + 12, y - 4)),
                          label(left + width + 15, y, name, colour=GREY)]
    return drawing(left + width + right, height + 8, parts, f"{part.name} and its ports")


def rooms_page(parts: Mapping[str, HardwareComponent]) -> str:
    """The list of all rooms and their components."""
    text = note("hw/") + (
        "# The hardware, module by module\n\nEach component has a picture of its ports and a paragraph from its "
        "docstring. The [tour](architecture.md) says how they\nwork together.\n\n")
    rows = []
    for room, what in ROOMS.items():
        mine = ", ".join(f"[{each.name}](modules/{room}.md#{each.name.lower()})" for each in parts.values()
                         if room_of(each) == room)
        rows.append([f"[{room}](modules/{room}.md)", what, mine])
    return text + table(["room", "what it does", "components"], rows)


def room_page(room: str, parts: Mapping[str, HardwareComponent]) -> str:
    """One room: every component of it."""
    mine = [each for each in parts.values() if room_of(each) == room]
    title = "hw/top.py" if room == "top" else f"hw/{room}/"
    text = note("hw/") + f"# {title}\n\n{ROOMS[room][0].upper()}{ROOMS[room][1:]}. [All rooms](../modules.md).\n"
    for _, group in groupby(mine, key=lambda each: each.file):
        for each in group:
            text += _section(each, room, parts)
    return text


def _section(each: HardwareComponent, room: str, parts: Mapping[str, HardwareComponent]) -> str:
    text = f"\n## {each.name}\n\n[`{each.file}`](../../{each.file})\n\n"
    if each.ports:
        text += f"![{each.name} and its ports](../pictures/modules/{each.name}.svg)\n\n"
    text += "\n\n".join(map(plain, [each.doc.first, *each.doc.paragraphs])) + "\n"
    if each.doc.labels:
        text += "\n" + "\n".join(f"- **{name}:** {plain(said)}" for name, said in each.doc.labels.items()) + "\n"
    if each.inside:
        links = [f"[{name}]({'' if room_of(parts[name]) == room else room_of(parts[name]) + '.md'}#{name.lower()})"
                 for name in each.inside]
        text += f"\nInside: {', '.join(links)}.\n"
    if each.doc.members:
        text += "\n" + table(["port", "signature", "meaning"],
                             [[f"`{name}`", f"`{signature}`" if signature else "", cell(plain(said))]
                              for name, (signature, said) in each.doc.members.items()])
    return text
