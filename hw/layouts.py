# SPDX-License-Identifier: Apache-2.0
"""What the ports between the units carry: layouts of payloads, from the configuration and ``spec``."""

from amaranth import *
from amaranth.lib import data, enum
from amaranth.utils import ceil_log2, exact_log2

from moevit.spec.arrays import MachineConfig
from moevit.spec.formats import ACCUMULATOR_BITS, GATE_LOGIT_BITS, MEAN_BITS, OPERAND_BITS, ROW_BITS, ROW_SUM_BITS
from moevit.spec.isa import FIELDS, INSTRUCTION_BYTES

from .fault import ADDRESS_BITS

__all__ = [
    "COLUMN_BEATS",
    "COLUMN_SLOTS",
    "DROP",
    "EXPERT_BITS",
    "PEAK_ENTRIES",
    "SEQUENCE_BITS",
    "TOKEN_BITS",
    "Accumulate",
    "Activity",
    "column_layout",
    "command_layout",
    "dispatch_layout",
    "gain_words",
    "instruction_layout",
    "load_layout",
    "logits_layout",
    "mean_shape",
    "peak_layout",
    "queue_entry_layout",
    "row_layout",
    "row_scale_layout",
    "row_sum_layout",
    "stored_layout",
    "sums_layout",
    "swept_tiles",
    "tag_layout",
    "trace_layout",
    "word_layout",
]

#: Width of a number of rows, as in the instruction.
TOKEN_BITS = 12
#: Width of an expert's number.
EXPERT_BITS = 5
#: Width of an instruction's number: instructions are numbered modulo 2^16 as they are dispatched.
SEQUENCE_BITS = 16
#: Opcode of a dispatch that no program can contain: the loader drops ``region_beats`` beats. It has no number, no unit
#: finishes it, and the other units skip it.
DROP = 0
#: The peak table has ``PEAK_ENTRIES`` x max_tokens entries; three are in use: two heads and the mix.
PEAK_ENTRIES = 4
#: Beats of column parameters per n-tile: n_lanes x {scale u16, bias s16} in beats of n_lanes bytes.
COLUMN_BEATS = 4
#: n-tiles whose column scales fit between loader and row writer.
COLUMN_SLOTS = 4

_CHANNELS = 2048  # values of the longest row that a NORM takes


class Accumulate(enum.Enum, shape=2):
    """What the accumulator does with a row's dot products."""

    SET = 0  #: sum := dot
    ADD = 1  #: sum := sum + dot
    SHIFT_ADD = 2  #: sum := round(sum / 128) + dot; only where a gate takes three sweeps


class Activity(enum.Enum, shape=3):
    """What the row reader does in a cycle; the counters of the same names add up to the cycles of the run."""

    WAIT_PROGRAM = 0
    BUSY = 1
    WAIT_NORM = 2
    WAIT_WEIGHTS = 3
    WAIT_DRAIN = 4
    WAIT_WRITER = 5


def instruction_layout() -> data.Layout:
    """The 512 bits of an instruction, field by field (spec.isa)."""
    return data.FlexibleLayout(8 * INSTRUCTION_BYTES, {
        field.name: data.Field(unsigned(field.width), 32 * field.word + field.lsb) for field in FIELDS
    })


def swept_tiles(config: MachineConfig, instruction: data.View) -> Value:
    """Tiles of an n-tile of a PASS: k_tiles, for each sweep over the digits of a row."""
    again = instruction.k_tiles << exact_log2(config.gate_sweeps - 1)  # 1 or 2 sweeps more
    return instruction.k_tiles + Mux(instruction.digits, again, 0)


def dispatch_layout() -> data.Layout:
    """What the program walk hands to every unit: the instruction with ``rows`` resolved, its number, its expert."""
    return data.StructLayout({
        "instruction": instruction_layout(),
        "sequence": SEQUENCE_BITS,
        "expert": EXPERT_BITS,
    })


def word_layout(config: MachineConfig) -> data.Layout:
    """A word of a row memory: k_lanes x s16, lane 0 lowest."""
    return data.ArrayLayout(signed(ROW_BITS), config.k_lanes)


def load_layout(config: MachineConfig) -> data.Layout:
    """One beat into the array's shadow tile, n_lanes x s8, or a group of ``tile_beats``.

    by_row 0: columns ``index x ratio`` onwards, each k_lanes values (k 0 lowest). ``whole``: the group of beats from
    ``index`` on, a multiple of ``tile_beats``; otherwise all parts of ``data`` hold the one beat, so that a column has
    one source.
    by_row 1: row k = ``index``, n_lanes values (n 0 lowest); never a group.
    """
    return data.StructLayout({
        "by_row": 1,
        "whole": 1,
        "index": ceil_log2(config.k_lanes),
        "data": data.ArrayLayout(data.ArrayLayout(signed(8), config.n_lanes), config.tile_beats),
    })


