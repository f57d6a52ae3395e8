# SPDX-License-Identifier: Apache-2.0
"""Output of commands: results on stdout, errors and progress on stderr."""

from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.console import Console

from moevit.spec.arrays import CONFIGS, MachineConfig
from moevit.spec.boards import BOARDS, Board

__all__ = ["board_named", "config_named", "console", "errors", "say", "told"]

console = Console()
errors = Console(stderr=True)


def say(text: str, style: str | None = None) -> None:
    """Print one line without wrapping, with brackets and numbers unchanged."""
    console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def told(*kinds: type[Exception]) -> Iterator[None]:
    """An error of these ``kinds`` prints its message and ends the command with exit code 1."""
    try:
        yield
    except kinds as error:
        errors.print(str(error), style="red", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(1) from error


def config_named(name: str) -> MachineConfig:
    """The configuration of this name. Raises BadParameter."""
    if name not in CONFIGS:
        raise typer.BadParameter(f"no configuration is called {name!r}; there are {', '.join(CONFIGS)}")
    return CONFIGS[name]


def board_named(name: str) -> Board:
    """The board of this name. Raises BadParameter."""
    if name not in BOARDS:
        raise typer.BadParameter(f"no board is called {name!r}; there are {', '.join(BOARDS)}")
    return BOARDS[name]
