# SPDX-License-Identifier: Apache-2.0
"""The cost of a run, from counters and pass log."""

from dataclasses import dataclass
from html import escape
from operator import itemgetter

import numpy as np

from moevit.spec.bundle import Bundle
from moevit.spec.isa import Opcode, decode
from moevit.spec.parts import Part
from moevit.spec.registers import PASS_LOG, PASS_LOG_ENTRIES, unpack_log

from .device import Device
from .registers import RegisterFile

__all__ = ["KINDS", "PassReport", "RunReport", "read_passes"]

#: Kinds of passes that a picture or a table tells apart, by part, in the order of a frame.
KINDS: dict[Part, str] = {
    Part.IMAGE: "image, output", Part.POSITION: "image, output", Part.EMBED: "image, output",
    Part.NORM1: "norm", Part.QUERY: "query, key, value", Part.KEY: "query, key, value", Part.VALUE: "query, key, value",
    Part.LOGIT: "logits", Part.MIX: "mix", Part.PROJ: "projection", Part.NORM2: "norm",
    Part.FC1: "dense FFN", Part.FC2: "dense FFN", Part.TASK_FC2: "dense FFN",
    Part.SELECT_BIAS: "gate", Part.GATE: "gate", Part.SHARED_FC1: "experts", Part.SHARED_FC2: "experts",
    Part.EXPERTS: "experts", Part.EXPERT_FC1: "experts", Part.EXPERT_FC2: "experts",
    Part.OUTPUT: "image, output", Part.END: "image, output",
}


@dataclass(frozen=True)
class PassReport:
    """One finished instruction.

    ``block`` and ``head`` are None where the instruction belongs to no transformer block, to no head. ``expert`` is the
    checkpoint's number in an expert loop, else 0. ``end``: cycle of its end. ``cycles``: since the end of the one
    before. ``macs``: the network's, padding not counted. ``bytes``: read from memory.
    """

    name: str
    part: Part
    block: int | None
    head: int | None
    expert: int
    rows: int
    end: int
    cycles: int
    macs: int
    bytes: int


@dataclass(frozen=True, repr=False)
class RunReport:
    """One run. ``counters`` by name (``moevit.spec.registers.COUNTERS``), ``passes`` in the order of their end.

    ``passes`` is empty within a stream, where only the counters are read; so is what is made from it.
    """

    task: str
    counters: dict[str, int]
    passes: tuple[PassReport, ...]

    def __repr__(self) -> str:
        """Three lines: time, memory, what the row reader did."""
        work = f", {self.macs:,} multiply-accumulates" if self.passes else ""
        rate = f", {self.macs / self.cycles:.1f} a cycle" if self.cycles and self.passes else ""
        shares = [f"{name} {cycles / self.cycles:.1%}"
                  for name, cycles in sorted(self.stalls.items(), key=lambda item: -item[1]) if cycles]
        return "\n".join([
            f"{self.task}: {f'{self.cycles:,} cycles' if self.cycles else 'no time was kept'}{work}{rate}",
            f"{self.bytes_read:,} bytes read, {self.bytes_written:,} written; {self.saturated:,} values saturated",
            ", ".join(shares) or "no cycle was counted"])

    def _repr_html_(self) -> str:
        """A table, for notebooks."""
        figures = [("cycles", f"{self.cycles:,}" if self.cycles else "no time was kept", "")]
        figures += [(name, f"{cycles:,}", f"{cycles / self.cycles:.1%}") for name, cycles in self.stalls.items()
                    if self.cycles]
        figures += [("multiply-accumulates", f"{self.macs:,}", "")] if self.passes else []
        figures += [("bytes read", f"{self.bytes_read:,}", ""), ("bytes written", f"{self.bytes_written:,}", ""),
                    ("values saturated", f"{self.saturated:,}", "")]
        rows = "".join(f'<tr><th scope="row">{name}</th><td>{value}</td><td>{share}</td></tr>'
                       for name, value, share in figures)
        head = "".join(f'<th scope="col">{name}</th>' for name in ("what", "value", "of the cycles"))
        return (f"<table><caption>{escape(self.task)}</caption><thead><tr>{head}</tr></thead>"
                f"<tbody>{rows}</tbody></table>")

    @property
    def cycles(self) -> int:
        """Clock cycles from START to DONE."""
        return self.counters["CYCLES"]

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the network, padding not counted."""
        return sum(each.macs for each in self.passes)

    @property
    def stalls(self) -> dict[str, int]:
        """Cycles by what the row reader did in them. Their sum is ``cycles``."""
        return {name: value for name, value in self.counters.items() if name == "BUSY" or name.startswith("WAIT_")}

    @property
    def bytes_read(self) -> int:
        """From memory."""
        return self.counters["BYTES_READ"]

    @property
    def bytes_written(self) -> int:
        """To memory."""
        return self.counters["BYTES_WRITTEN"]

    @property
    def saturated(self) -> int:
        """Values that did not fit their format and were clipped."""
        return self.counters["SATURATED"]

    @property
    def expert_rows(self) -> dict[int, dict[int, int]]:
        """Tokens per active expert, by number of the MoE block; experts as the checkpoint numbers them."""
        loads: dict[int, dict[int, int]] = {}
        for each in self.passes:
            if each.part is Part.EXPERT_FC1 and each.block is not None:
                load = loads.setdefault(each.block, {})
                load[each.expert] = load.get(each.expert, 0) + each.rows
        return loads


def read_passes(device: Device, registers: RegisterFile, bundle: Bundle) -> tuple[PassReport, ...]:
    """The pass log of the run that ended last. It keeps the first `PASS_LOG_ENTRIES`; each is two register reads."""
    fields = [decode(words) for words in np.frombuffer(bundle.program, "<u4").reshape(-1, 16)]
    entries, beat = bundle.manifest["instructions"], bundle.manifest["bus_bytes"]
    passes, before = [], 0
    for index in range(min(registers.read("FINISHED"), PASS_LOG_ENTRIES)):
        end = device.read_register(PASS_LOG + 8 * index)
        info = device.read_register(PASS_LOG + 8 * index + 4)
        pc, expert, rows = itemgetter("pc", "expert", "rows")(unpack_log(info))
        entry = entries[pc]
        if "experts" in entry:
            expert = entry["experts"][expert]
        macs = entry["macs_per_row"] * rows if fields[pc]["opcode"] == Opcode.PASS else 0
        passes.append(PassReport(entry["name"], Part(entry["part"]), entry["block"], entry.get("head"), expert, rows,
                                 end, end - before, macs, fields[pc].get("region_beats", 0) * beat))
        before = end
    return tuple(passes)
