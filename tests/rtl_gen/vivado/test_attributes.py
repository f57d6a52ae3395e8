# SPDX-License-Identifier: Apache-2.0
"""The Verilog for Vivado, read by other tools: slang for the attributes, Verilator for warnings."""

import re
import subprocess
from pathlib import Path

import pyslang
import pytest

from moevit import sim
from moevit.rtl_gen.generate import generate
from moevit.sim.verilator.machine import machine_bench
from moevit.sim.verilator.tools import find_tools
from moevit.spec.arrays import CONFIGS
from moevit.spec.registers import APERTURE

from ...sim.example import CopyMachine
from ..test_generate import FULL, LITE

LINT = Path(sim.__path__[0]) / "verilator" / "lint.vlt"
#: What slang remarks in cores, which are written by Yosys; nothing of it is in a wrapper.
YOSYS_STYLE = {"SignConversion", "ArithOpMismatch", "CaseDefault", "WidthTruncate", "WidthExpand"}


MANAGERS = {"8x8": ["m_axi"], "16x16": ["m_axi_0", "m_axi_1"]}


@pytest.fixture(scope="module", params=["8x8", "16x16"])
def design(request, tmp_path_factory):
    """Configuration, and the files of the machine without trace ports."""
    folder = tmp_path_factory.mktemp(request.param)
    files = machine_bench(CONFIGS[request.param], trace=False).files
    paths = {name: folder / name for name in files if name.startswith("moevit_")}
    for name, path in paths.items():
        path.write_text(files[name])
    assert len(paths) == 2
    return CONFIGS[request.param], paths


@pytest.fixture(scope="module")
def elaborated(design):
    """{port: (is output, bits, {attribute: text})} of the wrapper, core and all elaborated by slang."""
    config, paths = design
    compilation = pyslang.ast.Compilation()
    for path in paths.values():
        compilation.addSyntaxTree(pyslang.syntax.SyntaxTree.fromFile(str(path)))
    top, = compilation.getRoot().topInstances
    assert top.name == f"moevit_{config.name}"
    manager = compilation.sourceManager
    for remark in compilation.getAllDiagnostics():
        name = re.fullmatch(r"DiagCode\((\w+)\)", str(remark.code))[1]
        assert name in YOSYS_STYLE and manager.getFileName(remark.location).endswith("_core.v"), name
    ports = {}
    for port in top.body.portList:
        attributes = [(each.name, each.value.convertToStr().value) for each in compilation.getAttributes(port)]
        assert len(dict(attributes)) == len(attributes)  # none twice on a port
        ports[port.name] = (port.direction == pyslang.ast.ArgumentDirection.Out, port.type.bitWidth, dict(attributes))
    return ports


def test_every_interface_signal_is_named_once(design, elaborated):
    infos = {name: attributes.get("X_INTERFACE_INFO") for name, (_, _, attributes) in elaborated.items()}
    expected = {"aclk": "xilinx.com:signal:clock:1.0 aclk CLK", "aresetn": "xilinx.com:signal:reset:1.0 aresetn RST",
                "irq": "xilinx.com:signal:interrupt:1.0 irq INTERRUPT"}
    for bus, names in (("s_axi", LITE), *((bus, FULL) for bus in MANAGERS[design[0].name])):
        expected |= {f"{bus}_{name}": f"xilinx.com:interface:aximm:1.0 {bus} {name.upper()}" for name in names}
    assert infos == expected


def test_directions(elaborated):
    driven_by_manager = {*(f"a{way}{name}" for way in "wr" for name in (
        "addr", "len", "size", "burst", "lock", "cache", "prot", "qos", "valid")),
        "wdata", "wstrb", "wlast", "wvalid", "bready", "rready"}
    for name, (output, _, _) in elaborated.items():
        if name.startswith("m_axi_"):
            assert output == (name.split("_")[-1] in driven_by_manager), name
        elif name.startswith("s_axi_"):
            assert output != (name[6:] in driven_by_manager), name


def test_parameters(design, elaborated):
    config, _ = design
    parameters = {}
    for _, _, attributes in elaborated.values():
        if "X_INTERFACE_PARAMETER" in attributes:
            found = dict(item.split(" ") for item in attributes["X_INTERFACE_PARAMETER"].split(", "))
            name = found.pop("XIL_INTERFACENAME")
            assert name not in parameters
            parameters[name] = found
    managers = MANAGERS[config.name]
    assert parameters.keys() == {"aclk", "aresetn", "irq", "s_axi", *managers}
    assert parameters["aclk"] == {"ASSOCIATED_BUSIF": ":".join(["s_axi", *managers]), "ASSOCIATED_RESET": "aresetn"}
    assert parameters["aresetn"] == {"POLARITY": "ACTIVE_LOW"}
    assert parameters["irq"] == {"SENSITIVITY": "LEVEL_HIGH"}
    control = parameters["s_axi"]
    for bus in managers:
        memory = parameters[bus]
        assert (memory["PROTOCOL"], control["PROTOCOL"]) == ("AXI4", "AXI4LITE")
        assert int(memory["DATA_WIDTH"]) == elaborated[f"{bus}_rdata"][1] == elaborated[f"{bus}_wdata"][1]
        assert int(memory["DATA_WIDTH"]) == 8 * config.port_bytes == 8 * elaborated[f"{bus}_wstrb"][1]
        assert int(memory["ADDR_WIDTH"]) == elaborated[f"{bus}_araddr"][1] == 40
        assert int(memory["MAX_BURST_LENGTH"]) <= 16  # of AXI3 too
        assert int(memory["NUM_READ_OUTSTANDING"]) <= 8 and memory["SUPPORTS_NARROW_BURST"] == "0"
    assert 1 << int(control["ADDR_WIDTH"]) == 1 << elaborated["s_axi_araddr"][1] == APERTURE
    assert int(control["DATA_WIDTH"]) == elaborated["s_axi_rdata"][1] == 32


def lint(top, paths):
    """Warnings of Verilator with -Wall and the waivers of every build, which name their reasons."""
    tools = find_tools()
    command = [str(tools.verilator), "--lint-only", "-Wall", "--top-module", top, str(LINT), *map(str, paths)]
    return subprocess.run(command, env=tools.environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("design", ["8x8"], indirect=True)
def test_verilator_has_nothing_to_say(design):
    """The larger ones are linted with their simulations, whose build has the same options."""
    config, paths = design
    done = lint(f"moevit_{config.name}", paths.values())
    assert done.returncode == 0 and "%Warning" not in done.stderr, done.stderr[-2000:]


def test_a_waiver_for_cores_is_none_for_wrappers(tmp_path):
    files = dict(generate(CopyMachine(16, trace=False), "copy").files)
    files["copy.v"] = files["copy.v"].replace("assign m_axi_awsize = 3'd4", "assign m_axi_awsize = 5'd4")
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    done = lint("copy", sorted(tmp_path.glob("*.v")))
    assert re.findall(r"%Warning-(\w+)", done.stderr) == ["WIDTHTRUNC"], done.stderr[-2000:]
