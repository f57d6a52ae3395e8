# SPDX-License-Identifier: Apache-2.0
"""A bench for units with stream ports, on Amaranth's own simulator: random stalls, stream rules, watchdog."""

import random
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from amaranth.hdl import ClockDomain, Module, Value
from amaranth.lib.wiring import Component
from amaranth.sim import Simulator

from .payload import pack, unpack

__all__ = ["StreamBench", "StreamError"]


class StreamError(AssertionError):
    """A unit broke a rule of streams, gave too many payloads, or stopped."""


class _Port:
    """One stream (or flow: no ``ready``) of the unit under test."""

    def __init__(self, dut: Any, name: str):
        port = dut
        for part in name.split("."):
            port = port[int(part)] if part.isdigit() else getattr(port, part)
        self.name = name
        self.shape = port.payload.shape() if hasattr(port.payload, "shape") else Value.cast(port.payload).shape()
        self.valid, self.payload = Value.cast(port.valid), Value.cast(port.payload)
        self.ready = Value.cast(port.ready) if hasattr(port, "ready") else None
        self.cycles: list[int] = []

    @property
    def samples(self) -> list[Value]:
        return [self.valid, self.payload, *([] if self.ready is None else [self.ready])]


class _Source(_Port):
    """Offers payloads; a valid that was shown stays until it is taken."""

    def __init__(self, dut: Any, name: str, payloads: Iterable[Any]):
        super().__init__(dut, name)
        self.queue = [pack(self.shape, payload, f"{name}[{index}]") for index, payload in enumerate(payloads)]
        self.sent = 0
        self.offering = False

    @property
    def done(self) -> bool:
        return self.sent == len(self.queue)

    def drive(self, ctx: Any, stall: float, rng: random.Random) -> None:
        if not self.offering:
            self.offering = not self.done and rng.random() >= stall
            ctx.set(self.valid, self.offering)
            bits = self.queue[self.sent] if self.offering else rng.getrandbits(len(self.payload))  # noise: not for use
            ctx.set(self.payload, unpack(self.payload.shape(), bits))

    def see(self, cycle: int, valid: int, payload: int, ready: int = 1) -> bool:
        if not (valid and ready):
            return False
        self.cycles.append(cycle)
        self.sent += 1
        self.offering = False
        return True


class _Sink(_Port):
    """Takes payloads. While ``shy`` it shows ready only after it has seen valid: a unit may not wait for ready."""

    def __init__(self, dut: Any, name: str, count: int | None):
        super().__init__(dut, name)
        self.count = count
        self.received: list[Any] = []
        self.offered: int | None = None
        self.shy = False

    @property
    def done(self) -> bool:
        return self.count is None or len(self.received) == self.count

    def drive(self, ctx: Any, stall: float, rng: random.Random) -> None:
        if self.ready is not None:
            ctx.set(self.ready, rng.random() >= stall and not (self.shy and self.offered is None))

    def see(self, cycle: int, valid: int, payload: int, ready: int = 1) -> bool:
        if self.offered is not None:
            if not valid:
                raise StreamError(f"{self.name}: valid fell before ready")
            if payload != self.offered:
                raise StreamError(f"{self.name}: payload changed before ready, from {self.offered:#x} to {payload:#x}")
        self.offered = payload if valid and not ready else None
        if not (valid and ready):
            return False
        if self.count is not None and len(self.received) == self.count:
            raise StreamError(f"{self.name}: more than the {self.count} payloads expected: "
                              f"{unpack(self.shape, payload)!r}")
        self.cycles.append(cycle)
        self.received.append(unpack(self.shape, payload & ((1 << len(self.payload)) - 1)))
        return True


