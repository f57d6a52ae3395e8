# SPDX-License-Identifier: Apache-2.0
"""1 / sqrt(n), by a table of ten- and eleven-bit mantissas: the exponent must be even, so that its root is a shift."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from moevit.spec.tables import RECIPROCAL_BITS, rsqrt_table

from ..interfaces import Flow, row_scale_layout
from .normalise import Normalise

__all__ = ["Rsqrt"]


class Rsqrt(wiring.Component):
    """``1 / sqrt(spread) = mantissa x 2^(exponent - 20)``, mantissa 23174..46319, as in ``golden.integer.norm``.

    There ``mantissa`` is called root and ``exponent`` is ``-(down >> 1)``. One value per cycle, :attr:`latency`
    cycles (4 for widths 33..64), no back-pressure.

    Parameters
    ----------
    width : bits of ``spread``, 11..64; ``spread`` is at least 1

    Members
    -------
    i : In(Flow(width))
    o : Out(Flow(row_scale_layout()))
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
