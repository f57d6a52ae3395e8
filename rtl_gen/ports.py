# SPDX-License-Identifier: Apache-2.0
"""The wrapper's ports: one row per AMBA signal, from which declaration, attribute and connection are made."""

from collections.abc import Iterator
from dataclasses import dataclass

from amaranth.lib import data
from amaranth.lib.wiring import Component, Member

from moevit.hw.bus.axi import LiteChannels, ReadChannels, WriteChannels

__all__ = ["Port", "port_table"]

#: Constants that every burst carries: SIZE is the bus width, BURST is INCR, CACHE is normal non-cacheable bufferable
#: with upsizing allowed, PROT is unprivileged secure data (UG1085, PG059).
_BURST = {"burst": (2, 0b01), "cache": (4, 0b0011), "prot": (3, 0b000)}
_AMBA = "xilinx.com:interface:aximm:1.0"


@dataclass(frozen=True)
class Port:
    """A port of the wrapper.

    ``core`` is the core's port and bit it is a slice of (None for a tied constant), ``constant`` the tied value,
    ``info`` the text of X_INTERFACE_INFO, ``parameter`` that of X_INTERFACE_PARAMETER.
    """

    name: str
    output: bool
    width: int
    core: str | None = None
    lsb: int = 0
    constant: int = 0
    info: str = ""
    parameter: str = ""


def port_table(top: Component, burst_length: int = 16, outstanding: int = 8) -> list[Port]:
    """All ports of the wrapper around ``top``, whose signature holds AXI channels, ``irq`` and maybe ``trace``."""
    interfaces = {"s_axi", "m_axi"}
    ports = [
        Port("aclk", False, 1, "clk", info="xilinx.com:signal:clock:1.0 aclk CLK",
             parameter=f"ASSOCIATED_BUSIF {':'.join(sorted(interfaces))}, ASSOCIATED_RESET aresetn"),
        Port("aresetn", False, 1, info="xilinx.com:signal:reset:1.0 aresetn RST", parameter="POLARITY ACTIVE_LOW"),
    ]
    for name, member in top.signature.members.items():
        if member.is_port:
            ports.append(Port(name, member.flow.name == "Out", 1, name,
                              info=f"xilinx.com:signal:interrupt:1.0 {name} INTERRUPT",
                              parameter="SENSITIVITY LEVEL_HIGH"))
        elif isinstance(member.signature, LiteChannels):
            ports += _channels(name, member, "s_axi", "XIL_INTERFACENAME s_axi, PROTOCOL AXI4LITE, DATA_WIDTH 32")
            ports += [Port(f"s_axi_{channel}prot", False, 3, info=f"{_AMBA} s_axi {channel.upper()}PROT")
                      for channel in ("aw", "ar")]
        elif isinstance(member.signature, (ReadChannels, WriteChannels)):
            channel = "ar" if isinstance(member.signature, ReadChannels) else "aw"
            width = _data_width(member, "r" if channel == "ar" else "w")
            parameter = "" if channel == "aw" else (
                f"XIL_INTERFACENAME m_axi, PROTOCOL AXI4, DATA_WIDTH {width}, ADDR_WIDTH 40, "
                f"MAX_BURST_LENGTH {burst_length}, NUM_READ_OUTSTANDING {outstanding}, NUM_WRITE_OUTSTANDING "
                f"{outstanding}, SUPPORTS_NARROW_BURST 0, HAS_BURST 1, HAS_QOS 0, HAS_LOCK 0, HAS_REGION 0")
            ports += _channels(name, member, "m_axi", parameter)
            constants = {"size": (3, (width // 8).bit_length() - 1), **_BURST}
            ports += [Port(f"m_axi_{channel}{field}", True, bits, constant=value,
                           info=f"{_AMBA} m_axi {channel.upper()}{field.upper()}")
                      for field, (bits, value) in constants.items()]
        else:
            ports += [Port(f"{name}_{field}", True, bits, core, lsb) for field, core, bits, lsb in _flow(name, member)]
    return ports


def _fields(shape: object) -> Iterator[tuple[str, int, int]]:
    """Name, width and lowest bit of each field of a structure."""
    for name, field in data.Layout.cast(shape):
        yield str(name), field.width, field.offset


def _data_width(member: Member, channel: str) -> int:
    shape = member.signature.members[channel].signature.members["payload"].shape
    return next(width for name, width, _ in _fields(shape) if name == "data")


def _channels(name: str, member: Member, interface: str, parameter: str) -> list[Port]:
    """The signals of each channel; ``parameter`` goes on the first."""
    ports = []
    outward = member.flow.name == "Out"
    for channel, stream in member.signature.members.items():
        output = (stream.flow.name == "Out") == outward
        core = f"{name}__{channel}"
        signals = [(channel + field, output, width, f"{core}__payload", lsb)
                   for field, width, lsb in _fields(stream.signature.members["payload"].shape)]
        signals += [(f"{channel}valid", output, 1, f"{core}__valid", 0),
                    (f"{channel}ready", not output, 1, f"{core}__ready", 0)]
        for signal, out, width, source, lsb in signals:
            ports.append(Port(f"{interface}_{signal}", out, width, source, lsb,
                              info=f"{_AMBA} {interface} {signal.upper()}", parameter="" if ports else parameter))
    return ports


def _flow(name: str, member: Member) -> Iterator[tuple[str, str, int, int]]:
    """Fields of a trace flow: plain outputs, seen by the simulation only."""
    yield "valid", f"{name}__valid", 1, 0
    for field, width, lsb in _fields(member.signature.members["payload"].shape):
        yield field, f"{name}__payload", width, lsb
