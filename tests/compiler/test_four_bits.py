# SPDX-License-Identifier: Apache-2.0
"""Cycles that experts of four bits would save, by the performance model; ``-s`` prints the line of
docs/quantisation.md."""

import pytest

from moevit.estimator import timing, units
from moevit.estimator.estimate import estimate
from moevit.spec.arrays import CONFIGS
from moevit.spec.boards import BOARDS
from moevit.spec.networks import NETWORKS
from moevit.spec.parts import Part

EXPERT = (Part.EXPERT_FC1, Part.EXPERT_FC2)


@pytest.mark.parametrize("board", ["pynq-z2", "kv260", "zcu104", "zcu102"])
def test_experts_of_four_bits(board, monkeypatch):
    """A tile of an expert has half the beats; column parameters stay."""
    def cycles() -> int:
        return estimate(NETWORKS["m3vit_tiny"], CONFIGS[BOARDS[board].config], BOARDS[board]).cycles

    beats_of, load, run = units.beats_of, units.Units._load, units.Units._pass
    halved = []

    def half_beats(step, config):
        beats = beats_of(step, config)
        columns = units.COLUMN_BEATS * step.fields.get("n_tiles", 0)
        return columns + (beats - columns) // 2 if step.part in EXPERT else beats

    def half_load(self, streamed):
        if not halved[-1]:
            return load(self, streamed)
        beats = self.config.k_lanes // 2
        present = max(self.loader, self.swapped) + 1
        self.loader = max(present + beats // self.config.tile_beats - 1, self.prefetch.arrival(beats) + 1)
        self.prefetch.take(beats, self.loader)
        return self.loader + 1

    def noting(self, step, *arguments):
        halved.append(step.part in EXPERT)
        return run(self, step, *arguments)

    eight = cycles()
    for module in (timing, units):
        monkeypatch.setattr(module, "beats_of", half_beats)
    monkeypatch.setattr(units.Units, "_load", half_load)
    monkeypatch.setattr(units.Units, "_pass", noting)
    four = cycles()
    print(f"\n{board} {eight:,} -> {four:,}", end="")
    assert 0.6 * eight < four < eight
    assert any(halved) and not all(halved)
