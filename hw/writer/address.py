# SPDX-License-Identifier: Apache-2.0
"""The address of a word that the row writer stores."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from moevit.spec.arrays import MachineConfig
from moevit.spec.isa import Destination

from ..layouts import TOKEN_BITS, instruction_layout
from .write_loop import WORD_BITS

__all__ = ["AddressGenerator"]

_BITS = 20


class AddressGenerator(wiring.Component):
    """The word address of ``word`` of ``row`` in the instruction's destination, and the part within that word.

    - residual and hidden rows: ``base + row x stride + word``;
    - keys, one per column: ``base + word x stride + row / ratio``, part ``row % ratio``;
    - values, one per row: ``base + (word / ratio) x stride + row``, part ``word % ratio``.

    It takes one multiplier.

    Latency: 3 cycles from the inputs to ``address`` (`latency`).
    Throughput: one address per cycle.
    Back-pressure: none.

    Parameters
    ----------
    config : MachineConfig
        ``ratio``, the parts of a word of keys and values

    Members
    -------
    instruction : In(instruction_layout())
        destination, base and stride
    row, word : In(12), In(13)
        of the destination
    address : Out(20)
        in words of the destination's memory
    part : Out(1)
        the k_lanes values of the word at ``address`` that are meant; 0 for residual and hidden rows
    """

    latency = 3

    def __init__(self, config: MachineConfig):
        self._config = config
        super().__init__({
            "instruction": In(instruction_layout()),
            "row": In(TOKEN_BITS),
            "word": In(WORD_BITS),
            "address": Out(_BITS),
            "part": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        split = ceil_log2(self._config.ratio)
        instruction = self.instruction
        stride = Signal.like(instruction.destination_stride, reset_less=True)
        base = Signal(_BITS, reset_less=True)
        factor, addend = Signal(WORD_BITS, reset_less=True), Signal(WORD_BITS, reset_less=True)
        parts = [Signal(name=f"part_{stage}", reset_less=True) for stage in (1, 2, 3)]
        # Stage 1: choose the factor of the stride and what is added.
        m.d.sync += [stride.eq(instruction.destination_stride), base.eq(instruction.destination_base)]
        with m.Switch(instruction.destination):
            with m.Case(Destination.KEYS):
                m.d.sync += [factor.eq(self.word), addend.eq(self.row >> split), parts[0].eq(self.row[:split])]
            with m.Case(Destination.VALUES):
                m.d.sync += [factor.eq(self.word >> split), addend.eq(self.row), parts[0].eq(self.word[:split])]
            with m.Default():
                m.d.sync += [factor.eq(self.row), addend.eq(self.word), parts[0].eq(0)]
        # Stage 2: multiply.
        product, start = Signal(_BITS, reset_less=True), Signal(_BITS, reset_less=True)
        m.d.sync += [product.eq(factor * stride), start.eq(base + addend), parts[1].eq(parts[0])]
        # Stage 3: add.
        address = Signal(_BITS, reset_less=True)
        m.d.sync += [address.eq(start + product), parts[2].eq(parts[1])]
        m.d.comb += [self.address.eq(address), self.part.eq(parts[2])]
        return m
