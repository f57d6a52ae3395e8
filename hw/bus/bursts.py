# SPDX-License-Identifier: Apache-2.0
"""Cuts commands of any length into bursts that every AXI3 and AXI4 slave takes; refuses what is out of bounds."""

from amaranth import *
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Out
from amaranth.utils import exact_log2

from moevit.spec.registers import ErrorCode

from ..fault import ADDRESS_BITS, fault_layout
from ..interfaces import Flow

__all__ = ["BURST_BEATS", "OUTSTANDING", "BurstSplitter", "burst_layout"]

#: Bus beats of the longest burst: the most that AXI3 (Zynq-7000) takes.
BURST_BEATS = 16
#: Bursts of a master that are under way at most: what the Zynq's ports queue.
OUTSTANDING = 8
_PAGE = 4096


def burst_layout() -> data.Layout:
    """One burst: byte address of its first bus beat, and the number of its bus beats less one, as in AxLEN."""
    return data.StructLayout({"address": ADDRESS_BITS, "length": exact_log2(BURST_BEATS)})


class BurstSplitter(Component):
    """Checks a command against the window and cuts it into INCR bursts.

    No burst crosses a multiple of 16 bus beats, which divides 4 KiB. So no burst crosses 4 KiB, and only the first and
    the last burst of a command can be shorter than 16 bus beats.

    A command is refused as a whole, before its first burst, when its address is not a multiple of the bus width
    (ALIGNMENT), when it lies below ``base``, reaches beyond ``limit`` or wraps around the address space
    (``window_code``). A command of 0 bus beats is checked and makes no burst. A reset (ResetInserter) makes the unit
    forget a command.

    Latency: 5 cycles from ``command`` to its first ``burst`` (`latency`).
    Throughput: one burst per 2 cycles (`cycles_per_burst`).
    Back-pressure: ``command`` waits until the one before is cut; ``burst`` may wait for ever.

    Parameters
    ----------
    bus_bytes : int
        bytes of a bus beat, a power of two up to 256
    window_code : ErrorCode
        of a command outside the window
    beats_bits : int
        width of the command's number of bus beats

    Members
    -------
    command : In(stream.Signature({"address": 40, "beats": beats_bits}))
        byte address and number of bus beats
    base, limit : In(64)
        the window base <= address < limit, in bytes; steady while not ``idle``
    burst : Out(stream.Signature(burst_layout()))
        bursts, in order
    refused : Out(Flow(fault_layout()))
        why a command was refused, one pulse
    idle : Out(1)
        no command is under way
    """

    latency = 5
    cycles_per_burst = 2

    def __init__(self, bus_bytes: int, window_code: ErrorCode, beats_bits: int = 24):
        if bus_bytes < 1 or bus_bytes & (bus_bytes - 1) or bus_bytes * BURST_BEATS > _PAGE:
            raise ValueError(f"bus_bytes must be a power of two up to {_PAGE // BURST_BEATS}, not {bus_bytes!r}")
        self._shift = exact_log2(bus_bytes)
        self._window_code = window_code
        super().__init__({
            "command": In(stream.Signature(data.StructLayout({"address": ADDRESS_BITS, "beats": beats_bits}))),
            "base": In(64),
            "limit": In(64),
            "burst": Out(stream.Signature(burst_layout())),
            "refused": Out(Flow(fault_layout())),
            "idle": Out(1),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        address = Signal(ADDRESS_BITS)
        beats = Signal.like(self.command.payload.beats)  # still to be put in bursts
        with m.FSM() as fsm:
            self._check(m, address, beats)
            self._cut(m, address, beats)
        m.d.comb += self.idle.eq(fsm.ongoing("IDLE"))
        return m

    def _check(self, m: Module, address: Signal, beats: Signal) -> None:
        """IDLE, END, COMPARE, DECIDE: takes a command; refuses it, or goes on with its first burst."""
        end = Signal(ADDRESS_BITS + 1)
        below, unaligned, beyond = Signal(), Signal(), Signal()
        m.d.sync += self.refused.valid.eq(0)
        with m.State("IDLE"):
            m.d.comb += self.command.ready.eq(1)
            with m.If(self.command.valid):
                m.d.sync += address.eq(self.command.payload.address)
                m.d.sync += beats.eq(self.command.payload.beats)
                m.next = "END"
        with m.State("END"):
            # Stage 1: the end of the command.
            m.d.sync += end.eq(address + (beats << self._shift))
            m.d.sync += below.eq(address < self.base)
            m.d.sync += unaligned.eq(address[:self._shift].any())
            m.next = "COMPARE"
        with m.State("COMPARE"):
            # Stage 2: compare it with the window.
            m.d.sync += beyond.eq((end > self.limit) | (end > 1 << ADDRESS_BITS))
            m.next = "DECIDE"
        with m.State("DECIDE"):
            m.d.sync += self.refused.payload.address.eq(address)
            with m.If(unaligned):
                m.d.sync += self.refused.payload.code.eq(ErrorCode.ALIGNMENT)
            with m.Else():
                m.d.sync += self.refused.payload.code.eq(self._window_code)
            with m.If(unaligned | below | beyond):
                m.d.sync += self.refused.valid.eq(1)
                m.next = "IDLE"
            with m.Elif(beats == 0):
                m.next = "IDLE"
            with m.Else():
                m.next = "SIZE"

    def _cut(self, m: Module, address: Signal, beats: Signal) -> None:
        """SIZE, OFFER: one burst after the other."""
        burst = self.burst.payload
        final = Signal()  # the offered burst is the command's last
        to_boundary = Signal(range(BURST_BEATS + 1))
        place = address[self._shift:self._shift + exact_log2(BURST_BEATS)]
        m.d.comb += to_boundary.eq(BURST_BEATS - place)
        with m.State("SIZE"):
            m.d.sync += burst.address.eq(address)
            m.d.sync += burst.length.eq(to_boundary - 1)
            m.d.sync += final.eq(0)
            with m.If(beats <= to_boundary):
                m.d.sync += burst.length.eq(beats - 1)
                m.d.sync += final.eq(1)
            m.next = "OFFER"
        with m.State("OFFER"):
            m.d.comb += self.burst.valid.eq(1)
            with m.If(self.burst.ready):
                m.d.sync += address.eq(address + ((burst.length + 1) << self._shift))
                m.d.sync += beats.eq(beats - burst.length - 1)
                with m.If(final):
                    m.next = "IDLE"
                with m.Else():
                    m.next = "SIZE"
