# SPDX-License-Identifier: Apache-2.0
"""Rows wait here for their tile, and for room at the row writer."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from moevit.spec.arrays import MachineConfig
from moevit.spec.formats import OPERAND_BITS

from ..interfaces import Flow
from ..layouts import Accumulate, row_layout
from ..plumbing.credit import Credit
from ..plumbing.fifo import ReservedFifo
from .operand_scale import tag_entry_layout
from .tags import issued_row_layout

__all__ = ["DEPTH", "RowIssue", "pending_row_layout"]

DEPTH = 32  # more than the cycles from an access to its row's issue, so that a row can enter in every cycle


def pending_row_layout(config: MachineConfig) -> data.StructLayout:
    """A row whose operands are ready; fields as in `layouts.row_layout`. ``exp``: its operands are exponentials."""
    return data.StructLayout({
        "operands": data.ArrayLayout(signed(OPERAND_BITS), config.k_lanes),
        "address": ceil_log2(config.max_tokens),
        "operation": Accumulate,
        "swap": 1,
        "last": 1,
        "exp": 1,
    })


class RowIssue(wiring.Component):
    """Issues rows to the array.

    The first row of a sweep waits until its tile is loaded, a last row until the row writer has room. Rows come from a
    pipeline that cannot wait: the read loop starts a row only while ``room`` is set, so that it has a place in the
    FIFO.

    Latency: 1 cycle from ``pending`` to ``row`` and ``issued`` (`latency`).
    Throughput: one row per cycle.
    Back-pressure: ``room`` is cleared while `DEPTH` rows are on their way or waiting. A row with ``swap`` waits for
    ``tile_ready``, a row with ``last`` while `sums_depth` last rows are not released.

    Parameters
    ----------
    config : MachineConfig
        `sums_depth`, the number of last rows between here and the row writer

    Members
    -------
    started : In(1)
        a row is started in this cycle; only while ``room`` is set
    room : Out(1)
        one more row may be started
    pending : In(Flow(pending_row_layout(config)))
        a started row, with its operands
    entry : In(Flow(tag_entry_layout()))
        the tag of each last row, in order, not after the row
    tile_ready : In(1)
        the next tile is loaded
    tile_taken : Out(1)
        the row of this cycle makes the next tile the active one
    released : In(1)
        the row writer took the sums of a row
    row : Out(Flow(row_layout(config)))
        the row for the array
    issued : Out(Flow(issued_row_layout(config)))
        the same row for its tag
    wait_tile : Out(1)
        the next row waits for its tile
    wait_writer : Out(1)
        the next row waits for the row writer
    filling : Out(1)
        rows are on their way and none is here
    """

    latency = 1

    def __init__(self, config: MachineConfig):
        self._config = config
        super().__init__({
            "started": In(1),
            "room": Out(1),
            "pending": In(Flow(pending_row_layout(config))),
            "entry": In(Flow(tag_entry_layout())),
            "tile_ready": In(1),
            "tile_taken": Out(1),
            "released": In(1),
            "row": Out(Flow(row_layout(config))),
            "issued": Out(Flow(issued_row_layout(config))),
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
        wiring.connect(m, wiring.flipped(self.pending), rows.i)
        wiring.connect(m, wiring.flipped(self.entry), entries.i)
        tile_allows, writer_allows, issue = Signal(), Signal(), Signal()
        m.d.comb += [
            tile_allows.eq(~head.swap | self.tile_ready),
            writer_allows.eq(~head.last | finished.room),
            issue.eq(rows.o.valid & tile_allows & writer_allows),
            rows.o.ready.eq(tile_allows & writer_allows),
            entries.o.ready.eq(issue & head.last),
            reserved.take.eq(self.started),
            reserved.give.eq(issue),
            finished.take.eq(issue & head.last),
            finished.give.eq(self.released),
            self.room.eq(reserved.room),
            self.tile_taken.eq(issue & head.swap),
            self.wait_tile.eq(rows.o.valid & ~tile_allows),
            self.wait_writer.eq(rows.o.valid & ~writer_allows),
            self.filling.eq(~reserved.idle & ~rows.o.valid),
        ]
        row, issued = self.row.payload, self.issued.payload
        m.d.comb += [
            self.row.valid.eq(issue),
            row.swap.eq(head.swap),
            row.operands.eq(head.operands),
            row.address.eq(head.address),
            row.operation.eq(head.operation),
            row.last.eq(head.last),
            self.issued.valid.eq(issue),
            issued.operands.eq(head.operands),
            issued.address.eq(head.address),
            issued.exp.eq(head.exp),
            issued.first.eq(head.operation == Accumulate.SET),
            issued.last.eq(head.last),
            issued.entry.eq(entries.o.payload),
        ]
        return m
