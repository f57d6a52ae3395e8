# SPDX-License-Identifier: Apache-2.0
"""The driver on a board that is a golden machine under pynq's own classes: what goes right, and a host's faults."""

import asyncio
import gc
import os
import signal
import subprocess
import sys
import time
import weakref
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from moevit import host
from moevit.compiler.assemble import compile_model
from moevit.golden.integer.model import IntegerModel
from moevit.golden.machine import device as golden_device
from moevit.golden.machine.device import GoldenDevice
from moevit.host import control
from moevit.host.errors import (
    AcceleratorTimeout,
    AccelError,
    AlreadyInUse,
    Busy,
    NoMachine,
    NotOnBoard,
    OutOfContiguousMemory,
    OverlayIncomplete,
    StaleOverlay,
    VersionMismatch,
    WrongClock,
)
from moevit.host.lock import MachineLock
from moevit.host.runtime import Accelerator
from moevit.spec.ip import CONTROL_BASE, VLNV
from moevit.spec.registers import offset

from .board import CONFIG, FakeBoard, FakeOverlay

driver = pytest.importorskip("moevit.host.pynq")
FOLDER = Path(next(iter(host.__path__)))


@pytest.fixture
def board(request):
    return FakeBoard(f"fake-{os.getpid()}-{request.node.name[:40]}")


@pytest.fixture
def overlay(board):
    return FakeOverlay(board)


@pytest.fixture
def bundle(tiny_model):
    return compile_model(tiny_model, CONFIG)


@pytest.fixture
def loaded(overlay, bundle):
    with Accelerator(overlay) as accelerator:
        accelerator.load(bundle)
        yield accelerator


@pytest.fixture
def tokens(tiny_model, tiny_image):
    """By task, as the integer model has them."""
    return {task: IntegerModel(tiny_model).run(tiny_image, index).tokens
            for index, task in enumerate(tiny_model.network.tasks)}


def test_runs_both_tasks(loaded, tiny_image, tokens):
    for task in (*loaded.tasks, *loaded.tasks):
        np.testing.assert_array_equal(loaded.run_raw(tiny_image, task), tokens[task])
    assert loaded.device.clock_hz == 200e6


def test_a_task_switch_is_one_register_write(loaded, board, tiny_image):
    loaded.run(tiny_image, "semseg")
    board.log.clear()
    loaded.run(tiny_image, "depth")
    assert board.writes == [offset("GATES_LOW"), offset("CONTROL")]


def test_a_bare_address(board, bundle, tiny_image, tokens, monkeypatch):
    monkeypatch.setattr(type(FakeBoard), "active_device", board)
    with Accelerator(CONTROL_BASE) as accelerator:
        accelerator.load(bundle)
        np.testing.assert_array_equal(accelerator.run_raw(tiny_image, "depth"), tokens["depth"])
    assert not board.alive


def test_addresses_above_32_bits(overlay, bundle, tiny_image, tokens, monkeypatch):
    monkeypatch.setattr(golden_device, "BASE", 0x8_7FFF_F000)
    with Accelerator(overlay) as accelerator:
        accelerator.load(bundle)
        assert min(accelerator.addresses.values()) >> 32 == 8
        np.testing.assert_array_equal(accelerator.run_raw(tiny_image, "depth"), tokens["depth"])


@pytest.mark.parametrize("forgotten", ["flush", "invalidate"])
def test_caches_matter_here(loaded, tiny_image, tokens, monkeypatch, forgotten):
    """The fake cache would show a flush or an invalidate that is left out."""
    monkeypatch.setattr(driver.ContiguousBuffer, forgotten, lambda self: None)
    assert (loaded.run_raw(tiny_image, "depth") != tokens["depth"]).any()


def test_every_byte_of_the_output_is_written(loaded, board, tiny_image, bundle):
    out = bundle.manifest["output"]
    start = loaded.addresses["output0"] - golden_device.BASE
    place = board.golden._memory[start:start + 2 * out["tokens"] * out["words"] * out["lanes"]]
    written = []
    for poison in (0xA5, 0x5A):
        place[:] = poison
        loaded.run(tiny_image, "depth")
        written.append(place.copy())
    np.testing.assert_array_equal(written[0], written[1])


