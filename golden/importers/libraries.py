# SPDX-License-Identifier: Apache-2.0
"""Access to the libraries of the sources' own models. They are only used to prove an import, and may be absent."""

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from textwrap import shorten
from types import ModuleType

import torch

from .errors import NotProved

__all__ = ["first_line", "library", "no_warnings"]

#: torchvision's compiled operators. Vision transformers do not use them, but the package needs them to load.
_OPERATORS = ("nms", "qnms", "roi_align", "qroi_align", "roi_pool", "ps_roi_align", "ps_roi_pool", "deform_conv2d",
              "_roi_align_backward", "_roi_pool_backward", "_ps_roi_align_backward", "_ps_roi_pool_backward",
              "_deform_conv2d_backward")
_declared: list[torch.library.Library] = []  # operators exist as long as this list


def library(name: str) -> ModuleType:
    """The module ``name`` (``timm``, ``transformers.models.vit``). Raises NotProved if it cannot be imported.

    A torchvision that was compiled for another torch (PyPI's wheel beside a CPU build of torch) is imported without its
    operators.
    """
    try:
        _torchvision()
        return import_module(name)
    except Exception as error:  # a foreign package may raise anything
        top = name.partition(".")[0]
        raise NotProved(f"{top} cannot be imported here ({first_line(error)}): pip install {top}") from error


@contextmanager
def no_warnings() -> Iterator[None]:
    """Suppress warnings of other packages, which are meant for their own users."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def first_line(error: BaseException) -> str:
    """The first line of a foreign error's message, without terminal colours."""
    line = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).strip().partition("\n")[0]
    return shorten(line, 200, placeholder=" ...") if line and not line.isdigit() else type(error).__name__


def _torchvision() -> None:
    try:
        import_module("torchvision")
    except ImportError:
        return  # a library that needs it reports it
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        operators = torch.library.Library("torchvision", "DEF")
        _declared.append(operators)
        for name in _OPERATORS:
            operators.define(f"{name}(Tensor unused) -> Tensor")
