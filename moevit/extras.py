# SPDX-License-Identifier: Apache-2.0
"""Errors that name the extra of a missing package."""

__all__ = ["MissingExtra", "explained"]

#: Package -> extra, for packages that only some inputs of a command need.
_OWN = {"amaranth": "hw", "onnx": "onnx", "onnxruntime": "onnx", "pynq": "board"}


class MissingExtra(ImportError):
    """A package is not installed. The message is one line with the command that installs it.

    Fix: run the command that the message names.
    """


def explained(error: ModuleNotFoundError, what: str, extra: str) -> ImportError:
    """MissingExtra for ``error`` if ``extra`` contains the package that ``what`` needs; else ``error`` itself."""
    package = (error.name or "").split(".")[0]
    extra = _OWN.get(package, extra)
    if not package or package == "moevit" or not extra:
        return error
    return MissingExtra(f"{what} needs {package}, which is not installed: pip install 'moevit[{extra}]'", name=package)
