"""Where each region of a face is, and how it is cut out, by one of two crop policies.

``"aligned"`` (the default, our choice) levels the eyes, takes a square around the extremes
of a region's landmarks plus a margin, and so keeps the aspect ratio. ``"paper"`` crops as the
MicroX authors' released pipeline does: boxes between fixed landmarks padded by 5 px, the
whole frame as the face, and every crop stretched to the square.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np

from microx.errors import InputError
from microx.preprocessing.warping import warp_square
from microx.schema import REGION_LANDMARKS

POLICIES = ("aligned", "paper")

MARGIN = 0.15
"""Added on each side of an aligned box, as a share of its side (our choice)."""

# Source: the MicroX authors' released pipeline. Landmarks that give a box's left, right,
# top and bottom. It calls the eye on the left of the image "left"; here left and right
# are the subject's own, so the two names are swapped.
_PAPER_BOX: dict[str, tuple[int, int, int, int]] = {
    "right_eye": (36, 39, 38, 40),
    "left_eye": (42, 45, 44, 46),
    "right_brow": (17, 21, 19, 17),
    "left_brow": (22, 26, 24, 26),
    "nose": (31, 35, 27, 33),
    "mouth": (48, 54, 51, 57),
}
_PAPER_PADDING = 5  # px, same source

_NO_POINTS = np.empty((0, 2), np.float32)

# The points of a region are consecutive; a slice is quicker than a list of them.
_POINTS = {region: slice(points[0], points[-1] + 1) for region, points in REGION_LANDMARKS.items()}


def check_regions(regions: Sequence[str]) -> tuple[str, ...]:
    """Return the regions as a tuple; unknown, repeated or no names raise `InputError`."""
    unknown = [name for name in regions if name not in REGION_LANDMARKS]
    if unknown:
        raise InputError(f"region {unknown[0]!r} is unknown; known: {', '.join(REGION_LANDMARKS)}")
    if not regions or len(set(regions)) != len(regions):
        raise InputError(
            f"expected one or more regions, each once; received {', '.join(regions) or 'none'}"
        )
    return tuple(regions)


def crop_region(
    rgb: np.ndarray,
    xy: np.ndarray | None,
    region: str,
    *,
    size: int = 32,
    policy: str = "aligned",
    margin: float = MARGIN,
) -> tuple[np.ndarray | None, np.ndarray]:
    """Cut one region out of one frame.

    Parameters
    ----------
    rgb : ndarray of shape (H, W, 3), uint8
        The frame.
    xy : ndarray of shape (68, 2), optional
        Its landmarks in pixels. None: the frame is a face crop already, and the face is all of it.
    region : str
        One of `microx.schema.REGIONS`; "face" where there are no landmarks.
    size : int
        Pixels along a side of the square crop.
    policy : {"aligned", "paper"}
        How the box is chosen, see the module's docstring.
    margin : float
        For "aligned": added on each side, as a share of the box's side.

    Returns
    -------
    crop : ndarray of shape (size, size, 3), uint8, or None
        None where the box is empty, as the paper's is on a tilted head.
    box_xyxy : ndarray of shape (4,), float32
        The upright box about the crop, in pixels of the frame; NaN where it is empty.
        An aligned box may reach past the frame; what lies outside repeats its edge.

    Examples
    --------
    >>> crop_region(np.zeros((48, 40, 3), np.uint8), None, "face")[1]
    array([-4.,  0., 44., 48.], dtype=float32)
    """
    _check_policy(policy)
    if xy is None:
        if region != "face":
            raise InputError(f"region {region!r} needs landmarks; without any there is the face")
        xy = _NO_POINTS
    if policy == "aligned":
        return _crop_aligned(rgb, xy, region, size, margin)
    return _crop_paper(rgb, xy, region, size)


def crop_transform(
    xy: np.ndarray,
    region: str,
    *,
    size: int = 32,
    policy: str = "aligned",
    margin: float = MARGIN,
    size_hw: tuple[int, int] | None = None,
) -> np.ndarray:
    """Map each place in a frame to its place in the crop that `crop_region` cuts.

    Parameters
    ----------
    xy, region, size, policy, margin
        As for `crop_region`.
    size_hw : tuple of int, optional
        Height and width of the frame. Only "paper" needs it: its boxes end at the frame's
        edges, and its face is the whole frame.

    Returns
    -------
    ndarray of shape (2, 3), float64
        ``matrix[:, :2] @ (x, y) + matrix[:, 2]`` takes frame pixels to crop pixels, both whole
        numbers at pixel centres. "paper" scales each axis by itself. NaN where `crop_region`
        gives no crop, or landmarks are NaN.

    Raises
    ------
    InputError
        If the policy is unknown, or "paper" is not given the frame's size.

    Examples
    --------
    >>> crop_transform(np.zeros((68, 2)), "face", size=32, policy="paper", size_hw=(64, 128))
    array([[ 0.25 ,  0.   , -0.375],
           [ 0.   ,  0.5  , -0.25 ]])
    """
    _check_policy(policy)
    if policy == "paper" and size_hw is None:
        raise InputError("crop_transform: policy 'paper' needs size_hw, the size of the frame")
    nowhere = np.full((2, 3), np.nan)
    if not np.isfinite(xy).all():
        return nowhere
    if policy == "aligned":
        square = _find_square(xy, region, margin)
        if square is None:
            return nowhere
        axes, corner, side = square
        turn = axes * (size / side)
    else:
        box = _find_paper_box(xy, region, size_hw or (0, 0))
        if box is None:
            return nowhere
        axes, corner = np.eye(2), np.array(box[:2])
        turn = np.diag([size / (box[2] - box[0]), size / (box[3] - box[1])])
    # A pixel's centre lies half a pixel from its edge, in the frame and in the crop.
    offset = turn @ (np.array([0.5, 0.5]) - axes.T @ corner) - 0.5
    return np.column_stack([turn, offset])


def _check_policy(policy: str) -> None:
    if policy not in POLICIES:
        raise InputError(f"crop policy {policy!r} is unknown; known: {', '.join(POLICIES)}")


def _crop_aligned(
    rgb: np.ndarray, xy: np.ndarray, region: str, size: int, margin: float
) -> tuple[np.ndarray | None, np.ndarray]:
    square = _find_square(xy, region, margin) if len(xy) else _square_about(rgb.shape)
    if square is None:
        return None, np.full(4, np.nan, np.float32)
    axes, corner, side = square
    corners = np.array([[0, 0], [side, 0], [side, side], [0, side]]) + corner
    quad = corners @ axes  # back to the frame
    box_xyxy = np.concatenate([quad.min(axis=0), quad.max(axis=0)]).astype(np.float32)
    return _cut(rgb, axes, corner, side, size), box_xyxy


def _find_square(
    xy: np.ndarray, region: str, margin: float
) -> tuple[np.ndarray, np.ndarray, float] | None:
    """The levelled axes (2, 2) in the frame, the square's corner along them, and its side."""
    points = xy.astype(np.float64)
    across = points[_POINTS["left_eye"]].sum(axis=0) - points[_POINTS["right_eye"]].sum(axis=0)
    length = float(np.hypot(*across))
    if length == 0:
        return None
    right, down = across / length, np.array([-across[1], across[0]]) / length
    axes = np.stack([right, down])
    levelled = points[_POINTS[region]] @ axes.T
    low, high = levelled.min(axis=0), levelled.max(axis=0)
    side = float((high - low).max()) * (1 + 2 * margin)
    return None if side < 1 else (axes, (low + high) / 2 - side / 2, side)


