# SPDX-License-Identifier: Apache-2.0
"""AXI4 read master: commands in, beats out, with as many bursts under way as there is room for their data."""

from amaranth import *
from amaranth.lib import stream
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import Component, In, Out, connect, flipped
from amaranth.utils import exact_log2

from moevit.spec.arrays import MachineConfig
from moevit.spec.registers import ErrorCode

from ..interfaces import Flow, NextBeats, command_layout
from .axi import RESP_DECERR, RESP_OKAY, RESP_SLVERR, ReadChannels
from .bursts import BURST_BEATS, BurstSplitter, burst_layout
from .fault import ADDRESS_BITS, fault_layout
from .prefetch import Prefetch

__all__ = ["ReadMaster"]

#: Cycles of silence after which a slave that broke the protocol is believed to have finished.
QUIET_CYCLES = 256


class ReadMaster(Component):
    """Reads stretches of consecutive beats of the bus over AXI4 and offers them as beats of the stream.

    Commands are cut and checked by ``BurstSplitter``. A burst is issued only when ``Prefetch`` has room for all of it:
    RREADY is constantly 1, so neither a slow consumer nor the write channels can hold the bus up. One ID, answers in
    order. Throughput one bus beat a cycle in, ``tile_beats`` of the stream out; four cycles from R to ``beats``.

    The first error (a refused command, SLVERR, DECERR, RLAST at the wrong beat) is reported once with the address of
    the beat. From then on no burst is issued, what is under way is received and thrown away, and the beat with the
    error and all later ones are not delivered. ``abort`` ends that state. Beats that arrive when no burst is under
    way are thrown away without a report.

    ``abort`` (a pulse or longer) forgets commands and beats, finishes the bursts that are under way and keeps the
    master quiet until they are in; an AR that was shown stays until it is taken, as AXI wants it. After RLAST at a
    wrong beat it cannot be known how many beats the slave still owes: ``drained`` then waits for 256 silent cycles.

    Parameters
    ----------
    config : bus width and depth of the FIFO
    outstanding : bursts under way at most (8: what the Zynq ports queue)

    Members
    -------
    command : stream of {address, beats}
    beats : the data, in order, in beats of the stream
    bus : AR and R
    base, limit : window base <= address < limit; steady while a command is under way
    abort : forget everything
    drained : nothing is under way on the bus, and nothing will be without a further command
    fault : the first error, one pulse
    beat : a beat was received (BYTES_READ)
    """

    def __init__(self, config: MachineConfig, outstanding: int = 8):
        if outstanding < 1:
            raise ValueError(f"outstanding must be at least 1, not {outstanding!r}")
        self._config = config
        self._bytes = config.bus_bytes
        self._outstanding = outstanding
        super().__init__({
            "command": In(stream.Signature(command_layout())),
            "beats": Out(NextBeats(config)),
            "bus": Out(ReadChannels(config.bus_bytes)),
            "base": In(64),
            "limit": In(64),
            "abort": In(1),
            "drained": Out(1),
            "fault": Out(Flow(fault_layout())),
            "beat": Out(1),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        ar, r = self.bus.ar, self.bus.r

        failed = Signal()  # an error was seen
        flushing = Signal()  # abort was seen, bursts are under way
        restart = Signal()
        halted = Signal()
        m.d.comb += restart.eq(self.abort | flushing)
        m.d.comb += halted.eq(restart | failed)

        splitter = BurstSplitter(self._bytes, ErrorCode.READ_WINDOW)
        m.submodules.splitter = ResetInserter(halted)(splitter)
        prefetch = Prefetch(self._config)
        m.submodules.prefetch = ResetInserter(restart)(prefetch)
        # Bursts shown on AR whose last beat has not arrived.
        m.submodules.pending = pending = SyncFIFO(width=burst_layout().size, depth=self._outstanding)
        head = Signal(burst_layout())

        m.d.comb += [
            splitter.base.eq(self.base),
            splitter.limit.eq(self.limit),
            splitter.command.payload.eq(self.command.payload),
            splitter.command.valid.eq(self.command.valid & ~halted),
            self.command.ready.eq(splitter.command.ready & ~halted),
        ]
        connect(m, prefetch.o, flipped(self.beats))

        # Issue: room in beats of the stream is reserved with AR and returned as they leave.
        depth, bus_beats = self._config.prefetch_beats, self._config.bus_beats
        room = Signal(range(depth + 1), init=depth)
        issue, enough = Signal(), room >= BURST_BEATS * bus_beats
        reserved = Signal(range(BURST_BEATS * bus_beats + 1))
        m.d.comb += [
            issue.eq(splitter.burst.valid & ~halted & pending.w_rdy & enough & (~ar.valid | ar.ready)),
            splitter.burst.ready.eq(issue),
            pending.w_en.eq(issue),
            pending.w_data.eq(splitter.burst.payload),
            reserved.eq(Mux(issue, (splitter.burst.payload.length + 1) << exact_log2(bus_beats), 0)),
        ]
        with m.If(restart):
            m.d.sync += room.eq(depth)
        with m.Else():
            m.d.sync += room.eq(room - reserved + self.beats.taken)
        with m.If(issue):
            m.d.sync += ar.payload.addr.eq(splitter.burst.payload.address)
            m.d.sync += ar.payload.len.eq(splitter.burst.payload.length)
            m.d.sync += ar.valid.eq(1)
        with m.Elif(ar.ready):
            m.d.sync += ar.valid.eq(0)

        # Stage 1: take the beat.
        arrived = Signal()
        beat = Signal.like(r.payload)
        m.d.comb += r.ready.eq(1)
        m.d.sync += arrived.eq(r.valid)
        m.d.sync += beat.eq(r.payload)
        m.d.comb += self.beat.eq(arrived)

        # Stage 2: is it what the oldest burst expects.
        index = Signal(exact_log2(BURST_BEATS))  # beat within the burst
        expected = Signal()
        final = Signal()
        wrong = Signal()
        code = Signal(ErrorCode)
        m.d.comb += [
            head.eq(pending.r_data),
            expected.eq(arrived & pending.r_rdy),
            final.eq(index == head.length),
            wrong.eq(1),
            pending.r_en.eq(expected & (final | beat.last)),
        ]
        with m.If(beat.resp == RESP_SLVERR):
            m.d.comb += code.eq(ErrorCode.READ_SLAVE)
        with m.Elif(beat.resp == RESP_DECERR):
            m.d.comb += code.eq(ErrorCode.READ_DECODE)
        with m.Elif((beat.resp != RESP_OKAY) | (beat.last != final)):
            m.d.comb += code.eq(ErrorCode.READ_PROTOCOL)
        with m.Else():
            m.d.comb += wrong.eq(0)
        with m.If(expected):
            m.d.sync += index.eq(Mux(pending.r_en, 0, index + 1))
        m.d.comb += prefetch.i.payload.eq(beat.data)
        m.d.comb += prefetch.i.valid.eq(expected & ~wrong & ~halted)

        # The first error.
        at = Signal(ADDRESS_BITS)
        m.d.comb += at.eq(head.address + (index << exact_log2(self._bytes)))
        m.d.sync += self.fault.valid.eq(0)
        with m.If(~halted):
            with m.If(expected & wrong):
                m.d.sync += self.fault.valid.eq(1)
                m.d.sync += self.fault.payload.code.eq(code)
                m.d.sync += self.fault.payload.address.eq(at)
                m.d.sync += failed.eq(1)
            with m.Elif(splitter.refused.valid):
                m.d.sync += self.fault.valid.eq(1)
                m.d.sync += self.fault.payload.eq(splitter.refused.payload)
                m.d.sync += failed.eq(1)

        quiet = Signal(range(QUIET_CYCLES + 1))  # cycles left, after a violation of the protocol
        with m.If(expected & (beat.last != final)):
            m.d.sync += quiet.eq(QUIET_CYCLES)
        with m.Elif(quiet != 0):
            m.d.sync += quiet.eq(Mux(arrived, QUIET_CYCLES, quiet - 1))

        m.d.comb += self.drained.eq(splitter.idle & ~pending.r_rdy & (quiet == 0))
        with m.If(self.abort):
            m.d.sync += failed.eq(0)
            m.d.sync += flushing.eq(1)
        with m.Elif(self.drained):
            m.d.sync += flushing.eq(0)
        return m
