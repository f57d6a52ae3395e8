# SPDX-License-Identifier: Apache-2.0
"""What the row reader reads, word by word: the loops of an instruction, and when it may start."""

from amaranth import *
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out

from moevit.spec.arrays import MachineConfig
from moevit.spec.isa import Opcode

from ..interfaces import EXPERT_BITS, SEQUENCE_BITS, TOKEN_BITS, Accumulate, Flow, dispatch_layout, stored_layout

__all__ = ["WORD_BITS", "ReadPurpose", "ReadLoop", "step_layout", "store_command_layout"]

WORD_BITS = 12  # words of a row: the instruction's k_tiles
_BASE_BITS = 20


class ReadPurpose(enum.Enum, shape=2):
    """Why a word is read."""

    PASS = 0  #: it becomes operands
    MEANS = 1  #: NORM whose sums are not known, first part: the row's mean
    PEAKS = 2  #: NORM: peak of (x - mean) x gain, sum of squares
    STORE = 3  #: it goes to the output buffer


def step_layout() -> data.StructLayout:
    """One word to read, and those behind it that have a bit in ``more``. ``first`` and ``final``: it or they are the
    first and the last of the row (PASS: of the sums).

    ``end``: last step of its instruction, and of the first part of a NORM. ``gain_address``, ``gain_place``: ``word``
    by ``norm_words``, and what is left.
    """
    return data.StructLayout({
        "kind": ReadPurpose,
        "row": TOKEN_BITS,
        "word": WORD_BITS,
        "more": 2,
        "gain_address": WORD_BITS,
        "gain_place": 2,
        "first": 1,
        "final": 1,
        "end": 1,
        # PASS
        "swap": 1,
        "operation": Accumulate,
        "low": 1,
        "lookup": 1,
        "gather": 1,
        "scatter": 1,
        "expert": EXPERT_BITS,
        "operand": 2,
        "keys": 12,
        "source_peak": 12,
        # where the word is
        "source": 1,
        "source_base": _BASE_BITS,
        "source_stride": 12,
    })


def store_command_layout() -> data.StructLayout:
    """What a STORE announces: bytes from the output register, and row-memory words to come."""
    return data.StructLayout({"offset": 32, "words": 24})


