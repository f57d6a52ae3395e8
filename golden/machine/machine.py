# SPDX-License-Identifier: Apache-2.0
"""Executes a program from memory with the results of the RTL, one instruction at a time."""

from collections.abc import Callable

import numpy as np

from moevit.golden.integer.norm import norm_rows
from moevit.spec.arrays import MachineConfig
from moevit.spec.isa import INSTRUCTION_BYTES, Opcode, Region, decode
from moevit.spec.registers import ErrorCode
from moevit.spec.trace import TraceKind

from .array_pass import run_pass
from .state import Finished, Run, State

__all__ = ["Machine", "ProgramStopped"]

ReadMemory = Callable[[int, int], np.ndarray]
WriteMemory = Callable[[int, np.ndarray], None]


class ProgramStopped(RuntimeError):
    """A program that the machine refuses: the ErrorCode that the RTL would latch, the instruction, the address.

    Fix: compile the bundle again. A program of the compiler is never refused.
    """

    def __init__(self, code: ErrorCode, pc: int, reason: str, address: int = 0):
        super().__init__(f"instruction {pc}: {reason}")
        self.code, self.pc, self.address = code, pc, address


class Machine:
    """One machine with its on-chip state. The state survives from run to run, as in hardware.

    ``read(address, bytes) -> u8 array`` and ``write(address, u8 array)`` are the memory bus.
    """

    def __init__(self, config: MachineConfig, read: ReadMemory, write: WriteMemory):
        self.config, self.state = config, State(config)
        self._read, self._write = read, write

    def run(self, bases: dict[Region, int], output: int, program: int, length: int) -> Run:
        """Execute the program of ``length`` instructions at ``program``. Raises ProgramStopped.

        ``bases``: the base address of each region. ``output``, ``program``: addresses. All addresses are in bytes.
        """
        words = self._read(program, length * INSTRUCTION_BYTES).view("<u4").reshape(length, -1)
        state = self.state
        state.run, state.sequence = Run(), 0
        pc = 0
        while pc < length:
            instruction = self._decode(words, pc)
            if instruction["opcode"] == Opcode.END:
                return state.run
            if instruction["opcode"] == Opcode.EXPERTS:
                body = range(pc + 1, pc + 1 + instruction["body"])
                for expert, queue in enumerate(state.queues):
                    for inner in body if len(queue.tokens) else ():
                        self._guarded(self._decode(words, inner), inner, expert, bases, output)
                pc = body.stop
            else:
                self._guarded(instruction, pc, 0, bases, output)
                pc += 1
        raise ProgramStopped(ErrorCode.PROGRAM_RANGE, pc, f"the program of {length} instructions has no END")

    def _decode(self, words: np.ndarray, pc: int) -> dict[str, int]:
        if pc >= len(words):
            raise ProgramStopped(ErrorCode.PROGRAM_RANGE, pc, "past the end of the program")
        try:
            return decode(words[pc])
        except ValueError as error:
            raise ProgramStopped(ErrorCode.ILLEGAL_OPCODE, pc, str(error)) from error

    def _guarded(self, instruction: dict[str, int], pc: int, expert: int, bases: dict[Region, int],
                 output: int) -> None:
        """Execute one instruction. Fields that do not fit the memories or the region give the RTL's OPERAND error."""
        try:
            self._execute(instruction, pc, expert, bases, output)
        except (IndexError, ValueError) as error:
            raise ProgramStopped(ErrorCode.OPERAND, pc, f"a field is out of range: {error}") from error

    def _execute(self, instruction: dict[str, int], pc: int, expert: int, bases: dict[Region, int],
                 output: int) -> None:
        state, beats = self.state, np.zeros(0, np.uint8)
        rows = instruction["rows"]
        if instruction.get("queued"):
            rows = len(state.queues[expert].tokens)
        if instruction.get("region"):
            offset = instruction["region_offset"]
            offset += expert * instruction.get("expert_beats", 0) * self.config.bus_bytes
            beats = self._read(bases[Region(instruction["region"])] + offset,
                               instruction["region_beats"] * self.config.bus_bytes)
        macs = 0
        match instruction["opcode"]:
            case Opcode.LOAD:
                self._load(instruction, beats)
            case Opcode.IMAGE:
                self._image(instruction, beats)
            case Opcode.NORM:
                self._norm(instruction, beats)
            case Opcode.PASS:
                macs = run_pass(state, instruction, beats, rows, expert)
            case Opcode.STORE:
                self._write(output + instruction["region_offset"],
                            self._rows(instruction).astype("<i2").reshape(-1).view(np.uint8))
        state.run.finished.append(Finished(pc, expert, rows, macs, len(beats) // self.config.bus_bytes))
        state.sequence += 1

    def _rows(self, instruction: dict[str, int]) -> np.ndarray:
        """Residual rows (rows, k_tiles words, lanes)."""
        row = np.arange(instruction["rows"])[:, None] * instruction["source_stride"]
        return self.state.residual[instruction["source_base"] + row + np.arange(instruction["k_tiles"])]

    def _load(self, instruction: dict[str, int], beats: np.ndarray) -> None:
        """Write each word to all of its copies before the next word. Where copies overlap, the later word stays."""
        words = beats.view("<i2").reshape(-1, 1, self.config.k_lanes)
        place = instruction["destination_base"] + np.arange(instruction["rows"] * instruction["k_tiles"])
        copy = np.arange(instruction["copies"] + 1) * instruction["destination_stride"]
        self.state.residual[place[:, None] + copy] = words

    def _image(self, instruction: dict[str, int], beats: np.ndarray) -> None:
        """Turn H x W x 3 bytes into one row per patch. A patch is flattened as (row, column, channel)."""
        patch, across, lanes = instruction["patch"], instruction["patches_x"], self.config.k_lanes
        bytes_across = 8 * instruction["segment"]
        down = instruction["rows"] // across
        pixels = beats[:down * patch * across * bytes_across].reshape(down, patch, across, bytes_across)
        rows = pixels.transpose(0, 2, 1, 3).reshape(down * across, patch * bytes_across).astype(np.int64)
        flat = self.state.hidden.reshape(-1)
        start = (instruction["destination_base"] + np.arange(len(rows)) * instruction["destination_stride"]) * lanes
        flat[start[:, None] + np.arange(rows.shape[1])] = rows

    def _norm(self, instruction: dict[str, int], beats: np.ndarray) -> None:
        state, rows = self.state, self._rows(instruction)
        state.gain = beats.view("<i2").astype(np.int64)
        if instruction["copy"]:
            row = np.arange(len(rows))[:, None] * instruction["source_stride"]
            state.residual[instruction["destination_base"] + row + np.arange(rows.shape[1])] = rows
        total = state.sums[:len(rows)]
        if not instruction["summed"]:
            total = rows.sum(axis=(1, 2))
            if not instruction["rowwise"]:
                state.sums[:len(rows)] = total
        norm = norm_rows(rows.reshape(len(rows), -1), state.gain, instruction["dim"], instruction["inverse_dim"],
                         instruction["epsilon"], total)
        state.norm = norm
        state.record(TraceKind.NORM, np.arange(len(rows)),
                     np.stack([norm.mean, norm.peak.m, norm.peak.e, norm.scale.mantissa, norm.scale.exponent], axis=1))


