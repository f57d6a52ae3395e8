# SPDX-License-Identifier: Apache-2.0
"""``moevit timing``: the longest paths of every hardware unit by our own static timing analysis."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from moevit.rtl_gen.ecp5 import CONFIG as PLACED
from moevit.rtl_gen.synth import made, units
from moevit.rtl_gen.targets import Target
from moevit.rtl_gen.timing.calibrate import calibration, placed_units
from moevit.rtl_gen.timing.classes import CLASSES, TimingClass
from moevit.rtl_gen.timing.document import merged, read_document, write_document
from moevit.rtl_gen.timing.mapped import mapped, netlist_key
from moevit.rtl_gen.timing.measure import measure
from moevit.rtl_gen.timing.netlist import read_netlist
from moevit.rtl_gen.timing.report import report
from moevit.rtl_gen.timing.sources import Sources
from moevit.rtl_gen.yosys import SynthesisError, component_rtlil
from moevit.spec.boards import BOARDS

from .screen import say, told
from .stages import Stages

_CACHE = Path("build") / "timing"


def timing(
    output: Annotated[Path, typer.Option("--output", "-o", dir_okay=False,
                                         help="page; its figures are beside it, in .json")] = Path("docs/timing.md"),
    board: Annotated[list[str] | None, typer.Option(help="measure this board alone (may be repeated)")] = None,
    unit: Annotated[list[str] | None, typer.Option(help="measure this unit alone (may be repeated)")] = None,
    calibrate: Annotated[bool, typer.Option(help="compare the model with the placed units of docs/ecp5.md")] = True,
    only_page: Annotated[bool, typer.Option("--only-page", help="write the page from the figures as they are")] = False,
) -> None:
    """Measure the longest paths of every unit (hours; netlists are kept in build/timing). Each unit is written when it
    is done, so a run that was stopped goes on. Units that are not chosen keep their figures."""
    with told(OSError, SynthesisError):
        document = read_document(output.with_suffix(".json"))
        if not only_page:
            work = _chosen(board or (), unit or ())
            stages = Stages(output)
            with stages.stage("measure", len(work)) as stage:
                for kind, name in work:
                    stage(f"{name} of {kind.config} for {kind.board}")
                    document = merged(document, kind, _measured(kind, name))
                    _write(output, document)
                    stage.step()
            if calibrate:
                with stages.stage("calibrate", len(units(PLACED))) as stage:
                    placed = placed_units(Path("docs/ecp5.md").read_text())
                    ours = {}
                    for name in units(PLACED):
                        stage(name)
                        ours[name] = _model_ns(name)
                        stage.step()
                    document = {**document, "calibration": calibration(ours, placed)}
        _write(output, document)
    say(f"{output} written")


def _write(page: Path, document: Mapping[str, Any]) -> None:
    write_document(page.with_suffix(".json"), document)
    page.write_text(report(document))


def _chosen(boards: Sequence[str], names: Sequence[str]) -> list[tuple[TimingClass, str]]:
    """Raises BadParameter for a board or a unit that no class has."""
    known = list(dict.fromkeys(unit for kind in CLASSES for unit in kind.units))
    for what, given, possible in (("board", boards, list(BOARDS)), ("unit", names, known)):
        if unknown := set(given) - set(possible):
            raise typer.BadParameter(f"no {what} is called {', '.join(sorted(unknown))}; "
                                     f"there are {', '.join(possible)}")
    chosen = [(kind, unit) for kind in CLASSES if kind.board in (boards or BOARDS)
              for unit in kind.units if unit in (names or known)]
    if not chosen:
        raise typer.BadParameter("no chosen board has a chosen unit")
    return chosen


def _measured(kind: TimingClass, name: str) -> dict[str, Any]:
    """A unit's entry in the document. Raises SynthesisError, naming the unit."""
    component = made(name, kind.target.config)
    text = component_rtlil(component)
    try:
        netlist = read_netlist(mapped(text, kind.target.synthesis, _CACHE))
        found = measure(netlist, kind, Sources(made(name, kind.target.config)))
    except SynthesisError as error:
        raise SynthesisError(f"{name} of {kind.config} for {kind.board}: {error}") from error
    return {"unit": name, "netlist": netlist_key(text, kind.target.synthesis), **found}


def _model_ns(name: str) -> float:
    """Longest path of a unit of the machine that is placed on an ECP5, at ports too."""
    kind = CLASSES[-1]._replace(target=Target(BOARDS["zcu104"], PLACED))
    text = component_rtlil(made(name, PLACED))
    found = measure(read_netlist(mapped(text, kind.target.synthesis, _CACHE)), kind)
    return max(found["worst_ns"], found["ports"]["worst_ns"])
