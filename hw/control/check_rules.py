# SPDX-License-Identifier: Apache-2.0
"""The rules of a check that need no multiplication."""

from amaranth import *
from amaranth.lib import data
from amaranth.utils import exact_log2

from moevit.spec.arrays import MachineConfig
from moevit.spec.isa import Activation, Destination, Opcode, Operand, Peak, Region, Saturation, WeightSource

from ..layouts import PEAK_ENTRIES, TOKEN_BITS, gain_words
from .check_counts import CheckCounts

__all__ = ["CheckRules"]


class CheckRules:
    """Registers that say which rule an instruction breaks: the OPERAND rules of ``Check`` without its address limits.

    Parameters
    ----------
    m : Module
        of the check
    config : MachineConfig
        lanes, sizes of the tables, number of experts
    instruction, repeated, start : View, Value, Value
        inputs of ``Check``
    counts : CheckCounts
        counts of the instruction

    Attributes
    ----------
    broken : list[Signal]
        one per rule; the one of images is complete `TOKEN_BITS` + 2 cycles after the start
    """

    def __init__(self, m: Module, config: MachineConfig, instruction: data.View, repeated: Value, start: Value,
                 counts: CheckCounts):
        self._config, self._instruction, self._repeated, self._counts = config, instruction, repeated, counts
        is_opcode = counts.is_opcode
        self._is_pass, self._is_norm, self._is_image = (
            is_opcode[opcode] for opcode in (Opcode.PASS, Opcode.NORM, Opcode.IMAGE))
        self._has_rows = (self._is_pass | self._is_norm | self._is_image
                          | is_opcode[Opcode.LOAD] | is_opcode[Opcode.STORE])
        conditions = {**self._counts_of_rows(m, start), **self._fields_of_a_pass(), **self._queues_and_groups(),
                      **self._peaks(m)}
        self.broken = [Signal(name=f"refused_{name}") for name in conditions]
        m.d.sync += [register.eq(condition)
                     for register, condition in zip(self.broken, conditions.values(), strict=True)]

    def _counts_of_rows(self, m: Module, start: Value) -> dict[str, Value]:
        """Rows, words and what belongs to LOAD, IMAGE and NORM."""
        config, instruction, is_norm, is_image = self._config, self._instruction, self._is_norm, self._is_image
        remainder = self._remainder(m, start)
        last_dim = (instruction.dim - 1)[:12] >> exact_log2(config.k_lanes)
        return {
            "rows": self._has_rows & ((instruction.rows == 0) | (instruction.rows > config.max_tokens)),
            "k_tiles": self._has_rows & ~is_image & (instruction.k_tiles == 0),
            "region": (instruction.region == Region.NONE) != (instruction.region_beats == 0),
            "gain": (is_norm | self._is_pass & (instruction.operand == Operand.NORM))
                    & (instruction.k_tiles > gain_words(config)),
            "norm": is_norm & ((instruction.dim == 0) | (instruction.epsilon == 0)
                               | (last_dim >= instruction.k_tiles)),
            "image": is_image & ((instruction.patch == 0) | (instruction.segment == 0) | (instruction.patches_x == 0)
                                 | (remainder != 0)),
        }

    def _remainder(self, m: Module, start: Value) -> Value:
        """``rows mod patches_x``; a division by subtraction, one bit of ``rows`` per cycle from ``start`` on."""
        remainder, rows, bits = Signal(9), Signal(TOKEN_BITS), Signal(range(TOKEN_BITS + 1))
        divisor = self._instruction.patches_x
        doubled = Cat(rows[-1], remainder[:-1])
        with m.If(start):
            m.d.sync += [remainder.eq(0), rows.eq(self._instruction.rows), bits.eq(TOKEN_BITS)]
        with m.Elif(bits != 0):
            m.d.sync += [bits.eq(bits - 1), rows.eq(rows << 1)]
            m.d.sync += remainder.eq(Mux(doubled >= divisor, doubled - divisor, doubled))
        return remainder

    def _fields_of_a_pass(self) -> dict[str, Value]:
        """Tiles, columns, enumerations, operands and routing of a PASS."""
        config, instruction, counts, is_pass = self._config, self._instruction, self._counts, self._is_pass
        streamed = instruction.weights == WeightSource.BUS
        routes = instruction.destination == Destination.ROUTER
        return {
            "n_tiles": is_pass & (instruction.n_tiles == 0),
            "columns": is_pass & ((instruction.columns == 0)
                                  | ((counts.last_column >> exact_log2(config.n_lanes)) != counts.last_n)),
            "first_word": instruction.first_word & ((config.ratio == 1)
                                                    | ((counts.last_column >> exact_log2(config.k_lanes)) == 0)),
            "enumeration": is_pass & ((instruction.weights > max(WeightSource)) | (instruction.peak > max(Peak))
                                      | (instruction.destination > max(Destination))
                                      | (instruction.saturation > max(Saturation))
                                      | (instruction.activation > max(Activation))),
            "keys": is_pass & (instruction.operand == Operand.EXP) & (instruction.keys == 0),
            "digits": instruction.digits & ((instruction.operand == Operand.RAW) | (instruction.operand == Operand.EXP)
                                            | ~streamed),
            "routing": (instruction.digits | instruction.sigmoid | instruction.biased | instruction.sets_bias)
                       & ~(routes & ((instruction.rows == 1) | ~instruction.sets_bias)),
            "router": is_pass & routes & (self._repeated | (instruction.n_tiles != 1) | (instruction.top_k == 0)
                                          | (instruction.columns > config.max_experts)
                                          | (instruction.top_k > instruction.columns)),
        }

    def _queues_and_groups(self) -> dict[str, Value]:
        """How rows are chosen and grouped, and which instructions may overlap."""
        instruction = self._instruction
        return {
            "overlap": ~self._is_pass & (instruction.overlap != 0),
            "rowwise": instruction.rowwise & (instruction.gather | instruction.copy),
            "queue": (instruction.gather | instruction.scatter | instruction.score) & ~instruction.queued,
            "queued": instruction.queued & ~self._repeated,
            "groups": self._counts.more_rows | (instruction.gap.any() & (instruction.group == 0))
                      | (instruction.group.any() & instruction.queued),
        }

    def _peaks(self, m: Module) -> dict[str, Value]:
        """The ends of what a PASS reads from and writes into the table of peaks."""
        instruction, entries = self._instruction, PEAK_ENTRIES * self._config.max_tokens
        last_read, last_written = Signal(TOKEN_BITS + 1), Signal(TOKEN_BITS + 2)
        m.d.sync += last_read.eq(instruction.source_peak + self._counts.last_source)
        m.d.sync += last_written.eq(instruction.destination_peak + self._counts.last_row)
        by_peak = (instruction.operand == Operand.ROW) | (instruction.operand == Operand.EXP)
        return {
            "source_peak": self._is_pass & by_peak & (last_read >= entries),
            "destination_peak": self._is_pass & (instruction.peak != Peak.NONE) & (last_written >= entries),
        }
