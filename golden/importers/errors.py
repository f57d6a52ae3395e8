# SPDX-License-Identifier: Apache-2.0
"""Why a checkpoint is not imported. Each message is one line: what is wrong, where, what to do."""

__all__ = ["AmbiguousState", "BadTensor", "ImportFailed", "MissingTensor", "NeedsOption", "NotProved", "UnknownFamily",
           "UnmappedTensor", "Unreadable", "Unsupported"]


class ImportFailed(ValueError):
    """A checkpoint that does not become a network of the machine."""


class Unreadable(ImportFailed):
    """A file that is not what its name says, or that holds no tensors."""


class AmbiguousState(ImportFailed):
    """A file with several state dicts, or a choice of one that is not there: ``--state`` names one."""


class UnknownFamily(ImportFailed):
    """No family, or more than one, recognises the tensors: ``--family`` names one."""


class NeedsOption(ImportFailed):
    """Something that shapes and configuration do not say. ``option`` is the option that says it."""

    def __init__(self, option: str, message: str) -> None:
        super().__init__(f"{message}: give {option}")
        self.option = option


class Unsupported(ImportFailed):
    """A part of the network that the machine does not have, with the tensor that shows it."""


class MissingTensor(ImportFailed):
    """A tensor that the family always has is not there."""


class UnmappedTensor(ImportFailed):
    """A tensor that the family does not know: nothing is left out in silence."""


class BadTensor(ImportFailed):
    """A tensor with NaN, of another shape than its neighbours ask for, or not of floating point."""


class NotProved(ImportFailed):
    """The source's own model cannot be run here. An import goes on, and its report says so."""
