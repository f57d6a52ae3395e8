# SPDX-License-Identifier: Apache-2.0
"""The errors of an import. Each message says the problem, its place and the remedy."""

__all__ = ["AmbiguousState", "BadTensor", "ImportFailed", "MissingTensor", "NeedsOption", "NotProved", "UnknownFamily",
           "UnmappedTensor", "Unreadable", "Unsupported"]


class ImportFailed(ValueError):
    """The checkpoint cannot become a network of the machine.

    Fix: see the message; `moevit import --help` lists the options.
    """


class Unreadable(ImportFailed):
    """A file that does not match its suffix, or without tensors.

    Fix: save the model's state dict as .safetensors.
    """


class AmbiguousState(ImportFailed):
    """A file with several state dicts, or without the chosen one.

    Fix: name one with ``--state``.
    """


class UnknownFamily(ImportFailed):
    """No family recognises the tensors, or several do.

    Fix: name the family with ``--family``.
    """


class NeedsOption(ImportFailed):
    """Facts that shapes and configuration do not give. ``options`` are the options that give them.

    The message has a line for each: what it means, an example, why it is asked for.

    Fix: give all the options that the message names.
    """

    def __init__(self, message: str, options: tuple[str, ...]) -> None:
        super().__init__(message)
        self.options = options


class Unsupported(ImportFailed):
    """The machine lacks a part of the network. The message names the tensor that shows the part.

    Fix: use a network without this part; docs/layers.md lists what the machine supports.
    """


class MissingTensor(ImportFailed):
    """A tensor of the family is missing.

    Fix: use a complete checkpoint, or force another ``--family``.
    """


class UnmappedTensor(ImportFailed):
    """A tensor that the family does not know. No tensor is left out in silence.

    Fix: leave it out with ``--leave-out`` if it is of no use, else force another ``--family``.
    """


class BadTensor(ImportFailed):
    """A tensor with NaN, with an unexpected shape, or not of floating point.

    Fix: use a float checkpoint from before the training failed.
    """


class NotProved(ImportFailed):
    """The source's own model cannot run here. The import goes on, and its report says so.

    Fix: install the library that the report names, and import again for a proof.
    """
