# SPDX-License-Identifier: Apache-2.0
"""The gate logits of tokens, and the FIFO in which they wait for the router."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from moevit.spec.arrays import MachineConfig
from moevit.spec.formats import BIAS_MASKED, signed_range

from ..layouts import SEQUENCE_BITS, logits_layout
from ..math.rounding import saturate
from .sum_scale import BIASED_BITS, SCALED_BITS

__all__ = ["ROUTING_FIELDS", "GateLogits", "gate_token_layout"]

#: Fields of the instruction that tell the router how to choose.
ROUTING_FIELDS = ("top_k", "renormalise", "sigmoid", "biased", "sets_bias")

_DEPTH = 16  # more than the cycles from `reserve` to the end of the FIFO, so that a token per cycle goes through


def gate_token_layout(config: MachineConfig) -> data.StructLayout:
    """What goes to the router with a token's logits. ``experts``: how many logits are there."""
    shared = {name: field.shape for name, field in logits_layout(config) if name != "logits"}
    return data.StructLayout({**shared, "sequence": SEQUENCE_BITS})


class GateLogits(wiring.Component):
    """``clip24(value)`` per expert, or the least logit where the bias masks the expert; then a FIFO for the router.

    Tokens come out of a pipeline that cannot wait. So the row writer reserves a place in the FIFO before a token
    enters that pipeline.

    Golden: ``golden.integer.row_writer.gate_logits``.
    Latency: 3 cycles from ``valid`` to ``logits`` (`latency`).
    Throughput: one token per cycle.
    Back-pressure: without ``room``, no token may be reserved; ``logits`` waits for the router.

    Parameters
    ----------
    config : MachineConfig
        ``max_experts``

    Members
    -------
    room : Out(1)
        one more token may be reserved
    reserve : In(1)
        a token will come; only while ``room``
    values : In(data.ArrayLayout(signed(25), max_experts))
        scaled sums plus bias, one per expert
    bias : In(data.ArrayLayout(signed(16), max_experts))
        of the experts' columns; the least value masks the expert
    token : In(gate_token_layout(config))
        place in the pass, and how the router chooses
    valid : In(1)
        ``values``, ``bias`` and ``token`` are a token's
    logits : Out(stream.Signature(logits_layout(config)))
        tokens for the router
    sequence : Out(16)
        number of the instruction that ``logits`` belong to (0 unless the configuration traces)
    """

    latency = 3

    def __init__(self, config: MachineConfig):
        self._config = config
        super().__init__({
            "room": Out(1),
            "reserve": In(1),
            "values": In(data.ArrayLayout(signed(BIASED_BITS), config.max_experts)),
            "bias": In(data.ArrayLayout(signed(16), config.max_experts)),
            "token": In(gate_token_layout(config)),
            "valid": In(1),
            "logits": Out(stream.Signature(logits_layout(config))),
            "sequence": Out(SEQUENCE_BITS),
        })

    def elaborate(self, platform):
        m = Module()
        layout = data.StructLayout({
            "logits": data.ArrayLayout(signed(SCALED_BITS), self._config.max_experts),
            "token": gate_token_layout(self._config),
        })
        # Stage 1: clip, mask.
        entry, valid = Signal(layout, reset_less=True), Signal()
        low, high = signed_range(SCALED_BITS)
        for expert, (value, bias) in enumerate(zip(self.values, self.bias, strict=True)):
            m.d.sync += entry.logits[expert].eq(Mux(bias == BIAS_MASKED, low, saturate(value, low, high)[0]))
        m.d.sync += [entry.token.eq(self.token), valid.eq(self.valid)]
        # Stages 2 and 3: fifo.
        m.submodules.fifo = fifo = SyncFIFOBuffered(width=layout.size, depth=_DEPTH)
        out, full = data.View(layout, fifo.r_data), Signal()
        reserved, departure = Signal(range(_DEPTH + 1)), Signal()
        m.d.comb += [
            fifo.w_en.eq(valid),
            fifo.w_data.eq(entry),
            self.logits.valid.eq(fifo.r_rdy),
            fifo.r_en.eq(self.logits.ready),
            self.logits.payload.logits.eq(out.logits),
            *(self.logits.payload[name].eq(out.token[name])
              for name in ("first", "last", "experts", *ROUTING_FIELDS)),
            self.sequence.eq(out.token.sequence),
            departure.eq(fifo.r_rdy & fifo.r_en),
            self.room.eq(~full),
        ]
        m.d.sync += [
            reserved.eq(reserved + self.reserve - departure),
            full.eq(~departure & ((reserved == _DEPTH) | (self.reserve & (reserved == _DEPTH - 1)))),
        ]
        return m
