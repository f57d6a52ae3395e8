# SPDX-License-Identifier: Apache-2.0
"""AXI channels as streams. The payload has what varies; the wrapper ties the rest (SIZE, BURST, CACHE, PROT).

There is one ID, and all bursts are INCR bursts of the full bus width. The signatures are seen from the master.

``sim/verilator/axi_checker.sv`` holds the machine to these rules: A burst has at most 16 bus beats (AXI3 takes no
more), begins at a multiple of the bus width and crosses no multiple of 4 KiB. ``len`` is the number of its bus beats
less one, ``last`` marks the last one. A payload that was offered stays unchanged until it is taken. VALID is low in the
first cycle after reset.
"""

from amaranth import *
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out, Signature

from ..fault import ADDRESS_BITS

__all__ = ["RESP_DECERR", "RESP_OKAY", "RESP_SLVERR", "LiteChannels", "ReadChannels", "WriteChannels", "address_layout"]

RESP_OKAY, RESP_SLVERR, RESP_DECERR = 0, 2, 3


def address_layout() -> data.StructLayout:
    """The payload of AR and AW."""
    return data.StructLayout({"addr": ADDRESS_BITS, "len": 8})


class ReadChannels(Signature):
    """AR and R of an AXI4 master with ``bus_bytes`` bytes per bus beat."""

    def __init__(self, bus_bytes: int):
        super().__init__({
            "ar": Out(stream.Signature(address_layout())),
            "r": In(stream.Signature(data.StructLayout({"data": 8 * bus_bytes, "resp": 2, "last": 1}))),
        })


class WriteChannels(Signature):
    """AW, W and B of an AXI4 master with ``bus_bytes`` bytes per bus beat."""

    def __init__(self, bus_bytes: int):
        super().__init__({
            "aw": Out(stream.Signature(address_layout())),
            "w": Out(stream.Signature(data.StructLayout({"data": 8 * bus_bytes, "strb": bus_bytes, "last": 1}))),
            "b": In(stream.Signature(data.StructLayout({"resp": 2}))),
        })


class LiteChannels(Signature):
    """AXI4-Lite with ``address_bits`` and ``data_bits``."""

    def __init__(self, address_bits: int, data_bits: int = 32):
        address = data.StructLayout({"addr": address_bits})
        super().__init__({
            "aw": Out(stream.Signature(address)),
            "w": Out(stream.Signature(data.StructLayout({"data": data_bits, "strb": data_bits // 8}))),
            "b": In(stream.Signature(data.StructLayout({"resp": 2}))),
            "ar": Out(stream.Signature(address)),
            "r": In(stream.Signature(data.StructLayout({"data": data_bits, "resp": 2}))),
        })
