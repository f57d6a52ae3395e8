# SPDX-License-Identifier: Apache-2.0
"""Trains the demo network from scratch on one CPU core.

Each step runs a batch of scenes through the gates of one task; the recipe gives the order of tasks. The loss is that of
the task plus a term that spreads the tokens over the experts.
"""

import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from moevit.golden.reference import M3ViT, pixels, save
from moevit.golden.reference.moe import Experts
from moevit.spec.networks import NETWORKS

from .evaluate import Metrics, evaluate
from .heads import Heads, loss
from .model_card import Record, write_card
from .recipe import Recipe
from .scenes import Scenes

__all__ = ["Pool", "Trainer", "train"]


class Pool:
    """Train scenes, made once. Batches are drawn in shuffled rounds, with the colour channels in random order."""

    def __init__(self, scenes: int, seed: int) -> None:
        self.images, self.semseg, self.depth = Scenes("train").batch(0, scenes)
        self.rng = np.random.default_rng(seed)
        self.order = self._rounds()

    def draw(self, count: int, task: str) -> tuple[Tensor, Tensor]:
        """``count`` images as the model takes them, and their labels for ``task``."""
        index = np.array([next(self.order) for _ in range(count)])
        labels = self.semseg if task == "semseg" else self.depth
        return pixels(self.images[index])[:, self.rng.permutation(3)], torch.from_numpy(labels[index])

    def _rounds(self) -> Iterator[int]:
        while True:
            yield from self.rng.permutation(len(self.images))


class Trainer:
    """Model, heads, optimiser and schedule. `step` makes one update."""

    def __init__(self, recipe: Recipe, pool: Pool) -> None:
        torch.manual_seed(recipe.seed)
        torch.set_num_threads(recipe.threads)
        network = NETWORKS["demo"]
        self.recipe, self.pool, self.steps_done = recipe, pool, 0
        self.model, self.heads = M3ViT(network).train(), Heads(network)
        _centre_pixels(self.model)
        _experts_in_float32(self.model)
        parameters = dict(self.model.named_parameters()) | dict(self.heads.named_parameters())
        self.parameters = list(parameters.values())
        decayed = [p for name, p in parameters.items() if name.endswith("weight") and p.ndim > 1]
        others = [p for name, p in parameters.items() if not (name.endswith("weight") and p.ndim > 1)]
        self.optimiser = torch.optim.AdamW(
            [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}],
            lr=recipe.learning_rate, betas=(0.9, 0.98), fused=True,
        )
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimiser, self._rate)

    def step(self) -> tuple[str, float, float]:
        """Make one update. Returns its task and, from before the update, the task's loss and the imbalance of the
        experts."""
        task = self.recipe.turns[self.steps_done % len(self.recipe.turns)]
        images, labels = self.pool.draw(self.recipe.batch, task)
        gates: dict[str, Tensor] = {}

        def keep(name: str, value: Tensor) -> None:
            if name.endswith(("gate_probs", "top_k_index")):
                gates[name] = value

        with torch.autocast("cpu", torch.bfloat16):
            tokens = self.model(images, task, keep)
        task_loss, uneven = loss(self.heads(tokens.float(), task), labels, task), _imbalance(gates)
        self.optimiser.zero_grad()
        (task_loss + self.recipe.balance * uneven).backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimiser.step()
        self.schedule.step()
        self.steps_done += 1
        return task, task_loss.item(), uneven.item()

    def _rate(self, step: int) -> float:
        warm = min(1.0, (step + 1) / self.recipe.warmup)
        return warm * 0.5 * (1 + math.cos(math.pi * min(1.0, step / self.recipe.steps)))


def _centre_pixels(model: M3ViT) -> None:
    """Start the patch embedding as if pixels had mean 0 and deviation 1. They have about 0.4 and a quarter."""
    weight, bias = (model.get_parameter(f"patch_embed.proj.{part}") for part in ("weight", "bias"))
    with torch.no_grad():
        weight.mul_(4)
        bias.copy_(-0.4 * weight.sum((1, 2, 3)))


def _experts_in_float32(model: M3ViT) -> None:
    """Run the experts in float32. Queue lengths differ at every step, and compiling a bfloat16 kernel for each is
    slower."""
    for module in model.modules():
        if isinstance(module, Experts):
            exact = torch.autocast("cpu", enabled=False)(module.forward)
            module.forward = exact  # type: ignore[method-assign]


def _imbalance(gates: dict[str, Tensor]) -> Tensor:
    """The mean over MoE blocks of experts x sum over experts of (share of tokens x mean probability). 1 is balanced.

    This is the auxiliary loss of the Switch Transformer, with shares counted over the top k.
    """
    terms = []
    for name, index in gates.items():
        if name.endswith("top_k_index"):
            probs = gates[name.replace("top_k_index", "gate_probs")].float().flatten(0, 1)
            share = index.flatten().bincount(minlength=probs.shape[-1]) / index.numel()
            terms.append(probs.shape[-1] * (share * probs.mean(0)).sum())
    return torch.stack(terms).mean()


def train(recipe: Recipe, out: Path, watch: Callable[[str], None] = lambda losses: None) -> Metrics:
    """Train, measure, and write ``demo.safetensors`` and the model card into ``out``. ``watch`` is called after each
    step."""
    started, cpu_started = time.perf_counter(), time.process_time()
    record = Record(recipe=recipe)
    trainer = Trainer(recipe, Pool(recipe.scenes, recipe.seed))
    for _ in range(recipe.steps):
        record.add(*trainer.step())
        watch(record.latest())
    trainer.model.eval()
    metrics = evaluate(trainer.model, trainer.heads, Scenes("test"), recipe.test_scenes)
    record.wall_seconds = round(time.perf_counter() - started, 1)
    record.cpu_seconds = round(time.process_time() - cpu_started, 1)
    out.mkdir(parents=True, exist_ok=True)
    save(out / "demo.safetensors", trainer.model, trainer.heads.tensors())
    write_card(record, metrics, out)
    return metrics
