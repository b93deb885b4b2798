"""The motion of a corpus's faces, measured once and kept beside the crops.

Layout: ``motion/<hash of the recipe>/<video_id>.npz`` holds, for n pairs of frames, ``pairs (n,
2)`` (reference and frame) and ``maps (n, size, size, 3)``. A file whose video has changed is made
again.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import joblib
import numpy as np
import numpy.typing as npt

from microx.corpus.corpus import Corpus
from microx.errors import CorpusError
from microx.files import whole_file
from microx.preprocessing.mean_face import mean_face
from microx.preprocessing.motion import MOTION_SIDE, USUAL_MOTION, MotionRecipe, measure_motion
from microx.schema import MOTION_WINDOWS, motion_window

_VERSION = 1
"""Of how motion is measured: raised when the same recipe gives other numbers."""

MEAN_FACE_UNIT, MEAN_FACE_ORIGIN = np.array([99.0, 76.0]), np.array([63.0, 35.0])
"""Where the mean face lies on `MOTION_SIDE` pixels: its unit across and down, and its origin. So it
does in CASME II's own crops, which the windows of `microx.schema.MOTION_WINDOWS` were chosen on."""

_FITTED = slice(17, 68)

DRIFT = 0.7
"""Share of a video's last motion that `estimate_apex` takes for drift."""

_LAST = 3  # frames whose mean is a video's last motion (our choice)

Pairs = npt.NDArray[np.int64]
Matrix = npt.NDArray[np.float64]


def read_motion(
    corpus: Corpus,
    pairs: Mapping[str, Pairs],
    recipe: MotionRecipe = USUAL_MOTION,
    *,
    n_workers: int = -1,
) -> dict[str, npt.NDArray[np.float32]]:
    """Measure the motion between frames of a corpus's faces, or read what was measured before.

    Parameters
    ----------
    corpus : Corpus
        With the region face.
    pairs : mapping of str to (n, 2) int64
        Video to its pairs of frames: a reference, such as the onset, and a frame.
    recipe : MotionRecipe
    n_workers : int
        Threads; -1 for one per core.

    Returns
    -------
    dict of str to (n, size, size, 3) float32
        In the order of the pairs; see `microx.preprocessing.motion.measure_motion`.

    Raises
    ------
    CorpusError
        If the corpus lacks the face, or a video's file is gone.

    Notes
    -----
    A crop follows the landmarks of its own frame, whose jitter would be seen as motion. So each
    frame is first brought into the alignment of its reference, by the landmarks that both were cut
    by: what is compared is the face, not the crop.
    """
    check_faces(corpus)
    work = (joblib.delayed(_read_video)(corpus, v, wanted, recipe) for v, wanted in pairs.items())
    maps = joblib.Parallel(n_workers, prefer="threads")(work)
    return dict(zip(pairs, maps, strict=True))


def check_faces(corpus: Corpus) -> None:
    """Refuse a corpus without whole faces.

    Raises
    ------
    CorpusError
        If its regions do not name the face.
    """
    if "face" not in corpus.regions:
        raise CorpusError(
            f"{corpus.folder}: motion is that of whole faces; expected the region face, found "
            f"{', '.join(corpus.regions)}; preprocess again with `regions`"
        )


def _read_video(
    corpus: Corpus, video_id: str, wanted: Pairs, recipe: MotionRecipe
) -> npt.NDArray[np.float32]:
    path, made_of = motion_path(corpus, video_id, _VERSION, asdict(recipe))
    kept = read_arrays(path, made_of)
    pairs = kept.get("pairs", np.empty((0, 2), np.int64))
    maps = kept.get("maps", np.empty((0, recipe.size, recipe.size, 3), np.float32))
    known = {pair: place for place, pair in enumerate(map(tuple, pairs.tolist()))}
    lacking = [pair for pair in dict.fromkeys(map(tuple, wanted.tolist())) if pair not in known]
    if lacking:
        maps = np.concatenate([maps, _measure(corpus, video_id, lacking, recipe)])
        pairs = np.concatenate([pairs, np.array(lacking, np.int64)])
        known |= {pair: len(known) + place for place, pair in enumerate(lacking)}
        keep_arrays(path, made_of, {"pairs": pairs, "maps": maps})
    found: npt.NDArray[np.float32] = maps[[known[tuple(pair)] for pair in wanted.tolist()]]
    return found


