# SPDX-License-Identifier: Apache-2.0
"""Stage 0 of the row writer: the cycle in which a word enters its pipeline."""

from amaranth import *
from amaranth.lib import data
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import Component, connect, flipped

from moevit.spec.arrays import MachineConfig
from moevit.spec.formats import ACCUMULATOR_BITS, SCORE_FRACTION
from moevit.spec.isa import Destination, Peak

from ..layouts import TOKEN_BITS, sums_layout, tag_layout
from ..plumbing.timeline import Timeline
from .columns import ColumnStore
from .gate_logits import GateLogits
from .write_loop import WriteLoop

__all__ = ["Intake"]


class Intake:
    """Builds stage 0 into ``m``, the module of ``unit``: FIFOs of sums and tags, the write loop, the column store.

    A slot is taken when its sums, its tag and its column parameters are there. A token's slot also waits for room in
    the FIFO of gate logits. The first slot of a PASS into the residual memory waits until earlier words are written.

    ``stages``: cycles from stage 0 to the write of a residual word.
    """

    #: Cycles from a row's ``sums`` to stage 0 of its first word: the FIFO.
    latency = 2

    def __init__(self, m: Module, unit: Component, gate: GateLogits, config: MachineConfig, stages: int):
        self._m, self._unit, self._gate, self._config = m, unit, gate, config
        m.submodules.sums = self._sums = SyncFIFOBuffered(width=sums_layout(config).size, depth=config.sums_depth)
        m.submodules.tags = self._tags = SyncFIFOBuffered(width=tag_layout(config).size, depth=config.sums_depth)
        m.submodules.loop = self._loop = WriteLoop(config)
        m.submodules.columns = self.columns = ColumnStore(config)
        instruction = self._loop.current.instruction
        self._to_router = instruction.destination == Destination.ROUTER
        self._to_residual = instruction.destination == Destination.RESIDUAL
        #: The slot is taken, and its word is not empty.
        self._stores = self._loop.take & (self._loop.slot.lanes != 0)
        self._fill()
        self._take(self._pending(stages))

    def _fill(self) -> None:
        """What comes goes into the FIFOs, the loop and the store."""
        unit = self._unit
        connect(self._m, flipped(unit.dispatch), self._loop.dispatch)
        connect(self._m, flipped(unit.columns), self.columns.beats)
        self._m.d.comb += [
            self._sums.w_en.eq(unit.sums.valid),
            self._sums.w_data.eq(unit.sums.payload),
            self._tags.w_en.eq(unit.tag.valid),
            self._tags.w_data.eq(unit.tag.payload),
        ]

    def _pending(self, stages: int) -> Signal:
        """Whether residual words are on their way to the memory."""
        count, pending, written = Signal(range(stages + 1)), Signal(), self._unit.residual.enable
        starts = self._stores & self._to_residual
        # `starts` settles late in the cycle, so it is not compared but only counted and joined.
        self._m.d.sync += [
            count.eq(count + starts - written),
            pending.eq(starts | (count > 1) | ((count == 1) & ~written)),
        ]
        return pending

    def _take(self, residual_pending: Signal) -> None:
        """When a slot is taken, and what leaves the FIFOs with it."""
        loop, gate, instruction = self._loop, self._gate, self._loop.current.instruction
        row_taken = loop.take & loop.row_end
        self._m.d.comb += [
            loop.take.eq(loop.active & self._sums.r_rdy & self._tags.r_rdy
                         & (instruction.constant | self.columns.full) & (gate.room | ~self._to_router)
                         & ~(loop.first_slot & self._to_residual & residual_pending)),
            self._sums.r_en.eq(row_taken),
            self._tags.r_en.eq(row_taken),
            self.columns.part.eq(loop.slot.part),
            self.columns.release.eq(loop.take & loop.tile_end & ~instruction.constant),
            gate.reserve.eq(self._stores & self._to_router),
        ]
        self._m.d.sync += self._unit.released.eq(row_taken)

    def put(self, line: Timeline) -> None:
        """The slot's word, for the stages that follow."""
        config, loop, slot, sums = self._config, self._loop, self._loop.slot, self._sums
        instruction, tag = loop.current.instruction, data.View(tag_layout(config), self._tags.r_data)
        half = config.k_lanes * ACCUMULATOR_BITS
        halves = [sums.r_data[part * half:(part + 1) * half] for part in range(config.ratio)]
        experts = config.max_experts * ACCUMULATOR_BITS
        line.put(
            0,
            high=sums.r_data[experts:2 * experts] if config.gate_sweeps == 2 else C(0),
            sums=Mux(slot.part, halves[-1], halves[0]),
            scale=tag.scale,
            score=Mux(instruction.score, tag.score, 1 << SCORE_FRACTION),
            row=(tag.row + slot.skipped)[:TOKEN_BITS],
            word=slot.word,
            lanes=slot.lanes,
            instruction=instruction,
            sequence=loop.current.sequence,
            first=slot.first,
            last=slot.last,
            peak_start=instruction.peak_first & (slot.word == instruction.first_word),
        )
        stores, to_router, destination = self._stores, self._to_router, instruction.destination
        line.put(
            0,
            reset=True,
            valid_residual=stores & self._to_residual,
            valid_hidden=stores & (destination == Destination.HIDDEN),
            valid_kv=stores & ((destination == Destination.KEYS) | (destination == Destination.VALUES)),
            valid_gate=stores & to_router,
            valid_peak=stores & ~to_router & (instruction.peak != Peak.NONE),
            valid_end=loop.take & slot.end & ~to_router,
            valid_row=loop.take & loop.row_end & loop.last_tile & ~to_router & ~instruction.scatter,
        )
