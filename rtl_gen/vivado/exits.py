# SPDX-License-Identifier: Apache-2.0
"""How a build can end: one exit code per cause. The Tcl scripts are given the same numbers."""

from enum import IntEnum

__all__ = ["ExitCode", "VivadoError"]


class ExitCode(IntEnum):
    """Exit codes of ``moevit bitstream`` and ``moevit ooc``. 2 is left to the command line's own errors."""

    DONE = 0
    NO_VIVADO = 10  #: no vivado on PATH
    OLD_VIVADO = 11  #: older than the oldest that the scripts are written for
    PATH = 12  #: the output folder has a path that Vivado cannot bear, cannot be written, or another build has it
    DISK = 13  #: too little room
    MEMORY = 14  #: too little memory
    NO_PART = 15  #: the device is not installed
    LICENCE = 16  #: no licence for the device
    BOARD_FILES = 17  #: the board's files were asked for and are not there
    PORTS = 18  #: the machine has more memory ports than the board
    DOES_NOT_FIT = 20  #: the design needs more than the device has, or wider multipliers
    TIMING = 21  #: negative slack, or no timing path at all
    KILLED = 22  #: Vivado was killed, mostly for want of memory
    INCOMPLETE = 23  #: a run stopped before its end
    NO_ARTEFACT = 24  #: Vivado says that it is done, and what it should have written is missing or damaged
    SCRIPT = 25  #: an error in a script, or one that nothing here knows
    INTERRUPTED = 130  #: stopped by the user


class VivadoError(RuntimeError):
    """A build that has ended: ``code`` for the shell, ``cause``, and ``fix``, what to do about it."""

    def __init__(self, code: ExitCode, cause: str, fix: str = ""):
        super().__init__(f"{cause}. {fix}".strip() if fix else cause)
        self.code, self.cause, self.fix = code, cause, fix
