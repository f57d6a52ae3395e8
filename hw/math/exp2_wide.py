# SPDX-License-Identifier: Apache-2.0
"""The exponential of gate logits; see ``golden.integer.router``."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from moevit.spec.formats import GATE_FRACTION, GATE_LOGIT_BITS, LOGIT_FRACTION
from moevit.spec.tables import exp2_wide_table

from .rounding import round_shift

__all__ = ["Exp2Wide"]

LOGIT_BITS = GATE_LOGIT_BITS
_MOST = 31  # larger shifts leave nothing


class Exp2Wide(wiring.Component):
    """``o = round(65535 x 2^(logit - maximum))`` in each lane.

    Logits are Q8.16, none above the maximum. Two lanes share a table with two read ports, one small block RAM.

    Golden: ``golden.integer.router.route``.
    Latency: 4 cycles from ``logits`` to ``o`` (`latency`).
    Throughput: one word per cycle.
    Back-pressure: none.

    Parameters
    ----------
    lanes : int
        number of lanes

    Members
    -------
    logits : In(lanes x s24)
        logits of a token
    maximum : In(s24)
        the largest of them
    o : Out(lanes x u16)
        exponentials
    """

    latency = 4

    def __init__(self, lanes: int):
        if lanes < 1:
            raise ValueError(f"exponentials need at least one lane, not {lanes!r}")
        self._lanes = lanes
        super().__init__({
            "logits": In(data.ArrayLayout(signed(LOGIT_BITS), lanes)),
            "maximum": In(signed(LOGIT_BITS)),
            "o": Out(data.ArrayLayout(unsigned(16), lanes)),
        })

    def elaborate(self, platform):
        m = Module()
        entries = [int(entry) for entry in exp2_wide_table()]
        rounded = GATE_FRACTION - LOGIT_FRACTION
        for lane in range(self._lanes):
            if lane % 2 == 0:
                table = Memory(shape=16, depth=len(entries), init=entries)
                m.submodules[f"table_{lane // 2}"] = table
            read = table.read_port()
            # Stage 1: distance to the maximum, rounded to the table's step.
            distance = Signal(LOGIT_BITS + 1 - rounded, name=f"distance_{lane}", reset_less=True)
            m.d.sync += distance.eq(round_shift(self.maximum - self.logits[lane], rounded))
            # Stage 2: look up the fraction.
            whole = distance[LOGIT_FRACTION:]
            shift = Signal(range(_MOST + 1), name=f"shift_{lane}", reset_less=True)
            m.d.comb += read.addr.eq(distance[:LOGIT_FRACTION])
            m.d.sync += shift.eq(Mux(whole > _MOST, _MOST, whole))
            # Stage 3: the memory's output register.
            entry = Signal(16, name=f"entry_{lane}", reset_less=True)
            shift_3 = Signal(range(_MOST + 1), name=f"shift_3_{lane}", reset_less=True)
            m.d.sync += [entry.eq(read.data), shift_3.eq(shift)]
            # Stage 4: shift by the whole part, round.
            e = Signal(16, name=f"e_{lane}", reset_less=True)
            m.d.sync += e.eq(round_shift(Cat(C(0, 1), entry) >> shift_3, 1))
            m.d.comb += self.o[lane].eq(e)
        return m
