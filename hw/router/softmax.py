# SPDX-License-Identifier: Apache-2.0
"""Ranks and exponentials of a token's experts, and one over the sum of the exponentials."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from moevit.spec.arrays import MachineConfig
from moevit.spec.formats import SCORE_FRACTION

from ..interfaces import Flow
from ..layouts import row_scale_layout
from ..math.exp2_wide import LOGIT_BITS, Exp2Wide
from ..math.reciprocal import Reciprocal
from ..plumbing.timeline import Timeline, tree, tree_stages
from .candidates import candidates_layout
from .rank import Rank, ranks_layout

__all__ = ["GateSoftmax", "shares_layout"]

_LEVELS = 2  # levels of the adder tree per stage


def shares_layout(config: MachineConfig) -> data.StructLayout:
    """Per expert its rank (0 is the best; meaningless from ``experts`` on) and its exponential, 65535 for rank 0."""
    return data.StructLayout({
        "ranks": ranks_layout(config.max_experts),
        "e": data.ArrayLayout(16, config.max_experts),
    })


class GateSoftmax(wiring.Component):
    """``e = 65535 x 2^(logit - highest)`` per expert, and ``1 / sum(e)``.

    The sum is over the first ``experts``, over the top k with ``renormalise``. With ``absolute`` the inverse is 2^-16
    instead: the exponentials are the scores as they are.

    Golden: ``golden.integer.router.route``.
    Latency: `latency` cycles from ``i`` to ``shares`` (7); `latency_inverse` from ``i`` to ``inverse``.
    Throughput: one token per cycle.
    Back-pressure: none.

    Parameters
    ----------
    config : MachineConfig
        ``max_experts``

    Members
    -------
    i : In(Flow(candidates_layout(config)))
        a token's experts
    shares : Out(Flow(shares_layout(config)))
        their ranks and exponentials
    inverse : Out(Flow(row_scale_layout()))
        one over the sum of the exponentials
    """

    latency = Rank.latency + 1 + Exp2Wide.latency

    def __init__(self, config: MachineConfig):
        self._count = count = config.max_experts
        self._leaves = max(1 << _LEVELS, 1 << (count - 1).bit_length())
        self._rank, self._exp = Rank(count), Exp2Wide(count)
        self._reciprocal = Reciprocal(16 + (self._leaves - 1).bit_length())
        super().__init__({
            "i": In(Flow(candidates_layout(config))),
            "shares": Out(Flow(shares_layout(config))),
            "inverse": Out(Flow(row_scale_layout())),
        })

    @property
    def latency_inverse(self) -> int:
        """Cycles from ``i`` to ``inverse``."""
        return self.latency + tree_stages(self._leaves, _LEVELS) + self._reciprocal.latency

    def elaborate(self, platform):
        m = Module()
        m.submodules.rank, m.submodules.exp, m.submodules.reciprocal = rank, exp, reciprocal = (
            self._rank, self._exp, self._reciprocal)
        token = self.i.payload
        names = "experts", "top_k", "renormalise", "absolute", "given", "highest", "logits", "keys"
        line = Timeline(m)
        line.put(0, reset=True, valid=self.i.valid)
        line.put(0, **{name: token[name] for name in names})
        # Stages 1 and 2: rank.
        m.d.comb += rank.logits.eq(token.keys)
        line.put(2, ranks=rank.ranks)
        # Stage 3: the highest logit. Where it is not given, keys are logits, so it is the logit of rank 0.
        best = Signal(signed(LOGIT_BITS), reset_less=True)
        picked = _pick(self._count, lambda expert: line.at(2, "ranks")[expert] == 0,
                       lambda expert: line.at(2, "logits")[expert])
        m.d.sync += best.eq(Mux(line.at(2, "given"), line.at(2, "highest"), picked.as_signed()))
        # Stages 4 to 7: exponentials.
        last = self.latency
        m.d.comb += [exp.maximum.eq(best), exp.logits.eq(line.at(3, "logits"))]
        counted = Signal(self._count, reset_less=True)
        for expert in range(self._count):
            in_top = line.at(last - 1, "ranks")[expert] < line.at(last - 1, "top_k")
            is_expert = line.at(last - 1, "experts") > expert
            m.d.sync += counted[expert].eq(Mux(line.at(last - 1, "renormalise"), in_top, is_expert))
        m.d.comb += [
            self.shares.valid.eq(line.at(last, "valid")),
            self.shares.payload.ranks.eq(line.at(last, "ranks")),
            self.shares.payload.e.eq(exp.o),
        ]
        # Stage 8 on: sum, reciprocal.
        leaves = [Mux(counted[expert], exp.o[expert], 0) for expert in range(self._count)]
        leaves += [C(0, 16)] * (self._leaves - self._count)
        m.d.comb += [
            reciprocal.i.payload.eq(tree(m, leaves, lambda a, b: a + b, levels=_LEVELS, name="total")),
            reciprocal.i.valid.eq(line.at(last + tree_stages(self._leaves, _LEVELS), "valid")),
            self.inverse.valid.eq(reciprocal.o.valid),
            self.inverse.payload.eq(reciprocal.o.payload),
        ]
        with m.If(line.at(self.latency_inverse, "absolute")):
            m.d.comb += [self.inverse.payload.mantissa.eq(1 << 15), self.inverse.payload.exponent.eq(-SCORE_FRACTION)]
        return m


def _pick(count, chosen, value) -> Value:
    """``value(i)`` of the only i with ``chosen(i)``."""
    result = C(0, 1)
    for index in range(count):
        picked = value(index)
        result |= picked & chosen(index).replicate(len(picked))
    return result
