# SPDX-License-Identifier: Apache-2.0
"""``moevit bench``: measures the table's rows on the RTL and writes JSON, pictures and documents."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from moevit.bench.frame import FrameRun, measure
from moevit.bench.pictures import gantt, where_cycles_went
from moevit.bench.report import FRAME, TOKENS, document, readme_with
from moevit.bench.rows import ROWS, Row
from moevit.bench.tokens import lengths, picture
from moevit.host.errors import AccelError

from .screen import errors, say, told
from .stages import Stages

DIFFERENT = 3  # exit code if a value differs from the integer model


def bench(
    output: Annotated[Path, typer.Option("--output", "-o", file_okay=False, help=(
        "folder for bench.json, and for bench/ with pictures and what is kept"))] = Path("build"),
    row: Annotated[list[str] | None, typer.Option(
        help=f"row to run; all if left out: {', '.join(each.name for each in ROWS)}")] = None,
    fast: Annotated[bool, typer.Option("--fast", help="only the quickest row")] = False,
) -> None:
    """Measure whole networks; with all rows also write docs/performance.md and the README's table."""
    chosen = _chosen(row or (), fast)
    root = output / "bench"
    try:
        stages = Stages(root / "performance.md", output / "bench.json")
    except OSError as error:
        raise typer.BadParameter(str(error), param_hint="--output") from error
    frames: list[FrameRun] = []
    for each in chosen:

        def show(state: str, share: float, name: str = each.name) -> None:
            stages.show(f"{name}: {state}", min(share, 1.0))

        with told(AccelError), stages.stage("measure", 1) as stage:
            try:
                frame = measure(each, root, show)
            except AccelError as error:
                raise AccelError(f"{each.name}: {error}") from error
            stage.result = f"{each.name}: {frame.figures['cycles']:,} cycles, {frame.figures['ms']:.2f} ms"
        gantt(frame, root / f"{each.name}.png")
        frames.append(frame)
    rows = [frame.figures for frame in frames]
    where_cycles_went(frames, root / "cycles.png")
    picture(lengths(), rows, root / "tokens.png")
    (output / "bench.json").write_text(json.dumps(rows, indent=1) + "\n")
    (root / "performance.md").write_text(document(rows))
    say(f"{output / 'bench.json'}; performance.md and pictures are in {root}/")
    if chosen == list(ROWS):
        _publish(rows, root)
    different = [each.name for each, frame in zip(chosen, frames, strict=True) if not frame.figures["bit_exact"]]
    if different:
        errors.print(f"values differ from the integer model: {', '.join(different)}", style="red")
        raise typer.Exit(DIFFERENT)


def _chosen(names: Sequence[str], fast: bool) -> list[Row]:
    """The rows to run. Raises BadParameter."""
    known = {each.name: each for each in ROWS}
    if names and fast:
        raise typer.BadParameter("--fast is the quickest row: leave out --row")
    for name in names:
        if name not in known:
            raise typer.BadParameter(f"no row is called {name!r}; there are {', '.join(known)}")
    return [known[name] for name in names] if names else list(ROWS[:1] if fast else ROWS)


def _publish(rows: list[dict[str, Any]], root: Path) -> None:
    """Write the page of all rows, its pictures, and the README's table."""
    for made, shown in ((f"{FRAME}.png", FRAME), ("tokens.png", TOKENS)):
        shutil.copyfile(root / made, Path("docs") / "pictures" / f"{shown}.png")
    (Path("docs") / "performance.md").write_text(document(rows))
    readme = Path("README.md")
    readme.write_text(readme_with(readme.read_text(), rows))
