# SPDX-License-Identifier: Apache-2.0
"""Cycles that a row, an instruction or a beat spends in the hardware's pipelines, as the units of ``hw`` state them."""

import gc
import warnings
from dataclasses import dataclass
from functools import cache

from amaranth.hdl import UnusedElaboratable

from moevit.hw.array.compute import Compute
from moevit.hw.bus.bursts import BURST_BEATS, BurstSplitter
from moevit.hw.bus.read_master import ReadMaster
from moevit.hw.bus.spread_read import SpreadRead
from moevit.hw.control.program_walk import ProgramWalk
from moevit.hw.loader.loader import Loader
from moevit.hw.plumbing.credit import Credit
from moevit.hw.reader.row_reader import RowReader
from moevit.hw.router.router import Router
from moevit.hw.writer.row_writer import RowWriter
from moevit.spec.arrays import MachineConfig

__all__ = ["Latencies", "latencies"]


@dataclass(frozen=True)
class Latencies:
    """Cycles of one machine.

    The units state and measure what has no default here. ``store``, ``stored`` and ``finished`` go through several
    units, so no unit states them. They were read from the RTL. Whole frames on the RTL hold them
    (``tests/ladder/test_timing.py``).
    """

    #: From one dispatch of the program walk to the next.
    walk: int
    #: From a command of the program walk to its first burst.
    command: int
    #: From a burst to AR.
    address: int
    #: From R to the loader.
    receive: int
    #: From a port's AR to the bus's and from the last part of a bus beat to R; 0 where one port is the bus.
    spread: int
    #: From the last beat of an instruction to the first beat of the next one: the loader takes it in between.
    loader: int
    #: From an instruction in the row reader to its first row in the array.
    reader: int
    #: From the last word of a NORM's first reading to where its second reading starts, beyond the next cycle.
    means: int
    #: From the last word of a NORM to ``done``.
    norm: int
    #: From a row in the array to its sums.
    compute: int
    #: From a row's leaving the row writer's FIFO to room for another one: the FIFO, ``released``, and the credit.
    room: int
    #: From the last sums of a pass to ``done`` of the row writer.
    writer_done: int
    #: From a row's sums to its logits at the router.
    gate: int
    #: From a token's logits to its first entry in a queue.
    router: int
    #: Cycles that a sigmoid or a selection bias costs a token in the router, which takes no other token meanwhile.
    ring: int
    #: From the row reader's first word of a STORE to the first beat on the bus, and from the last response to ``done``.
    #: Approximate. Where several ports share the bus, a port writes its stripe when it has all of it.
    store: int
    #: From the store of a row to the access of a rowwise reader: the row writer's register and two of the row reader.
    stored: int = 3
    #: From a unit's ``done`` to the instructions that wait for it: the register of the count of finished instructions.
    finished: int = 1


@cache
def latencies(config: MachineConfig) -> Latencies:
    """The latencies of the machine ``config``."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnusedElaboratable)  # the units are only asked, not built
        found = _asked(config)
        gc.collect()  # a unit is in a cycle of references: without this, a later collection would warn
    return found


def _asked(config: MachineConfig) -> Latencies:
    reader, writer, router = RowReader(config), RowWriter(config), Router(config)
    several = config.ports > 1
    return Latencies(
        walk=ProgramWalk.latency,
        command=BurstSplitter.latency,
        address=ReadMaster.latency_address,
        receive=ReadMaster.latency,
        spread=SpreadRead.latency_address + SpreadRead.latency if several else 0,
        loader=1 + Loader.latency,
        reader=reader.latency,
        means=reader.latency_means,
        norm=reader.latency_norm,
        compute=Compute(config).latency,
        room=2 + Credit.latency,
        writer_done=writer.latency_done,
        gate=writer.latency_logits,
        router=router.latency,
        ring=router.latency_ring,
        store=12 + (BURST_BEATS if several else 0),
    )
