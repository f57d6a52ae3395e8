# SPDX-License-Identifier: Apache-2.0
"""From values to stored words: activation, gate score, residual, saturation."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from moevit.spec.arrays import MachineConfig
from moevit.spec.formats import OPERAND_MAX, ROW_BITS, SCORE_FRACTION, WEIGHT_MAX, signed_range
from moevit.spec.isa import Saturation

from ..layouts import word_layout
from ..math.gelu import ACTIVATION_BITS, Gelu
from ..math.rounding import round_shift, saturate
from ..plumbing.timeline import Timeline
from .sum_scale import BIASED_BITS

__all__ = ["Epilogue"]


class Epilogue(wiring.Component):
    """``sat(residual + score x activation(sat16(value)))`` per lane; 0 in lanes that are not valid.

    It takes one multiplier per lane.

    Golden: ``golden.integer.row_writer.write_rows`` (its second half).
    Latency: 9 cycles from ``i`` to ``o`` (`latency`).
    Throughput: one word per cycle.
    Back-pressure: none.

    Parameters
    ----------
    config : MachineConfig
        ``k_lanes``

    Members
    -------
    i : In(data.ArrayLayout(signed(25), k_lanes))
        values, as ``SumScale`` gives them
    activation : In(2)
        an ``Activation``
    score : In(17)
        the gate score in units of 1/65536; 65536 where the pass has none
    lanes : In(range(k_lanes + 1))
        how many lanes are valid, from lane 0 on
    saturation : In(2)
        a ``Saturation``: the range of the stored values
    residual : In(word_layout(config))
        the word to add, `residual_stage` cycles after ``i``
    residual_add : In(1)
        the residual is added; comes with ``i``
    o : Out(word_layout(config))
        the word to store
    clipped : Out(k_lanes)
        valid lanes of ``o`` in which one of the two saturations changed the value
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
            "residual_add": In(1),
            "o": Out(word_layout(config)),
            "clipped": Out(config.k_lanes),
        })

    def elaborate(self, platform):
        m = Module()
        line = Timeline(m)
        line.put(0, activation=self.activation, score=self.score, lanes=self.lanes, saturation=self.saturation,
                 residual_add=self.residual_add)
        m.submodules.gelu = gelu = Gelu(self._config.k_lanes)
        m.d.comb += gelu.activation.eq(line.at(1, "activation"))
        low, high = self._range(m, line)
        for lane in range(self._config.k_lanes):
            self._lane(m, line, lane, gelu.i[lane], gelu.o[lane], low, high)
        return m

    def _range(self, m: Module, line: Timeline) -> tuple[Signal, Signal]:
        """The lowest and the highest value that stage 9 lets pass."""
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
        # Stage 1: saturate to s16.
        value, clipped = saturate(self.i[lane], *signed_range(ROW_BITS))
        narrow = Signal(signed(ROW_BITS), name=f"narrow_{lane}", reset_less=True)
        narrow_clipped = Signal(name=f"narrow_clipped_{lane}", reset_less=True)
        m.d.sync += [narrow.eq(value), narrow_clipped.eq(clipped)]
        line.put(1, **{f"clipped_{lane}": narrow_clipped})
        # Stages 2 to 6: activation.
        m.d.comb += gelu_i.eq(narrow)
        # Stage 7: times score.
        product = Signal(signed(ROW_BITS + SCORE_FRACTION + 2), name=f"product_{lane}", reset_less=True)
        m.d.sync += product.eq(gelu_o * line.at(6, "score"))
        # Stage 8: add the residual, round.
        residual = Mux(line.at(7, "residual_add"), self.residual[lane], 0).as_signed()
        total = Signal(signed(ROW_BITS + 2), name=f"total_{lane}", reset_less=True)
        m.d.sync += total.eq(round_shift(product + (residual << SCORE_FRACTION), SCORE_FRACTION))
        valid = Signal(name=f"valid_{lane}", reset_less=True)
        m.d.sync += valid.eq(line.at(7, "lanes") > lane)
        # Stage 9: saturate to the range of the destination.
        value, clipped = saturate(total, low, high)
        o = Signal(signed(ROW_BITS), name=f"o_{lane}", reset_less=True)
        any_clipped = Signal(name=f"any_clipped_{lane}", reset_less=True)
        m.d.sync += [o.eq(Mux(valid, value, 0)), any_clipped.eq(valid & (clipped | line.at(8, f"clipped_{lane}")))]
        m.d.comb += [self.o[lane].eq(o), self.clipped[lane].eq(any_clipped)]
