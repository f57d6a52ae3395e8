# SPDX-License-Identifier: Apache-2.0
"""Jobs of the row writer, and what the golden functions make of them."""

from dataclasses import dataclass, replace

import numpy as np

from moevit.golden.integer.rounding import round_shift
from moevit.golden.integer.row_scale import RowScale
from moevit.golden.integer.row_writer import gate_logits, write_rows
from moevit.hw.layouts import PEAK_ENTRIES
from moevit.hw.writer.gate_logits import ROUTING_FIELDS
from moevit.spec.arrays import CONFIGS
from moevit.spec.formats import DIGIT_BITS
from moevit.spec.isa import Activation, Destination, Opcode, Peak, Saturation
from moevit.spec.trace import TraceKind


@dataclass
class Job:
    """An instruction, and for a PASS what comes in along with it: accumulators (rows, n_tiles x n_lanes), tokens, row
    scales and scores (rows,), column parameters (n_tiles x n_lanes,)."""

    instruction: dict
    accumulator: np.ndarray | None = None
    row: np.ndarray | None = None
    scale: RowScale | None = None
    score: np.ndarray | None = None
    column_scale: np.ndarray | None = None
    bias: np.ndarray | None = None

    @property
    def is_pass(self):
        return self.instruction["opcode"] == Opcode.PASS

    @property
    def first_word(self):
        return self.instruction.get("first_word", 0)


