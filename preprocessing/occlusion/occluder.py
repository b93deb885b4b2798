"""Put a mask, sunglasses, a hand or a scarf over a face, frame after frame.

`draw_occluder` makes one object, whose look depends only on its seed; `Occluder.apply` lays it
over the face in one image. The object is painted once, flat, in face units (see
`microx.preprocessing.occlusion.garments`), and bent to each face by a smooth map fitted to
landmarks that expressions hardly move, so that it moves with the head and not the mouth. All
numbers are our choice.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from microx.errors import InputError
from microx.preprocessing.occlusion.face_warp import FaceWarp
from microx.preprocessing.occlusion.garments import PAINTERS
from microx.preprocessing.occlusion.painting import PIXELS_PER_UNIT, Painting
from microx.text import check_known, parse_numbers

OCCLUSIONS: tuple[str, ...] = tuple(PAINTERS)
"""Kinds of objects: mask, sunglasses, hand, scarf."""

LOOKS = 100
"""Objects of a kind among which `choose_occluder` chooses for one seed; painting takes longer
than laying on, so they are few enough to be kept (half a megabyte each, a hand twice that)."""

_SOFTNESS = 0.5  # px, blur of a camera's image
_PLAIN_LIGHT = 175.0  # luma of lit skin at which objects have the brightness they were painted in
_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601, as OpenCV's grey


@dataclass(frozen=True)
class Occlusion:
    """A kind of object and how many videos it is put on.

    Parameters
    ----------
    kind : str
        One of `OCCLUSIONS`.
    share : float
        Part of the videos, above 0 and at most 1.

    Raises
    ------
    InputError
        If the kind is unknown or the share out of its range.
    """

    kind: str
    share: float = 1.0

    def __post_init__(self) -> None:
        check_known(self.kind, "occlusion", OCCLUSIONS)
        if not 0 < self.share <= 1:
            raise InputError(
                f"occlusion {self.kind}: expected a share above 0 and at most 1; found {self.share}"
            )


def parse_occlusions(text: str) -> tuple[Occlusion, ...]:
    """Parse the text of an option: kinds, each with the share of the videos it is put on.

    Parameters
    ----------
    text : str
        Such as ``"mask"`` (on all), ``"mask:0.5"`` or ``"mask:0.3,sunglasses:0.2"``.
        Empty gives no occlusion.

    Returns
    -------
    tuple of Occlusion

    Raises
    ------
    InputError
        If a kind is unknown or given twice, a share is not a number above 0, or the shares
        sum to more than 1: a face wears one object at a time.

    Examples
    --------
    >>> parse_occlusions("mask:0.3,sunglasses:0.2")
    (Occlusion(kind='mask', share=0.3), Occlusion(kind='sunglasses', share=0.2))
    """
    shares = parse_numbers(text, "occlusion", dict.fromkeys(OCCLUSIONS, (1.0, "a share")))
    occlusions = tuple(Occlusion(kind, share) for kind, share in shares.items())
    total = sum(shares.values())
    if total > 1 + 1e-9:
        raise InputError(
            f"occlusions {text!r}: expected shares that sum to at most 1, since a face wears one "
            f"object at a time; found a sum of {total:g}; lower the shares"
        )
    return occlusions


@dataclass(frozen=True)
class Light:
    """The light on a face, as far as an object put on it should share it.

    Parameters
    ----------
    skin : tuple of 3 floats
        Colour of the cheeks, RGB from 0 to 255.
    slope : float
        How much brighter than its middle the face is one face unit to the right of the image,
        as a share; negative where it is darker.
    """

    skin: tuple[float, float, float]
    slope: float = 0.0


def measure_light(rgb: np.ndarray, xy: np.ndarray) -> Light:
    """Measure the light on a face from its cheeks and nose.

    Parameters
    ----------
    rgb : ndarray of shape (H, W, 3), uint8
    xy : ndarray of shape (68, 2)
        Landmarks in pixels of this image.

    Returns
    -------
    Light
        Where the image shows none of the cheeks, or there are no landmarks: the image's
        mean colour, from no side.
    """
    mean = cv2.mean(rgb)[:3]
    warp = FaceWarp.fit(xy)
    if warp is None:
        return Light((mean[0], mean[1], mean[2]))
    at = warp.to_image(_cheeks()).astype(np.float32)
    seen = np.all((at >= 0) & (at <= np.array(rgb.shape[1::-1]) - 1), axis=1)
    if seen.sum() < 8:
        return Light((mean[0], mean[1], mean[2]))
    colours = cv2.remap(rgb, at[seen, None], np.empty(0, np.float32), cv2.INTER_LINEAR)
    colours = colours[:, 0].astype(np.float64)  # (n, 3)
    luma = colours @ _LUMA + 1
    low, high = np.percentile(luma, (35, 95))  # neither hair and shadow nor gloss
    skin = colours[(luma >= low) & (luma <= high)].mean(axis=0)
    across = _cheeks()[seen, 0]
    slope = 0.0
    if across.min() < -0.3 and across.max() > 0.3:
        left, right = np.median(luma[across < -0.2]), np.median(luma[across > 0.2])
        slope = float((right - left) / (right + left)) / 0.4
    return Light((float(skin[0]), float(skin[1]), float(skin[2])), float(np.clip(slope, -0.6, 0.6)))


@lru_cache(maxsize=1)
def _cheeks() -> np.ndarray:
    """Places of bare skin in face units, (n, 2): both cheeks and the bridge of the nose."""
    x, y = np.meshgrid(np.linspace(0.25, 0.58, 8), np.linspace(0.18, 0.62, 8))
    cheek = np.stack([x.ravel(), y.ravel()], axis=-1)
    nose = np.stack([np.zeros(6), np.linspace(0.0, 0.3, 6)], axis=-1)
    return np.concatenate([cheek, cheek * [-1, 1], nose])


@dataclass(frozen=True, eq=False)
class Occluder:
    """One object to put over faces, made by `draw_occluder`.

    Parameters
    ----------
    kind : str
        One of `OCCLUSIONS`.
    seed : int
        Seed of its look.
    painting : Painting
        The object, flat, in face units.
    """

    kind: str
    seed: int
    painting: Painting

    def apply(self, rgb: np.ndarray, xy: np.ndarray, *, light: Light | None = None) -> np.ndarray:
        """Lay the object over the face in one image.

        Parameters
        ----------
        rgb : ndarray of shape (H, W, 3), uint8
            A frame or a crop of one, of any size.
        xy : ndarray of shape (68, 2)
            Landmarks in pixels of this image (whole numbers at pixel centres); for a crop,
            mapped by `microx.preprocessing.regions.crop_transform`. They may lie outside.
        light : Light, optional
            Without it, `measure_light` of this image. The crops of one frame need the same.

        Returns
        -------
        ndarray of shape (H, W, 3), uint8
            A new image; an unchanged copy where landmarks are NaN or span no face, or where
            the object lies outside.

        Examples
        --------
        >>> no_face = np.full((68, 2), np.nan, np.float32)
        >>> draw_occluder("mask", 3).apply(np.zeros((32, 48, 3), np.uint8), no_face).shape
        (32, 48, 3)
        """
        covered = rgb.copy()
        warp = FaceWarp.fit(xy)
        if warp is None:
            return covered
        rows, columns = warp.find_box(self.painting.box_xyxy, rgb.shape[:2])
        if rows.stop <= rows.start or columns.stop <= columns.start:
            return covered
        light = measure_light(rgb, xy) if light is None else light
        layer, across = self._bend(warp, rows, columns)
        gain = np.clip(1 + np.float32(light.slope) * across, 0.7, 1.3)
        colour = cv2.transform(layer, self._tint(light))
        colour = cv2.multiply(colour, cv2.merge([gain] * 3), dtype=cv2.CV_8U)
        bare = cv2.cvtColor(255 - layer[..., 3], cv2.COLOR_GRAY2RGB)
        below = cv2.multiply(covered[rows, columns], bare, scale=1 / 255)
        covered[rows, columns] = cv2.add(below, colour)
        return covered

    def _bend(self, warp: FaceWarp, rows: slice, columns: slice) -> tuple[np.ndarray, np.ndarray]:
        """The object in this part of the image, RGBA as painted, and each pixel's face x."""
        face = warp.to_face(rows, columns)  # (h, w, 2)
        # Between two sizes of the painting, so that a head that comes near does not flicker.
        levels = self.painting.pyramid
        smaller = math.log2(PIXELS_PER_UNIT / warp.pixels_per_unit)
        level, part = divmod(min(max(smaller, 0), len(levels) - 1), 1)
        layer = self._sample(levels[int(level)], face)
        if part > 0:
            other = self._sample(levels[int(level) + 1], face)
            layer = cv2.addWeighted(layer, 1 - part, other, part, 0)
        return cv2.GaussianBlur(layer, (3, 3), _SOFTNESS), face[..., 0]

    def _sample(self, painted: np.ndarray, face: np.ndarray) -> np.ndarray:
        """What is painted at places in face units, (h, w, 4) uint8; nothing beside it."""
        left, top, right, bottom = self.painting.box_xyxy
        height, width = painted.shape[:2]
        x = (face[..., 0] - left) * (width / (right - left)) - 0.5
        y = (face[..., 1] - top) * (height / (bottom - top)) - 0.5
        return cv2.remap(painted, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)

    def _tint(self, light: Light) -> np.ndarray:
        """What takes painted RGBA to RGB in this light, (3, 4)."""
        tint = np.zeros((3, 4), np.float32)
        skin = np.array(light.skin)
        if self.painting.is_skin:  # cheeks are rosier than hands
            skin = 0.88 * skin + 0.12 * skin @ _LUMA
            tint[:, :3] = np.diag(skin / 255 * self.painting.skin_gain)
            return tint
        level = np.clip((skin.max() / _PLAIN_LIGHT) ** 0.7, 0.3, 1.25)
        # In a grey image the object is grey, in a pale one pale.
        colourful = np.clip((skin.max() - skin.min()) / (0.25 * skin.max() + 1), 0, 1)
        grey = np.tile(_LUMA, (3, 1))
        tint[:, :3] = level * (colourful * np.eye(3) + (1 - colourful) * grey)
        return tint


