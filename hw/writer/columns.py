# SPDX-License-Identifier: Apache-2.0
"""Column scales and biases of the n-tiles that come next."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from moevit.spec.arrays import MachineConfig

from ..layouts import COLUMN_BEATS, COLUMN_SLOTS, column_layout

__all__ = ["ColumnStore"]


class ColumnStore(wiring.Component):
    """Holds the column parameters of up to COLUMN_SLOTS n-tiles; they are used in the order in which they come.

    Latency: 1 cycle from ``part`` to ``o`` (`latency`); 1 cycle from the last beat of an n-tile to ``full``.
    Throughput: one beat per cycle, one word of parameters per cycle.
    Back-pressure: ``beats`` waits while all slots hold a whole n-tile.

    Parameters
    ----------
    config : MachineConfig
        ``n_lanes`` and ``ratio``, the words of an n-tile

    Members
    -------
    beats : In(stream.Signature(8 x n_lanes))
        4 beats per n-tile: n_lanes x {scale u16, bias s16}, little endian
    full : Out(1)
        the oldest slot holds a whole n-tile
    part : In(1)
        the word of the oldest n-tile that ``o`` shows next; always 0 where an n-tile is one word
    o : Out(column_layout(config))
        k_lanes column scales and biases
    release : In(1)
        the oldest n-tile is no longer needed; ``part`` may ask for its last word in the same cycle
    """

    latency = 1

    def __init__(self, config: MachineConfig):
        self._config = config
        super().__init__({
            "beats": In(stream.Signature(config.n_lanes * 8)),
            "full": Out(1),
            "part": In(1),
            "o": Out(column_layout(config)),
            "release": In(1),
        })

    def elaborate(self, platform):
        m = Module()
        config = self._config
        granules = COLUMN_BEATS // config.ratio
        m.submodules.words = words = Memory(
            shape=data.ArrayLayout(config.n_lanes * 8, granules), depth=COLUMN_SLOTS * config.ratio, init=[])
        write, read = words.write_port(granularity=1), words.read_port()
        oldest, newest = Signal(range(COLUMN_SLOTS)), Signal(range(COLUMN_SLOTS))
        beat = Signal(range(COLUMN_BEATS))
        count, full = Signal(range(COLUMN_SLOTS + 1)), Signal()  # whole n-tiles held
        accepted, completed = self.beats.valid & self.beats.ready, Signal()
        m.d.comb += [
            self.beats.ready.eq(count != COLUMN_SLOTS),
            completed.eq(accepted & (beat == COLUMN_BEATS - 1)),
            self.full.eq(full),
            write.addr.eq(Cat(beat, newest) >> ceil_log2(granules)),
            write.en.eq(accepted << beat[:ceil_log2(granules)]),
            write.data.eq(self.beats.payload.replicate(granules)),
            read.addr.eq(Cat(self.part[:ceil_log2(config.ratio)], oldest)),
            self.o.eq(read.data),
        ]
        m.d.sync += [
            beat.eq(beat + accepted),
            newest.eq(newest + completed),
            oldest.eq(oldest + self.release),
            count.eq(count + completed - self.release),
            full.eq(completed | (count > 1) | ((count == 1) & ~self.release)),
        ]
        return m
