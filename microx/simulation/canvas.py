"""The canvas that drawn actors are painted on: its size, its face units, light on it.

Positions on the face are in face units: the origin is midway between the outer eye corners, x to
the right of the image, y down, and 1 is the outer-eye distance of the mean face.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

Array = np.ndarray

CANVAS = 512
"""Height and width of the canvas in pixels, twice the drawn frame."""

UNIT = 166.0
"""Canvas pixels to one face unit, the outer-eye distance of the mean face."""

CENTRE = (256.0, 222.0)
"""Canvas position of the origin of face units, (x, y)."""


@lru_cache(maxsize=1)
def face_grid() -> tuple[Array, Array]:
    """The x and y of every canvas pixel in face units, each (512, 512) float32."""
    axis = np.arange(CANVAS, dtype=np.float32)
    x, y = np.meshgrid((axis - CENTRE[0]) / UNIT, (axis - CENTRE[1]) / UNIT)
    return x.astype(np.float32), y.astype(np.float32)


def to_canvas(points: Array) -> Array:
    """Face units to canvas pixels.

    Parameters
    ----------
    points
        (..., 2) in face units.

    Returns
    -------
    ndarray of float32, shape (..., 2)
    """
    return (np.asarray(points, np.float32) * UNIT + np.array(CENTRE, np.float32)).astype(np.float32)


def to_linear(colour: npt.ArrayLike) -> Array:
    """SRGB 0 to 255 to linear 0 to 1, with the plain power 2.2."""
    return (np.asarray(colour, np.float32) / 255) ** np.float32(2.2)


def bell(squared: Array) -> Array:
    """exp(-squared), kept above 1e-13, since numbers too small for float32 are slow."""
    return np.asarray(np.exp(-np.minimum(squared, 30)), np.float32)


def box_slices(box_xyxy: tuple[float, float, float, float]) -> tuple[slice, slice]:
    """Rows and columns of the canvas inside a box given in face units."""
    x0, y0 = (round(float(v)) for v in to_canvas(np.array(box_xyxy[:2], np.float32)))
    x1, y1 = (round(float(v)) for v in to_canvas(np.array(box_xyxy[2:], np.float32)))
    return slice(y0, y1), slice(x0, x1)
