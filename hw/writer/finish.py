# SPDX-License-Identifier: Apache-2.0
"""From values to stored words: activation, gate score, residual, saturation."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from moevit.spec.arrays import MachineConfig
from moevit.spec.formats import OPERAND_MAX, ROW_BITS, SCORE_FRACTION, WEIGHT_MAX, signed_range
from moevit.spec.isa import Saturation

from ..interfaces import word_layout
from ..math.gelu import ACTIVATION_BITS, Gelu
from ..math.rounding import round_shift, saturate
from ..plumbing.timeline import Timeline
from .sum_scale import BIASED_BITS

__all__ = ["Finish"]


class Finish(wiring.Component):
    """``sat(residual + score x activation(sat16(value)))``; 0 in lanes that are not valid.

    Golden: the second half of ``golden.integer.row_writer.write_rows``. One multiplier per lane. One word per cycle,
    9 cycles, no back-pressure.

    Members
    -------
    i : In(k_lanes x s25)
    activation : In(Activation)
    score : In(17), 65536 for none
    lanes : In, the first ``lanes`` lanes are valid
    saturation : In(2)
    residual : In(word_layout(config)), `residual_stage` cycles after ``i``
    adds : In(1), with ``i``: the residual is added
    o : Out(word_layout(config))
    clipped : Out(k_lanes), valid lanes whose value was clipped to ``o``
    """

    latency = 9
    residual_stage = latency - 2

    def __init__(self, config: MachineConfig):
        self._config = config
        super().__init__({
            "i": In(data.ArrayLayout(signed(BIASED_BITS), config.k_lanes)),
            "activation": In(ACTIVATION_BITS),
            "score": In(SCORE_FRACTION + 1),
            "lanes": In(range(config.k_lanes + 1)),
            "saturation": In(2),
            "residual": In(word_layout(config)),
            "adds": In(1),
            "o": Out(word_layout(config)),
            "clipped": Out(config.k_lanes),
        })

    def elaborate(self, platform):
        m = Module()
        line = Timeline(m)
        line.put(0, activation=self.activation, score=self.score, lanes=self.lanes, saturation=self.saturation,
                 adds=self.adds)
        m.submodules.gelu = gelu = Gelu(self._config.k_lanes)
        m.d.comb += gelu.activation.eq(line.at(1, "activation"))
        low, high = self._range(m, line)
        for lane in range(self._config.k_lanes):
            self._lane(m, line, lane, gelu.i[lane], gelu.o[lane], low, high)
        return m

    def _range(self, m: Module, line: Timeline) -> tuple[Signal, Signal]:
        """What the values of stage 8 are clipped to."""
        low, high = Signal(signed(ROW_BITS), reset_less=True), Signal(signed(ROW_BITS), reset_less=True)
        with m.Switch(line.at(7, "saturation")):
            with m.Case(Saturation.OPERAND):
                m.d.sync += [low.eq(-OPERAND_MAX), high.eq(OPERAND_MAX)]
            with m.Case(Saturation.WEIGHT):
                m.d.sync += [low.eq(-WEIGHT_MAX), high.eq(WEIGHT_MAX)]
            with m.Default():
                m.d.sync += [bound.eq(value) for bound, value in zip((low, high), signed_range(ROW_BITS), strict=True)]
        return low, high

    def _lane(self, m, line, lane, gelu_i, gelu_o, low, high) -> None:
        # Stage 1: saturate.
        value, clipped = saturate(self.i[lane], *signed_range(ROW_BITS))
        before = Signal(signed(ROW_BITS), name=f"before_{lane}", reset_less=True)
        was_clipped = Signal(name=f"was_clipped_{lane}", reset_less=True)
        m.d.sync += [before.eq(value), was_clipped.eq(clipped)]
        line.put(1, **{f"clipped_{lane}": was_clipped})
        # Stages 2 to 6: activation.
        m.d.comb += gelu_i.eq(before)
        # Stage 7: times score.
        product = Signal(signed(ROW_BITS + SCORE_FRACTION + 2), name=f"product_{lane}", reset_less=True)
        m.d.sync += product.eq(gelu_o * line.at(6, "score"))
        # Stage 8: round, plus residual.
        residual = Mux(line.at(7, "adds"), self.residual[lane], 0).as_signed()
        total = Signal(signed(ROW_BITS + 2), name=f"total_{lane}", reset_less=True)
        m.d.sync += total.eq(round_shift(product + (residual << SCORE_FRACTION), SCORE_FRACTION))
        valid = Signal(name=f"valid_{lane}", reset_less=True)
        m.d.sync += valid.eq(line.at(7, "lanes") > lane)
        # Stage 9: saturate.
        value, clipped = saturate(total, low, high)
        o = Signal(signed(ROW_BITS), name=f"o_{lane}", reset_less=True)
        lost = Signal(name=f"lost_{lane}", reset_less=True)
        m.d.sync += [o.eq(Mux(valid, value, 0)), lost.eq(valid & (clipped | line.at(8, f"clipped_{lane}")))]
        m.d.comb += [self.o[lane].eq(o), self.clipped[lane].eq(lost)]
