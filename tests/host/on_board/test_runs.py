# SPDX-License-Identifier: Apache-2.0
"""Runs on the board that do not end, that are interrupted, or that wait for the machine's interrupt."""

import asyncio
import gc
import time
import weakref
from contextlib import suppress

import numpy as np
import pytest

from moevit.host import control
from moevit.host.errors import AcceleratorTimeout, Busy, StaleOverlay
from moevit.host.runtime import Accelerator
from moevit.spec.registers import offset


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
    """An interrupt that comes at wait number ``late``."""

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
    """As in a notebook: a cell cannot wait for the loop that runs it."""
    loaded.device._interrupts, loaded.device.irq, loaded.device._loop = {"irq": {}}, None, loop

    async def cell():
        loaded.device.irq = Pin(None, 99)
        return loaded.run_raw(tiny_image, "depth")

    np.testing.assert_array_equal(asyncio.run(cell()), tokens["depth"])
    assert not loaded.device.irq.waits


def test_a_run_whose_bitstream_is_replaced(loaded, overlay, board, tiny_image, monkeypatch):
    """The machine is gone, so nothing can write the memory."""
    board.stuck = True
    monkeypatch.setattr(time, "sleep", lambda _: setattr(overlay, "loaded", False))
    with pytest.raises(StaleOverlay):
        loaded.run(tiny_image, "depth")
    loaded.close()
    assert not board.alive
