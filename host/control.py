# SPDX-License-Identifier: Apache-2.0
"""Starts the runs of a machine, waits for them, and ends them. After a failed run the machine is quiet, or ``running``
says that it is not."""

import logging

from moevit.spec.bundle import Bundle

from .device import Device
from .errors import AcceleratorTimeout, AccelError, Busy, StaleOverlay
from .faults import check_identity, check_not_stale, check_run, instruction_name, machine_state
from .registers import RegisterFile

__all__ = ["Control"]

#: Seconds for a run: this many times the compiler's bound for a slow memory, and time to wake the host up.
_DEADLINE_FACTOR, _DEADLINE_MARGIN = 10, 1.0
_RESET_READS = 1000  # of CONTROL, within which a soft reset must end: the bus owes a few bursts at most
_kept: set[Device] = set()  # their machines may still write: they and their memory live until the process ends
_log = logging.getLogger(__name__)


class Control:
    """The runs of the machine in ``device``. A run that another process left behind is ended first.

    Raises NoMachine, VersionMismatch, AcceleratorTimeout.

    Members
    -------
    registers : of the machine
    running : a run is under way, or could not be ended; the machine may write its memory
    runs : how many runs were started; this is the number of the last one
    """

    def __init__(self, device: Device):
        self._device = device
        self.registers = RegisterFile(device)
        self.running, self.runs = False, 0
        check_identity(self.registers)
        self.reset()

    def deadline(self, bundle: Bundle) -> float:
        """Seconds after which a run of ``bundle`` counts as stuck."""
        return _DEADLINE_MARGIN + _DEADLINE_FACTOR * bundle.manifest["deadline_cycles"] / self._device.clock_hz

    def check_ready(self, bundle: Bundle) -> None:
        """Raises StaleOverlay or Busy unless ``bundle`` can run at once."""
        check_not_stale(self.registers, bundle)
        if self.running or not self.registers.status("IDLE"):
            raise Busy("a run is under way", fix="Wait for it, or reset()")

    def start(self) -> None:
        """Start a run with the settings of the registers."""
        if self._device.interrupts:
            self.registers.set("INTERRUPT_ENABLE", 3)
            self.registers.set("INTERRUPT_GLOBAL", 1)
            self.registers.write("INTERRUPT_STATUS", 3)
        self.running, self.runs = True, self.runs + 1
        self.registers.command("START")

    def check_under_way(self, run: int) -> None:
        """Raises AccelError if something has ended run number ``run``."""
        if not self.running or run != self.runs:
            raise AccelError("the stream's run was ended by reset(), load() or close()", fix="Begin another stream()")

    def finish(self, bundle: Bundle, timeout: float | None) -> None:
        """Wait for the end of a run of ``bundle``, for ``timeout`` seconds; None: until its deadline.

        Raises AcceleratorTimeout, BusError, ProgramRefused.
        """
        timeout = self.deadline(bundle) if timeout is None else timeout
        try:
            self._device.wait(timeout)
        except TimeoutError as error:
            state = machine_state(self.registers)
            self.abort()
            name = instruction_name(bundle, state["started"])
            raise AcceleratorTimeout(
                f"no end after {timeout:g} s, at instruction {state['started']} ({name})", **state,
                fix="Reload the bitstream: the memory still owes an answer" if self.running else
                    "The run was ended: run again, with more time if state['stalls'] shows progress") from error
        except BaseException:
            self.abort()
            raise
        self.running = False
        check_run(self.registers, bundle)

    def abort(self, run: int | None = None) -> None:
        """End run number ``run``, or any run that is under way. If that fails, ``running`` stays true."""
        if not self.running or run not in (None, self.runs):
            return
        try:
            self.reset()
        except StaleOverlay:
            self.running = False  # the machine that ran is gone
        except Exception as error:
            _kept.add(self._device)
            _log.error("the run could not be ended: %s", error)  # the user must see the first error, not this one

    def reset(self) -> None:
        """Soft reset: the machine lets its bursts end, forgets the run, and is idle. Raises AcceleratorTimeout."""
        self.registers.command("RESET")
        for _ in range(_RESET_READS):
            if self.registers.status("RESET_DONE"):
                self.running = False
                _kept.discard(self._device)
                return
        raise AcceleratorTimeout("soft reset does not end", **machine_state(self.registers),
                                 fix="Reload the bitstream: the memory still owes an answer")
