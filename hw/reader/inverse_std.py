# SPDX-License-Identifier: Apache-2.0
"""Last part of a NORM: the inverse standard deviation of each row."""

from operator import add

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from moevit.spec.formats import ROW_BITS, ROW_SUM_BITS, SPREAD_BITS

from ..interfaces import Flow
from ..layouts import row_scale_layout
from ..math.rsqrt import Rsqrt
from ..math.wide_multiply import WideMultiply
from ..plumbing.timeline import Timeline, tree, tree_stages

__all__ = ["InverseStd"]

_SQUARES_BITS = 42


class InverseStd(wiring.Component):
    """``1 / sqrt(dim x (sum of squares) - sum^2 + epsilon)`` of each row, as ``mantissa x 2^(exponent - 20)``.

    This is 1/std of the row, divided by ``dim``.

    Golden: ``golden.integer.norm.norm_rows``.
    Latency: `latency` cycles from a row's last words to ``root``; ``total`` comes `total_delay` cycles after them.
    Throughput: one word, or ``lanes`` values, per cycle; rows back to back.
    Back-pressure: none.

    Parameters
    ----------
    lanes : int
        values that come in a cycle
    dsp48 : bool
        as in `WideMultiply`

    Members
    -------
    valid : In(1)
        words of a row are here
    first : In(1)
        they are its first words
    final : In(1)
        they are its last words
    squares : In(lanes x u31)
        squares of the words
    total : In(s27)
        the sum of the row's values
    dim : In(12)
        values of a row; steady
    epsilon : In(32)
        steady
    root : Out(Flow(row_scale_layout()))
        the result
    """

    def __init__(self, lanes: int, *, dsp48: bool = True):
        self._lanes, self._dsp48 = lanes, dsp48
        self._rsqrt = Rsqrt(SPREAD_BITS)
        super().__init__({
            "valid": In(1),
            "first": In(1),
            "final": In(1),
            "squares": In(data.ArrayLayout(unsigned(2 * ROW_BITS - 1), lanes)),
            "total": In(signed(ROW_SUM_BITS)),
            "dim": In(12),
            "epsilon": In(32),
            "root": Out(Flow(row_scale_layout())),
        })

    @property
    def total_delay(self) -> int:
        """Cycles from a row's last word to its ``total``."""
        return tree_stages(self._lanes, first=1) + 1

    @property
    def latency(self) -> int:
        """Cycles from a row's last word to ``root``."""
        return self.total_delay + WideMultiply.latency + 1 + self._rsqrt.latency

    def elaborate(self, platform):
        m = Module()
        pipe = Timeline(m)
        m.submodules.rsqrt = rsqrt = self._rsqrt
        pipe.put(0, reset=True, valid=self.valid, final_valid=self.valid & self.final)
        pipe.put(0, first=self.first)
        # Stages 1 to `added`: add the lanes up. Stage `added` + 1: add the words up.
        added = self.total_delay - 1
        squares = tree(m, [self.squares[lane] for lane in range(self._lanes)], add, "squares", first=1)
        total_squares = Signal(_SQUARES_BITS)
        with m.If(pipe.at(added, "valid")):
            m.d.sync += total_squares.eq(Mux(pipe.at(added, "first"), 0, total_squares) + squares)
        # Stages `added` + 2 and + 3: products.
        m.submodules.square = square = WideMultiply(
            self.total.shape(), self.total.shape(), dsp48=self._dsp48)
        m.submodules.scaled = scaled = WideMultiply(
            self.dim.shape(), total_squares.shape(), dsp48=self._dsp48)
        m.d.comb += [
            square.a.eq(self.total), square.b.eq(self.total),
            scaled.a.eq(self.dim), scaled.b.eq(total_squares),
        ]
        # Stage `added` + 4: dim^2 x variance + epsilon. Then: inverse root.
        variance = Signal(SPREAD_BITS, reset_less=True)
        m.d.sync += variance.eq(scaled.o - square.o + self.epsilon)
        m.d.comb += [
            rsqrt.i.valid.eq(pipe.at(added + 4, "final_valid")),
            rsqrt.i.payload.eq(variance),
            self.root.valid.eq(rsqrt.o.valid),
            self.root.payload.eq(rsqrt.o.payload),
        ]
        return m
