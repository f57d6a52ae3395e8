# SPDX-License-Identifier: Apache-2.0
"""Behaviour of the simulated DDR, as numbers for ``memory.sv``."""

from dataclasses import dataclass
from enum import IntEnum
from fractions import Fraction

__all__ = ["Fault", "FaultKind", "MemorySettings", "setting_words"]

#: Indices of memory.sv that are commands.
FLUSH, CLEAR = 11, 12
#: Largest denominator of the bandwidth in ``memory.sv``.
_PARTS = 10_000


class FaultKind(IntEnum):
    """What happens to accesses in the range of a fault. The last two are for reads alone."""

    SLVERR = 1
    DECERR = 2
    NO_ANSWER = 3  #: accepted; data or response never come
    NOT_ACCEPTED = 4  #: ARREADY, AWREADY stay low
    LAST_EARLY = 5  #: RLAST comes with the first beat in the range, and no further beat
    LAST_MISSING = 6  #: RLAST comes with no beat in the range


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A fault at addresses ``base`` <= address < ``limit``. A faulty read delivers bytes 0xA5."""

    kind: FaultKind
    base: int
    limit: int
    reads: bool = True
    writes: bool = True


@dataclass(frozen=True, kw_only=True)
class MemorySettings:
    """Timing and faults of the simulated DDR.

    Parameters
    ----------
    read_latency : cycles from AR taken to its first beat, 2 or more
    write_latency : cycles from the last beat written to B
    bandwidth : beats per cycle of each port that reads and writes share, 1/10000 to 2
    stall : probability that a channel stands still in a cycle, 0 <= stall < 1, in steps of 1/256
    seed : of the stalls
    outstanding : most read bursts that are taken and unanswered, 1..64
    fault : what goes wrong where, or None
    """

    read_latency: int = 64
    write_latency: int = 16
    bandwidth: Fraction | float = Fraction(1)
    stall: float = 0.0
    seed: int = 1
    outstanding: int = 8
    fault: Fault | None = None

    def __post_init__(self) -> None:
        for name, low, high in (("read_latency", 2, 1 << 30), ("write_latency", 1, 1 << 30), ("outstanding", 1, 64),
                                ("seed", 0, (1 << 64) - 1)):
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} must be {low}..{high}, not {getattr(self, name)!r}")
        if not Fraction(1, _PARTS) <= self.bandwidth <= 2:  # less would be rounded to none
            raise ValueError(f"bandwidth must be 1/{_PARTS}..2 beats per cycle, not {self.bandwidth!r}")
        if not 0 <= self.stall <= 255 / 256:
            raise ValueError(f"stall must be a probability below 1, not {self.stall!r}")


def setting_words(settings: MemorySettings) -> dict[int, int]:
    """The settings by their index in ``memory.sv``."""
    bandwidth = Fraction(settings.bandwidth).limit_denominator(_PARTS)
    fault = settings.fault
    return {
        0: settings.read_latency,
        1: settings.write_latency,
        2: bandwidth.numerator,
        3: bandwidth.denominator,
        4: round(settings.stall * 256),
        5: settings.seed,
        6: settings.outstanding,
        7: fault.kind if fault else 0,
        8: fault.reads | fault.writes << 1 if fault else 3,
        9: fault.base if fault else 0,
        10: fault.limit if fault else 0,
    }
