# SPDX-License-Identifier: Apache-2.0
"""On-chip memories of a configuration, in block RAMs and UltraRAMs, and its DSP slices: an estimate before synthesis.

Each memory that ``hw`` declares is laid out alone. ``docs/area.md`` has what Yosys makes of them.
"""

from dataclasses import dataclass, replace

from amaranth.hdl import Shape

from moevit.compiler.plan import ceil_div
from moevit.hw.layouts import PEAK_ENTRIES, gain_words, peak_layout, queue_entry_layout, tag_layout
from moevit.spec.arrays import MachineConfig
from moevit.spec.boards import Board
from moevit.spec.formats import ACCUMULATOR_BITS, ROW_BITS
from moevit.spec.isa import INSTRUCTION_BYTES
from moevit.spec.registers import PASS_LOG_ENTRIES

__all__ = ["OnChipMemory", "budgets", "dsp_slices", "on_chip", "shortages"]

#: Depth and width of a BRAM36 with one read and one write port; half of one is a BRAM18.
_ASPECTS = ((512, 72), (1024, 36), (2048, 18), (4096, 9), (8192, 4), (16384, 2), (32768, 1))
_URAM = (4096, 72)
_NORM_BITS = 72  # of each table of a row's statistics: the width of a block, which none of them exceeds
_DISTRIBUTED = 64  # words; a memory that is no deeper is made of LUTs


@dataclass(frozen=True)
class OnChipMemory:
    """A memory of ``depth`` words of ``width`` bits, ``copies`` times (for read ports, banks, parts of a word).

    ``bram36`` and ``uram``: blocks that all copies take.
    """

    name: str
    depth: int
    width: int
    copies: int
    bram36: float
    uram: int


def _bram36(depth: int, width: int) -> float:
    if depth <= _DISTRIBUTED:
        return 0.0
    whole = min(ceil_div(depth, deep) * ceil_div(width, wide) for deep, wide in _ASPECTS)
    half = ceil_div(depth, 512) * ceil_div(width, 36)  # of 512 x 36, in halves
    return min(float(whole), half / 2)


def _in_blocks(words: int) -> int:
    """Words of a row memory in block RAMs: the few beyond a multiple of a block are in LUTs (`hw.plumbing.row_memory`).
    """
    rest = words % 512
    return words - rest if words > 512 and rest <= 128 else words


def _uram(depth: int, width: int) -> int:
    return ceil_div(depth, _URAM[0]) * ceil_div(width, _URAM[1])


def on_chip(config: MachineConfig, uram: int = 0) -> list[OnChipMemory]:
    """The memories of ``config``, the largest first.

    ``uram``: UltraRAMs of the board. They go to memories in which each replaces more than two block RAMs, first to
    those in which it replaces most.
    """
    word = ROW_BITS * config.k_lanes
    declared = [
        *((f"residual rows, {reader}", _in_blocks(config.residual_bank), word, config.residual_banks)
          for reader in ("reader", "writer")),
        ("hidden rows", _in_blocks(config.hidden_words), word // config.hidden_parts, config.hidden_parts),
        ("keys and values", _in_blocks(config.kv_words), 8 * config.n_lanes, 1),
        ("accumulator", config.max_tokens, ACCUMULATOR_BITS * config.n_lanes, 1),
        ("sums", config.sums_depth, ACCUMULATOR_BITS * config.n_lanes, 1),
        ("tags of sums", config.sums_depth, Shape.cast(tag_layout(config)).width, 1),
        ("prefetch", config.prefetch_beats // config.tile_beats, 8 * config.beat_bytes, config.tile_beats),
        ("expert queues", config.max_experts * config.max_tokens, Shape.cast(queue_entry_layout()).width, 1),
        ("program", config.program_length, 8 * INSTRUCTION_BYTES, 1),
        ("pass log", PASS_LOG_ENTRIES, 64, 1),
        ("peaks", PEAK_ENTRIES * config.max_tokens, Shape.cast(peak_layout()).width, 2),
        ("norm tables", config.max_tokens, _NORM_BITS, 3),
        ("gain", ceil_div(gain_words(config), config.norm_words), config.norm_words * word, 1),
    ]
    memories = [OnChipMemory(name, depth, width, copies, copies * _bram36(depth, width), copies * _uram(depth, width))
                for name, depth, width, copies in declared]
    laid_out = []
    for each in sorted(memories, key=lambda each: (-each.bram36 / each.uram, -each.width * each.depth * each.copies)):
        chosen = each.uram <= uram and each.bram36 > 2 * each.uram and each.name != "expert queues"
        uram -= each.uram if chosen else 0
        laid_out.append(replace(each, bram36=0.0) if chosen else replace(each, uram=0))
    return sorted(laid_out, key=lambda each: -each.width * each.depth * each.copies)


def dsp_slices(config: MachineConfig) -> int:
    """Slices of array, row reader, row writer, router and control.

    The row reader has two a lane, or three if a NORM takes several words a cycle; the row writer has three a lane.
    """
    array = config.macs_per_cycle // (2 if config.packed else 1)
    reader, writer = min(1 + config.norm_words, 3) * config.k_lanes + 8, 3 * config.k_lanes + 1
    return array + reader + writer + 2


def budgets(config: MachineConfig, board: Board) -> dict[str, tuple[float, int]]:
    """Block RAMs, UltraRAMs and DSP slices: those that ``config`` uses, and those that ``board`` has."""
    memories = on_chip(config, board.uram)
    return {"BRAM36": (sum(each.bram36 for each in memories), board.bram36),
            "URAM": (sum(each.uram for each in memories), board.uram),
            "DSP": (dsp_slices(config), board.dsp)}


def shortages(config: MachineConfig, board: Board) -> list[str]:
    """The budgets of ``board`` that ``config`` exceeds, and whether its multipliers are too wide; empty if it fits."""
    lacking = [f"{what}: needs {need:g}, {board.name} has {have}"
               for what, (need, have) in budgets(config, board).items() if need > have]
    unsuited = board.unsuited(config)
    return [*lacking, *([unsuited] if unsuited else [])]
