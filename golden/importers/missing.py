# SPDX-License-Identifier: Apache-2.0
"""The facts that only the user knows, collected during an import so that one error names them all."""

from pathlib import Path

from .errors import NeedsOption

__all__ = ["Missing"]

#: Option -> (what it means, an example).
_OPTIONS = {
    "--heads": ("attention heads of a block, often dim / 64", "--heads 6"),
    "--activation": ("activation of the FFNs: gelu, gelu_tanh, quick_gelu or relu", "--activation gelu"),
    "--norm-eps": ("epsilon of the LayerNorms", "--norm-eps 1e-6"),
    "--normalise": ("mean and std of pixels: imagenet, half or none; or three numbers each in --mean and --std",
                    "--normalise imagenet"),
    "--mean": ("mean of pixels in 0..1, for R, G, B", "--mean 0.5,0.5,0.5"),
    "--std": ("standard deviation of pixels in 0..1, for R, G, B", "--std 0.5,0.5,0.5"),
    "--grid": ("rows and columns of the trained image's patches; or --image, its pixels, if that size stays",
               "--grid 8x16"),
    "--model": ("the network's name in timm", "--model deit3_small_patch16_224"),
    "--patch-order": ("how patches were flattened: rgb-first (one colour after the other) or rgb-last",
                      "--patch-order rgb-first"),
    "--pool": ("what the classifier reads: cls, mean, cls_mean, prefix or patches", "--pool mean"),
    "--tasks": ("a name for each task, in the order of the tensors", "--tasks semseg,depth"),
    "--top-k": ("experts per token", "--top-k 2"),
    "--renormalise": ("scores are a softmax over the chosen experts; --no-renormalise: over all", "--renormalise"),
}


class Missing:
    """Options that an import lacks. A family adds them and goes on with a stand-in; `check` ends the import."""

    def __init__(self) -> None:
        self._reasons: dict[str, str] = {}

    def add(self, option: str, reason: str) -> None:
        """Ask for ``option``, a key of `_OPTIONS`. ``reason`` says why the source does not give the fact."""
        self._reasons.setdefault(option, reason)

    def check(self, path: Path) -> None:
        """Raise NeedsOption if the source at ``path`` lacks anything."""
        if not self._reasons:
            return
        lines = [f"{option}, for example {_OPTIONS[option][1]}: {_OPTIONS[option][0]} ({reason})"
                 for option, reason in self._reasons.items()]
        count = "a fact" if len(lines) == 1 else f"{len(lines)} facts"
        raise NeedsOption(f"{path} does not contain {count} of the network. Give all of these options:"
                          + "".join(f"\n  {line}" for line in lines), tuple(self._reasons))
