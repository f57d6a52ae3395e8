# SPDX-License-Identifier: Apache-2.0
"""Runs inside the simulator, under cocotb. It obeys a ``SimulatedBoard`` over a socket, one JSON line per message.

The clock stands still between commands. The process ends when the socket closes: the board is closed, or its process
has died.
"""

import json
import logging
import select
import socket
import time
import warnings
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import First, RisingEdge, SimTimeoutError, Timer, with_timeout
from cocotbext.axi import AxiLiteBus, AxiLiteMaster

__all__: list[str] = []

PERIOD = 2  # simulation steps per clock cycle
REPORT_SECONDS = 0.25
REGISTER_CYCLES = 10_000  # within which a register access must have its answer


class _Server:
    def __init__(self, dut: Any, connection: socket.socket):
        self._dut, self._connection, self._buffer = dut, connection, b""
        self._lite = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axi"), dut.aclk, dut.aresetn,
                                   reset_active_level=False)

    async def run(self) -> None:
        dut = self._dut
        dut.aresetn.value = 0
        dut.setting_write.value = 0
        Clock(dut.aclk, PERIOD, "step", impl="gpi").start()
        await self.reset()
        self._send({"ready": True})
        while True:
            command = self._receive()
            if command is None or command["op"] == "quit":
                return
            try:
                answer = await getattr(self, command.pop("op"))(**command)
            except SimTimeoutError:
                answer = {"error": "bus", "message": f"no answer on s_axi within {REGISTER_CYCLES} cycles"}
            self._send(answer or {})

    async def reset(self, cycles: int = 16) -> None:
        self._dut.aresetn.value = 0
        await Timer(cycles * PERIOD, "step")
        self._dut.aresetn.value = 1
        await Timer(4 * PERIOD, "step")

    async def read(self, at: int) -> dict[str, Any]:
        answer = await with_timeout(self._lite.read(at, 4), REGISTER_CYCLES * PERIOD, "step")
        return self._judge(answer.resp) or {"value": int.from_bytes(answer.data, "little")}

    async def write(self, at: int, value: int) -> dict[str, Any] | None:
        answer = await with_timeout(self._lite.write(at, value.to_bytes(4, "little")), REGISTER_CYCLES * PERIOD, "step")
        return self._judge(answer.resp)

    @staticmethod
    def _judge(response: int) -> dict[str, Any] | None:
        return {"error": "bus", "message": f"s_axi answered {response!r}"} if response else None

    async def settings(self, words: dict[str, int]) -> None:
        dut = self._dut
        for index, value in words.items():
            dut.setting_index.value = int(index)
            dut.setting_value.value = value
            dut.setting_write.value = 1
            await Timer(PERIOD, "step")
            dut.setting_write.value = 0
            await Timer(PERIOD, "step")

    async def counters(self) -> dict[str, Any]:
        dut = self._dut
        return {name: int(getattr(dut, name).value) for name in ("cycles", "bytes_read", "bytes_written", "irq")}

    async def wait(self, cycles: int, irq: bool) -> dict[str, Any]:
        """Run the clock for ``cycles``, with ``irq`` only until the interrupt. Sends the cycles done now and then."""
        dut, done, chunk, told = self._dut, 0, 1000, time.monotonic()
        start = int(dut.cycles.value)
        while done < cycles and not (irq and int(dut.irq.value)):
            timer = Timer(min(chunk, cycles - done) * PERIOD, "step")
            began = time.monotonic()
            await (First(RisingEdge(dut.irq), timer) if irq else timer)
            done = int(dut.cycles.value) - start
            now = time.monotonic()
            if now - began < REPORT_SECONDS / 2:
                chunk *= 2
            elif now - began > 2 * REPORT_SECONDS:
                chunk = max(1000, chunk // 2)
            if now - told > REPORT_SECONDS:
                told = now
                self._send({"progress": done})
                if select.select([self._connection], [], [], 0)[0]:
                    break  # a stop command, or the socket is closed: the next receive finds out
        return {"cycles": done, "irq": bool(int(dut.irq.value))}

    async def stop(self) -> dict[str, Any]:
        return {"stopped": True}

    def _send(self, message: dict[str, Any]) -> None:
        try:
            self._connection.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            pass  # the socket is closed, as the next receive finds out

    def _receive(self) -> dict[str, Any] | None:
        while b"\n" not in self._buffer:
            try:
                part = self._connection.recv(1 << 16)
            except OSError:
                return None
            if not part:
                return None
            self._buffer += part
        line, self._buffer = self._buffer.split(b"\n", 1)
        return json.loads(line)


@cocotb.test()
async def serve(dut: Any) -> None:
    """The only "test": serves until the board is closed."""
    warnings.filterwarnings("ignore", category=DeprecationWarning, module="cocotbext")
    logging.getLogger("cocotb.testbench").setLevel(logging.WARNING)
    with socket.socket(fileno=int(cocotb.plusargs["socket"])) as connection:
        await _Server(dut, connection).run()
