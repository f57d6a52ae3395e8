# SPDX-License-Identifier: Apache-2.0
"""The real pynq package over the RTL of the smallest machine: overlay, registers, buffers, interrupt, clean-up."""

import asyncio

import numpy as np
import pytest

from moevit.host.errors import BusError, OutOfContiguousMemory, OverlayIncomplete
from moevit.host.runtime import Accelerator
from moevit.sim.board.simulated_board import SimulatedBoard
from moevit.sim.pynq.device import SimulatedPynqDevice, simulated_overlay
from moevit.sim.pynq.interrupt_controller import InterruptController
from moevit.spec.arrays import CONFIGS
from moevit.spec.ip import VLNV
from moevit.spec.registers import MAGIC, VERSION, offset

pytestmark = pytest.mark.timeout(900)  # the first build of a simulation
CONFIG = CONFIGS["8x8"]


@pytest.fixture(scope="module")
def board():
    with SimulatedBoard(CONFIG) as board:
        yield board


@pytest.fixture
def overlay(board):
    with simulated_overlay(CONFIG, board=board) as overlay:
        yield overlay
    board.write_register(offset("CONTROL"), 1 << 5)


@pytest.fixture
def allocate(overlay):
    """``pynq.allocate``, all freed at the end."""
    import pynq

    made = []

    def allocate(*arguments, **options):
        made.append(pynq.allocate(*arguments, **options))
        return made[-1]

    yield allocate
    for buffer in made:
        buffer.freebuffer()


def ended(overlay):
    """A run that ends at once, with an error and an interrupt: its program lies outside the window."""
    for name, value in (("INTERRUPT_STATUS", 3), ("INTERRUPT_ENABLE", 3), ("INTERRUPT_GLOBAL", 1),
                        ("PROGRAM_LOW", 0x1000), ("PROGRAM_LENGTH", 1), ("READ_BASE_LOW", 0x8000),
                        ("READ_LIMIT_LOW", 0x9000), ("CONTROL", 1)):
        overlay.moevit_0.write(offset(name), value)


def test_a_driver_is_bound_by_the_cores_name(board):
    from pynq import DefaultIP

    class Driver(DefaultIP):
        bindto = [VLNV]

    try:
        with simulated_overlay(CONFIG, board=board) as overlay:
            assert type(overlay.moevit_0) is Driver
            assert overlay.moevit_0.read(0x20) == MAGIC and overlay.moevit_0.read(0x24) == VERSION
    finally:
        Driver.unregister()


def test_register_map_reads_the_rtl(overlay, board):
    registers = overlay.moevit_0.register_map
    assert int(registers.MAGIC) == MAGIC and int(registers.CONFIG_HASH) == CONFIG.hash
    assert (registers.CONTROL.IDLE, registers.CONTROL.DONE, registers.CONTROL.START) == (1, 0, 0)
    registers.WATCHDOG = 0x1234
    assert board.read_register(offset("WATCHDOG")) == 0x1234
    registers.PROGRAM_LENGTH[3:0] = 5
    assert board.read_register(offset("PROGRAM_LENGTH")) & 0xF == 5
    assert "MAGIC = Register(value=1447382861)" in repr(registers)


def test_reading_every_register_changes_nothing(overlay):
    ended(overlay)
    assert repr(overlay.moevit_0.register_map) == repr(overlay.moevit_0.register_map)


def test_an_address_without_a_cell_is_an_error(overlay):
    import pynq

    with pytest.raises(BusError, match="nothing answers at 0xA0004000"):
        pynq.MMIO(0xA000_4000, 4).read(0)


def test_buffers_have_addresses_in_the_ddr(allocate, board):
    one, two = allocate((4, 5), "u2"), allocate(10, dtype="f4", cacheable=True)
    assert one.shape == (4, 5) and one.dtype == np.uint16 and two.shape == (10,)
    assert one.physical_address % 4096 == 0 and two.device_address >= one.device_address + 4096
    assert one[2:].device_address == one.device_address + 2 * 5 * 2
    one[:] = np.arange(20).reshape(4, 5)
    one.flush()
    assert (board.view(one.device_address, 40).view("<u2") == np.arange(20)).all()


def test_a_forgotten_flush_or_invalidate_shows(allocate, board):
    buffer = allocate(64, "u1")
    buffer[:] = 7
    assert (board.view(buffer.device_address, 64) == 0xA5).all()  # the machine sees what the memory held before
    buffer[16:32].sync_to_device()
    assert (board.view(buffer.device_address, 64) == np.repeat([0xA5, 7, 0xA5, 0xA5], 16)).all()
    board.view(buffer.device_address, 64)[:] = 9
    assert (buffer == 7).all()  # and so does the host
    buffer[:16].sync_from_device()
    assert (buffer == np.repeat([9, 7, 7, 7], 16)).all()


def test_buffers_are_freed_once_and_by_their_owner(overlay):
    import pynq

    buffer = pynq.allocate(16, "u1")
    address, part = buffer.device_address, buffer[4:]
    del part
    buffer.flush()
    with buffer:
        pass
    buffer.freebuffer()
    with pytest.raises(ValueError, match="freed"):
        buffer.flush()
    again = pynq.allocate(16, "u1")
    assert again.device_address == address
    again.freebuffer()


