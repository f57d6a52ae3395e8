# SPDX-License-Identifier: Apache-2.0
"""IMAGE: the raw image into the hidden memory, one row per patch."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2, exact_log2

from moevit.spec.arrays import MachineConfig

from ..interfaces import NextBeats, instruction_layout, word_layout

__all__ = ["CHUNK", "Image", "hidden_write_layout"]

#: Bytes that are put in place per cycle; a patch's pixel row is a whole number of them.
CHUNK = 8


def hidden_write_layout(config: MachineConfig) -> data.StructLayout:
    """A write of some lanes, when the memory has time for it: each part of a word has an address of its own.

    ``enable`` has one bit per 8 lanes.
    """
    return data.StructLayout({
        "address": data.ArrayLayout(ceil_log2(config.hidden_words), config.hidden_parts),
        "enable": config.k_lanes // CHUNK,
        "data": word_layout(config),
    })


class Image(wiring.Component):
    """Takes a raw HxWx3 u8 image line by line and puts each chunk of 8 bytes into the row of its patch.

    Chunk ``s`` of patch column ``x`` in line ``y`` of a band of patches is chunk ``y x segment + s`` of the row of that
    patch; pixels are zero-extended. A cycle takes a piece: as many chunks of one patch and line as a word holds, from
    one word into the next as long as no part of a word is written at two addresses. A piece may begin in one beat and
    end in the next; it waits until all of it is there: n pieces take n + 4 cycles from ``begin`` to ``done``. What
    follows the last chunk in its bus beat is dropped; if that is two beats, one cycle more. ``rows`` is a multiple of
    ``patches_x``.

    Members
    -------
    begin : take ``instruction`` (an IMAGE); only while not ``busy``
    allowed : the memory may be written
    busy : chunks are missing, or what follows them was not dropped; falls as ``done`` comes
    beats : the weight stream; none or one is taken in a cycle, in all whole beats of the bus
    hidden : stream of writes; not ready makes the bus wait
    done : one pulse, two cycles after the last write at the earliest
    """

    def __init__(self, config: MachineConfig):
        self._config = config
        super().__init__({
            "begin": In(1),
            "instruction": In(instruction_layout()),
            "allowed": In(1),
            "busy": Out(1),
            "beats": In(NextBeats(config)),
            "hidden": Out(stream.Signature(hidden_write_layout(config))),
            "done": Out(1),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        instruction = self.instruction
        groups = self._config.k_lanes // CHUNK  # chunks of a word
        share = groups // self._config.hidden_parts  # of a part of it
        chunks = self._config.beat_bytes // CHUNK  # of a beat, no fewer than of a word

        segment, last_x, last_y = (Signal(8, name=name) for name in ("segment", "last_x", "last_y"))
        patches_x, left = Signal(8), Signal(12)  # left: rows of this band and the bands below
        stride = Signal(16)
        in_segment, x, y = (Signal(8, name=name) for name in ("in_segment", "x", "y"))  # in_segment: chunks left of it
        chunk, line = Signal(16), Signal(16)  # within the row; where this line starts
        address = Signal(ceil_log2(self._config.hidden_words))
        row_base, band_base = Signal.like(address), Signal.like(address)
        ended = Signal()  # all pieces are cut
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

        # Stage 1: cut the next piece.
        piece, count, offset = Signal(), Signal(range(groups + 1)), Signal(range(max(groups, 2)))  # offset: in its word
        move = Signal()  # the piece leaves stage 2
        cut, end_s, end_x, end_y, end = Signal(), Signal(), Signal(), Signal(), Signal()
        room, size = Signal.like(count), Signal.like(count)
        m.d.comb += [
            cut.eq(self.busy & ~ended & (~piece | move)),
            room.eq(groups - chunk[:exact_log2(share)]),
            end_s.eq(in_segment <= room),
            size.eq(Mux(end_s, in_segment, room)),
            end_x.eq(end_s & (x == last_x)),
            end_y.eq(end_x & (y == last_y)),
            end.eq(end_y & (left <= patches_x)),
        ]
        with m.If(cut):
            m.d.sync += [
                piece.eq(1),
                count.eq(size),
                offset.eq(chunk & (groups - 1)),
                address.eq(row_base + (chunk >> exact_log2(groups))),
                in_segment.eq(in_segment - size),
                chunk.eq(chunk + size),
            ]
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
        with m.Elif(move):
            m.d.sync += piece.eq(0)

        # Stage 2: take it from one beat or two, turned to where it belongs.
        part = Signal(range(max(chunks, 2)))  # of the beat: the next chunk
        odd = Signal()  # it is the second beat in a bus beat
        until = Signal(range(2 * chunks))
        over, drop = Signal(), Signal()
        free = ~self.hidden.valid | self.hidden.ready
        there = self.beats.available[0]
        m.d.comb += [
            until.eq(part + count),
            move.eq(piece & self.allowed & free & Mux(until > chunks, self.beats.available[1], there)),
            over.eq(self.busy & ended & ~piece),
            drop.eq(over & there & (part.any() | odd)),
            self.beats.taken.eq(drop | move & (until >= chunks)),
        ]
        with m.If(drop):
            m.d.sync += part.eq(0)
        with m.Elif(move):
            m.d.sync += part.eq(until & (chunks - 1))
        if self._config.bus_beats == 2:
            m.d.sync += odd.eq(odd ^ self.beats.taken[0])
        window = [Mux(part > index, later, earlier) for index, (earlier, later) in enumerate(
            zip(_chunks(self.beats.payload[0]), _chunks(self.beats.payload[1]), strict=True))]
        with m.If(move):
            m.d.sync += self.hidden.valid.eq(1)
            m.d.sync += [each.eq(address + (offset >= (index + 1) * share))
                         for index, each in enumerate(self.hidden.payload.address)]
            for group in range(groups):
                behind = (group - offset)[:exact_log2(groups)]  # so many chunks behind the piece's first one
                pixels = Cat(window).word_select((part + behind)[:exact_log2(chunks)], 8 * CHUNK)
                m.d.sync += self.hidden.payload.enable[group].eq(behind < count)
                m.d.sync += [self.hidden.payload.data[group * CHUNK + lane].eq(pixels.word_select(lane, 8))
                             for lane in range(CHUNK)]
        with m.Elif(self.hidden.ready):
            m.d.sync += self.hidden.valid.eq(0)
        with m.If(over & ~self.hidden.valid & ~part.any() & ~odd):
            m.d.sync += [self.busy.eq(0), self.done.eq(1)]
        return m


def _chunks(beat: Value) -> list[Value]:
    return [beat[bit:bit + 8 * CHUNK] for bit in range(0, len(beat), 8 * CHUNK)]
