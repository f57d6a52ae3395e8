# SPDX-License-Identifier: Apache-2.0
"""What a run cost, read back from counters and pass log."""

from dataclasses import dataclass
from operator import itemgetter

import numpy as np

from moevit.spec.bundle import Bundle
from moevit.spec.isa import Opcode, decode
from moevit.spec.registers import PASS_LOG, PASS_LOG_ENTRIES, unpack_log

from .device import Device
from .registers import RegisterFile

__all__ = ["PassReport", "RunReport", "read_passes"]


@dataclass(frozen=True)
class PassReport:
    """One finished instruction: its name, expert (of an expert loop, else 0), rows, and the cycle of its end.

    ``expert`` is the checkpoint's number. ``cycles`` since the end of the one before; ``macs`` the network's (padding
    not counted); ``bytes`` from memory.
    """

    name: str
    expert: int
    rows: int
    end: int
    cycles: int
    macs: int
    bytes: int


@dataclass(frozen=True)
class RunReport:
    """One run. ``counters`` by name (``moevit.spec.registers.COUNTERS``), ``passes`` in the order of their end.

    What is made from ``passes`` is empty where they were not read (within a stream).
    """

    task: str
    counters: dict[str, int]
    passes: tuple[PassReport, ...]

    @property
    def cycles(self) -> int:
        return self.counters["CYCLES"]

    @property
    def macs(self) -> int:
        return sum(each.macs for each in self.passes)

    @property
    def stalls(self) -> dict[str, int]:
        """Cycles by what the row reader did in them; together they are ``cycles``."""
        return {name: value for name, value in self.counters.items() if name == "BUSY" or name.startswith("WAIT_")}

    @property
    def bytes_read(self) -> int:
        return self.counters["BYTES_READ"]

    @property
    def bytes_written(self) -> int:
        return self.counters["BYTES_WRITTEN"]

    @property
    def saturated(self) -> int:
        """Values that did not fit their format and were clipped."""
        return self.counters["SATURATED"]

    @property
    def expert_rows(self) -> dict[str, dict[int, int]]:
        """Tokens per active expert, by MoE block; experts as the checkpoint numbers them."""
        loads: dict[str, dict[int, int]] = {}
        for each in self.passes:
            if each.name.endswith(".moe.fc1"):
                load = loads.setdefault(each.name.removesuffix(".moe.fc1"), {})
                load[each.expert] = load.get(each.expert, 0) + each.rows
        return loads


def read_passes(device: Device, registers: RegisterFile, bundle: Bundle) -> tuple[PassReport, ...]:
    """The pass log of the run that ended last, two register reads an entry; at most PASS_LOG_ENTRIES are kept."""
    fields = [decode(words) for words in np.frombuffer(bundle.program, "<u4").reshape(-1, 16)]
    entries, beat = bundle.manifest["instructions"], bundle.manifest["bus_bytes"]
    passes, before = [], 0
    for index in range(min(registers.read("FINISHED"), PASS_LOG_ENTRIES)):
        end = device.read_register(PASS_LOG + 8 * index)
        info = device.read_register(PASS_LOG + 8 * index + 4)
        pc, expert, rows = itemgetter("pc", "expert", "rows")(unpack_log(info))
        if "experts" in entries[pc]:
            expert = entries[pc]["experts"][expert]
        macs = entries[pc]["macs_per_row"] * rows if fields[pc]["opcode"] == Opcode.PASS else 0
        passes.append(PassReport(entries[pc]["name"], expert, rows, end, end - before, macs,
                                 fields[pc].get("region_beats", 0) * beat))
        before = end
    return tuple(passes)
