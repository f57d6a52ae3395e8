# SPDX-License-Identifier: Apache-2.0
"""Notices a run that stands still, such as one whose memory never answers."""

from amaranth import *
from amaranth.lib.wiring import Component, In, Out

__all__ = ["Watchdog"]


class Watchdog(Component):
    """Notices that a run made no progress for ``limit`` consecutive cycles; it does not stop the run.

    ``expired`` pulses once per standstill, in the last of its ``limit`` cycles. With a limit of 1 this is the first
    cycle of the run without progress.

    Latency: combinational from ``progress`` to ``expired``.
    Throughput: none; control.
    Back-pressure: none.

    Members
    -------
    running : In(1)
        a run is under way
    progress : In(1)
        a unit or a bus made progress in this cycle
    limit : In(32)
        cycles, 0 means never; taken over while not running and with each progress
    expired : Out(1)
        one pulse
    """

    running: In(1)
    progress: In(1)
    limit: In(32)
    expired: Out(1)

    def elaborate(self, platform) -> Module:
        m = Module()
        left = Signal.like(self.limit)
        with m.If(~self.running | self.progress):
            m.d.sync += left.eq(self.limit)
        with m.Elif(left != 0):
            m.d.sync += left.eq(left - 1)
        m.d.comb += self.expired.eq(self.running & ~self.progress & (left == 1))
        return m