# No board, no overlay, no machine.

def test_everything_but_the_driver_can_be_imported_without_pynq():
    names = [f"moevit.host.{path.stem}" for path in sorted(FOLDER.glob("*.py")) if path.stem != "pynq"]
    code = f"import sys; sys.modules['pynq'] = None\nfor name in {names}: __import__(name)\n" \
           "from moevit.host.runtime import Accelerator\nAccelerator('a.bit')"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "NotOnBoard: the package pynq is not installed" in ran.stderr and "SimulatedBoard" in ran.stderr
    assert issubclass(NotOnBoard, AccelError)


@pytest.mark.filterwarnings("ignore:No devices found")
def test_pynq_finds_no_board(tmp_path):
    for name in ("moevit.bit", "moevit.hwh"):
        (tmp_path / name).write_text("")
    for machine in (tmp_path / "moevit.bit", CONTROL_BASE):
        with pytest.raises(NotOnBoard, match="finds no board.*SimulatedBoard"):
            Accelerator(machine)


@pytest.mark.parametrize("machine", [None, 3.5])
def test_no_overlay_at_all(machine):
    with pytest.raises(OverlayIncomplete, match=f"{machine} is no overlay"):
        Accelerator(machine)


def test_handoff_missing(tmp_path):
    (tmp_path / "moevit.bit").write_bytes(b"")
    (tmp_path / "other.hwh").write_text("")
    with pytest.raises(OverlayIncomplete, match=r"moevit\.hwh is missing\. moevit\.bit and moevit\.hwh must lie"):
        Accelerator(tmp_path / "moevit.bit")


@pytest.mark.parametrize("vlnv, error, message", [
    (VLNV.replace(":0.", ":7."), VersionMismatch, "has moevit:accel:moevit:7.*one release"),
    ("xilinx.com:ip:axi_gpio:2.0", OverlayIncomplete, "it has xilinx.com:ip:axi_gpio:2.0"),
])
def test_overlay_of_something_else(board, vlnv, error, message):
    with pytest.raises(error, match=message):
        Accelerator(FakeOverlay(board, vlnv))


def test_module_reference(board):
    Accelerator(FakeOverlay(board, "xilinx.com:module_ref:moevit_8x8:1.0")).close()


@pytest.mark.parametrize("magic", [0, 0xFFFF_FFFF])
def test_logic_not_programmed(board, overlay, magic):
    board.answers[offset("MAGIC")] = magic
    for _ in range(2):  # the lock is given back, so the second says the same
        with pytest.raises(NoMachine, match=f"MAGIC reads 0x{magic:08X}"):
            Accelerator(overlay)
    assert not board.log


def test_clock(overlay, board, monkeypatch):
    board.capabilities["REMOTE"] = True  # a board of its own, which has clocks
    found = SimpleNamespace(fclk0_mhz=250.0)
    monkeypatch.setattr(driver.pynq, "Clocks", found)
    with pytest.raises(WrongClock, match="runs at 250 MHz, it was built for 200 MHz"):
        Accelerator(overlay)
    found.fclk0_mhz = 150.0
    Accelerator(overlay).close()


# Memory.

def test_cma_too_small(overlay, board, bundle, tmp_path, monkeypatch):
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 9 kB\nCmaTotal: 131072 kB\nCmaFree: 40 kB\n")
    monkeypatch.setattr(driver, "MEMINFO", str(meminfo))
    with Accelerator(overlay) as accelerator, pytest.raises(OutOfContiguousMemory) as caught:
        accelerator.load(bundle)
    assert "40,960 are free" in str(caught.value) and "cma=128M" in caught.value.fix
    assert caught.value.state["free"] == 40960 < caught.value.state["needed"]
    assert "allocate" not in board.steps


