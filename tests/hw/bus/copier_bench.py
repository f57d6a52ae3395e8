# SPDX-License-Identifier: Apache-2.0
"""Runs in the simulator: the copier between cocotbext-axi's register master and memory."""

import random

import cocotb
from cocotb.triggers import RisingEdge, with_timeout
from copier_surroundings import CONFIG, READ, SIZE, WORD, WRITE, begin

from moevit.spec.registers import BITS, MAGIC, ErrorCode, offset


@cocotb.test()
async def copies_whatever_stalls(dut):  # also across 4 KiB boundaries and at the end of a window
    bench = await begin(dut)
    for _ in range(34):  # with three seeds more than a hundred patterns of pauses
        bench.stall({name: bench.random.choice([0, 0.1, 0.5, 0.8]) for name in bench.channels})
        words = bench.random.choice([1, 2, 15, 16, 17, bench.random.randrange(1, 200)])
        await bench.copies(bench.place(READ, words), bench.place(WRITE, words), words)
    bench.stall(0)
    await bench.copies(READ[0] + 4096 - 3 * CONFIG.bus_bytes, WRITE[0] + 8192 - 5 * CONFIG.bus_bytes, 64)
    await bench.copies(READ[1] - 32 * WORD, WRITE[1] - 32 * WORD, 32)


@cocotb.test()
async def address_and_data_in_any_order(dut):
    bench = await begin(dut)
    for late in ("aw", "w"):
        bench.stall({name: 0.97 if name == late else 0 for name in bench.channels})
        await bench.copies(READ[0], WRITE[0], 40)


@cocotb.test()
async def slave_errors(dut):  # SLVERR at beats of reads and in bursts of writes
    bench = await begin(dut)
    words = 100
    for beat in (0, 1, 15, 16, 31, 77):
        for side in ("reads", "writes"):
            bench.stall(bench.random.choice([0, 0.4]))
            source, target = READ[0] + 0x400, WRITE[0] + 0x800
            at = (source if side == "reads" else target) + beat * CONFIG.bus_bytes
            getattr(bench.faulty, side).add(at)
            before = bench.ram.read(0, SIZE)
            await bench.start(source, target, words)
            if side == "reads":
                await bench.fails(ErrorCode.READ_SLAVE, at)
            else:
                burst = target + beat // 16 * 16 * CONFIG.bus_bytes
                await bench.fails(ErrorCode.WRITE_SLAVE, burst)
            after = bench.ram.read(0, SIZE)
            assert after[:target] == before[:target] and after[target + words * WORD:] == before[target + words * WORD:]
            bench.faulty.reads.clear()
            bench.faulty.writes.clear()
            if beat % 2:  # START alone is enough
                await bench.soft_reset()
            await bench.copies(READ[0], WRITE[0] + 0x4000, 33)


