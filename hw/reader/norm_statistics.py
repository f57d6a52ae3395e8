# SPDX-License-Identifier: Apache-2.0
"""What a NORM finds for each row: its mean, the scale of its peak, 1/std."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from moevit.spec.arrays import MachineConfig
from moevit.spec.formats import ROW_SUM_BITS
from moevit.spec.trace import TraceKind

from ..interfaces import Flow, MemoryRead
from ..layouts import TOKEN_BITS, dispatch_layout, mean_shape, row_sum_layout, trace_layout
from .access import ReadPurpose, access_layout, fetched_word_layout
from .means import Means
from .norm_scale import NormScale
from .operand_lanes import squares_layout, values_layout
from .operand_scale import norm_scale_layout

__all__ = ["NormStatistics", "normalised_layout"]


def normalised_layout() -> data.StructLayout:
    """Which row words belong to, and whether they are its first, its last, the last of all."""
    return data.StructLayout({"row": TOKEN_BITS, "first": 1, "final": 1, "end": 1})


class NormStatistics(wiring.Component):
    """Tables of the means and of the scales of rows: `Means` and `NormScale`, with the constants of the NORM.

    Golden: ``golden.integer.norm.norm_rows``.
    Latency: that of `Means` from a row's last ``word`` to its mean (`latency_means`); that of `NormScale` from its last
    ``normalised`` words to its scale (`latency_norm`).
    Throughput: one word, or `norm_words` normalised words, per cycle.
    Back-pressure: none.

    Parameters
    ----------
    config : MachineConfig
        `k_lanes`, `norm_words`, `max_tokens`

    Members
    -------
    current : In(dispatch_layout())
        the NORM; steady while it lasts
    start : In(1)
        clears ``measured``
    access : In(Flow(access_layout()))
        every access; those of a NORM with ``summed`` take the row's sum from the row writer
    word : In(Flow(fetched_word_layout(config)))
        every fetched word; those of the first sweep give the means
    normalised : In(Flow(normalised_layout()))
        words of the last sweep, when their first ``values`` come
    values : In(norm_words x k_lanes x s25)
        from `OperandLanes`
    squares : In(norm_words x k_lanes x u31)
        from `OperandLanes`
    sums : Out(MemoryRead(max_tokens, s27))
        sums of the row writer
    mean : In(MemoryRead(max_tokens, mean_shape()))
        read port for means
    scale : In(MemoryRead(max_tokens, norm_scale_layout()))
        read port for scales
    summed : Out(Flow(row_sum_layout()))
        sums that a NORM finds which is not ``rowwise``
    measured : Out(1)
        all means of the first sweep can be read
    done : Out(1)
        the last scale can be read
    trace : Out(Flow(trace_layout(config)))
        each scale that is written
    """

    def __init__(self, config: MachineConfig):
        self._config = config
        self._means, self._norm_scale = Means(config), NormScale(config)
        self.latency_means = self._means.latency
        self.latency_norm = self._norm_scale.latency
        super().__init__({
            "current": In(dispatch_layout()),
            "start": In(1),
            "access": In(Flow(access_layout())),
            "word": In(Flow(fetched_word_layout(config))),
            "normalised": In(Flow(normalised_layout())),
            "values": In(values_layout(config)),
            "squares": In(squares_layout(config)),
            "sums": Out(MemoryRead(config.max_tokens, signed(ROW_SUM_BITS))),
            "mean": In(MemoryRead(config.max_tokens, mean_shape())),
            "scale": In(MemoryRead(config.max_tokens, norm_scale_layout())),
            "summed": Out(Flow(row_sum_layout())),
            "measured": Out(1),
            "done": Out(1),
            "trace": Out(Flow(trace_layout(config))),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.means, m.submodules.norm_scale = means, norm_scale = self._means, self._norm_scale
        self._first_sweep(m)
        self._last_sweep(m)
        wiring.connect(m, means.sums, wiring.flipped(self.sums))
        wiring.connect(m, wiring.flipped(self.mean), means.mean)
        wiring.connect(m, wiring.flipped(self.scale), norm_scale.read)
        wiring.connect(m, norm_scale.means, means.read)
        if self._config.trace:
            self._trace(m)
        return m

    def _constant(self, m: Module, name: str) -> Signal:
        """A field of the NORM in a register of its own, since the instruction is far from where it goes."""
        value = self.current.instruction[name]
        constant = Signal.like(value, name=name, reset_less=True)
        m.d.sync += constant.eq(value)
        return constant

    def _first_sweep(self, m: Module) -> None:
        """Means, from words or from the sums of the row writer."""
        means, word, instruction = self._means, self.word.payload, self.current.instruction
        m.d.comb += [
            means.valid.eq(self.word.valid & (word.purpose == ReadPurpose.MEANS)),
            means.first.eq(word.first),
            means.final.eq(word.final),
            means.end.eq(word.end),
            means.row.eq(word.row),
            means.word.eq(word.words[0].data),
            means.summed_row.valid.eq(self.access.valid & instruction.summed),
            means.summed_row.payload.eq(self.access.payload.row),
            means.inverse_dim.eq(self._constant(m, "inverse_dim")),
            means.restart.eq(self.start),
            self.measured.eq(means.measured),
            self.summed.valid.eq(means.found.valid & ~instruction.rowwise),
            self.summed.payload.eq(means.found.payload),
        ]

    def _last_sweep(self, m: Module) -> None:
        """Scales, from normalised words and squares."""
        norm_scale, normalised = self._norm_scale, self.normalised.payload
        m.d.comb += [
            norm_scale.valid.eq(self.normalised.valid),
            norm_scale.row.eq(normalised.row),
            norm_scale.first.eq(normalised.first),
            norm_scale.final.eq(normalised.final),
            norm_scale.end.eq(normalised.end),
            norm_scale.values.eq(self.values),
            norm_scale.squares.eq(self.squares),
            norm_scale.dim.eq(self._constant(m, "dim")),
            norm_scale.epsilon.eq(self._constant(m, "epsilon")),
            self.done.eq(norm_scale.done),
        ]

    def _trace(self, m: Module) -> None:
        """A record of each scale."""
        trace, stored = self.trace.payload, self._norm_scale.stored.payload
        m.d.comb += [
            self.trace.valid.eq(self._norm_scale.stored.valid),
            trace.kind.eq(TraceKind.NORM),
            trace.sequence.eq(self.current.sequence),
            trace.address.eq(stored.row),
            trace.data[0].eq(stored.mean),
            trace.data[1].eq(Cat(stored.norm.peak.fraction, 1)),
            trace.data[2].eq(stored.norm.peak.e),
            trace.data[3].eq(stored.norm.scale.mantissa),
            trace.data[4].eq(stored.norm.scale.exponent),
        ]
