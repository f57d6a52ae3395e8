# SPDX-License-Identifier: Apache-2.0
"""Cycles that a row, an instruction or a beat spends in the hardware's pipelines, as the units' docstrings state them.

The compiler may not import the hardware: ``tests/estimator/test_latency.py`` holds against it what its classes state.
GATE, ROOM, STORE, COMMAND, ADDRESS, RECEIVE, LOADER and ``store`` were read from the RTL, STORE approximately; only the
frames of ``tests/ladder/test_timing.py`` hold these.
"""

from dataclasses import dataclass
from math import log2

from moevit.spec.arrays import MachineConfig

__all__ = ["BURST_BEATS", "Latencies"]

#: Beats of the longest burst.
BURST_BEATS = 16


@dataclass(frozen=True)
class Latencies:
    """Cycles of the machine ``config``."""

    config: MachineConfig

    #: The walk's states per instruction: read, take, start, check (16), command, log, dispatch.
    WALK = 22
    #: From a command to its first burst (bursts); from there to AR, and from R to the loader (read master).
    COMMAND = 5
    ADDRESS = 1
    RECEIVE = 4
    #: From an instruction in the row reader to its first row in the array.
    READER = 16
    #: From a unit's ``done`` to whoever may start because of it.
    FINISHED = 1
    #: From a row's being stored (``done``, of the last row) to a rowwise reader's step: a register, and two of its own.
    STORED = 3
    #: From the row reader's first word of a STORE to the first beat on the bus, and from the last response to ``done``.
    STORE = 12
    #: Cycles in which the loader is idle between instructions.
    LOADER = 2
    #: From a token's logits to its first entry in a queue.
    ROUTER = 19
    #: Stages of the lane through which a token's experts go one by one for a sigmoid or a selection bias.
    ROUTER_LANE = 8
    #: From a row's leaving the row writer free to room for another one in the array: the queue's delay, the pulse that
    #: says so, and the credit's two registers.
    ROOM = 4
    #: From a row's sums to its logits at the router: queue of sums, scale, gate.
    GATE = 15

    @property
    def spread(self) -> int:
        """From AR to a port's, and from the last part of a beat to R, where several ports share the bus."""
        return 3 if self.config.ports > 1 else 0

    @property
    def store(self) -> int:
        """`STORE`; where several ports share the bus, the last one's block is written when the port has all of it, a
        beat a cycle."""
        return self.STORE + (BURST_BEATS if self.config.ports > 1 else 0)

    @property
    def _levels(self) -> int:
        return round(log2(self.config.k_lanes))

    @property
    def compute(self) -> int:
        """From a row in the array to its sums."""
        return 8 + self._levels - self.config.dsp48e1

    @property
    def writer_done(self) -> int:
        """From the last sums of a pass to ``done``."""
        return 26 + (self._levels > 4)

    @property
    def router_walk(self) -> int:
        """Cycles that a sigmoid or a selection bias costs a token in the router, in which no other is taken."""
        return self.config.max_experts + self.ROUTER_LANE

    @property
    def means(self) -> int:
        """From the last word of a NORM's first reading to where its second one starts, beyond the next cycle."""
        return 11 + self._levels // 2

    @property
    def norm(self) -> int:
        """From the last word of a NORM to ``done``."""
        return 24 + (self.config.k_lanes * self.config.norm_words - 1).bit_length() // 2
