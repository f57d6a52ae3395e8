# SPDX-License-Identifier: Apache-2.0
"""What the read loop asks for, and what the fetch stage gives.

One access to the row memories, its row, its words; the command of a STORE.
"""

from amaranth.lib import data, enum

from moevit.spec.arrays import MachineConfig

from ..layouts import EXPERT_BITS, TOKEN_BITS, Accumulate, mean_shape, peak_layout, word_layout

__all__ = ["WORD_BITS", "ReadPurpose", "access_layout", "fetched_row_layout", "fetched_word_layout",
           "store_command_layout"]

WORD_BITS = 12  # words of a row: the instruction's k_tiles
_BASE_BITS = 20


class ReadPurpose(enum.Enum, shape=2):
    """Why a word is read."""

    PASS = 0  #: it becomes operands
    MEANS = 1  #: first sweep of a NORM without sums: the row's mean
    PEAKS = 2  #: NORM: peak of (x - mean) x gain, sum of squares
    STORE = 3  #: it goes to the output buffer


def access_layout() -> data.StructLayout:
    """One access: which words are read, and what becomes of them.

    ``word`` of ``row`` is read. A NORM reads for peaks up to two more words: bit i of ``following_mask`` stands for
    word ``word + 1 + i``. ``gain_address`` and ``gain_offset`` are the quotient and the remainder of
    ``word / norm_words``.

    ``first`` is set for word 0. ``final`` is set for the row's last words, in a PASS only during the last sweep.
    ``end`` is set for the last access of an instruction and for the last one of each sweep of a NORM.

    The other fields belong to a PASS, or say where the row is. ``queue_lookup``: the expert's queue is read.
    """
    return data.StructLayout({
        "purpose": ReadPurpose,
        "row": TOKEN_BITS,
        "word": WORD_BITS,
        "following_mask": 2,
        "gain_address": WORD_BITS,
        "gain_offset": 2,
        "first": 1,
        "final": 1,
        "end": 1,
        # PASS
        "swap": 1,
        "operation": Accumulate,
        "low_digit": 1,
        "queue_lookup": 1,
        "gather": 1,
        "scatter": 1,
        "expert": EXPERT_BITS,
        "operand": 2,
        "keys": 12,
        "source_peak": 12,
        # where the row is
        "source": 1,
        "source_base": _BASE_BITS,
        "source_stride": 12,
    })


def fetched_row_layout() -> data.StructLayout:
    """The row of an access: the row read, the destination row, its gate score, its tracked peak.

    The other fields are those of `access_layout`.
    """
    return data.StructLayout({
        "purpose": ReadPurpose,
        "operand": 2,
        "final": 1,
        "source_row": TOKEN_BITS,
        "destination_row": TOKEN_BITS,
        "score": 17,
        "peak": peak_layout(),
    })


def fetched_word_layout(config: MachineConfig) -> data.StructLayout:
    """The words of an access with their gains; a word that was not read is 0, and so is its gain.

    ``mean`` is 0 unless it is to be subtracted. ``key_mask``: lanes below the instruction's number of keys. The other
    fields are those of `access_layout`.
    """
    return data.StructLayout({
        "words": data.ArrayLayout(
            data.StructLayout({"data": word_layout(config), "gain": word_layout(config)}), config.norm_words),
        "mean": mean_shape(),
        "key_mask": config.k_lanes,
        "purpose": ReadPurpose,
        "operand": 2,
        "low_digit": 1,
        "row": TOKEN_BITS,
        "first": 1,
        "final": 1,
        "end": 1,
        "swap": 1,
        "operation": Accumulate,
    })


def store_command_layout() -> data.StructLayout:
    """What a STORE announces: ``offset`` in bytes from the output register, and how many row-memory words follow."""
    return data.StructLayout({"offset": 32, "words": 24})
