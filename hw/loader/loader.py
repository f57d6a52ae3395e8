# SPDX-License-Identifier: Apache-2.0
"""The loader: brings every beat of the prefetch FIFO to its place."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from moevit.spec.arrays import MachineConfig
from moevit.spec.isa import Opcode

from ..interfaces import Flow, MemoryRead, NextBeats
from ..layouts import DROP, SEQUENCE_BITS, dispatch_layout, load_layout
from ..plumbing.memories import hidden_write_layout, residual_write_layout
from .image import ImageLoader
from .tiles import TileLoader
from .words import WordLoader

__all__ = ["Loader"]


class Loader(wiring.Component):
    """Brings what instructions take from the memory bus to where it is used, in program order.

    - PASS: column parameters and tiles; the tiles also from the key and value memory (``TileLoader``).
    - NORM: the gain.
    - LOAD: rows into the residual memory (``WordLoader``).
    - IMAGE: patches into the hidden memory (``ImageLoader``).
    - DROP: nowhere.

    It runs ahead of the row reader as far as the receivers let it. Reads of the key and value memory and writes of LOAD
    and IMAGE depend on earlier instructions: they wait until ``(sequence - finished) mod 2^16 <= overlap``.

    Latency: 1 cycle from ``dispatch`` to the first beat taken (`latency`), 2 cycles of a LOAD (`latency_load`). The
    next instruction is taken in the cycle after the last beat of a PASS, a NORM, a LOAD or a DROP.
    Throughput: one beat per cycle, of tiles ``tile_beats``; of a LOAD one write, of an IMAGE one piece.
    Back-pressure: ``dispatch`` waits until the instruction before has taken its last beat.

    Parameters
    ----------
    config : MachineConfig
        all sizes of beats, words and memories

    Members
    -------
    dispatch : In(stream.Signature(dispatch_layout()))
        every instruction; the loader uses those that take beats, and a PASS whose tiles are keys or values
    finished : In(16)
        number of finished instructions
    beats : In(NextBeats(config))
        from the prefetch FIFO
    kv : Out(MemoryRead(kv_words, n_lanes x s8))
        reads of the key and value memory
    load : Out(Flow(load_layout(config)))
        beats of the shadow tile, alone or in groups, always whole tiles
    tile_ready : Out(1)
        the shadow tile is complete, from the cycle after its last beat until it is taken
    tile_taken : In(1)
        the shadow tile becomes the active one; the next beat comes in the next cycle at the earliest
    columns : Out(stream.Signature(8 x n_lanes))
        column parameters, 4 beats per n-tile
    gain : Out(stream.Signature(8 x n_lanes))
        ``k_tiles x word_beats`` beats per NORM
    residual : Out(stream.Signature(residual_write_layout(config)))
        writes of a LOAD
    hidden : Out(stream.Signature(hidden_write_layout(config)))
        writes of an IMAGE
    done : Out(1)
        pulse: a LOAD or an IMAGE is finished
    dropped : Out(1)
        pulse: the last beat of a DROP is taken
    """

    latency = 1
    latency_load = 2

    def __init__(self, config: MachineConfig):
        if not isinstance(config, MachineConfig):
            raise TypeError(f"config must be a MachineConfig, not {config!r}")
        self._config = config
        beat = stream.Signature(8 * config.beat_bytes)
        super().__init__({
            "dispatch": In(stream.Signature(dispatch_layout())),
            "finished": In(SEQUENCE_BITS),
            "beats": In(NextBeats(config)),
            "kv": Out(MemoryRead(config.kv_words, data.ArrayLayout(signed(8), config.n_lanes))),
            "load": Out(Flow(load_layout(config))),
            "tile_ready": Out(1),
            "tile_taken": In(1),
            "columns": Out(beat),
            "gain": Out(beat),
            "residual": Out(stream.Signature(residual_write_layout(config))),
            "hidden": Out(stream.Signature(hidden_write_layout(config))),
            "done": Out(1),
            "dropped": Out(1),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.tiles = tiles = TileLoader(self._config)
        m.submodules.words = words = WordLoader(self._config)
        m.submodules.image = image = ImageLoader(self._config)
        for name in ("kv", "load", "columns"):
            connect(m, getattr(tiles, name), flipped(getattr(self, name)))
        connect(m, words.residual, flipped(self.residual))
        connect(m, image.hidden, flipped(self.hidden))
        m.d.comb += [
            self.tile_ready.eq(tiles.tile_ready),
            tiles.tile_taken.eq(self.tile_taken),
            self.done.eq(words.done | image.done),
        ]
        for unit in (tiles, words, image):
            m.d.comb += [unit.beats.payload.eq(self.beats.payload), unit.beats.available.eq(self.beats.available)]
        gain_active, drop_active = Signal(), Signal()
        idle = ~(tiles.busy | words.busy | image.busy | gain_active | drop_active)
        accept = self._dispatch(m, idle, {Opcode.PASS: tiles, Opcode.LOAD: words, Opcode.IMAGE: image})
        gain_taken = self._gain(m, accept, gain_active)
        drop = self._drop(m, accept, drop_active)
        m.d.comb += self.beats.taken.eq(tiles.beats.taken | words.beats.taken | image.beats.taken | gain_taken
                                        | Mux(drop, self._config.bus_beats, 0))
        return m

    def _dispatch(self, m: Module, idle: Value, units: dict) -> Value:
        """Takes one instruction after the other. ``allowed``, once true, stays true up to the next instruction."""
        instruction = self.dispatch.payload.instruction
        accept, allowed = self.dispatch.valid & self.dispatch.ready, Signal()
        sequence, overlap = Signal(SEQUENCE_BITS), Signal.like(instruction.overlap)
        m.d.comb += self.dispatch.ready.eq(idle)
        m.d.sync += allowed.eq(~accept & (allowed | ((sequence - self.finished)[:SEQUENCE_BITS] <= overlap)))
        with m.If(accept):
            m.d.sync += [sequence.eq(self.dispatch.payload.sequence), overlap.eq(instruction.overlap)]
        for opcode, unit in units.items():
            m.d.comb += [
                unit.begin.eq(accept & (instruction.opcode == opcode)),
                unit.instruction.eq(instruction),
                unit.allowed.eq(allowed),
            ]
        return accept

    def _gain(self, m: Module, accept: Value, active: Signal) -> Value:
        """The gain of a NORM; returns whether it takes a beat."""
        instruction, left = self.dispatch.payload.instruction, Signal(13)  # beats
        m.d.comb += [
            self.gain.payload.eq(self.beats.payload[0]),
            self.gain.valid.eq(self.beats.available[0] & active),
        ]
        taken = self.gain.valid & self.gain.ready
        with m.If(accept & (instruction.opcode == Opcode.NORM)):
            m.d.sync += [active.eq(1), left.eq(instruction.k_tiles * self._config.word_beats)]
        with m.Elif(taken):
            m.d.sync += [active.eq(left != 1), left.eq(left - 1)]
        return taken

    def _drop(self, m: Module, accept: Value, active: Signal) -> Signal:
        """The beats of a DROP; returns whether it takes a bus beat."""
        instruction, drop = self.dispatch.payload.instruction, Signal()
        left = Signal.like(instruction.region_beats)  # bus beats
        m.d.comb += [
            drop.eq(active & self.beats.available[self._config.bus_beats - 1]),
            self.dropped.eq(drop & (left == 1)),
        ]
        with m.If(accept & (instruction.opcode == DROP)):
            m.d.sync += [active.eq(1), left.eq(instruction.region_beats)]
        with m.Elif(drop):
            m.d.sync += [active.eq(~self.dropped), left.eq(left - 1)]
        return drop
