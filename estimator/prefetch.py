# SPDX-License-Identifier: Apache-2.0
"""When beats reach the loader: bursts, ports, bandwidth, latency, and room in the prefetch FIFO."""

from collections import deque
from dataclasses import dataclass
from math import inf

from moevit.hw.bus.bursts import BURST_BEATS, OUTSTANDING, BurstSplitter
from moevit.spec.arrays import MachineConfig

from .latency import latencies

__all__ = ["MemoryTiming", "PrefetchTiming"]


@dataclass(frozen=True)
class MemoryTiming:
    """A memory: cycles from an address to its data (from the last data to their response), bus beats per cycle."""

    read_latency: int = 64
    write_latency: int = 16
    bandwidth: float = 1.0


class PrefetchTiming:
    """Requests for consecutive beats, which arrive and are taken in the order of the requests.

    Call ``ask`` for each request. Then call ``arrival`` and ``take`` in turn for piece after piece of it; ``take``
    makes room in the FIFO. A request is cut into bursts that end at multiples of `BURST_BEATS` bus beats. A burst is
    issued when the FIFO has room for it and fewer than `OUTSTANDING` are under way. Each port brings its stripe of a
    burst at its share of the bandwidth. Stripes leave in order.
    """

    def __init__(self, config: MachineConfig, memory: MemoryTiming):
        latency = latencies(config)
        self._depth = config.prefetch_beats
        self._burst = BURST_BEATS * config.bus_beats
        self._stripe = self._burst // config.ports
        self._least = 1 / config.bus_beats  # cycles a beat
        self._each = self._least / min(memory.bandwidth, 1.0)  # of the memory; `ports` times as many of one port
        self._latency = memory.read_latency + latency.address + latency.receive + latency.spread
        self._command = latency.command
        self._waiting: deque[tuple[int, int]] = deque()  # place and length of the bursts to issue
        self._issue = 0.0  # when the next of them may be issued
        self._reserved = 0  # beats of the issued bursts
        self._bus = 0.0  # when the last beat so far arrived
        self._ports = [0.0] * config.ports  # from when on each is free for further beats
        self._ends = deque([0.0] * OUTSTANDING, OUTSTANDING)  # when the last bursts ended
        self._coming: deque[tuple[int, float]] = deque()  # stripes not yet taken: beats up to their end, and time
        self._taken: deque[tuple[int, float]] = deque([(0, 0.0)])  # beats taken, and time
        self.delivered = 0  #: beats asked for by `arrival`

    @property
    def accepts(self) -> float:
        """When the next request may come: all bursts of the one before are issued. Infinite while that depends on
        beats that are still to be taken."""
        self._run_ahead()
        return inf if self._waiting else self._issue

    def ask(self, time: float, beats: int, first: int = 0) -> None:
        """Request ``beats`` beats from beat address ``first`` on, at ``time``, not before ``accepts``."""
        self._issue = max(self._issue, time + self._command)
        while beats > 0:
            place = first % self._burst
            length = min(beats, self._burst - place)
            self._waiting.append((place, length))
            beats, first = beats - length, first + length

    def arrival(self, beats: int) -> float:
        """When the last of the next ``beats`` beats can be taken from the FIFO."""
        self.delivered += beats
        while not self._coming or self._coming[-1][0] < self.delivered:
            self._send()
        while self._coming[0][0] < self.delivered:
            self._coming.popleft()
        end, time = self._coming[0]
        return time - (end - self.delivered + 1) * self._each

    def take(self, beats: int, time: float) -> None:
        """The next ``beats`` beats leave the FIFO, one a cycle, the last one in the cycle before ``time``."""
        self._taken.append((self._taken[-1][0] + beats, time))

    def _send(self) -> None:
        """Issue the next burst."""
        place, length = self._waiting.popleft()
        issue = max(self._issue, self._room(self._reserved + self._burst - self._depth), self._ends[0])
        self._issue = issue + BurstSplitter.cycles_per_burst
        came, ports, bus = issue + self._latency, self._ports, self._bus
        each = self._each * len(ports)
        while length:
            port, begin = divmod(place, self._stripe)
            beats = min(length, self._stripe - begin)
            ports[port] = free = (ports[port] if ports[port] > came else came) + beats * each
            bus += beats * self._least
            bus = free if free > bus else bus
            self._reserved += beats
            self._coming.append((self._reserved, bus))
            place, length = place + beats, length - beats
        self._bus = bus
        self._ends.append(bus)

    def _run_ahead(self) -> None:
        """Issue the bursts for which the FIFO certainly has room."""
        while self._waiting and self._reserved + self._burst - self._depth <= self._taken[-1][0]:
            self._send()

    def _room(self, beats: int) -> float:
        """When ``beats`` beats were taken."""
        while self._taken[0][0] < beats and len(self._taken) > 1:
            self._taken.popleft()
        return self._taken[0][1] - max(0, self._taken[0][0] - beats) if beats > 0 else 0.0
