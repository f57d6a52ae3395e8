# amaranth: UnusedElaboratable=no
# SPDX-License-Identifier: Apache-2.0
"""The packaged IP and the block design that the scripts make, as recorded by a stand-in for Vivado.

The tables here are typed from AMD's and the boards' documents, not taken from the code.
"""

import subprocess
import xml.etree.ElementTree as ElementTree

import pytest
from amaranth.lib.wiring import Component, In, Out

from moevit.hw.bus.axi import LiteChannels, ReadChannels, WriteChannels
from moevit.rtl_gen.generate import Rtl
from moevit.rtl_gen.hwh import handoff
from moevit.rtl_gen.ports import port_table
from moevit.rtl_gen.vivado.build import Build
from moevit.rtl_gen.vivado.exits import ExitCode, VivadoError
from moevit.rtl_gen.vivado.settings import Preset
from moevit.rtl_gen.vivado.tcl_word import tcl_word
from moevit.rtl_gen.wrapper import wrapper
from moevit.spec.arrays import CONFIGS
from moevit.spec.boards import BOARDS
from moevit.spec.registers import APERTURE, REGISTERS

from .conftest import bare_rtl, events, interpreter

ULTRASCALE = {"processor": "xilinx.com:ip:zynq_ultra_ps_e:3.5", "base": 0xA000_0000, "control": "ps/M_AXI_HPM0_FPD",
              "memory": "ps/S_AXI_HP{}_FPD", "clock": "ps/pl_clk0", "reset": "ps/pl_resetn0", "irq": "ps/pl_ps_irq0",
              "frequency": "CONFIG.PSU__CRL_APB__PL0_REF_CTRL__FREQMHZ", "width": "CONFIG.PSU__SAXIGP2__DATA_WIDTH",
              "bits": "128"}
SERIES7 = {"processor": "xilinx.com:ip:processing_system7:5.5", "base": 0x4000_0000, "control": "ps/M_AXI_GP0",
           "memory": "ps/S_AXI_HP{}", "clock": "ps/FCLK_CLK0", "reset": "ps/FCLK_RESET0_N", "irq": "ps/IRQ_F2P",
           "frequency": "CONFIG.PCW_FPGA0_PERIPHERAL_FREQMHZ", "width": "CONFIG.PCW_S_AXI_HP0_DATA_WIDTH", "bits": "64"}
EXPECTED = {
    "pynq-z2": (SERIES7, "xc7z020clg400-1", "tul.com.tw:pynq-z2:part0:1.0", "142", {"DDR_LOWOCM"}),
    "ultra96v2": (ULTRASCALE, "xczu3eg-sbva484-1-i", "avnet.com:ultra96v2:part0:1.2", "250", {"DDR_LOW"}),
    "kv260": (ULTRASCALE, "xck26-sfvc784-2LV-c", "xilinx.com:kv260_som:part0:1.4", "300", {"DDR_LOW", "DDR_HIGH"}),
    "zcu104": (ULTRASCALE, "xczu7ev-ffvc1156-2-e", "xilinx.com:zcu104:part0:1.1", "300", {"DDR_LOW"}),
    "zcu102": (ULTRASCALE, "xczu9eg-ffvb1156-2-e", "xilinx.com:zcu102:part0:3.4", "300", {"DDR_LOW", "DDR_HIGH"}),
}


def masters_of(board):
    count = CONFIGS[BOARDS[board].config].ports
    return ["m_axi"] if count == 1 else [f"m_axi_{index}" for index in range(count)]


def made(vivado, folder, board, *, preset=Preset.OWN, rtl=None):
    """Build ``board`` with the stand-in; its events."""
    config = CONFIGS[BOARDS[board].config]
    build = Build(folder, BOARDS[board], config, rtl or bare_rtl(config.name), preset=preset)
    build.write()
    build.bitstream(str(vivado), lambda line: None)
    return events(build.work)


def only(found, *kinds):
    return [event[len(kinds):] for event in found if tuple(event[:len(kinds)]) == kinds]