def test_too_much_memory_is_refused(overlay):
    import pynq

    with pytest.raises(OutOfContiguousMemory, match="free"):
        pynq.allocate(1 << 40, "u1")


@pytest.fixture
def loop():
    """A new event loop."""
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


def test_the_interrupt_arrives(overlay, loop):
    pin = overlay.moevit_0.irq
    for _ in range(2):
        ended(overlay)
        loop.run_until_complete(asyncio.wait_for(pin.wait(), 60))
        assert int(overlay.moevit_0.register_map.INTERRUPT_STATUS) == 2
        overlay.moevit_0.write(offset("INTERRUPT_STATUS"), 3)


def test_opened_after_somebodys_event_loop(board):
    """``asyncio.run()`` leaves its thread without a loop; pynq needs one to ask for interrupts."""
    loops = []
    for _ in range(2):
        asyncio.run(asyncio.sleep(0))
        with simulated_overlay(CONFIG, board=board) as overlay, Accelerator(overlay) as accelerator:
            assert accelerator.device.interrupts
            loops.append(asyncio.get_event_loop())
            ended(overlay)
            loops[-1].run_until_complete(asyncio.wait_for(overlay.moevit_0.irq.wait(), 60))
            overlay.moevit_0.write(offset("INTERRUPT_STATUS"), 3)
    assert loops[0] is loops[1]  # pynq's handle on the interrupt is kept, with its loop
    loops[0].close()
    asyncio.set_event_loop(None)
    for _ in range(2):  # of no loop, of a closed one
        with simulated_overlay(CONFIG, board=board) as overlay, Accelerator(overlay) as accelerator:
            assert accelerator.device.interrupts and not asyncio.get_event_loop().is_closed()
            asyncio.get_event_loop().close()
            assert not accelerator.device.interrupts  # it polls
    asyncio.set_event_loop(None)


def test_no_interrupt_no_end_of_waiting(overlay, loop, board):
    before = board.cycles
    with pytest.raises(asyncio.TimeoutError):
        loop.run_until_complete(asyncio.wait_for(overlay.moevit_0.irq.wait(), 0.2))
    assert board.cycles > before  # the clock ran meanwhile


def test_without_the_interrupt_pynq_warns(board):
    with simulated_overlay(CONFIG, board=board, interrupt=False) as overlay:
        with pytest.warns(UserWarning, match="Interrupt irq not created"):
            assert overlay.moevit_0.irq is None


def test_pynq_is_left_as_it_was(board):
    from pynq import Clocks
    from pynq.interrupt import _InterruptController
    from pynq.pl_server.device import Device

    def state():
        return (vars(Device).get("_active_device"), Clocks.device, dict(_InterruptController._uio_devices),
                list(_InterruptController._controllers))

    before = state()
    with pytest.raises(KeyError), simulated_overlay(CONFIG, board=board) as outer:
        outer.moevit_0.read(0)
        with simulated_overlay(CONFIG, board=board) as inner:
            assert Device.active_device is inner.device
        assert Device.active_device is outer.device
        raise KeyError
    assert state() == before
    assert SimulatedPynqDevice._probe_() == []
    assert board.read_register(offset("MAGIC")) == MAGIC  # a board that was given stays open


def test_files_lie_where_they_are_asked_for(board, tmp_path):
    with simulated_overlay(CONFIG, board=board, folder=tmp_path) as overlay:
        assert overlay.bitfile_name == str(tmp_path / "moevit.bit")
    assert (tmp_path / "moevit.bit").read_bytes().startswith(b"placeholder")
    assert "moevit_0" in (tmp_path / "moevit.hwh").read_text()


@pytest.mark.parametrize("part", [0, 0.5])
def test_a_damaged_handoff_is_named(board, tmp_path, part):
    with simulated_overlay(CONFIG, board=board, folder=tmp_path):
        text = (tmp_path / "moevit.hwh").read_text()
        (tmp_path / "moevit.hwh").write_text(text[:int(part * len(text))])
        with pytest.raises(OverlayIncomplete, match=r"moevit\.bit cannot be loaded: ParseError.*moevit\.hwh again"):
            Accelerator(tmp_path / "moevit.bit")


def test_interrupt_controller():
    """A high level stays latched until an acknowledge while it is low. The output needs enable and master enable."""
    level = [False]
    controller = InterruptController(lambda: level[0])
    controller.write(0x10, 1)
    level[0] = True
    assert controller.read(0x00) == controller.read(0x04) == 1 and not controller.output
    controller.write(0x1C, 3)
    assert controller.output
    controller.write(0x0C, 1)
    assert controller.output  # still high
    level[0] = False
    assert controller.output
    controller.write(0x0C, 1)
    assert not controller.output and controller.read(0x00) == 0
    level[0] = True
    controller.write(0x14, 1)
    assert controller.read(0x00) == 1 and controller.read(0x04) == 0 and not controller.output
    controller.write(0x08, 1)
    assert controller.output and controller.read(0x08) == 1 and controller.read(0x1C) == 3
