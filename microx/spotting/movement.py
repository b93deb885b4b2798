"""How the regions of a face moved over a video, the head's own motion taken out.

A video is compared with reference frames of its own, one for each block of twelve seconds, in
which all faces are brought into one alignment (`microx.corpus.motion.read_aligned`). Movement from
one frame to another is then a difference of two displacements, whatever the time between them: the
flow is measured once a block. All numbers without a source are our choice.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from microx.corpus.corpus import Corpus
from microx.corpus.motion import (
    MEAN_FACE_ORIGIN,
    MEAN_FACE_UNIT,
    check_faces,
    keep_arrays,
    motion_path,
    read_aligned,
    read_arrays,
)
from microx.preprocessing.motion import MOTION_SIDE, measure_flow

BLOCK_S, HOP_S, LEAST_S = 12.0, 8.0, 3.0
"""Seconds of a block, and from one to the next: what lies within two seconds of a frame is in one
block with it. A block in which the head turns is parted, down to the least."""

FARTHEST = 1.4
"""Pixels from which a frame is lost: the middle deviation of its flow from the head's own motion,
above the mouth. On four drawn faces it is .1 to 1.2, macro-expressions included; on real faces that
turned away from the reference it is 1.6 to 16, and the flow has found other places."""

_MOST_LOST = 0.1  # of a block's frames, before it is parted

CELLS: dict[str, tuple[tuple[int, int, int, int], ...]] = {
    "brows": ((5, 27, 4, 34), (5, 27, 34, 63), (5, 27, 63, 92), (5, 27, 92, 122)),
    "nose": ((50, 82, 34, 63), (50, 82, 63, 92)),
    "mouth": (
        *((78, 98, 23, 50), (78, 98, 50, 76), (78, 98, 76, 103)),
        *((98, 122, 23, 50), (98, 122, 50, 76), (98, 122, 76, 103)),
    ),
    "eyes": ((29, 43, 14, 50), (29, 43, 76, 112)),
}
"""Cells that movement is averaged over: first row and the one after the last, first column and the
one after the last, of `microx.preprocessing.motion.MOTION_SIDE`. The brows end above the lids, so
that a blink does not move them; the eyes only tell of blinks."""

SPOTTED_REGIONS = ("brows", "nose", "mouth")

_REGION_OF_CELL = np.repeat(list(CELLS), [len(cells) for cells in CELLS.values()])

_STEP = 8  # pixels from one point that the head's motion is fitted to, to the next
_ROUNDS = 4  # of the fit
_FAR = 2.5  # robust deviations from which a point counts nothing
_ABOVE_MOUTH = 80  # rows of the face that tell whether a frame is lost
_LEAST_SPREAD = 1e-3  # pixels
_VERSION = 1  # of how movement is measured: raised when the same crops give other numbers

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class MovementRecipe:
    """How movement is measured."""

    flow: str = "dis-medium"
    block_s: float = BLOCK_S
    hop_s: float = HOP_S


USUAL_MOVEMENT = MovementRecipe()


@dataclass(frozen=True, eq=False)
class Block:
    """Movement of the cells of a face against one reference frame.

    Parameters
    ----------
    start : int
        Frame of the first row.
    displacement : (T, n_cells, 2) float
        To the right and down, in pixels of a face of `MOTION_SIDE`; the cells in the order of
        `CELLS`. nan in frames that are lost, see `FARTHEST`.
    """

    start: int
    displacement: Floats

    def __len__(self) -> int:
        return len(self.displacement)

    def region(self, name: str) -> Floats:
        """Give the displacement of one region's n cells, (T, 2n)."""
        return self.displacement[:, name == _REGION_OF_CELL].reshape(len(self), -1)


@dataclass(frozen=True, eq=False)
class Movement:
    """Movement of a face over a video.

    Parameters
    ----------
    times : (T,) float64
        Seconds of the frames.
    blocks : tuple of Block
        In order of time, overlapping; none where no stretch of frames shows a face.
    """

    times: Floats
    blocks: tuple[Block, ...]

    @property
    def frame_rate(self) -> float:
        """Frames a second, by the median step in time; 0 of a single frame."""
        return float(1 / np.median(np.diff(self.times))) if len(self.times) > 1 else 0.0


