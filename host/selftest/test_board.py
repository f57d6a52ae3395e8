# SPDX-License-Identifier: Apache-2.0
"""The runtime over registers alone, everywhere; the shipped demo on the board, where one is."""

from pathlib import Path

import numpy as np
import pytest

from moevit.host.doctor import examine
from moevit.host.errors import NoMachine
from moevit.host.runtime import Accelerator
from moevit.kit.npz import read_npz
from moevit.spec.bundle import Bundle
from moevit.spec.registers import offset

from .fake import FakeDevice, fake_bundle


def test_runs_over_registers_alone():
    device, image = FakeDevice(), np.zeros((8, 8, 3), np.uint8)
    with Accelerator(device) as accelerator:
        accelerator.load(fake_bundle())
        np.testing.assert_array_equal(accelerator.run(image, "one"), np.full((1, 8), 0x0101))
        device.writes.clear()
        accelerator.run(image, "two")
        assert device.writes == [offset("GATES_LOW"), offset("CONTROL")]
        assert [tokens[0, 0] for tokens in accelerator.stream([image] * 3, "one")] == [0x0303, 0x0404, 0x0505]
    assert all(not len(buffer.array) for buffer in device.buffers)


def test_logic_that_is_not_there_is_named():
    device = FakeDevice()
    device.registers[offset("MAGIC")] = 0
    with pytest.raises(NoMachine, match="MAGIC reads 0x00000000"):
        Accelerator(device)


def test_demo_on_the_board():
    """Every value of the shipped scenes equals the integer model's."""
    folder = Path()
    missing = [f"{each.what} ({each.found})" for each in examine(folder) if each.fix and each.essential]
    if missing:
        pytest.skip(f"not on a board with an overlay: {', '.join(missing)}")
    bundles = sorted(folder.glob("*.bundle"))
    if not bundles or not (folder / "scenes.npz").exists():
        pytest.skip(f"no .bundle and scenes.npz in {folder.resolve()}: run it in the folder of the release archive")
    bundle, scenes = Bundle.load(bundles[0]), read_npz(folder / "scenes.npz")
    with Accelerator(next(folder.glob("*.bit")).resolve()) as accelerator:
        accelerator.load(bundle)
        for task in bundle.tasks:
            for image, wanted in zip(scenes["images"], scenes[f"integer_{task}"], strict=True):
                np.testing.assert_array_equal(accelerator.run_raw(image, task), wanted)
