# SPDX-License-Identifier: Apache-2.0
"""The wrapper: every AMBA name once with the right attribute, the same bytes every time."""

import gc
import hashlib
import json
import os
import re
import subprocess
import sys

import pytest
from amaranth.hdl import Elaboratable
from amaranth.lib.wiring import Component, In, Out

from moevit.hw.bus.axi import LiteChannels, ReadChannels, WriteChannels
from moevit.rtl_gen.generate import generate
from moevit.rtl_gen.ports import PortError, port_table

from ..sim.example import CopyMachine

LITE = ["awaddr", "awprot", "awvalid", "awready", "wdata", "wstrb", "wvalid", "wready", "bresp", "bvalid", "bready",
        "araddr", "arprot", "arvalid", "arready", "rdata", "rresp", "rvalid", "rready"]
FULL = LITE + [f"a{way}{name}" for way in "wr" for name in ("len", "size", "burst", "lock", "cache", "qos")]
FULL += ["wlast", "rlast"]


@pytest.fixture
def unused_allowed(monkeypatch):
    """Amaranth would warn about components that are asked for ports and never elaborated."""
    monkeypatch.setattr(Elaboratable, "_MustUse__silence", True)
    yield
    gc.collect()


@pytest.fixture(scope="module")
def rtl():
    return generate(CopyMachine(16), "copy", {"config": "example"})


def declarations(text):
    """{port: (direction, width, {attribute: value})} of the wrapper, read from its text."""
    header = text[text.index("module "):text.index(");")]
    found = {}
    for attributes, direction, width, name in re.findall(
            r"((?:\(\*[^\n]*\*\)\s*)*)(input|output)\s+wire\s+(?:\[(\d+):0\] )?(\w+)", header):
        assert name not in found
        pairs = re.findall(r'\(\* (\w+) = "([^"]*)" \*\)', attributes)
        assert len(dict(pairs)) == len(pairs)
        found[name] = direction, int(width or 0) + 1, dict(pairs)
    return found


def test_every_signal_once_with_its_attribute(rtl):
    ports = declarations(rtl.files["copy.v"])
    for bus, names in (("s_axi", LITE), ("m_axi", FULL)):
        assert {name for name in ports if name.startswith(bus)} == {f"{bus}_{name}" for name in names}
        for name in names:
            _, _, attributes = ports[f"{bus}_{name}"]
            assert attributes["X_INTERFACE_INFO"] == f"xilinx.com:interface:aximm:1.0 {bus} {name.upper()}"
        assert sum("X_INTERFACE_PARAMETER" in ports[f"{bus}_{name}"][2] for name in names) == 1
    assert ports["aclk"][2]["X_INTERFACE_PARAMETER"].endswith("ASSOCIATED_BUSIF s_axi:m_axi, ASSOCIATED_RESET aresetn")
    assert "ACTIVE_LOW" in ports["aresetn"][2]["X_INTERFACE_PARAMETER"]
    assert "LEVEL_HIGH" in ports["irq"][2]["X_INTERFACE_PARAMETER"]
    infos = [attributes["X_INTERFACE_INFO"] for _, _, attributes in ports.values() if "X_INTERFACE_INFO" in attributes]
    assert len(infos) == len(set(infos)) == len(ports) - 2  # all but the trace


def test_directions_and_widths(rtl):
    ports = declarations(rtl.files["copy.v"])
    for name, direction, width in [
        ("m_axi_araddr", "output", 40), ("m_axi_arlen", "output", 8), ("m_axi_arready", "input", 1),
        ("m_axi_rdata", "input", 128), ("m_axi_rready", "output", 1), ("m_axi_wstrb", "output", 16),
        ("m_axi_bresp", "input", 2), ("s_axi_awaddr", "input", 13), ("s_axi_bresp", "output", 2),
        ("s_axi_rready", "input", 1), ("s_axi_rdata", "output", 32), ("irq", "output", 1),
        ("trace_valid", "output", 1), ("trace_payload", "output", 184),
    ]:
        assert ports[name][:2] == (direction, width), name


