# SPDX-License-Identifier: Apache-2.0
"""The gain of a LayerNorm, one s16 per channel."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from moevit.spec.arrays import MachineConfig

from ..interfaces import MemoryRead, word_layout
from .access import WORD_BITS

__all__ = ["Gain", "gain_read", "gain_words"]

_CHANNELS = 2048  # an accumulator is exact for k <= 2072


def gain_words(config: MachineConfig) -> int:
    """Words that the gain memory holds: the most words of a row that a NORM can take."""
    return _CHANNELS // config.k_lanes


def gain_read(config: MachineConfig) -> MemoryRead:
    """A read of as many words as a NORM takes in a cycle."""
    words = config.norm_words
    return MemoryRead(-(-gain_words(config) // words), data.ArrayLayout(word_layout(config), words))


class Gain(wiring.Component):
    """Takes the gain from the beats of the stream, ``word_beats`` to a word, and offers it by words.

    Takes a beat per cycle while ``load`` is set. A read takes 1 cycle and gives ``norm_words`` words: those from
    ``address x norm_words`` on.

    Members
    -------
    load : In(1)
    last_word : In(12), words to take less one, 0..gain_words(config) - 1
    beats : In(stream.Signature(n_lanes x 8))
    loaded : Out(1), in the cycle in which the last beat is taken
    read : In(gain_read(config))
    """

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
        word, address, place = Signal(WORD_BITS), Signal.like(write.addr), Signal(2)  # word = address x words + place
        if config.word_beats == 2:
            half, first = Signal(), Signal(8 * config.n_lanes)
            full, value = half, Cat(first, self.beats.payload)
            with m.If(taken):
                m.d.sync += [half.eq(~half), first.eq(self.beats.payload)]
        else:
            full, value = C(1), self.beats.payload
        m.d.comb += [
            self.beats.ready.eq(self.load),
            write.en.eq(Cat(taken & full & (place == index) for index in range(words))),
            write.addr.eq(address),
            write.data.as_value().eq(value.replicate(words)),
            self.loaded.eq(taken & full & (word == self.last_word)),
            read.en.eq(self.read.enable),
            read.addr.eq(self.read.address),
            self.read.data.eq(read.data),
        ]
        with m.If(taken & full):
            m.d.sync += [word.eq(Mux(self.loaded, 0, word + 1)), place.eq(place + 1)]
            with m.If(self.loaded | (place == words - 1)):
                m.d.sync += [address.eq(Mux(self.loaded, 0, address + 1)), place.eq(0)]
        return m
