# SPDX-License-Identifier: Apache-2.0
"""Facts of each board for Vivado, and the names of the ports of a processor family.

Names of ports, properties and address segments are those of the processor blocks ``zynq_ultra_ps_e`` and
``processing_system7``. On a board the boot image sets memory and pins, not the bitstream. So if Vivado lacks the files
of a board, the few properties here are enough, which the fabric needs: reference clock and address range of the memory.
"""

from dataclasses import dataclass, field

from moevit.spec.ip import CLOCK_PARAMETER, CLOCK_PARAMETER_7SERIES, CONTROL_BASE, CONTROL_BASE_7SERIES

__all__ = ["BOARD_DATA", "BoardData", "DeviceFamily", "MemoryPort"]


@dataclass(frozen=True)
class MemoryPort:
    """A port from the fabric to the memory: interface, its clock pin, prefix of its address segments, properties that
    enable it and set its width."""

    interface: str
    clock: str
    segments: str
    enable: str
    width: str


@dataclass(frozen=True, kw_only=True)
class DeviceFamily:
    """The processor block of a family of devices.

    Parameters
    ----------
    processor : VLNV without a version
    rule : of the block automation that applies a board's preset
    control, control_clock : interface that reaches the machine's registers, and its clock pin
    clock, reset, interrupt : pins
    clock_property, clock_actual : the clock that is asked for, and the one that the dividers reach, MHz
    clock_name : of that clock in the processor block's own constraints
    memory : memory ports in the order of their use
    memory_bits : width of a memory port
    external : interfaces that leave the device
    base : of the machine's registers
    properties : set on every board
    memory_gib : memory in GiB that Vivado needs; an assumption, AMD states peaks per device
    """

    processor: str
    rule: str
    control: str
    control_clock: str
    clock: str
    reset: str
    interrupt: str
    clock_property: str
    clock_actual: str
    clock_name: str
    memory: tuple[MemoryPort, ...]
    memory_bits: int
    external: tuple[str, ...] = ()
    base: int
    properties: dict[str, object]
    memory_gib: int


_ULTRASCALE = DeviceFamily(
    processor="xilinx.com:ip:zynq_ultra_ps_e", rule="xilinx.com:bd_rule:zynq_ultra_ps_e",
    control="M_AXI_HPM0_FPD", control_clock="maxihpm0_fpd_aclk", clock="pl_clk0", reset="pl_resetn0",
    interrupt="pl_ps_irq0",
    clock_property="PSU__CRL_APB__PL0_REF_CTRL__FREQMHZ", clock_actual=CLOCK_PARAMETER,
    clock_name="clk_pl_0",
    memory=tuple(MemoryPort(f"S_AXI_HP{i}_FPD", f"saxihp{i}_fpd_aclk", f"SAXIGP{i + 2}", f"PSU__USE__S_AXI_GP{i + 2}",
                            f"PSU__SAXIGP{i + 2}__DATA_WIDTH") for i in range(4)),
    memory_bits=128, base=CONTROL_BASE, memory_gib=16,
    properties={"PSU__USE__M_AXI_GP0": 1, "PSU__MAXIGP0__DATA_WIDTH": 32, "PSU__USE__M_AXI_GP1": 0,
                "PSU__USE__M_AXI_GP2": 0, "PSU__USE__IRQ0": 1, "PSU__FPGA_PL0_ENABLE": 1})
_SERIES7 = DeviceFamily(
    processor="xilinx.com:ip:processing_system7", rule="xilinx.com:bd_rule:processing_system7",
    control="M_AXI_GP0", control_clock="M_AXI_GP0_ACLK", clock="FCLK_CLK0", reset="FCLK_RESET0_N",
    interrupt="IRQ_F2P",
    clock_property="PCW_FPGA0_PERIPHERAL_FREQMHZ", clock_actual=CLOCK_PARAMETER_7SERIES, clock_name="clk_fpga_0",
    memory=tuple(MemoryPort(f"S_AXI_HP{i}", f"S_AXI_HP{i}_ACLK", f"S_AXI_HP{i}", f"PCW_USE_S_AXI_HP{i}",
                            f"PCW_S_AXI_HP{i}_DATA_WIDTH") for i in range(4)),
    memory_bits=64, external=("DDR", "FIXED_IO"), base=CONTROL_BASE_7SERIES, memory_gib=8,
    properties={"PCW_USE_M_AXI_GP0": 1, "PCW_EN_CLK0_PORT": 1, "PCW_EN_RST0_PORT": 1, "PCW_USE_FABRIC_INTERRUPT": 1,
                "PCW_IRQ_F2P_INTR": 1})


@dataclass(frozen=True, kw_only=True)
class BoardData:
    """A board as Vivado knows it.

    Parameters
    ----------
    family : its processor
    part : device, package, speed grade
    board_part : pattern of its board files' name, any version; the newest is taken
    paid : Vivado's free edition does not cover the part
    own : processor properties without board files
    """

    family: DeviceFamily
    part: str
    board_part: str
    paid: bool = False
    own: dict[str, object] = field(default_factory=dict)


#: By the names of ``spec.boards.BOARDS``. Boards of 4 GiB have the upper two at 0x8_0000_0000.
BOARD_DATA: dict[str, BoardData] = {
    "pynq-z2": BoardData(
        family=_SERIES7, part="xc7z020clg400-1", board_part="tul.com.tw:pynq-z2:part0:*",
        own={"PCW_CRYSTAL_PERIPHERAL_FREQMHZ": 50, "PCW_UIPARAM_DDR_PARTNO": "MT41J256M16 RE-125",
             "PCW_UIPARAM_DDR_BUS_WIDTH": "16 Bit"}),
    "ultra96v2": BoardData(
        family=_ULTRASCALE, part="xczu3eg-sbva484-1-i", board_part="avnet.com:ultra96v2:part0:*",
        own={"PSU__PSS_REF_CLK__FREQMHZ": 33.333, "PSU__DDR_HIGH_ADDRESS_GUI_ENABLE": 0}),
    "kv260": BoardData(
        family=_ULTRASCALE, part="xck26-sfvc784-2LV-c", board_part="xilinx.com:kv260_som:part0:*",
        own={"PSU__PSS_REF_CLK__FREQMHZ": 33.333, "PSU__DDR_HIGH_ADDRESS_GUI_ENABLE": 1}),
    "zcu104": BoardData(
        family=_ULTRASCALE, part="xczu7ev-ffvc1156-2-e", board_part="xilinx.com:zcu104:part0:*",
        own={"PSU__PSS_REF_CLK__FREQMHZ": 33.333, "PSU__DDR_HIGH_ADDRESS_GUI_ENABLE": 0}),
    "zcu102": BoardData(
        family=_ULTRASCALE, part="xczu9eg-ffvb1156-2-e", board_part="xilinx.com:zcu102:part0:*", paid=True,
        own={"PSU__PSS_REF_CLK__FREQMHZ": 33.333, "PSU__DDR_HIGH_ADDRESS_GUI_ENABLE": 1}),
}
