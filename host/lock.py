# SPDX-License-Identifier: Apache-2.0
"""One holder per machine: a lock file that the kernel releases when the process ends in any way."""

import fcntl
import os
import re
import tempfile
from pathlib import Path
from typing import IO

from .errors import AlreadyInUse, NotOnBoard

__all__ = ["MachineLock"]

_PLACES = (Path("/run/lock"), Path(tempfile.gettempdir()))


class MachineLock:
    """Holds the machine ``name`` (its board and control address) until ``release``.

    The file ``moevit-<name>.lock`` has the process id of the holder, for the error message of a second process. Raises
    AlreadyInUse, also for a file of another user, and NotOnBoard if no folder can hold a lock.
    """

    def __init__(self, name: str, folder: Path | None = None):
        if folder is None:
            folder = next((place for place in _PLACES if os.access(place, os.W_OK)), None)
        if folder is None:
            raise NotOnBoard(f"no lock can be kept in {' or '.join(map(str, _PLACES))}",
                             fix="Make one of these folders writable")
        self.path = folder / f"moevit-{re.sub('[^A-Za-z0-9_.]', '-', name)}.lock"
        try:
            self._file: IO[str] | None = open(self.path, "a+")  # keeps what the holder wrote
        except PermissionError as error:
            raise AlreadyInUse(f"{self.path} belongs to another user, who may hold the machine {name}",
                               lock=str(self.path), fix="Run as that user or as root, or remove the file") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.seek(0)
            holder = self._file.read().strip() or "unknown"
            self._file.close()
            own = holder == str(os.getpid())
            raise AlreadyInUse(
                f"process {holder}{' (this one)' if own else ''} holds the machine {name}", holder=holder,
                lock=str(self.path),
                fix="Call close() on the Accelerator that has it" if own else f"End it, or wait: kill {holder}",
            ) from error
        self._file.truncate(0)
        self._file.write(str(os.getpid()))
        self._file.flush()

    def release(self) -> None:
        """Give the machine up; may be called twice. The file stays, because a waiting process has it open."""
        if self._file is not None:
            fcntl.flock(self._file, fcntl.LOCK_UN)  # a child that was forked meanwhile has the file open too
            self._file.close()
            self._file = None
