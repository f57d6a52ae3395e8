# SPDX-License-Identifier: Apache-2.0
"""GELU as ReLU minus a small even table (Edge-MoE, section IV); see ``golden.integer.gelu``."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from moevit.spec.formats import ROW_BITS
from moevit.spec.isa import Activation
from moevit.spec.tables import GELU_GUARD, GELU_STEP_BITS, gelu_delta_table

__all__ = ["ACTIVATION_BITS", "Gelu"]

ACTIVATION_BITS = 2

_DROPPED = GELU_STEP_BITS + GELU_GUARD  # fraction bits of an interpolated delta
_INDEX_BITS = 7


def _entries() -> list[dict[str, int]]:
    """Delta at each step of the argument, and its change up to the next step. The last entries are zero."""
    table = [int(entry) for entry in gelu_delta_table()]
    table += [0] * ((1 << _INDEX_BITS) + 1 - len(table))
    if table[-2]:
        raise ValueError(f"the delta table must end in zeros within {1 << _INDEX_BITS} entries")
    return [{"low": low, "change": high - low} for low, high in zip(table[:-1], table[1:], strict=True)]


class Gelu(wiring.Component):
    """``o = relu(i) - delta(|i|)`` in each lane, Q7.9; without delta for ReLU; ``i`` itself for NONE.

    The interpolation of delta is a sum of five multiples of a small step and takes no multiplier. Two lanes share a
    table with two read ports.

    Golden: ``golden.integer.gelu.gelu``.
    Latency: 5 cycles from ``i`` to ``o`` (`latency`).
    Throughput: one word per cycle.
    Back-pressure: none.

    Parameters
    ----------
    lanes : int
        number of lanes

    Members
    -------
    i : In(lanes x s16)
        values of a word
    activation : In(2)
        an ``Activation``, with ``i``
    o : Out(lanes x s16)
        the function of each value
    """

    latency = 5

    def __init__(self, lanes: int):
        if lanes < 1:
            raise ValueError(f"GELU needs at least one lane, not {lanes!r}")
        self._lanes = lanes
        word = data.ArrayLayout(signed(ROW_BITS), lanes)
        super().__init__({"i": In(word), "activation": In(ACTIVATION_BITS), "o": Out(word)})

    def elaborate(self, platform):
        m = Module()
        entries = _entries()
        entry_layout = data.StructLayout({
            "low": max(entry["low"] for entry in entries).bit_length(),
            "change": signed(1 + max(abs(entry["change"]) for entry in entries).bit_length()),
        })
        for lane in range(self._lanes):
            if lane % 2 == 0:
                table = Memory(shape=entry_layout, depth=len(entries), init=entries)
                m.submodules[f"table_{lane // 2}"] = table
            self._lane(m, lane, table.read_port())
        return m

    def _lane(self, m: Module, lane: int, read) -> None:
        """One lane, with its read port of a table."""
        x, entry_layout = self.i[lane], read.data.shape()

        def register(name, shape):
            return Signal(shape, name=f"{name}_{lane}", reset_less=True)

        # Stage 1: magnitude; ReLU. Delta is zero beyond the table and for other activations.
        magnitude, line = register("magnitude", ROW_BITS + 1), register("line", signed(ROW_BITS))
        no_delta = register("no_delta", 1)
        m.d.sync += [
            magnitude.eq(Mux(x < 0, -x, x)),
            line.eq(Mux((self.activation != Activation.NONE) & (x < 0), 0, x)),
            no_delta.eq(self.activation != Activation.GELU),
        ]
        # Stage 2: look up.
        index, part = magnitude[GELU_STEP_BITS:], register("part", GELU_STEP_BITS)
        line_2, zero = register("line_2", signed(ROW_BITS)), register("zero", 1)
        m.d.comb += read.addr.eq(index[:_INDEX_BITS])
        m.d.sync += [part.eq(magnitude), line_2.eq(line), zero.eq(no_delta | index[_INDEX_BITS:].any())]
        # Stage 3: the memory's output register.
        entry, part_3 = register("entry", entry_layout), register("part_3", GELU_STEP_BITS)
        line_3 = register("line_3", signed(ROW_BITS))
        m.d.sync += [entry.eq(Mux(zero, 0, read.data)), part_3.eq(part), line_3.eq(line_2)]
        # Stage 4: interpolate, in two sums. To subtract round(d), the last stage cuts the fraction off; a little less
        # than half is added before.
        multiples = [Mux(part_3[bit], entry.change, 0).as_signed() << bit for bit in range(GELU_STEP_BITS)]
        low_sum = register("low_sum", signed(len(entry.change) + 3))
        high_sum = register("high_sum", signed(len(entry.change) + GELU_STEP_BITS))
        start = register("start", signed(ROW_BITS + _DROPPED + 1))
        half = C((1 << _DROPPED - 1) - 1, _DROPPED)
        m.d.sync += [
            low_sum.eq(sum(multiples[:3])),
            high_sum.eq(sum(multiples[3:])),
            start.eq(Cat(half, line_3).as_signed() - (entry.low << GELU_STEP_BITS)),
        ]
        # Stage 5: ReLU minus delta, rounded.
        o = register("o", signed(ROW_BITS))
        m.d.sync += o.eq((start - low_sum - high_sum) >> _DROPPED)
        m.d.comb += self.o[lane].eq(o)
