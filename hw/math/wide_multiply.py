# SPDX-License-Identifier: Apache-2.0
"""A product of integers too wide for one DSP slice."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["WideMultiply"]

_NARROW, _WIDE = 18, 25  # ports of a DSP48E1, signed; those of a DSP48E2 are 18 and 27


class WideMultiply(wiring.Component):
    """``o = a x b``, exact: one DSP slice per piece of ``b``. One product per cycle, 2 cycles, no back-pressure.

    Parameters
    ----------
    a, b : shapes; ``a`` has at most 27 bits with its sign. What it has beyond 25, adders multiply.

    Members
    -------
    a, b : In
    o : Out, signed
    """

    latency = 2

    def __init__(self, a: Shape, b: Shape):
        a, b = Shape.cast(a), Shape.cast(b)
        bits = a.width + (not a.signed)
        if bits > _WIDE + 2:
            raise ValueError(f"a must fit {_WIDE + 2} signed bits, not {a!r}")
        self._rest = max(bits - _WIDE, 0)
        self._piece = (_WIDE if bits <= _NARROW else _NARROW) - 1
        super().__init__({"a": In(a), "b": In(b), "o": Out(signed(a.width + b.width + 1))})

    def elaborate(self, platform):
        m = Module()
        width, shape = self._piece, self.b.shape()
        high = self.a >> self._rest
        # Stage 1: multiply the high bits by the pieces of b, the lowest ones by all of it.
        rest = sum((Mux(bit, self.b, 0) << place for place, bit in enumerate(self.a[:self._rest])), C(0, 1))
        total = Signal(rest.shape(), name="product_rest", reset_less=True)
        m.d.sync += total.eq(rest)
        for low in range(0, shape.width, width):
            piece = self.b[low:low + width]
            if shape.signed and low + width >= shape.width:
                piece = piece.as_signed()
            product = Signal(Shape.cast((high * piece).shape()), name=f"product_{low}")
            m.d.sync += product.eq(high * piece)
            total = total + (product << low + self._rest)
        # Stage 2: add.
        m.d.sync += self.o.eq(total)
        return m
