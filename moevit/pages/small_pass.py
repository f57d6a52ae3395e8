# SPDX-License-Identifier: Apache-2.0
"""One PASS on the whole 8x8 core in Amaranth's simulator, watched cycle by cycle: the numbers of the tour."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from moevit.spec.arrays import CONFIGS
from moevit.spec.isa import Destination, Opcode, Operand, Region, RowSource, encode

from .small_machine import SmallMachine

__all__ = ["BIAS", "COLUMN_SCALE", "CONFIG", "K_TILES", "ROWS", "SHIFT", "Event", "SmallPass", "operands", "weights"]

CONFIG = CONFIGS["8x8"]
ROWS, K_TILES = 4, 2
COLUMN_SCALE, BIAS, SHIFT = 3 << 13, 10, 16  # a sum counts 2^15 x 3 x 2^13 / 2^15 / 2^16 = 0.375 times
_PROGRAM, _WEIGHTS, _OUTPUT, _END = 0x1000, 0x2000, 0x3000, 0x4000


def operands() -> np.ndarray:
    """Rows of two words: s9 (4, 16)."""
    return np.array([[(3 * row + 5 * lane) % 11 - 5 for lane in range(K_TILES * 8)] for row in range(ROWS)])


def weights() -> np.ndarray:
    """Two k-tiles: s8 (16, 8)."""
    return np.array([[(2 * k + 3 * n + k // 7) % 7 - 3 for n in range(8)] for k in range(K_TILES * 8)])


@dataclass(frozen=True)
class Event:
    """What a unit did in ``cycle`` of the run; ``values`` of all lanes."""

    cycle: int
    what: str
    index: int = 0
    values: tuple[int, ...] = ()
    flags: frozenset[str] = field(default_factory=frozenset)


class SmallPass:
    """LOAD of four rows and a PASS that multiplies them by two tiles: ``events`` of ``cycles`` cycles."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        memory, registers = _memory()
        self.cycles = SmallMachine(CONFIG, memory).run(registers, self._watch)

    def of(self, what: str) -> list[Event]:
        return [event for event in self.events if event.what == what]

    def _watch(self, units: Any, get: Any, cycle: int) -> None:
        def note(what: str, index: int = 0, values: Any = (), **flags: int) -> None:
            self.events.append(Event(cycle, what, index, tuple(map(int, values)),
                                     frozenset(name for name, value in flags.items() if value)))

        reader, loader, compute, writer = units.reader, units.loader, units.compute, units.writer
        if get(reader.dispatch.valid) and get(reader.dispatch.ready):
            note("dispatch", get(reader.dispatch.payload.instruction.opcode))
        if get(units.read_master.bus.r.valid) and get(units.read_master.bus.r.ready):
            note("bus")
        if get(loader.load.valid):
            note("tile", get(loader.load.payload.index), whole=get(loader.load.payload.whole))
        for bank in reader.residual:
            if get(bank.enable):
                note("read", get(bank.address))
        if get(reader.row.valid):
            row = reader.row.payload
            note("row", get(row.address), [get(row.operands[lane]) for lane in range(8)], swap=get(row.swap),
                 last=get(row.last))
        if get(compute.sums.valid):
            note("sums", 0, [get(compute.sums.payload[lane]) for lane in range(8)])
        if get(writer.hidden.enable):
            note("stored", get(writer.hidden.address), [get(writer.hidden.data[lane]) for lane in range(8)])
        if get(writer.done):
            note("done")


def _memory() -> tuple[np.ndarray, dict[str, int]]:
    """The host's memory with program and weights, and the registers that name them."""
    rows = operands().astype("<i2").tobytes()
    columns = np.tile(np.array([COLUMN_SCALE, BIAS], "<u2"), 8).tobytes()
    tiles = weights().reshape(K_TILES, 8, 8).transpose(0, 2, 1).astype(np.int8).tobytes()  # column by column
    shape = {"rows": ROWS, "k_tiles": K_TILES}
    program = [
        encode(opcode=Opcode.LOAD, **shape, region=Region.WEIGHTS, region_beats=len(rows) // 8),
        encode(opcode=Opcode.PASS, **shape, source=RowSource.RESIDUAL, source_stride=K_TILES, operand=Operand.RAW,
               region=Region.WEIGHTS, region_offset=len(rows), region_beats=(len(columns) + len(tiles)) // 8,
               n_tiles=1, columns=8, shift=SHIFT, destination=Destination.HIDDEN, destination_stride=1),
        encode(opcode=Opcode.END),
    ]
    memory = np.zeros(_END, np.uint8)
    instructions = np.concatenate(program).astype("<u4").tobytes()
    for at, content in ((_PROGRAM, instructions), (_WEIGHTS, rows + columns + tiles)):
        memory[at:at + len(content)] = np.frombuffer(content, np.uint8)
    return memory, {"PROGRAM_LOW": _PROGRAM, "PROGRAM_LENGTH": len(program), "WEIGHTS_LOW": _WEIGHTS,
                    "OUTPUT_LOW": _OUTPUT, "READ_LIMIT_LOW": _OUTPUT, "WRITE_BASE_LOW": _OUTPUT,
                    "WRITE_LIMIT_LOW": _END, "INTERRUPT_GLOBAL": 1, "INTERRUPT_ENABLE": 3}
