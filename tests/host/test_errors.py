# SPDX-License-Identifier: Apache-2.0
"""Every error of the host is on the page of errors, and says cause, state and fix."""

import re
from pathlib import Path

from moevit.host import errors

ROOT = Path(__file__).resolve().parents[2]


def test_every_error_is_documented():
    page = (ROOT / "docs" / "troubleshooting.md").read_text()
    assert set(errors.__all__) <= set(re.findall(r"^### (\w+)$", page, re.M))


def test_cause_state_and_fix():
    error = errors.BusError("the bus is gone", fix="Look for it", address=7)
    assert str(error) == "the bus is gone. Look for it"
    assert (error.cause, error.fix, error.state) == ("the bus is gone", "Look for it", {"address": 7})
    assert str(errors.Busy("a run is under way")) == "a run is under way"
