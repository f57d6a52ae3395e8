# SPDX-License-Identifier: Apache-2.0
"""Cycles of a program, without running it: how the machine's units wait for each other, tile by tile.

Each unit works in program order, so the model follows the units instruction by instruction. `latency` has the cycles of
the pipelines, `prefetch` those of the memory, `units` what loader, array and row writer do with an instruction. This
module has what the program walk decides, a method for each decision:

* ``_walk``: when it requests an instruction's bytes and dispatches it;
* ``_speculate``: which experts it requests before it knows that they are needed;
* ``_may_start``: when an instruction may read what earlier instructions write.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf

from moevit.compiler.builder import Step
from moevit.hw.control.dispatch import DISPATCH_DEPTH
from moevit.spec.arrays import MachineConfig
from moevit.spec.isa import INSTRUCTION_BYTES, Destination, Opcode, Region
from moevit.spec.parts import Part

from .latency import latencies
from .prefetch import MemoryTiming
from .units import Start, Units, beats_of

__all__ = ["FrameTiming", "PassTiming", "frame_timing"]


@dataclass(frozen=True)
class PassTiming:
    """One finished instruction: ``pc`` is its place in the program, ``block`` its transformer block if it has one.

    ``start``, ``end``: cycle of its first row (of its first word, if no row enters the array), and of its end.
    ``busy``: cycles in which its rows enter the array. ``beats``: taken from the prefetch FIFO.
    """

    name: str
    part: Part
    block: int | None
    pc: int
    expert: int
    rows: int
    start: float
    end: float
    busy: int
    beats: int


@dataclass
class FrameTiming:
    """A frame: its cycles, and what the row reader does in them, by the machine's counters."""

    cycles: int = 0
    passes: list[PassTiming] = field(default_factory=list)
    stalls: dict[str, int] = field(default_factory=dict)
    beats: int = 0


def frame_timing(steps: Sequence[Step], config: MachineConfig, memory: MemoryTiming,
                 loads: Sequence[Sequence[int]] = ()) -> FrameTiming:
    """Follow one run of ``steps``. ``loads``: tokens of each expert, for each EXPERTS step in order."""
    machine = _Machine(steps, config, memory)
    active = iter(loads)
    pc = 0
    while pc < len(steps):
        step = steps[pc]
        if step.fields["opcode"] == Opcode.EXPERTS:
            body = steps[pc + 1:pc + 1 + step.fields["body"]]
            machine.experts(pc, body, next(active), step.fields.get("speculate", 0))
            pc += len(body)
        elif step.fields["opcode"] != Opcode.END:
            machine.instruction(pc, step, 0, step.fields["rows"])
        pc += 1
    return machine.result()


def _places(steps: Sequence[Step], config: MachineConfig) -> list[int]:
    """Beat address of each step's payload, from the beginning of its region; 0 for the image."""
    places, used = {}, dict.fromkeys(Region, 0)
    for step in steps:
        if step.payload and step.payload not in places:
            region = Region(step.fields["region"])
            places[step.payload] = used[region]
            copies = 1 if region == Region.GATES else step.payload.count  # every task has its own gates
            used[region] += copies * beats_of(step, config)
    return [places[step.payload] if step.payload else 0 for step in steps]


