# SPDX-License-Identifier: Apache-2.0
"""The IP-XACT description: well-formed, in the standard's order, whole, and the same as ``spec`` and the wrapper."""

import re
from xml.etree import ElementTree

import pytest

from moevit.rtl_gen.ipxact import NAMESPACE, component
from moevit.spec.ip import VLNV
from moevit.spec.registers import APERTURE, BITS, PASS_LOG, PASS_LOG_ENTRIES, REGISTERS, ErrorCode

from .vivado.conftest import bare_rtl

#: Children of an element in the order that IEEE 1685-2014 asks for; those with a star must be there.
ORDER = {
    "component": "vendor* library* name* version* busInterfaces addressSpaces memoryMaps model fileSets description",
    "busInterface": "name* busType* abstractionTypes master slave",
    "abstractionType": "abstractionRef* portMaps",
    "portMap": "logicalPort* physicalPort*",
    "addressSpace": "name* range* width* addressUnitBits",
    "memoryMap": "name* addressBlock* addressUnitBits",
    "addressBlock": "name* baseAddress* range* width* usage volatile access register",
    "register": "name* description addressOffset* size* volatile access field*",
    "field": "name* bitOffset* bitWidth* volatile access enumeratedValues modifiedWriteValue",
    "enumeratedValue": "name* value*",
    "model": "views instantiations ports",
    "view": "name* envIdentifier componentInstantiationRef",
    "componentInstantiation": "name* language moduleName fileSetRef",
    "port": "name* wire*",
    "wire": "direction* vectors",
    "vector": "left* right*",
    "fileSet": "name* file",
    "file": "name* fileType*",
}
ACCESS = {"read-only", "read-write"}


@pytest.fixture(scope="module", params=["8x8", "16x16", "32x64"])
def described(request):
    """The parsed description and the generated Verilog of a configuration."""
    rtl = bare_rtl(request.param)
    return ElementTree.fromstring(component(rtl, "a description", ["moevit.h"])), rtl


def tag(element) -> str:
    assert element.tag.startswith(f"{{{NAMESPACE}}}"), element.tag
    return element.tag.partition("}")[2]


def texts(element, path: str) -> list[str]:
    steps = "/".join(f"{{{NAMESPACE}}}{step}" for step in path.split("/"))
    return [each.text for each in element.findall(steps)]


def text(element, path: str) -> str:
    found, = texts(element, path)
    return found


def find(element, name: str):
    return list(element.iter(f"{{{NAMESPACE}}}{name}"))


def number(written: str) -> int:
    return int(written.removeprefix("'h"), 16 if written.startswith("'h") else 10)


def test_children_are_in_the_order_of_the_standard(described):
    for element in described[0].iter():
        wanted = ORDER.get(tag(element))
        if wanted is None:
            continue
        names = [name.rstrip("*") for name in wanted.split()]
        places = [names.index(tag(child)) for child in element]
        assert places == sorted(places), tag(element)
        missing = {name[:-1] for name in wanted.split() if name.endswith("*")} - {tag(child) for child in element}
        assert not missing, f"{tag(element)} lacks {missing}"


def test_names_are_unique_and_references_lead_somewhere(described):
    root = described[0]
    for kind in ("busInterface", "port", "register", "addressBlock", "memoryMap", "addressSpace", "file"):
        names = [text(each, "name") for each in find(root, kind)]
        assert len(set(names)) == len(names) > 0, kind
    for reference, kind in (("memoryMapRef", "memoryMap"), ("addressSpaceRef", "addressSpace")):
        names = {text(each, "name") for each in find(root, kind)}
        assert {each.get(reference) for each in find(root, reference)} == names
    instantiation, = find(root, "componentInstantiation")
    assert [each.text for each in find(root, "componentInstantiationRef")] == [text(instantiation, "name")]
    assert text(instantiation, "fileSetRef/localName") == text(find(root, "fileSet")[0], "name")


def test_ports_and_interfaces_are_the_wrappers(described):
    root, rtl = described
    assert ":".join(text(root, name) for name in ("vendor", "library", "name", "version")) == VLNV
    assert text(find(root, "componentInstantiation")[0], "moduleName") == rtl.name
    assert set(texts(find(root, "fileSet")[0], "file/name")) == {*rtl.files, "moevit.h"}
    ports = {}
    for each in find(root, "port"):
        left = texts(each, "wire/vectors/vector/left")
        ports[text(each, "name")] = (text(each, "wire/direction"), int(left[0]) + 1 if left else 1)
    assert ports == {port.name: ("out" if port.output else "in", port.width) for port in rtl.table.ports}
    used = set()
    for interface in find(root, "busInterface"):
        name = text(interface, "name")
        kind = "AXI4-Lite" if name == "s_axi" else "AXI4"
        assert find(interface, "busType")[0].get("name") == kind
        assert find(interface, "abstractionRef")[0].get("name") == f"{kind}_rtl"
        pairs = dict(zip([each.text for each in find(interface, "logicalPort") for each in each],
                         [each.text for each in find(interface, "physicalPort") for each in each], strict=True))
        assert pairs.pop("ACLK") == "aclk" and pairs.pop("ARESETn") == "aresetn"
        assert pairs == {logical: f"{name}_{logical.lower()}" for logical in pairs}
        assert {"AWADDR", "WDATA", "BRESP", "ARADDR", "RDATA", "RREADY"} <= pairs.keys()
        used |= set(pairs.values())
    assert used == set(ports) - {"aclk", "aresetn", "irq"}
    assert {text(each, "name") for each in find(root, "busInterface")} == {"s_axi", *rtl.table.managers}


def test_registers_are_those_of_the_contract(described):
    root = described[0]
    registers, log = find(root, "addressBlock")
    assert number(text(log, "baseAddress")) == PASS_LOG and number(text(log, "range")) == 8 * PASS_LOG_ENTRIES
    assert number(text(log, "baseAddress")) + number(text(log, "range")) <= APERTURE
    assert number(text(registers, "baseAddress")) + number(text(registers, "range")) <= PASS_LOG
    found = {text(each, "name"): each for each in find(registers, "register")}
    assert {name: number(text(each, "addressOffset")) for name, each in found.items()} == {
        register.name: register.offset for register in REGISTERS}
    for each in find(root, "field"):
        assert number(text(each, "bitOffset")) + number(text(each, "bitWidth")) <= 32 and text(each, "access") in ACCESS
    control = {text(each, "name"): number(text(each, "bitOffset")) for each in find(found["CONTROL"], "field")}
    assert control == BITS
    codes = {text(each, "name"): int(text(each, "value")) for each in find(found["ERROR_CODE"], "enumeratedValue")}
    assert codes == {code.name: code.value for code in ErrorCode}
    assert [each.text for each in find(found["INTERRUPT_STATUS"], "modifiedWriteValue")] == ["oneToClear"]


def test_address_spaces_are_as_wide_as_the_ports(described):
    root, rtl = described
    widths = {port.name: port.width for port in rtl.table.ports}
    for space in find(root, "addressSpace"):
        bus = text(space, "name").removesuffix("_space")
        assert number(text(space, "range")) == 1 << widths[f"{bus}_araddr"]
        assert number(text(space, "width")) == widths[f"{bus}_rdata"]


def test_the_same_input_gives_the_same_bytes():
    rtl = bare_rtl("8x8")
    once = component(rtl, "text")
    assert once == component(rtl, "text") and re.match(r"<\?xml version='1.0'", once)
