# SPDX-License-Identifier: Apache-2.0
"""Dot products of one column, or of a pair of columns that share their multipliers. Bits and latency are the same.

The k_lanes products of a column are added in two steps. First `group` products, one of each *position*, are added in a
chain of registered multiply-adds, which a cascade of DSP slices does without other logic. Then the k_lanes / group
chains are added in a registered binary tree. Position p holds the lanes p x k_lanes / group onwards. What belongs to it
(operands, swap) arrives p cycles after that of position 0.
"""

from dataclasses import dataclass

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from moevit.spec.arrays import MachineConfig
from moevit.spec.formats import OPERAND_BITS, OPERAND_MAX, WEIGHT_MAX

__all__ = ["DSP48E1", "DSP48E2", "WEIGHT_BITS", "DotProduct", "PackedDotProduct", "Packing", "lane_latency",
           "packing_of", "sum_bits"]

WEIGHT_BITS = 8
_PRODUCT_MAX = OPERAND_MAX * WEIGHT_MAX


def sum_bits(products: int) -> int:
    """Bits of a signed sum of ``products`` products of an operand (+-255) and a weight (+-127)."""
    return (products * _PRODUCT_MAX).bit_length() + 1


@dataclass(frozen=True, kw_only=True)
class Packing:
    """How two products share a multiplier: ``(w1 x 2^shift + w0) x operand``.

    `group` such products are added before the sum is split.

    port : signed width of the multiplier's wide input
    shift : width of the low field, which holds the sum of `group` products of +-255 x +-127
    group : products in a chain, a power of two; the lane without packing has the same, for the same latency
    """

    port: int
    shift: int
    group: int

    def __post_init__(self) -> None:
        if self.group < 1 or self.group & (self.group - 1):
            raise ValueError(f"group must be a power of two, not {self.group!r}")
        if sum_bits(self.group) > self.shift:
            raise ValueError(f"a sum of {self.group} products needs {sum_bits(self.group)} bits, the low field has "
                             f"{self.shift}: enlarge shift or reduce group")
        if self.shift + WEIGHT_BITS > self.port:
            raise ValueError(f"shift {self.shift} + {WEIGHT_BITS} weight bits do not fit the multiplier's "
                             f"{self.port}-bit port: reduce shift")


DSP48E2 = Packing(port=27, shift=18, group=4)  # UltraScale, UltraScale+: 4 x 255 x 127 = 129540 < 2^17
DSP48E1 = Packing(port=25, shift=17, group=2)  # 7-series: 2 x 255 x 127 = 64770 < 2^16


def packing_of(config: MachineConfig) -> Packing:
    """The shape of a configuration's multipliers. Its `group` is also that of the lane without packing."""
    return DSP48E1 if config.dsp48e1 else DSP48E2


