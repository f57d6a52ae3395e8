# SPDX-License-Identifier: Apache-2.0
"""What surrounds the copier in the simulator: register master, memory, monitors, faults."""

import logging
import os
import random

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge
from cocotbext.axi import AxiBus, AxiLiteBus, AxiLiteMaster, AxiRam

from moevit.spec.arrays import CONFIGS
from moevit.spec.registers import BITS, MAGIC, offset

CONFIG = CONFIGS[os.environ["COPIER_CONFIG"]]
SEED = int(os.environ["COPIER_SEED"])
SIZE = 1 << 20
READ, WRITE = (0x1_0000, 0x8_0000), (0x8_0000, 0xF_0000)  # windows
WORD = 2 * CONFIG.k_lanes


class Monitor:
    """The rules of VALID on one channel that the machine drives; keeps what was taken."""

    def __init__(self, dut, channel, payload):
        self.dut, self.channel, self.payload, self.seen = dut, channel, payload, []
        cocotb.start_soon(self._run())

    async def _run(self):
        signal = {name: getattr(self.dut, f"m_axi_{self.channel}{name}") for name in ("valid", "ready", *self.payload)}
        offered = None
        while True:
            await RisingEdge(self.dut.aclk)
            if not self.dut.aresetn.value:
                offered = None
                continue
            values = tuple(int(signal[name].value) for name in self.payload)
            valid, ready = int(signal["valid"].value), int(signal["ready"].value)
            if offered is not None:
                assert valid and values == offered, f"{self.channel} took back {offered}"
            offered = values if valid and not ready else None
            if valid and ready:
                self.seen.append(values)


class Faulty:
    """Makes reads and writes of a memory fail at chosen addresses: the memory model answers SLVERR."""

    def __init__(self, ram):
        self.reads, self.writes = set(), set()
        self._read, self._write = ram.read_if._read, ram.write_if._write
        ram.read_if._read, ram.write_if._write = self.read, self.write

    async def read(self, address, length):
        if address in self.reads:
            raise ValueError(f"fault injected at {address:#x}")
        return await self._read(address, length)

    async def write(self, address, data):
        if address in self.writes:
            raise ValueError(f"fault injected at {address:#x}")
        await self._write(address, data)


class Bench:
    def __init__(self, dut):
        self.dut = dut
        self.random = random.Random(SEED)
        dut._log.info("seed %d", SEED)
        for name in ("cocotb.copier.m_axi", "cocotb.copier.s_axi"):
            logging.getLogger(name).setLevel("WARNING")
        cocotb.start_soon(Clock(dut.aclk, 2, "ns").start())
        dut.aresetn.value = 0
        self.ram = AxiRam(AxiBus.from_prefix(dut, "m_axi"), dut.aclk, dut.aresetn, reset_active_level=False, size=SIZE)
        self.lite = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axi"), dut.aclk, dut.aresetn, reset_active_level=False)
        self.faulty = Faulty(self.ram)
        self.aw = Monitor(dut, "aw", ("addr", "len"))
        self.w = Monitor(dut, "w", ("data", "strb", "last"))
        self.ar = Monitor(dut, "ar", ("addr", "len"))
        self.memory = bytes(self.random.randbytes(SIZE))
        self.ram.write(0, self.memory)

    @property
    def channels(self):
        write, read = self.ram.write_if, self.ram.read_if
        return {"aw": write.aw_channel, "w": write.w_channel, "b": write.b_channel, "ar": read.ar_channel,
                "r": read.r_channel}

    def stall(self, chance):
        """Random pauses on all five channels, the same chance or one per channel."""
        for name, channel in self.channels.items():
            probability = chance[name] if isinstance(chance, dict) else chance
            rng = random.Random(self.random.random())
            channel.clear_pause_generator()
            channel.pause = False
            if probability:
                channel.set_pause_generator(rng.random() < probability for _ in iter(int, 1))

    async def reset(self):
        self.dut.aresetn.value = 0
        valids = self.dut.m_axi_arvalid, self.dut.m_axi_awvalid, self.dut.m_axi_wvalid
        for cycle in range(6):
            await RisingEdge(self.dut.aclk)
            self.dut.aresetn.value = int(cycle > 3)
            assert cycle < 2 or not any(int(valid.value) for valid in valids), "VALID in reset or just after"

    async def read(self, name):
        return await self.lite.read_dword(offset(name))

    async def read_wide(self, name):
        return await self.lite.read_qword(offset(f"{name}_LOW"))

    async def write(self, name, value):
        await self.lite.write_dword(offset(name), value)

    async def write_wide(self, name, value):
        await self.lite.write_qword(offset(f"{name}_LOW"), value)

    async def windows(self):
        for name, value in (("READ_BASE", READ[0]), ("READ_LIMIT", READ[1]), ("WRITE_BASE", WRITE[0]),
                            ("WRITE_LIMIT", WRITE[1])):
            await self.write_wide(name, value)

    async def start(self, source, target, words):
        for record in (self.ar, self.aw, self.w):
            record.seen.clear()
        await self.write_wide("PROGRAM", source)
        await self.write_wide("OUTPUT", target)
        await self.write("PROGRAM_LENGTH", words)
        await self.write("CONTROL", 1 << BITS["START"])

    async def idle(self, limit=20_000):
        for _ in range(limit):
            control = await self.read("CONTROL")
            if control >> BITS["IDLE"] & 1:
                return {name for name, bit in BITS.items() if control >> bit & 1}
        raise AssertionError("never idle")

    async def soft_reset(self):
        await self.write("CONTROL", 1 << BITS["RESET"])
        state = await self.idle()
        assert state == {"IDLE", "READY", "RESET_DONE"}, state

    async def copies(self, source, target, words):
        """One whole run that must go well; nothing else in memory may change."""
        expected = bytearray(self.ram.read(0, SIZE))
        expected[target:target + words * WORD] = expected[source:source + words * WORD]
        await self.start(source, target, words)
        state = await self.idle()
        assert state == {"IDLE", "READY", "DONE"}, state
        assert self.ram.read(0, SIZE) == expected
        beats = words * WORD // CONFIG.bus_bytes
        assert sum(length + 1 for _, length in self.ar.seen) == sum(length + 1 for _, length in self.aw.seen) == beats
        assert await self.read_wide("BYTES_READ") == await self.read_wide("BYTES_WRITTEN") == words * WORD
        waits = ("BUSY", "WAIT_NORM", "WAIT_WEIGHTS", "WAIT_DRAIN", "WAIT_WRITER", "WAIT_PROGRAM")
        assert sum([await self.read_wide(name) for name in waits]) == await self.read_wide("CYCLES") > 0

    async def fails(self, code, address):
        """The run under way stops with an error."""
        state = await self.idle()
        assert state == {"IDLE", "READY", "ERROR"}, state
        assert await self.read("ERROR_CODE") == code
        assert await self.read_wide("ERROR_ADDRESS") == address

    def place(self, window, words):
        size = CONFIG.bus_bytes
        return self.random.randrange(window[0], window[1] - words * WORD + 1, size)


async def begin(dut):
    bench = Bench(dut)
    await bench.reset()
    await bench.windows()
    assert await bench.read("MAGIC") == MAGIC
    return bench
