# SPDX-License-Identifier: Apache-2.0
"""Multipliers of the row lanes are no wider than the part's: one product needs one of them."""

import re
from dataclasses import replace

import pytest
from amaranth.back import rtlil

from moevit.hw.reader.row_reader import RowReader
from moevit.hw.writer.row_writer import RowWriter

from ..configs import TEST_CONFIGS


def widths(component):
    """Operands of every product, in bits with a sign, the narrower one first."""
    text = rtlil.convert(component, emit_src=False)
    for cell in re.findall(r"(?ms)^ *cell \$mul .*?^ *end$", text):
        bits, signs = ([int(value) for value in re.findall(rf"\\[AB]_{what} (\d+)", cell)]
                       for what in ("WIDTH", "SIGNED"))
        yield sorted(width + (not signed) for width, signed in zip(bits, signs, strict=True))


@pytest.mark.parametrize("unit", [RowReader, RowWriter])
@pytest.mark.parametrize("name", ["8x8", "8x16"])
@pytest.mark.parametrize("packed, narrow, wide", [(True, 18, 25), (False, 18, 18)], ids=["packed", "portable"])
def test_products_fit_a_multiplier(unit, name, packed, narrow, wide):
    found = list(widths(unit(replace(TEST_CONFIGS[name], packed=packed))))
    assert len(found) >= 16
    assert not [each for each in found if each[0] > narrow or each[1] > wide]
