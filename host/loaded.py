# SPDX-License-Identifier: Apache-2.0
"""A bundle in the memory of a machine whose registers point at it."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from moevit.spec.bundle import Bundle, BundleError

from .arena import Arena
from .device import Device
from .errors import DamagedBundle
from .images import tokens_of
from .registers import RegisterFile

__all__ = ["LoadedBundle", "read_bundle"]

WATCHDOG_CYCLES = 200_000  # a machine without any progress for that long is stuck, whatever the memory does


class LoadedBundle:
    """``bundle`` in shared memory of ``device``. ``registers`` point at its first task and at slot 0 of `SLOTS`.

    Raises OutOfContiguousMemory, with nothing kept.
    """

    def __init__(self, device: Device, registers: RegisterFile, bundle: Bundle):
        self.bundle, self._registers, self._arena = bundle, registers, Arena(device, bundle)
        try:
            self._point()
        except BaseException:
            self._arena.free()
            raise

    @property
    def addresses(self) -> Mapping[str, int]:
        """Physical address of each part."""
        return self._arena.addresses

    def _point(self) -> None:
        """Tell the machine where everything lies, and what it may read and write."""
        self._registers.forget()
        for name in ("program", "weights"):
            self._registers.set_wide(name.upper(), self.addresses[name])
        self._registers.set("PROGRAM_LENGTH", self.bundle.program_length)
        for name, (base, limit) in (("READ", self._arena.reads), ("WRITE", self._arena.writes)):
            self._registers.set_wide(f"{name}_BASE", base)
            self._registers.set_wide(f"{name}_LIMIT", limit)
        self._registers.set("WATCHDOG", min(max(WATCHDOG_CYCLES, self.bundle.manifest["deadline_cycles"]), 0xFFFF_FFFF))
        self.select(self.bundle.tasks[0])
        self.use_slot(0)

    def select(self, task: str) -> None:
        """Point the machine at the gates of ``task``: the only difference between tasks, one register write."""
        place = self.bundle.tasks.index(task) * self.bundle.manifest["gate_stride"]
        self._registers.set_wide("GATES", self.addresses["gates"] + place)

    def use_slot(self, slot: int) -> None:
        """Point the machine at the image and the output of ``slot``."""
        self._registers.set_wide("IMAGE", self.addresses[f"image{slot}"])
        self._registers.set_wide("OUTPUT", self.addresses[f"output{slot}"])

    def put_images(self, slot: int, images: np.ndarray) -> None:
        """Copy images u8 ([batch,] H, W, 3) to where the machine reads them."""
        self._arena.put_images(slot, images)

    def tokens(self, slot: int, images: np.ndarray) -> np.ndarray:
        """What the machine wrote for ``images``: s16 ([batch,] tokens, dim), with the batch axis if they have it."""
        return tokens_of(self.bundle, self._arena.output(slot), images.ndim == 4)

    def scaled(self, tokens: np.ndarray) -> np.ndarray:
        """Tokens s16 as float32: integer x 2^-fraction."""
        return tokens.astype(np.float32) / np.float32(1 << self.bundle.manifest["output"]["fraction"])

    def free(self) -> None:
        """Give the memory back; may be called twice."""
        self._arena.free()


def read_bundle(path: Path) -> Bundle:
    """The bundle in a file. Raises DamagedBundle."""
    try:
        return Bundle.load(path)
    except BundleError as error:
        raise DamagedBundle(str(error), fix="Copy or compile it again", path=str(path)) from error
