# amaranth: UnusedElaboratable=no
# SPDX-License-Identifier: Apache-2.0
"""The hardware handoff (.hwh) of the block design, as PYNQ reads it.

Vivado writes such a file beside a bitstream. This one has the parts that pynq and pynqmetadata read: processing system
with its clock, the machine with ports, interfaces and registers, interrupt controller, addresses. It lacks the parts
that they ignore: interconnects, resets, most parameters of the processing system.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from moevit.spec.arrays import MachineConfig
from moevit.spec.boards import Board
from moevit.spec.ip import ACCESS, CELL, VLNV, fields
from moevit.spec.registers import APERTURE, REGISTERS, Register

from .machine import module_name
from .ports import AXI, Port, PortError, PortTable, axi_buses, port_table
from .vivado.boards import BOARD_DATA, DeviceFamily

__all__ = ["INTERRUPT_CONTROLLER", "INTERRUPT_RANGE", "handoff"]

INTERRUPT_CONTROLLER = "interrupts"
_PROCESSOR = "ps"
INTERRUPT_RANGE = 0x1_0000  # its registers follow the machine's at the next multiple of this


@dataclass(frozen=True, kw_only=True)
class _Handoff:
    """What the file says of a processing system beyond `DeviceFamily`. Braces take the number of a clock, divisor,
    port."""

    arch: str
    version: str
    block: str
    memory_bytes: int
    pll_mhz: int
    enable: str
    divisor: str
    source: tuple[str, str]
    frequency: str


_PROCESSORS = {
    "zynq_ultra_ps_e": _Handoff(
        arch="zynquplus", version="3.5", block="HP{}_DDR_LOW", memory_bytes=1 << 31, pll_mhz=1500,
        enable="PSU__FPGA_PL{}_ENABLE", divisor="PSU__CRL_APB__PL{}_REF_CTRL__DIVISOR{}",
        source=("PSU__CRL_APB__PL{}_REF_CTRL__SRCSEL", "IOPLL"),
        frequency="PSU__CRL_APB__PL{}_REF_CTRL__ACT_FREQMHZ"),
    "processing_system7": _Handoff(
        arch="zynq", version="5.5", block="HP{}_DDR_LOWOCM", memory_bytes=1 << 29, pll_mhz=1000,
        enable="PCW_FPGA_FCLK{}_ENABLE", divisor="PCW_FCLK{}_PERIPHERAL_DIVISOR{}",
        source=("PCW_FCLK{}_PERIPHERAL_CLKSRC", "IO PLL"), frequency="PCW_ACT_FPGA{}_PERIPHERAL_FREQMHZ"),
}


def handoff(board: Board, config: MachineConfig) -> str:
    """The .hwh of ``config`` on ``board``: XML text. Its clock is the nearest to the board's that the divisors reach.

    Raises PortError if the machine has more memory ports than the board.
    """
    from moevit.hw.top import Core  # imports all of hw, so only here

    family = BOARD_DATA[board.name].family
    file = _PROCESSORS[family.processor.rpartition(":")[2]]
    table = port_table(Core(config))  # never elaborated, hence the first line of this file
    name = module_name(config)
    root = Element("EDKSYSTEM", EDWVERSION="1.2", VIVADOVERSION="")
    SubElement(root, "SYSTEMINFO", ARCH=file.arch, DEVICE=board.part.lower(), NAME=name)
    SubElement(root, "EXTERNALPORTS")
    SubElement(root, "EXTERNALINTERFACES")
    modules = SubElement(root, "MODULES")
    _processing_system(modules, family, file, board.clock_mhz)
    _machine(modules, family, file, name, table)
    _interrupt_controller(modules, family)
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8" standalone="no" ?>\n' + ElementTree.tostring(root, "unicode") + "\n"


def _processing_system(modules: Element, family: DeviceFamily, file: _Handoff, clock_mhz: float) -> None:
    module = _module(modules, _PROCESSOR, f"{family.processor}:{file.version}")
    parameters = SubElement(module, "PARAMETERS")
    divisor = round(file.pll_mhz / clock_mhz)
    for index in range(4):
        used = index == 0
        _parameter(parameters, file.enable.format(index), int(used))
        _parameter(parameters, file.divisor.format(index, 0), divisor)
        _parameter(parameters, file.divisor.format(index, 1), 1)
        _parameter(parameters, file.source[0].format(index), file.source[1])
        _parameter(parameters, file.frequency.format(index), f"{file.pll_mhz / divisor:.6f}")
    ports = SubElement(module, "PORTS")
    users = ((CELL, "aclk"), (INTERRUPT_CONTROLLER, "s_axi_aclk"))
    _port(ports, family.clock, "O", "clk", f"{_PROCESSOR}_{family.clock}", users)
    _port(ports, family.reset, "O", "rst")
    _port(ports, family.interrupt, "I", "INTERRUPT", f"{INTERRUPT_CONTROLLER}_irq", [(INTERRUPT_CONTROLLER, "irq")])
    interfaces = SubElement(module, "BUSINTERFACES")
    _interface(interfaces, family.control, "MASTER")
    for port in family.memory:
        _interface(interfaces, port.interface, "SLAVE")
    ranges = ((CELL, APERTURE, family.base, "s_axi"),
              (INTERRUPT_CONTROLLER, INTERRUPT_RANGE, family.base + INTERRUPT_RANGE, "s_axi"))
    memory, peripherals = SubElement(module, "MEMORYMAP"), SubElement(module, "PERIPHERALS")
    for cell, size, base, interface in ranges:
        _range(memory, cell, "Reg", base, size, family.control, interface, "REGISTER")
        SubElement(peripherals, "PERIPHERAL", INSTANCE=cell)


def _machine(modules: Element, family: DeviceFamily, file: _Handoff, name: str, table: PortTable) -> None:
    module = _module(modules, CELL, VLNV)
    blocks = SubElement(module, "ADDRESSBLOCKS")
    block = SubElement(blocks, "ADDRESSBLOCK", ACCESS="read-write", INTERFACE="s_axi", NAME="Reg", RANGE=str(APERTURE),
                       USAGE="register")
    registers = SubElement(block, "REGISTERS")
    for register in REGISTERS:
        _register(registers, register)
    parameters = SubElement(module, "PARAMETERS")
    for key, value in (("Component_Name", name), ("C_BASEADDR", f"0x{family.base:08X}"),
                       ("C_HIGHADDR", f"0x{family.base + APERTURE - 1:08X}")):
        _parameter(parameters, key, value)
    ports = SubElement(module, "PORTS")
    wires = {"aclk": ("clk", f"{_PROCESSOR}_{family.clock}", [(_PROCESSOR, family.clock)]),
             "irq": ("INTERRUPT", f"{CELL}_irq", [(INTERRUPT_CONTROLLER, "intr")]),
             "aresetn": ("rst", "", [])}
    for port in table.ports:
        _port(ports, port.name, "O" if port.output else "I", *wires.get(port.name, ("undef", "", [])),
              width=port.width)
    interfaces = SubElement(module, "BUSINTERFACES")
    buses = axi_buses(table)
    for bus, members in buses.items():
        _interface(interfaces, bus, "SLAVE" if bus == "s_axi" else "MASTER", members)
    memory = SubElement(module, "MEMORYMAP")
    if len(buses) - 1 > len(family.memory):
        raise PortError(f"{name} has {len(buses) - 1} memory ports, the processing system has {len(family.memory)}")
    for index, bus in enumerate(bus for bus in buses if bus != "s_axi"):
        _range(memory, _PROCESSOR, file.block.format(index), 0, file.memory_bytes, bus, family.memory[index].interface,
               "MEMORY")
    SubElement(SubElement(module, "PERIPHERALS"), "PERIPHERAL", INSTANCE=_PROCESSOR)


def _interrupt_controller(modules: Element, family: DeviceFamily) -> None:
    """The interrupt controller, which PYNQ needs between an interrupt and the processing system."""
    module = _module(modules, INTERRUPT_CONTROLLER, "xilinx.com:ip:axi_intc:4.1")
    parameters = SubElement(module, "PARAMETERS")
    _parameter(parameters, "C_NUM_INTR_INPUTS", 1)
    _parameter(parameters, "C_KIND_OF_INTR", "0xFFFFFFFE")  # bit 0 level-sensitive
    ports = SubElement(module, "PORTS")
    _port(ports, "s_axi_aclk", "I", "clk", f"{_PROCESSOR}_{family.clock}", [(_PROCESSOR, family.clock)])
    _port(ports, "intr", "I", "INTERRUPT", f"{CELL}_irq", [(CELL, "irq")])
    _port(ports, "irq", "O", "INTERRUPT", f"{INTERRUPT_CONTROLLER}_irq", [(_PROCESSOR, family.interrupt)])
    _interface(SubElement(module, "BUSINTERFACES"), "s_axi", "SLAVE")


def _module(modules: Element, cell: str, vlnv: str) -> Element:
    _, _, name, version = vlnv.split(":")
    return SubElement(modules, "MODULE", FULLNAME=f"/{cell}", HWVERSION=version, INSTANCE=cell, IPTYPE="PERIPHERAL",
                      IS_ENABLE="1", MODCLASS="PERIPHERAL", MODTYPE=name, VLNV=vlnv)


def _register(registers: Element, register: Register) -> None:
    element = SubElement(registers, "REGISTER", NAME=register.name)
    for key, value in (("DESCRIPTION", register.doc), ("ADDRESS_OFFSET", f"0x{register.offset:X}"), ("SIZE", "32"),
                       ("ACCESS", ACCESS[register.access]), ("IS_ENABLED", "true")):
        SubElement(element, "PROPERTY", NAME=key, VALUE=value)
    parts = SubElement(element, "FIELDS")
    for name, bit, access in fields(register):
        part = SubElement(parts, "FIELD", NAME=name)
        for key, value in (("DESCRIPTION", name), ("ADDRESS_OFFSET", str(bit)), ("ACCESS", access),
                           ("BIT_OFFSET", str(bit)), ("BIT_WIDTH", "1")):
            SubElement(part, "PROPERTY", NAME=key, VALUE=value)


def _parameter(parent: Element, name: str, value: object) -> None:
    SubElement(parent, "PARAMETER", NAME=name, VALUE=str(value))


def _port(ports: Element, name: str, direction: str, kind: str, signal: str = "",
          ends: Sequence[tuple[str, str]] = (), width: int = 1) -> None:
    port = SubElement(ports, "PORT", DIR=direction, NAME=name, SIGIS=kind)
    if width > 1:
        port.attrib |= {"LEFT": str(width - 1), "RIGHT": "0"}
    if signal:
        port.set("SIGNAME", signal)
        connections = SubElement(port, "CONNECTIONS")
        for instance, end in ends:
            SubElement(connections, "CONNECTION", INSTANCE=instance, PORT=end)


def _interface(interfaces: Element, name: str, role: str, members: Sequence[tuple[str, Port]] = ()) -> None:
    interface = SubElement(interfaces, "BUSINTERFACE", BUSNAME=name, NAME=name, TYPE=role, VLNV=AXI)
    for _, port in members:
        for item in dict(port.attributes).get("X_INTERFACE_PARAMETER", "").split(", ")[1:]:  # after XIL_INTERFACENAME
            _parameter(interface, *item.split(" ", 1))
    maps = SubElement(interface, "PORTMAPS")
    for logical, port in members:
        SubElement(maps, "PORTMAP", LOGICAL=logical, PHYSICAL=port.name)


def _range(memory: Element, cell: str, block: str, base: int, size: int, master: str, slave: str, kind: str) -> None:
    SubElement(memory, "MEMRANGE", ADDRESSBLOCK=block, BASENAME="C_BASEADDR", BASEVALUE=f"0x{base:08X}",
               HIGHNAME="C_HIGHADDR", HIGHVALUE=f"0x{base + size - 1:08X}", INSTANCE=cell, IS_DATA="TRUE",
               IS_INSTRUCTION="TRUE", MASTERBUSINTERFACE=master, MEMTYPE=kind, SLAVEBUSINTERFACE=slave)
