# SPDX-License-Identifier: Apache-2.0
"""Second part of a NORM: the scale of each normalised row."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from moevit.spec.arrays import MachineConfig
from moevit.spec.formats import ROW_BITS

from ..interfaces import TOKEN_BITS, Flow, MemoryRead, mean_shape
from ..math.rounding import round_shift
from ..math.row_scale import PeakScale
from ..plumbing.timeline import Timeline, tree
from .inverse_std import InverseStd
from .means import means_layout
from .operand_lanes import VALUE_BITS, OperandLanes
from .operand_scale import norm_scale_layout

__all__ = ["NormScale", "norm_row_layout"]


_SQUARES = OperandLanes.latency_squares - OperandLanes.latency_values[0]


def norm_row_layout() -> data.StructLayout:
    """An entry as it is written, for the trace."""
    return data.StructLayout({"row": TOKEN_BITS, "mean": mean_shape(), "norm": norm_scale_layout()})


class NormScale(wiring.Component):
    """Peak of |(x - mean) x gain| of each row, rounded up to nine bits, and its product with 1/std, into a table.

    ``golden.integer.norm.norm_rows``, second half, exactly. ``norm_words`` words per cycle, rows back to back, no
    back-pressure; :attr:`latency` cycles from a row's last words to its entry, which can be read in the next cycle.

    Members
    -------
    valid, first, final, end : In(1), words of a row; its first; its last; the last of all
    row : In(12), the words' row
    values : In(norm_words x k_lanes x s25), each word's as many cycles after the first one's as ``OperandLanes.latency_values`` says,
        which come with ``valid``; 0 where there is no word
    squares : In(norm_words x k_lanes x u31), of all words, ``OperandLanes.latency_squares - OperandLanes.latency_values[0]`` cycles later
    dim, epsilon : In, steady
    means : Out(MemoryRead(max_tokens, means_layout()))
    stored : Out(Flow(norm_row_layout())), each entry as it is written
    done : Out(1), the last entry can be read
    read : In(MemoryRead(max_tokens, norm_scale_layout()))
    """

    def __init__(self, config: MachineConfig):
        self._config = config
        self._lanes = config.norm_words * config.k_lanes
        self._peak_scale, self._spread = PeakScale(VALUE_BITS), InverseStd(self._lanes, dsp48=config.packed)
        super().__init__({
            "valid": In(1),
            "first": In(1),
            "final": In(1),
            "end": In(1),
            "row": In(TOKEN_BITS),
            "values": In(data.ArrayLayout(signed(VALUE_BITS), self._lanes)),
            "squares": In(data.ArrayLayout(unsigned(2 * ROW_BITS - 1), self._lanes)),
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
        return _SQUARES + self._spread.latency + 3

    def elaborate(self, platform):
        m = Module()
        pipe = Timeline(m)
        m.submodules.peak_scale, m.submodules.spread = peak_scale, spread = self._peak_scale, self._spread
        pipe.put(0, reset=True, valid=self.valid, final_valid=self.valid & self.final, end_valid=self.valid & self.end)
        pipe.put(0, first=self.first, row=self.row)

        # Up to stage `widest`: the largest of the words that come in a cycle.
        largest, widest = self._largest(m, pipe)
        # Stage `widest` + 1: the largest of the row's words.
        peak = Signal(VALUE_BITS - 1)
        with m.If(pipe.at(widest, "valid")):
            m.d.sync += peak.eq(Mux(pipe.at(widest, "first") | (largest > peak), largest, peak))
        # The next stages: its scale.
        m.d.comb += [peak_scale.i.valid.eq(pipe.at(widest + 1, "final_valid")), peak_scale.i.payload.eq(peak)]
        pipe.put(widest + 1 + peak_scale.latency, found=peak_scale.o.payload)
        # Up to stage `rooted`, which is later: 1/std.
        known, rooted = _SQUARES + spread.total_delay, _SQUARES + spread.latency
        pipe.put(known - 1, mean=self.means.data.mean, total=self.means.data.total)
        m.d.comb += [
            spread.valid.eq(pipe.at(_SQUARES, "valid")),
            spread.first.eq(pipe.at(_SQUARES, "first")),
            spread.final.eq(pipe.at(_SQUARES, "final_valid")),
            spread.squares.eq(self.squares),
            spread.dim.eq(self.dim),
            spread.epsilon.eq(self.epsilon),
            self.means.enable.eq(pipe.at(known - 2, "final_valid")),
            self.means.address.eq(pipe.at(known - 2, "row")),
            spread.total.eq(pipe.at(known, "total")),  # a register from the table: the multiplier may lie far away
        ]
        # Stage `rooted` + 1: a table's data come too late in their cycle for a multiplier.
        root, found = Signal.like(spread.root.payload, reset_less=True), pipe.at(rooted + 1, "found")
        m.d.sync += root.eq(spread.root.payload)
        # Stage `rooted` + 2: times 1/std.
        product, exponent = Signal(9 + 16, reset_less=True), Signal(signed(8), reset_less=True)
        m.d.sync += [
            product.eq(Cat(found.fraction, 1) * root.mantissa),
            exponent.eq(found.e + 4 + root.exponent),
        ]
        # Stage `rooted` + 3: round; store.
        written = self.latency
        entry, mantissa = self.stored.payload, Signal(16, reset_less=True)
        m.d.sync += mantissa.eq(round_shift(product, 9))
        pipe.put(rooted + 2, exponent=exponent)
        m.d.comb += [
            self.stored.valid.eq(pipe.at(written, "final_valid")),
            entry.row.eq(pipe.at(written, "row")),
            entry.mean.eq(pipe.at(written, "mean")),
            entry.norm.peak.eq(pipe.at(written, "found")),
            entry.norm.scale.mantissa.eq(mantissa),
            entry.norm.scale.exponent.eq(pipe.at(written, "exponent")),
            self.done.eq(pipe.at(written + 1, "end_valid")),
        ]
        m.submodules.table = table = Memory(shape=norm_scale_layout(), depth=self._config.max_tokens, init=[])
        write, read = table.write_port(), table.read_port()
        m.d.comb += [
            write.en.eq(self.stored.valid), write.addr.eq(entry.row), write.data.eq(entry.norm),
            read.en.eq(self.read.enable), read.addr.eq(self.read.address), self.read.data.eq(read.data),
        ]
        return m

    def _largest(self, m: Module, pipe: Timeline) -> tuple[Value, int]:
        """The largest magnitude of the words that come in a cycle, and its stage: of each word when it has come, then
        of the words so far."""
        def larger(a, b):
            return Mux(a > b, a, b)

        lanes, stage = self._config.k_lanes, 0
        for word in range(self._config.norm_words):
            # From the word's first stage on: magnitudes. Then the largest of the lanes.
            magnitudes = [Signal(VALUE_BITS - 1, name=f"magnitude_{word}_{lane}", reset_less=True)
                          for lane in range(lanes)]
            m.d.sync += [magnitude.eq(abs(self.values[word * lanes + lane]))
                         for lane, magnitude in enumerate(magnitudes)]
            here = OperandLanes.latency_values[word] - OperandLanes.latency_values[0] + 1 + ceil_log2(lanes)
            largest = tree(m, magnitudes, larger, f"largest_{word}", levels=1)
            pipe.put(here, **{f"largest_{word}": largest})
            # Then the largest so far.
            stage = max(stage, here)
            if word:
                so_far = Signal(VALUE_BITS - 1, name=f"so_far_{word}", reset_less=True)
                m.d.sync += so_far.eq(larger(pipe.at(stage, f"so_far_{word - 1}"), pipe.at(stage, f"largest_{word}")))
                largest, stage = so_far, stage + 1
            pipe.put(stage, **{f"so_far_{word}": largest})
        return largest, stage
