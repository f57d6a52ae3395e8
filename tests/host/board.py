# SPDX-License-Identifier: Apache-2.0
"""A PYNQ board for tests: pynq's own driver classes over the golden machine, with a cache that only flush and
invalidate move."""

import warnings
from types import SimpleNamespace

import numpy as np

from moevit.golden.machine.device import GoldenDevice
from moevit.spec.arrays import CONFIGS
from moevit.spec.ip import CELL, CONTROL_BASE, VLNV
from moevit.spec.registers import APERTURE, BITS, offset

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what pynq says on any computer that is no board
    from pynq.pl_server.device import Device as PynqDevice

CONFIG = CONFIGS["8x8"]
CONTROL = offset("CONTROL")


class BoardBuffer(np.ndarray):
    """The result of ``pynq.allocate``: the host's cache. Flush and invalidate alone move bytes, always all of them."""

    @classmethod
    def of(cls, buffer, board):
        array = np.zeros(len(buffer.array), np.uint8).view(cls)
        array.buffer, array.board, array.device_address = buffer, board, buffer.address
        board.alive.append(buffer.address)
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
        self.board.alive.remove(self.device_address)
        self.board.log.append(("free", self.device_address))


class FakeBoard(PynqDevice):
    """A pynq device whose logic is a golden machine.

    ``log``: accesses in order, as pairs (kind, register or address). ``alive``: addresses of buffers. ``stuck``: a run
    ends only by RESET. ``room``: most buffers at a time.
    """

    def __init__(self, tag):
        super().__init__(tag)
        self.golden = GoldenDevice(CONFIG)
        self.capabilities = {"REGISTER_RW": True}
        self.log, self.alive, self.answers = [], [], {}
        self.stuck, self.running, self.room = False, False, 99
        self.default_memory = self

    def read_registers(self, address, length):
        at = address - CONTROL_BASE
        value = 0 if self.running and at == CONTROL else self.golden.read_register(at)
        return int(self.answers.get(at, value)).to_bytes(length, "little")

    def write_registers(self, address, data):
        at, value = address - CONTROL_BASE, int.from_bytes(data, "little")
        reset = at == CONTROL and value >> BITS["RESET"] & 1
        self.log.append(("reset" if reset else "write", at))
        self.running = not reset and (self.running or self.stuck and at == CONTROL)
        if not self.running:
            self.golden.write_register(at, value)

    def allocate(self, shape, dtype, cacheable=0):
        assert np.dtype(dtype) == np.uint8 and cacheable
        if len(self.alive) >= self.room:
            raise RuntimeError("BO allocation failed")
        buffer = self.golden.allocate(*shape)
        self.log.append(("allocate", buffer.address))
        return BoardBuffer.of(buffer, self)

    @property
    def steps(self):
        return [what for what, _ in self.log]

    @property
    def writes(self):
        return [where for what, where in self.log if what == "write"]


class FakeOverlay(SimpleNamespace):
    """The parts of a ``pynq.Overlay`` that the driver uses."""

    def __init__(self, device, vlnv=VLNV, **description):
        super().__init__(device=device, loaded=True, clock_dict={0: {"enable": 1, "frequency": 200.0}}, ip_dict={
            CELL: {"phys_addr": CONTROL_BASE, "addr_range": APERTURE, "type": vlnv, "fullpath": CELL, **description}})

    def is_loaded(self):
        return self.loaded
