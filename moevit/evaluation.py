# SPDX-License-Identifier: Apache-2.0
"""Float and integer answers of one network to the same pictures."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from moevit.golden.integer.model import IntegerModel
from moevit.golden.pictures import read_picture
from moevit.golden.reference import M3ViT, pixels
from moevit.host.heads import Head
from moevit.spec.quantised import QuantisedModel

__all__ = ["Answers", "EvaluationError", "answers", "float_tokens", "labels_of"]


class EvaluationError(ValueError):
    """Pictures, heads and labels that do not fit each other.

    Fix: name the folders of pictures like the classes, or number them; give the checkpoint of the model.
    """


@dataclass
class Answers:
    """Answers to each picture. ``classes``: in float and in integers, if there is a classifier. ``cosines``: of its
    tokens."""

    classes: dict[str, list[int]] = field(default_factory=lambda: {"float": [], "integer": []})
    cosines: list[np.ndarray] = field(default_factory=list)
    saturated: int = 0

    def top1(self, labels: Sequence[int], rung: str) -> float:
        """The share of right answers."""
        return float(np.mean(np.array(self.classes[rung]) == labels))

    @property
    def agreement(self) -> float:
        """The share of pictures with the same answer in float and in integers."""
        return float(np.mean(np.array(self.classes["float"]) == self.classes["integer"]))


def answers(model: QuantisedModel, reference: M3ViT, paths: Sequence[Path], task: int, head: Head | None,
            norm: Head | None, watch: Callable[[str], object] = lambda picture: None) -> Answers:
    """Run every picture through both models. Raises PictureError.

    ``head`` is a classifier. ``norm`` gives the features to compare; without it, the tokens are compared. ``watch`` is
    called with the name of each picture.
    """
    integer, network, found = IntegerModel(model), model.network, Answers()
    size, preprocess = (network.height, network.width), model.host.get("preprocess", {})
    for path in paths:
        image = read_picture(path, size, preprocess)
        exact = float_tokens(reference, image, task)
        frame = integer.run(image, task)
        tokens = frame.tokens.astype(np.float32) * np.float32(2.0**-model.residual_fraction)
        found.saturated += sum(frame.saturated.values())
        if head is not None:
            for rung, each in (("float", exact), ("integer", tokens)):
                found.classes[rung].append(int(np.argmax(head(each))))
        pair = (norm(exact), norm(tokens)) if norm else (exact, tokens)
        found.cosines.append(_cosines(*pair))
        watch(path.name)
    return found


def float_tokens(reference: M3ViT, image: np.ndarray, task: int) -> np.ndarray:
    """The machine's tokens of an image u8 (H, W, 3) without rounding: f32 (N, dim), before a final norm."""
    kept = {}
    with torch.no_grad():
        reference(pixels(image[None]), task, lambda name, value: kept.update({name: value} if name == "tokens" else {}))
    return kept["tokens"][0].numpy()


def labels_of(folders: Mapping[str, Sequence[Path]], head: Head) -> dict[str, int]:
    """Folder of pictures -> output of the classifier. Raises EvaluationError.

    A folder has the name of a class, or its number. If there are as many folders as outputs, their sorted order counts.
    """
    outputs = len(head.weight) if head.weight is not None else 0
    if head.classes and set(folders) <= set(head.classes):
        return {name: head.classes.index(name) for name in folders}
    if all(name.isdecimal() and int(name) < outputs for name in folders):
        return {name: int(name) for name in folders}
    if len(folders) == outputs:
        return {name: index for index, name in enumerate(sorted(folders))}
    known = f"named {', '.join(head.classes[:3])}, ..." if head.classes else f"numbered 0 to {outputs - 1}"
    raise EvaluationError(f"folders {', '.join(list(folders)[:3])}, ... are no classes of the classifier, which are "
                          f"{known}: name the folders so, or have one for each of {outputs} classes")


def _cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The cosine of each token (N, dim) with its counterpart: (N,)."""
    return (a * b).sum(-1) / np.maximum(np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1), 1e-30)
