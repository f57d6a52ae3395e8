# SPDX-License-Identifier: Apache-2.0
"""Words of a STORE wait here for the write master, which may stop them at any time."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from moevit.spec.arrays import MachineConfig

from ..interfaces import Flow
from ..layouts import word_layout
from ..plumbing.credit import Credit
from ..plumbing.fifo import ReservedFifo

__all__ = ["StoreFifo"]

_DEPTH = 10  # cycles from an access until its word has left and is counted, so that one word per cycle can leave


class StoreFifo(wiring.Component):
    """A FIFO of words whose places are reserved when their read starts.

    Words come from a pipeline that cannot wait. The read loop starts a word only while ``room`` is set.

    Latency: 1 cycle from ``word`` to ``o`` (`latency`).
    Throughput: one word per cycle.
    Back-pressure: ``o`` may wait; ``room`` is cleared while all places are reserved.

    Parameters
    ----------
    config : MachineConfig
        width of a word

    Members
    -------
    started : In(1)
        the read of a word starts in this cycle; only while ``room`` is set
    room : Out(1)
        one more read may be started
    word : In(Flow(word_layout(config)))
        a word whose read was started
    o : Out(stream.Signature(word_layout(config)))
        the words in the same order
    """

    latency = 1

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
