# SPDX-License-Identifier: Apache-2.0
"""The port table of the wrapper, from a component's signature: AMBA names, directions, widths, Vivado attributes.

The signature of a port decides what it becomes, not its name. A ``LiteChannels`` subordinate becomes ``s_axi``, a pair
of ``ReadChannels`` and ``WriteChannels`` becomes ``m_axi``, an output bit becomes ``irq``, and a flow stays a trace.
Arrays of n ``ReadChannels`` and n ``WriteChannels`` become ``m_axi_0`` to ``m_axi_<n-1>``, or ``m_axi`` if n is 1.
"""

from dataclasses import dataclass, field
from typing import Any

from amaranth.hdl import Shape
from amaranth.lib import data
from amaranth.lib.wiring import Component, FlippedSignature, Member, Signature

from moevit.hw.bus.axi import LiteChannels, ReadChannels, WriteChannels
from moevit.hw.bus.bursts import BURST_BEATS, OUTSTANDING
from moevit.hw.interfaces import Flow

__all__ = ["AXI", "Port", "PortError", "PortTable", "Trace", "axi_buses", "port_table"]

_CLOCK = "xilinx.com:signal:clock:1.0"
_RESET = "xilinx.com:signal:reset:1.0"
_INTERRUPT = "xilinx.com:signal:interrupt:1.0"
AXI = "xilinx.com:interface:aximm:1.0"


class PortError(ValueError):
    """A component whose ports have no place in the wrapper.

    Fix: give the component the ports that `rtl_gen.ports` describes.
    """


@dataclass(frozen=True)
class Port:
    """One port of the wrapper. ``constant``: value of a tied output. ``attributes``: pairs (name, value) for Vivado."""

    name: str
    output: bool
    width: int
    attributes: tuple[tuple[str, str], ...] = ()
    constant: int | None = None


@dataclass(frozen=True)
class Trace:
    """A flow for simulation: ports NAME_valid and NAME_payload of ``width`` bits."""

    name: str
    width: int


@dataclass
class PortTable:
    """All ports of the wrapper, and ``connections``: a Verilog expression for each port of the core.

    ``managers``: names of the AXI4 managers, ``m_axi`` or ``m_axi_0`` and so on, each ``data_bytes`` bytes wide.
    """

    ports: list[Port] = field(default_factory=list)
    connections: dict[str, str] = field(default_factory=dict)
    traces: list[Trace] = field(default_factory=list)
    managers: list[str] = field(default_factory=list)
    data_bytes: int = 0
    lite_address_bits: int = 0

    def add(self, name: str, output: bool, width: int, *attributes: tuple[str, str],
            constant: int | None = None) -> None:
        """Append a port."""
        self.ports.append(Port(name, output, width, attributes, constant))


def _plain(signature: Any) -> Signature:
    return signature.flip() if isinstance(signature, FlippedSignature) else signature


def _info(bus: str, name: str) -> tuple[str, str]:
    return "X_INTERFACE_INFO", f"{AXI} {bus} {name.upper()}"


def _parameters(**values: Any) -> tuple[str, str]:
    name = values.pop("XIL_INTERFACENAME")
    return "X_INTERFACE_PARAMETER", ", ".join([f"XIL_INTERFACENAME {name}", *(f"{k} {v}" for k, v in values.items())])


def _add_channel(table: PortTable, bus: str, core: str, channel: str, stream: Signature, output: bool) -> None:
    """The ports of one AXI channel. ``output``: the wrapper drives its payload."""
    layout = stream.members["payload"].shape
    if not isinstance(layout, data.StructLayout):
        raise PortError(f"{core}__{channel}: the payload is {layout!r}, not a StructLayout")
    names = []
    for key, part in layout:
        name = f"{channel}{key}"
        names.append(f"{bus}_{name}")
        table.add(f"{bus}_{name}", output, part.width, _info(bus, name))
    # Fields of a StructLayout follow each other from bit 0; a Verilog concatenation begins at the top.
    table.connections[f"{core}__{channel}__payload"] = "{" + ", ".join(reversed(names)) + "}"
    for name, backwards in (("valid", False), ("ready", True)):
        table.add(f"{bus}_{channel}{name}", output != backwards, 1, _info(bus, channel + name))
        table.connections[f"{core}__{channel}__{name}"] = f"{bus}_{channel}{name}"


def _add_lite(table: PortTable, core: str, signature: Signature) -> None:
    layouts = {name: member.signature.members["payload"].shape for name, member in signature.members.items()}
    table.lite_address_bits = layouts["aw"]["addr"].width
    first = len(table.ports)
    for channel in ("aw", "w", "b", "ar", "r"):
        if channel in ("aw", "ar"):
            table.add(f"s_axi_{channel}prot", False, 3, _info("s_axi", f"{channel}prot"))
        _add_channel(table, "s_axi", core, channel, _plain(signature.members[channel].signature), channel in ("b", "r"))
    port = table.ports[first]
    parameters = _parameters(
        XIL_INTERFACENAME="s_axi", PROTOCOL="AXI4LITE", DATA_WIDTH=layouts["w"]["data"].width,
        ADDR_WIDTH=table.lite_address_bits, READ_WRITE_MODE="READ_WRITE", HAS_PROT=1, HAS_WSTRB=1, HAS_BRESP=1,
        HAS_RRESP=1)
    table.ports[first] = Port(port.name, port.output, port.width, (*port.attributes, parameters))


