# SPDX-License-Identifier: Apache-2.0
"""Moves constants of a source into its weights in float64. The results are equal in real arithmetic."""

from collections.abc import Sequence

import torch
from torch import Tensor

from .options import Preprocess

__all__ = ["join", "kernel_from_linear", "normalisation", "padding", "scale_outputs"]


def normalisation(kernel: Tensor, bias: Tensor, how: Preprocess) -> tuple[Tensor, Tensor]:
    """Turn a patch embedding of ``(u8 / 255 - mean) / std`` into one of ``u8 / 256``, which the machine reads.

    kernel (dim, 3, patch, patch), bias (dim,). With p = u8 / 256 the input is ``(p * 256 / 255 - mean) / std``.
    """
    mean, std = (torch.tensor(values, dtype=torch.float64).reshape(1, 3, 1, 1) for values in (how.mean, how.std))
    return kernel * (256 / 255 / std), bias - (kernel * (mean / std)).sum((1, 2, 3))


def padding(kernel: Tensor, how: Preprocess, grid: tuple[int, int]) -> Tensor:
    """The correction (1, patches, dim) of the positions for a source that pads its normalised picture with zeros.

    The machine's image has black there, which normalises to ``-mean / std``. The correction gives the patches of the
    first row and column what they lack. kernel (dim, 3, patch, patch) is of normalised pixels.
    """
    weighed = kernel * torch.tensor([m / s for m, s in zip(how.mean, how.std, strict=True)],
                                    dtype=kernel.dtype).reshape(1, 3, 1, 1)
    patch = kernel.shape[-1]
    padded = torch.zeros(*grid, patch, patch, dtype=kernel.dtype)
    padded[0, :, :how.pad] = 1
    padded[:, 0, :, :how.pad] = 1
    return torch.einsum("dchw,ijhw->ijd", weighed, padded).flatten(0, 1)[None]


def scale_outputs(weight: Tensor, bias: Tensor, gain: Tensor) -> tuple[Tensor, Tensor]:
    """Fold LayerScale: ``gain * (weight x + bias)``. weight (outputs, inputs), bias and gain (outputs,)."""
    return weight * gain[:, None], bias * gain


def join(parts: Sequence[Tensor]) -> Tensor:
    """Separate q, k and v, one below the other: (3 dim, dim), or (3 dim,) for biases."""
    return torch.cat(list(parts))


def kernel_from_linear(weight: Tensor, patch: int, channels_last: bool = False) -> Tensor:
    """The patch kernel (dim, 3, patch, patch) of a linear layer (dim, 3 patch^2) over flattened patches.

    With ``channels_last`` a patch was flattened as row, column, channel; else as channel, row, column.
    """
    if channels_last:
        return weight.unflatten(1, (patch, patch, 3)).permute(0, 3, 1, 2)
    return weight.unflatten(1, (3, patch, patch))
