# SPDX-License-Identifier: Apache-2.0
"""Keeps the first error of a run: the later ones are usually its consequences."""

from amaranth import *
from amaranth.lib import data
from amaranth.lib.wiring import Component, In, Out

from moevit.spec.registers import PASS_LOG_FIELDS

from ..fault import ADDRESS_BITS, CODE_BITS
from ..interfaces import Flow

__all__ = ["PC_BITS", "ErrorLatch", "error_layout"]

PC_BITS = PASS_LOG_FIELDS["pc"]


def error_layout() -> data.StructLayout:
    """``spec.registers.ErrorCode``, the instruction concerned, and the bus address (0 where none is concerned)."""
    return data.StructLayout({"code": CODE_BITS, "pc": PC_BITS, "address": ADDRESS_BITS})


class ErrorLatch(Component):
    """Keeps the first error that a source reports, until ``clear``.

    Of several sources in one cycle the one with the lowest index wins. An error in the cycle of ``clear`` is dropped:
    it belongs to the time before.

    Latency: 1 cycle from a source to ``error``, ``failed`` and ``raised`` (`latency`).
    Throughput: one error per ``clear``; later ones are dropped.
    Back-pressure: none.

    Parameters
    ----------
    sources : int
        number of sources, at least 1

    Members
    -------
    source_0, source_1, ... : In(Flow(error_layout()))
        reports, one pulse each
    clear : In(1)
        START or RESET
    error : Out(error_layout())
        the first error; all 0 (ErrorCode.NONE) without one
    failed : Out(1)
        there is an error
    raised : Out(1)
        one pulse as ``failed`` rises
    """

    latency = 1

    def __init__(self, sources: int):
        if sources < 1:
            raise ValueError(f"an error latch needs at least one source, not {sources!r}")
        self._count = sources
        super().__init__({
            **{f"source_{index}": In(Flow(error_layout())) for index in range(sources)},
            "clear": In(1),
            "error": Out(error_layout()),
            "failed": Out(1),
            "raised": Out(1),
        })

    @property
    def sources(self) -> list:
        """The reporting ports, in order of precedence."""
        return [getattr(self, f"source_{index}") for index in range(self._count)]

    def elaborate(self, platform) -> Module:
        m = Module()
        m.d.sync += self.raised.eq(0)
        with m.If(self.clear):
            m.d.sync += self.error.eq(0)
            m.d.sync += self.failed.eq(0)
        with m.Elif(~self.failed):
            for source in reversed(self.sources):  # the last assignment wins
                with m.If(source.valid):
                    m.d.sync += self.error.eq(source.payload)
                    m.d.sync += self.failed.eq(1)
                    m.d.sync += self.raised.eq(1)
        return m
