# SPDX-License-Identifier: Apache-2.0
"""``docs/area.md``: cells by Yosys, beside the budgets of the boards."""

from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version

from moevit.hw.array.lane import WEIGHT_BITS, packing_of, sum_bits
from moevit.spec.arrays import MachineConfig
from moevit.spec.formats import OPERAND_BITS

from .targets import Target
from .yosys import Resources

__all__ = ["TOP", "folded", "report"]

#: Name of the whole machine among the counts of its units.
TOP = "top"

_HEADER = ("unit", "DSP", "BRAM36", "URAM", "LUT", "LUT as memory", "FF", "CARRY4")
_INTRODUCTION = """\
# Area

Cells per unit for every board, counted by Yosys ({version}). Written by `make synth`
(`moevit synth`); committed so that a change of area shows in review. What the figures are not:

- They are counts after technology mapping. Nothing was placed or routed, Vivado did not run, and no clock is implied.
- Every unit is synthesised on its own and flattened. The columns of the array are all alike: one is synthesised and
  counted as often as it is used. Where the whole machine was synthesised at once, all but the columns flattened, its
  counts are below the sum of the units'.
- LUT counts include inverters, which mostly disappear; a LUT pair that shares a LUT6 counts twice.
- For UltraScale+ Yosys puts only the bare multiplier into a DSP48E2. The array's weight, operand, product and chain
  registers and the adders of its chains and pairs stay in flip-flops, LUTs and carries, so these columns of `compute`
  are an upper bound. The slice has room for all of them; how many flip-flops that is, is said below each table. For
  7-series Yosys does fold them (except the weights), as the table of that family shows.
- A DSP slice of the array does two products per cycle (`packed`), one in the other units.
- Memories are mapped to UltraRAM where the board has it and Yosys finds them large enough, and cost LUTs where several
  of them in depth need a multiplexer. Yosys knows no number of UltraRAMs to stop at.
- A share of LUTs is that of LUTs and LUTs as memory. The budgets are the devices'; a board's interconnect, DMA and
  processor ports are not in the figures.
{missing}
| board | machine | DSP | BRAM36 | URAM | LUT | FF |
| --- | --- | ---: | ---: | ---: | ---: | ---: |
"""


def folded(config: MachineConfig) -> int:
    """Flip-flops of the array that fit inside the DSP slices: weights, operand, products and chain."""
    columns, packing = 2 if config.packed else 1, packing_of(config)
    product = sum_bits(1) + (packing.shift if config.packed else 0)
    each = columns * WEIGHT_BITS + OPERAND_BITS + (packing.port if config.packed else 0) + product
    chains = sum(product - sum_bits(1) + sum_bits(position + 1) for position in range(packing.group))
    multipliers = config.macs_per_cycle // columns
    return multipliers * each + multipliers // packing.group * chains


def _number(value: float) -> str:
    return f"{value:,.1f}" if value % 1 else f"{value:,.0f}"


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |\n"


def _shares(target: Target, total: Resources) -> list[str]:
    """DSP, BRAM36, URAM, LUT and FF: used, available on the board, and the share."""
    board = target.board
    pairs = ((total.dsp, board.dsp), (total.bram, board.bram36), (total.uram, board.uram),
             (total.lut + total.memory_lut, board.lut), (total.ff, board.ff))
    return [f"{_number(used)} of {have:,}" + (f", {100 * used / have:.0f} %" if have else "") for used, have in pairs]


def _section(target: Target, counts: Mapping[str, Resources]) -> str:
    units = {name: each for name, each in counts.items() if name != TOP}
    total = Resources()
    for each in units.values():
        total = total.plus(each)
    rows = [_HEADER, ("---", *["---:"] * (len(_HEADER) - 1))]
    rows += [(f"`{unit}`", *map(_number, each)) for unit, each in units.items()]
    rows.append(("**all**", *map(_number, total)))
    if TOP in counts:
        rows.append(("the whole at once", *map(_number, counts[TOP])))
    array, inside = units["compute"].dsp, folded(target.config)
    return (
        f"\n## {target.config.name} for {target.board.name}, {target.family} (`{target.synthesis}`)\n\n"
        + "".join(_row(*row) for row in rows)
        + f"\nDSP slices outside the array: {_number(total.dsp - array)}, {100 * (total.dsp / array - 1):.0f} % of the "
          f"array's. Flip-flops of the array for which its {_number(array)} slices have registers: {inside:,}.\n")


def report(targets: Iterable[Target], counts: Mapping[str, Mapping[str, Resources]],
           left_out: Sequence[str] = ()) -> str:
    """``docs/area.md`` from the resources by target and unit; `TOP` is the whole machine."""
    missing = f"\n**Not counted this time:** {', '.join(left_out)}.\n" if left_out else ""
    text, sections = _INTRODUCTION.format(version=f"pyosys {version('pyosys')}", missing=missing), []
    for target in targets:
        found = counts[target.name]
        total = Resources()
        for unit, each in found.items():
            total = total.plus(each, int(unit != TOP))
        text += _row(target.board.name, target.config.name, *_shares(target, total))
        sections.append(_section(target, found))
    return text + "".join(sections)
