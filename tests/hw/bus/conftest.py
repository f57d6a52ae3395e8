# SPDX-License-Identifier: Apache-2.0
"""AXI slaves that stall at random, break the protocol on demand and check the master's manners."""

import random
from collections import deque

import pytest

from moevit.sim.bench.stream_bench import StreamBench

BURST, PAGE = 16, 4096
OKAY, SLVERR, DECERR = 0, 2, 3


class Channel:
    """Watches a stream driven by the unit under test: a payload that was offered stays until it is taken."""

    def __init__(self, name, stream):
        self.name = name
        self.signals = (stream.valid, stream.ready, stream.payload)
        self.offered = None

    def see(self, valid, ready, payload):
        """One cycle. Returns whether the payload was taken."""
        if self.offered is not None:
            assert valid, f"{self.name}: VALID fell before READY"
            assert payload == self.offered, f"{self.name}: payload changed before READY"
        self.offered = payload if valid and not ready else None
        return valid and ready


def check_burst(address, length, bus_bytes):
    assert length < BURST
    assert address % bus_bytes == 0
    assert address // PAGE == (address + (length + 1) * bus_bytes - 1) // PAGE, f"burst at {address:#x} crosses 4 KiB"


def beat_at(address):
    """What the memory holds: 64 bits that say where they are, repeated by the caller."""
    return (address * 0x9E3779B97F4A7C15 + 0x1234567) & (1 << 64) - 1


