# SPDX-License-Identifier: Apache-2.0
"""Ends of a build: one exit code per cause. The Tcl scripts get the same numbers."""

from enum import IntEnum

__all__ = ["ExitCode", "VivadoError"]


class ExitCode(IntEnum):
    """Exit codes of ``moevit bitstream`` and ``moevit ooc``. Code 2 is for errors of the command line."""

    DONE = 0
    NO_VIVADO = 10  #: no vivado on PATH
    OLD_VIVADO = 11  #: older than the oldest version that the scripts support
    PATH = 12  #: Vivado cannot work in the path of the output folder, it cannot be written, or another build has it
    DISK = 13  #: too little room
    MEMORY = 14  #: too little memory
    NO_PART = 15  #: the device is not installed
    LICENCE = 16  #: no licence for the device
    BOARD_FILES = 17  #: the board's files were asked for and are not there
    PORTS = 18  #: the machine has more memory ports than the board
    DOES_NOT_FIT = 20  #: the design needs more than the device has, or wider multipliers
    TIMING = 21  #: negative slack, or no timing path at all
    KILLED = 22  #: Vivado was killed, mostly because memory ran out
    INCOMPLETE = 23  #: a run stopped before its end
    NO_ARTEFACT = 24  #: Vivado reports success, but a file of its result is missing or damaged
    SCRIPT = 25  #: an error in a script, or an unknown one
    INTERRUPTED = 130  #: stopped by the user


class VivadoError(RuntimeError):
    """A build that has ended: ``code`` for the shell, ``cause``, and ``fix``, which says what to do."""

    def __init__(self, code: ExitCode, cause: str, fix: str = ""):
        super().__init__(f"{cause}. {fix}".strip() if fix else cause)
        self.code, self.cause, self.fix = code, cause, fix
