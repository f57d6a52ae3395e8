# SPDX-License-Identifier: Apache-2.0
"""The performance counters of ``spec.registers.COUNTERS``."""

from amaranth import *
from amaranth.lib import data
from amaranth.lib.wiring import Component, In, Out
from amaranth.utils import exact_log2

from moevit.spec.arrays import MachineConfig
from moevit.spec.registers import COUNTERS

from ..layouts import Activity

__all__ = ["Counters", "counters_layout"]


def counters_layout() -> data.StructLayout:
    """All counters by their names in lower case, 64 bits each."""
    return data.StructLayout({name.lower(): 64 for name, _ in COUNTERS})


class Counters(Component):
    """Counts what happens while ``running``; ``clear`` sets all counters to 0.

    BUSY and the WAIT counters add up to CYCLES, since each cycle has one activity. A row counts k_lanes x n_lanes
    multiplications in MACS, a bus beat counts its bytes. An event in the last cycle of a run is counted too.

    Latency: 2 cycles from an event to ``counters`` (`latency`).
    Throughput: one cycle's events per cycle.
    Back-pressure: none.

    Parameters
    ----------
    config : MachineConfig
        lanes and bytes of a bus beat

    Members
    -------
    clear : In(1)
        START; a pulse before the first cycle of ``running``
    running : In(1)
        the run is under way in this cycle
    activity : In(Activity)
        what the row reader does in this cycle
    row : In(1)
        a row enters the array
    beat_read, beat_written : In(1)
        a bus beat is transferred
    saturated : In(range(k_lanes + 1))
        values that the row writer clips
    counters : Out(counters_layout())
        all counters
    """

    latency = 2

    def __init__(self, config: MachineConfig):
        self._row = exact_log2(config.macs_per_cycle)
        self._beat = exact_log2(config.bus_bytes)
        super().__init__({
            "clear": In(1),
            "running": In(1),
            "activity": In(Activity),
            "row": In(1),
            "beat_read": In(1),
            "beat_written": In(1),
            "saturated": In(range(config.k_lanes + 1)),
            "counters": Out(counters_layout()),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        # name -> (what it grows by in this cycle, log2 of what one is worth)
        events = {
            "cycles": (C(1), 0),
            "macs": (self.row, self._row),
            "bytes_read": (self.beat_read, self._beat),
            "bytes_written": (self.beat_written, self._beat),
            "saturated": (self.saturated, 0),
            **{activity.name.lower(): (self.activity == activity, 0) for activity in Activity},
        }
        for name, (growth, worth) in events.items():
            # Stage 1: the event. Stage 2: the sum. An event is worth a power of two, so the low bits are constant.
            event = Signal(growth.shape(), name=f"{name}_event")
            m.d.sync += event.eq(Mux(self.running, growth, 0))
            total = Signal(64 - worth, name=name)
            with m.If(self.clear):
                m.d.sync += total.eq(0)
            with m.Else():
                m.d.sync += total.eq(total + event)
            m.d.comb += getattr(self.counters, name).eq(total << worth)
        return m
