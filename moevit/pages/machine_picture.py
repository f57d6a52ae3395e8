# SPDX-License-Identifier: Apache-2.0
"""The picture of the machine: each box is a file and leads to it."""

from typing import NamedTuple

from .svg import arrow, box, drawing, label

__all__ = ["BOXES", "machine_picture"]

_MEMORY, _DATA, _CONTROL, _BUS = "#f6e3c5", "#dbe7f5", "#e4dcf3", "#d5eedd"


class Box(NamedTuple):
    """A unit: where it is drawn, its file, its colour, and what it does."""

    x: int
    y: int
    width: int
    height: int
    file: str
    fill: str
    lines: tuple[str, ...]


BOXES = {
    "AXI4-Lite registers": Box(20, 40, 190, 62, "hw/bus/registers.py", _BUS, ("start, errors, counters",)),
    "Run lifecycle": Box(250, 40, 170, 62, "hw/control/run_lifecycle.py", _CONTROL, ("start, done, error, reset",)),
    "Program walk": Box(460, 40, 200, 62, "hw/control/program_walk.py", _CONTROL,
                        ("fetch, check, experts' loop",)),
    "Dispatch": Box(700, 40, 140, 62, "hw/control/dispatch.py", _CONTROL, ("a queue per unit",)),
    "Read master": Box(20, 150, 190, 62, "hw/bus/read_master.py", _BUS, ("AXI4 bursts, windows",)),
    "Prefetch FIFO": Box(250, 150, 170, 62, "hw/bus/prefetch.py", _BUS, ("beats in program order",)),
    "Loader": Box(460, 150, 200, 62, "hw/loader/loader.py", _DATA, ("tiles, scales, gains, images",)),
    "Router": Box(700, 150, 140, 62, "hw/router/router.py", _DATA, ("top k, queues, scores",)),
    "Row memories": Box(20, 280, 190, 120, "hw/plumbing/memories.py", _MEMORY,
                        ("residual s16", "hidden s16", "keys, values s8")),
    "Row reader": Box(250, 280, 170, 120, "hw/reader/row_reader.py", _DATA,
                      ("mean, gain, row scale", "or 2^(x - max)", "to 9-bit operands")),
    "Array": Box(460, 280, 200, 62, "hw/array/array.py", _DATA, ("k x n multipliers, one tile",)),
    "Accumulator": Box(460, 358, 200, 62, "hw/array/accumulator.py", _DATA, ("sums over the k-tiles, s27",)),
    "Row writer": Box(700, 280, 140, 140, "hw/writer/row_writer.py", _DATA,
                      ("scale, bias", "GELU, ReLU, score", "residual add", "saturate, peaks")),
    "Write master": Box(20, 470, 190, 62, "hw/bus/write_master.py", _BUS, ("tokens to the host",)),
}


def machine_picture() -> str:
    """The SVG text; links lead from ``docs/pictures/`` to the files."""
    boxes = [box(each.x, each.y, each.width, each.height, title, each.lines, fill=each.fill, link=f"../../{each.file}")
             for title, each in BOXES.items()]
    flows = [
        arrow((210, 71), (250, 71)), arrow((420, 71), (460, 71)), arrow((660, 71), (700, 71)),
        arrow((210, 181), (250, 181)), label(230, 172, "R", anchor="middle", size=11),
        arrow((420, 181), (460, 181)),
        arrow((560, 212), (560, 280)), label(568, 250, "tile"),
        arrow((650, 212), (650, 246), (740, 246), (740, 280)), label(655, 240, "scale, bias", size=10),
        arrow((530, 212), (530, 246), (340, 246), (340, 280)), label(346, 272, "gain", size=11),
        arrow((470, 212), (470, 222), (40, 222), (40, 280)), label(46, 252, "pixels,", size=11),
        label(46, 266, "positions", size=11),
        arrow((150, 280), (150, 234), (500, 234), (500, 212)), label(156, 262, "keys, values", size=11),
        arrow((210, 340), (250, 340)), label(230, 331, "row", anchor="middle", size=11),
        arrow((420, 311), (460, 311)), label(440, 302, "s9", anchor="middle", size=11),
        arrow((560, 342), (560, 358)),
        arrow((660, 389), (700, 389)), label(680, 380, "sums", anchor="middle", size=11),
        arrow((800, 280), (800, 212)), label(808, 250, "logits", size=11),
        arrow((770, 420), (770, 446), (115, 446), (115, 400)),
        label(440, 440, "rows, scattered to their tokens", anchor="middle", size=11),
        arrow((716, 212), (716, 262), (390, 262), (390, 280), dashed=True),
        label(440, 275, "queues", size=11),
        arrow((335, 400), (335, 501), (210, 501)), label(343, 480, "STORE"),
        arrow((770, 102), (770, 126), (560, 126), (560, 150), dashed=True),
        arrow((560, 126), (436, 126), (436, 256), (374, 256), (374, 280), dashed=True),
        arrow((770, 126), (850, 126), (850, 350), (840, 350), dashed=True),
        label(640, 121, "instructions to loader, reader, writer", anchor="middle", size=11),
        label(20, 24, "Each box is a file: click on it.", size=12),
        label(250, 520, "green: bus; violet: control; blue: data path; sand: memory", size=11),
    ]
    return drawing(860, 546, [*boxes, *flows], "The machine: units and what flows between them")
