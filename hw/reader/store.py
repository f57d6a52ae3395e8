# SPDX-License-Identifier: Apache-2.0
"""Words on their way to the output buffer, which may stop them at any time."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out

from moevit.spec.arrays import MachineConfig

from ..interfaces import Flow, word_layout

__all__ = ["Store"]

_DEPTH = 8  # the cycles from a step to its word, so that one word per cycle can leave


class Store(wiring.Component):
    """Puts the words of a STORE into a stream.

    Words come from a pipeline that cannot wait: ``room`` says that a further word may be started, ``started`` that one
    was. One word per cycle, 1 cycle.

    Members
    -------
    started : In(1)
    room : Out(1)
    word : In(Flow(word_layout(config)))
    o : Out(stream.Signature(word_layout(config)))
    """

    def __init__(self, config: MachineConfig):
        super().__init__({
            "started": In(1),
            "room": Out(1),
            "word": In(Flow(word_layout(config))),
            "o": Out(stream.Signature(word_layout(config))),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.words = words = SyncFIFO(width=Shape.cast(self.word.payload.shape()).width, depth=_DEPTH)
        reserved = Signal(range(_DEPTH + 1))
        m.d.comb += [
            words.w_en.eq(self.word.valid),
            words.w_data.eq(self.word.payload),
            self.o.valid.eq(words.r_rdy),
            self.o.payload.eq(words.r_data),
            words.r_en.eq(self.o.ready),
            self.room.eq(reserved != _DEPTH),
        ]
        m.d.sync += reserved.eq(reserved + self.started - (self.o.valid & self.o.ready))
        return m