def read_movement(
    corpus: Corpus, video_id: str, recipe: MovementRecipe = USUAL_MOVEMENT
) -> Movement:
    """Measure how a face moved over a video, or read what was measured before.

    Parameters
    ----------
    corpus : Corpus
        With the region face; crops of 128 pixels show what there is to be seen.
    video_id : str
    recipe : MovementRecipe

    Returns
    -------
    Movement
        It is kept in the corpus, in the folder ``motion``.

    Raises
    ------
    CorpusError
        If the corpus lacks the face, or the video's file is gone.
    InputError
        If there is no such video, or it was skipped.

    Notes
    -----
    The reference of a block is the frame whose landmarks are nearest to their median shape. The
    head's own motion is a polynomial of the place, ``1, x, y, x², y²`` for u and for v, fitted to
    the whole face with Tukey's biweight: the last two are how a round head that turns looks. In a
    drawn video they brought the noise of the mouth over a second to either side from .30 pixels
    (1, x, y alone) to .18; with a robust mean alone it was .97.

    Examples
    --------
    >>> read_movement(corpus, "S01_happy_1").blocks[0].displacement.shape
    (24, 14, 2)
    """
    check_faces(corpus)
    segments = corpus.read_segments(video_id)
    times = corpus.read_times(video_id)
    path, made_of = motion_path(corpus, video_id, "movement", _VERSION, asdict(recipe))
    kept = read_arrays(path, made_of)
    if not {"starts", "lengths", "displacement"} <= kept.keys():
        blocks = [
            block
            for start, stop in _list_blocks(segments, times, recipe)
            for block in _measure_blocks(corpus, video_id, start, stop, recipe)
        ]
        kept = {
            "starts": np.array([block.start for block in blocks], np.int64),
            "lengths": np.array([len(block) for block in blocks], np.int64),
            "displacement": np.concatenate(
                [np.empty((0, len(_REGION_OF_CELL), 2)), *(block.displacement for block in blocks)]
            ).astype(np.float32),
        }
        keep_arrays(path, made_of, kept)
    parts = np.split(kept["displacement"].astype(np.float64), np.cumsum(kept["lengths"]))
    starts = kept["starts"].tolist()
    return Movement(times, tuple(map(Block, starts, parts[: len(starts)])))


def trace_movement(movement: Movement, region: str) -> Floats:
    """Tell how far a region is from where it usually is, in every frame.

    Parameters
    ----------
    movement : Movement
    region : str
        Of `microx.spotting.movement.CELLS`.

    Returns
    -------
    (T,) float64
        Root mean square over its cells, in pixels of a face of 128; nan where nothing is known.
    """
    curve = np.full(len(movement.times), np.nan)
    middle = np.full(len(movement.times), np.inf)  # how far the frame is from that of its block
    for block in movement.blocks:
        places = block.region(region)
        seen = np.flatnonzero(np.isfinite(places[:, 0]))
        if not len(seen):
            continue
        places = places[seen]
        off = np.sqrt(((places - np.median(places, axis=0)) ** 2).mean(axis=1) * 2)
        frames = block.start + seen
        distance = np.abs(frames - block.start - len(block) / 2)
        nearer = distance < middle[frames]
        curve[frames[nearer]], middle[frames[nearer]] = off[nearer], distance[nearer]
    return curve


def _list_blocks(
    segments: npt.NDArray[np.int64], times: Floats, recipe: MovementRecipe
) -> Iterator[tuple[int, int]]:
    """First frame and the one after the last of each block; none reaches over a cut or a gap."""
    if len(times) < 2:
        return
    rate = 1 / float(np.median(np.diff(times)))
    length, hop = round(recipe.block_s * rate), round(recipe.hop_s * rate)
    edges = np.flatnonzero(np.diff(segments)) + 1
    for stretch in np.split(np.arange(len(segments)), edges):
        first, stop = int(stretch[0]), int(stretch[-1]) + 1
        if segments[first] < 0 or stop - first < 2:
            continue
        n_blocks = math.ceil(max(stop - first - length, 0) / hop) + 1
        for start in np.linspace(first, max(stop - length, first), n_blocks).astype(int).tolist():
            yield start, min(start + length, stop)


