"""How a video asks to be shown: turned and mirrored, by the display matrix of its file.

A telephone stores what its sensor sees, and says beside it how to hold it: a front camera's film is
often mirrored. OpenCV reads of this the angle only, so that a mirrored video comes upside down
or turned; the matrix is therefore read here, from the header of an MP4 or QuickTime file.

Source: ISO/IEC 14496-12, 8.2.2 (``mvhd``) and 8.3.2 (``tkhd``), whose matrix is QuickTime's.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import cv2
import numpy as np

_FIRST_BOXES = frozenset({b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"})
"""What an MP4 or QuickTime file begins with, those from before there was ``ftyp`` too."""

_MOST_BYTES = 2**16
"""Most of a box that is read: those of interest have about a hundred (our choice)."""

_STRAIGHT = 0.02
"""Most that a matrix may differ from a right angle, about a degree; beyond it, the video is shown
as it is stored, as OpenCV and FFmpeg's own players do (our choice)."""

_Matrix = tuple[float, float, float, float]


class Orientation(NamedTuple):
    """One of the eight ways to lay an image on its sides: exchange the axes, then flip.

    Parameters
    ----------
    transposed : bool
        Whether rows and columns are exchanged, first.
    flipped_x, flipped_y : bool
        Whether left and right, top and bottom are exchanged, then.
    """

    transposed: bool = False
    flipped_x: bool = False
    flipped_y: bool = False

    @classmethod
    def turned(cls, degrees: int) -> Orientation:
        """A turn clockwise by a multiple of 90 degrees; by anything else, none."""
        return _TURNED.get(degrees % 360, UPRIGHT)

    @property
    def mirrored(self) -> bool:
        """Whether it exchanges left and right, so that no turn can do it."""
        return self.transposed ^ self.flipped_x ^ self.flipped_y

    def apply(self, image: np.ndarray) -> np.ndarray:
        """Give an image ``(H, W, …)`` as it is to be shown; itself where that is as it is stored.

        Examples
        --------
        >>> import numpy as np
        >>> Orientation.turned(90).apply(np.array([[1, 2, 3], [4, 5, 6]], np.uint8))
        array([[4, 1],
               [5, 2],
               [6, 3]], dtype=uint8)
        """
        if self.transposed:
            image = cv2.transpose(image)
        if self.flipped_x or self.flipped_y:
            flip = -1 if self.flipped_x and self.flipped_y else int(self.flipped_x)
            image = cv2.flip(image, flip)
        return image

    def apply_to_size(self, size_hw: tuple[int, int]) -> tuple[int, int]:
        """Give the height and width of what `apply` gives."""
        height, width = size_hw
        return (width, height) if self.transposed else (height, width)

    def describe(self) -> str:
        """Say it: "mirrored and turned by 90 degrees"; "" where it is as it is stored."""
        known = _MIRRORED_AND_TURNED if self.mirrored else _TURNED
        degrees = next(angle for angle, orientation in known.items() if orientation == self)
        said = ["mirrored"] * self.mirrored + [f"turned by {degrees} degrees"] * (degrees != 0)
        return " and ".join(said)


UPRIGHT = Orientation()
"""To be shown as it is stored."""

_TURNED = {
    0: UPRIGHT,
    90: Orientation(True, True, False),
    180: Orientation(False, True, True),
    270: Orientation(True, False, True),
}
"""By degrees clockwise."""

_MIRRORED_AND_TURNED = {
    0: Orientation(False, True, False),
    90: Orientation(True, True, True),
    180: Orientation(False, False, True),
    270: Orientation(True, False, False),
}
"""Left and right exchanged, and then turned by degrees clockwise."""


