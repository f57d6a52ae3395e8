# SPDX-License-Identifier: Apache-2.0
"""From a word of a row to operands of the array, in each of k_lanes lanes."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from moevit.spec.arrays import MachineConfig
from moevit.spec.formats import GAIN_SHIFT, OPERAND_BITS, ROW_BITS
from moevit.spec.isa import Operand

from ..interfaces import Flow, peak_layout
from ..math.exp2 import Exp2
from ..math.rounding import round_shift
from ..math.row_scale import operand_digit
from ..math.square import Square
from .fetch import fetched_word_layout
from .sequence import Kind
from .timeline import Timeline

__all__ = ["FACTOR_UNIT", "VALUE_BITS", "Lanes", "factor_layout"]

VALUE_BITS = 25  # (x - mean) x gain / 2^8


def factor_layout() -> data.StructLayout:
    """``q = round(value x multiplier / 2^(shift + 1))``: the quantiser of a row, ``shift`` = 8 + e in 0..25."""
    return data.StructLayout({"multiplier": 16, "shift": 5})


#: The factor that makes q 128 x value, so that the high digit is the value: for RAW and EXP.
FACTOR_UNIT = {"multiplier": 1 << 15, "shift": 7}


class Lanes(wiring.Component):
    """Subtract the mean, multiply by the gain, quantise, take a digit; two multipliers a lane.

    Every operand takes the same way: ROW has mean 0 and gain 1, RAW the low nine bits, EXP the exponential, both with
    :data:`FACTOR_UNIT`. The statistics of NORM (PEAKS) use both multipliers: the second one squares the word. The word
    behind it (``norm_words`` 2) has a third one for its value, and LUTs for its square.
    ``golden.integer.row_scale.quantise`` and ``digits``, ``golden.integer.norm.apply_gain``,
    ``golden.integer.softmax.exponentials``, exactly, if no value exceeds the peak that the factor was made from.
    One word per cycle, :attr:`LATENCY` cycles, no back-pressure.

    Members
    -------
    word : In(Flow(fetched_word_layout(config)))
    maximum : In(s17), with the word (EXP)
    factor : In(factor_layout()), 3 cycles after the word
    operands : Out(Flow(k_lanes x s9))
    values : Out(norm_words x k_lanes x s25), 3 cycles after the word (PEAKS)
    squares : Out(norm_words x k_lanes x u31), 5 cycles after the word (PEAKS)
    """

    LATENCY = 8
    VALUES = 3
    SQUARES = 5

    def __init__(self, config: MachineConfig):
        self._config = config
        statistics = config.norm_words * config.k_lanes
        super().__init__({
            "word": In(Flow(fetched_word_layout(config))),
            "maximum": In(peak_layout()),
            "factor": In(factor_layout()),
            "operands": Out(Flow(data.ArrayLayout(signed(OPERAND_BITS), config.k_lanes))),
            "squares": Out(data.ArrayLayout(unsigned(2 * ROW_BITS - 1), statistics)),
            "values": Out(data.ArrayLayout(signed(VALUE_BITS), statistics)),
        })

    def elaborate(self, platform):
        m = Module()
        word, pipe = self.word.payload, Timeline(m)
        m.submodules.exp2 = exp2 = Exp2(self._config.k_lanes)
        m.d.comb += [exp2.logits.eq(word.data), exp2.maximum.eq(self.maximum), exp2.enable.eq(word.keys)]
        passing, operand = word.kind == Kind.PASS, word.operand
        pipe.put(0, valid=self.word.valid & passing, low=word.low, square=word.kind == Kind.PEAKS,
                 gained=~passing | (operand == Operand.NORM), raw=passing & (operand == Operand.RAW),
                 exp=passing & (operand == Operand.EXP))
        pipe.put(3, shift=self.factor.shift)
        for lane in range(self._config.k_lanes):
            self._lane(m, pipe, lane, exp2.o[lane])
            if self._config.norm_words == 2:
                self._statistics(m, pipe, lane, word.next)
        m.d.comb += self.operands.valid.eq(pipe.at(self.LATENCY, "valid"))
        return m

    def _lane(self, m: Module, pipe: Timeline, lane: int, exponential: Value) -> None:
        word = self.word.payload

        def register(shape, name):
            return Signal(shape, name=f"{name}_{lane}", reset_less=True)

        # Stage 1: subtract the mean; choose the gain; magnitude, for the square.
        centred, gain = register(signed(18), "centred"), register(signed(ROW_BITS), "gain")
        m.d.sync += [
            centred.eq(word.data[lane] - word.mean),
            gain.eq(Mux(pipe.at(0, "gained"), word.gain[lane], 1 << GAIN_SHIFT)),
        ]
        magnitude = register(ROW_BITS, "magnitude")
        m.d.sync += magnitude.eq(abs(word.data[lane]))
        pipe.put(1, **{f"magnitude_{lane}": magnitude})
        # Stage 2: multiply by the gain.
        product = register(signed(34), "product")
        m.d.sync += product.eq(centred * gain)
        # Stage 3: add half.
        rounded = register(signed(34), "rounded")
        m.d.sync += rounded.eq(product + (1 << (GAIN_SHIFT - 1)))
        gained = rounded >> GAIN_SHIFT
        m.d.comb += self.values[lane].eq(gained)
        # Stage 4: choose the value and what it is multiplied by.
        value, multiplier = register(signed(VALUE_BITS), "value"), register(16, "multiplier")
        square, magnitude = pipe.at(3, "square"), pipe.at(3, f"magnitude_{lane}")
        m.d.sync += [
            value.eq(Mux(square, magnitude, Mux(pipe.at(3, "exp"), exponential, Mux(
                pipe.at(3, "raw"), gained[:OPERAND_BITS].as_signed(), gained)))),
            multiplier.eq(Mux(square, magnitude, self.factor.multiplier)),
        ]
        # Stage 5: multiply by the quantiser, or square.
        scaled = register(signed(42), "scaled")
        m.d.sync += scaled.eq(value * multiplier)
        m.d.comb += self.squares[lane].eq(scaled)
        # Stage 6: shift by eights.
        shift = pipe.at(5, "shift")
        coarse = register(signed(25), "coarse")
        m.d.sync += coarse.eq(scaled >> (shift[3:] << 3))
        # Stage 7: shift by ones, round.
        q = register(signed(17), "q")
        m.d.sync += q.eq(round_shift((coarse >> pipe.at(6, "shift")[:3])[:18].as_signed(), 1))
        # Stage 8: clip, take the digit.
        m.d.sync += self.operands.payload[lane].eq(operand_digit(q, pipe.at(7, "low"), ~pipe.at(7, "raw")))

    def _statistics(self, m: Module, pipe: Timeline, lane: int, following: data.View) -> None:
        """A lane of the word behind: value and square, in step with the first word's."""
        word, place = self.word.payload, self._config.k_lanes + lane

        def register(shape, name):
            return Signal(shape, name=f"{name}_{place}", reset_less=True)

        # Stage 1: subtract the mean; magnitude.
        centred, gain, magnitude = (register(*each) for each in (
            (signed(18), "centred"), (signed(ROW_BITS), "gain"), (ROW_BITS, "magnitude")))
        m.d.sync += [
            centred.eq(following.data[lane] - word.mean),
            gain.eq(following.gain[lane]),
            magnitude.eq(abs(following.data[lane])),
        ]
        # Stages 2 and 3: multiply by the gain, add half.
        product, rounded = register(signed(34), "product"), register(signed(34), "rounded")
        m.d.sync += [product.eq(centred * gain), rounded.eq(product + (1 << (GAIN_SHIFT - 1)))]
        m.d.comb += self.values[place].eq(rounded >> GAIN_SHIFT)
        # Stages 3 to 5: square.
        m.submodules[f"square_{lane}"] = square = Square()
        pipe.put(1, **{f"magnitude_{place}": magnitude})
        m.d.comb += [
            square.i.eq(pipe.at(self.SQUARES - Square.latency, f"magnitude_{place}")),
            self.squares[place].eq(square.o),
        ]
