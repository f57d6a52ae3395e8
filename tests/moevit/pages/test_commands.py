# SPDX-License-Identifier: Apache-2.0
"""The reference of the command line has every command, with the arguments as they are typed."""

import pytest

from moevit.cli.commands import COMMANDS
from moevit.pages.commands import command_line


@pytest.fixture(scope="module")
def text():
    return command_line()


def section(text, name):
    return text.partition(f"\n### moevit {name}\n")[2].partition("\n### ")[0]


@pytest.mark.parametrize("name", [name for name, command in COMMANDS.items() if command.target])
def test_every_command(text, name):
    assert section(text, name).strip()


@pytest.mark.parametrize("name, row", [
    ("quantise", "| `--output, -o PATH` | needed |"),
    ("quantise", "| `--count INTEGER` | `16` |"),
    ("import", "| `--renormalise, --no-renormalise` |"),
    ("run", "| `PICTURE...` |"),
    ("doctor", "| `[FOLDER]` | . |"),
    ("simulate", "| `--passes` |"),
])
def test_arguments(text, name, row):
    assert row in section(text, name)
