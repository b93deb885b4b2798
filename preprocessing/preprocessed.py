"""What the pipeline returns: the frames of a face, and the ledger of their video."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from microx.preprocessing.landmarks import Landmarks

MANY_REPEATS = 3
"""Times that each frame is shown from which a video is far under the wanted rate: 10 frames a
second and fewer where 30 are wanted (our choice)."""


def count_repeats(source_frame: np.ndarray) -> float:
    """Count how often a frame of a video is shown at the steady rate, as a rule.

    Parameters
    ----------
    source_frame : ndarray of shape (T,), int
        As `Ledger` has it.

    Returns
    -------
    float
        The median over the frames that are shown, so that a pause of the recording does not
        count; 1 where there is none.

    Examples
    --------
    >>> count_repeats(np.array([0, 0, 0, 1, 1, 1, 1, 2, 2]))
    3.0
    """
    if not len(source_frame):
        return 1.0
    return float(np.median(np.unique(source_frame, return_counts=True)[1]))


@dataclass(frozen=True, eq=False)
class Ledger:
    """The ledger of every frame of a video, whatever faces it shows.

    Parameters
    ----------
    timestamp : ndarray of shape (T,), float64
        Seconds since the first frame of each of the T ticks of the steady rate.
    source_frame : ndarray of shape (T,), int32
        The decoded frame, from 0, that each tick shows.
    size_hw : tuple of int
        Height and width of the frames.
    n_claimed, n_decoded, n_untimed : int
        Frames the container claims, frames decoded, and those of them whose time the
        stream did not give.
    n_cuts : int
        Shot cuts, and holes in time, in which no frame is shown.
    n_rejected : int
        Segments in which something was followed for a while and found to be no face.
    n_combed : int
        Of the first frames, those of two fields; 0 where the video is not interlaced, see
        `microx.preprocessing.interlacing`.
    """

    timestamp: np.ndarray
    source_frame: np.ndarray
    size_hw: tuple[int, int]
    n_claimed: int
    n_decoded: int
    n_untimed: int
    n_cuts: int
    n_rejected: int
    n_combed: int = 0

    def __len__(self) -> int:
        return len(self.timestamp)

    @property
    def step_s(self) -> float:
        """Seconds from one tick to the next on average; 0 of a single one."""
        return float(self.timestamp[-1]) / max(1, len(self) - 1)


@dataclass(frozen=True, eq=False)
class FaceFrames:
    """The crops of one face over consecutive ticks of a video.

    Parameters
    ----------
    face : int
        Which face, from 0 in order of identification.
    start : int
        The first tick, from 0.
    crops : dict of ndarray of shape (n, size, size, 3), uint8
        Region to RGB crops; black where there is none.
    landmarks : Landmarks
        Length n; points are NaN where there are no crops.
    box_xyxy : ndarray of shape (n, R, 4), float32
        Where each region was cut, in pixels of the frame, regions in the order of `crops`;
        NaN where it was not cut from this frame.
    status : ndarray of shape (n,), uint8
        `microx.preprocessing.tracking.faces.Status` of each frame.
    segment : ndarray of shape (n,), int32
        The segment each frame belongs to; -1 where there are no crops.
    """

    face: int
    start: int
    crops: dict[str, np.ndarray]
    landmarks: Landmarks
    box_xyxy: np.ndarray
    status: np.ndarray
    segment: np.ndarray

    def __len__(self) -> int:
        return len(self.status)

    @property
    def n_found(self) -> int:
        """Frames with crops."""
        return int(self.landmarks.success.sum())


@dataclass(frozen=True, eq=False)
class PreprocessedVideo(FaceFrames):
    """One face over all T ticks of a video, and the video's ledger."""

    ledger: Ledger
