# SPDX-License-Identifier: Apache-2.0
"""What one narrow port reads, put together into beats of the wide bus."""

from amaranth import *
from amaranth.lib import data, stream
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import Component, In, Out
from amaranth.utils import exact_log2

from ..interfaces import Flow
from .axi import ReadChannels
from .bursts import BURST_BEATS

__all__ = ["GatherPort"]


class GatherPort(Component):
    """Takes R of a port, ``ports`` beats for one of the wide bus, and keeps those until it is their turn.

    There is room for all that ``outstanding`` wide bursts can make this port read: RREADY is constantly 1. Two cycles
    from the last part of a beat to ``o``; one beat of the port a cycle.

    The response of a beat is the or of its parts' responses. A beat in which RLAST came too early, or did not come, is
    ``wrong``, whole or not. As in ``ReadMaster`` a burst has ended with RLAST or its last beat, whichever comes first,
    and beats that nobody asked for are thrown away.

    Parameters
    ----------
    bus_bytes : bytes per beat of the wide bus
    ports : narrow ports that share it
    outstanding : wide bursts under way at most

    Members
    -------
    expect : Flow; the port took a burst on AR, so many beats of the wide bus less one
    r : the port's R
    o : stream of {data, resp, wrong}
    discard : forget the beats, also those that come
    owed : beats of a burst have not arrived yet
    heard : a beat arrived
    """

    def __init__(self, bus_bytes: int, ports: int, outstanding: int):
        self._bytes, self._ports, self._outstanding = bus_bytes, ports, outstanding
        super().__init__({
            "expect": In(Flow(exact_log2(BURST_BEATS // ports))),
            "r": In(ReadChannels(bus_bytes // ports).members["r"].signature.flip()),
            "o": Out(stream.Signature(data.StructLayout({"data": 8 * bus_bytes, "resp": 2, "wrong": 1}))),
            "discard": In(1),
            "owed": Out(1),
            "heard": Out(1),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        width = 8 * self._bytes // self._ports
        lane_bits = exact_log2(self._ports)
        depth = self._outstanding * BURST_BEATS // self._ports
        address_bits = exact_log2(depth)
        m.submodules.lengths = lengths = SyncFIFO(width=len(self.expect.payload), depth=self._outstanding)
        m.submodules.words = words = Memory(shape=8 * self._bytes, depth=depth, init=[])
        m.submodules.marks = marks = Memory(shape=3, depth=depth, init=[])
        store, read = words.write_port(granularity=width), words.read_port(domain="comb")
        mark, marked = marks.write_port(), marks.read_port(domain="comb")

        # Stage 1: take the beat.
        beat = Signal.like(self.r.payload)
        m.d.comb += self.r.ready.eq(1)
        m.d.sync += self.heard.eq(self.r.valid)
        m.d.sync += beat.eq(self.r.payload)

        # Stage 2: to its place in a word.
        index = Signal(exact_log2(BURST_BEATS))  # beat within the burst
        lane = index[:lane_bits]
        come, gone = Signal(address_bits + 1), Signal(address_bits + 1)
        expected, final, ended, odd, whole = Signal(), Signal(), Signal(), Signal(), Signal()
        before, response = Signal(2), Signal(2)  # of the word's parts so far
        m.d.comb += [
            lengths.w_en.eq(self.expect.valid),
            lengths.w_data.eq(self.expect.payload),
            self.owed.eq(lengths.r_rdy),
            expected.eq(self.heard & lengths.r_rdy),
            final.eq(index == Cat(C(self._ports - 1, lane_bits), lengths.r_data)),
            ended.eq(final | beat.last),
            odd.eq(beat.last != final),
            whole.eq(lane.all() | beat.last),
            lengths.r_en.eq(expected & ended),
            response.eq(before | beat.resp),
            store.en.eq(Mux(expected, 1 << lane, 0)),
            store.addr.eq(come),
            store.data.eq(beat.data.replicate(self._ports)),
            mark.en.eq(expected & whole),
            mark.addr.eq(come),
            mark.data.eq(Cat(response, odd)),
        ]
        with m.If(expected):
            m.d.sync += index.eq(Mux(ended, 0, index + 1))
            m.d.sync += before.eq(Mux(whole, 0, response))
        with m.If(self.discard):
            m.d.sync += [come.eq(0), gone.eq(0)]
        with m.Else():
            with m.If(mark.en):
                m.d.sync += come.eq(come + 1)
            with m.If(self.o.valid & self.o.ready):
                m.d.sync += gone.eq(gone + 1)

        m.d.comb += [
            read.addr.eq(gone),
            marked.addr.eq(gone),
            self.o.payload.data.eq(read.data),
            Cat(self.o.payload.resp, self.o.payload.wrong).eq(marked.data),
            self.o.valid.eq(come != gone),
        ]
        return m
