# SPDX-License-Identifier: Apache-2.0
"""The driver on a board that is a golden machine under pynq's own classes: overlays, memory, bitstreams."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from moevit import host
from moevit.golden.machine import device as golden_device
from moevit.golden.machine.device import GoldenDevice
from moevit.host.errors import (
    AccelError,
    NoMachine,
    NotOnBoard,
    OutOfContiguousMemory,
    OverlayIncomplete,
    StaleOverlay,
    VersionMismatch,
    WrongClock,
)
from moevit.host.runtime import Accelerator
from moevit.spec.ip import CONTROL_BASE, VLNV
from moevit.spec.registers import offset

from ..board import CONFIG, FakeBoard, FakeOverlay

driver = pytest.importorskip("moevit.host.pynq")
FOLDER = Path(next(iter(host.__path__)))


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
    """The fake cache shows a missing flush or invalidate."""
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
