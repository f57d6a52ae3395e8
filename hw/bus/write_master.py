# SPDX-License-Identifier: Apache-2.0
"""AXI4 write master: commands and row-memory words in, bursts out."""

from amaranth import *
from amaranth.lib import data, stream
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import Component, In, Out
from amaranth.utils import exact_log2

from moevit.spec.arrays import MachineConfig
from moevit.spec.registers import ErrorCode

from ..fault import ADDRESS_BITS, fault_layout
from ..interfaces import Flow
from ..layouts import word_layout
from .axi import RESP_DECERR, RESP_OKAY, WriteChannels
from .bursts import OUTSTANDING, BurstSplitter, burst_layout

__all__ = ["WriteMaster", "write_command_layout"]

_WORD_BITS = 24


def write_command_layout() -> data.StructLayout:
    """Consecutive row-memory words to be written: byte address (a multiple of the bus width) and number of words."""
    return data.StructLayout({"address": ADDRESS_BITS, "words": _WORD_BITS})


class WriteMaster(Component):
    """Writes row-memory words (k_lanes x s16, little endian) to consecutive addresses over AXI4.

    ``BurstSplitter`` checks the commands and cuts them into bursts. Commands are done one after the other: the next one
    is taken when all responses of the one before are in. A word is ``word_bus_beats`` bus beats, low half first. AW
    runs ahead of W and neither waits for the other; BREADY is constantly 1.

    The first error (a refused command, SLVERR, DECERR) is reported once, with the address of the burst. A response
    that comes before the last bus beat of its burst was taken is reported as WRITE_SLAVE: the slave cannot have written
    it. After an error nothing more is written: bursts that were shown on AW are finished with bus beats that have no
    strobe set, and there is no ``done``. ``abort`` ends that state. Responses that arrive when no burst is under way
    are ignored.

    ``abort`` (a pulse or longer) forgets the command and finishes the bursts under way with unstrobed bus beats, which
    need no words. The master takes no command until their responses are in.

    Latency: 1 cycle from ``words`` to W (`latency`), once AW has been shown.
    Throughput: one bus beat per cycle.
    Back-pressure: ``command`` waits for the responses of the one before; ``words`` wait for W and for bursts, of which
    ``outstanding`` are under way at most.

    Parameters
    ----------
    config : MachineConfig
        width of the bus and of a word
    outstanding : int
        bursts under way at most

    Members
    -------
    command : In(stream.Signature(write_command_layout()))
        address and number of words
    words : In(stream.Signature(word_layout(config)))
        the words of all commands, in order
    bus : Out(WriteChannels(bus_bytes))
        AW, W and B
    base, limit : In(64)
        window base <= address < limit; steady while a command is under way
    abort : In(1)
        forget everything
    drained : Out(1)
        nothing is under way on the bus, and nothing will be without a further command
    done : Out(1)
        one pulse per command, when its last response is in and all were OKAY
    fault : Out(Flow(fault_layout()))
        the first error, one pulse
    beat : Out(1)
        a bus beat with data was taken by the bus (BYTES_WRITTEN)
    """

    latency = 1

    def __init__(self, config: MachineConfig, outstanding: int = OUTSTANDING):
        if outstanding < 1:
            raise ValueError(f"outstanding must be at least 1, not {outstanding!r}")
        self._config = config
        self._bytes = config.bus_bytes
        self._outstanding = outstanding
        super().__init__({
            "command": In(stream.Signature(write_command_layout())),
            "words": In(stream.Signature(word_layout(config))),
            "bus": Out(WriteChannels(config.bus_bytes)),
            "base": In(64),
            "limit": In(64),
            "abort": In(1),
            "drained": Out(1),
            "done": Out(1),
            "fault": Out(Flow(fault_layout())),
            "beat": Out(1),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        failed = Signal()  # an error was seen
        flushing = Signal()  # abort was seen, bursts are under way
        active = Signal()  # a command is under way
        clearing, halted = Signal(), Signal()
        m.d.comb += clearing.eq(self.abort | flushing)
        m.d.comb += halted.eq(clearing | failed)

        # Bursts shown on AW that have no response yet, and those whose last bus beat has not been put on W.
        m.submodules.pending = pending = SyncFIFO(width=burst_layout().size, depth=self._outstanding)
        m.submodules.unsent = unsent = SyncFIFO(width=burst_layout()["length"].width, depth=self._outstanding)
        splitter = self._split(m, active, halted)
        self._issue(m, splitter, pending, unsent, halted)
        self._send(m, unsent, clearing, halted)
        idle = Signal()
        m.d.comb += idle.eq(splitter.idle & ~splitter.refused.valid & ~pending.r_rdy & ~unsent.r_rdy
                            & ~self.bus.w.valid)
        self._respond(m, splitter, pending, idle, halted, failed)

        m.d.sync += self.done.eq(active & idle & ~halted)
        with m.If(clearing | (active & idle)):
            m.d.sync += active.eq(0)
        with m.Elif(self.command.valid & self.command.ready):
            m.d.sync += active.eq(1)
        m.d.comb += self.drained.eq(idle)
        with m.If(self.abort):
            m.d.sync += failed.eq(0)
            m.d.sync += flushing.eq(1)
        with m.Elif(self.drained):
            m.d.sync += flushing.eq(0)
        return m

    def _split(self, m: Module, active: Value, halted: Value) -> BurstSplitter:
        """Commands into bursts, one command at a time."""
        word_shift = exact_log2(self._config.word_bus_beats)
        splitter = BurstSplitter(self._bytes, ErrorCode.WRITE_WINDOW, beats_bits=_WORD_BITS + word_shift)
        m.submodules.splitter = ResetInserter(halted)(splitter)
        take = Signal()
        m.d.comb += [
            take.eq(~active & ~halted),
            splitter.base.eq(self.base),
            splitter.limit.eq(self.limit),
            splitter.command.payload.address.eq(self.command.payload.address),
            splitter.command.payload.beats.eq(self.command.payload.words << word_shift),
            splitter.command.valid.eq(self.command.valid & take),
            self.command.ready.eq(splitter.command.ready & take),
        ]
        return splitter

    def _issue(self, m: Module, splitter: BurstSplitter, pending: SyncFIFO, unsent: SyncFIFO, halted: Value) -> None:
        """AW."""
        aw, burst, issue = self.bus.aw, splitter.burst, Signal()
        m.d.comb += [
            issue.eq(burst.valid & ~halted & pending.w_rdy & unsent.w_rdy & (~aw.valid | aw.ready)),
            burst.ready.eq(issue),
            pending.w_en.eq(issue),
            pending.w_data.eq(burst.payload),
            unsent.w_en.eq(issue),
            unsent.w_data.eq(burst.payload.length),
        ]
        with m.If(issue):
            m.d.sync += aw.payload.addr.eq(burst.payload.address)
            m.d.sync += aw.payload.len.eq(burst.payload.length)
            m.d.sync += aw.valid.eq(1)
        with m.Elif(aw.ready):
            m.d.sync += aw.valid.eq(0)

    def _send(self, m: Module, unsent: SyncFIFO, clearing: Value, halted: Value) -> None:
        """W: a bus beat of the word on ``words``, or one without strobes when there will be no more words."""
        w = self.bus.w
        index = Signal(burst_layout()["length"].shape)  # bus beat within the burst
        word = Value.cast(self.words.payload)
        half = Signal()  # which bus beat of the word, where it has two
        part, ends_word = word, C(1)
        if self._config.word_bus_beats > 1:
            part, ends_word = word.word_select(half, 8 * self._bytes), half
        load = Signal()
        m.d.comb += [
            load.eq(unsent.r_rdy & (~w.valid | w.ready) & (self.words.valid | halted)),
            unsent.r_en.eq(load & (index == unsent.r_data)),
            self.words.ready.eq(load & ~halted & ends_word),
        ]
        with m.If(load):
            m.d.sync += w.payload.data.eq(Mux(halted, 0, part))
            m.d.sync += w.payload.strb.eq(Mux(halted, 0, ~C(0, self._bytes)))
            m.d.sync += w.payload.last.eq(unsent.r_en)
            m.d.sync += w.valid.eq(1)
            m.d.sync += index.eq(Mux(unsent.r_en, 0, index + 1))
        with m.Elif(w.ready):
            m.d.sync += w.valid.eq(0)
        with m.If(clearing):
            m.d.sync += half.eq(0)
        with m.Elif(load & ~halted):
            m.d.sync += half.eq(~half)
        m.d.sync += self.beat.eq(w.valid & w.ready & w.payload.strb[0])

    def _respond(self, m: Module, splitter: BurstSplitter, pending: SyncFIFO, idle: Value, halted: Value,
                 failed: Signal) -> None:
        """B, and the first error."""
        w, b = self.bus.w, self.bus.b
        # Stage 1: take the response.
        arrived, response = Signal(), Signal.like(b.payload.resp)
        m.d.comb += b.ready.eq(1)
        m.d.sync += arrived.eq(b.valid)
        m.d.sync += response.eq(b.payload.resp)

        # Stage 2: judge it.
        expected, wrong, oldest, code = Signal(), Signal(), Signal(burst_layout()), Signal(ErrorCode)
        unanswered = Signal(range(self._outstanding + 1))  # bursts whose last bus beat was taken
        sent = w.valid & w.ready & w.payload.last
        m.d.comb += expected.eq(arrived & pending.r_rdy)
        m.d.comb += pending.r_en.eq(expected)
        m.d.comb += oldest.eq(pending.r_data)
        m.d.comb += wrong.eq((response != RESP_OKAY) | (unanswered == 0))
        m.d.comb += code.eq(Mux(response == RESP_DECERR, ErrorCode.WRITE_DECODE, ErrorCode.WRITE_SLAVE))
        m.d.sync += unanswered.eq(Mux(idle, 0, unanswered + sent - (expected & (unanswered != 0))))

        m.d.sync += self.fault.valid.eq(0)
        with m.If(~halted):
            with m.If(expected & wrong):
                m.d.sync += self.fault.valid.eq(1)
                m.d.sync += self.fault.payload.code.eq(code)
                m.d.sync += self.fault.payload.address.eq(oldest.address)
                m.d.sync += failed.eq(1)
            with m.Elif(splitter.refused.valid):
                m.d.sync += self.fault.valid.eq(1)
                m.d.sync += self.fault.payload.eq(splitter.refused.payload)
                m.d.sync += failed.eq(1)