class _Machine:
    """All times are cycles since START."""

    def __init__(self, steps: Sequence[Step], config: MachineConfig, memory: MemoryTiming):
        self.config, self.latency, self.units = config, latencies(config), Units(config, memory)
        self.prefetch = self.units.prefetch
        self.finished: list[float] = []  # all instructions up to this one are finished: the cycle of `done`
        self.stored: list[float] = []  # from when on a rowwise instruction may read what this one stores
        self.taken: list[float] = []  # when the slowest unit took an instruction
        self.passes: list[PassTiming] = []
        # START to the first instruction: the program is fetched whole.
        beats = len(steps) * INSTRUCTION_BYTES // config.beat_bytes
        self.prefetch.ask(3, beats)
        self.walk = self.units.beats(beats, 0.0) + 1
        self.places = _places(steps, config)
        self.ahead = 0  # requests made before their instruction's turn

    def result(self) -> FrameTiming:
        cycles = round(self.finished[-1] + self.latency.finished + 1)
        waits = {name: round(value) for name, value in self.units.waits.items()}
        waits["WAIT_PROGRAM"] = cycles - sum(waits.values())
        return FrameTiming(cycles, self.passes, waits, self.prefetch.delivered)

    def experts(self, pc: int, body: Sequence[Step], rows: Sequence[int], speculate: int) -> None:
        """The program walk waits for the router, then goes from expert to expert. An idle expert costs one cycle."""
        routed = self.finished[-1] + 2 * self.latency.finished
        self.walk += self.latency.walk
        self._speculate(pc, body, speculate, routed)
        self.walk = max(self.walk, routed)
        for expert, count in enumerate(rows):
            self.walk += 1
            for index, step in enumerate(body):
                if count:
                    self.instruction(pc + 1 + index, step, expert, count)
                elif self.ahead:
                    self._drop(step)

    def _speculate(self, pc: int, body: Sequence[Step], experts: int, until: float) -> None:
        """Request the bytes of the first ``experts`` experts, until the router has decided at ``until``."""
        for expert in range(experts):
            for index, step in enumerate(body):
                beats = beats_of(step, self.config)
                asked = max(self.walk + self.latency.walk - 2, self.prefetch.accepts)
                if asked >= until:
                    return
                self.walk = asked
                self.prefetch.ask(asked, beats, self.places[pc + 1 + index] + expert * beats)
                self.ahead += 1

    def _drop(self, step: Step) -> None:
        """Take and throw away the bytes of an idle expert."""
        self.ahead -= 1
        self.walk += self.latency.walk - 1
        self.units.drop(step, self.walk)

    def instruction(self, pc: int, step: Step, expert: int, rows: int) -> None:
        fields = step.fields
        beats = beats_of(step, self.config)
        dispatched = self._walk(beats, self.places[pc] + expert * beats)
        may_start = self._may_start(fields.get("overlap", 0), fields.get("rowwise", 0))
        before = self.units.waits["BUSY"]
        taken, start, end = self.units.run(step, rows, dispatched, may_start)
        self.taken.append(taken)
        self.finished.append(max(end, self.finished[-1]) if self.finished else end)
        self.stored.append(self._stored(step, rows, end) if fields["opcode"] == Opcode.PASS else inf)
        busy = round(self.units.waits["BUSY"] - before)
        self.passes.append(PassTiming(step.name, step.part, step.block, pc, expert, rows, start, end, busy, beats))

    def _walk(self, beats: int, place: int) -> float:
        """When the next instruction is dispatched. It requests its bytes after the instructions before it."""
        self.walk += self.latency.walk - 2
        if beats and self.ahead:
            self.ahead -= 1
        elif beats:
            self.walk = max(self.walk, self.prefetch.accepts)
            self.prefetch.ask(self.walk, beats, place)
        self.walk += 2
        if len(self.taken) > DISPATCH_DEPTH:
            self.walk = max(self.walk, self.taken[-1 - DISPATCH_DEPTH] + 1)
        return self.walk

    def _may_start(self, overlap: int, rowwise: int) -> Start:
        """When an instruction may read: all but ``overlap`` of those before it are finished. A rowwise one may read
        its first rows when one more is unfinished and has stored them."""
        if len(self.finished) <= overlap:
            return Start(0.0, 0.0)
        last = self.finished[-1 - overlap] + self.latency.finished
        if not rowwise:
            return Start(last, last)
        others = self.finished[-2 - overlap] + self.latency.finished if len(self.finished) > overlap + 1 else 0.0
        return Start(min(last, max(others, self.stored[-1 - overlap])), last)

    def _stored(self, step: Step, rows: int, end: float) -> float:
        """When a rowwise instruction may read row 0: the row reader knows that row 2 is stored. ``end``: the last row
        is stored."""
        fields = step.fields
        if fields.get("scatter") or fields.get("destination", 0) == Destination.ROUTER:
            return inf
        return end - (rows - 3) * self.units.words(step, fields["n_tiles"] - 1) + self.latency.stored
