# SPDX-License-Identifier: Apache-2.0
import gc

import pytest
from amaranth.hdl import Elaboratable


@pytest.fixture(autouse=True)
def unused_allowed(monkeypatch):
    """The pages look at components without elaborating them; Amaranth warns of each when it is collected."""
    monkeypatch.setattr(Elaboratable, "_MustUse__silence", True)
    yield
    gc.collect()
