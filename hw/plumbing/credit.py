# SPDX-License-Identifier: Apache-2.0
"""A count of what is on its way, for a sender that must not send more than there is room for."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Credit"]


class Credit(wiring.Component):
    """Counts ``take`` up and ``give`` down. While ``room`` is set, one more can be taken without exceeding the limit.

    Events are counted one cycle after they happen, so that the counter is not in their path. ``room`` includes every
    take, but not yet a give of the cycle before. ``idle`` is exact.

    Latency: 2 cycles from ``give`` to ``room`` (`latency`); 1 cycle from ``take`` to ``room``.
    Throughput: one take and one give per cycle.
    Back-pressure: none; ``room`` is what a sender obeys.

    Parameters
    ----------
    limit : int
        how many may be on their way, at least 2

    Members
    -------
    take : In(1)
        one more is on its way; only while ``room`` is set
    give : In(1)
        one less is on its way
    room : Out(1)
        one more may be taken in this cycle
    idle : Out(1)
        nothing is on its way
    """

    latency = 2

    def __init__(self, limit: int):
        if limit < 2:
            raise ValueError(f"a credit of {limit!r} cannot be counted; it must be at least 2")
        self._limit = limit
        super().__init__({"take": In(1), "give": In(1), "room": Out(1), "idle": Out(1)})

    def elaborate(self, platform):
        m = Module()
        count, next_count = Signal(range(self._limit + 1)), Signal(range(self._limit + 1))
        taken, given, not_empty, two_free, one_free = Signal(), Signal(), Signal(), Signal(init=1), Signal()
        m.d.comb += next_count.eq(count + taken - given)
        m.d.sync += [
            taken.eq(self.take),
            given.eq(self.give),
            count.eq(next_count),
            not_empty.eq(next_count != 0),
            two_free.eq(next_count < self._limit - 1),
            one_free.eq(next_count == self._limit - 1),
        ]
        m.d.comb += [
            self.room.eq(two_free | (one_free & ~taken)),
            self.idle.eq(Mux(taken == given, ~not_empty, given & (count == 1))),
        ]
        return m
