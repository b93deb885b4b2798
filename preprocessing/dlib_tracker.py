"""Landmarks by dlib, the embedded default: detect a face, then follow it from frame to frame.

The detector is dlib's HOG frontal-face detector. Once a face is found, the next frame is
searched only around it, with a lower threshold than a new face has to pass; the points are
those of dlib's 68-point shape predictor, the same scheme as OpenFace's.
"""

from __future__ import annotations

import importlib.util
import math
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from microx.errors import LandmarkError
from microx.schema import N_LANDMARKS

# dlib's detector score: above 0 it calls a window a face. All our choice, tried on
# real videos of near, far and no faces: a new face must be clear of doubt, a followed one not.
_NEW_FACE_SCORE = 0.1
_FOLLOWED_FACE_SCORE = -0.4
_LONG_SIDE = 960  # px; a larger frame is searched at this size
_SMALL_FRAME = 640  # px; a frame up to this is searched once more at twice its size
_FOLLOWED_FACE = 96  # px; a followed face is searched at this size (dlib's least is 80)


class Found(NamedTuple):
    """A face in one frame: points ``(68, 2)`` float32 in px, and confidence from 0 to 1."""

    xy: np.ndarray
    confidence: float


class DlibTracker:
    """Follows the main face of a video, the largest where a search begins afresh.

    Call `locate` with the frames of one video in order.

    Examples
    --------
    >>> tracker = DlibTracker()
    >>> tracker.locate(np.zeros((120, 160, 3), np.uint8)) is None
    True
    """

    def __init__(self) -> None:
        self._detector, self._predictor = _detector(), _predictor()
        self._box: np.ndarray | None = None

    def locate(self, rgb: np.ndarray) -> Found | None:
        """Find the face in the next frame.

        Parameters
        ----------
        rgb : ndarray of shape (H, W, 3), uint8

        Returns
        -------
        Found or None
            None where there is no face. Confidence is a logistic of twice dlib's detector
            score (our choice): 0.5 at the detector's own threshold, 0.98 for a clear face.
        """
        grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
        hit = self._follow(grey) or self._search(grey)
        if hit is None:
            self._box = None
            return None
        self._box, score = hit
        return Found(self._fit(grey, self._box), 1 / (1 + math.exp(-2 * score)))

    def _follow(self, grey: np.ndarray) -> tuple[np.ndarray, float] | None:
        if self._box is None:
            return None
        side = float(self._box[2] - self._box[0])
        around = self._box + np.array([-0.35, -0.35, 0.35, 0.35]) * side
        left, top = np.maximum(around[:2], 0).astype(int)
        right, bottom = np.minimum(around[2:], grey.shape[::-1]).astype(int)
        hits = self._detect(
            grey[top:bottom, left:right], _FOLLOWED_FACE / side, _FOLLOWED_FACE_SCORE
        )
        # The next place of the same face overlaps the last; anything else is someone else.
        offset = np.array([left, top, left, top])
        moved = [(box + offset, score) for box, score in hits]
        last = self._box
        near = [hit for hit in moved if _overlap(hit[0], last) > 0.3]
        return max(near, key=lambda hit: _overlap(hit[0], last), default=None)

    def _search(self, grey: np.ndarray) -> tuple[np.ndarray, float] | None:
        scale = min(1.0, _LONG_SIDE / max(grey.shape))
        hits = self._detect(grey, scale, _NEW_FACE_SCORE)
        if not hits and max(grey.shape) <= _SMALL_FRAME:
            hits = self._detect(grey, 2.0, _NEW_FACE_SCORE)
        return max(hits, key=lambda hit: hit[0][2] - hit[0][0], default=None)

    def _detect(
        self, grey: np.ndarray, scale: float, threshold: float
    ) -> list[tuple[np.ndarray, float]]:
        if min(grey.shape) < 2:
            return []
        if scale != 1.0:
            interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
            grey = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=interpolation)
        rectangles, scores, _ = self._detector.run(np.ascontiguousarray(grey), 0, threshold)
        boxes = [np.array([r.left(), r.top(), r.right(), r.bottom()]) / scale for r in rectangles]
        return list(zip(boxes, scores, strict=True))

    def _fit(self, grey: np.ndarray, box: np.ndarray) -> np.ndarray:
        import dlib

        shape = self._predictor(grey, dlib.rectangle(*(round(float(edge)) for edge in box)))
        return np.array(
            [(shape.part(i).x, shape.part(i).y) for i in range(N_LANDMARKS)], np.float32
        )


def weights_path() -> Path:
    """Path of dlib's 68-point weights inside the package face-recognition-models.

    The package itself is not imported, because it needs the retired ``pkg_resources``.

    Raises
    ------
    LandmarkError
        If the package or the file in it is not installed.
    """
    spec = importlib.util.find_spec("face_recognition_models")
    folders = list(spec.submodule_search_locations or []) if spec else []
    for folder in folders:
        path = Path(folder) / "models" / "shape_predictor_68_face_landmarks.dat"
        if path.is_file():
            return path
    raise LandmarkError(
        "dlib landmarks: expected the weights of the package face-recognition-models; "
        "found none; run: pip install face-recognition-models"
    )


def _overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Intersection over union of two xyxy boxes."""
    inner = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    shared = float(np.prod(np.maximum(inner, 0)))
    return shared / float(np.prod(one[2:] - one[:2]) + np.prod(other[2:] - other[:2]) - shared)


@cache
def _detector() -> Any:
    import dlib

    return dlib.get_frontal_face_detector()


@cache
def _predictor() -> Any:
    import dlib

    return dlib.shape_predictor(str(weights_path()))
