# SPDX-License-Identifier: Apache-2.0
"""The notebooks, and what they share: where their files are, and the machine that is here.

A notebook is text (``01_first_frame.py``, jupytext's percent format) with an executed ``.ipynb`` beside it, which
``make notebooks`` writes and ``pynq get-notebooks moevit`` copies. The same cells run on a board and on a PC.
"""

from pathlib import Path

from moevit.host.errors import MissingFile
from moevit.host.runtime import Accelerator

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
    """An accelerator with ``bundle`` loaded; prints what it is."""
    from moevit.sim.board import SimulatedBoard
    from moevit.spec.arrays import CONFIGS
    from moevit.spec.bundle import Bundle

    loaded = Bundle.load(bundle)
    config = loaded.manifest["config"]
    print(f"No board here: the RTL of {config} in a simulation (built the first time, in a few minutes).")
    accelerator = Accelerator(SimulatedBoard(CONFIGS[config]))
    accelerator.load(loaded)
    return accelerator
