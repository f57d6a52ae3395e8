# SPDX-License-Identifier: Apache-2.0
"""Test scenes with the tokens of the float and of the integer model.

Arrays: ``images`` u8 (S, H, W, 3), labels ``semseg`` and ``depth`` (S, patches), and for each task tokens (S, N, D)
``float_<task>`` f32 and ``integer_<task>`` s16.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from moevit.golden.integer.model import IntegerModel
from moevit.golden.reference import CheckpointError, checkpoint, pixels
from moevit.spec.networks import NETWORKS
from moevit.spec.quantised import QuantisedModel

from .scenes import Scenes

__all__ = ["prepare"]


def prepare(model: QuantisedModel, weights: Path, first: int, count: int,
            watch: Callable[[str], None] = lambda task: None) -> dict[str, np.ndarray]:
    """The arrays for test scenes ``first .. first + count - 1``.

    ``watch`` is called with the task after each scene of the integer model. Raises CheckpointError for another network
    than the demo's, OSError.
    """
    for network in (model.network, checkpoint.read(weights).network):
        if network != NETWORKS["demo"]:
            raise CheckpointError(f"scenes are for network demo, not for {network.name}: take its model and weights")
    images, semseg, depth = Scenes("test").batch(first, count)
    arrays: dict[str, np.ndarray] = {"images": images, "semseg": semseg, "depth": depth}
    integer, reference = IntegerModel(model), checkpoint.load(weights)
    for index, task in enumerate(model.network.tasks):
        with torch.no_grad():
            arrays[f"float_{task}"] = reference(pixels(images), task).numpy()
        tokens = []
        for image in images:
            tokens.append(integer.run(image, index).tokens)
            watch(task)
        arrays[f"integer_{task}"] = np.stack(tokens).astype(np.int16)
    return arrays
