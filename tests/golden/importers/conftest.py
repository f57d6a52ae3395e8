# SPDX-License-Identifier: Apache-2.0
"""Networks of other libraries with random weights, and checks of their imports."""

from importlib.util import find_spec

import numpy as np
import pytest
import torch
from torch import nn

from moevit.compiler.assemble import compile_model
from moevit.golden.importers.errors import NotProved
from moevit.golden.importers.libraries import library
from moevit.golden.integer.model import IntegerModel
from moevit.golden.machine.device import GoldenDevice
from moevit.golden.quant import quantise
from moevit.golden.reference import load_state, pixels
from moevit.host.runtime import Accelerator
from moevit.spec.arrays import CONFIGS

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
#: Largest difference of tokens or logits, relative to the largest value. Both compute in float32, in another order.
TOLERANCE = 1e-4


@pytest.fixture(scope="session")
def need():
    """``need(module)``: a module of another library. The test is skipped if it is not installed."""
    def module(name):
        try:
            return library(name)
        except NotProved as error:
            if find_spec(name.partition(".")[0]) is None:
                pytest.skip(str(error))
            raise

    return module


def randomise(module, seed: int = 1):
    """Give a model weights that make each part matter: gammas around 1, LayerScale in [0.1, 1], nonzero biases."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in module.named_parameters():
            noise = torch.randn(value.shape, generator=generator)
            if name.endswith(("gamma", "lambda1")):
                value.copy_(torch.rand(value.shape, generator=generator) * 0.9 + 0.1)
            elif value.ndim == 1:
                own = isinstance(module.get_submodule(name.rpartition(".")[0]), nn.LayerNorm)
                value.copy_(float(own and name.endswith("weight")) + 0.1 * noise)
            elif name.endswith(("token", "tokens", "pos_embed", "position_embeddings", "pos_embedding")):
                value.copy_(0.5 * noise)
            else:
                value.copy_(noise / value[0].numel() ** 0.5)
    return module.eval()


def images_of(network, count: int = 1, seed: int = 3) -> np.ndarray:
    """Random images u8 (count, H, W, 3)."""
    shape = (count, network.height, network.width, 3)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def prepared(images: np.ndarray, mean, std) -> torch.Tensor:
    """Images as every library prepares them (torchvision's ToTensor and Normalize): (u8 / 255 - mean) / std."""
    return ((torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255)
            - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]


def reference(imported, images: np.ndarray, task=0):
    """The float model's tokens, before a final norm, as the machine returns them."""
    return load_state(imported.network, imported.tensors).trace(pixels(images), task)["tokens"]


def output(imported, name: str, tokens: torch.Tensor) -> torch.Tensor:
    """The output of a head, as docs/formats.md describes it, for tokens before the final norm."""
    about, prefix = imported.host["heads"][name], imported.network.prefix_tokens
    part = {key.removeprefix(f"heads.{name}."): value for key, value in imported.heads.items()}

    def normed(x):
        return nn.functional.layer_norm(x, x.shape[-1:], part["norm.weight"], part["norm.bias"],
                                        imported.network.norm_eps)

    x = normed(tokens) if about["norm"] == "tokens" else tokens
    mean = x[:, prefix:].mean(1)
    pools = {"patches": lambda x: x[:, prefix:], "cls": lambda x: x[:, 0], "mean": lambda x: mean,
             "cls_mean": lambda x: torch.cat([x[:, 0], mean], -1), "prefix": lambda x: x[:, :prefix].flatten(1)}
    x = pools[about["pool"]](x)
    x = normed(x) if about["norm"] == "pooled" else x
    return x @ part["fc.weight"].T + part["fc.bias"]


@torch.no_grad()
def assert_same(got: torch.Tensor, want: torch.Tensor):
    assert got.shape == want.shape
    difference = (got - want).abs().max() / want.abs().max()
    assert difference < TOLERANCE, f"largest difference {difference:.2e} of the largest value"


@torch.no_grad()
def assert_tokens(imported, model, mean, std, norm_is_last: bool = True):
    """The float model equals ``model(normalised image)``, whose tokens are after the final norm if there is one."""
    images = images_of(imported.network)
    tokens = reference(imported, images)
    if norm_is_last:
        tokens = nn.functional.layer_norm(tokens, tokens.shape[-1:], imported.heads["heads.features.norm.weight"],
                                          imported.heads["heads.features.norm.bias"], imported.network.norm_eps)
    assert_same(tokens, model(prepared(images, mean, std)))


@torch.no_grad()
def assert_classes(imported, model, mean, std, name: str = "classifier"):
    """The head on the host gives the logits of ``model``."""
    images = images_of(imported.network)
    assert_same(output(imported, name, reference(imported, images)), model(prepared(images, mean, std)))


def assert_integer_equals_machine(imported, config: str = "16x16"):
    """After quantising and compiling, integer model and golden machine agree in every token of every task."""
    network = imported.network
    model = quantise(network, {name: value.numpy() for name, value in imported.tensors.items()}, images_of(network, 2),
                     compensate=False)
    integer, image = IntegerModel(model), images_of(network, 1, 5)[0]
    with Accelerator(GoldenDevice(CONFIGS[config], 1 << 24)) as accelerator:
        accelerator.load(compile_model(model, CONFIGS[config]))
        for index, task in enumerate(network.tasks):
            np.testing.assert_array_equal(accelerator.run_raw(image, task), integer.run(image, index).tokens)
