# SPDX-License-Identifier: Apache-2.0
"""LOAD: words from the memory bus into the residual memory."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from moevit.spec.arrays import MachineConfig

from ..interfaces import NextBeats
from ..layouts import instruction_layout
from ..plumbing.memories import residual_write_layout

__all__ = ["WordLoader"]


class WordLoader(wiring.Component):
    """Writes ``rows x k_tiles`` words to consecutive addresses from ``destination_base`` on.

    Each word is also written ``copies`` times more, ``destination_stride`` apart.

    Latency: 1 cycle from ``begin`` to the first write (`latency`), 1 cycle from the last write to ``done``.
    Throughput: one write per cycle.
    Back-pressure: a word waits until all its beats are there, for ``allowed`` and for ``residual``.

    Parameters
    ----------
    config : MachineConfig
        ``word_beats``, the beats of a word

    Members
    -------
    begin : In(1)
        take ``instruction``, a LOAD; only while not ``busy``
    instruction : In(instruction_layout())
        in the cycle of ``begin``
    allowed : In(1)
        the memory may be written
    busy : Out(1)
        words are missing; falls in the cycle after the last write
    beats : In(NextBeats(config))
        ``word_beats`` per word, low half first; those of a word are taken together
    residual : Out(stream.Signature(residual_write_layout(config)))
        writes
    done : Out(1)
        pulse: the last word is written
    """

    latency = 1

    def __init__(self, config: MachineConfig):
        self._config = config
        super().__init__({
            "begin": In(1),
            "instruction": In(instruction_layout()),
            "allowed": In(1),
            "busy": Out(1),
            "beats": In(NextBeats(config)),
            "residual": Out(stream.Signature(residual_write_layout(config))),
            "done": Out(1),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        last_row, last_word, row, word = (Signal(12, name=name) for name in ("last_row", "last_word", "row", "word"))
        first, address, stride = (Signal.like(self.residual.payload.address, name=name)  # first: of the word's copies
                                  for name in ("first", "address", "stride"))
        copies = Signal.like(self.instruction.copies)
        copy = Signal.like(copies)
        m.d.sync += self.done.eq(0)
        with m.If(self.begin):
            m.d.sync += [
                self.busy.eq(1),
                last_row.eq(self.instruction.rows - 1),
                last_word.eq(self.instruction.k_tiles - 1),
                first.eq(self.instruction.destination_base),
                address.eq(self.instruction.destination_base),
                stride.eq(self.instruction.destination_stride),
                copies.eq(self.instruction.copies),
            ]

        beats, written, word_end = self._config.word_beats, Signal(), Signal()
        m.d.comb += [
            self.residual.payload.address.eq(address),
            self.residual.payload.data.eq(Cat(self.beats.payload[index] for index in range(beats))),
            self.residual.valid.eq(self.busy & self.allowed & self.beats.available[beats - 1]),
            written.eq(self.residual.valid & self.residual.ready),
            word_end.eq(written & (copy == copies)),
            self.beats.taken.eq(Mux(word_end, beats, 0)),
        ]
        with m.If(written):
            m.d.sync += [address.eq(address + stride), copy.eq(copy + 1)]
        with m.If(word_end):
            m.d.sync += [first.eq(first + 1), address.eq(first + 1), copy.eq(0), word.eq(word + 1)]
            with m.If(word == last_word):
                m.d.sync += [word.eq(0), row.eq(row + 1)]
                with m.If(row == last_row):
                    m.d.sync += [row.eq(0), self.busy.eq(0), self.done.eq(1)]
        return m
