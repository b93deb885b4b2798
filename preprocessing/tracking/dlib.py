"""Landmarks by dlib, the embedded default: detect faces, then follow each from frame to frame.

The detector is dlib's HOG frontal-face detector. It searches the whole frame when no face is
followed, after a shot cut, and periodically for new faces; where a face is followed, it only
checks there, periodically or on doubt, and with a lower threshold than a new face has to pass.
A doubtful detection is followed, too, and becomes a face with all its frames if a later check
is clear, or is rejected. The points are those of dlib's 68-point shape predictor, the same
scheme as OpenFace's, steadied by `microx.preprocessing.tracking.flow`. After a break, dlib's face
descriptor identifies a face. All numbers are our choice, tried on real videos of near, far,
several and no faces, unless they say otherwise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NamedTuple

import cv2
import numpy as np

from microx.preprocessing.tracking.faces import MAX_GAP, Face, Sighting, Status
from microx.preprocessing.tracking.flow import PATCH, Follower
from microx.preprocessing.tracking.identity import KnownFaces, Portrait
from microx.preprocessing.tracking.weights import find_weights
from microx.schema import N_LANDMARKS

# dlib's detector score: above 0 it calls a window a face.
_CLEAR_SCORE = 0.1  # one look of this score, or several of less, make a track a face
_NEW_SCORE = -0.15  # enough to begin a track
_NO_EVIDENCE = -0.35  # a look of this score is evidence neither for nor against a face
_FOLLOWED_SCORE = -0.5  # enough to keep it

_LOOK_EVERY = 15  # frames between two looks at a followed face
_SEARCH_EVERY = 90  # frames between two searches for new faces while some are followed
_SEARCH_SOON = 2  # the same while none is, or only doubtful ones
_SEARCH_CLOSELY_EVERY = 5  # searches in vain of which one is made again for small faces
_MAX_FACES = 10  # followed at once, the largest first
_CLEARLY_LARGER = 1.5  # times as wide: a face for which the smallest of too many is given up
_LOOK_SCALE = 0.8  # of a follower's patch, that leaves a face just large enough for the detector
_PATIENCE = 6  # looks in vain at a face that still looks the same: occluded, or turned aside
_LONG_SIDE = 960  # px; a larger frame is searched at this size
_CLOSE_LONG_SIDE = 1920  # px; a frame is searched at this size for small faces
_SMALL_FACE = 80  # px, the least side of a face that dlib's detector finds
_DOUBT = 0.15  # outer-eye distances between flow and fit
_COLLAPSED = 0.3  # of the points that the flow carries; below, the face has gone or changed
_UNDECIDED = 75  # frames after which a doubtful track is no face
_LEAST_CROP = 24  # px
_ALIKE = 0.5  # correlation of two images of one face


class DlibTracker:
    """Follows every face of a video, up to ten at a time.

    Call `locate` with the frames of one video in order.

    Parameters
    ----------
    max_gap : int
        Frames for which a lost face is looked for where it was; after them, a face found there
        begins a new segment.

    Examples
    --------
    >>> tracker = DlibTracker()
    >>> tracker.locate(np.zeros((120, 160, 3), np.uint8)).faces
    {}
    """

    def __init__(self, max_gap: int = MAX_GAP) -> None:
        self._max_gap = max_gap
        self._tracks: list[_Track] = []
        self._known_faces = KnownFaces()
        self._rejected: set[int] = set()
        self._index = -1
        self._n_segments = 0
        self._n_in_vain = 0
        self._searched = -1
        self._next_search = 0

    def locate(self, rgb: np.ndarray, *, cut: bool = False) -> Sighting:
        """Find the faces in the next frame.

        Parameters
        ----------
        rgb : ndarray of shape (H, W, 3), uint8
        cut : bool
            Whether a shot cut comes before this frame: no face is followed across it.

        Returns
        -------
        Sighting
            Confidence is a logistic of twice dlib's detector score at the last look (0.5 at
            the detector's own threshold, 0.98 for a clear face), less where flow and fit differ.
        """
        self._index += 1
        self._rejected = set()
        grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
        if cut:
            self._end(self._tracks)
            self._next_search = self._index
        for track in list(self._tracks):
            self._follow(track, rgb, grey)
        self._end([track for track in self._tracks if track.is_over(self._index, self._max_gap)])
        self._end(_crossing(self._tracks))
        if not any(track.is_seen and track.is_face for track in self._tracks):
            self._next_search = min(self._next_search, self._searched + _SEARCH_SOON)
        if self._index >= self._next_search:
            self._search(rgb, grey)
        identities = self._recognise(rgb)
        return Sighting(
            faces={track.segment: track.face() for track in self._tracks if track.is_seen},
            identities=identities,
            rejected=frozenset(self._rejected),
        )

    def _follow(self, track: _Track, rgb: np.ndarray, grey: np.ndarray) -> None:
        """Carry one track into this frame, or look for it where it was lost."""
        if not track.is_seen:
            hit = self._look(track, grey)
            if hit is not None:
                self._resume(track, hit, rgb, grey)
            return
        before = track.follower.xy
        track.follower.step(grey)
        track.status = Status.TRACKED
        collapsed = track.follower.share_carried < _COLLAPSED
        doubtful = collapsed or track.follower.doubt > _DOUBT
        if not _is_inside(track.follower.box, grey.shape):
            self._lose(track, before)
        elif doubtful or self._index - track.looked >= _LOOK_EVERY:
            hit = self._look(track, grey)
            track.looked = self._index
            if hit is not None and collapsed:
                self._resume(track, hit, rgb, grey)
            elif hit is not None:
                track.confirm(hit.score)
            else:
                track.looks_in_vain += 1
                stays = track.identity is not None and track.looks_in_vain <= _PATIENCE
                if doubtful or not stays or not track.looks_like(track.follower):
                    self._lose(track, before)

    def _resume(self, track: _Track, hit: _Hit, rgb: np.ndarray, grey: np.ndarray) -> bool:
        """Continue with a face found where the flow lost it; if it is another one, end the track.

        A cut to another face in the same place looks to the flow like an occluded face.
        """
        follower = Follower(_fit, grey, hit.box)
        portrait = Portrait(rgb, follower.xy, follower.box)
        known = track.portrait
        if track.looks_like(follower) or (known is not None and known.distance(portrait) < 1):
            track.resume(follower, hit.score, self._index)
            return True
        self._end([track])
        self._next_search = self._index
        return False

    def _lose(self, track: _Track, last_seen: np.ndarray) -> None:
        """Give a face up where it was last seen, not where the flow drifted without it."""
        track.lost_since, track.follower.xy = self._index, last_seen
        if track.identity is not None and track.portrait is not None:
            self._known_faces.remember(track.identity, track.portrait)

    def _look(self, track: _Track, grey: np.ndarray) -> _Hit | None:
        """Run the detector about the place of a track."""
        follower = track.follower
        patch = follower.patch if track.is_seen else follower.cut(grey)
        expected = follower.patch_box
        hits = [
            hit
            for hit in _detect(patch, _LOOK_SCALE, _FOLLOWED_SCORE)
            if _overlap(hit.box, expected) > 0.3
        ]
        if not hits:
            return None
        box, score = max(hits, key=lambda hit: hit.score)
        centre = follower.to_frame((box[:2] + box[2:]) / 2)
        half = (box[2] - box[0]) / 2 / follower.scale
        return _Hit(np.concatenate([centre - half, centre + half]), score)

    def _search(self, rgb: np.ndarray, grey: np.ndarray) -> None:
        """Look for new faces in the whole frame."""
        seen = [track.follower.box for track in self._tracks if track.is_seen]
        self._searched = self._index
        scale = min(1.0, _LONG_SIDE / max(grey.shape))
        hits = _detect(grey, scale, _NEW_SCORE)
        known = seen + [hit.box for hit in hits]
        if not any((box[2] - box[0]) * scale > 1.2 * _SMALL_FACE for box in known):
            if known or self._n_in_vain % _SEARCH_CLOSELY_EVERY == 0:
                hits += _detect(grey, _CLOSE_LONG_SIDE / max(grey.shape), _NEW_SCORE)
            self._n_in_vain = 0 if known else self._n_in_vain + 1
        for hit in sorted(hits, key=lambda hit: hit.side, reverse=True):
            if any(_overlap(hit.box, other) > 0.2 for other in seen):
                continue
            seen.append(hit.box)
            lost = [track for track in self._tracks if not track.is_seen]
            near = [track for track in lost if _overlap(hit.box, track.follower.box) > 0.2]
            if near and self._resume(near[0], hit, rgb, grey):
                continue
            if len(self._tracks) >= _MAX_FACES:
                self._make_room(hit)
            if len(self._tracks) < _MAX_FACES:
                follower = Follower(_fit, grey, hit.box)
                self._tracks.append(_Track(self._n_segments, follower, hit.score, self._index))
                self._n_segments += 1
        self._next_search = self._index + _SEARCH_EVERY

    def _make_room(self, hit: _Hit) -> None:
        """Give up a doubtful track for a clear face, or the smallest for a much larger one."""
        if hit.score < _CLEAR_SCORE:
            return
        doubtful = [track for track in self._tracks if track.identity is None]
        smallest = min(self._tracks, key=lambda track: track.side)
        if doubtful:
            self._end([min(doubtful, key=lambda track: track.evidence)])
        elif hit.side > _CLEARLY_LARGER * smallest.side:
            self._end([smallest])

    def _end(self, tracks: list[_Track]) -> None:
        """Remove tracks; those never identified were no faces."""
        for track in list(tracks):
            self._tracks.remove(track)
            if track.identity is None:
                self._rejected.add(track.segment)
            elif track.is_seen and track.portrait is not None:
                self._known_faces.remember(track.identity, track.portrait)

    def _recognise(self, rgb: np.ndarray) -> dict[int, int]:
        """Identify the faces that have become certain: segment to identity."""
        identities: dict[int, int] = {}
        for track in self._tracks:
            if track.is_seen and track.identity is not None:
                self._known_faces.see(track.identity, self._index)
        for track in [track for track in self._tracks if track.is_seen]:
            if track.portrait is None or track.portrait_due:
                track.portrait = Portrait(rgb, track.follower.xy, track.follower.box)
                track.portrait_due = False
            if track.identity is None and track.is_face:
                identity = self._known_faces.recognise(track.portrait, track.began)
                self._known_faces.see(identity, self._index)
                # A face found here need not be waited for where it was lost.
                self._end([other for other in self._tracks if other.identity == identity])
                track.identity = identities[track.segment] = identity
        return identities


class CroppedFaces:
    """Fits landmarks in images that are face crops already; no face is searched for.

    On crops of CREMA-D and two other videos, with the face up to 6 % off and 1 to 1.35 times
    dlib's box, the median error against OpenFace was 0.031 of the outer-eye distance at 48
    pixels (FER2013's size), 0.043 at 32 and 0.027 from 64 on. A second fit, as a face that was
    found in a frame gets, changed none of these by more than 0.001.

    Parameters
    ----------
    fit : bool
        Whether to fit any; without, all points are NaN and the face is the whole image.

    Examples
    --------
    >>> CroppedFaces().locate(np.zeros((48, 48, 3), np.uint8)).faces[0].status.name
    'ASSUMED'
    """

    def __init__(self, *, fit: bool = True) -> None:
        self._fit = fit
        self._follower: Follower | None = None
        self._segment = -1

    def locate(self, rgb: np.ndarray, *, cut: bool = False) -> Sighting:
        """Fit the face in the next image, ``(H, W, 3)`` uint8, of at least 24 pixels a side.

        Returns
        -------
        Sighting
            One face of confidence 0.5, because nothing was detected; none in a smaller
            image.
        """
        if min(rgb.shape[:2]) < _LEAST_CROP:
            return Sighting({})
        if not self._fit:
            self._segment += cut or self._segment < 0
            face = Face(np.full((N_LANDMARKS, 2), np.nan, np.float32), 0.5, Status.ASSUMED)
            return Sighting({self._segment: face}, {self._segment: 0})
        grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
        identities = {}
        if self._follower is not None and not cut:
            self._follower.step(grey)
        if self._follower is None or cut or self._follower.doubt > _DOUBT:
            middle, half = np.array(grey.shape[::-1]) / 2, 0.85 * min(grey.shape) / 2
            box = np.concatenate([middle - half, middle + half])
            self._follower = Follower(_fit, grey, box, level=True)
            self._segment += 1
            identities[self._segment] = 0
        face = Face(self._follower.xy.astype(np.float32), 0.5, Status.ASSUMED)
        return Sighting({self._segment: face}, identities)


class _Hit(NamedTuple):
    """What the detector found: a box xyxy in pixels, and its score."""

    box: np.ndarray
    score: float

    @property
    def side(self) -> float:
        return float(self.box[2] - self.box[0])


@dataclass(eq=False)
class _Track:
    """One segment: a face followed without a break."""

    segment: int
    follower: Follower
    score: float
    looked: int
    identity: int | None = None
    best_score: float = -math.inf
    evidence: float = 0.0
    looks_in_vain: int = 0
    lost_since: int | None = None
    status: Status = Status.DETECTED
    portrait: Portrait | None = None
    portrait_due: bool = True
    _known: np.ndarray = field(default_factory=lambda: np.empty(0))

    def __post_init__(self) -> None:
        self.began = self.looked
        self.confirm(self.score)

    @property
    def is_seen(self) -> bool:
        return self.lost_since is None

    @property
    def is_face(self) -> bool:
        return self.identity is not None or self.evidence >= _CLEAR_SCORE - _NO_EVIDENCE

    @property
    def side(self) -> float:
        box = self.follower.box
        return float(box[2] - box[0])

    def is_over(self, index: int, max_gap: int) -> bool:
        if self.lost_since is not None:
            return index - self.lost_since >= max_gap
        return not self.is_face and (self.evidence < 0 or index - self.began > _UNDECIDED)

    def confirm(self, score: float) -> None:
        """Record that the detector found the face."""
        self.status, self.score, self.looks_in_vain = Status.DETECTED, score, 0
        self.portrait_due |= score > self.best_score
        self.best_score = max(score, self.best_score)
        self.evidence += score - _NO_EVIDENCE
        self._known = _look_of(self.follower)

    def resume(self, follower: Follower, score: float, index: int) -> None:
        self.follower, self.lost_since, self.looked = follower, None, index
        self.confirm(score)

    def looks_like(self, follower: Follower) -> bool:
        """Whether a face looks as this one did when last detected."""
        alike = cv2.matchTemplate(_look_of(follower), self._known, cv2.TM_CCOEFF_NORMED)
        return float(alike[0, 0]) > _ALIKE

    def face(self) -> Face:
        doubt = min(1.0, self.follower.doubt / _DOUBT)
        confidence = (1 - 0.5 * doubt**2) / (1 + math.exp(-2 * self.score))
        if self.looks_in_vain:
            confidence *= 0.5
        return Face(self.follower.xy.astype(np.float32), confidence, self.status)


def _look_of(follower: Follower) -> np.ndarray:
    """The face itself, small and level, ``(24, 24)`` grey."""
    left, top, right, bottom = np.clip(follower.patch_box, 0, PATCH).astype(int)
    face = follower.patch[top:bottom, left:right]
    if face.size == 0:
        return np.zeros((24, 24), np.uint8)
    return cv2.resize(face, (24, 24), interpolation=cv2.INTER_AREA)


def _crossing(tracks: list[_Track]) -> list[_Track]:
    """Tracks that overlap, so that their identities are no longer certain."""
    boxes = [track.follower.box for track in tracks] if len(tracks) > 1 else []
    return [
        track
        for i, track in enumerate(tracks)
        if any(i != j and _overlap(boxes[i], boxes[j]) > 0.3 for j in range(len(boxes)))
    ]


def _is_inside(box: np.ndarray, shape: tuple[int, ...]) -> bool:
    """Whether at least two thirds of a box lie in a frame of this shape."""
    inside = np.minimum(box[2:], shape[1::-1]) - np.maximum(box[:2], 0)
    return bool((inside > 0).all() and np.prod(inside) > 0.66 * np.prod(box[2:] - box[:2]))


def _overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Intersection over union of two xyxy boxes."""
    inner = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    shared = float(np.prod(np.maximum(inner, 0)))
    return shared / float(np.prod(one[2:] - one[:2]) + np.prod(other[2:] - other[:2]) - shared)


def _detect(grey: np.ndarray, scale: float, threshold: float) -> list[_Hit]:
    """Run dlib's detector at a scale; boxes are in pixels of `grey`."""
    if min(grey.shape) * scale < 8:
        return []
    if scale != 1.0:
        interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        grey = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=interpolation)
    rectangles, scores, _ = _detector().run(np.ascontiguousarray(grey), 0, threshold)
    boxes = [np.array([r.left(), r.top(), r.right(), r.bottom()]) / scale for r in rectangles]
    return [_Hit(box, score) for box, score in zip(boxes, scores, strict=True)]


def _fit(grey: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Fit dlib's 68 points to the face in a box of a grey image."""
    import dlib

    shape = _predictor()(grey, dlib.rectangle(*(round(edge) for edge in box.tolist())))
    return np.array([(point.x, point.y) for point in shape.parts()], np.float64)


@cache
def _detector() -> Any:
    import dlib

    return dlib.get_frontal_face_detector()


@cache
def _predictor() -> Any:
    import dlib

    return dlib.shape_predictor(str(find_weights()))
