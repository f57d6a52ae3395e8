# SPDX-License-Identifier: Apache-2.0
"""``moevit bitstream``, ``ooc``, ``vivado``, ``config``: a bitstream for a board, the core out of context, or only the
files for Vivado."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from moevit.rtl_gen.machine import machine_rtl
from moevit.rtl_gen.vivado.build import Build
from moevit.rtl_gen.vivado.exits import ExitCode, VivadoError
from moevit.rtl_gen.vivado.preflight import check_machine, check_path, find_vivado
from moevit.rtl_gen.vivado.settings import Preset
from moevit.spec.arrays import CONFIGS
from moevit.spec.boards import BOARDS, Board

from .parse import ClockOption
from .screen import board_named, config_named, console, errors, say
from .stages import Stages


def _known_board(name: str) -> str:
    return board_named(name).name


def _known_config(name: str | None) -> str | None:
    return config_named(name).name if name is not None else None


BoardOption = Annotated[str, typer.Option(callback=_known_board, help=f"board: {', '.join(BOARDS)}")]
ConfigOption = Annotated[str | None, typer.Option(callback=_known_config,
                                                  help="array configuration; the board's own if left out")]
OutputOption = Annotated[Path | None, typer.Option("--output", "-o", help="folder; build/vivado/BOARD if left out")]
PresetOption = Annotated[Preset, typer.Option(help="processor settings: the board's files, our own list, or files "
                                                   "where Vivado has them")]
JobsOption = Annotated[int, typer.Option(min=1, help="runs at a time")]
ForceOption = Annotated[bool, typer.Option("--force", help="build although disk or memory seem short")]


def _fail(error: VivadoError) -> typer.Exit:
    errors.print(str(error), style="red", markup=False, highlight=False, soft_wrap=True)
    return typer.Exit(int(error.code))


@contextmanager
def _written(board: str, config: str | None, output: Path | None, clock: float | None, preset: Preset, jobs: int, *,
             check: Callable[[Board, Path], None] = lambda board, folder: None) -> Iterator[Build]:
    """A build in its folder, with its sources. ``check`` runs before the Verilog is generated, which takes a minute."""
    chosen = config or BOARDS[board].config
    folder = (output or Path("build") / "vivado" / board).resolve()
    if unsuited := BOARDS[board].unsuited(CONFIGS[chosen]):
        raise VivadoError(ExitCode.DOES_NOT_FIT, f"{chosen} has {unsuited}")
    check_path(folder)
    check(BOARDS[board], folder)
    with Stages().stage("generate") as stage:
        rtl = machine_rtl(CONFIGS[chosen])
        stage.result = chosen
    build = Build(folder, BOARDS[board].at(clock), CONFIGS[chosen], rtl, preset=preset, jobs=jobs)
    with build.written():
        yield build


def _preflight(force: bool) -> tuple[str, Callable[[Board, Path], None]]:
    """Vivado's path, and the check of disk and memory; with ``force``, a check that does nothing."""
    vivado, version = find_vivado()
    say(f"{vivado}, version {version}")
    return vivado, (lambda board, folder: None) if force else check_machine


def _watched(vivado: str, step: Callable[[str, Callable[[str], None]], dict[str, Any]]) -> dict[str, Any]:
    """Run a step. A terminal shows Vivado's latest line of progress; a file gets every line."""
    with console.status("Vivado") as status:
        show = status.update if console.is_terminal else partial(console.print, highlight=False, soft_wrap=True)
        return step(vivado, lambda line: show(escape(f"Vivado: {line[:100]}")))


def _probe(build: Build, vivado: str) -> None:
    found = _watched(vivado, build.probe)
    say(f"{build.settings['part']}, licensed; processor settings: "
        f"{found.get('board_part') or 'our own, no board files'}")


def _print(report: dict[str, Any]) -> None:
    table = Table(show_header=False, box=None)
    for key, value in report.items():
        if key == "tried":
            value = "; ".join(f"{each['asked']:g} MHz {each['wns']:g} ns" for each in value)
        elif isinstance(value, dict):
            value = ", ".join(f"{name} {each}" for name, each in value.items())
        table.add_row(key, str(value))
    console.print(table)


def _clock(report: dict[str, Any]) -> str:
    """Which clock a design closed at, and which did not close."""
    missed = ", ".join(f"{each['asked']:g}" for each in report["tried"][:-1])
    return (f" for {report['clock_mhz_closed']:g} MHz ({report['clock_mhz']} reached)"
            + (f"; timing did not close at {missed} MHz" if missed else ""))


def bitstream(board: BoardOption, config: ConfigOption = None, output: OutputOption = None, clock: ClockOption = None,
          preset: PresetOption = Preset.AUTO, jobs: JobsOption = 2, force: ForceOption = False) -> None:
    """Build NAME.bit, NAME.hwh, reports and build.json, for the fastest clock that closes. Exit codes: docs/vivado.md.

    If timing does not close at the clock asked for, lower ones are tried.
    """
    try:
        vivado, check = _preflight(force)
        with _written(board, config, output, clock, preset, jobs, check=check) as made:
            report = made.finished()
            if report is None:
                _probe(made, vivado)
                report = _watched(vivado, made.bitstream)
    except VivadoError as error:
        raise _fail(error) from error
    _print(report)
    say(f"{made.folder / made.name}.bit, .hwh{_clock(report)}")


def ooc(board: BoardOption, config: ConfigOption = None, output: OutputOption = None, clock: ClockOption = None,
        force: ForceOption = False) -> None:
    """Synthesise, place and route the core alone. Writes ooc.json and reports."""
    try:
        vivado, check = _preflight(force)
        with _written(board, config, output, clock, Preset.OWN, 1, check=check) as made:
            _probe(made, vivado)
            report = _watched(vivado, made.out_of_context)
    except VivadoError as error:
        raise _fail(error) from error
    _print(report)
    say(f"{made.folder / 'ooc.json'}{_clock(report)}")


def prepare(board: BoardOption, config: ConfigOption = None, output: OutputOption = None, clock: ClockOption = None,
            preset: PresetOption = Preset.AUTO, jobs: JobsOption = 2) -> None:
    """Write only the folder, for a computer that has Vivado."""
    try:
        with _written(board, config, output, clock, preset, jobs) as made:
            folder = made.folder
    except VivadoError as error:
        raise _fail(error) from error
    say(f"{folder}: in work/, run vivado -mode batch -source on ../tcl/probe.tcl, package_ip.tcl, build.tcl")


def config(board: BoardOption) -> None:
    """Print the name of the configuration that suits a board."""
    typer.echo(BOARDS[board].config)
