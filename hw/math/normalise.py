# SPDX-License-Identifier: Apache-2.0
"""The leading one of an unsigned integer: what comes before every table that is indexed by a mantissa."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2, exact_log2

from ..interfaces import Flow

__all__ = ["Normalise", "normal_layout"]

_STEPS_PER_STAGE = 2


def normal_layout(width: int) -> data.StructLayout:
    """``value == mantissa x 2^(position - (W - 1))``, where W is the width rounded up to a power of two.

    The mantissa's top bit is the leading one, which was bit ``position`` of the value.
    """
    bits = ceil_log2(width)
    return data.StructLayout({"mantissa": 1 << bits, "position": bits})


class Normalise(wiring.Component):
    """Shifts the leading one of a value to the top. Exact for 1 .. 2^width - 1; 0 gives mantissa 0 and position 0.

    Golden: ``golden.integer.rounding.bit_length``, which is ``position + 1``.
    Latency: ``ceil(ceil(log2(width)) / 2)`` cycles from ``i`` to ``o`` (`latency`).
    Throughput: one value per cycle.
    Back-pressure: none.

    Parameters
    ----------
    width : int
        bits of the value, at least 2

    Members
    -------
    i : In(Flow(width))
        a value
    o : Out(Flow(normal_layout(width)))
        its mantissa and its position
    """

    def __init__(self, width: int):
        if width < 2:
            raise ValueError(f"the width to normalise must be at least 2, not {width!r}")
        self._steps = ceil_log2(width)
        super().__init__({"i": In(Flow(unsigned(width))), "o": Out(Flow(normal_layout(width)))})

    @property
    def latency(self) -> int:
        """Cycles from ``i`` to ``o``."""
        return -(-self._steps // _STEPS_PER_STAGE)

    def elaborate(self, platform):
        m = Module()
        width = 1 << self._steps
        valid, mantissa, zeros = self.i.valid, self.i.payload, C(0, 0)
        mantissa = Cat(mantissa, C(0, width - len(mantissa)))
        span = width  # top bits that hold the leading one
        for stage in range(self.latency):
            # Stage 1 + n: the leading one's quarter of the span, or in the last stage its half.
            parts = min(span, 4)
            span //= parts
            empty = [~mantissa[width - span * (part + 1):width - span * part].any() for part in range(parts - 1)]
            if parts == 4:
                count = Cat(empty[0] & (~empty[1] | empty[2]), empty[0] & empty[1])
            else:
                count = empty[0]
            mantissa, zeros = (mantissa << (count << exact_log2(span)))[:width], Cat(count, zeros)
            registers = Signal(len(mantissa), name=f"mantissa_{stage}"), Signal(len(zeros), name=f"zeros_{stage}")
            m.d.sync += [registers[0].eq(mantissa), registers[1].eq(zeros)]
            next_valid = Signal(name=f"valid_{stage}")
            m.d.sync += next_valid.eq(valid)
            valid, (mantissa, zeros) = next_valid, registers
        m.d.comb += [
            self.o.valid.eq(valid),
            self.o.payload.mantissa.eq(mantissa),
            self.o.payload.position.eq(~zeros),
        ]
        return m
