# SPDX-License-Identifier: Apache-2.0
"""Looks an instruction over before it is dispatched: fields in range, addresses within the memories, enough beats."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from moevit.spec.arrays import MachineConfig
from moevit.spec.isa import (
    GROUPS,
    Activation,
    Destination,
    Opcode,
    Operand,
    Peak,
    Region,
    RowSource,
    Saturation,
    WeightSource,
)
from moevit.spec.registers import ErrorCode

from ..bus.fault import ADDRESS_BITS, fault_layout
from ..interfaces import EXPERT_BITS, PEAK_ENTRIES, TOKEN_BITS, instruction_layout, swept_tiles
from ..loader.image import CHUNK
from ..loader.tiles import COLUMN_BEATS
from ..reader.gain import gain_words
from .decode import Decode

__all__ = ["Check"]

_TOTAL_BITS = 38
_LIMIT_BITS = 21
_NO_LIMIT = (1 << _LIMIT_BITS) - 1
_CHUNKS, _KV_N, _SOURCE, _KV_K, _EXPERT, _BEATS = range(6)
_DESTINATION = GROUPS  # the last destination row is known a cycle before
_DEPTH = 3  # cycles from a step to its total


def _term_layout() -> data.StructLayout:
    """``left x right + first + extra``, which must stay below ``limit``; ``chained``: ``first`` is the total of two
    steps before."""
    return data.StructLayout({"left": 13, "right": 24, "first": 20, "extra": 16, "chained": 1, "limit": _LIMIT_BITS})


def _no_term() -> data.Const:
    return _term_layout().const({"limit": _NO_LIMIT})


def _put(term: data.View, left, right, first=0, extra=0, limit=_NO_LIMIT) -> list:
    return [term.left.eq(left), term.right.eq(right), term.first.eq(first), term.extra.eq(extra), term.limit.eq(limit)]


class Check(wiring.Component):
    """``LATENCY`` cycles after ``start`` the verdict on ``instruction`` is there, and the place of its bytes.

    ILLEGAL_OPCODE: see ``Decode``. OPERAND, for what this hardware cannot do:

    - an enumeration's value that does not exist; rows 0 or beyond ``max_tokens``; k_tiles, n_tiles, patch, segment,
      patches_x, keys (EXP), dim, epsilon (NORM) of 0; dim or the gain beyond the row or its memory
    - overlap of anything but a PASS; queued outside EXPERTS; gather, scatter or score without queued; rowwise with
      gather or copy
    - columns that do not end in the last n-tile; rows that are not a multiple of patches_x
    - first_word where an n-tile is one word, or with no column left
    - digits of operands that have none, or with tiles that are not streamed
    - digits, sigmoid, biased or sets_bias that are not for the router; sets_bias of several rows
    - more than GROUPS groups, groups in a queued pass, or a gap without groups
    - a router pass with more than one n-tile, more columns than experts, top_k of 0 or beyond columns, in EXPERTS
    - rows, tiles or peaks beyond the end of their memory
    - region_beats other than what the instruction consumes, or without a stream

    READ_WINDOW, WRITE_WINDOW: the bytes lie beyond the bus's 40 address bits.

    Parameters
    ----------
    config : the machine's configuration

    Members
    -------
    start : one pulse; the inputs below are steady from then on until ``LATENCY`` cycles later
    instruction : ``rows`` is that of the queue when queued
    repeated, expert : it is in the body of EXPERTS, for this expert
    tokens : rows that the router saw; the queues name no others
    base : byte address that ``region_offset`` counts from
    fault : ``ErrorCode`` (NONE: go ahead), and where the bytes are (0 after ILLEGAL_OPCODE and OPERAND)
    """

    LATENCY = 15  # the division by patches_x takes longest

    def __init__(self, config: MachineConfig):
        self._config = config
        super().__init__({
            "start": In(1),
            "instruction": In(instruction_layout()),
            "repeated": In(1),
            "expert": In(EXPERT_BITS),
            "tokens": In(TOKEN_BITS),
            "base": In(64),
            "fault": Out(fault_layout()),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        config, instruction = self._config, self.instruction
        k_lanes = exact_log2(config.k_lanes)
        is_opcode = {opcode: Signal(name=f"is_{opcode.name.lower()}") for opcode in Opcode}
        for opcode, signal in is_opcode.items():
            m.d.sync += signal.eq(instruction.opcode == opcode)
        is_pass, is_norm, is_load, is_image, is_store = (is_opcode[opcode] for opcode in (
            Opcode.PASS, Opcode.NORM, Opcode.LOAD, Opcode.IMAGE, Opcode.STORE))

        # What the steps share: counts less one, so that they reach the last row, word, tile.
        last_source, last_k, last_n = (Signal(TOKEN_BITS, name=name) for name in ("last_source", "last_k", "last_n"))
        last_row = Signal(TOKEN_BITS + 1)  # of the destination
        last_column, n_tile_beats = Signal(16), Signal(21)
        k_tiles = Signal(14)
        m.d.comb += k_tiles.eq(swept_tiles(config, instruction))
        m.d.sync += [
            last_source.eq(Mux(instruction.gather, self.tokens, instruction.rows) - 1),
            last_k.eq(instruction.k_tiles - 1),
            last_n.eq(instruction.n_tiles - 1),
            last_column.eq(instruction.columns - 1),
            n_tile_beats.eq(Mux(instruction.weights == WeightSource.BUS, k_tiles << k_lanes, 0)
                          + Mux(instruction.constant, 0, COLUMN_BEATS)),
        ]

        step = Signal(range(self.LATENCY + 1))
        with m.If(self.start):
            m.d.sync += step.eq(0)
        with m.Elif(step != self.LATENCY):
            m.d.sync += step.eq(step + 1)

        # Gaps between groups push the last row further, a gap per cycle.
        ungrouped, another = Signal(TOKEN_BITS), Signal()
        m.d.comb += another.eq((instruction.group != 0) & (ungrouped > instruction.group))
        with m.If(self.start):
            m.d.sync += [
                ungrouped.eq(instruction.rows),
                last_row.eq(Mux(instruction.scatter, self.tokens, instruction.rows) - 1),
            ]
        with m.Elif(another & (step < GROUPS - 1)):
            m.d.sync += [ungrouped.eq(ungrouped - instruction.group), last_row.eq(last_row + instruction.gap)]

        # Stage 1: a step's factors and addends. One multiplier does for all.
        term, source, destination, beats_term = (Signal(_term_layout(), name=name, init={"limit": _NO_LIMIT})
                                                 for name in ("term", "source", "destination", "beats_term"))
        total = Signal(_TOTAL_BITS)
        chunks = Signal(16)  # of 8 bytes, in a row of an image
        offset = Signal(_TOTAL_BITS)
        m.d.sync += term.eq(_no_term())
        with m.Switch(step):
            with m.Case(_CHUNKS):
                m.d.sync += _put(term, instruction.patch, instruction.segment)
                with m.If(is_load):
                    m.d.sync += _put(term, instruction.copies, instruction.destination_stride,
                                     instruction.destination_base)
            with m.Case(_KV_N):
                m.d.sync += _put(term, last_n, instruction.kv_n_stride, instruction.kv_base, config.k_lanes - 1)
            with m.Case(_SOURCE):
                m.d.sync += term.eq(source)
            with m.Case(_KV_K):
                with m.If(is_pass & (instruction.weights != WeightSource.BUS)):
                    m.d.sync += _put(term, last_k, instruction.kv_k_stride, 0, 0, config.kv_words)
                    m.d.sync += term.chained.eq(1)
            with m.Case(_EXPERT):
                m.d.sync += _put(term, self.expert, instruction.expert_beats)
            with m.Case(_DESTINATION):
                m.d.sync += term.eq(destination)
            with m.Case(_BEATS):
                m.d.sync += term.eq(beats_term)
        with m.If(step == _CHUNKS + _DEPTH):
            m.d.sync += chunks.eq(total)
        with m.If(step == _EXPERT + _DEPTH):
            m.d.sync += offset.eq((total << exact_log2(config.bus_bytes)) + instruction.region_offset)
        self._source(m, source, is_opcode, last_source, last_k)
        self._destination(m, destination, is_opcode, last_row, last_k, last_column, chunks)
        m.d.sync += beats_term.eq(_no_term())
        for chosen, left, right in ((is_pass, instruction.n_tiles, n_tile_beats),
                                    (is_norm, instruction.k_tiles, config.word_beats),
                                    (is_load, instruction.rows, instruction.k_tiles * config.word_beats),
                                    (is_image, instruction.rows, chunks)):
            with m.If(chosen):
                m.d.sync += _put(beats_term, left, right)

        # Stage 2: multiply. Stage 3: add. Stage 4: compare.
        product, addend, over = Signal(_TOTAL_BITS), Signal(_TOTAL_BITS), Signal()
        limits = [term.limit]
        for stage in range(2):
            limits.append(Signal(_LIMIT_BITS, name=f"limit_{stage}", init=_NO_LIMIT))
            m.d.sync += limits[-1].eq(limits[-2])
        m.d.sync += [
            product.eq(term.left * term.right),
            addend.eq(Mux(term.chained, total, term.first) + term.extra),
            total.eq(product + addend),
            over.eq(~self.start & (over | ((limits[-1] != _NO_LIMIT) & (total >= limits[-1])))),
        ]

        wrong_beats, beats = Signal(), Signal(_TOTAL_BITS)
        chunk_bits = exact_log2(config.bus_bytes // CHUNK)
        # All but images are whole beats of the bus.
        m.d.sync += beats.eq(Mux(is_image, (total + (1 << chunk_bits) - 1) >> chunk_bits,
                                 total >> exact_log2(config.bus_beats)))
        with m.If(step == _BEATS + _DEPTH + 1):
            m.d.sync += wrong_beats.eq(beats != instruction.region_beats)

        # Where the bytes are.
        address = Signal(65)
        m.d.sync += address.eq(self.base + offset)

        m.submodules.decode = decode = Decode()
        m.d.comb += decode.instruction.eq(instruction)
        refused = Signal()
        rules = self._rules(m, is_opcode, last_source, last_row, last_column, last_n, another)
        m.d.sync += refused.eq(Cat(rules).any())
        moves, beyond = Signal(), Signal()
        m.d.sync += [
            moves.eq(is_store | ((is_pass | is_norm | is_load | is_image) & (instruction.region != Region.NONE))),
            beyond.eq(moves & address[ADDRESS_BITS:].any()),
        ]
        with m.If(decode.illegal):
            m.d.comb += self.fault.code.eq(ErrorCode.ILLEGAL_OPCODE)
        with m.Elif(refused | over | wrong_beats):
            m.d.comb += self.fault.code.eq(ErrorCode.OPERAND)
        with m.Else():
            m.d.comb += self.fault.address.eq(address)
        with m.If(~decode.illegal & ~refused & ~over & ~wrong_beats & beyond):
            m.d.comb += self.fault.code.eq(Mux(is_store, ErrorCode.WRITE_WINDOW, ErrorCode.READ_WINDOW))
        return m

    def _source(self, m, term, is_opcode, last_source, last_k) -> None:
        """Where the last word read is; of a LOAD, the last one written, behind what its copies add to the base."""
        config, instruction = self._config, self.instruction
        depth = Mux(instruction.source == RowSource.HIDDEN, config.hidden_words, config.residual_words)
        m.d.sync += term.eq(_no_term())
        with m.If(is_opcode[Opcode.PASS] | is_opcode[Opcode.NORM] | is_opcode[Opcode.STORE]):
            m.d.sync += _put(term, last_source, instruction.source_stride, instruction.source_base, last_k, depth)
        with m.If(is_opcode[Opcode.LOAD]):  # of the last copy; reaches one word beyond
            m.d.sync += _put(term, instruction.rows, instruction.k_tiles, 0, 0, config.residual_words + 1)
            m.d.sync += term.chained.eq(1)

    def _destination(self, m, term, is_opcode, last_row, last_k, last_column, chunks) -> None:
        """Where the last word written is."""
        config, instruction = self._config, self.instruction
        k_lanes, n_lanes = exact_log2(config.k_lanes), exact_log2(config.n_lanes)
        first, stride = instruction.destination_base, instruction.destination_stride
        word, tile = last_column >> k_lanes, last_column >> n_lanes
        m.d.sync += term.eq(_no_term())
        with m.If(is_opcode[Opcode.PASS]):
            with m.Switch(instruction.destination):
                with m.Case(Destination.RESIDUAL):
                    m.d.sync += _put(term, last_row, stride, first, word, config.residual_words)
                with m.Case(Destination.HIDDEN):
                    m.d.sync += _put(term, last_row, stride, first, word, config.hidden_words)
                with m.Case(Destination.KEYS):
                    m.d.sync += _put(term, word, stride, first, last_row >> exact_log2(config.ratio), config.kv_words)
                with m.Case(Destination.VALUES):
                    m.d.sync += _put(term, tile, stride, first, last_row, config.kv_words)
        with m.If(is_opcode[Opcode.IMAGE]):
            last = (chunks - 1)[:16] >> exact_log2(config.k_lanes // CHUNK)
            m.d.sync += _put(term, last_row, stride, first, last, config.hidden_words)
        with m.If(is_opcode[Opcode.NORM] & instruction.copy):
            m.d.sync += _put(term, last_row, instruction.source_stride, first, last_k, config.residual_words)

    def _rules(self, m, is_opcode, last_source, last_row, last_column, last_n, another) -> list[Value]:
        """Conditions that no multiplication is needed for; each a register."""
        config, instruction = self._config, self.instruction
        is_pass, is_norm, is_image = (is_opcode[opcode] for opcode in (Opcode.PASS, Opcode.NORM, Opcode.IMAGE))
        has_rows = is_pass | is_norm | is_image | is_opcode[Opcode.LOAD] | is_opcode[Opcode.STORE]
        routes = instruction.destination == Destination.ROUTER
        by_peak = (instruction.operand == Operand.ROW) | (instruction.operand == Operand.EXP)
        streamed = instruction.weights == WeightSource.BUS
        peaks = PEAK_ENTRIES * config.max_tokens
        source_peak, destination_peak = Signal(TOKEN_BITS + 1), Signal(TOKEN_BITS + 2)
        m.d.sync += source_peak.eq(instruction.source_peak + last_source)
        m.d.sync += destination_peak.eq(instruction.destination_peak + last_row)

        # rows mod patches_x, a bit of rows per cycle
        rest, rows, bits = Signal(9), Signal(TOKEN_BITS), Signal(range(TOKEN_BITS + 1))
        doubled = Cat(rows[-1], rest[:-1])
        with m.If(self.start):
            m.d.sync += [rest.eq(0), rows.eq(instruction.rows), bits.eq(TOKEN_BITS)]
        with m.Elif(bits != 0):
            m.d.sync += [bits.eq(bits - 1), rows.eq(rows << 1)]
            m.d.sync += rest.eq(Mux(doubled >= instruction.patches_x, doubled - instruction.patches_x, doubled))

        conditions = {
            "overlap": ~is_pass & (instruction.overlap != 0),
            "rowwise": instruction.rowwise & (instruction.gather | instruction.copy),
            "rows": has_rows & ((instruction.rows == 0) | (instruction.rows > config.max_tokens)),
            "k_tiles": has_rows & ~is_image & (instruction.k_tiles == 0),
            "region": (instruction.region == Region.NONE) != (instruction.region_beats == 0),
            "n_tiles": is_pass & (instruction.n_tiles == 0),
            "columns": is_pass & ((instruction.columns == 0)
                                  | ((last_column >> exact_log2(config.n_lanes)) != last_n)),
            "first_word": instruction.first_word & ((config.ratio == 1)
                                                    | ((last_column >> exact_log2(config.k_lanes)) == 0)),
            "enumeration": is_pass & ((instruction.weights > max(WeightSource)) | (instruction.peak > max(Peak))
                                      | (instruction.destination > max(Destination))
                                      | (instruction.saturation > max(Saturation))
                                      | (instruction.activation > max(Activation))),
            "queue": (instruction.gather | instruction.scatter | instruction.score) & ~instruction.queued,
            "queued": instruction.queued & ~self.repeated,
            "groups": another | (instruction.gap.any() & (instruction.group == 0))
                      | (instruction.group.any() & instruction.queued),
            "digits": instruction.digits & ((instruction.operand == Operand.RAW) | (instruction.operand == Operand.EXP)
                                            | ~streamed),
            "routing": (instruction.digits | instruction.sigmoid | instruction.biased | instruction.sets_bias)
                       & ~(routes & ((instruction.rows == 1) | ~instruction.sets_bias)),
            "router": is_pass & routes & (self.repeated | (instruction.n_tiles != 1) | (instruction.top_k == 0)
                                          | (instruction.columns > config.max_experts)
                                          | (instruction.top_k > instruction.columns)),
            "keys": is_pass & (instruction.operand == Operand.EXP) & (instruction.keys == 0),
            "gain": (is_norm | is_pass & (instruction.operand == Operand.NORM))
                    & (instruction.k_tiles > gain_words(config)),
            "norm": is_norm & ((instruction.dim == 0) | (instruction.epsilon == 0)
                               | (((instruction.dim - 1)[:12] >> exact_log2(config.k_lanes)) >= instruction.k_tiles)),
            "image": is_image & ((instruction.patch == 0) | (instruction.segment == 0) | (instruction.patches_x == 0)
                                 | (rest != 0)),
            "source_peak": is_pass & by_peak & (source_peak >= peaks),
            "destination_peak": is_pass & (instruction.peak != Peak.NONE) & (destination_peak >= peaks),
        }
        registers = []
        for name, condition in conditions.items():
            registers.append(Signal(name=f"refused_{name}"))
            m.d.sync += registers[-1].eq(condition)
        return registers