@lru_cache(maxsize=4 * LOOKS)
def draw_occluder(kind: str, seed: int) -> Occluder:
    """Make one object of a kind; colour, texture and shape are random.

    Parameters
    ----------
    kind : str
        One of `OCCLUSIONS`.
    seed : int
        At least 0. Equal seeds give equal objects.

    Returns
    -------
    Occluder
        The last 400 are kept, so that each is painted once.

    Raises
    ------
    InputError
        If the kind is unknown or the seed negative.
    """
    check_known(kind, "occlusion", OCCLUSIONS)
    if seed < 0:
        raise InputError(f"occluder {kind}: expected a seed of at least 0; found {seed}")
    rng = np.random.default_rng([seed, OCCLUSIONS.index(kind)])
    return Occluder(kind, seed, PAINTERS[kind](rng))


def choose_occluder(occlusions: Sequence[Occlusion], seed: int, name: str) -> Occluder | None:
    """Choose what a video wears: the same for the same seed and name, on every machine.

    Parameters
    ----------
    occlusions : sequence of Occlusion
        From `parse_occlusions`; none gives None.
    seed : int
        At least 0. Each has `LOOKS` objects of its own: a model trained with one seed and
        tested with another meets no object again.
    name : str
        Of the video or clip.

    Returns
    -------
    Occluder or None
        None for the part of the videos that the shares leave bare.

    Examples
    --------
    >>> worn = [choose_occluder((Occlusion("mask", 0.5),), 0, f"video_{n}") for n in range(100)]
    >>> sum(occluder is not None for occluder in worn)
    56
    """
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    chance = int.from_bytes(digest[:8], "big") / 2**64
    for occlusion in occlusions:
        if chance < occlusion.share:
            look = int.from_bytes(digest[8:12], "big") % LOOKS
            return draw_occluder(occlusion.kind, LOOKS * seed + look)
        chance -= occlusion.share
    return None
