# SPDX-License-Identifier: Apache-2.0
"""The machine's on-chip state, and the record of a run."""

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
    """A finished instruction: its place in the program, its expert, its rows and its cost.

    ``macs``: multiply-accumulates of the array, rows x tiles x k_lanes x n_lanes. ``beats``: bus beats read.
    """

    pc: int
    expert: int
    rows: int
    macs: int
    beats: int


@dataclass
class Run:
    """The record of a run besides its output: finished instructions, clipped values, trace."""

    finished: list[Finished] = field(default_factory=list)
    saturated: int = 0
    trace: list[np.ndarray] = field(default_factory=list)

    @property
    def records(self) -> np.ndarray:
        return np.concatenate(self.trace)


class State:
    """The machine's on-chip state. An address of a memory holds one word of k_lanes values."""

    def __init__(self, config: MachineConfig):
        self.config = config
        self.residual = np.zeros((config.residual_words, config.k_lanes), np.int64)
        self.hidden = np.zeros((config.hidden_words, config.k_lanes), np.int64)
        self.kv = np.zeros((config.kv_words * config.ratio, config.k_lanes), np.int64)  # in parts of k_lanes bytes
        self.peaks = np.zeros(4 * config.max_tokens, np.int64)
        self.sums = np.zeros(config.max_tokens, np.int64)  # of residual rows, s27
        self.norm: NormRows | None = None
        self.gain = np.zeros(0, np.int64)
        self.queues: list[Queue] = []
        self.select_bias = np.zeros(config.max_experts, np.int64)
        self.run = Run()
        self.sequence = 0

    def add_to_sums(self, row: np.ndarray, change: np.ndarray) -> None:
        """Add ``change`` to the sums of the rows ``row`` (modulo max_tokens). Sums wrap at 27 bits."""
        np.add.at(self.sums, row % self.config.max_tokens, change)
        self.sums = wrap(self.sums, ROW_SUM_BITS)

    def record(self, kind: TraceKind, address: np.ndarray, data: np.ndarray) -> None:
        """Add stored words to the trace. ``data`` has the shape of ``address`` and up to k_lanes values for each."""
        records = np.zeros(address.size, record_dtype(self.config.k_lanes))
        records["kind"], records["sequence"], records["address"] = kind, self.sequence, address.ravel()
        flat = data.reshape(address.size, -1)
        records["data"][:, :flat.shape[1]] = flat.astype(np.int64).astype(np.uint16).view(np.int16)
        self.run.trace.append(records)
