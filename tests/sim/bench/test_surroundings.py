# SPDX-License-Identifier: Apache-2.0
"""Plain ports, steps, resets, memories and probes of the stream bench."""

import numpy as np
import pytest
from amaranth import *
from amaranth.lib import data
from amaranth.lib.wiring import Component, In, Out

from moevit.hw.interfaces import MemoryRead, MemoryWrite
from moevit.sim.bench.stream_bench import StreamBench
from moevit.sim.bench.surroundings import MemoryModel, Probe

WORD = data.ArrayLayout(signed(8), 4)


class Total(Component):
    """``total``: the sum of all words so far, two cycles later; ``twice``: combinational."""

    word: In(WORD)
    twice: Out(signed(9))
    total: Out(signed(16))

    def elaborate(self, platform):
        m = Module()
        held = Signal.like(self.word)
        m.d.comb += self.twice.eq(self.word[0] * 2)
        m.d.sync += [held.eq(self.word), self.total.eq(self.total + sum(held[lane] for lane in range(4)))]
        return m


class Mover(Component):
    """Reads addresses 0, 1, ... and writes each word to the address after it, its lower half only if odd."""

    read: Out(MemoryRead(8, WORD))
    write: Out(MemoryWrite(8, WORD, granules=2))

    def elaborate(self, platform):
        m = Module()
        address, filled = Signal(4), Signal()
        m.d.sync += [address.eq(address + 1), filled.eq(1)]
        m.d.comb += [self.read.enable.eq(address < 8), self.read.address.eq(address),
                     self.write.enable.eq(Mux(filled & (address < 8), Mux(address[0], 1, 3), 0)),
                     self.write.address.eq(address), self.write.data.eq(self.read.data)]
        return m


def test_words():
    words = np.random.default_rng(1).integers(-128, 128, (20, 4))
    bench = StreamBench(Total())
    assert bench.words({"word": words}, ["total"], 2) == {"total": list(np.cumsum(words.sum(axis=1)))}
    assert bench.words({"word": words}, ["twice"], 0) == {"twice": list(2 * words[:, 0])}
    with pytest.raises(ValueError, match="word: 3 elements"):
        bench.words({"word": words[:, :3]}, ["twice"], 0)


def test_play_and_reset():
    bench, seen = StreamBench(Total()), []

    def step(ctx, cycle):
        ctx.set(bench.dut.word, [1, 2, 3, cycle])
        ctx.set(bench.reset, cycle == 4)
        seen.append(ctx.get(bench.dut.total))
        return cycle == 6

    bench.play(step, 100)
    assert seen == [0, 0, 6, 13, 21, 0, 0]


def test_memory():
    """A read sees what was stored before its cycle; a write changes its granules."""
    words = np.arange(32).reshape(8, 4)
    dut = Mover()
    memory = MemoryModel(words, reads=[dut.read], writes=[dut.write])
    StreamBench(dut, background=[memory.run]).play(lambda ctx, cycle: None, 10)
    assert memory.read_log == [(cycle, cycle) for cycle in range(8)]
    assert [entry[:3] for entry in memory.write_log] == [(at, at, 1 if at & 1 else 3) for at in range(1, 8)]
    assert memory.write_log[0][3] == [0, 1, 2, 3]
    expected = np.arange(32).reshape(8, 4)
    for at in range(1, 8):  # what was stored at ``at - 1`` in the cycle before its write
        expected[at, :2 if at & 1 else 4] = np.arange(4 * at - 4, 4 * at)[:2 if at & 1 else 4]
    assert np.array_equal(words, expected)


def test_memory_of_single_words():
    class Copy(Component):
        read: Out(MemoryRead(4, 8))
        write: Out(MemoryWrite(4, 8))

        def elaborate(self, platform):
            m = Module()
            later = Signal()
            m.d.comb += [self.read.enable.eq(1), self.read.address.eq(3), self.write.enable.eq(later),
                         self.write.address.eq(1), self.write.data.eq(self.read.data)]
            m.d.sync += later.eq(1)
            return m

    dut, words = Copy(), [5, 6, 7, 8]
    StreamBench(dut, background=[MemoryModel(words, reads=[dut.read], writes=[dut.write]).run]).play(
        lambda ctx, cycle: None, 3)
    assert words == [5, 8, 7, 8]


def test_probe():
    dut = Mover()
    everything, written = Probe(dut.read.enable), Probe(dut.write.address, dut.write.data, when=dut.write.enable[1])
    StreamBench(dut, settings={"read.data": [-1, 2, 3, 4]}, background=[everything.run, written.run]).play(
        lambda ctx, cycle: None, 9)
    assert everything.cycles == list(range(9)) and everything.values == [1] * 8 + [0]
    assert written.cycles == [2, 4, 6] and written.values == [(at, [-1, 2, 3, 4]) for at in (2, 4, 6)]
