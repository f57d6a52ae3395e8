# SPDX-License-Identifier: Apache-2.0
"""Which rooms of the hardware may import which: units meet in `hw.top` alone."""

import ast
from pathlib import Path

import pytest

import moevit.hw

ROOT = Path(moevit.hw.__file__).parent
INTERFACES = {path.stem for path in ROOT.glob("*.py")} - {"__init__", "top"}
BELOW = {"plumbing", "math"} | INTERFACES
#: What each room may import besides itself.
ARROWS = {
    "plumbing": INTERFACES,
    "math": {"plumbing"} | INTERFACES,
    **{room: BELOW for room in ("array", "bus", "reader", "writer", "router", "loader", "control")},
}
#: Modules of other rooms that a room may import all the same: the registers are those of the controller.
EXCEPTIONS = {"control": {"bus.axi", "bus.registers"}}


def imported(path: Path) -> set[str]:
    """Modules of hw that the file ``path`` imports, as "room.module" or, of those directly in hw, as "module".

    A name that is imported from a room is a module if a file has its name. "hw" stands for the package itself, through
    which every room can be reached.
    """
    package, modules = ["moevit", "hw", *path.relative_to(ROOT).parts[:-1]], set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[:len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *filter(None, [node.module])])
            for alias in node.names:
                name = f"{module}.{alias.name}"
                modules.add(name if module in ("moevit", "moevit.hw") or _is_module(name) else module)
    inside = {"moevit.hw." if name in ("moevit", "moevit.hw", "moevit.*") else name for name in modules}
    return {name.removeprefix("moevit.hw.") or "hw" for name in inside if name.startswith("moevit.hw.")}


def _is_module(name: str) -> bool:
    path = ROOT.joinpath(*name.removeprefix("moevit.hw.").split("."))
    return name.startswith("moevit.hw.") and (path.with_suffix(".py").exists() or path.is_dir())


def wrong_imports() -> list[str]:
    """A line for each import of a room that has no arrow."""
    return [f"{path.relative_to(ROOT)} imports {module}"
            for path in sorted(ROOT.rglob("*/*.py")) for module in sorted(imported(path))
            if module.split(".")[0] not in ARROWS[path.parent.name] | {path.parent.name}
            and module not in EXCEPTIONS.get(path.parent.name, ())]


def test_every_room_has_arrows():
    assert {path.name for path in ROOT.iterdir() if (path / "__init__.py").exists()} == set(ARROWS)


def test_rooms_import_only_what_is_below():
    assert not wrong_imports(), "\n".join(wrong_imports())


@pytest.mark.parametrize("line", [
    "from moevit.hw import reader", "from moevit.hw import reader as r", "from moevit.hw import interfaces, reader",
    "from moevit.hw import *", "from moevit import hw", "from moevit import spec, hw", "import moevit.hw.reader",
    "import moevit.hw.reader.fetch as f", "import moevit.hw", "import moevit", "import numpy, moevit.hw.reader",
    "from moevit.hw.reader import fetch", "from moevit.hw.reader.fetch import Fetch", "from .. import reader",
    "from ..reader import fetch", "from ..reader.fetch import Fetch", "from ... import hw", "from ...hw import reader",
    "from .. import top", "def late():\n    from moevit.hw import reader",
])
def test_an_import_of_another_room_is_found(monkeypatch, tmp_path, line):
    (tmp_path / "writer").mkdir()
    (tmp_path / "writer" / "some.py").write_text(line + "\n")
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    assert len(wrong_imports()) == 1


@pytest.mark.parametrize("line", [
    "from moevit.hw import interfaces", "from ..interfaces import Flow", "from ..plumbing.fifo import Fifo",
    "from moevit.hw.math import rounding", "from . import address", "from moevit import spec", "import moevit.spec.isa",
])
def test_an_import_from_below_is_allowed(monkeypatch, tmp_path, line):
    (tmp_path / "writer").mkdir()
    (tmp_path / "writer" / "some.py").write_text(line + "\n")
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    assert not wrong_imports()


def test_a_module_of_a_package_is_named(monkeypatch, tmp_path):
    """The controller may import the registers alone, by either form."""
    for room in ("control", "bus"):
        (tmp_path / room).mkdir()
    (tmp_path / "bus" / "registers.py").touch()
    (tmp_path / "bus" / "prefetch.py").touch()
    (tmp_path / "control" / "some.py").write_text("from ..bus import prefetch, registers\n")
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    assert wrong_imports() == ["control/some.py imports bus.prefetch"]


def test_interfaces_import_no_room():
    rooms = set(ARROWS)
    wrong = [f"{name}.py imports {module}" for name in sorted(INTERFACES)
             for module in sorted(imported(ROOT / f"{name}.py")) if module.split(".")[0] in rooms | {"top", "hw"}]
    assert not wrong, "\n".join(wrong)


def test_every_exception_is_needed():
    for room, modules in EXCEPTIONS.items():
        used = set().union(*(imported(path) for path in (ROOT / room).glob("*.py")))
        assert modules <= used


def test_what_is_found(monkeypatch, tmp_path):
    (tmp_path / "reader").mkdir()
    path = tmp_path / "reader" / "some.py"
    path.write_text("from ..interfaces import Flow\nfrom .fetch import Fetch\nfrom .. import top\nimport numpy\n"
                    "from ..loader.image import CHUNK\nfrom moevit.hw.bus.axi import A\nimport moevit.hw.array.lane\n"
                    "from moevit.spec.isa import Opcode\n")
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    assert imported(path) == {"interfaces", "reader.fetch", "top", "loader.image", "bus.axi", "array.lane"}