def read_orientation(path: str | Path) -> Orientation | None:
    """Read how the first video track of an MP4 or QuickTime file asks to be shown.

    Parameters
    ----------
    path : path
        A file; its name may end in anything.

    Returns
    -------
    Orientation or None
        None where the file is of another form, holds no video track that can be read, or is
        damaged: nothing is known then. Of a matrix at no right angle, `UPRIGHT`.

    Raises
    ------
    OSError
        If the file cannot be read.
    """
    with Path(path).open("rb") as stream:
        end = stream.seek(0, 2)
        try:
            return _find_orientation(stream, end)
        except (struct.error, IndexError):  # cut short within a box
            return None


def orientation_of(matrix: _Matrix) -> Orientation:
    """Read an orientation from the ``a, b, c, d`` of a display matrix.

    A point of the stored image comes to ``x' = a x + c y``, ``y' = b x + d y``.

    Examples
    --------
    >>> orientation_of((0, 1, -1, 0)) == Orientation.turned(90)
    True
    """
    a, b, c, d = matrix
    if max(abs(b), abs(c)) <= _STRAIGHT * min(abs(a), abs(d)):
        return Orientation(False, a < 0, d < 0)
    if max(abs(a), abs(d)) <= _STRAIGHT * min(abs(b), abs(c)):
        return Orientation(True, c < 0, b < 0)
    return UPRIGHT


def _find_orientation(stream: BinaryIO, end: int) -> Orientation | None:
    whole: _Matrix = (1, 0, 0, 1)
    for place, (kind, start, stop) in enumerate(_boxes(stream, 0, end)):
        if place == 0 and kind not in _FIRST_BOXES:
            return None
        if kind != b"moov":
            continue
        for inner, inner_start, inner_stop in _boxes(stream, start, stop):
            if inner == b"mvhd":
                whole = _read_matrix(_read(stream, inner_start, inner_stop), 36, 48)
            elif inner == b"trak":
                matrix = _read_track(stream, inner_start, inner_stop)
                if matrix is not None:
                    return orientation_of(_product(matrix, whole))
        return None
    return None


def _read_track(stream: BinaryIO, start: int, stop: int) -> _Matrix | None:
    """Read the matrix of a track; None where it is not of a video."""
    matrix, is_video = None, False
    for kind, inner_start, inner_stop in _boxes(stream, start, stop):
        if kind == b"tkhd":
            matrix = _read_matrix(_read(stream, inner_start, inner_stop), 40, 52)
        elif kind == b"mdia":
            for deeper, *at in _boxes(stream, inner_start, inner_stop):
                is_video |= deeper == b"hdlr" and _read(stream, *at)[8:12] == b"vide"
    return matrix if is_video else None


def _boxes(stream: BinaryIO, start: int, stop: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield the boxes between two places: their kind, where their content begins and ends."""
    while start + 8 <= stop:
        stream.seek(start)
        size, kind = struct.unpack(">I4s", stream.read(8))
        head = 8
        if size == 1:
            (size,) = struct.unpack(">Q", stream.read(8))
            head = 16
        past = stop if size == 0 else start + size  # 0: up to the end
        if size and size < head:
            return  # damaged: its neighbour cannot be found
        yield kind, start + head, min(past, stop)
        start = past


def _read(stream: BinaryIO, start: int, stop: int) -> bytes:
    stream.seek(start)
    return stream.read(min(stop - start, _MOST_BYTES))


def _read_matrix(box: bytes, *places: int) -> _Matrix:
    """Read ``a, b, c, d`` of a header, which lie elsewhere where its times have 64 bits."""
    at = places[1 if box[0] == 1 else 0]
    a, b, _, c, d = struct.unpack(">5i", box[at : at + 20])  # 16.16; between them a 2.30
    return a / 65536, b / 65536, c / 65536, d / 65536


def _product(first: _Matrix, second: _Matrix) -> _Matrix:
    """What comes of a point that goes through one matrix and then the other."""
    a, b, c, d = first
    e, f, g, h = second
    return a * e + b * g, a * f + b * h, c * e + d * g, c * f + d * h
