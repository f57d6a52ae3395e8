# SPDX-License-Identifier: Apache-2.0
"""How many bits of a word are set."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..plumbing.timeline import tree, tree_stages

__all__ = ["PopCount"]

_LEVELS = 3  # levels of the adder tree per stage


class PopCount(wiring.Component):
    """``o`` = the number of ones in ``i``.

    Latency: one cycle per 3 levels of the adder tree, log2(width) levels, from ``i`` to ``o`` (`latency`).
    Throughput: one word per cycle.
    Back-pressure: none.

    Parameters
    ----------
    width : int
        bits, a power of two, at least 2

    Members
    -------
    i : In(width)
        the word
    o : Out(range(width + 1))
        how many bits of it are 1
    """

    def __init__(self, width: int):
        if width < 2 or width & (width - 1):
            raise ValueError(f"the width must be a power of two from 2 on, not {width!r}")
        self._width = width
        super().__init__({"i": In(width), "o": Out(range(width + 1))})

    @property
    def latency(self) -> int:
        """Cycles from ``i`` to ``o``."""
        return tree_stages(self._width, _LEVELS)

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.o.eq(tree(m, list(self.i), lambda a, b: a + b, levels=_LEVELS, name="sum"))
        return m
