# SPDX-License-Identifier: Apache-2.0
"""Joins the transfers that one port reads to bus beats."""

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
    """Takes R of one port, joins ``ports`` of its transfers to a bus beat, and keeps the bus beats until their turn.

    There is room for all that ``outstanding`` bursts can make this port read: RREADY is constantly 1.

    The response of a bus beat is the bitwise or of its parts' responses. A bus beat in which RLAST came too early, or
    did not come, is ``wrong``, whether complete or not. As in ``ReadMaster`` a stripe ends with RLAST or its last part,
    whichever comes first, and transfers that nobody asked for are thrown away.

    Latency: 2 cycles from the last part on ``r`` to ``o`` (`latency`).
    Throughput: one transfer of the port per cycle.
    Back-pressure: none on ``r``; ``o`` waits for its turn.

    Parameters
    ----------
    bus_bytes : int
        bytes of a bus beat
    ports : int
        ports that share the bus
    outstanding : int
        bursts under way at most

    Members
    -------
    expect : In(Flow(exact_log2(16 / ports)))
        the port took a stripe's address on AR: bus beats of the stripe, less one
    r : In(stream.Signature({"data": 8 x bus_bytes / ports, "resp": 2, "last": 1}))
        the port's R
    o : Out(stream.Signature({"data": 8 x bus_bytes, "resp": 2, "wrong": 1}))
        bus beats
    discard : In(1)
        forget the bus beats, also those that come
    owed : Out(1)
        transfers of a stripe have not arrived yet
    arrived : Out(1)
        a transfer arrived in the cycle before
    """

    latency = 2

    def __init__(self, bus_bytes: int, ports: int, outstanding: int):
        self._bytes, self._ports, self._outstanding = bus_bytes, ports, outstanding
        super().__init__({
            "expect": In(Flow(exact_log2(BURST_BEATS // ports))),
            "r": In(ReadChannels(bus_bytes // ports).members["r"].signature.flip()),
            "o": Out(stream.Signature(data.StructLayout({"data": 8 * bus_bytes, "resp": 2, "wrong": 1}))),
            "discard": In(1),
            "owed": Out(1),
            "arrived": Out(1),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        part_bits = exact_log2(self._ports)
        m.submodules.lengths = lengths = SyncFIFO(width=len(self.expect.payload), depth=self._outstanding)
        # Stage 1: take the transfer.
        beat = Signal.like(self.r.payload)
        m.d.comb += self.r.ready.eq(1)
        m.d.sync += self.arrived.eq(self.r.valid)
        m.d.sync += beat.eq(self.r.payload)

        # Stage 2: put it in its place in a bus beat.
        index = Signal(exact_log2(BURST_BEATS))  # transfer within the stripe
        part = index[:part_bits]
        expected, final, ended, wrong, complete = Signal(), Signal(), Signal(), Signal(), Signal()
        earlier, response = Signal(2), Signal(2)  # or of the responses before, and with this one
        m.d.comb += [
            lengths.w_en.eq(self.expect.valid),
            lengths.w_data.eq(self.expect.payload),
            self.owed.eq(lengths.r_rdy),
            expected.eq(self.arrived & lengths.r_rdy),
            final.eq(index == Cat(C(self._ports - 1, part_bits), lengths.r_data)),
            ended.eq(final | beat.last),
            wrong.eq(beat.last != final),
            complete.eq(part.all() | beat.last),
            lengths.r_en.eq(expected & ended),
            response.eq(earlier | beat.resp),
        ]
        with m.If(expected):
            m.d.sync += index.eq(Mux(ended, 0, index + 1))
            m.d.sync += earlier.eq(Mux(complete, 0, response))
        self._store(m, Mux(expected, 1 << part, 0), beat.data, expected & complete, Cat(response, wrong))
        return m

    def _store(self, m: Module, parts: Value, data: Value, complete: Value, marks: Value) -> None:
        """Bus beats in a memory, part by part; response and ``wrong`` in one of their own, when a beat is complete."""
        depth = self._outstanding * BURST_BEATS // self._ports
        m.submodules.words = words = Memory(shape=8 * self._bytes, depth=depth, init=[])
        m.submodules.marks = notes = Memory(shape=3, depth=depth, init=[])
        store, read = words.write_port(granularity=len(data)), words.read_port(domain="comb")
        mark, marked = notes.write_port(), notes.read_port(domain="comb")
        came, gone = (Signal(exact_log2(depth) + 1, name=name) for name in ("came", "gone"))
        m.d.comb += [
            store.en.eq(parts),
            store.addr.eq(came),
            store.data.eq(data.replicate(self._ports)),
            mark.en.eq(complete),
            mark.addr.eq(came),
            mark.data.eq(marks),
            read.addr.eq(gone),
            marked.addr.eq(gone),
            self.o.payload.data.eq(read.data),
            Cat(self.o.payload.resp, self.o.payload.wrong).eq(marked.data),
            self.o.valid.eq(came != gone),
        ]
        with m.If(self.discard):
            m.d.sync += [came.eq(0), gone.eq(0)]
        with m.Else():
            with m.If(mark.en):
                m.d.sync += came.eq(came + 1)
            with m.If(self.o.valid & self.o.ready):
                m.d.sync += gone.eq(gone + 1)
