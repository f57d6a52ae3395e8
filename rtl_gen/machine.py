# SPDX-License-Identifier: Apache-2.0
"""The RTL of the machine in one of its configurations."""

from dataclasses import asdict, replace

from moevit.spec.arrays import MachineConfig

from .generate import Rtl, generate

__all__ = ["machine_rtl", "module_name"]


def module_name(config: MachineConfig) -> str:
    """Name of the Verilog module of ``config``. The variant for simulation ends with ``_trace``."""
    return f"moevit_{config.name}" + ("_trace" if config.trace else "")


def machine_rtl(config: MachineConfig, *, trace: bool | None = None) -> Rtl:
    """Wrapper, core and manifest of ``config``. ``trace`` replaces the configuration's, unless it is None."""
    from moevit.hw.top import Core  # imports all of hw, so only here

    if trace is not None:
        config = replace(config, trace=trace)
    description = {"config": config.name, "config_hash": f"0x{config.hash:08X}", "parameters": asdict(config)}
    return generate(Core(config), module_name(config), description)
