"""Expressions in a new video: it is preprocessed for the moment, and searched."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd

from microx.corpus.build import build_corpus
from microx.corpus.corpus import Corpus
from microx.errors import InputError
from microx.files import check_new_folder, whole_file
from microx.labels.columns import LABEL_COLUMNS
from microx.labels.labels import Labels
from microx.plotting import write_figure
from microx.preprocessing.video import probe_video
from microx.spotting.movement import read_movement, trace_movement
from microx.spotting.spot import THRESHOLD, Spot, find_spots, tabulate_spots
from microx.spotting.timeline import choose_shown, draw_spots

FACE_SIZE = 128
"""Pixels along a side of a face crop: what movement is measured at."""

_ID = "video"


@dataclass(frozen=True, eq=False)
class SpottedVideo:
    """What was spotted in a video, and where it is written.

    Parameters
    ----------
    video : Path
    spots : tuple of Spot
        In order of time.
    duration_s : float
    n_frames, n_found : int
        Frames of the video, and those of them in which a face was found.
    searched : float
        Share of the frames whose movement is known: there is a face, and the head had not turned
        too far, see `microx.spotting.movement.FARTHEST`.
    table, image : Path or None
        ``<video>.spots.csv`` and ``<video>.spots.png``; None where nothing is to be written.
    """

    video: Path
    spots: tuple[Spot, ...]
    duration_s: float
    n_frames: int
    n_found: int
    searched: float
    table: Path | None = None
    image: Path | None = None


def spot_video(
    video: str | Path,
    out: str | Path | None = None,
    *,
    kind: str = "both",
    threshold: float = THRESHOLD,
    landmarks: str = "dlib",
    faces: str = "main",
    input_fps: float | None = None,
    openface: str | Path | None = None,
) -> SpottedVideo:
    """Find the expressions of the subject seen the most in a video.

    Parameters
    ----------
    video : path
        A video, or a folder of images.
    out : path, optional
        Folder to write a table and a time line to; made if missing.
    kind, threshold
        See `microx.spotting.spot.spot_expressions`.
    landmarks : {"dlib", "openface"}
        How landmarks are found.
    faces : {"main", "cropped"}
        The face seen the most, or images that are face crops already.
    input_fps : float, optional
        Frames a second of a folder of images.
    openface : str or path, optional
        The OpenFace command, where the program is not on PATH.

    Returns
    -------
    SpottedVideo

    Raises
    ------
    InputError
        If it is no video, no face is found in it, or an argument is out of its range.
    LandmarkError
        If the landmarks cannot be found here.

    Examples
    --------
    >>> found = spot_video("S01_happy_1.mp4", "out")
    >>> found.n_found, found.table.name
    (24, 'S01_happy_1.spots.csv')
    """
    video = Path(video)
    if out is not None:
        check_new_folder(out)
    probe_video(video, input_fps=input_fps)
    with TemporaryDirectory(prefix="microx-") as folder:
        corpus = build_corpus(
            _label(video, input_fps),
            Path(folder) / "corpus",
            regions=("face",),
            size=FACE_SIZE,
            frame_rate=None,
            landmarks=landmarks,
            faces=faces,
            openface=openface,
            progress=False,
        )
        row = corpus.manifest.iloc[0]
        if row["status"] != "done":
            raise InputError(f"{video}: {row['reason']}")
        movement = read_movement(corpus, _ID)
        spots = find_spots(movement, kind=kind, threshold=threshold)
        written: tuple[Path | None, Path | None] = (None, None)
        if out is not None:
            folder_out = Path(out)
            folder_out.mkdir(parents=True, exist_ok=True)
            images = _read_faces(corpus, choose_shown(spots))
            figure = draw_spots(movement, spots, images, title=video.name)
            written = (
                _write_table(tabulate_spots(spots), folder_out / f"{video.stem}.spots.csv"),
                write_figure(figure, folder_out / f"{video.stem}.spots.png"),
            )
        return SpottedVideo(
            video,
            tuple(spots),
            float(row["duration_s"]),
            int(row["n_frames"]),
            int(row["n_found"]),
            float(np.isfinite(trace_movement(movement, "nose")).mean()),
            *written,
        )


def _label(video: Path, input_fps: float | None) -> Labels:
    nothing = dict.fromkeys(("video_id", *LABEL_COLUMNS, "reason", "spelling"), "")
    row = nothing | {"video_id": _ID, "path": video.name, "emotion": "unknown"}
    return Labels(video.parent, pd.DataFrame([row]), ("unknown",), "file", input_fps)


def _read_faces(corpus: Corpus, spots: list[Spot]) -> list[np.ndarray]:
    return [corpus.read_crops(_ID, "face", [spot.onset, spot.apex, spot.offset]) for spot in spots]


def _write_table(table: pd.DataFrame, path: Path) -> Path:
    with whole_file(path) as partial:
        table.round({"onset_s": 3, "apex_s": 3, "offset_s": 3, "score": 2}).to_csv(
            partial, index=False
        )
    return path
