# SPDX-License-Identifier: Apache-2.0
"""Every error has a line in the host's documentation, and says cause, state and fix."""

import re
from pathlib import Path

from moevit.host import errors

ROOT = Path(__file__).resolve().parents[2]


def test_every_error_is_documented():
    rows = re.findall(r"^\| (\w+) \|", (ROOT / "docs" / "host.md").read_text(), re.M)
    assert sorted(rows) == sorted({*errors.__all__, "exception"} - {"AccelError"})


def test_cause_state_and_fix():
    error = errors.BusError("the bus is gone", fix="Look for it", address=7)
    assert str(error) == "the bus is gone. Look for it"
    assert (error.cause, error.fix, error.state) == ("the bus is gone", "Look for it", {"address": 7})
    assert str(errors.Busy("a run is under way")) == "a run is under way"