class Ports(Component):
    """The ports of a machine with ``count`` memory ports."""

    def __init__(self, count):
        super().__init__({"s": In(LiteChannels(14)), "r": Out(ReadChannels(16)).array(count),
                          "w": Out(WriteChannels(16)).array(count), "irq": Out(1)})


def rtl_of_ports(count):
    """Its wrapper and port table, with the name of zcu104's."""
    table = port_table(Ports(count))
    top = "moevit_32x64"
    return Rtl(top, table, {f"{top}.v": wrapper(top, f"{top}_core", table)})


def check_wiring(found, chip, masters):
    """Every interface connected, every clock and reset tied to the one source, the interrupt routed."""
    pins = {name: kind for name, kind in only(found, "pin")}
    nets = {sink: source for source, sink in only(found, "net")}
    buses = dict(only(found, "interface_net"))
    assert not [name for name, kind in pins.items() if kind in ("clock", "reset", "in") and name not in nets]
    assert {nets[name] for name, kind in pins.items() if kind == "clock"} == {chip["clock"]}
    resets = {name: nets[name] for name, kind in pins.items() if kind == "reset"}
    assert resets.pop("reset/ext_reset_in") == chip["reset"]
    assert set(resets.values()) == {"reset/peripheral_aresetn"} and "moevit_0/aresetn" in resets
    assert nets["interrupts/intr"] == "moevit_0/irq" and nets[chip["irq"]] == "interrupts/irq"
    assert {name for name, kind in pins.items() if kind == "master"} == set(buses)
    assert {name for name, kind in pins.items() if kind == "slave"} == set(buses.values())
    # Registers: processor, SmartConnect, machine; memory: machine, SmartConnect, processor, one way per port.
    assert buses[chip["control"]] == "control/S00_AXI"
    assert {buses["control/M00_AXI"], buses["control/M01_AXI"]} == {"moevit_0/s_axi", "interrupts/s_axi"}
    for index, master in enumerate(masters):
        way = buses[f"moevit_0/{master}"]
        assert way.endswith("/S00_AXI")
        assert buses[way.replace("/S00_AXI", "/M00_AXI")] == chip["memory"].format(index)


def check_addresses(found, chip, masters, segments):
    assigned = only(found, "assigned")
    registers = {segment: (int(at, 0), int(size)) for space, segment, at, size in assigned if space == "ps/Data"}
    assert registers == {"/moevit_0/s_axi/reg0": (chip["base"], APERTURE),
                         "/interrupts/S_AXI/Reg": (chip["base"] + 0x1_0000, 0x1_0000)}
    for index, master in enumerate(masters):
        mine = {segment for space, segment, *_ in assigned if space == f"moevit_0/{master}"}
        assert {segment.split(f"/HP{index}_")[1] for segment in mine} == segments
        excluded = {segment.split("_", 1)[1] for space, segment in only(found, "excluded")
                    if space == f"moevit_0/{master}"}
        assert excluded == (set() if chip is SERIES7 else {"LPS_OCM", "QSPI"})


@pytest.mark.parametrize("board", BOARDS)
def test_every_board(vivado, tmp_path, board):
    chip, part, _, frequency, segments = EXPECTED[board]
    found = made(vivado, tmp_path / "out", board)
    assert {given for _, given in only(found, "create_project")} == {part}
    cells = dict(only(found, "cell"))
    assert cells["ps"] == chip["processor"] and cells["moevit_0"] == "moevit:accel:moevit:0.2"
    check_wiring(found, chip, masters_of(board))
    check_addresses(found, chip, masters_of(board), segments)
    settings = {name: value for _, name, value in only(found, "property", chip["processor"].split(":")[2])}
    assert settings[chip["frequency"]] == frequency and settings[chip["width"]] == chip["bits"]
    assert ["ps", "apply_board_preset", "0"] in only(found, "automation")
    assert (["ps", "make_external", "DDR, FIXED_IO"] in only(found, "automation")) == (chip is SERIES7)
    assert only(found, "property", "axi_intc") == [["interrupts", "CONFIG.C_IRQ_CONNECTION", "1"]]
    order = [event[0] for event in found]
    assert order.index("validated") < order.index("saved") < order.index("launch_runs")
    assert only(found, "launch_runs") == [["synth_1"], ["impl_1"]]


