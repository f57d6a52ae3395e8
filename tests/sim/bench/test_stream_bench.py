# SPDX-License-Identifier: Apache-2.0
"""The stream bench transfers payloads and finds the faults that it names."""

import numpy as np
import pytest
from amaranth import *
from amaranth.lib import data, enum, stream
from amaranth.lib.wiring import Component, In, Out

from moevit.sim.bench.payload import pack, unpack
from moevit.sim.bench.stream_bench import StreamBench, StreamError


class Colour(enum.Enum, shape=2):
    RED = 0
    BLUE = 2


LAYOUT = data.StructLayout({"x": signed(5), "lanes": data.ArrayLayout(signed(4), 3), "colour": Colour})
VALUES = [{"x": x, "lanes": [x % 8, -(x % 7), 3], "colour": Colour.BLUE if x & 1 else Colour.RED}
          for x in range(-16, 16)]


class Pipe(Component):
    """One register; ``fault`` makes it misbehave."""

    def __init__(self, shape, fault=None):
        self.fault = fault
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.i.ready.eq(~self.o.valid | self.o.ready)
        with m.If(self.i.ready):
            m.d.sync += self.o.valid.eq(self.i.valid)
            m.d.sync += self.o.payload.eq(self.i.payload)
        raw, count = Value.cast(self.o.payload), Signal(4)
        m.d.sync += count.eq(count + 1)
        if self.fault == "drops":
            with m.If(count == 0):
                m.d.sync += self.o.valid.eq(0)
        if self.fault == "changes":
            with m.If(self.o.valid & ~self.o.ready):
                m.d.sync += raw.eq(raw + 1)
        if self.fault == "repeats":
            with m.If(count == 15):
                m.d.sync += self.o.valid.eq(1)
        if self.fault == "waits":
            m.d.comb += self.i.ready.eq(self.o.ready)
            with m.If(self.i.ready):
                m.d.sync += self.o.valid.eq(self.i.valid)
            waiting = Signal()
            m.d.comb += waiting.eq(self.i.valid & self.o.ready)
            m.d.sync += self.o.valid.eq(waiting)
        return m


@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_payloads_come_through(stall):
    bench = StreamBench(Pipe(LAYOUT), seed=3)
    assert bench.run(inputs={"i": VALUES}, outputs={"o": len(VALUES)}, stall=stall) == {"o": VALUES}
    if stall == 0:
        assert bench.cycles["o"] == list(range(1, len(VALUES) + 1))
    else:
        assert bench.cycles["o"][-1] > 1.5 * len(VALUES)


def test_any_number_of_outputs():
    assert StreamBench(Pipe(8)).run({"i": range(50)}, {"o": None}, stall=0.5) == {"o": list(range(50))}


@pytest.mark.parametrize("shape, value", [(signed(9), -256), (LAYOUT, VALUES[0]), (data.ArrayLayout(8, 2), [1, 2])])
def test_pack_and_unpack(shape, value):
    assert unpack(shape, pack(shape, value)) == value


def test_numpy_values():
    assert pack(data.ArrayLayout(signed(8), 3), np.array([-1, 0, 1], np.int8)) == 0x0100FF


@pytest.mark.parametrize("shape, value", [
    (8, 256), (8, -1), (signed(8), 128), (8, 1.5), (data.ArrayLayout(8, 2), [1, 2, 3]), (LAYOUT, {"x": 1}),
    (LAYOUT, "a"),
])
def test_what_does_not_fit_is_refused(shape, value):
    with pytest.raises(ValueError, match="payload"):
        pack(shape, value)


@pytest.mark.parametrize("fault, message", [
    ("drops", "valid fell before ready"), ("changes", "payload changed"), ("repeats", "more than the 20"),
    ("waits", "no transfer|valid fell"),
])
def test_faults_are_found(fault, message):
    with pytest.raises(StreamError, match=message) as caught:
        for seed in range(20):
            StreamBench(Pipe(8, fault), seed=seed, settle=40).run({"i": range(20)}, {"o": 20}, stall=0.5)
    assert "seed" in str(caught.value)


def test_watchdog_says_how_far_it_came():
    with pytest.raises(StreamError, match="no transfer for 100 cycles.*i sent 3 of 3, o gave 3 of 4"):
        StreamBench(Pipe(8), watchdog=100).run({"i": [1, 2, 3]}, {"o": 4})


def test_latency():
    assert StreamBench(Pipe(8)).latency({"i": [1, 2]}, "o") == 1


def test_settings_and_background():
    class Sum(Component):
        i: In(stream.Signature(8))
        o: Out(stream.Signature(8))
        offset: In(8)
        seen: In(1)

        def elaborate(self, platform):
            m = Module()
            m.d.comb += self.o.valid.eq(self.i.valid & self.seen)
            m.d.comb += self.i.ready.eq(self.o.ready & self.seen)
            m.d.comb += self.o.payload.eq(self.i.payload + self.offset)
            return m

    dut = Sum()

    async def later(ctx):
        await ctx.tick().repeat(10)
        ctx.set(dut.seen, 1)

    bench = StreamBench(dut, settings={"offset": 5}, background=[later])
    assert bench.run({"i": [1, 2]}, {"o": 2}) == {"o": [6, 7]}
    assert bench.cycles["i"] == [10, 11]
