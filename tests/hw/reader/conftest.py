# SPDX-License-Identifier: Apache-2.0
"""Random memories around the row reader, and what its instructions must give."""

from dataclasses import replace

import numpy as np
import pytest

from moevit.golden.integer.norm import NormRows, apply_gain, norm_rows
from moevit.golden.integer.row_scale import UNIT, RoundedPeak, RowScale, digits, peak_scale, quantise, reciprocal
from moevit.golden.integer.softmax import exponentials
from moevit.hw.layouts import PEAK_ENTRIES, Accumulate
from moevit.hw.reader.row_reader import RowReader
from moevit.spec.isa import Operand, RowSource

from ...configs import TEST_CONFIGS
from .row_reader_bench import RowReaderBench

OPERATIONS = Accumulate.SET, Accumulate.ADD, Accumulate.SHIFT_ADD


class World:
    """Random memories of a configuration; ``run`` lets the row reader execute instructions over them.

    tile_delay, writer_delay, store_stall, gain_stall: functions of the random generator, called per event, for the
    cycles from a tile's hand-over to the next one (at least k_lanes), from a last row to its release, and whether the
    output (the gain's stream) pauses in a cycle.
    """

    def __init__(self, name="8x8", seed=0):
        print(f"configuration {name}, seed {seed}")
        self.config = config = replace(TEST_CONFIGS[name], trace=True)
        self.random = random = np.random.default_rng(seed)
        lanes = config.k_lanes
        self.residual = random.integers(-32768, 32768, (config.residual_words, lanes))
        self.hidden = random.integers(-32768, 32768, (config.hidden_words, lanes))
        self.peaks = random.integers(0, 32769, PEAK_ENTRIES * config.max_tokens)
        self.queue = np.stack([random.integers(0, config.max_tokens, config.max_experts * config.max_tokens),
                               random.integers(0, 65537, config.max_experts * config.max_tokens)], axis=1)
        self.sums = np.zeros(config.max_tokens, np.int64)
        self.reader: RowReader | None = None  # of the last run
        self.norm: NormRows | None = None
        self.gain = np.zeros(0, np.int64)
        self.tile_delay = lambda random: 0
        self.writer_delay = lambda random: 12
        self.store_stall = self.gain_stall = lambda random: False

    def words(self, instruction, source_row):
        memory = self.hidden if instruction.get("source", 0) == RowSource.HIDDEN else self.residual
        start = instruction["source_base"] + np.asarray(source_row)[:, None] * instruction["source_stride"]
        return memory[start + np.arange(instruction["k_tiles"])].reshape(len(source_row), -1)

    def fit_peaks(self, instruction, source_row, absolute=True):
        """Give the rows that ``instruction`` reads their true peaks, as a row writer would have."""
        x = self.words(instruction, source_row)
        if absolute:
            peak = np.abs(x).max(axis=1)
        else:
            peak = x[:, :instruction["keys"]].max(axis=1)
        self.peaks[instruction["source_peak"] + np.asarray(source_row)] = peak

    def expect_pass(self, instruction, expert=0):
        """Rows and tags of a PASS."""
        rows, lanes = instruction["rows"], self.config.k_lanes
        place = np.arange(rows)
        token, score = self.queue[expert * self.config.max_tokens + place].T
        source_row = token if instruction.get("gather") else place
        x = self.words(instruction, source_row)
        match instruction.get("operand", Operand.RAW):
            case Operand.RAW:
                operands = ((x + 256) & 511) - 256
                scale = RowScale(np.full(rows, UNIT.mantissa), np.full(rows, UNIT.exponent))
            case Operand.ROW:
                found = peak_scale(self.peaks[instruction["source_peak"] + source_row])
                operands, scale = quantise(x, RoundedPeak(found.m[:, None], found.e[:, None])), found.row_scale
            case Operand.NORM:
                mean, found, scale = self.norm.mean, self.norm.peak, self.norm.scale
                value = apply_gain(x, mean[source_row, None], self.gain)
                operands = quantise(value, RoundedPeak(found.m[source_row, None], found.e[source_row, None]))
                scale = RowScale(scale.mantissa[source_row], scale.exponent[source_row])
            case Operand.EXP:
                operands = exponentials(x, self.peaks[instruction["source_peak"] + source_row], instruction["keys"])
                scale = reciprocal(operands.sum(axis=1))
        groups = [operands]
        if instruction.get("operand") in (Operand.ROW, Operand.NORM):
            high, low = digits(operands)
            groups = [high, low, high][:self.config.gate_sweeps] if instruction.get("digits") else [high]
        tiles = [(group, word) for group in range(len(groups)) for word in range(instruction["k_tiles"])]
        expected = []
        for _ in range(instruction["n_tiles"]):
            for tile, (group, word) in enumerate(tiles):
                operation = OPERATIONS[group] if word == 0 and group != 1 else Accumulate.ADD
                for row in range(rows):
                    lane = groups[group][row, word * lanes:(word + 1) * lanes]
                    expected.append((int(row == 0), list(lane), row, operation, int(tile == len(tiles) - 1)))
        to = token if instruction.get("scatter") else place
        tags = [(to[row], scale.mantissa[row], scale.exponent[row],
                 score[row] if instruction.get("score") else None) for row in range(rows)]
        return expected, tags * instruction["n_tiles"]

    def apply_norm(self, instruction, gain):
        """Remember the statistics that a NORM finds; its norm records."""
        rows = np.arange(instruction["rows"])
        self.gain = np.asarray(gain)
        self.norm = norm_rows(self.words(instruction, rows), self.gain, instruction["dim"], instruction["inverse_dim"],
                              instruction["epsilon"], self.sums[rows] if instruction.get("summed") else None)
        fields = (self.norm.mean, self.norm.peak.m, self.norm.peak.e, self.norm.scale.mantissa,
                  self.norm.scale.exponent)
        return [(row, *(int(values[row]) for values in fields)) for row in rows]

    def run(self, program, gains=(), experts=None, first_sequence=0):
        """Dispatch ``program`` (dicts of instruction fields) at once; gains: s16 per NORM, in order."""
        bench = RowReaderBench(self, program, gains, experts, first_sequence)
        self.reader = bench.reader
        return bench.run()

    def check(self, seen, expected):
        """Compare rows and tags with those of all passes, ``expected`` being the results of ``expect_pass``."""
        rows = [row for rows, _ in expected for row in rows]
        tags = [tag for _, tags in expected for tag in tags]
        for index, (found, wanted) in enumerate(zip(seen.rows, rows, strict=False)):
            assert found == wanted, f"row {index}"
        assert len(seen.rows) == len(rows)
        for index, (found, wanted) in enumerate(zip(seen.tags, tags, strict=False)):
            assert found[:3] == wanted[:3], f"tag {index}"
            assert wanted[3] is None or found[3] == wanted[3], f"score of tag {index}"
        assert len(seen.tags) == len(tags)


@pytest.fixture
def world():
    """The :class:`World` of a configuration and a seed."""
    return World
