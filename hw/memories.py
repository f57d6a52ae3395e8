# SPDX-License-Identifier: Apache-2.0
"""The row memories, and who may write them when."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, connect, flipped

from moevit.spec.arrays import MachineConfig

from .interfaces import MemoryRead, MemoryWrite, word_layout
from .loader.image import CHUNK, hidden_write_layout
from .loader.words import residual_write_layout
from .row_memory import RowMemory

__all__ = ["Memories"]


class Memories(wiring.Component):
    """Residual and hidden rows, keys and values; all 0 after configuration, and kept from run to run.

    A memory has one write port. Who may use it, the first one first:

    ========  ===================================================================================================
    residual  row writer; row reader (copy of a NORM: no pass writes then, since a NORM waits for all of them);
              loader (LOAD: waits for the others)
    hidden    row writer; loader (IMAGE: waits)
    kv        row writer
    ========  ===================================================================================================

    A read gives what was stored before its cycle. Latency: one cycle.

    Members
    -------
    residual_reader, residual_writer, hidden_reader, kv_reader : reads
    residual_store, residual_copy, residual_load : writes of row writer, row reader and loader
    hidden_store, hidden_load, kv_store : writes of row writer and loader, by 8 lanes; of keys and values, by granules
    """

    def __init__(self, config: MachineConfig):
        self._config = config
        word = word_layout(config)
        kv = data.ArrayLayout(signed(8), config.n_lanes)
        super().__init__({
            "residual_reader": In(MemoryRead(config.residual_words, word)),
            "residual_writer": In(MemoryRead(config.residual_words, word)),
            "residual_store": In(MemoryWrite(config.residual_words, word)),
            "residual_copy": In(MemoryWrite(config.residual_words, word)),
            "residual_load": In(stream.Signature(residual_write_layout(config))),
            "hidden_reader": In(MemoryRead(config.hidden_words, word)),
            "hidden_store": In(MemoryWrite(config.hidden_words, word)),
            "hidden_load": In(stream.Signature(hidden_write_layout(config))),
            "kv_reader": In(MemoryRead(config.kv_words, kv)),
            "kv_store": In(MemoryWrite(config.kv_words, kv, granules=config.ratio)),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        config = self._config
        word = word_layout(config)
        m.submodules.residual = residual = RowMemory(config.residual_words, word, readers=2)
        m.submodules.hidden = hidden = RowMemory(config.hidden_words, word, granules=config.k_lanes // CHUNK)
        m.submodules.kv = kv = RowMemory(config.kv_words, data.ArrayLayout(signed(8), config.n_lanes),
                                         granules=config.ratio)
        for memory, ports in ((residual, (self.residual_reader, self.residual_writer)), (hidden, (self.hidden_reader,)),
                              (kv, (self.kv_reader,))):
            for port, read in zip(ports, memory.reads, strict=True):
                connect(m, flipped(port), read)

        write = residual.write
        load = self.residual_load
        with m.If(self.residual_store.enable):
            self._write(m, write, self.residual_store, 1)
        with m.Elif(self.residual_copy.enable):
            self._write(m, write, self.residual_copy, 1)
        with m.Else():
            m.d.comb += load.ready.eq(1)
            self._write(m, write, load.payload, load.valid)

        write = hidden.write
        load = self.hidden_load
        with m.If(self.hidden_store.enable):
            self._write(m, write, self.hidden_store, ~C(0, config.k_lanes // CHUNK))
        with m.Else():
            m.d.comb += load.ready.eq(1)
            self._write(m, write, load.payload, Mux(load.valid, load.payload.enable, 0))

        connect(m, flipped(self.kv_store), kv.write)
        return m

    def _write(self, m: Module, port, source, enable) -> None:
        m.d.comb += [port.enable.eq(enable), port.address.eq(source.address), port.data.eq(source.data)]
