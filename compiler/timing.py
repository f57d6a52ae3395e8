# SPDX-License-Identifier: Apache-2.0
"""Cycles of a program, without running it: the machine's units as they wait for each other, tile by tile.

Units are followed in program order, which is the order in which each of them works. What they cost is in `latency`,
what the memory costs in `stream`; the places where the hardware decides are `_Machine`'s methods, one per unit:

* ``_walk``: when the sequencer asks for an instruction's bytes and dispatches it;
* ``_speculate``: which experts it asks for before it knows that they are needed;
* ``_may_start``: when an instruction may read what the ones before it write;
* ``_load``: when a tile is in the shadow; ``_sweep``: when its rows are in the array; ``_write``: when they are stored.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf
from typing import NamedTuple

from moevit.spec.arrays import MachineConfig
from moevit.spec.isa import INSTRUCTION_BYTES, Destination, Opcode, Stream, WeightSource

from .latency import Latencies
from .plan import ceil_div
from .steps import Step
from .stream import BURST_BEATS, MemoryTiming, Prefetch

__all__ = ["FrameTiming", "PassTiming", "frame_timing"]

#: Beats of column parameters per n-tile: n_lanes x 32 bits.
COLUMN_BEATS = 4
#: Instructions that wait in front of a unit.
DISPATCH_DEPTH = 32


@dataclass(frozen=True)
class PassTiming:
    """An instruction: its place in the program, expert, rows; cycle of its first row (word) and of its end.

    ``busy``: cycles in which its rows entered the array. ``beats`` that it takes from the stream.
    """

    name: str
    pc: int
    expert: int
    rows: int
    start: float
    end: float
    busy: int
    beats: int


@dataclass
class FrameTiming:
    """A frame: its cycles and what the row reader did in them, as the counters of the machine have it."""

    cycles: int = 0
    passes: list[PassTiming] = field(default_factory=list)
    stalls: dict[str, int] = field(default_factory=dict)
    beats: int = 0


def frame_timing(steps: Sequence[Step], config: MachineConfig, memory: MemoryTiming,
                 loads: Sequence[Sequence[int]] = ()) -> FrameTiming:
    """Follow one run of ``steps``; ``loads``: tokens of each expert, for each EXPERTS step in order."""
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


def _beats_of(step: Step, config: MachineConfig) -> int:
    """Beats of the stream that a step takes, one part of its payload or the image."""
    size = len(step.payload.parts[0]) if step.payload else step.fields.get("stream_beats", 0) * config.bus_bytes
    return size // config.beat_bytes


def _places(steps: Sequence[Step], config: MachineConfig) -> list[int]:
    """Beat address of the first part of each step's payload, from the beginning of weights or gates; 0 of an image."""
    places, used = {}, dict.fromkeys(Stream, 0)
    for step in steps:
        if step.payload and step.payload not in places:
            stream = Stream(step.fields["stream"])
            places[step.payload] = used[stream]
            parts = 1 if stream == Stream.GATES else len(step.payload.parts)  # every task has its own gates
            used[stream] += parts * _beats_of(step, config)
    return [places[step.payload] if step.payload else 0 for step in steps]


class _Start(NamedTuple):
    """From when on the first and the last row may be read."""

    first: float
    last: float


