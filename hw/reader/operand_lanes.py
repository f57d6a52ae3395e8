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
from ..plumbing.timeline import Timeline
from .access import ReadPurpose, fetched_word_layout

__all__ = ["FACTOR_UNIT", "VALUE_BITS", "OperandLanes", "factor_layout"]

VALUE_BITS = 25  # (x - mean) x gain / 2^8
_PIECE = 17  # of a value, unsigned, for multipliers of 18 x 18


def factor_layout() -> data.StructLayout:
    """``q = round(value x multiplier / 2^(shift + 1))``: the quantiser of a row, ``shift`` = 8 + e in 0..25."""
    return data.StructLayout({"multiplier": 16, "shift": 5})


#: The factor that makes q 128 x value, so that the high digit is the value: for RAW and EXP.
FACTOR_UNIT = {"multiplier": 1 << 15, "shift": 7}


class OperandLanes(wiring.Component):
    """Subtract the mean, multiply by the gain, quantise, take a digit; two multipliers a lane, three without
    ``packed``.

    Every operand takes the same way: ROW has mean 0 and gain 1, RAW the low nine bits, EXP the exponential, both with
    :data:`FACTOR_UNIT`. The statistics of NORM (PEAKS) are values and squares of up to ``norm_words`` words:

    ==========  ================  ================  ================  ==============
    norm_words  first value       second value      third value       squares
    ==========  ================  ================  ================  ==============
    1           by the gain                                           by the quantiser
    2           by the gain       a third one                         by the quantiser, LUTs
    3           by the gain       a third one       by the quantiser  LUTs
    ==========  ================  ================  ================  ==============

    ``golden.integer.row_scale.quantise`` and ``digits``, ``golden.integer.norm.apply_gain``,
    ``golden.integer.softmax.exponentials``, exactly, if no value exceeds the peak that the factor was made from.
    One word (PEAKS: ``norm_words``) per cycle, :attr:`latency` cycles, no back-pressure.

    Members
    -------
    word : In(Flow(fetched_word_layout(config)))
    maximum : In(s17), with the word (EXP)
    factor : In(factor_layout()), 3 cycles after the word
    operands : Out(Flow(k_lanes x s9))
    values : Out(norm_words x k_lanes x s25), :attr:`latency_values` cycles after the words (PEAKS)
    squares : Out(norm_words x k_lanes x u31), 5 cycles after the words (PEAKS)
    """

    latency = 8
    latency_values = 3, 3, 6
    latency_squares = 5

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
        m.d.comb += [exp2.logits.eq(word.words[0].data), exp2.maximum.eq(self.maximum), exp2.enable.eq(word.key_mask)]
        passing, operand = word.purpose == ReadPurpose.PASS, word.operand
        pipe.put(0, reset=True, valid=self.word.valid & passing)
        pipe.put(0, low=word.low_digit, peaks=word.purpose == ReadPurpose.PEAKS,
                 gained=~passing | (operand == Operand.NORM), raw=passing & (operand == Operand.RAW),
                 exp=passing & (operand == Operand.EXP))
        pipe.put(3, shift=self.factor.shift)
        for lane in range(self._config.k_lanes):
            self._lane(m, pipe, lane, exp2.o[lane])
        m.d.comb += self.operands.valid.eq(pipe.at(self.latency, "valid"))
        return m

    def _lane(self, m: Module, pipe: Timeline, lane: int, exponential: Value) -> None:
        words = self._config.norm_words
        places = range(lane, len(self.values), self._config.k_lanes)  # of the lane's words among values and squares

        def register(shape, name):
            return Signal(shape, name=f"{name}_{lane}", reset_less=True)

        # Stages 1 to 3: subtract the mean, multiply by the gain; a third word has to wait for a multiplier.
        for place, word in zip(places, self.word.payload.words, strict=True):
            gain = word.gain[lane] if place > lane else Mux(pipe.at(0, "gained"), word.gain[lane], 1 << GAIN_SHIFT)
            self._centre(m, pipe, place, word.data[lane], gain)
        for place in places[:2]:
            self._gain(m, pipe, place)
        gained = self.values[lane]
        # Stage 4: choose the value and what it is multiplied by; for statistics the word by itself, or a third word by
        # its gain.
        value, multiplier = register(signed(VALUE_BITS), "value"), register(signed(17), "multiplier")
        names = (f"centred_{places[2]}", f"gain_{places[2]}") if words == 3 else 2 * (f"magnitude_{lane}",)
        peaks, (left, right) = pipe.at(3, "peaks"), (pipe.at(3, name) for name in names)
        m.d.sync += [
            value.eq(Mux(peaks, left, Mux(pipe.at(3, "exp"), exponential, Mux(
                pipe.at(3, "raw"), gained[:OPERAND_BITS].as_signed(), gained)))),
            multiplier.eq(Mux(peaks, right, self.factor.multiplier)),
        ]
        # Stage 5: multiply; a square is all in the low piece.
        low = value if self._config.packed else value[:_PIECE]
        scaled = square = register(signed(42), "scaled")
        m.d.sync += scaled.eq(low * multiplier)
        if not self._config.packed:
            high = register(signed(VALUE_BITS - _PIECE + 17), "scaled_high")
            m.d.sync += high.eq(value[_PIECE:].as_signed() * multiplier)
            scaled = scaled + (high << _PIECE)
        if words < 3:
            m.d.comb += self.squares[lane].eq(square)
        for place in places[int(words < 3):]:
            self._square(m, pipe, place)
        # Stage 6: shift by eights; add half to the third word.
        if words == 3:
            self._round(m, places[2], scaled)
        shift = pipe.at(5, "shift")
        coarse = register(signed(25), "coarse")
        m.d.sync += coarse.eq(scaled >> (shift[3:] << 3))
        # Stage 7: shift by ones, round.
        q = register(signed(17), "q")
        m.d.sync += q.eq(round_shift((coarse >> pipe.at(6, "shift")[:3])[:18].as_signed(), 1))
        # Stage 8: clip, take the digit.
        m.d.sync += self.operands.payload[lane].eq(operand_digit(q, pipe.at(7, "low"), ~pipe.at(7, "raw")))

    def _centre(self, m: Module, pipe: Timeline, place: int, x: Value, by: Value) -> None:
        """Stage 1: x - mean, its gain, and |x| for the square."""
        centred, gain, magnitude = (Signal(shape, name=f"{name}_{place}", reset_less=True) for shape, name in (
            (signed(18), "centred"), (signed(ROW_BITS), "gain"), (ROW_BITS, "magnitude")))
        m.d.sync += [centred.eq(x - self.word.payload.mean), gain.eq(by), magnitude.eq(abs(x))]
        pipe.put(1, **{f"centred_{place}": centred, f"gain_{place}": gain, f"magnitude_{place}": magnitude})

    def _gain(self, m: Module, pipe: Timeline, place: int) -> None:
        """Stages 2 and 3: a value, by a multiplier of its own."""
        product = Signal(signed(34), name=f"product_{place}", reset_less=True)
        m.d.sync += product.eq(pipe.at(1, f"centred_{place}") * pipe.at(1, f"gain_{place}"))
        self._round(m, place, product)

    def _round(self, m: Module, place: int, product: Value) -> None:
        """A stage: add half; a value is what is left."""
        rounded = Signal(signed(34), name=f"rounded_{place}", reset_less=True)
        m.d.sync += rounded.eq(product + (1 << (GAIN_SHIFT - 1)))
        m.d.comb += self.values[place].eq(rounded >> GAIN_SHIFT)

    def _square(self, m: Module, pipe: Timeline, place: int) -> None:
        """Stages 3 to 5: a square, without a multiplier."""
        m.submodules[f"square_{place}"] = square = Square()
        m.d.comb += [
            square.i.eq(pipe.at(self.latency_squares - Square.latency, f"magnitude_{place}")),
            self.squares[place].eq(square.o),
        ]
