# SPDX-License-Identifier: Apache-2.0
"""The contract of ``Device``, for the bodies that this computer can have: golden machine, simulated board."""

import dataclasses
import inspect

import pytest

from moevit.compiler.assemble import compile_model
from moevit.golden.machine.device import GoldenDevice
from moevit.golden.quant.synthetic import synthetic_model
from moevit.host.arena import shared_bytes
from moevit.host.device import Buffer, Device
from moevit.host.errors import OutOfContiguousMemory
from moevit.host.runtime import Accelerator
from moevit.sim.board.simulated_board import SimulatedBoard
from moevit.spec.arrays import CONFIGS
from moevit.spec.registers import BITS, MAGIC, REGISTERS, ErrorCode, offset

pytestmark = pytest.mark.timeout(900)  # the first build of a simulation
CONFIG = CONFIGS["8x8"]
BODIES = {"golden": GoldenDevice, "simulated": SimulatedBoard}


@pytest.fixture(scope="module", params=BODIES)
def device(request):
    with BODIES[request.param](CONFIG) as device:
        yield device


def write(device, **registers):
    for name, value in registers.items():
        device.write_register(offset(name), value)


@pytest.mark.parametrize("body", BODIES)
def test_methods_are_those_of_the_protocol(body):
    for name, method in inspect.getmembers(Device, inspect.isfunction):
        if not name.startswith("_"):
            wanted = list(inspect.signature(method).parameters)
            assert list(inspect.signature(getattr(BODIES[body], name)).parameters) == wanted, name


def test_buffers_have_what_the_protocol_says(device):
    buffer = device.allocate(5000)
    for name in vars(Buffer):
        if not name.startswith("_"):
            assert hasattr(buffer, name), name
    assert buffer.address % 4096 == 0
    assert buffer.array.shape == (5000,) and buffer.array.dtype == "u1"
    buffer.free()
    buffer.free()


def test_identity(device):
    assert device.read_register(offset("MAGIC")) == MAGIC
    assert device.read_register(offset("CONFIG_HASH")) == CONFIG.hash


def test_registers_keep_what_is_written(device):
    for index, register in enumerate(register for register in REGISTERS if register.access == "rw"):
        if not register.name.startswith("INTERRUPT"):  # a machine has only the bits that mean something
            device.write_register(register.offset, 0x1234_5600 + index)
            assert device.read_register(register.offset) == 0x1234_5600 + index, register.name
            device.write_register(register.offset, 0)


def test_unused_addresses_read_zero(device):
    device.write_register(0xFF0, 7)
    assert device.read_register(0xFF0) == 0


def test_bytes_move_by_flush_and_invalidate(device):
    buffer = device.allocate(300)
    buffer.array[:] = 9
    buffer.flush()
    buffer.array[:] = 1
    buffer.invalidate()
    assert (buffer.array == 9).all()
    buffer.free()


def test_buffers_do_not_overlap(device):
    one, two = device.allocate(4097), device.allocate(10)
    one.array[:], two.array[:] = 1, 2
    one.flush()
    two.flush()
    one.invalidate()
    assert (one.array == 1).all()
    one.free()
    two.free()


def test_memory_freed_twice_is_given_once(device):
    free = device.free_bytes()
    one = device.allocate(64)
    one.free()
    two = device.allocate(64)
    one.free()
    three = device.allocate(64)
    assert two.address != three.address
    two.free()
    three.free()
    assert device.free_bytes() == free


def test_a_buffer_from_before_close_frees_nothing_after():
    device = GoldenDevice(CONFIG)
    one = device.allocate(64)
    device.close()
    two = device.allocate(64)
    one.free()
    assert device.allocate(64).address != two.address


def test_too_much_memory_is_refused(device):
    with pytest.raises(MemoryError):
        device.allocate(1 << 40)


def test_a_run_ends_and_wait_returns(device):
    """A program that cannot be read: the machine stops with the reason."""
    write(device, PROGRAM_LOW=0x1000, PROGRAM_LENGTH=1, READ_BASE_LOW=0x8000, READ_LIMIT_LOW=0x9000, CONTROL=1)
    device.wait(1.0)
    assert device.read_register(offset("CONTROL")) >> BITS["ERROR"] & 1
    assert device.read_register(offset("ERROR_CODE")) == ErrorCode.READ_WINDOW
    assert device.read_register(offset("INTERRUPT_STATUS")) == 2
    write(device, INTERRUPT_STATUS=3, CONTROL=1 << BITS["RESET"])


@pytest.mark.parametrize("body", BODIES)
def test_close_may_be_called_twice(body):
    device = BODIES[body](CONFIG)
    device.close()
    device.close()


def test_a_bundle_takes_the_memory_that_it_says(tiny_model, tiny_image):
    """The zeros of cells need a page more. A device with a page less refuses."""
    network = dataclasses.replace(tiny_model.network, name="cells", patch=14, height=28, width=56)
    for model in (tiny_model, synthetic_model(network, 1)):
        bundle = compile_model(model, CONFIG)
        needed = shared_bytes(bundle)
        with Accelerator(GoldenDevice(CONFIG, needed)) as accelerator:
            accelerator.load(bundle)
        with Accelerator(GoldenDevice(CONFIG, needed - 4096)) as accelerator, pytest.raises(OutOfContiguousMemory):
            accelerator.load(bundle)
