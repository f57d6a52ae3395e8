# SPDX-License-Identifier: Apache-2.0
"""Options of an import: facts about a checkpoint that its file does not contain."""

from dataclasses import dataclass, field, replace
from math import inf, isfinite

from .errors import ImportFailed
from .missing import Missing

__all__ = ["NORMALISATIONS", "PATCH_ORDERS", "POOLS", "RAW", "Options", "Preprocess", "Triple"]

#: (mean, std) of pixels in 0..1, for the channels R, G, B.
NORMALISATIONS = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "none": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
}

#: The input of a classifier: CLS, the mean of the patch tokens, both, all prefix tokens, every patch token.
POOLS = ("cls", "mean", "cls_mean", "prefix", "patches")
#: How a patch was flattened for a linear layer: one colour after the other, or the three colours of each pixel.
PATCH_ORDERS = ("rgb-first", "rgb-last")

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Preprocess:
    """How a picture becomes the network's input: ``(u8 / 255 - mean) / std`` per channel, after resizing.

    ``resize``: the length in pixels of the shorter side before the centre is cut out; None is the image's own.
    ``crop``: the side of the centre that ``resize`` belongs to; None is the trained image's. Another image size scales
    both. ``pad``: the rows above and the columns left of the picture that are black; as many at the other end are cut.
    They stand for the padding of a source's patch convolution, which is zero after the normalisation.
    """

    mean: Triple
    std: Triple
    resize: int | None = None
    interpolation: str = "bicubic"
    pad: int = 0
    crop: int | None = None


#: Pixels as the machine reads them: u8 / 256.
RAW = Preprocess((0.0, 0.0, 0.0), (256 / 255, 256 / 255, 256 / 255))


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of an import. Each is also an option of the command (``norm_eps`` is ``--norm-eps``).

    Parameters
    ----------
    family : the name of a family, instead of recognising it
    state : which state dict of a file with several
    name : of the network; the file's name by default
    model : the name of the network in the source's library (timm: ``vit_small_patch16_224.augreg_in21k_ft_in1k``)
    image : height and width in pixels; another size than the trained one resamples the positions
    grid : patches per column and per row of the trained positions, if they are not a square
    heads, activation, norm_eps : as in `spec.networks.Network`
    normalise : one of `NORMALISATIONS`
    mean, std : of pixels in 0..1, three numbers each, instead of ``normalise``
    pool : one of `POOLS`, if the classifier reads another one than usual in its family
    patch_order : one of `PATCH_ORDERS`, if the patch embedding is a linear layer
    leave_out : patterns (``decoder*``) of tensors to leave out
    tasks : names of the tasks of a multi-task checkpoint
    top_k : experts per token, if no file says it
    renormalise : as in `spec.networks.Network`, if no file says it
    """

    family: str | None = None
    state: str | None = None
    name: str | None = None
    model: str | None = None
    image: tuple[int, int] | None = None
    grid: tuple[int, int] | None = None
    heads: int | None = None
    activation: str | None = None
    norm_eps: float | None = None
    normalise: str | None = None
    mean: Triple | None = None
    std: Triple | None = None
    pool: str | None = None
    patch_order: str | None = None
    leave_out: tuple[str, ...] = field(default=())
    tasks: tuple[str, ...] | None = None
    top_k: int | None = None
    renormalise: bool | None = None

    def __post_init__(self) -> None:
        for option in ("image", "grid"):
            pair = getattr(self, option)
            if pair is not None and (len(pair) != 2 or not all(type(side) is int and side > 0 for side in pair)):
                raise ImportFailed(f"--{option} is two positive whole numbers, height and width, not {pair!r}")
        if self.pool is not None and self.pool not in POOLS:
            raise ImportFailed(f"--pool {self.pool}: it is one of {', '.join(POOLS)}")

    def preprocess(self, known: Preprocess | None, missing: Missing, what: str) -> Preprocess:
        """The normalisation of the options, else ``known``, else `RAW` and an option in ``missing``.

        ``what`` names the source in the message. Raises ImportFailed for options that contradict each other.
        """
        base = known or RAW
        if self.normalise is not None:
            if self.mean is not None or self.std is not None:
                raise ImportFailed("--normalise and --mean, --std say the same thing: give one of them")
            if self.normalise not in NORMALISATIONS:
                raise ImportFailed(f"--normalise {self.normalise}: it is one of {', '.join(NORMALISATIONS)}")
            mean, std = NORMALISATIONS[self.normalise]
            return replace(base, mean=mean, std=std)
        if (self.mean is None) != (self.std is None):
            missing.add("--std" if self.std is None else "--mean", "mean and std belong together")
            return base
        if self.mean is not None and self.std is not None:
            if len(self.mean) != 3 or len(self.std) != 3 or not all(map(isfinite, self.mean)) or not all(
                    0 < value < inf for value in self.std):
                raise ImportFailed("--mean and --std are three finite numbers each, for R, G, B, and std is positive")
            return replace(base, mean=self.mean, std=self.std)
        if known is None:
            missing.add("--normalise", f"{what} does not say how its pixels were normalised")
        return base