def _square_about(shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray, float]:
    """The square about a whole frame, as `_find_square` gives one."""
    size_wh = np.array(shape[1::-1], np.float64)
    side = float(size_wh.max())
    return np.eye(2), (size_wh - side) / 2, side


def _cut(
    rgb: np.ndarray, axes: np.ndarray, corner: np.ndarray, side: float, size: int
) -> np.ndarray:
    """Rotate the frame and take the square at `corner`, at full detail before it is shrunk."""
    pixels = min(max(math.ceil(side), size), 2 * size)
    scale = side / pixels
    # Pixel centres: output (u, v) shows the levelled point corner + (u + .5, v + .5) * scale.
    inverse = np.empty((2, 3))
    inverse[:, :2] = axes.T * scale
    inverse[:, 2] = (corner + scale / 2) @ axes - 0.5
    crop = warp_square(rgb, inverse, pixels)
    return crop if pixels == size else cv2.resize(crop, (size, size), interpolation=cv2.INTER_AREA)


def _crop_paper(
    rgb: np.ndarray, xy: np.ndarray, region: str, size: int
) -> tuple[np.ndarray | None, np.ndarray]:
    box = _find_paper_box(xy, region, rgb.shape[:2])
    if box is None:
        return None, np.full(4, np.nan, np.float32)
    crop = rgb[box[1] : box[3], box[0] : box[2]]
    shrinking = crop.shape[0] > size or crop.shape[1] > size
    interpolation = cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR
    resized = cv2.resize(crop, (size, size), interpolation=interpolation)
    return resized, np.array(box, np.float32)


def _find_paper_box(
    xy: np.ndarray, region: str, size_hw: tuple[int, ...]
) -> tuple[int, int, int, int] | None:
    height, width = size_hw
    if region == "face":
        box = (0, 0, width, height)
    else:
        left, right, top, bottom = _PAPER_BOX[region]
        box = (
            max(0, int(xy[left, 0]) - _PAPER_PADDING),
            max(0, int(xy[top, 1]) - _PAPER_PADDING),
            min(width, int(xy[right, 0]) + _PAPER_PADDING),
            min(height, int(xy[bottom, 1]) + _PAPER_PADDING),
        )
    return None if box[2] <= box[0] or box[3] <= box[1] else box
