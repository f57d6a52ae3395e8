# SPDX-License-Identifier: Apache-2.0
"""A square without a DSP slice."""

from functools import reduce
from operator import add

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from moevit.spec.formats import ROW_BITS

__all__ = ["Square"]


class Square(wiring.Component):
    """``o = i^2``, exact, from LUTs and carry chains.

    It has half the partial products of a multiplier, and nothing from which a tool would infer a DSP slice.

    Latency: 3 cycles from ``i`` to ``o`` (`latency`).
    Throughput: one square per cycle.
    Back-pressure: none.

    Members
    -------
    i : In(u16)
        a value
    o : Out(u32)
        its square
    """

    latency = 3

    def __init__(self):
        super().__init__({"i": In(ROW_BITS), "o": Out(2 * ROW_BITS)})

    def elaborate(self, platform):
        m = Module()

        def added(terms, name):
            """The sum of ``terms`` (value, shift), in a register without their common shift; and that shift."""
            shift = min(low for _, low in terms)
            total = reduce(add, (value << (low - shift) for value, low in terms))
            register = Signal(max(len(value) + low - shift for value, low in terms) + 1, name=name, reset_less=True)
            m.d.sync += register.eq(total)
            return register, shift

        # Stage 1: i^2 is the sum over its digits of digit x (digit + 2 x all digits above). A digit has two bits, and
        # each product is a carry chain.
        rows = []
        for low in range(0, ROW_BITS, 2):
            digit, above = self.i[low:low + 2], self.i[low + 2:]
            factor = Cat(digit, C(0, 1), above)
            rows.append(added([(Mux(digit[0], factor, 0), 2 * low), (Mux(digit[1], factor, 0), 2 * low + 1)],
                              f"row_{low}"))
        # Stages 2 and 3: add three at a time.
        parts = [added(rows[at:at + 3], f"part_{at}") for at in range(0, len(rows), 3)]
        total, _ = added(parts, "total")
        m.d.comb += self.o.eq(total)
        return m
