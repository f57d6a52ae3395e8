# SPDX-License-Identifier: Apache-2.0
"""What bus, array and row writer do during one transformer block: recorded on the 8x8 core, drawn for the tour.

A record takes a minute, so it is kept as ``docs/pictures/one_block.json``: ``python -m moevit.pages.one_block``
writes it anew, and a slow test compares it.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from moevit.compiler.assemble import compile_model
from moevit.golden.machine.device import GoldenDevice
from moevit.golden.quant.synthetic import synthetic_model
from moevit.host.report import KINDS
from moevit.host.runtime import Accelerator
from moevit.report.colours import KIND_COLOURS
from moevit.report.timeline import Bar, Lane, timeline
from moevit.spec.arrays import CONFIGS
from moevit.spec.bundle import Bundle
from moevit.spec.isa import Destination, Opcode, Region, decode
from moevit.spec.networks import NETWORKS
from moevit.spec.parts import Part

from .small_machine import SmallMachine

__all__ = ["BLOCK", "RECORD", "drawn", "record"]

CONFIG, NETWORK, BLOCK = CONFIGS["8x8"], NETWORKS["tiny_test"], 1
RECORD = "docs/pictures/one_block.json"
_LANES = {"load": "beats of weights and gates on the bus", "array": "rows that enter the array",
          "write": "words that the row writer stores"}
_APART = 12  # cycles between two events of an instruction that are drawn as one bar, at most
_PROGRAM, _WEIGHTS, _GATES, _IMAGE, _OUTPUT, _END = 0x1000, 0x4000, 0x20000, 0x28000, 0x30000, 0x32000


class _Recorder:
    """Counts events and gives them to instructions: each has as many as its fields say, in the order of the program."""

    def __init__(self, bundle: Bundle, image: np.ndarray):
        self.events: dict[str, list[int]] = {"array": [], "write": [], "load": []}
        self.machine, self.bundle = SmallMachine(CONFIG, self._memory(bundle, image)), bundle
        registers = {"PROGRAM": _PROGRAM, "WEIGHTS": _WEIGHTS, "GATES": _GATES, "IMAGE": _IMAGE, "OUTPUT": _OUTPUT,
                     "READ_BASE": _PROGRAM, "READ_LIMIT": _OUTPUT, "WRITE_BASE": _OUTPUT, "WRITE_LIMIT": _END}
        self.cycles = self.machine.run(
            {**{f"{name}_LOW": value for name, value in registers.items()}, "PROGRAM_LENGTH": bundle.program_length,
             "INTERRUPT_GLOBAL": 1, "INTERRUPT_ENABLE": 3}, self._watch)

    def _memory(self, bundle: Bundle, image: np.ndarray) -> np.ndarray:
        self.memory = np.zeros(_END, np.uint8)
        patches = image.reshape(-1)
        for at, limit, content in ((_PROGRAM, _WEIGHTS, bundle.program), (_WEIGHTS, _GATES, bundle.weights),
                                   (_GATES, _IMAGE, bundle.gates), (_IMAGE, _OUTPUT, patches.tobytes())):
            if at + len(content) > limit:
                raise ValueError(f"{len(content)} bytes at 0x{at:X} reach beyond 0x{limit:X}")
            self.memory[at:at + len(content)] = np.frombuffer(content, np.uint8)
        return self.memory

    def _watch(self, units: Any, get: Any, cycle: int) -> None:
        writer, bus = units.writer, units.read_master.bus.r
        for lane, happens in (("array", get(units.reader.row.valid)), ("load", get(bus.valid) and get(bus.ready)),
                              ("write", get(writer.residual.enable) or get(writer.hidden.enable)
                               or get(writer.kv.enable))):
            if happens:
                self.events[lane].append(cycle)


def record() -> dict[str, Any]:
    """Bars ``[name, first cycle, last cycle + 1]`` of each lane within the block, from a run whose tokens are right."""
    bundle = compile_model(synthetic_model(NETWORK, 1), CONFIG)
    image = np.random.default_rng(2).integers(0, 256, (NETWORK.height, NETWORK.width, 3), dtype=np.uint8)
    golden = GoldenDevice(CONFIG)
    with Accelerator(golden) as accelerator:
        accelerator.load(bundle)
        tokens = accelerator.run_raw(image, NETWORK.tasks[0])
    made = _Recorder(bundle, image)
    stored = made.memory[_OUTPUT:][:2 * tokens.size].view("<i2").reshape(tokens.shape)
    if not np.array_equal(stored, tokens):
        raise RuntimeError("the core's tokens are not the golden machine's")
    program = [decode(words) for words in np.frombuffer(bundle.program, "<u4").reshape(-1, 16)]
    entries = bundle.manifest["instructions"]
    finished = [(done.pc, done.rows) for done in golden.last.finished]
    bars = {
        "load": _bars(made.events["load"], _loaded(made.machine.addresses, program)),
        "array": _bars(made.events["array"], _owners(finished, program, _entering)),
        "write": _bars(made.events["write"], _owners(finished, program, _words)),
    }
    inside = {lane: [bar for bar in each if entries[bar[0]].get("block") == BLOCK] for lane, each in bars.items()}
    return {"network": NETWORK.name, "array": CONFIG.name, "block": BLOCK, "cycles": made.cycles,
            "lanes": {lane: [[entries[pc]["name"], entries[pc]["part"], start, end] for pc, start, end in each]
                      for lane, each in inside.items()}}


def _owners(finished: list[tuple[int, int]], program: list[dict[str, int]],
            count: Callable[[dict[str, int], int], int]) -> Iterator[int]:
    """The instruction of each event, where one has ``count(fields, rows)`` of them."""
    return (pc for pc, rows in finished for _ in range(count(program[pc], rows)))


def _entering(fields: dict[str, int], rows: int) -> int:
    """Rows that an instruction sends into the array."""
    if fields["opcode"] != Opcode.PASS:
        return 0
    return rows * fields["n_tiles"] * fields["k_tiles"] * (CONFIG.gate_sweeps if fields["digits"] else 1)


def _words(fields: dict[str, int], rows: int) -> int:
    """Words that the row writer stores for an instruction."""
    if fields["opcode"] != Opcode.PASS or fields["destination"] == Destination.ROUTER:
        return 0
    return rows * (-(-fields["columns"] // CONFIG.k_lanes) - fields["first_word"])


def _loaded(addresses: list[int], program: list[dict[str, int]]) -> Iterator[int]:
    """The instruction whose region each beat is of; -1 for the program, the image, and what belongs to no block."""
    base = {Region.WEIGHTS: _WEIGHTS, Region.GATES: _GATES, Region.IMAGE: _IMAGE}
    spans = [(base[Region(fields["region"])] + fields["region_offset"], pc, fields) for pc, fields in enumerate(program)
             if fields.get("region_beats")]
    for address in addresses:
        found = [pc for start, pc, fields in spans
                 if start <= address < start + fields["region_beats"] * CONFIG.bus_bytes
                 or fields.get("expert_beats") and start <= address < start + NETWORK.experts * fields["expert_beats"]
                 * CONFIG.bus_bytes and (address - start) // CONFIG.bus_bytes % fields["expert_beats"]
                 < fields["region_beats"]]
        yield found[0] if found else -1


def _bars(cycles: list[int], owners: Iterator[int]) -> list[tuple[int, int, int]]:
    """Events of one instruction that lie close together become one bar: pc, first cycle, last cycle + 1."""
    bars: list[tuple[int, int, int]] = []
    for cycle, pc in zip(cycles, owners, strict=True):
        if bars and bars[-1][0] == pc and cycle - bars[-1][2] < _APART:
            bars[-1] = (pc, bars[-1][1], cycle + 1)
        else:
            bars.append((pc, cycle, cycle + 1))
    return bars


def drawn(record: dict[str, Any]) -> str:
    """The record as SVG."""
    lanes = [Lane(lane, _LANES[lane], [Bar(name, start, end, KIND_COLOURS[KINDS[Part(part)]])
                                       for name, part, start, end in bars])
             for lane, bars in record["lanes"].items()]
    begin = min(bar.start for lane in lanes for bar in lane.bars)
    end = max(bar.end for lane in lanes for bar in lane.bars)
    title = f"Block {record['block']} of {record['network']} on the {record['array']} core: what runs at the same time"
    return timeline(lanes, begin - 20, end + 20, 900, title) + "\n"


if __name__ == "__main__":
    Path(RECORD).write_text(json.dumps(record(), indent=None) + "\n")
