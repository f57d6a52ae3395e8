# SPDX-License-Identifier: Apache-2.0
"""A PYNQ board for tests: pynq's own classes over the golden machine, with a cache that forgets nothing by itself."""

from types import SimpleNamespace

import numpy as np
from pynq.pl_server.device import Device as PynqDevice

from moevit.golden.machine.device import BASE, GoldenDevice
from moevit.spec.arrays import CONFIGS
from moevit.spec.ip import CELL, CONTROL_BASE, VLNV
from moevit.spec.registers import APERTURE

CONFIG = CONFIGS["8x8"]


class BoardBuffer(np.ndarray):
    """What ``pynq.allocate`` gives: the host's cache of memory. Bytes move by flush and invalidate alone, whole."""

    @classmethod
    def of(cls, buffer, board):
        array = np.zeros(len(buffer.array), np.uint8).view(cls)
        array.buffer, array.board, array.device_address = buffer, board, board.lift + buffer.address
        board.alive.append(array)
        return array

    def flush(self):
        self.buffer.array[:] = self
        self.buffer.flush()
        self.board.log.append(("flush", self.device_address))

    def invalidate(self):
        self.buffer.invalidate()
        self[:] = self.buffer.array
        self.board.log.append(("invalidate", self.device_address))

    def freebuffer(self):
        self.board.alive = [each for each in self.board.alive if each is not self]
        self.board.log.append(("free", self.device_address))


class FakeBoard(PynqDevice):
    """A pynq device whose PL is a golden machine. ``log`` holds what was done to it, in order: (what, where)."""

    def __init__(self, tag: str, golden: GoldenDevice | None = None, lift: int = 0):
        super().__init__(tag)
        self.golden, self.lift = golden or GoldenDevice(CONFIG), lift
        self.capabilities = {"REGISTER_RW": True}
        self.log, self.alive, self.answers = [], [], {}
        self.refuse_after = None  # buffers that can be had
        self.default_memory = self

    def read_registers(self, address, length):
        at = address - CONTROL_BASE
        return int(self.answers.get(at, self.golden.read_register(at))).to_bytes(length, "little")

    def write_registers(self, address, data):
        self.log.append(("write", address - CONTROL_BASE))
        self.golden.write_register(address - CONTROL_BASE, int.from_bytes(data, "little"))

    def allocate(self, shape, dtype, cacheable=0):
        assert np.dtype(dtype) == np.uint8 and cacheable
        if self.refuse_after is not None and len(self.alive) >= self.refuse_after:
            raise RuntimeError("BO allocation failed")
        return BoardBuffer.of(self.golden.allocate(*shape), self)

    @property
    def writes(self):
        return [where for what, where in self.log if what == "write"]


class FakeOverlay(SimpleNamespace):
    """What the driver uses of a ``pynq.Overlay``."""

    def __init__(self, device, vlnv=VLNV, **more):
        description = {"phys_addr": CONTROL_BASE, "addr_range": APERTURE, "type": vlnv, "fullpath": CELL,
                       "device": device}
        super().__init__(device=device, ip_dict={CELL: description}, clock_dict={0: {"enable": 1, "frequency": 200.0}},
                         loaded=True, **more)

    def is_loaded(self):
        return self.loaded


assert BASE % 4096 == 0
