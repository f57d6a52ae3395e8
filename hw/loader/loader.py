# SPDX-License-Identifier: Apache-2.0
"""The loader: gives every beat of the weight stream its place."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from moevit.spec.arrays import MachineConfig
from moevit.spec.isa import Opcode

from ..interfaces import DROP, SEQUENCE_BITS, Flow, MemoryRead, NextBeats, dispatch_layout, load_layout
from .image import Image, hidden_write_layout
from .tiles import Tiles
from .words import Words, residual_write_layout

__all__ = ["Loader"]


class Loader(wiring.Component):
    """Brings what instructions take from the memory bus to where it is used, in program order.

    PASS: column parameters and tiles (the latter also from the key and value memory), see ``Tiles``. NORM: the gain.
    LOAD: rows into the residual memory. IMAGE: patches into the hidden memory. DROP: nowhere. It runs ahead of the row
    reader as far as the receivers let it; only what depends on earlier instructions (tiles from the key and value
    memory, writes of LOAD and IMAGE) waits until ``(sequence - finished) mod 2^16 <= overlap``.

    One beat a cycle, for tiles ``tile_beats``, for LOAD a word, for IMAGE up to a word of a patch's line; two idle
    cycles between instructions.

    Parameters
    ----------
    config : the machine's configuration

    Members
    -------
    dispatch : stream of instructions, all of them; those that load nothing are skipped
    finished : number of finished instructions
    beats : the weight stream
    kv : reads of the key and value memory
    load : beats of the shadow tile, alone or in groups, whole tiles
    tile_ready : the shadow tile is complete, from the cycle after its last beat until it is taken
    tile_taken : it is being swapped; the next beat comes in the next cycle at the earliest
    columns : column parameters, four beats per n-tile
    gain : ``k_tiles x word_beats`` beats per NORM
    residual, hidden : streams of writes
    done : a LOAD or an IMAGE is finished, one pulse
    dropped : the last beat of a DROP is taken, one pulse
    """

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
        m.submodules.tiles = tiles = Tiles(self._config)
        m.submodules.words = words = Words(self._config)
        m.submodules.image = image = Image(self._config)
        for name in ("kv", "load", "columns"):
            connect(m, getattr(tiles, name), flipped(getattr(self, name)))
        connect(m, words.residual, flipped(self.residual))
        connect(m, image.hidden, flipped(self.hidden))
        m.d.comb += [
            self.tile_ready.eq(tiles.tile_ready),
            tiles.tile_taken.eq(self.tile_taken),
            self.done.eq(words.done | image.done),
        ]

        # One instruction at a time; `allowed` stays once it is true.
        instruction = self.dispatch.payload.instruction
        gaining, gain_left = Signal(), Signal(13)  # beats
        dropping, drop_left = Signal(), Signal.like(instruction.region_beats)
        idle, allowed = Signal(), Signal()
        sequence, overlap = Signal(SEQUENCE_BITS), Signal.like(instruction.overlap)
        m.d.comb += idle.eq(~(tiles.busy | words.busy | image.busy | gaining | dropping))
        m.d.comb += self.dispatch.ready.eq(idle)
        taken = self.dispatch.valid & idle
        m.d.sync += allowed.eq(~taken & (allowed | ((sequence - self.finished)[:SEQUENCE_BITS] <= overlap)))
        with m.If(taken):
            m.d.sync += [sequence.eq(self.dispatch.payload.sequence), overlap.eq(instruction.overlap)]
        for unit, opcode in ((tiles, Opcode.PASS), (words, Opcode.LOAD), (image, Opcode.IMAGE)):
            m.d.comb += [
                unit.begin.eq(taken & (instruction.opcode == opcode)),
                unit.instruction.eq(instruction),
                unit.allowed.eq(allowed),
            ]

        bus_beats = self._config.bus_beats
        for unit in (tiles, words, image):
            m.d.comb += [unit.beats.payload.eq(self.beats.payload), unit.beats.available.eq(self.beats.available)]
        m.d.comb += [
            self.gain.payload.eq(self.beats.payload[0]),
            self.gain.valid.eq(self.beats.available[0] & gaining),
        ]
        gained = self.gain.valid & self.gain.ready
        with m.If(taken & (instruction.opcode == Opcode.NORM)):
            m.d.sync += [gaining.eq(1), gain_left.eq(instruction.k_tiles * self._config.word_beats)]
        with m.Elif(gained):
            m.d.sync += [gaining.eq(gain_left != 1), gain_left.eq(gain_left - 1)]
        drop = Signal()  # a beat of the bus
        m.d.comb += [
            drop.eq(dropping & self.beats.available[bus_beats - 1]),
            self.dropped.eq(drop & (drop_left == 1)),
        ]
        with m.If(taken & (instruction.opcode == DROP)):
            m.d.sync += [dropping.eq(1), drop_left.eq(instruction.region_beats)]
        with m.Elif(drop):
            m.d.sync += [dropping.eq(~self.dropped), drop_left.eq(drop_left - 1)]
        m.d.comb += self.beats.taken.eq(tiles.beats.taken | words.beats.taken | image.beats.taken | gained
                                        | Mux(drop, bus_beats, 0))
        return m