class _Machine:
    """All times are cycles since START. A unit's time is the first cycle in which it is free."""

    def __init__(self, steps: Sequence[Step], config: MachineConfig, memory: MemoryTiming):
        self.config, self.memory, self.latency = config, memory, Latencies(config)
        self.stream = Prefetch(config, memory)
        self.finished: list[float] = []  # all instructions up to this one are finished: the cycle of `done`
        self.stored: list[float] = []  # from when on a rowwise instruction may read what this one stores
        self.taken: list[float] = []  # when the slowest unit took an instruction
        self.passes: list[PassTiming] = []
        self.loader = 0.0  # free for the next beat
        self.swapped = 0.0  # the shadow tile was taken
        self.array = 0.0  # free for the next row
        self.writer = 0.0  # free for the next word
        self.waits = dict.fromkeys(("BUSY", "WAIT_NORM", "WAIT_WEIGHTS", "WAIT_DRAIN"), 0.0)
        # START to the first instruction: the program is fetched whole.
        beats = len(steps) * INSTRUCTION_BYTES // config.beat_bytes
        self.stream.ask(3, beats)
        self.walk = self._beats(beats, 0.0) + 1
        self.places = _places(steps, config)
        self.ahead = 0  # stretches that were asked for before their instruction's turn

    def result(self) -> FrameTiming:
        cycles = round(self.finished[-1] + self.latency.FINISHED + 1)
        waits = {name: round(value) for name, value in self.waits.items()}
        waits["WAIT_PROGRAM"] = cycles - sum(waits.values())
        return FrameTiming(cycles, self.passes, waits, self.stream.delivered)

    def experts(self, pc: int, body: Sequence[Step], rows: Sequence[int], speculate: int) -> None:
        """The sequencer waits for the router, then goes from expert to expert; one without tokens costs a cycle."""
        routed = self.finished[-1] + 2 * self.latency.FINISHED
        self.walk += self.latency.WALK
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
        """Ask for the bytes of the first experts until the router has decided."""
        for expert in range(experts):
            for index, step in enumerate(body):
                beats = _beats_of(step, self.config)
                asked = max(self.walk + self.latency.WALK - 2, self.stream.accepts)
                if asked >= until:
                    return
                self.walk = asked
                self.stream.ask(asked, beats, self.places[pc + 1 + index] + expert * beats)
                self.ahead += 1

    def _drop(self, step: Step) -> None:
        """What was asked for in vain is taken and thrown away."""
        self.ahead -= 1
        self.walk += self.latency.WALK - 1
        self.loader = self._beats(_beats_of(step, self.config), max(self.loader + self.latency.LOADER, self.walk + 1))

    def instruction(self, pc: int, step: Step, expert: int, rows: int) -> None:
        fields = step.fields
        beats = _beats_of(step, self.config)
        dispatched = self._walk(beats, self.places[pc] + expert * beats)
        may_start = self._may_start(fields.get("overlap", 0), fields.get("rowwise", 0))
        before = self.waits["BUSY"]
        run = {Opcode.LOAD: self._rows_of_words, Opcode.IMAGE: self._image, Opcode.NORM: self._norm,
               Opcode.PASS: self._pass, Opcode.STORE: self._store}[Opcode(fields["opcode"])]
        start, end = run(step, rows, dispatched, may_start)
        self.finished.append(max(end, self.finished[-1]) if self.finished else end)
        self.stored.append(self._stored(step, rows, end) if fields["opcode"] == Opcode.PASS else inf)
        busy = round(self.waits["BUSY"] - before)
        self.passes.append(PassTiming(step.name, pc, expert, rows, start, end, busy, beats))

    def _walk(self, beats: int, place: int) -> float:
        """When the next instruction is dispatched. Its bytes wait until those before are asked for."""
        self.walk += self.latency.WALK - 2
        if beats and self.ahead:
            self.ahead -= 1
        elif beats:
            self.walk = max(self.walk, self.stream.accepts)
            self.stream.ask(self.walk, beats, place)
        self.walk += 2
        if len(self.taken) > DISPATCH_DEPTH:
            self.walk = max(self.walk, self.taken[-1 - DISPATCH_DEPTH] + 1)
        return self.walk

    def _may_start(self, overlap: int, rowwise: int) -> "_Start":
        """From when on an instruction may read: all but ``overlap`` of those before it are finished, or for its first
        rows one less and that one has stored them."""
        if len(self.finished) <= overlap:
            return _Start(0.0, 0.0)
        last = self.finished[-1 - overlap] + self.latency.FINISHED
        if not rowwise:
            return _Start(last, last)
        others = self.finished[-2 - overlap] + self.latency.FINISHED if len(self.finished) > overlap + 1 else 0.0
        return _Start(min(last, max(others, self.stored[-1 - overlap])), last)

    def _stored(self, step: Step, rows: int, end: float) -> float:
        """When row 0 may be read: row 2 is stored and known to be. ``end``: the last one is."""
        fields, ratio = step.fields, self.config.ratio
        if fields.get("scatter") or fields.get("destination", 0) == Destination.ROUTER:
            return inf
        words = min(ceil_div(fields["columns"], self.config.k_lanes) - (fields["n_tiles"] - 1) * ratio, ratio)
        return end - (rows - 3) * words + self.latency.STORED

    def _beats(self, beats: int, begin: float, cycles_each: int = 1) -> float:
        """Take beats from ``begin`` on; when the last one is taken and the next could be."""
        while beats > 0:
            piece = min(beats, BURST_BEATS)
            begin = max(begin + piece * cycles_each, self.stream.arrival(piece) + 1)
            self.stream.take(piece, begin)
            beats -= piece
        return begin

    def _rows_of_words(self, step: Step, rows: int, dispatched: float, may_start: _Start) -> tuple[float, float]:
        """LOAD: words into the residual memory."""
        start = max(self.loader + self.latency.LOADER, dispatched + 1, may_start.last + 1)
        self.loader = self._beats(rows * step.fields["k_tiles"] * self.config.word_beats, start)
        self.taken.append(start)
        return start, self.loader

    def _image(self, step: Step, rows: int, dispatched: float, may_start: _Start) -> tuple[float, float]:
        """IMAGE: 8 bytes a cycle, or 16 where words and segments are made of pairs of 8."""
        start = max(self.loader + self.latency.LOADER, dispatched + 1, may_start.last + 1)
        pairs = self.config.k_lanes > 8 and step.fields["segment"] % 2 == 0
        each = self.config.beat_bytes // (16 if pairs else 8)
        self.loader = self._beats(_beats_of(step, self.config), start, each) + 2
        self.taken.append(start)
        return start, self.loader

    def _norm(self, step: Step, rows: int, dispatched: float, may_start: _Start) -> tuple[float, float]:
        """NORM: gain, then every row twice, or once if the sums of rows are known."""
        fields, latency = step.fields, self.latency
        taken = max(self.array - latency.READER, dispatched + 1)
        self.loader = self._beats(fields["k_tiles"] * self.config.word_beats,
                                  max(taken + 1, self.loader + latency.LOADER))
        start = max(self.loader, may_start.first + 1)
        idle = max(self.array, taken, may_start.first + 1)
        before_last = start + (rows - 1) * fields["k_tiles"]
        drain = max(0.0, may_start.last + 1 - before_last)
        again = 0 if fields.get("summed", 0) else latency.means + rows * fields["k_tiles"]
        end = before_last + drain + fields["k_tiles"] - 1 + again + latency.norm
        self.waits["WAIT_DRAIN"] += idle - max(self.array, taken) + drain
        self.waits["WAIT_NORM"] += end - idle - drain
        self.array = max(self.array, end)
        self.taken.append(taken)
        return start, end

    def _pass(self, step: Step, rows: int, dispatched: float, may_start: _Start) -> tuple[float, float]:
        """PASS: tiles are loaded while the rows of the one before are in the array."""
        fields, latency = step.fields, self.latency
        digits = 3 if fields.get("digits") else 1
        n_tiles, k_tiles = fields["n_tiles"], fields["k_tiles"] * digits
        streamed, constant = fields.get("weights", 0) == WeightSource.STREAM, fields.get("constant", 0)
        words_left = ceil_div(fields["columns"], self.config.k_lanes)
        taken = max(self.array - latency.READER, dispatched + 1)
        self.array = max(self.array, taken)
        ready = max(taken, may_start.first) + latency.READER  # the first row
        last_ready = max(taken, may_start.last) + latency.READER
        self.loader = max(self.loader + latency.LOADER, dispatched + 1, 0.0 if streamed else may_start.last + 1)
        start = inf
        for _ in range(n_tiles):
            if not constant:
                self.loader = self._beats(COLUMN_BEATS, self.loader)
            for _ in range(k_tiles):
                start = min(start, self._sweep(self._load(streamed), ready, last_ready, rows))
            self._write(rows, min(words_left, self.config.ratio))
            words_left -= self.config.ratio
        self.taken.append(max(taken, self.writer - 16))
        if fields.get("destination", 0) == Destination.ROUTER:
            return start, self._route(rows, fields["top_k"])
        return start, self.writer - 1 + latency.writer_done

    def _load(self, streamed: bool) -> float:
        """When the next tile is in the shadow: its first beat waits beside it, the others behind the swap."""
        beats = self.config.k_lanes
        present = max(self.loader + 1, self.swapped + 1)
        if streamed:
            last = max(present + beats // self.latency.TILE_BEATS - 1, self.stream.arrival(beats) + 1)
            self.stream.take(beats, last)
        else:
            last = present + beats - 1
        self.loader = last
        return last + 1

    def _sweep(self, tile: float, ready: float, last_ready: float, rows: int) -> float:
        """Rows through the array, one a cycle; returns the cycle of the first one, in which the tile is taken."""
        free, self.swapped = self.array, max(tile, ready, self.array)
        weights = max(0.0, tile - max(free, ready))
        self.waits["WAIT_WEIGHTS"] += weights
        self.waits["WAIT_DRAIN"] += self.swapped - free - weights
        self.waits["BUSY"] += rows
        drain = max(0.0, last_ready - (self.swapped + rows - 1))
        self.waits["WAIT_DRAIN"] += drain
        self.array = self.swapped + rows + drain
        return self.swapped

    def _write(self, rows: int, words: int) -> None:
        """The rows of an n-tile's last tile leave the accumulator; ``words`` of each are written, one a cycle."""
        sums = self.array + self.latency.compute
        self.writer = max(self.writer + rows * words, sums - rows + rows * words, sums + words - 1)

    def _route(self, rows: int, top_k: int) -> float:
        """A token every ``top_k`` cycles."""
        first = self.writer - rows + self.latency.GATE
        last = max(first + (rows - 1) * top_k, self.writer - 1 + self.latency.GATE)
        return last + self.latency.ROUTER + top_k - 1

    def _store(self, step: Step, rows: int, dispatched: float, may_start: _Start) -> tuple[float, float]:
        """STORE: words to the memory, and the response of the last burst."""
        start = max(self.array, dispatched + 2, may_start.last + 1)
        beats = rows * step.fields["k_tiles"] * self.config.word_bus_beats
        end = start + self.latency.STORE + beats / min(self.memory.bandwidth, 1.0) + self.memory.write_latency
        self.waits["WAIT_DRAIN"] += max(0.0, may_start.last + 1 - max(self.array, dispatched + 2))
        self.taken.append(start)
        return start, end
