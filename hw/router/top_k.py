# SPDX-License-Identifier: Apache-2.0
"""The top k experts of a token, one after the other, and their scores."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from moevit.spec.arrays import MachineConfig
from moevit.spec.formats import SCORE_FRACTION

from ..interfaces import Flow
from ..layouts import EXPERT_BITS, row_scale_layout
from ..math.rounding import round_shift
from ..plumbing.timeline import Timeline
from .softmax import shares_layout

__all__ = ["TopK", "choice_layout"]

_SHIFT_BITS = 5  # the sum of 32 exponentials is below 2^21
_FINE = 2  # low bits of the shift, done last


def choice_layout() -> data.StructLayout:
    """``expert`` of ``rank`` 0, 1, ... of a token, and its score u17; ``last``: rank top_k - 1."""
    return data.StructLayout({"expert": EXPERT_BITS, "rank": EXPERT_BITS, "last": 1, "score": SCORE_FRACTION + 1})


class TopK(wiring.Component):
    """The experts of ranks 0 .. top_k - 1 of a token, one per cycle, with its score.

    ``score = min(round(65536 x e x inverse), 65536)``

    Golden: ``golden.integer.router.route``.
    Latency: `latency` cycles from ``shares`` to rank 0, 5 more than ``inverse_after``.
    Throughput: a token every top_k cycles.
    Back-pressure: none; ``shares`` come at least top_k cycles apart.

    Parameters
    ----------
    config : MachineConfig
        ``max_experts``
    inverse_after : int
        cycles from the shares of a token to its inverse, at least 1

    Members
    -------
    shares : In(Flow(shares_layout(config)))
        ranks and exponentials of a token
    top_k : In(6)
        how many experts the token takes; with the shares
    inverse : In(Flow(row_scale_layout()))
        one over the sum of the token's exponentials
    o : Out(Flow(choice_layout()))
        an expert, its rank and its score
    """

    def __init__(self, config: MachineConfig, inverse_after: int):
        if inverse_after < 1:
            raise ValueError(f"the inverse comes at least a cycle after the shares, not {inverse_after!r}")
        self._config, self._after = config, inverse_after
        super().__init__({
            "shares": In(Flow(shares_layout(config))),
            "top_k": In(EXPERT_BITS + 1),
            "inverse": In(Flow(row_scale_layout())),
            "o": Out(Flow(choice_layout())),
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
        # Stage `inverse_after`: the inverse comes. It is held, so it can be used from the stage after that on.
        inverse = Signal(row_scale_layout(), reset_less=True)
        with m.If(self.inverse.valid):
            m.d.sync += inverse.eq(self.inverse.payload)
        held_stage = self._after + 1
        # Stage held_stage + 1: multiply.
        product = Signal(32, reset_less=True)
        down = Signal(_SHIFT_BITS, reset_less=True)
        m.d.sync += [product.eq(line.at(held_stage, "e") * inverse.mantissa), down.eq(~inverse.exponent)]
        line.put(held_stage + 1, down=down)
        # Stages held_stage + 2 and + 3: shift right by 15 - exponent - 16. A bit below the last serves for rounding.
        coarse = Signal(33, reset_less=True)
        m.d.sync += coarse.eq(Cat(C(0, 1), product) >> (down[_FINE:] << _FINE))
        fine = Signal(SCORE_FRACTION + 3, reset_less=True)
        m.d.sync += fine.eq(coarse >> line.at(held_stage + 2, "down")[:_FINE])
        # Stage held_stage + 4: round, clip.
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
    """The OR of all values."""
    result = C(0, 1)
    for value in values:
        result |= value
    return result
