# SPDX-License-Identifier: Apache-2.0
"""Makes an error of error code and registers: where a run stopped, and why."""

from typing import Any

from moevit.spec.bundle import Bundle
from moevit.spec.registers import MAGIC, VERSION, ErrorCode

from .errors import AcceleratorTimeout, AccelError, BusError, NoMachine, ProgramRefused, StaleOverlay, VersionMismatch
from .registers import RegisterFile

__all__ = ["check_identity", "check_not_stale", "check_run", "instruction_name", "machine_state"]

_BUS = {ErrorCode.READ_WINDOW, ErrorCode.WRITE_WINDOW, ErrorCode.ALIGNMENT, ErrorCode.READ_SLAVE, ErrorCode.READ_DECODE,
        ErrorCode.READ_PROTOCOL, ErrorCode.WRITE_SLAVE, ErrorCode.WRITE_DECODE}


def check_identity(registers: RegisterFile) -> None:
    """Raises NoMachine or VersionMismatch unless a machine of this version answers."""
    magic = registers.read("MAGIC")
    if magic != MAGIC:
        raise NoMachine(f"MAGIC reads 0x{magic:08X}, not 0x{MAGIC:08X}", magic=magic,
                        fix="Load the bitstream, and check the base address and the clock")
    version = registers.read("VERSION")
    if version >> 16 != VERSION >> 16:
        raise VersionMismatch(f"hardware version 0x{version:08X}, software 0x{VERSION:08X}", version=version,
                              fix="Use the bitstream and the package of one release")


def check_not_stale(registers: RegisterFile, bundle: Bundle) -> None:
    """Raises StaleOverlay if the machine does not hold ``bundle`` any more: a new bitstream forgets it."""
    wanted = {"MAGIC": MAGIC, "CONFIG_HASH": bundle.manifest["config_hash"], "PROGRAM_LENGTH": bundle.program_length}
    found = {name: registers.read(name) for name in wanted}
    wrong = [f"{name} reads 0x{found[name]:X}, not 0x{value:X}" for name, value in wanted.items()
             if found[name] != value]
    if wrong:
        raise StaleOverlay(f"the machine is not as it was when the bundle was loaded: {', '.join(wrong)}", **found,
                           fix="The bitstream was loaded again or the machine reset: make a new Accelerator, load()")


def machine_state(registers: RegisterFile) -> dict[str, Any]:
    """The registers after a run that failed. ``pc`` and ``address`` are those of the first error."""
    return {"pc": registers.read("ERROR_PC"), "address": registers.read_wide("ERROR_ADDRESS"),
            "finished": registers.read("FINISHED"), "started": registers.read("PC"),
            "control": registers.read("CONTROL"), "stalls": registers.counters()}


def instruction_name(bundle: Bundle, pc: int) -> str:
    """For people: the name of instruction ``pc``."""
    entries = bundle.manifest["instructions"]
    return entries[pc]["name"] if pc < len(entries) else "past the program"


def check_run(registers: RegisterFile, bundle: Bundle) -> None:
    """Raises the error that stopped the run, if any: AcceleratorTimeout (the watchdog), BusError, ProgramRefused."""
    number = registers.read("ERROR_CODE")
    if number == ErrorCode.NONE:
        return
    state = machine_state(registers)
    if number not in set(ErrorCode):
        raise AccelError(f"the machine stopped with error code {number}, which this version does not know", **state,
                         fix="Use the bitstream and the package of one release")
    code, pc = ErrorCode(number), state["pc"]
    where = f"{code.name} at instruction {pc} ({instruction_name(bundle, pc)}), address 0x{state['address']:X}"
    if code == ErrorCode.WATCHDOG:
        raise AcceleratorTimeout(where, fix="The memory did not answer; look at state['stalls']", **state)
    if code in _BUS:
        raise BusError(where, fix="Check the buffers; run again after reset()", **state)
    raise ProgramRefused(where, fix="Compile again for this version and configuration", **state)
