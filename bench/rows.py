# SPDX-License-Identifier: Apache-2.0
"""The measured rows: a network on a board with a batch of images."""

from dataclasses import dataclass

from moevit.spec.arrays import CONFIGS, MachineConfig
from moevit.spec.boards import BOARDS, Board
from moevit.spec.networks import NETWORKS, Network

__all__ = ["ROWS", "Row"]


@dataclass(frozen=True)
class Row:
    """One line of the table. ``image``: height and width, if not the network's. ``config_name``: an array other than
    the board's."""

    board_name: str
    network_name: str
    batch: int = 1
    image: tuple[int, int] | None = None
    config_name: str | None = None

    @property
    def board(self) -> Board:
        return BOARDS[self.board_name]

    @property
    def network(self) -> Network:
        network = NETWORKS[self.network_name]
        return network if self.image is None else network.for_image(*self.image)

    @property
    def config(self) -> MachineConfig:
        return CONFIGS[self.config_name or self.board.config]

    @property
    def name(self) -> str:
        """The row's name on the command line, and the stem of its files."""
        return f"{self.network.name}-{self.board_name}" + (f"-batch{self.batch}" if self.batch > 1 else "")


#: The first row is the fastest to build and run.
ROWS = (
    *(Row(board, "m3vit_tiny") for board in ("pynq-z2", "kv260", "zcu104", "zcu102")),
    *(Row(board, "m3vit_tiny", 4) for board in ("zcu104", "zcu102")),
    *(Row(board, network) for network in ("m3vit_small", "deit_tiny", "deit_small") for board in ("zcu104", "zcu102")),
    Row("zcu104", "m3vit_small", image=(384, 384), config_name="32x64_long"),
)
