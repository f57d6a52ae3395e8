# SPDX-License-Identifier: Apache-2.0
"""The sigmoid of a gate's logit, and its binary logarithm; see ``golden.integer.sigmoid``."""

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
    """For both tables: the value at each step of the argument, and by how much it falls up to the next step."""
    tables = {name: [int(entry) for entry in table()] for name, table in _TABLES.items()}
    return [{name: table[index] for name, table in tables.items()}
            | {f"{name}_fall": table[index] - table[index + 1] for name, table in tables.items()}
            for index in range(len(tables["log2"]) - 1)]


class Sigmoid(wiring.Component):
    """``log2 = log2(1 / (1 + 2^-i))`` and ``share = 1 / (1 + 2^-i)``.

    Both are functions of ``|i|`` from one memory, interpolated. The interpolation is a sum of multiples of a small step
    and takes no multiplier. One block RAM.

    Golden: ``golden.integer.sigmoid.log2_sigmoid``, ``golden.integer.sigmoid.sigmoid``.
    Latency: 5 cycles from ``i`` to ``log2`` and ``share`` (`latency`).
    Throughput: one value per cycle.
    Back-pressure: none.

    Members
    -------
    i : In(s24)
        a logit, Q8.16 in log2 units
    log2 : Out(s24)
        Q8.16
    share : Out(u17)
        65536 is 1.0
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
        read, pipe = table.read_port(), Timeline(m)
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
        pipe.put(0, negative=self.i < 0)
        pipe.put(1, minimum=minimum, part=magnitude[:SIGMOID_STEP_BITS], beyond=beyond)
        # Stage 2: look up. Stage 3: the memory's output register.
        entry = register("entry", layout)
        m.d.comb += read.addr.eq(index[:index_bits])
        m.d.sync += entry.eq(read.data)
        # Stage 4: interpolate, in two sums.
        part, interpolated = pipe.at(3, "part"), {}
        for name in _TABLES:
            fall = entry[f"{name}_fall"]
            multiples = [Mux(part[bit], fall, 0) << bit for bit in range(SIGMOID_STEP_BITS)]
            low_sum, high_sum = (register(f"{name}_{half}_sum", len(fall) + SIGMOID_STEP_BITS)
                                 for half in ("low", "high"))
            start = register(f"{name}_start", len(entry[name]) + SIGMOID_STEP_BITS + 1)
            m.d.sync += [
                low_sum.eq(sum(multiples[:4])),
                high_sum.eq(sum(multiples[4:])),
                start.eq((entry[name] << SIGMOID_STEP_BITS) + _HALF),
            ]
            value = (start - low_sum - high_sum)[SIGMOID_STEP_BITS:SIGMOID_STEP_BITS + len(entry[name])]
            interpolated[name] = Mux(pipe.at(4, "beyond"), 0, value)
        # Stage 5: each function's two halves, for either sign.
        m.d.sync += [
            self.log2.eq(pipe.at(4, "minimum") - interpolated["log2"]),
            self.share.eq(Mux(pipe.at(4, "negative"), interpolated["share"], (1 << SCORE_FRACTION) -
            interpolated["share"])),
        ]
        return m
