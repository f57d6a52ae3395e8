# SPDX-License-Identifier: Apache-2.0
"""What the machine keeps on chip, and what a run leaves behind."""

from dataclasses import dataclass, field

import numpy as np

from moevit.golden.integer.norm import NormRows
from moevit.golden.integer.rounding import wrap
from moevit.golden.integer.router import Queue
from moevit.spec.arrays import MachineConfig
from moevit.spec.formats import ROW_SUM_BITS
from moevit.spec.trace import TraceKind, record_dtype

__all__ = ["Finished", "Run", "State"]


@dataclass(frozen=True)
class Finished:
    """An instruction of the run: its place in the program, its expert, its rows, and what it cost.

    ``macs`` are the array's: rows x tiles x k_lanes x n_lanes. ``beats`` came from the memory bus.
    """

    pc: int
    expert: int
    rows: int
    macs: int
    beats: int


@dataclass
class Run:
    """What a run leaves behind besides its output."""

    finished: list[Finished] = field(default_factory=list)
    saturated: int = 0
    trace: list[np.ndarray] = field(default_factory=list)

    @property
    def records(self) -> np.ndarray:
        return np.concatenate(self.trace)


class State:
    """Everything that the machine keeps on chip; memories hold one word per row of the array."""

    def __init__(self, config: MachineConfig):
        self.config = config
        self.residual = np.zeros((config.residual_words, config.k_lanes), np.int64)
        self.hidden = np.zeros((config.hidden_words, config.k_lanes), np.int64)
        self.kv = np.zeros((config.kv_words * config.ratio, config.k_lanes), np.int64)  # by parts
        self.peaks = np.zeros(4 * config.max_tokens, np.int64)
        self.sums = np.zeros(config.max_tokens, np.int64)  # of residual rows, s27
        self.norm: NormRows | None = None
        self.gain = np.zeros(0, np.int64)
        self.queues: list[Queue] = []
        self.select_bias = np.zeros(config.max_experts, np.int64)
        self.run = Run()
        self.sequence = 0

    def add_to_sums(self, row: np.ndarray, change: np.ndarray) -> None:
        """The sums of rows ``row`` (modulo max_tokens) change by ``change``, modulo 2^27."""
        np.add.at(self.sums, row % self.config.max_tokens, change)
        self.sums = wrap(self.sums, ROW_SUM_BITS)

    def record(self, kind: TraceKind, address: np.ndarray, data: np.ndarray) -> None:
        """Note stores at ``address`` (any shape) of ``data`` (that shape, at most k_lanes)."""
        records = np.zeros(address.size, record_dtype(self.config.k_lanes))
        records["kind"], records["sequence"], records["address"] = kind, self.sequence, address.ravel()
        flat = data.reshape(address.size, -1)
        records["data"][:, :flat.shape[1]] = flat.astype(np.int64).astype(np.uint16).view(np.int16)
        self.run.trace.append(records)
