# SPDX-License-Identifier: Apache-2.0
"""Which rooms of the hardware may import which: units meet in `hw.top` alone."""

import ast
from pathlib import Path

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
    """Modules of hw that the file ``path`` imports, as "room.module" or, of those directly in hw, as "module"."""
    modules = set()
    room = path.relative_to(ROOT).parts[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = [*room[:len(room) - node.level + 1], *(node.module or "").split(".")]
            names = [".".join(filter(None, base))]
            if not node.module:
                names = [".".join(filter(None, [*base, alias.name])) for alias in node.names]
            modules.update(names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("moevit.hw."):
            modules.add(node.module.removeprefix("moevit.hw."))
        elif isinstance(node, ast.Import):
            modules.update(alias.name.removeprefix("moevit.hw.") for alias in node.names
                           if alias.name.startswith("moevit.hw."))
    return modules


def test_every_room_has_arrows():
    assert {path.name for path in ROOT.iterdir() if (path / "__init__.py").exists()} == set(ARROWS)


def test_rooms_import_only_what_is_below():
    wrong = []
    for path in sorted(ROOT.rglob("*/*.py")):
        room = path.parent.name
        for module in sorted(imported(path)):
            if module.split(".")[0] not in ARROWS[room] | {room} and module not in EXCEPTIONS.get(room, ()):
                wrong.append(f"{path.relative_to(ROOT)} imports {module}")
    assert not wrong, "\n".join(wrong)


def test_interfaces_import_no_room():
    rooms = set(ARROWS)
    wrong = [f"{name}.py imports {module}" for name in sorted(INTERFACES)
             for module in sorted(imported(ROOT / f"{name}.py")) if module.split(".")[0] in rooms | {"top"}]
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
