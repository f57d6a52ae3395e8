# SPDX-License-Identifier: Apache-2.0
"""Where a command is to write: looked at before the minutes of work, not after."""

from pathlib import Path

__all__ = ["make_room"]


def make_room(path: Path) -> None:
    """Make the folder of a file that will be written, and see that it can be. What the file holds stays as it is.

    Raises OSError, which names the file.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.touch()
            path.unlink()
    except OSError as error:
        raise OSError(f"{path} cannot be written: {error}") from error
