# SPDX-License-Identifier: Apache-2.0
import gc

import pytest
from amaranth.hdl import Elaboratable


@pytest.fixture
def unused_allowed(monkeypatch):
    """For tests of refused arguments: Amaranth would warn that what was half made is not elaborated."""
    monkeypatch.setattr(Elaboratable, "_MustUse__silence", True)
    yield
    gc.collect()
