"""A sheet to paint objects on in face units: fills, strokes, grain, relief and its light.

Face units: the origin is midway between the outer eye corners, x to the right of the image,
y down, and 1 is the distance of the outer eye corners. All numbers are our choice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
import numpy.typing as npt

from microx.preprocessing import drawing
from microx.preprocessing.drawing import Array, round_corners

Box = tuple[float, float, float, float]

PIXELS_PER_UNIT = 160
"""Painted pixels to one face unit."""


@dataclass(frozen=True, eq=False)
class Painting:
    """A painted object.

    Parameters
    ----------
    rgba : ndarray of shape (h, w, 4), uint8
        Colours times cover, and cover; where black covers in part, it is the object's shadow.
    box_xyxy : tuple of 4 floats
        Where it lies, in face units.
    is_skin : bool
        Whether the colours are shares of the colour of the wearer's skin.
    skin_gain : tuple of 3 floats
        How that object's skin differs from the face's, by channel.
    """

    rgba: Array
    box_xyxy: Box
    is_skin: bool = False
    skin_gain: tuple[float, float, float] = (1.0, 1.0, 1.0)

    @cached_property
    def pyramid(self) -> list[Array]:
        """The painting, then each time half as large, down to about 16 pixels."""
        levels = [self.rgba]
        while min(levels[-1].shape[:2]) >= 32:
            smaller = cv2.resize(levels[-1], None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
            levels.append(np.asarray(smaller))
        return levels


class Sheet:
    """An empty sheet to paint on: a box in face units with the x and y of each pixel.

    Its methods take points, curves and lengths in face units, and give and take images of
    shape ``size_hw``, float32.

    Parameters
    ----------
    box : tuple of 4 floats
        Left, top, right and bottom in face units.
    rng : Generator
        Source of chance for `grain` and for the painter.
    """

    def __init__(self, box: Box, rng: np.random.Generator) -> None:
        self.box, self.rng = box, rng
        self.size_hw = (
            round((box[3] - box[1]) * PIXELS_PER_UNIT),
            round((box[2] - box[0]) * PIXELS_PER_UNIT),
        )
        axes = [(np.arange(n) + 0.5) / PIXELS_PER_UNIT for n in self.size_hw]
        x, y = np.meshgrid(axes[1] + box[0], axes[0] + box[1])
        self.x, self.y = x.astype(np.float32), y.astype(np.float32)

    def _pixels(self, points: npt.ArrayLike) -> Array:
        at: Array = (np.asarray(points) - np.array(self.box[:2])) * PIXELS_PER_UNIT - 0.5
        return at

    def fill(self, outline: npt.ArrayLike) -> Array:
        """The inside of an outline, 0 to 1."""
        return drawing.fill(self.size_hw, self._pixels(outline))

    def stroke(self, curve: npt.ArrayLike, width: float, blur: float = 0.0) -> Array:
        """A line of a width along a curve, 0 to 1."""
        thickness = max(1, round(width * PIXELS_PER_UNIT))
        line = drawing.stroke(self.size_hw, self._pixels(curve), thickness)
        return self.blur(line, blur) if blur else line

    def around(self, points: Array, reach: float) -> tuple[slice, slice]:
        """Rows and columns of the pixels within reach of points."""
        low = np.floor((points.min(axis=0) - reach - self.box[:2]) * PIXELS_PER_UNIT)
        high = np.ceil((points.max(axis=0) + reach - self.box[:2]) * PIXELS_PER_UNIT)
        (x0, y0), (x1, y1) = np.maximum(low, 0).astype(int), np.maximum(high, 0).astype(int)
        return slice(int(y0), int(y1)), slice(int(x0), int(x1))

    def blur(self, image: Array, spread: float) -> Array:
        """Gaussian blur; spread in face units."""
        return drawing.soften(image, spread * PIXELS_PER_UNIT, coarse_from=4)

    def grain(self, spread: float) -> Array:
        """Blurred noise of mean 0 and standard deviation 1."""
        return drawing.grain(self.rng, self.size_hw, spread * PIXELS_PER_UNIT)

    def depth(self, cover: Array) -> Array:
        """How far each pixel lies inside a cover, in face units."""
        inside = (cover > 0.5).astype(np.uint8)
        return cv2.distanceTransform(inside, cv2.DIST_L2, 5) / np.float32(PIXELS_PER_UNIT)

    def light(self, height: Array, *, side: float = 0.0, wrap: float = 0.0) -> Array:
        """Brightness of a relief (heights in face units) lit from above and in front, about 1."""
        slope_y, slope_x = np.gradient(height, 1 / PIXELS_PER_UNIT)
        norm = 1 / np.sqrt(1 + slope_x**2 + slope_y**2)
        toward = (0.87 + 0.45 * slope_y - side * slope_x) * norm
        return np.asarray(np.clip((toward + wrap) / (0.87 + wrap), 0, 1.3), np.float32)

    def finish(
        self, colour: Array, cover: Array, *, shadow: float = 0.35, reach: float = 0.035
    ) -> Array:
        """Premultiplied RGBA of colours (h, w, 3) from 0 to 255, with a shadow on the face."""
        cover = np.clip(cover, 0, 1)
        fall = self.blur(cover, reach)
        drop = np.array([[1, 0, 0], [0, 1, 0.6 * reach * PIXELS_PER_UNIT]])
        fall = cv2.warpAffine(fall, drop, fall.shape[::-1])
        fall = shadow * np.clip(1.3 * fall, 0, 1) * (1 - cover)
        rgba = np.dstack([np.clip(colour, 0, 255) * cover[..., None], 255 * (cover + fall)])
        return (rgba + 0.5).astype(np.uint8)


def both_sides(half: Sequence[tuple[float, float]]) -> Array:
    """A symmetric outline from its right half, top to bottom; rounded."""
    right = np.array(half)
    inner = right[(right[:, 0] > 0)]
    return round_corners(np.concatenate([right, inner[::-1] * [-1, 1]]), closed=True)


def pick_colour(rng: np.random.Generator, colours: Sequence[tuple[int, int, int]]) -> Array:
    """One of the colours, varied a little."""
    colour = np.array(colours[int(rng.integers(len(colours)))], np.float32)
    return np.clip(colour * rng.uniform(0.94, 1.06) + rng.uniform(-5, 5, 3), 5, 250)
