# SPDX-License-Identifier: Apache-2.0
"""The netlist of a component after Yosys has mapped it to a family's cells."""

import gzip
import hashlib
import json
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ..yosys import YOSYS_SCRIPT, SynthesisError
from .netlist import reduced

__all__ = ["mapped", "netlist_key"]


def netlist_key(text: str, synthesis: str) -> str:
    """Names the netlist of ``component_rtlil``'s text: the same RTLIL, Yosys and commands give the same."""
    return hashlib.sha256(json.dumps([text, _commands(synthesis), version("pyosys")]).encode()).hexdigest()[:20]


def mapped(text: str, synthesis: str, directory: Path) -> dict[str, Any]:
    """The flat netlist of module ``unit``, as ``netlist.reduced`` leaves it; from ``directory`` if nothing has changed.

    ``text`` is ``component_rtlil``'s, ``synthesis`` the Yosys command. Raises SynthesisError, naming the log.
    """
    key = netlist_key(text, synthesis)
    found, log = directory / f"{key}.json.gz", directory / f"{key}.log"
    if found.exists():
        with gzip.open(found, "rt") as kept:
            return json.load(kept)
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory) as scratch, log.open("w") as output:
        source, script, draft = (Path(scratch) / name for name in ("unit.il", "unit.ys", "unit.json"))
        source.write_text(text)
        script.write_text("\n".join([f"read_rtlil {source}", *_commands(synthesis), f"write_json -selected {draft}"]))
        done = subprocess.run([sys.executable, "-c", YOSYS_SCRIPT, str(script)], stdout=output,
                              stderr=subprocess.STDOUT)
        # Yosys may stop inside ABC and still exit with 0: only the netlist says that it came to the end.
        try:
            netlist = reduced(json.loads(draft.read_text())["modules"]["unit"])
        except (OSError, ValueError, KeyError) as error:
            raise SynthesisError(f"Yosys ended ({done.returncode}) without a netlist: see the end of {log}") from error
        complete = Path(scratch) / "unit.json.gz"
        with gzip.open(complete, "wt", compresslevel=4) as kept:
            json.dump(netlist, kept)
        complete.rename(found)
    return netlist


def _commands(synthesis: str) -> list[str]:
    """As ``yosys.cells`` counts, with two differences: registers are called by their signals, and the array's columns,
    which are synthesised once, are flattened at the end, since paths run through their ports."""
    synthesis += " -top unit -flatten"
    return [
        "setattr -mod -set keep_hierarchy 1 unit.*column_* unit.*column_*.* %d",
        f"{synthesis} -run begin:map_luts",
        "rename -wire",  # a register's cell takes the name of its signal
        "rename -hide w:*",  # names that the design gives collide with those that ABC's results get
        "opt_clean -purge",
        f"{synthesis} -run map_luts:",
        "setattr -mod -unset keep_hierarchy *",
        "flatten",
        "select unit",
    ]
