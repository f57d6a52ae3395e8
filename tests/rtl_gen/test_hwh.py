# SPDX-License-Identifier: Apache-2.0
"""The hardware handoff, read by both parsers of pynq, the older and the newer one."""

import dataclasses
from xml.etree import ElementTree

import pytest
from pynqmetadata.frontends import Metadata
from pynqmetadata.views.runtime import RuntimeMetadataParser
from typer.testing import CliRunner

from moevit.cli.app import app
from moevit.rtl_gen import hwh
from moevit.rtl_gen.ports import PortError, PortTable
from moevit.sim.pynq.device import Overlay  # imports pynq without its words about computers that are no boards
from moevit.spec.arrays import CONFIGS
from moevit.spec.boards import BOARDS
from moevit.spec.ip import VLNV
from moevit.spec.registers import REGISTERS

assert Overlay
US, Z7 = "zcu104", "pynq-z2"


def older(path):
    from pynq.pl_server import hwh_parser

    return {US: hwh_parser._HWHUltrascale, Z7: hwh_parser._HWHZynq}[path.stem](hwh_name=str(path))


def newer(path):
    return RuntimeMetadataParser(Metadata(input=str(path)))


@pytest.fixture(params=[US, Z7])
def path(request, tmp_path):
    path = tmp_path / f"{request.param}.hwh"
    path.write_text(hwh.handoff(BOARDS[request.param], CONFIGS["8x8"]))
    return path


@pytest.fixture(params=[older, newer])
def parsed(request, path):
    return request.param(path)


def test_the_machine_is_found(parsed, path):
    assert set(parsed.ip_dict) == {"ps", "interrupts", "moevit_0"}
    cell = parsed.ip_dict["moevit_0"]
    assert cell["type"] == VLNV == "moevit:accel:moevit:0.2"
    assert cell["phys_addr"] == {US: 0xA000_0000, Z7: 0x4000_0000}[path.stem]
    assert cell["addr_range"] == 0x4000
    assert cell["fullpath"] == "moevit_0"


def test_every_register(parsed):
    registers = parsed.ip_dict["moevit_0"]["registers"]
    assert [(name, each["address_offset"], each["size"]) for name, each in registers.items()] \
        == [(register.name, register.offset, 32) for register in REGISTERS]
    assert registers["MAGIC"]["address_offset"] == 0x20
    for name, access in (("MAGIC", "read-only"), ("GATES_LOW", "read-write"), ("INTERRUPT_STATUS", "read-write")):
        assert registers[name]["access"] == access
    bits = {name: (each["bit_offset"], each["bit_width"]) for name, each in registers["CONTROL"]["fields"].items()}
    assert bits == {"START": (0, 1), "DONE": (1, 1), "IDLE": (2, 1), "READY": (3, 1), "RESET": (5, 1),
                    "RESET_DONE": (6, 1), "ERROR": (7, 1), "INTERRUPT": (9, 1)}
    assert registers["CONTROL"]["fields"]["DONE"]["access"] == "read-only"
    assert not registers["PC"]["fields"]


def test_the_interrupt_goes_through_a_controller(parsed, path):
    number = {US: 121, Z7: 61}[path.stem]
    assert parsed.interrupt_controllers == {"interrupts": {"parent": "", "index": 0, "raw_irq": number}}
    assert parsed.ip_dict["moevit_0"]["interrupts"]["irq"] \
        == {"controller": "interrupts", "index": 0, "fullpath": "moevit_0/irq"}
    assert parsed.ip_dict["interrupts"]["phys_addr"] == parsed.ip_dict["moevit_0"]["phys_addr"] + 0x1_0000


def test_one_clock(parsed):
    assert [parsed.clock_dict[index]["enable"] for index in range(4)] == [1, 0, 0, 0]


@pytest.mark.parametrize("board, mhz", [(US, 300), ("ultra96v2", 250)])
def test_clock_that_pynq_would_set(board, mhz, tmp_path):
    path = tmp_path / "a.hwh"
    path.write_text(hwh.handoff(BOARDS[board], CONFIGS["8x8"]))
    clock = newer(path).clock_dict[0]
    assert clock["frequency"] == pytest.approx(mhz) and clock["divisor0"] * clock["divisor1"] == 1500 / mhz


def interfaces(text):
    module = ElementTree.fromstring(text).find("./MODULES/MODULE[@INSTANCE='moevit_0']")
    return {each.get("NAME"): each for each in module.iter("BUSINTERFACE")}, module


def test_interfaces_have_their_signals():
    buses, module = interfaces(hwh.handoff(BOARDS[US], dataclasses.replace(CONFIGS["16x16"], ports=1)))
    assert {name: bus.get("TYPE") for name, bus in buses.items()} == {"s_axi": "SLAVE", "m_axi": "MASTER"}
    maps = {each.get("LOGICAL"): each.get("PHYSICAL") for each in buses["m_axi"].iter("PORTMAP")}
    assert maps["ARADDR"] == "m_axi_araddr" and maps["WSTRB"] == "m_axi_wstrb" and "AWPROT" in maps
    ports = {each.get("NAME"): each for each in module.iter("PORT")}
    assert set(maps.values()) <= set(ports)
    assert (ports["m_axi_rdata"].get("LEFT"), ports["m_axi_rdata"].get("DIR")) == ("127", "I")
    parameters = {each.get("NAME"): each.get("VALUE") for each in buses["m_axi"].iter("PARAMETER")}
    assert parameters["DATA_WIDTH"] == "128" and parameters["PROTOCOL"] == "AXI4"


@pytest.mark.parametrize("ports, names", [(1, ["m_axi"]), (2, ["m_axi_0", "m_axi_1"])])
def test_every_port_reaches_the_memory_its_own_way(ports, names):
    config = dataclasses.replace(CONFIGS["16x16"], ports=ports)
    buses, module = interfaces(hwh.handoff(BOARDS[US], config))
    assert [name for name in buses if name != "s_axi"] == names
    ways = {each.get("MASTERBUSINTERFACE"): each.get("SLAVEBUSINTERFACE") for each in module.iter("MEMRANGE")}
    assert ways == {name: f"S_AXI_HP{index}_FPD" for index, name in enumerate(names)}


def test_more_ports_than_the_board_has(monkeypatch):
    table = PortTable()
    for bus in ("s_axi", *(f"m_axi_{index}" for index in range(5))):
        table.add(f"{bus}_awaddr", True, 40, ("X_INTERFACE_INFO", f"xilinx.com:interface:aximm:1.0 {bus} AWADDR"))
    monkeypatch.setattr(hwh, "port_table", lambda _: table)
    with pytest.raises(PortError, match="has 5 memory ports, the processing system has 4"):
        hwh.handoff(BOARDS[US], CONFIGS["16x16"])


def command(*arguments):
    return CliRunner().invoke(app, ["handoff", *map(str, arguments)])


def test_command(tmp_path):
    path = tmp_path / "x.hwh"
    assert command("--board", US, "-o", path).exit_code == 0
    assert path.read_text() == hwh.handoff(BOARDS[US], CONFIGS["32x64"])
    for arguments in (("--board", "kria"), ("--board", US, "--config", "9x9")):
        result = command(*arguments, "-o", tmp_path / "y.hwh")
        assert result.exit_code == 2 and not (tmp_path / "y.hwh").exists()
    result = command("--board", US, "-o", path / "y.hwh")
    assert result.exit_code == 1 and "cannotbewritten" in "".join(filter(str.isalpha, result.output))
