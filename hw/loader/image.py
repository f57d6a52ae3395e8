# SPDX-License-Identifier: Apache-2.0
"""IMAGE: the raw image into the hidden memory, one row per patch."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2, exact_log2

from moevit.spec.arrays import MachineConfig

from ..interfaces import NextBeats
from ..layouts import instruction_layout
from ..plumbing.memories import CHUNK, hidden_write_layout

__all__ = ["ImageLoader"]


class _Place:
    """The place of the next piece in the image and in the hidden memory, in chunks of 8 bytes."""

    def __init__(self, config: MachineConfig):
        self.segment, self.last_x, self.last_y = (Signal(8, name=name) for name in ("segment", "last_x", "last_y"))
        self.patches_x, self.stride = Signal(8), Signal(16)
        self.rows_left = Signal(12)  # of this band of patches and the bands below it
        #: What is left of the patch's line; the patch's column; the line within the band.
        self.segment_left, self.x, self.y = (Signal(8, name=name) for name in ("segment_left", "x", "y"))
        #: The next chunk of the patch's row; the chunk of the row with which the line begins.
        self.chunk, self.line_start = Signal(16), Signal(16)
        #: Addresses of the rows of this patch and of the band's first patch.
        self.row_base, self.band_base = (Signal(ceil_log2(config.hidden_words), name=name)
                                         for name in ("row_base", "band_base"))
        self.ended = Signal()  # no piece is left


class _Piece:
    """Consecutive chunks of one patch and one line that are written in one cycle."""

    def __init__(self, config: MachineConfig):
        groups = config.k_lanes // CHUNK
        self.valid, self.count = Signal(name="piece"), Signal(range(groups + 1))
        self.offset = Signal(range(max(groups, 2)))  # of its first chunk in the word
        self.address = Signal(ceil_log2(config.hidden_words))
        self.move = Signal()  # it leaves stage 2


class ImageLoader(wiring.Component):
    """Takes a raw HxWx3 u8 image line by line, and writes each chunk of 8 bytes into the row of its patch.

    Chunk ``s`` of patch column ``x`` in line ``y`` of a band of patches is chunk ``y x segment + s`` of the row of that
    patch. Pixels are zero-extended. A piece is written in one cycle: as many chunks of one patch and line as a word
    holds. A piece may go on in the next word as long as no part of a word is written at two addresses, and it may begin
    in one beat and end in the next. ``rows`` is a multiple of ``patches_x``. The rest of the last bus beat is dropped.

    Latency: n pieces take n + 4 cycles from ``begin`` to ``done`` (`latency` is 4), one more if the dropped rest is two
    beats.
    Throughput: one piece per cycle.
    Back-pressure: a piece waits until all its beats are there, for ``allowed`` and for ``hidden``.

    Parameters
    ----------
    config : MachineConfig
        ``k_lanes``, ``hidden_parts``, ``bus_beats``

    Members
    -------
    begin : In(1)
        take ``instruction``, an IMAGE; only while not ``busy``
    instruction : In(instruction_layout())
        in the cycle of ``begin``
    allowed : In(1)
        the memory may be written
    busy : Out(1)
        chunks are missing, or the rest of the last bus beat is not dropped; falls as ``done`` comes
    beats : In(NextBeats(config))
        one or none is taken in a cycle, in all whole bus beats
    hidden : Out(stream.Signature(hidden_write_layout(config)))
        writes
    done : Out(1)
        pulse: all is written; two cycles after the last write at the earliest
    """

    latency = 4

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
        place, piece = _Place(self._config), _Piece(self._config)
        part, second = Signal(range(max(self._chunks, 2))), Signal()
        m.d.sync += self.done.eq(0)
        with m.If(self.begin):
            self._start(m, place)
        self._cut(m, place, piece)
        over = self._take(m, place, piece, part, second)
        self._write(m, piece, part)
        with m.If(over & ~self.hidden.valid & ~part.any() & ~second):
            m.d.sync += [self.busy.eq(0), self.done.eq(1)]
        return m

    @property
    def _groups(self) -> int:
        """Chunks of a word."""
        return self._config.k_lanes // CHUNK

    @property
    def _chunks(self) -> int:
        """Chunks of a beat, at least as many as of a word."""
        return self._config.beat_bytes // CHUNK

    def _start(self, m: Module, place: _Place) -> None:
        """The first piece of an instruction."""
        instruction = self.instruction
        m.d.sync += [
            self.busy.eq(1),
            place.ended.eq(0),
            place.segment.eq(instruction.segment),
            place.segment_left.eq(instruction.segment),
            place.patches_x.eq(instruction.patches_x),
            place.last_x.eq(instruction.patches_x - 1),
            place.last_y.eq(instruction.patch - 1),
            place.rows_left.eq(instruction.rows),
            place.stride.eq(instruction.destination_stride),
            place.row_base.eq(instruction.destination_base),
            place.band_base.eq(instruction.destination_base),
        ]

    def _cut(self, m: Module, place: _Place, piece: _Piece) -> None:
        """Stage 1: the next piece."""
        groups = self._groups
        share = groups // self._config.hidden_parts  # chunks of a part of a word
        cut, end_s, end_x, end_y = (Signal(name=name) for name in ("cut", "end_s", "end_x", "end_y"))
        end, room, size = Signal(), Signal.like(piece.count), Signal.like(piece.count)
        m.d.comb += [
            cut.eq(self.busy & ~place.ended & (~piece.valid | piece.move)),
            room.eq(groups - place.chunk[:exact_log2(share)]),
            end_s.eq(place.segment_left <= room),
            size.eq(Mux(end_s, place.segment_left, room)),
            end_x.eq(end_s & (place.x == place.last_x)),
            end_y.eq(end_x & (place.y == place.last_y)),
            end.eq(end_y & (place.rows_left <= place.patches_x)),
        ]
        with m.If(cut):
            m.d.sync += [
                piece.valid.eq(1),
                piece.count.eq(size),
                piece.offset.eq(place.chunk & (groups - 1)),
                piece.address.eq(place.row_base + (place.chunk >> exact_log2(groups))),
                place.segment_left.eq(place.segment_left - size),
                place.chunk.eq(place.chunk + size),
            ]
            self._advance(m, place, end_s, end_x, end_y)
            with m.If(end):
                m.d.sync += place.ended.eq(1)
        with m.Elif(piece.move):
            m.d.sync += piece.valid.eq(0)

    def _advance(self, m: Module, place: _Place, end_s: Signal, end_x: Signal, end_y: Signal) -> None:
        """The place after a piece that ends the patch's line, the image's line, the band."""
        next_line, next_row = place.line_start + place.segment, place.row_base + place.stride
        with m.If(end_s):
            m.d.sync += [place.segment_left.eq(place.segment), place.chunk.eq(place.line_start),
                         place.x.eq(place.x + 1), place.row_base.eq(next_row)]
        with m.If(end_x):
            m.d.sync += [place.x.eq(0), place.y.eq(place.y + 1), place.row_base.eq(place.band_base),
                         place.line_start.eq(next_line), place.chunk.eq(next_line)]
        with m.If(end_y):
            m.d.sync += [place.y.eq(0), place.line_start.eq(0), place.chunk.eq(0),
                         place.rows_left.eq(place.rows_left - place.patches_x),
                         place.band_base.eq(next_row), place.row_base.eq(next_row)]

    def _take(self, m: Module, place: _Place, piece: _Piece, part: Signal, second: Signal) -> Signal:
        """Stage 2: the beats of the piece; returns whether all pieces are taken.

        ``part``: the next chunk of the beat; ``second``: it is the second beat of its bus beat.
        """
        chunks, there = self._chunks, self.beats.available[0]
        after, over, drop = Signal(range(2 * chunks)), Signal(), Signal()  # after: the chunk after the piece
        free = ~self.hidden.valid | self.hidden.ready
        m.d.comb += [
            after.eq(part + piece.count),
            piece.move.eq(piece.valid & self.allowed & free & Mux(after > chunks, self.beats.available[1], there)),
            over.eq(self.busy & place.ended & ~piece.valid),
            drop.eq(over & there & (part.any() | second)),
            self.beats.taken.eq(drop | piece.move & (after >= chunks)),
        ]
        with m.If(drop):
            m.d.sync += part.eq(0)
        with m.Elif(piece.move):
            m.d.sync += part.eq(after & (chunks - 1))
        if self._config.bus_beats == 2:
            m.d.sync += second.eq(second ^ self.beats.taken[0])
        return over

    def _write(self, m: Module, piece: _Piece, part: Signal) -> None:
        """Stage 3: the piece's chunks, turned to their lanes; two addresses if it goes on in the next word."""
        groups, chunks, hidden = self._groups, self._chunks, self.hidden.payload
        share = groups // self._config.hidden_parts
        window = [Mux(part > index, later, earlier) for index, (earlier, later) in enumerate(
            zip(_chunks(self.beats.payload[0]), _chunks(self.beats.payload[1]), strict=True))]
        with m.If(piece.move):
            m.d.sync += self.hidden.valid.eq(1)
            m.d.sync += [each.eq(piece.address + (piece.offset >= (index + 1) * share))
                         for index, each in enumerate(hidden.address)]
            for group in range(groups):
                distance = (group - piece.offset)[:exact_log2(groups)]  # from the piece's first chunk
                pixels = Cat(window).word_select((part + distance)[:exact_log2(chunks)], 8 * CHUNK)
                m.d.sync += hidden.enable[group].eq(distance < piece.count)
                m.d.sync += [hidden.data[group * CHUNK + lane].eq(pixels.word_select(lane, 8)) for lane in range(CHUNK)]
        with m.Elif(self.hidden.ready):
            m.d.sync += self.hidden.valid.eq(0)


def _chunks(beat: Value) -> list[Value]:
    return [beat[bit:bit + 8 * CHUNK] for bit in range(0, len(beat), 8 * CHUNK)]
