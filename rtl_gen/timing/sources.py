# SPDX-License-Identifier: Apache-2.0
"""Where in the source a signal of a design was made, by the name that it has in the flat netlist."""

import re
from typing import NamedTuple

from amaranth.back import rtlil
from amaranth.lib.wiring import Component

__all__ = ["Sources", "plain_name"]


class _Module(NamedTuple):
    lines: dict[str, str]  # of wires and memories
    instances: dict[str, tuple[str, str]]  # module and source line by instance


class Sources:
    """Source lines of ``component``'s signals and memories, as ``hw/file:line``; for those of a library's component the
    line that makes the component."""

    def __init__(self, component: Component):
        self._modules: dict[str, _Module] = {}
        module, source = _Module({}, {}), ""
        for line in rtlil.convert(component, name="unit", emit_src=True).splitlines():
            if found := re.match(r'\s*attribute \\src "(.*?)"', line):
                source = found[1]
            elif found := re.match(r"module \\(\S+)", line):
                module = self._modules[found[1]] = _Module({}, {})
            elif found := re.match(r"  (?:wire|memory) .*?([\\$]\S+)$", line):
                module.lines.setdefault(found[1].removeprefix("\\"), source)
                source = ""
            elif found := re.match(r"  cell \\?(\S+) \\?(\S+)", line):
                if not found[1].startswith("$"):
                    module.instances[found[2]] = found[1], source
                source = ""

    def line(self, name: str) -> str:
        """Source line of ``plain_name``'s result; empty if it has none."""
        return self._find("unit", name)

    def _find(self, module: str, name: str) -> str:
        lines, instances = self._modules[module]
        if name in lines:
            return _below_hw(lines[name])
        for instance, (inner, source) in instances.items():
            if name.startswith(instance + ".") and inner in self._modules:
                return self._find(inner, name[len(instance) + 1:]) or _below_hw(source)
        return ""


def _below_hw(source: str) -> str:
    """``/somewhere/hw/reader/tags.py:30`` as ``hw/reader/tags.py:30``; empty for a file that is not the machine's."""
    found = re.search(r"(?:^|/)(hw/\S+?:\d+)", source)
    return found[1] if found else ""


def plain_name(cell: str, kind: str) -> str:
    """A signal's or memory's name from its cell's: without the bit, the primitive and Yosys' marks."""
    if cell.startswith("$flatten"):  # a cell without a signal of its own: the module that it is in
        return f"{re.sub(r'[$]flatten|[$][^.]*$', '', cell).replace(chr(92), '').strip('.')}: {kind}"
    name = re.sub(r"\\[A-Z]\w*$", "", cell).removeprefix("\\")  # a shift register is called by its first flip-flop
    name = re.sub(r"(\[\d+\])+$", "", name)
    return re.sub(r"(\.\d+)+$", "", name) if kind.startswith(("RAM", "URAM")) else name