def motion_path(corpus: Corpus, video_id: str, *recipe: Any) -> tuple[Path, str]:
    """Give where a video's motion is kept, by its recipe, and the state of the crops it is of."""
    told = json.dumps([*recipe, corpus.recipe_hash, cv2.__version__])
    folder = corpus.folder / "motion" / hashlib.sha256(told.encode()).hexdigest()[:16]
    crops = corpus.crops_path(video_id)
    made_of = str(crops.stat().st_mtime_ns) if crops.exists() else ""
    return folder / f"{video_id}.npz", made_of


def keep_arrays(path: Path, made_of: str, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Keep arrays for `read_arrays`, where the corpus may be written to."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as partial, partial.open("wb") as file:
            np.savez(file, made_of=np.array(made_of), **dict(arrays))  # type: ignore[arg-type]
    except OSError:
        pass  # a corpus that may not be written to: it is measured again next time


def read_arrays(path: Path, made_of: str) -> dict[str, npt.NDArray[Any]]:
    """Read the arrays that were kept of crops in this state; none where there are none."""
    try:
        with np.load(path) as file:
            if str(file["made_of"]) == made_of:
                return {name: file[name] for name in file.files}
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile):
        pass  # not there, or broken: it is made again
    return {}


def _measure(
    corpus: Corpus, video_id: str, pairs: Sequence[tuple[int, int]], recipe: MotionRecipe
) -> npt.NDArray[np.float32]:
    motion = np.empty((len(pairs), recipe.size, recipe.size, 3), np.float32)
    references = np.array([reference for reference, _ in pairs])
    for reference in np.unique(references).tolist():
        rows = np.flatnonzero(references == reference).tolist()
        moved, still = read_aligned(corpus, video_id, reference, [pairs[row][1] for row in rows])
        motion[rows] = measure_motion(moved, still, size=recipe.size, flow=recipe.flow)
    return motion


