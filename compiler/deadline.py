# SPDX-License-Identifier: Apache-2.0
"""Cycles after which a run is stuck: an upper bound, not a prediction."""

from collections.abc import Sequence

from moevit.spec.arrays import MachineConfig
from moevit.spec.isa import Opcode
from moevit.spec.networks import Network

from .builder import Step

__all__ = ["CYCLES_A_BEAT", "CYCLES_AN_INSTRUCTION", "deadline_cycles"]

#: Of the slowest memory, per bus beat: a tenth of what the bus can move.
CYCLES_A_BEAT = 10
#: To fetch and check an instruction, fill and drain the pipelines, and wait twice for the first beat of a slow memory.
CYCLES_AN_INSTRUCTION = 2000
#: A row is read at most so often: a NORM reads for the mean and for the peak; a gate takes at most three sweeps.
_READINGS = 3


def deadline_cycles(steps: Sequence[Step], network: Network, config: MachineConfig, batch: int) -> int:
    """Cycles in which ``steps`` end on any board whose memory moves a bus beat in `CYCLES_A_BEAT` cycles.

    The bound assumes that nothing overlaps and that every expert has tokens. So each expert's weights are fetched once
    for each row range, and the rows of all experts together are at most ``batch x tokens x top_k``.
    """
    routed = batch * network.tokens * network.top_k
    return sum(_instruction(step, config, network.experts, routed) for step in steps)


def _instruction(step: Step, config: MachineConfig, experts: int, routed: int) -> int:
    """Cycles of one step alone; for a step of an expert loop, those of all experts."""
    fields = step.fields
    times, rows = (experts, routed) if fields.get("queued") else (1, fields.get("rows", 0))
    words = rows * fields.get("k_tiles", 1) * fields.get("n_tiles", 1)
    if step.payload is not None:
        moved = step.payload.size // config.bus_bytes
    elif fields["opcode"] == Opcode.STORE:
        moved = words * 2 * config.k_lanes // config.bus_bytes + 1  # two bytes a value
    else:
        moved = fields.get("region_beats", 0)
    return times * (CYCLES_AN_INSTRUCTION + CYCLES_A_BEAT * moved) + _READINGS * words
