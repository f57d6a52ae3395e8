# SPDX-License-Identifier: Apache-2.0
"""Where rows wait for their tile."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from moevit.spec.arrays import MachineConfig
from moevit.spec.formats import OPERAND_BITS

from ..interfaces import Accumulate, Flow, row_layout
from ..plumbing.credit import Credit
from ..plumbing.fifo import ReservedFifo
from .operand_scale import tag_entry_layout
from .tags import issued_row_layout

__all__ = ["DEPTH", "RowIssue", "pending_row_layout"]

DEPTH = 32  # more than the cycles from a step to its row's entrance, or the pipeline could not run at full rate


def pending_row_layout(config: MachineConfig) -> data.StructLayout:
    """A row ready to enter the array."""
    return data.StructLayout({
        "operands": data.ArrayLayout(signed(OPERAND_BITS), config.k_lanes),
        "address": ceil_log2(config.max_tokens),
        "operation": Accumulate,
        "swap": 1,
        "last": 1,
        "exp": 1,
    })


class RowIssue(wiring.Component):
    """Lets rows into the array, one per cycle: the first of a sweep when its tile is loaded, a last one when the row
    writer has room for its sums.

    Rows come from a pipeline that cannot wait: ``room`` says that a further row may be started, ``started`` that one
    was. A row can enter in the cycle after it came.

    Members
    -------
    started : In(1)
    room : Out(1)
    waiting : In(Flow(pending_row_layout(config)))
    entry : In(Flow(tag_entry_layout())), for each last row, in order, not after the row
    tile_ready : In(1)
    tile_taken : Out(1)
    released : In(1), the row writer took the sums of a row
    row : Out(Flow(row_layout(config)))
    entering : Out(Flow(issued_row_layout(config))), the same row for its tag
    wait_tile, wait_writer, filling : Out(1), what the next row waits for; rows are under way but none is here
    """

    def __init__(self, config: MachineConfig):
        self._config = config
        super().__init__({
            "started": In(1),
            "room": Out(1),
            "waiting": In(Flow(pending_row_layout(config))),
            "entry": In(Flow(tag_entry_layout())),
            "tile_ready": In(1),
            "tile_taken": Out(1),
            "released": In(1),
            "row": Out(Flow(row_layout(config))),
            "entering": Out(Flow(issued_row_layout(config))),
            "wait_tile": Out(1),
            "wait_writer": Out(1),
            "filling": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        config = self._config
        m.submodules.rows = rows = ReservedFifo(pending_row_layout(config), DEPTH)
        m.submodules.entries = entries = ReservedFifo(tag_entry_layout(), DEPTH)
        head = rows.o.payload
        m.submodules.reserved = reserved = Credit(DEPTH)
        m.submodules.finished = finished = Credit(config.sums_depth)
        wiring.connect(m, wiring.flipped(self.waiting), rows.i)
        wiring.connect(m, wiring.flipped(self.entry), entries.i)
        tile, writer, enter = Signal(), Signal(), Signal()
        m.d.comb += [
            tile.eq(~head.swap | self.tile_ready),
            writer.eq(~head.last | finished.room),
            enter.eq(rows.o.valid & tile & writer),
            rows.o.ready.eq(tile & writer),
            entries.o.ready.eq(enter & head.last),
            reserved.take.eq(self.started),
            reserved.give.eq(enter),
            finished.take.eq(enter & head.last),
            finished.give.eq(self.released),
            self.room.eq(reserved.room),
            self.tile_taken.eq(enter & head.swap),
            self.wait_tile.eq(rows.o.valid & ~tile),
            self.wait_writer.eq(rows.o.valid & ~writer),
            self.filling.eq(~reserved.idle & ~rows.o.valid),
        ]
        row, entering = self.row.payload, self.entering.payload
        m.d.comb += [
            self.row.valid.eq(enter),
            row.swap.eq(head.swap),
            row.operands.eq(head.operands),
            row.address.eq(head.address),
            row.operation.eq(head.operation),
            row.last.eq(head.last),
            self.entering.valid.eq(enter),
            entering.operands.eq(head.operands),
            entering.address.eq(head.address),
            entering.exp.eq(head.exp),
            entering.first.eq(head.operation == Accumulate.SET),
            entering.last.eq(head.last),
            entering.entry.eq(entries.o.payload),
        ]
        return m
