# SPDX-License-Identifier: Apache-2.0
"""The typer application. A command is imported when it is called, so it does not load the packages of the others."""

from collections.abc import Mapping
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from moevit.extras import explained

from . import board
from .commands import BOARD, COMMANDS, Command
from .screen import errors
from .stages import Stages, interrupted

__all__ = ["app"]

INTERRUPTED = 130  # a shell's exit code: 128 + SIGINT


class _Command(TyperCommand):
    """A command whose help shows flags without a type."""

    def get_params(self, ctx: Any) -> list[Any]:
        return _untyped(super().get_params(ctx))


class _Group(TyperGroup):
    """The commands that begin with ``prefix``. The list is printed without importing them."""

    def __init__(self, *, prefix: str = "", **settings: Any):
        super().__init__(**settings)
        self.prefix = prefix
        self.commands = {name: TyperCommand(name, help=each.help, rich_help_panel=each.panel if not prefix else None)
                         for name, each in _named(prefix).items()}

    def get_params(self, ctx: Any) -> list[Any]:
        return _untyped(super().get_params(ctx))

    def list_commands(self, ctx: Any) -> list[str]:
        return list(self.commands)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        found, _, rest = super().resolve_command(ctx, args)
        name = str(found)
        command = COMMANDS[self.prefix + name]
        ctx.invoked_subcommand = name  # `invoke` reads it if the import fails
        if command.target == BOARD:
            raise SystemExit(board.main([name, *rest]))
        if not command.target:
            return name, _Group(prefix=f"{name} ", name=name, help=command.help, no_args_is_help=True), rest
        with Stages().stage("load", quiet=True) as stage:
            stage(f"packages of moevit[{command.extra}]")
            return name, _imported(name, command), rest

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except ModuleNotFoundError as error:
            name = self.prefix + (ctx.invoked_subcommand or "")
            raise _missing_extra(error, name, COMMANDS[name]) from error
        except KeyboardInterrupt as error:
            errors.print(interrupted(), style="red", markup=False, soft_wrap=True)
            raise typer.Exit(INTERRUPTED) from error


def _named(prefix: str) -> Mapping[str, Command]:
    return {name.removeprefix(prefix): each for name, each in COMMANDS.items()
            if name.startswith(prefix) and " " not in name.removeprefix(prefix)}


def _imported(name: str, command: Command) -> Any:
    module, function = command.target.split(":")
    made = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    made.command(name, cls=_Command)(getattr(import_module(f"{__package__}.{module}"), function))
    return typer.main.get_command(made)


def _missing_extra(error: ModuleNotFoundError, name: str, command: Command) -> BaseException:
    said = explained(error, f"moevit {name}", command.extra)
    if said is error:
        return error
    errors.print(str(said), style="red", markup=False, highlight=False, soft_wrap=True)
    return typer.Exit(1)


def _untyped(params: list[Any]) -> list[Any]:
    """Remove ``<bool>`` from flags, also from --help."""
    for each in params:
        if getattr(each, "is_flag", False):
            each.metavar = ""
    return params


def _print_version(wanted: bool) -> None:
    if wanted:
        from .. import __version__

        typer.echo(f"moevit {__version__}")
        raise typer.Exit


app = typer.Typer(cls=_Group, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.callback()
def _options(version: Annotated[bool, typer.Option("--version", callback=_print_version, is_eager=True,
                                                   help="Print the version and exit.")] = False) -> None:
    """A checkpoint of a vision transformer in, a verified machine for an FPGA out."""