def _measure_blocks(
    corpus: Corpus, video_id: str, start: int, stop: int, recipe: MovementRecipe
) -> list[Block]:
    """Measure a block; where the head turned too far from its reference, in parts."""
    frames = np.arange(start, stop)
    displacement = _measure_frames(corpus, video_id, frames, recipe)
    lost = float(np.isnan(displacement[:, 0, 0]).mean())
    times = corpus.read_times(video_id)[frames]
    if lost <= _MOST_LOST or times[-1] - times[0] < LEAST_S:
        return [Block(start, displacement)]
    part = round(0.6 * len(frames))  # the two share a fifth
    ends = ((start, start + part), (stop - part, stop))
    return [
        block
        for first, last in ends
        for block in _measure_blocks(corpus, video_id, first, last, recipe)
    ]


def _measure_frames(
    corpus: Corpus, video_id: str, frames: npt.NDArray[np.int64], recipe: MovementRecipe
) -> Floats:
    reference = int(frames[_find_median(corpus.read_landmarks(video_id)[frames])])
    faces, still = read_aligned(corpus, video_id, reference, frames)
    flow = measure_flow(faces, still, flow=recipe.flow).astype(np.float64)
    terms = _list_terms(np.arange(MOTION_SIDE))  # (side, side, 5)
    fitted, off = _fit_head(flow)
    head: Floats = _average_cells(terms[None])[0] @ fitted
    displacement = _average_cells(flow) - head
    displacement[off > FARTHEST] = np.nan
    return displacement


def _find_median(landmarks: npt.NDArray[np.float32]) -> int:
    """The frame nearest to the median shape; the middle one where there are no landmarks."""
    shape = landmarks - landmarks.mean(axis=1, keepdims=True)
    off = np.abs(shape - np.median(shape, axis=0)).sum(axis=(1, 2))
    return int(off.argmin()) if np.isfinite(off).all() else len(landmarks) // 2


def _fit_head(flow: Floats) -> tuple[Floats, Floats]:
    """Fit the head's own motion robustly to flow (T, side, side, 2).

    Gives the terms' factors (T, 5, 2), and the middle deviation above the mouth in pixels, (T,).
    """
    n = MOTION_SIDE // _STEP
    points = flow.reshape(len(flow), n, _STEP, n, _STEP, 2).mean(axis=(2, 4)).reshape(-1, n * n, 2)
    terms = _list_terms((np.arange(n) + 0.5) * _STEP - 0.5).reshape(n * n, -1)
    weights = np.ones(points.shape[:2])
    for _ in range(_ROUNDS):
        weighted = weights[..., None] * terms  # (T, points, 5)
        fitted = np.linalg.solve(weighted.swapaxes(1, 2) @ terms, weighted.swapaxes(1, 2) @ points)
        off = np.linalg.norm(points - terms @ fitted, axis=2)
        spread = 1.4826 * np.median(off, axis=1, keepdims=True) + _LEAST_SPREAD
        weights = np.clip(1 - (off / (_FAR * spread)) ** 2, 0.0, None) ** 2
    return fitted, np.median(off[:, : n * (_ABOVE_MOUTH // _STEP)], axis=1)


def _list_terms(places: npt.NDArray[Any]) -> Floats:
    """The terms of the head's motion at a square of places, in units of the mean face."""
    x, y = np.meshgrid(
        (places - MEAN_FACE_ORIGIN[0]) / MEAN_FACE_UNIT[0],
        (places - MEAN_FACE_ORIGIN[1]) / MEAN_FACE_UNIT[1],
    )
    return np.stack([np.ones_like(x), x, y, x**2, y**2], axis=-1)


def _average_cells(maps: Floats) -> Floats:
    """Means of maps (T, side, side, C) over the cells, (T, n_cells, C)."""
    cells = [cell for of_region in CELLS.values() for cell in of_region]
    return np.stack([maps[:, a:b, c:d].mean(axis=(1, 2)) for a, b, c, d in cells], axis=1)
