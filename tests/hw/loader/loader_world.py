# SPDX-License-Identifier: Apache-2.0
"""Everything around a loader: beats, memories, who takes its tiles, who finishes instructions."""

from collections import deque

import numpy as np

from moevit.hw.loader.loader import Loader
from moevit.sim.bench.stream_bench import StreamBench
from moevit.sim.bench.surroundings import MemoryModel
from moevit.spec.isa import Opcode, Region

from ...configs import TEST_CONFIGS


def number(values, bits):
    """Lanes, lane 0 lowest, as one integer."""
    return sum((int(value) & ((1 << bits) - 1)) << bits * index for index, value in enumerate(values))


def tile_loads(beats, by_row=0):
    """A tile's beats as `World.loads` has them."""
    return [(by_row, index, [int(v) for v in np.asarray(beat).astype(np.uint8).view(np.int8)])
            for index, beat in enumerate(beats)]


def pass_of(n_tiles, k_tiles, **more):
    return {"opcode": Opcode.PASS, "n_tiles": n_tiles, "k_tiles": k_tiles, "rows": 3, "region": Region.WEIGHTS, **more}


class World:
    """A loader with random pauses on every side.

    ``hold``: cycles that a tile waits before it is taken; ``supply``: beats that come in a cycle at most, unless given
    ``tile_beats``.
    """

    def __init__(self, name, seed=0, stall=0.0, hold=0, supply=None):
        print(f"{name}, seed {seed}")
        self.config, self.stall, self.hold = TEST_CONFIGS.get(name, name), stall, hold
        self.supply = supply or self.config.tile_beats
        self.random = np.random.default_rng(seed)
        self.kv = self.random.integers(-127, 128, (self.config.kv_words, self.config.n_lanes))
        self.beats, self.dispatches = deque(), deque()
        self.finish_at = {}  # cycle -> finished
        self.loads, self.columns, self.gain = [], [], []
        self.residual, self.hidden = {}, {}
        # Cycles.
        self.first_loads, self.taken, self.done, self.dropped = [], [], [], []
        self.dispatched, self.beats_taken, self.kv_reads = [], [], []
        # The shadow tile's beats and what is left of its `hold`; beats and dispatch that are offered.
        self._outstanding, self._held, self._there, self._offered = 0, hold, 0, False

    def payload(self, beats):
        """``beats`` random beats, also put into the FIFO."""
        made = [self.random.integers(0, 256, self.config.beat_bytes) for _ in range(beats)]
        self.beats.extend(made)
        return made

    def dispatch(self, sequence, **instruction):
        self.dispatches.append({"instruction": instruction, "sequence": sequence})

    def chance(self):
        return self.random.random() >= self.stall

    def run(self, cycles):
        self.unit = loader = Loader(self.config)
        self.sinks = ((loader.columns, self.columns), (loader.gain, self.gain), (loader.residual, self.residual),
                      (loader.hidden, self.hidden))
        kv = MemoryModel(self.kv, reads=[loader.kv])
        StreamBench(loader, background=[kv.run]).play(self._step, cycles)
        self.kv_reads = [cycle for cycle, _ in kv.read_log]
        assert not self.beats and not self.dispatches
        assert len(self.loads) % self.config.k_lanes == 0
        return self

    def _step(self, ctx, cycle):
        tile_taken = self._drive(ctx, cycle)
        loader = self.unit
        self._load(ctx, cycle)
        if tile_taken:
            self.taken.append(cycle)
            self._outstanding = 0
        for port, sink in self.sinks:
            if ctx.get(port.valid) and ctx.get(port.ready):
                if isinstance(sink, list):
                    sink.append(ctx.get(port.payload))
                else:
                    self._store(ctx, port.payload, sink)
        for signal, cycles in ((loader.done, self.done), (loader.dropped, self.dropped)):
            if ctx.get(signal):
                cycles.append(cycle)
        count = ctx.get(loader.beats.taken)
        assert count <= self._there
        if count:
            self.beats_taken.append(cycle)
        for _ in range(count):
            self.beats.popleft()
            self._there -= 1
        if self._offered and ctx.get(loader.dispatch.ready):
            self.dispatches.popleft()
            self.dispatched.append(cycle)
            self._offered = False

    def _drive(self, ctx, cycle):
        """Sets all inputs; returns whether the tile is taken."""
        loader, tile_beats = self.unit, self.config.tile_beats
        come = sum(self.chance() for _ in range(self.supply))
        self._there = min(self._there + come, tile_beats, len(self.beats))
        self._offered = bool(self.dispatches) and (self._offered or self.chance())
        ctx.set(loader.beats.available, (1 << self._there) - 1)
        for index in range(tile_beats):
            ctx.set(loader.beats.payload[index], number(self.beats[index], 8) if index < self._there else 0xEE)
        ctx.set(loader.dispatch.valid, self._offered)
        if self._offered:
            ctx.set(loader.dispatch.payload, self.dispatches[0])
        if cycle in self.finish_at:
            ctx.set(loader.finished, self.finish_at[cycle])
        for port, _ in self.sinks:
            ctx.set(port.ready, self.chance())
        ready = ctx.get(loader.tile_ready)
        assert bool(ready) == (self._outstanding == self.config.k_lanes)
        self._held = self._held - 1 if ready else self.hold
        tile_taken = bool(ready) and self._held < 0 and self.chance()
        ctx.set(loader.tile_taken, tile_taken)
        return tile_taken

    def _load(self, ctx, cycle):
        """What goes into the shadow tile."""
        loader, tile_beats = self.unit, self.config.tile_beats
        if not ctx.get(loader.load.valid):
            return
        assert not ctx.get(loader.tile_ready), "a beat was presented to a full shadow tile"
        load = loader.load.payload
        by_row, whole, index = ctx.get(load.by_row), ctx.get(load.whole), ctx.get(load.index)
        parts = [list(ctx.get(load.data[place])) for place in range(tile_beats)]
        if whole:
            assert not by_row and index % tile_beats == 0
        else:
            assert all(part == parts[0] for part in parts)
            parts = parts[:1]
        self.loads += [(by_row, index + place, part) for place, part in enumerate(parts)]
        if self._outstanding == 0:
            self.first_loads.append(cycle)
        self._outstanding += len(parts)

    def _store(self, ctx, payload, memory):
        words = list(ctx.get(payload.data))
        by_parts = "enable" in payload.shape().members
        addresses = list(ctx.get(payload.address)) if by_parts else [ctx.get(payload.address)]
        groups = ctx.get(payload.enable) if by_parts else ~0
        for lane, word in enumerate(words):
            if groups >> lane // 8 & 1:
                address = addresses[lane * len(addresses) // len(words)]
                memory.setdefault(address, [None] * len(words))[lane] = word
