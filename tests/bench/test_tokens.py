# SPDX-License-Identifier: Apache-2.0
"""Cycles against the length of the sequence."""

import matplotlib.pyplot as plt
import pytest

from moevit.bench.tokens import cycles_against_tokens, lengths, picture
from moevit.estimator.onchip import shortages
from moevit.spec.boards import BOARDS


@pytest.fixture(scope="module")
def estimates():
    return lengths()


def test_cycles_grow_as_the_multiplications_do(estimates):
    tokens = [each.network.tokens for each in estimates]
    assert tokens == sorted(tokens) and (tokens[0], tokens[-1]) == (65, 1201)
    each_costs = [each.cycles / each.macs for each in estimates]
    # One patch more than full tiles of keys is the worst case: 65 and 129 tokens.
    assert max(each_costs[2:]) <= 1.15 * min(each_costs)


def test_the_machine_fits_its_board(estimates):
    assert not shortages(estimates[0].config, BOARDS["zcu104"])


def test_table(estimates):
    header, *lines = cycles_against_tokens(estimates)
    assert {len(line) for line in lines} == {len(header)}
    cells = lines[-1]
    assert cells[:2] == ["480 x 640", "1,201"]
    cycles, macs = int(cells[3].replace(",", "")), 1e6 * int(cells[2].replace(",", ""))
    assert float(cells[4]) == pytest.approx(1e3 * cycles / macs, abs=1e-3)


def test_picture(estimates, tmp_path):
    rows = [{"network": each.network.name, "array": "32x64_long", "cycles": each.cycles} for each in estimates[3:5]]
    drawn = []
    for measured in ([], rows):
        picture(estimates, measured, tmp_path / "tokens.png")
        drawn.append(plt.imread(tmp_path / "tokens.png"))
    assert (drawn[0] != drawn[1]).any()