def read_aligned(
    corpus: Corpus, video_id: str, reference: int, frames: Sequence[int] | npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Read faces in the alignment of one of them, the reference: what differs is the face.

    Parameters
    ----------
    corpus : Corpus
        With the region face.
    video_id : str
    reference : int
    frames : sequence of n int

    Returns
    -------
    faces : (n, side, side, 3) uint8
        RGB, of `microx.preprocessing.motion.MOTION_SIDE`, where the mean face lies at
        `MEAN_FACE_UNIT` and `MEAN_FACE_ORIGIN` in the reference.
    still : (side, side, 3) uint8
        The reference, as the others.
    """
    shown = np.array([reference, *frames])
    distinct = np.unique(shown)
    faces = dict(zip(distinct.tolist(), corpus.read_crops(video_id, "face", distinct), strict=True))
    landmarks, size_hw = corpus.read_landmarks(video_id), corpus.read_size_hw(video_id)
    cuts = {
        frame: _to_homogeneous(corpus.map_to_crop(landmarks[frame], "face", size_hw))
        for frame in faces
    }
    box = _box_face(landmarks[reference], cuts[reference], corpus.size)
    # Out of the frame's own crop, into the box of its reference: one alignment for both.
    still, *moved = (_warp(faces[t], box @ np.linalg.inv(cuts[t])) for t in shown.tolist())
    side = (MOTION_SIDE, MOTION_SIDE, 3)
    return np.array(moved, np.uint8).reshape(-1, *side), still


def _box_face(xy: npt.NDArray[np.float32], cut: Matrix, size: int) -> Matrix:
    """Map a frame's pixels to a square of `MOTION_SIDE` that the face fills, upright as its crop.

    Each axis by itself takes the mean face, fitted to brows, eyes, nose and mouth, to its place. A
    crop without landmarks is taken whole.
    """
    points = (xy @ cut[:2, :2].T + cut[:2, 2])[_FITTED]
    mean = mean_face()[_FITTED]
    spread = mean - mean.mean(axis=0)
    scale = (spread * points).sum(axis=0) / (spread**2).sum(axis=0)
    if not (scale > 1).all():  # pixels from one outer eye corner to the other
        grow = np.full(2, MOTION_SIDE / size)
        offset = (grow - 1) / 2
    else:
        grow = MEAN_FACE_UNIT / scale
        offset = MEAN_FACE_ORIGIN - grow * (points.mean(axis=0) - scale * mean.mean(axis=0))
    box: Matrix = _to_homogeneous(np.column_stack([np.diag(grow), offset])) @ cut
    return box


def _warp(face: npt.NDArray[np.uint8], into: Matrix) -> Any:
    side = (MOTION_SIDE, MOTION_SIDE)
    return cv2.warpAffine(
        face, into[:2], side, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )


def _to_homogeneous(matrix: npt.NDArray[np.float64]) -> Matrix:
    """A map of the plane as a matrix that can be inverted; where there is none, the identity."""
    is_map = np.isfinite(matrix).all() and abs(np.linalg.det(matrix[:, :2])) > 0
    return np.vstack([matrix if is_map else np.eye(2, 3), [0.0, 0.0, 1.0]])


def list_held(corpus: Corpus, inputs: str) -> tuple[str, ...]:
    """List the regions that a corpus can show: those it was cut into, or of motion those on a face.

    Examples
    --------
    >>> list_held(corpus, "rgb")
    ('mouth', 'face')
    """
    if inputs != "motion":
        return corpus.regions
    return tuple(MOTION_WINDOWS) if "face" in corpus.regions else ()


def estimate_apex(corpus: Corpus, video_id: str, recipe: MotionRecipe = USUAL_MOTION) -> int | None:
    """Estimate the frame of the greatest motion since the onset.

    Parameters
    ----------
    corpus : Corpus
    video_id : str
    recipe : MotionRecipe

    Returns
    -------
    int or None
        A frame of the corpus; None of a video without a face. The onset is that of the labels, or
        the first frame with a face where they give none.

    Notes
    -----
    The length of the motion against the onset, summed over eyes with brows, nose and mouth, and
    smoothed over five frames; the frame where it is greatest. The motion that is left at the end,
    mostly a turn of the head, is taken to have grown evenly, and `DRIFT` of it is taken out first.
    All of this is our choice, made on half of the subjects of CASME II; see docs/micro.md.
    """
    seen = np.flatnonzero(corpus.read_frames_found(video_id))
    if not len(seen):
        return None
    coded = corpus.find_frame(video_id, "onset")
    onset = int(seen[0]) if coded is None else coded
    after = seen[seen >= onset]
    pairs = np.column_stack([np.full(len(after), onset), after])
    maps = read_motion(corpus, {video_id: pairs}, recipe, n_workers=1)[video_id]
    share = np.linspace(0, DRIFT, len(maps), dtype=np.float32)[:, None, None, None]
    motion = maps[..., :2] - share * maps[-_LAST:, ..., :2].mean(axis=0)
    windows = [motion_window(name, recipe.size) for name in MOTION_WINDOWS if name != "face"]
    length = np.sum(
        [np.hypot(*np.moveaxis(motion[:, *window], -1, 0)).sum(axis=(1, 2)) for window in windows],
        axis=0,
    )
    smooth = cv2.blur(length[:, None].astype(np.float64), (1, 5), borderType=cv2.BORDER_REPLICATE)
    return int(after[int(smooth[:, 0].argmax())])
