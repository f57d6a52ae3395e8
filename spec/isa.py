# SPDX-License-Identifier: Apache-2.0
"""The instruction set: a program is a table of passes over rows. ``docs/instructions.md`` is made from here.

An instruction is 64 bytes, little endian. All opcodes share one layout. A field that an opcode does not use must be
zero.

Instructions start in order. An instruction starts to read when at most ``overlap`` of the instructions before it are
unfinished. Rows are read in program order, so only read-after-write needs this rule. A ``rowwise`` instruction may
start earlier: when one more instruction is unfinished, and that one is a PASS into a memory without ``scatter``. It
then reads row r as soon as that PASS has stored its own rows up to r and their peaks. So its row r must not depend on a
later row of that PASS.

The machine keeps a sum for each row number. A NORM that is neither ``summed`` nor ``rowwise`` sets the sums of its
rows. A PASS into the residual memory adds its changes to the sums of its destination rows. A ``summed`` NORM takes the
sums of its rows from there. So its row r must have had the same number in all instructions since the sums were set.

The router keeps a selection bias for each expert. It takes part in the choice of experts and not in their scores.
"""

from enum import IntEnum
from typing import NamedTuple

import numpy as np

__all__ = [
    "ACTIVATION_OF", "FIELDS", "GROUPS", "INSTRUCTION_BYTES", "Activation", "Destination", "Field", "Opcode", "Operand",
    "Peak", "ProgramError", "Saturation", "RowSource", "Region", "WeightSource", "decode", "encode",
]

INSTRUCTION_BYTES = 64
#: Most groups of rows in a PASS: images of a batch.
GROUPS = 8


class ProgramError(ValueError):
    """An instruction that the machine would refuse.

    Fix: compile the model again with the installed version.
    """


class Opcode(IntEnum):
    """What an instruction does."""

    END = 1  #: the frame is finished once all earlier instructions are
    LOAD = 2  #: rows from the bus into the residual memory, once or for each image (positions)
    IMAGE = 3  #: the raw image from the bus into the hidden memory, one row per patch
    NORM = 4  #: statistics of residual rows: mean, 1/std, peak of (x - mean) x gain; optionally a copy of the rows
    PASS = 5  #: rows x tiles through the array
    EXPERTS = 6  #: repeat the next ``body`` instructions for each expert that has tokens, in increasing order
    STORE = 7  #: residual rows to the output buffer


class Region(IntEnum):
    """Base register of the bytes that an instruction takes from the memory bus."""

    NONE = 0
    WEIGHTS = 1
    GATES = 2
    IMAGE = 3


class RowSource(IntEnum):
    """Row memory that rows are read from."""

    RESIDUAL = 0
    HIDDEN = 1


class Operand(IntEnum):
    """How the values of a row become operands of the array."""

    RAW = 0  #: the low nine bits as they are (pixels, queries); row scale 1
    ROW = 1  #: quantised by the row's tracked peak
    NORM = 2  #: (x - mean) x gain, quantised by the peak that NORM found; row scale includes 1/std
    EXP = 3  #: 2^(x - row maximum) as u8, zero from key ``keys`` on; row scale 1/sum


class WeightSource(IntEnum):
    """Memory that tiles come from."""

    BUS = 0  #: memory bus, column by column
    KEYS = 1  #: key memory, column by column (one key is one array column)
    VALUES = 2  #: value memory, row by row (one key is one array row)


class Destination(IntEnum):
    """Memory that output rows go to."""

    RESIDUAL = 0  #: added to the residual row
    HIDDEN = 1
    KEYS = 2
    VALUES = 3
    ROUTER = 4


class Activation(IntEnum):
    """What is applied to an output (Q7.9 in and out) before gate score and residual."""

    NONE = 0
    GELU = 1
    RELU = 2


#: By the names of ``spec.networks.ACTIVATIONS``. The approximations of GELU take the table of the exact GELU.
ACTIVATION_OF = {"gelu": Activation.GELU, "gelu_tanh": Activation.GELU, "quick_gelu": Activation.GELU,
                 "relu": Activation.RELU}


