# SPDX-License-Identifier: Apache-2.0
"""The whole core in Amaranth's simulator, with a memory and a host: for runs of some thousand cycles."""

from collections.abc import Callable
from typing import Any

import numpy as np
from amaranth.hdl import Module
from amaranth.sim import Simulator

from moevit.hw.top import Core
from moevit.spec.arrays import MachineConfig
from moevit.spec.registers import BITS, offset

__all__ = ["SmallMachine"]

_LATENCY = 4  # cycles from a read address to its first beat
_CYCLES = 20_000  # of a run at most


class _Opened(Core):
    """A core whose units can be watched."""

    units: Any

    def elaborate(self, platform: Any) -> Module:
        made = super().elaborate(platform)
        self.units = made.submodules
        return made


class SmallMachine:
    """A core with one bus port of ``config`` and ``memory`` (u8), whose first byte has address 0.

    ``addresses``: of the beats that it has read, in order.
    """

    def __init__(self, config: MachineConfig, memory: np.ndarray):
        if config.ports != 1:
            raise ValueError(f"{config.name} has {config.ports} ports, not one")
        self._config, self._memory = config, memory
        self._core = _Opened(config)
        self._simulator = Simulator(self._core)
        self._simulator.add_clock(1e-9)
        self.addresses: list[int] = []

    def run(self, registers: dict[str, int], watch: Callable[[Any, Any, int], None]) -> int:
        """Write ``registers``, start, and call ``watch(units, get, cycle)`` in each cycle from START on.

        Returns the cycles of the run, as the machine counts them. Raises RuntimeError for a run that does not end well.
        """
        cycles = 0

        async def host(ctx: Any) -> None:
            nonlocal cycles
            for name, value in registers.items():
                await self._write(ctx, offset(name), value)
            await self._write(ctx, offset("CONTROL"), 1 << BITS["START"])
            for cycle in range(_CYCLES):
                watch(self._core.units, ctx.get, cycle)
                await ctx.tick()
                if ctx.get(self._core.interrupt):
                    break
            cycles, code = [await self._read(ctx, offset(name)) for name in ("CYCLES_LOW", "ERROR_CODE")]
            if code or not cycles:
                raise RuntimeError(f"the run ended with error {code} after {cycles} cycles")

        self._simulator.add_testbench(host)
        self._simulator.add_testbench(self._reads, background=True)
        self._simulator.add_testbench(self._writes, background=True)
        self._simulator.run()
        return cycles

    async def _write(self, ctx: Any, at: int, value: int) -> None:
        control = self._core.control
        ctx.set(control.aw.payload.addr, at)
        ctx.set(control.w.payload, {"data": value, "strb": 15})
        ctx.set(control.b.ready, 1)
        for channel in (control.aw, control.w):
            ctx.set(channel.valid, 1)
        waiting = [control.aw, control.w]
        while waiting:
            taken = [channel for channel in waiting if ctx.get(channel.ready)]
            await ctx.tick()
            for channel in taken:
                ctx.set(channel.valid, 0)
                waiting.remove(channel)
        while not ctx.get(control.b.valid):
            await ctx.tick()
        await ctx.tick()

    async def _read(self, ctx: Any, at: int) -> int:
        control = self._core.control
        ctx.set(control.ar.payload.addr, at)
        ctx.set(control.ar.valid, 1)
        ctx.set(control.r.ready, 1)
        while not ctx.get(control.ar.ready):
            await ctx.tick()
        await ctx.tick()
        ctx.set(control.ar.valid, 0)
        while not ctx.get(control.r.valid):
            await ctx.tick()
        value = ctx.get(control.r.payload.data)
        await ctx.tick()
        return value

    async def _reads(self, ctx: Any) -> None:
        """Burst after burst, a beat per cycle."""
        port, size = self._core.read[0], self._config.port_bytes
        while True:
            ctx.set(port.ar.ready, 1)
            while not ctx.get(port.ar.valid):
                await ctx.tick()
            at, beats = ctx.get(port.ar.payload.addr), ctx.get(port.ar.payload.len) + 1
            await ctx.tick()
            ctx.set(port.ar.ready, 0)
            await ctx.tick().repeat(_LATENCY)
            for beat in range(beats):
                content = int.from_bytes(self._memory[at + beat * size:][:size].tobytes(), "little")
                ctx.set(port.r.payload, {"data": content, "resp": 0, "last": beat == beats - 1})
                ctx.set(port.r.valid, 1)
                self.addresses.append(at + beat * size)
                while not ctx.get(port.r.ready):
                    await ctx.tick()
                await ctx.tick()
            ctx.set(port.r.valid, 0)

    async def _writes(self, ctx: Any) -> None:
        port, size = self._core.write[0], self._config.port_bytes
        while True:
            ctx.set(port.aw.ready, 1)
            while not ctx.get(port.aw.valid):
                await ctx.tick()
            at, beats = ctx.get(port.aw.payload.addr), ctx.get(port.aw.payload.len) + 1
            await ctx.tick()
            ctx.set(port.aw.ready, 0)
            ctx.set(port.w.ready, 1)
            for beat in range(beats):
                while not ctx.get(port.w.valid):
                    await ctx.tick()
                content = int(ctx.get(port.w.payload.data)).to_bytes(size, "little")
                self._memory[at + beat * size:][:size] = np.frombuffer(content, np.uint8)
                await ctx.tick()
            ctx.set(port.w.ready, 0)
            ctx.set(port.b.valid, 1)
            while not ctx.get(port.b.ready):
                await ctx.tick()
            await ctx.tick()
            ctx.set(port.b.valid, 0)
