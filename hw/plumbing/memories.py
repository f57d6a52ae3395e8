# SPDX-License-Identifier: Apache-2.0
"""The row memories, and which unit may write them when."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, connect, flipped
from amaranth.utils import ceil_log2, exact_log2

from moevit.spec.arrays import MachineConfig
from moevit.spec.formats import ROW_BITS

from ..interfaces import MemoryRead, MemoryWrite, in_bank, pick
from ..layouts import word_layout
from .row_memory import RowMemory

__all__ = ["CHUNK", "Memories", "hidden_write_layout", "residual_write_layout"]

#: Bytes of a chunk. A line of a patch is a whole number of chunks.
CHUNK = 8


def hidden_write_layout(config: MachineConfig) -> data.StructLayout:
    """A write of some lanes. Each part of a word has an address of its own; ``enable`` has one bit per 8 lanes."""
    return data.StructLayout({
        "address": data.ArrayLayout(ceil_log2(config.hidden_words), config.hidden_parts),
        "enable": config.k_lanes // CHUNK,
        "data": word_layout(config),
    })


def residual_write_layout(config: MachineConfig) -> data.StructLayout:
    """A write of one word."""
    return data.StructLayout({"address": ceil_log2(config.residual_words), "data": word_layout(config)})


class Memories(wiring.Component):
    """The memories of residual rows, of hidden rows, and of keys and values.

    All words are 0 after the FPGA's configuration, and stay from run to run.
    A memory has one write port. Of the units that want to write in a cycle the first one of this table does:

    ========  ==============================================================================================
    residual  row writer; row reader (copy of a NORM: no pass writes then, since a NORM waits for all of them);
              loader (LOAD: waits for the others)
    hidden    row writer; loader (IMAGE: waits)
    kv        row writer
    ========  ==============================================================================================

    A read gives what was stored before its cycle. The residual memory has `residual_banks` banks, word a in bank a mod
    `residual_banks`, so that the row reader can read and copy consecutive words in one cycle. The hidden memory has
    `hidden_parts` parts of each word, each with an address of its own for what IMAGE writes.

    Latency: 1 cycle from ``address`` of a read to its ``data`` (`latency`).
    Throughput: one write per memory, and one read per port, in every cycle.
    Back-pressure: ``residual_load`` and ``hidden_load`` wait while another unit writes.

    Parameters
    ----------
    config : MachineConfig
        depths, number of banks and of parts

    Members
    -------
    residual_reader : In(MemoryRead(residual_bank, word_layout(config))), an array of residual_banks
        reads of the row reader, by bank
    residual_writer : In(MemoryRead(residual_words, word_layout(config)))
        reads of the row writer
    residual_store : In(MemoryWrite(residual_words, word_layout(config)))
        writes of the row writer
    residual_copy : In(MemoryWrite(residual_bank, word_layout(config))), an array of residual_banks
        writes of the row reader, by bank
    residual_load : In(stream.Signature(residual_write_layout(config)))
        writes of the loader
    hidden_reader : In(MemoryRead(hidden_words, word_layout(config)))
        reads of the row reader
    hidden_store : In(MemoryWrite(hidden_words, word_layout(config)))
        writes of the row writer
    hidden_load : In(stream.Signature(hidden_write_layout(config)))
        writes of the loader, by chunks of 8 lanes
    kv_reader : In(MemoryRead(kv_words, n_lanes x s8))
        reads of the loader
    kv_store : In(MemoryWrite(kv_words, n_lanes x s8)), ratio granules
        writes of the row writer, by granules of k_lanes
    """

    latency = 1

    def __init__(self, config: MachineConfig):
        self._config = config
        word = word_layout(config)
        kv = data.ArrayLayout(signed(8), config.n_lanes)
        super().__init__({
            "residual_reader": In(MemoryRead(config.residual_bank, word)).array(config.residual_banks),
            "residual_writer": In(MemoryRead(config.residual_words, word)),
            "residual_store": In(MemoryWrite(config.residual_words, word)),
            "residual_copy": In(MemoryWrite(config.residual_bank, word)).array(config.residual_banks),
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
        m.submodules.kv = kv = RowMemory(config.kv_words, data.ArrayLayout(signed(8), config.n_lanes),
                                         granules=config.ratio)
        connect(m, flipped(self.kv_reader), kv.reads[0])
        self._residual(m)
        self._hidden(m)
        connect(m, flipped(self.kv_store), kv.write)
        return m

    def _residual(self, m: Module) -> None:
        """The banks of the residual memory."""
        banks, load, read = self._config.residual_banks, self.residual_load, self.residual_writer
        bits = exact_log2(banks)
        store, outputs = self.residual_store, []
        bank_read = Signal(range(max(banks, 2)))
        m.d.comb += load.ready.eq(~(store.enable | Cat(copy.enable for copy in self.residual_copy).any()))
        for index, (reader, copy) in enumerate(zip(self.residual_reader, self.residual_copy, strict=True)):
            bank = RowMemory(self._config.residual_bank, word_layout(self._config), readers=2)
            m.submodules[f"residual_{index}"] = bank
            is_read, is_stored, is_loaded = (
                in_bank(port.address, index, banks) for port in (read, store, load.payload))
            connect(m, flipped(reader), bank.reads[0])
            m.d.comb += [
                bank.reads[1].enable.eq(read.enable & is_read),
                bank.reads[1].address.eq(read.address[bits:]),
            ]
            outputs.append(bank.reads[1].data)
            with m.If(store.enable):
                self._write(m, bank.write, is_stored, store.address[bits:], store.data)
            with m.Elif(copy.enable):
                self._write(m, bank.write, 1, copy.address, copy.data)
            with m.Else():
                loads = load.valid & load.ready & is_loaded
                self._write(m, bank.write, loads, load.payload.address[bits:], load.payload.data)
        with m.If(read.enable):
            m.d.sync += bank_read.eq(read.address[:bits])
        m.d.comb += read.data.eq(pick(outputs, bank_read))

    def _hidden(self, m: Module) -> None:
        """The parts of the hidden memory."""
        config, read, store, load = self._config, self.hidden_reader, self.hidden_store, self.hidden_load
        lanes = config.k_lanes // config.hidden_parts
        m.d.comb += load.ready.eq(~store.enable)
        for index in range(config.hidden_parts):
            part = RowMemory(config.hidden_words, data.ArrayLayout(signed(ROW_BITS), lanes), granules=lanes // CHUNK)
            m.submodules[f"hidden_{index}"] = part
            read_part, store_part, load_part = (word.as_value().word_select(index, ROW_BITS * lanes)
                                          for word in (read.data, store.data, load.payload.data))
            m.d.comb += [
                part.reads[0].enable.eq(read.enable),
                part.reads[0].address.eq(read.address),
                read_part.eq(part.reads[0].data),
            ]
            with m.If(store.enable):
                self._write(m, part.write, ~0, store.address, store_part)
            with m.Else():
                enable = load.payload.enable.word_select(index, lanes // CHUNK)
                self._write(m, part.write, Mux(load.valid, enable, 0), load.payload.address[index], load_part)

    def _write(self, m: Module, port, enable, address, word) -> None:
        """Drives a write port."""
        m.d.comb += [port.enable.eq(enable), port.address.eq(address), port.data.eq(word)]
