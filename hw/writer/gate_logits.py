# SPDX-License-Identifier: Apache-2.0
"""Gate logits on their way to the router."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from moevit.spec.arrays import MachineConfig
from moevit.spec.formats import BIAS_MASKED, signed_range

from ..interfaces import EXPERT_BITS, SEQUENCE_BITS, logits_layout
from ..math.rounding import saturate
from .sum_scale import BIASED_BITS, SCALED_BITS

__all__ = ["HOW_TO_ROUTE", "GateLogits", "gate_layout"]

#: Fields of the instruction that the router goes by.
HOW_TO_ROUTE = ("top_k", "renormalise", "sigmoid", "biased", "sets_bias")

_DEPTH = 16  # about the cycles from a reservation to the end of the queue: nearly one token per cycle


def gate_layout(config: MachineConfig) -> data.StructLayout:
    """What goes to the router along with a token's logits."""
    return data.StructLayout({
        "first": 1,
        "last": 1,
        "experts": EXPERT_BITS + 1,
        "top_k": EXPERT_BITS + 1,
        "renormalise": 1,
        "sigmoid": 1,
        "biased": 1,
        "sets_bias": 1,
        "sequence": SEQUENCE_BITS,
    })


class GateLogits(wiring.Component):
    """``clip24(value)``, or the most negative logit where the bias masks the expert; queued for the router.

    Golden: ``golden.integer.row_writer.gate_logits``. Tokens come out of a pipeline that cannot wait: ``room`` says
    that one more may be started, ``reserve`` that it was.

    Members
    -------
    room : Out(1)
    reserve : In(1)
    values : In(max_experts x s25)
    bias : In(max_experts x s16)
    about : In(gate_layout(config))
    valid : In(1), with values, bias and about
    logits : Out(stream.Signature(logits_layout(config)))
    sequence : Out(16), number of the instruction that ``logits`` belong to (0 unless the configuration traces)
    """

    def __init__(self, config: MachineConfig):
        self._config = config
        super().__init__({
            "room": Out(1),
            "reserve": In(1),
            "values": In(data.ArrayLayout(signed(BIASED_BITS), config.max_experts)),
            "bias": In(data.ArrayLayout(signed(16), config.max_experts)),
            "about": In(gate_layout(config)),
            "valid": In(1),
            "logits": Out(stream.Signature(logits_layout(config))),
            "sequence": Out(SEQUENCE_BITS),
        })

    def elaborate(self, platform):
        m = Module()
        layout = data.StructLayout({
            "logits": data.ArrayLayout(signed(SCALED_BITS), self._config.max_experts),
            "about": gate_layout(self._config),
        })
        # Stage 1: clip, mask.
        entry, valid = Signal(layout, reset_less=True), Signal()
        low, high = signed_range(SCALED_BITS)
        for expert, (value, bias) in enumerate(zip(self.values, self.bias, strict=True)):
            m.d.sync += entry.logits[expert].eq(Mux(bias == BIAS_MASKED, low, saturate(value, low, high)[0]))
        m.d.sync += [entry.about.eq(self.about), valid.eq(self.valid)]
        # Stages 2 and 3: queue.
        m.submodules.queue = queue = SyncFIFOBuffered(width=layout.size, depth=_DEPTH)
        out, full = data.View(layout, queue.r_data), Signal()
        reserved, leaves = Signal(range(_DEPTH + 1)), Signal()
        m.d.comb += [
            queue.w_en.eq(valid),
            queue.w_data.eq(entry),
            self.logits.valid.eq(queue.r_rdy),
            queue.r_en.eq(self.logits.ready),
            self.logits.payload.logits.eq(out.logits),
            *(self.logits.payload[name].eq(out.about[name])
              for name in ("first", "last", "experts", *HOW_TO_ROUTE)),
            self.sequence.eq(out.about.sequence),
            leaves.eq(queue.r_rdy & queue.r_en),
            self.room.eq(~full),
        ]
        m.d.sync += [
            reserved.eq(reserved + self.reserve - leaves),
            full.eq(~leaves & ((reserved == _DEPTH) | (self.reserve & (reserved == _DEPTH - 1)))),
        ]
        return m
