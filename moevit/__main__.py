# SPDX-License-Identifier: Apache-2.0
"""``moevit`` or ``python -m moevit``: all commands. Without typer, as on a board, only those that need numpy alone."""

import os
import sys
from collections.abc import Sequence
from typing import Any

from .cli import board
from .extras import explained

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command. It always raises SystemExit."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a terminal with few letters gets escapes for the others
    try:
        app = _application()
        if app is None:
            sys.exit(board.main(words))
        app(words, prog_name="moevit")
    except BrokenPipeError:  # the reader of the output, such as head, has stopped
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)  # the same code as typer's


def _application() -> Any:
    """The typer application with all commands, or None without typer."""
    try:
        from .cli.app import app
    except ModuleNotFoundError as error:
        if explained(error, "", "cli") is error:
            raise
        return None
    return app


if __name__ == "__main__":
    main()
