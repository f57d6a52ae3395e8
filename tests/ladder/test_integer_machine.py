# SPDX-License-Identifier: Apache-2.0
"""Rung 2: the integer model and the golden machine agree in every token, for every network and task."""

import numpy as np
import pytest

from moevit.compiler.assemble import compile_model
from moevit.golden.integer.model import IntegerModel
from moevit.golden.machine.device import GoldenDevice
from moevit.host.runtime import Accelerator
from moevit.spec.arrays import CONFIGS

from ..conftest import model_of, random_image

CASES = [("tiny_test", name) for name in CONFIGS] + [
    ("demo", "16x16"), ("demo", "32x64"), ("m3vit_tiny", "16x16"), ("m3vit_tiny", "32x64"), ("m3vit_small", "64x64"),
    ("deit_tiny", "32x32"), ("deit_small", "64x64"),
]


@pytest.mark.parametrize("network, config", CASES, ids=["-".join(case) for case in CASES])
def test_integer_model_equals_golden_machine(network, config):
    model, image = model_of(network), random_image(network)
    integer = IntegerModel(model)
    with Accelerator(GoldenDevice(CONFIGS[config], 1 << 27)) as accelerator:
        accelerator.load(compile_model(model, CONFIGS[config]))
        for index, task in enumerate(model.network.tasks):
            frame = integer.run(image, index)
            np.testing.assert_array_equal(accelerator.run_raw(image, task), frame.tokens)
            assert accelerator.last_run.counters["SATURATED"] == sum(frame.saturated.values())
