# SPDX-License-Identifier: Apache-2.0
"""The driver over the network: pynq's own remote registers and buffers, with a golden machine at the far end."""

import os
import warnings
from types import SimpleNamespace

import numpy as np
import pytest

from moevit.compiler.assemble import compile_model
from moevit.golden.integer.model import IntegerModel
from moevit.host.errors import OutOfContiguousMemory
from moevit.host.runtime import Accelerator
from moevit.spec.ip import CONTROL_BASE

from .board import CONFIG, FakeBoard, FakeOverlay

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from pynq.pl_server.remote_device import RemoteBuffer, RemoteMMIO


class Far:
    """Answers pynq's remote procedure calls on the board, for registers and whole buffers."""

    def __init__(self, board):
        self.board, self.buffers = board, {}

    def get_mmio(self, request):
        assert request.base_addr == CONTROL_BASE
        return SimpleNamespace(msg="", mmio_id="m")

    def read(self, request):
        if hasattr(request, "buffer_id"):
            return iter([SimpleNamespace(msg="", data=self.buffers[request.buffer_id].array.tobytes())])
        content = self.board.read_registers(CONTROL_BASE + request.offset, 4)
        return SimpleNamespace(msg="", data=int.from_bytes(content, "little"))

    def write(self, request):
        if hasattr(request, "mmio_id"):
            self.board.write_registers(CONTROL_BASE + request.offset, request.data)
        else:
            parts = list(request)
            content = np.frombuffer(b"".join(part.data for part in parts), np.uint8)
            self.buffers[parts[0].buffer_id].array[:len(content)] = content
        return SimpleNamespace(msg="")

    def flush(self, request):
        self.buffers[request.buffer_id].flush()
        return SimpleNamespace(msg="")

    def invalidate(self, request):
        self.buffers[request.buffer_id].invalidate()
        return SimpleNamespace(msg="")

    def physical_address(self, request):
        return SimpleNamespace(msg="", address=self.buffers[request.buffer_id].address)

    def freebuffer(self, request):
        del self.buffers[request.buffer_id]
        return SimpleNamespace(msg="")


class RemoteBoard(FakeBoard):
    """A board behind a network: pynq's remote classes talk to ``far``."""

    ip_addr = "192.0.2.99"

    def __init__(self):
        super().__init__(f"remote-{os.getpid()}")
        self.ip_addr = f"{type(self).ip_addr}-{os.getpid()}"  # one lock per test process
        self.capabilities = {"REMOTE": True}
        self.far, self.meminfo = Far(self), b"CmaTotal: 524288 kB\nCmaFree: 500000 kB\n"

    def mmap(self, base, length):
        return RemoteMMIO(self.far, base, length)

    def read_file(self, path):
        assert path == "/proc/meminfo"
        return self.meminfo

    def allocate(self, shape, dtype, cacheable=0):
        name = f"b{len(self.far.buffers)}"
        self.far.buffers[name] = self.golden.allocate(*shape)
        return RemoteBuffer(shape, dtype, stub=self.far, buffer_id=name, device=self)


@pytest.fixture
def board(monkeypatch):
    monkeypatch.setattr("moevit.host.pynq.pynq.Clocks", SimpleNamespace(fclk0_mhz=200.0))
    return RemoteBoard()


def test_runs_and_streams(board, tiny_model, tiny_image):
    with Accelerator(FakeOverlay(board)) as accelerator:
        assert accelerator.device.remote and not accelerator.device.interrupts
        accelerator.load(compile_model(tiny_model, CONFIG))
        images = np.stack([tiny_image, tiny_image[::-1], tiny_image[:, ::-1]])
        want = [IntegerModel(tiny_model).run(image, 1).tokens for image in images]
        scale = 2 ** tiny_model.residual_fraction
        np.testing.assert_array_equal(accelerator.run_raw(tiny_image, "depth"), want[0])
        np.testing.assert_array_equal(np.array(list(accelerator.stream(images, "depth"))) * scale, want)
    assert not board.far.buffers


def test_memory_is_that_of_the_board(board, tiny_model):
    board.meminfo = b"CmaTotal: 524288 kB\nCmaFree: 8 kB\n"
    with Accelerator(FakeOverlay(board)) as accelerator, pytest.raises(OutOfContiguousMemory, match="8,192 are free"):
        accelerator.load(compile_model(tiny_model, CONFIG))
    assert not board.far.buffers
