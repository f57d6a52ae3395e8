# SPDX-License-Identifier: Apache-2.0
"""Patches in cells: how an image lies in memory if the side of a patch is no multiple of 8 pixels.

The machine reads a line of a patch in chunks of 8 bytes. So the host lays a patch of 14 x 14 pixels into a cell of
16 x 16 pixels (`Network.cell`). The pixels beyond the patch are zero, and so are the compiler's weights for them.
"""

import numpy as np

__all__ = ["lay_cells"]


def lay_cells(images: np.ndarray, patch: int, cell: int) -> np.ndarray:
    """Images (..., H, W, 3) as (..., H / patch x cell, W / patch x cell, 3): each patch in the upper left corner of its
    cell. H and W are multiples of ``patch``. If a cell is a patch, the result is ``images`` itself, not a copy."""
    if cell == patch:
        return images
    *batch, height, width, colours = images.shape
    down, across = height // patch, width // patch
    cells = np.zeros((*batch, down, cell, across, cell, colours), images.dtype)
    cells[..., :patch, :, :patch, :] = images.reshape(*batch, down, patch, across, patch, colours)
    return cells.reshape(*batch, down * cell, across * cell, colours)
