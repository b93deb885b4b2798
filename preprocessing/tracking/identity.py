"""Identity: decides by dlib's face descriptor whether a face has been seen before.

Source of the descriptor: dlib, ``dlib_face_recognition_resnet_model_v1``, which the package
face-recognition-models brings. It is computed only where it is needed: after a cut, a gap,
or a crossing.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np

from microx.preprocessing.tracking.weights import find_weights

# Distance of two descriptors below which they are the same face: dlib's own example uses 0.6
# (face_recognition.py); a face smaller than the descriptor was made for looks like many.
_SAME_FACE, _SAME_SMALL_FACE = 0.55, 0.40
_SMALL_PORTRAIT = 60  # px, side of the detector's box
_MOST_PORTRAITS = 8  # kept per identity, the latest


class Portrait:
    """A face cropped from a frame for dlib's descriptor.

    Parameters
    ----------
    rgb : ndarray of shape (H, W, 3), uint8
        The frame.
    xy : ndarray of shape (68, 2)
        Landmarks in pixels.
    box_xyxy : ndarray of shape (4,)
        The face's box in pixels.
    """

    def __init__(self, rgb: np.ndarray, xy: np.ndarray, box_xyxy: np.ndarray) -> None:
        import dlib

        points = dlib.points([dlib.point(round(x), round(y)) for x, y in xy.tolist()])
        box = dlib.rectangle(*(round(edge) for edge in box_xyxy.tolist()))
        self._chip = dlib.get_face_chip(rgb, dlib.full_object_detection(box, points))
        self._is_small = box.width() < _SMALL_PORTRAIT
        self._descriptor: np.ndarray | None = None

    def distance(self, other: Portrait) -> float:
        """Distance between two faces; below 1, they count as the same."""
        small = self._is_small or other._is_small
        limit = _SAME_SMALL_FACE if small else _SAME_FACE
        return float(np.linalg.norm(self.descriptor - other.descriptor)) / limit

    @property
    def descriptor(self) -> np.ndarray:
        """Dlib's 128 numbers."""
        if self._descriptor is None:
            self._descriptor = np.array(_describer().compute_face_descriptor(self._chip))
        return self._descriptor


class KnownFaces:
    """The faces seen in a video, by identity, from 0 in order of identification."""

    def __init__(self) -> None:
        self._portraits: list[list[Portrait]] = []
        self._last_seen: list[int] = []

    def see(self, identity: int, index: int) -> None:
        """Note that a face is visible in a frame."""
        self._last_seen[identity] = index

    def remember(self, identity: int, portrait: Portrait) -> None:
        """Keep a portrait of a face that is lost."""
        self._portraits[identity] = [*self._portraits[identity], portrait][-_MOST_PORTRAITS:]

    def recognise(self, portrait: Portrait, began: int) -> int:
        """Identify a face: a known one that was not visible when it appeared, or a new one.

        Parameters
        ----------
        portrait : Portrait
        began : int
            The frame in which the face appeared: faces seen since then are other ones.
        """
        distances = {
            identity: min((p.distance(portrait) for p in portraits), default=math.inf)
            for identity, portraits in enumerate(self._portraits)
            if self._last_seen[identity] < began
        }
        nearest = min(distances, key=lambda identity: distances[identity], default=None)
        if nearest is not None and distances[nearest] < 1:
            return nearest
        self._portraits.append([])
        self._last_seen.append(began)
        return len(self._portraits) - 1


@cache
def _describer() -> Any:
    import dlib

    return dlib.face_recognition_model_v1(
        str(find_weights("dlib_face_recognition_resnet_model_v1.dat"))
    )