class GoldenWriter:
    """Random memories of a configuration; executes jobs over them with the golden functions."""

    def __init__(self, name, seed):
        self.config = config = replace(CONFIGS[name], trace=True)
        self.random = random = np.random.default_rng(seed)
        lanes = config.k_lanes
        self.residual = random.integers(-32768, 32768, (config.residual_words, lanes))
        self.hidden = random.integers(-32768, 32768, (config.hidden_words, lanes))
        self.kv = random.integers(-128, 128, (config.kv_words * config.ratio, lanes))
        self.peaks = np.zeros(PEAK_ENTRIES * config.max_tokens, np.int64)
        self.sums = np.random.default_rng([seed, 1]).integers(-(1 << 25), 1 << 25, config.max_tokens)

    def job(self, rows=5, columns=20, row=None, bits=20, **fields):
        """A PASS with random data whose accumulators have up to ``bits`` bits."""
        random, config = self.random, self.config
        instruction = {"opcode": Opcode.PASS, "rows": rows, "columns": columns,
                       "n_tiles": -(-columns // config.n_lanes), "k_tiles": 1, "shift": bits - 2,
                       "destination_stride": -(-columns // config.k_lanes), "saturation": Saturation.ROW}
        instruction |= {name: int(value) for name, value in fields.items()}
        width = instruction["n_tiles"] * config.n_lanes
        size = random.integers(1, bits + 1, (rows, width))
        accumulator = random.integers(-(1 << 26), 1 << 26, (rows, width)) >> (26 - np.minimum(size, 26))
        accumulator[random.random((rows, width)) < 0.02] = -(1 << (bits - 1))
        if instruction.get("digits"):  # two sums make one of s27
            accumulator[:, config.max_experts:] >>= 1
        scale = RowScale(random.integers(1, 1 << 16, rows), random.integers(-3, 4, rows))
        column_scale, bias = random.integers(0, 1 << 16, width), random.integers(-2000, 2000, width)
        if instruction.get("constant"):
            column_scale, bias = np.full(width, instruction["constant_scale"]), np.zeros(width, np.int64)
        return Job(instruction, accumulator, np.arange(rows) if row is None else np.asarray(row), scale,
                   random.integers(0, 65537, rows), column_scale, bias)

    def expect(self, jobs):
        """Executes ``jobs``; returns stores (kind, sequence, address, data) in the order of the hardware, logits, and
        the values saturated by each job."""
        stores, logits, saturated = [], [], []
        for sequence, job in enumerate(jobs):
            if not job.is_pass:
                continue
            instruction, columns = job.instruction, job.instruction["columns"]
            stored = slice(job.first_word * self.config.k_lanes, columns)
            parameters = (self._joined(job)[:, stored], job.scale, job.column_scale[stored], job.bias[stored],
                          instruction["shift"])
            if instruction["destination"] == Destination.ROUTER:
                fields = (columns, *(instruction.get(name, 0) for name in ROUTING_FIELDS), sequence)
                rows = gate_logits(*parameters)
                logits += [(list(row), int(index == 0), int(index == len(rows) - 1), *fields)
                           for index, row in enumerate(rows)]
                continue
            kind, address = self._addresses(job)
            memory = {TraceKind.RESIDUAL: self.residual, TraceKind.HIDDEN: self.hidden, TraceKind.KV: self.kv}[kind]
            adds = kind == TraceKind.RESIDUAL
            written = write_rows(
                *parameters, activation=Activation(instruction.get("activation", 0)),
                score=job.score if instruction.get("score") else None,
                residual=memory[address].reshape(len(job.row), -1)[:, :stored.stop - stored.start] if adds else None,
                saturation=instruction["saturation"])
            saturated.append(written.saturated)
            padding = address.shape[1] * self.config.k_lanes - written.rows.shape[1]
            before = memory[address].sum(axis=(1, 2))
            memory[address] = np.pad(written.rows, ((0, 0), (0, padding))).reshape(*address.shape, -1)
            if adds:
                change = memory[address].sum(axis=(1, 2)) - before
                np.add.at(self.sums, self.rows_written(job) % len(self.sums), change)
            stores += [(kind, sequence, int(at), list(data)) for at, data in
                       zip(address.ravel(), memory[address].reshape(-1, self.config.k_lanes), strict=True)]
            if instruction.get("peak"):
                peak = (np.abs(written.rows) if instruction["peak"] == Peak.ABSOLUTE else written.rows).max(axis=1)
                entry = instruction.get("destination_peak", 0) + self.rows_written(job)
                self.peaks[entry] = peak if instruction.get("peak_first") else np.maximum(self.peaks[entry], peak)
        return self._in_order(jobs, stores), logits, saturated

    def _joined(self, job):
        """Accumulators; of a gate in two sweeps both sums of each expert make one."""
        experts = self.config.max_experts
        if not job.instruction.get("digits") or self.config.gate_sweeps == 3:
            return job.accumulator
        return round_shift(job.accumulator[:, :experts], DIGIT_BITS) + job.accumulator[:, experts:2 * experts]

    def rows_written(self, job):
        """Destination rows: ``gap`` more from group to group."""
        rows, size = job.row.copy(), job.instruction.get("group", 0)
        for group in range(1, -(-len(rows) // size) if size else 0):
            rows[group * size:] += job.instruction["gap"]
        return rows

    def _addresses(self, job):
        ratio, instruction = self.config.ratio, job.instruction
        word = np.arange(job.first_word, -(-instruction["columns"] // self.config.k_lanes))
        row = self.rows_written(job)[:, None]
        base, stride = instruction.get("destination_base", 0), instruction["destination_stride"]
        match instruction["destination"]:
            case Destination.RESIDUAL:
                return TraceKind.RESIDUAL, base + row * stride + word
            case Destination.HIDDEN:
                return TraceKind.HIDDEN, base + row * stride + word
            case Destination.KEYS:
                return TraceKind.KV, (base + word * stride + row // ratio) * ratio + row % ratio
            case Destination.VALUES:
                return TraceKind.KV, (base + word // ratio * stride + row) * ratio + word % ratio

    def _in_order(self, jobs, stores):
        """``stores`` as the hardware makes them: per n-tile all rows, per row all words."""
        ordered, stores = [], iter(stores)
        for job in jobs:
            if not job.is_pass or job.instruction["destination"] == Destination.ROUTER:
                continue
            ratio, words = self.config.ratio, -(-job.instruction["columns"] // self.config.k_lanes)
            table = [{word: next(stores) for word in range(job.first_word, words)} for _ in job.row]
            ordered += [row[word] for tile in range(0, words, ratio) for row in table
                        for word in range(tile, tile + ratio) if word in row]
        return ordered
