# SPDX-License-Identifier: Apache-2.0
"""What the terms and the rules of a check both need of an instruction."""

from amaranth import *
from amaranth.lib import data
from amaranth.utils import exact_log2

from moevit.spec.arrays import MachineConfig
from moevit.spec.isa import GROUPS, Opcode, WeightSource

from ..layouts import COLUMN_BEATS, TOKEN_BITS, swept_tiles

__all__ = ["CheckCounts"]


class CheckCounts:
    """Registers that follow ``instruction``: its opcode, and its counts less one, which reach the last row, word, tile.

    Parameters
    ----------
    m : Module
        of the check
    config : MachineConfig
        lanes of the array
    instruction, tokens : View, Value
        the inputs of ``Check``

    Attributes
    ----------
    is_opcode : dict[Opcode, Signal]
        the instruction has this opcode
    last_source, last_k, last_n, last_column : Signal
        last source row, k-tile, n-tile, column
    last_row : Signal
        last destination row, `GROUPS` cycles after the start; see ``follow_groups``
    more_rows : Signal
        rows are left behind the group that ``follow_groups`` is at
    n_tile_beats : Signal
        beats that an n-tile of a PASS consumes
    """

    def __init__(self, m: Module, config: MachineConfig, instruction: data.View, tokens: Value):
        self._instruction, self._tokens = instruction, tokens
        self.is_opcode = {opcode: Signal(name=f"is_{opcode.name.lower()}") for opcode in Opcode}
        for opcode, signal in self.is_opcode.items():
            m.d.sync += signal.eq(instruction.opcode == opcode)
        self.last_source, self.last_k, self.last_n = Signal(TOKEN_BITS), Signal(TOKEN_BITS), Signal(TOKEN_BITS)
        self.last_row, self.more_rows = Signal(TOKEN_BITS + 1), Signal()
        self.last_column, self.n_tile_beats = Signal(16), Signal(21)
        k_tiles = Signal(14)
        m.d.comb += k_tiles.eq(swept_tiles(config, instruction))
        streamed = instruction.weights == WeightSource.BUS
        m.d.sync += [
            self.last_source.eq(Mux(instruction.gather, tokens, instruction.rows) - 1),
            self.last_k.eq(instruction.k_tiles - 1),
            self.last_n.eq(instruction.n_tiles - 1),
            self.last_column.eq(instruction.columns - 1),
            self.n_tile_beats.eq(Mux(streamed, k_tiles << exact_log2(config.k_lanes), 0)
                                 + Mux(instruction.constant, 0, COLUMN_BEATS)),
        ]

    def follow_groups(self, m: Module, start: Value, cycle: Value) -> None:
        """Computes ``last_row``: each gap between two groups moves it, one gap per cycle from ``start`` on."""
        instruction = self._instruction
        rows = Signal(TOKEN_BITS, name="group_rows")  # of the current group and those behind it
        m.d.comb += self.more_rows.eq((instruction.group != 0) & (rows > instruction.group))
        with m.If(start):
            m.d.sync += [
                rows.eq(instruction.rows),
                self.last_row.eq(Mux(instruction.scatter, self._tokens, instruction.rows) - 1),
            ]
        with m.Elif(self.more_rows & (cycle < GROUPS - 1)):
            m.d.sync += [rows.eq(rows - instruction.group), self.last_row.eq(self.last_row + instruction.gap)]
