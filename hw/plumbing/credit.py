# SPDX-License-Identifier: Apache-2.0
"""A count of what is under way, for those who must not send more than there is room for."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Credit"]


class Credit(wiring.Component):
    """Counts ``take`` up and ``give`` down; while ``room`` is set, one more may be taken without passing ``limit``.

    Events are counted in the cycle after they happen, to keep counting out of their path: ``room`` knows of every take,
    but not of a give in the cycle before. ``idle`` is exact.

    Parameters
    ----------
    limit : the most that may be under way, at least 2

    Members
    -------
    take, give : In(1), ``take`` only while ``room``
    room, idle : Out(1)
    """

    def __init__(self, limit: int):
        if limit < 2:
            raise ValueError(f"a credit of {limit!r} cannot be counted; it must be at least 2")
        self._limit = limit
        super().__init__({"take": In(1), "give": In(1), "room": Out(1), "idle": Out(1)})

    def elaborate(self, platform):
        m = Module()
        count, next_count = Signal(range(self._limit + 1)), Signal(range(self._limit + 1))
        taken, given, some, below, beneath = Signal(), Signal(), Signal(), Signal(init=1), Signal()
        m.d.comb += next_count.eq(count + taken - given)
        m.d.sync += [
            taken.eq(self.take),
            given.eq(self.give),
            count.eq(next_count),
            some.eq(next_count != 0),
            below.eq(next_count < self._limit - 1),
            beneath.eq(next_count == self._limit - 1),
        ]
        m.d.comb += [
            self.room.eq(below | (beneath & ~taken)),
            self.idle.eq(Mux(taken == given, ~some, given & (count == 1))),
        ]
        return m
