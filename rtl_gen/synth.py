# SPDX-License-Identifier: Apache-2.0
"""The hardware units whose cells Yosys counts for ``docs/area.md``, alone and in whole machines."""

from collections.abc import Callable

from amaranth.lib.wiring import Component

from moevit.hw.array.compute import Compute
from moevit.hw.bus.read_master import ReadMaster
from moevit.hw.bus.spread_read import SpreadRead
from moevit.hw.bus.spread_write import SpreadWrite
from moevit.hw.bus.write_master import WriteMaster
from moevit.hw.control.controller import Controller
from moevit.hw.control.dispatch import Dispatch
from moevit.hw.loader.loader import Loader
from moevit.hw.plumbing.memories import Memories
from moevit.hw.reader.row_reader import RowReader
from moevit.hw.router.router import Router
from moevit.hw.top import Core
from moevit.hw.writer.row_writer import RowWriter
from moevit.spec.arrays import MachineConfig

from .area import TOP

__all__ = ["UNITS", "made", "units"]

#: The machine's units by their name in ``hw.top``, each made of the configuration. Only configurations with several
#: ports have the units that spread the bus (`units`).
UNITS: dict[str, Callable[[MachineConfig], Component]] = {
    "compute": lambda config: Compute(config),
    "reader": lambda config: RowReader(config),
    "writer": lambda config: RowWriter(config),
    "router": lambda config: Router(config),
    "loader": lambda config: Loader(config),
    "memories": lambda config: Memories(config),
    "read_master": lambda config: ReadMaster(config),
    "write_master": lambda config: WriteMaster(config),
    "spread_read": lambda config: SpreadRead(config.bus_bytes, config.ports),
    "spread_write": lambda config: SpreadWrite(config.bus_bytes, config.ports),
    "dispatch": lambda config: Dispatch(),
    "controller": lambda config: Controller(config),
}


def units(config: MachineConfig) -> tuple[str, ...]:
    """Names of the units that ``config`` has."""
    return tuple(unit for unit in UNITS if config.ports > 1 or not unit.startswith("spread_"))


def made(unit: str, config: MachineConfig) -> Component:
    """A unit by its name, or the whole machine (`TOP`)."""
    return Core(config) if unit == TOP else UNITS[unit](config)
