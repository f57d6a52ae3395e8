# SPDX-License-Identifier: Apache-2.0
"""From a word of a row to operands of the array, in each of k_lanes lanes."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from moevit.spec.arrays import MachineConfig
from moevit.spec.formats import GAIN_SHIFT, OPERAND_BITS, ROW_BITS
from moevit.spec.isa import Operand

from ..interfaces import Flow
from ..layouts import peak_layout
from ..math.exp2 import Exp2
from ..math.rounding import round_shift
from ..math.row_scale import operand_digit
from ..math.square import Square
from ..plumbing.timeline import Timeline
from .access import ReadPurpose, fetched_word_layout

__all__ = ["FACTOR_UNIT", "VALUE_BITS", "OperandLanes", "factor_layout", "squares_layout", "values_layout"]

VALUE_BITS = 25  # (x - mean) x gain / 2^8
_PIECE = 17  # of a value, unsigned, for multipliers of 18 x 18


def factor_layout() -> data.StructLayout:
    """The quantiser of a row: ``q = round(value x multiplier / 2^(shift + 1))``. ``shift`` is 8 + e, 0..25."""
    return data.StructLayout({"multiplier": 16, "shift": 5})


def values_layout(config: MachineConfig) -> data.ArrayLayout:
    """Normalised values of the words that a NORM takes in a cycle."""
    return data.ArrayLayout(signed(VALUE_BITS), config.norm_words * config.k_lanes)


def squares_layout(config: MachineConfig) -> data.ArrayLayout:
    """Squares of these words' values."""
    return data.ArrayLayout(unsigned(2 * ROW_BITS - 1), config.norm_words * config.k_lanes)


#: With this factor q is 128 x value, so that the high digit is the value itself (RAW, EXP).
FACTOR_UNIT = {"multiplier": 1 << 15, "shift": 7}


