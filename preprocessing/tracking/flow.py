"""Follows the landmarks of one face from frame to frame: optical flow and the fit together.

The fit of the 68 points is right on average but trembles; optical flow is steady but drifts.
So the points are carried by the flow and pulled a little towards the fit in each frame: a
still face stays still, and a moving one has no lag, because the flow moves with it.
All of this happens in a small levelled image of the face, so that its cost does not
depend on the size of the video. Numbers are our choice, tried on the clips named in
tests/preprocessing/tracking/test_dlib.py, unless they say otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import cv2
import numpy as np

from microx.preprocessing.warping import warp_square
from microx.schema import LEFT_EYE_OUTER, RIGHT_EYE_OUTER

PATCH = 192  # px, side of the levelled image
PATCH_BOX = 112  # px, side of the detector's box in it

# dlib's detector box about the points that are not the jaw's, in units of their root mean
# square distance from their mean: measured on 100 detections in real videos and photographs.
_BOX_DOWN = 0.107
_BOX_SIDE = 3.41
_INNER = slice(17, 68)

_WINDOW, _LEVELS = (17, 17), 2
_LEAST_POINTS = 8  # to estimate how a face moves
_STRAY = 0.12  # outer-eye distances a point may move apart from the face in one frame
_FIT_EVERY = 6  # frames from fit to fit, when all goes well
_EARLY = 4  # frames of a new face that are each fitted
_TROUBLE = 0.7  # of the points that the flow carries; below, the frame is fitted
_STEADY_GAIN = 0.35  # share of the way to the fit covered from one fit to the next
_AGREE, _DISAGREE = 0.04, 0.10  # outer-eye distances; above the second, the fit is taken whole

Fit = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""A grey image and a box (4,) in it, to 68 points (68, 2) in it."""


class Follower:
    """The landmarks of one face, carried from frame to frame.

    Parameters
    ----------
    fit : callable
        Gives 68 points for an image and a face box in it.
    grey : ndarray of shape (H, W), uint8
        The frame the face was found in.
    box : ndarray of shape (4,)
        Where, xyxy in pixels.
    level : bool
        Whether the face is level already, so that one fit does.
    """

    def __init__(self, fit: Fit, grey: np.ndarray, box: np.ndarray, *, level: bool = False) -> None:
        self._fit = fit
        side = float(box[2] - box[0])
        # The first fit is done twice: once to level the face, once on the levelled face.
        self._anchor_at((box[:2] + box[2:]) / 2, 0.0, PATCH_BOX / side)
        patch = self.cut(grey)
        middle = np.array([PATCH - PATCH_BOX, PATCH - PATCH_BOX, PATCH + PATCH_BOX] * 2)[:4] / 2
        middle[3] = middle[2]
        self.xy = self.to_frame(fit(patch, middle))
        self.patch = patch
        if not level:
            self._anchor()
            self.patch = self.cut(grey)
            self.xy = self.to_frame(fit(self.patch, self.patch_box))
        self._age = 0
        self._pull = np.zeros_like(self.xy)
        self.doubt, self.share_carried = 0.0, 1.0

    def step(self, grey: np.ndarray) -> None:
        """Carry the landmarks into the next frame.

        Afterwards `xy` holds them, ``(68, 2)`` in pixels of the frame, and `doubt` how far
        flow and fit were apart, in outer-eye distances, the median over the points.
        """
        points = self._to_patch(self.xy).astype(np.float32)
        patch = self.cut(grey)
        points, self.share_carried = _carry(self.patch, patch, points)
        self._age += 1
        if self._age <= _EARLY or self._age % _FIT_EVERY == 0 or self.share_carried < _TROUBLE:
            points = self._compared_with_fit(patch, points)
        self.xy = self.to_frame(points + self._pull)
        self.patch = patch
        if self._has_left():
            self._anchor()
            self.patch = self.cut(grey)

    def _compared_with_fit(self, patch: np.ndarray, carried: np.ndarray) -> np.ndarray:
        """Correct points that are far off at once; leave the rest to a steady pull."""
        apart = self._fit(patch, box_of(carried)) - carried
        distance = np.linalg.norm(apart, axis=1) / _eye_distance(carried)
        self.doubt = float(np.median(distance))
        # A new face has no history: its first fits are averaged.
        gain = 1 / (self._age + 1) if self._age <= _EARLY else 0.0
        gain = np.clip((distance - _AGREE) / (_DISAGREE - _AGREE), gain, 1.0)[:, None]
        self._pull = (1 - gain) * apart * _STEADY_GAIN / _FIT_EVERY
        return np.asarray(carried + gain * apart)

    @property
    def patch_box(self) -> np.ndarray:
        """The face's box, xyxy in pixels of `patch`."""
        return box_of(self._to_patch(self.xy))

    @property
    def box(self) -> np.ndarray:
        """The face's upright box, xyxy in pixels of the frame."""
        return box_of(self.xy)

    def _has_left(self) -> bool:
        """Whether the face has moved, turned or grown too far in the patch."""
        points = self._to_patch(self.xy)
        box = box_of(points)
        across = points[LEFT_EYE_OUTER] - points[RIGHT_EYE_OUTER]
        return bool(
            np.abs((box[:2] + box[2:]) / 2 - PATCH / 2).max() > 0.06 * PATCH
            or abs(np.arctan2(across[1], across[0])) > np.radians(6)
            or not 0.88 < (box[2] - box[0]) / PATCH_BOX < 1.14
        )

    def _anchor(self) -> None:
        across = self.xy[LEFT_EYE_OUTER] - self.xy[RIGHT_EYE_OUTER]
        box = box_of(self.xy)
        self._anchor_at(
            (box[:2] + box[2:]) / 2,
            float(np.arctan2(across[1], across[0])),
            PATCH_BOX / float(box[2] - box[0]),
        )

    def _anchor_at(self, centre: np.ndarray, angle: float, scale: float) -> None:
        """Choose the patch: about `centre` of the frame, turned level, scaled to its size."""
        turn = scale * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        self.scale = scale
        self._turn, self._shift = turn, np.full(2, PATCH / 2) - turn @ centre
        self._back = np.linalg.inv(turn)
        self._inverse = np.column_stack([self._back, -self._back @ self._shift])

    def _to_patch(self, xy: np.ndarray) -> np.ndarray:
        return np.asarray(xy @ self._turn.T + self._shift)

    def to_frame(self, points: np.ndarray) -> np.ndarray:
        """Places ``(..., 2)`` in `patch`, in pixels of the frame."""
        return np.asarray((points - self._shift) @ self._back.T)

    def cut(self, grey: np.ndarray) -> np.ndarray:
        """The levelled face in a frame, ``(PATCH, PATCH)``, cut at its last place."""
        return warp_square(grey, self._inverse, PATCH)


