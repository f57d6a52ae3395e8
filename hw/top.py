# SPDX-License-Identifier: Apache-2.0
"""The core: all units, their memories, and the buses between them."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import exact_log2

from moevit.spec.arrays import MachineConfig
from moevit.spec.registers import APERTURE

from .array.compute import Compute
from .bus.axi import LiteChannels, ReadChannels, WriteChannels
from .bus.read_master import ReadMaster
from .bus.spread_read import SpreadRead
from .bus.spread_write import SpreadWrite
from .bus.write_master import WriteMaster
from .control.controller import Controller
from .control.dispatch import Dispatch
from .interfaces import Flow
from .layouts import trace_layout
from .loader.loader import Loader
from .plumbing.memories import Memories
from .reader.row_reader import RowReader
from .router.router import Router
from .writer.row_writer import RowWriter

__all__ = ["Core"]

_TRACES = ("writer", "reader", "router")


class _Units:
    """The units of a core, by name."""

    def __init__(self, config: MachineConfig):
        self.controller = Controller(config)
        self.read_master, self.write_master = ReadMaster(config), WriteMaster(config)
        self.memories = Memories(config)
        self.dispatch = Dispatch()
        self.loader, self.reader = Loader(config), RowReader(config)
        self.compute = Compute(config)
        self.writer, self.router = RowWriter(config), Router(config)

    def add(self, m: Module) -> None:
        """Makes them submodules; the controller clears all but itself, the bus masters and the memories."""
        for name, unit in vars(self).items():
            kept = name in ("controller", "read_master", "write_master", "memories")
            m.submodules[name] = unit if kept else ResetInserter(self.controller.clear)(unit)


class Core(wiring.Component):
    """Executes programs of ``spec.isa`` that lie in the memory of the host.

    Golden: ``golden.machine``.
    Latency: depends on the program, see ``estimator``.
    Throughput: one row per cycle through the array, one bus beat per cycle in and one out.
    Back-pressure: the units wait for the memory bus; ``control`` answers at any time.

    Parameters
    ----------
    config : MachineConfig
        the machine's configuration

    Members
    -------
    control : In(LiteChannels(14, 32))
        AXI4-Lite slave with the registers of ``spec.registers``
    read : Out(ReadChannels(port_bytes)), an array of ports
        AR and R of the AXI4 masters; INCR bursts of at most 16 beats of a port
    write : Out(WriteChannels(port_bytes)), an array of ports
        AW, W and B of the AXI4 masters
    interrupt : Out(1)
        a level, see INTERRUPT_STATUS
    trace_writer, trace_reader, trace_router : Out(Flow(trace_layout(config)))
        records of what was stored, for simulation; only with ``config.trace``
    """

    def __init__(self, config: MachineConfig):
        if not isinstance(config, MachineConfig):
            raise TypeError(f"config must be a MachineConfig, not {config!r}")
        self._config = config
        super().__init__({
            "control": In(LiteChannels(exact_log2(APERTURE), 32)),
            "read": Out(ReadChannels(config.port_bytes)).array(config.ports),
            "write": Out(WriteChannels(config.port_bytes)).array(config.ports),
            "interrupt": Out(1),
            **({f"trace_{name}": Out(Flow(trace_layout(config))) for name in _TRACES} if config.trace else {}),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        units = _Units(self._config)
        units.add(m)
        self._host(m, units)
        self._memory_bus(m, units)
        self._instructions(m, units)
        self._rows(m, units)
        self._memories(m, units)
        self._observe(m, units)
        return m

    def _host(self, m: Module, units: _Units) -> None:
        """The register bus, and what the host chose for the bus masters."""
        controller = units.controller
        connect(m, flipped(self.control), controller.host)
        m.d.comb += self.interrupt.eq(controller.interrupt)
        for name, master in (("read", units.read_master), ("write", units.write_master)):
            connect(m, master.fault, getattr(controller, f"{name}_fault"))
            m.d.comb += [
                master.base.eq(getattr(controller, f"{name}_base")),
                master.limit.eq(getattr(controller, f"{name}_limit")),
                master.abort.eq(controller.abort),
            ]

    def _memory_bus(self, m: Module, units: _Units) -> None:
        """The bus masters between the ports and the units; bridges where several ports share the bus."""
        config, controller, reader = self._config, units.controller, units.reader
        read_master, write_master = units.read_master, units.write_master
        drained = [read_master.drained, write_master.drained]
        for name, master, bridge_class in (("read", read_master, SpreadRead), ("write", write_master, SpreadWrite)):
            ports = getattr(self, name)
            if config.ports == 1:
                connect(m, master.bus, flipped(ports[0]))
                continue
            m.submodules[f"spread_{name}"] = bridge = bridge_class(config.bus_bytes, config.ports)
            connect(m, master.bus, bridge.wide)
            for narrow, port in zip(bridge.narrow, ports, strict=True):
                connect(m, narrow, flipped(port))
            drained.append(bridge.drained)
        connect(m, controller.command, read_master.command)
        connect(m, read_master.beats, controller.beats)
        connect(m, controller.weights, units.loader.beats)
        connect(m, reader.store, write_master.words)
        command = reader.store_command
        m.d.comb += [
            write_master.command.valid.eq(command.valid),
            write_master.command.payload.address.eq(controller.output + command.payload.offset),
            write_master.command.payload.words.eq(command.payload.words),
            command.ready.eq(write_master.command.ready),
            controller.beat_read.eq(read_master.beat),
            controller.beat_written.eq(write_master.beat),
            controller.drained.eq(Cat(drained).all()),
        ]

    def _instructions(self, m: Module, units: _Units) -> None:
        """From the controller to the units, and what they report of them."""
        controller, loader, reader, writer = units.controller, units.loader, units.reader, units.writer
        connect(m, controller.dispatch, units.dispatch.dispatch)
        for name, unit in (("loader", loader), ("reader", reader), ("writer", writer)):
            connect(m, getattr(units.dispatch, name), unit.dispatch)
        m.d.comb += [
            loader.finished.eq(controller.finished),
            reader.finished.eq(controller.finished),
            reader.stored.eq(writer.stored),
            controller.finishing.eq(Cat(unit.done for unit in (loader, reader, writer, units.router,
                                                               units.write_master))),
            controller.lengths.eq(units.router.lengths),
            controller.dropped.eq(loader.dropped),
        ]

    def _rows(self, m: Module, units: _Units) -> None:
        """Weights and rows through the array; queues, peaks and sums between reader, writer and router."""
        loader, reader, compute, writer, router = (
            units.loader, units.reader, units.compute, units.writer, units.router)
        connect(m, loader.load, compute.load)
        connect(m, loader.columns, writer.columns)
        connect(m, loader.gain, reader.gain)
        connect(m, reader.row, compute.row)
        connect(m, reader.tag, writer.tag)
        connect(m, compute.sums, writer.sums)
        connect(m, writer.logits, router.logits)
        connect(m, reader.queue, router.queue)
        connect(m, reader.peaks, writer.peaks)
        connect(m, reader.sums, writer.row_sums)
        connect(m, reader.summed, writer.summed)
        m.d.comb += [
            reader.tile_ready.eq(loader.tile_ready),
            loader.tile_taken.eq(reader.tile_taken),
            reader.released.eq(writer.released),
            router.sequence.eq(writer.sequence),
        ]

    def _memories(self, m: Module, units: _Units) -> None:
        memories, loader, reader, writer = units.memories, units.loader, units.reader, units.writer
        for bank in range(self._config.residual_banks):
            connect(m, reader.residual[bank], memories.residual_reader[bank])
            connect(m, reader.copy[bank], memories.residual_copy[bank])
        connect(m, reader.hidden, memories.hidden_reader)
        connect(m, loader.kv, memories.kv_reader)
        connect(m, loader.residual, memories.residual_load)
        connect(m, loader.hidden, memories.hidden_load)
        connect(m, writer.residual_read, memories.residual_writer)
        connect(m, writer.residual, memories.residual_store)
        connect(m, writer.hidden, memories.hidden_store)
        connect(m, writer.kv, memories.kv_store)

    def _observe(self, m: Module, units: _Units) -> None:
        """What the counters, the watchdog and the trace see."""
        controller, loader, reader, writer = units.controller, units.loader, units.reader, units.writer
        m.d.comb += [
            controller.activity.eq(reader.activity),
            controller.row.eq(reader.row.valid),
            controller.saturated.eq(writer.saturated),
            controller.progress.eq(Cat(read.enable for read in reader.residual).any() | reader.hidden.enable
                                   | writer.released
                                   | loader.hidden.valid & loader.hidden.ready | loader.load.valid),
        ]
        if self._config.trace:
            for name in _TRACES:
                connect(m, getattr(units, name).trace, flipped(getattr(self, f"trace_{name}")))
