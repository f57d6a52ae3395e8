# SPDX-License-Identifier: Apache-2.0
"""An FPGA accelerator for Mixture-of-Experts vision transformers: from a checkpoint to a verified machine.

The names below are imported when they are first used, because a board has only numpy. A name whose packages are missing
raises MissingExtra, an ImportError that says what to install.
"""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from .extras import explained

__all__ = ["Accelerator", "__version__", "compile", "estimate", "import_checkpoint", "load", "quantise"]

try:
    __version__ = version("moevit")
except PackageNotFoundError:  # a checkout that is not installed
    __version__ = "0+unknown"

#: Module, name in it, and extra of each name.
_NAMES = {
    "Accelerator": ("moevit.host.runtime", "Accelerator", ""),
    "import_checkpoint": ("moevit.golden.importers", "import_checkpoint", "golden"),
    "quantise": ("moevit.golden.quant.quantiser", "quantise", "golden"),
    "compile": ("moevit.compiler.assemble", "compile_model", ""),
    "estimate": ("moevit.estimator.estimate", "estimate", "hw"),
    "load": ("moevit.files", "load", ""),
}


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module moevit has no attribute {name!r}")
    module, attribute, extra = _NAMES[name]
    try:
        found = getattr(import_module(module), attribute)
    except ModuleNotFoundError as error:
        raise explained(error, f"moevit.{name}", extra) from error
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
