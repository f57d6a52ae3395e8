# SPDX-License-Identifier: Apache-2.0
"""The ports of a component under test: found by name, set and read as plain values, driven as streams."""

import random
from collections.abc import Iterable
from typing import Any

from amaranth.hdl import Value

from .payload import pack, unpack

__all__ = ["PlainPort", "Receiver", "Sender", "StreamError", "find_port"]


class StreamError(AssertionError):
    """A component broke a rule of streams, gave too many payloads, or stopped.

    Fix: run the same seed again with ``vcd`` and look at the port that the message names.
    """


def find_port(dut: Any, name: str) -> Any:
    """The port called ``name``: attributes and indices with dots between them, "bus.ar" or "copy.0.data"."""
    port = dut
    for part in name.split("."):
        port = port[int(part)] if part.isdigit() else getattr(port, part)
    return port


class PlainPort:
    """A port that is a signal or a payload. Its values are plain Python values (see ``payload``)."""

    def __init__(self, port: Any, name: str = "payload"):
        self.name = name
        self.value = Value.cast(port)
        self.shape = port.shape() if hasattr(port, "shape") else self.value.shape()

    def set(self, ctx: Any, value: Any) -> None:
        ctx.set(self.value, pack(self.shape, value, self.name))

    def get(self, ctx: Any) -> Any:
        return self.plain(ctx.get(self.value))

    def plain(self, bits: int) -> Any:
        """The plain value of ``bits``, as the simulator gives them."""
        return unpack(self.shape, bits & ((1 << len(self.value)) - 1))


class _StreamPort:
    """One stream, or one flow (it has no ``ready``)."""

    def __init__(self, dut: Any, name: str):
        port = find_port(dut, name)
        self.name = name
        self.valid, self.payload = Value.cast(port.valid), Value.cast(port.payload)
        self.shape = port.payload.shape() if hasattr(port.payload, "shape") else self.payload.shape()
        self.ready = Value.cast(port.ready) if hasattr(port, "ready") else None
        self.cycles: list[int] = []

    @property
    def samples(self) -> list[Value]:
        return [self.valid, self.payload, *([] if self.ready is None else [self.ready])]


class Sender(_StreamPort):
    """Offers payloads. A payload that was offered stays until it is taken."""

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
            ctx.set(self.payload, bits)

    def see(self, cycle: int, valid: int, payload: int, ready: int = 1) -> bool:
        if not (valid and ready):
            return False
        self.cycles.append(cycle)
        self.sent += 1
        self.offering = False
        return True


class Receiver(_StreamPort):
    """Takes payloads.

    While ``shy`` it sets ready only after it has seen valid: a component must not wait for ready before it offers.
    """

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
