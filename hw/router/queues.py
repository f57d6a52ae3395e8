# SPDX-License-Identifier: Apache-2.0
"""One queue of tokens per expert."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from moevit.spec.arrays import MachineConfig

from ..interfaces import MemoryRead
from ..layouts import EXPERT_BITS, TOKEN_BITS, queue_entry_layout

__all__ = ["Queues"]


class Queues(wiring.Component):
    """Appends entries to the experts' queues: entry i of an expert is at address ``expert x max_tokens + i``.

    Golden: ``golden.integer.router.queues``.
    Latency: 1 cycle from ``append`` to ``lengths`` with the entry, and to the first read that gives it (`latency`).
    Throughput: one entry per cycle.
    Back-pressure: none; a queue holds max_tokens entries.

    Parameters
    ----------
    config : MachineConfig
        ``max_experts`` and ``max_tokens``

    Members
    -------
    append : In(1)
        there is an entry in this cycle
    clear : In(1)
        with ``append``: all queues are emptied before
    expert : In(5)
        whose queue, below max_experts
    entry : In(queue_entry_layout())
        token and score
    lengths : Out(data.ArrayLayout(12, max_experts))
        entries of each queue
    read : In(MemoryRead(max_experts x max_tokens, queue_entry_layout()))
        the row reader's port
    """

    latency = 1

    def __init__(self, config: MachineConfig):
        self._config = config
        super().__init__({
            "append": In(1),
            "clear": In(1),
            "expert": In(EXPERT_BITS),
            "entry": In(queue_entry_layout()),
            "lengths": Out(data.ArrayLayout(TOKEN_BITS, config.max_experts)),
            "read": In(MemoryRead(config.max_experts * config.max_tokens, queue_entry_layout())),
        })

    def elaborate(self, platform):
        m = Module()
        config = self._config
        m.submodules.memory = memory = Memory(
            shape=queue_entry_layout(), depth=config.max_experts * config.max_tokens, init=[],
            attrs={"ram_style": "block"})  # UltraRAM is wanted for rows and weights
        read, write = memory.read_port(), memory.write_port()
        index = Mux(self.clear, 0, Array(self.lengths)[self.expert])
        m.d.comb += [
            read.en.eq(self.read.enable),
            read.addr.eq(self.read.address),
            self.read.data.eq(read.data),
            write.en.eq(self.append),
            write.addr.eq(Cat(index[:exact_log2(config.max_tokens)], self.expert)),
            write.data.eq(self.entry),
        ]
        for expert in range(config.max_experts):
            hit = self.append & (self.expert == expert)
            length = self.lengths[expert]
            m.d.sync += length.eq(Mux(self.append & self.clear, 0, length) + hit)
        return m