def _add_full(table: PortTable, bus: str, read: tuple[str, Signature], write: tuple[str, Signature]) -> None:
    size = (table.data_bytes - 1).bit_length()
    address = read[1].members["ar"].signature.members["payload"].shape["addr"].width
    first = len(table.ports)
    for (core, signature), channels in ((write, ("aw", "w", "b")), (read, ("ar", "r"))):
        for channel in channels:
            _add_channel(table, bus, core, channel, _plain(signature.members[channel].signature),
                         channel not in ("b", "r"))
            if channel.startswith("a"):
                for name, bits, value in (("size", 3, size), ("burst", 2, 1), ("lock", 1, 0), ("cache", 4, 3),
                                          ("prot", 3, 0), ("qos", 4, 0)):
                    table.add(f"{bus}_{channel}{name}", True, bits, _info(bus, channel + name), constant=value)
    port = table.ports[first]
    parameters = _parameters(
        XIL_INTERFACENAME=bus, PROTOCOL="AXI4", DATA_WIDTH=8 * table.data_bytes, ADDR_WIDTH=address, ID_WIDTH=0,
        READ_WRITE_MODE="READ_WRITE", HAS_BURST=1, HAS_LOCK=1, HAS_PROT=1, HAS_CACHE=1, HAS_QOS=1, HAS_REGION=0,
        HAS_WSTRB=1, HAS_BRESP=1, HAS_RRESP=1, SUPPORTS_NARROW_BURST=0, MAX_BURST_LENGTH=BURST_BEATS,
        NUM_READ_OUTSTANDING=OUTSTANDING, NUM_WRITE_OUTSTANDING=OUTSTANDING)
    table.ports[first] = Port(port.name, port.output, port.width, (*port.attributes, parameters))


def _managers(read: Member, write: Member) -> tuple[list[str], int]:
    """Names of the AXI4 managers, and the bytes of their beats."""
    if read.dimensions != write.dimensions or len(read.dimensions) > 1:
        raise PortError(f"read channels {read.dimensions} and write channels {write.dimensions} of m_axi are no pairs")
    width, other = (_plain(member.signature).members[channel].signature.members["payload"].shape["data"].width
                    for member, channel in ((read, "r"), (write, "w")))
    if other != width:
        raise PortError("the read and the write channels of m_axi differ in width")
    count = read.dimensions[0] if read.dimensions else 1
    return ["m_axi"] if count == 1 else [f"m_axi_{index}" for index in range(count)], width // 8


def port_table(component: Component) -> PortTable:
    """The wrapper's ports for ``component``. Raises PortError for a port that is unknown, missing, or there twice."""
    found: dict[str, tuple[str, Member]] = {}
    traces: list[tuple[str, Signature]] = []
    interrupt: str | None = None

    def only(kind: str, name: str, member: Member) -> None:
        if kind in found:
            raise PortError(f"ports {found[kind][0]} and {name} are both {kind}")
        found[kind] = name, member

    for name, member in component.signature.members.items():
        signature = _plain(member.signature) if member.is_signature else None
        outward = member.is_signature and not isinstance(member.signature, FlippedSignature)
        if isinstance(signature, LiteChannels) and not outward:
            only("s_axi", name, member)
        elif isinstance(signature, ReadChannels) and outward:
            only("m_axi read", name, member)
        elif isinstance(signature, WriteChannels) and outward:
            only("m_axi write", name, member)
        elif isinstance(signature, Flow) and outward:
            traces.append((name, signature))
        elif member.is_port and member.flow.name == "Out" and Shape.cast(member.shape).width == 1 and interrupt is None:
            interrupt = name
        else:
            raise PortError(f"port {name} ({member!r}) has no place in the wrapper")
    missing = {"s_axi", "m_axi read", "m_axi write"} - found.keys()
    if missing or interrupt is None:
        raise PortError(f"{type(component).__name__} lacks {', '.join(sorted(missing)) or 'an interrupt output'}")

    channels = found["m_axi read"], found["m_axi write"]
    managers, data_bytes = _managers(*(member for _, member in channels))
    table = PortTable(managers=managers, data_bytes=data_bytes)
    table.add("aclk", False, 1, ("X_INTERFACE_INFO", f"{_CLOCK} aclk CLK"), _parameters(
        XIL_INTERFACENAME="aclk", ASSOCIATED_BUSIF=":".join(["s_axi", *managers]), ASSOCIATED_RESET="aresetn"))
    table.add("aresetn", False, 1, ("X_INTERFACE_INFO", f"{_RESET} aresetn RST"), _parameters(
        XIL_INTERFACENAME="aresetn", POLARITY="ACTIVE_LOW"))
    table.add("irq", True, 1, ("X_INTERFACE_INFO", f"{_INTERRUPT} irq INTERRUPT"), _parameters(
        XIL_INTERFACENAME="irq", SENSITIVITY="LEVEL_HIGH"))
    table.connections |= {"clk": "aclk", "rst": "~aresetn", interrupt: "irq"}
    control, member = found["s_axi"]
    _add_lite(table, control, _plain(member.signature))
    for index, bus in enumerate(managers):
        _add_full(table, bus, *((f"{name}__{index}" if member.dimensions else name, _plain(member.signature))
                                for name, member in channels))
    for name, signature in traces:
        width = Shape.cast(signature.members["payload"].shape).width
        table.traces.append(Trace(name, width))
        for part, bits in (("valid", 1), ("payload", width)):
            table.add(f"{name}_{part}", True, bits)
            table.connections[f"{name}__{part}"] = f"{name}_{part}"
    return table


def axi_buses(table: PortTable) -> dict[str, list[tuple[str, Port]]]:
    """The AXI interfaces: by name, (AXI's name of a signal, port), from the ports' Vivado attributes."""
    buses: dict[str, list[tuple[str, Port]]] = {}
    for port in table.ports:
        info = dict(port.attributes).get("X_INTERFACE_INFO", "").split()
        if info and info[0] == AXI:
            buses.setdefault(info[1], []).append((info[2], port))
    return buses