class ReadSlave:
    """Answers AR in order from ``beat_at``. ``respond`` {beat address: resp}; ``last`` {burst address: how}:
    'early' (RLAST on the first beat, no more), 'missing' (all beats, never RLAST), 'late' (one beat more)."""

    def __init__(self, bus, bus_bytes, *, seed=0, stall=0.0, latency=0, respond=None, last=None):
        self.bus, self.bus_bytes, self.random = bus, bus_bytes, random.Random(seed)
        self.stall, self.latency, self.respond, self.last = stall, latency, respond or {}, last or {}
        self.accept = True  # AR
        self.answer = True  # R
        self.bursts = []
        self.extra = deque()  # beats nobody asked for
        self.beats = deque()  # (cycle from which on, payload)
        self.channel = Channel("AR", bus.ar)

    def reset(self):
        """The master is reset: what it offered may vanish; what it was promised is sent all the same."""
        self.channel.offered = None

    def data(self, address):
        return int.from_bytes(b"".join(beat_at(address + 8 * i).to_bytes(8, "little")
                                       for i in range(self.bus_bytes // 8)), "little")

    def _answer(self, cycle, address, length):
        how = self.last.get(address)
        count = {"early": 1, "late": length + 2}.get(how, length + 1)
        for index in range(count):
            at = address + index * self.bus_bytes
            last = int(index == count - 1 and how != "missing")
            self.beats.append((cycle + self.latency,
                               {"data": self.data(at), "resp": self.respond.get(at, OKAY), "last": last}))

    async def run(self, ctx):
        ar, r = self.bus.ar, self.bus.r
        channel = self.channel
        cycle = 0
        r_valid = False
        while True:
            _, _, *seen, r_ready = await ctx.tick().sample(*channel.signals, r.ready)
            assert r_ready, "R was stalled"
            if cycle == 0:
                assert not seen[0], "ARVALID in the first cycle"
            if channel.see(*seen):
                check_burst(seen[2].addr, seen[2].len, self.bus_bytes)
                self.bursts.append((seen[2].addr, seen[2].len + 1))
                self._answer(cycle, seen[2].addr, seen[2].len)
            cycle += 1
            ctx.set(ar.ready, int(self.accept and self.random.random() >= self.stall))
            r_valid = self.answer and self.random.random() >= self.stall
            if self.extra:
                ctx.set(r.payload, self.extra.popleft())
                ctx.set(r.valid, 1)
            elif r_valid and self.beats and self.beats[0][0] < cycle:
                ctx.set(r.payload, self.beats.popleft()[1])
                ctx.set(r.valid, 1)
            else:
                ctx.set(r.valid, 0)


class WriteSlave:
    """Takes AW and W independently, answers in order. ``respond`` {burst address: resp}; ``early``: addresses of
    bursts that are answered as soon as their AW is taken."""

    def __init__(self, bus, bus_bytes, *, seed=0, stall=0.0, latency=0, respond=None, early=()):
        self.bus, self.bus_bytes, self.random = bus, bus_bytes, random.Random(seed)
        self.stall, self.latency, self.respond, self.early = stall, latency, respond or {}, set(early)
        self.accept_address = self.accept_data = self.answer = True
        self.bursts = []
        self.beats = []  # (data, strobes, last)
        self.memory = {}  # byte address -> byte
        self.answers = deque()
        self.stray = deque()  # responses nobody asked for
        self._cuts = deque()  # bursts whose beats are to come
        self._sent = 0
        self.channels = Channel("AW", bus.aw), Channel("W", bus.w)

    def reset(self):
        """The master is reset: what it offered may vanish; bursts that are whole are answered all the same."""
        for channel in self.channels:
            channel.offered = None
        self._cuts.clear()
        self._sent = len(self.beats)

    def _commit(self, cycle):
        """Put the beats that have an address where they belong; answer the bursts that are whole."""
        while self._cuts and len(self.beats) - self._sent > self._cuts[0][1]:
            address, length = self._cuts.popleft()
            for index in range(length + 1):
                word, strobes, last = self.beats[self._sent + index]
                assert last == (index == length), f"WLAST of the burst at {address:#x}, beat {index}"
                for byte in range(self.bus_bytes):
                    if strobes >> byte & 1:
                        self.memory[address + index * self.bus_bytes + byte] = word >> 8 * byte & 255
            self._sent += length + 1
            if address not in self.early:
                self.answers.append((cycle + self.latency, self.respond.get(address, OKAY)))

    async def run(self, ctx):
        aw, w, b = self.bus.aw, self.bus.w, self.bus.b
        address, words = self.channels
        cycle = 0
        while True:
            _, _, *seen, b_ready = await ctx.tick().sample(*address.signals, *words.signals, b.ready)
            assert b_ready, "B was stalled"
            if cycle == 0:
                assert not seen[0] and not seen[3], "AWVALID or WVALID in the first cycle"
            if address.see(*seen[:3]):
                at, length = seen[2].addr, seen[2].len
                check_burst(at, length, self.bus_bytes)
                self.bursts.append((at, length + 1))
                self._cuts.append((at, length))
                if at in self.early:
                    self.answers.append((cycle, self.respond.get(at, OKAY)))
            if words.see(*seen[3:]):
                self.beats.append((seen[5].data, seen[5].strb, seen[5].last))
            self._commit(cycle)
            cycle += 1
            ctx.set(aw.ready, int(self.accept_address and self.random.random() >= self.stall))
            ctx.set(w.ready, int(self.accept_data and self.random.random() >= self.stall))
            answer = self.answer and self.random.random() >= self.stall
            if self.stray:
                ctx.set(b.payload.resp, self.stray.popleft())
                ctx.set(b.valid, 1)
            elif answer and self.answers and self.answers[0][0] < cycle:
                ctx.set(b.payload.resp, self.answers.popleft()[1])
                ctx.set(b.valid, 1)
            else:
                ctx.set(b.valid, 0)


class Source:
    """Feeds a stream; ``items`` may grow."""

    def __init__(self, stream, items, *, seed=0, stall=0.0):
        self.stream, self.items, self.random, self.stall = stream, deque(items), random.Random(seed), stall
        self.offered = False

    def clear(self):
        """Take back what has not been taken, as a unit does that is reset."""
        self.items.clear()
        self.offered = False

    async def run(self, ctx):
        while True:
            _, _, ready = await ctx.tick().sample(self.stream.ready)
            if self.offered and ready:
                self.items.popleft()
                self.offered = False
            self.offered = bool(self.items) and (self.offered or self.random.random() >= self.stall)
            ctx.set(self.stream.valid, int(self.offered))
            if self.offered:
                ctx.set(self.stream.payload, self.items[0])


class Sink:
    """Empties a stream into ``items``; ``cycles`` says when."""

    def __init__(self, stream, *, seed=0, stall=0.0):
        self.stream, self.random, self.stall = stream, random.Random(seed), stall
        self.items, self.cycles = [], []
        self.accept = True

    async def run(self, ctx):
        cycle = 0
        while True:
            _, _, valid, ready, payload = await ctx.tick().sample(
                self.stream.valid, self.stream.ready, self.stream.payload)
            if valid and ready:
                self.items.append(payload)
                self.cycles.append(cycle)
            cycle += 1
            ctx.set(self.stream.ready, int(self.accept and self.random.random() >= self.stall))


class BeatsSink:
    """Empties ``NextBeats``, any number at a time, into ``items``; ``cycles`` says when."""

    def __init__(self, beats, *, seed=0, stall=0.0):
        self.beats, self.random, self.stall = beats, random.Random(seed), stall
        self.items, self.cycles = [], []
        self.accept = True

    async def run(self, ctx):
        cycle = 0
        while True:
            available = ctx.get(self.beats.available).bit_count()
            wish = sum(self.random.random() >= self.stall for _ in self.beats.available) if self.accept else 0
            ctx.set(self.beats.taken, min(wish, available))
            for index in range(min(wish, available)):
                self.items.append(ctx.get(self.beats.payload[index]))
                self.cycles.append(cycle)
            await ctx.tick()
            cycle += 1


class Pulses:
    """Records the cycles in which ``valid`` is high, with the values of ``signals``."""

    def __init__(self, valid, *signals):
        self.valid, self.signals, self.seen = valid, signals, []

    async def run(self, ctx):
        cycle = 0
        while True:
            _, _, valid, *values = await ctx.tick().sample(self.valid, *self.signals)
            if valid:
                self.seen.append((cycle, *values))
            cycle += 1


def simulate(unit, testbench, *actors):
    """Run ``testbench`` beside the actors until it ends."""
    StreamBench(unit, background=[actor.run for actor in actors]).simulate(testbench)


async def until(ctx, condition, limit=5000):
    """Wait for ``condition()``, a Python function; fails after ``limit`` cycles. Returns the cycles it took."""
    for cycle in range(limit):
        if condition():
            return cycle
        await ctx.tick()
    raise AssertionError(f"nothing after {limit} cycles")


class Kit:
    """The actors, for tests to take from the ``kit`` fixture."""

    OKAY, SLVERR, DECERR = OKAY, SLVERR, DECERR
    ReadSlave, WriteSlave, Source, Sink, BeatsSink, Pulses = ReadSlave, WriteSlave, Source, Sink, BeatsSink, Pulses
    simulate, until = staticmethod(simulate), staticmethod(until)


@pytest.fixture
def kit():
    return Kit
