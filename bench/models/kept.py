# SPDX-License-Identifier: Apache-2.0
"""Arrays that take long to make, kept on disk in pieces. A stopped run continues with the next piece."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType

import numpy as np

from moevit.kit.npz import read_npz, write_npz

__all__ = ["PIECE", "digest", "kept_arrays", "sources"]

PIECE = 16  # pictures

Arrays = dict[str, np.ndarray]
#: Yields, one after the other, the arrays of each range [start, stop). The first axis of an array counts pictures; an
#: array may have fewer of them.
Make = Callable[[Sequence[tuple[int, int]]], Iterator[Arrays]]


def digest(*parts: object) -> str:
    """A hash of bytes, arrays (with type and shape), and anything that JSON can write."""
    found = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            found.update(json.dumps([str(part.dtype), part.shape]).encode())
            part = part.tobytes()
        content = part if isinstance(part, bytes) else json.dumps(part).encode()
        found.update(len(content).to_bytes(8, "little") + content)
    return found.hexdigest()[:20]


def sources(*packages: ModuleType) -> str:
    """A hash of all Python files in these packages and below."""
    folders = [Path(next(iter(package.__path__))) for package in packages]
    paths = [path for folder in folders for path in sorted(folder.rglob("*.py"))]
    return digest(*(path.read_bytes() for path in paths))


def kept_arrays(folder: Path, count: int, make: Make, done: Callable[[int], None] = lambda places: None) -> Arrays:
    """The arrays of ``count`` pictures. Pieces that exist in ``folder`` are read, the others are made and kept.

    ``done`` is called with the number of pictures of each piece.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = {(start, min(start + PIECE, count)): folder / f"{start}-{min(start + PIECE, count)}.npz"
             for start in range(0, count, PIECE)}
    missing = [limits for limits, path in paths.items() if not path.exists()]
    done(sum(stop - start for start, stop in paths.keys() - missing))
    for limits, arrays in zip(missing, make(missing), strict=True):
        partial = paths[limits].with_suffix(f".{os.getpid()}.partial")  # two runs may share a folder
        write_npz(partial, arrays)
        partial.replace(paths[limits])
        done(limits[1] - limits[0])
    pieces = [read_npz(path) for path in paths.values()]
    return {name: np.concatenate([piece[name] for piece in pieces]) for name in (pieces[0] if pieces else {})}
