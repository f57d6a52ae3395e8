# SPDX-License-Identifier: Apache-2.0
"""The counts of ``docs/area.md``, as Yosys made them."""

from pathlib import Path
from typing import NamedTuple

from moevit.spec.arrays import MachineConfig
from moevit.spec.boards import BOARDS, Board

from .markdown import read_table

__all__ = ["Area", "Counted"]


class Counted(NamedTuple):
    """What a machine uses of a board."""

    lut: int
    ff: int


class Area:
    """The first table of ``docs/area.md``."""

    def __init__(self, root: Path):
        self.cells = {(board, array): cells
                      for board, array, *cells in read_table((root / "docs/area.md").read_text(), "board")}

    def counted(self, config: MachineConfig, board: Board) -> Counted | None:
        """The count for this board, otherwise for another board of its family; None where nothing was counted."""
        family = [name for name, each in BOARDS.items() if each.part.startswith("XC7") == board.part.startswith("XC7")]
        cells = next((self.cells[name, config.name] for name in (board.name, *family)
                      if (name, config.name) in self.cells), None)
        if cells is None:
            return None
        lut, ff = (int(cell.split(" of ")[0].replace(",", "")) for cell in cells[3:])
        return Counted(lut, ff)
