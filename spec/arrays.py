# SPDX-License-Identifier: Apache-2.0
"""Machine configurations: the array's shape and the sizes of its memories. One RTL is generated per configuration."""

import hashlib
import json
from dataclasses import asdict, dataclass

from .registers import PASS_LOG_FIELDS

__all__ = ["CONFIGS", "ConfigError", "MachineConfig"]


_LONGEST_PROGRAM = (1 << PASS_LOG_FIELDS["pc"]) - 1


class ConfigError(ValueError):
    """A machine configuration that cannot be built.

    Fix: choose a value in the range that the message names, or take a configuration of `CONFIGS`.
    """


@dataclass(frozen=True, kw_only=True)
class MachineConfig:
    """What a user chooses before generating RTL. Depths of row memories are in words; derived sizes are properties.

    Parameters
    ----------
    k_lanes, n_lanes : inputs and outputs of the array per cycle; a row-memory word is ``k_lanes`` values, a beat is
        ``n_lanes`` bytes; ``n_lanes`` is ``k_lanes`` or twice that
    bus_beats : beats in a bus beat, 1 or 2; a bus beat is at most 64 bytes and at most a row-memory word
    tile_beats : beats that a tile takes in a cycle, a power of two from 2 to ``k_lanes / 4``; so a tile takes at least
        five cycles, and the accumulator can take the same row again no sooner
    ports : AXI4 managers of the machine, a power of two, that share the bus: each has ``bus_bytes / ports`` bytes;
        several have 8 or 16 bytes each, as a board's HP ports do
    packed : each DSP48 slice of the array computes two products; without it, array and row lanes need multipliers of
        only 18 x 18 bits (same results)
    dsp48e1 : multipliers of 25 x 18 bits, as 7-series parts have, instead of 27 x 18 (same results)
    max_tokens : most rows of a pass, most tokens in the queue of an expert
    max_experts : most experts that the router can tell apart, at most ``k_lanes``
    residual_words, hidden_words : words of ``k_lanes`` x s16
    kv_words : words of ``n_lanes`` x s8 for keys and values
    prefetch_beats : depth of the prefetch FIFO, in beats
    program_length : instructions that the program memory holds
    norm_words : words of a row that a NORM takes per cycle, 1 to 3; the second one costs the row reader a multiplier
        and a squarer of LUTs per lane, the third one two more squarers and twice the banks of the residual memory
    trace : ports for simulation that show every row-memory write
    """

    name: str
    k_lanes: int
    n_lanes: int
    bus_beats: int = 1
    tile_beats: int = 2
    ports: int = 1
    packed: bool = True
    dsp48e1: bool = False
    max_tokens: int = 256
    max_experts: int = 16
    residual_words: int
    hidden_words: int
    kv_words: int
    prefetch_beats: int = 512
    program_length: int = 512
    norm_words: int = 1
    trace: bool = False

    def __post_init__(self) -> None:
        for field in ("k_lanes", "n_lanes", "tile_beats", "ports", "max_tokens", "prefetch_beats"):
            value = getattr(self, field)
            if value < 1 or value & (value - 1):
                raise ConfigError(f"{self.name}: {field} must be a power of two, not {value!r}")
        if not 1 <= self.program_length <= _LONGEST_PROGRAM:
            raise ConfigError(f"{self.name}: program_length must be 1..{_LONGEST_PROGRAM}, not {self.program_length!r}")
        if self.k_lanes < 8 or self.k_lanes > 64:
            raise ConfigError(f"{self.name}: k_lanes must be 8..64, not {self.k_lanes}")
        if self.n_lanes not in (self.k_lanes, 2 * self.k_lanes) or self.n_lanes > 64:
            raise ConfigError(f"{self.name}: n_lanes must be k_lanes or twice that and at most 64, not {self.n_lanes}")
        if not 1 <= self.max_experts <= min(self.k_lanes, 32):
            raise ConfigError(f"{self.name}: max_experts must be 1..min(k_lanes, 32), not {self.max_experts}")
        if self.bus_beats not in (1, 2):
            raise ConfigError(f"{self.name}: bus_beats must be 1 or 2, not {self.bus_beats!r}")
        if self.bus_beats == 2 and (self.bus_bytes > 64 or self.bus_bytes > self.word_bytes):
            raise ConfigError(f"{self.name}: bus_beats must be 1 where two beats are more than 64 bytes or than a "
                              f"row-memory word of {self.word_bytes}, not {self.bus_bytes} bytes")
        if not 2 <= self.tile_beats <= self.k_lanes // 4:
            raise ConfigError(f"{self.name}: tile_beats must be 2..k_lanes / 4, so that a tile takes five "
                              f"cycles, not {self.tile_beats}")
        if self.ports > 1 and self.port_bytes not in (8, 16):
            raise ConfigError(f"{self.name}: several ports must be 8 or 16 bytes wide each, not {self.ports} ports of "
                              f"{self.bus_bytes / self.ports:g} bytes")
        if self.norm_words not in (1, 2, 3):
            raise ConfigError(f"{self.name}: norm_words must be 1, 2 or 3, not {self.norm_words!r}")
        if self.prefetch_beats < 32 * self.bus_beats:
            raise ConfigError(f"{self.name}: prefetch_beats must hold two bursts of {16 * self.bus_beats}, not "
                              f"{self.prefetch_beats}")

    @property
    def ratio(self) -> int:
        """Row-memory words per array output row: 1 or 2."""
        return self.n_lanes // self.k_lanes

    @property
    def beat_bytes(self) -> int:
        """Bytes of a beat. A tile is ``k_lanes`` beats."""
        return self.n_lanes

    @property
    def bus_bytes(self) -> int:
        """Bytes of a bus beat. Instructions, commands and counters count bus beats."""
        return self.bus_beats * self.beat_bytes

    @property
    def port_bytes(self) -> int:
        """Bytes that one AXI4 port moves in a transfer."""
        return self.bus_bytes // self.ports

    @property
    def word_bytes(self) -> int:
        """Bytes per row-memory word, ``k_lanes`` x s16."""
        return 2 * self.k_lanes

    @property
    def word_beats(self) -> int:
        """Beats of a row-memory word: 2 or 1."""
        return self.word_bytes // self.beat_bytes

    @property
    def word_bus_beats(self) -> int:
        """Bus beats of a row-memory word: 2 or 1."""
        return self.word_bytes // self.bus_bytes

    @property
    def residual_banks(self) -> int:
        """Banks of the residual memory, a power of two. Word a is in bank a mod ``residual_banks``, so any
        ``norm_words`` consecutive words are in different banks."""
        return 1 << (self.norm_words - 1).bit_length()

    @property
    def residual_bank(self) -> int:
        """Words in each bank of the residual memory."""
        return -(-self.residual_words // self.residual_banks)

    @property
    def hidden_parts(self) -> int:
        """Parts of a hidden-memory word, each with its own write address.

        Two parts let IMAGE write into one word and the next in one cycle. This pays where a word holds a line of a
        patch of 16 pixels, 48 bytes; narrower words gain nothing.
        """
        return 2 if self.k_lanes >= 64 else 1

    @property
    def sums_depth(self) -> int:
        """Rows whose sums fit between array and row writer: as many as are under way at full rate.

        If a row is two words, the rows of an n-tile's last sweep come twice as fast as they are written. Then half of
        the rows of a pass wait here while the sweeps of the next n-tile begin.
        """
        return 32 if self.ratio == 1 else max(64, self.max_tokens // 2)

    @property
    def gate_sweeps(self) -> int:
        """Sweeps of a gate, each of which reads one digit of the rows: two if an expert has two output lanes, ``e`` and
        ``max_experts + e``, otherwise three (ADR 0006, 0026)."""
        return 2 if self.n_lanes >= 2 * self.max_experts else 3

    @property
    def macs_per_cycle(self) -> int:
        """Multiply-accumulates of the array in a cycle."""
        return self.k_lanes * self.n_lanes

    @property
    def hash(self) -> int:
        """32 bits that name this hardware. The host refuses a bundle that was compiled for another one."""
        choices = asdict(self)
        for field in ("name", "packed", "dsp48e1", "trace"):  # they change no result
            del choices[field]
        return int.from_bytes(hashlib.sha256(json.dumps(choices, sort_keys=True).encode()).digest()[:4], "little")


CONFIGS: dict[str, MachineConfig] = {
    config.name: config
    for config in (
        MachineConfig(name="8x8", k_lanes=8, n_lanes=8, max_tokens=32, max_experts=8, residual_words=256,
                      hidden_words=1024, kv_words=512, prefetch_beats=64, program_length=128),
        MachineConfig(name="8x16", k_lanes=8, n_lanes=16, ports=2, max_tokens=32, max_experts=8, residual_words=256,
                      hidden_words=1024, kv_words=256, prefetch_beats=64, program_length=128, norm_words=3),
        MachineConfig(name="16x16", k_lanes=16, n_lanes=16, dsp48e1=True, ports=2, residual_words=3096,
                      hidden_words=6192, kv_words=3456),
        MachineConfig(name="32x32", k_lanes=32, n_lanes=32, bus_beats=2, ports=4, residual_words=6144,
                      hidden_words=12288, kv_words=8192, prefetch_beats=2048, norm_words=2),
        MachineConfig(name="32x64", k_lanes=32, n_lanes=64, tile_beats=4, ports=4, max_tokens=1024,
                      residual_words=6192, hidden_words=12384, kv_words=4096, prefetch_beats=16384, norm_words=2),
        MachineConfig(name="64x64", k_lanes=64, n_lanes=64, tile_beats=4, ports=4, max_tokens=1024,
                      residual_words=3096, hidden_words=6192, kv_words=4608, prefetch_beats=16384, norm_words=3),
        # Rows, keys and values of 1,201 tokens of m3vit_small in a zcu104, at the cost of prefetch (ADR 0024).
        MachineConfig(name="32x64_long", k_lanes=32, n_lanes=64, ports=4, max_tokens=1024, residual_words=16384,
                      hidden_words=6144, kv_words=14592, prefetch_beats=1024, program_length=6656, norm_words=2),
    )
}