class OperandLanes(wiring.Component):
    """Subtracts the mean, multiplies by the gain, quantises, and takes a digit, in each lane.

    ``value = round((x - mean) x gain / 2^8)``, ``q = round(value x multiplier / 2^(shift + 1))``; the operand is a
    digit of q.

    All operands take the same path. ROW has mean 0 and gain 1, RAW takes the low nine bits, EXP the exponential.
    A lane has two multipliers, three without `packed`.

    For the statistics of a NORM (PEAKS) the lane gives the values and the squares of `norm_words` words. The products
    are made as follows; "gain" and "quantiser" are the multipliers of the path above:

    ==========  ===========  ===========  ===========  ================
    norm_words  first value  second       third        squares
    ==========  ===========  ===========  ===========  ================
    1           gain                                   quantiser
    2           gain         a third one               quantiser, LUTs
    3           gain         a third one  quantiser    LUTs
    ==========  ===========  ===========  ===========  ================

    Results are exact if no value exceeds the peak from which the factor was made.

    Golden: ``golden.integer.row_scale.quantise``, ``golden.integer.row_scale.digits``,
    ``golden.integer.norm.apply_gain``, ``golden.integer.softmax.exponentials``.
    Latency: 8 cycles from ``word`` to ``operands`` (`latency`); 3, 3 and 6 cycles to the ``values`` of the first,
    second and third word (`latency_values`), 5 cycles to ``squares`` (`latency_squares`); ``factor`` comes 3 cycles
    after its word (`factor_delay`).
    Throughput: one word per cycle, of a NORM `norm_words` words.
    Back-pressure: none.

    Parameters
    ----------
    config : MachineConfig
        `norm_words`, and whether multipliers are `packed`

    Members
    -------
    word : In(Flow(fetched_word_layout(config)))
        the words of an access
    maximum : In(s17)
        maximum of the row, with the word (EXP)
    factor : In(factor_layout())
        quantiser of the row
    operands : Out(Flow(k_lanes x s9))
        operands of a PASS
    squares : Out(norm_words x k_lanes x u31)
        squares of the words (PEAKS)
    values : Out(norm_words x k_lanes x s25)
        centred words times gain (PEAKS)
    """

    latency = 8
    latency_values = 3, 3, 6
    latency_squares = 5
    factor_delay = 3

    def __init__(self, config: MachineConfig):
        self._config = config
        super().__init__({
            "word": In(Flow(fetched_word_layout(config))),
            "maximum": In(peak_layout()),
            "factor": In(factor_layout()),
            "operands": Out(Flow(data.ArrayLayout(signed(OPERAND_BITS), config.k_lanes))),
            "squares": Out(squares_layout(config)),
            "values": Out(values_layout(config)),
        })

    def elaborate(self, platform):
        m = Module()
        word, pipe = self.word.payload, Timeline(m)
        m.submodules.exp2 = exp2 = Exp2(self._config.k_lanes)
        m.d.comb += [exp2.logits.eq(word.words[0].data), exp2.maximum.eq(self.maximum), exp2.enable.eq(word.key_mask)]
        is_pass, operand = word.purpose == ReadPurpose.PASS, word.operand
        pipe.put(0, reset=True, valid=self.word.valid & is_pass)
        pipe.put(0, low=word.low_digit, peaks=word.purpose == ReadPurpose.PEAKS,
                 has_gain=~is_pass | (operand == Operand.NORM), raw=is_pass & (operand == Operand.RAW),
                 exp=is_pass & (operand == Operand.EXP))
        pipe.put(self.factor_delay, shift=self.factor.shift)
        for lane in range(self._config.k_lanes):
            self._lane(m, pipe, lane, exp2.o[lane])
        m.d.comb += self.operands.valid.eq(pipe.at(self.latency, "valid"))
        return m

    def _lane(self, m: Module, pipe: Timeline, lane: int, exponential: Value) -> None:
        """One lane of operands, values and squares."""
        words = self._config.norm_words
        places = range(lane, len(self.values), self._config.k_lanes)  # of the lane's values and squares

        def register(shape, name):
            return Signal(shape, name=f"{name}_{lane}", reset_less=True)

        # Stages 1 to 3: subtract the mean, multiply by the gain. A third word waits for the quantiser's multiplier.
        for place, word in zip(places, self.word.payload.words, strict=True):
            gain = word.gain[lane] if place > lane else Mux(pipe.at(0, "has_gain"), word.gain[lane], 1 << GAIN_SHIFT)
            self._centre(m, pipe, place, word.data[lane], gain)
        for place in places[:2]:
            self._gain(m, pipe, place)
        normalised = self.values[lane]
        # Stage 4: choose the factors: value and multiplier; for statistics |x| and |x|, or the third word and its gain.
        value, multiplier = register(signed(VALUE_BITS), "value"), register(signed(17), "multiplier")
        names = (f"centred_{places[2]}", f"gain_{places[2]}") if words == 3 else 2 * (f"magnitude_{lane}",)
        peaks, (left, right) = pipe.at(3, "peaks"), (pipe.at(3, name) for name in names)
        m.d.sync += [
            value.eq(Mux(peaks, left, Mux(pipe.at(3, "exp"), exponential, Mux(
                pipe.at(3, "raw"), normalised[:OPERAND_BITS].as_signed(), normalised)))),
            multiplier.eq(Mux(peaks, right, self.factor.multiplier)),
        ]
        # Stage 5: multiply. A square fits the low piece.
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
        # Stage 6: shift by multiples of 8; round the third word.
        if words == 3:
            self._round(m, places[2], scaled)
        shift = pipe.at(5, "shift")
        coarse = register(signed(25), "coarse")
        m.d.sync += coarse.eq(scaled >> (shift[3:] << 3))
        # Stage 7: shift by 0..7; round.
        q = register(signed(17), "q")
        m.d.sync += q.eq(round_shift((coarse >> pipe.at(6, "shift")[:3])[:18].as_signed(), 1))
        # Stage 8: clip, take the digit.
        m.d.sync += self.operands.payload[lane].eq(operand_digit(q, pipe.at(7, "low"), ~pipe.at(7, "raw")))

    def _centre(self, m: Module, pipe: Timeline, place: int, x: Value, by: Value) -> None:
        """Stage 1: x - mean, its gain ``by``, and |x| for the square."""
        centred, gain, magnitude = (Signal(shape, name=f"{name}_{place}", reset_less=True) for shape, name in (
            (signed(18), "centred"), (signed(ROW_BITS), "gain"), (ROW_BITS, "magnitude")))
        m.d.sync += [centred.eq(x - self.word.payload.mean), gain.eq(by), magnitude.eq(abs(x))]
        pipe.put(1, **{f"centred_{place}": centred, f"gain_{place}": gain, f"magnitude_{place}": magnitude})

    def _gain(self, m: Module, pipe: Timeline, place: int) -> None:
        """Stages 2 and 3: a value, with a multiplier of its own."""
        product = Signal(signed(34), name=f"product_{place}", reset_less=True)
        m.d.sync += product.eq(pipe.at(1, f"centred_{place}") * pipe.at(1, f"gain_{place}"))
        self._round(m, place, product)

    def _round(self, m: Module, place: int, product: Value) -> None:
        """One stage: rounds a product to a value."""
        rounded = Signal(signed(34), name=f"rounded_{place}", reset_less=True)
        m.d.sync += rounded.eq(product + (1 << (GAIN_SHIFT - 1)))
        m.d.comb += self.values[place].eq(rounded >> GAIN_SHIFT)

    def _square(self, m: Module, pipe: Timeline, place: int) -> None:
        """Stages 3 to 5: a square without a multiplier."""
        m.submodules[f"square_{place}"] = square = Square()
        m.d.comb += [
            square.i.eq(pipe.at(self.latency_squares - Square.latency, f"magnitude_{place}")),
            self.squares[place].eq(square.o),
        ]
