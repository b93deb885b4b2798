"""Tools for drawing: curves, filled outlines, strokes, blur and grain.

Drawn actors (`microx.simulation`) and occluders (`microx.preprocessing.occlusion`) both use
them. Points and lengths are in pixels of the image, (x, y), and pixel centres
lie at whole numbers. All numbers are our choice.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

Array = np.ndarray

_BITS = 4  # of a pixel's fraction that OpenCV draws with


def smooth_curve(points: npt.ArrayLike, n_between: int = 8, *, closed: bool = False) -> Array:
    """Draw a Catmull-Rom curve through points.

    Parameters
    ----------
    points : array_like of shape (n, 2)
    n_between : int
        Points of the curve from one point to the next.
    closed : bool
        Join the last point to the first.

    Returns
    -------
    ndarray of float32, shape (m, 2)

    Examples
    --------
    >>> smooth_curve([(0, 0), (1, 1), (2, 0)], 2).tolist()
    [[0.0, 0.0], [0.5, 0.625], [1.0, 1.0], [1.5, 0.625], [2.0, 0.0]]
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


def round_corners(points: npt.ArrayLike, *, closed: bool = False) -> Array:
    """Round the corners of a line or an outline by cutting them four times (Chaikin).

    The result stays inside the corners; `smooth_curve` goes through them.

    Parameters
    ----------
    points : array_like of shape (n, 2)
    closed : bool
        Whether the last point is joined to the first.

    Returns
    -------
    ndarray of float64, shape (m, 2)

    Examples
    --------
    >>> corner = round_corners([(0, 0), (1, 0), (1, 1)])
    >>> len(corner), bool((corner == [1, 0]).all(axis=1).any())
    (48, False)
    """
    p = np.asarray(points, np.float64)
    for _ in range(4):
        following = np.roll(p, -1, axis=0) if closed else p[1:]
        before = p if closed else p[:-1]
        cut = np.stack([0.75 * before + 0.25 * following, 0.25 * before + 0.75 * following], 1)
        cut = cut.reshape(-1, 2)
        p = cut if closed else np.concatenate([p[:1], cut, p[-1:]])
    return p


def fill(size_hw: tuple[int, int], outline: Array, blur: float = 0.0) -> Array:
    """Fill an outline.

    Parameters
    ----------
    size_hw : tuple of 2 ints
        Height and width of the image.
    outline : ndarray of shape (n, 2)
    blur : float
        Standard deviation of a softening of its edge; 0 for none.

    Returns
    -------
    ndarray of float32, shape `size_hw`
        From 0 outside to 1 inside.

    Examples
    --------
    >>> square = fill((5, 5), np.array([(1, 1), (3, 1), (3, 3), (1, 3)]))
    >>> float(square[2, 2]), float(square[4, 4])
    (1.0, 0.0)
    """
    image = np.zeros(size_hw, np.uint8)
    cv2.fillPoly(image, [_fixed(outline)], 255, cv2.LINE_AA, _BITS)
    inside = image * np.float32(1 / 255)
    return soften(inside, blur) if blur > 0 else inside


def stroke(size_hw: tuple[int, int], curve: Array, thickness: int, blur: float = 0.0) -> Array:
    """Draw a line along a curve.

    Parameters
    ----------
    size_hw : tuple of 2 ints
        Height and width of the image.
    curve : ndarray of shape (n, 2)
    thickness : int
    blur : float
        Standard deviation of a softening; 0 for none.

    Returns
    -------
    ndarray of float32, shape `size_hw`
        From 0 beside the line to 1 on it.
    """
    image = np.zeros(size_hw, np.uint8)
    cv2.polylines(image, [_fixed(curve)], False, 255, thickness, cv2.LINE_AA, _BITS)
    line = image * np.float32(1 / 255)
    return soften(line, blur) if blur > 0 else line


def _fixed(points: Array) -> Array:
    """Points as OpenCV takes them: whole numbers of sixteenths of a pixel."""
    return np.asarray(np.round(points * 2**_BITS), np.int32)


def soften(image: Array, sigma: float, *, coarse_from: float = 6.0) -> Array:
    """Blur by a Gaussian, computed on a smaller image where it is wide.

    Parameters
    ----------
    image : ndarray of shape (H, W), float32
    sigma : float
        Standard deviation, above 0.
    coarse_from : float
        From this value on at half the size, from twice this value on at a quarter.

    Returns
    -------
    ndarray of float32, shape (H, W)
    """
    step = 4 if sigma >= 2 * coarse_from else 2 if sigma >= coarse_from else 1
    if step == 1:
        return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma))
    size_wh = image.shape[1::-1]
    small = cv2.resize(image, None, fx=1 / step, fy=1 / step, interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), sigma / step)
    return np.asarray(cv2.resize(small, size_wh, interpolation=cv2.INTER_LINEAR))


def grain(rng: np.random.Generator, size_hw: tuple[int, int], sigma: float) -> Array:
    """Draw blurred noise of mean 0 and standard deviation 1.

    Parameters
    ----------
    rng : Generator
    size_hw : tuple of 2 ints
        Height and width of the image.
    sigma : float
        Standard deviation of the blur.

    Returns
    -------
    ndarray of float32, shape `size_hw`
    """
    step = max(1, int(sigma / 2))
    height, width = size_hw
    small_hw = (height // step + 2, width // step + 2)
    white = rng.standard_normal(small_hw, dtype=np.float32)
    soft = cv2.GaussianBlur(white, (0, 0), max(sigma / step, 0.3))
    noise = cv2.resize(soft, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.asarray((noise - noise.mean()) / noise.std(), np.float32)
