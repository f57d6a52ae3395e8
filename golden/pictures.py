# SPDX-License-Identifier: Apache-2.0
"""Pictures from files in the form that a network takes: resized, cut to its size around the centre, u8."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

__all__ = ["SUFFIXES", "PictureError", "classes_of", "files_of", "fitted", "read_picture", "read_pictures", "spread"]

SUFFIXES = (".png", ".jpg", ".jpeg", ".npy")
LARGEST = 80_000_000  # pixels: 240 MB as u8. A small compressed file can claim any size.
_METHODS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}


class PictureError(ValueError):
    """A file or folder without a usable picture. The message names it.

    Fix: give a PNG, a JPEG, or a .npy of u8 (height, width, 3), or a folder of such files.
    """


def files_of(path: Path) -> list[Path]:
    """The picture files (`SUFFIXES`) in a folder and below it, sorted. A file gives itself. Raises PictureError."""
    if not path.exists():
        raise PictureError(f"{path} is not there: give a picture, or a folder of pictures")
    found = sorted(each for each in path.rglob("*") if _is_picture(each)) if path.is_dir() else [path]
    if not found:
        raise PictureError(f"{path} has no pictures: files that end in {', '.join(SUFFIXES)}")
    return found


def classes_of(folder: Path) -> dict[str, list[Path]]:
    """Folder name -> its picture files, sorted, for each folder in ``folder`` with pictures. Empty if there is none."""
    found = {each.name: sorted(path for path in each.iterdir() if _is_picture(path))
             for each in sorted(folder.iterdir()) if each.is_dir()} if folder.is_dir() else {}
    return {name: paths for name, paths in found.items() if paths}


def spread(paths: Sequence[Path], count: int) -> list[Path]:
    """At most ``count`` of ``paths``, at even distances from the first to the last."""
    if len(paths) <= count:
        return list(paths)
    return [paths[index] for index in np.linspace(0, len(paths) - 1, count).round().astype(int)]


def read_pictures(paths: Sequence[Path], size: tuple[int, int], preprocess: Mapping[str, Any]) -> np.ndarray:
    """Read every file with `read_picture`: u8 (pictures, height, width, 3)."""
    return np.stack([read_picture(path, size, preprocess) for path in paths])


def read_picture(path: Path, size: tuple[int, int], preprocess: Mapping[str, Any]) -> np.ndarray:
    """Read a PNG, a JPEG, or a .npy of u8 (h, w, 3), as u8 (height, width, 3). See `fitted`. Raises PictureError."""
    try:
        if path.suffix == ".npy":
            array = np.load(path, allow_pickle=False, mmap_mode="r")
            if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8 or not array.size:
                raise PictureError(f"{path} is {array.dtype}{list(array.shape)}, a picture is uint8 [height, width, 3]")
            _check_size(path, array.shape[1], array.shape[0])
            return fitted(Image.fromarray(np.array(array)), size, preprocess)
        with warnings.catch_warnings():  # Pillow's warning of too many pixels: `_check_size` checks the size.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            picture = Image.open(path, formats=("PNG", "JPEG"))
        with picture:
            _check_size(path, *picture.size)
            if picture.mode[0] in "IF":
                raise PictureError(f"{path} has more than 8 bits per channel ({picture.mode}): convert it to 8")
            return fitted(ImageOps.exif_transpose(picture).convert("RGB"), size, preprocess)
    except Image.DecompressionBombError as error:
        raise PictureError(f"{path} claims more than the {LARGEST:,} pixels that are read: make it smaller") from error
    except UnidentifiedImageError as error:
        raise PictureError(f"{path} is no PNG or JPEG") from error
    except (EOFError, OSError, SyntaxError, ValueError) as error:
        if isinstance(error, PictureError):
            raise
        raise PictureError(f"{path} cannot be read as a picture: {error}") from error


def fitted(picture: Image.Image, size: tuple[int, int], preprocess: Mapping[str, Any]) -> np.ndarray:
    """Resize ``picture`` and cut out its centre: u8 (height, width, 3).

    The shorter side becomes ``preprocess["resize"]`` pixels long, or, without that entry, just long enough to cover
    ``size``. A picture that has the size already is not resized. ``preprocess["pad"]`` then moves the picture down and
    right by (rows, columns); the space becomes black.
    """
    height, width = size
    if picture.size != (width, height):
        least = max(height / picture.height, width / picture.width)
        resize = preprocess.get("resize")
        scale = max(least, resize / min(picture.size)) if resize else least
        sides = max(width, round(picture.width * scale)), max(height, round(picture.height * scale))
        picture = picture.resize(sides, _METHODS[preprocess.get("interpolation", "bicubic")])
        left, top = round((sides[0] - width) / 2), round((sides[1] - height) / 2)
        picture = picture.crop((left, top, left + width, top + height))
    pixels = np.asarray(picture, np.uint8)
    down, right = preprocess.get("pad", (0, 0))
    return np.pad(pixels, ((down, 0), (right, 0), (0, 0)))[:height, :width]


def _is_picture(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() in SUFFIXES


def _check_size(path: Path, width: int, height: int) -> None:
    if width * height > LARGEST:
        raise PictureError(f"{path} has {width} x {height} pixels, at most {LARGEST:,} are read: make it smaller")
