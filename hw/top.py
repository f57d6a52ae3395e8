# SPDX-License-Identifier: Apache-2.0
"""The accelerator: all units, their memories, and the buses."""

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
from .interfaces import Flow, trace_layout
from .loader.loader import Loader
from .plumbing.memories import Memories
from .reader.row_reader import RowReader
from .router.router import Router
from .writer.row_writer import RowWriter

__all__ = ["Core"]

_TRACES = ("writer", "reader", "router")


class Core(wiring.Component):
    """Executes programs of ``spec.isa`` that lie in the memory of the host.

    Golden: ``golden.machine``, byte for byte.

    Parameters
    ----------
    config : the machine's configuration

    Members
    -------
    control : AXI4-Lite slave with the registers of ``spec.registers``
    read, write : the channels of ``config.ports`` AXI4 masters, ``config.port_bytes`` wide; INCR bursts of at most 16
        beats
    interrupt : level, see INTERRUPT_STATUS
    trace_writer, trace_reader, trace_router : simulation-only records of what was stored, if ``config.trace``
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
        config = self._config
        m.submodules.controller = controller = Controller(config)
        m.submodules.read_master = read_master = ReadMaster(config)
        m.submodules.write_master = write_master = WriteMaster(config)
        m.submodules.memories = memories = Memories(config)
        units = {"dispatch": Dispatch(), "loader": Loader(config), "reader": RowReader(config),
                 "compute": Compute(config), "writer": RowWriter(config), "router": Router(config)}
        for name, unit in units.items():
            m.submodules[name] = ResetInserter(controller.clear)(unit)
        dispatch, loader, reader, compute, writer, router = units.values()

        # Host and memory bus.
        connect(m, flipped(self.control), controller.host)
        drained = [read_master.drained, write_master.drained]
        for name, master, spread in (("read", read_master, SpreadRead), ("write", write_master, SpreadWrite)):
            ports = getattr(self, name)
            if config.ports == 1:
                connect(m, master.bus, flipped(ports[0]))
                continue
            m.submodules[f"spread_{name}"] = bridge = spread(config.bus_bytes, config.ports)
            connect(m, master.bus, bridge.wide)
            for narrow, port in zip(bridge.narrow, ports, strict=True):
                connect(m, narrow, flipped(port))
            drained.append(bridge.drained)
        connect(m, controller.command, read_master.command)
        connect(m, read_master.beats, controller.beats)
        connect(m, controller.weights, loader.beats)
        connect(m, reader.store, write_master.words)
        command = reader.store_command
        m.d.comb += [
            self.interrupt.eq(controller.interrupt),
            write_master.command.valid.eq(command.valid),
            write_master.command.payload.address.eq(controller.output + command.payload.offset),
            write_master.command.payload.words.eq(command.payload.words),
            command.ready.eq(write_master.command.ready),
            controller.beat_read.eq(read_master.beat),
            controller.beat_written.eq(write_master.beat),
            controller.drained.eq(Cat(drained).all()),
        ]
        for name, master in (("read", read_master), ("write", write_master)):
            connect(m, master.fault, getattr(controller, f"{name}_fault"))
            m.d.comb += [
                master.base.eq(getattr(controller, f"{name}_base")),
                master.limit.eq(getattr(controller, f"{name}_limit")),
                master.abort.eq(controller.abort),
            ]

        # Instructions.
        connect(m, controller.dispatch, dispatch.dispatch)
        for name, unit in (("loader", loader), ("reader", reader), ("writer", writer)):
            connect(m, getattr(dispatch, name), unit.dispatch)
        m.d.comb += [
            loader.finished.eq(controller.finished),
            reader.finished.eq(controller.finished),
            reader.stored.eq(writer.stored),
            controller.finishing.eq(Cat(unit.done for unit in (loader, reader, writer, router, write_master))),
            controller.lengths.eq(router.lengths),
            controller.dropped.eq(loader.dropped),
        ]

        # Weights and rows through the array.
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

        # Memories.
        for bank in range(config.residual_banks):
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

        # What happened.
        m.d.comb += [
            controller.activity.eq(reader.activity),
            controller.row.eq(reader.row.valid),
            controller.saturated.eq(writer.saturated),
            controller.progress.eq(Cat(read.enable for read in reader.residual).any() | reader.hidden.enable
                                   | writer.released
                                   | loader.hidden.valid & loader.hidden.ready | loader.load.valid),
        ]
        if config.trace:
            for name in _TRACES:
                connect(m, units[name].trace, flipped(getattr(self, f"trace_{name}")))
        return m
