# SPDX-License-Identifier: Apache-2.0
"""Facts of a network that no tensor shows: heads, activation, epsilon, image, normalisation. They are never guessed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .errors import ImportFailed, Unsupported
from .inventory import Inventory
from .options import NORMALISATIONS, Options, Preprocess, Triple
from .source import CheckpointSource

__all__ = ["Facts", "image_of", "settle", "stated", "triple"]

#: Names of activations in Hugging Face's configurations -> names in `spec.networks.ACTIVATIONS`.
_ACTIVATIONS = {"gelu": "gelu", "gelu_python": "gelu", "gelu_new": "gelu_tanh", "gelu_fast": "gelu_tanh",
                "gelu_pytorch_tanh": "gelu_tanh", "gelu_python_tanh": "gelu_tanh", "gelu_accurate": "gelu_tanh",
                "gelu_tanh": "gelu_tanh", "quick_gelu": "quick_gelu", "relu": "relu"}
_BILINEAR, _BICUBIC = 2, 3  # PIL's numbers in preprocessor_config.json


@dataclass(frozen=True)
class Facts:
    """Known facts; None is unknown. ``image`` is (height, width) in pixels of the trained positions."""

    heads: int | None = None
    activation: str | None = None
    norm_eps: float | None = None
    image: tuple[int, int] | None = None
    preprocess: Preprocess | None = None


def stated(source: CheckpointSource) -> Facts:
    """The facts in Hugging Face's config.json and preprocessor_config.json, or in an ONNX graph under the same names.

    Raises Unsupported for an activation that the machine lacks, ImportFailed for a value of a wrong type.
    """
    config = source.config
    activation = config.get("hidden_act")
    if activation is not None and activation not in _ACTIVATIONS:
        raise Unsupported(f"hidden_act {activation!r} of the configuration: the machine has "
                          f"{', '.join(sorted(set(_ACTIVATIONS.values())))}")
    image = config.get("image_size")
    try:
        size = None if image is None else image_of(image)
        heads, norm_eps = config.get("num_attention_heads"), config.get("layer_norm_eps")
        return Facts(None if heads is None else int(heads), None if activation is None else _ACTIVATIONS[activation],
                     None if norm_eps is None else float(norm_eps), size, _preprocess(source.preprocessor))
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        if isinstance(error, ImportFailed):
            raise
        raise ImportFailed(f"the configuration of {source.path} is not readable: {error!r}") from error


def settle(found: Facts, usual: Facts, options: Options, inventory: Inventory, whose: str) -> dict[str, Any]:
    """``heads``, ``activation``, ``norm_eps`` of a network: from the options, else ``found``, else ``usual``.

    ``usual`` is fixed by the documentation of ``whose``; using it is reported. An unknown fact is None, and
    missing in ``inventory``.
    """
    fields: dict[str, Any] = {}
    report = inventory.report
    for field in ("heads", "activation", "norm_eps"):
        given, known, fixed = (getattr(each, field) for each in (options, found, usual))
        value = given if given is not None else known if known is not None else fixed
        if value is None:
            inventory.missing.add(f"--{field.replace('_', '-')}",
                                  f"neither a tensor nor a configuration of this {whose} says its {field}")
        elif given is not None and known is not None and given != known:
            report.say("assumed", f"{field} {given} as the option says, instead of {known}")
        elif given is None and known is None:
            report.say("assumed", f"{field} {value}, as in every {whose}")
        fields[field] = value
    return fields


def image_of(size: Any) -> tuple[int, int]:
    """(height, width) of a configuration's ``image_size``, which is a number, a pair, or an object."""
    if isinstance(size, Mapping):
        return int(size["height"]), int(size["width"])
    height, width = size if isinstance(size, list | tuple) else (size, size)
    return int(height), int(width)


def triple(values: Any) -> Triple:
    """Three numbers of a configuration, for R, G, B. Raises ValueError."""
    red, green, blue = map(float, values)
    return red, green, blue


def _preprocess(config: Mapping[str, Any]) -> Preprocess | None:
    if not config:
        return None
    if abs(config.get("rescale_factor", 1 / 255) - 1 / 255) > 1e-9 or config.get("do_rescale") is False:
        raise Unsupported("preprocessor_config.json: pixels are not divided by 255, which the importer builds upon")
    if config.get("do_normalize") is False:
        mean, std = NORMALISATIONS["none"]
    elif "image_mean" in config and "image_std" in config:
        mean, std = (triple(config[name]) for name in ("image_mean", "image_std"))
    else:
        return None
    crop = config.get("crop_size") if config.get("do_center_crop", True) else None
    cut = None if crop is None else image_of(crop)[0]
    how = {_BILINEAR: "bilinear", _BICUBIC: "bicubic"}.get(config.get("resample", _BICUBIC), "bicubic")
    return Preprocess(mean, std, _shorter_side(config.get("size"), cut), how, crop=cut)


def _shorter_side(size: Any, cut: int | None) -> int | None:
    """Length in pixels of the picture's shorter side before the centre is cut out; None if both sides become the
    image's."""
    if isinstance(size, Mapping) and "shortest_edge" in size:
        return int(size["shortest_edge"])
    return None if cut is None or size is None else min(image_of(size))
