# SPDX-License-Identifier: Apache-2.0
"""Troubleshooting: every error class of the project, what raises it with which words, and what to do.

Read from the sources, without importing them: a class that nothing can import is documented all the same.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path

from moevit.rtl_gen.vivado.exits import ExitCode
from moevit.spec.registers import ErrorCode

from .markdown import cell, note, plain, table

__all__ = ["PACKAGES", "ErrorClass", "error_classes", "troubleshooting"]

#: Folders and what is done there when such an error comes.
PACKAGES = {
    "golden": "Import, quantise, evaluate",
    "compiler": "Compile",
    "spec": "Files and declarations",
    "kit": "Files and declarations",
    "host": "Run, on a board or simulated",
    "sim": "Simulate",
    "rtl_gen": "Verilog, synthesis, bitstreams",
    "bench": "Measure",
    "moevit": "Command line",
    "hw": "Hardware description",
    "estimator": "Estimate",
    "report": "Reports",
    "notebooks": "Notebooks",
}
_ENDS = ("Error", "Exception", "Interrupt", "Warning")


@dataclass
class ErrorClass:
    """An exception: its docstring, the messages that it is raised with, the files that do, and the fixes they name."""

    name: str
    file: str
    bases: tuple[str, ...]
    meaning: str
    messages: list[str] = field(default_factory=list)
    fixes: list[str] = field(default_factory=list)
    raised: list[str] = field(default_factory=list)

    @property
    def fix(self) -> str:
        """The docstring's paragraph that begins with ``Fix:``; empty without one."""
        parts = [part for part in self.meaning.split("\n\n") if part.startswith("Fix:")]
        return " ".join(parts[0].removeprefix("Fix:").split()) if parts else ""

    @property
    def cause(self) -> str:
        """The docstring without its fix."""
        return " ".join(" ".join(part for part in self.meaning.split("\n\n") if not part.startswith("Fix:")).split())


def error_classes(root: Path) -> dict[str, ErrorClass]:
    """All exception classes of the folders `PACKAGES`, by name."""
    trees = {path.relative_to(root).as_posix(): ast.parse(path.read_text())
             for folder in PACKAGES for path in sorted((root / folder).rglob("*.py"))}
    nodes = {node.name: (file, node) for file, tree in trees.items() for node in ast.walk(tree)
             if isinstance(node, ast.ClassDef)}

    def raises(name: str) -> bool:
        if name in nodes:
            return any(raises(ast.unparse(base).split(".")[-1]) for base in nodes[name][1].bases)
        return name.endswith(_ENDS) or name in ("MissingExtra", "Exception")

    found = {name: ErrorClass(name, file, tuple(ast.unparse(base) for base in node.bases),
                              ast.get_docstring(node) or "")
             for name, (file, node) in nodes.items() if node.bases and raises(name)}
    for file, tree in trees.items():
        for call in _raised(tree):
            name = ast.unparse(call.func).split(".")[-1]
            if name in found:
                _take(found[name], call, file)
    return found


def _raised(tree: ast.AST) -> Iterator[ast.Call]:
    """Calls that make an exception, raised there or later."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1][:1].isupper():
            yield node


def _take(found: ErrorClass, call: ast.Call, file: str) -> None:
    texts = [text for each in call.args if (text := _text(each))]
    fixes = [text for each in call.keywords if each.arg == "fix" and (text := _text(each.value))]
    if found.name == "VivadoError" and len(texts) > 1:  # code, cause, fix
        fixes, texts = texts[1:], texts[:1]
    for new, known in ((texts[:1], found.messages), (fixes, found.fixes), ([file], found.raised)):
        known += [each for each in new if each not in known]


def _text(node: ast.expr) -> str:
    """A string as it is written; what is filled in is three dots. Empty for anything else."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) and " " in node.value else ""
    if isinstance(node, ast.JoinedStr):
        parts = [part.value if isinstance(part, ast.Constant) else "..." for part in node.values]
        text = "".join(map(str, parts))
        return text if " " in text.strip() else ""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _text(node.left) + _text(node.right)
    return ""


def troubleshooting(root: Path) -> str:
    """The page."""
    found = error_classes(root)
    text = note("the error classes") + (
        "# Troubleshooting\n\nEvery error class of the project: what it means, its messages (three dots stand for "
        "names and numbers), and what\nto do. A command prints the message; from Python the class is "
        "what you catch. `moevit doctor`\nlooks at a board and its files before a run.\n")
    for title in dict.fromkeys(PACKAGES.values()):
        mine = [each for each in found.values() if PACKAGES[each.file.split("/")[0]] == title]
        if mine:
            text += f"\n## {title}\n" + "".join(map(_section, mine))
    text += "\n## Error codes of a run\n\nThe machine's own, in ERROR_CODE and in the state of `ProgramRefused` and "
    text += "`BusError`.\n\n" + table(["code", "name", "why"], _enum(root / "spec/registers.py", ErrorCode))
    text += "\n## Exit codes of a build by Vivado\n\n"
    text += table(["code", "name", "why"], _enum(root / "rtl_gen/vivado/exits.py", ExitCode))
    return text


def _section(each: ErrorClass) -> str:
    base = ", ".join(f"`{name}`" for name in each.bases)
    text = f"\n### {each.name}\n\n{plain(each.cause)}\nIt is a {base}, from [`{each.file}`](../{each.file}).\n"
    fixes = ([plain(each.fix)] if each.fix else []) + [fix for fix in each.fixes if fix.strip(". ")]
    if fixes:
        text += "\n**What to do:** " + (_sentence(fixes[0]) if len(fixes) == 1 else
                                       "one of:\n\n" + "\n".join(f"- {_sentence(fix)}" for fix in fixes)) + "\n"
    messages = [message for message in each.messages if len(re.sub(r"[^a-zA-Z]", "", message)) > 9]
    if messages:
        shown = "\n".join(f"- `{cell(message)}`" for message in messages)
        text += f"\nMessages:\n\n{shown}\n"
    return text


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + ("" if text.endswith(".") else ".")


def _enum(path: Path, codes: type[IntEnum]) -> list[tuple[int, str, str]]:
    """Number, name and the comment beside it."""
    comments = {}
    for line in path.read_text().splitlines():
        name, equal, rest = line.strip().partition(" = ")
        if equal and "#:" in rest:
            comments[name] = rest.split("#:")[1].strip()
    return [(int(code), code.name, comments.get(code.name, "")) for code in codes]