@pytest.mark.parametrize("room", [0, 1, 2])
def test_a_buffer_is_refused(overlay, board, bundle, tiny_image, room):
    with Accelerator(overlay) as accelerator:
        board.room = room
        with pytest.raises(OutOfContiguousMemory, match="BO allocation failed"):
            accelerator.load(bundle)
        assert not board.alive and board.steps.count("allocate") == board.steps.count("free") == room
        board.room = 3
        accelerator.load(bundle)
        accelerator.run(tiny_image, "depth")
    assert not board.alive


# Runs that do not end.

def test_timeout(loaded, board, tiny_image, tokens):
    board.stuck = True
    with pytest.raises(AcceleratorTimeout, match=r"no end after 0\.02 s, at instruction 0 .*run was ended") as caught:
        loaded.run(tiny_image, "depth", timeout=0.02)
    assert {"pc", "address", "finished", "started", "control", "stalls"} <= set(caught.value.state)
    assert board.steps[-1] == "reset"
    board.stuck = False
    np.testing.assert_array_equal(loaded.run_raw(tiny_image, "depth"), tokens["depth"])


def test_the_deadline_is_the_bundles(loaded, bundle):
    assert loaded.deadline == pytest.approx(1 + 10 * bundle.manifest["deadline_cycles"] / 200e6)


def interrupt(_):
    raise KeyboardInterrupt


def test_interrupted(overlay, board, bundle, tiny_image, monkeypatch):
    with Accelerator(overlay) as accelerator:
        accelerator.load(bundle)
        board.stuck = True
        monkeypatch.setattr(time, "sleep", interrupt)
        with pytest.raises(KeyboardInterrupt):
            accelerator.run(tiny_image, "depth")
        assert board.steps[-1] == "reset" and board.alive
    assert not board.alive


def test_memory_of_a_machine_that_cannot_be_stopped_is_kept(overlay, board, bundle, tiny_image, caplog):
    accelerator = Accelerator(overlay)
    accelerator.load(bundle)
    board.stuck = True
    board.answers[offset("CONTROL")] = 4  # idle, but RESET_DONE never comes
    with pytest.raises(AcceleratorTimeout, match="Reload the bitstream"):
        accelerator.run(tiny_image, "depth", timeout=0.01)
    with pytest.raises(Busy, match="cannot be ended"):
        accelerator.load(bundle)
    accelerator.close()
    assert len(board.alive) == 3 and "kept until this process ends" in caplog.text
    board.answers.clear()
    accelerator.close()
    assert not board.alive


def test_such_memory_outlives_the_accelerator(overlay, board, bundle, tiny_image, monkeypatch):
    monkeypatch.setattr(control._log, "disabled", True)  # pytest's records hold the errors, and those the machine

    def left() -> weakref.ref:
        accelerator = Accelerator(overlay)
        accelerator.load(bundle)
        board.stuck = True
        board.answers[offset("CONTROL")] = 4
        with suppress(AcceleratorTimeout):
            accelerator.run(tiny_image, "depth", timeout=0.01)
        return weakref.ref(accelerator.device)

    kept = left()
    gc.collect()
    device = kept()
    assert device is not None
    board.answers.clear()
    Accelerator(device).close()  # it can be reset now, and nothing keeps it any more
    assert device not in control._kept
    device.close()


def test_a_run_left_behind_is_ended_first(overlay, board, bundle):
    board.stuck = board.running = True
    with Accelerator(overlay) as accelerator:
        board.stuck = False
        accelerator.load(bundle)
        assert board.steps[0] == "reset" and board.steps[1] == "allocate"


@pytest.fixture
def loop():
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield loop
    asyncio.set_event_loop(None)
    loop.close()


class Pin:
    """An interrupt that comes at the ``late``-th look."""

    def __init__(self, board, late):
        self.board, self.late, self.waits = board, late, 0

    async def wait(self):
        self.waits += 1
        if self.waits < self.late:
            await asyncio.sleep(60)
        self.board.running = False
        self.board.golden.write_register(0, 1)


