# SPDX-License-Identifier: Apache-2.0
"""1 / sqrt(n), by a table of ten- and eleven-bit mantissas.

The exponent must be even, so that its root is a shift.
"""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from moevit.spec.tables import RECIPROCAL_BITS, rsqrt_table

from ..interfaces import Flow
from ..layouts import row_scale_layout
from .normalise import Normalise

__all__ = ["Rsqrt"]


class Rsqrt(wiring.Component):
    """``1 / sqrt(i) = mantissa x 2^(exponent - 20)``, mantissa 23174..46319.

    The golden function calls ``mantissa`` root, and ``exponent`` is its ``-(down >> 1)``.

    Golden: ``golden.integer.norm.norm_rows``.
    Latency: `latency` cycles from ``i`` to ``o``: 3 for widths up to 16, 4 for widths up to 64.
    Throughput: one value per cycle.
    Back-pressure: none.

    Parameters
    ----------
    width : int
        bits of ``i``, 11..64

    Members
    -------
    i : In(Flow(width))
        a value, at least 1
    o : Out(Flow(row_scale_layout()))
        its inverse root
    """

    def __init__(self, width: int):
        if not RECIPROCAL_BITS <= width <= 64:
            raise ValueError(f"the inverse root takes {RECIPROCAL_BITS} to 64 bits, not {width!r}")
        self._normalise = Normalise(width)
        super().__init__({"i": In(Flow(unsigned(width))), "o": Out(Flow(row_scale_layout()))})

    @property
    def latency(self) -> int:
        """Cycles from ``i`` to ``o``."""
        return self._normalise.latency + 1

    def elaborate(self, platform):
        m = Module()
        m.submodules.normalise = normalise = self._normalise
        # Addressed by the mantissa itself: the unused first quarter costs less than an adder in front.
        entries = [0] * 512 + [int(entry) for entry in rsqrt_table()]
        m.submodules.table = table = Memory(shape=16, depth=len(entries), init=entries)
        read = table.read_port()
        # Stages 1 .. latency - 1: normalise.
        wiring.connect(m, wiring.flipped(self.i), normalise.i)
        # Stage latency: look up.
        mantissa = normalise.o.payload.mantissa[-RECIPROCAL_BITS:]
        position = normalise.o.payload.position
        m.d.comb += [
            read.addr.eq(Mux(position[0], mantissa[1:], mantissa)),
            self.o.payload.mantissa.eq(read.data),
        ]
        m.d.sync += [
            self.o.valid.eq(normalise.o.valid),
            self.o.payload.exponent.eq(5 - position[1:] - position[0]),
        ]
        return m
