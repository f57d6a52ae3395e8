# SPDX-License-Identifier: Apache-2.0
"""Shared memory of a loaded bundle. Caches are flushed and invalidated here and nowhere else."""

from collections.abc import Mapping

import numpy as np

from moevit.spec.bundle import Bundle
from moevit.spec.cells import lay_cells

from .device import Buffer, Device
from .errors import OutOfContiguousMemory

__all__ = ["SLOTS", "Arena", "shared_bytes"]

PAGE = 4096
SLOTS = 2  # images, and outputs: the host copies one while the machine works on the other


def _pages(size: int) -> int:
    return -(-max(size, 1) // PAGE) * PAGE


def _sizes(bundle: Bundle) -> dict[str, dict[str, int]]:
    """Bytes of each part, by buffer: constants, what the host writes for a run, what the machine writes."""
    batch, image, out = (bundle.manifest[key] for key in ("batch", "image", "output"))
    patches = (image["height"] // image["patch"]) * (image["width"] // image["patch"])
    images = 3 * batch * patches * image["cell"] ** 2
    tokens = 2 * batch * out["tokens"] * out["words"] * out["lanes"]
    return {"constants": {"program": len(bundle.program), "weights": len(bundle.weights), "gates": len(bundle.gates)},
            "images": {f"image{slot}": images for slot in range(SLOTS)},
            "outputs": {f"output{slot}": tokens for slot in range(SLOTS)}}


def shared_bytes(bundle: Bundle) -> int:
    """Bytes of shared memory that ``bundle`` takes when it is loaded."""
    return sum(_pages(size) for parts in _sizes(bundle).values() for size in parts.values())


class Arena:
    """Program, weights, gates, and `SLOTS` images and outputs of ``bundle`` in memory of ``device``.

    There are three contiguous buffers, whose parts begin on pages. PYNQ 4 and PYNQ.remote can only flush or invalidate
    a whole buffer. So the parts that the host writes and the parts that the machine writes are in different buffers.

    Raises OutOfContiguousMemory, with nothing kept.

    Members
    -------
    addresses : physical address of each part
    reads, writes : first address that the machine may read (write), and first one after them
    """

    def __init__(self, device: Device, bundle: Bundle):
        sizes = _sizes(bundle)
        self._patch, self._cell = bundle.manifest["image"]["patch"], bundle.manifest["image"]["cell"]
        self._buffers: dict[str, Buffer] = {}
        self._places: dict[str, slice] = {}
        self.addresses: dict[str, int] = {}
        try:
            _check_room(device, sizes)
            for name, parts in sizes.items():
                self._allocate(device, name, parts)
            for part in sizes["constants"]:
                content = np.frombuffer(getattr(bundle, part), np.uint8)
                self._buffers["constants"].array[self._places[part]] = content
            self._buffers["constants"].flush()
        except BaseException:
            self.free()
            raise
        ends = {name: self.addresses[list(parts)[-1]] + list(parts.values())[-1] for name, parts in sizes.items()}
        self.reads = (min(self.addresses["program"], self.addresses["image0"]), max(ends["constants"], ends["images"]))
        self.writes = (self.addresses["output0"], ends["outputs"])

    def _allocate(self, device: Device, name: str, parts: Mapping[str, int]) -> None:
        total = sum(map(_pages, parts.values()))
        try:
            buffer = self._buffers[name] = device.allocate(total)
        except MemoryError as error:
            raise _shortage(f"{name} of {total} bytes: {error}", total, device.free_bytes()) from error
        at = 0
        for part, size in parts.items():
            self._places[part], self.addresses[part] = slice(at, at + size), buffer.address + at
            at += _pages(size)

    def put_images(self, slot: int, images: np.ndarray) -> None:
        """Copy images u8 ([batch,] H, W, 3) to ``slot``, each patch in its cell, and flush them."""
        buffer = self._buffers["images"]
        buffer.array[self._places[f"image{slot}"]] = lay_cells(images, self._patch, self._cell).reshape(-1)
        buffer.flush()

    def output(self, slot: int) -> np.ndarray:
        """A copy of what the machine wrote to ``slot``, u8."""
        buffer = self._buffers["outputs"]
        buffer.invalidate()
        return buffer.array[self._places[f"output{slot}"]].copy()

    def free(self) -> None:
        """Give the memory back; may be called twice."""
        for buffer in self._buffers.values():
            buffer.free()
        self._buffers.clear()


def _check_room(device: Device, sizes: Mapping[str, Mapping[str, int]]) -> None:
    needed = sum(_pages(size) for parts in sizes.values() for size in parts.values())
    free = device.free_bytes()
    if free is not None and needed > free:
        parts = ", ".join(f"{name} {sum(map(_pages, each.values())):,}" for name, each in sizes.items())
        raise _shortage(f"{needed:,} bytes of contiguous memory are needed ({parts}), {free:,} are free", needed, free)


def _shortage(cause: str, needed: int, free: int | None) -> OutOfContiguousMemory:
    megabytes = 1 << max(7, (2 * needed >> 20).bit_length())
    return OutOfContiguousMemory(cause, needed=needed, free=free, fix=(
        f"Free other buffers, or raise the CMA size of the board: cma={megabytes}M in the kernel's boot arguments"))
