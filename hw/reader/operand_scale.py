# SPDX-License-Identifier: Apache-2.0
"""The factor that quantises a row, and the row scale that belongs to it."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from moevit.spec.arrays import MachineConfig
from moevit.spec.isa import Operand

from ..interfaces import Flow, MemoryRead
from ..layouts import TOKEN_BITS, peak_layout, row_scale_layout
from ..math.row_scale import PeakScale, Quantiser, peak_scale_layout
from ..plumbing.timeline import Timeline
from .access import ReadPurpose, fetched_row_layout
from .operand_lanes import FACTOR_UNIT, factor_layout

__all__ = ["OperandScale", "norm_scale_layout", "tag_entry_layout"]


def norm_scale_layout() -> data.StructLayout:
    """What NORM finds for a row besides its mean: the scale of its peak, and that scale times 1/std."""
    return data.StructLayout({"peak": peak_scale_layout(), "scale": row_scale_layout()})


def tag_entry_layout() -> data.StructLayout:
    """A tag that waits for its row to enter the array. With ``exp`` its scale is found only then."""
    return data.StructLayout({"row": TOKEN_BITS, "score": 17, "scale": row_scale_layout(), "exp": 1})


class OperandScale(wiring.Component):
    """Quantiser factor and row scale of each row that a PASS reads.

    They come from the tracked peak (ROW) or from the table of the NORM (NORM). RAW and EXP take `FACTOR_UNIT` and
    scale 1.

    Golden: ``golden.integer.row_scale.peak_scale``.
    Latency: 5 cycles from ``row`` to ``factor`` and ``entry`` (`latency`), 2 cycles to ``maximum`` (`latency_maximum`).
    Throughput: one row per cycle.
    Back-pressure: none.

    Parameters
    ----------
    config : MachineConfig
        `max_tokens`

    Members
    -------
    row : In(Flow(fetched_row_layout()))
        the row of each access
    norm : Out(MemoryRead(max_tokens, norm_scale_layout()))
        table of the NORM
    maximum : Out(s17)
        the row's tracked peak
    factor : Out(factor_layout())
        quantiser of the row
    entry : Out(Flow(tag_entry_layout()))
        tag of a row, with its last word
    """

    latency = 5
    latency_maximum = 2

    def __init__(self, config: MachineConfig):
        super().__init__({
            "row": In(Flow(fetched_row_layout())),
            "norm": Out(MemoryRead(config.max_tokens, norm_scale_layout())),
            "maximum": Out(peak_layout()),
            "factor": Out(factor_layout()),
            "entry": Out(Flow(tag_entry_layout())),
        })

    def elaborate(self, platform):
        m = Module()
        row, pipe = self.row.payload, Timeline(m)
        m.submodules.peak_scale = peak_scale = PeakScale(16)
        m.submodules.quantiser = quantiser = Quantiser()
        is_pass = self.row.valid & (row.purpose == ReadPurpose.PASS)
        pipe.put(0, reset=True, pass_valid=is_pass, final_valid=is_pass & row.final)
        pipe.put(0, **{field: row[field] for field in ("peak", "operand", "source_row", "destination_row", "score")})
        m.d.comb += self.maximum.eq(pipe.at(self.latency_maximum, "peak"))
        # Stages 1 to 3: scale of the tracked peak.
        m.d.comb += [peak_scale.i.valid.eq(is_pass), peak_scale.i.payload.eq(row.peak[:16])]
        assert peak_scale.latency == 3
        # Stage 3: read the table of the NORM.
        m.d.comb += [
            self.norm.enable.eq(pipe.at(2, "pass_valid")),
            self.norm.address.eq(pipe.at(2, "source_row")),
        ]
        # Stage 4: choose.
        operand = pipe.at(3, "operand")
        peak, entry = Signal(peak_scale_layout(), reset_less=True), self.entry.payload
        scale = Signal(row_scale_layout(), reset_less=True)
        m.d.sync += peak.eq(Mux(operand == Operand.NORM, self.norm.data.peak, peak_scale.o.payload))
        with m.Switch(operand):
            with m.Case(Operand.ROW):
                m.d.sync += [
                    scale.mantissa.eq(Cat(C(0, 7), peak_scale.o.payload.fraction, C(1, 1))),
                    scale.exponent.eq(peak_scale.o.payload.e + 8),
                ]
            with m.Case(Operand.NORM):
                m.d.sync += scale.eq(self.norm.data.scale)
            with m.Default():
                m.d.sync += [scale.mantissa.eq(1 << 15), scale.exponent.eq(0)]
        # Stage 5: look up the multiplier; give the factor and the tag.
        m.d.comb += [quantiser.i.valid.eq(1), quantiser.i.payload.eq(peak.fraction)]
        pipe.put(4, scale=scale, e=peak.e)
        m.d.comb += [
            self.entry.valid.eq(pipe.at(5, "final_valid")),
            entry.row.eq(pipe.at(5, "destination_row")),
            entry.score.eq(pipe.at(5, "score")),
            entry.scale.eq(pipe.at(5, "scale")),
            entry.exp.eq(pipe.at(5, "operand") == Operand.EXP),
        ]
        unscaled = (pipe.at(5, "operand") == Operand.RAW) | (pipe.at(5, "operand") == Operand.EXP)
        m.d.comb += [
            self.factor.multiplier.eq(Mux(unscaled, FACTOR_UNIT["multiplier"], quantiser.o.payload)),
            self.factor.shift.eq(Mux(unscaled, FACTOR_UNIT["shift"], pipe.at(5, "e") + 8)),
        ]
        return m
