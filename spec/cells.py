# SPDX-License-Identifier: Apache-2.0
"""Patches in cells: how an image lies in memory where a side of a patch is no multiple of 8 pixels.

The machine reads a line of a patch in chunks of 8 bytes. So the host lays a patch of 14 x 14 pixels into a cell of
16 x 16, whose pixels beyond the patch are zero, as the compiler's weights for them are (`Network.cell`).
"""

import numpy as np

__all__ = ["lay_cells"]


def lay_cells(images: np.ndarray, patch: int, cell: int) -> np.ndarray:
    """Images (..., H, W, 3) -> (..., H / patch x cell, W / patch x cell, 3): each patch in the upper left corner of its
    cell. H and W are multiples of ``patch``. The images themselves, not a copy, where a cell is a patch."""
    if cell == patch:
        return images
    *batch, height, width, colours = images.shape
    down, across = height // patch, width // patch
    cells = np.zeros((*batch, down, cell, across, cell, colours), images.dtype)
    cells[..., :patch, :, :patch, :] = images.reshape(*batch, down, patch, across, patch, colours)
    return cells.reshape(*batch, down * cell, across * cell, colours)
