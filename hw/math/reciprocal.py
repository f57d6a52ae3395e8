# SPDX-License-Identifier: Apache-2.0
"""1 / n as a row scale, by a table of eleven-bit mantissas."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from moevit.spec.tables import RECIPROCAL_BITS, reciprocal_table

from ..interfaces import Flow
from ..layouts import row_scale_layout
from .normalise import Normalise

__all__ = ["Reciprocal"]


class Reciprocal(wiring.Component):
    """``1 / i = mantissa x 2^(exponent - 15)``, with an error below 5e-4 of it.

    Golden: ``golden.integer.row_scale.reciprocal``.
    Latency: `latency` cycles from ``i`` to ``o``: 3 for widths up to 16, 4 for widths up to 40.
    Throughput: one value per cycle.
    Back-pressure: none.

    Parameters
    ----------
    width : int
        bits of ``i``, 11..40

    Members
    -------
    i : In(Flow(width))
        a value, at least 1
    o : Out(Flow(row_scale_layout()))
        its reciprocal
    """

    def __init__(self, width: int):
        if not RECIPROCAL_BITS <= width <= 40:
            raise ValueError(f"the reciprocal takes {RECIPROCAL_BITS} to 40 bits, not {width!r}")
        self._normalise = Normalise(width)
        super().__init__({"i": In(Flow(unsigned(width))), "o": Out(Flow(row_scale_layout()))})

    @property
    def latency(self) -> int:
        """Cycles from ``i`` to ``o``."""
        return self._normalise.latency + 1

    def elaborate(self, platform):
        m = Module()
        m.submodules.normalise = normalise = self._normalise
        entries = [int(entry) for entry in reciprocal_table()]
        m.submodules.table = table = Memory(shape=16, depth=len(entries), init=entries)
        read = table.read_port()
        # Stages 1 .. latency - 1: normalise.
        wiring.connect(m, wiring.flipped(self.i), normalise.i)
        # Stage latency: look up. The leading one is no part of the index.
        index = normalise.o.payload.mantissa[-RECIPROCAL_BITS:-1]
        m.d.comb += [read.addr.eq(index), self.o.payload.mantissa.eq(read.data)]
        m.d.sync += [
            self.o.valid.eq(normalise.o.valid),
            self.o.payload.exponent.eq(~Cat(normalise.o.payload.position, 0).as_signed()),
        ]
        return m
