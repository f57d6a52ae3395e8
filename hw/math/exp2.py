# SPDX-License-Identifier: Apache-2.0
"""The exponential of attention rows; twin of ``golden.integer.softmax``."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from moevit.spec.formats import LOGIT_FRACTION, ROW_BITS
from moevit.spec.tables import EXP2_GUARD, exp2_table

from ..interfaces import peak_layout
from .rounding import round_shift

__all__ = ["Exp2"]

_MOST = 15  # larger shifts leave nothing
_FINE = 2  # bits of the shift that are done first


class Exp2(wiring.Component):
    """``255 x 2^(logit - maximum)`` as u8 in each lane, 0 where ``enable`` is not set.

    Logits are s16 Q8.8, the maximum is at least that of the enabled lanes. One word per cycle, 3 cycles and
    a shift, no back-pressure. Two lanes share a table of two read ports, one small block RAM.

    Members
    -------
    logits : In(lanes x s16)
    maximum : In(s17)
    enable : In(lanes), with the logits
    o : Out(lanes x u8)
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
            below = Signal(ROW_BITS + 1, name=f"below_{lane}")
            m.d.sync += below.eq(self.maximum - self.logits[lane])
            # Stage 2: look up the fraction.
            whole = below[LOGIT_FRACTION:]
            down = Signal(range(_MOST + 1), name=f"down_{lane}")
            m.d.comb += read.addr.eq(below[:LOGIT_FRACTION])
            m.d.sync += down.eq(Mux(whole > _MOST, _MOST, whole))
            # Stage 3: shift by the whole part's low bits, mask: a memory's data come late in their cycle.
            fine = Signal(8 + EXP2_GUARD, name=f"fine_{lane}")
            rest = Signal(len(down) - _FINE, name=f"rest_{lane}")
            m.d.sync += [fine.eq(Mux(enables[-1][lane], read.data >> down[:_FINE], 0)), rest.eq(down[_FINE:])]
            # Behind the last register: shift by the high bits, round.
            m.d.comb += self.o[lane].eq(round_shift(fine >> (rest << _FINE) >> (EXP2_GUARD - 1), 1))
        return m
