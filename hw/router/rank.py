# SPDX-License-Identifier: Apache-2.0
"""The place of each logit among all."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from ..math.exp2_wide import LOGIT_BITS

__all__ = ["Rank", "ranks_layout"]


def ranks_layout(count: int) -> data.ArrayLayout:
    """A place 0 .. count - 1 for each of ``count`` logits."""
    return data.ArrayLayout(ceil_log2(max(count, 2)), count)


class Rank(wiring.Component):
    """``rank[i]`` = how many logits go before logit i: larger ones, and equal ones of lower index.

    Golden: the stable sort in ``golden.integer.router.route``. All pairs are compared at once. One token per cycle,
    2 cycles, no back-pressure.

    Members
    -------
    logits : In(count x s24)
    ranks : Out(count x u)
    """

    latency = 2

    def __init__(self, count: int):
        if count < 1:
            raise ValueError(f"at least one logit is needed, not {count!r}")
        self._count = count
        super().__init__({
            "logits": In(data.ArrayLayout(signed(LOGIT_BITS), count)),
            "ranks": Out(ranks_layout(count)),
        })

    def elaborate(self, platform):
        m = Module()
        # Stage 1: compare.
        before = {}
        for high in range(self._count):
            for low in range(high):
                wins = Signal(name=f"before_{low}_{high}", reset_less=True)
                m.d.sync += wins.eq(self.logits[low] >= self.logits[high])
                before[low, high], before[high, low] = wins, ~wins
        # Stage 2: count.
        for this in range(self._count):
            rank = Signal(self.ranks[this].shape(), name=f"rank_{this}", reset_less=True)
            m.d.sync += rank.eq(sum(before[other, this] for other in range(self._count) if other != this))
            m.d.comb += self.ranks[this].eq(rank)
        return m
