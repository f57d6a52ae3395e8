# SPDX-License-Identifier: Apache-2.0
"""M3ViT in float: a ViT in which some blocks are mixtures of experts with a gate per task (VITA-Group/M3ViT).

Without experts, the same class is a plain ViT, DeiT or DINOv2. Tensor names are timm's where timm has them. The prefix
tokens (CLS, distillation, registers) are an exception: they are one tensor.
"""

from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from moevit.spec.networks import Network

from .moe import ACTIVATIONS, Keep, Mlp, MoE

__all__ = ["InputError", "M3ViT", "pixels"]


class InputError(ValueError):
    """Images or a task that the network does not take.

    Fix: give images of the network's size and one of its tasks; the message names both.
    """


def pixels(images: NDArray[np.uint8]) -> Tensor:
    """Images u8 (B, H, W, 3), as the machine reads them, as float32 (B, 3, H, W): a pixel n becomes n / 256."""
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3:
        raise InputError(f"pixels come as u8 (B, H, W, 3), not {images.dtype} {images.shape}")
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 256


class Attention(nn.Module):
    """Multi-head self-attention. The rows of ``qkv.weight`` are [q | k | v], with the heads one after the other in
    each."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.scale = (dim // heads) ** -0.5
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, keep: Keep | None = None) -> Tensor:
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        q_heads, k_heads, v_heads = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in (q, k, v))
        logits = (q_heads * self.scale) @ k_heads.transpose(-2, -1)
        probs = logits.softmax(dim=-1)
        out = (probs @ v_heads).transpose(1, 2).flatten(2)
        proj = self.proj(out)
        if keep:
            for name, value in (("q", q), ("k", k), ("v", v), ("attn_logits", logits), ("attn_probs", probs),
                                ("attn_out", out), ("attn_proj", proj)):
                keep(name, value)
        return proj


class Block(nn.Module):
    """Pre-norm block: ``x += attn(norm1(x))``, then ``x += mlp(norm2(x))`` or ``x += moe(norm2(x))``."""

    def __init__(self, network: Network, index: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(network.dim, eps=network.norm_eps)
        self.attn = Attention(network.dim, network.heads)
        self.norm2 = nn.LayerNorm(network.dim, eps=network.norm_eps)
        self.is_moe = network.is_moe(index)
        if self.is_moe:
            self.moe = MoE(network)
        else:
            tasks = len(network.tasks) if network.task_fc2 else 0
            self.mlp = Mlp(network.dim, network.hidden, ACTIVATIONS[network.activation], tasks)

    def forward(self, x: Tensor, task: int, keep: Keep | None = None) -> Tensor:
        norm1 = self.norm1(x)
        x = x + self.attn(norm1, keep)
        norm2 = self.norm2(x)
        if keep:
            keep("norm1", norm1)
            keep("x_post_attn", x)
            keep("norm2", norm2)
        x = x + (self.moe(norm2, task, keep) if self.is_moe else self.mlp(norm2, task, keep))
        if keep:
            keep("x_post_mlp", x)
        return x


class PatchEmbed(nn.Module):
    """One linear map of non-overlapping patches: (B, 3, H, W) -> (B, patches, D), row by row."""

    def __init__(self, patch: int, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, kernel_size=patch, stride=patch)

    def forward(self, images: Tensor) -> Tensor:
        return self.proj(images).flatten(2).transpose(1, 2)


class M3ViT(nn.Module):
    """The backbone of ``network``. Weights are random until a checkpoint is loaded (``checkpoint.load``)."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network
        self.patch_embed = PatchEmbed(network.patch, network.dim)
        self.prefix_tokens = nn.Parameter(torch.zeros(1, network.prefix_tokens, network.dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, network.tokens, network.dim))
        self.blocks = nn.ModuleList(Block(network, index) for index in range(network.depth))
        self.norm = nn.LayerNorm(network.dim, eps=network.norm_eps) if network.final_norm else None
        self._initialise()

    def forward(self, images: Tensor, task: str | int = 0, keep: Keep | None = None) -> Tensor:
        """Tokens (B, N, D) of float images (B, 3, H, W) in [0, 1]. A pixel is u8 / 256 without other scaling.

        ``task`` is a name in ``network.tasks`` or its index there. Prefix tokens come first. With
        ``network.final_norm`` the tokens are normed; the machine stops before the norm, at ``trace(...)["tokens"]``.
        ``keep(name, tensor)`` is called with each intermediate, see `trace`. Raises InputError.
        """
        task = self.task_index(task)
        self._check_images(images)
        patches = self.patch_embed(images)
        x = torch.cat([self.prefix_tokens.expand(len(images), -1, -1), patches], dim=1) + self.pos_embed
        if keep:
            keep("patch_tokens", patches)
            keep("x_embed", x)
        for index, block in enumerate(self.blocks):
            x = block(x, task, partial(_keep_in_block, keep, index) if keep else None)
        if keep:
            keep("tokens", x)
        if self.norm is not None:
            x = self.norm(x)
            if keep:
                keep("norm", x)
        return x

    @torch.no_grad()
    def trace(self, images: Tensor, task: str | int = 0) -> dict[str, Tensor]:
        """Every intermediate of a forward pass, by name.

        First ``patch_tokens, x_embed``. For block i: ``i.norm1, i.q, i.k, i.v, i.attn_logits`` (scaled) ``,
        i.attn_probs, i.attn_out, i.attn_proj, i.x_post_attn, i.norm2, i.fc1, i.gelu, i.fc2, i.x_post_mlp``. In a MoE
        block also ``i.gate_logits`` (before the mask) ``, i.gate_probs, i.top_k_index, i.top_k_score``, and of a shared
        FFN ``i.shared_fc1, i.shared_gelu, i.shared_fc2``. At the end ``tokens`` (the machine's result) and, with a
        final norm, ``norm``.

        Shapes are (B, N, channels). ``attn_logits`` and ``attn_probs`` are (B, heads, N, N). In a MoE block fc1, gelu
        and fc2 are (B, N, k, channels), without the score. ``gelu`` is the output of the activation, also of another
        one.
        """
        kept: dict[str, Tensor] = {}
        self(images, task, kept.__setitem__)
        return kept

    def task_index(self, task: str | int) -> int:
        """The index of a task in ``network.tasks``. Raises InputError."""
        tasks = self.network.tasks
        if isinstance(task, str) and task in tasks:
            return tasks.index(task)
        if isinstance(task, int) and 0 <= task < len(tasks):
            return task
        raise InputError(f"{self.network.name} has no task {task!r}: name one of {', '.join(tasks)}")

    def _check_images(self, images: Tensor) -> None:
        expected = (3, self.network.height, self.network.width)
        if images.ndim != 4 or tuple(images.shape[1:]) != expected or not images.is_floating_point():
            raise InputError(f"{self.network.name} takes float images (B, {', '.join(map(str, expected))}), "
                             f"not {images.dtype} {tuple(images.shape)}")

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        nn.init.xavier_uniform_(self.patch_embed.proj.weight.flatten(1))
        nn.init.zeros_(self.get_parameter("patch_embed.proj.bias"))
        nn.init.normal_(self.pos_embed, std=0.02)


def _keep_in_block(keep: Keep, index: int, name: str, value: Tensor) -> None:
    keep(f"{index}.{name}", value)
