# SPDX-License-Identifier: Apache-2.0
"""The loops of the row reader: which word is read in which cycle, and when an instruction may start."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from moevit.spec.arrays import MachineConfig
from moevit.spec.isa import Opcode

from ..interfaces import Flow
from ..layouts import SEQUENCE_BITS, TOKEN_BITS, dispatch_layout, stored_layout
from .access import WORD_BITS, access_layout, store_command_layout
from .read_place import ReadPlace

__all__ = ["ReadLoop"]


class ReadLoop(wiring.Component):
    """Turns every PASS, NORM and STORE into accesses, one word after the other; drops every other instruction.

    The loops, from the outside in:

    - PASS: n-tiles, sweeps (1, or `gate_sweeps` with ``digits``), k-tiles, rows.
    - NORM: loads the gain. Then sweeps (1 if ``summed``, otherwise 2), rows, words. The last sweep reads
      ``norm_words`` words at a time and waits for ``measured``. The NORM ends with ``norm_done``.
    - STORE: sends its command. Then rows, words.

    rows, k_tiles and n_tiles are at least 1.

    An instruction may read when ``(sequence - finished) mod 2^16 <= overlap``; that difference is below 2^15. With
    ``rowwise`` the difference may also be ``overlap + 1``, as long as ``stored`` belongs to the oldest unfinished
    instruction. If the loop came to row r with the access of the cycle before, it reads row r when row r + 1 is stored.
    If it had to wait at row r, it reads row r when row r + 2 is stored: its comparison is a cycle late, and allows for
    one row read in between. Such an access comes two cycles after ``stored`` at the earliest. The last row is never
    read in this way: an instruction does not end before the one that it waits for.

    Latency: 1 cycle from ``dispatch`` of a PASS to its first ``access``, also behind another PASS (`latency`);
    13 cycles from ``dispatch`` of a STORE to its ``store_command`` (`latency_command`).
    Throughput: one access per cycle.
    Back-pressure: ``dispatch`` waits until the instruction before has no more accesses. Accesses of a PASS wait for
    ``row_room``, those of a STORE for ``store_room``.

    Parameters
    ----------
    config : MachineConfig
        ``norm_words`` and ``gate_sweeps``

    Members
    -------
    dispatch : In(stream.Signature(dispatch_layout()))
        every instruction
    finished : In(16)
        number of finished instructions
    stored : In(stored_layout())
        newest stored row of a PASS
    row_room, store_room : In(1)
        an access of a PASS (a STORE) may be issued in this cycle
    busy : In(1)
        earlier accesses have still to read the gain
    gain_loaded : In(1)
        the last word of the gain is written
    measured : In(1)
        all means of the first sweep can be read
    norm_done : In(1)
        the scale of the last row is written
    access : Out(Flow(access_layout()))
        the words to read
    current : Out(dispatch_layout())
        the instruction; steady from its first access to its last, of a NORM until its end
    last_word : Out(12)
        k_tiles - 1 of ``current``
    load_gain : Out(1)
        the gain memory may take beats
    store_command : Out(stream.Signature(store_command_layout()))
        announces a STORE
    done : Out(1)
        a NORM is finished
    waiting : Out(1)
        an instruction is here and may not read yet
    norm : Out(1)
        a NORM is under way
    reading : Out(1)
        a PASS is under way
    """

    latency = 1
    latency_command = TOKEN_BITS + 1

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
            "access": Out(Flow(access_layout())),
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
        place, take = ReadPlace(self._config, self.current), Signal()
        rows_shifted = Signal(TOKEN_BITS)  # rows of a STORE, from the top bit on
        allowed, may_read = self._start_rule(m, place, take)
        place.count(m, self.access.valid)
        self._take(m, place, take, rows_shifted)
        self._states(m, place, take, allowed, may_read, rows_shifted)
        place.describe(m, self.access.payload)
        return m

    def _start_rule(self, m: Module, place: ReadPlace, take: Signal) -> tuple[Signal, Signal]:
        """Whether the instruction may read at all, and whether its row may be read in this cycle."""
        instruction = self.current.instruction
        allowed, row_allowed, may_read = Signal(), Signal(), Signal()
        stored_applies, stored_row = Signal(), Signal(TOKEN_BITS)
        m.d.comb += may_read.eq(allowed | row_allowed)
        # `stored_applies`: `current` may read the rows that `stored` reports. It is a cycle late. That is safe, since a
        # stored row stays stored. When another instruction is taken, both flags are cleared.
        m.d.sync += [
            allowed.eq(allowed | (self._margin(self.current) >= 0)),
            stored_applies.eq(instruction.rowwise & (self._margin(self.current) == -1)
                              & (self.stored.sequence == self.finished)),
            stored_row.eq(Mux(self.stored.row < place.last_row, self.stored.row, place.last_row)),
            row_allowed.eq(stored_applies & (place.row + 1 < stored_row)),  # the row may advance in this cycle
        ]
        with m.If(take & self.dispatch.valid):
            m.d.sync += [
                allowed.eq(self._margin(self.dispatch.payload) >= 0),
                stored_applies.eq(0),
                row_allowed.eq(0),
            ]
        return allowed, may_read

    def _margin(self, dispatched) -> Value:
        """By how many unfinished instructions ``dispatched`` stays below its ``overlap``; it may read from 0 on."""
        return (self.finished - dispatched.sequence + dispatched.instruction.overlap)[:SEQUENCE_BITS].as_signed()

    def _take(self, m: Module, place: ReadPlace, take: Signal, rows_shifted: Signal) -> None:
        """Takes an instruction, perhaps in the cycle of the last access of the one before."""
        incoming = self.dispatch.payload
        m.d.comb += [self.dispatch.ready.eq(take), self.store_command.payload.offset.eq(
            self.current.instruction.region_offset)]
        with m.If(take & self.dispatch.valid):
            m.d.sync += [
                self.current.eq(incoming),
                place.last_row.eq(incoming.instruction.rows - 1),
                self.last_word.eq(incoming.instruction.k_tiles - 1),
                place.last_tile.eq(incoming.instruction.n_tiles - 1),
                place.words_left.eq(incoming.instruction.k_tiles),
                self.store_command.payload.words.eq(0),
                rows_shifted.eq(incoming.instruction.rows),
            ]

    def _states(self, m: Module, place: ReadPlace, take: Signal, allowed: Signal, may_read: Signal,
                rows_shifted: Signal) -> None:
        """What an instruction does before, with and after its accesses."""
        is_pass, is_norm = place.is_pass, place.is_norm
        with m.FSM() as fsm:
            with m.State("IDLE"):
                self._take_next(m, take)
            with m.State("GAIN"):
                m.d.comb += self.load_gain.eq(~self.busy)
                with m.If(self.gain_loaded):
                    m.next = "READ"
            with m.State("COUNT"):
                self._count_words(m, rows_shifted)
            with m.State("COMMAND"):
                m.d.comb += self.store_command.valid.eq(allowed)
                with m.If(allowed & self.store_command.ready):
                    m.next = "READ"
            with m.State("READ"):
                room = Mux(is_pass, self.row_room, Mux(is_norm, self.measured | (place.sweep == 0), self.store_room))
                m.d.comb += [self.access.valid.eq(may_read & room), self.reading.eq(is_pass & may_read)]
                with m.If(self.access.valid & place.end):
                    with m.If(is_norm):
                        m.next = "FINISH"
                    with m.Else():
                        self._take_next(m, take)
            with m.State("FINISH"):
                m.d.comb += self.done.eq(self.norm_done)
                with m.If(self.norm_done):
                    self._take_next(m, take)
        m.d.comb += [
            self.waiting.eq(~fsm.ongoing("IDLE") & ~may_read),
            self.norm.eq(~fsm.ongoing("IDLE") & may_read & is_norm),
        ]

    def _take_next(self, m: Module, take: Signal) -> None:
        """In a state of the FSM: takes the next instruction, if there is one."""
        m.d.comb += take.eq(1)
        m.next = "IDLE"
        with m.If(self.dispatch.valid):
            with m.Switch(self.dispatch.payload.instruction.opcode):
                with m.Case(Opcode.PASS):
                    m.next = "READ"
                with m.Case(Opcode.NORM):
                    m.next = "GAIN"
                with m.Case(Opcode.STORE):
                    m.next = "COUNT"

    def _count_words(self, m: Module, rows_shifted: Signal) -> None:
        """Multiplies rows by k_tiles, a bit of the rows per cycle. Most STOREs have to wait for that long anyway."""
        words, bit = self.store_command.payload.words, Signal(range(TOKEN_BITS))
        m.d.sync += [
            words.eq((words << 1) + Mux(rows_shifted[-1], self.current.instruction.k_tiles, 0)),
            rows_shifted.eq(rows_shifted << 1),
            bit.eq(Mux(bit == TOKEN_BITS - 1, 0, bit + 1)),
        ]
        with m.If(bit == TOKEN_BITS - 1):
            m.next = "COMMAND"
