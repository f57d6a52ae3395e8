# SPDX-License-Identifier: Apache-2.0
"""The clocks that the machine has to hold on each board, and what counts as holding one."""

from typing import NamedTuple

from moevit.spec.arrays import CONFIGS
from moevit.spec.boards import BOARDS

from ..area import TOP
from ..synth import units
from ..targets import Target

__all__ = ["CLASSES", "MARGIN", "MOST_LEVELS", "TimingClass", "class_of"]

#: Share of the period that is kept for what the model cannot see: placement, congestion, skew, jitter.
MARGIN = 0.15
#: Levels of LUTs that a path may have.
MOST_LEVELS = 5


class TimingClass(NamedTuple):
    """``grade``: of ``delays.GRADES``, that of the board's part; ``units``: what is measured."""

    target: Target
    grade: str
    clock_mhz: float
    units: tuple[str, ...]

    @property
    def board(self) -> str:
        return self.target.board.name

    @property
    def config(self) -> str:
        return self.target.config.name

    @property
    def period_ns(self) -> float:
        return 1e3 / self.clock_mhz

    @property
    def limit_ns(self) -> float:
        return self.period_ns * (1 - MARGIN)


#: Speed grade and clock by board. XC7Z020-1, XCZU3EG-1, XCK26-2LV, XCZU7EV-2 and XCZU9EG-2 are on them.
_BOARDS = {"pynq-z2": ("7-series -1", 100.0), "ultra96v2": ("UltraScale+ -1", 200.0),
           "kv260": ("UltraScale+ -2LV", 200.0), "zcu104": ("UltraScale+ -2", 225.0),
           "zcu102": ("UltraScale+ -2", 225.0)}


def _class_for(board: str, config: str, measured: tuple[str, ...]) -> TimingClass:
    return TimingClass(Target(BOARDS[board], CONFIGS[config]), *_BOARDS[board], measured)


#: Every board with the machine that suits it, unit by unit, and the smallest machine as a whole.
CLASSES = (*(_class_for(name, board.config, units(CONFIGS[board.config])) for name, board in BOARDS.items()),
           _class_for("ultra96v2", "8x8", (TOP,)))


def class_of(board: str, config: str) -> TimingClass:
    """Raises StopIteration where there is none."""
    return next(each for each in CLASSES if (each.board, each.config) == (board, config))
