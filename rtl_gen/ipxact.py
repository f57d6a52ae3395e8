# SPDX-License-Identifier: Apache-2.0
"""The IP core as IP-XACT (IEEE 1685-2014): ports, AXI interfaces, registers, files.

For flows other than Vivado's, which packages the same wrapper by itself (`rtl_gen.vivado`).
"""

from collections.abc import Sequence
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from moevit.spec.ip import ACCESS, VLNV, fields
from moevit.spec.registers import APERTURE, PASS_LOG, PASS_LOG_ENTRIES, REGISTERS, ErrorCode, Register

from .generate import Rtl
from .ports import Port, PortTable, axi_buses

__all__ = ["NAMESPACE", "component"]

NAMESPACE = "http://www.accellera.org/XMLSchema/IPXACT/1685-2014"
_SCHEMA = f"{NAMESPACE} {NAMESPACE}/index.xsd"
_XSI = "http://www.w3.org/2001/XMLSchema-instance"
_MAP, _VIEW, _FILES, _INSTANTIATION = "s_axi_map", "verilog", "verilog_files", "verilog_module"


def component(rtl: Rtl, description: str, extra: Sequence[str] = ()) -> str:
    """``component.xml`` of generated Verilog. ``extra``: C headers that lie beside it."""
    ElementTree.register_namespace("ipxact", NAMESPACE)
    ElementTree.register_namespace("xsi", _XSI)
    root = Element(f"{{{NAMESPACE}}}component", {f"{{{_XSI}}}schemaLocation": _SCHEMA})
    for name, value in zip(("vendor", "library", "name", "version"), VLNV.split(":"), strict=True):
        _add(root, name, value)
    buses = axi_buses(rtl.table)
    interfaces = _add(root, "busInterfaces")
    for bus, members in buses.items():
        _interface(interfaces, bus, members)
    spaces = _add(root, "addressSpaces")
    for bus in rtl.table.managers:
        space = _add(spaces, "addressSpace")
        for name, value in (("name", f"{bus}_space"), ("range", f"'h{1 << _address_bits(buses[bus]):X}"),
                            ("width", str(8 * rtl.table.data_bytes)), ("addressUnitBits", "8")):
            _add(space, name, value)
    _memory_map(_add(root, "memoryMaps"))
    _model(_add(root, "model"), rtl.name, rtl.table)
    _file_set(_add(root, "fileSets"), [*(name for name in rtl.files if name.endswith(".v")), *extra])
    _add(root, "description", description)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _add(parent: Element, tag: str, text: str = "", **attributes: str) -> Element:
    made = SubElement(parent, f"{{{NAMESPACE}}}{tag}", attributes)
    made.text = text or None
    return made


def _interface(interfaces: Element, bus: str, members: Sequence[tuple[str, Port]]) -> None:
    lite = bus == "s_axi"
    kind = "AXI4-Lite" if lite else "AXI4"
    interface = _add(interfaces, "busInterface")
    _add(interface, "name", bus)
    library = {"vendor": "amba.com", "library": "AMBA4", "version": "r0p0_0"}
    _add(interface, "busType", name=kind, **library)
    abstraction = _add(_add(interface, "abstractionTypes"), "abstractionType")
    _add(abstraction, "abstractionRef", name=f"{kind}_rtl", **library)
    maps = _add(abstraction, "portMaps")
    for logical, physical in (("ACLK", "aclk"), ("ARESETn", "aresetn"), *((name, port.name) for name, port in members)):
        entry = _add(maps, "portMap")
        _add(_add(entry, "logicalPort"), "name", logical)
        _add(_add(entry, "physicalPort"), "name", physical)
    if lite:
        _add(_add(interface, "slave"), "memoryMapRef", memoryMapRef=_MAP)
    else:
        _add(_add(interface, "master"), "addressSpaceRef", addressSpaceRef=f"{bus}_space")


def _address_bits(members: Sequence[tuple[str, Port]]) -> int:
    return next(port.width for logical, port in members if logical == "AWADDR")


def _memory_map(maps: Element) -> None:
    entry = _add(maps, "memoryMap")
    _add(entry, "name", _MAP)
    block = _block(entry, "registers", 0, PASS_LOG, "register", "read-write")
    for register in REGISTERS:
        _register(block, register)
    log = _block(entry, "pass_log", PASS_LOG, 8 * PASS_LOG_ENTRIES, "memory", "read-only")
    assert PASS_LOG + 8 * PASS_LOG_ENTRIES <= APERTURE and log is not None
    _add(entry, "addressUnitBits", "8")


def _block(parent: Element, name: str, base: int, size: int, usage: str, access: str) -> Element:
    block = _add(parent, "addressBlock")
    for key, value in (("name", name), ("baseAddress", f"'h{base:X}"), ("range", f"'h{size:X}"), ("width", "32"),
                       ("usage", usage), ("volatile", "true"), ("access", access)):
        _add(block, key, value)
    return block


def _register(block: Element, register: Register) -> None:
    entry = _add(block, "register")
    for key, value in (("name", register.name), ("description", register.doc),
                       ("addressOffset", f"'h{register.offset:X}"), ("size", "32"), ("volatile", "true"),
                       ("access", ACCESS[register.access])):
        _add(entry, key, value)
    parts = fields(register)
    for name, bit, access in parts:
        _field(entry, name, bit, 1, access)
    if not parts:
        _field(entry, "VALUE", 0, 32, ACCESS[register.access], register)


def _field(parent: Element, name: str, bit: int, width: int, access: str, register: Register | None = None) -> None:
    entry = _add(parent, "field")
    _add(entry, "name", name)
    _add(entry, "bitOffset", str(bit))
    _add(entry, "bitWidth", str(width))
    _add(entry, "volatile", "true")
    _add(entry, "access", access)
    if register is not None and register.name == "ERROR_CODE":
        values = _add(entry, "enumeratedValues")
        for code in ErrorCode:
            value = _add(values, "enumeratedValue")
            _add(value, "name", code.name)
            _add(value, "value", str(code.value))
    if register is not None and register.access == "w1c":
        _add(entry, "modifiedWriteValue", "oneToClear")


def _model(model: Element, name: str, table: PortTable) -> None:
    view = _add(_add(model, "views"), "view")
    _add(view, "name", _VIEW)
    _add(view, "envIdentifier", "Verilog:*Simulation:")
    _add(view, "envIdentifier", "Verilog:*Synthesis:")
    _add(view, "componentInstantiationRef", _INSTANTIATION)
    made = _add(_add(model, "instantiations"), "componentInstantiation")
    for key, value in (("name", _INSTANTIATION), ("language", "Verilog"), ("moduleName", name)):
        _add(made, key, value)
    _add(_add(made, "fileSetRef"), "localName", _FILES)
    ports = _add(model, "ports")
    for port in table.ports:
        entry = _add(ports, "port")
        _add(entry, "name", port.name)
        wire = _add(entry, "wire")
        _add(wire, "direction", "out" if port.output else "in")
        if port.width > 1:
            vector = _add(_add(wire, "vectors"), "vector")
            _add(vector, "left", str(port.width - 1))
            _add(vector, "right", "0")


def _file_set(sets: Element, names: Sequence[str]) -> None:
    entry = _add(sets, "fileSet")
    _add(entry, "name", _FILES)
    for name in names:
        file = _add(entry, "file")
        _add(file, "name", name)
        _add(file, "fileType", "verilogSource" if name.endswith(".v") else "cSource")
