"""Faces as every landmark backend reports them: which face is where, in which segment.

A *segment* is a stretch of frames in which one face was followed without a break; no clip
ever crosses its ends. An *identity* is one face of the video; it may have many segments.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum

import numpy as np

from microx.preprocessing.landmarks import Landmarks, outer_eye_distance
from microx.preprocessing.video import Frame

MAX_GAP = 5
"""Frames, as decoded, that a face may be missing for and still be filled in (our choice)."""


class Status(IntEnum):
    """The status of one face in one frame.

    With crops: ``DETECTED``, found by the detector in this very frame; ``TRACKED``, followed
    from the frame before; ``INTERPOLATED``, missing in a short gap and interpolated over it;
    ``GIVEN``, read from a table of landmarks; ``ASSUMED``, the image was declared a face
    crop. Without: ``NO_FACE``; ``FAILED_CROP``, landmarks that give an empty box;
    ``OTHER_FACE``, only a face other than the video's main one; ``SMALL_FACE``, a face smaller
    than the recipe's `min_face`.
    """

    NO_FACE = 0
    DETECTED = 1
    TRACKED = 2
    INTERPOLATED = 3
    GIVEN = 4
    ASSUMED = 5
    FAILED_CROP = 6
    OTHER_FACE = 7
    SMALL_FACE = 8

    @property
    def has_crops(self) -> bool:
        """Whether a frame of this status has crops."""
        return Status.DETECTED <= self <= Status.ASSUMED


@dataclass(frozen=True, eq=False)
class Face:
    """One face in one frame.

    Parameters
    ----------
    xy : ndarray of shape (68, 2), float32
        Landmarks in pixels.
    confidence : float
        From 0 to 1.
    status : Status
    """

    xy: np.ndarray
    confidence: float
    status: Status


@dataclass(frozen=True, eq=False)
class Sighting:
    """Every face of one frame, and what became certain in it.

    Parameters
    ----------
    faces : dict
        Segment number to `Face`.
    identities : dict
        Segments identified in this frame: segment to identity, from 0 in order of
        identification. A segment never listed here was no face.
    rejected : frozenset of int
        Segments that turned out to be no face.
    """

    faces: dict[int, Face]
    identities: dict[int, int] = field(default_factory=dict)
    rejected: frozenset[int] = frozenset()


def fill_gaps(
    seen: Iterable[tuple[Frame, Sighting]], max_gap: int = MAX_GAP
) -> Iterator[tuple[Frame, Sighting]]:
    """Interpolate a face that is missing for a few frames of its segment.

    Landmarks move linearly in time over the gap; confidence is the lower of the two
    sides'. At most ``max_gap + 1`` frames are held.

    Parameters
    ----------
    seen : iterable of (Frame, Sighting)
        In order of time. Empty gives empty.
    max_gap : int
        Longest gap to fill, in frames; 0 fills none.
    """
    held: list[tuple[Frame, Sighting]] = []
    for frame, sighting in seen:
        held.append((frame, sighting))
        for segment, face in sighting.faces.items():
            before = next(
                (i for i in range(len(held) - 2, -1, -1) if segment in held[i][1].faces), None
            )
            if before is not None and before < len(held) - 2:
                _fill(held, segment, before, face)
        if len(held) > max_gap + 1:
            yield held.pop(0)
    yield from held


def _fill(held: list[tuple[Frame, Sighting]], segment: int, before: int, after: Face) -> None:
    start = held[before][1].faces[segment]
    start_s, end_s = held[before][0].time_s, held[-1][0].time_s
    for place in range(before + 1, len(held) - 1):
        frame, sighting = held[place]
        share = (frame.time_s - start_s) / (end_s - start_s)
        face = Face(
            xy=(start.xy + share * (after.xy - start.xy)).astype(np.float32),
            confidence=min(start.confidence, after.confidence),
            status=Status.INTERPOLATED,
        )
        held[place] = frame, replace(sighting, faces=sighting.faces | {segment: face})


class TableFaces:
    """Gives the faces in tables of landmarks, frame by frame, as a tracker would.

    Parameters
    ----------
    tables : sequence of Landmarks
        One for each face, with a row for each frame.
    max_gap : int
        A face that is missing for more frames than this, that leaps by more than its own
        width, or that follows a cut, begins a new segment.
    """

    def __init__(self, tables: Sequence[Landmarks], max_gap: int = MAX_GAP) -> None:
        self._tables, self._max_gap = tables, max_gap
        self._index = -1
        self._n_segments = 0
        self._open: dict[int, tuple[int, int]] = {}  # face: its segment and the last frame of it

    def locate(self, rgb: np.ndarray, *, cut: bool = False) -> Sighting:
        """Look the next frame up; its pixels are not needed."""
        self._index += 1
        if cut:
            self._open.clear()
        faces, identities = {}, {}
        for identity, table in enumerate(self._tables):
            if self._index >= len(table) or not table.success[self._index]:
                continue
            segment, last = self._open.get(identity, (-1, -1))
            if segment < 0 or self._is_broken(table, last):
                segment, self._n_segments = self._n_segments, self._n_segments + 1
                identities[segment] = identity
            self._open[identity] = segment, self._index
            faces[segment] = Face(
                table.xy[self._index], float(table.confidence[self._index]), Status.GIVEN
            )
        return Sighting(faces, identities)

    def _is_broken(self, table: Landmarks, last: int) -> bool:
        n_steps = self._index - last
        before, now = table.xy[last], table.xy[self._index]
        leap = float(np.linalg.norm(now.mean(axis=0) - before.mean(axis=0)))
        return n_steps > self._max_gap + 1 or leap > n_steps * float(outer_eye_distance(before))
