# SPDX-License-Identifier: Apache-2.0
"""The tensors of a source. A family takes each of them, or drops it with a reason."""

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase

import torch
from torch import Tensor

from .errors import BadTensor, MissingTensor, UnmappedTensor
from .missing import Missing
from .report import Report

__all__ = ["Inventory"]

#: Tensors that only training uses, in any family.
_TRAINING = {
    "*position_ids": "numbers 0, 1, 2 ...",
    "*num_batches_tracked": "a counter of training",
    "*mask_token": "stands for hidden patches in training",
}


class Inventory:
    """Tensors of one source by name. ``close`` fails if a tensor was neither taken nor dropped.

    ``missing`` collects the options that the source needs besides its tensors.
    """

    def __init__(self, tensors: dict[str, Tensor], family: str, report: Report) -> None:
        self.tensors, self.family, self.report = tensors, family, report
        self.missing = Missing()
        self._open = dict.fromkeys(tensors)  # in the order of the file
        self._absent: list[str] = []

    def __contains__(self, name: str) -> bool:
        return name in self._open

    def names(self, pattern: str = "*") -> list[str]:
        """Names that match and are neither taken nor dropped yet."""
        return [name for name in self._open if fnmatchcase(name, pattern)]

    def look(self, name: str) -> Tensor:
        """A tensor, without taking it. Raises MissingTensor."""
        if name not in self.tensors:
            raise MissingTensor(f"{name} is missing: every {self.family} checkpoint has it")
        return self.tensors[name]

    def take(self, name: str, shape: Sequence[int] | None = None, dtype: torch.dtype = torch.float32) -> Tensor:
        """Take a tensor: as float64 for exact folds, or as bool for a bool ``dtype``.

        ``shape`` is checked; -1 stands for any length. Raises MissingTensor, BadTensor.
        """
        value = self.look(name)
        self._open.pop(name, None)
        if value.dtype != dtype:
            raise BadTensor(f"{name} is {str(value.dtype).removeprefix('torch.')}, not {str(dtype)[6:]}, float16, "
                            "bfloat16 or float64: convert it (of quantised weights save the float model)")
        if not value.sum(dtype=torch.float64).isfinite():  # a sum of finite float32 values is finite in float64
            raise BadTensor(f"{name} holds {int((~value.isfinite()).sum())} values that are NaN or infinite: "
                            "take a checkpoint from before the training failed")
        if shape is not None and (value.ndim != len(shape)
                                  or any(want not in (-1, got) for want, got in zip(shape, value.shape, strict=True))):
            wanted = tuple("any" if want == -1 else want for want in shape)
            raise BadTensor(f"{name} has shape {tuple(value.shape)}, its neighbours ask for {wanted}")
        return value if dtype == torch.bool else value.double()

    def maybe(self, name: str, shape: Sequence[int]) -> Tensor:
        """`take`, or zeros of ``shape`` if the tensor (a bias) is absent. The report says so.

        It must be absent in every block; `close` checks this.
        """
        if name in self.tensors:
            return self.take(name, shape)
        self._absent.append(name)
        self.report.say("folded", f"absent biases are zero ({name} and its like)")
        return torch.zeros(tuple(shape), dtype=torch.float64)

    def drop(self, pattern: str, why: str) -> None:
        """Leave out all tensors that match, and report it."""
        found = self.names(pattern)
        for name in found:
            del self._open[name]
        if found:
            more = f" and {len(found) - 1} more like it" if len(found) > 1 else ""
            self.report.say("dropped", f"{found[0]}{more}: {why}")

    def close(self) -> None:
        """Check that every tensor is accounted for.

        Raises UnmappedTensor if a tensor was neither taken nor dropped, MissingTensor if a bias is absent in some
        blocks only.
        """
        there = {_of_any_block(name): name for name in self.tensors}
        for name in self._absent:
            if _of_any_block(name) in there:
                raise MissingTensor(f"{name} is missing, but {there[_of_any_block(name)]} is there: the checkpoint is "
                                    "damaged or incomplete")
        for pattern, why in _TRAINING.items():
            self.drop(pattern, why)
        if self._open:
            names = list(self._open)
            raise UnmappedTensor(f"{', '.join(names[:5])}{' ...' if len(names) > 5 else ''} ({len(names)} tensors) "
                                 f"belong to no part of {self.family} that is known here: if they are of no use, pass "
                                 f"--leave-out '{names[0]}' (a pattern), else force another --family")
        taken = len(self.tensors)
        self.report.say("mapped", f"all {taken} tensors of {self.family} are accounted for")


def _of_any_block(name: str) -> str:
    """The name without its first separate number, which is the block's."""
    return re.sub(r"(?<![a-zA-Z])\d+(?=[./])", "#", name, count=1)
