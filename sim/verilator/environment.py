# SPDX-License-Identifier: Apache-2.0
"""Environments of builds and simulators: a user's variables for make, the compiler and cocotb do not reach them."""

import os
import sys

import cocotb_tools.config
import find_libpython

from moevit.host.errors import SimulationError

from .tools import Tools

__all__ = ["build_environment", "simulator_environment"]

#: A compiler may need these variables to find programs, headers and libraries of this computer.
_KEPT = ("PATH", "HOME", "TMPDIR", "LANG", "LC_ALL", "LC_CTYPE", "LD_LIBRARY_PATH", "LIBRARY_PATH", "CPATH",
         "C_INCLUDE_PATH", "CPLUS_INCLUDE_PATH")
#: Variables by which users control simulations of their own.
_STEERING = ("COCOTB_", "GPI_", "PYGPI_", "VERILATOR_")
_OLD_STEERING = ("LIBPYTHON_LOC", "TOPLEVEL", "TOPLEVEL_LANG", "MODULE", "TESTCASE", "RANDOM_SEED")


def build_environment(tools: Tools) -> dict[str, str]:
    """For Verilator and make: without flags of the user, as in CXXFLAGS or MAKEFLAGS."""
    return {name: os.environ[name] for name in _KEPT if name in os.environ} | tools.environment


def simulator_environment(module: str, top: str, seed: int | None) -> dict[str, str]:
    """For a simulator that runs the cocotb tests of ``module`` on ``top``: the variables of this process, except those
    that control cocotb. Raises SimulationError."""
    library = find_libpython.find_libpython()
    if library is None:
        raise SimulationError("this Python has no shared library, which cocotb loads",
                              fix="Take one built with --enable-shared, as distributions do")
    variables = {name: value for name, value in os.environ.items()
                 if not name.startswith(_STEERING) and name not in _OLD_STEERING}
    variables |= {
        "PATH": os.pathsep.join([os.environ.get("PATH", os.defpath), str(cocotb_tools.config.libs_dir)]),
        "PYTHONPATH": os.pathsep.join(sys.path), "PYGPI_PYTHON_BIN": sys.executable,
        "GPI_USERS": ";".join([library, cocotb_tools.config.pygpi_entry_point()]),
        "COCOTB_TOPLEVEL": top, "COCOTB_TEST_MODULES": module, "TOPLEVEL_LANG": "verilog",
        "COCOTB_TRUST_INERTIAL_WRITES": "1", "COCOTB_ANSI_OUTPUT": "0"}
    return variables | ({} if seed is None else {"COCOTB_RANDOM_SEED": str(seed)})
