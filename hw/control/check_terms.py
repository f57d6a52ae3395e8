# SPDX-License-Identifier: Apache-2.0
"""The products that a check needs: how far an instruction reaches into the memories, and how many beats it consumes."""

from enum import IntEnum

from amaranth import *
from amaranth.hdl import ValueLike
from amaranth.lib import data
from amaranth.utils import exact_log2

from moevit.spec.arrays import MachineConfig
from moevit.spec.isa import GROUPS, Destination, Opcode, RowSource, WeightSource

from ..plumbing.memories import CHUNK
from .check_counts import CheckCounts

__all__ = ["CHUNK_BITS", "NO_LIMIT", "CheckTerms", "TermCycle", "term_layout"]

_LIMIT_BITS = 21
NO_LIMIT = (1 << _LIMIT_BITS) - 1
CHUNK_BITS = 16  # width of the number of chunks in a row of an image


class TermCycle(IntEnum):
    """The cycle after the start in which a term enters the multiplier."""

    CHUNKS = 0  #: chunks of 8 bytes in a row of an image; of a LOAD, how far its copies move the destination
    KV_N = 1  #: the last n-tile's place in keys or values
    SOURCE = 2  #: the last word read; of a LOAD the last one written, from CHUNKS on
    KV_K = 3  #: the last k-tile's place in keys or values, from KV_N on
    EXPERT = 4  #: the expert's offset in its region
    BEATS = 5  #: the beats consumed
    DESTINATION = GROUPS  #: the last word written; the last destination row is complete in the cycle before


def term_layout() -> data.StructLayout:
    """``left x right + first + extra``, which must stay below ``limit``.

    With ``chained``, ``first`` is the total of two terms before.
    """
    return data.StructLayout({"left": 13, "right": 24, "first": 20, "extra": 16, "chained": 1, "limit": _LIMIT_BITS})


def _no_term() -> data.Const:
    return term_layout().const({"limit": NO_LIMIT})


def _put(term: data.View, left: ValueLike, right: ValueLike, first: ValueLike = 0, extra: ValueLike = 0,
         limit: ValueLike = NO_LIMIT) -> list:
    return [term.left.eq(left), term.right.eq(right), term.first.eq(first), term.extra.eq(extra), term.limit.eq(limit)]


