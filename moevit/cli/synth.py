# SPDX-License-Identifier: Apache-2.0
"""``moevit synth``: Yosys cell counts of every hardware unit and of whole machines."""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

import typer

from moevit.rtl_gen.area import TOP, report
from moevit.rtl_gen.synth import made, units
from moevit.rtl_gen.targets import TARGETS, Target
from moevit.rtl_gen.yosys import Resources, SynthesisError, cells, component_rtlil, resources
from moevit.spec.arrays import CONFIGS
from moevit.spec.boards import BOARDS

from .screen import say, told
from .stages import Stage, Stages

_GENERATING = threading.Lock()


def synth(
    output: Annotated[Path, typer.Option("--output", "-o", help="file to write")] = Path("docs/area.md"),
    jobs: Annotated[int, typer.Option(min=1, help="Yosys processes at a time")] = 2,
    board: Annotated[list[str] | None, typer.Option(help="count for this board alone (may be repeated)")] = None,
    config: Annotated[list[str] | None, typer.Option(help="count this configuration alone (may be repeated)")] = None,
    whole: Annotated[bool, typer.Option(help="synthesise whole machines too")] = True,
) -> None:
    """Count the cells of every unit. Unchanged units come from build/synth. The page lists what was left out."""
    targets, left_out = _chosen(board or (), config or (), whole)
    work = [(target, unit) for target in targets for unit in (*units(target.config), *([TOP] if target.whole else []))]
    with told(OSError, SynthesisError):
        stages = Stages(output)
        with stages.stage("synthesise", len(work)) as stage:
            counts = _counted(work, jobs, stage)
        output.write_text(report(targets, counts, left_out))
    say(f"{output} written")


def _counted(work: Sequence[tuple[Target, str]], jobs: int, stage: Stage) -> dict[str, dict[str, Resources]]:
    """Cells by target and unit. Raises SynthesisError, which names the unit."""

    def count(target: Target, unit: str) -> Resources:
        with _GENERATING:  # Amaranth is not thread-safe
            text = component_rtlil(made(unit, target.config))
        found = resources(cells(text, target.synthesis, Path("build") / "synth"))
        stage.step(f"{target.name}, {unit}")
        return found

    counts: dict[str, dict[str, Resources]] = {}
    with ThreadPoolExecutor(jobs) as pool:
        futures = [pool.submit(count, *item) for item in work]
        for (target, unit), future in zip(work, futures, strict=True):
            try:
                counts.setdefault(target.name, {})[unit] = future.result()
            except BaseException as error:
                pool.shutdown(wait=False, cancel_futures=True)
                if isinstance(error, SynthesisError):
                    raise SynthesisError(f"{target.name}, {unit}: {error}") from error
                raise
    return counts


def _chosen(boards: Sequence[str], configs: Sequence[str], whole: bool) -> tuple[list[Target], list[str]]:
    """The targets to count, and the names of those left out. Raises BadParameter for an unknown board or
    configuration."""
    for what, names, known in (("board", boards, [target.board.name for target in TARGETS]),
                               ("configuration", configs, [target.config.name for target in TARGETS])):
        if unknown := set(names) - set(known):
            raise typer.BadParameter(f"no {what} is called {', '.join(sorted(unknown))}; there are "
                                     f"{', '.join(dict.fromkeys(known))}")
    chosen = [target for target in TARGETS if target.board.name in (boards or BOARDS)
              and target.config.name in (configs or CONFIGS)]
    if not chosen:
        raise typer.BadParameter("no target has both that board and that configuration")
    left_out = [target.name for target in TARGETS if target not in chosen]
    if not whole:
        left_out += [f"the whole of {target.name} at once" for target in chosen if target.whole]
        chosen = [target._replace(whole=False) for target in chosen]
    return chosen, left_out
