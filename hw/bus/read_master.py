# SPDX-License-Identifier: Apache-2.0
"""AXI4 read master: commands in, beats out; it reserves room for the data of each burst."""

from amaranth import *
from amaranth.lib import stream
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import Component, In, Out, connect, flipped
from amaranth.utils import exact_log2

from moevit.spec.arrays import MachineConfig
from moevit.spec.registers import ErrorCode

from ..fault import ADDRESS_BITS, fault_layout
from ..interfaces import Flow, NextBeats
from ..layouts import command_layout
from .axi import RESP_DECERR, RESP_OKAY, RESP_SLVERR, ReadChannels
from .bursts import BURST_BEATS, OUTSTANDING, BurstSplitter, burst_layout
from .prefetch import Prefetch

__all__ = ["QUIET_CYCLES", "ReadMaster"]

#: Cycles of silence after which a slave that broke the protocol has finished, as far as one can know.
QUIET_CYCLES = 256


class ReadMaster(Component):
    """Reads consecutive bus beats over AXI4 and offers them as beats.

    ``BurstSplitter`` checks the commands and cuts them into bursts. A burst is issued only when ``Prefetch`` has room
    for all of it: RREADY is constantly 1, so neither a slow consumer nor the write channels can hold the bus up. There
    is one ID; answers come in order.

    The first error (a refused command, SLVERR, DECERR, RLAST at the wrong beat) is reported once, with the address of
    the bus beat. From then on no burst is issued, and what comes is thrown away, the bus beat with the error too.
    ``abort`` ends that state. Bus beats that arrive when no burst is under way are thrown away without a report.

    ``abort`` (a pulse or longer) forgets commands and beats. The master takes no command until the bursts under way are
    finished; an AR that was shown stays until it is taken, as AXI demands. After RLAST at a wrong beat nobody knows how
    many bus beats the slave still owes: ``drained`` then waits for 256 silent cycles.

    Latency: 4 cycles from R to ``beats`` (`latency`); 1 cycle from a burst of ``BurstSplitter`` to AR
    (`latency_address`).
    Throughput: one bus beat per cycle in, ``tile_beats`` beats per cycle out.
    Back-pressure: ``command`` waits while one before it is cut into bursts, and bursts while ``outstanding`` are under
    way or ``Prefetch`` lacks room; R never waits.

    Parameters
    ----------
    config : MachineConfig
        width of the bus, depth of the FIFO
    outstanding : int
        bursts under way at most

    Members
    -------
    command : In(stream.Signature(command_layout()))
        address and number of bus beats to be read
    beats : Out(NextBeats(config))
        the data, in order
    bus : Out(ReadChannels(bus_bytes))
        AR and R
    base, limit : In(64)
        window base <= address < limit; steady while a command is under way
    abort : In(1)
        forget everything
    drained : Out(1)
        nothing is under way on the bus, and nothing will be without a further command
    fault : Out(Flow(fault_layout()))
        the first error, one pulse
    beat : Out(1)
        a bus beat was received (BYTES_READ)
    """

    latency = 4
    latency_address = 1

    def __init__(self, config: MachineConfig, outstanding: int = OUTSTANDING):
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
        failed = Signal()  # an error was seen
        flushing = Signal()  # abort was seen, bursts are under way
        clearing, halted = Signal(), Signal()
        m.d.comb += clearing.eq(self.abort | flushing)
        m.d.comb += halted.eq(clearing | failed)

        splitter = BurstSplitter(self._bytes, ErrorCode.READ_WINDOW)
        m.submodules.splitter = ResetInserter(halted)(splitter)
        prefetch = Prefetch(self._config)
        m.submodules.prefetch = ResetInserter(clearing)(prefetch)
        # Bursts shown on AR whose last bus beat has not arrived.
        m.submodules.pending = pending = SyncFIFO(width=burst_layout().size, depth=self._outstanding)
        m.d.comb += [
            splitter.base.eq(self.base),
            splitter.limit.eq(self.limit),
            splitter.command.payload.eq(self.command.payload),
            splitter.command.valid.eq(self.command.valid & ~halted),
            self.command.ready.eq(splitter.command.ready & ~halted),
        ]
        connect(m, prefetch.o, flipped(self.beats))

        self._issue(m, splitter, pending, clearing, halted)
        odd_last = self._receive(m, splitter, prefetch, pending, halted, failed)
        self._drain(m, splitter, pending, odd_last)
        with m.If(self.abort):
            m.d.sync += failed.eq(0)
            m.d.sync += flushing.eq(1)
        with m.Elif(self.drained):
            m.d.sync += flushing.eq(0)
        return m

    def _issue(self, m: Module, splitter: BurstSplitter, pending: SyncFIFO, clearing: Value, halted: Value) -> None:
        """AR. A burst reserves room, in beats, which returns as they leave."""
        ar, burst = self.bus.ar, splitter.burst
        depth, bus_beats = self._config.prefetch_beats, self._config.bus_beats
        room = Signal(range(depth + 1), init=depth)
        issue, has_room = Signal(), room >= BURST_BEATS * bus_beats
        reserved = Signal(range(BURST_BEATS * bus_beats + 1))
        m.d.comb += [
            issue.eq(burst.valid & ~halted & pending.w_rdy & has_room & (~ar.valid | ar.ready)),
            burst.ready.eq(issue),
            pending.w_en.eq(issue),
            pending.w_data.eq(burst.payload),
            reserved.eq(Mux(issue, (burst.payload.length + 1) << exact_log2(bus_beats), 0)),
        ]
        with m.If(clearing):
            m.d.sync += room.eq(depth)
        with m.Else():
            m.d.sync += room.eq(room - reserved + self.beats.taken)
        with m.If(issue):
            m.d.sync += ar.payload.addr.eq(burst.payload.address)
            m.d.sync += ar.payload.len.eq(burst.payload.length)
            m.d.sync += ar.valid.eq(1)
        with m.Elif(ar.ready):
            m.d.sync += ar.valid.eq(0)

    def _receive(self, m: Module, splitter: BurstSplitter, prefetch: Prefetch, pending: SyncFIFO, halted: Value,
                 failed: Signal) -> Value:
        """R. Returns whether RLAST is not at the last beat of its burst."""
        r = self.bus.r
        # Stage 1: take the bus beat.
        arrived = Signal()
        beat = Signal.like(r.payload)
        m.d.comb += r.ready.eq(1)
        m.d.sync += arrived.eq(r.valid)
        m.d.sync += beat.eq(r.payload)
        m.d.comb += self.beat.eq(arrived)

        # Stage 2: compare it with what the oldest burst expects.
        oldest = Signal(burst_layout())
        index = Signal(exact_log2(BURST_BEATS))  # bus beat within the burst
        expected, final = Signal(), Signal()
        m.d.comb += [
            oldest.eq(pending.r_data),
            expected.eq(arrived & pending.r_rdy),
            final.eq(index == oldest.length),
            pending.r_en.eq(expected & (final | beat.last)),
        ]
        with m.If(expected):
            m.d.sync += index.eq(Mux(pending.r_en, 0, index + 1))
        wrong, code = self._judge(m, beat, final)
        m.d.comb += prefetch.i.payload.eq(beat.data)
        m.d.comb += prefetch.i.valid.eq(expected & ~wrong & ~halted)

        address = Signal(ADDRESS_BITS)
        m.d.comb += address.eq(oldest.address + (index << exact_log2(self._bytes)))
        self._report(m, splitter, ~halted, expected & wrong, code, address, failed)
        return expected & (beat.last != final)

    def _judge(self, m: Module, beat: Value, final: Value) -> tuple[Signal, Signal]:
        """Whether a bus beat is wrong, and the error that it stands for."""
        wrong, code = Signal(), Signal(ErrorCode)
        m.d.comb += wrong.eq(1)
        with m.If(beat.resp == RESP_SLVERR):
            m.d.comb += code.eq(ErrorCode.READ_SLAVE)
        with m.Elif(beat.resp == RESP_DECERR):
            m.d.comb += code.eq(ErrorCode.READ_DECODE)
        with m.Elif((beat.resp != RESP_OKAY) | (beat.last != final)):
            m.d.comb += code.eq(ErrorCode.READ_PROTOCOL)
        with m.Else():
            m.d.comb += wrong.eq(0)
        return wrong, code

    def _report(self, m: Module, splitter: BurstSplitter, listening: Value, wrong: Value, code: Value,
                address: Value, failed: Signal) -> None:
        """The first error."""
        m.d.sync += self.fault.valid.eq(0)
        with m.If(listening):
            with m.If(wrong):
                m.d.sync += self.fault.valid.eq(1)
                m.d.sync += self.fault.payload.code.eq(code)
                m.d.sync += self.fault.payload.address.eq(address)
                m.d.sync += failed.eq(1)
            with m.Elif(splitter.refused.valid):
                m.d.sync += self.fault.valid.eq(1)
                m.d.sync += self.fault.payload.eq(splitter.refused.payload)
                m.d.sync += failed.eq(1)

    def _drain(self, m: Module, splitter: BurstSplitter, pending: SyncFIFO, odd_last: Value) -> None:
        """``drained``; after a violation of the protocol the silent cycles are counted."""
        quiet_left = Signal(range(QUIET_CYCLES + 1))
        with m.If(odd_last):
            m.d.sync += quiet_left.eq(QUIET_CYCLES)
        with m.Elif(quiet_left != 0):
            m.d.sync += quiet_left.eq(Mux(self.beat, QUIET_CYCLES, quiet_left - 1))
        m.d.comb += self.drained.eq(splitter.idle & ~pending.r_rdy & (quiet_left == 0))
