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
    that patch; pixels are zero-extended. A cycle takes as many chunks as belong to one patch and one word and are in
    the same beat; what follows the last chunk in its beat is dropped. ``rows`` is a multiple of ``patches_x``.

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

        segment, last_x, last_y = (Signal(8, name=name) for name in ("segment", "last_x", "last_y"))
        patches_x, left = Signal(8), Signal(12)  # left: rows of this band and the bands below
        stride = Signal(16)
        in_segment, x, y = (Signal(8, name=name) for name in ("in_segment", "x", "y"))  # in_segment: chunks left of it
        chunk, line = Signal(16), Signal(16)  # within the row; where this line starts
        row_base, band_base = Signal.like(self.hidden.payload.address), Signal.like(self.hidden.payload.address)
        ended = Signal()  # all chunks are taken
        m.d.sync += self.done.eq(0)
        with m.If(self.begin):
            m.d.sync += [
                self.busy.eq(1),
                ended.eq(0),
                segment.eq(instruction.segment),
                in_segment.eq(instruction.segment),
                patches_x.eq(instruction.patches_x),
                last_x.eq(instruction.patches_x - 1),
                last_y.eq(instruction.patch - 1),
                left.eq(instruction.rows),
                stride.eq(instruction.destination_stride),
                row_base.eq(instruction.destination_base),
                band_base.eq(instruction.destination_base),
            ]

        # Stage 1: where do the chunks belong, and how many of them together.
        take, end_s, end_x, end_y, end = Signal(), Signal(), Signal(), Signal(), Signal()
        # Of the next chunk, in its beat and its word.
        part, offset = Signal(range(max(parts, 2)), name="part"), chunk[:exact_log2(groups)]
        room, count = Signal(range(min(groups, parts) + 1)), Signal(range(min(groups, parts) + 1))
        free = ~self.hidden.valid | self.hidden.ready
        m.d.comb += [
            take.eq(self.busy & ~ended & self.allowed & self.beats.valid & free),
            room.eq(Mux(groups - offset < parts - part, groups - offset, parts - part)),
            end_s.eq(in_segment <= room),
            count.eq(Mux(end_s, in_segment, room)),
            end_x.eq(end_s & (x == last_x)),
            end_y.eq(end_x & (y == last_y)),
            end.eq(end_y & (left <= patches_x)),
        ]
        with m.If(take):
            m.d.sync += [in_segment.eq(in_segment - count), chunk.eq(chunk + count)]
            m.d.sync += part.eq((part + count) & (parts - 1))
            with m.If(end_s):
                m.d.sync += [in_segment.eq(segment), chunk.eq(line), x.eq(x + 1), row_base.eq(row_base + stride)]
            with m.If(end_x):
                m.d.sync += [x.eq(0), y.eq(y + 1), row_base.eq(band_base), line.eq(line + segment),
                             chunk.eq(line + segment)]
            with m.If(end_y):
                m.d.sync += [y.eq(0), line.eq(0), chunk.eq(0), left.eq(left - patches_x),
                             band_base.eq(row_base + stride), row_base.eq(row_base + stride)]
            with m.If(end):
                m.d.sync += ended.eq(1)
        drop = self.busy & ended & (part != 0)
        with m.If(drop):
            m.d.sync += part.eq(0)
        m.d.comb += self.beats.ready.eq((take & (part + count == parts)) | drop)

        # Stage 2: write.
        with m.If(take):
            m.d.sync += self.hidden.valid.eq(1)
            m.d.sync += self.hidden.payload.address.eq(row_base + (chunk >> exact_log2(groups)))
            m.d.sync += self.hidden.payload.enable.eq(((1 << count) - 1) << offset)
            for group in range(groups):
                pixels = self.beats.payload.word_select((part + group - offset)[:exact_log2(parts)], 8 * CHUNK)
                m.d.sync += [self.hidden.payload.data[group * CHUNK + lane].eq(pixels.word_select(lane, 8))
                             for lane in range(CHUNK)]
        with m.Elif(self.hidden.ready):
            m.d.sync += self.hidden.valid.eq(0)
        with m.If(self.busy & ended & ~self.hidden.valid & ~drop):
            m.d.sync += [self.busy.eq(0), self.done.eq(1)]
        return m