def _tree(m: Module, terms: list[Value], products: int, name: str) -> Value:
    """Registered binary tree over signed ``terms``, each a sum of ``products`` products."""
    level = 0
    while len(terms) > 1:
        products, level = 2 * products, level + 1
        sums = [Signal(signed(sum_bits(products)), name=f"{name}_{level}_{i}", reset_less=True)
                for i in range(len(terms) // 2)]
        m.d.sync += [total.eq(a + b) for total, a, b in zip(sums, terms[::2], terms[1::2], strict=True)]
        terms = sums
    return terms[0]


def lane_latency(k_lanes: int, packing: Packing) -> int:
    """Cycles from ``swap`` of position 0 to the first ``dots``, of either lane.

    ValueError if the chains would differ in length.
    """
    if k_lanes < packing.group or k_lanes & (k_lanes - 1):
        raise ValueError(f"k_lanes must be a power of two and at least the group of {packing.group}, not {k_lanes!r}")
    return 3 + packing.group + exact_log2(k_lanes // packing.group)


class _Lane(wiring.Component):
    """Ports of both lanes."""

    COLUMNS: int

    def __init__(self, k_lanes: int, packing: Packing = DSP48E2):
        self._k_lanes, self.packing = k_lanes, packing
        lane_latency(k_lanes, packing)  # refuses chains that differ
        self.group = packing.group
        self.stride = k_lanes // packing.group
        super().__init__({
            "swap": In(self.group),
            "weights": In(data.ArrayLayout(data.ArrayLayout(signed(WEIGHT_BITS), k_lanes), self.COLUMNS)),
            "operands": In(data.ArrayLayout(signed(OPERAND_BITS), k_lanes)),
            "dots": Out(data.ArrayLayout(signed(sum_bits(k_lanes)), self.COLUMNS)),
        })

    @property
    def latency(self) -> int:
        """Cycles from ``swap`` of position 0 to ``dots``."""
        return lane_latency(self._k_lanes, self.packing)

    def _held(self, m: Module) -> list[list[Value]]:
        """Operands in the multiplier's input register, [position][index]: one cycle after the port."""
        held = []
        for position in range(self.group):
            low, high = position * self.stride * OPERAND_BITS, (position + 1) * self.stride * OPERAND_BITS
            register = Signal(high - low, name=f"held_{position}", reset_less=True)
            m.d.sync += register.eq(self.operands.as_value()[low:high])
            held.append([register[i:i + OPERAND_BITS].as_signed() for i in range(0, high - low, OPERAND_BITS)])
        return held

    def _active(self, m: Module, swap: Value, column: int) -> list[list[Value]]:
        """Active weights of a column, [position][index]: ``weights`` as it was when ``swap`` was high."""
        active = []
        for position in range(self.group):
            low, high = position * self.stride * WEIGHT_BITS, (position + 1) * self.stride * WEIGHT_BITS
            register = Signal(high - low, name=f"active_{column}_{position}", reset_less=True)
            with m.If(swap[position]):
                m.d.sync += register.eq(self.weights[column].as_value()[low:high])
            active.append([register[i:i + WEIGHT_BITS].as_signed() for i in range(0, high - low, WEIGHT_BITS)])
        return active


class DotProduct(_Lane):
    """``dots[0] = sum over k of weights[0][k] x operands[k]``, with one multiplier per product.

    Exact for operands in -255..255 and weights in -127..127; a zero operand gives 0 with any weight. ``weights`` still
    hold the tile in the cycle after ``swap``. Dots equal numpy's integer ``@``.

    Latency: `lane_latency` cycles from ``swap`` of position 0 to ``dots`` (`latency`).
    Throughput: one dot product per cycle.
    Back-pressure: none.

    Parameters
    ----------
    k_lanes : int
        number of products, a power of two
    packing : Packing
        its `group` is the length of a chain

    Members
    -------
    swap : In(group)
        a position takes its part of ``weights``; position p is p cycles late
    weights : In(k_lanes x s8), by column
        weights; a position's part is p cycles late
    operands : In(k_lanes x s9)
        operands of a row, one cycle after ``swap``; a position's part is p cycles late
    dots : Out(s16 + log2(k_lanes)), by column
        the dot products
    """

    COLUMNS = 1

    def elaborate(self, platform) -> Module:
        m = Module()
        # Stage 1: hold swap. The weights change one cycle later, and the latency is that of the packed lane.
        swap = Signal(self.group)
        m.d.sync += swap.eq(self.swap)
        # Stage 2 + position: active weights, operands.
        active, held = self._active(m, swap, 0), self._held(m)
        chains = []
        for i in range(self.stride):
            total = None
            for position in range(self.group):
                # Stage 3 + position: multiply.
                product = Signal(signed(sum_bits(1)), name=f"product_{position}_{i}", reset_less=True)
                m.d.sync += product.eq(active[position][i] * held[position][i])
                # Stage 4 + position: add.
                partial = Signal(signed(sum_bits(position + 1)), name=f"chain_{position}_{i}", reset_less=True)
                m.d.sync += partial.eq(product if total is None else total + product)
                total = partial
            chains.append(total)
        # Stage 4 + group onwards: tree.
        m.d.comb += self.dots[0].eq(_tree(m, chains, self.group, "tree"))
        return m


class PackedDotProduct(_Lane):
    """``dots[c] = sum over k of weights[c][k] x operands[k]`` for two columns c, with one multiplier per two products.

    A multiplier makes ``(weights[1] x 2^shift + weights[0]) x operand``. The pre-adder of the DSP slice makes the sum
    in its wide input. A chain starts at 2^(shift - 1). After `group` products the low field is then ``sum0 + 2^(shift -
    1)``, which is never negative: nothing is borrowed from the high field, and splitting the fields is wiring. Exact
    for operands in -255..255 and weights in -127..127, where ``|sum0| <= group x 32385 < 2^(shift - 1)``; `Packing`
    checks this. A zero operand gives 0 with any weights. Bits and timing are those of `DotProduct`.

    Latency: `lane_latency` cycles from ``swap`` of position 0 to ``dots`` (`latency`).
    Throughput: one dot product per column and cycle.
    Back-pressure: none.

    Parameters
    ----------
    k_lanes : int
        number of products of a column, a power of two
    packing : Packing
        shape of the multiplier

    Members
    -------
    swap : In(group)
        a position takes its part of ``weights``; position p is p cycles late
    weights : In(k_lanes x s8), by column
        weights; a position's part is p cycles late
    operands : In(k_lanes x s9)
        operands of a row, one cycle after ``swap``; a position's part is p cycles late
    dots : Out(s16 + log2(k_lanes)), by column
        the dot products
    """

    COLUMNS = 2

    def elaborate(self, platform) -> Module:
        m = Module()
        shift = self.packing.shift
        # Stage 1 + position: active weights. Stage 2 + position: operands.
        low, high, held = self._active(m, self.swap, 0), self._active(m, self.swap, 1), self._held(m)
        chains = []
        for i in range(self.stride):
            total = C(1 << (shift - 1), shift + 1)
            for position in range(self.group):
                # Stage 2 + position: pack.
                packed = Signal(signed(self.packing.port), name=f"packed_{position}_{i}", reset_less=True)
                m.d.sync += packed.eq(high[position][i].shift_left(shift) + low[position][i])
                # Stage 3 + position: multiply.
                product = Signal(signed(shift + sum_bits(1)), name=f"product_{position}_{i}", reset_less=True)
                m.d.sync += product.eq(packed * held[position][i])
                # Stage 4 + position: add.
                partial = Signal(signed(shift + sum_bits(position + 1)), name=f"chain_{position}_{i}", reset_less=True)
                m.d.sync += partial.eq(total + product)
                total = partial
            chains.append(total)
        # Stage 4 + group onwards: split, trees. Inverting its top bit subtracts 2^(shift - 1) from the low field.
        lows = [Cat(total[:shift - 1], ~total[shift - 1]).as_signed() for total in chains]
        highs = [total[shift:].as_signed() for total in chains]
        m.d.comb += [
            self.dots[0].eq(_tree(m, lows, self.group, "low")),
            self.dots[1].eq(_tree(m, highs, self.group, "high")),
        ]
        return m