class Saturation(IntEnum):
    """Range of the written value."""

    ROW = 0  #: s16
    OPERAND = 1  #: +-255
    WEIGHT = 2  #: +-127


class Peak(IntEnum):
    """What the writer tracks per row."""

    NONE = 0
    ABSOLUTE = 1  #: largest magnitude, for a later ROW read
    MAXIMUM = 2  #: largest value, for a later EXP read


class Field(NamedTuple):
    """A field at bit ``lsb`` of 32-bit word ``word``; ``opcodes`` are those that use it."""

    name: str
    word: int
    lsb: int
    width: int
    opcodes: frozenset[Opcode]
    doc: str


_ALL = tuple(Opcode)
_STREAMED = (Opcode.LOAD, Opcode.IMAGE, Opcode.NORM, Opcode.PASS)
_READS = (Opcode.NORM, Opcode.PASS, Opcode.STORE)
_PASS = (Opcode.PASS,)
_LAYOUT = (
    ("opcode", 8, _ALL, "Opcode"),
    ("overlap", 4, _ALL, "earlier instructions that may be unfinished when this one starts to read"),
    ("body", 4, (Opcode.EXPERTS,), "instructions repeated per active expert"),
    ("region", 2, _STREAMED, "Region: base register of the bytes taken from the bus"),
    ("source", 1, _PASS, "RowSource: row memory read"),
    ("operand", 2, _PASS, "Operand"),
    ("digits", 1, _PASS, "gate: read k_tiles gate_sweeps times: high digit, low; of three: (accumulator / 128) + high"),
    ("weights", 2, _PASS, "WeightSource"),
    ("queued", 1, _PASS, "rows is the length of the current expert's queue"),
    ("gather", 1, _PASS, "read the rows that the expert's queue names"),
    ("scatter", 1, _PASS, "write the rows that the expert's queue names"),
    ("constant", 1, _PASS, "column scale is constant_scale and bias 0, instead of from the bus"),
    ("activation", 2, _PASS, "Activation"),
    ("score", 1, _PASS, "multiply by the gate score of the queue's entry"),
    ("renormalise", 1, _PASS, "router: the scores of a token are divided by their sum"),
    ("region_offset", 32, (*_STREAMED, Opcode.STORE), "bytes from the base register (STORE: from the output register)"),
    ("region_beats", 24, _STREAMED, "bus beats taken"),
    ("shift", 6, _PASS, "right shift of accumulator x row scale x column scale"),
    ("peak", 2, _PASS, "Peak tracked per written row"),
    ("expert_beats", 24, _PASS, "region_offset grows by this many bus beats per expert"),
    ("destination", 3, _PASS, "Destination"),
    ("peak_first", 1, _PASS, "the first n-tile starts the tracked peak afresh"),
    ("source_base", 20, _READS, "word address of row 0"),
    ("source_stride", 12, _READS, "words from row to row"),
    ("destination_base", 20, (Opcode.LOAD, Opcode.IMAGE, Opcode.NORM, Opcode.PASS), "word address of row 0"),
    ("k_tiles", 12, (Opcode.LOAD, *_READS), "words per row"),
    ("destination_stride", 16, (Opcode.LOAD, Opcode.IMAGE, Opcode.PASS),
     "words per row; keys: per k-tile; values: per n-tile; LOAD: from copy to copy"),
    ("columns", 16, _PASS, "valid output columns; further lanes are written as 0 and tracked by no peak"),
    ("rows", 12, (Opcode.LOAD, Opcode.IMAGE, *_READS), "rows (tokens; IMAGE: patches)"),
    ("keys", 12, _PASS, "EXP: valid keys; from this lane on the operand is 0"),
    ("top_k", 6, _PASS, "router: experts per token"),
    ("saturation", 2, _PASS, "Saturation"),
    ("n_tiles", 12, _PASS, "tiles of n_lanes outputs"),
    ("kv_base", 20, _PASS, "word address of the tile (0, 0) of keys or values"),
    ("kv_k_stride", 16, _PASS, "words from k-tile to k-tile"),
    ("kv_n_stride", 16, _PASS, "words from n-tile to n-tile"),
    ("source_peak", 12, _PASS, "peak-table entry of source row 0"),
    ("destination_peak", 12, _PASS, "peak-table entry of destination row 0"),
    ("patch", 8, (Opcode.IMAGE,), "pixel rows per patch"),
    ("constant_scale", 16, _PASS, "column scale of every column when constant"),
    ("segment", 8, (Opcode.IMAGE,), "chunks of 8 bytes in one pixel row of a patch: 3 x patch / 8"),
    ("patches_x", 8, (Opcode.IMAGE,), "patches side by side"),
    ("inverse_dim", 24, (Opcode.NORM,), "2^24 / dim"),
    ("dim", 12, (Opcode.NORM,), "channels of a row"),
    ("epsilon", 32, (Opcode.NORM,), "added to dim x sum of squares - (sum)^2"),
    ("group", 12, _PASS, f"rows of a group (an image), at most {GROUPS} groups; 0: all rows are one group"),
    ("gap", 4, _PASS, "destination rows between a group and the next"),
    ("speculate", 6, (Opcode.EXPERTS,), "first experts whose bytes may be requested before the queues are known"),
    ("rowwise", 1, (Opcode.NORM, Opcode.PASS),
     "row r may be read when the PASS before those of overlap has stored its rows up to r"),
    ("summed", 1, (Opcode.NORM,), "the sums of the rows are known: read the rows once"),
    ("first_word", 1, _PASS, "first word of a destination row that is stored; columns before it are not"),
    ("copies", 3, (Opcode.LOAD,), "further times that the rows are stored, destination_stride words apart"),
    ("copy", 1, (Opcode.NORM,), "copy the rows to destination_base while reading them"),
    ("sigmoid", 1, _PASS, "router: an expert's score is the sigmoid of its logit, instead of a softmax"),
    ("biased", 1, _PASS, "router: choose by logit (sigmoid: by score) + selection bias"),
    ("sets_bias", 1, _PASS, "router: the one row's logits are the selection biases from now on; nothing is routed"),
)