@cocotb.test()
async def windows_are_kept(dut):  # outside, across the end, misaligned, limit below base
    bench = await begin(dut)
    size = CONFIG.bus_bytes
    before = bench.ram.read(0, SIZE)
    good = READ[0], WRITE[0]
    for source, target, code, address in (
        (READ[0] - size, good[1], ErrorCode.READ_WINDOW, READ[0] - size),
        (READ[1] - 3 * WORD, good[1], ErrorCode.READ_WINDOW, READ[1] - 3 * WORD),
        ((1 << 40) - size, good[1], ErrorCode.READ_WINDOW, (1 << 40) - size),
        (READ[0] + 1, good[1], ErrorCode.ALIGNMENT, READ[0] + 1),
    ):
        await bench.start(source, target, 4)
        await bench.fails(code, address)
        assert not bench.ar.seen
    for target, code in ((WRITE[0] - size, ErrorCode.WRITE_WINDOW), (WRITE[1] - 3 * WORD, ErrorCode.WRITE_WINDOW),
                         (WRITE[0] + size // 2, ErrorCode.ALIGNMENT), (READ[0], ErrorCode.WRITE_WINDOW)):
        await bench.start(good[0], target, 4)
        await bench.fails(code, target)
        assert not bench.aw.seen and not bench.w.seen
    await bench.write_wide("READ_LIMIT", READ[0] - size)
    await bench.start(*good, 4)
    await bench.fails(ErrorCode.READ_WINDOW, good[0])
    assert bench.ram.read(0, SIZE) == before
    await bench.windows()
    await bench.copies(*good, 4)


@cocotb.test()
async def watchdog_and_recovery(dut):  # each of the five channels stands still in turn
    bench = await begin(dut)
    await bench.write("WATCHDOG", 200)
    for stuck in bench.channels:
        bench.stall(0)
        bench.channels[stuck].pause = True
        await bench.start(READ[0], WRITE[0], 300)
        for _ in range(400):
            await RisingEdge(dut.aclk)
        assert await bench.read("ERROR_CODE") == ErrorCode.WATCHDOG, stuck
        control = await bench.read("CONTROL")
        assert control >> BITS["ERROR"] & 1 and not control >> BITS["IDLE"] & 1, "idle with bursts under way"
        bench.channels[stuck].pause = False
        assert await bench.idle() == {"IDLE", "READY", "ERROR"}
        await bench.soft_reset()
        await bench.copies(READ[0] + 64 * 7, WRITE[0], 50)


@cocotb.test()
async def soft_reset_at_any_time(dut):
    bench = await begin(dut)
    for after in range(0, 120, 5):
        bench.stall(bench.random.choice([0, 0.3]))
        await bench.start(READ[0], WRITE[0], 400)
        for _ in range(after):
            await RisingEdge(dut.aclk)
        await bench.soft_reset()
        await bench.copies(READ[0] + 4096, WRITE[0], 20)


@cocotb.test()
async def hard_reset_at_any_time(dut):  # the memory is reset too, as on one reset net
    bench = await begin(dut)
    for after in range(20, 140, 15):
        await bench.start(READ[0], WRITE[0], 400)
        for _ in range(after):
            await RisingEdge(dut.aclk)
        await bench.reset()
        assert await bench.idle() == {"IDLE", "READY"}
        assert await bench.read("PROGRAM_LENGTH") == 0
        await bench.windows()
        await bench.copies(READ[0] + 4096, WRITE[0], 20)


@cocotb.test()
async def a_running_machine_is_left_alone(dut):  # settings and START are ignored; registers can be read
    bench = await begin(dut)
    words = 600
    expected = bytearray(bench.ram.read(0, SIZE))
    expected[WRITE[0]:WRITE[0] + words * WORD] = expected[READ[0]:READ[0] + words * WORD]
    await bench.start(READ[0], WRITE[0], words)
    await bench.write_wide("WRITE_BASE", 0)
    await bench.write_wide("READ_LIMIT", 0)
    await bench.write("PROGRAM_LENGTH", 1)
    await bench.write("CONTROL", 1 << BITS["START"])
    await bench.lite.read(0, 0x180)
    assert not await bench.read("CONTROL") >> BITS["IDLE"] & 1
    assert await bench.idle() == {"IDLE", "READY", "DONE"}
    assert bench.ram.read(0, SIZE) == expected
    assert await bench.read("PROGRAM_LENGTH") == words
    await bench.copies(READ[0], WRITE[0] + 0x1000, 3)


@cocotb.test()
async def interrupts(dut):
    bench = await begin(dut)
    await bench.write("INTERRUPT_GLOBAL", 1)
    await bench.write("INTERRUPT_ENABLE", 1)
    await bench.start(READ[0], WRITE[0], 5)
    await with_timeout(RisingEdge(dut.irq), 10, "us")
    assert await bench.idle() == {"IDLE", "READY", "DONE", "INTERRUPT"}
    await bench.write("INTERRUPT_STATUS", 1)
    await RisingEdge(dut.aclk)
    assert not dut.irq.value
    await bench.start(0, WRITE[0], 5)
    await bench.fails(ErrorCode.READ_WINDOW, 0)
    assert await bench.read("INTERRUPT_STATUS") == 2 and not dut.irq.value
    await bench.write("INTERRUPT_ENABLE", 3)
    await RisingEdge(dut.aclk)
    assert dut.irq.value


@cocotb.test()
async def register_access(dut):
    bench = await begin(dut)
    lite, at = bench.lite, offset("IMAGE_LOW")
    for chance in (0, 0.6):
        for channel in (lite.write_if.aw_channel, lite.write_if.w_channel, lite.write_if.b_channel,
                        lite.read_if.ar_channel, lite.read_if.r_channel):
            rng = random.Random(bench.random.random())
            channel.set_pause_generator(rng.random() < chance for _ in iter(int, 1))
        model = bytearray((await lite.read(at, 16)).data)
        for _ in range(60):
            start = bench.random.randrange(16)
            data = bench.random.randbytes(bench.random.randrange(1, 17 - start))
            model[start:start + len(data)] = data
            writing = cocotb.start_soon(lite.write(at + start, data))  # byte strobes; reads at the same time
            constant = await lite.read_dword(offset("MAGIC"))
            await writing
            assert constant == MAGIC
            assert (await lite.read(at, 16)).data == model
        assert (await lite.read(0x160, 0x40)).data == bytes(0x40)
        await lite.write(0x160, b"\xff" * 0x40)
        assert (await lite.read(0x160, 0x40)).data == bytes(0x40)
