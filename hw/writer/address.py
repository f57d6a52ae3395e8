# SPDX-License-Identifier: Apache-2.0
"""Where a written word goes."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from moevit.spec.arrays import MachineConfig
from moevit.spec.isa import Destination

from ..interfaces import TOKEN_BITS, instruction_layout
from .write_loop import WORD_BITS

__all__ = ["Address"]

_BITS = 20


class Address(wiring.Component):
    """Word address, and part of the word, of ``word`` of ``row``.

    Residual and hidden rows: base + row x stride + word. Keys (one per column): base + word x stride + row / ratio,
    part row % ratio. Values (one per row): base + (word / ratio) x stride + row, part word % ratio.
    One multiplier. One address per cycle, 3 cycles, no back-pressure.

    Members
    -------
    instruction : In(instruction_layout())
    row, word : In
    address : Out(20)
    part : Out(1), for keys and values
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
        times, plus = Signal(WORD_BITS, reset_less=True), Signal(WORD_BITS, reset_less=True)
        parts = [Signal(name=f"part_{stage}", reset_less=True) for stage in (1, 2, 3)]
        # Stage 1: sort out.
        m.d.sync += [stride.eq(instruction.destination_stride), base.eq(instruction.destination_base)]
        with m.Switch(instruction.destination):
            with m.Case(Destination.KEYS):
                m.d.sync += [times.eq(self.word), plus.eq(self.row >> split), parts[0].eq(self.row[:split])]
            with m.Case(Destination.VALUES):
                m.d.sync += [times.eq(self.word >> split), plus.eq(self.row), parts[0].eq(self.word[:split])]
            with m.Default():
                m.d.sync += [times.eq(self.row), plus.eq(self.word), parts[0].eq(0)]
        # Stage 2: multiply.
        product, start = Signal(_BITS, reset_less=True), Signal(_BITS, reset_less=True)
        m.d.sync += [product.eq(times * stride), start.eq(base + plus), parts[1].eq(parts[0])]
        # Stage 3: add.
        address = Signal(_BITS, reset_less=True)
        m.d.sync += [address.eq(start + product), parts[2].eq(parts[1])]
        m.d.comb += [self.address.eq(address), self.part.eq(parts[2])]
        return m
