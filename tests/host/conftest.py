# SPDX-License-Identifier: Apache-2.0
"""A machine for the runtime that records accesses, and a network for it."""

import pytest

from moevit.compiler.assemble import compile_model
from moevit.golden.machine.device import GoldenDevice
from moevit.host.runtime import Accelerator
from moevit.spec.arrays import CONFIGS
from moevit.spec.registers import offset

CONFIG = CONFIGS["8x8"]


class Spy(GoldenDevice):
    """A golden device that records register writes, and gives other answers if it is told to."""

    def __init__(self, **kwargs):
        super().__init__(CONFIG, **kwargs)
        self.writes, self.answers, self.buffers, self.late = [], {}, [], False

    def write_register(self, at, value):
        self.writes.append(at)
        super().write_register(at, value)

    def read_register(self, at):
        return self.answers.get(at, super().read_register(at))

    def allocate(self, size):
        self.buffers.append(super().allocate(size))
        return self.buffers[-1]

    def wait(self, timeout=None):
        if self.late:
            raise TimeoutError

    def answer(self, **names):
        self.answers |= {offset(name): value for name, value in names.items()}


@pytest.fixture
def device():
    return Spy()


@pytest.fixture
def bundle(tiny_model):
    return compile_model(tiny_model, CONFIG)


@pytest.fixture
def loaded(device, bundle):
    accelerator = Accelerator(device)
    accelerator.load(bundle)
    return accelerator
