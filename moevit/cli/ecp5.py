# SPDX-License-Identifier: Apache-2.0
"""``moevit ecp5``: places, routes and packs a small machine for an ECP5 with open tools."""

from datetime import date
from pathlib import Path
from typing import Annotated

import typer

from moevit.rtl_gen.area import TOP
from moevit.rtl_gen.ecp5 import ATTEMPTS, CONFIG, Place, place, report
from moevit.rtl_gen.synth import made, units
from moevit.rtl_gen.yosys import SynthesisError

from .screen import say, told
from .stages import Stages


def ecp5(
    output: Annotated[Path, typer.Option("--output", "-o", dir_okay=False,
                                         help="file to write")] = Path("docs/ecp5.md"),
    whole: Annotated[bool, typer.Option(help="place the whole machine too, and pack its bitstream")] = True,
) -> None:
    """Place and route every unit and the small top (hours); pack the top's bitstream into build/ecp5/top/unit.bit."""
    places: dict[str, Place] = {}
    with told(OSError, SynthesisError):
        stages = Stages(output)
        for name in (*units(CONFIG), *([TOP] if whole else [])):
            with stages.stage("place") as stage:
                stage(name)
                try:
                    places[name] = place(made(name, CONFIG), Path("build") / "ecp5" / name, pack=name == TOP,
                                         attempts=1 if name == TOP else len(ATTEMPTS))
                except SynthesisError as error:
                    raise SynthesisError(f"{name}: {error}") from error
                stage.result = f"{name}: {places[name].mhz:.1f} MHz"
        output.write_text(report(places, date.today()))
    say(f"{output} written" + ("; bitstream: build/ecp5/top/unit.bit" if whole else ""))
