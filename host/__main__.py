# SPDX-License-Identifier: Apache-2.0
"""``python -m moevit.host``: what is on this board. Standard library and numpy alone."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from .doctor import examine, table

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 1 if something essential is missing."""
    parser = argparse.ArgumentParser(prog="python -m moevit.host", description="The host runtime of moevit.")
    commands = parser.add_subparsers(dest="command", required=True)
    doctor = commands.add_parser("doctor", help="check board, packages, memory, overlay and bundles")
    doctor.add_argument("folder", nargs="?", type=Path, default=Path(), help="where .bit, .hwh and .bundle lie")
    findings = examine(parser.parse_args(arguments).folder)
    print(table(findings))
    return int(any(each.fix and each.essential for each in findings))


if __name__ == "__main__":
    sys.exit(main())
