# SPDX-License-Identifier: Apache-2.0
"""The prefetch FIFO: beats of the bus in, up to two beats of the stream out per cycle."""

from amaranth import *
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import Component, In, Out

from moevit.spec.arrays import MachineConfig

from ..interfaces import BeatPair, Flow

__all__ = ["Prefetch"]


class Prefetch(Component):
    """Holds ``config.stream_beats`` beats of the stream; whoever pushes has reserved their room.

    Beats go to two banks in turn, so that the next two always lie in different ones. A bank's memory (block or
    UltraRAM, which may lie far away) is enabled and read by registers alone: ``taken`` does not reach it. Throughput
    one bus beat a cycle in, two beats of the stream out; three cycles from ``i`` to ``o``.

    Parameters
    ----------
    config : widths and depth

    Members
    -------
    i : Flow in, beats of the memory bus, the earlier beat of the stream in the low half
    o : the oldest two beats
    """

    def __init__(self, config: MachineConfig):
        self._config = config
        super().__init__({"i": In(Flow(8 * config.bus_bytes)), "o": Out(BeatPair(config))})

    def elaborate(self, platform) -> Module:
        m = Module()
        width = 8 * self._config.beat_bytes
        into, turn = Signal(), Signal()  # bank of the next beat to come, where they come alone; of the next to leave
        both = self.o.taken == 2
        leaving = self.o.taken[0]
        data, held = [], []
        for index in range(2):
            # One more than its share, for the memory's own output register.
            bank = SyncFIFOBuffered(width=width, depth=self._config.stream_beats // 2 + 1)
            m.submodules[f"bank_{index}"] = bank
            if self._config.bus_beats == 2:
                m.d.comb += bank.w_en.eq(self.i.valid)
                m.d.comb += bank.w_data.eq(self.i.payload.word_select(index, width))
            else:
                m.d.comb += bank.w_en.eq(self.i.valid & (into == index))
                m.d.comb += bank.w_data.eq(self.i.payload)
            # What is read while the oldest beat stays waits in `spare`.
            beat, spare = (Signal(width, name=f"{name}_{index}", reset_less=True) for name in ("beat", "spare"))
            there, spared = Signal(name=f"there_{index}"), Signal(name=f"spared_{index}")
            m.d.comb += bank.r_en.eq(~spared)
            with m.If(~there | both | (leaving & (turn == index))):
                m.d.sync += [beat.eq(Mux(spared, spare, bank.r_data)), there.eq(spared | bank.r_rdy), spared.eq(0)]
            with m.Elif(~spared):
                m.d.sync += [spare.eq(bank.r_data), spared.eq(bank.r_rdy)]
            data.append(beat)
            held.append(there)
        m.d.sync += into.eq(into ^ self.i.valid)
        m.d.sync += turn.eq(turn ^ leaving)
        m.d.comb += [
            self.o.payload[0].eq(Mux(turn, data[1], data[0])),
            self.o.payload[1].eq(Mux(turn, data[0], data[1])),
            self.o.available.eq(Mux(held[0] & held[1], 2, Mux(turn, held[1], held[0]))),
        ]
        return m
