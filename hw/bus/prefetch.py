# SPDX-License-Identifier: Apache-2.0
"""The prefetch FIFO: beats of the bus in, up to ``tile_beats`` beats of the stream out per cycle."""

from amaranth import *
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import Component, In, Out
from amaranth.utils import exact_log2

from moevit.spec.arrays import MachineConfig

from ..interfaces import Flow, NextBeats, in_bank

__all__ = ["Prefetch"]


def _turned(values: list[Value], turn: Value) -> list[Value]:
    """``values`` from the one at ``turn`` on, around the end; as many as a power of two."""
    for bit, step in enumerate(1 << bit for bit in range(len(turn))):
        ahead = values[step:] + values[:step]
        values = [Mux(turn[bit], there, here) for there, here in zip(ahead, values, strict=True)]
    return values


class Prefetch(Component):
    """Holds ``config.prefetch_beats`` beats of the stream; whoever pushes has reserved their room.

    Beats go to ``tile_beats`` banks in turn, so that as many that follow each other lie in different ones. A bank's
    memory (block or UltraRAM, which may lie far away) is enabled and read by registers alone: ``taken`` does not reach
    it. Throughput one bus beat a cycle in, ``tile_beats`` beats of the stream out; three cycles from ``i`` to ``o``.

    Parameters
    ----------
    config : widths and depth

    Members
    -------
    i : Flow in, beats of the memory bus, the earlier beat of the stream in the low half
    o : the oldest beats
    """

    def __init__(self, config: MachineConfig):
        self._config = config
        super().__init__({"i": In(Flow(8 * config.bus_bytes)), "o": Out(NextBeats(config))})

    def elaborate(self, platform) -> Module:
        m = Module()
        width, bus_beats, banks = 8 * self._config.beat_bytes, self._config.bus_beats, self._config.tile_beats
        turns = banks // bus_beats
        into, turn = Signal(exact_log2(turns)), Signal(range(banks))  # banks of the next beats to come, to leave
        taken = [place < self.o.taken for place in range(banks)]
        leaving = _turned(taken[::-1], turn)[::-1]
        fronts, held = [], []
        for index in range(banks):
            # One more than its share, for the memory's own output register.
            bank = SyncFIFOBuffered(width=width, depth=self._config.prefetch_beats // banks + 1)
            m.submodules[f"bank_{index}"] = bank
            m.d.comb += [
                bank.w_en.eq(self.i.valid & in_bank(into, index // bus_beats, turns)),
                bank.w_data.eq(self.i.payload.word_select(index % bus_beats, width)),
            ]
            # What is read while the oldest beat stays waits in `spare`.
            beat, spare = (Signal(width, name=f"{name}_{index}", reset_less=True) for name in ("beat", "spare"))
            there, spared = Signal(name=f"there_{index}"), Signal(name=f"spared_{index}")
            m.d.comb += bank.r_en.eq(~spared)
            with m.If(~there | leaving[index]):
                m.d.sync += [beat.eq(Mux(spared, spare, bank.r_data)), there.eq(spared | bank.r_rdy), spared.eq(0)]
            with m.Elif(~spared):
                m.d.sync += [spare.eq(bank.r_data), spared.eq(bank.r_rdy)]
            fronts.append(beat)
            held.append(there)
        if turns > 1:
            m.d.sync += into.eq(into + self.i.valid)
        m.d.sync += turn.eq(turn + self.o.taken)
        m.d.comb += [
            self.o.payload.as_value().eq(Cat(_turned(fronts, turn))),
            self.o.available.eq(Cat(_turned(held, turn))),
        ]
        return m
