# SPDX-License-Identifier: Apache-2.0
"""All generated files of ``docs/``, and the README's table: ``moevit docs`` writes them."""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from . import contract
from .commands import command_line
from .components import HardwareComponent, components
from .errors import troubleshooting
from .fits import what_fits
from .layers import layers
from .machine_picture import machine_picture
from .modules import ROOMS, port_picture, room_page, rooms_page
from .one_block import RECORD, drawn
from .proved import badges, with_boards
from .tour import with_tables

__all__ = ["documents", "left_over"]


@cache
def _components() -> Mapping[str, HardwareComponent]:
    return components()


def documents(root: Path) -> dict[str, str]:
    """The text of each file below ``docs/``, for the checkout ``root``."""
    parts = _components()
    texts = {name: make() for name, make in contract.DOCUMENTS.items()}
    texts |= {"commands.md": command_line(), "layers.md": layers(), "what-fits.md": what_fits(root),
              "troubleshooting.md": troubleshooting(root), "modules.md": rooms_page(parts),
              "architecture.md": with_tables((root / "docs/architecture.md").read_text()),
              "../README.md": with_boards((root / "README.md").read_text(), root),
              "pictures/machine.svg": machine_picture(), "pictures/shown.svg": badges(root),
              "pictures/one_block.svg": drawn(json.loads((root / RECORD).read_text()))}
    texts |= {f"modules/{room}.md": room_page(room, parts) for room in ROOMS}
    texts |= {f"pictures/modules/{name}.svg": port_picture(part) for name, part in parts.items() if part.ports}
    return texts


def left_over(root: Path, texts: Mapping[str, str]) -> list[Path]:
    """Files of components that are no more."""
    found = [path for folder in ("modules", "pictures/modules") for path in sorted((root / "docs" / folder).iterdir())]
    return [path for path in found if path.relative_to(root / "docs").as_posix() not in texts]
