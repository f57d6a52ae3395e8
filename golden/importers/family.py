# SPDX-License-Identifier: Apache-2.0
"""A family of checkpoints: how it is recognised, how its tensors become a network, how its own model is run."""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import ClassVar

from torch import Tensor

from moevit.spec.networks import Network

from .draft import Draft
from .errors import NotProved
from .inventory import Inventory
from .options import Options
from .source import CheckpointSource

__all__ = ["Family", "Original"]

#: Normalised images (B, 3, H, W) and a task's place in ``network.tasks`` -> tokens (B, tokens, dim), after the final
#: norm if the network has one.
Original = Callable[[Tensor, int], Tensor]


class Family(ABC):
    """One file and one test each. Its tell-tale keys are patterns (``re.fullmatch``) of tensor names."""

    name: ClassVar[str]
    #: For messages: whose checkpoints these are.
    title: ClassVar[str]
    #: Each must be the name of a tensor.
    keys: ClassVar[tuple[str, ...]]
    #: None may be the name of a tensor: they tell of another family.
    without: ClassVar[tuple[str, ...]] = ()

    def tells(self, source: CheckpointSource) -> bool:
        """Whether ``source`` is of this family. A network in its metadata makes it one of our own."""
        return "network" not in source.metadata and all(_any(key, source.tensors) for key in self.keys) and not any(
            _any(key, source.tensors) for key in self.without)

    @abstractmethod
    def convert(self, source: CheckpointSource, inventory: Inventory, options: Options) -> Draft:
        """The network of ``source``. Every tensor is taken from ``inventory`` or dropped. Raises ImportFailed."""

    def original(self, source: CheckpointSource, network: Network, options: Options) -> Original:
        """The library's own model with the weights of ``source``. Raises NotProved where it cannot be made."""
        raise NotProved(f"the model of {self.title} is not available as a library here")


def _any(pattern: str, names: Iterable[str]) -> bool:
    return any(re.fullmatch(pattern, name) for name in names)