class StreamBench:
    """Drives and collects the streams of one Amaranth component (clock domain ``sync``).

    Ports are named as attributes of the component, nested ones with dots ("bus.ar"). A port without ``ready`` is a
    flow: taken in the cycle in which it comes. Payloads are ints, lists (arrays), dicts (structs) or enum members;
    what does not fit is refused. Between payloads the bench drives noise.

    Parameters
    ----------
    dut : the component; elaborated afresh for every run
    seed : of all random choices; in every message
    settings : values of plain input ports, {name: value}, set before the first cycle
    background : ``async def f(ctx)`` processes that play the rest of the surroundings; they may run for ever
    watchdog : cycles without any transfer after which a run is given up
    settle : cycles watched after the last expected payload, for payloads too many
    """

    def __init__(self, dut: Component, *, seed: int = 1, settings: Mapping[str, Any] | None = None,
                 background: Iterable[Callable[[Any], Any]] = (), watchdog: int = 1000, settle: int = 16):
        self.dut, self.seed, self.watchdog, self.settle = dut, seed, watchdog, settle
        self._settings = dict(settings or {})
        self._background = tuple(background)
        #: Cycle of each transfer of the last run, by port; the first cycle after reset is 0.
        self.cycles: dict[str, list[int]] = {}

    def run(self, inputs: Mapping[str, Iterable[Any]], outputs: Mapping[str, int | None], *, stall: float = 0.0,
            stalls: Mapping[str, float] | None = None, vcd: str | Path | None = None) -> dict[str, list[Any]]:
        """Sends ``inputs`` {port: payloads} and returns {port: payloads} of ``outputs`` {port: how many}.

        A count of None collects whatever comes until the other ports are done and ``settle`` quiet cycles have passed.
        ``stall`` is the probability that the bench is not ready, or holds a payload back, in a cycle; ``stalls``
        overrides it by port. Raises StreamError.
        """
        sources = [_Source(self.dut, name, payloads) for name, payloads in inputs.items()]
        sinks = [_Sink(self.dut, name, count) for name, count in outputs.items()]
        ports: list[_Source | _Sink] = [*sources, *sinks]
        chance = {port.name: (stalls or {}).get(port.name, stall) for port in ports}
        unknown = set(stalls or {}) - set(chance)
        if unknown or not all(0 <= value < 1 for value in chance.values()):
            raise ValueError(f"stalls must be 0 <= p < 1 for ports in use, not {dict(stalls or {})} with {stall}")
        rng = random.Random(f"{self.seed}/{sorted(chance.items())}")
        samples = [signal for port in ports for signal in port.samples]

        async def testbench(ctx: Any) -> None:
            for name, value in self._settings.items():
                port = self.dut
                for part in name.split("."):
                    port = getattr(port, part)
                ctx.set(port, value)
            cycle = last = 0
            while not all(port.done for port in ports) or cycle - last < self.settle:
                for port in ports:
                    port.drive(ctx, chance[port.name], rng)
                _, _, *values = await ctx.tick().sample(*samples)
                at = 0
                for port in ports:
                    width = len(port.samples)
                    if port.see(cycle, *values[at:at + width]):
                        last = cycle
                        if isinstance(port, _Sink):
                            port.shy = chance[port.name] > 0 and rng.random() < 0.5
                    at += width
                cycle += 1
                if cycle - last > self.watchdog:
                    raise StreamError(f"no transfer for {self.watchdog} cycles")

        top = Module()  # gives combinational units a clock as well
        top.domains.sync = ClockDomain()
        top.submodules.dut = self.dut
        simulator = Simulator(top)
        simulator.add_clock(1e-6)
        simulator.add_testbench(testbench)
        for process in self._background:
            simulator.add_testbench(process, background=True)
        try:
            if vcd is None:
                simulator.run()
            else:
                with simulator.write_vcd(str(vcd)):
                    simulator.run()
        except StreamError as error:
            state = ", ".join(f"{port.name} sent {port.sent} of {len(port.queue)}" for port in sources)
            state += "".join(f", {port.name} gave {len(port.received)} of {port.count}" for port in sinks)
            state += f"; seed {self.seed}, stall {stall}"
            raise StreamError(f"{type(self.dut).__name__}: {error} ({state})") from None
        self.cycles = {port.name: port.cycles for port in ports}
        return {port.name: port.received for port in sinks}

    def latency(self, inputs: Mapping[str, Iterable[Any]], output: str, *, of: str | None = None,
                outputs: Mapping[str, int | None] | None = None) -> int:
        """Cycles from the first accepted payload (on port ``of``, or on any input) to the first on ``output``.

        1 means: taken in one cycle, given in the next. Nothing stalls. ``outputs`` are further ports to be emptied.
        """
        self.run(inputs, {**{output: None}, **(outputs or {})})
        if not self.cycles[output]:
            raise StreamError(f"{type(self.dut).__name__}: {output} gave nothing")
        entered = self.cycles[of][:1] if of else [self.cycles[name][0] for name in inputs if self.cycles[name]]
        return self.cycles[output][0] - min(entered)
