# SPDX-License-Identifier: Apache-2.0
"""AXI4 write master: commands and row-memory words in, bursts out."""

from amaranth import *
from amaranth.lib import data, stream
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import Component, In, Out
from amaranth.utils import exact_log2

from moevit.spec.arrays import MachineConfig
from moevit.spec.registers import ErrorCode

from ..interfaces import Flow, word_layout
from .axi import RESP_DECERR, RESP_OKAY, WriteChannels
from .bursts import BurstSplitter, burst_layout
from .fault import ADDRESS_BITS, fault_layout

__all__ = ["WriteMaster", "write_command_layout"]

_WORD_BITS = 24


def write_command_layout() -> data.StructLayout:
    """A stretch of consecutive row-memory words: byte address (a multiple of the bus width) and words."""
    return data.StructLayout({"address": ADDRESS_BITS, "words": _WORD_BITS})


class WriteMaster(Component):
    """Writes row-memory words (k_lanes x s16, little endian) to consecutive addresses over AXI4.

    Commands are cut and checked by ``BurstSplitter`` and done one after the other: the next is taken when all
    responses of the one before are in. A word is ``config.word_bus_beats`` beats, low half first. AW runs ahead of W
    and neither waits for the other; BREADY is constantly 1. Throughput one beat a cycle; one cycle from ``words`` to W.

    The first error (a refused command, SLVERR, DECERR) is reported once, with the address of the burst. A response
    that comes before the last beat of its burst was taken is reported as WRITE_SLAVE: the slave cannot have written
    it. After an error nothing more is written: bursts that were shown on AW are finished with beats that have no
    strobe set, and there is no ``done``. ``abort`` ends that state. Responses that arrive when no burst is under
    way are ignored.

    ``abort`` (a pulse or longer) forgets the command, finishes the bursts under way with unstrobed beats (it needs no
    words for that) and keeps the master quiet until their responses are in.

    Parameters
    ----------
    config : bus width and word
    outstanding : bursts under way at most (8: what the Zynq ports queue)

    Members
    -------
    command : stream of {address, words}
    words : the words of all commands, in order
    bus : AW, W and B
    base, limit : window base <= address < limit; steady while a command is under way
    abort : forget everything
    drained : nothing is under way on the bus, and nothing will be without a further command
    done : one pulse per command, when its last response is in and was OKAY
    fault : the first error, one pulse
    beat : a beat with data was taken by the bus (BYTES_WRITTEN)
    """

    def __init__(self, config: MachineConfig, outstanding: int = 8):
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
        aw, w, b = self.bus.aw, self.bus.w, self.bus.b
        word_shift = exact_log2(self._config.word_bus_beats)

        failed = Signal()  # an error was seen
        flushing = Signal()  # abort was seen, bursts are under way
        restart = Signal()
        halted = Signal()
        m.d.comb += restart.eq(self.abort | flushing)
        m.d.comb += halted.eq(restart | failed)

        splitter = BurstSplitter(self._bytes, ErrorCode.WRITE_WINDOW, beats_bits=_WORD_BITS + word_shift)
        m.submodules.splitter = ResetInserter(halted)(splitter)
        # Bursts shown on AW that have no response yet, and those whose last beat has not been put on W.
        m.submodules.pending = pending = SyncFIFO(width=burst_layout().size, depth=self._outstanding)
        m.submodules.unsent = unsent = SyncFIFO(width=burst_layout()["length"].width, depth=self._outstanding)

        active = Signal()  # a command is under way
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

        # AW.
        issue = Signal()
        m.d.comb += [
            issue.eq(splitter.burst.valid & ~halted & pending.w_rdy & unsent.w_rdy & (~aw.valid | aw.ready)),
            splitter.burst.ready.eq(issue),
            pending.w_en.eq(issue),
            pending.w_data.eq(splitter.burst.payload),
            unsent.w_en.eq(issue),
            unsent.w_data.eq(splitter.burst.payload.length),
        ]
        with m.If(issue):
            m.d.sync += aw.payload.addr.eq(splitter.burst.payload.address)
            m.d.sync += aw.payload.len.eq(splitter.burst.payload.length)
            m.d.sync += aw.valid.eq(1)
        with m.Elif(aw.ready):
            m.d.sync += aw.valid.eq(0)

        # W: a beat of the word on ``words``, or without strobes when there will be no more words.
        index = Signal(burst_layout()["length"].shape)  # beat within the burst
        word = Value.cast(self.words.payload)
        half = Signal()  # beat within the word, where it has two
        part, whole = word, C(1)
        if word_shift:
            part, whole = word.word_select(half, 8 * self._bytes), half
        load = Signal()
        m.d.comb += [
            load.eq(unsent.r_rdy & (~w.valid | w.ready) & (self.words.valid | halted)),
            unsent.r_en.eq(load & (index == unsent.r_data)),
            self.words.ready.eq(load & ~halted & whole),
        ]
        with m.If(load):
            m.d.sync += w.payload.data.eq(Mux(halted, 0, part))
            m.d.sync += w.payload.strb.eq(Mux(halted, 0, ~C(0, self._bytes)))
            m.d.sync += w.payload.last.eq(unsent.r_en)
            m.d.sync += w.valid.eq(1)
            m.d.sync += index.eq(Mux(unsent.r_en, 0, index + 1))
        with m.Elif(w.ready):
            m.d.sync += w.valid.eq(0)
        with m.If(restart):
            m.d.sync += half.eq(0)
        with m.Elif(load & ~halted):
            m.d.sync += half.eq(~half)
        m.d.sync += self.beat.eq(w.valid & w.ready & w.payload.strb[0])

        # B. Stage 1: take the response. Stage 2: judge it.
        arrived = Signal()
        response = Signal.like(b.payload.resp)
        expected = Signal()
        oldest = Signal(burst_layout())
        owed = Signal(range(self._outstanding + 1))  # responses to bursts whose last beat was taken
        sent = w.valid & w.ready & w.payload.last
        code = Signal(ErrorCode)
        wrong = Signal()
        m.d.comb += b.ready.eq(1)
        m.d.sync += arrived.eq(b.valid)
        m.d.sync += response.eq(b.payload.resp)
        m.d.comb += expected.eq(arrived & pending.r_rdy)
        m.d.comb += pending.r_en.eq(expected)
        m.d.comb += oldest.eq(pending.r_data)
        m.d.comb += wrong.eq((response != RESP_OKAY) | (owed == 0))
        m.d.comb += code.eq(Mux(response == RESP_DECERR, ErrorCode.WRITE_DECODE, ErrorCode.WRITE_SLAVE))

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

        idle = Signal()
        m.d.sync += owed.eq(Mux(idle, 0, owed + sent - (expected & (owed != 0))))
        m.d.comb += idle.eq(splitter.idle & ~splitter.refused.valid & ~pending.r_rdy & ~unsent.r_rdy & ~w.valid)
        m.d.sync += self.done.eq(active & idle & ~halted)
        with m.If(restart | (active & idle)):
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
