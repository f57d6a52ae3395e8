# SPDX-License-Identifier: Apache-2.0
"""A family of checkpoints: how to recognise it, how to convert its tensors, how to run its own model."""

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

#: Normalised images (B, 3, H, W) and a task's index in ``network.tasks`` -> tokens (B, tokens, dim), after the final
#: norm if the network has one.
Original = Callable[[Tensor, int], Tensor]


class Family(ABC):
    """A family of checkpoints. Its keys are patterns (``re.fullmatch``) of tensor names."""

    name: ClassVar[str]
    #: The origin of these checkpoints, for messages.
    title: ClassVar[str]
    #: Every key must match a tensor.
    keys: ClassVar[tuple[str, ...]]
    #: No tensor may match any of these; they belong to another family.
    without: ClassVar[tuple[str, ...]] = ()

    def tells(self, source: CheckpointSource) -> bool:
        """Whether ``source`` is of this family. A source with a network in its metadata is a moevit checkpoint."""
        return "network" not in source.metadata and all(_any(key, source.tensors) for key in self.keys) and not any(
            _any(key, source.tensors) for key in self.without)

    @abstractmethod
    def convert(self, source: CheckpointSource, inventory: Inventory, options: Options) -> Draft:
        """The network of ``source``. Every tensor is taken from ``inventory`` or dropped. Raises ImportFailed.

        An unknown fact is added to ``inventory.missing``, and anything stands in for it. The draft is not used then.
        """

    def original(self, source: CheckpointSource, network: Network, options: Options) -> Original:
        """The library's own model with the weights of ``source``. Raises NotProved if it cannot be made."""
        raise NotProved(f"the model of {self.title} is not available as a library here")


def _any(pattern: str, names: Iterable[str]) -> bool:
    return any(re.fullmatch(pattern, name) for name in names)