@pytest.mark.parametrize("board", BOARDS)
def test_board_files_are_used_where_they_are(vivado, tmp_path, board):
    chip, _, board_part, frequency, _ = EXPECTED[board]
    found = made(vivado, tmp_path / "out", board, preset=Preset.AUTO)
    assert ["project", "board_part", board_part] in only(found, "property", "project")
    assert ["ps", "apply_board_preset", "1"] in only(found, "automation")
    settings = {name: value for _, name, value in only(found, "property", chip["processor"].split(":")[2])}
    assert settings[chip["frequency"]] == frequency  # the preset's clock is overwritten
    assert not {"CONFIG.PSU__PSS_REF_CLK__FREQMHZ", "CONFIG.PCW_UIPARAM_DDR_PARTNO"} & set(settings)
    check_wiring(found, chip, masters_of(board))


def test_four_memory_ports_take_four_ways(vivado, tmp_path):
    found = made(vivado, tmp_path / "out", "zcu104", rtl=rtl_of_ports(4))
    masters = [f"m_axi_{i}" for i in range(4)]
    check_wiring(found, ULTRASCALE, masters)
    check_addresses(found, ULTRASCALE, masters, {"DDR_LOW"})


def test_more_memory_ports_than_the_board_has_are_refused(tmp_path):
    with pytest.raises(VivadoError, match="5 memory ports, pynq-z2 has 4") as refused:
        Build(tmp_path, BOARDS["pynq-z2"], CONFIGS["8x8"], rtl_of_ports(5))
    assert refused.value.code == ExitCode.PORTS


def test_the_packaged_ip(vivado, tmp_path):
    found = made(vivado, tmp_path / "out", "pynq-z2")
    assert sorted(only(found, "associate")) == [
        ["aclk", "aresetn"], ["m_axi_0", "aclk"], ["m_axi_1", "aclk"], ["s_axi", "aclk"]]
    assert only(found, "blocks") == [["s_axi", "reg0"]]  # one, or PYNQ would look for the registers elsewhere
    block = {name: value for _, name, value in only(found, "property", "block")}
    assert (block["range"], block["width"], block["usage"]) == (str(APERTURE), "32", "register")
    registers = {}
    for handle, name, value in only(found, "property", "register"):
        registers.setdefault(handle.split(":")[1], {})[name] = value
    assert {name: int(given["address_offset"], 16) for name, given in registers.items()} == {
        register.name: register.offset for register in REGISTERS}
    access = {register.name: "read-only" if register.access == "r" else "read-write" for register in REGISTERS}
    assert {name: given["access"] for name, given in registers.items()} == access
    assert {given["size"] for given in registers.values()} == {"32"}
    bits = {handle.split("/")[1]: int(value) for handle, name, value in only(found, "property", "field")
            if name == "bit_offset"}
    assert bits == {"START": 0, "DONE": 1, "IDLE": 2, "READY": 3, "RESET": 5, "RESET_DONE": 6, "ERROR": 7,
                    "INTERRUPT": 9}
    core = {name: value for _, name, value in only(found, "property", "core")}
    assert (core["name"], core["version"]) == ("moevit", "0.2")
    assert ["FREQ_HZ", "bus:aclk"] in only(found, "remove_bus_parameter")


