# SPDX-License-Identifier: Apache-2.0
"""Cycles of an instruction in loader, array and row writer, and how long they wait for each other."""

from math import inf
from typing import NamedTuple

import numpy as np

from moevit.compiler.builder import Step
from moevit.compiler.plan import ceil_div
from moevit.hw.bus.bursts import BURST_BEATS
from moevit.hw.layouts import COLUMN_BEATS
from moevit.spec.arrays import MachineConfig
from moevit.spec.isa import Destination, Opcode, WeightSource

from .latency import latencies
from .prefetch import MemoryTiming, PrefetchTiming

__all__ = ["Start", "Stay", "Units", "beats_of"]


def beats_of(step: Step, config: MachineConfig) -> int:
    """Beats that a step takes from the prefetch FIFO: one copy of its payload, or the image."""
    size = step.payload.size if step.payload else step.fields.get("region_beats", 0) * config.bus_bytes
    return size // config.beat_bytes


class Start(NamedTuple):
    """When the first and the last row may be read."""

    first: float
    last: float


class Stay(NamedTuple):
    """When the slowest unit takes an instruction, its first row (or word) starts, and it ends."""

    taken: float
    start: float
    end: float


class _Writer:
    """Takes the sums of rows. At most ``config.sums_depth`` rows are under way to it."""

    def __init__(self, config: MachineConfig):
        self._latency, self._depth = latencies(config), config.sums_depth
        self._room = np.full(self._depth, -inf)  # when each of the next rows may enter the array
        self.free = 0.0  # for the next word

    def take(self, rows: int, cycles: int, first: float, last: float) -> Start:
        """When the first and the last row enter the array: one a cycle from ``first`` on, each while there is room, the
        last one not before ``last``. The row writer takes ``cycles`` for a row."""
        start = inf
        for begin in range(0, rows, self._depth):
            count = min(self._depth, rows - begin)
            row = np.arange(count)
            entered = self._room[:count].copy()
            entered[0] = max(entered[0], first)
            if begin + count == rows:
                entered[-1] = max(entered[-1], last)
            entered = np.maximum.accumulate(entered - row) + row
            start = min(start, float(entered[0]))
            came = entered + self._latency.compute
            came[0] = max(came[0], self.free)
            freed = np.maximum.accumulate(came - row * cycles) + (row + 1) * cycles
            self._room = np.concatenate((self._room[count:], freed + self._latency.room))
            self.free, first = float(freed[-1]), float(entered[-1]) + 1
            if cycles == 1 and begin + count < rows and (self._room <= first + row).all():
                return Start(start, self._unhindered(rows - begin - count, first, last))
        return Start(start, first - 1)

    def _unhindered(self, rows: int, first: float, last: float) -> float:
        """When the last of ``rows`` rows enters the array, if each costs the row writer one cycle and all find room.

        If as many rows as may be under way find room, so do all after them: each row leaves before they have entered.
        """
        entered = first + np.arange(rows)
        entered[-1] = max(entered[-1], last)
        freed = entered[-self._depth:] + self._latency.compute + 1
        self._room = np.concatenate((self._room[len(freed):], freed + self._latency.room))
        self.free = float(freed[-1])
        return float(entered[-1])


