# SPDX-License-Identifier: Apache-2.0
"""The shipped self-test: pytest finds it by its package's name, and skips its board part without a board."""

import os
import subprocess
import sys

import pytest

from moevit.host.device import Buffer, Device
from moevit.host.selftest.fake import FakeBuffer, FakeDevice


def test_runs_by_its_name(tmp_path):
    paths = [os.path.abspath(path) for path in sys.path if path]
    ran = subprocess.run([sys.executable, "-m", "pytest", "--pyargs", "moevit.host.selftest", "-rs", "-p",
                          "no:cacheprovider"], cwd=tmp_path, capture_output=True, text=True,
                         env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)})
    assert ran.returncode == 0 and "2 passed, 1 skipped" in ran.stdout, ran.stdout + ran.stderr
    assert "not on a board with an overlay" in ran.stdout


@pytest.mark.parametrize("body, fake", [(Device, FakeDevice()), (Buffer, FakeBuffer(0, 1))])
def test_the_fake_has_what_the_protocol_says(body, fake):
    assert all(hasattr(fake, name) for name in vars(body) if not name.startswith("_"))
