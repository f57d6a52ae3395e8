# SPDX-License-Identifier: Apache-2.0
"""The prefetch FIFO: bus beats in, up to ``tile_beats`` beats per cycle out."""

from amaranth import *
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import Component, In, Out
from amaranth.utils import exact_log2

from moevit.spec.arrays import MachineConfig

from ..interfaces import Flow, NextBeats, in_bank

__all__ = ["Prefetch"]


def _turned(values: list[Value], turn: Value) -> list[Value]:
    """``values`` rotated so that the one at ``turn`` comes first; their number is a power of two."""
    for bit, distance in enumerate(1 << bit for bit in range(len(turn))):
        rotated = values[distance:] + values[:distance]
        values = [Mux(turn[bit], *pair) for pair in zip(rotated, values, strict=True)]
    return values


class Prefetch(Component):
    """Holds ``prefetch_beats`` beats; the sender has reserved room for what it sends.

    Beats go to ``tile_beats`` banks in turn, so that consecutive beats lie in different banks. A bank's memory (block
    RAM or UltraRAM, which may lie far away) is enabled and read by registers alone: ``taken`` does not reach it.

    Latency: 3 cycles from ``i`` to ``o`` (`latency`).
    Throughput: one bus beat per cycle in, ``tile_beats`` beats per cycle out.
    Back-pressure: none; ``i`` has reserved its room.

    Parameters
    ----------
    config : MachineConfig
        bytes of beat and bus beat, number of banks, depth

    Members
    -------
    i : In(Flow(8 x bus_bytes))
        bus beats; the earlier beat is in the low half
    o : Out(NextBeats(config))
        the oldest beats
    """

    latency = 3

    def __init__(self, config: MachineConfig):
        self._config = config
        super().__init__({"i": In(Flow(8 * config.bus_bytes)), "o": Out(NextBeats(config))})

    def elaborate(self, platform) -> Module:
        m = Module()
        width, bus_beats, banks = 8 * self._config.beat_bytes, self._config.bus_beats, self._config.tile_beats
        turns = banks // bus_beats
        write_turn, read_turn = Signal(exact_log2(turns)), Signal(range(banks))  # banks of the next beats in and out
        taken = [place < self.o.taken for place in range(banks)]
        leaving = _turned(taken[::-1], read_turn)[::-1]
        fronts, held = [], []
        for index in range(banks):
            # The depth counts the output register: with one more, the memory holds the bank's share.
            bank = SyncFIFOBuffered(width=width, depth=self._config.prefetch_beats // banks + 1)
            m.submodules[f"bank_{index}"] = bank
            m.d.comb += [
                bank.w_en.eq(self.i.valid & in_bank(write_turn, index // bus_beats, turns)),
                bank.w_data.eq(self.i.payload.word_select(index % bus_beats, width)),
            ]
            # A beat that is read while the one in `front` stays waits in `second`.
            front, second = (Signal(width, name=f"{name}_{index}", reset_less=True) for name in ("front", "second"))
            has_front, has_second = Signal(name=f"has_front_{index}"), Signal(name=f"has_second_{index}")
            m.d.comb += bank.r_en.eq(~has_second)
            with m.If(~has_front | leaving[index]):
                m.d.sync += [
                    front.eq(Mux(has_second, second, bank.r_data)),
                    has_front.eq(has_second | bank.r_rdy),
                    has_second.eq(0),
                ]
            with m.Elif(~has_second):
                m.d.sync += [second.eq(bank.r_data), has_second.eq(bank.r_rdy)]
            fronts.append(front)
            held.append(has_front)
        if turns > 1:
            m.d.sync += write_turn.eq(write_turn + self.i.valid)
        m.d.sync += read_turn.eq(read_turn + self.o.taken)
        m.d.comb += [
            self.o.payload.as_value().eq(Cat(_turned(fronts, read_turn))),
            self.o.available.eq(Cat(_turned(held, read_turn))),
        ]
        return m
