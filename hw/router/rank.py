# SPDX-License-Identifier: Apache-2.0
"""The rank of each logit among those of its token."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from ..math.exp2_wide import LOGIT_BITS

__all__ = ["Rank", "ranks_layout"]


def ranks_layout(count: int) -> data.ArrayLayout:
    """A rank 0 .. count - 1 for each of ``count`` logits."""
    return data.ArrayLayout(ceil_log2(max(count, 2)), count)


class Rank(wiring.Component):
    """``rank[i]`` = the number of logits before logit i: those that are larger, and equal ones of lower index.

    Each pair of logits is compared in the same cycle.

    Golden: ``golden.integer.router.route`` (its stable sort).
    Latency: 2 cycles from ``logits`` to ``ranks`` (`latency`).
    Throughput: one token per cycle.
    Back-pressure: none.

    Parameters
    ----------
    count : int
        logits of a token, at least 1

    Members
    -------
    logits : In(data.ArrayLayout(signed(24), count))
        of one token
    ranks : Out(ranks_layout(count))
        0 for the largest
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
