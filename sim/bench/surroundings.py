# SPDX-License-Identifier: Apache-2.0
"""What a bench can put around a component: memories that answer, probes that record."""

from collections.abc import Iterable, MutableSequence
from typing import Any

import numpy as np

from .ports import PlainPort

__all__ = ["MemoryModel", "Probe"]


class MemoryModel:
    """A memory behind the ``MemoryRead`` and ``MemoryWrite`` ports of a component.

    One cycle after a read its port shows the word that was stored before the cycle of the read, and shows it until the
    next read. A write changes the granules that the bits of ``enable`` name.

    Parameters
    ----------
    words : the contents by address, changed in place: a numpy array (depth,) or (depth, lanes), or a list
    reads : ports that read it
    writes : ports that write it

    Attributes
    ----------
    read_log : (cycle, address) of each read
    write_log : (cycle, address, enable, word) of each write; ``word`` is the whole word on the port
    """

    def __init__(self, words: MutableSequence[Any] | np.ndarray, *, reads: Iterable[Any] = (),
                 writes: Iterable[Any] = ()):
        self.words = words
        self.read_log: list[tuple[int, int]] = []
        self.write_log: list[tuple[int, int, int, Any]] = []
        self._reads, self._writes = list(reads), list(writes)

    async def run(self, ctx: Any) -> None:
        """The process, for the background of a ``StreamBench``."""
        ports = [PlainPort(port.data) for port in (*self._reads, *self._writes)]
        samples = [signal for port, data in zip((*self._reads, *self._writes), ports, strict=True)
                   for signal in (port.enable, port.address, data.value)]
        cycle = 0
        while True:
            _, _, *values = await ctx.tick().sample(*samples)
            for index, port in enumerate(ports):  # reads first
                enable, address, bits = values[3 * index:3 * index + 3]
                if enable and index < len(self._reads):
                    self.read_log.append((cycle, address))
                    port.set(ctx, self.words[address])
                elif enable:
                    self._write(cycle, address, enable, len(self._writes[index - len(self._reads)].enable),
                                port.plain(bits))
            cycle += 1

    def forget(self) -> None:
        """Empties both logs."""
        self.read_log.clear()
        self.write_log.clear()

    def _write(self, cycle: int, address: int, enable: int, granules: int, word: Any) -> None:
        self.write_log.append((cycle, address, enable, word))
        if granules == 1:
            self.words[address] = word
            return
        lanes = len(word) // granules
        for granule in range(granules):
            if enable >> granule & 1:
                part = slice(granule * lanes, (granule + 1) * lanes)
                self.words[address][part] = word[part]


class Probe:
    """Records signals at the end of each cycle in which ``when`` is set; in all cycles without ``when``.

    Parameters
    ----------
    ports : what to record
    when : a signal of one bit

    Attributes
    ----------
    cycles : the cycles recorded; the first cycle after the start is 0
    values : the plain value of each; a tuple where there are several ports
    """

    def __init__(self, *ports: Any, when: Any = None):
        self._ports, self._when = [PlainPort(port) for port in ports], when
        self.cycles: list[int] = []
        self.values: list[Any] = []

    async def run(self, ctx: Any) -> None:
        """The process, for the background of a ``StreamBench``."""
        cycle = 0
        condition = [] if self._when is None else [self._when]
        while True:
            _, _, *bits = await ctx.tick().sample(*(port.value for port in self._ports), *condition)
            if not condition or bits[-1]:
                found = tuple(port.plain(each) for port, each in zip(self._ports, bits, strict=False))
                self.cycles.append(cycle)
                self.values.append(found if len(found) != 1 else found[0])
            cycle += 1

    def forget(self) -> None:
        """Drops what was recorded so far."""
        self.cycles.clear()
        self.values.clear()
