# SPDX-License-Identifier: Apache-2.0
"""The memory of a LayerNorm's gain, one s16 per channel."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from moevit.spec.arrays import MachineConfig

from ..interfaces import MemoryRead
from ..layouts import gain_words, word_layout
from .access import WORD_BITS

__all__ = ["Gain", "gain_read"]

def gain_read(config: MachineConfig) -> MemoryRead:
    """A read of the words that a NORM takes in a cycle."""
    words = config.norm_words
    return MemoryRead(-(-gain_words(config) // words), data.ArrayLayout(word_layout(config), words))


class Gain(wiring.Component):
    """Collects the gain from beats, `word_beats` to a word, and gives `norm_words` words at a time.

    ``read.data[i]`` is word ``address x norm_words + i``.

    Latency: 1 cycle from ``read.address`` to ``read.data`` (`latency`).
    Throughput: one beat in and one read per cycle.
    Back-pressure: ``beats`` wait while ``load`` is not set.

    Parameters
    ----------
    config : MachineConfig
        `word_beats` and `norm_words`

    Members
    -------
    load : In(1)
        beats may come
    last_word : In(12)
        words of the gain - 1, 0..gain_words(config) - 1
    beats : In(stream.Signature(n_lanes x 8))
        the gain, channel 0 first
    loaded : Out(1)
        the beat of this cycle is the last one
    read : In(gain_read(config))
        read port
    """

    latency = 1

    def __init__(self, config: MachineConfig):
        self._config = config
        super().__init__({
            "load": In(1),
            "last_word": In(WORD_BITS),
            "beats": In(stream.Signature(8 * config.n_lanes)),
            "loaded": Out(1),
            "read": In(gain_read(config)),
        })

    def elaborate(self, platform):
        m = Module()
        config = self._config
        words, read_words = config.norm_words, self.read.data.shape()
        m.submodules.memory = memory = Memory(shape=read_words, depth=-(-gain_words(config) // words), init=[])
        write, read = memory.write_port(granularity=1), memory.read_port()
        taken = self.load & self.beats.valid
        word, address, offset = Signal(WORD_BITS), Signal.like(write.addr), Signal(2)  # word = address x words + offset
        if config.word_beats == 2:
            second_half, first_beat = Signal(), Signal(8 * config.n_lanes)
            full, value = second_half, Cat(first_beat, self.beats.payload)
            with m.If(taken):
                m.d.sync += [second_half.eq(~second_half), first_beat.eq(self.beats.payload)]
        else:
            full, value = C(1), self.beats.payload
        m.d.comb += [
            self.beats.ready.eq(self.load),
            write.en.eq(Cat(taken & full & (offset == index) for index in range(words))),
            write.addr.eq(address),
            write.data.as_value().eq(value.replicate(words)),
            self.loaded.eq(taken & full & (word == self.last_word)),
            read.en.eq(self.read.enable),
            read.addr.eq(self.read.address),
            self.read.data.eq(read.data),
        ]
        with m.If(taken & full):
            m.d.sync += [word.eq(Mux(self.loaded, 0, word + 1)), offset.eq(offset + 1)]
            with m.If(self.loaded | (offset == words - 1)):
                m.d.sync += [address.eq(Mux(self.loaded, 0, address + 1)), offset.eq(0)]
        return m