class Units:
    """Loader, array and row writer, instruction by instruction. The time of a unit is its first free cycle."""

    def __init__(self, config: MachineConfig, memory: MemoryTiming):
        self.config, self.memory, self.latency = config, memory, latencies(config)
        self.prefetch = PrefetchTiming(config, memory)
        self.loader = 0.0  # free for the next beat
        self.swapped = 0.0  # the shadow tile was taken
        self.array = 0.0  # free for the next row
        self.writer = _Writer(config)
        causes = "BUSY", "WAIT_NORM", "WAIT_WEIGHTS", "WAIT_DRAIN", "WAIT_WRITER"
        self.waits = dict.fromkeys(causes, 0.0)

    def run(self, step: Step, rows: int, dispatched: float, may_start: Start) -> Stay:
        """Follow an instruction other than END and EXPERTS."""
        unit = {Opcode.LOAD: self._rows_of_words, Opcode.IMAGE: self._image, Opcode.NORM: self._norm,
                Opcode.PASS: self._pass, Opcode.STORE: self._store}[Opcode(step.fields["opcode"])]
        return unit(step, rows, dispatched, may_start)

    def drop(self, step: Step, dispatched: float) -> None:
        """Take the step's bytes and throw them away: they belong to an idle expert."""
        self.loader = self.beats(beats_of(step, self.config), max(self.loader + self.latency.loader, dispatched + 1))

    def beats(self, beats: int, begin: float, cycles_each: float = 1) -> float:
        """Take ``beats`` beats from ``begin`` on. Returns when the next one could be taken."""
        while beats > 0:
            piece = min(beats, BURST_BEATS)
            begin = max(begin + piece * cycles_each, self.prefetch.arrival(piece) + 1)
            self.prefetch.take(piece, begin)
            beats -= piece
        return begin

    def words(self, step: Step, n_tile: int) -> int:
        """Words that are stored of a row of the n-tile."""
        fields, ratio = step.fields, self.config.ratio
        end = min(ceil_div(fields["columns"], self.config.k_lanes) - n_tile * ratio, ratio)
        return end - (0 if n_tile else fields.get("first_word", 0))

    def _rows_of_words(self, step: Step, rows: int, dispatched: float, may_start: Start) -> Stay:
        """LOAD: words into the residual memory, one write a cycle."""
        start = max(self.loader + self.latency.loader, dispatched + 1, may_start.last + 1)
        beats, writes = self.config.word_beats, 1 + step.fields.get("copies", 0)
        self.loader = self.beats(rows * step.fields["k_tiles"] * beats, start, writes / beats)
        return Stay(start, start, self.loader)

    def _image(self, step: Step, rows: int, dispatched: float, may_start: Start) -> Stay:
        """IMAGE: one cycle writes chunks of 8 bytes of a line of a patch, at most as many as a word holds.

        A write may go from a word into the next one if no part of a word is written twice (``config.hidden_parts``).
        What is left of the line begins such a part.
        """
        fields = step.fields
        start = max(self.loader + self.latency.loader, dispatched + 1, may_start.last + 1)
        beats, segment = beats_of(step, self.config), fields["segment"]
        groups = self.config.k_lanes // 8
        rooms = [groups - line * segment % (groups // self.config.hidden_parts) for line in range(fields["patch"])]
        pieces = rows * sum(1 + ceil_div(max(segment - room, 0), groups) for room in rooms)
        self.loader = self.beats(beats, start, pieces / beats) + 3
        return Stay(start, start, self.loader)

    def _norm(self, step: Step, rows: int, dispatched: float, may_start: Start) -> Stay:
        """NORM: the gain; unless the sums are known, every row once word by word; then every row ``norm_words`` words a
        cycle."""
        fields, latency = step.fields, self.latency
        taken = max(self.array - latency.reader, dispatched + 1)
        self.loader = self.beats(fields["k_tiles"] * self.config.word_beats,
                                 max(taken + 1, self.loader + latency.loader))
        start = max(self.loader, may_start.first + 1)
        idle = max(self.array, taken, may_start.first + 1)
        cycles = ceil_div(fields["k_tiles"], self.config.norm_words)
        first, again = (cycles, 0) if fields.get("summed", 0) else (fields["k_tiles"], latency.means + rows * cycles)
        before_last = start + (rows - 1) * first
        drain = max(0.0, may_start.last + 1 - before_last)
        end = before_last + drain + first - 1 + again + latency.norm
        self.waits["WAIT_DRAIN"] += idle - max(self.array, taken) + drain
        self.waits["WAIT_NORM"] += end - idle - drain
        self.array = max(self.array, end)
        return Stay(taken, start, end)

    def _pass(self, step: Step, rows: int, dispatched: float, may_start: Start) -> Stay:
        """PASS: a tile is loaded while the rows of the tile before enter the array."""
        fields, latency = step.fields, self.latency
        k_tiles = fields["k_tiles"] * (self.config.gate_sweeps if fields.get("digits") else 1)
        streamed, constant = fields.get("weights", 0) == WeightSource.BUS, fields.get("constant", 0)
        routed = fields.get("destination", 0) == Destination.ROUTER
        walk = latency.ring if any(fields.get(name) for name in ("sigmoid", "biased", "sets_bias")) else 0
        router_cycles = walk + 1 if walk else fields.get("top_k", 1)
        taken = max(self.array - latency.reader, dispatched + 1)
        self.array = max(self.array, taken)
        ready = Start(max(taken, may_start.first) + latency.reader, max(taken, may_start.last) + latency.reader)
        self.loader = max(self.loader + latency.loader, dispatched + 1, 0.0 if streamed else may_start.last + 1)
        start = inf
        for n_tile in range(fields["n_tiles"]):
            if not constant:
                self.loader = self.beats(COLUMN_BEATS, self.loader)
            words = self.words(step, n_tile)
            for k_tile in range(k_tiles):
                cycles = max(words, router_cycles if routed else 1) if k_tile == k_tiles - 1 else 0
                start = min(start, self._sweep(self._load(streamed), ready, rows, cycles))
        taken = max(taken, self.writer.free - 16)
        if routed:
            return Stay(taken, start, self.writer.free - 1 + latency.gate + latency.router + walk)
        return Stay(taken, start, self.writer.free - 1 + latency.writer_done)

    def _load(self, streamed: bool) -> float:
        """When the next tile is loaded: its first beat waits beside the shadow tile, the others come after the swap."""
        beats = self.config.k_lanes
        present = max(self.loader + 1, self.swapped + 1)
        if streamed:
            last = max(present + beats // self.config.tile_beats - 1, self.prefetch.arrival(beats) + 1)
            self.prefetch.take(beats, last)
        else:
            last = present + beats - 1
        self.loader = last
        return last + 1

    def _sweep(self, tile: float, ready: Start, rows: int, cycles: int) -> float:
        """One sweep: rows through the array, one a cycle. Returns the cycle of the first row, which takes the tile.

        ``cycles``: of the row writer, or of the router behind it, per row of an n-tile's last sweep; 0 in other sweeps.
        """
        free, self.swapped = self.array, max(tile, ready.first, self.array)
        weights = max(0.0, tile - max(free, ready.first))
        drain = max(0.0, ready.last - (self.swapped + rows - 1))
        self.waits["WAIT_WEIGHTS"] += weights
        self.waits["WAIT_DRAIN"] += self.swapped - free - weights + drain
        self.waits["BUSY"] += rows
        self.array = self.swapped + rows + drain
        if cycles:
            self.swapped, last = self.writer.take(rows, cycles, self.swapped, ready.last)
            self.waits["WAIT_WRITER"] += last + 1 - self.array
            self.array = last + 1
        return self.swapped

    def _store(self, step: Step, rows: int, dispatched: float, may_start: Start) -> Stay:
        """STORE: words to the memory, until the response to the last burst."""
        start = max(self.array, dispatched + 2, may_start.last + 1)
        beats = rows * step.fields["k_tiles"] * self.config.word_bus_beats
        end = start + self.latency.store + beats / min(self.memory.bandwidth, 1.0) + self.memory.write_latency
        self.waits["WAIT_DRAIN"] += max(0.0, may_start.last + 1 - max(self.array, dispatched + 2))
        return Stay(start, start, end)
