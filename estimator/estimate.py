# SPDX-License-Identifier: Apache-2.0
"""What a network costs on a configuration: cycles, bounds, bytes, on-chip memory.

The shape of the network is enough. A quantised model says more: how many experts are fetched early, and whether its
weights need sums in several parts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from moevit.compiler.plan import Plan, check_fit
from moevit.compiler.steps import Step, schedule
from moevit.spec.arrays import MachineConfig
from moevit.spec.boards import Board
from moevit.spec.networks import Network
from moevit.spec.quantised import QuantisedModel, tensor_shapes

from .loads import expert_loads, share_out
from .onchip import OnChipMemory, on_chip
from .prefetch import MemoryTiming
from .timing import FrameTiming, frame_timing

__all__ = ["Estimate", "estimate", "frame_macs", "shape_steps", "usual_loads"]


@dataclass(frozen=True)
class Estimate:
    """``batch`` images of ``network`` on ``config``: predicted cycles, and the bounds below them.

    ``macs`` are multiply-accumulates of the network, without padding. ``bytes_read`` is all that crosses the bus.
    ``memory_bound`` is the least cycles in which the memory brings the bytes, ``compute_bound`` the least cycles in
    which the array does the multiplications.
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
        """Of the batch."""
        return self.timing.cycles

    @property
    def bound(self) -> float:
        """The larger of the two bounds, in cycles."""
        return max(self.memory_bound, self.compute_bound)

    @property
    def macs_per_cycle(self) -> float:
        """Multiply-accumulates of the network per predicted cycle."""
        return self.macs / self.cycles


def shape_steps(network: Network, config: MachineConfig, batch: int, speculate: Mapping[int, int]) -> list[Step]:
    """The program of ``network`` with weights of zero: the same instructions, and as many bytes.

    ``speculate``: how many experts are fetched early, by block; 0 for a block that it leaves out. Raises DoesNotFit.
    """
    plan = check_fit(network, config, batch)
    tensors = {name: np.zeros(shape, dtype) for name, (shape, dtype) in tensor_shapes(network).items()}
    for block in filter(network.is_moe, range(network.depth)):
        tensors[f"blocks.{block}.moe.order"] += np.arange(network.experts, dtype=np.uint8)
        tensors[f"blocks.{block}.moe.speculate"] += np.uint8(speculate.get(block, 0))
    return schedule(QuantisedModel(network, tensors, 0), plan)


def usual_loads(network: Network, batch: int) -> tuple[dict[int, list[int]], dict[int, int]]:
    """Tokens per expert for the first task, after the measurement on M3ViT-tiny, and experts fetched early; by block.

    Experts are numbered as the quantiser numbers them: by the load in the task where it is least, heaviest first. The
    experts that every task uses are fetched early.
    """
    loads, speculate = {}, {}
    tasks = [expert_loads(network, task) for task in range(len(network.tasks))]
    for block in tasks[0]:
        least = np.min([task[block] for task in tasks], axis=0)
        order = np.argsort(-least, kind="stable")
        loads[block] = [batch * tasks[0][block][expert] for expert in order]
        speculate[block] = int(np.count_nonzero(least))
    return loads, speculate


def _by_row_range(loads: Sequence[int], plan: Plan) -> list[Sequence[int]]:
    """The loads of a MoE block's experts, shared out among the row ranges of the plan in proportion to their rows."""
    left, rest = list(loads), sum(part.length for part in plan.moe)
    parts: list[Sequence[int]] = []
    for part in plan.moe:
        total = sum(left) * part.length // rest
        parts.append(share_out(left, total, part.length))
        left = [load - taken for load, taken in zip(left, parts[-1], strict=True)]
        rest -= part.length
    return parts


def frame_macs(timing: FrameTiming, steps: Sequence[Step]) -> int:
    """Multiply-accumulates of a frame, padding not counted."""
    return sum(steps[each.pc].macs * each.rows for each in timing.passes)


def estimate(network: Network | QuantisedModel, config: MachineConfig, board: Board | None = None, *, batch: int = 1,
             read_latency: int = 64, loads: Mapping[int, Sequence[int]] | None = None,
             speculate: Mapping[int, int] | None = None) -> Estimate:
    """Predict a frame. Without ``board`` the memory moves one bus beat per cycle.

    ``read_latency``: cycles from an address to its data. ``loads``: tokens per expert of all images together, by block.
    ``speculate``: experts fetched early, by block. Left out, both come from `usual_loads`, or ``speculate`` from a
    quantised model. Experts are numbered as the quantiser numbers them. On the RTL, the cycles of whole frames differ
    by at most 3 % (``tests/ladder/test_timing.py``). Raises DoesNotFit.
    """
    model, network = (network, network.network) if isinstance(network, QuantisedModel) else (None, network)
    plan = check_fit(network, config, batch)
    usual, early = usual_loads(network, batch)
    loads = usual if loads is None else loads
    if model is not None and speculate is None:
        steps = schedule(model, plan)
    else:
        steps = shape_steps(network, config, batch, early if speculate is None else speculate)
    bandwidth = board.bandwidth(config) if board else 1.0
    by_pass = [part for block in loads.values() for part in _by_row_range(block, plan)]
    timing = frame_timing(steps, config, MemoryTiming(read_latency, bandwidth=bandwidth), by_pass)
    macs, count = frame_macs(timing, steps), timing.beats * config.beat_bytes
    return Estimate(network, config, batch, timing, macs, count, count / (config.bus_bytes * bandwidth),
                    macs / config.macs_per_cycle, on_chip(config, board.uram if board else 0))
