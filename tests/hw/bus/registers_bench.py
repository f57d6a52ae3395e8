# SPDX-License-Identifier: Apache-2.0
"""A register file, an AXI4-Lite master with a delay per channel, and a memory for the pass log."""

from moevit.hw.bus.registers import Registers
from moevit.spec.arrays import CONFIGS
from moevit.spec.registers import BITS, REGISTERS, offset

DONE, ERROR = 1, 2  # interrupt bits
SETTINGS = [register for register in REGISTERS if register.access == "rw" and "INTERRUPT" not in register.name]


def bits(*names):
    return sum(1 << BITS[name] for name in names)


class Log:
    """A memory in which every word tells its address."""

    def __init__(self, port):
        self.port = port

    @staticmethod
    def entry(index):
        return index * 0x1_0001_0000_0101 + 0x1234_5678_9ABC

    async def run(self, ctx):
        while True:
            _, _, enable, address = await ctx.tick().sample(self.port.enable, self.port.address)
            if enable:
                ctx.set(self.port.data, self.entry(address))


class Bench:
    """A register file, an AXI4-Lite master with a delay per channel, and a memory for the log."""

    def __init__(self, kit, config="8x8"):
        self.kit = kit
        self.config = CONFIGS[config]
        self.unit = Registers(self.config)
        self.starts, self.resets = kit.Pulses(self.unit.start), kit.Pulses(self.unit.reset)

    def run(self, testbench):
        async def wrapped(ctx):
            ctx.set(self.unit.idle, 1)
            await ctx.tick()
            assert not ctx.get(self.unit.bus.b.valid) and not ctx.get(self.unit.bus.r.valid)
            await testbench(ctx)

        self.kit.simulate(self.unit, wrapped, self.starts, self.resets, Log(self.unit.log))

    async def write(self, ctx, address, value, strobes=15, *, data_delay=0, address_delay=0, ready_delay=0):
        """One write, OKAY."""
        bus = self.unit.bus
        ctx.set(bus.aw.payload.addr, address)
        ctx.set(bus.w.payload, {"data": value, "strb": strobes})
        sent_address = sent_data = False
        answered = 0
        for cycle in range(2000):
            ctx.set(bus.aw.valid, int(not sent_address and cycle >= address_delay))
            ctx.set(bus.w.valid, int(not sent_data and cycle >= data_delay))
            _, _, aw, aw_ready, w, w_ready, b, b_ready, resp = await ctx.tick().sample(
                bus.aw.valid, bus.aw.ready, bus.w.valid, bus.w.ready, bus.b.valid, bus.b.ready, bus.b.payload.resp)
            sent_address |= bool(aw and aw_ready)
            sent_data |= bool(w and w_ready)
            assert not b or sent_address and sent_data
            assert b or not answered, "BVALID fell before BREADY"
            answered += b
            if b and b_ready:
                ctx.set(bus.b.ready, 0)
                assert resp == 0
                return
            ctx.set(bus.b.ready, int(answered >= ready_delay))
        raise AssertionError("no answer to a write")

    async def read(self, ctx, address, *, ready_delay=0):
        bus = self.unit.bus
        ctx.set(bus.ar.payload.addr, address)
        ctx.set(bus.ar.valid, 1)
        answered, first = 0, None
        for _ in range(2000):
            _, _, ar, ar_ready, r, r_ready, payload = await ctx.tick().sample(
                bus.ar.valid, bus.ar.ready, bus.r.valid, bus.r.ready, bus.r.payload)
            if ar and ar_ready:
                ctx.set(bus.ar.valid, 0)
            assert r or not answered, "RVALID fell before RREADY"
            if r:
                first = payload if first is None else first
                assert payload == first, "R changed before RREADY"
                answered += 1
            if r and r_ready:
                ctx.set(bus.r.ready, 0)
                assert payload.resp == 0
                return payload.data
            ctx.set(bus.r.ready, int(answered >= ready_delay))
        raise AssertionError("no answer to a read")

    async def pulse(self, ctx, signal):
        ctx.set(signal, 1)
        await ctx.tick()
        ctx.set(signal, 0)

    async def control(self, ctx):
        return await self.read(ctx, offset("CONTROL"))
