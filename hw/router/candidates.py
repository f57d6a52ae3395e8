# SPDX-License-Identifier: Apache-2.0
"""What a token's experts are ranked by and weighed by."""

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

from ..interfaces import EXPERT_BITS, Flow, logits_layout
from ..math.rounding import saturate
from ..math.sigmoid import Sigmoid
from ..plumbing.timeline import Timeline

__all__ = ["Candidates", "candidates_layout"]

_BIAS = GATE_FRACTION - LOGIT_FRACTION  # a bias' last bit, among a key's
_SHARE = SELECT_FRACTION + _BIAS - SCORE_FRACTION  # a sigmoid's
_LOW, _HIGH = signed_range(GATE_LOGIT_BITS)


def candidates_layout(config: MachineConfig) -> data.StructLayout:
    """Per expert what it is ranked by and the logarithm of its weight; what is no expert has the least of both.

    ``given``: weights are relative to 2^``highest``; otherwise to that of the first in rank. ``absolute``: weights are
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
    """Logits as they are; or, with ``sigmoid``, logarithms of their sigmoids, and with ``biased`` ranked by logit (by
    sigmoid) + bias. With ``sets_bias`` the logits become the biases, and nothing comes out.

    Golden: ``golden.integer.router.route``. Logits as they are take 1 cycle, one token per cycle. Others go one by one,
    in a ring, through one lane of hardware: `walk` cycles more, in which ``busy`` says that no token may come.

    Members
    -------
    i : In(Flow(logits_layout(config))), not while ``busy``
    busy : Out(1)
    o : Out(Flow(candidates_layout(config)))
    biases_set : Out(1), pulse
    """

    lane_latency = Sigmoid.latency + 3

    def __init__(self, config: MachineConfig):
        self._config = config
        super().__init__({
            "i": In(Flow(logits_layout(config))),
            "busy": Out(1),
            "o": Out(Flow(candidates_layout(config))),
            "biases_set": Out(1),
        })

    @property
    def walk(self) -> int:
        """Cycles that a token takes longer: the ring is all experts and the lane's stages."""
        return self._config.max_experts + self.lane_latency

    def elaborate(self, platform):
        m = Module()
        count, token, out = self._config.max_experts, self.i.payload, self.o.payload
        about = Signal(data.StructLayout({name: token[name].shape() for name in (
            "experts", "top_k", "renormalise", "sigmoid", "biased", "sets_bias")}), reset_less=True)
        logits, keys = (Signal(out.keys.shape(), name=name, reset_less=True) for name in ("logits", "keys"))
        step, walking, walks, end = Signal(range(self.walk)), Signal(), Signal(), Signal()
        logit, key = self._lane(m, logits[0], about, walking & (step < count), walking & (step == 0))
        m.d.comb += [
            walks.eq(token.sigmoid | token.biased | token.sets_bias),
            end.eq(walking & (step == self.walk - 1)),
            self.busy.eq(walking),
        ]
        # Stage 1: what is no expert goes behind all that are. Then the ring turns.
        for expert in range(count):
            following = (logits[expert + 1], keys[expert + 1]) if expert < count - 1 else (logit, key)
            first = Mux(token.experts > expert, token.logits[expert], _LOW)
            with m.If(self.i.valid | walking):
                m.d.sync += [
                    logits[expert].eq(Mux(self.i.valid, first, following[0])),
                    keys[expert].eq(Mux(self.i.valid, first, following[1])),
                ]
        m.d.sync += [step.eq(Mux(self.i.valid, 0, step + 1)), walking.eq((self.i.valid & walks) | (walking & ~end))]
        with m.If(self.i.valid):
            m.d.sync += [about[name].eq(token[name]) for name in about.shape().members]
        m.d.sync += [
            self.o.valid.eq((self.i.valid & ~walks) | (end & ~about.sets_bias)),
            self.biases_set.eq(end & about.sets_bias),
            out.given.eq(Mux(self.i.valid, walks, out.given)),
        ]
        m.d.comb += [
            out.logits.eq(logits),
            out.keys.eq(keys),
            out.absolute.eq(about.sigmoid & ~about.renormalise),
            *(out[name].eq(about[name]) for name in ("experts", "top_k", "renormalise")),
        ]
        return m

    def _lane(self, m: Module, x: Value, about: data.View, inside: Value, first: Value) -> tuple[Value, Value]:
        """The expert that is at the ring's end, ``inside`` the ring: its new logit and key after `lane_latency`."""
        def register(name, shape):
            return Signal(shape, name=name, reset_less=True)

        line = Timeline(m)
        line.put(0, reset=True, valid_inside=inside)
        line.put(0, x=x, first=first)
        # Stages 1 to 5: sigmoid.
        m.submodules.sigmoid = sigmoid = Sigmoid()
        m.d.comb += sigmoid.i.eq(x)
        # Stage 6: or not.
        logit, base = (register(name, signed(GATE_LOGIT_BITS)) for name in ("logit", "base"))
        m.d.sync += [
            logit.eq(Mux(about.sigmoid, sigmoid.log2, line.at(5, "x"))),
            base.eq(Mux(about.sigmoid, sigmoid.share << _SHARE, line.at(5, "x"))),
        ]
        line.put(6, logit=logit)
        # Stage 7: add the bias, which is in a ring too; the highest logit so far.
        biases = [Signal(signed(16), name=f"bias_{expert}", reset_less=True)
                  for expert in range(self._config.max_experts)]
        with m.If(line.at(6, "valid_inside")):
            turned = Mux(about.sets_bias, line.at(6, "x")[_BIAS:].as_signed(), biases[0])
            m.d.sync += [bias.eq(following) for bias, following in zip(biases, [*biases[1:], turned], strict=True)]
        total, highest = register("total", signed(GATE_LOGIT_BITS + 1)), self.o.payload.highest
        m.d.sync += total.eq(base + (biases[0] << _BIAS))
        absolute = self.o.payload.absolute
        with m.If(line.at(6, "valid_inside")):
            with m.If(line.at(6, "first")):
                m.d.sync += highest.eq(Mux(absolute, 0, logit))
            with m.Elif(logit > highest):
                m.d.sync += highest.eq(logit)
        # Stage 8: clip; who is masked stays so.
        key = register("key", signed(GATE_LOGIT_BITS))
        unbiased = ~about.biased | (line.at(7, "x") == _LOW)
        m.d.sync += key.eq(Mux(unbiased, line.at(7, "x"), saturate(total, _LOW, _HIGH)[0]))
        return line.at(8, "logit"), key
