"""Random changes of training clips: flip, crop, rotation, blur, brightness, erasing.

`parse_augmentation` reads which changes and how strong, `augment_clip` samples them for one clip.
Whatever is sampled is the same for all frames of a clip, so that no motion is added.
Changes are applied in the order of `CHANGES`, however they are listed. Strengths are our choice.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from microx.errors import InputError
from microx.text import check_known, check_once, parse_numbers

Clip = dict[str, np.ndarray]

# Usual strength, greatest strength, and what the strength is.
_STRENGTHS: dict[str, tuple[float, float, str]] = {
    "flip": (0.5, 1.0, "a probability"),
    "crop": (0.1, 0.5, "a share of the side"),
    "shift": (0.07, 0.5, "a share of the side"),
    "rotate": (10.0, 180.0, "degrees"),
    "blur": (1.0, 10.0, "pixels"),
    "brightness": (0.2, 1.0, "a share"),
    "erase": (0.5, 1.0, "a probability"),
}

CHANGES: tuple[str, ...] = tuple(_STRENGTHS)
"""Names of the changes: flip, crop, shift, rotate, blur, brightness, erase."""

MOTION_CHANGES = ("flip", "shift")
"""Those of `augment_motion`."""

_MIRRORED = {"left_eye": "right_eye", "left_brow": "right_brow"}
_MIRRORED |= {right: left for left, right in _MIRRORED.items()}

# Zhong et al., "Random Erasing Data Augmentation", 2020: aspects from 0.3 to 1 / 0.3 and areas
# from 2 %; they go up to 40 %, PyTorch's RandomErasing and we up to 33 %.
_ERASED_SHARE, _ERASED_ASPECT = (0.02, 0.33), 0.3


@dataclass(frozen=True)
class Change:
    """A kind of random change and its strength.

    Parameters
    ----------
    kind : str
        One of `CHANGES`.
    strength : float
        Above 0; its meaning and upper limit depend on the kind, see `parse_augmentation`.

    Raises
    ------
    InputError
        If the kind is unknown or the strength out of range.
    """

    kind: str
    strength: float

    def __post_init__(self) -> None:
        check_known(self.kind, "augmentation", CHANGES)
        _, most, unit = _STRENGTHS[self.kind]
        if not 0 < self.strength <= most:
            raise InputError(
                f"augmentation {self.kind}: expected {unit} above 0 and at most {most:g}; "
                f"found {self.strength}"
            )


def parse_augmentation(text: str) -> tuple[Change, ...]:
    """Read a list of changes, each with a strength or its usual one.

    Parameters
    ----------
    text : str
        Such as ``"flip"`` or ``"flip,crop:0.1,rotate:10"``. Empty gives no change. In order:

        - ``flip:0.5``: the probability that the clip is mirrored, at most 1.
        - ``crop:0.1``: the largest share of the side that is cut off, at most 0.5. Each region
          has a window of its own, which is enlarged to the region's size.
        - ``shift:0.07``: the largest shift across and down as a share of the side, at most 0.5;
          edges are repeated.
        - ``rotate:10``: the largest rotation about the centre in degrees, either way, at most
          180; edges are repeated.
        - ``blur:1``: the largest sigma of a Gaussian blur in pixels of the crop, at most 10.
        - ``brightness:0.2``: the largest relative change of contrast, and half of it the largest
          change of brightness, as a share of the range, at most 1.
        - ``erase:0.5``: the probability that a rectangle of 2 to 33 % of a region's area is
          erased, at most 1; it gets the region's mean colour.

    Returns
    -------
    tuple of Change

    Raises
    ------
    InputError
        If a name is unknown or given twice, or a strength is no number or out of range.

    Examples
    --------
    >>> parse_augmentation("flip,rotate:5")
    (Change(kind='flip', strength=0.5), Change(kind='rotate', strength=5.0))
    """
    known = {kind: (usual, unit) for kind, (usual, _, unit) in _STRENGTHS.items()}
    strengths = parse_numbers(text, "augmentation", known)
    return tuple(Change(kind, strength) for kind, strength in strengths.items())


def augment_clip(
    clip: Mapping[str, np.ndarray], changes: Sequence[Change], rng: np.random.Generator
) -> Clip:
    """Change one clip at random, all its frames in the same way.

    Parameters
    ----------
    clip : mapping of (T, H, W, 3) uint8
        Crops by region. A frame the clip is compared with, such as the onset frame, is passed
        as one more frame. No regions, or no frames, are returned as they are.
    changes : sequence of Change
        From `parse_augmentation`.
    rng : Generator
        Equal states give equal clips.

    Returns
    -------
    dict of (T, H, W, 3) uint8
        The same regions. New arrays where something changed, the given ones where nothing did.
        A flip swaps the left and the right eye; where the clip holds only one of a pair it is
        not flipped, so that a model of the left eye never sees the right one. Flip, rotation,
        blur and brightness are the same for the whole clip; window and rectangle differ by
        region.

    Raises
    ------
    InputError
        If a change is given twice.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> clip = {"mouth": rng.integers(0, 256, (10, 32, 32, 3), np.uint8)}
    >>> augment_clip(clip, parse_augmentation("crop,rotate:5"), rng)["mouth"].shape
    (10, 32, 32, 3)
    """
    check_once([change.kind for change in changes], "augmentation")
    strengths = {change.kind: change.strength for change in changes}
    changed = dict(clip)
    if not all(len(crops) for crops in clip.values()):
        return changed
    if "flip" in strengths and rng.random() < strengths["flip"]:
        changed = _mirror(changed)
    if {"crop", "shift", "rotate"} & strengths.keys():
        changed = _turn(changed, strengths, rng)
    if "blur" in strengths:
        changed = _blur(changed, strengths["blur"], rng)
    if "brightness" in strengths:
        changed = _light(changed, strengths["brightness"], rng)
    if "erase" in strengths:
        changed = _erase(changed, strengths["erase"], rng)
    return changed


def mirror_region(region: str) -> str:
    """Name the region that one becomes when the face is mirrored.

    Examples
    --------
    >>> mirror_region("left_eye"), mirror_region("mouth")
    ('right_eye', 'mouth')
    """
    return _MIRRORED.get(region, region)


def augment_motion(
    maps: np.ndarray, changes: Sequence[Change], rng: np.random.Generator
) -> np.ndarray:
    """Change motion at random, all frames of a clip alike.

    Parameters
    ----------
    maps : (B, T, S, S, 3) float32
        u, v and strain of B clips; see `microx.preprocessing.motion.measure_motion`.
    changes : sequence of Change
        Of `MOTION_CHANGES`. When mirrored, u changes its sign. Shifts are whole pixels; what comes
        in at the border does not move.
    rng : Generator

    Returns
    -------
    (B, T, S, S, 3) float32
    """
    strengths = {change.kind: change.strength for change in changes}
    changed = maps.copy()
    is_mirrored = rng.random(len(maps)) < strengths.get("flip", 0.0)
    changed[is_mirrored] = changed[is_mirrored, :, :, ::-1] * np.array([-1, 1, 1], np.float32)
    most, side = round(strengths.get("shift", 0.0) * maps.shape[2]), maps.shape[2]
    for row, (down, across) in enumerate(rng.integers(-most, most + 1, (len(maps), 2)).tolist()):
        still, changed[row] = changed[row].copy(), 0.0
        into = changed[row, :, max(down, 0) : side + down, max(across, 0) : side + across]
        into[:] = still[:, max(-down, 0) : side - down, max(-across, 0) : side - across]
    return changed


def _mirror(clip: Clip) -> Clip:
    if any(mirror_region(region) not in clip for region in clip):
        return clip
    mirrored = {}
    for region in clip:
        crops = clip[mirror_region(region)]
        mirrored[region] = cv2.flip(_stack(crops), 1).reshape(crops.shape)
    return mirrored


def _stack(crops: np.ndarray) -> np.ndarray:
    """Frames one below the other, (T * H, W, 3): one call of OpenCV for all."""
    return crops.reshape(-1, *crops.shape[2:])


def _turn(clip: Clip, strengths: Mapping[str, float], rng: np.random.Generator) -> Clip:
    """Crop, shift and rotate in one step, so that pixels are interpolated once."""
    degrees, cut = strengths.get("rotate", 0.0), strengths.get("crop", 0.0)
    angle = math.radians(rng.uniform(-degrees, degrees))
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    share = strengths.get("shift", 0.0)
    shift = rng.uniform(-share, share, 2) if share else np.zeros(2)
    return {region: _cut_window(crops, turn, cut, shift, rng) for region, crops in clip.items()}


def _cut_window(
    crops: np.ndarray,
    turn: np.ndarray,
    cut: float,
    shift: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    size_wh = np.array(crops.shape[2:0:-1])
    scale = 1 - cut * rng.random()
    corner = (rng.random(2) * (1 - scale) + shift) * size_wh
    # Pixel centres: output p shows the place corner + (p + .5) * scale, rotated about the centre.
    inverse = np.empty((2, 3))
    inverse[:, :2] = turn * scale
    inverse[:, 2] = turn @ (corner + scale / 2 - size_wh / 2) + size_wh / 2 - 0.5
    windows = np.empty_like(crops)
    for crop, window in zip(crops, windows, strict=True):
        cv2.warpAffine(
            crop,
            inverse,
            size_wh.tolist(),
            dst=window,
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
    return windows


def _blur(clip: Clip, most: float, rng: np.random.Generator) -> Clip:
    sigma = most * (1 - rng.random())  # never 0, which OpenCV refuses
    return {
        region: np.stack([cv2.GaussianBlur(crop, (0, 0), sigma) for crop in crops])
        for region, crops in clip.items()
    }


def _light(clip: Clip, strength: float, rng: np.random.Generator) -> Clip:
    gain = 1 + rng.uniform(-strength, strength)
    offset = 255 * rng.uniform(-strength, strength) / 2
    middle = 127.5
    levels = (np.arange(256) - middle) * gain + middle + offset
    table = np.clip(np.rint(levels), 0, 255).astype(np.uint8)
    return {
        region: cv2.LUT(_stack(crops), table).reshape(crops.shape) for region, crops in clip.items()
    }


def _erase(clip: Clip, probability: float, rng: np.random.Generator) -> Clip:
    erased = {}
    for region, crops in clip.items():
        erased[region] = crops
        if rng.random() < probability:
            rows, columns = _draw_rectangle(crops.shape[1], crops.shape[2], rng)
            erased[region] = crops.copy()
            erased[region][:, rows, columns] = np.rint(cv2.mean(_stack(crops))[:3])
    return erased


def _draw_rectangle(height: int, width: int, rng: np.random.Generator) -> tuple[slice, slice]:
    area = height * width * rng.uniform(*_ERASED_SHARE)
    aspect = math.exp(rng.uniform(-1, 1) * math.log(_ERASED_ASPECT))
    tall = min(max(round(math.sqrt(area * aspect)), 1), height)
    wide = min(max(round(math.sqrt(area / aspect)), 1), width)
    top, left = rng.integers(height - tall + 1), rng.integers(width - wide + 1)
    return slice(top, top + tall), slice(left, left + wide)
