# SPDX-License-Identifier: Apache-2.0
"""IMAGE: the raw image into the hidden memory, one row per patch."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2, exact_log2

from moevit.spec.arrays import MachineConfig

from ..interfaces import instruction_layout, word_layout

__all__ = ["CHUNK", "Image", "hidden_write_layout"]

#: Bytes that are put in place per cycle; a patch's pixel row is a whole number of them.
CHUNK = 8


def hidden_write_layout(config: MachineConfig) -> data.StructLayout:
    """A write of some lanes, when the memory has time for it; ``enable`` has one bit per 8 lanes."""
    return data.StructLayout({
        "address": ceil_log2(config.hidden_words),
        "enable": config.k_lanes // CHUNK,
        "data": word_layout(config),
    })


class Image(wiring.Component):
    """Takes a raw HxWx3 u8 image line by line and puts each chunk of 8 bytes into the row of its patch.

    Chunk ``s`` of patch column ``x`` in line ``y`` of a band of patches is chunk ``y x segment + s`` of the row of
    that patch; pixels are zero-extended. One chunk a cycle, or two if ``segment`` is even and both the bus and the
    words hold two; what follows the last chunk in its beat is dropped. ``rows`` is a multiple of ``patches_x``.

    Members
    -------
    begin : take ``instruction`` (an IMAGE); only while not ``busy``
    allowed : the memory may be written
    busy : chunks are missing; falls with the cycle after the last write
    beats : beats of the memory bus
    hidden : stream of writes; not ready makes the bus wait
    done : one pulse, the last chunk is written
    """

    def __init__(self, config: MachineConfig):
        self._config = config
        super().__init__({
            "begin": In(1),
            "instruction": In(instruction_layout()),
            "allowed": In(1),
            "busy": Out(1),
            "beats": In(stream.Signature(8 * config.bus_bytes)),
            "hidden": Out(stream.Signature(hidden_write_layout(config))),
            "done": Out(1),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        instruction = self.instruction
        groups = self._config.k_lanes // CHUNK
        parts = self._config.bus_bytes // CHUNK

        segment, last_segment, last_x, last_y = (Signal(8, name=name) for name in ("segment", "last_segment", "last_x",
                                                                                   "last_y"))
        patches_x, left = Signal(8), Signal(12)  # left: rows of this band and the bands below
        pair = Signal()  # two chunks a cycle; chunks are counted by twos then
        stride = Signal(16)
        s, x, y = (Signal(8, name=name) for name in "sxy")
        chunk, line = Signal(16), Signal(16)  # within the row; where this line starts
        row_base, band_base = Signal.like(self.hidden.payload.address), Signal.like(self.hidden.payload.address)
        ended = Signal()  # all chunks are taken
        both = C(0, 1) if groups == 1 else ~instruction.segment[0]
        m.d.sync += self.done.eq(0)
        with m.If(self.begin):
            m.d.sync += [
                self.busy.eq(1),
                ended.eq(0),
                segment.eq(instruction.segment),
                pair.eq(both),
                last_segment.eq(instruction.segment - 1 - both),
                patches_x.eq(instruction.patches_x),
                last_x.eq(instruction.patches_x - 1),
                last_y.eq(instruction.patch - 1),
                left.eq(instruction.rows),
                stride.eq(instruction.destination_stride),
                row_base.eq(instruction.destination_base),
                band_base.eq(instruction.destination_base),
            ]

        # Stage 1: where does the chunk belong.
        take, end_s, end_x, end_y, end = Signal(), Signal(), Signal(), Signal(), Signal()
        free = ~self.hidden.valid | self.hidden.ready
        m.d.comb += [
            take.eq(self.busy & ~ended & self.allowed & self.beats.valid & free),
            end_s.eq(s == last_segment),
            end_x.eq(end_s & (x == last_x)),
            end_y.eq(end_x & (y == last_y)),
            end.eq(end_y & (left <= patches_x)),
        ]
        with m.If(take):
            m.d.sync += [s.eq(s + 1 + pair), chunk.eq(chunk + 1 + pair)]
            with m.If(end_s):
                m.d.sync += [s.eq(0), chunk.eq(line), x.eq(x + 1), row_base.eq(row_base + stride)]
            with m.If(end_x):
                m.d.sync += [x.eq(0), y.eq(y + 1), row_base.eq(band_base), line.eq(line + segment),
                             chunk.eq(line + segment)]
            with m.If(end_y):
                m.d.sync += [y.eq(0), line.eq(0), chunk.eq(0), left.eq(left - patches_x),
                             band_base.eq(row_base + stride), row_base.eq(row_base + stride)]
            with m.If(end):
                m.d.sync += ended.eq(1)

        pixels, odd, drop = self.beats.payload, C(0, 1), C(0, 1)
        if parts > 1:
            part, last_part = Signal(exact_log2(parts)), Signal()
            drop = self.busy & ended & (part != 0)
            m.d.comb += last_part.eq(part + pair == parts - 1)
            m.d.comb += self.beats.ready.eq((take & last_part) | drop)
            with m.If(take):
                m.d.sync += part.eq(part + 1 + pair)
            with m.Elif(drop):
                m.d.sync += part.eq(0)
            pixels, odd = pixels.word_select(part[1:], 16 * CHUNK), part[0]
        else:
            m.d.comb += self.beats.ready.eq(take)
        chunks = pixels[:8 * CHUNK], pixels[-8 * CHUNK:]

        # Stage 2: write.
        with m.If(take):
            m.d.sync += self.hidden.valid.eq(1)
            m.d.sync += self.hidden.payload.address.eq(row_base + (chunk >> exact_log2(groups)))
            m.d.sync += self.hidden.payload.enable.eq(Cat(1, pair) << chunk[:exact_log2(groups)])
            for lane in range(self._config.k_lanes):
                # Even groups of lanes get the first chunk of a pair, odd ones the second; or all the one there is.
                second = Mux(pair, lane // CHUNK % 2, odd)
                first, other = (each.word_select(lane % CHUNK, 8) for each in chunks)
                m.d.sync += self.hidden.payload.data[lane].eq(Mux(second, other, first))
        with m.Elif(self.hidden.ready):
            m.d.sync += self.hidden.valid.eq(0)
        with m.If(self.busy & ended & ~self.hidden.valid & ~drop):
            m.d.sync += [self.busy.eq(0), self.done.eq(1)]
        return m
