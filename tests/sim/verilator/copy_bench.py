# SPDX-License-Identifier: Apache-2.0
"""Runs in the simulator: the example machine between cocotbext-axi's models, with pauses on every channel."""

import os
import random

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge, with_timeout
from cocotbext.axi import AxiBus, AxiLiteBus, AxiLiteMaster, AxiRam

from moevit.spec.registers import offset

SIZE = 1024


def pauses(chance):
    while True:
        yield random.random() < chance


async def copied(dut, chance):
    cocotb.start_soon(Clock(dut.aclk, 10, "ns").start())
    lite = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axi"), dut.aclk, dut.aresetn, reset_active_level=False)
    ram = None
    for bus in os.environ.get("MANAGERS", "m_axi").split():
        ram = AxiRam(AxiBus.from_prefix(dut, bus), dut.aclk, dut.aresetn, reset_active_level=False, size=1 << 16,
                     mem=ram and ram.mem)
        for interface in (ram.write_if.aw_channel, ram.write_if.w_channel, ram.write_if.b_channel,
                          ram.read_if.ar_channel, ram.read_if.r_channel):
            interface.set_pause_generator(pauses(chance))
    dut.aresetn.value = 0
    await ClockCycles(dut.aclk, 5)
    dut.aresetn.value = 1
    content = random.randbytes(SIZE)
    ram.write(0x1000, content)
    settings = {"WEIGHTS_LOW": 0x1000, "OUTPUT_LOW": 0x4000, "PROGRAM_LENGTH": SIZE // 16, "CONTROL": 1}
    for name, value in settings.items():
        await lite.write_dword(offset(name), value)
    await with_timeout(RisingEdge(dut.irq), 100, "us")
    return ram.read(0x4000, SIZE) == content


@cocotb.test()
async def copies_with_pauses(dut):
    assert await copied(dut, float(os.environ["PAUSE"]))


@cocotb.test(skip="FAIL" not in os.environ)
async def fails(dut):
    raise AssertionError("as asked")
