# SPDX-License-Identifier: Apache-2.0
"""Column parameters and tiles of a PASS, from the memory bus or from the key and value memory."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from moevit.spec.arrays import MachineConfig
from moevit.spec.isa import WeightSource

from ..interfaces import Flow, MemoryRead, NextBeats
from ..layouts import COLUMN_BEATS, instruction_layout, load_layout, swept_tiles

__all__ = ["TileLoader"]

_KV_ADDRESS_BITS = 20


class _Loop:
    """Registers of the loops over n-tiles, k-tiles and beats of a tile."""

    def __init__(self, config: MachineConfig):
        self.constant, self.from_bus, self.by_row = Signal(), Signal(), Signal()
        self.in_columns = Signal()  # the column parameters of the n-tile come next
        self.k_stride, self.n_stride = Signal(16), Signal(16)
        self.last_k, self.last_n = Signal(14), Signal(12)
        self.index, self.k, self.n = Signal(exact_log2(config.k_lanes)), Signal(14), Signal(12)
        self.address, self.tile_base, self.n_base = (Signal(_KV_ADDRESS_BITS, name=name)
                                                     for name in ("address", "tile_base", "n_base"))


class TileLoader(wiring.Component):
    """Loads a PASS: per n-tile its column parameters (unless ``constant``) to ``columns``, then its tiles to ``load``.

    Tiles come from ``beats`` in groups of ``tile_beats``. A group is taken when its last beat is there. Or, once
    ``allowed``, they come beat by beat from the key and value memory, beat i of tile (n, k) at
    ``kv_base + n x kv_n_stride + k x kv_k_stride + i``.

    While the shadow tile is full, the first beats of the next tile wait in a register.

    Latency: 1 cycle from ``begin`` to the first beat taken; 1 cycle from a group of beats or a read to ``load``
    (`latency`); 1 cycle from ``tile_taken`` to the next ``load``.
    Throughput: one beat of column parameters per cycle; a tile in ``k_lanes / tile_beats + 1`` cycles from the bus, in
    ``k_lanes + 1`` from the memory.
    Back-pressure: beats wait for ``columns`` and for the shadow tile.

    Parameters
    ----------
    config : MachineConfig
        ``k_lanes``, ``tile_beats``, ``gate_sweeps``

    Members
    -------
    begin : In(1)
        take ``instruction``, a PASS; only while not ``busy``
    instruction : In(instruction_layout())
        in the cycle of ``begin``
    allowed : In(1)
        the key and value memory may be read
    busy : Out(1)
        beats of the PASS are still to be taken; the last ones taken may still be on their way to ``load``
    beats : In(NextBeats(config))
        column parameters and tiles
    kv : Out(MemoryRead(kv_words, n_lanes x s8))
        reads of the key and value memory
    columns : Out(stream.Signature(8 x n_lanes))
        column parameters
    load : Out(Flow(load_layout(config)))
        beats of the shadow tile
    tile_ready : Out(1)
        the shadow tile is complete, from the cycle after its last beat until it is taken
    tile_taken : In(1)
        the shadow tile becomes the active one
    """

    latency = 1

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
        loop = _Loop(self._config)
        with m.If(self.begin):
            self._start(m, loop)
        issue, column, end_of_tile, held_valid, present = Signal(), Signal(), Signal(), Signal(), Signal()
        self._take(m, loop, issue, column, ~held_valid | present)
        self._advance(m, loop, issue, column, end_of_tile)
        self._present(m, loop, issue, end_of_tile, held_valid, present)
        return m

    def _start(self, m: Module, loop: _Loop) -> None:
        """The first beat of an instruction."""
        instruction = self.instruction
        m.d.sync += [
            self.busy.eq(1),
            loop.constant.eq(instruction.constant),
            loop.in_columns.eq(~instruction.constant),
            loop.from_bus.eq(instruction.weights == WeightSource.BUS),
            loop.by_row.eq(instruction.weights == WeightSource.VALUES),
            loop.k_stride.eq(instruction.kv_k_stride),
            loop.n_stride.eq(instruction.kv_n_stride),
            loop.last_k.eq(swept_tiles(self._config, instruction) - 1),
            loop.last_n.eq(instruction.n_tiles - 1),
            *(base.eq(instruction.kv_base) for base in (loop.address, loop.tile_base, loop.n_base)),
        ]

    def _take(self, m: Module, loop: _Loop, issue: Signal, column: Signal, free: Value) -> None:
        """Stage 1: ``column`` takes a beat of column parameters; ``issue`` takes a group of a tile, or reads a beat.

        ``free``: the register of stage 2 can take it.
        """
        m.d.comb += [
            self.columns.payload.eq(self.beats.payload[0]),
            self.columns.valid.eq(self.busy & loop.in_columns & self.beats.available[0]),
            column.eq(self.columns.valid & self.columns.ready),
            issue.eq(self.busy & ~loop.in_columns & free
                     & Mux(loop.from_bus, self.beats.available[-1], self.allowed)),
            self.beats.taken.eq(Mux(issue & loop.from_bus, self._config.tile_beats, column)),
            self.kv.enable.eq(issue & ~loop.from_bus),
            self.kv.address.eq(loop.address),
        ]

    def _advance(self, m: Module, loop: _Loop, issue: Signal, column: Signal, end_of_tile: Signal) -> None:
        """The place of the next beat. A tile takes 4 cycles or more, so what follows it is computed a cycle before."""
        tile_beats, index, k, n = self._config.tile_beats, loop.index, loop.k, loop.n
        low, high = index[:exact_log2(tile_beats)], index[exact_log2(tile_beats):]
        end_of_columns, end_of_sum, end = Signal(), Signal(), Signal()
        at_last_k, at_last_n, next_base = Signal(), Signal(), Signal(_KV_ADDRESS_BITS)
        m.d.sync += [
            at_last_k.eq(k == loop.last_k),
            at_last_n.eq(n == loop.last_n),
            next_base.eq(Mux(k == loop.last_k, loop.n_base, loop.tile_base)
                         + Mux(k == loop.last_k, loop.n_stride, loop.k_stride)),
        ]
        m.d.comb += [
            end_of_columns.eq(column & (index == COLUMN_BEATS - 1)),
            end_of_tile.eq(issue & high.all() & (loop.from_bus | low.all())),
            end_of_sum.eq(end_of_tile & at_last_k),
            end.eq(end_of_sum & at_last_n),
        ]
        with m.If(column):
            m.d.sync += index.eq(index + 1)
        with m.If(end_of_columns):
            m.d.sync += [index.eq(0), loop.in_columns.eq(0)]
        with m.If(issue):  # at the end of a tile the index wraps
            m.d.sync += [index.eq(index + Mux(loop.from_bus, tile_beats, 1)), loop.address.eq(loop.address + 1)]
        with m.If(end_of_tile):
            m.d.sync += k.eq(Mux(end_of_sum, 0, k + 1))
            m.d.sync += [loop.address.eq(next_base), loop.tile_base.eq(next_base)]
        with m.If(end_of_sum):
            m.d.sync += [loop.in_columns.eq(~loop.constant), loop.n_base.eq(next_base), n.eq(Mux(end, 0, n + 1))]
        with m.If(end):
            m.d.sync += self.busy.eq(0)

    def _present(self, m: Module, loop: _Loop, issue: Signal, end_of_tile: Signal, held_valid: Signal,
                 present: Signal) -> None:
        """Stage 2: beats wait in a register, ``held_valid``, until the shadow tile takes them, ``present``."""
        held, held_last = Signal(load_layout(self._config)), Signal()
        with m.If(issue):
            m.d.sync += [
                held_valid.eq(1),
                held.by_row.eq(loop.by_row),
                held.whole.eq(loop.from_bus),
                held.index.eq(loop.index),
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
