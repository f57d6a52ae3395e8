# SPDX-License-Identifier: Apache-2.0
"""The bench for components on Amaranth's own simulator."""

import random
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from amaranth.hdl import ClockDomain, Elaboratable, Module, Signal
from amaranth.sim import Simulator

from .ports import PlainPort, Receiver, Sender, StreamError, find_port

__all__ = ["StreamBench", "StreamError"]

Process = Callable[[Any], Awaitable[None]]


class StreamBench:
    """Drives and observes one Amaranth component in the clock domain ``sync``.

    There are four ways to use it:

    - :meth:`run` sends payloads to streams and collects others, with random stalls, and checks the rules of streams;
    - :meth:`words` sets plain ports to a new value in each cycle and collects the outputs a fixed latency later;
    - :meth:`play` calls a function in each cycle, which sets and looks at ports itself;
    - :meth:`simulate` runs a testbench, ``async def f(ctx)``, for everything else.

    Ports are named as attributes of the component, nested ones with dots ("bus.ar"). A port without ``ready`` is a
    flow: it is taken in the cycle in which it comes. Values are ints, lists (arrays), dicts (structs) or enum members;
    a value that does not fit is refused. Where it offers no payload, the bench drives noise.

    Parameters
    ----------
    dut : the component; elaborated afresh for every simulation
    seed : of all random choices; in every message
    settings : values of plain input ports, {name: value}, set before the first cycle
    background : ``async def f(ctx)`` processes that play the rest of the surroundings, as the ``run`` of a
        ``MemoryModel`` and of a ``Probe``; they may run for ever. In each cycle they act before the bench does.
    watchdog : cycles without any transfer after which :meth:`run` gives up
    settle : cycles that :meth:`run` watches after the last expected payload, for payloads too many
    """

    def __init__(self, dut: Elaboratable, *, seed: int = 1, settings: Mapping[str, Any] | None = None,
                 background: Iterable[Process] = (), watchdog: int = 1000, settle: int = 16):
        self.dut, self.seed, self.watchdog, self.settle = dut, seed, watchdog, settle
        self._settings = dict(settings or {})
        self._background = tuple(background)
        self._domain = ClockDomain("sync")
        #: Cycle of each transfer of the last :meth:`run`, by port; the first cycle after reset is 0.
        self.cycles: dict[str, list[int]] = {}

    @property
    def reset(self) -> Signal:
        """Resets the component while a test sets it to 1."""
        assert self._domain.rst is not None
        return self._domain.rst

    def simulate(self, testbench: Process, vcd: str | Path | None = None) -> None:
        """Runs ``testbench`` to its end, with the settings and the background; ``vcd`` is a file for the waves."""
        async def foreground(ctx: Any) -> None:
            for name, value in self._settings.items():
                PlainPort(find_port(self.dut, name), name).set(ctx, value)
            await testbench(ctx)

        top = Module()  # gives combinational components a clock as well
        top.domains.sync = self._domain
        top.submodules.dut = self.dut
        simulator = Simulator(top)
        simulator.add_clock(1e-6)
        for process in self._background:
            simulator.add_testbench(process, background=True)
        simulator.add_testbench(foreground)
        if vcd is None:
            simulator.run()
        else:
            with simulator.write_vcd(str(vcd)):
                simulator.run()

    def play(self, step: Callable[[Any, int], Any], cycles: int, vcd: str | Path | None = None) -> None:
        """Calls ``step(ctx, cycle)`` in each of ``cycles`` cycles; ends after the cycle in which it returns True.

        In a cycle, ``step`` first sets the inputs; then ``ctx.get`` gives the outputs of the same cycle.
        """
        async def testbench(ctx: Any) -> None:
            for cycle in range(cycles):
                ended = step(ctx, cycle)
                await ctx.tick()
                if ended is True:
                    return

        self.simulate(testbench, vcd)

    def words(self, inputs: Mapping[str, Sequence[Any]], outputs: Sequence[str], latency: int) -> dict[str, list[Any]]:
        """Sets each port of ``inputs`` to its next value in each cycle; returns the values of ``outputs``, by port.

        An output's first value is that of the cycle ``latency`` cycles after the first inputs (0: the same cycle), and
        there are as many as inputs. All inputs must be equally long.
        """
        count, = {len(values) for values in inputs.values()}
        ports = {name: PlainPort(find_port(self.dut, name), name) for name in (*inputs, *outputs)}
        found: dict[str, list[Any]] = {name: [] for name in outputs}

        def step(ctx: Any, cycle: int) -> None:
            if cycle < count:
                for name, given in inputs.items():
                    ports[name].set(ctx, given[cycle])
            if cycle >= latency:
                for name, values in found.items():
                    values.append(ports[name].get(ctx))

        self.play(step, count + latency)
        return found

    def run(self, inputs: Mapping[str, Iterable[Any]], outputs: Mapping[str, int | None], *, stall: float = 0.0,
            stalls: Mapping[str, float] | None = None, vcd: str | Path | None = None) -> dict[str, list[Any]]:
        """Sends ``inputs`` {port: payloads} and returns {port: payloads} of ``outputs`` {port: how many}.

        A count of None collects whatever comes until the other ports are done and ``settle`` quiet cycles have passed.
        ``stall`` is the probability that the bench is not ready, or holds a payload back, in a cycle; ``stalls``
        overrides it by port. Raises StreamError.
        """
        senders = [Sender(self.dut, name, payloads) for name, payloads in inputs.items()]
        receivers = [Receiver(self.dut, name, count) for name, count in outputs.items()]
        ports: list[Sender | Receiver] = [*senders, *receivers]
        chance = {port.name: (stalls or {}).get(port.name, stall) for port in ports}
        unknown = set(stalls or {}) - set(chance)
        if unknown or not all(0 <= value < 1 for value in chance.values()):
            raise ValueError(f"stalls must be 0 <= p < 1 for ports in use, not {dict(stalls or {})} with {stall}")

        async def testbench(ctx: Any) -> None:
            await self._transfer(ctx, ports, chance)

        try:
            self.simulate(testbench, vcd)
        except StreamError as error:
            state = ", ".join(f"{port.name} sent {port.sent} of {len(port.queue)}" for port in senders)
            state += "".join(f", {port.name} gave {len(port.received)} of {port.count}" for port in receivers)
            state += f"; seed {self.seed}, stall {stall}"
            raise StreamError(f"{type(self.dut).__name__}: {error} ({state})") from None
        self.cycles = {port.name: port.cycles for port in ports}
        return {port.name: port.received for port in receivers}

    async def _transfer(self, ctx: Any, ports: list[Sender | Receiver], chance: Mapping[str, float]) -> None:
        """Drives and watches ``ports`` until all are done and nothing comes any more."""
        rng = random.Random(f"{self.seed}/{sorted(chance.items())}")
        samples = [signal for port in ports for signal in port.samples]
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
                    if isinstance(port, Receiver):
                        port.shy = chance[port.name] > 0 and rng.random() < 0.5
                at += width
            cycle += 1
            if cycle - last > self.watchdog:
                raise StreamError(f"no transfer for {self.watchdog} cycles")

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
