# SPDX-License-Identifier: Apache-2.0
"""Words on their way to the output buffer, which may stop them at any time."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from moevit.spec.arrays import MachineConfig

from ..interfaces import Flow, word_layout
from ..plumbing.credit import Credit
from ..plumbing.fifo import ReservedFifo

__all__ = ["StoreFifo"]

_DEPTH = 10  # cycles from a step to the count of its word's leaving, so that one word per cycle can leave


class StoreFifo(wiring.Component):
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
        m.submodules.words = words = ReservedFifo(self.word.payload.shape(), _DEPTH)
        m.submodules.reserved = reserved = Credit(_DEPTH)
        wiring.connect(m, wiring.flipped(self.word), words.i)
        wiring.connect(m, words.o, wiring.flipped(self.o))
        m.d.comb += [
            reserved.take.eq(self.started),
            reserved.give.eq(self.o.valid & self.o.ready),
            self.room.eq(reserved.room),
        ]
        return m
