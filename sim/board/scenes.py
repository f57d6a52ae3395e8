# SPDX-License-Identifier: Apache-2.0
"""Files of scenes: images with the integer model's tokens."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from moevit.host.errors import WrongInput
from moevit.kit.npz import NpzError, read_npz
from moevit.spec.arrays import CONFIGS
from moevit.spec.bundle import Bundle

__all__ = ["read_scenes"]


def read_scenes(path: Path, bundle: Bundle, tasks: Sequence[str]) -> dict[str, np.ndarray]:
    """The arrays of a file of scenes. Raises WrongInput unless they fit ``bundle``, before the minutes of a build."""
    manifest = bundle.manifest
    try:
        arrays = read_npz(path)
    except NpzError as error:
        raise WrongInput(f"{path}: {error}") from error
    if manifest["config"] not in CONFIGS:
        raise WrongInput(f"the bundle is for configuration {manifest['config']}", fix=f"There are {', '.join(CONFIGS)}")
    for task in tasks:
        if task not in bundle.tasks:
            raise WrongInput(f"no task is called {task!r}", fix=f"The tasks are {', '.join(bundle.tasks)}")
    shape = (manifest["image"]["height"], manifest["image"]["width"], 3)
    images = arrays.get("images", np.zeros(0))
    if images.shape[1:] != shape or images.dtype != np.uint8 or not len(images):
        raise WrongInput(f"{path}: images are {images.dtype}{list(images.shape)}, the network takes uint8 "
                         f"{['scenes', *shape]}")
    if len(images) % manifest["batch"]:
        raise WrongInput(f"{path}: {len(images)} scenes are no whole batches of {manifest['batch']}",
                         fix="Compile with a --batch that divides them")
    wanted = (len(images), manifest["output"]["tokens"], manifest["output"]["dim"])
    for name in (f"integer_{task}" for task in tasks):
        if name in arrays and (arrays[name].shape != wanted or arrays[name].dtype.kind not in "iu"):
            raise WrongInput(f"{path}: {name} is {arrays[name].dtype}{list(arrays[name].shape)}, the machine writes "
                             f"int16{list(wanted)}")
    return arrays
