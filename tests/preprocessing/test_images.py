import sys

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps, features

from microx.errors import InputError
from microx.preprocessing.images import read_image
from microx.preprocessing.video import find_videos, probe_video, read_frames


@pytest.fixture
def corner():
    """An image wider than high, bright in its upper left quarter only."""
    rgb = np.zeros((32, 48, 3), np.uint8)
    rgb[:16, :24] = 200
    return rgb


def exif_of(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def shown(rgb, orientation):
    """An image as its EXIF orientation asks, by Pillow."""
    image = Image.fromarray(rgb)
    image.info["exif"] = exif_of(orientation).tobytes()
    image.getexif().load(image.info["exif"])
    return np.asarray(ImageOps.exif_transpose(image))


def write_heic(path, rgb, orientation=1):
    pillow_heif = pytest.importorskip("pillow_heif")
    file = pillow_heif.from_bytes("RGB", rgb.shape[1::-1], rgb.tobytes())
    file[0].info["exif"] = exif_of(orientation).tobytes()
    file.save(path, quality=95)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["jpg", "jfif", "avif", "heic"])
def test_an_image_comes_as_it_asks_to_be_shown(form, orientation, corner, tmp_path):
    path = tmp_path / f"x.{form}"
    if form == "heic":
        write_heic(path, corner, orientation)
        assert (b"irot" in path.read_bytes()) == (orientation in (3, 5, 6, 7, 8))
    elif form == "avif" and not features.check("avif"):
        pytest.skip("this Pillow writes no AVIF")
    else:
        Image.fromarray(corner).save(path, exif=exif_of(orientation))
    expected = shown(corner, orientation)
    found = read_image(path)
    assert found.shape == expected.shape
    assert np.array_equal(found > 100, expected > 100)


@pytest.mark.parametrize("form", ["jp2", "j2k", "jpx", "avif", "jfif", "heic", "HIF"])
def test_images_of_every_form_are_found_and_read(form, tmp_path):
    rgb = np.full((64, 96, 3), (200, 100, 10), np.uint8)
    path = tmp_path / f"x.{form}"
    if form in ("heic", "HIF"):
        write_heic(tmp_path / "x.heic", rgb)
        (tmp_path / "x.heic").rename(path)
    elif form == "j2k":
        Image.fromarray(rgb).save(path)
    else:
        kinds = {"jpx": ".jp2", "jfif": ".jpg"}
        path.write_bytes(cv2.imencode(kinds.get(form, f".{form}"), rgb[..., ::-1])[1].tobytes())
    assert find_videos(tmp_path) == [path]
    (frame,) = read_frames(path)
    assert frame.rgb[32, 48].tolist() == pytest.approx([200, 100, 10], abs=4)
    assert probe_video(path).size_hw == (64, 96)


HEIC_HEAD = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99)


def test_without_the_extra_a_heic_image_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    for name in ("x.heic", "named otherwise.jpg"):
        (tmp_path / name).write_bytes(HEIC_HEAD)
        with pytest.raises(InputError, match=r"found HEIC; pip install 'microx\[heic\]', or save"):
            read_image(tmp_path / name)


def test_a_broken_heic_image_is_named(tmp_path):
    pytest.importorskip("pillow_heif")
    (tmp_path / "x.heic").write_bytes(HEIC_HEAD)
    with pytest.raises(InputError, match=r"x\.heic: expected an image; found HEIC that") as error:
        read_image(tmp_path / "x.heic")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["x.heic", "x.avif", "x.jp2"])
def test_what_is_only_named_so_is_refused(name, tmp_path):
    (tmp_path / name).write_text("no image")
    with pytest.raises(InputError, match="expected an image that OpenCV can decode; found 8 bytes"):
        read_image(tmp_path / name)


@pytest.mark.real
@pytest.mark.parametrize("name", ["iphone.heic", "avif.avif"])
def test_real_images(name, real_data):
    if name.endswith("heic"):
        pytest.importorskip("pillow_heif")
    original = real_data / "photos"
    rgb = read_image(real_data / "odd" / name)
    assert rgb.shape == (427, 640, 3)
    alike = [
        np.abs(read_image(path).astype(int) - rgb).mean()
        for path in original.iterdir()
        if path.suffix == ".jpg" and probe_video(path).size_hw == rgb.shape[:2]
    ]
    assert min(alike) < 4
