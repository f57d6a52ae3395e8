# SPDX-License-Identifier: Apache-2.0
"""Learned positions on another grid of patches, resampled as each library does it: bicubic, with or without
antialiasing."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isqrt

import torch
import torch.nn.functional as F
from torch import Tensor

from .errors import BadTensor
from .missing import Missing
from .options import Options

__all__ = ["DINOV2", "DINOV2_REGISTERS", "HUGGING_FACE", "HUGGING_FACE_REGISTERS", "TIMM", "TORCHVISION", "Resampling",
           "find_grid", "resample"]


@dataclass(frozen=True)
class Resampling:
    """Arguments of ``torch.nn.functional.interpolate``. A nonzero ``offset`` is added to the new size, and their ratio
    to the old size is passed as the scale factor."""

    library: str
    antialias: bool
    align_corners: bool = False
    offset: float = 0.0


TIMM = Resampling("timm", antialias=True)
HUGGING_FACE = Resampling("transformers", antialias=False)
HUGGING_FACE_REGISTERS = Resampling("transformers (DINOv2 with registers)", antialias=True)
TORCHVISION = Resampling("torchvision", antialias=False, align_corners=True)
#: facebookresearch/dinov2 hub: ``interpolate_offset=0.1``; with registers 0.0 and antialiasing.
DINOV2 = Resampling("facebookresearch/dinov2", antialias=False, offset=0.1)
DINOV2_REGISTERS = Resampling("facebookresearch/dinov2", antialias=True)


def resample(positions: Tensor, old: tuple[int, int], new: tuple[int, int], how: Resampling) -> Tensor:
    """``positions`` (1, prefix + old rows x columns, dim) for the grid ``new``. The rows of prefix tokens stay.

    It computes in float32, as the libraries do. Equal grids return ``positions`` itself.
    """
    if old == new:
        return positions
    prefix = positions.shape[1] - old[0] * old[1]
    image = positions[:, prefix:].float().unflatten(1, old).permute(0, 3, 1, 2)
    where = ({"scale_factor": tuple((n + how.offset) / o for n, o in zip(new, old, strict=True))} if how.offset
             else {"size": new})
    image = F.interpolate(image, mode="bicubic", antialias=how.antialias, align_corners=how.align_corners, **where)
    return torch.cat([positions[:, :prefix], image.permute(0, 2, 3, 1).flatten(1, 2).to(positions.dtype)], dim=1)


def find_grid(name: str, rows: int, prefixes: Sequence[int], patch: int,
              options: Options, missing: Missing,
              trained: tuple[int, int] | None = None) -> tuple[tuple[int, int], int]:
    """The grid of ``rows`` positions, and how many of them belong to prefix tokens (one of ``prefixes``).

    ``--grid`` decides. Without it, the ``trained`` image (pixels) of a configuration or the requested image decides, if
    its number of patches fits. Otherwise the grid must be a square. If it is none, ``--grid`` is ``missing`` and one
    row of patches stands in. Raises BadTensor.
    """
    if options.grid is not None:
        height, width = options.grid
        if rows - height * width not in prefixes:
            raise BadTensor(f"{name} has {rows} rows, --grid {height}x{width} and {_either(prefixes)} prefix tokens "
                            f"ask for {_either([height * width + prefix for prefix in prefixes])}")
        return options.grid, rows - height * width
    for image in filter(None, (trained, options.image)):
        height, width = image[0] // patch, image[1] // patch
        if rows - height * width in prefixes:
            return (height, width), rows - height * width
    squares = [prefix for prefix in sorted(set(prefixes))
               if rows > prefix and isqrt(rows - prefix) ** 2 == rows - prefix]
    if len(squares) != 1:
        missing.add("--grid", f"{name} has {rows} rows for patches and {_either(prefixes)} prefix tokens, which is "
                              f"{'no square' if not squares else 'a square in more than one way'}")
        return (1, rows - prefixes[0]), prefixes[0]
    side = isqrt(rows - squares[0])
    return (side, side), squares[0]


def _either(numbers: Sequence[int]) -> str:
    return " or ".join(str(number) for number in sorted(set(numbers)))
