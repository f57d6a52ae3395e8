# SPDX-License-Identifier: Apache-2.0
"""The project keeps its shape: import arrows, one class a name, sizes, listed packages, licence lines, current docs."""

import ast
import re
from collections import defaultdict
from pathlib import Path

import pytest

from moevit.pages.contract import DOCUMENTS

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    tomllib = None

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("kit", "spec", "golden", "compiler", "estimator", "report", "hw", "rtl_gen", "sim", "host", "bench",
            "notebooks", "moevit")

#: What each package may import besides itself. A star around spec; the front door, the package moevit itself, in front.
ARROWS = {
    "kit": set(),  # files and folders; knows nothing of the machine
    "spec": {"kit"},
    "golden": {"kit", "spec", "report"},  # of report, colours alone
    "compiler": {"spec"},
    "hw": {"spec"},
    "host": {"kit", "spec"},
    "report": {"spec", "host"},  # draws what the host read back
    "estimator": {"spec", "compiler", "hw"},  # the compiler's program, timed with the hardware's latencies
    "rtl_gen": {"kit", "spec", "hw"},
    "sim": {"kit", "spec", "hw", "rtl_gen", "host"},
    "bench": {"kit", "spec", "golden", "compiler", "estimator", "report", "sim", "host"},  # measures, used by none
    "notebooks": {"kit", "spec", "golden", "compiler", "report", "sim", "host"},
    "moevit": set(PACKAGES),  # commands, used by none
}
#: Modules of the front door, by the names that others may not import.
FRONT_DOOR = {path.stem for path in (ROOT / "moevit").iterdir() if path.name != "__init__.py"} | {"__version__"}
#: What packages for a board may import besides the standard library. Other packages import what their extra brings.
BOARD = {"numpy"}
#: Files that are imported only where these packages are installed.
DRIVERS = {"host/pynq.py": {"pynq"}, "host/selftest/test_board.py": {"pytest"}}
#: The notebooks there may import everything; the module that they share needs numpy alone.
NOTEBOOKS = ROOT / "notebooks"
#: Lines of a function, of a file, and of a file of tests.
LONGEST_FUNCTION, LONGEST_FILE, LONGEST_TEST = 60, 250, 300
#: hw has a test of its own for them (tests/hw).
MEASURED = tuple(package for package in PACKAGES if package != "hw")


def sources(package: str) -> list[Path]:
    return sorted(path for path in (ROOT / package).rglob("*.py")
                  if path.parent != NOTEBOOKS or not path.name[0].isdigit())


def package_of(path: Path) -> tuple[str, ...]:
    """The front door's folder is the package, the others are packages in it."""
    parts = path.parent.relative_to(ROOT).parts
    return parts if parts[:1] == ("moevit",) else ("moevit", *parts)


def imported(path: Path, inside_functions: bool = True) -> set[str]:
    """Top-level modules that a file imports; ``moevit.x`` as ``moevit.x``, relative ones resolved."""
    names = set()
    package = package_of(path)
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree) if inside_functions else tree.body:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level > 0:
            up = package[:len(package) + 1 - node.level]
            parts = (*up, *(node.module or "").split(".")) if node.module else up
            names |= {".".join(parts)} if len(parts) > 1 else {f"moevit.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {node.module} if node.module != "moevit" else {f"moevit.{alias.name}" for alias in node.names}
    return {".".join(name.split(".")[:2]) if name.startswith("moevit.") else name.split(".")[0] for name in names}


@pytest.mark.parametrize("package", PACKAGES)
def test_arrows(package):
    for path in sources(package):
        for name in imported(path):
            assert name not in PACKAGES, f"{path} imports {name}: say moevit.{name}"
            if name.startswith("moevit."):
                target = name.split(".")[1]
                target = "moevit" if target in FRONT_DOOR else target
                assert target == package or target in ARROWS[package], f"{path}: {package} may not import {target}"


def test_relative_imports_are_seen(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    path = tmp_path / "golden" / "quant" / "a.py"
    path.parent.mkdir(parents=True)
    path.write_text("from ...hw import top\nfrom ... import host\nfrom .b import c\nfrom .. import d\nimport numpy\n")
    assert imported(path) == {"moevit.hw", "moevit.host", "moevit.golden", "numpy"}


@pytest.mark.parametrize("package", ["spec", "host"])
def test_board_packages_need_numpy_alone(package):
    import sys
    for path in sources(package):
        outside = {n for n in imported(path) if not n.startswith("moevit.") and n not in sys.stdlib_module_names}
        allowed = BOARD | DRIVERS.get(path.relative_to(ROOT).as_posix(), set())
        assert outside <= allowed, f"{path} imports {outside - allowed}; the board has only numpy"


def test_a_name_is_one_public_class():
    """Over the whole of moevit, so that a name in a message, a page or a search means one thing."""
    places = defaultdict(list)
    for package in PACKAGES:
        for path in sources(package):
            for node in ast.parse(path.read_text()).body:
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                    places[node.name].append(path.relative_to(ROOT).as_posix())
    assert not {name: paths for name, paths in places.items() if len(paths) > 1}


@pytest.mark.parametrize("package", MEASURED)
def test_functions_and_files_are_short(package):
    long = []
    for path in sources(package):
        text = path.read_text()
        if text.count("\n") > LONGEST_FILE:
            long.append(f"{path}: {text.count(chr(10))} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > LONGEST_FUNCTION:
                    long.append(f"{path}: {node.name} has {lines} lines")
    assert not long, "\n".join(long)


def test_files_of_tests_are_short():
    lines = {path.relative_to(ROOT).as_posix(): path.read_text().count("\n") for path in (ROOT / "tests").rglob("*.py")}
    assert not {path: count for path, count in lines.items() if count > LONGEST_TEST}


def test_what_notebooks_share_can_be_imported_everywhere():
    import sys
    names = imported(NOTEBOOKS / "__init__.py", inside_functions=False)
    assert names - sys.stdlib_module_names <= BOARD | {"moevit.host", "moevit.spec"}


@pytest.mark.skipif(tomllib is None, reason="tomllib needs Python 3.11")
def test_every_package_is_listed():
    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    found = {".".join(package_of(path))
             for package in PACKAGES for path in (ROOT / package).rglob("__init__.py")}
    assert listed == found


def test_every_file_names_its_licence():
    for pattern in ("**/*.py", "**/*.sv", "**/*.cpp", "**/*.vlt", "**/*.tcl", "Makefile", "pyproject.toml", ".ci/run"):
        for path in ROOT.glob(pattern):
            if not {".venv", "build"} & set(path.relative_to(ROOT).parts):
                assert "SPDX-License-Identifier: Apache-2.0" in path.read_text()[:200], path


@pytest.mark.parametrize("name", DOCUMENTS)
def test_generated_docs_are_current(name):
    assert (ROOT / "docs" / name).read_text() == DOCUMENTS[name](), "run `make docs`"


def test_documents_have_no_gaps_and_their_links_lead_somewhere():
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "models").rglob("*.md")]:
        text = path.read_text()
        assert "@@" not in text, path
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
            assert (path.parent / link).exists(), f"{path.relative_to(ROOT)} links {link}"
