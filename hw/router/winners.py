# SPDX-License-Identifier: Apache-2.0
"""The top k experts of a token, one after the other, and their scores."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from moevit.spec.arrays import MachineConfig
from moevit.spec.formats import SCORE_FRACTION

from ..interfaces import EXPERT_BITS, Flow, row_scale_layout
from ..math.rounding import round_shift
from ..plumbing.timeline import Timeline
from .softmax import shares_layout

__all__ = ["Winners", "winner_layout"]

_SHIFT_BITS = 5  # sums of up to 32 exponentials are below 2^21
_FINE = 2


def winner_layout() -> data.StructLayout:
    """``expert`` of ``rank`` 0, 1, ... of a token, and its score u17."""
    return data.StructLayout({"expert": EXPERT_BITS, "rank": EXPERT_BITS, "last": 1, "score": SCORE_FRACTION + 1})


class Winners(wiring.Component):
    """Ranks 0 .. top_k - 1 of a token in as many cycles: expert, and ``min(round(e x inverse), 65536)``.

    Golden: ``golden.integer.router.route``. Shares come at least top_k cycles apart; the inverse of a token comes
    `inverse_after` cycles (2 or more) after its shares. No back-pressure; `latency` cycles from the shares to rank 0.

    Members
    -------
    shares : In(Flow(shares_layout(config)))
    top_k : In(6), with the shares
    inverse : In(Flow(row_scale_layout()))
    o : Out(Flow(winner_layout()))
    """

    def __init__(self, config: MachineConfig, inverse_after: int):
        if inverse_after < 1:
            raise ValueError(f"the inverse comes at least a cycle after the shares, not {inverse_after!r}")
        self._config, self._after = config, inverse_after
        super().__init__({
            "shares": In(Flow(shares_layout(config))),
            "top_k": In(EXPERT_BITS + 1),
            "inverse": In(Flow(row_scale_layout())),
            "o": Out(Flow(winner_layout())),
        })

    @property
    def latency(self) -> int:
        """Cycles from ``shares`` to rank 0."""
        return self._after + 5

    def elaborate(self, platform):
        m = Module()
        count = self._config.max_experts
        held = Signal(shares_layout(self._config), reset_less=True)
        rank, last_rank, busy = Signal(EXPERT_BITS), Signal(EXPERT_BITS), Signal()
        is_last = rank == last_rank
        # Stage 1: hold the shares, count the ranks.
        with m.If(self.shares.valid):
            m.d.sync += [held.eq(self.shares.payload), rank.eq(0), last_rank.eq(self.top_k - 1), busy.eq(1)]
        with m.Else():
            m.d.sync += [rank.eq(rank + 1), busy.eq(busy & ~is_last)]
        # Stage 2: pick.
        expert, e, valid = Signal(EXPERT_BITS, reset_less=True), Signal(16, reset_less=True), Signal()
        hits = [held.ranks[index] == rank for index in range(count)]
        m.d.sync += [
            valid.eq(busy),
            e.eq(_any(hit.replicate(16) & held.e[index] for index, hit in enumerate(hits))),
            *(expert[bit].eq(_any(hit for index, hit in enumerate(hits) if index >> bit & 1))
              for bit in range(EXPERT_BITS)),
        ]
        line = Timeline(m)
        line.put(1, rank=rank, is_last=is_last)
        line.put(2, reset=True, valid=valid)
        line.put(2, expert=expert, e=e)
        # Stage `after`: the inverse, held likewise; so it is there from stage after + 1 on.
        inverse = Signal(row_scale_layout(), reset_less=True)
        with m.If(self.inverse.valid):
            m.d.sync += inverse.eq(self.inverse.payload)
        known = self._after + 1
        # Stage known + 1: multiply.
        product = Signal(32, reset_less=True)
        down = Signal(_SHIFT_BITS, reset_less=True)
        m.d.sync += [product.eq(line.at(known, "e") * inverse.mantissa), down.eq(~inverse.exponent)]
        line.put(known + 1, down=down)
        # Stages known + 2 and known + 3: shift by 15 - exponent - 16. A bit below the last serves for rounding.
        coarse = Signal(33, reset_less=True)
        m.d.sync += coarse.eq(Cat(C(0, 1), product) >> (down[_FINE:] << _FINE))
        fine = Signal(SCORE_FRACTION + 3, reset_less=True)
        m.d.sync += fine.eq(coarse >> line.at(known + 2, "down")[:_FINE])
        # Stage known + 4: round, clip.
        rounded, score = round_shift(fine, 1), Signal(SCORE_FRACTION + 1, reset_less=True)
        m.d.sync += score.eq(Mux(rounded[SCORE_FRACTION:].any(), 1 << SCORE_FRACTION, rounded))
        m.d.comb += [
            self.o.valid.eq(line.at(self.latency, "valid")),
            self.o.payload.expert.eq(line.at(self.latency, "expert")),
            self.o.payload.rank.eq(line.at(self.latency, "rank")),
            self.o.payload.last.eq(line.at(self.latency, "is_last")),
            self.o.payload.score.eq(score),
        ]
        return m


def _any(values) -> Value:
    result = C(0, 1)
    for value in values:
        result |= value
    return result
