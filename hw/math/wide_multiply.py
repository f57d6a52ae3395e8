# SPDX-License-Identifier: Apache-2.0
"""A product of integers too wide for one DSP slice."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["WideMultiply"]

_NARROW, _WIDE = 18, 27  # ports of a DSP48E2, signed


class WideMultiply(wiring.Component):
    """``o = a x b``, exact: one DSP slice per piece of ``b``. One product per cycle, 2 cycles, no back-pressure.

    Parameters
    ----------
    a, b : shapes; ``a`` has at most 27 bits with its sign

    Members
    -------
    a, b : In
    o : Out, signed
    """

    latency = 2

    def __init__(self, a: Shape, b: Shape):
        a, b = Shape.cast(a), Shape.cast(b)
        bits = a.width + (not a.signed)
        if bits > _WIDE:
            raise ValueError(f"a must fit {_WIDE} signed bits, not {a!r}")
        self._piece = (_WIDE if bits <= _NARROW else _NARROW) - 1
        super().__init__({"a": In(a), "b": In(b), "o": Out(signed(a.width + b.width + 1))})

    def elaborate(self, platform):
        m = Module()
        width, shape = self._piece, self.b.shape()
        total = 0
        for low in range(0, shape.width, width):
            piece = self.b[low:low + width]
            if shape.signed and low + width >= shape.width:
                piece = piece.as_signed()
            # Stage 1: multiply.
            product = Signal(Shape.cast((self.a * piece).shape()), name=f"product_{low}")
            m.d.sync += product.eq(self.a * piece)
            total = total + (product << low)
        # Stage 2: add.
        m.d.sync += self.o.eq(total)
        return m
