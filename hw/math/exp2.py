# SPDX-License-Identifier: Apache-2.0
"""The exponential of attention rows; see ``golden.integer.softmax``."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from moevit.spec.formats import LOGIT_FRACTION, ROW_BITS
from moevit.spec.tables import EXP2_GUARD, exp2_table

from ..layouts import peak_layout
from .rounding import round_shift

__all__ = ["Exp2"]

_MOST = 15  # larger shifts leave nothing
_FINE = 2  # low bits of the shift, which are applied first


class Exp2(wiring.Component):
    """``o = round(255 x 2^(logit - maximum))`` in each lane; 0 where ``enable`` is not set.

    Logits are Q8.8. ``maximum`` is at least the largest logit of the enabled lanes. Two lanes share a table with two
    read ports, one small block RAM.

    Golden: ``golden.integer.softmax.exponentials``.
    Latency: 3 cycles from ``logits`` to ``o`` (`latency`); a shift and a rounding follow the last register.
    Throughput: one word per cycle.
    Back-pressure: none.

    Parameters
    ----------
    lanes : int
        number of lanes, even

    Members
    -------
    logits : In(lanes x s16)
        logits of a word
    maximum : In(s17)
        maximum of the row, with the logits
    enable : In(lanes)
        lanes that count, with the logits
    o : Out(lanes x u8)
        exponentials
    """

    latency = 3

    def __init__(self, lanes: int):
        if lanes < 2 or lanes % 2:
            raise ValueError(f"exponentials come in pairs of lanes, not {lanes!r}")
        self._lanes = lanes
        super().__init__({
            "logits": In(data.ArrayLayout(signed(ROW_BITS), lanes)),
            "maximum": In(peak_layout()),
            "enable": In(lanes),
            "o": Out(data.ArrayLayout(unsigned(8), lanes)),
        })

    def elaborate(self, platform):
        m = Module()
        entries = [int(entry) for entry in exp2_table()]
        enables = [self.enable]
        for stage in range(2):
            enables.append(Signal(self._lanes, name=f"enable_{stage}"))
            m.d.sync += enables[-1].eq(enables[-2])
        for lane in range(self._lanes):
            if lane % 2 == 0:
                table = Memory(shape=8 + EXP2_GUARD, depth=len(entries), init=entries)
                m.submodules[f"table_{lane // 2}"] = table
            read = table.read_port()
            # Stage 1: distance to the maximum.
            distance = Signal(ROW_BITS + 1, name=f"distance_{lane}")
            m.d.sync += distance.eq(self.maximum - self.logits[lane])
            # Stage 2: look up the fraction.
            whole = distance[LOGIT_FRACTION:]
            shift = Signal(range(_MOST + 1), name=f"shift_{lane}")
            m.d.comb += read.addr.eq(distance[:LOGIT_FRACTION])
            m.d.sync += shift.eq(Mux(whole > _MOST, _MOST, whole))
            # Stage 3: mask; shift by the low bits only, since a memory's data come late in their cycle.
            fine = Signal(8 + EXP2_GUARD, name=f"fine_{lane}")
            coarse = Signal(len(shift) - _FINE, name=f"coarse_{lane}")
            m.d.sync += [fine.eq(Mux(enables[-1][lane], read.data >> shift[:_FINE], 0)), coarse.eq(shift[_FINE:])]
            # After the last register: shift by the high bits, round.
            m.d.comb += self.o[lane].eq(round_shift(fine >> (coarse << _FINE) >> (EXP2_GUARD - 1), 1))
        return m
