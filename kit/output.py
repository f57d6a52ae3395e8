# SPDX-License-Identifier: Apache-2.0
"""Checks that a command can write its output, before the minutes of work and not after."""

import os
from errno import EACCES
from pathlib import Path

__all__ = ["make_room"]


def make_room(path: Path) -> None:
    """Make the folder of ``path``, and check that the file can be written. An existing file keeps its content.

    Raises OSError, which names the file.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.touch()
            path.unlink()
        elif not os.access(path, os.W_OK):
            raise PermissionError(EACCES, os.strerror(EACCES))
    except OSError as error:
        raise OSError(f"{path} cannot be written: {error}") from error
