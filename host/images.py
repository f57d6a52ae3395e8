# SPDX-License-Identifier: Apache-2.0
"""Inputs and outputs of a run: checks of images and timeouts, and tokens of the machine's words."""

from numbers import Real
from typing import Any

import numpy as np

from moevit.spec.bundle import Bundle

from .errors import WrongInput

__all__ = ["check_images", "check_timeout", "tokens_of"]

_LONGEST = 1_000_000  # seconds
_FIX = "Scale it to the network's size and convert it with numpy to whole numbers 0..255 of type uint8"


def check_images(bundle: Bundle, images: Any) -> None:
    """Raises WrongInput unless ``images`` are u8 (batch, height, width, 3) as ``bundle`` takes them. A batch of one may
    lack the axis."""
    batch, size = bundle.manifest["batch"], bundle.manifest["image"]
    shape = (size["height"], size["width"], 3)
    wanted = f"uint8{list(shape)}" if batch == 1 else f"uint8{[batch, *shape]}"
    if not isinstance(images, np.ndarray):
        raise WrongInput(f"the image is a {type(images).__name__}, the network takes an array {wanted}", fix=_FIX)
    if images.shape[-3:] != shape or images.ndim > 4 or images.dtype != np.uint8:
        raise WrongInput(f"the image is {images.dtype}{list(images.shape)}, the network takes {wanted}", fix=_FIX)
    given = len(images) if images.ndim == 4 else 1
    if given != batch:
        raise WrongInput(f"{given} image{'s' * (given != 1)}, the bundle was compiled for a batch of {batch}",
                         fix=f"Run {wanted}" + (f", or compile with --batch {given}" if given else ""))


def check_timeout(timeout: Any) -> None:
    """Raises WrongInput unless ``timeout`` is None or a number of seconds."""
    number = isinstance(timeout, Real) and not isinstance(timeout, bool)
    if timeout is not None and not (number and 0 <= timeout <= _LONGEST):
        raise WrongInput(f"a timeout of {timeout!r} is no number of seconds from 0 to {_LONGEST:,}",
                         fix="Leave it out for the bundle's own deadline")


def tokens_of(bundle: Bundle, output: np.ndarray, batch_axis: bool) -> np.ndarray:
    """Tokens s16 ([batch,] tokens, dim) of the bytes u8 that the machine wrote, without the padding of its words."""
    out = bundle.manifest["output"]
    rows = output.view("<i2").reshape(bundle.manifest["batch"], out["tokens"], out["words"] * out["lanes"])
    tokens = rows[..., :out["dim"]]
    return tokens if batch_axis else tokens[0]
