# SPDX-License-Identifier: Apache-2.0
"""The tensors of a source, each of which a family takes, or leaves out and says why."""

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase

import torch
from torch import Tensor

from .errors import BadTensor, MissingTensor, UnmappedTensor
from .report import Report

__all__ = ["Inventory"]

#: Tensors of training alone, in any family.
_TRAINING = {
    "*position_ids": "numbers 0, 1, 2 ...",
    "*num_batches_tracked": "a counter of training",
    "*mask_token": "stands for hidden patches in training",
}


class Inventory:
    """Tensors of one source by name. ``close`` fails while one of them has no explanation."""

    def __init__(self, tensors: dict[str, Tensor], family: str, report: Report) -> None:
        self.tensors, self.family, self.report = tensors, family, report
        self._open = dict.fromkeys(tensors)  # keeps the order of the file
        self._absent: list[str] = []

    def __contains__(self, name: str) -> bool:
        return name in self._open

    def names(self, pattern: str = "*") -> list[str]:
        """Names that are still to be explained and match."""
        return [name for name in self._open if fnmatchcase(name, pattern)]

    def look(self, name: str) -> Tensor:
        """A tensor that stays to be explained. Raises MissingTensor."""
        if name not in self.tensors:
            raise MissingTensor(f"{name} is missing: every {self.family} checkpoint has it")
        return self.tensors[name]

    def take(self, name: str, shape: Sequence[int] | None = None, dtype: torch.dtype = torch.float32) -> Tensor:
        """A tensor as float64, for exact folds, or bool if ``dtype`` is; from now on it is explained.

        ``shape`` is checked, -1 stands for any length. Raises MissingTensor, BadTensor.
        """
        value = self.look(name)
        self._open.pop(name, None)
        if value.dtype != dtype:
            raise BadTensor(f"{name} is {str(value.dtype).removeprefix('torch.')}, not {str(dtype)[6:]}, float16, "
                            "bfloat16 or float64: convert it (of quantised weights save the float model)")
        if not value.sum(dtype=torch.float64).isfinite():  # the sum of finite float32 values is finite
            raise BadTensor(f"{name} holds {int((~value.isfinite()).sum())} values that are NaN or infinite: "
                            "take a checkpoint from before the training failed")
        if shape is not None and (value.ndim != len(shape)
                                  or any(want not in (-1, got) for want, got in zip(shape, value.shape, strict=True))):
            wanted = tuple("any" if want == -1 else want for want in shape)
            raise BadTensor(f"{name} has shape {tuple(value.shape)}, its neighbours ask for {wanted}")
        return value if dtype == torch.bool else value.double()

    def maybe(self, name: str, shape: Sequence[int]) -> Tensor:
        """`take`, or zeros of ``shape`` where the tensor (a bias) is absent, which the report says.

        It must be absent in every block: `close` looks.
        """
        if name in self.tensors:
            return self.take(name, shape)
        self._absent.append(name)
        self.report.say("folded", f"absent biases are zero ({name} and its like)")
        return torch.zeros(tuple(shape), dtype=torch.float64)

    def drop(self, pattern: str, why: str) -> None:
        """Leave out what matches, and say so."""
        found = self.names(pattern)
        for name in found:
            del self._open[name]
        if found:
            more = f" and {len(found) - 1} more like it" if len(found) > 1 else ""
            self.report.say("dropped", f"{found[0]}{more}: {why}")

    def close(self) -> None:
        """Raise UnmappedTensor if a tensor is neither taken nor left out, MissingTensor if a bias that is absent is
        there in another block."""
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
    """The name without its first number that stands alone, which is the block's."""
    return re.sub(r"(?<![a-zA-Z])\d+(?=[./])", "#", name, count=1)
