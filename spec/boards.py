# SPDX-License-Identifier: Apache-2.0
"""Boards: what each FPGA board gives the machine, and the configuration that suits it.

Figures of the devices are from the data sheets of the parts (Zynq UltraScale+ DS891, Kria K26 DS987, Zynq-7000 DS190).
Memory peaks are width x rate of the board's DDR. The share of the peak that long bursts reach, and the clock, are
assumptions: nothing here was measured on a board.
"""

from dataclasses import dataclass, replace

from .arrays import CONFIGS, MachineConfig

__all__ = ["BOARDS", "Board"]


@dataclass(frozen=True, kw_only=True)
class Board:
    """A board.

    Parameters
    ----------
    name : of the board
    part : its FPGA
    config : name in ``CONFIGS`` of the configuration that suits it
    memory_gbs, usable : peak of the DDR in 10^9 bytes per second; the share of it that is assumed to be usable
    clock_mhz : assumed clock of the machine
    series7 : the FPGA has DSP48E1 and no URAM; otherwise it is an UltraScale+
    bram36, uram, dsp, lut, ff : how many of each the FPGA has
    """

    name: str
    part: str
    config: str
    memory_gbs: float
    usable: float
    clock_mhz: float
    series7: bool = False
    bram36: int
    uram: int
    dsp: int
    lut: int
    ff: int

    def at(self, clock_mhz: float | None) -> "Board":
        """The same board with its machine at another clock; unchanged for None."""
        return self if clock_mhz is None else replace(self, clock_mhz=clock_mhz)

    @property
    def bytes_per_cycle(self) -> float:
        """Bytes that the memory moves in a cycle of the machine, of the usable share."""
        return self.memory_gbs * 1e3 * self.usable / self.clock_mhz

    def bandwidth(self, config: MachineConfig) -> float:
        """Bus beats that the memory moves in a cycle; at most one, since the bus moves no more."""
        return min(1.0, self.bytes_per_cycle / config.bus_bytes)

    def memory_cycles(self, config: MachineConfig, count: int) -> float:
        """Least cycles in which ``count`` bytes cross the bus of ``config``."""
        return count / (config.bus_bytes * self.bandwidth(config))

    def unsuited(self, config: MachineConfig) -> str | None:
        """Why the multipliers of ``config`` are too wide for the FPGA's slices; None if they are not."""
        if self.series7 and config.packed and not config.dsp48e1:
            return (f"multipliers of 27 x 18 bits, {self.name} has 25 x 18: take a configuration with dsp48e1 "
                    f"({', '.join(each.name for each in CONFIGS.values() if each.dsp48e1)})")
        return None

    def milliseconds(self, cycles: float) -> float:
        """Milliseconds of ``cycles`` at the assumed clock."""
        return cycles / (self.clock_mhz * 1e3)


BOARDS: dict[str, Board] = {
    board.name: board
    for board in (
        Board(name="pynq-z2", part="XC7Z020", config="16x16", memory_gbs=2.1, usable=0.80, clock_mhz=142, series7=True,
              bram36=140, uram=0, dsp=220, lut=53_200, ff=106_400),
        Board(name="ultra96v2", part="XCZU3EG", config="16x16", memory_gbs=4.26, usable=0.85, clock_mhz=250,
              bram36=216, uram=0, dsp=360, lut=70_560, ff=141_120),
        Board(name="kv260", part="XCK26", config="32x32", memory_gbs=19.2, usable=0.85, clock_mhz=300,
              bram36=144, uram=64, dsp=1248, lut=117_120, ff=234_240),
        Board(name="zcu104", part="XCZU7EV", config="32x64", memory_gbs=17.07, usable=0.85, clock_mhz=300,
              bram36=312, uram=96, dsp=1728, lut=230_400, ff=460_800),
        Board(name="zcu102", part="XCZU9EG", config="64x64", memory_gbs=17.07, usable=0.85, clock_mhz=300,
              bram36=912, uram=0, dsp=2520, lut=274_080, ff=548_160),
    )
}
assert all(board.config in CONFIGS for board in BOARDS.values())
assert all(CONFIGS[board.config].dsp48e1 for board in BOARDS.values() if board.series7)
