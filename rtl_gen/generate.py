# SPDX-License-Identifier: Apache-2.0
"""Write a machine's Verilog: ``core.v``, ``moevit.v`` (the wrapper), ``manifest.json``; the same bytes each time."""

import hashlib
import json
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from amaranth.back import verilog
from amaranth.lib.wiring import Component

from moevit.spec.arrays import MachineConfig

from .ports import port_table
from .wrapper import wrapper_text

__all__ = ["CORE", "WRAPPER", "generate", "write_verilog"]

CORE, WRAPPER = "moevit_core", "moevit"


def write_verilog(top: Component, directory: Path) -> dict[str, str]:
    """``core.v`` and ``moevit.v`` of any component with the machine's kinds of ports; returns their sha256."""
    directory.mkdir(parents=True, exist_ok=True)
    ports = port_table(top)
    texts = {"core.v": verilog.convert(top, name=CORE, strip_internal_attrs=True, emit_src=False),
             "moevit.v": wrapper_text(WRAPPER, CORE, ports)}
    for name, text in texts.items():
        (directory / name).write_text(text)
    return {name: hashlib.sha256(text.encode()).hexdigest() for name, text in texts.items()}


def generate(config: MachineConfig, directory: Path) -> dict[str, object]:
    """The machine's Verilog and its manifest, which is also written as ``manifest.json``."""
    from moevit.hw.top import Accelerator  # the whole machine: loaded only when it is built

    top = Accelerator(config)
    files = write_verilog(top, directory)
    manifest = {
        "config": asdict(config),
        "config_hash": f"0x{config.hash:08X}",
        "files": files,
        "ports": [[port.name, "output" if port.output else "input", port.width] for port in port_table(top)],
        "top": WRAPPER,
        "amaranth": version("amaranth"),
    }
    (directory / "manifest.json").write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n")
    return manifest