def _lay_out() -> tuple[Field, ...]:
    """First fit: each field in the first 32-bit word that has room for it."""
    used = [0] * (INSTRUCTION_BYTES // 4)
    fields = []
    for name, width, opcodes, doc in _LAYOUT:
        word = next(index for index, bits in enumerate(used) if bits + width <= 32)
        fields.append(Field(name, word, used[word], width, frozenset(opcodes), doc))
        used[word] += width
    return tuple(fields)


FIELDS: tuple[Field, ...] = _lay_out()
_BY_NAME = {field.name: field for field in FIELDS}


def encode(**values: int) -> np.ndarray:
    """One instruction as (16,) u32. Fields left out are 0; one that the opcode does not use is refused."""
    words = [0] * (INSTRUCTION_BYTES // 4)
    opcode = Opcode(values["opcode"])
    for name, value in values.items():
        field = _BY_NAME.get(name)
        if field is None:
            raise ProgramError(f"{opcode.name}: no field is called {name!r}")
        if opcode not in field.opcodes and value:
            raise ProgramError(f"{opcode.name} has no {name}, but {name} = {value}")
        if not 0 <= int(value) < 1 << field.width:
            raise ProgramError(f"{opcode.name}: {name} = {value} does not fit {field.width} bits")
        words[field.word] |= int(value) << field.lsb
    return np.array(words, dtype=np.uint32)


def decode(words: np.ndarray) -> dict[str, int]:
    """The fields of one instruction that its opcode uses. Raises ProgramError as the machine would stop."""
    value = {field.name: (int(words[field.word]) >> field.lsb) & ((1 << field.width) - 1) for field in FIELDS}
    if value["opcode"] not in Opcode._value2member_map_:
        raise ProgramError(f"illegal opcode {value['opcode']}")
    opcode = Opcode(value["opcode"])
    for field in FIELDS:
        if opcode not in field.opcodes and value[field.name]:
            raise ProgramError(f"{opcode.name} has no {field.name}, but {field.name} = {value[field.name]}")
    return {field.name: value[field.name] for field in FIELDS if opcode in field.opcodes}
