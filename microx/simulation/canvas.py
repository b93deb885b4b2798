"""The canvas that drawn actors are painted on: its size, face units, curves, strokes, grain.

Positions on the face are in face units: the origin is midway between the outer eye corners, x to
the right of the picture, y down, and 1 is the outer-eye distance of the mean face.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
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


def smooth_curve(points: npt.ArrayLike, n_between: int = 8, *, closed: bool = False) -> Array:
    """A Catmull-Rom curve through points.

    Parameters
    ----------
    points
        (n, 2).
    n_between
        Points of the curve from one point to the next.
    closed
        Join the last point to the first.

    Returns
    -------
    ndarray of float32, shape (m, 2)
    """
    p = np.asarray(points, np.float32)
    return np.asarray(_curve_weights(len(p), n_between, closed) @ p, np.float32)


@lru_cache(maxsize=64)
def _curve_weights(n: int, n_between: int, closed: bool) -> Array:
    """The (m, n) matrix that takes n points to the m points of a Catmull-Rom curve."""
    eye = np.eye(n)
    if closed:
        p = np.concatenate([eye[-1:], eye, eye[:2]])
    else:
        p = np.concatenate([2 * eye[:1] - eye[1:2], eye, 2 * eye[-1:] - eye[-2:-1]])
    t = np.linspace(0, 1, n_between, endpoint=False)[None, :, None]
    a, b, c, d = (p[i : len(p) - 3 + i, None] for i in range(4))
    curve = 0.5 * (
        2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3
    )
    curve = curve.reshape(-1, n)
    return (curve if closed else np.concatenate([curve, eye[-1:]])).astype(np.float32)


def fill(shape_hw: tuple[int, int], polygon: Array, blur: float = 0.0) -> Array:
    """The inside of a polygon as a picture, 0 to 1, with smooth edges.

    Parameters
    ----------
    shape_hw
        Height and width.
    polygon
        (n, 2) in pixels.
    blur
        Standard deviation of a further softening, in pixels.

    Returns
    -------
    ndarray of float32, shape `shape_hw`
    """
    picture = np.zeros(shape_hw, np.uint8)
    cv2.fillPoly(picture, [np.round(polygon * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    inside = picture.astype(np.float32) * np.float32(1 / 255)
    return soften(inside, blur) if blur > 0 else inside


def stroke(shape_hw: tuple[int, int], curve: Array, thickness: int, blur: float = 0.0) -> Array:
    """A line along a curve as a picture, 0 to 1; arguments as in `fill`, thickness in pixels."""
    picture = np.zeros(shape_hw, np.uint8)
    points = np.round(curve * 16).astype(np.int32)
    cv2.polylines(picture, [points], False, 255, thickness, cv2.LINE_AA, 4)
    line = picture.astype(np.float32) * np.float32(1 / 255)
    return soften(line, blur) if blur > 0 else line


def bell(squared: Array) -> Array:
    """exp(-squared), kept above 1e-13, since numbers too small for float32 are slow."""
    return np.asarray(np.exp(-np.minimum(squared, 30)), np.float32)


def soften(picture: Array, spread: float) -> Array:
    """Gaussian blur, worked out on a smaller picture where it is wide; `spread` in pixels."""
    if spread < 6:
        return np.asarray(cv2.GaussianBlur(picture, (0, 0), spread), np.float32)
    height, width = picture.shape[:2]
    step = 4 if spread >= 12 else 2
    small = cv2.resize(picture, (width // step, height // step), interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), spread / step)
    return np.asarray(
        cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR), np.float32
    )


def grain(rng: np.random.Generator, shape_hw: tuple[int, int], spread: float) -> Array:
    """Blurred noise of unit standard deviation; `spread` is the blur in pixels."""
    step = max(1, int(spread / 2))
    small = (shape_hw[0] // step + 2, shape_hw[1] // step + 2)
    white = rng.standard_normal(small, dtype=np.float32)
    soft = cv2.GaussianBlur(white, (0, 0), max(spread / step, 0.3))
    noise = cv2.resize(soft, (shape_hw[1], shape_hw[0]), interpolation=cv2.INTER_CUBIC)
    return np.asarray((noise - noise.mean()) / noise.std(), np.float32)


def box_slices(box_xyxy: tuple[float, float, float, float]) -> tuple[slice, slice]:
    """Rows and columns of the canvas inside a box given in face units."""
    x0, y0 = (round(float(v)) for v in to_canvas(np.array(box_xyxy[:2], np.float32)))
    x1, y1 = (round(float(v)) for v in to_canvas(np.array(box_xyxy[2:], np.float32)))
    return slice(y0, y1), slice(x0, x1)
