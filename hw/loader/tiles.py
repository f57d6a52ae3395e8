# SPDX-License-Identifier: Apache-2.0
"""Column parameters and tiles of a PASS, from the memory bus or from the key and value memory."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from moevit.spec.arrays import MachineConfig
from moevit.spec.isa import WeightSource

from ..interfaces import Flow, MemoryRead, NextBeats, instruction_layout, load_layout, swept_tiles

__all__ = ["COLUMN_BEATS", "Tiles"]

#: Beats of column parameters per n-tile: n_lanes x {scale u16, bias s16} in beats of n_lanes bytes.
COLUMN_BEATS = 4
_KV_ADDRESS_BITS = 20


class Tiles(wiring.Component):
    """Walks the n-tiles of a PASS: column parameters (unless constant) to ``columns``, then its tiles to ``load``.

    Tiles come from ``beats``, in groups of ``tile_beats``, or, once ``allowed``, beat by beat from the key and value
    memory: ``kv_base + n x kv_n_stride + k x kv_k_stride + i``. A group is taken when its last beat is there, which is
    when a tile is complete in any case. Column parameters are one beat a cycle. The next tile's first beats wait in a
    register while the shadow tile is full and are presented in the cycle after ``tile_taken``: a tile takes
    ``k_lanes / tile_beats + 1`` cycles from the stream, ``k_lanes + 1`` from the memory.

    Members
    -------
    begin : take ``instruction`` (a PASS); only while not ``busy``
    allowed : the key and value memory may be read
    busy : not all beats of the PASS have been taken; its last ones may still be on their way to ``load``
    beats : the weight stream
    columns : stream of n_lanes bytes
    kv : reads of the key and value memory
    load, tile_ready, tile_taken : the shadow tile
    """

    def __init__(self, config: MachineConfig):
        self._config = config
        super().__init__({
            "begin": In(1),
            "instruction": In(instruction_layout()),
            "allowed": In(1),
            "busy": Out(1),
            "beats": In(NextBeats(config)),
            "kv": Out(MemoryRead(config.kv_words, data.ArrayLayout(signed(8), config.n_lanes))),
            "columns": Out(stream.Signature(8 * config.beat_bytes)),
            "load": Out(Flow(load_layout(config))),
            "tile_ready": Out(1),
            "tile_taken": In(1),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        instruction = self.instruction
        k_lanes, tile_beats = self._config.k_lanes, self._config.tile_beats

        constant, from_stream, by_row, in_columns = Signal(), Signal(), Signal(), Signal()
        k_stride, n_stride = Signal(16), Signal(16)
        last_k, last_n = Signal(14), Signal(12)
        index, k, n = Signal(exact_log2(k_lanes)), Signal(14), Signal(12)
        address, tile_base, n_base = (Signal(_KV_ADDRESS_BITS, name=name)
                                      for name in ("address", "tile_base", "n_base"))
        with m.If(self.begin):
            m.d.sync += [
                self.busy.eq(1),
                constant.eq(instruction.constant),
                in_columns.eq(~instruction.constant),
                from_stream.eq(instruction.weights == WeightSource.BUS),
                by_row.eq(instruction.weights == WeightSource.VALUES),
                k_stride.eq(instruction.kv_k_stride),
                n_stride.eq(instruction.kv_n_stride),
                last_k.eq(swept_tiles(self._config, instruction) - 1),
                last_n.eq(instruction.n_tiles - 1),
                *(base.eq(instruction.kv_base) for base in (address, tile_base, n_base)),
            ]

        # Stage 1: take a beat or a group from the stream, or read a beat.
        held_valid, present = Signal(), Signal()
        issue, column = Signal(), Signal()
        free = ~held_valid | present
        m.d.comb += [
            self.columns.payload.eq(self.beats.payload[0]),
            self.columns.valid.eq(self.busy & in_columns & self.beats.available[0]),
            column.eq(self.columns.valid & self.columns.ready),
            issue.eq(self.busy & ~in_columns & free & Mux(from_stream, self.beats.available[-1], self.allowed)),
            self.beats.taken.eq(Mux(issue & from_stream, tile_beats, column)),
            self.kv.enable.eq(issue & ~from_stream),
            self.kv.address.eq(address),
        ]
        low, high = index[:exact_log2(tile_beats)], index[exact_log2(tile_beats):]
        end_of_columns, end_of_tile, end_of_sum, end = Signal(), Signal(), Signal(), Signal()
        # What follows a tile is known a cycle after the tile before it has ended: it takes four cycles or more.
        at_last_k, at_last_n, next_base = Signal(), Signal(), Signal(_KV_ADDRESS_BITS)
        m.d.sync += [
            at_last_k.eq(k == last_k),
            at_last_n.eq(n == last_n),
            next_base.eq(Mux(k == last_k, n_base, tile_base) + Mux(k == last_k, n_stride, k_stride)),
        ]
        m.d.comb += [
            end_of_columns.eq(column & (index == COLUMN_BEATS - 1)),
            end_of_tile.eq(issue & high.all() & (from_stream | low.all())),
            end_of_sum.eq(end_of_tile & at_last_k),
            end.eq(end_of_sum & at_last_n),
        ]
        with m.If(column):
            m.d.sync += index.eq(index + 1)
        with m.If(end_of_columns):
            m.d.sync += [index.eq(0), in_columns.eq(0)]
        with m.If(issue):  # at the end of a tile the index wraps
            m.d.sync += [index.eq(index + Mux(from_stream, tile_beats, 1)), address.eq(address + 1)]
        with m.If(end_of_tile):
            m.d.sync += k.eq(Mux(end_of_sum, 0, k + 1))
            m.d.sync += [address.eq(next_base), tile_base.eq(next_base)]
        with m.If(end_of_sum):
            m.d.sync += [in_columns.eq(~constant), n_base.eq(next_base), n.eq(Mux(end, 0, n + 1))]
        with m.If(end):
            m.d.sync += self.busy.eq(0)

        # Stage 2: hold it until the shadow tile is free.
        held = Signal(load_layout(self._config))
        held_last = Signal()
        with m.If(issue):
            m.d.sync += [
                held_valid.eq(1),
                held.by_row.eq(by_row),
                held.whole.eq(from_stream),
                held.index.eq(index),
                held.data.as_value().eq(self.beats.payload.as_value()),
                held_last.eq(end_of_tile),
            ]
        with m.Elif(present):
            m.d.sync += held_valid.eq(0)
        m.d.comb += [
            present.eq(held_valid & ~self.tile_ready),
            self.load.valid.eq(present),
            self.load.payload.eq(held),
        ]
        with m.If(~held.whole):
            m.d.comb += [part.eq(self.kv.data) for part in self.load.payload.data]
        with m.If(present & held_last):
            m.d.sync += self.tile_ready.eq(1)
        with m.Elif(self.tile_taken):
            m.d.sync += self.tile_ready.eq(0)
        return m