class ReadLoop(wiring.Component):
    """Turns dispatched instructions into steps, one a cycle while there is room; skips those that read no rows.

    PASS: for n-tiles, for tiles (digits: gate_sweeps x k_tiles), for rows. NORM: loads the gain, then rows by words
    once if ``summed``, otherwise twice, the second time when ``measured``; ends with ``norm_done``. The one time (the
    second) goes by ``norm_words``, the last step of a row by what is left of it. STORE: announces itself, then rows by
    words.

    The first step of a PASS comes in the cycle after its dispatch at the earliest, also behind another PASS. A step
    waits until ``(sequence - finished) mod 2^16 <= overlap``; that difference is below 2^15. With ``rowwise`` it may be
    ``overlap + 1`` while ``stored`` is of the oldest unfinished instruction and of a row behind the step's, two rows
    behind to set out; such a step comes two cycles after ``stored`` at the earliest. The last row never comes so: no
    instruction ends before one that it waits for. rows, k_tiles and n_tiles are at least 1.

    Members
    -------
    dispatch : In(stream), every instruction
    finished : In(16), instructions finished so far
    stored : In(stored_layout())
    row_room, store_room : In(1), a PASS (STORE) step may be taken in this cycle
    busy : In(1), earlier steps may still read the gain
    gain_loaded : In(1), the last word of the gain was written
    measured : In(1), all rows' means are known, after the first part of a NORM
    norm_done : In(1), the last row's scale was written
    step : Out(Flow(step_layout()))
    current : Out(dispatch_layout()), steady from the first step of an instruction to the last; for NORM until the end
    last_word : Out(12), k_tiles - 1 of ``current``
    load_gain : Out(1), the gain memory may take beats
    store_command : Out(stream)
    done : Out(1), a NORM is finished
    waiting, norm, reading : Out(1), the next row may not be read yet; taking statistics; issuing steps of a PASS
    """

    def __init__(self, config: MachineConfig):
        self._config = config
        super().__init__({
            "dispatch": In(stream.Signature(dispatch_layout())),
            "finished": In(SEQUENCE_BITS),
            "stored": In(stored_layout()),
            "row_room": In(1),
            "store_room": In(1),
            "busy": In(1),
            "gain_loaded": In(1),
            "measured": In(1),
            "norm_done": In(1),
            "step": Out(Flow(step_layout())),
            "current": Out(dispatch_layout()),
            "last_word": Out(WORD_BITS),
            "load_gain": Out(1),
            "store_command": Out(stream.Signature(store_command_layout())),
            "done": Out(1),
            "waiting": Out(1),
            "norm": Out(1),
            "reading": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        incoming, current, instruction = self.dispatch.payload, self.current, self.current.instruction
        allowed, early, may_read, take = Signal(), Signal(), Signal(), Signal()
        last_row, last_word, last_tile = Signal(TOKEN_BITS), self.last_word, Signal(12)
        row, group, tile = Signal(TOKEN_BITS), Signal(2), Signal(12)
        word, left = Signal(WORD_BITS), Signal(WORD_BITS)  # left: words of the row from it on
        gain_address, gain_place = Signal(WORD_BITS), Signal(2)

        def spare(dispatched):
            return (self.finished - dispatched.sequence + dispatched.instruction.overlap)[:SEQUENCE_BITS].as_signed()

        # A row that was stored stays so: what is known of `current` may be late, but must not outlive it.
        known, newest = Signal(), Signal(TOKEN_BITS)
        m.d.comb += [self.dispatch.ready.eq(take), may_read.eq(allowed | early)]
        m.d.sync += [
            allowed.eq(allowed | (spare(current) >= 0)),
            known.eq(instruction.rowwise & (spare(current) == -1) & (self.stored.sequence == self.finished)),
            newest.eq(Mux(self.stored.row < last_row, self.stored.row, last_row)),
            early.eq(known & (row + 1 < newest)),  # the row may step on in this cycle
        ]
        words, rows, bit = self.store_command.payload.words, Signal(TOKEN_BITS), Signal(range(TOKEN_BITS))
        with m.If(take & self.dispatch.valid):
            m.d.sync += [
                words.eq(0),
                rows.eq(incoming.instruction.rows),
                current.eq(incoming),
                allowed.eq(spare(incoming) >= 0),
                known.eq(0),
                early.eq(0),
                last_row.eq(incoming.instruction.rows - 1),
                last_word.eq(incoming.instruction.k_tiles - 1),
                last_tile.eq(incoming.instruction.n_tiles - 1),
            ]

        is_pass, is_norm = instruction.opcode == Opcode.PASS, instruction.opcode == Opcode.NORM
        at_row, at_word, at_group, at_tile, several = Signal(), Signal(), Signal(), Signal(), Signal()
        most = self._config.norm_words
        m.d.comb += [
            at_row.eq(row == last_row),
            several.eq(is_norm & at_group),
            at_word.eq(left <= Mux(several, most, 1)),
            at_group.eq(group == Mux(is_pass, Mux(instruction.digits, self._config.gate_sweeps - 1, 0),
                                     is_norm & ~instruction.summed)),
            at_tile.eq(~is_pass | (tile == last_tile)),
        ]
        # Rows are the inner loop of a PASS, words that of the others.
        next_row, next_word = Mux(is_pass, 1, at_word), Mux(is_pass, at_row, 1)
        go, end = Signal(), Signal()
        m.d.comb += end.eq(at_row & at_word & at_group & at_tile)
        with m.If(go):
            with m.If(next_row):
                m.d.sync += row.eq(Mux(at_row, 0, row + 1))
            with m.If(next_word):
                read = Mux(several, most, 1)
                m.d.sync += word.eq(Mux(at_word, 0, word + read))
                m.d.sync += left.eq(Mux(at_word, instruction.k_tiles, left - read))
                m.d.sync += gain_place.eq(gain_place + 1)
                with m.If(at_word | several | (gain_place == most - 1)):
                    m.d.sync += [gain_address.eq(Mux(at_word, 0, gain_address + 1)), gain_place.eq(0)]
            with m.If(at_row & at_word):
                m.d.sync += group.eq(Mux(at_group, 0, group + 1))
                with m.If(at_group):
                    m.d.sync += tile.eq(Mux(at_tile, 0, tile + 1))
        with m.If(take & self.dispatch.valid):  # perhaps with the last step of the instruction before
            m.d.sync += left.eq(incoming.instruction.k_tiles)

        def take_next():
            m.d.comb += take.eq(1)
            m.next = "IDLE"
            with m.If(self.dispatch.valid):
                with m.Switch(incoming.instruction.opcode):
                    with m.Case(Opcode.PASS):
                        m.next = "READ"
                    with m.Case(Opcode.NORM):
                        m.next = "GAIN"
                    with m.Case(Opcode.STORE):
                        m.next = "COUNT"

        with m.FSM() as fsm:
            with m.State("IDLE"):
                take_next()
            with m.State("GAIN"):
                m.d.comb += self.load_gain.eq(~self.busy)
                with m.If(self.gain_loaded):
                    m.next = "READ"
            with m.State("COUNT"):  # rows x k_tiles, a bit of rows per cycle, most often while the STORE has to wait
                m.d.sync += [
                    words.eq((words << 1) + Mux(rows[-1], instruction.k_tiles, 0)),
                    rows.eq(rows << 1),
                    bit.eq(Mux(bit == TOKEN_BITS - 1, 0, bit + 1)),
                ]
                with m.If(bit == TOKEN_BITS - 1):
                    m.next = "COMMAND"
            with m.State("COMMAND"):
                m.d.comb += self.store_command.valid.eq(allowed)
                with m.If(allowed & self.store_command.ready):
                    m.next = "READ"
            with m.State("READ"):
                room = Mux(is_pass, self.row_room, Mux(is_norm, self.measured | (group == 0), self.store_room))
                m.d.comb += [go.eq(may_read & room), self.reading.eq(is_pass & may_read)]
                with m.If(go & end):
                    with m.If(is_norm):
                        m.next = "FINISH"
                    with m.Else():
                        take_next()
            with m.State("FINISH"):
                m.d.comb += self.done.eq(self.norm_done)
                with m.If(self.norm_done):
                    take_next()

        kind = Mux(is_pass, ReadPurpose.PASS, Mux(is_norm, Mux(at_group, ReadPurpose.PEAKS, ReadPurpose.MEANS), ReadPurpose.STORE))
        step, new_row = self.step.payload, word == 0
        m.d.comb += [
            self.step.valid.eq(go),
            step.kind.eq(kind),
            step.row.eq(row),
            step.word.eq(word),
            step.more.eq(Cat(several & (left > index) for index in range(1, most))),
            step.gain_address.eq(gain_address),
            step.gain_place.eq(gain_place),
            step.first.eq(new_row),
            step.final.eq(at_word & (at_group | ~is_pass)),
            step.end.eq(end | (is_norm & at_row & at_word)),
            step.swap.eq(row == 0),
            step.operation.eq(Mux(~new_row | (group == 1), Accumulate.ADD,
                                  Mux(group == 0, Accumulate.SET, Accumulate.SHIFT_ADD))),
            step.low.eq(group == 1),
            step.lookup.eq(instruction.gather | instruction.scatter | instruction.score),
            step.expert.eq(current.expert),
            self.store_command.payload.offset.eq(instruction.region_offset),
            self.waiting.eq(~fsm.ongoing("IDLE") & ~may_read),
            self.norm.eq(~fsm.ongoing("IDLE") & may_read & is_norm),
        ]
        m.d.comb += [step[field].eq(instruction[field]) for field in (
            "gather", "scatter", "operand", "keys", "source_peak", "source", "source_base", "source_stride")]
        return m
