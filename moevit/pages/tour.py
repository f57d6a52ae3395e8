# SPDX-License-Identifier: Apache-2.0
"""The generated part of the tour: one PASS of the 8x8 core, cycle by cycle, as the simulated core did it."""

from collections.abc import Iterable

import numpy as np

from moevit.spec.isa import Opcode

from .markdown import table
from .small_pass import BIAS, COLUMN_SCALE, CONFIG, K_TILES, ROWS, SHIFT, Event, SmallPass, operands, weights

__all__ = ["BEGIN", "END", "pass_table", "with_tables"]

BEGIN = "<!-- Written by `make docs` from a simulated pass; do not edit. -->"
END = "<!-- End of what `make docs` writes. -->"


def with_tables(text: str) -> str:
    """The page with its generated part written anew."""
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n\n{pass_table(SmallPass())}\n{END}{after}"


def pass_table(run: SmallPass) -> str:
    """The numbers of column 0, then a line for each cycle in which something happens."""
    rows, tiles = operands(), weights()
    parts = [rows[0, :8] @ tiles[:8, 0], rows[0, 8:] @ tiles[8:, 0]]
    factor = (1 << 15) * COLUMN_SCALE / (1 << 15) / (1 << SHIFT)
    stored = run.of("stored")[0].values[0]
    lines = [
        f"{ROWS} rows of {K_TILES} words, {K_TILES} tiles, operands taken as they are (row scale 1), column scale and "
        f"shift together {factor:g}, bias {BIAS}.",
        f"For output 0 of row 0:\n\n```text\nword 0 x tile 0   {_product(rows[0, :8], tiles[:8, 0])} = {parts[0]}\n"
        f"word 1 x tile 1   {_product(rows[0, 8:], tiles[8:, 0])} = {parts[1]}\n"
        f"sum               {parts[0]} + {parts[1]} = {sum(parts)}\n"
        f"stored            {sum(parts)} x {factor:g} + {BIAS} = {sum(parts) * factor + BIAS:g}, rounded: {stored}\n"
        "```",
        _cycles(run),
        _distances(run),
    ]
    return "\n\n".join(line.strip("\n") for line in lines) + "\n"


def _product(row: np.ndarray, column: np.ndarray) -> str:
    return " + ".join(f"({a} x {b})" for a, b in zip(row, column, strict=True))


def _cycles(run: SmallPass) -> str:
    start = next(event.cycle for event in run.of("dispatch") if event.index == Opcode.PASS)
    per_tile = CONFIG.k_lanes // CONFIG.tile_beats
    columns = [
        [(start, "the row reader takes the PASS")],
        ((event.cycle, f"tile {index // per_tile}, columns {event.index} and {event.index + 1}")
         for index, event in enumerate(run.of("tile"))),
        ((event.cycle, f"row {event.index // K_TILES}, word {event.index % K_TILES}") for event in run.of("read")),
        ((event.cycle, f"row {event.index}, tile {index // ROWS}" + (", swap" if "swap" in event.flags else "")
          + f": {_values(event)}") for index, event in enumerate(run.of("row"))),
        ((event.cycle, f"row {index}: {_values(event)}") for index, event in enumerate(run.of("sums"))),
        [*((event.cycle, f"row {event.index}: {_values(event)}") for event in run.of("stored")),
         *((event.cycle, "done") for event in run.of("done"))],
    ]
    shown: dict[int, list[str]] = {}
    for place, column in enumerate(columns):
        for cycle, what in column:
            shown.setdefault(cycle, [""] * len(columns))[place] = what
    return table(["cycle", "", "shadow tile", "word read", "row that enters the array", "sums that leave",
                  "word stored"],
                 ([cycle, *cells] for cycle, cells in sorted(shown.items()) if cycle >= start))


def _values(event: Event) -> str:
    return "`" + " ".join(map(str, event.values)) + "`"


def _distances(run: SmallPass) -> str:
    first = {what: run.of(what)[0].cycle for what in ("read", "row", "sums", "stored")}
    last_row = next(event.cycle for event in run.of("row") if "last" in event.flags)
    second = [event.cycle for event in run.of("row") if "swap" in event.flags][1]
    complete = run.of("tile")[CONFIG.k_lanes // CONFIG.tile_beats - 1].cycle
    return _sentences([
        f"A word read in cycle {first['read']} enters the array in cycle {first['row']}: the reader fills its pipeline "
        "and waits for the tile",
        f"The last columns of tile 0 arrive in cycle {complete}, and the first row that needs them enters "
        f"{first['row'] - complete} cycle later; `swap` makes the shadow tile the active one for this row",
        "While rows of tile 0 enter, tile 1 is already loaded",
        f"The rows of tile 1 begin in cycle {second}, as soon as that tile is complete: four rows do not hide the "
        "loading of a tile whose beats still come from the bus; the tokens of a whole image do",
        f"A row's sums leave {first['sums'] - last_row} cycles after its last word entered, and its result is stored "
        f"{first['stored'] - first['sums']} cycles after that",
    ])


def _sentences(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}." for line in lines)