def test_constants(rtl):
    ties = dict(re.findall(r"assign (\w+) = (\d+'d\d+);", rtl.files["copy.v"]))
    assert ties["m_axi_arsize"] == "3'd4"
    assert ties["m_axi_awburst"] == "2'd1"
    assert ties["m_axi_awcache"] == "4'd3"
    assert ties["m_axi_arqos"] == "4'd0"


def test_every_core_port_is_connected(rtl):
    core = re.search(r"module copy_core\((.*?)\);", rtl.files["copy_core.v"], re.S).group(1)
    assert {name.strip() for name in core.split(",")} == set(rtl.table.connections)


def test_manifest(rtl):
    manifest = json.loads(rtl.files["manifest.json"])
    assert manifest["config"] == "example"
    for name in ("copy.v", "copy_core.v"):
        assert manifest["files"][name] == hashlib.sha256(rtl.files[name].encode()).hexdigest()
    assert {"name": "m_axi_rdata", "direction": "input", "width": 128} in manifest["ports"]
    assert manifest["versions"]["amaranth"]


def test_the_same_bytes_in_another_process(rtl):
    script = ("import sys; sys.path.insert(0, 'tests/sim'); from example import CopyMachine;"
              "from moevit.rtl_gen.generate import generate; import hashlib;"
              "files = generate(CopyMachine(16), 'copy', {'config': 'example'}).files;"
              "print(hashlib.sha256(repr(files).encode()).hexdigest())")
    output = subprocess.run([sys.executable, "-c", script], env={**os.environ, "PYTHONHASHSEED": "77"}, text=True,
                            capture_output=True, check=True).stdout
    assert output.strip() == hashlib.sha256(repr(rtl.files).encode()).hexdigest()


def test_no_trace_no_port(unused_allowed):
    assert not port_table(CopyMachine(8, trace=False)).traces


def test_several_managers(unused_allowed):
    table = port_table(Ports(**(BUS | {"r": Out(ReadChannels(8)).array(2), "w": Out(WriteChannels(8)).array(2)})))
    assert (table.managers, table.data_bytes) == (["m_axi_0", "m_axi_1"], 8)
    names = [port.name for port in table.ports]
    attributes = {port.name: dict(port.attributes) for port in table.ports}
    for bus in table.managers:
        assert sorted(name for name in names if name.startswith(bus)) == sorted(f"{bus}_{name}" for name in FULL)
        for name in FULL:
            info = attributes[f"{bus}_{name}"]["X_INTERFACE_INFO"]
            assert info == f"xilinx.com:interface:aximm:1.0 {bus} {name.upper()}"
        assert sum(f"XIL_INTERFACENAME {bus}," in attributes[f"{bus}_{name}"].get("X_INTERFACE_PARAMETER", "")
                   for name in FULL) == 1
    assert "ASSOCIATED_BUSIF s_axi:m_axi_0:m_axi_1, " in attributes["aclk"]["X_INTERFACE_PARAMETER"]
    assert table.connections["r__1__ar__valid"] == "m_axi_1_arvalid"
    assert table.connections["w__0__b__payload"] == "{m_axi_0_bresp}"


class Ports(Component):
    def __init__(self, **members):
        super().__init__(members)

    def elaborate(self, platform):
        raise AssertionError


BUS = {"s": In(LiteChannels(13)), "r": Out(ReadChannels(8)), "w": Out(WriteChannels(8)), "irq": Out(1)}


@pytest.mark.parametrize("members, message", [
    ({**BUS, "extra": In(1)}, "extra.*no place"),
    ({**BUS, "s2": In(LiteChannels(13))}, "s and s2"),
    ({**BUS, "w": Out(WriteChannels(16))}, "differ in width"),
    ({**BUS, "w": Out(WriteChannels(8)).array(2)}, "no pairs"),
    ({key: value for key, value in BUS.items() if key != "r"}, "lacks m_axi read"),
    ({key: value for key, value in BUS.items() if key != "irq"}, "lacks an interrupt"),
])
def test_odd_ports_are_refused(members, message, unused_allowed):
    with pytest.raises(PortError, match=message):
        port_table(Ports(**members))


def test_odd_names_are_refused(unused_allowed):
    with pytest.raises(ValueError, match="8x8"):
        generate(CopyMachine(8), "8x8")
