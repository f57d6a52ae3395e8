# SPDX-License-Identifier: Apache-2.0
"""Libraries of the sources' own models. Each is imported only to prove an import, and may be absent."""

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

#: torchvision's compiled operators. No vision transformer uses them, but the package does not load without them.
_OPERATORS = ("nms", "qnms", "roi_align", "qroi_align", "roi_pool", "ps_roi_align", "ps_roi_pool", "deform_conv2d",
              "_roi_align_backward", "_roi_pool_backward", "_ps_roi_align_backward", "_ps_roi_pool_backward",
              "_deform_conv2d_backward")
_declared: list[torch.library.Library] = []  # operators live as long as this


def library(name: str) -> ModuleType:
    """The module ``name`` (``timm``, ``transformers.models.vit``). Raises NotProved where it cannot be imported.

    A torchvision whose compiled part was built for another torch (the wheels of PyPI beside a torch for CPUs) is
    imported without its operators.
    """
    try:
        _torchvision()
        return import_module(name)
    except Exception as error:  # whatever a foreign package does on being imported
        top = name.partition(".")[0]
        raise NotProved(f"{top} cannot be imported here ({first_line(error)}): pip install {top}") from error


@contextmanager
def no_warnings() -> Iterator[None]:
    """Other packages warn of what concerns their own users."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def first_line(error: BaseException) -> str:
    """What a foreign error says, in one line, without the colours of a terminal."""
    line = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).strip().partition("\n")[0]
    return shorten(line, 200, placeholder=" ...") if line and not line.isdigit() else type(error).__name__


def _torchvision() -> None:
    try:
        import_module("torchvision")
    except ImportError:
        return  # whoever needs it will say so
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        operators = torch.library.Library("torchvision", "DEF")
        _declared.append(operators)
        for name in _OPERATORS:
            operators.define(f"{name}(Tensor unused) -> Tensor")
