# SPDX-License-Identifier: Apache-2.0
"""Cycles that a row, an instruction or a beat spends in the hardware's pipelines, as the units of ``hw`` state them."""

import gc
import warnings
from dataclasses import dataclass
from functools import cache

from amaranth.hdl import UnusedElaboratable

from moevit.hw.array.compute import Compute
from moevit.hw.bus.bursts import BURST_BEATS
from moevit.hw.control.program_walk import ProgramWalk
from moevit.hw.reader.fetch import Fetch
from moevit.hw.reader.means import Means
from moevit.hw.reader.norm_scale import NormScale
from moevit.hw.reader.operand_lanes import OperandLanes
from moevit.hw.reader.row_reader import RowReader
from moevit.hw.router.router import Router
from moevit.hw.writer.row_writer import RowWriter
from moevit.spec.arrays import MachineConfig

__all__ = ["Latencies", "latencies"]


@dataclass(frozen=True)
class Latencies:
    """Cycles of one machine.

    The members without a default are the units' own. The others span several units, so no unit states them. They were
    read from the RTL; whole frames on the RTL hold them (``tests/ladder/test_timing.py``).
    """

    #: From one dispatch of the program walk to the next.
    walk: int
    #: From an instruction in the row reader to its first row in the array.
    reader: int
    #: From a row in the array to its sums.
    compute: int
    #: From the last sums of a pass to ``done`` of the row writer.
    writer_done: int
    #: From a row's sums to its logits at the router.
    gate: int
    #: From a token's logits to its first entry in a queue.
    router: int
    #: Cycles that a sigmoid or a selection bias costs a token in the router, which takes no other token meanwhile.
    router_walk: int
    #: From the last word of a NORM's first reading to where its second reading starts, beyond the next cycle.
    means: int
    #: From the last word of a NORM to ``done``.
    norm: int
    #: From a port's AR to the bus's and from the last part of a beat to R; 0 where one port is the bus.
    spread: int
    #: From the row reader's first word of a STORE to the first beat on the bus, and from the last response to ``done``.
    #: Approximate. Where several ports share the bus, a port writes its stripe when it has all of it.
    store: int
    #: From a command of the program walk to its first burst: the states of the burst splitter.
    command: int = 5
    #: From a burst to AR: the read master's register.
    address: int = 1
    #: From R to the loader: a register of the read master and the prefetch FIFO.
    receive: int = 4
    #: From a unit's ``done`` to the instructions that wait for it: the register of the count of finished instructions.
    finished: int = 1
    #: From the store of a row to the step of a rowwise reader: the row writer's register and two of the row reader.
    stored: int = 3
    #: Cycles between two instructions in which the loader takes no beat: it decodes the next one.
    loader: int = 2
    #: From a row's leaving the row writer's FIFO to room for another one: the FIFO, ``released``, two of the credit.
    room: int = 4


@cache
def latencies(config: MachineConfig) -> Latencies:
    """The latencies of the machine ``config``."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnusedElaboratable)  # the units are only asked, not built
        found = _asked(config)
        gc.collect()  # a unit is in a cycle of references, and would be deleted (and warned of) later
    return found


def _asked(config: MachineConfig) -> Latencies:
    router, writer = Router(config), RowWriter(config)
    several = config.ports > 1
    return Latencies(
        walk=ProgramWalk.latency,
        reader=RowReader.latency,
        compute=Compute(config).latency,
        writer_done=writer.latency_done,
        gate=writer.latency_logits,
        router=router.latency,
        router_walk=router.latency_ring,
        means=Fetch.latency + Means(config).latency,
        norm=Fetch.latency + OperandLanes.latency_values[0] + NormScale(config).latency + 1,
        spread=3 if several else 0,
        store=12 + (BURST_BEATS if several else 0),
    )
