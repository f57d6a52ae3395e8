# SPDX-License-Identifier: Apache-2.0
"""From accumulators to values: times row scale and column scale, plus bias."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from moevit.spec.arrays import MachineConfig
from moevit.spec.formats import ACCUMULATOR_BITS, DIGIT_BITS, GATE_FRACTION, LOGIT_FRACTION

from ..interfaces import column_layout, row_scale_layout
from ..math.rounding import round_shift, saturate
from ..plumbing.timeline import Timeline

__all__ = ["BIASED_BITS", "SCALED_BITS", "SumScale"]

SCALED_BITS = 24
BIASED_BITS = SCALED_BITS + 1
_LOW_BITS_DSP48, _LOW_BITS = 24, 17  # of a sum, unsigned, that a multiplier takes: of 25 or 18 bits, signed
_FINE = 3  # low bits of the shift, done last
_KEPT = SCALED_BITS + 1 + (1 << _FINE)  # bits that can still matter after the coarse shift, one of them for rounding


class SumScale(wiring.Component):
    """``clip24(round(accumulator x row scale x column scale / 2^shift)) + bias``, exactly.

    Where a gate takes two sweeps, the accumulator of its lanes is ``round(sum / 128) + high`` with ``digits``. That is
    what three sweeps add up to in one: s27 as well (``golden.integer.bounds`` has both), 2048 channels make less
    than 2048 x (255 x 127 + 192) < 2^26 of it.

    Golden: ``golden.integer.row_writer.scaled``. Two multipliers per lane, three without ``packed``. One word per
    cycle, 9 cycles, no back-pressure. ``gate`` aligns the bias of the first max_experts lanes to gate logits.

    Members
    -------
    sums : In(k_lanes x s27)
    scale : In(row_scale_layout()), of the row
    shift : In(6)
    columns : In(column_layout(config))
    constant : In(1), column scale is ``constant_scale`` and bias 0 instead
    constant_scale : In(16)
    gate, digits : In(1)
    high : In(max_experts x s27), with ``sums``: products of two high digits
    o : Out(k_lanes x s25)
    bias : Out(k_lanes x s16), as used for ``o`` of the same cycle
    """

    latency = 9

    def __init__(self, config: MachineConfig):
        self._config = config
        self._low_bits = _LOW_BITS_DSP48 if config.packed else _LOW_BITS
        lanes = config.k_lanes
        super().__init__({
            "sums": In(data.ArrayLayout(signed(ACCUMULATOR_BITS), lanes)),
            "scale": In(row_scale_layout()),
            "shift": In(6),
            "columns": In(column_layout(config)),
            "constant": In(1),
            "constant_scale": In(16),
            "gate": In(1),
            "digits": In(1),
            "high": In(data.ArrayLayout(signed(ACCUMULATOR_BITS), config.max_experts)),
            "o": Out(data.ArrayLayout(signed(BIASED_BITS), lanes)),
            "bias": Out(data.ArrayLayout(signed(16), lanes)),
        })

    def elaborate(self, platform):
        m = Module()
        line = Timeline(m)
        line.put(0, mantissa=self.scale.mantissa, gate=self.gate)
        # Stage 1: how far to shift.
        distance = self.shift - self.scale.exponent
        down = Signal(6, reset_less=True)
        m.d.sync += down.eq(saturate(distance, 0, 63)[0])
        line.put(1, coarse=down[_FINE:], fine=down[:_FINE])
        for lane in range(self._config.k_lanes):
            self._lane(m, line, lane)
        return m

    def _lane(self, m: Module, line: Timeline, lane: int) -> None:
        def register(name, value, shape=None):
            signal = Signal(value.shape() if shape is None else shape, name=f"{name}_{lane}", reset_less=True)
            m.d.sync += signal.eq(value)
            return signal

        column = self.columns[lane]
        is_gate = lane < self._config.max_experts
        # Stage 1: column scale and bias; the sums of a gate's digits meet.
        if is_gate and self._config.gate_sweeps == 2:
            line.put(1, **{f"sum_{lane}": register("joined", self._join(self.sums[lane], self.high[lane]))})
        else:
            line.put(0, **{f"sum_{lane}": self.sums[lane]})
        scale = register("scale", Mux(self.constant, self.constant_scale, column.scale))
        bias = register("bias", Mux(self.constant, 0, column.bias), signed(16))
        line.put(1, **{f"bias_{lane}": bias})
        # Stage 2: multiply the scales.
        product = register("product", scale * line.at(1, "mantissa"))
        # Stage 3: round.
        factor = register("factor", round_shift(product, 15), 17)
        # Stage 4: multiply. No family's multiplier takes all bits: the highest are a product of their own. With a
        # DSP48E1 they are only three, so adders do.
        total, low_bits = line.at(3, f"sum_{lane}"), self._low_bits
        low = register("low", total[:low_bits] * factor)
        if self._config.packed:
            times_1, times_2, times_4 = (Mux(bit, factor << i, 0) for i, bit in enumerate(total[low_bits:]))
            high = register("high", times_1 + times_2 - times_4)
        else:
            high = register("high", total[low_bits:].as_signed() * factor)
        # Stage 5: put together.
        exact = register("exact", low + (high << low_bits), signed(ACCUMULATOR_BITS + 17))
        # Stage 6: shift by eights. A bit below the last serves for rounding.
        shifted = Cat(C(0, 1), exact).as_signed() >> (line.at(5, "coarse") << _FINE)
        kept = register("kept", shifted[:_KEPT].as_signed())
        over = register("over", (shifted[_KEPT - 1:] != 0) & ~shifted[_KEPT - 1:].all())
        negative = register("negative", exact[-1])
        # Stage 7: shift by ones.
        fine = register("fine", kept >> line.at(6, "fine"))
        over, negative = register("over_7", over), register("negative_7", negative)
        # Stage 8: round.
        rounded = register("rounded", round_shift(fine, 1))
        over, negative = register("over_8", over), register("negative_8", negative)
        # Stage 9: clip, add the bias.
        low_end, high_end = -(1 << SCALED_BITS - 1), (1 << SCALED_BITS - 1) - 1
        top = rounded[SCALED_BITS - 1:]
        clipped = Mux(over | (top.any() & ~top.all()), Mux(negative, low_end, high_end),
                      rounded[:SCALED_BITS].as_signed())
        addend = line.at(8, f"bias_{lane}")
        if is_gate:
            addend = Mux(line.at(8, "gate"), addend << (GATE_FRACTION - LOGIT_FRACTION), addend)
        m.d.comb += [
            self.o[lane].eq(register("biased", clipped + addend, signed(BIASED_BITS))),
            self.bias[lane].eq(line.at(9, f"bias_{lane}")),
        ]

    def _join(self, low: Value, high: Value) -> Value:
        """``low``, or ``round(low / 128) + high``: rounding is left to the adder's carry."""
        base, half = Mux(self.digits, low.shift_right(DIGIT_BITS), low), self.digits & low[DIGIT_BITS - 1]
        both = Cat(C(1, 1), base).as_signed() + Cat(half, Mux(self.digits, high, 0)).as_signed()
        return both[1:ACCUMULATOR_BITS + 1].as_signed()
