"""Cutting a rotated square out of an image and shrinking it, quickly and without aliasing."""

from __future__ import annotations

import math

import cv2
import numpy as np


def warp_square(image: np.ndarray, inverse: np.ndarray, side: int) -> np.ndarray:
    """Cut a square out of an image by an affine map.

    Where the square is shrunk to half or less, the part of the image it shows is shrunk by
    a whole factor first, each pixel the mean of those it replaces, so that none is left out.

    Parameters
    ----------
    image : ndarray of shape (H, W) or (H, W, 3), uint8
    inverse : ndarray of shape (2, 3)
        ``inverse[:, :2] @ (u, v) + inverse[:, 2]`` is the place in the image that pixel
        ``(u, v)`` of the square shows; whole numbers at pixel centres in both.
    side : int
        Pixels along a side of the square.

    Returns
    -------
    ndarray of shape (side, side) or (side, side, 3), uint8
        What lies outside the image repeats its edge.
    """
    (a, b, _), (c, d, _) = inverse.tolist()
    factor = int(math.sqrt(abs(a * d - b * c)))
    if factor >= 2:
        image, inverse = _shrunk(image, inverse, side, factor)
    return cv2.warpAffine(
        image,
        inverse,
        (side, side),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )


def _shrunk(
    image: np.ndarray, inverse: np.ndarray, side: int, factor: int
) -> tuple[np.ndarray, np.ndarray]:
    """The part of an image that a square shows, shrunk by `factor`, and the map into it."""
    corners = np.array([[0, 0, side, side], [0, side, 0, side]])
    places = inverse[:, :2] @ corners + inverse[:, 2:]
    size_wh = np.array(image.shape[1::-1])
    low = np.clip(np.floor(places.min(axis=1)).astype(int) - factor, 0, size_wh - 1)
    high = np.clip(np.ceil(places.max(axis=1)).astype(int) + factor, low + 1, size_wh)
    n_blocks = (high - low) // factor
    if n_blocks.min() < 1:
        return image, inverse
    (left, top), (right, bottom) = low, low + factor * n_blocks
    small = cv2.resize(
        image[top:bottom, left:right], n_blocks.tolist(), interpolation=cv2.INTER_AREA
    )
    moved = inverse.copy()
    moved[:, 2] += 0.5 - low
    moved /= factor
    moved[:, 2] -= 0.5
    return small, moved
