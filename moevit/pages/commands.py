# SPDX-License-Identifier: Apache-2.0
"""The reference of the command line, from the signatures of the commands."""

import inspect
import types
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from typer.models import ArgumentInfo

from moevit.cli.commands import BOARD, COMMANDS, Command

from .markdown import cell, note, slug, table

__all__ = ["command_line"]

_TYPES = {Path: "PATH", int: "INTEGER", float: "NUMBER", str: "TEXT", bool: ""}
#: Arguments of what needs no typer (`moevit.cli.board`), since a board may lack it.
_BOARD = {"doctor": [("[FOLDER]", ".", "where .bit, .hwh and .bundle lie")],
          "verify": [("ARCHIVE", "", "archive, or folder that one was unpacked into"),
                     ("--unpack FOLDER", "", "folder to unpack into, if all is right")]}


def command_line() -> str:
    """The page."""
    text = note("the commands") + (
        "# Command line\n\n`moevit --help` lists the commands, `moevit COMMAND --help` says this. Each command ends in "
        "one line that says what is\nwrong, if something is ([troubleshooting](troubleshooting.md)). The extra brings "
        "the packages that a command needs:\n `pip install 'moevit[EXTRA]'`.\n\n")
    rows = [[f"[`moevit {name}`](#{slug('moevit ' + name)})", command.help,
             f"`{command.extra}`" if command.extra else ""]
            for name, command in COMMANDS.items() if command.target]
    text += table(["command", "what it does", "extra"], rows)
    for panel in dict.fromkeys(command.panel for command in COMMANDS.values()):
        text += f"\n## {panel}\n"
        for name, command in COMMANDS.items():
            if command.panel == panel and command.target:
                text += _section(name, command)
    return text


def _section(name: str, command: Command) -> str:
    if command.target == BOARD:
        rows = [(f"`{what}`", default, help) for what, default, help in _BOARD[name]]
        return f"\n### moevit {name}\n\n{command.help}\n\n" + table(["argument", "default", "meaning"], rows)
    module, function = command.target.split(":")
    called = getattr(import_module(f"moevit.cli.{module}"), function)
    said = inspect.cleandoc(called.__doc__ or command.help)
    rows = [(f"`{what}`", default if default in ("", "needed") else f"`{default}`", cell(help))
            for what, default, help in _parameters(called)]
    options = table(["argument", "default", "meaning"], rows) if rows else "No arguments.\n"
    return f"\n### moevit {name}\n\n{said}\n\n{options}"


def _parameters(called: Callable[..., Any]) -> Iterator[tuple[str, str, str]]:
    """How each argument is written, its default, its help."""
    hints = get_type_hints(called, include_extras=True)
    for name, parameter in inspect.signature(called).parameters.items():
        hint = hints[name]
        kind, info = get_args(hint)[:2] if get_origin(hint) is Annotated else (hint, None)
        base, many, optional = _base(kind)
        default = "" if parameter.default in (parameter.empty, None, False) else str(parameter.default)
        help = getattr(info, "help", "") or ""
        if isinstance(info, ArgumentInfo):
            word = info.metavar or name.upper().replace("_", "-") + ("..." if many else "")
            yield (f"[{word}]" if parameter.default is not parameter.empty else word), default, help
            continue
        declared = (getattr(info, "default", None), *(getattr(info, "param_decls", None) or ()))
        flags = [each for each in declared if isinstance(each, str) and each.startswith("-")]
        if not flags:
            flags = [f"--{name.replace('_', '-')}"]
            if base is bool and (optional or parameter.default):
                flags.append(f"--no-{name.replace('_', '-')}")
        metavar = getattr(info, "metavar", None) or _TYPES.get(base, "TEXT")
        needed = "" if parameter.default is not parameter.empty else "needed"
        yield ", ".join(flags) + (f" {metavar}" if metavar else ""), needed or default, help


def _base(kind: Any) -> tuple[Any, bool, bool]:
    """The type without its None and its list; whether it may come several times; whether it may be left open."""
    optional = get_origin(kind) in (Union, types.UnionType)
    if optional:
        kind = next(each for each in get_args(kind) if each is not type(None))
    many = get_origin(kind) in (list, tuple)
    return (get_args(kind)[0] if many else kind), many, optional
