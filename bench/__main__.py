# SPDX-License-Identifier: Apache-2.0
"""``python -m moevit.bench``: run the rows of the table on the RTL; write JSON, pictures and the documents."""

import json
import shutil
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from moevit.host.errors import AccelError
from moevit.spec.output import make_room

from .frame import Frame, measure
from .pictures import gantt, where_cycles_went
from .report import FRAME, TOKENS, document, readme_with
from .rows import ROWS
from .tokens import lengths, picture

ROOT = Path(__file__).resolve().parent.parent
DIFFERENT = 3  # exit code if a value is not the integer model's

console = Console()


def main(
    output: Annotated[Path, typer.Option("--output", "-o", file_okay=False, help=(
        "folder for bench.json, and for bench/ with pictures and what is kept"))] = ROOT / "build",
    row: Annotated[list[str] | None, typer.Option(
        help=f"row to run; all if left out: {', '.join(each.name for each in ROWS)}")] = None,
    fast: Annotated[bool, typer.Option("--fast", help="only the quickest row")] = False,
) -> None:
    """Measure whole networks; with all rows also write docs/performance.md and the README's table."""
    known = {each.name: each for each in ROWS}
    if row and fast:
        raise typer.BadParameter("--fast is the quickest row: leave out --row")
    for name in row or ():
        if name not in known:
            raise typer.BadParameter(f"no row is called {name!r}; there are {', '.join(known)}")
    chosen = [known[name] for name in row] if row else list(ROWS[:1] if fast else ROWS)
    root = output / "bench"
    try:
        make_room(root / "performance.md")
    except OSError as error:
        raise typer.BadParameter(str(error), param_hint="--output") from error
    frames: list[Frame] = []
    columns = (TextColumn("{task.description:<24}"), TextColumn("{task.fields[state]:<26}"), BarColumn(),
               TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        for each in chosen:
            bar = progress.add_task(each.name, total=1.0, state="")

            def show(state: str, share: float, bar: TaskID = bar) -> None:
                progress.update(bar, state=state, completed=min(share, 1.0))

            try:
                frame = measure(each, root, show)
            except AccelError as error:
                console.print(f"{each.name}: {error}", style="red", markup=False, soft_wrap=True)
                raise typer.Exit(1) from error
            figures = frame.figures
            progress.update(bar, completed=1.0, state=f"{figures['cycles']:,} cycles, {figures['ms']:.2f} ms")
            gantt(frame, root / f"{each.name}.png")
            frames.append(frame)
    rows = [frame.figures for frame in frames]
    where_cycles_went(frames, root / "cycles.png")
    picture(lengths(), rows, root / "tokens.png")
    (output / "bench.json").write_text(json.dumps(rows, indent=1) + "\n")
    (root / "performance.md").write_text(document(rows))
    console.print(f"{output / 'bench.json'}; performance.md and pictures are in {root}/", highlight=False,
                  soft_wrap=True)
    if chosen == list(ROWS):
        for made, shown in ((f"{FRAME}.png", FRAME), ("tokens.png", TOKENS)):
            shutil.copyfile(root / made, ROOT / "docs" / "pictures" / f"{shown}.png")
        (ROOT / "docs" / "performance.md").write_text(document(rows))
        readme = ROOT / "README.md"
        readme.write_text(readme_with(readme.read_text(), rows))
    different = [each.name for each, frame in zip(chosen, frames, strict=True) if not frame.figures["bit_exact"]]
    if different:
        console.print(f"values differ from the integer model: {', '.join(different)}", style="red")
        raise typer.Exit(DIFFERENT)


if __name__ == "__main__":
    typer.run(main)
