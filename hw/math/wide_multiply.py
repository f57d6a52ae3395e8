# SPDX-License-Identifier: Apache-2.0
"""A product of integers that are too wide for one multiplier."""

from collections.abc import Iterator

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["WideMultiply"]

_NARROW, _WIDE = 18, 25  # ports of a DSP48E1, signed; those of a DSP48E2 are 18 and 27


class WideMultiply(wiring.Component):
    """``o = a x b``, exact, with one multiplier per piece of ``a`` and ``b``.

    Latency: 2 cycles from ``a`` and ``b`` to ``o`` (`latency`).
    Throughput: one product per cycle.
    Back-pressure: none.

    Parameters
    ----------
    a, b : Shape
        shapes of the factors; ``a`` has at most 27 bits with its sign
    dsp48 : bool
        multipliers have 25 x 18 bits, and ``a`` is one piece; adders multiply what it has beyond 25 bits. Otherwise
        multipliers have 18 x 18 bits

    Members
    -------
    a, b : In(a), In(b)
        factors
    o : Out(signed)
        the product
    """

    latency = 2

    def __init__(self, a: Shape, b: Shape, *, dsp48: bool = True):
        a, b = Shape.cast(a), Shape.cast(b)
        bits = a.width + (not a.signed)
        if bits > _WIDE + 2:
            raise ValueError(f"a must fit {_WIDE + 2} signed bits, not {a!r}")
        self._rest = max(bits - _WIDE, 0) if dsp48 else 0
        self._a_piece = (_WIDE if dsp48 else _NARROW) - 1
        self._b_piece = (_WIDE if dsp48 and bits <= _NARROW else _NARROW) - 1
        super().__init__({"a": In(a), "b": In(b), "o": Out(signed(a.width + b.width + 1))})

    def elaborate(self, platform):
        m = Module()
        # Stage 1: multiply pieces; the lowest bits of a by all of b.
        rest = sum((Mux(bit, self.b, 0) << place for place, bit in enumerate(self.a[:self._rest])), C(0, 1))
        total = Signal(rest.shape(), name="product_rest", reset_less=True)
        m.d.sync += total.eq(rest)
        for b_place, b_piece in _pieces(self.b, 0, self._b_piece):
            for a_place, a_piece in _pieces(self.a, self._rest, self._a_piece):
                product = Signal(Shape.cast((a_piece * b_piece).shape()), name=f"product_{b_place}")
                m.d.sync += product.eq(a_piece * b_piece)
                total = total + (product << a_place + b_place)
        # Stage 2: add.
        m.d.sync += self.o.eq(total)
        return m


def _pieces(value: Value, start: int, width: int) -> Iterator[tuple[int, Value]]:
    """``value`` from bit ``start`` on, as (place, piece) of ``width`` bits; the last piece also has the sign."""
    low, sign = start, value.shape().signed
    while low < len(value):
        last = len(value) <= low + width + sign
        piece = value[low:] if last else value[low:low + width]
        yield low, piece.as_signed() if last and sign else piece
        low += len(piece)
