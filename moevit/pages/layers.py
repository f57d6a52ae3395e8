# SPDX-License-Identifier: Apache-2.0
"""What the machine runs and what it does not, from the importers' families and refusals, and from ``spec``."""

import inspect
import re

from moevit.golden.importers import FAMILIES
from moevit.golden.importers.options import NORMALISATIONS, POOLS
from moevit.golden.importers.refusals import REFUSALS
from moevit.spec.formats import LONGEST_ROW, LONGEST_SUM
from moevit.spec.isa import GROUPS
from moevit.spec.networks import _SIZES, ACTIVATION_ERROR, GATES

from .markdown import cell, note, plain, table

__all__ = ["example", "layers"]


def layers() -> str:
    """The page."""
    text = note("golden/importers/ and spec/") + (
        "# Supported layers\n\nA network is refused with the name of the tensor and the reason, never changed in "
        "silence. [Your own ViT](your-vit.md) says\nhow a checkpoint is imported.\n\n")
    text += table(["part", "", "how, or why not"], [*_supported(), *_refused()])
    text += "\n## Families of checkpoints\n\nRecognised by the names of their tensors; `--family` forces one.\n\n"
    text += table(["family", "whose", "what", "a tensor of it"], [
        [f"`{name}`", family.title, cell(plain(inspect.cleandoc(type(family).__doc__ or "").split("\n\n")[0])),
         f"`{example(family.keys[0])}`"] for name, family in FAMILIES.items()])
    text += ("\n## Sizes\n\nA network may have these sizes at all; what fits a configuration is in "
             "[what fits](what-fits.md).\n\n")
    return text + table(["size", "least", "most"], [[f"`{name}`", *limits] for name, limits in _SIZES.items()])


def _supported() -> list[list[str]]:
    prefix = "{} to {}".format(*_SIZES["prefix_tokens"])
    rows = {
        "patch embedding": "one linear layer over square patches of three channels; the host lays patches of any size "
                           "into cells of multiples of 8 pixels",
        "prefix tokens": f"{prefix}: CLS, distillation, registers",
        "LayerNorm": f"pre-norm, up to {LONGEST_ROW:,} channels; exact epsilon",
        "attention": f"full softmax attention, up to {LONGEST_SUM:,} tokens; separate or joined q, k, v",
        "LayerScale": "folded into the matrix before it, exactly",
        "dense FFN": "two linear layers around an activation",
        "activation": ", ".join(f"{name} (within {error:g})" if error else f"{name} (exact)"
                                for name, error in ACTIVATION_ERROR.items()),
        "Mixture of Experts": f"in any set of blocks; gates by {' or '.join(GATES)}; softmax before or after the top "
                              "k; a bias that only selects; a shared FFN; no token is dropped",
        "tasks": "a gate set each; with `task_fc2` the last matrix of each dense FFN each",
        "batches": f"up to {GROUPS} images share every weight that is fetched",
        "long matrices": "the model's own weights prove that no accumulator overflows, or the matrix is cut "
                         "([ADR 0032](adr/0032-sums-in-parts.md))",
        "pixels": f"mean and std folded into the patch embedding: {', '.join(NORMALISATIONS)}, or three numbers each",
        "positions": "learned, absolute; of another grid they are resampled as the source's library does it",
        "heads": f"on the host, in numpy: linear layers that read {', '.join(POOLS)}",
    }
    return [[part, "yes", how] for part, how in rows.items()]


def _refused() -> list[list[str]]:
    """A refusal begins with the part, which ends before its verb, its examples or a colon."""
    return [[re.split(r" \(|:| is | are | adds? | turn | multiplies ", why)[0], "no",
             f"{cell(why)} (shown by `{example(pattern)}`)"] for pattern, why in REFUSALS.items()]


def example(pattern: str) -> str:
    """A name that the pattern finds: its first alternative, without the marks."""
    for mark, shown in ((r"(.*\.)?", ""), (r"(.*/)?", ""), (r"(\d+\.)?", "0."), (r"(\d+)", "0"), (r"(^|\.)", ""),
                        (r"(\.|^)", ""), (r"(\.|$)", ""), (r"\d+", "0"), (r"\d", "0"), (r"\b", ""), (".*", "..."),
                        ("\\", ""), ("$", "")):
        pattern = pattern.replace(mark, shown)
    return re.sub(r"\(([^()|]*)\|[^()]*\)", r"\1", pattern).split("|")[0].strip(".")
