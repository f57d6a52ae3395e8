# SPDX-License-Identifier: Apache-2.0
"""What a network costs on a configuration, from its shape alone: cycles, bounds, bytes, on-chip memory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from moevit.spec.arrays import MachineConfig
from moevit.spec.boards import Board
from moevit.spec.loads import expert_loads
from moevit.spec.networks import Network
from moevit.spec.quantised import QuantisedModel, tensor_shapes

from .onchip import OnChipMemory, on_chip
from .plan import check_fit
from .steps import Step, schedule
from .stream import MemoryTiming
from .timing import FrameTiming, frame_timing

__all__ = ["Estimate", "estimate", "frame_macs", "shape_steps"]


@dataclass(frozen=True)
class Estimate:
    """``batch`` images of ``network`` on ``config``: predicted cycles and what bounds them from below.

    ``macs`` are the network's, without padding; ``bytes_read`` all that crosses the bus; ``memory_bound`` and
    ``compute_bound`` are the cycles in which the memory could bring the bytes and the array do the multiplications.
    """

    network: Network
    config: MachineConfig
    batch: int
    timing: FrameTiming
    macs: int
    bytes_read: int
    memory_bound: float
    compute_bound: float
    on_chip: list[OnChipMemory]

    @property
    def cycles(self) -> int:
        return self.timing.cycles

    @property
    def bound(self) -> float:
        return max(self.memory_bound, self.compute_bound)

    @property
    def macs_per_cycle(self) -> float:
        return self.macs / self.cycles


def shape_steps(network: Network, config: MachineConfig, batch: int = 1) -> list[Step]:
    """The program of ``network`` with weights of zero: as long, and as many bytes. Raises DoesNotFit."""
    plan = check_fit(network, config, batch)
    zeros = {name: np.zeros(shape, dtype) for name, (shape, dtype) in tensor_shapes(network).items()}
    return schedule(QuantisedModel(network, zeros, 0), plan)


def frame_macs(timing: FrameTiming, steps: Sequence[Step]) -> int:
    """Multiply-accumulates of a frame, padding not counted."""
    return sum(steps[each.pc].macs * each.rows for each in timing.passes)


def estimate(network: Network, config: MachineConfig, board: Board | None = None, *, batch: int = 1,
             read_latency: int = 64, loads: Mapping[int, Sequence[int]] | None = None) -> Estimate:
    """Predict a frame. Without a board the memory moves a beat per cycle; without ``loads`` (tokens per expert, all
    images together, by block) they are as measured on M3ViT-tiny (``spec.loads``). Raises DoesNotFit."""
    steps = shape_steps(network, config, batch)
    if loads is None:
        loads = {block: [batch * load for load in each] for block, each in expert_loads(network).items()}
    bandwidth = board.bandwidth(config) if board else 1.0
    timing = frame_timing(steps, config, MemoryTiming(read_latency, bandwidth=bandwidth), list(loads.values()))
    macs, count = frame_macs(timing, steps), timing.beats * config.n_lanes
    return Estimate(network, config, batch, timing, macs, count, count / (config.bus_bytes * bandwidth),
                    macs / config.macs_per_cycle, on_chip(config, board.uram if board else 0))