class CheckTerms:
    """Chooses the term of each cycle, for one multiplier.

    Parameters
    ----------
    m : Module
        of the check
    config : MachineConfig
        lanes and sizes of the memories
    instruction : View
        the instruction to be checked
    counts : CheckCounts
        its counts

    Attributes
    ----------
    term : View of term_layout()
        the term that enters the multiplier
    chunks : Signal
        chunks in a row of an image, from the first total
    """

    def __init__(self, m: Module, config: MachineConfig, instruction: data.View, counts: CheckCounts):
        self._config, self._instruction, self._counts = config, instruction, counts
        self.term, self._source, self._destination, self._beats = (
            Signal(term_layout(), name=name, init={"limit": NO_LIMIT})
            for name in ("term", "source", "destination", "beats_term"))
        self.chunks = Signal(CHUNK_BITS)
        self._find_source(m)
        self._find_destination(m)
        self._find_beats(m)

    def choose(self, m: Module, cycle: Value, expert: Value) -> None:
        """Gives ``term`` the product that is due after ``cycle``."""
        config, instruction, counts, term = self._config, self._instruction, self._counts, self.term
        m.d.sync += term.eq(_no_term())
        with m.Switch(cycle):
            with m.Case(TermCycle.CHUNKS):
                m.d.sync += _put(term, instruction.patch, instruction.segment)
                with m.If(counts.is_opcode[Opcode.LOAD]):
                    m.d.sync += _put(term, instruction.copies, instruction.destination_stride,
                                     instruction.destination_base)
            with m.Case(TermCycle.KV_N):
                m.d.sync += _put(term, counts.last_n, instruction.kv_n_stride, instruction.kv_base, config.k_lanes - 1)
            with m.Case(TermCycle.SOURCE):
                m.d.sync += term.eq(self._source)
            with m.Case(TermCycle.KV_K):
                with m.If(counts.is_opcode[Opcode.PASS] & (instruction.weights != WeightSource.BUS)):
                    m.d.sync += _put(term, counts.last_k, instruction.kv_k_stride, limit=config.kv_words)
                    m.d.sync += term.chained.eq(1)
            with m.Case(TermCycle.EXPERT):
                m.d.sync += _put(term, expert, instruction.expert_beats)
            with m.Case(TermCycle.DESTINATION):
                m.d.sync += term.eq(self._destination)
            with m.Case(TermCycle.BEATS):
                m.d.sync += term.eq(self._beats)

    def _find_source(self, m: Module) -> None:
        """Address of the last word read; of a LOAD, of the last one written by its last copy."""
        config, instruction, counts, term = self._config, self._instruction, self._counts, self._source
        is_opcode = counts.is_opcode
        depth = Mux(instruction.source == RowSource.HIDDEN, config.hidden_words, config.residual_words)
        m.d.sync += term.eq(_no_term())
        with m.If(is_opcode[Opcode.PASS] | is_opcode[Opcode.NORM] | is_opcode[Opcode.STORE]):
            m.d.sync += _put(term, counts.last_source, instruction.source_stride, instruction.source_base,
                             counts.last_k, depth)
        with m.If(is_opcode[Opcode.LOAD]):  # the product is one more than the last word
            m.d.sync += _put(term, instruction.rows, instruction.k_tiles, limit=config.residual_words + 1)
            m.d.sync += term.chained.eq(1)

    def _find_destination(self, m: Module) -> None:
        """Address of the last word written."""
        config, instruction, counts, term = self._config, self._instruction, self._counts, self._destination
        k_lanes, n_lanes = exact_log2(config.k_lanes), exact_log2(config.n_lanes)
        first, stride, last_row = instruction.destination_base, instruction.destination_stride, counts.last_row
        word, tile = counts.last_column >> k_lanes, counts.last_column >> n_lanes
        m.d.sync += term.eq(_no_term())
        with m.If(counts.is_opcode[Opcode.PASS]):
            with m.Switch(instruction.destination):
                with m.Case(Destination.RESIDUAL):
                    m.d.sync += _put(term, last_row, stride, first, word, config.residual_words)
                with m.Case(Destination.HIDDEN):
                    m.d.sync += _put(term, last_row, stride, first, word, config.hidden_words)
                with m.Case(Destination.KEYS):
                    m.d.sync += _put(term, word, stride, first, last_row >> exact_log2(config.ratio), config.kv_words)
                with m.Case(Destination.VALUES):
                    m.d.sync += _put(term, tile, stride, first, last_row, config.kv_words)
        with m.If(counts.is_opcode[Opcode.IMAGE]):
            last = (self.chunks - 1)[:CHUNK_BITS] >> exact_log2(config.k_lanes // CHUNK)
            m.d.sync += _put(term, last_row, stride, first, last, config.hidden_words)
        with m.If(counts.is_opcode[Opcode.NORM] & instruction.copy):
            m.d.sync += _put(term, last_row, instruction.source_stride, first, counts.last_k, config.residual_words)

    def _find_beats(self, m: Module) -> None:
        """Beats that the instruction consumes; chunks, of an IMAGE."""
        config, instruction, counts, term = self._config, self._instruction, self._counts, self._beats
        m.d.sync += term.eq(_no_term())
        for opcode, left, right in ((Opcode.PASS, instruction.n_tiles, counts.n_tile_beats),
                                    (Opcode.NORM, instruction.k_tiles, config.word_beats),
                                    (Opcode.LOAD, instruction.rows, instruction.k_tiles * config.word_beats),
                                    (Opcode.IMAGE, instruction.rows, self.chunks)):
            with m.If(counts.is_opcode[opcode]):
                m.d.sync += _put(term, left, right)