def box_of(points: np.ndarray) -> np.ndarray:
    """The box dlib's detector would give for a face, from its points ``(68, 2)``: xyxy."""
    inner = points[_INNER]
    centre = inner.sum(axis=0) / len(inner)
    spread = inner - centre
    radius = math.sqrt(float(np.vdot(spread, spread)) / len(inner))
    x, y, half = centre[0], centre[1] + _BOX_DOWN * radius, _BOX_SIDE * radius / 2
    return np.array([x - half, y - half, x + half, y + half])


def _carry(before: np.ndarray, now: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, float]:
    """Move points by the flow; those that stray from the face's own motion move with the face.

    The jaw moves with the face, too: the flow there is half the background's. Also returns the
    share of the other points that the flow carried.
    """
    inner, nothing = points[_INNER], np.empty(0, np.float32)
    moved, status, _ = cv2.calcOpticalFlowPyrLK(
        before, now, inner, nothing, winSize=_WINDOW, maxLevel=_LEVELS
    )
    found = np.asarray(status)[:, 0].astype(bool)
    if found.sum() < _LEAST_POINTS:
        return points.astype(np.float64), 0.0
    motion, _ = cv2.estimateAffinePartial2D(
        inner[found], moved[found], method=cv2.RANSAC, ransacReprojThreshold=1.5
    )
    if motion is None:
        return points.astype(np.float64), 0.0
    along = points @ motion[:, :2].T + motion[:, 2]
    stray = np.linalg.norm(moved - along[_INNER], axis=1) > _STRAY * _eye_distance(points)
    stray |= ~found
    along[_INNER] = np.where(stray[:, None], along[_INNER], moved)
    return along, 1 - float(stray.mean())


def _eye_distance(points: np.ndarray) -> float:
    return float(np.linalg.norm(points[LEFT_EYE_OUTER] - points[RIGHT_EYE_OUTER])) + 1e-6
