# SPDX-License-Identifier: Apache-2.0
"""Pictures in the form that a network takes, against cases by hand."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from moevit.golden.pictures import PictureError, classes_of, files_of, read_picture, read_pictures, spread

RNG = np.random.default_rng(3)
NOISE = RNG.integers(0, 256, (16, 32, 3), dtype=np.uint8)


def halves(height, width):
    """Left half red, right half blue."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, :width // 2, 0], pixels[:, width // 2:, 2] = 255, 255
    return pixels


@pytest.mark.parametrize("name", ["a.png", "a.npy"])
def test_one_of_the_right_size_stays_as_it_is(tmp_path, name):
    if name.endswith("npy"):
        np.save(tmp_path / name, NOISE)
    else:
        Image.fromarray(NOISE).save(tmp_path / name)
    for preprocess in ({}, {"resize": 24, "interpolation": "bilinear"}):
        np.testing.assert_array_equal(read_picture(tmp_path / name, (16, 32), preprocess), NOISE)


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_the_shorter_side_is_resized_and_the_centre_cut_out(tmp_path, interpolation):
    """64 x 128 pixels with a shorter side of 32 become 32 x 64. The centre of 16 x 16 is columns 24..39: red, then
    blue."""
    Image.fromarray(halves(64, 128)).save(tmp_path / "a.png")
    found = read_picture(tmp_path / "a.png", (16, 16), {"resize": 32, "interpolation": interpolation})
    assert (found[:, :6] == [255, 0, 0]).all() and (found[:, 10:] == [0, 0, 255]).all()
    # without `resize`, the whole height stays: 16 x 32, and the centre is columns 8..23
    found = read_picture(tmp_path / "a.png", (16, 16), {"resize": None})
    assert (found[:, :6] == [255, 0, 0]).all() and (found[:, 10:] == [0, 0, 255]).all()


def test_a_wide_network_and_a_tall_picture(tmp_path):
    """48 x 16 pixels for 16 x 32 are doubled to 96 x 32. The centre is rows 40..55, whatever ``resize`` is."""
    pixels = np.repeat(np.arange(48, dtype=np.uint8)[:, None, None] * 5, 16, axis=1).repeat(3, axis=2)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    found = read_picture(tmp_path / "a.png", (16, 32), {"resize": 16})
    assert found.shape == (16, 32, 3) and abs(int(found[8].mean()) - 24 * 5) <= 3
    assert found[0].mean() == pytest.approx(20 * 5, abs=3) and found[15].mean() == pytest.approx(27 * 5, abs=4)


def test_moved_by_the_padding(tmp_path):
    np.save(tmp_path / "a.npy", NOISE)
    found = read_picture(tmp_path / "a.npy", (16, 32), {"pad": [2, 3]})
    np.testing.assert_array_equal(found[2:, 3:], NOISE[:-2, :-3])
    assert not found[:2].any() and not found[:, :3].any()


def test_every_kind_becomes_rgb(tmp_path):
    grey, palette = Image.fromarray(NOISE[..., 0]), Image.fromarray(halves(16, 32)).quantize(4)
    grey.save(tmp_path / "grey.png")
    palette.save(tmp_path / "palette.png")
    Image.fromarray(np.dstack([NOISE, np.zeros((16, 32), np.uint8)]), "RGBA").save(tmp_path / "alpha.png")
    np.testing.assert_array_equal(read_picture(tmp_path / "grey.png", (16, 32), {}), np.dstack([NOISE[..., 0]] * 3))
    np.testing.assert_array_equal(read_picture(tmp_path / "palette.png", (16, 32), {}), halves(16, 32))
    np.testing.assert_array_equal(read_picture(tmp_path / "alpha.png", (16, 32), {}), NOISE)


def test_a_camera_held_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn right by 90 degrees
    Image.fromarray(halves(16, 32)).save(tmp_path / "a.jpg", exif=exif, quality=100, subsampling=0)
    found = read_picture(tmp_path / "a.jpg", (32, 16), {})
    assert found.shape == (32, 16, 3)
    assert (abs(found[:14].astype(int) - [255, 0, 0]) < 12).all()
    assert (abs(found[18:].astype(int) - [0, 0, 255]) < 12).all()


def bomb(width, height):
    """A PNG that claims to be this large, with almost no content."""
    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def test_what_is_no_picture_is_refused(tmp_path):
    cases = {"text.png": (b"no picture", "no PNG or JPEG"), "bomb.png": (bomb(60_000, 60_000), "bomb"),
             "large.png": (bomb(10_000, 10_000), "10000 x 10000 pixels, at most 80,000,000"),
             "cut.png": (bomb(16, 16), "cannot be read"), "text.npy": (b"no array", "cannot be read"),
             "empty.jpg": (b"", "no PNG or JPEG")}
    for name, (content, message) in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(PictureError, match=message) as caught:
            read_picture(tmp_path / name, (16, 32), {})
        assert name in str(caught.value) and "\n" not in str(caught.value)
    np.save(tmp_path / "float.npy", NOISE / 255)
    with pytest.raises(PictureError, match=r"float.npy is float64\[16, 32, 3\], a picture is uint8"):
        read_picture(tmp_path / "float.npy", (16, 32), {})
    Image.fromarray(RNG.integers(0, 65536, (16, 32), dtype=np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(PictureError, match="more than 8 bits"):
        read_picture(tmp_path / "deep.png", (16, 32), {})
    Image.fromarray(NOISE).save(tmp_path / "a.gif")
    with pytest.raises(PictureError, match="no PNG or JPEG"):
        read_picture(tmp_path / "a.gif", (16, 32), {})


def test_folders(tmp_path):
    for name in ("cat/b.PNG", "cat/a.jpg", "dog/c.jpeg", "empty/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(NOISE).save(tmp_path / name, "PNG")
    assert {key: [path.name for path in paths] for key, paths in classes_of(tmp_path).items()} == {
        "cat": ["a.jpg", "b.PNG"], "dog": ["c.jpeg"]}
    assert [path.name for path in files_of(tmp_path)] == ["a.jpg", "b.PNG", "c.jpeg"]
    assert classes_of(tmp_path / "cat") == {} and files_of(tmp_path / "cat" / "b.PNG") == [tmp_path / "cat" / "b.PNG"]
    assert read_pictures(files_of(tmp_path), (16, 32), {}).shape == (3, 16, 32, 3)
    with pytest.raises(PictureError, match="empty has no pictures"):
        files_of(tmp_path / "empty")
    with pytest.raises(PictureError, match="none is not there"):
        files_of(tmp_path / "none")


def test_some_of_many_come_from_all_over():
    assert spread(list(range(100)), 4) == [0, 33, 66, 99]
    assert spread([1, 2], 4) == [1, 2] and spread([7, 8, 9], 1) == [7]
