"""Images: what counts as one, and their pixels, upright and in RGB."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from microx.errors import InputError
from microx.preprocessing.orientation import UPRIGHT, Orientation

HEIF_SUFFIXES = frozenset({".heic", ".heif", ".hif"})
"""Images that telephones store, which OpenCV does not read; the extra ``microx[heic]`` does."""

HEIF_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"})
"""What HEVC images say they are; AVIF, in the same container, is for OpenCV."""

IMAGE_SUFFIXES = HEIF_SUFFIXES | frozenset(
    {".avif", ".bmp", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".jpx", ".pgm", ".png"}
    | {".ppm", ".tif", ".tiff", ".webp"}
)
"""What counts as an image: a video of one frame, or a frame of a folder."""


def read_image(path: Path) -> np.ndarray:
    """Decode an image as its file asks to be shown.

    Parameters
    ----------
    path : Path

    Returns
    -------
    ndarray of shape (H, W, 3), uint8
        RGB. Grey becomes three equal channels, 16 bits become 8, and transparency is left out.

    Raises
    ------
    InputError
        If it is no image, is cut short, or is a HEIC or HEIF image and what reads them is not
        installed.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: expected an image; {error.strerror}") from None
    if HEIF_BRANDS & set(_brands(data)):
        return _read_heif(path, data)
    if _is_cut_short(data):
        raise InputError(
            f"{path}: expected an image; found a JPEG that ends before its image data do; "
            "copy it again"
        )
    is_avif = b"avif" in _brands(data)
    # Of an AVIF its own properties count; OpenCV turns by the EXIF that stands beside them, too.
    flags = cv2.IMREAD_COLOR_RGB | (cv2.IMREAD_IGNORE_ORIENTATION if is_avif else 0)
    try:
        with silent_opencv():
            rgb = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:  # empty, or of more pixels than OpenCV takes
        rgb = None
    if rgb is None:
        raise InputError(
            f"{path}: expected an image that OpenCV can decode; found {first_bytes(path)}; "
            "check that it opens, or save it again as PNG"
        )
    return _orientation_of_avif(data).apply(rgb) if is_avif else rgb


def _brands(data: bytes) -> list[bytes]:
    """List what an image of the MPEG family says it is; empty for any other file."""
    if data[4:8] != b"ftyp":
        return []
    head = data[: int.from_bytes(data[:4], "big")]
    return [head[place : place + 4] for place in (8, *range(16, len(head), 4))]


def _orientation_of_avif(data: bytes) -> Orientation:
    """Read how an AVIF image asks to be shown, which OpenCV passes over.

    Source: ISO/IEC 23008-12:2022, 6.5.10 (``irot``, turns counter-clockwise) and 6.5.12
    (``imir``, 0 exchanges top and bottom), in the order that 6.5.1 names.
    """
    meta = data[: data.find(b"mdat")]
    turn, mirror = (meta.find(b"\0\0\0\x09" + kind) for kind in (b"irot", b"imir"))
    shown = Orientation.turned(-90 * (meta[turn + 8] & 3)) if turn >= 0 else UPRIGHT
    if mirror < 0:
        return shown
    left_right = bool(meta[mirror + 8] & 1)
    return shown._replace(
        flipped_x=shown.flipped_x ^ left_right, flipped_y=shown.flipped_y ^ (not left_right)
    )


def _read_heif(path: Path, data: bytes) -> np.ndarray:
    try:
        from pillow_heif import open_heif
    except ImportError:
        raise InputError(
            f"{path}: expected an image that OpenCV can decode; found HEIC; "
            "pip install 'microx[heic]', or save it again as JPEG or PNG"
        ) from None
    try:
        image = open_heif(data, convert_hdr_to_8bit=True).to_pillow().convert("RGB")
    except (ValueError, OSError, RuntimeError, SyntaxError) as error:
        found = " ".join(str(error).split())
        raise InputError(
            f"{path}: expected an image; found HEIC that does not decode: {found}; copy it again"
        ) from None
    return np.ascontiguousarray(image)


def _is_cut_short(data: bytes) -> bool:
    """Whether a JPEG ends before its image data do; OpenCV would fill the rest with grey."""
    if not data.startswith(b"\xff\xd8"):
        return False
    place = 2
    # Segments give their length, up to the scan; a thumbnail's own end lies in one of them.
    while data[place : place + 1] == b"\xff" and data[place + 1 : place + 2] != b"\xda":
        place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return b"\xff\xd9" not in data[place:]


@contextmanager
def silent_opencv() -> Iterator[None]:
    """Keep FFmpeg's and OpenCV's own errors off stderr; ours is the one line to show."""
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(level)


def first_bytes(path: Path) -> str:
    """Say what a file begins with that cannot be used."""
    try:
        with path.open("rb") as stream:
            head = stream.read(12)
    except OSError as error:
        return f"a file that cannot be read ({error.strerror})"
    size = path.stat().st_size
    return f"{size} bytes that begin with {head!r}" if size else "an empty file"
