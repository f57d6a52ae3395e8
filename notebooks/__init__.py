# SPDX-License-Identifier: Apache-2.0
"""The notebooks, and what they share: where their files are, and the machine that is here.

A notebook is text (``01_first_frame.py``, jupytext's percent format) with an executed ``.ipynb`` beside it, which
``make notebooks`` writes and ``pynq get-notebooks moevit`` copies. The same cells run on a board and on a PC.
"""

import atexit
import warnings
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from moevit.host.errors import MissingFile
from moevit.host.runtime import Accelerator
from moevit.spec.arrays import CONFIGS
from moevit.spec.bundle import Bundle

__all__ = ["find", "machine"]

_FOLDERS = ("build/demo", "models/demo")  # of a checkout, in which or below which the notebook lies


def find(pattern: str) -> Path:
    """The first file that ``pattern`` names: beside the notebook, else in the demo's folders of a checkout around it.

    Raises MissingFile, which says where it was looked for and what makes it.
    """
    here = Path.cwd()
    for folder in (here, *(parent / name for parent in (here, *here.parents) for name in _FOLDERS)):
        for path in sorted(folder.glob(pattern)):
            return path
    raise MissingFile(f"{pattern} is neither in {here} nor in {' or '.join(_FOLDERS)} of a folder above it",
                      fix="Run `make demo` in a checkout, or copy the files of a release's archive beside the notebook")


def machine(bundle: Path) -> Accelerator:
    """An accelerator with ``bundle`` loaded, on the board if PYNQ finds one, else on the simulation; says which.

    A board needs its bitstream, a ``.bit`` with its ``.hwh``, where `find` finds it.
    """
    loaded = Bundle.load(bundle)
    config = loaded.manifest["config"]
    if _board_is_here():
        bitstream = find("*.bit")
        print(f"A board: {bitstream.name} is loaded into it.")
        accelerator = Accelerator(bitstream)
    else:
        print(f"No board here: the RTL of {config} in a simulation, which is built the first time (some minutes).")
        accelerator = Accelerator(_simulation(config))
    accelerator.load(loaded)
    return accelerator


def _board_is_here() -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what pynq says on a computer that is no board
        try:
            import pynq
        except ImportError:
            return False
        return bool(pynq.Device.devices)


def _simulation(config: str) -> Any:
    """An overlay over the simulated board, for as long as this process lives; the board itself if there is no pynq."""
    try:
        from moevit.sim.board.simulated_board import SimulatedBoard
    except ImportError as error:
        raise ImportError(f"{error}: without a board, the simulation is needed, pip install 'moevit[sim]'") from error
    stack = ExitStack()
    atexit.register(stack.close)
    board = stack.enter_context(SimulatedBoard(CONFIGS[config]))
    if find_spec("pynq") is None:
        return board
    from moevit.sim.pynq.device import simulated_overlay
    return stack.enter_context(simulated_overlay(CONFIGS[config], board=board))
