# SPDX-License-Identifier: Apache-2.0
"""Reading a ``.npz`` of plain arrays: whatever is wrong with the file, there is one error."""

import zipfile
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np

__all__ = ["NpzError", "read_npz"]


class NpzError(ValueError):
    """A file that is absent, damaged, or no ``.npz`` of plain arrays. Who reads it says which file."""


def read_npz(source: str | Path | BinaryIO) -> dict[str, np.ndarray]:
    """All arrays of a ``.npz``, by name; nothing of it is executed (no pickle). Raises NpzError."""
    try:
        if isinstance(source, str | Path):
            with open(source, "rb") as opened:  # a damaged file stays open in np.load
                return read_npz(opened)
        arrays = np.load(source, allow_pickle=False)
        if isinstance(arrays, np.ndarray):
            raise NpzError("one array (.npy), not an .npz")
        with arrays:
            return dict(arrays)
    except (OSError, EOFError, ValueError, KeyError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        if isinstance(error, NpzError):
            raise
        raise NpzError(f"not a readable .npz: {error}") from error
