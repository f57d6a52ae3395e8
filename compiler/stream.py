# SPDX-License-Identifier: Apache-2.0
"""When the beats of the memory bus reach the loader: bandwidth, latency, and the room of the prefetch FIFO."""

from dataclasses import dataclass

from moevit.spec.arrays import MachineConfig

from .latency import Latencies

__all__ = ["BURST_BEATS", "MemoryTiming", "Prefetch"]

BURST_BEATS = 16
#: Bursts under way on the bus at most.
_OUTSTANDING = 8


@dataclass(frozen=True)
class MemoryTiming:
    """A memory: cycles from an address to its data (from the last data to their response), bus beats per cycle."""

    read_latency: int = 64
    write_latency: int = 16
    bandwidth: float = 1.0


class Prefetch:
    """Stretches of beats, asked for and taken in the same order.

    ``ask`` each stretch, then ``take`` its beats piece by piece. A burst is asked for once the FIFO has room for it, so
    a piece may have to wait for the one that was taken a FIFO's depth before it.
    """

    def __init__(self, config: MachineConfig, memory: MemoryTiming):
        latencies = Latencies(config)
        self._depth = config.stream_beats
        self._rate = min(memory.bandwidth, 1.0)  # a port moves one beat a cycle
        self._latency = memory.read_latency + latencies.RECEIVE
        self._command = latencies.COMMAND
        self._free = 0.0  # when the bus has brought all beats so far
        self._first = 0.0  # not before this can the next beat come
        self._came = 0
        self._taken: list[tuple[int, float]] = [(0, 0.0)]  # beats taken until then, and when
        self._oldest = 0
        self.accepts = 0.0  #: when the next stretch may be asked for
        self.delivered: list[tuple[float, int]] = []  #: when the last beat of each piece came, and beats

    def ask(self, time: float) -> None:
        """A stretch is asked for at ``time``, which is not before ``accepts``."""
        self._first = time + self._command + self._latency

    def arrival(self, beats: int) -> float:
        """When the last of the next ``beats`` beats can be taken from the FIFO."""
        self._came += beats
        came = max(self._free, self._first) + beats / self._rate
        must_leave = self._came + BURST_BEATS - 1 - self._depth
        if must_leave > 0:
            while self._taken[self._oldest][0] < must_leave and self._oldest + 1 < len(self._taken):
                self._oldest += 1
            came = max(came, self._taken[self._oldest][1] + self._latency + BURST_BEATS / self._rate)
        self._free = came
        self.accepts = came - max(self._latency, _OUTSTANDING * BURST_BEATS / self._rate)
        self.delivered.append((came, beats))
        return came

    def take(self, beats: int, time: float) -> None:
        """``beats`` beats have left the FIFO by ``time``."""
        self._taken.append((self._taken[-1][0] + beats, time))
