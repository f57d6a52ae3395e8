# SPDX-License-Identifier: Apache-2.0
"""Last part of a NORM: the scale of each normalised row."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from moevit.spec.arrays import MachineConfig

from ..interfaces import Flow, MemoryRead
from ..layouts import TOKEN_BITS, mean_shape
from ..math.rounding import round_shift
from ..math.row_scale import PeakScale
from ..plumbing.timeline import Timeline, tree
from .inverse_std import InverseStd
from .means import means_layout
from .operand_lanes import VALUE_BITS, OperandLanes, squares_layout, values_layout
from .operand_scale import norm_scale_layout

__all__ = ["NormScale", "norm_row_layout"]


_SQUARES = OperandLanes.latency_squares - OperandLanes.latency_values[0]


def norm_row_layout() -> data.StructLayout:
    """An entry when it is written, for the trace."""
    return data.StructLayout({"row": TOKEN_BITS, "mean": mean_shape(), "norm": norm_scale_layout()})


class NormScale(wiring.Component):
    """The peak of each normalised row, rounded up to nine bits, and its product with 1/std, into a table.

    ``peak = max |(x - mean) x gain|``, ``scale = peak / std``.

    Golden: ``golden.integer.norm.norm_rows``.
    Latency: `latency` cycles from a row's last words to the write of its entry; ``done`` one cycle later, when the last
    entry can be read.
    Throughput: `norm_words` words per cycle; rows back to back.
    Back-pressure: none.

    Parameters
    ----------
    config : MachineConfig
        `norm_words` and `k_lanes`

    Members
    -------
    valid : In(1)
        words of a row are here
    first : In(1)
        they are the row's first words
    final : In(1)
        they are the row's last words
    end : In(1)
        they are the last words of all
    row : In(12)
        their row
    values : In(norm_words x k_lanes x s25)
        normalised words, 0 where there is no word. The first word's come with ``valid``, the others later by the
        difference of their `OperandLanes.latency_values`
    squares : In(norm_words x k_lanes x u31)
        squares of all words, 2 cycles after ``valid``
    dim : In(12)
        values of a row; steady
    epsilon : In(32)
        steady
    means : Out(MemoryRead(max_tokens, means_layout()))
        table of the means
    stored : Out(Flow(norm_row_layout()))
        each entry in the cycle of its write
    done : Out(1)
        the last entry can be read
    read : In(MemoryRead(max_tokens, norm_scale_layout()))
        read port of the table
    """

    def __init__(self, config: MachineConfig):
        self._config = config
        self._peak_scale = PeakScale(VALUE_BITS)
        self._inverse_std = InverseStd(config.norm_words * config.k_lanes, dsp48=config.packed)
        super().__init__({
            "valid": In(1),
            "first": In(1),
            "final": In(1),
            "end": In(1),
            "row": In(TOKEN_BITS),
            "values": In(values_layout(config)),
            "squares": In(squares_layout(config)),
            "dim": In(12),
            "epsilon": In(32),
            "means": Out(MemoryRead(config.max_tokens, means_layout())),
            "stored": Out(Flow(norm_row_layout())),
            "done": Out(1),
            "read": In(MemoryRead(config.max_tokens, norm_scale_layout())),
        })

    @property
    def latency(self) -> int:
        """Cycles from a row's last word to the write of its entry."""
        return _SQUARES + self._inverse_std.latency + 3

    def elaborate(self, platform):
        m = Module()
        pipe = Timeline(m)
        pipe.put(0, reset=True, valid=self.valid, final_valid=self.valid & self.final, end_valid=self.valid & self.end)
        pipe.put(0, first=self.first, row=self.row)
        self._peak(m, pipe)
        self._root(m, pipe)
        self._scale(m, pipe)
        self._store(m, pipe)
        return m

    def _peak(self, m: Module, pipe: Timeline) -> None:
        """Finds the largest magnitude of a row, and its scale."""
        m.submodules.peak_scale = peak_scale = self._peak_scale
        # Up to stage `widest`: the largest of the words that come in a cycle.
        largest, widest = self._largest(m, pipe)
        # Stage `widest` + 1: the largest of the row's words.
        peak = Signal(VALUE_BITS - 1)
        with m.If(pipe.at(widest, "valid")):
            m.d.sync += peak.eq(Mux(pipe.at(widest, "first") | (largest > peak), largest, peak))
        # The next stages: its scale.
        m.d.comb += [peak_scale.i.valid.eq(pipe.at(widest + 1, "final_valid")), peak_scale.i.payload.eq(peak)]
        pipe.put(widest + 1 + peak_scale.latency, peak_scale=peak_scale.o.payload)

    def _root(self, m: Module, pipe: Timeline) -> None:
        """Finds 1/std; takes mean and sum from their table when the unit needs the sum."""
        m.submodules.inverse_std = inverse_std = self._inverse_std
        needed = _SQUARES + inverse_std.total_delay
        pipe.put(needed - 1, mean=self.means.data.mean, total=self.means.data.total)
        m.d.comb += [
            inverse_std.valid.eq(pipe.at(_SQUARES, "valid")),
            inverse_std.first.eq(pipe.at(_SQUARES, "first")),
            inverse_std.final.eq(pipe.at(_SQUARES, "final_valid")),
            inverse_std.squares.eq(self.squares),
            inverse_std.dim.eq(self.dim),
            inverse_std.epsilon.eq(self.epsilon),
            self.means.enable.eq(pipe.at(needed - 2, "final_valid")),
            self.means.address.eq(pipe.at(needed - 2, "row")),
            inverse_std.total.eq(pipe.at(needed, "total")),  # a register: the multiplier may be far from the table
        ]

    def _scale(self, m: Module, pipe: Timeline) -> None:
        """Three stages after 1/std: a register, the product with the peak's scale, and its rounding."""
        rooted, inverse_std = _SQUARES + self._inverse_std.latency, self._inverse_std.root.payload
        # Stage `rooted` + 1: a table's data come too late in their cycle for a multiplier.
        root, peak_scale = Signal.like(inverse_std, reset_less=True), pipe.at(rooted + 1, "peak_scale")
        m.d.sync += root.eq(inverse_std)
        # Stage `rooted` + 2: multiply.
        product, exponent = Signal(9 + 16, reset_less=True), Signal(signed(8), reset_less=True)
        m.d.sync += [
            product.eq(Cat(peak_scale.fraction, 1) * root.mantissa),
            exponent.eq(peak_scale.e + 4 + root.exponent),
        ]
        # Stage `rooted` + 3: round.
        mantissa = Signal(16, reset_less=True)
        m.d.sync += mantissa.eq(round_shift(product, 9))
        pipe.put(rooted + 2, exponent=exponent)
        pipe.put(rooted + 3, mantissa=mantissa)

    def _store(self, m: Module, pipe: Timeline) -> None:
        """Stage `latency`: write the entry."""
        written, entry = self.latency, self.stored.payload
        m.d.comb += [
            self.stored.valid.eq(pipe.at(written, "final_valid")),
            entry.row.eq(pipe.at(written, "row")),
            entry.mean.eq(pipe.at(written, "mean")),
            entry.norm.peak.eq(pipe.at(written, "peak_scale")),
            entry.norm.scale.mantissa.eq(pipe.at(written, "mantissa")),
            entry.norm.scale.exponent.eq(pipe.at(written, "exponent")),
            self.done.eq(pipe.at(written + 1, "end_valid")),
        ]
        m.submodules.table = table = Memory(shape=norm_scale_layout(), depth=self._config.max_tokens, init=[])
        write, read = table.write_port(), table.read_port()
        m.d.comb += [
            write.en.eq(self.stored.valid), write.addr.eq(entry.row), write.data.eq(entry.norm),
            read.en.eq(self.read.enable), read.addr.eq(self.read.address), self.read.data.eq(read.data),
        ]

    def _largest(self, m: Module, pipe: Timeline) -> tuple[Value, int]:
        """The largest magnitude of the words that come in a cycle, and its stage.

        Each word's largest magnitude is found when the word has come, then the largest of the words up to it.
        """
        def larger(a, b):
            return Mux(a > b, a, b)

        lanes, stage = self._config.k_lanes, 0
        for word in range(self._config.norm_words):
            # From the word's first stage on: magnitudes. Then the largest of the lanes.
            magnitudes = [Signal(VALUE_BITS - 1, name=f"magnitude_{word}_{lane}", reset_less=True)
                          for lane in range(lanes)]
            m.d.sync += [magnitude.eq(abs(self.values[word * lanes + lane]))
                         for lane, magnitude in enumerate(magnitudes)]
            found = OperandLanes.latency_values[word] - OperandLanes.latency_values[0] + 1 + ceil_log2(lanes)
            largest = tree(m, magnitudes, larger, f"largest_{word}", levels=1)
            pipe.put(found, **{f"largest_{word}": largest})
            # The largest of the words up to this one.
            stage = max(stage, found)
            if word:
                up_to_word = Signal(VALUE_BITS - 1, name=f"up_to_word_{word}", reset_less=True)
                m.d.sync += up_to_word.eq(larger(
                    pipe.at(stage, f"up_to_word_{word - 1}"), pipe.at(stage, f"largest_{word}")))
                largest, stage = up_to_word, stage + 1
            pipe.put(stage, **{f"up_to_word_{word}": largest})
        return largest, stage
