# SPDX-License-Identifier: Apache-2.0
"""All commands as data. The list and the missing extras can be printed without importing a command."""

from typing import NamedTuple

__all__ = ["BOARD", "COMMANDS", "Command"]

_MODEL, _INSIDE, _HARDWARE, _PROJECT = "Your model", "Look inside", "Hardware", "This repository"
BOARD = "board:main"


class Command(NamedTuple):
    """A command in the list.

    ``target``: module of this package and function in it; `BOARD` for a command without typer; empty for a group, whose
    commands have its name as a prefix. ``extra``: the extra with its packages; empty if numpy suffices.
    """

    target: str
    extra: str
    panel: str
    help: str


COMMANDS = {
    "import": Command("import_:import_", "golden", _MODEL, "Read a checkpoint of timm, Hugging Face, torchvision, ..."),
    "quantise": Command("quantise:quantise", "golden", _MODEL, "Quantise a checkpoint, calibrated on pictures."),
    "estimate": Command("estimate:estimate", "hw", _MODEL, "Predict cycles and memories, on a board or on all."),
    "evaluate": Command("evaluate:evaluate", "golden", _MODEL, "Compare float and integer answers on pictures."),
    "compile": Command("compile_:compile_", "cli", _MODEL, "Compile a quantised model to a bundle."),
    "run": Command("run:run", "sim", _MODEL, "Run a picture on the RTL, the golden machine or a board."),
    "build": Command("build:build", "golden", _MODEL, "All of it, from a checkpoint to a bundle and a verdict."),
    "doctor": Command(BOARD, "", _INSIDE, "Check board, packages, memory, overlay and bundles in a folder."),
    "verify": Command(BOARD, "", _INSIDE, "Check every file of a release's archive against its manifest."),
    "disassemble": Command("disassemble:disassemble_", "cli", _INSIDE, "Print a bundle's program."),
    "fit": Command("fit:fit", "cli", _INSIDE, "Which network fits which configuration, and what is in the way."),
    "simulate": Command("simulate:simulate", "sim", _INSIDE, "Run scenes on the RTL, pass by pass, and compare."),
    "board-sim": Command("board_sim:board_sim", "sim", _INSIDE, "A board's host code over the RTL: runs, faults."),
    "generate": Command("generate:generate", "hw", _HARDWARE, "Write the machine's Verilog."),
    "export": Command("export:export", "hw", _HARDWARE, "Write Verilog, IP-XACT and C headers for other flows."),
    "handoff": Command("handoff:handoff_", "hw", _HARDWARE, "Write the hardware handoff (.hwh) of a board."),
    "bitstream": Command("vivado:bitstream", "hw", _HARDWARE, "Build a bitstream for a board, by Vivado."),
    "ooc": Command("vivado:ooc", "hw", _HARDWARE, "Synthesise, place and route the core alone, by Vivado."),
    "vivado": Command("vivado:prepare", "hw", _HARDWARE, "Write what Vivado needs, for another computer."),
    "config": Command("vivado:config", "cli", _HARDWARE, "Print the name of the configuration of a board."),
    "release": Command("release:pack", "hw", _HARDWARE, "Write a board's archive: wheel, demo, notebooks, bitstream."),
    "demo": Command("", "golden", _PROJECT, "The demo network: train, prepare, compare, score."),
    "demo train": Command("demo:train", "golden", _PROJECT, "Train the demo network from scratch."),
    "demo prepare": Command("demo:prepare", "golden", _PROJECT, "Write test scenes with float and integer tokens."),
    "demo compare": Command("demo:compare", "golden", _PROJECT, "Compare float, integer and RTL on scenes."),
    "demo score": Command("demo:score", "golden", _PROJECT, "Score the quantised demo on scenes it has not seen."),
    "bench": Command("bench:bench", "dev", _PROJECT, "Measure whole networks on boards, on the RTL."),
    "models": Command("models:models", "dev", _PROJECT, "Measure real pretrained models, with labels."),
    "notebooks": Command("notebooks:notebooks", "dev", _PROJECT, "Execute the notebooks over the simulated board."),
    "docs": Command("docs:docs", "dev", _PROJECT, "Write the generated pages and pictures of docs/."),
    "synth": Command("synth:synth", "build", _PROJECT, "Count the cells of every unit by Yosys, into docs/area.md."),
    "timing": Command("timing:timing", "build", _PROJECT, "Find the longest paths of every unit by our own model."),
    "ecp5": Command("ecp5:ecp5", "build", _PROJECT, "Place and route a small machine for an ECP5."),
}
