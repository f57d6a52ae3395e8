# SPDX-License-Identifier: Apache-2.0
"""The ports between the units: streams, flows, memory ports. What they carry is in ``layouts``.

A stream (``valid``, ``ready``) may wait. A ``Flow`` may not: the receiver takes it in the same cycle, because a unit
before it reserved the room.

==================  ==============  ==========================  ==================================
port                from            to                          payload
==================  ==============  ==========================  ==================================
command             program walk    read master                 command_layout
beats, weights      read master     program walk, loader        NextBeats
dispatch            program walk    loader, reader, writer      dispatch_layout
load                loader          array                       load_layout
columns             loader          row writer                  column_layout
gain                loader          row reader                  word_layout
row                 row reader      array                       row_layout
tag                 row reader      row writer                  tag_layout
sums                array           row writer                  sums_layout
peaks, row_sums     row writer      row reader                  peak_layout, row_sum_layout; read
stored, released    row writer      row reader                  stored_layout; a pulse
logits              row writer      router                      logits_layout
queue               router          row reader                  queue_entry_layout; read
lengths             router          program walk                tokens per expert
store               row reader      write master                word_layout
==================  ==============  ==========================  ==================================
"""

from collections.abc import Sequence

from amaranth import *
from amaranth.hdl import ShapeLike, ValueLike
from amaranth.lib import data
from amaranth.lib.wiring import In, Out, Signature
from amaranth.utils import ceil_log2, exact_log2

from moevit.spec.arrays import MachineConfig

__all__ = ["Flow", "MemoryRead", "MemoryWrite", "NextBeats", "in_bank", "pick"]


class Flow(Signature):
    """``valid`` and ``payload``, without back-pressure."""

    def __init__(self, payload: ShapeLike):
        super().__init__({"valid": Out(1), "payload": Out(payload)})


class NextBeats(Signature):
    """The next ``config.tile_beats`` beats; the receiver takes the first ``taken`` of them in a cycle.

    The signature is seen from the sender. Bit i of ``available`` means that beat i of ``payload`` is valid; so are all
    before it. A valid beat stays until it is taken. The receiver takes no other beats, and may wait until more of them
    are valid.
    """

    def __init__(self, config: MachineConfig):
        super().__init__({
            "payload": Out(data.ArrayLayout(8 * config.beat_bytes, config.tile_beats)),
            "available": Out(config.tile_beats),
            "taken": In(range(config.tile_beats + 1)),
        })


class MemoryRead(Signature):
    """Read side of a memory, seen from the reader: ``data`` is the word at ``address`` one cycle after ``enable``."""

    def __init__(self, depth: int, shape: ShapeLike):
        super().__init__({"enable": Out(1), "address": Out(ceil_log2(depth)), "data": In(shape)})


class MemoryWrite(Signature):
    """Write side of a memory, seen from the writer: ``enable`` has one bit per granule of the word."""

    def __init__(self, depth: int, shape: ShapeLike, granules: int = 1):
        super().__init__({"enable": Out(granules), "address": Out(ceil_log2(depth)), "data": Out(shape)})


def in_bank(address: Value, bank: int, banks: int) -> Value:
    """Whether the word at ``address`` is in ``bank`` of ``banks``, a power of two."""
    return address[:exact_log2(banks)] == bank if banks > 1 else C(1, 1)


def pick(values: Sequence[ValueLike], index: Value) -> Value:
    """``values[index]``; with a single value, this one for any index."""
    values = [Value.cast(value) for value in values]
    return Array(values)[index] if len(values) > 1 else values[0]
