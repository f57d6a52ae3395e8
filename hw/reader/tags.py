# SPDX-License-Identifier: Apache-2.0
"""Tags of last rows, and the softmax denominators among their scales."""

from operator import add

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from moevit.spec.arrays import MachineConfig
from moevit.spec.formats import OPERAND_BITS

from ..interfaces import Flow
from ..layouts import tag_layout
from ..math.reciprocal import Reciprocal
from ..plumbing.timeline import Timeline, tree, tree_stages
from .operand_scale import tag_entry_layout

__all__ = ["SUM_BITS", "Tags", "issued_row_layout"]

SUM_BITS = 20  # 255 x 4095 keys


def issued_row_layout(config: MachineConfig) -> data.StructLayout:
    """A row that enters the array. ``first``: first word of the row's sums; ``last``: last word of them.

    ``entry`` is valid with ``last``.
    """
    return data.StructLayout({
        "operands": data.ArrayLayout(signed(OPERAND_BITS), config.k_lanes),
        "address": ceil_log2(config.max_tokens),
        "exp": 1,
        "first": 1,
        "last": 1,
        "entry": tag_entry_layout(),
    })


class Tags(wiring.Component):
    """Sends the tag of each last row.

    A row of exponentials gets the scale ``1 / (sum of its operands over all words)``, any other the scale of its entry.
    The words of a row come at least 2 cycles apart. From tile to tile it takes at least ``k_lanes / tile_beats + 1``
    cycles, which is 5 or more.

    Golden: ``golden.integer.row_scale.reciprocal``.
    Latency: 8 cycles from ``row`` to ``tag`` with 8 lanes, 9 with 16 and 32, 10 with 64 (`latency`).
    Throughput: one row per cycle.
    Back-pressure: none.

    Parameters
    ----------
    config : MachineConfig
        `k_lanes` and `max_tokens`

    Members
    -------
    row : In(Flow(issued_row_layout(config)))
        every row that enters the array
    tag : Out(Flow(tag_layout(config)))
        the tag of each last row
    """

    def __init__(self, config: MachineConfig):
        self._config = config
        self._reciprocal = Reciprocal(SUM_BITS)
        super().__init__({"row": In(Flow(issued_row_layout(config))), "tag": Out(Flow(tag_layout(config)))})

    @property
    def latency(self) -> int:
        """Cycles from ``row`` to ``tag``."""
        return tree_stages(self._config.k_lanes, first=1) + self._reciprocal.latency + 2

    def elaborate(self, platform):
        m = Module()
        row, pipe, lanes = self.row.payload, Timeline(m), self._config.k_lanes
        m.submodules.reciprocal = reciprocal = self._reciprocal
        m.submodules.sums = sums = Memory(shape=SUM_BITS, depth=self._config.max_tokens, init=[])
        write, read = sums.write_port(), sums.read_port()
        pipe.put(0, reset=True, exp_valid=self.row.valid & row.exp, last_valid=self.row.valid & row.last)
        pipe.put(0, first=row.first, address=row.address, entry=row.entry)
        # Stages 1 to `summed`: add the lanes up; read the sum of the row's earlier words.
        summed = tree_stages(lanes, first=1)
        word = tree(m, [row.operands[lane][:8] for lane in range(lanes)], add, "word", first=1)
        m.d.comb += [
            read.en.eq(pipe.at(summed - 1, "exp_valid")),
            read.addr.eq(pipe.at(summed - 1, "address")),
        ]
        # Stage `summed` + 1: add.
        total, total_register = Signal(SUM_BITS), Signal(SUM_BITS, reset_less=True)
        m.d.comb += [
            total.eq(Mux(pipe.at(summed, "first"), 0, read.data) + word),
            write.en.eq(pipe.at(summed, "exp_valid")),
            write.addr.eq(pipe.at(summed, "address")),
            write.data.eq(total),
        ]
        m.d.sync += total_register.eq(total)
        # Then: reciprocal; choose between it and the scale of the entry.
        m.d.comb += [
            reciprocal.i.valid.eq(pipe.at(summed + 1, "last_valid")),
            reciprocal.i.payload.eq(total_register),
        ]
        chosen = self.latency - 1
        entry, tag = pipe.at(chosen, "entry"), self.tag.payload
        m.d.sync += [
            self.tag.valid.eq(pipe.at(chosen, "last_valid")),
            tag.row.eq(entry.row),
            tag.score.eq(entry.score),
            tag.scale.eq(Mux(entry.exp, reciprocal.o.payload, entry.scale)),
        ]
        return m
