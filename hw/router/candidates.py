# SPDX-License-Identifier: Apache-2.0
"""The values that rank a token's experts, and their weights."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from moevit.spec.arrays import MachineConfig
from moevit.spec.formats import (
    GATE_FRACTION,
    GATE_LOGIT_BITS,
    LOGIT_FRACTION,
    SCORE_FRACTION,
    SELECT_FRACTION,
    signed_range,
)

from ..interfaces import Flow
from ..layouts import EXPERT_BITS, logits_layout
from ..math.rounding import saturate
from ..math.sigmoid import Sigmoid
from ..plumbing.timeline import Timeline

__all__ = ["Candidates", "candidates_layout"]

_BIAS = GATE_FRACTION - LOGIT_FRACTION  # place of a bias's last bit in a key
_SHARE = SELECT_FRACTION + _BIAS - SCORE_FRACTION  # place of a sigmoid's last bit in a key
_LOW, _HIGH = signed_range(GATE_LOGIT_BITS)


def candidates_layout(config: MachineConfig) -> data.StructLayout:
    """Per expert the key that ranks it and the logarithm of its weight; both are the least for lanes without an expert.

    ``given``: weights are relative to 2^``highest``; otherwise to the weight of rank 0. ``absolute``: weights are the
    scores as they are.
    """
    lanes = data.ArrayLayout(signed(GATE_LOGIT_BITS), config.max_experts)
    return data.StructLayout({
        "keys": lanes,
        "logits": lanes,
        "given": 1,
        "highest": signed(GATE_LOGIT_BITS),
        "absolute": 1,
        "experts": EXPERT_BITS + 1,
        "top_k": EXPERT_BITS + 1,
        "renormalise": 1,
    })


class Candidates(wiring.Component):
    """The key and the logit of each expert.

    Both are the gate's logit. With ``sigmoid`` the logit becomes the logarithm of its sigmoid, and the key the sigmoid.
    With ``biased`` the key becomes key + bias. With ``sets_bias`` the logits become the biases, and nothing comes out.

    A token with ``sigmoid``, ``biased`` or ``sets_bias`` goes through a ring: its experts leave one by one, pass one
    lane of hardware, and enter again.

    Golden: ``golden.integer.router.route``.
    Latency: 1 cycle from ``i`` to ``o`` (`latency`), `latency_ring` cycles more through the ring.
    Throughput: one token per cycle; through the ring one token in `latency_ring` + 1 cycles.
    Back-pressure: none; no token may come while ``busy``.

    Parameters
    ----------
    config : MachineConfig
        ``max_experts``

    Members
    -------
    i : In(Flow(logits_layout(config)))
        a token's gate logits, and how to choose
    busy : Out(1)
        a token is in the ring
    o : Out(Flow(candidates_layout(config)))
        the token's experts
    biases_set : Out(1)
        pulse: the biases are set
    """

    latency = 1
    #: Stages of the lane.
    latency_lane = Sigmoid.latency + 3

    def __init__(self, config: MachineConfig):
        self._config = config
        super().__init__({
            "i": In(Flow(logits_layout(config))),
            "busy": Out(1),
            "o": Out(Flow(candidates_layout(config))),
            "biases_set": Out(1),
        })

    @property
    def latency_ring(self) -> int:
        """Cycles that the ring costs a token: it turns once, over all experts and the lane's stages."""
        return self._config.max_experts + self.latency_lane

    def elaborate(self, platform):
        m = Module()
        count, token, out = self._config.max_experts, self.i.payload, self.o.payload
        choice = Signal(data.StructLayout({name: token[name].shape() for name in (
            "experts", "top_k", "renormalise", "sigmoid", "biased", "sets_bias")}), reset_less=True)
        logits, keys = (Signal(out.keys.shape(), name=name, reset_less=True) for name in ("logits", "keys"))
        turn, in_ring, needs_ring, end = Signal(range(self.latency_ring)), Signal(), Signal(), Signal()
        logit, key = self._lane(m, logits[0], choice, in_ring & (turn < count), in_ring & (turn == 0))
        m.d.comb += [
            needs_ring.eq(token.sigmoid | token.biased | token.sets_bias),
            end.eq(in_ring & (turn == self.latency_ring - 1)),
            self.busy.eq(in_ring),
        ]
        # Stage 1: lanes without an expert get the least logit, which ranks them last. Then the ring turns.
        for expert in range(count):
            following = (logits[expert + 1], keys[expert + 1]) if expert < count - 1 else (logit, key)
            first = Mux(token.experts > expert, token.logits[expert], _LOW)
            with m.If(self.i.valid | in_ring):
                m.d.sync += [
                    logits[expert].eq(Mux(self.i.valid, first, following[0])),
                    keys[expert].eq(Mux(self.i.valid, first, following[1])),
                ]
        m.d.sync += [
            turn.eq(Mux(self.i.valid, 0, turn + 1)),
            in_ring.eq((self.i.valid & needs_ring) | (in_ring & ~end)),
        ]
        with m.If(self.i.valid):
            m.d.sync += [choice[name].eq(token[name]) for name in choice.shape().members]
        m.d.sync += [
            self.o.valid.eq((self.i.valid & ~needs_ring) | (end & ~choice.sets_bias)),
            self.biases_set.eq(end & choice.sets_bias),
            out.given.eq(Mux(self.i.valid, needs_ring, out.given)),
        ]
        m.d.comb += [
            out.logits.eq(logits),
            out.keys.eq(keys),
            out.absolute.eq(choice.sigmoid & ~choice.renormalise),
            *(out[name].eq(choice[name]) for name in ("experts", "top_k", "renormalise")),
        ]
        return m

    def _lane(self, m: Module, x: Value, choice: data.View, is_expert: Value, first: Value) -> tuple[Value, Value]:
        """The new logit and key of ``x``, the logit at the ring's end, `latency_lane` cycles later.

        ``is_expert``: ``x`` is an expert's, not yet one that has passed the lane; ``first``: the first expert's.
        """
        def register(name, shape):
            return Signal(shape, name=name, reset_less=True)

        line = Timeline(m)
        line.put(0, reset=True, valid_expert=is_expert)
        line.put(0, x=x, first=first)
        # Stages 1 to 5: sigmoid.
        m.submodules.sigmoid = sigmoid = Sigmoid()
        m.d.comb += sigmoid.i.eq(x)
        # Stage 6: choose between the sigmoid and the logit itself.
        logit, base = (register(name, signed(GATE_LOGIT_BITS)) for name in ("logit", "base"))
        m.d.sync += [
            logit.eq(Mux(choice.sigmoid, sigmoid.log2, line.at(5, "x"))),
            base.eq(Mux(choice.sigmoid, sigmoid.share << _SHARE, line.at(5, "x"))),
        ]
        line.put(6, logit=logit)
        # Stage 7: add the bias; keep the highest logit. The biases are a ring that turns with the experts.
        total = register("total", signed(GATE_LOGIT_BITS + 1))
        m.d.sync += total.eq(base + (self._bias(m, line, choice.sets_bias) << _BIAS))
        highest = self.o.payload.highest
        with m.If(line.at(6, "valid_expert")):
            with m.If(line.at(6, "first")):
                m.d.sync += highest.eq(Mux(self.o.payload.absolute, 0, logit))
            with m.Elif(logit > highest):
                m.d.sync += highest.eq(logit)
        # Stage 8: clip. A masked expert stays masked.
        key = register("key", signed(GATE_LOGIT_BITS))
        unbiased = ~choice.biased | (line.at(7, "x") == _LOW)
        m.d.sync += key.eq(Mux(unbiased, line.at(7, "x"), saturate(total, _LOW, _HIGH)[0]))
        return line.at(8, "logit"), key

    def _bias(self, m: Module, line: Timeline, sets_bias: Value) -> Signal:
        """The bias of the expert in stage 6. The expert's logit replaces it with ``sets_bias``."""
        biases = [Signal(signed(16), name=f"bias_{expert}", reset_less=True)
                  for expert in range(self._config.max_experts)]
        with m.If(line.at(6, "valid_expert")):
            last = Mux(sets_bias, line.at(6, "x")[_BIAS:].as_signed(), biases[0])
            m.d.sync += [bias.eq(following) for bias, following in zip(biases, [*biases[1:], last], strict=True)]
        return biases[0]
