# SPDX-License-Identifier: Apache-2.0
"""First reading of a NORM: mean and inverse standard deviation of each row."""

from operator import add

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from moevit.spec.arrays import MachineConfig
from moevit.spec.formats import INVERSE_DIM_FRACTION, ROW_BITS

from ..interfaces import TOKEN_BITS, MemoryRead, row_scale_layout, word_layout
from ..math.rounding import round_shift
from ..math.rsqrt import Rsqrt
from ..math.wide_multiply import WideMultiply
from .timeline import Timeline, tree, tree_stages

__all__ = ["SQUARES_DELAY", "Moments", "mean_shape", "moments_layout"]

SQUARES_DELAY = 3  # of Lanes.squares after the word
_TOTAL_BITS, _SQUARES_BITS, _SPREAD_BITS = 27, 42, 53


def mean_shape() -> Shape:
    """A mean: one bit more than a row's values, since 1/dim is rounded."""
    return signed(ROW_BITS + 1)


def moments_layout() -> data.StructLayout:
    """What the second reading needs; ``root``, mantissa x 2^(exponent - 20), is 1/std without its factor ``dim``."""
    return data.StructLayout({"mean": mean_shape(), "root": row_scale_layout()})


class Moments(wiring.Component):
    """``mean = round(sum / dim)`` and ``1 / sqrt(dim x sum of squares - sum^2 + epsilon)`` of each row, into a table.

    ``golden.integer.norm.norm_rows``, first half, exactly. One word per cycle, rows back to back, no back-pressure;
    :attr:`latency` cycles from a row's last word to its entry, which can be read in the next cycle.

    Members
    -------
    valid, first, final : In(1), a word of a row; its first; its last
    row : In(12), the word's row
    word : In(word_layout(config))
    squares : In(k_lanes x u31), 3 cycles after the word
    dim, inverse_dim, epsilon : In, steady
    restart : In(1), clears ``measured``
    measured : Out(1), the table has an entry
    mean : In(MemoryRead(max_tokens, mean_shape()))
    read : In(MemoryRead(max_tokens, moments_layout()))
    """

    def __init__(self, config: MachineConfig):
        self._config = config
        self._rsqrt = Rsqrt(_SPREAD_BITS)
        super().__init__({
            "valid": In(1),
            "first": In(1),
            "final": In(1),
            "row": In(TOKEN_BITS),
            "word": In(word_layout(config)),
            "squares": In(data.ArrayLayout(unsigned(2 * ROW_BITS - 1), config.k_lanes)),
            "dim": In(12),
            "inverse_dim": In(INVERSE_DIM_FRACTION),
            "epsilon": In(32),
            "restart": In(1),
            "measured": Out(1),
            "mean": In(MemoryRead(config.max_tokens, mean_shape())),
            "read": In(MemoryRead(config.max_tokens, moments_layout())),
        })

    @property
    def latency(self) -> int:
        """Cycles from a row's last word to the write of its entry."""
        return SQUARES_DELAY + tree_stages(self._config.k_lanes, first=1) + 4 + self._rsqrt.latency

    def elaborate(self, platform):
        m = Module()
        lanes, pipe = self._config.k_lanes, Timeline(m)
        m.submodules.rsqrt = rsqrt = self._rsqrt
        pipe.put(0, valid=self.valid, final_valid=self.valid & self.final, first=self.first, row=self.row)

        # Stages 1 to `summed`: add the lanes up.
        stages = tree_stages(lanes, first=1)
        summed = SQUARES_DELAY + stages
        pipe.put(stages, sum=tree(m, [self.word[lane] for lane in range(lanes)], add, "sum", first=1))
        squares = tree(m, [self.squares[lane] for lane in range(lanes)], add, "squares", first=1)
        # Stage `summed` + 1: add the words up.
        total, total_squares = Signal(signed(_TOTAL_BITS)), Signal(_SQUARES_BITS)
        with m.If(pipe.at(summed, "valid")):
            first = pipe.at(summed, "first")
            m.d.sync += [
                total.eq(Mux(first, 0, total) + pipe.at(summed, "sum")),
                total_squares.eq(Mux(first, 0, total_squares) + squares),
            ]
        # Stages 2 and 3 after that: products.
        m.submodules.by_dim = by_dim = WideMultiply(total.shape(), self.inverse_dim.shape())
        m.submodules.square = square = WideMultiply(total.shape(), total.shape())
        m.submodules.scaled = scaled = WideMultiply(self.dim.shape(), total_squares.shape())
        m.d.comb += [
            by_dim.a.eq(total), by_dim.b.eq(self.inverse_dim),
            square.a.eq(total), square.b.eq(total),
            scaled.a.eq(self.dim), scaled.b.eq(total_squares),
        ]
        # Stage 4 after that: mean and spread.
        mean, spread = Signal(mean_shape(), reset_less=True), Signal(_SPREAD_BITS, reset_less=True)
        m.d.sync += [
            mean.eq(round_shift(by_dim.o, INVERSE_DIM_FRACTION)),
            spread.eq(scaled.o - square.o + self.epsilon),
        ]
        pipe.put(summed + 4, mean=mean)
        # The rest: inverse root; store.
        stored = self.latency
        m.d.comb += [rsqrt.i.valid.eq(pipe.at(summed + 4, "final_valid")), rsqrt.i.payload.eq(spread)]
        m.submodules.table = table = Memory(shape=moments_layout(), depth=self._config.max_tokens, init=[])
        write = table.write_port()
        m.d.comb += [
            write.en.eq(pipe.at(stored, "final_valid")),
            write.addr.eq(pipe.at(stored, "row")),
            write.data.mean.eq(pipe.at(stored, "mean")),
            write.data.root.eq(rsqrt.o.payload),
        ]
        with m.If(self.restart):
            m.d.sync += self.measured.eq(0)
        with m.Elif(write.en):
            m.d.sync += self.measured.eq(1)

        mean_read, read = table.read_port(), table.read_port()
        m.d.comb += [
            mean_read.en.eq(self.mean.enable), mean_read.addr.eq(self.mean.address),
            self.mean.data.eq(mean_read.data.mean),
            read.en.eq(self.read.enable), read.addr.eq(self.read.address), self.read.data.eq(read.data),
        ]
        return m
