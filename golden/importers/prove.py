# SPDX-License-Identifier: Apache-2.0
"""The proof of an import: compares the float model with the source's own model on one picture."""

import numpy as np
import torch
from torch import Tensor

from moevit.golden.reference import M3ViT, pixels

from .errors import NotProved
from .family import Original
from .libraries import first_line
from .options import Preprocess
from .report import Report

__all__ = ["normalised", "padded", "prove", "test_picture"]


def test_picture(height: int, width: int) -> np.ndarray:
    """An image u8 (1, H, W, 3) with all spatial frequencies: seeded noise on slow waves of colour."""
    rng = np.random.default_rng(20)
    row, column = np.mgrid[0:height, 0:width]
    waves = [np.sin(row / height * 7 + phase) + np.cos(column / width * 5 + 2 * phase) for phase in range(3)]
    image = 128 + 40 * np.stack(waves, -1) + 20 * rng.standard_normal((height, width, 3))
    return image.clip(0, 255).astype(np.uint8)[None]


def normalised(images: np.ndarray, how: Preprocess) -> Tensor:
    """Images u8 (B, H, W, 3) as the source's model takes them: float32 (B, 3, H, W), ``(u8 / 255 - mean) / std``."""
    mean, std = (np.asarray(values).reshape(3, 1, 1) for values in (how.mean, how.std))
    return torch.from_numpy(((images.transpose(0, 3, 1, 2) / 255 - mean) / std).astype(np.float32))


def padded(images: np.ndarray, pad: int) -> np.ndarray:
    """Images (B, H, W, 3) moved down and right by ``pad`` pixels. The space is black, the other end is cut."""
    height, width = images.shape[1:3]
    return np.pad(images, ((0, 0), (pad, 0), (pad, 0), (0, 0)))[:, :height, :width]


@torch.no_grad()
def prove(model: M3ViT, original: Original, how: Preprocess, report: Report) -> None:
    """Compare the final tokens (after the norm, if there is one) of each task. The worst agreement counts.

    The result goes into ``report``. Raises NotProved if the source's model gives tokens of another shape.
    """
    network = model.network
    image = test_picture(network.height, network.width)
    least = np.inf
    for task in range(len(network.tasks)):
        want = _original_tokens(original, normalised(image, how), task)
        got = model(pixels(padded(image, how.pad)), task).double()
        if got.shape != want.shape:
            raise NotProved(f"the source's model gives tokens {tuple(want.shape)}, the float model {tuple(got.shape)}")
        error, signal = (got - want).square().sum().item(), want.square().sum().item()
        least = min(least, 10 * np.log10(signal / error) if error else np.inf)
    report.proof_db = float(least)
    report.say("proof", f"tokens equal the source's own model to {least:.0f} dB on one picture")


def _original_tokens(original: Original, image: Tensor, task: int) -> Tensor:
    try:
        return original(image, task).double()
    except NotProved:
        raise
    except Exception as error:  # an error of another library is no reason to refuse the weights
        raise NotProved(f"the source's own model does not run: {first_line(error)}") from error
