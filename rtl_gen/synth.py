# SPDX-License-Identifier: Apache-2.0
"""``python -m moevit.rtl_gen.synth``: Yosys cell counts of every hardware unit, into ``docs/area.md``."""

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, NamedTuple

import typer
from amaranth.lib.wiring import Component
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from moevit.hw.array.compute import Compute
from moevit.hw.array.lane import DSP48E1, DSP48E2, WEIGHT_BITS, Packing, sum_bits
from moevit.hw.bus.read_master import ReadMaster
from moevit.hw.bus.spread_read import SpreadRead
from moevit.hw.bus.spread_write import SpreadWrite
from moevit.hw.bus.write_master import WriteMaster
from moevit.hw.control.controller import Controller
from moevit.hw.control.dispatch import Dispatch
from moevit.hw.loader.loader import Loader
from moevit.hw.memories import Memories
from moevit.hw.reader.row_reader import RowReader
from moevit.hw.router.router import Router
from moevit.hw.writer.row_writer import RowWriter
from moevit.spec.arrays import CONFIGS, MachineConfig
from moevit.spec.formats import OPERAND_BITS

from .yosys import Resources, SynthesisError, cells, component_rtlil, resources

__all__ = ["FAMILIES", "UNITS", "Family", "folded", "report"]

ROOT = Path(__file__).resolve().parent.parent
_GENERATING = threading.Lock()


class Family(NamedTuple):
    """A device family, the configurations counted for it, its multiplier and the Yosys command."""

    title: str
    configs: tuple[str, ...]
    packing: Packing
    synthesis: str


FAMILIES = (
    Family("UltraScale+", ("16x16", "32x32"), DSP48E2, "synth_xilinx -family xcup -uram -noiopad -noclkbuf"),
    Family("7-series", ("16x16",), DSP48E1, "synth_xilinx -family xc7 -noiopad -noclkbuf"),
)

#: The machine's units by their name in ``hw.top``, each made from the configuration and the family. Those that spread
#: the bus are in configurations with several ports.
UNITS: dict[str, Callable[[MachineConfig, Family], Component]] = {
    "compute": lambda config, family: Compute(config, family.packing),
    "reader": lambda config, family: RowReader(config),
    "writer": lambda config, family: RowWriter(config),
    "router": lambda config, family: Router(config),
    "loader": lambda config, family: Loader(config),
    "memories": lambda config, family: Memories(config),
    "read_master": lambda config, family: ReadMaster(config),
    "write_master": lambda config, family: WriteMaster(config),
    "spread_read": lambda config, family: SpreadRead(config.bus_bytes, config.ports),
    "spread_write": lambda config, family: SpreadWrite(config.bus_bytes, config.ports),
    "dispatch": lambda config, family: Dispatch(),
    "controller": lambda config, family: Controller(config),
}


def folded(config: MachineConfig, packing: Packing) -> int:
    """Flip-flops of the array that have their place inside the DSP slices: weights, operand, products and chain."""
    columns = 2 if config.packed else 1
    product = sum_bits(1) + (packing.shift if config.packed else 0)
    each = columns * WEIGHT_BITS + OPERAND_BITS + (packing.port if config.packed else 0) + product
    chains = sum(product - sum_bits(1) + sum_bits(position + 1) for position in range(packing.group))
    multipliers = config.macs_per_cycle // columns
    return multipliers * each + multipliers // packing.group * chains


_HEADER = ("unit", "DSP", "BRAM36", "URAM", "LUT", "LUT as memory", "FF", "CARRY4")
_INTRODUCTION = """\
# Area

Cells per unit, counted by Yosys ({version}). Written by `make synth` (`python -m moevit.rtl_gen.synth`); committed so
that a change of area shows in review. What the figures are not:

- They are counts after technology mapping. Nothing was placed or routed, Vivado did not run, and no clock is implied.
- Every unit is synthesised on its own and flattened. The columns of the array are all alike: one is synthesised and
  counted as often as it is used.
- LUT counts include inverters, which mostly disappear; a LUT pair that shares a LUT6 counts twice.
- For UltraScale+ Yosys puts only the bare multiplier into a DSP48E2. The array's weight, operand, product and chain
  registers and the adders of its chains and pairs stay in flip-flops, LUTs and carries, so these columns of `compute`
  are an upper bound. The slice has room for all of them; how many flip-flops that is, is said below each table. For
  7-series Yosys does fold them (except the weights), as the table of that family shows.
- A DSP slice of the array does two products per cycle (`packed`), one in the other units.
- Memories are mapped to UltraRAM where Yosys finds them large enough, and cost LUTs where several of them in depth
  need a multiplexer.
"""


def _number(value: float) -> str:
    return f"{value:,.1f}" if value % 1 else f"{value:,.0f}"


def report(counts: Mapping[tuple[str, str], Mapping[str, Resources]]) -> str:
    """``docs/area.md`` from the resources by (family, config) and unit."""
    parts = [_INTRODUCTION.format(version=f"pyosys {version('pyosys')}")]
    for family in FAMILIES:
        for name in family.configs:
            units = counts[family.title, name]
            total = Resources()
            for each in units.values():
                total = total.plus(each)
            rows = [_HEADER, ("---", *["---:"] * (len(_HEADER) - 1))]
            rows += [(f"`{unit}`", *map(_number, each)) for unit, each in units.items()]
            rows.append(("**all**", *map(_number, total)))
            array = units["compute"].dsp
            inside = folded(CONFIGS[name], family.packing)
            parts.append("\n".join([
                f"## {name}, {family.title} (`{family.synthesis}`)\n",
                *(f"| {' | '.join(row)} |" for row in rows),
                f"\nDSP slices outside the array: {total.dsp - array}, {100 * (total.dsp / array - 1):.0f} % of the "
                f"array's. Flip-flops of the array for which its {array:,} slices have registers: {inside:,}.\n",
            ]))
    return "\n".join(parts)


def main(
    output: Annotated[Path, typer.Option("--output", "-o", help="file to write")] = ROOT / "docs" / "area.md",
    jobs: Annotated[int, typer.Option(help="Yosys processes at a time")] = 2,
) -> None:
    """Count the cells of every unit; what has not changed since the last run comes from build/synth."""
    console = Console()
    work = [(family, name, unit) for family in FAMILIES for name in family.configs for unit in UNITS]
    counts: dict[tuple[str, str], dict[str, Resources]] = {}
    columns = (SpinnerColumn(), TextColumn("{task.description}"), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress, ThreadPoolExecutor(jobs) as pool:
        task = progress.add_task("Synthesis", total=len(work))

        def count(family: Family, name: str, unit: str) -> Resources:
            with _GENERATING:  # Amaranth is not made for threads
                text = component_rtlil(UNITS[unit](CONFIGS[name], family))
            found = resources(cells(text, family.synthesis, ROOT / "build" / "synth"))
            progress.advance(task)
            return found

        futures = [pool.submit(count, *item) for item in work]
        try:
            for (family, name, unit), future in zip(work, futures, strict=True):
                counts.setdefault((family.title, name), {})[unit] = future.result()
        except SynthesisError as error:
            pool.shutdown(cancel_futures=True)
            console.print(f"{name} {unit}, {family.title}: {error}", style="red")
            raise typer.Exit(1) from error
    output.write_text(report(counts))
    console.print(f"{output} written")


if __name__ == "__main__":
    typer.run(main)
