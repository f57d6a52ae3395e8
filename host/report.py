# SPDX-License-Identifier: Apache-2.0
"""What a run cost, read back from counters and pass log."""

from dataclasses import dataclass

__all__ = ["PassReport", "RunReport"]


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
    """One run. ``counters`` by name (``moevit.spec.registers.COUNTERS``), ``passes`` in the order of their end."""

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
    def expert_rows(self) -> dict[str, dict[int, int]]:
        """Tokens per active expert, by MoE block; experts as the checkpoint numbers them."""
        loads: dict[str, dict[int, int]] = {}
        for each in self.passes:
            if each.name.endswith(".moe.fc1"):
                load = loads.setdefault(each.name.removesuffix(".moe.fc1"), {})
                load[each.expert] = load.get(each.expert, 0) + each.rows
        return loads
