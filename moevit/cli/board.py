# SPDX-License-Identifier: Apache-2.0
"""The commands that a board has: they need only numpy and the standard library."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from moevit.host.doctor import examine, table
from moevit.kit import release

from .commands import COMMANDS

__all__ = ["main"]


def main(words: Sequence[str]) -> int:
    """Run a command. Returns the exit code, 1 if something is wrong or missing."""
    from .. import __version__

    parser = argparse.ArgumentParser(prog="moevit", description="What needs numpy alone. All other commands need typer:"
                                                                " pip install 'moevit[cli]'")
    parser.add_argument("--version", action="version", version=f"moevit {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    doctor, verify = (commands.add_parser(name, help=COMMANDS[name].help, description=COMMANDS[name].help)
                      for name in ("doctor", "verify"))
    doctor.add_argument("folder", nargs="?", type=Path, default=Path(), help="where .bit, .hwh and .bundle lie")
    verify.add_argument("archive", type=Path, help="archive, or folder that one was unpacked into")
    verify.add_argument("--unpack", type=Path, metavar="FOLDER", help="folder to unpack into, if all is right")
    if words and words[0] in COMMANDS and COMMANDS[words[0]].extra:
        print(f"moevit {words[0]} needs typer, which is not installed: pip install "
              f"'moevit[{COMMANDS[words[0]].extra}]'", file=sys.stderr)
        return 1
    options = parser.parse_args(words)
    return _doctor(options.folder) if options.command == "doctor" else _verify(options.archive, options.unpack)


def _doctor(folder: Path) -> int:
    findings = examine(folder)
    print(table(findings))
    return int(any(each.fix and each.essential for each in findings))


def _verify(archive: Path, folder: Path | None) -> int:
    if archive.is_dir() and folder:
        print(f"{archive} is unpacked already: leave out --unpack", file=sys.stderr)
        return 1
    try:
        if archive.is_dir():
            manifest = release.verify_folder(archive)
        else:
            manifest = release.unpack(archive, folder) if folder else release.verify(archive)
    except release.ReleaseError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{archive}: {len(manifest['files'])} files are as released")
    return 0