@pytest.mark.parametrize("late", [1, 3], ids=["at once", "twice lost"])
def test_interrupt(overlay, board, bundle, tiny_image, tokens, loop, late):
    with Accelerator(overlay) as accelerator:
        accelerator.load(bundle)
        accelerator.device._interrupts, accelerator.device.irq = {"irq": {}}, Pin(board, late)
        accelerator.device._loop = loop
        asyncio.set_event_loop(None)  # as after somebody's asyncio.run()
        board.stuck = True
        np.testing.assert_array_equal(accelerator.run_raw(tiny_image, "depth", timeout=5), tokens["depth"])
        assert accelerator.device.irq.waits == late
        enabled = {offset("INTERRUPT_ENABLE"), offset("INTERRUPT_GLOBAL"), offset("INTERRUPT_STATUS")}
        assert enabled <= set(board.writes)


def test_within_an_event_loop_the_host_polls(loaded, tiny_image, tokens, loop):
    """As in a notebook, whose loop cannot be waited for from a cell."""
    loaded.device._interrupts, loaded.device.irq, loaded.device._loop = {"irq": {}}, None, loop

    async def cell():
        loaded.device.irq = Pin(None, 99)
        return loaded.run_raw(tiny_image, "depth")

    np.testing.assert_array_equal(asyncio.run(cell()), tokens["depth"])
    assert not loaded.device.irq.waits


def test_a_run_whose_bitstream_is_replaced(loaded, overlay, board, tiny_image, monkeypatch):
    """The machine is gone, and so is what could write the memory."""
    board.stuck = True
    monkeypatch.setattr(time, "sleep", lambda _: setattr(overlay, "loaded", False))
    with pytest.raises(StaleOverlay):
        loaded.run(tiny_image, "depth")
    loaded.close()
    assert not board.alive


# One holder.

HOLD = """
import sys, time
from moevit.host.lock import MachineLock
lock = MachineLock(sys.argv[1])
print("held", flush=True)
time.sleep(60)
"""


def test_another_process_has_it(overlay, board):
    name = f"{board.tag}-{CONTROL_BASE:X}"
    other = subprocess.Popen([sys.executable, "-c", HOLD, name], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(AlreadyInUse, match=f"process {other.pid} holds the machine {name}"):
            Accelerator(overlay)
        assert not board.log
    finally:
        other.kill()
        other.communicate()
    Accelerator(overlay).close()  # the kernel has released what a killed process held


def test_twice_in_this_process(loaded, overlay):
    with pytest.raises(AlreadyInUse, match=r"\(this one\).*Call close\(\)"):
        Accelerator(overlay)


def test_lock_is_given_back(tmp_path):
    for _ in range(2):
        lock = MachineLock("a/b", tmp_path)
        assert lock.path.read_text() == str(os.getpid())
        lock.release()
        lock.release()


def test_a_forked_child_does_not_keep_the_lock(tmp_path):
    lock = MachineLock("a", tmp_path)
    child = os.fork()
    if child == 0:
        signal.pause()
    try:
        lock.release()
        MachineLock("a", tmp_path).release()
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_a_lock_that_cannot_be_taken_is_a_typed_error(tmp_path, monkeypatch):
    def refuse(*arguments):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(AlreadyInUse, match="belongs to another user"):
        MachineLock("a", tmp_path)
    monkeypatch.setattr("os.access", lambda *arguments: False)
    with pytest.raises(NotOnBoard, match="no lock can be kept in"):
        MachineLock("a")


# Another bitstream.

def test_another_overlay_is_loaded(loaded, overlay, board, tiny_image):
    overlay.loaded = False
    board.log.clear()
    with pytest.raises(StaleOverlay, match="Load the overlay again"):
        loaded.run(tiny_image, "depth")
    assert not board.log


def test_the_same_bitstream_is_loaded_again(loaded, board, bundle, tiny_image, tokens):
    fresh = GoldenDevice(CONFIG)
    fresh._memory, fresh._ends = board.golden._memory, board.golden._ends
    board.golden = fresh
    with pytest.raises(StaleOverlay, match="PROGRAM_LENGTH reads 0x0"):
        loaded.run(tiny_image, "depth")
    loaded.load(bundle)
    np.testing.assert_array_equal(loaded.run_raw(tiny_image, "depth"), tokens["depth"])
