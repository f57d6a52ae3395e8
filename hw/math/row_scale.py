# SPDX-License-Identifier: Apache-2.0
"""Row scales and the quantisation of a row; see ``golden.integer.row_scale``."""

from amaranth import *
from amaranth.hdl import ValueLike
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from moevit.spec.formats import DIGIT_BITS, OPERAND_BITS, OPERAND_MAX, QUANTISED_MAX
from moevit.spec.tables import quantiser_table

from ..interfaces import Flow
from .normalise import Normalise
from .rounding import round_shift

__all__ = ["PeakScale", "Quantiser", "operand_digit", "peak_scale_layout"]

_FRACTION_BITS = 8  # m has nine significant bits; the first is always 1


def peak_scale_layout() -> data.StructLayout:
    """``m x 2^e`` with ``m = 256 + fraction`` and e in -8..17.

    As a row scale: mantissa ``m << 7``, exponent ``e + 8``.
    """
    return data.StructLayout({"fraction": _FRACTION_BITS, "e": signed(6)})


class PeakScale(wiring.Component):
    """A peak, rounded up to nine significant bits; a peak of 0 counts as 1.

    Golden: ``golden.integer.row_scale.peak_scale``.
    Latency: `latency` cycles from ``i`` to ``o``: 3 for widths up to 16, 4 for widths up to 25.
    Throughput: one peak per cycle.
    Back-pressure: none.

    Parameters
    ----------
    width : int
        bits of the peak, 9..25

    Members
    -------
    i : In(Flow(width))
        a peak
    o : Out(Flow(peak_scale_layout()))
        its scale
    """

    def __init__(self, width: int):
        if not _FRACTION_BITS < width <= 25:
            raise ValueError(f"a peak has 9 to 25 bits, not {width!r}")
        self._normalise = Normalise(width)
        super().__init__({"i": In(Flow(unsigned(width))), "o": Out(Flow(peak_scale_layout()))})

    @property
    def latency(self) -> int:
        """Cycles from ``i`` to ``o``."""
        return self._normalise.latency + 1

    def elaborate(self, platform):
        m = Module()
        m.submodules.normalise = normalise = self._normalise
        # Stages 1 .. latency - 1: normalise.
        wiring.connect(m, wiring.flipped(self.i), normalise.i)
        # Stage latency: round up. The leading one is implied, which also makes 0 count as 1.
        mantissa = normalise.o.payload.mantissa
        rest, fraction = mantissa[:-1 - _FRACTION_BITS], mantissa[-1 - _FRACTION_BITS:-1]
        position, inexact = normalise.o.payload.position, rest.any()
        m.d.sync += [
            self.o.valid.eq(normalise.o.valid),
            self.o.payload.fraction.eq(fraction + inexact),
            self.o.payload.e.eq(Mux(fraction.all() & inexact, position - 7, position - 8)),
        ]
        return m


class Quantiser(wiring.Component):
    """The multiplier of a row, ``round(32640 x 2^9 / m)``, from a table.

    Golden: ``golden.integer.row_scale.quantise``.
    Latency: 1 cycle from ``i`` to ``o`` (`latency`).
    Throughput: one value per cycle.
    Back-pressure: none.

    Members
    -------
    i : In(Flow(8))
        ``m - 256``
    o : Out(Flow(16))
        the multiplier
    """

    latency = 1

    def __init__(self):
        super().__init__({"i": In(Flow(unsigned(_FRACTION_BITS))), "o": Out(Flow(unsigned(16)))})

    def elaborate(self, platform):
        m = Module()
        entries = [int(entry) for entry in quantiser_table()]
        m.submodules.table = table = Memory(shape=16, depth=len(entries), init=entries)
        read = table.read_port()
        m.d.comb += [read.addr.eq(self.i.payload), self.o.payload.eq(read.data)]
        m.d.sync += self.o.valid.eq(self.i.valid)
        return m


def operand_digit(q: ValueLike, low: ValueLike, clip: ValueLike) -> Value:
    """The s9 operand of a quantised value s17: its high digit ``round(q / 128)``, or with ``low`` the rest, its low
    digit.

    With ``clip`` the value is first limited to +-32640. The limit and the rounding are computed in parallel.
    """
    q = Value.cast(q)
    above, below = clip & (q > QUANTISED_MAX), clip & (q < -QUANTISED_MAX)
    digit = Mux(low, q[:DIGIT_BITS].as_signed(), round_shift(q, DIGIT_BITS)[:OPERAND_BITS].as_signed())
    limit = Mux(low, 0, Mux(above, OPERAND_MAX, -OPERAND_MAX))
    return Mux(above | below, limit, digit)
