# SPDX-License-Identifier: Apache-2.0
"""AMD's axi_intc with one level-sensitive input, as far as PYNQ uses it: registers in, one line out."""

from collections.abc import Callable

__all__ = ["InterruptController"]

_STATUS, _PENDING, _ENABLE, _ACKNOWLEDGE, _SET, _CLEAR, _MASTER = 0x00, 0x04, 0x08, 0x0C, 0x10, 0x14, 0x1C
_ON = 0b11  # master: the output is enabled, and so are the inputs


class InterruptController:
    """``line()`` is the level of the input. A high input sets the status, which an acknowledge clears if it is low."""

    def __init__(self, line: Callable[[], bool]):
        self._line, self._status, self._enable, self._master = line, 0, 0, 0

    @property
    def output(self) -> bool:
        """The line to the processing system."""
        return self._master == _ON and bool(self.read(_PENDING))

    def read(self, at: int) -> int:
        """The register at byte offset ``at``; 0 for those that PYNQ does not use."""
        self._status |= self._line()
        return {_STATUS: self._status, _PENDING: self._status & self._enable, _ENABLE: self._enable,
                _MASTER: self._master}.get(at, 0)

    def write(self, at: int, value: int) -> None:
        if at == _ACKNOWLEDGE:
            self._status &= ~value
        elif at == _ENABLE:
            self._enable = value & 1
        elif at == _SET:
            self._enable |= value & 1
        elif at == _CLEAR:
            self._enable &= ~value
        elif at == _MASTER:
            self._master = value & _ON