@pytest.mark.parametrize("board", ["pynq-z2", "zcu104"])
def test_the_handoff_that_simulations_use_is_of_this_design(vivado, tmp_path, board):
    """`rtl_gen/hwh.py` writes the file that Vivado will write: same cells, addresses, memory ports."""
    found = made(vivado, tmp_path / "out", board)
    modules = {module.get("INSTANCE"): module for module in ElementTree.fromstring(
        handoff(BOARDS[board], CONFIGS[BOARDS[board].config])).iter("MODULE")}
    cells = dict(only(found, "cell"))
    assert {name: module.get("VLNV") for name, module in modules.items()} == {name: cells[name] for name in modules}
    ranges = {each.get("INSTANCE"): int(each.get("BASEVALUE"), 16) for each in modules["ps"].iter("MEMRANGE")}
    assigned = {segment.split("/")[1]: int(at, 0) for space, segment, at, _ in only(found, "assigned")
                if space == "ps/Data"}
    assert ranges == assigned
    pins = {name for name, _ in only(found, "pin")}
    for each in modules["moevit_0"].iter("MEMRANGE"):
        assert f"ps/{each.get('SLAVEBUSINTERFACE')}" in pins
        segments = [segment for space, segment, *_ in only(found, "assigned")
                    if space == f"moevit_0/{each.get('MASTERBUSINTERFACE')}"]
        assert each.get("ADDRESSBLOCK") in {segment.split("/")[-1] for segment in segments}


def test_out_of_context(vivado, tmp_path):
    build = Build(tmp_path / "out", BOARDS["zcu104"], CONFIGS["32x64"], bare_rtl("32x64"))
    build.write()
    report = build.out_of_context(str(vivado), lambda line: None)
    found = events(build.work)
    (mode, text), = only(found, "read_xdc")
    assert only(found, "create_clock") == [["aclk", "3.333", "aclk"]]
    assert mode == "out_of_context" and text.endswith("create_clock -name aclk -period 3.333 [get_ports aclk]")
    order = [event[0] for event in found if event[0].endswith(("_design", "_checkpoint"))]
    assert order == ["synth_design", "write_checkpoint", "open_checkpoint", "opt_design", "place_design",
                     "phys_opt_design", "route_design", "write_checkpoint"]
    assert report["utilisation"] == {"lut": 12345, "bram36": 101.5, "dsp": 512} and report["wns"] == "0.043"


@pytest.mark.parametrize("before, after", [
    ("validate_bd_design", "validate_bd_desing"),  # a command
    ("CONFIG.C_IRQ_CONNECTION", "CONFIG.C_IRQ_CONECTION"),  # a property
    ("reset/ext_reset_in", "reset/ext_reset"),  # a pin
    ("M00_AXI] [get_bd_intf_pins $cell", "M02_AXI] [get_bd_intf_pins $cell"),  # an interface
    ("-target_address_space $registers", "-target_adress_space $registers"),  # an option
])
def test_a_misspelt_word_is_an_error(vivado, tmp_path, before, after):
    """The stand-in itself refuses wrong scripts, so its verdict on a right one counts."""
    build = Build(tmp_path / "out", BOARDS["zcu104"], CONFIGS["32x64"], bare_rtl("32x64"))
    build.write()
    script = build.folder / "tcl" / "block_design.tcl"
    assert before in script.read_text()
    script.write_text(script.read_text().replace(before, after))
    with pytest.raises(VivadoError) as refused:
        build.bitstream(str(vivado), lambda line: None)
    assert refused.value.code == ExitCode.SCRIPT
    assert not (build.folder / "moevit_zcu104.bit").exists()


def test_tcl_words_survive_tcl(tmp_path):
    words = ["", "a b", "{", "}", "}{", "a{b}c", "$x [exit] \"", "back\\", "line\nline", "tab\there", "#", "ü", ";",
             "\r", "-dict", "*"]
    script = tmp_path / "echo.tcl"
    script.write_text(f"set word {tcl_word({'k': words})}\nset out [open out.txt w]\nfconfigure $out -encoding utf-8 "
                      "-translation lf\nforeach w [dict get $word k] { puts -nonewline $out $w\\1 }\nclose $out\n",
                      encoding="utf-8")
    subprocess.run(f"{interpreter()} {script}", shell=True, cwd=tmp_path, check=True)
    assert (tmp_path / "out.txt").read_bytes().decode().split("\1")[:-1] == words
    with pytest.raises(ValueError, match="cannot be written"):
        tcl_word("\0")
