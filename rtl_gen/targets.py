# SPDX-License-Identifier: Apache-2.0
"""Targets of the area counts: every board, with the machine that suits it."""

from typing import NamedTuple

from moevit.spec.arrays import CONFIGS, MachineConfig
from moevit.spec.boards import BOARDS, Board

__all__ = ["TARGETS", "Target"]


class Target(NamedTuple):
    """A board and a machine. ``whole``: the machine is also synthesised as a whole."""

    board: Board
    config: MachineConfig
    whole: bool = False

    @property
    def name(self) -> str:
        return f"{self.config.name} for {self.board.name}"

    @property
    def family(self) -> str:
        return "7-series" if self.board.series7 else "UltraScale+"

    @property
    def synthesis(self) -> str:
        """The Yosys command."""
        options = ["-family", "xc7" if self.board.series7 else "xcup", *(["-uram"] if self.board.uram else [])]
        return " ".join(["synth_xilinx", *options, "-noiopad", "-noclkbuf"])


#: Larger machines take too long as a whole.
_WHOLE = ("16x16", "32x32")

TARGETS = (*(Target(board, CONFIGS[board.config], board.config in _WHOLE) for board in BOARDS.values()),
           Target(BOARDS["zcu104"], CONFIGS["32x64_long"]))