def row_layout(config: MachineConfig) -> data.Layout:
    """One row that enters the array. ``swap``: the shadow tile becomes the active one, from this row on.

    ``address`` is the row's place in the accumulator (0..rows-1 of the pass); ``last``: its sums leave the accumulator.
    """
    return data.StructLayout({
        "swap": 1,
        "operands": data.ArrayLayout(signed(OPERAND_BITS), config.k_lanes),
        "address": ceil_log2(config.max_tokens),
        "operation": Accumulate,
        "last": 1,
    })


def sums_layout(config: MachineConfig) -> data.Layout:
    """Finished accumulators of one row: n_lanes x s27."""
    return data.ArrayLayout(signed(ACCUMULATOR_BITS), config.n_lanes)


def row_scale_layout() -> data.Layout:
    """A row scale worth ``mantissa x 2^(exponent - 15)``."""
    return data.StructLayout({"mantissa": 16, "exponent": signed(8)})


def tag_layout(config: MachineConfig) -> data.Layout:
    """What the row writer needs of a row whose sums leave the accumulator; tags come in the order of the sums.

    ``row`` is the destination row (the token, when scattering).
    """
    return data.StructLayout({
        "row": TOKEN_BITS,
        "scale": row_scale_layout(),
        "score": 17,
    })


def stored_layout() -> data.StructLayout:
    """The last row that the row writer has stored completely, with its peak, in the final n-tile of PASS ``sequence``.

    0 before the second row, after the last one, and for passes that scatter or go to the router.
    """
    return data.StructLayout({"sequence": SEQUENCE_BITS, "row": TOKEN_BITS})


def column_layout(config: MachineConfig) -> data.Layout:
    """Column scales and biases of one row-memory word: k_lanes x {scale u16, bias s16}; 32 bits a lane."""
    return data.ArrayLayout(data.StructLayout({"scale": 16, "bias": signed(16)}), config.k_lanes)


def queue_entry_layout() -> data.Layout:
    """An entry of an expert's queue."""
    return data.StructLayout({"token": TOKEN_BITS, "score": 17})


def logits_layout(config: MachineConfig) -> data.Layout:
    """Gate logits of one token, max_experts x s24 Q8.16 (log2 units), and fields of the instruction.

    The fields say how to choose among the first ``experts``.

    Tokens come in order: token 0 with ``first``, the last one with ``last``.
    """
    return data.StructLayout({
        "logits": data.ArrayLayout(signed(GATE_LOGIT_BITS), config.max_experts),
        "first": 1,
        "last": 1,
        "experts": EXPERT_BITS + 1,
        "top_k": EXPERT_BITS + 1,
        "renormalise": 1,
        "sigmoid": 1,
        "biased": 1,
        "sets_bias": 1,
    })


def command_layout() -> data.Layout:
    """Consecutive bus beats to be read: byte address (a multiple of the bus width) and number of bus beats."""
    return data.StructLayout({"address": ADDRESS_BITS, "beats": 24})


def trace_layout(config: MachineConfig) -> data.Layout:
    """One record of the trace, which exists in simulation: what a unit stored, to be compared with ``golden.machine``.

    kind: 0 residual, 1 hidden, 2 keys and values (s8 lanes sign-extended; address counts k_lanes-wide parts),
    3 routing (address token x 32 + rank; lanes: expert, score 15..0, score 16), 4 norm (address row; lanes: mean,
    peak mantissa, peak exponent, scale mantissa, scale exponent), 5 queue length (address expert; lane: length).
    ``sequence`` is the number of the instruction.
    """
    return data.StructLayout({
        "kind": 8,
        "sequence": SEQUENCE_BITS,
        "address": 32,
        "data": word_layout(config),
    })



def peak_layout() -> data.Layout:
    """A tracked peak: s17, so that both |-32768| and a negative maximum fit."""
    return signed(17)


def mean_shape() -> Shape:
    """A row's mean."""
    return signed(MEAN_BITS)


def row_sum_layout() -> data.StructLayout:
    """The sum of a residual row."""
    return data.StructLayout({"row": TOKEN_BITS, "total": signed(ROW_SUM_BITS)})


def gain_words(config: MachineConfig) -> int:
    """Words that the gain memory holds: the most words of a row that a NORM can take."""
    return _CHANNELS // config.k_lanes
