# SPDX-License-Identifier: Apache-2.0
"""Runs a bundle on the golden machine, without the host runtime."""

import numpy as np

from moevit.golden.machine.machine import Machine
from moevit.golden.machine.state import Run
from moevit.spec.arrays import MachineConfig
from moevit.spec.bundle import Bundle
from moevit.spec.isa import Region


def run_bundle(bundle: Bundle, config: MachineConfig, image: np.ndarray, task: int) -> tuple[np.ndarray, Run]:
    """Tokens s16 (tokens, dim) and the record of the run."""
    parts = {"program": bundle.program, "weights": bundle.weights, "gates": bundle.gates, "image": image.tobytes()}
    base, memory = {}, b""
    for name, content in parts.items():
        memory = memory.ljust(-(-len(memory) // 4096) * 4096, b"\0")
        base[name] = len(memory)
        memory += content
    out = bundle.manifest["output"]
    base["output"] = len(memory)
    bytes_ = np.frombuffer(memory + bytes(2 * out["tokens"] * out["words"] * out["lanes"]), np.uint8).copy()

    def write(address: int, content: np.ndarray) -> None:
        bytes_[address:address + len(content)] = content

    machine = Machine(config, lambda address, size: bytes_[address:address + size].copy(), write)
    run = machine.run({Region.WEIGHTS: base["weights"], Region.IMAGE: base["image"],
                       Region.GATES: base["gates"] + task * bundle.manifest["gate_stride"]},
                      base["output"], base["program"], bundle.program_length)
    tokens = bytes_[base["output"]:].view("<i2").reshape(out["tokens"], -1)[:, :out["dim"]]
    return tokens, run
