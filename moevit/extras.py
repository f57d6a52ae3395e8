# SPDX-License-Identifier: Apache-2.0
"""Packages that come with an extra: who lacks one is told in a line what to install."""

__all__ = ["MissingExtra", "explained"]

#: Packages that a command or name can do without, until it is asked for what needs them.
_OWN = {"onnx": "onnx", "onnxruntime": "onnx", "pynq": "board"}


class MissingExtra(ImportError):
    """A package is not installed. The message is one line with the command that installs it."""


def explained(error: ModuleNotFoundError, what: str, extra: str) -> ImportError:
    """``error`` as one of a package that ``what`` needs and ``extra`` brings; itself if the package is our own."""
    package = (error.name or "").split(".")[0]
    extra = _OWN.get(package, extra)
    if not package or package == "moevit" or not extra:
        return error
    return MissingExtra(f"{what} needs {package}, which is not installed: pip install 'moevit[{extra}]'", name=package)
