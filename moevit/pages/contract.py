# SPDX-License-Identifier: Apache-2.0
"""The reference tables of ``docs/``, made from the declarations. ``moevit docs`` writes them."""

from moevit.spec import isa
from moevit.spec.arrays import CONFIGS
from moevit.spec.boards import BOARDS
from moevit.spec.formats import FORMATS
from moevit.spec.networks import NETWORKS
from moevit.spec.registers import APERTURE, COUNTERS, PASS_LOG, PASS_LOG_ENTRIES, PASS_LOG_FIELDS, REGISTERS, ErrorCode

from .markdown import note, table

__all__ = ["DOCUMENTS"]

_NOTE = note("spec/")


def formats() -> str:
    rows = [[f.tensor, f"{'s' if f.signed else 'u'}{f.bits}", f.unit, f.why] for f in FORMATS]
    return (f"{_NOTE}# Number formats\n\nOne rounding everywhere: add half, arithmetic shift right "
            "(`round half up`). One saturation: clip, and count.\n\n"
            + table(["tensor", "bits", "unit", "why"], rows))


def instructions() -> str:
    text = f"{_NOTE}# Instructions\n\n{isa.__doc__.split(chr(10), 2)[2].strip()}\n\n"
    used = {opcode: [f.name for f in isa.FIELDS if opcode in f.opcodes] for opcode in isa.Opcode}
    text += table(["opcode", "code", "fields"], [[o.name, int(o), ", ".join(used[o])] for o in isa.Opcode])
    text += "\n## Fields\n\n"
    text += table(["field", "word", "bits", "meaning"],
                   [[f.name, f.word, f"{f.lsb + f.width - 1}..{f.lsb}", f.doc] for f in isa.FIELDS])
    for values in (isa.Region, isa.RowSource, isa.Operand, isa.WeightSource, isa.Activation, isa.Destination,
                   isa.Saturation, isa.Peak):
        text += f"\n## {values.__name__}\n\n{values.__doc__}\n\n"
        text += table(["name", "value"], [[value.name, int(value)] for value in values])
    return text


def _log_fields() -> str:
    """The highest first, with their bits."""
    places, lsb = [], 0
    for name, bits in PASS_LOG_FIELDS.items():
        places.append(f"{name} {lsb + bits - 1}..{lsb}")
        lsb += bits
    return ", ".join(reversed(places))


def registers() -> str:
    text = (f"{_NOTE}# Registers\n\nAXI4-Lite, 32-bit data, an aperture of {APERTURE} bytes. Access: r (hardware's), "
            "rw (host's), w1c (hardware sets, the host clears), w1s (command). Reads have no side effects.\n\n")
    text += table(["offset", "register", "access", "meaning"],
                   [[f"0x{r.offset:03X}", r.name, r.access, r.doc] for r in REGISTERS])
    text += (f"\nPass log: {PASS_LOG_ENTRIES} entries of two words from 0x{PASS_LOG:X}, one per finished instruction: "
             f"the cycle of its end; then {_log_fields()}.\n")
    text += "\n## Counters\n\n" + table(["counter", "counts"], [[name, doc] for name, doc in COUNTERS])
    text += "\n## Error codes\n\n" + table(["code", "name"], [[int(code), code.name] for code in ErrorCode])
    return text


def configurations() -> str:
    text = f"{_NOTE}# Configurations and networks\n\n"
    text += table(["array (k x n)", "MACs per cycle", "bus bytes", "ports", "tokens", "experts", "gate sweeps",
                    "residual, hidden, kv words", "prefetch beats", "tile beats a cycle", "NORM words a cycle", "hash"],
                   [[c.name, c.macs_per_cycle, c.bus_bytes, f"{c.ports} x {8 * c.port_bytes} bits", c.max_tokens,
                     c.max_experts, c.gate_sweeps, f"{c.residual_words}, {c.hidden_words}, {c.kv_words}",
                     c.prefetch_beats, c.tile_beats, c.norm_words, f"0x{c.hash:08X}"]
                    for c in CONFIGS.values()])
    text += "\n" + table(["network", "image", "patch", "tokens", "dim", "heads", "blocks", "hidden", "experts",
                           "expert hidden", "tasks"],
                          [[n.name, f"{n.height} x {n.width}", n.patch, n.tokens, n.dim, n.heads, n.depth, n.hidden,
                            f"{n.experts}, top {n.top_k}" if n.experts else "none", n.expert_hidden or "",
                            ", ".join(n.tasks)] for n in NETWORKS.values()])
    text += ("\nBoards: budgets are the devices'; the usable share of the memory and the clock are assumptions.\n\n")
    text += table(["board", "part", "array", "memory GB/s, usable", "clock MHz (assumed)", "bus beats per cycle",
                    "BRAM36", "URAM", "DSP", "LUT", "FF"],
                   [[b.name, b.part, b.config, f"{b.memory_gbs}, {b.usable:.0%}", f"{b.clock_mhz:g}",
                     f"{b.bandwidth(CONFIGS[b.config]):.3f}", b.bram36, b.uram, b.dsp, f"{b.lut:,}", f"{b.ff:,}"]
                    for b in BOARDS.values()])
    return text


#: File name in docs/ and the function that makes its text.
DOCUMENTS = {"formats.md": formats, "instructions.md": instructions, "registers.md": registers,
             "configurations.md": configurations}
