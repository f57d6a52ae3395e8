# SPDX-License-Identifier: Apache-2.0
"""Stops a run in which nothing happens any more, such as one whose memory never answers."""

from amaranth import *
from amaranth.lib.wiring import Component, In, Out

__all__ = ["Watchdog"]


class Watchdog(Component):
    """Notices that a run made no progress for ``limit`` consecutive cycles.

    ``expired`` pulses once per standstill, in the last of its ``limit`` cycles: with a limit of 1 in the first cycle
    of the run without progress. It does not stop anything itself.

    Members
    -------
    running : a run is under way
    progress : something moved in this cycle
    limit : cycles, 0 is never; taken over while not running and with each progress
    expired : one pulse
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
