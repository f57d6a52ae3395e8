# SPDX-License-Identifier: Apache-2.0
"""The result of a family: the network in float64, before positions and pixels are fitted to the image."""

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from .options import Preprocess
from .positions import Resampling

__all__ = ["Draft", "DraftHead", "inputs_of"]


def inputs_of(pool: str, dim: int, prefix_tokens: int) -> int:
    """The number of channels that a head with this ``pool`` reads from tokens of ``dim`` channels."""
    return dim * {"prefix": prefix_tokens, "cls_mean": 2}.get(pool, 1)


@dataclass(frozen=True)
class DraftHead:
    """A head that the host computes from the tokens: ``fc(pool(norm(tokens)))``, see `moevit.host.heads`.

    Parameters
    ----------
    pool : ``patches`` (every patch token), ``cls`` (token 0), ``mean`` (of the patch tokens), ``cls_mean`` (both,
        CLS first), ``prefix`` (all prefix tokens, concatenated)
    norm : ``tokens`` (LayerNorm, then pool), ``pooled`` (pool, then LayerNorm) or ``none``
    weight, bias : of fc, (outputs, inputs) and (outputs,); None for a head that returns features
    norm_weight, norm_bias : of the LayerNorm, (channels,); None with norm ``none``
    task : the task whose tokens it reads; None for any task
    classes : names of the outputs
    """

    pool: str
    norm: str
    weight: Tensor | None = None
    bias: Tensor | None = None
    norm_weight: Tensor | None = None
    norm_bias: Tensor | None = None
    task: str | None = None
    classes: tuple[str, ...] | None = None


@dataclass
class Draft:
    """A network of known shape, for the image size that it was trained with.

    Parameters
    ----------
    fields : of `spec.networks.Network`, without name, height and width
    tensors : under the names of `golden.reference`, float64; ``pos_embed`` (1, prefix + rows x columns of ``grid``,
        dim), with zeros for prefix tokens that have no position
    grid : rows and columns of the patches that ``pos_embed`` is for
    preprocess : its mean and std are folded into the patch embedding; None if pixels enter as u8 / 256
    resampling : how the family's library fits positions to another grid
    heads : by name; ``features`` is added if there is a final norm
    name : of the network, if the source has one
    known_host : the host's part of an earlier import, which stays
    """

    fields: dict[str, Any]
    tensors: dict[str, Tensor]
    grid: tuple[int, int]
    preprocess: Preprocess | None
    resampling: Resampling
    heads: dict[str, DraftHead] = field(default_factory=dict)
    name: str | None = None
    known_host: dict[str, Any] = field(default_factory=dict)
