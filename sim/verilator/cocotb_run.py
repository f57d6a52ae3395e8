# SPDX-License-Identifier: Apache-2.0
"""Runs a module of cocotb tests on a design from pytest, between the AXI models of cocotbext-axi."""

import os
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from amaranth.lib.wiring import Component
from cocotb_tools.check_results import get_results

from moevit.host.errors import SimulationError
from moevit.rtl_gen.generate import Rtl, generate

from .build import build, tail

__all__ = ["CocotbFailed", "run_cocotb", "shell"]

#: cocotbext-axi needs ID signals. The machine has one ID, and its wrapper has no signals for it. True for outputs.
_IDS = {"awid": True, "bid": False, "arid": True, "rid": False}


class CocotbFailed(AssertionError):
    """A cocotb test failed. The message ends with the simulator's log.

    Fix: run the test again with ``waves`` and the seed of the message.
    """


def _ids(rtl: Rtl) -> dict[str, bool]:
    return {f"{bus}_{name}": output for bus in rtl.table.managers for name, output in _IDS.items()}


def shell(rtl: Rtl) -> str:
    """Verilog of module NAME_ids: the wrapper with one ID bit in each direction, tied to 0."""
    def declared(output: bool, width: int, name: str) -> str:
        return f"    {'output' if output else 'input '} wire {f'[{width - 1}:0] ' if width > 1 else ''}{name}"

    ports = [(port.output, port.width, port.name) for port in rtl.table.ports]
    return "\n".join([
        "/* verilator lint_off UNUSEDSIGNAL */",
        f"module {rtl.name}_ids (",
        ",\n".join(declared(*port) for port in [*ports, *((output, 1, name) for name, output in _ids(rtl).items())]),
        ");",
        *(f"    assign {name} = 1'b0;" for name, output in _ids(rtl).items() if output),
        f"    {rtl.name} dut (",
        ",\n".join(f"        .{name}({name})" for _, _, name in ports),
        "    );",
        "endmodule",
        "/* verilator lint_on UNUSEDSIGNAL */",
        "",
    ])


def run_cocotb(design: Component | Rtl, module: str | Path, *, seed: int = 1,
               environment: Mapping[str, str] | None = None, waves: Path | None = None, timeout: float = 300.0,
               build_root: Path | None = None) -> int:
    """Run every cocotb test of ``module`` on ``design`` with ID ports added. Returns how many tests ran.

    The test functions see AMBA names (``s_axi_awaddr``, ``m_axi_araddr`` or ``m_axi_0_araddr``, ``aclk``, ``aresetn``,
    ``irq``). Builds are cached.

    Parameters
    ----------
    design : a component with the same kinds of ports as the machine, or its RTL
    module : importable name, or the path of a .py file
    seed : of the simulator's ``random``
    environment : further variables that the module reads
    waves : VCD file to write
    timeout : seconds after which the simulator is killed

    Raises CocotbFailed, SimulationError (no results after a crash or the timeout), ToolMissing, BuildFailed.
    """
    rtl = design if isinstance(design, Rtl) else generate(design, type(design).__name__.lower())
    files = {name: text for name, text in rtl.files.items() if name.endswith(".v")}
    top = f"{rtl.name}_ids"
    files[f"{top}.v"] = shell(rtl)
    public = [*(port.name for port in rtl.table.ports), *_ids(rtl)]
    simulation = build(files, top, public, waves=waves is not None, root=build_root)
    path = Path(module) if str(module).endswith(".py") else None
    variables = simulation.environment(path.stem if path else str(module), seed)
    if path is not None:
        variables["PYTHONPATH"] = os.pathsep.join([str(path.resolve().parent), variables["PYTHONPATH"]])
    with tempfile.TemporaryDirectory(prefix="moevit-cocotb-") as folder:
        log, results = Path(folder, "simulator.log"), Path(folder, "results.xml")
        variables |= {"COCOTB_RESULTS_FILE": str(results), **(environment or {})}
        try:
            with open(log, "wb") as file:
                subprocess.run(simulation.command({}, waves), cwd=folder, env=variables, stdin=subprocess.DEVNULL,
                               stdout=file, stderr=subprocess.STDOUT, timeout=timeout, check=False)
        except subprocess.TimeoutExpired:
            raise SimulationError(f"{module} did not end within {timeout:.0f} s:\n{tail(log, 60)}") from None
        if not results.exists():
            raise SimulationError(f"{module} left no results:\n{tail(log, 60)}")
        tests, failed = get_results(results)
        if failed or not tests:
            raise CocotbFailed(f"{failed} of {tests} tests of {module} failed, seed {seed}:\n{tail(log, 150)}")
    return tests
