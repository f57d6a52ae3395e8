# SPDX-License-Identifier: Apache-2.0
"""Patches of any size lie in cells of whole chunks, and the machine computes the integer model's tokens of them."""

import numpy as np
import pytest

from moevit.compiler.assemble import compile_model
from moevit.golden.integer.model import IntegerModel
from moevit.golden.machine.device import GoldenDevice
from moevit.golden.quant import quantise
from moevit.golden.quant.synthetic import synthetic_checkpoint
from moevit.host.runtime import Accelerator
from moevit.spec.arrays import CONFIGS
from moevit.spec.cells import lay_cells
from moevit.spec.isa import Opcode, decode
from moevit.spec.networks import Network


def network(patch: int, height: int, width: int) -> Network:
    return Network(name=f"patch_{patch}", height=height, width=width, patch=patch, dim=32, heads=2, depth=1, hidden=64)


def model_of(net: Network):
    images = np.random.default_rng(1).integers(0, 256, (2, net.height, net.width, 3), dtype=np.uint8)
    return quantise(net, synthetic_checkpoint(net, 1), images, compensate=False), images


def test_cells_by_hand():
    image = np.arange(3 * 2 * 4, dtype=np.uint8).reshape(2, 4, 3)
    cells = lay_cells(image, 2, 3)
    assert cells.shape == (3, 6, 3)
    assert cells[..., 0].tolist() == [[0, 3, 0, 6, 9, 0], [12, 15, 0, 18, 21, 0], [0] * 6]
    np.testing.assert_array_equal(lay_cells(np.stack([image, image + 1]), 2, 3)[1, :2, 3:5], image[:, 2:] + 1)
    assert lay_cells(image, 2, 2) is image


@pytest.mark.parametrize("config, batch", [("8x8", 1), ("8x16", 1), ("32x32", 2), ("64x64", 2)])
@pytest.mark.parametrize("patch, height, width", [(14, 28, 42), (4, 8, 12), (7, 14, 28), (11, 22, 22), (16, 16, 32)])
def test_any_patch_equals_the_integer_model(patch, height, width, config, batch):
    """The cells of a batch lie one below the other."""
    model, images = model_of(network(patch, height, width))
    with Accelerator(GoldenDevice(CONFIGS[config])) as accelerator:
        accelerator.load(compile_model(model, CONFIGS[config], batch=batch))
        found = accelerator.run_raw(images[:batch], "tokens")
    for image, tokens in zip(images[:batch], found, strict=True):
        np.testing.assert_array_equal(tokens, IntegerModel(model).run(image).tokens)


def test_lines_beyond_the_patch_are_not_multiplied():
    """A cell of patch 14 has 16 lines of 48 values, of which the pass takes 14: 84 words of 8, not 96."""
    bundle = compile_model(model_of(network(14, 28, 42))[0], CONFIGS["8x8"])
    fields = [decode(words) for words in np.frombuffer(bundle.program, "<u4").reshape(-1, 16)]
    image, embed = fields[0], fields[2]
    assert (image["opcode"], image["patch"], image["segment"], image["region_beats"]) == (Opcode.IMAGE, 16, 6, 6 * 96)
    assert (embed["k_tiles"], embed["source_stride"]) == (84, 96)
    assert bundle.manifest["image"] == {"height": 28, "width": 42, "patch": 14, "cell": 16}
    assert bundle.manifest["instructions"][2]["macs_per_row"] == 3 * 14 * 14 * 32
