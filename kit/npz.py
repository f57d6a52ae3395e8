# SPDX-License-Identifier: Apache-2.0
"""Reading and writing a ``.npz`` of plain arrays, with one error for everything that can be wrong with the file."""

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np

__all__ = ["NpzError", "read_npz", "write_npz"]


class NpzError(ValueError):
    """A file that is absent, damaged, or no ``.npz`` of plain arrays.

    Fix: check the path, and make or copy the file again.
    """


def read_npz(source: str | Path | BinaryIO) -> dict[str, np.ndarray]:
    """All arrays of a ``.npz``, by name. Nothing in the file is executed (no pickle). Raises NpzError."""
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


def write_npz(path: str | Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write ``arrays`` to exactly ``path``; ``np.savez`` would append ``.npz`` to a name. Raises OSError."""
    with open(path, "wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]  # numpy 1.26 stubs
