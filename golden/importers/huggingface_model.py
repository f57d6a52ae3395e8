# SPDX-License-Identifier: Apache-2.0
"""The models of transformers that prove an import. They are made from the source alone, without any download."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from moevit.spec.networks import Network

from .errors import NotProved
from .family import Original
from .libraries import library, no_warnings
from .source import CheckpointSource

__all__ = ["original"]

#: model_type -> module and class.
_MODELS = {"vit": ("vit", "ViT"), "deit": ("deit", "DeiT"), "vit_msn": ("vit_msn", "ViTMSN"),
           "dinov2": ("dinov2", "Dinov2"), "dinov2_with_registers": ("dinov2_with_registers", "Dinov2WithRegisters")}
_HEADS = ("classifier.", "cls_classifier.", "distillation_classifier.", "pooler.")
#: These have a pooler after the tokens by default, and fixed positions by default.
_POOLED = ("vit", "deit")


def original(source: CheckpointSource, network: Network, root: str) -> Original:
    """``ViTModel`` or a sibling with the tensors of ``source``, whose names begin with ``root``. Raises NotProved."""
    kind = source.config["model_type"]
    module, name = _MODELS[kind]
    package = library(f"transformers.models.{module}.modeling_{module}")
    configuration = library(f"transformers.models.{module}.configuration_{module}")
    names = {tensor: tensor.removeprefix(root) for tensor in source.tensors}
    state = {own: source.tensors[tensor] for tensor, own in names.items() if not own.startswith(_HEADS)}
    arguments: dict[str, Any] = {"add_pooling_layer": False} if kind in _POOLED else {}
    with _quiet():
        config = getattr(configuration, f"{name}Config").from_dict(
            {**source.config, "torch_dtype": "float32", "dtype": "float32"})
        model, info = getattr(package, f"{name}Model").from_pretrained(
            None, config=config, state_dict=state, output_loading_info=True, **arguments)
    missing = [key for key in info["missing_keys"] if not key.endswith("mask_token")]
    if missing or info["unexpected_keys"]:
        raise NotProved(f"{name}Model of transformers does not take the tensors: "
                        f"{', '.join([*missing, *info['unexpected_keys']][:3])} ...")
    trained = config.image_size if isinstance(config.image_size, int) else tuple(config.image_size)
    resampled = (network.height, network.width) != ((trained, trained) if isinstance(trained, int) else trained)
    call = {"interpolate_pos_encoding": True} if resampled and not kind.startswith("dinov2") else {}
    model.eval()
    return lambda images, _: model(images, **call).last_hidden_state


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence transformers, which prints much while it loads a model."""
    logging = library("transformers.utils.logging")
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with no_warnings():
            yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
