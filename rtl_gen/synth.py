# SPDX-License-Identifier: Apache-2.0
"""``python -m moevit.rtl_gen.synth``: Yosys cell counts of every hardware unit, and of whole machines, into
``docs/area.md``."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

import typer
from amaranth.lib.wiring import Component
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from moevit.hw.array.compute import Compute
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
from moevit.hw.top import Accelerator
from moevit.hw.writer.row_writer import RowWriter
from moevit.spec.arrays import CONFIGS, MachineConfig
from moevit.spec.boards import BOARDS

from .area import TOP, report
from .targets import TARGETS, Target
from .yosys import Resources, SynthesisError, cells, component_rtlil, resources

__all__ = ["UNITS", "made", "units"]

ROOT = Path(__file__).resolve().parent.parent
_GENERATING = threading.Lock()


#: The machine's units by their name in ``hw.top``, each made from the configuration. Those that spread the bus are in
#: configurations with several ports (`units`).
UNITS: dict[str, Callable[[MachineConfig], Component]] = {
    "compute": lambda config: Compute(config),
    "reader": lambda config: RowReader(config),
    "writer": lambda config: RowWriter(config),
    "router": lambda config: Router(config),
    "loader": lambda config: Loader(config),
    "memories": lambda config: Memories(config),
    "read_master": lambda config: ReadMaster(config),
    "write_master": lambda config: WriteMaster(config),
    "spread_read": lambda config: SpreadRead(config.bus_bytes, config.ports),
    "spread_write": lambda config: SpreadWrite(config.bus_bytes, config.ports),
    "dispatch": lambda config: Dispatch(),
    "controller": lambda config: Controller(config),
}


def units(config: MachineConfig) -> tuple[str, ...]:
    """Names of the units that ``config`` has."""
    return tuple(unit for unit in UNITS if config.ports > 1 or not unit.startswith("spread_"))


def made(unit: str, config: MachineConfig) -> Component:
    """A unit, or the whole machine (`TOP`)."""
    return Accelerator(config) if unit == TOP else UNITS[unit](config)


def _chosen(boards: Sequence[str], configs: Sequence[str], whole: bool) -> tuple[list[Target], list[str]]:
    """What is counted, and what is left out. Raises BadParameter for a board or a configuration that is no class."""
    for what, names, known in (("board", boards, [target.board.name for target in TARGETS]),
                               ("configuration", configs, [target.config.name for target in TARGETS])):
        if unknown := set(names) - set(known):
            raise typer.BadParameter(f"no {what} of a class is called {', '.join(sorted(unknown))}; there are "
                                     f"{', '.join(dict.fromkeys(known))}")
    chosen = [target for target in TARGETS if target.board.name in (boards or BOARDS)
              and target.config.name in (configs or CONFIGS)]
    if not chosen:
        raise typer.BadParameter("no class has both that board and that configuration")
    left_out = [target.name for target in TARGETS if target not in chosen]
    if not whole:
        left_out += [f"the whole of {target.name} at once" for target in chosen if target.whole]
        chosen = [target._replace(whole=False) for target in chosen]
    return chosen, left_out


def main(
    output: Annotated[Path, typer.Option("--output", "-o", help="file to write")] = ROOT / "docs" / "area.md",
    jobs: Annotated[int, typer.Option(min=1, help="Yosys processes at a time")] = 2,
    board: Annotated[list[str] | None, typer.Option(help="count for this board alone (may be repeated)")] = None,
    config: Annotated[list[str] | None, typer.Option(help="count this configuration alone (may be repeated)")] = None,
    whole: Annotated[bool, typer.Option(help="synthesise whole machines too")] = True,
) -> None:
    """Count the cells of every unit; what has not changed since the last run comes from build/synth. The page says what
    was left out."""
    console = Console()
    output.parent.mkdir(parents=True, exist_ok=True)
    targets, left_out = _chosen(board or (), config or (), whole)
    work = [(target, unit) for target in targets for unit in (*units(target.config), *([TOP] if target.whole else []))]
    counts: dict[str, dict[str, Resources]] = {}
    columns = (SpinnerColumn(), TextColumn("{task.description}"), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress, ThreadPoolExecutor(jobs) as pool:
        task = progress.add_task("Synthesis", total=len(work))

        def count(target: Target, unit: str) -> Resources:
            with _GENERATING:  # Amaranth is not made for threads
                text = component_rtlil(made(unit, target.config))
            found = resources(cells(text, target.synthesis, ROOT / "build" / "synth"))
            progress.advance(task)
            return found

        futures = [pool.submit(count, *item) for item in work]
        try:
            for (target, unit), future in zip(work, futures, strict=True):
                counts.setdefault(target.name, {})[unit] = future.result()
        except SynthesisError as error:
            pool.shutdown(cancel_futures=True)
            console.print(f"{target.name}, {unit}: {error}", style="red")
            raise typer.Exit(1) from error
    output.write_text(report(targets, counts, left_out))
    console.print(f"{output} written")


if __name__ == "__main__":
    typer.run(main)
