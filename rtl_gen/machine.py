# SPDX-License-Identifier: Apache-2.0
"""The RTL of the machine in one of its configurations."""

from dataclasses import asdict, replace

from moevit.spec.arrays import MachineConfig

from .generate import Rtl, generate

__all__ = ["machine_rtl", "module_name"]


def module_name(config: MachineConfig) -> str:
    """Verilog module of a configuration; ``_trace`` marks the simulation-only variant."""
    return f"moevit_{config.name}" + ("_trace" if config.trace else "")


def machine_rtl(config: MachineConfig, *, trace: bool | None = None) -> Rtl:
    """Wrapper, core and manifest for ``config``; ``trace`` overrides the configuration's."""
    from moevit.hw.top import Core  # everything in hw: only when it is needed

    if trace is not None:
        config = replace(config, trace=trace)
    description = {"config": config.name, "config_hash": f"0x{config.hash:08X}", "parameters": asdict(config)}
    return generate(Core(config), module_name(config), description)
