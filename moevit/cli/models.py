# SPDX-License-Identifier: Apache-2.0
"""``moevit models``: measures real pretrained networks, with labels and on the RTL, and writes JSON and a page."""

import json
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Annotated

import typer

from moevit.bench.models.features import one_thread
from moevit.bench.models.measure import Measurement
from moevit.bench.models.report import document
from moevit.bench.models.sets import SetError
from moevit.golden.importers import ImportFailed
from moevit.golden.quant import QuantisationError
from moevit.host.errors import AccelError

from .screen import errors, say, told
from .stages import Stages

DIFFERENT = 3  # exit code if a value of the RTL differs from the integer model
PAGE = Path("docs") / "models.md"
DEMO = Path("models") / "demo" / "quantised.json"


def models(
    output: Annotated[Path, typer.Option("--output", "-o", file_okay=False, help=(
        "folder for models.json, and for models/ with what is kept"))] = Path("build"),
    jobs: Annotated[int, typer.Option(min=1, help="processes that run the integer model")] = os.cpu_count() or 1,
    fast: Annotated[bool, typer.Option("--fast", help="few pictures and no RTL, to try it")] = False,
) -> None:
    """Measure real pretrained models: fidelity, accuracy with labels, a frame on the RTL; writes docs/models.md."""
    root = output / "models"
    try:
        stages = Stages(output / "models.json", root / "models.md")
    except OSError as error:
        raise typer.BadParameter(str(error), param_hint="--output") from error
    context = multiprocessing.get_context("spawn")  # a fork would copy torch's threads
    with told(AccelError, ImportFailed, QuantisationError, SetError), \
            ProcessPoolExecutor(jobs, context, one_thread) as executor:
        found = Measurement(root, stages.stage, executor, few=fast).run()
    (output / "models.json").write_text(json.dumps(found, indent=1) + "\n")
    page = document(found, json.loads(DEMO.read_text()) if DEMO.exists() else None)
    (root / "models.md").write_text(page)
    if not fast and PAGE.parent.is_dir():
        PAGE.write_text(page)
    say(f"{output / 'models.json'}, {root / 'models.md'}")
    different = [name for name, figures in found.items() if figures["rtl_different"]]
    if different:
        errors.print(f"values differ from the integer model: {', '.join(different)}", style="red")
        raise typer.Exit(DIFFERENT)
