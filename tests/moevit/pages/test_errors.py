# SPDX-License-Identifier: Apache-2.0
"""Every error class says its cause and what to do about it."""

from pathlib import Path

import pytest

from moevit.host import errors as host
from moevit.pages.errors import error_classes

ROOT = Path(__file__).resolve().parents[3]
FOUND = error_classes(ROOT)
#: Bases, and classes whose instances only ever pass on what another error said.
BASES = {"AccelError", "CheckpointError", "ImportFailed", "QuantisationError"}


@pytest.mark.parametrize("each", FOUND.values(), ids=FOUND)
def test_cause_and_fix(each):
    assert each.cause, f"{each.file}: {each.name} has no docstring"
    assert each.fix or each.fixes or each.name in BASES, f"{each.file}: {each.name} needs a paragraph `Fix: ...`"


def test_the_classes_of_the_host_are_found():
    assert set(host.__all__) <= FOUND.keys()


def test_messages_and_fixes_are_read_from_calls(tmp_path):
    for folder in ("host", "golden"):
        (tmp_path / folder).mkdir()
    (tmp_path / "host/errors.py").write_text(
        'class Broken(RuntimeError):\n    """It is broken.\n\n    Fix: mend it.\n    """\n\n\n'
        'def use(name):\n    raise Broken(f"{name} is in two parts", fix="Glue " "it")\n')
    found = error_classes(tmp_path)["Broken"]
    assert (found.cause, found.fix) == ("It is broken.", "mend it.")
    assert (found.messages, found.fixes) == (["... is in two parts"], ["Glue it"])
