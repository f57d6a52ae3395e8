# SPDX-License-Identifier: Apache-2.0
"""The sigmoid of a gate's logit, and its binary logarithm; twin of ``golden.integer.sigmoid``."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from moevit.spec.formats import GATE_LOGIT_BITS, SCORE_FRACTION
from moevit.spec.tables import SIGMOID_GUARD, SIGMOID_STEP_BITS, log2_sigmoid_table, sigmoid_table

from ..plumbing.timeline import Timeline
from .rounding import round_shift

__all__ = ["Sigmoid"]

_TABLES = {"log2": log2_sigmoid_table, "share": sigmoid_table}
_HALF = 1 << SIGMOID_STEP_BITS - 1


def _entries() -> list[dict[str, int]]:
    """Of both tables the value at each step of the argument, and how much it falls up to the next one."""
    tables = {name: [int(entry) for entry in table()] for name, table in _TABLES.items()}
    return [{name: table[index] for name, table in tables.items()}
            | {f"{name}_fall": table[index] - table[index + 1] for name, table in tables.items()}
            for index in range(len(tables["log2"]) - 1)]


class Sigmoid(wiring.Component):
    """``log2(1 / (1 + 2^-x))`` and ``1 / (1 + 2^-x)``: two functions of ``abs(x)`` from one memory, interpolated.

    The interpolations are sums of multiples of a small step: no multiplier. One value per cycle, 5 cycles, no
    back-pressure. One block RAM.

    Members
    -------
    i : In(s24), Q8.16 in log2 units
    log2 : Out(s24), Q8.16
    share : Out(u17), 65536 is 1.0
    """

    latency = 5

    def __init__(self):
        logit = signed(GATE_LOGIT_BITS)
        super().__init__({"i": In(logit), "log2": Out(logit), "share": Out(SCORE_FRACTION + 1)})

    def elaborate(self, platform):
        m = Module()
        entries = _entries()
        layout = data.StructLayout({name: max(entry[name] for entry in entries).bit_length() for name in entries[0]})
        m.submodules.table = table = Memory(shape=layout, depth=len(entries), init=entries)
        read, line = table.read_port(), Timeline(m)
        index_bits = (len(entries) - 1).bit_length()

        def register(name, shape):
            return Signal(shape, name=name, reset_less=True)

        # Stage 1: magnitude.
        magnitude = register("magnitude", GATE_LOGIT_BITS - SIGMOID_GUARD)
        minimum = register("minimum", signed(GATE_LOGIT_BITS))
        m.d.sync += [
            magnitude.eq(round_shift(Mux(self.i < 0, -self.i, self.i), SIGMOID_GUARD)),
            minimum.eq(Mux(self.i < 0, self.i, 0)),
        ]
        index, beyond = magnitude[SIGMOID_STEP_BITS:], magnitude[SIGMOID_STEP_BITS + index_bits:].any()
        line.put(0, negative=self.i < 0)
        line.put(1, minimum=minimum, part=magnitude[:SIGMOID_STEP_BITS], beyond=beyond)
        # Stage 2: look up. Stage 3: the memory's output register.
        entry = register("entry", layout)
        m.d.comb += read.addr.eq(index[:index_bits])
        m.d.sync += entry.eq(read.data)
        # Stage 4: interpolate.
        part, between = line.at(3, "part"), {}
        for name in _TABLES:
            fall = entry[f"{name}_fall"]
            multiples = [Mux(part[bit], fall, 0) << bit for bit in range(SIGMOID_STEP_BITS)]
            few, many = (register(f"{name}_{which}", len(fall) + SIGMOID_STEP_BITS) for which in ("few", "many"))
            start = register(f"{name}_start", len(entry[name]) + SIGMOID_STEP_BITS + 1)
            m.d.sync += [
                few.eq(sum(multiples[:4])),
                many.eq(sum(multiples[4:])),
                start.eq((entry[name] << SIGMOID_STEP_BITS) + _HALF),
            ]
            value = (start - few - many)[SIGMOID_STEP_BITS:SIGMOID_STEP_BITS + len(entry[name])]
            between[name] = Mux(line.at(4, "beyond"), 0, value)
        # Stage 5: the two halves of each function.
        m.d.sync += [
            self.log2.eq(line.at(4, "minimum") - between["log2"]),
            self.share.eq(Mux(line.at(4, "negative"), between["share"], (1 << SCORE_FRACTION) - between["share"])),
        ]
        return m
