# SPDX-License-Identifier: Apache-2.0
"""The errors of an import. Each message is one line: the problem, its place, the remedy."""

__all__ = ["AmbiguousState", "BadTensor", "ImportFailed", "MissingTensor", "NeedsOption", "NotProved", "UnknownFamily",
           "UnmappedTensor", "Unreadable", "Unsupported"]


class ImportFailed(ValueError):
    """The checkpoint cannot become a network of the machine."""


class Unreadable(ImportFailed):
    """A file that does not match its suffix, or without tensors."""


class AmbiguousState(ImportFailed):
    """A file with several state dicts, or without the chosen one. ``--state`` names one."""


class UnknownFamily(ImportFailed):
    """No family recognises the tensors, or several do. ``--family`` names one."""


class NeedsOption(ImportFailed):
    """A fact that shapes and configuration do not give. ``option`` is the option that gives it."""

    def __init__(self, option: str, message: str) -> None:
        super().__init__(f"{message}: give {option}")
        self.option = option


class Unsupported(ImportFailed):
    """The machine lacks a part of the network. The message names the tensor that shows the part."""


class MissingTensor(ImportFailed):
    """A tensor of the family is missing."""


class UnmappedTensor(ImportFailed):
    """A tensor that the family does not know. No tensor is left out in silence."""


class BadTensor(ImportFailed):
    """A tensor with NaN, with an unexpected shape, or not of floating point."""


class NotProved(ImportFailed):
    """The source's own model cannot run here. The import goes on, and its report says so."""
