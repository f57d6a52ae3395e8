# SPDX-License-Identifier: Apache-2.0
"""Constants of a source moved into its weights, in float64: exact in real arithmetic."""

from collections.abc import Sequence

import torch
from torch import Tensor

from .options import Preprocess

__all__ = ["join", "kernel_from_linear", "normalisation", "scale_outputs"]


def normalisation(kernel: Tensor, bias: Tensor, how: Preprocess) -> tuple[Tensor, Tensor]:
    """A patch embedding of ``(u8 / 255 - mean) / std`` as one of ``u8 / 256``, which the machine reads.

    kernel (dim, 3, patch, patch), bias (dim,). With p = u8 / 256 the input is ``(p * 256 / 255 - mean) / std``.
    """
    mean, std = (torch.tensor(values, dtype=torch.float64).reshape(1, 3, 1, 1) for values in (how.mean, how.std))
    return kernel * (256 / 255 / std), bias - (kernel * (mean / std)).sum((1, 2, 3))


def scale_outputs(weight: Tensor, bias: Tensor, gain: Tensor) -> tuple[Tensor, Tensor]:
    """LayerScale: ``gain * (weight x + bias)``. weight (outputs, inputs), bias and gain (outputs,)."""
    return weight * gain[:, None], bias * gain


def join(parts: Sequence[Tensor]) -> Tensor:
    """Separate q, k and v, rows one below the other: (3 dim, dim), or (3 dim,) of biases."""
    return torch.cat(list(parts))


def kernel_from_linear(weight: Tensor, patch: int, channels_last: bool = False) -> Tensor:
    """A patch kernel (dim, 3, patch, patch) of a linear layer over flattened patches (dim, 3 patch^2).

    ``channels_last`` says that a patch was flattened row, column, channel; else channel, row, column.
    """
    if channels_last:
        return weight.unflatten(1, (patch, patch, 3)).permute(0, 3, 1, 2)
    return weight.unflatten(1, (3, patch, patch))
