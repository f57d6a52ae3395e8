# SPDX-License-Identifier: Apache-2.0
"""From accumulators to values: times row scale and column scale, plus bias."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from moevit.spec.arrays import MachineConfig
from moevit.spec.formats import ACCUMULATOR_BITS, DIGIT_BITS, GATE_FRACTION, LOGIT_FRACTION

from ..layouts import column_layout, row_scale_layout
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

    Where a gate takes two sweeps, its lanes have two sums. With ``digits`` their accumulator is
    ``round(sum / 128) + high``, which equals the one sum of three sweeps. It fits s27: 2048 channels make less than
    2048 x (255 x 127 + 192) < 2^26 of it (``golden.integer.bounds``).

    With ``gate`` the bias of the first max_experts lanes is shifted to the fraction of gate logits.

    It takes two multipliers per lane, three without ``packed``.

    Golden: ``golden.integer.row_writer.scaled``.
    Latency: 9 cycles from ``sums`` to ``o`` (`latency`).
    Throughput: one word per cycle.
    Back-pressure: none.

    Parameters
    ----------
    config : MachineConfig
        ``k_lanes``, ``packed`` (how wide the multipliers are), ``gate_sweeps``, ``max_experts``

    Members
    -------
    sums : In(data.ArrayLayout(signed(27), k_lanes))
        accumulators
    scale : In(row_scale_layout())
        of the row
    shift : In(6)
        of the pass; the row's exponent is subtracted from it
    columns : In(column_layout(config))
        column scales and biases of the lanes
    constant : In(1)
        the column scale is ``constant_scale`` and the bias 0 in all lanes
    constant_scale : In(16)
        of the pass
    gate : In(1)
        the word is a token's gate logits
    digits : In(1)
        the lanes of the experts have two sums; with ``sums``
    high : In(data.ArrayLayout(signed(27), max_experts))
        the experts' sums of products of two high digits; with ``sums``
    o : Out(data.ArrayLayout(signed(25), k_lanes))
        scaled sums plus bias
    bias : Out(data.ArrayLayout(signed(16), k_lanes))
        the biases in the ``o`` of the same cycle, before they are shifted
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
        is_gate = lane < self._config.max_experts
        # Stage 1: column scale and bias; both sums of a gate's expert become one.
        if is_gate and self._config.gate_sweeps == 2:
            joined = _register(m, f"joined_{lane}", self._join(self.sums[lane], self.high[lane]))
            line.put(1, **{f"sum_{lane}": joined})
        else:
            line.put(0, **{f"sum_{lane}": self.sums[lane]})
        column = self.columns[lane]
        scale = _register(m, f"scale_{lane}", Mux(self.constant, self.constant_scale, column.scale))
        bias = _register(m, f"bias_{lane}", Mux(self.constant, 0, column.bias), signed(16))
        line.put(1, **{f"bias_{lane}": bias})
        # Stages 2 to 9.
        clipped = self._shift(m, line, lane, self._product(m, line, lane, scale))
        addend = line.at(8, f"bias_{lane}")
        if is_gate:
            addend = Mux(line.at(8, "gate"), addend << (GATE_FRACTION - LOGIT_FRACTION), addend)
        m.d.comb += [
            self.o[lane].eq(_register(m, f"biased_{lane}", clipped + addend, signed(BIASED_BITS))),
            self.bias[lane].eq(line.at(9, f"bias_{lane}")),
        ]

    def _product(self, m: Module, line: Timeline, lane: int, scale: Signal) -> Signal:
        """Stages 2 to 5: accumulator x row scale x column scale, rounded once in between."""
        # Stage 2: multiply the scales.
        product = _register(m, f"product_{lane}", scale * line.at(1, "mantissa"))
        # Stage 3: round.
        factor = _register(m, f"factor_{lane}", round_shift(product, 15), 17)
        # Stage 4: multiply. An accumulator is wider than the multipliers, so its highest bits are a product of their
        # own. With a DSP48E1 these are only three bits, and adders replace the second multiplier.
        total, low_bits = line.at(3, f"sum_{lane}"), self._low_bits
        low = _register(m, f"low_{lane}", total[:low_bits] * factor)
        if self._config.packed:
            times_1, times_2, times_4 = (Mux(bit, factor << i, 0) for i, bit in enumerate(total[low_bits:]))
            high = _register(m, f"high_{lane}", times_1 + times_2 - times_4)
        else:
            high = _register(m, f"high_{lane}", total[low_bits:].as_signed() * factor)
        # Stage 5: add both products.
        return _register(m, f"exact_{lane}", low + (high << low_bits), signed(ACCUMULATOR_BITS + 17))

    def _shift(self, m: Module, line: Timeline, lane: int, exact: Signal) -> Value:
        """Stages 6 to 8: shifted and rounded; in stage 9, clipped to s24."""
        # Stage 6: shift by a multiple of 8. A bit below the last serves for rounding.
        shifted = Cat(C(0, 1), exact).as_signed() >> (line.at(5, "coarse") << _FINE)
        kept = _register(m, f"kept_{lane}", shifted[:_KEPT].as_signed())
        over = _register(m, f"over_{lane}", (shifted[_KEPT - 1:] != 0) & ~shifted[_KEPT - 1:].all())
        negative = _register(m, f"negative_{lane}", exact[-1])
        # Stage 7: shift by 0 to 7.
        fine = _register(m, f"fine_{lane}", kept >> line.at(6, "fine"))
        over, negative = _register(m, f"over_7_{lane}", over), _register(m, f"negative_7_{lane}", negative)
        # Stage 8: round.
        rounded = _register(m, f"rounded_{lane}", round_shift(fine, 1))
        over, negative = _register(m, f"over_8_{lane}", over), _register(m, f"negative_8_{lane}", negative)
        # Stage 9: clip.
        least, most = -(1 << SCALED_BITS - 1), (1 << SCALED_BITS - 1) - 1
        top = rounded[SCALED_BITS - 1:]
        return Mux(over | (top.any() & ~top.all()), Mux(negative, least, most), rounded[:SCALED_BITS].as_signed())

    def _join(self, low: Value, high: Value) -> Value:
        """``low``, or with ``digits`` ``round(low / 128) + high``. The carry into the adder does the rounding."""
        base, half = Mux(self.digits, low.shift_right(DIGIT_BITS), low), self.digits & low[DIGIT_BITS - 1]
        both = Cat(C(1, 1), base).as_signed() + Cat(half, Mux(self.digits, high, 0)).as_signed()
        return both[1:ACCUMULATOR_BITS + 1].as_signed()


def _register(m: Module, name: str, value: Value, shape=None) -> Signal:
    """``value`` a cycle later."""
    signal = Signal(value.shape() if shape is None else shape, name=name, reset_less=True)
    m.d.sync += signal.eq(value)
    return signal
